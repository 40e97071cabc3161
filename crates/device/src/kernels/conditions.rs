//! Conditions of loops inside graphs, set by a kernel.

use super::{Geometry, KernelSource};
use crate::fault::Result;
use crate::runtime::graph::Condition;
use crate::runtime::stream::Stream;

pub(crate) const SOURCE: KernelSource = KernelSource {
    name: "conditions.cu",
    text: include_str!("conditions.cu"),
    declares: &[],
    entries: &["arm"],
    options: &[],
};

/// Lets the loop of `condition` run its body when it is reached next.
pub(crate) fn arm(stream: &Stream, condition: Condition) -> Result<()> {
    let module = stream.context().module(&SOURCE)?;
    let launch = module
        .kernel("arm")?
        .launch(stream, Geometry::line(1, 1))
        .scalar(condition);
    // SAFETY: the argument is the source's, and no memory is touched.
    unsafe { launch.submit() }
}
