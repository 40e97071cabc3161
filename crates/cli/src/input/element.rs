//! Element types and their widening to FP64.

use std::io::{self, Read};

/// The order of an array's elements in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The last index runs fastest.
    C,
    /// The first index runs fastest.
    Fortran,
}

/// A type that is widened to FP64. Widening is exact except for integers beyond 2^53.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// IEEE binary16.
    F16 {
        /// Whether the most significant byte comes first.
        big_endian: bool,
    },
    /// The upper half of an IEEE binary32, least significant byte first.
    Bf16,
    /// IEEE binary32.
    F32 {
        /// Whether the most significant byte comes first.
        big_endian: bool,
    },
    /// IEEE binary64.
    F64 {
        /// Whether the most significant byte comes first.
        big_endian: bool,
    },
    /// A truth value in one byte, 0 or 1: read where counts or gates are expected.
    Bool,
    /// A whole number of 1, 2, 4 or 8 bytes: read where counts or gates are expected.
    Integer {
        /// Bytes of one.
        bytes: u8,
        /// Whether it is signed (two's complement).
        signed: bool,
        /// Whether the most significant byte comes first.
        big_endian: bool,
    },
}

/// Bytes read at once. A multiple of every element's size.
const CHUNK: usize = 1 << 16;

impl Element {
    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            Self::F16 { .. } | Self::Bf16 => 2,
            Self::F32 { .. } => 4,
            Self::F64 { .. } => 8,
            Self::Bool => 1,
            Self::Integer { bytes, .. } => usize::from(bytes),
        }
    }

    /// The word for it in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::F16 { .. } => "FP16",
            Self::Bf16 => "BF16",
            Self::F32 { .. } => "FP32",
            Self::F64 { .. } => "FP64",
            Self::Bool => "BOOL",
            Self::Integer { bytes, signed, .. } => match (bytes, signed) {
                (1, true) => "INT8",
                (2, true) => "INT16",
                (4, true) => "INT32",
                (_, true) => "INT64",
                (1, false) => "UINT8",
                (2, false) => "UINT16",
                (4, false) => "UINT32",
                (_, false) => "UINT64",
            },
        }
    }

    /// The element type of a NumPy descriptor such as `<f4`. NumPy has no BF16; it writes that of
    /// `ml_dtypes` as two raw bytes, `<V2` or `|V2`.
    ///
    /// # Errors
    /// The descriptor of a type that is not supported, with what it stands for.
    pub fn from_numpy(descriptor: &str) -> Result<Self, String> {
        if descriptor == "bfloat16" {
            return Ok(Self::Bf16);
        }
        let (order, kind) = match descriptor.split_at_checked(1) {
            Some((order @ ("<" | ">" | "=" | "|"), kind)) => (order, kind),
            _ => ("=", descriptor),
        };
        let big_endian = match order {
            "<" => false,
            ">" => true,
            _ => cfg!(target_endian = "big"),
        };
        let integer = |bytes, signed| {
            Ok(Self::Integer {
                bytes,
                signed,
                big_endian,
            })
        };
        match kind {
            "f2" => Ok(Self::F16 { big_endian }),
            "f4" => Ok(Self::F32 { big_endian }),
            "f8" => Ok(Self::F64 { big_endian }),
            "V2" if !big_endian => Ok(Self::Bf16),
            "b1" => Ok(Self::Bool),
            "i1" => integer(1, true),
            "i2" => integer(2, true),
            "i4" => integer(4, true),
            "i8" => integer(8, true),
            "u1" => integer(1, false),
            "u2" => integer(2, false),
            "u4" => integer(4, false),
            "u8" => integer(8, false),
            other => Err(
                match other.as_bytes().first().and_then(|k| meaning(*k, other)) {
                    Some(meaning) => format!("{descriptor} ({meaning})"),
                    None => descriptor.to_owned(),
                },
            ),
        }
    }

    /// Fills `slots`, in their order, with the next elements of `reader`.
    ///
    /// # Errors
    /// The error of `reader`; `UnexpectedEof` if it ends early.
    pub fn fill<'a>(
        self,
        reader: &mut impl Read,
        slots: impl ExactSizeIterator<Item = &'a mut f64>,
    ) -> io::Result<()> {
        // A loop for each type, so that its body is a plain conversion.
        match self {
            Self::F16 { big_endian: false } => {
                fill(reader, slots, |b| half::f16::from_le_bytes(b).to_f64())
            }
            Self::F16 { big_endian: true } => {
                fill(reader, slots, |b| half::f16::from_be_bytes(b).to_f64())
            }
            Self::Bf16 => fill(reader, slots, |b| half::bf16::from_le_bytes(b).to_f64()),
            Self::F32 { big_endian: false } => {
                fill(reader, slots, |b| f64::from(f32::from_le_bytes(b)))
            }
            Self::F32 { big_endian: true } => {
                fill(reader, slots, |b| f64::from(f32::from_be_bytes(b)))
            }
            Self::F64 { big_endian: false } => fill(reader, slots, f64::from_le_bytes),
            Self::F64 { big_endian: true } => fill(reader, slots, f64::from_be_bytes),
            Self::Bool => fill(reader, slots, |[byte]: [u8; 1]| f64::from(byte)),
            Self::Integer {
                bytes,
                signed,
                big_endian,
            } => match bytes {
                1 => fill(reader, slots, |b: [u8; 1]| whole(&b, signed, big_endian)),
                2 => fill(reader, slots, |b: [u8; 2]| whole(&b, signed, big_endian)),
                4 => fill(reader, slots, |b: [u8; 4]| whole(&b, signed, big_endian)),
                _ => fill(reader, slots, |b: [u8; 8]| whole(&b, signed, big_endian)),
            },
        }
    }
}

/// What an unsupported NumPy type stands for, by its letter.
fn meaning(letter: u8, kind: &str) -> Option<&'static str> {
    Some(match letter {
        b'f' if kind == "f16" || kind == "f12" => "long double, wider than FP64",
        b'c' => "complex numbers",
        b'O' => "Python objects in a pickle, which is never opened",
        b'S' | b'a' | b'U' | b'T' => "text",
        b'M' => "dates",
        b'm' => "spans of time",
        b'V' => "raw bytes",
        _ => return None,
    })
}

/// The value of a whole number from its bytes.
fn whole(bytes: &[u8], signed: bool, big_endian: bool) -> f64 {
    let push = |value: u64, byte: &u8| (value << 8) | u64::from(*byte);
    let value = if big_endian {
        bytes.iter().fold(0, push)
    } else {
        bytes.iter().rev().fold(0, push)
    };
    if signed {
        // The shift moves the sign bit to the top, and the shift back extends it.
        let unused = 64 - 8 * bytes.len() as u32;
        ((value << unused).cast_signed() >> unused) as f64
    } else {
        value as f64
    }
}

fn fill<'a, const SIZE: usize>(
    reader: &mut impl Read,
    mut slots: impl ExactSizeIterator<Item = &'a mut f64>,
    widen: impl Fn([u8; SIZE]) -> f64,
) -> io::Result<()> {
    let mut buffer = vec![0u8; CHUNK.min(slots.len() * SIZE)];
    while slots.len() > 0 {
        let count = slots.len().min(CHUNK / SIZE);
        let bytes = &mut buffer[..count * SIZE];
        reader.read_exact(bytes)?;
        let (elements, _) = bytes.as_chunks::<SIZE>();
        for (slot, &element) in slots.by_ref().take(count).zip(elements) {
            *slot = widen(element);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(element: Element, bytes: &[u8], count: usize) -> io::Result<Vec<f64>> {
        let mut values = vec![0.0; count];
        element.fill(&mut &bytes[..], values.iter_mut())?;
        Ok(values)
    }

    #[test]
    fn each_type_widens_exactly() {
        let numbers = [1.5f32, -0.25, 65504.0, 0.0];
        let bytes = |f: &dyn Fn(f32) -> Vec<u8>| numbers.iter().flat_map(|&x| f(x)).collect();
        let cases: [(Element, Vec<u8>); 6] = [
            (
                Element::F16 { big_endian: false },
                bytes(&|x| half::f16::from_f32(x).to_le_bytes().to_vec()),
            ),
            (
                Element::F16 { big_endian: true },
                bytes(&|x| half::f16::from_f32(x).to_be_bytes().to_vec()),
            ),
            (
                Element::F32 { big_endian: false },
                bytes(&|x| x.to_le_bytes().to_vec()),
            ),
            (
                Element::F32 { big_endian: true },
                bytes(&|x| x.to_be_bytes().to_vec()),
            ),
            (
                Element::F64 { big_endian: false },
                bytes(&|x| f64::from(x).to_le_bytes().to_vec()),
            ),
            (
                Element::F64 { big_endian: true },
                bytes(&|x| f64::from(x).to_be_bytes().to_vec()),
            ),
        ];
        for (element, bytes) in cases {
            let expected: Vec<f64> = numbers.iter().map(|&x| f64::from(x)).collect();
            assert_eq!(read(element, &bytes, 4).unwrap(), expected, "{element:?}");
        }
        let bf16 = [0x80, 0x3f, 0x00, 0xc0];
        assert_eq!(read(Element::Bf16, &bf16, 2).unwrap(), [1.0, -2.0]);
    }

    #[test]
    fn whole_numbers_keep_their_sign() {
        let integer = |bytes, signed, big_endian| Element::Integer {
            bytes,
            signed,
            big_endian,
        };
        let minus_two = (-2i32).to_le_bytes();
        assert_eq!(
            read(integer(4, true, false), &minus_two, 1).unwrap(),
            [-2.0]
        );
        let large = 40_000u16.to_be_bytes();
        assert_eq!(read(integer(2, false, true), &large, 1).unwrap(), [4e4]);
        assert_eq!(read(integer(1, true, false), &[0x80], 1).unwrap(), [-128.0]);
        let far = i64::MIN.to_le_bytes();
        assert_eq!(
            read(integer(8, true, false), &far, 1).unwrap(),
            [i64::MIN as f64]
        );
    }

    #[test]
    fn more_than_one_chunk_is_read_in_order() {
        let count = CHUNK / 4 * 2 + 3;
        let bytes: Vec<u8> = (0..count).flat_map(|i| (i as f32).to_le_bytes()).collect();
        let values = read(Element::F32 { big_endian: false }, &bytes, count).unwrap();
        assert!(values.iter().enumerate().all(|(i, &v)| v == i as f64));
    }

    #[test]
    fn an_early_end_is_an_error() {
        let error = read(Element::F64 { big_endian: false }, &[0; 15], 2).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn numpy_descriptors_name_their_types() {
        assert_eq!(
            Element::from_numpy("<f4"),
            Ok(Element::F32 { big_endian: false })
        );
        assert_eq!(
            Element::from_numpy(">f8"),
            Ok(Element::F64 { big_endian: true })
        );
        let word = |descriptor| Element::from_numpy(descriptor).map(Element::as_str);
        assert_eq!(word("|u1"), Ok("UINT8"));
        assert_eq!(word("|b1"), Ok("BOOL"));
        for bf16 in ["|V2", "<V2", "bfloat16"] {
            assert_eq!(word(bf16), Ok("BF16"));
        }
        for (other, meaning) in [
            ("<i3", "<i3"),
            ("<f16", "<f16 (long double, wider than FP64)"),
            ("<c16", "<c16 (complex numbers)"),
            (
                "|O",
                "|O (Python objects in a pickle, which is never opened)",
            ),
            ("<U7", "<U7 (text)"),
            (">V2", ">V2 (raw bytes)"),
            ("", ""),
            ("é", "é"),
        ] {
            assert_eq!(word(other), Err(meaning.to_owned()));
        }
    }
}
