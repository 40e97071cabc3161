//! Rows of a suite: a given file, or noisy points on random circles, as `.npy`.

use super::law::Shape;
use super::plan::Source;
use super::record::Data;
use crate::error::Error;
use crate::noise::uniform;
use broadhead_device::seal;
use std::path::{Path, PathBuf};

/// A file of rows.
#[derive(Clone, Debug)]
pub(crate) struct Rows {
    pub(crate) path: PathBuf,
    pub(crate) data: Data,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
}

impl Rows {
    /// The rows of `source`; those that are made lie in `folder` then.
    ///
    /// # Errors
    /// No file is given, or it is no array of two dimensions, or one cannot be written.
    pub(crate) fn of(
        (source, atoms, top): (Source, usize, usize),
        tokens: Option<&Path>,
        folder: &Path,
    ) -> Result<Self, Error> {
        let (path, name) = match (source, tokens) {
            (Source::Given(_), Some(path)) => (path.to_path_buf(), "tokens"),
            (Source::Given(_), None) => {
                return Err(Error::Format {
                    path: "--tokens".into(),
                    message: "a file of rows (.npy) is needed for this plan".to_owned(),
                });
            }
            (Source::Made { rows, columns }, _) => {
                let shape = Shape {
                    rows,
                    columns,
                    atoms,
                    top,
                    fitted: false,
                };
                let path = folder.join(format!("made-{rows}-{columns}-{atoms}-{top}.npy"));
                if !path.is_file() {
                    std::fs::write(&path, npy(&shape)).map_err(Error::file(&path))?;
                }
                (path, "made")
            }
        };
        let bytes = std::fs::read(&path).map_err(Error::file(&path))?;
        let (rows, columns) = shape(&bytes).map_err(|message| Error::Format {
            path: path.clone(),
            message,
        })?;
        let sha256 = seal::digest(&bytes);
        let name = name.to_owned();
        Ok(Self {
            path,
            data: Data { name, sha256 },
            rows,
            columns,
        })
    }
}

/// What a row's noise is of a circle's radius.
const NOISE: f64 = 0.1;

/// The file of noisy points on random circles: every row the sum of a point on each of `top` circles, in
/// single precision.
fn npy(shape: &Shape) -> Vec<u8> {
    let &Shape {
        rows,
        columns,
        atoms,
        top,
        ..
    } = shape;
    let text =
        format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {columns}), }}");
    // The text is padded so that numbers begin at a multiple of 64 bytes.
    let length = (10 + text.len() + 1).next_multiple_of(64) - 10;
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((length as u16).to_le_bytes());
    bytes.extend(format!("{text:<width$}\n", width = length - 1).bytes());
    let planes: Vec<f64> = uniform(1, 0, 2 * atoms * columns).collect();
    let plane = |atom: usize, axis: usize| {
        let begin = (2 * atom + axis) * columns;
        &planes[begin..begin + columns]
    };
    let chosen: Vec<f64> = uniform(1, 1, rows * top).collect();
    let angles: Vec<f64> = uniform(1, 2, rows * top).collect();
    let mut noise = uniform(1, 3, rows * columns);
    for row in 0..rows {
        let noise = noise.by_ref().take(columns);
        let mut x: Vec<f64> = noise.map(|u| NOISE * u).collect();
        for slot in row * top..(row + 1) * top {
            // From [-1, 1) to an atom and to an angle.
            let atom = ((0.5 * (chosen[slot] + 1.0) * atoms as f64) as usize).min(atoms - 1);
            let (sin, cos) = (std::f64::consts::PI * angles[slot]).sin_cos();
            for (x, (u, v)) in x.iter_mut().zip(plane(atom, 0).iter().zip(plane(atom, 1))) {
                *x += cos * u + sin * v;
            }
        }
        bytes.extend(x.into_iter().flat_map(|x| (x as f32).to_le_bytes()));
    }
    bytes
}

/// The shape that the header of an `.npy` gives.
fn shape(bytes: &[u8]) -> Result<(usize, usize), String> {
    let wide = match bytes.get(..8) {
        Some([0x93, b'N', b'U', b'M', b'P', b'Y', major @ 1..=3, _]) => *major > 1,
        _ => return Err("no .npy of version 1 to 3".to_owned()),
    };
    let (length, begin) = match (wide, bytes.get(8..12)) {
        (true, Some(&[a, b, c, d])) => (u32::from_le_bytes([a, b, c, d]) as usize, 12),
        (false, Some(&[a, b, ..])) => (usize::from(u16::from_le_bytes([a, b])), 10),
        (_, _) => return Err("its header is cut short".to_owned()),
    };
    let header = bytes.get(begin..begin + length);
    let header = header.ok_or_else(|| "its header is cut short".to_owned())?;
    let text = String::from_utf8_lossy(header);
    let inside = text
        .split_once("'shape':")
        .map(|(_, rest)| rest.trim_start());
    let inside = inside.and_then(|rest| rest.strip_prefix('(')?.split_once(')'));
    let (inside, _) = inside.ok_or_else(|| "its header has no shape".to_owned())?;
    let numbers = inside.split(',').map(str::trim).filter(|n| !n.is_empty());
    let numbers: Result<Vec<usize>, _> = numbers.map(str::parse).collect();
    match numbers.as_deref() {
        Ok(&[rows, columns]) => Ok((rows, columns)),
        _ => Err(format!(
            "an array of shape ({inside}), rows and columns are needed"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_rows_are_a_file_of_their_shape_and_the_same_every_time() {
        let size = Shape {
            rows: 30,
            columns: 5,
            atoms: 4,
            top: 2,
            fitted: false,
        };
        let bytes = npy(&size);
        assert_eq!(shape(&bytes), Ok((30, 5)));
        assert_eq!(bytes.len() % 64, (30 * 5 * 4) % 64);
        assert_eq!(bytes, npy(&size));
        let numbers = bytes[bytes.len() - 600..].chunks_exact(4);
        let numbers: Vec<f32> = numbers
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect();
        // Two circles of radius at most the root of 2, and noise.
        assert!(numbers.iter().all(|x| x.abs() < 3.0), "{numbers:?}");
        assert!(numbers.iter().any(|x| x.abs() > 0.2));
    }

    #[test]
    fn what_is_no_array_of_rows_is_refused() {
        let with = |text: &str| {
            let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
            bytes.extend((text.len() as u16).to_le_bytes());
            bytes.extend(text.bytes());
            shape(&bytes)
        };
        assert_eq!(with("{'descr': '<f4', 'shape': (3, 4), }"), Ok((3, 4)));
        for text in [
            "{'shape': (3,), }",
            "{'shape': (3, x), }",
            "{'shape': 3}",
            "{}",
            "",
        ] {
            assert!(with(text).is_err(), "{text}");
        }
        assert!(shape(b"").is_err());
        assert!(shape(b"\x93NUMPY\x01\x00\xff\xff{").is_err());
        assert!(shape(b"PK\x03\x04 and so on").is_err());
    }
}
