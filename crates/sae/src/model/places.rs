//! Where rows are on the atoms that are on in them, row after row.
//!
//! ```text
//! row i     entries[i] .. entries[i + 1]     atom (ascending), amplitude
//!           starts[i] ..                     stored coordinates of those atoms, one after another
//! ```
//!
//! Where rows choose a few atoms among many, arrays of rows by atoms would be nearly all zeros.

use crate::error::FitError;
use crate::model::dictionary::Dictionary;
use ndarray::{Array2, ArrayView2};

/// See the [module](self).
#[derive(Clone, Debug, PartialEq)]
pub struct RowPlaces {
    /// Where the columns of an atom's coordinates begin, and the end of the last.
    columns: Vec<usize>,
    entries: Vec<usize>,
    starts: Vec<usize>,
    atom: Vec<u32>,
    amplitude: Vec<f64>,
    coordinates: Vec<f64>,
}

/// An atom that is on in a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ActiveAtom<'a> {
    /// The atom.
    pub atom: usize,
    /// Its amplitude, not 0.
    pub amplitude: f64,
    /// Its stored coordinates.
    pub coordinates: &'a [f64],
}

impl RowPlaces {
    /// No rows yet, of as many as `rows`.
    pub(crate) fn with_capacity(dictionary: &Dictionary, rows: usize) -> Self {
        let first = |a: usize| dictionary.atom_columns(a).start;
        let mut columns: Vec<usize> = (0..dictionary.len()).map(first).collect();
        columns.push(dictionary.columns());
        let mut places = Self {
            columns,
            entries: Vec::with_capacity(rows + 1),
            starts: Vec::with_capacity(rows + 1),
            atom: Vec::new(),
            amplitude: Vec::new(),
            coordinates: Vec::new(),
        };
        places.entries.push(0);
        places.starts.push(0);
        places
    }

    /// The places in dense arrays: coordinates (`n x columns`) and amplitudes (`n x atoms`, 0 is off).
    ///
    /// # Errors
    /// [`FitError::GatesShape`], [`FitError::CoordinatesShape`].
    pub fn from_arrays(
        dictionary: &Dictionary,
        coordinates: ArrayView2<'_, f64>,
        gates: ArrayView2<'_, f64>,
    ) -> Result<Self, FitError> {
        let rows = gates.nrows();
        if gates.ncols() != dictionary.len() {
            return Err(FitError::GatesShape {
                got: [rows, gates.ncols()],
                expected: [rows, dictionary.len()],
            });
        }
        if coordinates.dim() != (rows, dictionary.columns()) {
            return Err(FitError::CoordinatesShape {
                got: coordinates.dim().into(),
                expected: [rows, dictionary.columns()],
            });
        }
        let mut places = Self::with_capacity(dictionary, rows);
        places.push_dense(coordinates, gates);
        Ok(places)
    }

    /// Appends a row with these places, atoms ascending.
    pub(crate) fn push<'p>(&mut self, row: impl IntoIterator<Item = ActiveAtom<'p>>) {
        for place in row {
            self.atom.push(place.atom as u32);
            self.amplitude.push(place.amplitude);
            self.coordinates.extend_from_slice(place.coordinates);
        }
        self.entries.push(self.atom.len());
        self.starts.push(self.coordinates.len());
    }

    /// Appends rows of dense arrays: coordinates of all atoms, and amplitudes of which 0 is off.
    pub(crate) fn push_dense(
        &mut self,
        coordinates: ArrayView2<'_, f64>,
        gates: ArrayView2<'_, f64>,
    ) {
        let columns = self.columns.clone();
        for (t, gates) in coordinates.rows().into_iter().zip(gates.rows()) {
            let t = t.to_vec();
            let on = gates.iter().enumerate().filter(|(_, gate)| **gate != 0.0);
            self.push(on.map(|(atom, &amplitude)| ActiveAtom {
                atom,
                amplitude,
                coordinates: &t[columns[atom]..columns[atom + 1]],
            }));
        }
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.entries.len() - 1
    }

    /// The number of atoms of the dictionary.
    pub fn atoms(&self) -> usize {
        self.columns.len() - 1
    }

    /// The number of coordinates of all atoms.
    pub fn columns(&self) -> usize {
        self.columns[self.atoms()]
    }

    /// The atoms that are on in row `i`, ascending.
    pub fn row(&self, i: usize) -> impl Iterator<Item = ActiveAtom<'_>> {
        let mut at = self.starts[i];
        (self.entries[i]..self.entries[i + 1]).map(move |entry| {
            let atom = self.atom[entry] as usize;
            let first = at;
            at += self.columns[atom + 1] - self.columns[atom];
            ActiveAtom {
                atom,
                amplitude: self.amplitude[entry],
                coordinates: &self.coordinates[first..at],
            }
        })
    }

    /// Atom `a` in row `i`, if it is on.
    pub fn get(&self, i: usize, a: usize) -> Option<ActiveAtom<'_>> {
        self.row(i).find(|place| place.atom == a)
    }

    /// In how many rows each atom is on.
    pub fn counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.atoms()];
        for &a in &self.atom {
            counts[a as usize] += 1;
        }
        counts
    }

    /// Writes the coordinates of all atoms in row `i` into `to`: NaN where an atom is off.
    pub fn coordinates_of(&self, i: usize, to: &mut [f64]) {
        to.fill(f64::NAN);
        for place in self.row(i) {
            to[self.columns[place.atom]..][..place.coordinates.len()]
                .copy_from_slice(place.coordinates);
        }
    }

    /// Writes the amplitudes of all atoms in row `i` into `to`: 0 where an atom is off.
    pub fn gates_of(&self, i: usize, to: &mut [f64]) {
        to.fill(0.0);
        for place in self.row(i) {
            to[place.atom] = place.amplitude;
        }
    }

    /// The coordinates as an `n x columns` array, atoms in order; NaN where an atom is off.
    pub fn coordinates(&self) -> Array2<f64> {
        self.dense(self.columns(), Self::coordinates_of)
    }

    /// The amplitudes as an `n x atoms` array; 0 where an atom is off.
    pub fn gates(&self) -> Array2<f64> {
        self.dense(self.atoms(), Self::gates_of)
    }

    fn dense(&self, width: usize, write: impl Fn(&Self, usize, &mut [f64])) -> Array2<f64> {
        let mut array = Array2::zeros((self.rows(), width));
        for (i, mut row) in array.rows_mut().into_iter().enumerate() {
            if let Some(row) = row.as_slice_mut() {
                write(self, i, row);
            }
        }
        array
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn places_are_found_row_by_row_and_densely() {
        let dictionary: Dictionary = "circle,sphere,euclidean:2".parse().unwrap();
        let gates = array![[0.0, 1.0, 0.5], [0.0, 0.0, 0.0], [2.0, 0.0, 0.0]];
        let full = Array2::from_shape_fn((3, 6), |(i, c)| (10 * i + c) as f64);
        let of =
            |gates: ArrayView2<'_, f64>| RowPlaces::from_arrays(&dictionary, full.view(), gates);
        assert!(of(gates.slice(ndarray::s![.., ..2])).is_err());
        assert!(of(gates.slice(ndarray::s![..2, ..])).is_err());
        let places = of(gates.view()).unwrap();
        assert_eq!((places.rows(), places.atoms(), places.columns()), (3, 3, 6));
        let first: Vec<ActiveAtom<'_>> = places.row(0).collect();
        assert_eq!((first[0].atom, first[1].atom), (1, 2));
        assert_eq!(first[0].coordinates, [1.0, 2.0, 3.0]);
        assert_eq!(
            (first[1].coordinates, first[1].amplitude),
            (&[4.0, 5.0][..], 0.5)
        );
        assert!(places.row(1).next().is_none() && places.get(2, 1).is_none());
        assert_eq!(places.get(2, 0).unwrap().coordinates, [20.0]);
        assert_eq!(places.counts(), [1, 1, 1]);
        assert_eq!(places.gates(), gates);
        let coordinates = places.coordinates();
        assert!(coordinates[(0, 0)].is_nan() && coordinates.row(1).iter().all(|t| t.is_nan()));
        assert_eq!(coordinates.row(0).to_vec()[1..], [1.0, 2.0, 3.0, 4.0, 5.0]);
    }
}
