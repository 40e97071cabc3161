//! Whether a command runs on a device, and the reason that is reported if it does not.

use crate::error::{CliError, brief};
use crate::message;
use broadhead_device::{Absence, DeviceError, DevicePolicy, ExecutionPath};
use broadhead_schur::device::Placement;
use broadhead_schur::{EliminationKind, Error, Failure};
use serde::Serialize;
use std::path::Path;

/// The policy asked for, and the device used or the reason for using none.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Device {
    policy: DevicePolicy,
    name: Option<String>,
    reason: Option<String>,
}

/// Opens a device for the systems of `path` if `policy` allows one and one is there.
///
/// # Errors
/// [`CliError::Device`] if a device is required and absent; the device's error if it is required and
/// fails. Under `auto` either is a reason to stay on the CPU, since no device work has begun.
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
    /// `path` in words, with the name of the device if one was used.
    pub(super) fn beside(&self, path: String) -> String {
        match &self.name {
            Some(name) => format!("{path} ({name})"),
            None => path,
        }
    }

    /// Records that the work stayed on the host, and says why on standard error.
    pub(super) fn stayed(&mut self, why: &str) {
        self.name = None;
        let reason = self.reason.get_or_insert_with(|| why.to_owned());
        note(self.policy, reason);
    }

    /// Records where the planner sent the work. If a device could have been used and was not, says why
    /// on standard error: it `declined`, or its price was higher.
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

/// Decides that `what`, which has no device backend, runs on the CPU, and says so on standard error if
/// the policy allowed a device. No device is looked for.
///
/// # Errors
/// [`CliError::Device`] if a device is required.
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
