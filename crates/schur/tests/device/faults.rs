//! What goes wrong in one process leaves the device to the next fit: the same process's where the
//! device is not lost, another's where it is.
#![allow(unsafe_code)] // Beside the kernel's typed launch alone.

use super::case::{Case, room};
use super::failures::works;
use super::{Outcome, expect, on_device};
use broadhead_device::kernels::{Geometry, KernelSource};
use broadhead_device::{Context, DeviceError, Fault, Ledger, Refusal, Stream};
use broadhead_schur::device::{Keep, Linearisation};
use broadhead_schur::{ArrowShape, Error, Failure, PivotSite, Ridge};
use broadhead_testkit::device::{Failed, Trial};
use std::process::{Command, ExitCode};

pub(super) fn tests() -> Vec<Trial> {
    vec![on_device!(
        "after_every_failure_of_a_child_the_next_fit_works",
        children,
    )]
}

/// The variable that makes this program a child.
const DEED: &str = "BROADHEAD_TEST_DEED";

/// What a child does, and its name.
type Deed = (&'static str, fn(&Stream) -> Outcome);

const DEEDS: [Deed; 4] = [
    ("nan", nan),
    ("row", row),
    ("memory", memory),
    ("lost", lost),
];

/// Does the deed that the parent asked for, where there is one.
pub(super) fn child() -> Option<ExitCode> {
    let asked = std::env::var_os(DEED)?.into_string().unwrap_or_default();
    let deed = || -> Outcome {
        let stream = Context::open(0)?.stream(&Ledger::new())?;
        match DEEDS.iter().find(|(name, _)| *name == asked) {
            Some((_, deed)) => deed(&stream),
            None => Err(format!("no deed {asked}").into()),
        }
    };
    Some(match deed() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => {
            eprintln!("{}", failed.message().unwrap_or("failed"));
            ExitCode::FAILURE
        }
    })
}

fn children(stream: &Stream) -> Outcome {
    for (deed, _) in DEEDS {
        let output = Command::new(std::env::current_exe()?)
            .env(DEED, deed)
            .output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        expect(output.status.success(), format!("{deed}: {said}"))?;
        works(stream)?;
    }
    Ok(())
}

fn base(stream: &Stream, case: &Case) -> Result<Linearisation, Failed> {
    Ok(room(stream, &case.shape, Keep::InverseFactor)?)
}

fn nan(stream: &Stream) -> Outcome {
    let mut case = Case::new(&[2; 300], 700, 41)?;
    case.d[4 * 7] = f64::NAN;
    let answer = base(stream, &case)?.refresh(case.system()?);
    let named = matches!(
        answer,
        Err(Error::NotFinite {
            array: "row_hessian",
            ..
        })
    );
    expect(named, format!("{answer:?}"))?;
    works(stream)
}

fn row(stream: &Stream) -> Outcome {
    let mut case = Case::new(&[2; 300], 700, 42)?;
    case.d[4 * 123 + 3] = -1.0;
    let mut base = base(stream, &case)?;
    base.refresh(case.system()?)?;
    let answer = base.factor(Ridge::ZERO).map(|_| ());
    let here = PivotSite::Row { row: 123, pivot: 1 };
    match answer {
        Err(Failure::NotPositiveDefinite(failure)) if failure.site == here => works(stream),
        other => Err(format!("{other:?}").into()),
    }
}

/// All memory but a little is taken, by allocations that stand for a neighbour's.
fn memory(stream: &Stream) -> Outcome {
    let shape = ArrowShape::uniform(300, 2, 16_384)?;
    let needed = Linearisation::bytes_of_dense(&shape, Keep::InverseFactor)?;
    let free = stream.context().memory()?.free;
    let hog = stream.alloc::<u8>(free.saturating_sub(needed / 2) as usize, "a neighbour")?;
    let answer = room(stream, &shape, Keep::InverseFactor).map(|_| ());
    match answer {
        Err(Error::Device(DeviceError::Refusal(Refusal::Memory { needed: said, .. }))) => {
            expect(said == needed, format!("{said} of {needed} bytes"))?;
        }
        other => return Err(format!("{other:?}").into()),
    }
    drop(hog);
    works(stream)
}

/// A fault in a kernel loses the device for this process: every later call says so.
fn lost(stream: &Stream) -> Outcome {
    const SOURCE: KernelSource = KernelSource {
        name: "fault.cu",
        text: include_str!("fault.cu"),
        declares: &[],
        entries: &["write_far"],
        options: &[],
    };
    let case = Case::new(&[2; 300], 700, 44)?;
    let mut base = base(stream, &case)?;
    base.refresh(case.system()?)?;
    base.factor(Ridge::ZERO)?;
    let mut target = stream.zeros::<f64>(1, "a target")?;
    let module = stream.context().module(&SOURCE)?;
    let launch = module
        .kernel("write_far")?
        .launch(stream, Geometry::line(1, 1))
        .write(target.view_mut());
    // SAFETY: none of memory: this process is here to lose its device, and ends afterwards.
    unsafe { launch.submit()? };
    for _ in 0..2 {
        let answer = base.factor(Ridge::new(1.0, 1.0)).map(|_| ());
        let lost = matches!(
            answer,
            Err(Failure::Stop(Error::Device(DeviceError::Fault(
                Fault::DeviceLost { .. }
            ))))
        );
        expect(lost, format!("{answer:?}"))?;
    }
    Ok(())
}
