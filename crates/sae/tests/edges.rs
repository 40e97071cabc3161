//! Edges: the smallest shapes, bad input, options out of range.

mod common;

use broadhead_device::{Absence, DevicePolicy, ExecutionPath, LedgerSnapshot};
use broadhead_sae::*;
use broadhead_schur::Error;
use common::{encode, few, made, one, quiet};
use ndarray::Array2;

#[test]
fn few_rows_and_one_column_are_fitted() {
    let dictionary = one(Topology::Circle);
    for (n, p) in [(2, 5), (5, 1), (2, 1), (3, 3)] {
        let x = Array2::from_shape_fn((n, p), |(i, j)| ((i * 7 + j * 3) % 5) as f64 - 1.0);
        let fit = quiet(&x, &dictionary, &few(2)).unwrap();
        assert!(fit.objective.is_finite(), "{n} x {p}");
        assert_eq!(fit.model.decoder().dim(), (3, p));
        assert!(fit.model.decoder().iter().all(|w| w.is_finite()));
    }
}

#[test]
fn fewer_rows_than_features_are_fitted_and_refused_without_a_penalty() {
    let dictionary =
        Dictionary::uniform(2, Topology::Torus, Basis::Harmonics { highest: 1 }).unwrap();
    let x = made(&dictionary, 6, 9, None, 0.1).x;
    assert!(
        quiet(&x, &dictionary, &few(1))
            .unwrap()
            .objective
            .is_finite()
    );
    let options = FitOptions {
        lambda: Some(0.0),
        ..few(1)
    };
    let error = quiet(&x, &dictionary, &options).unwrap_err();
    assert!(error.to_string().contains("lambda above 0"), "{error}");
}

#[test]
fn no_iterations_is_a_fit_that_did_not_converge() {
    let dictionary = one(Topology::Circle);
    let x = made(&dictionary, 40, 6, None, 0.1).x;
    let mut options = few(2);
    options.rule = options.rule.with_max_iterations(0);
    let fit = quiet(&x, &dictionary, &options).unwrap();
    assert!(!fit.converged && fit.iterations == 0 && fit.trace.is_empty());
    assert!(fit.explained_variance > 0.0);
}

#[test]
fn gates_that_are_all_off_leave_the_intercept() {
    let dictionary = one(Topology::Circle);
    let x = made(&dictionary, 30, 5, None, 0.1).x;
    let options = FitOptions {
        gates: GatePolicy::Given(Array2::zeros((30, 1))),
        ..few(1)
    };
    let fit = quiet(&x, &dictionary, &options).unwrap();
    assert!(fit.converged);
    assert!(fit.explained_variance.abs() < 1e-12);
    assert!(fit.coordinates().iter().all(|t| t.is_nan()));
    for c in 0..5 {
        let mean = x.column(c).sum() / 30.0;
        assert!((fit.model.decoder()[(0, c)] - mean).abs() < 1e-12 * mean.abs().max(1.0));
    }
}

#[test]
fn bad_numbers_are_located_in_every_array() {
    let dictionary = one(Topology::Circle);
    let good = made(&dictionary, 30, 5, None, 0.1).x;
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let mut x = good.clone();
        x[(12, 3)] = bad;
        let error = quiet(&x, &dictionary, &few(1)).unwrap_err();
        assert!(error.to_string().starts_with("X[12, 3] is"), "{error}");
        let mut gates = Array2::ones((30, 1));
        gates[(4, 0)] = bad;
        let options = FitOptions {
            gates: GatePolicy::Given(gates),
            ..few(1)
        };
        let error = quiet(&good, &dictionary, &options).unwrap_err();
        assert!(error.to_string().starts_with("gates[4, 0] is"), "{error}");
        let mut decoder = Array2::zeros((3, 5));
        decoder[(2, 1)] = bad;
        let options = EncodeOptions::default();
        let error = encode(good.view(), &dictionary, decoder.view(), &options).unwrap_err();
        assert!(error.to_string().starts_with("decoder[2, 1] is"), "{error}");
    }
}

#[test]
fn shapes_and_options_out_of_range_are_named() {
    let dictionary = one(Topology::Circle);
    let x = made(&dictionary, 30, 5, None, 0.1).x;
    let named = |options: FitOptions, word: &str| {
        let error = quiet(&x, &dictionary, &options).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    };
    named(
        FitOptions {
            starts: 0,
            ..few(1)
        },
        "starts is 0",
    );
    named(
        FitOptions {
            lambda: Some(-1.0),
            ..few(1)
        },
        "lambda is -1",
    );
    named(
        FitOptions {
            lambda: Some(f64::NAN),
            ..few(1)
        },
        "lambda is NaN",
    );
    named(
        FitOptions {
            gates: GatePolicy::TopK(2),
            ..few(1)
        },
        "top-k is 2",
    );
    named(
        FitOptions {
            gates: GatePolicy::TopK(0),
            ..few(1)
        },
        "top-k is 0",
    );
    named(
        FitOptions {
            gates: GatePolicy::Given(Array2::ones((3, 1))),
            ..few(1)
        },
        "gates have shape [3, 1], expected [30, 1]",
    );
    let error = quiet(&Array2::zeros((0, 5)), &dictionary, &few(1)).unwrap_err();
    assert!(matches!(
        error,
        FitError::Empty {
            rows: 0,
            outputs: 5
        }
    ));
    let decoder = Array2::zeros((4, 5));
    let error = encode(
        x.view(),
        &dictionary,
        decoder.view(),
        &EncodeOptions::default(),
    )
    .unwrap_err();
    assert!(
        error.to_string().contains("shape [4, 5], expected [3, 5]"),
        "{error}"
    );
}

#[test]
fn too_little_memory_ends_the_fit_with_the_bytes() {
    let dictionary = one(Topology::Circle);
    let x = made(&dictionary, 30, 5, None, 0.1).x;
    let mut options = few(1);
    options.solves.memory_limit = 16;
    let error = quiet(&x, &dictionary, &options).unwrap_err();
    assert!(error.to_string().contains("bytes"), "{error}");
}

#[test]
fn a_required_device_without_a_backend_ends_the_fit_before_any_start() {
    let made = made(&one(Topology::Circle), 20, 4, None, 0.1);
    let mut options = few(2);
    options.solves.device_policy = DevicePolicy::Required;
    let screened = |progress: &Progress| panic!("{progress:?}");
    let dictionary = one(Topology::Circle);
    match fit(made.x.view(), &dictionary, &options, &screened) {
        Err(FitError::Solver(Error::Absent(Absence::NoBackend { what }))) => {
            assert!(what.contains("without a placement"), "{what}");
        }
        other => panic!("{other:?}"),
    }
    options.solves.device_policy = DevicePolicy::Auto;
    let fit = quiet(&made.x, &dictionary, &options).unwrap();
    assert_eq!(fit.execution_path, ExecutionPath::Cpu);
    let counted = fit.ledger.factorizations;
    assert!(counted >= fit.solves.factorizations && fit.solves.factorizations > 0);
    let moved = LedgerSnapshot {
        factorizations: counted,
        ..LedgerSnapshot::default()
    };
    assert_eq!(fit.ledger, moved);
}
