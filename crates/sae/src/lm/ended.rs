//! Where an inner loop ended: its point, and what is still to be asked about it.

use crate::error::CurvedError;
use crate::iterate::point::{Frozen, Penalty, Point};
use crate::lm::curved::{Chosen, SolveSummary, system_of};
use broadhead_device::ExecutionPath;
use broadhead_schur::{EliminationKind, Failure, LogDeterminant, Ridge, Solver};

/// See the [module](self). The trial point is gone, and where steps went by conjugate gradients all that they needed
/// is: rows may be many.
pub(crate) struct Ended<'a> {
    pub(crate) model: Frozen<'a>,
    pub(crate) point: Point,
    /// The solver, with room for slopes and row blocks; none after conjugate gradients.
    pub(crate) factored: Option<Factorable>,
}

/// What factors the Hessian at an end.
pub(crate) struct Factorable {
    pub(crate) solver: Box<Solver>,
    pub(crate) psi: Vec<f64>,
    pub(crate) row_hessian: Vec<f64>,
}

impl Ended<'_> {
    /// The elimination that the planner chose, or that was pinned.
    pub(crate) fn elimination(&self) -> EliminationKind {
        match &self.factored {
            Some(factored) => factored.solver.plan().chosen,
            None => EliminationKind::Iterative,
        }
    }

    /// Where its linear solves ran.
    pub(crate) fn path(&self) -> ExecutionPath {
        match &self.factored {
            Some(factored) => factored.solver.plan().path,
            None => ExecutionPath::Cpu,
        }
    }

    /// The penalties of its objective.
    pub(crate) fn penalty(&self) -> Penalty {
        self.model.penalty
    }

    /// `log|H|` at zero ridge, or why it is absent; `solves` counts its factorization.
    ///
    /// # Errors
    /// What ends the work.
    pub(crate) fn log_determinant(
        &mut self,
        solves: &mut SolveSummary,
    ) -> Result<Result<LogDeterminant, String>, CurvedError> {
        let Some(factored) = &mut self.factored else {
            return Ok(Err("conjugate gradients factor no Hessian".to_owned()));
        };
        let Factorable {
            solver,
            psi,
            row_hessian,
        } = factored;
        // A rejected trial may have left its slopes.
        self.point.refresh_features(&self.model, psi);
        // H is the Hessian of `f`, with the penalty on flat coordinates.
        let kappa = self.model.penalty.kappa;
        let decoder = &self.point.decoder;
        (self.model).row_hessian(decoder, psi, kappa, row_hessian);
        let system = system_of(&self.model, &self.point, psi, row_hessian)?;
        let chosen = Chosen::of(solver.plan());
        let mut base = solver.refresh(system)?;
        solves.factored(chosen);
        match base.factor(Ridge::ZERO) {
            Ok(frame) => Ok(frame.log_determinant().map_err(|reason| reason.to_string())),
            Err(Failure::NotPositiveDefinite(npd)) => {
                Ok(Err(format!("singular at zero ridge: {npd}")))
            }
            Err(Failure::Stop(error)) => Err(error.into()),
        }
    }
}
