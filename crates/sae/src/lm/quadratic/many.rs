//! Many quadratic fits at once, each bit-identical to the same fit alone, each with its own error.

use super::{QuadraticError, QuadraticFit, QuadraticWorkspace};
use crate::lm::{Rule, go_on};
use broadhead_schur::{ArrowVector, System};
use rayon::prelude::*;

/// One fit among many.
#[derive(Debug)]
pub struct ManyFit<'a> {
    /// Storage of its own, of the system's shape.
    pub workspace: &'a mut QuadraticWorkspace,
    /// The operator.
    pub system: System<'a>,
    /// $`g_0`$.
    pub g0: &'a ArrowVector,
    /// $`|X|^2`$.
    pub data_norm_squared: f64,
}

/// Runs every fit in its workspace, in parallel. Results come in the order of `fits`.
///
/// Each result is bit for bit that of [`super::QuadraticProblem::fit`] alone, and an error affects no
/// other fit.
pub fn fit_many(
    fits: &mut [ManyFit<'_>],
    rule: &Rule,
) -> Vec<Result<QuadraticFit, QuadraticError>> {
    fits.par_iter_mut()
        .map(|fit| {
            let g0 = fit.g0.as_gradient();
            let mut problem = fit.workspace.load(fit.system, g0, fit.data_norm_squared)?;
            problem.fit(rule, &mut go_on)
        })
        .collect()
}
