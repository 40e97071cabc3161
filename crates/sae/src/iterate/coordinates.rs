//! Coordinates and gates: where each row sits on each atom, and how strongly the atom is on.
//!
//! Where gates are given both are plain arrays of a row's places and `n x atoms`, row-major. Where rows choose their
//! atoms only those that are on are kept:
//!
//! ```text
//! row i     atoms    entries[i] .. entries[i + 1]      ascending, each at amplitude 1
//!           places   starts[i] ..                      of those atoms, one after another
//! ```
//!
//! A fitted amplitude belongs to the place; the gate is then 1 where the atom is on. An atom that is off in a row
//! (gate 0) contributes neither unknowns nor features there; a caller sees NaN.

use crate::error::FitError;
use crate::iterate::layout::Layout;
use crate::iterate::whitening::Map;
use crate::model::dictionary::Dictionary;
use crate::model::places::{ActiveAtom, RowPlaces};
use faer::Mat;
use ndarray::{Array2, ArrayView2};
use std::ops::Range;
use std::sync::Arc;

/// Which atoms rows have chosen.
#[derive(Debug, PartialEq)]
pub(crate) struct ChosenAtoms {
    /// Where a row's atoms begin, and the end of the last.
    entries: Vec<usize>,
    /// Ascending in a row.
    atoms: Vec<u32>,
    /// Where a row's places begin, and the end of the last.
    starts: Vec<usize>,
    /// Where an atom's place begins among those of all atoms, and the end of the last.
    places: Vec<usize>,
}

impl ChosenAtoms {
    /// Chooses row by row: `choose` pushes a row's atoms, in any order.
    pub(crate) fn by_row(
        dictionary: &Dictionary,
        rows: usize,
        mut choose: impl FnMut(usize, &mut Vec<u32>),
    ) -> Arc<Self> {
        let mut places: Vec<usize> = (0..dictionary.len())
            .map(|a| dictionary.atom_place(a).start)
            .collect();
        places.push(dictionary.placed());
        let (mut entries, mut starts) =
            (Vec::with_capacity(rows + 1), Vec::with_capacity(rows + 1));
        entries.push(0);
        starts.push(0);
        let (mut atoms, mut own, mut end) = (Vec::new(), Vec::new(), 0);
        for i in 0..rows {
            own.clear();
            choose(i, &mut own);
            own.sort_unstable();
            let width = |&a: &u32| places[a as usize + 1] - places[a as usize];
            end += own.iter().map(width).sum::<usize>();
            atoms.extend_from_slice(&own);
            entries.push(atoms.len());
            starts.push(end);
        }
        Arc::new(Self {
            entries,
            atoms,
            starts,
            places,
        })
    }

    fn rows(&self) -> usize {
        self.entries.len() - 1
    }

    fn row(&self, i: usize) -> &[u32] {
        &self.atoms[self.entries[i]..self.entries[i + 1]]
    }

    /// Where the numbers `range` of a row's places on all atoms, all of one atom that is on, are kept.
    fn find(&self, i: usize, range: Range<usize>) -> Range<usize> {
        let mut at = self.starts[i];
        for &a in self.row(i) {
            let own = self.places[a as usize]..self.places[a as usize + 1];
            if own.contains(&range.start) {
                let first = at + range.start - own.start;
                return first..first + range.len();
            }
            at += own.len();
        }
        // An atom that is off has no place.
        at..at
    }
}

/// Amplitudes of the atoms, `n x atoms`: 0 is off, 1 is the usual amplitude.
#[derive(Clone, Debug, PartialEq)]
pub struct Gates {
    /// Of all atoms, row by row; none where rows have chosen.
    values: Vec<f64>,
    atoms: usize,
    chosen: Option<Arc<ChosenAtoms>>,
}

impl Gates {
    /// Every atom on in every row.
    pub fn all_on(rows: usize, atoms: usize) -> Self {
        Self {
            values: vec![1.0; rows * atoms],
            atoms,
            chosen: None,
        }
    }

    /// Every atom off in every row.
    pub(crate) fn all_off(rows: usize, atoms: usize) -> Self {
        Self {
            values: vec![0.0; rows * atoms],
            atoms,
            chosen: None,
        }
    }

    /// The atoms that rows have chosen, at amplitude 1.
    pub(crate) fn chosen(atoms: usize, chosen: Arc<ChosenAtoms>) -> Self {
        Self {
            values: Vec::new(),
            atoms,
            chosen: Some(chosen),
        }
    }

    /// Gates from a caller's array.
    ///
    /// # Errors
    /// [`FitError::GatesShape`] unless it is `rows x atoms`, [`FitError::NotFinite`].
    pub fn from_array(
        array: ArrayView2<'_, f64>,
        rows: usize,
        atoms: usize,
    ) -> Result<Self, FitError> {
        if array.dim() != (rows, atoms) {
            return Err(FitError::GatesShape {
                got: [array.nrows(), array.ncols()],
                expected: [rows, atoms],
            });
        }
        FitError::expect_finite("gates", array)?;
        Ok(Self {
            values: array.iter().copied().collect(),
            atoms,
            chosen: None,
        })
    }

    /// The amplitudes of all atoms in row `i`, where they are given.
    pub(crate) fn row(&self, i: usize) -> &[f64] {
        &self.values[i * self.atoms..][..self.atoms]
    }

    pub(crate) fn row_mut(&mut self, i: usize) -> &mut [f64] {
        &mut self.values[i * self.atoms..][..self.atoms]
    }

    /// The atoms that are on in row `i`, ascending, with their amplitudes.
    pub fn on(&self, i: usize) -> impl Iterator<Item = (usize, f64)> {
        let (given, chosen) = match &self.chosen {
            Some(chosen) => (&[][..], chosen.row(i)),
            None => (self.row(i), &[][..]),
        };
        let given = given.iter().copied().enumerate();
        let given = given.filter(|(_, gate)| *gate != 0.0);
        given.chain(chosen.iter().map(|&a| (a as usize, 1.0)))
    }

    /// The amplitude of atom `a` in row `i`: 0 where it is off.
    pub fn get(&self, i: usize, a: usize) -> f64 {
        match &self.chosen {
            Some(chosen) if chosen.row(i).contains(&(a as u32)) => 1.0,
            Some(_) => 0.0,
            None => self.row(i)[a],
        }
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        match &self.chosen {
            Some(chosen) => chosen.rows(),
            None => self.values.len().checked_div(self.atoms).unwrap_or(0),
        }
    }

    /// The number of rows in which atom `a` is on.
    pub fn count(&self, a: usize) -> usize {
        (0..self.rows()).filter(|&i| self.get(i, a) != 0.0).count()
    }

    /// The gates as an `n x atoms` array.
    pub fn to_array(&self) -> Array2<f64> {
        let mut array = Array2::zeros((self.rows(), self.atoms));
        for i in 0..self.rows() {
            for (a, gate) in self.on(i) {
                array[(i, a)] = gate;
            }
        }
        array
    }

    /// The same with 1 for every amplitude that is fitted: those belong to the places.
    ///
    /// # Errors
    /// [`FitError::Option`] for one that is negative.
    pub(crate) fn without_fitted(self, dictionary: &Dictionary) -> Result<Self, FitError> {
        let mut gates = self;
        debug_assert!(gates.chosen.is_none(), "amplitudes are the caller's");
        for (a, _) in (dictionary.atoms().iter().enumerate()).filter(|(_, atom)| atom.is_cone()) {
            for i in 0..gates.rows() {
                let gate = &mut gates.row_mut(i)[a];
                if *gate < 0.0 {
                    return Err(FitError::Option {
                        option: "gates",
                        value: format!("{gate} in row {i}, atom {a}"),
                        expected: "at least 0 where amplitudes are fitted",
                    });
                }
                *gate = if *gate > 0.0 { 1.0 } else { 0.0 };
            }
        }
        Ok(gates)
    }

    pub(crate) fn subset(&self, indices: &[usize]) -> Self {
        let values = indices
            .iter()
            .flat_map(|&i| self.row(i).iter().copied())
            .collect();
        Self {
            values,
            atoms: self.atoms,
            chosen: None,
        }
    }
}

/// Places of all rows on all atoms: see [`crate::model::dictionary`].
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Coordinates {
    values: Vec<f64>,
    columns: usize,
    chosen: Option<Arc<ChosenAtoms>>,
}

impl Coordinates {
    /// Every coordinate at its origin, angle 0, the pole, 0, and every amplitude 1.
    pub(crate) fn origin(dictionary: &Dictionary, rows: usize) -> Self {
        let columns = dictionary.placed();
        let mut one = vec![0.0; columns];
        for (a, atom) in dictionary.atoms().iter().enumerate() {
            atom.project(&mut one[dictionary.atom_place(a)]);
        }
        Self {
            values: one.repeat(rows),
            columns,
            chosen: None,
        }
    }

    /// Zeros on the atoms that rows have chosen.
    pub(crate) fn chosen(chosen: Arc<ChosenAtoms>) -> Self {
        Self {
            values: vec![0.0; chosen.starts.last().copied().unwrap_or(0)],
            columns: chosen.places.last().copied().unwrap_or(0),
            chosen: Some(chosen),
        }
    }

    /// The numbers `range` of row `i`'s places on all atoms: those of one atom, which is on.
    #[inline]
    pub(crate) fn place(&self, i: usize, range: Range<usize>) -> &[f64] {
        match &self.chosen {
            Some(chosen) => &self.values[chosen.find(i, range)],
            None => &self.row(i)[range],
        }
    }

    #[inline]
    pub(crate) fn place_mut(&mut self, i: usize, range: Range<usize>) -> &mut [f64] {
        match &self.chosen {
            Some(chosen) => &mut self.values[chosen.find(i, range)],
            None => &mut self.values[i * self.columns..][..self.columns][range],
        }
    }

    /// The places on all atoms, where gates are given.
    pub(crate) fn row(&self, i: usize) -> &[f64] {
        &self.values[i * self.columns..][..self.columns]
    }

    pub(crate) fn row_mut(&mut self, i: usize) -> &mut [f64] {
        &mut self.values[i * self.columns..][..self.columns]
    }

    pub(crate) fn flat(&self) -> &[f64] {
        &self.values
    }

    pub(crate) fn flat_mut(&mut self) -> &mut [f64] {
        &mut self.values
    }

    /// What a caller is given.
    pub(crate) fn places(&self, dictionary: &Dictionary, gates: &Gates) -> RowPlaces {
        let mut places = RowPlaces::with_capacity(dictionary, gates.rows());
        for i in 0..gates.rows() {
            places.push(gates.on(i).map(|(a, gate)| {
                let (atom, place) = (
                    dictionary.atoms()[a],
                    self.place(i, dictionary.atom_place(a)),
                );
                ActiveAtom {
                    atom: a,
                    amplitude: gate * atom.amplitude(place),
                    coordinates: &place[..atom.stored()],
                }
            }));
        }
        places
    }

    /// Takes the fitted amplitudes of atoms that are on from `gates`.
    pub(crate) fn set_amplitudes(&mut self, dictionary: &Dictionary, gates: &Gates) {
        for (a, atom) in dictionary.atoms().iter().enumerate() {
            for i in (0..gates.rows()).filter(|_| atom.is_cone()) {
                let (gate, place) = (gates.row(i)[a], dictionary.atom_place(a));
                if let Some(amplitude) = self.row_mut(i)[place].last_mut().filter(|_| gate > 0.0) {
                    *amplitude = gate;
                }
            }
        }
    }

    /// Whitens flat coordinates and brings fitted amplitudes to their scale: see [`crate::iterate::whitening`] and
    /// [`crate::iterate::cones`]. Returns the maps back, one per line and one per cone.
    pub(crate) fn whiten(&mut self, layout: &Layout) -> (Vec<Map>, Vec<Mat<f64>>) {
        let flat = layout.flat().iter();
        let maps = flat.map(|flat| flat.whiten(self)).collect();
        let cones = layout.cones().iter();
        (maps, cones.map(|cone| cone.scale(self)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::basis::Basis;
    use crate::model::topology::Topology;

    #[test]
    fn off_atoms_are_not_numbers_in_what_a_caller_is_given() {
        let dictionary =
            Dictionary::uniform(2, Topology::Circle, Basis::Harmonics { highest: 1 }).unwrap();
        let mut gates = Gates::all_on(3, 2);
        gates.row_mut(1)[0] = 0.0;
        let places = Coordinates::origin(&dictionary, 3).places(&dictionary, &gates);
        let array = places.coordinates();
        assert!(array[(1, 0)].is_nan());
        assert_eq!(array.iter().filter(|v| v.is_nan()).count(), 1);
        assert_eq!(gates.count(0), 2);
    }

    #[test]
    fn places_of_chosen_atoms_are_those_of_dense_arrays() {
        let dictionary: Dictionary = "circle,sphere,euclidean:2".parse().unwrap();
        let picked: [&[u32]; 4] = [&[2, 0], &[], &[1], &[2]];
        let chosen = ChosenAtoms::by_row(&dictionary, 4, |i, atoms| {
            atoms.extend_from_slice(picked[i]);
        });
        let mut sparse = Coordinates::chosen(chosen.clone());
        let mut dense = Coordinates::origin(&dictionary, 4);
        let (few, mut all) = (Gates::chosen(3, chosen), Gates::all_off(4, 3));
        for (i, atoms) in picked.iter().enumerate() {
            for &a in *atoms {
                all.row_mut(i)[a as usize] = 1.0;
                let range = dictionary.atom_place(a as usize);
                for (k, at) in range.clone().enumerate() {
                    let value = (10 * i + at) as f64;
                    sparse.place_mut(i, range.clone())[k] = value;
                    dense.place_mut(i, at..at + 1)[0] = value;
                    assert_eq!(sparse.place(i, at..at + 1), [value]);
                }
            }
        }
        assert_eq!(few.rows(), 4);
        assert_eq!(few.to_array(), all.to_array());
        for i in 0..4 {
            assert!(few.on(i).eq(all.on(i)));
            assert!((0..3).all(|a| few.get(i, a) == all.get(i, a)));
        }
        assert_eq!((few.count(2), all.count(2)), (2, 2));
        let places = |coordinates: &Coordinates, gates| coordinates.places(&dictionary, gates);
        assert_eq!(places(&sparse, &few), places(&dense, &all));
    }
}
