//! Made data: rows of a known dictionary plus noise.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses its own part"
)]

use broadhead_sae::model::factor::Factor;
use broadhead_sae::model::file::Note;
use broadhead_sae::*;
use ndarray::{Array2, ArrayView2};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use std::f64::consts::PI;

/// Rows with what made them.
pub struct Made {
    pub x: Array2<f64>,
    pub coordinates: Array2<f64>,
    pub gates: Array2<f64>,
}

/// `n` rows of `dictionary` in `p` columns; `on` atoms a row (all where it is `None`).
pub fn made(dictionary: &Dictionary, n: usize, p: usize, on: Option<usize>, noise: f64) -> Made {
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let m = dictionary.features();
    let normal = |rng: &mut ChaCha8Rng| -> f64 { StandardNormal.sample(rng) };
    let mut decoder = Array2::from_shape_fn((m, p), |_| normal(&mut rng));
    // First degrees and harmonics lead, as they do where a curve is smooth.
    for (a, atom) in dictionary.atoms().iter().enumerate() {
        let leading: usize = match (atom.topology(), atom.basis()) {
            (Topology::Circle, _) => 2,
            (Topology::Sphere, _) => 3,
            (Topology::Euclidean { dimension }, _) => dimension,
            _ => 0,
        };
        // Of a product the functions of one factor alone lead.
        let both = |f: usize, side: usize| (f + 1) / side > 0 && !(f + 1).is_multiple_of(side);
        let follows = |f: usize| match (atom.topology(), atom.basis()) {
            (Topology::Torus, Basis::Harmonics { highest }) => both(f, 2 * highest + 1),
            (Topology::Cylinder, _) => both(f, 2),
            _ => f >= leading,
        };
        let first = dictionary.atom_features(a).start;
        for f in (0..atom.width()).filter(|&f| follows(f)) {
            decoder.row_mut(first + f).mapv_inplace(|w| 0.3 * w);
        }
    }
    let mut x = Array2::zeros((n, p));
    let mut coordinates = Array2::zeros((n, dictionary.columns()));
    let mut gates = Array2::zeros((n, dictionary.len()));
    for i in 0..n {
        let mut phi = vec![0.0; m];
        phi[0] = 1.0;
        for a in 0..dictionary.len() {
            // Rows take turns, so that every atom has its share.
            let is_on = on.is_none_or(|on| (i + a) % dictionary.len() < on);
            if !is_on {
                continue;
            }
            let atom = dictionary.atoms()[a];
            gates[(i, a)] = match atom.is_cone() {
                true => rng.random_range(0.3..1.7),
                false => 1.0,
            };
            let angle = |c: usize| {
                let part = (atom.topology().factors()).find(|part| part.stored.contains(&c));
                part.is_some_and(|part| part.factor == Factor::Circle)
            };
            let t: Vec<f64> = (0..atom.stored())
                .map(|c| match angle(c) {
                    true => rng.random_range(-PI..PI),
                    false => normal(&mut rng),
                })
                .collect();
            let t = atom.topology().projected(&t).unwrap();
            let values = atom.base().evaluate(&t).unwrap();
            for (f, v) in dictionary.atom_features(a).zip(values) {
                phi[f] = gates[(i, a)] * v;
            }
            for (c, t) in dictionary.atom_columns(a).zip(t) {
                coordinates[(i, c)] = t;
            }
        }
        for c in 0..p {
            let signal: f64 = (0..m).map(|f| phi[f] * decoder[(f, c)]).sum();
            x[(i, c)] = signal + noise * normal(&mut rng);
        }
    }
    Made {
        x,
        coordinates,
        gates,
    }
}

/// One atom of `topology` with its default basis.
pub fn one(topology: Topology) -> Dictionary {
    Dictionary::uniform(1, topology, Basis::default_for(topology)).unwrap()
}

/// A fit without progress.
pub fn quiet(
    x: &Array2<f64>,
    dictionary: &Dictionary,
    options: &FitOptions,
) -> Result<Fit, FitError> {
    fit(x.view(), dictionary, options, &go_on)
}

/// Options with few starts.
pub fn few(starts: usize) -> FitOptions {
    FitOptions {
        starts,
        ..FitOptions::default()
    }
}

/// The accepted objectives in order.
pub fn accepted(fit: &Fit) -> Vec<f64> {
    fit.trace
        .iter()
        .filter(|entry| entry.accepted)
        .filter_map(|entry| entry.objective)
        .collect()
}

/// Encodes under a decoder of the test's own, without a penalty.
pub fn encode(
    x: ArrayView2<'_, f64>,
    dictionary: &Dictionary,
    decoder: ArrayView2<'_, f64>,
    options: &EncodeOptions,
) -> Result<Encoding, FitError> {
    let note = Note {
        dictionary: dictionary.clone(),
        gates: "all".to_owned(),
        kappa: 0.0,
        lambda: None,
    };
    Model::new(note, decoder.to_owned())?.encode(x, options)
}
