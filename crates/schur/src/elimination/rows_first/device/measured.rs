//! Solves that say how good they are, and refine where they are not, on the device.
//!
//! As the CPU's refinement: while the componentwise backward error exceeds the limit, a correction is
//! solved for from the residual; one that does not help is taken back. The operands, the factors and
//! all vectors stay where they are; a measurement brings one record of 40 bytes back.

use super::factors::Factors;
use crate::device::operands::Operands;
use crate::device::residual::DeviceResidual;
use crate::device::vector::{ResidentVector, check_vector};
use crate::elimination::rows_first::device::Base;
use crate::{Error, Refinement, Ridge, SolveReport};
use broadhead_device::{ByteClass, DeviceError, Refusal};

impl Base {
    /// Solves by the frame made last, as [`crate::device::Frame::solve_resident`], and measures the step and
    /// refines it as `refinement` says. Waits for a record of 40 bytes a measurement.
    ///
    /// # Errors
    /// [`Error::Shape`] where a vector is of another shape; [`Error::Overflow`] where the step is not
    /// finite; [`Error::Device`], also where there is no frame.
    pub fn solve_measured(
        &mut self,
        gradient: &ResidentVector,
        step: &mut ResidentVector,
        refinement: Refinement,
    ) -> Result<SolveReport, Error> {
        for (array, vector) in [("gradient", gradient), ("step", &*step)] {
            check_vector(array, &self.factors.layout, vector)?;
        }
        let ridge = self.ridge_of_frame()?;
        let on = (&mut self.factors, &self.operands, &mut self.residual);
        solve(on, ridge, refinement, (gradient, step))
    }

    /// The same for one right-hand side `b` of the host, overwritten by `(H + rho)^-1 b`.
    pub(crate) fn solve_host_measured(
        &mut self,
        (row, border): (&mut [f64], &mut [f64]),
        refinement: Refinement,
    ) -> Result<SolveReport, Error> {
        let (stream, class) = (self.stream().clone(), ByteClass::Gradient);
        let ridge = self.ridge_of_frame()?;
        // The gradient is -b.
        row.iter_mut().chain(&mut *border).for_each(|x| *x = -*x);
        stream.upload_into(row, self.gradient.row_mut(), class)?;
        stream.upload_into(border, self.gradient.border_mut()?, class)?;
        let on = (&mut self.factors, &self.operands, &mut self.residual);
        let report = solve(on, ridge, refinement, (&self.gradient, &mut self.step))?;
        row.copy_from_slice(&stream.download(self.step.row(), class)?);
        border.copy_from_slice(&stream.download(self.step.border()?, class)?);
        Ok(report)
    }

    fn ridge_of_frame(&self) -> Result<Ridge, Error> {
        match &self.last {
            Some((ridge, _)) => Ok(*ridge),
            None => Err(Error::Device(DeviceError::Refusal(Refusal::Shape {
                what: "a measured solve".to_owned(),
                expected: "a frame".to_owned(),
                found: "none".to_owned(),
            }))),
        }
    }
}

fn solve(
    (factors, operands, residual): (&mut Factors, &Operands, &mut DeviceResidual),
    ridge: Ridge,
    refinement: Refinement,
    (gradient, step): (&ResidentVector, &mut ResidentVector),
) -> Result<SolveReport, Error> {
    let mut report = SolveReport {
        error: None,
        refinements: 0,
        iterations: 0,
    };
    factors.solve(gradient, step)?;
    if refinement == Refinement::Off {
        return Ok(report);
    }
    let stream = factors.stream.clone();
    let measure = |factors: &Factors, residual: &mut DeviceResidual, step: &ResidentVector| {
        let (layout, index) = (&factors.layout, &factors.index);
        residual.measure(&stream, layout, index, operands, ridge, (gradient, step))
    };
    let mut error = measure(factors, residual, step)?;
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
        factors.solve(&residual.residual, &mut residual.correction)?;
        residual.advance(&stream, &factors.layout, step)?;
        let refined = measure(factors, residual, step)?;
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
