//! Topologies: where an atom's coordinate lives, and how it moves. A topology is a product of
//! [factors](super::factor).
//!
//! | topology | factors |
//! |---|---|
//! | Euclidean(D) | a line of D |
//! | circle | a circle |
//! | torus | two circles |
//! | cylinder | a circle and a line |
//! | sphere | a sphere |
//!
//! Basis, grid, whitening, coverage and picture are built from the factors. Another product needs only a name
//! in [`Topology::named`] and its list of factors.
//!
//! Unknowns of a fit are *local*: derivatives are with respect to `delta` at `delta = 0`, and a step is applied
//! by `Topology::retract`. Every point thus has its own chart, so no coordinate ever leaves its manifold and
//! no chart has a singular point.

use crate::model::dictionary::DictionaryError;
use crate::model::factor::{Along, Factor};
use serde::{Deserialize, Serialize};
use std::ops::Range;

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
    /// An angle and a height.
    Cylinder,
    /// A unit vector in space.
    Sphere,
}

/// A word that names no topology.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no topology: expected {words} with D from 1 to {MAX_EUCLIDEAN}", words = Topology::words())]
pub struct ParseTopologyError(pub String);

/// The most coordinates of one Euclidean atom.
pub const MAX_EUCLIDEAN: usize = 16;

/// The most factors of a topology.
pub const MOST_FACTORS: usize = 2;

/// The prefix before the number of coordinates of a Euclidean space.
const EUCLIDEAN: &str = "euclidean";

/// The topologies that are named by a word alone.
const NAMED: &[(&str, Topology)] = &[
    ("circle", Topology::Circle),
    ("torus", Topology::Torus),
    ("cylinder", Topology::Cylinder),
    ("sphere", Topology::Sphere),
];

/// A factor and its positions among the numbers of a topology.
#[derive(Clone, Debug)]
pub struct Placed {
    /// The factor.
    pub factor: Factor,
    /// Its stored numbers.
    pub stored: Range<usize>,
    /// Its unknowns.
    pub local: Range<usize>,
    /// Its scores, among those from which a row's first guess is made.
    pub(crate) scores: Range<usize>,
}

impl Topology {
    /// The topologies that are named by a word alone: all but Euclidean spaces.
    pub fn named() -> impl Iterator<Item = Self> + Clone {
        NAMED.iter().map(|(_, topology)| *topology)
    }

    /// The words for topologies, as a list in a sentence.
    pub fn words() -> String {
        let named: Vec<&str> = NAMED.iter().map(|(word, _)| *word).collect();
        format!("{} or {EUCLIDEAN}:D", named.join(", "))
    }

    /// The factors alone, in order.
    fn product(self) -> [Option<Factor>; MOST_FACTORS] {
        match self {
            Self::Euclidean { dimension } => [Some(Factor::Line { dimension }), None],
            Self::Circle => [Some(Factor::Circle), None],
            Self::Torus => [Some(Factor::Circle), Some(Factor::Circle)],
            Self::Cylinder => [Some(Factor::Circle), Some(Factor::Line { dimension: 1 })],
            Self::Sphere => [Some(Factor::Sphere), None],
        }
    }

    /// The factors, in the order of their numbers.
    pub fn factors(self) -> impl Iterator<Item = Placed> + Clone {
        let product = self.product().into_iter().flatten();
        product.scan([0; 3], |from, factor| {
            let sizes = [factor.stored(), factor.local_dim(), factor.components()];
            let [stored, local, scores] = std::array::from_fn(|i| {
                let first = from[i];
                from[i] += sizes[i];
                first..from[i]
            });
            Some(Placed {
                factor,
                stored,
                local,
                scores,
            })
        })
    }

    /// The factors whose coordinates have a scale of their own, so that a fit has to standardise them. They
    /// have as many unknowns as numbers.
    pub fn flat(self) -> impl Iterator<Item = Placed> + Clone {
        self.factors().filter(|part| part.factor.is_flat())
    }

    /// Whether any of its coordinates has a scale of its own.
    pub fn has_flat(self) -> bool {
        self.flat().next().is_some()
    }

    /// The first factor; its basis names that of the product.
    pub(crate) fn first(self) -> Factor {
        let [first, ..] = self.product();
        first.unwrap_or(Factor::Line { dimension: 0 })
    }

    /// The only factor of a topology that has no other.
    pub(crate) fn alone(self) -> Option<Factor> {
        let [first, others @ ..] = self.product();
        first.filter(|_| others.iter().all(Option::is_none))
    }

    /// Numbers stored per row (the columns of a coordinates file).
    pub fn stored(self) -> usize {
        self.factors().map(|f| f.factor.stored()).sum()
    }

    /// Unknowns per row: the dimension of the tangent space.
    pub fn local_dim(self) -> usize {
        self.factors().map(|f| f.factor.local_dim()).sum()
    }

    /// Principal components that a first guess at a coordinate is made from.
    pub(crate) fn components(self) -> usize {
        self.factors().map(|f| f.factor.components()).sum()
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
    /// A step that is not finite gives a coordinate that is not finite. The objective of a fit is then not
    /// finite either, and the step is rejected.
    #[inline]
    pub(crate) fn retract(self, t: &mut [f64], delta: &[f64]) {
        for part in self.factors() {
            part.factor.retract(&mut t[part.stored], &delta[part.local]);
        }
    }

    /// The place of a stored coordinate along one or two directions in which equal intervals are equal parts of
    /// the manifold. Spaces with more directions have none, nor do lines of several dimensions.
    pub(crate) fn even_place(self, t: &[f64]) -> Option<Vec<Along>> {
        let mut place = Vec::with_capacity(2);
        let all = self
            .factors()
            .all(|part| part.factor.even_place(&t[part.stored], &mut place));
        (all && place.len() <= 2).then_some(place)
    }

    /// As [`Topology::projected`], in place.
    #[inline]
    pub(crate) fn project(self, t: &mut [f64]) {
        for part in self.factors() {
            part.factor.project(&mut t[part.stored]);
        }
    }

    /// A first guess from standardised scores, [`Topology::components`] of them; to be projected.
    pub(crate) fn seat(self, score: impl Fn(usize) -> f64, t: &mut [f64]) {
        for part in self.factors() {
            let first = part.scores.start;
            part.factor.seat(|c| score(first + c), &mut t[part.stored]);
        }
    }

    /// The mean of stored coordinates on their manifold, factor by factor: the direction of the mean unit vector
    /// on a circle or a sphere (NaN if there is none), the average on a line. Also returns the root mean square of
    /// the lengths of those mean vectors; a Euclidean space has none. NaN where there are no coordinates.
    ///
    /// # Errors
    /// [`DictionaryError::Length`] unless each has [`Topology::stored`] numbers.
    pub fn mean(self, places: &[Vec<f64>]) -> Result<(Vec<f64>, Option<f64>), DictionaryError> {
        for place in places {
            DictionaryError::check_length("a coordinate", place.len(), self.stored())?;
        }
        let (mut mean, mut lengths) = (Vec::with_capacity(self.stored()), Vec::new());
        for part in self.factors() {
            let own = places.iter().map(|place| &place[part.stored.clone()]);
            let (of_factor, length) = part.factor.mean(own);
            mean.extend(of_factor);
            lengths.extend(length);
        }
        let squares: f64 = lengths.iter().map(|length| length * length).sum();
        let length = (!lengths.is_empty()).then(|| (squares / lengths.len() as f64).sqrt());
        Ok((mean, length))
    }
}

impl std::fmt::Display for Topology {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Self::Euclidean { dimension } = self {
            return write!(f, "{EUCLIDEAN}:{dimension}");
        }
        let word = NAMED.iter().find(|(_, topology)| topology == self);
        f.write_str(word.map_or("unnamed", |(word, _)| word))
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
        if let Some((_, topology)) = NAMED.iter().find(|(name, _)| *name == word) {
            return Ok(*topology);
        }
        let error = || ParseTopologyError(word.to_owned());
        let dimension = match word.strip_prefix(EUCLIDEAN).ok_or_else(error)? {
            "" => Some(1),
            number => number.strip_prefix(':').and_then(|d| d.parse().ok()),
        };
        match dimension {
            Some(dimension @ 1..=MAX_EUCLIDEAN) => Ok(Self::Euclidean { dimension }),
            _ => Err(error()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::factor::{tangent_basis, wrap_angle};
    use proptest::prelude::*;
    use std::f64::consts::PI;

    fn every() -> impl Iterator<Item = Topology> {
        let spaces = (1..=4).map(|dimension| Topology::Euclidean { dimension });
        Topology::named().chain(spaces)
    }

    proptest! {
        #[test]
        fn steps_stay_on_the_manifold_and_a_zero_step_stays_put(
            v in prop::array::uniform6(-3.0..3.0_f64), d in prop::array::uniform6(-5.0..5.0_f64),
        ) {
            prop_assume!(v[..3].iter().map(|c| c * c).sum::<f64>() > 1e-6);
            for topology in every() {
                let t = topology.projected(&v[..topology.stored()]).unwrap();
                let near = |a: &[f64], b: &[f64]| {
                    a.iter().zip(b).all(|(a, b)| (a - b).abs() < 4.0 * f64::EPSILON)
                };
                prop_assert!(near(&topology.projected(&t).unwrap(), &t), "{topology}");
                let d = &d[..topology.local_dim()];
                let still = topology.moved(&t, &vec![0.0; d.len()]).unwrap();
                prop_assert!(near(&still, &t), "{topology}");
                let moved = topology.moved(&t, d).unwrap();
                prop_assert!(near(&topology.projected(&moved).unwrap(), &moved), "{topology}");
                // Each factor moves by its own part of the step alone.
                for part in topology.factors() {
                    let mut alone = t[part.stored.clone()].to_vec();
                    part.factor.retract(&mut alone, &d[part.local]);
                    prop_assert_eq!(&moved[part.stored], &alone[..]);
                }
            }
        }

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
    fn factors_share_out_the_numbers_of_a_topology() {
        for topology in every() {
            let (mut stored, mut local, mut scores) = (0, 0, 0);
            for part in topology.factors() {
                let starts = (part.stored.start, part.local.start, part.scores.start);
                assert_eq!(starts, (stored, local, scores), "{topology}");
                (stored, local, scores) = (part.stored.end, part.local.end, part.scores.end);
                if part.factor.is_flat() {
                    assert_eq!(part.stored.len(), part.local.len());
                }
            }
            let sums = (
                topology.stored(),
                topology.local_dim(),
                topology.components(),
            );
            assert_eq!((stored, local, scores), sums, "{topology}");
        }
        let mut flat = Topology::Cylinder.flat().map(|part| part.stored);
        assert_eq!((flat.next(), flat.next()), (Some(1..2), None));
        assert!(!Topology::Torus.has_flat());
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
        let spaces = [1, 3, MAX_EUCLIDEAN].map(|dimension| Topology::Euclidean { dimension });
        for topology in Topology::named().chain(spaces) {
            let word = topology.to_string();
            assert_eq!(word.parse(), Ok(topology));
            let known = Topology::words();
            assert!(
                known.contains(word.split(':').next().unwrap()),
                "{word}: {known}"
            );
        }
        assert_eq!(
            "euclidean".parse(),
            Ok(Topology::Euclidean { dimension: 1 })
        );
        assert!("euclidean17".parse::<Topology>().is_err());
        assert!("euclidean:0".parse::<Topology>().is_err());
        assert!("disc".parse::<Topology>().is_err());
    }
}
