//! One label a line.
//!
//! A file of labels is UTF-8. A byte-order mark at the start of a line is dropped: editors put one at
//! the start of a file, and joined files have one at each seam. One blank line at the end is not a
//! label. For text in another encoding the error names what it looks like.

use super::InputError;
use std::path::Path;

/// The byte-order mark.
const MARK: char = '\u{feff}';

/// Reads one label a line for the `rows` rows of `array`.
///
/// # Errors
/// An unreadable file, and those of [`parse_labels`].
pub fn read_labels(path: &Path, array: &str, rows: usize) -> Result<Vec<String>, InputError> {
    let bytes = std::fs::read(path).map_err(|source| InputError::Io {
        path: path.to_owned(),
        source,
    })?;
    parse_labels(&bytes, path, array, rows)
}

/// One label from each line of `bytes`, the contents of the file at `path`. Space around a label is
/// dropped. Lines may end in LF, CRLF or CR; the last needs no end, and one blank line may follow.
///
/// # Errors
/// Text that is not UTF-8, an empty line before the last, a count other than `rows`.
pub fn parse_labels(
    bytes: &[u8],
    path: &Path,
    array: &str,
    rows: usize,
) -> Result<Vec<String>, InputError> {
    let text = decode(bytes).map_err(|found| InputError::Encoding {
        path: path.to_owned(),
        found,
    })?;
    let mut labels: Vec<&str> = lines(text)
        .map(|line| line.trim_matches(|c: char| c == MARK || c.is_whitespace()))
        .collect();
    if labels.last().is_some_and(|last| last.is_empty()) {
        labels.pop();
    }
    if let Some(line) = labels.iter().position(|label| label.is_empty()) {
        return Err(InputError::EmptyLabel {
            path: path.to_owned(),
            line: line + 1,
        });
    }
    if labels.len() != rows {
        return Err(InputError::LabelCount {
            path: path.to_owned(),
            labels: labels.len(),
            array: array.to_owned(),
            rows,
        });
    }
    Ok(labels.into_iter().map(str::to_owned).collect())
}

/// The lines of a text; no line follows the last line end.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let Some(end) = rest.find(['\n', '\r']) else {
            return Some(std::mem::take(&mut rest));
        };
        let (line, behind) = rest.split_at(end);
        rest = behind.strip_prefix("\r\n").unwrap_or(&behind[1..]);
        Some(line)
    })
}

/// The text of UTF-8 bytes, or the encoding that they seem to have instead.
fn decode(bytes: &[u8]) -> Result<&str, String> {
    match bytes {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => return Err("is UTF-32".to_owned()),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => return Err("is UTF-16".to_owned()),
        _ => {}
    }
    let zero = bytes.iter().position(|&byte| byte == 0);
    let line = |at: usize| {
        let before = &bytes[..at];
        lines_of_bytes(before) + 1
    };
    if let Some(at) = zero {
        // Latin letters in UTF-16 have every other byte 0.
        let (pairs, _) = bytes.as_chunks::<2>();
        let zeros = |half: usize| pairs.iter().filter(|pair| pair[half] == 0).count();
        let (first, second) = (zeros(0), zeros(1));
        let alternate = first.min(second) == 0 && 2 * first.max(second) >= pairs.len();
        return Err(if alternate {
            "looks like UTF-16 without a byte-order mark".to_owned()
        } else {
            format!("line {} holds the byte 0, so it is no text", line(at))
        });
    }
    std::str::from_utf8(bytes).map_err(|error| {
        let at = error.valid_up_to();
        match bytes.get(at) {
            Some(byte) => format!(
                "line {} holds the byte 0x{byte:02x}, which is not UTF-8 there",
                line(at)
            ),
            None => error.to_string(),
        }
    })
}

/// The number of line ends in `bytes`.
fn lines_of_bytes(bytes: &[u8]) -> usize {
    let ends = |at: usize| match bytes[at] {
        b'\n' => true,
        b'\r' => bytes.get(at + 1) != Some(&b'\n'),
        _ => false,
    };
    (0..bytes.len()).filter(|&at| ends(at)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: impl AsRef<[u8]>, rows: usize) -> Result<Vec<String>, String> {
        parse_labels(bytes.as_ref(), Path::new("l.txt"), "x.npy", rows)
            .map_err(|error| error.to_string())
    }

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn a_byte_order_mark_is_part_of_no_label() {
        assert_eq!(read("\u{feff}a\nb\n", 2), Ok(words("a b")));
        // Two joined files, each with a mark.
        assert_eq!(read("\u{feff}a\n\u{feff}b\n", 2), Ok(words("a b")));
        assert_eq!(read("\u{feff}", 0), Ok(vec![]));
        // With space beside the mark, which was once left in a label.
        assert_eq!(read(" \u{feff} a\nb\u{feff}\n", 2), Ok(words("a b")));
    }

    #[test]
    fn every_line_end_ends_a_line_and_one_blank_line_at_the_end_is_no_label() {
        for text in [
            "a\nb",
            "a\nb\n",
            "a\nb\n\n",
            "a\r\nb\r\n",
            "a\r\nb\r\n\r\n",
            "a\rb\r",
            "a\nb\n  ",
            " a\t\nb \n\t\n",
        ] {
            assert_eq!(read(text, 2), Ok(words("a b")), "{text:?}");
        }
        assert_eq!(read("", 0), Ok(vec![]));
        let error = read("a\n\nb\n", 3).unwrap_err();
        assert_eq!(error, "l.txt: line 2 is empty: expected a label");
        let error = read("a\nb\n\n\n", 2).unwrap_err();
        assert_eq!(error, "l.txt: line 3 is empty: expected a label");
        let error = read("a\nb\n", 3).unwrap_err();
        assert!(
            error.contains("2 labels for the 3 rows of x.npy"),
            "{error}"
        );
    }

    #[test]
    fn another_encoding_is_named() {
        let utf16 =
            |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_le_bytes).collect() };
        let big =
            |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_be_bytes).collect() };
        for bytes in [utf16("\u{feff}a\nb\n"), big("\u{feff}a\nb\n")] {
            assert_eq!(
                read(bytes, 2).unwrap_err(),
                "l.txt: is UTF-16: expected UTF-8"
            );
        }
        for bytes in [utf16("Montag\nDienstag\n"), big("Montag\nDienstag\n")] {
            let error = read(bytes, 2).unwrap_err();
            assert!(error.contains("looks like UTF-16 without"), "{error}");
        }
        let error = read([0xff, 0xfe, 0, 0, b'a', 0, 0, 0], 1).unwrap_err();
        assert!(error.contains("is UTF-32"), "{error}");
        let error = read(b"a\r\nb\r\nM\xe4rz\r\n", 3).unwrap_err();
        assert!(error.contains("line 3 holds the byte 0xe4"), "{error}");
        let error = read(b"abc\nd\0f\n", 2).unwrap_err();
        assert!(error.contains("line 2 holds the byte 0"), "{error}");
    }
}
