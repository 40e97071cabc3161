//! The rates that a command plans by, and the options that repeat its choice elsewhere.

use crate::args::RatesWord;
use broadhead_device::{DevicePolicy, ExecutionPath};
use broadhead_gate::ceilings::Store;
use broadhead_sae::{Chosen, Place};
use broadhead_schur::device::{Keep, Placement};
use broadhead_schur::{Ceilings, EliminationKind, HostCeilings, Rates};
use serde::Serialize;

/// The rates behind a plan's prices, with their origin.
#[derive(Clone, Debug, Serialize)]
pub(super) struct UsedRates {
    host: Rates<HostCeilings>,
    /// Those of the device; absent if no work was priced there.
    device: Option<Rates<Ceilings>>,
}

/// The rates that were asked for: of this processor, and of `device` where there is one.
pub(super) fn asked_for(
    word: RatesWord,
    device: Option<&Placement>,
) -> (Rates<HostCeilings>, Rates<Ceilings>) {
    match word {
        RatesWord::Measured => {
            let store = Store::of_environment();
            let measured = |place: &Placement| store.device(place.stream.context().info());
            (store.host(), device.map_or_else(Rates::default, measured))
        }
        RatesWord::Shipped => {
            let reason = || Some("--rates shipped".to_owned());
            (
                Rates::shipped(HostCeilings::default(), reason()),
                Rates::shipped(Ceilings::DEVICE, reason()),
            )
        }
    }
}

impl UsedRates {
    /// The rates of the place that a fit under `policy` was planned for.
    pub(super) fn of(place: &Place, policy: DevicePolicy) -> Self {
        let device = place.device.is_some() && policy != DevicePolicy::Off;
        Self {
            host: place.rates.clone(),
            device: device.then(|| place.device_rates.clone()),
        }
    }

    pub(super) fn new(host: Rates<HostCeilings>, device: Option<Rates<Ceilings>>) -> Self {
        Self { host, device }
    }

    /// For a person.
    pub(super) fn in_words(&self) -> String {
        match &self.device {
            None => self.host.origin.to_string(),
            Some(device) => format!("{}; of the device {}", self.host.origin, device.origin),
        }
    }
}

/// The options that repeat the planner's choice on another machine.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Pins {
    elimination: EliminationKind,
    device: DevicePolicy,
    /// What a frame on the device kept. No option of the command line sets it; the library's callers
    /// can.
    #[serde(skip_serializing_if = "Option::is_none")]
    keep: Option<Keep>,
    /// As written on the command line.
    options: String,
}

impl Pins {
    pub(super) fn new(
        elimination: EliminationKind,
        path: ExecutionPath,
        keep: Option<Keep>,
    ) -> Self {
        let device = match path.is_device() {
            true => DevicePolicy::Required,
            false => DevicePolicy::Off,
        };
        Self {
            elimination,
            device,
            keep,
            options: format!("--elimination {elimination} --device {device}"),
        }
    }

    /// The pins of a fit, or why none repeats it.
    pub(super) fn of(chosen: &[Chosen]) -> Result<Self, String> {
        match chosen {
            [one] => Ok(Self::new(one.elimination, one.path, one.keep)),
            [] => Err("no system was factored".to_owned()),
            several => {
                let words = several.iter();
                let words = words.map(|one| format!("{} on {}", one.elimination, one.path));
                let words: Vec<String> = words.collect();
                Err(format!(
                    "the choice moved with the gates: {}",
                    words.join(", ")
                ))
            }
        }
    }

    /// As written on the command line.
    pub(super) fn options(&self) -> &str {
        &self.options
    }
}
