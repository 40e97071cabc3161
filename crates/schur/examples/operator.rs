//! An arrow system whose cross block and border are known by their products alone: a tracking
//! problem whose border couples neighbours, never stored.
//!
//! `cargo run --release -p broadhead-schur --example operator`
#![expect(clippy::print_stdout, reason = "an example shows its numbers")]

use broadhead_schur::*;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (n, k) = (20_000, 5_000);
    let shape = ArrowShape::uniform(n, 1, k)?;
    let blocks = vec![4.0; n];
    // Row i sees border unknowns i mod k and its neighbour.
    let cross = (
        |x: &[f64], y: &mut [f64]| {
            for (i, y) in y.iter_mut().enumerate() {
                *y = x[i % k] - x[(i + 1) % k];
            }
        },
        |x: &[f64], y: &mut [f64]| {
            y.fill(0.0);
            for (i, x) in x.iter().enumerate() {
                y[i % k] += x;
                y[(i + 1) % k] -= x;
            }
        },
    );
    // A chain of springs.
    let border = |x: &[f64], y: &mut [f64]| {
        for j in 0..k {
            y[j] = 9.0 * x[j] - 2.0 * (x[(j + 1) % k] + x[(j + k - 1) % k]);
        }
    };
    let diagonal = vec![9.0; k];
    let system = OperatorSystem::new(
        &shape,
        RowBlocks::packed(&blocks),
        &cross,
        &border,
        Some(&diagonal),
    )?;

    let mut solver = Solver::new(&system.into(), SolverOptions::default())?;
    println!("chosen: {}", solver.plan().chosen);
    let mut base = solver.refresh(system)?;
    let mut frame = base.factor(Ridge::ZERO)?;
    let gradient = (
        vec![1.0; n],
        (0..k).map(|j| (j as f64).sin()).collect::<Vec<_>>(),
    );
    let mut step = ArrowVector::zeros(&shape);
    let report = frame.solve(Gradient::new(&gradient.0, &gradient.1), step.as_step())?;
    println!(
        "{} iterations, errors {:?}",
        report.iterations, report.error
    );
    // What closures cannot give is absent with its reason.
    match frame.log_determinant() {
        Ok(log) => println!("log-determinant: {}", log.value),
        Err(reason) => println!("no log-determinant: {reason}"),
    }
    Ok(())
}
