//! Floors: bytes over the bandwidth that the same run measured.

use crate::record::{Outcome, Record};
use broadhead_device::measure::Ceiling;
use broadhead_gate::Decline;

/// The measured curve of reading, by working set.
#[derive(Clone, Debug, Default)]
pub(super) struct Bandwidth {
    run: Option<String>,
    points: Vec<(u64, Ceiling)>,
}

/// The name of the curve's records.
const READ: &str = "read";

impl Bandwidth {
    /// The curve among `records`.
    pub(super) fn of(records: &[Record]) -> Self {
        let mut found = Self::default();
        for record in records {
            if let Outcome::Ceiling(ceiling) = &record.outcome
                && ceiling.what == READ
                && let Some(bytes) = ceiling.working_set_bytes
            {
                found.run = record.receipt.device.as_ref().map(|d| d.run.clone());
                found.points.push((bytes, ceiling.ceiling.clone()));
            }
        }
        found.points.sort_by_key(|(bytes, _)| *bytes);
        found
    }

    /// Seconds that reading `bytes` takes at least, in `run`: at the better rate of the two points
    /// of the curve that `bytes` lies between.
    ///
    /// # Errors
    /// No curve of that run, or its points were refused.
    pub(super) fn seconds(&self, bytes: u64, run: Option<&str>) -> Result<f64, Decline> {
        if self.run.is_none() || self.run.as_deref() != run {
            return Err(Decline::NoCeiling {
                what: "reading, in the same run".to_owned(),
            });
        }
        let above = self.points.iter().position(|(set, _)| *set >= bytes);
        let above = above.unwrap_or(self.points.len().saturating_sub(1));
        let bracket = above.saturating_sub(1)..=above;
        let rates = self.points.get(bracket).unwrap_or_default();
        let rate = rates.iter().filter_map(|(_, c)| c.value());
        match rate.reduce(f64::max) {
            Some(rate) if rate > 0.0 => Ok(bytes as f64 / rate),
            _ => Err(Decline::NoCeiling {
                what: format!("reading {bytes} bytes: the windows differ"),
            }),
        }
    }
}
