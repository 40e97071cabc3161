//! The decision on a device: [`super::decide`] and [`super::settle`] transcribed to a kernel that gives
//! the same bits.
#![allow(unsafe_code)] // Beside the kernel's typed launch alone.

mod fit;
mod iterates;
mod record;
mod resident;

pub use fit::FIT;
pub use resident::{Iterate, IterateGraph, LOOP, ResidentQuadratic};

use super::{Decision, Outcome, Rule, State, Status};
use broadhead_device::kernels::{Declaration, Geometry, KernelSource};
use broadhead_device::{ByteClass, Result, Stream, declares};
use record::{DecisionRecord, RuleRecord, StateRecord, TrialRecord};

/// The kernel's source. Contraction is off: a fused product would round once where the CPU rounds
/// twice.
pub const SOURCE: KernelSource = KernelSource {
    name: "decision.cu",
    text: include_str!("decision.cu"),
    declares: DECISION_DECLARES,
    entries: &["lm_decide"],
    options: &["--fmad=false"],
};

/// What decision.cu needs.
const DECISION_DECLARES: &[Declaration] = declares![
    record RuleRecord,
    record TrialRecord,
    record DecisionRecord,
    double STEP = record::STEP,
    double RUNNING = record::code(Status::Running),
    double CONVERGED_RESIDUAL = record::code(Status::ConvergedResidual),
    double CONVERGED_DECREASE = record::code(Status::ConvergedDecrease),
    double CONVERGED_STALL = record::code(Status::ConvergedStall),
    double ITERATION_LIMIT = record::code(Status::IterationLimit),
    double TRIAL_LIMIT = record::code(Status::TrialLimit),
    double RIDGE_CEILING = record::code(Status::RidgeCeiling),
    int DECIDE_THREADS,
];

/// Threads of a block that decides a table.
const DECIDE_THREADS: u32 = 128;

/// Decides every `(state, outcome, norms)` of a table on the device. `norms` are the residual norms at
/// the trial point; an accepted step is settled by them.
///
/// # Errors
/// Any error of the device.
pub fn decide_on_device(
    stream: &Stream,
    rule: &Rule,
    table: &[(State, Outcome, [f64; 2])],
) -> Result<Vec<Decision>> {
    let states: Vec<_> = table.iter().map(|row| StateRecord::of(&row.0)).collect();
    let trials = table.iter().map(|row| TrialRecord::of(&row.1, row.2));
    let trials: Vec<_> = trials.collect();
    let class = ByteClass::Record;
    let rule = stream.upload(&[RuleRecord::of(rule)], class, "the rule")?;
    let states = stream.upload(&states, class, "states")?;
    let trials = stream.upload(&trials, class, "trials")?;
    let mut out = stream.zeros::<DecisionRecord>(table.len(), "decisions")?;
    let module = stream.context().module(&SOURCE)?;
    let launch = module
        .kernel("lm_decide")?
        .launch(
            stream,
            Geometry::one_thread_each(table.len(), DECIDE_THREADS),
        )
        .read(rule.view())
        .read(states.view())
        .read(trials.view())
        .scalar(table.len() as i32)
        .write(out.view_mut());
    // SAFETY: the arguments are those of the source, one state, trial and decision a row.
    unsafe { launch.submit()? };
    let out = stream.download(out.view(), class)?;
    Ok(out.iter().map(DecisionRecord::decision).collect())
}

/// The kernels of this crate.
pub fn kernel_sources() -> &'static [&'static KernelSource] {
    &[&SOURCE, &LOOP, &FIT, &crate::rounds::device::ROUNDS]
}
