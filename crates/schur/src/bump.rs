//! The bump of a ridge: how much more makes a block factor.

/// The ladder ends this many powers of two below the scale: where a pivot is exactly zero any bump
/// makes its block factor, but the reciprocal of the least number there is overflows what follows.
const DEPTH: i32 = 256;
/// Rungs from the scale of a block down to well below its rounding error, and the first stride.
const STRIDE: i32 = 28;

/// The least rung of the ladder $`2^e 4^j`$ at which `factors` holds, where $`2^e`$ is the power of two
/// below `scale`; `factors` must hold above every bump at which it holds. The rung below does not
/// serve, so the answer is at most four times the least bump.
///
/// `scale`, the size of the block's entries, says where to look first and decides nothing: a
/// block far smaller than its neighbours gets its own small bump, down to $`2^{-256}`$ of it. `None` where no rung serves up
/// to the largest finite power of two.
pub(crate) fn least_rung(scale: f64, mut factors: impl FnMut(f64) -> bool) -> Option<f64> {
    let exponent = if scale > 0.0 && scale.is_finite() {
        (((scale.to_bits() >> 52) & 0x7ff) as i32 - 1023).max(-1022)
    } else {
        0
    };
    // Every rung is a power of two between the least and the largest that FP64 holds.
    let bottom = ((-1074 - exponent).div_euclid(2) + 1).max(-DEPTH / 2);
    let top = (1023 - exponent) / 2;
    let rung = |j: i32| power_of_two(exponent + 2 * j);
    // `high` serves; `low` does not, or lies below the ladder.
    let (mut low, mut high, mut stride) = (0, 0, STRIDE);
    if factors(rung(0)) {
        loop {
            low = (high - stride).max(bottom - 1);
            if low < bottom || !factors(rung(low)) {
                break;
            }
            high = low;
            stride *= 2;
        }
    } else {
        stride = 8;
        loop {
            high = (low + stride).min(top);
            if factors(rung(high)) {
                break;
            }
            if high == top {
                return None;
            }
            low = high;
            stride *= 2;
        }
    }
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if factors(rung(middle)) {
            high = middle
        } else {
            low = middle
        }
    }
    Some(rung(high))
}

/// $`2^e`$, $`-1074 \le e \le 1023`$.
fn power_of_two(e: i32) -> f64 {
    if e >= -1022 {
        f64::from_bits(((e + 1023) as u64) << 52)
    } else {
        f64::from_bits(1 << (e + 1074))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rung_serves_and_is_at_most_four_times_the_least() {
        let tiny = f64::from_bits(1);
        for scale in [1.0, 3e-300, 1e300, tiny, f64::MAX] {
            for least in [
                tiny, 1e-310, 1e-30, 1e-14, 3e-9, 0.2, 1.0, 77.0, 1e9, 1e200, 4e307,
            ] {
                let bump = least_rung(scale, |bump| bump >= least).unwrap();
                assert!(
                    bump >= least && (bump / 4.0 <= least || bump <= 2.0_f64.powi(-256) * scale),
                    "{bump:e} for {least:e} at {scale:e}"
                );
            }
            assert_eq!(least_rung(scale, |_| false), None);
        }
        assert_eq!(least_rung(0.0, |bump| bump >= 1.0), Some(1.0));
    }
}
