//! Seals: a digest of a line of evidence in the line.
//!
//! ```text
//! {"schema":2, ... ,"receipt":{...},"seal":"64 hexadecimal digits"}
//! |------ SHA-256 of these bytes -|
//! ```
//! A record travels from the machine that it was made on to the repository that keeps it, and the
//! seal says that it arrived. What it protects from: an edit. A number changed by hand, a line cut short or joined from two, a
//! file that an editor or a merge touched: the bytes differ, and the reader refuses the line.
//! What it does not protect from: a program that writes a false record and seals it, for there is
//! no secret in it; and lines that are left out. Against those stand the receipt (commit and digest
//! of the program, so that anyone can run it again) and the rule that a cell without a record is
//! undetermined.

use sha2::{Digest, Sha256};

const FIELD: &str = ",\"seal\":\"";
const DIGITS: usize = 64;

/// The bytes of a line are not those that were sealed, or there is no seal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the seal does not fit: the line was changed after it was written")]
pub struct Broken;

/// The object `text` with its seal as the last field.
///
/// ```
/// use broadhead_device::seal;
///
/// let line = seal::seal(r#"{"median_us":17.3}"#);
/// assert_eq!(seal::open(&line)?, r#"{"median_us":17.3}"#);
/// assert!(seal::open(&line.replace("17.3", "12.3")).is_err());
/// # Ok::<(), seal::Broken>(())
/// ```
pub fn seal(text: &str) -> String {
    let body = text.strip_suffix('}').unwrap_or(text);
    format!("{body}{FIELD}{}\"}}", digest(body.as_bytes()))
}

/// The object without its seal, where the seal fits.
///
/// # Errors
/// [`Broken`].
pub fn open(line: &str) -> Result<String, Broken> {
    let rest = line.strip_suffix("\"}").ok_or(Broken)?;
    let at = rest.len().checked_sub(DIGITS).ok_or(Broken)?;
    let (head, found) = (rest.get(..at), rest.get(at..));
    let body = head.and_then(|head| head.strip_suffix(FIELD));
    match (body, found) {
        (Some(body), Some(found)) if digest(body.as_bytes()) == found => Ok(format!("{body}}}")),
        _ => Err(Broken),
    }
}

/// SHA-256 in hexadecimal.
pub fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
