//! Whether a command runs on a device, and what is said where it does not.

use crate::error::{CliError, brief};
use broadhead_device::{Absence, DevicePolicy, probe};
use serde::Serialize;
use std::io::Write;

/// The policy asked for, and why no device is used.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Device {
    policy: DevicePolicy,
    reason: String,
}

/// Settles that `what` runs on the CPU, saying so on standard error where a device might have been
/// used.
///
/// # Errors
/// [`CliError::Device`] where a device is required.
pub(super) fn settle(policy: DevicePolicy, what: &str) -> Result<Device, CliError> {
    let backend = || {
        probe::cuda()?;
        Err(Absence::NoBackend {
            what: what.to_owned(),
        })
    };
    let dispatch = policy.dispatch(backend).map_err(CliError::Device)?;
    let absence = dispatch.absence.unwrap_or(Absence::NoBackend {
        what: what.to_owned(),
    });
    let reason = brief(&absence);
    if policy == DevicePolicy::Auto {
        // A note: where it cannot be written the work goes on.
        let _ = writeln!(std::io::stderr(), "broadhead: on the CPU: {reason}");
    }
    Ok(Device { policy, reason })
}
