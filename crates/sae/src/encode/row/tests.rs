use super::*;
use crate::model::basis::Basis;
use crate::model::dictionary::Atom;
use crate::model::topology::Topology;
use ndarray::Array2;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn mixed() -> Dictionary {
    Dictionary::new(vec![
        Atom::new(Topology::Circle, Basis::Harmonics { highest: 2 }).unwrap(),
        Atom::new(Topology::Sphere, Basis::Spherical { degree: 2 }).unwrap(),
        Atom::new(Topology::Torus, Basis::Harmonics { highest: 1 }).unwrap(),
        Atom::new(
            Topology::Euclidean { dimension: 2 },
            Basis::Monomials { degree: 2 },
        )
        .unwrap(),
        Atom::new(Topology::Cylinder, Basis::Harmonics { highest: 2 }).unwrap(),
    ])
    .unwrap()
}

/// The same with amplitude 1 and with fitted amplitudes.
fn both() -> [Dictionary; 2] {
    [mixed(), mixed().with_amplitudes(crate::Amplitudes::Fitted)]
}

fn decoder(dictionary: &Dictionary, p: usize, rng: &mut ChaCha8Rng) -> Vec<f64> {
    (0..dictionary.features() * p)
        .map(|_| rng.random::<f64>() * 2.0 - 1.0)
        .collect()
}

fn point(model: &RowModel<'_>, gates: &[f64], rng: &mut ChaCha8Rng) -> RowPoint {
    let mut point = model.blank();
    point.gates.copy_from_slice(gates);
    for (a, atom) in model.dictionary.atoms().iter().enumerate() {
        let t = &mut point.t[model.dictionary.atom_place(a)];
        t.iter_mut()
            .for_each(|t| *t = rng.random::<f64>() * 2.0 - 1.0);
        atom.project(t);
    }
    point
}

/// `e + |r0|^2 / 2` is half the squared error plus the penalty, whatever is on.
#[test]
fn the_reduced_objective_is_the_squared_error_up_to_its_constant() {
    both().iter().for_each(the_objective_is_reduced);
}

fn the_objective_is_reduced(dictionary: &Dictionary) {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let p = 25;
    let decoder = decoder(dictionary, p, &mut rng);
    let model = RowModel::new(dictionary, &decoder, p, 0.3);
    let x: Vec<f64> = (0..p).map(|_| rng.random::<f64>() * 4.0).collect();
    let row = model.reduce(&x);
    for gates in [
        [0.0; 5],
        [1.0, 0.0, 0.0, 0.0, 0.0],
        [0.0, 0.5, 0.0, 2.0, 0.0],
        [0.0, 0.0, 0.0, 0.0, 1.0],
        [1.0, -1.0, 0.7, 1.0, -0.6],
    ] {
        let mut point = point(&model, &gates, &mut rng);
        model.evaluate(&row, &mut point);
        // The plane's two coordinates, the cylinder's second.
        let square = |on: f64, t: &[f64]| if on != 0.0 { dot(t, t) } else { 0.0 };
        let flat = |a: usize, columns: std::ops::Range<usize>| {
            square(gates[a], &point.t[dictionary.atom_place(a)][columns])
        };
        let penalty = 0.15 * (flat(3, 0..2) + flat(4, 1..2));
        let want = 0.5 * model.squared_error(&x, &point) + penalty;
        let got = point.energy + 0.5 * row.square;
        assert!((got - want).abs() < 1e-12 * want, "{gates:?}: {got} {want}");
    }
}

/// A refined row is stationary: no small move of any coordinate lowers the squared error by more
/// than its second-order term.
#[test]
fn refined_rows_are_stationary_and_never_worse() {
    both().iter().for_each(rows_are_refined);
}

fn rows_are_refined(dictionary: &Dictionary) {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let p = 40;
    let decoder = decoder(dictionary, p, &mut rng);
    let model = RowModel::new(dictionary, &decoder, p, 0.1);
    for trial in 0..20 {
        let x: Vec<f64> = (0..p).map(|_| rng.random::<f64>() * 6.0 - 3.0).collect();
        let row = model.reduce(&x);
        let mut here = point(&model, &[1.0; 5], &mut rng);
        model.evaluate(&row, &mut here);
        let before = here.energy;
        model.refine(&row, &mut here, 200);
        assert!(here.energy <= before);
        assert!(
            here.converged,
            "row {trial} {:?} {before} {}",
            here.t, here.energy
        );
        let h = 1e-4;
        for (a, atom) in dictionary.atoms().iter().enumerate() {
            for axis in 0..atom.local_dim() {
                let at = |sign: f64| {
                    let mut delta = vec![0.0; atom.local_dim()];
                    delta[axis] = sign * h;
                    let mut moved = here.clone();
                    atom.retract(&mut moved.t[dictionary.atom_place(a)], &delta);
                    model.evaluate(&row, &mut moved);
                    moved.energy
                };
                let slope = (at(1.0) - at(-1.0)) / (2.0 * h);
                // An amplitude whose best value is 0 only comes close to it.
                let place = &here.t[dictionary.atom_place(a)];
                if atom.is_cone() && atom.amplitude(place) < 1e-6 {
                    continue;
                }
                assert!(
                    slope.abs() < 1e-5 * row.square,
                    "row {trial} atom {a}: {slope}"
                );
            }
        }
    }
}

/// Rows made by one atom come back: the atom, its coordinate, no error left.
#[test]
fn rows_made_by_one_atom_are_recognised() {
    both().iter().for_each(rows_are_recognised);
}

fn rows_are_recognised(dictionary: &Dictionary) {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let p = 50;
    let decoder = decoder(dictionary, p, &mut rng);
    let model = RowModel::new(dictionary, &decoder, p, 0.0);
    for a in [0, 1, 2, 4] {
        for _ in 0..10 {
            let mut gates = [0.0; 5];
            gates[a] = 1.0;
            let made = point(&model, &gates, &mut rng);
            let phi = model.features(&made);
            let x: Vec<f64> = (0..p)
                .map(|c| (0..phi.len()).map(|m| phi[m] * decoder[m * p + c]).sum())
                .collect();
            let row = model.reduce(&x);
            let found = model.encode_greedy(&row, 1, 100);
            assert_eq!(found.gates, gates, "atom {a}");
            // The search stops at a gradient of 1e-9, so at an error of its square, up to the
            // condition of the row's Hessian.
            let error = model.squared_error(&x, &found) / row.square;
            let bound = if dictionary.has_cones() { 1e-14 } else { 1e-15 };
            assert!(error < bound, "atom {a}: {error}");
            assert!(found.converged);
            let columns = dictionary.atom_place(a);
            for c in columns {
                let difference = (found.t[c] - made.t[c]).abs();
                assert!(difference < 1e-8, "atom {a}: {difference}");
            }
        }
    }
}

#[test]
fn rows_in_parallel_come_back_in_order() {
    let dictionary =
        Dictionary::uniform(1, Topology::Circle, Basis::Harmonics { highest: 1 }).unwrap();
    let raw = Array2::from_shape_fn((101, 3), |(i, j)| (i + j) as f64);
    let data = Data::normalised(raw.view()).unwrap();
    let decoder = vec![0.0; 9];
    let model = RowModel::new(&dictionary, &decoder, 3, 0.0);
    let order = for_rows(&model, &data, |i, _| i);
    assert_eq!(order, (0..101).collect::<Vec<_>>());
}

/// The grid of a cylinder is so fine that no denser one leads to a lower minimum.
#[test]
fn the_search_on_a_cylinder_finds_the_best_of_a_dense_grid() {
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    for highest in 1..=3 {
        let basis = Basis::Harmonics { highest };
        let dictionary = Dictionary::uniform(1, Topology::Cylinder, basis).unwrap();
        let p = 12;
        let decoder = decoder(&dictionary, p, &mut rng);
        let model = RowModel::new(&dictionary, &decoder, p, 1e-3);
        let mut worse = 0;
        for _ in 0..60 {
            let mut made = point(&model, &[1.0], &mut rng);
            made.t[0] *= std::f64::consts::PI;
            made.t[1] *= 2.5;
            let phi = model.features(&made);
            let noisy = |c: usize| {
                let signal: f64 = (0..phi.len()).map(|m| phi[m] * decoder[m * p + c]).sum();
                signal + 0.5 * (rng.random::<f64>() - 0.5)
            };
            let x: Vec<f64> = (0..p).map(noisy).collect();
            let row = model.reduce(&x);
            let found = model.encode_gated(&row, &[1.0], 100);
            let mut best = f64::INFINITY;
            for angle in 0..64 {
                for height in -3..=3 {
                    let angle = f64::from(angle) / 64.0 * std::f64::consts::TAU - 3.1;
                    let mut t = vec![angle, f64::from(height)];
                    Topology::Cylinder.project(&mut t);
                    let mut there = RowPoint::new(vec![1.0], t);
                    model.refine(&row, &mut there, 100);
                    best = best.min(there.energy);
                }
            }
            assert!(found.converged);
            worse += usize::from(found.energy > best + 1e-9 * row.square);
        }
        assert_eq!(worse, 0, "harmonics {highest}: {worse} of 60");
    }
}
