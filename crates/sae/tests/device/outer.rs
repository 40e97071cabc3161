//! Outer sequences: many gradients under one operator and ridge are one frame, on either level.

use super::case::Case;
use super::{Outcome, expect, expect_eq, on_device, stream};
use broadhead_device::{Context, DevicePolicy, ExecutionPath};
use broadhead_sae::lm::device::ResidentQuadratic;
use broadhead_sae::lm::quadratic::QuadraticWorkspace;
use broadhead_sae::lm::{Rule, go_on};
use broadhead_sae::{Place, SolveOptions};
use broadhead_schur::device::{Keep, Placement};
use broadhead_schur::{ArrowVector, EliminationKind, Ridge};
use broadhead_testkit::device::Trial;
use std::ops::ControlFlow;

pub(super) fn tests() -> Vec<Trial> {
    vec![
        on_device("an_outer_sequence_on_a_device_builds_one_frame", framed),
        on_device(
            "resident_fits_under_one_operator_build_one_frame",
            |context| resident(context, false),
        ),
        on_device("whole_fits_under_one_operator_build_one_frame", |context| {
            resident(context, true)
        }),
    ]
}

type Boxed<T> = Result<T, Box<dyn std::error::Error>>;

const OUTERS: u64 = 6;

fn case() -> Boxed<Case> {
    Case::new(&[2; 120], 200, 51)
}

/// The gradient after `step`: that of the case and half the step.
fn next(case: &Case, step: &ArrowVector, gradient: &mut ArrowVector) {
    let parts = [
        (&case.g.row, &step.row, &mut gradient.row),
        (&case.g.border, &step.border, &mut gradient.border),
    ];
    for (g, s, to) in parts {
        for ((g, s), to) in g.iter().zip(s).zip(to) {
            *to = g + 0.5 * s;
        }
    }
}

fn rows_first() -> SolveOptions {
    SolveOptions {
        elimination: Some(EliminationKind::Rows),
        ..SolveOptions::default()
    }
}

/// The steps of a sequence, the frames it says it built, and where.
struct Steps {
    steps: Vec<ArrowVector>,
    builds: [u64; 2],
    path: ExecutionPath,
}

/// Two sequences under one frame.
fn sequences(case: &Case, options: &SolveOptions, place: &Place) -> Boxed<Steps> {
    let mut workspace = QuadraticWorkspace::new(&case.system()?.into(), options, place)?;
    let path = workspace.solver().plan().path;
    let mut problem = workspace.load(case.system()?, case.g.as_gradient(), 1.0)?;
    let (mut steps, mut builds) = (Vec::new(), [0; 2]);
    for builds in &mut builds {
        let report = problem.outer_sequence(Ridge::new(1e-3, 2e-3), &mut |i, step, gradient| {
            if i > 0 {
                steps.push(step.clone());
            }
            next(case, step, gradient);
            match i < OUTERS {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            }
        })?;
        *builds = report.frame_builds;
        if report.outers != OUTERS {
            return Err(format!("{report:?}").into());
        }
    }
    Ok(Steps {
        steps,
        builds,
        path,
    })
}

fn near(what: &str, found: &[ArrowVector], wanted: &[ArrowVector]) -> Outcome {
    expect_eq("how many", found.len(), wanted.len())?;
    for (i, (a, b)) in found.iter().zip(wanted).enumerate() {
        let pairs = a
            .row
            .iter()
            .zip(&b.row)
            .chain(a.border.iter().zip(&b.border));
        let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        expect(worst <= 1e-12, format!("{what} {i} differs by {worst:e}"))?;
    }
    Ok(())
}

fn framed(context: &Context) -> Outcome {
    let stream = stream(context)?;
    let case = case()?;
    let wanted = sequences(&case, &rows_first(), &Place::default())?;
    expect_eq("the CPU's frames", wanted.builds, [1, 0])?;
    let place = Place::with_device(Placement::on(&stream).keeping(Keep::Factor));
    let required = SolveOptions {
        device_policy: DevicePolicy::Required,
        ..rows_first()
    };
    let before = stream.ledger().snapshot();
    let found = sequences(&case, &required, &place)?;
    let moved = stream.ledger().snapshot().since(&before);
    let path = ExecutionPath::GpuResidentLinearization;
    expect_eq("path", found.path, path)?;
    expect_eq("frames said", found.builds, [1, 0])?;
    expect_eq("factorizations", moved.factorizations, 1)?;
    // Of one load: all that followed sent gradients.
    let k = case.shape.border();
    let once = 8 * (case.d.len() + case.b.len() + k * (k + 1) / 2) as u64;
    expect_eq("operands", moved.host_to_device.operand, once)?;
    near("step", &found.steps, &wanted.steps)
}

/// Fits of one gradient after another: the next is made from the point before.
fn resident(context: &Context, in_one_graph: bool) -> Outcome {
    let stream = stream(context)?;
    let case = case()?;
    let rule = Rule::quadratic();
    let wanted = points_of_the_cpu(&case, &rule)?;
    let mut resident = ResidentQuadratic::new(&stream, &case.shape, Keep::Factor)?;
    let made = stream.ledger().snapshot();
    resident.load(&case.system()?, case.g.as_gradient(), 3.0)?;
    let loaded = stream.ledger().snapshot();
    let mut gradient = case.g.clone();
    let (mut points, mut first) = (Vec::new(), None);
    for i in 0..OUTERS {
        if i > 0 {
            resident.load_gradient(gradient.as_gradient(), 3.0 + i as f64)?;
        }
        let report = match in_one_graph {
            true => resident.fit_in_one_graph(&rule)?,
            false => resident.fit(&rule, &mut go_on)?,
        };
        expect(report.converged(), format!("{report:?}"))?;
        let point = resident.point()?;
        next(&case, &point, &mut gradient);
        points.push(point);
        first.get_or_insert_with(|| stream.ledger().snapshot());
    }
    let moved = stream.ledger().snapshot().since(&loaded);
    expect_eq("factorizations", moved.factorizations, 1)?;
    expect_eq("operands", moved.host_to_device.operand, 0)?;
    let sent = loaded.since(&made).host_to_device.operand;
    expect(sent > 0, "no operands were counted")?;
    let first = first.ok_or("no fit")?;
    let later = stream.ledger().snapshot().since(&first);
    expect_eq("allocations", later.allocations, 0)?;
    near("point", &points, &wanted)
}

/// The points of the same sequence on the CPU.
fn points_of_the_cpu(case: &Case, rule: &Rule) -> Boxed<Vec<ArrowVector>> {
    let (system, options) = (case.system()?.into(), rows_first());
    let mut workspace = QuadraticWorkspace::new(&system, &options, &Place::default())?;
    let (mut gradient, mut points) = (case.g.clone(), Vec::new());
    for i in 0..OUTERS {
        let g = gradient.as_gradient();
        let fit = workspace
            .load(case.system()?, g, 3.0 + i as f64)?
            .fit(rule, &mut go_on)?;
        next(case, &fit.point, &mut gradient);
        points.push(fit.point);
    }
    Ok(points)
}
