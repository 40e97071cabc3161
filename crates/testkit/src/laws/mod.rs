//! Laws: what holds for every elimination on every system that it serves.
//!
//! Each law is a function of a [`Subject`] that panics where the law is broken, saying where and
//! by how much. [`crate::instantiate_laws!`] makes a module of tests for each subject, one a law.
//! Under a tool of compute-sanitizer a law goes through fewer and smaller cases ([`Depth`]).

mod accuracy;
mod bits;
mod bump;
mod determinant;
mod invariance;
mod report;
mod ridge;

pub use accuracy::{
    agrees_with_the_oracle_and_the_reference, answers_hard_systems_to_full_precision,
    answers_real_looking_systems,
};
pub use bits::{
    any_layout_of_the_same_numbers_gives_the_same_step, refreshed_and_fresh_solvers_agree_bitwise,
    thread_counts_give_the_same_bits, upper_triangles_have_no_effect,
};
pub use bump::the_reported_bump_cures_and_is_at_most_four_times_the_least;
pub use determinant::log_determinants_are_the_cpu_s_where_kappa_is_below_a_million;
pub use invariance::{
    many_right_hand_sides_equal_each, permuting_rows_permutes_the_step,
    scaling_the_data_scales_nothing_but_the_scale,
};
pub use report::{
    condition_estimates_are_close_and_never_above, quadratic_models_are_those_of_the_bare_operator,
    unridged_factors_stand_beside_ridged_ones,
};

use crate::cases::Case;
use crate::device::Depth;
use crate::oracle::Inverse;
use crate::strategy::{self, Spec};
use crate::tolerance::{LogTolerance, Tolerance};
use broadhead_schur::{
    ArrowVector, EliminationKind, Failure, LogDeterminant, NoLogDeterminant, Ridge, SolveReport,
    Solver, SolverOptions,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

pub use ridge::following_the_reported_ridges_ends_in_a_solved_system;

/// A kind of system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// $`B`$ and $`C`$ as arrays.
    Dense,
    /// A linear decoder's.
    Structured,
    /// Known by its products.
    Operator,
}

/// What is under test: an elimination as a caller would ask for it.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Options that pin the elimination, and the backend where there are several.
    pub options: SolverOptions,
    /// The kinds of systems that it serves.
    pub serves: &'static [Kind],
    /// Relative residual at which it stops, for methods that do.
    pub stops_at: Option<f64>,
}

impl Subject {
    /// `elimination` on the CPU.
    pub fn cpu(elimination: EliminationKind) -> Self {
        use Kind::{Dense, Operator, Structured};
        let options = SolverOptions {
            elimination: Some(elimination),
            ..Default::default()
        };
        Self {
            serves: match elimination {
                EliminationKind::Rows => &[Dense],
                EliminationKind::Core => &[Structured],
                EliminationKind::Iterative => &[Dense, Structured, Operator],
                _ => &[Dense, Structured],
            },
            stops_at: (elimination == EliminationKind::Iterative)
                .then_some(options.iterative.relative_residual),
            options,
        }
    }

    /// Whether it is direct.
    pub fn is_direct(&self) -> bool {
        self.stops_at.is_none()
    }

    /// Whether it holds a matrix of order $`N`$, so that tall systems are not for it.
    fn holds_rows_densely(&self) -> bool {
        use EliminationKind::{Border, Reference};
        matches!(self.options.elimination, Some(Border | Reference))
    }

    fn name(&self) -> String {
        (self.options.elimination).map_or_else(|| "auto".to_owned(), |kind| kind.to_string())
    }

    /// Specifications of systems that it serves.
    fn specs(&self) -> BoxedStrategy<Spec> {
        let one = |kind: &Kind| match kind {
            Kind::Dense => strategy::dense().prop_map(Spec::Dense).boxed(),
            Kind::Structured => strategy::structured().prop_map(Spec::Structured).boxed(),
            Kind::Operator => strategy::dense().prop_map(Spec::Operator).boxed(),
        };
        // Of an operator only products are known: how far their rounding lets conjugate gradients
        // come, and so what to ask of them, is the caller's to say.
        let held = |mut spec: Spec| {
            if let Spec::Operator(spec) = &mut spec {
                spec.margin = spec.margin.min(3);
            }
            spec
        };
        let specs = proptest::strategy::Union::new(self.serves.iter().map(one));
        specs.prop_map(held).boxed()
    }

    /// The tolerance for its steps on systems of this order and condition.
    fn tolerance(&self, order: usize, kappa: f64) -> Tolerance {
        let tolerance = Tolerance::new(order, kappa);
        self.stops_at
            .map_or(tolerance, |residual| tolerance.stopping_at(residual))
    }

    /// The tolerance for its log-determinants of `case`, whose inverse is this.
    fn log_tolerance(&self, case: &Case, inverse: &Inverse) -> LogTolerance {
        let copies = match case {
            Case::Structured(case) => case.shape.outputs(),
            Case::Dense(_) | Case::Operator(_) => 1,
        };
        inverse.log_tolerance(self.options.elimination, copies)
    }

    /// A solver for `case`.
    fn solver(&self, case: &Case) -> Solver {
        Solver::new(&case.system(), self.options.clone())
            .unwrap_or_else(|error| panic!("{}: {error}", self.name()))
    }

    /// Factors `case` at `ridge` and solves for `g`.
    fn attempt(&self, case: &Case, ridge: Ridge, g: &ArrowVector) -> Result<Outcome, Failure> {
        let mut solver = Solver::new(&case.system(), self.options.clone())?;
        let mut base = solver.refresh(case.system())?;
        let mut frame = base.factor(ridge)?;
        let mut step = ArrowVector::zeros(case.system().shape());
        let report = frame.solve(g.as_gradient(), step.as_step())?;
        Ok(Outcome {
            step,
            report,
            log_determinant: frame.log_determinant(),
        })
    }

    /// As [`Subject::attempt`], where it must succeed: with a log-determinant, where it is of a kind
    /// that has one, and measured errors.
    fn run(&self, case: &Case, ridge: Ridge, g: &ArrowVector) -> Outcome {
        let outcome = self
            .attempt(case, ridge, g)
            .unwrap_or_else(|error| panic!("{}: {error}", self.name()));
        self.log_determinant(&self.name(), outcome.log_determinant);
        let measured = outcome.report.error.is_some();
        assert!(measured, "{}: the errors were not measured", self.name());
        outcome
    }

    /// The log-determinant that was found, which every direct elimination has; `None` where this one is
    /// iterative, and says so. Anything else is no answer: two errors are never parity.
    fn log_determinant(
        &self,
        what: &str,
        found: Result<LogDeterminant, NoLogDeterminant>,
    ) -> Option<LogDeterminant> {
        match (found, self.is_direct()) {
            (Ok(log), true) => Some(log),
            (Err(NoLogDeterminant::Iterative), false) => None,
            (Ok(log), false) => panic!("{what}: a log-determinant from where? {log:?}"),
            (Err(reason), _) => panic!("{what}: {reason}"),
        }
    }
}

/// What a factorization and a solve answered.
#[derive(Clone, Debug)]
struct Outcome {
    step: ArrowVector,
    report: SolveReport,
    log_determinant: Result<LogDeterminant, NoLogDeterminant>,
}

impl Outcome {
    /// Every number of it, for comparing bits.
    fn numbers(&self) -> Vec<f64> {
        let mut out = [&self.step.row[..], &self.step.border].concat();
        if let Ok(log) = self.log_determinant {
            out.extend([log.value, log.absolute]);
        }
        if let Some(error) = self.report.error {
            out.extend([error.normwise, error.relative_residual]);
            out.extend(error.componentwise);
        }
        out.push(f64::from(self.report.refinements));
        out
    }
}

/// Tries `law` on `cases` values of `strategy`, fewer under a tool ([`Depth`]), the same ones every
/// time, and shrinks a failure.
fn for_all<S: Strategy>(cases: u32, strategy: S, law: impl Fn(S::Value)) {
    let config = Config {
        cases: Depth::now().of_random(cases),
        failure_persistence: None,
        ..Config::default()
    };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let outcome = TestRunner::new_with_rng(config, rng).run(&strategy, |value| {
        law(value);
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

/// The sizes of a case.
fn order(case: &Case) -> usize {
    case.system().shape().order()
}

/// Names every law once, for the macro that it calls: `every_law!(name arguments)` calls
/// `name!(@laws arguments [law, ...])`.
#[macro_export]
#[doc(hidden)]
macro_rules! every_law {
    ($then:ident $($arguments:tt)*) => {
        $crate::$then!(@laws $($arguments)* [
            agrees_with_the_oracle_and_the_reference,
            answers_hard_systems_to_full_precision,
            answers_real_looking_systems,
            log_determinants_are_the_cpu_s_where_kappa_is_below_a_million,
            scaling_the_data_scales_nothing_but_the_scale,
            permuting_rows_permutes_the_step,
            many_right_hand_sides_equal_each,
            thread_counts_give_the_same_bits,
            any_layout_of_the_same_numbers_gives_the_same_step,
            upper_triangles_have_no_effect,
            refreshed_and_fresh_solvers_agree_bitwise,
            the_reported_bump_cures_and_is_at_most_four_times_the_least,
            following_the_reported_ridges_ends_in_a_solved_system,
            unridged_factors_stand_beside_ridged_ones,
            quadratic_models_are_those_of_the_bare_operator,
            condition_estimates_are_close_and_never_above
        ]);
    };
}

/// Makes a module of tests for each subject: every law, one a test.
#[macro_export]
macro_rules! instantiate_laws {
    (@laws list [$($law:ident),+]) => {
        /// Every law with its name, for tests that are made while they run.
        pub const ALL: &[(&str, fn(&Subject))] = &[$((stringify!($law), $law)),+];
    };
    (@laws $subject:expr; [$($law:ident),+]) => {
        $(#[test]
        fn $law() {
            $crate::laws::$law(&$subject);
        })+
    };
    ($($module:ident => $subject:expr),+ $(,)?) => {
        $(mod $module {
            use super::*;
            $crate::every_law!(instantiate_laws $subject;);
        })+
    };
}

every_law!(instantiate_laws list);

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::catch_unwind;

    /// What comes of comparing two log-determinants of `subject`.
    fn compared(
        subject: &Subject,
        sides: [Result<LogDeterminant, NoLogDeterminant>; 2],
    ) -> std::thread::Result<[Option<LogDeterminant>; 2]> {
        catch_unwind(|| sides.map(|side| subject.log_determinant("a side", side)))
    }

    #[test]
    fn two_errors_are_never_parity() {
        let found = LogDeterminant {
            value: 1.0,
            absolute: 2.0,
        };
        let (direct, iterative) = (
            Subject::cpu(EliminationKind::Rows),
            Subject::cpu(EliminationKind::Iterative),
        );
        let failed = Err(NoLogDeterminant::Iterative);
        assert!(compared(&direct, [Ok(found); 2]).is_ok());
        for sides in [[failed; 2], [Ok(found), failed], [failed, Ok(found)]] {
            assert!(compared(&direct, sides).is_err(), "{sides:?}");
        }
        // An iterative one has none, and a number that it made up is no parity either.
        assert_eq!(compared(&iterative, [failed; 2]).ok(), Some([None; 2]));
        assert!(compared(&iterative, [Ok(found); 2]).is_err());
    }
}
