//! Where a fit's numbers are, and passes over them.
//!
//! ```text
//! Wide     n x p FP64 numbers, normalised once                       few numbers, all of them in memory
//! Tiled    rows in their own type, normalised as they are read       everything else
//!          raw -> / unit -> - first mean -> - mean of the rest -> / RMS
//! ```
//!
//! Both give the same bits, since each number goes the same way. [`WIDE`] is about shapes alone; whether rows are
//! in memory, which a limit of memory decides, changes how often a number is normalised and nothing else.

use super::rows::Rows;
use super::vectors::{ARCH, axpy, dot, largest_of};
use crate::error::FitError;
use rayon::prelude::*;
use std::ops::Range;

/// The most numbers that are kept normalised: 64 MiB of them, and half of that in single precision.
pub(crate) const WIDE: usize = 1 << 23;

/// Whether `rows x outputs` numbers are few enough to be kept normalised.
pub(crate) fn is_wide(rows: usize, outputs: usize) -> bool {
    rows.saturating_mul(outputs) <= WIDE
}

/// Numbers of a block.
const BLOCK: usize = 1 << 19;

/// Rows of a block, where rows that are not kept normalised are multiplied as one matrix: all that are few enough to be
/// kept, so that wherever they are the product is the same; else as many as a cache holds.
pub(crate) fn product_rows(rows: usize, outputs: usize) -> usize {
    match is_wide(rows, outputs) {
        true => rows.max(1),
        false => (BLOCK / outputs.max(1)).max(64),
    }
}

/// Numbers of a tile in passes that do little with each.
const LIGHT: usize = 1 << 16;

/// Rows that are read together where they are asked for one by one.
pub(crate) const READ_AHEAD: usize = 32;

/// Memory for a tile of rows that are not kept normalised, of one worker and one store: it remembers which rows it
/// holds.
#[derive(Debug, Default)]
pub(crate) struct TileMemory {
    bytes: Vec<u8>,
    numbers: Vec<f64>,
    single: Vec<f32>,
    held: Range<usize>,
}

/// From raw numbers to those of a fit; what is not known yet is left out.
#[derive(Clone, Debug)]
pub(crate) struct Shift {
    unit: f64,
    /// `1 / unit`, where multiplying by it is the same as dividing.
    inverse: Option<f64>,
    first: Vec<f64>,
    rest: Vec<f64>,
    rms: f64,
}

impl Shift {
    /// Divides by `unit`, a power of two.
    fn by(unit: f64) -> Self {
        let inverse = 1.0 / unit;
        Self {
            unit,
            // The inverse of a power of two is one, unless it overflows.
            inverse: inverse.is_finite().then_some(inverse),
            first: Vec::new(),
            rest: Vec::new(),
            rms: 1.0,
        }
    }

    fn apply(&self, row: &mut [f64]) {
        ARCH.dispatch(
            #[inline(always)]
            || match self.inverse {
                Some(inverse) => self.shift(row, |v| v * inverse),
                None => self.shift(row, |v| v / self.unit),
            },
        );
    }

    #[inline(always)]
    fn shift(&self, row: &mut [f64], scaled: impl Fn(f64) -> f64) {
        let both = self.first.iter().zip(&self.rest);
        match (self.first.is_empty(), self.rest.is_empty()) {
            (true, _) => row.iter_mut().for_each(|v| *v = scaled(*v)),
            (false, true) => {
                for (v, first) in row.iter_mut().zip(&self.first) {
                    *v = scaled(*v) - first;
                }
            }
            (false, false) if self.rms == 1.0 => {
                for (v, (first, rest)) in row.iter_mut().zip(both) {
                    *v = (scaled(*v) - first) - rest;
                }
            }
            (false, false) => {
                for (v, (first, rest)) in row.iter_mut().zip(both) {
                    *v = ((scaled(*v) - first) - rest) / self.rms;
                }
            }
        }
    }
}

/// Normalised numbers, `n x p`: see the [module](self).
#[derive(Clone, Debug)]
pub(crate) struct Store {
    rows: usize,
    outputs: usize,
    form: Form,
}

#[derive(Clone, Debug)]
enum Form {
    Wide {
        x: Vec<f64>,
        /// The same in single precision, where it was asked for.
        single: Vec<f32>,
    },
    Tiled {
        rows: Rows,
        shift: Shift,
    },
}

impl Store {
    /// `rows` divided by `unit`, a power of two.
    pub(crate) fn scaled(rows: Rows, unit: f64) -> Self {
        let [n, outputs] = rows.shape();
        let shift = Shift::by(unit);
        Self {
            rows: n,
            outputs,
            form: Form::Tiled { rows, shift },
        }
    }

    /// Subtracts the column means twice, and returns both: the first takes a common offset of any size, the second
    /// is as accurate as numbers of the size of the spread are. Writes the squares of the rows before that into
    /// `squares`, where given.
    pub(crate) fn centre(&mut self, squares: Option<&mut [f64]>) -> [Vec<f64>; 2] {
        let first = self.means(squares);
        self.shifted(|shift| shift.first.clone_from(&first));
        let rest = self.means(None);
        self.shifted(|shift| shift.rest.clone_from(&rest));
        [first, rest]
    }

    /// Divides by `rms`.
    pub(crate) fn divide(&mut self, rms: f64) {
        self.shifted(|shift| shift.rms = rms);
    }

    fn shifted(&mut self, change: impl FnOnce(&mut Shift)) {
        if let Form::Tiled { shift, .. } = &mut self.form {
            change(shift);
        }
    }

    /// The same, kept normalised where the numbers are few and in memory.
    pub(crate) fn settled(self) -> Self {
        match &self.form {
            Form::Tiled { rows, .. } if rows.is_in_memory() && is_wide(self.rows, self.outputs) => {
                self.widened()
            }
            _ => self,
        }
    }

    fn widened(&self) -> Self {
        let mut x = vec![0.0; self.rows * self.outputs];
        self.fill(0, &mut x);
        let single = Vec::new();
        Self {
            form: Form::Wide { x, single },
            ..*self
        }
    }

    /// The rows `indices`, in this order, all of them in memory.
    pub(crate) fn subset(&self, indices: &[usize]) -> Self {
        let p = self.outputs;
        let form = match &self.form {
            Form::Wide { x, .. } => Form::Wide {
                x: (indices.iter())
                    .flat_map(|&i| &x[i * p..][..p])
                    .copied()
                    .collect(),
                single: Vec::new(),
            },
            Form::Tiled { rows, shift } => Form::Tiled {
                rows: match rows.is_in_memory() {
                    true => rows.selected(indices),
                    false => rows.selected(indices).loaded(),
                },
                shift: shift.clone(),
            },
        };
        let subset = Self {
            rows: indices.len(),
            outputs: p,
            form,
        };
        match &self.form {
            // Where memory is short a sample takes no more than it has to.
            Form::Tiled { rows, .. } if !rows.is_in_memory() => subset,
            _ => subset.settled(),
        }
    }

    /// Keeps the numbers in single precision too, where they are kept normalised.
    pub(crate) fn keep_single(&mut self) {
        if let Form::Wide { x, single } = &mut self.form
            && single.is_empty()
        {
            *single = x.par_iter().map(|&v| v as f32).collect();
        }
    }

    /// # Errors
    /// [`FitError::Rows`] where a read has failed.
    pub(crate) fn intact(&self) -> Result<(), FitError> {
        match &self.form {
            Form::Wide { .. } => Ok(()),
            Form::Tiled { rows, .. } => Ok(rows.intact()?),
        }
    }

    /// `n`.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// `p`.
    pub(crate) fn outputs(&self) -> usize {
        self.outputs
    }

    /// All numbers, where they are kept normalised.
    pub(crate) fn wide(&self) -> Option<&[f64]> {
        match &self.form {
            Form::Wide { x, .. } => Some(x),
            Form::Tiled { .. } => None,
        }
    }

    /// The rows from `first` on, as many as `count`.
    pub(crate) fn tile<'t>(
        &'t self,
        first: usize,
        count: usize,
        memory: &'t mut TileMemory,
    ) -> &'t [f64] {
        let p = self.outputs;
        match &self.form {
            Form::Wide { x, .. } => &x[first * p..][..count * p],
            Form::Tiled { rows, shift } => {
                read(rows, shift, first..first + count, memory);
                &memory.numbers
            }
        }
    }

    /// The same in both precisions.
    pub(crate) fn tile_in_both<'t>(
        &'t self,
        first: usize,
        count: usize,
        memory: &'t mut TileMemory,
    ) -> (&'t [f64], &'t [f32]) {
        let p = self.outputs;
        let narrow = |single: &mut Vec<f32>, numbers: &[f64]| {
            single.clear();
            single.extend(numbers.iter().map(|&v| v as f32));
        };
        match &self.form {
            Form::Wide { x, single } => {
                let (from, length) = (first * p, count * p);
                let x = &x[from..][..length];
                match single.is_empty() {
                    true => {
                        narrow(&mut memory.single, x);
                        (x, &memory.single)
                    }
                    false => (x, &single[from..][..length]),
                }
            }
            Form::Tiled { rows, shift } => {
                read(rows, shift, first..first + count, memory);
                narrow(&mut memory.single, &memory.numbers);
                (&memory.numbers, &memory.single)
            }
        }
    }

    /// Row `i`, of rows that are asked for in order: a few more are read with it.
    #[inline]
    pub(crate) fn row<'t>(&'t self, i: usize, memory: &'t mut TileMemory) -> &'t [f64] {
        let p = self.outputs;
        match &self.form {
            Form::Wide { x, .. } => &x[i * p..][..p],
            Form::Tiled { rows, shift } => {
                if !memory.held.contains(&i) {
                    read(rows, shift, i..(i + READ_AHEAD).min(self.rows), memory);
                }
                &memory.numbers[(i - memory.held.start) * p..][..p]
            }
        }
    }

    /// Writes the rows from `first` on into `out`, as many as it holds, in parallel.
    pub(crate) fn fill(&self, first: usize, out: &mut [f64]) {
        let p = self.outputs;
        match &self.form {
            Form::Wide { x, .. } => out.copy_from_slice(&x[first * p..][..out.len()]),
            Form::Tiled { rows, shift } => {
                let tile = light(p);
                (out.par_chunks_mut(tile * p).enumerate()).for_each_init(
                    Vec::new,
                    |bytes, (t, out)| {
                        rows.fill(first + t * tile, out, bytes, &|row| shift.apply(row));
                    },
                );
            }
        }
    }

    /// What `value` makes of every row.
    pub(crate) fn by_row<T: Clone + Default + Send>(
        &self,
        value: impl Fn(&[f64]) -> T + Sync,
    ) -> Vec<T> {
        let (p, tile) = (self.outputs, light(self.outputs));
        let mut values = vec![T::default(); self.rows];
        (values.par_chunks_mut(tile).enumerate()).for_each_init(
            TileMemory::default,
            |memory, (t, values)| {
                let x = self.tile(t * tile, values.len(), memory);
                for (to, row) in values.iter_mut().zip(x.chunks_exact(p)) {
                    *to = value(row);
                }
            },
        );
        values
    }

    /// The mean of every column.
    pub(crate) fn means(&self, squares: Option<&mut [f64]>) -> Vec<f64> {
        let mut means = self.sums(squares, |_, v| v);
        means.iter_mut().for_each(|m| *m /= self.rows as f64);
        means
    }

    /// `sum_i term(c, x_ic)` for every column `c`, summed over at most 16 runs of rows whose sums are added in
    /// order. Writes `|x_i|^2` into `squares`, where given.
    pub(crate) fn sums(
        &self,
        squares: Option<&mut [f64]>,
        term: impl Fn(usize, f64) -> f64 + Sync,
    ) -> Vec<f64> {
        let (n, p) = (self.rows, self.outputs);
        let run = n.div_ceil(16).max(256);
        let runs = (0..n).step_by(run);
        let squares: Vec<Option<&mut [f64]>> = match squares {
            Some(squares) => squares.chunks_mut(run).map(Some).collect(),
            None => runs.clone().map(|_| None).collect(),
        };
        let parts: Vec<Vec<f64>> = (runs.zip(squares).collect::<Vec<_>>().into_par_iter())
            .map(|(first, squares)| {
                let rows = first..(first + run).min(n);
                self.run(rows, squares, &term)
            })
            .collect();
        let mut sums = vec![0.0; p];
        for part in &parts {
            axpy(1.0, part, &mut sums);
        }
        sums
    }

    fn run(
        &self,
        rows: Range<usize>,
        mut squares: Option<&mut [f64]>,
        term: &impl Fn(usize, f64) -> f64,
    ) -> Vec<f64> {
        let (p, tile) = (self.outputs, light(self.outputs));
        let mut memory = TileMemory::default();
        let mut sums = vec![0.0; p];
        for first in rows.clone().step_by(tile) {
            let count = tile.min(rows.end - first);
            let x = self.tile(first, count, &mut memory);
            for (i, row) in x.chunks_exact(p).enumerate() {
                if let Some(squares) = &mut squares {
                    squares[first - rows.start + i] = dot(row, row);
                }
                for (c, (sum, v)) in sums.iter_mut().zip(row).enumerate() {
                    *sum += term(c, *v);
                }
            }
        }
        sums
    }
}

/// Reads and normalises rows into `memory`.
fn read(rows: &Rows, shift: &Shift, which: Range<usize>, memory: &mut TileMemory) {
    let [_, p] = rows.shape();
    memory.numbers.resize(which.len() * p, 0.0);
    let finish = |row: &mut [f64]| shift.apply(row);
    rows.fill(which.start, &mut memory.numbers, &mut memory.bytes, &finish);
    memory.held = which;
}

/// Rows of a tile in passes that do little with each number.
fn light(outputs: usize) -> usize {
    (LIGHT / outputs.max(1)).clamp(8, 4096)
}

/// What a first look at raw rows finds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Survey {
    /// The largest magnitude.
    pub(crate) largest: f64,
    /// Whether every number is exact in single precision.
    pub(crate) is_single: bool,
}

/// Looks at every raw number.
///
/// # Errors
/// [`FitError::NotFinite`] with the first entry that is not finite; [`FitError::Rows`].
pub(crate) fn survey(rows: &Rows) -> Result<Survey, FitError> {
    let [n, p] = rows.shape();
    let tile = light(p);
    let single = rows.is_single();
    type Seen = (Option<(usize, f64)>, f64, bool);
    let of_tile = |memory: &mut TileMemory, t: usize| -> Seen {
        let (first, count) = (t * tile, tile.min(n - t * tile));
        memory.numbers.resize(count * p, 0.0);
        rows.fill(first, &mut memory.numbers, &mut memory.bytes, &|_| ());
        let x = &memory.numbers[..];
        // An entry that is not finite makes the sum of squares not finite.
        let bad = match dot(x, x).is_finite() {
            true => None,
            false => x.iter().position(|v| !v.is_finite()),
        };
        let is_single = single || x.iter().all(|&v| f64::from(v as f32) == v);
        (
            bad.map(|at| (first * p + at, x[at])),
            largest_of(x),
            is_single,
        )
    };
    let found: Vec<Seen> = (0..n.div_ceil(tile))
        .into_par_iter()
        .map_init(TileMemory::default, of_tile)
        .collect();
    rows.intact()?;
    if let Some((at, value)) = found.iter().find_map(|(bad, ..)| *bad) {
        return Err(FitError::NotFinite {
            array: "X",
            row: at / p,
            column: at % p,
            value,
        });
    }
    Ok(Survey {
        largest: found.iter().fold(0.0, |m, found| m.max(found.1)),
        is_single: found.iter().all(|found| found.2),
    })
}
