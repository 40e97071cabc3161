//! Symmetric rank updates: the lower triangle of $`C \leftarrow C - X X'`$.
//!
//! ```text
//!         columns of C                                       one tile in registers
//!           +-------+
//!           | \     |         X packed: the numbers of       X'  x0 x1 x2 x3 x4 x5
//!   rows    |   \   |         one depth adjacent for a    X  x6 [ .  .  .  .  .  . ]
//!   of C    |     \ |         panel of rows, which is        x7 [ .  .  .  .  .  . ]
//!           | tiles |         a number of whole tiles
//!           +-------+         both ways                     2 registers by 6, or 3 by 8
//! ```
//!
//! The depth is cut into slabs that stay in cache; those of several are packed at once, for all tasks, and
//! serve as both operands. Every entry of $`C`$ is a sum over one slab in its order, subtracted, slab after
//! slab: the bits depend on shapes and on the width of the processor's registers, never on the number of
//! threads.
//!
//! faer's product does the same work. It is not used where a factorization spends its time: with 256-bit
//! registers it took twice as long as OpenBLAS's (order 2048, depth 4000, two cores of an AMD Zen 3).

use faer::prelude::*;
use faer::{ContiguousFwd, MatMut, Par};
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;
use std::ops::Range;

/// Rows of a packed panel: whole tiles both ways, of one to eight lanes.
///
/// A tile is three registers high and 8 columns wide where there are thirty-two, those of eight lanes, else
/// two and 6. With sixteen, three would need one register more than there are for the sums, a column of `X`
/// and the number on its way: a sum that goes through memory at every step halves the rate.
const PANEL: usize = 24;

/// The most depth of a slab: the columns of a tile stay in the first-level cache, a task's rows in the second.
pub(crate) const DEPTH: usize = 256;
/// Columns of a task.
const COLUMNS: usize = 96;
/// Rows of a task: its part of `C` stays in the second-level cache too.
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

/// The most slabs that are packed at once: threads meet once for all of them.
const SLABS: usize = 8;
/// Numbers of packed slabs, where there is more than one.
const PACKED: usize = 1 << 21;

/// Slabs of operands of at most `order` rows, already whole panels, that are packed at once.
fn slabs_at_once(order: usize) -> usize {
    (PACKED / (order * DEPTH).max(1)).clamp(1, SLABS)
}

/// Room for packed slabs.
#[derive(Debug)]
pub(crate) struct PackedSlabs {
    arch: Arch,
    packed: Vec<f64>,
}

impl PackedSlabs {
    /// Bytes of the room for operands of `order` rows, at most.
    pub(crate) fn bytes(order: usize) -> u64 {
        let padded = (order as u64).saturating_add(PANEL as u64);
        let slabs = slabs_at_once(order) as u64;
        padded
            .saturating_mul(slabs * DEPTH as u64)
            .saturating_add(LINE as u64)
            .saturating_mul(8)
    }

    /// Room for operands of at most `order` rows.
    pub(crate) fn new(order: usize) -> Self {
        let padded = order.next_multiple_of(PANEL);
        Self {
            arch: Arch::new(),
            packed: vec![0.0; padded * DEPTH * slabs_at_once(padded) + LINE],
        }
    }

    /// The lower triangle of $`C \leftarrow C - X X'`$, of its first columns; what lies above is neither
    /// read nor written.
    pub(crate) fn subtract_gram(&mut self, mut c: Columns<'_>, x: Operand<'_>, par: Par) {
        debug_assert!(c.nrows() == x.rows && c.ncols() <= x.rows);
        if c.nrows() == 0 || c.ncols() == 0 || x.depth == 0 {
            return;
        }
        let padded = x.rows.next_multiple_of(PANEL);
        let slab = x.depth.div_ceil(x.depth.div_ceil(DEPTH));
        let room = aligned(&mut self.packed);
        let most = slab * (room.len() / (padded * slab)).clamp(1, SLABS);
        for first in (0..x.depth).step_by(most) {
            let depth = most.min(x.depth - first);
            let threads = !matches!(par, Par::Seq) && c.nrows() * c.ncols() * depth > FEW;
            let packed = &mut room[..padded * depth];
            pack(x, first, slab, packed, threads);
            let task = Task {
                arch: self.arch,
                rows: padded,
                slab,
                packed,
                threads,
            };
            task.run(c.rb_mut(), (0, 0), Shape::Lower);
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

/// Packs lines of `from` from `first` on, as many as `to` has room for, in slabs of `slab` lines: panels of
/// [`PANEL`] rows, the numbers of one depth adjacent, zeros behind the last row.
fn pack(from: Operand<'_>, first: usize, slab: usize, to: &mut [f64], threads: bool) {
    /// Panels that a line is read for at once.
    const TOGETHER: usize = 8;
    let padded = from.rows.next_multiple_of(PANEL);
    let fill = |(s, to): (usize, &mut [f64])| {
        let depth = to.len() / padded;
        let lines = first + s * slab..first + s * slab + depth;
        let group = TOGETHER * PANEL * depth;
        let fill = |(g, to): (usize, &mut [f64])| {
            let start = g * TOGETHER * PANEL;
            let rows = start..from.rows.min(start + TOGETHER * PANEL);
            pack_panels(from, rows, lines.clone(), to);
        };
        if threads {
            to.par_chunks_mut(group).enumerate().for_each(fill);
        } else {
            to.chunks_mut(group).enumerate().for_each(fill);
        }
    };
    if threads {
        to.par_chunks_mut(padded * slab).enumerate().for_each(fill);
    } else {
        to.chunks_mut(padded * slab).enumerate().for_each(fill);
    }
}

/// [`pack`] of one slab for the panels of `rows`.
fn pack_panels(from: Operand<'_>, rows: Range<usize>, lines: Range<usize>, to: &mut [f64]) {
    let depth = lines.len();
    for (l, at) in lines.enumerate() {
        let line = &from.line(at)[rows.clone()];
        let (whole, rest) = line.as_chunks::<PANEL>();
        for (p, part) in whole.iter().enumerate() {
            // A line of the cache at a time: more, or an unknown number, would be a call.
            let to = &mut to[(p * depth + l) * PANEL..][..PANEL];
            for (to, part) in to
                .as_chunks_mut::<LINE>()
                .0
                .iter_mut()
                .zip(part.as_chunks().0)
            {
                *to = *part;
            }
        }
        if !rest.is_empty() {
            let to = &mut to[(whole.len() * depth + l) * PANEL..][..PANEL];
            to[..rest.len()].copy_from_slice(rest);
            to[rest.len()..].fill(0.0);
        }
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

/// Slabs, packed.
#[derive(Clone, Copy)]
struct Task<'a> {
    arch: Arch,
    /// Of a slab, whole panels.
    rows: usize,
    /// Depth of a slab but the last.
    slab: usize,
    packed: &'a [f64],
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
                columns.next_multiple_of(PANEL).min(rows)
            } else {
                self.cut(rows)
            };
            let (c_above, c_below) = c.split_at_row_mut(above);
            return self.both(
                || self.run(c_above, at, shape),
                || self.run(c_below, (at.0 + above, at.1), Shape::Full),
            );
        }
        self.arch.dispatch(RankUpdate {
            task: self,
            c,
            at,
            lower: shape == Shape::Lower,
        });
    }

    /// About half, in whole tiles both ways.
    fn cut(&self, length: usize) -> usize {
        (length / 2).next_multiple_of(PANEL)
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
struct RankUpdate<'t, 'a, 'c> {
    task: &'t Task<'a>,
    c: Columns<'c>,
    at: (usize, usize),
    lower: bool,
}

impl WithSimd for RankUpdate<'_, '_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        if S::F64_LANES == 8 {
            self.run::<S, 3, 8>(simd);
        } else {
            self.run::<S, 2, 6>(simd);
        }
    }
}

impl RankUpdate<'_, '_, '_> {
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
    fn run<S: Simd, const H: usize, const W: usize>(mut self, simd: S) {
        self.touch();
        for slab in self.task.packed.chunks(self.task.rows * self.task.slab) {
            self.subtract_slab::<S, H, W>(simd, slab);
        }
    }

    #[inline(always)]
    fn subtract_slab<S: Simd, const H: usize, const W: usize>(&mut self, simd: S, slab: &[f64]) {
        let (depth, high) = (slab.len() / self.task.rows, H * S::F64_LANES);
        let (rows, columns) = (self.c.nrows(), self.c.ncols());
        // Of a row or column, the panel and its place in every line of it.
        let panel = |at: usize| {
            (
                &slab[at / PANEL * PANEL * depth..][..PANEL * depth],
                at % PANEL,
            )
        };
        let mut tile = [[simd.splat_f64s(0.0); H]; W];
        for j in (0..columns).step_by(W) {
            let width = W.min(columns - j);
            for i in (0..rows).step_by(high) {
                let height = high.min(rows - i);
                // How far the tile's first row lies below its first column on the diagonal.
                let (row, column) = (self.at.0 + i, self.at.1 + j);
                if self.lower && row + height <= column {
                    continue;
                }
                multiply::<S, H, W>(simd, panel(row), panel(column), &mut tile);
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
                    let mut plain = [0.0; PANEL];
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

/// Writes to `tile` the products of rows at a place of a packed panel with columns at a place of another.
///
/// The sums are copied there by loops of constant bounds alone: what is indexed by a variable stays in
/// memory, and its sums would be stored at every step.
#[inline(always)]
fn multiply<S: Simd, const H: usize, const W: usize>(
    simd: S,
    a: (&[f64], usize),
    b: (&[f64], usize),
    tile: &mut [[S::f64s; H]; W],
) {
    const LINES: usize = 4;
    let registers = PANEL / S::F64_LANES;
    let a = &S::as_simd_f64s(a.0).0[a.1 / S::F64_LANES..];
    let b = &b.0[b.1..];
    let mut sums = [[simd.splat_f64s(0.0); H]; W];
    // Several lines at a time, whose lengths need no look.
    let (some_a, some_b) = (LINES * registers, LINES * PANEL);
    let whole = (a.len() / some_a).min(b.len() / some_b);
    let ((a, a_rest), (b, b_rest)) = (a.split_at(whole * some_a), b.split_at(whole * some_b));
    for (a, b) in a.chunks_exact(some_a).zip(b.chunks_exact(some_b)) {
        for l in 0..LINES {
            add_line(simd, &a[l * registers..], &b[l * PANEL..], &mut sums);
        }
    }
    for (a, b) in a_rest.chunks(registers).zip(b_rest.chunks(PANEL)) {
        add_line(simd, a, b, &mut sums);
    }
    for o in 0..W {
        for v in 0..H {
            tile[o][v] = sums[o][v];
        }
    }
}

/// Adds the products of one line.
#[inline(always)]
fn add_line<S: Simd, const H: usize, const W: usize>(
    simd: S,
    a: &[S::f64s],
    b: &[f64],
    sums: &mut [[S::f64s; H]; W],
) {
    let (Some(a), Some(b)) = (a.first_chunk::<H>(), b.first_chunk::<W>()) else {
        unreachable!("tiles are whole in a panel")
    };
    for o in 0..W {
        let weight = simd.splat_f64s(b[o]);
        for v in 0..H {
            sums[o][v] = simd.mul_add_e_f64s(a[v], weight, sums[o][v]);
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
                    PackedSlabs::new(rows).subtract_gram(to, operand, Par::rayon(0));
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
            PackedSlabs::new(rows).subtract_gram(to, Operand::new(&x, rows, depth, rows), par);
            c
        });
        assert!(
            one.iter()
                .zip(&many)
                .all(|(a, b)| a.to_bits() == b.to_bits())
        );
    }
}
