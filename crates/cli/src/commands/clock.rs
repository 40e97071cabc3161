//! Wall time by phase.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use std::time::Instant;

/// Seconds of each phase, in order. In JSON an object of phases and their `total`.
#[derive(Clone, Debug)]
pub(super) struct Clock {
    begun: Instant,
    last: Instant,
    phases: Vec<(String, f64)>,
}

impl Clock {
    pub(super) fn start() -> Self {
        let now = Instant::now();
        Self {
            begun: now,
            last: now,
            phases: Vec::new(),
        }
    }

    /// Ends the phase `name`, which began where the last one ended.
    pub(super) fn lap(&mut self, name: &str) {
        let now = Instant::now();
        let seconds = now.duration_since(self.last).as_secs_f64();
        self.phases.push((name.to_owned(), seconds));
        self.last = now;
    }

    /// The phases so far, with their total.
    pub(super) fn seconds(&self) -> Seconds {
        Seconds {
            phases: self.phases.clone(),
            total: self.last.duration_since(self.begun).as_secs_f64(),
        }
    }
}

/// What a clock has measured.
#[derive(Clone, Debug)]
pub(super) struct Seconds {
    pub(super) phases: Vec<(String, f64)>,
    pub(super) total: f64,
}

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.phases.len() + 1))?;
        for (phase, seconds) in &self.phases {
            map.serialize_entry(phase, seconds)?;
        }
        map.serialize_entry("total", &self.total)?;
        map.end()
    }
}
