//! The two passes over the rows of a rows-first solve for one vector.
//!
//! ```math
//! \text{pull: } x_\beta \leftarrow b_\beta - B' D^{-1} b_t, \qquad
//! \text{push: } s_i = B_i x_\beta, \quad x_i = D_i^{-1} (b_i - s_i), \quad
//! y_i = D_i x_i + s_i, \quad y_\beta \mathrel{+}= B_i' x_i,
//! ```
//!
//! the products with absolute values beside them; or, where nothing is measured, through $`Y`$:
//! $`x_\beta \leftarrow b_\beta - Y' u`$ and $`u - Y x_\beta`$.
//!
//! ```text
//!   a part of the rows   [ stream 0 | stream 1 | stream 2 | stream 3 ]
//!   a batch                ^          ^          ^          ^          a row of each
//! ```
//!
//! Each pass reads its lines once, and is as fast as memory. So a batch takes its rows from distant
//! places: several long streams keep the memory busy, where neighbouring lines that are short begin
//! new streams all the time. The lines of a batch come from memory for $`s`$ and once more from
//! cache for $`B' x`$; where there are registers enough, the latter runs while the next batch's lines
//! come, and memory does not wait for it. The push takes the parts in the reverse order, so that it
//! finds in cache what the pull read last.
//!
//! $`D_i^{-1}`$ meets a rounding error of the size of $`B_i x_\beta`$, where $`L_i^{-T}`$ would meet one of
//! the size of $`Y_i x_\beta`$: in the border's equations that is larger by at most the growth of
//! [`RowFactors::growth`], so the caller comes here through $`B`$ where it is small.

use crate::host::blas1::{WIDTH, axpy, axpys, axpys_abs, axpys_and_dots_abs, dots, dots_abs};
use crate::host::parallel::{par_each, par_map};
use crate::host::registers::are_many;
use crate::host::row_blocks::RowFactors;
use crate::{DenseSystem, ProductMut, Ridge, RowDims};
use pulp::Arch;
use rayon::prelude::*;
use std::ops::Range;

/// The most partial sums of the border's part, whatever the shape.
const PARTS: usize = 16;

/// The fewest lines of a part: to add up its partial sums costs as much as a few lines.
const PART_LINES: usize = 44;

/// The most streams of a part.
const STREAMS: usize = 4;

/// The most bytes of a batch's lines, which are read twice: half of a small second-level cache.
const BATCH_BYTES: usize = 1 << 18;

/// Lines read at once: of plain sums, and where sums of the batch before run beside.
const LINES: usize = 8;

/// A matrix with a line of `k` numbers for each unknown of the rows.
pub(crate) trait CrossRows<'a>: Sync {
    /// The line of unknown `entry` of `row`, number `unknown` of all, where its numbers are adjacent.
    fn line(&self, row: usize, entry: usize, unknown: usize) -> Option<&'a [f64]>;

    /// A copy of it, where they are not.
    fn copy(&self, row: usize, entry: usize, out: &mut [f64]);
}

impl<'a> CrossRows<'a> for DenseSystem<'a> {
    #[inline]
    fn line(&self, row: usize, entry: usize, _unknown: usize) -> Option<&'a [f64]> {
        self.row_cross().row_slice(self.shape().rows(), row, entry)
    }

    fn copy(&self, row: usize, entry: usize, out: &mut [f64]) {
        self.row_cross()
            .copy_row(self.shape().rows(), row, entry, out);
    }
}

/// $`Y`$, row-major.
pub(crate) struct Whitened<'a> {
    pub(crate) rows: &'a RowDims,
    pub(crate) data: &'a [f64],
    pub(crate) k: usize,
}

impl<'a> CrossRows<'a> for Whitened<'a> {
    #[inline]
    fn line(&self, _row: usize, _entry: usize, unknown: usize) -> Option<&'a [f64]> {
        Some(&self.data[unknown * self.k..(unknown + 1) * self.k])
    }

    fn copy(&self, row: usize, entry: usize, out: &mut [f64]) {
        let first = (self.rows.offset(row) + entry) * self.k;
        out.copy_from_slice(&self.data[first..first + self.k]);
    }
}

/// Overwrites each row's part of `u` by what `prepare` makes of it, and subtracts the lines times
/// `u` from `border`.
pub(crate) fn pull<'a>(
    arch: Arch,
    rows: &RowDims,
    lines: &impl CrossRows<'a>,
    u: &mut [f64],
    border: &mut [f64],
    prepare: impl Fn(usize, &mut [f64]) + Sync,
) {
    let k = border.len();
    let tasks = row_ranges(rows, [u]).into_par_iter().with_max_len(1);
    let sums = par_map(tasks, |part| {
        let [u] = part.own;
        let (mut sum, mut weights) = (vec![0.0; k], Vec::new());
        walk(rows, k, part.rows, lines, |batch, lines, _| {
            for row in &batch.rows {
                prepare(row.row, &mut u[row.own()]);
            }
            weights.clear();
            weights.extend(batch.places.iter().map(|p| -u[*p]));
            add_lines(arch, &weights, lines, &mut sum);
        });
        sum
    });
    for sum in sums {
        axpy(arch, 1.0, &sum, border);
    }
}

/// Subtracts the lines times `x_border` from `u`, and hands each row's part to `finish`.
pub(crate) fn push<'a>(
    arch: Arch,
    rows: &RowDims,
    lines: &impl CrossRows<'a>,
    x_border: &[f64],
    u: &mut [f64],
    finish: impl Fn(usize, &mut [f64]) + Sync,
) {
    let tasks = row_ranges(rows, [u]).into_par_iter().rev().with_max_len(1);
    par_each(tasks, |part| {
        let [u] = part.own;
        let mut sums = Vec::new();
        walk(rows, x_border.len(), part.rows, lines, |batch, lines, _| {
            sums.clear();
            multiply_lines(arch, lines, x_border, &mut sums);
            for (place, sum) in batch.places.iter().zip(&sums) {
                u[*place] -= sum;
            }
            for row in &batch.rows {
                finish(row.row, &mut u[row.own()]);
            }
        });
    });
}

/// Overwrites `x_row`, the rows' right-hand side, by their solution for `x_border`, writes their
/// part of the product to `y` and adds theirs of the border's.
pub(crate) fn push_and_multiply(
    arch: Arch,
    system: &DenseSystem<'_>,
    factors: &RowFactors,
    ridge: Ridge,
    x_border: &[f64],
    x_row: &mut [f64],
    y: ProductMut<'_>,
) {
    let (rows, k) = (system.shape().rows(), x_border.len());
    let tasks = row_ranges(rows, [x_row, y.row, y.row_abs]);
    let tasks = tasks.into_par_iter().rev().with_max_len(1);
    let sums = par_map(tasks, |part| {
        let [x, y, y_abs] = part.own;
        let mut border = BorderSums {
            plain: vec![0.0; k],
            abs: vec![0.0; k],
        };
        let (mut sums, mut weights) = (Vec::new(), Vec::new());
        // The batch before, whose lines are in cache while this one's come from memory.
        let mut past: Vec<&[f64]> = Vec::new();
        walk(rows, k, part.rows, system, |batch, lines, kept| {
            sums.clear();
            sums.resize(lines.len(), [0.0; 2]);
            border.add_and_multiply(arch, (&weights, &past), (lines, &mut sums), x_border);
            for (&place, [sum, sum_abs]) in batch.places.iter().zip(&sums) {
                x[place] -= sum;
                (y[place], y_abs[place]) = (*sum, *sum_abs);
            }
            for row in &batch.rows {
                let x = &mut x[row.own()];
                factors.solve_block(row.row, x);
                let (y, y_abs) = (&mut y[row.own()], &mut y_abs[row.own()]);
                add_block_product(system, ridge.row, row.row, x, y, y_abs);
            }
            weights.clear();
            weights.extend(batch.places.iter().map(|p| x[*p]));
            past.clear();
            match kept {
                Some(lines) => past.extend(lines),
                None => {
                    border.add_and_multiply(arch, (&weights, lines), (&[], &mut []), x_border);
                    weights.clear();
                }
            }
        });
        border.add_and_multiply(arch, (&weights, &past), (&[], &mut []), x_border);
        border
    });
    for sum in sums {
        axpy(arch, 1.0, &sum.plain, y.border);
        axpy(arch, 1.0, &sum.abs, y.border_abs);
    }
}

/// The border's part of the product, and of that of absolute values.
struct BorderSums {
    plain: Vec<f64>,
    abs: Vec<f64>,
}

impl BorderSums {
    /// Adds the lines of `past` times `weights`, and multiplies those of `next` by `x`.
    fn add_and_multiply(
        &mut self,
        arch: Arch,
        (weights, past): (&[f64], &[&[f64]]),
        (next, sums): (&[&[f64]], &mut [[f64; 2]]),
        x: &[f64],
    ) {
        let mut done = 0;
        if are_many(arch) {
            done = self.both::<LINES>(arch, (weights, past), (next, sums), x);
            let (past, next) = ((&weights[done..], &past[done..]), &next[done..]);
            done += self.both::<WIDTH>(arch, past, (next, &mut sums[done..]), x);
        }
        let apart = weights[done..]
            .chunks(WIDTH)
            .zip(past[done..].chunks(WIDTH));
        for (weights, past) in apart {
            axpys_abs(arch, weights, past, &mut self.plain, &mut self.abs);
        }
        let apart = next[done..]
            .chunks(WIDTH)
            .zip(sums[done..].chunks_mut(WIDTH));
        for (next, sums) in apart {
            dots_abs(arch, next, x, sums);
        }
    }

    /// The same for the first lines of either, `N` of both at a time; says for how many.
    fn both<const N: usize>(
        &mut self,
        arch: Arch,
        (weights, past): (&[f64], &[&[f64]]),
        (next, sums): (&[&[f64]], &mut [[f64; 2]]),
        x: &[f64],
    ) -> usize {
        let ((weights, _), (past, _)) = (weights.as_chunks::<N>(), past.as_chunks::<N>());
        let ((next, _), (sums, _)) = (next.as_chunks::<N>(), sums.as_chunks_mut::<N>());
        let lines = weights.iter().zip(past).zip(next.iter().zip(sums));
        let count = lines.len();
        for ((weights, past), (next, sums)) in lines {
            let both = (&mut self.plain[..], &mut self.abs[..]);
            *sums = axpys_and_dots_abs(arch, weights, *past, both, *next, x);
        }
        N * count
    }
}

/// $`y_i \mathrel{+}= (D_i + \rho I) x_i`$ and the same of absolute values, the lower triangle read.
#[inline]
fn add_block_product(
    system: &DenseSystem<'_>,
    rho: f64,
    row: usize,
    x: &[f64],
    y: &mut [f64],
    y_abs: &mut [f64],
) {
    let (rows, blocks, d) = (system.shape().rows(), system.row_hessian(), x.len());
    match blocks.as_packed() {
        Some(packed) => {
            let block = &packed[rows.block_offset(row)..rows.block_offset(row + 1)];
            add_symmetric_product(rho, |a, b| block[a * d + b], x, y, y_abs);
        }
        None => add_symmetric_product(rho, |a, b| blocks.get(rows, row, a, b), x, y, y_abs),
    }
}

#[inline(always)]
fn add_symmetric_product(
    rho: f64,
    lower: impl Fn(usize, usize) -> f64,
    x: &[f64],
    y: &mut [f64],
    y_abs: &mut [f64],
) {
    for (a, (y, y_abs)) in y.iter_mut().zip(y_abs).enumerate() {
        for (b, x) in x.iter().enumerate() {
            let value = lower(a.max(b), a.min(b));
            let term = if a == b { value + rho } else { value } * x;
            *y += term;
            *y_abs += term.abs();
        }
    }
}

/// A range of rows with its parts of what is read and written.
struct RowRange<'p, const M: usize> {
    rows: Range<usize>,
    own: [&'p mut [f64]; M],
}

/// Ranges of rows, by the shape alone.
fn row_ranges<'p, const M: usize>(
    rows: &RowDims,
    mut slices: [&'p mut [f64]; M],
) -> Vec<RowRange<'p, M>> {
    let unknowns = rows.offset(rows.rows());
    let count = (unknowns / PART_LINES).clamp(1, PARTS);
    let chunk = rows.rows().div_ceil(count).max(1);
    let mut cut = |first: usize| {
        let last = (first + chunk).min(rows.rows());
        let len = rows.offset(last) - rows.offset(first);
        let own = slices.each_mut().map(|from| {
            let (head, tail) = std::mem::take(from).split_at_mut(len);
            *from = tail;
            head
        });
        RowRange {
            rows: first..last,
            own,
        }
    };
    (0..rows.rows()).step_by(chunk).map(&mut cut).collect()
}

/// A row of a batch.
struct Row {
    row: usize,
    /// Its first unknown, from the part's first.
    first: usize,
    dim: usize,
}

impl Row {
    fn own(&self) -> Range<usize> {
        self.first..self.first + self.dim
    }
}

/// Rows that are worked on together, and the places of their lines: those of first unknowns first.
#[derive(Default)]
struct Batch {
    rows: Vec<Row>,
    /// Unknowns, from the part's first.
    places: Vec<usize>,
}

/// Visits the rows of `range` a batch at a time, with the lines of the batch's places; once more where
/// they are the source's own, which last longer than the batch.
fn walk<'a>(
    dims: &RowDims,
    k: usize,
    range: Range<usize>,
    source: &impl CrossRows<'a>,
    mut work: impl FnMut(&Batch, &[&[f64]], Option<&[&'a [f64]]>),
) {
    let start = dims.offset(range.start);
    let row_bytes = dims.max_dim().max(1).saturating_mul(k).saturating_mul(8);
    let streams = (BATCH_BYTES / row_bytes.max(1)).clamp(1, STREAMS);
    let stride = range.len().div_ceil(streams);
    let mut batch = Batch::default();
    let (mut adjacent, mut copies) = (Vec::with_capacity(LINES), Vec::new());
    for step in 0..stride {
        batch.rows.clear();
        batch.places.clear();
        adjacent.clear();
        let mut most = 0;
        for row in (range.start + step..range.end).step_by(stride) {
            let (first, dim) = (dims.offset(row) - start, dims.dim(row));
            most = most.max(dim);
            batch.rows.push(Row { row, first, dim });
        }
        for entry in 0..most {
            for row in batch.rows.iter().filter(|row| entry < row.dim) {
                let place = row.first + entry;
                batch.places.push(place);
                adjacent.extend(source.line(row.row, entry, start + place));
            }
        }
        if adjacent.len() == batch.places.len() {
            work(&batch, &adjacent, Some(&adjacent));
            continue;
        }
        copies.resize(batch.places.len() * k, 0.0);
        let mut lines = Vec::with_capacity(batch.places.len());
        let mut rest = &mut copies[..];
        for entry in 0..most {
            for row in batch.rows.iter().filter(|row| entry < row.dim) {
                let (line, after) = std::mem::take(&mut rest).split_at_mut(k);
                source.copy(row.row, entry, line);
                lines.push(&*line);
                rest = after;
            }
        }
        work(&batch, &lines, None);
    }
}

/// $`y \mathrel{+}= \sum_l \alpha_l s_l`$.
fn add_lines(arch: Arch, alpha: &[f64], lines: &[&[f64]], y: &mut [f64]) {
    let (whole, rest) = lines.as_chunks::<LINES>();
    let (alphas, alpha) = alpha.as_chunks::<LINES>();
    for (alpha, lines) in alphas.iter().zip(whole) {
        axpys(arch, *alpha, *lines, y);
    }
    let (whole, rest) = rest.as_chunks::<{ LINES / 2 }>();
    let (alphas, alpha) = alpha.as_chunks::<{ LINES / 2 }>();
    for (alpha, lines) in alphas.iter().zip(whole) {
        axpys(arch, *alpha, *lines, y);
    }
    for (alpha, line) in alpha.iter().zip(rest) {
        axpy(arch, *alpha, line, y);
    }
}

/// Appends $`s_l' x`$ of every line.
fn multiply_lines(arch: Arch, lines: &[&[f64]], x: &[f64], sums: &mut Vec<f64>) {
    let (whole, rest) = lines.as_chunks::<LINES>();
    for lines in whole {
        sums.extend(dots(arch, *lines, x));
    }
    let (whole, rest) = rest.as_chunks::<{ LINES / 2 }>();
    for lines in whole {
        sums.extend(dots(arch, *lines, x));
    }
    for line in rest {
        sums.extend(dots(arch, [*line], x));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ArrowShape, CrossView, RowBlocks, SymmetricView};
    use faer::MatRef;

    /// A number of few bits, so that sums of products are exact.
    fn small(i: usize) -> f64 {
        ((i * 37 + 11) % 17) as f64 - 8.0
    }

    /// Shapes around every tail: of vectors, of lines in a batch, of batches in a part, and of blocks
    /// so wide that a batch is one row.
    fn shapes() -> Vec<(Vec<usize>, usize)> {
        let mut shapes = Vec::new();
        for k in [0, 1, 3, 4, 7, 8, 9, 17] {
            for dims in [
                vec![],
                vec![0; 3],
                vec![2],
                vec![1; 7],
                vec![3; 5],
                vec![2; 201],
            ] {
                shapes.push((dims, k));
            }
            shapes.push(((0..333).map(|i| i * 7 % 5).collect(), k));
            shapes.push((vec![0, 9, 1, 0, 0, 16, 2, 5], k));
        }
        shapes.push((vec![3; 7], 9000));
        shapes.push((vec![5, 1, 0, 4, 2, 5], 9000));
        shapes
    }

    #[test]
    fn rounds_visit_every_line_once_in_an_order_of_the_shape() {
        for (dims, k) in shapes() {
            let rows = RowDims::ragged(&dims).unwrap();
            let n = rows.offset(rows.rows());
            let data: Vec<f64> = (0..n * k).map(small).collect();
            let lines = Whitened {
                rows: &rows,
                data: &data,
                k,
            };
            let mut seen = vec![0; n];
            for part in row_ranges::<0>(&rows, []) {
                let start = rows.offset(part.rows.start);
                walk(&rows, k, part.rows, &lines, |batch, lines, _| {
                    assert_eq!(batch.places.len(), lines.len());
                    for (place, line) in batch.places.iter().zip(lines) {
                        let u = start + place;
                        assert_eq!(*line, &data[u * k..(u + 1) * k]);
                        seen[u] += 1;
                    }
                });
            }
            assert!(seen.iter().all(|seen| *seen == 1), "{dims:?} {k}");
        }
    }

    #[test]
    fn both_passes_match_plain_sums_at_every_tail_and_number_of_threads() {
        for (dims, k) in shapes() {
            let rows = RowDims::ragged(&dims).unwrap();
            let n = rows.offset(rows.rows());
            let data: Vec<f64> = (0..n * k).map(small).collect();
            let lines = Whitened {
                rows: &rows,
                data: &data,
                k,
            };
            let (b, x): (Vec<_>, Vec<_>) =
                ((0..n).map(small).collect(), (5..k + 5).map(small).collect());
            let run = |threads: usize| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
                pool.build().unwrap().install(|| {
                    let (mut u, mut border) = (b.clone(), x.clone());
                    pull(Arch::new(), &rows, &lines, &mut u, &mut border, |_, u| {
                        u.iter_mut().for_each(|u| *u *= 2.0);
                    });
                    let mut v = b.clone();
                    push(Arch::new(), &rows, &lines, &x, &mut v, |_, v| {
                        v.iter_mut().for_each(|v| *v *= 0.5);
                    });
                    (u, border, v)
                })
            };
            let (u, border, v) = run(1);
            assert_eq!(run(3), (u.clone(), border.clone(), v.clone()));
            for i in 0..n {
                let sum: f64 = (0..k).map(|j| data[i * k + j] * x[j]).sum();
                assert_eq!((u[i], v[i]), (2.0 * b[i], 0.5 * (b[i] - sum)));
            }
            for j in 0..k {
                let sum: f64 = (0..n).map(|i| data[i * k + j] * u[i]).sum();
                assert_eq!(border[j], x[j] - sum, "{dims:?} {k}");
            }
        }
    }

    #[test]
    fn a_push_with_its_product_matches_plain_sums_in_every_layout() {
        for (dims, k) in shapes() {
            let shape = ArrowShape::new(RowDims::ragged(&dims).unwrap(), k).unwrap();
            let rows = shape.rows();
            let n = rows.offset(rows.rows());
            let data: Vec<f64> = (0..n * k).map(small).collect();
            let by_column: Vec<f64> = (0..n * k).map(|i| data[i % n * k + i / n]).collect();
            // Powers of two on the diagonal, so that every quotient is exact.
            let mut blocks = vec![0.0; rows.block_len()];
            for i in 0..rows.rows() {
                for a in 0..rows.dim(i) {
                    blocks[rows.block_offset(i) + a * rows.dim(i) + a] =
                        3.0 + (i % 2) as f64 * 12.0;
                }
            }
            let ridge = Ridge {
                row: 1.0,
                border: 0.0,
            };
            let c = vec![0.0; k * k];
            let mut factors = RowFactors::new(rows);
            factors
                .factor(RowBlocks::packed(&blocks), ridge.row)
                .unwrap();
            let x: Vec<f64> = (5..k + 5).map(small).collect();
            let b: Vec<f64> = (0..n).map(small).collect();
            for cross in [
                CrossView::row_major(&data, n, k).unwrap(),
                CrossView::stacked(MatRef::from_column_major_slice(&by_column, n, k)),
            ] {
                let system = DenseSystem::new(
                    &shape,
                    RowBlocks::packed(&blocks),
                    cross,
                    SymmetricView::row_major(&c, k).unwrap(),
                )
                .unwrap();
                let mut t = b.clone();
                let mut y = [vec![9.0; n], vec![9.0; n], vec![1.0; k], vec![1.0; k]];
                let [row, row_abs, border, border_abs] = &mut y;
                let product = ProductMut {
                    row,
                    border,
                    row_abs,
                    border_abs,
                };
                push_and_multiply(Arch::new(), &system, &factors, ridge, &x, &mut t, product);
                let [row, row_abs, border, border_abs] = &y;
                for i in 0..rows.rows() {
                    for u in rows.offset(i)..rows.offset(i + 1) {
                        let pivot = 4.0 + (i % 2) as f64 * 12.0;
                        let terms = (0..k).map(|j| data[u * k + j] * x[j]);
                        let (sum, size) = terms.fold((0.0, 0.0), |(s, a), t| (s + t, a + t.abs()));
                        assert_eq!(t[u], (b[u] - sum) / pivot, "{dims:?} {k}");
                        assert_eq!(row[u], b[u]);
                        assert_eq!(row_abs[u], size + (b[u] - sum).abs());
                    }
                }
                for j in 0..k {
                    let terms = (0..n).map(|u| data[u * k + j] * t[u]);
                    let (sum, size) = terms.fold((1.0, 1.0), |(s, a), t| (s + t, a + t.abs()));
                    assert_eq!((border[j], border_abs[j]), (sum, size), "{dims:?} {k}");
                }
            }
        }
    }
}
