//! The peer's side: `topk_torch.py` as a process that trains every autoencoder of a plan.
//!
//! It is handed the files of rows and of the indices that each seed holds out, and answers a line for every
//! number of latents, of active ones and seed. What it does not answer is declined with how it ended.

use super::plan::Plan;
use super::record::{Explained, Outcome, Record, SCHEMA, Trained, What};
use super::{Divided, peer_cells};
use crate::error::Error;
use crate::peer::{Libraries, Script};
use crate::receipt::Receipt;
use broadhead_gate::Decline;
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// The peer's name.
pub const NAME: &str = "topk_torch";

/// Seconds beyond the ceilings that the peer may take: to start, and to score what it trained.
const BESIDE: f64 = 150.0;

/// The peer, and the libraries that it starts with.
#[derive(Clone, Debug)]
pub struct Peer {
    script: Script,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    latents: usize,
    active: usize,
    seed: u64,
    learning_rate: f64,
    steps: u64,
    seconds: f64,
    last_third_gain: f64,
    ceiling_reached: bool,
    unused: usize,
    rates: Vec<(f64, f64)>,
    own: Score,
    refitted: Score,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Score {
    training: f64,
    held_out: f64,
    active: f64,
}

impl From<Score> for Explained {
    /// A latent that is on is one number.
    fn from(score: Score) -> Self {
        let Score {
            training,
            held_out,
            active,
        } = score;
        Self {
            training,
            held_out,
            active_atoms: active,
            active_numbers: active,
        }
    }
}

impl Peer {
    /// Asks the interpreter `python` for the libraries of the script in `folder`.
    ///
    /// # Errors
    /// It does not start, or does not answer.
    pub fn start(folder: &Path, python: &Path) -> Result<Self, Error> {
        let script = Script::start(folder.join(format!("{NAME}.py")), python)?;
        Ok(Self { script })
    }

    /// Adds its libraries to a receipt, which is then still one.
    ///
    /// # Errors
    /// [`Error::Peer`] where its kernels are older than the processor's.
    pub fn sign(&self, receipt: &mut Receipt) -> Result<(), Error> {
        self.script.sign(NAME, receipt)
    }

    /// The process that trains; the files of indices go into `folder`.
    ///
    /// # Errors
    /// They cannot be written.
    pub(crate) fn command(
        &self,
        plan: &Plan,
        divided: &Divided,
        folder: &Path,
    ) -> Result<Command, Error> {
        let mut held_out = BTreeMap::new();
        for (seed, rows) in &divided.seeds {
            let path = folder.join(format!("holdout-{seed}.npy"));
            rows.write(&path)?;
            held_out.insert(seed.to_string(), path);
        }
        let asked = &plan.autoencoder;
        let request = json!({
            "rows": divided.rows.path,
            "held_out": held_out,
            "latents": asked.latents,
            "active": asked.active,
            "learning_rates": asked.learning_rates,
            "batch": asked.batch,
            "gain": asked.gain,
            "ceiling_seconds": asked.ceiling_seconds,
            "device": "cuda",
        });
        let mut command = self.script.command();
        command.arg(request.to_string());
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        Ok(command)
    }

    /// The records of a plan, from the lines of that process and the words for how it ended.
    pub(crate) fn records(
        &self,
        (plan, divided): (&Plan, &Divided),
        (lines, end): (&[String], &str),
        receipt: &Receipt,
    ) -> Vec<Record> {
        let answers = self.answers(lines);
        let mut records = Vec::new();
        for (latents, active) in peer_cells(plan) {
            for of_seed in &divided.seeds {
                let mut there = answers.iter().flatten();
                let own = there.find(|answer| {
                    (answer.latents, answer.active, answer.seed) == (latents, active, of_seed.0)
                });
                let outcome = match (&answers, own) {
                    (Ok(_), Some(answer)) => Outcome::Trained(answer.into()),
                    (Ok(_), None) => Outcome::Declined(Decline::Failed {
                        error: end.to_owned(),
                    }),
                    (Err(reason), _) => Outcome::Declined(reason.clone()),
                };
                let mut record = Record {
                    schema: SCHEMA,
                    run: divided.run(plan, of_seed, What::Autoencoder { latents, active }),
                    outcome,
                    receipt: receipt.clone(),
                };
                // What would be refused when it is read is no measurement.
                if let Err(refused) = record.check() {
                    record.outcome = Outcome::Declined(refused.into());
                }
                records.push(record);
            }
        }
        records
    }

    /// The answers among the lines; what is neither that nor the libraries is said.
    fn answers(&self, lines: &[String]) -> Result<Vec<Answer>, Decline> {
        let mut answers = Vec::new();
        for line in lines {
            if let Ok(Libraries { libraries }) = serde_json::from_str(line) {
                if libraries != *self.script.libraries() {
                    let error = "the peer ran with other libraries than at first".to_owned();
                    return Err(Decline::Failed { error });
                }
                continue;
            }
            match serde_json::from_str(line) {
                Ok(answer) => answers.push(answer),
                Err(error) => eprintln!("{NAME}: {error}: {line}"),
            }
        }
        Ok(answers)
    }
}

impl From<&Answer> for Trained {
    fn from(answer: &Answer) -> Self {
        Self {
            learning_rate: answer.learning_rate,
            rates: answer.rates.clone(),
            steps: answer.steps,
            seconds: answer.seconds,
            last_third_gain: answer.last_third_gain,
            ceiling_reached: answer.ceiling_reached,
            unused: answer.unused,
            own: answer.own.into(),
            refitted: answer.refitted.into(),
        }
    }
}

/// The longest that a plan's training may take.
pub(crate) fn limit(plan: &Plan) -> Duration {
    let asked = &plan.autoencoder;
    let ceilings = asked.ceiling_seconds * asked.latents.len() as f64;
    Duration::from_secs_f64(ceilings + BESIDE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::receipt::DeviceReceipt;

    const ANSWER: &str = r#"{"latents":8,"active":1,"seed":0,"learning_rate":0.003,"steps":400,"seconds":1.5,
        "last_third_gain":0.0002,"ceiling_reached":false,"unused":2,"rates":[[0.001,0.2],[0.003,0.3]],
        "own":{"training":0.3,"held_out":0.25,"active":0.9},
        "refitted":{"training":0.35,"held_out":0.3,"active":1.0}}"#;

    fn peer() -> Peer {
        let libraries = BTreeMap::from([("torch".to_owned(), "2".to_owned())]);
        Peer {
            script: Script::of("topk_torch.py".into(), libraries),
        }
    }

    fn records(lines: &[&str]) -> Vec<Record> {
        let plan = Plan::of(true).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let divided = Divided::of(&plan, None, folder.path()).unwrap();
        let mut receipt = Receipt::sample();
        receipt.device = Some(DeviceReceipt::sample());
        let lines: Vec<String> = lines.iter().map(|line| line.replace('\n', " ")).collect();
        let records = peer().records((&plan, &divided), (&lines, "it ended"), &receipt);
        assert!(records.iter().all(|record| record.check().is_ok()));
        records
    }

    #[test]
    fn what_is_answered_is_a_record_and_what_is_not_says_how_the_process_ended() {
        let found = records(&[r#"{"libraries":{"torch":"2"}}"#, "a warning", ANSWER]);
        // One number of latents, two of active ones, two seeds.
        assert_eq!(found.len(), 4);
        let Outcome::Trained(trained) = &found[0].outcome else {
            panic!("{:?}", found[0].outcome);
        };
        assert_eq!((trained.steps, trained.unused), (400, 2));
        assert_eq!(
            (trained.own.held_out, trained.refitted.held_out),
            (0.25, 0.3)
        );
        assert_eq!(trained.own.active_numbers, 0.9);
        let seeds: Vec<u64> = found.iter().map(|record| record.run.seed).collect();
        assert_eq!(seeds, [0, 1, 0, 1]);
        assert_ne!(found[0].run.held_out, found[1].run.held_out);
        for record in &found[1..] {
            let Outcome::Declined(reason) = &record.outcome else {
                panic!("{:?}", record.outcome);
            };
            assert!(reason.to_string().contains("it ended"), "{reason}");
        }
    }

    #[test]
    fn other_libraries_and_answers_that_contradict_themselves_are_declined() {
        let declined = |lines: &[&str]| match &records(lines)[0].outcome {
            Outcome::Declined(reason) => reason.to_string(),
            other => panic!("{other:?}"),
        };
        let said = declined(&[r#"{"libraries":{"torch":"3"}}"#, ANSWER]);
        assert!(said.contains("other libraries"), "{said}");
        let said = declined(&[&ANSWER.replace("0.003,\"steps\"", "0.001,\"steps\"")]);
        assert!(said.contains("best learning rate"), "{said}");
        let said = declined(&[&ANSWER.replace("\"held_out\":0.25", "\"held_out\":NaN")]);
        assert!(said.contains("it ended"), "{said}");
    }

    #[test]
    fn the_process_is_handed_the_plan_and_files_of_the_rows_held_out() {
        let plan = Plan::of(true).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let divided = Divided::of(&plan, None, folder.path()).unwrap();
        let command = peer().command(&plan, &divided, folder.path()).unwrap();
        let words: Vec<_> = command.get_args().collect();
        let request: serde_json::Value = serde_json::from_str(words[1].to_str().unwrap()).unwrap();
        assert_eq!(request["active"], json!([1, 2]));
        assert_eq!(request["learning_rates"], json!([1e-3, 3e-3]));
        for (seed, held_out) in &divided.seeds {
            let path = request["held_out"][seed.to_string()].as_str().unwrap();
            let there = super::super::rows::HeldOut::read(Path::new(path)).unwrap();
            assert_eq!(there, *held_out);
        }
    }
}
