//! Encoding: coordinates and gates of new rows under a fitted dictionary.
//!
//! The decoder stands still, so rows are independent: each is scanned on its atoms' grids and
//! finished by Newton's method, in parallel. See [`crate::GatePolicy`] for which atoms are on.

use crate::coordinates::{Coordinates, Gates};
use crate::data::Data;
use crate::dictionary::Dictionary;
use crate::error::FitError;
use crate::gates::GatePolicy;
use crate::row::{RowModel, RowPoint, for_rows};
use ndarray::{Array1, Array2, ArrayView2};

/// What may be chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct EncodeOptions {
    /// Which atoms are on.
    pub gates: GatePolicy,
    /// The penalty on Euclidean coordinates, in the units of the data squared ([`crate::Fit::kappa`]).
    pub kappa: f64,
    /// The most Newton steps of a row.
    pub max_iterations: usize,
}

impl Default for EncodeOptions {
    fn default() -> Self {
        Self {
            gates: GatePolicy::All,
            kappa: 0.0,
            max_iterations: 100,
        }
    }
}

/// Encoded rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Encoding {
    /// `n x columns`; NaN where an atom is off.
    pub coordinates: Array2<f64>,
    /// `n x atoms`.
    pub gates: Array2<f64>,
    /// `|x_i - W' phi_i|^2`, in the units of the data squared.
    pub squared_error: Array1<f64>,
    /// Whether a row's search ended at a stationary point.
    pub converged: Array1<bool>,
}

/// Encodes the rows of `x` (`n x p`) under `dictionary` and `decoder` (`M x p`).
///
/// # Errors
/// [`FitError::Empty`], [`FitError::NotFinite`] naming array and index, [`FitError::DecoderShape`],
/// [`FitError::GatesShape`], [`FitError::Option`].
pub fn encode(
    x: ArrayView2<'_, f64>,
    dictionary: &Dictionary,
    decoder: ArrayView2<'_, f64>,
    options: &EncodeOptions,
) -> Result<Encoding, FitError> {
    let data = Data::normalised(x)?;
    let expected = [dictionary.features(), data.outputs()];
    if [decoder.nrows(), decoder.ncols()] != expected {
        return Err(FitError::DecoderShape {
            got: [decoder.nrows(), decoder.ncols()],
            expected,
        });
    }
    if let Some(((row, column), value)) = decoder.indexed_iter().find(|(_, v)| !v.is_finite()) {
        return Err(FitError::NotFinite {
            array: "decoder",
            row,
            column,
            value: *value,
        });
    }
    if !(options.kappa.is_finite() && options.kappa >= 0.0) {
        return Err(FitError::Option {
            option: "kappa",
            value: options.kappa.to_string(),
            expected: "a finite number of at least 0",
        });
    }
    let given = given_gates(&options.gates, data.rows(), dictionary.len())?;
    let scale = data.scale();
    let decoder: Vec<f64> = decoder.iter().map(|w| w / scale).collect();
    let kappa = options.kappa / scale / scale;
    let model = RowModel::new(dictionary, &decoder, data.outputs(), kappa);
    let found = for_rows(&model, &data, |i, row| {
        let point = match (&options.gates, &given) {
            (GatePolicy::TopK(k), _) => model.encode_greedy(row, *k, options.max_iterations),
            (_, given) => model.encode_gated(row, given.row(i), options.max_iterations),
        };
        let error = model.squared_error(data.row(i), &point);
        (point, error)
    });
    Ok(assemble(dictionary, &found, scale))
}

/// Checks a policy against the data and gives its gates; those of top-k are all on.
///
/// # Errors
/// [`FitError::GatesShape`], [`FitError::NotFinite`], [`FitError::Option`].
pub(crate) fn given_gates(
    policy: &GatePolicy,
    rows: usize,
    atoms: usize,
) -> Result<Gates, FitError> {
    match policy {
        GatePolicy::Given(array) => Gates::from_array(array.view(), rows, atoms),
        GatePolicy::TopK(k) if *k == 0 || *k > atoms => Err(FitError::Option {
            option: "top-k",
            value: k.to_string(),
            expected: "at least 1 and at most the number of atoms",
        }),
        GatePolicy::All | GatePolicy::TopK(_) => Ok(Gates::all_on(rows, atoms)),
    }
}

fn assemble(dictionary: &Dictionary, found: &[(RowPoint, f64)], scale: f64) -> Encoding {
    let rows = found.len();
    let mut coordinates = Coordinates::origin(dictionary, rows);
    let mut gates = Gates::all_off(rows, dictionary.len());
    for (i, (point, _)) in found.iter().enumerate() {
        coordinates.row_mut(i).copy_from_slice(&point.t);
        gates.row_mut(i).copy_from_slice(&point.gates);
    }
    Encoding {
        coordinates: coordinates.to_array(dictionary, &gates),
        gates: gates.to_array(),
        squared_error: found
            .iter()
            .map(|(_, error)| error * scale * scale)
            .collect(),
        converged: found.iter().map(|(point, _)| point.converged).collect(),
    }
}
