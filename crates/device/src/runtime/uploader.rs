//! Pinned pieces between host and device: one is filled while others travel.
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
//! Pinning memory is slow (see the stream's own staging), and nobody needs a piece for long: pieces are
//! the context's, borrowed for as long as something travels. One may go back while its last copy is in
//! flight; it is lent again after that.

use super::buffer::{Element, View, ViewMut};
use super::context::Context;
use super::event::RawEvent;
use super::host;
use super::pinned::PinnedBytes;
use super::staging;
use super::stream::Stream;
use crate::fault::{Result, expect_shape};
use crate::ledger::{ByteClass, Direction};
use cudarc::driver::sys;
use std::collections::VecDeque;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Bytes of a pinned piece: 150 us of a link of generation 5, beside which a wait is nothing.
const PIECE: usize = 8 << 20;

/// Pieces that travel for one upload: one is filled, one travels, and one waits to, so that the link need not.
const PIECES: usize = 3;

/// Bytes of a vector that travel at once: fewer than a piece, so that its first part is on its way soon, and so many
/// that to wake threads for them is little beside copying them. Measured: 1 MiB at a time took 80 us a part, of which
/// the link takes 20.
const SHARE: usize = 4 << 20;

/// Idle pieces that a context keeps at most: 96 MiB of pinned memory. More go back to the driver.
const MOST_IDLE: usize = 4 * PIECES;

const IN_A_GRAPH: &str = "a graph would send what the piece holds at every launch";

/// A pinned piece, with when its last copy began and ended.
pub(crate) struct Piece {
    bytes: PinnedBytes,
    began: RawEvent,
    ended: RawEvent,
    in_flight: bool,
}

/// Pieces that nobody has borrowed, the one that was given back last at the end.
#[derive(Default)]
pub(crate) struct PiecePool(Mutex<VecDeque<Piece>>);

impl PiecePool {
    /// A piece that no copy in flight touches: an idle one, else one more. Nobody waits here for another stream.
    fn borrow(&self, stream: &Stream) -> Result<Piece> {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // The last that was used is in the processor's caches; behind whatever else its stream does it may be in
        // flight for long.
        let landed = idle.iter().rposition(Piece::has_landed);
        let piece = landed.and_then(|at| idle.remove(at));
        drop(idle);
        if let Some(mut piece) = piece
            && piece.settle(stream).is_ok()
        {
            return Ok(piece);
        }
        Piece::make(stream.context())
    }

    /// Takes a piece back; its last copy may be in flight. Where there are enough, one goes back to the driver.
    fn give_back(&self, piece: Piece) {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push_back(piece);
        let surplus = match idle.len() > MOST_IDLE {
            true => idle.iter().position(Piece::has_landed),
            false => None,
        };
        let surplus = surplus.and_then(|at| idle.remove(at));
        drop(idle);
        if let Some(mut piece) = surplus {
            // What has landed is freed, not leaked.
            piece.in_flight = false;
        }
    }
}

/// Pieces that travel for one transfer, each with what is in it, in the order in which they were submitted. They
/// go back to the context with this value, whatever became of the transfer.
struct UnderWay<'s, P> {
    stream: &'s Stream,
    pieces: VecDeque<(Piece, P)>,
}

impl<'s, P> UnderWay<'s, P> {
    fn of(stream: &'s Stream) -> Self {
        Self {
            stream,
            pieces: VecDeque::with_capacity(PIECES),
        }
    }

    /// The piece submitted first, settled, once as many travel as may.
    fn first_of_many(&mut self) -> Result<Option<(Piece, P)>> {
        match self.pieces.len() == PIECES {
            true => self.first(),
            false => Ok(None),
        }
    }

    /// The piece submitted first, settled.
    fn first(&mut self) -> Result<Option<(Piece, P)>> {
        if let Some((piece, _)) = self.pieces.front_mut() {
            piece.settle(self.stream)?;
        }
        Ok(self.pieces.pop_front())
    }

    fn borrow(&self) -> Result<Piece> {
        self.stream.context().pieces().borrow(self.stream)
    }
}

impl<P> Drop for UnderWay<'_, P> {
    fn drop(&mut self) {
        let pool = self.stream.context().pieces();
        for (piece, _) in self.pieces.drain(..) {
            pool.give_back(piece);
        }
    }
}

impl Piece {
    fn make(context: &Context) -> Result<Self> {
        Ok(Self {
            bytes: PinnedBytes::make(context, PIECE, "a piece of a transfer")?,
            began: RawEvent::make(context, true)?,
            ended: RawEvent::make(context, true)?,
            in_flight: false,
        })
    }

    /// Whether nobody need wait for it.
    fn has_landed(&self) -> bool {
        !self.in_flight || self.ended.is_done().unwrap_or(false)
    }

    /// Waits for the last copy; how long it was on the link. The wait is counted to `stream` where there
    /// was something to wait for.
    fn settle(&mut self, stream: &Stream) -> Result<Duration> {
        if !self.in_flight {
            return Ok(Duration::ZERO);
        }
        if !self.ended.is_done()? {
            self.ended.wait()?;
            stream.ledger().synchronised();
        }
        self.in_flight = false;
        self.ended.since(&self.began)
    }

    /// The first `len` elements.
    fn elements<T: Element>(&mut self, len: usize) -> &mut [T] {
        assert!(!self.in_flight && len <= PIECE / size_of::<T>());
        // SAFETY: the memory is aligned to a page and holds at least as many elements, of which
        // every byte pattern is one; no copy of it is in flight, and the piece is borrowed
        // exclusively.
        unsafe { host::elements(self.bytes.pointer(), len) }
    }

    /// Submits a copy of at most a piece's bytes between this memory and the device.
    fn copy(
        &mut self,
        stream: &Stream,
        copy: impl FnOnce(*mut u8) -> sys::CUresult,
        (call, direction, class, bytes): (&str, Direction, ByteClass, usize),
    ) -> Result<()> {
        self.began.record(stream)?;
        // From here on the memory is the device's until the copy has ended.
        self.in_flight = true;
        let copied = stream.check(call, copy(self.bytes.pointer()));
        if let Err(fault) = self.ended.record(stream) {
            // No mark says when it ends.
            stream.synchronize()?;
            self.in_flight = false;
            return Err(fault);
        }
        copied?;
        stream.moved(direction, class, bytes as u64);
        stream.submitted([]);
        Ok(())
    }

    /// Submits a copy of its first elements to `to`.
    fn send<T: Element>(
        &mut self,
        stream: &Stream,
        to: &ViewMut<'_, T>,
        class: ByteClass,
    ) -> Result<()> {
        let bytes = to.bytes();
        assert!(bytes <= PIECE);
        // SAFETY: both ends hold `bytes` bytes; the device side lives until the copy has ended by the
        // order of frees, the host side because it is settled before anyone touches it again.
        let copy = |from: *mut u8| unsafe {
            sys::cuMemcpyHtoDAsync_v2(to.pointer(), from.cast(), bytes, stream.raw())
        };
        let what = (
            "cuMemcpyHtoDAsync_v2",
            Direction::HostToDevice,
            class,
            bytes,
        );
        self.copy(stream, copy, what)
    }

    /// Submits a copy of `from` to its first elements.
    fn fetch<T: Element>(
        &mut self,
        stream: &Stream,
        from: &View<'_, T>,
        class: ByteClass,
    ) -> Result<()> {
        let bytes = from.bytes();
        assert!(bytes <= PIECE);
        // SAFETY: as in `send`.
        let copy = |to: *mut u8| unsafe {
            sys::cuMemcpyDtoHAsync_v2(to.cast(), from.pointer(), bytes, stream.raw())
        };
        let what = (
            "cuMemcpyDtoHAsync_v2",
            Direction::DeviceToHost,
            class,
            bytes,
        );
        self.copy(stream, copy, what)
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        if self.in_flight {
            self.bytes.leak();
        }
    }
}

enum Memory {
    /// Small transfers go through the stream's staging, without a wait.
    Staged,
    /// What is borrowed, at its turn.
    Pinned([Option<Piece>; PIECES]),
}

/// Sends what its caller writes, a piece at a time, to buffers of one stream.
pub struct Uploader<T: Element> {
    stream: Stream,
    memory: Memory,
    len: usize,
    turn: usize,
    spent: Duration,
    kind: PhantomData<fn(T)>,
}

impl Stream {
    /// An uploader of pieces of at most `len` elements, and of no more than
    /// [`Uploader::LONGEST`].
    ///
    /// # Errors
    /// A [`Refusal`](crate::Refusal) in a capture.
    pub fn uploader<T: Element>(&self, len: usize) -> Result<Uploader<T>> {
        self.not_capturing("an uploader", IN_A_GRAPH)?;
        let len = len.min(Uploader::<T>::LONGEST);
        let memory = match len * size_of::<T>() <= staging::HALF {
            true => Memory::Staged,
            false => Memory::Pinned([None, None, None]),
        };
        Ok(Uploader {
            stream: self.clone(),
            memory,
            len,
            turn: 0,
            spent: Duration::ZERO,
            kind: PhantomData,
        })
    }

    /// Sends more than staging holds, part by part; see [`Stream::upload_with`].
    pub(crate) fn upload_long<T: Element>(
        &self,
        mut to: ViewMut<'_, T>,
        class: ByteClass,
        fill: &(impl Fn(Range<usize>, &mut [T]) + Sync),
    ) -> Result<()> {
        let mut under_way = UnderWay::of(self);
        for part in shares::<T>(to.len()) {
            let mut piece = match under_way.first_of_many()? {
                Some((piece, ())) => piece,
                None => under_way.borrow()?,
            };
            host::write_by_all(part.start, piece.elements(part.len()), fill);
            // Another thread may have begun one meanwhile.
            self.not_capturing("upload", IN_A_GRAPH)?;
            let sent = piece.send(self, &to.reborrow().slice(part)?, class);
            under_way.pieces.push_back((piece, ()));
            sent?;
        }
        Ok(())
    }

    /// Fetches more than staging holds, part by part; see [`Stream::download_with`].
    pub(crate) fn download_long<T: Element>(
        &self,
        from: View<'_, T>,
        class: ByteClass,
        mut take: impl FnMut(Range<usize>, &[T]),
    ) -> Result<()> {
        let mut under_way = UnderWay::of(self);
        let mut land = |(mut piece, part): (Piece, Range<usize>)| {
            take(part.clone(), piece.elements(part.len()));
            piece
        };
        for part in shares::<T>(from.len()) {
            let mut piece = match under_way.first_of_many()? {
                Some(landed) => land(landed),
                None => under_way.borrow()?,
            };
            self.not_capturing("download", IN_A_GRAPH)?;
            let asked = piece.fetch(self, &from.slice(part.clone())?, class);
            under_way.pieces.push_back((piece, part));
            asked?;
        }
        while let Some(landed) = under_way.first()? {
            let piece = land(landed);
            self.context().pieces().give_back(piece);
        }
        Ok(())
    }
}

/// Parts of `len` elements that travel at once.
fn shares<T>(len: usize) -> impl Iterator<Item = Range<usize>> {
    let most = SHARE / size_of::<T>();
    (0..len)
        .step_by(most)
        .map(move |first| first..(first + most).min(len))
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
    /// pieces. Waits for the piece three before, not for this one. `fill` must not use this stream, nor, where
    /// pieces are not pinned, wait for anyone who does: those are written in the stream's own memory.
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
            Memory::Staged => {
                let (start, mut took) = (Instant::now(), Duration::ZERO);
                let answer = stream.upload_staged(to, class, |out| {
                    let begun = Instant::now();
                    let answer = fill(out);
                    took = begun.elapsed();
                    answer
                })?;
                self.spent += start.elapsed().saturating_sub(took);
                return Ok(answer);
            }
            Memory::Pinned(pieces) => pieces,
        };
        stream.enter()?;
        let slot = &mut pieces[self.turn];
        let piece = match slot {
            Some(piece) => {
                self.spent += piece.settle(stream)?;
                piece
            }
            None => slot.insert(stream.context().pieces().borrow(stream)?),
        };
        let answer = fill(piece.elements(to.len()));
        if !to.is_empty() {
            // Another thread may have begun one meanwhile.
            stream.not_capturing("upload", IN_A_GRAPH)?;
            self.turn = (self.turn + 1) % PIECES;
            piece.send(stream, &to, class)?;
        }
        Ok(answer)
    }

    /// Whether pieces are pinned, so that [`Uploader::finish`] tells times of the device's clock.
    pub fn is_pinned(&self) -> bool {
        matches!(self.memory, Memory::Pinned(..))
    }

    /// Waits until everything sent has arrived, and gives back what was borrowed. How long pieces were on the
    /// link since the last such call, which overlaps with filling; of small ones, how long handing them over took.
    ///
    /// # Errors
    /// A [`Fault`](crate::Fault).
    pub fn finish(&mut self) -> Result<Duration> {
        if let Memory::Pinned(pieces) = &mut self.memory {
            for piece in pieces.iter_mut().flatten() {
                self.spent += piece.settle(&self.stream)?;
            }
            self.give_back();
        }
        Ok(std::mem::take(&mut self.spent))
    }

    fn give_back(&mut self) {
        let Memory::Pinned(pieces) = &mut self.memory else {
            return;
        };
        let pool = self.stream.context().pieces();
        // In the order in which they were sent.
        pieces.rotate_left(self.turn);
        self.turn = 0;
        for piece in pieces.iter_mut().filter_map(Option::take) {
            pool.give_back(piece);
        }
    }
}

impl<T: Element> Drop for Uploader<T> {
    fn drop(&mut self) {
        self.give_back();
    }
}

impl<T: Element> std::fmt::Debug for Uploader<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Uploader(of {} elements)", self.len)
    }
}
