//! Vectors of an arrow system: those that lie on a device, and columns of the host's that go there and come
//! back.

use crate::device::layout::Layout;
use crate::{ArrowShape, Error, Gradient, RhsMut, ShapeError, StepMut};
use broadhead_device::{DeviceBuffer, Stream, View, ViewMut};
use faer::{MatMut, MatRef};

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

/// The columns of a step from all of its row parts and all of its border parts, one after another.
pub(crate) fn put_columns(step: &mut StepMut<'_>, row: &[f64], border: &[f64]) {
    let parts = [(&mut step.row, row), (&mut step.border, border)];
    for (to, from) in parts {
        let len = to.nrows();
        for j in 0..to.ncols() {
            (0..len).for_each(|i| to[(i, j)] = from[j * len + i]);
        }
    }
}

/// The columns of a matrix, one after another.
pub(crate) fn columns(matrix: MatRef<'_, f64>) -> Vec<f64> {
    let mut out = Vec::with_capacity(matrix.nrows() * matrix.ncols());
    for j in 0..matrix.ncols() {
        out.extend(matrix.col(j).iter());
    }
    out
}

/// Overwrites right-hand sides `b` by $`H^{-1} b`$ with the help of `solve`, which answers gradients by
/// their steps, $`-H^{-1} g`$, of `n` unknowns of the rows and `k` of the border.
pub(crate) fn solve_for<T>(
    (n, k): (usize, usize),
    rhs: RhsMut<'_>,
    solve: impl FnOnce(Gradient<'_>, &mut StepMut<'_>) -> T,
) -> T {
    let m = rhs.count;
    let negated = |part: &[f64]| part.iter().map(|x| -x).collect::<Vec<_>>();
    let (row, border) = (negated(rhs.row), negated(rhs.border));
    let gradient = Gradient::many(
        MatRef::from_column_major_slice(&row, n, m),
        MatRef::from_column_major_slice(&border, k, m),
    );
    let mut step = StepMut::many(
        MatMut::from_column_major_slice_mut(rhs.row, n, m),
        MatMut::from_column_major_slice_mut(rhs.border, k, m),
    );
    solve(gradient, &mut step)
}
