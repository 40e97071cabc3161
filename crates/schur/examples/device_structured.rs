//! Times the eliminations of structured systems on a device: one JSON object a line. An argument picks
//! those whose name contains it.
#![allow(clippy::print_stdout, reason = "a program whose output is its result")]

use broadhead_device::{ByteClass, Context, Ledger, Stream};
use broadhead_schur::device::{Keep, Linearisation, Placement};
use broadhead_schur::{EliminationKind, IterativeOptions, Ridge};
use broadhead_testkit::cases::StructuredCase;
use broadhead_testkit::generate::{self, Structure};
use broadhead_testkit::random::Random;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Median device time of `work` in microseconds, after three to warm up.
fn median(stream: &Stream, mut work: impl FnMut() -> Outcome<()>) -> Outcome<f64> {
    let mut samples = Vec::new();
    for round in 0..103 {
        let start = stream.mark()?;
        work()?;
        let end = stream.mark()?;
        if round >= 3 {
            samples.push(end.since(&start)?.as_secs_f64() * 1e6);
        }
    }
    samples.sort_by(f64::total_cmp);
    Ok(samples[samples.len() / 2])
}

fn time(
    stream: &Stream,
    name: &str,
    case: &StructuredCase,
    (elimination, keep): (EliminationKind, Keep),
) -> Outcome<()> {
    let arrow = case.shape.arrow();
    let g = generate::gradient(arrow.row_unknowns(), arrow.border(), &mut Random::new(2));
    let (place, options) = (
        Placement::on(stream).keeping(keep),
        IterativeOptions::default(),
    );
    let mut base = Linearisation::structured(&place, &case.shape, elimination, options)?;
    base.refresh(case.structured())?;
    let (mut from, mut to) = (base.vector()?, base.vector()?);
    stream.upload_into(&g.row, from.row_mut(), ByteClass::Gradient)?;
    stream.upload_into(&g.border, from.border_mut()?, ByteClass::Gradient)?;
    let ridge = Ridge::ZERO;
    let factor = median(stream, || Ok(base.factor(ridge).map(|_| ())?))?;
    let mut frame = base.factor(ridge)?;
    let solve = median(stream, || Ok(frame.solve_resident(&from, &mut to)?))?;
    let found = frame.solved()?;
    let mut broken = None;
    let mut graph = stream.capture(|_| {
        let submitted = base.submit_factor(ridge);
        let submitted = submitted.and_then(|()| base.submit_solve(&from, &mut to));
        broken = submitted.err();
        Ok(())
    })?;
    if let Some(error) = broken {
        return Err(error.into());
    }
    let both = median(stream, || Ok(graph.launch()?))?;
    base.factored(ridge)?;
    println!(
        "{{\"bench\":\"device_structured\",\"method\":\"{elimination}, {keep:?}\",\"shape\":\"{name}\",\"factor_us\":{factor:.2},\"solve_us\":{solve:.2},\"graph_of_both_us\":{both:.2},\"iterations\":{},\"bytes\":{}}}",
        found.iterations,
        base.bytes()
    );
    Ok(())
}

fn main() -> Outcome<()> {
    if let Err(absence) = broadhead_device::probe::cuda() {
        println!("not measured: {absence}");
        return Ok(());
    }
    let stream = Context::open(0)?.stream(&Ledger::new())?;
    let wanted = std::env::args().nth(1).unwrap_or_default();
    for (name, n, d, features, outputs) in [
        ("circle", 2000, 1, 3, 2048),
        ("circle of the color arm", 180, 1, 3, 5120),
        ("torus", 2000, 2, 9, 2048),
        ("three circles", 2000, 3, 7, 2048),
        ("eight circles", 2000, 8, 17, 2048),
        ("eight tori", 2000, 4, 65, 2048),
        ("sixty-four circles", 2000, 4, 129, 2048),
        ("many rows", 200_000, 1, 3, 2048),
        ("many rows of eight circles", 20_000, 4, 17, 2048),
    ] {
        let of = Structure {
            dims: vec![d; n],
            features,
            outputs,
            density: 1.0,
            atoms: false,
            margin: 0.1,
        };
        let case = generate::structured(&of, &mut Random::new(1));
        let mut methods = vec![
            (EliminationKind::Core, Keep::Factor),
            (EliminationKind::Iterative, Keep::Factor),
        ];
        // Border first is of the order of the rows' unknowns.
        if n * d <= 16_000 {
            let keeps = [Keep::Factor, Keep::InverseFactor];
            methods.extend(keeps.map(|keep| (EliminationKind::Border, keep)));
        }
        for (kind, keep) in methods {
            let served = Linearisation::bytes_of_structured(&case.shape, kind, keep).is_ok();
            if served && kind.as_str().contains(&wanted) {
                time(&stream, name, &case, (kind, keep))?;
            }
        }
    }
    Ok(())
}
