//! Messages on the terminal, and how text from files and people is put into them.
//!
//! ```text
//! label, array name, path, header, library's message -> text | path | list -> a message
//! a message -> say (standard error) | for_terminal (standard output) | json
//! ```
//!
//! A name with an escape sequence could move the cursor, recolour or rename the terminal; a line break
//! could forge a second message; a direction mark reverses the text that follows. [`text`] writes such
//! characters as `\u{1b}` and shortens long text. All output goes through [`say`], [`for_terminal`] or
//! [`json`], which escape again, so a message that did not escape may be too long but is never raw.

use serde::Serialize;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

/// The most characters of the name of an array, a label or a type.
pub const NAME: usize = 120;
/// The most characters of a path: the usual limit on one component.
pub const PATH: usize = 255;
/// The most characters of a reason that another library gives.
pub const REASON: usize = 300;
/// The most characters of a message.
pub const MESSAGE: usize = 4000;
/// The most names in a list.
pub const LISTED: usize = 16;

/// Whether a terminal or a picture may show `c` as it is: not a control character, not an invisible
/// character or direction mark, not a code point that XML forbids.
fn shows(c: char) -> bool {
    !(c.is_control()
        || matches!(c,
            // Soft hyphen, marks and overrides of direction, separators of lines and paragraphs.
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            // Byte-order mark, annotations, tags and noncharacters.
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{fffe}' | '\u{ffff}'
            | '\u{e0000}'..='\u{e007f}'))
}

fn push_escaped(to: &mut String, c: char) {
    match c {
        '\n' => to.push_str("\\n"),
        '\r' => to.push_str("\\r"),
        '\t' => to.push_str("\\t"),
        // Writing to a string cannot fail.
        c => {
            let _ = write!(to, "\\u{{{:x}}}", u32::from(c));
        }
    }
}

/// `text` with unsafe characters escaped, in at most `most` characters; a longer text ends in `…`.
pub fn text(text: &str, most: usize) -> String {
    let mut shown = String::new();
    let mut length = 0;
    // Where the text is cut if an ellipsis has to follow.
    let mut cut = 0;
    for c in text.chars() {
        let before = shown.len();
        if shows(c) {
            shown.push(c);
        } else {
            push_escaped(&mut shown, c);
        }
        length += shown[before..].chars().count();
        if length > most {
            shown.truncate(cut);
            shown.push('…');
            return shown;
        }
        if length < most {
            cut = shown.len();
        }
    }
    shown
}

/// A label, or the name of an array or a type.
pub fn name(name: &str) -> String {
    text(name, NAME)
}

/// A path.
pub fn path(path: &Path) -> String {
    ends(&path.to_string_lossy())
}

/// A path, or a path and the name of an array. A long one keeps both ends, because the end tells files
/// apart.
pub fn ends(whole: &str) -> String {
    let length = whole.chars().count();
    if length <= PATH {
        return text(whole, 10 * PATH);
    }
    let end: String = whole.chars().skip(length - PATH / 2).collect();
    format!("{}{}", text(whole, PATH / 2), text(&end, 10 * PATH))
}

/// The first `most` of `items`, and the number of the others.
pub fn list<T: AsRef<str>>(items: impl ExactSizeIterator<Item = T>, most: usize) -> String {
    let more = items.len().saturating_sub(most);
    let shown: Vec<String> = items.take(most).map(|item| name(item.as_ref())).collect();
    match more {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// Writes `broadhead: message` to standard error, in one line.
pub fn say(message: impl std::fmt::Display) {
    let line = text(&message.to_string(), MESSAGE);
    // If standard error is closed too there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "broadhead: {line}");
}

/// Lines for a person, with unsafe characters escaped and line breaks kept.
pub fn for_terminal(lines: &str) -> String {
    let mut shown = String::with_capacity(lines.len());
    for c in lines.chars() {
        if c == '\n' || shows(c) {
            shown.push(c);
        } else {
            push_escaped(&mut shown, c);
        }
    }
    shown
}

/// `value` as JSON, with a line break at the end. Unsafe characters in strings are written as `\u001b`,
/// so the text is safe on a terminal and means the same.
///
/// # Errors
/// What the serialiser returns.
pub fn json<T: Serialize>(value: &T) -> serde_json::Result<String> {
    let plain = serde_json::to_string_pretty(value)?;
    let mut shown = String::with_capacity(plain.len() + 1);
    for c in plain.chars() {
        // Line breaks occur only between tokens; in strings they are already escaped.
        if c == '\n' || shows(c) {
            shown.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(shown, "\\u{unit:04x}");
            }
        }
    }
    shown.push('\n');
    Ok(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A clear screen, a C1 introducer, a bell, an override of direction, a line break.
    const HOSTILE: &str = "a\u{1b}[2J\u{9b}31m\u{7}\u{202e}\nbroadhead: all is well";

    #[test]
    fn what_moves_a_cursor_or_turns_text_is_escaped() {
        let shown = name(HOSTILE);
        assert_eq!(
            shown,
            "a\\u{1b}[2J\\u{9b}31m\\u{7}\\u{202e}\\nbroadhead: all is well"
        );
        assert_eq!(name("Montag, 月曜日 👩‍🚀"), "Montag, 月曜日 👩‍🚀");
        assert_eq!(for_terminal("one\ntwo\r\u{1b}c"), "one\ntwo\\r\\u{1b}c");
    }

    #[test]
    fn what_is_long_is_cut_to_its_length() {
        assert_eq!(text("abcd", 4), "abcd");
        assert_eq!(text("abcde", 4), "abc…");
        // An escape is never cut in two.
        assert_eq!(text("ab\u{1b}", 5), "ab…");
        assert_eq!(text("ab\u{1b}", 8), "ab\\u{1b}");
        assert_eq!(text(&"x".repeat(1 << 22), 10).chars().count(), 10);
        let long = format!("{}/end.npy", "folder/".repeat(1000));
        let shown = path(Path::new(&long));
        assert!(shown.chars().count() <= PATH && shown.ends_with("/end.npy"));
    }

    #[test]
    fn a_list_says_how_many_it_leaves_out() {
        let items: Vec<String> = (0..5).map(|item| item.to_string()).collect();
        assert_eq!(list(items.iter(), 5), "0, 1, 2, 3, 4");
        assert_eq!(list(items.iter(), 2), "0, 1 and 3 more");
    }

    #[test]
    fn json_means_the_same_and_holds_nothing_raw() {
        let label = format!("{HOSTILE}\u{e0041}");
        let shown = json(&[&label]).unwrap();
        assert!(shown.chars().all(|c| c == '\n' || shows(c)), "{shown:?}");
        let read: Vec<String> = serde_json::from_str(&shown).unwrap();
        assert_eq!(read, [label]);
    }
}
