//! Inner loops over adjacent numbers, compiled for the processor they run on.
//!
//! Several vectors go through one loop: memory serves several streams at once faster than one, and
//! what the vectors share is loaded once. A sum runs in one register of lanes for each vector (a sum
//! alone in four), folded in a fixed order, so that a result depends on its operands, their length
//! and the processor's width alone: never on the number of threads.

use pulp::{Arch, Simd, WithSimd};

/// Sums that run beside each other where the compiler lays them out.
const LANES: usize = 8;

/// All bits but the sign's: what is left of a number by them is its absolute value.
const UNSIGNED: f64 = f64::from_bits(!(1 << 63));

// What follows is called where the vector instructions are allowed, and must become part of the caller:
// a closure would not, and would then run without them, a call and two trips through memory each.

/// Whole registers of the first `n` numbers of each vector, and what is left of each.
#[inline(always)]
fn split<S: Simd, const N: usize>(x: [&[f64]; N], n: usize) -> ([&[S::f64s]; N], [&[f64]; N]) {
    let (mut heads, mut tails): ([&[S::f64s]; N], _) = ([&[]; N], [&[][..]; N]);
    for l in 0..N {
        (heads[l], tails[l]) = S::as_simd_f64s(&x[l][..n]);
    }
    (heads, tails)
}

#[inline(always)]
fn splats<S: Simd, const N: usize>(simd: S, x: [f64; N]) -> [S::f64s; N] {
    let mut out = [simd.splat_f64s(0.0); N];
    for l in 0..N {
        out[l] = simd.splat_f64s(x[l]);
    }
    out
}

#[inline(always)]
fn absolute<S: Simd, const N: usize>(simd: S, mut x: [S::f64s; N]) -> [S::f64s; N] {
    for x in &mut x {
        *x = simd.and_f64s(simd.splat_f64s(UNSIGNED), *x);
    }
    x
}

/// $`y \leftarrow y + \alpha s`$ and the same of absolute values, a register of each.
#[inline(always)]
fn add_line<S: Simd>(simd: S, [alpha, size]: [S::f64s; 2], s: S::f64s, y: &mut [S::f64s; 2]) {
    y[0] = simd.mul_add_e_f64s(s, alpha, y[0]);
    y[1] = simd.mul_add_e_f64s(simd.and_f64s(simd.splat_f64s(UNSIGNED), s), size, y[1]);
}

/// $`\sigma \leftarrow \sigma + s x`$ and the same of absolute values, a register of each.
#[inline(always)]
fn dot_line<S: Simd>(simd: S, s: S::f64s, x: S::f64s, sum: &mut [S::f64s; 2]) {
    let [s_abs, x_abs] = absolute(simd, [s, x]);
    sum[0] = simd.mul_add_e_f64s(s, x, sum[0]);
    sum[1] = simd.mul_add_e_f64s(s_abs, x_abs, sum[1]);
}

/// The sum of each register's numbers.
#[inline(always)]
fn reduce<S: Simd, const N: usize>(simd: S, sums: [S::f64s; N]) -> [f64; N] {
    let mut out = [0.0; N];
    for l in 0..N {
        out[l] = simd.reduce_sum_f64s(sums[l]);
    }
    out
}

/// [`reduce`] of pairs.
#[inline(always)]
fn reduce_pairs<S: Simd, const N: usize>(simd: S, sums: [[S::f64s; 2]; N]) -> [[f64; 2]; N] {
    let mut out = [[0.0; 2]; N];
    for l in 0..N {
        out[l] = reduce(simd, sums[l]);
    }
    out
}

/// $`x_l' y`$ for `N` vectors at once.
#[inline]
pub(crate) fn dots<const N: usize>(arch: Arch, x: [&[f64]; N], y: &[f64]) -> [f64; N] {
    arch.dispatch(Dots { x, y })
}

struct Dots<'a, const N: usize> {
    x: [&'a [f64]; N],
    y: &'a [f64],
}

impl<const N: usize> WithSimd for Dots<'_, N> {
    type Output = [f64; N];

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> [f64; N] {
        let (y, y_tail) = S::as_simd_f64s(self.y);
        let (heads, tails) = split::<S, N>(self.x, self.y.len());
        let mut sums = [simd.splat_f64s(0.0); N];
        for (i, &y) in y.iter().enumerate() {
            for l in 0..N {
                sums[l] = simd.mul_add_e_f64s(heads[l][i], y, sums[l]);
            }
        }
        if !y_tail.is_empty() {
            let y = simd.partial_load_f64s(y_tail);
            for l in 0..N {
                let x = simd.partial_load_f64s(tails[l]);
                sums[l] = simd.mul_add_e_f64s(x, y, sums[l]);
            }
        }
        reduce(simd, sums)
    }
}

/// $`x' y`$.
#[inline]
pub(crate) fn dot(arch: Arch, x: &[f64], y: &[f64]) -> f64 {
    arch.dispatch(Dot { x, y })
}

struct Dot<'a> {
    x: &'a [f64],
    y: &'a [f64],
}

impl WithSimd for Dot<'_> {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f64 {
        let n = self.x.len().min(self.y.len());
        let (x, x_tail) = S::as_simd_f64s(&self.x[..n]);
        let (y, y_tail) = S::as_simd_f64s(&self.y[..n]);
        let ((x, x_rest), (y, y_rest)) = (x.as_chunks::<4>(), y.as_chunks::<4>());
        let mut sums = [simd.splat_f64s(0.0); 4];
        for (x, y) in x.iter().zip(y) {
            for l in 0..4 {
                sums[l] = simd.mul_add_e_f64s(x[l], y[l], sums[l]);
            }
        }
        for (l, (&x, &y)) in x_rest.iter().zip(y_rest).enumerate() {
            sums[l] = simd.mul_add_e_f64s(x, y, sums[l]);
        }
        if !x_tail.is_empty() {
            let (x, y) = (
                simd.partial_load_f64s(x_tail),
                simd.partial_load_f64s(y_tail),
            );
            sums[3] = simd.mul_add_e_f64s(x, y, sums[3]);
        }
        let [a, b, c, d] = sums;
        let sum = simd.add_f64s(simd.add_f64s(a, c), simd.add_f64s(b, d));
        simd.reduce_sum_f64s(sum)
    }
}

/// $`y \leftarrow y + \alpha x`$.
#[inline]
pub(crate) fn axpy(arch: Arch, alpha: f64, x: &[f64], y: &mut [f64]) {
    axpys(arch, [alpha], [x], y);
}

/// $`y \leftarrow y + \sum_l \alpha_l x_l`$ over `N` vectors, added in their order.
#[inline]
pub(crate) fn axpys<const N: usize>(arch: Arch, alpha: [f64; N], x: [&[f64]; N], y: &mut [f64]) {
    arch.dispatch(Axpys { alpha, x, y });
}

struct Axpys<'a, const N: usize> {
    alpha: [f64; N],
    x: [&'a [f64]; N],
    y: &'a mut [f64],
}

impl<const N: usize> WithSimd for Axpys<'_, N> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (heads, tails) = split::<S, N>(self.x, self.y.len());
        let (y, y_tail) = S::as_mut_simd_f64s(self.y);
        let alpha = splats(simd, self.alpha);
        for (i, y) in y.iter_mut().enumerate() {
            let mut sum = *y;
            for l in 0..N {
                sum = simd.mul_add_e_f64s(heads[l][i], alpha[l], sum);
            }
            *y = sum;
        }
        if !y_tail.is_empty() {
            let mut sum = simd.partial_load_f64s(y_tail);
            for l in 0..N {
                let x = simd.partial_load_f64s(tails[l]);
                sum = simd.mul_add_e_f64s(x, alpha[l], sum);
            }
            simd.partial_store_f64s(y_tail, sum);
        }
    }
}

/// `N` lines $`s_l`$ of a symmetric matrix, or of a matrix and its transpose, at once:
/// $`y \leftarrow y + \sum_l \alpha_l s_l`$, $`|y| \leftarrow |y| + \sum_l |\alpha_l| |s_l|`$, and
/// returns $`s_l' x`$ and $`|s_l|' |x|`$.
#[inline]
pub(crate) fn symv_lines<const N: usize>(
    arch: Arch,
    alpha: [f64; N],
    s: [&[f64]; N],
    x: &[f64],
    y: &mut [f64],
    y_abs: &mut [f64],
) -> [[f64; 2]; N] {
    arch.dispatch(SymvLines {
        alpha,
        s,
        x,
        y,
        y_abs,
    })
}

struct SymvLines<'a, const N: usize> {
    alpha: [f64; N],
    s: [&'a [f64]; N],
    x: &'a [f64],
    y: &'a mut [f64],
    y_abs: &'a mut [f64],
}

impl<const N: usize> WithSimd for SymvLines<'_, N> {
    type Output = [[f64; 2]; N];

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Self::Output {
        let n = self.x.len();
        let (x, x_tail) = S::as_simd_f64s(self.x);
        let (y, y_tail) = S::as_mut_simd_f64s(&mut self.y[..n]);
        let (y_abs, y_abs_tail) = S::as_mut_simd_f64s(&mut self.y_abs[..n]);
        let (heads, tails) = split::<S, N>(self.s, n);
        let alpha = splats(simd, self.alpha);
        let size = absolute(simd, alpha);
        let mut sums = [[simd.splat_f64s(0.0); 2]; N];
        for (i, ((&x, y), y_abs)) in x.iter().zip(y).zip(y_abs).enumerate() {
            let mut at = [*y, *y_abs];
            for l in 0..N {
                add_line(simd, [alpha[l], size[l]], heads[l][i], &mut at);
                dot_line(simd, heads[l][i], x, &mut sums[l]);
            }
            [*y, *y_abs] = at;
        }
        if !x_tail.is_empty() {
            let x = simd.partial_load_f64s(x_tail);
            let mut at = [
                simd.partial_load_f64s(y_tail),
                simd.partial_load_f64s(y_abs_tail),
            ];
            for l in 0..N {
                let s = simd.partial_load_f64s(tails[l]);
                add_line(simd, [alpha[l], size[l]], s, &mut at);
                dot_line(simd, s, x, &mut sums[l]);
            }
            simd.partial_store_f64s(y_tail, at[0]);
            simd.partial_store_f64s(y_abs_tail, at[1]);
        }
        reduce_pairs(simd, sums)
    }
}

/// The most lines of [`dots_abs`] and [`axpys_abs`].
pub(crate) const WIDTH: usize = 4;

/// $`s_l' x`$ and $`|s_l|' |x|`$ for at most [`WIDTH`] lines at once.
pub(crate) fn dots_abs(arch: Arch, s: &[&[f64]], x: &[f64], out: &mut [[f64; 2]]) {
    fn go<const N: usize>(arch: Arch, s: &[&[f64]], x: &[f64], out: &mut [[f64; 2]]) {
        let s = std::array::from_fn(|l| s[l]);
        out[..N].copy_from_slice(&arch.dispatch(DotsAbs::<N> { s, x }));
    }
    match s.len() {
        0 => {}
        1 => go::<1>(arch, s, x, out),
        2 => go::<2>(arch, s, x, out),
        3 => go::<3>(arch, s, x, out),
        _ => go::<WIDTH>(arch, s, x, out),
    }
}

struct DotsAbs<'a, const N: usize> {
    s: [&'a [f64]; N],
    x: &'a [f64],
}

impl<const N: usize> WithSimd for DotsAbs<'_, N> {
    type Output = [[f64; 2]; N];

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Self::Output {
        let (x, x_tail) = S::as_simd_f64s(self.x);
        let (heads, tails) = split::<S, N>(self.s, self.x.len());
        let mut sums = [[simd.splat_f64s(0.0); 2]; N];
        for (i, &x) in x.iter().enumerate() {
            for l in 0..N {
                dot_line(simd, heads[l][i], x, &mut sums[l]);
            }
        }
        if !x_tail.is_empty() {
            let x = simd.partial_load_f64s(x_tail);
            for l in 0..N {
                dot_line(simd, simd.partial_load_f64s(tails[l]), x, &mut sums[l]);
            }
        }
        reduce_pairs(simd, sums)
    }
}

/// $`y \leftarrow y + \sum_l \alpha_l s_l`$ and $`|y| \leftarrow |y| + \sum_l |\alpha_l| |s_l|`$ for
/// at most [`WIDTH`] lines at once.
pub(crate) fn axpys_abs(arch: Arch, alpha: &[f64], s: &[&[f64]], y: &mut [f64], y_abs: &mut [f64]) {
    fn go<const N: usize>(
        arch: Arch,
        alpha: &[f64],
        s: &[&[f64]],
        y: &mut [f64],
        y_abs: &mut [f64],
    ) {
        arch.dispatch(AxpysAbs::<N> {
            alpha: std::array::from_fn(|l| alpha[l]),
            s: std::array::from_fn(|l| s[l]),
            y,
            y_abs,
        });
    }
    match s.len() {
        0 => {}
        1 => go::<1>(arch, alpha, s, y, y_abs),
        2 => go::<2>(arch, alpha, s, y, y_abs),
        3 => go::<3>(arch, alpha, s, y, y_abs),
        _ => go::<WIDTH>(arch, alpha, s, y, y_abs),
    }
}

struct AxpysAbs<'a, const N: usize> {
    alpha: [f64; N],
    s: [&'a [f64]; N],
    y: &'a mut [f64],
    y_abs: &'a mut [f64],
}

impl<const N: usize> WithSimd for AxpysAbs<'_, N> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let n = self.y.len();
        let (heads, tails) = split::<S, N>(self.s, n);
        let (y, y_tail) = S::as_mut_simd_f64s(self.y);
        let (y_abs, y_abs_tail) = S::as_mut_simd_f64s(&mut self.y_abs[..n]);
        let alpha = splats(simd, self.alpha);
        let size = absolute(simd, alpha);
        for (i, (y, y_abs)) in y.iter_mut().zip(y_abs).enumerate() {
            let mut at = [*y, *y_abs];
            for l in 0..N {
                add_line(simd, [alpha[l], size[l]], heads[l][i], &mut at);
            }
            [*y, *y_abs] = at;
        }
        if !y_tail.is_empty() {
            let mut at = [
                simd.partial_load_f64s(y_tail),
                simd.partial_load_f64s(y_abs_tail),
            ];
            for l in 0..N {
                let s = simd.partial_load_f64s(tails[l]);
                add_line(simd, [alpha[l], size[l]], s, &mut at);
            }
            simd.partial_store_f64s(y_tail, at[0]);
            simd.partial_store_f64s(y_abs_tail, at[1]);
        }
    }
}

/// [`axpys_abs`] of the `N` lines `s` and [`dots_abs`] of as many others, those of `next`, at once: while
/// the latter come from memory, the sums of the former, which are in cache, run. For processors of
/// 32 registers: four lines of either fit those, of eight some factors come from the nearest cache; with
/// sixteen not even the sums of four fit beside the rest.
pub(crate) fn axpys_and_dots_abs<const N: usize>(
    arch: Arch,
    alpha: &[f64; N],
    s: [&[f64]; N],
    (y, y_abs): (&mut [f64], &mut [f64]),
    next: [&[f64]; N],
    x: &[f64],
) -> [[f64; 2]; N] {
    arch.dispatch(AxpysAndDotsAbs {
        alpha: *alpha,
        s,
        y,
        y_abs,
        next,
        x,
    })
}

struct AxpysAndDotsAbs<'a, const N: usize> {
    alpha: [f64; N],
    s: [&'a [f64]; N],
    y: &'a mut [f64],
    y_abs: &'a mut [f64],
    next: [&'a [f64]; N],
    x: &'a [f64],
}

impl<const N: usize> WithSimd for AxpysAndDotsAbs<'_, N> {
    type Output = [[f64; 2]; N];

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Self::Output {
        let Self {
            alpha,
            s,
            y,
            y_abs,
            next,
            x,
        } = self;
        let n = x.len();
        let (x, x_tail) = S::as_simd_f64s(x);
        let (y, y_tail) = S::as_mut_simd_f64s(&mut y[..n]);
        let (y_abs, y_abs_tail) = S::as_mut_simd_f64s(&mut y_abs[..n]);
        let (heads, tails) = split::<S, N>(s, n);
        let (next_heads, next_tails) = split::<S, N>(next, n);
        let alpha = splats(simd, alpha);
        let size = absolute(simd, alpha);
        let mut sums = [[simd.splat_f64s(0.0); 2]; N];
        for (i, &x) in x.iter().enumerate() {
            let mut at = [y[i], y_abs[i]];
            for l in 0..N {
                add_line(simd, [alpha[l], size[l]], heads[l][i], &mut at);
                dot_line(simd, next_heads[l][i], x, &mut sums[l]);
            }
            [y[i], y_abs[i]] = at;
        }
        if !x_tail.is_empty() {
            let x = simd.partial_load_f64s(x_tail);
            let mut at = [
                simd.partial_load_f64s(y_tail),
                simd.partial_load_f64s(y_abs_tail),
            ];
            for l in 0..N {
                let s = simd.partial_load_f64s(tails[l]);
                add_line(simd, [alpha[l], size[l]], s, &mut at);
                dot_line(simd, simd.partial_load_f64s(next_tails[l]), x, &mut sums[l]);
            }
            simd.partial_store_f64s(y_tail, at[0]);
            simd.partial_store_f64s(y_abs_tail, at[1]);
        }
        reduce_pairs(simd, sums)
    }
}

/// The Euclidean norm without overflow or underflow: infinite where an entry is, else NaN where one is.
pub(crate) fn norm(x: &[f64]) -> f64 {
    let (chunks, rest) = x.as_chunks::<LANES>();
    let mut lanes = [0.0_f64; LANES];
    for chunk in chunks {
        for l in 0..LANES {
            lanes[l] = lanes[l].max(chunk[l].abs());
        }
    }
    let largest = lanes
        .into_iter()
        .chain(rest.iter().map(|x| x.abs()))
        .fold(0.0_f64, f64::max);
    if largest == 0.0 {
        // The largest passes over NaN; a sum does not.
        return x.iter().map(|x| x.abs()).sum();
    }
    if !largest.is_finite() {
        return largest;
    }
    // An exact power of two, so that the norm of a scaled vector is the scaled norm; its inverse is
    // one too.
    let scale = power_of_two_near(largest);
    let inverse = 1.0 / scale;
    let mut lanes = [0.0; LANES];
    for chunk in chunks {
        for l in 0..LANES {
            let x = chunk[l] * inverse;
            lanes[l] += x * x;
        }
    }
    let tail: f64 = rest.iter().map(|x| (x * inverse) * (x * inverse)).sum();
    (lanes.into_iter().sum::<f64>() + tail).sqrt() * scale
}

/// Interleaved vectors whose norms are taken together.
pub(crate) const NORM_LANES: usize = 8;

/// [`norm`] of each of `stride` interleaved vectors, at most `G` times [`NORM_LANES`] of them.
#[inline(always)]
pub(crate) fn norms<const G: usize>(x: &[f64], stride: usize) -> [[f64; NORM_LANES]; G] {
    let mut norms = [[0.0; NORM_LANES]; G];
    for (g, norms) in norms
        .iter_mut()
        .enumerate()
        .take(stride.div_ceil(NORM_LANES))
    {
        let lanes = g * NORM_LANES..stride.min((g + 1) * NORM_LANES);
        let mut largest = [0.0_f64; NORM_LANES];
        for x in x.chunks_exact(stride) {
            for (largest, x) in largest.iter_mut().zip(&x[lanes.clone()]) {
                *largest = largest.max(x.abs());
            }
        }
        let scale = largest.map(|l| {
            if l > 0.0 && l.is_finite() {
                power_of_two_near(l)
            } else {
                1.0
            }
        });
        let inverse = scale.map(|scale| 1.0 / scale);
        for x in x.chunks_exact(stride) {
            for ((sum, x), inverse) in norms.iter_mut().zip(&x[lanes.clone()]).zip(inverse) {
                *sum += (x * inverse) * (x * inverse);
            }
        }
        for l in 0..NORM_LANES {
            norms[l] = if largest[l].is_finite() {
                norms[l].sqrt() * scale[l]
            } else {
                largest[l]
            };
        }
    }
    norms
}

/// The largest absolute value, zero of none; NaN where one is.
pub(crate) fn largest(x: impl IntoIterator<Item = f64>) -> f64 {
    x.into_iter()
        .fold(0.0, |largest, x| larger(largest, x.abs()))
}

/// The larger of two; NaN where either is, so that no NaN loses against a number.
pub(crate) fn larger(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() {
        f64::NAN
    } else {
        a.max(b)
    }
}

/// The power of two in `(x / 2, x]`, kept within the normal numbers.
pub(crate) fn power_of_two_near(x: f64) -> f64 {
    let exponent = (x.to_bits() >> 52) & 0x7ff;
    f64::from_bits(exponent.clamp(2, 2045) << 52)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_match_plain_ones_at_every_tail() {
        let arch = Arch::new();
        for n in 0..40 {
            let x: Vec<f64> = (0..n).map(|i| (i as f64) - 3.5).collect();
            let y: Vec<f64> = (0..n).map(|i| 1.0 / (1.0 + i as f64)).collect();
            let plain: f64 = x.iter().zip(&y).map(|(x, y)| x * y).sum();
            assert!((dot(arch, &x, &y) - plain).abs() <= 1e-13 * (1.0 + plain.abs()));
            let (mut z, mut z_abs) = (y.clone(), y.clone());
            let both = [&x[..], &y];
            for (l, sum) in dots(arch, both, &y).into_iter().enumerate() {
                let plain: f64 = both[l].iter().zip(&y).map(|(x, y)| x * y).sum();
                assert!((sum - plain).abs() <= 1e-13 * (1.0 + plain.abs()));
            }
            for width in 1..=WIDTH {
                let s: Vec<&[f64]> = (0..width).map(|l| both[l % 2]).collect();
                let mut sums = [[0.0; 2]; WIDTH];
                dots_abs(arch, &s, &y, &mut sums);
                for (s, [sum, sum_abs]) in s.iter().zip(sums) {
                    let terms = s.iter().zip(&y).map(|(s, y)| s * y);
                    let (plain, size): (f64, f64) =
                        terms.fold((0.0, 0.0), |(a, b), t| (a + t, b + t.abs()));
                    assert!((sum - plain).abs() <= 1e-14 * size);
                    assert!((sum_abs - size).abs() <= 1e-14 * size);
                }
                let alpha: Vec<f64> = (0..width).map(|l| 2.0 - l as f64).collect();
                let (mut z, mut z_abs) = (y.clone(), y.clone());
                axpys_abs(arch, &alpha, &s, &mut z, &mut z_abs);
                for i in 0..n {
                    let terms = s.iter().zip(&alpha).map(|(s, alpha)| alpha * s[i]);
                    let (plain, size) = terms.fold((y[i], y[i]), |(a, b), t| (a + t, b + t.abs()));
                    assert!((z[i] - plain).abs() <= 1e-14 * size);
                    assert!((z_abs[i] - size).abs() <= 1e-14 * size);
                }
            }
            let both: [&[f64]; WIDTH] = std::array::from_fn(|l| both[l % 2]);
            let alpha = std::array::from_fn(|l| 2.0 - l as f64);
            let (mut at, mut at_abs) = (y.clone(), y.clone());
            axpys_abs(arch, &alpha, &both, &mut at, &mut at_abs);
            let mut sums = [[0.0; 2]; WIDTH];
            dots_abs(arch, &both, &y, &mut sums);
            // The same to the bit, whichever way it goes.
            let (mut on, mut on_abs) = (y.clone(), y.clone());
            let onto = (&mut on[..], &mut on_abs[..]);
            let found = axpys_and_dots_abs(arch, &alpha, both, onto, both, &y);
            assert_eq!((found, on, on_abs), (sums, at.clone(), at_abs.clone()));
            axpys_abs(arch, &alpha, &both, &mut at, &mut at_abs);
            let twice = |l: usize| l % WIDTH;
            let (mut on, mut on_abs) = (y.clone(), y.clone());
            let onto = (&mut on[..], &mut on_abs[..]);
            let s: [&[f64]; 2 * WIDTH] = std::array::from_fn(|l| both[twice(l)]);
            let alpha = std::array::from_fn(|l| alpha[twice(l)]);
            let found = axpys_and_dots_abs(arch, &alpha, s, onto, s, &y);
            assert_eq!(found, std::array::from_fn(|l| sums[twice(l)]));
            assert_eq!((on, on_abs), (at, at_abs));
            let [[sum, sum_abs]] = symv_lines(arch, [-2.0], [&x], &y, &mut z, &mut z_abs);
            assert!(sum.abs() <= sum_abs * (1.0 + 1e-14));
            for i in 0..n {
                // Doubling is exact: fused or not, one rounding.
                assert_eq!(z[i], y[i] - 2.0 * x[i]);
                assert_eq!(z_abs[i], y[i] + 2.0 * x[i].abs());
            }
        }
    }

    #[test]
    fn norms_survive_every_scale() {
        for scale in [1e-300, 1e-160, 1.0, 1e160, 1e300] {
            let norm = norm(&[3.0 * scale, 4.0 * scale]);
            assert!((norm / scale - 5.0).abs() < 1e-14, "{norm:e} at {scale:e}");
        }
        assert_eq!(norm(&[]), 0.0);
        assert_eq!(norm(&[0.0]), 0.0);
    }

    #[test]
    fn what_is_not_finite_survives_every_norm_and_maximum() {
        for n in [1, 2, 7, 8, 9, 17] {
            for at in 0..n {
                for odd in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
                    for rest in [0.0, 1.0, 1e300] {
                        let mut x = vec![rest; n];
                        x[at] = odd;
                        let sizes = [norm(&x), largest(x.iter().copied())];
                        for size in sizes {
                            assert_eq!(size.is_nan(), odd.is_nan(), "{odd} at {at} of {n}");
                            assert!(!size.is_finite(), "{odd} at {at} of {n}");
                        }
                        // As one of three interleaved vectors, the others 3 and 4 long.
                        let lanes: Vec<f64> = (0..n)
                            .flat_map(|i| {
                                if i == 0 {
                                    [3.0, x[i], 4.0]
                                } else {
                                    [0.0, x[i], 0.0]
                                }
                            })
                            .collect();
                        let [[first, own, last, ..]] = norms::<1>(&lanes, 3);
                        assert_eq!((first, last), (3.0, 4.0));
                        assert_eq!(own.is_nan(), odd.is_nan(), "{odd} at {at} of {n}");
                        assert!(!own.is_finite(), "{odd} at {at} of {n}");
                    }
                }
            }
        }
        for (a, b) in [(f64::NAN, 1.0), (1.0, f64::NAN), (f64::NAN, f64::INFINITY)] {
            assert!(larger(a, b).is_nan());
        }
        assert_eq!(larger(1.0, f64::INFINITY), f64::INFINITY);
        assert_eq!((largest([]), largest([-3.0, 2.0])), (0.0, 3.0));
    }
}
