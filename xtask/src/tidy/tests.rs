//! Each rule against a small tree that keeps it and one that breaks it.

use super::*;
use std::fs;

/// A tree that breaks no rule.
const CLEAN: &[(&str, &str)] = &[
    ("Cargo.toml", "[workspace]\n"),
    (
        "crates/device/Cargo.toml",
        "[package]\nname = 'broadhead-device'\n[lints]\nworkspace = true\n[dependencies]\nserde = '1'\n",
    ),
    (
        "crates/device/src/lib.rs",
        "//! Device.\nfn f() { unsafe { g() } }\n",
    ),
    (
        "crates/device/examples/a.rs",
        "//! Shows it.\nfn main() {}\n",
    ),
    (
        "crates/device/src/k.cu",
        "// y = a x\n__global__ void k() {}\n",
    ),
    (
        "crates/schur/Cargo.toml",
        "[package]\nname = 'broadhead-schur'\n[lints]\nworkspace = true\n\
         [dependencies]\nbroadhead-device = '1'\n[dev-dependencies]\nbroadhead-testkit = '1'\n",
    ),
    (
        "crates/schur/src/lib.rs",
        "//! Systems. Nothing here is unsafe; an issue of words, the # sign, r#0.\n\
         #![deny(unsafe_code)]\nconst S: &str = \"unsafe .ok\\u{28})?\";\n",
    ),
    ("crates/schur/examples/b.rs", "fn main() {}\n"),
    (
        "crates/testkit/Cargo.toml",
        "[package]\nname = 'broadhead-testkit'\npublish = false\n[lints]\nworkspace = true\n",
    ),
    ("crates/testkit/src/lib.rs", "//! Kit.\n"),
    ("crates/testkit/examples/c.rs", "fn main() {}\n"),
    ("target/debug/junk.rs", "fn f() { unsafe {} }\n"),
    (
        "README.md",
        "# Title\n\n## 2 things\n\nsee target/tmp/x and https://example.org/home/x\n",
    ),
];

/// The clean tree with `changes` written over it; the rules that then complain, with paths.
fn complaints(changes: &[(&str, &str)]) -> Vec<(&'static str, String)> {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in CLEAN.iter().chain(changes) {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let tree = Tree::read(folder.path()).unwrap();
    assert!(
        tree.sources
            .iter()
            .any(|s| s.path == "crates/schur/src/lib.rs")
    );
    findings(&tree)
        .into_iter()
        .map(|f| (f.rule, f.path))
        .collect()
}

/// Asserts that `text` at `path` is one finding of `rule` and that nothing else is.
fn breaks(rule: &'static str, path: &str, text: &str) {
    let expected = vec![(rule, path.to_owned())];
    assert_eq!(complaints(&[(path, text)]), expected, "{text}");
}

#[test]
fn a_clean_tree_has_no_findings() {
    assert_eq!(complaints(&[]), []);
}

#[test]
fn the_binding_stays_in_device() {
    let name = concat!("cud", "arc");
    breaks(
        "binding",
        "crates/schur/src/a.rs",
        &format!("//! A.\nuse {name}::driver;\n"),
    );
    breaks("binding", "xtask/src/a.rs", &format!("//! A, {name}.\n"));
    let manifest = format!(
        "[package]\nname = 'x'\n[lints]\nworkspace = true\n[target.'cfg(unix)'.dependencies]\n{name} = '1'\n"
    );
    breaks("binding", "benches/Cargo.toml", &manifest);
    let own = format!("//! A.\nuse {name}::driver;\n");
    assert_eq!(complaints(&[("crates/device/src/a.rs", &own)]), []);
}

#[test]
fn unsafe_code_stays_in_device() {
    breaks(
        "unsafe",
        "crates/schur/src/a.rs",
        "//! A.\nunsafe fn f() {}\n",
    );
    breaks(
        "unsafe",
        "crates/schur/tests/a.rs",
        "fn f() { unsafe { g() } }\n",
    );
    let launch = "//! A.\nconst TEXT: &str = include_str!(\"a.cu\");\nfn f() { unsafe { g() } }\n";
    assert_eq!(complaints(&[("crates/schur/src/a.rs", launch)]), []);
}

#[test]
fn unfinished_code_is_found() {
    for code in [
        concat!("to", "do!()"),
        concat!("unimple", "mented!(\"x\")"),
        concat!("x.ok", "()?;"),
        concat!("#[ign", "ore = \"slow\"]"),
    ] {
        breaks(
            "code",
            "crates/schur/src/a.rs",
            &format!("//! A.\n{code}\n"),
        );
        let quoted = format!("//! A, {code}\nconst A: &str = r#\"{code}\"#;\n");
        assert_eq!(complaints(&[("crates/schur/src/a.rs", &quoted)]), []);
    }
}

#[test]
fn markers_issue_numbers_and_machine_paths_are_found() {
    for marker in [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X"),
        concat!("HA", "CK"),
    ] {
        breaks(
            "marker",
            "crates/schur/src/a.rs",
            &format!("//! A.\n// {marker}: more\n"),
        );
        breaks("marker", "docs/src/a.md", &format!("{marker}\n"));
    }
    let number = concat!("#", "12");
    let numbered = concat!("Iss", "ue 7");
    for text in [number, numbered] {
        breaks(
            "issue",
            "crates/schur/src/a.rs",
            &format!("//! A ({text}).\n"),
        );
        breaks("issue", "docs/src/a.md", &format!("see {text}\n"));
    }
    for folder in ["home", "root", "tmp", "work", "Users", "mnt"] {
        let path = format!("const P: &str = \"{}{folder}/x\";", '/');
        breaks(
            "path",
            "crates/schur/src/a.rs",
            &format!("//! A.\n{path}\n"),
        );
    }
}

#[test]
fn dependencies_point_down() {
    let manifest = |name: &str, kind: &str, dependency: &str| {
        format!(
            "[package]\nname = '{name}'\npublish = false\n[lints]\nworkspace = true\n[{kind}]\n{dependency} = '1'\n"
        )
    };
    for (path, kind, dependency) in [
        (
            "crates/device/Cargo.toml",
            "dependencies",
            "broadhead-schur",
        ),
        (
            "crates/schur/Cargo.toml",
            "dev-dependencies",
            "broadhead-sae",
        ),
        (
            "crates/schur/Cargo.toml",
            "build-dependencies",
            "broadhead-gate",
        ),
        ("crates/schur/Cargo.toml", "dependencies", "broadhead-schur"),
    ] {
        breaks("layers", path, &manifest("x", kind, dependency));
    }
    for kind in ["dependencies", "build-dependencies"] {
        breaks(
            "testkit",
            "crates/schur/Cargo.toml",
            &manifest("x", kind, "broadhead-testkit"),
        );
    }
    let bench = manifest("x", "dependencies", "broadhead-testkit");
    assert_eq!(complaints(&[("benches/Cargo.toml", &bench)]), []);
}

#[test]
fn manifests_inherit_lints_and_hide_testkit() {
    breaks(
        "lints",
        "crates/schur/Cargo.toml",
        "[package]\nname = 'x'\n",
    );
    let published = "[package]\nname = 'x'\n[lints]\nworkspace = true\n";
    breaks("testkit", "crates/testkit/Cargo.toml", published);
    let feature = format!("{published}[features]\ncuda = []\n");
    breaks("feature", "crates/schur/Cargo.toml", &feature);
    breaks("manifest", "crates/schur/Cargo.toml", "[package\n");
}

#[test]
fn files_are_short_and_open_with_what_they_are() {
    let long = "//! A.\n".repeat(701);
    breaks("length", "crates/schur/src/a.rs", &long);
    assert_eq!(complaints(&[("crates/schur/src/a.rs", &long[7..])]), []);
    breaks("opening", "crates/schur/src/a.rs", "fn f() {}\n");
    assert_eq!(
        complaints(&[("crates/schur/src/a/tests.rs", "use super::*;\n")]),
        []
    );
    breaks(
        "opening",
        "crates/device/src/k.cu",
        "__global__ void k() {}\n",
    );
}

#[test]
fn equations_are_written_in_the_form_that_survives_markdown() {
    breaks("equation", "crates/schur/src/a.rs", "//! $$x$$\n");
}

#[test]
fn a_crate_without_an_example_is_found() {
    let manifest = "[package]\nname = 'x'\n[lints]\nworkspace = true\n";
    let expected = vec![("example", "crates/gate/examples/".to_owned())];
    assert_eq!(
        complaints(&[("crates/gate/Cargo.toml", manifest)]),
        expected
    );
}

#[test]
fn this_folder_passes_its_own_check() {
    let root = crate::shell::root();
    let tree = Tree::read(&root).unwrap();
    let own: Vec<_> = findings(&tree)
        .into_iter()
        .filter(|f| f.path.starts_with("xtask/"))
        .collect();
    assert_eq!(own, []);
}
