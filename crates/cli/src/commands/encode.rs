//! `broadhead encode`: coordinates of new rows under a fitted dictionary.

use super::clock::{Clock, Seconds};
use super::dispatch::{self, Device};
use super::fit::{gate_policy, variation_lines, warn_of_row};
use crate::args::{EncodeArgs, OutputArgs};
use crate::digits;
use crate::error::CliError;
use crate::input::{self, Extents, FileRows, InputError, Keep, OpenRows};
use crate::memory;
use crate::message;
use crate::model;
use crate::output::npz::{Column, NpyElement, SideBySide};
use crate::output::{self, OutputError, Sink, Staging};
use crate::words::GatesWord;
use broadhead_device::ExecutionPath;
use broadhead_sae::memory::{RowsSize, encode_bytes};
use broadhead_sae::{Amplitudes, EncodeOptions, Explanation, Model, Share, Variation};
use ndarray::Array1;
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
    /// Whether rows were read from their file tile by tile.
    streamed: bool,
    /// The most bytes that the program had in physical memory; null where the system does not say.
    peak_memory: Option<u64>,
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
    let opened = input::open_rows(std::slice::from_ref(&arguments.rows))?;
    let keep = room(arguments, &model.array, &word, &opened)?;
    let rows = opened.read(keep)?;
    let [n, p] = rows.rows.shape();
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

    let mut staging = Staging::new();
    let encoded = staging.write_with(&arguments.output, |sink| {
        write_blocks(&model, &rows, &encode_options, arguments, sink)
    });
    let encoded = encoded.map_err(|error| match error {
        CliError::Fit(error) => CliError::of_rows(&rows, error),
        other => other,
    })?;
    clock.lap("encode");
    staging.publish()?;
    clock.lap("write");

    let squared_error = Array1::from(encoded.squared_error).sum();
    let variation = encoded.explanation.as_ref();
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
        converged: encoded.converged,
        streamed: rows.keep == Keep::OnDisk,
        peak_memory: memory::peak(),
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

/// What is known of all rows once they are encoded.
struct Encoded {
    squared_error: Vec<f64>,
    converged: usize,
    explanation: Explanation,
}

/// Encodes rows block by block and writes each.
fn write_blocks(
    model: &Model,
    rows: &FileRows,
    options: &EncodeOptions,
    arguments: &EncodeArgs,
    sink: &mut Sink,
) -> Result<Encoded, CliError> {
    let failed = |source: io::Error| OutputError::Io {
        path: arguments.output.clone(),
        source,
    };
    let ([n, _], dictionary) = (rows.rows.shape(), model.dictionary());
    let column = |name, element, shape: &[usize]| Column {
        name,
        element,
        shape: shape.to_vec(),
    };
    let columns = [
        column("coordinates", NpyElement::F64, &[n, dictionary.columns()]),
        column("gates", NpyElement::F64, &[n, dictionary.len()]),
        column("squared_error", NpyElement::F64, &[n]),
        column("converged", NpyElement::Bool, &[n]),
    ];
    let mut npz = SideBySide::begin(sink, &columns).map_err(failed)?;
    let (mut squared_error, mut converged) = (Vec::with_capacity(n), 0);
    let explanation = model.encode_blocks(&rows.rows, options, |block| {
        npz.append(0, &block.coordinates).map_err(failed)?;
        npz.append(1, &block.gates).map_err(failed)?;
        npz.append(2, &block.squared_error).map_err(failed)?;
        npz.append_truths(3, &block.converged).map_err(failed)?;
        squared_error.extend(&block.squared_error);
        converged += block.converged.iter().filter(|done| **done).count();
        Ok::<(), CliError>(())
    })?;
    npz.finish().map_err(failed)?;
    Ok(Encoded {
        squared_error,
        converged,
        explanation,
    })
}

/// Where the rows are to be kept so that there is memory to encode them.
fn room(
    arguments: &EncodeArgs,
    model: &Model,
    word: &GatesWord,
    opened: &OpenRows,
) -> Result<Keep, CliError> {
    if let Some(bytes) = arguments.memory {
        memory::hold_to(bytes);
    }
    let Some([rows, outputs]) = opened.shape() else {
        return Ok(Keep::InMemory);
    };
    let options = EncodeOptions {
        gates: Some(word.policy()),
        ..EncodeOptions::default()
    };
    let what = format!("the encoding of {}", message::path(&arguments.rows.path));
    let require = |keep: Keep| {
        let size = RowsSize {
            rows,
            outputs,
            in_memory: keep == Keep::InMemory,
            element: opened.widest(),
        };
        let bytes = encode_bytes(size, model.dictionary(), &options);
        // The squared errors, and a block of all arrays as bytes.
        let beside = memory::numbers(&[rows, 2]).saturating_add(32 << 20);
        // The array of the file, and copies of it.
        let given = match word.file() {
            Some(_) => memory::numbers(&[4, rows, model.dictionary().len()]),
            None => 0,
        };
        let beside = beside.saturating_add(given);
        let bytes = [bytes, beside, opened.held(keep)].into_iter();
        memory::require(&what, bytes.fold(0, u64::saturating_add))
    };
    let (keep, _) = input::choose(opened, require)?;
    Ok(keep)
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
