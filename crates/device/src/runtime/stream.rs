//! A stream: work in order, counted into one ledger.
//!
//! Everything on a device happens through a stream. Calls on one stream run in the order in which
//! they were made; calls on two streams run in any order. A buffer therefore belongs to one stream,
//! which allocates it, orders its uses and frees it after the last of them
//! ([`DeviceBuffer::move_to`](crate::DeviceBuffer::move_to) changes the stream).

use super::buffer::Allocation;
use super::capture::Capture;
use super::context::{Answer, Context};
use super::event::RawEvent;
use super::handles::HandlePair;
use super::pinned::PinnedAllocation;
use super::staging::{self, Staging};
use crate::fault::{Fault, Refusal, Result};
use crate::ledger::{ByteClass, Direction, Ledger};
use cudarc::driver::sys;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Work in order on one device. Clones are the same stream.
#[derive(Clone)]
pub struct Stream(Arc<Inner>);

struct Inner {
    context: Context,
    raw: sys::CUstream,
    id: u64,
    ledger: Ledger,
    handles: Mutex<Option<HandlePair>>,
    staging: Mutex<Option<Staging>>,
    capture: Mutex<Option<Capture>>,
}

// SAFETY: the driver's stream may be used from any thread; everything else is behind a mutex.
unsafe impl Send for Inner {}
// SAFETY: as above.
unsafe impl Sync for Inner {}

/// What a call keeps alive while a graph may still replay it.
#[derive(Clone)]
pub(crate) enum Kept {
    Device(#[allow(dead_code)] Arc<Allocation>),
    Pinned(Arc<PinnedAllocation>),
}

impl Stream {
    /// Bytes of a transfer up to which it goes through the stream's own pinned memory: 1 MiB.
    pub const STAGED: usize = staging::HALF;

    pub(crate) fn make(context: &Context, id: u64, ledger: &Ledger) -> Result<Self> {
        context.enter()?;
        let mut raw = std::ptr::null_mut();
        let flags = sys::CUstream_flags::CU_STREAM_NON_BLOCKING as u32;
        // SAFETY: the context is current; the result outlives the call.
        context.check("cuStreamCreate", unsafe {
            sys::cuStreamCreate(&mut raw, flags)
        })?;
        Ok(Self(Arc::new(Inner {
            context: context.clone(),
            raw,
            id,
            ledger: ledger.clone(),
            handles: Mutex::default(),
            staging: Mutex::default(),
            capture: Mutex::default(),
        })))
    }

    /// The device.
    pub fn context(&self) -> &Context {
        &self.0.context
    }

    /// The account that this stream's calls count into.
    pub fn ledger(&self) -> &Ledger {
        &self.0.ledger
    }

    /// A number that no other stream of this device has.
    pub fn id(&self) -> u64 {
        self.0.id
    }

    /// Waits for all work of this stream.
    ///
    /// # Errors
    /// A [`Fault`]: also that of earlier work, which is found here. A [`Refusal`] in a capture.
    pub fn synchronize(&self) -> Result<()> {
        self.not_capturing("synchronize", "the host cannot wait inside a graph")?;
        self.enter()?;
        // SAFETY: the stream lives.
        self.check("cuStreamSynchronize", unsafe {
            sys::cuStreamSynchronize(self.raw())
        })?;
        self.ledger().synchronised();
        Ok(())
    }

    /// Lets all further work of this stream begin after all present work of `other`.
    ///
    /// # Errors
    /// A [`Fault`], or a [`Refusal`] in a capture.
    pub fn wait_for(&self, other: &Stream) -> Result<()> {
        self.not_capturing("wait_for", "a capture holds one stream")?;
        other.not_capturing("wait_for", "a capture holds one stream")?;
        if self.id() == other.id() {
            return Ok(());
        }
        let event = RawEvent::make(self.context(), false)?;
        event.record(other)?;
        self.enter()?;
        // SAFETY: both handles live; destroying the event afterwards leaves the wait in place.
        self.check("cuStreamWaitEvent", unsafe {
            sys::cuStreamWaitEvent(self.raw(), event.raw(), 0)
        })?;
        Ok(())
    }

    pub(crate) fn raw(&self) -> sys::CUstream {
        self.0.raw
    }

    pub(crate) fn enter(&self) -> Answer {
        self.context().enter()
    }

    pub(crate) fn check(&self, call: &str, status: sys::CUresult) -> Answer {
        self.context().check(call, status)
    }

    /// Counts one submission, unless it went into a graph: the launch of the graph counts then.
    pub(crate) fn submitted(&self, keep: impl IntoIterator<Item = Kept>) {
        match &mut *self.capture_slot() {
            Some(capture) => capture.keep(keep),
            None => self.ledger().submitted(),
        }
    }

    /// Counts bytes that crossed the bus, or that each launch of the graph in the making will move.
    pub(crate) fn moved(&self, direction: Direction, class: ByteClass, bytes: u64) {
        tracing::trace!(stream = self.id(), ?direction, ?class, bytes, "copy");
        match &mut *self.capture_slot() {
            Some(capture) => capture.moves(direction, class, bytes),
            None => self.ledger().moved(direction, class, bytes),
        }
    }

    /// Declines a buffer of another stream.
    pub(crate) fn owns(&self, what: &str, home: &Stream) -> std::result::Result<(), Refusal> {
        if Arc::ptr_eq(&self.0, &home.0) {
            return Ok(());
        }
        Err(Refusal::ForeignStream {
            what: what.to_owned(),
            home: home.id(),
            used: self.id(),
        })
    }

    /// Whether a capture is under way: calls become nodes of a graph instead of running.
    pub fn is_capturing(&self) -> bool {
        self.capture_slot().is_some()
    }

    pub(crate) fn not_capturing(&self, what: &str, why: &str) -> std::result::Result<(), Refusal> {
        if !self.is_capturing() {
            return Ok(());
        }
        Err(Refusal::Capturing {
            what: what.to_owned(),
            why: why.to_owned(),
        })
    }

    pub(crate) fn capture_slot(&self) -> MutexGuard<'_, Option<Capture>> {
        self.0
            .capture
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn staging(&self) -> MutexGuard<'_, Option<Staging>> {
        self.0
            .staging
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `call` with this stream's handles.
    pub(crate) fn with_handles<T>(
        &self,
        call: impl FnOnce(&HandlePair) -> std::result::Result<T, Fault>,
    ) -> Result<T> {
        self.enter()?;
        let mut slot = self
            .0
            .handles
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let pair = match &mut *slot {
            Some(pair) => pair,
            empty => {
                let why = "handles are made outside of captures";
                self.not_capturing("a first library call", why)?;
                let pair = self.context().handles().take(self.context())?;
                pair.attach(self.context(), self.raw())?;
                empty.insert(pair)
            }
        };
        Ok(call(pair)?)
    }

    /// Makes this stream's library handles now, so that a capture may use them.
    ///
    /// # Errors
    /// A [`Fault`].
    pub fn prepare_handles(&self) -> Result<()> {
        self.with_handles(|_| Ok(()))
    }
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Stream({} on {:?})", self.0.id, self.0.context)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // On a lost device there is nothing to wait for and nothing to free.
        if self.context.enter().is_err() {
            return;
        }
        // SAFETY: no clone is left, so no buffer of this stream is either. All work is awaited
        // before the handles go to another stream and the stream goes away.
        unsafe {
            let ended = sys::cuStreamSynchronize(self.raw);
            if self.context.check("cuStreamSynchronize", ended).is_err() {
                return;
            }
            let pair = self
                .handles
                .get_mut()
                .unwrap_or_else(PoisonError::into_inner);
            if let Some(pair) = pair.take() {
                self.context.handles().give_back(pair);
            }
            let staging = self
                .staging
                .get_mut()
                .unwrap_or_else(PoisonError::into_inner);
            if let Some(staging) = staging.take() {
                self.context.stagings().give_back(staging);
            }
            let ended = sys::cuStreamDestroy_v2(self.raw);
            if let Err(fault) = self.context.check("cuStreamDestroy_v2", ended) {
                tracing::warn!(%fault, "a stream was not destroyed");
            }
        }
    }
}
