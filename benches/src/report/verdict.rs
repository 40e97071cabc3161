//! Requirements against records.

use super::group::Group;
use crate::cell::{Requirement, Suite};
use broadhead_gate::Decline;

/// What became of a requirement, at its worst shape.
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) name: String,
    pub(super) at_most: f64,
    pub(super) outcome: Outcome,
}

/// Met or not at every shape, or undetermined at one.
#[derive(Debug)]
pub(super) enum Outcome {
    Met { worst: f64, shape: String },
    Unmet { worst: f64, shape: String },
    Undetermined { reason: Decline, shape: String },
}

impl std::fmt::Display for Judged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let at_most = short(self.at_most);
        write!(f, "{}: ", self.name)?;
        match &self.outcome {
            Outcome::Met { worst, shape } => {
                write!(
                    f,
                    "met; at most {at_most}, the largest ratio is {} ({shape})",
                    short(*worst)
                )
            }
            Outcome::Unmet { worst, shape } => {
                write!(
                    f,
                    "unmet; at most {at_most}, the largest ratio is {} ({shape})",
                    short(*worst)
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
pub(super) fn judge(suite: &Suite, groups: &[Group]) -> Vec<Judged> {
    suite
        .requirements
        .iter()
        .map(|requirement| one(requirement, suite, groups))
        .collect()
}

fn one(requirement: &Requirement, suite: &Suite, groups: &[Group]) -> Judged {
    let judged = |outcome| Judged {
        name: requirement.name.clone(),
        at_most: requirement.at_most,
        outcome,
    };
    let mut worst: Option<(f64, String)> = None;
    for case in &suite.cells {
        let undetermined = |reason| {
            judged(Outcome::Undetermined {
                reason,
                shape: case.name.clone(),
            })
        };
        let Some(group) = groups.iter().find(|g| g.name == case.name) else {
            return undetermined(Decline::NoSample);
        };
        let side = |side: &crate::cell::Side| group.outcome(&side.elimination, side.phase);
        let (above, below) = match (side(&requirement.numerator), side(&requirement.denominator)) {
            (Ok((above, _)), Ok((below, _))) => (above, below),
            (Err(reason), _) | (_, Err(reason)) => return undetermined(reason),
        };
        let ratio = above.median / below.median;
        if worst.as_ref().is_none_or(|(old, _)| ratio > *old) {
            worst = Some((ratio, group.shape.clone()));
        }
    }
    judged(match worst {
        None => Outcome::Undetermined {
            reason: Decline::NoSample,
            shape: "no cell".to_owned(),
        },
        Some((worst, shape)) if worst <= requirement.at_most => Outcome::Met { worst, shape },
        Some((worst, shape)) => Outcome::Unmet { worst, shape },
    })
}
