//! Samples that know where they were taken, and measurements that may be declined.

use crate::Decline;
use broadhead_device::{ExecutionPath, LedgerSnapshot};
use serde::{Deserialize, Serialize};
use std::marker::PhantomData;

/// A place where samples are taken. Sealed: the CPU or a device.
pub trait Place: sealed::Sealed {
    /// The word used in records.
    const WORD: &'static str;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::OnCpu {}
    impl Sealed for super::OnDevice {}
}

/// The host's processors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnCpu {}

/// A device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDevice {}

impl Place for OnCpu {
    const WORD: &'static str = "cpu";
}

impl Place for OnDevice {
    const WORD: &'static str = "device";
}

/// Samples without an entry, or with one that is no positive finite time.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{}", match index {
    Some(index) => format!("sample {index} is no positive finite number of seconds"),
    None => "there is no sample".to_owned(),
})]
pub struct EmptySamples {
    /// The offending sample; absent where there is none at all.
    pub index: Option<usize>,
}

/// What proves that work ran on a device: its path and a ledger with submissions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeviceEvidence {
    path: ExecutionPath,
    ledger: LedgerSnapshot,
}

impl DeviceEvidence {
    /// Evidence from a result's own path and ledger.
    ///
    /// # Errors
    /// [`Decline::NotOnDevice`] where the path is the CPU's; [`Decline::WitnessesDisagree`] where
    /// the ledger counts no submission, though the path says that work was submitted.
    pub fn new(path: ExecutionPath, ledger: LedgerSnapshot) -> Result<Self, Decline> {
        if !path.is_device() {
            return Err(Decline::NotOnDevice {
                path: path.to_string(),
            });
        }
        if ledger.submissions == 0 {
            return Err(Decline::WitnessesDisagree {
                what: "submissions (path, ledger)".to_owned(),
                first: 1,
                second: 0,
            });
        }
        Ok(Self { path, ledger })
    }

    /// Where the work ran.
    pub fn path(&self) -> ExecutionPath {
        self.path
    }

    /// What moved.
    pub fn ledger(&self) -> &LedgerSnapshot {
        &self.ledger
    }
}

/// Times of one piece of work, in seconds, every one kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Samples<P: Place> {
    seconds: Vec<f64>,
    evidence: Option<DeviceEvidence>,
    place: PhantomData<P>,
}

fn checked(seconds: &[f64]) -> Result<(), EmptySamples> {
    if seconds.is_empty() {
        return Err(EmptySamples { index: None });
    }
    match seconds.iter().position(|s| !(s.is_finite() && *s > 0.0)) {
        Some(index) => Err(EmptySamples { index: Some(index) }),
        None => Ok(()),
    }
}

impl Samples<OnCpu> {
    /// Times taken on the CPU.
    ///
    /// # Errors
    /// [`EmptySamples`].
    pub fn new(seconds: Vec<f64>) -> Result<Self, EmptySamples> {
        checked(&seconds)?;
        Ok(Self {
            seconds,
            evidence: None,
            place: PhantomData,
        })
    }
}

impl Samples<OnDevice> {
    /// Times taken on a device, with what proves it.
    ///
    /// # Errors
    /// [`EmptySamples`].
    pub fn new(seconds: Vec<f64>, evidence: DeviceEvidence) -> Result<Self, EmptySamples> {
        checked(&seconds)?;
        Ok(Self {
            seconds,
            evidence: Some(evidence),
            place: PhantomData,
        })
    }

    /// What proves where they were taken.
    pub fn evidence(&self) -> Option<&DeviceEvidence> {
        self.evidence.as_ref()
    }
}

impl<P: Place> Samples<P> {
    /// Every sample, in the order taken.
    pub fn seconds(&self) -> &[f64] {
        &self.seconds
    }

    /// The median: the mean of the middle two where their number is even.
    pub fn median(&self) -> f64 {
        let mut sorted = self.seconds.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        if sorted.len() % 2 == 1 {
            sorted[middle]
        } else {
            0.5 * (sorted[middle - 1] + sorted[middle])
        }
    }

    /// The least.
    pub fn min(&self) -> f64 {
        self.seconds.iter().copied().fold(f64::INFINITY, f64::min)
    }

    /// The largest.
    pub fn max(&self) -> f64 {
        self.seconds.iter().copied().fold(0.0, f64::max)
    }
}

/// Measured, with its samples, or declined, with its reason.
#[derive(Clone, Debug, PartialEq)]
pub enum Measurement<P: Place> {
    /// Every sample.
    Measured(Samples<P>),
    /// Why there is none.
    Declined(Decline),
}

impl<P: Place> Measurement<P> {
    /// The samples, where there are any.
    pub fn samples(&self) -> Option<&Samples<P>> {
        match self {
            Self::Measured(samples) => Some(samples),
            Self::Declined(_) => None,
        }
    }
}

impl<P: Place> From<Decline> for Measurement<P> {
    fn from(decline: Decline) -> Self {
        Self::Declined(decline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_samples_need_a_device_path_and_a_ledger_that_submitted() {
        let mut ledger = LedgerSnapshot::default();
        let cpu = DeviceEvidence::new(ExecutionPath::Cpu, ledger);
        assert_eq!(
            cpu,
            Err(Decline::NotOnDevice {
                path: "cpu".to_owned()
            })
        );
        let idle = DeviceEvidence::new(ExecutionPath::GpuResidentFull, ledger);
        assert!(matches!(
            idle,
            Err(Decline::WitnessesDisagree { second: 0, .. })
        ));
        ledger.submissions = 3;
        assert!(DeviceEvidence::new(ExecutionPath::GpuResidentFull, ledger).is_ok());
    }

    #[test]
    fn samples_are_positive_finite_and_never_absent() {
        let error = |seconds| Samples::<OnCpu>::new(seconds).unwrap_err().index;
        assert_eq!(error(vec![]), None);
        assert_eq!(error(vec![1.0, 0.0]), Some(1));
        assert_eq!(error(vec![f64::NAN]), Some(0));
        let samples = Samples::<OnCpu>::new(vec![4.0, 1.0, 3.0, 2.0]).unwrap();
        assert_eq!(
            (samples.median(), samples.min(), samples.max()),
            (2.5, 1.0, 4.0)
        );
    }
}
