//! A stream's own pinned bytes, through which small transfers go without waiting.
//!
//! ```text
//! | half 0: copies submitted before its mark | half 1: being filled -> |
//! ```
//! Pieces are handed out in order. When a half is full it is marked in the stream's order and the
//! other half is taken, after its own mark has been reached. So no byte is written again before
//! the copy that reads it has ended.
//!
//! Pinning memory takes the driver most of a millisecond. So the first staging is made with the
//! context, which takes a hundred times as long, and a stream that ends leaves its own to the next:
//! only a stream beyond as many as ever lived at once pays for its first small transfer.

use super::context::Context;
use super::event::RawEvent;
use super::pinned::PinnedBytes;
use super::stream::Stream;
use crate::fault::Result;
use std::sync::{Mutex, PoisonError};

/// Bytes of one half, and the largest transfer that is staged. Larger ones gain nothing: the copy
/// itself takes longer than waiting for it.
pub(crate) const HALF: usize = 1 << 20;

/// Pieces start on this boundary: a cache line of host and device.
pub(crate) const ALIGNMENT: usize = 128;

/// The bytes are reached only through [`Staging::piece`], by the stream that holds this in a mutex; it
/// waits for all of its work before it lets go of them.
pub(crate) struct Staging {
    bytes: PinnedBytes,
    marks: [RawEvent; 2],
    marked: [bool; 2],
    half: usize,
    used: usize,
}

/// Stagings that no stream holds.
#[derive(Default)]
pub(crate) struct StagingPool(Mutex<Vec<Staging>>);

/// Idle stagings that are kept at most: 32 MiB of pinned memory. More go back to the driver.
const MOST_IDLE: usize = 16;

impl StagingPool {
    /// An idle staging, or a new one.
    pub(crate) fn take(&self, context: &Context) -> Result<Staging> {
        let idle = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match idle {
            Some(staging) => Ok(staging),
            None => Staging::make(context),
        }
    }

    /// Takes a staging back that no copy in flight touches.
    pub(crate) fn give_back(&self, mut staging: Staging) {
        (staging.marked, staging.half, staging.used) = ([false; 2], 0, 0);
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MOST_IDLE {
            idle.push(staging);
        }
    }
}

impl Staging {
    fn make(context: &Context) -> Result<Self> {
        Ok(Self {
            bytes: PinnedBytes::make(context, 2 * HALF, "staging of small transfers")?,
            marks: [
                RawEvent::make(context, false)?,
                RawEvent::make(context, false)?,
            ],
            marked: [false; 2],
            half: 0,
            used: 0,
        })
    }

    /// A piece of `bytes` bytes (at most [`HALF`]) that no copy in flight touches. It stays the
    /// caller's until the caller's next piece; the copy that uses it must be submitted to `stream`
    /// before then.
    pub(crate) fn piece(&mut self, stream: &Stream, bytes: usize) -> Result<*mut u8> {
        debug_assert!(bytes <= HALF);
        if self.used + bytes > HALF {
            self.marks[self.half].record(stream)?;
            self.marked[self.half] = true;
            self.half = 1 - self.half;
            self.used = 0;
            let mark = &self.marks[self.half];
            if self.marked[self.half] && !mark.is_done()? {
                mark.wait()?;
                stream.ledger().synchronised();
            }
            self.marked[self.half] = false;
        }
        let offset = self.half * HALF + self.used;
        self.used = (self.used + bytes).next_multiple_of(ALIGNMENT);
        // SAFETY: the piece lies inside the two halves allocated.
        Ok(unsafe { self.bytes.pointer().add(offset) })
    }
}
