//! Rows-first solves for several right-hand sides at once: each pass over $`Y`$ and $`L_S`$ serves all.

use super::row_blocks::RowFactors;
use crate::RhsMut;
use crate::cholesky::Cholesky;
use crate::interleaved::{
    VECTORS, add_product, as_mat, as_mat_mut, interleave, separate, solve_lower, solve_upper,
};
use faer::MatRef;
use rayon::prelude::*;

/// Columns of $`Y`$ of a task, where the border is wide.
const COLUMNS: usize = 512;
/// Lines of $`Y`$ of a task.
const LINES: usize = 256;
/// The most partial sums of $`Y' u`$, where the border is narrow.
const PARTS: usize = 8;

/// Overwrites right-hand sides by solutions; `y` is $`Y`$, `N x k` row-major.
pub(super) fn solve_many(rows: &RowFactors, y: &[f64], border: &Cholesky, rhs: RhsMut<'_>) {
    let k = border.order();
    let n = rhs.row.len() / rhs.count;
    let y = MatRef::from_row_major_slice(y, n, k);
    for first in (0..rhs.count).step_by(VECTORS) {
        let m = VECTORS.min(rhs.count - first);
        let row = &mut rhs.row[first * n..(first + m) * n];
        let border_columns = &mut rhs.border[first * k..(first + m) * k];
        let mut u = interleave(row, m);
        rows.solve_lower_many(&mut u, m);
        let mut x = interleave(border_columns, m);
        if n > 0 && k > 0 {
            subtract_pull(y, &u, &mut x, m);
        }
        solve_lower(border.as_mat(), &mut x, m);
        solve_upper(border.as_mat(), &mut x, m);
        let x_mat = as_mat(&x, m);
        u.par_chunks_mut(m * LINES).enumerate().for_each(|(c, u)| {
            let lines = y.subrows(c * LINES, u.len() / m);
            add_product(as_mat_mut(u, m), -1.0, x_mat, lines.transpose());
        });
        rows.solve_upper_many(&mut u, m);
        separate(&u, m, row);
        separate(&x, m, border_columns);
    }
}

/// `x -= u Y`: by columns of a wide `Y`, else by parts of its lines, summed in order.
fn subtract_pull(y: MatRef<'_, f64>, u: &[f64], x: &mut [f64], m: usize) {
    let (n, k) = (y.nrows(), y.ncols());
    let all = as_mat(u, m);
    if k >= 4 * COLUMNS {
        x.par_chunks_mut(m * COLUMNS)
            .enumerate()
            .for_each(|(c, x)| {
                let columns = y.subcols(c * COLUMNS, x.len() / m);
                add_product(as_mat_mut(x, m), -1.0, all, columns);
            });
        return;
    }
    let lines = n.div_ceil(PARTS);
    let parts: Vec<Vec<f64>> = u
        .par_chunks(m * lines)
        .enumerate()
        .map(|(c, u)| {
            let mut part = vec![0.0; x.len()];
            let lines = y.subrows(c * lines, u.len() / m);
            add_product(as_mat_mut(&mut part, m), -1.0, as_mat(u, m), lines);
            part
        })
        .collect();
    for part in parts {
        x.iter_mut().zip(part).for_each(|(x, part)| *x += part);
    }
}
