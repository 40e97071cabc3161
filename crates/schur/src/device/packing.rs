//! Operands on their way to a device, packed into pieces by all threads, line by line.
//!
//! ```text
//! lines   | 0 | 1 | 2 | 3 | 4 | ...         of any lengths
//! parts   |  thread  |  thread  | ...       whole lines, some 128 KiB
//! pieces  |        travels       | ...      whole parts, what an uploader takes at most
//! ```

use crate::{Error, RowBlocks, RowDims};
use broadhead_device::{ByteClass, DeviceBuffer, Stream, Uploader};
use rayon::prelude::*;
use std::ops::Range;
use std::time::{Duration, Instant};

/// Numbers that one thread writes at once.
const SHARE: usize = 1 << 14;

/// A piece of no more numbers is written by the caller's thread, before others have woken up; so is whatever a
/// stream stages, which no other work may interrupt.
const FEW: usize = Stream::STAGED / size_of::<f64>();

/// Lines that travel together.
struct Piece {
    /// After the last line.
    end: usize,
    /// Numbers.
    len: usize,
    /// The first line of every part that one thread writes, and where it begins in the piece.
    parts: Vec<(usize, usize)>,
}

/// An operand, line by line, as it is packed and sent.
pub(crate) struct PackedUpload<'a> {
    pub(crate) count: usize,
    /// Numbers of a line.
    pub(crate) len_of: &'a dyn Fn(usize) -> usize,
    /// Writes some consecutive lines, over numbers of others.
    pub(crate) fill: &'a (dyn Fn(Range<usize>, &mut [f64]) + Sync),
}

impl PackedUpload<'_> {
    /// Sends them to the front of `to`, in as few pieces as hold whole lines; how long writing them
    /// took.
    pub(crate) fn send(
        &self,
        uploader: &mut Uploader<f64>,
        to: &mut DeviceBuffer<f64>,
    ) -> Result<Duration, Error> {
        let mut packing = Duration::ZERO;
        let (mut first, mut sent) = (0, 0);
        while first < self.count {
            let piece = self.piece(first, uploader.longest());
            if piece.end == first {
                // A line that no piece holds.
                let start = Instant::now();
                let mut line = vec![0.0; (self.len_of)(first)];
                (self.fill)(first..first + 1, &mut line);
                packing += start.elapsed();
                let there = to.slice_mut(sent..sent + line.len())?;
                uploader
                    .stream()
                    .upload_into(&line, there, ByteClass::Operand)?;
                (first, sent) = (first + 1, sent + line.len());
                continue;
            }
            let there = to.slice_mut(sent..sent + piece.len)?;
            uploader.send(there, ByteClass::Operand, |out| {
                let start = Instant::now();
                self.fill_piece(&piece, out);
                packing += start.elapsed();
            })?;
            (first, sent) = (piece.end, sent + piece.len);
        }
        Ok(packing)
    }

    /// The lines from `first` on that fit into `most` numbers.
    fn piece(&self, first: usize, most: usize) -> Piece {
        let mut piece = Piece {
            end: first,
            len: 0,
            parts: Vec::new(),
        };
        while piece.end < self.count {
            let line = (self.len_of)(piece.end);
            if piece.len + line > most {
                break;
            }
            let full = |&(_, at): &(usize, usize)| piece.len - at >= SHARE;
            if piece.parts.last().is_none_or(full) {
                piece.parts.push((piece.end, piece.len));
            }
            piece.len += line;
            piece.end += 1;
        }
        piece
    }

    /// Writes the lines of a piece, a part a thread.
    fn fill_piece(&self, piece: &Piece, out: &mut [f64]) {
        let ends = piece.parts.iter().skip(1).copied();
        let ends = ends.chain([(piece.end, piece.len)]);
        let mut rest = out;
        let mut shares = Vec::with_capacity(piece.parts.len());
        for (&(line, at), (end, end_at)) in piece.parts.iter().zip(ends) {
            let (share, after) = rest.split_at_mut(end_at - at);
            shares.push((line..end, share));
            rest = after;
        }
        let fill = |(lines, out)| (self.fill)(lines, out);
        match piece.len <= FEW {
            true => shares.into_iter().for_each(fill),
            false => shares.into_par_iter().for_each(fill),
        }
    }
}

/// Writes consecutive row blocks, each row-major, with zeros above the diagonal.
pub(crate) fn write_blocks(
    rows: &RowDims,
    blocks: RowBlocks<'_>,
    part: Range<usize>,
    out: &mut [f64],
) {
    let mut at = 0;
    for i in part {
        let d = rows.dim(i);
        for a in 0..d {
            for b in 0..d {
                out[at + b] = match b <= a {
                    true => blocks.get(rows, i, a, b),
                    false => 0.0,
                };
            }
            at += d;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines of the lengths given, through pieces of `most` numbers; how many pieces there were.
    fn through_pieces(lengths: &[usize], most: usize) -> (Vec<f64>, usize) {
        let lines = PackedUpload {
            count: lengths.len(),
            len_of: &|l| lengths[l],
            fill: &|part, mut out| {
                for l in part {
                    let (line, rest) = out.split_at_mut(lengths[l]);
                    for (c, number) in line.iter_mut().enumerate() {
                        *number = (l * 1000 + c) as f64;
                    }
                    out = rest;
                }
                assert!(out.is_empty(), "{} numbers were left", out.len());
            },
        };
        let (mut all, mut pieces, mut first) = (Vec::new(), 0, 0);
        while first < lines.count {
            let piece = lines.piece(first, most);
            assert!(piece.end > first && piece.len <= most);
            let mut out = vec![f64::NAN; piece.len];
            lines.fill_piece(&piece, &mut out);
            all.extend(out);
            first = piece.end;
            pieces += 1;
        }
        (all, pieces)
    }

    #[test]
    fn every_line_travels_once_in_order() {
        let triangle: Vec<usize> = (1..=400).collect();
        let columns: Vec<usize> = (1..=400).rev().collect();
        let ragged: Vec<usize> = (0..60_000).map(|l| [1, 4, 9, 0, 256][l % 5]).collect();
        for lengths in [triangle, columns, ragged, vec![5], vec![]] {
            let numbers = |(l, &len): (usize, &usize)| (0..len).map(move |c| (l * 1000 + c) as f64);
            let wanted: Vec<f64> = lengths.iter().enumerate().flat_map(numbers).collect();
            for most in [400, 30_000, 1 << 20] {
                let (found, pieces) = through_pieces(&lengths, most);
                assert!(found == wanted, "pieces of {most}");
                assert!(pieces >= wanted.len().div_ceil(most), "pieces of {most}");
            }
        }
    }
}
