//! Bases and frames on a device.

mod advice;
pub(crate) mod engine;
pub(crate) mod factors;
mod measured;
pub(crate) mod rows;

use crate::device::layout::Layout;
use crate::device::operands::Operands;
use crate::device::product::{Product, StepProduct, StepTerms};
use crate::device::residual::DeviceResidual;
use crate::device::ridge::ResidentRidge;
use crate::device::vector::{ResidentVector, check_vector, columns, put_columns};
use crate::device::{DeviceBytes, FrameSummary, Keep, Methods, UploadTimes};
use crate::{
    ArrowShape, DenseSystem, Error, Factored, Failure, Gradient, LogDeterminant, NoLogDeterminant,
    Pivot, Ridge, ShapeError, StepMut, System,
};
use broadhead_device::{
    ByteClass, DeviceError, ExecutionPath, LedgerSnapshot, Refusal, Stream, View,
};
use factors::Factors;

/// The operands of one linearisation on a device, with room for their factors.
pub struct Base {
    shape: ArrowShape,
    pub(crate) operands: Operands,
    pub(crate) factors: Factors,
    pub(crate) gradient: ResidentVector,
    pub(crate) step: ResidentVector,
    product: Product,
    ridge: ResidentRidge,
    pub(crate) residual: DeviceResidual,
    refreshed: bool,
    /// What the present factors are.
    pub(crate) last: Option<(Ridge, Factored)>,
}

impl std::fmt::Debug for Base {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Base")
            .field("shape", &self.shape)
            .field("keep", &self.factors.keep())
            .finish_non_exhaustive()
    }
}

impl Base {
    /// Device bytes that [`Base::new`] allocates, the library's workspace apart.
    ///
    /// # Errors
    /// As [`Base::new`], but for the memory.
    pub fn bytes_needed(shape: &ArrowShape, keep: Keep) -> Result<DeviceBytes, Error> {
        Ok(Layout::new(shape)?.bytes(keep))
    }

    /// Room for systems of `shape` on the device of `stream`, whose ledger counts what follows.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for rows wider than [`crate::device::WIDEST_BLOCK`]; [`Error::Device`] with
    /// [`Refusal::Memory`] where less is free than is needed, before anything is allocated, or
    /// with what the device answered.
    pub fn new(stream: &Stream, shape: &ArrowShape, keep: Keep) -> Result<Self, Error> {
        Self::with_methods(stream, shape, keep, Methods::default())
    }

    /// [`Base::new`] with ways pinned.
    ///
    /// # Errors
    /// As [`Base::new`]; [`Error::Unsupported`] where a pinned way does not serve the shape or the
    /// device.
    pub fn with_methods(
        stream: &Stream,
        shape: &ArrowShape,
        keep: Keep,
        methods: Methods,
    ) -> Result<Self, Error> {
        let needed = Self::bytes_needed(shape, keep)?.total();
        let free = stream.context().memory().map_err(DeviceError::from)?.free;
        if needed > free {
            let what_for = "rows first on the device".to_owned();
            let refusal = Refusal::Memory {
                needed,
                free,
                what_for,
            };
            return Err(DeviceError::from(refusal).into());
        }
        let factors = Factors::new(stream, shape, keep, methods)?;
        let vectors = [
            factors.vector()?,
            factors.vector()?,
            factors.vector()?,
            factors.vector()?,
        ];
        Ok(Self {
            residual: DeviceResidual::new(stream, &factors.layout, vectors)
                .map_err(Error::Device)?,
            operands: Operands::new(stream, &factors.layout)?,
            gradient: factors.vector()?,
            step: factors.vector()?,
            product: Product::new(stream, &factors.layout).map_err(Error::Device)?,
            ridge: ResidentRidge::new(stream, &factors.layout).map_err(Error::Device)?,
            shape: shape.clone(),
            factors,
            refreshed: false,
            last: None,
        })
    }

    /// The shape it serves.
    pub fn shape(&self) -> &ArrowShape {
        &self.shape
    }

    /// What its frames keep.
    pub fn keep(&self) -> Keep {
        self.factors.keep()
    }

    /// Device bytes held, the library's workspace apart.
    pub fn bytes(&self) -> DeviceBytes {
        self.factors.bytes()
    }

    /// What its frames keep, how they are made, and what is held.
    pub fn summary(&self) -> FrameSummary {
        self.factors.summary()
    }

    /// The stream that it works on.
    pub fn stream(&self) -> &Stream {
        &self.factors.stream
    }

    /// What the stream's work cost so far.
    pub fn ledger(&self) -> LedgerSnapshot {
        self.stream().ledger().snapshot()
    }

    /// Sends the numbers of `system`. Allocates nothing on the device.
    ///
    /// # Errors
    /// [`Error::NotFinite`] naming the array and the index; [`Error::Shape`] where the shape is
    /// another; [`Error::Device`].
    pub fn refresh(&mut self, system: &DenseSystem<'_>) -> Result<UploadTimes, Error> {
        System::Dense(*system).check_finite()?;
        self.refresh_checked(system)
    }

    /// [`Base::refresh`] of numbers that are known to be finite.
    pub(crate) fn refresh_checked(
        &mut self,
        system: &DenseSystem<'_>,
    ) -> Result<UploadTimes, Error> {
        let expected = &self.shape;
        if system.shape() != expected {
            let sizes = |s: &ArrowShape| vec![s.row_count(), s.row_unknowns(), s.border()];
            return Err(Error::Shape(ShapeError::Mismatch {
                array: "system (rows, row unknowns, border)",
                got: sizes(system.shape()),
                expected: sizes(expected),
            }));
        }
        let Factors {
            stream,
            kernels,
            layout,
            border,
            ..
        } = &mut self.factors;
        self.refreshed = false;
        self.last = None;
        let times = self
            .operands
            .refresh(stream, kernels, layout, system, border.landing())?;
        self.refreshed = true;
        Ok(times)
    }

    /// A vector of zeros on the device, of this base's shape.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn vector(&self) -> Result<ResidentVector, Error> {
        self.factors.vector()
    }

    /// `y` becomes $`H x`$, without ridge and over the operands, for two vectors in one pass.
    /// Nothing moves and nothing waits.
    ///
    /// # Errors
    /// [`Error::Shape`] where a vector is of another shape; [`Error::Device`].
    pub fn products_resident(
        &mut self,
        x: [&ResidentVector; 2],
        y: [&mut ResidentVector; 2],
    ) -> Result<(), Error> {
        let Factors {
            layout,
            stream,
            index,
            ..
        } = &self.factors;
        for (array, vector) in [("x", x[0]), ("x", x[1]), ("y", &*y[0]), ("y", &*y[1])] {
            check_vector(array, layout, vector)?;
        }
        self.product
            .apply(stream, layout, index, &self.operands, x, y)?;
        Ok(())
    }

    /// Room for the terms that judge a step of this shape.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn step_terms(&self) -> Result<StepTerms, Error> {
        let Factors { stream, layout, .. } = &self.factors;
        Ok(StepTerms::new(stream, layout)?)
    }

    /// The trial point of a step, `H` times it, and what judges the step, the operands read once.
    ///
    /// # Errors
    /// As [`Self::products_resident`], of the terms too.
    pub fn product_of_step(&mut self, of: StepProduct<'_>) -> Result<(), Error> {
        let Factors {
            layout,
            stream,
            index,
            ..
        } = &self.factors;
        for (array, vector) in [
            ("point", of.point),
            ("step", of.step),
            ("residual", of.residual),
            ("gradient", of.gradient),
            ("trial", &*of.trial),
            ("product", &*of.product),
        ] {
            check_vector(array, layout, vector)?;
        }
        of.terms.check(layout)?;
        self.product
            .apply_to_step(stream, layout, index, &self.operands, of)?;
        Ok(())
    }

    /// Factors at `ridge`, on the device: nothing is sent, one record of 104 bytes comes back.
    ///
    /// # Errors
    /// [`Failure::NotPositiveDefinite`] with a bump that makes what failed factor, and nothing of the
    /// whole (see [`Base::advise`]); [`Failure::Stop`] otherwise.
    pub fn factor(&mut self, ridge: Ridge) -> Result<Frame<'_>, Failure> {
        let factored = self.factor_in_place(ridge)?;
        Ok(Frame {
            factors: &mut self.factors,
            gradient: &mut self.gradient,
            step: &mut self.step,
            factored,
            ridge,
        })
    }

    /// Submits a factorization at a ridge that lies on the device, two numbers: rows, border. Waits
    /// for nothing and reads nothing, so that a graph may hold it; its bits are those of
    /// [`Base::factor`] at that ridge, but for the record's last number, the scale of a bump. Whether it succeeded is in [`Base::factor_record`].
    ///
    /// # Errors
    /// [`Error::Device`], also where no operands were sent.
    pub fn submit_factor_at(&mut self, ridge: View<'_, f64>) -> Result<(), Error> {
        self.last = None;
        self.check_refreshed()?;
        let stream = self.factors.stream.clone();
        let Self {
            factors,
            operands,
            ridge: resident,
            ..
        } = self;
        resident.add(&stream, &factors.layout, &factors.index, operands, ridge)?;
        let submitted = factors.submit(operands, Ridge::ZERO);
        // Also where that failed: the operands must not keep the ridge.
        resident.back(&stream, &factors.layout, &factors.index, operands)?;
        submitted
    }

    /// Says that the factors at hand are no longer those of the last frame: for whoever launched a graph
    /// that holds [`Base::submit_factor_at`].
    pub fn forget_frame(&mut self) {
        self.last = None;
    }

    /// Submits a solve with the factors submitted last, whatever became of them: as
    /// [`Frame::solve_resident`].
    ///
    /// # Errors
    /// As [`Frame::solve_resident`].
    pub fn submit_solve(
        &mut self,
        gradient: &ResidentVector,
        step: &mut ResidentVector,
    ) -> Result<(), Error> {
        for (array, vector) in [("gradient", gradient), ("step", &*step)] {
            check_vector(array, &self.factors.layout, vector)?;
        }
        self.factors.solve(gradient, step)
    }

    /// The record of the last factorization on the device, 13 numbers. It succeeded where number 4
    /// has the bits of a negative 64-bit integer (else these are the row that failed) and number 11,
    /// the border's pivot that failed, counted from 1, is 0. Numbers 0 and 7 add up to the
    /// log-determinant.
    pub fn factor_record(&self) -> View<'_, f64> {
        self.factors.record()
    }

    /// Submits the row blocks' factorization alone, with its summary, and waits for nothing: what
    /// a measurement of that kernel calls.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn factor_rows_alone(&mut self, ridge: Ridge) -> Result<(), Error> {
        self.last = None;
        self.factors.factor_rows(&self.operands, ridge.row)
    }

    /// The frame at `ridge`: the present one where it is that, else [`Base::factor`]'s.
    ///
    /// # Errors
    /// As [`Base::factor`].
    pub fn frame(&mut self, ridge: Ridge) -> Result<Frame<'_>, Failure> {
        let factored = match &self.last {
            Some((last, factored)) if *last == ridge => factored.clone(),
            _ => self.factor_in_place(ridge)?,
        };
        Ok(Frame {
            factors: &mut self.factors,
            gradient: &mut self.gradient,
            step: &mut self.step,
            factored,
            ridge,
        })
    }

    pub(crate) fn factor_in_place(&mut self, ridge: Ridge) -> Result<Factored, Failure> {
        ridge.check()?;
        self.last = None;
        self.check_refreshed()?;
        let factored = self.factors.factor(&self.operands, ridge)?;
        self.last = Some((ridge, factored.clone()));
        Ok(factored)
    }

    pub(crate) fn check_refreshed(&self) -> Result<(), Error> {
        if !self.refreshed {
            let what = "factor".to_owned();
            let refusal = Refusal::Shape {
                what,
                expected: "operands sent by refresh".to_owned(),
                found: "none".to_owned(),
            };
            return Err(DeviceError::from(refusal).into());
        }
        Ok(())
    }

    /// The frame at `ridge` alone: the operands are given back to the device.
    ///
    /// # Errors
    /// As [`Base::factor`].
    pub fn into_frame(mut self, ridge: Ridge) -> Result<ResidentFrame, Failure> {
        let factored = self.factor_in_place(ridge)?;
        Ok(ResidentFrame {
            factors: self.factors,
            gradient: self.gradient,
            step: self.step,
            factored,
            ridge,
        })
    }

    pub(crate) fn solve_host(
        &mut self,
        gradient: Gradient<'_>,
        step: &mut StepMut<'_>,
    ) -> Result<(), Error> {
        let (from, to) = (&mut self.gradient, &mut self.step);
        solve_host(&mut self.factors, from, to, gradient, step)
    }
}

/// A factored operator on a device, with the operands still there.
pub struct Frame<'b> {
    factors: &'b mut Factors,
    gradient: &'b mut ResidentVector,
    step: &'b mut ResidentVector,
    factored: Factored,
    ridge: Ridge,
}

/// A factored operator on a device, whose operands are gone.
pub struct ResidentFrame {
    factors: Factors,
    gradient: ResidentVector,
    step: ResidentVector,
    factored: Factored,
    ridge: Ridge,
}

impl ResidentFrame {
    /// The frame, to be used.
    pub fn frame(&mut self) -> Frame<'_> {
        Frame {
            factors: &mut self.factors,
            gradient: &mut self.gradient,
            step: &mut self.step,
            factored: self.factored.clone(),
            ridge: self.ridge,
        }
    }

    /// Device bytes held, the library's workspace apart.
    pub fn bytes(&self) -> DeviceBytes {
        DeviceBytes {
            operands: 0,
            ..self.factors.bytes()
        }
    }
}

impl Frame<'_> {
    /// The ridge of its factors.
    pub fn ridge(&self) -> Ridge {
        self.ridge
    }

    /// Where its work runs.
    pub fn execution_path(&self) -> ExecutionPath {
        ExecutionPath::GpuResidentLinearization
    }

    /// $`\log|H + \rho|`$ with the scale of its rounding error.
    ///
    /// # Errors
    /// None on this path.
    pub fn log_determinant(&self) -> Result<LogDeterminant, NoLogDeterminant> {
        self.factored.log_determinant
    }

    /// The smallest pivot of any row block.
    pub fn row_pivot(&self) -> Option<Pivot> {
        self.factored.row_pivot
    }

    /// The smallest pivot of the border.
    pub fn border_pivot(&self) -> Option<Pivot> {
        self.factored.border_pivot
    }

    /// What it keeps, how it was made, and what is held.
    pub fn summary(&self) -> FrameSummary {
        self.factors.summary()
    }

    /// The stream that it works on.
    pub fn stream(&self) -> &Stream {
        &self.factors.stream
    }

    /// A vector of zeros on the device, of this frame's shape.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn vector(&self) -> Result<ResidentVector, Error> {
        self.factors.vector()
    }

    /// `step` becomes $`-(H + \rho)^{-1} g`$ for a gradient on the device. Nothing moves and nothing
    /// waits; numbers that are not finite are not looked for.
    ///
    /// # Errors
    /// [`Error::Device`]: also where a vector is of another frame's stream.
    pub fn solve_resident(
        &mut self,
        gradient: &ResidentVector,
        step: &mut ResidentVector,
    ) -> Result<(), Error> {
        for (array, vector) in [("gradient", gradient), ("step", &*step)] {
            check_vector(array, &self.factors.layout, vector)?;
        }
        self.factors.solve(gradient, step)
    }

    /// Solves for one or many gradients of the host: `8 (N + k)` bytes in and as many out for
    /// each.
    ///
    /// # Errors
    /// [`Error::Shape`]; [`Error::NotFinite`] where a gradient is not finite; [`Error::Overflow`]
    /// where a step is not; [`Error::Device`].
    pub fn solve(&mut self, gradient: Gradient<'_>, mut step: StepMut<'_>) -> Result<(), Error> {
        gradient.check_finite()?;
        solve_host(self.factors, self.gradient, self.step, gradient, &mut step)?;
        let columns = 0..step.row.ncols();
        let finite = columns.into_iter().all(|j| {
            let parts = [step.row.as_ref(), step.border.as_ref()];
            parts
                .iter()
                .all(|part| part.col(j).iter().all(|x| x.is_finite()))
        });
        match finite {
            true => Ok(()),
            false => Err(Error::Overflow { what: "the step" }),
        }
    }
}

fn solve_host(
    factors: &mut Factors,
    from: &mut ResidentVector,
    to: &mut ResidentVector,
    gradient: Gradient<'_>,
    step: &mut StepMut<'_>,
) -> Result<(), Error> {
    let (n, k) = (factors.layout.unknowns, factors.layout.k);
    let count = gradient.count();
    gradient.check_sizes(n, k, count)?;
    step.check_sizes(n, k, count)?;
    let stream = factors.stream.clone();
    let class = ByteClass::Gradient;
    let (row, border) = (columns(gradient.row), columns(gradient.border));
    let (row, border) = match count {
        0 => return Ok(()),
        1 => {
            stream.upload_into(&row, from.row_mut(), class)?;
            stream.upload_into(&border, from.border_mut()?, class)?;
            factors.solve(from, to)?;
            (
                stream.download(to.row(), class)?,
                stream.download(to.border()?, class)?,
            )
        }
        _ => {
            let mut row = stream.upload(&row, class, "row gradients")?;
            let mut border = stream.upload(&border, class, "border gradients")?;
            factors.solve_many(&mut row, &mut border, count)?;
            (
                stream.download(row.view(), class)?,
                stream.download(border.view(), class)?,
            )
        }
    };
    put_columns(step, &row, &border);
    Ok(())
}

/// The baseline: operands travel and are factored for every solve, by the same kernels.
pub struct ReUpload {
    base: Base,
}

impl ReUpload {
    /// Room for systems of `shape`.
    ///
    /// # Errors
    /// As [`Base::new`].
    pub fn new(stream: &Stream, shape: &ArrowShape, keep: Keep) -> Result<Self, Error> {
        let base = Base::new(stream, shape, keep)?;
        Ok(Self { base })
    }

    /// Where its work runs.
    pub fn execution_path(&self) -> ExecutionPath {
        ExecutionPath::GpuReupload
    }

    /// Sends `system`, factors it at `ridge` and solves for `gradient`.
    ///
    /// # Errors
    /// As [`Base::refresh`], [`Base::factor`] and [`Frame::solve`].
    pub fn solve(
        &mut self,
        system: &DenseSystem<'_>,
        ridge: Ridge,
        gradient: Gradient<'_>,
        step: StepMut<'_>,
    ) -> Result<UploadTimes, Failure> {
        let times = self.base.refresh(system)?;
        self.base.factor(ridge)?.solve(gradient, step)?;
        Ok(times)
    }
}
