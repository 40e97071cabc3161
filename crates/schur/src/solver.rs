//! The solver: storage for one shape, and what is done with it.
//!
//! ```text
//!   Solver::new(shape of a system)      plans, says the bytes, allocates once
//!     └ refresh(system)  -> Base        new numbers, checked to be finite; allocates nothing
//!         └ factor(ridge) -> Frame      one factored operator
//!             └ solve(gradient, step)   any number of times, one or many gradients at once
//! ```
//!
//! A base borrows the caller's arrays and the solver; when it is dropped the arrays may change and
//! be refreshed again. Types keep a frame from outliving its numbers. Arrays that did not change are
//! resumed ([`Solver::resume`]): operands on a device stay there.

use crate::device::{FrameSummary, Placement};
use crate::elimination::{Elimination, Factored, IterativeOptions, factor_or_advise};
use crate::frame::Frame;
use crate::host::parallel::released;
use crate::plan::{Ceilings, HostCeilings, Plan, Rates, Workload, candidates, plan, plan_without};
use crate::refine::Residual;
use crate::{
    ArrowShape, EliminationKind, Error, Failure, Gradient, MeanDiagonals, ProductMut, Refinement,
    Ridge, StepMut, System, SystemShape,
};
use broadhead_device::{DevicePolicy, ExecutionPath, LedgerSnapshot};

/// What a caller may choose.
#[derive(Clone, Debug)]
pub struct SolverOptions {
    /// The elimination; `None` lets the planner choose.
    pub elimination: Option<EliminationKind>,
    /// The most bytes that a solver may hold. Default 16 GiB.
    pub memory_limit: u64,
    /// What is done about the error of a step.
    pub refinement: Refinement,
    /// Conjugate gradients.
    pub iterative: IterativeOptions,
    /// Rates by which the planner prices what runs on the CPU. Default: those that ship. The gate has
    /// those of this machine (`broadhead_gate::ceilings`).
    pub rates: Rates<HostCeilings>,
    /// What a frame is expected to do.
    pub workload: Workload,
    /// Rates of the device, for what would run there. Default: those that ship.
    pub device_rates: Rates<Ceilings>,
    /// The device, which has a backend for rows first of dense systems, and for the core, border first and
    /// conjugate gradients of structured ones. What uses none runs on the CPU; [`Plan::path`] and
    /// [`Frame::execution_path`] say which it was.
    pub device: Option<Placement>,
    /// Whether [`Self::device`] is used where it is the cheaper place (the default), never, or always:
    /// then what has no backend there is an error.
    pub device_policy: DevicePolicy,
}

impl Default for SolverOptions {
    fn default() -> Self {
        Self {
            elimination: None,
            memory_limit: 16 << 30,
            refinement: Refinement::default(),
            iterative: IterativeOptions::default(),
            rates: Rates::default(),
            workload: Workload::default(),
            device_rates: Rates::default(),
            device: None,
            device_policy: DevicePolicy::default(),
        }
    }
}

/// Storage for systems of one shape, and an elimination.
pub struct Solver {
    shape: SystemShape,
    plan: Plan,
    options: SolverOptions,
    pub(crate) engine: Box<dyn Elimination>,
    /// A second engine, made when a frame is first asked for its unridged factors.
    pub(crate) bare: Option<Box<dyn Elimination>>,
    pub(crate) buffers: Buffers,
    pub(crate) ledger: LedgerSnapshot,
    /// Whether the engine holds the numbers of a system.
    refreshed: bool,
}

impl std::fmt::Debug for Solver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Solver")
            .field("shape", &self.shape)
            .field("plan", &self.plan)
            .finish_non_exhaustive()
    }
}

/// Vectors of a solve: right-hand side, solution, residual.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    pub(crate) rhs_row: Vec<f64>,
    pub(crate) rhs_border: Vec<f64>,
    pub(crate) x_row: Vec<f64>,
    pub(crate) x_border: Vec<f64>,
    pub(crate) residual: Residual,
}

impl Buffers {
    fn new(n: usize, k: usize) -> Self {
        Self::many(n, k, 1)
    }

    /// For `count` right-hand sides.
    pub(crate) fn many(n: usize, k: usize, count: usize) -> Self {
        Self {
            rhs_row: vec![0.0; n * count],
            rhs_border: vec![0.0; k * count],
            x_row: vec![0.0; n * count],
            x_border: vec![0.0; k * count],
            residual: Residual::new(n, k),
        }
    }

    fn bytes(n: usize, k: usize) -> u64 {
        let vectors = (n as u64).saturating_add(k as u64).saturating_mul(16);
        Residual::bytes(n, k).saturating_add(vectors)
    }
}

impl Solver {
    /// Plans and allocates for systems of the shape and kind of `system`. No number is read.
    ///
    /// Where a device was planned and has not the memory any more, which others take too, the work goes
    /// to the CPU under [`DevicePolicy::Auto`]: no operand was sent yet. [`Plan::declined`] says so.
    ///
    /// # Errors
    /// The device's own error for want of memory, under [`DevicePolicy::Required`].
    /// [`Error::Memory`] with the bytes needed, [`Error::Unsupported`] or
    /// [`Error::ClosureOperand`] where a pinned elimination does not serve the system.
    pub fn new(system: &System<'_>, options: SolverOptions) -> Result<Self, Error> {
        let shape = SystemShape::of(system);
        let plan = plan(&shape, &options)?;
        let make = |plan: &Plan| candidates::make(plan, &shape, &options);
        let (plan, engine) = or_on_the_cpu(plan, &shape, &options, make)?;
        let buffers = Buffers::new(shape.arrow().row_unknowns(), shape.arrow().border());
        Ok(Self {
            shape,
            plan,
            options,
            engine,
            bare: None,
            buffers,
            ledger: LedgerSnapshot::default(),
            refreshed: false,
        })
    }

    /// Bytes that [`Solver::new`] would hold, were it to use `kind`. Allocates nothing.
    ///
    /// # Errors
    /// As [`Solver::new`], but for the memory.
    pub fn bytes_needed(kind: EliminationKind, shape: &SystemShape) -> Result<u64, Error> {
        let arrow = shape.arrow();
        let buffers = Buffers::bytes(arrow.row_unknowns(), arrow.border());
        Ok(candidates::bytes_on_cpu(kind, shape)?.saturating_add(buffers))
    }

    /// The shape it serves.
    pub fn shape(&self) -> &SystemShape {
        &self.shape
    }

    /// What was chosen, and at what prices.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The options it was made with.
    pub fn options(&self) -> &SolverOptions {
        &self.options
    }

    /// Bytes held now.
    pub fn bytes(&self) -> u64 {
        let arrow = self.shape.arrow();
        self.engine.bytes()
            + self.bare.as_ref().map_or(0, |bare| bare.bytes())
            + Buffers::bytes(arrow.row_unknowns(), arrow.border())
    }

    /// What the work cost so far: on a device, what the stream's account says, of other work on it too.
    pub fn ledger(&self) -> LedgerSnapshot {
        self.engine.ledger().unwrap_or(self.ledger)
    }

    /// What a frame on a device keeps, how it is made, what it costs and what it holds; absent on the
    /// CPU.
    pub fn frame_summary(&self) -> Option<FrameSummary> {
        self.engine.frame_summary()
    }

    /// Takes the numbers of `system`, of the same shape and kind as before. Allocates nothing.
    ///
    /// # Errors
    /// [`Error::NotFinite`] naming the array and the index; [`Error::Shape`] where the shape is
    /// another.
    pub fn refresh<'s, 'a: 's>(
        &'s mut self,
        system: impl Into<System<'a>>,
    ) -> Result<Base<'s>, Error> {
        let system = system.into().shorten();
        self.shape.check(&system)?;
        self.refreshed = false;
        system.check_finite()?;
        self.engine.refresh(&system)?;
        if let Some(bare) = &mut self.bare {
            bare.refresh(&system)?;
        }
        self.refreshed = true;
        Ok(Base {
            solver: self,
            system,
            last: None,
        })
    }

    /// The base of the last [`Solver::refresh`] again, for a new ridge at the same linearisation:
    /// nothing is checked to be finite, and nothing is sent to a device. `system` is the one of that
    /// refresh, with the same numbers, which the caller vouches for. Without a refresh before, this
    /// is one.
    ///
    /// # Errors
    /// [`Error::Shape`] where the shape is another; without a refresh before, as
    /// [`Solver::refresh`].
    pub fn resume<'s, 'a: 's>(
        &'s mut self,
        system: impl Into<System<'a>>,
    ) -> Result<Base<'s>, Error> {
        let system = system.into().shorten();
        if !self.refreshed {
            return self.refresh(system);
        }
        self.shape.check(&system)?;
        Ok(Base {
            solver: self,
            system,
            last: None,
        })
    }

    pub(crate) fn bare_engine(
        &mut self,
        system: &System<'_>,
    ) -> Result<&mut Box<dyn Elimination>, Error> {
        if self.bare.is_none() {
            let kind = self.plan.chosen;
            let needed = self
                .bytes()
                .saturating_add(candidates::bytes_on_cpu(kind, &self.shape)?);
            if needed > self.options.memory_limit {
                return Err(Error::Memory {
                    what: kind,
                    needed,
                    limit: self.options.memory_limit,
                });
            }
            let mut bare = candidates::make(&self.plan, &self.shape, &self.options)?;
            bare.refresh(system)?;
            self.bare = Some(bare);
        }
        Ok(self.bare.get_or_insert_with(|| unreachable!("made above")))
    }
}

/// One linearisation: a solver with the numbers of a system.
#[derive(Debug)]
pub struct Base<'s> {
    solver: &'s mut Solver,
    system: System<'s>,
    /// The ridge of the factors that the solver holds, and what their factorization found.
    last: Option<(Ridge, Factored)>,
}

impl<'s> Base<'s> {
    /// The system.
    pub fn system(&self) -> &System<'s> {
        &self.system
    }

    /// Mean diagonals of both sides, the scale of relative ridges.
    pub fn mean_diagonals(&self) -> MeanDiagonals {
        self.system.mean_diagonals()
    }

    /// Factors at `ridge`. Any number of times; each frame replaces the last.
    ///
    /// # Errors
    /// [`Failure::NotPositiveDefinite`] with the ridge to try next, found by factoring at up to a few
    /// dozen others; [`Failure::Stop`] otherwise.
    pub fn factor(&mut self, ridge: Ridge) -> Result<Frame<'_>, Failure> {
        ridge.check()?;
        let kind = self.solver.engine.kind();
        let _span = tracing::debug_span!("factor", ?ridge, %kind).entered();
        self.last = None;
        let factored =
            released(|| factor_or_advise(self.solver.engine.as_mut(), &self.system, ridge))?;
        self.solver.ledger.factorizations += 1;
        self.last = Some((ridge, factored.clone()));
        Ok(Frame::new(
            self.solver,
            self.system.shorten(),
            ridge,
            factored,
        ))
    }

    /// The frame at `ridge`: the last one again where its ridge is this one, else a new one.
    ///
    /// # Errors
    /// As [`Base::factor`].
    pub fn frame(&mut self, ridge: Ridge) -> Result<Frame<'_>, Failure> {
        match &self.last {
            Some((last, factored)) if *last == ridge => {
                let factored = factored.clone();
                Ok(Frame::new(
                    self.solver,
                    self.system.shorten(),
                    ridge,
                    factored,
                ))
            }
            _ => self.factor(ridge),
        }
    }

    /// The elimination in use.
    pub fn elimination(&self) -> EliminationKind {
        self.solver.engine.kind()
    }

    /// Where the work runs.
    pub fn execution_path(&self) -> ExecutionPath {
        self.solver.engine.path()
    }

    /// $`y = (H + \rho) x`$ over the operands, and $`|H + \rho| |x|`$: see [`System::product`].
    ///
    /// # Errors
    /// [`Error::Shape`] where a slice has another length.
    pub fn product(
        &self,
        x_row: &[f64],
        x_border: &[f64],
        ridge: Ridge,
        y: ProductMut<'_>,
    ) -> Result<bool, Error> {
        Ok(self.system.product(x_row, x_border, ridge, y)?)
    }

    /// The bare quadratic model $`g'\delta + \delta' H \delta / 2`$, without ridge, term by term.
    ///
    /// # Errors
    /// [`Error::Shape`] where a part has another length.
    pub fn quadratic_model(
        &mut self,
        gradient: Gradient<'_>,
        step: StepMut<'_>,
    ) -> Result<QuadraticModel, Error> {
        quadratic_model(&self.system, &mut self.solver.buffers, gradient, step)
    }

    /// What the work cost so far.
    pub fn ledger(&self) -> LedgerSnapshot {
        self.solver.ledger()
    }

    /// What a frame on a device keeps, how it is made, what it costs and what it holds; absent on the
    /// CPU.
    pub fn frame_summary(&self) -> Option<FrameSummary> {
        self.solver.frame_summary()
    }
}

/// The two terms of a quadratic model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QuadraticModel {
    /// $`g'\delta`$.
    pub linear: f64,
    /// $`\delta' H \delta`$, $`H`$ without ridge.
    pub curvature: f64,
}

impl QuadraticModel {
    /// $`g'\delta + \delta' H \delta / 2`$.
    pub fn value(self) -> f64 {
        self.linear + 0.5 * self.curvature
    }

    /// The predicted reduction, $`-(g'\delta + \delta' H \delta / 2)`$.
    pub fn predicted_reduction(self) -> f64 {
        -self.value()
    }
}

fn quadratic_model(
    system: &System<'_>,
    buffers: &mut Buffers,
    gradient: Gradient<'_>,
    step: StepMut<'_>,
) -> Result<QuadraticModel, Error> {
    let shape: &ArrowShape = system.shape();
    gradient.check(shape, 1)?;
    step.check(shape, 1)?;
    let copy = |from: faer::MatRef<'_, f64>, to: &mut [f64]| {
        to.iter_mut()
            .enumerate()
            .for_each(|(i, to)| *to = from[(i, 0)]);
    };
    copy(step.row.as_ref(), &mut buffers.x_row);
    copy(step.border.as_ref(), &mut buffers.x_border);
    copy(gradient.row, &mut buffers.rhs_row);
    copy(gradient.border, &mut buffers.rhs_border);
    let Buffers {
        rhs_row,
        rhs_border,
        x_row,
        x_border,
        residual,
    } = buffers;
    residual.product(system, Ridge::ZERO, (x_row, x_border));
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    Ok(QuadraticModel {
        linear: dot(rhs_row, x_row) + dot(rhs_border, x_border),
        curvature: dot(&residual.row, x_row) + dot(&residual.border, x_border),
    })
}

/// The engine that `make` makes of `plan`, or of the cheapest on the CPU where the device has not the
/// memory and need not be used; with the plan that it was.
fn or_on_the_cpu<E>(
    plan: Plan,
    shape: &SystemShape,
    options: &SolverOptions,
    mut make: impl FnMut(&Plan) -> Result<E, Error>,
) -> Result<(Plan, E), Error> {
    let may_fall_back = plan.path.is_device() && options.device_policy == DevicePolicy::Auto;
    match make(&plan) {
        Ok(engine) => Ok((plan, engine)),
        Err(Error::Device(declined)) if may_fall_back && declined.is_out_of_memory() => {
            let plan = plan_without(plan, declined, shape, options)?;
            let engine = make(&plan)?;
            Ok((plan, engine))
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use broadhead_device::{Fault, Refusal};

    /// A plan for a device, as another solver's made beside this one: nothing else differs.
    fn planned(policy: DevicePolicy) -> (Plan, SystemShape, SolverOptions) {
        let arrow = ArrowShape::uniform(3, 2, 4).expect("a shape");
        let shape = SystemShape::Dense(arrow);
        let mut options = SolverOptions::default();
        let mut on_device = plan(&shape, &options).expect("a plan");
        on_device.path = ExecutionPath::GpuResidentLinearization;
        on_device.chosen = EliminationKind::Rows;
        options.device_policy = policy;
        (on_device, shape, options)
    }

    fn exhausted() -> Fault {
        Fault::OutOfMemory {
            asked: 1 << 30,
            free: 1 << 20,
            what_for: "whitened rows".to_owned(),
        }
    }

    fn refusals() -> [broadhead_device::DeviceError; 2] {
        let refusal = Refusal::Memory {
            needed: 2,
            free: 1,
            what_for: "a frame".to_owned(),
        };
        [exhausted().into(), refusal.into()]
    }

    #[test]
    fn a_device_whose_memory_is_gone_leaves_the_work_to_the_cpu_and_says_so() {
        for declined in refusals() {
            let (first, shape, options) = planned(DevicePolicy::Auto);
            let mut tried = Vec::new();
            let (plan, engine) = or_on_the_cpu(first, &shape, &options, |plan| {
                tried.push(plan.path);
                match plan.path.is_device() {
                    true => Err(Error::Device(declined.clone())),
                    false => candidates::make(plan, &shape, &options),
                }
            })
            .expect("an engine of the CPU");
            let [before, after] = tried[..] else {
                panic!("{tried:?}");
            };
            assert!(before.is_device() && !after.is_device());
            assert_eq!((plan.path, plan.keep), (ExecutionPath::Cpu, None));
            assert_eq!((engine.path(), engine.kind()), (plan.path, plan.chosen));
            assert_eq!(plan.declined, Some(declined));
            assert!(!plan.prices.is_empty());
        }
    }

    #[test]
    fn a_required_device_s_want_of_memory_is_its_own_error() {
        for declined in refusals() {
            let (first, shape, options) = planned(DevicePolicy::Required);
            let answer = or_on_the_cpu(first, &shape, &options, |plan| {
                assert!(plan.path.is_device());
                Err::<(), _>(Error::Device(declined.clone()))
            });
            assert_eq!(answer.map(|_| ()), Err(Error::Device(declined)));
        }
    }

    #[test]
    fn no_other_failure_of_a_device_is_taken_for_want_of_memory() {
        let (first, shape, options) = planned(DevicePolicy::Auto);
        let lost = Error::Device(
            Fault::DeviceLost {
                ordinal: 0,
                call: "cuMemAllocAsync".to_owned(),
                status: "CUDA_ERROR_ILLEGAL_ADDRESS".to_owned(),
            }
            .into(),
        );
        let answer = or_on_the_cpu(first, &shape, &options, |_| Err::<(), _>(lost.clone()));
        assert_eq!(answer.map(|_| ()), Err(lost));
    }

    #[test]
    fn what_fits_nowhere_says_so() {
        let (first, shape, mut options) = planned(DevicePolicy::Auto);
        options.memory_limit = 1;
        let answer = or_on_the_cpu(first, &shape, &options, |_| {
            Err::<(), _>(Error::Device(exhausted().into()))
        });
        assert!(matches!(answer, Err(Error::Memory { limit: 1, .. })));
    }
}
