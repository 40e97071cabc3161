//! One label a line.

use super::InputError;
use std::path::Path;

/// Reads one label a line for the `rows` rows of `array`. Space around a label is dropped; line
/// ends may be LF or CRLF, the last one may be missing.
///
/// # Errors
/// An unreadable or non-UTF-8 file, an empty line, or another count than `rows`.
pub fn read_labels(path: &Path, array: &str, rows: usize) -> Result<Vec<String>, InputError> {
    let text = std::fs::read_to_string(path).map_err(|source| InputError::Io {
        path: path.to_owned(),
        source,
    })?;
    let labels: Vec<String> = text.lines().map(|line| line.trim().to_owned()).collect();
    if labels.len() != rows {
        return Err(InputError::LabelCount {
            path: path.to_owned(),
            labels: labels.len(),
            array: array.to_owned(),
            rows,
        });
    }
    match labels.iter().position(String::is_empty) {
        Some(line) => Err(InputError::EmptyLabel {
            path: path.to_owned(),
            line: line + 1,
        }),
        None => Ok(labels),
    }
}
