//! Whole paths of problems that are not done in one step, against the CPU's.

use super::case::Case;
use super::hard::{Hard, Path, on_cpu, problems, same};
use super::{Outcome, expect, expect_eq, on_device, stream};
use broadhead_device::{Context, Stream};
use broadhead_sae::lm::device::ResidentQuadratic;
use broadhead_sae::lm::quadratic::LogDeterminantAbsence;
use broadhead_sae::lm::{Rule, go_on};
use broadhead_schur::LogDeterminant;
use broadhead_schur::device::Keep;
use broadhead_testkit::device::{Trial, is_racechecked};

pub(super) fn tests() -> Vec<Trial> {
    vec![
        on_device("what_grows_the_ridge_does_so_as_on_the_cpu", grown),
        on_device("a_whole_fit_grows_the_ridge_as_the_host_s_loop", whole),
        on_device("a_fit_s_log_determinant_is_the_cpu_s", sound),
    ]
}

type Boxed<T> = Result<T, Box<dyn std::error::Error>>;

type Logarithm = Result<LogDeterminant, LogDeterminantAbsence>;

/// The host's loop: its path, and the log-determinant after it.
pub(super) fn fit(resident: &mut ResidentQuadratic, hard: &Hard) -> Boxed<(Path, Logarithm)> {
    let g0 = hard.case.g.as_gradient();
    resident.load(&hard.case.system()?, g0, hard.data_norm_squared)?;
    let mut trace = Vec::new();
    let ended = resident.fit(&hard.rule, &mut |entry| {
        trace.push(*entry);
        go_on(entry)
    });
    let point = ended.is_ok().then(|| resident.point()).transpose()?;
    let path = Path {
        trace,
        ended,
        point,
    };
    Ok((path, resident.log_determinant()?))
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

/// The path and the log-determinant of the CPU.
fn as_the_cpu(resident: &mut ResidentQuadratic, hard: &Hard) -> Outcome {
    let (path, log) = fit(resident, hard)?;
    let (wanted, its_log) = on_cpu(hard)?;
    same(hard, &path, &wanted)?;
    match its_log {
        Some(its_log) => same_logarithm(hard.name, &log, &its_log),
        None => Ok(()),
    }
}

fn grown(context: &Context) -> Outcome {
    let stream = stream(context)?;
    let (mut problems, mut kept) = (problems()?, vec![Keep::InverseFactor, Keep::Factor]);
    if is_racechecked() {
        let few = ["a singular row", "a rejection past the ceiling"];
        problems.retain(|hard| few.contains(&hard.name));
        kept.truncate(1);
    }
    for keep in kept {
        for hard in &problems {
            let mut resident = ResidentQuadratic::new(&stream, &hard.case.shape, keep)?;
            as_the_cpu(&mut resident, hard)?;
            // A problem that factors, afterwards and in the same storage.
            as_the_cpu(&mut resident, &next(hard)?)?;
        }
    }
    Ok(())
}

/// A sound problem of the same shape.
fn next(hard: &Hard) -> Boxed<Hard> {
    let rows = hard.case.shape.rows();
    let dims: Vec<usize> = (0..rows.rows()).map(|i| rows.dim(i)).collect();
    Ok(Hard {
        name: "the next fit",
        case: Case::new(&dims, hard.case.shape.border(), 39)?,
        data_norm_squared: 2.5,
        rule: Rule::quadratic(),
    })
}

/// Both drivers agree to the bit, also in how they fail.
fn whole(context: &Context) -> Outcome {
    let stream = stream(context)?;
    for hard in problems()? {
        let shape = &hard.case.shape;
        let mut resident = ResidentQuadratic::new(&stream, shape, Keep::InverseFactor)?;
        in_one_graph(&mut resident, &hard)?;
        in_one_graph(&mut resident, &next(&hard)?)?;
    }
    Ok(())
}

fn in_one_graph(resident: &mut ResidentQuadratic, hard: &Hard) -> Outcome {
    let name = hard.name;
    let (Path { ended, point, .. }, log) = fit(resident, hard)?;
    // By a graph that is made, and by one that was.
    for _ in 0..2 {
        let whole = resident.fit_in_one_graph(&hard.rule);
        let alike = match (&whole, &ended) {
            (Ok(whole), Ok(ended)) => whole == ended && Some(resident.point()?) == point,
            (Err(whole), Err(ended)) => whole.to_string() == ended.to_string(),
            _ => false,
        };
        expect(
            alike,
            format!("{name}: in one graph {whole:?}, else {ended:?}"),
        )?;
        let after = resident.log_determinant()?;
        expect(
            after == log,
            format!("{name}: {after:?} after it, else {log:?}"),
        )?;
    }
    Ok(())
}

/// Where there is one it costs nothing after a fit at zero ridge, and never sends anything.
fn sound(context: &Context) -> Outcome {
    let stream = stream(context)?;
    for (dims, k) in [(vec![2; 180], 500), (vec![1, 3, 0, 16, 2], 65)] {
        for initial_ridge in [0.0, 1e-3] {
            let hard = Hard::sound(&dims, k, 31, initial_ridge)?;
            let mut resident = ResidentQuadratic::new(&stream, &hard.case.shape, Keep::Factor)?;
            as_the_cpu(&mut resident, &hard)?;
            let (_, log) = on_cpu(&hard)?;
            let there = matches!(log, Some(Ok(_)));
            expect(there, format!("the CPU's fit has none: {log:?}"))?;
            resident.fit(&hard.rule, &mut go_on)?;
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
