//! Several vectors at once, interleaved: one pass over a matrix serves all of them.
//!
//! ```text
//!   columns, one after another   ->   m x len, column-major: [x_1[i], ..., x_m[i]] are adjacent
//! ```
//!
//! A range of unknowns is then one slice, which a task can own; and a product with a matrix is one
//! with few rows and long columns, which goes twice as fast as its transpose. Products run alone in
//! tasks that depend on shapes alone, so the bits do not depend on the number of threads.

use faer::linalg::matmul::matmul;
use faer::linalg::triangular_solve;
use faer::{Accum, MatMut, MatRef, Par};
use rayon::prelude::*;

/// The most vectors of one pass: more would save little and need more room for partial sums.
pub(crate) const VECTORS: usize = 32;

/// Unknowns interleaved by one task.
const CHUNK: usize = 512;
/// Order of a triangle of a sweep.
const TRIANGLE: usize = 256;
/// Unknowns of a task of a sweep.
const SWEEP: usize = 256;

/// Interleaves `columns`, `m` columns of equal length.
pub(crate) fn interleave(columns: &[f64], m: usize) -> Vec<f64> {
    let (mut out, len) = (vec![0.0; columns.len()], columns.len() / m);
    out.par_chunks_mut(m * CHUNK)
        .enumerate()
        .for_each(|(c, out)| {
            let first = c * CHUNK;
            for j in 0..m {
                let column = &columns[j * len + first..];
                for (out, x) in out[j..].iter_mut().step_by(m).zip(column) {
                    *out = *x;
                }
            }
        });
    out
}

/// The inverse of [`interleave`].
pub(crate) fn separate(interleaved: &[f64], m: usize, columns: &mut [f64]) {
    let len = columns.len() / m;
    if len == 0 {
        return;
    }
    columns
        .par_chunks_mut(len)
        .enumerate()
        .for_each(|(j, column)| {
            for (x, from) in column.iter_mut().zip(interleaved[j..].iter().step_by(m)) {
                *x = *from;
            }
        });
}

/// Interleaved vectors as an `m x len` matrix.
pub(crate) fn as_mat(x: &[f64], m: usize) -> MatRef<'_, f64> {
    MatRef::from_column_major_slice(x, m, x.len() / m)
}

/// Interleaved vectors as an `m x len` matrix.
pub(crate) fn as_mat_mut(x: &mut [f64], m: usize) -> MatMut<'_, f64> {
    let len = x.len() / m;
    MatMut::from_column_major_slice_mut(x, m, len)
}

/// `y += alpha x A` for interleaved `x` and `y`, alone.
pub(crate) fn add_product(y: MatMut<'_, f64>, alpha: f64, x: MatRef<'_, f64>, a: MatRef<'_, f64>) {
    matmul(y, Accum::Add, x, a, alpha, Par::Seq);
}

/// $`x \leftarrow L^{-1} x`$ for `m` interleaved vectors and the lower triangle of `l`.
pub(crate) fn solve_lower(l: MatRef<'_, f64>, x: &mut [f64], m: usize) {
    let order = l.nrows();
    let mut rest = x;
    for first in (0..order).step_by(TRIANGLE) {
        let width = TRIANGLE.min(order - first);
        let (head, tail) = rest.split_at_mut(m * width);
        triangular_solve::solve_lower_triangular_in_place(
            l.submatrix(first, first, width, width),
            as_mat_mut(head, m).transpose_mut(),
            Par::Seq,
        );
        let head = as_mat(head, m);
        tail.par_chunks_mut(m * SWEEP)
            .enumerate()
            .for_each(|(c, x)| {
                let start = first + width + c * SWEEP;
                let panel = l.submatrix(start, first, x.len() / m, width);
                add_product(as_mat_mut(x, m), -1.0, head, panel.transpose());
            });
        rest = tail;
    }
}

/// $`x \leftarrow L^{-T} x`$ for `m` interleaved vectors and the lower triangle of `l`.
pub(crate) fn solve_upper(l: MatRef<'_, f64>, x: &mut [f64], m: usize) {
    let mut last = l.nrows();
    let mut rest = x;
    while last > 0 {
        let first = (last - 1) / TRIANGLE * TRIANGLE;
        let width = last - first;
        let (head, tail) = rest.split_at_mut(m * first);
        triangular_solve::solve_upper_triangular_in_place(
            l.submatrix(first, first, width, width).transpose(),
            as_mat_mut(tail, m).transpose_mut(),
            Par::Seq,
        );
        let tail = as_mat(tail, m);
        head.par_chunks_mut(m * SWEEP)
            .enumerate()
            .for_each(|(c, x)| {
                let panel = l.submatrix(first, c * SWEEP, width, x.len() / m);
                add_product(as_mat_mut(x, m), -1.0, tail, panel);
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
            let x = interleave(&columns, m);
            if len > 0 {
                assert_eq!(x[m - 1], columns[(m - 1) * len]);
            }
            let mut back = vec![0.0; m * len];
            separate(&x, m, &mut back);
            assert_eq!(back, columns);
        }
    }

    #[test]
    fn sweeps_solve_around_the_block_edges() {
        for order in [
            1,
            2,
            TRIANGLE - 1,
            TRIANGLE,
            TRIANGLE + 1,
            2 * TRIANGLE + SWEEP + 3,
        ] {
            let l = Mat::<f64>::from_fn(order, order, |i, j| match i.cmp(&j) {
                std::cmp::Ordering::Less => f64::NAN,
                std::cmp::Ordering::Equal => 2.0,
                std::cmp::Ordering::Greater => ((i * 3 + j * 7) % 9) as f64 / (9 * order) as f64,
            });
            let m = 3;
            let b: Vec<f64> = (0..m * order).map(|i| (i as f64 * 0.3).sin()).collect();
            let entry = |i: usize, j: usize, transposed: bool| {
                let (i, j) = if transposed { (j, i) } else { (i, j) };
                if i < j { 0.0 } else { l[(i, j)] }
            };
            for transposed in [false, true] {
                let mut x = b.clone();
                if transposed {
                    solve_upper(l.as_ref(), &mut x, m);
                } else {
                    solve_lower(l.as_ref(), &mut x, m);
                }
                for i in 0..order {
                    for v in 0..m {
                        let terms = (0..order).map(|j| entry(i, j, transposed) * x[j * m + v]);
                        let (sum, size) = terms.fold((0.0, 0.0), |(s, a), t| (s + t, a + t.abs()));
                        assert!(
                            (sum - b[i * m + v]).abs() <= 1e-14 * (1.0 + size),
                            "order {order} row {i}"
                        );
                    }
                }
            }
        }
    }
}
