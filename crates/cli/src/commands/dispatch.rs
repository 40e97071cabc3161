//! Whether a command runs on a device, and what is said where it does not.

use crate::error::{CliError, brief};
use crate::message;
use broadhead_device::{Absence, DeviceError, DevicePolicy, ExecutionPath};
use broadhead_schur::cuda::Placement;
use broadhead_schur::{EliminationKind, Error, Failure};
use serde::Serialize;
use std::path::Path;

/// The policy asked for, the device that is used, and why none is.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Device {
    policy: DevicePolicy,
    name: Option<String>,
    reason: Option<String>,
}

/// Opens a device for the systems of `path` where `policy` allows it and it is there.
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
    /// A path in words, with the device that was used.
    pub(super) fn beside(&self, path: String) -> String {
        match &self.name {
            Some(name) => format!("{path} ({name})"),
            None => path,
        }
    }

    /// Takes note of where the planner sent the work, and says on standard error where a device
    /// might have been used and is not: because it `declined`, or by its price.
    pub(super) fn sent(
        &mut self,
        path: ExecutionPath,
        elimination: EliminationKind,
        declined: Option<&DeviceError>,
    ) {
        if path.is_device() {
            return;
        }
        self.name = None;
        let reason = self.reason.get_or_insert_with(|| match declined {
            Some(declined) => declined.to_string(),
            None => format!("the planner prices the {elimination} elimination there lowest"),
        });
        note(self.policy, reason);
    }
}

fn note(policy: DevicePolicy, reason: &str) {
    if policy == DevicePolicy::Auto {
        message::say(format_args!("on the CPU: {reason}"));
    }
}

/// Settles that `what`, which has no device backend, runs on the CPU, and says so on standard error
/// where a device might have been used. Whether there is one makes no difference, so none is looked
/// for.
///
/// # Errors
/// [`CliError::Device`] where a device is required.
pub(super) fn without_backend(policy: DevicePolicy, what: &str) -> Result<Device, CliError> {
    let missing = || Absence::NoBackend {
        what: what.to_owned(),
    };
    let dispatch = policy.dispatch(|| Err(missing()));
    let absence = dispatch.map_err(CliError::Device)?.absence;
    let reason = brief(&absence.unwrap_or_else(missing));
    note(policy, &reason);
    Ok(Device {
        policy,
        name: None,
        reason: Some(reason),
    })
}
