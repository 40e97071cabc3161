//! Long operands of the libraries in pieces.
//!
//! Orders and distances are 32-bit numbers to the libraries, and not all of their kernels count the
//! places of a matrix with more. So what may be longer, the rows' side of a system, is handed over in
//! pieces of whole lines; every place in a piece is then one of a matrix that 32 bits count.

use std::ops::Range;

/// Places that 32 bits count.
pub(crate) const COUNTED: usize = i32::MAX as usize;

/// Ranges of `lines` lines that are `leading` numbers apart, in order, of at most `most` numbers each
/// and of one line at least. Where there are no lines, one range without any: a product over nothing
/// still scales what it is added to.
pub(crate) fn pieces(
    lines: usize,
    leading: usize,
    most: usize,
) -> impl Iterator<Item = Range<usize>> {
    let at_once = (most / leading.max(1)).max(1);
    let count = lines.div_ceil(at_once).max(1);
    (0..count).map(move |piece| {
        let first = piece * at_once;
        first..lines.min(first + at_once)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_all_lines_once_and_their_places_are_counted() {
        for (lines, leading) in [
            (1, 1),
            (500_000, 5120),
            (i32::MAX as usize, 1),
            (i32::MAX as usize, 45_056),
            (1_000_000, 65_536),
            (7, i32::MAX as usize),
            (3, 0),
        ] {
            for most in [1 << 28, COUNTED] {
                let mut next = 0;
                for piece in pieces(lines, leading, most) {
                    assert_eq!(piece.start, next, "{lines} x {leading}");
                    assert!(!piece.is_empty());
                    assert!(piece.len() == 1 || piece.len() * leading <= most);
                    assert!((piece.len() * leading) as u64 <= i32::MAX as u64);
                    // Only the last is short.
                    let full = (piece.len() + 1) * leading > most;
                    assert!(full || piece.end == lines, "{lines} x {leading}");
                    next = piece.end;
                }
                assert_eq!(next, lines);
            }
        }
        // 2.56e9 numbers, the shape of the largest test: two pieces.
        let of_y: Vec<_> = pieces(500_000, 5120, COUNTED).collect();
        assert_eq!(of_y, [0..419_430, 419_430..500_000]);
    }

    #[test]
    fn without_lines_there_is_one_piece_without_any() {
        let mut none = pieces(0, 5120, COUNTED);
        assert_eq!((none.next(), none.next()), (Some(0..0), None));
    }
}
