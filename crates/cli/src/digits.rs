//! Ratios as text, with as many digits as it takes to tell them from 1.

/// An explained variance as text, from the unexplained share: 1 only if nothing is left.
///
/// Four decimals as a rule, more where little is left, and the difference from 1 where decimals would
/// not show it.
pub fn explained(unexplained: f64) -> String {
    let explained = 1.0 - unexplained;
    if unexplained == 0.0 {
        return "1".to_owned();
    }
    if unexplained.is_nan() || explained.abs() >= 1e4 {
        return format!("{explained:.3e}");
    }
    if unexplained < LEAST {
        return format!("1 - {unexplained:.1e}");
    }
    // Two digits of the unexplained share.
    let decimals = 1 + (-unexplained.log10()).ceil().max(0.0) as usize;
    format!("{explained:.*}", decimals.max(4))
}

/// Smaller differences from 1 are lost in the sixteen digits of a number.
const LEAST: f64 = 1e-13;

/// A share of something, from 0 to 1.
pub fn share(share: f64) -> String {
    if share > 0.0 && share < 1e-3 {
        format!("{share:.1e}")
    } else {
        explained(1.0 - share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_below_one_is_never_printed_as_one() {
        for (unexplained, text) in [
            (0.0, "1"),
            (0.5617, "0.4383"),
            (0.01, "0.9900"),
            (3.2e-5, "0.999968"),
            (1e-5, "0.999990"),
            (4.4e-10, "0.99999999956"),
            (3.25e-18, "1 - 3.3e-18"),
            (1.5, "-0.5000"),
            (2e28, "-2.000e28"),
            (f64::INFINITY, "-inf"),
        ] {
            assert_eq!(explained(unexplained), text);
        }
        let mut unexplained = 0.9;
        while unexplained > 1e-30 {
            let text = explained(unexplained);
            assert!(
                text.parse().is_ok_and(|v: f64| v < 1.0) || text.starts_with("1 - "),
                "{text}"
            );
            unexplained *= 0.77;
        }
    }

    #[test]
    fn a_share_has_digits_at_both_ends() {
        assert_eq!(share(0.25), "0.2500");
        assert_eq!(share(1.0), "1");
        assert_eq!(share(0.0), "0.0000");
        assert_eq!(share(2e-7), "2.0e-7");
        assert_eq!(share(1.0 - 2.5e-7), "0.99999975");
    }
}
