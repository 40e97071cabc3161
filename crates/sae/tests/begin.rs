//! Where a fit begins and what it is shown: from a model, and with rows held out.

mod common;

use broadhead_sae::*;
use common::{few, made, one, quiet};
use ndarray::{Array2, Axis, s};

fn circles(count: usize) -> Dictionary {
    Dictionary::uniform(count, Topology::Circle, Basis::Harmonics { highest: 1 }).unwrap()
}

fn held(x: &Array2<f64>, d: &Dictionary, o: &FitOptions, share: f64) -> (Fit, HeldOut) {
    let (fit, held) = fit_holding_out(&Place::default(), x.view(), d, o, share, &go_on).unwrap();
    (fit, held.unwrap())
}

/// Rows that choose and rows that do not.
fn cases() -> [(Dictionary, FitOptions, Array2<f64>); 2] {
    let chosen = FitOptions {
        gates: GatePolicy::TopK(2),
        ..few(3)
    };
    let five = circles(5);
    let rows = made(&five, 240, 20, Some(2), 0.1).x;
    let circle = one(Topology::Circle);
    let simple = made(&circle, 90, 8, None, 0.1).x;
    [(five, chosen, rows), (circle, few(2), simple)]
}

#[test]
fn rows_held_out_do_not_touch_the_fit_and_are_encoded_in_their_places() {
    for (dictionary, options, x) in cases() {
        let (fit, out) = held(&x, &dictionary, &options, 0.25);
        let n = x.nrows();
        assert_eq!(out.rows.len(), (0.25 * n as f64).round() as usize);
        assert!(out.rows.is_sorted_by(|a, b| a < b) && out.rows.iter().all(|&i| i < n));
        let training: Vec<usize> = (0..n).filter(|i| !out.rows.contains(i)).collect();
        let alone = quiet(&x.select(Axis(0), &training), &dictionary, &options).unwrap();
        let bits = |array: &Array2<f64>| array.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(fit.model, alone.model);
        assert_eq!(
            bits(&fit.coordinates().select(Axis(0), &training)),
            bits(&alone.coordinates())
        );
        assert_eq!(fit.objective.to_bits(), alone.objective.to_bits());
        assert!(training.contains(&fit.variation.largest_row.index));
        let unseen = x.select(Axis(0), &out.rows);
        let found = (fit.model)
            .encode(unseen.view(), &EncodeOptions::default())
            .unwrap();
        assert_eq!(fit.gates().select(Axis(0), &out.rows), found.gates);
        assert_eq!(
            bits(&fit.coordinates().select(Axis(0), &out.rows)),
            bits(&found.coordinates)
        );
        // By hand, where offsets take no digits.
        let mean = x.select(Axis(0), &training).mean_axis(Axis(0)).unwrap();
        let spread = (&unseen - &mean).mapv(|v| v * v).sum();
        let want = 1.0 - found.squared_error.sum() / spread;
        let got = out.explained_variance.unwrap();
        assert!((got - want).abs() < 1e-12 && got > 0.8, "{got} {want}");
        // Another seed, other rows.
        let other = FitOptions { seed: 7, ..options };
        assert_ne!(held(&x, &dictionary, &other, 0.25).1.rows, out.rows);
    }
}

#[test]
fn an_offset_does_not_change_what_held_out_rows_have_explained() {
    let (dictionary, options, x) = cases().into_iter().last().unwrap();
    let (_, plain) = held(&x, &dictionary, &options, 0.3);
    for offset in [1e4, 1e8] {
        let (_, moved) = held(&(&x + offset), &dictionary, &options, 0.3);
        assert_eq!(moved.rows, plain.rows);
        let (a, b) = (
            moved.explained_variance.unwrap(),
            plain.explained_variance.unwrap(),
        );
        assert!((a - b).abs() < 1e-5, "{offset:e}: {a} {b}");
    }
}

#[test]
fn shares_that_leave_no_row_on_a_side_are_refused() {
    let dictionary = one(Topology::Circle);
    let x = made(&dictionary, 10, 4, None, 0.1).x;
    for share in [0.04, 0.96, 1.0, -0.1, f64::NAN] {
        let found = fit_holding_out(
            &Place::default(),
            x.view(),
            &dictionary,
            &few(1),
            share,
            &go_on,
        );
        let error = found.err().unwrap();
        assert!(
            matches!(
                error,
                FitError::Option {
                    option: "holdout",
                    ..
                }
            ),
            "{share}: {error}"
        );
    }
    let (_, none) = fit_holding_out(
        &Place::default(),
        x.view(),
        &dictionary,
        &few(1),
        0.0,
        &go_on,
    )
    .unwrap();
    assert_eq!(none, None);
}

#[test]
fn a_fit_from_a_converged_model_ends_at_once_where_it_was() {
    let apart = FitOptions {
        gates: GatePolicy::TopK(1),
        ..few(6)
    };
    let rows = made(&circles(3), 240, 20, Some(1), 0.05).x;
    let [_, simple] = cases();
    for (dictionary, options, x) in [(circles(3), apart, rows), simple] {
        let first = quiet(&x, &dictionary, &options).unwrap();
        assert!(first.converged);
        let again = FitOptions {
            start: Some(first.model.clone()),
            starts: 5,
            ..options
        };
        let second = quiet(&x, &dictionary, &again).unwrap();
        let change = second.objective / first.objective - 1.0;
        assert!(change.abs() <= 1e-9, "{change:e}");
        assert!(
            second.converged && second.iterations <= 8,
            "{}",
            second.iterations
        );
        assert_eq!(second.starts.len(), 1);
        assert_eq!(second.starts[0].kind, StartKind::Model);
        assert_eq!(second.lambda, first.lambda);
        // From a start that is no minimum it goes down.
        let mut decoder = first.model.decoder().to_owned();
        decoder.slice_mut(s![1.., ..]).mapv_inplace(|w| 1.3 * w);
        let text = serde_json::json!({
            "atoms": serde_json::to_value(&dictionary).unwrap()["atoms"], "kappa": 0.0,
        });
        let note: model::file::Note = serde_json::from_value(text).unwrap();
        let off = Model::new(note, decoder).unwrap();
        assert_eq!(off.lambda(), None);
        let third = quiet(
            &x,
            &dictionary,
            &FitOptions {
                start: Some(off),
                ..again
            },
        )
        .unwrap();
        assert!((third.objective / first.objective - 1.0).abs() < 1e-4);
    }
}

/// Where relocation finds a better state the fit takes it; it never ends above what its rows chose first.
#[test]
fn a_fit_from_a_model_never_ends_above_its_rows_first_choice() {
    let [(dictionary, options, x), _] = cases();
    let first = quiet(&x, &dictionary, &options).unwrap();
    let again = FitOptions {
        start: Some(first.model.clone()),
        ..options
    };
    let second = quiet(&x, &dictionary, &again).unwrap();
    // A model holds no choices: rows make them anew, one atom after the other.
    let choice = second.gate_rounds[0];
    assert_eq!((choice.iteration, choice.accepted), (0, true));
    assert!(second.objective <= choice.objective * (1.0 + 1e-9));
    assert!(second.explained_variance > 0.9);
}

/// Rounds of a stage, start by start: objectives, and whether they were kept.
fn falls(fit: &Fit, stage: RoundStage) -> Vec<(f64, bool)> {
    let rounds = fit.gate_rounds.iter().filter(|round| round.stage == stage);
    rounds
        .map(|round| (round.objective, round.accepted))
        .collect()
}

/// A row that keeps what is better never raises its own objective, nor the decoder's least squares their sum: what
/// always keeps falls in every round. What never keeps explores as the default does, to the bit, and its finishing
/// rounds are other ones.
#[test]
fn acceptance_decides_in_which_rounds_rows_keep_what_is_better() {
    let dictionary = circles(7);
    let x = made(&dictionary, 300, 12, Some(2), 0.5).x;
    let of = |acceptance| {
        let options = FitOptions {
            gates: GatePolicy::TopK(2),
            acceptance,
            relocation: false,
            ..few(1)
        };
        quiet(&x, &dictionary, &options).unwrap()
    };
    let [usual, always, never] =
        [Acceptance::Finishing, Acceptance::Always, Acceptance::Never].map(of);
    let explored = falls(&always, RoundStage::Exploring);
    assert!(explored.len() > 2, "{explored:?}");
    for pair in explored.windows(2) {
        assert!(pair[1].0 <= pair[0].0 * (1.0 + 1e-12), "{explored:?}");
    }
    let rises = |fit: &Fit| {
        let rounds = falls(fit, RoundStage::Exploring);
        rounds.windows(2).any(|pair| pair[1].0 > pair[0].0)
    };
    assert!(rises(&usual), "{:?}", falls(&usual, RoundStage::Exploring));
    assert_eq!(
        falls(&usual, RoundStage::Exploring),
        falls(&never, RoundStage::Exploring)
    );
    let last = falls(&usual, RoundStage::Finishing);
    assert_ne!(last, falls(&never, RoundStage::Finishing));
    assert!(last[0].1, "{last:?}");
}

#[test]
fn a_model_of_other_atoms_or_columns_starts_no_fit() {
    let (dictionary, options, x) = cases().into_iter().last().unwrap();
    let model = quiet(&x, &dictionary, &options).unwrap().model;
    let from = FitOptions {
        start: Some(model),
        ..options
    };
    let error = quiet(&x, &circles(2), &from).unwrap_err();
    assert!(
        matches!(
            error,
            FitError::Option {
                option: "start",
                ..
            }
        ),
        "{error}"
    );
    let fewer = x.slice(s![.., ..5]).to_owned();
    let error = quiet(&fewer, &dictionary, &from).unwrap_err();
    assert!(matches!(error, FitError::DecoderShape { .. }), "{error}");
}

/// A tile's rows are at stationary points of their own, whatever atoms stand beside the circles, and whatever
/// precision the product was made in.
#[test]
fn rows_that_choose_are_placed_at_stationary_points() {
    let dictionary: Dictionary = "3*circle,2*circle/harmonics:2,2*euclidean:1"
        .parse()
        .unwrap();
    for dictionary in [circles(9), dictionary] {
        let mut x = made(&dictionary, 300, 16, Some(2), 0.3).x;
        let options = FitOptions {
            gates: GatePolicy::TopK(2),
            ..few(2)
        };
        let model = quiet(&x, &dictionary, &options).unwrap().model;
        for single in [false, true] {
            if single {
                x.mapv_inplace(|v| f64::from(v as f32));
            }
            let found = model.encode(x.view(), &EncodeOptions::default()).unwrap();
            assert!(found.converged.iter().all(|done| *done));
            let again = EncodeOptions {
                gates: Some(GatePolicy::Given(found.gates.clone())),
                ..EncodeOptions::default()
            };
            // On the same atoms no better place is found, but for another of several minima.
            let given = model.encode(x.view(), &again).unwrap();
            let (a, b) = (found.squared_error.sum(), given.squared_error.sum());
            assert!(a <= b * (1.0 + 1e-6), "{a} {b}");
            let rebuilt = (model)
                .reconstruct(found.coordinates.view(), found.gates.view())
                .unwrap();
            for (i, square) in found.squared_error.iter().enumerate() {
                let left = &x.row(i) - &rebuilt.row(i);
                assert!((left.dot(&left) - square).abs() <= 1e-10 * x.row(i).dot(&x.row(i)));
            }
        }
    }
}
