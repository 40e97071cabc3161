//! Requirements against records.

use super::floor::Bandwidth;
use super::group::{self, BEST, Entry, Group};
use crate::cell::{Phase, Place, Quantity, Requirement, Side, Suite, is_auto};
use crate::record::{Record, Window};
use broadhead_device::measure::TOLERANCE;
use broadhead_gate::Decline;

/// What became of a requirement, at its worst shape.
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) name: String,
    pub(super) at_most: String,
    pub(super) outcome: Outcome,
    /// Whose the worst value is.
    pub(super) by: Option<Contender>,
}

/// Whose a value is: an elimination and what its frames keep, with what such a frame costs to build.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Contender {
    pub(super) name: String,
    /// Seconds of a build at the same shape, where it was measured.
    pub(super) build: Option<f64>,
}

/// Met or not at every shape, or undetermined at one.
#[derive(Debug)]
pub(super) enum Outcome {
    Met { worst: String, shape: String },
    Unmet { worst: String, shape: String },
    Undetermined { reason: Decline, shape: String },
}

impl std::fmt::Display for Judged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let at_most = &self.at_most;
        write!(f, "{}: ", self.name)?;
        match &self.outcome {
            Outcome::Met { worst, shape } => {
                write!(
                    f,
                    "met; at most {at_most}, the largest is {worst} ({shape})"
                )
            }
            Outcome::Unmet { worst, shape } => {
                write!(
                    f,
                    "unmet; at most {at_most}, the largest is {worst} ({shape})"
                )
            }
            Outcome::Undetermined { reason, shape } => write!(f, "undetermined; {shape}: {reason}"),
        }
    }
}

/// Three significant figures.
pub(super) fn short(ratio: f64) -> String {
    if ratio >= 100.0 {
        format!("{ratio:.0}")
    } else if ratio >= 1.0 {
        format!("{ratio:.2}")
    } else {
        format!("{ratio:.3}")
    }
}

/// Judges every requirement of `suite` over the groups that have its phases.
pub(super) fn judge(suite: &Suite, records: &[Record], groups: &[Group]) -> Vec<Judged> {
    let bandwidth = Bandwidth::of(records);
    let judge = Judge {
        suite,
        groups,
        bandwidth,
    };
    suite.requirements.iter().map(|r| judge.one(r)).collect()
}

struct Judge<'s> {
    suite: &'s Suite,
    groups: &'s [Group],
    bandwidth: Bandwidth,
}

/// A value of one side, with what it came from.
struct Found<'g> {
    value: f64,
    entry: &'g Entry,
}

impl Judge<'_> {
    fn one(&self, requirement: &Requirement) -> Judged {
        let text = |value: f64| worded(requirement, value);
        let judged = |outcome, by| Judged {
            name: requirement.name.clone(),
            at_most: text(requirement.at_most),
            outcome,
            by,
        };
        let mut worst: Option<(f64, Contender, String)> = None;
        for case in &self.suite.cells {
            if !requirement.cells.is_empty() && !requirement.cells.contains(&case.name) {
                continue;
            }
            let group = self.groups.iter().find(|g| g.name == case.name);
            let value = group
                .ok_or(Decline::NoSample)
                .and_then(|group| self.value(requirement, group));
            match (value, group) {
                (Ok((value, by)), Some(group)) => {
                    if worst.as_ref().is_none_or(|(old, ..)| value > *old) {
                        worst = Some((value, by, group.shape.clone()));
                    }
                }
                (Err(reason), _) => {
                    let shape = case.name.clone();
                    return judged(Outcome::Undetermined { reason, shape }, None);
                }
                (Ok(_), None) => {}
            }
        }
        let Some((worst, by, shape)) = worst else {
            let outcome = Outcome::Undetermined {
                reason: Decline::NoSample,
                shape: "no cell".to_owned(),
            };
            return judged(outcome, None);
        };
        let met = worst <= requirement.at_most;
        let worst = text(worst);
        let outcome = match met {
            true => Outcome::Met { worst, shape },
            false => Outcome::Unmet { worst, shape },
        };
        judged(outcome, Some(by))
    }

    fn value(&self, requirement: &Requirement, group: &Group) -> Result<(f64, Contender), Decline> {
        let above = self.side(&requirement.numerator, group)?;
        let name = above.entry.elimination.clone();
        let by = Contender {
            build: group
                .outcome(&name, Phase::Factor)
                .ok()
                .map(|(s, _)| s.median),
            name,
        };
        let Some(denominator) = &requirement.denominator else {
            return Ok((above.value, by));
        };
        if denominator.elimination == BEST && denominator.of == Quantity::Seconds {
            self.all_measured(denominator, group)?;
        }
        let below = self.side(denominator, group)?;
        if above.entry.run != below.entry.run {
            return Err(Decline::OtherRun);
        }
        // A time below its floor says that the floor's ceiling is wrong.
        let of_floor = denominator.of == Quantity::Floor;
        if of_floor && above.value < below.value * (1.0 - TOLERANCE) {
            return Err(Decline::CeilingBeaten {
                run: above.value,
                ceiling: below.value,
            });
        }
        Ok((above.value / below.value, by))
    }

    /// A baseline is the fastest of all its contenders that can do the work: one whose time was
    /// declined may have been that.
    fn all_measured(&self, side: &Side, group: &Group) -> Result<(), Decline> {
        let contends = |name: &String| !is_auto(name) && !self.suite.peers.contains(name);
        let entries = group.entries.iter().filter(|e| e.phase == side.phase);
        for name in entries
            .map(|e| &e.elimination)
            .filter(|name| contends(name))
        {
            match group.outcome(name, side.phase) {
                Ok(_) | Err(Decline::Unsupported { .. } | Decline::OutOfMemory { .. }) => {}
                Err(reason) => return Err(reason),
            }
        }
        Ok(())
    }

    fn side<'g>(&self, side: &Side, group: &'g Group) -> Result<Found<'g>, Decline> {
        let peer = self.suite.peers.contains(&side.elimination);
        if peer && self.suite.place == Place::Device {
            both_windows(side, group)?;
        }
        let (summary, entry) = group.outcome(&side.elimination, side.phase)?;
        let counts = entry.counts;
        let value = match side.of {
            Quantity::Seconds => Some(summary.median),
            Quantity::BytesIn => counts.bytes_in,
            Quantity::BytesOut => counts.bytes_out,
            Quantity::Submissions => counts.submissions,
            Quantity::Floor => {
                let bytes = counts.floor_bytes.ok_or(Decline::NoSample)?;
                Some(self.bandwidth.seconds(bytes, entry.run.as_deref())?)
            }
        };
        let value = value.ok_or(Decline::NoSample)?;
        Ok(Found { value, entry })
    }
}

/// A peer that ran apart from us counts where it ran before and after us. Of the two its faster is
/// taken.
fn both_windows(side: &Side, group: &Group) -> Result<(), Decline> {
    let measured = |window| {
        group.entries.iter().any(|e| {
            e.elimination == side.elimination
                && e.phase == side.phase
                && e.window == Some(window)
                && e.outcome.is_ok()
        })
    };
    match measured(Window::Before) && measured(Window::After) {
        true => Ok(()),
        false => group
            .outcome(&side.elimination, side.phase)
            .and(Err(Decline::NoSample)),
    }
}

/// A value in words: a ratio, or a quantity with its unit.
fn worded(requirement: &Requirement, value: f64) -> String {
    if requirement.denominator.is_some() {
        return short(value);
    }
    match requirement.numerator.of {
        Quantity::Seconds | Quantity::Floor => format!("{} ms", short(1e3 * value)),
        Quantity::BytesIn | Quantity::BytesOut => format!("{value:.0} bytes"),
        Quantity::Submissions => format!("{value:.0}"),
    }
}

/// As [`judge`], of records alone.
pub(super) fn of_records(suite: &Suite, records: &[Record]) -> Vec<Judged> {
    judge(suite, records, &group::group(records))
}
