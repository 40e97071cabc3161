//! Work, counted: what is done, whatever does it and however fast.
//!
//! Each elimination counts its own, on the CPU and on a device, as a function of shapes alone
//! (`elimination/*/work.rs`); [`Work::seconds`] is the one place where a count meets a rate. Every term
//! is work that the code does: what the seconds come to is held against the committed records, of the
//! host and of a device, by a test of the benchmarks.

use crate::host::structured::decoder_rank;
use crate::{ArrowShape, HostCeilings, StructuredShape};

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// An FP64 operation of a product of matrices.
    Product,
    /// One of the lower triangle of a product.
    Triangle,
    /// One of a Cholesky factorization, but for its diagonal blocks.
    Cholesky,
    /// One of a pivoted Cholesky factorization.
    Pivoted,
    /// One of a QR factorization.
    Qr,
    /// One of loops over short rows.
    Loop,
    /// One of loops that one thread goes through alone.
    LoneLoop,
    /// One that takes no time but that of the steps that are counted beside it.
    Hidden,
    /// A byte that is read or written.
    Byte,
    /// One that a thread reads or writes alone.
    LoneByte,
    /// One that one block of a device's threads reads or writes.
    BlockByte,
    /// The time of a byte in which none is counted: a factor's own, lanes that stay empty.
    Idle,
    /// A serial step: a pivot of a factorization, an unknown of a triangular solve.
    Step,
    /// The beginning of a parallel region or of a kernel.
    Launch,
    /// An entry of the solution of a triangular solve with many columns.
    Substituted,
    /// The beginning of the way to a device: of an array of operands, or of a gradient and its step.
    Begin,
    /// A byte of operands that is sent to a device.
    Sent,
    /// A byte of features that is sent there and scattered into zeros.
    Scattered,
    /// A row that the host goes through for the way there.
    Gathered,
    /// A byte of a gradient or a step, from or to the caller's memory.
    Carried,
}

/// Bytes a second at which operands of the host reach a device, looked through, packed and sent in
/// pinned pieces: measured, a little more than half of what the link could do.
const UPLOAD: f64 = 3e10;

/// Bytes a second at which features reach a device, scattered into zeros by every thread: measured.
const SCATTER: f64 = 1e10;

/// Seconds in which the host goes through one row for the way to a device: measured, of rows of three
/// features.
const GATHER: f64 = 12e-9;

/// Bytes a second at which a gradient reaches a device and a step comes back, from and to the caller's
/// memory: measured.
const TRAVEL: f64 = 7e9;

/// Seconds to begin to bring one array of operands there, and to bring a gradient in and a step out:
/// measured, of systems so small that nothing else counts.
const BEGIN: f64 = 2e-5;

/// How much more slowly one block of threads reads and writes than all of a device: measured.
const ONE_BLOCK: f64 = 43.0;

impl Unit {
    const ALL: [Self; 20] = [
        Self::Product,
        Self::Triangle,
        Self::Cholesky,
        Self::Pivoted,
        Self::Qr,
        Self::Loop,
        Self::LoneLoop,
        Self::Hidden,
        Self::Byte,
        Self::LoneByte,
        Self::BlockByte,
        Self::Idle,
        Self::Step,
        Self::Launch,
        Self::Substituted,
        Self::Begin,
        Self::Sent,
        Self::Scattered,
        Self::Gathered,
        Self::Carried,
    ];

    /// FP64 operations of one: a byte that is read or written counts a quarter.
    fn operations(self) -> f64 {
        match self {
            Self::Product
            | Self::Triangle
            | Self::Cholesky
            | Self::Pivoted
            | Self::Qr
            | Self::Loop
            | Self::LoneLoop
            | Self::Hidden => 1.0,
            Self::Byte | Self::LoneByte | Self::BlockByte => 0.25,
            Self::Idle
            | Self::Step
            | Self::Launch
            | Self::Substituted
            | Self::Begin
            | Self::Sent
            | Self::Scattered
            | Self::Gathered
            | Self::Carried => 0.0,
        }
    }

    /// Seconds of one.
    fn seconds(self, rates: &HostCeilings) -> f64 {
        let all = &rates.together;
        match self {
            Self::Product => 1.0 / all.gemm_flops,
            Self::Triangle => 1.0 / (rates.triangle_share * all.gemm_flops),
            Self::Cholesky => 1.0 / (all.cholesky_share * all.gemm_flops),
            Self::Pivoted => 1.0 / rates.pivoted_flops,
            Self::Qr => 1.0 / rates.qr_flops,
            Self::Loop => 1.0 / all.loop_flops,
            Self::LoneLoop => 1.0 / rates.thread_loop_flops,
            Self::Hidden => 0.0,
            Self::Byte | Self::Idle => 1.0 / all.bandwidth,
            Self::LoneByte => 1.0 / rates.thread_bandwidth,
            Self::BlockByte => ONE_BLOCK / all.bandwidth,
            Self::Step => all.serial_step,
            Self::Launch => all.launch,
            Self::Substituted => rates.substitution,
            Self::Begin => BEGIN,
            Self::Sent => 1.0 / UPLOAD,
            Self::Scattered => 1.0 / SCATTER,
            Self::Gathered => GATHER,
            Self::Carried => 1.0 / TRAVEL,
        }
    }
}

/// So much of every [`Unit`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Work([f64; Unit::ALL.len()]);

impl Work {
    /// Seconds at `rates`: the one product of counts and rates.
    pub(crate) fn seconds(&self, rates: &HostCeilings) -> f64 {
        // What is not done takes no time at any rate.
        self.counted(|unit, count| match count == 0.0 {
            true => 0.0,
            false => count * unit.seconds(rates),
        })
    }

    /// FP64 operations, and a quarter of one for a byte.
    pub(crate) fn operations(&self) -> f64 {
        self.counted(|unit, count| count * unit.operations())
    }

    fn counted(&self, of: impl Fn(Unit, f64) -> f64) -> f64 {
        let units = Unit::ALL.into_iter();
        units.map(|unit| of(unit, self.0[unit as usize])).sum()
    }

    /// With `count` of `unit` more.
    pub(crate) fn more(mut self, unit: Unit, count: f64) -> Self {
        self.0[unit as usize] += count;
        self
    }

    /// Both.
    pub(crate) fn and(mut self, other: Self) -> Self {
        self.0.iter_mut().zip(other.0).for_each(|(a, b)| *a += b);
        self
    }

    /// Products of matrices.
    pub(crate) fn gemm(self, operations: f64) -> Self {
        self.more(Unit::Product, operations)
    }

    /// Loops over short rows.
    pub(crate) fn loops(self, operations: f64) -> Self {
        self.more(Unit::Loop, operations)
    }

    /// Bytes read and written.
    pub(crate) fn traffic(self, bytes: f64) -> Self {
        self.more(Unit::Byte, bytes)
    }

    /// Parallel regions, or kernels.
    pub(crate) fn launches(self, count: f64) -> Self {
        self.more(Unit::Launch, count)
    }

    /// A Cholesky factorization of order `n`.
    pub(crate) fn cholesky(self, n: f64) -> Self {
        self.more(Unit::Cholesky, n * n * n / 3.0)
            .more(Unit::Step, n)
            .more(Unit::Idle, 4.0 * n * n)
    }

    /// Both triangular solves of a Cholesky factor of order `n`.
    pub(crate) fn triangular_solves(self, n: f64) -> Self {
        self.traffic(8.0 * n * n).more(Unit::Step, 2.0 * n)
    }
}

/// What an elimination does, in one place.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Counts {
    /// To bring new numbers there; on the CPU, which reads them where they are, to see that they are finite.
    pub(crate) refresh: Work,
    /// One factorization.
    pub(crate) factor: Work,
    /// One solve.
    pub(crate) solve: Work,
}

/// Orders of a shape as floats: `N`, `k`, and the operations of all row blocks.
pub(crate) fn sizes(shape: &ArrowShape) -> (f64, f64, f64) {
    let d = shape.rows().max_dim() as f64;
    let n = shape.row_unknowns() as f64;
    (n, shape.border() as f64, n * d * d / 3.0 + 8.0 * n)
}

/// Features that are on in a row, `M`, `p` and `r`.
pub(crate) fn structured_sizes(shape: &StructuredShape, density: f64) -> (f64, f64, f64, f64) {
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
    use crate::Ceilings;

    #[test]
    fn every_unit_has_a_place_of_its_own() {
        for (at, unit) in Unit::ALL.into_iter().enumerate() {
            assert_eq!(unit as usize, at, "{unit:?}");
            let work = Work::default().more(unit, 2.0).more(unit, 1.0);
            assert_eq!(work.operations(), 3.0 * unit.operations());
            let rates = HostCeilings::default();
            assert_eq!(work.seconds(&rates), 3.0 * unit.seconds(&rates));
        }
    }

    #[test]
    fn what_is_not_done_takes_no_time_at_a_rate_of_none() {
        let rates = HostCeilings::of_a_device(&Ceilings::DEVICE);
        let work = Work::default().gemm(1.0);
        assert_eq!(work.seconds(&rates), 1.0 / Ceilings::DEVICE.gemm_flops);
        // What a device has no rate of has no price there.
        for unit in [Unit::Triangle, Unit::Qr, Unit::Pivoted, Unit::Substituted] {
            assert!(work.more(unit, 1.0).seconds(&rates).is_nan(), "{unit:?}");
        }
    }
}
