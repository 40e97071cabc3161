//! Operands on the device: packed on the host in pieces, sent once for a linearisation.
//!
//! Of a symmetric block the lower triangle travels alone: of the border, `k (k + 1) / 2` numbers. One
//! piece is packed, by every thread, while those before travel.

use super::kernels::Kernels;
use super::layout::Layout;
use super::packing::{PackedUpload, write_blocks};
use crate::system::LowerTriangle;
use crate::{DenseSystem, Error};
use broadhead_device::{DeviceBuffer, Stream, Uploader};
use std::time::Duration;

/// What sending operands took on the host. The two overlap: together they are more than the whole.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct UploadTimes {
    /// Gathering the caller's arrays into the layout that travels.
    pub(crate) packing: Duration,
    /// The packed pieces on their way, by the device's clock; where no operand is larger than 1 MiB,
    /// whose pieces are not waited for, handing them over, by the host's.
    pub(crate) sending: Duration,
    /// Whether `sending` is by the device's clock.
    pub(crate) on_device_clock: bool,
}

/// `D`, `B` and the lower triangle of `C`.
pub(crate) struct Operands {
    pub(crate) row_hessian: DeviceBuffer<f64>,
    pub(crate) cross: DeviceBuffer<f64>,
    pub(crate) border: DeviceBuffer<f64>,
    uploader: Uploader<f64>,
}

impl Operands {
    pub(crate) fn new(stream: &Stream, layout: &Layout) -> Result<Self, Error> {
        let largest = layout
            .blocks
            .max(layout.unknowns * layout.k)
            .max(layout.k * (layout.k + 1) / 2);
        Ok(Self {
            row_hessian: stream.zeros(layout.blocks, "row_hessian")?,
            cross: stream.zeros(layout.unknowns * layout.k, "row_cross")?,
            border: stream.zeros(layout.square(), "border_hessian")?,
            // A piece holds at least one line of any operand, as far as pieces go.
            uploader: stream.uploader(largest.max(layout.k).max(32 * 32))?,
        })
    }

    /// Sends the numbers of `system`. The border's lines land in `landing`, a border matrix that
    /// is free until the next factorization.
    pub(crate) fn refresh(
        &mut self,
        stream: &Stream,
        kernels: &Kernels,
        layout: &Layout,
        system: &DenseSystem<'_>,
        landing: &mut DeviceBuffer<f64>,
    ) -> Result<UploadTimes, Error> {
        let sent = self.send_all(stream, kernels, layout, system, landing);
        // Also where that failed, what was borrowed goes back.
        let sending = self.uploader.finish();
        Ok(UploadTimes {
            packing: sent?,
            sending: sending?,
            on_device_clock: self.uploader.is_pinned(),
        })
    }

    fn send_all(
        &mut self,
        stream: &Stream,
        kernels: &Kernels,
        layout: &Layout,
        system: &DenseSystem<'_>,
        landing: &mut DeviceBuffer<f64>,
    ) -> Result<Duration, Error> {
        let mut packing = self.send_rows(system)?;
        packing += self.send_cross(layout, system)?;
        packing += self.send_border(stream, kernels, layout, system, landing)?;
        Ok(packing)
    }

    fn send_rows(&mut self, system: &DenseSystem<'_>) -> Result<Duration, Error> {
        let (rows, blocks) = (system.shape().rows(), system.row_hessian());
        let lines = PackedUpload {
            count: rows.rows(),
            len_of: &|i| rows.dim(i) * rows.dim(i),
            fill: &|part, out| match blocks.as_packed() {
                Some(packed) => {
                    let at = rows.block_offset(part.start);
                    out.copy_from_slice(&packed[at..at + out.len()]);
                }
                None => write_blocks(rows, blocks, part, out),
            },
        };
        lines.send(&mut self.uploader, &mut self.row_hessian)
    }

    fn send_cross(&mut self, layout: &Layout, system: &DenseSystem<'_>) -> Result<Duration, Error> {
        let (rows, cross, k) = (system.shape().rows(), system.row_cross(), layout.k);
        if k == 0 {
            return Ok(Duration::ZERO);
        }
        let lines = PackedUpload {
            count: layout.unknowns,
            len_of: &|_| k,
            fill: &|part, out| {
                for (u, line) in part.zip(out.chunks_exact_mut(k)) {
                    let (i, a) = rows.locate(u);
                    cross.copy_row(rows, i, a, line);
                }
            },
        };
        lines.send(&mut self.uploader, &mut self.cross)
    }

    fn send_border(
        &mut self,
        stream: &Stream,
        kernels: &Kernels,
        layout: &Layout,
        system: &DenseSystem<'_>,
        landing: &mut DeviceBuffer<f64>,
    ) -> Result<Duration, Error> {
        let (k, border) = (
            layout.k,
            LowerTriangle::new(system.border_hessian().matrix()),
        );
        let by_column = border.by_column();
        let len_of = |l: usize| match by_column {
            true => k - l,
            false => l + 1,
        };
        let lines = PackedUpload {
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
        let packing = lines.send(&mut self.uploader, landing)?;
        kernels.border_unpack(stream, layout, landing, by_column, &mut self.border)?;
        Ok(packing)
    }
}
