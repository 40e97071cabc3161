//! Conjugate gradients for structured systems on a device: what they keep, and their solves.
//!
//! ```math
//! (L_G^{-1} \otimes I)\, S\, (L_G^{-\top} \otimes I) = I - (I \otimes O)(I - Z)(I \otimes O'), \qquad
//! W' = O R', \quad Z = I - F' Q F .
//! ```
//!
//! The border, preconditioned by $`C = G \otimes I_p`$ on both sides as the CPU's conjugate gradients
//! do it, is the identity but on the $`M r`$ dimensions of $`R`$, where it is the core $`Z`$. So the
//! directions are sought there, $`M r`$ numbers each and not $`M p`$: an iteration reads
//! $`\tilde\phi_i = L_G^{-1} \phi_i`$ and $`X_i = V_i R`$ of every row once, whatever $`p`$ is, and
//! `Z` is never formed. What surrounds them is the core's solve.
//!
//! A solve is one graph: the right-hand side, a loop that the device repeats for as long as a kernel in
//! it says, the step, and a record of 72 bytes that is read at its end and not before.

pub(crate) mod descent;

use crate::device::kernels::RowSolve;
use crate::device::layout::DeviceBytes;
use crate::device::outcome::did_not_run;
use crate::device::structured::factors::{
    SolveWorkspace, StructuredElimination, StructuredFactors,
};
use crate::device::structured::layout::{MOST_FEATURES, Sizes};
use crate::device::structured::operands::StructuredOperands;
use crate::device::structured::row_products::{OfRows, RowProducts};
use crate::device::summary::BorderMethod;
use crate::device::{DeviceVector, Keep};
use crate::{
    EliminationKind, Error, Factored, Failure, IterativeOptions, NoLogDeterminant,
    NotPositiveDefinite, PivotSite, Ridge, SolveStats, StructuredShape,
};
use broadhead_device::{DeviceBuffer, Graph, Matrix, MatrixMut, Side, Stream, Triangle};
use descent::{Descent, Ended, ProductsBy, Status};

/// The most features of which fused kernels form the products of the rows and of the border; of more,
/// the library does.
pub(crate) const FUSED: usize = 9;

/// Numbers of `V`.
fn whitened(sizes: &Sizes) -> usize {
    sizes.rows.unknowns * sizes.rows.order
}

fn bytes(sizes: &Sizes) -> DeviceBytes {
    let of = |elements: usize| 8 * elements as u64;
    let (m, unknowns) = (sizes.features, sizes.rows.unknowns);
    let shared = sizes.bytes(whitened(sizes), 0);
    let vectors = of(2 * unknowns + sizes.border() + 3 * m * m) + of(unknowns + sizes.border());
    let products = match m <= FUSED {
        true => 0,
        false => RowProducts::bytes(sizes),
    };
    DeviceBytes {
        factors: shared.factors + descent::bytes(sizes),
        vectors: shared.vectors + vectors + products,
        ..shared
    }
}

/// Device bytes of a linearisation that keeps these, the library's workspace apart.
///
/// # Errors
/// As [`Sizes::new`].
pub(crate) fn bytes_needed(shape: &StructuredShape) -> Result<DeviceBytes, Error> {
    Ok(bytes(&Sizes::new(shape, EliminationKind::Iterative)?))
}

/// What conjugate gradients need of one shape.
pub(crate) struct IterativeFactors {
    common: StructuredFactors,
    buffers: SolveBuffers,
    /// The graph of a solve for the gradient and into the step of [`SolveBuffers`], once there was one.
    graph: Option<Graph>,
    gradient: DeviceVector,
    step: DeviceVector,
}

/// What a solve works in.
struct SolveBuffers {
    descent: Descent,
    /// Of more features than [`FUSED`].
    products: Option<RowProducts>,
    workspace: SolveWorkspace,
}

impl IterativeFactors {
    pub(crate) fn new(
        stream: &Stream,
        shape: &StructuredShape,
        options: IterativeOptions,
    ) -> Result<Self, Error> {
        let sizes = Sizes::new(shape, EliminationKind::Iterative)?;
        let v = whitened(&sizes);
        let common = StructuredFactors::new(stream, sizes, shape, v, 0)?;
        let m = common.sizes.features;
        if m > MOST_FEATURES {
            common.kernels.allow_features(m)?;
        }
        Ok(Self {
            buffers: SolveBuffers {
                descent: Descent::new(stream, &common.sizes, options)?,
                products: match m <= FUSED {
                    true => None,
                    false => Some(RowProducts::new(stream, &common.sizes)?),
                },
                workspace: SolveWorkspace::new(&common)?,
            },
            graph: None,
            gradient: common.vector()?,
            step: common.vector()?,
            common,
        })
    }
}

/// Submits all of a solve. Inside a capture alone: it holds a loop.
fn submit_solve(
    common: &mut StructuredFactors,
    buffers: &mut SolveBuffers,
    operands: &StructuredOperands,
    gradient: &DeviceVector,
    step: &mut DeviceVector,
) -> broadhead_device::Result<()> {
    let SolveBuffers {
        descent,
        products,
        workspace,
    } = buffers;
    match products {
        None => submit_fused(common, descent, workspace, operands, gradient, step),
        Some(products) => submit_library(
            common, descent, products, workspace, operands, gradient, step,
        ),
    }
}

/// By the fused kernels of the core's solve.
fn submit_fused(
    common: &mut StructuredFactors,
    descent: &mut Descent,
    workspace: &mut SolveWorkspace,
    operands: &StructuredOperands,
    gradient: &DeviceVector,
    step: &mut DeviceVector,
) -> broadhead_device::Result<()> {
    common.begin_solve(operands, gradient, workspace)?;
    let right_hand_side = (&workspace.w, &operands.decoder);
    descent.size(
        &common.stream,
        &common.sizes,
        right_hand_side,
        &gradient.border,
    )?;
    common.enter_core(operands, gradient, workspace, step)?;
    let StructuredFactors {
        stream,
        sizes,
        kernels,
        rows,
        border,
        sums,
        ..
    } = common;
    kernels.core_pull(stream, sizes, border, &workspace.w, &mut descent.vector)?;
    let by = ProductsBy::Kernels { kernels, sums };
    descent.solve(stream, sizes, rows, border, by)?;
    kernels.core_push(
        stream,
        sizes,
        border,
        &descent.vector,
        &mut workspace.kernel,
    )?;
    common.leave_core(operands, workspace, step)
}

/// The same by products and triangular solves of the library, for any number of features.
fn submit_library(
    common: &mut StructuredFactors,
    descent: &mut Descent,
    products: &mut RowProducts,
    workspace: &mut SolveWorkspace,
    operands: &StructuredOperands,
    gradient: &DeviceVector,
    step: &mut DeviceVector,
) -> broadhead_device::Result<()> {
    let StructuredFactors {
        stream,
        sizes,
        dense,
        rows,
        border,
        sums,
        ..
    } = common;
    let SolveWorkspace {
        u,
        w: a,
        added: b,
        kernel,
    } = workspace;
    let (m, r) = (sizes.features, sizes.rank);
    let (layout, index, factors) = (&sizes.rows, &rows.index, &rows.factors);
    stream.copy(gradient.row.view(), u.view_mut())?;
    dense.rows_solve(
        stream,
        layout,
        index,
        factors,
        u.view_mut(),
        1,
        1.0,
        RowSolve::Lower,
    )?;
    let of_rows = OfRows {
        phi: &operands.phi,
        x: &rows.whitened,
        leading: layout.order,
    };
    products.pull(stream, sizes, rows, of_rows, u, a)?;
    let side = Border {
        stream,
        sizes,
        gram: Matrix::packed(border.gram.view(), m, m)?,
        decoder: &operands.decoder,
    };
    let none = &sums.none;
    side.right_hand_side(&[a], &gradient.border, &mut step.border)?;
    descent.size(stream, sizes, (none, none), &step.border)?;
    side.solve(&mut step.border, kernel)?;
    products.outer(stream, sizes, rows, of_rows, kernel, 0.0, b)?;
    // c' = R' w' L_G^-T
    let root = Matrix::packed(border.root.view(), r, m)?;
    let mut core = MatrixMut::packed(descent.vector.view_mut(), r, m)?;
    stream.gemm(1.0, root, Matrix::packed(b.view(), m, m)?, 0.0, &mut core)?;
    stream.trsm(Side::Right, Triangle::Upper, 1.0, side.gram, &mut core)?;
    descent.solve(stream, sizes, rows, border, ProductsBy::Library(products))?;
    // U' = R c' L_G^-1
    let mut core = MatrixMut::packed(descent.vector.view_mut(), r, m)?;
    let transposed = side.gram.transposed();
    stream.trsm(Side::Right, Triangle::Upper, 1.0, transposed, &mut core)?;
    let core = Matrix::packed(descent.vector.view(), r, m)?;
    let mut pushed = MatrixMut::packed(kernel.view_mut(), m, m)?;
    stream.gemm(1.0, root.transposed(), core, 0.0, &mut pushed)?;
    products.outer(stream, sizes, rows, of_rows, kernel, 1.0, b)?;
    side.right_hand_side(&[a, b], &gradient.border, &mut step.border)?;
    side.solve(&mut step.border, kernel)?;
    products.push(stream, sizes, rows, of_rows, u, kernel, &mut step.row)?;
    let (x, which) = (step.row.view_mut(), RowSolve::Transposed);
    dense.rows_solve(stream, layout, index, factors, x, 1, -1.0, which)
}

/// The border's side of a solve. A line of a matrix is a column to the library: `X'` is `p x M`, and
/// `L_G` is an upper triangle.
struct Border<'a> {
    stream: &'a Stream,
    sizes: &'a Sizes,
    gram: Matrix<'a>,
    decoder: &'a DeviceBuffer<f64>,
}

impl Border<'_> {
    /// `X = (E + ..) W - g`.
    fn right_hand_side(
        &self,
        outers: &[&mut DeviceBuffer<f64>],
        gradient: &DeviceBuffer<f64>,
        x: &mut DeviceBuffer<f64>,
    ) -> broadhead_device::Result<()> {
        let (m, p) = (self.sizes.features, self.sizes.outputs);
        let decoder = Matrix::packed(self.decoder.view(), p, m)?;
        self.stream.copy(gradient.view(), x.view_mut())?;
        let mut x = MatrixMut::packed(x.view_mut(), p, m)?;
        let mut weight = -1.0;
        for outer in outers {
            let outer = Matrix::packed(outer.view(), m, m)?;
            self.stream.gemm(1.0, decoder, outer, weight, &mut x)?;
            weight = 1.0;
        }
        Ok(())
    }

    /// `X = G^-1 X`, `Z = X W'`.
    fn solve(
        &self,
        x: &mut DeviceBuffer<f64>,
        kernel: &mut DeviceBuffer<f64>,
    ) -> broadhead_device::Result<()> {
        let (m, p) = (self.sizes.features, self.sizes.outputs);
        for gram in [self.gram, self.gram.transposed()] {
            let mut x = MatrixMut::packed(x.view_mut(), p, m)?;
            let (side, triangle) = (Side::Right, Triangle::Upper);
            self.stream.trsm(side, triangle, 1.0, gram, &mut x)?;
        }
        let decoder = Matrix::packed(self.decoder.view(), p, m)?;
        let x = Matrix::packed(x.view(), p, m)?;
        let mut kernel = MatrixMut::packed(kernel.view_mut(), m, m)?;
        self.stream
            .gemm(1.0, decoder.transposed(), x, 0.0, &mut kernel)
    }
}

impl StructuredElimination for IterativeFactors {
    fn common(&self) -> &StructuredFactors {
        &self.common
    }

    fn common_mut(&mut self) -> &mut StructuredFactors {
        &mut self.common
    }

    fn bytes(&self) -> DeviceBytes {
        bytes(&self.common.sizes)
    }

    fn kept(&self) -> (Option<Keep>, Option<BorderMethod>) {
        (None, None)
    }

    fn submit(&mut self, operands: &StructuredOperands, ridge: Ridge) -> Result<(), Error> {
        self.common.factor_rows(operands, ridge.row)?;
        self.common.whiten(operands)?;
        self.common.prepare_border(operands, ridge.border)?;
        let (phi, x) = self.buffers.descent.of_rows();
        let leading = self.common.sizes.features;
        self.common.transform(operands, phi, (x, leading))
    }

    fn read(&mut self, operands: &StructuredOperands, ridge: Ridge) -> Result<Factored, Failure> {
        let summary = self.common.read_factored()?;
        let rows = self.common.rows_factored(operands, ridge.row, &summary)?;
        let gram = self
            .common
            .gram_factored(operands, ridge.border, &summary)?;
        Ok(Factored {
            log_determinant: Err(NoLogDeterminant::Iterative),
            row_pivot: rows.least,
            border_pivot: gram.least,
        })
    }

    fn solve(
        &mut self,
        operands: &StructuredOperands,
        gradient: &DeviceVector,
        step: &mut DeviceVector,
    ) -> Result<(), Error> {
        let Self {
            common,
            buffers,
            graph,
            gradient: from,
            step: to,
        } = self;
        let stream = common.stream.clone();
        if stream.is_capturing() {
            submit_solve(common, buffers, operands, gradient, step)?;
            // The record of an earlier solve is not this one's.
            return Ok(buffers.descent.forget()?);
        }
        if graph.is_none() {
            *graph = Some(stream.capture(|_| submit_solve(common, buffers, operands, from, to))?);
        }
        stream.copy(gradient.row.view(), from.row.view_mut())?;
        stream.copy(gradient.border.view(), from.border.view_mut())?;
        if let Some(graph) = graph {
            graph.launch()?;
        }
        stream.copy(to.row.view(), step.row.view_mut())?;
        Ok(stream.copy(to.border.view(), step.border.view_mut())?)
    }

    fn solved(&mut self) -> Result<SolveStats, Failure> {
        let Some(ended) = self.buffers.descent.read()? else {
            return Err(did_not_run("solved", "a solve that ran").into());
        };
        found(ended)
    }

    fn residual_asked(&self) -> Option<f64> {
        Some(self.buffers.descent.target())
    }
}

/// What a solve's end means.
fn found(ended: Ended) -> Result<SolveStats, Failure> {
    let what = match ended.status {
        Status::NotPositive => {
            return Err(NotPositiveDefinite {
                site: PivotSite::Curvature {
                    iteration: ended.iterations,
                },
                value: ended.curvature,
                bump: None,
                whole: None,
            }
            .into());
        }
        Status::Arrived | Status::Stalled => {
            return Ok(SolveStats {
                iterations: ended.iterations as u64,
                stalled_at: (ended.status == Status::Stalled).then_some(ended.reached),
            });
        }
        Status::CurvatureOverflow => "a curvature",
        Status::RightHandSideOverflow => "the right-hand side of the eliminated border",
    };
    Err(Error::Overflow { what }.into())
}
