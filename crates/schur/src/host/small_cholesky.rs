//! Cholesky factors of small blocks, by plain loops: factor, solve, find the pivot that failed.
//!
//! ```text
//!   A = L L', row-major, d x d, lower triangle read
//!
//!   l_ab = (a_ab - sum_(c<b) l_ac l_bc) / l_bb        row by row, so that a sum runs along two rows
//!   l_aa = sqrt(a_aa + rho - sum_(c<a) l_ac^2)
//! ```
//!
//! Blocks of rows have 1 to 16 unknowns: a library's call costs more than the factor. The large ones are in
//! [`crate::host::cholesky`].
//!
//! Two loops stand beside [`factor`] and are not it. [`failed_pivot`] goes column by column over a block that
//! lies by columns, and subtracts one product at a time; in the order of [`factor`] the value that a
//! failure reports would round differently. The solves for interleaved vectors ([`solve_lower_many`],
//! [`solve_upper_many`]) run over adjacent vectors inside, where those for one vector run over its sums.

use crate::host::cholesky::FailedPivot;

/// Factors a row-major block of order `d` in place with `rho` on its diagonal. `go_on` is shown the place
/// and value of every pivot before its root is taken, and says whether to; where it does not, the rows
/// from that pivot's on are left. The strict upper triangle is cleared.
#[inline(always)]
pub(crate) fn factor(l: &mut [f64], d: usize, rho: f64, mut go_on: impl FnMut(usize, f64) -> bool) {
    for a in 0..d {
        for b in 0..a {
            let (above, line) = l.split_at_mut(a * d);
            let sum: f64 = line[..b]
                .iter()
                .zip(&above[b * d..])
                .map(|(x, y)| x * y)
                .sum();
            line[b] = (line[b] - sum) / above[b * d + b];
        }
        let line = &mut l[a * d..(a + 1) * d];
        let sum: f64 = line[..a].iter().map(|x| x * x).sum();
        let value = line[a] + rho - sum;
        if !go_on(a, value) {
            return;
        }
        line[a] = value.sqrt();
        line[a + 1..].fill(0.0);
    }
}

/// Whether a pivot is one: its root is finite and not zero.
#[inline(always)]
pub(crate) fn is_pivot(value: f64) -> bool {
    value > 0.0 && value.is_finite()
}

/// $`X \leftarrow L^{-1} X`$ for `m` interleaved vectors.
pub(crate) fn solve_lower_many(l: &[f64], x: &mut [f64], m: usize) {
    let d = x.len() / m;
    for a in 0..d {
        let (above, x) = x.split_at_mut(a * m);
        for (b, above) in above.chunks_exact(m).enumerate() {
            let weight = l[a * d + b];
            let pairs = x.iter_mut().zip(above);
            pairs.for_each(|(x, above)| *x -= weight * above);
        }
        x[..m].iter_mut().for_each(|x| *x /= l[a * d + a]);
    }
}

/// $`X \leftarrow L^{-T} X`$ for `m` interleaved vectors.
pub(crate) fn solve_upper_many(l: &[f64], x: &mut [f64], m: usize) {
    let d = x.len() / m;
    for a in (0..d).rev() {
        let (x, below) = x[a * m..].split_at_mut(m);
        for (b, below) in below.chunks_exact(m).enumerate() {
            let weight = l[(a + 1 + b) * d + a];
            let pairs = x.iter_mut().zip(below);
            pairs.for_each(|(x, below)| *x -= weight * below);
        }
        x.iter_mut().for_each(|x| *x /= l[a * d + a]);
    }
}

/// $`x \leftarrow L^{-1} x`$ for one vector.
#[inline]
pub(crate) fn solve_lower(l: &[f64], x: &mut [f64]) {
    #[inline(always)]
    fn go(l: &[f64], x: &mut [f64], d: usize) {
        let (l, x) = (&l[..d * d], &mut x[..d]);
        for a in 0..d {
            let sum: f64 = (0..a).map(|b| l[a * d + b] * x[b]).sum();
            x[a] = (x[a] - sum) / l[a * d + a];
        }
    }
    // The loops of the usual orders are unrolled; the bits are those of any order.
    match x.len() {
        1 => go(l, x, 1),
        2 => go(l, x, 2),
        3 => go(l, x, 3),
        d => go(l, x, d),
    }
}

/// $`x \leftarrow L^{-T} x`$ for one vector.
#[inline]
pub(crate) fn solve_upper(l: &[f64], x: &mut [f64]) {
    #[inline(always)]
    fn go(l: &[f64], x: &mut [f64], d: usize) {
        let (l, x) = (&l[..d * d], &mut x[..d]);
        for a in (0..d).rev() {
            let sum: f64 = (a + 1..d).map(|b| l[b * d + a] * x[b]).sum();
            x[a] = (x[a] - sum) / l[a * d + a];
        }
    }
    // The loops of the usual orders are unrolled; the bits are those of any order.
    match x.len() {
        1 => go(l, x, 1),
        2 => go(l, x, 2),
        3 => go(l, x, 3),
        d => go(l, x, d),
    }
}

/// Factors a column-major copy of a block plainly, to find its first pivot that is not positive.
pub(crate) fn failed_pivot(a: &mut [f64], order: usize) -> FailedPivot {
    let mut least = FailedPivot {
        index: 0,
        value: f64::INFINITY,
    };
    for j in 0..order {
        let pivot = a[j * order + j];
        if !is_pivot(pivot) {
            return FailedPivot {
                index: j,
                value: pivot,
            };
        }
        if pivot < least.value {
            least = FailedPivot {
                index: j,
                value: pivot,
            };
        }
        let root = pivot.sqrt();
        for i in j..order {
            a[j * order + i] /= root;
        }
        for c in j + 1..order {
            let weight = a[j * order + c];
            for i in c..order {
                a[c * order + i] -= weight * a[j * order + i];
            }
        }
    }
    // The two orders of summation differ in a rounding error: the smallest pivot is the culprit,
    // and what the failed one was is zero to that accuracy.
    FailedPivot {
        value: 0.0,
        ..least
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_rows_and_by_columns_the_same_pivot_fails_and_has_the_same_value() {
        // L = [2; 1 3; -4 5 .], whose last pivot is -6; every sum is exact.
        let (full, d) = ([4.0, 2.0, -8.0, 2.0, 10.0, 11.0, -8.0, 11.0, 41.0 - 6.0], 3);
        let mut found = None;
        let mut l = full;
        factor(&mut l, d, 0.0, |a, value| {
            let failed = !is_pivot(value);
            found = failed.then_some((a, value));
            !failed
        });
        assert_eq!(found, Some((2, -6.0)));
        assert_eq!(l[..6], [2.0, 0.0, 0.0, 1.0, 3.0, 0.0]);
        let failed = failed_pivot(&mut full.clone(), d);
        assert_eq!((failed.index, failed.value), (2, -6.0));
        for value in [0.0, -0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(!is_pivot(value), "{value}");
        }
    }

    #[test]
    fn solves_undo_products_with_the_factor_for_one_vector_and_for_many() {
        for d in 1..=5_usize {
            let entry = |a: usize, b: usize| {
                (1 + (a * 3 + b * 5) % 7) as f64 + if a == b { 4.0 } else { 0.0 }
            };
            let l: Vec<f64> = (0..d * d)
                .map(|e| {
                    if e % d <= e / d {
                        entry(e / d, e % d)
                    } else {
                        0.0
                    }
                })
                .collect();
            let x: Vec<f64> = (0..d).map(|a| a as f64 - 1.5).collect();
            let lower: Vec<f64> = (0..d)
                .map(|a| (0..d).map(|b| l[a * d + b] * x[b]).sum())
                .collect();
            let upper: Vec<f64> = (0..d)
                .map(|a| (0..d).map(|b| l[b * d + a] * x[b]).sum())
                .collect();
            let near = |found: &[f64]| {
                let errors = found.iter().zip(&x).map(|(f, x)| (f - x).abs());
                assert!(errors.fold(0.0, f64::max) < 1e-13, "{d}: {found:?}");
            };
            let twice = |x: &[f64]| -> Vec<f64> { x.iter().flat_map(|&x| [x, 2.0 * x]).collect() };
            let halves = |x: &[f64]| -> Vec<f64> { x.chunks(2).map(|x| x[1] / 2.0).collect() };
            let (mut one, mut many) = (lower.clone(), twice(&lower));
            solve_lower(&l, &mut one);
            solve_lower_many(&l, &mut many, 2);
            near(&one);
            near(&halves(&many));
            let (mut one, mut many) = (upper.clone(), twice(&upper));
            solve_upper(&l, &mut one);
            solve_upper_many(&l, &mut many, 2);
            near(&one);
            near(&halves(&many));
        }
    }
}
