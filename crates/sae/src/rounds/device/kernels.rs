//! Typed launches of a round's kernels.
#![allow(unsafe_code)] // Beside the kernels' typed launches alone.

use super::{DeviceRounds, DeviceState, HEAD, Sizes};
use crate::rounds::round::{Choice, NOISE};
use broadhead_device::kernels::{Geometry, Kernel, KernelSource};
use broadhead_device::{DeviceBuffer, Result, Stream};

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
        "round_turn_codes",
        "round_offsets",
        "round_chunks",
        "round_scatter",
        "round_sums",
        "round_reduce",
        "round_centre",
        "round_axes",
        "round_end",
    ],
    options: &[],
};

/// `ROWS` of choose.cu.
pub(super) const ROWS: usize = 32;

/// `THREADS` of choose.cu.
const THREADS: u32 = 256;

/// `TILE` of choose.cu.
const TILE: usize = 16;

/// `COLUMNS` of sums.cu, and its threads.
const COLUMNS: usize = 512;
const SUMMING: u32 = 288;

pub(super) struct Kernels {
    rows: Kernel,
    gram: Kernel,
    choose: Kernel,
    count: Kernel,
    turn_codes: Kernel,
    offsets: Kernel,
    chunks: Kernel,
    scatter: Kernel,
    sums: Kernel,
    reduce: Kernel,
    centre: Kernel,
    axes: Kernel,
    end: Kernel,
}

impl Kernels {
    pub(super) fn load(stream: &Stream, sizes: &Sizes) -> Result<Self> {
        let module = stream.context().module(&ROUNDS)?;
        let of = |name| Ok::<_, broadhead_device::DeviceError>(module.kernel(name)?.clone());
        let sums = of("round_sums")?;
        sums.allow_shared(shared_of_sums(sizes))?;
        Ok(Self {
            rows: of("round_rows")?,
            gram: of("round_gram")?,
            choose: of("round_choose")?,
            count: of("round_count")?,
            turn_codes: of("round_turn_codes")?,
            offsets: of("round_offsets")?,
            chunks: of("round_chunks")?,
            scatter: of("round_scatter")?,
            sums,
            reduce: of("round_reduce")?,
            centre: of("round_centre")?,
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
        let tiles = (f + 1).div_ceil(TILE) as u32;
        let geometry = Geometry {
            grid: [tiles, tiles, 1],
            ..Geometry::line(1, (TILE * TILE) as u32)
        };
        let launch = (self.kernels.gram.launch(&self.stream, geometry).early())
            .read(state.lines.view())
            .read(state.intercept.view())
            .scalar(f as i32)
            .scalar(p as i32)
            .write(self.decoder_gram.view_mut())
            .write(self.single.view_mut())
            .write(self.axes.view_mut())
            .write(self.shift.view_mut());
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
            .write(self.lists.counts.view_mut());
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
            .launch(stream, Geometry::line(1, 1024))
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
            ..Geometry::line(1, SUMMING)
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
                (p + sizes.features() + 1).div_ceil(128) as u32,
                1,
            ],
            ..Geometry::line(1, 128)
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

    /// Circles in their own axes, codes that follow, the intercept, and the record.
    pub(super) fn submit_end(&mut self, state: &mut DeviceState) -> Result<()> {
        let Sizes { n, p, circles, .. } = self.sizes;
        let entries = self.sizes.entries();
        let (stream, kernels) = (&self.stream, &self.kernels);
        let (head, shares) = self.record.view_mut().split_at(HEAD)?;
        let launch = (kernels
            .axes
            .launch(stream, Geometry::line(circles as u32, 128))
            .early())
        .read(self.decoder.right.view())
        .read(self.sums.moment.view())
        .read(self.sums.gram.view())
        .read(self.sums.ones.view())
        .scalar(n as f64)
        .scalar(circles as i32)
        .scalar(p as i32)
        .write(state.lines.view_mut())
        .write(self.decoder.turns.view_mut())
        .write(state.weights.view_mut())
        .write(shares)
        .write(self.decoder.explained.view_mut());
        // SAFETY: the arguments are those of the source; `F x p`, `2 C`, `F`, `C` and `C` numbers are written.
        unsafe { launch.submit()? };
        let geometry = Geometry::one_thread_each(entries, THREADS);
        let launch = (kernels.turn_codes.launch(stream, geometry).early())
            .read(state.atoms.view())
            .read(self.decoder.turns.view())
            .scalar(entries as i64)
            .write(state.phis.view_mut());
        // SAFETY: the arguments are those of the source; two numbers an entry.
        unsafe { launch.submit()? };
        let launch = (kernels.end.launch(stream, Geometry::line(1, 1024)).early())
            .read(state.lines.view())
            .read(state.weights.view())
            .read(self.mean.view())
            .read(self.decoder.explained.view())
            .read(self.lists.changed.view())
            .read(self.decoder.info.view())
            .scalar(n as f64)
            .scalar(self.square)
            .scalar(circles as i32)
            .scalar(p as i32)
            .write(state.intercept.view_mut())
            .write(head);
        // SAFETY: the arguments are those of the source; `p` and three numbers are written.
        unsafe { launch.submit() }
    }
}
