//! Solves that say how good they are, and refine where they are not, on the device.
//!
//! As the CPU's refinement: while the componentwise backward error exceeds the limit, a correction is
//! solved for from the residual; one that does not help is taken back. The operands, the factors and
//! all vectors stay where they are; a measurement brings one record of 40 bytes back.

use crate::device::factors::DeviceElimination;
use crate::device::residual::DeviceResidual;
use crate::device::system::DenseNumbers;
use crate::device::{DeviceSystem, DeviceVector};
use crate::{Error, Refinement, Ridge, SolveReport};
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
    (factors, system, numbers, residual): (
        &mut (dyn DeviceElimination + 'static),
        &DeviceSystem,
        &DenseNumbers,
        &mut DeviceResidual,
    ),
    ridge: Ridge,
    refinement: Refinement,
    (gradient, step): (&DeviceVector, &mut DeviceVector),
) -> Result<SolveReport, Error> {
    let mut report = SolveReport {
        error: None,
        refinements: 0,
        iterations: 0,
    };
    factors.solve(system, gradient, step)?;
    if refinement == Refinement::Off {
        return Ok(report);
    }
    let stream = factors.stream().clone();
    let measure = |residual: &mut DeviceResidual, step: &DeviceVector| {
        let (layout, index, operands) = (&numbers.layout, &numbers.index, &numbers.operands);
        residual.measure(&stream, layout, index, operands, ridge, (gradient, step))
    };
    let mut error = measure(residual, step)?;
    // A step that is not finite has no error that is.
    if !error.normwise.is_finite() {
        return Err(Error::Overflow { what: "the step" });
    }
    let (limit, most) = match refinement {
        Refinement::Steps { limit, max_steps } => (limit, max_steps),
        _ => (f64::INFINITY, 0),
    };
    let size = |error: &crate::BackwardError| error.componentwise.unwrap_or(f64::INFINITY);
    while report.refinements < most && size(&error) > limit {
        // The residual is the gradient of the correction.
        factors.solve(system, &residual.residual, &mut residual.correction)?;
        residual.advance(&stream, &numbers.layout, step)?;
        let refined = measure(residual, step)?;
        // Not `>=`: where either is NaN, nothing has got better.
        let better = size(&refined) < size(&error);
        if !better {
            residual.take_back(&stream, step)?;
            break;
        }
        error = refined;
        report.refinements += 1;
    }
    report.error = Some(error);
    Ok(report)
}
