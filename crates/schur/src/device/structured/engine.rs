//! Structured systems on a device behind the trait of all eliminations.

use crate::device::vector::solve_for;
use crate::device::{FrameSummary, Placement, StructuredBase, StructuredMethod};
use crate::elimination::structured_only;
use crate::{
    Elimination, EliminationKind, Error, Factored, Failure, RhsMut, Ridge, SolveStats,
    StructuredShape, System,
};
use broadhead_device::{ExecutionPath, LedgerSnapshot};

/// A [`StructuredBase`] as an [`Elimination`].
#[derive(Debug)]
pub struct StructuredEngine {
    base: StructuredBase,
}

impl StructuredEngine {
    /// Room for systems of `shape` at `place`, and for their factors by `method`.
    ///
    /// # Errors
    /// As [`StructuredBase::with_method`].
    pub fn new(
        place: &Placement,
        shape: &StructuredShape,
        method: StructuredMethod,
    ) -> Result<Self, Error> {
        let base = StructuredBase::with_method(&place.stream, shape, method)?;
        Ok(Self { base })
    }
}

impl Elimination for StructuredEngine {
    fn kind(&self) -> EliminationKind {
        self.base.method().kind()
    }

    fn path(&self) -> ExecutionPath {
        ExecutionPath::GpuResidentLinearization
    }

    fn bytes(&self) -> u64 {
        self.base.bytes().total()
    }

    fn ledger(&self) -> Option<LedgerSnapshot> {
        Some(self.base.ledger())
    }

    fn frame_summary(&self) -> Option<FrameSummary> {
        Some(self.base.summary())
    }

    fn refresh(&mut self, system: &System<'_>) -> Result<(), Error> {
        let system = structured_only(self.kind(), system)?;
        self.base.refresh_checked(&system)
    }

    fn factor(&mut self, _system: &System<'_>, ridge: Ridge) -> Result<Factored, Failure> {
        self.base.factor_in_place(ridge)
    }

    fn factors(&mut self, _system: &System<'_>, ridge: Ridge) -> Result<bool, Error> {
        self.base.factors_at(ridge)
    }

    fn solve(&mut self, _system: &System<'_>, rhs: RhsMut<'_>) -> Result<SolveStats, Failure> {
        let arrow = self.base.shape().arrow();
        let sizes = (arrow.row_unknowns(), arrow.border());
        solve_for(sizes, rhs, |gradient, step| {
            self.base.solve_host(gradient, step)
        })
    }
}
