//! Border first on the CPU.

use crate::elimination::rows_first::host::{subtract_pull, subtract_push};
use crate::elimination::{Elimination, EliminationKind, Factored, Pivot, SolveStats, another_kind};
use crate::host::blas1::largest;
use crate::host::bump::{LEAST_BUMP, least_bump, least_rung};
use crate::host::cholesky::{Cholesky, FailedPivot};
use crate::host::parallel::{ROW_CHUNK, par_rows, product_par};
use crate::host::row_blocks::RowFactors;
use crate::host::structured::{
    DecoderRoot, add_outer_times_decoder, decoder_rank, factor_gram, for_rows, row_times_root,
    solve_gram, whitened_phi,
};
use crate::host::trsm;
use crate::{
    ArrowShape, DenseSystem, Error, Failure, LogDeterminant, NotPositiveDefinite, PivotSite,
    RhsMut, Ridge, RowBlocks, RowDims, Side, StructuredShape, StructuredSystem, System,
    SystemShape,
};
use faer::linalg::matmul::matmul;
use faer::linalg::matmul::triangular::{self, BlockStructure};
use faer::prelude::*;
use faer::{Accum, MatMut, MatRef, Par};
use pulp::Arch;
use rayon::prelude::*;

/// Border first, for dense and structured systems.
#[derive(Debug)]
pub struct BorderFirst {
    arrow: ArrowShape,
    /// $`L_C`$ (dense) or $`L_G`$ (structured).
    border: Cholesky,
    /// $`T`$, of order $`N`$.
    rows: Cholesky,
    /// $`L_i`$, for the last sweep; not `whole` where rounding keeps a block from factoring.
    blocks: RowFactors,
    whole: bool,
    /// The rows' ridge of the factors.
    ridge: f64,
    operand: BorderOperand,
}

#[derive(Debug)]
enum BorderOperand {
    Dense {
        /// $`L_C^{-1} B'`$, `k x N` column-major.
        pulled: Vec<f64>,
    },
    Structured {
        outputs: usize,
        root: Box<DecoderRoot>,
        /// $`\tilde\phi_i`$, `M x n` column-major.
        phi: Vec<f64>,
        /// $`\Psi_i R`$, `N x r` row-major.
        jacobian: Vec<f64>,
    },
}

impl BorderFirst {
    const KIND: EliminationKind = super::KIND;

    /// Bytes that [`BorderFirst::new`] allocates.
    ///
    /// # Errors
    /// [`Error::ClosureOperand`] for an operator system.
    pub fn bytes_needed(shape: &SystemShape) -> Result<u64, Error> {
        let arrow = shape.arrow();
        let n = arrow.row_unknowns();
        let own = match shape {
            SystemShape::Dense(_) => Cholesky::bytes(arrow.border())
                .saturating_add(ArrowShape::array_bytes(n, arrow.border())),
            SystemShape::Structured { shape, .. } => Cholesky::bytes(shape.features())
                .saturating_add(DecoderRoot::bytes(shape))
                .saturating_add(ArrowShape::array_bytes(arrow.row_count(), shape.features()))
                .saturating_add(ArrowShape::array_bytes(n, decoder_rank(shape))),
            SystemShape::Operator(_) => {
                return Err(Error::ClosureOperand {
                    elimination: Self::KIND,
                    array: "row_cross",
                });
            }
        };
        Ok(own
            .saturating_add(Cholesky::bytes(n))
            .saturating_add(RowFactors::bytes(arrow.rows())))
    }

    /// Storage for systems of this shape.
    ///
    /// # Errors
    /// [`Error::Memory`] beyond `limit` bytes; [`Error::ClosureOperand`].
    pub fn new(shape: &SystemShape, limit: u64) -> Result<Self, Error> {
        let needed = Self::bytes_needed(shape)?;
        if needed > limit {
            return Err(Error::Memory {
                what: Self::KIND,
                needed,
                limit,
            });
        }
        let arrow = shape.arrow().clone();
        let n = arrow.row_unknowns();
        let (order, operand) = match shape {
            SystemShape::Structured { shape, .. } => {
                (shape.features(), Self::structured_operand(shape))
            }
            SystemShape::Dense(_) => (
                arrow.border(),
                BorderOperand::Dense {
                    pulled: vec![0.0; n * arrow.border()],
                },
            ),
            SystemShape::Operator(_) => {
                return Err(Error::ClosureOperand {
                    elimination: Self::KIND,
                    array: "row_cross",
                });
            }
        };
        Ok(Self {
            border: Cholesky::new(order),
            rows: Cholesky::new(n),
            blocks: RowFactors::new(arrow.rows()),
            whole: false,
            ridge: 0.0,
            operand,
            arrow,
        })
    }

    fn structured_operand(shape: &StructuredShape) -> BorderOperand {
        let arrow = shape.arrow();
        BorderOperand::Structured {
            outputs: shape.outputs(),
            root: Box::new(DecoderRoot::new(shape)),
            phi: vec![0.0; arrow.row_count() * shape.features()],
            jacobian: vec![0.0; arrow.row_unknowns() * decoder_rank(shape)],
        }
    }

    /// Refuses a system of another kind than the storage is for.
    fn check_kind(&self, system: &System<'_>) -> Result<(), Error> {
        match (system, &self.operand) {
            (System::Dense(_), BorderOperand::Dense { .. })
            | (System::Structured(_), BorderOperand::Structured { .. }) => Ok(()),
            (System::Dense(_) | System::Structured(_) | System::Operator(_), _) => {
                Err(another_kind(Self::KIND, system))
            }
        }
    }

    /// Factors $`C + \rho_\beta`$ (or $`G`$); the pivot that failed, if one did.
    fn factor_border(
        &mut self,
        system: &System<'_>,
        rho: f64,
    ) -> Result<Option<FailedPivot>, Error> {
        self.check_kind(system)?;
        let factored = match system {
            System::Dense(system) => {
                system
                    .border_hessian()
                    .copy_lower_to(self.border.data_mut(), rho);
                self.border.factor(Par::rayon(0))
            }
            System::Structured(system) => factor_gram(system, rho, &mut self.border),
            System::Operator(_) => return Err(another_kind(Self::KIND, system)),
        };
        Ok(factored.err())
    }

    /// What of $`T`$ does not depend on the row ridge.
    fn prepare(&mut self, system: &System<'_>) -> Result<(), Error> {
        let Self {
            arrow,
            border,
            operand,
            ..
        } = self;
        match (system, operand) {
            (System::Dense(system), BorderOperand::Dense { pulled }) => {
                pull_cross(arrow, system, border, pulled);
            }
            (
                System::Structured(system),
                BorderOperand::Structured {
                    root,
                    phi,
                    jacobian,
                    ..
                },
            ) => {
                root.form(system.decoder());
                prepare_structured(system, border, root.as_mat(), phi, jacobian);
            }
            (System::Dense(_) | System::Structured(_) | System::Operator(_), _) => {
                return Err(another_kind(Self::KIND, system));
            }
        }
        Ok(())
    }

    /// Forms and factors $`T + \rho_t`$.
    fn factor_rows(&mut self, blocks: RowBlocks<'_>, rho: f64) -> Result<(), FailedPivot> {
        let Self {
            arrow,
            rows,
            operand,
            border,
            ..
        } = self;
        let n = arrow.row_unknowns();
        if n == 0 {
            return Ok(());
        }
        clear_lower(rows.data_mut(), n);
        match operand {
            BorderOperand::Dense { pulled } => {
                let x = MatRef::from_column_major_slice(pulled, arrow.border(), n);
                subtract_gram(rows.as_mat_mut(), x.transpose());
            }
            BorderOperand::Structured { phi, jacobian, .. } => {
                let r = jacobian.len() / n;
                subtract_gram(
                    rows.as_mat_mut(),
                    MatRef::from_row_major_slice(jacobian, n, r),
                );
                hadamard(arrow.rows(), phi, border.order(), rows.data_mut());
            }
        }
        let dims = arrow.rows();
        let data = rows.data_mut();
        for i in 0..dims.rows() {
            let start = dims.offset(i);
            for a in 0..dims.dim(i) {
                for b in 0..=a {
                    data[(start + b) * n + start + a] += blocks.get(dims, i, a, b);
                }
                data[(start + a) * (n + 1)] += rho;
            }
        }
        rows.factor(Par::rayon(0))
    }

    fn row_failure(&mut self, system: &System<'_>, rho: f64, failed: FailedPivot) -> Failure {
        if !failed.value.is_finite() {
            return Error::Overflow { what: "a pivot" }.into();
        }
        let scale = system.mean_diagonals().row.abs();
        let blocks = system.row_hessian();
        let bump = least_rung(scale, |bump| self.factor_rows(blocks, rho + bump).is_ok());
        let (row, pivot) = self.arrow.rows().locate(failed.index);
        let site = PivotSite::EliminatedRow { row, pivot };
        NotPositiveDefinite {
            site,
            value: failed.value,
            bump,
            whole: None,
        }
        .into()
    }

    fn border_failure(&mut self, system: &System<'_>, rho: f64, failed: FailedPivot) -> Failure {
        if !failed.value.is_finite() {
            return Error::Overflow { what: "a pivot" }.into();
        }
        let scale = system.mean_diagonals().border.abs();
        let floor = LEAST_BUMP * largest_border_diagonal(system);
        let mut broken = None;
        let bump = least_bump(scale, floor, |bump| {
            match self.factor_border(system, rho + bump) {
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
        let site = PivotSite::Border {
            pivot: failed.index * self.copies(),
        };
        NotPositiveDefinite {
            site,
            value: failed.value,
            bump,
            whole: None,
        }
        .into()
    }

    /// How often each pivot of the border's factor stands in $`C`$.
    fn copies(&self) -> usize {
        match &self.operand {
            BorderOperand::Dense { .. } => 1,
            BorderOperand::Structured { outputs, .. } => *outputs,
        }
    }

    fn solve_one(
        &self,
        system: &System<'_>,
        row: &mut [f64],
        border: &mut [f64],
    ) -> Result<(), Error> {
        let arch = Arch::new();
        let own_row = row.to_vec();
        match (system, &self.operand) {
            (System::Dense(_), BorderOperand::Dense { pulled }) => {
                // Not faer's products with a vector, whose sums follow the number of threads.
                self.border.solve_lower(arch, border);
                subtract_push(arch, pulled, border, row);
                self.rows.solve(arch, column_mut(row));
                subtract_pull(arch, pulled, row, border);
                self.border.solve_upper(arch, border);
            }
            (System::Structured(system), BorderOperand::Structured { outputs, .. }) => {
                let own = border.to_vec();
                solve_gram(&self.border, border, *outputs);
                crate::host::structured::subtract_push(system, border, row);
                self.rows.solve(arch, column_mut(row));
                border.copy_from_slice(&own);
                let outer = system.feature_outer(row);
                add_outer_times_decoder(outer.as_ref(), system.decoder(), -1.0, border);
                solve_gram(&self.border, border, *outputs);
            }
            (System::Dense(_) | System::Structured(_) | System::Operator(_), _) => {
                return Err(another_kind(Self::KIND, system));
            }
        }
        if self.whole {
            self.sweep(system, own_row, row, border)?;
        }
        Ok(())
    }

    /// Solves again the rows whose equation $`D_i x_i + B_i x_\beta = b_i`$ does not hold.
    fn sweep(
        &self,
        system: &System<'_>,
        b: Vec<f64>,
        row: &mut [f64],
        border: &[f64],
    ) -> Result<(), Error> {
        // b - B x and the size of its terms. Of a structured system the terms of B x are not
        // known one by one: their sum stands for them.
        let (mut rest, mut size) = (b, vec![0.0; row.len()]);
        match system {
            System::Dense(dense) => {
                let mut pushed = vec![0.0; row.len()];
                dense.cross_times_abs(border, &mut pushed, &mut size);
                for ((rest, size), pushed) in rest.iter_mut().zip(&mut size).zip(&pushed) {
                    *size += rest.abs();
                    *rest -= pushed;
                }
            }
            System::Structured(structured) => {
                size.iter_mut()
                    .zip(&rest)
                    .for_each(|(size, b)| *size = b.abs());
                crate::host::structured::subtract_push(structured, border, &mut rest);
                size.iter_mut()
                    .zip(&rest)
                    .for_each(|(size, rest)| *size += rest.abs());
            }
            System::Operator(_) => return Err(another_kind(Self::KIND, system)),
        }
        let (dims, blocks) = (self.arrow.rows(), system.row_hessian());
        par_rows(dims, 1, row, ROW_CHUNK, |i, x| {
            let range = dims.offset(i)..dims.offset(i + 1);
            let (rest, size) = (&rest[range.clone()], &size[range]);
            let holds = |a: usize| {
                let (mut r, mut terms) = (rest[a], size[a]);
                for (c, x) in x.iter().enumerate() {
                    let ridge = if a == c { self.ridge } else { 0.0 };
                    let term = (blocks.get(dims, i, a.max(c), a.min(c)) + ridge) * x;
                    r -= term;
                    terms += term.abs();
                }
                r.abs() <= HOLDS * terms
            };
            if !(0..x.len()).all(holds) {
                x.copy_from_slice(rest);
                self.blocks.solve_block(i, x);
            }
        });
        Ok(())
    }

    /// The pivot that failed at `ridge`, if one did, and on which side.
    fn attempt(
        &mut self,
        system: &System<'_>,
        ridge: Ridge,
    ) -> Result<Option<(Side, FailedPivot)>, Error> {
        if let Some(failed) = self.factor_border(system, ridge.border)? {
            return Ok(Some((Side::Border, failed)));
        }
        self.prepare(system)?;
        if let Err(failed) = self.factor_rows(system.row_hessian(), ridge.row) {
            return Ok(Some((Side::Row, failed)));
        }
        self.ridge = ridge.row;
        self.whole = self.blocks.try_factor(system.row_hessian(), ridge.row);
        Ok(None)
    }
}

/// The largest diagonal entry of $`C`$ (or $`G`$), without ridge; 0 where it is not known.
pub(crate) fn largest_border_diagonal(system: &System<'_>) -> f64 {
    let matrix = match system {
        System::Dense(system) => system.border_hessian().matrix(),
        System::Structured(system) => system.gram().matrix(),
        System::Operator(_) => return 0.0,
    };
    largest((0..matrix.nrows()).map(|j| matrix[(j, j)]))
}

/// The share of its terms by which a row's equation may fail and still hold: a few roundings, and
/// well below the backward error that calls for refinement.
const HOLDS: f64 = 16.0 * f64::EPSILON;

fn column_mut(x: &mut [f64]) -> MatMut<'_, f64> {
    let len = x.len();
    MatMut::from_column_major_slice_mut(x, len, 1)
}

fn clear_lower(data: &mut [f64], order: usize) {
    data.par_chunks_mut(order)
        .enumerate()
        .for_each(|(j, column)| column[j..].fill(0.0));
}

/// $`A \leftarrow A - X X'`$, lower triangle.
fn subtract_gram(a: MatMut<'_, f64>, x: MatRef<'_, f64>) {
    let par = product_par(a.nrows(), x.ncols(), a.ncols());
    triangular::matmul(
        a,
        BlockStructure::TriangularLower,
        Accum::Add,
        x,
        BlockStructure::Rectangular,
        x.transpose(),
        BlockStructure::Rectangular,
        -1.0,
        par,
    );
}

/// $`L_C^{-1} B'`$, `k x N` column-major.
fn pull_cross(shape: &ArrowShape, system: &DenseSystem<'_>, border: &Cholesky, pulled: &mut [f64]) {
    let (rows, k) = (shape.rows(), shape.border());
    if k == 0 {
        return;
    }
    par_rows(rows, k, pulled, 64, |i, part| {
        for (a, line) in part.chunks_exact_mut(k).enumerate() {
            system.row_cross().copy_row(rows, i, a, line);
        }
    });
    let pulled = MatMut::from_column_major_slice_mut(pulled, k, rows.unknowns());
    trsm::solve_lower(border.as_mat(), pulled);
}

/// $`\tilde\phi_i`$ and $`\Psi_i R`$ of every row.
fn prepare_structured(
    system: &StructuredSystem<'_>,
    gram: &Cholesky,
    root: MatRef<'_, f64>,
    phi: &mut [f64],
    jacobian: &mut [f64],
) {
    const CHUNK: usize = 256;
    let (features, r) = (gram.order(), root.ncols());
    if features == 0 {
        return;
    }
    phi.par_chunks_mut(CHUNK * features)
        .enumerate()
        .for_each(|(c, out)| {
            let first = c * CHUNK;
            whitened_phi(system, gram, first..first + out.len() / features, out);
        });
    for_rows(system, r, jacobian, |i, out| {
        let row = system.features().row(i);
        row_times_root(
            row.indices,
            row.psi,
            root,
            system.shape().rows().dim(i),
            out,
        );
    });
}

/// Multiplies the lower triangle of $`T`$, entry by entry, by $`\tilde\phi_i' \tilde\phi_j`$.
fn hadamard(dims: &RowDims, phi: &[f64], features: usize, t: &mut [f64]) {
    let n = dims.unknowns();
    let rows = dims.rows();
    // One task a block column of rows: the Gram matrix of the phis is formed tile by tile.
    const TILE: usize = 128;
    let phi = MatRef::from_column_major_slice(phi, features, rows);
    let mut parts = Vec::new();
    let mut rest = t;
    for first in (0..rows).step_by(TILE) {
        let last = (first + TILE).min(rows);
        let (part, after) = rest.split_at_mut((dims.offset(last) - dims.offset(first)) * n);
        parts.push((first, last, part));
        rest = after;
    }
    parts.into_par_iter().for_each(|(first, last, columns)| {
        let mut gram = faer::Mat::<f64>::zeros(TILE, TILE);
        for top in (first..rows).step_by(TILE) {
            let bottom = (top + TILE).min(rows);
            let mut tile = gram
                .as_mut()
                .submatrix_mut(0, 0, bottom - top, last - first);
            matmul(
                tile.rb_mut(),
                Accum::Replace,
                phi.subcols(top, bottom - top).transpose(),
                phi.subcols(first, last - first),
                1.0,
                Par::Seq,
            );
            for j in first..last {
                for b in 0..dims.dim(j) {
                    let u = dims.offset(j) + b;
                    let start = (u - dims.offset(first)) * n;
                    let column = &mut columns[start..start + n];
                    for i in top.max(j)..bottom {
                        let weight = tile[(i - top, j - first)];
                        for value in &mut column[dims.offset(i)..dims.offset(i + 1)] {
                            *value *= weight;
                        }
                    }
                }
            }
        }
    });
}

impl Elimination for BorderFirst {
    fn kind(&self) -> EliminationKind {
        Self::KIND
    }

    fn bytes(&self) -> u64 {
        let own = match &self.operand {
            BorderOperand::Dense { pulled } => 8 * pulled.len() as u64,
            BorderOperand::Structured { phi, jacobian, .. } => {
                8 * (phi.len() + jacobian.len()) as u64
            }
        };
        own + Cholesky::bytes(self.border.order())
            + Cholesky::bytes(self.rows.order())
            + RowFactors::bytes(self.arrow.rows())
    }

    fn refresh(&mut self, system: &System<'_>) -> Result<(), Error> {
        self.check_kind(system)
    }

    fn factor(&mut self, system: &System<'_>, ridge: Ridge) -> Result<Factored, Failure> {
        match self.attempt(system, ridge)? {
            Some((Side::Border, failed)) => {
                return Err(self.border_failure(system, ridge.border, failed));
            }
            Some((Side::Row, failed)) => {
                return Err(self.row_failure(system, ridge.row, failed));
            }
            None => {}
        }
        let copies = self.copies();
        let mut log_determinant = LogDeterminant::default();
        self.border
            .diagonal()
            .for_each(|l| log_determinant.add_cholesky(l, copies as f64));
        let mut row_log = LogDeterminant::default();
        self.rows
            .diagonal()
            .for_each(|l| row_log.add_cholesky(l, 1.0));
        let dims = self.arrow.rows();
        let row_pivot = self.rows.min_pivot().map(|(index, value)| {
            let (row, pivot) = dims.locate(index);
            Pivot {
                site: PivotSite::EliminatedRow { row, pivot },
                value,
            }
        });
        let border_pivot = self.border.min_pivot().map(|(index, value)| Pivot {
            site: PivotSite::Border {
                pivot: index * copies,
            },
            value,
        });
        debug_assert!(row_pivot.is_none_or(|pivot| pivot.site.side() == Side::Row));
        Ok(Factored {
            log_determinant: Ok(log_determinant + row_log),
            row_pivot,
            border_pivot,
        })
    }

    fn factors(&mut self, system: &System<'_>, ridge: Ridge) -> Result<bool, Error> {
        Ok(self.attempt(system, ridge)?.is_none())
    }

    fn solve(&mut self, system: &System<'_>, mut rhs: RhsMut<'_>) -> Result<SolveStats, Failure> {
        self.check_kind(system)?;
        rhs.check(&self.arrow)?;
        let (n, k, m) = (self.arrow.row_unknowns(), self.arrow.border(), rhs.count);
        if m > 1
            && let BorderOperand::Dense { pulled } = &self.operand
        {
            let x = MatRef::from_column_major_slice(pulled, k, n);
            let mut border = MatMut::from_column_major_slice_mut(rhs.border, k, m);
            let mut row = MatMut::from_column_major_slice_mut(rhs.row, n, m);
            let l = self.border.as_mat();
            trsm::solve_lower(l, border.rb_mut());
            matmul(
                row.rb_mut(),
                Accum::Add,
                x.transpose(),
                border.as_ref(),
                -1.0,
                product_par(n, k, m),
            );
            self.rows.solve(Arch::new(), row.rb_mut());
            matmul(
                border.rb_mut(),
                Accum::Add,
                x,
                row.as_ref(),
                -1.0,
                product_par(k, n, m),
            );
            trsm::solve_upper(l.transpose(), border);
            return Ok(SolveStats::default());
        }
        for j in 0..m {
            let column = rhs.column(j);
            self.solve_one(system, column.row, column.border)?;
        }
        Ok(SolveStats::default())
    }
}
