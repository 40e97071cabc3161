//! The words of the command line.

use crate::input::Source;
use crate::words::{AtomsWord, GatesWord};
use broadhead_device::DevicePolicy;
use broadhead_sae::model::basis::Basis;
use broadhead_sae::model::topology::Topology;
use broadhead_sae::{Acceptance, Amplitudes, Pulls};
use broadhead_schur::EliminationKind;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Fit curved dictionaries and solve block-arrowhead systems.
#[derive(Debug, Parser)]
#[command(
    name = "broadhead",
    version,
    about,
    long_about = "Fits dictionaries of curved atoms (circles, tori, cylinders, spheres, Euclidean \
        patches) to rows of data by Levenberg-Marquardt, and solves the block-arrowhead Newton systems behind \
        them.\n\n\
        Progress, warnings and logs go to standard error; a summary goes to standard output.",
    after_long_help = "Exit codes: 0 done (a fit that ran out of iterations is done, warns, and \
        says converged: false);\n1 failed; 2 bad usage or bad input; 3 undetermined, or a required \
        device is absent.\n\n\
        Logs: -v, -vv, -vvv, or the filter in BROADHEAD_LOG (for one: \
        BROADHEAD_LOG=broadhead_schur=debug)."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// What is printed, and where.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Options of every command.
#[derive(Clone, Copy, Debug, Args)]
pub struct OutputArgs {
    /// Print the summary as one JSON object and nothing else on standard output.
    #[arg(long, global = true)]
    pub json: bool,
    /// Say more on standard error: -v information, -vv details, -vvv everything.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Fit a dictionary of curved atoms to the rows of an array.
    Fit(Box<FitArgs>),
    /// Find the coordinates of new rows under a fitted dictionary.
    Encode(EncodeArgs),
    /// Solve one dense block-arrowhead Newton system.
    Solve(SolveArgs),
    /// Report which devices and libraries are here, with versions, and what is missing.
    Doctor(DoctorArgs),
}

/// What `--topology` takes, from the topologies that there are.
fn shapes() -> String {
    let known = Topology::words();
    format!("The shape of every atom, where --atoms is a number: {known}; a circle by default")
}

/// Options of `fit`.
#[derive(Debug, Args)]
pub struct FitArgs {
    /// Rows to fit: a 2-D array in .npy, .npz or .safetensors (FILE:NAME where there are several). More
    /// files of as many columns follow as one long array, in the order given.
    ///
    /// FP64, FP32, FP16 or BF16, which stay so in memory; C or Fortran order.
    #[arg(value_name = "X", required = true)]
    pub rows: Vec<Source>,
    /// The shape of every atom, where --atoms is a number; a circle by default.
    #[arg(long, value_name = "SHAPE", help = shapes())]
    pub topology: Option<Topology>,
    /// The functions on every atom: harmonics:H (circle, torus, cylinder), spherical:DEG (sphere, 1 or
    /// 2), monomials:DEG (euclidean, 1 or 2).
    ///
    /// By default the first degree of the shape's own functions: harmonics:1, spherical:1 or
    /// monomials:1. Functions of a cylinder are those of its angle, of its height, and their products.
    #[arg(long, value_name = "BASIS")]
    pub basis: Option<Basis>,
    /// How many atoms there are, or which: a list of SHAPE, N*SHAPE, SHAPE/BASIS or N*SHAPE/BASIS, as
    /// 32*circle,64*euclidean:1 or 2*torus/harmonics:1,3*cylinder/harmonics:2; 1 by default, or as in the
    /// model of --start.
    #[arg(long, value_name = "ATOMS", allow_negative_numbers = true)]
    pub atoms: Option<AtomsWord>,
    /// Which atoms are on in which row: all, top-k:N (chosen by reconstruction), or a file of
    /// amplitudes (rows x atoms, 0 is off).
    #[arg(long, value_name = "GATES", default_value = "all")]
    pub gates: GatesWord,
    /// The amplitude of an atom that is on: 1 (or what a file of --gates says), or a positive number fitted
    /// for every row, which makes a circle a cone; a file of --gates then says where atoms are on, and
    /// where amplitudes begin. One by default, or as in the model of --start.
    #[arg(long, value_name = "KIND")]
    pub amplitudes: Option<AmplitudesWord>,
    /// The share of the rows, chosen by --seed, that take no part in mean, scale and fit; they are encoded
    /// afterwards into the same files, listed in holdout.npy, and judged against the other rows' mean.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, allow_negative_numbers = true, value_parser = share)]
    pub holdout: f64,
    /// A model that the fit goes on from, the only start: the folder that `fit` wrote, or its
    /// model.safetensors. It gives atoms, decoder and both penalties (--lambda overrides its own).
    #[arg(long, value_name = "MODEL", conflicts_with = "starts")]
    pub start: Option<PathBuf>,
    /// A label for each row, one a line: they colour the picture and score the fit, which never sees
    /// them.
    #[arg(long, value_name = "FILE")]
    pub labels: Option<PathBuf>,
    /// How many starts are tried; the lowest objective wins.
    #[arg(long, value_name = "COUNT", default_value_t = 10, value_parser = at_least_one)]
    pub starts: usize,
    /// The seed of everything random. The same seed gives the same result.
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub seed: u64,
    /// The most accepted Levenberg-Marquardt steps of a fit.
    #[arg(long, value_name = "COUNT", default_value_t = 200)]
    pub max_iterations: usize,
    /// Wall time after which a fit ends with what it has.
    #[arg(long, value_name = "SECONDS", value_parser = finite_and_not_negative)]
    pub max_seconds: Option<f64>,
    /// The precision of products with the rows while they explore which atoms to choose; auto is single
    /// where all numbers of the data are of single precision.
    #[arg(long, value_name = "PRECISION", default_value = "auto")]
    pub pulls: PullsWord,
    /// Leave atoms where they are instead of moving those that explain little to where the errors are, which shows
    /// what that brings.
    #[arg(long)]
    pub no_relocation: bool,
    /// Leave out the swaps of a row's atoms after its choice, which shows what they bring.
    #[arg(long)]
    pub no_swaps: bool,
    /// When a row keeps its atoms unless others are better: in finishing rounds, always or never. The last two show
    /// what the first brings.
    #[arg(long, value_name = "WHEN", default_value = "finishing")]
    pub acceptance: AcceptanceWord,
    /// The penalty on the decoder; by default 1e-5 of the mean diagonal of its normal matrix.
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true, value_parser = finite_and_not_negative)]
    pub lambda: Option<f64>,
    /// How the Newton systems are solved. They are structured, which rows first does not serve.
    #[arg(long, value_name = "NAME", default_value = "auto")]
    pub elimination: EliminationWord,
    /// Whether a GPU may (auto), must not (off) or must (required) be used.
    #[arg(long, value_name = "POLICY", default_value = "auto")]
    pub device: DevicePolicy,
    /// The rates that eliminations and places are priced by: those that `doctor --measure` kept on this
    /// machine, else those that ship; or those that ship in any case.
    #[arg(long, value_name = "WHICH", default_value = "measured")]
    pub rates: RatesWord,
    /// The most memory that the program may have resident, in bytes or with K, M or G (powers of 1024). Rows for
    /// which there is no room beside the rest are read from their files tile by tile, which changes no bit.
    #[arg(long, value_name = "BYTES", allow_negative_numbers = true, value_parser = crate::memory::parse_bytes)]
    pub memory: Option<u64>,
    /// Write dense coordinates.npy and gates.npy of rows that choose their atoms however large they are.
    #[arg(long)]
    pub dense: bool,
    /// The folder for all outputs; created if absent.
    #[arg(short, long, value_name = "DIR", default_value = "broadhead-out")]
    pub output: PathBuf,
}

/// Options of `encode`.
#[derive(Debug, Args)]
pub struct EncodeArgs {
    /// New rows: a 2-D array with the columns of the rows that were fitted.
    #[arg(value_name = "X")]
    pub rows: Source,
    /// The folder that `fit` wrote (its model.safetensors is read), or that file.
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// The output, an .npz with coordinates, gates, squared_error and converged for every row.
    #[arg(short, long, value_name = "OUT.npz")]
    pub output: PathBuf,
    /// Which atoms are on in which row: all, top-k:N or a file; by default as in the fit of the model.
    #[arg(long, value_name = "GATES")]
    pub gates: Option<GatesWord>,
    /// The amplitude of an atom that is on, 1 or fitted; by default as in the model.
    #[arg(long, value_name = "KIND")]
    pub amplitudes: Option<AmplitudesWord>,
    /// Whether a GPU may (auto), must not (off) or must (required) be used.
    #[arg(long, value_name = "POLICY", default_value = "auto")]
    pub device: DevicePolicy,
    /// The most memory that the program may have resident, in bytes or with K, M or G (powers of 1024). Rows for
    /// which there is no room beside the rest are read from their file tile by tile, which changes no bit.
    #[arg(long, value_name = "BYTES", allow_negative_numbers = true, value_parser = crate::memory::parse_bytes)]
    pub memory: Option<u64>,
}

/// Options of `solve`.
#[derive(Debug, Args)]
pub struct SolveArgs {
    /// The system, an .npz with row_hessian (n,d,d), row_cross (n,d,k), row_gradient (n,d),
    /// border_hessian (k,k), border_gradient (k), and row_dims (n) where rows are padded.
    ///
    /// FP64, or FP32, which is widened; C or Fortran order. Symmetric blocks are read from their
    /// lower triangles.
    #[arg(value_name = "SYSTEM.npz")]
    pub system: PathBuf,
    /// The output, an .npz with delta_t (n,d), delta_beta (k), and log_det_hessian if the elimination
    /// gives it.
    #[arg(short, long, value_name = "STEP.npz")]
    pub output: PathBuf,
    /// Added to the diagonals of every row block.
    #[arg(long, value_name = "NUMBER", default_value_t = 0.0, allow_negative_numbers = true, value_parser = finite_and_not_negative)]
    pub ridge_t: f64,
    /// Added to the diagonal of the border.
    #[arg(long, value_name = "NUMBER", default_value_t = 0.0, allow_negative_numbers = true, value_parser = finite_and_not_negative)]
    pub ridge_beta: f64,
    /// How the system is solved.
    #[arg(long, value_name = "NAME", default_value = "auto")]
    pub elimination: SolveEliminationWord,
    /// Whether a GPU may (auto), must not (off) or must (required) be used.
    #[arg(long, value_name = "POLICY", default_value = "auto")]
    pub device: DevicePolicy,
    /// The rates that eliminations and places are priced by: those that `doctor --measure` kept on this
    /// machine, else those that ship; or those that ship in any case.
    #[arg(long, value_name = "WHICH", default_value = "measured")]
    pub rates: RatesWord,
}

/// Options of `doctor`.
#[derive(Clone, Copy, Debug, Args)]
pub struct DoctorArgs {
    /// Measure the rates that plans use, of the processor (a few seconds) and of a device if there is
    /// one (up to a minute), and keep them on disk.
    #[arg(long)]
    pub measure: bool,
}

/// Which rates the planner prices by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RatesWord {
    /// The rates that `doctor --measure` kept on this machine, else the shipped ones.
    Measured,
    /// The shipped ones.
    Shipped,
}

/// The eliminations of `fit`. Rows first is missing: it serves only dense systems, and those of `fit`
/// are structured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EliminationWord {
    /// The cheapest by the planner's prices.
    Auto,
    /// Border first.
    Border,
    /// The core of a structured system.
    Core,
    /// Conjugate gradients.
    Iterative,
    /// One dense factorization of everything (small systems).
    Reference,
}

/// The eliminations of `solve`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SolveEliminationWord {
    /// The cheapest by the planner's prices.
    Auto,
    /// Rows first.
    Rows,
    /// Border first.
    Border,
    /// Conjugate gradients on the Schur complement: no log-determinant.
    Iterative,
    /// One dense factorization of everything (small systems).
    Reference,
}

/// `--amplitudes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AmplitudesWord {
    /// 1, or what the gates give.
    One,
    /// A positive number of every row.
    Fitted,
}

impl From<AmplitudesWord> for Amplitudes {
    fn from(word: AmplitudesWord) -> Self {
        match word {
            AmplitudesWord::One => Self::One,
            AmplitudesWord::Fitted => Self::Fitted,
        }
    }
}

/// `--pulls`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PullsWord {
    /// Single precision where all numbers of the data are of it.
    Auto,
    /// Single precision.
    Fp32,
    /// Double precision.
    Fp64,
}

/// When rows keep their atoms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AcceptanceWord {
    /// In finishing rounds.
    Finishing,
    /// From the second round on.
    Always,
    /// In no round.
    Never,
}

impl AcceptanceWord {
    /// The word on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Finishing => "finishing",
            Self::Always => "always",
            Self::Never => "never",
        }
    }
}

impl From<AcceptanceWord> for Acceptance {
    fn from(word: AcceptanceWord) -> Self {
        match word {
            AcceptanceWord::Finishing => Self::Finishing,
            AcceptanceWord::Always => Self::Always,
            AcceptanceWord::Never => Self::Never,
        }
    }
}

impl PullsWord {
    /// The word on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Fp32 => "fp32",
            Self::Fp64 => "fp64",
        }
    }
}

impl From<PullsWord> for Pulls {
    fn from(word: PullsWord) -> Self {
        match word {
            PullsWord::Auto => Self::Auto,
            PullsWord::Fp32 => Self::Fp32,
            PullsWord::Fp64 => Self::Fp64,
        }
    }
}

impl EliminationWord {
    /// The elimination that is pinned; `None` leaves it to the planner.
    pub fn kind(self) -> Option<EliminationKind> {
        match self {
            Self::Auto => None,
            Self::Border => Some(EliminationKind::Border),
            Self::Core => Some(EliminationKind::Core),
            Self::Iterative => Some(EliminationKind::Iterative),
            Self::Reference => Some(EliminationKind::Reference),
        }
    }
}

impl SolveEliminationWord {
    /// The elimination that is pinned; `None` leaves it to the planner.
    pub fn kind(self) -> Option<EliminationKind> {
        match self {
            Self::Auto => None,
            Self::Rows => Some(EliminationKind::Rows),
            Self::Border => Some(EliminationKind::Border),
            Self::Iterative => Some(EliminationKind::Iterative),
            Self::Reference => Some(EliminationKind::Reference),
        }
    }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("expected at least 1".to_owned()),
        Ok(count) => Ok(count),
        Err(_) => Err("expected a whole number of at least 1".to_owned()),
    }
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if (0.0..1.0).contains(&number) => Ok(number),
        _ => Err("expected a number of at least 0 and less than 1".to_owned()),
    }
}

fn finite_and_not_negative(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() && number >= 0.0 => Ok(number),
        _ => Err("expected a finite number of at least 0".to_owned()),
    }
}
