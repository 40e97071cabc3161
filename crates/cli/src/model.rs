//! The model file: `model.safetensors`, a tensor `decoder` (M x p, FP64) whose metadata entry
//! `dictionary` is JSON.
//!
//! ```text
//! {"atoms": [{"topology": "circle", "basis": "harmonics:1"}], "gates": "all", "kappa": 0.0}
//! ```
//!
//! `atoms` names topologies and bases in the order of the decoder's rows, behind the intercept in
//! row 0. `gates` and `kappa` are what the fit used: an encoding takes them up.

use crate::input::{Archive, Extents, InputError, Named, Source};
use crate::words::GatesWord;
use broadhead_sae::Dictionary;
use ndarray::{Array2, ArrayView2, Ix2};
use safetensors::tensor::{Dtype, SafeTensorError, TensorView};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The name of the file in a fit's folder.
pub const FILE: &str = "model.safetensors";
const TENSOR: &str = "decoder";
const NOTE: &str = "dictionary";

/// What the metadata say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Note {
    /// Atoms in order.
    #[serde(flatten)]
    pub dictionary: Dictionary,
    /// Which atoms were on, as a word of the command line.
    #[serde(default = "all")]
    pub gates: String,
    /// The penalty on Euclidean coordinates, in the units of the data squared.
    #[serde(default)]
    pub kappa: f64,
}

fn all() -> String {
    GatesWord::All.to_string()
}

/// A fitted dictionary.
#[derive(Clone, Debug)]
pub struct Model {
    /// What was fitted.
    pub note: Note,
    /// `M x p`; row 0 is the intercept.
    pub decoder: Named<Array2<f64>>,
}

/// Writes a model.
///
/// # Errors
/// What the sink says.
pub fn write(sink: &mut impl Write, note: &Note, decoder: ArrayView2<'_, f64>) -> io::Result<()> {
    let other = |error: SafeTensorError| io::Error::other(error.to_string());
    let bytes: Vec<u8> = decoder.iter().flat_map(|w| w.to_le_bytes()).collect();
    let shape = decoder.shape().to_vec();
    let tensor = TensorView::new(Dtype::F64, shape, &bytes).map_err(other)?;
    // One entry: a map of several would be written in an order of its own each time.
    let note = HashMap::from([(NOTE.to_owned(), serde_json::to_string(note)?)]);
    let file = safetensors::serialize([(TENSOR, tensor)], Some(note)).map_err(other)?;
    sink.write_all(&file)
}

/// The file of the model in the folder `path`, or that is `path` itself.
pub fn file(path: &Path) -> PathBuf {
    if path.is_dir() {
        path.join(FILE)
    } else {
        path.to_owned()
    }
}

/// Reads the model in the folder `path`, or in the file itself.
///
/// # Errors
/// [`InputError::NoModel`] where there is neither; what [`from_archive`] answers.
pub fn read(path: &Path) -> Result<Model, InputError> {
    let missing = |found| InputError::NoModel {
        path: path.to_owned(),
        found,
    };
    let is_file_name = path.extension().is_some_and(|e| e == "safetensors");
    let file = file(path);
    if path.is_dir() {
        if !file.exists() {
            return Err(missing("holds no model.safetensors"));
        }
    } else if !path.exists() {
        return Err(missing(if is_file_name {
            "there is no such file"
        } else {
            "there is no such folder"
        }));
    } else if !is_file_name {
        return Err(missing("is neither a folder nor a .safetensors file"));
    }
    from_archive(&file, Source::file(&file).open()?)
}

/// The model in an open file.
///
/// # Errors
/// A malformed file; a dictionary that is absent or not understood; a decoder of another shape than
/// its dictionary says, or with an element that is not finite.
pub fn from_archive(file: &Path, mut archive: Archive) -> Result<Model, InputError> {
    let malformed = |reason: String| InputError::Malformed {
        array: file.display().to_string(),
        reason,
    };
    let Some(text) = archive.metadata(NOTE) else {
        return Err(malformed(format!(
            "its metadata have no entry {NOTE:?}: expected a file that `broadhead fit` wrote"
        )));
    };
    let note: Note = serde_json::from_str(text.trim_start_matches('\u{feff}'))
        .map_err(|error| malformed(format!("its {NOTE:?} is not understood: {error}")))?;
    let Named { name, array } = archive.read(TENSOR)?;
    let found = Extents(array.shape().to_vec());
    let features = note.dictionary.features();
    let decoder = match array.into_dimensionality::<Ix2>() {
        Ok(decoder) if decoder.nrows() == features && decoder.ncols() > 0 => decoder,
        _ => {
            return Err(InputError::Rank {
                array: name,
                found,
                expected: format!("{features} x p, one row a feature of its dictionary"),
            });
        }
    };
    crate::input::check_finite(&name, &decoder.view().into_dyn())?;
    Ok(Model {
        note,
        decoder: Named {
            name,
            array: decoder,
        },
    })
}
