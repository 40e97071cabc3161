//! The tests' kernels, typed.

use broadhead_device::kernels::{Geometry, KernelSource};
use broadhead_device::{Condition, Result, Stream, View, ViewMut};

pub(crate) const SOURCE: KernelSource = KernelSource {
    name: "tests.cu",
    text: include_str!("kernels.cu"),
    declares: &[],
    entries: &["count_down", "is_odd", "fill_late", "add_one", "write_far"],
    options: &[],
};

pub(crate) fn count_down(
    stream: &Stream,
    left: ViewMut<'_, i32>,
    rounds: ViewMut<'_, i32>,
    condition: Condition,
) -> Result<()> {
    let module = stream.context().module(&SOURCE)?;
    let launch = module
        .kernel("count_down")?
        .launch(stream, Geometry::line(1, 1))
        .write(left)
        .write(rounds)
        .scalar(condition);
    // SAFETY: the arguments are the source's; each view holds at least one number.
    unsafe { launch.submit() }
}

pub(crate) fn is_odd(stream: &Stream, x: View<'_, i32>, condition: Condition) -> Result<()> {
    let module = stream.context().module(&SOURCE)?;
    let launch = module
        .kernel("is_odd")?
        .launch(stream, Geometry::line(1, 1))
        .read(x)
        .scalar(condition);
    // SAFETY: the arguments are the source's; the view holds at least one number.
    unsafe { launch.submit() }
}

pub(crate) fn fill_late(
    stream: &Stream,
    x: ViewMut<'_, f64>,
    value: f64,
    cycles: i64,
) -> Result<()> {
    let module = stream.context().module(&SOURCE)?;
    let len = x.len() as i64;
    let launch = module
        .kernel("fill_late")?
        .launch(stream, Geometry::line(1, 256))
        .write(x)
        .scalar(len)
        .scalar(value)
        .scalar(cycles);
    // SAFETY: the arguments are the source's.
    unsafe { launch.submit() }
}

pub(crate) fn add_one(stream: &Stream, x: ViewMut<'_, f64>) -> Result<()> {
    let module = stream.context().module(&SOURCE)?;
    let len = x.len();
    let launch = module
        .kernel("add_one")?
        .launch(stream, Geometry::one_thread_each(len, 256))
        .write(x)
        .scalar(len as i32);
    // SAFETY: the arguments are the source's.
    unsafe { launch.submit() }
}

pub(crate) fn write_far(stream: &Stream, x: ViewMut<'_, f64>) -> Result<()> {
    let module = stream.context().module(&SOURCE)?;
    let launch = module
        .kernel("write_far")?
        .launch(stream, Geometry::line(1, 1))
        .write(x);
    // SAFETY: not safe, on purpose: the device refuses the access and is lost to the process, which
    // is a child made for that.
    unsafe { launch.submit() }
}
