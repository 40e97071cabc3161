//! Mutated files for the readers of files, by the program in `fuzz`.

use crate::examples;
use crate::shell::{self, Failure, Outcome};
use std::path::Path;
use xshell::cmd;

/// How long the gate's step runs, all targets together.
const SECONDS: u64 = 60;

/// What to run.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Seconds, all targets together.
    #[arg(long, default_value_t = SECONDS)]
    seconds: u64,
    /// What the inputs are made from; by default the commit, so that every one looks elsewhere and
    /// each finds again what it found.
    #[arg(long)]
    seed: Option<u64>,
    /// Further arguments of `broadhead-fuzz`, as `--inputs 10000000 --record fuzz/records.jsonl`: with
    /// them the seconds are those given among them.
    #[arg(last = true)]
    rest: Vec<String>,
}

/// Runs the readers for some seconds.
///
/// # Errors
/// The build fails, or an input is found at which a limit is passed.
pub(crate) fn run(root: &Path, options: &Options) -> Result<Outcome, Failure> {
    let seed = match options.seed {
        Some(seed) => seed,
        None => commit(root)?,
    };
    // With the examples, and so with the features that the tests have built already.
    let which = ["--examples", "--bin", "broadhead-fuzz"];
    let built = examples::built(root, examples::Kind::Binary, &which)?;
    let program = examples::program(&built, &root.join("fuzz/src/main.rs"))?;
    let seed = seed.to_string();
    let rest = match options.rest.as_slice() {
        [] => vec!["--seconds".to_owned(), options.seconds.to_string()],
        given => given.to_vec(),
    };
    let (sh, _) = shell::at(root)?;
    // This task's own, which cargo set, is not the fuzzer's.
    cmd!(sh, "{program} --seed {seed} {rest...}")
        .env("CARGO_MANIFEST_DIR", root.join("fuzz"))
        .run()?;
    Ok(Outcome::Passed)
}

/// The gate's step: a minute.
///
/// # Errors
/// As [`run`].
pub(crate) fn minute(root: &Path) -> Result<Outcome, Failure> {
    let options = Options {
        seconds: SECONDS,
        seed: None,
        rest: Vec::new(),
    };
    run(root, &options)
}

/// The first 64 bits of the commit's name; 0 in a tree without history.
fn commit(root: &Path) -> Result<u64, Failure> {
    if !root.join(".git").exists() {
        return Ok(0);
    }
    let (sh, _) = shell::at(root)?;
    let name = cmd!(sh, "git rev-parse HEAD").read()?;
    let digits = name.get(..16).unwrap_or_default();
    u64::from_str_radix(digits, 16).map_err(|error| Failure::Format {
        path: ".git".into(),
        message: format!("the commit's name is not understood: {error}"),
    })
}
