//! Whether a command runs on a device, and what is said where it does not.

use crate::error::{CliError, brief};
use broadhead_device::{Absence, DevicePolicy, probe};
use broadhead_schur::cuda::Placement;
use broadhead_schur::{Error, Failure, Plan};
use serde::Serialize;
use std::io::Write;
use std::path::Path;

/// The policy asked for, the device that is used, and why none is.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Device {
    policy: DevicePolicy,
    name: Option<String>,
    reason: Option<String>,
}

/// Opens a device for the system of `path` where `policy` allows it and it is there.
///
/// # Errors
/// [`CliError::Device`] where a device is required and absent; what it answered where it is required
/// and fails. Under `auto` either is a reason to stay on the CPU: no device work has begun.
pub(super) fn open(
    policy: DevicePolicy,
    path: &Path,
) -> Result<(Option<Placement>, Device), CliError> {
    let mut device = Device {
        policy,
        name: None,
        reason: None,
    };
    let placement = match Placement::open(policy, None) {
        Ok((Some(placement), _)) => {
            device.name = Some(placement.stream.context().info().name.clone());
            return Ok((Some(placement), device));
        }
        Ok((None, dispatch)) => {
            device.reason = dispatch.absence.as_ref().map(brief);
            None
        }
        Err(Error::Absent(absence)) if policy == DevicePolicy::Required => {
            return Err(CliError::Device(absence));
        }
        Err(error) if policy == DevicePolicy::Required => {
            return Err(CliError::system(path, Failure::from(error)));
        }
        Err(error) => {
            device.reason = Some(error.to_string());
            None
        }
    };
    Ok((placement, device))
}

impl Device {
    /// Takes note of where the planner sends the work, and says on standard error where a device
    /// might have been used and is not.
    pub(super) fn planned(&mut self, plan: &Plan) {
        if plan.path.is_device() {
            return;
        }
        self.name = None;
        let reason = self.reason.get_or_insert_with(|| {
            format!(
                "the planner prices the {} elimination there lowest",
                plan.chosen
            )
        });
        note(self.policy, reason);
    }
}

fn note(policy: DevicePolicy, reason: &str) {
    if policy == DevicePolicy::Auto {
        // Where it cannot be written the work goes on.
        let _ = writeln!(std::io::stderr(), "broadhead: on the CPU: {reason}");
    }
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
    note(policy, &reason);
    Ok(Device {
        policy,
        name: None,
        reason: Some(reason),
    })
}
