//! A dense Cholesky factor $`A = L L'`$: factor, solve, logarithms of pivots.
//!
//! ```text
//!   column-major, order x order, lower triangle used
//!
//!   [ L11           ]   one block column at a time, right-looking:
//!   [ L21  A22      ]   L11 = chol(A11), L21 = A21 L11^-T, A22 -= L21 L21'
//! ```
//!
//! A block column is [`BLOCK`] wide and is itself factored by narrower ones of [`STEP`]. The small
//! factors and triangular solves are faer's; the loop and the products, which take the time, are ours
//! ([`crate::host::update`]): a failed pivot is reported with its value, and the triangular solves for one
//! right-hand side run at the speed of memory. The blocking depends on the order alone, so the bits do
//! not depend on the number of threads.

use crate::host::registers::release_upper_parts;
use crate::host::small_cholesky::{failed_pivot, is_pivot};
use crate::host::update::{Operand, PackedSlabs, columns_of};
use crate::host::{trsm, trsv};
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::cholesky::llt;
use faer::prelude::*;
use faer::{MatMut, MatRef, Par, Spec};
use pulp::Arch;
use std::ops::Range;

/// Width of a block column: the depth of the products with what lies right of it.
const BLOCK: usize = 256;
/// Width of the steps by which a block column is factored.
const STEP: usize = 64;

/// A pivot that was not positive.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct FailedPivot {
    pub(crate) index: usize,
    pub(crate) value: f64,
}

/// A symmetric matrix that becomes its own Cholesky factor.
pub(crate) struct Cholesky {
    order: usize,
    data: Vec<f64>,
    /// A copy of the diagonal block at work, for the value of a failed pivot.
    block: Vec<f64>,
    packed: PackedSlabs,
    scratch: MemBuffer,
}

impl std::fmt::Debug for Cholesky {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cholesky")
            .field("order", &self.order)
            .finish_non_exhaustive()
    }
}

impl Cholesky {
    /// Bytes that [`Cholesky::new`] allocates.
    pub(crate) fn bytes(order: usize) -> u64 {
        let block = STEP.min(order) as u64;
        (order as u64)
            .saturating_mul(order as u64)
            .saturating_add(block * (block + 2))
            .saturating_mul(8)
            .saturating_add(PackedSlabs::bytes(order))
    }

    pub(crate) fn new(order: usize) -> Self {
        let width = STEP.min(order);
        let scratch =
            llt::factor::cholesky_in_place_scratch::<f64>(width, Par::Seq, Spec::default());
        Self {
            order,
            data: vec![0.0; order * order],
            block: vec![0.0; width * width],
            packed: PackedSlabs::new(order),
            scratch: MemBuffer::new(scratch),
        }
    }

    pub(crate) fn order(&self) -> usize {
        self.order
    }

    /// The matrix before [`Cholesky::factor`], the factor after; column-major.
    pub(crate) fn data_mut(&mut self) -> &mut [f64] {
        &mut self.data
    }

    pub(crate) fn as_mat(&self) -> MatRef<'_, f64> {
        MatRef::from_column_major_slice(&self.data, self.order, self.order)
    }

    pub(crate) fn as_mat_mut(&mut self) -> MatMut<'_, f64> {
        MatMut::from_column_major_slice_mut(&mut self.data, self.order, self.order)
    }

    /// The lower triangle of $`A \leftarrow A - Y' Y`$, `y` of `depth` lines, row-major.
    pub(crate) fn subtract_gram(&mut self, y: &[f64], par: Par) {
        let Self {
            order,
            data,
            packed,
            ..
        } = self;
        if *order > 0 {
            let y = Operand::new(y, *order, y.len() / *order, *order);
            packed.subtract_gram(columns_of(data, *order), y, par);
        }
    }

    /// Replaces the lower triangle of $`A`$ by $`L`$.
    pub(crate) fn factor(&mut self, par: Par) -> Result<(), FailedPivot> {
        for first in (0..self.order).step_by(BLOCK) {
            let last = (first + BLOCK).min(self.order);
            for at in (first..last).step_by(STEP) {
                let next = (at + STEP).min(last);
                self.factor_step(at, next)?;
                self.update(at..next, next..last, par);
            }
            self.update(first..last, last..self.order, par);
        }
        release_upper_parts();
        Ok(())
    }

    /// Factors the columns `at..next`, up to date with all before them.
    fn factor_step(&mut self, at: usize, next: usize) -> Result<(), FailedPivot> {
        let Self {
            order,
            data,
            block,
            scratch,
            ..
        } = self;
        let width = next - at;
        let columns = &mut data[at * *order..next * *order];
        let columns = MatMut::from_column_major_slice_mut(columns, *order, width);
        let (mut diagonal, below) = columns.split_at_row_mut(at).1.split_at_row_mut(width);
        let copy = MatMut::from_column_major_slice_mut(&mut block[..width * width], width, width);
        save_lower(diagonal.as_ref(), copy);
        let factored = llt::factor::cholesky_in_place(
            diagonal.rb_mut(),
            Default::default(),
            Par::Seq,
            MemStack::new(scratch),
            Spec::default(),
        );
        // A factor that overflowed is no factor: faer lets an infinite pivot pass.
        let finite = (0..width).all(|j| is_pivot(diagonal[(j, j)]));
        if factored.is_err() || !finite {
            let failed = failed_pivot(&mut block[..width * width], width);
            return Err(FailedPivot {
                index: at + failed.index,
                ..failed
            });
        }
        trsm::solve_lower(diagonal.as_ref(), below.transpose_mut());
        Ok(())
    }

    /// Subtracts from the columns `to` what the factored columns `from` left of them owe.
    fn update(&mut self, from: Range<usize>, to: Range<usize>, par: Par) {
        let Self {
            order,
            data,
            packed,
            ..
        } = self;
        let (known, rest) = data.split_at_mut(to.start * *order);
        if to.is_empty() {
            return;
        }
        let lines = &known[from.start * *order + to.start..];
        let lines = Operand::new(lines, *order - to.start, from.len(), *order);
        let rest = &mut rest[..to.len() * *order];
        let (_, rest) = columns_of(rest, *order).split_at_row_mut(to.start);
        packed.subtract_gram(rest, lines, par);
    }

    /// Diagonal of $`L`$.
    pub(crate) fn diagonal(&self) -> impl ExactSizeIterator<Item = f64> + '_ {
        (0..self.order).map(|j| self.data[j * self.order + j])
    }

    /// The smallest pivot $`l_{jj}^2`$ and its place.
    pub(crate) fn min_pivot(&self) -> Option<(usize, f64)> {
        let mut least = None;
        for (j, l) in self.diagonal().enumerate() {
            if least.is_none_or(|(_, value)| l * l < value) {
                least = Some((j, l * l));
            }
        }
        least
    }

    /// $`x \leftarrow L^{-1} x`$ for one vector.
    pub(crate) fn solve_lower(&self, arch: Arch, x: &mut [f64]) {
        trsv::solve_lower(arch, &self.data, x);
    }

    /// $`x \leftarrow L^{-T} x`$ for one vector.
    pub(crate) fn solve_upper(&self, arch: Arch, x: &mut [f64]) {
        trsv::solve_upper(arch, &self.data, x);
    }

    /// $`X \leftarrow A^{-1} X`$.
    pub(crate) fn solve(&self, arch: Arch, mut x: MatMut<'_, f64>) {
        if self.order == 0 {
            return;
        }
        if x.ncols() == 1
            && let Some(column) = x.rb_mut().col_mut(0).try_as_col_major_mut()
        {
            let column = column.as_slice_mut();
            self.solve_lower(arch, column);
            self.solve_upper(arch, column);
            return;
        }
        trsm::solve_lower(self.as_mat(), x.rb_mut());
        trsm::solve_upper(self.as_mat().transpose(), x);
    }
}

fn save_lower(from: MatRef<'_, f64>, mut to: MatMut<'_, f64>) {
    for j in 0..from.ncols() {
        for i in j..from.nrows() {
            to[(i, j)] = from[(i, j)];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spd(order: usize) -> Vec<f64> {
        // Diagonally dominant with pseudo-random off-diagonals.
        let mut a = vec![0.0; order * order];
        let mut state = 12345_u64;
        for j in 0..order {
            for i in j..order {
                state = state
                    .wrapping_mul(6364136223846793005)
                    .wrapping_add(1442695040888963407);
                a[j * order + i] = ((state >> 40) as f64) / 16_777_216.0 - 0.5;
            }
            a[j * order + j] = order as f64 + 1.0;
        }
        a
    }

    #[test]
    fn solves_around_the_block_edges() {
        let arch = Arch::new();
        for order in [0, 1, 5, 31, 32, 33, 63, 64, 65, 127, 128, 129, 300] {
            let a = spd(order);
            let mut factor = Cholesky::new(order);
            factor.data_mut().copy_from_slice(&a);
            factor.factor(Par::Seq).unwrap();
            let b: Vec<f64> = (0..order).map(|i| (i as f64 * 0.7).sin()).collect();
            let mut x = b.clone();
            factor.solve(arch, MatMut::from_column_major_slice_mut(&mut x, order, 1));
            for i in 0..order {
                let row: f64 = (0..order)
                    .map(|j| a[i.min(j) * order + i.max(j)] * x[j])
                    .sum();
                assert!(
                    (row - b[i]).abs() < 1e-13 * (1.0 + order as f64),
                    "order {order} row {i}"
                );
            }
        }
    }

    #[test]
    fn a_failed_pivot_is_located_with_its_value() {
        for (order, at) in [(1, 0), (200, 150), (129, 128)] {
            let mut a = spd(order);
            // The pivot at `at` is its diagonal less a non-negative sum: surely below -1.
            a[at * order + at] = -1.0;
            let mut factor = Cholesky::new(order);
            factor.data_mut().copy_from_slice(&a);
            let failed = factor.factor(Par::Seq).unwrap_err();
            assert_eq!(failed.index, at);
            assert!(failed.value <= -1.0, "{failed:?}");
        }
    }
}
