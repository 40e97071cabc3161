//! The ceilings of this device: measured in two windows, kept, and consistent with one another.

use broadhead_device::measure::{Ceiling, CurvePoint, DeviceCeilings, TOLERANCE};
use broadhead_device::{Context, kernels};
use broadhead_testkit::device::{Failed, Outcome, Trial, expect, on_device, record};

pub(crate) fn tests() -> Vec<Trial> {
    vec![on_device(
        "ceilings::two_windows_agree_and_are_kept",
        windows,
    )]
}

fn windows(context: &Context) -> Outcome {
    expect(
        kernels::cache_folder().is_some(),
        "there is no cache folder",
    )?;
    let measured = DeviceCeilings::of(context)?;
    record("ceilings", serde_json::to_value(&measured)?)?;
    let largest = |curve: &[CurvePoint]| curve.last().and_then(|p| p.ceiling.value());
    let read = largest(&measured.read).ok_or("reading was refused")?;
    let copy = largest(&measured.copy).ok_or("copying was refused")?;
    let in_cache = measured.read.iter().filter_map(|p| p.ceiling.value());
    let in_cache = in_cache.fold(0.0, f64::max);
    expect(
        in_cache > read,
        format!("reads: {in_cache:e} in the cache, {read:e} beyond"),
    )?;
    expect(
        copy < 1.1 * read,
        format!("copies {copy:e} against reads {read:e}"),
    )?;
    let fma = value("multiply-adds", &measured.fma)?;
    let gemm = value("products", &measured.gemm)?;
    // Two operations a clock and unit; 64 units a multiprocessor on the largest of these devices.
    let info = context.info();
    let most = 2.0 * 64.0 * f64::from(info.multiprocessors) * info.clock_khz as f64 * 1e3;
    expect(
        fma < 1.05 * most,
        format!("{fma:e} multiply-adds of at most {most:e}"),
    )?;
    expect(
        gemm > 0.5 * fma,
        format!("products {gemm:e}, multiply-adds {fma:e}"),
    )?;
    let cholesky = value("Cholesky", &measured.cholesky)?;
    let within = cholesky < 1.05 * gemm;
    expect(within, format!("Cholesky {cholesky:e}, products {gemm:e}"))?;
    // Where a moment of the host or of the driver's placement moved a latency, it must say so.
    let latencies = [
        ("submission", &measured.submission),
        ("graph launch", &measured.graph_launch),
        ("graph node", &measured.graph_node),
        ("synchronisation", &measured.synchronisation),
        ("serial step", &measured.serial_step),
        ("hand over", &measured.hand_over),
    ];
    for (what, ceiling) in latencies {
        follows_from_its_windows(what, ceiling)?;
    }
    let kept = DeviceCeilings::of(context)?;
    expect(kept == measured, "the ceilings were measured twice")
}

/// Measured exactly where the two best windows agree, and never faster than a clock cycle or so.
fn follows_from_its_windows(what: &str, ceiling: &Ceiling) -> Outcome {
    let (medians, measured) = match ceiling {
        Ceiling::Measured { medians, .. } => (medians, true),
        Ceiling::Refused { medians, .. } => (medians, false),
    };
    let mut best = medians.clone();
    best.sort_by(f64::total_cmp);
    expect(
        best.len() >= 2 && best[0] > 1e-9,
        format!("{what}: {best:?} seconds"),
    )?;
    let agree = best[1] - best[0] <= TOLERANCE * best[0];
    expect(agree == measured, format!("{what}: {ceiling:?}"))
}

fn value(what: &str, ceiling: &Ceiling) -> Result<f64, Failed> {
    ceiling
        .value()
        .ok_or_else(|| format!("{what}: {ceiling:?}").into())
}
