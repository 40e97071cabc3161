//! Failures are the CPU's, typed, and the next fit on the same device works.

use super::case::{Case, Random, room};
use super::{Outcome, expect, expect_eq, on_device};
use broadhead_device::{DeviceError, DevicePolicy, ExecutionPath, Refusal, Stream};
use broadhead_schur::device::{Keep, Linearisation, Placement, WIDEST_BLOCK, Way};
use broadhead_schur::{
    ArrowShape, ArrowVector, EliminationKind, Error, Failure, NotPositiveDefinite, PivotSite,
    Ridge, Solver, SolverOptions, SystemShape, plan,
};
use broadhead_testkit::device::{Trial, expect_no_room, is_racechecked};

pub(super) fn tests() -> Vec<Trial> {
    vec![
        on_device!("a_row_that_does_not_factor_is_the_cpu_s_failure", rows),
        on_device!("a_border_that_does_not_factor_is_the_cpu_s_failure", border),
        on_device!(
            "a_border_at_the_edge_of_rounding_has_a_bump_that_cures",
            edge
        ),
        on_device!("a_number_that_is_not_finite_is_named", not_finite),
        on_device!("too_much_memory_is_refused_before_it_is_taken", memory),
        on_device!(
            "work_that_does_not_fit_goes_to_the_cpu_where_it_may",
            elsewhere
        ),
        on_device!("rows_too_wide_are_refused", width),
        on_device!("factoring_before_any_operands_is_refused", early),
    ]
}

/// The failure of the device, after that of the CPU was found to be the same.
fn failure(
    stream: &Stream,
    case: &Case,
) -> Result<NotPositiveDefinite, Box<dyn std::error::Error>> {
    let mut base = room(stream, &case.shape, Keep::InverseFactor)?;
    base.refresh(case.system()?)?;
    let Err(Failure::NotPositiveDefinite(device)) = base.factor(Ridge::ZERO).map(|_| ()) else {
        return Err("the device factored it".into());
    };
    let options = SolverOptions {
        elimination: Some(EliminationKind::Rows),
        ..Default::default()
    };
    let mut solver = Solver::new(&case.system()?.into(), options)?;
    let mut cpu = solver.refresh(case.system()?)?;
    let Err(Failure::NotPositiveDefinite(cpu)) = cpu.factor(Ridge::ZERO).map(|_| ()) else {
        return Err("the CPU factored it".into());
    };
    let near = (device.value - cpu.value).abs() <= 1e-10 * cpu.value.abs();
    if device.site != cpu.site || !near {
        return Err(format!("{device:?}, the CPU's {cpu:?}").into());
    }
    let bump = device.bump.ok_or("no bump")?;
    let side = device.site.side();
    base.factor(Ridge::ZERO.bumped(side, bump))?;
    if base.factor(Ridge::ZERO.bumped(side, bump / 4.5)).is_ok() {
        return Err(format!("{bump:e} is more than four times the least").into());
    }
    Ok(device)
}

/// A fit on the same device, afterwards.
pub(super) fn works(stream: &Stream) -> Outcome {
    let case = Case::new(&[2; 50], 60, 1)?;
    let mut base = room(stream, &case.shape, Keep::InverseFactor)?;
    base.refresh(case.system()?)?;
    let mut x = ArrowVector::zeros(&case.shape);
    base.factor(Ridge::ZERO)?
        .solve(case.g.as_gradient(), x.as_step())?;
    let omega = case.error(&x, Ridge::ZERO)?;
    expect(omega <= 1e-13, format!("backward error {omega:e}"))
}

fn rows(stream: &Stream) -> Outcome {
    for (d, at) in [
        (1, 0),
        (2, 3),
        (4, 2 * 4 + 2),
        (7, 3 * 7 + 3),
        (8, 7 * 8 + 7),
        (16, 15 * 16 + 15),
        (40, 33 * 40 + 33),
    ] {
        let mut case = Case::new(&vec![d; 300], 20, 3)?;
        case.d[d * d * 123 + at] = -1.5;
        case.d[d * d * 200] = -7.0;
        failure(stream, &case)?;
        works(stream)?;
    }
    Ok(())
}

fn border(stream: &Stream) -> Outcome {
    // Orders that the library factors, and orders that are factored by tiles.
    let (rows, tiled) = if is_racechecked() {
        (30, 192)
    } else {
        (300, 700)
    };
    for (k, places) in [(150, [0, 77, 149]), (tiled, [3, 64, tiled - 1])] {
        for at in places {
            let mut case = Case::new(&vec![2; rows], k, 3)?;
            case.c[at * k + at] = -2.0;
            failure(stream, &case)?;
            works(stream)?;
        }
    }
    Ok(())
}

/// Borders `V V'` of half their rank: from there on pivots are rounding alone, which the tiles and the
/// library round to signs of their own.
fn edge(stream: &Stream) -> Outcome {
    let (k, rank) = (192, 96);
    for seed in 0..if is_racechecked() { 1 } else { 12 } {
        let mut case = Case::new(&[], k, seed)?;
        // Its leading part well conditioned, so that what is left is rounding and no more.
        let mut v = Random(seed).many(k * rank, 0.1);
        (0..rank).for_each(|m| v[m * rank + m] += 2.0);
        for i in 0..k {
            for j in 0..k {
                let product = (0..rank).map(|m| v[i * rank + m] * v[j * rank + m]);
                case.c[i * k + j] = product.sum();
            }
        }
        let largest = (0..k).fold(0.0, |most: f64, j| most.max(case.c[j * k + j]));
        for border in [None, Some(Way::Library)] {
            let place = Placement {
                border,
                ..Placement::on(stream).keeping(Keep::InverseFactor)
            };
            let mut base = Linearisation::dense(&place, &case.shape)?;
            base.refresh(case.system()?)?;
            let what = format!("{seed}, {:?}", base.summary().border);
            let mut failed = || match base.factor(Ridge::ZERO).map(|_| ()) {
                Err(Failure::NotPositiveDefinite(failed)) => Ok(failed),
                other => Err(format!("{what}: {other:?}")),
            };
            let first = failed()?;
            expect_eq(&what, failed()?, first.clone())?;
            let NotPositiveDefinite {
                site, value, bump, ..
            } = first;
            let PivotSite::Border { pivot } = site else {
                return Err(format!("{what}: {site:?}").into());
            };
            // The leading `rank` rows and columns are as good as any.
            expect((rank..k).contains(&pivot), format!("{what}: pivot {pivot}"))?;
            let rounding = 1e-11 * largest;
            expect(value.abs() <= rounding, format!("{what}: {value:e}"))?;
            let bump = bump.ok_or("no bump")?;
            expect(bump <= rounding, format!("{what}: a bump of {bump:e}"))?;
            base.factor(Ridge::new(0.0, bump))?;
            let least = base.factor(Ridge::new(0.0, bump / 4.0)).is_err();
            expect(least, format!("{what}: a quarter of {bump:e} factors"))?;
        }
    }
    works(stream)
}

fn not_finite(stream: &Stream) -> Outcome {
    let mut case = Case::new(&[2; 30], 20, 3)?;
    case.b[5 * 20 + 7] = f64::NAN;
    let mut base = room(stream, &case.shape, Keep::Factor)?;
    let Err(Error::NotFinite { array, index, .. }) = base.refresh(case.system()?) else {
        return Err("it was taken".into());
    };
    expect_eq("where", (array, index), ("row_cross", vec![2, 1, 7]))?;
    case.b[5 * 20 + 7] = 0.0;
    case.g.border[3] = f64::INFINITY;
    base.refresh(case.system()?)?;
    let mut x = ArrowVector::zeros(&case.shape);
    let answer = base
        .factor(Ridge::ZERO)?
        .solve(case.g.as_gradient(), x.as_step());
    let named = matches!(answer, Err(Failure::Stop(Error::NotFinite { .. })));
    expect(named, format!("{answer:?}"))?;
    works(stream)
}

fn memory(stream: &Stream) -> Outcome {
    let shape = ArrowShape::uniform(4_000_000, 2, 5120)?;
    let said = Linearisation::bytes_of_dense(&shape, Keep::Factor)?;
    expect_no_room(stream, said, || room(stream, &shape, Keep::Factor))?;
    works(stream)
}

/// What does not fit is planned for the CPU, with the reason, unless the device is required.
fn elsewhere(stream: &Stream) -> Outcome {
    let shape = SystemShape::Dense(ArrowShape::uniform(4_000_000, 2, 5120)?);
    let mut options = SolverOptions {
        memory_limit: u64::MAX,
        device: Some(Placement::on(stream).keeping(Keep::Factor)),
        ..SolverOptions::default()
    };
    let auto = plan(&shape, &options)?;
    expect_eq("path", auto.path, ExecutionPath::Cpu)?;
    let Some(DeviceError::Refusal(Refusal::Memory { needed, free, .. })) = auto.declined else {
        return Err(format!("{:?}", auto.declined).into());
    };
    expect(needed > free, "it would have fitted")?;
    options.device_policy = DevicePolicy::Required;
    let required = plan(&shape, &options)?;
    expect(required.path.is_device(), "not on the device")?;
    expect_eq("declined", required.declined, None)
}

fn width(stream: &Stream) -> Outcome {
    let shape = ArrowShape::uniform(3, WIDEST_BLOCK + 1, 5)?;
    let refused = room(stream, &shape, Keep::Factor).map(|_| ());
    let unsupported = matches!(refused, Err(Error::Unsupported { .. }));
    expect(unsupported, format!("{refused:?}"))
}

fn early(stream: &Stream) -> Outcome {
    let shape = ArrowShape::uniform(3, 2, 5)?;
    let mut base = room(stream, &shape, Keep::Factor)?;
    let refused = base.factor(Ridge::ZERO).map(|_| ());
    let declined = matches!(
        refused,
        Err(Failure::Stop(Error::Device(DeviceError::Refusal(_))))
    );
    expect(declined, format!("{refused:?}"))
}
