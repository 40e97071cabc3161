//! Text that C libraries write.

/// The bytes before the first NUL, as text; what is no UTF-8 is replaced.
pub(crate) fn until_nul(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}
