//! Types of numbers as they are stored, and their widening to FP64, which is exact.

use super::ARCH;

/// The type of a stored number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElementType {
    /// IEEE binary64.
    F64,
    /// IEEE binary32.
    F32,
    /// IEEE binary16.
    F16,
    /// The upper half of an IEEE binary32.
    Bf16,
}

/// Which byte of a number comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteOrder {
    /// The least significant.
    Little,
    /// The most significant.
    Big,
}

impl ElementType {
    /// Bytes of one number.
    pub fn size(self) -> usize {
        match self {
            Self::F64 => 8,
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }

    /// Whether every number of the type is exact in single precision.
    pub(crate) fn is_single(self) -> bool {
        self != Self::F64
    }

    /// Writes the numbers in `bytes` to `out`, which holds as many.
    pub(crate) fn widen(self, order: ByteOrder, bytes: &[u8], out: &mut [f64]) {
        use ByteOrder::{Big, Little};
        // A loop for each type, so that its body is a plain conversion.
        match (self, order) {
            (Self::F64, Little) => each(bytes, out, f64::from_le_bytes),
            (Self::F64, Big) => each(bytes, out, f64::from_be_bytes),
            (Self::F32, Little) => each(bytes, out, |b| f64::from(f32::from_le_bytes(b))),
            (Self::F32, Big) => each(bytes, out, |b| f64::from(f32::from_be_bytes(b))),
            (Self::F16, Little) => each(bytes, out, |b| binary16(u16::from_le_bytes(b))),
            (Self::F16, Big) => each(bytes, out, |b| binary16(u16::from_be_bytes(b))),
            (Self::Bf16, Little) => each(bytes, out, |b| bfloat16(u16::from_le_bytes(b))),
            (Self::Bf16, Big) => each(bytes, out, |b| bfloat16(u16::from_be_bytes(b))),
        }
    }
}

fn each<const SIZE: usize>(bytes: &[u8], out: &mut [f64], number: impl Fn([u8; SIZE]) -> f64) {
    ARCH.dispatch(
        #[inline(always)]
        || {
            let (numbers, _) = bytes.as_chunks::<SIZE>();
            for (to, &from) in out.iter_mut().zip(numbers) {
                *to = number(from);
            }
        },
    );
}

#[inline(always)]
fn bfloat16(bits: u16) -> f64 {
    f64::from(f32::from_bits(u32::from(bits) << 16))
}

/// Without a branch, so that a loop over it is vectorised.
#[inline(always)]
fn binary16(bits: u16) -> f64 {
    let bits = u32::from(bits);
    let magnitude = (bits & 0x7fff) << 13;
    // The product corrects the bias of the exponent and makes subnormal numbers normal.
    let finite = (f32::from_bits(magnitude) * BIAS).to_bits();
    let whole = match bits & 0x7c00 == 0x7c00 {
        true => magnitude | 0x7f80_0000,
        false => finite,
    };
    f64::from(f32::from_bits(whole | (bits & 0x8000) << 16))
}

/// `2^(127 - 15)`: the exponents of binary32 and binary16 have different biases.
const BIAS: f32 = f32::from_bits((127 + 127 - 15) << 23);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_of_two_bytes_has_the_value_that_its_bits_mean() {
        for bits in 0..=u16::MAX {
            let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
            let (exponent, fraction) = (i32::from((bits >> 10) & 31), f64::from(bits & 1023));
            let want = match exponent {
                31 if fraction == 0.0 => sign * f64::INFINITY,
                31 => f64::NAN,
                0 => sign * fraction * 2.0_f64.powi(-24),
                _ => sign * (1.0 + fraction / 1024.0) * 2.0_f64.powi(exponent - 15),
            };
            let mut got = [0.0; 2];
            let bytes = [bits.to_le_bytes(), bits.to_le_bytes()].concat();
            ElementType::F16.widen(ByteOrder::Little, &bytes, &mut got);
            for got in got {
                let same = got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan();
                assert!(same, "{bits:#x}: {got} {want}");
            }
            ElementType::Bf16.widen(ByteOrder::Big, &bits.to_be_bytes(), &mut got[..1]);
            let want = f64::from(f32::from_bits(u32::from(bits) << 16));
            assert!(got[0].to_bits() == want.to_bits() || got[0].is_nan() && want.is_nan());
        }
    }

    #[test]
    fn numbers_of_four_and_eight_bytes_are_read_in_either_order() {
        let mut got = [0.0];
        for value in [1.5_f32, -0.0, f32::MAX, 1e-45] {
            ElementType::F32.widen(ByteOrder::Little, &value.to_le_bytes(), &mut got);
            assert_eq!(got[0].to_bits(), f64::from(value).to_bits());
            ElementType::F32.widen(ByteOrder::Big, &value.to_be_bytes(), &mut got);
            assert_eq!(got[0].to_bits(), f64::from(value).to_bits());
            let wide = f64::from(value) * 1e-300;
            ElementType::F64.widen(ByteOrder::Little, &wide.to_le_bytes(), &mut got);
            assert_eq!(got[0].to_bits(), wide.to_bits());
            ElementType::F64.widen(ByteOrder::Big, &wide.to_be_bytes(), &mut got);
            assert_eq!(got[0].to_bits(), wide.to_bits());
        }
    }
}
