//! Solves by a linearisation's factors, and the trait of all eliminations.

use super::Linearisation;
use crate::device::vector::{check_vectors, columns, put_columns, solve_for};
use crate::device::{DeviceVector, FrameSummary};
use crate::elimination::rows_first::device::measured;
use crate::{
    Elimination, EliminationKind, Error, Factored, Failure, Gradient, Refinement, RhsMut, Ridge,
    SolveReport, SolveStats, StepMut, System,
};
use broadhead_device::{ByteClass, ExecutionPath, LedgerSnapshot};

/// Solves, of which a factorization is the public side.
impl Linearisation {
    /// Solves for gradients of the host; however many they are, they and their steps travel once.
    pub(in crate::device) fn solve_host(
        &mut self,
        gradient: Gradient<'_>,
        step: &mut StepMut<'_>,
    ) -> Result<SolveStats, Failure> {
        let shape = self.system.shape();
        let (n, k, count) = (shape.row_unknowns(), shape.border(), gradient.count());
        gradient.check_sizes(n, k, count)?;
        step.check_sizes(n, k, count)?;
        let (stream, class) = (self.stream().clone(), ByteClass::Gradient);
        let (row, border) = (columns(gradient.row), columns(gradient.border));
        let (system, factors) = (&self.system, &mut self.factors);
        let (from, to) = (&mut self.gradient, &mut self.step);
        let (row, border, stats) = match count {
            0 => return Ok(SolveStats::default()),
            1 => {
                stream.upload_into(&row, from.row_mut(), class)?;
                stream.upload_into(&border, from.border_mut()?, class)?;
                factors.solve(system, from, to)?;
                let stats = factors.solved()?;
                let row = stream.download(to.row(), class)?;
                (row, stream.download(to.border()?, class)?, stats)
            }
            _ => {
                let mut rows = stream.upload(&row, class, "row gradients")?;
                let mut borders = stream.upload(&border, class, "border gradients")?;
                let gradients = [&mut rows, &mut borders];
                let stats = factors.solve_many(system, gradients, count, [from, to])?;
                let row = stream.download(rows.view(), class)?;
                (row, stream.download(borders.view(), class)?, stats)
            }
        };
        put_columns(step, &row, &border);
        Ok(stats)
    }

    /// Solves by the factors at `ridge`, measures the step over the operands and refines it.
    pub(in crate::device) fn solve_measured(
        &mut self,
        ridge: Ridge,
        gradient: &DeviceVector,
        step: &mut DeviceVector,
        refinement: Refinement,
    ) -> Result<SolveReport, Error> {
        check_vectors(
            self.factors.lengths(),
            [("gradient", gradient), ("step", &*step)],
        )?;
        let numbers = self.system.dense_numbers()?;
        let residual = self.residual.as_mut().ok_or_else(measured::no_room)?;
        let on = (&mut *self.factors, &self.system, numbers, residual);
        measured::solve(on, ridge, refinement, (gradient, step))
    }

    /// The same for one right-hand side `b` of the host, overwritten by `(H + rho)^-1 b`.
    fn solve_host_measured(
        &mut self,
        (row, border): (&mut [f64], &mut [f64]),
        refinement: Refinement,
    ) -> Result<SolveReport, Error> {
        let (stream, class) = (self.stream().clone(), ByteClass::Gradient);
        let Some((ridge, _)) = &self.last else {
            return Err(measured::no_factors());
        };
        // The gradient is -b.
        row.iter_mut().chain(&mut *border).for_each(|x| *x = -*x);
        stream.upload_into(row, self.gradient.row_mut(), class)?;
        stream.upload_into(border, self.gradient.border_mut()?, class)?;
        let numbers = self.system.dense_numbers()?;
        let residual = self.residual.as_mut().ok_or_else(measured::no_room)?;
        let on = (&mut *self.factors, &self.system, numbers, residual);
        let vectors = (&self.gradient, &mut self.step);
        let report = measured::solve(on, *ridge, refinement, vectors)?;
        row.copy_from_slice(&stream.download(self.step.row(), class)?);
        border.copy_from_slice(&stream.download(self.step.border()?, class)?);
        Ok(report)
    }
}

/// Operands travel at a refresh, right-hand sides and solutions at a solve.
impl Elimination for Linearisation {
    fn kind(&self) -> EliminationKind {
        self.elimination
    }

    fn path(&self) -> ExecutionPath {
        ExecutionPath::GpuResidentLinearization
    }

    fn bytes(&self) -> u64 {
        Linearisation::bytes(self)
    }

    fn ledger(&self) -> Option<LedgerSnapshot> {
        Some(Linearisation::ledger(self))
    }

    fn frame_summary(&self) -> Option<FrameSummary> {
        Some(self.summary())
    }

    fn refresh(&mut self, system: &System<'_>) -> Result<(), Error> {
        self.send(system)
    }

    fn factor(&mut self, _system: &System<'_>, ridge: Ridge) -> Result<Factored, Failure> {
        self.factor_in_place(ridge)
    }

    fn factors(&mut self, _system: &System<'_>, ridge: Ridge) -> Result<bool, Error> {
        self.factors_at(ridge)
    }

    fn solve(&mut self, _system: &System<'_>, rhs: RhsMut<'_>) -> Result<SolveStats, Failure> {
        let shape = self.system.shape();
        let sizes = (shape.row_unknowns(), shape.border());
        solve_for(sizes, rhs, |gradient, step| self.solve_host(gradient, step))
    }

    /// Of dense systems; what is solved of structured ones is measured on the host.
    fn solve_measured(
        &mut self,
        rhs: &mut RhsMut<'_>,
        refinement: Refinement,
    ) -> Option<Result<SolveReport, Failure>> {
        self.residual.as_ref()?;
        let one = (&mut *rhs.row, &mut *rhs.border);
        let measured = self.solve_host_measured(one, refinement);
        Some(measured.map_err(Failure::from))
    }
}
