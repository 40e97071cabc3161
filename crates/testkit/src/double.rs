//! Double-double arithmetic: numbers as unevaluated sums `hi + lo`, about 32 decimal digits.
//!
//! Sums and products without error after Knuth and Dekker, as in Hida, Li and Bailey, *Library for
//! double-double and quad-double arithmetic* (2007). Slow on purpose; for oracles alone.

use std::ops::{Add, AddAssign, Div, Mul, Neg, Sub, SubAssign};

/// `hi + lo`, `|lo|` at most half a unit in the last place of `hi`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Double {
    /// The leading part.
    pub hi: f64,
    /// The rest.
    pub lo: f64,
}

impl Double {
    /// Zero.
    pub const ZERO: Self = Self { hi: 0.0, lo: 0.0 };

    /// The exact sum of two numbers.
    #[inline]
    pub fn sum(a: f64, b: f64) -> Self {
        let hi = a + b;
        let part = hi - a;
        Self {
            hi,
            lo: (a - (hi - part)) + (b - part),
        }
    }

    /// The exact product of two numbers.
    #[inline]
    pub fn product(a: f64, b: f64) -> Self {
        let hi = a * b;
        Self {
            hi,
            lo: a.mul_add(b, -hi),
        }
    }

    #[inline]
    fn quick(hi: f64, lo: f64) -> Self {
        let sum = hi + lo;
        Self {
            hi: sum,
            lo: lo - (sum - hi),
        }
    }

    /// The square root of a number of at least 0.
    pub fn sqrt(self) -> Self {
        if self.hi <= 0.0 {
            return Self {
                hi: self.hi.sqrt(),
                lo: 0.0,
            };
        }
        let root = self.hi.sqrt();
        let rest = self - Self::product(root, root);
        Self::quick(root, rest.hi / (2.0 * root))
    }

    /// The natural logarithm, to about 1e-16 of itself plus 1e-32 of the argument's error.
    pub fn ln(self) -> Self {
        // One Newton step on exp(y) = x would need exp in double-double: the relative excess of
        // the argument over its leading part is what plain arithmetic loses.
        Self::sum(self.hi.ln(), self.lo / self.hi)
    }

    /// The nearest plain number.
    pub fn value(self) -> f64 {
        self.hi + self.lo
    }

    /// The absolute value.
    pub fn abs(self) -> Self {
        if self.hi < 0.0 { -self } else { self }
    }
}

impl From<f64> for Double {
    fn from(hi: f64) -> Self {
        Self { hi, lo: 0.0 }
    }
}

impl Neg for Double {
    type Output = Self;
    fn neg(self) -> Self {
        Self {
            hi: -self.hi,
            lo: -self.lo,
        }
    }
}

impl Add for Double {
    type Output = Self;
    #[inline]
    fn add(self, other: Self) -> Self {
        let (high, low) = (Self::sum(self.hi, other.hi), Self::sum(self.lo, other.lo));
        let first = Self::quick(high.hi, high.lo + low.hi);
        Self::quick(first.hi, first.lo + low.lo)
    }
}

impl Sub for Double {
    type Output = Self;
    #[inline]
    fn sub(self, other: Self) -> Self {
        self + -other
    }
}

impl AddAssign for Double {
    #[inline]
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl SubAssign for Double {
    #[inline]
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

impl Mul for Double {
    type Output = Self;
    #[inline]
    fn mul(self, other: Self) -> Self {
        let p = Self::product(self.hi, other.hi);
        Self::quick(p.hi, p.lo + (self.hi * other.lo + self.lo * other.hi))
    }
}

impl Div for Double {
    type Output = Self;
    #[inline]
    fn div(self, other: Self) -> Self {
        let first = self.hi / other.hi;
        let rest = self - other * first.into();
        let second = rest.hi / other.hi;
        let rest = rest - other * second.into();
        let third = rest.hi / other.hi;
        Self::quick(first, second) + third.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thirty_digits_survive() {
        let third = Double::from(1.0) / 3.0.into();
        let back = third + third + third - 1.0.into();
        assert!(back.value().abs() < 1e-31, "{back:?}");
        let two = Double::from(2.0).sqrt();
        assert!((two * two - 2.0.into()).value().abs() < 1e-30);
        let tiny = Double::sum(1.0, 1e-25);
        assert_eq!((tiny - 1.0.into()).value(), 1e-25);
    }
}
