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

use super::descent::{self, Descent, Status};
use super::layout::Sizes;
use super::operands::Operands;
use super::parts::{Factors, Parts};
use super::{Error, Failure, ResidentVector};
use crate::cuda::DeviceBytes;
use crate::{
    EliminationKind, Factored, IterativeOptions, NoLogDeterminant, NotPositiveDefinite, PivotSite,
    Ridge, SolveStats, StructuredShape,
};
use broadhead_device::{DeviceBuffer, Graph, Matrix, MatrixMut, Side, Stream, Triangle};

/// Numbers of `V`.
fn whitened(sizes: &Sizes) -> usize {
    sizes.rows.unknowns * sizes.rows.order
}

fn bytes(sizes: &Sizes) -> DeviceBytes {
    let of = |elements: usize| 8 * elements as u64;
    let (m, unknowns) = (sizes.features, sizes.rows.unknowns);
    let shared = sizes.bytes(whitened(sizes), 0);
    let vectors = of(2 * unknowns + sizes.border() + 3 * m * m) + of(unknowns + sizes.border());
    DeviceBytes {
        factors: shared.factors + descent::bytes(sizes),
        vectors: shared.vectors + vectors,
        ..shared
    }
}

/// Device bytes of a base that keeps these, the library's workspace apart.
///
/// # Errors
/// As [`Sizes::new`].
pub(super) fn bytes_needed(shape: &StructuredShape) -> Result<DeviceBytes, Error> {
    Ok(bytes(&Sizes::new(shape, EliminationKind::Iterative)?))
}

/// What conjugate gradients need of one shape.
pub(super) struct IterativeFactors {
    parts: Parts,
    buffers: Buffers,
    /// The graph of a solve for the gradient and into the step of [`Buffers`], once there was one.
    graph: Option<Graph>,
    gradient: ResidentVector,
    step: ResidentVector,
    /// Whether a solve was submitted whose record was not read yet.
    submitted: bool,
}

/// What a solve works in.
struct Buffers {
    descent: Descent,
    u: DeviceBuffer<f64>,
    /// `M x M` each: `w`, what is added to it, and a kernel `X W'`.
    squares: [DeviceBuffer<f64>; 3],
}

impl IterativeFactors {
    pub(super) fn new(
        stream: &Stream,
        shape: &StructuredShape,
        options: IterativeOptions,
    ) -> Result<Self, Error> {
        let sizes = Sizes::new(shape, EliminationKind::Iterative)?;
        let v = whitened(&sizes);
        let parts = Parts::new(stream, sizes, shape, v, 0)?;
        let m = parts.sizes.features;
        let square = || stream.zeros(m * m, "a square of features");
        Ok(Self {
            buffers: Buffers {
                descent: Descent::new(stream, &parts.sizes, options)?,
                u: stream.zeros(parts.sizes.rows.unknowns, "a solve's rows")?,
                squares: [square()?, square()?, square()?],
            },
            graph: None,
            gradient: parts.vector()?,
            step: parts.vector()?,
            parts,
            submitted: false,
        })
    }

    /// `phi~` and `X`.
    fn transform(&mut self, operands: &Operands) -> Result<(), Error> {
        let (stream, sizes) = (&self.parts.stream, &self.parts.sizes);
        let (n, unknowns) = (sizes.rows.rows, sizes.rows.unknowns);
        let (m, r) = (sizes.features, sizes.rank);
        if n == 0 || unknowns == 0 {
            return Ok(());
        }
        let descent = &mut self.buffers.descent;
        // Lines of one row each are columns here; so L_G is an upper triangle.
        stream.copy(operands.phi.view(), descent.phi.view_mut())?;
        let gram = Matrix::packed(self.parts.border.gram.view(), m, m)?.transposed();
        let mut phi = MatrixMut::packed(descent.phi.view_mut(), m, n)?;
        stream.trsm(Side::Left, Triangle::Upper, 1.0, gram, &mut phi)?;
        let root = Matrix::packed(self.parts.border.root.view(), r, m)?;
        let v = Matrix::new(
            self.parts.rows.whitened.view(),
            m,
            unknowns,
            sizes.rows.order,
        )?;
        let mut jacobian = MatrixMut::new(descent.jacobian.view_mut(), r, unknowns, m)?;
        Ok(stream.gemm(1.0, root, v, 0.0, &mut jacobian)?)
    }
}

/// Submits all of a solve. Inside a capture alone: it holds a loop.
fn submit_solve(
    parts: &mut Parts,
    buffers: &mut Buffers,
    operands: &Operands,
    gradient: &ResidentVector,
    step: &mut ResidentVector,
) -> broadhead_device::Result<()> {
    let Parts {
        stream,
        sizes,
        kernels,
        rows,
        border,
        pass,
        ..
    } = parts;
    let (descent, u, [a, b, kernel]) = (&mut buffers.descent, &mut buffers.u, &mut buffers.squares);
    let (phi, decoder) = (&operands.phi, &operands.decoder);
    kernels.pull_rows(stream, sizes, rows, phi, &gradient.row, u, pass, a)?;
    descent.size(stream, sizes, operands, a, &gradient.border)?;
    kernels.border_outer(
        stream,
        sizes,
        border,
        decoder,
        a,
        None,
        Some(&gradient.border),
        &mut step.border,
        pass,
        kernel,
    )?;
    kernels.apply_q(stream, sizes, rows, phi, kernel, pass, a)?;
    kernels.core_pull(stream, sizes, border, a, &mut descent.vector)?;
    descent.solve(stream, sizes, kernels, rows, border, pass)?;
    kernels.core_push(stream, sizes, border, &descent.vector, kernel)?;
    kernels.apply_q(stream, sizes, rows, phi, kernel, pass, b)?;
    kernels.border_outer(
        stream,
        sizes,
        border,
        decoder,
        a,
        Some(b),
        None,
        &mut step.border,
        pass,
        kernel,
    )?;
    kernels.rows_finish(stream, sizes, rows, phi, u, kernel, &mut step.row)
}

impl Factors for IterativeFactors {
    fn parts(&self) -> &Parts {
        &self.parts
    }

    fn bytes(&self) -> DeviceBytes {
        bytes(&self.parts.sizes)
    }

    fn submit(&mut self, operands: &Operands, ridge: Ridge) -> Result<(), Error> {
        self.parts.factor_rows(operands, ridge.row)?;
        self.parts.whiten(operands)?;
        self.parts.prepare_border(operands, ridge.border)?;
        self.transform(operands)
    }

    fn read(&mut self, operands: &Operands, ridge: Ridge) -> Result<Factored, Failure> {
        let summary = self.parts.read_factored()?;
        let rows = self.parts.rows_factored(operands, ridge.row, &summary)?;
        let gram = self.parts.gram_factored(operands, ridge.border, &summary)?;
        Ok(Factored {
            log_determinant: Err(NoLogDeterminant::Iterative),
            row_pivot: rows.least,
            border_pivot: gram.least,
        })
    }

    fn solve(
        &mut self,
        operands: &Operands,
        gradient: &ResidentVector,
        step: &mut ResidentVector,
    ) -> Result<(), Error> {
        let Self {
            parts,
            buffers,
            graph,
            gradient: from,
            step: to,
            submitted,
        } = self;
        let stream = parts.stream.clone();
        if stream.is_capturing() {
            submit_solve(parts, buffers, operands, gradient, step)?;
            *submitted = true;
            return Ok(());
        }
        if graph.is_none() {
            *graph = Some(stream.capture(|_| submit_solve(parts, buffers, operands, from, to))?);
        }
        stream.copy(gradient.row.view(), from.row.view_mut())?;
        stream.copy(gradient.border.view(), from.border.view_mut())?;
        if let Some(graph) = graph {
            graph.launch()?;
        }
        stream.copy(to.row.view(), step.row.view_mut())?;
        stream.copy(to.border.view(), step.border.view_mut())?;
        *submitted = true;
        Ok(())
    }

    fn solved(&mut self) -> Result<SolveStats, Failure> {
        if !self.submitted {
            return Ok(SolveStats::default());
        }
        let ended = self.buffers.descent.read()?;
        let what = match ended.status {
            Status::NotPositive => {
                return Err(NotPositiveDefinite {
                    site: PivotSite::Curvature {
                        iteration: ended.iterations,
                    },
                    value: ended.curvature,
                    bump: None,
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
}
