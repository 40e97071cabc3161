//! Answers to twice the digits, from a case's raw numbers.
//!
//! A plain left-looking Cholesky factorization of the arrow in double-double arithmetic: wrong by
//! about $`10^{-32} \kappa`$, so right to all digits of FP64 wherever FP64 has any. Zeros of a cross
//! block are skipped, so that sparse normal equations of a few hundred unknowns take no time.
//! [`matrix`] writes the whole operator out for faer, as a check of the oracle itself.

use crate::cases::DenseCase;
use crate::double::Double;
use crate::tolerance::LogTolerance;
use broadhead_schur::{ArrowVector, EliminationKind, Gradient, LogDeterminant, Ridge};
use faer::Mat;
use rayon::prelude::*;

/// A factored arrow.
#[derive(Debug)]
pub struct Oracle {
    rows: Vec<Block>,
    /// $`L_S`$, row-major.
    border: Vec<Double>,
    k: usize,
    /// $`\|H\|_1`$.
    norm: f64,
    /// The roots of the diagonal, of the rows and then of the border.
    roots: Vec<f64>,
}

/// What the inverse $`X`$ of a factored arrow says of errors: its norms, and those of
/// $`\hat X = R X R`$, $`R`$ the roots of the diagonal, which no scaling of unknowns changes. See
/// [`LogTolerance`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Inverse {
    /// $`\kappa_1(H + \rho)`$; 1 for order 0.
    pub kappa: f64,
    /// $`N`$ and $`k`$.
    sizes: [usize; 2],
    /// Sums of $`\hat x_{ij}^2`$ over the rows' own blocks, and between a row and the border, each
    /// weighted by the row's number of unknowns.
    own: f64,
    deep: f64,
    /// The same, not weighted: over all rows, between rows and border (once), over the border.
    rows: f64,
    cross: f64,
    border: f64,
}

impl Inverse {
    /// The tolerance for log-determinants by `kind`, where `copies` outputs share each pivot of a
    /// structured border (1 for a dense one). `None` is whichever needs more.
    pub fn log_tolerance(&self, kind: Option<EliminationKind>, copies: usize) -> LogTolerance {
        let [n, k] = self.sizes.map(|len| len as f64);
        let order = n + k;
        let rows_first = |copies: f64| {
            let border = copies * order * self.border;
            (self.own + 2.0 * self.deep + border).sqrt()
        };
        let border_first = |copies: f64| {
            let border = copies * k * (2.0 * self.cross + self.border);
            (order * self.rows + border).sqrt()
        };
        let copies = copies as f64;
        let spread = match kind {
            Some(EliminationKind::Reference) => rows_first(1.0),
            Some(EliminationKind::Border) => border_first(copies),
            Some(EliminationKind::Rows | EliminationKind::Core | EliminationKind::Iterative) => {
                rows_first(copies)
            }
            _ => rows_first(copies).max(border_first(copies)),
        };
        LogTolerance {
            order: self.sizes[0] + self.sizes[1],
            spread,
        }
    }
}

#[derive(Debug)]
struct Block {
    d: usize,
    /// $`L_i`$, row-major.
    factor: Vec<Double>,
    /// Columns of $`B_i`$ that are not zero, and $`Y_i = L_i^{-1} B_i`$ there, `d x len` row-major.
    columns: Vec<usize>,
    whitened: Vec<Double>,
}

/// $`D_i + \rho`$, its lower triangle.
fn block(case: &DenseCase, i: usize, rho: f64) -> Vec<Double> {
    let d = case.shape.rows().dim(i);
    let mut block = vec![Double::ZERO; d * d];
    for a in 0..d {
        for b in 0..a {
            block[a * d + b] = case.d(i, a, b).into();
        }
        block[a * (d + 1)] = Double::sum(case.d(i, a, a), rho);
    }
    block
}

/// $`L_i^{-1} B_i`$ for these columns of $`B_i`$, whose first row is row `u` of $`B`$.
fn whiten(
    case: &DenseCase,
    factor: &[Double],
    d: usize,
    u: usize,
    columns: &[usize],
) -> Vec<Double> {
    let width = columns.len();
    let mut whitened = vec![Double::ZERO; d * width];
    let mut column = vec![Double::ZERO; d];
    for (at, &c) in columns.iter().enumerate() {
        for a in 0..d {
            column[a] = case.b(u + a)[c].into();
        }
        forward(factor, d, &mut column);
        for a in 0..d {
            whitened[a * width + at] = column[a];
        }
    }
    whitened
}

/// $`S + B' D^{-1} B`$ for the $`D`$ and $`B`$ of `case` and this $`S`$ (`k x k` row-major, lower
/// triangle), rounded once: the border above which $`S`$ remains.
///
/// # Panics
/// Where a row block is not positive definite.
pub fn border_over(case: &DenseCase, s: &[f64]) -> Vec<f64> {
    let k = case.shape.border();
    let mut border: Vec<Double> = s.iter().map(|&s| s.into()).collect();
    let (columns, mut u) = ((0..k).collect::<Vec<_>>(), 0);
    for (i, d) in case.dims().into_iter().enumerate() {
        let mut factor = block(case, i, 0.0);
        if let Err(pivot) = cholesky(&mut factor, d) {
            panic!("row {i} is not positive definite at pivot {pivot}");
        }
        let whitened = whiten(case, &factor, d, u, &columns);
        for line in whitened.chunks_exact(k.max(1)) {
            for a in 0..k {
                for b in 0..=a {
                    border[a * k + b] += line[a] * line[b];
                }
            }
        }
        u += d;
    }
    let mut out = vec![0.0; k * k];
    for a in 0..k {
        for b in 0..=a {
            let value = border[a * k + b].value();
            (out[a * k + b], out[b * k + a]) = (value, value);
        }
    }
    out
}

/// Where the oracle found no positive pivot.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Indefinite {
    /// Pivot `1` of row `0`.
    Row(usize, usize),
    /// A pivot of the border.
    Border(usize),
}

/// Replaces the lower triangle of `a` (row-major) by its factor; the first pivot that fails.
fn cholesky(a: &mut [Double], order: usize) -> Result<(), usize> {
    for i in 0..order {
        for j in 0..=i {
            let mut sum = a[i * order + j];
            for m in 0..j {
                sum -= a[i * order + m] * a[j * order + m];
            }
            if i > j {
                a[i * order + j] = sum / a[j * order + j];
            } else if sum.hi > 0.0 {
                a[i * order + i] = sum.sqrt();
            } else {
                return Err(i);
            }
        }
    }
    Ok(())
}

fn forward(l: &[Double], order: usize, x: &mut [Double]) {
    for i in 0..order {
        for j in 0..i {
            let part = l[i * order + j] * x[j];
            x[i] -= part;
        }
        x[i] = x[i] / l[i * order + i];
    }
}

fn backward(l: &[Double], order: usize, x: &mut [Double]) {
    for i in (0..order).rev() {
        for j in i + 1..order {
            let part = l[j * order + i] * x[j];
            x[i] -= part;
        }
        x[i] = x[i] / l[i * order + i];
    }
}

impl Oracle {
    /// Factors `case` at `ridge`.
    ///
    /// # Errors
    /// Where it is not positive definite.
    pub fn new(case: &DenseCase, ridge: Ridge) -> Result<Self, Indefinite> {
        let k = case.shape.border();
        let mut border: Vec<Double> = (case.border_hessian.iter()).map(|&c| c.into()).collect();
        for j in 0..k {
            border[j * (k + 1)] += ridge.border.into();
        }
        let (mut rows, mut u) = (Vec::new(), 0);
        for (i, d) in case.dims().into_iter().enumerate() {
            let mut factor = block(case, i, ridge.row);
            cholesky(&mut factor, d).map_err(|pivot| Indefinite::Row(i, pivot))?;
            let columns: Vec<_> = (0..k)
                .filter(|&c| (0..d).any(|a| case.b(u + a)[c] != 0.0))
                .collect();
            let width = columns.len();
            let whitened = whiten(case, &factor, d, u, &columns);
            for a in 0..d {
                let line = &whitened[a * width..(a + 1) * width];
                for (x, &i) in columns.iter().enumerate() {
                    for (y, &j) in columns.iter().enumerate().take(x + 1) {
                        border[i * k + j] -= line[x] * line[y];
                    }
                }
            }
            rows.push(Block {
                d,
                factor,
                columns,
                whitened,
            });
            u += d;
        }
        cholesky(&mut border, k).map_err(Indefinite::Border)?;
        let dims = case.shape.rows();
        let of_rows = (0..dims.rows()).flat_map(|i| (0..dims.dim(i)).map(move |a| (i, a)));
        let of_border = (0..k).map(|j| case.border_hessian[j * (k + 1)] + ridge.border);
        let roots = of_rows
            .map(|(i, a)| case.d(i, a, a) + ridge.row)
            .chain(of_border)
            .map(f64::sqrt)
            .collect();
        let ones = ArrowVector {
            row: vec![1.0; case.shape.row_unknowns()],
            border: vec![1.0; k],
        };
        let (_, sums) = product(case, ridge, &ones);
        let norm = sums
            .row
            .iter()
            .chain(&sums.border)
            .copied()
            .fold(0.0, f64::max);
        Ok(Self {
            rows,
            border,
            k,
            norm,
            roots,
        })
    }

    /// The step $`(H + \rho)^{-1} (-g)`$, rounded once.
    pub fn solve(&self, g: &ArrowVector) -> ArrowVector {
        let k = self.k;
        let negative = |x: &[f64]| -> Vec<Double> { x.iter().map(|&x| (-x).into()).collect() };
        let (mut row, mut border) = (negative(&g.row), negative(&g.border));
        let mut u = 0;
        for block in &self.rows {
            let part = &mut row[u..u + block.d];
            forward(&block.factor, block.d, part);
            for a in 0..block.d {
                for (at, &c) in block.columns.iter().enumerate() {
                    border[c] -= block.whitened[a * block.columns.len() + at] * part[a];
                }
            }
            u += block.d;
        }
        forward(&self.border, k, &mut border);
        backward(&self.border, k, &mut border);
        u = 0;
        for block in &self.rows {
            let part = &mut row[u..u + block.d];
            for a in 0..block.d {
                for (at, &c) in block.columns.iter().enumerate() {
                    part[a] -= block.whitened[a * block.columns.len() + at] * border[c];
                }
            }
            backward(&block.factor, block.d, part);
            u += block.d;
        }
        let rounded = |x: Vec<Double>| x.into_iter().map(Double::value).collect();
        ArrowVector {
            row: rounded(row),
            border: rounded(border),
        }
    }

    /// $`\log|H + \rho|`$ and the sum of the absolute logarithms of the pivots.
    pub fn log_determinant(&self) -> LogDeterminant {
        let (mut value, mut absolute) = (Double::ZERO, 0.0);
        let mut add = |l: Double| {
            let term = Double::from(2.0) * l.ln();
            value += term;
            absolute += term.value().abs();
        };
        for block in &self.rows {
            (0..block.d).for_each(|a| add(block.factor[a * (block.d + 1)]));
        }
        (0..self.k).for_each(|j| add(self.border[j * (self.k + 1)]));
        LogDeterminant {
            value: value.value(),
            absolute,
        }
    }

    /// $`\kappa_1(H + \rho)`$, by as many solves as the order; 1 for order 0.
    pub fn kappa(&self) -> f64 {
        self.inverse().kappa
    }

    /// What the inverse says of errors, by as many solves as the order.
    pub fn inverse(&self) -> Inverse {
        let n: usize = self.rows.iter().map(|block| block.d).sum();
        let owners: Vec<usize> = (self.rows.iter().enumerate())
            .flat_map(|(i, block)| std::iter::repeat_n(i, block.d))
            .collect();
        let column = |j: usize| {
            let mut unit = ArrowVector {
                row: vec![0.0; n],
                border: vec![0.0; self.k],
            };
            if j < n {
                unit.row[j] = 1.0
            } else {
                unit.border[j - n] = 1.0
            }
            let column = self.solve(&unit);
            let (mut size, mut sums) = (0.0, Inverse::default());
            for (i, x) in column.row.iter().chain(&column.border).enumerate() {
                size += x.abs();
                let square = (self.roots[i] * x * self.roots[j]).powi(2);
                match (i < n, j < n) {
                    (true, true) => {
                        sums.rows += square;
                        if owners[i] == owners[j] {
                            sums.own += self.rows[owners[i]].d as f64 * square;
                        }
                    }
                    (true, false) => {
                        sums.cross += square;
                        sums.deep += self.rows[owners[i]].d as f64 * square;
                    }
                    // Counted from the other side.
                    (false, true) => {}
                    (false, false) => sums.border += square,
                }
            }
            sums.kappa = self.norm * size;
            sums
        };
        let columns: Vec<Inverse> = (0..n + self.k).into_par_iter().map(column).collect();
        let start = Inverse {
            kappa: if columns.is_empty() { 1.0 } else { 0.0 },
            sizes: [n, self.k],
            ..Inverse::default()
        };
        columns.into_iter().fold(start, |all, of| Inverse {
            // NaN is no condition number to go on with.
            kappa: if of.kappa <= all.kappa {
                all.kappa
            } else {
                of.kappa
            },
            sizes: all.sizes,
            own: all.own + of.own,
            deep: all.deep + of.deep,
            rows: all.rows + of.rows,
            cross: all.cross + of.cross,
            border: all.border + of.border,
        })
    }
}

/// $`(H + \rho) x`$ in double-double, and $`|H + \rho| |x|`$.
pub fn product(
    case: &DenseCase,
    ridge: Ridge,
    x: &ArrowVector,
) -> ((Vec<Double>, Vec<Double>), ArrowVector) {
    let (rows, k) = (case.shape.rows(), case.shape.border());
    let mut row = vec![Double::ZERO; x.row.len()];
    let mut border = vec![Double::ZERO; k];
    let mut sizes = ArrowVector::zeros(&case.shape);
    for i in 0..rows.rows() {
        let (start, d) = (rows.offset(i), rows.dim(i));
        for a in 0..d {
            let u = start + a;
            for b in 0..d {
                let entry = case.d(i, a.max(b), a.min(b));
                let entry = Double::sum(entry, if a == b { ridge.row } else { 0.0 });
                row[u] += entry * x.row[start + b].into();
                sizes.row[u] += (entry.value() * x.row[start + b]).abs();
            }
            for (c, &entry) in case.b(u).iter().enumerate().filter(|(_, b)| **b != 0.0) {
                row[u] += Double::product(entry, x.border[c]);
                border[c] += Double::product(entry, x.row[u]);
                sizes.row[u] += (entry * x.border[c]).abs();
                sizes.border[c] += (entry * x.row[u]).abs();
            }
        }
    }
    for a in 0..k {
        for b in 0..k {
            let entry = case.border_hessian[a.max(b) * k + a.min(b)];
            if entry != 0.0 || a == b {
                let entry = Double::sum(entry, if a == b { ridge.border } else { 0.0 });
                border[a] += entry * x.border[b].into();
                sizes.border[a] += (entry.value() * x.border[b]).abs();
            }
        }
    }
    ((row, border), sizes)
}

/// The componentwise and the two-norm relative residual of a step, measured in double-double.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// $`\max |Hx + g|_i / (|H||x| + |g|)_i`$.
    pub componentwise: f64,
    /// $`\|Hx + g\|_2 / \|g\|_2`$.
    pub relative_residual: f64,
    /// $`\| |H||x| + |g| \|_2 / \|g\|_2`$: how much larger the terms are. Rounding the exact step to
    /// FP64 alone leaves a relative residual of up to $`\epsilon / 2`$ times this.
    pub terms: f64,
}

/// Measures `step` against `g`.
pub fn measure(case: &DenseCase, ridge: Ridge, g: Gradient<'_>, step: &ArrowVector) -> Measured {
    let ((row, border), sizes) = product(case, ridge, step);
    let (mut componentwise, mut residual, mut gradient) = (0.0_f64, 0.0_f64, 0.0_f64);
    let mut terms = 0.0_f64;
    let mut part = |hx: &[Double], sizes: &[f64], g: faer::MatRef<'_, f64>| {
        for (i, (hx, size)) in hx.iter().zip(sizes).enumerate() {
            let r = (*hx + g[(i, 0)].into()).value();
            let ratio = if r == 0.0 {
                0.0
            } else {
                r.abs() / (size + g[(i, 0)].abs())
            };
            componentwise = if ratio.is_nan() {
                ratio
            } else {
                componentwise.max(ratio)
            };
            residual = residual.hypot(r);
            terms = terms.hypot(size + g[(i, 0)].abs());
            gradient = gradient.hypot(g[(i, 0)]);
        }
    };
    part(&row, &sizes.row, g.row);
    part(&border, &sizes.border, g.border);
    Measured {
        componentwise,
        relative_residual: if residual == 0.0 {
            0.0
        } else {
            residual / gradient
        },
        terms: if terms == 0.0 { 0.0 } else { terms / gradient },
    }
}

/// $`g'\delta`$ and $`\delta' H \delta`$ in double-double, rounded, with the sums of absolute terms.
pub fn quadratic(case: &DenseCase, g: &ArrowVector, step: &ArrowVector) -> [(f64, f64); 2] {
    let ((row, border), sizes) = product(case, Ridge::ZERO, step);
    let (mut linear, mut curvature) = (Double::ZERO, Double::ZERO);
    let (mut linear_abs, mut curvature_abs) = (0.0, 0.0);
    let hx = row.iter().chain(&border);
    let hx_abs = sizes.row.iter().chain(&sizes.border);
    let x = step.row.iter().chain(&step.border);
    let g = g.row.iter().chain(&g.border);
    for (((hx, size), x), g) in hx.zip(hx_abs).zip(x).zip(g) {
        linear += Double::product(*g, *x);
        curvature += *hx * (*x).into();
        linear_abs += (g * x).abs();
        curvature_abs += size * x.abs();
    }
    [
        (linear.value(), linear_abs),
        (curvature.value(), curvature_abs),
    ]
}

/// The whole operator with ridge, full and symmetric: rows first, then the border.
pub fn matrix(case: &DenseCase, ridge: Ridge) -> Mat<f64> {
    let (rows, n) = (case.shape.rows(), case.shape.row_unknowns());
    let k = case.shape.border();
    Mat::from_fn(n + k, n + k, |r, c| {
        let (r, c) = (r.max(c), r.min(c));
        let diagonal = |value: f64| if r == c { value } else { 0.0 };
        if c >= n {
            return case.border_hessian[(r - n) * k + c - n] + diagonal(ridge.border);
        }
        if r >= n {
            return case.b(c)[r - n];
        }
        let ((i, a), (j, b)) = (rows.locate(r), rows.locate(c));
        if i == j {
            case.d(i, a, b) + diagonal(ridge.row)
        } else {
            0.0
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate;
    use crate::random::Random;
    use crate::tolerance::Tolerance;
    use faer::linalg::solvers::{DenseSolveCore, PartialPivLu, Solve};

    #[test]
    fn the_oracle_agrees_with_faer_on_the_whole_matrix() {
        let mut random = Random::new(3);
        let ridge = Ridge::new(0.01, 0.02);
        let case = generate::dense(&[2, 0, 3, 1, 17], 21, 1e-3, &mut random).with_upper(f64::NAN);
        let g = generate::gradient(23, 21, &mut random);
        let (oracle, h) = (Oracle::new(&case, ridge).unwrap(), matrix(&case, ridge));
        let lu = PartialPivLu::new(h.as_ref());
        let x = lu.solve(Mat::from_fn(44, 1, |i, _| {
            if i < 23 { -g.row[i] } else { -g.border[i - 23] }
        }));
        let faer = ArrowVector {
            row: (0..23).map(|i| x[(i, 0)]).collect(),
            border: (23..44).map(|i| x[(i, 0)]).collect(),
        };
        let one = |a: &Mat<f64>| {
            (0..44)
                .map(|j| (0..44).map(|i| a[(i, j)].abs()).sum())
                .fold(0.0_f64, f64::max)
        };
        let kappa = one(&h) * one(&lu.inverse());
        assert!((oracle.kappa() / kappa - 1.0).abs() < 1e-9, "{kappa:e}");
        let step = oracle.solve(&g);
        Tolerance::new(44, kappa).assert_step("faer against the oracle", &faer, &step);
        let measured = measure(&case, ridge, g.as_gradient(), &step);
        assert!(measured.componentwise < 2.0 * f64::EPSILON, "{measured:?}");
        let log: f64 = (0..44).map(|i| lu.U()[(i, i)].abs().ln()).sum();
        let want = oracle.log_determinant();
        assert!((log - want.value).abs() < 1e-12 * want.absolute);
    }
}
