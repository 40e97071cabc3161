//! Splits Rust (or C) text into code and comments, position for position.
//!
//! Enough of the grammar to know where a comment, a string or a character literal begins and ends;
//! a quote that opens no character literal is a lifetime.

/// The two halves of a text. Each has the text's length in characters and its line breaks; what
/// belongs to the other half, and what is inside a literal, is blank.
#[derive(Debug)]
pub(crate) struct Lexed {
    /// Everything but comments and the insides of literals.
    pub(crate) code: String,
    /// The comments alone, with their slashes.
    pub(crate) comments: String,
}

#[derive(Clone, Copy)]
enum Half {
    Code,
    Comment,
    Literal,
}

/// Splits `text`.
pub(crate) fn split(text: &str) -> Lexed {
    let chars: Vec<char> = text.chars().collect();
    let mut lexed = Lexed {
        code: String::with_capacity(text.len()),
        comments: String::with_capacity(text.len()),
    };
    let mut at = 0;
    while at < chars.len() {
        let (half, end) = token(&chars, at);
        for &c in &chars[at..end] {
            let blank = if c == '\n' { '\n' } else { ' ' };
            lexed
                .code
                .push(if matches!(half, Half::Code) { c } else { blank });
            lexed.comments.push(if matches!(half, Half::Comment) {
                c
            } else {
                blank
            });
        }
        at = end;
    }
    lexed
}

/// Which half the token at `at` belongs to, and where it ends (past `at`, at most the length).
fn token(chars: &[char], at: usize) -> (Half, usize) {
    let next = chars.get(at + 1).copied();
    match (chars[at], next) {
        ('/', Some('/')) => (Half::Comment, line_end(chars, at)),
        ('/', Some('*')) => (Half::Comment, block_comment_end(chars, at)),
        ('"', _) => (Half::Literal, string_end(chars, at)),
        ('r', Some('"' | '#')) if !follows_word(chars, at) => match raw_string_end(chars, at) {
            Some(end) => (Half::Literal, end),
            None => (Half::Code, at + 1),
        },
        ('\'', _) => match char_end(chars, at) {
            Some(end) => (Half::Literal, end),
            None => (Half::Code, at + 1),
        },
        _ => (Half::Code, at + 1),
    }
}

fn line_end(chars: &[char], at: usize) -> usize {
    let rest = &chars[at..];
    at + rest.iter().position(|&c| c == '\n').unwrap_or(rest.len())
}

fn block_comment_end(chars: &[char], at: usize) -> usize {
    let mut depth = 0_usize;
    let mut i = at;
    while i < chars.len() {
        match (chars[i], chars.get(i + 1)) {
            ('/', Some('*')) => {
                depth += 1;
                i += 2;
            }
            ('*', Some('/')) => {
                depth -= 1;
                i += 2;
                if depth == 0 {
                    return i;
                }
            }
            _ => i += 1,
        }
    }
    chars.len()
}

fn string_end(chars: &[char], at: usize) -> usize {
    let mut i = at + 1;
    while i < chars.len() {
        match chars[i] {
            '\\' => i += 2,
            '"' => return i + 1,
            _ => i += 1,
        }
    }
    chars.len()
}

/// A letter, digit or underscore stands before `at` (but for the `b` or `c` of a prefix).
fn follows_word(chars: &[char], at: usize) -> bool {
    let word = |i: usize| chars[i].is_alphanumeric() || chars[i] == '_';
    at > 0 && word(at - 1) && !(matches!(chars[at - 1], 'b' | 'c') && (at < 2 || !word(at - 2)))
}

fn raw_string_end(chars: &[char], at: usize) -> Option<usize> {
    let hashes = chars[at + 1..].iter().take_while(|&&c| c == '#').count();
    let open = at + 1 + hashes;
    if chars.get(open) != Some(&'"') {
        return None;
    }
    let mut i = open + 1;
    while i < chars.len() {
        let closed = chars[i] == '"'
            && chars[i + 1..]
                .iter()
                .take(hashes)
                .filter(|&&c| c == '#')
                .count()
                == hashes;
        if closed {
            return Some(i + 1 + hashes);
        }
        i += 1;
    }
    Some(chars.len())
}

fn char_end(chars: &[char], at: usize) -> Option<usize> {
    match (chars.get(at + 1)?, chars.get(at + 2)?) {
        ('\\', _) => {
            let closing = chars[at + 3..].iter().take(12).position(|&c| c == '\'')?;
            Some(at + 4 + closing)
        }
        (_, '\'') => Some(at + 3),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_leave_the_code() {
        let text = "a /* b /* c */ d */ e // f\n\"g // h\" 'i' '\\'' '\\u{41}' r#\"j\"k\"# l br\"m\" 'n: o\n";
        let lexed = split(text);
        let words = |text: &str| {
            text.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(words(&lexed.code), ["a", "e", "l", "b", "'n:", "o"]);
        assert_eq!(words(&lexed.comments).join(" "), "/* b /* c */ d */ // f");
        assert_eq!(lexed.code.chars().count(), text.chars().count());
        assert_eq!(lexed.comments.lines().count(), text.lines().count());
    }

    #[test]
    fn unclosed_tokens_end_with_the_text() {
        for text in ["\"abc\\", "/* abc", "r#\"abc\"", "'", "'\\", "r#", "b'"] {
            assert_eq!(
                split(text).code.chars().count(),
                text.chars().count(),
                "{text}"
            );
        }
    }
}
