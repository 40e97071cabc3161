//! Everything that ends a command early, and the exit code that it ends with.

use crate::input::{FileRows, InputError};
use crate::memory::Shortage;
use crate::message;
use crate::output::OutputError;
use crate::picture::PictureError;
use crate::words::WordError;
use broadhead_device::{Absence, DeviceError};
use broadhead_gate::ceilings::MeasureError;
use broadhead_sae::lm::LmError;
use broadhead_sae::{CurvedError, DictionaryError, FitError, NoVariation};
use broadhead_schur::{Error, Failure};
use rayon::ThreadPoolBuildError;
use std::path::{Path, PathBuf};

/// Why a command did not finish.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CliError {
    /// Options that contradict each other or the data.
    #[error("{0}")]
    Usage(String),
    /// A word that is not understood.
    #[error(transparent)]
    Word(#[from] WordError),
    /// A file that does not hold what is needed.
    #[error(transparent)]
    Input(#[from] InputError),
    /// A file that cannot be written, or must not be.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// Atoms that cannot be evaluated for a picture.
    #[error(transparent)]
    Picture(#[from] PictureError),
    /// Coordinates that cannot be averaged by labels.
    #[error("the means of labels: {0}")]
    Labels(#[from] DictionaryError),
    /// A system that cannot be solved.
    #[error("{}: {failure}", message::path(path))]
    System {
        /// The system's file.
        path: PathBuf,
        /// Why.
        failure: Failure,
    },
    /// A fit or an encoding that ended without a result.
    #[error(transparent)]
    Fit(#[from] FitError),
    /// Rows with no variation to fit.
    #[error("{array}: {reason}")]
    NoVariation {
        /// The rows, as errors about arrays name them.
        array: String,
        /// Why.
        reason: NoVariation,
    },
    /// Memory that is not available.
    #[error(transparent)]
    Memory(#[from] Shortage),
    /// The system gave not one thread.
    #[error("no thread can be started: {0}")]
    Threads(ThreadPoolBuildError),
    /// A required device is absent.
    #[error("--device required: {}", brief(.0))]
    Device(Absence),
    /// A device that is here and cannot be opened.
    #[error("the device cannot be opened: {0}")]
    OpenDevice(DeviceError),
    /// Rates that cannot be measured or kept.
    #[error(transparent)]
    Measure(#[from] MeasureError),
    /// A summary that cannot be written as JSON.
    #[error("the summary cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// The exit codes of every command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// A numerical or system failure.
    Failed = 1,
    /// Bad usage or bad input.
    BadInput = 2,
    /// Undetermined, or a required device is absent.
    Undetermined = 3,
}

impl CliError {
    /// The exit code of the program.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Input(InputError::TooLarge { .. } | InputError::Memory(_)) => Exit::Failed,
            Self::Usage(_) | Self::Word(_) | Self::Input(_) | Self::NoVariation { .. } => {
                Exit::BadInput
            }
            Self::Output(OutputError::OverInput { .. }) => Exit::BadInput,
            Self::Output(_)
            | Self::Picture(_)
            | Self::Labels(_)
            | Self::Json(_)
            | Self::OpenDevice(_)
            | Self::Measure(_)
            | Self::Memory(_)
            | Self::Threads(_) => Exit::Failed,
            Self::System { failure, .. } => of_failure(failure),
            Self::Fit(error) => of_fit(error),
            Self::Device(_) => Exit::Undetermined,
        }
    }

    /// The failure of a fit to `rows`, as errors name them. A required device that is absent is
    /// reported as in every command.
    pub fn fit(rows: &str, error: FitError) -> Self {
        match error {
            FitError::NoVariation(reason) => Self::NoVariation {
                array: rows.to_owned(),
                reason,
            },
            FitError::Solver(Error::Absent(absence))
            | FitError::Loop(LmError::Problem(CurvedError::Solver(Error::Absent(absence)))) => {
                Self::Device(absence)
            }
            other => Self::Fit(other),
        }
    }

    /// The failure of work over `rows`: an element that is not finite is named as in its file.
    pub fn of_rows(rows: &FileRows, error: FitError) -> Self {
        match error {
            FitError::NotFinite {
                array: "X",
                row,
                column,
                value,
            } => rows.not_finite([row, column], value).into(),
            other => Self::fit(&rows.name, other),
        }
    }

    /// The failure of the system in `path`. An element that is not finite is named like those of other
    /// arrays.
    pub fn system(path: &Path, failure: Failure) -> Self {
        if let Failure::Stop(Error::NotFinite {
            array,
            index,
            value,
        }) = failure
        {
            return InputError::NotFinite {
                array: format!("{}:{array}", message::path(path)),
                index,
                value,
            }
            .into();
        }
        Self::System {
            path: path.to_owned(),
            failure,
        }
    }
}

fn of_failure(failure: &Failure) -> Exit {
    match failure {
        Failure::NotPositiveDefinite(_) => Exit::Failed,
        Failure::Stop(error) => of_error(error),
    }
}

fn of_fit(error: &FitError) -> Exit {
    match error {
        FitError::Empty { .. }
        | FitError::NoVariation(_)
        | FitError::NotFinite { .. }
        | FitError::GatesShape { .. }
        | FitError::DecoderShape { .. }
        | FitError::Option { .. }
        | FitError::Dictionary(_) => Exit::BadInput,
        FitError::Solver(error) | FitError::Loop(LmError::Problem(CurvedError::Solver(error))) => {
            of_error(error)
        }
        _ => Exit::Failed,
    }
}

/// What the linear algebra refuses is bad input; what it tries and cannot do is a failure.
fn of_error(error: &Error) -> Exit {
    match error {
        Error::Shape(_)
        | Error::NotFinite { .. }
        | Error::Ridge { .. }
        | Error::Unsupported { .. }
        | Error::ClosureOperand { .. } => Exit::BadInput,
        Error::Absent(_) => Exit::Undetermined,
        _ => Exit::Failed,
    }
}

/// An absence in one short line. For a missing library it names the first and last of the many files
/// that were tried.
pub fn brief(absence: &Absence) -> String {
    match absence {
        Absence::Library { library, tried } => match tried.as_slice() {
            [first, _, .., last] => format!(
                "{library} is missing ({} file names tried, {first} to {last})",
                tried.len()
            ),
            _ => absence.to_string(),
        },
        other => other.to_string(),
    }
}
