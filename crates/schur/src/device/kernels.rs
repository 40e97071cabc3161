//! The kernels of rows first, as typed functions: the one place where their names are strings.
//!
//! A launch is unsafe because nothing checks a kernel's pointers. Each function here takes whole
//! buffers that [`crate::elimination::rows_first::device`] and [`super::operands`] made for
//! the [`Layout`] it is given; the launch itself checks number and sizes of the arguments.
#![allow(unsafe_code)] // Beside the kernels' typed launches alone.

use super::layout::{Layout, PULL_UNKNOWNS, PUSH_UNKNOWNS, STRIP, WIDEST_ROW};
use super::record::{FactorRecord, RowRecord};
use crate::RowDims;
use crate::elimination::rows_first::device::rows::ROWS;
use broadhead_device::kernels::{Declaration, Geometry, Kernel, KernelSource, Launch};
use broadhead_device::{ByteClass, DeviceBuffer, Result, Stream, ViewMut, declares};

/// Threads of a block of most kernels.
pub(crate) const THREADS: u32 = 256;
/// Of those whose threads take many registers, or whose blocks have little to do.
pub(crate) const FEW_THREADS: u32 = 128;
/// Of those that are one block.
pub(crate) const MOST_THREADS: u32 = 1024;

/// The numbers of threads, for a kernel's text.
pub(crate) const THREAD_COUNTS: &[Declaration] =
    declares![int THREADS, int FEW_THREADS, int MOST_THREADS];

pub(crate) const BORDER: KernelSource = KernelSource {
    name: "border.cu",
    text: include_str!("border.cu"),
    declares: declares![all THREAD_COUNTS, record FactorRecord],
    entries: &[
        "border_unpack",
        "border_sum",
        "border_ridge",
        "summarise_border",
        "border_line",
        "border_pivot",
    ],
    options: &[],
};

pub(crate) const SOLVE: KernelSource = KernelSource {
    name: "solve.cu",
    text: include_str!("../elimination/rows_first/solve.cu"),
    declares: declares![all THREAD_COUNTS, int STRIP, int PULL_UNKNOWNS, int PUSH_UNKNOWNS],
    entries: &[
        "pull_plain",
        "pull_share",
        "trmv_plain",
        "trmv_first",
        "trmv_transposed_plain",
        "trmv_transposed_first",
        "push_plain",
        "push_share",
        "rows_solve",
    ],
    options: &[],
};

/// Where the rows lie: [`Layout::uniform`] and, for ragged rows, their offsets.
pub(crate) struct RowIndex {
    pub(crate) offsets: DeviceBuffer<i64>,
    pub(crate) blocks: DeviceBuffer<i64>,
}

impl RowIndex {
    /// That of rows of `dims`: of no length where they are alike.
    pub(crate) fn new(stream: &Stream, layout: &Layout, dims: &RowDims) -> Result<Self> {
        let (offsets, blocks) = match layout.uniform {
            -1 => {
                let of = |f: fn(&RowDims, usize) -> usize| -> Vec<i64> {
                    (0..=layout.rows).map(|i| f(dims, i) as i64).collect()
                };
                (of(RowDims::offset), of(RowDims::block_offset))
            }
            _ => Default::default(),
        };
        Ok(Self {
            offsets: stream.upload(&offsets, ByteClass::Operand, "row offsets")?,
            blocks: stream.upload(&blocks, ByteClass::Operand, "block offsets")?,
        })
    }
}

/// The four arguments by which a kernel knows where the rows lie.
pub(crate) trait PlaceRows<'a> {
    /// Offsets, offsets of the blocks, how many rows, and their common width.
    fn rows(self, index: &'a RowIndex, layout: &Layout) -> Self;
}

impl<'a> PlaceRows<'a> for Launch<'a> {
    fn rows(self, index: &'a RowIndex, layout: &Layout) -> Self {
        self.read(index.offsets.view())
            .read(index.blocks.view())
            .scalar(layout.rows as i64)
            .scalar(layout.uniform)
    }
}

/// The row factors.
pub(crate) struct DeviceRowFactors {
    /// `L`, packed.
    pub(crate) factors: DeviceBuffer<f64>,
    /// `1 / L_aa`, of length N.
    pub(crate) reciprocals: DeviceBuffer<f64>,
    /// One record a block of threads.
    pub(crate) records: DeviceBuffer<RowRecord>,
    /// Blocks of threads that have ended; zero between launches.
    pub(crate) counter: DeviceBuffer<u32>,
}

/// The vectors of a pull: partial sums, counters, `b`.
pub(crate) struct PullBuffers {
    pub(crate) partials: DeviceBuffer<f64>,
    pub(crate) counters: DeviceBuffer<u32>,
    pub(crate) sum: DeviceBuffer<f64>,
}

/// Loaded kernels, for one layout.
#[derive(Clone)]
pub(crate) struct Kernels {
    factor_rows: Kernel,
    whiten: Kernel,
    border_unpack: Kernel,
    border_sum: Kernel,
    border_ridge: Kernel,
    summarise_border: Kernel,
    border_line: Kernel,
    border_pivot: Kernel,
    pull: Kernel,
    inverse_first: Kernel,
    inverse_second: Kernel,
    push: Kernel,
    rows_solve: Kernel,
    share_of_y: f32,
}

/// Whether rows are solved with `L` or with its transpose.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum RowSolve {
    Lower,
    Transposed,
}

/// What solves leave in the second-level cache, as solve.cu has it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Kept {
    /// The share of `Y` that leaves it last, the rest first; at 1, `Y` is read as anything else.
    share_of_y: f32,
    /// Whether the matrices of the border leave it first.
    stream_v: bool,
}

impl Kept {
    /// For a cache of so many bytes.
    ///
    /// `Y` is read twice a solve and each part of the border's matrices once, so it comes first. Where
    /// all of it does not fit, half of the cache is filled with a part of it: its two halves hold copies
    /// for the multiprocessors beside them, so that half of it is what it holds of anything.
    fn of(layout: &Layout, cache: u64) -> Self {
        let y = 8 * (layout.unknowns * layout.order) as u64;
        let v = 8 * layout.square() as u64;
        let fits = cache / 5 * 4;
        Self {
            // A share must be more than none, which it would be of a cache of a size not known.
            share_of_y: match y <= fits || cache == 0 {
                true => 1.0,
                false => (cache as f64 / 2.0 / y as f64) as f32,
            },
            stream_v: y + v > fits,
        }
    }

    /// How the kernels that read `Y`, and those that read the border's matrices, are called.
    fn suffixes(self) -> [&'static str; 2] {
        let of_y = if self.share_of_y < 1.0 {
            "share"
        } else {
            "plain"
        };
        let of_v = if self.stream_v { "first" } else { "plain" };
        [of_y, of_v]
    }
}

fn grid(x: usize, y: usize, block: [u32; 2]) -> Geometry {
    Geometry {
        grid: [x as u32, y as u32, 1],
        block: [block[0], block[1], 1],
        ..Geometry::line(1, 1)
    }
}

impl Kernels {
    /// Compiles or takes from the cache, and loads.
    pub(crate) fn load(stream: &Stream, layout: &Layout) -> Result<Self> {
        let context = stream.context();
        let (rows, border, solve) = (
            context.module(&ROWS)?,
            context.module(&BORDER)?,
            context.module(&SOLVE)?,
        );
        // Wider rows go the library's way.
        let width = layout.width.min(WIDEST_ROW);
        let kept = Kept::of(layout, context.info().l2_bytes);
        let [of_y, of_v] = kept.suffixes();
        let family = match layout.row_launch.packed {
            true => "packed",
            false => "rows",
        };
        let factor_rows = rows.kernel(&format!("factor_{family}_{width}"))?.clone();
        factor_rows.allow_shared(layout.row_launch.shared)?;
        Ok(Self {
            factor_rows,
            whiten: rows.kernel(&format!("whiten_{width}"))?.clone(),
            border_unpack: border.kernel("border_unpack")?.clone(),
            border_sum: border.kernel("border_sum")?.clone(),
            border_ridge: border.kernel("border_ridge")?.clone(),
            summarise_border: border.kernel("summarise_border")?.clone(),
            border_line: border.kernel("border_line")?.clone(),
            border_pivot: border.kernel("border_pivot")?.clone(),
            pull: solve.kernel(&format!("pull_{of_y}"))?.clone(),
            inverse_first: solve.kernel(&format!("trmv_{of_v}"))?.clone(),
            inverse_second: solve.kernel(&format!("trmv_transposed_{of_v}"))?.clone(),
            push: solve.kernel(&format!("push_{of_y}"))?.clone(),
            rows_solve: solve.kernel("rows_solve")?.clone(),
            share_of_y: kept.share_of_y,
        })
    }

    /// Factors `blocks` at ridge `rho`, one record a block of threads, and combines the records into
    /// `summary`.
    #[expect(clippy::too_many_arguments, reason = "a kernel's operands")]
    pub(crate) fn factor_rows(
        &self,
        stream: &Stream,
        layout: &Layout,
        index: &RowIndex,
        blocks: &DeviceBuffer<f64>,
        rho: f64,
        rows: &mut DeviceRowFactors,
        summary: ViewMut<'_, RowRecord>,
    ) -> Result<()> {
        let how = layout.row_launch;
        let geometry =
            Geometry::line(layout.records as u32, how.threads as u32).with_shared(how.shared);
        let launch = self.factor_rows.launch(stream, geometry);
        let launch = match how.packed {
            true => launch.scalar(layout.rows as i64),
            false => launch.rows(index, layout),
        };
        let launch = launch
            .read(blocks.view())
            .scalar(rho)
            .write(rows.factors.view_mut())
            .write(rows.reciprocals.view_mut())
            .write(rows.records.view_mut())
            .write(rows.counter.view_mut())
            .write(summary);
        // SAFETY: the arguments are those of the source, and the buffers are as long as the layout
        // says: L as the blocks, N reciprocals, a record for each block of threads, and one of all.
        unsafe { launch.submit() }
    }

    /// `Y = L^-1 B`.
    pub(crate) fn whiten(
        &self,
        stream: &Stream,
        layout: &Layout,
        index: &RowIndex,
        rows: &DeviceRowFactors,
        cross: &DeviceBuffer<f64>,
        whitened: &mut DeviceBuffer<f64>,
    ) -> Result<()> {
        if layout.k == 0 || layout.rows == 0 {
            return Ok(());
        }
        let across = layout.k.next_multiple_of(32).min(FEW_THREADS as usize);
        let down = FEW_THREADS as usize / across;
        let groups = layout.rows.div_ceil(down).min(65_535);
        let geometry = grid(
            layout.k.div_ceil(across),
            groups,
            [across as u32, down as u32],
        );
        let launch = self
            .whiten
            .launch(stream, geometry)
            .rows(index, layout)
            .read(rows.factors.view())
            .read(rows.reciprocals.view())
            .read(cross.view())
            .scalar(layout.k as i64)
            .write(whitened.view_mut())
            .scalar(layout.order as i64)
            .scalar(layout.k as i32);
        // SAFETY: the arguments are those of the source; B is N x k, Y is N x order.
        unsafe { launch.submit() }
    }

    /// The lower triangle of `C` from its packed lines.
    pub(crate) fn border_unpack(
        &self,
        stream: &Stream,
        layout: &Layout,
        lines: &DeviceBuffer<f64>,
        by_column: bool,
        border: &mut DeviceBuffer<f64>,
    ) -> Result<()> {
        let tiles = layout.k.div_ceil(32);
        if tiles == 0 {
            return Ok(());
        }
        let launch = self
            .border_unpack
            .launch(stream, grid(tiles, tiles, [32, 8]))
            .read(lines.view())
            .scalar(i32::from(by_column))
            .write(border.view_mut())
            .scalar(layout.order as i64)
            .scalar(layout.k as i32);
        // SAFETY: the arguments are those of the source; both are border matrices, of which the
        // lines of a triangle take about half.
        unsafe { launch.submit() }
    }

    /// `S = C + rho I`, completed by the identity.
    pub(crate) fn border_sum(
        &self,
        stream: &Stream,
        layout: &Layout,
        border: &DeviceBuffer<f64>,
        rho: f64,
        sum: &mut DeviceBuffer<f64>,
    ) -> Result<()> {
        let order = layout.order;
        let launch = self
            .border_sum
            .launch(
                stream,
                grid(order.div_ceil(THREADS as usize), order, [THREADS, 1]),
            )
            .read(border.view())
            .scalar(rho)
            .write(sum.view_mut())
            .scalar(order as i64)
            .scalar(layout.k as i32)
            .scalar(order as i32);
        // SAFETY: the arguments are those of the source; both are border matrices.
        unsafe { launch.submit() }
    }

    /// `A + rho I` in the place of `A`.
    pub(crate) fn border_ridge(
        &self,
        stream: &Stream,
        layout: &Layout,
        rho: f64,
        matrix: &mut DeviceBuffer<f64>,
    ) -> Result<()> {
        let launch = self
            .border_ridge
            .launch(stream, Geometry::one_thread_each(layout.k, THREADS))
            .write(matrix.view_mut())
            .scalar(rho)
            .scalar(layout.order as i64)
            .scalar(layout.k as i32);
        // SAFETY: the arguments are those of the source; it is a border matrix.
        unsafe { launch.submit() }
    }

    /// The record of the border's factor, into `to`.
    pub(crate) fn summarise_border(
        &self,
        stream: &Stream,
        layout: &Layout,
        factor: &DeviceBuffer<f64>,
        border: &DeviceBuffer<f64>,
        info: &DeviceBuffer<i32>,
        to: ViewMut<'_, FactorRecord>,
    ) -> Result<()> {
        let launch = self
            .summarise_border
            .launch(stream, Geometry::line(1, MOST_THREADS))
            .read(factor.view())
            .read(border.view())
            .scalar(layout.order as i64)
            .scalar(layout.k as i32)
            .read(info.view())
            .write(to);
        // SAFETY: the arguments are those of the source; one record is written.
        unsafe { launch.submit() }
    }

    /// Line `j` of `S` up to the diagonal.
    pub(crate) fn border_line(
        &self,
        stream: &Stream,
        layout: &Layout,
        sum: &DeviceBuffer<f64>,
        j: usize,
        line: &mut DeviceBuffer<f64>,
    ) -> Result<()> {
        let launch = self
            .border_line
            .launch(stream, Geometry::one_thread_each(j + 1, THREADS))
            .read(sum.view())
            .scalar(layout.order as i64)
            .scalar(j as i32)
            .write(line.slice_mut(0..j + 1)?);
        // SAFETY: the arguments are those of the source; j + 1 numbers are written.
        unsafe { launch.submit() }
    }

    /// `line[j]` less the squares before it, into the first number of `out`.
    pub(crate) fn border_pivot(
        &self,
        stream: &Stream,
        line: &DeviceBuffer<f64>,
        j: usize,
        out: &mut DeviceBuffer<f64>,
    ) -> Result<()> {
        let launch = self
            .border_pivot
            .launch(stream, Geometry::line(1, THREADS))
            .read(line.slice(0..j + 1)?)
            .scalar(j as i32)
            .write(out.slice_mut(0..1)?);
        // SAFETY: the arguments are those of the source.
        unsafe { launch.submit() }
    }

    /// `u = L^-1 g_t`, `b = Y' u - g_b`.
    #[expect(clippy::too_many_arguments, reason = "a kernel's operands")]
    pub(crate) fn pull(
        &self,
        stream: &Stream,
        layout: &Layout,
        index: &RowIndex,
        rows: &DeviceRowFactors,
        whitened: &DeviceBuffer<f64>,
        gradient: (&DeviceBuffer<f64>, &DeviceBuffer<f64>),
        u: &mut DeviceBuffer<f64>,
        buffers: &mut PullBuffers,
    ) -> Result<()> {
        let launch = self
            .pull
            .launch(
                stream,
                grid(layout.strips, layout.chunks, [STRIP as u32 / 2, 4]),
            )
            .early()
            .rows(index, layout)
            .read(rows.factors.view())
            .read(rows.reciprocals.view())
            .read(whitened.view())
            .scalar(layout.order as i64)
            .scalar(layout.k as i32)
            .read(gradient.0.view())
            .read(gradient.1.view())
            .write(u.view_mut())
            .write(buffers.partials.view_mut())
            .scalar((layout.strips * STRIP) as i64)
            .write(buffers.counters.view_mut())
            .write(buffers.sum.view_mut())
            .scalar(layout.rows_per_chunk as i64)
            .scalar(layout.rows_per_tile as i32)
            .scalar(self.share_of_y);
        // SAFETY: the arguments are those of the source; partial sums are chunks x strips STRIP,
        // counters one a strip and zero, the sum is padded to whole strips.
        unsafe { launch.submit() }
    }

    /// `mid = W x`, `out = W' mid`: the inverse of the border applied.
    pub(crate) fn apply_inverse(
        &self,
        stream: &Stream,
        layout: &Layout,
        inverse: &DeviceBuffer<f64>,
        x: &DeviceBuffer<f64>,
        mid: &mut DeviceBuffer<f64>,
        out: &mut DeviceBuffer<f64>,
    ) -> Result<()> {
        let geometry = Geometry::line((layout.order / 8) as u32, FEW_THREADS);
        let launch = self
            .inverse_first
            .launch(stream, geometry)
            .early()
            .read(inverse.view())
            .scalar(layout.order as i64)
            .scalar(layout.order as i32)
            .read(x.view())
            .write(mid.view_mut());
        // SAFETY: the arguments are those of the source; the vectors are at least `order` long.
        unsafe { launch.submit()? };
        let launch = self
            .inverse_second
            .launch(stream, geometry)
            .early()
            .read(inverse.view())
            .scalar(layout.order as i64)
            .scalar(layout.order as i32)
            .read(mid.view())
            .write(out.view_mut());
        // SAFETY: as above.
        unsafe { launch.submit() }
    }

    /// `out = -L^-T (u + Y x)`.
    #[expect(clippy::too_many_arguments, reason = "a kernel's operands")]
    pub(crate) fn push(
        &self,
        stream: &Stream,
        layout: &Layout,
        index: &RowIndex,
        rows: &DeviceRowFactors,
        whitened: &DeviceBuffer<f64>,
        u: &DeviceBuffer<f64>,
        x: &DeviceBuffer<f64>,
        out: &mut DeviceBuffer<f64>,
    ) -> Result<()> {
        if layout.rows == 0 {
            return Ok(());
        }
        let blocks = layout.rows.div_ceil(layout.rows_per_push) as u32;
        // Where there are few rows, more threads share each.
        let threads = if blocks < 1024 { THREADS } else { FEW_THREADS };
        let launch = self
            .push
            .launch(stream, Geometry::line(blocks, threads))
            .early()
            .rows(index, layout)
            .read(rows.factors.view())
            .read(rows.reciprocals.view())
            .read(whitened.view())
            .scalar(layout.order as i64)
            .scalar(layout.k as i32)
            .read(u.view())
            .read(x.view())
            .write(out.view_mut())
            .scalar(layout.rows_per_push as i32)
            .scalar(self.share_of_y);
        // SAFETY: the arguments are those of the source; x is zero past k, as Y is.
        unsafe { launch.submit() }
    }

    /// `x <- scale L^-1 x` or `scale L^-T x` of every row, for `count` columns.
    #[expect(clippy::too_many_arguments, reason = "a kernel's operands")]
    pub(crate) fn rows_solve(
        &self,
        stream: &Stream,
        layout: &Layout,
        index: &RowIndex,
        rows: &DeviceRowFactors,
        x: ViewMut<'_, f64>,
        count: usize,
        scale: f64,
        which: RowSolve,
    ) -> Result<()> {
        if layout.rows == 0 || count == 0 {
            return Ok(());
        }
        let launch = self
            .rows_solve
            .launch(
                stream,
                grid(
                    layout.rows.div_ceil(FEW_THREADS as usize),
                    count,
                    [FEW_THREADS, 1],
                ),
            )
            .rows(index, layout)
            .read(rows.factors.view())
            .read(rows.reciprocals.view())
            .write(x.slice(0..count * layout.unknowns)?)
            .scalar(layout.unknowns as i64)
            .scalar(scale)
            .scalar(i32::from(which == RowSolve::Transposed));
        // SAFETY: the arguments are those of the source; x holds `count` columns of N.
        unsafe { launch.submit() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ArrowShape;

    #[test]
    fn what_fits_is_kept_whole_and_half_a_cache_of_what_does_not() {
        let kept = |rows, border| {
            let layout = Layout::new(&ArrowShape::uniform(rows, 2, border).unwrap()).unwrap();
            let kept = Kept::of(&layout, 50 << 20);
            (kept, 8.0 * (layout.unknowns * layout.order) as f64)
        };
        for (rows, border, stream_v) in [(64, 64, false), (180, 5120, true)] {
            let share_of_y = 1.0;
            let want = Kept {
                share_of_y,
                stream_v,
            };
            assert_eq!(kept(rows, border).0, want);
        }
        for (rows, border) in [(2000, 2048), (100_000, 2000)] {
            let (kept, bytes) = kept(rows, border);
            let held = f64::from(kept.share_of_y) * bytes;
            assert!((held / f64::from(25 << 20) - 1.0).abs() < 1e-6, "{held}");
            assert_eq!(kept.suffixes(), ["share", "first"]);
        }
    }
}
