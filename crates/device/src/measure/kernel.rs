//! The measuring kernels, typed.

use crate::kernels::{Geometry, KernelSource};
use crate::{Result, Stream, View, ViewMut, declares};

pub(crate) const SOURCE: KernelSource = KernelSource {
    name: "ceilings.cu",
    text: include_str!("ceilings.cu"),
    declares: declares![int THREADS, int SUBSTITUTE_ORDER],
    entries: &[
        "read_many",
        "copy_many",
        "fma_chain",
        "substitute",
        "hand_over",
        "nothing",
    ],
    options: &[],
};

/// Threads of a block of the memory and arithmetic kernels.
pub(super) const THREADS: u32 = 256;

/// Steps of one round of [`substitute`].
pub(super) const SUBSTITUTE_ORDER: u32 = 96;

/// Blocks that fill the device with work: eight a multiprocessor.
pub(super) fn blocks(stream: &Stream) -> u32 {
    8 * stream.context().info().multiprocessors
}

/// Reads all of `from`, `rounds` times.
pub(super) fn read_many(
    stream: &Stream,
    from: View<'_, f64>,
    rounds: i32,
    sums: ViewMut<'_, f64>,
) -> Result<()> {
    let module = stream.context().module(&SOURCE)?;
    let blocks = blocks(stream).min(sums.len() as u32);
    let launch = module
        .kernel("read_many")?
        .launch(stream, Geometry::line(blocks, THREADS))
        .read(from)
        .scalar(from.len() as i64 / 2)
        .scalar(rounds)
        .write(sums);
    // SAFETY: the arguments are the source's; it reads the pairs of `from` and writes at most one
    // sum a block.
    unsafe { launch.submit() }
}

/// Copies `from` to `to`, `rounds` times.
pub(super) fn copy_many(
    stream: &Stream,
    from: View<'_, f64>,
    to: ViewMut<'_, f64>,
    rounds: i32,
) -> Result<()> {
    let module = stream.context().module(&SOURCE)?;
    let pairs = from.len().min(to.len()) as i64 / 2;
    let launch = module
        .kernel("copy_many")?
        .launch(stream, Geometry::line(blocks(stream), THREADS))
        .read(from)
        .write(to)
        .scalar(pairs)
        .scalar(rounds);
    // SAFETY: the arguments are the source's; it stays within the shorter of the two.
    unsafe { launch.submit() }
}

/// Sixteen operations a thread and round.
pub(super) fn fma_chain(stream: &Stream, rounds: i32, sums: ViewMut<'_, f64>) -> Result<()> {
    let module = stream.context().module(&SOURCE)?;
    let blocks = blocks(stream).min(sums.len() as u32);
    let launch = module
        .kernel("fma_chain")?
        .launch(stream, Geometry::line(blocks, THREADS))
        .scalar(rounds)
        .scalar(0.999_999_f64)
        .scalar(1e-6_f64)
        .write(sums);
    // SAFETY: the arguments are the source's; it writes at most one sum a block.
    unsafe { launch.submit() }
}

/// Substitutes `rounds` times in one block; `x` holds one number a step.
pub(super) fn substitute(stream: &Stream, rounds: i32, x: ViewMut<'_, f64>) -> Result<()> {
    let module = stream.context().module(&SOURCE)?;
    let x = x.slice(0..SUBSTITUTE_ORDER as usize)?;
    let launch = module
        .kernel("substitute")?
        .launch(stream, Geometry::line(1, SUBSTITUTE_ORDER))
        .scalar(rounds)
        .write(x);
    // SAFETY: the arguments are the source's; each thread touches its own number.
    unsafe { launch.submit() }
}

/// Hands a count from block to block, `rounds` times round; `count` is one zero. Answers how many
/// times it changes hands.
pub(super) fn hand_over(stream: &Stream, rounds: i32, count: ViewMut<'_, u32>) -> Result<u64> {
    let module = stream.context().module(&SOURCE)?;
    let blocks = stream.context().info().multiprocessors;
    let geometry = Geometry {
        cooperative: true,
        ..Geometry::line(blocks, 32)
    };
    let count = count.slice(0..1)?;
    let launch = module
        .kernel("hand_over")?
        .launch(stream, geometry)
        .scalar(rounds)
        .write(count);
    // SAFETY: the arguments are the source's; all blocks run at once, so each turn comes.
    unsafe { launch.submit() }?;
    Ok(u64::from(blocks) * rounds.unsigned_abs() as u64)
}

/// Does nothing.
pub(super) fn nothing(stream: &Stream) -> Result<()> {
    let module = stream.context().module(&SOURCE)?;
    let launch = module
        .kernel("nothing")?
        .launch(stream, Geometry::line(1, 32));
    // SAFETY: takes nothing.
    unsafe { launch.submit() }
}
