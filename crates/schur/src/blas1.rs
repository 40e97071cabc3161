//! Inner loops over adjacent numbers, compiled for the processor they run on.
//!
//! Sums run in eight fixed lanes folded in a fixed order, so that a result depends on its operands
//! and their length alone: never on the number of threads.

use pulp::Arch;

const LANES: usize = 8;

#[inline(always)]
fn fold(lanes: [f64; LANES]) -> f64 {
    let [a, b, c, d, e, f, g, h] = lanes;
    ((a + e) + (c + g)) + ((b + f) + (d + h))
}

#[inline(always)]
fn dot_body(x: &[f64], y: &[f64]) -> f64 {
    let (mut first, mut second) = ([0.0; LANES], [0.0; LANES]);
    let (xs, ys) = (x.chunks_exact(2 * LANES), y.chunks_exact(2 * LANES));
    let (xr, yr) = (xs.remainder(), ys.remainder());
    for (x, y) in xs.zip(ys) {
        for l in 0..LANES {
            first[l] += x[l] * y[l];
            second[l] += x[LANES + l] * y[LANES + l];
        }
    }
    for l in 0..LANES {
        first[l] += second[l];
    }
    let tail: f64 = xr.iter().zip(yr).map(|(x, y)| x * y).sum();
    fold(first) + tail
}

/// $`x' y`$.
#[inline]
pub(crate) fn dot(arch: Arch, x: &[f64], y: &[f64]) -> f64 {
    arch.dispatch(
        #[inline(always)]
        || dot_body(x, y),
    )
}

/// $`y \leftarrow y + \alpha x`$.
#[inline]
pub(crate) fn axpy(arch: Arch, alpha: f64, x: &[f64], y: &mut [f64]) {
    arch.dispatch(
        #[inline(always)]
        || {
            for (y, x) in y.iter_mut().zip(x) {
                *y += alpha * x;
            }
        },
    );
}

/// $`y \leftarrow y + \sum_j \alpha_j x_j`$ over four vectors.
#[inline]
pub(crate) fn axpy4(arch: Arch, alpha: [f64; 4], x: [&[f64]; 4], y: &mut [f64]) {
    arch.dispatch(
        #[inline(always)]
        || {
            let n = y.len();
            let [a, b, c, d] = x.map(|x| &x[..n]);
            for i in 0..n {
                y[i] += (alpha[0] * a[i] + alpha[1] * b[i]) + (alpha[2] * c[i] + alpha[3] * d[i]);
            }
        },
    );
}

/// A line of a symmetric matrix at once: $`y \leftarrow y + \alpha s`$, $`|y| \leftarrow |y| +
/// |\alpha| |s|`$, and returns $`(s' x, |s|' |x|)`$.
#[inline]
pub(crate) fn line(
    arch: Arch,
    alpha: f64,
    s: &[f64],
    x: &[f64],
    y: &mut [f64],
    y_abs: &mut [f64],
) -> (f64, f64) {
    arch.dispatch(
        #[inline(always)]
        || {
            let n = s.len();
            let (x, y, y_abs) = (&x[..n], &mut y[..n], &mut y_abs[..n]);
            let (mut sum, mut sum_abs) = ([0.0; LANES], [0.0; LANES]);
            let weight = alpha.abs();
            // Chunks of a fixed length, zipped: nothing is left to check inside.
            let ((s, s_tail), (x, x_tail)) = (s.as_chunks::<LANES>(), x.as_chunks::<LANES>());
            let (y, y_tail) = y.as_chunks_mut::<LANES>();
            let (y_abs, y_abs_tail) = y_abs.as_chunks_mut::<LANES>();
            for (((s, x), y), y_abs) in s.iter().zip(x).zip(y).zip(y_abs) {
                for l in 0..LANES {
                    let size = s[l].abs();
                    y[l] += alpha * s[l];
                    y_abs[l] += weight * size;
                    sum[l] += s[l] * x[l];
                    sum_abs[l] += size * x[l].abs();
                }
            }
            let (mut tail, mut tail_abs) = (0.0, 0.0);
            for (((s, x), y), y_abs) in s_tail.iter().zip(x_tail).zip(y_tail).zip(y_abs_tail) {
                let size = s.abs();
                *y += alpha * s;
                *y_abs += weight * size;
                tail += s * x;
                tail_abs += size * x.abs();
            }
            (fold(sum) + tail, fold(sum_abs) + tail_abs)
        },
    )
}

/// The Euclidean norm without overflow or underflow.
pub(crate) fn norm(x: &[f64]) -> f64 {
    let largest = x.iter().fold(0.0_f64, |m, x| m.max(x.abs()));
    if largest == 0.0 || !largest.is_finite() {
        return largest;
    }
    // An exact power of two, so that the norm of a scaled vector is the scaled norm.
    let scale = power_of_two_near(largest);
    let sum: f64 = x.iter().map(|x| (x / scale) * (x / scale)).sum();
    sum.sqrt() * scale
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
            let (sum, sum_abs) = line(arch, -2.0, &x, &y, &mut z, &mut z_abs);
            assert!(sum.abs() <= sum_abs * (1.0 + 1e-14));
            for i in 0..n {
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
        assert!(norm(&[f64::INFINITY]).is_infinite());
    }
}
