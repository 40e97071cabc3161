//! Topologies: where an atom's coordinate lives, and how it moves.
//!
//! | topology | stored numbers | local dimension | move by `delta` |
//! |---|---|---|---|
//! | Euclidean(D) | D | D | `t + delta` |
//! | circle | 1 angle in `[-pi, pi)` | 1 | `wrap(t + delta)` |
//! | torus | 2 angles | 2 | `wrap(t + delta)` |
//! | sphere | unit 3-vector `u` | 2 | `(u + E' delta) / abs(u + E' delta)` |
//!
//! `E` (2 x 3) is an orthonormal basis of the tangent plane at `u`. Unknowns of a fit are *local*:
//! a derivative is taken by `delta` at `delta = 0`, and a step is applied by `Topology::retract`.
//! The chart is therefore a new one at every point, which is why no coordinate ever leaves its
//! manifold and no chart has a singular point.

use crate::data::larger;
use crate::model::dictionary::DictionaryError;
use serde::{Deserialize, Serialize};
use std::f64::consts::{PI, TAU};

/// Where the coordinate of an atom lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Topology {
    /// `R^dimension`.
    Euclidean {
        /// The number of coordinates, at least 1.
        dimension: usize,
    },
    /// One angle.
    Circle,
    /// Two angles.
    Torus,
    /// A unit vector in space.
    Sphere,
}

/// A word that is no topology.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no topology: expected circle, torus, sphere or euclidean:D with D from 1 to 16")]
pub struct ParseTopologyError(pub String);

/// The most coordinates of one Euclidean atom.
pub const MAX_EUCLIDEAN: usize = 16;

impl Topology {
    /// Numbers stored per row (the columns of a coordinates file).
    pub fn stored(self) -> usize {
        match self {
            Self::Euclidean { dimension } => dimension,
            Self::Circle => 1,
            Self::Torus => 2,
            Self::Sphere => 3,
        }
    }

    /// Unknowns per row: the dimension of the tangent space.
    pub fn local_dim(self) -> usize {
        match self {
            Self::Euclidean { dimension } => dimension,
            Self::Circle => 1,
            Self::Torus | Self::Sphere => 2,
        }
    }

    /// Principal components that a first guess at a coordinate is made from.
    pub(crate) fn components(self) -> usize {
        match self {
            Self::Circle => 2,
            Self::Torus => 4,
            Self::Sphere => 3,
            Self::Euclidean { dimension } => dimension,
        }
    }

    /// Whether the coordinate has a scale of its own, so that a fit has to standardise it.
    pub fn is_euclidean(self) -> bool {
        matches!(self, Self::Euclidean { .. })
    }

    /// `t` (stored form) moved by the local step `delta`.
    ///
    /// # Errors
    /// [`DictionaryError::Length`] unless `t` has [`Topology::stored`] numbers and `delta` has
    /// [`Topology::local_dim`].
    pub fn moved(self, t: &[f64], delta: &[f64]) -> Result<Vec<f64>, DictionaryError> {
        DictionaryError::check_length("a coordinate", t.len(), self.stored())?;
        DictionaryError::check_length("a step", delta.len(), self.local_dim())?;
        let mut t = t.to_vec();
        self.retract(&mut t, delta);
        Ok(t)
    }

    /// Stored numbers put back onto the manifold: angles wrapped, a sphere's vector normalised (the
    /// zero vector becomes the pole).
    ///
    /// # Errors
    /// [`DictionaryError::Length`] unless there are [`Topology::stored`] numbers.
    pub fn projected(self, t: &[f64]) -> Result<Vec<f64>, DictionaryError> {
        DictionaryError::check_length("a coordinate", t.len(), self.stored())?;
        let mut t = t.to_vec();
        self.project(&mut t);
        Ok(t)
    }

    /// Moves `t` (stored form) by the local step `delta`, in place.
    ///
    /// A step that is not finite gives a coordinate that is not finite; a fit's objective then is
    /// not finite either and the step is rejected.
    pub(crate) fn retract(self, t: &mut [f64], delta: &[f64]) {
        match self {
            Self::Euclidean { .. } => {
                for (t, d) in t.iter_mut().zip(delta) {
                    *t += d;
                }
            }
            Self::Circle | Self::Torus => {
                for (t, d) in t.iter_mut().zip(delta) {
                    *t = wrap_angle(*t + d);
                }
            }
            Self::Sphere => {
                let basis = tangent_basis([t[0], t[1], t[2]]);
                for c in 0..3 {
                    t[c] += delta[0] * basis[0][c] + delta[1] * basis[1][c];
                }
                normalise(t);
            }
        }
    }

    /// The place of a stored coordinate in a square whose equal parts are equal parts of the manifold; of
    /// a circle in its first direction alone. A line's place is its coordinate; Euclidean spaces of more
    /// have none.
    pub(crate) fn even_place(self, t: &[f64]) -> Option<[f64; 2]> {
        let turn = |angle: f64| (angle + PI) / TAU;
        match self {
            Self::Circle => Some([turn(t[0]), f64::NAN]),
            Self::Torus => Some([turn(t[0]), turn(t[1])]),
            // The area between two heights is as their difference (Archimedes).
            Self::Sphere => Some([0.5 * (t[2] + 1.0), turn(t[1].atan2(t[0]))]),
            Self::Euclidean { dimension: 1 } => Some([t[0], f64::NAN]),
            Self::Euclidean { .. } => None,
        }
    }

    /// As [`Topology::projected`], in place.
    pub(crate) fn project(self, t: &mut [f64]) {
        match self {
            Self::Euclidean { .. } => {}
            Self::Circle | Self::Torus => t.iter_mut().for_each(|t| *t = wrap_angle(*t)),
            Self::Sphere => normalise(t),
        }
    }
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

impl std::fmt::Display for Topology {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Euclidean { dimension } => write!(f, "euclidean:{dimension}"),
            Self::Circle => f.write_str("circle"),
            Self::Torus => f.write_str("torus"),
            Self::Sphere => f.write_str("sphere"),
        }
    }
}

impl From<Topology> for String {
    fn from(value: Topology) -> Self {
        value.to_string()
    }
}

impl TryFrom<String> for Topology {
    type Error = ParseTopologyError;
    fn try_from(word: String) -> Result<Self, Self::Error> {
        word.parse()
    }
}

impl std::str::FromStr for Topology {
    type Err = ParseTopologyError;
    fn from_str(word: &str) -> Result<Self, Self::Err> {
        let error = || ParseTopologyError(word.to_owned());
        match word {
            "circle" => Ok(Self::Circle),
            "torus" => Ok(Self::Torus),
            "sphere" => Ok(Self::Sphere),
            "euclidean" => Ok(Self::Euclidean { dimension: 1 }),
            other => {
                let digits = other.strip_prefix("euclidean:").ok_or_else(error)?;
                match digits.parse() {
                    Ok(dimension @ 1..=MAX_EUCLIDEAN) => Ok(Self::Euclidean { dimension }),
                    _ => Err(error()),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn wrapped_angles_lie_in_the_half_open_turn_and_keep_their_direction(a in -1e3..1e3_f64) {
            let w = wrap_angle(a);
            prop_assert!((-PI..PI).contains(&w));
            prop_assert!((w.cos() - a.cos()).abs() < 1e-12 && (w.sin() - a.sin()).abs() < 1e-12);
        }

        #[test]
        fn the_tangent_basis_is_orthonormal_and_right_handed(
            v in prop::array::uniform3(-1.0..1.0_f64),
        ) {
            prop_assume!(v.iter().map(|c| c * c).sum::<f64>() > 1e-6);
            let mut u = v;
            Topology::Sphere.project(&mut u);
            let [e, f] = tangent_basis(u);
            let dot = |a: [f64; 3], b: [f64; 3]| a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
            for (got, want) in [
                (dot(e, e), 1.0), (dot(f, f), 1.0), (dot(e, f), 0.0),
                (dot(e, u), 0.0), (dot(f, u), 0.0),
            ] {
                prop_assert!((got - want).abs() < 8.0 * f64::EPSILON);
            }
            let cross = [
                e[1] * f[2] - e[2] * f[1], e[2] * f[0] - e[0] * f[2], e[0] * f[1] - e[1] * f[0],
            ];
            prop_assert!(dot(cross, u) > 0.5);
        }

        #[test]
        fn a_sphere_point_stays_on_the_sphere_and_a_zero_step_stays_put(
            v in prop::array::uniform3(-1.0..1.0_f64), d in prop::array::uniform2(-5.0..5.0_f64),
        ) {
            prop_assume!(v.iter().map(|c| c * c).sum::<f64>() > 1e-6);
            let mut u = v;
            Topology::Sphere.project(&mut u);
            let mut moved = u;
            Topology::Sphere.retract(&mut moved, &d);
            prop_assert!((moved.iter().map(|c| c * c).sum::<f64>() - 1.0).abs() < 4.0 * f64::EPSILON);
            let mut still = u;
            Topology::Sphere.retract(&mut still, &[0.0, 0.0]);
            for c in 0..3 {
                prop_assert!((still[c] - u[c]).abs() < 4.0 * f64::EPSILON);
            }
        }
    }

    #[test]
    fn the_ends_of_the_turn_and_huge_angles_wrap_into_it() {
        assert_eq!(wrap_angle(PI), -PI);
        assert_eq!(wrap_angle(-PI), -PI);
        assert!((-PI..PI).contains(&wrap_angle(PI.next_up())));
        assert!((-PI..PI).contains(&wrap_angle((-PI).next_down())));
        assert!((-PI..PI).contains(&wrap_angle(1e300)));
        assert!(wrap_angle(f64::NAN).is_nan());
        assert!(wrap_angle(f64::INFINITY).is_nan() && wrap_angle(f64::NEG_INFINITY).is_nan());
    }

    #[test]
    fn a_vector_with_what_is_not_a_number_becomes_no_point_of_a_sphere() {
        for c in 0..3 {
            for rest in [0.0, 0.6] {
                let mut t = [rest; 3];
                t[c] = f64::NAN;
                let there = Topology::Sphere.projected(&t).unwrap();
                assert!(there.iter().all(|v| v.is_nan()), "{t:?} {there:?}");
            }
        }
    }

    #[test]
    fn names_round_trip() {
        for topology in [
            Topology::Circle,
            Topology::Torus,
            Topology::Sphere,
            Topology::Euclidean { dimension: 3 },
        ] {
            assert_eq!(topology.to_string().parse(), Ok(topology));
        }
        assert!("euclidean:0".parse::<Topology>().is_err());
        assert!("disc".parse::<Topology>().is_err());
    }
}
