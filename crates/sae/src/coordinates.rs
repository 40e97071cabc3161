//! Coordinates and gates: where each row sits on each atom, and how strongly the atom is on.
//!
//! Both are plain `n x columns` and `n x atoms` arrays, row-major. An atom that is off in a row
//! (gate 0) contributes neither unknowns nor features there; its stored numbers are kept only so
//! that it can come back, and are NaN in what a caller is given.

use crate::dictionary::Dictionary;
use crate::error::FitError;
use ndarray::{Array2, ArrayView2};

/// Amplitudes of the atoms, `n x atoms`: 0 is off, 1 the usual on.
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
        if let Some(((row, column), value)) = array.indexed_iter().find(|(_, v)| !v.is_finite()) {
            return Err(FitError::NotFinite {
                array: "gates",
                row,
                column,
                value: *value,
            });
        }
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
        self.values.len() / self.atoms
    }

    /// The number of rows in which atom `a` is on.
    pub fn count(&self, a: usize) -> usize {
        (0..self.rows()).filter(|&i| self.row(i)[a] != 0.0).count()
    }

    /// The gates as an `n x atoms` array.
    pub fn to_array(&self) -> Array2<f64> {
        Array2::from_shape_fn((self.rows(), self.atoms), |(i, a)| self.row(i)[a])
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

/// Stored coordinates of all atoms, `n x columns`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Coordinates {
    values: Vec<f64>,
    columns: usize,
}

impl Coordinates {
    /// Every coordinate at its origin: angle 0, the pole, 0.
    pub(crate) fn origin(dictionary: &Dictionary, rows: usize) -> Self {
        let columns = dictionary.columns();
        let mut one = vec![0.0; columns];
        for (a, atom) in dictionary.atoms().iter().enumerate() {
            atom.topology()
                .project(&mut one[dictionary.atom_columns(a)]);
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
        let mut array = Array2::from_elem((rows, self.columns), f64::NAN);
        for i in 0..rows {
            for a in 0..dictionary.len() {
                if gates.row(i)[a] != 0.0 {
                    for c in dictionary.atom_columns(a) {
                        array[(i, c)] = self.row(i)[c];
                    }
                }
            }
        }
        array
    }

    /// Shifts and scales the Euclidean coordinates of `gates`' rows in place: unit variance, and
    /// zero mean where the atom is on in every row at amplitude 1 (elsewhere a shift would move the
    /// row's other features, which no decoder could undo for monomials of degree 2).
    pub(crate) fn standardise(&mut self, dictionary: &Dictionary, gates: &Gates) {
        for (a, atom) in dictionary.atoms().iter().enumerate() {
            if !atom.topology().is_euclidean() {
                continue;
            }
            let on: Vec<usize> = (0..gates.rows())
                .filter(|&i| gates.row(i)[a] != 0.0)
                .collect();
            if on.is_empty() {
                continue;
            }
            let always = (0..gates.rows()).all(|i| gates.row(i)[a] == 1.0);
            for c in dictionary.atom_columns(a) {
                let count = on.len() as f64;
                let mean = on.iter().map(|&i| self.row(i)[c]).sum::<f64>() / count;
                let shift = if always { mean } else { 0.0 };
                let square = |i: usize| (self.row(i)[c] - mean).powi(2);
                let deviation = (on.iter().map(|&i| square(i)).sum::<f64>() / count).sqrt();
                // A coordinate that does not vary has no scale to give it.
                let divisor = if deviation > 1e-12 * mean.abs().max(1.0) {
                    deviation
                } else {
                    1.0
                };
                for &i in &on {
                    let t = &mut self.row_mut(i)[c];
                    *t = (*t - shift) / divisor;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::basis::Basis;
    use crate::topology::Topology;

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

    #[test]
    fn euclidean_coordinates_are_standardised_over_the_rows_that_are_on() {
        let topology = Topology::Euclidean { dimension: 1 };
        let dictionary = Dictionary::uniform(1, topology, Basis::Monomials { degree: 1 }).unwrap();
        let mut coordinates = Coordinates::origin(&dictionary, 4);
        coordinates
            .flat_mut()
            .copy_from_slice(&[1.0, 3.0, 5.0, 100.0]);
        let mut gates = Gates::all_on(4, 1);
        gates.row_mut(3)[0] = 0.0;
        let mut ragged = coordinates.clone();
        ragged.standardise(&dictionary, &gates);
        assert_eq!(ragged.flat()[3], 100.0);
        let deviation = (8.0_f64 / 3.0).sqrt();
        assert!((ragged.flat()[0] - 1.0 / deviation).abs() < 1e-15);
        coordinates.standardise(&dictionary, &Gates::all_on(4, 1));
        assert!(coordinates.flat().iter().sum::<f64>().abs() < 1e-14);
        let square: f64 = coordinates.flat().iter().map(|t| t * t).sum();
        assert!((square / 4.0 - 1.0).abs() < 1e-14);
    }

    #[test]
    fn gates_of_another_shape_or_not_finite_are_refused() {
        let array = Array2::zeros((3, 2));
        assert!(Gates::from_array(array.view(), 3, 3).is_err());
        let mut bad = Array2::zeros((3, 2));
        bad[(2, 1)] = f64::NAN;
        let error = Gates::from_array(bad.view(), 3, 2).unwrap_err();
        assert!(matches!(
            error,
            FitError::NotFinite {
                array: "gates",
                row: 2,
                column: 1,
                ..
            }
        ));
    }
}
