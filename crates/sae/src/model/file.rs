//! The model file: `model.safetensors`, a tensor `decoder` (`M x p`, FP64) whose metadata entry
//! `dictionary` is JSON.
//!
//! ```text
//! {"atoms": [{"topology": "circle", "basis": "harmonics:1"}], "gates": "all", "kappa": 0.0, "lambda": 1e-3}
//! ```
//!
//! `"amplitudes": "fitted"` beside `atoms` says that they are. `atoms` names topologies and bases in the order of the decoder's rows, after the intercept in
//! row 0. `gates`, `kappa` and `lambda` are what the fit used: an encoding uses the first two, a fit that
//! starts from the model uses both penalties.

use crate::error::FitError;
use crate::model::dictionary::Dictionary;
use crate::model::fitted::Model;
use ndarray::{Array2, ArrayView2};
use safetensors::tensor::{Dtype, SafeTensorError, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// The name of the tensor.
pub const TENSOR: &str = "decoder";

/// The name of the metadata entry.
pub const ENTRY: &str = "dictionary";

/// The contents of the metadata entry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Note {
    /// Atoms in order.
    #[serde(flatten)]
    pub dictionary: Dictionary,
    /// Which atoms were on: `all`, `top-k:N`, or `given`.
    #[serde(default = "all")]
    pub gates: String,
    /// The penalty on coordinates on lines, in the units of the data squared.
    #[serde(default)]
    pub kappa: f64,
    /// The penalty on the decoder, in the units of `Phi' Phi`; older model files do not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lambda: Option<f64>,
}

fn all() -> String {
    "all".to_owned()
}

impl Note {
    /// Parses the text of the entry [`ENTRY`].
    ///
    /// # Errors
    /// What could not be parsed.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text.trim_start_matches('\u{feff}'))
    }
}

/// Why a model file could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The operating system reported an error.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file is not a model, or not one that this version understands.
    #[error("{}: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The decoder does not fit its dictionary.
    #[error("{}: {source}", path.display())]
    Decoder {
        /// The file.
        path: PathBuf,
        /// Why.
        source: FitError,
    },
}

/// Writes a model.
pub(super) fn write(
    note: &Note,
    decoder: ArrayView2<'_, f64>,
    sink: &mut impl Write,
) -> io::Result<()> {
    let other = |error: SafeTensorError| io::Error::other(error.to_string());
    let bytes: Vec<u8> = decoder.iter().flat_map(|w| w.to_le_bytes()).collect();
    let shape = decoder.shape().to_vec();
    let tensor = TensorView::new(Dtype::F64, shape, &bytes).map_err(other)?;
    // One entry only: a map with several would be written in a different order each time.
    let note = HashMap::from([(ENTRY.to_owned(), serde_json::to_string(note)?)]);
    let file = safetensors::serialize([(TENSOR, tensor)], Some(note)).map_err(other)?;
    sink.write_all(&file)
}

/// Writes a temporary file beside `path`, then renames it.
pub(super) fn save(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<&mut fs::File>) -> io::Result<()>,
) -> Result<(), ModelError> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let put = || {
        let mut builder = tempfile::Builder::new();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            // Readable as any new file is: the process's mask applies.
            builder.permissions(fs::Permissions::from_mode(0o666));
        }
        // Errors name the caller's file, not the temporary one beside it.
        let mut file = (builder.tempfile_in(folder)).map_err(|error| {
            let text = error.to_string();
            let what = text
                .rsplit_once(" at path ")
                .map_or(&*text, |(what, _)| what);
            io::Error::new(error.kind(), what)
        })?;
        let mut sink = BufWriter::new(file.as_file_mut());
        write(&mut sink)?;
        sink.flush()?;
        drop(sink);
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        Ok(())
    };
    put().map_err(|source| ModelError::Io {
        path: path.to_owned(),
        source,
    })
}

/// Reads a model.
pub(super) fn load(path: &Path) -> Result<Model, ModelError> {
    let malformed = |reason: String| ModelError::Malformed {
        path: path.to_owned(),
        reason,
    };
    let bytes = fs::read(path).map_err(|source| ModelError::Io {
        path: path.to_owned(),
        source,
    })?;
    let not_read = |error: SafeTensorError| malformed(format!("not read as safetensors: {error}"));
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(not_read)?;
    let metadata = header.metadata().as_ref();
    let Some(text) = metadata.and_then(|entries| entries.get(ENTRY)) else {
        let reason = format!("its metadata have no entry {ENTRY:?}: expected a model's file");
        return Err(malformed(reason));
    };
    let note = Note::parse(text)
        .map_err(|error| malformed(format!("its {ENTRY:?} is not understood: {error}")))?;
    let tensors = SafeTensors::deserialize(&bytes).map_err(not_read)?;
    let tensor = tensors.tensor(TENSOR).map_err(not_read)?;
    let &[rows, columns] = tensor.shape() else {
        let shape = tensor.shape();
        return Err(malformed(format!(
            "{TENSOR} has shape {shape:?}: expected features by columns"
        )));
    };
    if tensor.dtype() != Dtype::F64 {
        let found = tensor.dtype();
        return Err(malformed(format!("{TENSOR} is {found:?}: expected F64")));
    }
    let (numbers, _) = tensor.data().as_chunks::<8>();
    let numbers = numbers.iter().map(|bytes| f64::from_le_bytes(*bytes));
    let decoder = Array2::from_shape_vec((rows, columns), numbers.collect())
        .map_err(|error| malformed(error.to_string()))?;
    Model::new(note, decoder).map_err(|source| ModelError::Decoder {
        path: path.to_owned(),
        source,
    })
}
