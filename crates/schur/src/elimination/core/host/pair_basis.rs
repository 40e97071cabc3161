//! The basis in which the core over pairs takes $`K`$.
//!
//! ```text
//!   pairs (m, a) of one a are a run, a square block a run:      N = blockdiag(diag(s_a) T_a)
//!
//!   Q_aa = diag(s_a) T_a Lambda T_a' diag(s_a)                  T_a' T_a = I, s_a the roots of diag Q_aa
//! ```
//!
//! Why it is this one: [`super::pairs`].

use crate::host::structured::times;
use faer::diag::DiagMut;
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::evd;
use faer::prelude::*;
use faer::{Mat, MatMut, MatRef, Par, Spec};

/// Block diagonal: a square block for each run of pairs with one feature $`a`$.
#[derive(Debug, Default)]
pub(crate) struct PairBasis {
    /// Where each run begins, and the number of pairs.
    starts: Vec<usize>,
    /// The blocks, column-major, one after another.
    blocks: Vec<f64>,
}

impl PairBasis {
    /// Takes note of the runs; their blocks have no numbers yet.
    pub(crate) fn set_runs(&mut self, pairs: &[(usize, usize)]) {
        self.starts.clear();
        let begins = |&i: &usize| i == 0 || pairs[i].1 != pairs[i - 1].1;
        self.starts.extend((0..pairs.len()).filter(begins));
        self.starts.push(pairs.len());
        let len = self.runs().map(|(start, end)| (end - start).pow(2)).sum();
        self.blocks.resize(len, 0.0);
    }

    /// Numbers of all blocks.
    pub(crate) fn blocks_len(&self) -> usize {
        self.blocks.len()
    }

    /// First pair of each run, and the one after its last.
    fn runs(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        self.starts.windows(2).map(|run| (run[0], run[1]))
    }

    /// Each run, with its block.
    fn blocks(&self) -> impl Iterator<Item = (usize, MatRef<'_, f64>)> + '_ {
        let mut rest = self.blocks.as_slice();
        self.runs().map(move |(start, end)| {
            let (block, after) = rest.split_at((end - start).pow(2));
            rest = after;
            let block = MatRef::from_column_major_slice(block, end - start, end - start);
            (start, block)
        })
    }

    /// Each block the eigenvectors of the diagonal block of `q` (lower triangle) in its place. Any
    /// orthogonal matrix gives the same $`Z`$ but for rounding, and the identity is taken where
    /// there are no eigenvectors because numbers overflowed.
    pub(crate) fn diagonalize(&mut self, q: MatRef<'_, f64>) {
        let Self { starts, blocks } = self;
        let largest = starts.windows(2).map(|run| run[1] - run[0]).max();
        let largest = largest.unwrap_or(0);
        if largest == 0 {
            return;
        }
        let yes = evd::ComputeEigenvectors::Yes;
        let scratch = evd::self_adjoint_evd_scratch::<f64>(largest, yes, Par::Seq, Spec::default());
        let (mut memory, mut values) = (MemBuffer::new(scratch), vec![0.0; largest]);
        let mut rest = blocks.as_mut_slice();
        for run in starts.windows(2) {
            let (start, len) = (run[0], run[1] - run[0]);
            let (block, after) = rest.split_at_mut(len * len);
            rest = after;
            let mut block = MatMut::from_column_major_slice_mut(block, len, len);
            let q = q.submatrix(start, start, len, len);
            let finite = (0..len).all(|j| (j..len).all(|i| q[(i, j)].is_finite()));
            let found = finite
                && evd::self_adjoint_evd(
                    q,
                    DiagMut::from_slice_mut(&mut values[..len]),
                    Some(block.rb_mut()),
                    Par::Seq,
                    MemStack::new(&mut memory),
                    Spec::default(),
                )
                .is_ok();
            if !found {
                block.copy_from(Mat::<f64>::identity(len, len));
            }
        }
    }

    /// Line `i` of the whole times `scale[i]`.
    pub(crate) fn scale_lines(&mut self, scale: &[f64]) {
        let mut rest = self.blocks.as_mut_slice();
        for run in self.starts.windows(2) {
            let len = run[1] - run[0];
            let (block, after) = rest.split_at_mut(len * len);
            rest = after;
            for column in block.chunks_exact_mut(len) {
                let lines = column.iter_mut().zip(&scale[run[0]..run[1]]);
                lines.for_each(|(x, scale)| *x *= scale);
            }
        }
    }

    /// $`A \leftarrow N' A`$.
    pub(crate) fn transpose_times(&self, a: &mut Mat<f64>) {
        for (start, block) in self.blocks() {
            let mut lines = a.subrows_mut(start, block.nrows());
            let product = times(block.transpose(), lines.rb());
            lines.copy_from(product);
        }
    }

    /// $`N A`$.
    pub(crate) fn times(&self, a: MatRef<'_, f64>) -> Mat<f64> {
        let mut out = Mat::zeros(a.nrows(), a.ncols());
        for (start, block) in self.blocks() {
            let lines = a.subrows(start, block.nrows());
            out.subrows_mut(start, block.nrows())
                .copy_from(times(block, lines));
        }
        out
    }

    /// Column $`i`$ of $`N`$ into column $`i`$ of `out`, each pair $`(m, a)`$ at line $`m`$.
    pub(crate) fn write(&self, pairs: &[(usize, usize)], mut out: MatMut<'_, f64>) {
        for (start, block) in self.blocks() {
            for j in 0..block.ncols() {
                for i in 0..block.nrows() {
                    out[(pairs[start + i].0, start + j)] = block[(i, j)];
                }
            }
        }
    }
}
