//! The options of a fit.

use crate::data::Data;
use crate::error::FitError;
use crate::lm::Rule;
use crate::lm::curved::BorderMode;
use crate::model::fitted::Model;
use crate::model::gates::GatePolicy;
use broadhead_device::DevicePolicy;
use broadhead_schur::{EliminationKind, IterativeOptions, Refinement};

/// Options of a fit; [`Default`] is what the command line uses. They are plain data: the device and the
/// rates of a machine belong to [`Place`](crate::Place).
#[derive(Clone, Debug, PartialEq)]
pub struct FitOptions {
    /// Which atoms are on. Default: all.
    pub gates: GatePolicy,
    /// Starts to try; the lowest objective wins. Where rows choose their atoms fewer are ranked if a start is
    /// expensive. Default 10.
    pub starts: usize,
    /// Seed of the starts. Default 0.
    pub seed: u64,
    /// The rule of the loop, [`Rule::curved`] by default. Its limits hold for all inner fits of a start
    /// together. Where steps are found by conjugate gradients its tolerances are at least 1e-5 of the largest
    /// gradient and 1e-7 of the objective.
    pub rule: Rule,
    /// The penalty on the decoder, in the units of `Phi' Phi`. Default: 1e-5 of its mean diagonal.
    pub lambda: Option<f64>,
    /// How the border is treated. Default: projected.
    pub border: BorderMode,
    /// The most gate updates. Default 60.
    pub max_gate_rounds: usize,
    /// How linear systems are solved.
    pub solves: SolveOptions,
    /// How starts are screened.
    pub screening: Screening,
    /// Wall time after which a fit ends with what it has, in seconds. Default: none.
    pub max_seconds: Option<f64>,
    /// The precision of pulls while rows choose their atoms.
    pub pulls: Pulls,
    /// Whether atoms that explain little are moved to where the errors are, while rows choose their atoms. Default:
    /// yes; no shows what it brings.
    pub relocation: bool,
    /// Whether atoms are swapped once a row has chosen, where that costs little. Default: yes; no shows what it brings.
    pub swaps: bool,
    /// When a row keeps its atoms unless other ones are better. Default: in finishing rounds; the others show what
    /// that brings.
    pub acceptance: Acceptance,
    /// A model of the same atoms from which the fit continues, as its only start: with its decoder and its penalties
    /// (lambda unless one is given). Where rows choose their atoms they choose once instead of exploring. Default:
    /// none.
    pub start: Option<Model>,
}

/// When a row keeps the atoms it has unless others lower its own objective by more than noise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Acceptance {
    /// In finishing rounds: every row explores until then.
    #[default]
    Finishing,
    /// From the second round on.
    Always,
    /// In no round: the last round that lowers the objective ends the rounds.
    Never,
}

/// The precision in which rows are multiplied by the decoder while they choose atoms. Every sum and
/// every decoder is formed in double precision, and after Newton's method choices are compared in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pulls {
    /// Single precision where every number of the data is exact in it.
    #[default]
    Auto,
    /// Single precision.
    Fp32,
    /// Double precision.
    Fp64,
}

impl Pulls {
    /// Whether the pulls of `data` are formed in single precision.
    pub(crate) fn are_single(self, data: &Data) -> bool {
        match self {
            Self::Auto => data.is_single(),
            Self::Fp32 => true,
            Self::Fp64 => false,
        }
    }
}

impl Default for FitOptions {
    fn default() -> Self {
        Self {
            gates: GatePolicy::All,
            starts: 10,
            seed: 0,
            rule: Rule::curved(),
            lambda: None,
            border: BorderMode::Projected,
            max_gate_rounds: 60,
            solves: SolveOptions::default(),
            screening: Screening::default(),
            max_seconds: None,
            pulls: Pulls::Auto,
            relocation: true,
            swaps: true,
            acceptance: Acceptance::Finishing,
            start: None,
        }
    }
}

/// How linear systems are solved: what a caller may pin or limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SolveOptions {
    /// The elimination; `None` lets the planner choose. Default `None`.
    pub elimination: Option<EliminationKind>,
    /// The most bytes of host memory that one solver may hold; starts that run side by side have one
    /// each ([`crate::memory::FitBytes::solver_limit`]). Default 16 GiB.
    pub memory_limit: u64,
    /// How the error of a step is treated. Default: at most two steps of refinement.
    pub refinement: Refinement,
    /// Where conjugate gradients stop, if they are chosen or pinned.
    pub iterative: IterativeOptions,
    /// Whether a device is used if there is one: where it is cheaper (the default), never, or
    /// always.
    pub device_policy: DevicePolicy,
}

impl Default for SolveOptions {
    fn default() -> Self {
        Self {
            elimination: None,
            memory_limit: 16 << 30,
            refinement: Refinement::default(),
            iterative: IterativeOptions::default(),
            device_policy: DevicePolicy::default(),
        }
    }
}

/// How many starts are carried to the end, and how the others are ranked.
///
/// A start is *screened* on a seeded sample of rows where there are many, and the best are *finished* by the
/// inner loop. With given gates screening is a few rounds of alternation (rows under a fixed decoder, then the
/// decoder), and where all starts together cost little all are finished without it. Where rows choose their
/// atoms starts are always ranked, by successive halving.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Screening {
    /// Floating-point operations that finishing starts may cost, by a rough price of each. With given gates no
    /// start is screened where it covers all of them.
    pub budget: f64,
    /// The most rows of a screening sample; more where rows choose their atoms and the decoder needs them.
    pub rows: usize,
    /// Rounds of alternation, with given gates.
    pub rounds: usize,
    /// Starts that are finished after screening even where the budget covers fewer.
    pub finalists: usize,
}

impl Default for Screening {
    fn default() -> Self {
        Self {
            budget: 2e10,
            rows: 2048,
            rounds: 8,
            finalists: 1,
        }
    }
}

impl FitOptions {
    /// Checks what does not depend on the data.
    ///
    /// # Errors
    /// [`FitError::Option`] naming option, value and what is expected.
    pub fn validate(&self) -> Result<(), FitError> {
        let error = |option, value: String, expected| FitError::Option {
            option,
            value,
            expected,
        };
        if self.starts == 0 || self.starts > MAX_STARTS {
            let value = self.starts.to_string();
            return Err(error("starts", value, "at least 1 and at most 100000"));
        }
        if let Some(lambda) = self.lambda
            && !(lambda.is_finite() && lambda >= 0.0)
        {
            let expected = "a finite number of at least 0";
            return Err(error("lambda", lambda.to_string(), expected));
        }
        if let Some(seconds) = self.max_seconds
            && !(0.0..MAX_SECONDS).contains(&seconds)
        {
            let expected = "at least 0 and less than 1e9 seconds";
            return Err(error("max-seconds", seconds.to_string(), expected));
        }
        if let Some(field) = self.rule.out_of_range() {
            return Err(error("rule", format!("{:?}", self.rule), field));
        }
        let Screening {
            rows,
            rounds,
            finalists,
            budget,
        } = self.screening;
        if rows == 0 || finalists == 0 || rounds == 0 || budget.is_nan() {
            let value = format!("{:?}", self.screening);
            return Err(error(
                "screening",
                value,
                "at least one row, round and finalist",
            ));
        }
        Ok(())
    }
}

const MAX_STARTS: usize = 100_000;

const MAX_SECONDS: f64 = 1e9;
