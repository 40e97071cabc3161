//! `broadhead solve`: reads a dense arrow system from a file and writes its step to a file.

use super::clock::{Clock, Seconds};
use super::dispatch::{self, Device};
use super::rates::{self, Pins, UsedRates};
use crate::args::{OutputArgs, SolveArgs};
use crate::error::CliError;
use crate::input::{Archive, Extents, InputError, Named, Source};
use crate::memory::{self, numbers};
use crate::message;
use crate::output::{self, Staging};
use broadhead_device::{ExecutionPath, LedgerSnapshot};
use broadhead_schur::device::FrameSummary;
use broadhead_schur::{
    ArrowShape, ArrowVector, CrossView, DenseSystem, EliminationKind, Error, Pivot, Price, Ridge,
    RowBlocks, RowDims, Solver, SolverOptions, SymmetricView, SystemShape,
};
use ndarray::{Array0, Array1, Array2, Array3, Ix1, Ix2, Ix3};
use ndarray_npy::NpzWriter;
use serde::Serialize;
use std::io;
use std::path::{Path, PathBuf};

/// A system as it was read.
struct Operands {
    shape: ArrowShape,
    /// Unknowns of a padded row.
    padded: usize,
    row_hessian: Named<Array3<f64>>,
    row_cross: Named<Array3<f64>>,
    border_hessian: Named<Array2<f64>>,
    /// Gradients, padding left out.
    gradient: ArrowVector,
}

/// What the command did.
#[derive(Debug, Serialize)]
struct Summary {
    execution_path: ExecutionPath,
    device: Device,
    elimination: EliminationKind,
    /// On a device: what the frame kept and held, how it was made and what it cost.
    frame: Option<FrameSummary>,
    pinned: bool,
    /// What repeats the planner's choice elsewhere.
    pins: Pins,
    rows: usize,
    row_unknowns: usize,
    border: usize,
    ridge_t: f64,
    ridge_beta: f64,
    backward_error: Option<f64>,
    componentwise_error: Option<f64>,
    relative_residual: Option<f64>,
    refinements: u32,
    iterations: u64,
    min_pivot: Option<Pivot>,
    condition_estimate: Option<f64>,
    condition_estimate_reason: Option<String>,
    log_det_hessian: Option<f64>,
    log_det_hessian_reason: Option<String>,
    seconds: Seconds,
    ledger: LedgerSnapshot,
    rates: UsedRates,
    prices: Vec<Price>,
    output: PathBuf,
}

/// Solves the system of `arguments.system` and writes the step.
///
/// # Errors
/// [`CliError`], with the exit code that belongs to it.
pub fn solve(arguments: &SolveArgs, options: OutputArgs) -> Result<(), CliError> {
    if arguments.output.extension().is_none_or(|e| e != "npz") {
        return Err(CliError::Usage(format!(
            "-o {}: expected a file that ends in .npz",
            message::path(&arguments.output)
        )));
    }
    let (input, target) = (&arguments.system, &arguments.output);
    output::refuse_inputs(std::slice::from_ref(input), std::slice::from_ref(target))?;
    let (placement, mut device) = dispatch::open(arguments.device, &arguments.system)?;
    output::prepare_file(target)?;
    let mut clock = Clock::start();
    let mut archive = Operands::open(&arguments.system)?;
    let (rates, device_rates) = rates::asked_for(arguments.rates, placement.as_ref());
    let mut solver_options = SolverOptions {
        elimination: arguments.elimination.kind(),
        rates,
        device_rates,
        device: placement,
        device_policy: arguments.device,
        ..SolverOptions::default()
    };
    room(arguments, &archive, &mut solver_options)?;
    let operands = Operands::read(&mut archive, &arguments.system)?;
    clock.lap("read");

    let at_fault = |error| CliError::system(&arguments.system, error);
    let system = DenseSystem::new(
        &operands.shape,
        RowBlocks::padded(operands.row_hessian.array.view()),
        CrossView::padded(operands.row_cross.array.view()),
        SymmetricView::ndarray(operands.border_hessian.array.view()),
    )
    .map_err(|error| at_fault(broadhead_schur::Failure::from(error)))?;
    let mut solver = Solver::new(&system.into(), solver_options).map_err(|error| match error {
        Error::Absent(absence) => CliError::Device(absence),
        error => at_fault(error.into()),
    })?;
    let plan = solver.plan().clone();
    device.sent(plan.path, plan.chosen, plan.declined.as_ref());
    clock.lap("plan");
    let mut base = solver
        .refresh(system)
        .map_err(|error| at_fault(error.into()))?;
    let ridge = Ridge::new(arguments.ridge_t, arguments.ridge_beta);
    let mut frame = base.factor(ridge).map_err(at_fault)?;
    clock.lap("factor");
    let mut step = ArrowVector::zeros(&operands.shape);
    let report = frame
        .solve(operands.gradient.as_gradient(), step.as_step())
        .map_err(at_fault)?;
    clock.lap("solve");
    let (condition_estimate, condition_estimate_reason) = present(
        frame
            .condition_estimate()
            .map_err(|error| error.to_string()),
    );
    clock.lap("condition");
    let log_det = frame.log_determinant();
    let (log_det_hessian, log_det_hessian_reason) =
        present(log_det.map(|log| log.value).map_err(|r| r.to_string()));
    let (execution_path, min_pivot) = (frame.execution_path(), frame.min_pivot());
    let (ledger, frame) = (base.ledger(), base.frame_summary());

    let mut staging = Staging::new();
    operands.stage(&mut staging, &arguments.output, &step, log_det_hessian)?;
    staging.publish()?;
    clock.lap("write");

    let summary = Summary {
        execution_path,
        device,
        elimination: plan.chosen,
        frame,
        pinned: plan.pinned,
        pins: Pins::new(plan.chosen, plan.path, plan.keep),
        rows: operands.shape.row_count(),
        row_unknowns: operands.shape.row_unknowns(),
        border: operands.shape.border(),
        ridge_t: ridge.row,
        ridge_beta: ridge.border,
        backward_error: report.error.map(|error| error.normwise),
        componentwise_error: report.error.and_then(|error| error.componentwise),
        relative_residual: report.error.map(|error| error.relative_residual),
        refinements: report.refinements,
        iterations: report.iterations,
        min_pivot,
        condition_estimate,
        condition_estimate_reason,
        log_det_hessian,
        log_det_hessian_reason,
        seconds: clock.seconds(),
        ledger,
        rates: UsedRates::new(plan.rates, plan.device_rates),
        prices: plan.prices,
        output: arguments.output.clone(),
    };
    let text = if options.json {
        message::json(&summary)?
    } else {
        summary.for_people()
    };
    Ok(output::print(&text)?)
}

/// Checks that there is memory for reading and solving the system, and sets the solver's memory limit
/// in `options`. If the headers do not tell the sizes, the reader will refuse the file.
fn room(
    arguments: &SolveArgs,
    archive: &Archive,
    options: &mut SolverOptions,
) -> Result<(), CliError> {
    let (Some(&[n, d]), Some(&[k])) = (
        archive.shape_of("row_gradient"),
        archive.shape_of("border_gradient"),
    ) else {
        return Ok(());
    };
    // Blocks of a wrong size are refused when they are read.
    let large = ["row_hessian", "row_cross", "border_hessian"];
    let operands = large.iter().filter_map(|name| archive.shape_of(name));
    let operands = operands.map(numbers).fold(0, u64::saturating_add);
    let shape = ArrowShape::uniform(n, d, k).map_err(|error| {
        CliError::system(&arguments.system, broadhead_schur::Failure::from(error))
    })?;
    let shape = SystemShape::Dense(shape);
    let bytes = |kind| Solver::bytes_needed(kind, &shape).ok();
    let least = match options.elimination {
        Some(pinned) => bytes(pinned),
        // The reference is never chosen.
        None => EliminationKind::ALL
            .into_iter()
            .filter(|kind| !kind.is_specification())
            .filter_map(bytes)
            .min(),
    };
    // Gradients, steps, and vectors of their length for estimates and the output.
    let vectors = numbers(&[n, d, 12]).saturating_add(numbers(&[k, 12]));
    let beside = operands.saturating_add(vectors);
    let needed = least.unwrap_or(0).saturating_add(beside);
    let what = format!("the solution of {}", message::path(&arguments.system));
    options.memory_limit = memory::require(&what, needed)?.saturating_sub(beside);
    Ok(())
}

/// A value without a reason, or a reason without a value.
fn present(value: Result<f64, String>) -> (Option<f64>, Option<String>) {
    match value {
        Ok(value) => (Some(value), None),
        Err(reason) => (None, Some(reason)),
    }
}

impl Operands {
    /// Opens a system's file and reads its headers.
    fn open(path: &Path) -> Result<Archive, InputError> {
        if path.extension().is_none_or(|extension| extension != "npz") {
            return Err(InputError::SystemExtension {
                path: path.to_owned(),
            });
        }
        Source::file(path).open()
    }

    fn read(archive: &mut Archive, path: &Path) -> Result<Self, InputError> {
        let row_gradient = of_rank::<Ix2>(archive, "row_gradient", "2-D (n, d)")?;
        let border_gradient = of_rank::<Ix1>(archive, "border_gradient", "1-D (k)")?;
        let (n, d) = row_gradient.array.dim();
        let k = border_gradient.array.len();
        let row_hessian = of_rank::<Ix3>(archive, "row_hessian", "3-D (n, d, d)")?;
        let row_cross = of_rank::<Ix3>(archive, "row_cross", "3-D (n, d, k)")?;
        let border_hessian = of_rank::<Ix2>(archive, "border_hessian", "2-D (k, k)")?;
        let of_both = || format!("n = {n}, d = {d} of row_gradient, k = {k} of border_gradient");
        same_shape(
            &row_hessian.name,
            row_hessian.array.shape(),
            &[n, d, d],
            of_both,
        )?;
        same_shape(
            &row_cross.name,
            row_cross.array.shape(),
            &[n, d, k],
            of_both,
        )?;
        same_shape(
            &border_hessian.name,
            border_hessian.array.shape(),
            &[k, k],
            of_both,
        )?;

        let rows = match archive.read_counts_if_there("row_dims", d)? {
            None => RowDims::uniform(n, d),
            Some(Named { name, array }) => {
                same_shape(&name, array.shape(), &[n], of_both)?;
                let dims: Vec<usize> = array.iter().map(|&count| count as usize).collect();
                RowDims::ragged(&dims)
            }
        };
        archive.say_remarks();
        let shape = rows
            .and_then(|rows| ArrowShape::new(rows, k))
            .map_err(|error| InputError::Malformed {
                array: message::path(path),
                reason: error.to_string(),
            })?;
        let gradient = ArrowVector {
            row: unpadded(&shape, &row_gradient)?,
            border: finite_vector(&border_gradient)?,
        };
        Ok(Self {
            shape,
            padded: d,
            row_hessian,
            row_cross,
            border_hessian,
            gradient,
        })
    }

    /// Stages the step beside its target; padding is 0.
    fn stage(
        &self,
        staging: &mut Staging,
        target: &Path,
        step: &ArrowVector,
        log_determinant: Option<f64>,
    ) -> Result<(), CliError> {
        let rows = self.shape.rows();
        let mut delta_t = Array2::zeros((self.shape.row_count(), self.padded));
        for row in 0..self.shape.row_count() {
            for unknown in 0..rows.dim(row) {
                delta_t[(row, unknown)] = step.row[rows.offset(row) + unknown];
            }
        }
        let delta_beta = Array1::from_vec(step.border.clone());
        staging.write(target, |sink| {
            let mut npz = NpzWriter::new(sink);
            npz.add_array("delta_t", &delta_t)
                .map_err(io::Error::other)?;
            npz.add_array("delta_beta", &delta_beta)
                .map_err(io::Error::other)?;
            if let Some(value) = log_determinant {
                npz.add_array("log_det_hessian", &Array0::from_elem((), value))
                    .map_err(io::Error::other)?;
            }
            npz.finish().map_err(io::Error::other)?;
            Ok(())
        })?;
        Ok(())
    }
}

fn of_rank<D: ndarray::Dimension>(
    archive: &mut Archive,
    name: &str,
    expected: &str,
) -> Result<Named<ndarray::Array<f64, D>>, InputError> {
    let Named { name, array } = archive.read(name)?;
    let found = Extents(array.shape().to_vec());
    match array.into_dimensionality::<D>() {
        Ok(array) => Ok(Named { name, array }),
        Err(_) => Err(InputError::Rank {
            array: name,
            found,
            expected: expected.to_owned(),
        }),
    }
}

fn same_shape(
    name: &str,
    found: &[usize],
    expected: &[usize],
    because: impl FnOnce() -> String,
) -> Result<(), InputError> {
    if found == expected {
        return Ok(());
    }
    Err(InputError::Shape {
        array: name.to_owned(),
        found: Extents(found.to_vec()),
        expected: Extents(expected.to_vec()),
        because: because(),
    })
}

/// The rows' gradients without the padding, which is ignored and may contain anything.
fn unpadded(shape: &ArrowShape, gradient: &Named<Array2<f64>>) -> Result<Vec<f64>, InputError> {
    let mut packed = Vec::with_capacity(shape.row_unknowns());
    for row in 0..shape.row_count() {
        for unknown in 0..shape.rows().dim(row) {
            let value = gradient.array[(row, unknown)];
            if !value.is_finite() {
                return Err(InputError::NotFinite {
                    array: gradient.name.clone(),
                    index: vec![row, unknown],
                    value,
                });
            }
            packed.push(value);
        }
    }
    Ok(packed)
}

fn finite_vector(vector: &Named<Array1<f64>>) -> Result<Vec<f64>, InputError> {
    crate::input::check_finite(&vector.name, &vector.array.view().into_dyn())?;
    Ok(vector.array.to_vec())
}

impl Summary {
    fn for_people(&self) -> String {
        let mut lines = vec![format!(
            "solved {} rows ({} unknowns) and a border of {} by {} elimination on {}",
            self.rows,
            self.row_unknowns,
            self.border,
            self.elimination,
            self.device.beside(self.execution_path.to_string()),
        )];
        let mut line = |name: &str, value: String| lines.push(format!("  {name:<16} {value}"));
        if let (Some(normwise), Some(componentwise)) =
            (self.backward_error, self.componentwise_error)
        {
            line(
                "backward error",
                format!(
                    "{normwise:.2e}, componentwise {componentwise:.2e} after {} refinements",
                    self.refinements
                ),
            );
        }
        if let Some(pivot) = self.min_pivot {
            line(
                "smallest pivot",
                format!("{:.6e} at {}", pivot.value, pivot.site),
            );
        }
        match (&self.condition_estimate, &self.condition_estimate_reason) {
            (Some(condition), _) => line("condition", format!("about {condition:.1e}")),
            (None, reason) => line("condition", reason.clone().unwrap_or_default()),
        }
        match (&self.log_det_hessian, &self.log_det_hessian_reason) {
            (Some(value), _) => line("log determinant", format!("{value}")),
            (None, reason) => {
                let reason = reason.clone().unwrap_or_default();
                line("log determinant", format!("absent: {reason}"));
            }
        }
        let phases: Vec<String> = self
            .seconds
            .phases
            .iter()
            .map(|(phase, seconds)| format!("{phase} {seconds:.3}"))
            .collect();
        line(
            "seconds",
            format!("{:.3} ({})", self.seconds.total, phases.join(", ")),
        );
        line("rates", self.rates.in_words());
        if !self.pinned {
            line("repeat elsewhere", self.pins.options().to_owned());
        }
        line("wrote", message::path(&self.output));
        lines.join("\n") + "\n"
    }
}
