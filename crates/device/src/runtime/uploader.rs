//! Host memory on its way in: one pinned piece is filled while others travel.
//!
//! ```text
//! host    | fill 0 | fill 1 | fill 2 | fill 0 | ...
//! link             | 0      | 1      | 2      | 0 ...
//! ```
//! A copy from memory that is not pinned goes through pieces of the driver's own, which one thread
//! fills. Here the caller fills them, with as many threads as it likes, so that numbers which have to
//! be gathered anyway are touched once. A piece is handed out for filling only while no copy of it is
//! in flight, and no graph can hold one, so that the reference to it is the only way to its memory.
//!
//! Pinning memory is slow (see the stream's own staging): what a finished uploader held goes to the next
//! one of the same context.

use super::buffer::{Element, ViewMut};
use super::event::RawEvent;
use super::host;
use super::pinned::PinnedBytes;
use super::staging;
use super::stream::Stream;
use crate::fault::{Result, expect_shape};
use crate::ledger::{ByteClass, Direction};
use cudarc::driver::sys;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Bytes of a pinned piece: 150 us of a link of generation 5, beside which a wait is nothing.
const PIECE: usize = 8 << 20;

/// Pieces of an uploader: one is filled, one travels, and one waits to, so that the link need not.
const PIECES: usize = 3;

/// Idle pieces that a context keeps at most: 96 MiB of pinned memory. More go back to the driver.
const MOST_IDLE: usize = 4 * PIECES;

const IN_A_GRAPH: &str = "a graph would send what the piece holds at every launch";

/// A pinned piece, with when its last copy began and ended.
pub(crate) struct Piece {
    bytes: PinnedBytes,
    began: RawEvent,
    ended: RawEvent,
    in_flight: bool,
    /// Whether `ended` marks the end of what is in flight.
    marked: bool,
}

/// Pieces that no uploader holds.
#[derive(Default)]
pub(crate) struct PiecePool(Mutex<Vec<Piece>>);

impl PiecePool {
    fn take(&self, stream: &Stream) -> Result<Piece> {
        let idle = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match idle {
            Some(piece) => Ok(piece),
            None => Piece::make(stream),
        }
    }

    /// Takes a piece back that no copy in flight touches.
    fn give_back(&self, piece: Piece) {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MOST_IDLE {
            idle.push(piece);
        }
    }
}

impl Piece {
    fn make(stream: &Stream) -> Result<Self> {
        let context = stream.context();
        Ok(Self {
            bytes: PinnedBytes::make(context, PIECE, "a piece of an upload")?,
            began: RawEvent::make(context, true)?,
            ended: RawEvent::make(context, true)?,
            in_flight: false,
            marked: false,
        })
    }

    /// Waits for the last copy; how long it was on the link. The wait is counted where there was
    /// something to wait for.
    fn settle(&mut self, stream: &Stream) -> Result<Duration> {
        if !self.in_flight {
            return Ok(Duration::ZERO);
        }
        if !self.marked {
            stream.synchronize()?;
            self.in_flight = false;
            return Ok(Duration::ZERO);
        }
        if !self.ended.is_done()? {
            self.ended.wait()?;
            stream.ledger().synchronised();
        }
        self.in_flight = false;
        self.ended.since(&self.began)
    }
}

enum Memory<T> {
    /// Small transfers go through the stream's staging, without a wait.
    Host(Vec<T>),
    Pinned([Piece; PIECES]),
}

/// Sends what its caller writes, a piece at a time, to buffers of one stream.
pub struct Uploader<T: Element> {
    stream: Stream,
    memory: Memory<T>,
    len: usize,
    turn: usize,
    spent: Duration,
}

impl Stream {
    /// An uploader of pieces of at most `len` elements, and of no more than
    /// [`Uploader::LONGEST`].
    ///
    /// # Errors
    /// [`Fault::PinnedMemory`](crate::Fault), or another [`Fault`](crate::Fault).
    pub fn uploader<T: Element + Default>(&self, len: usize) -> Result<Uploader<T>> {
        self.not_capturing(
            "an uploader",
            "host memory is allocated outside of captures",
        )?;
        let len = len.min(Uploader::<T>::LONGEST);
        let memory = if len * size_of::<T>() <= staging::HALF {
            Memory::Host(vec![T::default(); len])
        } else {
            let pool = self.context().pieces();
            Memory::Pinned([pool.take(self)?, pool.take(self)?, pool.take(self)?])
        };
        Ok(Uploader {
            stream: self.clone(),
            memory,
            len,
            turn: 0,
            spent: Duration::ZERO,
        })
    }
}

impl<T: Element> Uploader<T> {
    /// The most elements of a piece: 8 MiB of them.
    pub const LONGEST: usize = PIECE / size_of::<T>();

    /// The stream whose buffers it sends to.
    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// The most elements that one [`Uploader::send`] takes.
    pub fn longest(&self) -> usize {
        self.len
    }

    /// Sends to `to` what `fill` writes, whose slice is as long as `to` and holds numbers of earlier
    /// pieces. Waits for the piece three before, not for this one.
    ///
    /// # Errors
    /// A [`Refusal`](crate::Refusal) where `to` is longer than [`Uploader::longest`] or another stream's, or a
    /// capture is under way; a [`Fault`](crate::Fault).
    pub fn send<R>(
        &mut self,
        to: ViewMut<'_, T>,
        class: ByteClass,
        fill: impl FnOnce(&mut [T]) -> R,
    ) -> Result<R> {
        let stream = &self.stream;
        stream.not_capturing("upload", IN_A_GRAPH)?;
        stream.owns("upload", to.home())?;
        expect_shape(
            to.len() <= self.len,
            "upload",
            format_args!("at most {}", self.len),
            to.len(),
        )?;
        let pieces = match &mut self.memory {
            Memory::Host(values) => {
                let values = &mut values[..to.len()];
                let answer = fill(values);
                let start = Instant::now();
                stream.upload_into(values, to, class)?;
                self.spent += start.elapsed();
                return Ok(answer);
            }
            Memory::Pinned(pieces) => pieces,
        };
        stream.enter()?;
        let piece = &mut pieces[self.turn];
        self.spent += piece.settle(stream)?;
        let pointer = piece.bytes.pointer();
        // SAFETY: the memory is aligned to a page and holds at least as many elements, of which
        // every byte pattern is one; no copy of it is in flight, and the piece is borrowed
        // exclusively.
        let answer = fill(unsafe { host::elements(pointer, to.len()) });
        let bytes = to.bytes();
        if bytes > 0 {
            // Another thread may have begun one meanwhile.
            stream.not_capturing("upload", IN_A_GRAPH)?;
            self.turn = (self.turn + 1) % PIECES;
            piece.began.record(stream)?;
            // From here on the memory is the device's until the copy has ended.
            (piece.in_flight, piece.marked) = (true, false);
            // SAFETY: both ends hold `bytes` bytes; the device side lives until the copy has ended
            // by the order of frees, the host side because it is settled before it is filled again
            // or goes back.
            let copied = stream.check("cuMemcpyHtoDAsync_v2", unsafe {
                sys::cuMemcpyHtoDAsync_v2(to.pointer(), pointer.cast(), bytes, stream.raw())
            });
            piece.ended.record(stream)?;
            piece.marked = true;
            copied?;
            stream.moved(Direction::HostToDevice, class, bytes as u64);
            stream.submitted([]);
        }
        Ok(answer)
    }

    /// Whether pieces are pinned, so that [`Uploader::finish`] tells times of the device's clock.
    pub fn is_pinned(&self) -> bool {
        matches!(self.memory, Memory::Pinned(_))
    }

    /// Waits until everything sent has arrived. How long pieces were on the link since the last such
    /// call, which overlaps with filling; of small ones, how long handing them over took.
    ///
    /// # Errors
    /// A [`Fault`](crate::Fault).
    pub fn finish(&mut self) -> Result<Duration> {
        if let Memory::Pinned(pieces) = &mut self.memory {
            for piece in pieces {
                self.spent += piece.settle(&self.stream)?;
            }
        }
        Ok(std::mem::take(&mut self.spent))
    }
}

impl<T: Element> Drop for Uploader<T> {
    fn drop(&mut self) {
        let Memory::Pinned(pieces) = std::mem::replace(&mut self.memory, Memory::Host(Vec::new()))
        else {
            return;
        };
        for mut piece in pieces {
            if piece.settle(&self.stream).is_ok() {
                self.stream.context().pieces().give_back(piece);
            }
        }
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        if self.in_flight {
            self.bytes.leak();
        }
    }
}

impl<T: Element> std::fmt::Debug for Uploader<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Uploader(of {} elements)", self.len)
    }
}
