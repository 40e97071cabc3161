//! The directions of conjugate gradients that are kept, so that new ones are conjugate to them.

use crate::host::blas1::{axpy, dot};
use pulp::Arch;

/// Bytes of directions that are kept, at most.
const KEPT: u64 = 32 << 20;

/// Earlier directions $`p_j`$ and their products $`S p_j`$, to which a new one is made conjugate.
///
/// In exact arithmetic it is so already. In FP64 conjugacy to all but the last few is lost once
/// the extreme eigenvalues have been found (Paige 1980), and directions that were searched before
/// return: an ill-conditioned $`S`$ of order $`k`$ then takes many times $`k`$ iterations, if it ever
/// ends. Kept conjugate, it takes at most $`k`$, and the cost of it stays below that of the
/// product with $`C`$.
#[derive(Debug)]
pub(crate) struct Directions {
    /// One after another, each divided by the root of its curvature.
    p: Vec<f64>,
    product: Vec<f64>,
    length: usize,
    most: usize,
}

/// How many directions of this length are kept.
pub(crate) fn kept_directions(length: usize) -> usize {
    (KEPT / (16 * (length as u64).max(1))).min(length as u64) as usize
}

impl Directions {
    pub(crate) fn bytes(length: usize) -> u64 {
        (kept_directions(length) as u64)
            .saturating_mul(length as u64)
            .saturating_mul(16)
    }

    pub(crate) fn new(length: usize) -> Self {
        Self {
            p: Vec::new(),
            product: Vec::new(),
            length,
            most: kept_directions(length),
        }
    }

    /// Whether there is room for a whole basis.
    pub(crate) fn holds_all(&self) -> bool {
        self.most >= self.length
    }

    pub(crate) fn clear(&mut self) {
        self.p.clear();
        self.product.clear();
    }

    pub(crate) fn keep(&mut self, p: &[f64], product: &[f64], curvature: f64) {
        if self.p.len() < self.most * self.length {
            let root = curvature.sqrt();
            self.p.extend(p.iter().map(|p| p / root));
            self.product.extend(product.iter().map(|s| s / root));
        }
    }

    /// $`p \leftarrow p - \sum_j p_j (S p_j)' p`$, one after another.
    pub(crate) fn conjugate(&self, arch: Arch, p: &mut [f64]) {
        let length = self.length.max(1);
        let all = self.p.chunks_exact(length);
        for (direction, product) in all.zip(self.product.chunks_exact(length)) {
            axpy(arch, -dot(arch, product, p), direction, p);
        }
    }
}
