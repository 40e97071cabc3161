//! The bump of a failure: it cures, and it is small.

use super::{Kind, Subject};
use crate::cases::{Case, OperatorCase};
use crate::device::Depth;
use crate::generate::{self, Structure};
use crate::random::Random;
use broadhead_schur::{Failure, PivotSite, Ridge, Side};

/// Cases that fail, on the rows and on the border: a name, a case, and a scale of all of it.
fn failing(kind: Kind) -> Vec<(String, Case)> {
    let mut cases = Vec::new();
    let mut random = Random::new(41);
    let of = Structure {
        dims: vec![2, 0, 1, 3, 2, 2],
        features: 5,
        outputs: 7,
        density: 0.7,
        atoms: false,
        margin: 0.5,
    };
    let depth = Depth::now();
    for &scale in depth.of_list(&[1.0, 1e-100, 1e60], &[0]) {
        let make = |random: &mut Random| match kind {
            Kind::Dense => Case::Dense(generate::dense(&of.dims, 35, 0.5, random)),
            Kind::Structured => Case::Structured(generate::structured(&of, random)),
            Kind::Operator => Case::Operator(OperatorCase::new(generate::dense(
                &of.dims, 35, 0.5, random,
            ))),
        };
        let rows: [(&str, f64); 6] = [
            ("a negative pivot", -0.7),
            ("a zero pivot", 0.0),
            ("a barely negative pivot", -1e-13),
            ("a pivot far below its neighbours'", -1e-40),
            ("a large negative pivot", -1e9),
            ("a huge negative pivot", -1e40),
        ];
        for &(what, value) in depth.of_list(&rows, &[0]) {
            let mut case = make(&mut random);
            // Row 2 has one unknown.
            let at = 4;
            blocks(&mut case)[at] = value;
            cases.push((format!("{what}, scale {scale:e}"), case.scaled(scale)));
        }
        let borders = [
            ("an indefinite border", 1.5),
            ("a slightly indefinite one", 1.001),
        ];
        for &(what, weight) in depth.of_list(&borders, &[0]) {
            let mut case = make(&mut random);
            shift_border(&mut case, weight);
            cases.push((format!("{what}, scale {scale:e}"), case.scaled(scale)));
        }
        // What eliminates the border first sees of it the Gram matrix alone.
        if let Case::Structured(mut case) = make(&mut random) {
            case.gram[of.features + 1] *= -0.5;
            let what = format!("an indefinite Gram matrix, scale {scale:e}");
            cases.push((what, Case::Structured(case).scaled(scale)));
        }
    }
    cases
}

fn blocks(case: &mut Case) -> &mut [f64] {
    match case {
        Case::Dense(case) => &mut case.row_hessian,
        Case::Structured(case) => &mut case.row_hessian,
        Case::Operator(case) => &mut case.hidden.row_hessian,
    }
}

/// Lowers the border's second diagonal entry by `weight` times itself; for structured systems the
/// cross blocks grow until the eliminated border gives way while $`G`$ stays positive definite.
fn shift_border(case: &mut Case, weight: f64) {
    match case {
        Case::Dense(case) => {
            let at = case.shape.border() + 1;
            case.border_hessian[at] *= 1.0 - weight;
        }
        Case::Operator(case) => {
            let at = case.hidden.shape.border() + 1;
            case.hidden.border_hessian[at] *= 1.0 - weight;
            *case = OperatorCase::new(case.hidden.clone());
        }
        Case::Structured(case) => {
            case.psi.iter_mut().for_each(|psi| *psi *= 2.0 * weight);
        }
    }
}

/// Whether a factorization failed on `side`.
fn fails_on(outcome: &Result<(), Failure>, side: Side) -> bool {
    match outcome {
        Err(Failure::NotPositiveDefinite(failed)) => failed.site.side() == side,
        // A bump so small that what follows overflows has got past its side.
        Ok(()) | Err(Failure::Stop(_)) => false,
    }
}

/// The reported bump of a side's ridge makes the retry get past what failed, and is at most
/// four times the least that does, found by bisection. A curvature met by conjugate gradients
/// reports itself and no bump, but where there is none.
pub fn the_reported_bump_cures_and_is_at_most_four_times_the_least(subject: &Subject) {
    let mut sites = (0, 0);
    for (what, case) in subject.serves.iter().flat_map(|&kind| failing(kind)) {
        let what = format!("{} on {what}", subject.name());
        let mut solver = subject.solver(&case);
        let mut base = solver.refresh(case.system()).expect("finite numbers");
        let mut factor = |ridge: Ridge| base.factor(ridge).map(|_| ());
        for ridge in [Ridge::ZERO, Ridge::new(1e-3, 1e-3)] {
            let failed = match factor(ridge) {
                Ok(()) => continue,
                Err(Failure::NotPositiveDefinite(failed)) => failed,
                Err(Failure::Stop(error)) => panic!("{what}: {error}"),
            };
            let side = failed.site.side();
            let bump = failed
                .bump
                .unwrap_or_else(|| panic!("{what}: {failed}: no bump"));
            assert!(
                failed.value <= 0.0,
                "{what}: {failed}: a pivot that is positive"
            );
            assert!(bump > 0.0 && bump.is_finite(), "{what}: {failed}");
            match side {
                Side::Row => sites.0 += 1,
                Side::Border => sites.1 += 1,
            }
            let retry = factor(ridge.bumped(side, bump));
            assert!(
                !matches!(retry, Err(Failure::Stop(_))),
                "{what}: {failed}; the retry: {retry:?}"
            );
            assert!(
                !fails_on(&retry, side),
                "{what}: {failed}; the retry: {retry:?}"
            );
            let least = least(bump, |bump| {
                !fails_on(&factor(ridge.bumped(side, bump)), side)
            });
            // Where a pivot is zero any number serves: then far below its neighbours' is enough.
            assert!(
                bump <= 4.0 * least || what.contains("a zero pivot") && bump < 1e-70 * scale(&case),
                "{what}: {failed}: the least bump that serves is {least:e}"
            );
        }
        if !subject.is_direct() {
            curvature(subject, &what, &case);
        }
    }
    assert!(sites.0 > 0, "{}: no row has failed", subject.name());
    let borders = subject.serves != [Kind::Operator];
    assert!(
        sites.1 > 0 || !borders,
        "{}: no border has failed",
        subject.name()
    );
}

/// The largest entry of the row blocks.
fn scale(case: &Case) -> f64 {
    let blocks = match case {
        Case::Dense(case) => &case.row_hessian,
        Case::Structured(case) => &case.row_hessian,
        Case::Operator(case) => &case.hidden.row_hessian,
    };
    blocks.iter().fold(0.0, |m, x| x.abs().max(m))
}

/// The least bump that serves, to a relative 1e-3, given one that does.
fn least(serves: f64, mut factors: impl FnMut(f64) -> bool) -> f64 {
    let (mut low, mut high) = (0.0, serves);
    // Powers of sixteen down, then bisection.
    loop {
        let next = high / 16.0;
        if next == 0.0 || !factors(next) {
            low = f64::max(low, next);
            break;
        }
        high = next;
    }
    for _ in 0..14 {
        let middle = low + (high - low) / 2.0;
        if factors(middle) {
            high = middle
        } else {
            low = middle
        }
    }
    high
}

/// What a direct method would refuse, conjugate gradients refuse when they meet it.
fn curvature(subject: &Subject, what: &str, case: &Case) {
    let shape = case.system().shape().clone();
    let g = generate::gradient(shape.row_unknowns(), shape.border(), &mut Random::new(42));
    let indefinite = what.contains("indefinite");
    match subject.attempt(case, Ridge::ZERO, &g) {
        Err(Failure::NotPositiveDefinite(failed)) => {
            if let PivotSite::Curvature { .. } = failed.site {
                assert!(indefinite, "{what}: {failed}");
                assert!(
                    failed.value <= 0.0 && failed.bump.is_none() && failed.whole.is_some(),
                    "{what}: {failed}"
                );
            }
        }
        Ok(_) => panic!("{what}: solved an indefinite system"),
        Err(Failure::Stop(error)) => panic!("{what}: {error}"),
    }
}
