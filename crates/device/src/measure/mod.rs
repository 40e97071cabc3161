//! Ceilings: what this device can do at most, measured here and now.
//!
//! ```text
//! floor of a piece of work = max(bytes / bandwidth, operations / rate) + serial steps x step time
//! ```
//! Every ceiling is taken in at least two windows with everything else between them. Each window's
//! number is the median of its samples. A ceiling is the best number *that a second window
//! reproduced*: the two best windows must agree within 5 %, else the ceiling is
//! [`Ceiling::Refused`] and nobody may divide by it. While any is refused further windows are
//! taken, five at most, and every sample of each is kept. A run that beats a ceiling shows that the ceiling is wrong: [`Ceiling::fraction`] says
//! so instead of answering more than 1.
//!
//! | module | ceilings |
//! |---|---|
//! | `bandwidth` | reads and copies by working set; host copies, pinned and pageable |
//! | `arithmetic` | FP64 multiply-adds on the plain units, DGEMM, Cholesky |
//! | `latency` | submission, graph launch, graph node, synchronisation, serial steps |
//! | `kept` | the record of a device and driver on disk |

mod arithmetic;
mod bandwidth;
mod ceiling;
mod kept;
mod kernel;
mod latency;

pub use ceiling::{Beaten, Ceiling, TOLERANCE, Unit};
pub(crate) use kernel::SOURCE;

use crate::kept::Folder;
use crate::nvml::{ClockReasons, Nvml, Reading};
use crate::probe::{self, DeviceInfo};
use crate::{Context, Ledger, Result, Stream};
use serde::{Deserialize, Serialize};

/// A ceiling at one working set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    /// Bytes that the kernel touches over and over: both ends of a copy together.
    pub working_set_bytes: u64,
    /// Bytes a second, reads and writes counted.
    pub ceiling: Ceiling,
}

/// Every ceiling of one device under one driver.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeviceCeilings {
    /// The device.
    pub device: DeviceInfo,
    /// Names and versions of the libraries, as `driver 13.0`.
    pub libraries: Vec<String>,
    /// Clocks, power and throttle reasons before the first window; absent where NVML is.
    pub before: Option<Reading>,
    /// The same after the last window.
    pub after: Option<Reading>,
    /// Reading, by working set, ascending.
    pub read: Vec<CurvePoint>,
    /// Copying on the device, by working set, ascending.
    pub copy: Vec<CurvePoint>,
    /// FP64 multiply-adds on the plain units, two operations each.
    pub fma: Ceiling,
    /// The library's matrix product of order 4096.
    pub gemm: Ceiling,
    /// The library's Cholesky factorization of order 4096, `n^3 / 3` operations.
    pub cholesky: Ceiling,
    /// Host to device from pinned memory.
    pub upload_pinned: Ceiling,
    /// Host to device from pageable memory, by way of pinned pieces.
    pub upload_pageable: Ceiling,
    /// Device to host into pinned memory.
    pub download_pinned: Ceiling,
    /// Device to host into pageable memory, by way of pinned pieces.
    pub download_pageable: Ceiling,
    /// Host time of one kernel submission while the device keeps up.
    pub submission: Ceiling,
    /// Launch of a graph of one empty node, one after another.
    pub graph_launch: Ceiling,
    /// One more empty node in a graph.
    pub graph_node: Ceiling,
    /// Submission of an empty kernel and waiting for it.
    pub synchronisation: Ceiling,
    /// One column of a triangular sweep inside a block.
    pub serial_step: Ceiling,
    /// One block's result reaching the next block through memory.
    pub hand_over: Ceiling,
}

/// A ceiling with its name.
#[derive(Clone, Copy, Debug)]
pub struct Named<'c> {
    /// What is bounded, in a few words.
    pub what: &'static str,
    /// Bytes touched over and over; absent where the ceiling does not depend on it.
    pub working_set_bytes: Option<u64>,
    /// The ceiling.
    pub ceiling: &'c Ceiling,
}

impl DeviceCeilings {
    /// The ceilings of a device: from disk where they were measured under this driver and these
    /// libraries, else measured now (up to a minute) and kept.
    ///
    /// # Errors
    /// Any [`DeviceError`](crate::DeviceError) of the work.
    pub fn of(context: &Context) -> Result<Self> {
        let folder = Folder::of_environment();
        match Self::kept(context.info(), &folder)? {
            Ok(kept) => return Ok(kept.value),
            Err(why) => tracing::debug!(%why, "no ceilings are kept"),
        }
        let ceilings = Self::measure(context)?;
        if ceilings.is_throttled() {
            tracing::warn!("the device was throttled: these ceilings are not kept");
            return Ok(ceilings);
        }
        // A folder that cannot be written costs the next process a measurement.
        if let Err(error) = ceilings.clone().keep(&folder)? {
            tracing::warn!(%error, "ceilings were not kept");
        }
        Ok(ceilings)
    }

    /// Whether the device ran slower than asked before or after the windows: then no number here
    /// is a ceiling.
    pub fn is_throttled(&self) -> bool {
        let readings = [&self.before, &self.after].into_iter().flatten();
        let reasons = readings.filter_map(|reading| reading.clock_reasons);
        reasons.into_iter().any(ClockReasons::is_throttled)
    }

    /// Measures every ceiling.
    ///
    /// # Errors
    /// As [`DeviceCeilings::of`].
    pub fn measure(context: &Context) -> Result<Self> {
        let _span = tracing::info_span!("ceilings", device = %context.info()).entered();
        let stream = context.stream(&Ledger::new())?;
        let nvml = management(context)?;
        let before = nvml.as_ref().map(Nvml::read).transpose()?;
        arithmetic::warm_up(&stream)?;
        let mut windows = vec![Window::take(&stream)?, Window::take(&stream)?];
        let mut ceilings = Self::of_windows(context, before, &windows)?;
        while ceilings.all().any(|c| c.value().is_none()) && windows.len() < MOST_WINDOWS {
            windows.push(Window::take(&stream)?);
            ceilings = Self::of_windows(context, ceilings.before, &windows)?;
        }
        ceilings.after = nvml.as_ref().map(Nvml::read).transpose()?;
        Ok(ceilings)
    }

    /// Every ceiling, the points of the curves among them.
    pub fn all(&self) -> impl Iterator<Item = &Ceiling> {
        self.named().map(|named| named.ceiling)
    }

    /// Every ceiling with its name, the points of the curves among them, with their working sets.
    pub fn named(&self) -> impl Iterator<Item = Named<'_>> {
        let curves = [("read", &self.read), ("copy", &self.copy)];
        let points = curves.into_iter().flat_map(|(what, curve)| {
            curve.iter().map(move |point| Named {
                what,
                working_set_bytes: Some(point.working_set_bytes),
                ceiling: &point.ceiling,
            })
        });
        let single = [
            ("FP64 multiply-adds", &self.fma),
            ("matrix product of order 4096", &self.gemm),
            ("Cholesky of order 4096", &self.cholesky),
            ("upload, pinned", &self.upload_pinned),
            ("upload, pageable", &self.upload_pageable),
            ("download, pinned", &self.download_pinned),
            ("download, pageable", &self.download_pageable),
            ("submission", &self.submission),
            ("graph launch", &self.graph_launch),
            ("graph node", &self.graph_node),
            ("synchronisation", &self.synchronisation),
            ("serial step", &self.serial_step),
            ("hand-over between blocks", &self.hand_over),
        ];
        points.chain(single.into_iter().map(|(what, ceiling)| Named {
            what,
            working_set_bytes: None,
            ceiling,
        }))
    }

    fn of_windows(context: &Context, before: Option<Reading>, windows: &[Window]) -> Result<Self> {
        let of = |pick: fn(&Window) -> &Samples| {
            Ceiling::of_windows(windows.iter().map(|w| pick(w).clone()).collect())
        };
        Ok(Self {
            device: context.info().clone(),
            libraries: libraries()?,
            before,
            after: None,
            read: curve(windows, |w| &w.read),
            copy: curve(windows, |w| &w.copy),
            fma: of(|w| &w.fma),
            gemm: of(|w| &w.gemm),
            cholesky: of(|w| &w.cholesky),
            upload_pinned: of(|w| &w.host.upload_pinned),
            upload_pageable: of(|w| &w.host.upload_pageable),
            download_pinned: of(|w| &w.host.download_pinned),
            download_pageable: of(|w| &w.host.download_pageable),
            submission: of(|w| &w.latency.submission),
            graph_launch: of(|w| &w.latency.graph_launch),
            graph_node: of(|w| &w.latency.graph_node),
            synchronisation: of(|w| &w.latency.synchronisation),
            serial_step: of(|w| &w.latency.serial_step),
            hand_over: of(|w| &w.latency.hand_over),
        })
    }
}

/// Windows that are taken at most while a ceiling is refused.
const MOST_WINDOWS: usize = 5;

/// Samples of one quantity, with its unit.
#[derive(Clone, Debug)]
pub(crate) struct Samples {
    pub(crate) unit: Unit,
    pub(crate) values: Vec<f64>,
}

/// Everything once.
struct Window {
    read: Vec<(u64, Samples)>,
    copy: Vec<(u64, Samples)>,
    fma: Samples,
    gemm: Samples,
    cholesky: Samples,
    host: bandwidth::HostCopies,
    latency: latency::Latencies,
}

impl Window {
    fn take(stream: &Stream) -> Result<Self> {
        Ok(Self {
            read: bandwidth::reads(stream)?,
            copy: bandwidth::copies(stream)?,
            fma: arithmetic::fma(stream)?,
            gemm: arithmetic::gemm(stream)?,
            cholesky: arithmetic::cholesky(stream)?,
            host: bandwidth::host_copies(stream)?,
            latency: latency::measure(stream)?,
        })
    }
}

fn curve(windows: &[Window], pick: fn(&Window) -> &Vec<(u64, Samples)>) -> Vec<CurvePoint> {
    let Some(first) = windows.first() else {
        return Vec::new();
    };
    let points = pick(first).iter().enumerate();
    points
        .map(|(at, (bytes, _))| {
            let samples = windows.iter().filter_map(|w| pick(w).get(at));
            CurvePoint {
                working_set_bytes: *bytes,
                ceiling: Ceiling::of_windows(samples.map(|(_, s)| s.clone()).collect()),
            }
        })
        .collect()
}

/// The management library, or nothing where it is absent: ceilings can do without.
fn management(context: &Context) -> Result<Option<Nvml>> {
    match Nvml::start(context) {
        Ok(nvml) => Ok(Some(nvml)),
        Err(crate::DeviceError::Absence(absence)) => {
            tracing::warn!(%absence, "clocks are not read");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Names and versions of the libraries that device work stands on.
fn libraries() -> Result<Vec<String>> {
    let cuda = probe::cuda()?;
    let named = cuda.components.iter().map(|c| {
        let version = c.version.as_deref().unwrap_or("of unknown version");
        format!("{} {version}", c.name)
    });
    Ok(named.collect())
}

/// Seconds of device time that `work` takes, `repeats` times, after one run that is not kept.
fn timed(
    stream: &Stream,
    repeats: usize,
    mut work: impl FnMut() -> Result<()>,
) -> Result<Vec<f64>> {
    work()?;
    let mut seconds = Vec::with_capacity(repeats);
    for _ in 0..repeats {
        let start = stream.mark()?;
        work()?;
        seconds.push(stream.mark()?.since(&start)?.as_secs_f64());
    }
    Ok(seconds)
}
