//! Dead atoms, and their second start.
//!
//! Where rows choose their atoms, an atom may end with no row: its decoder is then zero, no row can
//! prefer it, and it stays dead. It is given the rows that are reconstructed worst, at coordinates
//! from their own principal components. A few rounds of alternation let all rows choose again, and
//! the whole is kept only if the objective falls: see [`crate::rounds`]. Nothing is random here.

use crate::data::Data;
use crate::iterate::coordinates::{Coordinates, Gates};
use crate::model::dictionary::Dictionary;
use crate::starts::principal::Principal;
use crate::starts::seat;

/// The most rows that a dead atom is given.
const MOST: usize = 512;

/// Atoms that are on in no row.
pub(crate) fn dead(dictionary: &Dictionary, gates: &Gates) -> Vec<usize> {
    let atoms = 0..dictionary.len();
    atoms.filter(|&a| gates.count(a) == 0).collect()
}

/// Gives each dead atom rows: those with the largest of `squares`, the rows' squared errors, each in
/// place of the atom of that row that most rows have. The number of atoms that were given any.
pub(crate) fn reseed(
    dictionary: &Dictionary,
    data: &Data,
    squares: &[f64],
    coordinates: &mut Coordinates,
    gates: &mut Gates,
) -> usize {
    let dead = dead(dictionary, gates);
    let counts: Vec<usize> = (0..dictionary.len()).map(|a| gates.count(a)).collect();
    let mut worst: Vec<usize> = (0..data.rows())
        .filter(|&i| squares[i] > 0.0 && gates.row(i).iter().any(|&gate| gate != 0.0))
        .collect();
    worst.sort_by(|&i, &j| squares[j].total_cmp(&squares[i]).then(i.cmp(&j)));
    let share = (data.rows() / (2 * dictionary.len())).clamp(1, MOST);
    for (members, &a) in worst.chunks(share).zip(&dead) {
        let mut members = members.to_vec();
        members.sort_unstable();
        let atom = dictionary.atoms()[a];
        let principal = Principal::of(&data.subset(&members), atom.topology().components());
        seat(
            atom,
            &principal,
            &members,
            dictionary.atom_columns(a),
            coordinates,
        );
        for &i in &members {
            let row = gates.row_mut(i);
            let crowded = (0..row.len())
                .filter(|&b| row[b] != 0.0)
                .max_by_key(|&b| counts[b]);
            if let Some(b) = crowded {
                (row[b], row[a]) = (0.0, 1.0);
            }
        }
    }
    dead.len().min(worst.len().div_ceil(share))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::basis::Basis;
    use crate::model::topology::Topology;
    use ndarray::Array2;

    #[test]
    fn a_dead_atom_gets_the_worst_rows_in_place_of_the_crowded_atom() {
        let dictionary =
            Dictionary::uniform(3, Topology::Circle, Basis::Harmonics { highest: 1 }).unwrap();
        let x = Array2::from_shape_fn((12, 4), |(i, j)| ((3 * i + j) as f64).sin());
        let data = Data::normalised(x.view()).unwrap();
        let mut gates = Gates::all_off(12, 3);
        (0..12).for_each(|i| gates.row_mut(i)[usize::from(i % 4 == 0)] = 1.0);
        let mut coordinates = Coordinates::origin(&dictionary, 12);
        let squares: Vec<f64> = (0..12).map(|i| f64::from(i % 5)).collect();
        assert_eq!(dead(&dictionary, &gates), [2]);
        let given = reseed(&dictionary, &data, &squares, &mut coordinates, &mut gates);
        assert_eq!((given, gates.count(2)), (1, 2));
        // Rows 4 and 9 are worst.
        assert_eq!(
            (gates.row(4), gates.row(9)),
            (&[0.0, 0.0, 1.0][..], &[0.0, 0.0, 1.0][..])
        );
        assert!(dead(&dictionary, &gates).is_empty());
    }

    #[test]
    fn rows_that_are_explained_are_left_alone() {
        let dictionary =
            Dictionary::uniform(2, Topology::Circle, Basis::Harmonics { highest: 1 }).unwrap();
        let x = Array2::from_elem((4, 3), 1.0);
        let data = Data::normalised(x.view()).unwrap();
        let mut gates = Gates::all_off(4, 2);
        (0..4).for_each(|i| gates.row_mut(i)[0] = 1.0);
        let before = gates.clone();
        let mut coordinates = Coordinates::origin(&dictionary, 4);
        let given = reseed(&dictionary, &data, &[0.0; 4], &mut coordinates, &mut gates);
        assert_eq!((given, gates), (0, before));
    }
}
