//! The gate: its steps in order, one line each with its seconds.
//!
//! Every step runs whatever became of those before it, so that one run names all that is wrong.
//! A step that cannot run says so and is not counted as passed; it fails the gate under `--strict`.

use crate::examples;
use crate::shell::{self, Failure, Outcome};
use std::path::Path;
use std::time::Instant;
use xshell::cmd;

/// What to run.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Runs these steps only.
    steps: Vec<String>,
    /// Names the steps and runs none.
    #[arg(long)]
    list: bool,
    /// Fails where a step could not run.
    #[arg(long)]
    strict: bool,
}

struct Step {
    name: &'static str,
    what: &'static str,
    run: fn(&Path) -> Result<Outcome, Failure>,
}

/// The cheap ones first; one target folder and one profile for all that compiles.
const STEPS: &[Step] = &[
    Step {
        name: "tidy",
        what: "the rules about the source tree",
        run: crate::tidy::run,
    },
    Step {
        name: "format",
        what: "cargo fmt --check, here and in docs/tool",
        run: format,
    },
    Step {
        name: "licences",
        what: "licences and sources of the dependencies against deny.toml",
        run: crate::licences::run,
    },
    Step {
        name: "test",
        what: "the test command as it stands in README.md",
        run: crate::readme::run_test_command,
    },
    Step {
        name: "examples",
        what: "every example of every crate",
        run: examples::run,
    },
    Step {
        name: "fuzz",
        what: "a minute of mutated files through the readers of files",
        run: crate::fuzz::minute,
    },
    Step {
        name: "clippy",
        what: "clippy on all targets, warnings denied",
        run: clippy,
    },
    Step {
        name: "alone",
        what: "each crate compiles by itself, with the features that it asks for",
        run: alone,
    },
    Step {
        name: "report",
        what: "the book's tables are what the records give",
        run: |root| crate::bench::report(root, true),
    },
    Step {
        name: "docs",
        what: "API documentation and book, warnings denied, equations rendered, links checked",
        run: crate::docs::run,
    },
    Step {
        name: "kernels",
        what: "the device kernels compile for each supported architecture",
        run: crate::kernels::run,
    },
];

/// Runs the steps and prints one line a step.
///
/// # Errors
/// [`Failure::Steps`] names those that failed, or under `--strict` could not run.
pub(crate) fn run(root: &Path, options: &Options) -> Result<Outcome, Failure> {
    if options.list {
        for step in STEPS {
            println!("{:10} {}", step.name, step.what);
        }
        return Ok(Outcome::Passed);
    }
    let unknown = |name: &&String| STEPS.iter().all(|step| step.name != name.as_str());
    if let Some(name) = options.steps.iter().find(unknown) {
        return Err(Failure::Format {
            path: "ci".into(),
            message: format!("no step is called {name}; --list names them"),
        });
    }
    let chosen =
        |step: &&Step| options.steps.is_empty() || options.steps.iter().any(|s| s == step.name);
    let start = Instant::now();
    let mut lines = Vec::new();
    let mut failed = Vec::new();
    for step in STEPS.iter().filter(chosen) {
        eprintln!("== {}: {}", step.name, step.what);
        let begin = Instant::now();
        let outcome = (step.run)(root);
        let seconds = begin.elapsed().as_secs_f64();
        let (word, note) = match &outcome {
            Ok(Outcome::Passed) => ("ok", String::new()),
            Ok(Outcome::NotRun(reason)) => ("not run", reason.clone()),
            Err(failure) => ("FAILED", failure.to_string()),
        };
        if outcome.is_err() || (options.strict && word == "not run") {
            failed.push(step.name);
        }
        lines.push(format!("{word:8} {:10} {seconds:7.1} s  {note}", step.name));
        eprintln!("== {}", lines[lines.len() - 1].trim_end());
    }
    println!();
    for line in &lines {
        println!("{}", line.trim_end());
    }
    println!("total    {:18.1} s", start.elapsed().as_secs_f64());
    if failed.is_empty() {
        Ok(Outcome::Passed)
    } else {
        Err(Failure::Steps(failed))
    }
}

fn format(root: &Path) -> Result<Outcome, Failure> {
    let (sh, cargo) = shell::at(root)?;
    cmd!(sh, "{cargo} fmt --all --check").run()?;
    cmd!(
        sh,
        "{cargo} fmt --manifest-path docs/tool/Cargo.toml --check"
    )
    .run()?;
    Ok(Outcome::Passed)
}

fn clippy(root: &Path) -> Result<Outcome, Failure> {
    let (sh, cargo) = shell::at(root)?;
    let deny = ["--locked", "--all-targets", "--", "-D", "warnings"];
    cmd!(sh, "{cargo} clippy --workspace {deny...}").run()?;
    let tool = ["--manifest-path", "docs/tool/Cargo.toml"];
    let target = ["--target-dir", "target/docs-tool"];
    cmd!(sh, "{cargo} clippy {tool...} {target...} {deny...}").run()?;
    Ok(Outcome::Passed)
}

/// What is built together has the features that any of it asks for.
fn alone(root: &Path) -> Result<Outcome, Failure> {
    let (sh, cargo) = shell::at(root)?;
    let crates = examples::children(&root.join("crates"))?;
    shell::some(&crates, "crate", root)?;
    for folder in crates {
        let manifest = folder.join("Cargo.toml");
        cmd!(
            sh,
            "{cargo} check --quiet --locked --manifest-path {manifest}"
        )
        .run()?;
    }
    Ok(Outcome::Passed)
}
