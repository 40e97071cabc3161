//! Samples by the device's events or the host's clock, ledgers and the witness's pass.

use super::Sampling;
use crate::record::{L2, Timer, Witnessed};
use broadhead_device::kernels::KernelSource;
use broadhead_device::witness::Witness;
use broadhead_device::{DeviceError, LedgerSnapshot, Stream};
use broadhead_gate::Decline;
use std::time::{Duration, Instant};

/// What a phase answers.
pub(super) type Outcome<T> = Result<T, Decline>;

/// Runs before the samples that are not kept.
const WARM: usize = 3;

/// Work that takes less than these seconds is done once, untimed, between a rest and its sample: a
/// processor and a device that slept take longer over the first work they get, and work so brief draws
/// no power to speak of.
const BRIEF: f64 = 2e-3;

/// Samples of one phase and what goes with them.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) samples: Vec<f64>,
    pub(super) timer: Timer,
    pub(super) units: u32,
    pub(super) rest: f64,
    pub(super) l2: Option<L2>,
    pub(super) floor_bytes: Option<u64>,
    pub(super) ledger: LedgerSnapshot,
    pub(super) witness: Option<Witnessed>,
}

impl Taken {
    pub(super) fn units(self, units: u32) -> Self {
        Self { units, ..self }
    }

    pub(super) fn l2(self, l2: L2) -> Self {
        Self {
            l2: Some(l2),
            ..self
        }
    }

    pub(super) fn floor(self, bytes: u64) -> Self {
        Self {
            floor_bytes: Some(bytes),
            ..self
        }
    }
}

/// Times work, or in a pass apart lets the witness watch it once.
#[derive(Debug)]
pub(super) struct Clock<'c> {
    stream: &'c Stream,
    sampling: Sampling,
    rest: Duration,
    watch: bool,
}

impl<'c> Clock<'c> {
    /// One that times, after a rest before each sample.
    pub(super) fn timing(stream: &'c Stream, sampling: Sampling, rest: Duration) -> Self {
        Self {
            stream,
            sampling,
            rest,
            watch: false,
        }
    }

    /// One that lets the witness watch.
    pub(super) fn watching(stream: &'c Stream, sampling: Sampling) -> Self {
        Self {
            stream,
            sampling,
            rest: Duration::ZERO,
            watch: true,
        }
    }

    /// Samples of `work` by events in its stream; `prepare` comes before each and is not timed.
    pub(super) fn events<S>(
        &self,
        state: &mut S,
        prepare: impl Fn(&mut S) -> Outcome<()>,
        work: impl Fn(&mut S) -> Outcome<()>,
    ) -> Outcome<Taken> {
        let sample = |state: &mut S| -> Outcome<f64> {
            let start = self.stream.mark().map_err(device)?;
            work(state)?;
            let end = self.stream.mark().map_err(device)?;
            Ok(end.since(&start).map_err(device)?.as_secs_f64())
        };
        self.take(Timer::DeviceEvents, state, prepare, sample)
    }

    /// Samples of `work`, which returns when its result is there, by the host's clock.
    pub(super) fn wall<S>(
        &self,
        state: &mut S,
        prepare: impl Fn(&mut S) -> Outcome<()>,
        work: impl Fn(&mut S) -> Outcome<()>,
    ) -> Outcome<Taken> {
        let sample = |state: &mut S| -> Outcome<f64> {
            let start = Instant::now();
            work(state)?;
            Ok(start.elapsed().as_secs_f64())
        };
        self.take(Timer::HostWallClock, state, prepare, sample)
    }

    /// Samples that the work itself reports, by the clock that `timer` names.
    pub(super) fn reported<S>(
        &self,
        timer: Timer,
        state: &mut S,
        work: impl Fn(&mut S) -> Outcome<f64>,
    ) -> Outcome<Taken> {
        self.take(timer, state, |_| Ok(()), work)
    }

    fn take<S>(
        &self,
        timer: Timer,
        state: &mut S,
        prepare: impl Fn(&mut S) -> Outcome<()>,
        sample: impl Fn(&mut S) -> Outcome<f64>,
    ) -> Outcome<Taken> {
        let once = |state: &mut S, brief: bool| -> Outcome<(f64, LedgerSnapshot)> {
            if !self.rest.is_zero() {
                std::thread::sleep(self.rest);
                if brief {
                    prepare(state)?;
                    sample(state)?;
                }
            }
            prepare(state)?;
            self.stream.synchronize().map_err(device)?;
            let before = self.stream.ledger().snapshot();
            let seconds = sample(state)?;
            let after = self.stream.ledger().snapshot();
            Ok((seconds, after.since(&before)))
        };
        let mut taken = Taken {
            samples: Vec::new(),
            timer,
            units: 1,
            rest: self.rest.as_secs_f64(),
            l2: None,
            floor_bytes: None,
            ledger: LedgerSnapshot::default(),
            witness: None,
        };
        if self.watch {
            prepare(state)?;
            taken.witness = watched(self.stream, || sample(state).map(drop))?;
            return Ok(taken);
        }
        let (mut seconds, _) = once(state, false)?;
        let expensive = seconds > 0.2 * self.sampling.seconds;
        for _ in 1..WARM {
            if !expensive {
                (seconds, _) = once(state, seconds < BRIEF)?;
            }
        }
        let least = if seconds > self.sampling.seconds {
            2
        } else {
            5
        };
        let brief = seconds < BRIEF;
        // What the first runs load is none of the samples' time.
        let begin = Instant::now();
        while taken.samples.len() < self.sampling.max_samples
            && (taken.samples.len() < least
                || begin.elapsed().as_secs_f64() < self.sampling.seconds)
        {
            let (seconds, moved) = once(state, brief)?;
            taken.samples.push(seconds);
            taken.ledger = moved;
        }
        Ok(taken)
    }
}

/// A pass with the witness over `work`, everything in it: absent where the witness is.
fn watched(stream: &Stream, work: impl FnOnce() -> Outcome<()>) -> Outcome<Option<Witnessed>> {
    stream.synchronize().map_err(device)?;
    let sources: Vec<&KernelSource> = broadhead_schur::device::kernel_sources()
        .iter()
        .chain(broadhead_sae::lm::device::kernel_sources())
        .copied()
        .collect();
    let witness = match Witness::start(stream.context(), &sources) {
        Ok(witness) => witness,
        Err(DeviceError::Absence(absence)) => {
            eprintln!("no witness: {absence}");
            return Ok(None);
        }
        Err(error) => return Err(device(error)),
    };
    let before = stream.ledger().snapshot();
    work()?;
    stream.synchronize().map_err(device)?;
    let account = stream.ledger().snapshot().since(&before);
    let activity = witness.finish().map_err(device)?;
    Ok(Some(Witnessed { account, activity }))
}

/// A device's error as a reason.
pub(super) fn device(error: impl Into<DeviceError>) -> Decline {
    match error.into() {
        DeviceError::Absence(absence) => absence.into(),
        other => Decline::Failed {
            error: other.to_string(),
        },
    }
}
