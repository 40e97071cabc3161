//! Triangular solves with many right-hand sides (TRSM), which share out by columns.
//!
//! Each task solves for its own columns on one thread and reads the whole triangle. faer's own way to use
//! several threads, splitting the products inside, makes little of them where columns are few.

use crate::host::parallel::product_par;
use crate::host::registers::release_upper_parts;
use faer::linalg::triangular_solve::{
    solve_lower_triangular_in_place, solve_upper_triangular_in_place,
};
use faer::{MatMut, MatRef, Par};
use rayon::prelude::*;

/// The most tasks, but for those of [`MOST`] columns.
const TASKS: usize = 16;

/// The fewest columns of a task but the last: fewer leave registers empty.
const FEWEST: usize = 8;

/// The most columns of a task: with more, the triangle is read seldom enough.
const MOST: usize = 128;

/// $`X \leftarrow L^{-1} X`$. The bits depend on the shape alone.
pub(crate) fn solve_lower(l: MatRef<'_, f64>, x: MatMut<'_, f64>) {
    by_columns(l, x, |l, x| solve_lower_triangular_in_place(l, x, Par::Seq));
}

/// $`X \leftarrow U^{-1} X`$. The bits depend on the shape alone.
pub(crate) fn solve_upper(u: MatRef<'_, f64>, x: MatMut<'_, f64>) {
    by_columns(u, x, |u, x| solve_upper_triangular_in_place(u, x, Par::Seq));
}

fn by_columns(
    a: MatRef<'_, f64>,
    x: MatMut<'_, f64>,
    solve: impl Fn(MatRef<'_, f64>, MatMut<'_, f64>) + Sync,
) {
    let (order, columns) = x.shape();
    if columns <= FEWEST || matches!(product_par(order, order, columns), Par::Seq) {
        solve(a, x);
        release_upper_parts();
        return;
    }
    x.par_col_chunks_mut(width(columns)).for_each(|x| {
        solve(a, x);
        release_upper_parts();
    });
}

/// Columns of a task.
fn width(columns: usize) -> usize {
    columns.div_ceil(TASKS).clamp(FEWEST, MOST)
}

/// Tasks that so many columns make.
pub(crate) fn tasks(columns: f64) -> f64 {
    (columns / width(columns as usize) as f64).ceil()
}

#[cfg(test)]
mod tests {
    use super::*;
    use faer::Mat;

    #[test]
    fn solutions_are_those_of_every_column_alone_for_any_number_of_threads() {
        for (order, columns) in [(0, 3), (1, 1), (5, 7), (70, 9), (130, 100), (97, 2100)] {
            let l = Mat::from_fn(order, order, |i, j| match i.cmp(&j) {
                std::cmp::Ordering::Less => f64::NAN,
                std::cmp::Ordering::Equal => 2.0,
                std::cmp::Ordering::Greater => ((i * 7 + j * 3) % 5) as f64 / order as f64,
            });
            let x = Mat::from_fn(order, columns, |i, j| ((i * 3 + j * 5) % 11) as f64 - 5.0);
            let run = |threads: usize| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
                pool.build().unwrap().install(|| {
                    let (mut lower, mut upper) = (x.clone(), x.transpose().to_owned());
                    solve_lower(l.as_ref(), lower.as_mut());
                    // The same numbers by rows.
                    solve_lower(l.as_ref(), upper.as_mut().transpose_mut());
                    let mut both = lower.clone();
                    solve_upper(l.transpose(), both.as_mut());
                    (lower, upper, both)
                })
            };
            let (lower, by_row, both) = run(1);
            assert_eq!(run(3), (lower.clone(), by_row.clone(), both.clone()));
            for j in 0..columns {
                let mut alone = x.col(j).to_owned();
                solve_lower_triangular_in_place(l.as_ref(), alone.as_mut().as_mat_mut(), Par::Seq);
                let size = alone.norm_max();
                for i in 0..order {
                    let error = (lower[(i, j)] - alone[i]).abs();
                    assert!(
                        error <= 1e-13 * size,
                        "{order} {columns} {i} {j}: {error:e}"
                    );
                    let error = (by_row[(j, i)] - alone[i]).abs();
                    assert!(
                        error <= 1e-13 * size,
                        "{order} {columns} {i} {j}: {error:e}"
                    );
                }
                solve_upper_triangular_in_place(
                    l.transpose(),
                    alone.as_mut().as_mat_mut(),
                    Par::Seq,
                );
                for i in 0..order {
                    let error = (both[(i, j)] - alone[i]).abs();
                    assert!(
                        error <= 1e-12 * size,
                        "{order} {columns} {i} {j}: {error:e}"
                    );
                }
            }
        }
    }
}
