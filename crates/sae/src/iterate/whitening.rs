//! The scale of flat coordinates: zero mean and unit covariance, kept at every point of a fit.
//!
//! Monomials up to a degree span the same functions before and after an affine map of their
//! coordinate, `t = B t' + m`, so a decoder can undo the map: `f` changes only by its penalties. Without a
//! constraint these directions are nearly flat, and a fit crawls along them until `kappa` and `lambda`
//! balance at a scale that means nothing. So the scale is fixed: after every step an atom's coordinates
//! are *whitened* over the rows in which it is on, and the gradient is that of `f` after whitening,
//!
//! ```text
//! mean_j t_j = 0,  mean_j t_j t_j' = I                          t_j <- A (t_j - m),  A = Cov^(-1/2)
//! g_j <- g_j - sym(P) t_j / n - mean(g),  P = sum_j g_j t_j'     the tangent part
//! ```
//!
//! (the tangent space of the Stiefel manifold with its polar retraction; Absil, Mahony and Sepulchre,
//! *Optimization Algorithms on Matrix Manifolds*, 2008, sections 3.5 and 4.1). The inverse square root is
//! the symmetric one, which moves the coordinates least. Where an atom is not on in every row at
//! amplitude 1 no decoder can undo a shift, which would be a function of the row. The mean then stays as
//! it is, and the covariance is taken about it.
//!
//! A line that is one factor of several is whitened in the same way: with all functions `u_a` of the other
//! factors, the constant included, the products `u_a t_b` span the same space before and after. A shift turns
//! `u_a t` into itself plus `m u_a`, which is a function of the atom; for `t` alone it adds a constant, which
//! the intercept takes.

use crate::iterate::coordinates::Coordinates;
use crate::iterate::layout::RowOn;
use crate::model::dictionary::Dictionary;
use crate::starts::principal::descending;
use broadhead_schur::RowDims;
use faer::Mat;
use std::ops::Range;
use std::sync::Arc;

/// A direction whose deviation is at most this times `max(1, |mean|)` does not vary (its rows are copies of each
/// other) and is not scaled: stretched to unit variance it would be rounding.
const STILL: f64 = 1e-6;

/// A line among the factors of an atom, and the rows that the atom is on in.
#[derive(Clone, Debug)]
pub(crate) struct Flat {
    /// The degree of its monomials.
    degree: usize,
    columns: Range<usize>,
    /// The features of the atom: products of functions of the factors before, of this one and of those behind, the
    /// last running fastest. The product of constants alone is not a feature; it would precede them.
    features: Range<usize>,
    /// Functions of the line, the constant included.
    side: usize,
    /// Functions of the factors before and behind, the constants included.
    before: usize,
    behind: usize,
    /// Rows that the atom is on in.
    on: Arc<[RowOn]>,
    /// The first of the line's unknowns among the atom's.
    unknown: usize,
    /// Whether a decoder can undo a shift of its coordinate: the atom is on in every row, its amplitude always 1.
    shifts: bool,
}

/// `t = back t' + shift`: where a whitened coordinate was before.
pub(crate) struct Map {
    back: Mat<f64>,
    shift: Vec<f64>,
}

impl Flat {
    /// The lines of `dictionary`, whose atoms are on in `rows`; `always(a)` says whether atom `a` is on in every row
    /// at amplitude 1.
    pub(crate) fn all(
        dictionary: &Dictionary,
        rows: &[Arc<[RowOn]>],
        always: impl Fn(usize) -> bool,
    ) -> Vec<Self> {
        let mut all = Vec::new();
        for (a, atom) in dictionary.atoms().iter().enumerate() {
            let sides: Vec<usize> = atom.basis().sides(atom.topology()).collect();
            for (place, part) in atom.topology().factors().enumerate() {
                if !part.factor.is_flat() {
                    continue;
                }
                let first = dictionary.atom_place(a).start;
                all.push(Self {
                    degree: atom.basis().degree_on(part.factor),
                    columns: first + part.stored.start..first + part.stored.end,
                    features: dictionary.atom_features(a),
                    side: sides[place],
                    before: sides[..place].iter().product(),
                    behind: sides[place + 1..].iter().product(),
                    on: Arc::clone(&rows[a]),
                    unknown: part.local.start,
                    shifts: !atom.is_cone() && always(a),
                });
            }
        }
        all
    }

    fn dimension(&self) -> usize {
        self.columns.len()
    }

    fn count(&self) -> f64 {
        self.on.len() as f64
    }

    fn mean(&self, coordinates: &Coordinates) -> Vec<f64> {
        let mut mean = vec![0.0; self.dimension()];
        for &RowOn { row: i, .. } in &*self.on {
            let t = coordinates.place(i, self.columns.clone());
            mean.iter_mut().zip(t).for_each(|(m, t)| *m += t);
        }
        mean.iter_mut().for_each(|m| *m /= self.count());
        mean
    }

    /// Covariance about `mean`.
    fn covariance(&self, coordinates: &Coordinates, mean: &[f64]) -> Mat<f64> {
        let d = self.dimension();
        let mut covariance = Mat::zeros(d, d);
        for &RowOn { row: i, .. } in &*self.on {
            let t = coordinates.place(i, self.columns.clone());
            for a in 0..d {
                for b in 0..=a {
                    covariance[(a, b)] += (t[a] - mean[a]) * (t[b] - mean[b]);
                }
            }
        }
        for a in 0..d {
            for b in 0..=a {
                let value = covariance[(a, b)] / self.count();
                (covariance[(a, b)], covariance[(b, a)]) = (value, value);
            }
        }
        covariance
    }

    /// Whitens the line's coordinates in place; returns the map back.
    pub(crate) fn whiten(&self, coordinates: &mut Coordinates) -> Map {
        let d = self.dimension();
        if self.on.is_empty() {
            return Map::identity(d);
        }
        let mean = self.mean(coordinates);
        let covariance = self.covariance(coordinates, &mean);
        // Where the eigenvalue iteration does not converge only the scales are corrected.
        let (variances, axes) = descending(&covariance).unwrap_or_else(|_| {
            let diagonal = (0..d).map(|a| covariance[(a, a)]).collect();
            (diagonal, Mat::identity(d, d))
        });
        let largest = mean.iter().fold(1.0_f64, |m, v| m.max(v.abs()));
        let deviations: Vec<f64> = variances
            .iter()
            .map(|v| v.max(0.0).sqrt())
            .map(|s| if s > STILL * largest { s } else { 1.0 })
            .collect();
        let power = |root: &dyn Fn(f64) -> f64| {
            Mat::from_fn(d, d, |a, b| {
                (0..d)
                    .map(|c| axes[(a, c)] * root(deviations[c]) * axes[(b, c)])
                    .sum()
            })
        };
        let (forth, back) = (power(&|s| 1.0 / s), power(&|s| s));
        let shift = if self.shifts { mean } else { vec![0.0; d] };
        let mut centred = vec![0.0; d];
        for &RowOn { row: i, .. } in &*self.on {
            let t = coordinates.place_mut(i, self.columns.clone());
            for ((c, t), m) in centred.iter_mut().zip(&*t).zip(&shift) {
                *c = t - m;
            }
            for (a, t) in t.iter_mut().enumerate() {
                *t = (0..d).map(|b| forth[(a, b)] * centred[b]).sum();
            }
        }
        Map { back, shift }
    }

    /// Whether a direction of whitened coordinates does not vary, so that its scale is not fixed.
    pub(crate) fn is_still(&self, coordinates: &Coordinates) -> bool {
        let mean = self.mean(coordinates);
        let square = |&RowOn { row: i, .. }: &RowOn| -> f64 {
            let t = coordinates.place(i, self.columns.clone());
            t.iter().zip(&mean).map(|(t, m)| (t - m) * (t - m)).sum()
        };
        // Each direction that varies contributes 1.
        let total = self.on.iter().map(square).sum::<f64>() / self.count();
        total < self.dimension() as f64 - 0.5
    }

    /// Adds `value` to the diagonals of the line's unknowns in packed row blocks.
    pub(crate) fn add_to_diagonals(&self, dims: &RowDims, value: f64, blocks: &mut [f64]) {
        for &RowOn { row: i, unknown } in &*self.on {
            let first = unknown + self.unknown - dims.offset(i);
            let d = dims.dim(i);
            let block = &mut blocks[dims.block_offset(i)..][..d * d];
            for a in first..first + self.dimension() {
                block[a * d + a] += value;
            }
        }
    }

    /// Removes from a gradient over the rows' unknowns the part that whitening undoes.
    pub(crate) fn tangent(&self, coordinates: &Coordinates, gradient: &mut [f64]) {
        let d = self.dimension();
        if self.on.is_empty() {
            return;
        }
        let mean = self.mean(coordinates);
        let mut pulled = Mat::<f64>::zeros(d, d);
        let mut total = vec![0.0; d];
        for &RowOn { row: i, unknown } in &*self.on {
            let u = unknown + self.unknown;
            let (t, g) = (
                coordinates.place(i, self.columns.clone()),
                &gradient[u..u + d],
            );
            for a in 0..d {
                total[a] += g[a];
                for b in 0..d {
                    pulled[(a, b)] += g[a] * t[b];
                }
            }
        }
        let count = self.count();
        for &RowOn { row: i, unknown } in &*self.on {
            let u = unknown + self.unknown;
            let t = coordinates.place(i, self.columns.clone());
            for a in 0..d {
                let scaled: f64 = (0..d)
                    .map(|b| 0.5 * (pulled[(a, b)] + pulled[(b, a)]) * (t[b] - mean[b]))
                    .sum();
                let shifted = if self.shifts { total[a] } else { 0.0 };
                gradient[u + a] -= (scaled + shifted) / count;
            }
        }
    }

    /// Turns a decoder (`M x p` row-major) for the coordinates before whitening into one for those after, with
    /// `W' phi(t)` unchanged.
    pub(crate) fn follow(&self, map: &Map, decoder: &mut [f64], outputs: usize) {
        let line = |f: usize| f * outputs..(f + 1) * outputs;
        for others in 0..self.before * self.behind {
            let (before, behind) = (others / self.behind, others % self.behind);
            // The decoder's row for the product of the line's `b`-th function and these of the other factors.
            let row = |b: usize| match (before * self.side + b) * self.behind + behind {
                0 => 0,
                product => self.features.start + product - 1,
            };
            let old: Vec<f64> = (1..self.side)
                .flat_map(|b| decoder[line(row(b))].iter().copied())
                .collect();
            let (new, constant) = self.followed(map, &old, outputs);
            for (b, new) in (1..self.side).zip(new.chunks_exact(outputs)) {
                decoder[line(row(b))].copy_from_slice(new);
            }
            add(&mut decoder[line(row(0))], 1.0, &constant);
        }
    }

    /// The decoder's rows for the line's functions after whitening, given those before, and the constant part.
    fn followed(&self, map: &Map, old: &[f64], outputs: usize) -> (Vec<f64>, Vec<f64>) {
        let d = self.dimension();
        let Map { back, shift } = map;
        let mut new = vec![0.0; old.len()];
        let mut constant = vec![0.0; outputs];
        let line = |f: usize| &old[f * outputs..(f + 1) * outputs];
        let degree_one = |new: &mut Vec<f64>, weight: f64, a: usize, w: &[f64]| {
            // weight (B t')_a
            for b in 0..d {
                let at = b * outputs..(b + 1) * outputs;
                add(&mut new[at], weight * back[(a, b)], w);
            }
        };
        for a in 0..d {
            degree_one(&mut new, 1.0, a, line(a));
            add(&mut constant, shift[a], line(a));
        }
        if self.degree == 2 {
            // Products t_a t_b, a <= b, in the order of the basis.
            let pairs: Vec<_> = (0..d).flat_map(|a| (a..d).map(move |b| (a, b))).collect();
            for (f, &(a, b)) in pairs.iter().enumerate() {
                let w = line(d + f);
                for (g, &(x, y)) in pairs.iter().enumerate() {
                    let mut weight = back[(a, x)] * back[(b, y)];
                    if x != y {
                        weight += back[(a, y)] * back[(b, x)];
                    }
                    add(
                        &mut new[(d + g) * outputs..(d + g + 1) * outputs],
                        weight,
                        w,
                    );
                }
                degree_one(&mut new, shift[a], b, w);
                degree_one(&mut new, shift[b], a, w);
                add(&mut constant, shift[a] * shift[b], w);
            }
        }
        (new, constant)
    }
}

fn add(to: &mut [f64], weight: f64, from: &[f64]) {
    to.iter_mut()
        .zip(from)
        .for_each(|(to, from)| *to += weight * from);
}

impl Map {
    fn identity(d: usize) -> Self {
        Self {
            back: Mat::identity(d, d),
            shift: vec![0.0; d],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::iterate::coordinates::Gates;
    use crate::iterate::layout::Layout;
    use crate::model::basis::Basis;
    use crate::model::topology::Topology;

    fn some(rows: usize, topology: Topology, basis: Basis) -> (Dictionary, Coordinates) {
        let dictionary = Dictionary::uniform(1, topology, basis).unwrap();
        let mut coordinates = Coordinates::origin(&dictionary, rows);
        for (at, t) in coordinates.flat_mut().iter_mut().enumerate() {
            *t = 3.0 + (at as f64 * 1.7).sin() + 0.2 * (at as f64 * 0.3).cos();
        }
        (dictionary, coordinates)
    }

    fn space(rows: usize, dimension: usize, degree: usize) -> (Dictionary, Coordinates) {
        let topology = Topology::Euclidean { dimension };
        some(rows, topology, Basis::Monomials { degree })
    }

    #[test]
    fn whitened_coordinates_have_no_mean_and_unit_covariance_and_the_decoder_follows() {
        let spaces = [(1, 1), (1, 2), (2, 1), (3, 2)];
        let spaces = spaces.map(|(dimension, degree)| space(20, dimension, degree));
        let products = [1, 2].map(|highest| {
            let basis = Basis::Harmonics { highest };
            some(20, Topology::Cylinder, basis)
        });
        for (dictionary, mut coordinates) in spaces.into_iter().chain(products) {
            let layout = Layout::new(&dictionary, &Gates::all_on(20, 1), 2).unwrap();
            let [flat] = layout.flat() else {
                panic!("one line")
            };
            let m = dictionary.features();
            let mut decoder: Vec<f64> = (0..2 * m).map(|i| 1.0 + (i as f64).cos()).collect();
            let rows = |coordinates: &Coordinates, decoder: &[f64]| -> Vec<f64> {
                let of_row = |i: usize| {
                    let mut phi = vec![1.0; m];
                    dictionary.atoms()[0].values(coordinates.row(i), &mut phi[1..]);
                    let entry = |c: usize| (0..m).map(|f| phi[f] * decoder[2 * f + c]).sum();
                    [entry(0), entry(1)]
                };
                (0..20).flat_map(of_row).collect()
            };
            let before = rows(&coordinates, &decoder);
            let angles: Vec<f64> = (0..20).map(|i| coordinates.row(i)[0]).collect();
            let map = flat.whiten(&mut coordinates);
            flat.follow(&map, &mut decoder, 2);
            for (a, b) in before.iter().zip(rows(&coordinates, &decoder)) {
                assert!((a - b).abs() < 1e-11 * (1.0 + a.abs()), "{a} {b}");
            }
            let mean = flat.mean(&coordinates);
            let covariance = flat.covariance(&coordinates, &mean);
            for a in 0..flat.dimension() {
                assert!(mean[a].abs() < 1e-13);
                for b in 0..flat.dimension() {
                    let unit = if a == b { 1.0 } else { 0.0 };
                    assert!((covariance[(a, b)] - unit).abs() < 1e-12);
                }
            }
            // The other factors' numbers stay.
            if flat.columns.start > 0 {
                let still = (0..20).map(|i| coordinates.row(i)[0]);
                assert!(still.eq(angles));
            }
        }
    }

    #[test]
    fn the_tangent_gradient_is_that_of_the_function_after_whitening() {
        let product = some(9, Topology::Cylinder, Basis::Harmonics { highest: 1 });
        for (dictionary, coordinates) in [space(9, 2, 1), product] {
            the_gradient_is_of_the_whitened(&dictionary, coordinates);
        }
    }

    fn the_gradient_is_of_the_whitened(dictionary: &Dictionary, mut coordinates: Coordinates) {
        let layout = Layout::new(dictionary, &Gates::all_on(9, 1), 2).unwrap();
        let flat = &layout.flat()[0];
        flat.whiten(&mut coordinates);
        let weight = |at: usize| (at as f64 * 0.9).cos();
        // f(t) = sum w t + sum w t^3 / 3 after whitening.
        let f = |coordinates: &Coordinates| -> f64 {
            let mut whitened = coordinates.clone();
            flat.whiten(&mut whitened);
            let terms = whitened.flat().iter().enumerate();
            terms
                .map(|(at, t)| weight(at) * (t + t.powi(3) / 3.0))
                .sum()
        };
        let mut gradient: Vec<f64> = (coordinates.flat().iter().enumerate())
            .map(|(at, t)| weight(at) * (1.0 + t * t))
            .collect();
        flat.tangent(&coordinates, &mut gradient);
        for at in 0..gradient.len() {
            let moved = |h: f64| {
                let mut other = coordinates.clone();
                other.flat_mut()[at] += h;
                f(&other)
            };
            let slope = (moved(1e-5) - moved(-1e-5)) / 2e-5;
            assert!(
                (slope - gradient[at]).abs() < 1e-8,
                "{at}: {slope} {}",
                gradient[at]
            );
        }
    }

    #[test]
    fn a_coordinate_that_does_not_vary_keeps_its_scale() {
        let (dictionary, mut coordinates) = space(6, 2, 1);
        coordinates
            .flat_mut()
            .chunks_exact_mut(2)
            .for_each(|t| t[1] = 5.0);
        let layout = Layout::new(&dictionary, &Gates::all_on(6, 1), 1).unwrap();
        layout.flat()[0].whiten(&mut coordinates);
        assert!(
            coordinates
                .flat()
                .iter()
                .all(|t| t.is_finite() && t.abs() < 4.0)
        );
    }

    #[test]
    fn an_atom_that_is_off_somewhere_keeps_its_mean_direction() {
        let (dictionary, mut coordinates) = space(8, 1, 2);
        let mut gates = Gates::all_on(8, 1);
        gates.row_mut(3)[0] = 0.0;
        let layout = Layout::new(&dictionary, &gates, 1).unwrap();
        let flat = &layout.flat()[0];
        let (off, before) = (
            coordinates.row(3)[0],
            coordinates.row(0)[0] / coordinates.row(1)[0],
        );
        flat.whiten(&mut coordinates);
        assert_eq!(coordinates.row(3)[0], off);
        let after = coordinates.row(0)[0] / coordinates.row(1)[0];
        assert!((before - after).abs() < 1e-12);
        let mean = flat.mean(&coordinates);
        assert!((flat.covariance(&coordinates, &mean)[(0, 0)] - 1.0).abs() < 1e-12);
    }

    /// The atom is off in one row and at another amplitude in a second: only scales change, and the decoder follows.
    #[test]
    fn the_decoder_follows_a_cylinder_that_is_not_on_everywhere() {
        let basis = Basis::Harmonics { highest: 2 };
        let (dictionary, mut coordinates) = some(12, Topology::Cylinder, basis);
        let mut gates = Gates::all_on(12, 1);
        (gates.row_mut(3)[0], gates.row_mut(5)[0]) = (0.0, 0.7);
        let layout = Layout::new(&dictionary, &gates, 1).unwrap();
        let flat = &layout.flat()[0];
        let m = dictionary.features();
        let mut decoder: Vec<f64> = (0..m).map(|i| 1.0 + (i as f64).cos()).collect();
        let rows = |coordinates: &Coordinates, decoder: &[f64]| -> Vec<f64> {
            let of_row = |i: usize| {
                let mut phi = vec![0.0; m - 1];
                dictionary.atoms()[0].values(coordinates.row(i), &mut phi);
                let atom: f64 = phi.iter().zip(&decoder[1..]).map(|(v, w)| v * w).sum();
                decoder[0] + gates.row(i)[0] * atom
            };
            (0..12).map(of_row).collect()
        };
        let before = rows(&coordinates, &decoder);
        let map = flat.whiten(&mut coordinates);
        flat.follow(&map, &mut decoder, 1);
        for (a, b) in before.iter().zip(rows(&coordinates, &decoder)) {
            assert!((a - b).abs() < 1e-12 * (1.0 + a.abs()), "{a} {b}");
        }
    }
}
