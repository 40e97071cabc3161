//! The rates by which the planner prices: plain data, measured elsewhere and handed in.
//!
//! | | rates of | ships as |
//! |---|---|---|
//! | [`Ceilings`] | any place | [`Ceilings::DEVICE`], an H100 |
//! | [`HostCeilings`] | processors, with what one thread does alone | [`HostCeilings::default`], two cores with AVX-512 |
//! | [`Rates`] | either, with their [`RatesOrigin`] | both, in [`SolverOptions`](crate::SolverOptions) |

use serde::{Deserialize, Serialize};

/// Rates of the place where the work will run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ceilings {
    /// FP64 operations a second of a large matrix product.
    pub gemm_flops: f64,
    /// The share of that rate which a Cholesky factorization of large order (4,000 and more) reaches; what its diagonal
    /// blocks take beside is priced apart.
    pub cholesky_share: f64,
    /// FP64 operations a second of loops over short rows, as in sparse features.
    pub loop_flops: f64,
    /// Bytes a second from memory.
    pub bandwidth: f64,
    /// Seconds of one serial step: a pivot of a factorization, an unknown of a triangular solve.
    pub serial_step: f64,
    /// Seconds to begin a parallel region.
    pub launch: f64,
}

impl Ceilings {
    /// Round figures for an H100, for what runs on a device that was not measured.
    pub const DEVICE: Self = Self {
        gemm_flops: 5.5e13,
        cholesky_share: 0.35,
        loop_flops: 7e11,
        bandwidth: 2.8e12,
        serial_step: 7e-8,
        launch: 4e-6,
    };
}

/// Rates of processors: what all threads reach together, and what one reaches in the parts of the work that
/// do not share out.
///
/// The defaults are round figures for two cores of a server processor with AVX-512, as the committed
/// records show them; the gate measures a machine's own.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostCeilings {
    /// Of all threads together.
    pub together: Ceilings,
    /// The share of a product's rate at which the lower triangle of a product alone is formed.
    pub triangle_share: f64,
    /// FP64 operations a second of a QR factorization, on one thread.
    pub qr_flops: f64,
    /// FP64 operations a second of a pivoted Cholesky factorization: half of it goes one pivot after
    /// another.
    pub pivoted_flops: f64,
    /// Seconds by which a triangular solve with many columns takes longer than the products in it, for
    /// every entry of its solution: the triangles on the diagonal are substituted.
    pub substitution: f64,
    /// FP64 operations a second of loops over short rows, on one thread.
    pub thread_loop_flops: f64,
    /// Bytes a second from memory, on one thread.
    pub thread_bandwidth: f64,
}

impl Default for HostCeilings {
    fn default() -> Self {
        Self {
            together: Ceilings {
                gemm_flops: 1e11,
                cholesky_share: 0.75,
                loop_flops: 2e9,
                bandwidth: 2.2e10,
                serial_step: 2e-8,
                launch: 5e-6,
            },
            triangle_share: 0.8,
            qr_flops: 1.4e10,
            pivoted_flops: 1e10,
            substitution: 3.5e-9,
            thread_loop_flops: 2e9,
            thread_bandwidth: 1.1e10,
        }
    }
}

impl HostCeilings {
    /// The rates of a device. Nothing is counted in its work that the others are rates of: they are none, and a
    /// price that meets one is none either.
    pub(crate) fn of_a_device(rates: &Ceilings) -> Self {
        Self {
            together: *rates,
            triangle_share: f64::NAN,
            qr_flops: f64::NAN,
            pivoted_flops: f64::NAN,
            substitution: f64::NAN,
            thread_loop_flops: f64::NAN,
            thread_bandwidth: f64::NAN,
        }
    }
}

/// Rates, and where they come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rates<C> {
    /// Where they come from.
    #[serde(flatten)]
    pub origin: RatesOrigin,
    /// The rates.
    pub ceilings: C,
}

/// Where rates come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "origin", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum RatesOrigin {
    /// Round figures that ship with the library, of another machine than this perhaps.
    Shipped {
        /// Why none that were measured here are used; absent where nobody asked for any.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// Measured on this machine.
    Measured {
        /// When, in seconds since 1970 UTC.
        taken: u64,
        /// SHA-256 of the record that holds them, in hexadecimal.
        digest: String,
    },
    /// The caller's own.
    Given,
}

impl<C> Rates<C> {
    /// A caller's own.
    pub fn given(ceilings: C) -> Self {
        Self {
            origin: RatesOrigin::Given,
            ceilings,
        }
    }

    /// Those that ship, `ceilings`, because of `reason`.
    pub fn shipped(ceilings: C, reason: Option<String>) -> Self {
        Self {
            origin: RatesOrigin::Shipped { reason },
            ceilings,
        }
    }
}

impl Default for Rates<HostCeilings> {
    fn default() -> Self {
        Self::shipped(HostCeilings::default(), None)
    }
}

impl Default for Rates<Ceilings> {
    fn default() -> Self {
        Self::shipped(Ceilings::DEVICE, None)
    }
}

impl std::fmt::Display for RatesOrigin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Shipped { reason: None } => f.write_str("shipped"),
            Self::Shipped {
                reason: Some(reason),
            } => write!(f, "shipped: {reason}"),
            Self::Measured { taken, digest } => {
                let digest = digest.get(..12).unwrap_or(digest);
                write!(f, "measured here on {} ({digest})", Day::of(*taken))
            }
            Self::Given => f.write_str("given by the caller"),
        }
    }
}

/// A day of the Gregorian calendar, UTC.
struct Day {
    year: u64,
    month: u64,
    day: u64,
}

impl Day {
    /// The day of a time in seconds since 1970. Years begin in March here, so that a leap day ends one.
    fn of(seconds: u64) -> Self {
        const ERA: u64 = 146_097; // days in 400 years
        let days = seconds / 86_400 + 719_468; // since March of year 0
        let (era, of_era) = (days / ERA, days % ERA);
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted = (5 * of_year + 2) / 153;
        let month = if shifted < 10 {
            shifted + 3
        } else {
            shifted - 9
        };
        Self {
            year: era * 400 + year_of_era + u64::from(month <= 2),
            month,
            day: of_year - (153 * shifted + 2) / 5 + 1,
        }
    }
}

impl std::fmt::Display for Day {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_says_its_day_in_words() {
        let on = |taken| {
            let digest = "0123456789abcdef".to_owned();
            RatesOrigin::Measured { taken, digest }.to_string()
        };
        assert_eq!(on(0), "measured here on 1970-01-01 (0123456789ab)");
        assert!(on(951_782_400).contains("2000-02-29"));
        assert!(on(951_868_800).contains("2000-03-01"));
        assert!(on(1_795_285_899).contains("2026-11-21"));
    }

    #[test]
    fn rates_are_plain_data_with_their_origin_beside() {
        let rates = Rates::<HostCeilings>::shipped(HostCeilings::default(), Some("why".into()));
        let value = serde_json::to_value(&rates).unwrap();
        assert_eq!(value["origin"], "shipped");
        assert_eq!(value["reason"], "why");
        assert_eq!(value["ceilings"]["together"]["gemm_flops"], 1e11);
        assert_eq!(
            serde_json::from_value::<Rates<HostCeilings>>(value).unwrap(),
            rates
        );
    }
}
