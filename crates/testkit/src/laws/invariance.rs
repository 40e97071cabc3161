//! What changes nothing: scale, the order of rows, company.

use super::{Subject, for_all, order};
use crate::cases::Case;
use crate::oracle::{Inverse, Oracle};
use crate::pools::assert_bits;
use crate::strategy::Spec;
use broadhead_schur::{ArrowVector, Gradient, LogDeterminant, Ridge, StepMut};
use faer::Mat;
use proptest::prelude::*;

const RIDGE: Ridge = Ridge {
    row: 0.03,
    border: 0.02,
};

/// The inverse of a case that is positive definite at the ridge of these laws.
fn inverse_of(case: &Case) -> Inverse {
    match Oracle::new(&case.expanded(), RIDGE) {
        Ok(oracle) => oracle.inverse(),
        Err(at) => panic!("not positive definite at {at:?}"),
    }
}

fn scaled(g: &ArrowVector, scale: f64) -> ArrowVector {
    let times = |x: &[f64]| x.iter().map(|x| x * scale).collect();
    ArrowVector {
        row: times(&g.row),
        border: times(&g.border),
    }
}

/// Data times `a` makes the operator and the gradient times `a^2`: the step stays, the
/// log-determinant moves by `order log a^2`. Powers of two move no bit.
pub fn scaling_the_data_scales_nothing_but_the_scale(subject: &Subject) {
    for_all(
        8 * subject.serves.len() as u32,
        subject.specs(),
        |mut spec| {
            // A step of modest size: its products with an operator near 1e300 must stay finite.
            match &mut spec {
                Spec::Dense(spec) | Spec::Operator(spec) => spec.margin = spec.margin.min(1),
                Spec::Structured(spec) => spec.margin = spec.margin.min(1),
            }
            let (case, g) = (spec.case(), spec.gradient(1));
            let plain = subject.run(&case, RIDGE, &g);
            let inverse = inverse_of(&case);
            let tolerance = subject.tolerance(order(&case), inverse.kappa);
            let of_logs = subject.log_tolerance(&case, &inverse);
            let at = |a: f64| {
                let square = a * a;
                let ridge = Ridge::new(RIDGE.row * square, RIDGE.border * square);
                subject.run(&case.clone().scaled(a), ridge, &scaled(&g, square))
            };
            for exponent in [-180, -10, 11, 200] {
                let outcome = at(2.0_f64.powi(exponent));
                let what = format!("data times 2^{exponent}");
                assert_bits(&what, &outcome.step.row, &plain.step.row);
                assert_bits(&what, &outcome.step.border, &plain.step.border);
                assert_eq!(outcome.report, plain.report, "{what}");
            }
            for a in [1e-150, 1e-6, 1e6, 1e150] {
                let outcome = at(a);
                let what = format!("data times {a:e}");
                tolerance.assert_step(&what, &outcome.step, &plain.step);
                let found = subject.log_determinant(&what, outcome.log_determinant);
                let plain = subject.log_determinant(&what, plain.log_determinant);
                if let (Some(log), Some(plain)) = (found, plain) {
                    let shift = 2.0 * order(&case) as f64 * a.ln();
                    let want = LogDeterminant {
                        value: plain.value + shift,
                        absolute: plain.absolute + shift.abs(),
                    };
                    of_logs.assert_both(&what, log, (want, of_logs));
                }
            }
        },
    );
}

/// Rows in another order give the step in that order.
pub fn permuting_rows_permutes_the_step(subject: &Subject) {
    for_all(10 * subject.serves.len() as u32, subject.specs(), |spec| {
        let (case, g) = (spec.case(), spec.gradient(2));
        let (expanded, n) = (case.expanded(), case.system().shape().row_count());
        let permutation = crate::random::Random::new(5).permutation(n);
        let rows = expanded.shape.rows();
        let permute = |x: &[f64]| -> Vec<f64> {
            let parts = permutation
                .iter()
                .map(|&i| &x[rows.offset(i)..rows.offset(i + 1)]);
            parts.flatten().copied().collect()
        };
        let plain = subject.run(&case, RIDGE, &g);
        let moved = ArrowVector {
            row: permute(&g.row),
            border: g.border.clone(),
        };
        let outcome = subject.run(&case.permuted(&permutation), RIDGE, &moved);
        let inverse = inverse_of(&case);
        let tolerance = subject.tolerance(order(&case), inverse.kappa);
        let want = ArrowVector {
            row: permute(&plain.step.row),
            border: plain.step.border,
        };
        tolerance.assert_step("rows permuted", &outcome.step, &want);
        let what = "rows permuted";
        let found = subject.log_determinant(what, outcome.log_determinant);
        let wanted = subject.log_determinant(what, plain.log_determinant);
        if let (Some(found), Some(wanted)) = (found, wanted) {
            let of_logs = subject.log_tolerance(&case, &inverse);
            of_logs.assert_both(what, found, (wanted, of_logs));
        }
    });
}

/// Many gradients at once give the steps of each alone; none gives none.
pub fn many_right_hand_sides_equal_each(subject: &Subject) {
    let counts = prop_oneof![Just(0_usize), Just(1), Just(2), Just(5)];
    for_all(
        10 * subject.serves.len() as u32,
        (subject.specs(), counts),
        |(spec, count)| many(subject, &spec.case(), &spec, count),
    );
}

fn many(subject: &Subject, case: &Case, spec: &Spec, count: usize) {
    let (n, k) = (
        case.system().shape().row_unknowns(),
        case.system().shape().border(),
    );
    let gradients: Vec<_> = (0..count).map(|j| spec.gradient(10 + j as u64)).collect();
    let row = Mat::from_fn(n, count, |i, j| gradients[j].row[i]);
    let border = Mat::from_fn(k, count, |i, j| gradients[j].border[i]);
    let (mut row_step, mut border_step) = (Mat::zeros(n, count), Mat::zeros(k, count));
    let mut solver = subject.solver(case);
    let mut base = solver.refresh(case.system()).expect("finite numbers");
    let mut frame = base.factor(RIDGE).expect("positive definite");
    let report = frame
        .solve(
            Gradient::many(row.as_ref(), border.as_ref()),
            StepMut::many(row_step.as_mut(), border_step.as_mut()),
        )
        .expect("a solution");
    assert!(count == 0 || report.error.is_some());
    let tolerance = subject.tolerance(order(case), inverse_of(case).kappa);
    for (j, g) in gradients.iter().enumerate() {
        let together = ArrowVector {
            row: (0..n).map(|i| row_step[(i, j)]).collect(),
            border: (0..k).map(|i| border_step[(i, j)]).collect(),
        };
        let alone = subject.run(case, RIDGE, g);
        tolerance.assert_step(&format!("column {j} of {count}"), &together, &alone.step);
    }
}
