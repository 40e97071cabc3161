//! From starts to a state from which Newton's method can continue, where rows choose their atoms.
//!
//! ```text
//! starts, on a sample of rows   rounds; the better half goes on, with half as many rounds again; the best few
//! exploring, on all rows        rows choose anew; the best state seen is kept
//! relocation                    the atoms that explain least go onto residual planes; a few rounds; kept
//!                               if the objective is lower, else as before
//! finishing                     rows keep what they had unless anew is better; undone if f did not fall
//! ```
//!
//! Counts of rounds decide, never a clock, unless the caller sets a time limit.

use super::engine::{Engine, Judged};
use super::relocate::Residuals;
use super::round::{
    Arranged, Choice, Ground, Penalty, RoundMemory, RoundState, exploring, finishing,
};
use super::{GateRound, RoundStage};
use crate::data::store::TileMemory;
use crate::error::FitError;
use crate::iterate::coordinates::{Coordinates, Gates};
use rand::seq::index::sample;
use rand_chacha::ChaCha8Rng;
use std::borrow::Cow;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

/// The most rounds of exploring, and the number of rounds without a lower objective that ends it: on all rows where
/// there is no sample, on a sample, and on all rows after a sample. Each relocation explores a little more.
pub(crate) const EXPLORING: [(usize, usize); 3] = [(24, 4), (6, 4), (12, 4)];

/// Rounds of one relocation.
const ROUNDS: usize = 3;

/// Failures in a row that end relocation: the first on a sample, or on all rows where there is no sample; the
/// second on all rows after a sample.
pub(crate) const PATIENCE: [usize; 2] = [24, 8];

/// Shares of the time limit, if there is one, at which relocation ends: on a sample, and on all rows.
pub(crate) const SHARES: [f64; 2] = [0.75, 0.9];

/// Rounds in whose time Newton's method mostly converges. Where that is less than two thirds of the limit, relocation
/// leaves it that time.
const NEWTON: f64 = 400.0;

/// The most finishing rounds.
const FINISHING: usize = 40;

/// Newton's method takes over when a round lowers the objective by less than this share of what all finishing
/// rounds have.
const SLOW: f64 = 1e-4;

/// Newton's method takes over when fewer than one row in this many changes its atoms.
const SETTLED: usize = 1000;

/// The most relocations, as a multiple of the patience: near the end each may lower `f` only a little.
const MOST_TRIES: usize = 8;

/// A round that lowers `f` by no more than this share of `f`, plus noise, is undone.
pub(crate) const NOISE: f64 = 1e-11;

/// The noise of a round's objective as a share of `|X|^2`.
const FLOOR: f64 = 1e-14;

/// Called after every round.
pub(crate) type Tell<'a> = dyn Fn(&GateRound) -> ControlFlow<()> + Sync + 'a;

/// What stops a start, and its rounds so far.
pub(crate) struct Course<'a> {
    begun: Instant,
    until: Option<Instant>,
    tell: &'a Tell<'a>,
    pub(crate) rounds: Vec<GateRound>,
    /// Accepted Newton steps so far.
    pub(crate) iterations: u64,
}

impl<'a> Course<'a> {
    /// `begun` is when the fit began: shares of the time, and the seconds of rounds, count from there.
    pub(crate) fn new(begun: Instant, until: Option<Instant>, tell: &'a Tell<'a>) -> Self {
        Self {
            begun,
            until,
            tell,
            rounds: Vec::new(),
            iterations: 0,
        }
    }
}

impl Course<'_> {
    /// Whether the time is up.
    pub(crate) fn is_over(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() >= until)
    }

    /// Whether this share of the time is up, less what Newton's method needs where a round on all rows takes `round`.
    fn is_past(&self, share: f64, round: Duration) -> bool {
        self.until.is_some_and(|until| {
            let whole = until.saturating_duration_since(self.begun);
            let newton = round.mul_f64(NEWTON);
            let fits = newton < whole.mul_f64(2.0 / 3.0);
            let newton = if fits { newton } else { Duration::ZERO };
            self.begun.elapsed() >= whole.mul_f64(share).min(whole - newton)
        })
    }

    /// Records a search of other coordinates on the same atoms.
    ///
    /// # Errors
    /// [`FitError::Cancelled`].
    pub(crate) fn searched(
        &mut self,
        moved: usize,
        objective: f64,
        accepted: bool,
    ) -> Result<(), FitError> {
        self.push(GateRound {
            stage: RoundStage::Coordinates,
            iteration: self.iterations,
            changed: 0,
            moved,
            reseeded: 0,
            objective,
            accepted,
            seconds: self.begun.elapsed().as_secs_f64(),
        })
    }

    fn note(
        &mut self,
        stage: RoundStage,
        state: &impl Judged,
        accepted: bool,
        relocated: usize,
    ) -> Result<(), FitError> {
        self.push(GateRound {
            stage,
            iteration: self.iterations,
            changed: state.changed(),
            moved: 0,
            reseeded: relocated,
            objective: state.objective(),
            accepted,
            seconds: self.begun.elapsed().as_secs_f64(),
        })
    }

    fn push(&mut self, round: GateRound) -> Result<(), FitError> {
        self.rounds.push(round);
        match (self.tell)(&round) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(FitError::Cancelled),
        }
    }
}

/// Rounds over one set of rows.
pub(crate) struct Explorer<'a, E: Engine = RoundMemory> {
    pub(crate) ground: Ground<'a>,
    pub(crate) penalty: Penalty,
    pub(crate) slots: usize,
    engine: E,
    /// The state a round works on, so that it can be undone.
    spare: Option<E::State>,
    /// Noise of a round's objective.
    floor: f64,
    /// What the fastest round took so far.
    fastest: Option<Duration>,
}

impl<'a> Explorer<'a> {
    /// Rounds on the host.
    pub(crate) fn new(ground: Ground<'a>, penalty: Penalty, slots: usize) -> Self {
        Self::on(ground.bench(slots), ground, penalty, slots)
    }

    /// A decoder of random rows, scaled by [`START`]: one for every function of an atom.
    pub(crate) fn random_decoder(&self, rng: &mut ChaCha8Rng) -> Arranged {
        let Ground {
            data, arrangement, ..
        } = self.ground;
        let (n, p, features) = (data.rows(), data.outputs(), arrangement.features());
        let (mut lines, mut tile) = (Vec::with_capacity(features * p), TileMemory::default());
        while lines.len() < features * p {
            let left = features - lines.len() / p;
            for i in sample(rng, n, left.min(n)) {
                lines.extend(data.tile(i, 1, &mut tile).iter().map(|x| START * x));
            }
        }
        arrangement.turn(&mut lines, p);
        Arranged {
            lines,
            intercept: data.mean().to_vec(),
        }
    }

    /// A state with given codes and the decoder fitted to them.
    ///
    /// # Errors
    /// Features that determine no decoder.
    pub(crate) fn around(
        &mut self,
        coordinates: &Coordinates,
        gates: &Gates,
    ) -> Result<RoundState, FitError> {
        let Ground {
            data,
            dictionary,
            arrangement,
            ..
        } = self.ground;
        let features = arrangement.features() * data.outputs();
        let mut state = self.state(Arranged {
            lines: vec![0.0; features],
            intercept: vec![0.0; data.outputs()],
        })?;
        state
            .codes
            .load(dictionary, arrangement, coordinates, gates);
        self.round(Choice::Stay, &mut state)?;
        Ok(state)
    }
}

impl<'a, E: Engine> Explorer<'a, E> {
    /// Rounds by `engine`, which was made for `ground` and `slots`.
    pub(crate) fn on(engine: E, ground: Ground<'a>, penalty: Penalty, slots: usize) -> Self {
        Self {
            ground,
            penalty,
            slots,
            engine,
            spare: None,
            floor: FLOOR * ground.square(),
            fastest: None,
        }
    }

    /// What ran the rounds.
    pub(crate) fn into_engine(self) -> E {
        self.engine
    }

    /// Gives the memory of a state back that rounds need and nothing else.
    pub(crate) fn rest(&mut self) {
        self.spare = None;
    }

    /// A state with `decoder`, before any round.
    ///
    /// # Errors
    /// The engine's.
    pub(crate) fn state(&self, decoder: Arranged) -> Result<E::State, FitError> {
        self.engine.state(&self.ground, decoder, self.slots)
    }

    /// A state of the host's.
    ///
    /// # Errors
    /// The engine's.
    pub(crate) fn load(&self, state: &RoundState) -> Result<E::State, FitError> {
        self.engine.load(state)
    }

    /// The state on the host.
    ///
    /// # Errors
    /// The engine's.
    pub(crate) fn view<'s>(&self, state: &'s E::State) -> Result<Cow<'s, RoundState>, FitError> {
        self.engine.view(&self.ground, state)
    }

    /// A copy of a state.
    fn copied(&self, state: &E::State) -> Result<E::State, FitError> {
        let arranged = Arranged {
            lines: vec![0.0; self.ground.arrangement.features() * self.ground.data.outputs()],
            intercept: vec![0.0; self.ground.data.outputs()],
        };
        let mut copy = self.state(arranged)?;
        self.engine.copy(state, &mut copy)?;
        Ok(copy)
    }

    pub(crate) fn round(&mut self, choice: Choice, state: &mut E::State) -> Result<(), FitError> {
        let begun = Instant::now();
        self.engine
            .round(&self.ground, self.penalty, choice, state)?;
        let took = begun.elapsed();
        self.fastest = Some(self.fastest.map_or(took, |fastest| fastest.min(took)));
        Ok(())
    }

    /// Whether `after` lies below `before` by more than noise. The objective of a round is a difference from
    /// `|X|^2`, so where nearly everything is explained its size does not show its noise.
    fn is_fall(&self, before: f64, after: f64) -> bool {
        before - after > NOISE * before.abs() + self.floor
    }

    /// A copy of a state to work on, in memory that is there if possible.
    fn working_copy(&mut self, state: &E::State) -> Result<E::State, FitError> {
        match self.spare.take() {
            Some(mut now) => {
                self.engine.copy(state, &mut now)?;
                Ok(now)
            }
            None => self.copied(state),
        }
    }

    /// At most `most` rounds in which rows choose anew; fewer if `vain` rounds in a row do not lower the objective.
    /// The best state seen is left in `state`.
    ///
    /// # Errors
    /// Features that determine no decoder; [`FitError::Cancelled`].
    pub(crate) fn explore(
        &mut self,
        stage: RoundStage,
        (most, vain): (usize, usize),
        state: &mut E::State,
        way: &mut Course<'_>,
    ) -> Result<(), FitError> {
        let mut now = self.working_copy(state)?;
        let mut in_vain = 0;
        for _ in 0..most {
            if way.is_over() && state.objective().is_finite() {
                break;
            }
            match self.round(exploring(self.ground.acceptance), &mut now) {
                // The best state so far is kept.
                Err(error) if error.is_of_the_decoder() && state.objective().is_finite() => break,
                ended => ended?,
            }
            let better = now.objective() < state.objective();
            way.note(stage, &now, better, 0)?;
            in_vain = if better { 0 } else { in_vain + 1 };
            if better {
                // The next round goes on from it.
                std::mem::swap(state, &mut now);
                self.engine.copy(state, &mut now)?;
            } else if in_vain == vain {
                break;
            }
        }
        self.spare = Some(now);
        Ok(())
    }

    /// Moves the atoms that explain least to where the errors are, until `patience` attempts in a row fail to lower
    /// the objective. Where there is a time limit it ends at a share of it; these are the share `rows` of all rows.
    ///
    /// # Errors
    /// As [`Explorer::explore`].
    pub(crate) fn relocate(
        &mut self,
        patience: usize,
        (share, rows): (f64, f64),
        state: &mut E::State,
        rng: &mut ChaCha8Rng,
        way: &mut Course<'_>,
    ) -> Result<(), FitError> {
        let Ground {
            data, arrangement, ..
        } = self.ground;
        let (atoms, p) = (arrangement.atoms(), data.outputs());
        let mut many = (atoms / 8).max(1);
        let (mut vain, mut tries) = (0, 0);
        let mut trial = self.copied(state)?;
        while vain < patience && tries < MOST_TRIES * patience {
            let round = self.fastest.unwrap_or_default().div_f64(rows);
            if way.is_past(share, round) {
                break;
            }
            let mut order: Vec<usize> = (0..atoms).collect();
            let shares = state.shares();
            order.sort_by(|&a, &b| shares[a].total_cmp(&shares[b]).then(a.cmp(&b)));
            // Repeating the atom that just failed would fail again, so the next one is tried.
            let from = if many == 1 { vain % atoms } else { 0 };
            let chosen = &order[from..(from + many).min(atoms)];
            let view = self.view(state)?;
            let residuals = Residuals::draw(&self.ground, &view, chosen, rng);
            let mut lines = view.decoder.lines.clone();
            let mut moved = 0;
            for &a in chosen {
                let place = arrangement.place(a);
                let Some(plane) = residuals.plane(place.width, rng) else {
                    continue;
                };
                moved += 1;
                for (line, at) in plane.chunks_exact(p).zip(place.all()) {
                    lines[at * p..][..p].copy_from_slice(line);
                }
            }
            if moved == 0 {
                break;
            }
            // Rows choose anew, so that no codes have to follow.
            arrangement.turn(&mut lines, p);
            drop(view);
            self.engine.copy(state, &mut trial)?;
            self.engine.set_lines(lines, &mut trial)?;
            trial.forget();
            let before = way.rounds.len();
            match self.explore(RoundStage::Relocation, (ROUNDS, ROUNDS), &mut trial, way) {
                // Places that determine no decoder are rejected.
                Err(error) if error.is_of_the_decoder() => {}
                ended => ended?,
            }
            tries += 1;
            let better = self.is_fall(state.objective(), trial.objective());
            // Only the best of its rounds is kept, if any.
            let mut kept = false;
            for round in &mut way.rounds[before..] {
                let is_best = !kept && round.objective == trial.objective();
                kept |= is_best;
                round.accepted = better && is_best;
                round.reseeded = if better && is_best { moved } else { 0 };
            }
            if better {
                std::mem::swap(state, &mut trial);
                vain = 0;
            } else {
                many = (many / 2).max(1);
                vain += 1;
            }
        }
        tracing::debug!(tries, objective = state.objective(), "relocated");
        Ok(())
    }

    /// Rounds in which rows keep what they have unless a new choice is better, `until` they hardly change.
    /// Returns whether all rows have been asked: not if the time was up before, nor if their choices determine no
    /// decoder.
    ///
    /// # Errors
    /// As [`Explorer::explore`].
    pub(crate) fn finish(
        &mut self,
        until: Until,
        state: &mut E::State,
        way: &mut Course<'_>,
    ) -> Result<bool, FitError> {
        let mut now = self.working_copy(state)?;
        let first = state.objective();
        let mut asked = false;
        for _ in 0..FINISHING {
            if way.is_over() {
                break;
            }
            self.engine.copy(state, &mut now)?;
            match self.round(finishing(self.ground.acceptance), &mut now) {
                Err(error) if error.is_of_the_decoder() => break,
                ended => ended?,
            }
            asked = true;
            let fall = state.objective() - now.objective();
            let better = self.is_fall(state.objective(), now.objective());
            way.note(RoundStage::Finishing, &now, better, 0)?;
            let changed = now.changed();
            if better {
                std::mem::swap(state, &mut now);
            }
            let is_over = match until {
                Until::Slow => {
                    let few = changed * SETTLED < self.ground.data.rows().max(SETTLED);
                    few || fall < SLOW * (first - state.objective())
                }
                Until::Fall(least) => fall <= least,
            };
            if !better || is_over {
                break;
            }
        }
        self.spare = Some(now);
        Ok(asked)
    }
}

/// When finishing rounds hand over to Newton's method.
#[derive(Clone, Copy)]
pub(crate) enum Until {
    /// Where it is faster: few rows change ([`SETTLED`]), or the objective falls slowly ([`SLOW`]).
    Slow,
    /// When a round lowers the objective by no more than this.
    Fall(f64),
}

/// The length of a random start's lines relative to the rows they are taken from.
const START: f64 = 0.7;
