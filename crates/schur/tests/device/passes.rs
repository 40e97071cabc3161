//! The passes over the rows by themselves, driven by the host: conjugate gradients launch them within a
//! loop of a graph otherwise, where racecheck cannot follow.
#![allow(unsafe_code)] // Beside the kernels' typed launches alone.

use super::{Failed, Outcome, expect, expect_eq, on_device};
use broadhead_device::ByteClass::Other;
use broadhead_device::Stream;
use broadhead_device::kernels::{Geometry, Launch, Module};
use broadhead_schur::device::kernel_sources;
use broadhead_testkit::device::Trial;
use broadhead_testkit::random::Random;
use std::sync::Arc;

pub(super) fn tests() -> Vec<Trial> {
    vec![on_device!(
        "passes::products_of_the_rows_are_the_cpu_s",
        products
    )]
}

fn module(stream: &Stream) -> Result<Arc<Module>, Failed> {
    let ours = include_str!("../../src/device/structured/row_products.cu");
    let found = kernel_sources().iter().find(|s| s.text.ends_with(ours));
    let source = found.ok_or("row_products.cu is no source of this crate")?;
    Ok(stream.context().module(source)?)
}

/// Rows of `M` features: widths, where they begin, and `X`, of which `leading - M` columns are never
/// read.
struct Rows {
    dims: Vec<usize>,
    offsets: Vec<usize>,
    m: usize,
    leading: usize,
    x: Vec<f64>,
}

/// A number of the CPU's, and what rounding may make of it.
struct Wanted {
    value: f64,
    bound: f64,
}

impl Rows {
    fn new(dims: Vec<usize>, m: usize, leading: usize, random: &mut Random) -> Self {
        let mut offsets = vec![0];
        for d in &dims {
            offsets.push(offsets[offsets.len() - 1] + d);
        }
        let mut x = random.normals(offsets[dims.len()] * leading);
        for (at, x) in x.iter_mut().enumerate() {
            if at % leading >= m {
                *x = f64::NAN;
            }
        }
        Self {
            dims,
            offsets,
            m,
            leading,
            x,
        }
    }

    fn unknowns(&self) -> usize {
        self.offsets[self.dims.len()]
    }

    /// The features of unknown `u`.
    fn line(&self, u: usize) -> &[f64] {
        &self.x[u * self.leading..][..self.m]
    }

    /// `x_u' h_i`, and the same of absolute values, `i` the row of unknown `u`.
    fn along(&self, u: usize, i: usize, h: &[f64]) -> (f64, f64) {
        let terms = self.line(u).iter().zip(&h[i * self.m..][..self.m]);
        terms.fold((0.0, 0.0), |(sum, size), (x, h)| {
            (sum + x * h, size + (x * h).abs())
        })
    }

    /// Roundings of an entry: those of two sums of at most `M` and 32 terms, doubled for the host's own.
    fn rounding(&self) -> f64 {
        2.0 * (self.m + 34) as f64 * f64::EPSILON
    }

    /// `X_i' s_i` over all rows, `s_i` given or `X_i h_i`.
    fn rows(&self, h: &[f64], given: Option<&[f64]>) -> Vec<Wanted> {
        let mut wanted = Vec::new();
        for i in 0..self.dims.len() {
            let unknowns = self.offsets[i]..self.offsets[i + 1];
            let s = unknowns.clone().map(|u| match given {
                Some(given) => (given[u], given[u].abs()),
                None => self.along(u, i, h),
            });
            let s: Vec<(f64, f64)> = s.collect();
            for c in 0..self.m {
                let terms = unknowns.clone().map(|u| self.line(u)[c]).zip(&s);
                let (value, size) = terms.fold((0.0, 0.0), |(sum, all), (x, (s, size))| {
                    (sum + x * s, all + x.abs() * size)
                });
                let bound = self.rounding() * size;
                wanted.push(Wanted { value, bound });
            }
        }
        wanted
    }

    /// `u + X_i h_i` over all rows.
    fn out(&self, h: &[f64], u: &[f64]) -> Vec<Wanted> {
        let mut wanted = Vec::new();
        for i in 0..self.dims.len() {
            for at in self.offsets[i]..self.offsets[i + 1] {
                let (sum, size) = self.along(at, i, h);
                wanted.push(Wanted {
                    value: u[at] + sum,
                    bound: self.rounding() * (size + u[at].abs()),
                });
            }
        }
        wanted
    }
}

fn compare(what: &str, found: &[f64], wanted: &[Wanted]) -> Outcome {
    expect_eq(what, found.len(), wanted.len())?;
    for (at, (found, Wanted { value, bound })) in found.iter().zip(wanted).enumerate() {
        let near = (found - value).abs() <= *bound;
        let said = format!("{what}, entry {at}: {found:e}, the CPU's {value:e}, bound {bound:e}");
        expect(near, said)?;
    }
    Ok(())
}

/// Widths at both ends, ragged rows, fewer features than lanes and more, a last block that is not full.
fn products(stream: &Stream) -> Outcome {
    let module = module(stream)?;
    let mut random = Random::new(65);
    let ragged = |n: usize| (0..n).map(|i| [5, 32, 0, 1, 17][i % 5]).collect();
    for (dims, m, leading) in [
        (vec![1; 40], 33, 33),
        (vec![2; 13], 1, 4),
        (vec![32; 9], 97, 100),
        (vec![0; 5], 7, 7),
        (ragged(21), 200, 208),
    ] {
        let uniform = dims.iter().all(|d| *d == dims[0]);
        let name = format!("{} rows, {m} features", dims.len());
        let rows = Rows::new(dims, m, leading, &mut random);
        let (n, unknowns) = (rows.dims.len(), rows.unknowns());
        // Of uniform rows nothing is kept.
        let of = |places: Vec<i64>| match uniform {
            true => stream.zeros::<i64>(0, "nothing"),
            false => stream.upload(&places, Other, "a test's places"),
        };
        let offsets = of(rows.offsets.iter().map(|&at| at as i64).collect())?;
        let mut blocks = vec![0i64];
        for d in &rows.dims {
            blocks.push(blocks[blocks.len() - 1] + (d * d) as i64);
        }
        let blocks = of(blocks)?;
        let x = stream.upload(&rows.x, Other, "a test's features")?;
        let [h, u] = [n * m, unknowns].map(|len| random.normals(len));
        let u_there = stream.upload(&u, Other, "a test's vector")?;
        let none = stream.zeros::<f64>(0, "nothing")?;
        let geometry = Geometry::line(n.div_ceil(8) as u32, 256);
        let begin = |kernel: &'static str| -> Result<Launch<'_>, Failed> {
            let launch = module.kernel(kernel)?.launch(stream, geometry);
            let launch = launch.read(offsets.view()).read(blocks.view());
            let width = if uniform { rows.dims[0] as i32 } else { -1 };
            let launch = launch.scalar(n as i64).scalar(width);
            Ok(launch
                .read(x.view())
                .scalar(leading as i64)
                .scalar(m as i32))
        };
        for given in [None, Some(&u)] {
            let mut t = stream.upload(&h, Other, "a test's vectors")?;
            let absent_or_given = if given.is_some() { &u_there } else { &none };
            let launch = begin("row_gram")?.read(absent_or_given.view());
            // SAFETY: the arguments are those of the source: X is N x leading, T is n x M, what is given
            // has N numbers or is the null pointer; rows have at most 32 unknowns.
            unsafe { launch.write(t.view_mut()).submit()? };
            let wanted = rows.rows(&h, given.map(Vec::as_slice));
            let what = format!("{name}, given: {}", given.is_some());
            compare(&what, &stream.download(t.view(), Other)?, &wanted)?;
        }
        let h_there = stream.upload(&h, Other, "a test's vectors")?;
        let mut out = stream.zeros::<f64>(unknowns, "a test's vector")?;
        let launch = begin("row_add")?.read(h_there.view());
        let launch = launch.read(u_there.view());
        // SAFETY: as above; h is n x M, u and out are N numbers.
        unsafe { launch.write(out.view_mut()).submit()? };
        let found = stream.download(out.view(), Other)?;
        compare(&format!("{name}, along"), &found, &rows.out(&h, &u))?;
    }
    Ok(())
}
