use super::*;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes in memory that are read as if they lay elsewhere; reads fail once `left` are done.
#[derive(Debug)]
struct Elsewhere {
    bytes: Vec<u8>,
    left: AtomicUsize,
}

impl Stored for Elsewhere {
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let left = self.left.fetch_sub(1, Ordering::Relaxed);
        if left == 0 || left > usize::MAX / 2 {
            return Err(io::Error::other("the disk is gone"));
        }
        bytes.copy_from_slice(&self.bytes[offset as usize..][..bytes.len()]);
        Ok(())
    }

    fn name(&self) -> String {
        "elsewhere".to_owned()
    }
}

/// Numbers that every type has exactly.
fn number(i: usize, c: usize) -> f64 {
    (((7 * i + 5 * c) % 31) as f64 - 15.0) / 8.0
}

fn bytes_of(value: f64, element: ElementType, order: ByteOrder) -> Vec<u8> {
    let single = (value as f32).to_bits();
    let mut bytes = match element {
        ElementType::F64 => value.to_le_bytes().to_vec(),
        ElementType::F32 => single.to_le_bytes().to_vec(),
        ElementType::Bf16 => single.to_le_bytes()[2..].to_vec(),
        // Normal numbers of few digits: the exponent moves to its other bias.
        ElementType::F16 if value == 0.0 => vec![0, 0],
        ElementType::F16 => {
            let magnitude = (single & 0x7fff_ffff) >> 13;
            let bits = ((single >> 16) & 0x8000) | (magnitude - (112 << 10));
            (bits as u16).to_le_bytes().to_vec()
        }
    };
    if order == ByteOrder::Big {
        bytes.reverse();
    }
    bytes
}

/// The matrix of [`number`] from row `first` on, elsewhere, behind `offset` bytes.
fn stored(
    element: ElementType,
    bytes: ByteOrder,
    order: MatrixOrder,
    [first, n, p]: [usize; 3],
    reads: usize,
) -> Rows {
    let offset = 24;
    let mut all = vec![0xff; offset];
    let of = |i, c| bytes_of(number(first + i, c), element, bytes);
    match order {
        MatrixOrder::RowMajor => {
            all.extend((0..n * p).flat_map(|at| of(at / p, at % p)));
        }
        MatrixOrder::ColumnMajor => {
            all.extend((0..n * p).flat_map(|at| of(at % n, at / n)));
        }
    }
    let placement = Placement {
        element,
        bytes,
        order,
        shape: [n, p],
        offset: offset as u64,
    };
    let elsewhere = Elsewhere {
        bytes: all,
        left: AtomicUsize::new(reads),
    };
    Rows::stored(Box::new(elsewhere), placement)
}

fn in_memory(element: ElementType, bytes: ByteOrder, [first, n, p]: [usize; 3]) -> Rows {
    let all = (0..n * p).flat_map(|at| bytes_of(number(first + at / p, at % p), element, bytes));
    Rows::from_bytes(all.collect(), element, bytes, [n, p]).unwrap()
}

const TYPES: [ElementType; 4] = [
    ElementType::F64,
    ElementType::F32,
    ElementType::F16,
    ElementType::Bf16,
];

#[test]
fn rows_have_the_same_numbers_of_any_type_and_wherever_they_are() {
    let (n, p) = (37, 5);
    let want = Array2::from_shape_fn((n, p), |(i, c)| number(i, c));
    for element in TYPES {
        for bytes in [ByteOrder::Little, ByteOrder::Big] {
            let mut all = vec![in_memory(element, bytes, [0, n, p])];
            for order in [MatrixOrder::RowMajor, MatrixOrder::ColumnMajor] {
                all.push(stored(element, bytes, order, [0, n, p], usize::MAX / 2));
            }
            for rows in all {
                assert_eq!(rows.to_array().unwrap(), want, "{element:?} {bytes:?}");
                assert_eq!(
                    rows.read(30, 99).unwrap(),
                    want.slice(ndarray::s![30.., ..])
                );
                assert_eq!(rows.loaded().to_array().unwrap(), want);
                assert!(rows.loaded().is_in_memory());
                assert_eq!(rows.is_single(), element != ElementType::F64);
            }
        }
    }
    let single = want.mapv(|v| v as f32);
    for rows in [
        Rows::from(want.view()),
        Rows::from(want.clone()),
        Rows::from(want.clone().reversed_axes().reversed_axes()),
        Rows::from_single(single.view()),
    ] {
        assert_eq!(rows.to_array().unwrap(), want);
    }
}

#[test]
fn an_array_that_was_part_of_a_larger_one_is_read_where_it_is() {
    let want = Array2::from_shape_fn((9, 4), |(i, c)| number(i, c));
    let mut part = want.clone();
    part.slice_collapse(ndarray::s![3..7, ..]);
    let rows = Rows::from(part);
    assert_eq!(rows.shape(), [4, 4]);
    assert_eq!(rows.to_array().unwrap(), want.slice(ndarray::s![3..7, ..]));
}

#[test]
fn parts_of_any_types_are_one_matrix_and_rows_are_picked_across_them() {
    let (p, ends) = (3, [0, 11, 11, 12, 40]);
    let parts: Vec<Rows> = (ends.windows(2).enumerate())
        .map(|(part, ends)| {
            let shape = [ends[0], ends[1] - ends[0], p];
            let element = TYPES[part];
            match part % 2 {
                0 => in_memory(element, ByteOrder::Little, shape),
                _ => stored(
                    element,
                    ByteOrder::Little,
                    MatrixOrder::RowMajor,
                    shape,
                    999,
                ),
            }
        })
        .collect();
    let all = Rows::concatenated(&parts).unwrap();
    assert_eq!(all.shape(), [40, p]);
    let want = Array2::from_shape_fn((40, p), |(i, c)| number(i, c));
    assert_eq!(all.to_array().unwrap(), want);
    let picked = [3, 10, 11, 12, 13, 39, 2, 2, 0];
    let some = all.selected(&picked);
    let of = |indices: &[usize]| want.select(ndarray::Axis(0), indices);
    assert_eq!(some.to_array().unwrap(), of(&picked));
    assert_eq!(
        some.selected(&[8, 1, 2]).to_array().unwrap(),
        of(&[0, 10, 11])
    );
    assert_eq!(some.loaded().to_array().unwrap(), of(&picked));
    let twice = Rows::concatenated(&[some.clone(), parts[0].clone()]).unwrap();
    assert_eq!(twice.shape(), [20, p]);
    assert_eq!(twice.read(0, 9).unwrap(), of(&picked));
    assert_eq!(
        twice.read(9, 11).unwrap(),
        want.slice(ndarray::s![..11, ..])
    );
}

#[test]
fn bytes_and_parts_of_another_shape_are_refused() {
    let of = |length: usize| {
        Rows::from_bytes(vec![0; length], ElementType::F32, ByteOrder::Little, [3, 2])
    };
    assert!(of(24).is_ok());
    let error = of(23).unwrap_err().to_string();
    assert!(error.contains("need 24 bytes: 23"), "{error}");
    let huge = [usize::MAX, usize::MAX];
    assert!(Rows::from_bytes(Vec::new(), ElementType::F64, ByteOrder::Little, huge).is_err());
    let narrow = in_memory(ElementType::F32, ByteOrder::Little, [0, 2, 3]);
    let wide = in_memory(ElementType::F32, ByteOrder::Little, [0, 2, 4]);
    let error = Rows::concatenated(&[narrow, wide]).unwrap_err();
    assert!(matches!(
        error,
        RowsError::Columns {
            part: 1,
            found: 4,
            expected: 3
        }
    ));
}

#[test]
fn a_read_that_fails_is_named_and_remembered_and_reads_as_zeros() {
    let rows = stored(
        ElementType::F32,
        ByteOrder::Little,
        MatrixOrder::RowMajor,
        [0, 20, 3],
        2,
    );
    let mut tile = [f64::NAN; 9];
    for first in [0, 5] {
        rows.fill(first, &mut tile, &mut Vec::new(), &|_| ());
        assert_eq!(tile[0], number(first, 0));
    }
    assert!(rows.intact().is_ok());
    for first in [8, 0] {
        tile.fill(f64::NAN);
        rows.fill(first, &mut tile, &mut Vec::new(), &|row| row[0] += 1.0);
        assert_eq!(tile, [0.0; 9]);
    }
    let error = rows.intact().unwrap_err().to_string();
    assert_eq!(error, "elsewhere: row 8 cannot be read: the disk is gone");
    assert!(rows.afresh().intact().is_ok() && rows.clone().intact().is_err());
    assert!(rows.read(0, 1).is_err());
}
