//! Times one iterate of the resident quadratic loop: one JSON object a line.
#![allow(clippy::print_stdout, reason = "a program whose output is its result")]

use broadhead_device::{Context, Ledger};
use broadhead_sae::lm::Rule;
use broadhead_sae::lm::device::ResidentQuadratic;
use broadhead_schur::Ridge;
use broadhead_schur::cuda::Keep;
use case::{Case, Outcome};
use std::time::Instant;

#[path = "../../schur/tests/device/case.rs"]
mod case;

fn main() -> Outcome<()> {
    if let Err(absence) = broadhead_device::probe::cuda() {
        println!("not measured: {absence}");
        return Ok(());
    }
    let stream = Context::open(0)?.stream(&Ledger::new())?;
    for (name, n, k) in [("qwen", 2000, 2048), ("color_arm", 180, 5120)] {
        let case = Case::new(&vec![2; n], k, 11)?;
        let mut resident = ResidentQuadratic::new(&stream, &case.shape, Keep::InverseFactor)?;
        resident.load(&case.system()?, case.g.as_gradient(), 1.0)?;
        resident.start(&Rule::quadratic())?;
        let mut graph = resident.graph(Ridge::ZERO)?;
        let (mut device, mut wall) = (Vec::new(), Vec::new());
        for _ in 0..60 {
            let start = stream.mark()?;
            graph.launch()?;
            let end = stream.mark()?;
            device.push(end.since(&start)?.as_secs_f64() * 1e6);
            let start = Instant::now();
            graph.launch()?;
            resident.read()?;
            wall.push(start.elapsed().as_secs_f64() * 1e6);
        }
        device.sort_by(f64::total_cmp);
        wall.sort_by(f64::total_cmp);
        let before = stream.ledger().snapshot();
        graph.launch()?;
        resident.read()?;
        let moved = stream.ledger().snapshot().since(&before);
        let mut changing = Vec::new();
        for i in 0..12 {
            let ridge = Ridge::new(1e-3 / (i + 1) as f64, 1e-3 / (i + 1) as f64);
            let start = Instant::now();
            resident.submit(ridge)?;
            resident.read()?;
            changing.push(start.elapsed().as_secs_f64() * 1e6);
        }
        changing.sort_by(f64::total_cmp);
        println!(
            "{{\"bench\":\"resident_iterate\",\"shape\":\"{name}\",\"device_median_us\":{:.2},\"wall_median_us\":{:.2},\"changing_ridge_wall_median_us\":{:.2},\"bytes_in\":{},\"bytes_out\":{},\"submissions\":{}}}",
            device[30],
            wall[30],
            changing[6],
            moved.host_to_device.total(),
            moved.device_to_host.total(),
            moved.submissions
        );
    }
    Ok(())
}
