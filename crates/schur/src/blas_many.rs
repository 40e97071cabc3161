//! Products of a few lines of a matrix with several interleaved vectors, in registers.
//!
//! ```text
//!   lines of adjacent numbers, of any place     vectors interleaved: the numbers of one unknown
//!                                               adjacent, padded by zeros to whole registers
//!   times:      y_l += sum_c a[l, c] x_c        (a line is an unknown of y)
//!   transposed: y_c += sum_l a[l, c] x_l        (a line is an unknown of x)
//!   and with absolute values, in the same loop
//! ```
//!
//! The interleaved vectors are what a matrix product would pack: a number of the matrix is loaded
//! into all lanes of a register and meets the registers of an unknown, several numbers at a time, so
//! that the sums stay in registers. A general product packs the matrix besides, and fills its tile
//! badly with few vectors: 24 of them went through it at a third of what the processor can do (AMD Zen 3).
//!
//! A long sum is one of shorter ones; its order depends on the lengths and on the
//! processor's width alone.

use pulp::{Arch, Simd, WithSimd};
use std::ops::Range;

/// Columns of a sum before it goes to memory: so many unknowns of `x` stay in the nearest cache.
const DEPTH: usize = 128;

/// Lines of a sum before it goes to memory: their pieces of a column lie far apart, in few places of
/// a cache where they lie apart by a power of two.
pub(crate) const LINES: usize = 64;

/// All bits but the sign's: what is left of a number by them is its absolute value.
const UNSIGNED: f64 = f64::from_bits(!(1 << 63));

/// Numbers of a register: interleaved vectors are padded to a multiple.
pub(crate) fn lanes(arch: Arch) -> usize {
    struct Lanes;
    impl WithSimd for Lanes {
        type Output = usize;
        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) -> usize {
            S::F64_LANES
        }
    }
    arch.dispatch(Lanes)
}

/// Lines of a matrix, of which a range of columns is meant.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lines<'a> {
    pub(crate) lines: &'a [&'a [f64]],
    pub(crate) first: usize,
    pub(crate) last: usize,
}

impl<'a> Lines<'a> {
    pub(crate) fn new(lines: &'a [&'a [f64]], columns: Range<usize>) -> Self {
        Self {
            lines,
            first: columns.start,
            last: columns.end,
        }
    }

    fn width(&self) -> usize {
        self.last - self.first
    }
}

/// Which unknowns the lines are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// Of the result.
    Times,
    /// Of the vectors.
    Transposed,
}

/// $`y \leftarrow y - A x`$ or $`y - A' x`$ for vectors interleaved at `stride`.
pub(crate) fn subtract(
    arch: Arch,
    side: Side,
    a: Lines<'_>,
    x: &[f64],
    y: &mut [f64],
    stride: usize,
) {
    go::<false, true>(arch, side, a, x, y, &mut [], stride);
}

/// $`y \leftarrow y + A x`$ and $`|y| \leftarrow |y| + |A| |x|`$, or with $`A'`$.
pub(crate) fn add_abs(
    arch: Arch,
    side: Side,
    a: Lines<'_>,
    x: &[f64],
    y: &mut [f64],
    y_abs: &mut [f64],
    stride: usize,
) {
    go::<true, false>(arch, side, a, x, y, y_abs, stride);
}

fn go<const ABS: bool, const MINUS: bool>(
    arch: Arch,
    side: Side,
    a: Lines<'_>,
    x: &[f64],
    y: &mut [f64],
    y_abs: &mut [f64],
    stride: usize,
) {
    let (known, sums) = match side {
        Side::Times => (a.width(), a.lines.len()),
        Side::Transposed => (a.lines.len(), a.width()),
    };
    assert!(x.len() == known * stride && y.len() == sums * stride);
    assert!(!ABS || y_abs.len() == y.len());
    if x.is_empty() || y.is_empty() {
        return;
    }
    arch.dispatch(Product::<ABS, MINUS> {
        side,
        a,
        x,
        y,
        y_abs,
        stride,
    });
}

struct Product<'p, const ABS: bool, const MINUS: bool> {
    side: Side,
    a: Lines<'p>,
    x: &'p [f64],
    y: &'p mut [f64],
    y_abs: &'p mut [f64],
    stride: usize,
}

impl<const ABS: bool, const MINUS: bool> WithSimd for Product<'_, ABS, MINUS> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (x, rest) = S::as_simd_f64s(self.x);
        let (y, y_rest) = S::as_mut_simd_f64s(self.y);
        let (y_abs, _) = S::as_mut_simd_f64s(self.y_abs);
        assert!(rest.is_empty() && y_rest.is_empty() && self.stride.is_multiple_of(S::F64_LANES));
        let work = Work::<S, ABS, MINUS> {
            simd,
            side: self.side,
            x,
            y,
            y_abs,
            registers: self.stride / S::F64_LANES,
        };
        work.run(self.a);
    }
}

/// The product in registers.
struct Work<'w, S: Simd, const ABS: bool, const MINUS: bool> {
    simd: S,
    side: Side,
    x: &'w [S::f64s],
    y: &'w mut [S::f64s],
    y_abs: &'w mut [S::f64s],
    /// Of one unknown.
    registers: usize,
}

impl<S: Simd, const ABS: bool, const MINUS: bool> Work<'_, S, ABS, MINUS> {
    /// Whether there are 32 registers, not 16.
    const WIDE: bool = S::F64_LANES == 8 || cfg!(target_arch = "aarch64");

    #[inline(always)]
    fn run(mut self, a: Lines<'_>) {
        match self.side {
            Side::Times => {
                let mut first = a.first;
                while first < a.last {
                    let last = (first + DEPTH).min(a.last);
                    let x = first - a.first..last - a.first;
                    self.tile(Lines { first, last, ..a }, x);
                    first = last;
                }
            }
            Side::Transposed => {
                for (c, lines) in a.lines.chunks(LINES).enumerate() {
                    let x = c * LINES..c * LINES + lines.len();
                    self.tile(Lines { lines, ..a }, x);
                }
            }
        }
    }

    /// Sums of few terms, of unknowns `known` of `x`.
    #[inline(always)]
    fn tile(&mut self, a: Lines<'_>, known: Range<usize>) {
        let mut first = 0;
        // Groups of registers that are about equal: as many as leave all sums in registers. A sum that goes
        // through memory at every step waits for itself.
        let most = if Self::WIDE && !ABS { 3 } else { 2 };
        let groups = self.registers.div_ceil(most);
        let x = &self.x[known.start * self.registers..known.end * self.registers];
        let count = match self.side {
            Side::Times => a.lines.len(),
            Side::Transposed => a.width(),
        };
        for g in 0..groups {
            let width = (self.registers - first).div_ceil(groups - g);
            match width {
                3 => self.sums::<3, 8>(a, x, first, count),
                2 if Self::WIDE && ABS => self.sums::<2, 5>(a, x, first, count),
                2 if Self::WIDE => self.sums::<2, 8>(a, x, first, count),
                2 if ABS => self.sums::<2, 2>(a, x, first, count),
                2 => self.sums::<2, 6>(a, x, first, count),
                _ if ABS => self.sums::<1, 4>(a, x, first, count),
                _ => self.sums::<1, 8>(a, x, first, count),
            }
            first += width;
        }
    }

    /// Registers `first..first + V` of all `count` sums, `P` sums at once.
    #[inline(always)]
    fn sums<const V: usize, const P: usize>(
        &mut self,
        a: Lines<'_>,
        x: &[S::f64s],
        first: usize,
        count: usize,
    ) {
        let whole = count / P * P;
        for s in (0..whole).step_by(P) {
            self.several::<V, P>(a, x, first, s);
        }
        for s in whole..count {
            self.several::<V, 1>(a, x, first, s);
        }
    }

    /// Sums `s..s + P`.
    #[inline(always)]
    fn several<const V: usize, const P: usize>(
        &mut self,
        a: Lines<'_>,
        x: &[S::f64s],
        first: usize,
        s: usize,
    ) {
        let w = self.registers;
        let x = &x[first..];
        let mut sums = Sums::<S, V, P, ABS>::new(self.simd);
        match self.side {
            Side::Times => {
                let terms = a.width();
                let mut lines = [&[][..]; P];
                for p in 0..P {
                    lines[p] = &a.lines[s + p][a.first..][..terms];
                }
                for (q, x) in (0..terms).zip(x.chunks(w)) {
                    let mut b = [0.0; P];
                    for p in 0..P {
                        b[p] = lines[p][q];
                    }
                    sums.add(&b, x);
                }
            }
            Side::Transposed => {
                let column = a.first + s;
                let mut unknowns = x.chunks(w);
                for line in a.lines {
                    let Some(x) = unknowns.next() else { break };
                    sums.add(line[column..].first_chunk().expect("P columns"), x);
                }
            }
        }
        let simd = self.simd;
        for p in 0..P {
            let at = (s + p) * w + first;
            let y = &mut self.y[at..at + V];
            for v in 0..V {
                y[v] = if MINUS {
                    simd.sub_f64s(y[v], sums.plain[p][v])
                } else {
                    simd.add_f64s(y[v], sums.plain[p][v])
                };
            }
            if ABS {
                let y = &mut self.y_abs[at..at + V];
                for v in 0..V {
                    y[v] = simd.add_f64s(y[v], sums.abs[p][v]);
                }
            }
        }
    }
}

/// `P` sums of `V` registers each, in registers.
struct Sums<S: Simd, const V: usize, const P: usize, const ABS: bool> {
    simd: S,
    unsigned: S::f64s,
    plain: [[S::f64s; V]; P],
    abs: [[S::f64s; V]; P],
}

impl<S: Simd, const V: usize, const P: usize, const ABS: bool> Sums<S, V, P, ABS> {
    #[inline(always)]
    fn new(simd: S) -> Self {
        let zero = [[simd.splat_f64s(0.0); V]; P];
        Self {
            simd,
            unsigned: simd.splat_f64s(UNSIGNED),
            plain: zero,
            abs: zero,
        }
    }

    /// Adds `b_p x` to sum `p`.
    #[inline(always)]
    fn add(&mut self, b: &[f64; P], x: &[S::f64s]) {
        let x: &[S::f64s; V] = x.first_chunk().expect("V registers");
        // A number of the matrix at a time, with all of `x` in registers.
        let simd = self.simd;
        let mut x_abs = *x;
        if ABS {
            for v in 0..V {
                x_abs[v] = simd.and_f64s(self.unsigned, x[v]);
            }
        }
        for p in 0..P {
            let b = simd.splat_f64s(b[p]);
            for v in 0..V {
                self.plain[p][v] = simd.mul_add_e_f64s(b, x[v], self.plain[p][v]);
            }
            if ABS {
                let b = simd.and_f64s(self.unsigned, b);
                for v in 0..V {
                    self.abs[p][v] = simd.mul_add_e_f64s(b, x_abs[v], self.abs[p][v]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let a = Lines::new(&rows, columns.clone());
        for side in [Side::Times, Side::Transposed] {
            let (known, sums) = match side {
                Side::Times => (columns.len(), lines),
                Side::Transposed => (lines, columns.len()),
            };
            let entry = |s: usize, q: usize| match side {
                Side::Times => rows[s][columns.start + q],
                Side::Transposed => rows[q][columns.start + s],
            };
            let (x, y) = (vectors(known, m, stride), vectors(sums, m, stride));
            let (mut less, mut both) = (y.clone(), y.clone());
            let mut abs: Vec<f64> = y.iter().map(|y| y.abs()).collect();
            let before = abs.clone();
            subtract(arch, side, a, &x, &mut less, stride);
            add_abs(arch, side, a, &x, &mut both, &mut abs, stride);
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
    fn long_sums_are_sums_of_shorter_ones() {
        for len in [LINES - 1, LINES, LINES + 1, DEPTH, DEPTH + 1, 2 * DEPTH + 5] {
            check(len, 0..3, 10);
            check(3, 4..4 + len, 24);
        }
    }

    #[test]
    fn a_nan_reaches_the_sums_of_its_vector_alone() {
        let arch = Arch::new();
        let stride = 5_usize.next_multiple_of(lanes(arch));
        let rows: [&[f64]; 2] = [&[1.0, 2.0], &[3.0, -4.0]];
        let mut x = vectors(2, 5, stride);
        x[stride + 2] = f64::NAN;
        for side in [Side::Times, Side::Transposed] {
            let (mut y, mut abs) = (vec![0.0; 2 * stride], vec![0.0; 2 * stride]);
            let a = Lines::new(&rows, 0..2);
            add_abs(arch, side, a, &x, &mut y, &mut abs, stride);
            for (i, (y, abs)) in y.iter().zip(&abs).enumerate() {
                assert_eq!(
                    (y.is_nan(), abs.is_nan()),
                    (i % stride == 2, i % stride == 2)
                );
            }
        }
    }
}
