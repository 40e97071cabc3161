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

use crate::model::basis::{Basis, ParseBasisError};
use crate::model::topology::{ParseTopologyError, Topology};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// One curved atom: where its coordinate lives, and the functions of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Atom {
    topology: Topology,
    basis: Basis,
}

impl Atom {
    /// An atom of `basis` on `topology`.
    ///
    /// # Errors
    /// [`DictionaryError::Basis`] where the basis is not defined on the topology.
    pub fn new(topology: Topology, basis: Basis) -> Result<Self, DictionaryError> {
        if basis.fits(topology) {
            Ok(Self { topology, basis })
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

    /// Unknowns per row in which it is on.
    pub fn local_dim(self) -> usize {
        self.topology.local_dim()
    }

    /// The functions at the stored coordinate `t`.
    ///
    /// # Errors
    /// [`DictionaryError::Length`] unless `t` has [`Atom::stored`] numbers.
    pub fn evaluate(self, t: &[f64]) -> Result<Vec<f64>, DictionaryError> {
        DictionaryError::check_length("a coordinate", t.len(), self.stored())?;
        let mut phi = vec![0.0; self.width()];
        self.values(t, &mut phi);
        Ok(phi)
    }

    /// The functions' derivatives with respect to the local coordinates at `t`: [`Atom::local_dim`] lines of
    /// [`Atom::width`] numbers.
    ///
    /// # Errors
    /// [`DictionaryError::Length`] unless `t` has [`Atom::stored`] numbers.
    pub fn derivatives(self, t: &[f64]) -> Result<Vec<f64>, DictionaryError> {
        DictionaryError::check_length("a coordinate", t.len(), self.stored())?;
        let (mut phi, width) = (vec![0.0; self.width()], self.width());
        let mut psi = vec![0.0; self.local_dim() * width];
        self.values_and_slopes(t, &mut phi, &mut psi, width);
        Ok(psi)
    }

    /// Writes the values of the functions at the stored coordinate `t` into `phi`.
    ///
    /// `t.len()` is [`Atom::stored`], `phi.len()` is [`Atom::width`].
    pub(crate) fn values(self, t: &[f64], phi: &mut [f64]) {
        self.basis.evaluate(self.topology, t, phi, &mut [], 0);
    }

    /// Writes values, and derivatives by local coordinate `a` into `psi[a * stride ..][.. width]`.
    pub(crate) fn values_and_slopes(
        self,
        t: &[f64],
        phi: &mut [f64],
        psi: &mut [f64],
        stride: usize,
    ) {
        self.basis.evaluate(self.topology, t, phi, psi, stride);
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
            let Atom { topology, basis } = alike[0];
            match alike.len() {
                1 => write!(f, "{comma}{topology}/{basis}")?,
                count => write!(f, "{comma}{count}*{topology}/{basis}")?,
            }
        }
        Ok(())
    }
}

/// A list of atoms over one shared intercept. The JSON of a model file is this type's serde form:
/// `{"atoms":[{"topology":"circle","basis":"harmonics:1"}]}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Dictionary {
    atoms: Vec<Atom>,
    #[serde(skip)]
    features: Vec<usize>,
    #[serde(skip)]
    columns: Vec<usize>,
}

#[derive(Deserialize)]
struct RawDictionary {
    atoms: Vec<Atom>,
}

impl<'de> Deserialize<'de> for Dictionary {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = RawDictionary::deserialize(deserializer)?;
        Self::new(raw.atoms).map_err(serde::de::Error::custom)
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
        Ok(Self {
            atoms,
            features,
            columns,
        })
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
