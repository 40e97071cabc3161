//! Times one iterate of the resident quadratic loop: one JSON object a line.
#![allow(clippy::print_stdout, reason = "a program whose output is its result")]

use broadhead_device::{Context, Ledger};
use broadhead_sae::lm::device::ResidentQuadratic;
use broadhead_sae::lm::{Rule, go_on};
use broadhead_schur::Ridge;
use broadhead_schur::device::Keep;
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
            resident.launch(&mut graph)?;
            let end = stream.mark()?;
            device.push(end.since(&start)?.as_secs_f64() * 1e6);
            let start = Instant::now();
            resident.launch(&mut graph)?;
            resident.read()?;
            wall.push(start.elapsed().as_secs_f64() * 1e6);
        }
        device.sort_by(f64::total_cmp);
        wall.sort_by(f64::total_cmp);
        let before = stream.ledger().snapshot();
        resident.launch(&mut graph)?;
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
        for initial_ridge in [0.0, 1e-3] {
            let rule = Rule {
                residual_tolerance: 0.0,
                initial_ridge,
                ..Rule::quadratic()
            };
            let (mut host, mut whole, mut report) = (Vec::new(), Vec::new(), None);
            for _ in 0..5 {
                let start = Instant::now();
                let by_host = resident.fit(&rule, &mut go_on)?;
                host.push(start.elapsed().as_secs_f64() * 1e6);
                let start = Instant::now();
                let by_graph = resident.fit_in_one_graph(&rule)?;
                whole.push(start.elapsed().as_secs_f64() * 1e6);
                if by_host != by_graph {
                    return Err(format!("{by_host:?} {by_graph:?}").into());
                }
                report = Some(by_graph);
            }
            host.sort_by(f64::total_cmp);
            whole.sort_by(f64::total_cmp);
            println!(
                "{{\"bench\":\"whole_fit\",\"shape\":\"{name}\",\"initial_ridge\":{initial_ridge:e},\"graph_an_iterate_us\":{:.2},\"one_graph_us\":{:.2},\"iterations\":{}}}",
                host[2],
                whole[2],
                report.map_or(0, |r| r.iterations)
            );
        }
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
