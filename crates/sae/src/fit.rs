//! The fit: starts, screening, the rounds of each start, and the result.
//!
//! ```text
//! (data - mean) / RMS -> starts -> [screen on a sample -> best few] -> rounds of each -> lowest objective -> units
//! ```
//!
//! Everything random comes from the seed and the start's index, and every sum has a fixed order:
//! a fit has the same bits for any number of threads, alone or beside others ([`fit_many`](crate::fit_many)).

use crate::data::Data;
use crate::data::rows::Rows;
use crate::data::variation::Variation;
use crate::encode::given_gates;
use crate::encode::search::Arrangement;
use crate::error::FitError;
use crate::iterate::coordinates::Gates;
use crate::iterate::point::Penalty;
use crate::lm::TraceEntry;
use crate::lm::curved::Chosen;
use crate::model::dictionary::Dictionary;
use crate::options::FitOptions;
use crate::place::Place;
use crate::progress::{Progress, Watch};
use crate::report::{Fit, StartReport, StartStage};
use crate::rounds::explore::{Course, Explorer};
use crate::rounds::round::{Choice, Ground, Swaps};
use crate::rounds::{self, Begin, Choosing, GateRound, Settings, Settled};
use crate::starts::halving::{
    Halving, LEAST_TO_RELOCATE, Sample, TO_RANK, TO_RELOCATE, penalty_of,
};
use crate::starts::price::{finalists, ranked, relocated};
use crate::starts::resumed::Resumed;
use crate::starts::screen::{Candidate, Screen};
use crate::starts::{FirstGates, StartKind, Starter};
use broadhead_device::{DevicePolicy, Ledger};
use broadhead_schur::{RowDims, SolverOptions, StructuredShape, SystemShape, plan};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Fits `dictionary` to the rows of `x` (`n x p`, a view of an array or [`Rows`]) on the CPU. `watch` receives the
/// progress. Once it answers with a break, every start ends at its next trial or round, and a start that is being
/// screened ends after its screening ([`go_on`](crate::go_on) never breaks).
///
/// # Errors
/// [`FitError`]; [`FitError::Cancelled`] where `watch` stopped it. A fit that ran out of iterations is not an
/// error: [`Fit::converged`] is false.
pub fn fit(
    x: impl Into<Rows>,
    dictionary: &Dictionary,
    options: &FitOptions,
    watch: &Watch<'_>,
) -> Result<Fit, FitError> {
    fit_on(&Place::default(), x, dictionary, options, watch)
}

/// As [`fit`], with linear systems solved on `place`: on its device where the options' policy and the
/// planner's prices select it.
///
/// # Errors
/// As [`fit`]; [`FitError::Solver`] where a device is required and there is none that can solve the systems.
pub fn fit_on(
    place: &Place,
    x: impl Into<Rows>,
    dictionary: &Dictionary,
    options: &FitOptions,
    watch: &Watch<'_>,
) -> Result<Fit, FitError> {
    let started = Instant::now();
    options.validate()?;
    let mut data = Data::varying(x)?;
    if options.gates.chosen(dictionary.len()).is_some() && options.pulls.are_single(&data) {
        data.keep_single();
    }
    let ended = fit_data(place, started, &data, dictionary, options, watch);
    // Whatever came of it, it came of rows that could not be read.
    data.intact()?;
    ended
}

fn fit_data(
    place: &Place,
    started: Instant,
    data: &Data,
    dictionary: &Dictionary,
    options: &FitOptions,
    watch: &Watch<'_>,
) -> Result<Fit, FitError> {
    let top_k = options.gates.chosen(dictionary.len());
    // Rows that choose are given none.
    let rows = top_k.map_or(data.rows(), |_| 0);
    let first = given_gates(&options.gates, rows, dictionary.len())?;
    let given = first.clone().without_fitted(dictionary)?;
    let resumed = match &options.start {
        Some(model) => Some(Resumed::of(model, data, dictionary)?),
        None => None,
    };
    let job = Job {
        data,
        dictionary,
        options,
        solver: place.solver(&options.solves),
        first: &first,
        given: &given,
        top_k,
        watch,
        stopped: AtomicBool::new(false),
        begun: started,
        until: (options.max_seconds).map(|seconds| started + Duration::from_secs_f64(seconds)),
        single: options.pulls.are_single(data),
        resumed: resumed.as_ref(),
    };
    job.check_backend()?;
    let arrangement = Arrangement::of(dictionary);
    let most = (TO_RELOCATE * dictionary.features()).max(LEAST_TO_RELOCATE);
    let sample = (top_k.is_some() && 4 * data.rows() > 5 * most)
        .then(|| Sample::of(data, most, options.seed, job.single));
    let swaps = if options.swaps {
        Swaps::Cheap
    } else {
        Swaps::Never
    };
    let asked = |ground| Ground {
        swaps,
        acceptance: options.acceptance,
        ..ground
    };
    let choosing = top_k.map(|slots| Choosing {
        slots,
        ground: asked(Ground {
            single: job.single,
            ..Ground::new(data, dictionary, &arrangement)
        }),
        sample: (sample.as_ref()).map(|sample| asked(sample.ground(dictionary, &arrangement))),
        relocation: options.relocation,
    });
    let loaded = started.elapsed();
    let finalists = finalists(data.rows(), data.outputs(), dictionary, options);
    let ledger = Ledger::new();
    let begun = Instant::now();
    let (candidates, mut reports) = match (&resumed, &choosing, finalists < options.starts) {
        (Some(resumed), ..) => job.resume(resumed, choosing),
        (None, Some(choosing), _) => {
            let relocated = relocated(choosing, options.starts);
            job.halve(*choosing, finalists.max(relocated), &ledger)?
        }
        (None, None, true) => job.screen(finalists)?,
        (None, None, false) => job.all_starts(),
    };
    job.expect_going()?;
    let started_up = begun.elapsed();
    let finished = job.finish(candidates, choosing, finalists, &mut reports, &ledger)?;
    job.expect_going()?;
    let solves = (finished.iter()).filter_map(|(_, outcome)| outcome.as_ref().ok());
    let chosen = Chosen::distinct(solves.flat_map(|ended| &ended.solves.chosen));
    let (start, ended) = lowest(finished, options.rule.decrease_tolerance)?;
    let mut phases = vec![("load", loaded), ("starts", started_up)];
    phases.extend([
        ("assemble", ended.seconds.assemble),
        ("factor", ended.seconds.factor),
        ("solve", ended.seconds.solve),
        ("evaluate", ended.seconds.evaluate),
        ("gates", ended.gate_time),
    ]);
    let seconds = phases
        .into_iter()
        .map(|(name, time)| (name.to_owned(), time.as_secs_f64()));
    let variation = Variation::of(data, &ended.point.squares)?;
    let mut fit = Fit::new(
        dictionary,
        &options.gates,
        data,
        ended,
        variation,
        start,
        reports,
        ledger.snapshot(),
    )?;
    fit.chosen = chosen;
    fit.seconds = seconds.collect();
    fit.seconds_total = started.elapsed().as_secs_f64();
    Ok(fit)
}

struct Job<'a> {
    data: &'a Data,
    dictionary: &'a Dictionary,
    options: &'a FitOptions,
    solver: SolverOptions,
    /// The caller's gates; first amplitudes where those are fitted.
    first: &'a Gates,
    /// The same without fitted amplitudes.
    given: &'a Gates,
    top_k: Option<usize>,
    watch: &'a Watch<'a>,
    /// Whether the watch has stopped it.
    stopped: AtomicBool,
    /// When the fit began, and when to stop.
    begun: Instant,
    until: Option<Instant>,
    /// Whether pulls are made in single precision.
    single: bool,
    /// What the fit goes on from.
    resumed: Option<&'a Resumed>,
}

/// A start that was finished, or its error.
type Finished = (usize, Result<Settled, FitError>);

impl Job<'_> {
    /// Passes progress to the watch; breaks once the fit is to stop.
    fn tell(&self, progress: &Progress) -> ControlFlow<()> {
        if self.stopped.load(Ordering::Relaxed) {
            return ControlFlow::Break(());
        }
        let answer = match self.data.intact() {
            Ok(()) => (self.watch)(progress),
            Err(_) => ControlFlow::Break(()),
        };
        if answer.is_break() {
            self.stopped.store(true, Ordering::Relaxed);
        }
        answer
    }

    /// Whether the time is up.
    fn is_over(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() >= until)
    }

    /// # Errors
    /// [`FitError::Cancelled`].
    fn expect_going(&self) -> Result<(), FitError> {
        match self.stopped.load(Ordering::Relaxed) {
            true => Err(FitError::Cancelled),
            false => Ok(()),
        }
    }

    /// Checks, where a device is required, that it has a backend for the systems to come. This runs before any
    /// work, with the widest rows that may occur.
    ///
    /// # Errors
    /// [`FitError::Solver`] with what is missing.
    fn check_backend(&self) -> Result<(), FitError> {
        if self.options.solves.device_policy != DevicePolicy::Required {
            return Ok(());
        }
        let atoms = self.dictionary.atoms().iter();
        let mut widths: Vec<usize> = atoms.map(|atom| atom.local_dim()).collect();
        let dims: Vec<usize> = match self.top_k {
            Some(on) => {
                widths.sort_unstable_by(|a, b| b.cmp(a));
                vec![widths.iter().take(on).sum(); self.data.rows()]
            }
            None => {
                let on = |gates: &[f64]| {
                    let both = widths.iter().zip(gates);
                    both.filter(|(_, gate)| **gate != 0.0).map(|(d, _)| d).sum()
                };
                (0..self.data.rows())
                    .map(|i| on(self.given.row(i)))
                    .collect()
            }
        };
        let features = self.dictionary.features();
        let shape = SystemShape::Structured {
            shape: StructuredShape::new(RowDims::ragged(&dims)?, features, self.data.outputs())?,
            density: 1.0,
            pairs: features.saturating_mul(features),
        };
        plan(&shape, &self.solver)?;
        Ok(())
    }

    /// Every start as a candidate.
    fn all_starts(&self) -> (Vec<Candidate>, Vec<StartReport>) {
        let FitOptions { seed, starts, .. } = *self.options;
        let gates = FirstGates::Fixed(self.given);
        let starter = Starter::new(self.data, self.dictionary, gates, seed, starts);
        (0..starts)
            .into_par_iter()
            .map(|s| {
                let start = starter.make(s);
                let report = StartReport::new(s, start.kind, self.data.rows());
                let (mut coordinates, gates) = (start.coordinates, start.gates);
                coordinates.set_amplitudes(self.dictionary, self.first);
                (
                    Candidate {
                        start: s,
                        begin: Begin::Coordinates(coordinates, gates),
                    },
                    report,
                )
            })
            .unzip()
    }

    /// The one start of a fit that goes on from a model.
    fn resume(
        &self,
        resumed: &Resumed,
        choosing: Option<Choosing<'_>>,
    ) -> (Vec<Candidate>, Vec<StartReport>) {
        let report = StartReport::new(0, StartKind::Model, self.data.rows());
        let begin = match choosing {
            Some(Choosing { ground, .. }) => {
                let mut rng = ChaCha8Rng::seed_from_u64(self.options.seed);
                rng.set_stream(RELOCATIONS);
                let decoder = resumed.arranged(ground.arrangement, self.data.outputs());
                Begin::Fitted(decoder, rng)
            }
            None => {
                let found = resumed.coordinates(self.data, self.dictionary, self.given);
                Begin::Coordinates(found, self.given.clone())
            }
        };
        (vec![Candidate { start: 0, begin }], vec![report])
    }

    /// The best few starts, ranked on a sample.
    fn screen(&self, finalists: usize) -> Result<(Vec<Candidate>, Vec<StartReport>), FitError> {
        let FitOptions {
            seed,
            starts,
            lambda,
            screening,
            ..
        } = *self.options;
        let screen = Screen::new(
            self.data,
            self.dictionary,
            [self.first, self.given],
            lambda,
            seed,
            screening,
        );
        let gates = FirstGates::Fixed(screen.given());
        let starter = Starter::new(screen.data(), self.dictionary, gates, seed, starts);
        let mut ranked: Vec<_> = (0..starts)
            .into_par_iter()
            .map(|s| {
                let start = starter.make(s);
                let kind = start.kind;
                let screened = match s > 0 && self.is_over() {
                    true => Err(FitError::OutOfTime),
                    false => self.expect_going().and_then(|()| screen.run(start)),
                };
                // The next start sees that the fit is stopped.
                let _ = self.tell(&Progress::Screened {
                    start: s,
                    of: starts,
                });
                (s, kind, screened)
            })
            .collect();
        let mut reports = Vec::with_capacity(starts);
        for (s, kind, screened) in &ranked {
            let mut report = StartReport::new(*s, *kind, screen.data().rows());
            match screened {
                Ok(screened) => report.objective = Some(screened.objective),
                Err(error) => report.error = Some(error.to_string()),
            }
            report.stage = StartStage::Screened;
            reports.push(report);
        }
        let key = |screened: &Result<_, FitError>| match screened {
            Ok(crate::starts::screen::Screened { objective, .. }) => *objective,
            Err(_) => f64::INFINITY,
        };
        ranked.sort_by(|a, b| key(&a.2).total_cmp(&key(&b.2)).then(a.0.cmp(&b.0)));
        let mut candidates = Vec::new();
        let mut failure = None;
        for (s, _, screened) in ranked.into_iter().take(finalists) {
            match screened {
                Ok(screened) => candidates.push(screen.carry(s, screened)),
                Err(error) => drop(failure.get_or_insert(error)),
            }
        }
        match failure {
            Some(error) if candidates.is_empty() => Err(error),
            _ => Ok((candidates, reports)),
        }
    }

    /// The best few starts where rows choose their atoms, ranked on a sample where there are many rows.
    fn halve(
        &self,
        choosing: Choosing<'_>,
        finalists: usize,
        ledger: &Ledger,
    ) -> Result<(Vec<Candidate>, Vec<StartReport>), FitError> {
        let FitOptions {
            seed,
            starts,
            lambda,
            screening,
            ..
        } = *self.options;
        let features = self.dictionary.features();
        let most = screening.rows.max(TO_RANK * features);
        let sample = Sample::of(self.data, most, seed, self.single);
        let halving = Halving {
            ground: sample.ground(self.dictionary, choosing.ground.arrangement),
            slots: choosing.slots,
            lambda: lambda.map(|l| l * sample.data.rows() as f64 / self.data.rows() as f64),
            seed,
            starts: ranked(
                sample.data.rows(),
                self.data.outputs(),
                choosing.slots,
                features,
                starts,
            ),
            finalists,
            begun: self.begun,
            until: self.until,
            tell: &|round| {
                self.tell(&Progress::Round {
                    start: None,
                    round: *round,
                })
            },
            solver: &self.solver,
            ledger,
        };
        let begun = halving.run()?;
        self.expect_going()?;
        let mut reports: Vec<StartReport> = (begun.iter())
            .map(|begun| {
                let mut report = StartReport::new(begun.start, begun.kind, sample.data.rows());
                report.stage = StartStage::Screened;
                match &begun.ended {
                    Ok(ranked) => report.objective = Some(ranked.objective),
                    Err(error) => report.error = Some(error.to_string()),
                }
                report
            })
            .collect();
        reports.sort_by_key(|report| report.start);
        let (mut candidates, mut failure) = (Vec::new(), None);
        for begun in begun.into_iter().take(finalists) {
            match begun.ended {
                Ok(ranked) => {
                    let mut rng = ChaCha8Rng::seed_from_u64(seed);
                    rng.set_stream(RELOCATIONS + begun.start as u64);
                    candidates.push(Candidate {
                        start: begun.start,
                        begin: Begin::Decoder(ranked.decoder, begun.rounds, rng),
                    });
                }
                Err(error) => drop(failure.get_or_insert(error)),
            }
        }
        match failure {
            Some(error) if candidates.is_empty() => Err(error),
            _ => Ok((candidates, reports)),
        }
    }

    /// Runs the rounds of `candidates` in parallel.
    fn finish(
        &self,
        candidates: Vec<Candidate>,
        choosing: Option<Choosing<'_>>,
        finalists: usize,
        reports: &mut [StartReport],
        ledger: &Ledger,
    ) -> Result<Vec<Finished>, FitError> {
        let penalty = self.penalty(&candidates, choosing)?;
        let candidates = match choosing.and_then(|choosing| Some((choosing, choosing.sample?))) {
            Some((choosing, sample)) => self.relocated(
                candidates,
                &choosing,
                sample,
                penalty,
                (finalists, ledger),
                reports,
            )?,
            None => candidates,
        };
        let settings = Settings {
            data: self.data,
            dictionary: self.dictionary,
            rule: self.options.rule,
            mode: self.options.border,
            solver: &self.solver,
            ledger,
            choosing,
            max_rounds: self.options.max_gate_rounds,
            begun: self.begun,
            until: self.until,
        };
        let of = candidates.len();
        let finished: Vec<Finished> = candidates
            .into_par_iter()
            .map(|Candidate { start, begin }| {
                let mut observer = |entry: &TraceEntry| {
                    self.tell(&Progress::Trial {
                        start,
                        entry: *entry,
                    })
                };
                let tell = |round: &GateRound| {
                    self.tell(&Progress::Round {
                        start: Some(start),
                        round: *round,
                    })
                };
                let outcome = rounds::run(&settings, begin, penalty, &tell, &mut observer);
                let status = outcome.as_ref().ok().map(|ended| ended.report.status);
                let _ = self.tell(&Progress::Finished { start, of, status });
                (start, outcome)
            })
            .collect();
        let scale = self.data.scale();
        for (start, outcome) in &finished {
            let report = &mut reports[*start];
            report.stage = StartStage::Finished;
            report.rows = self.data.rows();
            match outcome {
                Ok(ended) => {
                    report.objective = Some(ended.report.objective);
                    report.iterations = ended.report.iterations;
                    report.converged = ended.converged();
                }
                Err(error) => {
                    report.objective = None;
                    report.error = Some(error.to_string());
                }
            }
        }
        for report in reports {
            report.objective = report.objective.map(|f| f * scale * scale);
        }
        Ok(finished)
    }

    /// The best candidates after their atoms were relocated on a sample of rows. One that fails is reported and
    /// left behind.
    ///
    /// # Errors
    /// Where all failed, how the first did.
    fn relocated(
        &self,
        candidates: Vec<Candidate>,
        choosing: &Choosing<'_>,
        sample: Ground<'_>,
        penalty: Penalty,
        (finalists, ledger): (usize, &Ledger),
        reports: &mut [StartReport],
    ) -> Result<Vec<Candidate>, FitError> {
        type Relocated = (usize, Result<(f64, Begin), FitError>);
        let ended: Vec<Relocated> = candidates
            .into_par_iter()
            .map(|Candidate { start, begin }| {
                let Begin::Decoder(decoder, rounds, mut rng) = begin else {
                    return (start, Ok((0.0, begin)));
                };
                let tell = |round: &GateRound| {
                    self.tell(&Progress::Round {
                        start: Some(start),
                        round: *round,
                    })
                };
                let mut way = Course::new(self.begun, self.until, &tell);
                way.rounds = rounds;
                let moved = rounds::apart(&self.solver, ledger).and_then(|(solver, _)| {
                    let how = (choosing, &solver);
                    rounds::before::on_sample(how, sample, penalty, decoder, &mut rng, &mut way)
                });
                let begun = moved.map(|(decoder, objective)| {
                    (objective, Begin::Decoder(decoder, way.rounds, rng))
                });
                (start, begun)
            })
            .collect();
        let (mut ranked, mut failure) = (Vec::new(), None);
        for (start, begun) in ended {
            match begun {
                Ok((objective, begin)) => ranked.push((objective, Candidate { start, begin })),
                Err(error) => {
                    if let Some(report) = reports.iter_mut().find(|report| report.start == start) {
                        report.objective = None;
                        report.error = Some(error.to_string());
                    }
                    failure.get_or_insert(error);
                }
            }
        }
        ranked.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.start.cmp(&b.1.start)));
        ranked.truncate(finalists);
        match failure {
            Some(error) if ranked.is_empty() => Err(error),
            _ => Ok(ranked.into_iter().map(|(_, candidate)| candidate).collect()),
        }
    }

    /// The penalties that all starts share, from the first candidate that determines some.
    ///
    /// # Errors
    /// Where none does, why the first does not.
    fn penalty(
        &self,
        candidates: &[Candidate],
        choosing: Option<Choosing<'_>>,
    ) -> Result<Penalty, FitError> {
        let mut failure = None;
        for Candidate { begin, .. } in candidates {
            match self.penalty_from(begin, choosing) {
                Err(error) if error.is_of_the_decoder() => drop(failure.get_or_insert(error)),
                penalty => return penalty,
            }
        }
        Err(failure.unwrap_or(FitError::NoStart))
    }

    fn penalty_from(
        &self,
        begin: &Begin,
        choosing: Option<Choosing<'_>>,
    ) -> Result<Penalty, FitError> {
        let of_model = self.resumed.map(|resumed| resumed.kappa);
        let lambda = self.options.lambda.or(self.resumed.and_then(|r| r.lambda));
        if let (Some(kappa), Some(lambda)) = (of_model, lambda) {
            return Ok(Penalty { lambda, kappa });
        }
        let (mut coordinates, gates) = match (begin, choosing) {
            (Begin::Coordinates(coordinates, gates), _) => (coordinates.clone(), gates.clone()),
            (Begin::Decoder(decoder, ..) | Begin::Fitted(decoder, _), Some(choosing)) => {
                let none = Penalty {
                    lambda: 1.0,
                    kappa: 0.0,
                };
                let mut explorer = Explorer::new(choosing.ground, none, choosing.slots);
                let mut state = explorer.state(decoder.clone())?;
                explorer.round(Choice::Anew, &mut state)?;
                let arrangement = choosing.ground.arrangement;
                state.codes.places(self.dictionary, arrangement)
            }
            (Begin::Decoder(..) | Begin::Fitted(..), None) => return Err(FitError::NoStart),
        };
        let arrangement = Arrangement::of(self.dictionary);
        let ground = Ground::new(self.data, self.dictionary, &arrangement);
        let penalty = penalty_of(ground, &mut coordinates, &gates, lambda)?;
        Ok(Penalty {
            kappa: of_model.unwrap_or(penalty.kappa),
            ..penalty
        })
    }
}

/// Random streams from this number on belong to relocations.
const RELOCATIONS: u64 = 1 << 32;

/// The result with the lowest objective. Of several that are equal up to `tolerance` times the objective it is
/// the first, so that rounding does not choose the start.
///
/// # Errors
/// If all starts failed, the error of the first of them.
fn lowest(finished: Vec<Finished>, tolerance: f64) -> Result<(usize, Settled), FitError> {
    let mut best: Option<(usize, Settled)> = None;
    let mut failure = None;
    for (start, outcome) in finished {
        match outcome {
            Ok(ended) => {
                let objective = ended.report.objective;
                if best.as_ref().is_none_or(|(_, lowest)| {
                    objective < lowest.report.objective * (1.0 - tolerance)
                }) {
                    best = Some((start, ended));
                }
            }
            Err(error) => {
                failure.get_or_insert(error);
            }
        }
    }
    match (best, failure) {
        (Some(best), _) => Ok(best),
        (None, Some(error)) => Err(error),
        (None, None) => Err(FitError::NoStart),
    }
}
