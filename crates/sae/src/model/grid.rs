//! Grids on an atom's manifold: where a row's search begins.
//!
//! The energy has twice the degree of the atom's functions, and for eccentric atoms it has many minima. So
//! the grid need not be fine enough to tell which minimum is the lowest. It needs a point in the basin of each,
//! and the lowest few of its own minima are followed (measured on random decoders whose axes differ by up to
//! 1e3: see the tests of [`crate::encode::search`]).

use crate::data::dot;
use crate::model::dictionary::Atom;

/// Points of an atom with the values of its functions there.
#[derive(Clone, Debug)]
pub(crate) struct Grid {
    stored: usize,
    width: usize,
    points: Vec<f64>,
    values: Vec<f64>,
    /// `|t|^2` over the flat coordinates of every point; empty where there are none.
    squares: Vec<f64>,
    /// The neighbours of each point, along one factor.
    neighbours: Vec<Vec<usize>>,
    spacing: f64,
}

/// What the list of a point's neighbours takes at most, in numbers.
const NEIGHBOURS: usize = 16;

impl Grid {
    /// Numbers that [`Grid::on`] holds for `atom`, neighbours counted as numbers; saturating.
    pub(crate) fn numbers(atom: Atom) -> usize {
        let topology = atom.topology();
        let alone = topology.alone().is_some();
        let points = topology.factors().map(|part| {
            let degree = atom.basis().degree_on(part.factor);
            part.factor.grid(degree, alone).len() / part.factor.stored()
        });
        let points = points.fold(1, usize::saturating_mul);
        points.saturating_mul(atom.stored() + 2 * atom.width() + NEIGHBOURS)
    }

    /// The grid of `atom`.
    pub(crate) fn on(atom: Atom) -> Self {
        let topology = atom.topology();
        let alone = topology.alone().is_some();
        // For a product, all pairs of points; the last factor's points run fastest.
        let mut points: Vec<Vec<f64>> = vec![Vec::new()];
        let mut spacing = 0.0_f64;
        let mut neighbours: Vec<Vec<usize>> = vec![Vec::new()];
        for part in topology.factors() {
            let degree = atom.basis().degree_on(part.factor);
            let own = part.factor.grid(degree, alone);
            let beside = part.factor.neighbours(&own);
            let count = beside.len();
            spacing = part.factor.spacing(count).max(spacing);
            let longer = |(g, before): (usize, &Vec<usize>)| -> Vec<Vec<usize>> {
                let along = beside.iter().enumerate().map(|(h, own)| {
                    let others = before.iter().map(|before| before * count + h);
                    others
                        .chain(own.iter().map(|own| g * count + own))
                        .collect()
                });
                along.collect()
            };
            neighbours = neighbours.iter().enumerate().flat_map(longer).collect();
            let own = own.chunks_exact(part.factor.stored());
            let longer = |before: &Vec<f64>| -> Vec<Vec<f64>> {
                own.clone().map(|t| [&before[..], t].concat()).collect()
            };
            points = points.iter().flat_map(longer).collect();
        }
        let points = points.concat();
        let (stored, width) = (atom.stored(), atom.width());
        let mut values = vec![0.0; points.len() / stored * width];
        for (t, phi) in points
            .chunks_exact(stored)
            .zip(values.chunks_exact_mut(width))
        {
            atom.values(t, phi);
        }
        let square = |t: &[f64]| {
            topology
                .flat()
                .map(|part| dot(&t[part.stored.clone()], &t[part.stored]))
                .sum()
        };
        let squares = match topology.has_flat() {
            true => points.chunks_exact(stored).map(square).collect(),
            false => Vec::new(),
        };
        Self {
            stored,
            width,
            points,
            values,
            squares,
            neighbours,
            spacing,
        }
    }

    /// The functions at point `g`.
    pub(crate) fn values(&self, g: usize) -> &[f64] {
        &self.values[g * self.width..][..self.width]
    }

    /// The functions at every point, in order.
    pub(crate) fn rows(&self) -> impl Iterator<Item = &[f64]> {
        self.values.chunks_exact(self.width)
    }

    /// `|t|^2` over the flat coordinates of point `g`, where there are any.
    pub(crate) fn square(&self, g: usize) -> Option<f64> {
        self.squares.get(g).copied()
    }

    /// Points whose energies are no higher than their neighbours', at most `most`, the lowest first.
    pub(crate) fn minima(&self, energies: &[f64], most: usize) -> Vec<usize> {
        let is_low = |g: &usize| {
            let mut beside = self.neighbours[*g].iter();
            beside.all(|&h| energies[*g] <= energies[h])
        };
        let mut found: Vec<usize> = (0..energies.len()).filter(is_low).collect();
        found.sort_by(|&g, &h| energies[g].total_cmp(&energies[h]).then(g.cmp(&h)));
        found.truncate(most);
        found
    }

    /// The distance between neighbouring points.
    pub(crate) fn spacing(&self) -> f64 {
        self.spacing
    }

    /// Stored coordinates of point `g`.
    pub(crate) fn point(&self, g: usize) -> &[f64] {
        &self.points[g * self.stored..][..self.stored]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::basis::Basis;
    use crate::model::topology::Topology;

    /// All pairs of the factors' points, each on its manifold, with the atom's functions there.
    #[test]
    fn points_lie_on_the_manifold_and_have_its_functions() {
        let spaces = (1..=4).map(|dimension| Topology::Euclidean { dimension });
        for topology in Topology::named().chain(spaces) {
            let first = topology.first();
            for degree in 1..=first.highest_degree().min(2) {
                let basis: Basis = first.basis(degree);
                let atom = Atom::new(topology, basis).unwrap();
                let (grid, alone) = (Grid::on(atom), topology.alone().is_some());
                let of_factor = |part: crate::model::topology::Placed| {
                    let points = part.factor.grid(basis.degree_on(part.factor), alone);
                    points.len() / part.factor.stored()
                };
                let count: usize = topology.factors().map(of_factor).product();
                assert_eq!(grid.rows().count(), count, "{topology}");
                for (g, phi) in grid.rows().enumerate() {
                    let t = grid.point(g);
                    assert_eq!(atom.evaluate(t).unwrap(), phi, "{topology}");
                    for (a, b) in topology.projected(t).unwrap().iter().zip(t) {
                        assert!((a - b).abs() < 4.0 * f64::EPSILON, "{topology}");
                    }
                    let flat = topology.flat().flat_map(|part| &t[part.stored]);
                    let square: f64 = flat.map(|t| t * t).sum();
                    assert!((grid.square(g).unwrap_or(0.0) - square).abs() < 1e-12);
                }
            }
        }
        // Angles of one of several factors, times the heights.
        let atom = Atom::new(Topology::Cylinder, Basis::Harmonics { highest: 1 }).unwrap();
        assert_eq!(Grid::on(atom).rows().count(), 16 * 9);
    }
}
