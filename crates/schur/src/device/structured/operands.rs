//! Structured operands on the device, written by the host in pieces.

use super::layout::Sizes;
use crate::device::operands::UploadTimes;
use crate::device::packing::{PackedUpload, write_blocks};
use crate::{Error, StructuredSystem};
use broadhead_device::{DeviceBuffer, Stream, Uploader};
use std::ops::Range;
use std::time::Duration;

/// Writes some consecutive lines.
type Fill<'a> = &'a (dyn Fn(Range<usize>, &mut [f64]) + Sync);

/// `D`, `phi` (n x M), `Psi` (N x M), `G` (M x M) and `W` (M x p), all row-major.
pub(crate) struct StructuredOperands {
    pub(crate) row_hessian: DeviceBuffer<f64>,
    pub(crate) phi: DeviceBuffer<f64>,
    pub(crate) psi: DeviceBuffer<f64>,
    pub(crate) gram: DeviceBuffer<f64>,
    pub(crate) decoder: DeviceBuffer<f64>,
    /// Features as they lie here.
    features: usize,
    uploader: Uploader<f64>,
}

impl StructuredOperands {
    pub(crate) fn new(stream: &Stream, sizes: &Sizes) -> Result<Self, Error> {
        let (n, unknowns, m) = (sizes.rows.rows, sizes.rows.unknowns, sizes.features);
        let lengths = [
            sizes.rows.blocks,
            n * m,
            unknowns * m,
            m * m,
            sizes.border(),
        ];
        let longest = lengths.into_iter().max().unwrap_or(0);
        Ok(Self {
            row_hessian: stream.zeros(lengths[0], "row_hessian")?,
            phi: stream.zeros(lengths[1], "feature_phi")?,
            psi: stream.zeros(lengths[2], "feature_psi")?,
            gram: stream.zeros(lengths[3], "gram")?,
            decoder: stream.zeros(lengths[4], "decoder")?,
            features: m,
            uploader: stream.uploader(longest)?,
        })
    }

    /// Sends the numbers of `system`.
    pub(crate) fn refresh(&mut self, system: &StructuredSystem<'_>) -> Result<UploadTimes, Error> {
        let sent = self.send_all(system);
        // Also where that failed, what was borrowed goes back.
        let sending = self.uploader.finish();
        Ok(UploadTimes {
            packing: sent?,
            sending: sending?,
            on_device_clock: self.uploader.is_pinned(),
        })
    }

    fn send_all(&mut self, system: &StructuredSystem<'_>) -> Result<Duration, Error> {
        let (rows, features) = (system.shape().rows(), system.features());
        let m = self.features;
        let (blocks, gram) = (system.row_hessian(), system.gram().matrix());
        let decoder = system.decoder();
        let (uploader, mut packing) = (&mut self.uploader, Duration::ZERO);
        let mut send = |to, count, len_of: &dyn Fn(usize) -> usize, fill: Fill<'_>| {
            let lines = PackedUpload {
                count,
                len_of,
                fill,
            };
            packing += lines.send(uploader, to)?;
            Ok::<_, Error>(())
        };
        let square = |i| rows.dim(i) * rows.dim(i);
        send(&mut self.row_hessian, rows.rows(), &square, &|part, out| {
            write_blocks(rows, blocks, part, out);
        })?;
        send(&mut self.phi, rows.rows(), &|_| m, &|part, out| {
            out.fill(0.0);
            for (i, line) in part.zip(out.chunks_exact_mut(m)) {
                let row = features.row(i);
                for (&f, &phi) in row.indices.iter().zip(row.phi) {
                    line[f] = phi;
                }
            }
        })?;
        send(&mut self.psi, rows.unknowns(), &|_| m, &|part, out| {
            out.fill(0.0);
            for (u, line) in part.zip(out.chunks_exact_mut(m)) {
                let (i, a) = rows.locate(u);
                let row = features.row(i);
                let nnz = row.indices.len();
                for (&f, &psi) in row.indices.iter().zip(&row.psi[a * nnz..]) {
                    line[f] = psi;
                }
            }
        })?;
        send(&mut self.gram, m, &|_| m, &|part, out| {
            for (a, line) in part.zip(out.chunks_exact_mut(m)) {
                for (b, out) in line.iter_mut().enumerate() {
                    *out = match a.max(b) < gram.nrows() {
                        true => gram[(a.max(b), a.min(b))],
                        // Of a feature that stands in for none.
                        false => 1.0,
                    };
                }
            }
        })?;
        let p = decoder.ncols();
        if p > 0 {
            send(&mut self.decoder, decoder.nrows(), &|_| p, &|part, out| {
                for (a, line) in part.zip(out.chunks_exact_mut(p)) {
                    for (c, out) in line.iter_mut().enumerate() {
                        *out = decoder[(a, c)];
                    }
                }
            })?;
        }
        Ok(packing)
    }
}
