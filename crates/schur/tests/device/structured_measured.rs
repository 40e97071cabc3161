//! Steps of structured systems that are measured and refined on the device: the errors are those that the
//! CPU finds of the same steps.

use super::structured::{Method, room};
use super::{Outcome, expect, expect_eq, on_device};
use broadhead_device::{ByteClass, DevicePolicy, Graph, Stream};
use broadhead_schur::device::{
    DeviceVector, Factorization, Keep, Linearisation, MOST_FEATURES, MOST_FEATURES_ITERATIVE,
    Placement,
};
use broadhead_schur::{
    ArrowVector, BackwardError, EliminationKind, ProductMut, Refinement, Ridge, SolveReport,
    Solver, SolverOptions,
};
use broadhead_testkit::beside::Beside;
use broadhead_testkit::cases::StructuredCase;
use broadhead_testkit::device::{Trial, is_racechecked};
use broadhead_testkit::generate::{self, Structure};
use broadhead_testkit::random::Random;

/// The componentwise backward error that counts as parity, that at which refinement stops, and the relative
/// residual that is asked of conjugate gradients.
const PARITY: f64 = 1e-13;
const LIMIT: f64 = 1e-14;
const RESIDUAL: f64 = 1e-10;
/// Bytes of the record of a measurement, and of a solve by conjugate gradients.
const RECORD: u64 = 40;
const DESCENT: u64 = 72;

type Boxed<T> = Result<T, Box<dyn std::error::Error>>;

pub(super) fn tests() -> Vec<Trial> {
    vec![
        on_device!("structured::errors_measured_are_the_cpu_s", errors),
        on_device!(
            "structured::a_step_by_factors_of_another_ridge_is_found_wrong",
            wrong
        ),
        on_device!("structured::refinements_are_counted_and_help", refined),
        on_device!(
            "structured::a_measurement_has_the_same_bits_beside_other_work",
            bits
        ),
        on_device!(
            "structured::a_measured_solve_moves_one_record_a_measurement",
            ledger
        ),
        on_device!(
            "structured::a_frame_is_measured_where_its_factors_are",
            frames
        ),
    ]
}

const ITERATIVE: Method = (EliminationKind::Iterative, Keep::Factor);

/// Every elimination of structured systems that a device has.
const METHODS: [Method; 4] = [
    (EliminationKind::Core, Keep::Factor),
    (EliminationKind::Border, Keep::Factor),
    (EliminationKind::Border, Keep::InverseFactor),
    ITERATIVE,
];

fn case(dims: Vec<usize>, sizes: [usize; 2], density: f64, seed: u64) -> StructuredCase {
    let of = Structure {
        dims,
        features: sizes[0],
        outputs: sizes[1],
        density,
        atoms: false,
        margin: 0.1,
    };
    generate::structured(&of, &mut Random::new(seed))
}

/// Rows alike and ragged, and none; features of less than a tile, of whole tiles and past one; columns of
/// one chunk and of many, of whole slabs and past one.
fn cases() -> Vec<(&'static str, StructuredCase)> {
    let ragged = |n| (0..n).map(|i| [2, 0, 4, 1, 3][i % 5]).collect::<Vec<_>>();
    let wide = |n| (0..n).map(|i| [5, 32, 0, 1, 17][i % 5]).collect::<Vec<_>>();
    if is_racechecked() {
        return vec![
            ("a circle", case(vec![1; 70], [3, 70], 1.0, 61)),
            ("ragged", case(ragged(40), [6, 65], 1.0, 62)),
            ("wide and ragged", case(wide(20), [10, 33], 1.0, 63)),
            ("two tiles", case(vec![1; 40], [34, 3], 0.5, 64)),
            ("no rows", case(vec![], [3, 40], 1.0, 65)),
        ];
    }
    vec![
        ("a circle", case(vec![1; 2000], [3, 2048], 1.0, 61)),
        ("a torus", case(vec![2; 500], [9, 700], 1.0, 62)),
        ("one feature", case(vec![1; 40], [1, 33], 1.0, 63)),
        ("one output", case(vec![3; 40], [7, 1], 1.0, 64)),
        ("ragged", case(ragged(77), [6, 65], 1.0, 65)),
        ("wide and ragged", case(wide(50), [10, 65], 1.0, 66)),
        ("sparse", case(vec![2; 400], [17, 40], 0.3, 67)),
        ("a tile", case(vec![2; 160], [32, 64], 1.0, 68)),
        ("three tiles", case(ragged(300), [65, 130], 0.3, 69)),
        (
            "many features",
            case(vec![1; 700], [MOST_FEATURES, 7], 1.0, 70),
        ),
        (
            "past the core",
            case(vec![2; 400], [MOST_FEATURES_ITERATIVE, 230], 0.5, 71),
        ),
        ("no rows", case(vec![], [3, 40], 1.0, 72)),
        ("many rows", case(vec![1; 20_001], [3, 31], 1.0, 73)),
    ]
}

/// All methods, each with the cases that it serves: border first is of the order of the rows' unknowns.
fn all() -> impl Iterator<Item = (Method, String, StructuredCase)> {
    METHODS.into_iter().flat_map(|method| {
        let serves = move |case: &StructuredCase| match method.0 {
            EliminationKind::Iterative => true,
            EliminationKind::Border => {
                case.shape.features() <= MOST_FEATURES && case.shape.arrow().row_unknowns() <= 1000
            }
            _ => case.shape.features() <= MOST_FEATURES,
        };
        let cases = cases().into_iter().filter(move |(_, case)| serves(case));
        cases.map(move |(name, case)| (method, format!("{method:?}, {name}"), case))
    })
}

fn gradient(case: &StructuredCase, seed: u64) -> ArrowVector {
    let arrow = case.shape.arrow();
    generate::gradient(arrow.row_unknowns(), arrow.border(), &mut Random::new(seed))
}

/// Gradient and step as vectors of the device.
fn vectors(stream: &Stream, base: &Linearisation, g: &ArrowVector) -> Boxed<[DeviceVector; 2]> {
    let (mut from, to) = (base.vector()?, base.vector()?);
    stream.upload_into(&g.row, from.row_mut(), ByteClass::Gradient)?;
    stream.upload_into(&g.border, from.border_mut()?, ByteClass::Gradient)?;
    Ok([from, to])
}

fn download(stream: &Stream, from: &DeviceVector) -> Boxed<ArrowVector> {
    let class = ByteClass::Gradient;
    Ok(ArrowVector {
        row: stream.download(from.row(), class)?,
        border: stream.download(from.border()?, class)?,
    })
}

/// The errors of a step as the host has them, and `|w| / |g|`: how much rounding in a residual shows in the
/// relative one.
fn measured(
    case: &StructuredCase,
    g: &ArrowVector,
    x: &ArrowVector,
    ridge: Ridge,
) -> Boxed<(BackwardError, f64)> {
    let arrow = case.shape.arrow();
    let (mut y, mut a) = (ArrowVector::zeros(arrow), ArrowVector::zeros(arrow));
    let product = ProductMut {
        row: &mut y.row,
        border: &mut y.border,
        row_abs: &mut a.row,
        border_abs: &mut a.border,
    };
    case.system().product(&x.row, &x.border, ridge, product)?;
    let (mut largest, mut scale, mut worst) = (0.0_f64, 0.0_f64, 0.0_f64);
    let [mut of_r, mut of_w, mut of_g] = [0.0_f64; 3];
    let parts = [(&y.row, &a.row, &g.row), (&y.border, &a.border, &g.border)];
    for (y, a, g) in parts {
        for i in 0..y.len() {
            let (r, w) = ((y[i] + g[i]).abs(), a[i] + g[i].abs());
            (largest, scale) = (largest.max(r), scale.max(w));
            worst = worst.max(if r == 0.0 { 0.0 } else { r / w });
            (of_r, of_w, of_g) = (of_r + r * r, of_w + w * w, of_g + g[i] * g[i]);
        }
    }
    let ratio = |a: f64, b: f64| if a == 0.0 { 0.0 } else { a / b };
    let error = BackwardError {
        normwise: ratio(largest, scale),
        componentwise: Some(worst),
        relative_residual: ratio(of_r.sqrt(), of_g.sqrt()),
    };
    Ok((error, ratio(of_w.sqrt(), of_g.sqrt())))
}

/// Whether the device's errors are the host's to a share `relative` of them and to `roundings` of the terms:
/// both add up the residual, in other orders, and each rounds.
fn agree(
    what: &str,
    said: Option<BackwardError>,
    (host, size): (BackwardError, f64),
    (relative, roundings): (f64, f64),
) -> Outcome {
    let said = said.ok_or("no error")?;
    let near = |a: f64, b: f64, unit: f64| {
        let allowed = relative * b + roundings * f64::EPSILON * unit;
        (a - b).abs() <= allowed
    };
    let componentwise = |e: BackwardError| e.componentwise.unwrap_or(f64::NAN);
    let same = near(componentwise(said), componentwise(host), 1.0)
        && near(said.normwise, host.normwise, 1.0)
        && near(said.relative_residual, host.relative_residual, size);
    expect(same, format!("{what}: {said:?}, the CPU's {host:?}"))
}

fn componentwise(report: &SolveReport) -> f64 {
    let error = report.error.and_then(|e| e.componentwise);
    error.unwrap_or(f64::INFINITY)
}

/// Whether refinement has nothing left to do.
fn met(method: Method, report: &SolveReport) -> bool {
    let omega = componentwise(report);
    let residual = report.error.map(|e| e.relative_residual);
    match method == ITERATIVE {
        true => residual.is_some_and(|r| r <= RESIDUAL) || omega <= 2.0 * f64::EPSILON,
        false => omega <= LIMIT,
    }
}

fn errors(stream: &Stream) -> Outcome {
    for (method, name, case) in all() {
        let g = gradient(&case, 1);
        let mut base = room(stream, &case.shape, method)?;
        base.refresh(case.structured())?;
        let [from, mut to] = vectors(stream, &base, &g)?;
        for ridge in [Ridge::ZERO, Ridge::new(0.3, 0.2)] {
            let mut factors = base.factor(ridge)?;
            for refinement in [Refinement::Measure, Refinement::default()] {
                // What conjugate gradients reach is judged after refinement alone.
                if method == ITERATIVE && refinement == Refinement::Measure {
                    continue;
                }
                let report = factors.solve_measured(&from, &mut to, refinement)?;
                let what = format!("{name}, {ridge:?}, {refinement:?}: {report:?}");
                let host = measured(&case, &g, &download(stream, &to)?, ridge)?;
                agree(&what, report.error, host, (1e-6, 8.0))?;
                let good = met(method, &report) || componentwise(&report) <= PARITY;
                expect(good, &what)?;
                expect(method == ITERATIVE || report.iterations == 0, &what)?;
            }
        }
    }
    Ok(())
}

/// A graph that puts the factors at another ridge where those are that the base says it has.
fn planted(stream: &Stream, base: &mut Linearisation, ridge: Ridge) -> Boxed<Graph> {
    // What is made at a first factorization is not made in a graph.
    base.factor(ridge)?;
    let mut broken = None;
    let graph = stream.capture(|_| {
        broken = base.submit_factor(ridge).err();
        Ok(())
    })?;
    match broken {
        Some(error) => Err(error.into()),
        None => Ok(graph),
    }
}

/// So many times the mean diagonals.
fn of_means(case: &StructuredCase, share: f64) -> Ridge {
    let means = case.system().mean_diagonals();
    Ridge::new(share * means.row, share * means.border)
}

fn wrong(stream: &Stream) -> Outcome {
    for (method, name, case) in all() {
        let ridge = of_means(&case, 1.0);
        let g = gradient(&case, 2);
        let mut base = room(stream, &case.shape, method)?;
        base.refresh(case.structured())?;
        let [from, mut to] = vectors(stream, &base, &g)?;
        let mut graph = planted(stream, &mut base, of_means(&case, 2.0))?;
        let mut factors = base.factor(ridge)?;
        graph.launch()?;
        let report = factors.solve_measured(&from, &mut to, Refinement::Measure)?;
        let what = format!("{name}: {report:?}");
        let host = measured(&case, &g, &download(stream, &to)?, ridge)?;
        expect(componentwise(&report) > 1e-3, &what)?;
        // So large an error shows no rounding.
        agree(&what, report.error, host, (1e-9, 0.0))?;
    }
    Ok(())
}

fn refined(stream: &Stream) -> Outcome {
    for (method, name, case) in all() {
        // H + ridge is at least the ridge: a correction by factors that are off by a millionth of it brings
        // six digits.
        let (ridge, off) = (of_means(&case, 1.0), of_means(&case, 1.0 + 1e-6));
        let g = gradient(&case, 3);
        let mut base = room(stream, &case.shape, method)?;
        base.refresh(case.structured())?;
        let [from, mut to] = vectors(stream, &base, &g)?;
        let mut graph = planted(stream, &mut base, off)?;
        let mut factors = base.factor(ridge)?;
        graph.launch()?;
        let first = factors.solve_measured(&from, &mut to, Refinement::Measure)?;
        expect_eq(&name, first.refinements, 0)?;
        expect(componentwise(&first) > 1e-9, format!("{name}: {first:?}"))?;
        let plain = download(stream, &to)?;
        let reports = as_far(&mut factors, (&from, &mut to))?;
        let what = format!("{name}: {first:?}, then {reports:?}");
        // Conjugate gradients have the residual that is asked of them after one.
        let counts = match method == ITERATIVE {
            true => [1, 1],
            false => [1, 2],
        };
        expect_eq(&what, reports.map(|report| report.refinements), counts)?;
        let [once, last] = reports;
        let smaller = componentwise(&once) < componentwise(&first)
            && componentwise(&last) <= componentwise(&once);
        expect(smaller && met(method, &last), &what)?;
        let host = measured(&case, &g, &download(stream, &to)?, ridge)?;
        agree(&what, last.error, host, (1e-6, 8.0))?;
        // A limit that the first step meets, and the step is that one.
        let loose = Refinement::Steps {
            limit: 1e-3,
            max_steps: 2,
        };
        if method != ITERATIVE {
            let report = factors.solve_measured(&from, &mut to, loose)?;
            expect_eq(&what, report, first)?;
            expect_eq(&what, download(stream, &to)?, plain)?;
        }
    }
    Ok(())
}

/// With one refinement allowed, and with two.
fn as_far(
    factors: &mut Factorization<'_>,
    (from, to): (&DeviceVector, &mut DeviceVector),
) -> Boxed<[SolveReport; 2]> {
    let mut of = |max_steps| {
        let limit = LIMIT;
        factors.solve_measured(from, to, Refinement::Steps { limit, max_steps })
    };
    Ok([of(1)?, of(2)?])
}

fn bits(stream: &Stream) -> Outcome {
    let mut beside = Beside::filling(stream.context())?;
    let ridge = Ridge::new(0.1, 0.2);
    for (method, name, case) in all() {
        if case.shape.arrow().row_unknowns() > 2000 {
            continue;
        }
        let g = gradient(&case, 4);
        let mut base = room(stream, &case.shape, method)?;
        base.refresh(case.structured())?;
        let [from, mut to] = vectors(stream, &base, &g)?;
        let mut factors = base.factor(ridge)?;
        let mut answer = || -> Boxed<(SolveReport, ArrowVector)> {
            let report = factors.solve_measured(&from, &mut to, Refinement::default())?;
            Ok((report, download(stream, &to)?))
        };
        let alone = answer()?;
        expect_eq(&name, answer()?, alone.clone())?;
        expect_eq(&name, beside.work(stream, || Ok(answer()?))?, alone)?;
    }
    Ok(())
}

fn ledger(stream: &Stream) -> Outcome {
    for method in METHODS {
        let case = case(vec![2; 100], [5, 70], 1.0, 75);
        let g = gradient(&case, 5);
        let mut base = room(stream, &case.shape, method)?;
        base.refresh(case.structured())?;
        let [from, mut to] = vectors(stream, &base, &g)?;
        // A factorization that owns its room keeps the operands, which its solves read.
        let mut factors = base.into_factorization(Ridge::ZERO)?;
        // The first solve by conjugate gradients makes their graph.
        factors.solve_measured(&from, &mut to, Refinement::Measure)?;
        let before = stream.ledger().snapshot();
        let report = factors.solve_measured(&from, &mut to, Refinement::Measure)?;
        let moved = stream.ledger().snapshot().since(&before);
        let records = match method == ITERATIVE {
            true => RECORD + DESCENT,
            false => RECORD,
        };
        expect_eq("refinements", report.refinements, 0)?;
        expect_eq("bytes in", moved.host_to_device.total(), 0)?;
        expect_eq("of records", moved.device_to_host.record, records)?;
        expect_eq("bytes out", moved.device_to_host.total(), records)?;
        expect_eq("allocations", moved.allocations, 0)?;
    }
    Ok(())
}

/// A solver's frame: a gradient in, a step out, and a record a measurement.
fn frames(stream: &Stream) -> Outcome {
    for method in METHODS {
        let case = case(vec![2; 100], [5, 70], 1.0, 76);
        let g = gradient(&case, 6);
        let options = SolverOptions {
            elimination: Some(method.0),
            device: Some(Placement {
                keep: (method.0 == EliminationKind::Border).then_some(method.1),
                ..Placement::on(stream)
            }),
            device_policy: DevicePolicy::Required,
            refinement: Refinement::Measure,
            ..Default::default()
        };
        let mut solver = Solver::new(&case.system(), options)?;
        let mut base = solver.refresh(case.system())?;
        let mut frame = base.factor(Ridge::ZERO)?;
        let mut step = ArrowVector::zeros(case.shape.arrow());
        // The first solve by conjugate gradients makes their graph.
        frame.solve(g.as_gradient(), step.as_step())?;
        let before = stream.ledger().snapshot();
        let report = frame.solve(g.as_gradient(), step.as_step())?;
        let moved = stream.ledger().snapshot().since(&before);
        let bytes = 8 * case.shape.arrow().order() as u64;
        let records = match method == ITERATIVE {
            true => RECORD + DESCENT,
            false => RECORD,
        };
        expect_eq("bytes in", moved.host_to_device.total(), bytes)?;
        expect_eq("of records", moved.device_to_host.record, records)?;
        expect_eq("bytes out", moved.device_to_host.total(), bytes + records)?;
        let host = measured(&case, &g, &step, Ridge::ZERO)?;
        agree(&format!("{method:?}"), report.error, host, (1e-6, 8.0))?;
    }
    Ok(())
}
