//! `broadhead encode`: coordinates of new rows under a fitted dictionary.

use super::clock::{Clock, Seconds};
use super::dispatch::{self, Device};
use super::fit::gate_policy;
use crate::args::{EncodeArgs, OutputArgs};
use crate::error::CliError;
use crate::input::{self, Extents, InputError};
use crate::message;
use crate::model;
use crate::output::{self, Staging};
use crate::words::GatesWord;
use broadhead_device::ExecutionPath;
use broadhead_sae::{EncodeOptions, Encoding};
use ndarray::{Array2, ArrayView2, Axis};
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
    /// `1 - SSE / sum |x_i - mean|^2` of these rows; absent where they do not vary.
    explained_variance: Option<f64>,
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
    let device = dispatch::without_backend(arguments.device, "encode")?;
    let mut clock = Clock::start();
    let model = model::read(&arguments.model)?;
    let rows = input::read_matrix(&arguments.rows)?;
    let (n, p) = rows.array.dim();
    if p != model.decoder.array.ncols() {
        return Err(InputError::Shape {
            array: rows.name,
            found: Extents(vec![n, p]),
            expected: Extents(vec![n, model.decoder.array.ncols()]),
            because: format!("the columns of {}", model.decoder.name),
        }
        .into());
    }
    let dictionary = &model.note.dictionary;
    let word = gates_word(arguments, &model)?;
    let encode_options = EncodeOptions {
        gates: gate_policy(&word, n, dictionary.len())?,
        kappa: model.note.kappa,
        ..EncodeOptions::default()
    };
    output::prepare_file(&arguments.output)?;
    clock.lap("read");

    let decoder = model.decoder.array.view();
    let encoding = broadhead_sae::encode(rows.array.view(), dictionary, decoder, &encode_options)?;
    clock.lap("encode");
    let mut staging = Staging::new();
    staging.write(&arguments.output, |sink| {
        let mut npz = NpzWriter::new(sink);
        let Encoding {
            coordinates,
            gates,
            squared_error,
            converged,
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
    let total = variation(rows.array.view());
    let summary = Summary {
        execution_path: ExecutionPath::Cpu,
        device,
        rows: n,
        columns: p,
        atoms: dictionary.len(),
        gates: word.to_string(),
        explained_variance: (total > 0.0).then(|| 1.0 - squared_error / total),
        squared_error,
        converged: encoding.converged.iter().filter(|done| **done).count(),
        seconds: clock.seconds(),
        output: arguments.output.clone(),
    };
    let text = if options.json {
        message::json(&summary)?
    } else {
        summary.for_people()
    };
    Ok(output::print(&text)?)
}

/// The gates given, or those that the model was fitted with.
fn gates_word(arguments: &EncodeArgs, model: &model::Model) -> Result<GatesWord, CliError> {
    if let Some(word) = &arguments.gates {
        return Ok(word.clone());
    }
    match model.note.gates.parse() {
        Ok(GatesWord::File(_)) => Err(CliError::Usage(format!(
            "the model was fitted with the gates of {}: give those of the new rows by --gates",
            message::name(&model.note.gates)
        ))),
        other => Ok(other?),
    }
}

/// `sum |x_i - mean|^2`.
fn variation(rows: ArrayView2<'_, f64>) -> f64 {
    let Some(mean) = rows.mean_axis(Axis(0)) else {
        return 0.0;
    };
    let centred: Array2<f64> = &rows - &mean;
    centred.iter().map(|x| x * x).sum()
}

impl Summary {
    fn for_people(&self) -> String {
        let variance = match self.explained_variance {
            Some(value) => format!("{value:.4}"),
            None => "absent: the rows do not vary".to_owned(),
        };
        format!(
            "encoded {} rows x {} by {} atoms (gates: {})\n  explained variance {variance}\n  \
             converged          {} of {} rows\n  seconds            {:.3}\n  wrote              {}\n",
            self.rows,
            self.columns,
            self.atoms,
            self.gates,
            self.converged,
            self.rows,
            self.seconds.total,
            message::path(&self.output),
        )
    }
}
