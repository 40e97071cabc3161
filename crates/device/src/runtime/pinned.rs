//! Pinned host memory: the end of a transfer that does not wait.
//!
//! The device may write pinned memory at any time between the submission of a copy and its end. So
//! no Rust reference to it is ever handed out: [`PinnedBuffer::write`] and [`PinnedBuffer::read`]
//! copy in and out, after the last copy that was submitted has ended.

use super::buffer::Element;
use super::event::RawEvent;
use super::stream::{Kept, Stream};
use crate::fault::{Fault, Result, expect_shape};
use cudarc::driver::sys;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

/// Page-locked bytes of one stream, with the end of the last copy that touches them.
pub(crate) struct PinnedAllocation {
    pub(crate) pointer: *mut u8,
    stream: Stream,
    last: RawEvent,
    in_flight: AtomicBool,
    /// Held while the host copies in or out.
    host: Mutex<()>,
}

// SAFETY: the bytes are reached only through the copies below, which hold the mutex.
unsafe impl Send for PinnedAllocation {}
// SAFETY: as above.
unsafe impl Sync for PinnedAllocation {}

impl PinnedAllocation {
    pub(crate) fn make(stream: &Stream, bytes: usize, what_for: &str) -> Result<Self> {
        stream.enter()?;
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
        stream.check("cuMemHostAlloc", status)?;
        Ok(Self {
            pointer: pointer.cast(),
            stream: stream.clone(),
            last: RawEvent::make(stream.context(), false)?,
            in_flight: AtomicBool::new(false),
            host: Mutex::new(()),
        })
    }

    /// Notes that a copy was just submitted.
    pub(crate) fn submitted(&self) -> Result<()> {
        self.in_flight.store(true, Relaxed);
        self.last.record(&self.stream)
    }

    /// Waits for the last copy. The wait is counted where there was something to wait for.
    fn settle(&self) -> Result<()> {
        if !self.in_flight.load(Relaxed) {
            return Ok(());
        }
        if !self.last.is_done()? {
            self.last.wait()?;
            self.stream.ledger().synchronised();
        }
        self.in_flight.store(false, Relaxed);
        Ok(())
    }
}

impl Drop for PinnedAllocation {
    fn drop(&mut self) {
        if self.stream.enter().is_err() || self.settle().is_err() {
            return;
        }
        // SAFETY: the last copy has ended and nobody else holds the memory.
        let status = unsafe { sys::cuMemFreeHost(self.pointer.cast()) };
        if let Err(fault) = self.stream.check("cuMemFreeHost", status) {
            tracing::warn!(%fault, "pinned memory was not freed");
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
    /// [`Fault::OutOfMemory`], or another [`Fault`].
    pub fn pinned<T: Element>(&self, len: usize, what_for: &str) -> Result<PinnedBuffer<T>> {
        self.not_capturing("pinned", "host memory is allocated outside of captures")?;
        let bytes = len * size_of::<T>();
        let allocation = PinnedAllocation::make(self, bytes, what_for)?;
        // SAFETY: the allocation holds at least `bytes` bytes, and no copy is in flight.
        unsafe { allocation.pointer.write_bytes(0, bytes) };
        Ok(PinnedBuffer {
            allocation: Arc::new(allocation),
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
        // SAFETY: both hold `len` elements; the memory is page-locked and aligned to a page; the
        // lock keeps other host copies out, and no device copy is in flight.
        unsafe {
            let to = self.allocation.pointer.cast::<T>();
            to.copy_from_nonoverlapping(values.as_ptr(), self.len);
        }
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
        // SAFETY: as in `write`; every byte pattern is a `T`.
        unsafe {
            let from = self.allocation.pointer.cast::<T>().cast_const();
            values.as_mut_ptr().copy_from_nonoverlapping(from, self.len);
        }
        Ok(())
    }

    pub(crate) fn pointer(&self) -> *mut u8 {
        self.allocation.pointer
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
