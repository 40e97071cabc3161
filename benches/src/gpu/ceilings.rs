//! The device's ceilings as records: both windows and every sample of each.

use super::clock::{Outcome, device};
use crate::record::CeilingFound;
use broadhead_device::Stream;
use broadhead_device::measure::DeviceCeilings;

/// Measures every ceiling now; what an earlier process kept is not asked for.
pub(super) fn measure(stream: &Stream) -> Outcome<Vec<CeilingFound>> {
    let ceilings = DeviceCeilings::measure(stream.context()).map_err(device)?;
    let named = ceilings.named().map(|named| CeilingFound {
        what: named.what.to_owned(),
        working_set_bytes: named.working_set_bytes,
        ceiling: named.ceiling.clone(),
    });
    Ok(named.collect())
}
