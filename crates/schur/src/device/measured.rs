//! Solves that say how good they are, and refine where they are not, on the device.
//!
//! As the CPU's refinement: while a step misses its [`Aim`], of direct eliminations a componentwise backward
//! error, a correction is solved for from the residual; one that does not help is taken back. The operands, the
//! factors and all vectors stay where they are; a measurement brings one record of 40 bytes back, and a solve
//! by conjugate gradients its own.

use super::factors::DeviceElimination;
use super::residual::DeviceResidual;
use super::{DeviceSystem, DeviceVector};
use crate::refine::{Aim, not_converged};
use crate::{Error, Failure, Refinement, Ridge, SolveReport};
use broadhead_device::{DeviceError, Refusal};

/// That there are no factors to solve by.
pub(crate) fn no_factors() -> Error {
    refused("a frame")
}

/// That there is nothing to measure with.
pub(crate) fn no_room() -> Error {
    refused("operands that are there")
}

fn refused(expected: &str) -> Error {
    Error::Device(DeviceError::Refusal(Refusal::Shape {
        what: "a measured solve".to_owned(),
        expected: expected.to_owned(),
        found: "none".to_owned(),
    }))
}

/// Solves by factors at `ridge` of operands that are there.
pub(crate) fn solve(
    (factors, system, residual): (
        &mut (dyn DeviceElimination + 'static),
        &DeviceSystem,
        &mut DeviceResidual,
    ),
    ridge: Ridge,
    refinement: Refinement,
    (gradient, step): (&DeviceVector, &mut DeviceVector),
) -> Result<SolveReport, Failure> {
    factors.solve(system, gradient, step)?;
    let stats = factors.solved()?;
    let asked = factors.residual_asked();
    let mut report = SolveReport {
        error: None,
        refinements: 0,
        iterations: stats.iterations,
    };
    // Where conjugate gradients stood still, what is not refined has not the residual asked.
    let stands = || match (stats.stalled_at, asked) {
        (Some(residual), Some(target)) => Err(not_converged(stats.iterations, residual, target)),
        _ => Ok(()),
    };
    if refinement == Refinement::Off {
        return stands().map(|()| report);
    }
    let stream = factors.stream().clone();
    let mut error = residual.measure(&stream, system, ridge, (gradient, step))?;
    // A step that is not finite has no error that is.
    if !error.normwise.is_finite() {
        return Err(Error::Overflow { what: "the step" }.into());
    }
    report.error = Some(error);
    let Refinement::Steps { limit, max_steps } = refinement else {
        return stands().map(|()| report);
    };
    let aim = Aim::new(asked, limit);
    while report.refinements < max_steps && !aim.met(&error) {
        // The residual is the gradient of the correction.
        factors.solve(system, &residual.residual, &mut residual.correction)?;
        report.iterations += factors.solved()?.iterations;
        residual.advance(&stream, step)?;
        let refined = residual.measure(&stream, system, ridge, (gradient, step))?;
        if !aim.closer(&refined, &error) {
            residual.take_back(&stream, step)?;
            break;
        }
        error = refined;
        report.refinements += 1;
    }
    aim.check(&error, report.iterations)?;
    report.error = Some(error);
    Ok(report)
}
