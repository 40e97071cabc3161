//! A linearisation on a device: the numbers of a system, with room for factors. It also is an
//! [`crate::Elimination`], so that a [`crate::Solver`] can use a device.

mod solves;
mod submitted;
mod written;

use super::factorization::Factorization;
use super::factors::DeviceElimination;
use super::layout::{DeviceBytes, Layout};
use super::residual::{DenseTerms, DeviceResidual, ResidualTerms};
use super::structured;
use super::structured::layout::Sizes;
use super::structured::residual::StructuredTerms;
use super::summary::Chosen;
use super::vector::DeviceVector;
use super::{DeviceSystem, FrameSummary, Keep, Placement};
use crate::elimination::rows_first;
use crate::elimination::rows_first::device::RowsFactors;
use crate::host::bump::whole;
use crate::{
    ArrowShape, EliminationKind, Error, Factored, Failure, FrameCost, Gradient, IterativeOptions,
    MeanDiagonals, NotPositiveDefinite, Ridge, SolveStats, StepMut, StructuredShape, System,
};
use broadhead_device::{ExecutionPath, LedgerSnapshot, Stream};

/// One linearisation on a device: a system, whose numbers lie there, and room for its factors by one
/// elimination.
pub struct Linearisation {
    elimination: EliminationKind,
    system: DeviceSystem,
    factors: Box<dyn DeviceElimination>,
    /// A gradient of the host's, and its step.
    gradient: DeviceVector,
    step: DeviceVector,
    /// What measures steps there, unless the operands were given back.
    residual: Option<DeviceResidual>,
    cost: FrameCost,
    /// What the present factors are.
    last: Option<(Ridge, Factored)>,
}

impl std::fmt::Debug for Linearisation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Linearisation")
            .field("elimination", &self.elimination)
            .field("system", &self.system)
            .field("keep", &self.keep())
            .finish_non_exhaustive()
    }
}

/// Making one.
impl Linearisation {
    /// Device bytes that [`Linearisation::dense`] allocates where nothing is pinned but what is kept, the
    /// library's workspace apart.
    ///
    /// # Errors
    /// As [`Linearisation::dense`], but for the memory.
    pub fn bytes_of_dense(shape: &ArrowShape, keep: Keep) -> Result<u64, Error> {
        Ok(Layout::new(shape)?.bytes(keep).total())
    }

    /// Room for dense systems of `shape` at `place`, whose ledger counts what follows, and for their
    /// factors by rows first.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for rows wider than [`super::WIDEST_BLOCK`], and where a pinned way does not
    /// serve the shape or the device; [`Error::Device`] with [`Refusal::Memory`](broadhead_device::Refusal)
    /// where less is free than is needed, before anything is allocated, or with what the device answered.
    pub fn dense(place: &Placement, shape: &ArrowShape) -> Result<Self, Error> {
        let (stream, keep) = (&place.stream, place.keep.unwrap_or_default());
        let layout = Layout::new(shape)?;
        let needed = layout.bytes(keep).total();
        stream
            .context()
            .expect_free(needed, "rows first on the device")?;
        let chosen = Chosen::of(place, &layout)?;
        let system = DeviceSystem::dense(stream, shape)?;
        let factors = RowsFactors::new(stream, shape, system.dense_numbers()?, keep, chosen)?;
        let terms = DenseTerms::new(stream, &layout)?;
        let cost = FrameCost::of(&rows_first::work::on_device(shape, keep));
        Self::of(
            rows_first::KIND,
            system,
            Box::new(factors),
            Box::new(terms),
            cost,
        )
    }

    /// Device bytes that [`Linearisation::structured`] allocates, the library's workspace apart.
    ///
    /// # Errors
    /// As [`Linearisation::structured`], but for the memory.
    pub fn bytes_of_structured(
        shape: &StructuredShape,
        elimination: EliminationKind,
        keep: Keep,
    ) -> Result<u64, Error> {
        Ok(structured::bytes_needed(shape, elimination, keep)?.total())
    }

    /// Room for structured systems of `shape` at `place`, whose ledger counts what follows, and for their
    /// factors by the core, border first or conjugate gradients, which go as far as `iterative` says.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for another elimination, for more than [`super::MOST_FEATURES`] features, of
    /// conjugate gradients [`super::MOST_FEATURES_ITERATIVE`], for rows wider than [`super::WIDEST_ROW`],
    /// and for pinned ways, of which there is one each; [`Error::Device`] with
    /// [`Refusal::Memory`](broadhead_device::Refusal) where less is free than is needed, before anything is
    /// allocated, with [`Refusal::Shape`](broadhead_device::Refusal) where a dimension is past the
    /// libraries', or with what the device answered.
    pub fn structured(
        place: &Placement,
        shape: &StructuredShape,
        elimination: EliminationKind,
        iterative: IterativeOptions,
    ) -> Result<Self, Error> {
        let (stream, keep) = (&place.stream, place.keep.unwrap_or_default());
        if (place.rows, place.border) != (None, None) {
            return Err(Error::Unsupported {
                elimination,
                system: "structured",
                why: "there is one way each on the device, and none to pin",
            });
        }
        let needed = Self::bytes_of_structured(shape, elimination, keep)?;
        let what_for = format!("the {elimination} elimination on the device");
        stream.context().expect_free(needed, &what_for)?;
        let (factors, index) = structured::factors(stream, shape, elimination, (keep, iterative))?;
        let sizes = Sizes::new(shape, elimination)?;
        let system = DeviceSystem::structured(stream, shape, &sizes)?;
        let terms = StructuredTerms::new(stream, sizes, index)?;
        let cost = FrameCost::of(&structured::work(shape, elimination, keep)?);
        Self::of(elimination, system, factors, Box::new(terms), cost)
    }

    fn of(
        elimination: EliminationKind,
        system: DeviceSystem,
        factors: Box<dyn DeviceElimination>,
        terms: Box<dyn ResidualTerms>,
        cost: FrameCost,
    ) -> Result<Self, Error> {
        let vectors = [
            factors.vector()?,
            factors.vector()?,
            factors.vector()?,
            factors.vector()?,
        ];
        Ok(Self {
            residual: Some(DeviceResidual::new(factors.stream(), terms, vectors)?),
            gradient: factors.vector()?,
            step: factors.vector()?,
            elimination,
            system,
            factors,
            cost,
            last: None,
        })
    }
}

/// What it holds.
impl Linearisation {
    /// The system.
    pub fn system(&self) -> &DeviceSystem {
        &self.system
    }

    /// The shape that it serves, of structured systems as an arrow.
    pub fn shape(&self) -> &ArrowShape {
        self.system.shape()
    }

    /// By which elimination it factors.
    pub fn elimination(&self) -> EliminationKind {
        self.elimination
    }

    /// What its factorizations keep, where they have such a factor.
    pub fn keep(&self) -> Option<Keep> {
        self.factors.ways().keep
    }

    /// Device bytes held, the library's workspace apart.
    pub fn bytes(&self) -> u64 {
        self.held().total()
    }

    fn held(&self) -> DeviceBytes {
        let bytes = self.factors.bytes();
        match self.system.is_given_back() {
            true => DeviceBytes {
                operands: 0,
                ..bytes
            },
            false => bytes,
        }
    }

    /// What its factorizations keep, how they are made, what they cost, and what is held.
    pub fn summary(&self) -> FrameSummary {
        let (ways, held) = (self.factors.ways(), self.held());
        FrameSummary {
            keep: ways.keep,
            rows: ways.rows.into(),
            border: ways.border.map(Into::into),
            operand_bytes: held.operands,
            factor_bytes: held.factors,
            vector_bytes: held.vectors,
            cost: self.cost,
        }
    }

    /// The stream that it works on.
    pub fn stream(&self) -> &Stream {
        self.factors.stream()
    }

    /// What the stream's work cost so far.
    pub fn ledger(&self) -> LedgerSnapshot {
        self.stream().ledger().snapshot()
    }

    /// A vector of zeros on the device, of this shape.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn vector(&self) -> Result<DeviceVector, Error> {
        self.factors.vector()
    }
}

/// Numbers, and factors of them.
impl Linearisation {
    /// Sends the numbers of `system`. Allocates nothing on the device.
    ///
    /// # Errors
    /// [`Error::NotFinite`] naming the array and the index; [`Error::Shape`] where the shape is
    /// another; [`Error::Unsupported`], [`Error::ClosureOperand`] for a system of another kind;
    /// [`Error::Device`].
    pub fn refresh<'a>(&mut self, system: impl Into<System<'a>>) -> Result<(), Error> {
        let system = system.into();
        system.check_finite()?;
        self.send(&system)
    }

    /// [`Linearisation::refresh`] of numbers that are known to be finite.
    fn send(&mut self, system: &System<'_>) -> Result<(), Error> {
        let landing = self.factors.landing();
        let sent = self.system.send(system, self.elimination, landing);
        // What was refused for its shape has left everything as it was.
        if sent.is_ok() || self.system.check_there().is_err() {
            self.last = None;
        }
        sent
    }

    /// Factors at `ridge`, on the device: nothing is sent; one record of 104 bytes comes back, of structured
    /// systems of 168.
    ///
    /// # Errors
    /// [`Failure::NotPositiveDefinite`] with a bump that makes what failed factor, and nothing of the
    /// whole (see [`Linearisation::advise`]); [`Failure::Stop`] otherwise.
    pub fn factor(&mut self, ridge: Ridge) -> Result<Factorization<'_>, Failure> {
        let factored = self.factor_in_place(ridge)?;
        Ok(Factorization::borrowed(self, ridge, factored))
    }

    /// The factorization at `ridge`: the present one where it is that, else [`Linearisation::factor`]'s.
    ///
    /// # Errors
    /// As [`Linearisation::factor`].
    pub fn factorization(&mut self, ridge: Ridge) -> Result<Factorization<'_>, Failure> {
        let factored = match &self.last {
            Some((last, factored)) if *last == ridge => factored.clone(),
            _ => self.factor_in_place(ridge)?,
        };
        Ok(Factorization::borrowed(self, ridge, factored))
    }

    /// The factorization at `ridge` alone, which owns its room: the operands are given back to the device,
    /// but for those of structured systems, which their solves read.
    ///
    /// # Errors
    /// As [`Linearisation::factor`].
    pub fn into_factorization(mut self, ridge: Ridge) -> Result<Factorization<'static>, Failure> {
        let factored = self.factor_in_place(ridge)?;
        if !self.factors.reads_operands() {
            self.system.give_back();
            self.residual = None;
        }
        Ok(Factorization::owned(self, ridge, factored))
    }

    /// The baseline: `system` is sent, factored at `ridge` and solved for `gradient`, by the same kernels,
    /// and all of it anew at the next call.
    ///
    /// # Errors
    /// As [`Linearisation::refresh`], [`Linearisation::factor`] and [`Factorization::solve`].
    pub fn reupload_and_solve<'a>(
        &mut self,
        system: impl Into<System<'a>>,
        ridge: Ridge,
        gradient: Gradient<'_>,
        step: StepMut<'_>,
    ) -> Result<(SolveStats, ExecutionPath), Failure> {
        self.refresh(system)?;
        let stats = self.factor(ridge)?.solve(gradient, step)?;
        Ok((stats, ExecutionPath::GpuReupload))
    }

    fn factor_in_place(&mut self, ridge: Ridge) -> Result<Factored, Failure> {
        self.submit_factor(ridge)?;
        let factored = self.factors.read(&self.system, ridge)?;
        self.last = Some((ridge, factored.clone()));
        Ok(factored)
    }

    /// Whether all of it factors at `ridge`; of conjugate gradients, whether there is what they need.
    fn factors_at(&mut self, ridge: Ridge) -> Result<bool, Error> {
        self.submit_factor(ridge)?;
        self.factors.holds()
    }

    /// Adds to a failure at `ridge` what it says of the whole ([`NotPositiveDefinite::whole`]), found by
    /// factoring on the device; `means` are those of the operator there. The last factors are gone.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn advise(
        &mut self,
        ridge: Ridge,
        means: MeanDiagonals,
        mut failed: NotPositiveDefinite,
    ) -> Result<NotPositiveDefinite, Error> {
        let sides = [self.shape().row_unknowns() > 0, self.shape().border() > 0];
        failed.whole = whole(ridge, means, sides, &failed, |at| self.factors_at(at))?;
        Ok(failed)
    }
}
