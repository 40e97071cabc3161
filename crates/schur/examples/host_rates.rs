//! The rates of this processor behind the planner's ceilings and the shares in its prices.
//!
//! ```sh
//! cargo run --release --package broadhead-schur --example host_rates
//! ```

use broadhead_schur::{
    ArrowShape, CrossView, DenseSystem, EliminationKind, Ridge, RowBlocks, Solver, SolverOptions,
    SymmetricView,
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

/// The least time of a piece of work that is repeated for some 100 ms, in seconds.
fn best(mut work: impl FnMut()) -> f64 {
    let (start, mut least) = (Instant::now(), f64::INFINITY);
    while least.is_infinite() || start.elapsed() < Duration::from_millis(100) {
        let begin = Instant::now();
        work();
        least = least.min(begin.elapsed().as_secs_f64());
    }
    least
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
    rows as f64 * (k as f64).powi(2) / seconds
}

/// Seconds of an entry of the solution beyond the products of a triangular solve.
fn substitution(order: usize, columns: usize, product: f64) -> f64 {
    let (l, mut x) = (matrix(order, order), matrix(order, columns));
    let seconds = best(|| solve_lower_triangular_in_place(l.as_ref(), x.as_mut(), Par::rayon(0)));
    let entries = (order * columns) as f64;
    seconds / entries - order as f64 / product
}

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

/// A pivoted Cholesky factorization of a matrix of `order` and of `rank`.
fn pivoted_cholesky(order: usize, rank: usize) -> f64 {
    let x = Mat::from_fn(order, rank, |i, j| {
        ((i * 31 + j * j * 17 + i * j) as f64).sin()
    });
    let (a, mut l) = (&x * x.transpose(), Mat::zeros(order, order));
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
    let (n, r) = (order as f64, rank as f64);
    (n * r * r - 2.0 * r.powi(3) / 3.0) / seconds
}

/// A Cholesky factorization as the eliminations do it: of a border without rows.
fn cholesky(order: usize) -> Result<f64, Box<dyn std::error::Error>> {
    let shape = ArrowShape::uniform(0, 1, order)?;
    let c: Vec<f64> = (0..order * order)
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
        SymmetricView::row_major(&c, order)?,
    )?;
    let options = SolverOptions {
        elimination: Some(EliminationKind::Rows),
        ..SolverOptions::default()
    };
    let mut solver = Solver::new(&system.into(), options)?;
    let mut base = solver.refresh(system)?;
    let mut failed = None;
    let seconds = best(|| failed = base.factor(Ridge::ZERO).err());
    match failed {
        Some(failure) => Err(failure.into()),
        None => Ok((order as f64).powi(3) / 3.0 / seconds),
    }
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

#[allow(clippy::print_stdout, reason = "what an example prints is its result")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let gemm = product(1024);
    println!("product of order 1024        {:8.1} GFLOP/s", gemm * 1e-9);
    for (rows, k) in [(20_000, 400), (4000, 1500)] {
        let share = triangle(rows, k) / gemm;
        println!("lower triangle {rows:5} x {k:4}  {share:8.2} of it");
    }
    for order in [512, 1024, 2048] {
        let share = cholesky(order)? / gemm;
        println!("Cholesky of order {order:5}      {share:8.2} of it");
    }
    for (order, columns) in [(65, 512), (241, 384), (1000, 1000)] {
        let seconds = substitution(order, columns, gemm);
        println!(
            "substitution {order:4} x {columns:4}     {:8.2} ns an entry",
            seconds * 1e9
        );
    }
    for (rows, columns) in [(1024, 97), (384, 241)] {
        let share = qr_of(rows, columns) / gemm;
        println!("QR {rows:4} x {columns:3}, one thread   {share:8.2} of a product");
    }
    for (order, rank) in [(600, 600), (1500, 300)] {
        let share = pivoted_cholesky(order, rank) / gemm;
        println!("pivoted Cholesky {order:4}, {rank:3}   {share:8.2} of a product");
    }
    let all = reading(rayon::current_num_threads());
    println!("reading                      {:8.1} GB/s", all * 1e-9);
    println!(
        "reading, one thread          {:8.2} of it",
        reading(1) / all
    );
    Ok(())
}
