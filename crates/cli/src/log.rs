//! Logs to standard error.

use crate::message;
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// The variable that holds a filter; it wins over `-v`.
pub const VARIABLE: &str = "BROADHEAD_LOG";

/// Starts logging: warnings, or more with each `-v`. A filter that cannot be parsed is reported and
/// ignored.
pub fn start(verbose: u8) {
    let level = match verbose {
        0 => "warn",
        1 => "info",
        2 => "debug",
        _ => "trace",
    };
    let (filter, fault) = match std::env::var(VARIABLE) {
        Ok(text) if !text.is_empty() => match EnvFilter::try_new(&text) {
            Ok(filter) => (filter, None),
            Err(error) => (
                EnvFilter::new(level),
                Some(format!(
                    "{:?}: {}",
                    message::name(&text),
                    message::name(&error.to_string())
                )),
            ),
        },
        _ => (EnvFilter::new(level), None),
    };
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(verbose > 1)
        .without_time();
    // A second call, as in tests of the library, keeps the first one's settings.
    if subscriber.try_init().is_ok()
        && let Some(fault) = fault
    {
        tracing::warn!("{VARIABLE} is not understood and left out: {fault}");
    }
}
