//! Records of the suite: how much one model explains of rows that it saw and of rows that it did not, a sealed
//! line each.
//!
//! ```text
//! {"schema":1,"run":{plan, share, seed, data, held_out, what},"outcome":{...},"receipt":{...},"seal":"..."}
//! ```
//! Ours are of a host and lie in `holdout.jsonl`; the peer's are of a device and lie in its `topk.jsonl`. Both name
//! their rows and those that were held out by digest, so that the report can tell whether they may be compared.

use super::plan::Amplitudes;
use crate::error::Error;
use crate::machine::OfMachine;
use crate::receipt::Receipt;
use crate::record::sealed::{self, Sealed};
use crate::record::{self, Refused};
use crate::rounds::record::Data;
use broadhead_gate::Decline;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The schema's number.
pub const SCHEMA: u32 = 1;

/// One model, and its receipt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// [`SCHEMA`].
    pub schema: u32,
    /// What was to be run.
    pub run: Run,
    /// What it came to.
    pub outcome: Outcome,
    /// How it was made.
    pub receipt: Receipt,
}

/// What was to be run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// The plan's name.
    pub plan: String,
    /// The share of the rows that is held out.
    pub share: f64,
    /// The seed, which chooses those rows too.
    pub seed: u64,
    /// The rows: `tokens` or `made`, and the SHA-256 of their file.
    pub data: Data,
    /// The SHA-256 of the indices of the rows held out, eight bytes each.
    pub held_out: String,
    /// Which side.
    pub what: What,
}

/// Which side.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// Our fit.
    Fit {
        /// The dictionary's name in the plan.
        name: String,
        /// The word of `--atoms`.
        atoms: String,
        /// Atoms that a row chooses, at most.
        top: usize,
        /// How large an atom is where it is on.
        amplitudes: Amplitudes,
        /// The limit.
        seconds: f64,
    },
    /// The peer.
    Autoencoder {
        /// Latents.
        latents: usize,
        /// Latents that a row has at most.
        active: usize,
    },
}

/// What it came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Our fit.
    Fitted(Fitted),
    /// The peer, of its best learning rate.
    Trained(Trained),
    /// It did not run, or failed.
    Declined(Decline),
}

/// What is explained, and with how much.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Explained {
    /// Explained variance of the training rows.
    pub training: f64,
    /// Explained variance of the rows held out, about the mean of the training rows.
    pub held_out: f64,
    /// Atoms, or latents, that are on in a row held out: the mean.
    pub active_atoms: f64,
    /// Numbers that say where a row held out is on them: the mean.
    pub active_numbers: f64,
}

/// A fit that ran.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fitted {
    /// Seconds of the process.
    pub wall: f64,
    /// Whether it converged.
    pub converged: bool,
    /// Rows of the decoder but the intercept.
    pub decoder_rows: usize,
    /// What it explains.
    pub explained: Explained,
}

/// An autoencoder that was trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trained {
    /// The learning rate that explains most of the training rows.
    pub learning_rate: f64,
    /// Every rate, and what it explains of the training rows in single precision.
    pub rates: Vec<(f64, f64)>,
    /// Steps.
    pub steps: u64,
    /// Seconds, in which all autoencoders of as many latents were trained side by side.
    pub seconds: f64,
    /// What the last third of the training gained of explained variance of the training rows.
    pub last_third_gain: f64,
    /// Whether the ceiling of its seconds came before it had gained little enough.
    pub ceiling_reached: bool,
    /// Latents that no training row has on.
    pub unused: usize,
    /// By the encoder's codes.
    pub own: Explained,
    /// By codes that are chosen greedily and fitted together.
    pub refitted: Explained,
}

impl OfMachine for Record {
    fn receipt(&self) -> &Receipt {
        &self.receipt
    }
}

impl Sealed for Record {
    const SCHEMA: u32 = SCHEMA;

    fn plan(&self) -> &str {
        &self.run.plan
    }

    fn check(&self) -> Result<(), Refused> {
        Self::check(self)
    }

    fn refused(what: String) -> Refused {
        Refused::HeldOut { what }
    }
}

impl Record {
    /// Whether it contradicts itself.
    ///
    /// # Errors
    /// How.
    pub fn check(&self) -> Result<(), Refused> {
        self.receipt.check()?;
        let wrong = |what: &str| {
            let what = what.to_owned();
            Err(Refused::HeldOut { what })
        };
        let digest = |text: &str| text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
        if !digest(&self.run.data.sha256) || !digest(&self.run.held_out) {
            return wrong("does not say what its rows were");
        }
        match (&self.run.what, &self.outcome) {
            (What::Fit { top, .. }, Outcome::Fitted(fitted)) => {
                if !(fitted.wall.is_finite() && fitted.wall > 0.0) {
                    return Err(Refused::Sample {
                        sample: fitted.wall,
                    });
                }
                fitted.explained.check(*top)
            }
            (What::Autoencoder { active, .. }, Outcome::Trained(trained)) => {
                if self.receipt.device.is_none() {
                    return Err(Refused::NoDevice);
                }
                if trained
                    .rates
                    .iter()
                    .any(|(_, explained)| !explained.is_finite())
                {
                    return wrong("has a learning rate that explains no number");
                }
                let best = (trained.rates.iter()).max_by(|a, b| a.1.total_cmp(&b.1));
                if best.is_none_or(|(rate, _)| *rate != trained.learning_rate) {
                    return wrong("is not of its best learning rate");
                }
                trained.own.check(*active)?;
                trained.refitted.check(*active)
            }
            (What::Autoencoder { .. }, Outcome::Declined(_)) => match self.receipt.device {
                Some(_) => Ok(()),
                None => Err(Refused::NoDevice),
            },
            (What::Fit { .. }, Outcome::Declined(_)) => Ok(()),
            (What::Fit { .. }, Outcome::Trained(_))
            | (What::Autoencoder { .. }, Outcome::Fitted(_)) => {
                wrong("has the outcome of the other side")
            }
        }
    }
}

/// What rounding may add to a mean of counts.
const ROUNDING: f64 = 1e-9;

impl Explained {
    fn check(&self, top: usize) -> Result<(), Refused> {
        let wrong = |what: String| Err(Refused::HeldOut { what });
        for explained in [self.training, self.held_out] {
            if !explained.is_finite() || explained > 1.0 {
                return wrong(format!("explains {explained}"));
            }
        }
        let (atoms, numbers) = (self.active_atoms, self.active_numbers);
        let within = (0.0..=top as f64 + ROUNDING).contains(&atoms);
        if !within || !numbers.is_finite() || numbers < atoms - ROUNDING {
            return wrong(format!(
                "has {atoms} of {top} atoms on, with {numbers} numbers"
            ));
        }
        Ok(())
    }
}

/// Reads records, refusing what is not one.
///
/// # Errors
/// The file cannot be read, or a line is refused.
pub fn read(path: &Path) -> Result<Vec<Record>, Error> {
    sealed::read_lines(path, sealed::parse)
}

/// Writes a device's records.
///
/// # Errors
/// The file cannot be written.
pub fn write(path: &Path, records: &[Record]) -> Result<(), Error> {
    record::write_lines(path, records.iter().map(sealed::line))
}

/// Writes `new` in the place of what the file at `path` has of the same machines.
///
/// # Errors
/// The file is there and holds what is no record, or cannot be written.
pub fn put(path: &Path, new: &[Record]) -> Result<(), Error> {
    let known = match path.is_file() {
        true => read(path)?,
        false => Vec::new(),
    };
    sealed::put(path, known, new)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::holdout::plan::Kept;
    use crate::receipt::DeviceReceipt;
    use sealed::expect_plan;

    fn explained(held_out: f64, atoms: f64, numbers: f64) -> Explained {
        Explained {
            training: held_out + 0.01,
            held_out,
            active_atoms: atoms,
            active_numbers: numbers,
        }
    }

    fn run(seed: u64, what: What) -> Run {
        Run {
            plan: Kept::ALL[0].name.to_owned(),
            share: 0.1,
            seed,
            data: Data {
                name: "tokens".to_owned(),
                sha256: "ab".repeat(32),
            },
            held_out: format!("{seed:064x}"),
            what,
        }
    }

    /// A fit of a dictionary called "circles" of 8 decoder rows.
    pub(crate) fn fit(seed: u64, top: usize, amplitudes: Amplitudes, held_out: f64) -> Record {
        let numbers = match amplitudes {
            Amplitudes::One => top,
            Amplitudes::Fitted => 2 * top,
        };
        let what = What::Fit {
            name: "circles".to_owned(),
            atoms: "4*circle".to_owned(),
            top,
            amplitudes,
            seconds: 1.0,
        };
        Record {
            schema: SCHEMA,
            run: run(seed, what),
            outcome: Outcome::Fitted(Fitted {
                wall: 1.1,
                converged: true,
                decoder_rows: 8,
                explained: explained(held_out, top as f64, numbers as f64),
            }),
            receipt: Receipt::sample(),
        }
    }

    /// An autoencoder of 8 latents; refitted codes explain 0.02 more.
    pub(crate) fn autoencoder(seed: u64, active: usize, held_out: f64) -> Record {
        let count = active as f64;
        let mut receipt = Receipt::sample();
        receipt.device = Some(DeviceReceipt::sample());
        receipt.libraries.insert("torch".into(), "2".into());
        Record {
            schema: SCHEMA,
            run: run(seed, What::Autoencoder { latents: 8, active }),
            outcome: Outcome::Trained(Trained {
                learning_rate: 0.002,
                rates: vec![(0.001, 0.3), (0.002, 0.4)],
                steps: 1000,
                seconds: 2.0,
                last_third_gain: 0.0005,
                ceiling_reached: false,
                unused: 1,
                own: explained(held_out, 0.9 * count, 0.9 * count),
                refitted: explained(held_out + 0.02, count, count),
            }),
            receipt,
        }
    }

    #[test]
    fn records_are_read_as_they_were_written_and_edits_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("holdout.jsonl");
        let mut declined = fit(0, 2, Amplitudes::Fitted, 0.5);
        declined.outcome = Outcome::Declined(Decline::Failed {
            error: "no such option".into(),
        });
        let records = [
            fit(0, 1, Amplitudes::One, 0.3),
            autoencoder(0, 2, 0.4),
            declined,
        ];
        write(&path, &records).unwrap();
        assert_eq!(read(&path).unwrap(), records);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replacen("0.3,", "0.35,", 1)).unwrap();
        let error = read(&path).unwrap_err();
        assert!(
            matches!(
                error,
                Error::Refused {
                    line: 1,
                    refused: Refused::Seal,
                    ..
                }
            ),
            "{error}"
        );
        assert!(expect_plan(&path, &records, "full").is_ok());
        let mut quick = records.to_vec();
        quick[1].run.plan = "quick".into();
        let error = expect_plan(&path, &quick, "full").unwrap_err();
        assert!(matches!(error, Error::Refused { line: 2, .. }), "{error}");
    }

    #[test]
    fn a_record_that_contradicts_itself_is_refused_by_what_is_wrong() {
        let refused = |record: Record| record.check().unwrap_err().to_string();
        let of_fit = |change: &dyn Fn(&mut Fitted)| {
            let mut record = fit(0, 2, Amplitudes::One, 0.4);
            if let Outcome::Fitted(fitted) = &mut record.outcome {
                change(fitted);
            }
            refused(record)
        };
        assert!(of_fit(&|f| f.explained.held_out = 1.5).contains("explains 1.5"));
        assert!(of_fit(&|f| f.explained.training = f64::NAN).contains("NaN"));
        assert!(of_fit(&|f| f.explained.active_atoms = 2.5).contains("2.5 of 2 atoms"));
        assert!(of_fit(&|f| f.explained.active_numbers = 1.0).contains("1 numbers"));
        assert!(of_fit(&|f| f.wall = 0.0).contains("0 s"));
        let of_peer = |change: &dyn Fn(&mut Record)| {
            let mut record = autoencoder(0, 2, 0.4);
            change(&mut record);
            refused(record)
        };
        assert_eq!(
            of_peer(&|r| r.receipt.device = None),
            Refused::NoDevice.to_string()
        );
        assert!(of_peer(&|r| r.run.held_out = "0".into()).contains("rows were"));
        let worse = of_peer(&|r| {
            if let Outcome::Trained(trained) = &mut r.outcome {
                trained.learning_rate = 0.001;
            }
        });
        assert!(worse.contains("best learning rate"), "{worse}");
        let other = fit(0, 2, Amplitudes::One, 0.4).outcome;
        assert!(of_peer(&|r| r.outcome = other.clone()).contains("the other side"));
    }
}
