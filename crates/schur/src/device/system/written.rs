//! Numbers that kernels of a caller's wrote where a system lies, and the look at them before anything is
//! factored.

use super::{DeviceShape, DeviceSystem, Numbers, none_there};
use crate::device::finite::{FiniteCheck, Lying};
use crate::device::kernels::RowIndex;
use crate::device::layout::Layout;
use crate::{ArrowShape, Error, RowDims};
use broadhead_device::{ByteClass, Stream, View, ViewMut};
use std::sync::Arc;

/// What looks at numbers: made for the first that are written.
pub(super) struct WrittenCheck {
    check: FiniteCheck,
    index: Arc<RowIndex>,
    layout: Layout,
}

/// An array whose numbers are not all finite: its name, and its indices of a place.
type Named<'n> = (&'static str, &'n dyn Fn(usize) -> Vec<usize>);

impl DeviceSystem {
    /// The leading dimension of a dense border's matrix where it lies: its order, padded.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a structured system; [`Error::Device`] where the operands were given back.
    pub fn border_stride(&self) -> Result<usize, Error> {
        Ok(self.dense_numbers()?.layout.order)
    }

    /// Row blocks, cross blocks and border, which hold no system until [`Self::check_written`].
    pub(crate) fn dense_arrays(&mut self) -> Result<[ViewMut<'_, f64>; 3], Error> {
        // Refused by name where they are none, and then everything is as it was.
        self.dense_numbers()?;
        self.there = false;
        let operands = &mut self.dense_numbers_mut()?.1.operands;
        let arrays = [
            &mut operands.row_hessian,
            &mut operands.cross,
            &mut operands.border,
        ];
        Ok(arrays.map(|array| array.view_mut()))
    }

    /// Row blocks, `phi`, `Psi`, `G` and `W`, which hold no system until [`Self::check_written`].
    pub(crate) fn structured_arrays(&mut self) -> Result<[ViewMut<'_, f64>; 5], Error> {
        // As above.
        self.structured_numbers()?;
        self.there = false;
        let Numbers::Structured(operands) = &mut self.numbers else {
            return Err(none_there());
        };
        let arrays = [
            &mut operands.row_hessian,
            &mut operands.phi,
            &mut operands.psi,
            &mut operands.gram,
            &mut operands.decoder,
        ];
        Ok(arrays.map(|array| array.view_mut()))
    }

    /// Looks at what was written where it lies; from now on it is a system's if it is finite.
    pub(crate) fn check_written(&mut self) -> Result<(), Error> {
        let mut look = match self.written.take() {
            Some(look) => look,
            None => Box::new(self.look()?),
        };
        let looked = match &self.numbers {
            Numbers::Dense(_) => self
                .clear_padding(&look)
                .and_then(|()| self.look_at_dense(&mut look)),
            Numbers::Structured(_) => self.look_at_structured(&mut look),
            Numbers::GivenBack => Err(none_there()),
        };
        self.written = Some(look);
        self.there = looked.is_ok();
        looked
    }

    /// Zeros past the border's order, which products read.
    fn clear_padding(&mut self, look: &WrittenCheck) -> Result<(), Error> {
        let (order, k) = (look.layout.order, self.shape().border());
        let (stream, numbers) = self.dense_numbers_mut()?;
        let border = numbers.operands.border.view_mut();
        Ok(look.check.clear_past(stream, border, order, k)?)
    }

    fn look(&self) -> Result<WrittenCheck, Error> {
        let check = FiniteCheck::new(&self.stream)?;
        if let Numbers::Dense(numbers) = &self.numbers {
            return Ok(WrittenCheck {
                check,
                index: Arc::clone(&numbers.index),
                layout: numbers.layout.clone(),
            });
        }
        // Of the rows alone.
        let layout = Layout::new(&ArrowShape::new(self.dims().clone(), 0)?)?;
        let index = Arc::new(RowIndex::new(&self.stream, &layout, self.dims())?);
        Ok(WrittenCheck {
            check,
            index,
            layout,
        })
    }

    fn dims(&self) -> &RowDims {
        self.shape().rows()
    }

    fn look_at_dense(&self, look: &mut WrittenCheck) -> Result<(), Error> {
        let (operands, dims) = (&self.dense_numbers()?.operands, self.dims());
        let (k, ld) = (self.shape().border(), look.layout.order);
        let [rows, cross, border] = [&operands.row_hessian, &operands.cross, &operands.border];
        let found = look.check.first(
            &self.stream,
            [
                Lying::Blocks(rows.view(), &look.index, &look.layout),
                Lying::All(cross.view()),
                Lying::Below(border.view(), ld, k),
            ],
        )?;
        let of_rows = |place| of_block(dims, place);
        let of_cross = |place| of_unknown(dims, place, k);
        let of_border = |place: usize| vec![place % ld, place / ld];
        let named: [Named<'_>; 3] = [
            ("row_hessian", &of_rows),
            ("row_cross", &of_cross),
            ("border_hessian", &of_border),
        ];
        let views = [rows.view(), cross.view(), border.view()];
        self.first_of_all(found, views, named)
    }

    fn look_at_structured(&self, look: &mut WrittenCheck) -> Result<(), Error> {
        let (operands, dims) = (self.structured_numbers()?, self.dims());
        let DeviceShape::Structured(shape) = &self.shape else {
            return Err(none_there());
        };
        let (m, p) = (shape.features().max(1), shape.outputs().max(1));
        let [rows, phi, psi, gram, decoder] = [
            operands.row_hessian.view(),
            operands.phi.view(),
            operands.psi.view(),
            operands.gram.view(),
            operands.decoder.view(),
        ];
        let found = look.check.first(
            &self.stream,
            [
                Lying::Blocks(rows, &look.index, &look.layout),
                Lying::All(phi),
                Lying::All(psi),
                Lying::All(gram),
                Lying::All(decoder),
            ],
        )?;
        let of_rows = |place| of_block(dims, place);
        let of_psi = |place| of_unknown(dims, place, m);
        let by = |width: usize| move |place: usize| vec![place / width, place % width];
        let named: [Named<'_>; 5] = [
            ("row_hessian", &of_rows),
            ("feature_phi", &by(m)),
            ("feature_psi", &of_psi),
            ("gram", &by(m)),
            ("decoder", &by(p)),
        ];
        self.first_of_all(found, [rows, phi, psi, gram, decoder], named)
    }

    /// The error of the first array that has a number which is not finite.
    fn first_of_all<const COUNT: usize>(
        &self,
        found: [Option<usize>; COUNT],
        arrays: [View<'_, f64>; COUNT],
        named: [Named<'_>; COUNT],
    ) -> Result<(), Error> {
        for ((place, numbers), (array, index)) in found.into_iter().zip(arrays).zip(named) {
            if let Some(place) = place {
                return Err(Error::NotFinite {
                    array,
                    index: index(place),
                    value: number_at(&self.stream, numbers, place)?,
                });
            }
        }
        Ok(())
    }
}

fn number_at(stream: &Stream, numbers: View<'_, f64>, place: usize) -> Result<f64, Error> {
    let number = stream.download(numbers.slice(place..place + 1)?, ByteClass::Record)?;
    Ok(number[0])
}

/// Row, unknown and column of a place among packed row blocks.
fn of_block(dims: &RowDims, place: usize) -> Vec<usize> {
    let (mut from, mut to) = (0, dims.rows());
    // The last row whose block begins there or before, of those that have one.
    while to - from > 1 {
        let middle = from + (to - from) / 2;
        match dims.block_offset(middle) <= place {
            true => from = middle,
            false => to = middle,
        }
    }
    let (d, at) = (dims.dim(from), place - dims.block_offset(from));
    vec![from, at / d, at % d]
}

/// Row, unknown and column of a place among lines of `width` numbers, an unknown each.
fn of_unknown(dims: &RowDims, place: usize, width: usize) -> Vec<usize> {
    let (row, unknown) = dims.locate(place / width);
    vec![row, unknown, place % width]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_have_the_indices_of_their_rows() {
        let dims = RowDims::ragged(&[2, 0, 3, 1, 0]).unwrap();
        let mut place = 0;
        for i in 0..dims.rows() {
            for a in 0..dims.dim(i) {
                for b in 0..dims.dim(i) {
                    assert_eq!(of_block(&dims, place), [i, a, b]);
                    place += 1;
                }
            }
        }
        assert_eq!(place, dims.block_len());
        let mut place = 0;
        for i in 0..dims.rows() {
            for a in 0..dims.dim(i) {
                for c in 0..4 {
                    assert_eq!(of_unknown(&dims, place, 4), [i, a, c]);
                    place += 1;
                }
            }
        }
    }
}
