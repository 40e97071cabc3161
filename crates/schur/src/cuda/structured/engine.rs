//! Structured systems on a device behind the trait of all eliminations.

use super::{Error, Failure, StructuredBase, StructuredMethod};
use crate::cuda::{FrameSummary, Placement};
use crate::elimination::structured_only;
use crate::{
    Elimination, EliminationKind, Factored, Gradient, RhsMut, Ridge, SolveStats, StepMut,
    StructuredShape, System,
};
use broadhead_device::{ExecutionPath, LedgerSnapshot};
use faer::{MatMut, MatRef};

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
        self.base.summary()
    }

    fn refresh(&mut self, system: &System<'_>) -> Result<(), Error> {
        let system = structured_only(self.kind(), system)?;
        self.base.refresh_checked(&system)
    }

    fn factor(&mut self, _system: &System<'_>, ridge: Ridge) -> Result<Factored, Failure> {
        self.base.factor_in_place(ridge)
    }

    fn solve(&mut self, _system: &System<'_>, rhs: RhsMut<'_>) -> Result<SolveStats, Failure> {
        let arrow = self.base.shape().arrow();
        let (n, k, m) = (arrow.row_unknowns(), arrow.border(), rhs.count);
        // The device answers -H^-1 g.
        let negated = |part: &[f64]| part.iter().map(|x| -x).collect::<Vec<_>>();
        let (row, border) = (negated(rhs.row), negated(rhs.border));
        let gradient = Gradient::many(
            MatRef::from_column_major_slice(&row, n, m),
            MatRef::from_column_major_slice(&border, k, m),
        );
        let mut step = StepMut::many(
            MatMut::from_column_major_slice_mut(rhs.row, n, m),
            MatMut::from_column_major_slice_mut(rhs.border, k, m),
        );
        self.base.solve_host(gradient, &mut step)
    }
}
