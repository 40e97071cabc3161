//! Addresses of a batch, made on the device: an upload would cost more than the kernel.

use super::{Geometry, KernelSource};
use crate::fault::Result;
use crate::runtime::buffer::ViewMut;
use crate::runtime::stream::Stream;

pub(crate) const SOURCE: KernelSource = KernelSource {
    name: "pointers.cu",
    text: include_str!("pointers.cu"),
    declares: &[],
    entries: &["strided_pointers"],
    options: &[],
};

/// `out[i]` becomes the address of element `stride i` counted from the address `base`.
pub(crate) fn strided_pointers(
    stream: &Stream,
    base: u64,
    stride: i64,
    out: ViewMut<'_, u64>,
) -> Result<()> {
    let module = stream.context().module(&SOURCE)?;
    let count = out.len();
    let launch = module
        .kernel("strided_pointers")?
        .launch(stream, Geometry::one_thread_each(count, 256))
        .scalar(base)
        .scalar(stride)
        .scalar(count as i32)
        .write(out);
    // SAFETY: the arguments are those of the source; it writes `count` addresses and reads nothing.
    unsafe { launch.submit() }
}
