//! The CPU's ceilings.
//!
//! Each is the best of a few repetitions of a piece of work whose count is known: a matrix product,
//! a Cholesky factorization, a sum over an array larger than the caches, a loop over short rows,
//! an empty parallel region. About a second in all.

use broadhead_schur::Ceilings;
use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, Par, Side};
use rayon::prelude::*;
use std::hint::black_box;
use std::time::Instant;

/// Measures the processor in the caller's rayon pool.
pub fn measure_cpu() -> Ceilings {
    let gemm_flops = gemm();
    Ceilings {
        gemm_flops,
        cholesky_share: (cholesky() / gemm_flops).clamp(0.05, 1.0),
        loop_flops: loops(),
        bandwidth: bandwidth(),
        serial_step: serial_step(),
        launch: launch(),
    }
}

/// The least of a few times, in seconds, after one run that warms up.
fn best(repetitions: usize, mut work: impl FnMut()) -> f64 {
    work();
    let times = (0..repetitions).map(|_| {
        let start = Instant::now();
        work();
        start.elapsed().as_secs_f64()
    });
    times.fold(f64::INFINITY, f64::min).max(1e-9)
}

fn test_matrix(order: usize) -> Mat<f64> {
    Mat::from_fn(order, order, |i, j| {
        let off = ((i * 7 + j * 7 + i * j) % 13) as f64 / 13.0;
        if i == j { order as f64 } else { off }
    })
}

fn gemm() -> f64 {
    const ORDER: usize = 1024;
    let a = test_matrix(ORDER);
    let mut c = Mat::zeros(ORDER, ORDER);
    let seconds = best(4, || {
        matmul(
            c.as_mut(),
            Accum::Replace,
            a.as_ref(),
            a.as_ref(),
            1.0,
            Par::rayon(0),
        );
        black_box(&c);
    });
    2.0 * (ORDER as f64).powi(3) / seconds
}

fn cholesky() -> f64 {
    const ORDER: usize = 2048;
    let a = test_matrix(ORDER);
    let seconds = best(2, || {
        black_box(a.llt(Side::Lower).is_ok());
    });
    (ORDER as f64).powi(3) / 3.0 / seconds
}

fn bandwidth() -> f64 {
    const LEN: usize = 1 << 25;
    let data = vec![1.0_f64; LEN];
    let seconds = best(3, || {
        let sums: f64 = data
            .par_chunks(1 << 16)
            .map(|c| c.iter().sum::<f64>())
            .sum();
        black_box(sums);
    });
    8.0 * LEN as f64 / seconds
}

/// Rows of four entries scattered into a small table, as sparse features are.
fn loops() -> f64 {
    const ROWS: usize = 1 << 16;
    let index: Vec<usize> = (0..4 * ROWS).map(|i| (i * 2_654_435_761) % 97).collect();
    let mut table = vec![0.0_f64; 97 * 97];
    let seconds = best(3, || {
        for row in index.chunks_exact(4) {
            for &a in row {
                for &b in row {
                    table[a * 97 + b] += 0.5;
                }
            }
        }
        black_box(&table);
    });
    // Spread over the pool's threads in use; 2 operations an entry.
    2.0 * 16.0 * ROWS as f64 / seconds * rayon::current_num_threads() as f64
}

/// A chain of dependent divisions: one pivot after another.
fn serial_step() -> f64 {
    const STEPS: usize = 1 << 16;
    best(3, || {
        let mut x = 1.5_f64;
        for _ in 0..STEPS {
            x = 1.0 + 1.0 / x;
        }
        black_box(x);
    }) / STEPS as f64
}

fn launch() -> f64 {
    const REGIONS: usize = 200;
    best(3, || {
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
        let Ceilings {
            gemm_flops,
            cholesky_share,
            loop_flops,
            bandwidth,
            serial_step,
            launch,
        } = measure_cpu();
        for (name, value) in [
            ("gemm_flops", gemm_flops),
            ("cholesky_share", cholesky_share),
            ("loop_flops", loop_flops),
            ("bandwidth", bandwidth),
            ("serial_step", serial_step),
            ("launch", launch),
        ] {
            assert!(value.is_finite() && value > 0.0, "{name} is {value}");
        }
        assert!(cholesky_share <= 1.0);
        assert!(gemm_flops > loop_flops, "{gemm_flops:e} {loop_flops:e}");
    }
}
