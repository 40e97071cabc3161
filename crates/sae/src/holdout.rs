//! Fits that leave rows out, to see how well they place rows that they never saw.
//!
//! Seeded random rows take no part in mean, scale and fit; they are encoded afterwards, and judged by what
//! they vary about the mean of the *training* rows:
//!
//! ```math
//! \mathrm{EV} = 1 - \frac{\sum_{i\ \mathrm{held\ out}} |x_i - W' \phi_i|^2}
//!                        {\sum_{i\ \mathrm{held\ out}} |x_i - \bar x_{\mathrm{training}}|^2}
//! ```

use crate::data::rows::Rows;
use crate::data::store::{Store, survey};
use crate::data::variation::NoVariation;
use crate::data::{NO_SPREAD, binary_unit, ordered_sum};
use crate::encode::{EncodeOptions, NoExplanation, check_gates, place};
use crate::error::FitError;
use crate::fit::fit_on;
use crate::model::dictionary::Dictionary;
use crate::model::gates::GatePolicy;
use crate::model::places::RowPlaces;
use crate::options::FitOptions;
use crate::place::Place;
use crate::progress::Watch;
use crate::report::Fit;
use ndarray::{Array1, Axis};
use rand::SeedableRng;
use rand::seq::index::sample;
use rand_chacha::ChaCha8Rng;

/// Rows that a fit did not see.
#[derive(Clone, Debug, PartialEq)]
pub struct HeldOut {
    /// Their indices, ascending.
    pub rows: Vec<usize>,
    /// Their explained variance against the mean of the training rows.
    pub explained_variance: Result<f64, NoExplanation>,
}

/// As [`fit_on`], with a `share` of the rows held out. Coordinates, gates and squared errors are those of
/// all rows, each in its place; everything else of the fit is of the training rows alone, and has the bits
/// of a fit of those. With given gates those of all rows are given. A share of 0 holds none out.
///
/// # Errors
/// As [`fit_on`]; [`FitError::Option`] for a share that leaves no row on either side.
pub fn fit_holding_out(
    on: &Place,
    x: impl Into<Rows>,
    dictionary: &Dictionary,
    options: &FitOptions,
    share: f64,
    watch: &Watch<'_>,
) -> Result<(Fit, Option<HeldOut>), FitError> {
    let x: Rows = x.into().afresh();
    if share == 0.0 {
        return Ok((fit_on(on, x, dictionary, options, watch)?, None));
    }
    let [n, _] = x.shape();
    let largest = survey(&x)?.largest;
    let [training, held] = divided(n, share, options.seed)?;
    // Before the fit: gates of all rows have all rows.
    check_gates(&options.gates, n, dictionary)?;
    let own = FitOptions {
        gates: of_rows(&options.gates, &training),
        ..options.clone()
    };
    let (seen, unseen) = (x.selected(&training), x.selected(&held));
    let mut fit = fit_on(on, &seen, dictionary, &own, watch)?;
    let policy = of_rows(&options.gates, &held);
    let iterations = EncodeOptions::default().max_iterations;
    let placed = place(&fit.model, &unseen, &policy, iterations)?;
    let explained_variance = explained(seen, unseen, largest, &placed.distance);
    x.intact()?;
    let mut places = RowPlaces::with_capacity(dictionary, n);
    let (mut seen, mut unseen) = (0, 0);
    for i in 0..n {
        match held.get(unseen) {
            Some(&next) if next == i => {
                places.push(placed.places.row(unseen));
                unseen += 1;
            }
            _ => {
                places.push(fit.places.row(seen));
                seen += 1;
            }
        }
    }
    fit.places = places;
    let mut squares = Array1::zeros(n);
    for (&i, square) in training.iter().zip(&fit.squared_error) {
        squares[i] = *square;
    }
    for (&i, distance) in held.iter().zip(&placed.distance) {
        squares[i] = distance * distance;
    }
    fit.squared_error = squares;
    let largest = &mut fit.variation.largest_row.index;
    *largest = training[*largest];
    let held_out = HeldOut {
        rows: held,
        explained_variance,
    };
    Ok((fit, Some(held_out)))
}

/// Indices of the training rows and of those held out, both ascending.
fn divided(rows: usize, share: f64, seed: u64) -> Result<[Vec<usize>; 2], FitError> {
    let wrong = |value: String, expected| {
        let option = "holdout";
        Err(FitError::Option {
            option,
            value,
            expected,
        })
    };
    if !(0.0..1.0).contains(&share) {
        return wrong(share.to_string(), "at least 0 and less than 1");
    }
    let count = (share * rows as f64).round() as usize;
    if count == 0 || count >= rows {
        let value = format!("{share} of {rows} rows, which is {count}");
        return wrong(value, "at least one row held out and one left to fit");
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(STREAM);
    let mut is_held = vec![false; rows];
    sample(&mut rng, rows, count)
        .iter()
        .for_each(|i| is_held[i] = true);
    let of = |held: bool| (0..rows).filter(|&i| is_held[i] == held).collect();
    Ok([of(false), of(true)])
}

/// The stream of random numbers that chooses rows: no start has it.
const STREAM: u64 = u64::MAX - 1;

/// The policy for some of the rows.
fn of_rows(gates: &GatePolicy, rows: &[usize]) -> GatePolicy {
    match gates {
        GatePolicy::Given(gates) => GatePolicy::Given(gates.select(Axis(0), rows)),
        other => other.clone(),
    }
}

/// The explained variance of `unseen` rows against the mean of those `seen`; `largest` is the largest magnitude
/// among both.
fn explained(
    seen: Rows,
    unseen: Rows,
    largest: f64,
    distance: &[f64],
) -> Result<f64, NoExplanation> {
    let [rows, _] = unseen.shape();
    // Nothing overflows, and a power of two takes no digit.
    let unit = binary_unit(largest);
    // Twice, as in a fit: a common offset of any size is gone after the first.
    let [first, rest] = Store::scaled(seen, unit).centre(None);
    let squares = Store::scaled(unseen, unit).by_row(|row| {
        let (mut spread, mut square) = (0.0, 0.0);
        for (v, (first, rest)) in row.iter().zip(first.iter().zip(&rest)) {
            spread += ((v - first) - rest) * ((v - first) - rest);
            square += v * v;
        }
        [spread, square]
    });
    let [spread, square] = [0, 1].map(|which| {
        let of_rows: Vec<f64> = squares.iter().map(|squares| squares[which]).collect();
        ordered_sum(&of_rows)
    });
    let relative = (spread / square).sqrt();
    if square == 0.0 && spread == 0.0 {
        return Err(NoVariation::Zeros { rows }.into());
    }
    // No square at all is far from a mean that is none.
    if relative <= NO_SPREAD {
        return Err(NoVariation::Rounding { rows, relative }.into());
    }
    let errors: Vec<f64> = (distance.iter()).map(|d| (d / unit) * (d / unit)).collect();
    let explained = 1.0 - ordered_sum(&errors) / spread;
    match explained.is_finite() {
        true => Ok(explained),
        false => Err(NoExplanation::Overflow),
    }
}
