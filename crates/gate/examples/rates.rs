//! The rates of this processor that the planner prices by, beside those that ship.
//!
//! ```sh
//! cargo run --release --package broadhead-gate --example rates
//! ```

use broadhead_gate::ceilings;
use broadhead_schur::HostCeilings;

#[allow(clippy::print_stdout, reason = "what an example prints is its result")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (measured, shipped) = (ceilings::measure_cpu()?, HostCeilings::default());
    println!("measured here {measured:#?}\nshipped {shipped:#?}");
    Ok(())
}
