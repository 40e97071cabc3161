//! Symmetric rank updates, $`C \leftarrow C - A B'`$ and the lower triangle of $`C - X X'`$.
//!
//! ```text
//!         columns of C                                       one tile in registers
//!           +-------+
//!           | \     |         B' packed: a tile's width        B'  b0 b1 b2 b3 b4 b5
//!   rows    |   \   |         of numbers of one depth       A  a0 [ .  .  .  .  .  . ]
//!   of C    |     \ |         adjacent                         a1 [ .  .  .  .  .  . ]
//!           | tiles |         A packed: a tile's height
//!           +-------+         of one depth adjacent         two registers high, 6 or 12 wide
//! ```
//!
//! The depth is cut into slabs that stay in cache; both operands of a slab are packed once, for all
//! tasks. Every entry of $`C`$ is a sum over one slab in its order, subtracted, slab after slab: the bits
//! depend on shapes and on the width of the processor's registers, never on the number of threads.
//!
//! faer's product does the same work. It is not used where a factorization spends its time: with 256-bit
//! registers it took twice as long as OpenBLAS's (order 2048, depth 4000, two cores of an AMD Zen 3).

use faer::prelude::*;
use faer::{ContiguousFwd, MatMut, Par};
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

/// Registers of a tile's columns. With three the sums, a column of `A` and the numbers of `B` on their way
/// need one register more than the sixteen there are, and a sum that goes through memory at every step
/// halves the rate.
const HIGH: usize = 2;
/// Columns of a tile with sixteen registers.
const WIDE: usize = 6;
/// Columns of a tile with thirty-two registers, which are those of eight lanes.
const WIDER: usize = 12;
/// The most depth of a slab: a packed panel of rows is then about the first-level cache.
pub(crate) const DEPTH: usize = 256;
/// Columns of a task: its part of `B` stays in the second-level cache.
const COLUMNS: usize = 96;
/// Rows of a task: its part of `C` stays there too.
const ROWS: usize = 192;

/// The operand of an update: `rows x depth`, the numbers of one depth adjacent, `stride` between depths.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operand<'a> {
    data: &'a [f64],
    rows: usize,
    depth: usize,
    stride: usize,
}

impl<'a> Operand<'a> {
    /// `depth` lines of `rows` numbers, `stride` apart.
    pub(crate) fn new(data: &'a [f64], rows: usize, depth: usize, stride: usize) -> Self {
        debug_assert!(depth == 0 || data.len() >= (depth - 1) * stride + rows);
        Self {
            data,
            rows,
            depth,
            stride,
        }
    }

    fn line(&self, depth: usize) -> &'a [f64] {
        &self.data[depth * self.stride..][..self.rows]
    }
}

/// Height and width of a tile for this processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tile {
    high: usize,
    wide: usize,
}

impl Tile {
    fn of(arch: Arch) -> Self {
        struct Lanes;
        impl WithSimd for Lanes {
            type Output = usize;
            #[inline(always)]
            fn with_simd<S: Simd>(self, _: S) -> usize {
                S::F64_LANES
            }
        }
        let lanes = arch.dispatch(Lanes);
        Self {
            high: HIGH * lanes,
            wide: if lanes == 8 { WIDER } else { WIDE },
        }
    }

    /// Rows and columns are cut at multiples of this: whole tiles both ways, of one to eight lanes.
    fn unit(self) -> usize {
        4 * self.wide
    }
}

/// Room for one slab of both operands.
#[derive(Debug)]
pub(crate) struct Room {
    arch: Arch,
    tile: Tile,
    rows: Vec<f64>,
    columns: Vec<f64>,
}

impl Room {
    /// Bytes of the room for operands of `order` rows, at most.
    pub(crate) fn bytes(order: usize) -> u64 {
        let padded = (order as u64).saturating_add(HIGH as u64 * 8);
        padded
            .saturating_mul(2 * DEPTH as u64)
            .saturating_add(2 * LINE as u64)
            .saturating_mul(8)
    }

    /// Room for operands of at most `order` rows.
    pub(crate) fn new(order: usize) -> Self {
        let arch = Arch::new();
        let tile = Tile::of(arch);
        Self {
            arch,
            tile,
            rows: vec![0.0; order.next_multiple_of(tile.high) * DEPTH + LINE],
            columns: vec![0.0; order.next_multiple_of(tile.wide) * DEPTH + LINE],
        }
    }

    /// The lower triangle of $`C \leftarrow C - X X'`$; what lies above is neither read nor written.
    pub(crate) fn subtract_gram(&mut self, c: Columns<'_>, x: Operand<'_>, par: Par) {
        debug_assert!(c.nrows() == x.rows && c.ncols() <= x.rows);
        self.subtract(c, x, x, Shape::Lower, par);
    }

    /// Slab after slab: packs both operands, then visits the tasks.
    fn subtract(
        &mut self,
        mut c: Columns<'_>,
        a: Operand<'_>,
        b: Operand<'_>,
        shape: Shape,
        par: Par,
    ) {
        if c.nrows() == 0 || c.ncols() == 0 {
            return;
        }
        let slabs = a.depth.div_ceil(DEPTH).max(1);
        let slab = a.depth.div_ceil(slabs).max(1);
        for first in (0..a.depth).step_by(slab) {
            let depth = slab.min(a.depth - first);
            let threads = !matches!(par, Par::Seq) && c.nrows() * c.ncols() * depth > FEW;
            let Tile { high, wide } = self.tile;
            let (rows, columns) = (aligned(&mut self.rows), aligned(&mut self.columns));
            pack(a, c.nrows(), first, depth, high, rows, threads);
            pack(b, c.ncols(), first, depth, wide, columns, threads);
            let task = Task {
                arch: self.arch,
                tile: self.tile,
                depth,
                rows,
                columns,
                threads,
            };
            task.run(c.rb_mut(), (0, 0), shape);
        }
    }
}

/// Numbers of a line of the cache.
const LINE: usize = 8;

/// `room` from its first whole line of the cache: a register loaded across two takes twice as long.
fn aligned(room: &mut [f64]) -> &mut [f64] {
    let skip = room.as_ptr().align_offset(LINE * 8).min(LINE);
    &mut room[skip..]
}

/// Multiplications below which no thread is woken.
const FEW: usize = 1 << 18;

/// Columns whose numbers are adjacent.
pub(crate) type Columns<'a> = MatMut<'a, f64, usize, usize, ContiguousFwd>;

/// `data`, column-major with `rows` rows, as columns.
pub(crate) fn columns_of(data: &mut [f64], rows: usize) -> Columns<'_> {
    let columns = data.len().checked_div(rows).unwrap_or(0);
    let matrix = MatMut::from_column_major_slice_mut(data, rows, columns);
    match matrix.try_as_col_major_mut() {
        Some(columns) => columns,
        None => unreachable!("the stride of rows is one"),
    }
}

/// Packs `depth` lines from `first` of the first `rows` rows of `from`: panels of `width` rows, the
/// numbers of one depth adjacent, zeros behind the last row.
fn pack(
    from: Operand<'_>,
    rows: usize,
    first: usize,
    depth: usize,
    width: usize,
    to: &mut [f64],
    threads: bool,
) {
    /// Panels that a line is read for at once.
    const TOGETHER: usize = 8;
    let panel = width * depth;
    let to = &mut to[..rows.div_ceil(width) * panel];
    let fill = |(group, to): (usize, &mut [f64])| {
        let start = group * TOGETHER * width;
        let end = rows.min(start + TOGETHER * width);
        for l in 0..depth {
            let line = &from.line(first + l)[start..end];
            let (whole, rest) = line.split_at(line.len() / width * width);
            for (p, part) in whole.chunks_exact(width).enumerate() {
                to[p * panel + l * width..][..width].copy_from_slice(part);
            }
            if !rest.is_empty() {
                let to = &mut to[whole.len() * depth + l * width..][..width];
                to[..rest.len()].copy_from_slice(rest);
                to[rest.len()..].fill(0.0);
            }
        }
    };
    if threads {
        let groups = to.par_chunks_mut(TOGETHER * panel);
        groups.enumerate().for_each(fill);
    } else {
        to.chunks_mut(TOGETHER * panel).enumerate().for_each(fill);
    }
}

/// Which entries of a block are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// Those on and below the diagonal of $`C`$.
    Lower,
    /// All.
    Full,
}

/// One slab, packed.
#[derive(Clone, Copy)]
struct Task<'a> {
    arch: Arch,
    tile: Tile,
    depth: usize,
    rows: &'a [f64],
    columns: &'a [f64],
    threads: bool,
}

impl Task<'_> {
    /// Cuts the block of $`C`$ at `at` until its operands stay in cache.
    fn run(&self, c: Columns<'_>, at: (usize, usize), shape: Shape) {
        let (rows, columns) = (c.nrows(), c.ncols());
        if columns > COLUMNS {
            let left = self.cut(columns);
            let (c_left, c_right) = c.split_at_col_mut(left);
            let right = (at.0, at.1 + left);
            return match shape {
                Shape::Full => self.both(
                    || self.run(c_left, at, Shape::Full),
                    || self.run(c_right, right, Shape::Full),
                ),
                Shape::Lower => {
                    // The entries right above lie above the diagonal.
                    let below = (at.0 + left, at.1 + left);
                    let c_right = c_right.split_at_row_mut(left).1;
                    self.both(
                        || self.run(c_left, at, Shape::Lower),
                        || self.run(c_right, below, Shape::Lower),
                    )
                }
            };
        }
        if rows > ROWS {
            let above = if shape == Shape::Lower {
                // The triangle, and what lies below it.
                columns.next_multiple_of(self.tile.unit()).min(rows)
            } else {
                self.cut(rows)
            };
            let (c_above, c_below) = c.split_at_row_mut(above);
            return self.both(
                || self.run(c_above, at, shape),
                || self.run(c_below, (at.0 + above, at.1), Shape::Full),
            );
        }
        self.arch.dispatch(Tiles {
            task: self,
            c,
            at,
            lower: shape == Shape::Lower,
        });
    }

    /// About half, in whole tiles both ways.
    fn cut(&self, length: usize) -> usize {
        (length / 2).next_multiple_of(self.tile.unit())
    }

    fn both(&self, one: impl FnOnce() + Send, other: impl FnOnce() + Send) {
        if self.threads {
            rayon::join(one, other);
        } else {
            one();
            other();
        }
    }
}

/// All tiles of a block of $`C`$ that begins at `at`.
struct Tiles<'t, 'a, 'c> {
    task: &'t Task<'a>,
    c: Columns<'c>,
    at: (usize, usize),
    lower: bool,
}

impl WithSimd for Tiles<'_, '_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        if S::F64_LANES == 8 {
            self.run::<S, WIDER>(simd);
        } else {
            self.run::<S, WIDE>(simd);
        }
    }
}

impl Tiles<'_, '_, '_> {
    /// Brings the block of `C` into the cache by columns, as the hardware foresees; tile by tile each
    /// would be waited for.
    #[inline(always)]
    fn touch(&self) {
        let mut sum = 0.0;
        for j in 0..self.c.ncols() {
            let column = self.c.rb().col(j).as_slice();
            let above = if self.lower {
                (self.at.1 + j).saturating_sub(self.at.0)
            } else {
                0
            };
            sum += column.iter().skip(above).step_by(LINE).sum::<f64>();
        }
        std::hint::black_box(sum);
    }

    #[inline(always)]
    fn run<S: Simd, const W: usize>(mut self, simd: S) {
        let (depth, high) = (self.task.depth, HIGH * S::F64_LANES);
        let (rows, columns) = (self.c.nrows(), self.c.ncols());
        let mut tile = [[simd.splat_f64s(0.0); HIGH]; W];
        self.touch();
        for i in (0..rows).step_by(high) {
            let a = &self.task.rows[(self.at.0 + i) * depth..][..high * depth];
            let height = high.min(rows - i);
            for j in (0..columns).step_by(W) {
                let width = W.min(columns - j);
                // How far the tile's first row lies below its first column on the diagonal.
                let (row, column) = (self.at.0 + i, self.at.1 + j);
                if self.lower && row + height <= column {
                    break;
                }
                let b = &self.task.columns[(self.at.1 + j) * depth..][..W * depth];
                multiply(simd, a, b, &mut tile);
                let whole = !self.lower || row + 1 >= column + width;
                if whole && height == high && width == W {
                    for (o, sums) in tile.iter().enumerate() {
                        let c = self.c.rb_mut().col_mut(j + o).as_slice_mut();
                        let c = S::as_mut_simd_f64s(&mut c[i..i + high]).0;
                        for (c, sum) in c.iter_mut().zip(sums) {
                            *c = simd.sub_f64s(*c, *sum);
                        }
                    }
                    continue;
                }
                for (o, sums) in tile.iter().enumerate().take(width) {
                    let first = if self.lower {
                        (column + o).saturating_sub(row).min(height)
                    } else {
                        0
                    };
                    let mut plain = [0.0; HIGH * 8];
                    let to = S::as_mut_simd_f64s(&mut plain[..high]).0;
                    to.copy_from_slice(sums);
                    let c = self.c.rb_mut().col_mut(j + o).as_slice_mut();
                    let pairs = c[i + first..i + height].iter_mut();
                    let pairs = pairs.zip(&plain[first..height]);
                    pairs.for_each(|(c, sum)| *c -= sum);
                }
            }
        }
    }
}

/// Writes the products of a packed panel of rows with one of columns to `tile`.
///
/// The sums are copied there by loops of constant bounds alone: what is indexed by a variable stays in
/// memory, and its sums would be stored at every step.
#[inline(always)]
fn multiply<S: Simd, const W: usize>(
    simd: S,
    a: &[f64],
    b: &[f64],
    tile: &mut [[S::f64s; HIGH]; W],
) {
    let a = S::as_simd_f64s(a).0.as_chunks::<HIGH>().0;
    let b = b.as_chunks::<W>().0;
    let mut sums = [[simd.splat_f64s(0.0); HIGH]; W];
    for (a, b) in a.iter().zip(b) {
        for o in 0..W {
            let weight = simd.splat_f64s(b[o]);
            for v in 0..HIGH {
                sums[o][v] = simd.mul_add_e_f64s(a[v], weight, sums[o][v]);
            }
        }
    }
    for o in 0..W {
        for v in 0..HIGH {
            tile[o][v] = sums[o][v];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: usize) -> Vec<f64> {
        (0..count).map(|i| (i as f64 * 0.37).sin()).collect()
    }

    #[test]
    fn updates_are_the_plain_sums_around_every_edge() {
        let sizes = [1, 3, 4, 11, 12, 13, 24, 25, 95, 96, 97, 193, 400];
        for rows in sizes {
            for (depth, extra) in [
                (1, 0),
                (7, 2),
                (DEPTH, 0),
                (DEPTH + 1, 1),
                (3 * DEPTH - 1, 0),
            ] {
                let stride = rows + extra;
                let x = numbers(stride * depth);
                for columns in [1, rows.div_ceil(3), rows] {
                    let before = numbers(rows * columns);
                    let mut c = before.clone();
                    let operand = Operand::new(&x, rows, depth, stride);
                    let to = columns_of(&mut c, rows);
                    Room::new(rows).subtract_gram(to, operand, Par::rayon(0));
                    for j in 0..columns {
                        for i in 0..rows {
                            let (at, got) = (before[j * rows + i], c[j * rows + i]);
                            if i < j {
                                assert_eq!(
                                    at, got,
                                    "above the diagonal, {rows} {columns} ({i}, {j})"
                                );
                                continue;
                            }
                            let terms = (0..depth).map(|l| x[l * stride + i] * x[l * stride + j]);
                            let (sum, size) =
                                terms.fold((at, at.abs()), |(s, a), t| (s - t, a + t.abs()));
                            let bound = f64::EPSILON * (8.0 + (depth as f64).sqrt()) * size;
                            assert!(
                                (got - sum).abs() <= bound,
                                "{rows} {columns} depth {depth} ({i}, {j}): {got} for {sum}"
                            );
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn threads_change_no_bit() {
        let (rows, depth) = (500, 300);
        let x = numbers(rows * depth);
        let [one, many] = [Par::Seq, Par::rayon(0)].map(|par| {
            let mut c = numbers(rows * rows);
            let to = columns_of(&mut c, rows);
            Room::new(rows).subtract_gram(to, Operand::new(&x, rows, depth, rows), par);
            c
        });
        assert!(
            one.iter()
                .zip(&many)
                .all(|(a, b)| a.to_bits() == b.to_bits())
        );
    }
}
