//! Which atoms are on in every row, and where, stored sparsely: a fixed number of slots per row.

use crate::encode::search::{Arrangement, NONE, RowCode};
use crate::iterate::cones::{Evened, mapped};
use crate::iterate::coordinates::{ChosenAtoms, Coordinates, Gates};
use crate::model::dictionary::Dictionary;
use rayon::prelude::*;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Codes {
    rows: usize,
    slots: usize,
    width: usize,
    stored: usize,
    atoms: Vec<u32>,
    phi: Vec<f64>,
    t: Vec<f64>,
}

impl Clone for Codes {
    fn clone(&self) -> Self {
        Self {
            atoms: self.atoms.clone(),
            phi: self.phi.clone(),
            t: self.t.clone(),
            ..*self
        }
    }

    /// Copies into the existing allocation.
    fn clone_from(&mut self, other: &Self) {
        self.atoms.clone_from(&other.atoms);
        self.phi.clone_from(&other.phi);
        self.t.clone_from(&other.t);
        (self.rows, self.slots) = (other.rows, other.slots);
        (self.width, self.stored) = (other.width, other.stored);
    }
}

impl Codes {
    /// No atom on in any row.
    pub(crate) fn empty(arrangement: &Arrangement, rows: usize, slots: usize) -> Self {
        let (width, stored) = (arrangement.width(), arrangement.stored());
        Self {
            rows,
            slots,
            width,
            stored,
            atoms: vec![NONE; rows * slots],
            phi: vec![0.0; rows * slots * width],
            t: vec![0.0; rows * slots * stored],
        }
    }

    /// Codes of circles of a first harmonic alone, from the atoms and the functions of every slot.
    pub(crate) fn of_circles(
        arrangement: &Arrangement,
        slots: usize,
        atoms: Vec<u32>,
        phi: Vec<f64>,
    ) -> Self {
        debug_assert_eq!((arrangement.width(), arrangement.stored()), (2, 0));
        Self {
            rows: atoms.len() / slots,
            slots,
            width: 2,
            stored: 0,
            atoms,
            phi,
            t: Vec::new(),
        }
    }

    /// The atoms and the functions of every slot.
    pub(crate) fn of_all_slots(&self) -> (&[u32], &[f64]) {
        (&self.atoms, &self.phi)
    }

    /// The most atoms of a row.
    pub(crate) fn slots(&self) -> usize {
        self.slots
    }

    /// The atoms of row `i` that are on, each with its functions and stored numbers.
    pub(crate) fn row(&self, i: usize) -> impl Iterator<Item = (usize, &[f64], &[f64])> {
        let first = i * self.slots;
        (first..first + self.slots)
            .take_while(|&slot| self.atoms[slot] != NONE)
            .map(|slot| {
                (
                    self.atoms[slot] as usize,
                    &self.phi[slot * self.width..][..self.width],
                    &self.t[slot * self.stored..][..self.stored],
                )
            })
    }

    /// Chunks of `rows` rows, in order.
    pub(crate) fn chunks(&mut self, rows: usize) -> Vec<CodesMut<'_>> {
        let slots = rows * self.slots;
        let mut atoms = self.atoms.chunks_mut(slots);
        // The chunks are empty where no coordinates are kept.
        let mut t = self.t.chunks_mut((slots * self.stored).max(1));
        let phi = self.phi.chunks_mut(slots * self.width);
        phi.map(|phi| CodesMut {
            slots: self.slots,
            width: self.width,
            stored: self.stored,
            atoms: atoms.next().unwrap_or_default(),
            t: t.next().unwrap_or_default(),
            phi,
        })
        .collect()
    }

    /// Turns circles into their own axes: see [`Arrangement::turn`].
    pub(crate) fn turn(&mut self, arrangement: &Arrangement, turns: &[[f64; 2]]) {
        let mut by_atom = vec![None; arrangement.atoms()];
        for (&a, turn) in arrangement.circles().iter().zip(turns) {
            by_atom[a] = Some(*turn);
        }
        let width = self.width;
        let slots = self.atoms.par_iter().zip(self.phi.par_chunks_mut(width));
        slots.with_min_len(4096).for_each(|(&a, phi)| {
            if a == NONE {
                return;
            }
            if let Some([cos, sin]) = by_atom[a as usize] {
                (phi[0], phi[1]) = (cos * phi[0] + sin * phi[1], cos * phi[1] - sin * phi[0]);
            }
        });
    }

    /// For every atom with a fitted amplitude, the number of rows that it is on in, and the sum of the squares of
    /// its amplitudes where its functions do not say it.
    pub(crate) fn amplitudes(&self, dictionary: &Dictionary) -> Vec<(usize, f64)> {
        let mut sums = vec![(0, 0.0); dictionary.len()];
        for (slot, &a) in self.atoms.iter().enumerate().filter(|(_, a)| **a != NONE) {
            let (count, square) = &mut sums[a as usize];
            let atom = dictionary.atoms()[a as usize];
            *count += 1;
            if !atom.is_linear() {
                let amplitude = atom.amplitude(&self.t[slot * self.stored..][..atom.placed()]);
                *square += amplitude * amplitude;
            }
        }
        sums
    }

    /// Applies the maps of atoms, where there is one, to what scales with their amplitudes.
    pub(crate) fn scale(
        &mut self,
        dictionary: &Dictionary,
        arrangement: &Arrangement,
        maps: &[Option<Evened>],
    ) {
        let (width, stored) = (self.width, self.stored);
        // The chunks are empty where no coordinates are kept.
        let mut places: Vec<&mut [f64]> = match stored {
            0 => self.atoms.iter().map(|_| Default::default()).collect(),
            _ => self.t.chunks_mut(stored).collect(),
        };
        let slots = self.atoms.par_iter().zip(self.phi.par_chunks_mut(width));
        let slots = slots.zip(&mut places).with_min_len(4096);
        slots.for_each(|((&a, phi), t)| {
            let Some(Evened { forth, .. }) = maps.get(a as usize).and_then(Option::as_ref) else {
                return;
            };
            let atom = dictionary.atoms()[a as usize];
            let phi = &mut phi[..atom.width()];
            if !atom.is_linear() {
                let by = forth[(0, 0)];
                phi.iter_mut().for_each(|v| *v *= by);
                t[atom.stored()] *= by;
                return;
            }
            let mut old = [0.0; 3];
            old[..phi.len()].copy_from_slice(phi);
            mapped(forth, &old[..phi.len()], phi);
            if !arrangement.is_circle(a as usize) {
                atom.place_of(phi, &mut t[..atom.placed()]);
            }
        });
    }

    fn row_mut(&mut self, i: usize) -> CodesMut<'_> {
        let first = i * self.slots;
        CodesMut {
            slots: self.slots,
            width: self.width,
            stored: self.stored,
            atoms: &mut self.atoms[first..][..self.slots],
            phi: &mut self.phi[first * self.width..][..self.slots * self.width],
            t: &mut self.t[first * self.stored..][..self.slots * self.stored],
        }
    }

    /// Converts to coordinates and gates.
    pub(crate) fn places(
        &self,
        dictionary: &Dictionary,
        arrangement: &Arrangement,
    ) -> (Coordinates, Gates) {
        let chosen = ChosenAtoms::by_row(dictionary, self.rows, |i, atoms| {
            atoms.extend(self.row(i).map(|(a, ..)| a as u32));
        });
        let mut coordinates = Coordinates::chosen(chosen.clone());
        let gates = Gates::chosen(dictionary.len(), chosen);
        for i in 0..self.rows {
            for (a, phi, t) in self.row(i) {
                let to = coordinates.place_mut(i, dictionary.atom_place(a));
                let atom = dictionary.atoms()[a];
                match arrangement.is_circle(a) {
                    true => atom.place_of(&phi[..2], to),
                    false => to.copy_from_slice(&t[..atom.placed()]),
                }
                atom.project(to);
            }
        }
        (coordinates, gates)
    }

    /// Loads coordinates and gates; a row with more atoms on than there are slots keeps its first.
    pub(crate) fn load(
        &mut self,
        dictionary: &Dictionary,
        arrangement: &Arrangement,
        coordinates: &Coordinates,
        gates: &Gates,
    ) {
        for i in 0..self.rows {
            let row = self.row_mut(i);
            row.atoms.fill(NONE);
            for (slot, (a, _)) in gates.on(i).take(row.slots).enumerate() {
                row.atoms[slot] = a as u32;
                let atom = dictionary.atoms()[a];
                let t = coordinates.place(i, dictionary.atom_place(a));
                atom.values(t, &mut row.phi[slot * row.width..][..atom.width()]);
                if !arrangement.is_circle(a) {
                    row.t[slot * row.stored..][..t.len()].copy_from_slice(t);
                }
            }
        }
    }
}

/// Some rows of [`Codes`].
pub(crate) struct CodesMut<'c> {
    slots: usize,
    width: usize,
    stored: usize,
    atoms: &'c mut [u32],
    phi: &'c mut [f64],
    t: &'c mut [f64],
}

impl CodesMut<'_> {
    pub(crate) fn rows(&self) -> usize {
        self.atoms.len() / self.slots
    }

    /// Row `i` of these rows.
    pub(crate) fn row(&mut self, i: usize) -> RowCode<'_> {
        let first = i * self.slots;
        RowCode {
            atoms: &mut self.atoms[first..][..self.slots],
            phi: &mut self.phi[first * self.width..][..self.slots * self.width],
            t: &mut self.t[first * self.stored..][..self.slots * self.stored],
        }
    }

    /// The atoms that are on in row `i` of these rows, with their functions.
    pub(crate) fn read(&self, i: usize) -> impl Iterator<Item = (usize, &[f64])> + Clone {
        let first = i * self.slots;
        (first..first + self.slots)
            .take_while(|&slot| self.atoms[slot] != NONE)
            .map(|slot| {
                let phi = &self.phi[slot * self.width..][..self.width];
                (self.atoms[slot] as usize, phi)
            })
    }
}
