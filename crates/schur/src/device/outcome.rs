//! What the record of a factorization says: logarithms, least pivots, what failed; and what a failure says
//! beside, found by factoring again.

use super::record::{FactorRecord, RowRecord};
use crate::host::blas1::largest;
use crate::host::bump::{LEAST_BUMP, least_bump};
use crate::{Error, Failure, LogDeterminant, NotPositiveDefinite, Pivot, PivotSite, RowDims};
use broadhead_device::{ByteClass, DeviceBuffer, DeviceError, Refusal, Stream};

/// What a factorization's record says of one side.
pub(crate) struct SideSummary {
    pub(crate) log: LogDeterminant,
    pub(crate) least: Option<Pivot>,
    pub(crate) failed: Option<Pivot>,
    /// The largest diagonal entry, the scale of a bump.
    pub(crate) scale: f64,
}

/// That what is asked about has not run: nothing was submitted, or it went into a graph that was not
/// launched.
pub(crate) fn did_not_run(what: &str, expected: &str) -> Error {
    let refusal = Refusal::Shape {
        what: what.to_owned(),
        expected: expected.to_owned(),
        found: "none".to_owned(),
    };
    Error::Device(DeviceError::from(refusal))
}

/// A log-determinant, where it did not overflow.
pub(crate) fn finite(log_determinant: LogDeterminant) -> Result<LogDeterminant, Error> {
    match log_determinant.value.is_finite() {
        true => Ok(log_determinant),
        false => Err(Error::Overflow {
            what: "the log-determinant",
        }),
    }
}

/// The floor under the bump of a row's failure, from the diagonal of its block, which comes back for it.
/// The record names the first row alone: where others fail whose blocks are larger, theirs has no part in
/// it.
pub(crate) fn least_row_bump(
    stream: &Stream,
    dims: &RowDims,
    blocks: &DeviceBuffer<f64>,
    site: PivotSite,
) -> Result<f64, Error> {
    let PivotSite::Row { row, .. } = site else {
        unreachable!("a failure of a row");
    };
    let (d, at) = (dims.dim(row), dims.block_offset(row));
    let block = stream.download(blocks.slice(at..at + d * d)?, ByteClass::Record)?;
    Ok(LEAST_BUMP * largest(block.into_iter().step_by(d + 1)))
}

/// The failure with the bump that makes what failed factor, found by factoring: `factors` says whether one
/// does, and it has room of `floor` above the least. A pivot that is not finite is an overflow, of `what`.
pub(crate) fn failure_with_bump(
    what: &'static str,
    failed: Pivot,
    (scale, floor): (f64, f64),
    mut factors: impl FnMut(f64) -> Result<bool, Error>,
) -> Failure {
    if !failed.value.is_finite() {
        return Error::Overflow { what }.into();
    }
    let mut broken = None;
    let bump = least_bump(scale, floor, |bump| match factors(bump) {
        Ok(cured) => cured,
        Err(error) => {
            broken.get_or_insert(error);
            true
        }
    });
    match broken {
        Some(error) => error.into(),
        None => NotPositiveDefinite {
            site: failed.site,
            value: failed.value,
            bump,
            whole: None,
        }
        .into(),
    }
}

/// What a record says of the rows.
pub(crate) fn row_side(record: &RowRecord) -> SideSummary {
    let site = |key: i64| {
        (key >= 0).then_some(PivotSite::Row {
            row: (key / RowRecord::KEY) as usize,
            pivot: (key % RowRecord::KEY) as usize,
        })
    };
    let pivot = |key, value| site(key).map(|site| Pivot { site, value });
    SideSummary {
        log: LogDeterminant {
            value: record.log,
            absolute: record.absolute,
        },
        least: pivot(record.least_key, record.least),
        failed: pivot(record.failed_key, record.failed),
        scale: record.diagonal,
    }
}

/// What a record says of a factor. `least_site` tells where the least pivot is by its place in the record,
/// `failed_site` where one that failed is, counted from 0, whose value is `failed`.
pub(crate) fn factor_side(
    record: &FactorRecord,
    failed: f64,
    least_site: impl Fn(usize) -> PivotSite,
    failed_site: impl Fn(usize) -> PivotSite,
) -> SideSummary {
    let pivot = |site, value| Pivot { site, value };
    SideSummary {
        log: LogDeterminant {
            value: record.log,
            absolute: record.absolute,
        },
        least: (record.least_at >= 0)
            .then(|| pivot(least_site(record.least_at as usize), record.least)),
        failed: (record.info != 0)
            .then(|| pivot(failed_site((record.info - 1).max(0) as usize), failed)),
        scale: record.diagonal,
    }
}

impl From<DeviceError> for Failure {
    fn from(error: DeviceError) -> Self {
        Self::Stop(Error::Device(error))
    }
}
