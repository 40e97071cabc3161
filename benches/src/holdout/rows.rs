//! The rows that a share and a seed hold out: a fit itself says which, and a file hands them to the peer.
//!
//! They depend on how many rows there are, on the share and on the seed alone. So a fit of made rows with two
//! columns holds out the rows that a fit of the real ones does, in milliseconds; a run of the command
//! compares the two.

use crate::error::Error;
use crate::noise::uniform;
use broadhead_device::seal;
use broadhead_gate::Decline;
use broadhead_sae::lm::Rule;
use broadhead_sae::{Dictionary, FitOptions, Place, fit_holding_out, go_on};
use ndarray::{Array1, Array2};
use ndarray_npy::{ReadNpyExt, WriteNpyExt};
use std::path::Path;

/// Rows that are held out, ascending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HeldOut(Vec<i64>);

impl HeldOut {
    /// Of so many rows this share by this seed.
    ///
    /// # Errors
    /// A share that leaves no row on either side.
    pub(crate) fn of(rows: usize, share: f64, seed: u64) -> Result<Self, Decline> {
        let failed = |error: String| Decline::Failed { error };
        let dictionary: Dictionary = "euclidean:1"
            .parse()
            .map_err(|e| failed(format!("a line: {e}")))?;
        let numbers = uniform(1, 0, 2 * rows).collect();
        let x = Array2::from_shape_vec((rows, 2), numbers).map_err(|e| failed(e.to_string()))?;
        let options = FitOptions {
            seed,
            starts: 1,
            rule: Rule::curved().with_max_iterations(1),
            ..FitOptions::default()
        };
        let place = Place::default();
        let fitted = fit_holding_out(&place, x.view(), &dictionary, &options, share, &go_on);
        let (_, held_out) = fitted.map_err(|e| failed(e.to_string()))?;
        let held_out = held_out.ok_or_else(|| failed("no row is held out".to_owned()))?;
        Ok(Self(held_out.rows.iter().map(|&row| row as i64).collect()))
    }

    /// Those that the command wrote.
    ///
    /// # Errors
    /// The file is not there or is none.
    pub(crate) fn read(path: &Path) -> Result<Self, Decline> {
        let rows: Array1<i64> = read(path)?;
        Ok(Self(rows.to_vec()))
    }

    /// Writes them as the command does.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn write(&self, path: &Path) -> Result<(), Error> {
        let file = std::fs::File::create(path).map_err(Error::file(path))?;
        let rows = Array1::from_vec(self.0.clone());
        rows.write_npy(file).map_err(|e| Error::Format {
            path: path.to_path_buf(),
            message: e.to_string(),
        })
    }

    /// The digest of the indices, eight bytes each.
    pub(crate) fn sha256(&self) -> String {
        let bytes: Vec<u8> = self.0.iter().flat_map(|row| row.to_le_bytes()).collect();
        seal::digest(&bytes)
    }

    /// The indices.
    pub(crate) fn indices(&self) -> impl Iterator<Item = usize> {
        self.0.iter().map(|&row| row as usize)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

/// An array that the command wrote.
///
/// # Errors
/// The file is not there or is none, said without its folder.
pub(crate) fn read<A: ReadNpyExt>(path: &Path) -> Result<A, Decline> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let failed = |error: String| Decline::Failed {
        error: format!("{name}: {error}"),
    };
    let file = std::fs::File::open(path).map_err(|e| failed(e.to_string()))?;
    A::read_npy(file).map_err(|e| failed(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_holds_out_its_own_rows_and_a_file_keeps_them() {
        let held = HeldOut::of(500, 0.1, 3).unwrap();
        assert_eq!(held.len(), 50);
        let rows: Vec<usize> = held.indices().collect();
        assert!(rows.is_sorted() && rows.iter().all(|row| *row < 500));
        assert_eq!(held, HeldOut::of(500, 0.1, 3).unwrap());
        let other = HeldOut::of(500, 0.1, 4).unwrap();
        assert!(held != other && held.sha256() != other.sha256());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("holdout.npy");
        held.write(&path).unwrap();
        assert_eq!(HeldOut::read(&path).unwrap(), held);
        std::fs::write(&path, "none").unwrap();
        let error = HeldOut::read(&path).unwrap_err().to_string();
        let folder = folder.path().to_str().unwrap();
        assert!(
            error.contains("holdout.npy: ") && !error.contains(folder),
            "{error}"
        );
    }

    #[test]
    fn the_rows_do_not_depend_on_what_is_in_them() {
        // Other numbers, another dictionary, other starts: what the command does with real rows.
        let x = Array2::from_shape_fn((300, 3), |(i, j)| (0.7 * i as f64 + j as f64).sin());
        let dictionary: Dictionary = "2*circle".parse().unwrap();
        let options = FitOptions {
            seed: 7,
            starts: 2,
            gates: broadhead_sae::GatePolicy::TopK(1),
            rule: Rule::curved().with_max_iterations(2),
            ..FitOptions::default()
        };
        let place = Place::default();
        let (_, held) =
            fit_holding_out(&place, x.view(), &dictionary, &options, 0.2, &go_on).unwrap();
        let rows: Vec<usize> = HeldOut::of(300, 0.2, 7).unwrap().indices().collect();
        assert_eq!(held.unwrap().rows, rows);
    }

    #[test]
    fn a_share_that_leaves_nothing_is_a_reason() {
        assert!(HeldOut::of(10, 0.99, 0).is_err());
        assert!(HeldOut::of(10, 0.001, 0).is_err());
    }
}
