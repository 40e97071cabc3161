//! The `broadhead` program.

use broadhead_cli::{Exit, args::Cli, threads};
use clap::Parser;
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    // The last resort: a fault of the program itself shows as one line and exit code 1.
    std::panic::set_hook(Box::new(|panic| {
        let message = panic.payload_as_str().unwrap_or("no message");
        let place = panic.location().map(ToString::to_string);
        let _ = writeln!(
            std::io::stderr(),
            "broadhead: internal fault at {}: {message}; please report it",
            place.as_deref().unwrap_or("an unknown place"),
        );
    }));
    let run = || {
        let cli = Cli::parse();
        match threads::start() {
            Ok(()) => broadhead_cli::run(&cli),
            Err(error) => broadhead_cli::failed(&error),
        }
    };
    let exit = std::panic::catch_unwind(run).unwrap_or(Exit::Failed);
    ExitCode::from(exit as u8)
}
