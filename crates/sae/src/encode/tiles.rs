//! Rows that choose their atoms, by tiles, as in a round of a fit.
//!
//! ```text
//! by tile of rows   rest   r0 = (x - intercept) / unit
//!                   pulls  C = R0 W'                    a product of matrices
//!                   rows   codes                        the search of [`super::search`]
//!                          pulls of the atoms that are on, from the row itself
//!                          a stationary point           [`Search::settle`], else the joint refinement
//! ```
//!
//! Meanwhile circles of a first harmonic are in their own axes; angles are turned back at the end. Where
//! every number of the rows is exact in single precision the product is formed in it, as in a fit: it chooses
//! atoms and leads near their places, and the final places are found in double precision. Rows so far out
//! that single precision overflows are placed one by one.

use super::frame::Reach;
use super::row::{RowData, RowPoint};
use super::search::{Arrangement, NONE, RowCode, Search, SearchMemory};
use super::{OneByOne, PlacedRows};
use crate::data::store::TileMemory;
use crate::data::{axpy, dot};
use crate::model::topology::MAX_EUCLIDEAN;
use crate::rounds::round::product;
use ndarray::Array2;
use rayon::prelude::*;
use std::ops::Range;

/// Rows that are multiplied together with the decoder.
pub(super) const TILE: usize = 128;

/// The decoder in the order and the axes of the search.
pub(super) struct OwnAxes {
    /// In the arranged order, circles in their own axes.
    lines: Vec<f64>,
    /// The same over the features of the dictionary.
    own_axes: Vec<f64>,
    /// Cosine and sine of the turns, one per atom; the identity for an atom that is not a circle.
    turns: Vec<[f64; 2]>,
}

impl OwnAxes {
    pub(super) fn of(one: &OneByOne<'_>, arrangement: &Arrangement) -> Self {
        let p = one.raw.outputs();
        let mut lines = arrangement.gather(&one.frame.decoder, p);
        let mut turns = vec![[1.0, 0.0]; one.rows.dictionary.len()];
        let turned = arrangement.turn(&mut lines, p);
        for (&a, turn) in arrangement.circles().iter().zip(turned) {
            turns[a] = turn;
        }
        let own_axes = arrangement.scatter(&lines, &vec![0.0; p]);
        Self {
            lines,
            own_axes,
            turns,
        }
    }
}

/// What all tiles share.
pub(super) struct Tiles<'a> {
    one: &'a OneByOne<'a>,
    arrangement: &'a Arrangement,
    search: Search<'a>,
    lines: &'a [f64],
    /// The same in single precision, where pulls are formed in it.
    single: Option<Vec<f32>>,
    turns: &'a [[f64; 2]],
    slots: usize,
    outputs: usize,
}

/// Memory of one worker.
struct Bench {
    raw: TileMemory,
    rest: Vec<f64>,
    rest_single: Vec<f32>,
    pulls: Vec<f64>,
    pulls_single: Vec<f32>,
    reach: Vec<Reach>,
    left: Vec<f64>,
    work: SearchMemory,
    atoms: Vec<u32>,
    phi: Vec<f64>,
    t: Vec<f64>,
}

/// Where the rows of a tile are written.
struct Out<'o> {
    coordinates: &'o mut [f64],
    gates: &'o mut [f64],
    distance: &'o mut [f64],
    converged: &'o mut [bool],
}

impl<'a> Tiles<'a> {
    /// Rows go on at most `slots` atoms each; their pulls are formed in single precision where their numbers are
    /// (`is_single`).
    pub(super) fn new(
        one: &'a OneByOne<'a>,
        arrangement: &'a Arrangement,
        arranged: &'a OwnAxes,
        is_single: bool,
        slots: usize,
    ) -> Self {
        let OwnAxes {
            lines,
            own_axes,
            turns,
        } = arranged;
        let (dictionary, p, kappa) = (one.rows.dictionary, one.raw.outputs(), one.frame.kappa);
        Self {
            one,
            arrangement,
            search: Search::new(dictionary, arrangement, lines, own_axes, p, kappa).with_swaps(),
            lines,
            single: is_single.then(|| lines.iter().map(|&w| w as f32).collect()),
            turns,
            slots,
            outputs: p,
        }
    }

    /// Places some rows, of which the first begins a tile.
    pub(super) fn place(&self, which: Range<usize>) -> PlacedRows {
        let dictionary = self.one.rows.dictionary;
        let (n, columns, atoms) = (which.len(), dictionary.columns(), dictionary.len());
        let mut coordinates = Array2::from_elem((n, columns), f64::NAN);
        let mut gates = Array2::zeros((n, atoms));
        let (mut distance, mut converged) = (vec![0.0; n], vec![false; n]);
        if let (Some(coordinates), Some(gates)) = (coordinates.as_slice_mut(), gates.as_slice_mut())
        {
            (coordinates.par_chunks_mut(TILE * columns))
                .zip(gates.par_chunks_mut(TILE * atoms))
                .zip(distance.par_chunks_mut(TILE))
                .zip(converged.par_chunks_mut(TILE))
                .enumerate()
                .for_each_init(
                    || self.bench(),
                    |bench, (tile, (((coordinates, gates), distance), converged))| {
                        let out = Out {
                            coordinates,
                            gates,
                            distance,
                            converged,
                        };
                        self.tile(which.start + tile * TILE, bench, out);
                    },
                );
        }
        PlacedRows {
            coordinates,
            gates,
            distance,
            converged,
        }
    }

    fn bench(&self) -> Bench {
        broadhead_schur::release_upper_parts();
        let (f, p) = (self.arrangement.features(), self.outputs);
        let (width, stored) = (self.arrangement.width(), self.arrangement.stored());
        let dictionary = self.one.rows.dictionary;
        let in_single = if self.single.is_some() { TILE } else { 0 };
        Bench {
            raw: TileMemory::default(),
            rest: vec![0.0; TILE * p],
            rest_single: vec![0.0; in_single * p],
            pulls: vec![0.0; TILE * f],
            pulls_single: vec![0.0; in_single * f],
            reach: Vec::with_capacity(TILE),
            left: vec![0.0; p],
            work: SearchMemory::new(self.arrangement, dictionary, self.slots),
            atoms: vec![NONE; self.slots],
            phi: vec![0.0; self.slots * width],
            t: vec![0.0; self.slots * stored],
        }
    }

    /// Places the rows from `first` on, as many as `out` holds.
    fn tile(&self, first: usize, bench: &mut Bench, mut out: Out<'_>) {
        let (f, p, count) = (
            self.arrangement.features(),
            self.outputs,
            out.distance.len(),
        );
        let rest = &mut bench.rest[..count * p];
        bench.reach.clear();
        let x = self.one.raw.tile(first, count, &mut bench.raw);
        for (row, rest) in x.chunks_exact(p).zip(rest.chunks_exact_mut(p)) {
            bench.reach.push(self.one.frame.rest(row, rest));
        }
        let pulls = &mut bench.pulls[..count * f];
        match &self.single {
            Some(lines) => {
                let single = &mut bench.rest_single[..count * p];
                for (to, &from) in single.iter_mut().zip(&*rest) {
                    *to = from as f32;
                }
                let product_single = &mut bench.pulls_single[..count * f];
                product(single, lines, product_single, [count, f, p]);
                for (to, &from) in pulls.iter_mut().zip(&*product_single) {
                    *to = f64::from(from);
                }
            }
            None => product(rest, self.lines, pulls, [count, f, p]),
        }
        broadhead_schur::release_upper_parts();
        for i in 0..count {
            match bench.reach[i] {
                Reach::Near => self.row(i, bench, &mut out),
                reach => {
                    let rest = &bench.rest[i * p..][..p];
                    let data = self.one.rows.reduce(rest);
                    let one = self.one;
                    let mut point = one.rows.encode_greedy(&data, self.slots, one.iterations);
                    let row = one.raw.tile(first + i, 1, &mut bench.raw);
                    out.distance[i] = one.judge(row, rest, reach, &mut point);
                    self.write(i, &point, &mut out);
                }
            }
        }
    }

    /// Places row `i` of the tile.
    fn row(&self, i: usize, bench: &mut Bench, out: &mut Out<'_>) {
        let (f, p) = (self.arrangement.features(), self.outputs);
        let rest = &bench.rest[i * p..][..p];
        let pulls = &mut bench.pulls[i * f..][..f];
        let mut code = RowCode {
            atoms: &mut bench.atoms,
            phi: &mut bench.phi,
            t: &mut bench.t,
        };
        self.search.choose(pulls, &mut bench.work, &mut code);
        let on = code.on();
        if self.single.is_some() {
            for &a in &code.atoms[..on] {
                for at in self.arrangement.place(a as usize).all() {
                    pulls[at] = dot(&self.lines[at * p..][..p], rest);
                }
            }
        }
        let square = dot(rest, rest);
        if !(self.search).settle(pulls, square, &mut bench.work, &mut code) {
            let data = RowData {
                pull: self.turned_back(pulls, &code),
                square,
            };
            let mut point = self.point(&code);
            (self.one.rows).refine(&data, &mut point, self.one.iterations);
            let error = self.one.rows.squared_error(rest, &point);
            out.distance[i] = error.sqrt() * self.one.frame.scale;
            point.converged &= out.distance[i].is_finite();
            return self.write(i, &point, out);
        }
        let left = &mut bench.left;
        left.copy_from_slice(rest);
        let dictionary = self.one.rows.dictionary;
        let width = self.arrangement.width();
        let mut place = [0.0; MAX_EUCLIDEAN + 1];
        for (slot, &a) in code.atoms[..on].iter().enumerate() {
            let a = a as usize;
            let phi = &code.phi[slot * width..][..width];
            for (&v, at) in phi.iter().zip(self.arrangement.place(a).all()) {
                axpy(-v, &self.lines[at * p..][..p], left);
            }
            let atom = dictionary.atoms()[a];
            let place = &mut place[..atom.placed()];
            self.place_in(&code, slot, place);
            out.gates[i * dictionary.len() + a] = atom.amplitude(place);
            let columns = dictionary.atom_columns(a);
            out.coordinates[i * dictionary.columns()..][columns]
                .copy_from_slice(&place[..atom.stored()]);
        }
        out.distance[i] = dot(left, left).sqrt() * self.one.frame.scale;
        out.converged[i] = out.distance[i].is_finite();
    }

    /// The place of the atom in a slot of `code`, that of a circle in the model's own axes.
    fn place_in(&self, code: &RowCode<'_>, slot: usize, to: &mut [f64]) {
        let (width, stored) = (self.arrangement.width(), self.arrangement.stored());
        let a = code.atoms[slot] as usize;
        let atom = self.one.rows.dictionary.atoms()[a];
        if !self.arrangement.is_circle(a) {
            return to.copy_from_slice(&code.t[slot * stored..][..to.len()]);
        }
        let [cos, sin] = self.turns[a];
        let phi = &code.phi[slot * width..][..2];
        let turned = [cos * phi[0] - sin * phi[1], sin * phi[0] + cos * phi[1]];
        atom.place_of(&turned, to);
    }

    /// Pulls over all features of the dictionary, for the atoms that are on, in the model's own axes.
    fn turned_back(&self, pulls: &[f64], code: &RowCode<'_>) -> Vec<f64> {
        let dictionary = self.one.rows.dictionary;
        let mut pull = vec![0.0; dictionary.features()];
        for &a in &code.atoms[..code.on()] {
            let a = a as usize;
            let to = &mut pull[dictionary.atom_features(a)];
            for (to, at) in to.iter_mut().zip(self.arrangement.place(a).all()) {
                *to = pulls[at];
            }
            if self.arrangement.is_circle(a) {
                let [cos, sin] = self.turns[a];
                (to[0], to[1]) = (cos * to[0] - sin * to[1], sin * to[0] + cos * to[1]);
            }
        }
        pull
    }

    /// The code of a row as a point of all atoms.
    fn point(&self, code: &RowCode<'_>) -> RowPoint {
        let dictionary = self.one.rows.dictionary;
        let mut point = RowPoint::new(vec![0.0; dictionary.len()], vec![0.0; dictionary.placed()]);
        for (slot, &a) in code.atoms[..code.on()].iter().enumerate() {
            let a = a as usize;
            point.gates[a] = 1.0;
            let to = &mut point.t[dictionary.atom_place(a)];
            self.place_in(code, slot, to);
            dictionary.atoms()[a].project(to);
        }
        point
    }

    fn write(&self, i: usize, point: &RowPoint, out: &mut Out<'_>) {
        let dictionary = self.one.rows.dictionary;
        let (columns, atoms) = (dictionary.columns(), dictionary.len());
        for a in (0..atoms).filter(|&a| point.gates[a] != 0.0) {
            let (atom, place) = (dictionary.atoms()[a], &point.t[dictionary.atom_place(a)]);
            out.gates[i * atoms + a] = point.gates[a] * atom.amplitude(place);
            out.coordinates[i * columns..][dictionary.atom_columns(a)]
                .copy_from_slice(&place[..atom.stored()]);
        }
        out.converged[i] = point.converged;
    }
}
