//! The decision, the quadratic loop and fits on a device against the CPU's. See `testkit::device`.

use broadhead_device::{ByteClass, Context};
use broadhead_sae::lm::device::{ResidentQuadratic, decide_on_device, kernel_sources};
use broadhead_sae::lm::{Outcome as Tried, Rule, State, Status, begin, decide, go_on, settle};
use broadhead_schur::device::Keep;
use broadhead_schur::{MeanDiagonals, Ridge};
use broadhead_testkit::device::{Outcome, expect, expect_eq, on_device, run, stream};
use case::Case;
use hard::{Hard, on_cpu};
use std::process::ExitCode;

#[path = "../../../schur/tests/device/case.rs"]
mod case;
#[path = "../common/mod.rs"]
mod common;
mod fits;
#[path = "../common/hard.rs"]
mod hard;
mod hard_paths;
mod outer;
mod refusals;
mod rounds;

fn main() -> ExitCode {
    let mut tests = vec![
        on_device(
            "the_decision_has_the_cpu_s_bits_on_a_table_of_states",
            decisions,
        ),
        on_device("a_quadratic_fit_takes_the_cpu_s_path", paths),
        on_device("a_whole_fit_is_one_graph_and_one_record", whole),
        on_device("a_whole_fit_has_the_bits_of_the_host_s_loop", same_bits),
        on_device("an_iterate_moves_nothing_in_and_one_record_out", iterates),
    ];
    tests.extend(hard_paths::tests());
    tests.extend(outer::tests());
    tests.extend(refusals::tests());
    tests.extend(fits::tests());
    tests.extend(rounds::tests());
    let beneath = broadhead_device::kernels::sources();
    let kernels = [
        broadhead_schur::device::kernel_sources(),
        kernel_sources(),
        beneath,
    ]
    .concat();
    run(tests, &kernels)
}

/// States, outcomes and norms at every edge of the rule.
fn table(rule: &Rule) -> Vec<(State, Tried, [f64; 2])> {
    let mut rows = Vec::new();
    for ridge in [0.0, 1.5e-12, 2e-12, 1e-3, 0.3, 0.25e9, 1e9] {
        for status in [Status::Running, Status::ConvergedDecrease] {
            for (turns, last_accepted) in [(0, 0), (2, 1), (7, 1)] {
                let state = State {
                    ridge,
                    turns,
                    last_accepted,
                    status,
                    iterations: 3,
                    trials: 5,
                    ..begin(rule, 100.0 / 3.0, 101.0 / 3.0, [1.0, 0.7])
                };
                let steps = [
                    (1.0, 99.0 / 3.0),
                    (1.0 / 3.0, 100.0 / 3.0),
                    (1e-13, 100.0 / 3.0),
                    (1e-16, 100.0 / 3.0 + 1e-12),
                    (7.0, 103.0 / 3.0),
                    (f64::NAN, 1.0),
                    (1.0, f64::INFINITY),
                    (1.0, f64::NAN),
                    (1e-300, -1e300),
                    (0.1, 100.0 / 3.0 - 1e-13),
                ];
                for (predicted, objective) in steps {
                    let tried = Tried::Step {
                        predicted,
                        objective,
                        scale: objective,
                    };
                    for norms in [[1e-10, 1e-11], [0.3, 2.0], [f64::NAN, 0.0]] {
                        rows.push((state, tried, norms));
                    }
                }
                for bump in [0.0, 0.1, 1e-9, f64::INFINITY, f64::NAN] {
                    rows.push((state, Tried::NotPositiveDefinite { bump }, [0.0; 2]));
                }
            }
        }
    }
    rows
}

fn decisions(context: &Context) -> Outcome {
    let stream = stream(context)?;
    for rule in [
        Rule::quadratic(),
        Rule::curved(),
        Rule::curved().with_max_iterations(4),
        Rule {
            max_trials: 6,
            ..Rule::curved()
        },
    ] {
        let table = table(&rule);
        let found = decide_on_device(&stream, &rule, &table)?;
        for ((state, tried, norms), found) in table.iter().zip(found) {
            let mut wanted = decide(&rule, state, tried);
            if wanted.accepted {
                wanted.state = settle(&rule, &wanted.state, *norms);
            }
            let bits = |d: &broadhead_sae::lm::Decision| {
                let s = d.state;
                let numbers = [
                    s.ridge,
                    s.objective,
                    s.scale,
                    s.largest[0],
                    s.largest[1],
                    s.anchor,
                    d.gain,
                ];
                let counts = [s.turns, s.iterations, s.trials, s.last_accepted.into()];
                (numbers.map(f64::to_bits), counts, s.status, d.accepted)
            };
            expect_eq(
                &format!("{state:?} {tried:?} {norms:?}"),
                bits(&found),
                bits(&wanted),
            )?;
        }
    }
    Ok(())
}

fn compare(context: &Context, hard: &Hard) -> Outcome {
    let stream = stream(context)?;
    let mut resident = ResidentQuadratic::new(&stream, &hard.case.shape, Keep::InverseFactor)?;
    let (found, _) = hard_paths::fit(&mut resident, hard)?;
    let whole = resident.fit_in_one_graph(&hard.rule)?;
    expect_eq("the whole fit", Some(&whole), found.ended.as_ref().ok())?;
    expect_eq("its point", Some(resident.point()?), found.point.clone())?;
    let (wanted, _) = on_cpu(hard)?;
    hard::same(hard, &found, &wanted)?;
    let (Ok(report), Ok(its)) = (&found.ended, &wanted.ended) else {
        return Err(format!("{:?}, the CPU's {:?}", found.ended, wanted.ended).into());
    };
    expect_eq("the ridge", report.ridge, its.ridge)?;
    let error = (report.objective - its.objective).abs();
    let close = error <= 1e-12 * its.objective.abs().max(1.0);
    expect(close, format!("{report:?}, the CPU's {its:?}"))?;
    let (Some(point), Some(its)) = (found.point, wanted.point) else {
        return Err("a fit ended without a point".into());
    };
    let pairs = (point.row.iter().zip(&its.row)).chain(point.border.iter().zip(&its.border));
    let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    expect(worst <= 1e-9, format!("points differ by {worst:e}"))
}

fn paths(context: &Context) -> Outcome {
    for (dims, k) in [
        (vec![2; 180], 700),
        (vec![1, 3, 0, 16, 2], 65),
        (vec![2; 900], 33),
    ] {
        for initial_ridge in [0.0, 1e-3] {
            let sound = Hard::sound(&dims, k, 31, initial_ridge)?;
            compare(context, &sound)?;
        }
    }
    Ok(())
}

/// A rule under which an exact quadratic goes on after its first step.
fn forced() -> Rule {
    Rule {
        residual_tolerance: 0.0,
        ..Rule::quadratic()
    }
}

fn whole(context: &Context) -> Outcome {
    let stream = stream(context)?;
    let case = Case::new(&[2; 180], 500, 33)?;
    let mut resident = ResidentQuadratic::new(&stream, &case.shape, Keep::InverseFactor)?;
    resident.load(&case.system()?, case.g.as_gradient(), 7.5)?;
    let ridged = Rule {
        initial_ridge: 1e-3,
        ..forced()
    };
    for rule in [forced(), ridged] {
        let first = resident.fit_in_one_graph(&rule)?;
        let before = stream.ledger().snapshot();
        let again = resident.fit_in_one_graph(&rule)?;
        let moved = stream.ledger().snapshot().since(&before);
        expect_eq("the report", &again, &first)?;
        expect(again.iterations > 8, format!("{again:?}"))?;
        expect_eq("records out", moved.device_to_host.record, 18 * 8)?;
        expect_eq("allocations", moved.allocations, 0)?;
        // The factors at zero ridge are those at hand.
        let builds = if rule.initial_ridge > 0.0 {
            again.trials
        } else {
            0
        };
        expect_eq("factorizations", moved.factorizations, builds)?;
    }
    Ok(())
}

fn same_bits(context: &Context) -> Outcome {
    let stream = stream(context)?;
    for keep in [Keep::Factor, Keep::InverseFactor] {
        for (dims, k) in [
            (vec![2; 180], 700),
            (vec![1, 3, 0, 16, 2], 65),
            (vec![2; 900], 33),
            (vec![40; 6], 20),
            (vec![2; 30], 256),
        ] {
            let case = Case::new(&dims, k, 34)?;
            let mut resident = ResidentQuadratic::new(&stream, &case.shape, keep)?;
            resident.load(&case.system()?, case.g.as_gradient(), 7.5)?;
            for initial_ridge in [0.0, 1e-3] {
                let rule = Rule {
                    initial_ridge,
                    ..forced()
                };
                let host = resident.fit(&rule, &mut go_on)?;
                let point = resident.point()?;
                for _ in 0..2 {
                    let whole = resident.fit_in_one_graph(&rule)?;
                    expect_eq("the report", &whole, &host)?;
                    expect_eq("the point", resident.point()?, point.clone())?;
                }
            }
        }
    }
    Ok(())
}

fn iterates(context: &Context) -> Outcome {
    let stream = stream(context)?;
    let case = Case::new(&[2; 180], 500, 33)?;
    let mut resident = ResidentQuadratic::new(&stream, &case.shape, Keep::InverseFactor)?;
    resident.load(&case.system()?, case.g.as_gradient(), 7.5)?;
    resident.start(&Rule::quadratic())?;
    let ridge = Ridge::relative(0.0, MeanDiagonals::default());
    let mut graph = resident.graph(ridge)?;
    let before = stream.ledger().snapshot();
    for _ in 0..3 {
        resident.launch(&mut graph)?;
        resident.read()?;
    }
    let moved = stream.ledger().snapshot().since(&before);
    expect_eq("bytes in", moved.host_to_device.total(), 0)?;
    expect_eq("bytes out", moved.device_to_host.total(), 3 * 136)?;
    expect_eq("of records", moved.device_to_host.record, 3 * 136)?;
    expect_eq("submissions", moved.submissions, 3)?;
    expect_eq("allocations", moved.allocations, 0)?;
    // The same iterates without a graph have the same bits.
    let graphed = stream.download(resident.point_row(), ByteClass::Other)?;
    resident.start(&Rule::quadratic())?;
    for _ in 0..3 {
        resident.submit(ridge)?;
        resident.read()?;
    }
    let plain = stream.download(resident.point_row(), ByteClass::Other)?;
    expect_eq("points", plain, graphed)
}
