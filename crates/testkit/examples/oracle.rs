//! A mixed model's normal equations, solved and judged by the oracle.
//!
//! `cargo run --release -p broadhead-testkit --example oracle`
#![expect(clippy::print_stdout, reason = "an example shows its numbers")]

use broadhead_schur::{ArrowVector, Ridge, Solver, SolverOptions};
use broadhead_testkit::generate::gradient;
use broadhead_testkit::normal::mixed_model;
use broadhead_testkit::oracle::{Oracle, measure};
use broadhead_testkit::random::Random;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let case = mixed_model(300, 2, 60, 1e-6, 7);
    let g = gradient(case.shape.row_unknowns(), 60, &mut Random::new(8));
    let mut solver = Solver::new(&case.system(), SolverOptions::default())?;
    let mut base = solver.refresh(case.system())?;
    let mut frame = base.factor(Ridge::ZERO)?;
    let mut step = ArrowVector::zeros(&case.shape);
    frame.solve(g.as_gradient(), step.as_step())?;
    println!("{:?}", measure(&case, Ridge::ZERO, g.as_gradient(), &step));
    let oracle = Oracle::new(&case, Ridge::ZERO).map_err(|at| format!("indefinite at {at:?}"))?;
    println!(
        "log-determinant: {} against {}",
        frame.log_determinant()?.value,
        oracle.log_determinant().value
    );
    Ok(())
}
