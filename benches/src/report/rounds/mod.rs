//! The page of the suite of rounds: how far each side has come after how long, a round's time, one law of
//! sizes, and what was asked.

mod judge;
mod page;

use super::{GENERATED, put, unfair_apart};
use crate::error::Error;
use crate::machine::{self, Machine};
use crate::record::{Refused, sealed};
use crate::rounds::curve::Curve;
use crate::rounds::plan::{Case, Plan, Pulls, Stream, Variant};
use crate::rounds::record::{self, Fitted, Outcome, Record, What};
use crate::rounds::{self, SUITE};
use crate::store::RECORDS;
use broadhead_gate::Decline;
use judge::Judged;
pub(super) use page::spread;
use std::path::Path;

/// Turns the records of the suite into its page; returns a line for every requirement. Where the plan is not,
/// there is no such suite.
///
/// # Errors
/// A record that is none or of another plan, a file that cannot be written, or [`Error::Stale`].
pub(super) fn write(root: &Path, check: bool) -> Result<Vec<String>, Error> {
    let plan = root.join(Plan::FILE);
    if !plan.is_file() {
        return Ok(Vec::new());
    }
    let text = std::fs::read_to_string(&plan).map_err(Error::file(&plan))?;
    let plan = Plan::parse(&text).map_err(|e| Error::Format {
        path: plan,
        message: e.to_string(),
    })?;
    let path = root.join(RECORDS).join(rounds::FILE);
    let (records, refused) = match path.is_file() {
        true => unfair_apart(record::read(&path))?,
        false => (Vec::new(), None),
    };
    sealed::expect_plan(&path, &records, Plan::RECORDED)?;
    let (page, lines) = of_records(&plan, &records, refused.as_ref());
    let to = root.join(GENERATED).join(format!("{SUITE}.md"));
    put(&to, &page, check)?;
    Ok(lines)
}

/// The page of these records, and a line for every requirement.
fn of_records(plan: &Plan, records: &[Record], refused: Option<&Refused>) -> (String, Vec<String>) {
    let machines = machine::split(records);
    let machines: Vec<OnMachine<'_>> = machines
        .into_iter()
        .map(|(machine, records)| OnMachine {
            plan,
            machine,
            records,
        })
        .collect();
    let line = |name: &str, judged: &Judged| format!("{SUITE}{name}: {judged}");
    if machines.is_empty() {
        let reason = refused.cloned().map_or(Decline::NoSample, Decline::from);
        let judged = judge::undetermined(plan, &reason);
        let lines = judged.iter().map(|judged| line("", judged)).collect();
        return (page::without_records(refused, &judged), lines);
    }
    let mut lines = Vec::new();
    let mut all = Vec::new();
    for on in &machines {
        let judged = on.judge();
        let name = format!(" on {}", on.machine);
        lines.extend(judged.iter().map(|judged| line(&name, judged)));
        all.push((on, judged));
    }
    (page::markdown(&all), lines)
}

/// What one machine's records come to.
#[derive(Debug)]
struct OnMachine<'p> {
    plan: &'p Plan,
    machine: Machine,
    records: Vec<Record>,
}

impl OnMachine<'_> {
    /// What the run of this case and seed came to that `is` chooses.
    fn fitted(
        &self,
        case: &str,
        seed: u64,
        is: impl Fn(&What) -> bool,
    ) -> Result<&Fitted, Decline> {
        let mut own = self
            .records
            .iter()
            .map(|record| (&record.run, &record.outcome));
        let found = own.find(|(run, _)| run.case == case && run.seed == seed && is(&run.what));
        of_fit(found.ok_or(Decline::NoSample)?.1)
    }

    /// Our fits of a case with a limit, a seed each.
    fn fits(&self, case: &str, seconds: f64) -> Result<Vec<&Fitted>, Decline> {
        let seeds = self.plan.seeds.iter();
        let of = |seed: &u64| self.fitted(case, *seed, |what| *what == What::Fit { seconds });
        seeds.map(of).collect()
    }

    /// The peer's runs of a case, a seed each.
    fn peers(&self, case: &str, pulls: Pulls) -> Result<Vec<&Fitted>, Decline> {
        let is = |what: &What| matches!(what, What::Peer { precision, .. } if *precision == pulls);
        let seeds = self.plan.seeds.iter();
        seeds.map(|seed| self.fitted(case, *seed, is)).collect()
    }

    /// A variant's fits, a seed each.
    fn variant(&self, variant: &Variant) -> Result<Vec<&Fitted>, Decline> {
        let is = |what: &What| matches!(what, What::Variant { name, seconds } if *name == variant.name && *seconds == variant.seconds);
        let seeds = self.plan.round_seeds.iter();
        seeds
            .map(|seed| self.fitted(&variant.case, *seed, is))
            .collect()
    }

    /// The fit of rows in memory, and what became of the one with less.
    fn stream(&self, stream: &Stream) -> Result<(&Fitted, Result<&Fitted, Decline>), Decline> {
        let of = |with: Option<&str>| {
            let is =
                |what: &What| matches!(what, What::Stream { memory } if memory.as_deref() == with);
            let mut own = self.records.iter();
            let own = own.find(|record| stream.is_of(&record.run.shape) && is(&record.run.what));
            own.ok_or(Decline::NoSample)
        };
        let (whole, tiled) = (of(None)?, of(Some(&stream.memory))?);
        if whole.receipt != tiled.receipt {
            let error = "its records are of different runs".to_owned();
            return Err(Decline::Failed { error });
        }
        Ok((of_fit(&whole.outcome)?, of_fit(&tiled.outcome)))
    }

    /// What a user of ours has by when, a curve each seed: after each round and after each process.
    fn curves(&self, case: &Case) -> Result<Vec<Curve>, Decline> {
        let mut curves = vec![Curve::default(); self.plan.seeds.len()];
        for &seconds in &case.seconds {
            for (curve, fitted) in curves.iter_mut().zip(self.fits(&case.name, seconds)?) {
                *curve = curve.with(&fitted.curve);
            }
        }
        Ok(curves)
    }

    /// Seconds of our round: the median over seeds of each one's median.
    fn round(&self, case: &str, pulls: Pulls) -> Result<f64, Decline> {
        let of = |seed: &u64| self.fitted(case, *seed, |what| *what == What::Rounds { pulls });
        let fitted: Result<Vec<&Fitted>, Decline> = self.plan.round_seeds.iter().map(of).collect();
        median_round(&fitted?)
    }

    /// Seconds of the peer's round, likewise.
    fn peer_round(&self, case: &str, pulls: Pulls) -> Result<f64, Decline> {
        median_round(&self.peers(case, pulls)?)
    }
}

/// The fit that an outcome is.
fn of_fit(outcome: &Outcome) -> Result<&Fitted, Decline> {
    match outcome {
        Outcome::Fitted(fitted) => Ok(fitted),
        Outcome::Declined(reason) => Err(reason.clone()),
        Outcome::Law(_) => Err(Decline::NoSample),
    }
}

fn median_round(fitted: &[&Fitted]) -> Result<f64, Decline> {
    let rounds: Option<Vec<f64>> = fitted.iter().map(|fitted| fitted.round()).collect();
    rounds
        .and_then(|rounds| median(&rounds))
        .ok_or(Decline::NoSample)
}

/// The median, of an even number the mean of the middle two; absent of none.
pub(super) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let lower = sorted.len().checked_sub(1)? / 2;
    Some(0.5 * (sorted[lower] + sorted[sorted.len() / 2]))
}

#[cfg(test)]
mod tests;
