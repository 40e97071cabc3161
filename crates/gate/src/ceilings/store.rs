//! Ceilings on disk, and what a planner is handed of them.
//!
//! | kept of | valid for |
//! |---|---|
//! | the processor | its model, extensions and number; the threads in use; this program's version and build, and its libraries' |
//! | a device | its model, driver and libraries |
//!
//! Whoever asks gets rates in any case: those measured here, or those that ship with the reason why not.

use super::{measure_cpu, of_device};
use crate::{Decline, processor};
use broadhead_device::kept::{Folder, Kept, Key};
use broadhead_device::measure::DeviceCeilings;
use broadhead_device::probe::DeviceInfo;
use broadhead_device::{Context, DeviceError};
use broadhead_schur::{Ceilings, Failure, HostCeilings, Rates, RatesOrigin, SolverOptions};

/// Grows when a measurement of the processor changes its meaning, so that old files are not read.
const FORMAT: u32 = 1;

/// The first word of a file's name.
const KIND: &str = "host-ceilings";

/// Ceilings of this machine on disk.
///
/// ```
/// use broadhead_gate::ceilings::Store;
/// use broadhead_schur::SolverOptions;
///
/// let mut options = SolverOptions::default();
/// Store::of_environment().hand_to(&mut options);
/// println!("planned by rates {}", options.rates.origin);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    folder: Folder,
}

/// Why ceilings were not measured, or not kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MeasureError {
    /// The solver that a factorization was timed with failed.
    #[error("the processor's rates cannot be measured: {0}")]
    Host(Failure),
    /// A processor's rate is no positive number: the clock did not advance, or ran away.
    #[error("the processor's rates are not positive numbers: {0:?}")]
    Unsound(Box<HostCeilings>),
    /// The device has no ceilings.
    #[error("the device's rates cannot be measured: {0}")]
    Device(Decline),
    /// The cache folder does not take them.
    #[error("the rates cannot be kept: {0}")]
    Keep(std::io::Error),
}

impl Store {
    /// In the folder that the environment names: `BROADHEAD_CACHE_DIR`, else `XDG_CACHE_HOME/broadhead`,
    /// else `HOME/.cache/broadhead`.
    pub fn of_environment() -> Self {
        Self::of(Folder::of_environment())
    }

    /// In `folder`.
    pub fn of(folder: Folder) -> Self {
        Self { folder }
    }

    /// Where it is.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// The rates of this processor with as many threads as the caller's rayon pool has.
    pub fn host(&self) -> Rates<HostCeilings> {
        match self.folder.read::<HostCeilings>(KIND, &host_key()) {
            Ok(kept) if is_sound(&kept.value) => measured(kept),
            Ok(kept) => {
                let reason = MeasureError::Unsound(Box::new(kept.value)).to_string();
                Rates::shipped(HostCeilings::default(), Some(reason))
            }
            Err(why) => Rates::shipped(HostCeilings::default(), Some(why.to_string())),
        }
    }

    /// The rates of a device.
    pub fn device(&self, device: &DeviceInfo) -> Rates<Ceilings> {
        let kept = match DeviceCeilings::kept(device, &self.folder) {
            Ok(Ok(kept)) => of_device(&kept.value)
                .map(|value| Kept {
                    taken: kept.taken,
                    digest: kept.digest,
                    value,
                })
                .map_err(|why| why.to_string()),
            Ok(Err(why)) => Err(why.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match kept {
            Ok(kept) => measured(kept),
            Err(reason) => Rates::shipped(Ceilings::DEVICE, Some(reason)),
        }
    }

    /// Hands over the rates of this processor, and of the device where `options` have one.
    pub fn hand_to(&self, options: &mut SolverOptions) {
        options.rates = self.host();
        if let Some(place) = &options.device {
            options.device_rates = self.device(place.stream.context().info());
        }
    }

    /// Measures this processor in the caller's rayon pool, in a few seconds, and keeps what it reaches.
    ///
    /// # Errors
    /// [`MeasureError`]; what was kept before stays.
    pub fn measure_host(&self) -> Result<Rates<HostCeilings>, MeasureError> {
        let found = measure_cpu().map_err(MeasureError::Host)?;
        if !is_sound(&found) {
            return Err(MeasureError::Unsound(Box::new(found)));
        }
        let kept = self.folder.write(KIND, &host_key(), found);
        kept.map(measured).map_err(MeasureError::Keep)
    }

    /// Measures a device, in up to a minute, and keeps what it reaches.
    ///
    /// # Errors
    /// [`MeasureError`]; what was kept before stays.
    pub fn measure_device(&self, context: &Context) -> Result<Rates<Ceilings>, MeasureError> {
        let failed = |error: DeviceError| MeasureError::Device(super::declined(error));
        let found = DeviceCeilings::measure(context).map_err(failed)?;
        let value = of_device(&found).map_err(MeasureError::Device)?;
        let kept = found.keep(&self.folder).map_err(failed)?;
        let kept = kept.map_err(MeasureError::Keep)?;
        Ok(measured(Kept {
            taken: kept.taken,
            digest: kept.digest,
            value,
        }))
    }
}

fn measured<C>(kept: Kept<C>) -> Rates<C> {
    Rates {
        origin: RatesOrigin::Measured {
            taken: kept.taken,
            digest: kept.digest,
        },
        ceilings: kept.value,
    }
}

/// What makes the processor's rates valid.
fn host_key() -> Key {
    let build = match cfg!(debug_assertions) {
        true => "dev",
        false => "release",
    };
    let key = [
        ("processor", processor::model()),
        ("platform", processor::platform()),
        ("extensions", processor::features().join(" ")),
        ("number of processors", processor::count().to_string()),
        (
            "number of threads",
            rayon::current_num_threads().to_string(),
        ),
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ("build", build.to_owned()),
        ("libraries", env!("BROADHEAD_LIBRARIES").to_owned()),
        ("measurement", FORMAT.to_string()),
    ];
    key.map(|(name, value)| (name.to_owned(), value)).into()
}

/// Whether the planner may divide by every rate.
fn is_sound(c: &HostCeilings) -> bool {
    let Ceilings {
        gemm_flops,
        cholesky_share,
        loop_flops,
        bandwidth,
        serial_step,
        launch,
    } = c.together;
    let together = [
        gemm_flops,
        cholesky_share,
        loop_flops,
        bandwidth,
        serial_step,
        launch,
    ];
    let alone = [
        c.triangle_share,
        c.qr_flops,
        c.pivoted_flops,
        c.substitution,
        c.thread_loop_flops,
        c.thread_bandwidth,
    ];
    (together.iter().chain(&alone)).all(|rate| rate.is_finite() && *rate > 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_pool<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        pool.unwrap().install(work)
    }

    fn reason(rates: &Rates<HostCeilings>) -> String {
        match &rates.origin {
            RatesOrigin::Shipped { reason } => reason.clone().unwrap(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_planner_gets_what_was_measured_here_and_else_what_ships_with_the_reason() {
        let temporary = tempfile::tempdir().unwrap();
        let store = Store::of(Folder::at(temporary.path()));
        let before = in_pool(2, || store.host());
        assert_eq!(before.ceilings, HostCeilings::default());
        assert_eq!(reason(&before), "none measured here");

        let kept = in_pool(2, || store.measure_host()).unwrap();
        assert!(matches!(kept.origin, RatesOrigin::Measured { .. }));
        let mut options = SolverOptions::default();
        in_pool(2, || store.hand_to(&mut options));
        assert_eq!(options.rates, kept);

        // Of as many threads alone.
        let other = in_pool(1, || store.host());
        assert_eq!(other.ceilings, HostCeilings::default());
        let why = reason(&other);
        assert!(
            why.contains("number of threads") && why.contains("\"1\""),
            "{why}"
        );
    }

    #[test]
    fn rates_that_nobody_can_divide_by_are_not_used() {
        let temporary = tempfile::tempdir().unwrap();
        let store = Store::of(Folder::at(temporary.path()));
        let mut rates = HostCeilings::default();
        rates.together.bandwidth = 0.0;
        store.folder.write(KIND, &host_key(), rates).unwrap();
        let found = store.host();
        assert_eq!(found.ceilings, HostCeilings::default());
        assert!(reason(&found).contains("not positive"), "{found:?}");
    }
}
