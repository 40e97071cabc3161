use super::*;

#[derive(Debug, thiserror::Error)]
#[error("the device went away")]
struct Lost;

/// `f(x) = (x^2 - 1)^2 / 2` from Gauss-Newton's side: residual `x^2 - 1`, slope `2 x`.
struct Well {
    x: f64,
    trial: f64,
    least_ridge: f64,
    lose_at: Option<u64>,
    solved: u64,
    nan_once: bool,
    rejected: u64,
}

impl Well {
    fn at(x: f64) -> Self {
        Self {
            x,
            trial: f64::NAN,
            least_ridge: 0.0,
            lose_at: None,
            solved: 0,
            nan_once: false,
            rejected: 0,
        }
    }

    fn value(x: f64) -> Objective {
        let value = (x * x - 1.0).powi(2) / 2.0;
        Objective {
            value,
            scale: value,
        }
    }
}

impl Problem for Well {
    type Error = Lost;

    fn objective(&self) -> Objective {
        Self::value(self.x)
    }

    fn residual_norms(&self) -> [f64; 2] {
        [(2.0 * self.x * (self.x * self.x - 1.0)).abs(), 0.0]
    }

    fn try_step(&mut self, state: &State) -> Result<Tried, StepFailure<Lost>> {
        let relative_ridge = state.ridge;
        if relative_ridge < self.least_ridge {
            return Err(StepFailure::NotPositiveDefinite {
                relative_bump: self.least_ridge - relative_ridge,
                what: "row 0".to_owned(),
            });
        }
        self.solved += 1;
        if self.lose_at == Some(self.solved) {
            return Err(StepFailure::Stop(Lost));
        }
        let (slope, residual) = (2.0 * self.x, self.x * self.x - 1.0);
        let (hessian, gradient) = (slope * slope, slope * residual);
        let delta = -gradient / (hessian * (1.0 + relative_ridge));
        self.trial = self.x + delta;
        let mut objective = Self::value(self.trial);
        if std::mem::take(&mut self.nan_once) {
            objective.value = f64::NAN;
        }
        Ok(Tried::Offered(Trial {
            predicted: -(gradient * delta + delta * hessian * delta / 2.0),
            objective,
        }))
    }

    fn accept(&mut self) -> Result<(), Lost> {
        self.x = self.trial;
        Ok(())
    }

    fn reject(&mut self) {
        self.rejected += 1;
    }
}

fn traced(problem: &mut Well, rule: &Rule) -> (Result<LmReport, LmError<Lost>>, Vec<TraceEntry>) {
    let mut trace = Vec::new();
    let report = minimise(problem, rule, &mut |entry| {
        trace.push(*entry);
        ControlFlow::Continue(())
    });
    (report, trace)
}

#[test]
fn the_minimum_is_found_and_the_accepted_objectives_decrease() {
    let mut well = Well::at(3.0);
    let (report, trace) = traced(&mut well, &Rule::curved());
    let report = report.unwrap();
    assert!(report.converged());
    assert!((well.x - 1.0).abs() < 1e-8);
    assert_eq!(report.trials as usize, trace.len());
    let accepted: Vec<f64> = trace
        .iter()
        .filter(|e| e.accepted)
        .filter_map(|e| e.objective)
        .collect();
    assert_eq!(accepted.len() as u64, report.iterations);
    assert!(accepted.windows(2).all(|w| w[1] < w[0]));
}

#[test]
fn a_trial_that_is_not_a_number_is_rejected_and_the_fit_goes_on() {
    let mut well = Well::at(3.0);
    well.nan_once = true;
    let (report, trace) = traced(&mut well, &Rule::curved());
    assert!(report.unwrap().converged());
    assert!(!trace[0].accepted);
    assert_eq!(trace[0].objective, None);
    assert_eq!(well.rejected, 1);
}

#[test]
fn not_positive_definite_grows_the_ridge_until_it_factors() {
    let mut well = Well::at(3.0);
    well.least_ridge = 0.01;
    let (report, trace) = traced(&mut well, &Rule::curved());
    let report = report.unwrap();
    assert!(trace[0].objective.is_none() && trace[0].ridge == 1e-3);
    assert!(trace[1].objective.is_some() && trace[1].ridge >= 0.01);
    assert!((well.x - 1.0).abs() < 1e-8, "{report:?}");
    assert_eq!(
        well.rejected, 0,
        "a factorization that failed has no trial to drop"
    );
}

#[test]
fn past_the_ceiling_the_error_says_where_and_why() {
    let mut well = Well::at(3.0);
    well.least_ridge = f64::INFINITY;
    let (report, trace) = traced(&mut well, &Rule::curved());
    let error = report.unwrap_err();
    assert!(
        matches!(
            &error,
            LmError::RidgeCeiling {
                iteration: 0,
                trial: 1,
                last: LastTrial::NotPositiveDefinite(_),
                ..
            }
        ),
        "{error}"
    );
    assert!(error.to_string().contains("row 0"), "{error}");
    assert_eq!(trace.len(), 1);
}

#[test]
fn a_stop_error_ends_the_fit_at_once() {
    let mut well = Well::at(3.0);
    well.lose_at = Some(2);
    let (report, trace) = traced(&mut well, &Rule::curved());
    assert!(matches!(report.unwrap_err(), LmError::Problem(Lost)));
    assert_eq!(trace.len(), 1);
    assert_eq!(well.solved, 2);
}

#[test]
fn a_stationary_start_converges_without_a_trial() {
    let (report, trace) = traced(&mut Well::at(1.0), &Rule::quadratic());
    let report = report.unwrap();
    assert_eq!(report.status, Status::ConvergedResidual);
    assert!(trace.is_empty());
}

#[test]
fn no_iterations_allowed_is_a_report_and_not_an_error() {
    let rule = Rule::curved().with_max_iterations(0);
    let (report, trace) = traced(&mut Well::at(3.0), &rule);
    let report = report.unwrap();
    assert_eq!(report.status, Status::IterationLimit);
    assert!(!report.converged() && trace.is_empty());
}

#[test]
fn a_start_that_is_not_finite_is_refused() {
    let (report, _) = traced(&mut Well::at(f64::NAN), &Rule::curved());
    assert!(matches!(
        report.unwrap_err(),
        LmError::StartNotFinite { .. }
    ));
    let rule = Rule {
        ridge_decrease: 0.0,
        ..Rule::curved()
    };
    let (report, _) = traced(&mut Well::at(3.0), &rule);
    let error = report.unwrap_err();
    assert!(matches!(
        error,
        LmError::Rule {
            field: "ridge_decrease"
        }
    ));
}

/// The same problem where it decides for itself, a trial at a time or all at once.
struct Itself {
    well: Well,
    rule: Rule,
    at_once: bool,
    /// How often it was handed another state than it had: the driver had decided.
    handed_over: u64,
    there: Option<State>,
    /// Halves the ridge of this trial's decision.
    wrong_at: Option<u64>,
}

impl Itself {
    fn of(well: Well, rule: Rule, at_once: bool) -> Self {
        Self {
            well,
            rule,
            at_once,
            handed_over: 0,
            there: None,
            wrong_at: None,
        }
    }

    fn one(&mut self, state: &State) -> Result<Decided, StepFailure<Lost>> {
        let Tried::Offered(trial) = self.well.try_step(state)? else {
            unreachable!("a well offers");
        };
        let mut decision = decide(&self.rule, state, &trial.outcome());
        if decision.accepted {
            self.well.accept()?;
            decision.state = settle(&self.rule, &decision.state, self.residual_norms());
        }
        if self.wrong_at == Some(decision.state.trials) {
            decision.state.ridge *= 0.5;
        }
        self.there = Some(decision.state);
        Ok(Decided {
            predicted: trial.predicted,
            objective: trial.objective.value,
            decision,
        })
    }
}

impl Problem for Itself {
    type Error = Lost;

    fn objective(&self) -> Objective {
        self.well.objective()
    }

    fn residual_norms(&self) -> [f64; 2] {
        self.well.residual_norms()
    }

    fn try_step(&mut self, state: &State) -> Result<Tried, StepFailure<Lost>> {
        let had = self.there.replace(*state);
        self.handed_over += u64::from(had.is_some_and(|had| had != *state));
        if !self.at_once {
            return self.one(state).map(Tried::Decided);
        }
        let mut after = *state;
        while after.status == Status::Running {
            match self.one(&after) {
                Ok(decided) => after = decided.decision.state,
                // As a graph ends where there is no factor: the next call says so.
                Err(StepFailure::NotPositiveDefinite { .. }) if after != *state => break,
                Err(failure) => return Err(failure),
            }
        }
        Ok(Tried::Ran(after))
    }

    fn accept(&mut self) -> Result<(), Lost> {
        panic!("nothing was offered");
    }

    fn reject(&mut self) {
        panic!("nothing was offered");
    }
}

/// Problems with rejections, with factorizations that fail, and one that fails past the ceiling.
fn wells() -> [Well; 4] {
    let (mut rejected, mut not_definite, mut never) = (Well::at(3.0), Well::at(3.0), Well::at(3.0));
    rejected.nan_once = true;
    not_definite.least_ridge = 0.01;
    never.least_ridge = f64::INFINITY;
    // Its first step overshoots.
    [Well::at(0.2), rejected, not_definite, never]
}

#[test]
fn who_decides_changes_neither_trace_nor_report() {
    for (mut offered, itself) in wells().into_iter().zip(wells()) {
        let rule = Rule::curved();
        let (wanted, its_trace) = traced(&mut offered, &rule);
        let (mut problem, mut trace) = (Itself::of(itself, rule, false), Vec::new());
        let found = minimise(&mut problem, &rule, &mut |entry| {
            trace.push(*entry);
            ControlFlow::Continue(())
        });
        assert_eq!(trace, its_trace);
        assert_eq!(problem.well.x, offered.x);
        let failed = trace.iter().filter(|entry| entry.predicted.is_none());
        // None follows the one that ends a fit.
        let followed = failed.count() - usize::from(found.is_err());
        assert_eq!(problem.handed_over, followed as u64);
        same_end(found, wanted);
    }
}

#[test]
fn trials_made_at_once_end_in_the_same_report_and_show_only_what_failed() {
    for (mut offered, itself) in wells().into_iter().zip(wells()) {
        let rule = Rule::curved();
        let (wanted, its_trace) = traced(&mut offered, &rule);
        let (mut problem, mut trace) = (Itself::of(itself, rule, true), Vec::new());
        let found = minimise(&mut problem, &rule, &mut |entry| {
            trace.push(*entry);
            ControlFlow::Continue(())
        });
        same_end(found, wanted);
        assert_eq!(problem.well.x, offered.x);
        let failed = its_trace.iter().filter(|entry| entry.predicted.is_none());
        assert!(trace.iter().eq(failed), "{trace:?}");
    }
}

fn same_end(found: Result<LmReport, LmError<Lost>>, wanted: Result<LmReport, LmError<Lost>>) {
    match (found, wanted) {
        (Ok(found), Ok(wanted)) => assert_eq!(found, wanted),
        (found, wanted) => {
            let (found, wanted) = (found.unwrap_err(), wanted.unwrap_err());
            assert_eq!(found.to_string(), wanted.to_string());
        }
    }
}

#[test]
fn a_decision_that_is_not_the_rule_s_ends_the_fit() {
    let rule = Rule::curved();
    let mut problem = Itself::of(Well::at(3.0), rule, false);
    problem.wrong_at = Some(3);
    let error = minimise(&mut problem, &rule, &mut go_on).unwrap_err();
    let LmError::Decision {
        trial: 3,
        found,
        expected,
    } = &error
    else {
        panic!("{error}");
    };
    assert_eq!(found.state.ridge, 0.5 * expected.state.ridge);
}
