//! Screening: ranks starts by a few rounds of alternation on a sample of rows.
//!
//! A round finds every row's best coordinates under a fixed decoder and fixed gates, then the decoder for
//! those. It needs no arrow system, so it is cheap however large the border is. It converges slowly, but it
//! ranks well, and its decoder carries over to rows outside the sample.

use crate::data::Data;
use crate::encode::row::{RowModel, for_rows};
use crate::error::FitError;
use crate::iterate::coordinates::{Coordinates, Gates};
use crate::iterate::layout::Layout;
use crate::iterate::point::{Frozen, Penalty, Point};
use crate::model::dictionary::Dictionary;
use crate::options::Screening;
use crate::rounds::Begin;
use crate::rounds::choose;
use crate::rounds::penalty;
use crate::starts::Start;
use rand::SeedableRng;
use rand::seq::index::sample;
use rand_chacha::ChaCha8Rng;
use std::borrow::Cow;

/// A start from which rounds can run, over all rows.
pub(crate) struct Candidate {
    pub(crate) start: usize,
    pub(crate) begin: Begin,
}

/// A start after screening, over the sample.
pub(crate) struct Screened {
    pub(crate) objective: f64,
    decoder: Vec<f64>,
    kappa: f64,
    coordinates: Coordinates,
    gates: Gates,
}

/// The sample, and the settings of screening.
pub(crate) struct Screen<'a> {
    all: &'a Data,
    sample: Cow<'a, Data>,
    /// The caller's gates in the sample: first amplitudes where those are fitted.
    first: Gates,
    /// The same without fitted amplitudes.
    given: Gates,
    all_given: &'a Gates,
    dictionary: &'a Dictionary,
    lambda: Option<f64>,
    rounds: usize,
}

/// Newton steps of a row in a round.
const ITERATIONS: usize = 4;

impl<'a> Screen<'a> {
    pub(crate) fn new(
        all: &'a Data,
        dictionary: &'a Dictionary,
        [all_first, all_given]: [&'a Gates; 2],
        lambda: Option<f64>,
        seed: u64,
        screening: Screening,
    ) -> Self {
        // A sample that is large enough to determine the decoder is also large enough to rank starts.
        let most = screening.rows.min((12 * dictionary.features()).max(512));
        let (sample, first, given) = if all.rows() > most {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(u64::MAX);
            let mut chosen = sample(&mut rng, all.rows(), most).into_vec();
            chosen.sort_unstable();
            let [first, given] = [all_first, all_given].map(|gates| gates.subset(&chosen));
            (Cow::Owned(all.subset(&chosen)), first, given)
        } else {
            (Cow::Borrowed(all), all_first.clone(), all_given.clone())
        };
        let rounds = screening.rounds;
        Self {
            all,
            sample,
            first,
            given,
            all_given,
            dictionary,
            lambda,
            rounds,
        }
    }

    /// The sample.
    pub(crate) fn data(&self) -> &Data {
        &self.sample
    }

    /// The caller's gates in the sample.
    pub(crate) fn given(&self) -> &Gates {
        &self.given
    }

    /// Screens one start.
    ///
    /// # Errors
    /// Features that determine no decoder.
    pub(crate) fn run(&self, start: Start) -> Result<Screened, FitError> {
        let Start {
            mut coordinates,
            gates,
            ..
        } = start;
        coordinates.set_amplitudes(self.dictionary, &self.first);
        let layout = Layout::new(self.dictionary, &gates, self.sample.outputs())?;
        coordinates.whiten(&layout);
        let penalty = penalty(
            &self.sample,
            self.dictionary,
            &layout,
            &coordinates,
            self.lambda,
        )?;
        let mut point = self.evaluated(penalty, &gates, coordinates)?;
        for round in 0..self.rounds {
            let mut coordinates = point.coordinates.clone();
            let model = RowModel::new(
                self.dictionary,
                &point.decoder,
                self.sample.outputs(),
                penalty.kappa,
            );
            // Scans of the grids are expensive: every other round, and only with a single atom.
            if self.dictionary.len() == 1 && round % 2 == 1 {
                choose::update(&model, &self.sample, &mut coordinates, &gates);
            } else {
                choose::refine(&model, &self.sample, &mut coordinates, &gates, ITERATIONS);
            }
            point = self.evaluated(penalty, &gates, coordinates)?;
        }
        Ok(Screened {
            objective: point.objective.value,
            decoder: point.decoder,
            kappa: penalty.kappa,
            coordinates: point.coordinates,
            gates,
        })
    }

    fn evaluated(
        &self,
        penalty: Penalty,
        gates: &Gates,
        mut coordinates: Coordinates,
    ) -> Result<Point, FitError> {
        let layout = Layout::new(self.dictionary, gates, self.sample.outputs())?;
        coordinates.whiten(&layout);
        let (data, dictionary) = (self.data(), self.dictionary);
        let model = Frozen {
            data,
            dictionary,
            layout: &layout,
            penalty,
        };
        Ok(Point::projected(&model, coordinates)?.0)
    }

    /// Extends a screened start to all rows.
    pub(crate) fn carry(&self, start: usize, screened: Screened) -> Candidate {
        if matches!(self.sample, Cow::Borrowed(_)) {
            let Screened {
                coordinates, gates, ..
            } = screened;
            return Candidate {
                start,
                begin: Begin::Coordinates(coordinates, gates),
            };
        }
        let outputs = self.all.outputs();
        let model = RowModel::new(self.dictionary, &screened.decoder, outputs, screened.kappa);
        let found = for_rows(&model, self.all, |i, row| {
            model.encode_gated(row, self.all_given.row(i), ITERATIONS)
        });
        let mut coordinates = Coordinates::origin(self.dictionary, self.all.rows());
        let mut gates = self.all_given.clone();
        for (i, point) in found.into_iter().enumerate() {
            coordinates.row_mut(i).copy_from_slice(&point.t);
            gates.row_mut(i).copy_from_slice(&point.gates);
        }
        Candidate {
            start,
            begin: Begin::Coordinates(coordinates, gates),
        }
    }
}
