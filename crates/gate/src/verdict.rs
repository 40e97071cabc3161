//! Verdicts: a requirement, a measurement, and nothing else.

use crate::{Decline, Measurement, OnDevice};
use serde::{Deserialize, Serialize};

/// A device rate that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Requirement {
    /// Units of work a second, at least.
    pub rate: f64,
    /// Units of work in one sample.
    pub work: f64,
}

/// What became of a requirement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Verdict {
    /// The median rate is at least the one asked.
    Met {
        /// The median rate.
        rate: f64,
    },
    /// It is not.
    Unmet {
        /// The median rate.
        rate: f64,
    },
    /// There is no measurement to judge.
    Undetermined {
        /// Why.
        reason: Decline,
    },
}

impl Requirement {
    /// At least `rate` units a second, of samples of `work` units each.
    pub fn at_least(rate: f64, work: f64) -> Self {
        Self { rate, work }
    }

    /// Judges the median of a device measurement.
    pub fn verdict(&self, measurement: &Measurement<OnDevice>) -> Verdict {
        match measurement {
            Measurement::Declined(reason) => Verdict::Undetermined {
                reason: reason.clone(),
            },
            Measurement::Measured(samples) => {
                let rate = self.work / samples.median();
                if rate >= self.rate {
                    Verdict::Met { rate }
                } else {
                    Verdict::Unmet { rate }
                }
            }
        }
    }
}

impl Verdict {
    /// The exit code of a process that ends with this verdict: 0, 1, or 3 where undetermined.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Met { .. } => 0,
            Self::Unmet { .. } => 1,
            Self::Undetermined { .. } => 3,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DeviceEvidence, Samples};
    use broadhead_device::{ExecutionPath, LedgerSnapshot};

    fn measured(seconds: Vec<f64>) -> Measurement<OnDevice> {
        let ledger = LedgerSnapshot {
            submissions: 1,
            ..Default::default()
        };
        let evidence = DeviceEvidence::new(ExecutionPath::GpuResidentFull, ledger).unwrap();
        Measurement::Measured(Samples::<OnDevice>::new(seconds, evidence).unwrap())
    }

    #[test]
    fn a_verdict_follows_the_median_and_undetermined_never_exits_0() {
        let requirement = Requirement::at_least(100.0, 1.0);
        let met = requirement.verdict(&measured(vec![0.009, 0.010, 1.0]));
        assert_eq!((met.exit_code(), &met), (0, &Verdict::Met { rate: 100.0 }));
        assert_eq!(requirement.verdict(&measured(vec![0.02])).exit_code(), 1);
        let declined = requirement.verdict(&Decline::NoSample.into());
        assert_eq!(declined.exit_code(), 3);
    }
}
