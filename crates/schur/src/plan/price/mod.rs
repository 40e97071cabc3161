//! Prices: operations, bytes and serial steps of each elimination, over the ceilings.
//!
//! Every term is work that the code does. What a price comes to is held against the committed records,
//! of the host and of a device, by a test of the benchmarks.

mod device;
mod host;

pub(super) use device::{on_device, structured_on_device};

use super::{Ceilings, HostCeilings, Workload};
use crate::device::{Keep, StructuredMethod};
use crate::host::structured_parts::decoder_rank;
use crate::{ArrowShape, EliminationKind, StructuredShape, SystemShape};
use broadhead_device::ExecutionPath;
use serde::{Deserialize, Serialize};

/// The price of one elimination.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Price {
    /// Which.
    pub elimination: EliminationKind,
    /// Where it would run.
    pub path: ExecutionPath,
    /// What a frame would keep, on a device.
    pub keep: Option<Keep>,
    /// FP64 operations of one factorization and its solves.
    pub operations: f64,
    /// Bytes to hold, where it would run.
    pub bytes: u64,
    /// Seconds expected of bringing new numbers there; on the CPU, which reads them where they are, of seeing
    /// that they are finite.
    pub refresh_seconds: f64,
    /// Seconds expected of one factorization.
    pub factor_seconds: f64,
    /// Seconds expected of one solve.
    pub solve_seconds: f64,
    /// Seconds of one refresh, one factorization and the solves expected of it.
    pub seconds: f64,
}

/// What a frame on a device costs in operations, as the prices count them: a byte that is read or
/// written counts a quarter of one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct FrameCost {
    /// FP64 operations of a build.
    pub build_operations: f64,
    /// FP64 operations of a solve; of conjugate gradients, in the iterations that
    /// [`Workload`](super::Workload) expects by default.
    pub solve_operations: f64,
}

impl FrameCost {
    /// Rows first of a dense system, with a frame that keeps `keep`.
    pub(crate) fn of_rows(shape: &ArrowShape, keep: Keep) -> Self {
        Self::of(|work| on_device(shape, keep, 0, &Ceilings::DEVICE, work))
    }

    /// An elimination of a structured system.
    pub(crate) fn of_structured(shape: &StructuredShape, method: StructuredMethod) -> Self {
        Self::of(|work| structured_on_device(shape, method, 0, &Ceilings::DEVICE, work))
    }

    fn of(price: impl Fn(&Workload) -> Price) -> Self {
        let operations = |solves| {
            let work = Workload {
                solves,
                ..Workload::default()
            };
            price(&work).operations
        };
        let build = operations(0);
        Self {
            build_operations: build,
            solve_operations: operations(1) - build,
        }
    }
}

/// Bytes a second at which operands of the host reach a device, looked through, packed and sent in
/// pinned pieces: measured, a little more than half of what the link could do.
const UPLOAD: f64 = 3e10;

/// Bytes a second at which a gradient reaches a device and a step comes back, from and to the caller's
/// memory: measured.
const TRAVEL: f64 = 7e9;

/// Seconds to begin to bring one array of operands there, and to bring a gradient in and a step out:
/// measured, of systems so small that nothing else counts.
const BEGIN: f64 = 2e-5;

/// A running bill.
#[derive(Clone, Copy, Default)]
struct Bill {
    operations: f64,
    seconds: f64,
}

impl Bill {
    fn and(self, other: Self) -> Self {
        Self {
            operations: self.operations + other.operations,
            seconds: self.seconds + other.seconds,
        }
    }

    fn gemm(mut self, operations: f64, c: &impl AsRef<Ceilings>) -> Self {
        self.operations += operations;
        self.seconds += operations / c.as_ref().gemm_flops;
        self
    }

    fn loops(mut self, operations: f64, c: &impl AsRef<Ceilings>) -> Self {
        self.operations += operations;
        self.seconds += operations / c.as_ref().loop_flops;
        self
    }

    fn traffic(mut self, bytes: f64, c: &impl AsRef<Ceilings>) -> Self {
        self.operations += bytes / 4.0;
        self.seconds += bytes / c.as_ref().bandwidth;
        self
    }

    fn launches(mut self, count: f64, c: &impl AsRef<Ceilings>) -> Self {
        self.seconds += count * c.as_ref().launch;
        self
    }

    /// A Cholesky factorization of order `n`.
    fn cholesky(mut self, n: f64, c: &impl AsRef<Ceilings>) -> Self {
        let c = c.as_ref();
        let operations = n * n * n / 3.0;
        self.operations += operations;
        self.seconds += operations / (c.gemm_flops * c.cholesky_share)
            + n * c.serial_step
            + 4.0 * n * n / c.bandwidth;
        self
    }

    /// Both sweeps of a Cholesky solve of order `n`.
    fn sweeps(self, n: f64, c: &impl AsRef<Ceilings>) -> Self {
        let mut bill = self.traffic(8.0 * n * n, c);
        bill.seconds += 2.0 * n * c.as_ref().serial_step;
        bill
    }
}

/// An elimination on the CPU.
pub(super) fn price(
    kind: EliminationKind,
    shape: &SystemShape,
    bytes: u64,
    ceilings: &HostCeilings,
    workload: &Workload,
) -> Price {
    let arrow = shape.arrow();
    let (refresh, (factor, solve)) = match shape {
        SystemShape::Structured {
            shape,
            density,
            pairs,
        } => {
            let sizes = host::Sizes::of(shape, *density);
            let bills = match kind {
                EliminationKind::Border => host::structured_border(sizes, ceilings),
                EliminationKind::Core => host::core(shape, sizes, *pairs, ceilings),
                EliminationKind::Iterative => host::structured_iterative(sizes, workload, ceilings),
                // Rows first does not serve: it has no bytes, and no price is asked for.
                EliminationKind::Rows | EliminationKind::Reference => {
                    host::reference(arrow, ceilings)
                }
            };
            (sizes.refresh(ceilings), bills)
        }
        _ => {
            let bills = match kind {
                EliminationKind::Rows => host::rows(arrow, ceilings),
                EliminationKind::Border => host::dense_border(arrow, ceilings),
                EliminationKind::Iterative => host::dense_iterative(arrow, workload, ceilings),
                // The core does not serve.
                EliminationKind::Core | EliminationKind::Reference => {
                    host::reference(arrow, ceilings)
                }
            };
            (host::refresh(arrow, ceilings), bills)
        }
    };
    let solves = f64::from(workload.solves);
    Price {
        elimination: kind,
        path: ExecutionPath::Cpu,
        keep: None,
        operations: factor.operations + solves * solve.operations,
        bytes,
        refresh_seconds: refresh.seconds,
        factor_seconds: factor.seconds,
        solve_seconds: solve.seconds,
        seconds: refresh.seconds + factor.seconds + solves * solve.seconds,
    }
}

/// Orders of a shape as floats: `N`, `k`, and the operations of all row blocks.
fn sizes(shape: &ArrowShape) -> (f64, f64, f64) {
    let d = shape.rows().max_dim() as f64;
    let n = shape.row_unknowns() as f64;
    (n, shape.border() as f64, n * d * d / 3.0 + 8.0 * n)
}

/// Features that are on in a row, `M`, `p` and `r`.
fn structured_sizes(shape: &StructuredShape, density: f64) -> (f64, f64, f64, f64) {
    let m = shape.features() as f64;
    (
        density * m,
        m,
        shape.outputs() as f64,
        decoder_rank(shape) as f64,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RowDims;

    #[test]
    fn a_frame_s_cost_is_its_operations_and_grows_by_what_it_keeps() {
        let (n, d, k) = (2000, 2, 2048);
        let shape = ArrowShape::new(RowDims::uniform(n, d).unwrap(), k).unwrap();
        let factor = FrameCost::of_rows(&shape, Keep::Factor);
        let inverse = FrameCost::of_rows(&shape, Keep::InverseFactor);
        let [unknowns, k] = [n * d, k].map(|n| n as f64);
        // The sum over the rows and the border's factor, and little besides.
        let least = unknowns * k * k + k * k * k / 3.0;
        assert!(
            (least..1.05 * least).contains(&factor.build_operations),
            "{factor:?}"
        );
        let more = inverse.build_operations - factor.build_operations;
        assert!((k * k * k / 3.0..k * k * k).contains(&more), "{more}");
        // A solve reads Y and half of the factor twice, two operations a number.
        let solve = 4.0 * unknowns * k + 2.0 * k * k;
        for cost in [factor, inverse] {
            assert!(
                (cost.solve_operations / solve - 1.0).abs() < 0.01,
                "{cost:?}, {solve}"
            );
        }
    }

    #[test]
    fn a_structured_frame_s_cost_is_work_and_no_waiting() {
        // Border first: T's products and its factor, and little besides.
        let (n, m, p) = (2000, 3, 2048);
        let shape = StructuredShape::new(RowDims::uniform(n, 1).unwrap(), m, p).unwrap();
        let keep = Keep::Factor;
        let border = FrameCost::of_structured(&shape, StructuredMethod::Border { keep });
        let [n, m, p] = [n, m, p].map(|n| n as f64);
        let least = n * n * n / 3.0 + n * n * m;
        assert!(
            (least..1.1 * least).contains(&border.build_operations),
            "{border:?}"
        );
        // Of one circle the core reads the decoder and the rows' features a few times.
        let core = FrameCost::of_structured(&shape, StructuredMethod::Core);
        let read = m * (p + n);
        for operations in [core.build_operations, core.solve_operations] {
            assert!(
                (read..100.0 * read).contains(&operations),
                "{core:?}, {read}"
            );
        }
    }
}
