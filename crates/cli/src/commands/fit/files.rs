//! The files of a fit but its summary.

use super::active;
use crate::error::CliError;
use crate::model;
use crate::output::Staging;
use crate::words::GatesWord;
use broadhead_sae::{Dictionary, Fit, HeldOut, Model};
use ndarray::Array1;
use ndarray_npy::WriteNpyExt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Every file that a fit may write. The last is put in place after all others.
pub(super) const FILES: &[&str] = &[
    model::FILE,
    "coordinates.npy",
    "gates.npy",
    active::FILE,
    "holdout.npy",
    "trace.jsonl",
    "coordinates.svg",
    "summary.json",
];

/// What is written.
pub(super) struct Files<'a> {
    pub(super) fit: &'a Fit,
    pub(super) dictionary: &'a Dictionary,
    /// The model with the word for its gates.
    pub(super) model: &'a Model,
    pub(super) gates: &'a GatesWord,
    pub(super) held_out: Option<&'a HeldOut>,
    pub(super) picture: &'a str,
}

impl Files<'_> {
    /// Stages everything but the summary, beside the targets in `folder`; all targets, the summary too.
    pub(super) fn stage(
        &self,
        staging: &mut Staging,
        folder: &Path,
    ) -> Result<Vec<PathBuf>, CliError> {
        let fit = self.fit;
        let chosen = matches!(self.gates, GatesWord::TopK(_));
        let (rows, columns) = fit.coordinates.dim();
        let mut targets = vec![folder.join(model::FILE)];
        staging.write(&targets[0], |sink| self.model.write(sink))?;
        let mut put = |name: &str, write: &mut dyn FnMut(&mut _) -> io::Result<()>| {
            let target = folder.join(name);
            staging.write(&target, write)?;
            targets.push(target);
            Ok::<(), CliError>(())
        };
        if !chosen || active::is_dense(rows, columns) {
            for (name, array) in [
                ("coordinates.npy", &fit.coordinates),
                ("gates.npy", &fit.gates),
            ] {
                put(name, &mut |sink| {
                    array.write_npy(sink).map_err(io::Error::other)
                })?;
            }
        }
        if chosen {
            let (coordinates, gates) = (fit.coordinates.view(), fit.gates.view());
            put(active::FILE, &mut |sink| {
                active::write(sink, self.dictionary, coordinates, gates)
            })?;
        }
        if let Some(held_out) = self.held_out {
            let rows: Array1<i64> = held_out.rows.iter().map(|&row| row as i64).collect();
            put("holdout.npy", &mut |sink| {
                rows.write_npy(sink).map_err(io::Error::other)
            })?;
        }
        put("trace.jsonl", &mut |sink| {
            for entry in &fit.trace {
                serde_json::to_writer(&mut *sink, entry)?;
                sink.write_all(b"\n")?;
            }
            Ok(())
        })?;
        put("coordinates.svg", &mut |sink| {
            sink.write_all(self.picture.as_bytes())
        })?;
        targets.push(folder.join("summary.json"));
        Ok(targets)
    }
}
