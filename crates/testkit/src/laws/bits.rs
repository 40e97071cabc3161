//! What changes no bit: threads, layouts, garbage, what a solver held before.

use super::{Kind, Subject, for_all, order};
use crate::cases::{Case, DenseCase};
use crate::device::Depth;
use crate::generate;
use crate::normal::mixed_model;
use crate::oracle::Oracle;
use crate::pools::{assert_bits, assert_same_bits};
use crate::random::Random;
use broadhead_schur::{
    ArrowVector, CrossView, DenseSystem, Error, Failure, Refinement, Ridge, RowBlocks, Solver,
    SymmetricView, System,
};
use faer::Mat;
use ndarray::{Array2, Array3, ArrayView2, ArrayView3, ShapeBuilder, s};

const RIDGE: Ridge = Ridge {
    row: 0.03,
    border: 0.02,
};

/// Systems large enough that every parallel path of the eliminations is taken; under a tool one of each
/// kind that is smaller.
fn large(kind: Kind) -> Vec<Case> {
    let mut random = Random::new(21);
    if Depth::now() != Depth::All {
        return vec![match kind {
            Kind::Dense => Case::Dense(generate::dense(&[2; 30], 70, 0.1, &mut random)),
            Kind::Structured => {
                let of = generate::Structure {
                    dims: vec![2; 30],
                    features: 12,
                    outputs: 9,
                    density: 0.5,
                    atoms: false,
                    margin: 0.5,
                };
                Case::Structured(generate::structured(&of, &mut random))
            }
            Kind::Operator => Case::Operator(crate::cases::OperatorCase::new(generate::dense(
                &[2; 30],
                20,
                0.1,
                &mut random,
            ))),
        }];
    }
    let dims: Vec<_> = (0..330).map(|i| [2, 1, 3, 0][i % 4]).collect();
    match kind {
        Kind::Dense => vec![
            Case::Dense(mixed_model(1100, 1, 40, 1e-3, 3)),
            Case::Dense(mixed_model(220, 2, 610, 1e-3, 4)),
            Case::Dense(generate::dense(&dims[..40], 150, 0.1, &mut random)),
        ],
        Kind::Structured => [(13, 37, false), (90, 1, false), (31, 40, true)]
            .map(|(features, outputs, atoms)| {
                Case::Structured(generate::structured(
                    &generate::Structure {
                        dims: dims.clone(),
                        features,
                        outputs,
                        density: 0.5,
                        atoms,
                        margin: 0.5,
                    },
                    &mut random,
                ))
            })
            .into(),
        Kind::Operator => vec![Case::Operator(crate::cases::OperatorCase::new(
            mixed_model(300, 2, 60, 1e-2, 5),
        ))],
    }
}

/// Factor, solve (one and many), log-determinant and errors have the same bits for any number of
/// threads.
pub fn thread_counts_give_the_same_bits(subject: &Subject) {
    let mut cases: Vec<_> = (subject.serves.iter())
        .flat_map(|&kind| large(kind))
        .collect();
    let all = Depth::now() == Depth::All;
    if all && subject.serves.contains(&Kind::Dense) && !subject.holds_rows_densely() {
        let tall = generate::dense(&vec![1; 70_000], 1, 0.1, &mut Random::new(23));
        cases.push(Case::Dense(tall));
    }
    for case in cases {
        let shape = case.system().shape().clone();
        let (n, k) = (shape.row_unknowns(), shape.border());
        let g = generate::gradient(n, k, &mut Random::new(22));
        let what = format!("{}, N {n}, k {k}", subject.name());
        assert_same_bits(&what, || {
            let mut numbers = subject.run(&case, RIDGE, &g).numbers();
            let many = |len: usize| Mat::from_fn(len, 3, |i, j| ((i + 7 * j) as f64).sin());
            let (row, border) = (many(n), many(k));
            let (mut x, mut y) = (Mat::zeros(n, 3), Mat::zeros(k, 3));
            let mut solver = subject.solver(&case);
            let mut base = solver.refresh(case.system()).expect("finite numbers");
            let mut frame = base.factor(RIDGE).expect("positive definite");
            numbers.extend(frame.row_pivot().map(|pivot| pivot.value));
            numbers.extend(frame.border_pivot().map(|pivot| pivot.value));
            let gradient = broadhead_schur::Gradient::many(row.as_ref(), border.as_ref());
            let step = broadhead_schur::StepMut::many(x.as_mut(), y.as_mut());
            frame.solve(gradient, step).expect("a solution");
            for part in [&x, &y] {
                numbers.extend((0..3).flat_map(|j| part.col(j).iter().copied()));
            }
            numbers.push(match frame.condition_estimate() {
                Ok(estimate) => estimate,
                Err(Failure::Stop(Error::NotConverged { residual, .. })) => residual,
                Err(error) => panic!("{error}"),
            });
            numbers
        });
        // A failure too: its site, its value and its bump.
        let broken = broken(case);
        assert_same_bits(&format!("{what}, indefinite"), || {
            match subject.attempt(&broken, Ridge::ZERO, &g) {
                Err(Failure::NotPositiveDefinite(failed)) => [Some(failed.value), failed.bump]
                    .into_iter()
                    .flatten()
                    .collect(),
                other => panic!("{other:?}"),
            }
        });
    }
}

/// The case with a negative entry on a row's diagonal.
fn broken(mut case: Case) -> Case {
    let blocks = match &mut case {
        Case::Dense(case) => &mut case.row_hessian,
        Case::Structured(case) => &mut case.row_hessian,
        Case::Operator(case) => &mut case.hidden.row_hessian,
    };
    blocks[0] = -3.0;
    case
}

/// Garbage above the diagonals changes no bit.
pub fn upper_triangles_have_no_effect(subject: &Subject) {
    for_all(8 * subject.serves.len() as u32, subject.specs(), |spec| {
        let (case, g) = (spec.case(), spec.gradient(3));
        let clean = subject.run(&case, RIDGE, &g).numbers();
        for garbage in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300] {
            let outcome = subject.run(&case.clone().with_upper(garbage), RIDGE, &g);
            assert_bits(&format!("{garbage} above"), &outcome.numbers(), &clean);
        }
    });
}

/// A solver that is refreshed with other numbers, or resumed with the same, answers as a fresh one.
pub fn refreshed_and_fresh_solvers_agree_bitwise(subject: &Subject) {
    for_all(8 * subject.serves.len() as u32, subject.specs(), |spec| {
        let (case, g) = (spec.case(), spec.gradient(4));
        let mut other = case.clone().scaled(3.0);
        if order(&case).is_multiple_of(2) {
            other = other.with_upper(f64::NAN);
        }
        let want = subject.run(&case, RIDGE, &g).numbers();
        let mut solver = subject.solver(&case);
        let mut step = ArrowVector::zeros(case.system().shape());
        for (round, system) in [&other, &case, &other, &case].into_iter().enumerate() {
            let mut base = solver.refresh(system.system()).expect("finite numbers");
            let mut frame = base
                .factor(Ridge::new(9.0, 8.0))
                .expect("positive definite");
            frame.unridged().expect("positive definite");
            if round > 1 {
                base = solver.resume(system.system()).expect("the same numbers");
            }
            let mut frame = base.factor(RIDGE).expect("positive definite");
            let report = frame
                .solve(g.as_gradient(), step.as_step())
                .expect("a solution");
            if round % 2 == 1 {
                let outcome = super::Outcome {
                    step: step.clone(),
                    report,
                    log_determinant: frame.log_determinant(),
                };
                assert_bits("refreshed against fresh", &outcome.numbers(), &want);
            }
        }
    });
}

/// The layouts that views take, of the numbers of one dense case.
struct Layouts {
    blocks: Vec<Array3<f64>>,
    cross: Vec<Array2<f64>>,
    cross_blocks: Vec<Array3<f64>>,
    border: Vec<Array2<f64>>,
}

/// Rewrites a matrix in C order, F order, every second entry of a larger one, and backwards.
fn layouts2(rows: usize, cols: usize, entry: impl Fn(usize, usize) -> f64) -> Vec<Array2<f64>> {
    let mut fortran = Array2::zeros((rows, cols).f());
    let mut strided = Array2::from_elem((2 * rows, 3 * cols), f64::NAN);
    let (mut plain, mut backward) = (Array2::zeros((rows, cols)), Array2::zeros((rows, cols)));
    for i in 0..rows {
        for j in 0..cols {
            let value = entry(i, j);
            (plain[(i, j)], fortran[(i, j)]) = (value, value);
            strided[(2 * i, 3 * j)] = value;
            backward[(rows - 1 - i, cols - 1 - j)] = value;
        }
    }
    vec![plain, fortran, strided, backward]
}

fn view2(layout: usize, array: &Array2<f64>) -> ArrayView2<'_, f64> {
    match layout {
        2 => array.slice(s![..;2, ..;3]),
        3 => array.slice(s![..;-1, ..;-1]),
        _ => array.view(),
    }
}

fn layouts3(shape: [usize; 3], entry: impl Fn(usize, usize, usize) -> f64) -> Vec<Array3<f64>> {
    let [n, d, w] = shape;
    let mut fortran = Array3::zeros((n, d, w).f());
    let mut strided = Array3::from_elem((n, 2 * d, 2 * w), f64::NAN);
    let (mut plain, mut backward) = (Array3::zeros(shape), Array3::zeros(shape));
    for i in 0..n {
        for a in 0..d {
            for b in 0..w {
                let value = entry(i, a, b);
                (plain[(i, a, b)], fortran[(i, a, b)]) = (value, value);
                strided[(i, 2 * a, 2 * b)] = value;
                backward[(n - 1 - i, d - 1 - a, w - 1 - b)] = value;
            }
        }
    }
    vec![plain, fortran, strided, backward]
}

fn view3(layout: usize, array: &Array3<f64>) -> ArrayView3<'_, f64> {
    match layout {
        2 => array.slice(s![.., ..;2, ..;2]),
        3 => array.slice(s![..;-1, ..;-1, ..;-1]),
        _ => array.view(),
    }
}

impl Layouts {
    fn of(case: &DenseCase) -> Self {
        let (dims, k) = (case.dims(), case.shape.border());
        let (n, d) = (dims.len(), dims.iter().copied().max().unwrap_or(0));
        let rows = case.shape.rows();
        // What stands beyond a ragged row, or above a diagonal, is never read.
        let block = |i: usize, a: usize, b: usize| {
            if a < dims[i] && b <= a {
                case.d(i, a, b)
            } else {
                f64::NAN
            }
        };
        let cross = |i: usize, a: usize, c: usize| {
            if a < dims[i] {
                case.b(rows.offset(i) + a)[c]
            } else {
                f64::NAN
            }
        };
        Self {
            blocks: layouts3([n, d, d], block),
            cross: layouts2(case.shape.row_unknowns(), k, |u, c| case.b(u)[c]),
            cross_blocks: layouts3([n, d, k], cross),
            border: layouts2(k, k, |a, b| {
                if b <= a {
                    case.border_hessian[a * k + b]
                } else {
                    f64::NAN
                }
            }),
        }
    }
}

/// Views over ndarray (C order, Fortran order, strided, reversed) and faer give the step of the
/// packed arrays: bit for bit before refinement, whose sums run along what is adjacent.
pub fn any_layout_of_the_same_numbers_gives_the_same_step(subject: &Subject) {
    if !subject.serves.contains(&Kind::Dense) {
        return;
    }
    let mut random = Random::new(31);
    let shapes = [
        (vec![2; 6], 70),
        (vec![2, 0, 3, 1, 17], 33),
        (vec![1], 1),
        (vec![3, 3], 0),
        (vec![], 4),
        (vec![0, 0], 5),
    ];
    for &(ref dims, k) in Depth::now().of_list(&shapes, &[1]) {
        let case = generate::dense(dims, k, 0.2, &mut random);
        let g = generate::gradient(case.shape.row_unknowns(), k, &mut random);
        let want = subject.run(&Case::Dense(case.clone()), RIDGE, &g).step;
        let plain = plain_step(subject, case.system(), &g);
        let kappa = Oracle::new(&case, RIDGE)
            .unwrap_or_else(|at| panic!("{dims:?}, k {k}: not positive definite at {at:?}"))
            .kappa();
        let layouts = Layouts::of(&case);
        for layout in 0..4 {
            let what = format!("{}, {dims:?}, k {k}, layout {layout}", subject.name());
            let blocks = || RowBlocks::padded(view3(layout, &layouts.blocks[layout]));
            let border = || SymmetricView::ndarray(view2(layout, &layouts.border[layout]));
            let crosses = [
                CrossView::stacked_ndarray(view2(layout, &layouts.cross[layout])),
                CrossView::padded(view3(layout, &layouts.cross_blocks[layout])),
            ];
            for cross in crosses {
                let system = DenseSystem::new(&case.shape, blocks(), cross, border())
                    .unwrap_or_else(|error| panic!("{what}: {error}"));
                compare(subject, &what, system.into(), &g, (&want, &plain), kappa);
            }
        }
        let columns = Mat::from_fn(case.shape.row_unknowns(), k, |u, c| case.b(u)[c]);
        let border = Mat::from_fn(k, k, |a, b| {
            if b <= a {
                case.border_hessian[a * k + b]
            } else {
                f64::NAN
            }
        });
        let system = DenseSystem::new(
            &case.shape,
            RowBlocks::packed(&case.row_hessian),
            CrossView::stacked(columns.as_ref()),
            SymmetricView::new(border.as_ref()),
        )
        .expect("arrays of its shape");
        compare(subject, "faer", system.into(), &g, (&want, &plain), kappa);
    }
}

fn plain_step(subject: &Subject, system: System<'_>, g: &ArrowVector) -> ArrowVector {
    let mut options = subject.options.clone();
    options.refinement = Refinement::Off;
    solve(options, system, g)
}

fn solve(
    options: broadhead_schur::SolverOptions,
    system: System<'_>,
    g: &ArrowVector,
) -> ArrowVector {
    let mut step = ArrowVector::zeros(system.shape());
    let mut solver = Solver::new(&system, options).expect("a solver");
    let mut base = solver.refresh(system).expect("finite numbers");
    let mut frame = base.factor(RIDGE).expect("positive definite");
    frame
        .solve(g.as_gradient(), step.as_step())
        .expect("a solution");
    step
}

fn compare(
    subject: &Subject,
    what: &str,
    system: System<'_>,
    g: &ArrowVector,
    (want, plain): (&ArrowVector, &ArrowVector),
    kappa: f64,
) {
    let step = solve(subject.options.clone(), system, g);
    subject
        .tolerance(system.shape().order(), kappa)
        .assert_step(what, &step, want);
    if subject.is_direct() {
        let step = plain_step(subject, system, g);
        assert_bits(what, &step.row, &plain.row);
        assert_bits(what, &step.border, &plain.border);
    }
}
