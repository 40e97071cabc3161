//! A dense arrow system: two thousand rows of two unknowns, a border of two hundred.
//!
//! `cargo run --release -p broadhead-schur --example dense`
#![expect(clippy::print_stdout, reason = "an example shows its numbers")]

use broadhead_schur::*;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (n, d, k) = (2000, 2, 200);
    let shape = ArrowShape::uniform(n, d, k)?;
    // Any smooth numbers do; the diagonals dominate, so the matrix is positive definite.
    let wave = |i: usize, j: usize| ((i * 37 + j * 11) as f64).sin();
    let blocks: Vec<f64> = (0..n)
        .flat_map(|i| [9.0, wave(i, 1), wave(i, 1), 9.0])
        .collect();
    let cross: Vec<f64> = (0..n * d * k)
        .map(|at| 0.05 * wave(at / k, at % k))
        .collect();
    let mut border = vec![0.1; k * k];
    (0..k).for_each(|j| border[j * (k + 1)] = 60.0);

    // Views borrow the arrays; nothing is copied.
    let system = DenseSystem::new(
        &shape,
        RowBlocks::packed(&blocks),
        CrossView::row_major(&cross, n * d, k)?,
        SymmetricView::row_major(&border, k)?,
    )?;
    let mut solver = Solver::new(&system.into(), SolverOptions::default())?;
    for price in &solver.plan().prices {
        println!(
            "{:>10}: {:.2} ms",
            price.elimination.to_string(),
            1e3 * price.seconds
        );
    }
    println!("chosen: {}", solver.plan().chosen);

    let mut base = solver.refresh(system)?;
    let ridge = Ridge::relative(1e-6, base.mean_diagonals());
    let mut frame = base.factor(ridge)?;
    let gradient = (vec![1.0; n * d], vec![-1.0; k]);
    let mut step = ArrowVector::zeros(&shape);
    let report = frame.solve(Gradient::new(&gradient.0, &gradient.1), step.as_step())?;
    println!("step of the border: {:.6} ...", step.border[0]);
    println!("log-determinant: {:.6}", frame.log_determinant()?.value);
    println!("condition: about {:.1e}", frame.condition_estimate()?);
    println!("backward errors: {:?}", report.error);
    Ok(())
}
