//! Cholesky factors of the row blocks, $`D_i + \rho_t I = L_i L_i'`$.

use crate::host::blas1::{larger, largest};
use crate::host::bump::{LEAST_BUMP, least_bump};
use crate::host::parallel::{ROW_CHUNK, par_rows};
use crate::host::registers::release_upper_parts;
use crate::host::small_cholesky::{self, is_pivot};
use crate::{
    Error, Failure, LogDeterminant, NotPositiveDefinite, Pivot, PivotSite, RowBlocks, RowDims,
};

/// The factors $`L_i`$, packed: row-major `d_i x d_i`, lower triangles.
#[derive(Debug)]
pub(crate) struct RowFactors {
    rows: RowDims,
    factors: Vec<f64>,
    /// One a chunk of rows.
    summaries: Vec<Summary>,
    growth: f64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Summary {
    log_determinant: LogDeterminant,
    least: Option<Pivot>,
    failed: Option<Pivot>,
    /// The largest [`growth_of`] of any block.
    growth: f64,
}

/// The largest block whose growth is asked for.
const GROWTH_DIM: usize = 8;

impl Summary {
    fn then(mut self, next: Self) -> Self {
        self.log_determinant = self.log_determinant + next.log_determinant;
        self.least = Pivot::least(self.least, next.least);
        self.failed = self.failed.or(next.failed);
        self.growth = self.growth.max(next.growth);
        self
    }
}

impl RowFactors {
    pub(crate) fn bytes(rows: &RowDims) -> u64 {
        let summaries = rows.rows().div_ceil(ROW_CHUNK) * size_of::<Summary>();
        (rows.block_len() as u64)
            .saturating_mul(8)
            .saturating_add(summaries as u64)
    }

    pub(crate) fn new(rows: &RowDims) -> Self {
        Self {
            rows: rows.clone(),
            factors: vec![0.0; rows.block_len()],
            summaries: vec![Summary::default(); rows.rows().div_ceil(ROW_CHUNK)],
            growth: f64::INFINITY,
        }
    }

    /// $`L_i`$, row-major.
    #[inline]
    pub(crate) fn factor_of(&self, i: usize) -> &[f64] {
        &self.factors[self.rows.block_offset(i)..self.rows.block_offset(i + 1)]
    }

    /// Factors every block at ridge `rho`.
    pub(crate) fn factor(
        &mut self,
        blocks: RowBlocks<'_>,
        rho: f64,
    ) -> Result<(LogDeterminant, Option<Pivot>), Failure> {
        let summary = self.factor_all(blocks, rho);
        self.growth = summary.growth;
        let Some(Pivot { site, value }) = summary.failed else {
            return Ok((summary.log_determinant, summary.least));
        };
        if !value.is_finite() {
            return Err(Error::Overflow {
                what: "a pivot of a row",
            }
            .into());
        }
        let scale = self.largest_diagonal(blocks);
        let floor = LEAST_BUMP * failing_diagonal(&self.rows, blocks, rho);
        let bump = least_bump(scale, floor, |bump| self.try_factor(blocks, rho + bump));
        Err(NotPositiveDefinite {
            site,
            value,
            bump,
            whole: None,
        }
        .into())
    }

    /// Factors every block at ridge `rho`; whether all did.
    pub(crate) fn try_factor(&mut self, blocks: RowBlocks<'_>, rho: f64) -> bool {
        let summary = self.factor_all(blocks, rho);
        self.growth = summary.growth;
        summary.failed.is_none()
    }

    fn factor_all(&mut self, blocks: RowBlocks<'_>, rho: f64) -> Summary {
        let Self {
            rows,
            factors,
            summaries,
            ..
        } = self;
        let rows = &*rows;
        par_row_chunks(
            rows,
            factors,
            RowDims::block_offset,
            summaries,
            &|range, factors| {
                let mut summary = Summary::default();
                let mut rest = factors;
                for i in range {
                    let d = rows.dim(i);
                    let (l, after) = rest.split_at_mut(d * d);
                    rest = after;
                    match blocks.as_packed() {
                        Some(packed) => {
                            let at = rows.block_offset(i);
                            l.copy_from_slice(&packed[at..at + d * d]);
                        }
                        None => {
                            for a in 0..d {
                                for b in 0..=a {
                                    l[a * d + b] = blocks.get(rows, i, a, b);
                                }
                            }
                        }
                    }
                    factor_block(l, d, rho, i, &mut summary);
                    if summary.failed.is_none() {
                        summary.growth = summary.growth.max(growth_of(l, d));
                    }
                }
                summary
            },
        );
        summaries
            .iter()
            .fold(Summary::default(), |all, next| all.then(*next))
    }

    fn largest_diagonal(&self, blocks: RowBlocks<'_>) -> f64 {
        let rows = &self.rows;
        let entries =
            (0..rows.rows()).flat_map(|i| (0..rows.dim(i)).map(move |a| blocks.get(rows, i, a, a)));
        largest(entries)
    }

    /// The largest $`\| |L_i^{-1}| |L_i| \|_\infty`$, or a bound of it: how much larger a solution
    /// of the rows' equations may err where $`D_i^{-1}`$ meets rounding errors of the size of $`B_i x`$
    /// instead of $`L_i^{-T}`$ those of $`Y_i x`$. 1 where all blocks are of order 1 or diagonal.
    pub(crate) fn growth(&self) -> f64 {
        self.growth
    }

    /// $`x_i \leftarrow L_i^{-1} x_i`$ for the row part of one vector.
    pub(crate) fn solve_lower(&self, x: &mut [f64]) {
        par_rows(&self.rows, 1, x, ROW_CHUNK, |i, x| {
            small_cholesky::solve_lower(self.factor_of(i), x);
        });
    }

    /// $`x_i \leftarrow L_i^{-T} x_i`$ for the row part of one vector.
    pub(crate) fn solve_upper(&self, x: &mut [f64]) {
        par_rows(&self.rows, 1, x, ROW_CHUNK, |i, x| {
            small_cholesky::solve_upper(self.factor_of(i), x);
        });
    }

    /// $`x_i \leftarrow L_i^{-1} x_i`$ for the row parts of `m` interleaved vectors.
    pub(crate) fn solve_lower_many(&self, x: &mut [f64], m: usize) {
        par_rows(&self.rows, m, x, ROW_CHUNK / m.max(1), |i, x| {
            small_cholesky::solve_lower_many(self.factor_of(i), x, m);
        });
    }

    /// $`x_i \leftarrow L_i^{-T} x_i`$ for the row parts of `m` interleaved vectors.
    pub(crate) fn solve_upper_many(&self, x: &mut [f64], m: usize) {
        par_rows(&self.rows, m, x, ROW_CHUNK / m.max(1), |i, x| {
            small_cholesky::solve_upper_many(self.factor_of(i), x, m);
        });
    }

    /// $`x \leftarrow (L_i L_i')^{-1} x`$ for the parts of one row of `m` interleaved vectors.
    pub(crate) fn solve_block_many(&self, i: usize, x: &mut [f64], m: usize) {
        small_cholesky::solve_lower_many(self.factor_of(i), x, m);
        small_cholesky::solve_upper_many(self.factor_of(i), x, m);
    }

    /// $`x \leftarrow L_i^{-1} x`$ for the part of one row.
    #[inline]
    pub(crate) fn solve_block_lower(&self, i: usize, x: &mut [f64]) {
        small_cholesky::solve_lower(self.factor_of(i), x);
    }

    /// $`x \leftarrow L_i^{-T} x`$ for the part of one row.
    #[inline]
    pub(crate) fn solve_block_upper(&self, i: usize, x: &mut [f64]) {
        small_cholesky::solve_upper(self.factor_of(i), x);
    }

    /// $`x \leftarrow (L_i L_i')^{-1} x`$ for the part of one row.
    #[inline]
    pub(crate) fn solve_block(&self, i: usize, x: &mut [f64]) {
        small_cholesky::solve_lower(self.factor_of(i), x);
        small_cholesky::solve_upper(self.factor_of(i), x);
    }
}

/// A bound of $`\| |L^{-1}| |L| \|_\infty`$ for a row-major lower `L` of order `d`, by its comparison
/// matrix (Higham, *Accuracy and Stability*, section 8.3): `w` solves $`M(L) w = |L| 1`$. Infinite
/// beyond [`GROWTH_DIM`].
fn growth_of(l: &[f64], d: usize) -> f64 {
    if d > GROWTH_DIM {
        return f64::INFINITY;
    }
    let mut w = [0.0; GROWTH_DIM];
    // Infinite before it is NaN, and a maximum that passes over NaN keeps that.
    let mut largest = 1.0_f64;
    for a in 0..d {
        let line = &l[a * d..a * d + a];
        let pivot = l[a * d + a];
        let size: f64 = line.iter().map(|l| l.abs()).sum();
        let carried: f64 = line.iter().zip(&w).map(|(l, w)| l.abs() * w).sum();
        w[a] = (size + pivot + carried) / pivot;
        largest = largest.max(w[a]);
    }
    largest
}

/// The largest diagonal entry, without ridge, of the blocks that do not factor at ridge `rho`.
pub(crate) fn failing_diagonal(rows: &RowDims, blocks: RowBlocks<'_>, rho: f64) -> f64 {
    let (mut l, mut found) = (Vec::new(), 0.0);
    for i in 0..rows.rows() {
        let d = rows.dim(i);
        l.clear();
        l.extend((0..d * d).map(|e| blocks.get(rows, i, e / d, e % d)));
        let mut summary = Summary::default();
        factor_block(&mut l, d, rho, i, &mut summary);
        if summary.failed.is_some() {
            let own = largest((0..d).map(|a| blocks.get(rows, i, a, a)));
            found = larger(found, own);
        }
    }
    found
}

/// Factors one block in place, row-major lower, and adds what its pivots say to the summary.
#[inline]
fn factor_block(l: &mut [f64], d: usize, rho: f64, row: usize, summary: &mut Summary) {
    small_cholesky::factor(l, d, rho, |a, value| {
        let pivot = Pivot {
            site: PivotSite::Row { row, pivot: a },
            value,
        };
        if !is_pivot(value) {
            summary.failed = summary.failed.or(Some(pivot));
            return false;
        }
        summary.log_determinant.add_cholesky(value.sqrt(), 1.0);
        summary.least = Pivot::least(summary.least, Some(pivot));
        true
    });
}

/// Visits chunks of [`ROW_CHUNK`] rows in parallel with their part of `data` (row `i` begins at
/// `offset(rows, i)`), and writes what each answers to `out`, one a chunk.
fn par_row_chunks<T: Send>(
    rows: &RowDims,
    data: &mut [f64],
    offset: fn(&RowDims, usize) -> usize,
    out: &mut [T],
    visit: &(impl Fn(std::ops::Range<usize>, &mut [f64]) -> T + Sync),
) {
    fn split<T: Send>(
        rows: &RowDims,
        first: usize,
        data: &mut [f64],
        offset: fn(&RowDims, usize) -> usize,
        out: &mut [T],
        visit: &(impl Fn(std::ops::Range<usize>, &mut [f64]) -> T + Sync),
    ) {
        match out {
            [] => {}
            [out] => {
                release_upper_parts();
                let start = first * ROW_CHUNK;
                *out = visit(start..(start + ROW_CHUNK).min(rows.rows()), data);
            }
            _ => {
                let middle = out.len() / 2;
                let start = offset(rows, first * ROW_CHUNK);
                let edge = offset(rows, (first + middle) * ROW_CHUNK) - start;
                let (left, right) = data.split_at_mut(edge);
                let (out_left, out_right) = out.split_at_mut(middle);
                rayon::join(
                    || split(rows, first, left, offset, out_left, visit),
                    || split(rows, first + middle, right, offset, out_right, visit),
                );
            }
        }
    }
    split(rows, 0, data, offset, out, visit);
}

#[cfg(test)]
mod tests {
    use super::growth_of;

    #[test]
    fn growth_bounds_the_inverse_times_the_factor() {
        assert_eq!(growth_of(&[], 0), 1.0);
        assert_eq!(growth_of(&[3.0], 1), 1.0);
        assert_eq!(growth_of(&[3.0, 0.0, 0.0, 5.0], 2), 1.0);
        // |L^-1| |L| for L = [1 0; 3 1]: the second row is (3 + 3, 1).
        assert_eq!(growth_of(&[1.0, 0.0, -3.0, 1.0], 2), 7.0);
        // Scaling a row changes nothing.
        assert_eq!(growth_of(&[8.0, 0.0, -3.0, 1.0], 2), 7.0);
        assert!(growth_of(&[1.0; 81], 9).is_infinite());
    }
}
