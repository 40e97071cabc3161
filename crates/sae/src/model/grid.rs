//! Grids on an atom's manifold: where a row's search begins.
//!
//! Fine enough that the nearest grid point lies in the basin of the best minimum of the atom's
//! functions: about eight points for each period of the highest harmonic.

use crate::model::basis::Basis;
use crate::model::dictionary::Atom;
use crate::model::topology::Topology;
use std::f64::consts::{PI, TAU};

/// Points of an atom with the values of its functions there.
#[derive(Clone, Debug)]
pub(crate) struct Grid {
    stored: usize,
    width: usize,
    points: Vec<f64>,
    values: Vec<f64>,
}

impl Grid {
    /// The grid of `atom`.
    pub(crate) fn on(atom: Atom) -> Self {
        let points = match (atom.topology(), atom.basis()) {
            (Topology::Circle, basis) => angles((8 * harmonics(basis)).max(16)),
            (Topology::Torus, basis) => {
                let side = angles((6 * harmonics(basis)).max(10));
                side.iter()
                    .flat_map(|&a| side.iter().flat_map(move |&b| [a, b]))
                    .collect()
            }
            (Topology::Sphere, _) => spiral(96),
            (Topology::Euclidean { dimension }, basis) => euclidean(dimension, basis),
        };
        let (stored, width) = (atom.stored(), atom.width());
        let mut values = vec![0.0; points.len() / stored * width];
        for (t, phi) in points
            .chunks_exact(stored)
            .zip(values.chunks_exact_mut(width))
        {
            atom.values(t, phi);
        }
        Self {
            stored,
            width,
            points,
            values,
        }
    }

    /// The functions at every point, in order.
    pub(crate) fn rows(&self) -> impl Iterator<Item = &[f64]> {
        self.values.chunks_exact(self.width)
    }

    /// Stored coordinates of point `g`.
    pub(crate) fn point(&self, g: usize) -> &[f64] {
        &self.points[g * self.stored..][..self.stored]
    }
}

fn harmonics(basis: Basis) -> usize {
    match basis {
        Basis::Harmonics { highest } => highest,
        _ => 1,
    }
}

fn angles(count: usize) -> Vec<f64> {
    (0..count)
        .map(|i| -PI + TAU * i as f64 / count as f64)
        .collect()
}

/// A Fibonacci spiral: nearly even on the sphere.
fn spiral(count: usize) -> Vec<f64> {
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
fn euclidean(dimension: usize, basis: Basis) -> Vec<f64> {
    if basis == (Basis::Monomials { degree: 1 }) {
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
