//! The result of a fit, in the units of its data.

use crate::data::Data;
use crate::data::variation::Variation;
use crate::error::FitError;
use crate::lm::curved::{Chosen, SolveSummary};
use crate::lm::{Status, TraceEntry};
use crate::model::coverage::coverage;
use crate::model::dictionary::Dictionary;
use crate::model::file::Note;
use crate::model::fitted::Model;
use crate::model::gates::GatePolicy;
use crate::model::places::RowPlaces;
use crate::rounds::{GateRound, Settled};
use crate::starts::StartKind;
use broadhead_device::{ExecutionPath, LedgerSnapshot};
use broadhead_schur::EliminationKind;
use ndarray::{Array1, Array2};
use serde::{Deserialize, Serialize};

/// How far a start was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StartStage {
    /// Ranked, not finished.
    Screened,
    /// Run to its end.
    Finished,
}

/// The outcome of a start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StartReport {
    /// Its index.
    pub start: usize,
    /// Where its coordinates came from.
    pub kind: StartKind,
    /// How far it was taken.
    pub stage: StartStage,
    /// The number of rows that its objective sums over: objectives over different rows do not compare.
    pub rows: usize,
    /// The objective reached; absent if the start failed.
    pub objective: Option<f64>,
    /// Accepted steps.
    pub iterations: u64,
    /// Whether it converged.
    pub converged: bool,
    /// Why it failed.
    pub error: Option<String>,
}

impl StartReport {
    pub(crate) fn new(start: usize, kind: StartKind, rows: usize) -> Self {
        Self {
            start,
            kind,
            stage: StartStage::Finished,
            rows,
            objective: None,
            iterations: 0,
            converged: false,
            error: None,
        }
    }
}

/// A fit. Objectives are in the units of the data squared, decoders in those of the data.
#[derive(Clone, Debug)]
pub struct Fit {
    /// The dictionary with its decoder; it places new rows and is saved to a file.
    pub model: Model,
    /// Where rows are on the atoms that are on in them.
    pub places: RowPlaces,
    /// The share of its manifold that each atom's rows cover: see [`crate::model::coverage`].
    pub coverage: Vec<Option<f64>>,
    /// `|x_i - W' phi_i|^2`, one a row.
    pub squared_error: Array1<f64>,
    /// One entry per trial of the start that won.
    pub trace: Vec<TraceEntry>,
    /// The gate updates of the start that won.
    pub gate_rounds: Vec<GateRound>,
    /// `1 - SSE / sum |x_i - mean|^2`; [`Variation::unexplained`] has the digits that this rounds off.
    pub explained_variance: f64,
    /// How the rows vary, and how much of that is explained.
    pub variation: Variation,
    /// The objective reached, penalties included.
    pub objective: f64,
    /// The penalty on the decoder, in the units of `Phi' Phi`.
    pub lambda: f64,
    /// Accepted steps, over all inner fits.
    pub iterations: u64,
    /// Trials, over all inner fits.
    pub trials: u64,
    /// Whether the inner loop converged and the gates stand still.
    pub converged: bool,
    /// How the last inner loop ended.
    pub status: Status,
    /// Whether the gates stand still (always true where they are not chosen).
    pub gates_stand_still: bool,
    /// `log|H|` at zero ridge, or why it is absent.
    pub log_det_hessian: Result<f64, String>,
    /// Where the linear solves of the last inner loop ran ([`SolveSummary`] counts those of all inner loops).
    pub execution_path: ExecutionPath,
    /// Where the rounds before the first inner loop ran; `None` where rows do not choose their atoms. Everything else in
    /// a fit runs on the CPU.
    pub rounds_path: Option<ExecutionPath>,
    /// The elimination of the linear solves.
    pub elimination: EliminationKind,
    /// What the planner chose, or what was pinned, over all starts that were finished. A fit with a single choice
    /// is repeated elsewhere by pinning it.
    pub chosen: Vec<Chosen>,
    /// The cost and accuracy of the solves of the start that won.
    pub solves: SolveSummary,
    /// Transfers and factorizations over all starts that were finished.
    pub ledger: LedgerSnapshot,
    /// The start that won.
    pub start: usize,
    /// Every start.
    pub starts: Vec<StartReport>,
    /// Wall time by phase, in seconds.
    pub seconds: Vec<(String, f64)>,
    /// Wall time, in seconds.
    pub seconds_total: f64,
}

impl Fit {
    /// The coordinates as an `n x columns` array, atoms in order; NaN where an atom is off.
    pub fn coordinates(&self) -> Array2<f64> {
        self.places.coordinates()
    }

    /// The amplitudes as an `n x atoms` array; 0 where an atom is off.
    pub fn gates(&self) -> Array2<f64> {
        self.places.gates()
    }

    /// Converts a result to the units of the data.
    ///
    /// # Errors
    /// [`FitError::NotFinite`] where the decoder overflows in those units.
    #[expect(clippy::too_many_arguments, reason = "all that a fit is made of")]
    pub(crate) fn new(
        dictionary: &Dictionary,
        policy: &GatePolicy,
        data: &Data,
        ended: Settled,
        variation: Variation,
        start: usize,
        starts: Vec<StartReport>,
        ledger: LedgerSnapshot,
    ) -> Result<Self, FitError> {
        let (scale, point) = (data.scale(), &ended.point);
        // Multiplied one after the other: 0 stays 0 where the square of the scale overflows.
        let squared = |value: f64| value * scale * scale;
        let converged = ended.converged();
        let unknowns = point.row_gradient.len() as f64;
        let shape = (dictionary.features(), data.outputs());
        let trace = ended.trace.iter().map(|entry| TraceEntry {
            objective: entry.objective.map(squared),
            predicted: entry.predicted.map(squared),
            ..*entry
        });
        let rounds = ended.rounds.iter();
        let decoder = Array2::from_shape_fn(shape, |(m, c)| match point.decoder[m * shape.1 + c] {
            // The centre is added to the intercept.
            w if m == 0 => data.raw(c, w),
            w => w * scale,
        });
        let places = point.coordinates.places(dictionary, &ended.gates);
        let note = Note {
            dictionary: dictionary.clone(),
            gates: policy.word(),
            // A model stores it, so it has to be finite.
            kappa: squared(ended.penalty.kappa).min(f64::MAX),
            lambda: Some(ended.penalty.lambda),
        };
        Ok(Self {
            model: Model::new(note, decoder)?,
            coverage: coverage(dictionary, &places),
            places,
            squared_error: point.squares.iter().map(|s| squared(*s)).collect(),
            trace: trace.collect(),
            gate_rounds: rounds
                .map(|round| GateRound {
                    objective: squared(round.objective),
                    ..*round
                })
                .collect(),
            explained_variance: variation.explained(),
            variation,
            objective: squared(ended.report.objective),
            lambda: ended.penalty.lambda,
            iterations: ended.report.iterations,
            trials: ended.report.trials,
            converged,
            status: ended.report.status,
            gates_stand_still: ended.gates_stand_still,
            // Units scale the row unknowns' part of H by a congruence.
            log_det_hessian: ended.log_det.map(|log| log + 2.0 * unknowns * scale.ln()),
            execution_path: ended.path,
            rounds_path: ended.rounds_path,
            elimination: ended.elimination,
            chosen: ended.solves.chosen.clone(),
            solves: ended.solves,
            ledger,
            start,
            starts,
            seconds: Vec::new(),
            seconds_total: 0.0,
        })
    }
}
