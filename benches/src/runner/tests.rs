//! The runner on small shapes: every phase of every elimination, checked and sampled.

use super::*;
use crate::cell::Phase;
use std::collections::BTreeMap;

fn options() -> Options {
    Options {
        threads: 2,
        seconds: 1e-3,
        max_samples: 3,
        memory_limit: 1 << 28,
        seed: 3,
        rates: Rates::default(),
    }
}

fn run_text(text: &str) -> BTreeMap<(String, Phase), Outcome> {
    let suite: Suite = toml::from_str(text).unwrap();
    let receipt = Receipt::sample();
    let records = run(&suite, &options(), "", &mut [], &receipt).unwrap();
    records
        .into_iter()
        .map(|r| ((r.cell.elimination, r.cell.phase), r.outcome))
        .collect()
}

#[test]
fn every_phase_of_every_elimination_is_checked_and_sampled() {
    let phases = [
        Phase::Refresh,
        Phase::Factor,
        Phase::Solve,
        Phase::SolveUnmeasured,
        Phase::SolveTogether,
        Phase::SolveTogetherUnmeasured,
        Phase::SolveApart,
        Phase::Step,
    ];
    for (shape, eliminations) in [
        (
            "case = 'arrow'\nshape = { rows = 9, dim = 2, border = 7 }",
            vec!["rows", "border", "iterative"],
        ),
        (
            "case = 'circles'\nshape = { rows = 30, atoms = 3, on = 2, harmonics = 1, outputs = 5 }",
            vec!["core", "border", "iterative"],
        ),
    ] {
        let text = format!(
            "suite = 's'\neliminations = {eliminations:?}\nphases = {:?}\n[[cells]]\nname = 'n'\n{shape}\n\
             log_determinant = false\n",
            phases.map(Phase::as_str)
        );
        let outcomes = run_text(&text);
        assert_eq!(outcomes.len(), phases.len() * eliminations.len());
        for ((name, phase), outcome) in outcomes {
            let Outcome::Measured(measured) = outcome else {
                panic!("{name} {phase}: {outcome:?}")
            };
            assert!((1..=3).contains(&measured.samples.len()), "{name} {phase}");
            assert_eq!(measured.elimination.as_deref(), Some(name.as_str()));
            let factored = measured.ledger.unwrap().factorizations;
            let expected = u64::from(matches!(phase, Phase::Factor | Phase::Step));
            assert_eq!(factored, expected, "{name} {phase}");
            // Direct eliminations are compared with the reference's log-determinant.
            let against = measured.parity.against.map(|a| a.source);
            let direct = name != "iterative";
            assert_eq!(
                against.as_deref(),
                direct.then_some("reference"),
                "{name} {phase}"
            );
        }
    }
}

#[test]
fn what_does_not_serve_or_fit_is_declined_with_its_reason() {
    let cell = "[[cells]]\nname = 'n'\ncase = 'arrow'\nshape = { rows = 9, dim = 2, border = 7 }\n";
    let text = format!(
        "suite = 's'\neliminations = ['auto', 'core', 'iterative', 'nonsense']\nphases = ['step']\n{cell}"
    );
    let outcomes = run_text(&text);
    let declined = |name: &str| match &outcomes[&(name.to_owned(), Phase::Step)] {
        Outcome::Declined(reason) => reason.clone(),
        _ => panic!("{name} was measured"),
    };
    assert!(matches!(
        outcomes[&("auto".to_owned(), Phase::Step)],
        Outcome::Measured(_)
    ));
    assert!(
        matches!(declined("core"), Decline::Unsupported { .. }),
        "{:?}",
        declined("core")
    );
    assert!(
        declined("iterative")
            .to_string()
            .contains("log-determinant")
    );
    assert!(declined("nonsense").to_string().contains("nonsense"));
    let large =
        "[[cells]]\nname = 'n'\ncase = 'arrow'\nshape = { rows = 3, dim = 1, border = 5000 }\n";
    let text = format!("suite = 's'\neliminations = ['rows']\nphases = ['step']\n{large}");
    let options = Options {
        memory_limit: 1 << 20,
        ..options()
    };
    let suite: Suite = toml::from_str(&text).unwrap();
    let records = run(&suite, &options, "", &mut [], &Receipt::sample()).unwrap();
    assert!(matches!(
        records[0].outcome,
        Outcome::Declined(Decline::OutOfMemory { .. })
    ));
}

#[test]
fn a_product_is_checked_and_timed_beside_the_contenders() {
    let text = "suite = 's'\neliminations = ['rows']\nphases = ['product']\n[[cells]]\nname = 'n'\n\
                case = 'arrow'\nshape = { rows = 9, dim = 2, border = 7 }\n";
    let outcomes = run_text(text);
    let outcome = &outcomes[&("rows".to_owned(), Phase::Product)];
    let Outcome::Measured(measured) = outcome else {
        panic!("{outcome:?}")
    };
    // Two threads at far more than any processor's rate would be a product that did nothing.
    let operations = 2.0 * (Phase::PRODUCT_ORDER as f64).powi(3);
    let fastest = measured
        .samples
        .iter()
        .copied()
        .fold(f64::INFINITY, f64::min);
    assert!(operations / fastest < 1e13, "{fastest} s");
    assert_eq!(measured.ledger.unwrap().factorizations, 0);
}
