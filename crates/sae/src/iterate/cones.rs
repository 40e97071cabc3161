//! The scale of fitted amplitudes: mean square 1 over the rows in which the atom is on, kept at every point of a
//! fit.
//!
//! An atom `s phi(t)` and its decoder share a scale, which only the penalty on the decoder would fix. So after
//! every step amplitudes are divided by their root mean square `c`, the decoder follows, and the gradient is that of
//! the objective after this division, as with whitening ([`super::whitening`]):
//!
//! ```text
//! s_j <- s_j / c        g_j <- g_j - s_j sum_i(s_i g_i) / n
//! ```
//!
//! The cone over a circle or a sphere of first degree is a whole plane or space: with `z = s phi(t)` every linear map
//! of `z` is undone by the decoder. There the second moment of `z` is kept a multiple of the identity, so that angles
//! do not bunch and amplitudes have mean square 1:
//!
//! ```text
//! z_j <- A z_j,  A = (w M / u)^(-1/2),  M = mean_j z_j z_j',  u = |phi|^2     w functions
//! g_j <- g_j - (w / u) sym(mean_i g_i z_i') z_j                               in the space of z
//! ```

use crate::iterate::coordinates::Coordinates;
use crate::iterate::layout::RowOn;
use crate::model::dictionary::{Atom, Dictionary};
use crate::starts::principal::descending;
use faer::Mat;
use std::ops::Range;
use std::sync::Arc;

/// A direction of `z` whose deviation is less than this share of the largest is not stretched: an atom whose plane is
/// nearly a line would have amplitudes of rounding.
const FLOOR: f64 = 1e-6;

/// An atom with a fitted amplitude, and the rows that it is on in.
#[derive(Clone, Debug)]
pub(crate) struct Cone {
    atom: Atom,
    place: Range<usize>,
    features: Range<usize>,
    /// Rows that it is on in.
    on: Arc<[RowOn]>,
}

/// A linear map of an atom's functions, and its inverse; both symmetric.
pub(crate) struct Evened {
    pub(crate) forth: Mat<f64>,
    pub(crate) back: Mat<f64>,
}

/// The map after which the functions of `atom` have their scale, for the mean of `z z'`, or, where the atom [is not
/// linear](Atom::is_linear), for the mean square of the amplitude (`1 x 1`).
pub(crate) fn evened(atom: Atom, moment: &Mat<f64>) -> Evened {
    let w = moment.nrows();
    let of = |diagonal: &dyn Fn(usize) -> f64, axes: &Mat<f64>| {
        Mat::from_fn(w, w, |a, b| {
            let terms = (0..w).map(|c| axes[(a, c)] * diagonal(c) * axes[(b, c)]);
            terms.sum()
        })
    };
    let none = || Evened {
        forth: Mat::identity(w, w),
        back: Mat::identity(w, w),
    };
    let Ok((variances, axes)) = descending(moment) else {
        return none();
    };
    let largest = variances.first().map_or(0.0, |v| v.max(0.0)).sqrt();
    if !(largest > 0.0 && largest.is_finite()) {
        return none();
    }
    let roots = variances.iter().map(|v| v.max(0.0).sqrt());
    let wide = roots.clone().filter(|root| *root >= FLOOR * largest);
    // The directions that vary share the mean square.
    let target = match atom.is_linear() {
        true => (atom.square_length() / wide.count() as f64).sqrt(),
        false => 1.0,
    };
    let still = |root: f64| {
        if root < FLOOR * largest {
            largest
        } else {
            root
        }
    };
    let deviations: Vec<f64> = roots.map(|root| still(root) / target).collect();
    Evened {
        forth: of(&|c| 1.0 / deviations[c], &axes),
        back: of(&|c| deviations[c], &axes),
    }
}

/// `to = map from`.
pub(crate) fn mapped(map: &Mat<f64>, from: &[f64], to: &mut [f64]) {
    for (a, to) in to.iter_mut().enumerate() {
        *to = (from.iter().enumerate())
            .map(|(b, v)| map[(a, b)] * v)
            .sum();
    }
}

impl Cone {
    /// The atoms of `dictionary` with a fitted amplitude, which are on in `rows`.
    pub(crate) fn all(dictionary: &Dictionary, rows: &[Arc<[RowOn]>]) -> Vec<Self> {
        let atoms = dictionary.atoms().iter().enumerate();
        let cones = atoms.filter(|(_, atom)| atom.is_cone());
        let of = |(a, &atom): (usize, &Atom)| Self {
            atom,
            place: dictionary.atom_place(a),
            features: dictionary.atom_features(a),
            on: Arc::clone(&rows[a]),
        };
        cones.map(of).collect()
    }

    /// What is scaled together: the functions of a linear atom, otherwise the amplitude.
    fn width(&self) -> usize {
        match self.atom.is_linear() {
            true => self.atom.width(),
            false => 1,
        }
    }

    /// Writes what is scaled, at the place `t`.
    fn read(&self, t: &[f64], z: &mut [f64]) {
        match self.atom.is_linear() {
            true => self.atom.values(t, z),
            false => z[0] = self.atom.amplitude(t),
        }
    }

    /// Brings the amplitudes to their scale, in place; returns the map back.
    pub(crate) fn scale(&self, coordinates: &mut Coordinates) -> Mat<f64> {
        let w = self.width();
        let mut z = vec![0.0; w];
        let mut moment = Mat::<f64>::zeros(w, w);
        for &RowOn { row: i, .. } in &*self.on {
            self.read(coordinates.place(i, self.place.clone()), &mut z);
            for a in 0..w {
                for b in 0..w {
                    moment[(a, b)] += z[a] * z[b];
                }
            }
        }
        let count = self.on.len().max(1) as f64;
        let moment = Mat::from_fn(w, w, |a, b| moment[(a, b)] / count);
        let Evened { forth, back } = evened(self.atom, &moment);
        let mut scaled = vec![0.0; w];
        for &RowOn { row: i, .. } in &*self.on {
            let t = coordinates.place_mut(i, self.place.clone());
            self.read(t, &mut z);
            mapped(&forth, &z, &mut scaled);
            match self.atom.is_linear() {
                true => self.atom.place_of(&scaled, t),
                false => t[self.atom.stored()] = scaled[0],
            }
        }
        back
    }

    /// Removes from a gradient over the rows' unknowns the part that [`Cone::scale`] undoes.
    pub(crate) fn tangent(&self, coordinates: &Coordinates, gradient: &mut [f64]) {
        let (w, d) = (self.width(), self.atom.local_dim());
        let (mut z, mut pulled) = (vec![0.0; w], Mat::<f64>::zeros(w, w));
        let (mut slopes, mut in_space) = (vec![0.0; d * w], vec![0.0; w]);
        for &RowOn { row: i, unknown: u } in &*self.on {
            let t = coordinates.place(i, self.place.clone());
            self.slopes(t, &mut z, &mut slopes);
            // The slopes of a linear atom are orthogonal, and as many as its functions.
            in_space.fill(0.0);
            for (slope, g) in slopes.chunks_exact(w).zip(&gradient[u..u + d]) {
                let square: f64 = slope.iter().map(|v| v * v).sum();
                let share = if square > 0.0 { g / square } else { 0.0 };
                for (to, v) in in_space.iter_mut().zip(slope) {
                    *to += share * v;
                }
            }
            for a in 0..w {
                for b in 0..w {
                    pulled[(a, b)] += in_space[a] * z[b];
                }
            }
        }
        let per = match self.atom.is_linear() {
            true => w as f64 / self.atom.square_length(),
            false => 1.0,
        };
        let per = per / self.on.len().max(1) as f64;
        let even = Mat::from_fn(w, w, |a, b| 0.5 * per * (pulled[(a, b)] + pulled[(b, a)]));
        for &RowOn { row: i, unknown: u } in &*self.on {
            let t = coordinates.place(i, self.place.clone());
            self.slopes(t, &mut z, &mut slopes);
            mapped(&even, &z, &mut in_space);
            for (slope, g) in slopes.chunks_exact(w).zip(&mut gradient[u..u + d]) {
                *g -= slope.iter().zip(&in_space).map(|(a, b)| a * b).sum::<f64>();
            }
        }
    }

    /// Writes what is scaled, and its derivatives by the atom's unknowns.
    fn slopes(&self, t: &[f64], z: &mut [f64], slopes: &mut [f64]) {
        let w = self.width();
        if self.atom.is_linear() {
            return self.atom.values_and_slopes(t, z, slopes, w);
        }
        self.read(t, z);
        slopes.fill(0.0);
        if let Some(last) = slopes.last_mut() {
            *last = 1.0;
        }
    }

    /// Turns a decoder (`M x p` row-major) for the amplitudes before scaling into one for those after, with
    /// `W' phi` unchanged.
    pub(crate) fn follow(&self, back: &Mat<f64>, decoder: &mut [f64], outputs: usize) {
        let own = self.features.start * outputs..self.features.end * outputs;
        let lines = &mut decoder[own];
        if !self.atom.is_linear() {
            return lines.iter_mut().for_each(|w| *w *= back[(0, 0)]);
        }
        let old = lines.to_vec();
        for (a, to) in lines.chunks_exact_mut(outputs).enumerate() {
            to.fill(0.0);
            for (b, from) in old.chunks_exact(outputs).enumerate() {
                crate::data::axpy(back[(b, a)], from, to);
            }
        }
    }
}

#[cfg(test)]
mod tests;
