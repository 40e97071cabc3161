//! Pinned host memory: the end of a transfer that does not wait.
//!
//! The device may write pinned memory at any time between the submission of a copy and its end. So
//! no Rust reference to it is ever handed out: [`PinnedBuffer::write`] and [`PinnedBuffer::read`]
//! copy in and out, after the last copy that was submitted has ended.

use super::buffer::Element;
use super::context::Context;
use super::event::RawEvent;
use super::host;
use super::stream::{Kept, Stream};
use crate::fault::{Fault, Result, expect_shape};
use cudarc::driver::sys;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

/// Page-locked bytes, all zero at first. Who holds them sees to it that no copy of them is in flight
/// when they are dropped.
pub(crate) struct PinnedBytes {
    pointer: *mut u8,
    context: Context,
}

// SAFETY: plain memory, which is reached through its holder alone.
unsafe impl Send for PinnedBytes {}
// SAFETY: as above.
unsafe impl Sync for PinnedBytes {}

impl PinnedBytes {
    pub(crate) fn make(context: &Context, bytes: usize, what_for: &str) -> Result<Self> {
        context.enter()?;
        let mut pointer = std::ptr::null_mut();
        // SAFETY: the context is current; the result outlives the call.
        let status = unsafe { sys::cuMemHostAlloc(&mut pointer, bytes.max(1), 0) };
        if status == sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY {
            return Err(Fault::PinnedMemory {
                asked: bytes as u64,
                what_for: what_for.to_owned(),
            }
            .into());
        }
        context.check("cuMemHostAlloc", status)?;
        let pointer = pointer.cast::<u8>();
        // SAFETY: the allocation holds at least `bytes` bytes, and nothing else knows of it.
        unsafe { pointer.write_bytes(0, bytes) };
        Ok(Self {
            pointer,
            context: context.clone(),
        })
    }

    pub(crate) fn pointer(&self) -> *mut u8 {
        self.pointer
    }

    /// Never frees them: a copy may be in flight that nobody can wait for. In drops alone, for there is
    /// no pointer to them afterwards.
    pub(crate) fn leak(&mut self) {
        self.pointer = std::ptr::null_mut();
    }
}

impl Drop for PinnedBytes {
    fn drop(&mut self) {
        // On a lost device the memory went with the context.
        if self.pointer.is_null() || self.context.enter().is_err() {
            return;
        }
        // SAFETY: no copy is in flight and nobody else holds the memory.
        let status = unsafe { sys::cuMemFreeHost(self.pointer.cast()) };
        if let Err(fault) = self.context.check("cuMemFreeHost", status) {
            tracing::warn!(%fault, "pinned memory was not freed");
        }
    }
}

/// Page-locked bytes of one stream, with the end of the last copy that touches them.
pub(crate) struct PinnedAllocation {
    bytes: PinnedBytes,
    stream: Stream,
    last: RawEvent,
    in_flight: AtomicBool,
    /// Whether `last` marks the end of what is in flight.
    marked: AtomicBool,
    /// Held while the host copies in or out.
    host: Mutex<()>,
}

impl PinnedAllocation {
    fn make(stream: &Stream, bytes: usize, what_for: &str) -> Result<Self> {
        Ok(Self {
            bytes: PinnedBytes::make(stream.context(), bytes, what_for)?,
            stream: stream.clone(),
            last: RawEvent::make(stream.context(), false)?,
            in_flight: AtomicBool::new(false),
            marked: AtomicBool::new(false),
            host: Mutex::new(()),
        })
    }

    pub(crate) fn pointer(&self) -> *mut u8 {
        self.bytes.pointer()
    }

    /// Notes that a copy was just submitted.
    pub(crate) fn submitted(&self) -> Result<()> {
        self.in_flight.store(true, Relaxed);
        self.marked.store(false, Relaxed);
        self.last.record(&self.stream)?;
        self.marked.store(true, Relaxed);
        Ok(())
    }

    /// Waits for the last copy. The wait is counted where there was something to wait for.
    fn settle(&self) -> Result<()> {
        if !self.in_flight.load(Relaxed) {
            return Ok(());
        }
        if !self.marked.load(Relaxed) {
            self.stream.synchronize()?;
        } else if !self.last.is_done()? {
            self.last.wait()?;
            self.stream.ledger().synchronised();
        }
        self.in_flight.store(false, Relaxed);
        Ok(())
    }
}

impl Drop for PinnedAllocation {
    fn drop(&mut self) {
        if self.settle().is_err() {
            self.bytes.leak();
        }
    }
}

/// `len` elements of page-locked host memory that belong to one stream.
pub struct PinnedBuffer<T: Element> {
    allocation: Arc<PinnedAllocation>,
    len: usize,
    kind: PhantomData<T>,
}

impl Stream {
    /// Page-locked memory for `len` elements, all zero bytes.
    ///
    /// # Errors
    /// [`Fault::PinnedMemory`], or another [`Fault`].
    pub fn pinned<T: Element>(&self, len: usize, what_for: &str) -> Result<PinnedBuffer<T>> {
        self.not_capturing("pinned", "host memory is allocated outside of captures")?;
        let bytes = len * size_of::<T>();
        Ok(PinnedBuffer {
            allocation: Arc::new(PinnedAllocation::make(self, bytes, what_for)?),
            len,
            kind: PhantomData,
        })
    }
}

impl<T: Element> PinnedBuffer<T> {
    /// Elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Copies `values` in, after the last submitted copy has ended.
    ///
    /// # Errors
    /// A [`Refusal`](crate::Refusal) of another length; a [`Fault`].
    pub fn write(&mut self, values: &[T]) -> Result<()> {
        expect_shape(values.len() == self.len, "write", self.len, values.len())?;
        let _host = self
            .allocation
            .host
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        self.allocation.settle()?;
        // SAFETY: both hold `len` elements; the lock keeps other host copies out, and no device copy
        // is in flight.
        unsafe { host::copy_in(values, self.allocation.pointer()) };
        Ok(())
    }

    /// Copies everything out, after the last submitted copy has ended.
    ///
    /// # Errors
    /// A [`Refusal`](crate::Refusal) of another length; a [`Fault`].
    pub fn read(&self, values: &mut [T]) -> Result<()> {
        expect_shape(values.len() == self.len, "read", self.len, values.len())?;
        let _host = self
            .allocation
            .host
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        self.allocation.settle()?;
        // SAFETY: as in `write`; the memory was zeroed when it was made.
        unsafe { host::copy_out(self.allocation.pointer(), values) };
        Ok(())
    }

    pub(crate) fn pointer(&self) -> *mut u8 {
        self.allocation.pointer()
    }

    pub(crate) fn stream(&self) -> &Stream {
        &self.allocation.stream
    }

    pub(crate) fn kept(&self) -> Kept {
        Kept::Pinned(self.allocation.clone())
    }

    pub(crate) fn submitted(&self) -> Result<()> {
        match self.allocation.stream.is_capturing() {
            true => Ok(()),
            false => self.allocation.submitted(),
        }
    }
}
