//! The dictionary: a list of curved atoms over one shared intercept.
//!
//! A row is modelled as `x_i ~ W' phi_i`, where `phi_i` stacks the intercept (feature 0, not
//! penalised) and `gate_ia phi_a(t_ia)` for every atom `a` that is on in row i. So
//! `M = 1 + sum of the atoms' widths`, and the decoder `W` is `M x p`.
//!
//! ```text
//! feature    0          1 .. 1+w_0       ..        ..M
//!          intercept  | atom 0 ........| atom 1 ...|
//! column   (coordinates)  0 .. s_0      s_0 .. s_0+s_1
//! ```
//!
//! A dictionary is checked when it is made: every basis is defined on its topology.
//!
//! **Amplitudes.** An atom that is on has amplitude 1, or a *fitted* one, `s > 0`, which is one more unknown of
//! the row: a circle becomes a cone over it. A row's *place* on an atom is its stored coordinate and, behind it,
//! its amplitude where that is fitted; the functions at a place are `s phi(t)`. A Euclidean atom has no fitted
//! amplitude: at degree 1 `s t` says what `t` says, and at degree 2 the best amplitude of a row on which the squares are
//! of no use would be infinite.

use crate::data::larger;
use crate::model::basis::{Basis, ParseBasisError};
use crate::model::factor::Factor;
use crate::model::topology::{ParseTopologyError, Topology};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// One curved atom: where its coordinate lives, and the functions of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Atom {
    topology: Topology,
    basis: Basis,
    /// Whether its amplitude is fitted; set by its dictionary.
    #[serde(skip)]
    cone: bool,
}

/// The amplitude of an atom in a row in which it is on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Amplitudes {
    /// 1, or what the gates give.
    #[default]
    One,
    /// A positive number of the row, fitted with its coordinate.
    Fitted,
}

impl Amplitudes {
    /// Whether it is [`Amplitudes::One`], which needs no mention.
    fn is_one(&self) -> bool {
        *self == Self::One
    }
}

impl std::fmt::Display for Amplitudes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::One => "one",
            Self::Fitted => "fitted",
        })
    }
}

/// A step to an amplitude of 0 or less stops at this share of the amplitude before.
const SHRINK: f64 = 0.1;

/// Functions of the widest cone that is linear: that over a sphere.
const WIDEST: usize = 3;

/// The least amplitude of a place: at 0 it would have no coordinate.
const NOTHING: f64 = 1e-150;

/// An amplitude that numbers do not determine.
const NO_AMPLITUDE: f64 = 1.0;

impl Atom {
    /// An atom of `basis` on `topology`.
    ///
    /// # Errors
    /// [`DictionaryError::Basis`] where the basis is not defined on the topology.
    pub fn new(topology: Topology, basis: Basis) -> Result<Self, DictionaryError> {
        if basis.fits(topology) {
            Ok(Self {
                topology,
                basis,
                cone: false,
            })
        } else {
            Err(DictionaryError::Basis { topology, basis })
        }
    }

    /// Where its coordinate lives.
    pub fn topology(self) -> Topology {
        self.topology
    }

    /// The functions of its coordinate.
    pub fn basis(self) -> Basis {
        self.basis
    }

    /// The number of functions.
    pub fn width(self) -> usize {
        self.basis.width(self.topology)
    }

    /// Numbers stored per row.
    pub fn stored(self) -> usize {
        self.topology.stored()
    }

    /// Whether its amplitude is fitted.
    pub fn is_cone(self) -> bool {
        self.cone
    }

    /// Whether a scale is kept for its places: that of an amplitude, or of flat coordinates.
    pub(crate) fn has_scale(self) -> bool {
        self.cone || self.topology.has_flat()
    }

    /// Unknowns per row in which it is on: those of its topology and, where it is fitted, its amplitude.
    pub fn local_dim(self) -> usize {
        self.topology.local_dim() + usize::from(self.cone)
    }

    /// Numbers of a place: the stored coordinate and, where it is fitted, the amplitude behind it.
    pub fn placed(self) -> usize {
        self.topology.stored() + usize::from(self.cone)
    }

    /// The same atom with amplitude 1.
    #[must_use]
    pub fn base(self) -> Self {
        Self {
            cone: false,
            ..self
        }
    }

    /// Whether its functions at all its places fill the whole space of their values, so that its best place is
    /// that of a linear problem: flat atoms of degree 1, and cones over circles and spheres of degree 1.
    pub(crate) fn is_linear(self) -> bool {
        match self.topology.alone() {
            Some(factor) => {
                let first = self.basis.degree_on(factor) == 1;
                let fills = self.cone && factor.square_length().is_some();
                first && (fills || factor.is_flat())
            }
            None => false,
        }
    }

    /// Moves the place `t` by the local step `delta`. Where the atom is a cone and [linear](Atom::is_linear) its
    /// functions move along their derivatives, straight through amplitude 0 to the other side if need be. Other
    /// amplitudes stop short of 0.
    #[inline]
    pub(crate) fn retract(self, t: &mut [f64], delta: &[f64]) {
        let Self { topology, cone, .. } = self;
        if !cone {
            return topology.retract(t, delta);
        }
        if self.is_linear() {
            let (mut phi, mut psi) = ([0.0; WIDEST], [0.0; WIDEST * WIDEST]);
            let width = self.width();
            self.values_and_slopes(t, &mut phi[..width], &mut psi, width);
            for (slope, d) in psi.chunks_exact(width).zip(delta) {
                for (v, s) in phi.iter_mut().zip(slope) {
                    *v += d * s;
                }
            }
            return self.place_of(&phi[..width], t);
        }
        let (t, amplitude) = t.split_at_mut(topology.stored());
        let (delta, change) = delta.split_at(topology.local_dim());
        topology.retract(t, delta);
        for (amplitude, change) in amplitude.iter_mut().zip(change) {
            let to = *amplitude + change;
            // NaN passes through.
            *amplitude = if to <= 0.0 { SHRINK * *amplitude } else { to };
        }
    }

    /// Puts the numbers `t` back onto the manifold. An amplitude that is not positive becomes 1.
    #[inline]
    pub(crate) fn project(self, t: &mut [f64]) {
        let (t, amplitude) = t.split_at_mut(self.topology.stored());
        self.topology.project(t);
        for amplitude in amplitude {
            if *amplitude <= 0.0 {
                *amplitude = NO_AMPLITUDE;
            }
        }
    }

    /// The place whose functions are `phi`, for an atom that [is linear](Atom::is_linear).
    pub(crate) fn place_of(self, phi: &[f64], t: &mut [f64]) {
        let (t, amplitude) = t.split_at_mut(self.topology.stored());
        let length = self.topology.first().of_functions(phi, t);
        for amplitude in amplitude {
            *amplitude = larger(length, NOTHING);
        }
    }

    /// The square of the length of its functions at amplitude 1, for a cone that is linear.
    pub(crate) fn square_length(self) -> f64 {
        self.topology.first().square_length().unwrap_or(1.0)
    }

    /// The amplitude at the place `t`; 1 where it is not fitted.
    pub(crate) fn amplitude(self, t: &[f64]) -> f64 {
        match self.cone {
            true => t[self.topology.stored()],
            false => 1.0,
        }
    }

    /// The functions at the place `t`.
    ///
    /// # Errors
    /// [`DictionaryError::Length`] unless `t` has [`Atom::placed`] numbers.
    pub fn evaluate(self, t: &[f64]) -> Result<Vec<f64>, DictionaryError> {
        DictionaryError::check_length("a place", t.len(), self.placed())?;
        let mut phi = vec![0.0; self.width()];
        self.values(t, &mut phi);
        Ok(phi)
    }

    /// The functions' derivatives with respect to the unknowns at the place `t`: [`Atom::local_dim`] lines of
    /// [`Atom::width`] numbers.
    ///
    /// # Errors
    /// [`DictionaryError::Length`] unless `t` has [`Atom::placed`] numbers.
    pub fn derivatives(self, t: &[f64]) -> Result<Vec<f64>, DictionaryError> {
        DictionaryError::check_length("a place", t.len(), self.placed())?;
        let (mut phi, width) = (vec![0.0; self.width()], self.width());
        let mut psi = vec![0.0; self.local_dim() * width];
        self.values_and_slopes(t, &mut phi, &mut psi, width);
        Ok(psi)
    }

    /// Writes the values of the functions at the place `t` into `phi`.
    ///
    /// `t.len()` is [`Atom::placed`], `phi.len()` is [`Atom::width`].
    pub(crate) fn values(self, t: &[f64], phi: &mut [f64]) {
        let (t, amplitude) = t.split_at(self.topology.stored());
        self.basis.evaluate(self.topology, t, phi, &mut [], 0);
        for amplitude in amplitude {
            phi.iter_mut().for_each(|v| *v *= amplitude);
        }
    }

    /// Writes values, and derivatives by unknown `a` into `psi[a * stride ..][.. width]`.
    pub(crate) fn values_and_slopes(
        self,
        t: &[f64],
        phi: &mut [f64],
        psi: &mut [f64],
        stride: usize,
    ) {
        let (t, amplitude) = t.split_at(self.topology.stored());
        self.basis.evaluate(self.topology, t, phi, psi, stride);
        for &amplitude in amplitude {
            let dim = self.topology.local_dim();
            for a in 0..dim {
                let slopes = &mut psi[a * stride..][..phi.len()];
                slopes.iter_mut().for_each(|v| *v *= amplitude);
            }
            psi[dim * stride..][..phi.len()].copy_from_slice(phi);
            phi.iter_mut().for_each(|v| *v *= amplitude);
        }
    }
}

#[derive(Deserialize)]
struct RawAtom {
    topology: Topology,
    basis: Basis,
}

impl<'de> Deserialize<'de> for Atom {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = RawAtom::deserialize(deserializer)?;
        Self::new(raw.topology, raw.basis).map_err(serde::de::Error::custom)
    }
}

/// Why a dictionary cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DictionaryError {
    /// A basis that is not defined on the atom's topology.
    #[error("the basis {basis} is not defined on the topology {topology}")]
    Basis {
        /// The topology.
        topology: Topology,
        /// The basis.
        basis: Basis,
    },
    /// No atom at all.
    #[error("a dictionary needs at least one atom")]
    Empty,
    /// More features than indices can count.
    #[error("a dictionary of {features} features is more than the {limit} supported")]
    TooWide {
        /// The features asked for.
        features: usize,
        /// The most that are supported.
        limit: usize,
    },
    /// The count of numbers differs from what the atom has.
    #[error("{what} has {got} numbers, expected {expected}")]
    Length {
        /// What they are.
        what: &'static str,
        /// How many were given.
        got: usize,
        /// How many there are.
        expected: usize,
    },
}

impl DictionaryError {
    pub(crate) fn check_length(
        what: &'static str,
        got: usize,
        expected: usize,
    ) -> Result<(), Self> {
        if got == expected {
            return Ok(());
        }
        Err(Self::Length {
            what,
            got,
            expected,
        })
    }
}

/// The most features of one dictionary: Gram matrices of this order are formed.
pub const MAX_FEATURES: usize = 16_384;

/// Text that is not a list of atoms.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseDictionaryError {
    /// The text does not have the form of an atom.
    #[error("{0:?} is no atom: expected [N*]TOPOLOGY[/BASIS], for one 32*circle/harmonics:2")]
    Atom(String),
    /// A word that is no topology.
    #[error(transparent)]
    Topology(#[from] ParseTopologyError),
    /// A word that is no basis.
    #[error(transparent)]
    Basis(#[from] ParseBasisError),
    /// Atoms that make no dictionary.
    #[error(transparent)]
    Dictionary(#[from] DictionaryError),
}

impl std::str::FromStr for Dictionary {
    type Err = ParseDictionaryError;

    /// Atoms as the command line names them: `[N*]TOPOLOGY[/BASIS]`, separated by commas.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (mut atoms, mut features) = (Vec::new(), 1_usize);
        for item in text.split(',') {
            let (count, word) = match item.split_once('*') {
                None => (1, item),
                Some((count, word)) => match count.parse() {
                    Ok(count) if count > 0 => (count, word),
                    _ => return Err(ParseDictionaryError::Atom(item.to_owned())),
                },
            };
            let (topology, basis) = match word.split_once('/') {
                Some((topology, basis)) => (topology, Some(basis.parse::<Basis>()?)),
                None => (word, None),
            };
            let topology: Topology = topology.parse()?;
            let atom = Atom::new(topology, basis.unwrap_or(Basis::default_for(topology)))?;
            // Too many atoms are refused before they are allocated.
            features = features.saturating_add(atom.width().saturating_mul(count));
            if features > MAX_FEATURES {
                let limit = MAX_FEATURES;
                return Err(DictionaryError::TooWide { features, limit }.into());
            }
            atoms.extend(std::iter::repeat_n(atom, count));
        }
        Ok(Self::new(atoms)?)
    }
}

impl std::fmt::Display for Dictionary {
    /// In the form that is parsed: a run of equal atoms is one item.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, alike) in self.atoms.chunk_by(|a, b| a == b).enumerate() {
            let comma = if i > 0 { "," } else { "" };
            let Atom {
                topology, basis, ..
            } = alike[0];
            match alike.len() {
                1 => write!(f, "{comma}{topology}/{basis}")?,
                count => write!(f, "{comma}{count}*{topology}/{basis}")?,
            }
        }
        Ok(())
    }
}

/// A list of atoms over one shared intercept. The JSON of a model file is this type's serde form:
/// `{"atoms":[{"topology":"circle","basis":"harmonics:1"}]}`, and `"amplitudes":"fitted"` beside them where they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Dictionary {
    atoms: Vec<Atom>,
    #[serde(skip_serializing_if = "Amplitudes::is_one")]
    amplitudes: Amplitudes,
    #[serde(skip)]
    features: Vec<usize>,
    #[serde(skip)]
    columns: Vec<usize>,
    /// As `columns`, for places.
    #[serde(skip)]
    places: Vec<usize>,
}

#[derive(Deserialize)]
struct RawDictionary {
    atoms: Vec<Atom>,
    #[serde(default)]
    amplitudes: Amplitudes,
}

impl<'de> Deserialize<'de> for Dictionary {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = RawDictionary::deserialize(deserializer)?;
        let dictionary = Self::new(raw.atoms).map_err(serde::de::Error::custom)?;
        Ok(dictionary.with_amplitudes(raw.amplitudes))
    }
}

impl Dictionary {
    /// A dictionary of `atoms`, in this order.
    ///
    /// # Errors
    /// [`DictionaryError::Empty`], [`DictionaryError::TooWide`].
    pub fn new(atoms: Vec<Atom>) -> Result<Self, DictionaryError> {
        if atoms.is_empty() {
            return Err(DictionaryError::Empty);
        }
        let mut features = vec![1_usize];
        let mut columns = vec![0_usize];
        for atom in &atoms {
            features.push(features[features.len() - 1].saturating_add(atom.width()));
            columns.push(columns[columns.len() - 1] + atom.stored());
        }
        let width = features[atoms.len()];
        if width > MAX_FEATURES {
            return Err(DictionaryError::TooWide {
                features: width,
                limit: MAX_FEATURES,
            });
        }
        let amplitudes = Amplitudes::One;
        Ok(Self {
            places: columns.clone(),
            atoms: atoms.into_iter().map(Atom::base).collect(),
            amplitudes,
            features,
            columns,
        })
    }

    /// The same atoms with these amplitudes. Euclidean atoms keep amplitude 1, and where there are no others nothing
    /// is fitted.
    #[must_use]
    pub fn with_amplitudes(mut self, amplitudes: Amplitudes) -> Self {
        self.amplitudes = amplitudes;
        let mut last = 0;
        self.places.truncate(1);
        for atom in &mut self.atoms {
            *atom = atom.base();
            let alone = atom.topology.alone().is_some_and(Factor::is_flat);
            atom.cone = amplitudes == Amplitudes::Fitted && !alone;
            last += atom.placed();
            self.places.push(last);
        }
        if !self.has_cones() {
            self.amplitudes = Amplitudes::One;
        }
        self
    }

    /// The amplitudes of its atoms.
    pub fn amplitudes(&self) -> Amplitudes {
        self.amplitudes
    }

    /// A dictionary of `count` equal atoms.
    ///
    /// # Errors
    /// As [`Atom::new`] and [`Dictionary::new`].
    pub fn uniform(
        count: usize,
        topology: Topology,
        basis: Basis,
    ) -> Result<Self, DictionaryError> {
        let atom = Atom::new(topology, basis)?;
        if count > MAX_FEATURES {
            return Err(DictionaryError::TooWide {
                features: count.saturating_mul(atom.width()),
                limit: MAX_FEATURES,
            });
        }
        Self::new(vec![atom; count])
    }

    /// The atoms in order.
    pub fn atoms(&self) -> &[Atom] {
        &self.atoms
    }

    /// The number of atoms.
    pub fn len(&self) -> usize {
        self.atoms.len()
    }

    /// Always false: a dictionary has at least one atom. It exists because [`Dictionary::len`] does.
    pub fn is_empty(&self) -> bool {
        self.atoms.is_empty()
    }

    /// `M`: the intercept and every atom's functions.
    pub fn features(&self) -> usize {
        self.features[self.atoms.len()]
    }

    /// The features of atom `a`; feature 0 is the intercept.
    pub fn atom_features(&self, a: usize) -> Range<usize> {
        self.features[a]..self.features[a + 1]
    }

    /// Columns of a coordinates array: stored numbers of all atoms.
    pub fn columns(&self) -> usize {
        self.columns[self.atoms.len()]
    }

    /// The columns of atom `a` in a coordinates array.
    pub fn atom_columns(&self, a: usize) -> Range<usize> {
        self.columns[a]..self.columns[a + 1]
    }

    /// Numbers of a row's places on all atoms.
    pub(crate) fn placed(&self) -> usize {
        self.places[self.atoms.len()]
    }

    /// The place on atom `a` among those of all atoms.
    pub(crate) fn atom_place(&self, a: usize) -> Range<usize> {
        self.places[a]..self.places[a + 1]
    }

    /// Whether any atom has a fitted amplitude.
    pub(crate) fn has_cones(&self) -> bool {
        self.atoms.iter().any(|atom| atom.is_cone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mixed() -> Dictionary {
        Dictionary::new(vec![
            Atom::new(Topology::Circle, Basis::Harmonics { highest: 2 }).unwrap(),
            Atom::new(Topology::Sphere, Basis::Spherical { degree: 1 }).unwrap(),
            Atom::new(
                Topology::Euclidean { dimension: 2 },
                Basis::Monomials { degree: 2 },
            )
            .unwrap(),
            Atom::new(Topology::Cylinder, Basis::Harmonics { highest: 1 }).unwrap(),
        ])
        .unwrap()
    }

    #[test]
    fn coordinates_of_another_length_are_refused() {
        for atom in mixed().atoms().iter().copied() {
            let (t, delta) = (vec![0.3; atom.stored()], vec![0.1; atom.local_dim()]);
            assert_eq!(atom.evaluate(&t).unwrap().len(), atom.width());
            let slopes = atom.derivatives(&t).unwrap();
            assert_eq!(slopes.len(), atom.width() * atom.local_dim());
            let topology = atom.topology();
            assert_eq!(topology.projected(&t).unwrap().len(), atom.stored());
            assert_eq!(topology.moved(&t, &delta).unwrap().len(), atom.stored());
            for wrong in [vec![], vec![0.0; atom.stored() + 1]] {
                let length = |error| matches!(error, DictionaryError::Length { got, .. } if got == wrong.len());
                assert!(length(atom.evaluate(&wrong).unwrap_err()));
                assert!(length(atom.derivatives(&wrong).unwrap_err()));
                assert!(length(topology.projected(&wrong).unwrap_err()));
                assert!(length(topology.moved(&wrong, &delta).unwrap_err()));
            }
            assert!(topology.moved(&t, &[]).is_err());
        }
    }

    #[test]
    fn features_and_columns_are_stacked_in_order_after_the_intercept() {
        let dictionary = mixed();
        assert_eq!(dictionary.features(), 1 + 4 + 3 + 5 + 5);
        assert_eq!(dictionary.atom_features(1), 5..8);
        assert_eq!(dictionary.columns(), 1 + 3 + 2 + 2);
        assert_eq!(dictionary.atom_columns(2), 4..6);
    }

    #[test]
    fn words_name_atoms_and_round_trip() {
        for word in [
            "circle/harmonics:1",
            "32*circle/harmonics:1,64*euclidean:1/monomials:1",
            "2*torus/harmonics:1,circle/harmonics:3",
            "3*cylinder/harmonics:2,cylinder/harmonics:1",
            "circle/harmonics:1,circle/harmonics:2,circle/harmonics:1",
        ] {
            let dictionary: Dictionary = word.parse().unwrap();
            assert_eq!(dictionary.to_string(), word);
        }
        let short: Dictionary = "2*sphere,euclidean,cylinder".parse().unwrap();
        let long = "2*sphere/spherical:1,euclidean:1/monomials:1,cylinder/harmonics:1";
        assert_eq!(short.to_string(), long);
        assert_eq!(mixed().to_string().parse(), Ok(mixed()));
    }

    #[test]
    fn words_that_name_no_dictionary_are_refused_before_it_is_made() {
        use ParseDictionaryError as E;
        let refused = |word: &str| word.parse::<Dictionary>().unwrap_err();
        for word in ["0*circle", "x*circle", "-1*circle", "*circle"] {
            assert!(matches!(refused(word), E::Atom(item) if item == word));
        }
        assert!(matches!(refused(""), E::Topology(_)));
        assert!(matches!(refused("circle,"), E::Topology(_)));
        assert!(matches!(refused("2*disc"), E::Topology(_)));
        assert!(matches!(refused("circle/waves:1"), E::Basis(_)));
        let off = |e: E| matches!(e, E::Dictionary(DictionaryError::Basis { .. }));
        assert!(off(refused("sphere/harmonics:1")));
        let wide = |e: E| matches!(e, E::Dictionary(DictionaryError::TooWide { .. }));
        assert!(wide(refused("18446744073709551615*circle")));
        assert!(wide(refused("8191*circle,circle")));
    }

    #[test]
    fn json_names_atoms_and_round_trips() {
        let dictionary = mixed();
        let json = serde_json::to_string(&dictionary).unwrap();
        assert!(
            json.starts_with(r#"{"atoms":[{"topology":"circle","basis":"harmonics:2"}"#),
            "{json}"
        );
        assert_eq!(
            serde_json::from_str::<Dictionary>(&json).unwrap(),
            dictionary
        );
    }

    #[test]
    fn a_basis_off_its_topology_is_refused_also_in_json() {
        assert!(Atom::new(Topology::Sphere, Basis::Harmonics { highest: 1 }).is_err());
        for dimension in [0, crate::model::topology::MAX_EUCLIDEAN + 1] {
            let space = Topology::Euclidean { dimension };
            assert!(Atom::new(space, Basis::Monomials { degree: 1 }).is_err());
        }
        let json = r#"{"atoms":[{"topology":"sphere","basis":"harmonics:1"}]}"#;
        let error = serde_json::from_str::<Dictionary>(json).unwrap_err();
        assert!(error.to_string().contains("not defined"), "{error}");
        assert!(serde_json::from_str::<Dictionary>(r#"{"atoms":[]}"#).is_err());
        assert!(
            Dictionary::uniform(
                usize::MAX,
                Topology::Circle,
                Basis::Harmonics { highest: 1 }
            )
            .is_err()
        );
    }
}
