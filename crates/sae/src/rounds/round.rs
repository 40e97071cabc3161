//! One round: every row chooses under a fixed decoder, then the decoder for those choices.
//!
//! ```text
//! by tile of rows   pulls  C = (X - c) W'          a product of matrices
//!                   rows   codes                   the search of [`crate::encode::search`]
//!                   sums   G += Phi' Phi, F += Phi' X
//! reduce            the sums of all chunks, in order
//! decoder           W = (G + lambda P)^-1 F
//! ```
//!
//! The three steps share only their results. Chunks and tiles have bounds that depend on the shapes alone, so
//! sums have the same bits for any number of threads. The objective of codes with *their* decoder is
//! `(|X|^2 - <W, F>) / 2`, plus the kappa term.

use crate::data::store::TileMemory;
use crate::data::{Data, axpy, dot, larger, ordered_sum};
use crate::encode::search::{Arrangement, NONE, Search, SearchMemory};
use crate::error::CurvedError;
use crate::iterate::cones::{Evened, evened, mapped};
use crate::iterate::features::{factor_gram, flat_squares};
use crate::iterate::layout::Layout;
use crate::model::dictionary::Dictionary;
use crate::options::Acceptance;
use crate::rounds::codes::{Codes, CodesMut};
use broadhead_schur::release_upper_parts;
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::cholesky::llt;
use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatMut, MatRef, Par};
use rayon::prelude::*;

/// The data and dictionary of the rounds.
#[derive(Clone, Copy)]
pub(crate) struct Ground<'a> {
    pub(crate) data: &'a Data,
    pub(crate) dictionary: &'a Dictionary,
    pub(crate) arrangement: &'a Arrangement,
    /// Whether pulls are made in single precision.
    pub(crate) single: bool,
    /// Which atoms are swapped once a row has chosen.
    pub(crate) swaps: Swaps,
    /// When rows keep what they have.
    pub(crate) acceptance: Acceptance,
}

/// Which atoms are swapped once a row has chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Swaps {
    /// None.
    Never,
    /// Those where that costs little beside the choice.
    Cheap,
    /// All, also where that costs as much as the choice.
    All,
}

impl Swaps {
    /// All atoms, unless none is swapped.
    pub(crate) fn of_all(self) -> Self {
        match self {
            Self::Never => Self::Never,
            Self::Cheap | Self::All => Self::All,
        }
    }
}

/// The two penalties.
pub(crate) use crate::iterate::point::Penalty;

/// A decoder in the arranged order, circles in their own axes.
#[derive(Clone, Debug)]
pub(crate) struct Arranged {
    /// `F x p`, row-major.
    pub(crate) lines: Vec<f64>,
    /// `p`.
    pub(crate) intercept: Vec<f64>,
}

/// How rows choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// Anew, independent of what they had.
    Anew,
    /// What they had, unless a new choice is better by more than noise.
    Better,
    /// What they have; only the sums are formed.
    Stay,
}

/// Rows that go through a pass together.
const TILE: usize = 128;

/// The most partial sums.
pub(crate) const CHUNKS: usize = 16;

/// The most numbers in all partial sums together, unless two partial sums have more.
pub(crate) const PARTIAL: usize = 1 << 25;

/// A choice has to beat the previous one by this share of `|r0|^2`, for pulls in double and in single
/// precision.
pub(crate) const NOISE: [f64; 2] = [1e-12, 1e-6];

/// How rows choose while they explore.
pub(crate) fn exploring(acceptance: Acceptance) -> Choice {
    match acceptance {
        Acceptance::Finishing | Acceptance::Never => Choice::Anew,
        Acceptance::Always => Choice::Better,
    }
}

/// How rows choose in finishing rounds.
pub(crate) fn finishing(acceptance: Acceptance) -> Choice {
    match acceptance {
        Acceptance::Finishing | Acceptance::Always => Choice::Better,
        Acceptance::Never => Choice::Anew,
    }
}

impl<'a> Ground<'a> {
    /// Pulls in double precision, swaps where they cost little.
    pub(crate) fn new(
        data: &'a Data,
        dictionary: &'a Dictionary,
        arrangement: &'a Arrangement,
    ) -> Self {
        Self {
            data,
            dictionary,
            arrangement,
            single: false,
            swaps: Swaps::Cheap,
            acceptance: Acceptance::Finishing,
        }
    }
}

impl Ground<'_> {
    fn outputs(&self) -> usize {
        self.data.outputs()
    }

    /// Rows of a chunk.
    fn chunk(&self) -> usize {
        let m = self.arrangement.features() + 1;
        let most = (PARTIAL / (m * (m + self.outputs()))).clamp(2, CHUNKS);
        self.data.rows().div_ceil(most).next_multiple_of(TILE)
    }

    /// Memory of rounds over this ground, each row with `slots` atoms at most.
    pub(crate) fn bench(&self, slots: usize) -> RoundMemory {
        let (m, p) = (self.arrangement.features() + 1, self.outputs());
        let part = || Part {
            gram: vec![0.0; m * m],
            moment: vec![0.0; m * p],
            changed: 0,
            pulls: vec![0.0; TILE * (m - 1)],
            single: vec![0.0; TILE * (m - 1)],
            before: vec![NONE; slots],
            work: SearchMemory::new(self.arrangement, self.dictionary, slots),
        };
        let parts = self.data.rows().div_ceil(self.chunk());
        RoundMemory {
            parts: (0..parts).map(|_| part()).collect(),
            factor: Mat::zeros(m, m),
            solution: Mat::zeros(m, p),
            flat: vec![0.0; m * p],
        }
    }

    /// Lets every row choose under the state's decoder, and sums the features of the choices.
    fn pass(&self, bench: &mut RoundMemory, kappa: f64, choice: Choice, state: &mut RoundState) {
        let p = self.outputs();
        let decoder = &state.decoder;
        let all = self.arrangement.scatter(&decoder.lines, &decoder.intercept);
        // Sums alone need no search.
        let search = (choice != Choice::Stay).then(|| {
            let search = Search::new(
                self.dictionary,
                self.arrangement,
                &decoder.lines,
                &all,
                p,
                kappa,
            );
            match self.swaps {
                Swaps::Never => search.without_swaps(),
                Swaps::Cheap => search,
                Swaps::All => search.with_swaps(),
            }
        });
        let shift: Vec<f64> = decoder
            .lines
            .chunks_exact(p)
            .map(|line| dot(line, &decoder.intercept))
            .collect();
        let single: Option<Vec<f32>> = (self.single && choice != Choice::Stay)
            .then(|| decoder.lines.iter().map(|&w| w as f32).collect());
        let under = Under {
            decoder,
            single: single.as_deref(),
            search: search.as_ref(),
            shift: &shift,
            square: dot(&decoder.intercept, &decoder.intercept),
            choice,
        };
        let chunk = self.chunk();
        state
            .codes
            .chunks(chunk)
            .into_par_iter()
            .zip(state.squares.par_chunks_mut(chunk))
            .zip(&mut bench.parts)
            .enumerate()
            .for_each_init(
                TileMemory::default,
                |tile, (c, ((codes, squares), part))| {
                    self.part(c * chunk, &under, codes, squares, part, tile);
                },
            );
        if let [sum, parts @ ..] = &mut bench.parts[..] {
            for part in parts {
                axpy(1.0, &part.gram, &mut sum.gram);
                axpy(1.0, &part.moment, &mut sum.moment);
                sum.changed += part.changed;
            }
            // The intercept's entries: rows of a sample have a mean that is not zero.
            let rows = self.data.rows() as f64;
            if let Some(last) = sum.gram.last_mut() {
                *last = rows;
            }
            let features = self.arrangement.features();
            for (to, mean) in sum.moment[features * p..].iter_mut().zip(self.data.mean()) {
                *to = rows * mean;
            }
            state.changed = sum.changed;
        }
    }

    /// One round: rows choose, and the decoder follows.
    ///
    /// # Errors
    /// [`CurvedError::Decoder`] where the features determine none.
    pub(crate) fn round(
        &self,
        bench: &mut RoundMemory,
        penalty: Penalty,
        choice: Choice,
        state: &mut RoundState,
    ) -> Result<(), CurvedError> {
        self.pass(bench, penalty.kappa, choice, state);
        if !self.has_flat() {
            return self.decode(bench, penalty, state);
        }
        // Flat coordinates are kept at unit variance; the sums are formed again for the whitened coordinates.
        let (mut coordinates, gates) = state.codes.places(self.dictionary, self.arrangement);
        let layout = Layout::new(self.dictionary, &gates, self.outputs())
            .map_err(broadhead_schur::Error::from)?;
        coordinates.whiten(&layout);
        let spread = flat_squares(self.dictionary, &layout, &coordinates);
        (state.codes).load(self.dictionary, self.arrangement, &coordinates, &gates);
        let changed = state.changed;
        self.pass(bench, penalty.kappa, Choice::Stay, state);
        state.changed = changed;
        self.decode(bench, penalty, state)?;
        state.objective += 0.5 * penalty.kappa * spread;
        Ok(())
    }

    /// Whether any atom has coordinates with a scale of their own.
    fn has_flat(&self) -> bool {
        let mut atoms = self.dictionary.atoms().iter();
        atoms.any(|atom| atom.topology().has_flat())
    }

    fn part(
        &self,
        first: usize,
        under: &Under<'_>,
        mut codes: CodesMut<'_>,
        squares: &mut [f64],
        part: &mut Part,
        tile: &mut TileMemory,
    ) {
        release_upper_parts();
        let (f, p) = (self.arrangement.features(), self.outputs());
        let Part {
            gram,
            moment,
            changed,
            pulls,
            single,
            before,
            work,
        } = part;
        gram.fill(0.0);
        moment.fill(0.0);
        *changed = 0;
        for from in (0..codes.rows()).step_by(TILE) {
            let count = TILE.min(codes.rows() - from);
            let pulls = &mut pulls[..count * f];
            let Some(search) = under.search else {
                let x = self.data.tile(first + from, count, tile);
                for (i, x) in x.chunks_exact(p).enumerate() {
                    self.add(gram, moment, x, codes.read(from + i));
                }
                continue;
            };
            let x = match under.single {
                Some(lines) => {
                    let single = &mut single[..count * f];
                    let (x, narrow) = self.data.tile_in_both(first + from, count, tile);
                    product(narrow, lines, single, [count, f, p]);
                    for (to, &from) in pulls.iter_mut().zip(&*single) {
                        *to = f64::from(from);
                    }
                    x
                }
                None => {
                    let x = self.data.tile(first + from, count, tile);
                    product(x, &under.decoder.lines, pulls, [count, f, p]);
                    x
                }
            };
            release_upper_parts();
            for (i, (pulls, x)) in pulls.chunks_exact_mut(f).zip(x.chunks_exact(p)).enumerate() {
                for (pull, shift) in pulls.iter_mut().zip(under.shift) {
                    *pull -= shift;
                }
                let square = dot(x, x) - 2.0 * dot(x, &under.decoder.intercept) + under.square;
                let mut code = codes.row(from + i);
                let energy = match under.choice {
                    Choice::Anew | Choice::Stay => {
                        before.copy_from_slice(code.atoms);
                        let energy = search.choose(pulls, work, &mut code);
                        let same = before.iter().all(|a| code.atoms.contains(a))
                            && code.atoms.iter().all(|a| before.contains(a));
                        *changed += usize::from(!same);
                        energy
                    }
                    Choice::Better => {
                        let noise = NOISE[usize::from(self.single)] * square;
                        let (energy, other) = search.improve(pulls, noise, work, &mut code);
                        *changed += usize::from(other);
                        energy
                    }
                };
                squares[from + i] = larger(square + 2.0 * energy, 0.0);
                self.add(gram, moment, x, codes.read(from + i));
            }
        }
    }

    /// Adds a row to the sums.
    fn add<'c>(
        &self,
        gram: &mut [f64],
        moment: &mut [f64],
        x: &[f64],
        code: impl Iterator<Item = (usize, &'c [f64])> + Clone,
    ) {
        let (m, p) = (self.arrangement.features() + 1, self.outputs());
        for (a, phi) in code.clone() {
            let own = self.arrangement.place(a);
            for (&v, at) in phi.iter().zip(own.all()) {
                axpy(v, x, &mut moment[at * p..][..p]);
                gram[(m - 1) * m + at] += v;
                let line = &mut gram[at * m..][..m];
                for (b, other) in code.clone() {
                    for (&u, to) in other.iter().zip(self.arrangement.place(b).all()) {
                        line[to] += v * u;
                    }
                }
            }
        }
    }

    /// Computes the decoder for the sums in the first part, turns circles into their own axes, and sets the
    /// objective; the codes turn with the circles.
    fn decode(
        &self,
        bench: &mut RoundMemory,
        penalty: Penalty,
        state: &mut RoundState,
    ) -> Result<(), CurvedError> {
        let (m, p) = (self.arrangement.features() + 1, self.outputs());
        let RoundMemory {
            parts,
            factor,
            solution,
            flat,
        } = bench;
        let (gram, moment) = match &mut parts[..] {
            [sum, ..] => (&mut sum.gram, &mut sum.moment),
            [] => return Ok(()),
        };
        if self.dictionary.has_cones() {
            self.even(gram, moment, &mut state.codes);
        }
        factor.copy_from(MatRef::from_row_major_slice(gram, m, m));
        for j in 0..m - 1 {
            factor[(j, j)] += penalty.lambda;
        }
        factor_gram(factor)?;
        // By columns, so that they are solved for in parallel.
        let factor = factor.as_ref();
        let right = MatRef::from_row_major_slice(moment, m, p);
        let columns = solution.as_mut().par_col_chunks_mut(COLUMNS);
        columns.enumerate().for_each(|(c, mut columns)| {
            columns.copy_from(right.subcols(c * COLUMNS, columns.ncols()));
            let scratch = llt::solve::solve_in_place_scratch::<f64>(m, columns.ncols(), Par::Seq);
            let mut memory = MemBuffer::new(scratch);
            llt::solve::solve_in_place(factor, columns, Par::Seq, MemStack::new(&mut memory));
            release_upper_parts();
        });
        MatMut::from_row_major_slice_mut(flat, m, p).copy_from(&*solution);
        let explained = dot(flat, moment);
        let (lines, intercept) = flat.split_at((m - 1) * p);
        state.decoder.lines.copy_from_slice(lines);
        state.decoder.intercept.copy_from_slice(intercept);
        self.shares(&state.decoder.lines, gram, &mut state.shares);
        let turns = self.arrangement.turn(&mut state.decoder.lines, p);
        state.codes.turn(self.arrangement, &turns);
        state.objective = 0.5 * (self.square() - explained);
        Ok(())
    }

    /// Brings fitted amplitudes to their scale: codes, and the sums over them.
    fn even(&self, gram: &mut [f64], moment: &mut [f64], codes: &mut Codes) {
        let (m, p) = (self.arrangement.features() + 1, self.outputs());
        let counts = codes.amplitudes(self.dictionary);
        let maps: Vec<Option<Evened>> = (self.dictionary.atoms().iter().zip(counts).enumerate())
            .map(|(a, (atom, (count, square)))| {
                if !atom.is_cone() || count == 0 {
                    return None;
                }
                let own: Vec<usize> = self.arrangement.place(a).all().collect();
                let mean = match atom.is_linear() {
                    true => Mat::from_fn(own.len(), own.len(), |i, j| {
                        gram[own[i] * m + own[j]] / count as f64
                    }),
                    false => Mat::from_fn(1, 1, |_, _| square / count as f64),
                };
                Some(evened(*atom, &mean))
            })
            .collect();
        for (a, map) in maps.iter().enumerate() {
            let Some(Evened { forth, .. }) = map else {
                continue;
            };
            let own: Vec<usize> = self.arrangement.place(a).all().collect();
            let (mut old, mut new) = (vec![0.0; own.len()], vec![0.0; own.len()]);
            let linear = self.dictionary.atoms()[a].is_linear();
            let mut apply = |array: &mut [f64], at: &dyn Fn(usize) -> usize| {
                if !linear {
                    return own.iter().for_each(|&f| array[at(f)] *= forth[(0, 0)]);
                }
                for (old, &f) in old.iter_mut().zip(&own) {
                    *old = array[at(f)];
                }
                mapped(forth, &old, &mut new);
                for (new, &f) in new.iter().zip(&own) {
                    array[at(f)] = *new;
                }
            };
            for j in 0..m {
                apply(gram, &|f| f * m + j);
            }
            for i in 0..m {
                apply(gram, &|f| i * m + f);
            }
            for c in 0..p {
                apply(moment, &|f| f * p + c);
            }
        }
        codes.scale(self.dictionary, self.arrangement, &maps);
    }

    /// `|X|^2`.
    pub(crate) fn square(&self) -> f64 {
        ordered_sum(self.data.spreads())
            + self.data.rows() as f64 * dot(self.data.mean(), self.data.mean())
    }

    /// What each atom explains alone: the trace of `W_a W_a' G_aa`.
    fn shares(&self, lines: &[f64], gram: &[f64], shares: &mut [f64]) {
        let (m, p) = (self.arrangement.features() + 1, self.outputs());
        let line = |f: usize| &lines[f * p..][..p];
        for (a, share) in shares.iter_mut().enumerate() {
            let place = self.arrangement.place(a);
            *share = 0.0;
            for f in place.all() {
                for g in place.all() {
                    let weight = gram[f * m + g];
                    if weight != 0.0 {
                        *share += weight * dot(line(f), line(g));
                    }
                }
            }
        }
    }
}

/// Columns of the data that are solved for together.
const COLUMNS: usize = 48;

/// A decoder, codes, and what follows from them.
#[derive(Debug)]
pub(crate) struct RoundState {
    pub(crate) decoder: Arranged,
    pub(crate) codes: Codes,
    /// The objective of the codes with their decoder. Infinite before the first round.
    pub(crate) objective: f64,
    /// By atom, the trace of `W_a W_a' G_aa`.
    pub(crate) shares: Vec<f64>,
    /// `|x_i - W' phi_i|^2` by row under the decoder that the codes were chosen under.
    pub(crate) squares: Vec<f64>,
    /// Rows in which the last round switched other atoms on, where the two were compared.
    pub(crate) changed: usize,
}

impl RoundState {
    /// A state with `decoder` and `slots` atoms a row, before any round over `ground`.
    pub(crate) fn before_rounds(ground: &Ground<'_>, decoder: Arranged, slots: usize) -> Self {
        let (atoms, n) = (ground.arrangement.atoms(), ground.data.rows());
        Self {
            decoder,
            codes: Codes::empty(ground.arrangement, n, slots),
            objective: f64::INFINITY,
            shares: vec![0.0; atoms],
            squares: vec![0.0; n],
            changed: n,
        }
    }
}

impl Clone for RoundState {
    fn clone(&self) -> Self {
        Self {
            decoder: self.decoder.clone(),
            codes: self.codes.clone(),
            objective: self.objective,
            shares: self.shares.clone(),
            squares: self.squares.clone(),
            changed: self.changed,
        }
    }

    /// Into the memory that is there.
    fn clone_from(&mut self, other: &Self) {
        self.decoder.lines.clone_from(&other.decoder.lines);
        self.decoder.intercept.clone_from(&other.decoder.intercept);
        self.codes.clone_from(&other.codes);
        self.objective = other.objective;
        self.shares.clone_from(&other.shares);
        self.squares.clone_from(&other.squares);
        self.changed = other.changed;
    }
}

/// Memory of rounds, made once.
pub(crate) struct RoundMemory {
    parts: Vec<Part>,
    factor: Mat<f64>,
    solution: Mat<f64>,
    flat: Vec<f64>,
}

struct Under<'a> {
    decoder: &'a Arranged,
    single: Option<&'a [f32]>,
    /// None where rows keep what they have.
    search: Option<&'a Search<'a>>,
    shift: &'a [f64],
    /// `|c|^2`.
    square: f64,
    choice: Choice,
}

/// Partial sums, and the workspace of the worker that forms them.
struct Part {
    /// `Phi' Phi`, all of it but the intercept's column; the intercept last.
    gram: Vec<f64>,
    /// `Phi' X`, `M x p` row-major.
    moment: Vec<f64>,
    changed: usize,
    pulls: Vec<f64>,
    single: Vec<f32>,
    /// The atoms of a row before it chose.
    before: Vec<u32>,
    work: SearchMemory,
}

/// `out = X W'` of `[rows, lines, columns]`, all row-major.
pub(crate) fn product<T: faer::traits::ComplexField>(
    x: &[T],
    lines: &[T],
    out: &mut [T],
    [count, f, p]: [usize; 3],
) {
    matmul(
        MatMut::from_row_major_slice_mut(out, count, f),
        Accum::Replace,
        MatRef::from_row_major_slice(x, count, p),
        MatRef::from_row_major_slice(lines, f, p).transpose(),
        T::one_impl(),
        Par::Seq,
    );
}

#[cfg(test)]
mod tests;
