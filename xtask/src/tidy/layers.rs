//! Rules about what may know what: dependencies point down.

use super::text::words;
use super::{Finding, Tree};

/// The crates from the lowest up. A crate may depend on those before it.
const LAYERS: &[&str] = &["device", "schur", "sae", "gate", "cli"];

/// The binding to the driver, known to one crate alone.
const BINDING: &str = concat!("cud", "arc");

/// The tables of a manifest that name dependencies.
const TABLES: &[&str] = &["dependencies", "build-dependencies", "dev-dependencies"];

/// Applies every rule.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    manifests(tree, &mut findings);
    binding(tree, &mut findings);
    examples(tree, &mut findings);
    findings
}

fn manifests(tree: &Tree, findings: &mut Vec<Finding>) {
    for source in &tree.sources {
        let path = source.path.as_str();
        let member = path.starts_with("crates/")
            || path.starts_with("xtask/")
            || path.starts_with("benches/")
            || path.starts_with("fuzz/");
        if !member || !path.ends_with("/Cargo.toml") {
            continue;
        }
        let mut find = |rule, message: String| findings.push(Finding::new(path, 0, rule, message));
        let table: toml::Table = match source.text.parse() {
            Ok(table) => table,
            Err(error) => {
                find("manifest", error.to_string());
                continue;
            }
        };
        let inherits =
            |key: &str| table.get(key).and_then(|t| t.get("workspace")?.as_bool()) == Some(true);
        if !inherits("lints") {
            find(
                "lints",
                "the workspace's lints are not inherited".to_owned(),
            );
        }
        if table.get("features").and_then(|t| t.get("cuda")).is_some() {
            find(
                "feature",
                "device code is always compiled and loaded at run time".to_owned(),
            );
        }
        let published = table
            .get("package")
            .and_then(|t| t.get("publish")?.as_bool())
            != Some(false);
        let name = source.crate_name();
        if name == Some("testkit") && published {
            find("testkit", "testkit is not published".to_owned());
        }
        let level = |name: &str| LAYERS.iter().position(|layer| *layer == name);
        for (kind, dependency) in dependencies(&table) {
            if dependency == BINDING && name != Some("device") {
                find(
                    "binding",
                    format!("only crates/device depends on {BINDING}"),
                );
            }
            let Some(lower) = dependency.strip_prefix("broadhead-") else {
                continue;
            };
            if lower == "testkit"
                && name.is_some_and(|n| n != "testkit")
                && kind != "dev-dependencies"
            {
                find(
                    "testkit",
                    format!("testkit stands in {kind}; it serves tests only"),
                );
            }
            let upward = match (name.and_then(level), level(lower)) {
                (Some(own), Some(other)) => other >= own,
                (None, Some(_)) | (_, None) => false,
            };
            if upward {
                let message = format!(
                    "depends on {lower}, which is not below it: {}",
                    LAYERS.join(" < ")
                );
                find("layers", message);
            }
        }
    }
}

/// Every dependency with the table it stands in, those of single targets included.
fn dependencies(table: &toml::Table) -> Vec<(&'static str, String)> {
    let targets = table.get("target").and_then(|t| t.as_table());
    let targets = targets
        .into_iter()
        .flat_map(|t| t.values())
        .filter_map(|t| t.as_table());
    let mut all = Vec::new();
    for table in std::iter::once(table).chain(targets) {
        for kind in TABLES {
            let names = table
                .get(*kind)
                .and_then(|t| t.as_table())
                .into_iter()
                .flat_map(|t| t.keys());
            all.extend(names.map(|name| (*kind, name.clone())));
        }
    }
    all
}

fn binding(tree: &Tree, findings: &mut Vec<Finding>) {
    for source in tree
        .sources
        .iter()
        .filter(|s| s.is("rs") && s.crate_name() != Some("device"))
    {
        for (i, line) in source.text.lines().enumerate() {
            if words(line, BINDING).next().is_some() {
                let message = format!("{BINDING} is known to crates/device alone");
                findings.push(Finding::new(&source.path, i + 1, "binding", message));
            }
        }
    }
}

fn examples(tree: &Tree, findings: &mut Vec<Finding>) {
    for name in tree.crates() {
        let folder = format!("crates/{name}/examples/");
        if !tree
            .sources
            .iter()
            .any(|s| s.is("rs") && s.path.starts_with(&folder))
        {
            let message = "no example: each crate shows one that runs on a CPU";
            findings.push(Finding::new(&folder, 0, "example", message));
        }
    }
}
