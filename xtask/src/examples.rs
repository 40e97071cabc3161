//! Builds and runs the examples: each crate has at least one, and each runs on the CPU without
//! arguments.
//!
//! They are built together, as the tests have built them already: a build of one crate's alone would
//! compile the dependencies anew, with fewer features.

use crate::shell::{self, Failure, Outcome};
use std::path::{Path, PathBuf};
use std::time::Instant;
use xshell::cmd;

/// What is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Example,
    Binary,
}

/// A program, built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Built {
    source: PathBuf,
    program: PathBuf,
}

/// Runs every `examples/*.rs` of every crate under `crates/`.
///
/// # Errors
/// An example was not built, or fails; those after it are not run.
pub(crate) fn run(root: &Path) -> Result<Outcome, Failure> {
    let sources = sources(root)?;
    let built = built(root, Kind::Example, &["--examples"])?;
    let (sh, _) = shell::at(root)?;
    for source in &sources {
        let begin = Instant::now();
        let program = program(&built, source)?;
        cmd!(sh, "{program}").run()?;
        let name = source.strip_prefix(root).unwrap_or(source);
        eprintln!(
            "   {}: {:.1} s",
            name.display(),
            begin.elapsed().as_secs_f64()
        );
    }
    Ok(Outcome::Passed)
}

/// Builds what of the workspace `which` says to cargo; of that, the programs of one kind.
///
/// # Errors
/// One does not compile, or two are of one name, so that one is the other's program.
pub(crate) fn built(root: &Path, kind: Kind, which: &[&str]) -> Result<Vec<Built>, Failure> {
    let (sh, cargo) = shell::at(root)?;
    let json = "--message-format=json-render-diagnostics";
    let said = cmd!(
        sh,
        "{cargo} build --quiet --locked --workspace {which...} {json}"
    )
    .read()?;
    let programs = artifacts(&said, kind).map_err(|error| Failure::Format {
        path: "what cargo says".into(),
        message: error.to_string(),
    })?;
    for (i, one) in programs.iter().enumerate() {
        let same = |other: &&Built| other.program == one.program;
        if let Some(other) = programs[..i].iter().find(same) {
            return Err(Failure::Format {
                path: one.source.clone(),
                message: format!("a program of the same name as {}", other.source.display()),
            });
        }
    }
    Ok(programs)
}

/// The program that was built of `source`.
///
/// # Errors
/// There is none.
pub(crate) fn program<'b>(built: &'b [Built], source: &Path) -> Result<&'b Path, Failure> {
    let of = |one: &&Built| one.source == source;
    match built.iter().find(of) {
        Some(one) => Ok(&one.program),
        None => Err(Failure::Format {
            path: source.to_path_buf(),
            message: "a program that cargo did not build".to_owned(),
        }),
    }
}

/// The programs of a kind among what cargo says it made, one JSON object a line.
///
/// # Errors
/// A line is no JSON.
fn artifacts(said: &str, kind: Kind) -> Result<Vec<Built>, serde_json::Error> {
    let wanted = match kind {
        Kind::Example => "example",
        Kind::Binary => "bin",
    };
    let mut programs = Vec::new();
    for line in said.lines() {
        let message: serde_json::Value = serde_json::from_str(line)?;
        let target = &message["target"];
        let kinds = target["kind"].as_array();
        let paths = (target["src_path"].as_str(), message["executable"].as_str());
        if let (Some(kinds), (Some(source), Some(program))) = (kinds, paths)
            && kinds.iter().any(|kind| kind == wanted)
        {
            programs.push(Built {
                source: source.into(),
                program: program.into(),
            });
        }
    }
    Ok(programs)
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
    crate::shell::some(&sources, "examples/*.rs of a crate", root)?;
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

    #[test]
    fn no_example_is_an_error_and_no_pass() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("crates/a/examples")).unwrap();
        let said = sources(root.path()).unwrap_err().to_string();
        assert!(said.contains("examples/*.rs"), "{said}");
    }

    fn line(kind: &str, name: &str, executable: bool) -> String {
        serde_json::json!({
            "reason": "compiler-artifact",
            "target": { "kind": [kind], "src_path": format!("/w/crates/a/examples/{name}.rs") },
            "executable": executable.then(|| format!("/w/target/debug/examples/{name}")),
        })
        .to_string()
    }

    #[test]
    fn programs_are_those_of_a_kind() {
        let said = [
            line("lib", "a", false),
            line("bin", "a", true),
            line("example", "one", true),
            r#"{"reason":"build-finished","success":true}"#.to_owned(),
            line("example", "two", true),
        ];
        assert!(artifacts("no JSON", Kind::Example).is_err());
        let found = artifacts(&said.join("\n"), Kind::Example).expect("it is JSON");
        let sources: Vec<_> = found.iter().map(|e| e.source.as_path()).collect();
        let expected = ["/w/crates/a/examples/one.rs", "/w/crates/a/examples/two.rs"];
        assert_eq!(sources, expected.map(Path::new));
        let binaries = artifacts(&said.join("\n"), Kind::Binary).expect("it is JSON");
        assert_eq!(binaries.len(), 1, "{binaries:?}");
        let one = program(&found, sources[0]).expect("it was built");
        assert_eq!(one, Path::new("/w/target/debug/examples/one"));
        let missing = program(&found, Path::new("/w/crates/a/examples/three.rs"));
        let said = missing.expect_err("it was not").to_string();
        assert!(
            said.contains("three.rs") && said.contains("did not build"),
            "{said}"
        );
    }
}
