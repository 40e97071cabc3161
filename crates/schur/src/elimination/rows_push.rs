//! The last pass of a rows-first solve, together with the products that measure it.
//!
//! ```math
//! s_i = B_i x_\beta, \quad x_i = D_i^{-1} (b_i - s_i), \quad
//! y_i = D_i x_i + s_i, \quad y_\beta \mathrel{+}= B_i' x_i,
//! ```
//!
//! and the same with absolute values. Few rows at a time are read from memory for $`s`$ and once more
//! from cache for $`B' x`$, in the loop that reads the next ones: a solve with its residual reads $`B`$ once and $`Y`$ once, where solving
//! through $`Y`$ and measuring after it reads one of them once more.
//!
//! $`D_i^{-1}`$ meets a rounding error of the size of $`B_i x_\beta`$, where $`L_i^{-T}`$ would meet one of
//! the size of $`Y_i x_\beta`$: in the border's equations that is larger by at most the growth of
//! [`RowFactors::growth`], so the caller comes here where it is small.

use super::row_blocks::RowFactors;
use crate::blas1::{WIDTH, axpy, axpys_abs, axpys_dots_abs, dots_abs};
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
            let mut push = Push {
                arch,
                system,
                factors,
                rho: ridge.row,
                x_border,
                border: vec![0.0; k],
                border_abs: vec![0.0; k],
            };
            push.run(part);
            (push.border, push.border_abs)
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

/// What the work on one part reads, and its sums of the border's part of the product.
struct Push<'p, 'a> {
    arch: Arch,
    system: &'p DenseSystem<'a>,
    factors: &'p RowFactors,
    rho: f64,
    x_border: &'p [f64],
    border: Vec<f64>,
    border_abs: Vec<f64>,
}

/// Lines that wait for their second use, with their rows' solution.
struct Waiting<'a> {
    x: Vec<f64>,
    lines: Vec<&'a [f64]>,
}

impl<'a> Push<'_, 'a> {
    fn run(&mut self, mut part: Part<'_>) {
        let (system, rows) = (self.system, self.system.shape().rows());
        let start = rows.offset(part.rows.start);
        let (mut copy, mut sums) = (Vec::new(), Vec::new());
        let mut waiting: Option<Waiting<'a>> = None;
        let mut first = part.rows.start;
        while first < part.rows.end {
            let group = first..self.end_of_group(first, part.rows.end);
            first = group.end;
            let own = rows.offset(group.start) - start..rows.offset(group.end) - start;
            sums.clear();
            sums.resize(own.len(), [0.0; 2]);
            if own.len() <= WIDTH
                && let Some(lines) = system.adjacent_lines(system.unknowns(group.clone()))
            {
                self.dots(waiting, &lines, &mut sums);
                self.solve_rows(group, own.clone(), &sums, &mut part);
                let x = part.x[own].to_vec();
                waiting = Some(Waiting { x, lines });
                continue;
            }
            // Of one block that is wide, or lines that were copied, both uses come at once.
            self.finish(waiting.take());
            let lines = system.lines(system.unknowns(group.clone()), &mut copy);
            for (lines, sums) in lines.chunks(WIDTH).zip(sums.chunks_mut(WIDTH)) {
                dots_abs(self.arch, lines, self.x_border, sums);
            }
            self.solve_rows(group, own.clone(), &sums, &mut part);
            for (x, lines) in part.x[own].chunks(WIDTH).zip(lines.chunks(WIDTH)) {
                let (y, y_abs) = (&mut self.border, &mut self.border_abs);
                axpys_abs(self.arch, x, lines, y, y_abs);
            }
        }
        self.finish(waiting);
    }

    /// Whole blocks that fit one loop, or one block that does not.
    fn end_of_group(&self, first: usize, end: usize) -> usize {
        let rows = self.system.shape().rows();
        let mut last = first + 1;
        while last < end && rows.offset(last + 1) - rows.offset(first) <= WIDTH {
            last += 1;
        }
        last
    }

    /// The products of `lines` with the border's solution, and what the lines before wait for.
    fn dots(&mut self, before: Option<Waiting<'_>>, lines: &[&[f64]], sums: &mut [[f64; 2]]) {
        match before {
            Some(before) if before.lines.len() == lines.len() => {
                let y = (&mut self.border[..], &mut self.border_abs[..]);
                let old = (&before.x[..], &before.lines[..]);
                axpys_dots_abs(self.arch, old, y, lines, self.x_border, sums);
            }
            before => {
                self.finish(before);
                dots_abs(self.arch, lines, self.x_border, sums);
            }
        }
    }

    fn finish(&mut self, waiting: Option<Waiting<'_>>) {
        if let Some(Waiting { x, lines }) = waiting {
            let (y, y_abs) = (&mut self.border, &mut self.border_abs);
            axpys_abs(self.arch, &x, &lines, y, y_abs);
        }
    }

    /// Solves the rows of a group, unknowns `own` of the part, and forms their part of the product.
    fn solve_rows(
        &self,
        group: Range<usize>,
        own: Range<usize>,
        sums: &[[f64; 2]],
        part: &mut Part<'_>,
    ) {
        let (rows, blocks) = (self.system.shape().rows(), self.system.row_hessian());
        let (x, y) = (&mut part.x[own.clone()], &mut part.y[own.clone()]);
        let y_abs = &mut part.y_abs[own];
        let mut at = 0;
        for row in group {
            let own = at..at + rows.dim(row);
            at = own.end;
            let (x, sums) = (&mut x[own.clone()], &sums[own.clone()]);
            for (x, [sum, _]) in x.iter_mut().zip(sums) {
                *x -= sum;
            }
            self.factors.solve_block(row, x);
            let (y, y_abs) = (&mut y[own.clone()], &mut y_abs[own]);
            for (a, [sum, sum_abs]) in sums.iter().enumerate() {
                (y[a], y_abs[a]) = (*sum, *sum_abs);
                for (b, x) in x.iter().enumerate() {
                    let entry = blocks.get(rows, row, a.max(b), a.min(b));
                    let term = if a == b { entry + self.rho } else { entry } * x;
                    y[a] += term;
                    y_abs[a] += term.abs();
                }
            }
        }
    }
}
