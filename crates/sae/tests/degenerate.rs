//! Degenerate data and what must change nothing: common offsets and units, rows that do not vary,
//! one row that is most of the squares, numbers at the ends of their range.

mod common;

use broadhead_sae::*;
use common::{encode, few, made, one, quiet};
use ndarray::{Array1, Array2, ArrayView2, Axis, s};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// What a fit decided, trial by trial, and where it ended.
fn decisions(fit: &Fit) -> (Vec<(bool, u64)>, usize, String) {
    let trials = fit.trace.iter().map(|e| (e.accepted, e.ridge.to_bits()));
    (trials.collect(), fit.start, format!("{:?}", fit.status))
}

/// `x` with `offset` on its columns as FP64 holds that, and the same numbers less the offset again.
fn offset_pair(x: &Array2<f64>, offset: &Array1<f64>) -> (Array2<f64>, Array2<f64>) {
    let moved = x + offset;
    let back = &moved - offset;
    (moved, back)
}

/// Coordinates agree; angles up to a turn.
fn assert_near(a: &Array2<f64>, b: &Array2<f64>, angles: bool, tolerance: f64, what: &str) {
    for ((at, a), b) in a.indexed_iter().zip(b) {
        let difference = if angles { (a - b).sin() } else { a - b };
        assert!(difference.abs() < tolerance, "{what} {at:?}: {a} {b}");
        assert!(!angles || (a - b).cos() > 0.0, "{what} {at:?}: {a} {b}");
    }
}

#[test]
fn a_common_offset_of_any_size_changes_no_decision() {
    for (topology, angles) in [
        (Topology::Circle, true),
        (Topology::Sphere, false),
        (Topology::Euclidean { dimension: 2 }, false),
    ] {
        let dictionary = one(topology);
        let x = made(&dictionary, 90, 8, None, 0.2).x;
        for size in [1.0, 1e4, 1e8, 1.7e9, 1e12] {
            let alike = Array1::from_elem(8, size);
            let differing = Array1::from_shape_fn(8, |c| size * [1.0, -0.3, 0.0, 2.5][c % 4]);
            for offset in [alike, differing] {
                let what = format!("{topology} {size:e}");
                let (moved, back) = offset_pair(&x, &offset);
                let base = quiet(&back, &dictionary, &few(2)).unwrap();
                let fit = quiet(&moved, &dictionary, &few(2)).unwrap();
                assert_eq!(decisions(&fit), decisions(&base), "{what}");
                assert!(fit.converged, "{what}");
                let share = fit.explained_variance - base.explained_variance;
                assert!(share.abs() < 1e-12, "{what}: {share:e}");
                let ratio = fit.objective / base.objective - 1.0;
                assert!(ratio.abs() < 1e-10, "{what}: {ratio:e}");
                let found = (&fit.coordinates(), &base.coordinates());
                assert_near(found.0, found.1, angles, 1e-7, &what);
                // Beside an offset the intercept has the digits that the rows have.
                for c in 0..8 {
                    let intercept =
                        fit.model.decoder()[(0, c)] - offset[c] - base.model.decoder()[(0, c)];
                    let rounding = 4.0 * f64::EPSILON * offset[c].abs() + 1e-8;
                    assert!(intercept.abs() < rounding, "{what} {c}: {intercept}");
                }
                let atoms = (
                    fit.model.decoder().slice_move(s![1.., ..]),
                    base.model.decoder().slice_move(s![1.., ..]),
                );
                assert_near(&atoms.0.to_owned(), &atoms.1.to_owned(), false, 1e-7, &what);
            }
        }
    }
}

#[test]
fn scaling_and_shifting_change_no_decision() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let cases = [
        (one(Topology::Circle), None),
        (one(Topology::Euclidean { dimension: 1 }), None),
        (
            Dictionary::uniform(2, Topology::Circle, Basis::Harmonics { highest: 1 }).unwrap(),
            Some(1),
        ),
    ];
    for (dictionary, on) in &cases {
        let x = made(dictionary, 80, 7, *on, 0.3).x;
        let options = FitOptions {
            gates: on.map_or(GatePolicy::All, GatePolicy::TopK),
            ..few(2)
        };
        let base = quiet(&x, dictionary, &options).unwrap();
        for _ in 0..6 {
            let size = 10.0_f64.powf(rng.random_range(-1.0..3.0));
            let shift = Array1::from_shape_fn(7, |_| size * rng.random_range(-1.0..1.0));
            let a = 10.0_f64.powf(rng.random_range(-120.0..120.0));
            let moved = (&x + &shift) * a;
            let fit = quiet(&moved, dictionary, &options).unwrap();
            let what = format!("{a:e} {size:e}");
            assert_eq!(decisions(&fit), decisions(&base), "{what}");
            assert_eq!(fit.gates(), base.gates(), "{what}");
            let share = fit.explained_variance - base.explained_variance;
            assert!(share.abs() < 1e-11, "{what}: {share:e}");
        }
    }
}

#[test]
fn rows_that_do_not_vary_are_refused() {
    let rows: [(Array2<f64>, &str); 5] = [
        (Array2::zeros((20, 4)), "all 20 are zero"),
        (Array2::from_elem((50, 4), 0.1), "which is rounding"),
        (Array2::from_elem((1, 4), 0.1), "one row only"),
        (
            Array2::from_shape_fn((50, 4), |(i, j)| 1e12 + 1e-4 * ((i * j) % 5) as f64),
            "which is rounding",
        ),
        (Array2::from_elem((3, 1), 1e300), "which is rounding"),
    ];
    for (x, words) in rows {
        for topology in [
            Topology::Circle,
            Topology::Torus,
            Topology::Cylinder,
            Topology::Sphere,
            Topology::Euclidean { dimension: 1 },
        ] {
            let error = quiet(&x, &one(topology), &few(2)).unwrap_err();
            assert!(matches!(error, FitError::NoVariation(_)), "{error}");
            let said = error.to_string();
            assert!(said.starts_with("the rows do not vary"), "{said}");
            assert!(said.contains(words), "{said}");
        }
    }
}

#[test]
fn columns_and_directions_that_do_not_vary_are_fitted() {
    let circle = made(&one(Topology::Circle), 60, 3, None, 0.1).x;
    let mut x = Array2::from_elem((60, 7), 1e6);
    x.slice_mut(s![.., 2..5]).assign(&circle);
    let line = Array2::from_shape_fn((60, 4), |(i, j)| 3.0 + (i as f64 * 0.37).sin() * j as f64);
    for x in [x, line] {
        for topology in [
            Topology::Circle,
            Topology::Torus,
            Topology::Cylinder,
            Topology::Sphere,
            Topology::Euclidean { dimension: 1 },
        ] {
            let fit = quiet(&x, &one(topology), &few(2)).unwrap();
            let share = fit.explained_variance;
            assert!((0.0..=1.0).contains(&share), "{topology}: {share}");
            // A torus or a cylinder has more freedom than such rows can settle in 200 iterations.
            let free = matches!(topology, Topology::Torus | Topology::Cylinder);
            assert!(fit.converged || free, "{topology}");
            assert!(
                fit.coordinates()
                    .iter()
                    .chain(fit.model.decoder())
                    .all(|v| v.is_finite())
            );
        }
    }
}

#[test]
fn clusters_and_atoms_without_spread_leave_no_nan() {
    // Two distinct rows, 25 times each, and five atoms that choose among them.
    let x = Array2::from_shape_fn((50, 3), |(i, j)| if i % 2 == 0 { j as f64 } else { 5.0 });
    for topology in [
        Topology::Circle,
        Topology::Cylinder,
        Topology::Sphere,
        Topology::Euclidean { dimension: 2 },
    ] {
        let basis = Basis::default_for(topology);
        let dictionary = Dictionary::uniform(5, topology, basis).unwrap();
        let options = FitOptions {
            gates: GatePolicy::TopK(1),
            ..few(4)
        };
        let fit = quiet(&x, &dictionary, &options).unwrap();
        // Coordinates that no row tells apart do not stop any start.
        for start in fit.starts.iter().filter(|_| topology.has_flat()) {
            assert!(start.error.is_none(), "{topology}: {start:?}");
        }
        let share = fit.explained_variance;
        assert!(share > 0.99 && share <= 1.0, "{topology}: {share}");
        assert!(
            fit.model.decoder().iter().all(|w| w.is_finite()),
            "{topology}"
        );
        for ((i, c), t) in fit.coordinates().indexed_iter() {
            let atom = (0..5)
                .find(|&a| dictionary.atom_columns(a).contains(&c))
                .unwrap();
            assert_eq!(
                t.is_finite(),
                fit.gates()[(i, atom)] != 0.0,
                "{topology} {i} {c}"
            );
        }
    }
}

#[test]
fn one_row_of_a_thousand_norms_is_named_and_the_median_row_tells_of_the_others() {
    let dictionary = one(Topology::Circle);
    let mut x = made(&dictionary, 60, 6, None, 0.1).x;
    let before = quiet(&x, &dictionary, &few(2)).unwrap();
    assert!(!before.variation.largest_row.is_most());
    x.row_mut(7).mapv_inplace(|v| 1000.0 * v);
    let fit = quiet(&x, &dictionary, &few(2)).unwrap();
    let Variation {
        unexplained,
        median_row,
        largest_row,
        ..
    } = fit.variation;
    assert!(largest_row.index == 7 && largest_row.share > 0.98 && largest_row.is_most());
    assert!(unexplained > 0.0 && unexplained < 1e-3, "{unexplained}");
    assert!(median_row < fit.explained_variance, "{median_row}");
    // The same from the rows themselves.
    let mean = x.mean_axis(Axis(0)).unwrap();
    let spread: Vec<f64> = (x.rows().into_iter())
        .map(|row| (&row - &mean).mapv(|v| v * v).sum())
        .collect();
    let total: f64 = spread.iter().sum();
    assert!((largest_row.share / (spread[7] / total) - 1.0).abs() < 1e-12);
    let mut each: Vec<f64> = (fit.squared_error.iter().zip(&spread))
        .map(|(error, spread)| 1.0 - error / spread)
        .collect();
    each.sort_by(f64::total_cmp);
    assert!((median_row - 0.5 * (each[29] + each[30])).abs() < 1e-9);
    let left = fit.squared_error.sum() / total;
    assert!(
        (unexplained / left - 1.0).abs() < 1e-9,
        "{unexplained} {left}"
    );
}

/// A fitted circle, or plane, and its rows.
fn fitted(topology: Topology) -> (Dictionary, Array2<f64>, Fit) {
    let dictionary = one(topology);
    let x = made(&dictionary, 40, 6, None, 0.05).x;
    let fit = quiet(&x, &dictionary, &few(2)).unwrap();
    (dictionary, x, fit)
}

fn encoded(x: &Array2<f64>, dictionary: &Dictionary, decoder: ArrayView2<'_, f64>) -> Encoding {
    encode(x.view(), dictionary, decoder, &EncodeOptions::default()).unwrap()
}

#[test]
fn an_encoding_does_not_see_a_common_offset() {
    for topology in [Topology::Circle, Topology::Euclidean { dimension: 2 }] {
        let (dictionary, x, fit) = fitted(topology);
        let angles = !topology.has_flat();
        for size in [1.0, 1e4, 1e8, 1.7e9, 1e12] {
            let offset = Array1::from_shape_fn(6, |c| size * [1.0, -0.3, 2.5][c % 3]);
            // The intercept on the grid of the rows' own rounding.
            let mut decoder = fit.model.decoder().to_owned();
            let (moved, back) = offset_pair(&x, &offset);
            let mut plain = fit.model.decoder().to_owned();
            for c in 0..6 {
                decoder[(0, c)] += offset[c];
                plain[(0, c)] = decoder[(0, c)] - offset[c];
            }
            let (a, b) = (
                encoded(&moved, &dictionary, decoder.view()),
                encoded(&back, &dictionary, plain.view()),
            );
            let what = format!("{topology} {size:e}");
            assert_eq!(a.converged, b.converged, "{what}");
            assert_near(&a.coordinates, &b.coordinates, angles, 1e-7, &what);
            let (a, b) = (a.variation.unwrap(), b.variation.unwrap());
            assert!((a.unexplained / b.unexplained - 1.0).abs() < 1e-9, "{what}");
        }
    }
}

#[test]
fn rows_of_another_scale_are_encoded_without_nan() {
    for topology in [
        Topology::Circle,
        Topology::Torus,
        Topology::Cylinder,
        Topology::Sphere,
        Topology::Euclidean { dimension: 2 },
    ] {
        let (dictionary, x, fit) = fitted(topology);
        let intercept = fit.model.decoder().row(0).to_owned();
        for a in [1e-300, 1e-200, 1e-9, 1.0, 1e9, 1e60, 1e200, 1e300] {
            let what = format!("{topology} {a:e}");
            let rows = &x * a;
            let found = encoded(&rows, &dictionary, fit.model.decoder());
            assert!(found.coordinates.iter().all(|t| t.is_finite()), "{what}");
            assert!(found.squared_error.iter().all(|e| !e.is_nan()), "{what}");
            // Squares that FP64 can hold are there.
            let held = found.squared_error.iter().all(|e| e.is_finite());
            assert_eq!(held, a < 1e150, "{what}");
            let all = found.converged.iter().all(|done| *done);
            // Only a coordinate without bounds leaves the range.
            let within = a < 1e100 || !topology.has_flat();
            // On a cylinder an angle's curvature goes with the square of the height: further out than the
            // digits of both, a search may stop and says so.
            if topology != Topology::Cylinder || a < 1e10 || !within {
                assert_eq!(all, within, "{what}: {:?}", found.converged);
            }
            if topology == Topology::Circle && a >= 1e9 {
                // The intercept is nothing beside them: all such rows have the same angles.
                let far = encoded(&(&x * 1e40), &dictionary, fit.model.decoder());
                assert_near(&found.coordinates, &far.coordinates, true, 1e-6, &what);
            }
            if matches!(topology, Topology::Euclidean { .. }) && within && a >= 1.0 {
                // First degrees: W_1 W_1' t = W_1 (x - w_0).
                let lines = fit.model.decoder().slice_move(s![1.., ..]);
                let rest = &rows - &intercept;
                let pull = rest.dot(&lines.t());
                let reached = found.coordinates.dot(&lines.dot(&lines.t()));
                let size = pull.iter().fold(0.0_f64, |m, v| m.max(v.abs()));
                for (a, b) in pull.iter().zip(&reached) {
                    assert!((a - b).abs() < 1e-6 * size, "{what}: {a} {b}");
                }
            }
        }
    }
}

#[test]
fn models_and_rows_at_the_ends_of_the_range_end_without_nan() {
    let (dictionary, x, fit) = fitted(Topology::Circle);
    let base = encoded(&x, &dictionary, fit.model.decoder());
    // Everything in other units: nothing changes but those.
    for a in [1e-300, 1e-170, 1e170, 1e300] {
        let found = encoded(&(&x * a), &dictionary, (&fit.model.decoder() * a).view());
        assert!(found.converged.iter().all(|done| *done), "{a:e}");
        assert_near(
            &found.coordinates,
            &base.coordinates,
            true,
            1e-7,
            &format!("{a:e}"),
        );
        let (share, of) = (found.variation.unwrap(), base.variation.unwrap());
        assert!(
            (share.unexplained / of.unexplained - 1.0).abs() < 1e-9,
            "{a:e}"
        );
    }
    for (topology, at) in [
        (Topology::Circle, [(0, 0), (1, 2), (2, 5)]),
        (
            Topology::Euclidean { dimension: 2 },
            [(0, 1), (1, 1), (2, 4)],
        ),
    ] {
        let (dictionary, x, fit) = fitted(topology);
        for at in at {
            for value in [1.3e308, -1.3e308, 1e-320] {
                let mut decoder = fit.model.decoder().to_owned();
                decoder[at] = value;
                for rows in [x.clone(), x.mapv(|v| v.signum() * f64::MAX)] {
                    let found = encoded(&rows, &dictionary, decoder.view());
                    let what = format!("{topology} {at:?} {value:e}");
                    assert!(found.coordinates.iter().all(|t| t.is_finite()), "{what}");
                    assert!(found.squared_error.iter().all(|e| !e.is_nan()), "{what}");
                }
            }
        }
    }
}

#[test]
fn amplitudes_that_overflow_end_the_work_and_are_not_called_converged() {
    let (dictionary, x, fit) = fitted(Topology::Circle);
    for amplitude in [1e160, 1e300] {
        let gates = GatePolicy::Given(Array2::from_elem((40, 1), amplitude));
        let options = EncodeOptions {
            gates: Some(gates.clone()),
            ..EncodeOptions::default()
        };
        let found = encode(x.view(), &dictionary, fit.model.decoder(), &options).unwrap();
        assert!(found.converged.iter().all(|done| !done), "{amplitude:e}");
        assert!(
            found.coordinates.iter().all(|t| t.is_finite()),
            "{amplitude:e}"
        );
        let options = FitOptions { gates, ..few(1) };
        assert!(quiet(&x, &dictionary, &options).is_err(), "{amplitude:e}");
    }
}

#[test]
fn copies_of_one_row_are_encoded_without_an_explained_variance() {
    let (dictionary, x, fit) = fitted(Topology::Circle);
    let mean = x.mean_axis(Axis(0)).unwrap();
    let copies = Array2::from_shape_fn((9, 6), |(_, c)| mean[c]);
    let found = encoded(&copies, &dictionary, fit.model.decoder());
    let reason = found.variation.unwrap_err();
    assert!(matches!(reason, NoExplanation::NoVariation(_)), "{reason}");
    assert!(found.squared_error.iter().all(|e| e.is_finite()));
    // Rows about a millionth of FP64's range away from a dictionary: no ratio.
    let found = encoded(&(&x * 1e-200), &dictionary, fit.model.decoder());
    assert_eq!(found.variation.unwrap_err(), NoExplanation::Overflow);
}
