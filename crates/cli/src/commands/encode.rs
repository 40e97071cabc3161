//! `broadhead encode`: coordinates of new rows under a fitted dictionary.

use super::clock::{Clock, Seconds};
use super::dispatch::{self, Device};
use super::fit::{gate_policy, variation_lines, warn_of_row};
use crate::args::{EncodeArgs, OutputArgs};
use crate::digits;
use crate::error::CliError;
use crate::input::{self, Extents, InputError};
use crate::memory;
use crate::message;
use crate::model;
use crate::output::{self, Staging};
use crate::words::GatesWord;
use broadhead_device::ExecutionPath;
use broadhead_sae::{Amplitudes, EncodeOptions, Encoding, Model, Share, Variation};
use ndarray_npy::NpzWriter;
use serde::Serialize;
use std::io;
use std::path::PathBuf;

/// What the command did.
#[derive(Debug, Serialize)]
struct Summary {
    execution_path: ExecutionPath,
    device: Device,
    rows: usize,
    columns: usize,
    atoms: usize,
    gates: String,
    amplitudes: Amplitudes,
    /// `1 - SSE / sum |x_i - mean|^2` of these rows; if absent, the reason is beside it.
    explained_variance: Option<f64>,
    explained_variance_reason: Option<String>,
    /// `1 - explained_variance`, with the digits that the difference loses.
    unexplained_variance: Option<f64>,
    median_row_explained_variance: Option<f64>,
    largest_row: Option<Share>,
    largest_column: Option<Share>,
    squared_error: f64,
    converged: usize,
    seconds: Seconds,
    output: PathBuf,
}

/// Encodes the rows of `arguments.rows` and writes them.
///
/// # Errors
/// [`CliError`], with the exit code that belongs to it.
pub fn encode(arguments: &EncodeArgs, options: OutputArgs) -> Result<(), CliError> {
    if arguments.output.extension().is_none_or(|e| e != "npz") {
        return Err(CliError::Usage(format!(
            "-o {}: expected a file that ends in .npz",
            message::path(&arguments.output)
        )));
    }
    let mut inputs = vec![arguments.rows.path.clone(), model::file(&arguments.model)];
    inputs.extend(arguments.gates.as_ref().and_then(GatesWord::file));
    output::refuse_inputs(&inputs, std::slice::from_ref(&arguments.output))?;
    let device = dispatch::without_backend(arguments.device, "encode")?;
    let mut clock = Clock::start();
    let mut model = model::read(&arguments.model)?;
    if let Some(word) = arguments.amplitudes {
        model.array = model.array.with_amplitudes(word.into());
    }
    let word = gates_word(arguments, &model.array)?;
    let opened = input::open_matrix(&arguments.rows)?;
    if let Some(shape) = opened.shape() {
        room(arguments, &model.array, &word, shape)?;
    }
    let rows = opened.read()?;
    let (n, p) = rows.array.dim();
    let (decoder, model) = (model.name, model.array);
    if p != model.decoder().ncols() {
        return Err(InputError::Shape {
            array: rows.name,
            found: Extents(vec![n, p]),
            expected: Extents(vec![n, model.decoder().ncols()]),
            because: format!("the columns of {decoder}"),
        }
        .into());
    }
    let dictionary = model.dictionary();
    let encode_options = EncodeOptions {
        gates: Some(gate_policy(&word, n, dictionary.len())?),
        ..EncodeOptions::default()
    };
    output::prepare_file(&arguments.output)?;
    clock.lap("read");

    let encoding = model.encode(rows.array.view(), &encode_options)?;
    clock.lap("encode");
    let mut staging = Staging::new();
    staging.write(&arguments.output, |sink| {
        let mut npz = NpzWriter::new(sink);
        let Encoding {
            coordinates,
            gates,
            squared_error,
            converged,
            ..
        } = &encoding;
        npz.add_array("coordinates", coordinates)
            .map_err(io::Error::other)?;
        npz.add_array("gates", gates).map_err(io::Error::other)?;
        npz.add_array("squared_error", squared_error)
            .map_err(io::Error::other)?;
        npz.add_array("converged", converged)
            .map_err(io::Error::other)?;
        npz.finish().map_err(io::Error::other)?;
        Ok(())
    })?;
    staging.publish()?;
    clock.lap("write");

    let squared_error = encoding.squared_error.sum();
    let variation = encoding.variation.as_ref();
    let summary = Summary {
        execution_path: ExecutionPath::Cpu,
        device,
        rows: n,
        columns: p,
        atoms: dictionary.len(),
        gates: word.to_string(),
        amplitudes: dictionary.amplitudes(),
        explained_variance: variation.ok().map(Variation::explained),
        explained_variance_reason: variation.err().map(ToString::to_string),
        unexplained_variance: variation.ok().map(|v| v.unexplained),
        median_row_explained_variance: variation.ok().map(|v| v.median_row),
        largest_row: variation.ok().map(|v| v.largest_row),
        largest_column: variation.ok().map(|v| v.largest_column),
        squared_error,
        converged: encoding.converged.iter().filter(|done| **done).count(),
        seconds: clock.seconds(),
        output: arguments.output.clone(),
    };
    if let Ok(variation) = variation
        && variation.largest_row.is_most()
    {
        warn_of_row(variation.largest_row, variation.median_row);
    }
    if summary.converged < summary.rows {
        message::say(format_args!(
            "warning: not converged: {} of {} rows",
            summary.rows - summary.converged,
            summary.rows
        ));
    }
    let text = if options.json {
        message::json(&summary)?
    } else {
        summary.for_people()
    };
    Ok(output::print(&text)?)
}

/// Checks that there is memory for reading and encoding `n x p` numbers.
fn room(
    arguments: &EncodeArgs,
    model: &Model,
    word: &GatesWord,
    [n, p]: [usize; 2],
) -> Result<(), CliError> {
    let options = EncodeOptions {
        gates: Some(word.policy()),
        ..EncodeOptions::default()
    };
    let bytes = broadhead_sae::memory::encode_bytes(n, p, model.dictionary(), &options);
    // The rows as read, and a centred copy for their variance.
    let beside = memory::numbers(&[n, p, 2]);
    let what = format!("the encoding of {}", message::path(&arguments.rows.path));
    memory::require(&what, bytes.saturating_add(beside))?;
    Ok(())
}

/// The gates given, or else those that the model was fitted with.
fn gates_word(arguments: &EncodeArgs, model: &Model) -> Result<GatesWord, CliError> {
    if let Some(word) = &arguments.gates {
        return Ok(word.clone());
    }
    match model.gates().parse() {
        Ok(word @ (GatesWord::All | GatesWord::TopK(_))) => Ok(word),
        Ok(GatesWord::File(_)) | Err(_) => Err(CliError::Usage(format!(
            "{}: the model was fitted with gates that were given ({}): give those of the new rows by --gates",
            message::path(&arguments.model),
            message::name(model.gates())
        ))),
    }
}

impl Summary {
    fn for_people(&self) -> String {
        let mut lines = vec![format!(
            "encoded {} rows x {} by {} atoms (gates: {})",
            self.rows, self.columns, self.atoms, self.gates
        )];
        let mut line = |name: &str, value: String| lines.push(format!("  {name:<18} {value}"));
        let variance = match (self.unexplained_variance, &self.explained_variance_reason) {
            (Some(unexplained), _) => digits::explained(unexplained),
            (None, reason) => format!("absent: {}", reason.as_deref().unwrap_or_default()),
        };
        line("explained variance", variance);
        if let (Some(median), Some(row), Some(column)) = (
            self.median_row_explained_variance,
            self.largest_row,
            self.largest_column,
        ) {
            for (name, value) in variation_lines(median, row, column) {
                line(name, value);
            }
        }
        line(
            "converged",
            format!("{} of {} rows", self.converged, self.rows),
        );
        line("seconds", format!("{:.3}", self.seconds.total));
        line("wrote", message::path(&self.output));
        lines.join("\n") + "\n"
    }
}
