//! Fits in which rows choose their atoms: the same bits for any number of threads, what was planted is
//! found, and inputs at the edges.

mod common;

use broadhead_sae::lm::Status;
use broadhead_sae::*;
use common::{few, made, quiet};
use ndarray::{Array2, s};

fn circles(count: usize) -> Dictionary {
    Dictionary::uniform(count, Topology::Circle, Basis::Harmonics { highest: 1 }).unwrap()
}

fn top(k: usize, starts: usize) -> FitOptions {
    FitOptions {
        gates: GatePolicy::TopK(k),
        ..few(starts)
    }
}

fn in_pool<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
    pool.build().unwrap().install(work)
}

/// All that a fit found, as bits.
fn bits(fit: &Fit) -> Vec<u64> {
    let (coordinates, gates) = (fit.coordinates(), fit.gates());
    let numbers = coordinates.iter().chain(&gates);
    let numbers = numbers.chain(fit.model.decoder()).chain(&fit.squared_error);
    let ends = [fit.objective, fit.explained_variance, fit.lambda];
    let rounds = fit
        .gate_rounds
        .iter()
        .map(|round| round.objective.to_bits());
    let numbers = numbers.copied().chain(ends);
    numbers.map(f64::to_bits).chain(rounds).collect()
}

#[test]
fn bits_depend_on_no_number_of_threads() {
    let mixed: Dictionary = "4*circle,circle/harmonics:2,euclidean:1".parse().unwrap();
    for (dictionary, n) in [(circles(12), 1500), (mixed, 400)] {
        let x = made(&dictionary, n, 24, Some(2), 0.1).x;
        for pulls in [Pulls::Fp64, Pulls::Fp32] {
            let options = FitOptions {
                pulls,
                rule: lm::Rule::curved().with_max_iterations(5),
                ..top(2, 1)
            };
            let fits = [1, 2, 5]
                .map(|threads| in_pool(threads, || quiet(&x, &dictionary, &options).unwrap()));
            assert!(fits[0].explained_variance > 0.5);
            for fit in &fits[1..] {
                assert_eq!(bits(fit), bits(&fits[0]), "{pulls:?}");
            }
        }
    }
}

/// Enough rows for a sample of them to move atoms on, and for steps by conjugate gradients over several chunks.
#[test]
fn fits_of_many_rows_go_by_samples_and_gradients_and_have_the_same_bits() {
    let dictionary = circles(16);
    let x = made(&dictionary, 10_500, 8, Some(2), 0.1).x;
    let options = FitOptions {
        rule: lm::Rule::curved().with_max_iterations(4),
        ..top(2, 4)
    };
    let fits = [1, 5].map(|threads| in_pool(threads, || quiet(&x, &dictionary, &options).unwrap()));
    let of = |stage| fits[0].gate_rounds.iter().filter(move |r| r.stage == stage);
    assert!(fits[0].solves.products > 0 && fits[0].solves.factorizations == 0);
    assert!(fits[0].log_det_hessian.is_err());
    // On the sample atoms were moved, and that was kept now and then.
    assert!(of(RoundStage::Start).any(|round| round.reseeded > 0 && round.accepted));
    assert!(of(RoundStage::Exploring).count() > 1 && of(RoundStage::Finishing).count() > 0);
    assert!(
        of(RoundStage::Exploring)
            .next()
            .is_some_and(|r| r.changed == 10_500)
    );
    assert!(
        fits[0].explained_variance > 0.5,
        "{}",
        fits[0].explained_variance
    );
    assert_eq!(bits(&fits[1]), bits(&fits[0]));
}

#[test]
fn planted_circles_are_found() {
    let dictionary = circles(12);
    let x = made(&dictionary, 3000, 40, Some(1), 0.02).x;
    for seed in 0..3 {
        let options = FitOptions {
            seed,
            ..top(1, FitOptions::default().starts)
        };
        let fit = quiet(&x, &dictionary, &options).unwrap();
        assert!(
            fit.explained_variance > 0.99,
            "{seed}: {}",
            fit.explained_variance
        );
        assert!(fit.converged, "{seed}: {:?}", fit.status);
    }
}

#[test]
fn what_is_explained_wholly_ends() {
    // Without noise objectives of rounds are rounding, of either sign.
    for (count, on) in [(3, 1), (4, 2)] {
        let dictionary = circles(count);
        let x = made(&dictionary, 400, 12, Some(on), 0.0).x;
        for lambda in [None, Some(0.0)] {
            let options = FitOptions {
                lambda,
                ..top(on, 3)
            };
            let fit = quiet(&x, &dictionary, &options).unwrap();
            assert!(
                fit.explained_variance > 0.9,
                "{lambda:?} {}",
                fit.explained_variance
            );
        }
    }
}

#[test]
fn without_time_there_is_still_a_result() {
    for words in ["6*circle", "2*circle,sphere,euclidean:2/monomials:2"] {
        let dictionary: Dictionary = words.parse().unwrap();
        let x = made(&dictionary, 500, 10, Some(2), 0.1).x;
        let options = FitOptions {
            max_seconds: Some(0.0),
            ..top(2, 4)
        };
        let fit = quiet(&x, &dictionary, &options).unwrap();
        assert!(!fit.converged && fit.status == Status::TimeLimit, "{words}");
        assert!(fit.explained_variance > 0.0 && fit.objective.is_finite());
        assert!(fit.model.decoder().iter().all(|w| w.is_finite()));
        assert!(fit.gates().sum() > 250.0);
    }
}

#[test]
fn more_atoms_than_rows_and_fewer_rows_than_features_are_fitted() {
    let x = made(&circles(3), 9, 5, Some(1), 0.1).x;
    let mixed = "5*sphere,6*euclidean:2/monomials:2";
    for (words, k) in [
        ("20*circle", 2),
        ("9*sphere", 3),
        ("7*torus", 1),
        (mixed, 3),
    ] {
        let dictionary: Dictionary = words.parse().unwrap();
        for rows in [2, 9] {
            let x = x.slice(s![..rows, ..]).to_owned();
            let fit = quiet(&x, &dictionary, &top(k, 3)).unwrap();
            assert!(
                fit.explained_variance > 0.9,
                "{words} {rows}: {}",
                fit.explained_variance
            );
            assert!(fit.model.decoder().iter().all(|w| w.is_finite()));
            // Without a penalty nothing determines a decoder, or something does: never a panic.
            let options = FitOptions {
                lambda: Some(0.0),
                ..top(k, 3)
            };
            if let Ok(fit) = quiet(&x, &dictionary, &options) {
                assert!(fit.model.decoder().iter().all(|w| w.is_finite()), "{words}");
            }
        }
        let one = x.slice(s![..1, ..]).to_owned();
        let refused = quiet(&one, &dictionary, &top(k, 3));
        assert!(
            matches!(refused, Err(FitError::NoVariation(_))),
            "{refused:?}"
        );
    }
}

#[test]
fn as_many_as_there_are_is_all_and_more_are_refused() {
    let dictionary = circles(2);
    let x = made(&dictionary, 60, 6, None, 0.1).x;
    let all = quiet(&x, &dictionary, &few(2)).unwrap();
    let both = quiet(&x, &dictionary, &top(2, 2)).unwrap();
    assert_eq!(all.objective, both.objective);
    for k in [0, 3] {
        let refused = quiet(&x, &dictionary, &top(k, 2));
        assert!(matches!(
            refused,
            Err(FitError::Option {
                option: "top-k",
                ..
            })
        ));
    }
}

#[test]
fn huge_and_tiny_rows_decide_as_rows_of_the_usual_size_do() {
    let dictionary = circles(5);
    let x = made(&dictionary, 300, 8, Some(2), 0.1).x;
    let options = FitOptions {
        pulls: Pulls::Fp64,
        ..top(2, 3)
    };
    let fit = quiet(&x, &dictionary, &options).unwrap();
    // Powers of two change no digit. Squares of such rows have no room, so the objective has none.
    for scale in [2.0_f64.powi(500), 2.0_f64.powi(-400)] {
        let other = quiet(&(scale * &x), &dictionary, &options).unwrap();
        assert_eq!(fit.gates(), other.gates());
        let same = (fit.explained_variance - other.explained_variance).abs() < 1e-12;
        assert!(same && fit.start == other.start && fit.iterations == other.iterations);
    }
    let mut one: Array2<f64> = x.clone();
    one.row_mut(3).mapv_inplace(|v| 1e200 * v);
    let fit = quiet(&one, &dictionary, &options).unwrap();
    assert!(fit.explained_variance > 0.99 && fit.model.decoder().iter().all(|w| w.is_finite()));
}

#[test]
fn a_column_alone_is_fitted() {
    // Both lines of every circle are one direction: the short axis is rounding.
    let x = Array2::from_shape_fn((120, 1), |(i, _)| {
        (1.7 * i as f64).sin() + 0.1 * (i % 7) as f64
    });
    for words in ["4*circle", "3*euclidean:2", "2*sphere,circle/harmonics:2"] {
        let dictionary: Dictionary = words.parse().unwrap();
        let fit = quiet(&x, &dictionary, &top(1, 3)).unwrap();
        assert!(
            fit.explained_variance > 0.9,
            "{words}: {}",
            fit.explained_variance
        );
    }
}
