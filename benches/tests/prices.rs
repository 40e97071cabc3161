//! The planner's prices against what the committed records measured: every cell of the host's suite, and
//! every cell of a device whose contender is an elimination. On the host prices rest on the rates that were
//! measured when the records were taken, which are in their receipts; where there are none, and on a
//! device, on those that ship.

use broadhead_benches::case::Operands;
use broadhead_benches::cell::{Case, Phase, Place, Shape, Suite};
use broadhead_benches::machine;
use broadhead_benches::record::{self, Outcome, Record};
use broadhead_benches::store;
use broadhead_schur::device::Keep;
use broadhead_schur::{
    ArrowVector, EliminationKind, Gradient, Price, Ridge, Solver, SolverOptions, SystemShape,
    device_prices, plan,
};
use std::path::Path;

/// How far a price on the host may be from what was measured, either way.
const HOST: f64 = 2.0;

/// The same on a device.
const DEVICE: f64 = 3.0;

/// The most that the choice's time may be over the best.
const CHOICE: f64 = 1.2;

/// The device whose figures the default ceilings round.
const DEFAULT_DEVICE: &str = "NVIDIA H100 80GB HBM3";

/// Where prices or choices by measured rates are known to be wrong: a debt, by machine. What is mended is
/// to be taken off, and nothing else may be wrong.
const KNOWN: [(&str, &[&str]); 2] = [
    (
        "AMD EPYC (family 25, model 1, stepping 1), 2 processors",
        &[
            "many rows, narrow border, rows",
            "small, rows",
            "one circle, many outputs, core",
            "no log-determinant, wide dictionary",
        ],
    ),
    // Parts of the work that sixteen threads share badly, or that memory bounds, are priced as if they did not;
    // factors of large order at the rate of order 2048.
    (
        "Intel(R) Xeon(R) Processor (family 6, model 207, stepping 2), 16 processors",
        &[
            "many rows, narrow border, rows",
            "wide blocks, rows",
            "wide blocks, border",
            "one circle, few rows, border",
            "one circle, few rows, core",
            "four circles, all on, core",
            "sixteen circles, one on, core",
            "many circles, few rows, border",
            "many circles, few rows, core",
            "hundred circles, few rows, border",
            "hundred circles, few rows, core",
            "no log-determinant, many circles and rows, border",
        ],
    ),
];

/// A suite and its records; a device's are those of the device that the default ceilings are of.
fn suite(name: &str) -> (Suite, Vec<Record>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let suite = Suite::read(&folder.join(format!("cells/{name}.toml"))).unwrap();
    let mut path = folder.join("records");
    if suite.place == Place::Device {
        path.push(store::slug(DEFAULT_DEVICE));
    }
    let records = record::read(&path.join(format!("{name}.jsonl"))).unwrap();
    (suite, records)
}

fn operands(case: &Case) -> Operands {
    Operands::new(Shape::new(case.case, case.shape).unwrap(), 1).unwrap()
}

fn options(case: &Case) -> SolverOptions {
    SolverOptions {
        workload: case.workload(),
        memory_limit: 4 << 30,
        ..SolverOptions::default()
    }
}

/// The median of a unit of work in seconds, where it was measured.
fn measured(records: &[Record], case: &Case, contender: &str, phase: Phase) -> Option<f64> {
    records.iter().find_map(|record| match &record.outcome {
        Outcome::Measured(measured)
            if record.cell.name == case.name
                && record.cell.elimination == contender
                && record.cell.phase == phase =>
        {
            assert_eq!(record.cell.shape, case.shape, "{}", case.name);
            let mut samples = measured.samples.clone();
            samples.sort_by(f64::total_cmp);
            Some(samples[samples.len() / 2] / f64::from(measured.units))
        }
        _ => None,
    })
}

/// Says where a price is further than `factor` from what was measured.
fn compare(name: &str, price: f64, measured: f64, factor: f64) -> Option<String> {
    let within = (measured / factor..=measured * factor).contains(&price);
    (!within).then(|| format!("{name}: priced {price:.3e} s, measured {measured:.3e} s"))
}

#[test]
fn prices_on_the_host_are_near_what_was_measured_and_choose_well() {
    let (suite, records) = suite("planner");
    let mut wrong = Vec::new();
    for (machine, records) in machine::split(&records) {
        let machine = machine.to_string();
        let known = KNOWN.iter().find(|(name, _)| *name == machine);
        let mut known = known.map_or(&[][..], |(_, known)| known).to_vec();
        for text in host_prices(&suite, &records) {
            let place = text.split(": ").next().unwrap_or_default();
            match known.iter().position(|known| *known == place) {
                Some(at) => drop(known.remove(at)),
                None => wrong.push(format!("{machine}: {text}")),
            }
        }
        let mended = known
            .iter()
            .map(|place| format!("{machine}: {place} is no longer wrong"));
        wrong.extend(mended);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Where the prices or the choices of one machine are wrong.
fn host_prices(suite: &Suite, records: &[Record]) -> Vec<String> {
    let rates = records
        .iter()
        .find_map(|record| record.receipt.rates.clone());
    let rates = rates.unwrap_or_default();
    let (mut wrong, mut compared) = (Vec::new(), 0);
    for case in &suite.cells {
        let operands = operands(case);
        let shape = SystemShape::of(&operands.system().unwrap());
        let options = SolverOptions {
            rates: rates.clone(),
            ..options(case)
        };
        let plan = plan(&shape, &options).unwrap();
        let of = |kind: EliminationKind| {
            // What gives no log-determinant does not serve where one is asked for, and is declined.
            measured(records, case, kind.as_str(), Phase::Step)
        };
        for price in &plan.prices {
            if let Some(seconds) = of(price.elimination) {
                let name = format!("{}, {}", case.name, price.elimination);
                wrong.extend(compare(&name, price.seconds, seconds, HOST));
                compared += 1;
            }
        }
        let best = EliminationKind::ALL
            .into_iter()
            .filter_map(of)
            .fold(f64::INFINITY, f64::min);
        let chosen = of(plan.chosen).unwrap();
        if chosen > CHOICE * best {
            wrong.push(format!(
                "{}: {} took {chosen:.3e} s, the best {best:.3e} s",
                case.name, plan.chosen
            ));
        }
    }
    assert!(compared >= 2 * suite.cells.len() - 2, "{compared} compared");
    wrong
}

/// `core`, `border/factor`, ... as a price names them.
fn contender(price: &Price) -> String {
    let kind = price.elimination.as_str();
    match price.keep {
        None => kind.to_owned(),
        Some(Keep::Factor) => format!("{kind}/factor"),
        Some(Keep::InverseFactor) => format!("{kind}/inverse-factor"),
    }
}

#[test]
fn prices_on_a_device_are_near_what_was_measured() {
    let (suite, records) = suite("gpu");
    let (mut wrong, mut missing) = (Vec::new(), Vec::new());
    for case in &suite.cells {
        let names = suite.contenders(case);
        if !names
            .iter()
            .any(|name| name.parse::<EliminationKind>().is_ok() || name.contains('/'))
        {
            continue;
        }
        let operands = operands(case);
        let shape = SystemShape::of(&operands.system().unwrap());
        for price in device_prices(&shape, &options(case)) {
            let of = |phase| measured(&records, case, &contender(&price), phase);
            // A price of a solve has the gradient's way in and the step's out.
            let solve = of(Phase::SolveHost).or_else(|| of(Phase::Solve));
            for (phase, seconds, measured) in [
                ("refresh", price.refresh_seconds, of(Phase::Refresh)),
                ("factor", price.factor_seconds, of(Phase::Factor)),
                ("solve", price.solve_seconds, solve),
            ] {
                let name = format!("{}, {}, {phase}", case.name, contender(&price));
                match measured {
                    Some(measured) => wrong.extend(compare(&name, seconds, measured, DEVICE)),
                    // What the cell asks for and no record has.
                    None if asked(&suite, case, &contender(&price), phase) => missing.push(name),
                    None => {}
                }
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Whether a cell asks for a phase of a contender; a solve may be asked for from the host or not.
fn asked(suite: &Suite, case: &Case, contender: &str, phase: &str) -> bool {
    let named = suite.contenders(case).iter().any(|name| name == contender);
    let of = |p: &Phase| p.as_str() == phase || (phase == "solve" && *p == Phase::SolveHost);
    named && case.phases.iter().any(of)
}

#[test]
fn the_cells_say_how_many_iterations_a_solve_takes() {
    let cells = ["planner", "gpu"].map(|name| suite(name).0.cells);
    // Of more rows a solve takes too long here.
    let serves = |case: &&Case| case.iterations.is_some() && case.shape.rows <= 4000;
    let mut seen = 0;
    for case in cells.iter().flatten().filter(serves) {
        let operands = operands(case);
        let system = operands.system().unwrap();
        let pinned = SolverOptions {
            elimination: Some(EliminationKind::Iterative),
            ..options(case)
        };
        let mut solver = Solver::new(&system, pinned).unwrap();
        let (n, k) = operands.sizes();
        let gradients = operands.gradients();
        let gradient = Gradient::new(&gradients.row[..n], &gradients.border[..k]);
        let mut step = ArrowVector {
            row: vec![0.0; n],
            border: vec![0.0; k],
        };
        let mut base = solver.refresh(system).unwrap();
        let mut frame = base.factor(Ridge::ZERO).unwrap();
        let report = frame.solve(gradient, step.as_step()).unwrap();
        let (said, found) = (case.workload().iterations, report.iterations);
        // Rounding, which differs from one processor to another, is worth a few.
        let near = found.abs_diff(u64::from(said)) <= 1 + found / 10;
        assert!(near, "{}: {found} iterations, {said} are said", case.name);
        seen += 1;
    }
    assert!(seen >= 9, "{seen} seen");
}
