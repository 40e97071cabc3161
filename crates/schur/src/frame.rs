//! Frames: a factored operator at one ridge that solves for any number of gradients.

use crate::elimination::{
    Elimination, Factored, NoLogDeterminant, SolveStats, conjugate_gradients, factor_or_advise,
    holds, whole_bump,
};
use crate::host::condition;
use crate::host::parallel::released;
use crate::refine::{Aim, BackwardError, Refinement, measure_many, not_converged};
use crate::solver::{Buffers, Solver};
use crate::{
    EliminationKind, Error, Failure, Gradient, LogDeterminant, Pivot, RhsMut, Ridge, StepMut,
    System,
};
use broadhead_device::ExecutionPath;
use faer::prelude::*;
use faer::{MatMut, MatRef};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// What a solve did and how well.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SolveReport {
    /// Backward errors, the worst over the right-hand sides; absent with [`Refinement::Off`].
    pub error: Option<BackwardError>,
    /// Refinement steps taken and kept, the most of any right-hand side.
    pub refinements: u32,
    /// Conjugate-gradient iterations, over all right-hand sides.
    pub iterations: u64,
}

/// A factored operator. Borrowed from a [`crate::Base`]; see [`crate::Solver`].
#[derive(Debug)]
pub struct Frame<'b> {
    solver: &'b mut Solver,
    system: System<'b>,
    ridge: Ridge,
    factored: Factored,
    /// Whether its factors are those of the second engine.
    bare: bool,
}

impl<'b> Frame<'b> {
    pub(crate) fn new(
        solver: &'b mut Solver,
        system: System<'b>,
        ridge: Ridge,
        factored: Factored,
    ) -> Self {
        Self {
            solver,
            system,
            ridge,
            factored,
            bare: false,
        }
    }

    /// The ridge of its factors.
    pub fn ridge(&self) -> Ridge {
        self.ridge
    }

    /// The elimination that made it.
    pub fn elimination(&self) -> EliminationKind {
        self.solver.engine.kind()
    }

    /// Where its work runs.
    pub fn execution_path(&self) -> ExecutionPath {
        self.solver.engine.path()
    }

    /// $`\log|H + \rho|`$ with the scale of its rounding error.
    ///
    /// # Errors
    /// The reason, where it is absent.
    pub fn log_determinant(&self) -> Result<LogDeterminant, NoLogDeterminant> {
        self.factored.log_determinant
    }

    /// The smallest pivot of any row block.
    pub fn row_pivot(&self) -> Option<Pivot> {
        self.factored.row_pivot
    }

    /// The smallest pivot of the border, or of what stands in for it.
    pub fn border_pivot(&self) -> Option<Pivot> {
        self.factored.border_pivot
    }

    /// The smallest pivot of all.
    pub fn min_pivot(&self) -> Option<Pivot> {
        self.factored.min_pivot()
    }

    /// Solves $`(H + \rho)\,\delta = -g`$ for one or many gradients.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::NotFinite`] in a gradient, [`Error::Overflow`] where the step is
    /// not finite; of conjugate gradients [`Error::NotConverged`] (see
    /// [`crate::IterativeOptions`]) and a curvature that is not positive.
    pub fn solve(
        &mut self,
        gradient: Gradient<'_>,
        mut step: StepMut<'_>,
    ) -> Result<SolveReport, Failure> {
        let shape = self.system.shape();
        let count = gradient.count();
        gradient.check(shape, count)?;
        step.check(shape, count)?;
        gradient.check_finite()?;
        let mut report = SolveReport {
            error: None,
            refinements: 0,
            iterations: 0,
        };
        let _span = tracing::trace_span!("solve", count).entered();
        released(|| {
            if count == 1 {
                let mut buffers = std::mem::take(&mut self.solver.buffers);
                let outcome = self.solve_columns(&gradient, &mut step, &mut buffers, &mut report);
                self.solver.buffers = buffers;
                return match outcome {
                    Ok(()) => Ok(report),
                    Err(failure) => Err(self.advise(&gradient, failure)),
                };
            }
            let mut buffers = Buffers::many(shape.row_unknowns(), shape.border(), count);
            match self.solve_columns(&gradient, &mut step, &mut buffers, &mut report) {
                Ok(()) => Ok(report),
                Err(failure) => Err(self.advise(&gradient, failure)),
            }
        })
    }

    /// Adds to a curvature that conjugate gradients met the ridges at which they meet none: they are run
    /// at each that is tried. The frame's own factors are made again after it.
    fn advise(&mut self, gradient: &Gradient<'_>, failure: Failure) -> Failure {
        let mut failed = match failure {
            Failure::NotPositiveDefinite(failed) => failed,
            stop => return stop,
        };
        let (system, ridge, count) = (self.system, self.ridge, gradient.count());
        let (n, k) = (system.shape().row_unknowns(), system.shape().border());
        let (mut row, mut border) = (vec![0.0; n * count], vec![0.0; k * count]);
        let engine = self.engine();
        let whole = whole_bump(&system, ridge, &failed, |at| {
            if !engine.factors(&system, at)? {
                return Ok(false);
            }
            let negate = |from: MatRef<'_, f64>, to: &mut [f64]| {
                for (j, to) in to.chunks_exact_mut(from.nrows().max(1)).enumerate() {
                    let column = from.col(j);
                    to.iter_mut()
                        .zip(column.iter())
                        .for_each(|(to, x)| *to = -x);
                }
            };
            negate(gradient.row, &mut row);
            negate(gradient.border, &mut border);
            let rhs = RhsMut {
                row: &mut row,
                border: &mut border,
                count,
            };
            match holds(engine.solve(&system, rhs)) {
                Err(Error::NotConverged { .. }) => Ok(false),
                other => other,
            }
        });
        match (whole, engine.factor(&system, ridge)) {
            (Err(error), _) => error.into(),
            (Ok(_), Err(failure)) => failure,
            (Ok(whole), Ok(_)) => {
                failed.whole = whole;
                failed.into()
            }
        }
    }

    fn solve_columns(
        &mut self,
        gradient: &Gradient<'_>,
        step: &mut StepMut<'_>,
        buffers: &mut Buffers,
        report: &mut SolveReport,
    ) -> Result<(), Failure> {
        let (count, system) = (gradient.count(), self.system);
        let (ridge, refinement) = (self.ridge, self.solver.options().refinement);
        if count == 1
            && let Some(done) = self.engine().solve_measured(gradient, step, refinement)
        {
            *report = done?;
            return Ok(());
        }
        negate_into(gradient.row, &mut buffers.rhs_row, &mut buffers.x_row);
        negate_into(
            gradient.border,
            &mut buffers.rhs_border,
            &mut buffers.x_border,
        );
        let mut rhs = RhsMut {
            row: &mut buffers.x_row,
            border: &mut buffers.x_border,
            count,
        };
        let measure = refinement != Refinement::Off;
        let together = if measure && count > TOGETHER {
            self.engine().solve_and_measure(&system, ridge, &mut rhs)?
        } else {
            None
        };
        let (stats, multiplied) = if together.is_some() {
            (SolveStats::default(), false)
        } else if measure && count == 1 {
            let y = buffers.residual.product_mut();
            self.engine().solve_and_multiply(&system, ridge, rhs, y)?
        } else {
            (self.engine().solve(&system, rhs)?, false)
        };
        report.iterations += stats.iterations;
        let finite = |x: &[f64]| {
            let finite = |x: &[f64]| crate::system::first_not_finite(x).is_none();
            if x.len() <= ALONE {
                return finite(x);
            }
            x.par_chunks(ALONE).all(finite)
        };
        if !(finite(&buffers.x_row) && finite(&buffers.x_border)) {
            return Err(Error::Overflow { what: "the step" }.into());
        }
        let options = self.solver.options();
        if let (Some(residual), Refinement::Off | Refinement::Measure) =
            (stats.stalled_at, options.refinement)
        {
            let target = options.iterative.relative_residual;
            return Err(not_converged(stats.iterations, residual, target));
        }
        if measure {
            let measured = together.unwrap_or_else(|| self.measure_together(buffers, count));
            for j in 0..count {
                let (error, steps) = match measured.get(j) {
                    Some(error) if self.good_enough(error) => (*error, 0),
                    _ => self.refine(buffers, j, multiplied, &mut report.iterations)?,
                };
                report.error = Some(report.error.map_or(error, |worst| worst.worst(error)));
                report.refinements = report.refinements.max(steps);
            }
        }
        copy_out(&buffers.x_row, step.row.rb_mut());
        copy_out(&buffers.x_border, step.border.rb_mut());
        Ok(())
    }

    /// The errors of all columns, where measuring them together costs less than one by one.
    fn measure_together(&self, buffers: &Buffers, count: usize) -> Vec<BackwardError> {
        match &self.system {
            System::Dense(system) if count > TOGETHER => measure_many(
                system,
                self.ridge,
                (&buffers.rhs_row, &buffers.rhs_border),
                (&buffers.x_row, &buffers.x_border),
                count,
            ),
            _ => Vec::new(),
        }
    }

    /// Whether nothing is to be done about an error but to report it.
    fn good_enough(&self, error: &BackwardError) -> bool {
        match self.solver.options().refinement {
            Refinement::Off | Refinement::Measure => true,
            // Conjugate gradients have a measure of their own: see `refine`.
            Refinement::Steps { .. } if self.elimination() == conjugate_gradients::KIND => false,
            Refinement::Steps { limit, .. } => error.componentwise.is_some_and(|w| w <= limit),
        }
    }

    /// Measures column `j`, whose products may be there already (`multiplied`), and refines it as far
    /// as it helps and is allowed.
    fn refine(
        &mut self,
        buffers: &mut Buffers,
        j: usize,
        multiplied: bool,
        iterations: &mut u64,
    ) -> Result<(BackwardError, u32), Failure> {
        let system = self.system;
        let (n, k) = (system.shape().row_unknowns(), system.shape().border());
        let Buffers {
            rhs_row,
            rhs_border,
            x_row,
            x_border,
            residual,
        } = buffers;
        let b = (
            &rhs_row[j * n..(j + 1) * n],
            &rhs_border[j * k..(j + 1) * k],
        );
        let x = (
            &mut x_row[j * n..(j + 1) * n],
            &mut x_border[j * k..(j + 1) * k],
        );
        let mut error = if multiplied {
            residual.measure_product(b)
        } else {
            residual.measure(&system, self.ridge, b, (x.0, x.1))
        };
        let Refinement::Steps { limit, max_steps } = self.solver.options().refinement else {
            return Ok((error, 0));
        };
        let iterates = self.elimination() == conjugate_gradients::KIND;
        let asked = iterates.then_some(self.solver.options().iterative.relative_residual);
        let aim = Aim::new(asked, limit);
        let mut steps = 0;
        while steps < max_steps && !aim.met(&error) {
            let (mut row, mut border) = (residual.row.clone(), residual.border.clone());
            let rhs = RhsMut {
                row: &mut row,
                border: &mut border,
                count: 1,
            };
            *iterations += self.engine().solve(&system, rhs)?.iterations;
            // The correction's place keeps the step before it: subtracting would not restore it.
            let advance = |x: &mut [f64], d: &mut [f64]| {
                for (x, d) in x.iter_mut().zip(d) {
                    (*x, *d) = (*x + *d, *x);
                }
            };
            advance(x.0, &mut row);
            advance(x.1, &mut border);
            let refined = residual.measure(&system, self.ridge, b, (x.0, x.1));
            if !aim.closer(&refined, &error) {
                x.0.copy_from_slice(&row);
                x.1.copy_from_slice(&border);
                break;
            }
            error = refined;
            steps += 1;
        }
        aim.check(&error, *iterations)?;
        Ok((error, steps))
    }

    /// An estimate of $`\kappa_1(H + \rho)`$, by about five solves (Higham 1988): never above it but
    /// for rounding, seldom below a third of it. 1 for an empty system. Of an operator system,
    /// whose entries are not known, the norm too is a lower bound.
    ///
    /// # Errors
    /// As [`Frame::solve`]; [`Error::Overflow`] where it passes the largest finite number.
    pub fn condition_estimate(&mut self) -> Result<f64, Failure> {
        let system = self.system;
        let norm = condition::one_norm(&system, self.ridge);
        let (n, k) = (system.shape().row_unknowns(), system.shape().border());
        if n + k == 0 {
            return Ok(1.0);
        }
        let inverse = condition::inverse_norm_estimate(n + k, |x| {
            let (row, border) = x.split_at_mut(n);
            let rhs = RhsMut {
                row,
                border,
                count: 1,
            };
            self.engine().solve(&system, rhs).map(|_| ())
        })?;
        let estimate = norm * inverse;
        if !estimate.is_finite() {
            return Err(Error::Overflow {
                what: "the condition estimate",
            }
            .into());
        }
        Ok(estimate)
    }

    /// The factors at zero ridge, kept beside these in storage of their own (made on first use).
    /// Where this frame's ridge is zero already, the factors are its own.
    ///
    /// # Errors
    /// [`Failure::NotPositiveDefinite`] where the bare operator is singular or indefinite;
    /// [`Error::Memory`] where the second factors pass the memory limit; on a device, which keeps them
    /// beside these, its own error where it has not the memory.
    pub fn unridged(&mut self) -> Result<Frame<'_>, Failure> {
        let (system, bare_already) = (
            self.system.shorten(),
            self.bare || self.ridge == Ridge::ZERO,
        );
        if bare_already {
            return Ok(Frame {
                solver: self.solver,
                system,
                ridge: Ridge::ZERO,
                factored: self.factored.clone(),
                bare: self.bare,
            });
        }
        let bare = self.solver.bare_engine(&system)?;
        let factored = factor_or_advise(bare.as_mut(), &system, Ridge::ZERO)?;
        self.solver.ledger.factorizations += 1;
        Ok(Frame {
            solver: self.solver,
            system,
            ridge: Ridge::ZERO,
            factored,
            bare: true,
        })
    }

    fn engine(&mut self) -> &mut dyn Elimination {
        match &mut self.solver.bare {
            Some(bare) if self.bare => bare.as_mut(),
            _ => self.solver.engine.as_mut(),
        }
    }
}

/// Numbers that one thread has looked at or moved before another has woken.
const ALONE: usize = 1 << 16;

/// So many right-hand sides are measured one by one: to interleave them costs more than it saves.
const TOGETHER: usize = 2;

/// Writes the negative of `from` to both, column by column.
fn negate_into(from: MatRef<'_, f64>, to: &mut [f64], copy: &mut [f64]) {
    let negate = |(j, (to, copy)): (usize, (&mut [f64], &mut [f64]))| {
        let pairs = to.iter_mut().zip(copy);
        let column = from.col(j);
        match column.try_as_col_major() {
            Some(column) => pairs
                .zip(column.as_slice())
                .for_each(|((to, copy), from)| (*to, *copy) = (-from, -from)),
            None => pairs
                .zip(column.iter())
                .for_each(|((to, copy), from)| (*to, *copy) = (-from, -from)),
        }
    };
    let rows = from.nrows().max(1);
    if from.ncols() == 1 {
        let columns = to.chunks_exact_mut(rows).zip(copy.chunks_exact_mut(rows));
        columns.enumerate().for_each(negate);
        return;
    }
    let columns = to.par_chunks_exact_mut(rows);
    columns
        .zip(copy.par_chunks_exact_mut(rows))
        .enumerate()
        .for_each(negate);
}

fn copy_out(from: &[f64], to: MatMut<'_, f64>) {
    let copy =
        |from: &[f64], mut to: faer::ColMut<'_, f64>| match to.rb_mut().try_as_col_major_mut() {
            Some(column) => column.as_slice_mut().copy_from_slice(from),
            None => {
                let pairs = to.iter_mut().zip(from);
                pairs.for_each(|(to, from)| *to = *from);
            }
        };
    if to.ncols() == 1 {
        copy(from, to.col_mut(0));
        return;
    }
    let columns = from.par_chunks_exact(to.nrows().max(1));
    columns
        .zip(to.par_col_iter_mut())
        .for_each(|(from, to)| copy(from, to));
}
