//! Several files of rows as one long array.

use super::{Extents, InputError, Named, OpenMatrix, Source, open_matrix};
use crate::message;
use broadhead_sae::Rows;

/// Names that a message lists.
const NAMED: usize = 3;

/// Where the elements of rows are while they are worked with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// In memory, in their own type.
    InMemory,
    /// In their file, wherever they stand there as they are: a tile of them is read when it is wanted.
    OnDisk,
}

/// Open files with the rows of a fit, in order, not yet read.
#[derive(Debug)]
pub struct OpenRows {
    files: Vec<(Source, OpenMatrix)>,
}

/// The rows of all files, one after another.
#[derive(Clone, Debug)]
pub struct FileRows {
    /// The files, as errors name them.
    pub name: String,
    /// Their rows, in order. Whether they are finite is found by whoever reads them first.
    pub rows: Rows,
    /// Where they are.
    pub keep: Keep,
    /// The name and the number of rows of each file.
    files: Vec<(String, usize)>,
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

    /// The bytes of elements that are in memory while rows are kept so: all of them, or those that do not stand in
    /// their file as they are.
    pub fn held(&self, keep: Keep) -> u64 {
        let held = |file: &OpenMatrix| match keep {
            Keep::OnDisk if file.can_stay() => 0,
            _ => file.bytes().unwrap_or(0),
        };
        let bytes = self.files.iter().map(|(_, file)| held(file));
        bytes.fold(0, u64::saturating_add)
    }

    /// Bytes of the widest element, if the headers tell.
    pub fn widest(&self) -> usize {
        let sizes = self
            .files
            .iter()
            .filter_map(|(_, file)| file.element_size());
        sizes.max().unwrap_or(8)
    }

    /// The rows of all files, one after another.
    ///
    /// # Errors
    /// As [`OpenMatrix::rows`], and [`InputError::Shape`] naming the first file with other columns.
    pub fn read(self, keep: Keep) -> Result<FileRows, InputError> {
        let names: Vec<String> = self.files.iter().map(|(source, _)| name(source)).collect();
        let (mut parts, mut files) = (Vec::new(), Vec::new());
        for (_, file) in self.files {
            let Named { name, array } = file.rows(keep)?;
            if let Some(columns) = parts.first().map(|first: &Rows| first.shape()[1]) {
                expect_columns(&name, array.shape(), columns, &names[0])?;
            }
            files.push((name, array.shape()[0]));
            parts.push(array);
        }
        let name = match &files[..] {
            [(only, _)] => only.clone(),
            _ => message::list(names.iter(), NAMED),
        };
        match Rows::concatenated(&parts) {
            Ok(rows) => Ok(FileRows {
                name,
                rows,
                keep,
                files,
            }),
            Err(error) => Err(InputError::Malformed {
                array: name,
                reason: error.to_string(),
            }),
        }
    }
}

/// Where rows are kept: in memory where `require` grants that, else on disk, where that asks for less; and what was
/// granted.
///
/// # Errors
/// The refusal of the last that was asked for.
pub fn choose<T, E>(
    opened: &OpenRows,
    require: impl Fn(Keep) -> Result<T, E>,
) -> Result<(Keep, T), E> {
    match require(Keep::InMemory) {
        Ok(granted) => Ok((Keep::InMemory, granted)),
        Err(_) if opened.held(Keep::OnDisk) < opened.held(Keep::InMemory) => {
            Ok((Keep::OnDisk, require(Keep::OnDisk)?))
        }
        Err(refused) => Err(refused),
    }
}

impl FileRows {
    /// An element that is not finite, named as in its file.
    pub fn not_finite(&self, [mut row, column]: [usize; 2], value: f64) -> InputError {
        let mut array = &self.name;
        for (name, rows) in &self.files {
            array = name;
            if row < *rows {
                break;
            }
            row -= rows;
        }
        InputError::NotFinite {
            array: array.clone(),
            index: vec![row, column],
            value,
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
