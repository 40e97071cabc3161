//! Operands on the device: packed on the host in pieces, sent once for a linearisation.
//!
//! Of a symmetric block the lower triangle travels alone: of the border, `k (k + 1) / 2` numbers. One
//! piece is packed, by every thread, while those before travel.

use super::kernels::Kernels;
use super::layout::Layout;
use crate::system::BorderLines;
use crate::{DenseSystem, Error};
use broadhead_device::{ByteClass, DeviceBuffer, Stream, Uploader};
use rayon::prelude::*;
use std::ops::Range;
use std::time::{Duration, Instant};

/// Numbers that one thread copies at once.
const SHARE: usize = 1 << 14;

/// What sending operands took on the host. The two overlap: together they are more than the whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UploadTimes {
    /// Gathering the caller's arrays into the layout that travels.
    pub packing: Duration,
    /// The packed pieces on their way, by the device's clock; of pieces of at most 1 MiB, which are
    /// not waited for, handing them over.
    pub sending: Duration,
}

/// `D`, `B` and the lower triangle of `C`.
pub(super) struct Operands {
    pub(super) row_hessian: DeviceBuffer<f64>,
    pub(super) cross: DeviceBuffer<f64>,
    pub(super) border: DeviceBuffer<f64>,
    uploader: Uploader<f64>,
    packing: Duration,
}

impl Operands {
    pub(super) fn new(stream: &Stream, layout: &Layout) -> Result<Self, Error> {
        let largest = layout
            .blocks
            .max(layout.unknowns * layout.k)
            .max(layout.k * (layout.k + 1) / 2);
        Ok(Self {
            row_hessian: stream.zeros(layout.blocks, "row_hessian")?,
            cross: stream.zeros(layout.unknowns * layout.k, "row_cross")?,
            border: stream.zeros(layout.square(), "border_hessian")?,
            // A piece holds at least one line of any operand.
            uploader: stream.uploader(largest.max(layout.k).max(32 * 32))?,
            packing: Duration::ZERO,
        })
    }

    /// Sends the numbers of `system`. The border's lines land in `landing`, a border matrix that
    /// is free until the next factorization.
    pub(super) fn refresh(
        &mut self,
        stream: &Stream,
        kernels: &Kernels,
        layout: &Layout,
        system: &DenseSystem<'_>,
        landing: &mut DeviceBuffer<f64>,
    ) -> Result<UploadTimes, Error> {
        self.send_rows(system)?;
        self.send_cross(layout, system)?;
        self.send_border(stream, kernels, layout, system, landing)?;
        Ok(UploadTimes {
            packing: std::mem::take(&mut self.packing),
            sending: self.uploader.finish()?,
        })
    }

    fn send_rows(&mut self, system: &DenseSystem<'_>) -> Result<(), Error> {
        let (rows, blocks) = (system.shape().rows(), system.row_hessian());
        let lines = Lines {
            count: rows.rows(),
            len_of: &|i| rows.dim(i) * rows.dim(i),
            fill: &|part, out| match blocks.as_packed() {
                Some(packed) => {
                    let at = rows.block_offset(part.start);
                    out.copy_from_slice(&packed[at..at + out.len()]);
                }
                None => {
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
            },
        };
        lines.send(&mut self.uploader, &mut self.row_hessian, &mut self.packing)
    }

    fn send_cross(&mut self, layout: &Layout, system: &DenseSystem<'_>) -> Result<(), Error> {
        let (rows, cross, k) = (system.shape().rows(), system.row_cross(), layout.k);
        if k == 0 {
            return Ok(());
        }
        let lines = Lines {
            count: layout.unknowns,
            len_of: &|_| k,
            fill: &|part, out| {
                for (u, line) in part.zip(out.chunks_exact_mut(k)) {
                    let (i, a) = rows.locate(u);
                    cross.copy_row(rows, i, a, line);
                }
            },
        };
        lines.send(&mut self.uploader, &mut self.cross, &mut self.packing)
    }

    fn send_border(
        &mut self,
        stream: &Stream,
        kernels: &Kernels,
        layout: &Layout,
        system: &DenseSystem<'_>,
        landing: &mut DeviceBuffer<f64>,
    ) -> Result<(), Error> {
        let (k, border) = (layout.k, BorderLines::new(system.border_hessian().matrix()));
        let by_column = border.by_column();
        let len_of = |l: usize| match by_column {
            true => k - l,
            false => l + 1,
        };
        let lines = Lines {
            count: k,
            len_of: &len_of,
            fill: &|part, mut out| {
                let mut copy = Vec::new();
                for l in part {
                    let (line, rest) = out.split_at_mut(len_of(l));
                    line.copy_from_slice(border.get(l, &mut copy).1);
                    out = rest;
                }
            },
        };
        lines.send(&mut self.uploader, landing, &mut self.packing)?;
        kernels.border_unpack(stream, layout, landing, by_column, &mut self.border)?;
        Ok(())
    }
}

/// Lines that travel together.
struct Piece {
    /// After the last line.
    end: usize,
    /// Numbers.
    len: usize,
    /// The first line of every part that one thread writes, and where it begins in the piece.
    parts: Vec<(usize, usize)>,
}

/// Lines that travel one after another.
struct Lines<'a> {
    count: usize,
    /// Numbers of a line; no more than a piece holds.
    len_of: &'a dyn Fn(usize) -> usize,
    /// Writes some consecutive lines.
    fill: &'a (dyn Fn(Range<usize>, &mut [f64]) + Sync),
}

impl Lines<'_> {
    /// Sends them to the front of `to`, in as few pieces as hold whole lines.
    fn send(
        &self,
        uploader: &mut Uploader<f64>,
        to: &mut DeviceBuffer<f64>,
        packing: &mut Duration,
    ) -> Result<(), Error> {
        let (mut first, mut sent) = (0, 0);
        while first < self.count {
            let piece = self.piece(first, uploader.longest());
            let there = to.slice_mut(sent..sent + piece.len)?;
            uploader.send(there, ByteClass::Operand, |out| {
                let start = Instant::now();
                self.fill_piece(&piece, out);
                *packing += start.elapsed();
            })?;
            (first, sent) = (piece.end, sent + piece.len);
        }
        Ok(())
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
        let fill = self.fill;
        match shares.len() {
            1 => shares.into_iter().for_each(|(lines, out)| fill(lines, out)),
            _ => shares
                .into_par_iter()
                .for_each(|(lines, out)| fill(lines, out)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines of the lengths given, through pieces of `most` numbers; how many pieces there were.
    fn through_pieces(lengths: &[usize], most: usize) -> (Vec<f64>, usize) {
        let lines = Lines {
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
