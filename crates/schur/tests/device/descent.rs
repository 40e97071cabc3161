//! The kernels of conjugate gradients by themselves, driven by the host: the loop that a graph holds
//! otherwise, where not every tool can follow it (racecheck of compute-sanitizer does not).
#![allow(unsafe_code)] // Beside the kernels' typed launches alone.

use super::{Failed, Outcome, expect, expect_eq, on_device};
use broadhead_device::ByteClass::Other;
use broadhead_device::kernels::{Geometry, KernelSource, Module};
use broadhead_device::{DeviceBuffer, Stream};
use broadhead_schur::device::kernel_sources;
use broadhead_schur::device::record::{GradientsRecord, GradientsState, NormRecord};
use broadhead_testkit::device::Trial;
use broadhead_testkit::random::Random;
use std::sync::{Arc, OnceLock};

pub(super) fn tests() -> Vec<Trial> {
    vec![
        on_device!("descent::a_core_is_solved_without_a_graph", solved),
        on_device!("descent::a_negative_direction_is_found", indefinite),
    ]
}

/// The relative residual that is asked.
const TARGET: f64 = 1e-11;

/// The kernels, but that what they tell a graph's condition is written to memory.
fn module(stream: &Stream) -> Result<Arc<Module>, Failed> {
    static TEXT: OnceLock<String> = OnceLock::new();
    const TO_A_GRAPH: &str =
        "void cudaGraphSetConditional(unsigned long long handle, unsigned value);";
    const TO_MEMORY: &str = "void cudaGraphSetConditional(unsigned long long to, unsigned value) { *(unsigned *)to = value; }";
    let text = include_str!("../../src/elimination/conjugate_gradients/iterative.cu");
    expect_eq("declarations", text.matches(TO_A_GRAPH).count(), 1)?;
    let found = kernel_sources().iter().find(|s| s.text == text);
    let source = found.ok_or("iterative.cu is no source of this crate")?;
    let text = TEXT.get_or_init(|| text.replace(TO_A_GRAPH, TO_MEMORY));
    Ok(stream
        .context()
        .module(&KernelSource { text, ..**source })?)
}

/// A core `Z = Q diag(values) Q'` of `m r` unknowns, `Q` some reflections; and a factor `L_G`.
struct Core {
    m: usize,
    r: usize,
    values: Vec<f64>,
    mirrors: [Vec<f64>; 3],
    factor: Vec<f64>,
    f: Vec<f64>,
}

impl Core {
    fn new([m, r]: [usize; 2], smallest: f64, random: &mut Random) -> Self {
        let n = m * r;
        let spread = (0..n).map(|i| 1e-3f64.powf(i as f64 / n as f64));
        let mut values: Vec<f64> = spread.collect();
        values[n - 1] = smallest;
        let mirrors = [0; 3].map(|_| {
            let mut v = random.normals(n);
            let norm = v.iter().map(|x| x * x).sum::<f64>().sqrt();
            v.iter_mut().for_each(|x| *x /= norm);
            v
        });
        let mut factor = random.normals(m * m);
        for (at, entry) in factor.iter_mut().enumerate() {
            let (i, j) = (at / m, at % m);
            *entry = match i.cmp(&j) {
                std::cmp::Ordering::Less => f64::NAN,
                std::cmp::Ordering::Equal => 1.0 + entry.abs(),
                std::cmp::Ordering::Greater => 0.05 * *entry,
            };
        }
        let f = random.normals(n);
        Self {
            m,
            r,
            values,
            mirrors,
            factor,
            f,
        }
    }

    /// `Z x`, `x` of `m r` numbers.
    fn product(&self, x: &[f64]) -> Vec<f64> {
        let mut y = x.to_vec();
        let reflect = |y: &mut [f64], v: &[f64]| {
            let along = 2.0 * y.iter().zip(v).map(|(a, b)| a * b).sum::<f64>();
            y.iter_mut().zip(v).for_each(|(y, v)| *y -= along * v);
        };
        self.mirrors.iter().for_each(|v| reflect(&mut y, v));
        y.iter_mut().zip(&self.values).for_each(|(y, s)| *y *= s);
        self.mirrors.iter().rev().for_each(|v| reflect(&mut y, v));
        y
    }

    /// `(I - Z) p`, both `m x m` of which `r` columns are used.
    fn outer(&self, p: &[f64]) -> Vec<f64> {
        let used = |at: &usize| at % self.m < self.r;
        let x: Vec<f64> = (0..p.len()).filter(used).map(|at| p[at]).collect();
        let mut z = self.product(&x).into_iter();
        let entry = |at: usize| match used(&at) {
            true => p[at] - z.next().unwrap_or(f64::NAN),
            false => 0.0,
        };
        (0..p.len()).map(entry).collect()
    }

    /// `|L_G (f - Z c)|`.
    fn residual(&self, c: &[f64]) -> f64 {
        let z = self.product(c);
        let left: Vec<f64> = self.f.iter().zip(z).map(|(f, z)| f - z).collect();
        let entry = |i: usize, s: usize| -> f64 {
            let products = (0..=i).map(|j| self.factor[i * self.m + j] * left[j * self.r + s]);
            products.sum()
        };
        let squares = (0..self.m * self.r).map(|at| entry(at / self.r, at % self.r).powi(2));
        squares.sum::<f64>().sqrt()
    }
}

/// The record of a solve and its solution.
struct Solved {
    record: GradientsRecord,
    c: Vec<f64>,
    /// `|E W - g|`, by which residuals are judged.
    size: f64,
}

/// The loop of descent.rs, driven here; `most` directions are kept.
fn solve(stream: &Stream, core: &Core, most: usize, random: &mut Random) -> Result<Solved, Failed> {
    let module = module(stream)?;
    let (m, r) = (core.m, core.r);
    let (count, rank) = (m as i32, r as i32);
    let zeros = |len: usize| stream.zeros::<f64>(len, "a test's vector");
    let norms_of = |len: usize| stream.zeros::<NormRecord>(len, "a test's norms");
    let read = |from: &DeviceBuffer<f64>| stream.download(from.view(), Other);
    // Outputs past one block's columns and past all blocks'.
    let (outputs, blocks) = (150usize, 3);
    let [left, w, g] = [m * m, m * outputs, m * outputs].map(|len| random.normals(len));
    let upload = |x: &[f64]| stream.upload(x, Other, "a test's operand");
    let (left_there, w_there, g_there) = (upload(&left)?, upload(&w)?, upload(&g)?);
    let mut sizes = norms_of(blocks)?;
    let kernel = module.kernel("descent_size")?;
    let launch = kernel.launch(stream, Geometry::line(blocks as u32, 256));
    let launch = launch.read(left_there.view()).read(w_there.view());
    let launch = launch.read(g_there.view());
    let launch = launch.scalar(count).scalar(outputs as i32);
    // SAFETY: here and below the arguments are those of the source, as in descent.rs.
    unsafe { launch.write(sizes.view_mut()).submit()? };
    let entry = |at: usize| {
        let (i, column) = (at / outputs, at % outputs);
        let products = (0..m).map(|a| left[i * m + a] * w[a * outputs + column]);
        (products.sum::<f64>() - g[at]).powi(2)
    };
    let size = (0..m * outputs).map(entry).sum::<f64>().sqrt();

    let factor = stream.upload(&core.factor, Other, "a test's factor")?;
    let mut vector = stream.upload(&core.f, Other, "a test's vector")?;
    let square = || zeros(m * m);
    let (mut b, mut x, mut residual, mut p) = (square()?, square()?, square()?, square()?);
    let mut outer = square()?;
    let (mut directions, mut products) = (zeros(most * m * m)?, zeros(most * m * m)?);
    let (mut norms, mut coefficients) = (norms_of(m)?, zeros(most)?);
    let mut state = stream.zeros::<GradientsState>(1, "a test's record")?;
    let record = |state: &DeviceBuffer<GradientsState>| -> Result<GradientsRecord, Failed> {
        Ok(stream.download_record(state.view(), Other)?.next)
    };
    let mut again = stream.upload(&[7u32], Other, "a test's condition")?;
    let limit = 10_000.0f64;
    // As descent.rs has it: past the order, directions that are conjugate to all before are rounding.
    let room = match most == m * r {
        true => most as f64,
        false => f64::INFINITY,
    };
    let launch = module.kernel("descent_begin")?;
    let launch = launch.launch(stream, Geometry::line(1, 1024));
    let launch = launch.read(vector.view()).scalar(count).scalar(rank);
    let launch = launch
        .read(sizes.view())
        .scalar(blocks as i32)
        .scalar(limit);
    let launch = launch.write(b.view_mut()).write(x.view_mut());
    let launch = launch.write(residual.view_mut()).write(p.view_mut());
    // SAFETY: as above.
    unsafe { launch.write(state.view_mut()).submit()? };
    let [turn, pull, push] = ["descent_turn", "descent_pull", "descent_push"];
    for _ in 0..2000 {
        stream.upload_into(&core.outer(&read(&p)?), outer.view_mut(), Other)?;
        let launch = module.kernel(turn)?;
        let launch = launch.launch(stream, Geometry::line(1, 1024));
        let launch = launch.read(b.view()).read(outer.view()).scalar(count);
        let launch = launch.write(x.view_mut()).write(residual.view_mut());
        let launch = launch.write(p.view_mut()).write(directions.view_mut());
        let launch = launch.write(products.view_mut()).scalar(most as i32);
        // SAFETY: as above.
        unsafe { launch.write(state.view_mut()).submit()? };
        let launch = module.kernel(pull)?;
        let launch = launch.launch(stream, Geometry::line((m + most) as u32, 256));
        let launch = launch.read(factor.view()).scalar(count);
        let launch = launch.read(residual.view()).read(p.view());
        let launch = launch.read(products.view()).read(state.view());
        let launch = launch
            .write(norms.view_mut())
            .write(coefficients.view_mut());
        // SAFETY: as above.
        unsafe { launch.submit()? };
        let launch = module.kernel(push)?;
        let launch = launch.launch(stream, Geometry::line((m * m).div_ceil(32) as u32, 256));
        let launch = launch.scalar(count).read(x.view()).read(norms.view());
        let launch = launch.read(coefficients.view()).read(directions.view());
        let launch = launch.scalar(TARGET).scalar(room).scalar(limit);
        let launch = launch.write(p.view_mut()).write(state.view_mut());
        // SAFETY: as above; the condition is a place in memory here.
        unsafe { launch.write(again.view_mut()).submit()? };
        let running = record(&state)?.status == GradientsRecord::RUNS;
        let said = stream.download(again.view(), Other)?;
        expect_eq("whether the loop goes on", said, vec![u32::from(running)])?;
        if !running {
            break;
        }
    }
    let launch = module.kernel("descent_end")?;
    let launch = launch.launch(stream, Geometry::line(1, 1024));
    let launch = launch.read(factor.view()).scalar(count).scalar(rank);
    let launch = launch.read(x.view()).read(p.view());
    let launch = launch.write(outer.view_mut()).write(vector.view_mut());
    // SAFETY: as above.
    unsafe { launch.write(state.view_mut()).submit()? };
    Ok(Solved {
        record: record(&state)?,
        c: read(&vector)?,
        size,
    })
}

/// Fewer unknowns than threads and more; all directions kept, and few.
fn solved(stream: &Stream) -> Outcome {
    let mut random = Random::new(61);
    for ([m, r], most) in [
        ([1, 1], 1),
        ([9, 7], 63),
        ([9, 7], 5),
        ([9, 9], 81),
        ([40, 3], 120),
    ] {
        let core = Core::new([m, r], 2e-3, &mut random);
        let found = solve(stream, &core, most, &mut random)?;
        let name = format!("{m} features, rank {r}, {most} directions");
        let GradientsRecord {
            status,
            done,
            reached,
            ..
        } = found.record;
        expect_eq(&format!("{name}: status"), status, GradientsRecord::ARRIVED)?;
        let found_here = core.residual(&found.c) / found.size;
        let what = format!("{name}: {found_here:e}, said to be {reached:e}, after {done}");
        expect(
            reached <= TARGET && (reached - found_here).abs() <= 0.01 * TARGET,
            what,
        )?;
        // With every direction kept, rounding alone goes past the order.
        let order = (m * r) as f64;
        let what = format!("{name}: {done} iterations");
        expect(done >= 1.0 && (most < m * r || done <= order + 1.0), what)?;
    }
    Ok(())
}

fn indefinite(stream: &Stream) -> Outcome {
    let mut random = Random::new(62);
    for dims in [[9, 7], [40, 3]] {
        let core = Core::new(dims, -0.2, &mut random);
        let found = solve(stream, &core, 20, &mut random)?;
        let name = format!("{dims:?}: {:?}", found.record);
        expect(found.record.status == GradientsRecord::NOT_POSITIVE, &name)?;
        // p' Z p / |L_G^-T p|^2 is no lower than the lowest value times |L_G|^2.
        let value = found.record.curvature;
        let largest: f64 = (core.factor.iter().filter(|x| x.is_finite()))
            .map(|x| x * x)
            .sum();
        expect(value < 0.0 && value >= -0.2 * largest, &name)?;
    }
    Ok(())
}
