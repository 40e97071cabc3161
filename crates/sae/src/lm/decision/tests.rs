use super::*;

fn running(rule: &Rule) -> State {
    begin(rule, 100.0, 100.0, [1.0, 1.0])
}

fn step(predicted: f64, objective: f64) -> Outcome {
    Outcome::Step {
        predicted,
        objective,
        scale: objective,
    }
}

#[test]
fn a_zero_gradient_converges_before_any_trial() {
    let rule = Rule::quadratic();
    let state = begin(&rule, 3.0, 3.0, [0.0, 0.0]);
    assert_eq!(state.status, Status::ConvergedResidual);
    assert_eq!((state.iterations, state.trials), (0, 0));
}

#[test]
fn zero_iterations_is_a_limit_and_not_convergence() {
    let rule = Rule::curved().with_max_iterations(0);
    assert_eq!(running(&rule).status, Status::IterationLimit);
}

#[test]
fn a_rejected_tiny_step_is_not_convergence() {
    let rule = Rule::curved();
    let state = running(&rule);
    // Above the floor, and up by the least amount.
    let decision = decide(&rule, &state, &step(1e-11, 100.0_f64.next_up()));
    assert!(!decision.accepted);
    assert_eq!(decision.state.status, Status::Running);
    assert_eq!(decision.state.ridge, 4e-3);
    // Below the floor and up by more than the floor.
    let decision = decide(&rule, &state, &step(1e-13, 100.0 + 1e-11));
    assert!(!decision.accepted && decision.gain == -1.0);
    assert_eq!(decision.state.status, Status::Running);
}

#[test]
fn a_tiny_accepted_step_at_a_large_ridge_is_not_convergence() {
    let rule = Rule::curved();
    let mut state = running(&rule);
    state.ridge = 10.0;
    let tiny = step(1e-12, 100.0 - 1e-12);
    let decision = decide(&rule, &state, &tiny);
    assert!(decision.accepted);
    assert_eq!(decision.state.status, Status::Running);
    state.ridge = rule.initial_ridge;
    let decision = decide(&rule, &state, &tiny);
    assert!(decision.accepted);
    assert_eq!(decision.state.status, Status::ConvergedDecrease);
}

/// Steps that overshoot at small ridges and crawl at large ones: the loop ends, at an acceptance,
/// after the ridge has turned three times, and not where the objective still falls.
#[test]
fn a_ridge_that_cycles_over_a_flat_objective_is_convergence() {
    let rule = Rule::curved();
    let run = |fall: f64| {
        let mut state = running(&rule);
        state.ridge = 0.1;
        let mut accepted = false;
        while state.status == Status::Running && state.trials < 100 {
            let outcome = if state.ridge < 0.05 {
                step(1.0, state.objective + 1.0)
            } else {
                step(fall.max(1e-12), state.objective - fall)
            };
            let decision = decide(&rule, &state, &outcome);
            (state, accepted) = (decision.state, decision.accepted);
        }
        (state, accepted)
    };
    let (flat, accepted) = run(1e-12);
    assert_eq!(flat.status, Status::ConvergedStall);
    assert!(accepted && flat.turns == 3 && flat.trials > 6);
    let (falling, _) = run(1e-3);
    assert_eq!(falling.status, Status::Running);
}

#[test]
fn a_ridge_that_only_falls_or_only_rises_is_no_stall() {
    let rule = Rule::curved();
    let mut state = running(&rule);
    state.ridge = 1e6;
    for _ in 0..20 {
        state = decide(&rule, &state, &step(1e-12, state.objective - 1e-13)).state;
        assert_eq!((state.status, state.turns), (Status::Running, 0));
    }
    for _ in 0..8 {
        state = decide(&rule, &state, &step(1.0, 200.0)).state;
        assert_eq!((state.status, state.turns), (Status::Running, 1));
    }
}

#[test]
fn a_quadratic_rule_never_converges_by_decrease() {
    let rule = Rule::quadratic();
    let decision = decide(&rule, &running(&rule), &step(1e-16, 100.0));
    assert!(decision.accepted);
    assert_eq!(decision.state.status, Status::Running);
}

#[test]
fn equal_objectives_are_rejected_above_the_noise_and_accepted_below_it() {
    let rule = Rule::curved();
    let state = running(&rule);
    let above = decide(&rule, &state, &step(1.0, 100.0));
    assert!(!above.accepted && above.gain == 0.0);
    let below = decide(&rule, &state, &step(1e-13, 100.0));
    assert!(below.accepted && below.gain == 1.0);
}

#[test]
fn numbers_that_are_not_finite_are_rejected() {
    let rule = Rule::curved();
    let state = running(&rule);
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        for outcome in [step(1.0, bad), step(bad, 1.0)] {
            let decision = decide(&rule, &state, &outcome);
            assert!(!decision.accepted && decision.gain == -1.0, "{outcome:?}");
            assert_eq!(decision.state.objective, 100.0);
        }
    }
    let outcome = Outcome::Step {
        predicted: 1.0,
        objective: 99.0,
        scale: f64::NAN,
    };
    assert!(!decide(&rule, &state, &outcome).accepted);
}

#[test]
fn the_ridge_leaves_zero_and_returns_to_it() {
    let rule = Rule::quadratic();
    let state = running(&rule);
    let worse = step(1.0, 101.0);
    let decision = decide(&rule, &state, &worse);
    assert_eq!(decision.state.ridge, 1e-6);
    let mut state = decision.state;
    state.ridge = 1.5e-12;
    let decision = decide(&rule, &state, &step(1.0, 99.0));
    assert_eq!(decision.state.ridge, 0.0);
    state.ridge = 2e-12;
    let decision = decide(&rule, &state, &step(1.0, 99.0));
    assert_eq!(decision.state.ridge, 1e-12);
}

#[test]
fn a_failed_factorization_grows_the_ridge_by_at_least_its_bump() {
    let rule = Rule::curved();
    let state = running(&rule);
    let grown = |bump| decide(&rule, &state, &Outcome::NotPositiveDefinite { bump }).state;
    assert_eq!(grown(0.5).ridge, 0.501);
    assert_eq!(grown(1e-9).ridge, 4e-3);
    assert_eq!(grown(f64::NAN).ridge, 4e-3);
    assert_eq!(grown(f64::INFINITY).status, Status::RidgeCeiling);
    assert_eq!(grown(0.5).iterations, 0);
    assert_eq!(grown(0.5).trials, 1);
}

#[test]
fn past_the_ceiling_the_loop_fails_and_not_at_it() {
    let rule = Rule::curved();
    let mut state = running(&rule);
    state.ridge = 0.25e9;
    let at = decide(&rule, &state, &step(1.0, 101.0)).state;
    assert_eq!((at.ridge, at.status), (1e9, Status::Running));
    let past = decide(&rule, &at, &step(1.0, 101.0)).state;
    assert_eq!(past.status, Status::RidgeCeiling);
}

#[test]
fn residuals_are_judged_block_by_block_against_their_largest() {
    let rule = Rule::curved();
    let state = begin(&rule, 1.0, 1.0, [1.0, 1e6]);
    let state = settle(&rule, &state, [1e-10, 1.0]);
    assert_eq!(state.status, Status::Running);
    let grown = settle(&rule, &state, [1e3, 1e-4]);
    assert_eq!(grown.largest, [1e3, 1e6]);
    assert_eq!(grown.status, Status::Running);
    let done = settle(&rule, &grown, [1e-6, 1e-3]);
    assert_eq!(done.status, Status::ConvergedResidual);
    let broken = settle(&rule, &state, [f64::NAN, 0.0]);
    assert_eq!(broken.status, Status::Running);
}

#[test]
fn trials_are_limited_apart_from_iterations() {
    let rule = Rule {
        max_trials: 3,
        ..Rule::curved()
    };
    let mut state = running(&rule);
    for _ in 0..3 {
        assert_eq!(state.status, Status::Running);
        state = decide(&rule, &state, &step(1.0, 101.0)).state;
    }
    assert_eq!(state.status, Status::TrialLimit);
    assert_eq!(state.iterations, 0);
}

#[test]
fn scaling_the_problem_changes_no_decision() {
    let rule = Rule::curved();
    for exponent in [-1000, -40, 40, 1000] {
        let a = 2.0_f64.powi(exponent / 2).powi(2);
        let base = running(&rule);
        let scaled = begin(&rule, 100.0 * a, 100.0 * a, [a, a]);
        for (predicted, objective) in [(1.0, 99.5), (1.0, 100.0), (1e-13, 100.0), (5.0, 103.0)] {
            let one = decide(&rule, &base, &step(predicted, objective));
            let two = decide(&rule, &scaled, &step(predicted * a, objective * a));
            assert_eq!(one.accepted, two.accepted);
            assert_eq!(one.gain, two.gain);
            assert_eq!(one.state.ridge, two.state.ridge);
            assert_eq!(one.state.objective * a, two.state.objective);
        }
    }
}

#[test]
fn a_rule_out_of_range_is_named() {
    assert_eq!(Rule::curved().out_of_range(), None);
    assert_eq!(Rule::quadratic().out_of_range(), None);
    let rule = Rule {
        ridge_increase: 1.0,
        ..Rule::curved()
    };
    assert_eq!(rule.out_of_range(), Some("ridge_increase"));
    let rule = Rule {
        noise: f64::NAN,
        ..Rule::curved()
    };
    assert_eq!(rule.out_of_range(), Some("noise"));
}
