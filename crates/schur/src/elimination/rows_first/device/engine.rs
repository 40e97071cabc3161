//! Rows first on a device behind the trait of all eliminations.

use crate::device::{Base, FrameSummary, Keep, Placement};
use crate::elimination::dense_only;
use crate::{
    ArrowShape, Elimination, EliminationKind, Error, Factored, Failure, Gradient, Refinement,
    RhsMut, Ridge, SolveReport, SolveStats, StepMut, System,
};
use broadhead_device::{ExecutionPath, LedgerSnapshot};
use faer::{MatMut, MatRef};

/// A [`Base`] as an [`Elimination`]: operands travel at a refresh, right-hand sides and solutions
/// at a solve.
#[derive(Debug)]
pub struct Engine {
    base: Base,
}

impl Engine {
    /// Room for systems of `shape` at `place`, in frames that keep `keep`.
    ///
    /// # Errors
    /// As [`Base::new`].
    pub fn new(place: &Placement, shape: &ArrowShape, keep: Keep) -> Result<Self, Error> {
        let base = Base::new(&place.stream, shape, keep)?;
        Ok(Self { base })
    }
}

impl Elimination for Engine {
    fn kind(&self) -> EliminationKind {
        EliminationKind::Rows
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
        let system = dense_only(self.kind(), system)?;
        self.base.refresh_checked(&system)?;
        Ok(())
    }

    fn factor(&mut self, _system: &System<'_>, ridge: Ridge) -> Result<Factored, Failure> {
        self.base.factor_in_place(ridge)
    }

    fn factors(&mut self, _system: &System<'_>, ridge: Ridge) -> Result<bool, Error> {
        self.base.factors_at(ridge)
    }

    fn solve(&mut self, _system: &System<'_>, rhs: RhsMut<'_>) -> Result<SolveStats, Failure> {
        let shape = self.base.shape();
        let sizes = (shape.row_unknowns(), shape.border());
        solve_for(sizes, rhs, |gradient, step| {
            self.base.solve_host(gradient, step)
        })?;
        Ok(SolveStats::default())
    }

    fn solve_measured(
        &mut self,
        rhs: &mut RhsMut<'_>,
        refinement: Refinement,
    ) -> Option<Result<SolveReport, Failure>> {
        let one = (&mut *rhs.row, &mut *rhs.border);
        let measured = self.base.solve_host_measured(one, refinement);
        Some(measured.map_err(Failure::from))
    }
}

/// Overwrites right-hand sides `b` by $`H^{-1} b`$ with the help of `solve`, which answers gradients by
/// their steps, $`-H^{-1} g`$, of `n` unknowns of the rows and `k` of the border.
pub(crate) fn solve_for<T>(
    (n, k): (usize, usize),
    rhs: RhsMut<'_>,
    solve: impl FnOnce(Gradient<'_>, &mut StepMut<'_>) -> T,
) -> T {
    let m = rhs.count;
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
    solve(gradient, &mut step)
}
