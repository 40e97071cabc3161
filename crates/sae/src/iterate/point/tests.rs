use super::*;
use crate::iterate::coordinates::Gates;
use crate::model::basis::Basis;
use crate::model::dictionary::{Amplitudes, Atom};
use crate::model::topology::Topology;
use ndarray::Array2;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A small problem with every topology, ragged or full gates, and a decoder that is not projected.
struct Case {
    dictionary: Dictionary,
    data: Data,
    layout: Layout,
    point: Point,
}

const PENALTY: Penalty = Penalty {
    lambda: 0.37,
    kappa: 0.21,
};

/// Full or ragged rows, with amplitude 1 or fitted.
fn kinds() -> impl Iterator<Item = (bool, Amplitudes)> {
    let both = [Amplitudes::One, Amplitudes::Fitted];
    both.into_iter()
        .flat_map(|kind| [(true, kind), (false, kind)])
}

fn case(full: bool, amplitudes: Amplitudes) -> Case {
    let dictionary = Dictionary::new(vec![
        Atom::new(Topology::Circle, Basis::Harmonics { highest: 2 }).unwrap(),
        Atom::new(
            Topology::Euclidean { dimension: 2 },
            Basis::Monomials { degree: 2 },
        )
        .unwrap(),
        Atom::new(Topology::Sphere, Basis::Spherical { degree: 2 }).unwrap(),
        Atom::new(Topology::Torus, Basis::Harmonics { highest: 1 }).unwrap(),
        Atom::new(Topology::Cylinder, Basis::Harmonics { highest: 1 }).unwrap(),
    ])
    .unwrap()
    .with_amplitudes(amplitudes);
    let (n, p) = (9, 5);
    let mut rng = ChaCha8Rng::seed_from_u64(17);
    let mut uniform = move || rng.random::<f64>() * 2.0 - 1.0;
    let data = Data::normalised(Array2::from_shape_fn((n, p), |_| uniform()).view()).unwrap();
    let mut gates = Gates::all_on(n, 5);
    if !full {
        for i in 0..n {
            for a in 0..5 {
                gates.row_mut(i)[a] = [0.0, 1.0, 0.7][(i + 2 * a + i * a) % 3];
            }
        }
        gates.row_mut(4).fill(0.0);
    }
    let mut coordinates = Coordinates::origin(&dictionary, n);
    for i in 0..n {
        for (a, atom) in dictionary.atoms().iter().enumerate() {
            let t = &mut coordinates.row_mut(i)[dictionary.atom_place(a)];
            t.iter_mut().for_each(|t| *t = uniform());
            atom.project(t);
        }
    }
    let layout = Layout::new(&dictionary, &gates, p).unwrap();
    assert_eq!(layout.full, full);
    let mut point = Point::new(&layout, coordinates);
    point.decoder.iter_mut().for_each(|w| *w = uniform());
    Case {
        dictionary,
        data,
        layout,
        point,
    }
}

impl Case {
    fn evaluate(&self, point: &mut Point, decoder: Decoder) -> Vec<f64> {
        let model = Frozen {
            data: &self.data,
            dictionary: &self.dictionary,
            layout: &self.layout,
            penalty: PENALTY,
        };
        let mut psi = self.layout.slopes();
        point.evaluate(&model, decoder, &mut psi).unwrap();
        psi
    }

    /// `(row, atom, local axis)` of every row unknown, in order.
    fn unknowns(&self) -> Vec<(usize, usize, usize)> {
        let mut all = Vec::new();
        for i in 0..self.layout.rows() {
            for on in self.layout.active(i) {
                let d = self.dictionary.atoms()[on.atom].local_dim();
                all.extend((0..d).map(|axis| (i, on.atom, axis)));
            }
        }
        all
    }

    fn moved(&self, from: &Point, (row, a, axis): (usize, usize, usize), by: f64) -> Point {
        let atom = self.dictionary.atoms()[a];
        let mut delta = vec![0.0; atom.local_dim()];
        delta[axis] = by;
        let mut point = from.clone();
        let t = &mut point.coordinates.row_mut(row)[self.dictionary.atom_place(a)];
        atom.retract(t, &delta);
        self.evaluate(&mut point, Decoder::Given);
        point
    }

    /// The residual rows at `point`, densely, by definition.
    fn residuals(&self, point: &Point) -> Vec<f64> {
        let p = self.layout.outputs();
        let mut all = self.data.flat().to_vec();
        for (i, r) in all.chunks_exact_mut(p).enumerate() {
            let values = &point.phi[self.layout.offsets[i]..];
            for (&f, &v) in self.layout.row_indices(i).iter().zip(values) {
                axpy(-v, &point.decoder[f * p..][..p], r);
            }
        }
        all
    }
}

const H: f64 = 1e-5;

#[test]
fn gradients_agree_with_central_differences_of_the_objective() {
    for (full, amplitudes) in kinds() {
        let case = case(full, amplitudes);
        let mut base = case.point.clone();
        case.evaluate(&mut base, Decoder::Given);
        let scale = base.objective.scale;
        for (u, &unknown) in case.unknowns().iter().enumerate() {
            let at = |sign: f64| case.moved(&base, unknown, sign * H).objective.value;
            let difference = (at(1.0) - at(-1.0)) / (2.0 * H);
            let error = (base.row_gradient[u] - difference).abs();
            assert!(error < 1e-8 * scale, "full {full} unknown {u}: {error}");
        }
        for b in 0..base.decoder.len() {
            let at = |sign: f64| {
                let mut point = base.clone();
                point.decoder[b] += sign * H;
                case.evaluate(&mut point, Decoder::Given);
                point.objective.value
            };
            let difference = (at(1.0) - at(-1.0)) / (2.0 * H);
            let error = (base.border_gradient[b] - difference).abs();
            assert!(error < 1e-8 * scale, "full {full} weight {b}: {error}");
        }
    }
}

/// `D_i` is the product of the residuals' derivatives, by differences of the residuals themselves.
#[test]
fn row_blocks_are_the_gauss_newton_products() {
    for (full, amplitudes) in kinds() {
        let case = case(full, amplitudes);
        let mut base = case.point.clone();
        let psi = case.evaluate(&mut base, Decoder::Given);
        let (m, p) = (case.layout.features(), case.layout.outputs());
        let gram = features::decoder_gram(&base.decoder, m, p);
        let mut blocks = vec![0.0; case.layout.row_dims().block_len()];
        let kappa = PENALTY.kappa;
        features::row_hessian(
            &case.dictionary,
            &case.layout,
            &psi,
            &gram,
            kappa,
            &mut blocks,
        );
        let unknowns = case.unknowns();
        let slopes: Vec<Vec<f64>> = unknowns
            .iter()
            .map(|&unknown| {
                let plus = case.residuals(&case.moved(&base, unknown, H));
                let minus = case.residuals(&case.moved(&base, unknown, -H));
                let pairs = plus.iter().zip(&minus);
                pairs.map(|(a, b)| (a - b) / (2.0 * H)).collect()
            })
            .collect();
        for (u, &(row, a, axis)) in unknowns.iter().enumerate() {
            for (v, &other) in unknowns.iter().enumerate().filter(|(_, o)| o.0 == row) {
                let mut want: f64 = slopes[u].iter().zip(&slopes[v]).map(|(a, b)| a * b).sum();
                let mut flat = case.dictionary.atoms()[a].topology().flat();
                if other == (row, a, axis) && flat.any(|part| part.local.contains(&axis)) {
                    want += kappa;
                }
                let dims = case.layout.row_dims();
                let (first, d) = (dims.offset(row), dims.dim(row));
                let got = blocks[dims.block_offset(row) + (u - first) * d + (v - first)];
                assert!(
                    (got - want).abs() < 1e-7,
                    "full {full}: ({u}, {v}) {got} {want}"
                );
            }
        }
    }
}

/// A projected decoder has no gradient, and any other decoder a higher objective.
#[test]
fn the_projected_decoder_is_the_minimiser() {
    for (full, amplitudes) in kinds() {
        let case = case(full, amplitudes);
        let mut projected = case.point.clone();
        case.evaluate(&mut projected, Decoder::Projected);
        assert!(projected.border_gradient.iter().all(|&g| g == 0.0));
        let mut same = projected.clone();
        case.evaluate(&mut same, Decoder::Given);
        let value = projected.objective.value;
        assert!((same.objective.value - value).abs() < 1e-14 * value);
        assert!(same.border_gradient.iter().all(|g| g.abs() < 1e-12 * value));
        for b in 0..same.decoder.len() {
            let mut other = same.clone();
            other.decoder[b] += 1e-3;
            case.evaluate(&mut other, Decoder::Given);
            assert!(other.objective.value > value, "full {full} weight {b}");
        }
    }
}

/// The dense path for rows that have every feature gives what the sparse one gives.
#[test]
fn full_rows_and_sparse_rows_are_evaluated_alike() {
    let case = case(true, Amplitudes::One);
    let mut dense = case.point.clone();
    case.evaluate(&mut dense, Decoder::Given);
    let mut layout = case.layout.clone();
    layout.full = false;
    let sparse_case = Case { layout, ..case };
    let mut sparse = sparse_case.point.clone();
    sparse_case.evaluate(&mut sparse, Decoder::Given);
    let close = |a: &[f64], b: &[f64]| {
        assert_eq!(a.len(), b.len());
        for (a, b) in a.iter().zip(b) {
            assert!((a - b).abs() < 1e-12, "{a} {b}");
        }
    };
    close(&dense.row_gradient, &sparse.row_gradient);
    close(&dense.border_gradient, &sparse.border_gradient);
    close(&dense.squares, &sparse.squares);
    let mut projected = sparse_case.point.clone();
    sparse_case.evaluate(&mut projected, Decoder::Projected);
    let m = projected.gram.nrows();
    for c in 0..m {
        close(
            &dense.gram.col_as_slice(c)[c..],
            &projected.gram.col_as_slice(c)[c..],
        );
    }
}
