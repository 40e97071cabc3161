//! The book's recipe for a factor and a topology, executed: its patches are applied to a copy of this crate,
//! whose laws then run over the new topologies.
//!
//! The copy is a workspace of its own in which the crates below are links to the real ones, at the same paths
//! from its root, so that what is compiled of them serves again.

#![cfg(unix)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

/// This crate's folder in the patches' paths.
const HERE: &str = "crates/sae/";

/// Some lines of a file, and what stands there afterwards.
#[derive(Debug, Default)]
struct Hunk {
    /// A part of a line above them.
    below: String,
    before: Vec<String>,
    after: Vec<String>,
}

/// The patches of a page: for each block the file, below this crate, and its hunks.
fn patches(page: &str) -> Vec<(String, Vec<Hunk>)> {
    let blocks = page.split("```diff\n").skip(1);
    let blocks = blocks.filter_map(|rest| rest.split("\n```").next());
    blocks.map(patch).collect()
}

fn patch(block: &str) -> (String, Vec<Hunk>) {
    let mut file = String::new();
    let mut hunks: Vec<Hunk> = Vec::new();
    for line in block.lines() {
        if let Some(path) = line.strip_prefix("+++ b/") {
            file = path
                .strip_prefix(HERE)
                .expect("a file of this crate")
                .into();
        } else if let Some(below) = line.strip_prefix("@@ ") {
            hunks.push(Hunk {
                below: below.into(),
                ..Hunk::default()
            });
        } else if !line.starts_with("---") {
            let hunk = hunks.last_mut().expect("lines behind @@");
            let (kind, text) = line.split_at(1);
            if kind != "+" {
                hunk.before.push(text.into());
            }
            if kind != "-" {
                hunk.after.push(text.into());
            }
        }
    }
    (file, hunks)
}

fn apply(text: &str, hunk: &Hunk) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    let above = lines.iter().position(|line| line.contains(&hunk.below));
    let first = above.unwrap_or_else(|| panic!("no line has {:?}", hunk.below)) + 1;
    let count = hunk.before.len();
    let found = lines[first..]
        .windows(count)
        .position(|some| some == hunk.before);
    let at = first + found.unwrap_or_else(|| panic!("not found: {hunk:?}"));
    lines.splice(at..at + count, hunk.after.iter().map(String::as_str));
    lines.join("\n") + "\n"
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, name) = entry
            .map(|entry| (entry.path(), entry.file_name()))
            .unwrap();
        match path.is_dir() {
            true => copy(&path, &to.join(name)),
            false => fs::copy(&path, to.join(name)).map(|_| ()).unwrap(),
        }
    }
}

/// A workspace in `folder` that holds a copy of this crate without its tests.
fn workspace(root: &Path, folder: &Path) -> PathBuf {
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let lines = manifest.lines().map(|line| match line.split(' ').next() {
        Some("members") => r#"members = ["crates/*"]"#,
        Some("default-members") => "",
        _ => line,
    });
    let mut manifest = lines.collect::<Vec<_>>().join("\n");
    // Compiled anew each time: quickly, whatever the others are.
    manifest += "\n[profile.dev.package.broadhead-sae]\nopt-level = 0\ndebug = false\n";
    fs::write(folder.join("Cargo.toml"), manifest).unwrap();
    fs::copy(root.join("Cargo.lock"), folder.join("Cargo.lock")).unwrap();
    fs::create_dir(folder.join("crates")).unwrap();
    for name in ["crates/device", "crates/schur", "crates/testkit"] {
        symlink(root.join(name), folder.join(name)).unwrap();
    }
    let copied = folder.join("crates/extended");
    copy(&root.join(HERE).join("src"), &copied.join("src"));
    let manifest = fs::read_to_string(root.join(HERE).join("Cargo.toml")).unwrap();
    let manifest = manifest.split("[[test]]").next().unwrap();
    fs::write(copied.join("Cargo.toml"), manifest).unwrap();
    copied
}

#[test]
fn the_recipe_for_a_factor_and_a_product_compiles_and_keeps_the_laws() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap();
    let page = fs::read_to_string(root.join("docs/src/extending.md")).unwrap();
    let patches = patches(&page);
    let files: Vec<&str> = patches.iter().map(|(file, _)| file.as_str()).collect();
    // A factor touches one file, and so do the topologies made of it.
    assert_eq!(files, ["src/model/factor.rs", "src/model/topology.rs"]);
    let folder = tempfile::tempdir().unwrap();
    let copied = workspace(&root, folder.path());
    for (file, hunks) in &patches {
        let path = copied.join(file);
        let text = fs::read_to_string(&path).unwrap();
        let changed = hunks.iter().fold(text, |text, hunk| apply(&text, hunk));
        fs::write(&path, changed).unwrap();
    }
    // target/PROFILE/deps/this
    let program = std::env::current_exe().unwrap();
    let target = program.ancestors().nth(3).unwrap();
    let mut command = Command::new(env!("CARGO"));
    command
        .args(["test", "--offline", "--package", "broadhead-sae", "--lib"])
        .args(["--", "model::", "iterate::", "starts::"])
        .current_dir(folder.path())
        .env("CARGO_TARGET_DIR", target);
    let ran = command.output().unwrap();
    let said = [ran.stdout, ran.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(ran.status.success(), "{}\n{}", said[0], said[1]);
    let law = "model::fitted::tests::rows_of_every_topology_are_fitted_kept_and_encoded ... ok";
    assert!(said[0].contains(law), "{}", said[0]);
    // New topologies without a warning.
    assert!(!said[1].contains("warning"), "{}", said[1]);
}
