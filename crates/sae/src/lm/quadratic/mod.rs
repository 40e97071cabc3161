//! The quadratic inner problem over fixed slabs.
//!
//! ```math
//! \phi(z) = \tfrac12 |X|^2 + \tfrac12 z' H z - g_0' z, \qquad r(z) = H z - g_0 .
//! ```
//!
//! The slabs hold $`g_0`$, so $`r(0) = -g_0`$ and the first step is minus the answer of a frame's
//! `solve` for $`g = g_0`$. Residual, objective and trial objective come from $`H z`$ over the
//! operands, never from the algebra of the step.
//!
//! ```text
//!   QuadraticWorkspace     storage for one shape: a solver and its vectors; made once
//!     └ load(system, g0)   -> QuadraticProblem: the numbers of one problem; allocates nothing
//!         ├ single_step    one solve at a ridge, with what it predicts
//!         ├ fit            the Levenberg-Marquardt loop
//!         └ outer_sequence many gradients under one operator and ridge: one frame build
//! ```

mod fit;
mod many;
mod outer;
mod vectors;

pub use fit::{LogDeterminantAbsence, QuadraticError, QuadraticFit};
pub(crate) use fit::{at_zero_ridge, norm};
pub use many::{ManyFit, fit_many};
pub use outer::OuterReport;

use crate::lm::Objective;
use crate::options::SolveOptions;
use crate::place::Place;
use broadhead_schur::{
    ArrowVector, Base, Error, Failure, Gradient, LogDeterminant, MeanDiagonals, ProductMut, Ridge,
    SolveReport, Solver, System,
};
use vectors::{Vectors, Which};

/// Storage for quadratic problems of one shape.
#[derive(Debug)]
pub struct QuadraticWorkspace {
    solver: Solver,
    vectors: Vectors,
}

impl QuadraticWorkspace {
    /// Plans for problems of the shape of `system` on `place`, and allocates. No number is read.
    ///
    /// # Errors
    /// As [`Solver::new`].
    pub fn new(system: &System<'_>, options: &SolveOptions, place: &Place) -> Result<Self, Error> {
        let vectors = Vectors::new(system.shape());
        Ok(Self {
            solver: Solver::new(system, place.solver(options))?,
            vectors,
        })
    }

    /// Bytes held now.
    pub fn bytes(&self) -> u64 {
        self.solver.bytes() + self.vectors.bytes()
    }

    /// The solver, with its plan and prices.
    pub fn solver(&self) -> &Solver {
        &self.solver
    }

    /// Takes the numbers of one problem: `system`, `g0` and $`|X|^2`$. Allocates nothing.
    ///
    /// # Errors
    /// [`Error::NotFinite`] naming the array and index, [`Error::Shape`].
    pub fn load<'w, 'a: 'w>(
        &'w mut self,
        system: impl Into<System<'a>>,
        g0: Gradient<'_>,
        data_norm_squared: f64,
    ) -> Result<QuadraticProblem<'w>, Error> {
        check_data_norm_squared(data_norm_squared)?;
        let base = self.solver.refresh(system)?;
        self.vectors.load(&base, g0)?;
        Ok(QuadraticProblem {
            base,
            vectors: &mut self.vectors,
            data_norm_squared,
            builds: 0,
        })
    }
}

/// Checks that the square of a norm is finite and not negative.
pub(crate) fn check_data_norm_squared(value: f64) -> Result<(), Error> {
    if value.is_finite() && value >= 0.0 {
        return Ok(());
    }
    let (array, index) = ("data_norm_squared", Vec::new());
    Err(Error::NotFinite {
        array,
        index,
        value,
    })
}

/// One quadratic problem in its workspace.
#[derive(Debug)]
pub struct QuadraticProblem<'w> {
    base: Base<'w>,
    vectors: &'w mut Vectors,
    data_norm_squared: f64,
    builds: u64,
}

/// One step from $`z = 0`$ and the reduction it brings.
#[derive(Clone, Debug, PartialEq)]
pub struct SingleStep {
    /// $`\delta`$ with $`(H + \rho)\,\delta = g_0`$.
    pub step: ArrowVector,
    /// What the solve did and how well.
    pub solve: SolveReport,
    /// The reduction that the bare quadratic predicts.
    pub predicted: f64,
    /// $`\phi(0) - \phi(\delta)`$, from $`H \delta`$ over the operands.
    pub actual: f64,
    /// $`\log|H + \rho|`$, where the elimination gives it.
    pub log_determinant: Option<LogDeterminant>,
}

impl QuadraticProblem<'_> {
    /// Frames built for this problem so far.
    pub fn frame_builds(&self) -> u64 {
        self.builds
    }

    /// Mean diagonals of both sides, the scale of relative ridges.
    pub fn mean_diagonals(&self) -> MeanDiagonals {
        self.vectors.means
    }

    /// One solve from $`z = 0`$ at an absolute ridge, and the reduction it brings.
    ///
    /// # Errors
    /// As [`Base::factor`] and [`broadhead_schur::Frame::solve`].
    pub fn single_step(&mut self, ridge: Ridge) -> Result<SingleStep, Failure> {
        self.vectors.reset();
        let Vectors { residual, step, .. } = &mut *self.vectors;
        let before = self.base.ledger().factorizations;
        let mut frame = self.base.frame(ridge)?;
        let solve = frame.solve(residual.as_gradient(), step.as_step())?;
        let log_determinant = frame.log_determinant().ok();
        self.builds += self.base.ledger().factorizations - before;
        let predicted = self.predicted_reduction()?;
        let trial = self.evaluate_trial()?;
        let start = self
            .vectors
            .objective(self.data_norm_squared, Which::Current);
        Ok(SingleStep {
            step: self.vectors.step.clone(),
            solve,
            predicted,
            actual: start.value - trial.value,
            log_determinant,
        })
    }

    /// The reduction that the bare quadratic predicts of `step` from the current point.
    fn predicted_reduction(&mut self) -> Result<f64, Error> {
        let Vectors { residual, step, .. } = &mut *self.vectors;
        let model = self
            .base
            .quadratic_model(residual.as_gradient(), step.as_step())?;
        Ok(model.predicted_reduction())
    }

    /// Moves the trial point to `z + step` and evaluates it from $`H (z + \delta)`$.
    fn evaluate_trial(&mut self) -> Result<Objective, Error> {
        self.vectors.move_trial();
        let Vectors {
            trial,
            trial_product,
            absolute,
            ..
        } = &mut *self.vectors;
        let y = ProductMut {
            row: &mut trial_product.row,
            border: &mut trial_product.border,
            row_abs: &mut absolute.row,
            border_abs: &mut absolute.border,
        };
        self.base
            .product(&trial.row, &trial.border, Ridge::ZERO, y)?;
        Ok(self.vectors.objective(self.data_norm_squared, Which::Trial))
    }
}
