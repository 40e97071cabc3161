//! Coordinates and gates: where each row sits on each atom, and how strongly the atom is on.
//!
//! Both are plain arrays of a row's places and `n x atoms`, row-major. A fitted amplitude belongs to the place;
//! the gate is then 1 where the atom is on. An atom that is off in a row (gate 0) contributes neither unknowns
//! nor features there. Its stored numbers are kept only so that it
//! can be switched on again; a caller sees NaN.

use crate::error::FitError;
use crate::iterate::layout::Layout;
use crate::iterate::whitening::Map;
use crate::model::dictionary::Dictionary;
use faer::Mat;
use ndarray::{Array2, ArrayView2};

/// Amplitudes of the atoms, `n x atoms`: 0 is off, 1 is the usual amplitude.
#[derive(Clone, Debug, PartialEq)]
pub struct Gates {
    values: Vec<f64>,
    atoms: usize,
}

impl Gates {
    /// Every atom on in every row.
    pub fn all_on(rows: usize, atoms: usize) -> Self {
        Self {
            values: vec![1.0; rows * atoms],
            atoms,
        }
    }

    /// Every atom off in every row.
    pub(crate) fn all_off(rows: usize, atoms: usize) -> Self {
        Self {
            values: vec![0.0; rows * atoms],
            atoms,
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
        })
    }

    /// The amplitudes of row `i`.
    pub fn row(&self, i: usize) -> &[f64] {
        &self.values[i * self.atoms..][..self.atoms]
    }

    pub(crate) fn row_mut(&mut self, i: usize) -> &mut [f64] {
        &mut self.values[i * self.atoms..][..self.atoms]
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.values.len().checked_div(self.atoms).unwrap_or(0)
    }

    /// The number of rows in which atom `a` is on.
    pub fn count(&self, a: usize) -> usize {
        (0..self.rows()).filter(|&i| self.row(i)[a] != 0.0).count()
    }

    /// The gates as an `n x atoms` array.
    pub fn to_array(&self) -> Array2<f64> {
        Array2::from_shape_fn((self.rows(), self.atoms), |(i, a)| self.row(i)[a])
    }

    /// The same with 1 for every amplitude that is fitted: those belong to the places.
    ///
    /// # Errors
    /// [`FitError::Option`] for one that is negative.
    pub(crate) fn without_fitted(&self, dictionary: &Dictionary) -> Result<Self, FitError> {
        let mut gates = self.clone();
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
        }
    }
}

/// Places of all rows on all atoms: see [`crate::model::dictionary`].
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Coordinates {
    values: Vec<f64>,
    columns: usize,
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
        }
    }

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

    /// The array that a caller is given: NaN where an atom is off.
    pub(crate) fn to_array(&self, dictionary: &Dictionary, gates: &Gates) -> Array2<f64> {
        let rows = gates.rows();
        let mut array = Array2::from_elem((rows, dictionary.columns()), f64::NAN);
        for i in 0..rows {
            for a in 0..dictionary.len() {
                if gates.row(i)[a] != 0.0 {
                    let place = &self.row(i)[dictionary.atom_place(a)];
                    for (c, t) in dictionary.atom_columns(a).zip(place) {
                        array[(i, c)] = *t;
                    }
                }
            }
        }
        array
    }

    /// The amplitudes that a caller is given, `n x atoms`: 0 where an atom is off.
    pub(crate) fn amplitudes(&self, dictionary: &Dictionary, gates: &Gates) -> Array2<f64> {
        let mut array = gates.to_array();
        for ((i, a), gate) in array.indexed_iter_mut() {
            *gate *= dictionary.atoms()[a].amplitude(&self.row(i)[dictionary.atom_place(a)]);
        }
        array
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
        let array = Coordinates::origin(&dictionary, 3).to_array(&dictionary, &gates);
        assert!(array[(1, 0)].is_nan());
        assert_eq!(array.iter().filter(|v| v.is_nan()).count(), 1);
        assert_eq!(gates.count(0), 2);
    }
}
