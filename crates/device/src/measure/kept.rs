//! Ceilings on disk, one file a device, driver and set of libraries.

use super::{DeviceCeilings, libraries};
use crate::{Context, Result, kernels};
use sha2::{Digest, Sha256};
use std::path::PathBuf;

/// Grows when a measurement changes its meaning, so that old files are not read.
const FORMAT: u32 = 3;

fn path(context: &Context) -> Result<Option<PathBuf>> {
    let Some(folder) = kernels::cache_folder() else {
        return Ok(None);
    };
    let mut hash = Sha256::new();
    let device = format!("{:?}", context.info());
    for part in [device, libraries()?.join(", "), FORMAT.to_string()] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let hex: String = hash
        .finalize()
        .iter()
        .take(16)
        .map(|b| format!("{b:02x}"))
        .collect();
    Ok(Some(folder.join(format!("ceilings.{hex}.json"))))
}

/// The ceilings kept for this device, driver and libraries.
pub(super) fn read(context: &Context) -> Result<Option<DeviceCeilings>> {
    let Some(path) = path(context)? else {
        return Ok(None);
    };
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) => {
            tracing::debug!(%error, path = %path.display(), "no ceilings are kept");
            return Ok(None);
        }
    };
    match serde_json::from_str(&text) {
        Ok(ceilings) => Ok(Some(ceilings)),
        Err(error) => {
            tracing::warn!(%error, path = %path.display(), "kept ceilings are unreadable");
            Ok(None)
        }
    }
}

/// Keeps ceilings; a folder that cannot be written costs the next process a measurement.
pub(super) fn write(context: &Context, ceilings: &DeviceCeilings) -> Result<()> {
    let Some(path) = path(context)? else {
        return Ok(());
    };
    let written = serde_json::to_vec_pretty(ceilings)
        .map_err(std::io::Error::other)
        .and_then(|text| kernels::write_beside(&path, &[&text]));
    if let Err(error) = written {
        tracing::warn!(%error, path = %path.display(), "ceilings were not kept");
    }
    Ok(())
}
