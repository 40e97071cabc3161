//! Encoding: coordinates and gates of new rows under a fitted dictionary.
//!
//! The decoder is fixed, so rows are independent and run in parallel. Each row, minus the intercept, is
//! scaled to the decoder's units and placed. Where rows choose their atoms they are placed by tiles, as in a
//! round of a fit ([`tiles`]); where gates are given each row is scanned on its atoms' grids and refined by
//! Newton's method. See [`crate::GatePolicy`] for which atoms are on.

pub(crate) mod angle;
pub(crate) mod arrangement;
mod frame;
pub(crate) mod row;
pub(crate) mod search;
mod tiles;

use crate::data::Data;
use crate::data::variation::{NoVariation, Variation};
use crate::encode::frame::{Frame, Reach};
use crate::encode::row::{RowModel, RowPoint, rows_in_parallel};
use crate::error::FitError;
use crate::iterate::coordinates::Gates;
use crate::model::fitted::Model;
use crate::model::gates::GatePolicy;
use ndarray::{Array1, Array2, ArrayView1, ArrayView2};

/// Options of an encoding.
#[derive(Clone, Debug, PartialEq)]
pub struct EncodeOptions {
    /// Which atoms may be on; as in the fit if absent.
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
    /// Whether a row's search ended at a stationary point. It did not where numbers overflow, or where a
    /// coordinate on a line would lie beyond 1e100.
    pub converged: Array1<bool>,
    /// How these rows vary about their own mean, and how much of the variation is explained.
    pub variation: Result<Variation, NoExplanation>,
}

/// Encodes the rows of `x` (`n x p`) under a model: see [`Model::encode`].
pub(crate) fn encode(
    model: &Model,
    x: ArrayView2<'_, f64>,
    policy: &GatePolicy,
    max_iterations: usize,
) -> Result<Encoding, FitError> {
    let data = Data::normalised(x)?;
    let placed = place(model, x, policy, max_iterations)?;
    let errors: Vec<f64> = (placed.distance.iter())
        .map(|distance| (distance / data.scale()) * (distance / data.scale()))
        .collect();
    let variation = Variation::of(&data, &errors).map_err(NoExplanation::from);
    let variation = variation.and_then(|variation| match variation.unexplained.is_finite() {
        true => Ok(variation),
        false => Err(NoExplanation::Overflow),
    });
    Ok(Encoding {
        coordinates: placed.coordinates,
        gates: placed.gates,
        squared_error: placed.distance.iter().map(|d| d * d).collect(),
        converged: placed.converged.into(),
        variation,
    })
}

/// The places of rows.
pub(crate) struct PlacedRows {
    /// `n x columns`; NaN where an atom is off.
    pub(crate) coordinates: Array2<f64>,
    /// `n x atoms`.
    pub(crate) gates: Array2<f64>,
    /// `|x_i - W' phi_i|`, in the units of the data.
    pub(crate) distance: Vec<f64>,
    pub(crate) converged: Vec<bool>,
}

/// Places the rows of `x`, finite numbers, under a model.
///
/// # Errors
/// [`FitError::DecoderShape`], [`FitError::GatesShape`], [`FitError::Option`].
pub(crate) fn place(
    model: &Model,
    x: ArrayView2<'_, f64>,
    policy: &GatePolicy,
    max_iterations: usize,
) -> Result<PlacedRows, FitError> {
    let (dictionary, decoder) = (model.dictionary(), model.decoder());
    if decoder.ncols() != x.ncols() {
        return Err(FitError::DecoderShape {
            got: [decoder.nrows(), decoder.ncols()],
            expected: [dictionary.features(), x.ncols()],
        });
    }
    let frame = Frame::of(decoder, dictionary, model.kappa());
    let rows = RowModel::new(dictionary, &frame.decoder, x.ncols(), frame.kappa);
    let one = OneByOne {
        frame: &frame,
        rows: &rows,
        iterations: max_iterations,
    };
    let gates = given_gates(policy, x.nrows(), dictionary.len())?.without_fitted(dictionary)?;
    match policy {
        GatePolicy::TopK(k) if *k < dictionary.len() => Ok(tiles::place(&one, x, *k)),
        _ => Ok(one.place_all(x, &gates)),
    }
}

/// Places rows one by one, from the grids of their atoms.
struct OneByOne<'a> {
    frame: &'a Frame,
    rows: &'a RowModel<'a>,
    /// The most Newton steps of a row.
    iterations: usize,
}

impl OneByOne<'_> {
    /// Places all rows on gates that are given.
    fn place_all(&self, x: ArrayView2<'_, f64>, gates: &Gates) -> PlacedRows {
        let dictionary = self.rows.dictionary;
        let found = rows_in_parallel(x.nrows(), |i| {
            let mut rest = vec![0.0; x.ncols()];
            let reach = self.frame.rest(x.row(i), &mut rest);
            let row = self.rows.reduce(&rest);
            let mut point = self.rows.encode_gated(&row, gates.row(i), self.iterations);
            let distance = self.judge(x.row(i), &rest, reach, &mut point);
            (point, distance)
        });
        let mut coordinates = Array2::from_elem((x.nrows(), dictionary.columns()), f64::NAN);
        let mut amplitudes = gates.to_array();
        for (i, (point, _)) in found.iter().enumerate() {
            for a in (0..dictionary.len()).filter(|&a| point.gates[a] != 0.0) {
                let place = &point.t[dictionary.atom_place(a)];
                for (c, t) in dictionary.atom_columns(a).zip(place) {
                    coordinates[(i, c)] = *t;
                }
                amplitudes[(i, a)] *= dictionary.atoms()[a].amplitude(place);
            }
        }
        PlacedRows {
            coordinates,
            gates: amplitudes,
            distance: found.iter().map(|(_, distance)| *distance).collect(),
            converged: found.iter().map(|(point, _)| point.converged).collect(),
        }
    }

    /// The distance of `point` from its row, and whether the row counts as converged.
    fn judge(
        &self,
        x: ArrayView1<'_, f64>,
        rest: &[f64],
        reach: Reach,
        point: &mut RowPoint,
    ) -> f64 {
        let within = reach != Reach::Beyond;
        let distance = match within {
            true => self.rows.squared_error(rest, point).sqrt() * self.frame.scale,
            // The atoms are no larger than the rounding of such a row.
            false => self.frame.distance(x),
        };
        let dictionary = self.rows.dictionary;
        let is_unbounded = |a: usize| {
            let atom = dictionary.atoms()[a];
            atom.topology().has_flat() || atom.is_cone()
        };
        let unbounded = (0..dictionary.len()).any(|a| point.gates[a] != 0.0 && is_unbounded(a));
        point.converged &= distance.is_finite() && (within || !unbounded);
        distance
    }
}

/// Why an encoding has no explained variance.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum NoExplanation {
    /// There is nothing to explain.
    #[error(transparent)]
    NoVariation(#[from] NoVariation),
    /// The rows are so far from everything the dictionary can reach that the ratio overflows.
    #[error("the squared errors are more than 1e308 times the squares about the mean")]
    Overflow,
}

/// Checks a policy against the data and returns its gates; for top-k all gates are on.
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
