//! Lines through the origin of a flat atom of degree 2: where a row's search on such an atom begins.
//!
//! Along the unit direction `d` the energy of such an atom is a quartic in the distance `s`,
//!
//! ```text
//! e(s d) = -s q1'd - s^2 q2'dd + (s^2 d'K11 d + 2 s^3 d'K12 dd + s^4 dd'K22 dd + kappa s^2) / 2
//! ```
//!
//! (`dd` are the products of `d`'s entries). Its lowest point is known in closed form however far out it
//! lies, so a grid of directions alone covers the whole space. In one dimension the single direction gives
//! the answer.

use crate::data::dot;
use crate::model::basis::Basis;
use crate::model::dictionary::Atom;
use crate::model::factor::spiral;
use crate::model::topology::Topology;
use std::f64::consts::PI;

/// Directions in the plane, and in space.
const IN_PLANE: usize = 64;
const IN_SPACE: usize = 192;

/// Up to this dimension the directions include diagonals; above it they are the axes alone.
const DIAGONALS: usize = 6;

/// Directions of an atom, with the decoder's quartic coefficients along each.
#[derive(Clone, Debug)]
pub(crate) struct Rays {
    dimension: usize,
    width: usize,
    /// Unit vectors.
    directions: Vec<f64>,
    /// The atom's functions at each.
    values: Vec<f64>,
    /// `d'K11 d / 2`, `d'K12 dd`, `dd'K22 dd / 2` of each.
    forms: Vec<[f64; 3]>,
    /// Directions next to each.
    neighbours: Vec<Vec<usize>>,
    /// The angle between directions that are next to each other.
    spacing: f64,
}

impl Rays {
    /// The rays of `atom`, whose functions have the Gram matrix `gram(i, j)`; `None` unless it is flat of degree 2.
    pub(crate) fn on(atom: Atom, gram: impl Fn(usize, usize) -> f64) -> Option<Self> {
        let (Topology::Euclidean { dimension }, Basis::Monomials { degree: 2 }) =
            (atom.topology(), atom.basis())
        else {
            return None;
        };
        let (directions, spacing) = directions(dimension);
        let near = if spacing.is_finite() {
            (1.4 * spacing).cos()
        } else {
            1.0
        };
        let width = atom.width();
        let mut values = vec![0.0; directions.len() / dimension * width];
        let each = directions.chunks_exact(dimension);
        for (d, phi) in each.clone().zip(values.chunks_exact_mut(width)) {
            atom.values(d, phi);
        }
        let form = |phi: &[f64], rows: std::ops::Range<usize>, columns: std::ops::Range<usize>| {
            let line = |i| -> f64 { columns.clone().map(|j| gram(i, j) * phi[j]).sum() };
            rows.map(|i| phi[i] * line(i)).sum::<f64>()
        };
        let (first, second) = (0..dimension, dimension..width);
        let forms = values.chunks_exact(width).map(|phi| {
            [
                0.5 * form(phi, first.clone(), first.clone()),
                form(phi, first.clone(), second.clone()),
                0.5 * form(phi, second.clone(), second.clone()),
            ]
        });
        let neighbours = each.clone().map(|d| {
            let others = each.clone().enumerate();
            let is_near = |other: &[f64]| {
                let cos = dot(d, other).abs();
                cos > near && cos < 1.0 - 1e-9
            };
            let found = others.filter(|(_, other)| is_near(other));
            found.map(|(g, _)| g).collect()
        });
        Some(Self {
            dimension,
            width,
            forms: forms.collect(),
            neighbours: neighbours.collect(),
            directions: directions.clone(),
            spacing,
            values,
        })
    }

    /// The lowest energy on every ray and its distance along the ray, for the pull `left`.
    fn lowest(&self, left: &[f64], kappa: f64) -> Vec<(f64, f64)> {
        let values = self.values.chunks_exact(self.width);
        let each = values
            .zip(&self.forms)
            .map(|(phi, &[linear, mixed, even])| {
                let (first, second) = phi.split_at(self.dimension);
                let (q1, q2) = left.split_at(self.dimension);
                quartic([
                    -dot(q1, first),
                    linear + 0.5 * kappa - dot(q2, second),
                    mixed,
                    even,
                ])
            });
        each.collect()
    }

    /// The angle between directions that are next to each other.
    pub(crate) fn spacing(&self) -> f64 {
        self.spacing
    }

    /// The lowest energy on any ray.
    pub(crate) fn least(&self, left: &[f64], kappa: f64) -> f64 {
        let all = self.lowest(left, kappa);
        all.iter()
            .fold(0.0, |least: f64, (energy, _)| least.min(*energy))
    }

    /// The lowest points of rays that are no higher than those of their neighbours, at most `most`, the lowest
    /// first.
    pub(crate) fn minima(&self, left: &[f64], kappa: f64, most: usize) -> Vec<(f64, Vec<f64>)> {
        let all = self.lowest(left, kappa);
        let is_low = |g: &usize| self.neighbours[*g].iter().all(|&h| all[*g].0 <= all[h].0);
        let mut found: Vec<usize> = (0..all.len()).filter(is_low).collect();
        found.sort_by(|&g, &h| all[g].0.total_cmp(&all[h].0).then(g.cmp(&h)));
        let place = |g: usize| {
            let direction = &self.directions[g * self.dimension..][..self.dimension];
            let (energy, way) = all[g];
            (energy, direction.iter().map(|d| way * d).collect())
        };
        found.into_iter().take(most).map(place).collect()
    }
}

/// Unit vectors, no two opposite, and the angle between neighbours; infinite if there are no neighbours.
fn directions(dimension: usize) -> (Vec<f64>, f64) {
    match dimension {
        1 => (vec![1.0], f64::INFINITY),
        2 => {
            let angle = |i: usize| PI * i as f64 / IN_PLANE as f64;
            let all = (0..IN_PLANE).flat_map(|i| [angle(i).cos(), angle(i).sin()]);
            (all.collect(), PI / IN_PLANE as f64)
        }
        3 => {
            let upper = spiral(2 * IN_SPACE)[..3 * IN_SPACE].to_vec();
            let spacing = (2.0 * PI / IN_SPACE as f64).sqrt();
            (upper, spacing)
        }
        _ => {
            let mut all = Vec::new();
            let mut push = |entries: &[(usize, f64)]| {
                let first = all.len();
                all.resize(first + dimension, 0.0);
                entries.iter().for_each(|&(at, v)| all[first + at] = v);
            };
            for a in 0..dimension {
                push(&[(a, 1.0)]);
                for b in (0..a).filter(|_| dimension <= DIAGONALS) {
                    let v = 0.5_f64.sqrt();
                    push(&[(a, v), (b, v)]);
                    push(&[(a, v), (b, -v)]);
                }
            }
            // These directions have no neighbours.
            (all, f64::INFINITY)
        }
    }
}

/// The lowest value of `c1 s + c2 s^2 + c3 s^3 + c4 s^4` and where it is; 0 at 0 where there is no minimum.
fn quartic([c1, c2, c3, c4]: [f64; 4]) -> (f64, f64) {
    let value = |s: f64| s * (c1 + s * (c2 + s * (c3 + s * c4)));
    let mut best = (0.0, 0.0);
    let mut offer = |mut s: f64| {
        // The roots of a cubic lose digits where they are close together.
        for _ in 0..2 {
            let slope = c1 + s * (2.0 * c2 + s * (3.0 * c3 + s * 4.0 * c4));
            let bend = 2.0 * c2 + s * (6.0 * c3 + s * 12.0 * c4);
            let next = s - slope / bend;
            if bend > 0.0 && value(next) <= value(s) {
                s = next;
            }
        }
        if value(s) < best.0 {
            best = (value(s), s);
        }
    };
    if c2 > 0.0 {
        offer(-0.5 * c1 / c2);
    }
    if c4 > 0.0 {
        // s = u - third, u^3 + p u + r = 0.
        let third = 0.25 * c3 / c4;
        let (c, d) = (0.5 * c2 / c4, 0.25 * c1 / c4);
        let p = c - 3.0 * third * third;
        let r = third * (2.0 * third * third - c) + d;
        let discriminant = 0.25 * r * r + p * p * p / 27.0;
        if discriminant > 0.0 {
            let a = -(0.5 * r.abs() + discriminant.sqrt()).cbrt().copysign(r);
            offer(a - p / (3.0 * a) - third);
        } else if p < 0.0 {
            let length = 2.0 * (-p / 3.0).sqrt();
            let angle = (3.0 * r / (p * length)).clamp(-1.0, 1.0).acos() / 3.0;
            // The middle root is a maximum.
            offer(length * angle.cos() - third);
            offer(length * (angle + 2.0 * PI / 3.0).cos() - third);
        } else {
            offer(-third);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// No place of a fine grid is lower, wherever the lowest place is.
        #[test]
        fn no_place_on_a_line_is_lower(
            c in prop::array::uniform3(-3.0..3.0_f64), even in 0.01..3.0_f64, scale in -3.0..3.0_f64,
        ) {
            let size = 10.0_f64.powf(scale);
            let coefficients =
                [c[0] * size, c[1] * size.powi(2), c[2] * size.powi(3), even * size.powi(4)];
            let (found, _) = quartic(coefficients);
            let reach = 2.0 * (c[0].abs() + c[1].abs() + c[2].abs() + even) / even;
            let value = |s: f64| s * (c[0] + s * (c[1] + s * (c[2] + s * even)));
            for i in -4000..=4000_i32 {
                let there = value(reach * f64::from(i) / 4000.0);
                prop_assert!(found <= there + 1e-12, "{found} {there}");
            }
        }
    }

    #[test]
    fn what_has_no_lowest_point_and_no_pull_stays_at_the_origin() {
        assert_eq!(quartic([0.0; 4]), (0.0, 0.0));
        assert_eq!(quartic([1.0, 0.0, 0.0, 0.0]), (0.0, 0.0));
        assert_eq!(quartic([-2.0, 1.0, 0.0, 0.0]), (-1.0, 1.0));
        assert_eq!(quartic([f64::NAN; 4]), (0.0, 0.0));
    }
}
