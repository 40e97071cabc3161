//! Mutations that know nothing of a format: bits, numbers, pieces.

use crate::random::Random;

/// The longest input that mutations make.
const LONGEST: usize = 1 << 17;

/// Does something to `bytes`; `others` are files to splice from.
pub(crate) fn once(bytes: &mut Vec<u8>, others: &[Vec<u8>], random: &mut Random) {
    let length = bytes.len();
    let at = random.below(length + 1);
    let count = random.below(1 + (length - at).min(64));
    match random.below(12) {
        0 if at < length => bytes[at] ^= 1 << random.below(8),
        1 if at < length => bytes[at] = random.byte(),
        2 if at < length => {
            bytes[at] = *random.pick(&[0, 0x7f, 0x80, 0xff, b'0', b'9', b'-', b'"'])
        }
        3 | 4 => {
            let width = *random.pick(&[2, 4, 8]);
            let number = random.turn(length).to_le_bytes();
            for (slot, byte) in bytes[at..].iter_mut().zip(&number[..width]) {
                *slot = *byte;
            }
        }
        5 => {
            bytes.drain(at..at + count);
        }
        6 => {
            let piece = bytes[at..at + count].to_vec();
            let to = random.below(length + 1);
            bytes.splice(to..to, piece);
        }
        7 => {
            let piece = random.bytes(count);
            bytes.splice(at..at, piece);
        }
        8 => bytes.truncate(at),
        9 => {
            let more = random.below(40);
            let more = random.bytes(more);
            bytes.extend(more);
        }
        10 if !others.is_empty() => {
            let other = random.pick(others);
            let first = random.below(other.len() + 1);
            let count = random.below(1 + (other.len() - first).min(400));
            bytes.splice(at..at, other[first..first + count].iter().copied());
        }
        _ => {
            let byte = random.byte();
            for slot in &mut bytes[at..at + count] {
                *slot = byte;
            }
        }
    }
    bytes.truncate(LONGEST);
}

/// Replaces a run of digits by another number, as text.
pub(crate) fn number(bytes: &mut Vec<u8>, random: &mut Random) {
    let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let starts: Vec<usize> = (0..bytes.len())
        .filter(|&at| digit(at) && !(at > 0 && digit(at - 1)))
        .take(256)
        .collect();
    if starts.is_empty() {
        return;
    }
    let at = *random.pick(&starts);
    let end = (at..bytes.len())
        .find(|&at| !digit(at))
        .unwrap_or(bytes.len());
    let text = word(random, end);
    bytes.splice(at..end, text.into_bytes());
}

/// A number as text: mostly one that readers should refuse.
pub(crate) fn word(random: &mut Random, size: usize) -> String {
    let number = random.turn(size);
    match random.below(10) {
        0 => format!("-{number}"),
        1 => format!("{number}.5"),
        2 => format!("{number}00000000000000000000"),
        3 => format!("{number}e9"),
        4 => format!("{number}L"),
        _ => number.to_string(),
    }
}
