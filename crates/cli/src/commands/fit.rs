//! `broadhead fit`: a dictionary fitted to rows, its coordinates, its trace and its picture.

use super::clock::{Clock, Seconds};
use super::dispatch::{self, Device};
use super::rates::{self, Pins, UsedRates};
use super::unknowns;
use crate::args::{FitArgs, OutputArgs};
use crate::digits;
use crate::error::CliError;
use crate::input::{self, Named};
use crate::labels::{self, Labels};
use crate::memory::{self, numbers};
use crate::message;
use crate::model;
use crate::output::{self, RunFolder, Staging};
use crate::picture::{self, Fitted};
use crate::plot::{Figure, Groups};
use crate::progress::Line;
use crate::words::{AtomsWord, GatesWord};
use broadhead_device::{ExecutionPath, LedgerSnapshot};
use broadhead_sae::lm::{Rule, Status};
use broadhead_sae::model::coverage::ARC;
use broadhead_sae::{
    Atom, Basis, Dictionary, Fit, FitOptions, GatePolicy, GateRound, Model, Place, Progress, Share,
    SolveOptions, SolveSummary, StartReport, Topology,
};
use broadhead_schur::EliminationKind;
use ndarray::Array2;
use ndarray_npy::WriteNpyExt;
use serde::Serialize;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The longest name in the picture's title, and the longest label in the summary for people.
const TITLE: usize = 60;
const LABEL: usize = 40;
/// Arcs that a warning names.
const ARCS: usize = 12;

/// What the command did: `summary.json`.
#[derive(Debug, Serialize)]
struct Summary {
    version: &'static str,
    rows: usize,
    columns: usize,
    features: usize,
    dictionary: Dictionary,
    explained_variance: f64,
    /// `1 - explained_variance`, with the digits that the difference loses.
    unexplained_variance: f64,
    median_row_explained_variance: f64,
    /// The row, and the column, with the largest share of `sum |x_i - mean|^2`.
    largest_row: Share,
    largest_column: Share,
    /// Null if not finite; the reason is beside it.
    objective: f64,
    objective_reason: Option<String>,
    iterations: u64,
    trials: u64,
    converged: bool,
    status: Status,
    gates_stand_still: bool,
    gate_rounds: Vec<GateRound>,
    reseeded_atoms: usize,
    unused_atoms: Vec<usize>,
    /// For each atom, the share of its circle, torus, sphere or line that its rows cover; null if there
    /// is none.
    coverage: Vec<Option<f64>>,
    log_det_hessian: Option<f64>,
    log_det_hessian_reason: Option<String>,
    execution_path: ExecutionPath,
    device: Device,
    elimination: EliminationKind,
    rates: UsedRates,
    /// What repeats the planner's choice elsewhere; absent if there were several choices.
    pins: Option<Pins>,
    pins_reason: Option<String>,
    solves: SolveSummary,
    lambda: f64,
    kappa: f64,
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

/// The options as they were understood.
#[derive(Debug, Serialize)]
struct Options {
    x: String,
    /// Topology and basis if all atoms are alike; `dictionary` lists every atom.
    topology: Option<String>,
    basis: Option<String>,
    atoms: usize,
    gates: String,
    labels: Option<PathBuf>,
    starts: usize,
    seed: u64,
    max_iterations: usize,
    lambda: Option<f64>,
    elimination: Option<EliminationKind>,
    output: PathBuf,
}

/// Fits a dictionary to the rows of `arguments.rows` and writes everything into a folder.
///
/// # Errors
/// [`CliError`], with the exit code that belongs to it. A fit that ran out of iterations is no
/// error.
pub fn fit(arguments: &FitArgs, options: OutputArgs) -> Result<(), CliError> {
    let dictionary = dictionary(arguments)?;
    refuse_own_inputs(arguments)?;
    let folder = RunFolder::take(&arguments.output, FILES)?;
    let (placement, mut device) = dispatch::open(arguments.device, &arguments.rows.path)?;
    let mut clock = Clock::start();
    let (rates, device_rates) = rates::asked_for(arguments.rates, placement.as_ref());
    let place = Place {
        device: placement,
        rates,
        device_rates,
    };
    let solves = SolveOptions {
        elimination: arguments.elimination.kind(),
        device_policy: arguments.device,
        ..SolveOptions::default()
    };
    let mut fit_options = FitOptions {
        gates: arguments.gates.policy(),
        starts: arguments.starts,
        seed: arguments.seed,
        rule: Rule::curved().with_max_iterations(arguments.max_iterations as u64),
        lambda: arguments.lambda,
        max_seconds: arguments.max_seconds,
        pulls: arguments.pulls.into(),
        solves,
        ..FitOptions::default()
    };
    fit_options.validate()?;
    let opened = input::open_matrix(&arguments.rows)?;
    if let Some(shape) = opened.shape() {
        fit_options.solves.memory_limit = room(arguments, &dictionary, &fit_options, shape)?;
    }
    let rows = opened.read()?;
    let groups = match &arguments.labels {
        None => None,
        Some(path) => {
            let labels = input::read_labels(path, &rows.name, rows.array.nrows())?;
            let groups = labels::group(labels);
            if let Some(doubt) = labels::doubt(&groups) {
                message::say(format_args!("warning: {}: {doubt}", message::path(path)));
            }
            Some(groups)
        }
    };
    fit_options.gates = gate_policy(&arguments.gates, rows.array.nrows(), dictionary.len())?;
    clock.lap("read");
    unknowns::warn(&dictionary, &fit_options.gates, rows.array.dim());

    let fitted = run(&place, &rows, &dictionary, &fit_options)?;
    clock.lap("fit");
    // Gates decide how sparse a system is, and so where it is cheapest to solve; the place may change
    // from one inner fit to the next. A device that was used at all is named, and `solves` counts its
    // share.
    if fitted.solves.device_factorizations == 0 {
        let declined = fitted.solves.device_declined.as_ref();
        device.sent(fitted.execution_path, fitted.elimination, declined);
    }
    let label_statistics = groups
        .as_ref()
        .map(|groups| labels::statistics(groups, &dictionary, fitted.coordinates.view()))
        .transpose()?;
    let picture = draw(arguments, &rows, &dictionary, &fitted, groups)?;
    clock.lap("draw");
    let model = fitted.model.clone();
    let model = model.with_gates(arguments.gates.to_string());
    let mut staging = folder.stage();
    stage(&mut staging, &arguments.output, &fitted, &model, &picture)?;
    clock.lap("write");

    let summary = Summary::new(
        arguments,
        dictionary,
        &rows,
        fitted,
        device,
        UsedRates::of(&place, arguments.device),
        label_statistics,
        &clock,
    );
    let json = message::json(&summary)?;
    let target = arguments.output.join("summary.json");
    staging.write(&target, |sink| sink.write_all(json.as_bytes()))?;
    staging.publish()?;
    if summary.largest_row.is_most() {
        warn_of_row(summary.largest_row, summary.median_row_explained_variance);
    }
    if !summary.converged {
        message::say(format_args!(
            "warning: not converged after {} iterations ({} trials)",
            summary.iterations, summary.trials
        ));
    }
    if let [first, rest @ ..] = &summary.unused_atoms[..] {
        let atoms: String = rest.iter().map(|atom| format!(", {atom}")).collect();
        message::say(format_args!(
            "warning: no row uses atom {first}{atoms}: fewer atoms would explain as much"
        ));
    }
    summary.warn_of_arcs();
    let text = if options.json {
        json
    } else {
        summary.for_people()
    };
    Ok(output::print(&text)?)
}

/// The atoms that the arguments name.
fn dictionary(arguments: &FitArgs) -> Result<Dictionary, CliError> {
    let count = match &arguments.atoms {
        AtomsWord::Alike(count) => *count,
        AtomsWord::Listed(dictionary) => {
            if arguments.topology.is_some() || arguments.basis.is_some() {
                return Err(CliError::Usage(
                    "--topology and --basis are for atoms that are alike: expected --atoms with a number, \
                     or neither of them"
                        .to_owned(),
                ));
            }
            return Ok(dictionary.clone());
        }
    };
    let topology = arguments.topology.unwrap_or(Topology::Circle);
    let basis = arguments.basis.unwrap_or(Basis::default_for(topology));
    let bytes = (count as u64).saturating_mul(256);
    memory::require(&format!("a dictionary of {count} atoms"), bytes)?;
    Dictionary::uniform(count, topology, basis).map_err(|error| CliError::Usage(error.to_string()))
}

/// The one kind of atom, if all are alike.
fn alike(dictionary: &Dictionary) -> Option<Atom> {
    let atoms = dictionary.atoms();
    let first = *atoms.first()?;
    atoms.iter().all(|atom| *atom == first).then_some(first)
}

/// Warns that one row dominates the explained variance.
pub(super) fn warn_of_row(row: Share, median: f64) {
    message::say(format_args!(
        "warning: row {} holds {} of the squares about the mean: the explained variance \
         says little of the other rows (of the median row it is {})",
        row.index,
        digits::share(row.share),
        digits::explained(1.0 - median)
    ));
}

/// The lines of a summary about shares and the median row.
pub(super) fn variation_lines(
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

/// Checks that there is memory for the fit of `n x p` numbers, with reading and drawing, and returns
/// the most bytes that the solver of one start may hold.
fn room(
    arguments: &FitArgs,
    dictionary: &Dictionary,
    options: &FitOptions,
    [n, p]: [usize; 2],
) -> Result<u64, CliError> {
    let bytes = broadhead_sae::memory::fit_bytes(n, p, dictionary, options)
        .map_err(|error| CliError::fit(&message::path(&arguments.rows.path), error.into()))?;
    let labels = match &arguments.labels {
        // The text, a string for each line, and the groups.
        Some(path) => std::fs::metadata(path).map_or(0, |file| 2 * file.len()) + numbers(&[n, 8]),
        None => 0,
    };
    // Points, and their text in the picture.
    let drawing = numbers(&[n, picture::MOST_ATOMS.min(dictionary.len()), 16]);
    let beside = [numbers(&[n, p]), labels, drawing];
    let beside = beside.into_iter().fold(0, u64::saturating_add);
    let what = format!("the fit of {}", message::path(&arguments.rows.path));
    let allowed = memory::require(&what, bytes.total().saturating_add(beside))?;
    Ok(bytes.solver_limit(allowed.saturating_sub(beside)))
}

/// Every file that a fit may write. The last is put in place after all others.
const FILES: &[&str] = &[
    model::FILE,
    "coordinates.npy",
    "gates.npy",
    "trace.jsonl",
    "coordinates.svg",
    "summary.json",
];

/// Refuses to write over rows, labels or gates that are read.
fn refuse_own_inputs(arguments: &FitArgs) -> Result<(), CliError> {
    let mut inputs = vec![arguments.rows.path.clone()];
    inputs.extend(arguments.labels.clone());
    inputs.extend(arguments.gates.file());
    let outputs = RunFolder::targets(&arguments.output, FILES);
    Ok(output::refuse_inputs(&inputs, &outputs)?)
}

/// Atoms that are on in no row.
fn unused(gates: &Array2<f64>) -> Vec<usize> {
    let columns = gates.columns().into_iter().enumerate();
    let unused = columns.filter(|(_, column)| column.iter().all(|gate| *gate == 0.0));
    unused.map(|(atom, _)| atom).collect()
}

/// The gates of the fit; reads the file if they come from one.
pub(super) fn gate_policy(
    word: &GatesWord,
    rows: usize,
    atoms: usize,
) -> Result<GatePolicy, CliError> {
    let source = match word {
        GatesWord::All => return Ok(GatePolicy::All),
        GatesWord::TopK(count) if *count > atoms => {
            return Err(CliError::Usage(format!(
                "--gates {word}: expected at most the number of atoms, {atoms}"
            )));
        }
        GatesWord::TopK(count) => return Ok(GatePolicy::TopK(*count)),
        GatesWord::File(source) => source,
    };
    Ok(GatePolicy::Given(input::read_gates(source, rows, atoms)?))
}

fn run(
    place: &Place,
    rows: &Named<Array2<f64>>,
    dictionary: &Dictionary,
    options: &FitOptions,
) -> Result<Fit, CliError> {
    let line = Line::new("starts", options.starts);
    let finished = AtomicUsize::new(0);
    let tell = |progress: &Progress| {
        match progress {
            Progress::Screened { of, .. } => {
                line.done(finished.fetch_add(1, Ordering::Relaxed) + 1, *of);
                if finished.load(Ordering::Relaxed) == *of {
                    finished.store(0, Ordering::Relaxed);
                }
            }
            Progress::Round { round, .. } => line.say(format!(
                "round: {}, objective {:.6e}",
                round.stage, round.objective
            )),
            Progress::Trial { start, entry } => line.say(format!(
                "start {start}: trial {}, iteration {}, ridge {:.0e}",
                entry.trial, entry.iteration, entry.ridge
            )),
            Progress::Finished { of, .. } => {
                line.done(finished.fetch_add(1, Ordering::Relaxed) + 1, *of);
            }
            _ => {}
        }
        ControlFlow::Continue(())
    };
    broadhead_sae::fit_on(place, rows.array.view(), dictionary, options, &tell)
        .map_err(|error| CliError::fit(&rows.name, error))
}

fn draw(
    arguments: &FitArgs,
    rows: &Named<Array2<f64>>,
    dictionary: &Dictionary,
    fit: &Fit,
    groups: Option<Groups>,
) -> Result<String, CliError> {
    let file = arguments.rows.path.file_name().unwrap_or_default();
    let title = format!(
        "{}: explained variance {}",
        message::text(&file.to_string_lossy(), TITLE),
        digits::explained(fit.variation.unexplained)
    );
    let (n, p) = rows.array.dim();
    let end = if fit.converged {
        "converged"
    } else {
        "not converged"
    };
    let note = format!(
        "{} rows × {}; {end} after {} iterations",
        Figure::thousands(n),
        Figure::thousands(p),
        fit.iterations
    );
    let fitted = Fitted {
        rows: rows.array.view(),
        dictionary,
        decoder: fit.model.decoder(),
        coordinates: fit.coordinates.view(),
        gates: fit.gates.view(),
        coverage: &fit.coverage,
    };
    Ok(picture::figure(&fitted, title, note, groups)?.to_svg())
}

/// Stages everything but the summary, beside the targets.
fn stage(
    staging: &mut Staging,
    folder: &Path,
    fit: &Fit,
    model: &Model,
    picture: &str,
) -> Result<(), CliError> {
    for (name, array) in [
        ("coordinates.npy", &fit.coordinates),
        ("gates.npy", &fit.gates),
    ] {
        staging.write(&folder.join(name), |sink| {
            array.write_npy(sink).map_err(io::Error::other)
        })?;
    }
    staging.write(&folder.join(model::FILE), |sink| model.write(sink))?;
    staging.write(&folder.join("trace.jsonl"), |sink| {
        for entry in &fit.trace {
            serde_json::to_writer(&mut *sink, entry)?;
            sink.write_all(b"\n")?;
        }
        Ok(())
    })?;
    staging.write(&folder.join("coordinates.svg"), |sink| {
        sink.write_all(picture.as_bytes())
    })?;
    Ok(())
}

impl Summary {
    #[expect(clippy::too_many_arguments, reason = "everything that is summarised")]
    fn new(
        arguments: &FitArgs,
        dictionary: Dictionary,
        rows: &Named<Array2<f64>>,
        fit: Fit,
        device: Device,
        rates: UsedRates,
        labels: Option<Labels>,
        clock: &Clock,
    ) -> Self {
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
            Ok(pins) => (Some(pins), None),
            Err(reason) => (None, Some(reason)),
        };
        Self {
            version: env!("CARGO_PKG_VERSION"),
            rows: rows.array.nrows(),
            columns: rows.array.ncols(),
            features: dictionary.features(),
            explained_variance: fit.explained_variance,
            unexplained_variance: fit.variation.unexplained,
            median_row_explained_variance: fit.variation.median_row,
            largest_row: fit.variation.largest_row,
            largest_column: fit.variation.largest_column,
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
            unused_atoms: unused(&fit.gates),
            gate_rounds: fit.gate_rounds,
            coverage: fit.coverage,
            log_det_hessian,
            log_det_hessian_reason,
            execution_path: fit.execution_path,
            device,
            elimination: fit.elimination,
            rates,
            pins,
            pins_reason,
            solves: fit.solves,
            lambda: fit.lambda,
            kappa: fit.model.kappa(),
            seconds,
            ledger: fit.ledger,
            options: Options {
                x: rows.name.clone(),
                topology: alike(&dictionary).map(|atom| atom.topology().to_string()),
                basis: alike(&dictionary).map(|atom| atom.basis().to_string()),
                atoms: dictionary.len(),
                gates: arguments.gates.to_string(),
                labels: arguments.labels.clone(),
                starts: arguments.starts,
                seed: arguments.seed,
                max_iterations: arguments.max_iterations,
                lambda: arguments.lambda,
                elimination: arguments.elimination.kind(),
                output: arguments.output.clone(),
            },
            start: fit.starts.get(fit.start).cloned(),
            starts: fit.starts,
            label_order: labels
                .as_ref()
                .and_then(|labels| labels::circular_order(labels, &dictionary)),
            labels,
            outputs: RunFolder::targets(&arguments.output, FILES),
            dictionary,
        }
    }

    /// Warns of circles whose rows cover only a short arc.
    fn warn_of_arcs(&self) {
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

    fn for_people(&self) -> String {
        let options = &self.options;
        let atoms = if options.atoms == 1 { "atom" } else { "atoms" };
        let what = match alike(&self.dictionary) {
            Some(atom) => format!("{} {atoms} ({})", atom.topology(), atom.basis()),
            None => format!("{atoms} ({})", self.dictionary),
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
        if let Some(covered) = self.covered() {
            line("rows cover", covered);
        }
        let start = self.start.as_ref().map_or(0, |start| start.start);
        line(
            "converged",
            format!(
                "{} after {} iterations ({} trials) from start {start} of {}",
                self.converged, self.iterations, self.trials, options.starts
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
