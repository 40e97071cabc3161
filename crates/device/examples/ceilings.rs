//! Measures every ceiling of device 0 and prints them as one line of JSON.
//!
//! Exit 0: measured; 1: a fault; 3: there is no device.

use broadhead_device::measure::DeviceCeilings;
use broadhead_device::{Context, DeviceError};
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    let measured = Context::open(0).and_then(|context| DeviceCeilings::measure(&context));
    let ceilings = match measured {
        Ok(ceilings) => ceilings,
        Err(error) => {
            eprintln!("{error}");
            return match error {
                DeviceError::Absence(_) => ExitCode::from(3),
                _ => ExitCode::from(1),
            };
        }
    };
    let written = serde_json::to_string(&ceilings)
        .map_err(std::io::Error::other)
        .and_then(|line| writeln!(std::io::stdout(), "{line}"));
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(1)
        }
    }
}
