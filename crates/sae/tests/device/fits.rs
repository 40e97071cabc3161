//! Fits whose linear solves run on a device, against the same fits on the CPU.

use super::common::{few, made, quiet};
use broadhead_device::{Absence, Context, DevicePolicy, ExecutionPath};
use broadhead_sae::{
    Basis, Dictionary, DictionaryError, Fit, FitError, FitJob, FitOptions, GatePolicy, Place,
    Topology, fit_many_on, fit_on, go_on,
};
use broadhead_schur::device::{MOST_FEATURES, Placement};
use broadhead_schur::{EliminationKind, Error};
use broadhead_testkit::device::{Outcome, Trial, expect, expect_eq, on_device};
use ndarray::Array2;

pub(super) fn tests() -> Vec<Trial> {
    vec![
        on_device("fits::they_end_where_the_cpu_s_end", ends),
        on_device(
            "fits::side_by_side_they_have_the_bits_of_each_alone",
            side_by_side,
        ),
        on_device("fits::a_rejected_step_sends_no_operands", rejected),
        on_device("fits::what_the_device_does_not_serve_is_named", refusals),
    ]
}

/// The device of `context`.
fn place(context: &Context) -> Result<Place, Error> {
    let stream = context.stream(&broadhead_device::Ledger::new())?;
    Ok(Place::with_device(Placement::on(&stream)))
}

/// The same options with the core, on a device.
fn required(mut options: FitOptions) -> FitOptions {
    options.solves.elimination = Some(EliminationKind::Core);
    options.solves.device_policy = DevicePolicy::Required;
    options
}

/// A fit there without progress.
fn quiet_on(
    place: &Place,
    x: &Array2<f64>,
    dictionary: &Dictionary,
    options: &FitOptions,
) -> Result<Fit, FitError> {
    fit_on(place, x.view(), dictionary, options, &go_on)
}

type Built = (Dictionary, Option<usize>);

/// Small and large cores, rows whose atoms are chosen, coordinates that are whitened.
fn cases() -> Result<[Built; 5], DictionaryError> {
    let harmonics = Basis::Harmonics { highest: 1 };
    let (plane, squares) = (
        Topology::Euclidean { dimension: 2 },
        Basis::Monomials { degree: 2 },
    );
    let of = Dictionary::uniform;
    Ok([
        (of(1, Topology::Circle, harmonics)?, None),
        (of(3, Topology::Circle, harmonics)?, Some(1)),
        (of(2, Topology::Torus, harmonics)?, None),
        (of(1, plane, squares)?, None),
        (of(1, Topology::Cylinder, harmonics)?, None),
    ])
}

fn of_case((dictionary, on): &Built) -> (Array2<f64>, FitOptions) {
    let rows = made(dictionary, 400, 24, *on, 0.1).x;
    let mut options = few(2);
    // Tori crawl at the end of a fit: what came before is enough.
    options.rule.max_iterations = 60;
    if let Some(on) = on {
        options.gates = GatePolicy::TopK(*on);
    }
    (rows, options)
}

fn ends(context: &Context) -> Outcome {
    let place = place(context)?;
    for case in &cases()? {
        let (rows, options) = of_case(case);
        let mut on_cpu = options.clone();
        on_cpu.solves.elimination = Some(EliminationKind::Core);
        let wanted = quiet(&rows, &case.0, &on_cpu)?;
        let found = quiet_on(&place, &rows, &case.0, &required(options))?;
        expect_eq(
            "path",
            found.execution_path,
            ExecutionPath::GpuResidentLinearization,
        )?;
        expect_eq("converged", found.converged, wanted.converged)?;
        let error = (found.objective - wanted.objective).abs();
        let close = error <= 1e-9 * wanted.objective;
        expect(
            close,
            format!("{} and {}", found.objective, wanted.objective),
        )?;
        accounts(&found)?;
    }
    Ok(())
}

/// What the ledger says is what the fit did: all of it on the device, every linearisation sent once.
fn accounts(fit: &Fit) -> Outcome {
    let solves = &fit.solves;
    expect_eq(
        "on the device",
        solves.device_factorizations,
        solves.factorizations,
    )?;
    let (counted, trials) = (fit.ledger.factorizations, fit.trials);
    expect(
        counted >= solves.factorizations,
        format!("{counted} of {solves:?}"),
    )?;
    expect(
        solves.factorizations > trials,
        format!("{solves:?} in {trials} trials"),
    )?;
    let (sent, back) = (fit.ledger.host_to_device, fit.ledger.device_to_host);
    expect(sent.operand > 0 && sent.gradient > 0, format!("{sent:?}"))?;
    expect(back.gradient > 0 && back.record > 0, format!("{back:?}"))
}

fn same(what: &str, found: &Fit, wanted: &Fit) -> Outcome {
    expect_eq(what, &found.model, &wanted.model)?;
    expect_eq(what, found.objective.to_bits(), wanted.objective.to_bits())?;
    expect_eq(what, &found.trace, &wanted.trace)?;
    expect_eq(
        what,
        found.ledger.host_to_device,
        wanted.ledger.host_to_device,
    )
}

fn side_by_side(context: &Context) -> Outcome {
    let case = &cases()?[2];
    let (rows, options) = of_case(case);
    let (place, options) = (place(context)?, required(options));
    let alone = quiet_on(&place, &rows, &case.0, &options)?;
    let job = FitJob {
        x: rows.view(),
        dictionary: &case.0,
        options: &options,
    };
    for fit in fit_many_on(&place, &[job; 3]) {
        same("beside others", &fit?, &alone)?;
    }
    for threads in [1, 5] {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()?;
        let fit = pool.install(|| quiet_on(&place, &rows, &case.0, &options))?;
        same("any number of threads", &fit, &alone)?;
    }
    Ok(())
}

/// Operands travel once a linearisation: a step that is rejected changes the ridge alone.
fn rejected(context: &Context) -> Outcome {
    let case = &cases()?[2];
    let (rows, options) = of_case(case);
    let (place, mut options) = (place(context)?, required(options));
    (options.starts, options.max_gate_rounds) = (1, 0);
    let mut fitted = |iterations| {
        options.rule.max_iterations = iterations;
        quiet_on(&place, &rows, &case.0, &options)
    };
    let sent = |fit: &Fit| fit.ledger.host_to_device.operand;
    // Each ends with a log-determinant, at a linearisation of its own.
    let (none, one, many) = (fitted(0)?, fitted(1)?, fitted(60)?);
    let rejections = many.trials > many.iterations && many.iterations == 60;
    expect(
        rejections,
        format!("{} of {}", many.iterations, many.trials),
    )?;
    let each = sent(&one) - sent(&none);
    expect_eq("operands", sent(&many), sent(&none) + 60 * each)
}

fn refusals(context: &Context) -> Outcome {
    let wide = Dictionary::uniform(1, Topology::Torus, Basis::Harmonics { highest: 5 })?;
    expect(wide.features() > MOST_FEATURES, wide.features())?;
    let rows = made(&wide, 300, 4, None, 0.1).x;
    let (place, options) = (place(context)?, required(few(1)));
    match quiet_on(&place, &rows, &wide, &options) {
        Err(FitError::Solver(Error::Absent(Absence::NoBackend { what }))) => {
            let named = what.contains("core") && what.contains(&MOST_FEATURES.to_string());
            expect(named, what)?;
        }
        other => expect(false, format!("{other:?}"))?,
    }
    // The device serves the next fit.
    let case = &cases()?[0];
    let (rows, _) = of_case(case);
    let fit = quiet_on(&place, &rows, &case.0, &options)?;
    expect(fit.converged, "the next fit")
}
