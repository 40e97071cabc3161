//! Defects on purpose, for each tool that must find one: a tool that calls these clean has not looked.
//! Without a tool they do no harm.
#![allow(unsafe_code)] // Beside the kernels' typed launches alone.

use super::{Outcome, expect, expect_eq, on_device};
use broadhead_device::ByteClass::Other;
use broadhead_device::Stream;
use broadhead_device::kernels::{Geometry, KernelSource};
use broadhead_testkit::device::Trial;

/// Named to racecheck before all others.
pub(super) const FIRST: KernelSource = KernelSource {
    name: "planted.cu",
    text: include_str!("planted.cu"),
    declares: &[],
    entries: &["planted_race", "planted_write", "planted_read"],
    options: &[],
};

/// And after all others: it must see these, and so those between.
pub(super) const LAST: KernelSource = KernelSource {
    entries: &["planted_late"],
    ..FIRST
};

pub(super) fn tests() -> Vec<Trial> {
    vec![
        on_device!("planted::racecheck_first", |stream| race(
            stream,
            &FIRST,
            "planted_race"
        )),
        on_device!("planted::racecheck_last", |stream| race(
            stream,
            &LAST,
            "planted_late"
        )),
        on_device!("planted::memcheck", write),
        on_device!("planted::initcheck", read),
    ]
}

fn race(stream: &Stream, source: &KernelSource, name: &str) -> Outcome {
    let module = stream.context().module(source)?;
    let mut out = stream.zeros::<f64>(64, "a test's numbers")?;
    let launch = module.kernel(name)?;
    let launch = launch.launch(stream, Geometry::line(1, 64));
    // SAFETY: the argument is that of the source, 64 numbers.
    unsafe { launch.write(out.view_mut()).submit()? };
    for (t, found) in stream.download(out.view(), Other)?.into_iter().enumerate() {
        let either = found == -1.0 || found == (t ^ 32) as f64;
        expect(either, format!("thread {t} read {found}"))?;
    }
    Ok(())
}

fn write(stream: &Stream) -> Outcome {
    let module = stream.context().module(&FIRST)?;
    let mut out = stream.zeros::<f64>(3, "a test's numbers")?;
    let launch = module.kernel("planted_write")?;
    let launch = launch.launch(stream, Geometry::line(1, 1));
    let launch = launch.write(out.view_mut()).scalar(3i32);
    // SAFETY: 32 bytes of an allocation, whose least is 256, are the kernel's alone.
    unsafe { launch.submit()? };
    expect_eq("numbers", stream.download(out.view(), Other)?, vec![0.0; 3])
}

fn read(stream: &Stream) -> Outcome {
    let module = stream.context().module(&FIRST)?;
    let nothing = stream.alloc::<f64>(1, "a test's numbers")?;
    let mut out = stream.zeros::<f64>(2, "a test's numbers")?;
    let launch = module.kernel("planted_read")?;
    let launch = launch.launch(stream, Geometry::line(1, 1));
    let launch = launch.read(nothing.view()).write(out.view_mut());
    // SAFETY: the arguments are those of the source, one number and two; any bits are a number.
    unsafe { launch.submit()? };
    let found = stream.download(out.view(), Other)?;
    let one_more = found[1] == found[0] + 1.0 || found.iter().all(|x| x.is_nan());
    expect(one_more, format!("{found:?}"))
}
