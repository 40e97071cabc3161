//! Several vectors at once, interleaved: one pass over a matrix serves all of them.
//!
//! ```text
//!   columns, one after another   ->   [x_1[i], ..., x_m[i], 0, ..., 0] are adjacent, `stride` of them
//! ```
//!
//! A range of unknowns is then one slice, which a task can own, and what a product with a matrix reads
//! in its order: see [`crate::host::blas_many`]. The zeros fill the last register. Products run alone in
//! tasks that depend on shapes alone, so the bits do not depend on the number of threads.

use crate::host::blas_many::{LINES, Orientation, WIDTH, with_tile};
use crate::host::registers::{lanes, release_upper_parts};
use faer::MatRef;
use pulp::Arch;
use rayon::prelude::*;
use std::ops::Range;

/// The most vectors of one pass: more would save little and need more room for partial sums.
pub(crate) const VECTORS: usize = 32;

/// Unknowns interleaved by one task.
const CHUNK: usize = 512;
/// Order of a triangle of a solve.
const TRIANGLE: usize = 128;
/// Order of a triangle that is solved entry by entry.
const SMALL: usize = 16;
/// Unknowns of a task of a backward solve.
const BACKWARD: usize = 16;
/// Unknowns of a task of a forward solve.
const FORWARD: usize = WIDTH;
/// Numbers of a line of cache.
const CACHE_LINE: usize = 8;
/// Interleaved vectors, the first number at the edge of a line of cache.
#[derive(Debug)]
pub(crate) struct Interleaved {
    count: usize,
    stride: usize,
    start: usize,
    len: usize,
    data: Vec<f64>,
}

impl Interleaved {
    /// `count` vectors of `len` zeros.
    pub(crate) fn zeros(arch: Arch, len: usize, count: usize) -> Self {
        let stride = count.next_multiple_of(lanes(arch));
        let data = vec![0.0; len * stride + CACHE_LINE];
        let edge = data.as_ptr().align_offset(CACHE_LINE * size_of::<f64>());
        Self {
            count,
            stride,
            start: edge.min(CACHE_LINE),
            len: len * stride,
            data,
        }
    }

    /// `columns`, `count` of equal length.
    pub(crate) fn new(arch: Arch, columns: &[f64], count: usize) -> Self {
        let len = columns.len() / count;
        let mut out = Self::zeros(arch, len, count);
        let stride = out.stride;
        out.numbers_mut()
            .par_chunks_mut(stride * CHUNK)
            .enumerate()
            .for_each(|(c, out)| {
                release_upper_parts();
                let first = c * CHUNK;
                for j in 0..count {
                    let column = &columns[j * len + first..];
                    for (out, x) in out[j..].iter_mut().step_by(stride).zip(column) {
                        *out = *x;
                    }
                }
            });
        out
    }

    /// Another of what `map` makes of each number.
    pub(crate) fn map(&self, arch: Arch, map: impl Fn(f64) -> f64 + Sync) -> Self {
        let mut out = Self::zeros(arch, self.len / self.stride.max(1), self.count);
        let pairs = out.numbers_mut().par_iter_mut().with_min_len(1 << 14);
        pairs.zip(self.numbers()).for_each(|(to, x)| *to = map(*x));
        out
    }

    /// Subtracts others, one after another.
    pub(crate) fn subtract_all(&mut self, others: &[Self]) {
        for other in others {
            let pairs = self.numbers_mut().par_iter_mut().with_min_len(1 << 14);
            pairs
                .zip(other.numbers())
                .for_each(|(x, other)| *x -= other);
        }
    }

    /// Numbers from one unknown to the next.
    pub(crate) fn stride(&self) -> usize {
        self.stride
    }

    /// All of them, with the zeros between.
    pub(crate) fn numbers(&self) -> &[f64] {
        &self.data[self.start..self.start + self.len]
    }

    /// All of them, with the zeros between, which stay zeros.
    pub(crate) fn numbers_mut(&mut self) -> &mut [f64] {
        &mut self.data[self.start..self.start + self.len]
    }

    /// The inverse of [`Interleaved::new`].
    pub(crate) fn separate(&self, columns: &mut [f64]) {
        let len = columns.len() / self.count;
        if len == 0 {
            return;
        }
        let stride = self.stride;
        columns
            .par_chunks_mut(len)
            .enumerate()
            .for_each(|(j, column)| {
                release_upper_parts();
                let numbers = self.numbers()[j..].iter().step_by(stride);
                for (x, from) in column.iter_mut().zip(numbers) {
                    *x = *from;
                }
            });
    }
}

/// Rows `rows` of column `j` of a matrix whose columns are adjacent.
fn column(l: MatRef<'_, f64>, j: usize, rows: Range<usize>) -> &[f64] {
    let column = l.col(j).subrows(rows.start, rows.len());
    let column = column.try_as_col_major().expect("columns are adjacent");
    column.as_slice()
}

/// $`x \leftarrow L^{-1} x`$ for vectors interleaved at `stride` and the lower triangle of `l`, whose
/// columns are adjacent.
pub(crate) fn solve_lower(arch: Arch, l: MatRef<'_, f64>, x: &mut [f64], stride: usize) {
    let order = l.nrows();
    let mut rest = x;
    for first in (0..order).step_by(TRIANGLE) {
        let last = (first + TRIANGLE).min(order);
        let (head, tail) = rest.split_at_mut(stride * (last - first));
        solve_lower_triangle(arch, l, first..last, head, stride);
        let head = &*head;
        tail.par_chunks_mut(stride * FORWARD)
            .enumerate()
            .for_each(|(c, x)| {
                release_upper_parts();
                let start = last + c * FORWARD;
                let rows = start..start + x.len() / stride;
                with_tile(|tile| {
                    for (h, head) in head.chunks(stride * LINES).enumerate() {
                        tile.resize(head.len() / stride, rows.len());
                        for (to, j) in tile.lines_mut().zip(first + h * LINES..) {
                            to.copy_from_slice(column(l, j, rows.clone()));
                        }
                        tile.subtract(arch, Orientation::Transposed, head, x, stride);
                    }
                });
            });
        rest = tail;
    }
}

/// $`x \leftarrow L^{-T} x`$ for vectors interleaved at `stride` and the lower triangle of `l`, whose
/// columns are adjacent.
pub(crate) fn solve_upper(arch: Arch, l: MatRef<'_, f64>, x: &mut [f64], stride: usize) {
    let order = l.nrows();
    for first in (0..order).step_by(TRIANGLE).rev() {
        let last = (first + TRIANGLE).min(order);
        let (head, known) = x.split_at_mut(stride * last);
        let head = &mut head[stride * first..];
        let known = &*known;
        // A task's columns of L are read from the triangle to their end.
        head.par_chunks_mut(stride * BACKWARD)
            .enumerate()
            .for_each(|(c, x)| {
                release_upper_parts();
                let columns = first + c * BACKWARD..;
                with_tile(|tile| {
                    for (t, known) in known.chunks(stride * WIDTH).enumerate() {
                        let start = last + t * WIDTH;
                        let rows = start..start + known.len() / stride;
                        tile.resize(x.len() / stride, rows.len());
                        for (to, j) in tile.lines_mut().zip(columns.clone()) {
                            to.copy_from_slice(column(l, j, rows.clone()));
                        }
                        tile.subtract(arch, Orientation::Times, known, x, stride);
                    }
                });
            });
        solve_upper_triangle(arch, l, first..last, head, stride);
    }
}

/// [`solve_lower`] with the block of `l` at `range` of the diagonal.
fn solve_lower_triangle(
    arch: Arch,
    l: MatRef<'_, f64>,
    range: Range<usize>,
    x: &mut [f64],
    stride: usize,
) {
    let mut rest = x;
    for first in range.clone().step_by(SMALL) {
        let last = (first + SMALL).min(range.end);
        let (head, tail) = rest.split_at_mut(stride * (last - first));
        for (j, entries) in (first..last).map(|j| (j - first, column(l, j, j..last))) {
            let (done, below) = head[j * stride..].split_at_mut(stride);
            done.iter_mut().for_each(|x| *x /= entries[0]);
            for (x, entry) in below.chunks_exact_mut(stride).zip(&entries[1..]) {
                x.iter_mut().zip(&*done).for_each(|(x, y)| *x -= entry * y);
            }
        }
        with_tile(|tile| {
            tile.resize(last - first, range.end - last);
            for (to, j) in tile.lines_mut().zip(first..) {
                to.copy_from_slice(column(l, j, last..range.end));
            }
            tile.subtract(arch, Orientation::Transposed, head, tail, stride);
        });
        rest = tail;
    }
}

/// [`solve_upper`] with the block of `l` at `range` of the diagonal.
fn solve_upper_triangle(
    arch: Arch,
    l: MatRef<'_, f64>,
    range: Range<usize>,
    x: &mut [f64],
    stride: usize,
) {
    let mut last = range.end;
    let mut rest = x;
    while last > range.start {
        let first = range.start + (last - 1 - range.start) / SMALL * SMALL;
        let (head, tail) = rest.split_at_mut(stride * (first - range.start));
        for (j, entries) in (first..last)
            .rev()
            .map(|j| (j - first, column(l, j, j..last)))
        {
            let (x, known) = tail[j * stride..].split_at_mut(stride);
            for (y, entry) in known.chunks_exact(stride).zip(&entries[1..]) {
                x.iter_mut().zip(y).for_each(|(x, y)| *x -= entry * y);
            }
            x.iter_mut().for_each(|x| *x /= entries[0]);
        }
        with_tile(|tile| {
            for (h, x) in head.chunks_mut(stride * LINES).enumerate() {
                tile.resize(x.len() / stride, last - first);
                for (to, j) in tile.lines_mut().zip(range.start + h * LINES..) {
                    to.copy_from_slice(column(l, j, first..last));
                }
                tile.subtract(arch, Orientation::Times, tail, x, stride);
            }
        });
        rest = head;
        last = first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use faer::Mat;

    #[test]
    fn interleaving_and_back_is_the_identity() {
        for (m, len) in [(1, 3), (3, 1), (5, 0), (4, 700)] {
            let columns: Vec<f64> = (0..m * len).map(|i| i as f64).collect();
            let x = Interleaved::new(Arch::new(), &columns, m);
            for (i, x) in x.numbers().chunks_exact(x.stride()).enumerate() {
                let own: Vec<f64> = (0..m).map(|j| columns[j * len + i]).collect();
                assert_eq!(x[..m], own);
                assert!(x[m..].iter().all(|x| *x == 0.0));
            }
            let mut back = vec![0.0; m * len];
            x.separate(&mut back);
            assert_eq!(back, columns);
        }
    }

    #[test]
    fn triangular_solves_hold_around_the_block_edges() {
        for order in [
            1,
            2,
            SMALL + 1,
            TRIANGLE - 1,
            TRIANGLE,
            TRIANGLE + 1,
            2 * TRIANGLE + FORWARD + 3,
        ] {
            let l = Mat::<f64>::from_fn(order, order, |i, j| match i.cmp(&j) {
                std::cmp::Ordering::Less => f64::NAN,
                std::cmp::Ordering::Equal => 2.0,
                std::cmp::Ordering::Greater => ((i * 3 + j * 7) % 9) as f64 / (9 * order) as f64,
            });
            let arch = Arch::new();
            for (m, transposed) in [(3, false), (3, true), (24, false), (24, true)] {
                let b: Vec<f64> = (0..m * order).map(|i| (i as f64 * 0.3).sin()).collect();
                let entry = |i: usize, j: usize| {
                    let (i, j) = if transposed { (j, i) } else { (i, j) };
                    if i < j { 0.0 } else { l[(i, j)] }
                };
                let mut x = Interleaved::new(arch, &b, m);
                let stride = x.stride();
                if transposed {
                    solve_upper(arch, l.as_ref(), x.numbers_mut(), stride);
                } else {
                    solve_lower(arch, l.as_ref(), x.numbers_mut(), stride);
                }
                let mut solved = vec![0.0; b.len()];
                x.separate(&mut solved);
                for (b, x) in b.chunks(order).zip(solved.chunks(order)) {
                    for i in 0..order {
                        let terms = (0..order).map(|j| entry(i, j) * x[j]);
                        let (sum, size) = terms.fold((0.0, 0.0), |(s, a), t| (s + t, a + t.abs()));
                        assert!(
                            (sum - b[i]).abs() <= 1e-14 * (1.0 + size),
                            "order {order} row {i}"
                        );
                    }
                }
            }
        }
    }
}
