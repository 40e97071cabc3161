//! What a capture collects while a stream's calls become nodes of a graph.

use super::buffer::free;
use super::stream::{Kept, Stream};
use crate::fault::Refusal;
use crate::ledger::{ByteClass, Direction, Ledger};
use cudarc::driver::sys;

/// Bytes that one launch of a graph moves.
pub(crate) type Moves = Vec<(Direction, ByteClass, u64)>;

/// The state of a capture under way.
#[derive(Default)]
pub(crate) struct Capture {
    kept: Vec<Kept>,
    moves: Moves,
    frees: Vec<sys::CUdeviceptr>,
    /// How many conditional bodies are open: in them no host memory is reached, for nobody knows
    /// how many bytes would move.
    bodies: usize,
}

impl Capture {
    pub(crate) fn keep(&mut self, kept: impl IntoIterator<Item = Kept>) {
        self.kept.extend(kept);
    }

    pub(crate) fn moves(&mut self, direction: Direction, class: ByteClass, bytes: u64) {
        self.moves.push((direction, class, bytes));
    }

    pub(crate) fn free_afterwards(&mut self, pointer: sys::CUdeviceptr) {
        self.frees.push(pointer);
    }

    /// Opens a body; answers how many are open now.
    pub(crate) fn enter_body(&mut self) -> usize {
        self.bodies += 1;
        self.bodies
    }

    pub(crate) fn leave_body(&mut self) {
        self.bodies -= 1;
    }

    /// What the graph keeps, after the frees that had to wait.
    pub(crate) fn finish(self, stream: &Stream) -> (Vec<Kept>, Moves) {
        for pointer in self.frees {
            free(stream, pointer);
        }
        (self.kept, self.moves)
    }
}

/// Counts what one launch moved.
pub(crate) fn count(ledger: &Ledger, moves: &Moves) {
    for &(direction, class, bytes) in moves {
        ledger.moved(direction, class, bytes);
    }
}

impl Stream {
    /// Declines a host copy inside a conditional body.
    pub(crate) fn host_copy_allowed(&self, what: &str) -> Result<(), Refusal> {
        match &*self.capture_slot() {
            Some(capture) if capture.bodies > 0 => Err(Refusal::Capturing {
                what: what.to_owned(),
                why: "a conditional body reaches no host memory: its bytes could not be counted"
                    .to_owned(),
            }),
            _ => Ok(()),
        }
    }
}
