//! Starts by successive halving, where rows choose their atoms.
//!
//! Every start runs a few rounds on a seeded sample of rows. The better half continues with half as many
//! rounds again, until only the finalists are left. Half of the starts are decoders of random rows, which
//! work well where there are many atoms. The others are clusters of rows with their own leading directions,
//! which work well where there are few.

use crate::data::Data;
use crate::encode::search::Arrangement;
use crate::error::FitError;
use crate::iterate::coordinates::{Coordinates, Gates};
use crate::iterate::layout::Layout;
use crate::iterate::point::Penalty;
use crate::model::dictionary::Dictionary;
use crate::rounds::device::DeviceRounds;
use crate::rounds::engine::on_device;
use crate::rounds::explore::{Course, Explorer, Tell};
use crate::rounds::round::{Arranged, Choice, Ground, RoundState};
use crate::rounds::{GateRound, RoundStage, penalty};
use crate::starts::{FirstGates, Start, StartKind, Starter};
use broadhead_device::Ledger;
use broadhead_schur::SolverOptions;
use rand::SeedableRng;
use rand::seq::index::sample;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use std::borrow::Cow;
use std::time::Instant;

/// The rows that starts are compared on.
pub(crate) struct Sample<'a> {
    pub(crate) data: Cow<'a, Data>,
    /// Whether pulls are made in single precision.
    pub(crate) single: bool,
}

impl<'a> Sample<'a> {
    /// A seeded sample of at most `most` rows; all rows if there are no more.
    pub(crate) fn of(all: &'a Data, most: usize, seed: u64, single: bool) -> Self {
        let data = match all.rows() > most {
            true => {
                let mut rng = ChaCha8Rng::seed_from_u64(seed);
                rng.set_stream(u64::MAX);
                let mut chosen = sample(&mut rng, all.rows(), most).into_vec();
                chosen.sort_unstable();
                let mut data = all.subset(&chosen);
                if single {
                    data.keep_single();
                }
                Cow::Owned(data)
            }
            false => Cow::Borrowed(all),
        };
        Self { data, single }
    }

    pub(crate) fn ground<'s>(
        &'s self,
        dictionary: &'s Dictionary,
        arrangement: &'s Arrangement,
    ) -> Ground<'s> {
        Ground {
            single: self.single,
            ..Ground::new(&self.data, dictionary, arrangement)
        }
    }
}

/// A decoder of `M` lines is ranked on at least this times `M` rows, if there are as many.
pub(crate) const TO_RANK: usize = 16;

/// Atoms are relocated, before all rows take part, on a sample of this times `M` rows, but at least
/// [`LEAST_TO_RELOCATE`].
pub(crate) const TO_RELOCATE: usize = 64;

/// See [`TO_RELOCATE`].
pub(crate) const LEAST_TO_RELOCATE: usize = 8192;

/// A start and its outcome.
pub(crate) struct Begun {
    pub(crate) start: usize,
    pub(crate) kind: StartKind,
    pub(crate) rounds: Vec<GateRound>,
    /// Its result, or its error.
    pub(crate) ended: Result<Ranked, FitError>,
}

/// The result of a ranked start.
pub(crate) struct Ranked {
    pub(crate) decoder: Arranged,
    /// The objective over the sample.
    pub(crate) objective: f64,
}

/// The settings of successive halving.
pub(crate) struct Halving<'a> {
    pub(crate) ground: Ground<'a>,
    pub(crate) slots: usize,
    pub(crate) lambda: Option<f64>,
    pub(crate) seed: u64,
    pub(crate) starts: usize,
    pub(crate) finalists: usize,
    /// When the fit began, and when to stop.
    pub(crate) begun: Instant,
    pub(crate) until: Option<Instant>,
    /// Called after every round of every start.
    pub(crate) tell: &'a Tell<'a>,
    /// Where rounds may run, and what counts that.
    pub(crate) solver: &'a SolverOptions,
    pub(crate) ledger: &'a Ledger,
}

/// A start between stages. The workspace of its rounds is allocated anew at each stage, so memory scales with
/// threads.
struct Running {
    start: usize,
    kind: StartKind,
    rounds: Vec<GateRound>,
    state: Result<(Penalty, RoundState), FitError>,
}

/// Rounds on a device, on a stream of their own; none on the host, and while a start has them.
type Place = Option<DeviceRounds>;

/// Starts that run side by side on a device: their rounds are short, so few keep it busy, and each stream costs
/// milliseconds.
const PLACES: usize = 4;

/// Rounds of the first stage.
const FIRST: usize = 6;

impl Halving<'_> {
    /// Where starts run on a device; none where they run on the host.
    fn places(&self) -> Result<Vec<Place>, FitError> {
        let mut places = Vec::new();
        for _ in 0..PLACES.min(self.starts) {
            let (solver, _) = crate::rounds::apart(self.solver, self.ledger)?;
            match on_device(&self.ground, self.slots, &solver)? {
                Some(engine) => places.push(Some(engine)),
                None => break,
            }
        }
        Ok(places)
    }

    /// Halves the starts until the finalists are left. Returns all starts, the best first.
    ///
    /// # Errors
    /// The device's, where rounds run on one.
    pub(crate) fn run(&self) -> Result<Vec<Begun>, FitError> {
        let Ground {
            data, dictionary, ..
        } = self.ground;
        let starter = Starter::new(
            data,
            dictionary,
            FirstGates::Clusters,
            self.seed,
            self.starts,
        );
        let mut pool: Vec<Running> = (0..self.starts)
            .into_par_iter()
            .map(|start| self.first(start, &starter))
            .collect();
        let mut places = self.places()?;
        let (mut out, mut rounds) = (Vec::new(), FIRST);
        loop {
            let group = pool.len().div_ceil(places.len().max(1));
            match places.is_empty() {
                true => pool
                    .par_iter_mut()
                    .for_each(|running| self.rank(running, rounds, &mut None)),
                // One after another at each place.
                false => {
                    pool.par_chunks_mut(group)
                        .zip(&mut places)
                        .for_each(|(running, place)| {
                            for running in running {
                                self.rank(running, rounds, place);
                            }
                        })
                }
            }
            let key = |running: &Running| match &running.state {
                Ok((_, state)) => state.objective,
                Err(_) => f64::INFINITY,
            };
            pool.sort_by(|a, b| key(a).total_cmp(&key(b)).then(a.start.cmp(&b.start)));
            let keep = (pool.len() / 2).max(self.finalists);
            if pool.len() <= keep {
                break;
            }
            out.splice(0..0, pool.split_off(keep));
            rounds += rounds / 2;
        }
        pool.extend(out);
        let begun = pool.into_iter().map(|running| Begun {
            start: running.start,
            kind: running.kind,
            rounds: running.rounds,
            ended: running.state.map(|(_, state)| Ranked {
                decoder: state.decoder,
                objective: state.objective,
            }),
        });
        Ok(begun.collect())
    }

    /// Start `s` after one round, with its penalties.
    fn first(&self, start: usize, starter: &Starter<'_>) -> Running {
        if start > 0 && self.until.is_some_and(|until| Instant::now() >= until) {
            return Running {
                start,
                kind: StartKind::Rows,
                rounds: Vec::new(),
                state: Err(FitError::OutOfTime),
            };
        }
        // The kinds alternate, so that both are among a few starts.
        let (kind, state) = if start.is_multiple_of(2) {
            let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
            rng.set_stream(start as u64);
            (StartKind::Rows, self.of_rows(&mut rng))
        } else {
            let Start {
                kind,
                coordinates,
                gates,
            } = starter.make(start);
            (kind, self.of_codes(coordinates, &gates))
        };
        Running {
            start,
            kind,
            rounds: Vec::new(),
            state,
        }
    }

    fn of_rows(&self, rng: &mut ChaCha8Rng) -> Result<(Penalty, RoundState), FitError> {
        let mut explorer = Explorer::new(self.ground, self.nominal(), self.slots);
        let decoder = explorer.random_decoder(rng);
        let mut state = explorer.state(decoder)?;
        explorer.round(Choice::Anew, &mut state)?;
        let places = (state.codes).places(self.ground.dictionary, self.ground.arrangement);
        self.of_codes(places.0, &places.1)
    }

    fn of_codes(
        &self,
        mut coordinates: Coordinates,
        gates: &Gates,
    ) -> Result<(Penalty, RoundState), FitError> {
        let penalty = penalty_of(self.ground, &mut coordinates, gates, self.lambda)?;
        let mut explorer = Explorer::new(self.ground, penalty, self.slots);
        let state = explorer.around(&coordinates, gates)?;
        Ok((penalty, state))
    }

    /// The penalties of a first round, before there are codes: 1e-5 of the mean diagonal that `Phi' Phi`
    /// has where all functions have mean square 1/2, as those of a circle do.
    fn nominal(&self) -> Penalty {
        let rows = self.ground.data.rows() as f64;
        Penalty {
            lambda: self.lambda.unwrap_or(5e-6 * rows),
            kappa: 0.0,
        }
    }

    fn rank(&self, running: &mut Running, rounds: usize, place: &mut Place) {
        let Ok((penalty, state)) = &mut running.state else {
            return;
        };
        let mut way = Course::new(self.begun, self.until, self.tell);
        let ended = self.explored(*penalty, state, (rounds, place), &mut way);
        running.rounds.append(&mut way.rounds);
        if let Err(error) = ended {
            running.state = Err(error);
        }
    }

    /// So many rounds, at `place` where they run on a device.
    fn explored(
        &self,
        penalty: Penalty,
        state: &mut RoundState,
        (rounds, place): (usize, &mut Place),
        way: &mut Course<'_>,
    ) -> Result<(), FitError> {
        let (ground, slots) = (self.ground, self.slots);
        let (stage, most) = (RoundStage::Start, (rounds, rounds));
        let Some(engine) = place.take() else {
            let mut explorer = Explorer::new(ground, penalty, slots);
            return explorer.explore(stage, most, state, way);
        };
        let mut explorer = Explorer::on(engine, ground, penalty, slots);
        let found = explorer.load(state).and_then(|mut there| {
            explorer.explore(stage, most, &mut there, way)?;
            Ok(explorer.view(&there)?.into_owned())
        });
        *place = Some(explorer.into_engine());
        *state = found?;
        Ok(())
    }
}

/// The penalties for given codes, whose coordinates are whitened.
///
/// # Errors
/// Features that determine no decoder.
pub(crate) fn penalty_of(
    ground: Ground<'_>,
    coordinates: &mut Coordinates,
    gates: &Gates,
    lambda: Option<f64>,
) -> Result<Penalty, FitError> {
    let Ground {
        data, dictionary, ..
    } = ground;
    let layout = Layout::new(dictionary, gates, data.outputs())?;
    coordinates.whiten(&layout);
    Ok(penalty(data, dictionary, &layout, coordinates, lambda)?)
}
