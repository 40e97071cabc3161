//! The ridges that failures report: followed, they end in a solved system, soon and not far away.
//!
//! ```math
//! r_* = \max(0, -\lambda_{\min}(M^{-1/2} H M^{-1/2})), \qquad
//! M = \mathrm{diag}(m_t I_N, m_\beta I_k)
//! ```
//!
//! with $`m_t`$, $`m_\beta`$ the mean diagonals: the least relative ridge that makes the whole matrix positive
//! definite, by its eigenvalues.

use super::{Kind, Subject, order};
use crate::cases::{Case, DenseCase, OperatorCase, StructuredCase};
use crate::device::Depth;
use crate::generate::{self, Structure};
use crate::oracle::{self, Oracle};
use crate::random::Random;
use broadhead_schur::{ArrowVector, Failure, LEAST_BUMP, MeanDiagonals, Ridge};
use faer::{Mat, Side};

/// Factorizations until one is followed by a solution.
const TRIES: usize = 3;

/// How many times the least relative ridge may be reached.
const TIMES: f64 = 16.0;

/// What becomes of some of the row blocks.
#[derive(Clone, Copy, Debug)]
enum Spoil {
    /// One direction is left of a block.
    RankOne,
    /// Nothing is.
    Zero,
    /// A direction is turned round.
    Indefinite,
    /// A direction is turned round by little more than rounding.
    Barely,
}

const SPOILS: [Spoil; 4] = [
    Spoil::RankOne,
    Spoil::Zero,
    Spoil::Indefinite,
    Spoil::Barely,
];

/// Replaces a symmetric block, row-major of order `d`.
fn spoil(block: &mut [f64], d: usize, how: Spoil, random: &mut Random) {
    let v = random.normals(d);
    let size = v.iter().map(|x| x * x).sum::<f64>().max(f64::MIN_POSITIVE);
    let mean = (0..d).map(|a| block[a * (d + 1)]).sum::<f64>() / d as f64;
    for a in 0..d {
        for b in 0..d {
            let line = mean * v[a] * v[b] / size;
            let unit = if a == b { mean } else { 0.0 };
            block[a * d + b] = match how {
                Spoil::RankOne => line,
                Spoil::Zero => 0.0,
                Spoil::Indefinite => unit - 1.5 * line,
                Spoil::Barely => unit - (1.0 + 1e-13) * line,
            };
        }
    }
}

/// A system with some of its blocks spoilt, its coupling times `coupling`.
fn dense(how: Spoil, coupling: f64, random: &mut Random) -> DenseCase {
    let dims: Vec<usize> = (0..8).map(|_| random.below(5)).chain([3]).collect();
    let k = 1 + random.below(9);
    let mut case = generate::dense(&dims, k, 0.5, random);
    case.row_cross.iter_mut().for_each(|b| *b *= coupling);
    for (i, &d) in dims.iter().enumerate() {
        if d > 0 && (i == 8 || random.below(3) == 0) {
            let at = case.shape.rows().block_offset(i);
            spoil(&mut case.row_hessian[at..at + d * d], d, how, random);
        }
    }
    case
}

/// A structured system with some of its blocks spoilt; its coupling is the product of its factors, which
/// its other blocks hold with a margin only at `coupling` of at most 1.
fn structured(how: Spoil, coupling: f64, random: &mut Random) -> StructuredCase {
    let of = Structure {
        dims: (0..9).map(|_| random.below(4)).chain([3]).collect(),
        features: 1 + random.below(5),
        outputs: 1 + random.below(6),
        density: 0.8,
        atoms: false,
        margin: 0.5,
    };
    let mut case = generate::structured(&of, random);
    case.psi.iter_mut().for_each(|psi| *psi *= coupling);
    for (i, &d) in of.dims.iter().enumerate() {
        if d > 0 && (i == 9 || random.below(3) == 0) {
            let at = case.shape.arrow().rows().block_offset(i);
            spoil(&mut case.row_hessian[at..at + d * d], d, how, random);
        }
    }
    case
}

/// Systems of one kind that are not positive definite, and the largest diagonals of their sides.
fn failing(kind: Kind, seeds: u64) -> Vec<(String, Case)> {
    let mut cases = Vec::new();
    for seed in 0..seeds {
        for how in SPOILS {
            for coupling in [1e-6, 1e-2, 1.0, 30.0] {
                let random = &mut Random::new(1000 + seed);
                let mut case = match kind {
                    Kind::Dense => Case::Dense(dense(how, coupling, random)),
                    Kind::Structured => Case::Structured(structured(how, coupling, random)),
                    Kind::Operator => {
                        Case::Operator(OperatorCase::new(dense(how, coupling, random)))
                    }
                };
                // A border that is indefinite by itself too.
                let both = random.below(4) == 0;
                match &mut case {
                    Case::Dense(case) if both => case.border_hessian[0] *= -0.7,
                    Case::Structured(case) if both => case.gram[0] *= -0.7,
                    _ => {}
                }
                let what = format!("{how:?}, coupling {coupling:e}, seed {seed}, both: {both}");
                cases.push((what, case));
            }
        }
    }
    cases
}

/// $`r_*`$.
fn least_relative_ridge(case: &DenseCase, means: MeanDiagonals) -> f64 {
    let n = case.shape.row_unknowns();
    let h = oracle::matrix(case, Ridge::ZERO);
    let root = |i: usize| if i < n { means.row } else { means.border }.sqrt();
    let scaled = Mat::from_fn(h.nrows(), h.nrows(), |i, j| h[(i, j)] / root(i) / root(j));
    let eigenvalues = scaled
        .self_adjoint_eigenvalues(Side::Lower)
        .expect("eigenvalues of a finite matrix");
    eigenvalues
        .iter()
        .fold(0.0, |most, value| f64::max(most, -value))
}

/// The largest diagonal entries of both sides.
fn largest(case: &DenseCase) -> Ridge {
    let (rows, k) = (case.shape.rows(), case.shape.border());
    let of_row = |i: usize| (0..rows.dim(i)).map(move |a| case.d(i, a, a).abs());
    Ridge {
        row: (0..rows.rows()).flat_map(of_row).fold(0.0, f64::max),
        border: (0..k)
            .map(|j| case.border_hessian[j * (k + 1)].abs())
            .fold(0.0, f64::max),
    }
}

/// Where following the failures of `subject` on `case` leads.
fn follow(subject: &Subject, what: &str, case: &Case, g: &ArrowVector) -> (Ridge, ArrowVector) {
    let mut ridge = Ridge::ZERO;
    let mut said = Vec::new();
    for _ in 0..TRIES {
        match subject.attempt(case, ridge, g) {
            Ok(outcome) => return (ridge, outcome.step),
            Err(Failure::NotPositiveDefinite(failed)) => {
                said.push(format!("at {ridge:?}: {failed}"));
                ridge = failed
                    .next(ridge)
                    .unwrap_or_else(|| panic!("{what}: {said:?}: nothing to try next"));
            }
            Err(Failure::Stop(error)) => panic!("{what}: {said:?}, then {error}"),
        }
    }
    panic!("{what}: not solved in {TRIES} tries: {said:?}");
}

/// Following the ridges that failures report ends in a solved system within three tries, at ridges of
/// at most 16 times the least relative one that makes the whole matrix positive definite, or of
/// the floor that keeps digits; the step there is right.
pub fn following_the_reported_ridges_ends_in_a_solved_system(subject: &Subject) {
    let seeds = Depth::now().of_random(12).into();
    let mut together = 0;
    for (what, case) in subject.serves.iter().flat_map(|&kind| failing(kind, seeds)) {
        let what = format!("{} on {what}", subject.name());
        let (expanded, means) = (case.expanded(), case.system().mean_diagonals());
        let shape = case.system().shape().clone();
        let g = generate::gradient(shape.row_unknowns(), shape.border(), &mut Random::new(43));
        let (ridge, step) = follow(subject, &what, &case, &g);
        let least = least_relative_ridge(&expanded, means);
        let floor = largest(&expanded);
        for (side, reached, mean, floor) in [
            ("row", ridge.row, means.row, floor.row),
            ("border", ridge.border, means.border, floor.border),
        ] {
            let bound = f64::max(TIMES * least * mean, 4.0 * LEAST_BUMP * floor);
            assert!(
                reached <= bound,
                "{what}: a {side} ridge of {reached:e}, {bound:e} allowed, least {least:e}"
            );
        }
        together += usize::from(ridge.row > 0.0 && ridge.border > 0.0);
        let oracle = Oracle::new(&expanded, ridge)
            .unwrap_or_else(|at| panic!("{what}: not positive definite at {at:?} and {ridge:?}"));
        let tolerance = subject.tolerance(order(&case), oracle.kappa());
        tolerance.assert_step(&what, &step, &oracle.solve(&g));
    }
    assert!(
        together > 0,
        "{}: no system needed both ridges",
        subject.name()
    );
}
