//! A factored operator on a device, which solves.

use super::FrameSummary;
use super::linearisation::Linearisation;
use super::vector::DeviceVector;
use crate::{
    Error, Factored, Failure, Gradient, LogDeterminant, NoLogDeterminant, Pivot, Refinement, Ridge,
    SolveReport, SolveStats, StepMut,
};
use broadhead_device::{ExecutionPath, Stream};

/// A factored operator on a device: of a [`Linearisation`], or in room of its own, where the operands were
/// given back.
pub struct Factorization<'l> {
    of: Room<'l>,
    factored: Factored,
    ridge: Ridge,
}

/// Where the factors are.
enum Room<'l> {
    Borrowed(&'l mut Linearisation),
    Owned(Box<Linearisation>),
}

impl std::fmt::Debug for Factorization<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Factorization")
            .field("of", self.at())
            .field("ridge", &self.ridge)
            .finish_non_exhaustive()
    }
}

impl<'l> Factorization<'l> {
    pub(super) fn borrowed(of: &'l mut Linearisation, ridge: Ridge, factored: Factored) -> Self {
        let of = Room::Borrowed(of);
        Self {
            of,
            factored,
            ridge,
        }
    }
}

impl Factorization<'static> {
    pub(super) fn owned(of: Linearisation, ridge: Ridge, factored: Factored) -> Self {
        let of = Room::Owned(Box::new(of));
        Self {
            of,
            factored,
            ridge,
        }
    }
}

impl Factorization<'_> {
    fn at(&self) -> &Linearisation {
        match &self.of {
            Room::Borrowed(of) => of,
            Room::Owned(of) => of,
        }
    }

    fn at_mut(&mut self) -> &mut Linearisation {
        match &mut self.of {
            Room::Borrowed(of) => of,
            Room::Owned(of) => of,
        }
    }

    /// The ridge of its factors.
    pub fn ridge(&self) -> Ridge {
        self.ridge
    }

    /// Where its work runs.
    pub fn execution_path(&self) -> ExecutionPath {
        ExecutionPath::GpuResidentLinearization
    }

    /// $`\log|H + \rho|`$ with the scale of its rounding error.
    ///
    /// # Errors
    /// The reason, where it is absent: of conjugate gradients.
    pub fn log_determinant(&self) -> Result<LogDeterminant, NoLogDeterminant> {
        self.factored.log_determinant
    }

    /// The smallest pivot of any row block, or of the rows after the border's elimination.
    pub fn row_pivot(&self) -> Option<Pivot> {
        self.factored.row_pivot
    }

    /// The smallest pivot of the border; of structured systems of $`G`$, or of the core times that of
    /// $`G`$ which it corrects.
    pub fn border_pivot(&self) -> Option<Pivot> {
        self.factored.border_pivot
    }

    /// What it keeps, how it was made, what it cost, and what is held.
    pub fn summary(&self) -> FrameSummary {
        self.at().summary()
    }

    /// Device bytes held, the library's workspace apart.
    pub fn bytes(&self) -> u64 {
        self.at().bytes()
    }

    /// The stream that it works on.
    pub fn stream(&self) -> &Stream {
        self.at().stream()
    }

    /// A vector of zeros on the device, of this shape.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn vector(&self) -> Result<DeviceVector, Error> {
        self.at().vector()
    }

    /// `step` becomes $`-(H + \rho)^{-1} g`$ for a gradient on the device. Nothing moves and nothing
    /// waits; numbers that are not finite are not looked for. Conjugate gradients bring a record of 72
    /// bytes, which [`Self::solved`] reads.
    ///
    /// # Errors
    /// [`Error::Shape`]; [`Error::Device`], also where a vector is of another stream.
    pub fn solve_resident(
        &mut self,
        gradient: &DeviceVector,
        step: &mut DeviceVector,
    ) -> Result<(), Error> {
        self.at_mut().submit_solve(gradient, step)
    }

    /// What the last solve found: see [`Linearisation::solved`].
    ///
    /// # Errors
    /// As [`Linearisation::solved`].
    pub fn solved(&mut self) -> Result<SolveStats, Failure> {
        self.at_mut().solved()
    }

    /// [`Self::solve_resident`], and measures the step over the operands and refines it as `refinement`
    /// says: the errors are those of [`crate::BackwardError`], as the CPU finds them. Waits for a record of
    /// 40 bytes a measurement, and of conjugate gradients for that of every solve.
    ///
    /// # Errors
    /// [`Error::Shape`] where a vector is of another shape; [`Error::Overflow`] where the step is not
    /// finite; [`Error::Device`], also where the operands were given back; of conjugate gradients
    /// [`Error::NotConverged`] (see [`crate::IterativeOptions`]) and those of [`Self::solved`].
    pub fn solve_measured(
        &mut self,
        gradient: &DeviceVector,
        step: &mut DeviceVector,
        refinement: Refinement,
    ) -> Result<SolveReport, Failure> {
        let ridge = self.ridge;
        self.at_mut()
            .solve_measured(ridge, gradient, step, refinement)
    }

    /// Solves for one or many gradients of the host: `8 (N + k)` bytes in and as many out for
    /// each. Conjugate gradients that stood still above the residual asked say so in the answer.
    ///
    /// # Errors
    /// [`Error::Shape`]; [`Error::NotFinite`] where a gradient is not finite; [`Error::Overflow`]
    /// where a step is not; [`Error::Device`]; of conjugate gradients those of
    /// [`Linearisation::solved`].
    pub fn solve(
        &mut self,
        gradient: Gradient<'_>,
        mut step: StepMut<'_>,
    ) -> Result<SolveStats, Failure> {
        gradient.check_finite()?;
        match self.at_mut().solve_host(gradient, &mut step)? {
            (stats, true) => Ok(stats),
            (_, false) => Err(Error::Overflow { what: "the step" }.into()),
        }
    }
}
