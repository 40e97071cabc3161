//! The bound on log-determinants is near what sound eliminations reach, and below what eliminations in
//! arithmetic with two digits fewer leave.

use broadhead_schur::{EliminationKind, LogDeterminant, Ridge, Solver, SolverOptions};
use broadhead_testkit::cases::DenseCase;
use broadhead_testkit::generate;
use broadhead_testkit::oracle::{Inverse, Oracle, matrix};
use broadhead_testkit::random::Random;
use broadhead_testkit::tolerance::LogTolerance;
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
    for (rows, k) in [(30, 33), (7, 90)] {
        for kappa in [1e1, 1e2, 1e3] {
            let case = generate::ill_conditioned(&vec![2; rows], k, kappa, kappa, &mut random);
            cases.push((format!("{rows} rows, kappa {kappa:e} of each, k {k}"), case));
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
        eliminate(&h, &places, bits).map_or(f64::INFINITY, |log| (log - exact.value).abs() / bound)
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
        5 * planted_past >= 4 * planted,
        "{planted_past} of {planted} are past the bound"
    );
}

/// The log-determinant of the library's elimination.
fn library(case: &DenseCase, kind: EliminationKind) -> LogDeterminant {
    let options = SolverOptions {
        elimination: Some(kind),
        ..SolverOptions::default()
    };
    let mut solver = Solver::new(&case.system(), options).unwrap();
    let mut base = solver.refresh(case.system()).unwrap();
    let frame = base.factor(Ridge::ZERO).unwrap();
    frame.log_determinant().unwrap()
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
            let case = case.permuted(&order);
            for kind in [
                EliminationKind::Rows,
                EliminationKind::Border,
                EliminationKind::Reference,
            ] {
                let found = library(&case, kind);
                let tolerance = inverse.log_tolerance(Some(kind), 1);
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
