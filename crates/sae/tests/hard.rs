//! What the CPU's loop does where a quadratic is not done in one step; the device's loop is held to the
//! same problems.

use broadhead_sae::lm::quadratic::LogDeterminantAbsence;
use broadhead_sae::lm::{LastTrial, LmError, LmReport, Status, TraceEntry};
use broadhead_schur::{EliminationKind, Error};
use hard::{Hard, OnCpu, Path, on_cpu, on_cpu_by, problems, same};

#[path = "../../schur/tests/device/case.rs"]
mod case;
#[path = "common/hard.rs"]
mod hard;

fn of(name: &str) -> OnCpu {
    let mut problems = problems().unwrap();
    problems.retain(|hard| hard.name == name);
    assert_eq!(problems.len(), 1, "{name}");
    on_cpu(&problems[0]).unwrap()
}

/// Trials that were no step or were rejected, and those that were accepted.
fn counts(trace: &[TraceEntry]) -> (usize, usize) {
    let accepted = trace.iter().filter(|t| t.accepted).count();
    (trace.len() - accepted, accepted)
}

fn report(name: &str) -> (LmReport, Vec<TraceEntry>) {
    let (path, log) = of(name);
    let report = path.ended.unwrap();
    let singular = matches!(log, Some(Err(LogDeterminantAbsence::Singular(_))));
    assert!(singular, "{name}: {log:?}");
    (report, path.trace)
}

#[test]
fn a_singular_row_takes_one_bump_and_converges() {
    let (report, trace) = report("a singular row");
    assert_eq!(report.status, Status::ConvergedResidual);
    assert_eq!(counts(&trace), (1, 2), "{trace:?}");
}

#[test]
fn an_indefinite_side_is_met_again_whenever_the_ridge_has_fallen() {
    for name in [
        "an indefinite row",
        "an indefinite border",
        "both indefinite",
    ] {
        let (report, trace) = report(name);
        assert_eq!(report.status, Status::IterationLimit, "{name}");
        assert_eq!(report.iterations, 16, "{name}");
        let (refused, _) = counts(&trace);
        assert!(refused >= 8, "{name}: {trace:?}");
        let falls = trace.windows(2).all(|w| match (w[0].accepted, w[1].ridge) {
            (true, ridge) => ridge == 0.5 * w[0].ridge,
            (false, ridge) => ridge >= 4.0 * w[0].ridge && ridge > 0.0,
        });
        assert!(falls, "{name}: {trace:?}");
        let objectives: Vec<f64> = trace.iter().filter_map(|t| t.objective).collect();
        assert!(objectives.windows(2).all(|w| w[1] < w[0]), "{name}");
    }
    // The first failure of both is the row's, and says what both sides need.
    let (_, trace) = report("both indefinite");
    assert!(!trace[0].accepted && trace[0].objective.is_none());
    assert!(trace[1].accepted, "{trace:?}");
}

#[test]
fn a_trial_is_rejected_where_the_objective_overflows() {
    let (report, trace) = report("an overflowing objective");
    assert_eq!(report.status, Status::IterationLimit);
    // With a step and a prediction, and no objective.
    let rejected = |t: &&TraceEntry| !t.accepted && t.predicted.is_some();
    assert!(trace.iter().filter(rejected).count() > 3, "{trace:?}");
    assert_eq!(counts(&trace).1, 8);
    assert!(trace.iter().all(|t| t.accepted == t.objective.is_some()));
}

#[test]
fn a_ridge_past_its_ceiling_says_what_grew_it_last() {
    let ended = |name: &str| {
        let (path, log) = of(name);
        assert!(log.is_none());
        (path.ended.unwrap_err(), path.trace.len())
    };
    let (error, trials) = ended("a row past the ceiling");
    let named = matches!(&error, LmError::RidgeCeiling { iteration: 0, trial: 1,
        last: LastTrial::NotPositiveDefinite(what), .. } if what.contains("row 7, pivot 0"));
    assert!(named && trials == 1, "{error}");
    let (error, trials) = ended("a rejection past the ceiling");
    let rejected = matches!(
        error,
        LmError::RidgeCeiling {
            iteration: 0,
            trial: 3,
            last: LastTrial::Rejected,
            ..
        }
    );
    assert!(rejected && trials == 3, "{error}");
    let (error, _) = ended("a side without scale");
    let infinite = matches!(error, LmError::RidgeCeiling { ridge, .. } if ridge == f64::INFINITY);
    assert!(infinite, "{error}");
}

#[test]
fn what_is_no_matter_of_the_ridge_ends_a_fit_at_once() {
    let (path, _) = of("an overflowing step");
    let overflow = matches!(
        path.ended,
        Err(LmError::Problem(Error::Overflow { what: "the step" }))
    );
    assert!(overflow && path.trace.is_empty(), "{:?}", path.ended);
    let (path, _) = of("a rule out of range");
    let field = matches!(
        path.ended,
        Err(LmError::Rule {
            field: "ridge_increase"
        })
    );
    assert!(field && path.trace.is_empty(), "{:?}", path.ended);
}

/// What compares paths leaves room for another order of summation. Which pivot fails first, and so how
/// the ridge grows, is an elimination's own; none fails here.
#[test]
fn the_reference_takes_the_same_paths_where_no_pivot_fails() {
    let mut problems = problems().unwrap();
    problems.retain(|hard| hard.name == "an overflowing objective");
    for (seed, initial_ridge) in [(40, 0.0), (41, 1e-3), (42, 1e-3)] {
        let mut sound = Hard::sound(&[2; 50], 40, seed, initial_ridge).unwrap();
        // It goes on after its first step.
        sound.rule.residual_tolerance = 0.0;
        problems.push(sound);
    }
    assert_eq!(problems.len(), 4);
    for hard in &problems {
        let (by_rows, _) = on_cpu(hard).unwrap();
        let (wanted, _) = on_cpu_by(hard, EliminationKind::Reference).unwrap();
        same(hard, &by_rows, &wanted).unwrap();
    }
}

/// What compares paths tells them apart.
#[test]
fn other_paths_are_not_the_same() {
    let problems = problems().unwrap();
    let all: Vec<OnCpu> = problems.iter().map(|hard| on_cpu(hard).unwrap()).collect();
    for (i, (a, _)) in all.iter().enumerate() {
        for (j, (b, _)) in all.iter().enumerate() {
            assert_eq!(same(&problems[j], a, b).is_ok(), i == j, "{i}, {j}");
        }
    }
}

/// Nor is one with a number changed.
#[test]
fn a_path_with_one_number_changed_is_not_the_same() {
    let problems = problems().unwrap();
    let hard = problems
        .iter()
        .find(|hard| hard.name == "an indefinite row")
        .unwrap();
    let (wanted, _) = on_cpu(hard).unwrap();
    let step = wanted.trace.iter().position(|t| t.accepted).unwrap();
    type Change = fn(&mut Path, usize);
    let changes: [Change; 6] = [
        |path, step| path.trace[step].ridge *= 1.0 + 1e-5,
        |path, step| path.trace[step].gain *= 1.0 + 1e-5,
        |path, step| path.trace[step].predicted = path.trace[step].predicted.map(|q| q * 1.00001),
        |path, step| path.trace[step].objective = path.trace[step].objective.map(|f| f * 1.00001),
        |path, _| path.ended.as_mut().unwrap().residual_norms[0] *= 1.0 + 1e-5,
        |path, _| path.ended.as_mut().unwrap().residual_norms[1] *= 1.0 + 1e-5,
    ];
    for (i, change) in changes.into_iter().enumerate() {
        let (mut found, _) = on_cpu(hard).unwrap();
        assert!(same(hard, &found, &wanted).is_ok(), "{i}");
        change(&mut found, step);
        assert!(same(hard, &found, &wanted).is_err(), "{i}");
    }
}
