//! What is here and what is missing, by name and version: runs with and without a device.

use broadhead_device::probe;
use std::io::Write;

fn main() -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    write!(out, "{}", probe::report())?;
    match probe::cuda() {
        Ok(cuda) => writeln!(out, "device work can run on {} devices", cuda.devices.len()),
        Err(absence) => writeln!(out, "device work cannot run: {absence}"),
    }
}
