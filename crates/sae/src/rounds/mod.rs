//! The rounds of one start: inner fits for frozen gates, gate updates between them.
//!
//! ```text
//! inner fit -> gates chosen anew -> decoder projected -> lower? -> inner fit -> ... -> stand still
//! ```
//!
//! While gates still change the inner fits are short; once they stand still one runs to the end. An
//! update is accepted only if it lowers the objective, so accepted objectives decrease through the
//! whole trace. Atoms that no row chooses are given rows anew (see [`crate::rounds::reseed`]) under the same
//! condition. Iterations and trials are counted over all inner fits, and so are their limits.

pub(crate) mod choose;
pub(crate) mod codes;
pub(crate) mod explore;
pub(crate) mod relocate;
pub(crate) mod round;

use crate::data::Data;
use crate::encode::row::RowModel;
use crate::error::{CurvedError, FitError};
use crate::iterate::coordinates::{Coordinates, Gates};
use crate::iterate::features;
use crate::iterate::layout::Layout;
use crate::iterate::point::{Decoder, Frozen, Penalty, Point};
use crate::lm::curved::{BorderMode, Curved, Seconds, SolveSummary};
use crate::lm::{LmError, LmReport, Rule, Status, TraceEntry, minimise};
use crate::model::dictionary::Dictionary;
use crate::rounds::explore::{Explorer, Patience, Tell, Way};
use crate::rounds::round::{Arranged, Ground};
use broadhead_device::{DeviceError, DevicePolicy, ExecutionPath, Ledger};
use broadhead_schur::{EliminationKind, Error, SolverOptions};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

/// What a start is run with.
pub(crate) struct Settings<'a> {
    pub(crate) data: &'a Data,
    pub(crate) dictionary: &'a Dictionary,
    pub(crate) rule: Rule,
    pub(crate) mode: BorderMode,
    pub(crate) solver: &'a SolverOptions,
    /// The account of the whole fit.
    pub(crate) ledger: &'a Ledger,
    /// The number of atoms a row may choose, and where it does; with `None` gates stay and coordinates
    /// alone are searched anew.
    pub(crate) choosing: Option<(usize, Ground<'a>)>,
    pub(crate) max_rounds: usize,
    /// When to stop.
    pub(crate) until: Option<Instant>,
}

/// What a round is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RoundStage {
    /// One of a start on a sample of rows.
    Start,
    /// Rows choose anew, whatever they had.
    Exploring,
    /// The same after atoms were moved to where the errors are.
    Relocation,
    /// Rows keep what they had unless anew is better.
    Finishing,
    /// Coordinates are searched anew where gates are given.
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

/// One gate update.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct GateRound {
    /// What it is for.
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

/// Where a start's rounds ended. Numbers are in the units of the normalised data.
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

/// The penalties of fits from starts like this one, the same for all so that their objectives compare: `lambda` (or 1e-5 of the mean diagonal of `Phi' Phi`)
/// and 1e-3 of the mean diagonal of `D` over flat coordinates.
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
    let mut model = Frozen {
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
        .any(|atom| atom.topology().has_flat())
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

/// What the rounds of a start begin from.
pub(crate) enum Begin {
    /// Coordinates, and gates that stay.
    Coordinates(Coordinates, Gates),
    /// A decoder under which rows choose, the rounds that led to it, and what seeds its relocations.
    Decoder(Arranged, Vec<GateRound>, ChaCha8Rng),
    /// A decoder that was fitted before: there is no exploring.
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
    let (solver, device_declined) = apart(settings)?;
    let mut log = Log::new(device_declined);
    let mut way = Way::new(settings.until, tell);
    let started = Instant::now();
    let (coordinates, mut gates, mut chooser) = match (begin, settings.choosing) {
        (Begin::Decoder(decoder, rounds, mut rng), Some((slots, ground))) => {
            let mut explorer = Explorer::new(ground, penalty, slots);
            way.rounds = rounds;
            let mut state = explorer.state(decoder);
            let Patience {
                exploring, vain, ..
            } = explorer.patience;
            let stage = RoundStage::Exploring;
            explorer.explore(stage, (exploring, vain), &mut state, &mut way)?;
            explorer.relocate(&mut state, &mut rng, &mut way)?;
            explorer.finish(&mut state, &mut way)?;
            let (coordinates, gates) = state.codes.dense(dictionary, ground.arrangement);
            (coordinates, gates, Some(explorer))
        }
        (Begin::Fitted(decoder, mut rng), Some((slots, ground))) => {
            let mut explorer = Explorer::new(ground, penalty, slots);
            let mut state = explorer.state(decoder);
            // Rows choose once; what follows never raises the objective.
            explorer.explore(RoundStage::Exploring, (1, 1), &mut state, &mut way)?;
            explorer.finish(&mut state, &mut way)?;
            explorer.relocate(&mut state, &mut rng, &mut way)?;
            explorer.finish(&mut state, &mut way)?;
            let (coordinates, gates) = state.codes.dense(dictionary, ground.arrangement);
            (coordinates, gates, Some(explorer))
        }
        (Begin::Coordinates(coordinates, gates), _) => (coordinates, gates, None),
        (Begin::Decoder(..) | Begin::Fitted(..), None) => return Err(FitError::NoStart),
    };
    log.gate_time = started.elapsed();
    let (mut layout, mut point) = laid_out(settings, penalty, &gates, coordinates)?;
    loop {
        let model = Frozen {
            data,
            dictionary,
            layout: &layout,
            penalty,
        };
        let mut curved = match chooser {
            Some(_) => Curved::chosen(model, settings.mode, point, solver.clone())?,
            None => Curved::new(model, settings.mode, point, solver.clone())?,
        };
        let rule = log.rest(&curved.rule(&settings.rule));
        let report = log.inner(&mut curved, &rule, &way, observer)?;
        log.absorb(&curved, &report);
        way.iterations = log.iterations;
        let stopped = !report.converged();
        if stopped || log.cycles >= settings.max_rounds {
            return finish(settings, curved, gates, log, way, report, chooser.is_none());
        }
        log.cycles += 1;
        let started = Instant::now();
        let update = match &mut chooser {
            Some(explorer) => again(
                settings,
                explorer,
                &curved.current,
                penalty,
                &gates,
                &mut way,
            )?,
            None => next(settings, &curved.current, penalty, &gates, &mut way)?,
        };
        log.gate_time += started.elapsed();
        match update {
            Some(update) => (layout, point, gates) = (update.layout, update.point, update.gates),
            None => return finish(settings, curved, gates, log, way, report, true),
        }
    }
}

/// Finishing rounds from where Newton's method has ended, where they lower the objective by more than a
/// millionth.
fn again(
    settings: &Settings<'_>,
    explorer: &mut Explorer<'_>,
    current: &Point,
    penalty: Penalty,
    gates: &Gates,
    way: &mut Way<'_>,
) -> Result<Option<Update>, FitError> {
    let mut state = explorer.around(&current.coordinates, gates)?;
    let before = state.objective;
    explorer.finish(&mut state, way)?;
    if before - state.objective <= WORTH * current.objective.scale {
        return Ok(None);
    }
    let Ground {
        dictionary,
        arrangement,
        ..
    } = explorer.ground;
    let (coordinates, gates) = state.codes.dense(dictionary, arrangement);
    let (layout, point) = laid_out(settings, penalty, &gates, coordinates)?;
    Ok(Some(Update {
        layout,
        point,
        gates,
    }))
}

/// Choices that lower the objective by less than this share of its scale are none: the fit has converged.
const WORTH: f64 = 1e-6;

struct Update {
    layout: Layout,
    point: Point,
    gates: Gates,
}

/// Coordinates searched anew on the same atoms, where that lowers the objective.
fn next(
    settings: &Settings<'_>,
    current: &Point,
    penalty: Penalty,
    gates: &Gates,
    way: &mut Way<'_>,
) -> Result<Option<Update>, FitError> {
    let (coordinates, moved) = search(settings, current, penalty, gates);
    // A gain within the noise of the decision is no change.
    let noise = settings.rule.decrease_tolerance * current.objective.scale;
    let mut update = None;
    let mut objective = current.objective.value;
    if moved > 0 {
        let (layout, point) = laid_out(settings, penalty, gates, coordinates)?;
        objective = point.objective.value;
        if objective < current.objective.value - noise {
            update = Some(Update {
                layout,
                point,
                gates: gates.clone(),
            });
        }
    }
    way.searched(moved, objective, update.is_some())?;
    Ok(update)
}

/// Every row's best coordinates under the decoder of `point`, and how many rows they moved.
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

/// A layout for `gates` and a point on it.
fn laid_out(
    settings: &Settings<'_>,
    penalty: Penalty,
    gates: &Gates,
    mut coordinates: Coordinates,
) -> Result<(Layout, Point), FitError> {
    let layout = Layout::new(settings.dictionary, gates, settings.data.outputs())?;
    coordinates.whiten(&layout);
    let point = evaluated(settings, &layout, penalty, coordinates)?;
    Ok((layout, point))
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
        &Frozen {
            data,
            dictionary,
            layout,
            penalty,
        },
        Decoder::Projected,
    )?;
    Ok(point)
}

/// The solver's options with a stream of its own, where a device is given: starts run side by
/// side. Without one where none is left and the device need not be used, with what it answered.
///
/// # Errors
/// What the device answered.
fn apart(settings: &Settings<'_>) -> Result<(SolverOptions, Option<DeviceError>), FitError> {
    let mut options = settings.solver.clone();
    let policy = options.device_policy;
    let place = match &options.device {
        Some(place) if policy != DevicePolicy::Off => place.apart(settings.ledger),
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
    mut curved: Curved<'_>,
    gates: Gates,
    mut log: Log,
    way: Way<'_>,
    report: LmReport,
    gates_stand_still: bool,
) -> Result<Settled, FitError> {
    curved.summary = SolveSummary::default();
    let log_det = match report.status {
        Status::TimeLimit => Err("the time was up before it was found".to_owned()),
        _ => curved.log_determinant()?.map(|log_det| log_det.value),
    };
    log.solves.merge(&curved.summary);
    let solves = log.solves;
    // A stream counts its own.
    let on_host = solves.factorizations - solves.device_factorizations;
    settings.ledger.factored(on_host);
    Ok(Settled {
        gates,
        penalty: curved.penalty(),
        trace: log.trace,
        rounds: way.rounds,
        report: LmReport {
            iterations: log.iterations,
            trials: log.trials,
            ..report
        },
        gates_stand_still,
        log_det,
        elimination: curved.elimination(),
        path: curved.path(),
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
    iterations: u64,
    trials: u64,
    solves: SolveSummary,
    seconds: Seconds,
    gate_time: Duration,
    /// How often rows have been asked again after an inner fit.
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

    /// One inner fit, which ends where it is when the time is up.
    fn inner(
        &mut self,
        curved: &mut Curved<'_>,
        rule: &Rule,
        way: &Way<'_>,
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
mod tests {
    use super::*;
    use crate::lm::go_on;
    use crate::model::basis::Basis;
    use crate::model::topology::Topology;
    use ndarray::Array2;

    /// Rows on three circles, in planes and at places of their own.
    fn three_circles(rows: usize) -> Array2<f64> {
        let weight = |circle: usize, part: usize, c: usize| {
            ((1 + 5 * circle + part) as f64 * (0.7 + c as f64)).sin()
        };
        Array2::from_shape_fn((rows, 24), |(i, c)| {
            let (circle, angle) = (i % 3, 2.399_963 * i as f64);
            let own = |part| weight(circle, part, c);
            2.0 * angle.cos() * own(0) + 1.5 * angle.sin() * own(1)
        })
    }

    #[test]
    fn an_atom_that_no_row_uses_is_brought_back_where_it_helps() {
        let dictionary =
            Dictionary::uniform(3, Topology::Circle, Basis::Harmonics { highest: 1 }).unwrap();
        let data = Data::normalised(three_circles(150).view()).unwrap();
        let solver = SolverOptions::default();
        let settings = Settings {
            data: &data,
            dictionary: &dictionary,
            rule: Rule::curved(),
            mode: BorderMode::Projected,
            solver: &solver,
            ledger: &Ledger::new(),
            top_k: Some(1),
            max_rounds: 60,
        };
        let mut gates = Gates::all_off(150, 3);
        (0..150).for_each(|i| gates.row_mut(i)[usize::from(i % 3 == 1)] = 1.0);
        let mut coordinates = Coordinates::origin(&dictionary, 150);
        for i in 0..150 {
            coordinates.row_mut(i).fill(2.399_963 * i as f64);
            let t = coordinates.row_mut(i);
            t.iter_mut()
                .for_each(|t| *t = crate::model::factor::wrap_angle(*t));
        }
        let layout = Layout::new(&dictionary, &gates, 24).unwrap();
        let penalty = penalty(&data, &dictionary, &layout, &coordinates, None).unwrap();
        let before = laid_out(&settings, penalty, &gates, coordinates.clone()).unwrap();
        let ended = run(&settings, coordinates, gates, penalty, &mut go_on).unwrap();
        assert_eq!(
            ended
                .rounds
                .iter()
                .map(|round| round.reseeded)
                .sum::<usize>(),
            1
        );
        assert!(ended.converged() && reseed::dead(&dictionary, &ended.gates).is_empty());
        let (sse, from) = (ended.point.sse, before.1.sse);
        assert!(sse < 0.5 * from, "{sse} from {from}");
        let mut last = before.1.objective.value;
        for round in ended.rounds.iter().filter(|round| round.accepted) {
            assert!(round.objective < last);
            last = round.objective;
        }
    }
}
