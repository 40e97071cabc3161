//! Times rows first on a device: one JSON object a line. The tests check what is timed here.
//!
//! ```text
//! device_timing [time|rows|tall|huge]...
//! ```
//! `huge`, of which the cross blocks have more than $`2^{31}`$ entries, runs only where it is named: it
//! needs 24 GB of host memory and 43 GB of the device's.
#![allow(clippy::print_stdout, reason = "a program whose output is its result")]

use broadhead_device::{Context, Ledger, Stream};
use broadhead_schur::device::{Keep, Linearisation};
use broadhead_schur::{ArrowVector, Refinement, Ridge};
use case::{Case, Outcome, room};
use std::time::Instant;

#[path = "../tests/device/case.rs"]
mod case;

fn median(mut samples: Vec<f64>) -> (f64, f64) {
    samples.sort_by(f64::total_cmp);
    (samples[samples.len() / 2], samples[0])
}

fn say(bench: &str, shape: &str, samples: Vec<f64>, more: &str) {
    let n = samples.len();
    let (median, least) = median(samples);
    println!(
        "{{\"bench\":\"{bench}\",\"shape\":\"{shape}\",\"median_us\":{median:.2},\"min_us\":{least:.2},\"n\":{n}{more}}}"
    );
}

/// Device time of `work`, microseconds, over `repeats` after three to warm up.
fn device_time(
    stream: &Stream,
    repeats: usize,
    mut work: impl FnMut() -> Outcome<()>,
) -> Outcome<Vec<f64>> {
    for _ in 0..3 {
        work()?;
    }
    let mut samples = Vec::new();
    for _ in 0..repeats {
        let start = stream.mark()?;
        work()?;
        let end = stream.mark()?;
        samples.push(end.since(&start)?.as_secs_f64() * 1e6);
    }
    Ok(samples)
}

/// Milliseconds that operands were on their way, null where the device did not say.
fn sending(base: &Linearisation) -> String {
    let milliseconds = |time: std::time::Duration| format!("{:.2}", time.as_secs_f64() * 1e3);
    let sending = base.system().sending();
    sending.map_or("null".to_owned(), milliseconds)
}

fn time(stream: &Stream, name: &str, n: usize, d: usize, k: usize, reuse: bool) -> Outcome<()> {
    let case = Case::new(&vec![d; n], k, 11)?;
    let repeats = if n > 50_000 { 10 } else { 40 };
    for keep in [Keep::Factor, Keep::InverseFactor] {
        let tag = match keep {
            Keep::Factor => "factor",
            Keep::InverseFactor => "inverse-factor",
        };
        let mut base = room(stream, &case.shape, keep)?;
        let start = Instant::now();
        base.refresh(case.system()?)?;
        stream.synchronize()?;
        let total = start.elapsed();
        let before = base.ledger();
        let ridge = Ridge::ZERO;
        let build = device_time(stream, repeats.min(20), || {
            base.factor(ridge)?;
            Ok(())
        })?;
        let bytes = base.bytes();
        say(
            "factor",
            name,
            build,
            &format!(
                ",\"keep\":\"{tag}\",\"border\":\"{:?}\",\"pack_ms\":{:.2},\"send_ms\":{},\"refresh_ms\":{:.2},\"bytes\":{}",
                base.summary().border,
                base.system().packing().as_secs_f64() * 1e3,
                sending(&base),
                total.as_secs_f64() * 1e3,
                bytes
            ),
        );
        if keep == Keep::InverseFactor {
            let (x0, x1) = (base.vector()?, base.vector()?);
            let (mut y0, mut y1) = (base.vector()?, base.vector()?);
            let product = device_time(stream, repeats, || {
                Ok(base.products([&x0, &x1], [&mut y0, &mut y1])?)
            })?;
            say("two_products", name, product, "");
        }
        let mut frame = base.factor(ridge)?;
        let mut a = frame.vector()?;
        let mut b = frame.vector()?;
        stream.upload_into(
            &case.g.row,
            a.row_mut(),
            broadhead_device::ByteClass::Gradient,
        )?;
        stream.upload_into(
            &case.g.border,
            a.border_mut()?,
            broadhead_device::ByteClass::Gradient,
        )?;
        frame.solve_resident(&a, &mut b)?;
        // Each gradient is the step before.
        let mut flip = false;
        let solve = device_time(stream, 200, || {
            flip = !flip;
            match flip {
                true => frame.solve_resident(&b, &mut a)?,
                false => frame.solve_resident(&a, &mut b)?,
            }
            Ok(())
        })?;
        say(
            "resident_solve",
            name,
            solve,
            &format!(",\"keep\":\"{tag}\""),
        );
        let sequence = device_time(stream, 20, || {
            for _ in 0..12 {
                frame.solve_resident(&b, &mut a)?;
                frame.solve_resident(&a, &mut b)?;
            }
            Ok(())
        })?;
        let each: Vec<f64> = sequence.iter().map(|t| t / 24.0).collect();
        say(
            "resident_solve_of_24",
            name,
            each,
            &format!(",\"keep\":\"{tag}\""),
        );
        let mut graph = stream.capture(|_| {
            for _ in 0..12 {
                let broken = |e: broadhead_schur::Error| match e {
                    broadhead_schur::Error::Device(e) => e,
                    other => unreachable!("{other}"),
                };
                frame.solve_resident(&b, &mut a).map_err(broken)?;
                frame.solve_resident(&a, &mut b).map_err(broken)?;
            }
            Ok(())
        })?;
        let sequence = device_time(stream, 20, || Ok(graph.launch()?))?;
        let each: Vec<f64> = sequence.iter().map(|t| t / 24.0).collect();
        say(
            "resident_solve_graph_of_24",
            name,
            each,
            &format!(",\"keep\":\"{tag}\""),
        );
        let mut x = ArrowVector::zeros(&case.shape);
        let mut host = Vec::new();
        for _ in 0..10 {
            let start = Instant::now();
            frame.solve(case.g.as_gradient(), x.as_step())?;
            host.push(start.elapsed().as_secs_f64() * 1e6);
        }
        let omega = case.error(&x, ridge)?;
        say(
            "host_solve",
            name,
            host,
            &format!(",\"keep\":\"{tag}\",\"omega\":{omega:.2e}"),
        );
        let many = device_time(stream, 5, || {
            let mut frame = base.factor(ridge)?;
            for _ in 0..12 {
                frame.solve_resident(&b, &mut a)?;
                frame.solve_resident(&a, &mut b)?;
            }
            Ok(())
        })?;
        say(
            "factor_plus_24_solves",
            name,
            many,
            &format!(",\"keep\":\"{tag}\""),
        );
        let moved = base.ledger().since(&before);
        println!(
            "ledger {tag}: in {} out {} allocations {}",
            moved.host_to_device.total(),
            moved.device_to_host.total(),
            moved.allocations
        );
    }
    if reuse {
        let mut baseline = room(stream, &case.shape, Keep::Factor)?;
        let mut x = ArrowVector::zeros(&case.shape);
        let (mut all, mut packing) = (Vec::new(), Vec::new());
        for _ in 0..4 {
            let start = Instant::now();
            baseline.reupload_and_solve(
                case.system()?,
                Ridge::ZERO,
                case.g.as_gradient(),
                x.as_step(),
            )?;
            all.push(start.elapsed().as_secs_f64() * 1e6);
            packing.push(baseline.system().packing().as_secs_f64() * 1e6);
        }
        let (packing, _) = median(packing);
        say(
            "reupload_solve",
            name,
            all,
            &format!(",\"packing_us\":{packing:.0}"),
        );
    }
    Ok(())
}

fn row_blocks(stream: &Stream) -> Outcome<()> {
    for d in [2usize, 8, 16] {
        let n = 100_000;
        let case = Case::new(&vec![d; n], 0, 5)?;
        let mut base = room(stream, &case.shape, Keep::Factor)?;
        base.refresh(case.system()?)?;
        let rows = device_time(stream, 50, || Ok(base.submit_rows(Ridge::ZERO)?))?;
        let from = stream.zeros::<f64>(n * d * d, "copy")?;
        let mut to = stream.zeros::<f64>(n * d * d, "copy")?;
        let copy = device_time(stream, 50, || Ok(stream.copy(from.view(), to.view_mut())?))?;
        let (copy, _) = median(copy);
        let (ours, _) = median(rows.clone());
        say(
            "row_blocks",
            &format!("d{d}"),
            rows,
            &format!(",\"copy_us\":{copy:.2},\"of_copy\":{:.3}", copy / ours),
        );
    }
    Ok(())
}

/// Right by its residual, as the device and as the CPU see it, or refused with the bytes it needs.
fn huge(stream: &Stream) -> Outcome<()> {
    let (n, d, k) = (250_000, 2, 5120);
    let case = Case::new(&vec![d; n], k, 61)?;
    let ridge = Ridge::ZERO;
    for keep in [Keep::Factor, Keep::InverseFactor] {
        let mut base = room(stream, &case.shape, keep)?;
        base.refresh(case.system()?)?;
        let factor = device_time(stream, 3, || {
            base.factor(ridge)?;
            Ok(())
        })?;
        let (mut gradient, mut step) = (base.vector()?, base.vector()?);
        let class = broadhead_device::ByteClass::Gradient;
        stream.upload_into(&case.g.row, gradient.row_mut(), class)?;
        stream.upload_into(&case.g.border, gradient.border_mut()?, class)?;
        let report =
            base.factorization(ridge)?
                .solve_measured(&gradient, &mut step, Refinement::Measure)?;
        let x = ArrowVector {
            row: stream.download(step.row(), class)?,
            border: stream.download(step.border()?, class)?,
        };
        let omega = case.error(&x, ridge)?;
        let said = report.error.and_then(|error| error.componentwise);
        say(
            "factor",
            "huge",
            factor,
            &format!(
                ",\"keep\":\"{keep:?}\",\"send_ms\":{},\"bytes\":{},\"omega\":{omega:.2e},\"omega_on_device\":{:.2e}",
                sending(&base),
                base.bytes(),
                said.unwrap_or(f64::NAN),
            ),
        );
        if !(omega <= 1e-13 && said.is_some_and(|said| said <= 1e-13)) {
            return Err(format!("backward errors {omega:e}, {said:?}").into());
        }
    }
    Ok(())
}

fn main() -> Outcome<()> {
    if let Err(absence) = broadhead_device::probe::cuda() {
        println!("not measured: {absence}");
        return Ok(());
    }
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let want = |what: &str| wanted.is_empty() || wanted.iter().any(|w| w == what);
    let stream = Context::open(0)?.stream(&Ledger::new())?;
    if want("time") {
        time(&stream, "qwen", 2000, 2, 2048, true)?;
        time(&stream, "color_arm", 180, 2, 5120, true)?;
        time(&stream, "d16", 512, 16, 2048, false)?;
    }
    if want("rows") {
        row_blocks(&stream)?;
    }
    if want("tall") {
        time(&stream, "tall", 100_000, 2, 2000, false)?;
    }
    if wanted.iter().any(|w| w == "huge") {
        huge(&stream)?;
    }
    Ok(())
}
