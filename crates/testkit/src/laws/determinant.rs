//! Log-determinants to their bound, and to $`10^{-11}`$ where the condition number, which is computed, is
//! below $`10^6`$.

use super::{Kind, Subject};
use crate::cases::Case;
use crate::device::Depth;
use crate::generate::{self, Structure};
use crate::oracle::Oracle;
use crate::random::Random;
use broadhead_schur::{EliminationKind, LogDeterminant, Ridge};

/// What log-determinants may differ by, of the sum of the absolute logarithms of the pivots, or of 1
/// where that is less.
const PARITY: f64 = 1e-11;

/// The condition number from which on nothing is said.
const MOST: f64 = 1e6;

/// A case whose condition number is meant to be near `kappa`.
struct Conditioned {
    what: String,
    kappa: f64,
    case: Case,
}

/// Rows that are ragged, and borders past them that a library and that tiles factor. Rows and border are
/// as ill conditioned as one another.
fn dense(random: &mut Random) -> Vec<Conditioned> {
    let ragged = vec![2, 0, 5, 1, 16, 3, 2, 7];
    let mut cases = Vec::new();
    for (dims, k, each) in [
        (ragged, 70, [2.0, 30.0, 200.0]),
        (vec![2; 30], 33, [2.0, 30.0, 200.0]),
        (vec![2; 7], 190, [1.5, 20.0, 150.0]),
    ] {
        for (kappa, of_each) in [1e2, 1e4, 5e5].into_iter().zip(each) {
            let case = generate::ill_conditioned(&dims, k, of_each, of_each, random);
            cases.push(Conditioned {
                what: format!("{} rows, k {k}, kappa near {kappa:e}", dims.len()),
                kappa,
                case: Case::Dense(case),
            });
        }
    }
    cases
}

/// Few rows beside the features, so that the margin alone bounds the smallest eigenvalues: small cores
/// and one that a library forms; and a dictionary's sparsity, which of all costs the core most digits.
fn structured(random: &mut Random) -> Vec<Conditioned> {
    let mut cases = Vec::new();
    let alternating = (0..40).map(|i| 1 + i % 2).collect();
    for (dims, features, outputs, atoms, margins) in [
        (vec![2; 5], 9, 6, false, [10.0, 0.2, 3e-3]),
        (vec![1; 8], 9, 12, false, [10.0, 0.2, 4e-3]),
        (vec![5; 20], 12, 7, false, [30.0, 0.6, 2e-2]),
        (alternating, 17, 7, true, [1.0, 0.1, 1.5e-3]),
    ] {
        for (kappa, margin) in [1e2, 1e4, 5e5].into_iter().zip(margins) {
            let of = Structure {
                dims: dims.clone(),
                features,
                outputs,
                density: 1.0,
                atoms,
                margin,
            };
            let case = generate::structured(&of, random);
            cases.push(Conditioned {
                what: format!("{of:?}, kappa near {kappa:e}"),
                kappa,
                case: Case::Structured(case),
            });
        }
    }
    cases
}

fn assert_parity(what: &str, found: LogDeterminant, wanted: LogDeterminant) {
    let (error, bound) = (
        (found.value - wanted.value).abs(),
        PARITY * wanted.absolute.max(1.0),
    );
    assert!(
        error <= bound,
        "{what}: {found:?}, wanted {wanted:?}: error {error:e}, bound {bound:e}"
    );
}

/// Where the condition number is below a million, log-determinants are those of the CPU's elimination of
/// the same kind, or of a subject of the CPU those of the reference, to $`10^{-11}`$, and those of the
/// oracle; the condition numbers are about $`10^2`$, $`10^4`$ and $`5 \cdot 10^5`$, and computed, so that
/// none of it says less than it seems to.
pub fn log_determinants_are_the_cpu_s_where_kappa_is_below_a_million(subject: &Subject) {
    if !subject.is_direct() {
        return;
    }
    // The same elimination where the subject's work is on a device; else another.
    let the_cpu = Subject::cpu(match subject.options.device {
        Some(_) => subject.options.elimination.unwrap_or(EliminationKind::Rows),
        None => EliminationKind::Reference,
    });
    for kind in subject.serves {
        let mut random = Random::new(71);
        let cases = match kind {
            Kind::Dense => dense(&mut random),
            Kind::Structured => structured(&mut random),
            Kind::Operator => continue,
        };
        for Conditioned { what, kappa, case } in Depth::now().of_list(&cases, &[1, 5, 8, 11]) {
            let what = format!("{} on {what}", subject.name());
            let oracle = Oracle::new(&case.expanded(), Ridge::ZERO)
                .unwrap_or_else(|at| panic!("{what}: not positive definite at {at:?}"));
            let inverse = oracle.inverse();
            let found = inverse.kappa;
            let range = kappa / 10.0..MOST.min(10.0 * kappa);
            assert!(range.contains(&found), "{what}: kappa is {found:e}");
            let shape = case.system().shape().clone();
            let g = generate::gradient(shape.row_unknowns(), shape.border(), &mut random);
            let of = |subject: &Subject| {
                let outcome = subject.run(case, Ridge::ZERO, &g);
                subject.log_determinant(&what, outcome.log_determinant)
            };
            let (Some(own), Some(cpu)) = (of(subject), of(&the_cpu)) else {
                panic!("{what}: a direct elimination without a log-determinant");
            };
            let beside = format!("{what}, against the CPU");
            assert_parity(&beside, own, cpu);
            let tolerance = |subject: &Subject| subject.log_tolerance(case, &inverse);
            tolerance(subject).assert_both(&beside, own, (cpu, tolerance(&the_cpu)));
            let exact = oracle.log_determinant();
            let beside = format!("{what}, against the oracle");
            assert_parity(&beside, own, exact);
            tolerance(subject).assert(&beside, own, exact);
        }
    }
}
