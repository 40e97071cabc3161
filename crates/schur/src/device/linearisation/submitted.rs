//! Work of a linearisation that is submitted and not waited for, and products over its operands.

use super::Linearisation;
use crate::device::DeviceVector;
use crate::device::layout::Layout;
use crate::device::product::{StepProduct, step_terms};
use crate::device::record::{DenseRecord, RidgeRecord};
use crate::device::system::dense_alone;
use crate::device::vector::check_vectors;
use crate::{ArrowShape, Error, Factored, Failure, Ridge, SolveStats};
use broadhead_device::{DeviceBuffer, View};

/// Work that is submitted and not waited for: what a graph holds.
impl Linearisation {
    /// Submits a factorization at `ridge`, without waiting and without reading whether it succeeded, which
    /// [`Linearisation::factored`] does.
    ///
    /// # Errors
    /// [`Error::Ridge`]; [`Error::Device`], also where no operands were sent.
    pub fn submit_factor(&mut self, ridge: Ridge) -> Result<(), Error> {
        ridge.check()?;
        self.last = None;
        self.system.check_there()?;
        self.factors.submit(&self.system, ridge)
    }

    /// Submits a factorization of a dense system at a ridge that lies on the device, one record. Its bits are
    /// those of [`Linearisation::factor`] at that ridge, but for the record's diagonals, which are with
    /// the ridge. Whether it succeeded is in [`Linearisation::factor_record`].
    ///
    /// # Errors
    /// [`Error::Device`], also where no operands were sent; [`Error::Unsupported`] for a structured
    /// system.
    pub fn submit_factor_at(&mut self, ridge: View<'_, RidgeRecord>) -> Result<(), Error> {
        self.last = None;
        self.system.check_there()?;
        self.system.add_ridge(ridge)?;
        let submitted = self.factors.submit(&self.system, Ridge::ZERO);
        // Also where that failed: the operands must not keep the ridge.
        self.system.take_back_ridge()?;
        submitted
    }

    /// Submits the row blocks' factorization alone, with its summary: what a measurement of that kernel
    /// calls.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn submit_rows(&mut self, ridge: Ridge) -> Result<(), Error> {
        self.last = None;
        self.factors.submit_rows(&self.system, ridge.row)
    }

    /// Submits a solve with the factors submitted last, whatever became of them: as
    /// [`crate::device::Factorization::solve_resident`].
    ///
    /// # Errors
    /// As [`crate::device::Factorization::solve_resident`].
    pub fn submit_solve(
        &mut self,
        gradient: &DeviceVector,
        step: &mut DeviceVector,
    ) -> Result<(), Error> {
        check_vectors(
            self.factors.lengths(),
            [("gradient", gradient), ("step", &*step)],
        )?;
        self.factors.solve(&self.system, gradient, step)
    }

    /// What the last factorization that ran, at `ridge`, found.
    ///
    /// # Errors
    /// As [`Linearisation::factor`]; [`Error::Device`] with [`Refusal::Shape`](broadhead_device::Refusal)
    /// where none ran: nothing was submitted, or it went into a graph that was not launched.
    pub fn factored(&mut self, ridge: Ridge) -> Result<Factored, Failure> {
        self.factors.read(&self.system, ridge)
    }

    /// What the last solve found: of conjugate gradients their iterations, for which it waits; nothing
    /// else can fail.
    ///
    /// # Errors
    /// [`Failure::NotPositiveDefinite`] where a curvature was not positive; [`Error::Overflow`];
    /// [`Error::Device`], of conjugate gradients with [`Refusal::Shape`](broadhead_device::Refusal) where
    /// the last solve has not run: none was submitted, or it went into a graph that was not launched.
    pub fn solved(&mut self) -> Result<SolveStats, Failure> {
        self.factors.solved()
    }

    /// The record of the last factorization of a dense system, on the device. It succeeded where the rows'
    /// key of a pivot that failed is negative and the border's `info` is 0; the two logarithms add up to
    /// the log-determinant.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a structured system.
    pub fn factor_record(&self) -> Result<View<'_, DenseRecord>, Error> {
        self.factors.record().ok_or_else(dense_alone)
    }

    /// Says that the factors at hand are no longer those of the last factorization: for whoever launched a
    /// graph that holds [`Linearisation::submit_factor_at`].
    pub fn forget(&mut self) {
        self.last = None;
    }
}

/// Products with a dense system, over the operands and without any factor.
impl Linearisation {
    /// `y` becomes $`H x`$, without ridge and over the operands, for two vectors in one pass.
    /// Nothing moves and nothing waits.
    ///
    /// # Errors
    /// [`Error::Shape`] where a vector is of another shape; [`Error::Unsupported`] for a structured system;
    /// [`Error::Device`].
    pub fn products(
        &mut self,
        x: [&DeviceVector; 2],
        y: [&mut DeviceVector; 2],
    ) -> Result<(), Error> {
        let vectors = [("x", x[0]), ("x", x[1]), ("y", &*y[0]), ("y", &*y[1])];
        check_vectors(self.factors.lengths(), vectors)?;
        self.system.products(x, y)
    }

    /// Numbers of the terms that judge a step of a dense `shape`.
    ///
    /// # Errors
    /// As [`Linearisation::bytes_of_dense`].
    pub fn step_terms_len(shape: &ArrowShape) -> Result<usize, Error> {
        Ok(step_terms(&Layout::new(shape)?))
    }

    /// Room for the terms that judge a step of this shape.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a structured system; [`Error::Device`].
    pub fn step_terms(&self) -> Result<DeviceBuffer<f64>, Error> {
        let len = step_terms(&self.system.dense_numbers()?.layout);
        Ok(self.stream().zeros(len, "terms of a step")?)
    }

    /// The trial point $`t = z + d`$ of a step from a point, $`H t`$, and what judges the step, the operands
    /// read once: of each field of [`StepTerms`](crate::device::record::StepTerms) the partial sums of the
    /// blocks of threads that ended the products, one field after another. They are made without any
    /// factor, and summed in an order that depends on the shape alone.
    ///
    /// # Errors
    /// As [`Self::products`], of the terms too.
    pub fn product_of_step(
        &mut self,
        (point, step): (&DeviceVector, &DeviceVector),
        (residual, gradient): (&DeviceVector, &DeviceVector),
        (trial, product): (&mut DeviceVector, &mut DeviceVector),
        terms: &mut DeviceBuffer<f64>,
    ) -> Result<(), Error> {
        let vectors = [
            ("point", point),
            ("step", step),
            ("residual", residual),
            ("gradient", gradient),
            ("trial", &*trial),
            ("product", &*product),
        ];
        check_vectors(self.factors.lengths(), vectors)?;
        self.system.product_of_step(StepProduct {
            point,
            step,
            residual,
            gradient,
            trial,
            product,
            terms,
        })
    }
}
