//! Products of a dense system with several vectors at once: one pass over the operands serves all.
//!
//! ```text
//!   vectors interleaved        a tile T of B, or of C below the diagonal, from memory once
//!   y_T += T x,   y += T' x_T, and the same with absolute values: see blas_many
//! ```
//!
//! The sums run in another order than for one vector: the two agree to rounding, and each is the
//! same for any number of threads.

use super::border_lines::BorderLines;
use super::dense::DenseSystem;
use crate::Ridge;
use crate::blas_many::{LINES, Lines, Side, add_abs};
use crate::interleaved::{Interleaved, SPREAD};
use crate::registers::release_upper_parts;
use pulp::Arch;
use rayon::prelude::*;
use std::ops::Range;

/// Columns of a tile of $`B`$.
const COLUMNS: usize = 512;
/// Order of a tile of $`C`$.
const TILE: usize = 128;
/// The most partial sums of either, whatever the shape.
const PARTS: usize = 8;

/// $`(H + \rho) x`$ and $`|H + \rho| |x|`$ for interleaved vectors.
#[derive(Debug)]
pub(crate) struct ManyProduct {
    pub(crate) row: Interleaved,
    pub(crate) border: Interleaved,
    pub(crate) row_abs: Interleaved,
    pub(crate) border_abs: Interleaved,
}

/// Sums of the border's part of a product, plain and absolute.
struct BorderSums {
    plain: Interleaved,
    abs: Interleaved,
}

impl BorderSums {
    fn zeros(arch: Arch, k: usize, count: usize) -> Self {
        Self {
            plain: Interleaved::zeros(arch, k, count),
            abs: Interleaved::zeros(arch, k, count),
        }
    }

    /// Adds the products of `lines` with `x` to the unknowns `range`.
    fn add(&mut self, arch: Arch, side: Side, lines: Lines<'_>, x: &[f64], range: Range<usize>) {
        let stride = self.plain.stride();
        let range = range.start * stride..range.end * stride;
        let plain = &mut self.plain.numbers_mut()[range.clone()];
        let abs = &mut self.abs.numbers_mut()[range];
        add_abs(arch, side, lines, x, plain, abs, stride);
    }
}

/// A range of rows with its part of the product.
struct RowsPart<'y> {
    rows: Range<usize>,
    plain: &'y mut [f64],
    abs: &'y mut [f64],
}

/// Vectors interleaved, with the numbers of an unknown.
#[derive(Clone, Copy)]
struct Vectors<'x> {
    numbers: &'x [f64],
    stride: usize,
}

impl<'x> Vectors<'x> {
    fn new(x: &'x Interleaved) -> Self {
        Self {
            numbers: x.numbers(),
            stride: x.stride(),
        }
    }

    fn of(&self, range: Range<usize>) -> &'x [f64] {
        &self.numbers[range.start * self.stride..range.end * self.stride]
    }
}

impl DenseSystem<'_> {
    /// $`(H + \rho) x`$ and $`|H + \rho| |x|`$ for interleaved vectors, `count` of them.
    pub(crate) fn product_many(
        &self,
        arch: Arch,
        x: (&Interleaved, &Interleaved),
        count: usize,
        ridge: Ridge,
    ) -> ManyProduct {
        let (n, k) = (self.shape().row_unknowns(), self.shape().border());
        let (row, border) = (Vectors::new(x.0), Vectors::new(x.1));
        let zeros = |len| Interleaved::zeros(arch, len, count);
        let mut y = ManyProduct {
            row: zeros(n),
            row_abs: zeros(n),
            border: zeros(k),
            border_abs: zeros(k),
        };
        let sums = y.border.numbers_mut().iter_mut();
        let sums = sums.zip(y.border_abs.numbers_mut());
        for ((plain, abs), x) in sums.zip(border.numbers) {
            (*plain, *abs) = (ridge.border * x, ridge.border * x.abs());
        }
        let of_rows = self.add_rows(arch, row, border, count, ridge.row, &mut y);
        let of_border = self.border_parts(arch, border, count);
        for part in of_rows.iter().chain(&of_border) {
            add_all(y.border.numbers_mut(), part.plain.numbers());
            add_all(y.border_abs.numbers_mut(), part.abs.numbers());
        }
        y
    }

    /// Fills the rows' part; returns partial sums of the border's.
    fn add_rows(
        &self,
        arch: Arch,
        row: Vectors<'_>,
        border: Vectors<'_>,
        count: usize,
        rho: f64,
        y: &mut ManyProduct,
    ) -> Vec<BorderSums> {
        let parts = self.rows_parts(row.stride, y.row.numbers_mut(), y.row_abs.numbers_mut());
        let sums = parts.into_par_iter().map(|mut part| {
            let mut sums = BorderSums::zeros(arch, self.shape().border(), count);
            release_upper_parts();
            self.add_blocks(row, rho, &mut part);
            self.add_cross(arch, row, border, &mut part, &mut sums);
            sums
        });
        sums.collect()
    }

    /// At most [`PARTS`] ranges of rows, by the shape alone.
    fn rows_parts<'y>(
        &self,
        stride: usize,
        mut plain: &'y mut [f64],
        mut abs: &'y mut [f64],
    ) -> Vec<RowsPart<'y>> {
        let rows = self.shape().rows();
        let chunk = rows.rows().div_ceil(PARTS).max(1);
        let cut = |first: usize| {
            let last = (first + chunk).min(rows.rows());
            let len = stride * (rows.offset(last) - rows.offset(first));
            let part = |from: &mut &'y mut [f64]| {
                let (head, tail) = std::mem::take(from).split_at_mut(len);
                *from = tail;
                head
            };
            RowsPart {
                rows: first..last,
                plain: part(&mut plain),
                abs: part(&mut abs),
            }
        };
        (0..rows.rows()).step_by(chunk).map(cut).collect()
    }

    /// Adds $`(D_i + \rho) x_i`$.
    fn add_blocks(&self, x: Vectors<'_>, rho: f64, part: &mut RowsPart<'_>) {
        let (rows, blocks, stride) = (self.shape().rows(), self.row_hessian(), x.stride);
        let start = rows.offset(part.rows.start);
        for i in part.rows.clone() {
            let at = rows.offset(i);
            for a in 0..rows.dim(i) {
                let y = (at - start + a) * stride..(at - start + a + 1) * stride;
                for b in 0..rows.dim(i) {
                    let entry = blocks.get(rows, i, a.max(b), a.min(b));
                    let entry = if a == b { entry + rho } else { entry };
                    let plain = part.plain[y.clone()].iter_mut();
                    let sums = plain.zip(&mut part.abs[y.clone()]);
                    for ((plain, abs), x) in sums.zip(x.of(at + b..at + b + 1)) {
                        let term = entry * x;
                        *plain += term;
                        *abs += term.abs();
                    }
                }
            }
        }
    }

    /// Adds $`B x_\beta`$ to the rows' part and $`B' x_t`$ to `sums`, tile by tile.
    fn add_cross(
        &self,
        arch: Arch,
        row: Vectors<'_>,
        border: Vectors<'_>,
        part: &mut RowsPart<'_>,
        sums: &mut BorderSums,
    ) {
        let (k, stride) = (self.shape().border(), row.stride);
        let mut places = self.unknowns(part.rows.clone());
        let start = self.shape().rows().offset(part.rows.start);
        let len = self.shape().rows().offset(part.rows.end) - start;
        let mut copy = Vec::new();
        for at in (0..len).step_by(LINES) {
            let lines = self.lines(places.clone().take(LINES), &mut copy);
            places.by_ref().take(LINES).for_each(drop);
            let x_row = row.of(start + at..start + at + lines.len());
            let own = at * stride..(at + lines.len()) * stride;
            for first in (0..k).step_by(COLUMNS) {
                let columns = first..(first + COLUMNS).min(k);
                let tile = Lines::new(&lines, columns.clone());
                let (plain, abs) = (&mut part.plain[own.clone()], &mut part.abs[own.clone()]);
                let x = border.of(columns.clone());
                add_abs(arch, Side::Times, tile, x, plain, abs, stride);
                sums.add(arch, Side::Transposed, tile, x_row, columns);
            }
        }
    }

    /// Partial sums of $`C x_\beta`$, tile by tile of the lower triangle.
    fn border_parts(&self, arch: Arch, x: Vectors<'_>, count: usize) -> Vec<BorderSums> {
        let k = self.shape().border();
        let border = BorderLines::new(self.border_hessian().matrix());
        let tiles = k.div_ceil(TILE);
        let all: Vec<_> = (0..tiles)
            .flat_map(|j| (j..tiles).map(move |i| (i, j)))
            .collect();
        let range = |t: usize| t * TILE..((t + 1) * TILE).min(k);
        let parts = all
            .par_chunks(all.len().div_ceil(PARTS).max(1))
            .map(|tiles| {
                let mut sums = BorderSums::zeros(arch, k, count);
                let mut scratch = Vec::new();
                for &(i, j) in tiles {
                    // Lines are columns of C, or its rows.
                    let (own, other) = if border.by_column() { (j, i) } else { (i, j) };
                    let (own, other) = (range(own), range(other));
                    copy_tile(&border, own.clone(), other.clone(), &mut scratch);
                    let lines: Vec<_> = scratch.chunks_exact(other.len() + SPREAD).collect();
                    let tile = Lines::new(&lines[..own.len()], 0..other.len());
                    sums.add(arch, Side::Times, tile, x.of(other.clone()), own.clone());
                    if i != j {
                        sums.add(arch, Side::Transposed, tile, x.of(own), other);
                    }
                }
                sums
            });
        parts.collect()
    }
}

/// Copies the tile of a symmetric matrix with lines `own` and their numbers `other`, [`SPREAD`] numbers
/// between lines. Of a tile on the diagonal the lower triangle alone is read.
fn copy_tile(
    border: &BorderLines<'_>,
    own: Range<usize>,
    other: Range<usize>,
    copy: &mut Vec<f64>,
) {
    let stride = other.len() + SPREAD;
    copy.resize(copy.len().max(own.len() * stride), 0.0);
    let mut line = Vec::new();
    for (o, l) in own.clone().enumerate() {
        let (first, entries) = border.get(l, &mut line);
        let known = first.max(other.start)..(first + entries.len()).min(other.end);
        let entries = &entries[known.start - first..known.end - first];
        let at = known.start - other.start;
        copy[o * stride + at..][..entries.len()].copy_from_slice(entries);
        if own == other {
            // The other half of the square, which this line holds for those beside it.
            for (c, entry) in (at..).zip(entries) {
                copy[c * stride + o] = *entry;
            }
        }
    }
}

fn add_all(y: &mut [f64], x: &[f64]) {
    let pairs = y.par_iter_mut().with_min_len(1 << 14).zip(x);
    pairs.for_each(|(y, x)| *y += x);
}
