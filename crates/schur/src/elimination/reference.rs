//! The reference: the whole matrix of order $`N + k`$, factored as one.
//!
//! The specification of all other eliminations. Short, dense and slow on purpose; refused where
//! the matrix would pass 4 GiB.

use super::{Elimination, EliminationKind, Factored, Pivot, SolveStats, another_kind};
use crate::host::bump::{LEAST_BUMP, least_bump};
use crate::host::cholesky::{Cholesky, FailedPivot};
use crate::host::row_blocks::failing_diagonal;
use crate::host::work::{StructuredSizes, refresh};
use crate::work::{Counts, Work};
use crate::{
    ArrowShape, Error, Failure, LogDeterminant, NotPositiveDefinite, PivotSite, RhsMut, Ridge,
    Side, System, SystemShape,
};
use faer::{MatMut, Par};
use pulp::Arch;

/// The most bytes of the whole matrix.
const LARGEST: u64 = 4 << 30;

/// The whole matrix.
#[derive(Debug)]
pub struct Reference {
    shape: ArrowShape,
    matrix: Cholesky,
}

impl Reference {
    const KIND: EliminationKind = EliminationKind::Reference;

    /// Bytes that [`Reference::new`] allocates.
    ///
    /// # Errors
    /// [`Error::ClosureOperand`] for an operator system.
    pub fn bytes_needed(shape: &SystemShape) -> Result<u64, Error> {
        if let SystemShape::Operator(_) = shape {
            return Err(Error::ClosureOperand {
                elimination: Self::KIND,
                array: "row_cross",
            });
        }
        Ok(Cholesky::bytes(shape.arrow().order()))
    }

    /// Storage for systems of this shape.
    ///
    /// # Errors
    /// [`Error::Memory`] beyond `limit` bytes or 4 GiB; [`Error::ClosureOperand`].
    pub fn new(shape: &SystemShape, limit: u64) -> Result<Self, Error> {
        let (needed, limit) = (Self::bytes_needed(shape)?, limit.min(LARGEST));
        if needed > limit {
            return Err(Error::Memory {
                what: Self::KIND,
                needed,
                limit,
            });
        }
        let shape = shape.arrow().clone();
        Ok(Self {
            matrix: Cholesky::new(shape.order()),
            shape,
        })
    }

    /// Writes the lower triangle of $`H + \rho`$: rows first, then the border.
    ///
    /// # Errors
    /// [`Error::ClosureOperand`] for an operator system, whose entries are not known.
    fn assemble(&mut self, system: &System<'_>, ridge: Ridge) -> Result<(), Error> {
        let (rows, order) = (self.shape.rows().clone(), self.shape.order());
        let n = rows.unknowns();
        let h = self.matrix.data_mut();
        h.fill(0.0);
        for i in 0..rows.rows() {
            let start = rows.offset(i);
            for a in 0..rows.dim(i) {
                for b in 0..=a {
                    h[(start + b) * order + start + a] = system.row_hessian().get(&rows, i, a, b);
                }
                h[(start + a) * (order + 1)] += ridge.row;
            }
        }
        match system {
            System::Dense(system) => {
                let mut line = vec![0.0; self.shape.border()];
                for i in 0..rows.rows() {
                    for a in 0..rows.dim(i) {
                        let u = rows.offset(i) + a;
                        system.row_cross().copy_row(&rows, i, a, &mut line);
                        h[u * order + n..(u + 1) * order].copy_from_slice(&line);
                    }
                }
                let c = system.border_hessian().matrix();
                for j in 0..c.nrows() {
                    for i in j..c.nrows() {
                        h[(n + j) * order + n + i] = c[(i, j)];
                    }
                }
            }
            System::Structured(system) => {
                let (w, p) = (system.decoder(), system.structured_shape().outputs());
                for i in 0..rows.rows() {
                    let row = system.features().row(i);
                    let nnz = row.indices.len();
                    for a in 0..rows.dim(i) {
                        let u = rows.offset(i) + a;
                        let psi = &row.psi[a * nnz..(a + 1) * nnz];
                        for c in 0..p {
                            let j: f64 = row
                                .indices
                                .iter()
                                .zip(psi)
                                .map(|(&f, psi)| psi * w[(f, c)])
                                .sum();
                            for (&m, &phi) in row.indices.iter().zip(row.phi) {
                                h[u * order + n + m * p + c] = phi * j;
                            }
                        }
                    }
                }
                let g = system.gram().matrix();
                for a in 0..g.nrows() {
                    for b in 0..=a {
                        for c in 0..p {
                            h[(n + b * p + c) * order + n + a * p + c] = g[(a, b)];
                        }
                    }
                }
            }
            System::Operator(_) => return Err(another_kind(Self::KIND, system)),
        }
        for j in n..order {
            h[j * (order + 1)] += ridge.border;
        }
        Ok(())
    }

    /// The pivot that failed at `ridge`, if one did.
    fn attempt(&mut self, system: &System<'_>, ridge: Ridge) -> Result<Option<FailedPivot>, Error> {
        self.assemble(system, ridge)?;
        Ok(self.matrix.factor(Par::rayon(0)).err())
    }

    fn site(&self, index: usize) -> PivotSite {
        match index.checked_sub(self.shape.row_unknowns()) {
            Some(pivot) => PivotSite::Border { pivot },
            None => {
                let (row, pivot) = self.shape.rows().locate(index);
                PivotSite::Row { row, pivot }
            }
        }
    }

    fn failure(&mut self, system: &System<'_>, ridge: Ridge, failed: FailedPivot) -> Failure {
        if !failed.value.is_finite() {
            return Error::Overflow { what: "a pivot" }.into();
        }
        let site = self.site(failed.index);
        let means = system.mean_diagonals();
        let n = self.shape.row_unknowns();
        let scale = if site.side() == Side::Row {
            means.row
        } else {
            means.border
        };
        let floor = match site.side() {
            Side::Row => {
                let (rows, blocks) = (self.shape.rows(), system.row_hessian());
                LEAST_BUMP * failing_diagonal(rows, blocks, ridge.row)
            }
            Side::Border => 0.0,
        };
        let mut broken = None;
        let bump = least_bump(scale.abs(), floor, |bump| {
            match self.attempt(system, ridge.bumped(site.side(), bump)) {
                Ok(None) => true,
                // The rows are done once the factor gets past all of them.
                Ok(Some(failed)) => site.side() == Side::Row && failed.index >= n,
                Err(error) => {
                    broken.get_or_insert(error);
                    true
                }
            }
        });
        if let Some(error) = broken {
            return error.into();
        }
        NotPositiveDefinite {
            site,
            value: failed.value,
            bump,
            whole: None,
        }
        .into()
    }

    fn least_pivot(&self, range: std::ops::Range<usize>) -> Option<Pivot> {
        let mut least = None;
        for (index, l) in self
            .matrix
            .diagonal()
            .enumerate()
            .skip(range.start)
            .take(range.len())
        {
            least = Pivot::least(
                least,
                Some(Pivot {
                    site: self.site(index),
                    value: l * l,
                }),
            );
        }
        least
    }
}

impl Elimination for Reference {
    fn kind(&self) -> EliminationKind {
        Self::KIND
    }

    fn bytes(&self) -> u64 {
        Cholesky::bytes(self.shape.order())
    }

    fn refresh(&mut self, system: &System<'_>) -> Result<(), Error> {
        match system {
            System::Dense(_) | System::Structured(_) => Ok(()),
            System::Operator(_) => Err(another_kind(Self::KIND, system)),
        }
    }

    fn factor(&mut self, system: &System<'_>, ridge: Ridge) -> Result<Factored, Failure> {
        if let Some(failed) = self.attempt(system, ridge)? {
            return Err(self.failure(system, ridge, failed));
        }
        let mut log_determinant = LogDeterminant::default();
        self.matrix
            .diagonal()
            .for_each(|l| log_determinant.add_cholesky(l, 1.0));
        let n = self.shape.row_unknowns();
        Ok(Factored {
            log_determinant: Ok(log_determinant),
            row_pivot: self.least_pivot(0..n),
            border_pivot: self.least_pivot(n..self.shape.order()),
        })
    }

    fn factors(&mut self, system: &System<'_>, ridge: Ridge) -> Result<bool, Error> {
        Ok(self.attempt(system, ridge)?.is_none())
    }

    fn solve(&mut self, system: &System<'_>, rhs: RhsMut<'_>) -> Result<SolveStats, Failure> {
        if let System::Operator(_) = system {
            return Err(another_kind(Self::KIND, system).into());
        }
        rhs.check(&self.shape)?;
        let (n, k) = (self.shape.row_unknowns(), self.shape.border());
        let mut x = vec![0.0; n + k];
        for j in 0..rhs.count {
            x[..n].copy_from_slice(&rhs.row[j * n..(j + 1) * n]);
            x[n..].copy_from_slice(&rhs.border[j * k..(j + 1) * k]);
            let column = MatMut::from_column_major_slice_mut(&mut x, n + k, 1);
            self.matrix.solve(Arch::new(), column);
            rhs.row[j * n..(j + 1) * n].copy_from_slice(&x[..n]);
            rhs.border[j * k..(j + 1) * k].copy_from_slice(&x[n..]);
        }
        Ok(SolveStats::default())
    }
}

/// The work that it does, counted.
pub(crate) fn work(shape: &SystemShape) -> Counts {
    let order = shape.arrow().order() as f64;
    Counts {
        refresh: match shape {
            SystemShape::Structured { shape, density, .. } => {
                StructuredSizes::of(shape, *density).refresh()
            }
            SystemShape::Dense(shape) | SystemShape::Operator(shape) => refresh(shape),
        },
        factor: Work::default()
            .traffic(8.0 * order * order)
            .blocked_factor(order),
        solve: Work::default().triangular_solves(order),
    }
}
