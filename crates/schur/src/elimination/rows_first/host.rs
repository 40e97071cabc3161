//! Rows first on the CPU.

mod many;
mod row_products;

use crate::elimination::{Elimination, EliminationKind, Factored, Pivot, SolveStats, dense_only};
use crate::host::blas1::{axpy, axpys, dots, largest};
use crate::host::bump::least_rung;
use crate::host::cholesky::{Cholesky, FailedPivot};
use crate::host::parallel::{par_ordered, par_rows};
use crate::host::row_blocks::RowFactors;
use crate::{
    ArrowShape, BackwardError, DenseSystem, Error, Failure, LogDeterminant, NotPositiveDefinite,
    PivotSite, ProductMut, RhsMut, Ridge, System,
};
use faer::Par;
use many::{solve_and_measure_many, solve_many};
use pulp::Arch;
use rayon::prelude::*;
use row_products::{Whitened, pull, push, push_and_multiply};

/// Lines of $`Y`$ read at once.
const STREAMS: usize = 8;

/// The largest growth of the row factors at which the rows are solved through $`B`$ where that saves
/// a pass: the extra error stays a small part of the refinement's limit. Dimensionless; scaling rows
/// or unknowns changes no growth.
const PUSH_GROWTH: f64 = 8.0;

/// Rows first, for dense systems.
#[derive(Debug)]
pub struct RowsFirst {
    shape: ArrowShape,
    rows: RowFactors,
    /// `N x k` row-major.
    whitened: Vec<f64>,
    border: Cholesky,
    arch: Arch,
}

impl RowsFirst {
    const KIND: EliminationKind = super::KIND;

    /// Bytes that [`RowsFirst::new`] allocates.
    pub fn bytes_needed(shape: &ArrowShape) -> u64 {
        RowFactors::bytes(shape.rows())
            .saturating_add(ArrowShape::array_bytes(
                shape.row_unknowns(),
                shape.border(),
            ))
            .saturating_add(Cholesky::bytes(shape.border()))
    }

    /// Storage for systems of this shape.
    ///
    /// # Errors
    /// [`Error::Memory`] beyond `limit` bytes.
    pub fn new(shape: &ArrowShape, limit: u64) -> Result<Self, Error> {
        let needed = Self::bytes_needed(shape);
        if needed > limit {
            return Err(Error::Memory {
                what: Self::KIND,
                needed,
                limit,
            });
        }
        Ok(Self {
            shape: shape.clone(),
            rows: RowFactors::new(shape.rows()),
            whitened: vec![0.0; shape.row_unknowns() * shape.border()],
            border: Cholesky::new(shape.border()),
            arch: Arch::new(),
        })
    }

    /// $`Y_i = L_i^{-1} B_i`$.
    fn whiten(&mut self, system: &DenseSystem<'_>) {
        let Self {
            shape,
            rows: factors,
            whitened,
            arch,
            ..
        } = self;
        let (rows, k) = (shape.rows(), shape.border());
        let chunk = (1 << 15) / (k * rows.max_dim()).max(1);
        par_rows(rows, k, whitened, chunk, |i, y| {
            if k == 0 {
                return;
            }
            for (a, y) in y.chunks_exact_mut(k).enumerate() {
                system.row_cross().copy_row(rows, i, a, y);
            }
            whiten_block(*arch, factors.factor_of(i), rows.dim(i), k, y);
        });
    }

    /// $`S + \rho_\beta`$, lower triangle.
    fn form_border(&mut self, system: &DenseSystem<'_>, rho: f64) {
        system
            .border_hessian()
            .copy_lower_to(self.border.data_mut(), rho);
        self.border.subtract_gram(&self.whitened, Par::rayon(0));
    }

    fn border_failure(
        &mut self,
        system: &DenseSystem<'_>,
        rho: f64,
        failed: FailedPivot,
    ) -> Failure {
        if !failed.value.is_finite() {
            return Error::Overflow {
                what: "a pivot of the border",
            }
            .into();
        }
        let c = system.border_hessian().matrix();
        let scale = largest((0..c.nrows()).map(|j| c[(j, j)]));
        let bump = least_rung(scale, |bump| {
            self.form_border(system, rho + bump);
            self.border.factor(Par::rayon(0)).is_ok()
        });
        let site = PivotSite::Border {
            pivot: failed.index,
        };
        NotPositiveDefinite {
            site,
            value: failed.value,
            bump,
            whole: None,
        }
        .into()
    }

    fn solve_one(&self, row: &mut [f64], border: &mut [f64]) {
        let (arch, rows) = (self.arch, self.shape.rows());
        let whitened = Whitened {
            rows,
            data: &self.whitened,
            k: self.shape.border(),
        };
        let lower = |i: usize, u: &mut [f64]| self.rows.solve_block_lower(i, u);
        pull(arch, rows, &whitened, row, border, lower);
        self.solve_border(border);
        let upper = |i: usize, u: &mut [f64]| self.rows.solve_block_upper(i, u);
        push(arch, rows, &whitened, border, row, upper);
    }

    /// As [`RowsFirst::solve_one`], through $`B`$ alone, with the product in `y`.
    fn solve_one_and_multiply(
        &self,
        system: &DenseSystem<'_>,
        ridge: Ridge,
        row: &mut [f64],
        border: &mut [f64],
        mut y: ProductMut<'_>,
    ) {
        // The rows' right-hand side is wanted again: D^-1 b_t stands where y will.
        y.row.copy_from_slice(row);
        let solve = |i: usize, u: &mut [f64]| self.rows.solve_block(i, u);
        pull(self.arch, self.shape.rows(), system, y.row, border, solve);
        self.solve_border(border);
        for ((y, y_abs), x) in y.border.iter_mut().zip(&mut *y.border_abs).zip(&*border) {
            *y = ridge.border * x;
            *y_abs = ridge.border * x.abs();
        }
        let (arch, rows) = (self.arch, &self.rows);
        push_and_multiply(arch, system, rows, ridge, border, row, y.reborrow());
        system.add_border_product(arch, border, y.border, y.border_abs);
    }

    fn solve_border(&self, border: &mut [f64]) {
        self.border.solve_lower(self.arch, border);
        self.border.solve_upper(self.arch, border);
    }
}

/// $`x_\beta \leftarrow x_\beta - Y' u`$ for one vector and $`Y`$ row-major, in an order of summation
/// that the number of threads does not change.
pub(crate) fn subtract_pull(arch: Arch, y: &[f64], u: &[f64], border: &mut [f64]) {
    let (n, k) = (u.len(), border.len());
    let pull = |rows: std::ops::Range<usize>, out: &mut [f64]| {
        let line = |r: usize| &y[r * k..(r + 1) * k];
        let whole = rows.start + rows.len() / STREAMS * STREAMS;
        for r in (rows.start..whole).step_by(STREAMS) {
            let weights = std::array::from_fn(|o| -u[r + o]);
            axpys::<STREAMS>(arch, weights, std::array::from_fn(|o| line(r + o)), out);
        }
        for r in whole..rows.end {
            axpy(arch, -u[r], line(r), out);
        }
    };
    // Groups of whole lines, summed in order.
    let groups = (n / 16).clamp(1, 16);
    let parts = par_ordered(n, n.div_ceil(groups), |rows| {
        let mut part = vec![0.0; k];
        pull(rows, &mut part);
        part
    });
    for part in parts {
        axpy(arch, 1.0, &part, border);
    }
}

/// $`u \leftarrow u - Y x_\beta`$ for one vector and $`Y`$ row-major.
pub(crate) fn subtract_push(arch: Arch, y: &[f64], border: &[f64], u: &mut [f64]) {
    let k = border.len();
    let chunk = ((1 << 16) / k.max(1)).max(1).next_multiple_of(STREAMS);
    u.par_chunks_mut(chunk).enumerate().for_each(|(c, u)| {
        let line = |r: usize| &y[(c * chunk + r) * k..(c * chunk + r + 1) * k];
        let (whole, rest) = u.as_chunks_mut::<STREAMS>();
        let mut r = 0;
        for u in whole {
            let sums = dots::<STREAMS>(arch, std::array::from_fn(|o| line(r + o)), border);
            u.iter_mut().zip(sums).for_each(|(u, sum)| *u -= sum);
            r += STREAMS;
        }
        for u in rest {
            let [sum] = dots(arch, [line(r)], border);
            *u -= sum;
            r += 1;
        }
    });
}

/// $`Y \leftarrow L^{-1} Y`$ for one block, `d x k` row-major, in strips that stay in cache.
pub(crate) fn whiten_block(arch: Arch, l: &[f64], d: usize, k: usize, y: &mut [f64]) {
    const STRIP: usize = 256;
    if k <= FEW {
        // Wider vectors gain nothing, and to switch to them costs more than the work.
        return whiten_strip(l, d, k, y, 0..k);
    }
    arch.dispatch(
        #[inline(always)]
        || {
            for start in (0..k).step_by(STRIP) {
                whiten_strip(l, d, k, y, start..(start + STRIP).min(k));
            }
        },
    );
}

/// Columns of a block so few that vectors do not help.
const FEW: usize = 16;

/// Columns `strip` of [`whiten_block`].
#[inline(always)]
fn whiten_strip(l: &[f64], d: usize, k: usize, y: &mut [f64], strip: std::ops::Range<usize>) {
    let (start, end) = (strip.start, strip.end);
    for a in 0..d {
        let (above, line) = y.split_at_mut(a * k);
        let line = &mut line[start..end];
        for b in 0..a {
            let weight = l[a * d + b];
            for (y, x) in line.iter_mut().zip(&above[b * k + start..b * k + end]) {
                *y -= weight * x;
            }
        }
        // A product costs an eighth of a quotient, and one rounding error more.
        let scale = 1.0 / l[a * d + a];
        line.iter_mut().for_each(|y| *y *= scale);
    }
}

impl Elimination for RowsFirst {
    fn kind(&self) -> EliminationKind {
        Self::KIND
    }

    fn bytes(&self) -> u64 {
        Self::bytes_needed(&self.shape)
    }

    fn refresh(&mut self, system: &System<'_>) -> Result<(), Error> {
        dense_only(Self::KIND, system).map(|_| ())
    }

    fn factor(&mut self, system: &System<'_>, ridge: Ridge) -> Result<Factored, Failure> {
        let system = dense_only(Self::KIND, system)?;
        let (row_log, row_pivot) = self.rows.factor(system.row_hessian(), ridge.row)?;
        self.whiten(&system);
        self.form_border(&system, ridge.border);
        if let Err(failed) = self.border.factor(Par::rayon(0)) {
            return Err(self.border_failure(&system, ridge.border, failed));
        }
        let mut log_determinant = row_log;
        let mut border_log = LogDeterminant::default();
        self.border
            .diagonal()
            .for_each(|l| border_log.add_cholesky(l, 1.0));
        log_determinant = log_determinant + border_log;
        let border_pivot = self.border.min_pivot().map(|(pivot, value)| Pivot {
            site: PivotSite::Border { pivot },
            value,
        });
        Ok(Factored {
            log_determinant: Ok(log_determinant),
            row_pivot,
            border_pivot,
        })
    }

    fn factors(&mut self, system: &System<'_>, ridge: Ridge) -> Result<bool, Error> {
        let system = dense_only(Self::KIND, system)?;
        if !self.rows.try_factor(system.row_hessian(), ridge.row) {
            return Ok(false);
        }
        self.whiten(&system);
        self.form_border(&system, ridge.border);
        Ok(self.border.factor(Par::rayon(0)).is_ok())
    }

    fn solve(&mut self, system: &System<'_>, rhs: RhsMut<'_>) -> Result<SolveStats, Failure> {
        dense_only(Self::KIND, system)?;
        rhs.check(&self.shape)?;
        match rhs.count {
            0 => {}
            // Within the pool from end to end: to come into it at every step would wake threads.
            1 => rayon::scope(|_| self.solve_one(rhs.row, rhs.border)),
            _ => solve_many(self.arch, &self.rows, &self.whitened, &self.border, rhs),
        }
        Ok(SolveStats::default())
    }

    fn solve_and_measure(
        &mut self,
        system: &System<'_>,
        ridge: Ridge,
        rhs: &mut RhsMut<'_>,
    ) -> Result<Option<Vec<BackwardError>>, Failure> {
        let dense = dense_only(Self::KIND, system)?;
        rhs.check(&self.shape)?;
        if rhs.count < 2 || self.rows.growth() > PUSH_GROWTH {
            return Ok(None);
        }
        let (arch, rows, border) = (self.arch, &self.rows, &self.border);
        let rhs = RhsMut {
            row: rhs.row,
            border: rhs.border,
            count: rhs.count,
        };
        let errors = solve_and_measure_many(arch, &dense, rows, border, ridge, rhs);
        Ok(Some(errors))
    }

    fn solve_and_multiply(
        &mut self,
        system: &System<'_>,
        ridge: Ridge,
        rhs: RhsMut<'_>,
        y: ProductMut<'_>,
    ) -> Result<(SolveStats, bool), Failure> {
        let dense = dense_only(Self::KIND, system)?;
        rhs.check(&self.shape)?;
        y.check(&self.shape)?;
        if rhs.count != 1 || self.rows.growth() > PUSH_GROWTH {
            return self.solve(system, rhs).map(|stats| (stats, false));
        }
        rayon::scope(|_| self.solve_one_and_multiply(&dense, ridge, rhs.row, rhs.border, y));
        Ok((SolveStats::default(), true))
    }
}
