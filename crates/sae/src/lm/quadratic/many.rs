//! Many quadratic fits at once: bit-identical to one after another, no error shared.

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

/// Runs every fit in its workspace, in parallel; results in order.
///
/// Each is what [`super::QuadraticProblem::fit`] answers for it alone, bit for bit, and an error
/// stays with the fit that it befell.
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
