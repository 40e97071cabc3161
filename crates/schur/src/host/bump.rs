//! The bumps of a ridge: how much more makes a block factor, and how much more the whole.
//!
//! A block's own bump is the least rung of a ladder. It says nothing of what is eliminated after the
//! block: where $`B_i`$ leaves the range of a singular $`D_i`$, a ridge $`\rho`$ of the size of rounding
//! makes $`D_i + \rho`$ factor and takes $`|B_i|^2 / \rho`$ from the border. Then both ridges grow together,
//! as multiples $`r`$ of their mean diagonals. Whether a system is positive definite at $`r`$ is monotone
//! in $`r`$, so the least rung of a ladder of fours is within four times the least $`r`$ that serves; it is
//! doubled, since at the least itself the operator is singular.

use crate::{Error, MeanDiagonals, NotPositiveDefinite, PivotSite, Ridge, Side};

/// The least bump of what is eliminated first, beside its diagonal, and the least relative ridge that a
/// failure reports for the whole: half the digits of FP64. With a pivot smaller than that beside its
/// block, a Schur complement loses more than it keeps.
pub const LEAST_BUMP: f64 = 1e-8;

/// How much larger than a relative ridge at which the whole does not factor one side's own may be: what the
/// ladder's rung may be above the least, four times, and the two by which it is doubled.
const ALONE: f64 = 8.0;

/// The bump of what is eliminated first: that of [`least_rung`], with room of `floor` above the least
/// that serves. At most four times the least, or three times `floor`.
pub(crate) fn least_bump(
    scale: f64,
    floor: f64,
    mut factors: impl FnMut(f64) -> bool,
) -> Option<f64> {
    let rung = least_rung(scale, &mut factors)?;
    let has_room = floor <= 0.0 || rung > floor && factors(rung - floor);
    Some(if has_room { rung } else { rung + floor })
}

/// The bumps of both ridges with which the whole factors, for a failure at `ridge`: see
/// [`NotPositiveDefinite::whole`]. `factors` says whether the whole does at a ridge; `sides` which
/// sides have unknowns.
///
/// # Errors
/// The first error of `factors`.
pub(crate) fn whole(
    ridge: Ridge,
    means: MeanDiagonals,
    sides: [bool; 2],
    failed: &NotPositiveDefinite,
    mut factors: impl FnMut(Ridge) -> Result<bool, Error>,
) -> Result<Option<Ridge>, Error> {
    let scale = scales(means, sides);
    let at = |r: f64| Ridge {
        row: f64::max(ridge.row, r * scale.row),
        border: f64::max(ridge.border, r * scale.border),
    };
    let mut broken = None;
    let mut holds = |ridge: Ridge| {
        ridge.is_valid()
            && broken.is_none()
            && factors(ridge).unwrap_or_else(|error| {
                broken = Some(error);
                false
            })
    };
    let side = failed.site.side();
    let (its_ridge, its_scale) = match side {
        Side::Row => (ridge.row, scale.row),
        Side::Border => (ridge.border, scale.border),
    };
    // The blocks of the rows need their bump whatever the border has, and it has room. The other side's
    // ridge may spare most of the bump of what is eliminated last, and it is given room here.
    let needed = matches!(failed.site, PivotSite::Row { .. });
    let serves = |bump: f64, holds: &mut dyn FnMut(Ridge) -> bool| {
        let room = LEAST_BUMP * its_scale;
        let roomy = needed || bump > room && holds(ridge.bumped(side, bump - room));
        let bump = if roomy { bump } else { bump + room };
        let total = (its_ridge + bump) / its_scale;
        let serves = holds(ridge.bumped(side, bump)) && (needed || !holds(at(total / ALONE)));
        serves.then(|| Ridge::ZERO.bumped(side, bump))
    };
    let alone = failed.bump.and_then(|bump| serves(bump, &mut holds));
    let found = match alone {
        Some(more) => Some(more),
        None => {
            let rung = least_rung(1.0, |r| r >= LEAST_BUMP && holds(at(r)));
            rung.map(|r| {
                let reached = if holds(at(2.0 * r)) {
                    at(2.0 * r)
                } else {
                    at(r)
                };
                Ridge::new(reached.row - ridge.row, reached.border - ridge.border)
            })
        }
    };
    match broken {
        Some(error) => Err(error),
        None => Ok(found),
    }
}

/// The scales of relative ridges: a side whose diagonal is zero, or not known, has the other's.
fn scales(means: MeanDiagonals, sides: [bool; 2]) -> MeanDiagonals {
    let of = |own: f64, other: f64| match (own > 0.0, other > 0.0) {
        (true, _) => own,
        (false, true) => other,
        (false, false) => 1.0,
    };
    let [row, border] = sides.map(|there| if there { 1.0 } else { 0.0 });
    MeanDiagonals {
        row: row * of(means.row, means.border),
        border: border * of(means.border, means.row),
    }
}

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

    #[test]
    fn a_bump_leaves_room_above_the_least() {
        for floor in [0.0, 1e-8, 0.3] {
            for least in [1e-30, 1e-9, 1e-8, 0.25, 1.0 - 1e-12, 1.0, 7.0] {
                let bump = least_bump(1.0, floor, |bump| bump >= least).unwrap();
                assert!(bump >= least + floor, "{bump:e} for {least:e}, {floor:e}");
                assert!(
                    bump <= f64::max(4.0 * least, 3.0 * floor),
                    "{bump:e} for {least:e}, {floor:e}"
                );
            }
        }
        assert_eq!(least_bump(1.0, 1e-8, |_| false), None);
    }

    const MEANS: MeanDiagonals = MeanDiagonals {
        row: 3.0,
        border: 50.0,
    };

    fn failed(site: PivotSite, bump: Option<f64>) -> NotPositiveDefinite {
        NotPositiveDefinite {
            site,
            value: -1.0,
            bump,
            whole: None,
        }
    }

    #[test]
    fn both_ridges_are_at_most_sixteen_times_the_least_relative_one() {
        let ridge = Ridge::new(0.01, 0.0);
        let site = PivotSite::Border { pivot: 0 };
        for least in [3e-8, 0.7, 1.0, 1e5, 3e200] {
            for own in [None, Some(1e-6), Some(1e9 * least)] {
                let (mut tries, bound) = (0, Ridge::relative(least, MEANS));
                let holds = |at: Ridge| at.row >= bound.row && at.border >= bound.border;
                let failed = failed(site, own);
                let more = whole(ridge, MEANS, [true; 2], &failed, |at| {
                    tries += 1;
                    Ok(holds(at))
                });
                let more = more.unwrap().unwrap();
                let reached = Ridge::new(ridge.row + more.row, ridge.border + more.border);
                assert!(holds(reached), "{least:e}, {own:?}: {more:?}");
                let allowed = Ridge::relative(16.0 * least, MEANS);
                assert!(reached.row <= f64::max(allowed.row, ridge.row), "{more:?}");
                assert!(reached.border <= allowed.border, "{more:?}");
                assert!(tries < 40, "{tries} tries for {least:e}");
            }
        }
    }

    #[test]
    fn one_side_s_bump_serves_alone_where_it_is_small_enough() {
        let row = PivotSite::Row { row: 0, pivot: 0 };
        let more = whole(
            Ridge::ZERO,
            MEANS,
            [true; 2],
            &failed(row, Some(0.5)),
            |at| Ok(at.row >= 0.3),
        );
        assert_eq!(more, Ok(Some(Ridge::new(0.5, 0.0))));
        // Nothing serves; an error ends the search; a side that is not there has no ridge.
        let none = whole(
            Ridge::ZERO,
            MEANS,
            [true; 2],
            &failed(row, Some(0.5)),
            |_| Ok(false),
        );
        assert_eq!(none, Ok(None));
        let lost = || Error::Overflow { what: "a look" };
        let stop = whole(
            Ridge::ZERO,
            MEANS,
            [true; 2],
            &failed(row, Some(0.5)),
            |_| Err(lost()),
        );
        assert_eq!(stop, Err(lost()));
        let rows = whole(
            Ridge::ZERO,
            MEANS,
            [true, false],
            &failed(row, None),
            |at| Ok(at.row >= 0.3),
        );
        assert!(rows.is_ok_and(|more| more.is_some_and(|more| more.border == 0.0)));
    }
}
