//! What a frame says beside the step: conditions, models, unridged factors.

use super::{Subject, for_all, order};
use crate::cases::Case;
use crate::oracle::{self, Oracle};
use crate::tolerance::Tolerance;
use broadhead_schur::{ArrowVector, Ridge};

const RIDGE: Ridge = Ridge {
    row: 0.03,
    border: 0.02,
};

/// Condition estimates are within a factor of ten of $`\kappa_1`$, and above it by rounding alone.
pub fn condition_estimates_are_close_and_never_above(subject: &Subject) {
    for_all(12 * subject.serves.len() as u32, subject.specs(), |spec| {
        let case = spec.case();
        let oracle = Oracle::new(&case.expanded(), RIDGE).expect("positive definite");
        let kappa = oracle.kappa();
        let mut solver = subject.solver(&case);
        let mut base = solver.refresh(case.system()).expect("finite numbers");
        let mut frame = base.factor(RIDGE).expect("positive definite");
        let estimate = frame.condition_estimate().expect("an estimate");
        let excess = subject.tolerance(order(&case), kappa).relative();
        assert!(
            estimate <= kappa * (1.0 + excess),
            "{}: {estimate:e} above {kappa:e}",
            subject.name()
        );
        // Of an operator the norm too is a lower bound, and may be far below.
        if !matches!(case, Case::Operator(_)) {
            assert!(
                estimate >= kappa / 10.0,
                "{}: {estimate:e} far below {kappa:e}",
                subject.name()
            );
        }
    });
}

/// The quadratic model is that of the operator without ridge, term by term.
pub fn quadratic_models_are_those_of_the_bare_operator(subject: &Subject) {
    for_all(12 * subject.serves.len() as u32, subject.specs(), |spec| {
        let (case, g, mut step) = (spec.case(), spec.gradient(5), spec.gradient(6));
        let mut solver = subject.solver(&case);
        let mut base = solver.refresh(case.system()).expect("finite numbers");
        let model = base
            .quadratic_model(g.as_gradient(), step.as_step())
            .expect("vectors of its shape");
        let [linear, curvature] = oracle::quadratic(&case.expanded(), &g, &step);
        // The scale of rounding is that of the terms, and of the factors of a structured H.
        let factors = if let Case::Structured(_) = case {
            100.0
        } else {
            1.0
        };
        let tolerance = Tolerance::new(order(&case), factors);
        tolerance.assert_number("g' step", model.linear, linear.0, linear.1);
        tolerance.assert_number("step' H step", model.curvature, curvature.0, curvature.1);
        let value = linear.0 + 0.5 * curvature.0;
        tolerance.assert_number("the model", model.value(), value, linear.1 + curvature.1);
        assert_eq!(model.predicted_reduction(), -model.value());
    });
}

/// The factors at zero ridge stand beside the ridged ones: each answers as if alone.
pub fn unridged_factors_stand_beside_ridged_ones(subject: &Subject) {
    for_all(10 * subject.serves.len() as u32, subject.specs(), |spec| {
        let (case, g) = (spec.case(), spec.gradient(7));
        let ridged = subject.run(&case, RIDGE, &g);
        let bare = subject.run(&case, Ridge::ZERO, &g);
        let mut solver = subject.solver(&case);
        let mut base = solver.refresh(case.system()).expect("finite numbers");
        let mut frame = base.factor(RIDGE).expect("positive definite");
        let mut step = ArrowVector::zeros(case.system().shape());
        for _ in 0..2 {
            let mut unridged = frame.unridged().expect("positive definite");
            assert_eq!(unridged.ridge(), Ridge::ZERO);
            unridged
                .solve(g.as_gradient(), step.as_step())
                .expect("a solution");
            assert_eq!(step, bare.step, "{}: unridged", subject.name());
            assert_eq!(unridged.log_determinant(), bare.log_determinant);
            frame
                .solve(g.as_gradient(), step.as_step())
                .expect("a solution");
            assert_eq!(step, ridged.step, "{}: ridged", subject.name());
            assert_eq!(frame.log_determinant(), ridged.log_determinant);
        }
    });
}
