//! The check that comes before a sample.
//!
//! ```text
//! omega = max |H x + g| / (|H| |x| + |g|)          from the case's own arrays, by plain loops
//! |log det - another's| <= 1e-11 max(1, sum |log pivot|)
//! ```

use crate::case::Operands;
use crate::record::{Against, Parity};
use broadhead_gate::Decline;

/// What a step of a direct elimination must satisfy.
pub const DIRECT_BOUND: f64 = 1e-13;

/// What a step of the iterative elimination must satisfy: it stops at a relative residual of 1e-10,
/// which bounds the residual of a row by the size of the whole.
pub const ITERATIVE_BOUND: f64 = 1e-6;

/// How far two log-determinants may be apart, relative to the sum of absolute log pivots.
pub const LOG_DETERMINANT_BOUND: f64 = 1e-11;

/// The componentwise backward error of the step `(row, border)` for gradient `index`.
pub fn componentwise_error(operands: &Operands, index: usize, row: &[f64], border: &[f64]) -> f64 {
    let (n, k) = operands.sizes();
    let gradients = operands.gradients();
    let g_row = &gradients.row[index * n..(index + 1) * n];
    let g_border = &gradients.border[index * k..(index + 1) * k];
    let y = operands.product(row, border);
    let part = |y: &[f64], sizes: &[f64], g: &[f64]| {
        let ratio = |((y, size), g): ((&f64, &f64), &f64)| {
            let residual = (y + g).abs();
            if residual == 0.0 {
                0.0
            } else {
                residual / (size + g.abs())
            }
        };
        y.iter().zip(sizes).zip(g).map(ratio).fold(0.0, larger)
    };
    larger(
        part(&y.row, &y.row_abs, g_row),
        part(&y.border, &y.border_abs, g_border),
    )
}

/// The larger of two; NaN where either is, so that no NaN loses against a number.
pub(crate) fn larger(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() {
        f64::NAN
    } else {
        a.max(b)
    }
}

/// A log-determinant with the sum of its absolute terms.
#[derive(Clone, Copy, Debug)]
pub struct Logarithm {
    /// The value.
    pub value: f64,
    /// The sum of the absolute terms.
    pub absolute: f64,
}

/// The parity of a result, or why it is not right.
///
/// # Errors
/// [`Decline::ParityFailed`] with how far off it is, and how far it may be.
pub fn parity(
    error: f64,
    bound: f64,
    own: Option<Logarithm>,
    other: Option<(String, f64)>,
) -> Result<Parity, Decline> {
    let within = error <= bound;
    if !within {
        return Err(Decline::ParityFailed { error, bound });
    }
    let against = match (own, other) {
        (Some(own), Some((source, value))) => {
            let bound = LOG_DETERMINANT_BOUND * own.absolute.max(1.0);
            let distance = (own.value - value).abs();
            let within = distance <= bound;
            if !within {
                eprintln!(
                    "log-determinants: {} here, {value} from {source}",
                    own.value
                );
                return Err(Decline::ParityFailed {
                    error: distance,
                    bound,
                });
            }
            Some(Against {
                source,
                log_determinant: value,
                bound,
            })
        }
        _ => None,
    };
    Ok(Parity {
        componentwise_error: error,
        componentwise_bound: bound,
        log_determinant: own.map(|own| own.value),
        against,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::Shape;

    #[test]
    fn a_step_with_one_wrong_entry_fails() {
        let shape = Shape::Arrow {
            rows: 4,
            dim: 2,
            border: 3,
        };
        let operands = Operands::new(shape, 1).unwrap();
        let (row, border) = (vec![0.1; 8], vec![0.1; 3]);
        // The gradient for which that is the step: minus the product.
        let y = operands.product(&row, &border);
        let Operands::Arrow(mut arrow) = operands else {
            unreachable!("the shape is an arrow's")
        };
        arrow.set_first_gradient(&y.row, &y.border);
        let operands = Operands::Arrow(arrow);
        assert_eq!(componentwise_error(&operands, 0, &row, &border), 0.0);
        let mut wrong = border.clone();
        wrong[1] += 1e-9;
        assert!(componentwise_error(&operands, 0, &row, &wrong) > 1e-11);
        wrong[1] = f64::NAN;
        let error = componentwise_error(&operands, 0, &row, &wrong);
        assert!(parity(error, 1.0, None, None).is_err());
    }

    #[test]
    fn a_log_determinant_that_is_off_is_declined() {
        let own = Logarithm {
            value: 10.0,
            absolute: 20.0,
        };
        let with = |value: f64| parity(0.0, 1e-13, Some(own), Some(("reference".into(), value)));
        assert!(with(10.0 + 1e-10).is_ok());
        assert!(matches!(
            with(10.0 + 3e-10),
            Err(Decline::ParityFailed { .. })
        ));
        assert!(with(f64::NAN).is_err());
    }
}
