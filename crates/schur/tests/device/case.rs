//! Random dense systems that own their numbers, and the error of a step.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "shared by a test and an example"
)]

use broadhead_device::Stream;
use broadhead_schur::device::{Keep, Linearisation, Placement};
use broadhead_schur::{
    ArrowShape, ArrowVector, CrossView, DenseSystem, Error, ProductMut, Ridge, RowBlocks, RowDims,
    SymmetricView, System,
};

pub type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Room for dense systems on the device, whose factorizations keep `keep`.
pub fn room(stream: &Stream, shape: &ArrowShape, keep: Keep) -> Result<Linearisation, Error> {
    Linearisation::dense(&Placement::on(stream).keeping(keep), shape)
}

/// A generator of uniform numbers in (-1, 1): splitmix64.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }

    pub fn many(&mut self, n: usize, scale: f64) -> Vec<f64> {
        (0..n).map(|_| scale * self.next()).collect()
    }
}

pub struct Case {
    pub shape: ArrowShape,
    pub d: Vec<f64>,
    pub b: Vec<f64>,
    pub c: Vec<f64>,
    pub g: ArrowVector,
}

impl Case {
    pub fn new(dims: &[usize], k: usize, seed: u64) -> Outcome<Self> {
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

    pub fn system(&self) -> Outcome<DenseSystem<'_>> {
        let (n, k) = (self.shape.row_unknowns(), self.shape.border());
        Ok(DenseSystem::new(
            &self.shape,
            RowBlocks::packed(&self.d),
            CrossView::row_major(&self.b, n, k)?,
            SymmetricView::row_major(&self.c, k)?,
        )?)
    }

    /// The componentwise backward error of a step.
    pub fn error(&self, x: &ArrowVector, ridge: Ridge) -> Outcome<f64> {
        let mut y = ArrowVector::zeros(&self.shape);
        let mut a = ArrowVector::zeros(&self.shape);
        let product = ProductMut {
            row: &mut y.row,
            border: &mut y.border,
            row_abs: &mut a.row,
            border_abs: &mut a.border,
        };
        System::Dense(self.system()?).product(&x.row, &x.border, ridge, product)?;
        let mut worst: f64 = 0.0;
        let parts = [
            (&y.row, &a.row, &self.g.row),
            (&y.border, &a.border, &self.g.border),
        ];
        for (y, a, g) in parts {
            for i in 0..y.len() {
                let omega = (y[i] + g[i]).abs() / (a[i] + g[i].abs());
                worst = if omega <= worst { worst } else { omega };
            }
        }
        Ok(worst)
    }
}
