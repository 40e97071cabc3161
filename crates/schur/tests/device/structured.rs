//! Structured systems on a device, by every elimination that it has: against the CPU's and against
//! their own promises.

use super::residency::workspace;
use super::{Outcome, expect, expect_eq, on_device};
use broadhead_device::{
    ByteClass, DeviceError, DevicePolicy, Graph, LedgerSnapshot, Refusal, Stream,
};
use broadhead_schur::device::{DeviceVector, Keep, Linearisation, MOST_FEATURES, Placement};
use broadhead_schur::{
    ArrowVector, EliminationKind, Error, Failure, Gradient, IterativeOptions, NotPositiveDefinite,
    PivotSite, Ridge, RowDims, Side, Solver, SolverOptions, StepMut, StructuredShape,
};
use broadhead_testkit::beside::Beside;
use broadhead_testkit::cases::StructuredCase;
use broadhead_testkit::device::{Trial, is_racechecked};
use broadhead_testkit::generate::{self, Structure};
use broadhead_testkit::random::Random;
use faer::Mat;

/// The componentwise backward error that counts as parity.
const PARITY: f64 = 1e-13;

type Boxed<T> = Result<T, Box<dyn std::error::Error>>;

pub(super) fn tests() -> Vec<Trial> {
    vec![
        on_device!("structured::steps_and_summaries_are_the_cpu_s", parity),
        on_device!(
            "structured::a_graph_gives_the_bits_of_plain_launches",
            graphs
        ),
        on_device!("structured::many_gradients_are_solved_as_each_alone", many),
        on_device!("structured::bits_are_the_same_beside_other_work", bits),
        on_device!("structured::what_moves_is_what_is_said", residency),
        on_device!("structured::the_bytes_said_are_the_bytes_held", bytes),
        on_device!("structured::lines_longer_than_a_piece_arrive", long_lines),
        on_device!(
            "structured::failures_are_the_cpu_s_and_their_bumps_cure",
            failures
        ),
        on_device!(
            "structured::rows_at_the_edge_of_rounding_have_a_bump_that_cures",
            edge
        ),
        on_device!(
            "structured::a_number_that_is_not_finite_is_named",
            not_finite
        ),
        on_device!("structured::what_cannot_be_served_is_refused", refusals),
    ]
}

/// An elimination, and what its factorizations keep.
pub(super) type Method = (EliminationKind, Keep);

const CORE: Method = (EliminationKind::Core, Keep::Factor);

/// The eliminations, and what their factorizations may keep.
const METHODS: [Method; 3] = [
    CORE,
    (EliminationKind::Border, Keep::Factor),
    (EliminationKind::Border, Keep::InverseFactor),
];

/// Room for systems of `shape`, and for their factors by a method.
pub(super) fn room(
    stream: &Stream,
    shape: &StructuredShape,
    (elimination, keep): Method,
) -> Result<Linearisation, Error> {
    let (place, options) = (
        Placement::on(stream).keeping(keep),
        IterativeOptions::default(),
    );
    Linearisation::structured(&place, shape, elimination, options)
}

/// The bytes of that.
pub(super) fn bytes_needed(
    shape: &StructuredShape,
    (elimination, keep): Method,
) -> Result<u64, Error> {
    Linearisation::bytes_of_structured(shape, elimination, keep)
}

fn case(
    dims: Vec<usize>,
    features: usize,
    outputs: usize,
    density: f64,
    seed: u64,
) -> StructuredCase {
    let of = Structure {
        dims,
        features,
        outputs,
        density,
        atoms: false,
        margin: 0.1,
    };
    generate::structured(&of, &mut Random::new(seed))
}

/// Both forms of the core, every edge of their kernels, sparse features, a decoder wider and narrower
/// than its features.
fn cases() -> Vec<(&'static str, StructuredCase)> {
    if is_racechecked() {
        return least();
    }
    let ragged = (0..77).map(|i| [2, 0, 4, 1, 3][i % 5]).collect();
    let wide = (0..50).map(|i| [5, 32, 0, 1, 17][i % 5]).collect();
    vec![
        ("a circle", case(vec![1; 2000], 3, 2048, 1.0, 1)),
        ("a torus", case(vec![2; 500], 9, 700, 1.0, 2)),
        ("few outputs", case(vec![1; 300], 5, 2, 1.0, 3)),
        ("one feature", case(vec![1; 40], 1, 33, 1.0, 4)),
        ("one output", case(vec![3; 40], 7, 1, 1.0, 5)),
        ("ragged", case(ragged, 6, 65, 1.0, 6)),
        ("wide and ragged", case(wide, 6, 65, 1.0, 7)),
        ("sparse", case(vec![2; 400], 17, 40, 0.3, 8)),
        (
            "many features",
            case(vec![1; 700], MOST_FEATURES, 7, 1.0, 9),
        ),
        ("no rows", case(vec![], 3, 40, 1.0, 10)),
        ("many rows", case(vec![1; 20_001], 3, 31, 1.0, 11)),
        ("many pieces", case(vec![1; 9000], 12, 5, 1.0, 12)),
    ]
}

/// Of the same forms, with fewer rows, and cores of small order: the most features fewer too, but more
/// than lanes, and their products more than threads.
fn least() -> Vec<(&'static str, StructuredCase)> {
    let ragged = (0..40).map(|i| [2, 0, 4, 1, 3][i % 5]).collect();
    let wide = (0..20).map(|i| [5, 32, 0, 1, 17][i % 5]).collect();
    vec![
        ("a circle", case(vec![1; 200], 3, 300, 1.0, 1)),
        ("a torus", case(vec![2; 60], 9, 5, 1.0, 2)),
        ("few outputs", case(vec![1; 60], 5, 2, 1.0, 3)),
        ("one feature", case(vec![1; 40], 1, 33, 1.0, 4)),
        ("one output", case(vec![3; 40], 7, 1, 1.0, 5)),
        ("ragged", case(ragged, 6, 65, 1.0, 6)),
        ("wide and ragged", case(wide, 6, 65, 1.0, 7)),
        ("sparse", case(vec![2; 60], 17, 4, 0.3, 8)),
        ("many features", case(vec![1; 40], 40, 3, 1.0, 9)),
        ("no rows", case(vec![], 3, 40, 1.0, 10)),
        ("many rows", case(vec![1; 3001], 3, 31, 1.0, 11)),
        ("many pieces", case(vec![1; 4100], 12, 5, 1.0, 12)),
    ]
}

/// The cases for a method: border first is of the order of the rows' unknowns.
fn cases_for(method: Method) -> Vec<(String, StructuredCase)> {
    let most = match method.0 {
        EliminationKind::Border if is_racechecked() => 250,
        EliminationKind::Border => 2500,
        _ => usize::MAX,
    };
    let small = |case: &StructuredCase| case.shape.arrow().row_unknowns() <= most;
    let named = |(name, case)| (format!("{method:?}, {name}"), case);
    let cases = cases().into_iter().filter(|(_, case)| small(case));
    cases.map(named).collect()
}

/// All methods, each with its cases.
fn all() -> impl Iterator<Item = (Method, String, StructuredCase)> {
    METHODS.into_iter().flat_map(|method| {
        let cases = cases_for(method).into_iter();
        cases.map(move |(name, case)| (method, name, case))
    })
}

/// All methods; under racecheck, where [`parity`] has had every case once, without the longest.
fn again() -> impl Iterator<Item = (Method, String, StructuredCase)> {
    let longest = if is_racechecked() { 250 } else { usize::MAX };
    all().filter(move |(.., case)| case.shape.arrow().row_unknowns() <= longest)
}

fn options(method: Method, device: Option<&Stream>) -> SolverOptions {
    SolverOptions {
        elimination: Some(method.0),
        device: device.map(|stream| Placement {
            keep: (method.0 == EliminationKind::Border).then_some(method.1),
            ..Placement::on(stream)
        }),
        device_policy: match device {
            Some(_) => DevicePolicy::Required,
            None => DevicePolicy::Off,
        },
        ..Default::default()
    }
}

fn gradient(case: &StructuredCase, seed: u64) -> ArrowVector {
    let arrow = case.shape.arrow();
    generate::gradient(arrow.row_unknowns(), arrow.border(), &mut Random::new(seed))
}

fn parity(stream: &Stream) -> Outcome {
    for (method, name, case) in all() {
        let g = gradient(&case, 1);
        let arrow = case.shape.arrow();
        for ridge in [Ridge::ZERO, Ridge::new(0.3, 0.2)] {
            let mut cpu = Solver::new(&case.system(), options(method, None))?;
            let mut cpu = cpu.refresh(case.system())?;
            let cpu = cpu.factor(ridge)?;
            let mut device = Solver::new(&case.system(), options(method, Some(stream)))?;
            let mut device = device.refresh(case.system())?;
            let mut device = device.factor(ridge)?;
            expect(device.execution_path().is_device(), "it ran on the CPU")?;
            expect_eq("the elimination", device.elimination(), method.0)?;
            let mut step = ArrowVector::zeros(arrow);
            let report = device.solve(g.as_gradient(), step.as_step())?;
            let omega = report.error.and_then(|e| e.componentwise);
            let small = omega.is_some_and(|omega| omega <= PARITY);
            expect(small, format!("{name}, {ridge:?}: {report:?}"))?;
            let (a, b) = (device.log_determinant()?, cpu.log_determinant()?);
            let near = (a.value - b.value).abs() <= 1e-11 * b.absolute.max(1.0);
            expect(near, format!("{name}, {ridge:?}: {a:?}, the CPU's {b:?}"))?;
            for (a, b) in [
                (device.row_pivot(), cpu.row_pivot()),
                (device.border_pivot(), cpu.border_pivot()),
            ] {
                let near = match (a, b) {
                    (Some(a), Some(b)) => (a.value - b.value).abs() <= 1e-9 * b.value,
                    (a, b) => a == b,
                };
                expect(near, format!("{name}, {ridge:?}: {a:?}, the CPU's {b:?}"))?;
            }
        }
    }
    Ok(())
}

/// A decoder's line of more than the 8 MiB that travel at once.
fn long_lines(stream: &Stream) -> Outcome {
    let case = case(vec![1, 2, 1], 2, (1 << 20) + 3, 1.0, 13);
    let g = gradient(&case, 13);
    let core = options(CORE, Some(stream));
    let mut solver = Solver::new(&case.system(), core)?;
    let mut refreshed = solver.refresh(case.system())?;
    let mut frame = refreshed.factor(Ridge::ZERO)?;
    expect(frame.execution_path().is_device(), "it ran on the CPU")?;
    let mut step = ArrowVector::zeros(case.shape.arrow());
    let report = frame.solve(g.as_gradient(), step.as_step())?;
    let omega = report.error.and_then(|e| e.componentwise);
    expect(
        omega.is_some_and(|omega| omega <= PARITY),
        format!("{report:?}"),
    )
}

/// The bits of a factorization and a solve.
fn answer(base: &mut Linearisation, g: &ArrowVector, ridge: Ridge) -> Boxed<ArrowVector> {
    let mut step = ArrowVector::zeros(base.shape());
    base.factor(ridge)?.solve(g.as_gradient(), step.as_step())?;
    Ok(step)
}

fn graphs(stream: &Stream) -> Outcome {
    let ridge = Ridge::new(0.1, 0.2);
    for (method, name, case) in again() {
        let g = gradient(&case, 2);
        let mut base = room(stream, &case.shape, method)?;
        base.refresh(case.structured())?;
        let plain = answer(&mut base, &g, ridge)?;
        let (mut from, mut to) = (base.vector()?, base.vector()?);
        stream.upload_into(&g.row, from.row_mut(), ByteClass::Gradient)?;
        stream.upload_into(&g.border, from.border_mut()?, ByteClass::Gradient)?;
        let mut graph = captured(stream, &mut base, ridge, (&from, &mut to))?;
        for _ in 0..2 {
            graph.launch()?;
            base.factored(ridge)?;
            let row = stream.download(to.row(), ByteClass::Gradient)?;
            let border = stream.download(to.border()?, ByteClass::Gradient)?;
            expect_eq(&name, (&row, &border), (&plain.row, &plain.border))?;
        }
    }
    Ok(())
}

fn bits(stream: &Stream) -> Outcome {
    let mut beside = Beside::filling(stream.context())?;
    let ridge = Ridge::ZERO;
    for (method, name, case) in again() {
        let g = gradient(&case, 3);
        let mut base = room(stream, &case.shape, method)?;
        base.refresh(case.structured())?;
        let first = answer(&mut base, &g, ridge)?;
        let found = beside.work(stream, || {
            base.refresh(case.structured())?;
            Ok(answer(&mut base, &g, ridge)?)
        })?;
        expect_eq(&name, found, first.clone())?;
        if !name.ends_with("ragged") {
            continue;
        }
        let (mut from, mut to) = (base.vector()?, base.vector()?);
        stream.upload_into(&g.row, from.row_mut(), ByteClass::Gradient)?;
        stream.upload_into(&g.border, from.border_mut()?, ByteClass::Gradient)?;
        let mut graph = captured(stream, &mut base, ridge, (&from, &mut to))?;
        let found = beside.work(stream, || {
            graph.launch()?;
            base.factored(ridge)?;
            Ok(ArrowVector {
                row: stream.download(to.row(), ByteClass::Gradient)?,
                border: stream.download(to.border()?, ByteClass::Gradient)?,
            })
        })?;
        expect_eq(&format!("{name}, a graph"), found, first)?;
    }
    Ok(())
}

fn many(stream: &Stream) -> Outcome {
    for (method, name, case) in again() {
        let arrow = case.shape.arrow();
        let (n, k) = (arrow.row_unknowns(), arrow.border());
        let gradients: Vec<ArrowVector> = (5..8).map(|seed| gradient(&case, seed)).collect();
        let mut base = room(stream, &case.shape, method)?;
        base.refresh(case.structured())?;
        let ridge = Ridge::new(0.1, 0.3);
        let alone = gradients.iter().map(|g| answer(&mut base, g, ridge));
        let alone = alone.collect::<Boxed<Vec<_>>>()?;
        let count = gradients.len();
        let of = |part: fn(&ArrowVector) -> &Vec<f64>, len| {
            Mat::from_fn(len, count, |i, j| part(&gradients[j])[i])
        };
        let (row, border) = (of(|g| &g.row, n), of(|g| &g.border, k));
        let (mut to_row, mut to_border) = (Mat::zeros(n, count), Mat::zeros(k, count));
        base.factor(ridge)?.solve(
            Gradient::many(row.as_ref(), border.as_ref()),
            StepMut::many(to_row.as_mut(), to_border.as_mut()),
        )?;
        for (j, alone) in alone.iter().enumerate() {
            let together = ArrowVector {
                row: to_row.col(j).iter().copied().collect(),
                border: to_border.col(j).iter().copied().collect(),
            };
            expect_eq(&name, &together, alone)?;
        }
    }
    Ok(())
}

fn residency(stream: &Stream) -> Outcome {
    METHODS
        .into_iter()
        .try_for_each(|method| moved_by(stream, method))
}

fn moved_by(stream: &Stream, method: Method) -> Outcome {
    let case = case(vec![1; 200], 3, 100, 1.0, 1);
    let mut base = room(stream, &case.shape, method)?;
    let before = base.ledger();
    base.refresh(case.structured())?;
    let moved = base.ledger().since(&before);
    let operands = 8 * (200 + 200 * 3 + 200 * 3 + 9 + 300);
    expect_eq("operands", moved.host_to_device.operand, operands)?;
    expect_eq("in all", moved.host_to_device.total(), operands)?;
    expect_eq("allocations", moved.allocations, 0)?;
    let before = base.ledger();
    base.factor(Ridge::ZERO)?;
    base.factor(Ridge::new(1.0, 1.0))?;
    let moved = base.ledger().since(&before);
    expect_eq("in", moved.host_to_device.total(), 0)?;
    expect_eq("of records", moved.device_to_host.record, 2 * 168)?;
    expect_eq("out", moved.device_to_host.total(), 2 * 168)?;
    expect_eq("factorizations", moved.factorizations, 2)?;
    expect_eq("allocations", moved.allocations, 0)?;
    let (a, mut b) = (base.vector()?, base.vector()?);
    let mut frame = base.factor(Ridge::ZERO)?;
    let before = stream.ledger().snapshot();
    frame.solve_resident(&a, &mut b)?;
    let moved = stream.ledger().snapshot().since(&before);
    let still = LedgerSnapshot {
        // Without the inverse of the factor, a copy and two triangular solves for two sweeps.
        submissions: match method {
            (EliminationKind::Border, Keep::Factor) => 8,
            _ => 7,
        },
        peak_bytes: moved.peak_bytes,
        ..Default::default()
    };
    expect_eq("a solve", moved, still)
}

/// A factorization and a solve as one graph.
pub(super) fn captured(
    stream: &Stream,
    base: &mut Linearisation,
    ridge: Ridge,
    (from, to): (&DeviceVector, &mut DeviceVector),
) -> Boxed<Graph> {
    let mut broken = None;
    let graph = stream.capture(|_| {
        let submitted = base.submit_factor(ridge);
        broken = submitted.and_then(|()| base.submit_solve(from, to)).err();
        Ok(())
    })?;
    match broken {
        Some(error) => Err(error.into()),
        None => Ok(graph),
    }
}

/// Bytes said and bytes held, with the library's workspace to the byte where it is known; else with room
/// for one.
fn held(stream: &Stream, method: Method, case: &StructuredCase, workspace: Option<u64>) -> Outcome {
    let said = bytes_needed(&case.shape, method)?;
    let before = stream.ledger().held_bytes();
    let base = room(stream, &case.shape, method)?;
    let held = stream.ledger().held_bytes() - before;
    expect_eq("bytes said again", base.bytes(), said)?;
    let what = format!("{method:?}: said {said}, held {held}, the library's {workspace:?}");
    let right = match workspace {
        Some(its) => held == said + its,
        None => (said..=said + said / 10 + (32 << 20)).contains(&held),
    };
    expect(right, what)
}

fn bytes(stream: &Stream) -> Outcome {
    for (method, _, case) in all() {
        let rows = case.shape.arrow().rows();
        // The fused kernels factor the core.
        let fused = case.shape.features() <= 9 && rows.max_dim() <= 4;
        let none = method == CORE && fused;
        held(stream, method, &case, none.then_some(0))?;
    }
    // Orders that are not padded: of whole tiles, of none, and past those that tiles pay at.
    let core = case(vec![1; 100], 16, 20, 1.0, 1);
    let its = workspace(stream, 16 * 16)?;
    held(stream, CORE, &core, Some(its))?;
    for order in [320, 208, 2048, 7680] {
        let rows = case(vec![1; order], 3, 20, 1.0, 1);
        let its = workspace(stream, order)?;
        for keep in [Keep::Factor, Keep::InverseFactor] {
            held(stream, (EliminationKind::Border, keep), &rows, Some(its))?;
        }
    }
    // Past the tiles a matrix becomes its factor: half the bytes.
    let shape = case(vec![1; 7680], 3, 20, 1.0, 1).shape;
    let of = |keep| -> Boxed<u64> {
        let method = (EliminationKind::Border, keep);
        Ok(bytes_needed(&shape, method)?)
    };
    let (one, two) = (of(Keep::Factor)?, of(Keep::InverseFactor)?);
    expect(two - one == 8 * 7680 * 7680, format!("{one}, {two}"))
}

/// The failure of the device, after that of the CPU was found to be the same.
fn failure(
    stream: &Stream,
    method: Method,
    what: &str,
    case: &StructuredCase,
) -> Boxed<NotPositiveDefinite> {
    let what = format!("{method:?}, {what}");
    let mut base = room(stream, &case.shape, method)?;
    base.refresh(case.structured())?;
    let Err(Failure::NotPositiveDefinite(device)) = base.factor(Ridge::ZERO).map(|_| ()) else {
        return Err(format!("{what}: the device factored it").into());
    };
    let mut solver = Solver::new(&case.system(), options(method, None))?;
    let mut cpu = solver.refresh(case.system())?;
    let Err(Failure::NotPositiveDefinite(cpu)) = cpu.factor(Ridge::ZERO).map(|_| ()) else {
        return Err(format!("{what}: the CPU factored it").into());
    };
    let near = (device.value - cpu.value).abs() <= 1e-8 * cpu.value.abs();
    if device.site != cpu.site || !near {
        return Err(format!("{what}: {device:?}, the CPU's {cpu:?}").into());
    }
    let bump = device.bump.ok_or("no bump")?;
    // The side that failed factors then; that it leaves the other positive definite is not said.
    let side = device.site.side();
    let mut cured = |bump| match base.factor(Ridge::ZERO.bumped(side, bump)) {
        Ok(_) => Ok(true),
        Err(Failure::NotPositiveDefinite(other)) => Ok(other.site.side() != side),
        Err(stop) => Err(stop),
    };
    if !cured(bump)? || cured(bump / 4.5)? {
        return Err(format!("{what}: {bump:e} is not the least up to four times").into());
    }
    Ok(device)
}

/// A fit on the same device, afterwards.
fn works(stream: &Stream, method: Method) -> Outcome {
    let case = case(vec![2; 60], 4, 20, 1.0, 77);
    let mut solver = Solver::new(&case.system(), options(method, Some(stream)))?;
    let mut base = solver.refresh(case.system())?;
    let mut step = ArrowVector::zeros(case.shape.arrow());
    let g = gradient(&case, 4);
    let report = base
        .factor(Ridge::ZERO)?
        .solve(g.as_gradient(), step.as_step())?;
    let small = report
        .error
        .and_then(|e| e.componentwise)
        .is_some_and(|w| w <= PARITY);
    expect(small, format!("{report:?}"))
}

fn failures(stream: &Stream) -> Outcome {
    let ragged = |d: usize| (0..90).map(|i| [d, 0, 1][i % 3]).collect();
    for method in METHODS {
        let mut cases = vec![
            (vec![2; 60], 4),
            (vec![2; 90], 9),
            (ragged(7), 6),
            (vec![1; 90], 3),
            (vec![5; 90], 4),
            (vec![1; 90], 14),
        ];
        cases.truncate(if is_racechecked() { 1 } else { cases.len() });
        for (dims, features) in cases {
            let sound = case(dims, features, 20, 1.0, 21);
            let rows = sound.shape.arrow().rows();
            let mut spoilt = sound.clone();
            // The last pivot of row 42.
            spoilt.row_hessian[rows.block_offset(43) - 1] = -1.5;
            let failed = failure(stream, method, "rows", &spoilt)?;
            let pivot = rows.dim(42) - 1;
            let site = match method.0 {
                EliminationKind::Border => PivotSite::EliminatedRow { row: 42, pivot },
                _ => PivotSite::Row { row: 42, pivot },
            };
            expect_eq("the place", failed.site, site)?;
            works(stream, method)?;
            let mut gram = sound.clone();
            gram.gram[features * features - 1] = -2.0;
            let failed = failure(stream, method, "gram", &gram)?;
            expect_eq("the side", failed.site.side(), Side::Border)?;
            works(stream, method)?;
            // Blocks that are less than J J': what is eliminated last is indefinite.
            let mut less = sound.clone();
            less.row_hessian.iter_mut().for_each(|x| *x *= 0.3);
            failure(stream, method, "less", &less)?;
            works(stream, method)?;
        }
    }
    Ok(())
}

/// Rows of more unknowns than there are outputs, without a margin: of every block, and of what is left
/// of it, a pivot is rounding alone. Orders that tiles factor, and that the library does.
fn edge(stream: &Stream) -> Outcome {
    let mut all = vec![
        (64, Keep::Factor),
        (64, Keep::InverseFactor),
        (67, Keep::Factor),
        (67, Keep::InverseFactor),
    ];
    all.truncate(if is_racechecked() { 1 } else { all.len() });
    for (rows, keep) in all {
        let of = Structure {
            dims: vec![3; rows],
            features: 5,
            outputs: 2,
            density: 1.0,
            atoms: false,
            margin: 0.0,
        };
        let case = generate::structured(&of, &mut Random::new(31));
        let method = (EliminationKind::Border, keep);
        let mut base = room(stream, &case.shape, method)?;
        base.refresh(case.structured())?;
        let what = format!("{rows} rows, {keep:?}");
        let failed = match base.factor(Ridge::ZERO).map(|_| ()) {
            Err(Failure::NotPositiveDefinite(failed)) => failed,
            other => return Err(format!("{what}: {other:?}").into()),
        };
        expect_eq(&what, failed.site.side(), Side::Row)?;
        let largest = case
            .row_hessian
            .iter()
            .fold(0.0, |a: f64, x| a.max(x.abs()));
        let rounding = 1e-11 * largest;
        expect(
            failed.value.abs() <= rounding,
            format!("{what}: {failed:?}"),
        )?;
        let bump = failed.bump.ok_or("no bump")?;
        base.factor(Ridge::new(bump, 0.0))?;
        match base.factor(Ridge::new(bump / 4.0, 0.0)).map(|_| ()) {
            Err(Failure::NotPositiveDefinite(_)) => {}
            other => return Err(format!("{what}, a quarter of {bump:e}: {other:?}").into()),
        }
    }
    works(stream, (EliminationKind::Border, Keep::Factor))
}

fn not_finite(stream: &Stream) -> Outcome {
    let sound = case(vec![2; 30], 4, 5, 1.0, 22);
    type Spoil = fn(&mut StructuredCase);
    let spoil: [(&str, Spoil); 5] = [
        ("row_hessian", |c| c.row_hessian[8] = f64::NAN),
        ("feature_phi", |c| c.phi[7] = f64::INFINITY),
        ("feature_psi", |c| c.psi[7] = f64::NAN),
        ("gram", |c| c.gram[4] = f64::NAN),
        ("decoder", |c| c.decoder[4] = f64::NAN),
    ];
    for (wanted, spoil) in spoil {
        let mut case = sound.clone();
        spoil(&mut case);
        for method in METHODS {
            let mut base = room(stream, &case.shape, method)?;
            match base.refresh(case.structured()) {
                Err(Error::NotFinite { array, .. }) => expect_eq("the array", array, wanted)?,
                other => return Err(format!("{wanted}: {other:?}").into()),
            }
            works(stream, method)?;
        }
    }
    Ok(())
}

fn refusals(stream: &Stream) -> Outcome {
    let of = |n, d, m, p| -> Boxed<StructuredShape> {
        Ok(StructuredShape::new(RowDims::uniform(n, d)?, m, p)?)
    };
    for method in METHODS {
        for shape in [of(5, 1, MOST_FEATURES + 1, 3)?, of(5, 33, 3, 3)?] {
            let refused = room(stream, &shape, method).map(|_| ());
            let typed = matches!(
                refused,
                Err(Error::Unsupported { elimination, .. }) if elimination == method.0
            );
            expect(typed, format!("{refused:?}"))?;
        }
    }
    let keep = Keep::default();
    let many = of(70_000, 1, 3, 3)?;
    match room(stream, &many, (EliminationKind::Border, keep)).map(drop) {
        Err(Error::Device(DeviceError::Refusal(Refusal::Shape { what, .. }))) => {
            expect(what.contains("rows"), what)?;
        }
        other => return Err(format!("{other:?}").into()),
    }
    // Border first of dense systems has no backend, and says so.
    let dense = generate::dense(&[1, 1], 3, 0.5, &mut Random::new(1));
    let asked = options((EliminationKind::Border, keep), Some(stream));
    match Solver::new(&dense.system(), asked).map(drop) {
        Err(Error::Absent(absent)) => {
            expect(absent.to_string().contains("border"), absent.to_string())?;
        }
        other => return Err(format!("{other:?}").into()),
    }
    let shape = of(1_000_000_000, 1, 60, 60)?;
    let before = stream.ledger().snapshot();
    match room(stream, &shape, CORE).map(|_| ()) {
        Err(Error::Device(DeviceError::Refusal(Refusal::Memory { needed, free, .. }))) => {
            expect(needed > free, "it would have fitted")?;
        }
        other => return Err(format!("{other:?}").into()),
    }
    let after = stream.ledger().snapshot();
    expect_eq("allocations", after.allocations, before.allocations)?;
    let shape = of(5, 1, 3, 4)?;
    for method in METHODS {
        // Nothing was factored, so there is nothing to say.
        let found = room(stream, &shape, method)?.factored(Ridge::ZERO);
        let typed = matches!(
            found,
            Err(Failure::Stop(Error::Device(DeviceError::Refusal(
                Refusal::Shape { .. }
            ))))
        );
        expect(typed, format!("{found:?}"))?;
    }
    let refused = room(stream, &shape, CORE)?.factor(Ridge::ZERO).map(|_| ());
    let early = matches!(
        refused,
        Err(Failure::Stop(Error::Device(DeviceError::Refusal(_))))
    );
    expect(early, format!("{refused:?}"))?;
    works(stream, CORE)
}
