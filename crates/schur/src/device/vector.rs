//! Vectors of an arrow system: those that lie on a device, and columns of the host's that go there and come
//! back.

use crate::device::layout::Layout;
use crate::{ArrowShape, Error, ShapeError};
use broadhead_device::{DeviceBuffer, Stream, View, ViewMut};

/// A vector of an arrow system on the device: `N` numbers and `k` numbers.
///
/// The border's buffer is longer than `k`; what lies past `k` is zero and stays so.
pub struct DeviceVector {
    pub(crate) row: DeviceBuffer<f64>,
    pub(crate) border: DeviceBuffer<f64>,
    pub(crate) border_len: usize,
}

impl DeviceVector {
    /// Zeros, so many numbers of each part, of which `border_len` are the border's.
    pub(crate) fn new(
        stream: &Stream,
        [row, border]: [usize; 2],
        border_len: usize,
    ) -> Result<Self, Error> {
        Ok(Self {
            row: stream.zeros(row, "row part")?,
            border: stream.zeros(border, "border part")?,
            border_len,
        })
    }

    /// Device bytes of a vector of a dense `shape`.
    ///
    /// # Errors
    /// As [`crate::device::Linearisation::bytes_of_dense`].
    pub fn bytes_needed(shape: &ArrowShape) -> Result<u64, Error> {
        let layout = Layout::new(shape)?;
        Ok(8 * (layout.unknowns + layout.border_len()) as u64)
    }

    /// The row part.
    pub fn row(&self) -> View<'_, f64> {
        self.row.view()
    }

    /// The border part, `k` numbers.
    ///
    /// # Errors
    /// None for a vector made by a linearisation.
    pub fn border(&self) -> Result<View<'_, f64>, Error> {
        Ok(self.border.slice(0..self.border_len)?)
    }

    /// The row part, to be written.
    pub fn row_mut(&mut self) -> ViewMut<'_, f64> {
        self.row.view_mut()
    }

    /// The border part, to be written.
    ///
    /// # Errors
    /// None for a vector made by a linearisation.
    pub fn border_mut(&mut self) -> Result<ViewMut<'_, f64>, Error> {
        Ok(self.border.slice_mut(0..self.border_len)?)
    }

    /// The row part and the border part, to be written by one kernel.
    ///
    /// # Errors
    /// As [`DeviceVector::border_mut`].
    pub fn parts_mut(&mut self) -> Result<[ViewMut<'_, f64>; 2], Error> {
        let border = self.border.slice_mut(0..self.border_len)?;
        Ok([self.row.view_mut(), border])
    }
}

/// # Errors
/// [`Error::Shape`] where a vector has not so many numbers of rows and of the border.
pub(crate) fn check_vectors<const COUNT: usize>(
    lengths: [usize; 2],
    vectors: [(&'static str, &DeviceVector); COUNT],
) -> Result<(), Error> {
    for (array, vector) in vectors {
        let got = [vector.row.len(), vector.border.len()];
        if got != lengths {
            return Err(Error::Shape(ShapeError::Mismatch {
                array,
                got: got.to_vec(),
                expected: lengths.to_vec(),
            }));
        }
    }
    Ok(())
}

/// Columns of the host's and their way to a device and back: into pinned memory at once, and out of it.
pub(crate) mod columns {
    use crate::system::first_not_finite;
    use crate::{Error, ShapeError};
    use broadhead_device::{ByteClass, Stream, View, ViewMut};
    use faer::{MatMut, MatRef};
    use rayon::prelude::*;
    use std::ops::Range;

    /// What is sent: the device takes gradients.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) enum Sent {
        Gradients,
        /// Right-hand sides, $`-g`$: the sign is turned on the way.
        RightHandSides,
    }

    /// Sends `from`, column after column.
    pub(crate) fn send(
        stream: &Stream,
        from: MatRef<'_, f64>,
        sent: Sent,
        to: ViewMut<'_, f64>,
    ) -> Result<(), Error> {
        let numbers = from.nrows() * from.ncols();
        if numbers != to.len() {
            return Err(Error::Shape(ShapeError::Mismatch {
                array: "gradient",
                got: vec![numbers],
                expected: vec![to.len()],
            }));
        }
        let fill = |part: Range<usize>, out: &mut [f64]| gather(from, part, sent, out);
        Ok(stream.upload_with(to, ByteClass::Gradient, fill)?)
    }

    /// Fetches rows' and border's columns, and waits for them; whether all numbers are finite.
    pub(crate) fn fetch(
        stream: &Stream,
        from: [View<'_, f64>; 2],
        to: [MatMut<'_, f64>; 2],
    ) -> Result<bool, Error> {
        let (mut to, mut finite) = (to, true);
        // What is staged must not wait for other threads; see `Stream::download_with`.
        let staged: usize = from.iter().map(|view| size_of::<f64>() * view.len()).sum();
        let alone = staged <= Stream::STAGED;
        stream.download_each(from, ByteClass::Gradient, |which, part, numbers| {
            finite &= match alone {
                true => first_not_finite(numbers).is_none(),
                false => (numbers.par_chunks(SHARE)).all(|share| first_not_finite(share).is_none()),
            };
            scatter(numbers, part.start, &mut to[which], alone);
        })?;
        Ok(finite)
    }

    /// Numbers that one thread copies at once.
    const SHARE: usize = 1 << 14;

    /// The numbers of columns `0..` one after another, from number `at` on: column, first row, how many.
    fn runs(rows: usize, part: Range<usize>) -> impl Iterator<Item = (usize, usize, usize)> {
        let mut at = part.start;
        std::iter::from_fn(move || {
            if at == part.end {
                return None;
            }
            let (column, first) = (at / rows, at % rows);
            let count = (rows - first).min(part.end - at);
            at += count;
            Some((column, first, count))
        })
    }

    fn gather(from: MatRef<'_, f64>, part: Range<usize>, sent: Sent, out: &mut [f64]) {
        let mut rest = out;
        for (j, first, count) in runs(from.nrows(), part) {
            let (out, after) = rest.split_at_mut(count);
            rest = after;
            let column = from.col(j).subrows(first, count);
            match (column.try_as_col_major(), sent) {
                (Some(numbers), Sent::Gradients) => out.copy_from_slice(numbers.as_slice()),
                (Some(numbers), Sent::RightHandSides) => {
                    let numbers = numbers.as_slice().iter();
                    out.iter_mut().zip(numbers).for_each(|(out, x)| *out = -x);
                }
                (None, Sent::Gradients) => {
                    out.iter_mut()
                        .zip(column.iter())
                        .for_each(|(out, x)| *out = *x);
                }
                (None, Sent::RightHandSides) => {
                    out.iter_mut()
                        .zip(column.iter())
                        .for_each(|(out, x)| *out = -x);
                }
            }
        }
    }

    fn scatter(numbers: &[f64], at: usize, to: &mut MatMut<'_, f64>, alone: bool) {
        let mut rest = numbers;
        for (j, first, count) in runs(to.nrows(), at..at + numbers.len()) {
            let (numbers, after) = rest.split_at(count);
            rest = after;
            let mut column = to.as_mut().col_mut(j).subrows_mut(first, count);
            match column.as_mut().try_as_col_major_mut() {
                Some(out) if alone => out.as_slice_mut().copy_from_slice(numbers),
                Some(out) => {
                    let shares = out.as_slice_mut().par_chunks_mut(SHARE);
                    let shares = shares.zip(numbers.par_chunks(SHARE));
                    shares.for_each(|(out, numbers)| out.copy_from_slice(numbers));
                }
                None => {
                    let places = column.iter_mut().zip(numbers);
                    places.for_each(|(out, x)| *out = *x);
                }
            }
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use faer::Mat;

        /// Any parts of columns in any layout come out as they went in, turned where that is asked.
        #[test]
        fn parts_of_columns_are_gathered_and_put_back() {
            let (rows, count) = (7, 5);
            let stacked: Vec<f64> = (0..rows * count).map(|i| i as f64 + 0.5).collect();
            let by_column = Mat::from_fn(rows, count, |i, j| stacked[j * rows + i]);
            let by_row: Vec<f64> = (0..rows * count)
                .map(|e| stacked[e % count * rows + e / count])
                .collect();
            let by_row = MatRef::from_row_major_slice(&by_row, rows, count);
            for (start, end) in [(0, 35), (0, 0), (3, 9), (6, 22), (7, 14), (34, 35)] {
                for from in [by_column.as_ref(), by_row] {
                    for (sent, sign) in [(Sent::Gradients, 1.0), (Sent::RightHandSides, -1.0)] {
                        let mut out = vec![f64::NAN; end - start];
                        gather(from, start..end, sent, &mut out);
                        let wanted = stacked[start..end].iter().map(|x| sign * x);
                        assert!(out.iter().copied().eq(wanted), "{start}..{end} {sent:?}");
                    }
                }
                for alone in [true, false] {
                    let mut to = Mat::<f64>::zeros(rows, count);
                    let mut lines = vec![0.0; rows * count];
                    let by_row = MatMut::from_row_major_slice_mut(&mut lines, rows, count);
                    for mut to in [to.as_mut(), by_row] {
                        scatter(&stacked[start..end], start, &mut to, alone);
                        for e in 0..rows * count {
                            let wanted = match (start..end).contains(&e) {
                                true => stacked[e],
                                false => 0.0,
                            };
                            assert_eq!(to[(e % rows, e / rows)], wanted, "{start}..{end} {e}");
                        }
                    }
                }
            }
        }
    }
}
