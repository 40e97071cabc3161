//! The outer sequence of one start: inner fits for frozen gates, gate updates between them.
//!
//! ```text
//! inner fit -> gates chosen anew -> decoder projected -> lower? -> inner fit -> ... -> stand still
//! ```
//!
//! While gates still change the inner fits are short; once they stand still one runs to the end. An
//! update is accepted only if it lowers the objective, so accepted objectives decrease through the
//! whole trace. Iterations and trials are counted over all inner fits; their limits are those of one.

use crate::coordinates::{Coordinates, Gates};
use crate::curved::{BorderMode, Curved, Seconds, SolveSummary};
use crate::data::Data;
use crate::dictionary::Dictionary;
use crate::error::{CurvedError, FitError};
use crate::features;
use crate::gates;
use crate::layout::Layout;
use crate::lm::{LmReport, Rule, TraceEntry, minimise};
use crate::point::{Decoder, Model, Penalty, Point};
use crate::row::RowModel;
use broadhead_schur::{EliminationKind, SolverOptions};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// What a sequence is run with.
pub(crate) struct Settings<'a> {
    pub(crate) data: &'a Data,
    pub(crate) dictionary: &'a Dictionary,
    pub(crate) rule: Rule,
    pub(crate) mode: BorderMode,
    pub(crate) solver: &'a SolverOptions,
    /// The number of atoms a row may choose; with `None` gates stay and coordinates alone are
    /// searched anew.
    pub(crate) top_k: Option<usize>,
    pub(crate) max_rounds: usize,
}

/// One gate update.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct GateRound {
    /// Accepted steps before it.
    pub iteration: u64,
    /// Rows in which other atoms are on.
    pub changed: usize,
    /// Rows whose coordinates moved elsewhere on the same atoms.
    pub moved: usize,
    /// The objective after it.
    pub objective: f64,
    /// Whether it lowered the objective and was kept.
    pub accepted: bool,
}

/// Where a sequence ended. Numbers are in the units of the normalised data.
pub(crate) struct Sequence {
    pub(crate) gates: Gates,
    pub(crate) point: Point,
    pub(crate) penalty: Penalty,
    pub(crate) trace: Vec<TraceEntry>,
    pub(crate) rounds: Vec<GateRound>,
    pub(crate) report: LmReport,
    pub(crate) gates_stand_still: bool,
    pub(crate) log_det: Result<f64, String>,
    pub(crate) elimination: EliminationKind,
    pub(crate) solves: SolveSummary,
    pub(crate) seconds: Seconds,
    pub(crate) gate_time: Duration,
}

impl Sequence {
    /// Whether the inner loop converged and the gates stand still.
    pub(crate) fn converged(&self) -> bool {
        self.report.converged() && self.gates_stand_still
    }
}

/// Accepted steps of an inner fit while gates still change.
const SHORT: u64 = 4;

/// The penalties of fits from starts like this one, the same for all so that their objectives compare: `lambda` (or 1e-5 of the mean diagonal of `Phi' Phi`)
/// and 1e-3 of the mean diagonal of `D` over Euclidean coordinates.
///
/// # Errors
/// [`CurvedError::Decoder`].
pub(crate) fn penalty(
    data: &Data,
    dictionary: &Dictionary,
    layout: &Layout,
    coordinates: &Coordinates,
    lambda: Option<f64>,
) -> Result<Penalty, CurvedError> {
    let none = Penalty {
        lambda: 0.0,
        kappa: 0.0,
    };
    let mut point = Point::new(layout, coordinates.clone());
    let mut model = Model {
        data,
        dictionary,
        layout,
        penalty: none,
    };
    point.refresh_features(&model);
    let lambda = lambda.unwrap_or_else(|| 1e-5 * point.mean_gram_diagonal());
    model.penalty.lambda = lambda;
    if !dictionary
        .atoms()
        .iter()
        .any(|atom| atom.topology().is_euclidean())
    {
        return Ok(model.penalty);
    }
    point.refresh_features(&model);
    point.project(&model)?;
    let gram = features::decoder_gram(&point.decoder, layout.features(), layout.outputs());
    let mut blocks = vec![0.0; layout.row_dims().block_len()];
    features::row_hessian(dictionary, layout, &point.psi, &gram, 0.0, &mut blocks);
    let (mut sum, mut count) = (0.0, 0_usize);
    for i in 0..layout.rows() {
        let (first, d) = (layout.row_dims().block_offset(i), layout.row_dims().dim(i));
        for on in layout.active(i) {
            let atom = dictionary.atoms()[on.atom];
            if atom.topology().is_euclidean() {
                for u in on.unknown..on.unknown + atom.local_dim() {
                    sum += blocks[first + u * d + u];
                    count += 1;
                }
            }
        }
    }
    model.penalty.kappa = if count == 0 {
        0.0
    } else {
        1e-3 * sum / count as f64
    };
    Ok(model.penalty)
}

/// Runs the sequence from `coordinates` and `gates`.
///
/// # Errors
/// [`FitError::Loop`], [`FitError::Solver`].
pub(crate) fn run(
    settings: &Settings<'_>,
    mut coordinates: Coordinates,
    mut gates: Gates,
    penalty: Penalty,
    observer: &mut dyn FnMut(&TraceEntry),
) -> Result<Sequence, FitError> {
    let Settings {
        data, dictionary, ..
    } = *settings;
    let outputs = data.outputs();
    let mut log = Log::default();
    let mut layout = Layout::new(dictionary, &gates, outputs)?;
    coordinates.whiten(&layout);
    let mut point = evaluated(settings, &layout, penalty, coordinates)?;
    let mut settled = settings.top_k.is_none();
    loop {
        let rule = if settled {
            settings.rule
        } else {
            settings
                .rule
                .with_max_iterations(settings.rule.max_iterations.min(SHORT))
        };
        let model = Model {
            data,
            dictionary,
            layout: &layout,
            penalty,
        };
        let mut curved = Curved::new(model, settings.mode, point, settings.solver.clone())?;
        let report = minimise(&mut curved, &rule, &mut |entry| log.record(entry, observer))?;
        log.absorb(&curved, &report);
        let out_of_steps = settled && !report.converged();
        if out_of_steps || log.rounds.len() >= settings.max_rounds {
            let stand_still = settings.top_k.is_none();
            return finish(curved, gates, penalty, log, report, stand_still);
        }
        let update = next(settings, &curved.current, penalty, &gates, &mut log)?;
        match update {
            Some(update) => {
                (layout, point, gates) = (update.layout, update.point, update.gates);
                // Coordinates that moved on the same atoms are the inner fit's business.
                settled = update.gates_stand_still;
            }
            None if report.converged() => {
                return finish(curved, gates, penalty, log, report, true);
            }
            None => {
                point = curved.current;
                settled = true;
            }
        }
    }
}

struct Update {
    layout: Layout,
    point: Point,
    gates: Gates,
    gates_stand_still: bool,
}

/// The gates chosen anew, where that lowers the objective.
fn next(
    settings: &Settings<'_>,
    current: &Point,
    penalty: Penalty,
    gates: &Gates,
    log: &mut Log,
) -> Result<Option<Update>, FitError> {
    let started = Instant::now();
    let Settings {
        data, dictionary, ..
    } = *settings;
    let model = RowModel::new(dictionary, &current.decoder, data.outputs(), penalty.kappa);
    let mut coordinates = current.coordinates.clone();
    let mut chosen = gates.clone();
    let changed = gates::update(&model, data, settings.top_k, &mut coordinates, &mut chosen);
    let mut round = GateRound {
        iteration: log.iterations,
        changed: changed.gates,
        moved: changed.moved,
        objective: current.objective.value,
        accepted: false,
    };
    let mut update = None;
    if changed.gates + changed.moved > 0 {
        let layout = Layout::new(dictionary, &chosen, data.outputs())?;
        coordinates.whiten(&layout);
        let point = evaluated(settings, &layout, penalty, coordinates)?;
        round.objective = point.objective.value;
        // A gain within the noise of the decision is no change.
        let noise = settings.rule.decrease_tolerance * current.objective.scale;
        round.accepted = point.objective.value < current.objective.value - noise;
        if round.accepted {
            let gates_stand_still = changed.gates == 0;
            update = Some(Update {
                layout,
                point,
                gates: chosen,
                gates_stand_still,
            });
        }
    }
    log.gate_time += started.elapsed();
    log.rounds.push(round);
    Ok(update)
}

/// A point with its projected decoder.
fn evaluated(
    settings: &Settings<'_>,
    layout: &Layout,
    penalty: Penalty,
    coordinates: Coordinates,
) -> Result<Point, CurvedError> {
    let Settings {
        data, dictionary, ..
    } = *settings;
    let mut point = Point::new(layout, coordinates);
    point.evaluate(
        &Model {
            data,
            dictionary,
            layout,
            penalty,
        },
        Decoder::Projected,
    )?;
    Ok(point)
}

fn finish(
    mut curved: Curved<'_>,
    gates: Gates,
    penalty: Penalty,
    log: Log,
    report: LmReport,
    gates_stand_still: bool,
) -> Result<Sequence, FitError> {
    let log_det = curved.log_determinant()?.map(|log_det| log_det.value);
    let mut solves = log.solves;
    solves.factorizations += 1;
    Ok(Sequence {
        gates,
        penalty,
        trace: log.trace,
        rounds: log.rounds,
        report: LmReport {
            iterations: log.iterations,
            trials: log.trials,
            ..report
        },
        gates_stand_still,
        log_det,
        elimination: curved.elimination(),
        solves,
        seconds: log.seconds,
        gate_time: log.gate_time,
        point: curved.current,
    })
}

/// What is summed over the inner fits.
#[derive(Default)]
struct Log {
    trace: Vec<TraceEntry>,
    rounds: Vec<GateRound>,
    iterations: u64,
    trials: u64,
    solves: SolveSummary,
    seconds: Seconds,
    gate_time: Duration,
}

impl Log {
    fn record(&mut self, entry: &TraceEntry, observer: &mut dyn FnMut(&TraceEntry)) {
        let entry = TraceEntry {
            iteration: entry.iteration + self.iterations,
            trial: entry.trial + self.trials,
            ..*entry
        };
        observer(&entry);
        self.trace.push(entry);
    }

    fn absorb(&mut self, curved: &Curved<'_>, report: &LmReport) {
        self.iterations += report.iterations;
        self.trials += report.trials;
        self.solves.merge(&curved.summary);
        self.seconds.merge(&curved.seconds);
    }
}
