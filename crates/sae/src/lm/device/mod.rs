//! The decision on a device: [`super::decide`] and [`super::settle`] transcribed to a kernel that gives
//! the same bits.
#![allow(unsafe_code)] // Beside the kernel's typed launch alone.

mod fit;
mod iterates;
mod resident;

pub use fit::FIT;
pub use resident::{Iterate, IterateGraph, LOOP, ResidentQuadratic};

use super::{Decision, Outcome, Rule, State, Status};
use broadhead_device::kernels::{Geometry, KernelSource};
use broadhead_device::{ByteClass, Result, Stream};

/// The kernel's source. Contraction is off: a fused product would round once where the CPU rounds
/// twice.
pub const SOURCE: KernelSource = KernelSource {
    name: "decision.cu",
    text: include_str!("decision.cu"),
    declares: &[],
    entries: &["lm_decide"],
    options: &["--fmad=false"],
};

/// Numbers of a rule, a state, a trial and a decision in the kernel's layout.
const RULE: usize = 12;
const STATE: usize = 11;
const TRIAL: usize = 7;
const DECISION: usize = STATE + 2;

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
    let states: Vec<f64> = table.iter().flat_map(|row| state_numbers(&row.0)).collect();
    let trials: Vec<f64> = table
        .iter()
        .flat_map(|row| trial_numbers(&row.1, row.2))
        .collect();
    let class = ByteClass::Record;
    let rule = stream.upload(&rule_numbers(rule), class, "the rule")?;
    let states = stream.upload(&states, class, "states")?;
    let trials = stream.upload(&trials, class, "trials")?;
    let mut out = stream.zeros(DECISION * table.len(), "decisions")?;
    let module = stream.context().module(&SOURCE)?;
    let launch = module
        .kernel("lm_decide")?
        .launch(stream, Geometry::one_thread_each(table.len(), 128))
        .read(rule.view())
        .read(states.view())
        .read(trials.view())
        .scalar(table.len() as i32)
        .write(out.view_mut());
    // SAFETY: the arguments are those of the source, one state, trial and decision a row.
    unsafe { launch.submit()? };
    let out = stream.download(out.view(), class)?;
    Ok(out.chunks_exact(DECISION).map(decision_of).collect())
}

fn rule_numbers(rule: &Rule) -> [f64; RULE] {
    [
        rule.initial_ridge,
        rule.ridge_decrease,
        rule.ridge_increase,
        rule.ridge_floor,
        rule.ridge_from_zero,
        rule.ridge_ceiling,
        rule.noise,
        rule.residual_tolerance,
        rule.decrease_tolerance,
        rule.stall_turns as f64,
        rule.max_iterations as f64,
        rule.max_trials as f64,
    ]
}

fn state_numbers(state: &State) -> [f64; STATE] {
    [
        state.ridge,
        state.objective,
        state.scale,
        state.largest[0],
        state.largest[1],
        state.anchor,
        state.turns as f64,
        state.iterations as f64,
        state.trials as f64,
        f64::from(state.last_accepted),
        f64::from(state.status as u32),
    ]
}

fn trial_numbers(outcome: &Outcome, norms: [f64; 2]) -> [f64; TRIAL] {
    match *outcome {
        Outcome::Step {
            predicted,
            objective,
            scale,
        } => [0.0, predicted, objective, scale, 0.0, norms[0], norms[1]],
        Outcome::NotPositiveDefinite { bump } => [1.0, 0.0, 0.0, 0.0, bump, norms[0], norms[1]],
    }
}

fn state_of(numbers: &[f64]) -> State {
    const STATUSES: [Status; 7] = [
        Status::Running,
        Status::ConvergedResidual,
        Status::ConvergedDecrease,
        Status::ConvergedStall,
        Status::IterationLimit,
        Status::TrialLimit,
        Status::RidgeCeiling,
    ];
    State {
        ridge: numbers[0],
        objective: numbers[1],
        scale: numbers[2],
        largest: [numbers[3], numbers[4]],
        anchor: numbers[5],
        turns: numbers[6] as u64,
        iterations: numbers[7] as u64,
        trials: numbers[8] as u64,
        last_accepted: numbers[9] as u32,
        status: STATUSES[numbers[10] as usize],
    }
}

fn decision_of(numbers: &[f64]) -> Decision {
    Decision {
        state: state_of(numbers),
        gain: numbers[STATE],
        accepted: numbers[STATE + 1] != 0.0,
    }
}

/// The kernels of this crate.
pub fn kernel_sources() -> &'static [&'static KernelSource] {
    &[&SOURCE, &LOOP, &FIT]
}
