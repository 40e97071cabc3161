//! Eliminations: ways to factor an arrow system and to solve with the factors.
//!
//! Each is a value of one trait, [`Elimination`]. It owns its storage, made once for a shape, and
//! is asked to *refresh* (take note of new numbers), *factor* at a ridge, and *solve*. Refinement,
//! backward errors and condition estimates are not its business: [`crate::Frame`] adds them to
//! all alike.

pub(crate) mod border_first;
pub(crate) mod conjugate_gradients;
pub(crate) mod core;
pub(crate) mod reference;
pub(crate) mod rows_first;

pub use self::core::host::Core;
pub(crate) use self::core::host::pairs::count_pairs;
pub use border_first::host::BorderFirst;
pub use conjugate_gradients::host::{Iterative, IterativeOptions};
pub use reference::Reference;
pub use rows_first::host::RowsFirst;

use crate::device::FrameSummary;
use crate::{
    BackwardError, Error, Failure, Gradient, PivotSite, ProductMut, Refinement, RhsMut, Ridge,
    SolveReport, StepMut, System,
};
use broadhead_device::{ExecutionPath, LedgerSnapshot};
use serde::{Deserialize, Serialize};

/// The name of an elimination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum EliminationKind {
    /// Rows first: $`S = C - \sum_i Y_i' Y_i`$, of order $`k`$.
    Rows,
    /// Border first: $`T = D - B C^{-1} B'`$, of order $`N`$.
    Border,
    /// The core of a structured system, of order at most $`M^2`$.
    Core,
    /// Conjugate gradients on $`S`$, never formed.
    Iterative,
    /// The whole matrix of order $`N + k`$: the specification of the others.
    Reference,
}

impl EliminationKind {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Rows,
        Self::Border,
        Self::Core,
        Self::Iterative,
        Self::Reference,
    ];

    /// Whether it gives a log-determinant: all do that factor the border.
    pub fn gives_log_determinant(self) -> bool {
        match self {
            Self::Rows | Self::Border | Self::Core | Self::Reference => true,
            Self::Iterative => false,
        }
    }

    /// Whether it is the specification of the others, which nobody chooses but by name.
    pub fn is_specification(self) -> bool {
        match self {
            Self::Reference => true,
            Self::Rows | Self::Border | Self::Core | Self::Iterative => false,
        }
    }

    /// The word used on the command line and in records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rows => "rows",
            Self::Border => "border",
            Self::Core => "core",
            Self::Iterative => "iterative",
            Self::Reference => "reference",
        }
    }
}

impl std::fmt::Display for EliminationKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that names no elimination.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no elimination: expected rows, border, core, iterative or reference")]
pub struct ParseEliminationError(pub String);

impl std::str::FromStr for EliminationKind {
    type Err = ParseEliminationError;
    fn from_str(word: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|kind| kind.as_str() == word);
        found.ok_or_else(|| ParseEliminationError(word.to_owned()))
    }
}

/// $`\log|H|`$ with the sum of the absolute values of its terms, the scale of its rounding error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LogDeterminant {
    /// $`\log|H + \rho|`$.
    pub value: f64,
    /// $`\sum |\log \text{pivot}|`$.
    pub absolute: f64,
}

impl LogDeterminant {
    /// Adds `weight` times $`2 \log l`$ for a Cholesky diagonal entry `l`.
    pub fn add_cholesky(&mut self, l: f64, weight: f64) {
        let term = 2.0 * weight * l.ln();
        self.value += term;
        self.absolute += term.abs();
    }
}

impl std::ops::Add for LogDeterminant {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self {
            value: self.value + other.value,
            absolute: self.absolute + other.absolute,
        }
    }
}

/// A pivot ($`l^2`$ for a Cholesky diagonal entry $`l`$) and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pivot {
    /// Where.
    #[serde(flatten)]
    pub site: PivotSite,
    /// Its value.
    pub value: f64,
}

impl Pivot {
    /// The smaller of two; the first where they are equal.
    pub(crate) fn least(a: Option<Self>, b: Option<Self>) -> Option<Self> {
        match (a, b) {
            (Some(a), Some(b)) => Some(if b.value < a.value { b } else { a }),
            (a, b) => a.or(b),
        }
    }
}

/// Why a log-determinant is absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum NoLogDeterminant {
    /// Conjugate gradients factor no border.
    #[error("the iterative elimination factors no border")]
    Iterative,
}

/// What a factorization found.
#[derive(Clone, Debug, PartialEq)]
pub struct Factored {
    /// $`\log|H + \rho|`$, or why it is absent.
    pub log_determinant: Result<LogDeterminant, NoLogDeterminant>,
    /// The smallest pivot of the rows, where they are eliminated one by one.
    pub row_pivot: Option<Pivot>,
    /// The smallest pivot of the border (or of what stands in for it).
    pub border_pivot: Option<Pivot>,
}

impl Factored {
    /// The smallest pivot of all.
    pub fn min_pivot(&self) -> Option<Pivot> {
        Pivot::least(self.row_pivot, self.border_pivot)
    }
}

/// What a solve did beside solving.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SolveStats {
    /// Conjugate-gradient iterations, over all right-hand sides.
    pub iterations: u64,
    /// The worst relative residual of the eliminated border that conjugate gradients stood still
    /// at, where that is above the one asked. [`crate::Frame::solve`] goes on from there with the
    /// residual of the whole system, and judges it.
    pub stalled_at: Option<f64>,
}

impl SolveStats {
    /// Of both.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            iterations: self.iterations + other.iterations,
            stalled_at: match (self.stalled_at, other.stalled_at) {
                (Some(a), Some(b)) => Some(crate::host::blas1::larger(a, b)),
                (a, b) => a.or(b),
            },
        }
    }
}

/// A way to factor and solve arrow systems of one shape.
///
/// The system passed to `factor` and `solve` is the one last passed to `refresh`, unchanged.
pub trait Elimination: Send {
    /// Its name.
    fn kind(&self) -> EliminationKind;

    /// Where it runs.
    fn path(&self) -> ExecutionPath {
        ExecutionPath::Cpu
    }

    /// Bytes that it holds.
    fn bytes(&self) -> u64;

    /// The account of its stream, where it works on a device.
    fn ledger(&self) -> Option<LedgerSnapshot> {
        None
    }

    /// What its frames keep, how they are made, and what they hold, where it works on a device.
    fn frame_summary(&self) -> Option<FrameSummary> {
        None
    }

    /// Takes note of a system's new numbers. Allocates nothing.
    ///
    /// # Errors
    /// What ends the work; numbers have been checked to be finite.
    fn refresh(&mut self, system: &System<'_>) -> Result<(), Error>;

    /// Factors at `ridge`. Allocates nothing but what its parallel tasks need.
    ///
    /// # Errors
    /// [`Failure::NotPositiveDefinite`] with a bump that makes what failed factor;
    /// [`Error::Unsupported`], [`Error::ClosureOperand`] for a system of another kind than it was made
    /// for; anything else ends the work too.
    fn factor(&mut self, system: &System<'_>, ridge: Ridge) -> Result<Factored, Failure>;

    /// Whether all of it factors at `ridge`, without a look for a bump. Where it does, the factors at
    /// hand are those; else they are of nothing. A failure's [`crate::NotPositiveDefinite::whole`]
    /// is found by it.
    ///
    /// # Errors
    /// What ends the work.
    fn factors(&mut self, system: &System<'_>, ridge: Ridge) -> Result<bool, Error> {
        holds(self.factor(system, ridge))
    }

    /// Overwrites right-hand sides `b` by $`(H + \rho)^{-1} b`$, by the last factors.
    ///
    /// # Errors
    /// [`Error::Shape`] where the right-hand sides have another length; [`Error::Unsupported`],
    /// [`Error::ClosureOperand`] for a system of another kind; conjugate gradients may fail.
    fn solve(&mut self, system: &System<'_>, rhs: RhsMut<'_>) -> Result<SolveStats, Failure>;

    /// As [`Elimination::solve`] for one right-hand side, by factors at `ridge`; and where it costs
    /// less than a pass of its own, also forms the products of [`System::product`] with the solution.
    /// Whether `y` holds them is in the answer.
    ///
    /// # Errors
    /// As [`Elimination::solve`].
    fn solve_and_multiply(
        &mut self,
        system: &System<'_>,
        ridge: Ridge,
        rhs: RhsMut<'_>,
        y: ProductMut<'_>,
    ) -> Result<(SolveStats, bool), Failure> {
        let _ = (ridge, y);
        self.solve(system, rhs).map(|stats| (stats, false))
    }

    /// As [`Elimination::solve`] for several right-hand sides, by factors at `ridge`, and measures every
    /// solution where that costs less than a pass of its own; `None`, and nothing done, where not.
    ///
    /// # Errors
    /// As [`Elimination::solve`].
    fn solve_and_measure(
        &mut self,
        system: &System<'_>,
        ridge: Ridge,
        rhs: &mut RhsMut<'_>,
    ) -> Result<Option<Vec<BackwardError>>, Failure> {
        let _ = (system, ridge, rhs);
        Ok(None)
    }

    /// Solves for one gradient by the last factors, measures and refines, where the engine can do all of it
    /// where its factors are; `None`, and nothing done, where it cannot. Both are of the system's shape.
    ///
    /// # Errors
    /// As [`Elimination::solve`]; [`Error::Overflow`] where the step is not finite.
    fn solve_measured(
        &mut self,
        gradient: &Gradient<'_>,
        step: &mut StepMut<'_>,
        refinement: Refinement,
    ) -> Option<Result<SolveReport, Failure>> {
        let _ = (gradient, step, refinement);
        None
    }
}

/// Whether an attempt succeeded, where failing by definiteness or by overflow is no error.
pub(crate) fn holds<T>(outcome: Result<T, Failure>) -> Result<bool, Error> {
    match outcome {
        Ok(_) => Ok(true),
        Err(Failure::NotPositiveDefinite(_) | Failure::Stop(Error::Overflow { .. })) => Ok(false),
        Err(Failure::Stop(error)) => Err(error),
    }
}

/// Factors at `ridge`; a failure says which ridges make the whole factor
/// ([`crate::NotPositiveDefinite::whole`]).
pub(crate) fn factor_or_advise(
    engine: &mut dyn Elimination,
    system: &System<'_>,
    ridge: Ridge,
) -> Result<Factored, Failure> {
    let mut failed = match engine.factor(system, ridge) {
        Err(Failure::NotPositiveDefinite(failed)) => failed,
        other => return other,
    };
    let shape = system.shape();
    let (n, k) = (shape.row_unknowns(), shape.border());
    let factors = |at| {
        let factored = match engine.factors(system, at) {
            Err(Error::Overflow { .. }) => return Ok(false),
            other => other?,
        };
        if !factored || engine.kind() != conjugate_gradients::KIND {
            return Ok(factored);
        }
        // Conjugate gradients factor no border: whether it is positive definite shows in its curvatures,
        // all of which a right-hand side that is nothing special meets.
        let mut row: Vec<f64> = (0..n).map(|i| (1.0 + i as f64).sin()).collect();
        let mut border: Vec<f64> = (0..k).map(|j| (0.5 + j as f64).cos()).collect();
        let rhs = RhsMut {
            row: &mut row,
            border: &mut border,
            count: 1,
        };
        match holds(engine.solve(system, rhs)) {
            Err(Error::NotConverged { .. }) => Ok(true),
            other => other,
        }
    };
    failed.whole = whole_bump(system, ridge, &failed, factors)?;
    Err(failed.into())
}

/// The bumps of both ridges with which `factors` holds: see [`crate::NotPositiveDefinite::whole`].
pub(crate) fn whole_bump(
    system: &System<'_>,
    ridge: Ridge,
    failed: &crate::NotPositiveDefinite,
    factors: impl FnMut(Ridge) -> Result<bool, Error>,
) -> Result<Option<Ridge>, Error> {
    let shape = system.shape();
    let sides = [shape.row_unknowns() > 0, shape.border() > 0];
    crate::host::bump::whole(ridge, system.mean_diagonals(), sides, failed, factors)
}

/// Why an elimination that was made for systems of another kind refuses `system`.
pub(crate) fn another_kind(kind: EliminationKind, system: &System<'_>) -> Error {
    match system {
        System::Operator(_) => Error::ClosureOperand {
            elimination: kind,
            array: "row_cross",
        },
        System::Dense(_) | System::Structured(_) => Error::Unsupported {
            elimination: kind,
            system: system.kind(),
            why: "it was made for systems of another kind",
        },
    }
}

/// The system as dense, or why the elimination does not serve it.
pub(crate) fn dense_only<'a>(
    kind: EliminationKind,
    system: &System<'a>,
) -> Result<crate::DenseSystem<'a>, Error> {
    match system {
        System::Dense(system) => Ok(*system),
        System::Structured(_) => Err(Error::Unsupported {
            elimination: kind,
            system: system.kind(),
            why: "it would form the structured border densely",
        }),
        System::Operator(_) => Err(Error::ClosureOperand {
            elimination: kind,
            array: "row_cross",
        }),
    }
}

/// The system as structured, or why the elimination does not serve it.
pub(crate) fn structured_only<'a>(
    kind: EliminationKind,
    system: &System<'a>,
) -> Result<crate::StructuredSystem<'a>, Error> {
    match system {
        System::Structured(system) => Ok(*system),
        System::Dense(_) => Err(Error::Unsupported {
            elimination: kind,
            system: system.kind(),
            why: "the core is that of a structured border",
        }),
        System::Operator(_) => Err(Error::ClosureOperand {
            elimination: kind,
            array: "row_cross",
        }),
    }
}
