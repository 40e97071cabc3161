//! The last pass of a rows-first solve, together with the products that measure it.
//!
//! ```math
//! s_i = B_i x_\beta, \quad x_i = D_i^{-1} (b_i - s_i), \quad
//! y_i = D_i x_i + s_i, \quad y_\beta \mathrel{+}= B_i' x_i,
//! ```
//!
//! and the same with absolute values. Few rows at a time are read from memory for $`s`$ and once more
//! from cache for $`B' x`$: a solve with its residual reads $`B`$ once and $`Y`$ once, where solving
//! through $`Y`$ and measuring after it reads one of them once more.
//!
//! $`D_i^{-1}`$ meets a rounding error of the size of $`B_i x_\beta`$, where $`L_i^{-T}`$ would meet one of
//! the size of $`Y_i x_\beta`$: in the border's equations that is larger by at most the growth of
//! [`RowFactors::growth`], so the caller comes here where it is small.

use super::row_blocks::RowFactors;
use crate::blas1::{WIDTH, axpy, axpys_abs, dots_abs};
use crate::{DenseSystem, ProductMut, Ridge};
use pulp::Arch;
use rayon::prelude::*;
use std::ops::Range;

/// The most partial sums of the border's part, whatever the shape.
const PARTS: usize = 16;

/// A range of rows with its parts of what is read and written.
struct Part<'p> {
    rows: Range<usize>,
    x: &'p mut [f64],
    y: &'p mut [f64],
    y_abs: &'p mut [f64],
}

/// Overwrites `x_row`, the rows' right-hand side, by their solution for `x_border`, writes their
/// part of the product to `y` and adds theirs of the border's.
pub(super) fn push_and_multiply(
    arch: Arch,
    system: &DenseSystem<'_>,
    factors: &RowFactors,
    ridge: Ridge,
    x_border: &[f64],
    x_row: &mut [f64],
    y: ProductMut<'_>,
) {
    let k = x_border.len();
    let sums: Vec<_> = parts(system, x_row, y.row, y.row_abs)
        .into_par_iter()
        .map(|part| {
            let mut border = (vec![0.0; k], vec![0.0; k]);
            push_part(
                arch,
                system,
                factors,
                ridge.row,
                x_border,
                part,
                &mut border,
            );
            border
        })
        .collect();
    for (sum, sum_abs) in sums {
        axpy(arch, 1.0, &sum, y.border);
        axpy(arch, 1.0, &sum_abs, y.border_abs);
    }
}

/// At most [`PARTS`] ranges of rows, by the shape alone.
fn parts<'p>(
    system: &DenseSystem<'_>,
    mut x: &'p mut [f64],
    mut y: &'p mut [f64],
    mut y_abs: &'p mut [f64],
) -> Vec<Part<'p>> {
    let rows = system.shape().rows();
    let chunk = rows.rows().div_ceil(PARTS).max(1);
    let cut = |first: usize| {
        let last = (first + chunk).min(rows.rows());
        let len = rows.offset(last) - rows.offset(first);
        let part = |from: &mut &'p mut [f64]| {
            let (head, tail) = std::mem::take(from).split_at_mut(len);
            *from = tail;
            head
        };
        Part {
            rows: first..last,
            x: part(&mut x),
            y: part(&mut y),
            y_abs: part(&mut y_abs),
        }
    };
    (0..rows.rows()).step_by(chunk).map(cut).collect()
}

fn push_part(
    arch: Arch,
    system: &DenseSystem<'_>,
    factors: &RowFactors,
    rho: f64,
    x_border: &[f64],
    part: Part<'_>,
    border: &mut (Vec<f64>, Vec<f64>),
) {
    let rows = system.shape().rows();
    let places = system.unknowns(part.rows.clone());
    let (mut copy, mut sums) = (Vec::new(), Vec::new());
    let (mut i, mut done) = (part.rows.start, 0);
    while i < part.rows.end {
        // Whole blocks that fit one loop, or one block that does not.
        let first = i;
        let mut len = rows.dim(i);
        i += 1;
        while i < part.rows.end && len + rows.dim(i) <= WIDTH {
            len += rows.dim(i);
            i += 1;
        }
        let group = done..done + len;
        done += len;
        let lines = system.lines(&places[group.clone()], &mut copy);
        sums.clear();
        sums.resize(len, [0.0; 2]);
        for (lines, sums) in lines.chunks(WIDTH).zip(sums.chunks_mut(WIDTH)) {
            dots_abs(arch, lines, x_border, sums);
        }
        let (x, y) = (&mut part.x[group.clone()], &mut part.y[group.clone()]);
        let y_abs = &mut part.y_abs[group];
        let mut at = 0;
        for row in first..i {
            let own = at..at + rows.dim(row);
            at = own.end;
            let x = &mut x[own.clone()];
            for (x, [sum, _]) in x.iter_mut().zip(&sums[own.clone()]) {
                *x -= sum;
            }
            factors.solve_block(row, x);
            let (y, y_abs) = (&mut y[own.clone()], &mut y_abs[own.clone()]);
            for (a, [sum, sum_abs]) in sums[own].iter().enumerate() {
                (y[a], y_abs[a]) = (*sum, *sum_abs);
                for (b, x) in x.iter().enumerate() {
                    let entry = system.row_hessian().get(rows, row, a.max(b), a.min(b));
                    let term = if a == b { entry + rho } else { entry } * x;
                    y[a] += term;
                    y_abs[a] += term.abs();
                }
            }
        }
        for (x, lines) in x.chunks(WIDTH).zip(lines.chunks(WIDTH)) {
            axpys_abs(arch, x, lines, &mut border.0, &mut border.1);
        }
    }
}
