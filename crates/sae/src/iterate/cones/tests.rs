//! Laws of the scale of amplitudes.

use super::*;
use crate::iterate::coordinates::Gates;
use crate::iterate::layout::Layout;
use crate::model::basis::Basis;
use crate::model::dictionary::Amplitudes;
use crate::model::topology::Topology;

/// Cones over every topology.
fn cones() -> Vec<Dictionary> {
    let mut all = Vec::new();
    for topology in Topology::named() {
        for degree in 1..=2 {
            let basis = topology.first().basis(degree);
            all.push(Dictionary::uniform(1, topology, basis).unwrap());
        }
    }
    let fitted = |d: Dictionary| d.with_amplitudes(Amplitudes::Fitted);
    all.into_iter().map(fitted).collect()
}

fn some(dictionary: &Dictionary, rows: usize) -> Coordinates {
    let mut coordinates = Coordinates::origin(dictionary, rows);
    let columns = dictionary.placed();
    for (at, t) in coordinates.flat_mut().iter_mut().enumerate() {
        let wave = (at as f64 * 1.7).sin() + 0.4 * (at as f64 * 0.3).cos();
        // The amplitude is the last number.
        *t = if at % columns + 1 == columns {
            2.0 + wave
        } else {
            1.3 * wave
        };
    }
    for i in 0..rows {
        dictionary.atoms()[0].project(coordinates.row_mut(i));
    }
    coordinates
}

#[test]
fn scaled_amplitudes_have_mean_square_one_and_the_decoder_follows() {
    for dictionary in cones() {
        let (n, p, m) = (30, 2, dictionary.features());
        let atom = dictionary.atoms()[0];
        let mut coordinates = some(&dictionary, n);
        let layout = Layout::new(&dictionary, &Gates::all_on(n, 1), p).unwrap();
        let [cone] = layout.cones() else {
            panic!("one cone")
        };
        let mut decoder: Vec<f64> = (0..p * m).map(|i| 1.0 + (i as f64).cos()).collect();
        let rows = |coordinates: &Coordinates, decoder: &[f64]| -> Vec<f64> {
            let of_row = |i: usize| {
                let mut phi = vec![1.0; m];
                atom.values(coordinates.row(i), &mut phi[1..]);
                let entry = |c: usize| (0..m).map(|f| phi[f] * decoder[p * f + c]).sum();
                [entry(0), entry(1)]
            };
            (0..n).flat_map(of_row).collect()
        };
        let before = rows(&coordinates, &decoder);
        let back = cone.scale(&mut coordinates);
        cone.follow(&back, &mut decoder, p);
        for (a, b) in before.iter().zip(rows(&coordinates, &decoder)) {
            assert!((a - b).abs() < 1e-11 * (1.0 + a.abs()), "{atom:?}: {a} {b}");
        }
        let amplitudes = (0..n).map(|i| atom.amplitude(coordinates.row(i)));
        let square = amplitudes.map(|s| s * s).sum::<f64>() / n as f64;
        assert!((square - 1.0).abs() < 1e-12, "{atom:?}: {square}");
        // A second time there is nothing to do.
        let again = cone.scale(&mut coordinates.clone());
        for a in 0..again.nrows() {
            for b in 0..again.nrows() {
                let unit = if a == b { 1.0 } else { 0.0 };
                assert!((again[(a, b)] - unit).abs() < 1e-12, "{atom:?}");
            }
        }
    }
}

#[test]
fn the_tangent_gradient_is_that_of_the_function_after_scaling() {
    for dictionary in cones() {
        let n = 8;
        let atom = dictionary.atoms()[0];
        let mut coordinates = some(&dictionary, n);
        let layout = Layout::new(&dictionary, &Gates::all_on(n, 1), 1).unwrap();
        let cone = &layout.cones()[0];
        cone.scale(&mut coordinates);
        let w = atom.width();
        let weight = |at: usize| (at as f64 * 0.9).cos();
        // sum (w phi + w phi^2 / 2) over all functions of all rows, after scaling.
        let f = |coordinates: &Coordinates| -> f64 {
            let mut scaled = coordinates.clone();
            cone.scale(&mut scaled);
            let mut phi = vec![0.0; w];
            let of_row = |i: usize| {
                atom.values(scaled.row(i), &mut phi);
                let terms = phi.iter().enumerate();
                terms
                    .map(|(j, v)| weight(w * i + j) * (v + 0.5 * v * v))
                    .sum::<f64>()
            };
            (0..n).map(of_row).sum()
        };
        let (d, mut gradient) = (atom.local_dim(), Vec::new());
        for i in 0..n {
            let (mut phi, mut psi) = (vec![0.0; w], vec![0.0; d * w]);
            atom.values_and_slopes(coordinates.row(i), &mut phi, &mut psi, w);
            for slope in psi.chunks_exact(w) {
                let terms = slope.iter().zip(&phi).enumerate();
                gradient.push(
                    terms
                        .map(|(j, (s, v))| s * weight(w * i + j) * (1.0 + v))
                        .sum(),
                );
            }
        }
        cone.tangent(&coordinates, &mut gradient);
        for (at, got) in gradient.iter().enumerate() {
            let moved = |h: f64| {
                let mut other = coordinates.clone();
                let mut delta = vec![0.0; d];
                delta[at % d] = h;
                atom.retract(other.row_mut(at / d), &delta);
                f(&other)
            };
            let slope = (moved(1e-5) - moved(-1e-5)) / 2e-5;
            assert!((slope - got).abs() < 1e-7, "{atom:?} {at}: {slope} {got}");
        }
    }
}

/// All rows of a cone over a circle on one line: the other direction is not stretched to rounding.
#[test]
fn a_plane_that_is_nearly_a_line_keeps_its_amplitudes() {
    let circle = Dictionary::uniform(1, Topology::Circle, Basis::Harmonics { highest: 1 });
    let dictionary = circle.unwrap().with_amplitudes(Amplitudes::Fitted);
    for width in [0.0, 1e-14, 1e-9] {
        let mut coordinates = Coordinates::origin(&dictionary, 40);
        for i in 0..40 {
            let along = 0.3 + (i as f64 * 0.7).sin();
            let across = width * (i as f64 * 1.3).cos();
            dictionary.atoms()[0].place_of(&[along, across], coordinates.row_mut(i));
        }
        let layout = Layout::new(&dictionary, &Gates::all_on(40, 1), 1).unwrap();
        for _ in 0..4 {
            layout.cones()[0].scale(&mut coordinates);
        }
        let amplitudes = (0..40).map(|i| coordinates.row(i)[1]);
        let square = amplitudes.clone().map(|s| s * s).sum::<f64>() / 40.0;
        assert!((square - 1.0).abs() < 1e-9, "{width}: {square}");
        let largest = amplitudes.clone().fold(0.0, f64::max);
        assert!(
            largest < 2.0 && amplitudes.fold(1.0, f64::min) > 0.0,
            "{width}: {largest}"
        );
    }
}

/// A step past amplitude 0 stops short of it; where the atom's functions fill a space it goes through to the other
/// side. No amplitude becomes 0 or changes sign.
#[test]
fn a_step_to_no_amplitude_stops_at_a_tenth_or_goes_through() {
    for dictionary in cones() {
        let atom = dictionary.atoms()[0];
        let mut phi = vec![0.0; atom.width()];
        let mut t = some(&dictionary, 1).row(0).to_vec();
        let before = atom.amplitude(&t);
        let mut delta = vec![0.0; atom.local_dim()];
        for far in [-before, -2.0 * before, -1e9] {
            let mut moved = t.clone();
            delta[atom.local_dim() - 1] = far;
            atom.values(&t, &mut phi);
            atom.retract(&mut moved, &delta);
            let amplitude = atom.amplitude(&moved);
            if !atom.is_linear() {
                assert!((amplitude - 0.1 * before).abs() < 1e-15);
                continue;
            }
            let mut there = phi.clone();
            atom.values(&moved, &mut there);
            for (v, there) in phi.iter().zip(there) {
                let went = v * (1.0 + far / before);
                assert!(amplitude > 0.0 && (there - went).abs() < 1e-6 + 1e-12 * went.abs());
            }
        }
        // An amplitude of exactly 0 is none.
        *t.last_mut().unwrap() = 0.0;
        atom.project(&mut t);
        assert_eq!(atom.amplitude(&t), 1.0);
    }
}
