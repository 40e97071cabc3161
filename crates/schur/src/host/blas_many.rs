//! Products of tiles of a matrix with several interleaved vectors, in registers.
//!
//! ```text
//!   a tile: lines of adjacent numbers,          vectors interleaved: the numbers of one unknown
//!   copied side by side                         adjacent, padded by zeros to whole registers
//!   times:      y_l += sum_c a[l, c] x_c        (a line is an unknown of y)
//!   transposed: y_c += sum_l a[l, c] x_l        (a line is an unknown of x)
//!   and with absolute values
//! ```
//!
//! The interleaved vectors are what a matrix product would pack: a number of the tile is loaded into all
//! lanes of a register and meets the registers of an unknown, several numbers at a time, so that the sums
//! stay in registers. Lines are copied, since where they lie they are apart by a power of two as a rule,
//! in few places of a cache; the copy of absolute values is made beside.
//!
//! A long sum is one of shorter ones; its order depends on the lengths and on the
//! processor's width alone.

use crate::host::registers::MANY;
use pulp::{Arch, Simd, WithSimd};
use std::cell::Cell;
use std::ops::Range;

/// The most lines of a tile: they are read in so long pieces that the hardware foresees the next.
pub(crate) const LINES: usize = 32;

/// The most numbers of a line of a tile.
pub(crate) const WIDTH: usize = 512;

/// Columns of a sum before it goes to memory: so many unknowns of `x` stay in the nearest cache.
const DEPTH: usize = 128;

/// The most sums at once, by which lines and numbers beyond a tile's last may be read, for nothing.
const SUMS: usize = 8;

/// Numbers between lines: unlike a power of two, it spreads them over a cache.
const STRIDE: usize = WIDTH + SUMS;

/// Terms of a sum between two looks at lengths.
const TERMS: usize = 4;

thread_local! {
    static KEPT: Cell<Option<Tile>> = const { Cell::new(None) };
}

/// Lends the thread's own tile: to make one takes as long as to work with it.
pub(crate) fn with_tile<T>(work: impl FnOnce(&mut Tile) -> T) -> T {
    let mut tile = KEPT.take().unwrap_or_else(Tile::new);
    let done = work(&mut tile);
    KEPT.set(Some(tile));
    done
}

/// Room for a tile, and its place for absolute values.
#[derive(Debug)]
pub(crate) struct Tile {
    lines: usize,
    width: usize,
    numbers: Vec<f64>,
    abs: Vec<f64>,
}

impl Tile {
    /// A tile of nothing.
    fn new() -> Self {
        Self {
            lines: 0,
            width: 0,
            numbers: vec![0.0; (LINES + SUMS) * STRIDE],
            abs: Vec::new(),
        }
    }

    /// Becomes the numbers `columns` of some lines, at most [`WIDTH`] of [`LINES`].
    pub(crate) fn copy(&mut self, lines: &[&[f64]], columns: Range<usize>) {
        self.resize(lines.len(), columns.len());
        for (to, line) in self.lines_mut().zip(lines) {
            to.copy_from_slice(&line[columns.clone()]);
        }
    }

    /// Becomes one of so many lines of so many numbers, which are those of before.
    pub(crate) fn resize(&mut self, lines: usize, width: usize) {
        assert!(lines <= LINES && width <= WIDTH);
        (self.lines, self.width) = (lines, width);
    }

    /// Its lines.
    pub(crate) fn lines_mut(&mut self) -> impl Iterator<Item = &mut [f64]> {
        let lines = self.numbers.chunks_exact_mut(STRIDE).take(self.lines);
        lines.map(|line| &mut line[..self.width])
    }

    /// Line `l`.
    pub(crate) fn line_mut(&mut self, l: usize) -> &mut [f64] {
        &mut self.numbers[l * STRIDE..][..self.width]
    }

    /// Copies absolute values, for [`Tile::add_abs`].
    pub(crate) fn take_abs(&mut self) {
        self.abs.resize(self.numbers.len(), 0.0);
        let len = self.lines * STRIDE;
        let pairs = self.abs[..len].iter_mut().zip(&self.numbers[..len]);
        pairs.for_each(|(abs, number)| *abs = number.abs());
    }

    /// $`y \leftarrow y - A x`$ or $`y - A' x`$ for vectors interleaved at `stride`.
    pub(crate) fn subtract(
        &self,
        arch: Arch,
        side: Orientation,
        x: &[f64],
        y: &mut [f64],
        stride: usize,
    ) {
        self.go::<true>(arch, side, &self.numbers, x, y, stride);
    }

    /// $`y \leftarrow y + A x`$, or with $`A'`$.
    pub(crate) fn add(
        &self,
        arch: Arch,
        side: Orientation,
        x: &[f64],
        y: &mut [f64],
        stride: usize,
    ) {
        self.go::<false>(arch, side, &self.numbers, x, y, stride);
    }

    /// $`y \leftarrow y + |A| x`$, or with $`|A'|`$, of the absolute values that were copied last.
    pub(crate) fn add_abs(
        &self,
        arch: Arch,
        side: Orientation,
        x: &[f64],
        y: &mut [f64],
        stride: usize,
    ) {
        self.go::<false>(arch, side, &self.abs, x, y, stride);
    }

    fn go<const MINUS: bool>(
        &self,
        arch: Arch,
        side: Orientation,
        a: &[f64],
        x: &[f64],
        y: &mut [f64],
        stride: usize,
    ) {
        let (known, sums) = match side {
            Orientation::Times => (self.width, self.lines),
            Orientation::Transposed => (self.lines, self.width),
        };
        assert!(x.len() == known * stride && y.len() == sums * stride);
        assert!(a.len() == (LINES + SUMS) * STRIDE);
        if !x.is_empty() && !y.is_empty() {
            arch.dispatch(TileProduct::<MINUS> {
                side,
                a,
                x,
                y,
                stride,
            });
        }
    }
}

/// Which unknowns the lines are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Orientation {
    /// Of the result.
    Times,
    /// Of the vectors.
    Transposed,
}

/// What all lanes do.
struct TileProduct<'p, const MINUS: bool> {
    side: Orientation,
    a: &'p [f64],
    x: &'p [f64],
    y: &'p mut [f64],
    stride: usize,
}

impl<const MINUS: bool> WithSimd for TileProduct<'_, MINUS> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (x, rest) = S::as_simd_f64s(self.x);
        let (y, y_rest) = S::as_mut_simd_f64s(self.y);
        assert!(rest.is_empty() && y_rest.is_empty() && self.stride.is_multiple_of(S::F64_LANES));
        let mut work = TileSums::<S, MINUS> {
            simd,
            side: self.side,
            a: self.a,
            x,
            y,
            registers: self.stride / S::F64_LANES,
        };
        work.run();
    }
}

/// The product in registers.
struct TileSums<'w, S: Simd, const MINUS: bool> {
    simd: S,
    side: Orientation,
    a: &'w [f64],
    x: &'w [S::f64s],
    y: &'w mut [S::f64s],
    /// Of one unknown.
    registers: usize,
}

impl<S: Simd, const MINUS: bool> TileSums<'_, S, MINUS> {
    const WIDE: bool = S::REGISTER_COUNT >= MANY;

    /// Groups of registers that are about equal: as many as leave all sums in registers. A sum that goes
    /// through memory at every step waits for itself.
    #[inline(always)]
    fn run(&mut self) {
        let most = if Self::WIDE { 3 } else { 2 };
        let groups = self.registers.div_ceil(most);
        let mut first = 0;
        for g in 0..groups {
            let width = (self.registers - first).div_ceil(groups - g);
            match width {
                3 => self.sums::<3, 8>(first),
                2 if Self::WIDE => self.sums::<2, 8>(first),
                2 => self.sums::<2, 6>(first),
                _ => self.sums::<1, 8>(first),
            }
            first += width;
        }
    }

    /// Registers `first..first + V` of all sums, `P` sums at once; those beyond the last are of what
    /// happens to be there, and dropped.
    #[inline(always)]
    fn sums<const V: usize, const P: usize>(&mut self, first: usize) {
        let terms = self.x.len() / self.registers;
        let most = match self.side {
            Orientation::Times => DEPTH,
            Orientation::Transposed => terms,
        };
        for start in (0..terms).step_by(most) {
            self.short_sums::<V, P>(first, start..terms.min(start + most));
        }
    }

    /// [`Self::sums`] over some columns of lines, where lines are sums.
    #[inline(always)]
    fn short_sums<const V: usize, const P: usize>(&mut self, first: usize, columns: Range<usize>) {
        let (simd, w) = (self.simd, self.registers);
        let count = self.y.len() / w;
        for s in (0..count).step_by(P) {
            let mut sums = [[simd.splat_f64s(0.0); V]; P];
            match self.side {
                Orientation::Times => self.times::<V, P>(first, s, columns.clone(), &mut sums),
                Orientation::Transposed => self.transposed::<V, P>(first, s, &mut sums),
            }
            for (sum, y) in sums.iter().zip(self.y[s * w..].chunks_mut(w)) {
                let y = &mut y[first..first + V];
                for v in 0..V {
                    y[v] = if MINUS {
                        simd.sub_f64s(y[v], sum[v])
                    } else {
                        simd.add_f64s(y[v], sum[v])
                    };
                }
            }
        }
    }

    /// Sums of the lines `s..s + P`.
    #[inline(always)]
    fn times<const V: usize, const P: usize>(
        &self,
        first: usize,
        s: usize,
        columns: Range<usize>,
        sums: &mut [[S::f64s; V]; P],
    ) {
        let w = self.registers;
        let mut lines = [&self.a[..DEPTH]; P];
        for p in 0..P {
            lines[p] = &self.a[(s + p) * STRIDE + columns.start..][..DEPTH];
        }
        let mut own = [[self.simd.splat_f64s(0.0); V]; P];
        let x = self.x[columns.start * w..columns.end * w].chunks_exact(TERMS * w);
        let x_rest = x.remainder();
        let whole = columns.len() / TERMS * TERMS;
        for (q, x) in (0..DEPTH).step_by(TERMS).zip(x) {
            for t in 0..TERMS {
                let mut b = [0.0; P];
                for p in 0..P {
                    b[p] = lines[p][q + t];
                }
                add(self.simd, &b, &x[t * w + first..], &mut own);
            }
        }
        for (q, x) in (whole..DEPTH).zip(x_rest.chunks_exact(w)) {
            let mut b = [0.0; P];
            for p in 0..P {
                b[p] = lines[p][q];
            }
            add(self.simd, &b, &x[first..], &mut own);
        }
        copy_sums(&own, sums);
    }

    /// Sums of the numbers `s..s + P` of all lines.
    #[inline(always)]
    fn transposed<const V: usize, const P: usize>(
        &self,
        first: usize,
        s: usize,
        sums: &mut [[S::f64s; V]; P],
    ) {
        let w = self.registers;
        let mut own = [[self.simd.splat_f64s(0.0); V]; P];
        let x = self.x.chunks_exact(TERMS * w);
        let x_rest = x.remainder();
        let lines = self.a.chunks_exact(TERMS * STRIDE);
        let rest = &self.a[(self.x.len() - x_rest.len()) / w * STRIDE..];
        for (lines, x) in lines.zip(x) {
            for t in 0..TERMS {
                let b = lines[t * STRIDE + s..].first_chunk::<P>();
                add(
                    self.simd,
                    b.expect("P numbers"),
                    &x[t * w + first..],
                    &mut own,
                );
            }
        }
        for (line, x) in rest.chunks_exact(STRIDE).zip(x_rest.chunks_exact(w)) {
            let b = line[s..].first_chunk::<P>();
            add(self.simd, b.expect("P numbers"), &x[first..], &mut own);
        }
        copy_sums(&own, sums);
    }
}

/// Adds `b_p x` to sum `p`: a number of the matrix at a time, with all of `x` in registers.
#[inline(always)]
fn add<S: Simd, const V: usize, const P: usize>(
    simd: S,
    b: &[f64; P],
    x: &[S::f64s],
    sums: &mut [[S::f64s; V]; P],
) {
    let x: &[S::f64s; V] = x.first_chunk().expect("V registers");
    for p in 0..P {
        let b = simd.splat_f64s(b[p]);
        for v in 0..V {
            sums[p][v] = simd.mul_add_e_f64s(b, x[v], sums[p][v]);
        }
    }
}

/// Copies sums by loops of constant bounds alone: what is indexed by a variable stays in memory, and its
/// sums would be stored at every step.
#[inline(always)]
fn copy_sums<F: Copy, const V: usize, const P: usize>(from: &[[F; V]; P], to: &mut [[F; V]; P]) {
    for p in 0..P {
        for v in 0..V {
            to[p][v] = from[p][v];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::registers::lanes;

    /// Small integers: every sum is exact, in any order.
    fn number(i: usize, j: usize) -> f64 {
        ((i * 7 + j * 5) % 11) as f64 - 5.0
    }

    /// `m` vectors of `len` numbers, interleaved at a stride of whole registers.
    fn vectors(len: usize, m: usize, stride: usize) -> Vec<f64> {
        let place = |i: usize| (i / stride, i % stride);
        let numbers = (0..len * stride).map(place);
        let number = |(i, v): (usize, usize)| if v < m { number(i + 3, v * v) } else { 0.0 };
        numbers.map(number).collect()
    }

    /// Checks both products of columns `columns` of some lines against plain loops.
    fn check(lines: usize, columns: Range<usize>, m: usize) {
        let arch = Arch::new();
        let stride = m.next_multiple_of(lanes(arch));
        let rows: Vec<Vec<f64>> = (0..lines)
            .map(|l| (0..columns.end + 3).map(|c| number(l, c)).collect())
            .collect();
        let rows: Vec<&[f64]> = rows.iter().map(|row| &row[..]).collect();
        let mut tile = Tile::new();
        // What is beyond the tile meets no sum that is kept.
        tile.numbers.fill(f64::NAN);
        tile.copy(&rows, columns.clone());
        tile.take_abs();
        for side in [Orientation::Times, Orientation::Transposed] {
            let (known, sums) = match side {
                Orientation::Times => (columns.len(), lines),
                Orientation::Transposed => (lines, columns.len()),
            };
            let entry = |s: usize, q: usize| match side {
                Orientation::Times => rows[s][columns.start + q],
                Orientation::Transposed => rows[q][columns.start + s],
            };
            let (x, y) = (vectors(known, m, stride), vectors(sums, m, stride));
            let (mut less, mut both) = (y.clone(), y.clone());
            let mut abs: Vec<f64> = y.iter().map(|y| y.abs()).collect();
            let before = abs.clone();
            let sizes: Vec<f64> = x.iter().map(|x| x.abs()).collect();
            tile.subtract(arch, side, &x, &mut less, stride);
            tile.add(arch, side, &x, &mut both, stride);
            tile.add_abs(arch, side, &sizes, &mut abs, stride);
            for s in 0..sums {
                for v in 0..stride {
                    let at = s * stride + v;
                    let terms = (0..known).map(|q| entry(s, q) * x[q * stride + v]);
                    let (sum, size) = terms.fold((0.0, 0.0), |(s, a), t| (s + t, a + t.abs()));
                    let case = format!("{side:?}, {lines} lines, {columns:?}, {m} vectors");
                    assert_eq!(less[at], y[at] - sum, "{case}: sum {s}, {v}");
                    assert_eq!(both[at], y[at] + sum, "{case}: sum {s}, {v}");
                    assert_eq!(abs[at], before[at] + size, "{case}: sum {s}, {v}");
                }
            }
        }
    }

    #[test]
    fn any_number_of_vectors_lines_and_columns_is_a_product() {
        for m in 1..=33 {
            check(9, 2..13, m);
        }
        for count in 0..=26 {
            for m in [1, 7, 9, 24] {
                check(count, 1..6, m);
                check(5, 3..3 + count, m);
            }
        }
    }

    #[test]
    fn whole_tiles_are_products() {
        for width in [DEPTH - 1, DEPTH, DEPTH + 1, WIDTH - 1, WIDTH] {
            for lines in [3, LINES - 1, LINES] {
                check(lines, 4..4 + width, 24);
                check(lines, 4..4 + width, 10);
            }
        }
    }

    #[test]
    fn a_nan_reaches_the_sums_of_its_vector_alone() {
        let arch = Arch::new();
        let stride = 5_usize.next_multiple_of(lanes(arch));
        let rows: [&[f64]; 2] = [&[1.0, 2.0], &[3.0, -4.0]];
        let mut x = vectors(2, 5, stride);
        x[stride + 2] = f64::NAN;
        let mut tile = Tile::new();
        tile.copy(&rows, 0..2);
        tile.take_abs();
        for side in [Orientation::Times, Orientation::Transposed] {
            let (mut y, mut abs) = (vec![0.0; 2 * stride], vec![0.0; 2 * stride]);
            tile.add(arch, side, &x, &mut y, stride);
            tile.add_abs(arch, side, &x, &mut abs, stride);
            for (i, (y, abs)) in y.iter().zip(&abs).enumerate() {
                assert_eq!(
                    (y.is_nan(), abs.is_nan()),
                    (i % stride == 2, i % stride == 2)
                );
            }
        }
    }
}
