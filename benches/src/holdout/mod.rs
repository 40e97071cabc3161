//! The suite `holdout`: what dictionaries explain of rows that no fit saw, beside a TopK autoencoder.
//!
//! ```text
//! plans/holdout*.toml           the plan: dictionaries, active atoms, seeds, the autoencoders       [plan]
//!      | held out               the rows of a share and a seed, the same for either side            [rows]
//!      | ours                   `broadhead fit --holdout` with a limit, on a processor              [ours]
//!      | topk_torch.py          trained in PyTorch, on a device                                     [peer]
//! records/holdout.jsonl, records/DEVICE/topk.jsonl                                                [record]
//!      | report                 explained variance against active atoms and active numbers
//! docs/src/generated/holdout.md
//! ```
//! The same from `plans/tokens.toml`, without a peer, is the suite `tokens` of the book's worked example.
//!
//! Nothing here is timed. The two sides need not run on one machine: what must be equal are the rows, those held
//! out, and the sum of squares that explained variance is a share of, and records name the rows by digest.

mod ours;
pub mod peer;
pub mod plan;
pub mod record;
mod rows;

use crate::error::Error;
use crate::receipt::Receipt;
use crate::rounds::ours::Program;
use crate::rounds::rows::Rows;
use ours::Asked;
use plan::{Amplitudes, Plan};
use record::{Explained, Outcome, Record, Run, SCHEMA, What};
use rows::HeldOut;
use std::path::{Path, PathBuf};

/// The suite's name.
pub const SUITE: &str = "holdout";

/// The name of the peer's suite on a device.
pub const PEER_SUITE: &str = "topk";

/// The name of the file of the peer's records, in the folder of their device.
pub const PEER_FILE: &str = "topk.jsonl";

/// Circles on which made rows lie, and how many of them a row is a sum of.
const MADE: (usize, usize) = (4, 2);

/// The rows of a plan, and those that each seed holds out.
#[derive(Debug)]
pub(crate) struct Divided {
    rows: Rows,
    seeds: Vec<(u64, HeldOut)>,
}

impl Divided {
    /// Of the rows that the plan names; those that are made lie in `folder` then.
    ///
    /// # Errors
    /// No rows are given, or the share leaves none on one side.
    pub(crate) fn of(plan: &Plan, tokens: Option<&Path>, folder: &Path) -> Result<Self, Error> {
        let (atoms, top) = MADE;
        let rows = Rows::of((plan.data, atoms, top), tokens, folder)?;
        let seeds = plan.seeds.iter().map(|&seed| {
            let held_out = HeldOut::of(rows.rows, plan.share, seed);
            let held_out = held_out.map_err(|reason| Error::Format {
                path: rows.path.clone(),
                message: format!("rows held out: {reason}"),
            });
            Ok((seed, held_out?))
        });
        Ok(Self {
            seeds: seeds.collect::<Result<_, Error>>()?,
            rows,
        })
    }

    /// What was to be run with the rows of a seed.
    pub(crate) fn run(&self, plan: &Plan, (seed, held_out): &(u64, HeldOut), what: What) -> Run {
        Run {
            plan: plan.name.clone(),
            share: plan.share,
            seed: *seed,
            data: self.rows.data.clone(),
            held_out: held_out.sha256(),
            what,
        }
    }
}

/// What runs.
#[derive(Debug)]
pub struct Options {
    /// What is asked.
    pub plan: Plan,
    /// The command.
    pub program: Program,
    /// The rows, where the plan does not make them.
    pub tokens: Option<PathBuf>,
    /// Runs the dictionaries whose name contains this alone.
    pub filter: String,
}

/// Runs our side of a plan; `tell` hears of every record as it is there.
///
/// # Errors
/// Rows are missing or cannot be written. A process that fails is a record.
pub fn run(
    options: &Options,
    receipt: &Receipt,
    tell: &mut dyn FnMut(&Record),
) -> Result<Vec<Record>, Error> {
    let folder = tempfile::tempdir().map_err(Error::file("a temporary folder"))?;
    let Options {
        plan,
        program,
        tokens,
        filter,
    } = options;
    let divided = Divided::of(plan, tokens.as_deref(), folder.path())?;
    let mut records = Vec::new();
    for of_seed in &divided.seeds {
        for (name, atoms, top, amplitudes) in cells(plan) {
            if !name.contains(filter) {
                continue;
            }
            let (seed, held_out) = of_seed;
            let asked = Asked {
                rows: &divided.rows.path,
                held_out,
                atoms,
                top,
                amplitudes,
                share: plan.share,
                seed: *seed,
                seconds: plan.seconds,
            };
            // A folder of its own: what an earlier fit wrote is not this one's.
            let own = tempfile::tempdir_in(folder.path()).map_err(Error::file(folder.path()))?;
            let fitted = ours::run(program, asked, own.path());
            let what = What::Fit {
                name: name.to_owned(),
                atoms: atoms.to_owned(),
                top,
                amplitudes,
                seconds: plan.seconds,
            };
            let record = Record {
                schema: SCHEMA,
                run: divided.run(plan, of_seed, what),
                outcome: fitted.map_or_else(Outcome::Declined, Outcome::Fitted),
                receipt: receipt.clone(),
            };
            tell(&record);
            records.push(record);
        }
    }
    Ok(records)
}

/// Our cells of a plan: name, atoms, active atoms and amplitudes.
pub(crate) fn cells(plan: &Plan) -> impl Iterator<Item = (&str, &str, usize, Amplitudes)> {
    plan.fits.iter().flat_map(|fits| {
        let amplitudes = fits.amplitudes.iter();
        amplitudes.flat_map(move |&amplitudes| {
            let top = fits.top.iter();
            top.map(move |&top| (fits.name.as_str(), fits.atoms.as_str(), top, amplitudes))
        })
    })
}

/// The peer's cells of a plan: latents and active latents.
pub(crate) fn peer_cells(plan: &Plan) -> impl Iterator<Item = (usize, usize)> {
    let active = &plan.autoencoder.active;
    let latents = plan.autoencoder.latents.iter();
    latents.flat_map(move |&latents| active.iter().map(move |&active| (latents, active)))
}

impl What {
    /// The model in words, for tables and lists.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::Fit {
                name,
                top,
                amplitudes,
                ..
            } => {
                let amplitudes = match amplitudes {
                    Amplitudes::One => "",
                    Amplitudes::Fitted => ", fitted amplitudes",
                };
                format!("{name}{amplitudes}, top-{top}")
            }
            Self::Autoencoder { latents, active } => {
                format!("TopK autoencoder, {latents} latents, top-{active}")
            }
        }
    }
}

/// One record for a person.
pub fn line(record: &Record) -> String {
    let Run { seed, what, .. } = &record.run;
    let head = format!("{:52} seed {seed}", what.words());
    let words = |explained: &Explained| {
        format!(
            "{:.5} held out, {:.5} training, {:.2} atoms, {:.2} numbers",
            explained.held_out,
            explained.training,
            explained.active_atoms,
            explained.active_numbers
        )
    };
    match &record.outcome {
        Outcome::Declined(reason) => format!("{head} declined: {reason}"),
        Outcome::Fitted(fitted) => {
            let converged = match fitted.converged {
                true => "converged",
                false => "not converged",
            };
            let explained = words(&fitted.explained);
            format!("{head} {explained}, {:.1} s, {converged}", fitted.wall)
        }
        Outcome::Trained(trained) => format!(
            "{head} {}; refitted {}; rate {}, {} steps, {:.1} s, {} unused, last third {:.5}{}",
            words(&trained.own),
            words(&trained.refitted),
            trained.learning_rate,
            trained.steps,
            trained.seconds,
            trained.unused,
            trained.last_third_gain,
            if trained.ceiling_reached {
                ", ceiling reached"
            } else {
                ""
            },
        ),
    }
}

#[cfg(test)]
mod tests;
