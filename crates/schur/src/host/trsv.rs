//! Triangular solves for one right-hand side (TRSV), at the speed of memory.
//!
//! ```text
//!   L column-major, order x order        forward: a task a panel of rows, left to right
//!                                        backward: a task a panel of columns, bottom to top
//!   [ \        ]   [ \        ]
//!   [ #\       ]   [  \       ]          # is read eight columns at a time, so that eight streams
//!   [ ##\      ]   [  #\      ]          keep the memory busy; every entry is read once
//!   [ ###\     ]   [  ##\     ]
//! ```
//!
//! The panels depend on the order alone; tasks hand their part of the solution on through a
//! [`wavefront`], so the bits do not depend on the number of threads.

use crate::host::blas1::{axpys, dots};
use crate::host::wavefront;
use pulp::Arch;
use std::ops::Range;

/// Rows of a panel of the forward solve.
const ROWS: usize = 512;
/// Columns of a panel of the backward solve.
const COLUMNS: usize = 64;
/// Rows that a task of the backward solve waits for at once, where it can.
const STRETCH: usize = 1024;
/// Order of a triangle that is solved entry by entry.
const TRIANGLE: usize = 64;
/// Streams at once.
const STREAMS: usize = 8;
/// Entries of the triangle that are worth a thread.
const THREAD: usize = 1 << 17;

/// The lower triangle of a column-major matrix.
#[derive(Clone, Copy)]
struct Lower<'l> {
    arch: Arch,
    order: usize,
    data: &'l [f64],
}

/// $`x \leftarrow L^{-1} x`$ for `L` column-major of order `x.len()`.
pub(crate) fn solve_lower(arch: Arch, data: &[f64], x: &mut [f64]) {
    let order = x.len();
    let l = Lower { arch, order, data };
    let panel = |t: usize| t * ROWS..((t + 1) * ROWS).min(order);
    wavefront::run(
        order.div_ceil(ROWS),
        l.threads(),
        x,
        &panel,
        |t, worker, own| {
            for q in 0..t {
                let known = worker.after(q)?;
                l.subtract(panel(t), panel(q), known, own);
            }
            l.solve_panel(panel(t), own);
            Ok(())
        },
    );
}

/// $`x \leftarrow L^{-T} x`$ for `L` column-major of order `x.len()`.
pub(crate) fn solve_upper(arch: Arch, data: &[f64], x: &mut [f64]) {
    let order = x.len();
    let l = Lower { arch, order, data };
    let panels = order.div_ceil(COLUMNS);
    // Task `t` solves panel `panels - 1 - t`.
    let panel = |t: usize| {
        let p = panels - 1 - t;
        p * COLUMNS..((p + 1) * COLUMNS).min(order)
    };
    wavefront::run(panels, l.threads(), x, &panel, |t, worker, own| {
        let columns = panel(t);
        let mut from = order;
        while from > columns.end {
            // Long stretches where the rows are long known, panels close to the diagonal.
            let stretch = (from - 1) / STRETCH * STRETCH;
            let to = if stretch >= columns.end {
                stretch
            } else {
                (from - 1) / COLUMNS * COLUMNS
            };
            let known = worker.after(panels - 1 - to / COLUMNS)?;
            l.subtract_transposed(to..from, columns.clone(), known, own);
            from = to;
        }
        l.solve_transposed_triangle(columns, own);
        Ok(())
    });
}

impl<'l> Lower<'l> {
    fn threads(&self) -> usize {
        rayon::current_num_threads().min(self.order * self.order / (2 * THREAD))
    }

    fn column(&self, j: usize, rows: Range<usize>) -> &'l [f64] {
        &self.data[j * self.order + rows.start..j * self.order + rows.end]
    }

    /// `y -= L[rows, columns] x[columns]`.
    fn subtract(&self, rows: Range<usize>, columns: Range<usize>, x: &[f64], y: &mut [f64]) {
        let column = |j| self.column(j, rows.clone());
        let mut j = columns.start;
        while j + STREAMS <= columns.end {
            let weights = std::array::from_fn(|o| -x[j + o]);
            axpys::<STREAMS>(
                self.arch,
                weights,
                std::array::from_fn(|o| column(j + o)),
                y,
            );
            j += STREAMS;
        }
        for j in j..columns.end {
            axpys(self.arch, [-x[j]], [column(j)], y);
        }
    }

    /// `y -= L[rows, columns]' x[rows]`.
    fn subtract_transposed(
        &self,
        rows: Range<usize>,
        columns: Range<usize>,
        x: &[f64],
        y: &mut [f64],
    ) {
        let column = |j| self.column(j, rows.clone());
        let x = &x[rows.clone()];
        let (whole, rest) = y.as_chunks_mut::<STREAMS>();
        let mut j = columns.start;
        for y in whole {
            let sums = dots::<STREAMS>(self.arch, std::array::from_fn(|o| column(j + o)), x);
            y.iter_mut().zip(sums).for_each(|(y, sum)| *y -= sum);
            j += STREAMS;
        }
        for y in rest {
            let [sum] = dots(self.arch, [column(j)], x);
            *y -= sum;
            j += 1;
        }
    }

    /// `y <- L[panel, panel]^-1 y`.
    fn solve_panel(&self, panel: Range<usize>, y: &mut [f64]) {
        for first in panel.clone().step_by(TRIANGLE) {
            let last = (first + TRIANGLE).min(panel.end);
            let (head, tail) = y[first - panel.start..].split_at_mut(last - first);
            self.solve_triangle(first..last, head);
            let mut x = [0.0; TRIANGLE];
            x[..head.len()].copy_from_slice(head);
            self.subtract_from(last..panel.end, first, &x[..head.len()], tail);
        }
    }

    /// `y -= L[rows, first..] x`.
    fn subtract_from(&self, rows: Range<usize>, first: usize, x: &[f64], y: &mut [f64]) {
        if rows.is_empty() {
            return;
        }
        let column = |j| self.column(j, rows.clone());
        let (whole, rest) = x.as_chunks::<STREAMS>();
        let mut j = first;
        for x in whole {
            let columns = std::array::from_fn(|o| column(j + o));
            axpys::<STREAMS>(self.arch, x.map(|x| -x), columns, y);
            j += STREAMS;
        }
        for x in rest {
            axpys(self.arch, [-x], [column(j)], y);
            j += 1;
        }
    }

    fn solve_triangle(&self, range: Range<usize>, y: &mut [f64]) {
        self.arch.dispatch(
            #[inline(always)]
            || {
                for j in range.clone() {
                    let column = self.column(j, j..range.end);
                    let (head, below) = y[j - range.start..].split_at_mut(1);
                    let value = head[0] / column[0];
                    head[0] = value;
                    for (y, l) in below.iter_mut().zip(&column[1..]) {
                        *y -= l * value;
                    }
                }
            },
        );
    }

    /// `y <- L[range, range]^-T y`.
    fn solve_transposed_triangle(&self, range: Range<usize>, y: &mut [f64]) {
        for j in range.clone().rev() {
            let column = self.column(j, j..range.end);
            let (head, below) = y[j - range.start..].split_at_mut(1);
            let [sum] = dots(self.arch, [&column[1..]], below);
            head[0] = (head[0] - sum) / column[0];
        }
    }
}
