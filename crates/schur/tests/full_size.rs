//! Systems of the size that users bring: normal equations like those of bundle adjustment and of
//! mixed models, by rows and by border.
//!
//! At these orders no oracle is affordable; each step is held to its componentwise backward error,
//! which needs none, and the log-determinant of one elimination to that of another, whose pivots
//! are others altogether.

use broadhead_schur::{EliminationKind, Gradient, LogDeterminant, Ridge, Solver, SolverOptions};
use broadhead_testkit::cases::DenseCase;
use broadhead_testkit::generate::gradient;
use broadhead_testkit::normal::{bundle_adjustment, mixed_model};
use broadhead_testkit::random::Random;
use broadhead_testkit::tolerance::LogTolerance;

/// The componentwise backward error asked of a direct elimination.
const BACKWARD: f64 = 1e-13;

/// Solves by `kind`; the log-determinant, and what it may be off by.
fn solve(case: &DenseCase, kind: EliminationKind) -> (LogDeterminant, LogTolerance) {
    let system = case.system();
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
    let (n, k) = (shape.row_unknowns(), shape.border());
    let rows = shape.rows();
    let of_rows = (0..rows.rows()).flat_map(|i| (0..rows.dim(i)).map(move |a| case.d(i, a, a)));
    let of_border = (0..k).map(|j| case.border_hessian[j * (k + 1)]);
    let roots: Vec<f64> = of_rows.chain(of_border).map(f64::sqrt).collect();
    let tolerance = LogTolerance::of_solves(&roots, |x| {
        let gradient = Gradient::new(&x[..n], &x[n..]);
        frame.solve(gradient, step.as_step()).unwrap();
        [&step.row[..], &step.border].concat()
    });
    (frame.log_determinant().unwrap(), tolerance)
}

fn check(case: &DenseCase, other: EliminationKind) {
    let (rows, tolerance) = solve(case, EliminationKind::Rows);
    tolerance.assert_both("rows against another", rows, solve(case, other));
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
