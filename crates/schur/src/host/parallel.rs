//! Work shared out among the threads of the pool: how a product runs, and tasks over rows and pieces.
//!
//! Tasks depend on shapes alone and answer in order, so that what is summed of their answers has the same
//! bits for any number of threads. Each begins with released registers (see [`super::registers`]): a thread
//! may have multiplied matrices for another caller before. A product of matrices ends with released ones.

use super::registers::release_upper_parts;
use crate::RowDims;
use faer::{Accum, MatMut, MatRef, Par};
use rayon::prelude::*;

/// Multiplications that are over before another thread has woken.
const FEW: usize = 1 << 18;

/// How a matrix product with a `rows x cols` result of `depth` terms an entry runs: in parallel, but
/// alone where that is little work, and where the result is a vector, whose sums faer would split by
/// the number of threads.
pub(crate) fn product_par(rows: usize, depth: usize, cols: usize) -> Par {
    let work = rows.saturating_mul(depth).saturating_mul(cols);
    if rows > 1 && cols > 1 && work > FEW {
        Par::rayon(0)
    } else {
        Par::Seq
    }
}

/// Rows in one parallel task where each costs little.
pub(crate) const ROW_CHUNK: usize = 1024;

/// Runs `work` over fixed chunks of `0..n` in parallel; the results in order. The chunks depend on
/// `n` alone, so a fold over the results has the same bits for any number of threads.
pub(crate) fn par_ordered<T: Send>(
    n: usize,
    chunk: usize,
    work: impl Fn(std::ops::Range<usize>) -> T + Sync,
) -> Vec<T> {
    let chunk = chunk.max(1);
    (0..n.div_ceil(chunk))
        .into_par_iter()
        .map(|c| {
            release_upper_parts();
            work(c * chunk..((c + 1) * chunk).min(n))
        })
        .collect()
}

/// The first answer, in the order of `0..n`, that `work` finds in chunks of it searched in
/// parallel. Allocates nothing.
pub(crate) fn par_first<T: Send>(
    n: usize,
    chunk: usize,
    work: &(impl Fn(std::ops::Range<usize>) -> Option<T> + Sync),
) -> Option<T> {
    fn split<T: Send>(
        range: std::ops::Range<usize>,
        chunk: usize,
        work: &(impl Fn(std::ops::Range<usize>) -> Option<T> + Sync),
    ) -> Option<T> {
        if range.len() <= chunk {
            release_upper_parts();
            return work(range);
        }
        let middle = range.start + range.len() / 2;
        let (left, right) = rayon::join(
            || split(range.start..middle, chunk, work),
            || split(middle..range.end, chunk, work),
        );
        left.or(right)
    }
    split(0..n, chunk.max(1), work)
}

/// Visits every row's part of `data` (`width` numbers per unknown) in parallel.
pub(crate) fn par_rows(
    rows: &RowDims,
    width: usize,
    data: &mut [f64],
    chunk: usize,
    visit: impl Fn(usize, &mut [f64]) + Sync,
) {
    fn split(
        rows: &RowDims,
        range: std::ops::Range<usize>,
        width: usize,
        data: &mut [f64],
        chunk: usize,
        visit: &(impl Fn(usize, &mut [f64]) + Sync),
    ) {
        if range.len() <= chunk {
            release_upper_parts();
            let mut rest = data;
            for i in range {
                let (part, after) = rest.split_at_mut(rows.dim(i) * width);
                visit(i, part);
                rest = after;
            }
            return;
        }
        let middle = range.start + range.len() / 2;
        let here = (rows.offset(middle) - rows.offset(range.start)) * width;
        let (left, right) = data.split_at_mut(here);
        rayon::join(
            || split(rows, range.start..middle, width, left, chunk, visit),
            || split(rows, middle..range.end, width, right, chunk, visit),
        );
    }
    split(rows, 0..rows.rows(), width, data, chunk.max(1), &visit);
}

/// What `work` makes of every item, a task each, in order.
pub(crate) fn par_map<I: IndexedParallelIterator, T: Send>(
    items: I,
    work: impl Fn(I::Item) -> T + Sync + Send,
) -> Vec<T> {
    items
        .map(|item| {
            release_upper_parts();
            work(item)
        })
        .collect()
}

/// Hands every item to `work`, a task each.
pub(crate) fn par_each<I: ParallelIterator>(items: I, work: impl Fn(I::Item) + Sync + Send) {
    items.for_each(|item| {
        release_upper_parts();
        work(item);
    });
}

/// [`par_each`] with what `init` makes, once for every run of items that one thread takes.
pub(crate) fn par_each_init<I: ParallelIterator, S>(
    items: I,
    init: impl Fn() -> S + Sync + Send,
    work: impl Fn(&mut S, I::Item) + Sync + Send,
) {
    let init = || {
        release_upper_parts();
        init()
    };
    items.for_each_init(init, work);
}

/// Runs `work` on this thread, with released registers before it and after.
pub(crate) fn released<T>(work: impl FnOnce() -> T) -> T {
    release_upper_parts();
    let answer = work();
    release_upper_parts();
    answer
}

/// faer's product of matrices, $`C \leftarrow \alpha A B`$ or added to $`C`$, after which the registers are
/// released.
pub(crate) fn gemm(
    c: MatMut<'_, f64>,
    accum: Accum,
    a: MatRef<'_, f64>,
    b: MatRef<'_, f64>,
    alpha: f64,
    par: Par,
) {
    faer::linalg::matmul::matmul(c, accum, a, b, alpha, par);
    release_upper_parts();
}
