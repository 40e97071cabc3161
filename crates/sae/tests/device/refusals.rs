//! What the loop on a device refuses, and the bytes that it says.

use super::case::Case;
use super::{Outcome, expect, expect_eq, on_device, stream};
use broadhead_device::{Context, DeviceError, MatrixMut, Refusal, Stream};
use broadhead_sae::lm::device::ResidentQuadratic;
use broadhead_sae::lm::quadratic::{QuadraticError, QuadraticWorkspace};
use broadhead_sae::lm::{LmError, Rule, go_on};
use broadhead_sae::{Place, SolveOptions};
use broadhead_schur::device::{Keep, Linearisation};
use broadhead_schur::{ArrowShape, Error, Failure, Ridge, RowDims};
use broadhead_testkit::device::{Trial, expect_no_room};

pub(super) fn tests() -> Vec<Trial> {
    vec![
        on_device("a_resident_fit_refuses_what_the_cpu_s_does", as_the_cpu),
        on_device("nothing_runs_before_its_numbers_are_there", early),
        on_device("a_graph_outlives_its_problem_and_holds_none", graphs),
        on_device("a_resident_fit_s_bytes_said_are_the_bytes_held", bytes),
        on_device("a_resident_fit_too_large_is_refused", memory),
    ]
}

fn case() -> Result<Case, Box<dyn std::error::Error>> {
    Case::new(&[2; 40], 30, 41)
}

/// A call that was declined before anything was submitted.
fn expect_refusal(what: &str, found: Result<(), Error>) -> Outcome {
    let declined = matches!(
        found,
        Err(Error::Device(DeviceError::Refusal(Refusal::Shape { .. })))
    );
    expect(declined, format!("{what}: {found:?}"))
}

fn problem<T>(found: Result<T, QuadraticError>) -> Result<(), Error> {
    match found {
        Err(LmError::Problem(error)) => Err(error),
        _ => Ok(()),
    }
}

fn stop<T>(found: Result<T, Failure>) -> Result<(), Error> {
    match found {
        Err(Failure::Stop(error)) => Err(error),
        _ => Ok(()),
    }
}

/// Bad numbers of a problem have the CPU's errors, and leave no problem behind.
fn as_the_cpu(context: &Context) -> Outcome {
    let stream = stream(context)?;
    let good = case()?;
    let (mut row, mut border, mut operand) = (case()?, case()?, case()?);
    row.g.row[9] = f64::NAN;
    border.g.border[7] = f64::INFINITY;
    operand.c[5 * 30 + 2] = f64::NAN;
    let longer = Case::new(&[2; 40], 31, 41)?;
    let mut resident = ResidentQuadratic::new(&stream, &good.shape, Keep::Factor)?;
    let mut workspace = on_the_cpu(&good)?;
    for (what, from, data) in [
        ("a gradient of rows", &row, 1.0),
        ("a gradient of the border", &border, 1.0),
        ("an operand", &operand, 1.0),
        ("a square that is no number", &good, f64::NAN),
        ("a square that is infinite", &good, f64::INFINITY),
        ("a negative square", &good, -1.0),
    ] {
        resident.load(&good.system()?, good.g.as_gradient(), 1.0)?;
        let found = resident.load(&from.system()?, from.g.as_gradient(), data);
        let wanted = workspace.load(from.system()?, from.g.as_gradient(), data);
        let (found, wanted) = (found.map_err(text), wanted.map(drop).map_err(text));
        expect(wanted.is_err(), format!("the CPU took {what}"))?;
        expect_eq(what, found, wanted)?;
        let after = problem(resident.fit(&Rule::quadratic(), &mut go_on));
        expect_refusal("a fit of a problem that was refused", after)?;
        // A gradient alone that is refused leaves the problem as it was.
        if what != "an operand" {
            resident.load(&good.system()?, good.g.as_gradient(), 1.0)?;
            let refused = resident.load_gradient(from.g.as_gradient(), data);
            expect(refused.is_err(), format!("{what} was taken"))?;
            let report = resident.fit(&Rule::quadratic(), &mut go_on)?;
            expect(report.converged(), format!("{report:?}"))?;
        }
    }
    let other = resident.load(&good.system()?, longer.g.as_gradient(), 1.0);
    expect(
        matches!(other, Err(Error::Shape(_))),
        format!("a longer gradient: {other:?}"),
    )
}

fn text(error: Error) -> String {
    error.to_string()
}

fn early(context: &Context) -> Outcome {
    let stream = stream(context)?;
    let case = case()?;
    let rule = Rule::quadratic();
    let mut resident = ResidentQuadratic::new(&stream, &case.shape, Keep::Factor)?;
    let g = case.g.as_gradient();
    expect_refusal("a start", problem(resident.start(&rule)))?;
    expect_refusal("a fit", problem(resident.fit(&rule, &mut go_on)))?;
    expect_refusal("a whole fit", problem(resident.fit_in_one_graph(&rule)))?;
    expect_refusal("a graph", stop(resident.graph(Ridge::ZERO)))?;
    expect_refusal("an iterate", stop(resident.submit(Ridge::ZERO)))?;
    expect_refusal("a gradient", resident.load_gradient(g, 1.0))?;
    let log = resident.log_determinant().map(drop);
    expect_refusal("a log-determinant", log)?;
    expect_refusal("a point", resident.point().map(drop))?;
    expect_refusal("a record", resident.read().map(drop))?;
    resident.load(&case.system()?, g, 1.0)?;
    expect_refusal(
        "an iterate before a start",
        stop(resident.submit(Ridge::ZERO)),
    )?;
    let mut graph = resident.graph(Ridge::ZERO)?;
    expect_refusal("a launch before a start", resident.launch(&mut graph))?;
    let point = resident.point().map(drop);
    expect_refusal("a point before a start", point)?;
    resident.start(&rule)?;
    let record = resident.read().map(drop);
    expect_refusal("a record before an iterate", record)?;
    resident.launch(&mut graph)?;
    let iterate = resident.read()?;
    expect(iterate.decision.accepted, format!("{iterate:?}"))?;
    // Those of the problem before are none of the next one's.
    resident.load_gradient(g, 2.0)?;
    expect_refusal("a point of the problem before", resident.point().map(drop))?;
    expect_refusal("its record", resident.read().map(drop))
}

/// One graph of an iterate for two problems: the second has the bits of a graph of its own.
fn graphs(context: &Context) -> Outcome {
    let stream = stream(context)?;
    let (first, second) = (case()?, Case::new(&[2; 40], 30, 42)?);
    let rule = Rule::quadratic();
    let mut resident = ResidentQuadratic::new(&stream, &first.shape, Keep::Factor)?;
    resident.load(&first.system()?, first.g.as_gradient(), 1.0)?;
    let mut graph = resident.graph(Ridge::ZERO)?;
    resident.load(&second.system()?, second.g.as_gradient(), 9.0)?;
    resident.start(&rule)?;
    let without = resident.launch(&mut graph);
    expect_refusal("a launch without factors of its problem", without)?;
    let mut own = resident.graph(Ridge::ZERO)?;
    resident.launch(&mut own)?;
    let wanted = (resident.read()?, resident.point()?);
    resident.start(&rule)?;
    resident.launch(&mut graph)?;
    expect_eq(
        "the older graph",
        (resident.read()?, resident.point()?),
        wanted,
    )?;
    // |X|^2 alone is another.
    resident.load_gradient(second.g.as_gradient(), 11.0)?;
    resident.start(&rule)?;
    resident.launch(&mut graph)?;
    let shifted = resident.read()?;
    let objective = shifted.decision.state.objective - 1.0;
    let near = (objective - wanted_objective(&second, 9.0)?).abs() <= 1e-12 * 10.0;
    expect(near, format!("{shifted:?}"))?;
    let mut other = ResidentQuadratic::new(&stream, &first.shape, Keep::Factor)?;
    other.load(&first.system()?, first.g.as_gradient(), 1.0)?;
    other.start(&rule)?;
    other.graph(Ridge::ZERO)?;
    expect_refusal("another's graph", other.launch(&mut graph))
}

fn on_the_cpu(case: &Case) -> Result<QuadraticWorkspace, Box<dyn std::error::Error>> {
    let (system, options) = (case.system()?.into(), SolveOptions::default());
    Ok(QuadraticWorkspace::new(
        &system,
        &options,
        &Place::default(),
    )?)
}

/// The objective that the CPU's fit reaches.
fn wanted_objective(case: &Case, data: f64) -> Result<f64, Box<dyn std::error::Error>> {
    let mut workspace = on_the_cpu(case)?;
    let mut problem = workspace.load(case.system()?, case.g.as_gradient(), data)?;
    let fit = problem.fit(&Rule::quadratic(), &mut go_on)?;
    Ok(fit.report.objective)
}

/// Bytes that the library asks for to factor a matrix of `order`, which are its own affair.
fn workspace(stream: &Stream, order: usize) -> Result<u64, DeviceError> {
    let mut matrix = stream.zeros::<f64>(order * order, "a matrix to ask about")?;
    let mut matrix = MatrixMut::packed(matrix.view_mut(), order, order)?;
    Ok(8 * stream.potrf_workspace(&mut matrix)? as u64)
}

/// Borders of orders that are not padded, so that the library's workspace is known.
fn bytes(context: &Context) -> Outcome {
    let stream = stream(context)?;
    for (dims, k) in [
        (vec![2; 200], 320),
        (vec![1, 4, 0, 7], 208),
        (vec![3; 20], 0),
    ] {
        let shape = ArrowShape::new(RowDims::ragged(&dims)?, k)?;
        let library = match k {
            0 => 0,
            k => workspace(&stream, k)?,
        };
        for keep in [Keep::Factor, Keep::InverseFactor] {
            let said = ResidentQuadratic::bytes_needed(&shape, keep)?;
            let of_linearisation = Linearisation::bytes_of_dense(&shape, keep)?;
            expect(
                said > of_linearisation,
                format!("{said} {of_linearisation}"),
            )?;
            let before = stream.ledger().held_bytes();
            let resident = ResidentQuadratic::new(&stream, &shape, keep)?;
            let held = stream.ledger().held_bytes() - before;
            expect_eq("bytes said again", resident.bytes(), said)?;
            expect_eq(&format!("{k}, {keep:?}"), held, said + library)?;
        }
    }
    Ok(())
}

fn memory(context: &Context) -> Outcome {
    let stream = stream(context)?;
    let shape = ArrowShape::uniform(4_000_000, 2, 5120)?;
    let said = ResidentQuadratic::bytes_needed(&shape, Keep::Factor)?;
    expect_no_room(&stream, said, || {
        ResidentQuadratic::new(&stream, &shape, Keep::Factor)
    })
}
