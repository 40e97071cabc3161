//! Rounds on a device: rows are sent once, and a round answers with one small record.
//!
//! ```text
//! round_gram   K = W W', W c          gemm          pulls C = X W'
//!      round_choose   rows choose             by blocks of rows
//!      round_sums     G, F, s by chunks       partial sums; round_reduce adds them in order
//!      round_decoder  W and the intercept     by blocks of columns; potrf and trsm where it is large
//!      round_axes     circles in their own axes; round_end: codes follow, the record
//! ```
//!
//! The steps are those of [`super::round`], with the same seams: partial sums, their reduction, the decoder.
//! Circles are searched in single precision and placed in double precision; all sums are in double precision, in an
//! order that depends on the choices alone. The objective agrees with the host's to rounding; where two circles
//! explain a row equally well to single precision, the two may choose differently.
//!
//! Served are dictionaries of circles of a first harmonic with amplitude 1, up to [`MOST_CIRCLES`] of them, and up
//! to [`MOST_SLOTS`] atoms a row. Others have their rounds on the host.

pub(crate) mod check;
mod kernels;

pub(crate) use kernels::ROUNDS;

use crate::data::Data;
use crate::encode::search::{Arrangement, NONE};
use crate::error::{CurvedError, FitError};
use crate::model::dictionary::Amplitudes;
use crate::rounds::codes::Codes;
use crate::rounds::round::{Arranged, Choice, Ground, Penalty, RoundState, Swaps};
use broadhead_device::record::Record;
use broadhead_device::{
    ByteClass, DeviceBuffer, Graph, Matrix, MatrixMut, PinnedBuffer, Refusal, Result, Side, Stream,
    Triangle,
};
use broadhead_schur::Error;
use kernels::{Kernels, RoundRecord, Small, explained_parts};
use std::sync::Arc;

/// The most circles of a dictionary: the sums of one block of threads fit into its shared memory.
pub(crate) const MOST_CIRCLES: usize = 1024;

/// The most atoms of a row.
pub(crate) const MOST_SLOTS: usize = 8;

/// Whether rounds over `ground`, with `slots` atoms a row, can run on a device.
pub(crate) fn serves(ground: &Ground<'_>, slots: usize) -> bool {
    let circles = ground.arrangement.circles().len();
    circles == ground.dictionary.len()
        && circles <= MOST_CIRCLES
        && slots <= MOST_SLOTS
        && ground.dictionary.amplitudes() == Amplitudes::One
        && ground.swaps != Swaps::All
}

/// What rounds over one set of rows need on a device, made once.
pub(crate) struct DeviceRounds {
    stream: Stream,
    kernels: Kernels,
    sizes: Sizes,
    /// `|X|^2`.
    square: f64,
    /// `n x p`, row-major.
    x: DeviceBuffer<f64>,
    mean: DeviceBuffer<f64>,
    row_squares: DeviceBuffer<f64>,
    /// `X m` with the mean `m`.
    along_mean: DeviceBuffer<f64>,
    /// `X c`, where the intercept is not that of the last decoder.
    along: DeviceBuffer<f64>,
    /// `n x F`, row-major.
    pulls: DeviceBuffer<f64>,
    /// `K = W W'`, in double and in single precision, and its diagonal.
    decoder_gram: DeviceBuffer<f64>,
    single: DeviceBuffer<f32>,
    axes: DeviceBuffer<f32>,
    shift: DeviceBuffer<f64>,
    lists: Lists,
    sums: Sums,
    decoder: Solve,
    record: DeviceBuffer<RoundRecord>,
    record_out: PinnedBuffer<RoundRecord>,
    /// By atom, the trace of `W_a W_a' G_aa`.
    shares: DeviceBuffer<f64>,
    shares_out: PinnedBuffer<f64>,
    /// By which states know whose rounds their graphs hold.
    identity: Arc<()>,
}

/// Shapes, and how rows and entries are cut.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    n: usize,
    p: usize,
    circles: usize,
    slots: usize,
    /// Blocks of rows that choose together.
    blocks: usize,
    /// Entries of a chunk, at most, and the most chunks.
    length: usize,
    chunks: usize,
}

impl Sizes {
    fn features(&self) -> usize {
        2 * self.circles
    }

    fn entries(&self) -> usize {
        self.n * self.slots
    }

    fn new([n, p, circles, slots]: [usize; 4]) -> Self {
        // So many chunks that all multiprocessors have some, so few that adding them up is little.
        let length = (n * slots / CHUNKS).next_multiple_of(PIECE).max(PIECE);
        Self {
            n,
            p,
            circles,
            slots,
            blocks: n.div_ceil(kernels::ROWS),
            length,
            chunks: n * slots / length + circles,
        }
    }
}

/// Entries of a chunk that a block of threads looks at together.
const PIECE: usize = 64;

/// Chunks are made so long that there are about this many.
const CHUNKS: usize = 2048;

/// Entries by circle.
struct Lists {
    /// How often each circle is on in each block of rows, and where these entries begin among those of the circle.
    counts: DeviceBuffer<u32>,
    base: DeviceBuffer<u32>,
    totals: DeviceBuffer<u32>,
    /// Where the entries of every circle begin, and its chunks.
    begins: DeviceBuffer<u32>,
    chunks: DeviceBuffer<u32>,
    rows: DeviceBuffer<u32>,
    places: DeviceBuffer<f64>,
    changed: DeviceBuffer<u32>,
}

/// Partial sums, and their sums.
struct Sums {
    moments: DeviceBuffer<f64>,
    grams: DeviceBuffer<f64>,
    moment: DeviceBuffer<f64>,
    gram: DeviceBuffer<f64>,
    ones: DeviceBuffer<f64>,
}

/// Memory of the decoder's system.
struct Solve {
    matrix: DeviceBuffer<f64>,
    right: DeviceBuffer<f64>,
    workspace: DeviceBuffer<f64>,
    info: DeviceBuffer<i32>,
    turns: DeviceBuffer<f64>,
    explained: DeviceBuffer<f64>,
}

/// A [`RoundState`] whose numbers lie on the device.
pub(crate) struct DeviceState {
    lines: DeviceBuffer<f64>,
    intercept: DeviceBuffer<f64>,
    /// Means of the functions, by which the intercept follows from the decoder.
    weights: DeviceBuffer<f64>,
    atoms: DeviceBuffer<u32>,
    phis: DeviceBuffer<f64>,
    squares: DeviceBuffer<f64>,
    /// Whether the intercept is the mean of the rows minus `W'` times those means.
    follows: bool,
    pub(crate) objective: f64,
    pub(crate) shares: Vec<f64>,
    pub(crate) changed: usize,
    graphs: Vec<RoundGraph>,
}

/// A round on one state as one submission.
struct RoundGraph {
    kind: Kind,
    of: Arc<()>,
    /// Absent where such a round ran once.
    graph: Option<Graph>,
}

/// What a graph of a round depends on beside its state.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Kind {
    choice: Choice,
    follows: bool,
    lambda: f64,
}

impl DeviceRounds {
    /// Device bytes of rounds over `n` rows of `p` with `circles` and `slots` atoms a row, without those of states
    /// ([`DeviceState::bytes`]) and the library's workspace.
    pub(crate) fn bytes(sizes: [usize; 4]) -> u64 {
        let sizes = Sizes::new(sizes);
        let Sizes { n, p, circles, .. } = sizes;
        let f = sizes.features();
        let double = n * (p + 3 + f)
            + p
            + f * f * 3
            + 2 * f
            + 1
            + 2 * sizes.entries()
            + sizes.chunks * (2 * p + 2 * f + 2)
            + 2 * f * p
            + 2 * circles
            + explained_parts(&sizes)
            + size_of::<RoundRecord>() / 8
            + circles;
        let single = f * f + f + 2 * circles * sizes.blocks + 3 * circles + 3 + sizes.entries();
        (8 * double + 4 * single) as u64
    }

    /// Sends the rows of `ground`.
    ///
    /// # Errors
    /// [`FitError::Solver`] with the device's error, [`Refusal`] where there are too many rows.
    pub(crate) fn new(
        stream: &Stream,
        ground: &Ground<'_>,
        slots: usize,
    ) -> std::result::Result<Self, FitError> {
        let circles = ground.arrangement.circles().len();
        let shape = [ground.data.rows(), ground.data.outputs(), circles, slots];
        let state = DeviceState::bytes(shape);
        // A state, one that a round works on, and one to go back to.
        let needed = Self::bytes(shape) + 3 * state;
        let made = stream
            .context()
            .expect_free(needed, "rounds")
            .and_then(|()| Self::make(stream, ground, Sizes::new(shape)));
        Ok(made.map_err(Error::from)?)
    }

    fn make(stream: &Stream, ground: &Ground<'_>, sizes: Sizes) -> Result<Self> {
        let Sizes { n, p, circles, .. } = sizes;
        let f = sizes.features();
        if u32::try_from(sizes.entries()).is_err() {
            return Err(Refusal::Shape {
                what: "rounds on a device".to_owned(),
                expected: format!("at most {} rows times atoms a row", u32::MAX),
                found: sizes.entries().to_string(),
            }
            .into());
        }
        let kernels = Kernels::load(stream, &sizes)?;
        let x = send_rows(stream, ground.data)?;
        let mean = stream.upload(ground.data.mean(), ByteClass::Operand, "the mean")?;
        let mut row_squares = stream.alloc(n, "squares of rows")?;
        let mut along_mean = stream.alloc(n, "rows along their mean")?;
        kernels.rows(
            stream,
            &sizes,
            [&x, &mean],
            [&mut row_squares, &mut along_mean],
        )?;
        let mut matrix = stream.alloc(f * f, "the matrix of a decoder")?;
        let workspace = stream.potrf_workspace(&mut MatrixMut::packed(matrix.view_mut(), f, f)?)?;
        Ok(Self {
            stream: stream.clone(),
            kernels,
            sizes,
            square: ground.square(),
            x,
            mean,
            row_squares,
            along_mean,
            along: stream.alloc(n, "rows along an intercept")?,
            pulls: stream.alloc(n * f, "pulls")?,
            decoder_gram: stream.alloc(f * f, "products of lines")?,
            single: stream.alloc(f * f, "the same in single precision")?,
            axes: stream.alloc(f, "axes of circles")?,
            shift: stream.alloc(f + 1, "lines along the intercept")?,
            lists: Lists {
                counts: stream.alloc(circles * sizes.blocks, "counts of entries")?,
                base: stream.alloc(circles * sizes.blocks, "places of entries")?,
                totals: stream.alloc(circles, "entries by circle")?,
                begins: stream.alloc(circles + 1, "entries by circle")?,
                chunks: stream.alloc(circles + 1, "chunks by circle")?,
                rows: stream.alloc(sizes.entries(), "rows of entries")?,
                places: stream.alloc(2 * sizes.entries(), "places of entries")?,
                changed: stream.zeros(1, "rows that switched")?,
            },
            sums: Sums {
                moments: stream.alloc(sizes.chunks * 2 * p, "partial sums")?,
                grams: stream.alloc(sizes.chunks * (2 * f + 2), "partial sums")?,
                moment: stream.alloc(f * p, "Phi'X")?,
                gram: stream.alloc(f * f, "Phi'Phi")?,
                ones: stream.alloc(f, "sums of features")?,
            },
            decoder: Solve {
                matrix,
                right: stream.alloc(f * p, "a decoder")?,
                workspace: stream.alloc(workspace, "workspace of a factorization")?,
                info: stream.zeros(1, "the outcome of a factorization")?,
                turns: stream.alloc(2 * circles, "turns of circles")?,
                explained: stream.alloc(explained_parts(&sizes), "what a decoder explains")?,
            },
            record: stream.zeros(1, "the record of a round")?,
            record_out: stream.pinned(1, "the record of a round")?,
            shares: stream.alloc(circles, "shares of circles")?,
            shares_out: stream.pinned(circles, "shares of circles")?,
            identity: Arc::new(()),
        })
    }

    /// A state with `decoder`, before any round.
    ///
    /// # Errors
    /// [`FitError::Solver`] with the device's error.
    pub(crate) fn before_rounds(
        &self,
        decoder: &Arranged,
    ) -> std::result::Result<DeviceState, FitError> {
        Ok(self.state(decoder).map_err(Error::from)?)
    }

    fn state(&self, decoder: &Arranged) -> Result<DeviceState> {
        let (stream, sizes) = (&self.stream, &self.sizes);
        let none = vec![NONE; sizes.entries()];
        Ok(DeviceState {
            lines: stream.upload(&decoder.lines, ByteClass::Operand, "a decoder")?,
            intercept: stream.upload(&decoder.intercept, ByteClass::Operand, "an intercept")?,
            weights: stream.zeros(sizes.features(), "means of functions")?,
            atoms: stream.upload(&none, ByteClass::Operand, "choices")?,
            phis: stream.zeros(2 * sizes.entries(), "places")?,
            squares: stream.zeros(sizes.n, "squared errors")?,
            follows: false,
            objective: f64::INFINITY,
            shares: vec![0.0; sizes.circles],
            changed: sizes.n,
            graphs: Vec::new(),
        })
    }

    /// Copies a state into the memory of another one.
    ///
    /// # Errors
    /// As [`DeviceRounds::before_rounds`].
    pub(crate) fn copy(
        &self,
        from: &DeviceState,
        to: &mut DeviceState,
    ) -> std::result::Result<(), FitError> {
        let stream = &self.stream;
        let copied = stream
            .copy(from.lines.view(), to.lines.view_mut())
            .and_then(|()| stream.copy(from.intercept.view(), to.intercept.view_mut()))
            .and_then(|()| stream.copy(from.weights.view(), to.weights.view_mut()))
            .and_then(|()| stream.copy(from.atoms.view(), to.atoms.view_mut()))
            .and_then(|()| stream.copy(from.phis.view(), to.phis.view_mut()))
            .and_then(|()| stream.copy(from.squares.view(), to.squares.view_mut()));
        copied.map_err(Error::from)?;
        (to.follows, to.objective, to.changed) = (from.follows, from.objective, from.changed);
        to.shares.clone_from(&from.shares);
        Ok(())
    }

    /// Replaces the decoder.
    ///
    /// # Errors
    /// As [`DeviceRounds::before_rounds`].
    pub(crate) fn send_lines(
        &self,
        lines: &[f64],
        state: &mut DeviceState,
    ) -> std::result::Result<(), FitError> {
        let to = state.lines.view_mut();
        let sent = self.stream.upload_into(lines, to, ByteClass::Operand);
        sent.map_err(Error::from)?;
        state.follows = false;
        Ok(())
    }

    /// The same state on the host.
    ///
    /// # Errors
    /// As [`DeviceRounds::before_rounds`].
    pub(crate) fn fetch(
        &self,
        arrangement: &Arrangement,
        state: &DeviceState,
    ) -> std::result::Result<RoundState, FitError> {
        Ok(self.download(arrangement, state).map_err(Error::from)?)
    }

    fn download(&self, arrangement: &Arrangement, state: &DeviceState) -> Result<RoundState> {
        let (stream, class) = (&self.stream, ByteClass::Other);
        let lines = stream.download(state.lines.view(), class)?;
        let intercept = stream.download(state.intercept.view(), class)?;
        let atoms = stream.download(state.atoms.view(), class)?;
        let phis = stream.download(state.phis.view(), class)?;
        Ok(RoundState {
            decoder: Arranged { lines, intercept },
            codes: Codes::of_circles(arrangement, self.sizes.slots, atoms, phis),
            objective: state.objective,
            shares: state.shares.clone(),
            squares: stream.download(state.squares.view(), class)?,
            changed: state.changed,
        })
    }

    /// One round: rows choose, and the decoder follows. One record comes back.
    ///
    /// # Errors
    /// [`CurvedError::Decoder`] where the features determine none; [`FitError::Solver`] with the device's error.
    pub(crate) fn round(
        &mut self,
        penalty: Penalty,
        choice: Choice,
        state: &mut DeviceState,
    ) -> std::result::Result<(), FitError> {
        let kind = Kind {
            choice,
            follows: state.follows,
            lambda: penalty.lambda,
        };
        self.run(kind, state).map_err(Error::from)?;
        let mut record = [RoundRecord::ZERO];
        self.record_out.read(&mut record).map_err(Error::from)?;
        let [record] = record;
        if record.pivot != 0 {
            let pivot = (record.pivot as usize).saturating_sub(1);
            return Err(CurvedError::Decoder { pivot }.into());
        }
        state.follows = true;
        state.objective = record.objective;
        state.changed = match choice {
            Choice::Stay => 0,
            Choice::Anew | Choice::Better => record.changed as usize,
        };
        self.shares_out
            .read(&mut state.shares)
            .map_err(Error::from)?;
        Ok(())
    }

    /// A round of this kind: launch by launch the first time, and from then on as one graph.
    fn run(&mut self, kind: Kind, state: &mut DeviceState) -> Result<()> {
        let is_it =
            |known: &RoundGraph| known.kind == kind && Arc::ptr_eq(&known.of, &self.identity);
        let Some(at) = state.graphs.iter().position(is_it) else {
            state.graphs.push(RoundGraph {
                kind,
                of: self.identity.clone(),
                graph: None,
            });
            return self.submit(kind, state);
        };
        if state.graphs[at].graph.is_none() {
            let stream = self.stream.clone();
            let graph = stream.capture(|_| self.submit(kind, state))?;
            state.graphs[at].graph = Some(graph);
        }
        match &mut state.graphs[at].graph {
            Some(graph) => graph.launch(),
            None => self.submit(kind, state),
        }
    }

    fn submit(&mut self, kind: Kind, state: &mut DeviceState) -> Result<()> {
        match kind.choice {
            Choice::Stay => self.submit_count(state)?,
            Choice::Anew | Choice::Better => self.choose(kind.choice, state)?,
        }
        self.submit_lists(state)?;
        self.submit_sums(state)?;
        self.decode(kind.lambda, state)?;
        let (stream, class) = (&self.stream, ByteClass::Record);
        stream.download_pinned(self.shares.view(), &mut self.shares_out, class)?;
        stream.download_pinned(self.record.view(), &mut self.record_out, class)
    }

    fn choose(&mut self, choice: Choice, state: &mut DeviceState) -> Result<()> {
        let stream = self.stream.clone();
        let Sizes { n, p, .. } = self.sizes;
        let f = self.sizes.features();
        self.submit_gram(state)?;
        // Row-major arrays are the transposes of what the library calls matrices.
        let x = Matrix::packed(self.x.view(), p, n)?;
        let lines = Matrix::packed(state.lines.view(), p, f)?;
        let mut pulls = MatrixMut::packed(self.pulls.view_mut(), f, n)?;
        stream.gemm(1.0, lines.transposed(), x, 0.0, &mut pulls)?;
        if !state.follows {
            let mut along = self.along.view_mut();
            stream.gemv(1.0, x.transposed(), state.intercept.view(), 0.0, &mut along)?;
        }
        self.submit_choose(choice, state)
    }

    fn decode(&mut self, lambda: f64, state: &mut DeviceState) -> Result<()> {
        if let Some(small) = Small::of(&self.sizes) {
            self.submit_decoder(small, lambda, state)?;
            return self.submit_end(state);
        }
        self.submit_centre(lambda)?;
        let (f, p) = (self.sizes.features(), self.sizes.p);
        let (stream, memory) = (&self.stream, &mut self.decoder);
        let mut factor = MatrixMut::packed(memory.matrix.view_mut(), f, f)?;
        let workspace = memory.workspace.view_mut();
        stream.potrf(&mut factor, workspace, memory.info.view_mut())?;
        // By columns it is W' A = F' for the transposes: W' = F' L^-T L^-1.
        let factor = Matrix::packed(memory.matrix.view(), f, f)?;
        let mut solution = MatrixMut::packed(memory.right.view_mut(), p, f)?;
        let (side, lower) = (Side::Right, Triangle::Lower);
        stream.trsm(side, lower, 1.0, factor.transposed(), &mut solution)?;
        stream.trsm(side, lower, 1.0, factor, &mut solution)?;
        self.submit_intercept(state)?;
        self.submit_end(state)
    }
}

impl DeviceState {
    /// Device bytes of a state over `n` rows of `p` with `circles` and `slots` atoms a row.
    pub(crate) fn bytes([n, p, circles, slots]: [usize; 4]) -> u64 {
        let f = 2 * circles;
        (8 * (f * p + p + f + 2 * n * slots + n) + 4 * n * slots) as u64
    }
}

/// All rows in double precision, sent by pieces that all threads widen.
fn send_rows(stream: &Stream, data: &Data) -> Result<DeviceBuffer<f64>> {
    let (n, p) = (data.rows(), data.outputs());
    if let Some(all) = data.wide() {
        return stream.upload(all, ByteClass::Operand, "rows");
    }
    let mut x = stream.alloc(n * p, "rows")?;
    let mut uploader = stream.uploader::<f64>(n * p)?;
    let rows = (uploader.longest() / p).max(1);
    for first in (0..n).step_by(rows) {
        let last = (first + rows).min(n);
        let to = x.slice_mut(first * p..last * p)?;
        uploader.send(to, ByteClass::Operand, |out| data.fill(first, out))?;
    }
    uploader.finish()?;
    Ok(x)
}
