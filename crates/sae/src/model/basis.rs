//! Bases: the functions that an atom offers of its coordinate, without a constant.
//!
//! | basis | on | functions |
//! |---|---|---|
//! | monomials, degree 1 or 2 | Euclidean(D) | `t_a`; then `t_a t_b`, `a <= b` |
//! | harmonics 1..h | circle | `cos m t`, `sin m t`: `2h` |
//! | harmonics 1..h | torus | all products but the constant: `(2h+1)^2 - 1` |
//! | spherical, degree 1 or 2 | sphere | real harmonics: 3 or 8 |
//!
//! Spherical harmonics are normalised so that `sum_m Y_lm^2 = 2l + 1` (their mean square over the
//! sphere is 1). Derivatives are by the *local* coordinates of [`Topology`], laid out one row per
//! local coordinate. A constant is absent because the dictionary has one intercept, and two
//! constants would make `Phi' Phi` singular.

use crate::model::factor::tangent_basis;
use crate::model::topology::{MAX_EUCLIDEAN, Topology};
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

/// A word that is no basis.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no basis: expected monomials:1, monomials:2, harmonics:H with H from 1 to 16, \
     spherical:1 or spherical:2"
)]
pub struct ParseBasisError(pub String);

impl Basis {
    /// The basis that a topology has by default: first degree or first harmonic.
    pub fn default_for(topology: Topology) -> Self {
        match topology {
            Topology::Euclidean { .. } => Self::Monomials { degree: 1 },
            Topology::Circle | Topology::Torus => Self::Harmonics { highest: 1 },
            Topology::Sphere => Self::Spherical { degree: 1 },
        }
    }

    /// Whether this basis is defined on `topology`.
    pub fn fits(self, topology: Topology) -> bool {
        match (self, topology) {
            (Self::Monomials { degree }, Topology::Euclidean { dimension }) => {
                (1..=MAX_EUCLIDEAN).contains(&dimension) && matches!(degree, 1 | 2)
            }
            (Self::Harmonics { highest }, Topology::Circle | Topology::Torus) => {
                (1..=MAX_HARMONIC).contains(&highest)
            }
            (Self::Spherical { degree }, Topology::Sphere) => matches!(degree, 1 | 2),
            _ => false,
        }
    }

    /// The highest degree of its functions: harmonic, power, or degree of a spherical harmonic.
    pub(crate) fn degree(self) -> usize {
        match self {
            Self::Monomials { degree } | Self::Spherical { degree } => degree,
            Self::Harmonics { highest } => highest,
        }
    }

    /// The number of functions on `topology`.
    pub(crate) fn width(self, topology: Topology) -> usize {
        match self {
            Self::Monomials { degree } => {
                let d = topology.stored();
                if degree == 1 { d } else { d + d * (d + 1) / 2 }
            }
            Self::Harmonics { highest } => match topology {
                Topology::Torus => (2 * highest + 1) * (2 * highest + 1) - 1,
                _ => 2 * highest,
            },
            Self::Spherical { degree } => (degree + 1) * (degree + 1) - 1,
        }
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
        match (self, topology) {
            (Self::Harmonics { highest }, Topology::Torus) => {
                torus_harmonics(highest, t, phi, psi, stride);
            }
            (Self::Harmonics { .. }, _) => circle_harmonics(t[0], phi, psi),
            (Self::Monomials { degree }, _) => monomials(degree, t, phi, psi, stride),
            (Self::Spherical { degree }, _) => spherical(degree, t, phi, psi, stride),
        }
    }
}

fn circle_harmonics(t: f64, phi: &mut [f64], psi: &mut [f64]) {
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

/// `1, cos t, sin t, cos 2t, sin 2t, ...` and its derivative.
fn with_constant(highest: usize, t: f64) -> ([f64; WIDE], [f64; WIDE]) {
    let mut value = [0.0; WIDE];
    let mut slope = [0.0; WIDE];
    value[0] = 1.0;
    let end = 2 * highest + 1;
    circle_harmonics(t, &mut value[1..end], &mut slope[1..end]);
    (value, slope)
}

const WIDE: usize = 2 * MAX_HARMONIC + 1;

fn torus_harmonics(highest: usize, t: &[f64], phi: &mut [f64], psi: &mut [f64], stride: usize) {
    let side = 2 * highest + 1;
    let (u, du) = with_constant(highest, t[0]);
    let (v, dv) = with_constant(highest, t[1]);
    for flat in 1..side * side {
        let (a, b) = (flat / side, flat % side);
        phi[flat - 1] = u[a] * v[b];
        if !psi.is_empty() {
            psi[flat - 1] = du[a] * v[b];
            psi[stride + flat - 1] = u[a] * dv[b];
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
