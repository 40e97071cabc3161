//! One dense symmetric matrix on the device, its Cholesky factor, and the solves with it.

use super::Error;
use crate::cuda::factors::{SideSummary, solve_border};
use crate::cuda::kernels::Kernels;
use crate::cuda::layout::Layout;
use crate::cuda::tiles::{Squares, Tiles};
use crate::cuda::{BorderMethod, Keep};
use crate::{ArrowShape, LogDeterminant, Pivot, PivotSite, RowDims};
use broadhead_device::{
    ByteClass, DeviceBuffer, Matrix, MatrixMut, Side, Stream, Triangle, ViewMut,
};

/// Numbers of a factor's summary.
const SUMMARY: usize = 6;

/// A matrix of one order, column-major, its lower triangle; beside it its factor.
pub(super) struct Square {
    layout: Layout,
    kernels: Kernels,
    tiles: Option<Tiles>,
    keep: Keep,
    /// The matrix; where the inverse of its factor is kept, that after a factorization.
    matrix: DeviceBuffer<f64>,
    factor: DeviceBuffer<f64>,
    workspace: DeviceBuffer<f64>,
    info: DeviceBuffer<i32>,
    /// A line of the matrix, or a solve half done.
    line: DeviceBuffer<f64>,
    number: DeviceBuffer<f64>,
    /// Of no length.
    none: DeviceBuffer<f64>,
}

impl Square {
    /// The layout of a matrix of `order`: that of a border without rows.
    ///
    /// # Errors
    /// A refusal where the order is past the libraries'.
    pub(super) fn layout(order: usize) -> Result<Layout, Error> {
        Layout::new(&ArrowShape::new(RowDims::uniform(0, 1)?, order)?)
    }

    /// Device bytes, the library's workspace apart, whatever a frame keeps.
    pub(super) fn bytes(layout: &Layout) -> u64 {
        8 * (2 * layout.square() + layout.border_len() + 1) as u64 + 4 + layout.tiles_bytes()
    }

    pub(super) fn new(stream: &Stream, layout: Layout, keep: Keep) -> Result<Self, Error> {
        let mut factor = stream.zeros(layout.square(), "a factor")?;
        let workspace = match layout.k {
            0 => 0,
            k => {
                let mut whole = MatrixMut::new(factor.view_mut(), k, k, layout.order)?;
                stream.potrf_workspace(&mut whole)?
            }
        };
        // Room for the tiles wherever there are whole ones, so that the bytes are the shape's.
        let tiles = match layout.whole_tiles() {
            true => Some(Tiles::new(stream, &layout)?),
            false => None,
        };
        Ok(Self {
            kernels: Kernels::load(stream, &layout)?,
            tiles,
            keep,
            matrix: stream.zeros(layout.square(), "a symmetric matrix")?,
            factor,
            workspace: stream.zeros(workspace, "workspace of the Cholesky factorization")?,
            info: stream.zeros(1, "info")?,
            line: stream.zeros(layout.border_len(), "a line of a matrix")?,
            number: stream.zeros(1, "a number")?,
            none: stream.zeros(0, "nothing")?,
            layout,
        })
    }

    /// What a frame keeps of the factor.
    pub(super) fn keep(&self) -> Keep {
        self.keep
    }

    /// How the matrix is factored: by tiles where they are expected to be faster.
    pub(super) fn method(&self, stream: &Stream) -> BorderMethod {
        let served = Tiles::serves(stream.context().info(), &self.layout);
        match served && Tiles::pays(&self.layout) {
            true => BorderMethod::Tiles,
            false => BorderMethod::Library,
        }
    }

    /// Where the matrix is put, and the distance of its columns.
    pub(super) fn matrix_mut(&mut self) -> (&mut DeviceBuffer<f64>, usize) {
        (&mut self.matrix, self.layout.order)
    }

    /// Length of the vectors of a solve, zero past the order.
    pub(super) fn vector_len(layout: &Layout) -> usize {
        layout.border_len()
    }

    /// Factors the matrix with `rho` on its diagonal. The matrix stays.
    pub(super) fn factor(&mut self, stream: &Stream, rho: f64) -> Result<(), Error> {
        let by_tiles = self.method(stream) == BorderMethod::Tiles;
        match self.tiles.as_mut().filter(|_| by_tiles) {
            Some(tiles) => tiles.factor(
                stream,
                &self.layout,
                (&self.matrix, rho),
                &self.none,
                Squares::OfY,
                (&mut self.factor, &mut self.info),
            )?,
            None => {
                self.ridged(stream, rho)?;
                self.factor_leading(stream, self.layout.k)?;
            }
        }
        Ok(())
    }

    /// What a frame keeps beside the factor takes the matrix's place.
    pub(super) fn finish(&mut self, stream: &Stream) -> Result<(), Error> {
        let order = self.layout.order;
        match self.keep {
            Keep::Factor => Ok(()),
            Keep::InverseFactor => Ok(stream.triangular_inverse(
                &mut MatrixMut::packed(self.factor.view_mut(), order, order)?,
                &mut MatrixMut::packed(self.matrix.view_mut(), order, order)?,
                self.layout.leaf,
            )?),
        }
    }

    /// The factor's place holds the matrix with `rho` on its diagonal.
    fn ridged(&mut self, stream: &Stream, rho: f64) -> Result<(), Error> {
        let (kernels, layout) = (&self.kernels, &self.layout);
        Ok(kernels.border_sum(stream, layout, &self.matrix, rho, &mut self.factor)?)
    }

    /// The leading `order` rows and columns of the factor's place become their factor.
    fn factor_leading(&mut self, stream: &Stream, order: usize) -> Result<(), Error> {
        if order == 0 {
            return Ok(stream.zero(self.info.view_mut())?);
        }
        let leading = self.layout.order;
        let mut matrix = MatrixMut::new(self.factor.view_mut(), order, order, leading)?;
        let (workspace, info) = (self.workspace.view_mut(), self.info.view_mut());
        Ok(stream.potrf(&mut matrix, workspace, info)?)
    }

    /// Submits the factor's summary, 6 numbers.
    pub(super) fn summarise(&self, stream: &Stream, to: ViewMut<'_, f64>) -> Result<(), Error> {
        let (kernels, factor) = (&self.kernels, &self.factor);
        Ok(kernels.summarise_border(stream, &self.layout, factor, factor, &self.info, to)?)
    }

    /// What a summary says; the value of a pivot that failed is not known.
    pub(super) fn side(numbers: &[f64], site: impl Fn(usize) -> PivotSite) -> SideSummary {
        debug_assert!(numbers.len() >= SUMMARY);
        let pivot = |place: f64, value| Pivot {
            site: site(place as usize),
            value,
        };
        SideSummary {
            log: LogDeterminant {
                value: numbers[0],
                absolute: numbers[1],
            },
            least: (numbers[3] >= 0.0).then(|| pivot(numbers[3], numbers[2])),
            failed: (numbers[4] != 0.0).then(|| pivot(numbers[4] - 1.0, f64::NAN)),
            scale: numbers[5],
        }
    }

    /// The factor, the distance of its columns, and the first pivot that failed, from 1, or 0.
    pub(super) fn found(&self) -> (&DeviceBuffer<f64>, usize, &DeviceBuffer<i32>) {
        (&self.factor, self.layout.order, &self.info)
    }

    /// Whether the last factorization succeeded.
    pub(super) fn factored(&self, stream: &Stream) -> Result<bool, Error> {
        let info = stream.download(self.info.view(), ByteClass::Record)?;
        Ok(info == [0])
    }

    /// The value of the pivot of the matrix that failed, `a_jj - |L^-1 a_j|^2`: the factorization
    /// says only its place. The matrix has been put here again.
    pub(super) fn pivot(&mut self, stream: &Stream, rho: f64, j: usize) -> Result<f64, Error> {
        self.ridged(stream, rho)?;
        let (kernels, layout) = (&self.kernels, &self.layout);
        kernels.border_line(stream, layout, &self.factor, j, &mut self.line)?;
        self.factor_leading(stream, j)?;
        if j > 0 {
            let factor = Matrix::new(self.factor.view(), j, j, self.layout.order)?;
            let mut line = MatrixMut::packed(self.line.slice_mut(0..j)?, j, 1)?;
            stream.trsm(Side::Left, Triangle::Lower, 1.0, factor, &mut line)?;
        }
        self.kernels
            .border_pivot(stream, &self.line, j, &mut self.number)?;
        let value = stream.download(self.number.view(), ByteClass::Record)?;
        Ok(value[0])
    }

    /// `out = A^-1 x`, both as long as [`Square::vector_len`] says.
    pub(super) fn solve(
        &mut self,
        stream: &Stream,
        x: &DeviceBuffer<f64>,
        out: &mut DeviceBuffer<f64>,
    ) -> Result<(), Error> {
        let layout = &self.layout;
        match self.keep {
            Keep::Factor => {
                stream.copy(x.view(), out.view_mut())?;
                self.solve_in_place(stream, out)
            }
            Keep::InverseFactor => {
                let (kernels, line) = (&self.kernels, &mut self.line);
                Ok(kernels.sweeps(stream, layout, &self.matrix, x, line, out)?)
            }
        }
    }

    /// `x <- A^-1 x`, with the factor itself.
    pub(super) fn solve_in_place(
        &self,
        stream: &Stream,
        x: &mut DeviceBuffer<f64>,
    ) -> Result<(), Error> {
        solve_border(stream, &self.layout, &self.factor, x.view_mut(), 1)
    }
}
