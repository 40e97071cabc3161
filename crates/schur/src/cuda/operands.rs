//! Operands on the device: packed on the host in pieces, sent once for a linearisation.
//!
//! Of a symmetric block the lower triangle travels alone: of the border, `k (k + 1) / 2` numbers.

use super::kernels::Kernels;
use super::layout::Layout;
use crate::system::BorderLines;
use crate::{DenseSystem, Error};
use broadhead_device::{ByteClass, DeviceBuffer, Stream};
use rayon::prelude::*;
use std::time::{Duration, Instant};

/// Numbers of a piece that is packed and sent at once.
const PIECE: usize = 4 << 20;

/// What sending operands took on the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UploadTimes {
    /// Gathering the caller's arrays into the layout that travels.
    pub packing: Duration,
    /// Handing the packed pieces over, until the last was read.
    pub sending: Duration,
}

/// `D`, `B` and the lower triangle of `C`.
pub(super) struct Operands {
    pub(super) row_hessian: DeviceBuffer<f64>,
    pub(super) cross: DeviceBuffer<f64>,
    pub(super) border: DeviceBuffer<f64>,
    piece: Vec<f64>,
}

impl Operands {
    pub(super) fn new(stream: &Stream, layout: &Layout) -> Result<Self, Error> {
        let largest = layout
            .blocks
            .max(layout.unknowns * layout.k)
            .max(layout.k * (layout.k + 1) / 2);
        // A piece holds at least one line of any operand.
        let piece = largest.min(PIECE).max(layout.k).max(32 * 32);
        Ok(Self {
            row_hessian: stream.zeros(layout.blocks, "row_hessian")?,
            cross: stream.zeros(layout.unknowns * layout.k, "row_cross")?,
            border: stream.zeros(layout.square(), "border_hessian")?,
            piece: vec![0.0; piece],
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
        let mut times = UploadTimes::default();
        self.send_rows(stream, system, &mut times)?;
        self.send_cross(stream, layout, system, &mut times)?;
        self.send_border(stream, kernels, layout, system, landing, &mut times)?;
        Ok(times)
    }

    fn send_rows(
        &mut self,
        stream: &Stream,
        system: &DenseSystem<'_>,
        times: &mut UploadTimes,
    ) -> Result<(), Error> {
        let (rows, blocks) = (system.shape().rows(), system.row_hessian());
        if let Some(packed) = blocks.as_packed() {
            return timed(&mut times.sending, || {
                let to = self.row_hessian.view_mut();
                Ok(stream.upload_into(packed, to, ByteClass::Operand)?)
            });
        }
        let (mut first, mut sent) = (0, 0);
        while first < rows.rows() {
            let piece = &mut self.piece;
            let (mut end, mut len) = (first, 0);
            timed(&mut times.packing, || {
                while end < rows.rows() {
                    let d = rows.dim(end);
                    if len + d * d > piece.len() {
                        break;
                    }
                    for a in 0..d {
                        for b in 0..d {
                            piece[len + a * d + b] = match b <= a {
                                true => blocks.get(rows, end, a, b),
                                false => 0.0,
                            };
                        }
                    }
                    len += d * d;
                    end += 1;
                }
            });
            let to = self.row_hessian.slice_mut(sent..sent + len)?;
            timed(&mut times.sending, || {
                stream.upload_into(&self.piece[..len], to, ByteClass::Operand)
            })?;
            (first, sent) = (end, sent + len);
        }
        Ok(())
    }

    fn send_cross(
        &mut self,
        stream: &Stream,
        layout: &Layout,
        system: &DenseSystem<'_>,
        times: &mut UploadTimes,
    ) -> Result<(), Error> {
        let (rows, cross, k) = (system.shape().rows(), system.row_cross(), layout.k);
        if k == 0 {
            return Ok(());
        }
        let at_once = self.piece.len() / k;
        for first in (0..layout.unknowns).step_by(at_once) {
            let count = at_once.min(layout.unknowns - first);
            let piece = &mut self.piece[..count * k];
            timed(&mut times.packing, || {
                let lines = piece.par_chunks_exact_mut(k).enumerate();
                lines.for_each(|(u, line)| {
                    let (i, a) = rows.locate(first + u);
                    cross.copy_row(rows, i, a, line);
                });
            });
            let to = self.cross.slice_mut(first * k..(first + count) * k)?;
            timed(&mut times.sending, || {
                stream.upload_into(piece, to, ByteClass::Operand)
            })?;
        }
        Ok(())
    }

    fn send_border(
        &mut self,
        stream: &Stream,
        kernels: &Kernels,
        layout: &Layout,
        system: &DenseSystem<'_>,
        landing: &mut DeviceBuffer<f64>,
        times: &mut UploadTimes,
    ) -> Result<(), Error> {
        let (k, lines) = (layout.k, BorderLines::new(system.border_hessian().matrix()));
        let len_of = |l: usize| match lines.by_column() {
            true => k - l,
            false => l + 1,
        };
        let (mut first, mut sent) = (0, 0);
        while first < k {
            let (mut end, mut len) = (first, 0);
            while end < k && len + len_of(end) <= self.piece.len() {
                len += len_of(end);
                end += 1;
            }
            timed(&mut times.packing, || {
                let mut rest = &mut self.piece[..len];
                let mut parts = Vec::with_capacity(end - first);
                for l in first..end {
                    let (part, after) = rest.split_at_mut(len_of(l));
                    parts.push((l, part));
                    rest = after;
                }
                parts.into_par_iter().for_each(|(l, part)| {
                    let mut copy = Vec::new();
                    part.copy_from_slice(lines.get(l, &mut copy).1);
                });
            });
            let to = landing.slice_mut(sent..sent + len)?;
            timed(&mut times.sending, || {
                stream.upload_into(&self.piece[..len], to, ByteClass::Operand)
            })?;
            (first, sent) = (end, sent + len);
        }
        kernels.border_unpack(stream, layout, landing, lines.by_column(), &mut self.border)?;
        Ok(())
    }
}

fn timed<T>(sum: &mut Duration, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let answer = work();
    *sum += start.elapsed();
    answer
}
