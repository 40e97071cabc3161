//! Requirements against records.

use super::floor::Bandwidth;
use super::group::{self, BEST, Entry, Group};
use crate::cell::{Alternative, Phase, Place, Quantity, Requirement, Side, Suite, is_auto};
use crate::check::larger;
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

/// What one cell has of a requirement: the alternative of it that counts there.
struct AtCell {
    value: f64,
    at_most: f64,
    /// The words of the alternative, where it is not the first.
    alternative: Option<String>,
    by: Contender,
}

impl AtCell {
    fn is_met(&self) -> bool {
        self.value <= self.at_most
    }

    /// By how much it exceeds its bound; of a bound of 0, by itself.
    fn excess(&self) -> f64 {
        match self.at_most {
            bound if bound > 0.0 => self.value / bound,
            _ => self.value,
        }
    }
}

impl Judge<'_> {
    fn one(&self, requirement: &Requirement) -> Judged {
        let text = |value: f64| worded(requirement, value);
        let mut at_most = text(requirement.at_most);
        if let Some(or) = &requirement.or {
            at_most = format!("{at_most}, or {} ({})", text(or.at_most), or.name);
        }
        let judged = |outcome, by| Judged {
            name: requirement.name.clone(),
            at_most: at_most.clone(),
            outcome,
            by,
        };
        let mut worst: Option<(AtCell, String)> = None;
        for case in &self.suite.cells {
            if !requirement.cells.is_empty() && !requirement.cells.contains(&case.name) {
                continue;
            }
            let group = self.groups.iter().find(|g| g.name == case.name);
            let found = match group {
                Some(group) => self.at_cell(requirement, group).map(|at| (at, group)),
                None => Err(Decline::NoSample),
            };
            match found {
                Ok((at, group)) => {
                    if worst
                        .as_ref()
                        .is_none_or(|(old, _)| at.excess() > old.excess())
                    {
                        worst = Some((at, group.shape.clone()));
                    }
                }
                Err(reason) => {
                    let shape = case.name.clone();
                    return judged(Outcome::Undetermined { reason, shape }, None);
                }
            }
        }
        let Some((at, shape)) = worst else {
            let outcome = Outcome::Undetermined {
                reason: Decline::NoSample,
                shape: "no cell".to_owned(),
            };
            return judged(outcome, None);
        };
        let worst = match &at.alternative {
            Some(words) => format!("{} ({words})", text(at.value)),
            None => text(at.value),
        };
        let outcome = match at.is_met() {
            true => Outcome::Met { worst, shape },
            false => Outcome::Unmet { worst, shape },
        };
        judged(outcome, Some(at.by))
    }

    /// What `group` has of a requirement: of two alternatives the one that is met; where none is, both
    /// must be known.
    fn at_cell(&self, requirement: &Requirement, group: &Group) -> Result<AtCell, Decline> {
        let first = self.value(requirement, &requirement.denominators, group);
        let first = first.map(|(value, by)| AtCell {
            value,
            at_most: requirement.at_most,
            alternative: None,
            by,
        });
        let serves = |or: &&Alternative| or.cells.contains(&group.name);
        let Some(or) = requirement.or.as_ref().filter(serves) else {
            return first;
        };
        if first.as_ref().is_ok_and(AtCell::is_met) {
            return first;
        }
        let other = self.value(requirement, std::slice::from_ref(&or.denominator), group);
        let other = other.map(|(value, by)| AtCell {
            value,
            at_most: or.at_most,
            alternative: Some(or.name.clone()),
            by,
        })?;
        if other.is_met() {
            return Ok(other);
        }
        let first = first?;
        Ok(match first.excess() < other.excess() {
            true => first,
            false => other,
        })
    }

    /// The numerator, or its ratio to the smallest of the denominators.
    fn value(
        &self,
        requirement: &Requirement,
        denominators: &[Side],
        group: &Group,
    ) -> Result<(f64, Contender), Decline> {
        let above = self.side(&requirement.numerator, group)?;
        let name = above.entry.elimination.clone();
        let by = Contender {
            build: group
                .outcome(&name, Phase::Factor)
                .ok()
                .map(|(s, _)| s.median),
            name,
        };
        let mut worst: Option<f64> = None;
        for denominator in denominators {
            let ratio = self.ratio(&above, denominator, group)?;
            worst = Some(worst.map_or(ratio, |old| larger(old, ratio)));
        }
        Ok((worst.unwrap_or(above.value), by))
    }

    /// A ratio to one side. One that was not measured may have been the smallest: the requirement is
    /// then undetermined.
    fn ratio(&self, above: &Found<'_>, below: &Side, group: &Group) -> Result<f64, Decline> {
        if below.elimination == BEST && below.of == Quantity::Seconds {
            self.all_measured(below, group)?;
        }
        let of = below.of;
        let below = self.side(below, group)?;
        if above.entry.run != below.entry.run {
            return Err(Decline::OtherRun);
        }
        // A time below its floor says that the floor's ceiling is wrong.
        let of_floor = matches!(of, Quantity::Floor | Quantity::Arithmetic);
        if of_floor && above.value < below.value * (1.0 - TOLERANCE) {
            return Err(Decline::CeilingBeaten {
                run: above.value,
                ceiling: below.value,
            });
        }
        Ok(above.value / below.value)
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
        if side.of == Quantity::Arithmetic {
            return arithmetic(side, group);
        }
        let (summary, entry) = group.outcome(&side.elimination, side.phase)?;
        let counts = entry.counts;
        let value = match side.of {
            // Arithmetic was answered above.
            Quantity::Seconds | Quantity::Arithmetic => Some(summary.median),
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

/// Seconds of a side's operations at the rate of the fastest matrix product of its cell, whoever's. A
/// product that was declined may have been faster.
fn arithmetic<'g>(side: &Side, group: &'g Group) -> Result<Found<'g>, Decline> {
    let mut fastest: Option<(f64, &Entry)> = None;
    for entry in group.entries.iter().filter(|e| e.phase == Phase::Product) {
        let median = entry.outcome.as_ref().map_err(Clone::clone)?.median;
        if fastest.is_none_or(|(old, _)| median < old) {
            fastest = Some((median, entry));
        }
    }
    let operations = |phase| group.sizes.and_then(|sizes| sizes.operations(phase));
    let counted = operations(side.phase).zip(operations(Phase::Product));
    match (fastest, counted) {
        (Some((seconds, entry)), Some((own, of_product))) => Ok(Found {
            value: seconds * own / of_product,
            entry,
        }),
        _ => Err(Decline::NoCeiling {
            what: format!("{}: a matrix product, in the same cell", side.phase),
        }),
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
    if !requirement.denominators.is_empty() {
        return short(value);
    }
    match requirement.numerator.of {
        Quantity::Seconds | Quantity::Floor | Quantity::Arithmetic => {
            format!("{} ms", short(1e3 * value))
        }
        Quantity::BytesIn | Quantity::BytesOut => format!("{value:.0} bytes"),
        Quantity::Submissions => format!("{value:.0}"),
    }
}

/// Every requirement of `suite` undetermined for one reason.
pub(super) fn undetermined(suite: &Suite, reason: &Decline) -> Vec<Judged> {
    let mut judged = of_records(suite, &[]);
    for one in &mut judged {
        one.outcome = Outcome::Undetermined {
            reason: reason.clone(),
            shape: "every cell".to_owned(),
        };
    }
    judged
}

/// As [`judge`], of records alone.
pub(super) fn of_records(suite: &Suite, records: &[Record]) -> Vec<Judged> {
    judge(suite, records, &group::group(records))
}
