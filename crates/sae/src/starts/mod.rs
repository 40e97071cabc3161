//! Starts: first coordinates and gates, from principal components and from seeded random numbers.
//!
//! Start `s` draws from its own stream of the seed's generator, so its random numbers depend neither on the
//! thread that makes it nor on other starts. The first half of the starts are *principal*, the rest *random*.
//! A principal start takes an angle by `atan2` of two standardised scores. A torus takes its angles from four
//! scores rotated into two planes, a cylinder from three rotated to be upright; sphere points come from three
//! scores, and Euclidean coordinates from as many as they have. With several atoms and top-k gates every other
//! start is a decoder of random rows (see [`halving`]). In the others the first gates are clusters of rows, and
//! each atom's coordinates come from the leading directions of its own cluster.

mod axis;
mod cluster;
pub(crate) mod halving;
mod planes;
pub(crate) mod price;
pub(crate) mod principal;
pub(crate) mod resumed;
pub(crate) mod screen;

use crate::data::Data;
use crate::iterate::coordinates::{Coordinates, Gates};
use crate::model::dictionary::{Atom, Dictionary};
use crate::model::factor::Factor;
use crate::model::topology::Topology;
use crate::starts::axis::upright;
use crate::starts::cluster::clusters;
use crate::starts::planes::separate;
use crate::starts::principal::Principal;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// Where a start's coordinates come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StartKind {
    /// Principal components.
    Principal,
    /// Random coordinates.
    Random,
    /// Random rows as the lines of a decoder.
    Rows,
    /// The model that the fit continues from.
    Model,
}

/// A first guess.
#[derive(Clone, Debug)]
pub(crate) struct Start {
    pub(crate) kind: StartKind,
    pub(crate) coordinates: Coordinates,
    pub(crate) gates: Gates,
}

/// How the gates of a start are made.
#[derive(Clone, Copy, Debug)]
pub(crate) enum FirstGates<'a> {
    /// Given gates.
    Fixed(&'a Gates),
    /// One atom per row, by clusters.
    Clusters,
}

/// Makes starts for a set of rows.
pub(crate) struct Starter<'a> {
    dictionary: &'a Dictionary,
    gates: FirstGates<'a>,
    principal: Principal,
    seed: u64,
    total: usize,
}

/// The most principal components that are computed.
const MOST_COMPONENTS: usize = 32;

impl<'a> Starter<'a> {
    /// Finds the components of `data` for `total` starts.
    pub(crate) fn new(
        data: &Data,
        dictionary: &'a Dictionary,
        gates: FirstGates<'a>,
        seed: u64,
        total: usize,
    ) -> Self {
        let sum: usize = dictionary
            .atoms()
            .iter()
            .map(|a| a.topology().components())
            .sum();
        let wanted = match gates {
            FirstGates::Fixed(_) => sum + 3,
            FirstGates::Clusters => MOST_COMPONENTS,
        };
        let principal = Principal::of(data, wanted.clamp(4, MOST_COMPONENTS));
        Self {
            dictionary,
            gates,
            principal,
            seed,
            total,
        }
    }

    /// Start `s`.
    pub(crate) fn make(&self, s: usize) -> Start {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream(s as u64);
        let kind = if s < self.total.div_ceil(2) {
            StartKind::Principal
        } else {
            StartKind::Random
        };
        match self.gates {
            FirstGates::Fixed(gates) => self.shared(s, kind, gates, &mut rng),
            FirstGates::Clusters => self.clustered(kind, &mut rng),
        }
    }

    /// All atoms from the components of all rows: consecutive ones, shuffled from the second start on.
    fn shared(&self, s: usize, kind: StartKind, gates: &Gates, rng: &mut ChaCha8Rng) -> Start {
        let mut coordinates = Coordinates::origin(self.dictionary, gates.rows());
        let members: Vec<usize> = (0..gates.rows()).collect();
        let order = self.component_order(s, rng);
        let mut next = 0;
        for (a, &atom) in self.dictionary.atoms().iter().enumerate() {
            let take = atom.topology().components();
            let chosen: Vec<usize> = (next..next + take)
                .filter_map(|c| order.get(c).copied())
                .collect();
            next += take;
            let source = Source {
                principal: &self.principal,
                chosen: &chosen,
            };
            self.place(kind, a, atom, &members, source, &mut coordinates, rng);
        }
        Start {
            kind,
            coordinates,
            gates: gates.clone(),
        }
    }

    /// For a single atom of two components, the pairs in the order of their sum; otherwise the components in
    /// order, then shuffles of the leading ones.
    fn component_order(&self, s: usize, rng: &mut ChaCha8Rng) -> Vec<usize> {
        let q = self.principal.len();
        let sum: usize = self
            .dictionary
            .atoms()
            .iter()
            .map(|a| a.topology().components())
            .sum();
        if sum == 2 {
            let mut pairs: Vec<(usize, usize)> =
                (0..q).flat_map(|b| (0..b).map(move |a| (a, b))).collect();
            pairs.sort_by_key(|&(a, b)| (a + b, b));
            if let Some(&(a, b)) = pairs.get(s) {
                return vec![a, b];
            }
        }
        let mut order: Vec<usize> = (0..q).collect();
        if s > 0 {
            order[..(sum + 2).min(q)].shuffle(rng);
        }
        order
    }

    /// Atom `a` is on in the rows of cluster `a`; its coordinates come from the cluster's own directions.
    fn clustered(&self, kind: StartKind, rng: &mut ChaCha8Rng) -> Start {
        let n = self.principal.rows();
        let labels = clusters(&self.principal, self.dictionary.len(), rng);
        let mut gates = Gates::all_off(n, self.dictionary.len());
        let mut coordinates = Coordinates::origin(self.dictionary, n);
        for (a, &atom) in self.dictionary.atoms().iter().enumerate() {
            let members: Vec<usize> = (0..n).filter(|&i| labels[i] == a).collect();
            let take = atom.topology().components();
            let local = self.principal.local(&members, take);
            let chosen: Vec<usize> = (0..local.len()).collect();
            let source = Source {
                principal: &local,
                chosen: &chosen,
            };
            self.place(kind, a, atom, &members, source, &mut coordinates, rng);
            for &i in &members {
                gates.row_mut(i)[a] = 1.0;
            }
        }
        Start {
            kind,
            coordinates,
            gates,
        }
    }

    /// Writes atom `a`'s coordinates in rows `members`; row `members[j]` is row `j` of the source
    /// where the source is local, and itself where it is not.
    #[expect(
        clippy::too_many_arguments,
        reason = "one call a caller, all of it named there"
    )]
    fn place(
        &self,
        kind: StartKind,
        a: usize,
        atom: Atom,
        members: &[usize],
        source: Source<'_>,
        coordinates: &mut Coordinates,
        rng: &mut ChaCha8Rng,
    ) {
        let columns = self.dictionary.atom_place(a);
        let enough = source.chosen.len() == atom.topology().components();
        let principal = kind == StartKind::Principal && enough;
        let turned = match principal {
            true => source.turned(atom.topology(), members.len()),
            false => Vec::new(),
        };
        for (j, &i) in members.iter().enumerate() {
            let t = &mut coordinates.row_mut(i)[columns.clone()];
            match turned.get(j) {
                Some(z) => atom.topology().seat(|c| z[c], t),
                None if principal => atom.topology().seat(|c| source.score(j, c), t),
                None => {
                    for part in atom.topology().factors() {
                        part.factor.scatter(&mut t[part.stored], rng);
                    }
                }
            }
            atom.project(t);
        }
    }
}

#[derive(Clone, Copy)]
struct Source<'a> {
    principal: &'a Principal,
    chosen: &'a [usize],
}

impl Source<'_> {
    fn score(&self, row: usize, c: usize) -> f64 {
        self.principal.standard(row, self.chosen[c])
    }

    /// The scores of a product, rotated so that each factor has its own: two circles of a torus, the
    /// circle and the axis of a cylinder. Empty where the factors cannot be separated.
    fn turned(&self, topology: Topology, rows: usize) -> Vec<Vec<f64>> {
        let factors: Vec<Factor> = topology.factors().map(|part| part.factor).collect();
        match factors[..] {
            [Factor::Circle, Factor::Circle] => self.apart(rows, separate),
            [Factor::Circle, Factor::Line { dimension: 1 }] => self.apart(rows, upright),
            _ => Vec::new(),
        }
    }

    /// The first `N` scores of each row, rotated by `turn`.
    fn apart<const N: usize>(&self, rows: usize, turn: impl Fn(&mut [[f64; N]])) -> Vec<Vec<f64>> {
        let mut scores: Vec<[f64; N]> = (0..rows)
            .map(|row| std::array::from_fn(|c| self.score(row, c)))
            .collect();
        turn(&mut scores);
        scores.into_iter().map(|z| z.to_vec()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::basis::Basis;
    use ndarray::Array2;
    use std::f64::consts::TAU;

    fn circle_data() -> Data {
        let raw = Array2::from_shape_fn((40, 6), |(i, j)| {
            let t = i as f64 * TAU / 40.0;
            [
                3.0 * t.cos(),
                3.0 * t.sin(),
                0.1 * (3.0 * t).cos(),
                0.0,
                0.0,
                0.0,
            ][j] + 1.0
        });
        Data::normalised(raw.view()).unwrap()
    }

    #[test]
    fn a_principal_start_goes_once_around_a_circle() {
        let data = circle_data();
        let dictionary =
            Dictionary::uniform(1, Topology::Circle, Basis::Harmonics { highest: 1 }).unwrap();
        let gates = Gates::all_on(40, 1);
        let starter = Starter::new(&data, &dictionary, FirstGates::Fixed(&gates), 0, 4);
        let start = starter.make(0);
        assert_eq!(start.kind, StartKind::Principal);
        let steps: Vec<f64> = (0..40)
            .map(|i| {
                let (a, b) = (
                    start.coordinates.row(i)[0],
                    start.coordinates.row((i + 1) % 40)[0],
                );
                crate::model::factor::wrap_angle(b - a)
            })
            .collect();
        let turns = steps.iter().sum::<f64>() / TAU;
        assert!((turns.abs() - 1.0).abs() < 1e-9, "{turns}");
    }

    #[test]
    fn starts_depend_on_seed_and_index_alone() {
        let data = circle_data();
        let dictionary =
            Dictionary::uniform(3, Topology::Torus, Basis::Harmonics { highest: 1 }).unwrap();
        let make = |seed, total, s| {
            Starter::new(&data, &dictionary, FirstGates::Clusters, seed, total).make(s)
        };
        assert_eq!(make(1, 10, 7).coordinates, make(1, 12, 7).coordinates);
        assert_ne!(make(1, 10, 7).coordinates, make(2, 10, 7).coordinates);
        assert_ne!(make(1, 10, 7).coordinates, make(1, 10, 8).coordinates);
        let start = make(1, 10, 0);
        for i in 0..40 {
            assert_eq!(start.gates.row(i).iter().filter(|&&g| g == 1.0).count(), 1);
        }
    }
}
