//! The planner: which elimination a shape should use, and what each would cost.
//!
//! Every elimination that serves the system is priced in seconds for one factorization and the
//! solves expected of it, from counts of operations, bytes and serial steps over [`Ceilings`]. The
//! cheapest that fits the memory is chosen. Prices are visible: in a [`Plan`], in a `tracing`
//! event, in every summary; a caller may pin the choice.

mod ceilings;
mod price;

pub use ceilings::Ceilings;
pub use price::Price;

use crate::solver::{Solver, SolverOptions};
use crate::{EliminationKind, Error, SystemShape};
use serde::{Deserialize, Serialize};

/// What a frame is expected to do.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Workload {
    /// Solves for each factorization. Default 1.
    pub solves: u32,
    /// Whether $`\log|H|`$ is wanted, which the iterative elimination does not give. Default true;
    /// then that elimination is chosen only where no other serves or fits.
    pub log_determinant: bool,
    /// Conjugate-gradient iterations expected of one solve: a property of the numbers, which a
    /// planner does not see. Default 40.
    pub iterations: u32,
}

impl Default for Workload {
    fn default() -> Self {
        Self {
            solves: 1,
            log_determinant: true,
            iterations: 40,
        }
    }
}

/// What was chosen, and at what prices.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The elimination.
    pub chosen: EliminationKind,
    /// Whether the caller pinned it.
    pub pinned: bool,
    /// The price of every elimination that serves the system; the reference is priced too, and
    /// never chosen.
    pub prices: Vec<Price>,
}

/// Prices the eliminations that serve `shape` and chooses one. Reads no number, allocates nothing.
///
/// # Errors
/// [`Error::Memory`] where none fits; the error of a pinned one that does not serve or fit.
pub fn plan(shape: &SystemShape, options: &SolverOptions) -> Result<Plan, Error> {
    let mut prices = Vec::new();
    for kind in EliminationKind::ALL {
        if let Ok(bytes) = Solver::bytes_needed(kind, shape) {
            prices.push(price::price(
                kind,
                shape,
                bytes,
                &options.ceilings,
                &options.workload,
            ));
        }
    }
    let limit = options.memory_limit;
    let chosen = match options.elimination {
        Some(kind) => {
            let needed = Solver::bytes_needed(kind, shape)?;
            if needed > limit {
                return Err(Error::Memory {
                    what: kind,
                    needed,
                    limit,
                });
            }
            kind
        }
        None => cheapest(&prices, options)?,
    };
    tracing::debug!(%chosen, pinned = options.elimination.is_some(), ?prices, "planned");
    Ok(Plan {
        chosen,
        pinned: options.elimination.is_some(),
        prices,
    })
}

fn cheapest(prices: &[Price], options: &SolverOptions) -> Result<EliminationKind, Error> {
    let candidates = || {
        prices
            .iter()
            .filter(|p| p.elimination != EliminationKind::Reference)
    };
    let fitting = || candidates().filter(|p| p.bytes <= options.memory_limit);
    let by_seconds = |a: &&Price, b: &&Price| a.seconds.total_cmp(&b.seconds);
    let exact = fitting()
        .filter(|p| {
            !options.workload.log_determinant || p.elimination != EliminationKind::Iterative
        })
        .min_by(by_seconds);
    if let Some(price) = exact.or_else(|| fitting().min_by(by_seconds)) {
        return Ok(price.elimination);
    }
    let least = candidates().min_by_key(|p| p.bytes);
    Err(match least {
        Some(price) => Error::Memory {
            what: price.elimination,
            needed: price.bytes,
            limit: options.memory_limit,
        },
        None => Error::Unsupported {
            elimination: EliminationKind::Iterative,
            system: "empty",
            why: "no elimination serves it",
        },
    })
}
