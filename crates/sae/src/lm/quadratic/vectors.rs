//! The vectors of a quadratic problem, allocated once.

use crate::lm::Objective;
use broadhead_schur::{ArrowShape, ArrowVector, Base, Error, Gradient, MeanDiagonals};

/// Which of the two points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    Current,
    Trial,
}

#[derive(Debug)]
pub(super) struct Vectors {
    /// $`g_0`$.
    pub(super) g0: ArrowVector,
    /// $`z`$.
    pub(super) point: ArrowVector,
    /// $`H z`$.
    pub(super) product: ArrowVector,
    /// $`r = H z - g_0`$.
    pub(super) residual: ArrowVector,
    /// $`\delta`$.
    pub(super) step: ArrowVector,
    /// $`z + \delta`$.
    pub(super) trial: ArrowVector,
    /// $`H (z + \delta)`$.
    pub(super) trial_product: ArrowVector,
    /// $`|H| |z + \delta|`$, which a product writes too.
    pub(super) absolute: ArrowVector,
    pub(super) means: MeanDiagonals,
}

impl Vectors {
    pub(super) fn new(shape: &ArrowShape) -> Self {
        let zeros = || ArrowVector::zeros(shape);
        Self {
            g0: zeros(),
            point: zeros(),
            product: zeros(),
            residual: zeros(),
            step: zeros(),
            trial: zeros(),
            trial_product: zeros(),
            absolute: zeros(),
            means: MeanDiagonals::default(),
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        64 * (self.g0.row.len() + self.g0.border.len()) as u64
    }

    /// Takes `g0` and starts at $`z = 0`$.
    pub(super) fn load(&mut self, base: &Base<'_>, g0: Gradient<'_>) -> Result<(), Error> {
        g0.check_one(base.system().shape())?;
        self.means = base.mean_diagonals();
        copy(g0.row, &mut self.g0.row);
        copy(g0.border, &mut self.g0.border);
        self.reset();
        Ok(())
    }

    /// Back to $`z = 0`$, where $`H z = 0`$ and $`r = -g_0`$ exactly.
    pub(super) fn reset(&mut self) {
        for part in [&mut self.point, &mut self.product] {
            part.row.fill(0.0);
            part.border.fill(0.0);
        }
        self.form_residual();
    }

    fn form_residual(&mut self) {
        let subtract = |r: &mut [f64], product: &[f64], g0: &[f64]| {
            for ((r, product), g0) in r.iter_mut().zip(product).zip(g0) {
                *r = product - g0;
            }
        };
        subtract(&mut self.residual.row, &self.product.row, &self.g0.row);
        subtract(
            &mut self.residual.border,
            &self.product.border,
            &self.g0.border,
        );
    }

    pub(super) fn move_trial(&mut self) {
        let add = |out: &mut [f64], a: &[f64], b: &[f64]| {
            for ((out, a), b) in out.iter_mut().zip(a).zip(b) {
                *out = a + b;
            }
        };
        add(&mut self.trial.row, &self.point.row, &self.step.row);
        add(
            &mut self.trial.border,
            &self.point.border,
            &self.step.border,
        );
    }

    /// The trial point becomes the current one.
    pub(super) fn accept(&mut self) {
        std::mem::swap(&mut self.point, &mut self.trial);
        std::mem::swap(&mut self.product, &mut self.trial_product);
        self.form_residual();
    }

    /// $`\phi`$ and the sum of the absolute values of its terms, from $`H z`$ over the operands.
    pub(super) fn objective(&self, data_norm_squared: f64, which: Which) -> Objective {
        let (z, hz) = match which {
            Which::Current => (&self.point, &self.product),
            Which::Trial => (&self.trial, &self.trial_product),
        };
        let (data, curvature) = (0.5 * data_norm_squared, 0.5 * dot(z, hz));
        let linear = dot(&self.g0, z);
        Objective {
            value: data + curvature - linear,
            scale: data + curvature.abs() + linear.abs(),
        }
    }
}

fn dot(a: &ArrowVector, b: &ArrowVector) -> f64 {
    let part = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    part(&a.row, &b.row) + part(&a.border, &b.border)
}

fn copy(from: faer::MatRef<'_, f64>, to: &mut [f64]) {
    for (i, to) in to.iter_mut().enumerate() {
        *to = from[(i, 0)];
    }
}
