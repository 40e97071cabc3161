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
use crate::data::rows::Rows;
use crate::data::store::{Store, survey};
use crate::data::variation::{NoVariation, Variation};
use crate::encode::arrangement::Arrangement;
use crate::encode::frame::{Frame, Reach};
use crate::encode::row::{RowModel, RowPoint, rows_in_parallel};
use crate::encode::tiles::{OwnAxes, TILE, Tiles};
use crate::error::FitError;
use crate::iterate::coordinates::Gates;
use crate::model::dictionary::Dictionary;
use crate::model::fitted::Model;
use crate::model::gates::GatePolicy;
use crate::model::places::RowPlaces;
use ndarray::{Array1, Array2, s};
use std::ops::Range;

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

/// A block of rows that have been encoded.
#[derive(Clone, Debug, PartialEq)]
pub struct EncodedRows {
    /// Which rows of those given.
    pub rows: Range<usize>,
    /// As [`Encoding::coordinates`], of these rows.
    pub coordinates: Array2<f64>,
    /// As [`Encoding::gates`], of these rows.
    pub gates: Array2<f64>,
    /// As [`Encoding::squared_error`], of these rows.
    pub squared_error: Array1<f64>,
    /// As [`Encoding::converged`], of these rows.
    pub converged: Array1<bool>,
}

/// How rows vary about their own mean, and how much of the variation an encoding explains.
pub type Explanation = Result<Variation, NoExplanation>;

/// Encodes `rows` under a model, block by block: see [`Model::encode_blocks`].
pub(crate) fn encode_blocks<E: From<FitError>>(
    model: &Model,
    rows: Rows,
    policy: &GatePolicy,
    max_iterations: usize,
    mut sink: impl FnMut(EncodedRows) -> Result<(), E>,
) -> Result<Explanation, E> {
    let rows = rows.afresh();
    let data = Data::normalised(&rows)?;
    let mut errors = Vec::with_capacity(data.rows());
    let job = Placing {
        model,
        rows: &rows,
        is_single: data.is_single(),
        policy,
        max_iterations,
    };
    job.run(|rows, placed| {
        let distance = placed.distance.iter();
        errors
            .extend(distance.map(|distance| (distance / data.scale()) * (distance / data.scale())));
        sink(EncodedRows {
            rows,
            coordinates: placed.coordinates,
            gates: placed.gates,
            squared_error: placed.distance.iter().map(|d| d * d).collect(),
            converged: placed.converged.into(),
        })
    })?;
    let variation = Variation::of(&data, &errors).map_err(NoExplanation::from);
    data.intact()?;
    Ok(
        variation.and_then(|variation| match variation.unexplained.is_finite() {
            true => Ok(variation),
            false => Err(NoExplanation::Overflow),
        }),
    )
}

/// Encodes `rows` under a model: see [`Model::encode`].
pub(crate) fn encode(
    model: &Model,
    rows: Rows,
    policy: &GatePolicy,
    max_iterations: usize,
) -> Result<Encoding, FitError> {
    let ([n, _], dictionary) = (rows.shape(), model.dictionary());
    let mut coordinates = Array2::zeros((n, dictionary.columns()));
    let mut gates = Array2::zeros((n, dictionary.len()));
    let mut squared_error = Array1::zeros(n);
    let mut converged = Array1::from_elem(n, false);
    let variation = encode_blocks(model, rows, policy, max_iterations, |block| {
        let rows = block.rows;
        coordinates
            .slice_mut(s![rows.clone(), ..])
            .assign(&block.coordinates);
        gates.slice_mut(s![rows.clone(), ..]).assign(&block.gates);
        squared_error
            .slice_mut(s![rows.clone()])
            .assign(&block.squared_error);
        converged.slice_mut(s![rows]).assign(&block.converged);
        Ok::<(), FitError>(())
    })?;
    Ok(Encoding {
        coordinates,
        gates,
        squared_error,
        converged,
        variation,
    })
}

/// The places of rows that were not fitted.
pub(crate) struct AllPlaced {
    pub(crate) places: RowPlaces,
    /// `|x_i - W' phi_i|`, in the units of the data.
    pub(crate) distance: Vec<f64>,
}

/// The places of a block of rows.
pub(crate) struct PlacedRows {
    /// `n x columns`; NaN where an atom is off.
    pub(crate) coordinates: Array2<f64>,
    /// `n x atoms`.
    pub(crate) gates: Array2<f64>,
    /// `|x_i - W' phi_i|`, in the units of the data.
    pub(crate) distance: Vec<f64>,
    pub(crate) converged: Vec<bool>,
}

/// Places `rows`, finite numbers, under a model.
///
/// # Errors
/// [`FitError::DecoderShape`], [`FitError::GatesShape`], [`FitError::Option`], [`FitError::Rows`].
pub(crate) fn place(
    model: &Model,
    rows: &Rows,
    policy: &GatePolicy,
    max_iterations: usize,
) -> Result<AllPlaced, FitError> {
    let [n, _] = rows.shape();
    let mut all = AllPlaced {
        places: RowPlaces::with_capacity(model.dictionary(), n),
        distance: Vec::with_capacity(n),
    };
    let job = Placing {
        model,
        rows,
        is_single: rows.is_single() || survey(rows)?.is_single,
        policy,
        max_iterations,
    };
    job.run(|_, placed| {
        (all.places).push_dense(placed.coordinates.view(), placed.gates.view());
        all.distance.extend(placed.distance);
        Ok::<(), FitError>(())
    })?;
    Ok(all)
}

/// What places rows, and which.
struct Placing<'a> {
    model: &'a Model,
    /// Finite numbers.
    rows: &'a Rows,
    /// Whether every number of them is exact in single precision.
    is_single: bool,
    policy: &'a GatePolicy,
    max_iterations: usize,
}

/// Numbers of a block's coordinates and gates.
const BLOCK: usize = 1 << 20;

/// Rows of a block: whole tiles, so that blocks change nothing.
pub(crate) fn block_rows(dictionary: &Dictionary) -> usize {
    let width = dictionary.columns() + dictionary.len();
    (BLOCK / width).max(8 * TILE).next_multiple_of(TILE)
}

impl Placing<'_> {
    /// Hands the places of all rows to `sink`, a block after another.
    fn run<E: From<FitError>>(
        &self,
        mut sink: impl FnMut(Range<usize>, PlacedRows) -> Result<(), E>,
    ) -> Result<(), E> {
        let (dictionary, decoder) = (self.model.dictionary(), self.model.decoder());
        let [n, p] = self.rows.shape();
        if decoder.ncols() != p {
            return Err(E::from(FitError::DecoderShape {
                got: [decoder.nrows(), decoder.ncols()],
                expected: [dictionary.features(), p],
            }));
        }
        let given = match self.policy {
            GatePolicy::Given(_) => {
                let given = given_gates(self.policy, n, dictionary.len())?;
                Some(given.without_fitted(dictionary)?)
            }
            _ => check_gates(self.policy, n, dictionary).map(|()| None)?,
        };
        let frame = Frame::of(decoder, dictionary, self.model.kappa());
        let rows = RowModel::new(dictionary, &frame.decoder, p, frame.kappa);
        let raw = Store::scaled(self.rows.clone(), 1.0);
        let one = OneByOne {
            frame: &frame,
            rows: &rows,
            raw: &raw,
            iterations: self.max_iterations,
        };
        let arrangement = Arrangement::of(dictionary);
        let arranged = OwnAxes::of(&one, &arrangement);
        let tiles = match self.policy {
            GatePolicy::TopK(k) if *k < dictionary.len() => Some(Tiles::new(
                &one,
                &arrangement,
                &arranged,
                self.is_single,
                *k,
            )),
            _ => None,
        };
        let block = block_rows(dictionary);
        for first in (0..n).step_by(block) {
            let which = first..(first + block).min(n);
            let placed = match (&tiles, &given) {
                (Some(tiles), _) => tiles.place(which.clone()),
                (None, Some(given)) => one.place_all(which.clone(), |i| given.row(i)),
                (None, None) => {
                    let on = vec![1.0; dictionary.len()];
                    one.place_all(which.clone(), |_| &on)
                }
            };
            self.rows.intact().map_err(FitError::from)?;
            sink(which, placed)?;
        }
        Ok(())
    }
}

/// Places rows one by one, from the grids of their atoms.
struct OneByOne<'a> {
    frame: &'a Frame,
    rows: &'a RowModel<'a>,
    /// The rows as they came.
    raw: &'a Store,
    /// The most Newton steps of a row.
    iterations: usize,
}

impl<'g> OneByOne<'_> {
    /// Places rows on gates that are given.
    fn place_all(
        &self,
        which: Range<usize>,
        gates: impl Fn(usize) -> &'g [f64] + Sync,
    ) -> PlacedRows {
        let dictionary = self.rows.dictionary;
        let found = rows_in_parallel(which.len(), |tile, i| {
            let i = which.start + i;
            let x = self.raw.row(i, tile);
            let mut rest = vec![0.0; x.len()];
            let reach = self.frame.rest(x, &mut rest);
            let row = self.rows.reduce(&rest);
            let mut point = self.rows.encode_gated(&row, gates(i), self.iterations);
            let distance = self.judge(x, &rest, reach, &mut point);
            (point, distance)
        });
        let mut coordinates = Array2::from_elem((which.len(), dictionary.columns()), f64::NAN);
        let mut amplitudes = Array2::zeros((which.len(), dictionary.len()));
        for (i, (point, _)) in found.iter().enumerate() {
            for (a, &gate) in gates(which.start + i).iter().enumerate() {
                amplitudes[(i, a)] = gate;
            }
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
    fn judge(&self, x: &[f64], rest: &[f64], reach: Reach, point: &mut RowPoint) -> f64 {
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

/// Checks a policy against the data.
///
/// # Errors
/// As [`given_gates`].
pub(crate) fn check_gates(
    policy: &GatePolicy,
    rows: usize,
    dictionary: &Dictionary,
) -> Result<(), FitError> {
    let rows = match policy {
        GatePolicy::Given(_) => rows,
        _ => 0,
    };
    given_gates(policy, rows, dictionary.len())?
        .without_fitted(dictionary)
        .map(drop)
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
