//! What a linearisation asks of an elimination on a device: rows first of dense systems, or one of
//! structured systems.

use super::layout::DeviceBytes;
use super::record::DenseRecord;
use super::summary::{BorderMethod, RowMethod};
use super::vector::DeviceVector;
use super::{DeviceSystem, Keep};
use crate::{Error, Factored, Failure, Ridge, SolveStats};
use broadhead_device::{DeviceBuffer, Stream, View};

/// How factors are made, and what is kept of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ways {
    /// Of the factor that a solve applies.
    pub(crate) keep: Option<Keep>,
    pub(crate) rows: RowMethod,
    /// Where there are two ways.
    pub(crate) border: Option<BorderMethod>,
}

/// Room for the factors of one shape. The system that is passed is the one that it was made for.
pub(crate) trait DeviceElimination: Send {
    /// The stream that it works on.
    fn stream(&self) -> &Stream;

    /// Device bytes, of the operands and vectors of a linearisation too.
    fn bytes(&self) -> DeviceBytes;

    /// How factors are made.
    fn ways(&self) -> Ways;

    /// A vector that solves take.
    fn vector(&self) -> Result<DeviceVector, Error>;

    /// Numbers of such a vector: of its row part, of its border part with what lies past it.
    fn lengths(&self) -> [usize; 2];

    /// A border matrix that is free until the next factorization, for operands to land in.
    fn landing(&mut self) -> Option<&mut DeviceBuffer<f64>>;

    /// Submits the factorization of the row blocks alone.
    fn submit_rows(&mut self, system: &DeviceSystem, rho: f64) -> Result<(), Error>;

    /// Submits a factorization; nothing is read back.
    fn submit(&mut self, system: &DeviceSystem, ridge: Ridge) -> Result<(), Error>;

    /// The record of the last factorization, of a dense system.
    fn record(&self) -> Option<View<'_, DenseRecord>>;

    /// Reads what the last submission, at `ridge`, found, which counts as one factorization.
    fn read(&mut self, system: &DeviceSystem, ridge: Ridge) -> Result<Factored, Failure>;

    /// Whether what was submitted last factored, without a look for a bump.
    fn holds(&self) -> Result<bool, Error>;

    /// Whether solves read the operands.
    fn reads_operands(&self) -> bool;

    /// `step = -(H + rho)^-1 gradient` by the last factors, on the device.
    fn solve(
        &mut self,
        system: &DeviceSystem,
        gradient: &DeviceVector,
        step: &mut DeviceVector,
    ) -> Result<(), Error>;

    /// What the last solve that ran found. Of what iterates it waits for a record; nothing else can
    /// fail.
    fn solved(&mut self) -> Result<SolveStats, Failure>;

    /// The relative residual that is asked of what iterates; nothing else has one.
    fn residual_asked(&self) -> Option<f64> {
        None
    }

    /// `count` gradients, one after another, of rows and of the border, overwritten by their steps;
    /// `staged` is a vector for one of them and one for its step.
    fn solve_many(
        &mut self,
        system: &DeviceSystem,
        gradients: [&mut DeviceBuffer<f64>; 2],
        count: usize,
        staged: [&mut DeviceVector; 2],
    ) -> Result<SolveStats, Failure>;
}
