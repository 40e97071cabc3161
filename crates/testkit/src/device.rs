//! Device tests that are listed on every machine.
//!
//! A test target without the standard harness gives its tests to [`run`]. Without a device a test
//! shows as ignored, with the reason in its name; with `BROADHEAD_REQUIRE_DEVICE=1` it fails with
//! that reason instead. Tests that need none run everywhere.
//!
//! ```no_run
//! use broadhead_testkit::device::{Outcome, expect_eq, on_device, run, stream};
//!
//! fn zeros(context: &broadhead_device::Context) -> Outcome {
//!     let stream = stream(context)?;
//!     let zeros = stream.zeros::<f64>(3, "zeros")?;
//!     let found = stream.download(zeros.view(), broadhead_device::ByteClass::Other)?;
//!     expect_eq("zeros", found, vec![0.0; 3])
//! }
//!
//! let code = run(vec![on_device("zeros_are_zero", zeros)], &[]);
//! # drop(code);
//! ```

use broadhead_device::kernels::KernelSource;
use broadhead_device::{Absence, Context, DeviceError, Ledger, Refusal, Stream, kernels, probe};
use broadhead_schur::Error;
use libtest_mimic::Arguments;
pub use libtest_mimic::{Failed, Trial};
use std::path::PathBuf;
use std::process::{Command, ExitCode};

/// Runs the tests as the command line asks, one at a time: a witness counts all that the process
/// does, and memory is measured. Where a file for records is named ([`record`]), the counts go there.
///
/// With `BROADHEAD_SANITIZE=memcheck` (or `racecheck`, `initcheck`, `synccheck`) this program runs
/// itself under that tool of compute-sanitizer instead, and records what the tool found. Racecheck,
/// which makes a product of matrices take minutes, sees `kernels` alone and no library's; with
/// `BROADHEAD_SANITIZE_SECONDS` a tool that has not ended by then is ended, and recorded as not clean.
/// Under a filter that begins with `planted::` the tool must find something: those tests hold defects
/// on purpose.
pub fn run(tests: Vec<Trial>, kernels: &[&KernelSource]) -> ExitCode {
    if let Some(tool) = std::env::var_os(SANITIZE) {
        return sanitized(&tool.to_string_lossy(), kernels);
    }
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let counts = libtest_mimic::run(&arguments, tests);
    if !arguments.list {
        let what = serde_json::json!({
            "program": program(),
            "filter": arguments.filter,
            "under": std::env::var(UNDER).ok(),
            "passed": counts.num_passed, "failed": counts.num_failed,
            "ignored": counts.num_ignored, "filtered_out": counts.num_filtered_out,
        });
        if let Err(failed) = record("tests", what) {
            eprintln!(
                "{}",
                failed.message().unwrap_or("the counts were not recorded")
            );
            return ExitCode::FAILURE;
        }
    }
    counts.exit_code()
}

/// Names the tool of compute-sanitizer to run under.
const SANITIZE: &str = "BROADHEAD_SANITIZE";
/// Seconds that the tool may take.
const SECONDS: &str = "BROADHEAD_SANITIZE_SECONDS";
/// Tells the program under the tool which tool it is.
const UNDER: &str = "BROADHEAD_UNDER";
/// What compute-sanitizer exits with where it found something.
const FOUND: i32 = 86;

/// How much of their cases tests go through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// All.
    All,
    /// Some: under a tool of compute-sanitizer, where work takes several times as long.
    Some,
    /// The fewest and smallest that launch the same kernels: under racecheck, where work takes many
    /// times as long.
    Least,
}

impl Depth {
    /// That of this program as it runs.
    pub fn now() -> Self {
        Self::under(std::env::var(UNDER).ok().as_deref())
    }

    fn under(tool: Option<&str>) -> Self {
        match tool {
            None => Self::All,
            Some("racecheck") => Self::Least,
            Some(_) => Self::Some,
        }
    }

    /// Of `cases` random ones, so many: three under a tool, one under racecheck.
    pub fn of_random(self, cases: u32) -> u32 {
        match self {
            Self::All => cases,
            Self::Some => cases.min(3),
            Self::Least => cases.min(1),
        }
    }

    /// Of a list all, or under a tool those at `places`.
    pub fn of_list<'a, T>(
        self,
        list: &'a [T],
        places: &'static [usize],
    ) -> impl Iterator<Item = &'a T> + use<'a, T> {
        let all = self == Self::All;
        (list.iter().enumerate())
            .filter(move |(at, _)| all || places.contains(at))
            .map(|(_, entry)| entry)
    }
}

/// Whether this program runs under racecheck.
pub fn is_racechecked() -> bool {
    Depth::now() == Depth::Least
}

/// How the last word of a tool begins that found nothing.
const QUIET: [&str; 2] = ["ERROR SUMMARY: 0 errors", "RACECHECK SUMMARY: 0 hazards"];

/// Runs this program under `tool` and records the tool's last word.
fn sanitized(tool: &str, kernels: &[&KernelSource]) -> ExitCode {
    match under(tool, kernels) {
        Ok(code) => code,
        Err(failed) => {
            eprintln!(
                "{}",
                failed.message().unwrap_or("compute-sanitizer did not run")
            );
            ExitCode::from(3)
        }
    }
}

fn under(tool: &str, kernels: &[&KernelSource]) -> Result<ExitCode, Failed> {
    use std::io::{BufRead, BufReader};
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut command = match std::env::var_os(SECONDS) {
        Some(seconds) => {
            let mut command = Command::new("timeout");
            command.args(["--kill-after", "5"]).arg(seconds);
            command.arg("compute-sanitizer");
            command
        }
        None => Command::new("compute-sanitizer"),
    };
    let only = match tool {
        "racecheck" => kernels.iter().flat_map(|source| source.entries).collect(),
        _ => Vec::new(),
    };
    for name in &only {
        command.args(["--kernel-name", &format!("kernel_name={name}")]);
    }
    let mut child = command
        // A call that was probed and declined is no error of the program.
        .args(["--tool", tool, "--report-api-errors", "no"])
        .args(["--error-exitcode", &FOUND.to_string()])
        .arg(std::env::current_exe()?)
        .args(&arguments)
        .env_remove(SANITIZE)
        .env(UNDER, tool)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .map_err(|e| format!("{:?}: {e}", command.get_program()))?;
    let (mut summary, mut passed) = (None, 0u64);
    if let Some(output) = child.stdout.take() {
        for line in BufReader::new(output).lines() {
            let line = line?;
            eprintln!("{line}");
            if line.contains("SUMMARY") {
                summary = Some(line.trim_start_matches('=').trim().to_owned());
            }
            if let Some(counts) = line.strip_prefix("test result: ") {
                passed = counts
                    .split_whitespace()
                    .nth(1)
                    .map_or(0, |n| n.parse().unwrap_or(0));
            }
        }
    }
    let status = child.wait()?;
    // 124 and 137 are those of `timeout`, which a signal that it sends to itself takes with it.
    let in_time =
        std::env::var_os(SECONDS).is_none() || !matches!(status.code(), None | Some(124 | 137));
    let quiet =
        (summary.as_deref()).is_some_and(|said| QUIET.iter().any(|of| said.starts_with(of)));
    let clean = status.success() && quiet && passed > 0;
    let planted = (arguments.first()).is_some_and(|a| a.starts_with("planted::"));
    let what = serde_json::json!({
        "program": program(), "tool": tool, "kernels": match only.is_empty() {
            true => "all".to_owned(),
            false => format!("the {} of these crates", only.len()),
        },
        "arguments": arguments, "summary": summary, "exit": status.code(), "in_time": in_time,
        "passed": passed, "clean": clean, "planted": planted,
    });
    record("sanitizer", what)?;
    let wanted = if planted {
        status.code() == Some(FOUND)
    } else {
        clean
    };
    Ok(match wanted {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// The name of this program's file, as it was called.
fn program() -> String {
    let path = PathBuf::from(std::env::args_os().next().unwrap_or_default());
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// What a test answers.
pub type Outcome = Result<(), Failed>;

/// A test that needs a device.
pub fn on_device(name: &str, body: impl FnOnce(&Context) -> Outcome + Send + 'static) -> Trial {
    let required = std::env::var_os("BROADHEAD_REQUIRE_DEVICE").is_some_and(|v| v == "1");
    match probe::cuda() {
        Ok(_) => Trial::test(name, move || body(&Context::open(0)?)),
        Err(absence) if required => Trial::test(name, move || {
            Err(format!("a device is required: {absence}").into())
        }),
        Err(absence) => {
            let name = format!("{name} (skipped: {})", short(&absence));
            Trial::test(name, || Ok(())).with_ignored_flag(true)
        }
    }
}

/// A test that needs the compiler and no device.
pub fn with_compiler(name: &str, body: fn() -> Outcome) -> Trial {
    match kernels::compiler_version() {
        Ok(_) => Trial::test(name, body),
        Err(error) => {
            let reason = error.to_string();
            let reason = reason.split(" (tried").next().unwrap_or(&reason);
            let name = format!("{name} (skipped: {reason})");
            Trial::test(name, || Ok(())).with_ignored_flag(true)
        }
    }
}

/// A test that needs none.
pub fn anywhere(name: &str, body: fn() -> Outcome) -> Trial {
    Trial::test(name, body)
}

/// The reason without the list of names tried.
fn short(absence: &Absence) -> String {
    let text = absence.to_string();
    text.split(" (tried").next().unwrap_or(&text).to_owned()
}

/// A stream with an account of its own.
///
/// # Errors
/// Any error of the device.
pub fn stream(context: &Context) -> Result<Stream, Failed> {
    Ok(context.stream(&Ledger::new())?)
}

/// Fails with both values unless they are equal.
///
/// # Errors
/// Both values.
pub fn expect_eq<T: PartialEq + std::fmt::Debug>(what: &str, found: T, wanted: T) -> Outcome {
    if found == wanted {
        return Ok(());
    }
    Err(format!("{what}: found {found:?}, wanted {wanted:?}").into())
}

/// Fails unless `holds`.
///
/// # Errors
/// What did not hold.
pub fn expect(holds: bool, what: impl std::fmt::Display) -> Outcome {
    if holds {
        return Ok(());
    }
    Err(what.to_string().into())
}

/// That `make` is refused for want of the bytes that were `said`, of which there truly are fewer, and
/// allocates nothing on the way.
///
/// # Errors
/// What came instead.
pub fn expect_no_room<T>(
    stream: &Stream,
    said: u64,
    make: impl FnOnce() -> Result<T, Error>,
) -> Outcome {
    let before = stream.ledger().snapshot();
    match make().map(drop) {
        Err(Error::Device(DeviceError::Refusal(Refusal::Memory { needed, free, .. }))) => {
            expect_eq("bytes needed", needed, said)?;
            expect(needed > free, "it would have fitted")?;
        }
        other => return Err(format!("{other:?}").into()),
    }
    let moved = stream.ledger().snapshot().since(&before);
    expect_eq("allocations", moved.allocations, 0)
}

/// Appends one sealed line ([`broadhead_device::seal`]) to the file that `BROADHEAD_RECORDS` names, if
/// it names one: the kind, a receipt (commit and dirty as given in `BROADHEAD_COMMIT` and
/// `BROADHEAD_DIRTY` by whoever built this program, its digest, device, libraries) and `what`.
///
/// # Errors
/// The file cannot be written.
pub fn record(kind: &str, what: serde_json::Value) -> Outcome {
    use std::io::Write;
    let Some(path) = std::env::var_os("BROADHEAD_RECORDS") else {
        return Ok(());
    };
    let line = serde_json::json!({ "record": kind, "receipt": receipt()?, "what": what });
    let mut file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)?;
    // At once: several programs may write.
    let line = format!("{}\n", broadhead_device::seal::seal(&line.to_string()));
    file.write_all(line.as_bytes())?;
    Ok(())
}

/// What a record was taken with: commit, program, device, libraries.
fn receipt() -> Result<serde_json::Value, Failed> {
    let program = std::fs::read(std::env::current_exe()?)?;
    let digest = broadhead_device::seal::digest(&program);
    let report = probe::report();
    let libraries = report.components.iter().filter_map(|c| {
        let version = c.version.as_deref()?;
        Some(format!("{} {version}", c.name))
    });
    Ok(serde_json::json!({
        "commit": std::env::var("BROADHEAD_COMMIT").unwrap_or_else(|_| "not given".to_owned()),
        "dirty": std::env::var("BROADHEAD_DIRTY").unwrap_or_else(|_| "not given".to_owned()) != "false",
        "profile": if cfg!(debug_assertions) { "dev" } else { "release" },
        "program_sha256": digest,
        "device": report.devices.first(),
        "libraries": libraries.collect::<Vec<_>>(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_takes_a_part_of_the_cases_and_racecheck_the_least() {
        let depths = [None, Some("memcheck"), Some("racecheck")].map(Depth::under);
        assert_eq!(depths, [Depth::All, Depth::Some, Depth::Least]);
        assert_eq!(depths.map(|depth| depth.of_random(20)), [20, 3, 1]);
        assert_eq!(depths.map(|depth| depth.of_random(0)), [0; 3]);
        let taken = depths.map(|depth| depth.of_list(&[5, 6, 7], &[1, 2]).count());
        assert_eq!(taken, [3, 2, 2]);
        assert_eq!(Depth::Some.of_list(&[5, 6], &[1]).next(), Some(&6));
    }
}
