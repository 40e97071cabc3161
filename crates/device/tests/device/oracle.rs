//! The same products on the host, by their definition, with the bound that rounding allows.

use broadhead_testkit::device::Outcome;

/// A column-major matrix on the host.
#[derive(Clone, Debug)]
pub(crate) struct Dense {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) values: Vec<f64>,
}

impl Dense {
    pub(crate) fn from_fn(rows: usize, columns: usize, f: impl Fn(usize, usize) -> f64) -> Self {
        let entries = (0..columns).flat_map(|j| (0..rows).map(move |i| (i, j)));
        Self {
            rows,
            columns,
            values: entries.map(|(i, j)| f(i, j)).collect(),
        }
    }

    /// Entries between -0.5 and 0.5, told apart by `seed`.
    pub(crate) fn scattered(rows: usize, columns: usize, seed: u64) -> Self {
        Self::from_fn(rows, columns, |i, j| {
            let mut x =
                (i as u64 + 1) * 0x9E37_79B9 + (j as u64 + 1) * 0x85EB_CA6B + seed * 0xC2B2_AE35;
            x = (x ^ (x >> 15)).wrapping_mul(0x2C1B_3C6D_2C1B_3C6D);
            x = (x ^ (x >> 29)).wrapping_mul(0x297A_2D39_297A_2D39);
            (x >> 11) as f64 / (1u64 << 53) as f64 - 0.5
        })
    }

    /// Symmetric, with eigenvalues of at least about `order`.
    pub(crate) fn positive(order: usize, seed: u64) -> Self {
        let a = Self::scattered(order, order, seed);
        Self::from_fn(order, order, |i, j| {
            0.5 * (a.at(i, j) + a.at(j, i)) + if i == j { order as f64 } else { 0.0 }
        })
    }

    pub(crate) fn at(&self, i: usize, j: usize) -> f64 {
        self.values[j * self.rows + i]
    }

    pub(crate) fn transposed(&self) -> Self {
        Self::from_fn(self.columns, self.rows, |i, j| self.at(j, i))
    }

    /// The lower triangle; zeros above.
    pub(crate) fn lower(&self) -> Self {
        Self::from_fn(self.rows, self.columns, |i, j| {
            if i >= j { self.at(i, j) } else { 0.0 }
        })
    }

    /// The product, and the same of absolute values.
    pub(crate) fn times(&self, other: &Self) -> (Self, Self) {
        let sum = |i: usize, j: usize, f: fn(f64) -> f64| -> f64 {
            (0..self.columns)
                .map(|l| f(self.at(i, l)) * f(other.at(l, j)))
                .sum()
        };
        (
            Self::from_fn(self.rows, other.columns, |i, j| sum(i, j, |x| x)),
            Self::from_fn(self.rows, other.columns, |i, j| sum(i, j, f64::abs)),
        )
    }

    pub(crate) fn map(&self, f: impl Fn(usize, usize, f64) -> f64) -> Self {
        Self::from_fn(self.rows, self.columns, |i, j| f(i, j, self.at(i, j)))
    }
}

/// Every entry within `terms` roundings of the sum of absolute values that made it: the
/// componentwise bound `gamma_terms (|A| |B|)` (Higham, Accuracy and Stability, 3.5), doubled for
/// the host's own rounding.
pub(crate) fn within(
    what: &str,
    found: &Dense,
    wanted: &Dense,
    absolute: &Dense,
    terms: usize,
) -> Outcome {
    for j in 0..wanted.columns {
        for i in 0..wanted.rows {
            let bound = 2.0 * (terms as f64 + 2.0) * f64::EPSILON * absolute.at(i, j);
            let (got, want) = (found.at(i, j), wanted.at(i, j));
            let near = (got - want).abs() <= bound;
            if !near {
                return Err(format!(
                    "{what} ({i}, {j}): got {got:e}, want {want:e}, bound {bound:e}"
                )
                .into());
            }
        }
    }
    Ok(())
}
