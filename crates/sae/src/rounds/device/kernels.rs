//! Typed launches of a round's kernels.
#![allow(unsafe_code)] // Beside the kernels' typed launches alone.

use super::{DeviceRounds, DeviceState, MOST_CIRCLES, MOST_SLOTS, PIECE, Sizes};
use crate::rounds::round::{Choice, NOISE};
use broadhead_device::kernels::{Geometry, Kernel, KernelSource};
use broadhead_device::{DeviceBuffer, Result, Stream, declares};

/// The kernels of a round.
pub(crate) const ROUNDS: KernelSource = KernelSource {
    name: "rounds.cu",
    text: concat!(
        "#include \"early.cuh\"\n",
        include_str!("choose.cu"),
        include_str!("sums.cu"),
        include_str!("decoder.cu")
    ),
    entries: &[
        "round_rows",
        "round_gram",
        "round_choose",
        "round_count",
        "round_offsets",
        "round_chunks",
        "round_scatter",
        "round_sums",
        "round_reduce",
        "round_decoder",
        "round_centre",
        "round_intercept",
        "round_axes",
        "round_end",
    ],
    options: &[],
    declares: declares![
        record RoundRecord,
        int ROWS,
        int THREADS,
        int MOST_SLOTS,
        int SIDE,
        int PIECE,
        int SUMMING,
        int REDUCING,
        int MOST_CIRCLES,
        int PANEL,
        int PANEL_STRIDE,
        int FACTORING,
        int MOST_SHARED,
        int WIDEST,
        int TILES,
        int AXES,
        int ACROSS,
    ],
};

broadhead_device::record! {
    /// What a round found.
    pub(super) struct RoundRecord {
        pub(super) objective: f64,
        /// Rows that switched.
        pub(super) changed: u64,
        /// The first pivot that is not positive, counted from 1; 0 where there is none.
        pub(super) pivot: i64,
    }
}

/// Rows that a block of threads chooses for together.
pub(super) const ROWS: usize = 32;

/// Threads of a block.
const THREADS: u32 = 256;

/// Lines of a warp's tile of `K`, and across all warps of a block.
const SIDE: usize = 4;
const ACROSS_WARPS: usize = SIDE * THREADS as usize / 32;

/// Threads that sum `Phi' X`, two columns each; one more warp sums `Phi' Phi`.
const SUMMING: u32 = 256;
const COLUMNS: usize = 2 * SUMMING as usize;

/// Threads that add up partial sums.
const REDUCING: u32 = 128;

/// Columns of a panel of the decoder's system, numbers between its rows, so that fragments are read without
/// conflicts, and threads of a block.
const PANEL: usize = 8;
const PANEL_STRIDE: usize = 12;
const FACTORING: u32 = 512;

/// Threads that turn a circle.
const AXES: u32 = 128;

/// Columns of the data of a block where a library solved for the decoder.
const ACROSS: usize = 32;

/// The largest order of a decoder's system that a block of threads factors in its shared memory, and the most tiles
/// that a warp has of it.
const MOST_SHARED: usize = 144;
const TILES: usize = {
    let (square, sides) = (MOST_SHARED / PANEL, WIDEST.div_ceil(PANEL));
    (square * (square + 1) / 2 + square * sides).div_ceil(FACTORING as usize / 32)
};

/// Blocks that share the columns of the data where each factors the whole matrix: fewer than there are
/// multiprocessors.
const FACTORERS: usize = 128;

/// The most columns of such a block.
const WIDEST: usize = 16;

/// A decoder's system that each block of threads factors for itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Small {
    /// The number of features, rounded up to whole panels.
    order: usize,
    /// Columns of the data of a block.
    wide: usize,
}

impl Small {
    pub(super) fn of(sizes: &Sizes) -> Option<Self> {
        let order = sizes.features().next_multiple_of(PANEL);
        let wide = sizes.p.div_ceil(FACTORERS);
        (order <= MOST_SHARED).then_some(Self {
            order,
            wide: wide.min(WIDEST),
        })
    }

    /// Bytes of the factor with its right-hand sides, and of two panels.
    fn shared(self) -> u32 {
        let panels = 2 * (MOST_SHARED + WIDEST) * PANEL_STRIDE;
        (8 * ((self.order + self.wide) * (self.order + 1) + panels)) as u32
    }
}

/// Parts of what a decoder explains.
pub(super) fn explained_parts(sizes: &Sizes) -> usize {
    match Small::of(sizes) {
        Some(small) => sizes.p.div_ceil(small.wide),
        None => sizes.p.div_ceil(ACROSS),
    }
}

pub(super) struct Kernels {
    rows: Kernel,
    gram: Kernel,
    choose: Kernel,
    count: Kernel,
    offsets: Kernel,
    chunks: Kernel,
    scatter: Kernel,
    sums: Kernel,
    reduce: Kernel,
    decoder: Kernel,
    centre: Kernel,
    intercept: Kernel,
    axes: Kernel,
    end: Kernel,
}

impl Kernels {
    pub(super) fn load(stream: &Stream, sizes: &Sizes) -> Result<Self> {
        let module = stream.context().module(&ROUNDS)?;
        let of = |name| Ok::<_, broadhead_device::DeviceError>(module.kernel(name)?.clone());
        let sums = of("round_sums")?;
        sums.allow_shared(shared_of_sums(sizes))?;
        let decoder = of("round_decoder")?;
        if let Some(small) = Small::of(sizes) {
            decoder.allow_shared(small.shared())?;
        }
        Ok(Self {
            rows: of("round_rows")?,
            gram: of("round_gram")?,
            choose: of("round_choose")?,
            count: of("round_count")?,
            offsets: of("round_offsets")?,
            chunks: of("round_chunks")?,
            scatter: of("round_scatter")?,
            sums,
            reduce: of("round_reduce")?,
            decoder,
            centre: of("round_centre")?,
            intercept: of("round_intercept")?,
            axes: of("round_axes")?,
            end: of("round_end")?,
        })
    }

    /// `|x|^2` and `x'm` of every row.
    pub(super) fn rows(
        &self,
        stream: &Stream,
        sizes: &Sizes,
        [x, mean]: [&DeviceBuffer<f64>; 2],
        [squares, along_mean]: [&mut DeviceBuffer<f64>; 2],
    ) -> Result<()> {
        let warps = THREADS as usize / 32;
        let geometry = Geometry::line(sizes.n.div_ceil(warps) as u32, THREADS);
        let launch = (self.rows.launch(stream, geometry).early())
            .read(x.view())
            .read(mean.view())
            .scalar(sizes.n as i64)
            .scalar(sizes.p as i32)
            .write(squares.view_mut())
            .write(along_mean.view_mut());
        // SAFETY: the arguments are those of the source; `n x p` numbers, and one a row of either output.
        unsafe { launch.submit() }
    }
}

/// Partial sums of `Phi' Phi`, and where chunks begin.
fn shared_of_sums(sizes: &Sizes) -> u32 {
    (8 * 2 * sizes.features() + 4 * (sizes.circles + 1)) as u32
}

impl DeviceRounds {
    /// `K` and what lines have along the intercept.
    pub(super) fn submit_gram(&mut self, state: &DeviceState) -> Result<()> {
        let Sizes { p, .. } = self.sizes;
        let f = self.sizes.features();
        let geometry = Geometry {
            grid: [
                (f + 1).div_ceil(ACROSS_WARPS) as u32,
                (f + 1).div_ceil(SIDE) as u32,
                1,
            ],
            ..Geometry::line(1, THREADS)
        };
        let launch = (self.kernels.gram.launch(&self.stream, geometry).early())
            .read(state.lines.view())
            .read(state.intercept.view())
            .scalar(f as i32)
            .scalar(p as i32)
            .write(self.decoder_gram.view_mut())
            .write(self.single.view_mut())
            .write(self.axes.view_mut())
            .write(self.shift.view_mut())
            .write(self.lists.changed.view_mut())
            .write(self.decoder.info.view_mut());
        // SAFETY: the arguments are those of the source; `F x p` and `p` numbers are read, `F x F`, `F` and
        // `F + 1` written.
        unsafe { launch.submit() }
    }

    /// Rows choose.
    pub(super) fn submit_choose(&mut self, choice: Choice, state: &mut DeviceState) -> Result<()> {
        let Sizes {
            n,
            circles,
            slots,
            blocks,
            ..
        } = self.sizes;
        let geometry = Geometry::line(blocks as u32, THREADS).with_shared(4 * circles as u32);
        let launch = (self.kernels.choose.launch(&self.stream, geometry).early())
            .read(self.pulls.view())
            .read(self.decoder_gram.view())
            .read(self.single.view())
            .read(self.axes.view())
            .read(self.shift.view())
            .read(self.row_squares.view())
            .read(self.along_mean.view())
            .read(self.along.view())
            .scalar(i32::from(!state.follows))
            .read(state.weights.view())
            .scalar(n as i64)
            .scalar(circles as i32)
            .scalar(slots as i32)
            .scalar(i32::from(choice == Choice::Better))
            .scalar(NOISE[0])
            .write(state.atoms.view_mut())
            .write(state.phis.view_mut())
            .write(state.squares.view_mut())
            .write(self.lists.counts.view_mut())
            .write(self.lists.changed.view_mut());
        // SAFETY: the arguments are those of the source; arrays are of the lengths that its comments name, shared
        // memory holds a count a circle.
        unsafe { launch.submit() }
    }

    /// Entries of codes that stay, counted.
    pub(super) fn submit_count(&mut self, state: &DeviceState) -> Result<()> {
        let Sizes {
            n,
            circles,
            slots,
            blocks,
            ..
        } = self.sizes;
        let geometry = Geometry::line(blocks as u32, THREADS).with_shared(4 * circles as u32);
        let launch = (self.kernels.count.launch(&self.stream, geometry).early())
            .read(state.atoms.view())
            .scalar(n as i64)
            .scalar(circles as i32)
            .scalar(slots as i32)
            .write(self.lists.counts.view_mut())
            .write(self.lists.changed.view_mut())
            .write(self.decoder.info.view_mut());
        // SAFETY: the arguments are those of the source; a count for every circle and block is written.
        unsafe { launch.submit() }
    }

    /// Entries by circle.
    pub(super) fn submit_lists(&mut self, state: &DeviceState) -> Result<()> {
        let Sizes {
            n,
            circles,
            slots,
            blocks,
            length,
            ..
        } = self.sizes;
        let (stream, kernels, lists) = (&self.stream, &self.kernels, &mut self.lists);
        let of_circles = Geometry::line(circles as u32, THREADS);
        let launch = (kernels.offsets.launch(stream, of_circles).early())
            .read(lists.counts.view())
            .scalar(blocks as i32)
            .write(lists.base.view_mut())
            .write(lists.totals.view_mut());
        // SAFETY: the arguments are those of the source; counts and places are `C x blocks`, totals `C`.
        unsafe { launch.submit()? };
        let launch = (kernels
            .chunks
            .launch(stream, Geometry::line(1, MOST_CIRCLES as u32))
            .early())
        .read(lists.totals.view())
        .scalar(circles as i32)
        .scalar(length as u32)
        .write(lists.begins.view_mut())
        .write(lists.chunks.view_mut());
        // SAFETY: the arguments are those of the source; at most 1024 circles, one more number than there are
        // circles is written to either output.
        unsafe { launch.submit()? };
        let launch = (kernels
            .scatter
            .launch(stream, Geometry::line(blocks as u32, THREADS))
            .early())
        .read(state.atoms.view())
        .read(state.phis.view())
        .scalar(n as i64)
        .scalar(slots as i32)
        .read(lists.base.view())
        .read(lists.begins.view())
        .write(lists.rows.view_mut())
        .write(lists.places.view_mut());
        // SAFETY: the arguments are those of the source; there is room for an entry in every slot of every row.
        unsafe { launch.submit() }
    }

    /// Sums over the rows.
    pub(super) fn submit_sums(&mut self, state: &DeviceState) -> Result<()> {
        let sizes = self.sizes;
        let Sizes {
            p,
            circles,
            slots,
            length,
            chunks,
            ..
        } = sizes;
        let (stream, kernels, lists) = (&self.stream, &self.kernels, &self.lists);
        let geometry = Geometry {
            grid: [chunks as u32, p.div_ceil(COLUMNS) as u32, 1],
            ..Geometry::line(1, SUMMING + 32)
        };
        let geometry = geometry.with_shared(shared_of_sums(&sizes));
        let launch = (kernels.sums.launch(stream, geometry).early())
            .read(self.x.view())
            .read(state.atoms.view())
            .read(state.phis.view())
            .read(lists.rows.view())
            .read(lists.places.view())
            .read(lists.begins.view())
            .read(lists.chunks.view())
            .scalar(circles as i32)
            .scalar(slots as i32)
            .scalar(p as i32)
            .scalar(length as u32)
            .write(self.sums.moments.view_mut())
            .write(self.sums.grams.view_mut());
        // SAFETY: the arguments are those of the source; there are no more chunks than blocks of the grid and
        // partial sums, and shared memory is what the source says.
        unsafe { launch.submit()? };
        let geometry = Geometry {
            grid: [
                circles as u32,
                (p + sizes.features() + 1).div_ceil(REDUCING as usize) as u32,
                1,
            ],
            ..Geometry::line(1, REDUCING)
        };
        let launch = (kernels.reduce.launch(stream, geometry).early())
            .read(self.sums.moments.view())
            .read(self.sums.grams.view())
            .read(lists.chunks.view())
            .scalar(circles as i32)
            .scalar(p as i32)
            .write(self.sums.moment.view_mut())
            .write(self.sums.gram.view_mut())
            .write(self.sums.ones.view_mut());
        // SAFETY: the arguments are those of the source; `F x p`, `F x F` and `F` numbers are written.
        unsafe { launch.submit() }
    }

    /// The decoder in one launch, where its system is small.
    pub(super) fn submit_decoder(
        &mut self,
        small: Small,
        lambda: f64,
        state: &mut DeviceState,
    ) -> Result<()> {
        let Sizes { n, p, .. } = self.sizes;
        let geometry = Geometry::line(explained_parts(&self.sizes) as u32, FACTORING);
        let geometry = geometry.with_shared(small.shared());
        let launch = (self.kernels.decoder.launch(&self.stream, geometry).early())
            .read(self.sums.gram.view())
            .read(self.sums.moment.view())
            .read(self.sums.ones.view())
            .read(self.mean.view())
            .scalar(n as f64)
            .scalar(lambda)
            .scalar(self.sizes.features() as i32)
            .scalar(small.order as i32)
            .scalar(small.wide as i32)
            .scalar(p as i32)
            .write(self.decoder.right.view_mut())
            .write(state.intercept.view_mut())
            .write(self.decoder.explained.view_mut())
            .write(self.decoder.info.view_mut());
        // SAFETY: the arguments are those of the source; `F x p`, `p` and a number for each block are written, and
        // shared memory is what the source says.
        unsafe { launch.submit() }
    }

    /// The decoder's matrix and right-hand sides.
    pub(super) fn submit_centre(&mut self, lambda: f64) -> Result<()> {
        let Sizes { n, p, .. } = self.sizes;
        let f = self.sizes.features();
        let geometry = Geometry::one_thread_each(f * f + f * p, THREADS);
        let launch = (self.kernels.centre.launch(&self.stream, geometry).early())
            .read(self.sums.gram.view())
            .read(self.sums.moment.view())
            .read(self.sums.ones.view())
            .read(self.mean.view())
            .scalar(n as f64)
            .scalar(lambda)
            .scalar(f as i32)
            .scalar(p as i32)
            .write(self.decoder.matrix.view_mut())
            .write(self.decoder.right.view_mut());
        // SAFETY: the arguments are those of the source; `F x F` and `F x p` numbers are written.
        unsafe { launch.submit() }
    }

    /// The intercept, and what the decoder explains, where a library solved for it.
    pub(super) fn submit_intercept(&mut self, state: &mut DeviceState) -> Result<()> {
        let Sizes { n, p, .. } = self.sizes;
        let geometry = Geometry::line(explained_parts(&self.sizes) as u32, THREADS);
        let launch = (self
            .kernels
            .intercept
            .launch(&self.stream, geometry)
            .early())
        .read(self.decoder.right.view())
        .read(self.sums.moment.view())
        .read(self.sums.ones.view())
        .read(self.mean.view())
        .scalar(n as f64)
        .scalar(self.sizes.features() as i32)
        .scalar(p as i32)
        .write(state.intercept.view_mut())
        .write(self.decoder.explained.view_mut());
        // SAFETY: the arguments are those of the source; `p` numbers and one for each block are written.
        unsafe { launch.submit() }
    }

    /// Circles in their own axes, codes that follow, and the record.
    pub(super) fn submit_end(&mut self, state: &mut DeviceState) -> Result<()> {
        let Sizes { n, p, circles, .. } = self.sizes;
        let entries = self.sizes.entries();
        let (stream, kernels) = (&self.stream, &self.kernels);
        let geometry = Geometry::line(circles as u32, AXES);
        let launch = (kernels.axes.launch(stream, geometry).early())
            .read(self.decoder.right.view())
            .read(self.sums.gram.view())
            .read(self.sums.ones.view())
            .scalar(n as f64)
            .scalar(circles as i32)
            .scalar(p as i32)
            .write(state.lines.view_mut())
            .write(self.decoder.turns.view_mut())
            .write(state.weights.view_mut())
            .write(self.shares.view_mut());
        // SAFETY: the arguments are those of the source; `F x p`, `2 C`, `F` and `C` numbers are written.
        unsafe { launch.submit()? };
        let geometry = Geometry::one_thread_each(entries, THREADS);
        let launch = (kernels.end.launch(stream, geometry).early())
            .read(state.atoms.view())
            .read(self.decoder.turns.view())
            .scalar(entries as i64)
            .write(state.phis.view_mut())
            .read(self.decoder.explained.view())
            .scalar(explained_parts(&self.sizes) as i32)
            .read(self.lists.changed.view())
            .read(self.decoder.info.view())
            .scalar(self.square)
            .write(self.record.view_mut());
        // SAFETY: the arguments are those of the source; two numbers an entry, and the record.
        unsafe { launch.submit() }
    }
}
