//! A device's ceilings in the planner's words.
//!
//! ```text
//! gemm_flops      the library's matrix product of order 4096
//! cholesky_share  its Cholesky of order 4096, over that
//! bandwidth       reading the largest working set of the curve
//! loop_flops      a multiply-add for each number read, or the plain units' rate where that is less
//! serial_step     a column of a sweep inside a block, and its part of the hand-over to the next
//! launch          one submission
//! ```

use crate::Decline;
use broadhead_device::DeviceError;
use broadhead_device::measure::{Ceiling, DeviceCeilings};
use broadhead_device::nvml::ClockReasons;
use broadhead_schur::Ceilings;

/// Columns of a triangular sweep that one block of threads does before it hands over.
const SWEEP_BLOCK: f64 = 64.0;

/// An error of a device as the reason of a measurement that was not made.
pub(super) fn declined(error: DeviceError) -> Decline {
    match error {
        DeviceError::Absence(absence) => Decline::Absent { absence },
        other => Decline::Failed {
            error: other.to_string(),
        },
    }
}

/// Measured ceilings for the planner.
///
/// # Errors
/// [`Decline::Throttled`] where the device ran slower than asked while they were measured;
/// [`Decline::NoCeiling`] naming one whose windows differ: nothing is priced by a guess.
pub fn of_device(measured: &DeviceCeilings) -> Result<Ceilings, Decline> {
    if measured.is_throttled() {
        let readings = [&measured.before, &measured.after].into_iter().flatten();
        let reasons = readings.filter_map(|reading| reading.clock_reasons);
        let names: Vec<&str> = reasons.flat_map(ClockReasons::names).collect();
        return Err(Decline::Throttled {
            reason: names.join(", "),
        });
    }
    let gemm_flops = value(&measured.gemm, "a matrix product")?;
    let bandwidth = match measured.read.last() {
        Some(point) => value(&point.ceiling, "reading")?,
        None => return Err(none("reading")),
    };
    let fma = value(&measured.fma, "FP64 multiply-adds")?;
    let step = value(&measured.serial_step, "a serial step")?;
    let hand_over = value(&measured.hand_over, "a hand-over between blocks")?;
    Ok(Ceilings {
        gemm_flops,
        cholesky_share: value(&measured.cholesky, "Cholesky")? / gemm_flops,
        loop_flops: fma.min(2.0 * bandwidth / size_of::<f64>() as f64),
        bandwidth,
        serial_step: step + hand_over / SWEEP_BLOCK,
        launch: value(&measured.submission, "a submission")?,
    })
}

fn value(ceiling: &Ceiling, what: &str) -> Result<f64, Decline> {
    ceiling.value().ok_or_else(|| none(what))
}

fn none(what: &str) -> Decline {
    Decline::NoCeiling {
        what: what.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use broadhead_device::measure::{CurvePoint, Unit};
    use broadhead_device::nvml::Reading;
    use broadhead_device::probe::DeviceInfo;

    fn measured(unit: Unit, value: f64) -> Ceiling {
        Ceiling::Measured {
            unit,
            value,
            medians: vec![value, value],
            samples: vec![vec![value], vec![value]],
        }
    }

    fn sample() -> DeviceCeilings {
        let rate = |value| measured(Unit::OperationsPerSecond, value);
        let bytes = |value| measured(Unit::BytesPerSecond, value);
        let seconds = |value| measured(Unit::Seconds, value);
        let point = |working_set_bytes, value| CurvePoint {
            working_set_bytes,
            ceiling: bytes(value),
        };
        DeviceCeilings {
            device: DeviceInfo {
                ordinal: 0,
                name: "a device".to_owned(),
                compute_capability: (9, 0),
                multiprocessors: 1,
                memory_bytes: 1,
                l2_bytes: 1,
                shared_bytes_per_block: 1,
                clock_khz: 1,
            },
            libraries: vec![],
            before: None,
            after: None,
            read: vec![point(1 << 20, 7e12), point(1 << 32, 3e12)],
            copy: vec![],
            fma: rate(3.3e13),
            gemm: rate(6e13),
            cholesky: rate(1.2e13),
            upload_pinned: bytes(5e10),
            upload_pageable: bytes(1e10),
            download_pinned: bytes(5e10),
            download_pageable: bytes(1e10),
            submission: seconds(3e-6),
            graph_launch: seconds(2e-6),
            graph_node: seconds(8e-7),
            synchronisation: seconds(8e-6),
            serial_step: seconds(3e-8),
            hand_over: seconds(6.4e-7),
        }
    }

    #[test]
    fn each_of_the_planner_s_rates_comes_from_a_measured_one() {
        let found = of_device(&sample()).unwrap();
        let wanted = Ceilings {
            gemm_flops: 6e13,
            cholesky_share: 0.2,
            // One multiply-add for each of 3e12 / 8 numbers a second.
            loop_flops: 7.5e11,
            bandwidth: 3e12,
            serial_step: 4e-8,
            launch: 3e-6,
        };
        let near = |a: f64, b: f64| (a - b).abs() <= 1e-12 * b;
        assert!(near(found.serial_step, wanted.serial_step));
        let serial_step = found.serial_step;
        assert_eq!(
            found,
            Ceilings {
                serial_step,
                ..wanted
            }
        );
    }

    #[test]
    fn nothing_is_priced_by_a_ceiling_that_was_refused_or_throttled() {
        let refused = Ceiling::Refused {
            unit: Unit::Seconds,
            medians: vec![1.0, 2.0],
            samples: vec![vec![1.0], vec![2.0]],
        };
        let mut ceilings = sample();
        ceilings.submission = refused;
        assert_eq!(of_device(&ceilings), Err(none("a submission")));
        let mut ceilings = sample();
        ceilings.read.clear();
        assert_eq!(of_device(&ceilings), Err(none("reading")));
        let mut ceilings = sample();
        ceilings.after = Some(Reading {
            driver: String::new(),
            memory_used: None,
            memory_total: None,
            sm_clock_mhz: None,
            memory_clock_mhz: None,
            clock_reasons: Some(ClockReasons(0x4)),
            power_watts: None,
            temperature_celsius: None,
            processes: None,
        });
        let reason = "power cap".to_owned();
        assert_eq!(of_device(&ceilings), Err(Decline::Throttled { reason }));
    }
}
