//! The rounds of one start: inner fits with frozen gates, and updates between them.
//!
//! ```text
//! gates all on, or given   inner fit -> coordinates searched anew -> lower? -> inner fit -> ... -> stand still
//! rows choose              exploring -> relocation -> finishing -> inner fit -> rows choose once more -> lower?
//!                          -> inner fit -> ... -> stand still
//! ```
//!
//! An update is accepted only if it lowers the objective. Atoms that explain little, including those that no
//! row chooses, are moved to where the errors are (see [`explore`]) under the same condition.
//! Iterations and trials, and their limits, count over all inner fits.

pub(crate) mod before;
pub(crate) mod choose;
pub(crate) mod codes;
pub(crate) mod device;
pub(crate) mod engine;
pub(crate) mod explore;
pub(crate) mod relocate;
pub(crate) mod round;

use crate::data::Data;
use crate::encode::row::RowModel;
use crate::error::{CurvedError, FitError};
use crate::iterate::coordinates::{Coordinates, Gates};
use crate::iterate::features;
use crate::iterate::layout::Layout;
use crate::iterate::point::{Frozen, Penalty, Point};
use crate::lm::curved::{BorderMode, Curved, Seconds, SolveSummary};
use crate::lm::ended::Ended;
use crate::lm::{LastTrial, LmError, LmReport, Rule, Status, TraceEntry, minimise};
use crate::model::dictionary::Dictionary;
use crate::rounds::before::explored;
use crate::rounds::explore::{Course, Explorer, PATIENCE, SHARES, Tell, Until};
use crate::rounds::round::{Arranged, Ground};
use broadhead_device::{DeviceError, DevicePolicy, ExecutionPath, Ledger};
use broadhead_schur::{EliminationKind, Error, SolverOptions};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

/// The settings of a start.
pub(crate) struct Settings<'a> {
    pub(crate) data: &'a Data,
    pub(crate) dictionary: &'a Dictionary,
    pub(crate) rule: Rule,
    pub(crate) mode: BorderMode,
    pub(crate) solver: &'a SolverOptions,
    /// The ledger of the whole fit.
    pub(crate) ledger: &'a Ledger,
    /// The number of atoms a row may choose, and the rows; with `None` the gates are fixed and only coordinates
    /// are searched.
    pub(crate) choosing: Option<Choosing<'a>>,
    pub(crate) max_rounds: usize,
    /// When the fit began, and when to stop.
    pub(crate) begun: Instant,
    pub(crate) until: Option<Instant>,
}

/// What a round is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RoundStage {
    /// A round of a start on a sample of rows.
    Start,
    /// Rows choose anew, independent of what they had.
    Exploring,
    /// The same, after atoms were moved to where the errors are.
    Relocation,
    /// Rows keep what they have unless a new choice is better.
    Finishing,
    /// Coordinates are searched anew; the gates are given.
    Coordinates,
}

impl std::fmt::Display for RoundStage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Start => "start",
            Self::Exploring => "exploring",
            Self::Relocation => "relocation",
            Self::Finishing => "finishing",
            Self::Coordinates => "coordinates",
        })
    }
}

/// One round: an update of gates or coordinates.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct GateRound {
    /// The purpose of the round.
    pub stage: RoundStage,
    /// Accepted steps before it.
    pub iteration: u64,
    /// Rows in which other atoms are on.
    pub changed: usize,
    /// Rows whose coordinates moved elsewhere on the same atoms.
    pub moved: usize,
    /// Atoms that were moved to where the errors are.
    pub reseeded: usize,
    /// The objective after it.
    pub objective: f64,
    /// Whether it lowered the objective and was kept.
    pub accepted: bool,
    /// Wall time since the start began, in seconds.
    pub seconds: f64,
}

/// The end of a start's rounds. Numbers are in the units of the normalised data.
pub(crate) struct Settled {
    pub(crate) gates: Gates,
    pub(crate) point: Point,
    pub(crate) penalty: Penalty,
    pub(crate) trace: Vec<TraceEntry>,
    pub(crate) rounds: Vec<GateRound>,
    pub(crate) report: LmReport,
    pub(crate) gates_stand_still: bool,
    pub(crate) log_det: Result<f64, String>,
    pub(crate) elimination: EliminationKind,
    pub(crate) path: ExecutionPath,
    /// Where the rounds before Newton's method ran; `None` where rows do not choose.
    pub(crate) rounds_path: Option<ExecutionPath>,
    pub(crate) solves: SolveSummary,
    pub(crate) seconds: Seconds,
    pub(crate) gate_time: Duration,
}

impl Settled {
    /// Whether the inner loop converged and the gates stand still.
    pub(crate) fn converged(&self) -> bool {
        self.report.converged() && self.gates_stand_still
    }
}

/// The penalties of fits from starts like this one, the same for all so that their objectives compare: `lambda`
/// (or 1e-5 of the mean diagonal of `Phi' Phi`), and `kappa` as 1e-3 of the mean diagonal of `D` over flat
/// coordinates.
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
    let mut psi = layout.slopes();
    let mut model = Frozen {
        data,
        dictionary,
        layout,
        penalty: none,
    };
    point.refresh_features(&model, &mut psi);
    let lambda = lambda.unwrap_or_else(|| 1e-5 * point.mean_gram_diagonal());
    model.penalty.lambda = lambda;
    if !dictionary
        .atoms()
        .iter()
        .any(|atom| atom.topology().has_flat())
    {
        return Ok(model.penalty);
    }
    point.refresh_features(&model, &mut psi);
    point.project(&model)?;
    let gram = features::decoder_gram(&point.decoder, layout.features(), layout.outputs());
    let mut blocks = vec![0.0; layout.row_dims().block_len()];
    features::row_hessian(dictionary, layout, &psi, &gram, 0.0, &mut blocks);
    let (mut sum, mut count) = (0.0, 0_usize);
    for i in 0..layout.rows() {
        let (first, d) = (layout.row_dims().block_offset(i), layout.row_dims().dim(i));
        for on in layout.active(i) {
            for part in dictionary.atoms()[on.atom].topology().flat() {
                for u in part.local.map(|a| on.unknown + a) {
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

/// How rows choose their atoms.
#[derive(Clone, Copy)]
pub(crate) struct Choosing<'a> {
    /// The most atoms of a row.
    pub(crate) slots: usize,
    /// All rows.
    pub(crate) ground: Ground<'a>,
    /// A sample of the rows, on which atoms are relocated first where there are many rows.
    pub(crate) sample: Option<Ground<'a>>,
    /// Whether atoms are relocated.
    pub(crate) relocation: bool,
}

impl Choosing<'_> {
    /// A patience of relocation; none where atoms are not relocated.
    pub(crate) fn patience(&self, patience: usize) -> usize {
        if self.relocation { patience } else { 0 }
    }
}

/// What the rounds of a start begin from.
pub(crate) enum Begin {
    /// Coordinates, and gates that stay.
    Coordinates(Coordinates, Gates),
    /// A decoder under which rows choose, the rounds that led to it, and the generator for its relocations.
    Decoder(Arranged, Vec<GateRound>, ChaCha8Rng),
    /// A decoder of an earlier fit: rows choose once instead of exploring.
    Fitted(Arranged, ChaCha8Rng),
}

/// Runs the rounds of one start to their end.
///
/// # Errors
/// [`FitError::Loop`], [`FitError::Solver`], [`FitError::Cancelled`].
pub(crate) fn run(
    settings: &Settings<'_>,
    begin: Begin,
    penalty: Penalty,
    tell: &Tell<'_>,
    observer: &mut dyn FnMut(&TraceEntry) -> ControlFlow<()>,
) -> Result<Settled, FitError> {
    let Settings {
        data, dictionary, ..
    } = *settings;
    let (solver, device_declined) = apart(settings.solver, settings.ledger)?;
    let mut log = Log::new(device_declined);
    let mut way = Course::new(settings.begun, settings.until, tell);
    let started = Instant::now();
    let (coordinates, mut gates, mut chooser) = match (begin, settings.choosing) {
        (Begin::Decoder(decoder, rounds, mut rng), Some(choosing)) => {
            way.rounds = rounds;
            let (ground, slots) = (choosing.ground, choosing.slots);
            let mut explorer = Explorer::new(ground, penalty, slots);
            let engine = engine::on_device(&ground, slots, &solver)?;
            let (coordinates, gates) = match engine {
                Some(engine) => {
                    log.rounds_path = Some(ExecutionPath::GpuResidentFull);
                    let mut there = Explorer::on(engine, ground, penalty, slots);
                    explored(&mut there, &choosing, decoder, &mut rng, &mut way)?
                }
                None => {
                    log.rounds_path = Some(ExecutionPath::Cpu);
                    explored(&mut explorer, &choosing, decoder, &mut rng, &mut way)?
                }
            };
            // After Newton's method choices are compared in double precision.
            explorer.ground.single = false;
            let arrangement = choosing.ground.arrangement;
            if arrangement.in_closed_form(dictionary) {
                explorer.ground.swaps = explorer.ground.swaps.of_all();
            }
            (coordinates, gates, Some(explorer))
        }
        (Begin::Fitted(decoder, mut rng), Some(choosing)) => {
            let ground = Ground {
                single: false,
                // A device has no swaps of all atoms.
                swaps: choosing.ground.swaps.of_all(),
                ..choosing.ground
            };
            log.rounds_path = Some(ExecutionPath::Cpu);
            let mut explorer = Explorer::new(ground, penalty, choosing.slots);
            let mut state = explorer.state(decoder)?;
            // Rows choose once; nothing after this raises the objective.
            explorer.explore(RoundStage::Exploring, (1, 1), &mut state, &mut way)?;
            explorer.finish(Until::Slow, &mut state, &mut way)?;
            let patience = choosing.patience(PATIENCE[1]);
            explorer.relocate(patience, (SHARES[1], 1.0), &mut state, &mut rng, &mut way)?;
            explorer.finish(Until::Slow, &mut state, &mut way)?;
            explorer.rest();
            let (coordinates, gates) = state.codes.places(dictionary, ground.arrangement);
            (coordinates, gates, Some(explorer))
        }
        (Begin::Coordinates(coordinates, gates), _) => (coordinates, gates, None),
        (Begin::Decoder(..) | Begin::Fitted(..), None) => return Err(FitError::NoStart),
    };
    log.gate_time = started.elapsed();
    let (mut layout, mut point, mut psi) = laid_out(settings, penalty, &gates, coordinates)?;
    loop {
        let model = Frozen {
            data,
            dictionary,
            layout: &layout,
            penalty,
        };
        let mut curved = match chooser {
            Some(_) => Curved::chosen(model, settings.mode, (point, psi), solver.clone())?,
            None => Curved::new(model, settings.mode, (point, psi), solver.clone())?,
        };
        let rule = log.rest(&curved.rule(&settings.rule));
        let report = log.inner(&mut curved, &rule, &way, chooser.is_some(), observer)?;
        log.absorb(&curved, &report);
        way.iterations = log.iterations;
        let stopped = !report.converged();
        let ended = curved.end();
        if stopped || log.cycles >= settings.max_rounds {
            return finish(settings, ended, gates, log, way, report, chooser.is_none());
        }
        log.cycles += 1;
        let started = Instant::now();
        let found = match &mut chooser {
            Some(explorer) => again(explorer, &ended.point, &gates, &mut way)?,
            None => next(settings, &ended.point, penalty, &gates, &mut way)?,
        };
        log.gate_time += started.elapsed();
        match found {
            Found::Moved(update) => (layout, point, psi) = *update,
            Found::Chosen(coordinates, chosen) => {
                // The point and its layout are given back before the next are made.
                drop(ended);
                drop(layout);
                gates = chosen;
                let started = Instant::now();
                (layout, point, psi) = laid_out(settings, penalty, &gates, coordinates)?;
                log.gate_time += started.elapsed();
            }
            Found::Nothing => return finish(settings, ended, gates, log, way, report, true),
            Found::Unknown => {
                let status = match way.is_over() {
                    true => Status::TimeLimit,
                    false => report.status,
                };
                let report = LmReport { status, ..report };
                return finish(settings, ended, gates, log, way, report, false);
            }
        }
    }
}

/// Finishing rounds from where Newton's method ended; better than it where they lower the objective by
/// more than [`WORTH`] of its scale.
fn again(
    explorer: &mut Explorer<'_>,
    current: &Point,
    gates: &Gates,
    way: &mut Course<'_>,
) -> Result<Found, FitError> {
    let mut state = match explorer.around(&current.coordinates, gates) {
        Err(error) if error.is_of_the_decoder() => return Ok(Found::Unknown),
        around => around?,
    };
    let (before, least) = (state.objective, WORTH * current.objective.scale);
    let Ground {
        dictionary,
        arrangement,
        ..
    } = explorer.ground;
    let until = match arrangement.in_closed_form(dictionary) {
        // The gates settle first: otherwise every few rows that change cost a step of Newton's method.
        true => Until::Fall(least),
        // A round over grids costs more than that step.
        false => Until::Slow,
    };
    let finished = explorer.finish(until, &mut state, way)?;
    explorer.rest();
    if !finished {
        return Ok(Found::Unknown);
    }
    if before - state.objective <= least {
        return Ok(Found::Nothing);
    }
    let (coordinates, gates) = state.codes.places(dictionary, arrangement);
    Ok(Found::Chosen(coordinates, gates))
}

/// Choices that lower the objective by no more than this share of its scale do not count: the fit has converged.
const WORTH: f64 = 1e-6;

/// What was found where an inner fit ended.
enum Found {
    /// A lower point with the gates of before.
    Moved(Box<(Layout, Point, Vec<f64>)>),
    /// Choices with a lower objective.
    Chosen(Coordinates, Gates),
    Nothing,
    /// Rows were not asked: the time was up, or their choices determine no decoder.
    Unknown,
}

/// Coordinates searched anew on the same atoms, where that lowers the objective.
fn next(
    settings: &Settings<'_>,
    current: &Point,
    penalty: Penalty,
    gates: &Gates,
    way: &mut Course<'_>,
) -> Result<Found, FitError> {
    let (coordinates, moved) = search(settings, current, penalty, gates);
    // A gain within the noise of the decision does not count.
    let noise = settings.rule.decrease_tolerance * current.objective.scale;
    let mut found = Found::Nothing;
    let mut objective = current.objective.value;
    if moved > 0 {
        let update = laid_out(settings, penalty, gates, coordinates)?;
        objective = update.1.objective.value;
        if objective < current.objective.value - noise {
            found = Found::Moved(Box::new(update));
        }
    }
    way.searched(moved, objective, matches!(found, Found::Moved(_)))?;
    Ok(found)
}

/// Every row's best coordinates under the decoder of `point`, and the number of rows that moved.
fn search(
    settings: &Settings<'_>,
    point: &Point,
    penalty: Penalty,
    gates: &Gates,
) -> (Coordinates, usize) {
    let Settings {
        data, dictionary, ..
    } = *settings;
    let model = RowModel::new(dictionary, &point.decoder, data.outputs(), penalty.kappa);
    let mut coordinates = point.coordinates.clone();
    let moved = choose::update(&model, data, &mut coordinates, gates);
    (coordinates, moved)
}

/// A layout for `gates` and a point on it with its projected decoder, and the slopes there.
fn laid_out(
    settings: &Settings<'_>,
    penalty: Penalty,
    gates: &Gates,
    mut coordinates: Coordinates,
) -> Result<(Layout, Point, Vec<f64>), FitError> {
    let Settings {
        data, dictionary, ..
    } = *settings;
    let layout = Layout::new(dictionary, gates, data.outputs())?;
    coordinates.whiten(&layout);
    let model = Frozen {
        data,
        dictionary,
        layout: &layout,
        penalty,
    };
    let (point, psi) = Point::projected(&model, coordinates)?;
    Ok((layout, point, psi))
}

/// The solver's options with its own stream if a device is given, since starts run in parallel. If no stream
/// is available and the device is not required, the options without it, and the device's error.
///
/// # Errors
/// The device's error.
pub(crate) fn apart(
    solver: &SolverOptions,
    ledger: &Ledger,
) -> Result<(SolverOptions, Option<DeviceError>), FitError> {
    let mut options = solver.clone();
    let policy = options.device_policy;
    let place = match &options.device {
        Some(place) if policy != DevicePolicy::Off => place.apart(ledger),
        _ => return Ok((options, None)),
    };
    match place {
        Ok(place) => {
            options.device = Some(place);
            Ok((options, None))
        }
        Err(Error::Device(declined))
            if policy == DevicePolicy::Auto && declined.is_out_of_memory() =>
        {
            tracing::warn!(%declined, "no stream on the device: the work runs on the CPU");
            options.device = None;
            Ok((options, Some(declined)))
        }
        Err(error) => Err(error.into()),
    }
}

fn finish(
    settings: &Settings<'_>,
    mut ended: Ended<'_>,
    gates: Gates,
    mut log: Log,
    way: Course<'_>,
    report: LmReport,
    gates_stand_still: bool,
) -> Result<Settled, FitError> {
    let mut own = SolveSummary::default();
    let log_det = match report.status {
        Status::TimeLimit => Err("the time was up before it was found".to_owned()),
        _ => ended
            .log_determinant(&mut own)?
            .map(|log_det| log_det.value),
    };
    log.solves.merge(&own);
    let solves = log.solves;
    // A device stream counts its own factorizations.
    let on_host = solves.factorizations - solves.device_factorizations;
    settings.ledger.factored(on_host);
    Ok(Settled {
        gates,
        penalty: ended.penalty(),
        trace: log.trace,
        rounds: way.rounds,
        report: LmReport {
            iterations: log.iterations,
            trials: log.trials,
            ..report
        },
        gates_stand_still,
        log_det,
        elimination: ended.elimination(),
        path: ended.path(),
        rounds_path: log.rounds_path,
        solves,
        seconds: log.seconds,
        gate_time: log.gate_time,
        point: ended.point,
    })
}

/// What is summed over the inner fits.
#[derive(Default)]
struct Log {
    trace: Vec<TraceEntry>,
    iterations: u64,
    trials: u64,
    solves: SolveSummary,
    seconds: Seconds,
    gate_time: Duration,
    rounds_path: Option<ExecutionPath>,
    /// How many updates have been tried after an inner fit.
    cycles: usize,
}

impl Log {
    fn new(device_declined: Option<DeviceError>) -> Self {
        Self {
            solves: SolveSummary {
                device_declined,
                ..SolveSummary::default()
            },
            ..Self::default()
        }
    }

    /// What is left of the limits for the next inner fit.
    fn rest(&self, rule: &Rule) -> Rule {
        Rule {
            max_iterations: rule.max_iterations.saturating_sub(self.iterations),
            max_trials: rule.max_trials.saturating_sub(self.trials),
            ..*rule
        }
    }

    /// One inner fit, which stops where it is when the time is up. After rounds (`settled`) it begins near a
    /// minimum, where a step may change the objective by rounding only. If no step of any length lowers it, it ends
    /// there, converged only where the gradient is rounding.
    fn inner(
        &mut self,
        curved: &mut Curved<'_>,
        rule: &Rule,
        way: &Course<'_>,
        settled: bool,
        observer: &mut dyn FnMut(&TraceEntry) -> ControlFlow<()>,
    ) -> Result<LmReport, FitError> {
        if way.is_over() {
            return Ok(curved.where_it_is(rule, [0; 2]));
        }
        let ended = minimise(curved, rule, &mut |entry| {
            self.record(entry, observer)?;
            match way.is_over() {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        });
        match ended {
            Err(LmError::Cancelled { iteration, trial }) if way.is_over() => {
                Ok(curved.where_it_is(rule, [iteration, trial]))
            }
            Err(LmError::RidgeCeiling {
                iteration,
                trial,
                ridge,
                last: LastTrial::Rejected,
                ..
            }) if settled => Ok(LmReport {
                status: match curved.is_at_rounding() {
                    true => Status::ConvergedStall,
                    false => Status::RidgeCeiling,
                },
                ridge,
                ..curved.where_it_is(rule, [iteration, trial])
            }),
            ended => Ok(ended?),
        }
    }

    fn record(
        &mut self,
        entry: &TraceEntry,
        observer: &mut dyn FnMut(&TraceEntry) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let entry = TraceEntry {
            iteration: entry.iteration + self.iterations,
            trial: entry.trial + self.trials,
            ..*entry
        };
        self.trace.push(entry);
        observer(&entry)
    }

    fn absorb(&mut self, curved: &Curved<'_>, report: &LmReport) {
        self.iterations += report.iterations;
        self.trials += report.trials;
        self.solves.merge(&curved.summary);
        self.seconds.merge(&curved.seconds);
    }
}

#[cfg(test)]
mod tests;
