//! A pivot that failed, and its value.
//!
//! ```math
//! p_j = a_{jj} - |L_{j-1}^{-1} a_j|^2
//! ```
//!
//! A library's factorization, and that by tiles, say the place of the first pivot that is not positive
//! and nothing else. Its value is found afterwards: the leading rows and columns are factored by the
//! library, whose word on them is read. [`super::dense_cholesky`] does that; the order of the looks is here.
//!
//! # Invariants
//! Sums in another order round differently. So where a pivot is zero to rounding, the second look may
//! refuse an earlier pivot, which is then the one that is named; or find the one refused to be as
//! positive as rounding makes it, and that is its value. The value always is one of the pivot named.

use crate::Error;
use crate::host::small_cholesky;
use broadhead_device::{DeviceError, Fault};

/// What a second look at a pivot sees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Seen {
    /// Its value.
    Value(f64),
    /// That an earlier pivot is refused.
    Earlier(usize),
}

/// Place and value of the pivot that failed: `refused`, or an earlier one that a look at it refuses.
pub(crate) fn find(
    refused: usize,
    mut look: impl FnMut(usize) -> Result<Seen, Error>,
) -> Result<(usize, f64), Error> {
    let mut pivot = refused;
    loop {
        match look(pivot)? {
            Seen::Value(value) => return Ok((pivot, value)),
            // Places only fall, so that this ends.
            Seen::Earlier(earlier) => pivot = earlier.min(pivot.saturating_sub(1)),
        }
    }
}

/// The pivot, from 0, that a factorization's `info` refuses. A negative one is of an argument.
///
/// # Errors
/// A fault of the library where it is negative.
pub(crate) fn refused(info: i64) -> Result<Option<usize>, Error> {
    match info {
        0 => Ok(None),
        1.. => Ok(Some(info as usize - 1)),
        _ => Err(Error::Device(DeviceError::Fault(Fault::Library {
            call: "cusolverDnDpotrf".to_owned(),
            status: format!("info {info}"),
        }))),
    }
}

/// The same of a row's block, `d x d` row-major with `rho` on its diagonal, by plain sums: place and
/// value of the first pivot up to `refused` that is not positive, else of `refused`; NaN where the block has no
/// such pivot. The block is overwritten.
pub(crate) fn of_block(block: &mut [f64], d: usize, rho: f64, refused: usize) -> (usize, f64) {
    let mut found = (refused, f64::NAN);
    small_cholesky::factor(block, d, rho, |a, value| {
        found = (a, value);
        // Not `<=`: NaN is no pivot either.
        a < refused && value > 0.0
    });
    match found.0 < refused && found.1 > 0.0 {
        true => (refused, f64::NAN),
        false => found,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_earlier_pivot_that_is_refused_is_the_one_named() {
        let mut asked = Vec::new();
        let found = find(77, |j| {
            asked.push(j);
            Ok(match j {
                77 => Seen::Earlier(40),
                40 => Seen::Earlier(12),
                j => Seen::Value(-(j as f64)),
            })
        });
        assert_eq!(found, Ok((12, -12.0)));
        assert_eq!(asked, [77, 40, 12]);
        assert_eq!(find(3, |_| Ok(Seen::Value(1e-17))), Ok((3, 1e-17)));
        let lost = || Error::Overflow { what: "a look" };
        assert_eq!(find(3, |_| Err(lost())), Err(lost()));
    }

    #[test]
    fn a_look_that_names_no_earlier_pivot_ends_all_the_same() {
        let found = find(3, |j| {
            Ok(match j {
                0 => Seen::Value(0.0),
                _ => Seen::Earlier(9),
            })
        });
        assert_eq!(found, Ok((0, 0.0)));
    }

    #[test]
    fn an_info_that_is_no_pivot_is_a_fault() {
        assert_eq!(refused(0), Ok(None));
        assert_eq!(refused(5), Ok(Some(4)));
        let fault = refused(-3).unwrap_err();
        assert!(fault.to_string().contains("info -3"), "{fault}");
    }

    #[test]
    fn a_block_s_pivot_has_the_value_of_its_sum() {
        // L = [1; 2 3; 4 5 .], the last pivot -6.
        let block = [1.0, 0.0, 0.0, 2.0, 13.0, 0.0, 4.0, 23.0, 41.0 - 6.0];
        assert_eq!(of_block(&mut block.clone(), 3, 0.0, 2), (2, -6.0));
        assert_eq!(of_block(&mut block.clone(), 3, 0.0, 1), (1, 9.0));
        // The middle one fails before the last that was refused.
        let mut early = block;
        early[4] = 4.0;
        assert_eq!(of_block(&mut early, 3, 0.0, 2), (1, 0.0));
        // A ridge stands on the diagonal.
        assert_eq!(of_block(&mut block.clone(), 3, 3.0, 0), (0, 4.0));
        let mut nan = block;
        nan[0] = f64::NAN;
        assert!(of_block(&mut nan, 3, 0.0, 2).1.is_nan());
    }
}
