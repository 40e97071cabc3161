//! The page of rows held out: what is explained of them, by our fits and by the peer's autoencoders, against atoms
//! and numbers that are on.
//!
//! The two halves come from different machines. They are put into one table only where every record of a seed names
//! the same rows and the same rows held out: then explained variance has one denominator.

mod page;

use super::rounds::median;
use super::{GENERATED, put, unfair_apart};
use crate::error::Error;
use crate::holdout::plan::{Kept, Plan};
use crate::holdout::record::{self, Explained, Fitted, Outcome, Record, Trained, What};
use crate::holdout::{PEER_FILE, cells, peer_cells};
use crate::machine;
use crate::record::{Refused, sealed};
use crate::store::{RECORDS, Shelf};
use broadhead_gate::Decline;
use std::collections::BTreeMap;
use std::path::Path;

/// Turns the records of both halves of every plan into its page. Where a plan is not, there is no such suite.
///
/// # Errors
/// A record that is none or of another plan, a file that cannot be written, or [`Error::Stale`].
pub(super) fn write(root: &Path, shelves: &[Shelf], check: bool) -> Result<(), Error> {
    Kept::ALL
        .iter()
        .try_for_each(|kept| write_one(root, shelves, kept, check))
}

fn write_one(root: &Path, shelves: &[Shelf], kept: &Kept, check: bool) -> Result<(), Error> {
    let plan = root.join(kept.plan);
    if !plan.is_file() {
        return Ok(());
    }
    let text = std::fs::read_to_string(&plan).map_err(Error::file(&plan))?;
    let plan = Plan::parse(&text).map_err(|e| Error::Format {
        path: plan,
        message: e.to_string(),
    })?;
    let host = root.join(RECORDS).join(kept.file());
    let has_peer = peer_cells(&plan).next().is_some();
    let current = (shelves.iter()).filter(|shelf| shelf.commit.is_none() && has_peer);
    let files = current.map(|shelf| (shelf.device.clone(), shelf.path.join(PEER_FILE)));
    let mut halves = Halves::default();
    for (device, path) in std::iter::once((None, host)).chain(files.map(|(d, p)| (Some(d), p))) {
        if !path.is_file() {
            continue;
        }
        let (records, refused) = unfair_apart(record::read(&path))?;
        sealed::expect_plan(&path, &records, kept.name)?;
        halves.refused.extend(refused);
        match device {
            Some(device) => halves.peers.push((device, records)),
            None => {
                let machines = machine::split(&records).into_iter();
                halves
                    .ours
                    .extend(machines.map(|(m, records)| (m.to_string(), records)));
            }
        }
    }
    let page = page::markdown(&plan, &halves);
    let to = root.join(GENERATED).join(format!("{}.md", kept.suite));
    put(&to, &page, check)
}

/// The records of both halves by machine and by device, and those that are refused as unfair.
#[derive(Debug, Default)]
struct Halves {
    ours: Vec<(String, Vec<Record>)>,
    peers: Vec<(String, Vec<Record>)>,
    refused: Vec<Refused>,
}

/// One line of the table: a model of one machine, over all seeds.
#[derive(Debug)]
struct Model {
    words: String,
    decoder_rows: usize,
    top: usize,
    explained: Vec<Explained>,
}

impl Halves {
    /// All records.
    fn records(&self) -> impl Iterator<Item = &Record> {
        let halves = self.ours.iter().chain(&self.peers);
        halves.flat_map(|(_, records)| records)
    }

    /// Whether every record of a seed names the same rows, and the same held out.
    fn are_comparable(&self) -> bool {
        let mut of_seed = BTreeMap::new();
        self.records().all(|record| {
            let rows = (&record.run.data.sha256, &record.run.held_out);
            *of_seed.entry(record.run.seed).or_insert(rows) == rows
        })
    }

    /// Every model that has all seeds, by decoder rows and numbers that are on; and what there is not, with the
    /// reason.
    fn models(&self, plan: &Plan) -> (Vec<Model>, Vec<String>) {
        let (mut models, mut missing) = (Vec::new(), Vec::new());
        for (machine, records) in &self.ours {
            let of = suffix(machine, self.ours.len());
            for (name, atoms, top, amplitudes) in cells(plan) {
                let what = What::Fit {
                    name: name.to_owned(),
                    atoms: atoms.to_owned(),
                    top,
                    amplitudes,
                    seconds: plan.seconds,
                };
                let words = format!("{}{of}", what.words());
                match fitted(plan, records, &what) {
                    Err(reasons) => missing.extend(reasons.iter().map(|r| format!("{words}, {r}"))),
                    Ok(fitted) => models.push(Model {
                        words,
                        decoder_rows: fitted.first().map_or(0, |fitted| fitted.decoder_rows),
                        top,
                        explained: fitted.iter().map(|fitted| fitted.explained).collect(),
                    }),
                }
            }
        }
        for (device, records) in &self.peers {
            let of = suffix(device, self.peers.len());
            for (latents, active) in peer_cells(plan) {
                let what = What::Autoencoder { latents, active };
                let words = format!("{}{of}", what.words());
                match trained(plan, records, &what) {
                    Err(reasons) => missing.extend(reasons.iter().map(|r| format!("{words}, {r}"))),
                    Ok(trained) => {
                        let model = |codes: &str, explained: Vec<Explained>| Model {
                            words: format!("{words}, {codes}"),
                            decoder_rows: latents,
                            top: active,
                            explained,
                        };
                        let own = trained.iter().map(|trained| trained.own).collect();
                        let refitted = trained.iter().map(|trained| trained.refitted).collect();
                        models.push(model("codes of its encoder", own));
                        models.push(model("codes refitted", refitted));
                    }
                }
            }
        }
        models.sort_by(|a, b| {
            let numbers = |model: &Model| (10.0 * model.median(|e| e.active_numbers)).round();
            let by_rows = a.decoder_rows.cmp(&b.decoder_rows);
            let by_numbers = by_rows.then(numbers(a).total_cmp(&numbers(b)));
            let held_out = |model: &Model| model.median(|e| e.held_out);
            by_numbers.then(held_out(b).total_cmp(&held_out(a)))
        });
        (models, missing)
    }
}

impl Model {
    fn values(&self, of: impl Fn(&Explained) -> f64) -> Vec<f64> {
        self.explained.iter().map(of).collect()
    }

    fn median(&self, of: impl Fn(&Explained) -> f64) -> f64 {
        median(&self.values(of)).unwrap_or_default()
    }
}

/// Names a machine where there are several.
fn suffix(name: &str, of: usize) -> String {
    match of {
        1 => String::new(),
        _ => format!(" ({name})"),
    }
}

/// Our fits of a cell, one each seed.
fn fitted<'r>(
    plan: &Plan,
    records: &'r [Record],
    what: &What,
) -> Result<Vec<&'r Fitted>, Vec<String>> {
    over_seeds(plan, records, what, |outcome| match outcome {
        Outcome::Fitted(fitted) => Some(fitted),
        _ => None,
    })
}

/// The autoencoders of a cell, one each seed.
fn trained<'r>(
    plan: &Plan,
    records: &'r [Record],
    what: &What,
) -> Result<Vec<&'r Trained>, Vec<String>> {
    over_seeds(plan, records, what, |outcome| match outcome {
        Outcome::Trained(trained) => Some(trained),
        _ => None,
    })
}

/// What the records of every seed have, or why those that lack it do.
fn over_seeds<'r, T>(
    plan: &Plan,
    records: &'r [Record],
    what: &What,
    of: impl Fn(&'r Outcome) -> Option<T>,
) -> Result<Vec<T>, Vec<String>> {
    let (mut found, mut reasons) = (Vec::new(), Vec::new());
    for &seed in &plan.seeds {
        let mut own = records.iter();
        let own = own.find(|record| record.run.seed == seed && record.run.what == *what);
        match own.map(|record| &record.outcome) {
            Some(Outcome::Declined(reason)) => reasons.push(format!("seed {seed}: {reason}")),
            Some(outcome) => found.extend(of(outcome)),
            None => reasons.push(format!("seed {seed}: {}", Decline::NoSample)),
        }
    }
    match reasons.is_empty() {
        true => Ok(found),
        false => Err(reasons),
    }
}

#[cfg(test)]
mod tests;
