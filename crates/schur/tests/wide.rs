//! Rows first over borders of several panels: one right-hand side or more than one pass serves,
//! measured in the pass that solves or after it.

use broadhead_schur::{
    ArrowVector, EliminationKind, Gradient, ProductMut, Refinement, Ridge, Solver, SolverOptions,
    StepMut, System,
};
use broadhead_testkit::cases::DenseCase;
use broadhead_testkit::pools::assert_same_bits;
use broadhead_testkit::random::Random;
use faer::Mat;

const RIDGE: Ridge = Ridge {
    row: 0.125,
    border: 0.25,
};

/// The limit of refinement, which is the default's.
const LIMIT: f64 = 1e-14;

/// Rows of orders `dims`, whose unknowns are correlated by `correlation`, and a border of `k`.
fn case(dims: &[usize], k: usize, correlation: f64) -> DenseCase {
    let mut random = Random::new(31);
    let mut case = DenseCase::zeros(dims, k);
    for (i, &d) in dims.iter().enumerate() {
        for a in 0..d {
            for b in 0..d {
                *case.d_mut(i, a, b) = if a == b { 2.0 } else { 2.0 * correlation };
            }
        }
    }
    let n = case.shape.row_unknowns() as f64;
    let scale = (1.0 - correlation).sqrt() / (n.sqrt() + (k as f64).sqrt());
    case.row_cross = random.normals(case.row_cross.len());
    case.row_cross.iter_mut().for_each(|b| *b *= scale);
    case.border_hessian = random.normals(k * k);
    let scale = 0.5 / (k as f64).sqrt();
    case.border_hessian.iter_mut().for_each(|c| *c *= scale);
    for j in 0..k {
        case.border_hessian[j * k + j] += 5.0;
    }
    case
}

/// Systems of small blocks, of blocks that are close to singular, and of wide ones.
fn cases() -> Vec<DenseCase> {
    let ragged: Vec<usize> = (0..90).map(|i| [1, 2, 0, 3, 4, 2][i % 6]).collect();
    let wide: Vec<usize> = (0..30).map(|i| [9, 2, 5][i % 3]).collect();
    vec![
        case(&ragged, 1100, 0.25),
        case(&[2; 75], 600, 0.25),
        case(&ragged, 530, 0.999),
        case(&wide, 520, 0.25),
    ]
}

fn solver(system: System<'_>, refinement: Refinement) -> Solver {
    let options = SolverOptions {
        elimination: Some(EliminationKind::Rows),
        refinement,
        ..SolverOptions::default()
    };
    Solver::new(&system, options).unwrap()
}

/// The componentwise backward error of `step`, from the operands.
fn backward_error(system: System<'_>, g: (&[f64], &[f64]), step: (&[f64], &[f64])) -> f64 {
    let (n, k) = (g.0.len(), g.1.len());
    let (mut row, mut border) = (vec![0.0; n], vec![0.0; k]);
    let (mut row_abs, mut border_abs) = (vec![0.0; n], vec![0.0; k]);
    let y = ProductMut {
        row: &mut row,
        border: &mut border,
        row_abs: &mut row_abs,
        border_abs: &mut border_abs,
    };
    assert!(system.product(step.0, step.1, RIDGE, y).unwrap());
    let entries = row
        .iter()
        .chain(&border)
        .zip(row_abs.iter().chain(&border_abs));
    let errors = entries.zip(g.0.iter().chain(g.1));
    errors.fold(0.0, |worst, ((y, size), g)| {
        let error = (y + g).abs() / (size + g.abs());
        assert!(!error.is_nan());
        f64::max(worst, error)
    })
}

/// Solves for `count` gradients; the steps, and the errors that were reported.
fn solve(system: System<'_>, count: usize, refinement: Refinement) -> (Vec<f64>, Option<f64>) {
    let (n, k) = (system.shape().row_unknowns(), system.shape().border());
    let entry = |i: usize, j: usize| ((3 * i + 11 * j) as f64).sin();
    let (row, border) = (Mat::from_fn(n, count, entry), Mat::from_fn(k, count, entry));
    let (mut t, mut beta) = (Mat::zeros(n, count), Mat::zeros(k, count));
    let mut solver = solver(system, refinement);
    let mut base = solver.refresh(system).unwrap();
    let mut frame = base.factor(RIDGE).unwrap();
    let gradients = Gradient::many(row.as_ref(), border.as_ref());
    let steps = StepMut::many(t.as_mut(), beta.as_mut());
    let report = frame.solve(gradients, steps).unwrap();
    for j in 0..count {
        let g = (row.col_as_slice(j), border.col_as_slice(j));
        let step = (t.col_as_slice(j), beta.col_as_slice(j));
        let error = backward_error(system, g, step);
        assert!(error <= LIMIT, "column {j} of {count}: {error:e}");
    }
    let mut all = Vec::new();
    for j in 0..count {
        all.extend_from_slice(t.col_as_slice(j));
        all.extend_from_slice(beta.col_as_slice(j));
    }
    (all, report.error.and_then(|error| error.componentwise))
}

#[test]
fn wide_borders_are_solved_to_the_limit_with_the_same_bits_by_any_number_of_threads() {
    for case in cases() {
        for count in [1, 3, 35] {
            let what = format!("k {}, {count} gradients", case.shape.border());
            assert_same_bits(&what, || {
                let (mut numbers, error) = solve(case.system(), count, Refinement::default());
                let error = error.unwrap();
                assert!(error <= LIMIT, "{what}: {error:e}");
                numbers.push(error);
                numbers
            });
        }
    }
}

#[test]
fn a_measured_step_is_the_unmeasured_one_to_rounding() {
    for case in cases() {
        for count in [1, 3] {
            let system: System<'_> = case.system();
            let (measured, _) = solve(system, count, Refinement::Measure);
            let (plain, none) = solve(system, count, Refinement::Off);
            assert_eq!(none, None);
            let size = plain.iter().fold(0.0_f64, |size, x| size.max(x.abs()));
            for (a, b) in measured.iter().zip(&plain) {
                assert!((a - b).abs() <= 1e-11 * size, "{a} {b}");
            }
        }
    }
}

#[test]
fn a_reported_error_is_that_of_the_step() {
    for case in cases() {
        let system: System<'_> = case.system();
        let shape = system.shape();
        let (n, k) = (shape.row_unknowns(), shape.border());
        let g = ArrowVector {
            row: (0..n).map(|i| (i as f64).cos()).collect(),
            border: (0..k).map(|i| (i as f64).sin()).collect(),
        };
        let mut step = ArrowVector::zeros(shape);
        let mut solver = solver(system, Refinement::Measure);
        let mut base = solver.refresh(system).unwrap();
        let mut frame = base.factor(RIDGE).unwrap();
        let report = frame.solve(g.as_gradient(), step.as_step()).unwrap();
        let reported = report.error.unwrap().componentwise.unwrap();
        let found = backward_error(system, (&g.row, &g.border), (&step.row, &step.border));
        // Both err by the rounding of the products: far less than the sum of their terms' units.
        assert!(
            (reported - found).abs() <= 16.0 * f64::EPSILON,
            "{reported:e} {found:e}"
        );
    }
}
