//! What a fit did: `summary.json`, and its text for people.

use crate::args::FitArgs;
use crate::commands::clock::{Clock, Seconds};
use crate::commands::dispatch::Device;
use crate::commands::rates::{Pins, UsedRates};
use crate::digits;
use crate::input::{FileRows, Keep};
use crate::labels::{self, Labels};
use crate::{memory, message};
use broadhead_device::{ExecutionPath, LedgerSnapshot};
use broadhead_sae::lm::Status;
use broadhead_sae::model::coverage::ARC;
use broadhead_sae::{
    Amplitudes, Atom, Dictionary, Fit, GateRound, HeldOut, RowPlaces, Share, SolveSummary,
    StartReport, Topology,
};
use broadhead_schur::EliminationKind;
use serde::Serialize;
use std::path::PathBuf;

/// The longest label in the summary for people.
const LABEL: usize = 40;
/// Arcs that a warning names.
const ARCS: usize = 12;

/// What the command did: `summary.json`.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    version: &'static str,
    rows: usize,
    columns: usize,
    features: usize,
    dictionary: Dictionary,
    explained_variance: f64,
    /// `1 - explained_variance`, with the digits that the difference loses.
    unexplained_variance: f64,
    pub(super) median_row_explained_variance: f64,
    /// The row, and the column, with the largest share of `sum |x_i - mean|^2`.
    pub(super) largest_row: Share,
    largest_column: Share,
    /// The rows that took no part in the fit, if there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    holdout: Option<Holdout>,
    /// Null if not finite; the reason is beside it.
    objective: f64,
    objective_reason: Option<String>,
    pub(super) iterations: u64,
    pub(super) trials: u64,
    pub(super) converged: bool,
    status: Status,
    gates_stand_still: bool,
    gate_rounds: Vec<GateRound>,
    reseeded_atoms: usize,
    pub(super) unused_atoms: Vec<usize>,
    /// For each atom, the share of its circle, torus, sphere or line that its rows cover; null if there
    /// is none.
    coverage: Vec<Option<f64>>,
    log_det_hessian: Option<f64>,
    log_det_hessian_reason: Option<String>,
    execution_path: ExecutionPath,
    /// Null where rows do not choose their atoms.
    rounds_path: Option<ExecutionPath>,
    device: Device,
    elimination: EliminationKind,
    rates: UsedRates,
    /// What repeats the planner's choice elsewhere; absent if there were several choices.
    pins: Option<Pins>,
    pins_reason: Option<String>,
    solves: SolveSummary,
    lambda: f64,
    kappa: f64,
    /// Whether rows were read from their files tile by tile.
    streamed: bool,
    /// The most bytes that the program had in physical memory; null where the system does not say.
    peak_memory: Option<u64>,
    seconds: Seconds,
    ledger: LedgerSnapshot,
    options: Options,
    start: Option<StartReport>,
    starts: Vec<StartReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<Labels>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label_order: Option<Vec<String>>,
    outputs: Vec<PathBuf>,
}

/// How rows that a fit did not see were explained.
#[derive(Debug, Serialize)]
struct Holdout {
    rows: usize,
    /// Against the mean of the training rows; if absent, the reason is beside it.
    explained_variance: Option<f64>,
    explained_variance_reason: Option<String>,
}

impl From<HeldOut> for Holdout {
    fn from(held_out: HeldOut) -> Self {
        let (explained_variance, explained_variance_reason) = match held_out.explained_variance {
            Ok(explained) => (Some(explained), None),
            Err(reason) => (None, Some(reason.to_string())),
        };
        Self {
            rows: held_out.rows.len(),
            explained_variance,
            explained_variance_reason,
        }
    }
}

/// What a summary is of.
pub(super) struct Done {
    pub(super) dictionary: Dictionary,
    pub(super) fit: Fit,
    pub(super) held_out: Option<HeldOut>,
    pub(super) device: Device,
    pub(super) rates: UsedRates,
    pub(super) labels: Option<Labels>,
    pub(super) outputs: Vec<PathBuf>,
}

/// The options as they were understood.
#[derive(Debug, Serialize)]
struct Options {
    x: String,
    /// Every file of rows, in order.
    files: Vec<PathBuf>,
    /// Topology and basis if all atoms are alike; `dictionary` lists every atom.
    topology: Option<String>,
    basis: Option<String>,
    atoms: usize,
    gates: String,
    amplitudes: Amplitudes,
    holdout: f64,
    #[serde(rename = "start")]
    from: Option<PathBuf>,
    labels: Option<PathBuf>,
    starts: usize,
    seed: u64,
    max_iterations: usize,
    max_seconds: Option<f64>,
    pulls: &'static str,
    relocation: bool,
    swaps: bool,
    acceptance: &'static str,
    lambda: Option<f64>,
    elimination: Option<EliminationKind>,
    memory: Option<u64>,
    output: PathBuf,
}

/// The one kind of atom, if all are alike.
fn alike(dictionary: &Dictionary) -> Option<Atom> {
    let atoms = dictionary.atoms();
    let first = *atoms.first()?;
    atoms.iter().all(|atom| *atom == first).then_some(first)
}

/// Warns that one row dominates the explained variance.
pub(crate) fn warn_of_row(row: Share, median: f64) {
    message::say(format_args!(
        "warning: row {} holds {} of the squares about the mean: the explained variance \
         says little of the other rows (of the median row it is {})",
        row.index,
        digits::share(row.share),
        digits::explained(1.0 - median)
    ));
}

/// The lines of a summary about shares and the median row.
pub(crate) fn variation_lines(
    median: f64,
    row: Share,
    column: Share,
) -> [(&'static str, String); 3] {
    let holds = |share: Share| {
        let part = digits::share(share.share);
        format!("{}, with {part} of the squares about the mean", share.index)
    };
    [
        ("of the median row", digits::explained(1.0 - median)),
        ("largest row", holds(row)),
        ("largest column", holds(column)),
    ]
}

/// Atoms that are on in no row.
fn unused(places: &RowPlaces) -> Vec<usize> {
    let counts = places.counts().into_iter().enumerate();
    let unused = counts.filter(|(_, count)| *count == 0);
    unused.map(|(atom, _)| atom).collect()
}

impl Summary {
    pub(super) fn new(arguments: &FitArgs, rows: &FileRows, done: Done, clock: &Clock) -> Self {
        let Done {
            dictionary,
            fit,
            held_out,
            device,
            rates,
            labels,
            outputs,
        } = done;
        let mut seconds = clock.seconds();
        let inner = fit.seconds.iter();
        seconds
            .phases
            .extend(inner.map(|(name, s)| (format!("fit.{name}"), *s)));
        let (log_det_hessian, log_det_hessian_reason) = match fit.log_det_hessian {
            Ok(value) => (Some(value), None),
            Err(reason) => (None, Some(reason)),
        };
        let (pins, pins_reason) = match Pins::of(&fit.chosen) {
            Err(_) if fit.solves.products > 0 => (
                None,
                Some(
                    "no system was factored: steps went by conjugate gradients in the space of features, \
                     as they do wherever the elimination is left to the fit"
                        .to_owned(),
                ),
            ),
            Ok(pins) => (Some(pins), None),
            Err(reason) => (None, Some(reason)),
        };
        Self {
            version: env!("CARGO_PKG_VERSION"),
            rows: rows.rows.shape()[0],
            columns: rows.rows.shape()[1],
            features: dictionary.features(),
            explained_variance: fit.explained_variance,
            unexplained_variance: fit.variation.unexplained,
            median_row_explained_variance: fit.variation.median_row,
            largest_row: fit.variation.largest_row,
            largest_column: fit.variation.largest_column,
            holdout: held_out.map(Holdout::from),
            objective: fit.objective,
            objective_reason: (!fit.objective.is_finite()).then(|| {
                "half the sum of squares of these rows is beyond FP64, about 1.8e308: the fit was \
                 made in units of their size, where it is finite"
                    .to_owned()
            }),
            iterations: fit.iterations,
            trials: fit.trials,
            converged: fit.converged,
            status: fit.status,
            gates_stand_still: fit.gates_stand_still,
            reseeded_atoms: fit.gate_rounds.iter().map(|round| round.reseeded).sum(),
            unused_atoms: unused(&fit.places),
            gate_rounds: fit.gate_rounds,
            coverage: fit.coverage,
            log_det_hessian,
            log_det_hessian_reason,
            execution_path: fit.execution_path,
            rounds_path: fit.rounds_path,
            device,
            elimination: fit.elimination,
            rates,
            pins,
            pins_reason,
            solves: fit.solves,
            lambda: fit.lambda,
            kappa: fit.model.kappa(),
            streamed: rows.keep == Keep::OnDisk,
            peak_memory: memory::peak(),
            seconds,
            ledger: fit.ledger,
            options: Options {
                x: rows.name.clone(),
                files: arguments.rows.iter().map(|s| s.path.clone()).collect(),
                topology: alike(&dictionary).map(|atom| atom.topology().to_string()),
                basis: alike(&dictionary).map(|atom| atom.basis().to_string()),
                atoms: dictionary.len(),
                gates: arguments.gates.to_string(),
                amplitudes: dictionary.amplitudes(),
                holdout: arguments.holdout,
                from: arguments.start.clone(),
                labels: arguments.labels.clone(),
                starts: match arguments.start {
                    Some(_) => 1,
                    None => arguments.starts,
                },
                seed: arguments.seed,
                max_iterations: arguments.max_iterations,
                max_seconds: arguments.max_seconds,
                pulls: arguments.pulls.word(),
                relocation: !arguments.no_relocation,
                swaps: !arguments.no_swaps,
                acceptance: arguments.acceptance.word(),
                lambda: arguments.lambda,
                elimination: arguments.elimination.kind(),
                memory: arguments.memory,
                output: arguments.output.clone(),
            },
            start: fit.starts.get(fit.start).cloned(),
            starts: fit.starts,
            label_order: labels
                .as_ref()
                .and_then(|labels| labels::circular_order(labels, &dictionary)),
            labels,
            outputs,
            dictionary,
        }
    }

    /// Warns of circles whose rows cover only a short arc.
    pub(super) fn warn_of_arcs(&self) {
        let atoms = self.dictionary.atoms().iter().zip(&self.coverage);
        let circles = atoms
            .enumerate()
            .filter(|(_, (atom, _))| atom.topology() == Topology::Circle);
        let arcs: Vec<String> = circles
            .filter_map(|(index, (_, share))| match share {
                Some(share) if *share < ARC => Some(format!("{index} ({:.0} %)", 100.0 * share)),
                _ => None,
            })
            .collect();
        if arcs.is_empty() {
            return;
        }
        let more = match arcs.len().saturating_sub(ARCS) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let named = arcs[..arcs.len().min(ARCS)].join(", ");
        message::say(format_args!(
            "warning: circles whose rows cover a short arc: {named}{more}"
        ));
    }

    /// What the atoms cover, in a few words.
    fn covered(&self) -> Option<String> {
        let mut shares: Vec<f64> = self.coverage.iter().copied().flatten().collect();
        shares.sort_by(f64::total_cmp);
        match shares[..] {
            [] => None,
            [share] if self.coverage.len() == 1 => Some(format!("{share:.2} of its shape")),
            [share] => Some(format!("{share:.2} of the one shape that tells")),
            [least, most] => Some(format!("{least:.2} and {most:.2} of their shapes")),
            [least, .., most] => {
                let (low, high) = (shares[(shares.len() - 1) / 2], shares[shares.len() / 2]);
                let middle = 0.5 * (low + high);
                Some(format!(
                    "{least:.2} to {most:.2} of their shapes, {middle:.2} in the middle"
                ))
            }
        }
    }

    pub(super) fn for_people(&self) -> String {
        let options = &self.options;
        let atoms = if options.atoms == 1 { "atom" } else { "atoms" };
        let what = match alike(&self.dictionary) {
            Some(atom) => format!("{} {atoms} ({})", atom.topology(), atom.basis()),
            None => format!("{atoms} ({})", self.dictionary),
        };
        let what = match self.dictionary.amplitudes() {
            Amplitudes::Fitted => format!("{what} with fitted amplitudes"),
            _ => what,
        };
        let mut lines = vec![format!(
            "fitted {} {what} to {} rows x {}",
            options.atoms, self.rows, self.columns
        )];
        let mut line = |name: &str, value: String| lines.push(format!("  {name:<18} {value}"));
        let explained = digits::explained(self.unexplained_variance);
        line("explained variance", explained);
        let median = self.median_row_explained_variance;
        for (name, value) in variation_lines(median, self.largest_row, self.largest_column) {
            line(name, value);
        }
        if let Some(holdout) = &self.holdout {
            let explained = match (
                holdout.explained_variance,
                &holdout.explained_variance_reason,
            ) {
                (Some(explained), _) => digits::explained(1.0 - explained),
                (None, reason) => format!("absent: {}", reason.as_deref().unwrap_or_default()),
            };
            line("held out", format!("{explained} of {} rows", holdout.rows));
        }
        if let Some(covered) = self.covered() {
            line("rows cover", covered);
        }
        let start = self.start.as_ref().map_or(0, |start| start.start);
        line(
            "converged",
            format!(
                "{} after {} iterations ({} trials) from start {start} of {}",
                self.converged,
                self.iterations,
                self.trials,
                self.starts.len()
            ),
        );
        line(
            "objective",
            match &self.objective_reason {
                None => format!("{:.6e}", self.objective),
                Some(reason) => format!("absent: {reason}"),
            },
        );
        line(
            "log determinant",
            match (self.log_det_hessian, &self.log_det_hessian_reason) {
                (Some(value), _) => format!("{value}"),
                (None, reason) => format!("absent: {}", reason.as_deref().unwrap_or("")),
            },
        );
        let path = format!("{}, {} elimination", self.execution_path, self.elimination);
        line("path", self.device.beside(path));
        if let Some(path) = self.rounds_path.filter(|path| path.is_device()) {
            line("rounds", path.to_string());
        }
        line("rates", self.rates.in_words());
        if options.elimination.is_none() {
            let pins = self.pins.as_ref().map(Pins::options);
            let reason = self.pins_reason.as_deref().unwrap_or_default();
            line("repeat elsewhere", pins.unwrap_or(reason).to_owned());
        }
        line("seconds", format!("{:.3}", self.seconds.total));
        if let Some(order) = &self.label_order {
            line("order", message::list(order.iter(), labels::NAMED));
        }
        if let Some(labels) = &self.labels {
            for (label, statistics) in labels.0.iter().take(labels::NAMED) {
                let number = |v: &f64| match v.is_nan() {
                    true => "none".to_owned(),
                    false => format!("{v:+.3}"),
                };
                let numbers = |values: &[f64]| {
                    let texts: Vec<String> = values.iter().map(number).collect();
                    texts.join(" ")
                };
                let lengths: Vec<String> = statistics
                    .resultant_length
                    .iter()
                    .filter(|length| !length.is_nan())
                    .map(|length| format!("{length:.4}"))
                    .collect();
                let mut text = format!(
                    "{} rows, mean {}",
                    statistics.rows,
                    numbers(&statistics.mean_position)
                );
                // There is none for a Euclidean atom, nor for an atom that is off in all of a label's
                // rows.
                if !lengths.is_empty() {
                    text += &format!(", resultant length {}", lengths.join(" "));
                }
                line(&format!("  {}", message::text(label, LABEL)), text);
            }
            let more = labels.0.len().saturating_sub(labels::NAMED);
            if more > 0 {
                line(
                    "",
                    format!("and {more} more labels, all of them in summary.json"),
                );
            }
        }
        line("wrote", message::path(&options.output));
        lines.join("\n") + "\n"
    }
}
