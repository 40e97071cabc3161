//! Several files of rows as one long array.

use super::{Extents, InputError, Named, OpenMatrix, Source, open_matrix};
use crate::{memory, message};
use ndarray::Array2;

/// Names that a message lists.
const NAMED: usize = 3;

/// Open files with the rows of a fit, in order, not yet read.
#[derive(Debug)]
pub struct OpenRows {
    files: Vec<(Source, OpenMatrix)>,
}

/// Opens the rows of a fit and reads the headers.
///
/// # Errors
/// As [`open_matrix`], and [`InputError::Shape`] naming the first file with other columns than the first.
pub fn open_rows(sources: &[Source]) -> Result<OpenRows, InputError> {
    let mut files: Vec<(Source, OpenMatrix)> = Vec::new();
    for source in sources {
        let opened = open_matrix(source)?;
        if let (Some((first, matrix)), Some(found)) = (files.first(), opened.shape())
            && let Some([_, columns]) = matrix.shape()
        {
            expect_columns(&name(source), found, columns, &name(first))?;
        }
        files.push((source.clone(), opened));
    }
    Ok(OpenRows { files })
}

impl OpenRows {
    /// Rows of all files together, and columns, if all headers tell.
    pub fn shape(&self) -> Option<[usize; 2]> {
        let mut total: Option<[usize; 2]> = None;
        for (_, file) in &self.files {
            let [rows, columns] = file.shape()?;
            let before = total.map_or(0, |[before, _]| before);
            total = Some([before.checked_add(rows)?, columns]);
        }
        total
    }

    /// The numbers that reading holds beside the whole: those of the largest file, where there are several.
    pub fn beside(&self) -> u64 {
        if self.files.len() < 2 {
            return 0;
        }
        let shapes = self.files.iter().filter_map(|(_, file)| file.shape());
        let numbers = shapes.map(|shape| memory::numbers(&shape));
        numbers.max().unwrap_or(0)
    }

    /// Reads the rows of all files, one after another.
    ///
    /// # Errors
    /// As [`OpenMatrix::read`], and [`InputError::Shape`] naming the first file with other columns.
    pub fn read(self) -> Result<Named<Array2<f64>>, InputError> {
        let total = self.shape();
        let names: Vec<String> = self.files.iter().map(|(source, _)| name(source)).collect();
        let mut files = self.files.into_iter();
        let Some((_, first)) = files.next() else {
            return Err(InputError::Malformed {
                array: "X".to_owned(),
                reason: "no file is named".to_owned(),
            });
        };
        let first = first.read()?;
        if names.len() == 1 {
            return Ok(first);
        }
        let (mut rows, columns) = first.array.dim();
        let mut values: Vec<f64> = Vec::new();
        let whole = total.map_or(0, |[rows, _]| rows.saturating_mul(columns));
        values.try_reserve_exact(whole).map_err(|_| {
            let shape = Extents(total.map_or_else(Vec::new, Vec::from));
            InputError::TooLarge {
                array: message::list(names.iter(), NAMED),
                bytes: 8 * whole as u128,
                shape,
            }
        })?;
        values.extend(first.array.iter());
        drop(first.array);
        for (_, file) in files {
            let Named { name, array } = file.read()?;
            let found = [array.nrows(), array.ncols()];
            expect_columns(&name, found, columns, &names[0])?;
            values.extend(array.iter());
            rows += array.nrows();
        }
        let name = message::list(names.iter(), NAMED);
        match Array2::from_shape_vec((rows, columns), values) {
            Ok(array) => Ok(Named { name, array }),
            Err(error) => Err(InputError::Malformed {
                array: name,
                reason: error.to_string(),
            }),
        }
    }
}

/// The name of an array in errors.
fn name(source: &Source) -> String {
    super::source::label(&source.path, source.array.as_deref().unwrap_or_default())
}

fn expect_columns(
    array: &str,
    found: [usize; 2],
    columns: usize,
    first: &str,
) -> Result<(), InputError> {
    if found[1] == columns {
        return Ok(());
    }
    Err(InputError::Shape {
        array: array.to_owned(),
        found: Extents(found.to_vec()),
        expected: Extents(vec![found[0], columns]),
        because: format!("the columns of {first}"),
    })
}
