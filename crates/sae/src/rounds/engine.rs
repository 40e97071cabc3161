//! Where rounds run, and the states that they work on: on the host, or on a device.

use super::device::{self, DeviceRounds, DeviceState};
use super::round::{Arranged, Choice, Ground, Penalty, RoundMemory, RoundState};
use crate::error::FitError;
use broadhead_device::DevicePolicy;
use broadhead_schur::{Error, SolverOptions};
use std::borrow::Cow;

/// What runs rounds over one set of rows.
pub(crate) trait Engine {
    /// A decoder, codes, and what follows from them, where the rounds run.
    type State: Judged;

    /// A state with `decoder`, before any round.
    ///
    /// # Errors
    /// The device's.
    fn state(
        &self,
        ground: &Ground<'_>,
        decoder: Arranged,
        slots: usize,
    ) -> Result<Self::State, FitError>;

    /// A state of the host's.
    ///
    /// # Errors
    /// The device's.
    fn load(&self, state: &RoundState) -> Result<Self::State, FitError>;

    /// Copies a state into the memory of another one.
    ///
    /// # Errors
    /// The device's.
    fn copy(&self, from: &Self::State, to: &mut Self::State) -> Result<(), FitError>;

    /// The state on the host.
    ///
    /// # Errors
    /// The device's.
    fn view<'s>(
        &self,
        ground: &Ground<'_>,
        state: &'s Self::State,
    ) -> Result<Cow<'s, RoundState>, FitError>;

    /// Replaces the lines of a state's decoder.
    ///
    /// # Errors
    /// The device's.
    fn set_lines(&self, lines: Vec<f64>, state: &mut Self::State) -> Result<(), FitError>;

    /// One round: rows choose, and the decoder follows.
    ///
    /// # Errors
    /// Features that determine no decoder; the device's.
    fn round(
        &mut self,
        ground: &Ground<'_>,
        penalty: Penalty,
        choice: Choice,
        state: &mut Self::State,
    ) -> Result<(), FitError>;
}

/// What a round found.
pub(crate) trait Judged {
    /// The objective of the codes with their decoder. Infinite before the first round.
    fn objective(&self) -> f64;

    /// Forgets the objective.
    fn forget(&mut self);

    /// Rows in which the last round switched other atoms on.
    fn changed(&self) -> usize;

    /// By atom, the trace of `W_a W_a' G_aa`.
    fn shares(&self) -> &[f64];
}

macro_rules! judged {
    ($($state:ty),*) => {$(
        impl Judged for $state {
            fn objective(&self) -> f64 {
                self.objective
            }

            fn forget(&mut self) {
                self.objective = f64::INFINITY;
            }

            fn changed(&self) -> usize {
                self.changed
            }

            fn shares(&self) -> &[f64] {
                &self.shares
            }
        }
    )*};
}
judged!(RoundState, DeviceState);

impl Engine for RoundMemory {
    type State = RoundState;

    fn state(
        &self,
        ground: &Ground<'_>,
        decoder: Arranged,
        slots: usize,
    ) -> Result<RoundState, FitError> {
        Ok(RoundState::before_rounds(ground, decoder, slots))
    }

    fn load(&self, state: &RoundState) -> Result<RoundState, FitError> {
        Ok(state.clone())
    }

    fn copy(&self, from: &RoundState, to: &mut RoundState) -> Result<(), FitError> {
        to.clone_from(from);
        Ok(())
    }

    fn view<'s>(
        &self,
        _ground: &Ground<'_>,
        state: &'s RoundState,
    ) -> Result<Cow<'s, RoundState>, FitError> {
        Ok(Cow::Borrowed(state))
    }

    fn set_lines(&self, lines: Vec<f64>, state: &mut RoundState) -> Result<(), FitError> {
        state.decoder.lines = lines;
        Ok(())
    }

    fn round(
        &mut self,
        ground: &Ground<'_>,
        penalty: Penalty,
        choice: Choice,
        state: &mut RoundState,
    ) -> Result<(), FitError> {
        Ok(ground.round(self, penalty, choice, state)?)
    }
}

impl Engine for DeviceRounds {
    type State = DeviceState;

    fn state(
        &self,
        _ground: &Ground<'_>,
        decoder: Arranged,
        _slots: usize,
    ) -> Result<DeviceState, FitError> {
        self.before_rounds(&decoder)
    }

    fn load(&self, state: &RoundState) -> Result<DeviceState, FitError> {
        self.send(state)
    }

    fn copy(&self, from: &DeviceState, to: &mut DeviceState) -> Result<(), FitError> {
        DeviceRounds::copy(self, from, to)
    }

    fn view<'s>(
        &self,
        ground: &Ground<'_>,
        state: &'s DeviceState,
    ) -> Result<Cow<'s, RoundState>, FitError> {
        Ok(Cow::Owned(self.fetch(ground.arrangement, state)?))
    }

    fn set_lines(&self, lines: Vec<f64>, state: &mut DeviceState) -> Result<(), FitError> {
        self.send_lines(&lines, state)
    }

    fn round(
        &mut self,
        _ground: &Ground<'_>,
        penalty: Penalty,
        choice: Choice,
        state: &mut DeviceState,
    ) -> Result<(), FitError> {
        DeviceRounds::round(self, penalty, choice, state)
    }
}

/// Products of a round's pulls from which on the device is the faster place: a round there takes 0.1 ms however few
/// they are, and the rows are sent first.
const LEAST: f64 = 3e7;

/// What runs rounds over `ground` on the device of `options`, where there is one for them that serves them.
///
/// # Errors
/// The device's; a want of memory only where the device is required.
pub(crate) fn on_device(
    ground: &Ground<'_>,
    slots: usize,
    options: &SolverOptions,
) -> Result<Option<DeviceRounds>, FitError> {
    let (Some(place), policy) = (&options.device, options.device_policy) else {
        return Ok(None);
    };
    let data = ground.data;
    let work = data.rows() as f64 * ground.arrangement.features() as f64 * data.outputs() as f64;
    let is_wanted = match policy {
        DevicePolicy::Off => false,
        DevicePolicy::Required => true,
        DevicePolicy::Auto => work >= LEAST,
    };
    if !(is_wanted && device::serves(ground, slots)) {
        return Ok(None);
    }
    match DeviceRounds::new(&place.stream, ground, slots) {
        Err(FitError::Solver(Error::Device(declined)))
            if policy == DevicePolicy::Auto && declined.is_out_of_memory() =>
        {
            tracing::warn!(%declined, "no memory on the device for rounds: they run on the CPU");
            Ok(None)
        }
        made => made.map(Some),
    }
}
