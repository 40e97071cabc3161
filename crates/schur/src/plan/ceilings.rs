//! The rates by which the planner prices: plain data, measured elsewhere and handed in.

use serde::{Deserialize, Serialize};

/// Rates of the place where the work will run.
///
/// The defaults are round figures for two cores of a server processor with AVX-512, as the example
/// `host_rates` and the committed records show them; the gate measures a machine's own.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ceilings {
    /// FP64 operations a second of a large matrix product.
    pub gemm_flops: f64,
    /// The share of that rate which a Cholesky factorization of large order (4,000 and more) reaches; what its diagonal
    /// blocks take beside is priced apart.
    pub cholesky_share: f64,
    /// FP64 operations a second of loops over short rows, as in sparse features.
    pub loop_flops: f64,
    /// Bytes a second from memory.
    pub bandwidth: f64,
    /// Seconds of one serial step: a pivot of a factorization, an unknown of a sweep.
    pub serial_step: f64,
    /// Seconds to begin a parallel region.
    pub launch: f64,
}

impl Ceilings {
    /// Round figures for an H100, for what runs on a device that was not measured.
    pub const DEVICE: Self = Self {
        gemm_flops: 5.5e13,
        cholesky_share: 0.35,
        loop_flops: 7e11,
        bandwidth: 2.8e12,
        serial_step: 7e-8,
        launch: 4e-6,
    };
}

impl Default for Ceilings {
    fn default() -> Self {
        Self {
            gemm_flops: 1e11,
            cholesky_share: 0.75,
            loop_flops: 2e9,
            bandwidth: 2.2e10,
            serial_step: 2e-8,
            launch: 5e-6,
        }
    }
}
