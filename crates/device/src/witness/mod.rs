//! The witness: what the device itself says that it did.
//!
//! CUPTI's activity records are kept by the driver, apart from this crate's ledger. A witness pass
//! counts the bytes of every copy by direction, the kinds of memory at both ends and the kernels by
//! name, and compares the bytes with a ledger's: the two are kept by different code and must agree
//! to the byte. Recording slows work down, so a pass is never timed. If the driver dropped a record
//! nothing can be concluded, and the answer is [`Agreement::Undetermined`].

mod family;
mod records;

pub use family::family;

use crate::fault::{Fault, Refusal, Result};
use crate::kernels::KernelSource;
use crate::ledger::LedgerSnapshot;
use crate::probe::Part;
use crate::{Absence, Context};
use cudarc::cupti::sys as cupti;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::AcqRel, Ordering::Acquire, Ordering::Release};

/// Kinds of record that a pass collects.
const KINDS: [cupti::CUpti_ActivityKind; 3] = [
    cupti::CUpti_ActivityKind::CUPTI_ACTIVITY_KIND_MEMCPY,
    cupti::CUpti_ActivityKind::CUPTI_ACTIVITY_KIND_MEMSET,
    cupti::CUpti_ActivityKind::CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL,
];

/// Copies of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copies {
    /// How many.
    pub count: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What a pass saw.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activity {
    /// Host to device.
    pub host_to_device: Copies,
    /// Device to host.
    pub device_to_host: Copies,
    /// Device to device.
    pub device_to_device: Copies,
    /// Copies between any other ends.
    pub other_copies: Copies,
    /// Fills.
    pub fills: Copies,
    /// Bytes of copies by the kinds of memory at their ends, as `pinned to device`.
    pub by_memory: BTreeMap<String, u64>,
    /// Launches of the kernels that were asked for, by entry.
    pub own_kernels: BTreeMap<String, u64>,
    /// Launches of all other kernels, by family.
    pub library_kernels: BTreeMap<String, u64>,
    /// Records that the driver dropped.
    pub dropped: u64,
}

/// Whether ledger and witness say the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Agreement {
    /// Equal in both directions, to the byte.
    Equal {
        /// Bytes from host to device, by both.
        host_to_device: u64,
        /// Bytes from device to host, by both.
        device_to_host: u64,
    },
    /// Different.
    Different {
        /// Bytes from host to device: ledger, witness.
        host_to_device: (u64, u64),
        /// Bytes from device to host: ledger, witness.
        device_to_host: (u64, u64),
    },
    /// Records were dropped, so nothing is known.
    Undetermined {
        /// How many.
        dropped: u64,
    },
}

impl Activity {
    /// Compares with the account of the same work. Everything that the process did on the device
    /// during the pass must be in that account.
    pub fn compare(&self, account: &LedgerSnapshot) -> Agreement {
        if self.dropped > 0 {
            return Agreement::Undetermined {
                dropped: self.dropped,
            };
        }
        let up = (account.host_to_device.total(), self.host_to_device.bytes);
        let down = (account.device_to_host.total(), self.device_to_host.bytes);
        match up.0 == up.1 && down.0 == down.1 {
            true => Agreement::Equal {
                host_to_device: up.0,
                device_to_host: down.0,
            },
            false => Agreement::Different {
                host_to_device: up,
                device_to_host: down,
            },
        }
    }
}

static UNDER_WAY: AtomicBool = AtomicBool::new(false);

/// A pass under way. There is at most one a process.
pub struct Witness {
    context: Context,
    own: Vec<&'static str>,
}

impl Witness {
    /// Begins a pass, after all work so far has ended. The entries of `sources` are counted by
    /// name.
    ///
    /// # Errors
    /// An [`Absence`] of CUPTI; a [`Refusal`] where a pass is under way; a [`Fault`].
    pub fn start(context: &Context, sources: &[&KernelSource]) -> Result<Self> {
        Part::Cupti.require()?;
        if UNDER_WAY.swap(true, AcqRel) {
            return Err(Refusal::Capturing {
                what: "a witness pass".to_owned(),
                why: "one is under way in this process".to_owned(),
            }
            .into());
        }
        let witness = Self {
            context: context.clone(),
            own: sources.iter().flat_map(|s| s.entries).copied().collect(),
        };
        witness.begin()?;
        Ok(witness)
    }

    fn begin(&self) -> Result<()> {
        self.context.trim()?;
        // SAFETY: the callbacks live as long as the process and follow the library's contract.
        let status = unsafe {
            cupti::cuptiActivityRegisterCallbacks(
                Some(records::requested),
                Some(records::completed),
            )
        };
        started("cuptiActivityRegisterCallbacks", status)?;
        for kind in KINDS {
            // SAFETY: takes a number.
            let status = unsafe { cupti::cuptiActivityEnable(kind) };
            started("cuptiActivityEnable", status)?;
        }
        flush()?;
        drop(records::take());
        Ok(())
    }

    /// Ends the pass, after all its work has ended.
    ///
    /// # Errors
    /// A [`Fault`].
    pub fn finish(self) -> Result<Activity> {
        self.context.trim()?;
        flush()?;
        Ok(records::take().into_activity(&self.own))
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        for kind in KINDS {
            // SAFETY: takes a number.
            let status = unsafe { cupti::cuptiActivityDisable(kind) };
            if status != cupti::CUptiResult::CUPTI_SUCCESS {
                tracing::warn!(?kind, ?status, "recording was not switched off");
            }
        }
        debug_assert!(UNDER_WAY.load(Acquire));
        UNDER_WAY.store(false, Release);
    }
}

/// A library that is there and does not record (not permitted, or another profiler attached).
fn started(call: &str, status: cupti::CUptiResult) -> std::result::Result<(), Absence> {
    if status == cupti::CUptiResult::CUPTI_SUCCESS {
        return Ok(());
    }
    Err(Absence::Start {
        library: "CUPTI".to_owned(),
        call: call.to_owned(),
        status: status as i64,
    })
}

/// Hands over every record, also those of buffers that are not full.
fn flush() -> std::result::Result<(), Fault> {
    // SAFETY: takes a number.
    let status = unsafe { cupti::cuptiActivityFlushAll(1) };
    if status == cupti::CUptiResult::CUPTI_SUCCESS {
        return Ok(());
    }
    Err(Fault::Library {
        call: "cuptiActivityFlushAll".to_owned(),
        status: format!("{status:?}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(up: u64, down: u64, dropped: u64) -> Activity {
        Activity {
            host_to_device: Copies {
                count: 1,
                bytes: up,
            },
            device_to_host: Copies {
                count: 1,
                bytes: down,
            },
            dropped,
            ..Activity::default()
        }
    }

    fn account(up: u64, down: u64) -> LedgerSnapshot {
        let mut account = LedgerSnapshot::default();
        account.host_to_device.operand = up / 2;
        account.host_to_device.other = up - up / 2;
        account.device_to_host.record = down;
        account
    }

    #[test]
    fn one_byte_of_difference_is_a_difference() {
        let equal = seen(10, 20, 0).compare(&account(10, 20));
        assert!(matches!(equal, Agreement::Equal { .. }));
        for (up, down) in [(11, 20), (10, 19)] {
            let different = seen(10, 20, 0).compare(&account(up, down));
            assert!(matches!(different, Agreement::Different { .. }));
        }
    }

    #[test]
    fn a_dropped_record_leaves_even_equal_bytes_undetermined() {
        assert_eq!(
            seen(10, 20, 1).compare(&account(10, 20)),
            Agreement::Undetermined { dropped: 1 }
        );
    }
}
