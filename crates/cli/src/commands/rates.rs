//! The rates that a command plans by, and the options that repeat its choice elsewhere.

use crate::args::RatesWord;
use broadhead_device::{DevicePolicy, ExecutionPath};
use broadhead_gate::ceilings::Store;
use broadhead_sae::Chosen;
use broadhead_schur::cuda::Keep;
use broadhead_schur::{Ceilings, EliminationKind, HostCeilings, Rates, SolverOptions};
use serde::Serialize;

/// The rates behind a plan's prices, and where they come from.
#[derive(Clone, Debug, Serialize)]
pub(super) struct UsedRates {
    host: Rates<HostCeilings>,
    /// Of the device; absent where no work was priced there.
    device: Option<Rates<Ceilings>>,
}

/// Hands a planner the rates that were asked for.
pub(super) fn hand_to(word: RatesWord, options: &mut SolverOptions) {
    match word {
        RatesWord::Measured => Store::of_environment().hand_to(options),
        RatesWord::Shipped => {
            let reason = || Some("--rates shipped".to_owned());
            options.rates = Rates::shipped(HostCeilings::default(), reason());
            options.device_rates = Rates::shipped(Ceilings::DEVICE, reason());
        }
    }
}

impl UsedRates {
    /// Those that `options` hand to a planner.
    pub(super) fn of(options: &SolverOptions) -> Self {
        let device = options.device.is_some() && options.device_policy != DevicePolicy::Off;
        Self {
            host: options.rates.clone(),
            device: device.then(|| options.device_rates.clone()),
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

/// The options that repeat on another machine what the planner chose on this one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Pins {
    elimination: EliminationKind,
    device: DevicePolicy,
    /// What a frame on the device kept, which is a choice of the library's callers.
    #[serde(skip_serializing_if = "Option::is_none")]
    keep: Option<Keep>,
    /// As they stand on the command line.
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

    /// Those of a fit, or why no pin repeats it.
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

    /// As they stand on the command line.
    pub(super) fn options(&self) -> &str {
        &self.options
    }
}
