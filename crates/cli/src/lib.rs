//! The command line of Broadhead: `fit`, `encode`, `solve`, `doctor`.
//!
//! Files come in through [`input`], summaries and files go out through [`output`], pictures are
//! drawn by [`plot`]. What is computed is computed elsewhere: dictionaries in `broadhead-sae`,
//! systems in `broadhead-schur`, devices in `broadhead-device`.
//!
//! Progress, warnings and logs go to standard error; a summary goes to standard output. Every
//! failure is a [`CliError`] with its exit code.

pub mod args;
pub mod commands;
pub mod digits;
mod error;
pub mod input;
pub mod labels;
pub mod log;
pub mod memory;
pub mod message;
pub mod model;
pub mod output;
pub mod picture;
pub mod plot;
pub mod progress;
pub mod threads;
pub mod words;

pub use error::{CliError, Exit, brief};

use args::{Cli, Command};

/// Runs one command, prints its summary or its error, and says how the program is to exit.
pub fn run(cli: &Cli) -> Exit {
    log::start(cli.output.verbose);
    let done = match &cli.command {
        Command::Fit(arguments) => commands::fit(arguments, cli.output),
        Command::Encode(arguments) => commands::encode(arguments, cli.output),
        Command::Solve(arguments) => commands::solve(arguments, cli.output),
        Command::Doctor(arguments) => commands::doctor(*arguments, cli.output),
    };
    match done {
        Ok(()) => Exit::Done,
        Err(error) => failed(&error),
    }
}

/// Says what went wrong, and how the program is to exit.
pub fn failed(error: &CliError) -> Exit {
    message::say(error);
    error.exit()
}
