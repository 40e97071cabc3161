//! Compiles every kernel of this crate for the architectures given, without a device.
//!
//! ```text
//! compile_kernels sm_80 sm_90 sm_100
//! ```
//! Needs NVRTC alone. Exit 0: everything compiled; 1: something did not; 3: there is no NVRTC.

use broadhead_device::{DeviceError, kernels};
use broadhead_sae::lm::device::kernel_sources;
use std::process::ExitCode;

fn main() -> ExitCode {
    for architecture in std::env::args().skip(1) {
        match kernels::compile_check(kernel_sources(), &architecture) {
            Ok(checked) => {
                for source in checked {
                    let (name, entries, bytes) =
                        (source.source, source.entries.len(), source.bytes);
                    eprintln!("{architecture} {name}: {entries} kernels, {bytes} bytes");
                }
            }
            Err(error) => {
                eprintln!("{architecture}: {error}");
                return match error {
                    DeviceError::Absence(_) => ExitCode::from(3),
                    _ => ExitCode::from(1),
                };
            }
        }
    }
    ExitCode::SUCCESS
}
