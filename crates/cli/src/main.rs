//! The `broadhead` program.

use broadhead_cli::{Exit, args::Cli, message, threads};
use clap::Parser;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

fn main() -> ExitCode {
    // The last resort: a fault of the program itself shows as one line and exit code 1.
    std::panic::set_hook(Box::new(|panic| {
        let message = panic.payload_as_str().unwrap_or("no message");
        let place = panic.location().map(ToString::to_string);
        message::say(format_args!(
            "internal fault at {}: {message}; please report it",
            place.as_deref().unwrap_or("an unknown place"),
        ));
    }));
    let exit = std::panic::catch_unwind(|| match Cli::try_parse() {
        Ok(cli) => match threads::start() {
            Ok(()) => broadhead_cli::run(&cli),
            Err(error) => broadhead_cli::failed(&error),
        },
        Err(answer) => say(&answer),
    });
    ExitCode::from(exit.unwrap_or(Exit::Failed) as u8)
}

/// Prints help and versions to standard output, and errors of the command line to standard error. They
/// quote words that may contain anything, so they are escaped.
fn say(answer: &clap::Error) -> Exit {
    let plain = answer.render().to_string();
    let escaped = message::for_terminal(&plain);
    let styled = escaped == plain && std::io::stderr().is_terminal();
    if styled || !answer.use_stderr() {
        // The library knows whether its stream takes colours. If printing fails there is nobody to
        // tell.
        let _ = answer.print();
    } else {
        let _ = std::io::stderr().write_all(escaped.as_bytes());
    }
    if answer.use_stderr() {
        Exit::BadInput
    } else {
        Exit::Done
    }
}
