//! Models as the command line names them: a folder that `fit` wrote, or the file in it.
//! [`broadhead_sae::model::file`] defines the contents; the reader of all inputs reads the file here,
//! so that refusals are named and memory is checked first.

use crate::input::{Archive, Extents, InputError, Named, Source};
use broadhead_sae::Model;
use broadhead_sae::model::file::{ENTRY, Note, TENSOR};
use ndarray::Ix2;
use std::path::{Path, PathBuf};

/// The name of the file in a fit's folder.
pub const FILE: &str = "model.safetensors";

/// The model's file: in the folder `path`, or `path` itself.
pub fn file(path: &Path) -> PathBuf {
    if path.is_dir() {
        path.join(FILE)
    } else {
        path.to_owned()
    }
}

/// Reads the model in the folder `path`, or in the file `path`, and returns it with the name of its
/// decoder.
///
/// # Errors
/// [`InputError::NoModel`] where there is neither; the errors of [`from_archive`].
pub fn read(path: &Path) -> Result<Named<Model>, InputError> {
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
/// A malformed file; a dictionary that is absent or cannot be parsed; a decoder whose shape does not
/// match its dictionary, or with an element that is not finite.
pub fn from_archive(file: &Path, mut archive: Archive) -> Result<Named<Model>, InputError> {
    let malformed = |reason: String| InputError::Malformed {
        array: file.display().to_string(),
        reason,
    };
    let Some(text) = archive.metadata(ENTRY) else {
        return Err(malformed(format!(
            "its metadata have no entry {ENTRY:?}: expected a file that `broadhead fit` wrote"
        )));
    };
    let note = Note::parse(text)
        .map_err(|error| malformed(format!("its {ENTRY:?} is not understood: {error}")))?;
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
    let model = Model::new(note, decoder).map_err(|error| malformed(error.to_string()))?;
    Ok(Named { name, array: model })
}
