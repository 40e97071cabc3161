//! Whole paths of problems that are not done in one step, against the CPU's.

use super::case::Case;
use super::hard::{Hard, Path, on_cpu, problems, same};
use super::{Outcome, expect, expect_eq, on_device, stream};
use broadhead_device::{Context, Stream};
use broadhead_sae::lm::Rule;
use broadhead_sae::lm::device::ResidentQuadratic;
use broadhead_sae::quadratic::LogDeterminantAbsence;
use broadhead_schur::LogDeterminant;
use broadhead_schur::cuda::Keep;
use broadhead_testkit::device::{Trial, is_racechecked};

pub(super) fn tests() -> Vec<Trial> {
    vec![
        on_device("what_grows_the_ridge_does_so_as_on_the_cpu", grown),
        on_device("a_fit_s_log_determinant_is_the_cpu_s", sound),
    ]
}

type Logarithm = Result<LogDeterminant, LogDeterminantAbsence>;

/// Fits by both drivers, which agree to the bit; the path and the log-determinant after each.
fn fits(
    resident: &mut ResidentQuadratic,
    hard: &Hard,
) -> Result<(Path, Logarithm), Box<dyn std::error::Error>> {
    let name = hard.name;
    let g0 = hard.case.g.as_gradient();
    resident.load(&hard.case.system()?, g0, hard.data_norm_squared)?;
    let mut trace = Vec::new();
    let ended = resident.fit(&hard.rule, &mut |entry| trace.push(*entry));
    let log = resident.log_determinant()?;
    let point = resident.point()?;
    // Twice: by a graph that is made, and by one that was.
    for _ in 0..2 {
        let whole = resident.fit_in_one_graph(&hard.rule);
        let alike = match (&whole, &ended) {
            (Ok(whole), Ok(ended)) => whole == ended && resident.point()? == point,
            (Err(whole), Err(ended)) => whole.to_string() == ended.to_string(),
            _ => false,
        };
        if !alike {
            return Err(format!("{name}: in one graph {whole:?}, else {ended:?}").into());
        }
        if resident.log_determinant()? != log {
            return Err(format!("{name}: another log-determinant after it").into());
        }
    }
    Ok((Path { trace, ended }, log))
}

fn same_logarithm(name: &str, found: &Logarithm, wanted: &Logarithm) -> Outcome {
    let place = |what: &str| what.split(',').take(2).collect::<Vec<_>>().join(",");
    let alike = match (found, wanted) {
        (Ok(a), Ok(b)) => (a.value - b.value).abs() <= 1e-12 * b.absolute.max(1.0),
        (Err(LogDeterminantAbsence::Singular(a)), Err(LogDeterminantAbsence::Singular(b))) => {
            place(a) == place(b)
        }
        _ => false,
    };
    expect(alike, format!("{name}: {found:?}, the CPU's {wanted:?}"))
}

fn grown(context: &Context) -> Outcome {
    let stream = stream(context)?;
    for keep in kept() {
        for hard in problems()? {
            let mut resident = ResidentQuadratic::new(&stream, &hard.case.shape, keep)?;
            let (path, log) = fits(&mut resident, &hard)?;
            let (wanted, its_log) = on_cpu(&hard)?;
            same(hard.name, &path, &wanted)?;
            if let Some(its_log) = its_log {
                same_logarithm(hard.name, &log, &its_log)?;
            }
            next_fit(&mut resident)?;
        }
    }
    Ok(())
}

fn kept() -> Vec<Keep> {
    match is_racechecked() {
        true => vec![Keep::InverseFactor],
        false => vec![Keep::Factor, Keep::InverseFactor],
    }
}

/// A problem that factors, afterwards and in the same storage, by a graph of its own.
fn next_fit(resident: &mut ResidentQuadratic) -> Outcome {
    let shape = resident.base().shape().clone();
    let dims: Vec<usize> = (0..shape.row_count())
        .map(|i| shape.rows().dim(i))
        .collect();
    let hard = Hard {
        name: "the next fit",
        case: Case::new(&dims, shape.border(), 39)?,
        data_norm_squared: 2.5,
        rule: Rule::quadratic(),
    };
    against_the_cpu(resident, &hard)
}

/// The path and the log-determinant of a problem that has one.
fn against_the_cpu(resident: &mut ResidentQuadratic, hard: &Hard) -> Outcome {
    let (path, log) = fits(resident, hard)?;
    let (wanted, its_log) = on_cpu(hard)?;
    same(hard.name, &path, &wanted)?;
    let its_log = its_log.ok_or("the CPU's fit failed")?;
    expect(its_log.is_ok(), format!("{its_log:?}"))?;
    same_logarithm(hard.name, &log, &its_log)
}

/// Where there is one it costs nothing after a fit at zero ridge, and never sends anything.
fn sound(context: &Context) -> Outcome {
    let stream = stream(context)?;
    for (dims, k) in [(vec![2; 180], 500), (vec![1, 3, 0, 16, 2], 65)] {
        for initial_ridge in [0.0, 1e-3] {
            let hard = Hard {
                name: "a sound problem",
                case: Case::new(&dims, k, 31)?,
                data_norm_squared: 7.5,
                rule: Rule {
                    initial_ridge,
                    ..Rule::quadratic()
                },
            };
            let mut resident = ResidentQuadratic::new(&stream, &hard.case.shape, Keep::Factor)?;
            against_the_cpu(&mut resident, &hard)?;
            resident.fit(&hard.rule, &mut |_| {})?;
            let before = ledger(&stream);
            resident.log_determinant()?.map_err(|why| why.to_string())?;
            let moved = ledger(&stream).since(&before);
            expect_eq("bytes in", moved.host_to_device.total(), 0)?;
            expect_eq("allocations", moved.allocations, 0)?;
            let anew = u64::from(initial_ridge > 0.0);
            expect_eq("factorizations", moved.factorizations, anew)?;
        }
    }
    Ok(())
}

fn ledger(stream: &Stream) -> broadhead_device::LedgerSnapshot {
    stream.ledger().snapshot()
}
