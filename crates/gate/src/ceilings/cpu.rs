//! The processor's ceilings.
//!
//! Each is the best of a few repetitions of a piece of work whose count is known. What the eliminations
//! take from a library (products, triangular solves, QR, pivoted Cholesky) is timed on the library's own
//! call; the blocked Cholesky factorization is timed as they do it, through a solver; loops, reading and
//! the rest are loops here.
//!
//! ```text
//! together          gemm 1024, triangle 8000 x 512, Cholesky 2048, loops and reading on all threads
//! one thread alone  QR 1024 x 128, loops, reading
//! both              pivoted Cholesky 512, substitution 256 x 1024
//! ```
//! About three seconds in all. Work that disturbs it makes a rate worse, never better, so a machine is best
//! measured at rest.

use broadhead_schur::{
    ArrowShape, Ceilings, CrossView, DenseSystem, EliminationKind, Failure, HostCeilings, Ridge,
    RowBlocks, Solver, SolverOptions, SymmetricView,
};
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::cholesky::llt_pivoting::factor as pivoted;
use faer::linalg::matmul::matmul;
use faer::linalg::matmul::triangular::{self, BlockStructure};
use faer::linalg::qr::no_pivoting::factor as qr;
use faer::linalg::triangular_solve::solve_lower_triangular_in_place;
use faer::{Accum, Mat, Par, Spec};
use rayon::prelude::*;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// For how long a piece of work is repeated, at least twice.
const LONG: Duration = Duration::from_millis(150);

/// Order of a diagonal block of a Cholesky factorization, which one thread factors: the planner prices
/// its operations over eight at the rate of loops.
const BLOCK: usize = 128;

/// Measures the processor in the caller's rayon pool: the rates hold for as many threads.
///
/// # Errors
/// What the solver answers where its Cholesky factorization is timed: too little memory.
pub fn measure_cpu() -> Result<HostCeilings, Failure> {
    let _span = tracing::info_span!("ceilings", threads = rayon::current_num_threads()).entered();
    let gemm_flops = product(1024);
    let thread_loop_flops = loops(1);
    let mut together = Ceilings {
        gemm_flops,
        cholesky_share: 1.0,
        loop_flops: loops(rayon::current_num_threads()),
        bandwidth: reading(rayon::current_num_threads()),
        serial_step: serial_step(),
        launch: launch(),
    };
    together.cholesky_share = cholesky_share(2048, &together, thread_loop_flops)?;
    Ok(HostCeilings {
        together,
        triangle_share: (triangle(8000, 512) / gemm_flops).min(1.0),
        qr_flops: qr_of(1024, 128),
        pivoted_flops: pivoted_cholesky(512),
        substitution: substitution(256, 1024, gemm_flops),
        thread_loop_flops,
        thread_bandwidth: reading(1),
    })
}

/// The least time of a piece of work, in seconds, after one run that warms up.
fn best(mut work: impl FnMut()) -> f64 {
    work();
    let (start, mut least, mut count) = (Instant::now(), f64::INFINITY, 0);
    while count < 2 || start.elapsed() < LONG {
        let begin = Instant::now();
        work();
        least = least.min(begin.elapsed().as_secs_f64());
        count += 1;
    }
    least.max(1e-9)
}

fn matrix(rows: usize, columns: usize) -> Mat<f64> {
    Mat::from_fn(rows, columns, |i, j| {
        let off = ((i * 7 + j * 5 + i * j) % 13) as f64 / 13.0;
        off + if i == j { rows as f64 } else { 0.0 }
    })
}

fn product(order: usize) -> f64 {
    let (a, mut c) = (matrix(order, order), Mat::zeros(order, order));
    let par = Par::rayon(0);
    let seconds = best(|| matmul(c.as_mut(), Accum::Replace, &a, &a, 1.0, par));
    black_box(&c);
    2.0 * (order as f64).powi(3) / seconds
}

/// The lower triangle of `X' X`, `X` of `rows x k`.
fn triangle(rows: usize, k: usize) -> f64 {
    let (x, mut c) = (matrix(rows, k), Mat::zeros(k, k));
    let seconds = best(|| {
        triangular::matmul(
            c.as_mut(),
            BlockStructure::TriangularLower,
            Accum::Replace,
            x.transpose(),
            BlockStructure::Rectangular,
            &x,
            BlockStructure::Rectangular,
            1.0,
            Par::rayon(0),
        );
    });
    black_box(&c);
    rows as f64 * (k as f64).powi(2) / seconds
}

/// Seconds of an entry of the solution beyond the products of a triangular solve.
fn substitution(order: usize, columns: usize, product: f64) -> f64 {
    let l = matrix(order, order);
    let mut x = matrix(order, columns);
    let seconds = best(|| solve_lower_triangular_in_place(l.as_ref(), x.as_mut(), Par::rayon(0)));
    black_box(&x);
    let entries = (order * columns) as f64;
    // Where the products are fast beside it, next to nothing may be left.
    (seconds / entries - order as f64 / product).max(0.05 * seconds / entries)
}

/// A QR factorization of `rows x columns` on one thread.
fn qr_of(rows: usize, columns: usize) -> f64 {
    let (a, mut x) = (matrix(rows, columns), Mat::zeros(rows, columns));
    let block = qr::recommended_block_size::<f64>(rows, columns);
    let mut coefficients = Mat::zeros(block, columns);
    let scratch = qr::qr_in_place_scratch::<f64>(rows, columns, block, Par::Seq, Spec::default());
    let mut memory = MemBuffer::new(scratch);
    let seconds = best(|| {
        x.copy_from(&a);
        let stack = MemStack::new(&mut memory);
        qr::qr_in_place(
            x.as_mut(),
            coefficients.as_mut(),
            Par::Seq,
            stack,
            Spec::default(),
        );
    });
    let (m, p) = (columns as f64, rows as f64);
    (2.0 * m * m * p - 2.0 * m.powi(3) / 3.0) / seconds
}

/// A pivoted Cholesky factorization of full rank.
fn pivoted_cholesky(order: usize) -> f64 {
    let (a, mut l) = (matrix(order, order), Mat::zeros(order, order));
    let (mut perm, mut inverse) = (vec![0_usize; order], vec![0_usize; order]);
    let scratch =
        pivoted::cholesky_in_place_scratch::<usize, f64>(order, Par::Seq, Spec::default());
    let mut memory = MemBuffer::new(scratch);
    let seconds = best(|| {
        l.copy_from(&a);
        let stack = MemStack::new(&mut memory);
        let factored = pivoted::cholesky_in_place(
            l.as_mut(),
            &mut perm,
            &mut inverse,
            Par::rayon(0),
            stack,
            Spec::default(),
        );
        black_box(factored.is_ok());
    });
    (order as f64).powi(3) / 3.0 / seconds
}

/// The share of a product's rate that a Cholesky factorization reaches as the eliminations do it, of a
/// border without rows; less what is priced apart: serial steps, traffic and the diagonal blocks.
fn cholesky_share(order: usize, c: &Ceilings, thread_loop_flops: f64) -> Result<f64, Failure> {
    let shape = ArrowShape::uniform(0, 1, order)?;
    let block: Vec<f64> = (0..order * order)
        .map(|i| {
            if i % (order + 1) == 0 {
                order as f64
            } else {
                0.5
            }
        })
        .collect();
    let system = DenseSystem::new(
        &shape,
        RowBlocks::packed(&[]),
        CrossView::row_major(&[], 0, order)?,
        SymmetricView::row_major(&block, order)?,
    )?;
    let options = SolverOptions {
        elimination: Some(EliminationKind::Rows),
        ..SolverOptions::default()
    };
    let mut solver = Solver::new(&system.into(), options)?;
    let mut base = solver.refresh(system)?;
    let mut failed = None;
    let seconds = best(|| failed = base.factor(Ridge::ZERO).err());
    if let Some(failure) = failed {
        return Err(failure);
    }
    let n = order as f64;
    let apart = n * c.serial_step
        + 20.0 * n * n / c.bandwidth
        + n * (BLOCK * BLOCK) as f64 / 8.0 / thread_loop_flops;
    let products = n.powi(3) / 3.0 / c.gemm_flops;
    Ok((products / (seconds - apart).max(products)).max(0.05))
}

/// Bytes a second that `threads` parts of an array larger than the caches are read at.
fn reading(threads: usize) -> f64 {
    let data = vec![1.0_f64; 1 << 25];
    let part = data.len().div_ceil(threads);
    let sum = |x: &[f64]| {
        let mut lanes = [0.0; 16];
        for x in x.as_chunks::<16>().0 {
            lanes.iter_mut().zip(x).for_each(|(lane, x)| *lane += x);
        }
        lanes.iter().sum::<f64>()
    };
    let seconds = best(|| {
        black_box(data.par_chunks(part).map(sum).sum::<f64>());
    });
    8.0 * data.len() as f64 / seconds
}

/// Rows of four entries scattered into a small table each, as sparse features are, by `threads` at once.
fn loops(threads: usize) -> f64 {
    const ROWS: usize = 1 << 16;
    let index: Vec<usize> = (0..4 * ROWS).map(|i| (i * 2_654_435_761) % 97).collect();
    let mut tables = vec![vec![0.0_f64; 97 * 97]; threads];
    let seconds = best(|| {
        tables.par_iter_mut().with_max_len(1).for_each(|table| {
            for row in index.chunks_exact(4) {
                for &a in row {
                    for &b in row {
                        table[a * 97 + b] += 0.5;
                    }
                }
            }
        });
        black_box(&tables);
    });
    // 2 operations an entry.
    (2 * 16 * ROWS * threads) as f64 / seconds
}

/// A chain of dependent divisions: one pivot after another.
fn serial_step() -> f64 {
    const STEPS: usize = 1 << 16;
    best(|| {
        let mut x = 1.5_f64;
        for _ in 0..STEPS {
            x = 1.0 + 1.0 / x;
        }
        black_box(x);
    }) / STEPS as f64
}

/// An empty parallel region.
fn launch() -> f64 {
    const REGIONS: usize = 200;
    best(|| {
        for _ in 0..REGIONS {
            (0..rayon::current_num_threads())
                .into_par_iter()
                .for_each(|i| {
                    black_box(i);
                });
        }
    }) / REGIONS as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_measured_ceiling_is_a_positive_number() {
        let found = measure_cpu().unwrap();
        let value = serde_json::to_value(found).unwrap();
        let all = value.as_object().unwrap();
        let together = all["together"].as_object().unwrap();
        let numbers = all.iter().filter(|(name, _)| *name != "together");
        for (name, value) in numbers.chain(together) {
            let value = value.as_f64().unwrap();
            assert!(value.is_finite() && value > 0.0, "{name} is {value}");
        }
        let c = found.together;
        assert!(c.cholesky_share <= 1.0 && found.triangle_share <= 1.0);
        assert!(c.gemm_flops > c.loop_flops, "{found:?}");
        assert!(c.gemm_flops > found.qr_flops, "{found:?}");
        assert!(c.gemm_flops > found.pivoted_flops, "{found:?}");
    }
}
