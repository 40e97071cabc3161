//! The rate of a matrix product in FP64, by all threads: what arithmetic can reach at most on a host.
//!
//! ```text
//! C = A B, all three of order m = 2048      2 m^3 operations, a multiply-add counted as two
//! ```
//! Peers time the product of the same order by their own BLAS. The larger rate of all is the ceiling.

use crate::cell::Phase;
use crate::noise::uniform;
use broadhead_gate::Decline;
use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, Par};

/// The operands and the result, in column-major order.
pub(super) struct Product {
    a: Mat<f64>,
    b: Mat<f64>,
    c: Mat<f64>,
}

impl Product {
    /// Operands from `seed`, and their product, of which some entries were checked.
    ///
    /// # Errors
    /// [`Decline::ParityFailed`].
    pub(super) fn checked(seed: u64) -> Result<Self, Decline> {
        let m = Phase::PRODUCT_ORDER;
        let noise = |stream: u64| {
            let entries: Vec<f64> = uniform(seed, stream, m * m).collect();
            Mat::from_fn(m, m, |i, j| entries[j * m + i])
        };
        let mut product = Self {
            a: noise(5),
            b: noise(6),
            c: Mat::zeros(m, m),
        };
        product.run();
        for (i, j) in [(0, 0), (m / 3, m - 1), (m - 1, m / 2)] {
            let terms = (0..m).map(|l| product.a[(i, l)] * product.b[(l, j)]);
            let (sum, size) = terms.fold((0.0, 0.0), |(s, t), x: f64| (s + x, t + x.abs()));
            // Both sums, in whatever order, are this near to the exact one.
            let bound = 2.0 * m as f64 * f64::EPSILON * size;
            let error = (product.c[(i, j)] - sum).abs();
            let within = error <= bound;
            if !within {
                return Err(Decline::ParityFailed { error, bound });
            }
        }
        Ok(product)
    }

    /// Multiplies once, with the threads of the pool that this runs in.
    pub(super) fn run(&mut self) {
        let (a, b) = (self.a.as_ref(), self.b.as_ref());
        matmul(self.c.as_mut(), Accum::Replace, a, b, 1.0, Par::rayon(0));
    }
}
