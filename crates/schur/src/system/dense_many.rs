//! Products of a dense system with several vectors at once: one pass over the operands serves all.
//!
//! ```text
//!   vectors interleaved        a tile T of B, or of C below the diagonal, from memory once
//!   y_T += T x,   y += T' x_T, and the same with absolute values: see blas_many
//! ```
//!
//! A group of rows meets $`B`$ twice, for $`B_i x_\beta`$ and then for $`B_i' x_i`$, the second time from
//! cache; what the rows are may be found between the two.
//!
//! The sums run in another order than for one vector: the two agree to rounding, and each is the
//! same for any number of threads.

use super::dense::DenseSystem;
use super::lower_triangle::LowerTriangle;
use crate::Ridge;
use crate::host::blas_many::{LINES, Orientation, Tile, WIDTH, with_tile};
use crate::host::interleaved::Interleaved;
use crate::host::parallel::par_map;
use crate::refine::{BackwardError, ErrorsOfMany};
use pulp::Arch;
use rayon::prelude::*;
use std::ops::Range;

/// The most partial sums, whatever the shape.
const PARTS: usize = 8;

/// The fewest lines of a part of the rows: to add up its sums costs as much as a few lines.
const PART_LINES: usize = 64;

/// Bytes of the lines of a group of rows, which are read twice.
const GROUP_BYTES: usize = 1 << 19;

/// The most lines of a group, by a row at most.
const GROUP_LINES: usize = 4 * LINES;

/// Vectors with their absolute values.
struct Pair {
    plain: Interleaved,
    abs: Interleaved,
}

impl Pair {
    fn zeros(arch: Arch, len: usize, count: usize) -> Self {
        Self {
            plain: Interleaved::zeros(arch, len, count),
            abs: Interleaved::zeros(arch, len, count),
        }
    }

    /// Adds the products of a tile with `x` to the unknowns `range`.
    fn add(
        &mut self,
        arch: Arch,
        side: Orientation,
        tile: &Tile,
        x: PairRef<'_>,
        range: Range<usize>,
    ) {
        let stride = self.plain.stride();
        let range = range.start * stride..range.end * stride;
        let plain = &mut self.plain.numbers_mut()[range.clone()];
        tile.add(arch, side, x.plain, plain, stride);
        tile.add_abs(
            arch,
            side,
            x.abs,
            &mut self.abs.numbers_mut()[range],
            stride,
        );
    }
}

/// Numbers of interleaved vectors, with their absolute values.
#[derive(Clone, Copy)]
struct PairRef<'x> {
    plain: &'x [f64],
    abs: &'x [f64],
}

impl<'x> PairRef<'x> {
    /// The unknowns `range` of vectors interleaved at `stride`.
    fn of(self, range: Range<usize>, stride: usize) -> Self {
        let range = range.start * stride..range.end * stride;
        Self {
            plain: &self.plain[range.clone()],
            abs: &self.abs[range],
        }
    }
}

impl DenseSystem<'_> {
    /// The backward errors of interleaved vectors, `count` of them, for the right-hand side of the border
    /// and one of the rows.
    ///
    /// The rows' part of `x` may be found on the way: `settle` is shown the unknowns of every row once, with
    /// their part of `x` and of $`B x_\beta`$, before that part of `x` is used, and writes the right-hand
    /// side there.
    pub(crate) fn errors_many(
        &self,
        arch: Arch,
        x: (&mut Interleaved, &Interleaved),
        right: &Interleaved,
        count: usize,
        ridge: Ridge,
        settle: impl Fn(Range<usize>, usize, &mut [f64], &[f64], &mut [f64]) + Sync,
    ) -> Vec<BackwardError> {
        let (k, stride) = (self.shape().border(), right.stride());
        let mut sums = Pair::zeros(arch, k, count);
        let (plain, abs) = (x.1.numbers(), x.1.map(arch, f64::abs));
        let abs = abs.numbers();
        let border = PairRef { plain, abs };
        for (y, x) in sums.plain.numbers_mut().iter_mut().zip(border.plain) {
            *y = ridge.border * x;
        }
        for (y, x) in sums.abs.numbers_mut().iter_mut().zip(border.abs) {
            *y = ridge.border * x;
        }
        let of_rows = par_map(self.rows_parts(x.0).into_par_iter(), |part| {
            self.rows_errors(arch, border, count, ridge.row, part, &settle)
        });
        let of_border = self.border_parts(arch, border, count);
        for part in of_rows.iter().map(|part| &part.0).chain(&of_border) {
            add_all(sums.plain.numbers_mut(), part.plain.numbers());
            add_all(sums.abs.numbers_mut(), part.abs.numbers());
        }
        let mut maxima = ErrorsOfMany::default();
        of_rows.into_iter().for_each(|part| maxima.and(part.1));
        let chunk = stride * LINES;
        let border_chunks = (sums.plain.numbers_mut().par_chunks_mut(chunk))
            .zip(sums.abs.numbers().par_chunks(chunk))
            .zip(right.numbers().par_chunks(chunk));
        let border_chunks = par_map(border_chunks, |((y, abs), b)| {
            let mut maxima = ErrorsOfMany::default();
            maxima.see(arch, b, y, abs, stride);
            maxima
        });
        border_chunks.into_iter().for_each(|seen| maxima.and(seen));
        maxima.errors(count).collect()
    }

    /// $`y \leftarrow y - B' z`$ for interleaved vectors, `count` of them, where `prepare` makes every row's
    /// part of `z` of that of `x`.
    pub(crate) fn subtract_cross_many(
        &self,
        arch: Arch,
        x: &Interleaved,
        y: &mut Interleaved,
        count: usize,
        prepare: impl Fn(usize, &mut [f64]) + Sync,
    ) {
        let (dims, k, stride) = (self.shape().rows(), self.shape().border(), x.stride());
        let parts = par_map(self.ranges().into_par_iter(), |rows| {
            let mut sum = Interleaved::zeros(arch, k, count);
            let mut z = Vec::new();
            self.groups(rows, GROUP_LINES, |rows, lines| {
                let (first, last) = (dims.offset(rows.start), dims.offset(rows.end));
                z.clear();
                z.extend_from_slice(&x.numbers()[first * stride..last * stride]);
                for i in rows {
                    let own = dims.offset(i) - first..dims.offset(i + 1) - first;
                    prepare(i, &mut z[own.start * stride..own.end * stride]);
                }
                add_transposed(arch, lines, &z, &mut sum);
            });
            sum
        });
        y.subtract_all(&parts);
    }

    /// At most [`PARTS`] ranges of rows, by the shape alone.
    fn ranges(&self) -> Vec<Range<usize>> {
        let rows = self.shape().rows();
        let parts = (self.shape().row_unknowns() / PART_LINES).clamp(1, PARTS);
        let chunk = rows.rows().div_ceil(parts).max(1);
        let firsts = (0..rows.rows()).step_by(chunk);
        firsts
            .map(|first| first..(first + chunk).min(rows.rows()))
            .collect()
    }

    /// The ranges with their parts of `x`.
    fn rows_parts<'x>(&self, x: &'x mut Interleaved) -> Vec<(Range<usize>, &'x mut [f64])> {
        let (rows, stride) = (self.shape().rows(), x.stride());
        let mut rest = x.numbers_mut();
        let cut = |range: Range<usize>| {
            let len = stride * (rows.offset(range.end) - rows.offset(range.start));
            let (head, tail) = std::mem::take(&mut rest).split_at_mut(len);
            rest = tail;
            (range, head)
        };
        self.ranges().into_iter().map(cut).collect()
    }

    /// Visits whole rows in groups of `lines` lines of $`B`$ or more, by a row at most. Lines of no numbers may
    /// be missing.
    fn groups(
        &self,
        rows: Range<usize>,
        lines: usize,
        mut visit: impl FnMut(Range<usize>, &[&[f64]]),
    ) {
        let dims = self.shape().rows();
        let mut copy = Vec::new();
        let mut first = rows.start;
        while first < rows.end {
            let start = dims.offset(first);
            let mut last = first + 1;
            while last < rows.end && dims.offset(last) - start < lines {
                last += 1;
            }
            visit(
                first..last,
                &self.lines(self.unknowns(first..last), &mut copy),
            );
            first = last;
        }
    }

    /// What some rows add to the border's part of the product, and their errors.
    fn rows_errors(
        &self,
        arch: Arch,
        border: PairRef<'_>,
        count: usize,
        rho: f64,
        (rows, x): (Range<usize>, &mut [f64]),
        settle: &impl Fn(Range<usize>, usize, &mut [f64], &[f64], &mut [f64]),
    ) -> (Pair, ErrorsOfMany) {
        let (dims, k) = (self.shape().rows(), self.shape().border());
        let (mut sums, mut maxima) = (Pair::zeros(arch, k, count), ErrorsOfMany::default());
        let stride = sums.plain.stride();
        let group = (GROUP_BYTES / (8 * k).max(1)).clamp(LINES / 4, GROUP_LINES);
        let start = dims.offset(rows.start);
        let [mut plain, mut abs, mut sizes, mut right] = [const { Vec::new() }; 4];
        self.groups(rows, group, |rows, lines| {
            let first = dims.offset(rows.start);
            let len = (dims.offset(rows.end) - first) * stride;
            let x = &mut x[(first - start) * stride..][..len];
            for room in [&mut plain, &mut abs, &mut sizes, &mut right] {
                room.clear();
                room.resize(len, 0.0);
            }
            tiles(lines, k, |tile, lines, columns| {
                tile.take_abs();
                let x = border.of(columns, stride);
                let own = lines.start * stride..lines.end * stride;
                tile.add(
                    arch,
                    Orientation::Times,
                    x.plain,
                    &mut plain[own.clone()],
                    stride,
                );
                tile.add_abs(arch, Orientation::Times, x.abs, &mut abs[own], stride);
            });
            for i in rows {
                let unknowns = dims.offset(i)..dims.offset(i + 1);
                let own = (unknowns.start - first) * stride..(unknowns.end - first) * stride;
                let (x, plain) = (&mut x[own.clone()], &mut plain[own.clone()]);
                settle(unknowns, i, x, plain, &mut right[own.clone()]);
                self.add_block(i, rho, x, plain, &mut abs[own]);
            }
            maxima.see(arch, &right, &mut plain, &abs, stride);
            sizes
                .iter_mut()
                .zip(&*x)
                .for_each(|(size, x)| *size = x.abs());
            let x = PairRef {
                plain: x,
                abs: &sizes,
            };
            tiles(lines, k, |tile, lines, columns| {
                tile.take_abs();
                sums.add(
                    arch,
                    Orientation::Transposed,
                    tile,
                    x.of(lines, stride),
                    columns,
                );
            });
        });
        (sums, maxima)
    }

    /// Adds $`(D_i + \rho) x_i`$.
    fn add_block(&self, i: usize, rho: f64, x: &[f64], plain: &mut [f64], abs: &mut [f64]) {
        let (rows, blocks) = (self.shape().rows(), self.row_hessian());
        let d = rows.dim(i);
        let stride = x.len() / d.max(1);
        for a in 0..d {
            let own = a * stride..(a + 1) * stride;
            for b in 0..d {
                let entry = blocks.get(rows, i, a.max(b), a.min(b));
                let entry = if a == b { entry + rho } else { entry };
                let sums = plain[own.clone()].iter_mut().zip(&mut abs[own.clone()]);
                for ((plain, abs), x) in sums.zip(&x[b * stride..(b + 1) * stride]) {
                    let term = entry * x;
                    *plain += term;
                    *abs += term.abs();
                }
            }
        }
    }

    /// Partial sums of $`C x_\beta`$, from the lower triangle, by groups of its lines.
    fn border_parts(&self, arch: Arch, x: PairRef<'_>, count: usize) -> Vec<Pair> {
        let k = self.shape().border();
        let border = LowerTriangle::new(self.border_hessian().matrix());
        let parts = border.balanced_groups(k, PARTS).into_par_iter();
        par_map(parts, |part| {
            let mut sums = Pair::zeros(arch, k, count);
            let stride = sums.plain.stride();
            with_tile(|tile| {
                for first in part.clone().step_by(LINES) {
                    let own = first..(first + LINES).min(part.end);
                    copy_diagonal(&border, own.clone(), tile);
                    let x_own = x.of(own.clone(), stride);
                    sums.add(arch, Orientation::Times, tile, x_own, own.clone());
                    let others = if border.by_column() {
                        own.end..k
                    } else {
                        0..own.start
                    };
                    for start in others.clone().step_by(WIDTH) {
                        let other = start..(start + WIDTH).min(others.end);
                        copy_lines(&border, own.clone(), other.clone(), tile);
                        let known = x.of(other.clone(), stride);
                        sums.add(arch, Orientation::Times, tile, known, own.clone());
                        sums.add(arch, Orientation::Transposed, tile, x_own, other);
                    }
                }
            });
            sums
        })
    }
}

/// $`y \leftarrow y + \sum_l s_l x_l`$ for lines $`s_l`$ with a number for each unknown of `y`, and interleaved
/// vectors.
pub(crate) fn add_transposed(arch: Arch, lines: &[&[f64]], x: &[f64], y: &mut Interleaved) {
    let stride = y.stride();
    let k = y.numbers().len() / stride;
    tiles(lines, k, |tile, lines, columns| {
        let x = &x[lines.start * stride..lines.end * stride];
        let y = &mut y.numbers_mut()[columns.start * stride..columns.end * stride];
        tile.add(arch, Orientation::Transposed, x, y, stride);
    });
}

/// Visits the tiles of lines of `k` numbers: each with its lines and its columns.
pub(crate) fn tiles(
    lines: &[&[f64]],
    k: usize,
    mut visit: impl FnMut(&mut Tile, Range<usize>, Range<usize>),
) {
    with_tile(|tile| {
        for (l, lines) in lines.chunks(LINES).enumerate() {
            let own = l * LINES..l * LINES + lines.len();
            for first in (0..k).step_by(WIDTH) {
                let columns = first..(first + WIDTH).min(k);
                tile.copy(lines, columns.clone());
                visit(tile, own.clone(), columns);
            }
        }
    });
}

/// Copies the numbers `other` of some lines of a symmetric matrix, all on one side of the diagonal.
fn copy_lines(border: &LowerTriangle<'_>, own: Range<usize>, other: Range<usize>, tile: &mut Tile) {
    tile.resize(own.len(), other.len());
    let mut line = Vec::new();
    for (to, l) in tile.lines_mut().zip(own) {
        let (first, entries) = border.get(l, &mut line);
        to.copy_from_slice(&entries[other.start - first..other.end - first]);
    }
    tile.take_abs();
}

/// Copies the square of a symmetric matrix on the diagonal; its lower triangle alone is read.
fn copy_diagonal(border: &LowerTriangle<'_>, own: Range<usize>, tile: &mut Tile) {
    tile.resize(own.len(), own.len());
    let mut line = Vec::new();
    for (o, l) in own.clone().enumerate() {
        let (first, entries) = border.get(l, &mut line);
        let known = first.max(own.start)..(first + entries.len()).min(own.end);
        let entries = &entries[known.start - first..known.end - first];
        let at = known.start - own.start;
        tile.line_mut(o)[at..][..entries.len()].copy_from_slice(entries);
        // The other half, which this line holds for those beside it.
        for (c, entry) in (at..).zip(entries) {
            tile.line_mut(c)[o] = *entry;
        }
    }
    tile.take_abs();
}

fn add_all(y: &mut [f64], x: &[f64]) {
    let pairs = y.par_iter_mut().with_min_len(1 << 14).zip(x);
    pairs.for_each(|(y, x)| *y += x);
}
