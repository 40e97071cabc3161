//! Ceilings on disk, one file a model of device, driver and set of libraries.

use super::{DeviceCeilings, libraries};
use crate::Result;
use crate::kept::{Folder, Kept, Key, NotKept};
use crate::probe::DeviceInfo;

/// Grows when a measurement changes its meaning, so that old files are not read.
const FORMAT: u32 = 4;

/// The first word of a file's name.
const KIND: &str = "device-ceilings";

fn key(device: &DeviceInfo) -> Result<Key> {
    // Devices of one model in one machine are alike.
    let model = DeviceInfo {
        ordinal: 0,
        ..device.clone()
    };
    let key = [
        ("device", format!("{model:?}")),
        ("libraries", libraries()?.join(", ")),
        ("measurement", FORMAT.to_string()),
    ];
    Ok(key.map(|(name, value)| (name.to_owned(), value)).into())
}

impl DeviceCeilings {
    /// The ceilings that are kept for a device under this driver and these libraries, or why there are
    /// none. Nothing is measured.
    ///
    /// # Errors
    /// The libraries do not answer.
    pub fn kept(
        device: &DeviceInfo,
        folder: &Folder,
    ) -> Result<std::result::Result<Kept<Self>, NotKept>> {
        Ok(folder.read(KIND, &key(device)?))
    }

    /// Keeps these ceilings for their device, driver and libraries.
    ///
    /// # Errors
    /// The libraries do not answer; inside, what the system says of the file.
    pub fn keep(self, folder: &Folder) -> Result<std::io::Result<Kept<Self>>> {
        let key = key(&self.device)?;
        Ok(folder.write(KIND, &key, self))
    }
}
