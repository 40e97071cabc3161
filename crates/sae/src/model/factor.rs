//! The factors of topologies: line, circle, sphere. What a factor is stands here, each time for all three:
//! its numbers, how it moves, where its cells and grids are, how scores and chance seat a row on it, what
//! its mean is.
//!
//! | factor | stored numbers | local dimension | move by `delta` |
//! |---|---|---|---|
//! | line of D | D | D | `t + delta` |
//! | circle | 1 angle in `[-pi, pi)` | 1 | `wrap(t + delta)` |
//! | sphere | unit 3-vector `u` | 2 | `(u + E' delta) / abs(u + E' delta)` |
//!
//! `E` (2 x 3) is an orthonormal basis of the tangent plane at `u`.

use crate::data::larger;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use std::f64::consts::{PI, TAU};

/// One factor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Factor {
    /// `R^dimension`: of several dimensions still one factor, since they turn into each other.
    Line {
        /// The number of coordinates.
        dimension: usize,
    },
    /// One angle.
    Circle,
    /// A unit vector in space.
    Sphere,
}

/// A mean of unit vectors of at most this length is rounding.
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

    /// Scores of principal components that [`Factor::seat`] takes.
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

    /// Appends the place of a stored coordinate in a unit cube whose equal parts are equal parts of the
    /// manifold; of a line its coordinate as it stands. Whether there is one: not of several dimensions.
    pub(crate) fn even_place(self, t: &[f64], place: &mut Vec<f64>) -> bool {
        let turn = |angle: f64| (angle + PI) / TAU;
        match self {
            Self::Line { dimension: 1 } => place.push(t[0]),
            Self::Line { .. } => return false,
            Self::Circle => place.push(turn(t[0])),
            // The area between two heights is as their difference (Archimedes).
            Self::Sphere => place.extend([0.5 * (t[2] + 1.0), turn(t[1].atan2(t[0]))]),
        }
        true
    }

    /// A first guess at a coordinate from standardised scores, [`Factor::components`] of them; to be
    /// projected.
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

    /// A coordinate by chance; to be projected.
    pub(crate) fn scatter(self, t: &mut [f64], rng: &mut ChaCha8Rng) {
        match self {
            Self::Circle => t[0] = -PI + TAU * rng.random::<f64>(),
            Self::Line { .. } | Self::Sphere => {
                t.iter_mut().for_each(|t| *t = StandardNormal.sample(rng));
            }
        }
    }

    /// The mean of stored coordinates where they live: the direction of the mean of unit vectors on a circle
    /// or a sphere (not a number where they have none), with the length of that mean; the average on a
    /// line, which has no length. Not numbers where there are no coordinates.
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
                let direction = match x.hypot(y) > NO_DIRECTION {
                    true => y.atan2(x),
                    false => f64::NAN,
                };
                (vec![direction], Some((x * x + y * y).sqrt()))
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

    /// Points, one after another in stored form, so near each other that the nearest lies in the basin of
    /// the best minimum of functions of this degree; fewer to a direction where the factor is one of several.
    pub(crate) fn grid(self, degree: usize, alone: bool) -> Vec<f64> {
        match self {
            Self::Circle if alone => angles(if degree == 1 { 16 } else { 32 * degree }),
            Self::Circle => angles(8 * degree + 8),
            Self::Sphere => spiral(192 * degree),
            Self::Line { dimension } => lattice(dimension, degree),
        }
    }

    /// How far apart points next to each other are, of `count`; infinite on a line.
    pub(crate) fn spacing(self, count: usize) -> f64 {
        match self {
            Self::Circle => TAU / count as f64,
            Self::Sphere => (4.0 * PI / count as f64).sqrt(),
            Self::Line { .. } => f64::INFINITY,
        }
    }

    /// For every point of [`Factor::grid`] those next to it.
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

/// The origin where the problem is convex; a lattice in low dimensions and the axes in high ones
/// where it is not. Coordinates have unit variance.
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

/// The angle in `[-pi, pi)` equal to `angle` modulo a turn; not finite where `angle` is not.
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
