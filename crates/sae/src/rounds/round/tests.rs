//! The objective of a round equals that of the residual rows, and finishing makes no row worse.

use super::*;
use crate::iterate::coordinates::{Coordinates, Gates};
use crate::iterate::point::{Frozen, Point};
use crate::rounds::explore::Explorer;
use ndarray::Array2;
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const MIXED: [&str; 4] = [
    "6*circle",
    "2*circle,circle/harmonics:2,euclidean:1/monomials:2",
    "3*circle,torus,sphere,euclidean:2/monomials:2,euclidean:1",
    "2*euclidean:2/monomials:2,sphere/spherical:2",
];

fn rows(n: usize, p: usize, rng: &mut ChaCha8Rng) -> Data {
    // Columns of different sizes, with an offset.
    let x = Array2::from_shape_fn((n, p), |(_, c)| {
        3.0 + (rng.random::<f64>() - 0.5) / (1 + c) as f64
    });
    Data::normalised(x.view()).unwrap()
}

/// The objective of a state, computed from residual rows.
fn objective(
    data: &Data,
    dictionary: &Dictionary,
    penalty: Penalty,
    places: (Coordinates, Gates),
) -> f64 {
    let layout = Layout::new(dictionary, &places.1, data.outputs()).unwrap();
    let model = Frozen {
        data,
        dictionary,
        layout: &layout,
        penalty,
    };
    let (point, _) = Point::projected(&model, places.0).unwrap();
    point.objective.value
}

/// `(|x - c - W'phi|^2 + kappa |t|^2) / 2` of every row under the state's decoder.
fn row_objectives(ground: &Ground<'_>, kappa: f64, state: &RoundState) -> Vec<f64> {
    let of = |i: usize| {
        let mut r: Vec<f64> = (ground
            .data
            .flat()
            .chunks_exact(ground.data.outputs())
            .nth(i)
            .unwrap()
            .iter())
        .zip(&state.decoder.intercept)
        .map(|(x, c)| x - c)
        .collect();
        let (p, mut spread) = (r.len(), 0.0);
        for (a, phi, t) in state.codes.row(i) {
            for (&v, at) in phi.iter().zip(ground.arrangement.place(a).all()) {
                axpy(-v, &state.decoder.lines[at * p..][..p], &mut r);
            }
            let atom = ground.dictionary.atoms()[a];
            for part in atom.topology().flat() {
                let t = &t[part.stored];
                spread += dot(t, t);
            }
        }
        0.5 * (dot(&r, &r) + kappa * spread)
    };
    (0..ground.data.rows()).map(of).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn a_rounds_objective_is_that_of_residual_rows(
        seed in any::<u64>(), which in 0..MIXED.len(), n in 40..600_usize, slots in 1..3_usize,
        lambda in 1e-3..2.0_f64, kappa in 0.0..0.4_f64, swaps in any::<bool>(),
    ) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let dictionary: Dictionary = MIXED[which].parse().unwrap();
        let data = rows(n, 12, &mut rng);
        let arrangement = Arrangement::of(&dictionary);
        let swaps = if swaps { Swaps::All } else { Swaps::Cheap };
        let ground = Ground { swaps, ..Ground::new(&data, &dictionary, &arrangement) };
        let penalty = Penalty { lambda, kappa };
        let mut explorer = Explorer::new(ground, penalty, slots);
        let decoder = explorer.random_decoder(&mut rng);
        let mut state = explorer.state(decoder).unwrap();
        for choice in [Choice::Anew, Choice::Anew, Choice::Better, Choice::Stay] {
            explorer.round(choice, &mut state).unwrap();
            let places = state.codes.places(&dictionary, &arrangement);
            let direct = objective(&data, &dictionary, penalty, places);
            let size = ground.square();
            prop_assert!(
                (state.objective - direct).abs() < 1e-10 * direct.max(1e-4 * size),
                "{choice:?} {} {direct}", state.objective
            );
        }
    }

    #[test]
    fn a_finishing_pass_raises_no_rows_objective(
        seed in any::<u64>(), which in 0..MIXED.len(), slots in 1..4_usize, kappa in 0.0..0.4_f64,
        swaps in any::<bool>(),
    ) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let dictionary: Dictionary = MIXED[which].parse().unwrap();
        let slots = slots.min(dictionary.len());
        let data = rows(300, 12, &mut rng);
        let arrangement = Arrangement::of(&dictionary);
        let swaps = if swaps { Swaps::All } else { Swaps::Cheap };
        let ground = Ground { swaps, ..Ground::new(&data, &dictionary, &arrangement) };
        let penalty = Penalty { lambda: 0.1, kappa };
        let mut explorer = Explorer::new(ground, penalty, slots);
        let decoder = explorer.random_decoder(&mut rng);
        let mut state = explorer.state(decoder).unwrap();
        explorer.round(Choice::Anew, &mut state).unwrap();
        let mut bench = ground.bench(slots);
        for _ in 0..2 {
            let before = row_objectives(&ground, kappa, &state);
            ground.pass(&mut bench, kappa, Choice::Better, &mut state);
            let after = row_objectives(&ground, kappa, &state);
            for (i, (before, after)) in before.iter().zip(&after).enumerate() {
                prop_assert!(*after <= before + 1e-11 * (1.0 + before), "{i}: {after} after {before}");
                prop_assert!((2.0 * after - state.squares[i]).abs() < 1e-10 * (1.0 + before));
            }
        }
    }
}
