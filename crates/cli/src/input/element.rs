//! Element types and their widening to FP64.

use std::io::{self, Read};

/// How the elements of an array lie in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The last index runs fastest.
    C,
    /// The first index runs fastest.
    Fortran,
}

/// A floating-point type that is widened to FP64. Widening is exact.
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
        }
    }

    /// The word for it in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::F16 { .. } => "FP16",
            Self::Bf16 => "BF16",
            Self::F32 { .. } => "FP32",
            Self::F64 { .. } => "FP64",
        }
    }

    /// The element of a NumPy type descriptor such as `<f4`.
    pub fn from_numpy(descriptor: &str) -> Option<Self> {
        let (order, kind) = descriptor.split_at_checked(1)?;
        let big_endian = match order {
            "<" => false,
            ">" => true,
            "=" | "|" => cfg!(target_endian = "big"),
            _ => return None,
        };
        match kind {
            "f2" => Some(Self::F16 { big_endian }),
            "f4" => Some(Self::F32 { big_endian }),
            "f8" => Some(Self::F64 { big_endian }),
            _ => None,
        }
    }

    /// Fills `slots`, in their order, with the next elements of `reader`.
    ///
    /// # Errors
    /// What `reader` says; `UnexpectedEof` where it ends early.
    pub fn fill<'a>(
        self,
        reader: &mut impl Read,
        slots: impl ExactSizeIterator<Item = &'a mut f64>,
    ) -> io::Result<()> {
        // One loop a type, so that the inner one is a plain conversion.
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
        }
    }
}

fn fill<'a, const SIZE: usize>(
    reader: &mut impl Read,
    mut slots: impl ExactSizeIterator<Item = &'a mut f64>,
    widen: impl Fn([u8; SIZE]) -> f64,
) -> io::Result<()> {
    let mut buffer = vec![0u8; CHUNK];
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
            Some(Element::F32 { big_endian: false })
        );
        assert_eq!(
            Element::from_numpy(">f8"),
            Some(Element::F64 { big_endian: true })
        );
        for other in ["<i4", "|b1", "<c16", "", "é", "<f16"] {
            assert_eq!(Element::from_numpy(other), None, "{other}");
        }
    }
}
