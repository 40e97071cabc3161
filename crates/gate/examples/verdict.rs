//! A requirement judged twice: measured, and declined because no device is there.
//!
//! `cargo run -p broadhead-gate --example verdict`

use broadhead_device::{Absence, ExecutionPath, LedgerSnapshot};
use broadhead_gate::{Decline, DeviceEvidence, Measurement, OnDevice, Requirement, Samples};

#[expect(clippy::print_stdout, reason = "an example prints")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    // At least 1,000 solves a second, each sample being one solve.
    let requirement = Requirement::at_least(1000.0, 1.0);

    // What a device run hands over: its path, its ledger, its samples.
    let ledger = LedgerSnapshot {
        submissions: 12,
        ..Default::default()
    };
    let evidence = DeviceEvidence::new(ExecutionPath::GpuResidentFull, ledger)?;
    let samples = Samples::<OnDevice>::new(vec![0.8e-3, 0.9e-3, 0.7e-3], evidence)?;
    let verdict = requirement.verdict(&Measurement::Measured(samples));
    println!("{verdict:?}, exit {}", verdict.exit_code());

    let verdict = requirement.verdict(&Decline::from(Absence::NoDevice).into());
    println!("{verdict:?}, exit {}", verdict.exit_code());

    // A CPU run cannot pose as a device run.
    let refused = DeviceEvidence::new(ExecutionPath::Cpu, LedgerSnapshot::default());
    println!(
        "{}",
        refused
            .err()
            .map_or_else(String::new, |reason| reason.to_string())
    );
    Ok(())
}
