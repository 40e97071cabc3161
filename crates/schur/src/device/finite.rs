//! Whether numbers that lie on a device are finite, asked where they lie.
#![allow(unsafe_code)] // Beside the kernels' typed launches alone.

use super::kernels::{PlaceRows, RowIndex, THREAD_COUNTS, THREADS};
use super::layout::Layout;
use super::record::NotFinite;
use broadhead_device::kernels::{Geometry, Kernel, KernelSource};
use broadhead_device::{ByteClass, DeviceBuffer, Result, Stream, View, ViewMut, declares};

pub(crate) const FINITE: KernelSource = KernelSource {
    name: "finite.cu",
    text: concat!(include_str!("place.cu"), include_str!("finite.cu")),
    declares: declares![all THREAD_COUNTS, record NotFinite],
    entries: &["finite_all", "finite_below", "finite_blocks", "clear_past"],
    options: &[],
};

/// The most arrays that are asked about at once: those of a structured system.
const ARRAYS: usize = 5;

/// Most blocks of threads: a few on every multiprocessor.
const BLOCKS: usize = 1056;

/// A grid over `len` numbers.
fn lengths(len: usize) -> Geometry {
    Geometry::line(
        len.div_ceil(THREADS as usize).clamp(1, BLOCKS) as u32,
        THREADS,
    )
}

/// Kernels, and what they find.
pub(crate) struct FiniteCheck {
    all: Kernel,
    below: Kernel,
    blocks: Kernel,
    past: Kernel,
    found: DeviceBuffer<NotFinite>,
}

/// An array as it lies.
pub(crate) enum Lying<'v> {
    /// Of these numbers every one is read.
    All(View<'v, f64>),
    /// Of this matrix, column-major with a leading dimension, the lower triangle of an order.
    Below(View<'v, f64>, usize, usize),
    /// Of these row blocks the lower triangles.
    Blocks(View<'v, f64>, &'v RowIndex, &'v Layout),
}

impl FiniteCheck {
    pub(crate) fn new(stream: &Stream) -> Result<Self> {
        let module = stream.context().module(&FINITE)?;
        Ok(Self {
            all: module.kernel("finite_all")?.clone(),
            below: module.kernel("finite_below")?.clone(),
            blocks: module.kernel("finite_blocks")?.clone(),
            past: module.kernel("clear_past")?.clone(),
            found: stream.zeros(ARRAYS, "places of numbers that are not finite")?,
        })
    }

    /// Zeros past row and column `k` of a matrix of `order` columns as long.
    pub(crate) fn clear_past(
        &self,
        stream: &Stream,
        matrix: ViewMut<'_, f64>,
        order: usize,
        k: usize,
    ) -> Result<()> {
        if k == order {
            return Ok(());
        }
        let launch = self
            .past
            .launch(stream, lengths(order * order))
            .write(matrix)
            .scalar(order as i64)
            .scalar(k as i32);
        // SAFETY: the arguments are those of the source; the matrix has order x order numbers.
        unsafe { launch.submit() }
    }

    /// Of each array the place of the first number that is not finite, in the order in which they lie.
    /// Waits for 40 bytes.
    pub(crate) fn first<const COUNT: usize>(
        &mut self,
        stream: &Stream,
        arrays: [Lying<'_>; COUNT],
    ) -> Result<[Option<usize>; COUNT]> {
        const { assert!(COUNT <= ARRAYS) };
        stream.zero(self.found.view_mut())?;
        for (slot, array) in arrays.into_iter().enumerate() {
            let found = self.found.slice_mut(slot..slot + 1)?;
            let launch = match array {
                Lying::All(x) => self
                    .all
                    .launch(stream, lengths(x.len()))
                    .read(x)
                    .scalar(x.len() as i64),
                Lying::Below(x, ld, order) => self
                    .below
                    .launch(stream, lengths(order * order))
                    .read(x)
                    .scalar(ld as i64)
                    .scalar(order as i32),
                Lying::Blocks(x, index, layout) => self
                    .blocks
                    .launch(stream, lengths(layout.rows))
                    .rows(index, layout)
                    .read(x),
            };
            // SAFETY: the arguments are those of the source; matrices and blocks are of the layout, and
            // each launch writes one record.
            unsafe { launch.write(found).submit()? };
        }
        let found = stream.download(self.found.view(), ByteClass::Record)?;
        Ok(std::array::from_fn(|slot| found[slot].place()))
    }
}
