//! Products of a dense system with several vectors at once: one pass over the operands serves all.
//!
//! ```text
//!   vectors interleaved, m x len       a tile T of B or of C below the diagonal, and |T|:
//!   y_T += x T',   y += x_T T          four products of an m-row matrix, T from memory once
//! ```
//!
//! The sums run in another order than for one vector: the two agree to rounding, and each is the
//! same for any number of threads.

use super::border_lines::BorderLines;
use super::dense::DenseSystem;
use crate::Ridge;
use crate::interleaved::{add_product, as_mat, as_mat_mut};
use faer::MatRef;
use rayon::prelude::*;
use std::ops::Range;

/// Lines and columns of a tile of $`B`$.
const LINES: usize = 128;
const COLUMNS: usize = 512;
/// Order of a tile of $`C`$.
const TILE: usize = 256;
/// The most partial sums of either, whatever the shape.
const PARTS: usize = 8;

/// $`(H + \rho) x`$ and $`|H + \rho| |x|`$ for interleaved vectors.
#[derive(Debug)]
pub(crate) struct ManyProduct {
    pub(crate) row: Vec<f64>,
    pub(crate) border: Vec<f64>,
    pub(crate) row_abs: Vec<f64>,
    pub(crate) border_abs: Vec<f64>,
}

/// Vectors and their absolute values, `m` interleaved.
struct Vectors<'x> {
    m: usize,
    plain: &'x [f64],
    abs: Vec<f64>,
}

impl<'x> Vectors<'x> {
    fn new(plain: &'x [f64], m: usize) -> Self {
        let abs = plain.par_iter().with_min_len(1 << 14).map(|x| x.abs());
        Self {
            m,
            plain,
            abs: abs.collect(),
        }
    }

    /// The unknowns of a range, plain and absolute.
    fn of(&self, range: Range<usize>) -> [MatRef<'_, f64>; 2] {
        let range = range.start * self.m..range.end * self.m;
        [
            as_mat(&self.plain[range.clone()], self.m),
            as_mat(&self.abs[range], self.m),
        ]
    }
}

/// Sums of products, plain and absolute, `m` interleaved.
struct Sums<'y> {
    m: usize,
    plain: &'y mut [f64],
    abs: &'y mut [f64],
}

impl Sums<'_> {
    /// Adds `x A` and `|x| |A|` to the unknowns of a range.
    fn add(&mut self, range: Range<usize>, x: [MatRef<'_, f64>; 2], a: [MatRef<'_, f64>; 2]) {
        let range = range.start * self.m..range.end * self.m;
        let plain = as_mat_mut(&mut self.plain[range.clone()], self.m);
        add_product(plain, 1.0, x[0], a[0]);
        add_product(as_mat_mut(&mut self.abs[range], self.m), 1.0, x[1], a[1]);
    }
}

/// A range of rows with its part of the product.
struct RowsPart<'y> {
    rows: Range<usize>,
    sums: Sums<'y>,
}

impl DenseSystem<'_> {
    /// $`(H + \rho) x`$ and $`|H + \rho| |x|`$ for `m` interleaved vectors.
    pub(crate) fn product_many(
        &self,
        x_row: &[f64],
        x_border: &[f64],
        m: usize,
        ridge: Ridge,
    ) -> ManyProduct {
        let (row, border) = (Vectors::new(x_row, m), Vectors::new(x_border, m));
        let scaled = |x: &[f64]| x.iter().map(|x| ridge.border * x).collect::<Vec<f64>>();
        let mut y = ManyProduct {
            row: vec![0.0; x_row.len()],
            row_abs: vec![0.0; x_row.len()],
            border: scaled(border.plain),
            border_abs: scaled(&border.abs),
        };
        let of_rows = self.add_rows(&row, &border, ridge.row, &mut y);
        let of_border = self.border_parts(&border);
        for (plain, abs) in of_rows.iter().chain(&of_border) {
            add_all(&mut y.border, plain);
            add_all(&mut y.border_abs, abs);
        }
        y
    }

    /// Fills the rows' part; returns partial sums of the border's.
    fn add_rows(
        &self,
        row: &Vectors<'_>,
        border: &Vectors<'_>,
        rho: f64,
        y: &mut ManyProduct,
    ) -> Vec<(Vec<f64>, Vec<f64>)> {
        let (m, len) = (row.m, border.plain.len());
        let parts = self.rows_parts(m, &mut y.row, &mut y.row_abs);
        let sums = parts.into_par_iter().map(|mut part| {
            let (mut plain, mut abs) = (vec![0.0; len], vec![0.0; len]);
            let mut sums = Sums {
                m,
                plain: &mut plain,
                abs: &mut abs,
            };
            self.add_blocks(row, rho, &mut part);
            self.add_cross(row, border, &mut part, &mut sums);
            (plain, abs)
        });
        sums.collect()
    }

    /// At most [`PARTS`] ranges of rows, by the shape alone.
    fn rows_parts<'y>(
        &self,
        m: usize,
        mut plain: &'y mut [f64],
        mut abs: &'y mut [f64],
    ) -> Vec<RowsPart<'y>> {
        let rows = self.shape().rows();
        let chunk = rows.rows().div_ceil(PARTS).max(1);
        let cut = |first: usize| {
            let last = (first + chunk).min(rows.rows());
            let len = m * (rows.offset(last) - rows.offset(first));
            let part = |from: &mut &'y mut [f64]| {
                let (head, tail) = std::mem::take(from).split_at_mut(len);
                *from = tail;
                head
            };
            RowsPart {
                rows: first..last,
                sums: Sums {
                    m,
                    plain: part(&mut plain),
                    abs: part(&mut abs),
                },
            }
        };
        (0..rows.rows()).step_by(chunk).map(cut).collect()
    }

    /// Adds $`(D_i + \rho) x_i`$.
    fn add_blocks(&self, x: &Vectors<'_>, rho: f64, part: &mut RowsPart<'_>) {
        let (rows, blocks, m) = (self.shape().rows(), self.row_hessian(), x.m);
        let start = rows.offset(part.rows.start);
        for i in part.rows.clone() {
            let at = rows.offset(i);
            for a in 0..rows.dim(i) {
                let y = (at - start + a) * m..(at - start + a + 1) * m;
                for b in 0..rows.dim(i) {
                    let entry = blocks.get(rows, i, a.max(b), a.min(b));
                    let entry = if a == b { entry + rho } else { entry };
                    let x_range = (at + b) * m..(at + b + 1) * m;
                    let (plain, abs) = (&x.plain[x_range.clone()], &x.abs[x_range]);
                    add_scaled(&mut part.sums.plain[y.clone()], entry, plain);
                    add_scaled(&mut part.sums.abs[y.clone()], entry.abs(), abs);
                }
            }
        }
    }

    /// Adds $`B x_\beta`$ to the rows' part and $`B' x_t`$ to `sums`, tile by tile.
    fn add_cross(
        &self,
        row: &Vectors<'_>,
        border: &Vectors<'_>,
        part: &mut RowsPart<'_>,
        sums: &mut Sums<'_>,
    ) {
        let k = self.shape().border();
        let mut places = self.unknowns(part.rows.clone());
        let start = self.shape().rows().offset(part.rows.start);
        let len = self.shape().rows().offset(part.rows.end) - start;
        let (mut copy, mut plain, mut abs) = (Vec::new(), Vec::new(), Vec::new());
        for at in (0..len).step_by(LINES) {
            let lines = self.lines(places.clone().take(LINES), &mut copy);
            places.by_ref().take(LINES).for_each(drop);
            let own = at..at + lines.len();
            let x_row = row.of(start + own.start..start + own.end);
            for first in (0..k).step_by(COLUMNS) {
                let columns = first..(first + COLUMNS).min(k);
                plain.clear();
                abs.clear();
                for line in &lines {
                    plain.extend_from_slice(&line[columns.clone()]);
                    abs.extend(line[columns.clone()].iter().map(|b| b.abs()));
                }
                let tile = [&plain, &abs]
                    .map(|tile| MatRef::from_row_major_slice(tile, lines.len(), columns.len()));
                let across = tile.map(|tile| tile.transpose());
                part.sums
                    .add(own.clone(), border.of(columns.clone()), across);
                sums.add(columns, x_row, tile);
            }
        }
    }

    /// Partial sums of $`C x_\beta`$, tile by tile of the lower triangle.
    fn border_parts(&self, x: &Vectors<'_>) -> Vec<(Vec<f64>, Vec<f64>)> {
        let (k, len) = (self.shape().border(), x.plain.len());
        let c = self.border_hessian().matrix();
        let tiles = k.div_ceil(TILE);
        let all: Vec<_> = (0..tiles)
            .flat_map(|j| (j..tiles).map(move |i| (i, j)))
            .collect();
        let range = |t: usize| t * TILE..((t + 1) * TILE).min(k);
        let parts = all
            .par_chunks(all.len().div_ceil(PARTS).max(1))
            .map(|tiles| {
                let (mut plain, mut abs) = (vec![0.0; len], vec![0.0; len]);
                let mut sums = Sums {
                    m: x.m,
                    plain: &mut plain,
                    abs: &mut abs,
                };
                let mut scratch = [vec![0.0; TILE * TILE], vec![0.0; TILE * TILE]];
                for &(i, j) in tiles {
                    let (rows, columns) = (range(i), range(j));
                    let tile = c.submatrix(rows.start, columns.start, rows.len(), columns.len());
                    let [plain, abs] = both(tile, i == j, &mut scratch);
                    sums.add(columns.clone(), x.of(rows.clone()), [plain, abs]);
                    if i != j {
                        let across = [plain.transpose(), abs.transpose()];
                        sums.add(rows, x.of(columns), across);
                    }
                }
                (plain, abs)
            });
        parts.collect()
    }
}

/// A tile and its absolute values, with the order of its entries kept; of one on the diagonal the
/// lower triangle alone is read, into a copy.
fn both<'s>(
    tile: MatRef<'s, f64>,
    diagonal: bool,
    scratch: &'s mut [Vec<f64>; 2],
) -> [MatRef<'s, f64>; 2] {
    let by_column = BorderLines::new(tile).by_column();
    let lines = if by_column { tile } else { tile.transpose() };
    let (height, width) = (lines.nrows(), lines.ncols());
    let [plain, abs] = scratch;
    let abs = &mut abs[..height * width];
    if diagonal {
        let plain = &mut plain[..height * width];
        for j in 0..width {
            for i in j..height {
                let value = tile[(i, j)];
                plain[j * height + i] = value;
                plain[i * height + j] = value;
            }
        }
        let entries = abs.iter_mut().zip(&*plain);
        entries.for_each(|(abs, x)| *abs = x.abs());
        return [&*plain, &*abs].map(|copy| MatRef::from_column_major_slice(copy, height, width));
    }
    for (j, to) in abs.chunks_exact_mut(height).enumerate() {
        let line = lines.col(j);
        match line.try_as_col_major() {
            Some(line) => {
                let entries = to.iter_mut().zip(line.as_slice());
                entries.for_each(|(abs, x)| *abs = x.abs());
            }
            None => {
                let entries = to.iter_mut().zip(line.iter());
                entries.for_each(|(abs, x)| *abs = x.abs());
            }
        }
    }
    let abs = MatRef::from_column_major_slice(abs, height, width);
    [tile, if by_column { abs } else { abs.transpose() }]
}

fn add_scaled(y: &mut [f64], alpha: f64, x: &[f64]) {
    y.iter_mut().zip(x).for_each(|(y, x)| *y += alpha * x);
}

fn add_all(y: &mut [f64], x: &[f64]) {
    let pairs = y.par_iter_mut().with_min_len(1 << 14).zip(x);
    pairs.for_each(|(y, x)| *y += x);
}
