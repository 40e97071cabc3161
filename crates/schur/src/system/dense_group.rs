//! Products of a dense system with eight vectors at once: one pass over the operands serves all.
//!
//! ```text
//!   vectors interleaved:  x[i] = [x_0[i], ..., x_7[i]]
//!   a line s of B or C:   y[i] += s[i] * alpha,  |y|[i] += |s[i]| * |alpha|,
//!                         sum  += s[i] * x[i],   |sum|  += |s[i]| * |x[i]|
//! ```
//!
//! The sums run in another order than for one vector: the two agree to rounding, and each is the
//! same for any number of threads.

use super::border_lines::BorderLines;
use super::dense::DenseSystem;
use super::par_ordered;
use crate::Ridge;
use pulp::Arch;
use rayon::prelude::*;

/// Vectors in a group.
pub(crate) const GROUP: usize = 8;

/// One entry of eight vectors.
pub(crate) type Lanes = [f64; GROUP];

const ZERO: Lanes = [0.0; GROUP];

/// A product of a group, and its absolute twin.
#[derive(Debug)]
pub(crate) struct GroupProduct {
    pub(crate) row: Vec<Lanes>,
    pub(crate) border: Vec<Lanes>,
    pub(crate) row_abs: Vec<Lanes>,
    pub(crate) border_abs: Vec<Lanes>,
}

#[inline(always)]
fn add(y: &mut Lanes, weight: f64, x: &Lanes) {
    for l in 0..GROUP {
        y[l] += weight * x[l];
    }
}

#[inline(always)]
fn add_abs(y: &mut Lanes, weight: f64, x: &Lanes) {
    for l in 0..GROUP {
        y[l] += weight * x[l].abs();
    }
}

fn add_all(y: &mut [Lanes], x: &[Lanes]) {
    y.iter_mut().zip(x).for_each(|(y, x)| add(y, 1.0, x));
}

/// One line against eight vectors; returns the sums and their absolute twins.
#[inline]
fn line(
    arch: Arch,
    alpha: &Lanes,
    s: &[f64],
    x: &[Lanes],
    y: &mut [Lanes],
    y_abs: &mut [Lanes],
) -> (Lanes, Lanes) {
    arch.dispatch(
        #[inline(always)]
        || {
            let size = alpha.map(f64::abs);
            let (mut sum, mut sum_abs) = (ZERO, ZERO);
            for (((s, x), y), y_abs) in s.iter().zip(x).zip(y).zip(y_abs) {
                let weight = s.abs();
                add(y, *s, alpha);
                add(y_abs, weight, &size);
                add(&mut sum, *s, x);
                add_abs(&mut sum_abs, weight, x);
            }
            (sum, sum_abs)
        },
    )
}

impl DenseSystem<'_> {
    /// $`(H + \rho) x`$ and $`|H + \rho| |x|`$ for eight interleaved vectors.
    pub(crate) fn product_group(
        &self,
        x_row: &[Lanes],
        x_border: &[Lanes],
        ridge: Ridge,
    ) -> GroupProduct {
        let shifted = |x: &[Lanes], rho: f64| -> (Vec<Lanes>, Vec<Lanes>) {
            let scale = |x: &Lanes| x.map(|x| rho * x);
            (
                x.iter().map(scale).collect(),
                x.iter().map(|x| x.map(|x| rho * x.abs())).collect(),
            )
        };
        let (row, row_abs) = shifted(x_row, 0.0);
        let (border, border_abs) = shifted(x_border, ridge.border);
        let mut y = GroupProduct {
            row,
            border,
            row_abs,
            border_abs,
        };
        self.row_blocks_group(x_row, ridge.row, &mut y);
        if self.shape().border() > 0 {
            self.cross_group(x_row, x_border, &mut y);
            self.border_group(x_border, &mut y);
        }
        y
    }

    fn row_blocks_group(&self, x: &[Lanes], rho: f64, y: &mut GroupProduct) {
        let (rows, blocks) = (self.shape().rows(), self.row_hessian());
        for i in 0..rows.rows() {
            let start = rows.offset(i);
            for a in 0..rows.dim(i) {
                for b in 0..rows.dim(i) {
                    let value = blocks.get(rows, i, a.max(b), a.min(b));
                    let value = if a == b { value + rho } else { value };
                    add(&mut y.row[start + a], value, &x[start + b]);
                    add_abs(&mut y.row_abs[start + a], value.abs(), &x[start + b]);
                }
            }
        }
    }

    fn cross_group(&self, x_row: &[Lanes], x_border: &[Lanes], y: &mut GroupProduct) {
        let (arch, rows, k) = (Arch::new(), self.shape().rows(), self.shape().border());
        // At most 16 partial sums, whatever the shape.
        let chunk = rows.rows().div_ceil(16).max(1);
        let parts = par_ordered(rows.rows(), chunk, |range| {
            let (mut part, mut part_abs) = (vec![ZERO; k], vec![ZERO; k]);
            let (mut own, mut copy) = (Vec::new(), Vec::new());
            for i in range {
                for a in 0..rows.dim(i) {
                    let slice = match self.row_cross().row_slice(rows, i, a) {
                        Some(slice) => slice,
                        None => {
                            copy.resize(k, 0.0);
                            self.row_cross().copy_row(rows, i, a, &mut copy);
                            &copy
                        }
                    };
                    let alpha = &x_row[rows.offset(i) + a];
                    own.push(line(arch, alpha, slice, x_border, &mut part, &mut part_abs));
                }
            }
            (part, part_abs, own)
        });
        let mut u = 0;
        for (part, part_abs, own) in parts {
            add_all(&mut y.border, &part);
            add_all(&mut y.border_abs, &part_abs);
            for (sum, sum_abs) in own {
                add(&mut y.row[u], 1.0, &sum);
                add(&mut y.row_abs[u], 1.0, &sum_abs);
                u += 1;
            }
        }
    }

    fn border_group(&self, x: &[Lanes], y: &mut GroupProduct) {
        let (arch, k) = (Arch::new(), self.shape().border());
        let lines = BorderLines::new(self.border_hessian().matrix());
        let parts: Vec<_> = lines
            .balanced_groups(k)
            .into_par_iter()
            .map(|group| {
                let (mut part, mut part_abs) = (vec![ZERO; k], vec![ZERO; k]);
                let mut copy = Vec::new();
                for l in group {
                    let (diagonal, start, others) = lines.split(l, &mut copy);
                    let range = start..start + others.len();
                    let (sum, sum_abs) = line(
                        arch,
                        &x[l],
                        others,
                        &x[range.clone()],
                        &mut part[range.clone()],
                        &mut part_abs[range],
                    );
                    add(&mut part[l], 1.0, &sum);
                    add(&mut part[l], diagonal, &x[l]);
                    add(&mut part_abs[l], 1.0, &sum_abs);
                    add_abs(&mut part_abs[l], diagonal.abs(), &x[l]);
                }
                (part, part_abs)
            })
            .collect();
        for (part, part_abs) in parts {
            add_all(&mut y.border, &part);
            add_all(&mut y.border_abs, &part_abs);
        }
    }
}

/// Interleaves columns `first ..` of a column-major array of columns of length `len`; lanes past
/// the last column are zero.
pub(crate) fn interleave(columns: &[f64], len: usize, first: usize, count: usize) -> Vec<Lanes> {
    let mut out = vec![ZERO; len];
    for l in 0..GROUP.min(count - first) {
        let column = &columns[(first + l) * len..(first + l + 1) * len];
        out.iter_mut().zip(column).for_each(|(out, x)| out[l] = *x);
    }
    out
}
