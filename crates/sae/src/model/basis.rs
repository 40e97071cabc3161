//! Bases: the functions of an atom's coordinate, without a constant.
//!
//! | basis | of | functions |
//! |---|---|---|
//! | monomials, degree 1 or 2 | lines | `t_a`; then `t_a t_b`, `a <= b` |
//! | harmonics 1..h | circles | `cos m t`, `sin m t`: `2h` |
//! | spherical, degree 1 or 2 | spheres | real harmonics: 3 or 8 |
//!
//! A [factor](super::factor) defines the functions. The basis of a product is the product of the factors' bases
//! with the constant, minus the constant. It is named by the basis of the first factor; factors of another kind
//! use their first degree:
//!
//! ```text
//! torus, harmonics h      {1, cos, sin, ..} x {1, cos, sin, ..} - 1      (2h + 1)^2 - 1
//! cylinder, harmonics h   {1, cos, sin, ..} x {1, t} - 1                 2 (2h + 1) - 1
//! ```
//!
//! Derivatives are with respect to the *local* coordinates of [`Topology`], one row per local coordinate.
//! There is no constant because the dictionary has one intercept, and two constants would make `Phi' Phi`
//! singular.

use crate::model::factor::Factor;
use crate::model::topology::{MOST_FACTORS, Placed, Topology};
use serde::{Deserialize, Serialize};

/// The functions of an atom's coordinate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Basis {
    /// Monomials of the Euclidean coordinates up to `degree`, 1 or 2.
    Monomials {
        /// The highest degree.
        degree: usize,
    },
    /// Cosines and sines of the multiples `1..=highest` of an angle; products on a torus.
    Harmonics {
        /// The highest multiple, 1 to [`MAX_HARMONIC`].
        highest: usize,
    },
    /// Real spherical harmonics of degrees `1..=degree`, with `degree` 1 or 2.
    Spherical {
        /// The highest degree.
        degree: usize,
    },
}

/// The highest harmonic of a circle or torus.
pub const MAX_HARMONIC: usize = 16;

/// A word that names no basis.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no basis: expected monomials:1, monomials:2, harmonics:H with H from 1 to 16, \
     spherical:1 or spherical:2"
)]
pub struct ParseBasisError(pub String);

impl Basis {
    /// The basis that a topology has by default: first degree or first harmonic.
    pub fn default_for(topology: Topology) -> Self {
        topology.first().basis(1)
    }

    /// Whether this basis is defined on `topology`.
    pub fn fits(self, topology: Topology) -> bool {
        let first = topology.first();
        let of_it = first.basis(self.degree()) == self
            && (1..=first.highest_degree()).contains(&self.degree());
        let alone = topology.alone().is_some();
        let within = |part: Placed| part.local.len() <= MOST_LOCAL;
        let held = self.widest(topology) <= WIDE && topology.factors().all(within);
        of_it && (alone || held)
    }

    /// The highest degree of its functions: harmonic, power, or degree of a spherical harmonic.
    fn degree(self) -> usize {
        match self {
            Self::Monomials { degree } | Self::Spherical { degree } => degree,
            Self::Harmonics { highest } => highest,
        }
    }

    /// The degree of its functions on a factor: the first degree where the basis is for another kind of factor.
    pub(crate) fn degree_on(self, factor: Factor) -> usize {
        match self.degree() {
            degree if factor.basis(degree) == self => degree,
            _ => 1,
        }
    }

    /// Functions on each factor, the constant included.
    pub(crate) fn sides(self, topology: Topology) -> impl Iterator<Item = usize> + Clone {
        let factors = topology.factors().map(|part| part.factor);
        factors.map(move |factor| 1 + factor.width(self.degree_on(factor)))
    }

    /// The largest of [`Basis::sides`].
    fn widest(self, topology: Topology) -> usize {
        self.sides(topology).max().unwrap_or(0)
    }

    /// The number of functions on `topology`.
    pub(crate) fn width(self, topology: Topology) -> usize {
        self.sides(topology).product::<usize>() - 1
    }

    /// Writes the functions at `t` into `phi` and their derivatives by local coordinate `a` into
    /// `psi[a * stride ..][.. width]`. `psi` may be empty: then only values are written.
    pub(crate) fn evaluate(
        self,
        topology: Topology,
        t: &[f64],
        phi: &mut [f64],
        psi: &mut [f64],
        stride: usize,
    ) {
        match topology.alone() {
            Some(factor) => factor.functions(self.degree_on(factor), t, phi, psi, stride),
            None if self.widest(topology) <= NARROW => {
                products::<NARROW>(self, topology, t, phi, psi, stride);
            }
            None => products::<WIDE>(self, topology, t, phi, psi, stride),
        }
    }
}

/// The most functions of a factor in a product, the constant included.
const WIDE: usize = 2 * MAX_HARMONIC + 1;

/// Enough for most factors: clearing room for [`WIDE`] costs more than two sines.
const NARROW: usize = 9;

/// The most local coordinates of a factor in a product.
const MOST_LOCAL: usize = 2;

/// What one factor brings to a product: at most `SIDE` functions, the constant included.
#[derive(Clone, Copy)]
struct Brought<const SIDE: usize> {
    values: [f64; SIDE],
    /// Their derivatives, one line per local coordinate.
    slopes: [[f64; SIDE]; MOST_LOCAL],
    /// The number of values.
    side: usize,
    /// The number of local coordinates.
    local: usize,
}

impl<const SIDE: usize> Brought<SIDE> {
    const NOTHING: Self = Self {
        values: [0.0; SIDE],
        slopes: [[0.0; SIDE]; MOST_LOCAL],
        side: 1,
        local: 0,
    };

    /// Computes the values of a factor's functions at `t`, and their slopes if requested.
    fn fill(&mut self, factor: Factor, degree: usize, t: &[f64], slopes: bool) {
        (self.side, self.local) = (1 + factor.width(degree), factor.local_dim());
        self.values[0] = 1.0;
        // A line of slopes begins with the constant's slope, which is 0.
        let into = match slopes {
            true => &mut self.slopes.as_flattened_mut()[1..],
            false => &mut [],
        };
        factor.functions(degree, t, &mut self.values[1..self.side], into, SIDE);
    }
}

/// All products of the factors' functions and the constant, except that of the constants alone. The last
/// factor's functions run fastest.
fn products<const SIDE: usize>(
    basis: Basis,
    topology: Topology,
    t: &[f64],
    phi: &mut [f64],
    psi: &mut [f64],
    stride: usize,
) {
    let mut brought = [Brought::<SIDE>::NOTHING; MOST_FACTORS];
    let (mut count, wanted) = (0, !psi.is_empty());
    for (to, part) in brought.iter_mut().zip(topology.factors()) {
        let degree = basis.degree_on(part.factor);
        to.fill(part.factor, degree, &t[part.stored], wanted);
        count += 1;
    }
    let brought = &brought[..count];
    let mut at = [0; MOST_FACTORS];
    for (place, value) in phi.iter_mut().enumerate() {
        for (at, one) in at.iter_mut().zip(brought).rev() {
            *at += 1;
            if *at < one.side {
                break;
            }
            *at = 0;
        }
        let values = || brought.iter().zip(at).map(|(one, at)| one.values[at]);
        *value = values().product();
        if !wanted {
            continue;
        }
        let mut line = 0;
        for (f, one) in brought.iter().enumerate() {
            for slopes in &one.slopes[..one.local] {
                let slope = slopes[at[f]];
                let others = values().enumerate();
                let factors = others.map(|(g, value)| if g == f { slope } else { value });
                psi[line * stride + place] = factors.product();
                line += 1;
            }
        }
    }
}

impl std::fmt::Display for Basis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Monomials { degree } => write!(f, "monomials:{degree}"),
            Self::Harmonics { highest } => write!(f, "harmonics:{highest}"),
            Self::Spherical { degree } => write!(f, "spherical:{degree}"),
        }
    }
}

impl From<Basis> for String {
    fn from(value: Basis) -> Self {
        value.to_string()
    }
}

impl TryFrom<String> for Basis {
    type Error = ParseBasisError;
    fn try_from(word: String) -> Result<Self, Self::Error> {
        word.parse()
    }
}

impl std::str::FromStr for Basis {
    type Err = ParseBasisError;
    fn from_str(word: &str) -> Result<Self, Self::Err> {
        let error = || ParseBasisError(word.to_owned());
        let (name, number) = word.split_once(':').ok_or_else(error)?;
        let number: usize = number.parse().map_err(|_| error())?;
        match name {
            "monomials" if matches!(number, 1 | 2) => Ok(Self::Monomials { degree: number }),
            "harmonics" if (1..=MAX_HARMONIC).contains(&number) => {
                Ok(Self::Harmonics { highest: number })
            }
            "spherical" if matches!(number, 1 | 2) => Ok(Self::Spherical { degree: number }),
            _ => Err(error()),
        }
    }
}

#[cfg(test)]
mod tests;
