//! `broadhead fit`: a dictionary fitted to rows, its coordinates, its trace and its picture.

mod active;
mod asked;
mod files;
mod summary;

use super::clock::Clock;
use super::dispatch;
use super::rates::{self, UsedRates};
use super::unknowns;
use crate::args::{FitArgs, OutputArgs};
use crate::digits;
use crate::error::CliError;
use crate::input::{self, FileRows, Keep, OpenRows};
use crate::labels;
use crate::memory::{self, numbers};
use crate::message;
use crate::model;
use crate::output::{self, RunFolder};
use crate::picture::{self, Fitted};
use crate::plot::{Figure, Groups};
use crate::progress::Line;
use crate::words::GatesWord;
use broadhead_sae::lm::Rule;
use broadhead_sae::memory::{RowsSize, fit_bytes};
use broadhead_sae::{
    Dictionary, Fit, FitOptions, GatePolicy, HeldOut, Place, Progress, SolveOptions,
};
use files::{FILES, Files};
use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use summary::{Done, Summary};
pub(super) use summary::{variation_lines, warn_of_row};

/// The longest name in the picture's title.
const TITLE: usize = 60;

/// Why Newton's steps were made on the host where no system was factored.
const BY_GRADIENTS: &str =
    "steps go by conjugate gradients in the space of features, which have no device backend";

/// Fits a dictionary to the rows of `arguments.rows` and writes everything into a folder.
///
/// # Errors
/// [`CliError`], with the exit code that belongs to it. A fit that ran out of iterations is no
/// error.
pub fn fit(arguments: &FitArgs, options: OutputArgs) -> Result<(), CliError> {
    refuse_own_inputs(arguments)?;
    let (dictionary, start) = asked::atoms(arguments)?;
    let folder = RunFolder::take(&arguments.output, FILES)?;
    if let Some(bytes) = arguments.memory {
        memory::hold_to(bytes);
    }
    let (placement, mut device) = dispatch::open(arguments.device, first(arguments))?;
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
        starts: if start.is_some() { 1 } else { arguments.starts },
        seed: arguments.seed,
        rule: Rule::curved().with_max_iterations(arguments.max_iterations as u64),
        lambda: arguments.lambda,
        max_seconds: arguments.max_seconds,
        pulls: arguments.pulls.into(),
        relocation: !arguments.no_relocation,
        swaps: !arguments.no_swaps,
        acceptance: arguments.acceptance.into(),
        solves,
        ..FitOptions::default()
    };
    fit_options.validate()?;
    let opened = input::open_rows(&arguments.rows)?;
    let mut keep = Keep::InMemory;
    if let Some(shape) = opened.shape() {
        if let Some(start) = &start {
            asked::expect_columns(start, &message::path(first(arguments)), shape)?;
        }
        (keep, fit_options.solves.memory_limit) =
            room(arguments, &dictionary, &fit_options, shape, &opened)?;
    }
    let rows = opened.read(keep)?;
    let shape = rows.rows.shape();
    if let Some(start) = start {
        asked::expect_columns(&start, &rows.name, shape)?;
        fit_options.start = Some(start.array);
    }
    let groups = match &arguments.labels {
        None => None,
        Some(path) => {
            let labels = input::read_labels(path, &rows.name, shape[0])?;
            let groups = labels::group(labels);
            if let Some(doubt) = labels::doubt(&groups) {
                message::say(format_args!("warning: {}: {doubt}", message::path(path)));
            }
            Some(groups)
        }
    };
    fit_options.gates = gate_policy(&arguments.gates, shape[0], dictionary.len())?;
    clock.lap("read");
    unknowns::warn(
        &dictionary,
        &fit_options.gates,
        shape.into(),
        arguments.holdout,
    );

    let (fitted, held_out) = run(&place, &rows, &dictionary, &fit_options, arguments.holdout)?;
    clock.lap("fit");
    // Gates decide how sparse a system is, and so where it is cheapest to solve; the place may change
    // from one inner fit to the next. A device that was used at all is named, and `solves` counts its
    // share.
    if fitted.solves.device_factorizations == 0 {
        if fitted.solves.products > 0 {
            device.stayed(BY_GRADIENTS);
        } else {
            let declined = fitted.solves.device_declined.as_ref();
            device.sent(fitted.execution_path, fitted.elimination, declined);
        }
    }
    let label_statistics = groups
        .as_ref()
        .map(|groups| labels::statistics(groups, &dictionary, &fitted.places))
        .transpose()?;
    let picture = draw(arguments, &rows, &dictionary, &fitted, groups)?;
    clock.lap("draw");
    let model = fitted.model.clone();
    let model = model.with_gates(arguments.gates.to_string());
    let mut staging = folder.stage();
    let files = Files {
        fit: &fitted,
        model: &model,
        gates: &arguments.gates,
        dense: arguments.dense,
        held_out: held_out.as_ref(),
        picture: &picture,
    };
    let outputs = files.stage(&mut staging, &arguments.output)?;
    clock.lap("write");

    let summary = Summary::new(
        arguments,
        &rows,
        Done {
            dictionary,
            fit: fitted,
            held_out,
            device,
            rates: UsedRates::of(&place, arguments.device),
            labels: label_statistics,
            outputs,
        },
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

/// The first file of rows: there is one at least.
fn first(arguments: &FitArgs) -> &Path {
    let first = arguments.rows.first();
    first.map_or(Path::new(""), |source| &source.path)
}

/// Where the rows are to be kept so that there is memory for the fit of `n x p` numbers, with reading and drawing,
/// and the most bytes that the solver of one start may then hold.
fn room(
    arguments: &FitArgs,
    dictionary: &Dictionary,
    options: &FitOptions,
    [n, p]: [usize; 2],
    opened: &OpenRows,
) -> Result<(Keep, u64), CliError> {
    let name = message::path(first(arguments));
    let labels = match &arguments.labels {
        // The text, a string for each line, and the groups.
        Some(path) => std::fs::metadata(path).map_or(0, |file| 2 * file.len()) + numbers(&[n, 8]),
        None => 0,
    };
    let on = match options.gates {
        GatePolicy::TopK(count) => count.min(dictionary.len()),
        _ => dictionary.len(),
    };
    // Points, and their text in the picture.
    let drawn = [n.min(picture::MOST_ROWS), on.min(picture::MOST_ATOMS), 16];
    let drawing = numbers(&drawn);
    // Indices of the rows held out and of the others, and their places, which are put together.
    let widest = dictionary.atoms().iter().map(|atom| atom.stored()).max();
    let divided = match arguments.holdout == 0.0 {
        true => 0,
        false => numbers(&[n, 3 + on * (2 + widest.unwrap_or(0)), 2]),
    };
    let what = format!("the fit of {name}");
    let require = |keep: Keep| {
        let size = RowsSize {
            rows: n,
            outputs: p,
            in_memory: keep == Keep::InMemory,
            element: opened.widest(),
        };
        let bytes = fit_bytes(size, dictionary, options)
            .map_err(|error| CliError::fit(&name, error.into()))?;
        let beside = [opened.held(keep), divided, labels, drawing];
        let beside = beside.into_iter().fold(0, u64::saturating_add);
        let allowed = memory::require(&what, bytes.total().saturating_add(beside))?;
        Ok::<u64, CliError>(bytes.solver_limit(allowed.saturating_sub(beside)))
    };
    input::choose(opened, require)
}

/// Refuses to write over rows, labels or gates that are read.
fn refuse_own_inputs(arguments: &FitArgs) -> Result<(), CliError> {
    let rows = arguments.rows.iter();
    let mut inputs: Vec<_> = rows.map(|source| source.path.clone()).collect();
    inputs.extend(arguments.start.as_deref().map(model::file));
    inputs.extend(arguments.labels.clone());
    inputs.extend(arguments.gates.file());
    let outputs = RunFolder::targets(&arguments.output, FILES);
    Ok(output::refuse_inputs(&inputs, &outputs)?)
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
    rows: &FileRows,
    dictionary: &Dictionary,
    options: &FitOptions,
    share: f64,
) -> Result<(Fit, Option<HeldOut>), CliError> {
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
    broadhead_sae::fit_holding_out(place, &rows.rows, dictionary, options, share, &tell)
        .map_err(|error| CliError::of_rows(rows, error))
}

fn draw(
    arguments: &FitArgs,
    rows: &FileRows,
    dictionary: &Dictionary,
    fit: &Fit,
    groups: Option<Groups>,
) -> Result<String, CliError> {
    let file = first(arguments).file_name().unwrap_or_default();
    let more = match arguments.rows.len() {
        0 | 1 => String::new(),
        files => format!(" and {} more", files - 1),
    };
    let title = format!(
        "{}{more}: explained variance {}",
        message::text(&file.to_string_lossy(), TITLE),
        digits::explained(fit.variation.unexplained)
    );
    let [n, p] = rows.rows.shape();
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
        rows: &rows.rows,
        dictionary,
        decoder: fit.model.decoder(),
        places: &fit.places,
        coverage: &fit.coverage,
    };
    Ok(picture::figure(&fitted, title, note, groups)?.to_svg())
}
