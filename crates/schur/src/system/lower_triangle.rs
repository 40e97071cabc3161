//! The lower triangle of a symmetric matrix as lines of adjacent numbers, and its product with a
//! vector.
//!
//! ```text
//!   columns adjacent: [ d       ]     rows adjacent: [ d       ]
//!                     [ # d     ]                    [ # d     ]
//!                     [ # # d   ]                    [ # # d   ]
//!   a line s = #:     y += alpha s,  |y| += |alpha| |s|,  s' x,  |s|' |x|
//! ```
//!
//! Every entry is read once and serves both its places. Several lines go through one loop, as many
//! streams keep the memory busy.

use super::first_not_finite;
use crate::host::blas1;
use faer::MatRef;
use pulp::Arch;
use std::ops::Range;

/// Lines read at once.
const STREAMS: usize = 4;

/// The lower triangle of a symmetric matrix as lines of adjacent numbers: columns from the
/// diagonal down where columns are adjacent, else rows up to the diagonal.
#[derive(Clone, Copy)]
pub(crate) struct LowerTriangle<'a> {
    pub(super) matrix: MatRef<'a, f64>,
    by_column: bool,
}

impl<'a> LowerTriangle<'a> {
    pub(crate) fn new(matrix: MatRef<'a, f64>) -> Self {
        Self {
            matrix,
            by_column: matrix.row_stride().unsigned_abs() == 1,
        }
    }

    /// Line `l` where its entries are adjacent.
    fn adjacent(&self, l: usize) -> Option<&'a [f64]> {
        let k = self.matrix.nrows();
        let line = if self.by_column {
            self.matrix.subrows(l, k - l).col(l)
        } else {
            self.matrix.subcols(0, l + 1).row(l).transpose()
        };
        line.try_as_col_major().map(|line| line.as_slice())
    }

    /// Whether lines are columns.
    pub(crate) fn by_column(&self) -> bool {
        self.by_column
    }

    /// Line `l`: its first index and its entries. Copied where they are not adjacent.
    pub(crate) fn get<'b>(&self, l: usize, copy: &'b mut Vec<f64>) -> (usize, &'b [f64])
    where
        'a: 'b,
    {
        let first = if self.by_column { l } else { 0 };
        if let Some(line) = self.adjacent(l) {
            return (first, line);
        }
        copy.clear();
        if self.by_column {
            copy.extend((l..self.matrix.nrows()).map(|r| self.matrix[(r, l)]));
        } else {
            copy.extend((0..=l).map(|c| self.matrix[(l, c)]));
        }
        (first, copy)
    }

    /// The index, row >= column, of the first entry of line `l` that is not finite.
    pub(super) fn first_not_finite(&self, l: usize) -> Option<(usize, usize)> {
        let index = |at: usize| if self.by_column { (l + at, l) } else { (l, at) };
        let length = if self.by_column {
            self.matrix.nrows() - l
        } else {
            l + 1
        };
        match self.adjacent(l) {
            Some(line) => first_not_finite(line).map(index),
            None => (0..length)
                .map(index)
                .find(|&at| !self.matrix[at].is_finite()),
        }
    }

    /// Line `l` as its diagonal entry, and the first index and the entries of the others.
    pub(crate) fn split<'b>(&self, l: usize, copy: &'b mut Vec<f64>) -> (f64, usize, &'b [f64])
    where
        'a: 'b,
    {
        let (first, entries) = self.get(l, copy);
        if first == l {
            (entries[0], l + 1, &entries[1..])
        } else {
            (entries[l - first], first, &entries[..l - first])
        }
    }

    /// Ranges of lines with about equal numbers of entries: at most `most`, by the order alone.
    pub(crate) fn balanced_groups(&self, k: usize, most: usize) -> Vec<Range<usize>> {
        let groups = k.div_ceil(64).clamp(1, most);
        // Lines 0..x of a triangle hold a share (x / k)^2 of the rows, 1 - (1 - x / k)^2 of the
        // columns.
        let edge = |g: usize| {
            let share = g as f64 / groups as f64;
            let x = if self.by_column {
                1.0 - (1.0 - share).sqrt()
            } else {
                share.sqrt()
            };
            ((x * k as f64).round() as usize).min(k)
        };
        (0..groups).map(|g| edge(g)..edge(g + 1)).collect()
    }

    /// Lines `l ..` where the entries of each are adjacent.
    fn adjacent_lines(&self, l: usize) -> Option<[&'a [f64]; STREAMS]> {
        let mut lines = [&[][..]; STREAMS];
        for (o, line) in lines.iter_mut().enumerate() {
            *line = self.adjacent(l + o)?;
        }
        Some(lines)
    }

    /// Adds the parts of `lines` in the products $`A x`$ and $`|A| |x|`$ to `y` and `y_abs`.
    pub(crate) fn add_product(
        &self,
        arch: Arch,
        lines: Range<usize>,
        x: &[f64],
        y: &mut [f64],
        y_abs: &mut [f64],
    ) {
        let mut copy = Vec::new();
        let mut l = lines.start;
        while l < lines.end {
            let whole = l + STREAMS <= lines.end;
            if let Some(several) = whole.then(|| self.adjacent_lines(l)).flatten() {
                self.add_several(arch, l, several, x, y, y_abs);
                l += STREAMS;
                continue;
            }
            let (diagonal, start, others) = self.split(l, &mut copy);
            let range = start..start + others.len();
            let [[sum, sum_abs]] = blas1::symv_lines(
                arch,
                [x[l]],
                [others],
                &x[range.clone()],
                &mut y[range.clone()],
                &mut y_abs[range],
            );
            y[l] += sum + diagonal * x[l];
            y_abs[l] += sum_abs + (diagonal * x[l]).abs();
            l += 1;
        }
    }

    /// Adds the parts of the lines from `l`: of what they have in common at once, of the triangle
    /// on the diagonal entry by entry.
    fn add_several(
        &self,
        arch: Arch,
        l: usize,
        lines: [&[f64]; STREAMS],
        x: &[f64],
        y: &mut [f64],
        y_abs: &mut [f64],
    ) {
        let common = if self.by_column {
            l + STREAMS..self.matrix.nrows()
        } else {
            0..l
        };
        let others = std::array::from_fn(|o| {
            let first = if self.by_column { STREAMS - o } else { 0 };
            &lines[o][first..first + common.len()]
        });
        let sums = blas1::symv_lines::<STREAMS>(
            arch,
            std::array::from_fn(|o| x[l + o]),
            others,
            &x[common.clone()],
            &mut y[common.clone()],
            &mut y_abs[common],
        );
        let mut add = |to: usize, from: usize, value: f64| {
            y[l + to] += value * x[l + from];
            y_abs[l + to] += (value * x[l + from]).abs();
        };
        for a in 0..STREAMS {
            for b in 0..a {
                let value = if self.by_column {
                    lines[b][a - b]
                } else {
                    lines[a][l + b]
                };
                add(a, b, value);
                add(b, a, value);
            }
            let at = if self.by_column { 0 } else { l + a };
            add(a, a, lines[a][at]);
        }
        for o in 0..STREAMS {
            y[l + o] += sums[o][0];
            y_abs[l + o] += sums[o][1];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use faer::Mat;

    #[test]
    fn products_read_the_lower_triangle_of_any_layout() {
        for k in [1, 3, 4, 5, 11, 70] {
            let matrix = Mat::<f64>::from_fn(k, k, |i, j| {
                if i < j {
                    f64::NAN
                } else {
                    ((i * 7 + j * 5) % 11) as f64 - 5.0
                }
            });
            let by_row = matrix.transpose().to_owned();
            // Reversed rows and columns, twice: strides that are neither 1 nor positive.
            let reversed = matrix.as_ref().reverse_rows_and_cols().to_owned();
            let x: Vec<f64> = (0..k).map(|i| (i % 3) as f64 - 1.0).collect();
            let entry = |i: usize, j: usize| matrix[(i.max(j), i.min(j))];
            let reversed = reversed.as_ref().reverse_rows_and_cols();
            for view in [matrix.as_ref(), by_row.transpose(), reversed] {
                let lines = LowerTriangle::new(view);
                let (mut y, mut y_abs) = (vec![0.0; k], vec![0.0; k]);
                for group in lines.balanced_groups(k, 16) {
                    lines.add_product(Arch::new(), group, &x, &mut y, &mut y_abs);
                }
                for i in 0..k {
                    // Small integers: every sum is exact.
                    let terms = (0..k).map(|j| entry(i, j) * x[j]);
                    let (sum, size) = terms.fold((0.0, 0.0), |(s, a), t| (s + t, a + t.abs()));
                    assert_eq!((y[i], y_abs[i]), (sum, size), "order {k} row {i}");
                }
            }
        }
    }
}
