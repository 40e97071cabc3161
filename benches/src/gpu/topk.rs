//! The peer of the suite of held-out rows on a device: TopK autoencoders in PyTorch, in one process.
//!
//! Nothing is timed, so a device that is throttled is no reason to decline; the receipt has its clocks before and
//! after as every device's has.

use super::cell::Place;
use super::job::Child;
use super::{Tally, run_id};
use crate::error::Error;
use crate::holdout::peer::{self, Peer};
use crate::holdout::plan::Plan;
use crate::holdout::record::{self, Outcome, Record, What};
use crate::holdout::{Divided, PEER_FILE, PEER_SUITE, line, peer_cells};
use crate::receipt::Receipt;
use broadhead_device::probe;
use broadhead_gate::Decline;
use std::path::PathBuf;

/// What runs.
#[derive(Debug)]
pub struct TopK {
    /// The repository or the pack.
    pub root: PathBuf,
    /// Where records go.
    pub out: PathBuf,
    /// What is asked.
    pub plan: Plan,
    /// The folder of the peers' scripts.
    pub peers: PathBuf,
    /// An interpreter with PyTorch; without it nothing runs.
    pub python: Option<PathBuf>,
    /// The rows, where the plan does not make them.
    pub tokens: Option<PathBuf>,
}

impl TopK {
    /// Trains every autoencoder of the plan on device 0, prints a line for each and writes their records.
    ///
    /// # Errors
    /// Rows are missing, the peer does not start, a file cannot be written. What goes wrong in training is in
    /// the records.
    #[expect(clippy::print_stdout, reason = "what a command prints is its result")]
    pub fn run(&self) -> Result<Tally, Error> {
        let mut tally = Tally::default();
        let missing = match (probe::cuda(), &self.python) {
            (Err(absence), _) => {
                let reason = Decline::from(absence).to_string();
                // Without the list of names tried.
                reason.split(" (tried").next().map(str::to_owned)
            }
            (Ok(_), None) => Some("no --python".to_owned()),
            (Ok(_), Some(_)) => None,
        };
        let (None, Some(python)) = (&missing, &self.python) else {
            let reason = missing.unwrap_or_default();
            for (latents, active) in peer_cells(&self.plan) {
                let what = What::Autoencoder { latents, active }.words();
                println!("not measured: {PEER_SUITE}: {what}: {reason}");
                tally.declined += 1;
            }
            return Ok(tally);
        };
        let peer = Peer::start(&self.peers, python)?;
        let mut receipt = Receipt::of_this_run(&self.root)?;
        peer.sign(&mut receipt)?;
        std::fs::create_dir_all(&self.out).map_err(Error::file(&self.out))?;
        let run = run_id(&self.out, true)?;
        let records = match Place::open(receipt, &run)? {
            Ok(place) => self.train(&peer, &place)?,
            Err(declined) => {
                println!("not measured: {PEER_SUITE}: {declined}");
                tally.declined += peer_cells(&self.plan).count();
                return Ok(tally);
            }
        };
        for record in &records {
            println!("{}", line(record));
            match record.outcome {
                Outcome::Declined(_) => tally.failed += 1,
                Outcome::Trained(_) | Outcome::Fitted(_) => tally.measured += 1,
            }
        }
        record::write(&self.out.join(PEER_FILE), &records)?;
        Ok(tally)
    }

    fn train(&self, peer: &Peer, place: &Place) -> Result<Vec<Record>, Error> {
        let folder = tempfile::tempdir().map_err(Error::file("a temporary folder"))?;
        let divided = Divided::of(&self.plan, self.tokens.as_deref(), folder.path())?;
        let command = peer.command(&self.plan, &divided, folder.path())?;
        // Clocks that cannot be read are absent.
        let before = place.reading().unwrap_or_default();
        let (lines, end) = Child::of(command).run(peer::limit(&self.plan))?;
        let receipt = place.receipt(before, place.reading().unwrap_or_default());
        Ok(peer.records((&self.plan, &divided), (&lines, &end), &receipt))
    }
}
