//! One law for a round's time at every size.
//!
//! ```text
//! a n M p  +  b n atoms k  +  c M^2 (M/3 + 2p)     seconds, with a, b, c >= 0
//! products    rows choose    decoder
//! ```
//! `M` is the number of features, an intercept among them: 2 of each circle, and 1. The fit is by least
//! squares of *relative* errors, so that a round of a millisecond counts as much as one of a second. With
//! so few unknowns every set of positive ones is tried, and the best that is not negative is the solution.
//!
//! [`RefitLaw`] has a term `d n k^2` besides: after every choice a row refits all that it has chosen, each beside the
//! others, and that costs what it costs however few atoms there are to choose from.

use serde::{Deserialize, Serialize};

/// Sizes of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shape {
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
    /// Circles.
    pub atoms: usize,
    /// Circles that a row chooses.
    pub top: usize,
    /// Whether their amplitudes are fitted; the law is of those that are not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fitted: bool,
}

impl Shape {
    /// The same with amplitudes that are fitted, or not.
    #[must_use]
    pub fn with_amplitudes(self, fitted: bool) -> Self {
        Self { fitted, ..self }
    }

    /// The command's word for its amplitudes.
    pub fn amplitudes(&self) -> &'static str {
        if self.fitted { "fitted" } else { "one" }
    }

    /// What `d` multiplies: pairs of atoms that are on in a row.
    pub fn refits(&self) -> f64 {
        let [n, k] = [self.rows, self.top].map(|x| x as f64);
        n * k * k
    }

    /// What `a`, `b` and `c` multiply.
    pub fn terms(&self) -> [f64; 3] {
        let [n, p, atoms, k] = [self.rows, self.columns, self.atoms, self.top].map(|x| x as f64);
        let m = 2.0 * atoms + 1.0;
        [n * m * p, n * atoms * k, m * m * (m / 3.0 + 2.0 * p)]
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            rows,
            columns,
            atoms,
            top,
            fitted,
        } = self;
        let amplitudes = if *fitted { ", fitted amplitudes" } else { "" };
        write!(
            f,
            "{rows} x {columns}, {atoms} circles, top-{top}{amplitudes}"
        )
    }
}

/// The law's three rates, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Law {
    /// Of a product.
    pub a: f64,
    /// Of a row's problem with one circle.
    pub b: f64,
    /// Of the decoder.
    pub c: f64,
}

/// Why there is no law.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum NoLaw {
    /// Fewer sizes than rates.
    #[error("{sizes} sizes, {rates} rates need as many")]
    TooFew {
        /// How many there are.
        sizes: usize,
        /// How many are needed.
        rates: usize,
    },
    /// A time that is none.
    #[error("a round of {seconds} s")]
    NoTime {
        /// The time.
        seconds: f64,
    },
    /// Sizes that tell no rate from another.
    #[error("sizes that determine no rate")]
    Undetermined,
}

impl Law {
    /// The law of these rounds.
    ///
    /// # Errors
    /// [`NoLaw`].
    pub fn fit(rounds: &[(Shape, f64)]) -> Result<Self, NoLaw> {
        let [a, b, c] = rates(rounds, Shape::terms)?;
        Ok(Self { a, b, c })
    }

    /// Seconds of a round.
    pub fn seconds(&self, shape: &Shape) -> f64 {
        dot(&shape.terms(), &[self.a, self.b, self.c])
    }
}

/// The law with what rows refit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RefitLaw {
    /// The other three rates.
    pub law: Law,
    /// Of a pair of atoms that are on in a row.
    pub d: f64,
}

impl RefitLaw {
    /// The law of these rounds.
    ///
    /// # Errors
    /// [`NoLaw`].
    pub fn fit(rounds: &[(Shape, f64)]) -> Result<Self, NoLaw> {
        let [a, b, c, d] = rates(rounds, |shape| {
            let [products, choices, decoder] = shape.terms();
            [products, choices, decoder, shape.refits()]
        })?;
        let law = Law { a, b, c };
        Ok(Self { law, d })
    }

    /// Seconds of a round.
    pub fn seconds(&self, shape: &Shape) -> f64 {
        self.law.seconds(shape) + self.d * shape.refits()
    }
}

/// The rates of a law with these terms, none of them negative.
fn rates<const TERMS: usize>(
    rounds: &[(Shape, f64)],
    terms: impl Fn(&Shape) -> [f64; TERMS],
) -> Result<[f64; TERMS], NoLaw> {
    if rounds.len() < TERMS {
        return Err(NoLaw::TooFew {
            sizes: rounds.len(),
            rates: TERMS,
        });
    }
    let mut rows = Vec::new();
    for (shape, seconds) in rounds {
        if !(seconds.is_finite() && *seconds > 0.0) {
            return Err(NoLaw::NoTime { seconds: *seconds });
        }
        rows.push(terms(shape).map(|term| term / seconds));
    }
    // Columns at a common size, so that a pivot says how independent they are.
    let mut scale = [0.0_f64; TERMS];
    for row in &rows {
        for (scale, term) in scale.iter_mut().zip(row) {
            *scale = scale.hypot(*term);
        }
    }
    // A term that is zero at all sizes has no rate, which its pivot says.
    scale
        .iter_mut()
        .filter(|s| **s == 0.0)
        .for_each(|s| *s = 1.0);
    for row in &mut rows {
        for (term, scale) in row.iter_mut().zip(scale) {
            *term /= scale;
        }
    }
    let solutions = (1_usize..1 << TERMS).filter_map(|set| least_squares(&rows, set));
    let error = |x: &[f64; TERMS]| -> f64 {
        let miss = |row: &[f64; TERMS]| 1.0 - dot(row, x);
        rows.iter().map(|row| miss(row).powi(2)).sum()
    };
    let best = solutions.min_by(|x, y| error(x).total_cmp(&error(y)));
    let mut best = best.ok_or(NoLaw::Undetermined)?;
    for (rate, scale) in best.iter_mut().zip(scale) {
        *rate /= scale;
    }
    Ok(best)
}

fn dot<const TERMS: usize>(x: &[f64; TERMS], y: &[f64; TERMS]) -> f64 {
    x.iter().zip(y).map(|(x, y)| x * y).sum()
}

/// Pivots below this, of columns of size one, are rounding: the columns depend on each other.
const DEPENDENT: f64 = 1e-12;

/// Least squares of ones by the columns in `set`, the others zero; absent where they depend on each other
/// or one comes out negative.
fn least_squares<const TERMS: usize>(rows: &[[f64; TERMS]], set: usize) -> Option<[f64; TERMS]> {
    let columns: Vec<usize> = (0..TERMS)
        .filter(|column| set & (1 << column) != 0)
        .collect();
    let m = columns.len();
    let mut normal = vec![vec![0.0; m + 1]; m];
    for row in rows {
        for (i, &column) in columns.iter().enumerate() {
            for (j, &other) in columns.iter().enumerate() {
                normal[i][j] += row[column] * row[other];
            }
            normal[i][m] += row[column];
        }
    }
    // Gauss and Jordan: the matrix is symmetric and positive, so the diagonal serves as it comes.
    for i in 0..m {
        let pivot = normal[i][i];
        if pivot.is_nan() || pivot <= DEPENDENT {
            return None;
        }
        normal[i].iter_mut().for_each(|entry| *entry /= pivot);
        let above = normal[i].clone();
        for (j, row) in normal.iter_mut().enumerate() {
            if j != i {
                let factor = row[i];
                row.iter_mut()
                    .zip(&above)
                    .for_each(|(entry, above)| *entry -= factor * above);
            }
        }
    }
    let mut x = [0.0; TERMS];
    for (i, &column) in columns.iter().enumerate() {
        x[column] = normal[i][m];
    }
    x.iter().all(|x| *x >= 0.0).then_some(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shapes() -> Vec<Shape> {
        [
            (20_000, 64, 16, 2),
            (20_000, 64, 64, 4),
            (50_000, 128, 32, 1),
            (8_000, 512, 128, 2),
            (16_384, 384, 1_024, 4),
        ]
        .map(|(rows, columns, atoms, top)| Shape {
            rows,
            columns,
            atoms,
            top,
            fitted: false,
        })
        .to_vec()
    }

    fn timed(law: Law) -> Vec<(Shape, f64)> {
        let shapes = shapes();
        shapes.into_iter().map(|s| (s, law.seconds(&s))).collect()
    }

    #[test]
    fn rates_of_a_law_are_found_again() {
        let law = Law {
            a: 7e-12,
            b: 3e-9,
            c: 2e-11,
        };
        let found = Law::fit(&timed(law)).unwrap();
        for (found, rate) in [(found.a, law.a), (found.b, law.b), (found.c, law.c)] {
            assert!((found / rate - 1.0).abs() < 1e-9, "{found} {rate}");
        }
    }

    #[test]
    fn what_rows_refit_is_told_from_what_they_choose_from() {
        let law = RefitLaw {
            law: Law {
                a: 7e-12,
                b: 1e-9,
                c: 2e-11,
            },
            d: 2e-7,
        };
        let rounds: Vec<_> = (shapes().into_iter())
            .map(|shape| (shape, law.seconds(&shape)))
            .collect();
        let found = RefitLaw::fit(&rounds).unwrap();
        for (found, rate) in [(found.d, law.d), (found.law.b, law.law.b)] {
            assert!((found / rate - 1.0).abs() < 1e-6, "{found} {rate}");
        }
        // The three terms alone miss the smallest round, where little is to choose from.
        let three = Law::fit(&rounds).unwrap();
        assert!(rounds[0].1 > 1.3 * three.seconds(&rounds[0].0));
    }

    #[test]
    fn a_rate_that_would_be_negative_is_zero() {
        // Rounds whose largest decoders cost less than nothing.
        let mut rounds = timed(Law {
            a: 7e-12,
            b: 3e-9,
            c: 0.0,
        });
        for (shape, seconds) in &mut rounds {
            *seconds -= 1e-12 * shape.terms()[2];
        }
        let found = Law::fit(&rounds).unwrap();
        assert!(found.a >= 0.0 && found.b >= 0.0, "{found:?}");
        assert_eq!(found.c, 0.0);
        // No other set of rates that are not negative does better.
        let error = |law: &Law| -> f64 {
            let miss = |(shape, seconds): &(Shape, f64)| 1.0 - law.seconds(shape) / seconds;
            rounds.iter().map(|round| miss(round).powi(2)).sum()
        };
        for (a, b, c) in [
            (1.01, 1.0, 0.0),
            (1.0, 1.01, 0.0),
            (1.0, 0.99, 0.0),
            (0.99, 1.0, 0.0),
        ] {
            let other = Law {
                a: a * found.a,
                b: b * found.b,
                c,
            };
            assert!(error(&other) >= error(&found), "{other:?}");
        }
    }

    #[test]
    fn small_rounds_count_as_much_as_large_ones() {
        let mut rounds = timed(Law {
            a: 7e-12,
            b: 3e-9,
            c: 2e-11,
        });
        rounds[0].1 *= 1.2;
        let found = Law::fit(&rounds).unwrap();
        let ratio = rounds[0].1 / found.seconds(&rounds[0].0);
        // By absolute errors it would be 1.2.
        assert!(ratio < 1.15, "{ratio}");
    }

    #[test]
    fn what_determines_no_law_has_none() {
        let rounds = timed(Law {
            a: 1e-12,
            b: 1e-9,
            c: 1e-12,
        });
        let few = |sizes, rates| NoLaw::TooFew { sizes, rates };
        assert_eq!(Law::fit(&[]), Err(few(0, 3)));
        assert_eq!(Law::fit(&rounds[..2]), Err(few(2, 3)));
        assert_eq!(RefitLaw::fit(&rounds[..3]), Err(few(3, 4)));
        for seconds in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let mut bad = rounds.clone();
            bad[1].1 = seconds;
            assert!(
                matches!(Law::fit(&bad), Err(NoLaw::NoTime { .. })),
                "{seconds}"
            );
        }
        let empty = Shape {
            rows: 0,
            columns: 0,
            atoms: 0,
            top: 0,
            fitted: false,
        };
        // One feature and nothing else: the decoder's term alone is not zero, and it is the same.
        assert!(Law::fit(&[(empty, 1.0); 3]).is_ok_and(|law| law.a == 0.0 && law.b == 0.0));
    }
}
