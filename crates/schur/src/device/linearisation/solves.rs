//! Solves by a linearisation's factors, and the trait of all eliminations.

use super::Linearisation;
use crate::device::measured;
use crate::device::vector::check_vectors;
use crate::device::vector::columns::{self, Sent};
use crate::device::{DeviceVector, FrameSummary};
use crate::{
    Elimination, EliminationKind, Error, Factored, Failure, Gradient, Refinement, RhsMut, Ridge,
    SolveReport, SolveStats, StepMut, System,
};
use broadhead_device::{DeviceBuffer, ExecutionPath, LedgerSnapshot};
use faer::{MatMut, MatRef};

/// Where gradients of the host's lie on the device, and then their steps.
enum Staged {
    None,
    /// In the linearisation's own vectors.
    One,
    /// One after another, of the rows and of the border.
    Many([DeviceBuffer<f64>; 2]),
}

/// Solves, of which a factorization is the public side.
impl Linearisation {
    /// Solves for gradients of the host; however many they are, they and their steps travel once. Whether all
    /// numbers of the steps are finite comes with what the solves found.
    pub(in crate::device) fn solve_host(
        &mut self,
        gradient: Gradient<'_>,
        step: &mut StepMut<'_>,
    ) -> Result<(SolveStats, bool), Failure> {
        let (shape, count) = (self.system.shape(), gradient.count());
        let (n, k) = (shape.row_unknowns(), shape.border());
        gradient.check_sizes(n, k, count)?;
        step.check_sizes(n, k, count)?;
        let mut staged = self.send_columns([gradient.row, gradient.border], Sent::Gradients)?;
        let stats = self.solve_staged(&mut staged, count)?;
        let to = [step.row.as_mut(), step.border.as_mut()];
        Ok((stats, self.fetch_columns(&staged, to)?))
    }

    /// Overwrites right-hand sides of the host.
    fn solve_rhs(&mut self, rhs: RhsMut<'_>) -> Result<SolveStats, Failure> {
        rhs.check(self.shape()).map_err(Error::from)?;
        let mut staged = self.send_columns(self.parts(&rhs), Sent::RightHandSides)?;
        let stats = self.solve_staged(&mut staged, rhs.count)?;
        let to = self.parts_mut(rhs);
        self.fetch_columns(&staged, to)?;
        Ok(stats)
    }

    fn parts<'r>(&self, rhs: &'r RhsMut<'_>) -> [MatRef<'r, f64>; 2] {
        let shape = self.system.shape();
        let of = |part: &'r [f64], len| MatRef::from_column_major_slice(part, len, rhs.count);
        [
            of(rhs.row, shape.row_unknowns()),
            of(rhs.border, shape.border()),
        ]
    }

    fn parts_mut<'r>(&self, rhs: RhsMut<'r>) -> [MatMut<'r, f64>; 2] {
        let (shape, m) = (self.system.shape(), rhs.count);
        let of = |part: &'r mut [f64], len| MatMut::from_column_major_slice_mut(part, len, m);
        [
            of(rhs.row, shape.row_unknowns()),
            of(rhs.border, shape.border()),
        ]
    }

    fn send_columns(&mut self, from: [MatRef<'_, f64>; 2], sent: Sent) -> Result<Staged, Error> {
        let (stream, [row, border]) = (self.stream().clone(), from);
        match row.ncols() {
            0 => Ok(Staged::None),
            1 => {
                let to = &mut self.gradient;
                columns::send(&stream, row, sent, to.row_mut())?;
                columns::send(&stream, border, sent, to.border_mut()?)?;
                Ok(Staged::One)
            }
            count => {
                let mut rows = stream.alloc(row.nrows() * count, "row gradients")?;
                let mut borders = stream.alloc(border.nrows() * count, "border gradients")?;
                columns::send(&stream, row, sent, rows.view_mut())?;
                columns::send(&stream, border, sent, borders.view_mut())?;
                Ok(Staged::Many([rows, borders]))
            }
        }
    }

    fn solve_staged(&mut self, staged: &mut Staged, count: usize) -> Result<SolveStats, Failure> {
        let (system, factors) = (&self.system, &mut self.factors);
        let (from, to) = (&mut self.gradient, &mut self.step);
        match staged {
            Staged::None => Ok(SolveStats::default()),
            Staged::One => {
                factors.solve(system, from, to)?;
                factors.solved()
            }
            Staged::Many(gradients) => {
                factors.solve_many(system, gradients.each_mut(), count, [from, to])
            }
        }
    }

    /// Whether all numbers are finite.
    fn fetch_columns(&self, staged: &Staged, to: [MatMut<'_, f64>; 2]) -> Result<bool, Error> {
        let from = match staged {
            Staged::None => return Ok(true),
            Staged::One => [self.step.row(), self.step.border()?],
            Staged::Many(steps) => steps.each_ref().map(DeviceBuffer::view),
        };
        columns::fetch(self.stream(), from, to)
    }

    /// Solves by the factors at `ridge`, measures the step over the operands and refines it.
    pub(in crate::device) fn solve_measured(
        &mut self,
        ridge: Ridge,
        gradient: &DeviceVector,
        step: &mut DeviceVector,
        refinement: Refinement,
    ) -> Result<SolveReport, Failure> {
        check_vectors(
            self.factors.lengths(),
            [("gradient", gradient), ("step", &*step)],
        )?;
        let residual = self.residual.as_mut().ok_or_else(measured::no_room)?;
        let on = (&mut *self.factors, &self.system, residual);
        measured::solve(on, ridge, refinement, (gradient, step))
    }

    /// The same for a gradient of the host.
    fn solve_host_measured(
        &mut self,
        gradient: &Gradient<'_>,
        step: &mut StepMut<'_>,
        refinement: Refinement,
    ) -> Result<SolveReport, Failure> {
        let Some((ridge, _)) = &self.last else {
            return Err(measured::no_factors().into());
        };
        let ridge = *ridge;
        let (n, k) = (self.shape().row_unknowns(), self.shape().border());
        gradient.check_sizes(n, k, 1)?;
        step.check_sizes(n, k, 1)?;
        let staged = self.send_columns([gradient.row, gradient.border], Sent::Gradients)?;
        let residual = self.residual.as_mut().ok_or_else(measured::no_room)?;
        let on = (&mut *self.factors, &self.system, residual);
        let vectors = (&self.gradient, &mut self.step);
        let report = measured::solve(on, ridge, refinement, vectors)?;
        let to = [step.row.as_mut(), step.border.as_mut()];
        match self.fetch_columns(&staged, to)? {
            true => Ok(report),
            false => Err(Error::Overflow { what: "the step" }.into()),
        }
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
        self.solve_rhs(rhs)
    }

    /// Where the operands were given back, the caller measures what is solved.
    fn solve_measured(
        &mut self,
        gradient: &Gradient<'_>,
        step: &mut StepMut<'_>,
        refinement: Refinement,
    ) -> Option<Result<SolveReport, Failure>> {
        self.residual.as_ref()?;
        Some(self.solve_host_measured(gradient, step, refinement))
    }
}
