//! Steps that are measured and refined on the device: the errors are the CPU's, and small.

use super::case::{Case, room};
use super::{Outcome, expect, expect_eq, on_device};
use broadhead_device::{ByteClass, Stream};
use broadhead_schur::device::{DeviceVector, Keep};
use broadhead_schur::{ArrowVector, Refinement, Ridge};
use broadhead_testkit::device::{Trial, is_racechecked};

/// The componentwise backward error that counts as parity.
const PARITY: f64 = 1e-13;

pub(super) fn tests() -> Vec<Trial> {
    vec![
        on_device!("errors_measured_on_the_device_are_the_cpu_s", errors),
        on_device!("ill_conditioned_borders_are_refined_on_the_device", refined),
        on_device!("a_measured_solve_moves_one_record_a_measurement", ledger),
    ]
}

fn upload(stream: &Stream, from: &ArrowVector, to: &mut DeviceVector) -> Outcome {
    let class = ByteClass::Gradient;
    stream.upload_into(&from.row, to.row_mut(), class)?;
    Ok(stream.upload_into(&from.border, to.border_mut()?, class)?)
}

fn download(stream: &Stream, from: &DeviceVector) -> Result<ArrowVector, broadhead_schur::Error> {
    let class = ByteClass::Gradient;
    Ok(ArrowVector {
        row: stream.download(from.row(), class)?,
        border: stream.download(from.border()?, class)?,
    })
}

fn cases() -> Vec<(Vec<usize>, usize)> {
    let ragged = (0..90).map(|i| [2, 0, 5, 1, 16, 3][i % 6]).collect();
    let mut cases = vec![
        (vec![2; 180], 1300),
        (vec![1; 50], 33),
        (vec![40; 7], 129),
        (ragged, 257),
        (vec![2; 7], 0),
        (vec![], 40),
        (vec![2; if is_racechecked() { 5000 } else { 20_000 }], 1),
    ];
    cases.retain(|(_, k)| *k <= 500 || !is_racechecked());
    cases
}

fn errors(stream: &Stream) -> Outcome {
    for (dims, k) in cases() {
        let case = Case::new(&dims, k, 51)?;
        for ridge in [Ridge::ZERO, Ridge::new(0.3, 0.1)] {
            let mut base = room(stream, &case.shape, Keep::InverseFactor)?;
            base.refresh(case.system()?)?;
            let mut factors = base.factor(ridge)?;
            let (mut gradient, mut step) = (factors.vector()?, factors.vector()?);
            upload(stream, &case.g, &mut gradient)?;
            let report = factors.solve_measured(&gradient, &mut step, Refinement::Measure)?;
            let said = report.error.ok_or("no error")?;
            let omega = case.error(&download(stream, &step)?, ridge)?;
            let componentwise = said.componentwise.ok_or("no componentwise error")?;
            let what = format!("{k}: {said:?}, the CPU's {omega:e}");
            // Both sums round: where the error is a few roundings, so do the two differ.
            let near = (componentwise - omega).abs() <= 0.5 * omega + 4.0 * f64::EPSILON;
            expect(near && componentwise <= PARITY, &what)?;
            expect(said.normwise <= componentwise, &what)?;
        }
    }
    Ok(())
}

/// A border with eigenvalues over eleven decades, coupled: an inverse factor alone is not enough.
fn hard(k: usize) -> Result<Case, Box<dyn std::error::Error>> {
    let mut case = Case::new(&[2; 100], k, 52)?;
    let scale = |j: usize| 10f64.powf(5.5 * j as f64 / k as f64);
    for i in 0..k {
        for j in 0..k {
            case.c[i * k + j] *= scale(i) * scale(j) * if i == j { 1.0 } else { 40.0 };
        }
    }
    Ok(case)
}

fn refined(stream: &Stream) -> Outcome {
    for k in [240, if is_racechecked() { 320 } else { 1024 }] {
        let case = hard(k)?;
        for keep in [Keep::Factor, Keep::InverseFactor] {
            let mut base = room(stream, &case.shape, keep)?;
            base.refresh(case.system()?)?;
            let mut factors = base.factor(Ridge::ZERO)?;
            let (mut gradient, mut step) = (factors.vector()?, factors.vector()?);
            upload(stream, &case.g, &mut gradient)?;
            let before = factors.solve_measured(&gradient, &mut step, Refinement::Measure)?;
            let after = factors.solve_measured(&gradient, &mut step, Refinement::default())?;
            let omega = case.error(&download(stream, &step)?, Ridge::ZERO)?;
            let what = format!("{k}, {keep:?}: {before:?}, {after:?}, the CPU's {omega:e}");
            expect(omega <= PARITY, &what)?;
            let size = |r: broadhead_schur::SolveReport| r.error.and_then(|e| e.componentwise);
            expect(size(after) <= size(before), &what)?;
            let needed = size(before).is_some_and(|omega| omega > 1e-14);
            expect(needed || after.refinements == 0, &what)?;
        }
    }
    Ok(())
}

fn ledger(stream: &Stream) -> Outcome {
    let case = Case::new(&[2; 180], 300, 53)?;
    let mut base = room(stream, &case.shape, Keep::InverseFactor)?;
    base.refresh(case.system()?)?;
    let mut factors = base.factor(Ridge::ZERO)?;
    let (mut gradient, mut step) = (factors.vector()?, factors.vector()?);
    upload(stream, &case.g, &mut gradient)?;
    let before = stream.ledger().snapshot();
    let report = factors.solve_measured(&gradient, &mut step, Refinement::Measure)?;
    let moved = stream.ledger().snapshot().since(&before);
    expect_eq("refinements", report.refinements, 0)?;
    expect_eq("bytes in", moved.host_to_device.total(), 0)?;
    expect_eq("bytes out", moved.device_to_host.total(), 40)?;
    expect_eq("allocations", moved.allocations, 0)
}
