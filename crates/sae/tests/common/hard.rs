//! Quadratic problems whose path is not one step: what the CPU does with each, and a comparison of paths.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses its own part"
)]

use crate::case::{Case, Outcome};
use broadhead_sae::lm::quadratic::{LogDeterminantAbsence, QuadraticError, QuadraticWorkspace};
use broadhead_sae::lm::{LastTrial, LmError, LmReport, Rule, TraceEntry, go_on};
use broadhead_sae::{Place, SolveOptions};
use broadhead_schur::{ArrowVector, EliminationKind, Error, LogDeterminant};

/// One problem.
pub struct Hard {
    pub name: &'static str,
    pub case: Case,
    pub data_norm_squared: f64,
    pub rule: Rule,
}

impl Hard {
    /// A sound problem, from an initial ridge.
    pub fn sound(dims: &[usize], k: usize, seed: u64, initial_ridge: f64) -> Outcome<Self> {
        Ok(Self {
            name: "a sound problem",
            case: Case::new(dims, k, seed)?,
            data_norm_squared: 7.5,
            rule: Rule {
                initial_ridge,
                ..Rule::quadratic()
            },
        })
    }
}

/// How a fit went, and where to.
pub struct Path {
    pub trace: Vec<TraceEntry>,
    pub ended: Result<LmReport, QuadraticError>,
    pub point: Option<ArrowVector>,
}

/// The row that is spoilt.
const ROW: usize = 7;
/// Its first unknown, and the width of its block's storage.
const UNKNOWN: usize = 2 * ROW;
const BLOCK: usize = 4 * ROW;
const BORDER: usize = 40;

fn sound(seed: u64) -> Outcome<Case> {
    Case::new(&[2; 50], BORDER, seed)
}

/// Row 7 without coupling, its block `diagonal` times the identity, and its gradient.
fn with_row(seed: u64, diagonal: f64, gradient: [f64; 2]) -> Outcome<Case> {
    let mut case = sound(seed)?;
    case.d[BLOCK..BLOCK + 4].copy_from_slice(&[diagonal, f64::NAN, 0.0, diagonal]);
    case.b[UNKNOWN * BORDER..(UNKNOWN + 2) * BORDER].fill(0.0);
    case.g.row[UNKNOWN..UNKNOWN + 2].copy_from_slice(&gradient);
    Ok(case)
}

/// A gradient so large along a direction without curvature that the objective overflows at small
/// ridges: the one way, rounding apart, in which a trial of the bare quadratic is rejected. Where
/// `H + rho` is positive definite the prediction is `d' (H / 2 + rho) d > 0` and exact.
fn overflowing(seed: u64) -> Outcome<Case> {
    with_row(seed, 0.0, [3e152, 0.0])
}

/// All of them.
pub fn problems() -> Outcome<Vec<Hard>> {
    let quadratic = Rule::quadratic();
    let below = |ridge_ceiling| Rule {
        ridge_ceiling,
        ..quadratic
    };
    let mut border = sound(33)?;
    border.c[5 * BORDER + 5] = -2.0;
    let mut both = with_row(34, -1.5, [0.3, -0.2])?;
    both.c[39 * BORDER + 39] = -3.0;
    let mut none = Case::new(&[1], 3, 35)?;
    none.d[0] = 0.0;
    none.b.fill(0.0);
    let of = |name, case, rule| Hard {
        name,
        case,
        data_norm_squared: 7.5,
        rule,
    };
    Ok(vec![
        of("a singular row", with_row(31, 0.0, [0.0; 2])?, quadratic),
        of(
            "an indefinite row",
            with_row(32, -1.5, [0.3, -0.2])?,
            quadratic,
        ),
        of("an indefinite border", border, quadratic),
        of("both indefinite", both, quadratic),
        // Eight steps: the objective then still is far enough from the largest number that rounding
        // decides nothing.
        of(
            "an overflowing objective",
            overflowing(36)?,
            quadratic.with_max_iterations(8),
        ),
        of(
            "a row past the ceiling",
            with_row(32, -1.5, [0.3, -0.2])?,
            below(0.1),
        ),
        of(
            "a rejection past the ceiling",
            overflowing(36)?,
            below(1e-5),
        ),
        of("a side without scale", none, quadratic),
        of(
            "an overflowing step",
            with_row(37, 1e-20, [1e300, 0.0])?,
            quadratic,
        ),
        of(
            "a rule out of range",
            sound(38)?,
            Rule {
                ridge_increase: 1.0,
                ..quadratic
            },
        ),
    ])
}

/// What a fit of the CPU says of its log-determinant, and its path.
pub type OnCpu = (Path, Option<Result<LogDeterminant, LogDeterminantAbsence>>);

/// The CPU's fit, rows first.
pub fn on_cpu(hard: &Hard) -> Outcome<OnCpu> {
    on_cpu_by(hard, EliminationKind::Rows)
}

/// The CPU's fit by any elimination.
pub fn on_cpu_by(hard: &Hard, elimination: EliminationKind) -> Outcome<OnCpu> {
    let options = SolveOptions {
        elimination: Some(elimination),
        ..Default::default()
    };
    let system = hard.case.system()?;
    let mut workspace = QuadraticWorkspace::new(&system.into(), &options, &Place::default())?;
    let g0 = hard.case.g.as_gradient();
    let mut problem = workspace.load(system, g0, hard.data_norm_squared)?;
    let mut trace = Vec::new();
    let fit = problem.fit(&hard.rule, &mut |entry| {
        trace.push(*entry);
        go_on(entry)
    });
    let (ended, point, log) = match fit {
        Ok(fit) => (Ok(fit.report), Some(fit.point), Some(fit.log_determinant)),
        Err(error) => (Err(error), None, None),
    };
    let path = Path {
        trace,
        ended,
        point,
    };
    Ok((path, log))
}

/// Whether two numbers are as near as two orders of summation leave them here.
fn near(a: f64, b: f64, relative: f64) -> bool {
    a == b || (a - b).abs() <= relative * a.abs().max(b.abs())
}

/// Whether two numbers that are computed from terms of size `scale` are as near as rounding leaves them.
fn near_beside(a: f64, b: f64, scale: f64) -> bool {
    near(a, b, 1e-6) || (a - b).abs() <= 1e-11 * scale
}

/// The same decisions of the same trials: counts and acceptances alike; ridges, objectives, predictions,
/// gains and the residual's norms to rounding; and one end.
pub fn same(hard: &Hard, found: &Path, wanted: &Path) -> Outcome<()> {
    let name = hard.name;
    let counts = |path: &Path| -> Vec<_> {
        let of = |t: &TraceEntry| {
            let there = [t.objective.is_some(), t.predicted.is_some()];
            (t.trial, t.iteration, t.accepted, there)
        };
        path.trace.iter().map(of).collect()
    };
    if counts(found) != counts(wanted) {
        return Err(format!("{name}: {:?}, the CPU's {:?}", found.trace, wanted.trace).into());
    }
    for (a, b) in found.trace.iter().zip(&wanted.trace) {
        let objectives = match (a.objective, b.objective) {
            (Some(a), Some(b)) => near(a, b, 1e-9),
            _ => true,
        };
        let scale = b.objective.unwrap_or(0.0).abs().max(hard.data_norm_squared);
        // A gain is a ratio to the prediction: of one that is rounding it says nothing.
        let predictions = match (a.predicted, b.predicted) {
            (Some(p), Some(q)) if q > 1e-4 * scale => {
                near(p, q, 1e-6) && near(a.gain, b.gain, 1e-6)
            }
            (Some(p), Some(q)) => near_beside(p, q, scale),
            _ => a.gain == b.gain,
        };
        if !(objectives && predictions && near(a.ridge, b.ridge, 1e-6)) {
            return Err(format!("{name}: {a:?}, the CPU's {b:?}").into());
        }
    }
    match (&found.ended, &wanted.ended) {
        (Ok(a), Ok(b)) => {
            let counts = |r: &LmReport| (r.status, r.iterations, r.trials);
            let close = near(a.objective, b.objective, 1e-9) && near(a.ridge, b.ridge, 1e-6);
            let norm = |x: &[f64]| x.iter().fold(0.0, |sum: f64, x| sum.hypot(*x));
            let sides = [norm(&hard.case.g.row), norm(&hard.case.g.border)];
            let scale = sides[0].hypot(sides[1]);
            let norms = a.residual_norms.iter().zip(&b.residual_norms);
            let still = norms.clone().all(|(a, b)| near_beside(*a, *b, scale));
            if counts(a) == counts(b) && close && still {
                return Ok(());
            }
        }
        (Err(a), Err(b)) if same_error(a, b) => return Ok(()),
        _ => {}
    }
    Err(format!("{name}: {:?}, the CPU's {:?}", found.ended, wanted.ended).into())
}

fn same_error(a: &QuadraticError, b: &QuadraticError) -> bool {
    match (a, b) {
        (
            LmError::RidgeCeiling {
                iteration,
                trial,
                ridge,
                ceiling,
                last,
            },
            LmError::RidgeCeiling {
                iteration: its_iteration,
                trial: its_trial,
                ridge: its_ridge,
                ceiling: its_ceiling,
                last: its_last,
            },
        ) => {
            (iteration, trial, ceiling) == (its_iteration, its_trial, its_ceiling)
                && near(*ridge, *its_ridge, 1e-6)
                && same_reason(last, its_last)
        }
        (LmError::Rule { field }, LmError::Rule { field: its }) => field == its,
        (
            LmError::Problem(Error::Overflow { what }),
            LmError::Problem(Error::Overflow { what: its }),
        ) => what == its,
        _ => false,
    }
}

/// Of a pivot its place: its value is rounded by each in its own way.
fn same_reason(a: &LastTrial, b: &LastTrial) -> bool {
    let place = |what: &str| what.split(',').take(2).collect::<Vec<_>>().join(",");
    match (a, b) {
        (LastTrial::NotPositiveDefinite(a), LastTrial::NotPositiveDefinite(b)) => {
            place(a) == place(b)
        }
        (a, b) => a == b,
    }
}
