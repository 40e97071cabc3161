//! The header of an `.npy` array.
//!
//! ```text
//! \x93NUMPY  major minor  length (2 bytes in version 1, 4 in 2 and 3, little-endian)  dictionary
//! {'descr': '<f8', 'fortran_order': False, 'shape': (3, 4), }    padded with spaces, then \n
//! ```
//!
//! The dictionary is Python text. A general parser of such text takes exponential time, or the whole
//! stack, for nested brackets. This one reads the three known keys in one pass; of a structured type it
//! only finds the end.

use super::element::Order;
use std::io::{self, Read};

const MAGIC: &[u8; 6] = b"\x93NUMPY";

/// The longest dictionary that is read: the limit of version 1. NumPy itself reads 10,000 bytes unless
/// told to trust the file.
const LONGEST: u64 = 1 << 16;

/// The most axes, as in NumPy.
const MOST_AXES: usize = 64;

/// The element type of a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Descriptor {
    /// A word such as `<f8`.
    Word(String),
    /// Fields, as Python text.
    Structured(String),
}

/// A header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) descriptor: Descriptor,
    pub(super) order: Order,
    pub(super) shape: Vec<usize>,
}

/// Reads a header from the current position of `reader`.
///
/// # Errors
/// A description of what is wrong.
pub(super) fn read(reader: &mut impl Read) -> Result<Header, String> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::UnexpectedEof => "truncated inside its header".to_owned(),
        _ => error.to_string(),
    };
    let mut magic = [0; MAGIC.len()];
    // A file shorter than the magic string that begins differently is not an .npy either.
    let read = fill(reader, &mut magic).map_err(failed)?;
    if magic[..read] != MAGIC[..read] || read == 0 {
        return Err("not an .npy array: it does not begin with \\x93NUMPY".to_owned());
    }
    let mut version = [0; 2];
    reader.read_exact(&mut version).map_err(failed)?;
    let length = match version {
        [1, 0] => {
            let mut length = [0; 2];
            reader.read_exact(&mut length).map_err(failed)?;
            u64::from(u16::from_le_bytes(length))
        }
        [2 | 3, 0] => {
            let mut length = [0; 4];
            reader.read_exact(&mut length).map_err(failed)?;
            u64::from(u32::from_le_bytes(length))
        }
        [major, minor] => {
            return Err(format!(
                "not an .npy array that is read: version {major}.{minor}, expected 1.0, 2.0 or 3.0"
            ));
        }
    };
    if length > LONGEST {
        return Err(format!(
            "its header would have {length} bytes: expected at most {LONGEST}"
        ));
    }
    // Reads what is there instead of reserving what is declared.
    let mut dictionary = Vec::new();
    reader
        .take(length)
        .read_to_end(&mut dictionary)
        .map_err(failed)?;
    if (dictionary.len() as u64) < length {
        return Err("truncated inside its header".to_owned());
    }
    parse(&dictionary).map_err(|reason| format!("not an .npy array: {reason}"))
}

/// Fills `buffer` until it is full or `reader` ends.
fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn parse(dictionary: &[u8]) -> Result<Header, String> {
    let mut text = Text {
        bytes: dictionary,
        at: 0,
    };
    let (mut descriptor, mut order, mut shape) = (None, None, None);
    text.expect(b'{', "its header is no dictionary")?;
    while !text.take(b'}') {
        let key = text.string().ok_or("a key of its header is no string")?;
        text.expect(b':', "a key of its header has no value")?;
        match key.as_str() {
            "descr" => descriptor = Some(text.descriptor()?),
            "fortran_order" => order = Some(text.order()?),
            "shape" => shape = Some(text.shape()?),
            other => return Err(format!("its header has the unknown key {other}")),
        }
        if !text.take(b',') {
            text.expect(b'}', "its header has no comma behind a value")?;
            break;
        }
    }
    if text.peek().is_some() {
        return Err("its header goes on behind its dictionary".to_owned());
    }
    let missing = |key: &str| format!("its header has no {key}");
    Ok(Header {
        descriptor: descriptor.ok_or_else(|| missing("descr"))?,
        order: order.ok_or_else(|| missing("fortran_order"))?,
        shape: shape.ok_or_else(|| missing("shape"))?,
    })
}

/// Python text and a position in it.
struct Text<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Text<'_> {
    /// The next byte that is not a space.
    fn peek(&mut self) -> Option<u8> {
        while let Some(&byte) = self.bytes.get(self.at) {
            if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | b'\x0c') {
                return Some(byte);
            }
            self.at += 1;
        }
        None
    }

    fn take(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    fn expect(&mut self, byte: u8, otherwise: &str) -> Result<(), String> {
        if self.take(byte) {
            Ok(())
        } else {
            Err(otherwise.to_owned())
        }
    }

    /// A string in single or double quotes; escapes are not decoded.
    fn string(&mut self) -> Option<String> {
        let quote = self.peek().filter(|byte| matches!(byte, b'\'' | b'"'))?;
        let first = self.at + 1;
        let mut at = first;
        loop {
            match self.bytes.get(at)? {
                b'\\' => at += 2,
                byte if *byte == quote => break,
                _ => at += 1,
            }
        }
        self.at = at + 1;
        Some(String::from_utf8_lossy(&self.bytes[first..at]).into_owned())
    }

    fn descriptor(&mut self) -> Result<Descriptor, String> {
        if self.peek().is_some_and(|byte| matches!(byte, b'\'' | b'"')) {
            let word = self.string().ok_or("its descr does not end")?;
            return Ok(Descriptor::Word(word));
        }
        let first = self.at;
        let mut depth = 0usize;
        loop {
            match self.peek() {
                Some(b'(' | b'[' | b'{') => depth += 1,
                Some(b')' | b']' | b'}') if depth > 0 => depth -= 1,
                Some(b'\'' | b'"') => {
                    self.string().ok_or("its descr does not end")?;
                    continue;
                }
                Some(b',' | b'}') if depth == 0 => break,
                Some(_) => {}
                None => return Err("its descr does not end".to_owned()),
            }
            self.at += 1;
        }
        let fields = String::from_utf8_lossy(&self.bytes[first..self.at]);
        Ok(Descriptor::Structured(fields.trim().to_owned()))
    }

    fn order(&mut self) -> Result<Order, String> {
        let _ = self.peek();
        for (word, order) in [("True", Order::Fortran), ("False", Order::C)] {
            if self.bytes[self.at..].starts_with(word.as_bytes()) {
                self.at += word.len();
                return Ok(order);
            }
        }
        Err("its fortran_order is neither True nor False".to_owned())
    }

    /// A tuple of whole numbers. Python 2 wrote long ones as `3L`.
    fn shape(&mut self) -> Result<Vec<usize>, String> {
        const OTHER: &str = "its shape is no tuple of whole numbers from 0";
        self.expect(b'(', OTHER)?;
        let mut shape = Vec::new();
        let mut comma = true;
        while !self.take(b')') {
            if !comma {
                return Err(OTHER.to_owned());
            }
            if self.peek() == Some(b'-') {
                return Err("its shape has a negative extent".to_owned());
            }
            let rest = &self.bytes[self.at..];
            let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            if digits == 0 {
                return Err(OTHER.to_owned());
            }
            let extent = rest[..digits].iter().try_fold(0usize, |sum, digit| {
                sum.checked_mul(10)?.checked_add(usize::from(digit - b'0'))
            });
            shape.push(extent.ok_or("its shape has an extent beyond 64 bits")?);
            if shape.len() > MOST_AXES {
                return Err(format!("its shape has more than {MOST_AXES} axes"));
            }
            self.at += digits;
            self.take(b'L');
            comma = self.take(b',');
        }
        if comma || shape.len() != 1 {
            Ok(shape)
        } else {
            // `(5)` is a number in brackets.
            Err(OTHER.to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(version: u8, dictionary: &str) -> Vec<u8> {
        let mut bytes = [&MAGIC[..], &[version, 0]].concat();
        let length = dictionary.len() as u32;
        let length = length.to_le_bytes();
        bytes.extend(if version == 1 {
            &length[..2]
        } else {
            &length[..]
        });
        bytes.extend(dictionary.as_bytes());
        bytes
    }

    #[test]
    fn every_version_and_way_to_write_it_is_read() {
        for version in [1, 2, 3] {
            for text in [
                "{'descr': '<f8', 'fortran_order': False, 'shape': (3, 4), }   \n",
                "{\"shape\":(3L,4L),\"descr\":\"<f8\",\"fortran_order\":False}",
            ] {
                let read = read(&mut &header(version, text)[..]).unwrap();
                assert_eq!(read.shape, [3, 4]);
                assert_eq!(read.order, Order::C);
                assert_eq!(read.descriptor, Descriptor::Word("<f8".to_owned()));
            }
        }
        let scalar = "{'descr': '>f4', 'fortran_order': True, 'shape': ()}";
        let read = read(&mut &header(1, scalar)[..]).unwrap();
        assert_eq!((read.shape, read.order), (vec![], Order::Fortran));
    }

    #[test]
    fn every_wrong_header_says_what_is_wrong() {
        let of = |shape: &str| format!("{{'descr':'<f8','fortran_order':False,'shape':{shape}}}");
        for (text, part) in [
            ("[]".to_owned(), "no dictionary"),
            ("{'descr': '<f8'}".to_owned(), "no fortran_order"),
            ("{'rank': 3}".to_owned(), "unknown key rank"),
            (of("(3, -1)"), "negative extent"),
            (of("(99999999999999999999, 2)"), "beyond 64 bits"),
            (of("(3)"), "no tuple"),
            (of("(3 4)"), "no tuple"),
            (of("3"), "no tuple"),
            (of(&format!("({})", "1,".repeat(65))), "more than 64 axes"),
            (of("()") + "x", "goes on"),
            (of("()").replace("False", "0"), "neither True nor False"),
            (of("(").replace('}', ""), "no tuple"),
        ] {
            let error = read(&mut &header(1, &text)[..]).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
        let error = read(&mut &header(4, "{}")[..]).unwrap_err();
        assert!(error.contains("version 4.0"), "{error}");
    }

    #[test]
    fn brackets_in_brackets_take_one_pass_and_no_stack() {
        let depth = 20_000;
        let descr = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let text = format!("{{'descr':{descr},'fortran_order':False,'shape':(1,)}}");
        let read = read(&mut &header(1, &text)[..]).unwrap();
        assert_eq!(read.descriptor, Descriptor::Structured(descr));
    }

    #[test]
    fn a_header_that_claims_more_than_is_there_reserves_nothing() {
        let mut bytes = header(2, "{}");
        bytes[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
        let error = read(&mut &bytes[..]).unwrap_err();
        assert!(error.contains("4294967295 bytes"), "{error}");
        bytes[8..12].copy_from_slice(&60_000u32.to_le_bytes());
        assert_eq!(
            read(&mut &bytes[..]).unwrap_err(),
            "truncated inside its header"
        );
    }
}
