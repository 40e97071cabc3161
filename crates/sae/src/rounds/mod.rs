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
mod reseed;

use crate::data::Data;
use crate::encode::row::RowModel;
use crate::error::{CurvedError, FitError};
use crate::iterate::coordinates::{Coordinates, Gates};
use crate::iterate::features;
use crate::iterate::layout::Layout;
use crate::iterate::point::{Decoder, Frozen, Penalty, Point};
use crate::lm::curved::{BorderMode, Curved, Seconds, SolveSummary};
use crate::lm::{LmReport, Rule, TraceEntry, minimise};
use crate::model::dictionary::Dictionary;
use crate::rounds::choose::Changed;
use broadhead_device::{DeviceError, DevicePolicy, ExecutionPath, Ledger};
use broadhead_schur::{EliminationKind, Error, SolverOptions};
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
    /// Atoms that no row had chosen and that it gave rows anew.
    pub reseeded: usize,
    /// The objective after it.
    pub objective: f64,
    /// Whether it lowered the objective and was kept.
    pub accepted: bool,
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

/// Accepted steps of an inner fit while gates still change.
const SHORT: u64 = 4;

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

/// Runs the rounds from `coordinates` and `gates`.
///
/// # Errors
/// [`FitError::Loop`], [`FitError::Solver`].
pub(crate) fn run(
    settings: &Settings<'_>,
    coordinates: Coordinates,
    mut gates: Gates,
    penalty: Penalty,
    observer: &mut dyn FnMut(&TraceEntry) -> ControlFlow<()>,
) -> Result<Settled, FitError> {
    let Settings {
        data, dictionary, ..
    } = *settings;
    let (solver, device_declined) = apart(settings)?;
    let mut log = Log {
        solves: SolveSummary {
            device_declined,
            ..SolveSummary::default()
        },
        ..Log::default()
    };
    let (mut layout, mut point) = laid_out(settings, penalty, &gates, coordinates)?;
    let mut settled = settings.top_k.is_none();
    loop {
        let rule = log.rest(&settings.rule, settled);
        let model = Frozen {
            data,
            dictionary,
            layout: &layout,
            penalty,
        };
        let mut curved = Curved::new(model, settings.mode, point, solver.clone())?;
        let report = minimise(&mut curved, &rule, &mut |entry| log.record(entry, observer))?;
        log.absorb(&curved, &report);
        let out_of_steps = !report.converged() && (settled || log.spent(&settings.rule));
        if out_of_steps || log.rounds.len() >= settings.max_rounds {
            let stand_still = settings.top_k.is_none();
            return finish(settings, curved, gates, log, report, stand_still);
        }
        let update = next(settings, &curved.current, penalty, &gates, &mut log)?;
        match update {
            Some(update) => {
                (layout, point, gates) = (update.layout, update.point, update.gates);
                // Coordinates that moved on the same atoms are the inner fit's business.
                settled = update.gates_stand_still;
            }
            None if report.converged() => {
                return finish(settings, curved, gates, log, report, true);
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

/// The gates chosen anew, where that lowers the objective, and dead atoms given rows anew, where
/// that does.
fn next(
    settings: &Settings<'_>,
    current: &Point,
    penalty: Penalty,
    gates: &Gates,
    log: &mut Log,
) -> Result<Option<Update>, FitError> {
    let started = Instant::now();
    let mut chosen = gates.clone();
    let (mut coordinates, changed) = choose(settings, current, penalty, &mut chosen);
    let mut round = GateRound {
        iteration: log.iterations,
        changed: changed.gates,
        moved: changed.moved,
        reseeded: 0,
        objective: current.objective.value,
        accepted: false,
    };
    // A gain within the noise of the decision is no change.
    let noise = settings.rule.decrease_tolerance * current.objective.scale;
    let mut update = None;
    if changed.gates + changed.moved > 0 {
        let (layout, point) = laid_out(settings, penalty, &chosen, coordinates)?;
        round.objective = point.objective.value;
        round.accepted = point.objective.value < current.objective.value - noise;
        if round.accepted {
            update = Some(Update {
                layout,
                point,
                gates: chosen,
                gates_stand_still: changed.gates == 0,
            });
        }
    }
    let (from, chosen) = match &update {
        Some(update) => (&update.point, &update.gates),
        None => (current, gates),
    };
    let dead = reseed::dead(settings.dictionary, chosen).len();
    if settings.top_k.is_some() && dead > 0 && log.vain < VAIN {
        coordinates = from.coordinates.clone();
        let mut revived = revive(settings, penalty, from, chosen, coordinates)?;
        if revived.point.objective.value < from.objective.value - noise {
            let left = reseed::dead(settings.dictionary, &revived.gates).len();
            round.reseeded = dead.saturating_sub(left);
            round.objective = revived.point.objective.value;
            round.accepted = true;
            revived.gates_stand_still = false;
            update = Some(revived);
        }
        log.vain += usize::from(round.reseeded == 0);
    }
    log.gate_time += started.elapsed();
    log.rounds.push(round);
    Ok(update)
}

/// Attempts to bring dead atoms back that may fail: what fails twice would fail again.
const VAIN: usize = 2;

/// Rounds in which all rows choose again after dead atoms were given rows.
const REVIVING: usize = 4;

/// Every row's choice under the decoder of `point`, written into `gates`; the coordinates.
fn choose(
    settings: &Settings<'_>,
    point: &Point,
    penalty: Penalty,
    gates: &mut Gates,
) -> (Coordinates, Changed) {
    let Settings {
        data, dictionary, ..
    } = *settings;
    let model = RowModel::new(dictionary, &point.decoder, data.outputs(), penalty.kappa);
    let mut coordinates = point.coordinates.clone();
    let changed = choose::update(&model, data, settings.top_k, &mut coordinates, gates);
    (coordinates, changed)
}

/// Gives dead atoms rows, and lets all rows choose again a few times.
fn revive(
    settings: &Settings<'_>,
    penalty: Penalty,
    from: &Point,
    gates: &Gates,
    mut coordinates: Coordinates,
) -> Result<Update, FitError> {
    let mut gates = gates.clone();
    reseed::reseed(
        settings.dictionary,
        settings.data,
        &from.squares,
        &mut coordinates,
        &mut gates,
    );
    let (mut layout, mut point) = laid_out(settings, penalty, &gates, coordinates)?;
    for _ in 0..REVIVING {
        let (coordinates, _) = choose(settings, &point, penalty, &mut gates);
        (layout, point) = laid_out(settings, penalty, &gates, coordinates)?;
    }
    Ok(Update {
        layout,
        point,
        gates,
        gates_stand_still: false,
    })
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
    report: LmReport,
    gates_stand_still: bool,
) -> Result<Settled, FitError> {
    curved.summary = SolveSummary::default();
    let log_det = curved.log_determinant()?.map(|log_det| log_det.value);
    log.solves.merge(&curved.summary);
    let solves = log.solves;
    // A stream counts its own.
    let on_host = solves.factorizations - solves.device_factorizations;
    settings.ledger.factored(on_host);
    Ok(Settled {
        gates,
        penalty: curved.penalty(),
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
    rounds: Vec<GateRound>,
    iterations: u64,
    trials: u64,
    solves: SolveSummary,
    seconds: Seconds,
    gate_time: Duration,
    /// Attempts to bring dead atoms back that failed.
    vain: usize,
}

impl Log {
    /// What is left of the limits for the next inner fit, a short one unless gates have settled.
    fn rest(&self, rule: &Rule, settled: bool) -> Rule {
        let left = rule.max_iterations.saturating_sub(self.iterations);
        Rule {
            max_iterations: if settled { left } else { left.min(SHORT) },
            max_trials: rule.max_trials.saturating_sub(self.trials),
            ..*rule
        }
    }

    /// Whether a limit has been reached.
    fn spent(&self, rule: &Rule) -> bool {
        self.iterations >= rule.max_iterations || self.trials >= rule.max_trials
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
