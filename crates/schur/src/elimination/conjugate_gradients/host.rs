//! Conjugate gradients on the CPU.

pub(crate) mod directions;

use crate::elimination::border_first::host::largest_border_diagonal;
use crate::elimination::rows_first::host::whiten_block;
use crate::elimination::{
    Elimination, EliminationKind, Factored, NoLogDeterminant, Pivot, SolveStats,
};
use crate::host::blas1::{axpy, dot, norm, power_of_two_near};
use crate::host::bump::{LEAST_BUMP, least_bump};
use crate::host::cholesky::{Cholesky, FailedPivot};
use crate::host::parallel::product_par;
use crate::host::row_blocks::RowFactors;
use crate::host::structured::{
    add_outer_times_decoder, apply_q, factor_gram, solve_gram, subtract_push,
    times_decoder_transpose, whiten_features, whitened_bytes,
};
use crate::{
    ArrowShape, DenseSystem, Error, Failure, NotPositiveDefinite, PivotSite, RhsMut, Ridge, System,
    SystemShape,
};
use directions::Directions;
use faer::linalg::matmul::triangular::{self, BlockStructure};
use faer::prelude::*;
use faer::{Accum, MatMut, MatRef, Par};
use pulp::Arch;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Order of a diagonal block of the dense preconditioner.
pub(crate) const BLOCK: usize = 64;

/// How far conjugate gradients go.
///
/// Asked is a relative residual of the *whole* system. [`crate::Frame::solve`] measures it from
/// the operands and lets conjugate gradients correct what is missing (see
/// [`crate::Refinement::Steps`]). Where the terms of $`H x`$ are so much larger than $`g`$ that no
/// step in FP64 has that residual, a componentwise backward error of at most ten times the limit of
/// refinement is as good as any direct elimination's, and is accepted in its place; short of both
/// the solve fails with [`Error::NotConverged`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct IterativeOptions {
    /// $`\|r\|_2 / \|b\|_2`$ at which they stop.
    pub relative_residual: f64,
    /// The most iterations for one right-hand side; `None` allows $`2 k + 50`$.
    pub max_iterations: Option<usize>,
}

impl Default for IterativeOptions {
    fn default() -> Self {
        Self {
            relative_residual: 1e-10,
            max_iterations: None,
        }
    }
}

/// Conjugate gradients.
#[derive(Debug)]
pub struct Iterative {
    shape: ArrowShape,
    options: IterativeOptions,
    rows: RowFactors,
    ridge: Ridge,
    preconditioner: Preconditioner,
    arch: Arch,
}

#[derive(Debug)]
enum Preconditioner {
    /// $`L_G`$, and $`V_i`$ for the product.
    Gram {
        gram: Cholesky,
        features: Vec<f64>,
        outputs: usize,
    },
    /// Factors of diagonal blocks of $`S`$.
    Blocks(Vec<Cholesky>),
    /// The reciprocal diagonal of $`C + \rho_\beta`$, or nothing.
    Diagonal(Option<Vec<f64>>),
}

impl Iterative {
    const KIND: EliminationKind = super::KIND;

    /// Bytes that it holds once it has factored, and the vectors of a solve.
    pub fn bytes_needed(shape: &SystemShape) -> u64 {
        let arrow = shape.arrow();
        let own = match shape {
            SystemShape::Structured { shape, density, .. } => {
                Cholesky::bytes(shape.features()).saturating_add(whitened_bytes(shape, *density))
            }
            SystemShape::Dense(shape) => {
                let (whole, rest) = (shape.border() / BLOCK, shape.border() % BLOCK);
                Cholesky::bytes(BLOCK)
                    .saturating_mul(whole as u64)
                    .saturating_add(Cholesky::bytes(rest))
            }
            SystemShape::Operator(shape) => ArrowShape::array_bytes(shape.border(), 1),
        };
        own.saturating_add(RowFactors::bytes(arrow.rows()))
            .saturating_add(ArrowShape::array_bytes(arrow.border(), 5))
            .saturating_add(Directions::bytes(arrow.border()))
    }

    /// Storage for systems of this shape.
    ///
    /// # Errors
    /// [`Error::Memory`] beyond `limit` bytes.
    pub fn new(shape: &SystemShape, options: IterativeOptions, limit: u64) -> Result<Self, Error> {
        let needed = Self::bytes_needed(shape);
        if needed > limit {
            return Err(Error::Memory {
                what: Self::KIND,
                needed,
                limit,
            });
        }
        let preconditioner = match shape {
            SystemShape::Structured { shape, .. } => Preconditioner::Gram {
                gram: Cholesky::new(shape.features()),
                features: Vec::new(),
                outputs: shape.outputs(),
            },
            SystemShape::Dense(shape) => Preconditioner::Blocks(
                block_ranges(shape.border())
                    .map(|range| Cholesky::new(range.len()))
                    .collect(),
            ),
            SystemShape::Operator(_) => Preconditioner::Diagonal(None),
        };
        let arrow = shape.arrow().clone();
        Ok(Self {
            rows: RowFactors::new(arrow.rows()),
            shape: arrow,
            options,
            ridge: Ridge::ZERO,
            preconditioner,
            arch: Arch::new(),
        })
    }

    /// Refuses a system of another kind than the preconditioner is for.
    fn check_kind(&self, system: &System<'_>) -> Result<(), Error> {
        match (&self.preconditioner, system) {
            (Preconditioner::Gram { .. }, System::Structured(_))
            | (Preconditioner::Blocks(_), System::Dense(_))
            | (Preconditioner::Diagonal(_), System::Operator(_)) => Ok(()),
            (_, System::Dense(_) | System::Structured(_) | System::Operator(_)) => {
                Err(Error::Unsupported {
                    elimination: Self::KIND,
                    system: system.kind(),
                    why: "its preconditioner was made for systems of another kind",
                })
            }
        }
    }

    /// Makes the preconditioner; the pivot that failed, if one did.
    fn precondition(
        &mut self,
        system: &System<'_>,
        rho: f64,
    ) -> Result<Option<FailedPivot>, Error> {
        self.check_kind(system)?;
        match (&mut self.preconditioner, system) {
            (Preconditioner::Gram { gram, features, .. }, System::Structured(system)) => {
                if let Err(failed) = factor_gram(system, rho, gram) {
                    return Ok(Some(failed));
                }
                whiten_features(system, &self.rows, features);
                Ok(None)
            }
            (Preconditioner::Blocks(blocks), System::Dense(system)) => {
                form_blocks(system, &self.rows, rho, blocks);
                let failed: Vec<_> = blocks
                    .par_iter_mut()
                    .map(|block| block.factor(Par::Seq).err())
                    .collect();
                let first = failed
                    .into_iter()
                    .enumerate()
                    .find_map(|(b, f)| Some((b, f?)));
                Ok(first.map(|(b, failed)| FailedPivot {
                    index: b * BLOCK + failed.index,
                    ..failed
                }))
            }
            (Preconditioner::Diagonal(inverse), System::Operator(system)) => {
                // A diagonal with an entry that is not positive preconditions nothing; the
                // iteration itself judges whether S is positive definite.
                *inverse = system
                    .border_diagonal()
                    .filter(|diagonal| diagonal.iter().all(|c| c + rho > 0.0))
                    .map(|diagonal| diagonal.iter().map(|c| 1.0 / (c + rho)).collect());
                Ok(None)
            }
            (_, System::Dense(_) | System::Structured(_) | System::Operator(_)) => {
                unreachable!("refused by `check_kind`")
            }
        }
    }

    fn failure(&mut self, system: &System<'_>, rho: f64, failed: FailedPivot) -> Failure {
        if !failed.value.is_finite() {
            return Error::Overflow { what: "a pivot" }.into();
        }
        let scale = system.mean_diagonals().border.abs();
        // As of every elimination that works with G's inverse.
        let floor = match system {
            System::Structured(_) => LEAST_BUMP * largest_border_diagonal(system),
            System::Dense(_) | System::Operator(_) => 0.0,
        };
        let mut broken = None;
        let bump = least_bump(scale, floor, |bump| {
            match self.precondition(system, rho + bump) {
                Ok(failed) => failed.is_none(),
                Err(error) => {
                    broken.get_or_insert(error);
                    true
                }
            }
        });
        if let Some(error) = broken {
            return error.into();
        }
        let pivot = match &self.preconditioner {
            Preconditioner::Gram { outputs, .. } => failed.index * outputs,
            Preconditioner::Blocks(_) | Preconditioner::Diagonal(_) => failed.index,
        };
        NotPositiveDefinite {
            site: PivotSite::Border { pivot },
            value: failed.value,
            bump,
            whole: None,
        }
        .into()
    }

    /// $`y \leftarrow S x`$.
    fn apply(&self, system: &System<'_>, x: &[f64], y: &mut [f64], scratch: &mut Scratch) {
        match (system, &self.preconditioner) {
            (System::Structured(system), Preconditioner::Gram { features, .. }) => {
                let kernel = times_decoder_transpose(x, system.decoder());
                let q = apply_q(system, features, kernel.as_ref());
                y.fill(0.0);
                add_outer_times_decoder(q.as_ref(), system.decoder(), -1.0, y);
                let gram = system.full_gram(self.ridge.border);
                let (m, p) = (gram.nrows(), system.structured_shape().outputs());
                faer::linalg::matmul::matmul(
                    MatMut::from_row_major_slice_mut(y, m, p),
                    Accum::Add,
                    gram.as_ref(),
                    MatRef::from_row_major_slice(x, m, p),
                    1.0,
                    product_par(m, m, p),
                );
            }
            (System::Structured(_), _) => unreachable!("refused by `check_kind`"),
            (System::Dense(_) | System::Operator(_), _) => {
                // t = D^-1 B x, then S x = C x - B' t.
                let Scratch {
                    border,
                    border_abs,
                    t,
                    ..
                } = scratch;
                let rho = self.ridge.border;
                match system {
                    System::Dense(system) => {
                        system.cross_times(x, t);
                        y.iter_mut().zip(x).for_each(|(y, x)| *y = rho * x);
                        border_abs.fill(0.0);
                        system.add_border_product(self.arch, x, y, border_abs);
                    }
                    System::Operator(system) => {
                        system.cross().apply(x, t);
                        system.border().apply(x, y);
                        axpy(self.arch, rho, x, y);
                    }
                    System::Structured(_) => unreachable!("of the arm above"),
                }
                self.rows.solve_lower(t);
                self.rows.solve_upper(t);
                pull(system, t, y, border);
            }
        }
    }

    fn apply_inverse(&self, x: &mut [f64]) {
        match &self.preconditioner {
            Preconditioner::Gram { gram, outputs, .. } => solve_gram(gram, x, *outputs),
            Preconditioner::Blocks(blocks) => {
                x.par_chunks_mut(BLOCK).zip(blocks).for_each(|(x, block)| {
                    block.solve_lower(self.arch, x);
                    block.solve_upper(self.arch, x);
                });
            }
            Preconditioner::Diagonal(Some(inverse)) => {
                x.iter_mut()
                    .zip(inverse)
                    .for_each(|(x, inverse)| *x *= inverse);
            }
            Preconditioner::Diagonal(None) => {}
        }
    }

    /// Overwrites `b` by $`S^{-1} b`$.
    ///
    /// The recursive residual drifts from the true one, by at most the rounding errors of the
    /// products with $`S`$. The latter decides: conjugate gradients start again from it while that
    /// still halves it, and stop where rounding is all there is.
    fn conjugate_gradients(
        &self,
        system: &System<'_>,
        b: &mut [f64],
        scratch: &mut Scratch,
    ) -> Result<SolveStats, Failure> {
        let k = b.len();
        let size = norm(b);
        if size == 0.0 {
            return Ok(SolveStats::default());
        }
        if !size.is_finite() {
            return Err(Error::Overflow {
                what: "the right-hand side of the eliminated border",
            }
            .into());
        }
        // Scaled by a power of two to about 1, which rounds nothing: r' z and p' S p then stay
        // finite and positive whatever the scales of S and b.
        let unit = power_of_two_near(size);
        b.iter_mut().for_each(|b| *b /= unit);
        let size = norm(b);
        let target = self.options.relative_residual;
        let mut work = SearchState::new(b, self.options.max_iterations.unwrap_or(2 * k + 50));
        let mut reached = 1.0;
        loop {
            self.descend(system, &mut work, 0.5 * target * size, scratch)?;
            self.apply(system, &work.x, &mut work.product, scratch);
            (work.r.iter_mut())
                .zip(b.iter().zip(&work.product))
                .for_each(|(r, (b, s))| *r = b - s);
            let before = std::mem::replace(&mut reached, norm(&work.r) / size);
            let moves = reached <= 0.5 * before && work.done < work.most;
            if reached <= target || !moves {
                break;
            }
        }
        b.iter_mut().zip(&work.x).for_each(|(b, x)| *b = x * unit);
        // Not `>`: NaN has not arrived.
        let arrived = reached <= target;
        Ok(SolveStats {
            iterations: work.done as u64,
            stalled_at: (!arrived).then_some(reached),
        })
    }

    /// Conjugate gradients from `work.x`, whose residual is `work.r`, until the recursive residual
    /// falls to `goal` or the iterations are used up.
    fn descend(
        &self,
        system: &System<'_>,
        work: &mut SearchState,
        goal: f64,
        scratch: &mut Scratch,
    ) -> Result<(), Failure> {
        let arch = self.arch;
        work.kept.clear();
        self.precondition_into(&work.r, &mut work.z);
        work.p.copy_from_slice(&work.z);
        // Conjugate to all before it, a direction past the order is rounding alone.
        let room = if work.kept.holds_all() {
            work.x.len()
        } else {
            usize::MAX
        };
        let last = work.most.min(work.done.saturating_add(room));
        while work.done < last && norm(&work.r) > goal {
            let SearchState {
                x,
                r,
                z,
                p,
                product,
                kept,
                done,
                ..
            } = &mut *work;
            self.apply(system, p, product, scratch);
            let curvature = dot(arch, p, product);
            if !curvature.is_finite() {
                return Err(Error::Overflow {
                    what: "a curvature",
                }
                .into());
            }
            if curvature <= 0.0 {
                return Err(NotPositiveDefinite {
                    site: PivotSite::Curvature { iteration: *done },
                    value: curvature / norm(p) / norm(p),
                    bump: None,
                    whole: None,
                }
                .into());
            }
            let alpha = dot(arch, p, r) / curvature;
            axpy(arch, alpha, p, x);
            axpy(arch, -alpha, product, r);
            self.precondition_into(r, z);
            let beta = dot(arch, product, z) / curvature;
            kept.keep(p, product, curvature);
            p.iter_mut().zip(&*z).for_each(|(p, z)| *p = z - beta * *p);
            kept.conjugate(arch, p);
            *done += 1;
        }
        Ok(())
    }

    fn precondition_into(&self, r: &[f64], z: &mut [f64]) {
        z.copy_from_slice(r);
        self.apply_inverse(z);
    }
}

/// The vectors of conjugate gradients, all of length $`k`$, and their count of iterations.
#[derive(Debug)]
struct SearchState {
    x: Vec<f64>,
    r: Vec<f64>,
    z: Vec<f64>,
    p: Vec<f64>,
    product: Vec<f64>,
    kept: Directions,
    done: usize,
    most: usize,
}

impl SearchState {
    fn new(b: &[f64], most: usize) -> Self {
        let zeros = || vec![0.0; b.len()];
        Self {
            x: zeros(),
            r: b.to_vec(),
            z: zeros(),
            p: zeros(),
            product: zeros(),
            kept: Directions::new(b.len()),
            done: 0,
            most,
        }
    }
}

/// Buffers of one application of $`S`$.
#[derive(Debug)]
struct Scratch {
    row: Vec<f64>,
    border: Vec<f64>,
    border_abs: Vec<f64>,
    t: Vec<f64>,
}

impl Scratch {
    fn new(n: usize, k: usize) -> Self {
        Self {
            row: vec![0.0; n],
            border: vec![0.0; k],
            border_abs: vec![0.0; k],
            t: vec![0.0; n],
        }
    }
}

/// $`y \leftarrow y - B' t`$; `buffer` is overwritten.
fn pull(system: &System<'_>, t: &[f64], y: &mut [f64], buffer: &mut [f64]) {
    match system {
        System::Dense(system) => system.subtract_cross_transpose(t, y),
        System::Structured(system) => {
            let outer = system.feature_outer(t);
            add_outer_times_decoder(outer.as_ref(), system.decoder(), -1.0, y);
        }
        System::Operator(system) => {
            system.cross().apply_transpose(t, buffer);
            y.iter_mut().zip(buffer).for_each(|(y, b)| *y -= *b);
        }
    }
}

fn block_ranges(k: usize) -> impl ExactSizeIterator<Item = std::ops::Range<usize>> {
    (0..k.div_ceil(BLOCK)).map(move |b| b * BLOCK..((b + 1) * BLOCK).min(k))
}

/// The diagonal blocks of $`S + \rho_\beta`$, lower triangles.
fn form_blocks(system: &DenseSystem<'_>, factors: &RowFactors, rho: f64, blocks: &mut [Cholesky]) {
    let (rows, k) = (system.shape().rows(), system.shape().border());
    let c = system.border_hessian().matrix();
    blocks
        .par_iter_mut()
        .zip(block_ranges(k).collect::<Vec<_>>())
        .for_each(|(block, range)| {
            let width = range.len();
            let mut s = block.as_mat_mut();
            for j in 0..width {
                for i in j..width {
                    s[(i, j)] = c[(range.start + i, range.start + j)];
                }
                s[(j, j)] += rho;
            }
            // Whitened strips of B, some rows at a time.
            const STRIP: usize = 256;
            let (mut strip, mut line) = (Vec::with_capacity(STRIP * width), vec![0.0; k]);
            let flush = |strip: &mut Vec<f64>, s: MatMut<'_, f64>| {
                let y = MatRef::from_row_major_slice(strip, strip.len() / width, width);
                triangular::matmul(
                    s,
                    BlockStructure::TriangularLower,
                    Accum::Add,
                    y.transpose(),
                    BlockStructure::Rectangular,
                    y,
                    BlockStructure::Rectangular,
                    -1.0,
                    Par::Seq,
                );
                strip.clear();
            };
            for i in 0..rows.rows() {
                let (d, start) = (rows.dim(i), strip.len());
                for a in 0..d {
                    match system.row_cross().row_slice(rows, i, a) {
                        Some(slice) => strip.extend_from_slice(&slice[range.clone()]),
                        None => {
                            system.row_cross().copy_row(rows, i, a, &mut line);
                            strip.extend_from_slice(&line[range.clone()]);
                        }
                    }
                }
                whiten_block(
                    Arch::new(),
                    factors.factor_of(i),
                    d,
                    width,
                    &mut strip[start..],
                );
                if strip.len() >= STRIP * width {
                    flush(&mut strip, s.rb_mut());
                }
            }
            flush(&mut strip, s.rb_mut());
        });
}

impl Elimination for Iterative {
    fn kind(&self) -> EliminationKind {
        Self::KIND
    }

    fn bytes(&self) -> u64 {
        let own = match &self.preconditioner {
            Preconditioner::Gram { gram, features, .. } => {
                Cholesky::bytes(gram.order()) + 8 * features.len() as u64
            }
            Preconditioner::Blocks(blocks) => blocks
                .iter()
                .map(|block| Cholesky::bytes(block.order()))
                .sum(),
            Preconditioner::Diagonal(inverse) => inverse.as_ref().map_or(0, |d| 8 * d.len() as u64),
        };
        own + RowFactors::bytes(self.shape.rows())
    }

    fn refresh(&mut self, system: &System<'_>) -> Result<(), Error> {
        self.check_kind(system)
    }

    fn factor(&mut self, system: &System<'_>, ridge: Ridge) -> Result<Factored, Failure> {
        let (_, row_pivot) = self.rows.factor(system.row_hessian(), ridge.row)?;
        if let Some(failed) = self.precondition(system, ridge.border)? {
            return Err(self.failure(system, ridge.border, failed));
        }
        self.ridge = ridge;
        let least = |factor: &Cholesky, first: usize, copies: usize| {
            let (pivot, value) = factor.min_pivot()?;
            Some(Pivot {
                site: PivotSite::Border {
                    pivot: first + pivot * copies,
                },
                value,
            })
        };
        let border_pivot = match &self.preconditioner {
            Preconditioner::Gram { gram, outputs, .. } => least(gram, 0, *outputs),
            Preconditioner::Blocks(blocks) => {
                blocks.iter().enumerate().fold(None, |all, (b, block)| {
                    Pivot::least(all, least(block, b * BLOCK, 1))
                })
            }
            Preconditioner::Diagonal(_) => None,
        };
        Ok(Factored {
            log_determinant: Err(NoLogDeterminant::Iterative),
            row_pivot,
            border_pivot,
        })
    }

    fn factors(&mut self, system: &System<'_>, ridge: Ridge) -> Result<bool, Error> {
        if !self.rows.try_factor(system.row_hessian(), ridge.row) {
            return Ok(false);
        }
        self.ridge = ridge;
        Ok(self.precondition(system, ridge.border)?.is_none())
    }

    fn solve(&mut self, system: &System<'_>, mut rhs: RhsMut<'_>) -> Result<SolveStats, Failure> {
        self.check_kind(system)?;
        rhs.check(&self.shape)?;
        let (n, k) = (self.shape.row_unknowns(), self.shape.border());
        let mut scratch = Scratch::new(n, k);
        let mut stats = SolveStats::default();
        for j in 0..rhs.count {
            let RhsMut { row, border, .. } = rhs.column(j);
            let mut t = row.to_vec();
            self.rows.solve_lower(&mut t);
            self.rows.solve_upper(&mut t);
            pull(system, &t, border, &mut scratch.border);
            stats = stats.and(self.conjugate_gradients(system, border, &mut scratch)?);
            match system {
                System::Dense(dense) => {
                    dense.cross_times(border, &mut scratch.row);
                    row.iter_mut().zip(&scratch.row).for_each(|(t, b)| *t -= b);
                }
                System::Structured(structured) => subtract_push(structured, border, row),
                System::Operator(operator) => {
                    operator.cross().apply(border, &mut scratch.row);
                    row.iter_mut().zip(&scratch.row).for_each(|(t, b)| *t -= b);
                }
            }
            self.rows.solve_lower(row);
            self.rows.solve_upper(row);
        }
        Ok(stats)
    }
}
