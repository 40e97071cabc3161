//! Builds and runs the examples: each crate has at least one, and each runs on the CPU without
//! arguments.
//!
//! They are built together, as the tests have built them already: a build of one crate's alone would
//! compile the dependencies anew, with fewer features.

use crate::shell::{self, Failure, Outcome};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// An example, built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Example {
    source: PathBuf,
    program: PathBuf,
}

/// Runs every `examples/*.rs` of every crate under `crates/`.
///
/// # Errors
/// An example was not built, or fails; those after it are not run.
pub(crate) fn run(root: &Path) -> Result<Outcome, Failure> {
    let sources = sources(root)?;
    let built = built(root, &["--examples"])?;
    for source in &sources {
        let begin = Instant::now();
        shell::run(&mut program(root, &built, source)?)?;
        let name = source.strip_prefix(root).unwrap_or(source);
        eprintln!(
            "   {}: {:.1} s",
            name.display(),
            begin.elapsed().as_secs_f64()
        );
    }
    Ok(Outcome::Passed)
}

/// Builds the examples of the workspace that `which` says to cargo.
///
/// # Errors
/// One does not compile, or two are of one name, so that one is the other's program.
pub(crate) fn built(root: &Path, which: &[&str]) -> Result<Vec<Example>, Failure> {
    let said = shell::output(
        shell::cargo(root)
            .args(["build", "--quiet", "--locked", "--workspace"])
            .args(which)
            .arg("--message-format=json-render-diagnostics"),
    )?;
    let examples = artifacts(&said).map_err(|error| Failure::Format {
        path: "what cargo says".into(),
        message: error.to_string(),
    })?;
    for (i, example) in examples.iter().enumerate() {
        let same = |other: &&Example| other.program == example.program;
        if let Some(other) = examples[..i].iter().find(same) {
            return Err(Failure::Format {
                path: example.source.clone(),
                message: format!("an example of the same name as {}", other.source.display()),
            });
        }
    }
    Ok(examples)
}

/// The program that was built of `source`, to be run in the root.
///
/// # Errors
/// There is none.
pub(crate) fn program(root: &Path, built: &[Example], source: &Path) -> Result<Command, Failure> {
    let of = |example: &&Example| example.source == source;
    let Some(example) = built.iter().find(of) else {
        return Err(Failure::Format {
            path: source.to_path_buf(),
            message: "an example that cargo did not build".to_owned(),
        });
    };
    let mut command = Command::new(&example.program);
    command.current_dir(root);
    Ok(command)
}

/// The examples among what cargo says it made, one JSON object a line.
///
/// # Errors
/// A line is no JSON.
fn artifacts(said: &str) -> Result<Vec<Example>, serde_json::Error> {
    let mut examples = Vec::new();
    for line in said.lines() {
        let message: serde_json::Value = serde_json::from_str(line)?;
        let target = &message["target"];
        let kinds = target["kind"].as_array();
        let paths = (target["src_path"].as_str(), message["executable"].as_str());
        if let (Some(kinds), (Some(source), Some(program))) = (kinds, paths)
            && kinds.iter().any(|kind| kind == "example")
        {
            examples.push(Example {
                source: source.into(),
                program: program.into(),
            });
        }
    }
    Ok(examples)
}

/// Every `examples/*.rs`, by crate and name.
fn sources(root: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut sources = Vec::new();
    for package in children(&root.join("crates"))? {
        let folder = package.join("examples");
        if folder.is_dir() {
            sources.extend(children(&folder)?);
        }
    }
    sources.retain(|source| source.extension().is_some_and(|e| e == "rs"));
    Ok(sources)
}

/// The entries of a folder, by name.
///
/// # Errors
/// It can not be read.
pub(crate) fn children(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut entries = std::fs::read_dir(folder)
        .and_then(|entries| {
            entries
                .map(|e| e.map(|e| e.path()))
                .collect::<Result<Vec<_>, _>>()
        })
        .map_err(Failure::file(folder))?;
    entries.sort();
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(kind: &str, name: &str, executable: bool) -> String {
        serde_json::json!({
            "reason": "compiler-artifact",
            "target": { "kind": [kind], "src_path": format!("/w/crates/a/examples/{name}.rs") },
            "executable": executable.then(|| format!("/w/target/debug/examples/{name}")),
        })
        .to_string()
    }

    #[test]
    fn programs_are_those_of_examples() {
        let said = [
            line("lib", "a", false),
            line("bin", "a", true),
            line("example", "one", true),
            r#"{"reason":"build-finished","success":true}"#.to_owned(),
            line("example", "two", true),
        ];
        assert!(artifacts("no JSON").is_err());
        let found = artifacts(&said.join("\n")).expect("it is JSON");
        let sources: Vec<_> = found.iter().map(|e| e.source.as_path()).collect();
        let expected = ["/w/crates/a/examples/one.rs", "/w/crates/a/examples/two.rs"];
        assert_eq!(sources, expected.map(Path::new));
        let root = Path::new("/w");
        let one = program(root, &found, sources[0]).expect("it was built");
        assert_eq!(one.get_program(), "/w/target/debug/examples/one");
        let missing = program(root, &found, Path::new("/w/crates/a/examples/three.rs"));
        let said = missing.expect_err("it was not").to_string();
        assert!(
            said.contains("three.rs") && said.contains("did not build"),
            "{said}"
        );
    }
}
