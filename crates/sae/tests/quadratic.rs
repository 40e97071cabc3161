//! The quadratic workspace: one step, the loop, outer sequences, many at once.

use broadhead_sae::lm::quadratic::{
    LogDeterminantAbsence, ManyFit, QuadraticFit, QuadraticWorkspace, fit_many,
};
use broadhead_sae::lm::{LmError, Rule, Status, go_on};
use broadhead_sae::{Place, SolveOptions};
use broadhead_schur::{
    ArrowShape, ArrowVector, CrossView, DenseSystem, EliminationKind, Error, ProductMut, Ridge,
    RowBlocks, SolverOptions, SymmetricView, System,
};
use std::ops::ControlFlow;

/// Owned operands: `n` rows of 2, a border of `k`, all of size `scale`.
struct Operands {
    shape: ArrowShape,
    d: Vec<f64>,
    b: Vec<f64>,
    c: Vec<f64>,
    g0: ArrowVector,
}

impl Operands {
    fn new(n: usize, k: usize, seed: u64, scale: f64) -> Self {
        let mut state = seed;
        let mut next = || {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            ((state >> 11) as f64) / (1u64 << 53) as f64 - 0.5
        };
        let mut fill = |len: usize| -> Vec<f64> { (0..len).map(|_| scale * next()).collect() };
        let (mut d, b, mut c) = (fill(4 * n), fill(2 * n * k), fill(k * k));
        for i in 0..n {
            d[4 * i] = 3.0 * scale;
            d[4 * i + 3] = 4.0 * scale;
        }
        for j in 0..k {
            c[j * k + j] = (n + k) as f64 * scale;
        }
        let g0 = ArrowVector {
            row: fill(2 * n),
            border: fill(k),
        };
        Self {
            shape: ArrowShape::uniform(n, 2, k).unwrap(),
            d,
            b,
            c,
            g0,
        }
    }

    fn system(&self) -> System<'_> {
        let (n, k) = (self.shape.row_unknowns(), self.shape.border());
        DenseSystem::new(
            &self.shape,
            RowBlocks::packed(&self.d),
            CrossView::row_major(&self.b, n, k).unwrap(),
            SymmetricView::row_major(&self.c, k).unwrap(),
        )
        .unwrap()
        .into()
    }

    fn workspace(&self) -> QuadraticWorkspace {
        let options = SolveOptions {
            elimination: Some(EliminationKind::Rows),
            ..Default::default()
        };
        QuadraticWorkspace::new(&self.system(), &options, &Place::default()).unwrap()
    }

    fn fit(&self, data_norm_squared: f64, rule: &Rule) -> QuadraticFit {
        let mut workspace = self.workspace();
        let g0 = self.g0.as_gradient();
        let mut problem = workspace
            .load(self.system(), g0, data_norm_squared)
            .unwrap();
        problem.fit(rule, &mut go_on).unwrap()
    }

    /// The largest entry of `H z - g0`, relative to that of `|H| |z| + |g0|`.
    fn residual(&self, z: &ArrowVector) -> f64 {
        let zeros = || ArrowVector::zeros(&self.shape);
        let (mut y, mut size) = (zeros(), zeros());
        let out = ProductMut {
            row: &mut y.row,
            border: &mut y.border,
            row_abs: &mut size.row,
            border_abs: &mut size.border,
        };
        let product = self.system().product(&z.row, &z.border, Ridge::ZERO, out);
        product.unwrap();
        let parts = [
            (&y.row, &size.row, &self.g0.row),
            (&y.border, &size.border, &self.g0.border),
        ];
        let (mut worst, mut scale) = (0.0_f64, 0.0_f64);
        for (y, size, g) in parts {
            for i in 0..y.len() {
                worst = worst.max((y[i] - g[i]).abs());
                scale = scale.max(size[i] + g[i].abs());
            }
        }
        worst / scale
    }
}

#[test]
fn the_first_step_is_minus_what_solve_answers_for_g0() {
    let operands = Operands::new(20, 9, 1, 1.0);
    let mut workspace = operands.workspace();
    let g0 = operands.g0.as_gradient();
    let mut problem = workspace.load(operands.system(), g0, 7.0).unwrap();
    let ridge = Ridge::new(0.3, 0.2);
    let single = problem.single_step(ridge).unwrap();
    assert_eq!(problem.frame_builds(), 1);

    let options = SolverOptions {
        elimination: Some(EliminationKind::Rows),
        ..Default::default()
    };
    let system = operands.system();
    let mut solver = broadhead_schur::Solver::new(&system, options).unwrap();
    let mut base = solver.refresh(system).unwrap();
    let mut answer = ArrowVector::zeros(&operands.shape);
    base.factor(ridge)
        .unwrap()
        .solve(g0, answer.as_step())
        .unwrap();
    let minus = |x: &[f64]| x.iter().map(|x| -x).collect::<Vec<_>>();
    assert_eq!(single.step.row, minus(&answer.row));
    assert_eq!(single.step.border, minus(&answer.border));
    // Under a ridge the step falls short of the minimum of the bare quadratic: both reductions
    // are positive and equal, for the objective is that quadratic.
    assert!(single.predicted > 0.0);
    assert!((single.actual - single.predicted).abs() <= 1e-12 * single.predicted);
}

#[test]
fn an_exact_quadratic_stops_after_one_step_with_one_frame() {
    let operands = Operands::new(30, 12, 2, 1.0);
    let fit = operands.fit(100.0, &Rule::quadratic());
    assert_eq!(fit.report.status, Status::ConvergedResidual);
    assert_eq!(
        (fit.report.iterations, fit.report.trials, fit.frame_builds),
        (1, 1, 1)
    );
    assert!(operands.residual(&fit.point) < 1e-14);
    assert!(fit.error.unwrap().componentwise.unwrap() < 1e-14);
    let log = fit.log_determinant.unwrap();
    assert!(log.value.is_finite() && log.absolute >= log.value.abs());
}

#[test]
fn a_ridge_that_starts_positive_converges_to_the_same_point() {
    let operands = Operands::new(30, 12, 3, 1.0);
    let exact = operands.fit(100.0, &Rule::quadratic());
    let rule = Rule {
        initial_ridge: 1e-2,
        ..Rule::quadratic().with_max_iterations(60)
    };
    let fit = operands.fit(100.0, &rule);
    assert!(
        fit.report.converged() && fit.report.iterations > 1,
        "{:?}",
        fit.report
    );
    assert!(fit.frame_builds > 1);
    for (a, b) in exact.point.border.iter().zip(&fit.point.border) {
        assert!((a - b).abs() < 1e-8, "{a} {b}");
    }
    let objectives: Vec<f64> = fit.trace.iter().filter_map(|t| t.objective).collect();
    assert!(objectives.windows(2).all(|w| w[1] <= w[0] + 1e-12));
}

#[test]
fn scaling_the_data_keeps_every_decision_and_scales_the_objective_by_the_square() {
    let rule = Rule {
        initial_ridge: 1e-3,
        ..Rule::quadratic()
    };
    let plain = Operands::new(25, 8, 4, 1.0).fit(50.0, &rule);
    // Data scaled by a: J by a, so H, g0 and |X|^2 by a^2.
    for a in [1e-150_f64, 1e-6, 1e6, 1e150] {
        let square = a * a;
        let scaled = Operands::new(25, 8, 4, square).fit(50.0 * square, &rule);
        let path = |fit: &QuadraticFit| {
            fit.trace
                .iter()
                .map(|t| (t.iteration, t.ridge, t.accepted))
                .collect::<Vec<_>>()
        };
        assert_eq!(path(&plain), path(&scaled), "a = {a:e}");
        assert_eq!(plain.report.status, scaled.report.status);
        let ratio = scaled.report.objective / plain.report.objective / square;
        assert!((ratio - 1.0).abs() < 1e-10, "a = {a:e}: {ratio}");
    }
}

#[test]
fn an_outer_sequence_builds_one_frame_whatever_its_length() {
    let operands = Operands::new(40, 10, 5, 1.0);
    for outers in [0_u64, 1, 24] {
        let mut workspace = operands.workspace();
        let g0 = operands.g0.as_gradient();
        let mut problem = workspace.load(operands.system(), g0, 0.0).unwrap();
        let mut seen = Vec::new();
        let report = problem
            .outer_sequence(Ridge::new(1e-3, 1e-3), &mut |i, step, gradient| {
                seen.push(step.border[0]);
                for (g, (g0, s)) in gradient
                    .border
                    .iter_mut()
                    .zip(operands.g0.border.iter().zip(&step.border))
                {
                    *g = g0 + 0.5 * s;
                }
                gradient.row.copy_from_slice(&operands.g0.row);
                if i < outers {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(())
                }
            })
            .unwrap();
        assert_eq!((report.outers, report.frame_builds), (outers, 1));
        assert_eq!(seen.len() as u64, outers + 1);
        assert_eq!(seen[0], 0.0);
        assert!(outers == 0 || report.error.unwrap().componentwise.unwrap() < 1e-14);
        assert!(seen.windows(2).skip(1).all(|w| w[0] != 0.0));
    }
}

#[test]
fn many_at_once_equal_each_alone_and_keep_errors_apart() {
    let operands: Vec<_> = (0..6)
        .map(|i| Operands::new(10 + i, 5 + 2 * i, 20 + i as u64, 1.0))
        .collect();
    let mut broken = Operands::new(12, 6, 30, 1.0);
    broken.c[0] = f64::NAN;
    let alone: Vec<_> = operands
        .iter()
        .map(|o| o.fit(3.0, &Rule::quadratic()))
        .collect();
    let all: Vec<&Operands> = operands[..3]
        .iter()
        .chain([&broken])
        .chain(&operands[3..])
        .collect();
    let mut workspaces: Vec<_> = all.iter().map(|o| o.workspace()).collect();
    let mut fits: Vec<_> = workspaces
        .iter_mut()
        .zip(&all)
        .map(|(workspace, o)| ManyFit {
            workspace,
            system: o.system(),
            g0: &o.g0,
            data_norm_squared: 3.0,
        })
        .collect();
    let mut together = fit_many(&mut fits, &Rule::quadratic());
    let error = together.remove(3).unwrap_err();
    assert!(
        matches!(error, LmError::Problem(Error::NotFinite { array: "border_hessian", ref index, .. })
            if *index == [0, 0]),
        "{error}"
    );
    for (alone, together) in alone.iter().zip(together) {
        let together = together.unwrap();
        assert_eq!(alone.point, together.point);
        assert_eq!(alone.report, together.report);
        assert_eq!(alone.log_determinant, together.log_determinant);
    }
}

#[test]
fn a_singular_operator_grows_the_ridge_and_has_no_log_determinant() {
    let mut operands = Operands::new(8, 4, 6, 1.0);
    // Row 3 has no curvature and no coupling: its block is zero, and so is its gradient.
    operands.d[12..16].fill(0.0);
    operands.b[24..32].fill(0.0);
    operands.g0.row[6..8].fill(0.0);
    let mut workspace = operands.workspace();
    let g0 = operands.g0.as_gradient();
    let mut problem = workspace.load(operands.system(), g0, 10.0).unwrap();
    let fit = problem
        .fit(&Rule::quadratic().with_max_iterations(60), &mut go_on)
        .unwrap();
    assert!(!fit.trace[0].accepted && fit.trace[0].objective.is_none());
    assert!(fit.trace[1].ridge > 0.0 && fit.trace[1].accepted);
    assert!(fit.report.converged(), "{:?}", fit.report);
    assert!(operands.residual(&fit.point) < 1e-8);
    let Err(LogDeterminantAbsence::Singular(reason)) = fit.log_determinant else {
        panic!("{:?}", fit.log_determinant)
    };
    assert!(reason.contains("row 3, pivot 0"), "{reason}");
}

#[test]
fn an_indefinite_operator_descends_or_fails_with_its_reason() {
    let mut operands = Operands::new(8, 4, 7, 1.0);
    for j in 0..4 {
        operands.c[5 * j] = -1.0;
    }
    let mut workspace = operands.workspace();
    let mut problem = workspace
        .load(operands.system(), operands.g0.as_gradient(), 10.0)
        .unwrap();
    // Unbounded below: every accepted step lowers the objective, and nothing converges.
    let fit = problem.fit(&Rule::quadratic(), &mut go_on).unwrap();
    assert_eq!(fit.report.status, Status::IterationLimit);
    assert!(fit.log_determinant.is_err());
}

#[test]
fn the_loop_ends_at_once_where_it_should() {
    let mut operands = Operands::new(8, 4, 8, 1.0);
    let none = operands.fit(10.0, &Rule::quadratic().with_max_iterations(0));
    assert_eq!(
        (none.report.status, none.report.trials),
        (Status::IterationLimit, 0)
    );
    operands.g0 = ArrowVector::zeros(&operands.shape);
    let zero = operands.fit(10.0, &Rule::quadratic());
    assert_eq!(
        (zero.report.status, zero.report.iterations),
        (Status::ConvergedResidual, 0)
    );
    assert_eq!(zero.report.objective, 5.0);

    let mut workspace = operands.workspace();
    let mut bad = operands.g0.clone();
    bad.border[2] = f64::INFINITY;
    let error = workspace
        .load(operands.system(), bad.as_gradient(), 1.0)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "border_gradient[2] is inf: expected a finite number"
    );
    let good = operands.g0.as_gradient();
    let error = workspace
        .load(operands.system(), good, f64::NAN)
        .unwrap_err();
    assert!(
        error.to_string().starts_with("data_norm_squared"),
        "{error}"
    );
}

#[test]
fn iterates_can_be_forced_where_an_exact_quadratic_would_stop() {
    let operands = Operands::new(20, 6, 9, 1.0);
    let rule = Rule {
        residual_tolerance: 0.0,
        ..Rule::quadratic()
    };
    let fit = operands.fit(10.0, &rule);
    assert!(fit.report.iterations > 1 || fit.report.residual_norms == [0.0, 0.0]);
    // The ridge stays 0: every iterate uses the one frame.
    assert_eq!(fit.frame_builds, 1);
    assert!(operands.residual(&fit.point) < 1e-14);
}
