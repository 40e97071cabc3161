//! Checks and times rows first on a device against the CPU: one JSON object a line.
//!
//! ```text
//! device_timing [--quick] [check|time|rows|tall]...
//! ```
#![allow(clippy::print_stdout, reason = "a program whose output is its result")]

use broadhead_device::{Context, Ledger, Stream};
use broadhead_schur::cuda::{Base, Keep, Placement, ReUpload};
use broadhead_schur::*;
use std::error::Error;
use std::time::Instant;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// A generator of uniform numbers in (-1, 1): splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }

    fn many(&mut self, n: usize, scale: f64) -> Vec<f64> {
        (0..n).map(|_| scale * self.next()).collect()
    }
}

struct Case {
    shape: ArrowShape,
    d: Vec<f64>,
    b: Vec<f64>,
    c: Vec<f64>,
    g: ArrowVector,
}

impl Case {
    fn new(dims: &[usize], k: usize, seed: u64) -> Outcome<Self> {
        let shape = ArrowShape::new(RowDims::ragged(dims)?, k)?;
        let mut random = Random(seed);
        let mut d = Vec::new();
        for &w in dims {
            for a in 0..w {
                for b in 0..w {
                    let off = 0.02 * random.next();
                    d.push(match a.cmp(&b) {
                        std::cmp::Ordering::Equal => 3.0 + off,
                        std::cmp::Ordering::Greater => off,
                        // Never read.
                        std::cmp::Ordering::Less => f64::NAN,
                    });
                }
            }
        }
        let n = shape.row_unknowns();
        let b = random.many(n * k, 1e-2 / (n.max(1) as f64).sqrt());
        let mut c = random.many(k * k, 0.05 / (k.max(1) as f64).sqrt());
        (0..k).for_each(|j| c[j * k + j] += 4.0);
        let g = ArrowVector {
            row: random.many(n, 1.0),
            border: random.many(k, 1.0),
        };
        Ok(Self { shape, d, b, c, g })
    }

    fn system(&self) -> Outcome<DenseSystem<'_>> {
        let (n, k) = (self.shape.row_unknowns(), self.shape.border());
        Ok(DenseSystem::new(
            &self.shape,
            RowBlocks::packed(&self.d),
            CrossView::row_major(&self.b, n, k)?,
            SymmetricView::row_major(&self.c, k)?,
        )?)
    }

    /// The componentwise backward error of a step.
    fn error(&self, x: &ArrowVector, ridge: Ridge) -> Outcome<f64> {
        let mut y = ArrowVector::zeros(&self.shape);
        let mut a = ArrowVector::zeros(&self.shape);
        let product = ProductMut {
            row: &mut y.row,
            border: &mut y.border,
            row_abs: &mut a.row,
            border_abs: &mut a.border,
        };
        System::Dense(self.system()?).product(&x.row, &x.border, ridge, product);
        let mut worst: f64 = 0.0;
        let parts = [(&y.row, &a.row, &self.g.row), (&y.border, &a.border, &self.g.border)];
        for (y, a, g) in parts {
            for i in 0..y.len() {
                let omega = (y[i] + g[i]).abs() / (a[i] + g[i].abs());
                worst = if omega <= worst { worst } else { omega };
            }
        }
        Ok(worst)
    }
}

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

fn check(stream: &Stream) -> Outcome<bool> {
    let ragged: Vec<usize> = (0..90).map(|i| [2, 0, 5, 1, 16, 3][i % 6]).collect();
    let wide: Vec<usize> = (0..40).map(|i| 17 + i % 16).collect();
    let shapes: Vec<(&str, Vec<usize>, usize)> = vec![
        ("d1", vec![1; 50], 33),
        ("d2", vec![2; 64], 64),
        ("d3", vec![3; 300], 200),
        ("d8", vec![8; 1000], 65),
        ("d16", vec![16; 700], 129),
        ("d32", vec![32; 40], 100),
        ("ragged", ragged, 257),
        ("wide", wide, 500),
        ("one border", vec![2; 700], 1),
        ("no border", vec![2; 7], 0),
        ("no rows", vec![], 40),
        ("odd", vec![2; 2000], 999),
        ("mid", vec![2; 180], 1300),
    ];
    let mut good = true;
    for (name, dims, k) in shapes {
        let case = Case::new(&dims, k, 7)?;
        let ridge = Ridge::new(0.3, 0.1);
        for keep in [Keep::Factor, Keep::InverseFactor] {
            let mut base = Base::new(stream, &case.shape, keep)?;
            base.refresh(&case.system()?)?;
            let mut x = ArrowVector::zeros(&case.shape);
            let mut frame = base.factor(ridge)?;
            frame.solve(case.g.as_gradient(), x.as_step())?;
            let log = frame.log_determinant()?.value;
            let pivots = (frame.row_pivot(), frame.border_pivot());
            let mut again = ArrowVector::zeros(&case.shape);
            frame.solve(case.g.as_gradient(), again.as_step())?;
            let omega = case.error(&x, ridge)?;
            let mut solver = Solver::new(
                &case.system()?.into(),
                SolverOptions {
                    elimination: Some(EliminationKind::Rows),
                    ..Default::default()
                },
            )?;
            let mut cpu_base = solver.refresh(case.system()?)?;
            let cpu = cpu_base.factor(ridge)?;
            let cpu_log = cpu.log_determinant()?.value;
            let log_error = (log - cpu_log).abs() / cpu_log.abs().max(1.0);
            let same_sites = (pivots.0.map(|p| p.site), pivots.1.map(|p| p.site))
                == (cpu.row_pivot().map(|p| p.site), cpu.border_pivot().map(|p| p.site));
            // Three at once.
            let m = 3;
            let rows: Vec<f64> = (0..m).flat_map(|_| case.g.row.clone()).collect();
            let borders: Vec<f64> = (0..m).flat_map(|_| case.g.border.clone()).collect();
            let (n, k) = (case.shape.row_unknowns(), case.shape.border());
            let (mut rx, mut bx) = (vec![0.0; n * m], vec![0.0; k * m]);
            use faer::{MatMut, MatRef};
            let mut frame = base.factor(ridge)?;
            frame.solve(
                Gradient::many(
                    MatRef::from_column_major_slice(&rows, n, m),
                    MatRef::from_column_major_slice(&borders, k, m),
                ),
                StepMut::many(
                    MatMut::from_column_major_slice_mut(&mut rx, n, m),
                    MatMut::from_column_major_slice_mut(&mut bx, k, m),
                ),
            )?;
            let last = ArrowVector {
                row: rx[n * (m - 1)..].to_vec(),
                border: bx[k * (m - 1)..].to_vec(),
            };
            let many = case.error(&last, ridge)?;
            let ok = omega < 1e-13 && many < 1e-13 && log_error < 1e-12 && x == again && same_sites;
            good &= ok;
            println!(
                "{} {name} {keep:?}: omega {omega:.1e}, many {many:.1e}, log {log_error:.1e}, same bits {}, pivots {same_sites}",
                if ok { "ok  " } else { "FAIL" },
                x == again
            );
        }
    }
    // Failures: a row, then the border.
    let mut case = Case::new(&[2; 300], 150, 3)?;
    case.d[4 * 123 + 3] = -1.5;
    case.d[4 * 200] = -7.0;
    let mut base = Base::new(stream, &case.shape, Keep::InverseFactor)?;
    let mut solver = Solver::new(&case.system()?.into(), SolverOptions {
        elimination: Some(EliminationKind::Rows),
        ..Default::default()
    })?;
    for what in ["row", "border"] {
        base.refresh(&case.system()?)?;
        let device = base.factor(Ridge::ZERO).map(|_| ());
        let mut cpu_base = solver.refresh(case.system()?)?;
        let cpu = cpu_base.factor(Ridge::ZERO).map(|_| ());
        println!("{what}: device {device:?}\n{what}: cpu    {cpu:?}");
        if let Err(Failure::NotPositiveDefinite(failure)) = device {
            let side = failure.site.side();
            let bump = failure.bump.ok_or("no bump")?;
            let cured = base.factor(Ridge::ZERO.bumped(side, bump)).is_ok();
            good &= cured;
            println!("cured {cured}");
        } else {
            good = false;
        }
        case.d[4 * 123 + 3] = 3.0;
        case.d[4 * 200] = 3.0;
        case.c[77 * 150 + 77] = -2.0;
    }
    println!("{}", if good { "ALL GOOD" } else { "SOME FAILED" });
    Ok(good)
}

fn time(stream: &Stream, name: &str, n: usize, d: usize, k: usize, reuse: bool) -> Outcome<()> {
    let case = Case::new(&vec![d; n], k, 11)?;
    let repeats = if n > 50_000 { 10 } else { 40 };
    for keep in [Keep::Factor, Keep::InverseFactor] {
        let tag = match keep {
            Keep::Factor => "factor",
            Keep::InverseFactor => "inverse-factor",
        };
        let mut base = Base::new(stream, &case.shape, keep)?;
        let start = Instant::now();
        let times = base.refresh(&case.system()?)?;
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
                ",\"keep\":\"{tag}\",\"pack_ms\":{:.2},\"send_ms\":{:.2},\"refresh_ms\":{:.2},\"bytes\":{}",
                times.packing.as_secs_f64() * 1e3,
                times.sending.as_secs_f64() * 1e3,
                total.as_secs_f64() * 1e3,
                bytes.total()
            ),
        );
        let mut frame = base.factor(ridge)?;
        let mut a = frame.vector()?;
        let mut b = frame.vector()?;
        stream.upload_into(&case.g.row, a.row_mut(), broadhead_device::ByteClass::Gradient)?;
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
        say("resident_solve", name, solve, &format!(",\"keep\":\"{tag}\""));
        let sequence = device_time(stream, 20, || {
            for _ in 0..12 {
                frame.solve_resident(&b, &mut a)?;
                frame.solve_resident(&a, &mut b)?;
            }
            Ok(())
        })?;
        let each: Vec<f64> = sequence.iter().map(|t| t / 24.0).collect();
        say("resident_solve_of_24", name, each, &format!(",\"keep\":\"{tag}\""));
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
        say("resident_solve_graph_of_24", name, each, &format!(",\"keep\":\"{tag}\""));
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
        say("factor_plus_24_solves", name, many, &format!(",\"keep\":\"{tag}\""));
        let moved = base.ledger().since(&before);
        println!(
            "ledger {tag}: in {} out {} allocations {}",
            moved.host_to_device.total(),
            moved.device_to_host.total(),
            moved.allocations
        );
    }
    if reuse {
        let mut baseline = ReUpload::new(stream, &case.shape, Keep::Factor)?;
        let mut x = ArrowVector::zeros(&case.shape);
        let (mut all, mut packing) = (Vec::new(), Vec::new());
        for _ in 0..4 {
            let start = Instant::now();
            let times =
                baseline.solve(&case.system()?, Ridge::ZERO, case.g.as_gradient(), x.as_step())?;
            all.push(start.elapsed().as_secs_f64() * 1e6);
            packing.push(times.packing.as_secs_f64() * 1e6);
        }
        let (packing, _) = median(packing);
        say("reupload_solve", name, all, &format!(",\"packing_us\":{packing:.0}"));
    }
    Ok(())
}

fn row_blocks(stream: &Stream) -> Outcome<()> {
    for d in [2usize, 8, 16] {
        let n = 100_000;
        let case = Case::new(&vec![d; n], 0, 5)?;
        let mut base = Base::new(stream, &case.shape, Keep::Factor)?;
        base.refresh(&case.system()?)?;
        let rows = device_time(stream, 50, || Ok(base.factor_rows_alone(Ridge::ZERO)?))?;
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

fn main() -> Outcome<()> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let want = |what: &str| wanted.is_empty() || wanted.iter().any(|w| w == what);
    let stream = Context::open(0)?.stream(&Ledger::new())?;
    let _place = Placement {
        stream: stream.clone(),
        keep: Keep::default(),
    };
    if want("check") {
        check(&stream)?;
    }
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
    Ok(())
}
