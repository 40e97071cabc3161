//! Which atoms are on in every row, and where, stored sparsely: a fixed number of slots per row.

use crate::encode::search::{Arrangement, NONE, RowCode};
use crate::iterate::coordinates::{Coordinates, Gates};
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

    /// Converts to dense arrays of coordinates and gates.
    pub(crate) fn dense(
        &self,
        dictionary: &Dictionary,
        arrangement: &Arrangement,
    ) -> (Coordinates, Gates) {
        let mut coordinates = Coordinates::origin(dictionary, self.rows);
        let mut gates = Gates::all_off(self.rows, dictionary.len());
        for i in 0..self.rows {
            for (a, phi, t) in self.row(i) {
                gates.row_mut(i)[a] = 1.0;
                let to = &mut coordinates.row_mut(i)[dictionary.atom_columns(a)];
                match arrangement.is_circle(a) {
                    true => to[0] = phi[1].atan2(phi[0]),
                    false => {
                        let stored = to.len();
                        to.copy_from_slice(&t[..stored]);
                    }
                }
                dictionary.atoms()[a].topology().project(to);
            }
        }
        (coordinates, gates)
    }

    /// Loads dense arrays; a row with more atoms on than there are slots keeps its first.
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
            let on = (0..dictionary.len()).filter(|&a| gates.row(i)[a] != 0.0);
            for (slot, a) in on.take(row.slots).enumerate() {
                row.atoms[slot] = a as u32;
                let atom = dictionary.atoms()[a];
                let t = &coordinates.row(i)[dictionary.atom_columns(a)];
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
