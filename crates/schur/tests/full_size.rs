//! Systems of the size that users bring: normal equations like those of bundle adjustment and of
//! mixed models, by rows and by border.
//!
//! At these orders no oracle is affordable; each step is held to its componentwise backward error,
//! which needs none, and the log-determinant of one elimination to that of another, whose pivots
//! are others altogether.

use broadhead_schur::{EliminationKind, LogDeterminant, Ridge, Solver, SolverOptions, System};
use broadhead_testkit::cases::DenseCase;
use broadhead_testkit::generate::gradient;
use broadhead_testkit::normal::{bundle_adjustment, mixed_model};
use broadhead_testkit::random::Random;
use broadhead_testkit::tolerance::Tolerance;

/// The componentwise backward error asked of a direct elimination.
const BACKWARD: f64 = 1e-13;

/// Solves by `kind`; the log-determinant, and the condition estimate where `condition` asks it.
fn solve(system: System<'_>, kind: EliminationKind, condition: bool) -> (LogDeterminant, f64) {
    let options = SolverOptions {
        elimination: Some(kind),
        ..SolverOptions::default()
    };
    let mut solver = Solver::new(&system, options).unwrap();
    let mut base = solver.refresh(system).unwrap();
    let mut frame = base.factor(Ridge::ZERO).unwrap();
    let shape = system.shape();
    let g = gradient(shape.row_unknowns(), shape.border(), &mut Random::new(17));
    let mut step = broadhead_schur::ArrowVector::zeros(system.shape());
    let report = frame.solve(g.as_gradient(), step.as_step()).unwrap();
    let error = report.error.and_then(|error| error.componentwise).unwrap();
    assert!(
        error <= BACKWARD,
        "{kind}: componentwise backward error {error:e}"
    );
    let kappa = if condition {
        frame.condition_estimate().unwrap()
    } else {
        1.0
    };
    (frame.log_determinant().unwrap(), kappa)
}

fn check(case: &DenseCase, other: EliminationKind) {
    let (rows, kappa) = solve(case.system(), EliminationKind::Rows, true);
    let (other, _) = solve(case.system(), other, false);
    let tolerance = Tolerance::new(case.system().shape().order(), kappa);
    tolerance.assert_log_determinant("rows against another", rows, other);
}

#[test]
fn mixed_models_by_rows_and_by_border() {
    // Groups, unknowns a group, border.
    for (n, d, k) in [(2500, 1, 400), (800, 2, 1500), (300, 3, 3000)] {
        check(&mixed_model(n, d, k, 1e-5, 11), EliminationKind::Border);
    }
}

#[test]
fn many_rows_against_the_reference() {
    check(
        &mixed_model(8000, 1, 400, 1e-5, 12),
        EliminationKind::Reference,
    );
    check(
        &bundle_adjustment(2500, 49, 1e-6, 13),
        EliminationKind::Reference,
    );
}
