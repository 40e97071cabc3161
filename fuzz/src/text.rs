//! Files of labels.

use crate::random::Random;

const WORDS: &[&str] = &[
    "Monday",
    "b",
    "",
    " ",
    "\u{1b}[2J",
    "\u{9b}31m",
    "\u{202e}abc",
    "月曜日",
    "é",
    "\0",
    "\u{feff}",
    "<text>",
    "&amp;",
    "\"",
    "\t",
    "\u{2028}",
    "👩‍🚀",
    "fill=\"#FEFFFD\"",
    "\u{fffe}",
];

/// Some lines in some encoding.
pub(crate) fn build(random: &mut Random) -> Vec<u8> {
    let end = *random.pick(&["\n", "\n", "\r\n", "\r", "\n\r"]);
    let mut text = String::new();
    if random.one_in(3) {
        text.push('\u{feff}');
    }
    // Half of the files have words alone that are labels.
    let words = if random.one_in(2) { &WORDS[..2] } else { WORDS };
    for _ in 0..random.below(12) {
        text += *random.pick(words);
        text += end;
    }
    for _ in 0..random.below(3) {
        text += end;
    }
    match random.below(8) {
        0 => text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        1 => text.encode_utf16().flat_map(u16::to_be_bytes).collect(),
        2 => text.chars().map(|c| u32::from(c) as u8).collect(),
        3 => text
            .chars()
            .flat_map(|c| u32::from(c).to_le_bytes())
            .collect(),
        _ => text.into_bytes(),
    }
}
