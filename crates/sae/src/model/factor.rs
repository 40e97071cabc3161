//! The factors of topologies: line, circle, sphere. Everything that depends on the kind of factor is here: its
//! numbers, its steps, its functions, its cells and grids, how scores or random numbers place a row on it, and
//! its mean.
//!
//! | factor | stored numbers | local dimension | move by `delta` |
//! |---|---|---|---|
//! | line of D | D | D | `t + delta` |
//! | circle | 1 angle in `[-pi, pi)` | 1 | `wrap(t + delta)` |
//! | sphere | unit 3-vector `u` | 2 | `(u + E' delta) / abs(u + E' delta)` |
//!
//! `E` (2 x 3) is an orthonormal basis of the tangent plane at `u`. The functions of a factor, by degree and
//! without the constant:
//!
//! | factor | functions to degree `h` | their number |
//! |---|---|---|
//! | line of D | `t_a`; at degree 2 then `t_a t_b`, `a <= b` | `D`, `D + D (D + 1) / 2` |
//! | circle | `cos m t`, `sin m t`, `m = 1..h` | `2 h` |
//! | sphere | real harmonics of degrees 1 to `h` | 3, 8 |
//!
//! Spherical harmonics are normalised so that `sum_m Y_lm^2 = 2l + 1` (their mean square over the
//! sphere is 1).

use crate::data::larger;
use crate::model::basis::{Basis, MAX_HARMONIC};
use crate::model::topology::MAX_EUCLIDEAN;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use std::f64::consts::{PI, TAU};

/// One factor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Factor {
    /// `R^dimension`; one factor even with several dimensions, since rotations mix them.
    Line {
        /// The number of coordinates.
        dimension: usize,
    },
    /// One angle.
    Circle,
    /// A unit vector in space.
    Sphere,
}

/// A place along one direction of a factor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Along {
    /// As a fraction of the whole, from 0 to 1.
    Whole(f64),
    /// A coordinate with its own scale, unchanged.
    Free(f64),
}

/// A mean of unit vectors no longer than this is rounding.
const NO_DIRECTION: f64 = 8.0 * f64::EPSILON;

impl Factor {
    /// Numbers stored per row.
    pub fn stored(self) -> usize {
        match self {
            Self::Line { dimension } => dimension,
            Self::Circle => 1,
            Self::Sphere => 3,
        }
    }

    /// Unknowns per row: the dimension of the tangent space.
    pub fn local_dim(self) -> usize {
        match self {
            Self::Line { dimension } => dimension,
            Self::Circle => 1,
            Self::Sphere => 2,
        }
    }

    /// The number of principal component scores that [`Factor::seat`] takes.
    pub(crate) fn components(self) -> usize {
        match self {
            Self::Line { dimension } => dimension,
            Self::Circle => 2,
            Self::Sphere => 3,
        }
    }

    /// Whether the coordinate has a scale of its own, so that a fit has to standardise it.
    pub fn is_flat(self) -> bool {
        matches!(self, Self::Line { .. })
    }

    /// The basis of its functions to `degree`.
    pub(crate) fn basis(self, degree: usize) -> Basis {
        match self {
            Self::Line { .. } => Basis::Monomials { degree },
            Self::Circle => Basis::Harmonics { highest: degree },
            Self::Sphere => Basis::Spherical { degree },
        }
    }

    /// The highest degree of its functions; 0 for an invalid factor.
    pub(crate) fn highest_degree(self) -> usize {
        match self {
            Self::Line { dimension } if (1..=MAX_EUCLIDEAN).contains(&dimension) => 2,
            Self::Line { .. } => 0,
            Self::Circle => MAX_HARMONIC,
            Self::Sphere => 2,
        }
    }

    /// The number of its functions to `degree`, the constant left out.
    pub(crate) fn width(self, degree: usize) -> usize {
        match self {
            Self::Line { dimension: d } if degree == 1 => d,
            Self::Line { dimension: d } => d + d * (d + 1) / 2,
            Self::Circle => 2 * degree,
            Self::Sphere => (degree + 1) * (degree + 1) - 1,
        }
    }

    /// Writes the functions to `degree` at `t` into `phi` and their derivatives by local coordinate `a` into
    /// `psi[a * stride ..][.. phi.len()]`. `psi` may be empty: then only values are written.
    pub(crate) fn functions(
        self,
        degree: usize,
        t: &[f64],
        phi: &mut [f64],
        psi: &mut [f64],
        stride: usize,
    ) {
        match self {
            Self::Line { .. } => monomials(degree, t, phi, psi, stride),
            Self::Circle => harmonics(t[0], phi, psi),
            Self::Sphere => spherical(degree, t, phi, psi, stride),
        }
    }

    /// The square of the length of the functions of first degree, if it is the same everywhere and their multiples
    /// fill the space of their values, as they do for a circle and a sphere. Then [`Factor::of_functions`] is their
    /// inverse.
    pub(crate) fn square_length(self) -> Option<f64> {
        match self {
            Self::Circle => Some(1.0),
            Self::Sphere => Some(3.0),
            _ => None,
        }
    }

    /// The coordinate `t` whose functions of first degree are parallel to `phi`, and the ratio of their lengths.
    /// On a line the functions are the coordinate itself.
    pub(crate) fn of_functions(self, phi: &[f64], t: &mut [f64]) -> f64 {
        match self {
            Self::Circle => t[0] = wrap_angle(phi[1].atan2(phi[0])),
            Self::Sphere => {
                // The order of the functions: see `spherical`.
                t.copy_from_slice(&[phi[2], phi[0], phi[1]]);
                normalise(t);
            }
            _ => t.copy_from_slice(&phi[..t.len()]),
        }
        let square: f64 = phi.iter().map(|v| v * v).sum();
        self.square_length()
            .map_or(1.0, |own| (square / own).sqrt())
    }

    /// Moves `t` (stored form) by the local step `delta`.
    pub(crate) fn retract(self, t: &mut [f64], delta: &[f64]) {
        match self {
            Self::Line { .. } => {
                for (t, d) in t.iter_mut().zip(delta) {
                    *t += d;
                }
            }
            Self::Circle => t[0] = wrap_angle(t[0] + delta[0]),
            Self::Sphere => {
                let basis = tangent_basis([t[0], t[1], t[2]]);
                for c in 0..3 {
                    t[c] += delta[0] * basis[0][c] + delta[1] * basis[1][c];
                }
                normalise(t);
            }
        }
    }

    /// Puts stored numbers back onto the manifold.
    pub(crate) fn project(self, t: &mut [f64]) {
        match self {
            Self::Line { .. } => {}
            Self::Circle => t[0] = wrap_angle(t[0]),
            Self::Sphere => normalise(t),
        }
    }

    /// Appends the place of a stored coordinate along directions in which equal intervals are equal parts of the
    /// manifold. Returns false for lines of several dimensions, which have no shape.
    pub(crate) fn even_place(self, t: &[f64], place: &mut Vec<Along>) -> bool {
        let turn = |angle: f64| Along::Whole((angle + PI) / TAU);
        match self {
            Self::Line { dimension: 1 } => place.push(Along::Free(t[0])),
            Self::Line { .. } => return false,
            Self::Circle => place.push(turn(t[0])),
            // The area between two heights is proportional to their difference (Archimedes).
            Self::Sphere => {
                place.extend([Along::Whole(0.5 * (t[2] + 1.0)), turn(t[1].atan2(t[0]))]);
            }
        }
        true
    }

    /// A first guess at a coordinate from [`Factor::components`] standardised scores; the caller projects it.
    pub(crate) fn seat(self, score: impl Fn(usize) -> f64, t: &mut [f64]) {
        match self {
            Self::Circle => t[0] = score(1).atan2(score(0)),
            Self::Line { .. } | Self::Sphere => {
                for (c, t) in t.iter_mut().enumerate() {
                    *t = score(c);
                }
            }
        }
    }

    /// A random coordinate; the caller projects it.
    pub(crate) fn scatter(self, t: &mut [f64], rng: &mut ChaCha8Rng) {
        match self {
            Self::Circle => t[0] = -PI + TAU * rng.random::<f64>(),
            Self::Line { .. } | Self::Sphere => {
                t.iter_mut().for_each(|t| *t = StandardNormal.sample(rng));
            }
        }
    }

    /// The mean of stored coordinates on their manifold. On a circle or a sphere it is the direction of the mean
    /// unit vector (NaN if there is none), with the length of that mean. On a line it is the average, which has
    /// no length. NaN where there are no coordinates.
    pub(crate) fn mean<'t>(
        self,
        places: impl Iterator<Item = &'t [f64]> + Clone,
    ) -> (Vec<f64>, Option<f64>) {
        let count = places.clone().count() as f64;
        let average =
            |value: &dyn Fn(&[f64]) -> f64| places.clone().map(value).sum::<f64>() / count;
        match self {
            Self::Line { dimension } => {
                ((0..dimension).map(|c| average(&|t| t[c])).collect(), None)
            }
            Self::Circle => {
                let (x, y) = (average(&|t| t[0].cos()), average(&|t| t[0].sin()));
                let (direction, length) = polar(x, y);
                (vec![direction], Some(length))
            }
            Self::Sphere => {
                let mean: Vec<f64> = (0..3).map(|c| average(&|t| t[c])).collect();
                let length = mean.iter().map(|x| x * x).sum::<f64>().sqrt();
                let direction = |x: &f64| match length > NO_DIRECTION {
                    true => x / length,
                    false => f64::NAN,
                };
                (mean.iter().map(direction).collect(), Some(length))
            }
        }
    }

    /// Points in stored form, so dense that the nearest lies in the basin of the best minimum of functions of
    /// this degree. A circle that is one of several factors has fewer. A line that is one of several has more,
    /// since a row's place on it decides where on the others it is nearest.
    pub(crate) fn grid(self, degree: usize, alone: bool) -> Vec<f64> {
        match self {
            Self::Circle if alone => angles(if degree == 1 { 16 } else { 32 * degree }),
            Self::Circle => angles(8 * degree + 8),
            Self::Sphere => spiral(192 * degree),
            Self::Line { dimension } if alone => lattice(dimension, degree),
            Self::Line { dimension } => lattice(dimension, 2),
        }
    }

    /// The distance between neighbouring points of a grid of `count`; infinite on a line.
    pub(crate) fn spacing(self, count: usize) -> f64 {
        match self {
            Self::Circle => TAU / count as f64,
            Self::Sphere => (4.0 * PI / count as f64).sqrt(),
            Self::Line { .. } => f64::INFINITY,
        }
    }

    /// The neighbours of every point of [`Factor::grid`].
    pub(crate) fn neighbours(self, points: &[f64]) -> Vec<Vec<usize>> {
        let count = points.len() / self.stored();
        match self {
            Self::Circle => {
                let around = |g| vec![(g + count - 1) % count, (g + 1) % count];
                (0..count).map(around).collect()
            }
            Self::Sphere => {
                let spacing = self.spacing(count);
                let near = (1.4 * spacing).cos();
                let cos = |g: usize, h: usize| -> f64 {
                    (0..3).map(|c| points[3 * g + c] * points[3 * h + c]).sum()
                };
                let around = |g| (0..count).filter(|&h| h != g && cos(g, h) > near).collect();
                (0..count).map(around).collect()
            }
            Self::Line { .. } => vec![Vec::new(); count],
        }
    }
}

fn harmonics(t: f64, phi: &mut [f64], psi: &mut [f64]) {
    for (m, pair) in phi.chunks_exact_mut(2).enumerate() {
        let (sin, cos) = ((m + 1) as f64 * t).sin_cos();
        pair.copy_from_slice(&[cos, sin]);
        if !psi.is_empty() {
            let m1 = (m + 1) as f64;
            psi[2 * m] = -m1 * sin;
            psi[2 * m + 1] = m1 * cos;
        }
    }
}

fn monomials(degree: usize, t: &[f64], phi: &mut [f64], psi: &mut [f64], stride: usize) {
    let d = t.len();
    phi[..d].copy_from_slice(t);
    if !psi.is_empty() {
        for a in 0..d {
            let row = &mut psi[a * stride..][..phi.len()];
            row.fill(0.0);
            row[a] = 1.0;
        }
    }
    if degree < 2 {
        return;
    }
    let mut at = d;
    for a in 0..d {
        for b in a..d {
            phi[at] = t[a] * t[b];
            if !psi.is_empty() {
                psi[a * stride + at] += t[b];
                psi[b * stride + at] += t[a];
            }
            at += 1;
        }
    }
}

fn spherical(degree: usize, u: &[f64], phi: &mut [f64], psi: &mut [f64], stride: usize) {
    let [x, y, z] = [u[0], u[1], u[2]];
    let (r3, r5, r15) = (3.0_f64.sqrt(), 5.0_f64.sqrt(), 15.0_f64.sqrt());
    let values = [
        r3 * y,
        r3 * z,
        r3 * x,
        r15 * x * y,
        r15 * y * z,
        0.5 * r5 * (2.0 * z * z - x * x - y * y),
        r15 * x * z,
        0.5 * r15 * (x * x - y * y),
    ];
    let width = (degree + 1) * (degree + 1) - 1;
    phi[..width].copy_from_slice(&values[..width]);
    if psi.is_empty() {
        return;
    }
    // Gradients in space; only their tangential part is used, so any extension of the function off
    // the sphere serves.
    let gradients = [
        [0.0, r3, 0.0],
        [0.0, 0.0, r3],
        [r3, 0.0, 0.0],
        [r15 * y, r15 * x, 0.0],
        [0.0, r15 * z, r15 * y],
        [-r5 * x, -r5 * y, 2.0 * r5 * z],
        [r15 * z, 0.0, r15 * x],
        [r15 * x, -r15 * y, 0.0],
    ];
    for (a, e) in tangent_basis([x, y, z]).iter().enumerate() {
        for (m, g) in gradients[..width].iter().enumerate() {
            psi[a * stride + m] = e[0] * g[0] + e[1] * g[1] + e[2] * g[2];
        }
    }
}

/// The direction of a mean of unit vectors of the plane (NaN where the mean is rounding), and its length.
fn polar(x: f64, y: f64) -> (f64, f64) {
    let direction = match x.hypot(y) > NO_DIRECTION {
        true => y.atan2(x),
        false => f64::NAN,
    };
    (direction, (x * x + y * y).sqrt())
}

fn angles(count: usize) -> Vec<f64> {
    (0..count)
        .map(|i| -PI + TAU * i as f64 / count as f64)
        .collect()
}

/// A Fibonacci spiral: nearly even on the sphere.
pub(crate) fn spiral(count: usize) -> Vec<f64> {
    let golden = PI * (3.0 - 5.0_f64.sqrt());
    let mut points = Vec::with_capacity(3 * count);
    for i in 0..count {
        let z = 1.0 - (2 * i + 1) as f64 / count as f64;
        let (sin, cos) = (golden * i as f64).sin_cos();
        let r = (1.0 - z * z).sqrt();
        points.extend([r * cos, r * sin, z]);
    }
    points
}

/// Points of a line: the origin where the problem is convex; otherwise a lattice in low dimensions and points
/// on the axes in high ones. Coordinates have unit variance.
fn lattice(dimension: usize, degree: usize) -> Vec<f64> {
    if degree == 1 {
        return vec![0.0; dimension];
    }
    if dimension <= 3 {
        let side: &[f64] = match dimension {
            1 => &[0.0, -3.0, -2.0, -1.0, -0.5, 0.5, 1.0, 2.0, 3.0],
            2 => &[0.0, -2.0, -1.0, 1.0, 2.0],
            _ => &[0.0, -1.5, 1.5],
        };
        let count = side.len().pow(dimension as u32);
        let mut points = Vec::with_capacity(count * dimension);
        for flat in 0..count {
            let mut rest = flat;
            for _ in 0..dimension {
                points.push(side[rest % side.len()]);
                rest /= side.len();
            }
        }
        return points;
    }
    let mut points = vec![0.0; dimension * (2 * dimension + 1)];
    for a in 0..dimension {
        points[(1 + 2 * a) * dimension + a] = 1.5;
        points[(2 + 2 * a) * dimension + a] = -1.5;
    }
    points
}

/// The angle in `[-pi, pi)` that equals `angle` modulo a turn; not finite if `angle` is not.
pub fn wrap_angle(angle: f64) -> f64 {
    if (-PI..PI).contains(&angle) {
        return angle;
    }
    let wrapped = angle - TAU * ((angle + PI) / TAU).floor();
    // Rounding may land on the excluded end, or outside where `angle` is huge.
    if wrapped.is_nan() || (-PI..PI).contains(&wrapped) {
        wrapped
    } else {
        -PI
    }
}

/// An orthonormal basis (two rows) of the plane orthogonal to the unit vector `u`, right-handed
/// with `u` and smooth away from the equator's plane (Duff et al., *Building an Orthonormal Basis,
/// Revisited*, JCGT 6(1), 2017).
pub fn tangent_basis(u: [f64; 3]) -> [[f64; 3]; 2] {
    let [x, y, z] = u;
    let sign = 1.0_f64.copysign(z);
    let a = -1.0 / (sign + z);
    let b = x * y * a;
    [
        [1.0 + sign * x * x * a, sign * b, -sign * x],
        [b, sign + y * y * a, -y],
    ]
}

fn normalise(t: &mut [f64]) {
    let largest = t.iter().fold(0.0, |m, v| larger(m, v.abs()));
    if largest == 0.0 {
        t.copy_from_slice(&[0.0, 0.0, 1.0]);
        return;
    }
    let norm = largest * t.iter().map(|v| (v / largest).powi(2)).sum::<f64>().sqrt();
    t.iter_mut().for_each(|v| *v /= norm);
}
