//! Conjugate gradients of structured systems on a device: against the CPU's and against their own
//! promises.

use super::structured::{Method, bytes_needed, captured, room};
use super::{Outcome, expect, expect_eq, on_device};
use broadhead_device::{ByteClass, DeviceError, DevicePolicy, Refusal, Stream};
use broadhead_schur::device::{
    DeviceVector, Keep, Linearisation, MOST_FEATURES_ITERATIVE, Placement,
};
use broadhead_schur::{
    ArrowVector, EliminationKind, Error, Failure, IterativeOptions, NoLogDeterminant,
    NotPositiveDefinite, PivotSite, Ridge, RowDims, SolveReport, Solver, SolverOptions,
    StructuredShape,
};
use broadhead_testkit::beside::Beside;
use broadhead_testkit::cases::StructuredCase;
use broadhead_testkit::device::Trial;
use broadhead_testkit::generate::{self, Structure};
use broadhead_testkit::random::Random;

/// The relative residual that is asked, and the componentwise backward error that serves in its place
/// where no step in FP64 has that residual.
const RESIDUAL: f64 = 1e-10;
const PARITY: f64 = 1e-13;
/// Bytes of the record of a solve.
const RECORD: u64 = 72;

type Boxed<T> = Result<T, Box<dyn std::error::Error>>;

pub(super) fn tests() -> Vec<Trial> {
    vec![
        on_device!("iterative::residuals_and_pivots_are_the_cpu_s", parity),
        on_device!(
            "iterative::a_solve_is_a_graph_that_reads_nothing",
            residency
        ),
        on_device!(
            "iterative::a_graph_gives_the_bits_of_plain_launches",
            graphs
        ),
        on_device!(
            "iterative::a_graph_that_was_not_launched_has_found_nothing",
            not_launched
        ),
        on_device!("iterative::bits_are_the_same_beside_other_work", bits),
        on_device!("iterative::the_bytes_said_are_the_bytes_held", bytes),
        on_device!("iterative::failures_are_those_of_the_cpu", failures),
        on_device!(
            "iterative::too_few_iterations_are_not_converged",
            not_converged
        ),
        on_device!("iterative::what_cannot_be_served_is_refused", refusals),
        on_device!("iterative::eight_tori_over_2048_outputs", tori),
    ]
}

fn case(
    dims: Vec<usize>,
    features: usize,
    outputs: usize,
    density: f64,
    margin: f64,
    seed: u64,
) -> StructuredCase {
    let of = Structure {
        dims,
        features,
        outputs,
        density,
        atoms: false,
        margin,
    };
    generate::structured(&of, &mut Random::new(seed))
}

/// Both forms of the product, ragged rows, decoders wider and narrower than their features, nothing at
/// all, and more unknowns of the core than directions are kept.
fn cases() -> Vec<(&'static str, StructuredCase)> {
    let ragged = || (0..77).map(|i| [2, 0, 4, 1, 3][i % 5]).collect();
    let wide = (0..50).map(|i| [5, 32, 0, 1, 17][i % 5]).collect();
    vec![
        ("a circle", case(vec![1; 2000], 3, 2048, 1.0, 0.1, 1)),
        ("a torus", case(vec![2; 500], 9, 700, 1.0, 0.1, 2)),
        ("few outputs", case(vec![1; 300], 5, 2, 1.0, 0.1, 3)),
        ("one feature", case(vec![1; 40], 1, 33, 1.0, 0.1, 4)),
        ("one output", case(vec![3; 40], 12, 1, 1.0, 0.1, 5)),
        ("ragged", case(ragged(), 6, 65, 1.0, 0.1, 6)),
        (
            "ragged, by the library",
            case(ragged(), 11, 65, 1.0, 0.1, 7),
        ),
        ("wide and ragged", case(wide, 10, 65, 1.0, 0.1, 8)),
        ("sparse", case(vec![2; 400], 17, 40, 0.3, 0.1, 9)),
        ("many features", case(vec![1; 700], 96, 7, 1.0, 0.1, 10)),
        (
            "past the core",
            case(vec![2; 400], MOST_FEATURES_ITERATIVE, 230, 0.5, 0.1, 15),
        ),
        ("few directions", case(vec![3; 300], 60, 64, 1.0, 1e-4, 11)),
        ("ill conditioned", case(vec![2; 90], 14, 20, 1.0, 1e-7, 12)),
        ("no rows", case(vec![], 3, 40, 1.0, 0.1, 13)),
        ("no unknowns", case(vec![0; 9], 12, 40, 1.0, 0.1, 14)),
    ]
}

fn options(device: Option<&Stream>) -> SolverOptions {
    SolverOptions {
        elimination: Some(EliminationKind::Iterative),
        device: device.map(Placement::on),
        device_policy: match device {
            Some(_) => DevicePolicy::Required,
            None => DevicePolicy::Off,
        },
        ..Default::default()
    }
}

/// Of which nothing is kept.
const METHOD: Method = (EliminationKind::Iterative, Keep::Factor);

fn base(stream: &Stream, case: &StructuredCase) -> Boxed<Linearisation> {
    let mut base = room(stream, &case.shape, METHOD)?;
    base.refresh(case.structured())?;
    Ok(base)
}

fn gradient(case: &StructuredCase, seed: u64) -> ArrowVector {
    let arrow = case.shape.arrow();
    generate::gradient(arrow.row_unknowns(), arrow.border(), &mut Random::new(seed))
}

/// Whether a solve has what was asked of it.
fn served(report: &SolveReport) -> bool {
    let within = |error: broadhead_schur::BackwardError| {
        let small = error.componentwise.is_some_and(|omega| omega <= PARITY);
        error.relative_residual <= RESIDUAL || small
    };
    report.error.is_some_and(within)
}

fn parity(stream: &Stream) -> Outcome {
    for (name, case) in cases() {
        let g = gradient(&case, 1);
        for ridge in [Ridge::ZERO, Ridge::new(0.3, 0.2)] {
            let mut solvers = [
                Solver::new(&case.system(), options(None))?,
                Solver::new(&case.system(), options(Some(stream)))?,
            ];
            let mut pivots = Vec::new();
            for (place, solver) in ["the CPU", "the device"].into_iter().zip(&mut solvers) {
                let what = format!("{name}, {ridge:?}, {place}");
                let mut base = solver.refresh(case.system())?;
                let mut frame = base.factor(ridge)?;
                let device = place == "the device";
                expect_eq(&what, frame.execution_path().is_device(), device)?;
                expect_eq(&what, frame.elimination(), EliminationKind::Iterative)?;
                let absent = frame.log_determinant().err();
                expect_eq(&what, absent, Some(NoLogDeterminant::Iterative))?;
                let mut step = ArrowVector::zeros(case.shape.arrow());
                let report = frame.solve(g.as_gradient(), step.as_step())?;
                expect(served(&report), format!("{what}: {report:?}"))?;
                pivots.push([frame.row_pivot(), frame.border_pivot()]);
            }
            for (cpu, device) in pivots[0].iter().zip(&pivots[1]) {
                let near = match (cpu, device) {
                    (Some(a), Some(b)) => (a.value - b.value).abs() <= 1e-9 * a.value,
                    (a, b) => a == b,
                };
                let what = format!("{name}, {ridge:?}: {device:?}, the CPU's {cpu:?}");
                expect(near, what)?;
            }
        }
    }
    Ok(())
}

/// Gradient and step as vectors of the device.
fn vectors(stream: &Stream, base: &Linearisation, g: &ArrowVector) -> Boxed<[DeviceVector; 2]> {
    let (mut from, to) = (base.vector()?, base.vector()?);
    stream.upload_into(&g.row, from.row_mut(), ByteClass::Gradient)?;
    stream.upload_into(&g.border, from.border_mut()?, ByteClass::Gradient)?;
    Ok([from, to])
}

fn residency(stream: &Stream) -> Outcome {
    for features in [3, 20] {
        let case = case(vec![1; 400], features, 100, 1.0, 0.1, 1);
        let mut base = base(stream, &case)?;
        let before = base.ledger();
        base.refresh(case.structured())?;
        base.factor(Ridge::ZERO)?;
        base.factor(Ridge::new(1.0, 1.0))?;
        let moved = base.ledger().since(&before);
        let m = features as u64;
        let operands = 8 * (400 + 800 * m + m * m + 100 * m);
        expect_eq("in", moved.host_to_device.total(), operands)?;
        expect_eq("of operands", moved.host_to_device.operand, operands)?;
        expect_eq("out", moved.device_to_host.total(), 2 * 168)?;
        expect_eq("factorizations", moved.factorizations, 2)?;
        expect_eq("allocations", moved.allocations, 0)?;
        let [a, mut b] = vectors(stream, &base, &gradient(&case, 5))?;
        // The first makes the graph; the graph serves any ridge.
        let mut frame = base.factor(Ridge::ZERO)?;
        frame.solve_resident(&a, &mut b)?;
        frame.solved()?;
        let mut frame = base.factor(Ridge::new(0.1, 0.1))?;
        let before = stream.ledger().snapshot();
        frame.solve_resident(&a, &mut b)?;
        let moved = stream.ledger().snapshot().since(&before);
        let found = frame.solved()?;
        expect(found.iterations > 1, format!("{found:?}"))?;
        expect_eq("arrived", found.stalled_at, None)?;
        // The graph, and copies of gradient and step on the device.
        expect_eq("submissions", moved.submissions, 5)?;
        expect_eq("in", moved.host_to_device.total(), 0)?;
        expect_eq("of records", moved.device_to_host.record, RECORD)?;
        expect_eq("out", moved.device_to_host.total(), RECORD)?;
        expect_eq("synchronisations", moved.synchronisations, 0)?;
        expect_eq("allocations", moved.allocations, 0)?;
    }
    Ok(())
}

/// The bits of a factorization and a solve.
fn answer(base: &mut Linearisation, g: &ArrowVector, ridge: Ridge) -> Boxed<(ArrowVector, u64)> {
    let mut step = ArrowVector::zeros(base.shape());
    let found = base.factor(ridge)?.solve(g.as_gradient(), step.as_step())?;
    Ok((step, found.iterations))
}

fn graphs(stream: &Stream) -> Outcome {
    let ridge = Ridge::new(0.1, 0.2);
    for (name, case) in cases() {
        let g = gradient(&case, 2);
        let mut base = base(stream, &case)?;
        let (plain, iterations) = answer(&mut base, &g, ridge)?;
        let [from, mut to] = vectors(stream, &base, &g)?;
        let mut graph = captured(stream, &mut base, ridge, (&from, &mut to))?;
        for _ in 0..2 {
            let before = stream.ledger().snapshot();
            graph.launch()?;
            let moved = stream.ledger().snapshot().since(&before);
            expect_eq("submissions", moved.submissions, 1)?;
            expect_eq("out", moved.device_to_host.total(), RECORD)?;
            base.factored(ridge)?;
            expect_eq(name, base.solved()?.iterations, iterations)?;
            let row = stream.download(to.row(), ByteClass::Gradient)?;
            let border = stream.download(to.border()?, ByteClass::Gradient)?;
            expect_eq(name, (&row, &border), (&plain.row, &plain.border))?;
        }
    }
    Ok(())
}

/// Whether what is asked about has not run, in words of its own.
fn did_not_run<T: std::fmt::Debug>(answer: Result<T, Failure>) -> Outcome {
    match answer {
        Err(Failure::Stop(Error::Device(DeviceError::Refusal(Refusal::Shape {
            expected,
            ..
        })))) => expect(expected.contains("ran"), expected),
        other => Err(format!("{other:?}").into()),
    }
}

fn not_launched(stream: &Stream) -> Outcome {
    let ridge = Ridge::new(0.1, 0.2);
    for features in [3, 20] {
        let case = case(vec![1; 400], features, 100, 1.0, 0.1, 1);
        let g = gradient(&case, 2);
        // Before anything was submitted, and captured before anything ran.
        let mut fresh = base(stream, &case)?;
        did_not_run(fresh.factored(ridge))?;
        did_not_run(fresh.solved())?;
        // Captured after a solve that ran: its record is not the captured one's.
        let mut used = base(stream, &case)?;
        let (plain, iterations) = answer(&mut used, &g, ridge)?;
        expect_eq("found again", used.solved()?.iterations, iterations)?;
        for mut base in [fresh, used] {
            let [from, mut to] = vectors(stream, &base, &g)?;
            let mut graph = captured(stream, &mut base, ridge, (&from, &mut to))?;
            did_not_run(base.solved())?;
            graph.launch()?;
            base.factored(ridge)?;
            expect_eq("launched", base.solved()?.iterations, iterations)?;
            let border = stream.download(to.border()?, ByteClass::Gradient)?;
            expect_eq("launched", &border, &plain.border)?;
        }
    }
    Ok(())
}

fn bits(stream: &Stream) -> Outcome {
    let mut beside = Beside::filling(stream.context())?;
    let ridge = Ridge::ZERO;
    for (name, case) in cases() {
        let g = gradient(&case, 3);
        let first = answer(&mut base(stream, &case)?, &g, ridge)?;
        let mut kept = base(stream, &case)?;
        expect_eq(name, answer(&mut kept, &g, ridge)?, first.clone())?;
        let again = beside.work(stream, || Ok(answer(&mut kept, &g, ridge)?))?;
        expect_eq(name, again, first.clone())?;
        if !name.starts_with("ragged") {
            continue;
        }
        let [from, mut to] = vectors(stream, &kept, &g)?;
        let mut graph = captured(stream, &mut kept, ridge, (&from, &mut to))?;
        let found = beside.work(stream, || {
            graph.launch()?;
            kept.factored(ridge)?;
            let iterations = kept.solved()?.iterations;
            let step = ArrowVector {
                row: stream.download(to.row(), ByteClass::Gradient)?,
                border: stream.download(to.border()?, ByteClass::Gradient)?,
            };
            Ok((step, iterations))
        })?;
        expect_eq(&format!("{name}, a graph"), found, first)?;
    }
    Ok(())
}

fn bytes(stream: &Stream) -> Outcome {
    for (name, case) in cases() {
        let said = bytes_needed(&case.shape, METHOD)?;
        let before = stream.ledger().held_bytes();
        let base = room(stream, &case.shape, METHOD)?;
        let held = stream.ledger().held_bytes() - before;
        expect_eq("bytes said again", base.bytes(), said)?;
        expect_eq(name, held, said)?;
    }
    Ok(())
}

fn refused(case: &StructuredCase, options: SolverOptions, g: &ArrowVector) -> Boxed<Failure> {
    let mut solver = Solver::new(&case.system(), options)?;
    let mut base = solver.refresh(case.system())?;
    let mut step = ArrowVector::zeros(case.shape.arrow());
    let outcome = base
        .factor(Ridge::ZERO)
        .and_then(|mut frame| frame.solve(g.as_gradient(), step.as_step()));
    match outcome {
        Ok(report) => Err(format!("it was solved: {report:?}").into()),
        Err(failure) => Ok(failure),
    }
}

/// What both places say of a system that is not positive definite.
fn refused_by_both(stream: &Stream, case: &StructuredCase) -> Boxed<[NotPositiveDefinite; 2]> {
    let of = |device| -> Boxed<NotPositiveDefinite> {
        match refused(case, options(device), &gradient(case, 4))? {
            Failure::NotPositiveDefinite(failure) => Ok(failure),
            other => Err(format!("{other:?}").into()),
        }
    };
    Ok([of(None)?, of(Some(stream))?])
}

/// A fit on the same device, afterwards.
fn works(stream: &Stream) -> Outcome {
    let case = case(vec![2; 60], 4, 20, 1.0, 0.1, 77);
    let mut solver = Solver::new(&case.system(), options(Some(stream)))?;
    let mut base = solver.refresh(case.system())?;
    let mut step = ArrowVector::zeros(case.shape.arrow());
    let g = gradient(&case, 4);
    let report = base
        .factor(Ridge::ZERO)?
        .solve(g.as_gradient(), step.as_step())?;
    expect(served(&report), format!("{report:?}"))
}

fn failures(stream: &Stream) -> Outcome {
    for (d, features) in [(1, 3), (2, 9), (5, 4), (1, 14)] {
        let what = format!("{d} unknowns, {features} features");
        let sound = case(vec![d; 90], features, 20, 1.0, 0.1, 21);
        let mut rows = sound.clone();
        rows.row_hessian[41 * d * d + d * d - 1] = -1.5;
        let mut gram = sound.clone();
        gram.gram[features * features - 1] = -2.0;
        for spoilt in [rows, gram] {
            let [cpu, device] = refused_by_both(stream, &spoilt)?;
            expect_eq(&what, device.site, cpu.site)?;
            let near = (device.value - cpu.value).abs() <= 1e-8 * cpu.value.abs();
            expect(
                near && device.bump.is_some(),
                format!("{device:?}, {cpu:?}"),
            )?;
            works(stream)?;
        }
        // Blocks that are less than J J': the eliminated border is indefinite.
        let mut core = sound.clone();
        core.row_hessian.iter_mut().for_each(|x| *x *= 0.3);
        for found in refused_by_both(stream, &core)? {
            let curved = matches!(found.site, PivotSite::Curvature { .. });
            let said = curved && found.value < 0.0 && found.bump.is_none();
            expect(said, format!("{what}: {found:?}"))?;
        }
        works(stream)?;
        let mut huge = gradient(&sound, 4);
        huge.border.iter_mut().for_each(|g| *g = f64::MAX / 2.0);
        match refused(&sound, options(Some(stream)), &huge)? {
            Failure::Stop(Error::Overflow { .. }) => {}
            other => return Err(format!("{what}: {other:?}").into()),
        }
        works(stream)?;
    }
    Ok(())
}

fn not_converged(stream: &Stream) -> Outcome {
    let case = case(vec![2; 300], 20, 30, 1.0, 0.1, 23);
    for most in [0, 2] {
        let options = SolverOptions {
            iterative: IterativeOptions {
                max_iterations: Some(most),
                ..Default::default()
            },
            ..options(Some(stream))
        };
        match refused(&case, options, &gradient(&case, 6))? {
            Failure::Stop(Error::NotConverged {
                iterations,
                residual,
                target,
            }) => {
                // Refinement tries as often again.
                expect(iterations <= 3 * most, format!("{iterations} of {most}"))?;
                expect(residual > target, format!("{residual:e} at {target:e}"))?;
            }
            other => return Err(format!("{other:?}").into()),
        }
        works(stream)?;
    }
    Ok(())
}

fn refusals(stream: &Stream) -> Outcome {
    let of = |n, d, m, p| -> Boxed<StructuredShape> {
        Ok(StructuredShape::new(RowDims::uniform(n, d)?, m, p)?)
    };
    for shape in [of(5, 1, MOST_FEATURES_ITERATIVE + 1, 3)?, of(5, 33, 3, 3)?] {
        let refused = room(stream, &shape, METHOD).map(|_| ());
        let typed = matches!(refused, Err(Error::Unsupported { .. }));
        expect(typed, format!("{refused:?}"))?;
    }
    let shape = of(1_000_000_000, 1, 60, 60)?;
    let before = stream.ledger().snapshot();
    match room(stream, &shape, METHOD).map(|_| ()) {
        Err(Error::Device(DeviceError::Refusal(Refusal::Memory { needed, free, .. }))) => {
            expect(needed > free, "it would have fitted")?;
        }
        other => return Err(format!("{other:?}").into()),
    }
    let after = stream.ledger().snapshot();
    expect_eq("allocations", after.allocations, before.allocations)
}

/// A border of 133,120 unknowns, its core one of 4,225.
fn tori(stream: &Stream) -> Outcome {
    let case = case(vec![4; 2000], 65, 2048, 1.0, 0.1, 24);
    expect_eq("unknowns", case.shape.arrow().border(), 133_120)?;
    let g = gradient(&case, 7);
    let mut solver = Solver::new(&case.system(), options(Some(stream)))?;
    let mut base = solver.refresh(case.system())?;
    for ridge in [Ridge::ZERO, Ridge::new(0.5, 0.5)] {
        let mut step = ArrowVector::zeros(case.shape.arrow());
        let mut frame = base.factor(ridge)?;
        let report = frame.solve(g.as_gradient(), step.as_step())?;
        let residual = report.error.map(|error| error.relative_residual);
        let small = residual.is_some_and(|r| r <= RESIDUAL);
        expect(small, format!("{ridge:?}: {report:?}"))?;
        expect(report.iterations > 0, format!("{report:?}"))?;
    }
    Ok(())
}
