//! Block-arrowhead (*arrow-Schur*) Newton systems: shapes, planner, eliminations, frames.
//!
//! ```math
//! \begin{pmatrix} D + \rho_t & B \\ B' & C + \rho_\beta \end{pmatrix}
//! \begin{pmatrix} \delta t \\ \delta\beta \end{pmatrix}
//! = -\begin{pmatrix} g_t \\ g_\beta \end{pmatrix}
//! ```
//!
//! with thousands of small blocks $`D_i`$ and one wide border. A caller describes operands by views
//! ([`DenseSystem`], [`StructuredSystem`], [`OperatorSystem`]), makes a [`Solver`] for their shape
//! once, and then, at every linearisation, [refreshes](Solver::refresh) it, [factors](Base::factor)
//! at a [`Ridge`] and [solves](Frame::solve).
//!
//! ```
//! use broadhead_schur::*;
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let shape = ArrowShape::uniform(2, 1, 1)?;
//! let (d, b, c) = ([2.0, 3.0], [1.0, 1.0], [4.0]);
//! let system = DenseSystem::new(
//!     &shape,
//!     RowBlocks::packed(&d),
//!     CrossView::row_major(&b, 2, 1)?,
//!     SymmetricView::row_major(&c, 1)?,
//! )?;
//! let mut solver = Solver::new(&system.into(), SolverOptions::default())?;
//! let mut base = solver.refresh(system)?;
//! let mut frame = base.factor(Ridge::ZERO)?;
//! let mut step = ArrowVector::zeros(&shape);
//! let report = frame.solve(Gradient::new(&[-3.0, -4.0], &[-6.0]), step.as_step())?;
//! assert!((step.row[0] - 1.0).abs() < 1e-14 && (step.border[0] - 1.0).abs() < 1e-14);
//! assert!(report.error.unwrap().componentwise.unwrap() < 1e-14);
//! assert!((frame.log_determinant()?.value - 19_f64.ln()).abs() < 1e-14);
//! # Ok(()) }
//! ```
//!
//! # Invariants
//! - A shape is checked once, in 64 bits; below it nobody checks again.
//! - Symmetric blocks are read where row >= column and nowhere else.
//! - Only [`NotPositiveDefinite`] may grow a ridge; every other failure is an [`Error`].
//! - Sums are formed in an order that depends on shapes alone: the bits of a result do not depend
//!   on the number of threads. Work runs in the caller's rayon pool.

pub mod device;
mod elimination;
mod error;
mod frame;
mod host;
mod plan;
mod refine;
mod ridge;
mod shape;
mod solver;
mod system;
mod vector;
mod view;
mod work;

pub use elimination::{
    BorderFirst, Core, Elimination, EliminationKind, Factored, Iterative, IterativeOptions,
    LogDeterminant, NoLogDeterminant, ParseEliminationError, Pivot, Reference, RowsFirst,
    SolveStats,
};
pub use error::{Error, Failure, NotPositiveDefinite, PivotSite, Side};
pub use frame::{Frame, SolveReport};
pub use host::bump::LEAST_BUMP;
pub use host::registers::release_upper_parts;
pub use plan::{
    Ceilings, FrameCost, HostCeilings, Plan, Price, Rates, RatesOrigin, Workload, device_prices,
    plan,
};
pub use refine::{BackwardError, Refinement};
pub use ridge::{MeanDiagonals, Ridge};
pub use shape::{ArrowShape, RowDims, ShapeError};
pub use solver::{Base, QuadraticModel, Solver, SolverOptions};
pub use system::{
    BorderProduct, CrossProduct, DenseSystem, OperatorSystem, ProductMut, StructuredFeatures,
    StructuredShape, StructuredSystem, System, SystemShape,
};
pub use vector::{ArrowVector, Gradient, RhsMut, StepMut};
pub use view::{CrossView, RowBlocks, SymmetricView};
