//! Encoding: coordinates and gates of new rows under a fitted dictionary.
//!
//! The decoder stands still, so rows are independent: each is brought to the decoder's units less its
//! intercept, scanned on its atoms' grids and finished by Newton's method, in parallel. See
//! [`crate::GatePolicy`] for which atoms are on.

pub(crate) mod angle;
pub(crate) mod arrangement;
pub(crate) mod row;
pub(crate) mod search;

use crate::data::variation::{NoVariation, Variation};
use crate::data::{Data, binary_unit, norm};
use crate::encode::row::{RowModel, RowPoint, rows_in_parallel};
use crate::error::FitError;
use crate::iterate::coordinates::{Coordinates, Gates};
use crate::model::dictionary::Dictionary;
use crate::model::fitted::Model;
use crate::model::gates::GatePolicy;
use ndarray::{Array1, Array2, ArrayView1, ArrayView2};

/// What may be chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct EncodeOptions {
    /// Which atoms may be on; as in the fit where that is absent.
    pub gates: Option<GatePolicy>,
    /// The most Newton steps of a row.
    pub max_iterations: usize,
}

impl Default for EncodeOptions {
    fn default() -> Self {
        Self {
            gates: None,
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
    /// `|x_i - W' phi_i|^2`, in the units of the data squared; infinite where that square overflows.
    pub squared_error: Array1<f64>,
    /// Whether a row's search ended at a stationary point. Where numbers overflow it did not, nor
    /// where a coordinate on a line would lie beyond 1e100.
    pub converged: Array1<bool>,
    /// How these rows vary about their own mean, and how much of that is explained.
    pub variation: Result<Variation, NoExplanation>,
}

/// Encodes the rows of `x` (`n x p`) under a model: see [`Model::encode`].
pub(crate) fn encode(
    model: &Model,
    x: ArrayView2<'_, f64>,
    policy: &GatePolicy,
    max_iterations: usize,
) -> Result<Encoding, FitError> {
    let (dictionary, decoder) = (model.dictionary(), model.decoder());
    let data = Data::normalised(x)?;
    if decoder.ncols() != data.outputs() {
        return Err(FitError::DecoderShape {
            got: [decoder.nrows(), decoder.ncols()],
            expected: [dictionary.features(), data.outputs()],
        });
    }
    let given = given_gates(policy, data.rows(), dictionary.len())?;
    let frame = Frame::of(decoder, dictionary, model.kappa());
    let rows = RowModel::new(dictionary, &frame.decoder, data.outputs(), frame.kappa);
    let found = rows_in_parallel(data.rows(), |i| {
        let (rest, within) = frame.rest(x.row(i));
        let row = rows.reduce(&rest);
        let mut point = match (policy, &given) {
            (GatePolicy::TopK(k), _) => rows.encode_greedy(&row, *k, max_iterations),
            (_, given) => rows.encode_gated(&row, given.row(i), max_iterations),
        };
        let error = match within {
            true => rows.squared_error(&rest, &point).sqrt() * frame.scale,
            // Beside such a row no atom is more than its rounding.
            false => frame.distance(x.row(i)),
        };
        let flat = |a: usize| dictionary.atoms()[a].topology().has_flat();
        let unbounded = (0..dictionary.len()).any(|a| point.gates[a] != 0.0 && flat(a));
        point.converged &= error.is_finite() && (within || !unbounded);
        (point, error)
    });
    let errors: Vec<f64> = (found.iter())
        .map(|(_, error)| (error / data.scale()) * (error / data.scale()))
        .collect();
    let variation = Variation::of(&data, &errors).map_err(NoExplanation::from);
    let variation = variation.and_then(|variation| match variation.unexplained.is_finite() {
        true => Ok(variation),
        false => Err(NoExplanation::Overflow),
    });
    Ok(assemble(dictionary, &found, variation))
}

/// Why an encoding has no explained variance.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum NoExplanation {
    /// There is nothing to explain.
    #[error(transparent)]
    NoVariation(#[from] NoVariation),
    /// Rows so far from all that the dictionary reaches that the ratio overflows.
    #[error("the squared errors are more than 1e308 times the squares about the mean")]
    Overflow,
}

/// The units in which rows are encoded: those of the decoder. Rows of any size are brought to it less
/// the intercept, so that neither a common offset nor the rows' own size takes digits.
struct Frame {
    /// `M x p` row-major, divided by `scale`; the intercept, which rows come without, is 0.
    decoder: Vec<f64>,
    /// A power of two beside the largest entry off the intercept.
    scale: f64,
    /// The penalty on flat coordinates in these units.
    kappa: f64,
    intercept: Vec<f64>,
}

/// Rows further than that from the intercept, in units of the decoder, are drawn to that distance:
/// their squares still have room. Angles and directions stay the same to the last digit.
const FURTHEST: f64 = 1e100;

impl Frame {
    fn of(decoder: ArrayView2<'_, f64>, dictionary: &Dictionary, kappa: f64) -> Self {
        let p = decoder.ncols();
        let atoms = decoder.iter().skip(p);
        let scale = binary_unit(atoms.fold(0.0_f64, |m, w| m.max(w.abs())));
        let mut scaled = vec![0.0; dictionary.features() * p];
        for (to, w) in scaled.iter_mut().zip(decoder.iter()).skip(p) {
            *to = w / scale;
        }
        Self {
            decoder: scaled,
            scale,
            // A penalty beyond that is one that nothing is held against.
            kappa: (kappa / scale / scale).min(FURTHEST),
            intercept: decoder.row(0).to_vec(),
        }
    }

    /// A row less the intercept in units of the decoder, and whether it lies within [`FURTHEST`].
    fn rest(&self, x: ArrayView1<'_, f64>) -> (Vec<f64>, bool) {
        let rest: Vec<f64> = (x.iter().zip(&self.intercept))
            .map(|(x, w)| (x - w) / self.scale)
            .collect();
        let largest = rest.iter().fold(0.0_f64, |m, r| m.max(r.abs()));
        if largest <= FURTHEST {
            return (rest, true);
        }
        let quarters = self.quarters(x);
        let most = quarters.iter().fold(0.0_f64, |m, r| m.max(r.abs()));
        let drawn = quarters.iter().map(|r| r / most * FURTHEST);
        (drawn.collect(), false)
    }

    /// A quarter of a row less the intercept: differences that do not overflow.
    fn quarters(&self, x: ArrayView1<'_, f64>) -> Vec<f64> {
        let both = x.iter().zip(&self.intercept);
        both.map(|(x, w)| 0.25 * x - 0.25 * w).collect()
    }

    /// The norm of a row less the intercept.
    fn distance(&self, x: ArrayView1<'_, f64>) -> f64 {
        4.0 * norm(&self.quarters(x))
    }
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

fn assemble(
    dictionary: &Dictionary,
    found: &[(RowPoint, f64)],
    variation: Result<Variation, NoExplanation>,
) -> Encoding {
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
        squared_error: found.iter().map(|(_, error)| error * error).collect(),
        converged: found.iter().map(|(point, _)| point.converged).collect(),
        variation,
    }
}
