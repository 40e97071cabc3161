//! A resident fit by iterates: one graph a trial, decided on the device.
//!
//! The driver is that of every problem ([`crate::lm::minimise`]). A trial is a launch and a record; the
//! host factors where the ridge changed, sends the state where it decided itself (after a ridge at
//! which there is no factor), and checks each decision against the rule.

use super::fit::of_two_minds;
use super::resident::{IterateGraph, ResidentQuadratic};
use crate::lm::driver::drive;
use crate::lm::quadratic::QuadraticError;
use crate::lm::{
    Decided, LmReport, Objective, Problem, Rule, State, StepFailure, TraceEntry, Tried,
};
use broadhead_schur::{Error, Failure, Ridge};
use std::ops::ControlFlow;

/// A fit under way whose trials are submitted one by one.
struct ByIterates<'r> {
    resident: &'r mut ResidentQuadratic,
    /// Made at the first ridge that has factors.
    graph: Option<IterateGraph>,
    /// The state on the device.
    there: State,
    /// Norms of the residual at the point.
    norms: [f64; 2],
}

impl ResidentQuadratic {
    /// Minimises from `z = 0` under `rule`; every trial is shown to `observer`, which may stop
    /// it: as [`crate::lm::quadratic::QuadraticProblem::fit`].
    ///
    /// # Errors
    /// [`crate::lm::LmError`]: the ridge past its ceiling, or what ends a fit at once.
    pub fn fit(
        &mut self,
        rule: &Rule,
        observer: &mut dyn FnMut(&TraceEntry) -> ControlFlow<()>,
    ) -> Result<LmReport, QuadraticError> {
        let state = self.start(rule)?;
        let mut fit = ByIterates {
            resident: self,
            graph: None,
            there: state,
            norms: state.largest,
        };
        drive(&mut fit, rule, state, observer)
    }
}

impl ByIterates<'_> {
    /// Submits one iterate with the factors at `ridge`, which are at hand.
    fn launch(&mut self, ridge: Ridge) -> Result<(), Error> {
        let graph = match &mut self.graph {
            Some(graph) => graph,
            none => none.insert(self.resident.graph(ridge).map_err(stopped)?),
        };
        self.resident.launch(graph)
    }
}

impl Problem for ByIterates<'_> {
    type Error = Error;

    fn objective(&self) -> Objective {
        self.there.reached()
    }

    fn residual_norms(&self) -> [f64; 2] {
        self.norms
    }

    fn try_step(&mut self, state: &State) -> Result<Tried, StepFailure<Error>> {
        self.resident.send_if_other(&mut self.there, state)?;
        let ridge = Ridge::relative(state.ridge, self.resident.means);
        if let Err(failure) = self.resident.frame(ridge).map(drop) {
            return Err(self.resident.step_failure(ridge, failure));
        }
        self.launch(ridge)?;
        let iterate = self.resident.read()?;
        if !iterate.predicted.is_finite() {
            self.resident.expect_finite_step()?;
        }
        self.there = iterate.decision.state;
        if iterate.decision.accepted {
            self.norms = iterate.norms;
        }
        Ok(Tried::Decided(Decided {
            predicted: iterate.predicted,
            objective: iterate.objective,
            decision: iterate.decision,
        }))
    }

    /// The device has accepted what it accepts.
    fn accept(&mut self) -> Result<(), Error> {
        Ok(())
    }
}

/// A failure of a frame that is there already: more ridge is no answer to it.
fn stopped(failure: Failure) -> Error {
    match failure {
        Failure::Stop(error) => error,
        Failure::NotPositiveDefinite(failure) => of_two_minds(&failure.to_string()),
    }
}
