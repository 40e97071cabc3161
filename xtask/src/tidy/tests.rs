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
fn an_elimination_has_one_folder_with_both_of_its_halves() {
    for gone in ["cuda/a.rs", "cuda/structured/a.rs", "plan/price/a.rs"] {
        let path = format!("crates/schur/src/{gone}");
        breaks("folder", &path, "//! A.\n");
    }
    breaks(
        "folder",
        "crates/schur/src/elimination/rows.rs",
        "//! Rows.\n",
    );
    let halves = ["mod.rs", "host.rs", "device.rs", "work.rs"];
    let path = |half: &str| format!("crates/schur/src/elimination/rows_first/{half}");
    for missing in halves {
        let paths: Vec<_> = halves
            .iter()
            .filter(|h| **h != missing)
            .map(|h| path(h))
            .collect();
        let files: Vec<_> = paths
            .iter()
            .map(|path| (path.as_str(), "//! A.\n"))
            .collect();
        assert_eq!(complaints(&files), [("folder", path(""))], "{missing}");
    }
    let beside = ["mod.rs", "reference.rs"].map(|f| format!("crates/schur/src/elimination/{f}"));
    let paths: Vec<_> = halves.into_iter().map(path).chain(beside).collect();
    let files: Vec<_> = paths
        .iter()
        .map(|path| (path.as_str(), "//! A.\n"))
        .collect();
    assert_eq!(complaints(&files), []);
}

#[test]
fn an_elimination_is_named_at_home_alone() {
    for kind in ["Rows", "Border", "Core", "Iterative", "Reference"] {
        let named = format!("//! A.\nconst A: EliminationKind = EliminationKind::{kind};\n");
        for path in [
            "crates/schur/src/a.rs",
            "crates/sae/src/a.rs",
            "benches/src/a.rs",
        ] {
            breaks("home", path, &named);
        }
        for path in [
            "crates/schur/tests/a.rs",
            "crates/sae/src/a/tests.rs",
            "crates/schur/src/plan/candidates.rs",
            "crates/cli/src/args.rs",
        ] {
            assert_eq!(complaints(&[(path, &named)]), [], "{path}");
        }
        let tested = format!("//! A: EliminationKind::{kind}.\n#[cfg(test)]\n{named}");
        assert_eq!(complaints(&[("crates/schur/src/a.rs", &tested)]), []);
    }
    let reference = "//! A.\nconst A: EliminationKind = EliminationKind::Reference;\n";
    let home = "crates/schur/src/elimination/reference.rs";
    assert_eq!(complaints(&[(home, reference)]), []);
    // What is allowed and not needed any more, and once more than is allowed.
    let still = "crates/sae/src/lm/ended.rs";
    breaks("home", still, "//! A.\n");
    let named = "const A: EliminationKind = EliminationKind::Core;\n";
    assert_eq!(complaints(&[(still, &format!("//! A.\n{named}"))]), []);
    breaks("home", still, &format!("//! A.\n{named}{named}"));
}

#[test]
fn what_lists_allow_is_there() {
    let root = "crates/schur/src/plan/mod.rs";
    let found = complaints(&[(root, "//! A.\n")]);
    for (rule, path) in [
        ("home", "crates/sae/src/lm/ended.rs"),
        ("home", "benches/src/gpu/arrow.rs"),
    ] {
        assert!(found.contains(&(rule, path.to_owned())), "{found:?}");
    }
}

#[test]
fn two_types_of_one_name_are_found() {
    let own = "crates/schur/src/a.rs";
    for second in [
        "struct Same;",
        "pub enum Same {}",
        "pub(crate) trait Same {}",
        "pub(in crate::b) type Same<'a> = &'a ();",
    ] {
        let second = format!("//! B.\n{second}\n");
        let both = [
            (own, "//! A.\nstruct Same(u8);\n"),
            ("crates/schur/src/b.rs", second.as_str()),
        ];
        let expected = vec![("twice", "crates/schur/src/b.rs".to_owned())];
        assert_eq!(complaints(&both), expected, "{second}");
        let elsewhere = [both[0], ("crates/sae/src/b.rs", second.as_str())];
        assert_eq!(complaints(&elsewhere), []);
        let tests = format!("//! B.\n#[cfg(test)]\n{second}");
        assert_eq!(
            complaints(&[both[0], ("crates/schur/src/b.rs", tests.as_str())]),
            []
        );
    }
    // An associated type is none of a module's.
    let associated = "//! A.\ntrait A {\n    type B;\n}\ntrait C {\n    type B;\n}\n";
    assert_eq!(complaints(&[(own, associated)]), []);
}

#[test]
fn a_ninth_public_type_of_the_device_s_half_is_found() {
    let module = "crates/schur/src/device/mod.rs";
    let eight = "//! D.\npub use a::{\n    A1a, A2a, MOST,\n    A3a,\n};\npub use b::A4a;\npub(crate) use c::Inner;\n\
                 pub use d::{small, D as A5a};\npub struct A6a;\npub enum A7a {}\npub trait A8a {}\n\
                 pub fn f() {}\npub const MORE: u8 = 1;\nstruct Own;\npub(crate) struct Inside;\n";
    assert_eq!(complaints(&[(module, eight)]), []);
    for ninth in [
        "pub struct A9a;\n",
        "pub type A9a = u8;\n",
        "pub use e::A9a;\n",
        "pub use e::f::{g, A9a};\n",
        "pub use e::{\n    g,\n    A9a,\n};\n",
        "pub use e::h as A9a;\n",
    ] {
        breaks("family", module, &format!("{eight}{ninth}"));
    }
    let tested = format!("{eight}#[cfg(test)]\npub struct A9a;\n");
    assert_eq!(complaints(&[(module, &tested)]), []);
    let elsewhere = format!("{eight}pub struct A9a;\n");
    assert_eq!(complaints(&[("crates/schur/src/a.rs", &elsewhere)]), []);
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
