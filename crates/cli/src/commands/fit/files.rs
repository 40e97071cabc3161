//! The files of a fit but its summary.

use super::active;
use crate::error::CliError;
use crate::model;
use crate::output::Staging;
use crate::output::npy::write_rows;
use crate::output::npz::Column;
use crate::words::GatesWord;
use broadhead_sae::lm::TraceEntry;
use broadhead_sae::{Fit, GateRound, HeldOut, Model, RoundStage};
use ndarray::Array1;
use ndarray_npy::WriteNpyExt;
use serde::Serialize;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Every file that a fit may write. The last is put in place after all others.
pub(super) const FILES: &[&str] = &[
    model::FILE,
    "coordinates.npy",
    "gates.npy",
    active::FILE,
    "holdout.npy",
    "trace.jsonl",
    "coordinates.svg",
    "summary.json",
];

/// What is written.
pub(super) struct Files<'a> {
    pub(super) fit: &'a Fit,
    /// The model with the word for its gates.
    pub(super) model: &'a Model,
    pub(super) gates: &'a GatesWord,
    /// Whether dense arrays of any size were asked for.
    pub(super) dense: bool,
    pub(super) held_out: Option<&'a HeldOut>,
    pub(super) picture: &'a str,
}

impl Files<'_> {
    /// Stages everything but the summary, beside the targets in `folder`; all targets, the summary too.
    pub(super) fn stage(
        &self,
        staging: &mut Staging,
        folder: &Path,
    ) -> Result<Vec<PathBuf>, CliError> {
        let fit = self.fit;
        let chosen = matches!(self.gates, GatesWord::TopK(_));
        let places = &fit.places;
        let (rows, columns, atoms) = (places.rows(), places.columns(), places.atoms());
        let mut targets = vec![folder.join(model::FILE)];
        staging.write(&targets[0], |sink| self.model.write(sink))?;
        let mut put = |name: &str, write: &mut dyn FnMut(&mut _) -> io::Result<()>| {
            let target = folder.join(name);
            staging.write(&target, write)?;
            targets.push(target);
            Ok::<(), CliError>(())
        };
        if !chosen || self.dense || active::is_dense(rows, columns) {
            put("coordinates.npy", &mut |sink| {
                let shape = [rows, columns];
                let column = Column::matrix("coordinates", shape);
                write_rows(sink, &column, shape, |i, to| places.coordinates_of(i, to))
            })?;
            put("gates.npy", &mut |sink| {
                let shape = [rows, atoms];
                let column = Column::matrix("gates", shape);
                write_rows(sink, &column, shape, |i, to| places.gates_of(i, to))
            })?;
        }
        if chosen {
            put(active::FILE, &mut |sink| active::write(sink, places))?;
        }
        if let Some(held_out) = self.held_out {
            let rows: Array1<i64> = held_out.rows.iter().map(|&row| row as i64).collect();
            put("holdout.npy", &mut |sink| {
                rows.write_npy(sink).map_err(io::Error::other)
            })?;
        }
        put("trace.jsonl", &mut |sink| {
            for line in trace(fit) {
                serde_json::to_writer(&mut *sink, &line)?;
                sink.write_all(b"\n")?;
            }
            Ok(())
        })?;
        put("coordinates.svg", &mut |sink| {
            sink.write_all(self.picture.as_bytes())
        })?;
        targets.push(folder.join("summary.json"));
        Ok(targets)
    }
}

/// A line of the trace, the same whenever the fit is repeated: times are in the summary.
#[derive(Serialize)]
#[serde(untagged)]
enum Line<'a> {
    Round {
        stage: RoundStage,
        iteration: u64,
        changed: usize,
        moved: usize,
        reseeded: usize,
        objective: f64,
        accepted: bool,
    },
    Trial {
        stage: &'static str,
        #[serde(flatten)]
        trial: &'a TraceEntry,
    },
}

impl From<&GateRound> for Line<'_> {
    fn from(round: &GateRound) -> Self {
        Self::Round {
            stage: round.stage,
            iteration: round.iteration,
            changed: round.changed,
            moved: round.moved,
            reseeded: round.reseeded,
            objective: round.objective,
            accepted: round.accepted,
        }
    }
}

/// Rounds and trials in the order in which they were.
fn trace(fit: &Fit) -> Vec<Line<'_>> {
    let mut lines = Vec::new();
    let mut rounds = fit.gate_rounds.iter().peekable();
    for trial in &fit.trace {
        let before = trial.iteration - u64::from(trial.accepted);
        while let Some(round) = rounds.next_if(|round| round.iteration <= before) {
            lines.push(round.into());
        }
        let stage = "newton";
        lines.push(Line::Trial { stage, trial });
    }
    lines.extend(rounds.map(Line::from));
    lines
}
