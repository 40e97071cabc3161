//! One dense symmetric matrix on the device, its Cholesky factor, and the solves with it: `S` of rows first,
//! `T` of border first, `Z` of a core.
//!
//! ```text
//!   A + rho - Y'Y = L L'    by tiles, or by the library    [ W = L^-1, and its transpose beside it ]
//! ```
//! A factorization reads the matrix once, so the factor takes its place: `8 N^2` bytes. There are two
//! places, `16 N^2` bytes, where that cannot be: the tiles, which factor the smaller orders, read the
//! matrix from a place of its own; and a frame that keeps the inverse of the factor has it in the
//! matrix's. (The other triangle of the factor's place serves neither: the tiles write into it on the
//! diagonal, and the inverse's products take it for scratch.) An operand is its caller's and stays as it
//! is: then the factor has a place of its own, and the inverse another.

use crate::device::Keep;
use crate::device::kernels::Kernels;
use crate::device::layout::Layout;
use crate::device::outcome::{SideSummary, factor_side};
use crate::device::pieces::{COUNTED, pieces};
use crate::device::pivot::{self, Seen};
use crate::device::record::FactorRecord;
use crate::device::summary::BorderMethod;
use crate::device::tiles::{GramTerm, Tiles};
use crate::{ArrowShape, Error, PivotSite, RowDims};
use broadhead_device::{
    ByteClass, DeviceBuffer, Matrix, MatrixMut, Side, Stream, Triangle, ViewMut,
};

/// Where the matrix is put.
enum Place {
    /// Where its factor will be.
    OfFactor,
    /// In a place of its own, where it stays.
    Own(DeviceBuffer<f64>),
    /// In a place of its own, which is that of the factor's inverse after a factorization.
    OfInverse(DeviceBuffer<f64>),
    /// With the caller, who hands it over at every factorization. The inverse's place, where it is kept.
    Callers(Option<DeviceBuffer<f64>>),
}

/// `A + rho - Y'Y` of a matrix that is the caller's.
#[derive(Clone, Copy)]
pub(crate) struct Summands<'a> {
    /// `A`, a border matrix.
    pub(crate) matrix: &'a DeviceBuffer<f64>,
    pub(crate) rho: f64,
    /// `Y`, as the layout has it.
    pub(crate) whitened: &'a DeviceBuffer<f64>,
}

/// A matrix of one order, column-major, its lower triangle; its factor.
pub(crate) struct DenseCholesky {
    layout: Layout,
    kernels: Kernels,
    tiles: Option<Tiles>,
    matrix: Place,
    factor: DeviceBuffer<f64>,
    workspace: DeviceBuffer<f64>,
    info: DeviceBuffer<i32>,
    /// A line of the matrix, or a solve half done.
    line: DeviceBuffer<f64>,
    number: DeviceBuffer<f64>,
    /// Of no length: `Y` of a matrix that is put here.
    none: Option<DeviceBuffer<f64>>,
}

impl DenseCholesky {
    /// The layout of a matrix of `order`: that of a border without rows.
    ///
    /// # Errors
    /// A refusal where the order is past the libraries'.
    pub(crate) fn layout(order: usize) -> Result<Layout, Error> {
        Layout::new(&ArrowShape::new(RowDims::uniform(0, 1)?, order)?)
    }

    /// Whether the tiles are expected to factor it, where a device can: so that the bytes are the
    /// shape's, there is room for them on any.
    fn tiled(layout: &Layout) -> bool {
        layout.whole_tiles() && Tiles::pays(layout)
    }

    /// Whether the matrix has a place of its own.
    fn apart(layout: &Layout, keep: Keep) -> bool {
        keep == Keep::InverseFactor || Self::tiled(layout)
    }

    /// Device bytes where the matrix is put here, the library's workspace apart.
    pub(crate) fn bytes(layout: &Layout, keep: Keep) -> u64 {
        let places = if Self::apart(layout, keep) { 2 } else { 1 };
        let tiles = match Self::tiled(layout) {
            true => layout.tiles_bytes(),
            false => 0,
        };
        8 * (places * layout.square() + layout.border_len() + 1) as u64 + 4 + tiles
    }

    /// Of a matrix that is put here.
    pub(crate) fn new(stream: &Stream, layout: Layout, keep: Keep) -> Result<Self, Error> {
        let kernels = Kernels::load(stream, &layout)?;
        let (tiled, apart) = (Self::tiled(&layout), Self::apart(&layout, keep));
        let square = layout.square();
        let mut made = Self::with(stream, layout, kernels, tiled, || {
            let square = || stream.zeros(square, "a symmetric matrix");
            Ok(match (keep, apart) {
                (Keep::InverseFactor, _) => Place::OfInverse(square()?),
                (Keep::Factor, true) => Place::Own(square()?),
                (Keep::Factor, false) => Place::OfFactor,
            })
        })?;
        made.none = Some(stream.zeros(0, "nothing")?);
        Ok(made)
    }

    /// Of a matrix that the caller hands over, less the squares of the rows of `layout`. There is room for
    /// tiles wherever there are whole ones, so that the bytes are the shape's; they are those that
    /// [`Layout::bytes`] counts.
    pub(crate) fn of_callers(
        stream: &Stream,
        layout: Layout,
        kernels: Kernels,
        keep: Keep,
    ) -> Result<Self, Error> {
        let (tiled, square) = (layout.whole_tiles(), layout.square());
        Self::with(stream, layout, kernels, tiled, || {
            Ok(Place::Callers(match keep {
                Keep::Factor => None,
                Keep::InverseFactor => Some(stream.zeros(square, "the inverse factor")?),
            }))
        })
    }

    fn with(
        stream: &Stream,
        layout: Layout,
        kernels: Kernels,
        tiled: bool,
        place: impl FnOnce() -> Result<Place, Error>,
    ) -> Result<Self, Error> {
        let mut factor = stream.zeros(layout.square(), "a factor")?;
        let workspace = match layout.k {
            0 => 0,
            k => {
                let mut whole = MatrixMut::new(factor.view_mut(), k, k, layout.order)?;
                stream.potrf_workspace(&mut whole)?
            }
        };
        let tiles = match tiled {
            true => Some(Tiles::new(stream, &layout)?),
            false => None,
        };
        Ok(Self {
            kernels,
            tiles,
            matrix: place()?,
            factor,
            workspace: stream.zeros(workspace, "workspace of the Cholesky factorization")?,
            info: stream.zeros(1, "info")?,
            line: stream.zeros(layout.border_len(), "a line of a matrix")?,
            number: stream.zeros(1, "a number")?,
            none: None,
            layout,
        })
    }

    /// `W = L^-1`, where it is kept.
    fn inverse(&self) -> Option<&DeviceBuffer<f64>> {
        match &self.matrix {
            Place::OfInverse(inverse) | Place::Callers(Some(inverse)) => Some(inverse),
            Place::OfFactor | Place::Own(_) | Place::Callers(None) => None,
        }
    }

    /// What a frame keeps of the factor.
    pub(crate) fn keep(&self) -> Keep {
        match self.inverse() {
            Some(_) => Keep::InverseFactor,
            None => Keep::Factor,
        }
    }

    /// How a matrix that is put here is factored: by tiles where they are expected to be faster.
    pub(crate) fn method(&self, stream: &Stream) -> BorderMethod {
        let served = Tiles::serves(stream.context().info(), &self.layout);
        match served && self.tiles.is_some() {
            true => BorderMethod::Tiles,
            false => BorderMethod::Library,
        }
    }

    /// Where the matrix is put before every factorization, and the distance of its columns.
    pub(crate) fn matrix_mut(&mut self) -> (&mut DeviceBuffer<f64>, usize) {
        let place = match &mut self.matrix {
            Place::OfFactor | Place::Callers(_) => &mut self.factor,
            Place::Own(matrix) | Place::OfInverse(matrix) => matrix,
        };
        (place, self.layout.order)
    }

    /// The factor's place, which is free until the next factorization.
    pub(crate) fn landing(&mut self) -> &mut DeviceBuffer<f64> {
        &mut self.factor
    }

    /// Length of the vectors of a solve, zero past the order.
    pub(crate) fn vector_len(layout: &Layout) -> usize {
        layout.border_len()
    }

    /// Factors the matrix that was put, with `rho` on its diagonal.
    pub(crate) fn factor(&mut self, stream: &Stream, rho: f64) -> Result<(), Error> {
        let by_tiles = self.method(stream) == BorderMethod::Tiles;
        match (&mut self.tiles, &self.none, &self.matrix) {
            (Some(tiles), Some(none), Place::Own(matrix) | Place::OfInverse(matrix))
                if by_tiles =>
            {
                let to = (&mut self.factor, &mut self.info);
                let matrix = (matrix, rho);
                tiles.factor(stream, &self.layout, matrix, none, GramTerm::OfY, to)?;
                Ok(())
            }
            _ => {
                self.ridged(stream, rho)?;
                self.factor_by_library(stream)
            }
        }
    }

    /// Factors a matrix that is the caller's, less the squares, by the way `by`.
    pub(crate) fn factor_sum(
        &mut self,
        stream: &Stream,
        of: Summands<'_>,
        by: BorderMethod,
    ) -> Result<(), Error> {
        let gram = match by {
            BorderMethod::SyrkAndTiles if self.layout.unknowns > 0 => GramTerm::Held,
            BorderMethod::Tiles | BorderMethod::SyrkAndTiles => GramTerm::OfY,
            BorderMethod::Library => {
                self.form(stream, of)?;
                return self.factor_by_library(stream);
            }
        };
        if gram == GramTerm::Held {
            self.subtract_squares(stream, of.whitened, 0.0)?;
        }
        let Some(tiles) = &mut self.tiles else {
            unreachable!("tiles are chosen where the order is one of whole tiles");
        };
        let to = (&mut self.factor, &mut self.info);
        let matrix = (of.matrix, of.rho);
        tiles.factor(stream, &self.layout, matrix, of.whitened, gram, to)?;
        Ok(())
    }

    /// What a frame keeps beside the factor.
    pub(crate) fn finish(&mut self, stream: &Stream) -> Result<(), Error> {
        let order = self.layout.order;
        match &mut self.matrix {
            Place::OfFactor | Place::Own(_) | Place::Callers(None) => Ok(()),
            Place::OfInverse(inverse) | Place::Callers(Some(inverse)) => Ok(stream
                .triangular_inverse(
                    &mut MatrixMut::packed(self.factor.view_mut(), order, order)?,
                    &mut MatrixMut::packed(inverse.view_mut(), order, order)?,
                    self.layout.leaf,
                )?),
        }
    }

    /// The factor's place holds the matrix that was put, with `rho` on its diagonal.
    fn ridged(&mut self, stream: &Stream, rho: f64) -> Result<(), Error> {
        let (kernels, layout, factor) = (&self.kernels, &self.layout, &mut self.factor);
        match &self.matrix {
            Place::OfFactor | Place::Callers(_) => {
                kernels.border_ridge(stream, layout, rho, factor)?;
            }
            Place::Own(matrix) | Place::OfInverse(matrix) => {
                kernels.border_sum(stream, layout, matrix, rho, factor)?;
            }
        }
        Ok(())
    }

    /// The factor's place holds `A + rho - Y'Y`, by the library.
    fn form(&mut self, stream: &Stream, of: Summands<'_>) -> Result<(), Error> {
        let (layout, factor) = (&self.layout, &mut self.factor);
        self.kernels
            .border_sum(stream, layout, of.matrix, of.rho, factor)?;
        self.subtract_squares(stream, of.whitened, 1.0)
    }

    /// `S <- scale S - Y'Y` in the factor's place, Y in pieces.
    fn subtract_squares(
        &mut self,
        stream: &Stream,
        whitened: &DeviceBuffer<f64>,
        scale: f64,
    ) -> Result<(), Error> {
        let Layout {
            k, order, unknowns, ..
        } = self.layout;
        if k == 0 || unknowns == 0 {
            return Ok(());
        }
        let mut sum = MatrixMut::new(self.factor.view_mut(), k, k, order)?;
        for piece in pieces(unknowns, order, COUNTED) {
            let lines = piece.start * order..piece.end * order;
            let lines = Matrix::new(whitened.slice(lines)?, k, piece.len(), order)?;
            let kept = if piece.start == 0 { scale } else { 1.0 };
            stream.syrk(Triangle::Lower, -1.0, lines, kept, &mut sum)?;
        }
        Ok(())
    }

    fn factor_by_library(&mut self, stream: &Stream) -> Result<(), Error> {
        let k = self.layout.k;
        if k == 0 {
            return Ok(stream.zero(self.info.view_mut())?);
        }
        let mut matrix = MatrixMut::new(self.factor.view_mut(), k, k, self.layout.order)?;
        let (workspace, info) = (self.workspace.view_mut(), self.info.view_mut());
        Ok(stream.potrf(&mut matrix, workspace, info)?)
    }

    /// Submits the factor's record. The scale of a bump is the largest diagonal entry of
    /// `matrix`, the caller's, or of the factor.
    pub(crate) fn summarise(
        &self,
        stream: &Stream,
        matrix: Option<&DeviceBuffer<f64>>,
        to: ViewMut<'_, FactorRecord>,
    ) -> Result<(), Error> {
        let (kernels, factor) = (&self.kernels, &self.factor);
        let matrix = matrix.unwrap_or(factor);
        Ok(kernels.summarise_border(stream, &self.layout, factor, matrix, &self.info, to)?)
    }

    /// What a record says; the value of a pivot that failed is not known.
    pub(crate) fn side(record: &FactorRecord, site: impl Fn(usize) -> PivotSite) -> SideSummary {
        factor_side(record, f64::NAN, &site, &site)
    }

    /// The factor, the distance of its columns, and the first pivot that failed, from 1, or 0.
    pub(crate) fn found(&self) -> (&DeviceBuffer<f64>, usize, &DeviceBuffer<i32>) {
        (&self.factor, self.layout.order, &self.info)
    }

    /// Whether the last factorization succeeded.
    pub(crate) fn factored(&self, stream: &Stream) -> Result<bool, Error> {
        Ok(self.refused(stream)?.is_none())
    }

    /// The pivot that the last factorization refused.
    fn refused(&self, stream: &Stream) -> Result<Option<usize>, Error> {
        let info = stream.download(self.info.view(), ByteClass::Record)?;
        pivot::refused(info[0].into())
    }

    /// Looks at pivot `j` of the matrix, which has been put again, with `rho` on its diagonal.
    pub(crate) fn look(&mut self, stream: &Stream, rho: f64, j: usize) -> Result<Seen, Error> {
        self.ridged(stream, rho)?;
        self.look_in_place(stream, j)
    }

    /// Looks at pivot `j` of a matrix that is the caller's, less the squares.
    pub(crate) fn look_at_sum(
        &mut self,
        stream: &Stream,
        of: Summands<'_>,
        j: usize,
    ) -> Result<Seen, Error> {
        self.form(stream, of)?;
        self.look_in_place(stream, j)
    }

    /// Looks at pivot `j` of the matrix that the factor's place holds.
    fn look_in_place(&mut self, stream: &Stream, j: usize) -> Result<Seen, Error> {
        let (layout, line) = (&self.layout, &mut self.line);
        self.kernels
            .border_line(stream, layout, &self.factor, j, line)?;
        if j > 0 {
            let mut leading = MatrixMut::new(self.factor.view_mut(), j, j, layout.order)?;
            let (workspace, info) = (self.workspace.view_mut(), self.info.view_mut());
            stream.potrf(&mut leading, workspace, info)?;
            if let Some(earlier) = self.refused(stream)? {
                return Ok(Seen::Earlier(earlier));
            }
            let factor = Matrix::new(self.factor.view(), j, j, self.layout.order)?;
            let mut line = MatrixMut::packed(self.line.slice_mut(0..j)?, j, 1)?;
            stream.trsm(Side::Left, Triangle::Lower, 1.0, factor, &mut line)?;
        }
        self.kernels
            .border_pivot(stream, &self.line, j, &mut self.number)?;
        let value = stream.download(self.number.view(), ByteClass::Record)?;
        Ok(Seen::Value(value[0]))
    }

    /// `out = A^-1 x`, both as long as [`DenseCholesky::vector_len`] says.
    pub(crate) fn solve(
        &mut self,
        stream: &Stream,
        x: &DeviceBuffer<f64>,
        out: &mut DeviceBuffer<f64>,
    ) -> Result<(), Error> {
        let layout = &self.layout;
        match &self.matrix {
            Place::OfFactor | Place::Own(_) | Place::Callers(None) => {
                stream.copy(x.view(), out.view_mut())?;
                self.solve_in_place(stream, out)
            }
            Place::OfInverse(inverse) | Place::Callers(Some(inverse)) => {
                let (kernels, line) = (&self.kernels, &mut self.line);
                Ok(kernels.apply_inverse(stream, layout, inverse, x, line, out)?)
            }
        }
    }

    /// `x <- A^-1 x`, with the factor itself.
    pub(crate) fn solve_in_place(
        &self,
        stream: &Stream,
        x: &mut DeviceBuffer<f64>,
    ) -> Result<(), Error> {
        self.solve_columns(stream, x.view_mut(), 1)
    }

    /// `x <- A^-1 x` by two triangular solves, `k x count` without gaps.
    pub(crate) fn solve_columns(
        &self,
        stream: &Stream,
        x: ViewMut<'_, f64>,
        count: usize,
    ) -> Result<(), Error> {
        let k = self.layout.k;
        if k == 0 || count == 0 {
            return Ok(());
        }
        let factor = Matrix::new(self.factor.view(), k, k, self.layout.order)?;
        let mut x = MatrixMut::packed(x, k, count)?;
        stream.trsm(Side::Left, Triangle::Lower, 1.0, factor, &mut x)?;
        let transposed = factor.transposed();
        stream.trsm(Side::Left, Triangle::Lower, 1.0, transposed, &mut x)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matrix_that_tiles_do_not_factor_becomes_its_factor() {
        let squares = |order, keep| {
            let layout = DenseCholesky::layout(order).unwrap();
            let all = 8 * layout.square() as u64;
            let rest = layout.tiles_bytes() + 8 * (layout.border_len() + 1) as u64 + 4;
            let bytes = DenseCholesky::bytes(&layout, keep);
            assert!(bytes % all <= rest, "{order}, {keep:?}");
            bytes / all
        };
        // Orders of whole tiles, of none, and past those that tiles pay at.
        for (order, places) in [
            (2048, 2),
            (7168, 2),
            (2000, 2),
            (200, 1),
            (7200, 1),
            (20_001, 1),
        ] {
            assert_eq!(squares(order, Keep::Factor), places, "{order}");
            assert_eq!(squares(order, Keep::InverseFactor), 2, "{order}");
        }
    }
}
