//! Systems with the sparsity of a dictionary, of condition numbers up to 1e11: some atoms are on in
//! fewer rows than they have features, so that the Gram matrix is singular but for its margin, or lines of
//! an atom's decoder are nearly dependent. What the core elimination answers over the pairs of features that are
//! on together is then as good as what others answer.

use broadhead_schur::{
    ArrowVector, EliminationKind, Failure, LogDeterminant, Refinement, Ridge, Solver,
    SolverOptions, SystemShape,
};
use broadhead_testkit::cases::{Case, StructuredCase};
use broadhead_testkit::generate::{self, Structure};
use broadhead_testkit::oracle::{self, Oracle};
use broadhead_testkit::pools::assert_same_bits;
use broadhead_testkit::random::Random;
use broadhead_testkit::tolerance::Tolerance;

/// The componentwise backward error that a refined step reports, to the structured operands: the default's limit.
const REPORTED: f64 = 1e-14;

/// The same to the expanded entries, in which the terms of nearly dependent lines cancel: at most 1.1e-13 was
/// seen (the core over pairs, registers of 512 bits), and more steps of refinement leave it as it is.
const BACKWARD_ERROR: f64 = 2e-13;

/// How many times the worst error of the other eliminations the core's may be.
const NO_WORSE: f64 = 16.0;

/// The worst of several answers.
#[derive(Clone, Copy, Debug, Default)]
struct Worst {
    /// Error of a log-determinant.
    log: f64,
    /// Componentwise backward error on the whole arrow of a step that was not refined.
    plain: f64,
}

impl Worst {
    fn and(self, log: f64, plain: f64) -> Self {
        assert!(!log.is_nan() && !plain.is_nan());
        Self {
            log: self.log.max(log),
            plain: self.plain.max(plain),
        }
    }
}

/// Log-determinant, step and its reported componentwise error.
fn answer(
    kind: EliminationKind,
    case: &Case,
    g: &ArrowVector,
    refinement: Refinement,
) -> Result<(LogDeterminant, ArrowVector, Option<f64>), Failure> {
    let options = SolverOptions {
        elimination: Some(kind),
        refinement,
        ..Default::default()
    };
    let mut solver = Solver::new(&case.system(), options)?;
    let mut base = solver.refresh(case.system())?;
    let mut frame = base.factor(Ridge::ZERO)?;
    let mut step = ArrowVector::zeros(case.system().shape());
    let report = frame.solve(g.as_gradient(), step.as_step())?;
    let log = frame.log_determinant();
    let reported = report.error.and_then(|error| error.componentwise);
    Ok((log.expect("a direct elimination has one"), step, reported))
}

/// Holds `kind` on `case` to the tolerance of its condition number, and adds it to `worst`.
fn judge(kind: EliminationKind, what: &str, case: &Case, g: &ArrowVector, worst: &mut Worst) {
    let (what, expanded) = (format!("{kind} on {what}"), case.expanded());
    let oracle = Oracle::new(&expanded, Ridge::ZERO)
        .unwrap_or_else(|at| panic!("{what}: not positive definite at {at:?}"));
    let inverse = oracle.inverse();
    let (exact, tolerance) = (
        oracle.log_determinant(),
        Tolerance::new(expanded.shape.order(), inverse.kappa),
    );
    let copies = match case {
        Case::Structured(case) => case.shape.outputs(),
        Case::Dense(_) | Case::Operator(_) => 1,
    };
    let measured = |refinement| {
        let (log, step, reported) = answer(kind, case, g, refinement)
            .unwrap_or_else(|error| panic!("{what}, kappa {:.1e}: {error}", tolerance.kappa));
        let found = oracle::measure(&expanded, Ridge::ZERO, g.as_gradient(), &step);
        (log, step, reported, found.componentwise)
    };
    let (log, step, reported, refined) = measured(Refinement::default());
    inverse
        .log_tolerance(Some(kind), copies)
        .assert(&what, log, exact);
    tolerance.assert_step(&what, &step, &oracle.solve(g));
    assert!(
        reported.is_some_and(|error| error <= REPORTED),
        "{what}: {reported:?} reported"
    );
    assert!(refined <= BACKWARD_ERROR, "{what}: {refined:e}");
    let (_, _, _, plain) = measured(Refinement::Off);
    *worst = worst.and((log.value - exact.value).abs(), plain);
}

/// Whether the core of `case` is over pairs, by what it holds beside the same with all features `held`.
fn is_over_pairs(case: &Case, held: &Case) -> bool {
    let shape = |case: &Case| SystemShape::of(&case.system());
    let bytes = |case| Solver::bytes_needed(EliminationKind::Core, &shape(case)).unwrap();
    2 * bytes(case) < bytes(held)
}

/// The core's answers to systems of one kind, over pairs and with every feature held, are no worse than
/// those of the others. `changed` makes another system of each.
fn assert_no_worse(
    of: &Structure,
    seeds: std::ops::Range<u64>,
    changed: impl Fn(StructuredCase, &mut Random) -> StructuredCase,
) {
    use EliminationKind::{Border, Core, Reference};
    let (mut core, mut all_held, mut others) = <(Worst, Worst, Worst)>::default();
    for seed in seeds {
        let mut random = Random::new(seed);
        let raw = generate::structured(of, &mut random);
        let raw = changed(raw, &mut random);
        let k = of.features * of.outputs;
        let g = generate::gradient(raw.shape.arrow().row_unknowns(), k, &mut random);
        let held = Case::Structured(raw.with_all_held());
        let case = Case::Structured(raw);
        assert!(
            is_over_pairs(&case, &held),
            "seed {seed}: the core is the full one"
        );
        let what = format!("seed {seed}, margin {:e}", of.margin);
        judge(Core, &what, &case, &g, &mut core);
        judge(Core, &format!("{what}, all held"), &held, &g, &mut all_held);
        for kind in [Border, Reference] {
            judge(kind, &what, &case, &g, &mut others);
        }
    }
    for (what, own) in [("core", core), ("core, all features held", all_held)] {
        let within = |own: f64, others: f64| own <= NO_WORSE * others;
        assert!(
            within(own.log, others.log) && within(own.plain, others.plain),
            "{what}: {own:?}, others: {others:?}, margin {:e}",
            of.margin
        );
    }
}

fn atoms(margin: f64) -> Structure {
    Structure {
        dims: (0..40).map(|i| 1 + i % 2).collect(),
        features: 17,
        outputs: 7,
        density: 0.0,
        atoms: true,
        margin,
    }
}

#[test]
fn atoms_that_few_rows_have_on_cost_no_digits() {
    for margin in [1e-5, 1e-7, 1e-8] {
        assert_no_worse(&atoms(margin), 1000..1010, |case, _| case);
    }
}

#[test]
fn units_of_features_cost_no_digits() {
    assert_no_worse(&atoms(1e-8), 1000..1010, |case, random| {
        let mut unit = || 2.0_f64.powi(random.below(25) as i32 - 12);
        let scale: Vec<f64> = (0..17).map(|_| unit()).collect();
        case.in_units(&scale)
    });
}

#[test]
fn nearly_dependent_lines_of_an_atom_s_decoder_cost_no_digits() {
    for (margin, apart) in [(1e-3, 1e-3), (1e-7, 1e-1), (1e-7, 1e-3)] {
        assert_no_worse(&atoms(margin), 5000..5005, |mut case, random| {
            let p = case.shape.outputs();
            for f in (1..case.shape.features()).step_by(2) {
                for c in 0..p {
                    case.decoder[(f + 1) * p + c] =
                        case.decoder[f * p + c] + apart * random.normal();
                }
            }
            case.with_margin(margin)
        });
    }
}

#[test]
fn fewer_rows_than_features_cost_no_digits() {
    for margin in [1e-5, 1e-8] {
        let of = Structure {
            dims: (0..14).map(|i| 1 + i % 2).collect(),
            features: 21,
            outputs: 12,
            density: 0.06,
            atoms: false,
            margin,
        };
        assert_no_worse(&of, 5000..5003, |case, _| case);
    }
}

/// One row of one unknown: the root of $`Q`$ is a vector, and so is what the kernel makes of it.
#[test]
fn one_row_with_many_features_has_the_same_bits_for_any_number_of_threads() {
    let of = Structure {
        dims: vec![1],
        features: 64,
        outputs: 40,
        density: 0.3,
        atoms: false,
        margin: 0.5,
    };
    let mut random = Random::new(7);
    let raw = generate::structured(&of, &mut random);
    let pairs = raw.indices.len().pow(2);
    assert!(pairs >= 256, "{pairs} pairs");
    let held = Case::Structured(raw.with_all_held());
    let g = generate::gradient(1, of.features * of.outputs, &mut random);
    let case = Case::Structured(raw);
    assert!(is_over_pairs(&case, &held), "the core is the full one");
    assert_same_bits("one row", || {
        let (log, step, _) = answer(EliminationKind::Core, &case, &g, Refinement::Off).unwrap();
        let numbers = step.row.iter().chain(&step.border).chain([&log.value]);
        numbers.copied().collect()
    });
}
