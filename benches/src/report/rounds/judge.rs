//! What was asked of fits, rounds and the law, against records.
//!
//! Processors differ, and so every requirement on seconds stands twice: as it was set, and in the share of
//! the peer's round. There the seconds are those that were asked, times the peer's round here over the peer's
//! round where they were set.

use super::{OnMachine, median};
use crate::report::verdict::short;
use crate::rounds::Part;
use crate::rounds::plan::{FitAsked, Over, Plan, Pulls, RoundAsked, Stream};
use crate::rounds::record::{Fit, Outcome};
use broadhead_gate::Decline;

/// A requirement and what became of it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Judged {
    pub(super) name: String,
    pub(super) verdict: Verdict,
    /// What was found, or why nothing was.
    pub(super) detail: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Met,
    Unmet,
    Undetermined,
}

impl Verdict {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Met => "Met",
            Self::Unmet => "Unmet",
            Self::Undetermined => "Undetermined",
        }
    }
}

impl std::fmt::Display for Judged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let verdict = self.verdict.word().to_lowercase();
        write!(f, "{}: {verdict}; {}", self.name, self.detail)
    }
}

/// A requirement as it was set, or in the share of the peer's round.
#[derive(Clone, Copy, Debug)]
enum Asked<'p> {
    Fit(&'p FitAsked, bool),
    Round(&'p RoundAsked, bool),
    Law,
    Stream(&'p Stream),
}

/// All that a plan asks.
fn asked(plan: &Plan) -> Vec<Asked<'_>> {
    let both = [false, true];
    let fits = plan.fits.iter();
    let fits = fits.flat_map(|fit| both.map(|relative| Asked::Fit(fit, relative)));
    let rounds = plan.rounds.iter();
    let rounds = rounds.flat_map(|round| both.map(|relative| Asked::Round(round, relative)));
    let law = (!plan.sizes.is_empty()).then_some(Asked::Law);
    let streams = plan.streams.iter().map(Asked::Stream);
    fits.chain(rounds).chain(law).chain(streams).collect()
}

impl Asked<'_> {
    fn name(&self, plan: &Plan) -> String {
        match self {
            Self::Fit(fit, relative) => {
                let FitAsked {
                    case,
                    seconds,
                    at_least,
                    ..
                } = fit;
                let of = match fit.of {
                    Over::EverySeed => "every seed",
                    Over::Median => "the median",
                };
                let converged = if fit.converged {
                    " and has converged"
                } else {
                    ""
                };
                let by = match relative {
                    false => format!("in {seconds} s"),
                    true => format!("in {seconds} s of the peer's pace"),
                };
                format!("{case}: {of} explains at least {at_least} {by}{converged}")
            }
            Self::Round(round, relative) => {
                let (case, pulls) = (&round.case, round.pulls.word().to_uppercase());
                match relative {
                    false => format!(
                        "{case}: a round takes at most {} ms, {pulls}",
                        round.at_most
                    ),
                    true => format!(
                        "{case}: a round takes at most {} of the peer's, {pulls}",
                        short(round.at_most / round.peer)
                    ),
                }
            }
            Self::Law => format!(
                "every size's round is within {} of one law",
                plan.law_within
            ),
            Self::Stream(stream) => format!(
                "{}: with {} at most {:.2} GB are resident, the files are those of a fit in memory, and it takes at most \
                 {} times as long",
                stream.words(),
                stream.memory,
                1e-9 * stream.resident_at_most,
                stream.within
            ),
        }
    }
}

/// Every requirement, where there is no record for one reason.
pub(super) fn undetermined(plan: &Plan, reason: &Decline) -> Vec<Judged> {
    let of = |asked: Asked<'_>| Judged {
        name: asked.name(plan),
        verdict: Verdict::Undetermined,
        detail: reason.to_string(),
    };
    asked(plan).into_iter().map(of).collect()
}

impl OnMachine<'_> {
    /// Judges all that the plan asks.
    pub(super) fn judge(&self) -> Vec<Judged> {
        let rounds = self.records.iter();
        let rounds = rounds.filter(|record| record.run.what.part() == Part::Rounds);
        let mut runs = rounds.map(|record| &record.receipt);
        let first = runs.next();
        if runs.any(|receipt| Some(receipt) != first) {
            let error = "its records are of different runs".to_owned();
            return undetermined(self.plan, &Decline::Failed { error });
        }
        let one = |asked: Asked<'_>| {
            let found = match asked {
                Asked::Fit(fit, false) => self.fit(fit),
                Asked::Fit(fit, true) => self.fit_at_pace(fit),
                Asked::Round(round, relative) => self.round_time(round, relative),
                Asked::Law => self.law(),
                Asked::Stream(stream) => self.streamed(stream),
            };
            let (verdict, detail) = match found {
                Ok((true, detail)) => (Verdict::Met, detail),
                Ok((false, detail)) => (Verdict::Unmet, detail),
                Err(reason) => (Verdict::Undetermined, reason.to_string()),
            };
            Judged {
                name: asked.name(self.plan),
                verdict,
                detail,
            }
        };
        asked(self.plan).into_iter().map(one).collect()
    }

    /// By the final models of processes with that limit. One that took longer than its limit and the grace
    /// explains nothing in time.
    fn fit(&self, asked: &FitAsked) -> Result<(bool, String), Decline> {
        let fits = self.fits(&asked.case, asked.seconds)?;
        let latest = asked.seconds + self.plan.grace_seconds;
        let explained = fits.iter().map(|fit| match fit.wall <= latest {
            true => fit.explained_variance,
            false => f64::NEG_INFINITY,
        });
        let explained: Vec<f64> = explained.collect();
        let longest = fits.iter().map(|fit| fit.wall).fold(0.0, f64::max);
        let converged = fits
            .iter()
            .filter(|fit| fit.converged == Some(true))
            .count();
        let mut detail = said(asked.of, &explained);
        detail.push_str(&format!(", the longest process took {longest:.2} s"));
        if longest > latest {
            detail.push_str(", which is too long");
        }
        if asked.converged {
            detail.push_str(&format!(", {converged} of {} converged", fits.len()));
        }
        let enough = over(asked.of, &explained) >= asked.at_least;
        Ok((
            enough && (!asked.converged || converged == fits.len()),
            detail,
        ))
    }

    /// By what each seed had at the same multiple of the peer's round.
    fn fit_at_pace(&self, asked: &FitAsked) -> Result<(bool, String), Decline> {
        let pace = self.pace()?;
        let seconds = asked.seconds * pace;
        let case = self.plan.case(&asked.case).ok_or(Decline::NoSample)?;
        let curves = self.curves(case)?;
        let at = curves.iter().map(|curve| curve.at(seconds));
        let explained: Vec<f64> = at.map(|at| at.unwrap_or(f64::NEG_INFINITY)).collect();
        let mut detail = format!("{} after {seconds:.2} s", said(asked.of, &explained));
        let mut met = over(asked.of, &explained) >= asked.at_least;
        if asked.converged {
            let mut seeds = vec![false; curves.len()];
            for &limit in &case.seconds {
                for (seed, fit) in seeds.iter_mut().zip(self.fits(&asked.case, limit)?) {
                    let in_time = fit.wall <= seconds + self.plan.grace_seconds;
                    *seed |= in_time && fit.converged == Some(true);
                }
            }
            let converged = seeds.iter().filter(|seed| **seed).count();
            detail.push_str(&format!(", {converged} of {} converged", seeds.len()));
            met &= converged == seeds.len();
        }
        Ok((met, detail))
    }

    /// The peer's round in single precision here over that where the targets were set.
    fn pace(&self) -> Result<f64, Decline> {
        let mut rounds = self.plan.rounds.iter();
        let round = rounds.find(|round| round.pulls == Pulls::Fp32);
        let round = round.ok_or(Decline::NoSample)?;
        Ok(1e3 * self.peer_round(&round.case, Pulls::Fp32)? / round.peer)
    }

    fn round_time(&self, asked: &RoundAsked, relative: bool) -> Result<(bool, String), Decline> {
        let ours = 1e3 * self.round(&asked.case, asked.pulls)?;
        if !relative {
            return Ok((
                ours <= asked.at_most,
                format!("it takes {} ms", short(ours)),
            ));
        }
        let peer = 1e3 * self.peer_round(&asked.case, asked.pulls)?;
        let share = ours / peer;
        let detail = format!("{} of {} ms", short(share), short(peer));
        Ok((share <= asked.at_most / asked.peer, detail))
    }

    fn law(&self) -> Result<(bool, String), Decline> {
        let fit = self.fitted_law()?;
        let far = |ratio: f64| ratio.max(1.0 / ratio);
        let worst = fit.sizes.iter();
        let worst = worst.max_by(|a, b| far(a.ratio).total_cmp(&far(b.ratio)));
        let worst = worst.ok_or(Decline::NoSample)?;
        if fit.sizes.len() < self.plan.sizes.len() {
            return Err(Decline::NoSample);
        }
        let detail = format!(
            "measured over fitted is {} at the worst ({})",
            short(worst.ratio),
            worst.shape
        );
        Ok((far(worst.ratio) <= self.plan.law_within, detail))
    }

    fn streamed(&self, asked: &Stream) -> Result<(bool, String), Decline> {
        let (whole, tiled) = self.stream(asked)?;
        let tiled = match tiled {
            Ok(tiled) => tiled,
            Err(reason) => return Ok((false, format!("with {}: {reason}", asked.memory))),
        };
        let resident = tiled.resident.ok_or(Decline::NoSample)? as f64;
        let same = whole.outputs.is_some() && whole.outputs == tiled.outputs;
        let ratio = tiled.wall / whole.wall;
        let detail = format!(
            "{:.2} GB, {} files, {} times as long",
            1e-9 * resident,
            if same { "the same" } else { "other" },
            short(ratio)
        );
        let met = resident <= asked.resident_at_most && same && ratio <= asked.within;
        Ok((met, detail))
    }

    /// The law among the records.
    pub(super) fn fitted_law(&self) -> Result<&Fit, Decline> {
        let outcomes = self
            .records
            .iter()
            .map(|record| (&record.run, &record.outcome));
        let mut laws = outcomes.filter_map(|(run, outcome)| match outcome {
            Outcome::Law(fit) => Some(Ok(fit)),
            Outcome::Declined(reason) if run.what == crate::rounds::record::What::Law => {
                Some(Err(reason.clone()))
            }
            Outcome::Declined(_) | Outcome::Fitted(_) => None,
        });
        laws.next().unwrap_or(Err(Decline::NoSample))
    }
}

/// The value that counts: the smallest, or the median.
fn over(of: Over, values: &[f64]) -> f64 {
    let found = match of {
        Over::EverySeed => values.iter().copied().reduce(f64::min),
        Over::Median => median(values),
    };
    found.unwrap_or(f64::NEG_INFINITY)
}

fn said(of: Over, values: &[f64]) -> String {
    let value = over(of, values);
    let value = match value.is_finite() {
        true => format!("{value:.4}"),
        false => "nothing in time".to_owned(),
    };
    match of {
        Over::EverySeed => format!("{value} at the worst seed"),
        Over::Median => format!("{value} at the median"),
    }
}
