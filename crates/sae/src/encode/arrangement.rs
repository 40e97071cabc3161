//! The order of features while rows choose their atoms.

use crate::data::dot;
use crate::model::basis::Basis;
use crate::model::dictionary::{Atom, Dictionary};
use crate::model::topology::Topology;

/// The positions of features while rows choose: the first functions of all circles of a first harmonic, then
/// their second functions, then the features of the other atoms, atom by atom. The intercept is left out.
#[derive(Clone, Debug)]
pub(crate) struct Arrangement {
    /// Atoms that are circles of a first harmonic.
    circles: Vec<usize>,
    places: Vec<FeaturePlace>,
    /// The dictionary's feature at every place.
    order: Vec<usize>,
    /// The width of the widest atom, and the most stored numbers of an atom whose functions do not determine
    /// them.
    width: usize,
    stored: usize,
}

/// The positions of an atom's features.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FeaturePlace {
    pub(crate) first: usize,
    pub(crate) step: usize,
    pub(crate) width: usize,
}

impl FeaturePlace {
    /// The positions of its features.
    pub(crate) fn all(self) -> impl Iterator<Item = usize> + Clone {
        (0..self.width).map(move |m| self.first + m * self.step)
    }
}

pub(crate) fn is_first_harmonic(atom: Atom) -> bool {
    atom.topology() == Topology::Circle && atom.basis() == (Basis::Harmonics { highest: 1 })
}

impl Arrangement {
    pub(crate) fn of(dictionary: &Dictionary) -> Self {
        let atoms = dictionary.atoms();
        let circles: Vec<usize> = (0..atoms.len())
            .filter(|&a| is_first_harmonic(atoms[a]))
            .collect();
        let mut order = vec![0; dictionary.features() - 1];
        let mut places = vec![
            FeaturePlace {
                first: 0,
                step: 1,
                width: 0
            };
            atoms.len()
        ];
        let mut next = 2 * circles.len();
        let mut circle = 0;
        for (a, atom) in atoms.iter().enumerate() {
            places[a] = match is_first_harmonic(*atom) {
                true => FeaturePlace {
                    first: circle,
                    step: circles.len(),
                    width: 2,
                },
                false => FeaturePlace {
                    first: next,
                    step: 1,
                    width: atom.width(),
                },
            };
            match is_first_harmonic(*atom) {
                true => circle += 1,
                false => next += atom.width(),
            }
            for (at, feature) in places[a].all().zip(dictionary.atom_features(a)) {
                order[at] = feature;
            }
        }
        Self {
            circles,
            places,
            order,
            width: atoms.iter().map(|atom| atom.width()).max().unwrap_or(0),
            stored: (atoms.iter())
                .filter(|atom| !is_first_harmonic(**atom))
                .map(|atom| atom.placed())
                .max()
                .unwrap_or(0),
        }
    }

    /// The number of features without the intercept.
    pub(crate) fn features(&self) -> usize {
        self.order.len()
    }

    pub(crate) fn atoms(&self) -> usize {
        self.places.len()
    }

    /// Whether atom `a` is a circle of a first harmonic.
    pub(crate) fn is_circle(&self, a: usize) -> bool {
        self.circles.binary_search(&a).is_ok()
    }

    /// Whether the best place on every atom is found without a grid.
    pub(crate) fn in_closed_form(&self, dictionary: &Dictionary) -> bool {
        let atoms = dictionary.atoms().iter().enumerate();
        atoms
            .filter(|(a, _)| !self.is_circle(*a))
            .all(|(_, atom)| atom.is_linear())
    }

    pub(crate) fn place(&self, a: usize) -> FeaturePlace {
        self.places[a]
    }

    pub(crate) fn width(&self) -> usize {
        self.width
    }

    pub(crate) fn stored(&self) -> usize {
        self.stored
    }

    /// Atoms that are circles of a first harmonic.
    pub(crate) fn circles(&self) -> &[usize] {
        &self.circles
    }

    /// Rows of the dictionary's decoder (`M x p`, intercept first) in this order, without the intercept.
    pub(crate) fn gather(&self, decoder: &[f64], outputs: usize) -> Vec<f64> {
        let line = |&f: &usize| decoder[f * outputs..][..outputs].iter().copied();
        self.order.iter().flat_map(line).collect()
    }

    /// The dictionary's decoder (`M x p`, intercept first) of rows in this order.
    pub(crate) fn scatter(&self, arranged: &[f64], intercept: &[f64]) -> Vec<f64> {
        let p = intercept.len();
        let mut decoder = vec![0.0; (self.order.len() + 1) * p];
        decoder[..p].copy_from_slice(intercept);
        for (line, &f) in arranged.chunks_exact(p.max(1)).zip(&self.order) {
            decoder[f * p..][..p].copy_from_slice(line);
        }
        decoder
    }

    /// Turns every circle of a first harmonic into its own axes, the longer one first: the two lines of
    /// its decoder become orthogonal, and the angles of its rows turn with them. Returns the turns (cosine and
    /// sine), one per circle, for [`Codes::turn`](crate::rounds::codes::Codes::turn).
    pub(crate) fn turn(&self, arranged: &mut [f64], outputs: usize) -> Vec<[f64; 2]> {
        let count = self.circles.len();
        let (firsts, rest) = arranged.split_at_mut(count * outputs);
        let seconds = &mut rest[..count * outputs];
        let pairs = firsts
            .chunks_exact_mut(outputs)
            .zip(seconds.chunks_exact_mut(outputs));
        pairs
            .map(|(w0, w1)| {
                let (a, b, d) = (dot(w0, w0), dot(w0, w1), dot(w1, w1));
                let (sin, cos) = (0.5 * (2.0 * b).atan2(a - d)).sin_cos();
                for (w0, w1) in w0.iter_mut().zip(w1) {
                    (*w0, *w1) = (cos * *w0 + sin * *w1, cos * *w1 - sin * *w0);
                }
                [cos, sin]
            })
            .collect()
    }
}
