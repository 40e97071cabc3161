//! A structured system: one circle under a linear decoder of 4,096 outputs. The border has 12,288
//! unknowns and is never formed; the core is a 9 x 9 matrix.
//!
//! `cargo run --release -p broadhead-schur --example structured`
#![expect(clippy::print_stdout, reason = "an example shows its numbers")]

use broadhead_schur::*;
use faer::Mat;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // phi = (1, cos t, sin t), Psi its derivative: three features, all on in every row.
    let (n, features, outputs) = (500, 3, 4096);
    let shape = StructuredShape::new(RowDims::uniform(n, 1)?, features, outputs)?;
    let angle = |i: usize| 0.7 * i as f64;
    let phi: Vec<f64> = (0..n)
        .flat_map(|i| [1.0, angle(i).cos(), angle(i).sin()])
        .collect();
    let psi: Vec<f64> = (0..n)
        .flat_map(|i| [0.0, -angle(i).sin(), angle(i).cos()])
        .collect();
    let indices: Vec<usize> = (0..n).flat_map(|_| [0, 1, 2]).collect();
    let offsets: Vec<usize> = (0..=n).map(|i| 3 * i).collect();
    let decoder = Mat::from_fn(features, outputs, |m, c| ((m * 5 + c) as f64).cos());

    // G = sum of phi phi', and D_i = J_i J_i' with J_i = Psi_i W.
    let gram = Mat::from_fn(features, features, |a, b| {
        (0..n).map(|i| phi[3 * i + a] * phi[3 * i + b]).sum::<f64>()
    });
    let kernel = &decoder * decoder.transpose();
    let blocks: Vec<f64> = psi
        .chunks_exact(3)
        .map(|psi| {
            (0..9)
                .map(|at| psi[at / 3] * kernel[(at / 3, at % 3)] * psi[at % 3])
                .sum()
        })
        .collect();

    let system = StructuredSystem::new(
        &shape,
        RowBlocks::packed(&blocks),
        StructuredFeatures {
            offsets: &offsets,
            indices: &indices,
            phi: &phi,
            psi: &psi,
            psi_offsets: &offsets,
        },
        SymmetricView::new(gram.as_ref()),
        decoder.as_ref(),
    )?;
    let mut solver = Solver::new(&system.into(), SolverOptions::default())?;
    println!("chosen: {}, {} bytes", solver.plan().chosen, solver.bytes());
    let mut base = solver.refresh(system)?;
    // A circle may turn with its decoder: along that gauge only the ridge holds it.
    let mut frame = base.factor(Ridge::relative(1e-3, base.mean_diagonals()))?;
    let gradient = (vec![0.1; n], vec![0.2; features * outputs]);
    let mut step = ArrowVector::zeros(shape.arrow());
    let report = frame.solve(Gradient::new(&gradient.0, &gradient.1), step.as_step())?;
    println!("step of the first row: {:.6}", step.row[0]);
    println!("log-determinant: {:.6}", frame.log_determinant()?.value);
    println!("backward errors: {:?}", report.error);
    Ok(())
}
