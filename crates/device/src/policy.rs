//! Whether a device may, must or must not be used.

use crate::{Absence, ExecutionPath};
use serde::{Deserialize, Serialize};

/// What the caller wants of a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DevicePolicy {
    /// Use one if it is there and worth it; fall back to the CPU only before device work began.
    #[default]
    Auto,
    /// Never look for one.
    Off,
    /// Fail with the [`Absence`] where there is none.
    Required,
}

/// A word that is no device policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no device policy: expected auto, off or required")]
pub struct ParsePolicyError(pub String);

impl std::str::FromStr for DevicePolicy {
    type Err = ParsePolicyError;
    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "auto" => Ok(Self::Auto),
            "off" => Ok(Self::Off),
            "required" => Ok(Self::Required),
            other => Err(ParsePolicyError(other.to_owned())),
        }
    }
}

impl std::fmt::Display for DevicePolicy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Off => "off",
            Self::Required => "required",
        })
    }
}

/// Where work was sent, and why not to a device where it was not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dispatch {
    /// The path chosen before any work began.
    pub path: ExecutionPath,
    /// Why no device is used; absent where one is.
    pub absence: Option<Absence>,
}

impl Dispatch {
    /// Work on the CPU, because of `absence`.
    pub fn cpu(absence: Absence) -> Self {
        Self {
            path: ExecutionPath::Cpu,
            absence: Some(absence),
        }
    }
}

impl DevicePolicy {
    /// Settles where work runs, given what a probe for a suitable device answered.
    ///
    /// The probe is not called under [`DevicePolicy::Off`].
    ///
    /// # Errors
    /// The absence, under [`DevicePolicy::Required`].
    pub fn dispatch(
        self,
        probe: impl FnOnce() -> Result<ExecutionPath, Absence>,
    ) -> Result<Dispatch, Absence> {
        match self {
            Self::Off => Ok(Dispatch::cpu(Absence::PolicyOff)),
            Self::Auto => Ok(match probe() {
                Ok(path) => Dispatch {
                    path,
                    absence: None,
                },
                Err(absence) => {
                    tracing::info!(%absence, "no device: the work runs on the CPU");
                    Dispatch::cpu(absence)
                }
            }),
            Self::Required => probe().map(|path| Dispatch {
                path,
                absence: None,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn off_never_probes() {
        let dispatch = DevicePolicy::Off.dispatch(|| panic!("probed")).unwrap();
        assert_eq!(dispatch, Dispatch::cpu(Absence::PolicyOff));
    }

    #[test]
    fn required_keeps_the_reason_of_the_absence() {
        let probe = || Err(Absence::NoDevice);
        assert_eq!(
            DevicePolicy::Required.dispatch(probe),
            Err(Absence::NoDevice)
        );
        let auto = DevicePolicy::Auto
            .dispatch(|| Err(Absence::NoDevice))
            .unwrap();
        assert_eq!(auto, Dispatch::cpu(Absence::NoDevice));
    }
}
