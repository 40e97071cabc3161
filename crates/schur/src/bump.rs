//! The bump of a ridge: how much more makes a block factor.

/// The growth from one rung to the next: the answer is at most this times the least bump.
const RUNG: f64 = 4.0;
/// The first rung, relative to the scale of the block: far below its rounding error.
const FIRST: f64 = 1.0 / (1u64 << 56) as f64;

/// The first rung of $s\,2^{-56}\,4^j$, $j = 1, 2, …$, at which `factors` holds, by bisection
/// between rungs; `factors` must hold above every bump at which it holds. The least bump lies
/// above the rung before, so the answer is at most four times it.
///
/// `scale` is the size of the block's entries. `None` where no finite bump serves.
pub(crate) fn least_rung(scale: f64, mut factors: impl FnMut(f64) -> bool) -> Option<f64> {
    let scale = if scale > 0.0 && scale.is_finite() {
        scale
    } else {
        1.0
    };
    let rung = |j: i32| scale * FIRST * RUNG.powi(j);
    // The scale itself stands at rung 28: most failures are cured below it.
    let (mut low, mut high) = (0, 28);
    while !factors(rung(high)) {
        low = high;
        high += 8;
        if !rung(high).is_finite() {
            return None;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rung_serves_and_is_at_most_four_times_the_least() {
        for least in [1e-14, 3e-9, 0.2, 1.0, 77.0, 1e9, 1e200] {
            let bump = least_rung(1.0, |bump| bump >= least).unwrap();
            assert!(
                bump >= least && bump <= 4.0 * least,
                "{bump:e} for {least:e}"
            );
        }
        assert_eq!(least_rung(1.0, |_| false), None);
    }
}
