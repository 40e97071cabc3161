//! Why a line is no record.

use crate::kernels::Vectors;
use broadhead_device::witness::Agreement;
use broadhead_gate::Decline;

/// A record that is refused before it is written is a cell that was declined.
impl From<Refused> for Decline {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::NotOnDevice { why } => why,
            Refused::Throttled { reason } => Self::Throttled { reason },
            Refused::Parity { error, bound } => Self::ParityFailed { error, bound },
            Refused::NoSample => Self::NoSample,
            Refused::Witness {
                agreement:
                    Agreement::Different {
                        host_to_device,
                        device_to_host,
                    },
            } => {
                let (what, (first, second)) = match host_to_device.0 == host_to_device.1 {
                    true => ("bytes from the device", device_to_host),
                    false => ("bytes to the device", host_to_device),
                };
                Self::WitnessesDisagree {
                    what: format!("{what} (ledger, witness)"),
                    first,
                    second,
                }
            }
            other => Self::Failed {
                error: other.to_string(),
            },
        }
    }
}

/// Why a line is no record: nothing in it is believed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// The bytes are not those that were sealed, or there is no seal.
    #[error("the seal does not fit: the line was changed after it was written")]
    Seal,
    /// It is no JSON object of a record's fields.
    #[error("no record: {message}")]
    Format {
        /// What is wrong.
        message: String,
    },
    /// Another schema.
    #[error("schema {}, which this program does not read", found.map_or("not given".to_owned(), |s| s.to_string()))]
    Schema {
        /// The number found.
        found: Option<u64>,
    },
    /// It does not say how it was made.
    #[error("a record without its receipt")]
    NoReceipt,
    /// Its receipt lacks something.
    #[error("the receipt {what}")]
    Receipt {
        /// What.
        what: String,
    },
    /// A peer's library ran kernels older than the processor.
    #[error(
        "{library} ran its {kernels} kernels ({needed}) on a processor with {processor}: older kernels \
         than the processor's are no fair peer"
    )]
    Kernels {
        /// The library, and whose it is.
        library: String,
        /// The kernels, as it names them.
        kernels: String,
        /// What they need.
        needed: Vectors,
        /// What the processor has.
        processor: Vectors,
    },
    /// A peer's library ran kernels of a name that says nothing.
    #[error("{library} ran kernels called {kernels:?}, of which it is not known what they need")]
    UnknownKernels {
        /// The library, and whose it is.
        library: String,
        /// The kernels, as it names them.
        kernels: String,
    },
    /// A device's record whose receipt names no device.
    #[error("a device's record whose receipt names no device")]
    NoDevice,
    /// A device's record without a ledger.
    #[error("a device's record without a ledger")]
    NoLedger,
    /// A time that was not taken on a device, offered as one.
    #[error("no time of a device: {why}")]
    NotOnDevice {
        /// How that is known.
        why: Decline,
    },
    /// The device was throttled.
    #[error("measured on a throttled device: {reason}")]
    Throttled {
        /// The reasons that it gave.
        reason: String,
    },
    /// Ledger and witness do not say the same.
    #[error("ledger and witness disagree: {agreement:?}")]
    Witness {
        /// What each counted.
        agreement: Agreement,
    },
    /// Measured, and no sample.
    #[error("measured without a sample")]
    NoSample,
    /// Measured, and no unit of work in a sample.
    #[error("a sample without a unit of work")]
    NoUnit,
    /// A sample that is no time.
    #[error("a sample of {sample} s")]
    Sample {
        /// The sample.
        sample: f64,
    },
    /// Measured although the result was wrong.
    #[error("measured although its check failed: error {error:e}, bound {bound:e}")]
    Parity {
        /// The error.
        error: f64,
        /// What it had to be at most.
        bound: f64,
    },
    /// Measured although two log-determinants differ.
    #[error("measured although the log-determinant is {own}, and {other} elsewhere")]
    LogDeterminant {
        /// Its own.
        own: f64,
        /// The other.
        other: f64,
    },
    /// A record of rows held out that contradicts itself.
    #[error("a record of held-out rows that {what}")]
    HeldOut {
        /// How.
        what: String,
    },
    /// A record of the suite of rounds that contradicts itself.
    #[error("a record of rounds that {what}")]
    Rounds {
        /// How.
        what: String,
    },
}
