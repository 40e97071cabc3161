//! Conjugate gradients on the core: their kernels, their vectors, and the loop that a graph holds. See
//! `iterative.cu`.
#![allow(unsafe_code)] // Beside the kernels' typed launches alone.

use crate::IterativeOptions;
use crate::device::kernels::{MOST_THREADS, THREAD_COUNTS, THREADS};
use crate::device::record::{GradientsRecord, GradientsState, NormRecord};
use crate::device::structured::kernels::{
    GramFactors, PartialSums, StructuredKernels, WhitenedRows,
};
use crate::device::structured::layout::Sizes;
use crate::device::structured::row_products::{OfRows, RowProducts};
use broadhead_device::kernels::{Geometry, Kernel, KernelSource};
use broadhead_device::record::Record;
use broadhead_device::{
    ByteClass, Condition, DeviceBuffer, PinnedBuffer, Result, Stream, declares, field,
};

pub(crate) const DESCENT: KernelSource = KernelSource {
    name: "iterative.cu",
    text: include_str!("../iterative.cu"),
    declares: declares![
        all THREAD_COUNTS,
        record NormRecord,
        record GradientsState,
        long RUNS = GradientsRecord::RUNS,
        long ARRIVED = GradientsRecord::ARRIVED,
        long STALLED = GradientsRecord::STALLED,
        long NOT_POSITIVE = GradientsRecord::NOT_POSITIVE,
        long CURVATURE_OVERFLOW = GradientsRecord::CURVATURE_OVERFLOW,
        long RIGHT_HAND_SIDE_OVERFLOW = GradientsRecord::RIGHT_HAND_SIDE_OVERFLOW,
        long OF_DIRECTION = GradientsRecord::OF_DIRECTION,
        long OF_SOLUTION = GradientsRecord::OF_SOLUTION,
    ],
    entries: &[
        "descent_size",
        "descent_begin",
        "descent_turn",
        "descent_pull",
        "descent_push",
        "descent_end",
    ],
    options: &[],
};

/// Bytes of directions and of their products that are kept: what the second-level cache of the present
/// devices holds beside the features of the rows, for every iteration reads them.
const KEPT: usize = 32 << 20;

/// What the record says when a solve has ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Ended {
    pub(crate) status: Status,
    pub(crate) iterations: usize,
    /// `|b - S x| / |b|`, by the core's residual.
    pub(crate) reached: f64,
    /// The curvature that was not positive, `p' S p / p' p`.
    pub(crate) curvature: f64,
}

impl Ended {
    /// `None` of a record without a status: no solve has written it.
    fn of(record: GradientsRecord) -> Option<Self> {
        let status = match record.status {
            GradientsRecord::ARRIVED => Status::Arrived,
            GradientsRecord::STALLED => Status::Stalled,
            GradientsRecord::NOT_POSITIVE => Status::NotPositive,
            GradientsRecord::CURVATURE_OVERFLOW => Status::CurvatureOverflow,
            GradientsRecord::RIGHT_HAND_SIDE_OVERFLOW => Status::RightHandSideOverflow,
            _ => return None,
        };
        Some(Self {
            status,
            iterations: record.done as usize,
            reached: record.reached,
            curvature: record.curvature,
        })
    }
}

/// How a solve ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// At the residual asked.
    Arrived,
    /// Where rounding, or the number of iterations allowed, lets it come no closer.
    Stalled,
    /// At a curvature that is not positive.
    NotPositive,
    /// At a curvature that is not finite.
    CurvatureOverflow,
    /// At a right-hand side that is not finite.
    RightHandSideOverflow,
}

/// What forms the products of the rows.
pub(crate) enum ProductsBy<'a> {
    /// A fused kernel.
    Kernels {
        kernels: &'a StructuredKernels,
        sums: &'a mut PartialSums,
    },
    /// A library.
    Library(&'a mut RowProducts),
}

/// Kernels, vectors and limits.
pub(crate) struct Descent {
    size: Kernel,
    begin: Kernel,
    turn: Kernel,
    pull: Kernel,
    push: Kernel,
    end: Kernel,
    /// `phi~`, n x M, and `X`, N x M with zeros past column r.
    phi: DeviceBuffer<f64>,
    jacobian: DeviceBuffer<f64>,
    /// The right-hand side and then the solution, M x r.
    pub(crate) vector: DeviceBuffer<f64>,
    /// Of `M x M` each: right-hand side, solution, residual, direction, its product.
    b: DeviceBuffer<f64>,
    x: DeviceBuffer<f64>,
    r: DeviceBuffer<f64>,
    p: DeviceBuffer<f64>,
    outer_sum: DeviceBuffer<f64>,
    kept: [DeviceBuffer<f64>; 2],
    most: usize,
    coefficients: DeviceBuffer<f64>,
    norms: DeviceBuffer<NormRecord>,
    sizes: DeviceBuffer<NormRecord>,
    state: DeviceBuffer<GradientsState>,
    out: PinnedBuffer<GradientsRecord>,
    target: f64,
    limit: f64,
    /// Iterations of one descent: past the order, directions that are conjugate to all before are
    /// rounding alone.
    per_descent: f64,
}

/// Directions that are kept.
fn kept(sizes: &Sizes) -> usize {
    let bytes = 16 * sizes.features * sizes.features;
    (KEPT / bytes).clamp(1, sizes.core_order())
}

/// Numbers of the buffers, in the order in which [`Descent::new`] makes them; records apart.
fn lengths(sizes: &Sizes) -> [usize; 6] {
    let (n, m) = (sizes.rows.rows, sizes.features);
    let most = kept(sizes);
    [
        n * m,
        sizes.rows.unknowns * m,
        sizes.core_order(),
        5 * m * m,
        2 * most * m * m,
        most,
    ]
}

/// Device bytes of the vectors.
pub(crate) fn bytes(sizes: &Sizes) -> u64 {
    let numbers = lengths(sizes).into_iter().map(|len| 8 * len as u64);
    let norms = (sizes.features + sizes.columns) * size_of::<NormRecord>();
    numbers.sum::<u64>() + (norms + size_of::<GradientsState>()) as u64
}

impl Descent {
    pub(crate) fn new(stream: &Stream, sizes: &Sizes, options: IterativeOptions) -> Result<Self> {
        let module = stream.context().module(&DESCENT)?;
        let kernel = |name| -> Result<Kernel> { Ok(module.kernel(name)?.clone()) };
        let [phi, jacobian, order, ..] = lengths(sizes);
        let (m, most) = (sizes.features, kept(sizes));
        let square = || stream.zeros(m * m, "a vector of conjugate gradients");
        let directions = || stream.zeros(most * m * m, "directions of conjugate gradients");
        let unlimited = 2 * sizes.unknowns + 50;
        Ok(Self {
            size: kernel("descent_size")?,
            begin: kernel("descent_begin")?,
            turn: kernel("descent_turn")?,
            pull: kernel("descent_pull")?,
            push: kernel("descent_push")?,
            end: kernel("descent_end")?,
            phi: stream.zeros(phi, "whitened features")?,
            jacobian: stream.zeros(jacobian, "derivatives of the rows")?,
            vector: stream.zeros(order, "a solve's core")?,
            b: square()?,
            x: square()?,
            r: square()?,
            p: square()?,
            outer_sum: square()?,
            kept: [directions()?, directions()?],
            most,
            coefficients: stream.zeros(most, "coefficients of the directions")?,
            norms: stream.zeros(m, "norms")?,
            sizes: stream.zeros(sizes.columns, "norms")?,
            state: stream.zeros(1, "record of a solve")?,
            out: stream.pinned(1, "record of a solve")?,
            target: options.relative_residual,
            limit: options.max_iterations.unwrap_or(unlimited) as f64,
            per_descent: match most == sizes.core_order() {
                true => most as f64,
                false => f64::INFINITY,
            },
        })
    }

    /// The relative residual that is asked.
    pub(crate) fn target(&self) -> f64 {
        self.target
    }

    /// Where [`crate::device::structured::factors::StructuredFactors::transform`] puts `phi~` and `X`.
    pub(crate) fn of_rows(&mut self) -> (&mut DeviceBuffer<f64>, &mut DeviceBuffer<f64>) {
        (&mut self.phi, &mut self.jacobian)
    }

    /// `|E W - g|`, in pieces; `|g|` where `E` and `W` are absent.
    pub(crate) fn size(
        &mut self,
        stream: &Stream,
        sizes: &Sizes,
        product: (&DeviceBuffer<f64>, &DeviceBuffer<f64>),
        gradient: &DeviceBuffer<f64>,
    ) -> Result<()> {
        let launch = self
            .size
            .launch(stream, Geometry::line(sizes.columns as u32, THREADS))
            .read(product.0.view())
            .read(product.1.view())
            .read(gradient.view())
            .scalar(sizes.features as i32)
            .scalar(sizes.outputs as i32)
            .write(self.sizes.view_mut());
        // SAFETY: the arguments are those of the source; E is M x M, W and g are M x p (of no
        // length where absent), and a norm a block is written.
        unsafe { launch.submit() }
    }

    /// Solves `Z c = f` for the `f` in [`Self::vector`], which becomes `c`; the record is on its way to
    /// the host then. Inside a capture alone.
    pub(crate) fn solve(
        &mut self,
        stream: &Stream,
        sizes: &Sizes,
        rows: &WhitenedRows,
        border: &GramFactors,
        mut by: ProductsBy<'_>,
    ) -> Result<()> {
        self.submit_begin(stream, sizes)?;
        stream.while_loop(|stream, again| {
            self.product(stream, sizes, rows, &mut by)?;
            self.submit_turn(stream, sizes)?;
            self.submit_pull(stream, sizes, border)?;
            self.submit_push(stream, sizes, again)
        })?;
        self.submit_end(stream, sizes, border)?;
        let record = self.state.view().field(field!(GradientsState, next))?;
        stream.download_pinned(record, &mut self.out, ByteClass::Record)
    }

    /// What became of the last solve that ran; waits for it. `None` where none did.
    pub(crate) fn read(&self) -> Result<Option<Ended>> {
        let mut record = [GradientsRecord::ZERO];
        self.out.read(&mut record)?;
        Ok(Ended::of(record[0]))
    }

    /// Empties the record on the host, after the solve that may be writing it: what was captured has
    /// not run.
    pub(crate) fn forget(&mut self) -> Result<()> {
        self.out.write(&[GradientsRecord::ZERO])
    }

    fn submit_begin(&mut self, stream: &Stream, sizes: &Sizes) -> Result<()> {
        let launch = self
            .begin
            .launch(stream, Geometry::line(1, MOST_THREADS))
            .read(self.vector.view())
            .scalar(sizes.features as i32)
            .scalar(sizes.rank as i32)
            .read(self.sizes.view())
            .scalar(sizes.columns as i32)
            .scalar(self.limit)
            .write(self.b.view_mut())
            .write(self.x.view_mut())
            .write(self.r.view_mut())
            .write(self.p.view_mut())
            .write(self.state.view_mut());
        // SAFETY: the arguments are those of the source; f is M x r, vectors are M x M, and pieces are
        // as many as [`Self::size`] wrote.
        unsafe { launch.submit() }
    }

    /// `E = (I - Z) p`.
    fn product(
        &mut self,
        stream: &Stream,
        sizes: &Sizes,
        rows: &WhitenedRows,
        by: &mut ProductsBy<'_>,
    ) -> Result<()> {
        let (p, outer) = (&self.p, &mut self.outer_sum);
        match by {
            ProductsBy::Kernels { kernels, sums } => {
                let of_rows = (&self.phi, &self.jacobian);
                kernels.product_of(stream, sizes, rows, of_rows, p, sums, outer)
            }
            ProductsBy::Library(products) => {
                let of_rows = OfRows {
                    phi: &self.phi,
                    x: &self.jacobian,
                    leading: sizes.features,
                };
                products.outer(stream, sizes, rows, of_rows, p, 0.0, outer)
            }
        }
    }

    fn submit_turn(&mut self, stream: &Stream, sizes: &Sizes) -> Result<()> {
        let [directions, products] = &mut self.kept;
        let launch = self
            .turn
            .launch(stream, Geometry::line(1, MOST_THREADS))
            .read(self.b.view())
            .read(self.outer_sum.view())
            .scalar(sizes.features as i32)
            .write(self.x.view_mut())
            .write(self.r.view_mut())
            .write(self.p.view_mut())
            .write(directions.view_mut())
            .write(products.view_mut())
            .scalar(self.most as i32)
            .write(self.state.view_mut());
        // SAFETY: the arguments are those of the source; vectors are M x M, directions and products
        // `most` times that.
        unsafe { launch.submit() }
    }

    fn submit_pull(&mut self, stream: &Stream, sizes: &Sizes, border: &GramFactors) -> Result<()> {
        let blocks = sizes.features + self.most;
        let launch = self
            .pull
            .launch(stream, Geometry::line(blocks as u32, THREADS))
            .read(border.gram.view())
            .scalar(sizes.features as i32)
            .read(self.r.view())
            .read(self.p.view())
            .read(self.kept[1].view())
            .read(self.state.view())
            .write(self.norms.view_mut())
            .write(self.coefficients.view_mut());
        // SAFETY: as above; a norm a feature and a number a direction are written.
        unsafe { launch.submit() }
    }

    fn submit_push(&mut self, stream: &Stream, sizes: &Sizes, again: Condition) -> Result<()> {
        let m = sizes.features;
        let launch = self
            .push
            .launch(stream, Geometry::line((m * m).div_ceil(32) as u32, THREADS))
            .scalar(m as i32)
            .read(self.x.view())
            .read(self.norms.view())
            .read(self.coefficients.view())
            .read(self.kept[0].view())
            .scalar(self.target)
            .scalar(self.per_descent)
            .scalar(self.limit)
            .write(self.p.view_mut())
            .write(self.state.view_mut())
            .scalar(again);
        // SAFETY: as above; the condition is that of the loop under way.
        unsafe { launch.submit() }
    }

    fn submit_end(&mut self, stream: &Stream, sizes: &Sizes, border: &GramFactors) -> Result<()> {
        let launch = self
            .end
            .launch(stream, Geometry::line(1, MOST_THREADS))
            .read(border.gram.view())
            .scalar(sizes.features as i32)
            .scalar(sizes.rank as i32)
            .read(self.x.view())
            .read(self.p.view())
            .write(self.outer_sum.view_mut())
            .write(self.vector.view_mut())
            .write(self.state.view_mut());
        // SAFETY: as above; c is M x r.
        unsafe { launch.submit() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EliminationKind, RowDims, StructuredShape};

    #[test]
    fn a_record_that_no_solve_wrote_is_no_end() {
        let mut record = GradientsRecord::ZERO;
        assert_eq!(Ended::of(record), None);
        (record.done, record.reached, record.curvature) = (7.0, 1e-11, -2.0);
        // Running, or nothing that a kernel writes.
        for status in [0, 6, -1] {
            record.status = status;
            assert_eq!(Ended::of(record), None, "{status}");
        }
        let ends = [
            Status::Arrived,
            Status::Stalled,
            Status::NotPositive,
            Status::CurvatureOverflow,
            Status::RightHandSideOverflow,
        ];
        for (code, status) in (1..).zip(ends) {
            record.status = code;
            let ended = Ended {
                status,
                iterations: 7,
                reached: 1e-11,
                curvature: -2.0,
            };
            assert_eq!(Ended::of(record), Some(ended));
        }
    }

    #[test]
    fn directions_are_kept_as_far_as_their_bytes_go() {
        let of = |m, p| {
            let rows = RowDims::uniform(2000, 1).unwrap();
            let shape = StructuredShape::new(rows, m, p).unwrap();
            kept(&Sizes::new(&shape, EliminationKind::Iterative).unwrap())
        };
        assert_eq!(of(3, 2048), 9);
        assert_eq!(of(9, 2), 18);
        let tori = of(65, 2048);
        assert_eq!(tori, (32 << 20) / (16 * 65 * 65));
        assert!(tori < 65 * 65);
    }
}
