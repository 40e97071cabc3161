//! Events: marks in a stream's order, and the time between two of them.

use super::context::Context;
use super::stream::Stream;
use crate::fault::Result;
use cudarc::driver::sys;
use std::time::Duration;

/// A driver event, destroyed with this value.
pub(crate) struct RawEvent {
    raw: sys::CUevent,
    context: Context,
}

// SAFETY: events may be used from any thread.
unsafe impl Send for RawEvent {}
// SAFETY: as above.
unsafe impl Sync for RawEvent {}

impl RawEvent {
    pub(crate) fn make(context: &Context, timed: bool) -> Result<Self> {
        context.enter()?;
        use sys::CUevent_flags as F;
        let flags = match timed {
            true => F::CU_EVENT_DEFAULT,
            false => F::CU_EVENT_DISABLE_TIMING,
        };
        let mut raw = std::ptr::null_mut();
        // SAFETY: the context is current; the result outlives the call.
        context.check("cuEventCreate", unsafe {
            sys::cuEventCreate(&mut raw, flags as u32)
        })?;
        Ok(Self {
            raw,
            context: context.clone(),
        })
    }

    pub(crate) fn raw(&self) -> sys::CUevent {
        self.raw
    }

    pub(crate) fn record(&self, stream: &Stream) -> Result<()> {
        stream.enter()?;
        // SAFETY: event and stream live and are of one context.
        stream.check("cuEventRecord", unsafe {
            sys::cuEventRecord(self.raw, stream.raw())
        })?;
        Ok(())
    }

    pub(crate) fn wait(&self) -> Result<()> {
        self.context.enter()?;
        // SAFETY: the event lives.
        self.context.check("cuEventSynchronize", unsafe {
            sys::cuEventSynchronize(self.raw)
        })?;
        Ok(())
    }

    /// Whether everything before the mark is done.
    pub(crate) fn is_done(&self) -> Result<bool> {
        self.context.enter()?;
        // SAFETY: the event lives.
        match unsafe { sys::cuEventQuery(self.raw) } {
            sys::CUresult::CUDA_ERROR_NOT_READY => Ok(false),
            status => {
                self.context.check("cuEventQuery", status)?;
                Ok(true)
            }
        }
    }
}

impl RawEvent {
    /// Device time from `earlier`; both were made with timing on and are done. Resolution about 0.5 us.
    pub(crate) fn since(&self, earlier: &Self) -> Result<Duration> {
        let mut milliseconds = 0f32;
        // SAFETY: both events live and were recorded with timing on.
        self.context.check("cuEventElapsedTime_v2", unsafe {
            sys::cuEventElapsedTime_v2(&mut milliseconds, earlier.raw, self.raw)
        })?;
        Ok(Duration::from_secs_f64(
            f64::from(milliseconds.max(0.0)) * 1e-3,
        ))
    }
}

impl Drop for RawEvent {
    fn drop(&mut self) {
        if self.context.enter().is_err() {
            return;
        }
        // SAFETY: nothing else holds the event; the driver keeps it until work that waits is done.
        let status = unsafe { sys::cuEventDestroy_v2(self.raw) };
        if let Err(fault) = self.context.check("cuEventDestroy_v2", status) {
            tracing::warn!(%fault, "an event was not destroyed");
        }
    }
}

/// A mark in a stream's order, with the time at which the device reached it.
pub struct Mark {
    event: RawEvent,
    stream: Stream,
}

impl Stream {
    /// Marks the present end of this stream's work.
    ///
    /// # Errors
    /// A [`Fault`](crate::Fault), or a [`Refusal`](crate::Refusal) in a capture.
    pub fn mark(&self) -> Result<Mark> {
        self.not_capturing("mark", "a graph's marks carry no time of one launch")?;
        let event = RawEvent::make(self.context(), true)?;
        event.record(self)?;
        Ok(Mark {
            event,
            stream: self.clone(),
        })
    }
}

impl Mark {
    /// Device time from `earlier` to this mark; waits for this one. Resolution about 0.5 us.
    ///
    /// # Errors
    /// A [`Fault`](crate::Fault).
    pub fn since(&self, earlier: &Mark) -> Result<Duration> {
        if !self.event.is_done()? {
            self.event.wait()?;
            self.stream.ledger().synchronised();
        }
        self.event.since(&earlier.event)
    }
}

/// Device time by phase: marks between the named stretches of one stream's work.
///
/// ```text
/// start --[factor]-- mark --[solve]-- mark --[factor]-- mark
/// ```
/// Nothing waits until [`Phases::read`].
pub struct Phases {
    start: Mark,
    ends: Vec<(&'static str, Mark)>,
}

impl Phases {
    /// Starts the first phase.
    ///
    /// # Errors
    /// As [`Stream::mark`].
    pub fn start(stream: &Stream) -> Result<Self> {
        Ok(Self {
            start: stream.mark()?,
            ends: Vec::new(),
        })
    }

    /// Ends the present phase, names it, and starts the next.
    ///
    /// # Errors
    /// As [`Stream::mark`].
    pub fn end(&mut self, name: &'static str) -> Result<()> {
        let mark = self.start.stream.mark()?;
        self.ends.push((name, mark));
        Ok(())
    }

    /// Seconds by phase, in the order of first use; phases of one name add up.
    ///
    /// # Errors
    /// A [`Fault`](crate::Fault).
    pub fn read(&self) -> Result<Vec<(&'static str, f64)>> {
        let mut seconds: Vec<(&'static str, f64)> = Vec::new();
        let mut last = &self.start;
        for (name, mark) in &self.ends {
            let took = mark.since(last)?.as_secs_f64();
            match seconds.iter_mut().find(|(known, _)| known == name) {
                Some((_, sum)) => *sum += took,
                None => seconds.push((name, took)),
            }
            last = mark;
        }
        Ok(seconds)
    }
}
