//! Bytes a second: on the device by working set, and between host and device.

use super::kernel::{blocks, copy_many, read_many};
use super::{Samples, Unit, timed};
use crate::{ByteClass, DeviceBuffer, Result, Stream};
use std::time::Instant;

/// Working sets in MiB: inside the second-level cache, around its edge, far beyond.
const WORKING_SETS_MIB: [u64; 13] = [1, 2, 4, 8, 16, 24, 32, 48, 64, 128, 256, 1024, 4096];

/// Bytes that one sample moves at least, so that its time is far above the clock's resolution.
const BYTES_OF_A_SAMPLE: u64 = 16 << 30;

/// Samples of one window.
const REPEATS: usize = 15;

/// Bytes of one host copy.
const HOST_BYTES: usize = 256 << 20;

fn rates(bytes: u64, seconds: Vec<f64>) -> Samples {
    Samples {
        unit: Unit::BytesPerSecond,
        values: seconds.into_iter().map(|s| bytes as f64 / s).collect(),
    }
}

/// Working sets that leave most of the memory free.
fn working_sets(stream: &Stream) -> impl Iterator<Item = u64> {
    let most = stream.context().info().memory_bytes / 4;
    WORKING_SETS_MIB
        .into_iter()
        .map(|m| m << 20)
        .filter(move |&b| b <= most)
}

/// Doubles that no kernel here takes for zeros: data of zeros runs faster than real data.
fn filled(stream: &Stream, bytes: u64, what_for: &str) -> Result<DeviceBuffer<f64>> {
    let len = (bytes / 8) as usize;
    let mut buffer = stream.alloc::<f64>(len, what_for)?;
    let seed: Vec<f64> = (0..(1 << 16).min(len))
        .map(|i| 0.5 + (i as f64 * 0.618).fract())
        .collect();
    stream.upload_into(&seed, buffer.slice_mut(0..seed.len())?, ByteClass::Other)?;
    let mut done = seed.len();
    while done < len {
        let next = done.min(len - done);
        let (from, to) = buffer.view_mut().split_at(done)?;
        stream.copy(from.as_view().slice(0..next)?, to.slice(0..next)?)?;
        done += next;
    }
    Ok(buffer)
}

/// Reads, by working set.
pub(super) fn reads(stream: &Stream) -> Result<Vec<(u64, Samples)>> {
    let mut sums = stream.zeros::<f64>(blocks(stream) as usize, "sums")?;
    let mut curve = Vec::new();
    for bytes in working_sets(stream) {
        let buffer = filled(stream, bytes, "working set")?;
        let passes = BYTES_OF_A_SAMPLE.div_ceil(bytes);
        let seconds = timed(stream, REPEATS, || {
            read_many(stream, buffer.view(), passes as i32, sums.view_mut())
        })?;
        curve.push((bytes, rates(bytes * passes, seconds)));
    }
    Ok(curve)
}

/// Copies, by working set: half of it is read, half written.
pub(super) fn copies(stream: &Stream) -> Result<Vec<(u64, Samples)>> {
    let mut curve = Vec::new();
    for bytes in working_sets(stream) {
        let from = filled(stream, bytes / 2, "working set")?;
        let mut to = stream.alloc::<f64>(from.len(), "working set")?;
        let passes = BYTES_OF_A_SAMPLE.div_ceil(bytes);
        let seconds = timed(stream, REPEATS, || {
            copy_many(stream, from.view(), to.view_mut(), passes as i32)
        })?;
        curve.push((bytes, rates(bytes * passes, seconds)));
    }
    Ok(curve)
}

/// Copies between host and device.
pub(super) struct HostCopies {
    pub(super) upload_pinned: Samples,
    pub(super) upload_pageable: Samples,
    pub(super) download_pinned: Samples,
    pub(super) download_pageable: Samples,
}

/// Host copies: pinned ones by device time, those of pageable memory by host time, for the host is part of
/// those: it copies to and from pinned pieces.
pub(super) fn host_copies(stream: &Stream) -> Result<HostCopies> {
    let len = HOST_BYTES / 8;
    let bytes = HOST_BYTES as u64;
    let mut host: Vec<f64> = (0..len).map(|i| i as f64).collect();
    let mut pinned = stream.pinned::<f64>(len, "host copies")?;
    pinned.write(&host)?;
    let mut buffer = stream.alloc::<f64>(len, "host copies")?;
    let class = ByteClass::Other;
    let upload_pinned = timed(stream, REPEATS, || {
        stream.upload_pinned(&pinned, buffer.view_mut(), class)
    })?;
    let download_pinned = timed(stream, REPEATS, || {
        stream.download_pinned(buffer.view(), &mut pinned, class)
    })?;
    let upload_pageable = by_host(|| {
        stream.upload_into(&host, buffer.view_mut(), class)?;
        stream.synchronize()
    })?;
    let download_pageable = by_host(|| stream.download_into(buffer.view(), &mut host, class))?;
    Ok(HostCopies {
        upload_pinned: rates(bytes, upload_pinned),
        upload_pageable: rates(bytes, upload_pageable),
        download_pinned: rates(bytes, download_pinned),
        download_pageable: rates(bytes, download_pageable),
    })
}

/// Seconds of host time of a call that waits, after one that is not kept.
fn by_host(mut call: impl FnMut() -> Result<()>) -> Result<Vec<f64>> {
    call()?;
    (0..REPEATS)
        .map(|_| {
            let start = Instant::now();
            call()?;
            Ok(start.elapsed().as_secs_f64())
        })
        .collect()
}
