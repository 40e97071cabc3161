//! Leading principal components of the rows, by subspace iteration.
//!
//! From a seeded random `p x q` basis, `Q <- orth(Xc' Xc Q)` runs a fixed number of times, followed by the
//! eigenvectors of `Q' Xc' Xc Q`. Starts need the leading subspace to a few digits only, so this
//! costs `O(n p q)` where a full decomposition would cost `O(n p min(n, p))`. The basis is drawn in
//! the space of columns, so a permutation of the rows permutes the scores and changes nothing else.

use crate::data::store::{TileMemory, product_rows};
use crate::data::{Data, axpy, dot};
use faer::linalg::evd::EvdError;
use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatMut, MatRef, Par, Side};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use rayon::prelude::*;

/// Scores of the rows on the leading components.
#[derive(Clone, Debug)]
pub(crate) struct Principal {
    /// `n x q`, row-major, centred.
    scores: Vec<f64>,
    rows: usize,
    /// Standard deviations of the scores, largest first.
    deviations: Vec<f64>,
}

/// Rounds of subspace iteration.
const ROUNDS: usize = 10;

impl Principal {
    /// At most `wanted` components of `data`; fewer where the rows span fewer dimensions.
    pub(crate) fn of(data: &Data, wanted: usize) -> Self {
        let (n, p) = (data.rows(), data.outputs());
        let q = wanted.min(p).min(n.saturating_sub(1));
        let mut rng = ChaCha8Rng::seed_from_u64(0x5eed);
        let mut basis: Vec<Vec<f64>> = (0..q)
            .map(|_| (0..p).map(|_| StandardNormal.sample(&mut rng)).collect())
            .collect();
        orthonormalise(&mut basis);
        let mut scores = vec![0.0; n * q];
        for _ in 0..ROUNDS {
            project(data, &basis, &mut scores);
            basis = back_project(data, &scores, basis.len());
            let before = basis.len();
            orthonormalise(&mut basis);
            if basis.len() < before {
                scores.truncate(n * basis.len());
            }
        }
        project(data, &basis, &mut scores);
        Self::rotated(scores, n, basis.len())
    }

    /// Rotates scores onto the eigenvectors of their covariance.
    fn rotated(scores: Vec<f64>, n: usize, q: usize) -> Self {
        if q == 0 {
            return Self {
                scores: Vec::new(),
                rows: n,
                deviations: Vec::new(),
            };
        }
        let from = MatRef::from_row_major_slice(&scores, n, q);
        let mut covariance = Mat::<f64>::zeros(q, q);
        let scale = 1.0 / n as f64;
        matmul(
            covariance.as_mut(),
            Accum::Replace,
            from.transpose(),
            from,
            scale,
            Par::Seq,
        );
        let Ok((values, vectors)) = descending(&covariance) else {
            // Without eigenvectors the scores are used as they are: starts need some basis, not this one.
            let deviations = (0..q).map(|c| covariance[(c, c)].max(0.0).sqrt()).collect();
            return Self {
                scores,
                rows: n,
                deviations,
            };
        };
        let mut rotated = vec![0.0; n * q];
        let into = MatMut::from_row_major_slice_mut(&mut rotated, n, q);
        matmul(into, Accum::Replace, from, vectors.as_ref(), 1.0, Par::Seq);
        Self {
            scores: rotated,
            rows: n,
            deviations: values.iter().map(|v| v.max(0.0).sqrt()).collect(),
        }
    }

    /// The number of components.
    pub(crate) fn len(&self) -> usize {
        self.deviations.len()
    }

    /// The scores of row `i`.
    pub(crate) fn row(&self, i: usize) -> &[f64] {
        &self.scores[i * self.len()..][..self.len()]
    }

    /// The scores of row `i`, component `c`, at unit variance.
    pub(crate) fn standard(&self, i: usize, c: usize) -> f64 {
        let deviation = self.deviations[c];
        if deviation > 0.0 {
            self.row(i)[c] / deviation
        } else {
            0.0
        }
    }

    /// The scores of some rows about the *overall* mean, rotated onto the `components` directions in which
    /// these rows are largest.
    pub(crate) fn local(&self, members: &[usize], components: usize) -> Self {
        let q = self.len();
        let mut scores = Vec::with_capacity(members.len() * q);
        for &i in members {
            scores.extend_from_slice(self.row(i));
        }
        let all = Self::rotated(scores, members.len(), q);
        let keep = components.min(q);
        let kept = (0..members.len())
            .flat_map(|i| all.row(i)[..keep].to_vec())
            .collect::<Vec<f64>>();
        Self {
            scores: kept,
            rows: members.len(),
            deviations: all.deviations[..keep].to_vec(),
        }
    }

    /// The number of rows.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }
}

/// Eigenvalues and eigenvectors of a symmetric matrix, largest first, each vector's largest entry
/// positive.
///
/// # Errors
/// The eigenvalue iteration does not converge.
pub(crate) fn descending(matrix: &Mat<f64>) -> Result<(Vec<f64>, Mat<f64>), EvdError> {
    let eigen = matrix.self_adjoint_eigen(Side::Lower)?;
    let q = matrix.nrows();
    let values: Vec<f64> = (0..q).map(|c| eigen.S()[q - 1 - c]).collect();
    let mut vectors = Mat::from_fn(q, q, |r, c| eigen.U()[(r, q - 1 - c)]);
    for c in 0..q {
        let column = vectors.col_as_slice_mut(c);
        let largest = column
            .iter()
            .fold(0.0_f64, |m, &v| if v.abs() > m.abs() { v } else { m });
        if largest < 0.0 {
            column.iter_mut().for_each(|v| *v = -*v);
        }
    }
    Ok((values, vectors))
}

/// Scores `(x_i - mean)' q_c`.
fn project(data: &Data, basis: &[Vec<f64>], scores: &mut [f64]) {
    let q = basis.len();
    if q == 0 {
        return;
    }
    let shift: Vec<f64> = basis.iter().map(|b| dot(b, data.mean())).collect();
    let flat: Vec<f64> = basis.concat();
    let (p, chunk) = (data.outputs(), 256);
    let basis = MatRef::from_row_major_slice(&flat, q, p);
    scores.par_chunks_mut(chunk * q).enumerate().for_each_init(
        TileMemory::default,
        |tile, (c, scores)| {
            let (first, count) = (c * chunk, scores.len() / q);
            let x = MatRef::from_row_major_slice(data.tile(first, count, tile), count, p);
            let into = MatMut::from_row_major_slice_mut(scores, count, q);
            matmul(into, Accum::Replace, x, basis.transpose(), 1.0, Par::Seq);
            for row in scores.chunks_exact_mut(q) {
                row.iter_mut().zip(&shift).for_each(|(s, m)| *s -= m);
            }
        },
    );
}

/// `Xc' scores`, one vector per component. Many rows are multiplied block by block.
fn back_project(data: &Data, scores: &[f64], q: usize) -> Vec<Vec<f64>> {
    if q == 0 {
        return Vec::new();
    }
    let (n, p) = (data.rows(), data.outputs());
    let tile = 64;
    let scores_of = MatRef::from_row_major_slice(scores, n, q);
    let mut parts: Vec<Vec<f64>> = (0..p.div_ceil(tile))
        .map(|t| vec![0.0; q * tile.min(p - t * tile)])
        .collect();
    let mut add = |first: usize, x: MatRef<'_, f64>| {
        let scores = scores_of.subrows(first, x.nrows()).transpose();
        let accum = match first {
            0 => Accum::Replace,
            _ => Accum::Add,
        };
        parts.par_iter_mut().enumerate().for_each(|(t, part)| {
            let width = part.len() / q;
            let into = MatMut::from_row_major_slice_mut(part, q, width);
            matmul(
                into,
                accum,
                scores,
                x.subcols(t * tile, width),
                1.0,
                Par::Seq,
            );
        });
    };
    match data.wide() {
        Some(x) => add(0, MatRef::from_row_major_slice(x, n, p)),
        None => {
            let block = product_rows(n, p);
            let mut x = vec![0.0; block * p];
            for first in (0..n).step_by(block) {
                let count = block.min(n - first);
                data.fill(first, &mut x[..count * p]);
                add(
                    first,
                    MatRef::from_row_major_slice(&x[..count * p], count, p),
                );
            }
        }
    }
    let mut totals = vec![0.0; q];
    for row in scores.chunks_exact(q) {
        axpy(1.0, row, &mut totals);
    }
    (0..q)
        .map(|c| {
            let mut vector = Vec::with_capacity(p);
            for part in &parts {
                let width = part.len() / q;
                vector.extend_from_slice(&part[c * width..][..width]);
            }
            axpy(-totals[c], data.mean(), &mut vector);
            vector
        })
        .collect()
}

/// Gram-Schmidt, twice; vectors that depend on the previous ones are dropped.
fn orthonormalise(basis: &mut Vec<Vec<f64>>) {
    let mut kept: Vec<Vec<f64>> = Vec::with_capacity(basis.len());
    for mut vector in std::mem::take(basis) {
        let before = dot(&vector, &vector).sqrt();
        for _ in 0..2 {
            for other in &kept {
                let along = dot(other, &vector);
                axpy(-along, other, &mut vector);
            }
        }
        let after = dot(&vector, &vector).sqrt();
        if after > 1e-10 * before && after > 0.0 {
            vector.iter_mut().for_each(|v| *v /= after);
            kept.push(vector);
        }
    }
    *basis = kept;
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;

    /// Three orthogonal directions of known spread.
    fn data() -> Data {
        let raw = Array2::from_shape_fn((60, 7), |(i, j)| {
            let t = i as f64 * std::f64::consts::TAU / 60.0;
            let parts = [9.0 * t.cos(), 4.0 * t.sin(), (2.0 * t).cos()];
            5.0 + if j < 3 { parts[j] } else { 0.0 }
        });
        Data::normalised(raw.view()).unwrap()
    }

    #[test]
    fn components_come_largest_first_with_their_spread() {
        let data = data();
        let principal = Principal::of(&data, 5);
        assert_eq!(principal.len(), 3, "the rows span three dimensions");
        let half = 0.5_f64.sqrt() / data.scale();
        for (got, want) in principal
            .deviations
            .iter()
            .zip([9.0 * half, 4.0 * half, half])
        {
            assert!((got - want).abs() < 1e-12, "{got} {want}");
        }
        for i in 0..60 {
            let radius = (0..2)
                .map(|c| principal.standard(i, c).powi(2))
                .sum::<f64>();
            assert!((radius - 2.0).abs() < 1e-10);
        }
    }

    #[test]
    fn permuting_rows_permutes_scores() {
        let data = data();
        let order: Vec<usize> = (0..60).map(|i| (i * 7) % 60).collect();
        let (a, b) = (
            Principal::of(&data, 3),
            Principal::of(&data.subset(&order), 3),
        );
        for (to, &from) in order.iter().enumerate() {
            for c in 0..3 {
                assert!((a.row(from)[c] - b.row(to)[c]).abs() < 1e-9);
            }
        }
    }

    #[test]
    fn one_row_has_no_component() {
        let one = data().subset(&[3]);
        assert_eq!(Principal::of(&one, 4).len(), 0);
    }
}
