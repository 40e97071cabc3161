//! Hard cases, each with its typed, located error or its right answer.

use broadhead_schur::*;
use broadhead_testkit::cases::{Case, DenseCase, OperatorCase, StructuredCase};
use broadhead_testkit::generate::{self, Structure};
use broadhead_testkit::oracle::Oracle;
use broadhead_testkit::random::Random;
use broadhead_testkit::tolerance::Tolerance;
use faer::Mat;
use ndarray::{Array3, s};

const DENSE: [EliminationKind; 4] = [
    EliminationKind::Rows,
    EliminationKind::Border,
    EliminationKind::Iterative,
    EliminationKind::Reference,
];
const STRUCTURED: [EliminationKind; 4] = [
    EliminationKind::Border,
    EliminationKind::Core,
    EliminationKind::Iterative,
    EliminationKind::Reference,
];
const DIRECT: [EliminationKind; 4] = [
    EliminationKind::Rows,
    EliminationKind::Border,
    EliminationKind::Core,
    EliminationKind::Reference,
];
const NOT_FINITE: [f64; 3] = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY];

fn pinned(kind: EliminationKind) -> SolverOptions {
    SolverOptions {
        elimination: Some(kind),
        ..Default::default()
    }
}

fn small_dense() -> DenseCase {
    generate::dense(&[2, 0, 3, 1], 4, 0.5, &mut Random::new(1))
}

fn small_structured() -> StructuredCase {
    let of = Structure {
        dims: vec![2, 0, 1, 3],
        features: 3,
        outputs: 4,
        density: 1.0,
        atoms: false,
        margin: 0.5,
    };
    generate::structured(&of, &mut Random::new(2))
}

fn attempt(kind: EliminationKind, system: System<'_>) -> Result<ArrowVector, Failure> {
    let ones = |n: usize| vec![1.0; n];
    let g = ArrowVector {
        row: ones(system.shape().row_unknowns()),
        border: ones(system.shape().border()),
    };
    solve(kind, system, &g)
}

fn solve(
    kind: EliminationKind,
    system: System<'_>,
    g: &ArrowVector,
) -> Result<ArrowVector, Failure> {
    let mut solver = Solver::new(&system, pinned(kind))?;
    let mut base = solver.refresh(system)?;
    let mut frame = base.factor(Ridge::ZERO)?;
    let mut step = ArrowVector::zeros(system.shape());
    frame.solve(g.as_gradient(), step.as_step())?;
    Ok(step)
}

fn assert_not_finite(outcome: Result<ArrowVector, Failure>, array: &str, index: &[usize], v: f64) {
    match outcome {
        Err(Failure::Stop(Error::NotFinite {
            array: got,
            index: at,
            value,
        })) => {
            assert_eq!((got, &at[..]), (array, index));
            assert_eq!(value.to_bits(), v.to_bits());
        }
        other => panic!("{array}{index:?} = {v}: {other:?}"),
    }
}

#[test]
fn nan_and_infinities_are_named_in_every_dense_array() {
    for (kind, bad) in DENSE.into_iter().flat_map(|k| NOT_FINITE.map(|v| (k, v))) {
        let mut case = small_dense();
        *case.d_mut(2, 2, 1) = bad;
        assert_not_finite(attempt(kind, case.system()), "row_hessian", &[2, 2, 1], bad);
        let mut case = small_dense();
        case.row_cross[3 * 4 + 2] = bad;
        assert_not_finite(attempt(kind, case.system()), "row_cross", &[2, 1, 2], bad);
        let mut case = small_dense();
        case.border_hessian[3 * 4 + 1] = bad;
        assert_not_finite(attempt(kind, case.system()), "border_hessian", &[3, 1], bad);
        let columns = Mat::from_fn(4, 4, |i, j| case.border_hessian[i * 4 + j]);
        let system = DenseSystem::new(
            &case.shape,
            RowBlocks::packed(&case.row_hessian),
            CrossView::row_major(&case.row_cross, 6, 4).unwrap(),
            SymmetricView::new(columns.as_ref()),
        );
        let outcome = attempt(kind, system.unwrap().into());
        assert_not_finite(outcome, "border_hessian", &[3, 1], bad);
        let case = small_dense();
        let mut g = generate::gradient(6, 4, &mut Random::new(3));
        g.row[5] = bad;
        assert_not_finite(solve(kind, case.system(), &g), "row_gradient", &[5], bad);
        g.row[5] = 0.0;
        g.border[1] = bad;
        assert_not_finite(solve(kind, case.system(), &g), "border_gradient", &[1], bad);
    }
}

#[test]
fn nan_and_infinities_are_named_in_every_structured_array() {
    for (kind, bad) in STRUCTURED
        .into_iter()
        .flat_map(|k| NOT_FINITE.map(|v| (k, v)))
    {
        let spoil = |spoil: &dyn Fn(&mut StructuredCase)| {
            let mut case = small_structured();
            spoil(&mut case);
            attempt(kind, case.system())
        };
        assert_not_finite(
            spoil(&|c| c.row_hessian[2] = bad),
            "row_hessian",
            &[0, 1, 0],
            bad,
        );
        assert_not_finite(spoil(&|c| c.phi[7] = bad), "feature_phi", &[7], bad);
        assert_not_finite(spoil(&|c| c.psi[4] = bad), "feature_psi", &[4], bad);
        assert_not_finite(spoil(&|c| c.gram[2 * 3] = bad), "gram", &[2, 0], bad);
        assert_not_finite(spoil(&|c| c.decoder[4 + 3] = bad), "decoder", &[1, 3], bad);
    }
    for bad in NOT_FINITE {
        let mut case = OperatorCase::new(small_dense());
        case.diagonal.as_mut().unwrap()[2] = bad;
        let outcome = attempt(EliminationKind::Iterative, case.system());
        assert_not_finite(outcome, "border_diagonal", &[2], bad);
    }
}

#[test]
fn every_small_shape_has_its_right_answer() {
    let shapes: [(&[usize], usize); 16] = [
        (&[], 0),
        (&[], 5),
        (&[0, 0, 0], 0),
        (&[0, 0, 0], 3),
        (&[3, 2], 0),
        (&[1], 1),
        (&[1], 6),
        (&[17], 1),
        (&[17, 17], 3),
        (&[3], 1),
        (&[5, 5], 2),
        (&[2, 2], 4),
        (&[1, 2], 9),
        (&[2; 16], 32),
        (&[1; 33], 31),
        (&[2; 64], 129),
    ];
    for (dims, k) in shapes {
        let mut random = Random::new(k as u64);
        let case = generate::dense(dims, k, 0.3, &mut random);
        let g = generate::gradient(case.shape.row_unknowns(), k, &mut random);
        let oracle = Oracle::new(&case, Ridge::ZERO).unwrap();
        let tolerance = Tolerance::new(case.shape.order(), oracle.kappa());
        for kind in DENSE {
            let what = format!("{kind} on {dims:?}, k {k}");
            let step = solve(kind, case.system(), &g).unwrap_or_else(|e| panic!("{what}: {e}"));
            let tolerance = match kind {
                EliminationKind::Iterative => tolerance.stopping_at(1e-10),
                _ => tolerance,
            };
            tolerance.assert_step(&what, &step, &oracle.solve(&g));
        }
        let operator = OperatorCase::new(case);
        solve(EliminationKind::Iterative, operator.system(), &g).unwrap();
    }
}

#[test]
fn every_small_structured_shape_is_served() {
    for dims in [vec![], vec![0, 0], vec![1], vec![17], vec![1, 0, 3]] {
        for (features, outputs) in [(0, 0), (0, 4), (3, 0), (1, 1), (4, 1), (1, 5)] {
            let of = Structure {
                dims: dims.clone(),
                features,
                outputs,
                density: 0.5,
                atoms: false,
                margin: 0.4,
            };
            let case = generate::structured(&of, &mut Random::new(4));
            let n: usize = dims.iter().sum();
            let g = generate::gradient(n, features * outputs, &mut Random::new(5));
            let want = Oracle::new(&case.expanded(), Ridge::ZERO).unwrap();
            let tolerance = Tolerance::new(n + features * outputs, want.kappa());
            for kind in STRUCTURED {
                let what = format!("{kind} on {of:?}");
                let step = solve(kind, case.system(), &g).unwrap_or_else(|e| panic!("{what}: {e}"));
                tolerance
                    .stopping_at(1e-10)
                    .assert_step(&what, &step, &want.solve(&g));
            }
        }
    }
}

fn not_positive_definite(outcome: Result<ArrowVector, Failure>) -> NotPositiveDefinite {
    match outcome {
        Err(Failure::NotPositiveDefinite(failed)) => failed,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_negative_pivot_is_located_and_valued() {
    let mut case = generate::dense(&[2; 40], 5, 0.5, &mut Random::new(6));
    for (a, b, value) in [(0, 0, 4.0), (1, 0, 2.0), (1, 1, 0.25)] {
        *case.d_mut(33, a, b) = value;
    }
    for kind in [
        EliminationKind::Rows,
        EliminationKind::Iterative,
        EliminationKind::Reference,
    ] {
        let failed = not_positive_definite(attempt(kind, case.system()));
        assert_eq!(failed.site, PivotSite::Row { row: 33, pivot: 1 }, "{kind}");
        assert_eq!(failed.value, -0.75, "{kind}");
    }
    let failed = not_positive_definite(attempt(EliminationKind::Border, case.system()));
    let PivotSite::EliminatedRow { row: 33, .. } = failed.site else {
        panic!("{failed}");
    };
    assert!(failed.to_string().contains("row 33"), "{failed}");
}

#[test]
fn an_indefinite_border_under_definite_rows_is_located() {
    let mut case = generate::dense(&[2; 40], 70, 0.5, &mut Random::new(7));
    case.border_hessian[66 * 71] = -2.0;
    for kind in [
        EliminationKind::Rows,
        EliminationKind::Reference,
        EliminationKind::Border,
    ] {
        let failed = not_positive_definite(attempt(kind, case.system()));
        assert_eq!(failed.site, PivotSite::Border { pivot: 66 }, "{kind}");
        assert!(failed.value <= -2.0, "{kind}: {failed}");
    }
    let operator = OperatorCase {
        diagonal: None,
        ..OperatorCase::new(case)
    };
    let failed = not_positive_definite(attempt(EliminationKind::Iterative, operator.system()));
    assert!(
        matches!(failed.site, PivotSite::Curvature { .. }),
        "{failed}"
    );
    assert!(failed.value < 0.0 && failed.bump.is_none());
}

#[test]
fn overflow_is_an_error_and_never_a_silent_nan() {
    for kind in DENSE {
        // The cross blocks' squares pass the largest number.
        let mut case = small_dense();
        case.row_cross.iter_mut().for_each(|b| *b *= 1e200);
        match attempt(kind, case.system()) {
            Err(Failure::Stop(Error::Overflow { .. }) | Failure::NotPositiveDefinite(_)) => {}
            other => panic!("{kind}: {other:?}"),
        }
        // The step itself does.
        let case = small_dense().scaled(1e-300);
        let mut g = generate::gradient(6, 4, &mut Random::new(8));
        g.row
            .iter_mut()
            .chain(&mut g.border)
            .for_each(|g| *g *= 1e200);
        match solve(kind, case.system(), &g) {
            Err(Failure::Stop(Error::Overflow { .. })) => {}
            other => panic!("{kind}: {other:?}"),
        }
        // A step below the smallest number is zero, and no curvature is met on the way.
        let case = small_dense().scaled(1e290);
        g.row
            .iter_mut()
            .chain(&mut g.border)
            .for_each(|g| *g *= 1e-270 / 1e200);
        let step = solve(kind, case.system(), &g).unwrap_or_else(|e| panic!("{kind}: {e}"));
        assert!(
            step.row
                .iter()
                .chain(&step.border)
                .all(|x| x.abs() < 1e-300)
        );
    }
}

#[test]
fn memory_limits_refuse_with_the_bytes_needed() {
    let shape = ArrowShape::uniform(3_000_000_000, 2, 5_000).unwrap();
    assert_eq!(shape.row_unknowns() as u64 * 5_000, 30_000_000_000_000);
    for shape in [
        SystemShape::Dense(shape.clone()),
        SystemShape::Operator(shape),
    ] {
        for kind in EliminationKind::ALL {
            if let Ok(needed) = Solver::bytes_needed(kind, &shape) {
                assert!(needed > 24_000_000_000, "{kind}: {needed}");
            }
        }
    }
    let huge = SystemShape::Dense(ArrowShape::uniform(1 << 61, 1, 3).unwrap());
    let needed = Solver::bytes_needed(EliminationKind::Rows, &huge);
    assert!(needed.is_ok_and(|needed| needed > 1 << 62));
    let case = small_dense();
    for kind in DENSE {
        let needed = Solver::bytes_needed(kind, &SystemShape::of(&case.system())).unwrap();
        let limited = |limit: u64| {
            let options = SolverOptions {
                memory_limit: limit,
                ..pinned(kind)
            };
            Solver::new(&case.system(), options)
        };
        let mut solver = limited(needed).unwrap();
        assert!(solver.bytes() <= needed, "{kind}: {} held", solver.bytes());
        let mut base = solver.refresh(case.system()).unwrap();
        // The second factors would pass the limit.
        let mut frame = base.factor(Ridge::new(1.0, 1.0)).unwrap();
        match frame.unridged() {
            Err(Failure::Stop(Error::Memory { what, .. })) => assert_eq!(what, kind),
            other => panic!("{kind}: {other:?}"),
        }
        match limited(needed - 1) {
            Err(Error::Memory {
                what,
                needed: asked,
                limit,
            }) => assert_eq!((what, asked, limit), (kind, needed, needed - 1)),
            other => panic!("{kind}: {other:?}"),
        }
    }
}

#[test]
fn the_reference_is_refused_above_four_gibibytes_before_it_allocates() {
    let shape = SystemShape::Dense(ArrowShape::uniform(20_000, 1, 4_000).unwrap());
    match Reference::new(&shape, u64::MAX) {
        Err(Error::Memory {
            what,
            needed,
            limit,
        }) => {
            assert_eq!((what, limit), (EliminationKind::Reference, 4 << 30));
            assert!(needed >= 24_000 * 24_000 * 8);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn closures_are_refused_by_direct_eliminations_with_their_own_error() {
    let case = OperatorCase::new(small_dense());
    for kind in DIRECT {
        match Solver::new(&case.system(), pinned(kind)) {
            Err(Error::ClosureOperand { elimination, array }) => {
                assert_eq!((elimination, array), (kind, "row_cross"));
            }
            other => panic!("{kind}: {other:?}"),
        }
    }
    // A pair of closures is a cross block, a closure is a border.
    let shape = ArrowShape::uniform(2, 1, 1).unwrap();
    let cross = (
        |x: &[f64], y: &mut [f64]| y.fill(x[0]),
        |x: &[f64], y: &mut [f64]| y[0] = x[0] + x[1],
    );
    let border = |x: &[f64], y: &mut [f64]| y[0] = 4.0 * x[0];
    let blocks = RowBlocks::packed(&[2.0, 3.0]);
    let system = OperatorSystem::new(&shape, blocks, &cross, &border, None).unwrap();
    let g = ArrowVector {
        row: vec![-3.0, -4.0],
        border: vec![-6.0],
    };
    let step = solve(EliminationKind::Iterative, system.into(), &g).unwrap();
    Tolerance::new(3, 10.0).assert_step(
        "closures",
        &step,
        &ArrowVector {
            row: vec![1.0, 1.0],
            border: vec![1.0],
        },
    );
}

#[test]
fn unserved_kinds_and_wrong_shapes_are_refused() {
    let (dense, structured) = (small_dense(), small_structured());
    for (kind, system) in [
        (EliminationKind::Core, dense.system()),
        (EliminationKind::Rows, structured.system()),
    ] {
        let refused = Solver::new(&system, pinned(kind)).unwrap_err();
        assert!(matches!(refused, Error::Unsupported { elimination, .. } if elimination == kind));
    }
    // Another shape, another kind, at a refresh.
    let mut solver = Solver::new(&dense.system(), SolverOptions::default()).unwrap();
    let other = generate::dense(&[2, 0, 3, 2], 4, 0.5, &mut Random::new(9));
    for system in [other.system(), structured.system()] {
        assert!(matches!(
            solver.refresh(system).unwrap_err(),
            Error::Shape(ShapeError::Mismatch { .. })
        ));
    }
    // Vectors of other lengths.
    let mut base = solver.refresh(dense.system()).unwrap();
    for ridge in [Ridge::new(-1.0, 0.0), Ridge::new(f64::NAN, 0.0)] {
        let refused = base.factor(ridge).unwrap_err();
        assert!(matches!(
            refused,
            Failure::Stop(Error::Ridge {
                side: Side::Row,
                ..
            })
        ));
    }
    let mut frame = base.factor(Ridge::ZERO).unwrap();
    let mut step = ArrowVector::zeros(&dense.shape);
    let short = Gradient::new(&[0.0; 5], &[0.0; 4]);
    let refused = frame.solve(short, step.as_step()).unwrap_err();
    assert_eq!(
        refused,
        ShapeError::Mismatch {
            array: "row_gradient",
            got: vec![5, 1],
            expected: vec![6, 1]
        }
        .into()
    );
    // A product with slices of other lengths, of each in turn.
    let wrong = |at: usize| {
        let length = |slice: usize, right: usize| right + usize::from(slice == at);
        let zeros = |slice: usize, right: usize| vec![0.0; length(slice, right)];
        let (mut row, mut border) = (zeros(2, 6), zeros(3, 4));
        let (mut row_abs, mut border_abs) = (zeros(4, 6), zeros(5, 4));
        let y = ProductMut {
            row: &mut row,
            border: &mut border,
            row_abs: &mut row_abs,
            border_abs: &mut border_abs,
        };
        let (x_row, x_border) = (zeros(0, 6), zeros(1, 4));
        dense.system().product(&x_row, &x_border, Ridge::ZERO, y)
    };
    for (at, array) in [
        "x_row",
        "x_border",
        "y.row",
        "y.border",
        "y.row_abs",
        "y.border_abs",
    ]
    .into_iter()
    .enumerate()
    {
        let refused = wrong(at).unwrap_err();
        assert!(
            matches!(&refused, ShapeError::Mismatch { array: got, .. } if *got == array),
            "{refused}"
        );
    }
    assert_eq!(wrong(6), Ok(true));
    // Right-hand sides handed to an elimination itself.
    for kind in DENSE {
        let mut engine: Box<dyn Elimination> = match kind {
            EliminationKind::Rows => Box::new(RowsFirst::new(&dense.shape, 1 << 30).unwrap()),
            EliminationKind::Border => {
                Box::new(BorderFirst::new(&SystemShape::of(&dense.system()), 1 << 30).unwrap())
            }
            EliminationKind::Iterative => {
                let (shape, options) = (SystemShape::of(&dense.system()), Default::default());
                Box::new(Iterative::new(&shape, options, 1 << 30).unwrap())
            }
            _ => Box::new(Reference::new(&SystemShape::of(&dense.system()), 1 << 30).unwrap()),
        };
        engine.refresh(&dense.system()).unwrap();
        engine.factor(&dense.system(), Ridge::ZERO).unwrap();
        for (n, k, count) in [
            (5, 4, 1),
            (6, 5, 1),
            (6, 4, 2),
            (6, 4, usize::MAX),
            (6, 4, 0),
        ] {
            let (mut row, mut border) = (vec![0.0; n], vec![0.0; k]);
            let rhs = RhsMut {
                row: &mut row,
                border: &mut border,
                count,
            };
            let refused = engine.solve(&dense.system(), rhs).unwrap_err();
            assert!(matches!(refused, Failure::Stop(Error::Shape(_))), "{kind}");
        }
    }
    assert!(CrossView::row_major(&[0.0; 5], 2, 3).is_err());
    assert!(SymmetricView::row_major(&[0.0; 5], 2).is_err());
}

/// A dense case's arrays in padded storage of `width` unknowns a row, NaN where nothing is.
fn padded(case: &DenseCase, width: usize) -> (Array3<f64>, Array3<f64>) {
    let (rows, k) = (case.shape.rows(), case.shape.border());
    let mut blocks = Array3::from_elem((rows.rows(), width, width), f64::NAN);
    let mut cross = Array3::from_elem((rows.rows(), width, k), f64::NAN);
    for i in 0..rows.rows() {
        for a in 0..rows.dim(i) {
            (0..=a).for_each(|b| blocks[(i, a, b)] = case.d(i, a, b));
            (0..k).for_each(|c| cross[(i, a, c)] = case.b(rows.offset(i) + a)[c]);
        }
    }
    (blocks, cross)
}

fn of_padded<'a>(
    case: &'a DenseCase,
    (blocks, cross): (&'a Array3<f64>, &'a Array3<f64>),
) -> Result<DenseSystem<'a>, ShapeError> {
    DenseSystem::new(
        &case.shape,
        RowBlocks::padded(blocks.view()),
        CrossView::padded(cross.view()),
        SymmetricView::row_major(&case.border_hessian, case.shape.border())?,
    )
}

#[test]
fn padded_storage_may_be_wider_than_the_widest_row() {
    let shapes: [(&[usize], usize); 6] = [
        (&[2; 10], 4),
        (&[2, 0, 3, 1], 4),
        (&[0, 0, 0], 3),
        (&[1, 1], 0),
        (&[], 2),
        (&[0, 0], 0),
    ];
    for (dims, k) in shapes {
        let case = generate::dense(dims, k, 0.5, &mut Random::new(20));
        let g = generate::gradient(case.shape.row_unknowns(), k, &mut Random::new(21));
        let widest = case.shape.rows().max_dim();
        for width in widest..widest + 3 {
            let (blocks, cross) = padded(&case, width);
            let system = of_padded(&case, (&blocks, &cross)).unwrap();
            for kind in DENSE {
                let what = format!("{kind} on {dims:?} in {width}, k {k}");
                let step = solve(kind, system.into(), &g).unwrap_or_else(|e| panic!("{what}: {e}"));
                let packed = solve(kind, case.system(), &g).unwrap();
                let numbers = |x: &ArrowVector| [&x.row[..], &x.border].concat();
                assert_eq!(numbers(&step), numbers(&packed), "{what}");
            }
        }
    }
}

#[test]
fn padded_storage_that_does_not_hold_a_row_is_refused_by_name() {
    for (dims, row) in [(&[2, 0, 3, 1][..], 2), (&[3; 4], 0)] {
        let case = generate::dense(dims, 4, 0.5, &mut Random::new(22));
        let (blocks, cross) = padded(&case, 3);
        let tight = (
            blocks.slice(s![.., ..2, ..2]).to_owned(),
            cross.slice(s![.., ..2, ..]).to_owned(),
        );
        for (array, operands) in [
            ("row_hessian", (&tight.0, &cross)),
            ("row_cross", (&blocks, &tight.1)),
        ] {
            let refused = of_padded(&case, operands).unwrap_err();
            let wanted = ShapeError::RowTooWide {
                array,
                row,
                dim: 3,
                padded: 2,
            };
            assert_eq!(refused, wanted);
        }
        // Blocks that are not square, and as many rows as there are not.
        let wrong = [
            (blocks.slice(s![.., .., ..2]).to_owned(), vec![4, 3, 2]),
            (blocks.slice(s![..3, .., ..]).to_owned(), vec![3, 3, 3]),
        ];
        for (blocks, shape) in wrong {
            match of_padded(&case, (&blocks, &cross)).unwrap_err() {
                ShapeError::Mismatch {
                    array,
                    got,
                    expected,
                } => {
                    assert_eq!((array, got), ("row_hessian", shape));
                    assert_eq!(expected, [4, 3, 3]);
                }
                other => panic!("{other}"),
            }
        }
    }
}

#[test]
fn sparse_features_out_of_order_or_range_are_located() {
    let spoil = |spoil: &dyn Fn(&mut StructuredCase)| {
        let mut case = small_structured();
        spoil(&mut case);
        let blocks = RowBlocks::packed(&case.row_hessian);
        let gram = SymmetricView::row_major(&case.gram, 3).unwrap();
        let decoder = faer::MatRef::from_row_major_slice(&case.decoder, 3, 4);
        StructuredSystem::new(&case.shape, blocks, case.features(), gram, decoder)
            .map(|_| ())
            .unwrap_err()
    };
    type Spoil<'a> = (&'a dyn Fn(&mut StructuredCase), &'a str, usize);
    let cases: [Spoil<'_>; 5] = [
        (&|c| c.indices[4] = 3, "feature_indices", 4),
        (&|c| c.indices.swap(6, 7), "feature_indices", 7),
        (&|c| c.offsets[1] = 99, "feature_offsets", 1),
        (&|c| c.offsets[0] = 1, "feature_offsets", 0),
        (&|c| c.psi_offsets[2] = 5, "psi_offsets", 2),
    ];
    for (how, array, index) in cases {
        match spoil(how) {
            ShapeError::Index {
                array: got,
                index: at,
                ..
            } => assert_eq!((got, at), (array, index)),
            other => panic!("{array}[{index}]: {other}"),
        }
    }
    assert!(matches!(
        spoil(&|c| c.phi.truncate(1)),
        ShapeError::Mismatch { .. }
    ));
    assert!(matches!(
        spoil(&|c| c.psi.push(0.0)),
        ShapeError::Mismatch { .. }
    ));
}

#[test]
fn a_badly_scaled_step_is_refined_and_the_steps_are_counted() {
    let mut random = Random::new(10);
    let case = generate::ill_conditioned(&[3, 2, 2], 60, 1e3, 1e9, &mut random);
    let g = generate::gradient(7, 60, &mut random);
    let run = |refinement: Refinement| {
        let options = SolverOptions {
            refinement,
            ..pinned(EliminationKind::Border)
        };
        let system = Case::Dense(case.clone());
        let mut solver = Solver::new(&system.system(), options).unwrap();
        let mut base = solver.refresh(system.system()).unwrap();
        let mut frame = base.factor(Ridge::ZERO).unwrap();
        let mut step = ArrowVector::zeros(&case.shape);
        frame.solve(g.as_gradient(), step.as_step()).unwrap()
    };
    let (off, measured) = (run(Refinement::Off), run(Refinement::Measure));
    assert_eq!(
        (off.error, off.refinements, measured.refinements),
        (None, 0, 0)
    );
    let first = measured.error.unwrap().componentwise.unwrap();
    // A limit below what the plain step reached: one step is taken, and helps.
    let limit = first / 2.0;
    let refined = run(Refinement::Steps {
        limit,
        max_steps: 5,
    });
    let last = refined.error.unwrap().componentwise.unwrap();
    assert!(last < first, "{first:e} to {last:e}");
    assert!((1..=5).contains(&refined.refinements), "{refined:?}");
}
