//! Outer sequences: many gradients under one operator and one ridge share a frame.

use super::{QuadraticProblem, Vectors};
use broadhead_schur::{ArrowVector, BackwardError, Failure, LogDeterminant, Ridge};
use std::ops::ControlFlow;

/// What an outer sequence did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OuterReport {
    /// Gradients solved for.
    pub outers: u64,
    /// Frames built: 1, or 0 where the problem had the frame at this ridge already.
    pub frame_builds: u64,
    /// The worst backward errors of any solve; absent where refinement is off.
    pub error: Option<BackwardError>,
    /// $`\log|H + \rho|`$, where the elimination gives it.
    pub log_determinant: Option<LogDeterminant>,
}

impl QuadraticProblem<'_> {
    /// Solves $`(H + \rho)\,\delta = -g`$ for one gradient after another under one frame.
    ///
    /// `next(i, step, gradient)` is given the previous step (zeros at first) and writes gradient `i`,
    /// or breaks. The call that breaks is given the last step.
    ///
    /// # Errors
    /// As [`broadhead_schur::Base::factor`] and [`broadhead_schur::Frame::solve`].
    pub fn outer_sequence(
        &mut self,
        ridge: Ridge,
        next: &mut dyn FnMut(u64, &ArrowVector, &mut ArrowVector) -> ControlFlow<()>,
    ) -> Result<OuterReport, Failure> {
        let before = self.base.ledger().factorizations;
        let Vectors { residual, step, .. } = &mut *self.vectors;
        step.row.fill(0.0);
        step.border.fill(0.0);
        let mut frame = self.base.frame(ridge)?;
        let log_determinant = frame.log_determinant().ok();
        let (mut outers, mut error) = (0, None::<BackwardError>);
        while next(outers, step, residual).is_continue() {
            let solve = frame.solve(residual.as_gradient(), step.as_step())?;
            outers += 1;
            if let Some(new) = solve.error {
                error = Some(error.map_or(new, |worst| worst.worst(new)));
            }
        }
        let frame_builds = self.base.ledger().factorizations - before;
        self.builds += frame_builds;
        Ok(OuterReport {
            outers,
            frame_builds,
            error,
            log_determinant,
        })
    }
}
