//! Structured operands on the device, and their staging on the host.

use super::Error;
use super::layout::Sizes;
use crate::StructuredSystem;
use broadhead_device::{ByteClass, DeviceBuffer, Stream};

/// `D`, `phi` (n x M), `Psi` (N x M), `G` (M x M) and `W` (M x p), all row-major.
pub(super) struct Operands {
    pub(super) row_hessian: DeviceBuffer<f64>,
    pub(super) phi: DeviceBuffer<f64>,
    pub(super) psi: DeviceBuffer<f64>,
    pub(super) gram: DeviceBuffer<f64>,
    pub(super) decoder: DeviceBuffer<f64>,
    /// Features as they lie here.
    features: usize,
    staging: Vec<f64>,
}

impl Operands {
    pub(super) fn new(stream: &Stream, sizes: &Sizes) -> Result<Self, Error> {
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
            staging: vec![0.0; longest],
        })
    }

    /// Sends the numbers of `system`.
    pub(super) fn refresh(
        &mut self,
        stream: &Stream,
        system: &StructuredSystem<'_>,
    ) -> Result<(), Error> {
        let (rows, features) = (system.shape().rows(), system.features());
        let m = self.features;
        let (blocks, gram, decoder) = (system.row_hessian(), system.gram(), system.decoder());
        let mut send = |to: &mut DeviceBuffer<f64>, fill: &dyn Fn(&mut [f64])| {
            let staging = &mut self.staging[..to.len()];
            staging.fill(0.0);
            fill(staging);
            stream.upload_into(staging, to.view_mut(), ByteClass::Operand)
        };
        send(&mut self.row_hessian, &|out| {
            for i in 0..rows.rows() {
                let (at, d) = (rows.block_offset(i), rows.dim(i));
                for a in 0..d {
                    for b in 0..=a {
                        out[at + a * d + b] = blocks.get(rows, i, a, b);
                    }
                }
            }
        })?;
        send(&mut self.phi, &|out| {
            for i in 0..rows.rows() {
                let row = features.row(i);
                for (&f, &phi) in row.indices.iter().zip(row.phi) {
                    out[i * m + f] = phi;
                }
            }
        })?;
        send(&mut self.psi, &|out| {
            for i in 0..rows.rows() {
                let row = features.row(i);
                let nnz = row.indices.len();
                for a in 0..rows.dim(i) {
                    for (j, &f) in row.indices.iter().enumerate() {
                        out[(rows.offset(i) + a) * m + f] = row.psi[a * nnz + j];
                    }
                }
            }
        })?;
        send(&mut self.gram, &|out| {
            let gram = gram.matrix();
            // Of a feature that stands in for none.
            out[0] = 1.0;
            for a in 0..gram.nrows() {
                for b in 0..gram.nrows() {
                    out[a * m + b] = gram[(a.max(b), a.min(b))];
                }
            }
        })?;
        send(&mut self.decoder, &|out| {
            let p = decoder.ncols();
            for a in 0..decoder.nrows() {
                for c in 0..p {
                    out[a * p + c] = decoder[(a, c)];
                }
            }
        })?;
        Ok(())
    }
}
