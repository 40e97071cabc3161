//! A fit that continues from a model: its decoder in the units of the data, and its penalties.

use crate::data::Data;
use crate::encode::row::{RowModel, for_rows};
use crate::encode::search::Arrangement;
use crate::error::FitError;
use crate::iterate::coordinates::{Coordinates, Gates};
use crate::model::dictionary::Dictionary;
use crate::model::fitted::Model;
use crate::rounds::round::Arranged;

/// What a fit takes from a model.
pub(crate) struct Resumed {
    /// `M x p`, in the units of the normalised data.
    decoder: Vec<f64>,
    /// The model's own, if it has one.
    pub(crate) lambda: Option<f64>,
    /// In the units of the normalised data.
    pub(crate) kappa: f64,
}

/// The most Newton steps of a row while its coordinates are found.
const ITERATIONS: usize = 100;

/// Larger penalties are cut to this: they hold coordinates at zero in any case.
const LARGEST: f64 = 1e100;

impl Resumed {
    /// # Errors
    /// [`FitError::Option`] where the model has other atoms, [`FitError::DecoderShape`] where the number of columns
    /// differs.
    pub(crate) fn of(
        model: &Model,
        data: &Data,
        dictionary: &Dictionary,
    ) -> Result<Self, FitError> {
        if model.dictionary() != dictionary {
            return Err(FitError::Option {
                option: "start",
                value: format!(
                    "a model of {} with amplitudes {}",
                    model.dictionary(),
                    model.dictionary().amplitudes()
                ),
                expected: "a model of the atoms that are fitted, with their amplitudes",
            });
        }
        let (scale, p) = (data.scale(), data.outputs());
        let from = model.decoder();
        if from.ncols() != p {
            return Err(FitError::DecoderShape {
                got: [from.nrows(), from.ncols()],
                expected: [dictionary.features(), p],
            });
        }
        let normal = |((m, c), w): ((usize, usize), &f64)| match m {
            0 => data.normal(c, *w),
            _ => w / scale,
        };
        Ok(Self {
            decoder: from.indexed_iter().map(normal).collect(),
            lambda: model.lambda(),
            kappa: (model.kappa() / scale / scale).min(LARGEST),
        })
    }

    /// The decoder in the form that rounds use.
    pub(crate) fn arranged(&self, arrangement: &Arrangement, outputs: usize) -> Arranged {
        let mut lines = arrangement.gather(&self.decoder, outputs);
        arrangement.turn(&mut lines, outputs);
        Arranged {
            lines,
            intercept: self.decoder[..outputs].to_vec(),
        }
    }

    /// The best coordinates of every row under the decoder, on `gates`.
    pub(crate) fn coordinates(
        &self,
        data: &Data,
        dictionary: &Dictionary,
        gates: &Gates,
    ) -> Coordinates {
        let model = RowModel::new(dictionary, &self.decoder, data.outputs(), self.kappa);
        let found = for_rows(&model, data, |i, row| {
            model.encode_gated(row, gates.row(i), ITERATIONS).t
        });
        let mut coordinates = Coordinates::origin(dictionary, data.rows());
        for (i, t) in found.iter().enumerate() {
            coordinates.row_mut(i).copy_from_slice(t);
        }
        coordinates
    }
}
