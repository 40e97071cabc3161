//! The unsafe code that needs no device, under tools that watch every access to memory.
//!
//! | tool | what it needs | what it sees |
//! |---|---|---|
//! | Miri | a nightly toolchain with Miri | all undefined behaviour of Rust's own code |
//! | AddressSanitizer | what the stable toolchain brings | accesses outside of what is allocated |
//! | valgrind | valgrind | the same, and numbers that were never written |
//!
//! All run the tests called `host_only` of `broadhead-device`. A tool counts only if it finds the fault
//! that is planted among them; without that its silence shows nothing. Neither of the last two stands
//! for Miri, which alone knows the rules of references, alignment and validity: where it is not here,
//! the outcome is *not run*, whatever the others say.

use crate::shell::{self, Failure, Outcome};
use std::io::Write;
use std::path::{Path, PathBuf};
use xshell::{Cmd, Shell, cmd};

/// The crate with the tests, and their name.
const CRATE: &str = "broadhead-device";
const TESTS: &str = "host_only";
/// The test that has a fault where this variable is set.
const PLANTED: (&str, &str) = ("runtime::host::host_only::planted", "BROADHEAD_PLANTED");

/// Which tools run.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Runs these tools only.
    #[arg(long = "under", value_enum, value_delimiter = ',')]
    tools: Vec<Tool>,
    /// Adds a line for each tool to this file: what it was, how many tests it ran, what it found.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
}

/// A tool that watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Tool {
    Miri,
    Asan,
    Valgrind,
}

/// Runs the tests under every tool that is here.
///
/// # Errors
/// A test fails under a tool, or a tool does not find the planted fault.
pub(crate) fn run(root: &Path, options: &Options) -> Result<Outcome, Failure> {
    let all = [Tool::Miri, Tool::Asan, Tool::Valgrind];
    let chosen = match options.tools.as_slice() {
        [] => &all[..],
        some => some,
    };
    let mut missing = Vec::new();
    for &tool in chosen {
        let line = match tool.version() {
            Err(reason) => {
                eprintln!("{}: not run: {reason}", tool.name());
                missing.push(format!("{}: {reason}", tool.name()));
                serde_json::json!({ "tool": tool.name(), "outcome": "not run", "reason": reason })
            }
            Ok(version) => {
                let tests = watched(root, tool)?;
                eprintln!(
                    "{}: {tests} tests without a fault, the planted one found",
                    tool.name()
                );
                serde_json::json!({
                    "tool": tool.name(),
                    "version": version,
                    "outcome": "passed",
                    "tests": tests,
                    "planted": "found",
                    "commit": commit(root)?,
                })
            }
        };
        if let Some(path) = &options.record {
            let file = std::fs::File::options()
                .create(true)
                .append(true)
                .open(path);
            let mut file = file.map_err(Failure::file(path))?;
            writeln!(file, "{line}").map_err(Failure::file(path))?;
        }
    }
    Ok(match missing.is_empty() {
        true => Outcome::Passed,
        false => Outcome::NotRun(missing.join("; ")),
    })
}

/// Runs the tests under a tool that is here, and then the planted fault; returns how many tests ran.
fn watched(root: &Path, tool: Tool) -> Result<usize, Failure> {
    let fault = |message: String| Failure::Format {
        path: tool.name().into(),
        message,
    };
    let (sh, _) = shell::at(root)?;
    let said = tool.tests(&sh, root)?.arg(TESTS).read()?;
    println!("{said}");
    let tests = passed(&said).ok_or_else(|| fault("it says of no test that it passed".into()))?;
    let planted = tool.tests(&sh, root)?;
    let planted = planted.args([PLANTED.0, "--exact"]).env(PLANTED.1, "1");
    let output = planted.ignore_status().output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() || !said.contains(tool.verdict()) {
        return Err(fault(format!("the planted fault was not found: {said}")));
    }
    Ok(tests)
}

/// How many tests passed, where at least one did.
fn passed(said: &str) -> Option<usize> {
    let counts = said.lines().filter_map(|line| {
        let (_, rest) = line.split_once("test result: ok. ")?;
        rest.split_once(" passed")?.0.parse::<usize>().ok()
    });
    Some(counts.sum()).filter(|count| *count > 0)
}

fn commit(root: &Path) -> Result<String, Failure> {
    let (sh, _) = shell::at(root)?;
    Ok(cmd!(sh, "git rev-parse HEAD").read()?)
}

impl Tool {
    fn name(self) -> &'static str {
        match self {
            Self::Miri => "miri",
            Self::Asan => "asan",
            Self::Valgrind => "valgrind",
        }
    }

    /// What the tool says where it finds the planted fault.
    fn verdict(self) -> &'static str {
        match self {
            Self::Miri => "Undefined Behavior",
            Self::Asan => "heap-buffer-overflow",
            Self::Valgrind => "Invalid read",
        }
    }

    /// Its version, or why it cannot run.
    fn version(self) -> Result<String, String> {
        if self == Self::Asan && !cfg!(target_os = "linux") {
            return Err("AddressSanitizer is used on Linux only".to_owned());
        }
        let sh = Shell::new().map_err(|error| error.to_string())?;
        let command = match self {
            // The toolchain that runs this command is not to choose Miri's.
            Self::Miri => cmd!(sh, "cargo +nightly miri --version").env_remove("RUSTUP_TOOLCHAIN"),
            Self::Asan => cmd!(sh, "rustc --version").env_remove("RUSTUP_TOOLCHAIN"),
            Self::Valgrind => cmd!(sh, "valgrind --version"),
        };
        let words = command.to_string();
        match command.ignore_status().output() {
            Err(error) => Err(error.to_string()),
            Ok(output) if output.status.success() => {
                Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
            }
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr);
                let first = said.lines().next().unwrap_or("it says nothing");
                Err(format!("{words}: {first}"))
            }
        }
    }

    /// The command that runs tests under the tool, but for their names.
    fn tests<'s>(self, sh: &'s Shell, root: &Path) -> Result<Cmd<'s>, Failure> {
        let which = ["--package", CRATE, "--lib", "--target-dir", "target/memory"];
        Ok(match self {
            Self::Miri => cmd!(sh, "cargo +nightly miri test --locked {which...} --")
                .env_remove("RUSTUP_TOOLCHAIN")
                .env("MIRIFLAGS", format!("-Zmiri-env-forward={}", PLANTED.1)),
            Self::Asan => {
                let (_, cargo) = shell::at(root)?;
                // A target that is named keeps the switch from build scripts and macros.
                let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
                // The stable toolchain brings the sanitizer and calls its switch unstable.
                cmd!(sh, "{cargo} test --locked {which...} --target {target} --")
                    .env("RUSTC_BOOTSTRAP", "1")
                    .env("RUSTFLAGS", "-Zsanitizer=address")
            }
            Self::Valgrind => {
                let program = built(root)?;
                let valgrind = ["--quiet", "--error-exitcode=99"];
                cmd!(sh, "valgrind {valgrind...} {program} --test-threads=1")
            }
        })
    }
}

/// The program of the crate's own tests.
fn built(root: &Path) -> Result<PathBuf, Failure> {
    let (sh, cargo) = shell::at(root)?;
    let json = "--message-format=json-render-diagnostics";
    let said = cmd!(
        sh,
        "{cargo} test --locked --workspace --lib --no-run {json}"
    )
    .read()?;
    let mut program = None;
    for line in said.lines() {
        let message: serde_json::Value =
            serde_json::from_str(line).map_err(|error| Failure::Format {
                path: root.to_path_buf(),
                message: format!("cargo said what is no message ({error}): {line}"),
            })?;
        if message["target"]["name"] == CRATE.replace('-', "_") {
            let executable = message["executable"].as_str();
            program = program.or(executable.map(PathBuf::from));
        }
    }
    program.ok_or_else(|| Failure::Format {
        path: root.to_path_buf(),
        message: format!("cargo built no tests of {CRATE}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_in_which_no_test_passed_is_no_pass() {
        let of = |passed: usize| {
            format!("test result: ok. {passed} passed; 0 failed; 0 ignored; 0 measured")
        };
        assert_eq!(passed(&of(7)), Some(7));
        assert_eq!(passed(&of(0)), None);
        assert_eq!(passed(""), None);
        assert_eq!(passed("test result: FAILED. 7 passed; 1 failed"), None);
    }
}
