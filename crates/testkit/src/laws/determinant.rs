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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases::DenseCase;
    use crate::oracle::{Inverse, matrix};
    use crate::tolerance::LogTolerance;
    use faer::Mat;

    /// What "within a factor of 100" and "two digits" are: 7 bits.
    const DIGITS: f64 = 100.0;
    const BITS: i32 = 53;
    const LOST: i32 = 7;

    /// The cases of the hard suite whose oracle takes no time, and those of this law.
    fn suite() -> Vec<(String, DenseCase)> {
        let mut random = Random::new(72);
        let dims = [3, 1, 0, 2, 17, 2, 3, 1];
        let mut cases = Vec::new();
        for k in [1, 7, 40] {
            for (rows, border) in [
                (1e2, 1e2),
                (1e5, 1e5),
                (1e10, 1e2),
                (1e2, 1e10),
                (1e7, 1e7),
                (1e4, 1e10),
            ] {
                let case = generate::ill_conditioned(&dims, k, rows, border, &mut random);
                let what = format!("kappa {rows:e} of the rows, {border:e} of the border, k {k}");
                let scaled = generate::badly_scaled(case.clone(), 15, &mut random);
                cases.push((format!("{what}, badly scaled"), scaled));
                cases.push((what, case));
            }
        }
        for of in dense(&mut random) {
            if let Case::Dense(case) = of.case {
                cases.push((of.what, case));
            }
        }
        cases
    }

    /// `x` to `bits` binary digits.
    fn to_bits(x: f64, bits: i32) -> f64 {
        if x == 0.0 || bits >= BITS {
            return x;
        }
        let unit = 2.0_f64.powi(x.abs().log2().floor() as i32 + 1 - bits);
        (x / unit).round() * unit
    }

    /// The log-determinant by plain elimination in this order, every operation rounded to `bits`; `None`
    /// where a pivot is not positive.
    fn eliminate(h: &Mat<f64>, places: &[usize], bits: i32) -> Option<f64> {
        let (n, round) = (places.len(), |x: f64| to_bits(x, bits));
        let mut a = Mat::from_fn(n, n, |i, j| h[(places[i], places[j])]);
        let mut log = 0.0;
        for j in 0..n {
            if a[(j, j)] <= 0.0 {
                return None;
            }
            let root = round(a[(j, j)].sqrt());
            log = round(log + round(2.0 * root.ln()));
            for i in j + 1..n {
                a[(i, j)] = round(a[(i, j)] / root);
            }
            for c in j + 1..n {
                let weight = a[(c, j)];
                if weight != 0.0 {
                    for i in c..n {
                        a[(i, c)] = round(a[(i, c)] - round(a[(i, j)] * weight));
                    }
                }
            }
        }
        Some(log)
    }

    /// Orders of elimination, rows first and border first, the rows in some order.
    fn orders(case: &DenseCase, random: &mut Random) -> Vec<(EliminationKind, Vec<usize>)> {
        let (rows, n) = (case.shape.rows(), case.shape.row_unknowns());
        let mut orders = Vec::new();
        for _ in 0..4 {
            let of_rows: Vec<usize> = (random.permutation(rows.rows()).into_iter())
                .flat_map(|i| rows.offset(i)..rows.offset(i + 1))
                .collect();
            let of_border: Vec<usize> = (random.permutation(case.shape.border()).into_iter())
                .map(|j| n + j)
                .collect();
            orders.push((EliminationKind::Rows, [&of_rows[..], &of_border].concat()));
            orders.push((EliminationKind::Border, [&of_border[..], &of_rows].concat()));
        }
        orders
    }

    /// The errors of eliminations in `bits`, beside their bounds; infinite where one broke down.
    fn beside_bounds(
        case: &DenseCase,
        inverse: &Inverse,
        exact: LogDeterminant,
        bits: i32,
    ) -> Vec<f64> {
        let h = matrix(case, Ridge::ZERO);
        let of = |(kind, places): (EliminationKind, Vec<usize>)| {
            let bound = inverse.log_tolerance(Some(kind), 1).bound(exact.absolute);
            eliminate(&h, &places, bits)
                .map_or(f64::INFINITY, |log| (log - exact.value).abs() / bound)
        };
        orders(case, &mut Random::new(73))
            .into_iter()
            .map(of)
            .collect()
    }

    #[test]
    fn a_loss_of_two_digits_is_past_the_bound_and_sound_eliminations_are_near_it() {
        let (mut planted_past, mut planted) = (0, 0);
        for (what, case) in suite() {
            let oracle = Oracle::new(&case, Ridge::ZERO)
                .unwrap_or_else(|at| panic!("{what}: not positive definite at {at:?}"));
            let (inverse, exact) = (oracle.inverse(), oracle.log_determinant());
            let worst = |of: &[f64]| of.iter().fold(0.0, |worst: f64, x| worst.max(*x));
            let sound = beside_bounds(&case, &inverse, exact, BITS);
            assert!(worst(&sound) <= 1.0, "{what}: {sound:?} of the bound");
            assert!(
                worst(&sound) >= 1.0 / DIGITS,
                "{what}: {sound:?} of the bound"
            );
            let lossy = beside_bounds(&case, &inverse, exact, BITS - LOST);
            assert!(
                worst(&lossy) > 1.0,
                "{what}: {lossy:?} of the bound, two digits lost"
            );
            planted_past += lossy.iter().filter(|error| **error > 1.0).count();
            planted += lossy.len();
        }
        assert!(
            10 * planted_past >= 9 * planted,
            "{planted_past} of {planted} are past the bound"
        );
    }

    #[test]
    fn the_library_s_eliminations_are_within_a_hundredth_of_the_bound() {
        for (what, case) in suite() {
            let oracle = Oracle::new(&case, Ridge::ZERO)
                .unwrap_or_else(|at| panic!("{what}: not positive definite at {at:?}"));
            let (inverse, exact) = (oracle.inverse(), oracle.log_determinant());
            let mut random = Random::new(74);
            let mut worst = 0.0_f64;
            for _ in 0..4 {
                let order = random.permutation(case.shape.row_count());
                let case = Case::Dense(case.permuted(&order));
                let shape = case.system().shape().clone();
                let g = generate::gradient(shape.row_unknowns(), shape.border(), &mut random);
                for kind in [
                    EliminationKind::Rows,
                    EliminationKind::Border,
                    EliminationKind::Reference,
                ] {
                    let subject = Subject::cpu(kind);
                    let found = subject.run(&case, Ridge::ZERO, &g).log_determinant;
                    let Some(found) = subject.log_determinant(&what, found) else {
                        panic!("{what}: {kind} has no log-determinant");
                    };
                    let tolerance = subject.log_tolerance(&case, &inverse);
                    tolerance.assert(&format!("{kind} on {what}"), found, exact);
                    let bound = tolerance.bound(exact.absolute);
                    worst = worst.max((found.value - exact.value).abs() / bound);
                }
            }
            assert!(worst >= 1.0 / DIGITS, "{what}: {worst:e} of the bound");
        }
    }

    #[test]
    fn the_bound_is_of_the_roundings_and_refuses_what_is_no_number() {
        let tolerance = LogTolerance {
            order: 100,
            spread: 90.0,
        };
        let of = |value: f64| LogDeterminant {
            value,
            absolute: 1.0,
        };
        // 4 * 2^-53 * (90 + 10 * 1).
        let bound = 400.0 * 0.5 * f64::EPSILON;
        assert_eq!(tolerance.bound(1.0), bound);
        tolerance.assert("within", of(1.0 + 0.9 * bound), of(1.0));
        for wrong in [1.0 + 1.1 * bound, f64::NAN, f64::INFINITY] {
            let judged = std::panic::catch_unwind(|| tolerance.assert("past", of(wrong), of(1.0)));
            assert!(judged.is_err(), "{wrong}");
        }
    }
}
