//! Steps, log-determinants and backward errors against the oracle.

use super::{Kind, Subject, for_all, order};
use crate::cases::{Case, DenseCase};
use crate::device::Depth;
use crate::generate;
use crate::normal::{bundle_adjustment, mixed_model};
use crate::oracle::{self, Inverse, Oracle};
use crate::random::Random;
use broadhead_schur::{ArrowVector, EliminationKind, Ridge};
use proptest::prelude::*;

/// The componentwise backward error that every direct elimination reaches, refined or not.
const BACKWARD_ERROR: f64 = 1e-13;

/// Roundings of the terms of $`H x`$ that the residual of conjugate gradients may amount to.
const ROUNDINGS: f64 = 8.0;

/// Compares one solve with the oracle.
fn judge(subject: &Subject, what: &str, case: &Case, ridge: Ridge, g: &ArrowVector) {
    let what = format!("{} on {what}", subject.name());
    let expanded = case.expanded();
    let oracle = Oracle::new(&expanded, ridge)
        .unwrap_or_else(|at| panic!("{what}: the case is not positive definite at {at:?}"));
    let outcome = subject.run(case, ridge, g);
    let inverse = oracle.inverse();
    let want = oracle.solve(g);
    let tolerance = subject.tolerance(order(case), inverse.kappa);
    tolerance.assert_step(&what, &outcome.step, &want);
    judge_log_determinant(subject, &what, case, &outcome, &oracle, &inverse);
    judge_residual(subject, &what, case, ridge, g, &outcome);
}

fn judge_log_determinant(
    subject: &Subject,
    what: &str,
    case: &Case,
    outcome: &super::Outcome,
    oracle: &Oracle,
    inverse: &Inverse,
) {
    if let Some(log) = subject.log_determinant(what, outcome.log_determinant) {
        let tolerance = subject.log_tolerance(case, inverse);
        tolerance.assert(what, log, oracle.log_determinant());
    }
}

fn judge_residual(
    subject: &Subject,
    what: &str,
    case: &Case,
    ridge: Ridge,
    g: &ArrowVector,
    outcome: &super::Outcome,
) {
    let measured = oracle::measure(&case.expanded(), ridge, g.as_gradient(), &outcome.step);
    let Some(error) = outcome.report.error else {
        panic!("{what}: the errors were not measured");
    };
    assert!(
        outcome.report.refinements <= 2,
        "{what}: {:?}",
        outcome.report
    );
    if let Some(target) = subject.stops_at {
        // Where the terms of H x dwarf g, rounding the exact step leaves a larger residual than
        // the one asked: then, and only then, that many roundings are granted.
        let floor = ROUNDINGS * f64::EPSILON * measured.terms;
        assert!(
            measured.relative_residual <= target.max(floor),
            "{what}: measured {measured:?}, {floor:e} by rounding, reported {error:?}"
        );
        return;
    }
    let reported = error.componentwise;
    assert!(
        reported.is_some_and(|omega| omega <= BACKWARD_ERROR),
        "{what}: {:?}",
        outcome.report
    );
    if let Case::Dense(_) = case {
        assert!(
            measured.componentwise <= BACKWARD_ERROR,
            "{what}: measured {measured:?}, reported {error:?}"
        );
    }
}

/// On random ragged systems the step and the log-determinant are those of the oracle and of the
/// reference elimination, and the backward errors are small.
pub fn agrees_with_the_oracle_and_the_reference(subject: &Subject) {
    let ridges = prop_oneof![
        Just(Ridge::ZERO),
        Just(Ridge::new(0.1, 0.0)),
        Just(Ridge::new(0.0, 0.3)),
        Just(Ridge::new(2.0, 1e-3)),
    ];
    let cases = 20 * subject.serves.len() as u32;
    for_all(cases, (subject.specs(), ridges), |(spec, ridge)| {
        let (case, g) = (spec.case(), spec.gradient(0));
        judge(subject, &format!("{spec:?} at {ridge:?}"), &case, ridge, &g);
        if let Case::Operator(_) = case {
            return;
        }
        let the_reference = Subject::cpu(EliminationKind::Reference);
        let reference = the_reference.run(&case, ridge, &g);
        let oracle = Oracle::new(&case.expanded(), ridge)
            .unwrap_or_else(|at| panic!("{spec:?}: not positive definite at {at:?}"));
        let inverse = oracle.inverse();
        let own = subject.run(&case, ridge, &g);
        let tolerance = subject.tolerance(order(&case), inverse.kappa);
        tolerance.assert_step("against the reference", &own.step, &reference.step);
        let what = "against the reference";
        let found = subject.log_determinant(what, own.log_determinant);
        let wanted = the_reference.log_determinant(what, reference.log_determinant);
        if let (Some(found), Some(wanted)) = (found, wanted) {
            let of = |subject: &Subject| subject.log_tolerance(&case, &inverse);
            of(subject).assert_both(what, found, (wanted, of(&the_reference)));
        }
    });
}

/// Ill-conditioned, badly scaled and nearly singular systems: backward error at most 1e-13, the
/// log-determinant to its bound.
pub fn answers_hard_systems_to_full_precision(subject: &Subject) {
    if !subject.serves.contains(&Kind::Dense) {
        return hard_structured(subject);
    }
    let mut random = Random::new(11);
    let dims = [3, 1, 0, 2, 17, 2, 3, 1];
    let depth = Depth::now();
    // Condition numbers of the row blocks and of the eliminated border.
    let kappas = [
        (1e2, 1e2),
        (1e5, 1e5),
        (1e10, 1e2),
        (1e2, 1e10),
        (1e7, 1e7),
        (1e4, 1e10),
        (1e12, 1e2),
        (1e2, 1e12),
    ];
    for &k in depth.of_list(&[1, 7, 40, 131], &[2]) {
        for &(rows, border) in depth.of_list(&kappas, &[1, 3]) {
            let case = generate::ill_conditioned(&dims, k, rows, border, &mut random);
            let g = generate::gradient(29, k, &mut random);
            let what = format!("kappa {rows:e} of the rows, {border:e} of the border, k {k}");
            judge(subject, &what, &Case::Dense(case.clone()), Ridge::ZERO, &g);
            let scaled = Case::Dense(generate::badly_scaled(case, 15, &mut random));
            let what = format!("{what}, badly scaled");
            judge_residual_and_log(subject, &what, &scaled, &g);
        }
        for &share in depth.of_list(&[1e-4, 1e-7, 1e-10, 1e-12, 1e-14], &[1]) {
            let case = generate::dense(&dims, k, 0.1, &mut random);
            let case = Case::Dense(generate::with_singular_row(case, 5, share));
            let g = generate::gradient(29, k, &mut random);
            let what = format!("a nearly singular row, {share:e}, k {k}");
            judge_residual_and_log(subject, &what, &case, &g);
        }
    }
    hard_structured(subject);
}

/// Where the condition number says nothing of the error (a diagonal scaling): the residual.
fn judge_residual_and_log(subject: &Subject, what: &str, case: &Case, g: &ArrowVector) {
    let oracle = Oracle::new(&case.expanded(), Ridge::ZERO)
        .unwrap_or_else(|at| panic!("{what}: not positive definite at {at:?}"));
    let outcome = subject.run(case, Ridge::ZERO, g);
    judge_log_determinant(subject, what, case, &outcome, &oracle, &oracle.inverse());
    judge_residual(subject, what, case, Ridge::ZERO, g, &outcome);
}

fn hard_structured(subject: &Subject) {
    if !subject.serves.contains(&Kind::Structured) {
        return;
    }
    let mut random = Random::new(12);
    let depth = Depth::now();
    let sizes = [
        (1, 1, false),
        (5, 16, false),
        (9, 3, false),
        (9, 12, false),
        (17, 7, true),
    ];
    for &(features, outputs, atoms) in depth.of_list(&sizes, &[2, 4]) {
        for &margin in depth.of_list(&[1e-2, 1e-5, 1e-8], &[1]) {
            let of = generate::Structure {
                dims: (0..40).map(|i| 1 + i % 2).collect(),
                features,
                outputs,
                density: 0.6,
                atoms,
                margin,
            };
            let case = Case::Structured(generate::structured(&of, &mut random));
            let shape = case.system().shape().clone();
            let g = generate::gradient(shape.row_unknowns(), shape.border(), &mut random);
            judge(
                subject,
                &format!("{of:?}"),
                &case,
                Ridge::new(margin, 0.0),
                &g,
            );
        }
    }
}

/// Normal equations of bundle adjustment and of mixed models.
pub fn answers_real_looking_systems(subject: &Subject) {
    if !subject.serves.contains(&Kind::Dense) {
        return;
    }
    type Made = fn() -> DenseCase;
    let cases: [(&str, Made); 5] = [
        ("bundle adjustment, 49 cameras", || {
            bundle_adjustment(300, 49, 1e-4, 1)
        }),
        ("bundle adjustment, barely damped", || {
            bundle_adjustment(250, 12, 1e-8, 2)
        }),
        ("a mixed model, 400 effects", || {
            mixed_model(400, 2, 400, 1e-4, 3)
        }),
        ("a mixed model, three slopes", || {
            mixed_model(200, 3, 60, 1e-6, 4)
        }),
        ("a mixed model, one intercept", || {
            mixed_model(700, 1, 120, 1e-6, 5)
        }),
    ];
    for &(what, made) in Depth::now().of_list(&cases, &[3]) {
        let case = made();
        let mut random = Random::new(6);
        let g = generate::gradient(case.shape.row_unknowns(), case.shape.border(), &mut random);
        let case = Case::Dense(case);
        let oracle = Oracle::new(&case.expanded(), Ridge::ZERO)
            .unwrap_or_else(|at| panic!("{what}: not positive definite at {at:?}"));
        let outcome = subject.run(&case, Ridge::ZERO, &g);
        judge_log_determinant(subject, what, &case, &outcome, &oracle, &oracle.inverse());
        judge_residual(subject, what, &case, Ridge::ZERO, &g, &outcome);
    }
}
