//! Rules about where an elimination stands, and what its parts are called.

use super::text::words;
use super::{Finding, Source, Tree};
use std::collections::{BTreeMap, BTreeSet};

/// Where the eliminations are, a folder each.
const ELIMINATIONS: &str = "crates/schur/src/elimination/";

/// What each folder has: equations, both halves, counts of work.
const HALVES: &[&str] = &["mod.rs", "host.rs", "device.rs", "work.rs"];

/// Files that stand beside the folders: the trait, and the specification of all.
const BESIDE: &[&str] = &["mod.rs", "reference.rs"];

/// Folders by mechanism, which the folders by elimination took the place of.
const GONE: &[&str] = &["crates/schur/src/cuda/", "crates/schur/src/plan/price/"];

/// The names of the eliminations, and where each is at home.
const KINDS: &[(&str, &str)] = &[
    ("Rows", "rows_first/"),
    ("Border", "border_first/"),
    ("Core", "core/"),
    ("Iterative", "conjugate_gradients/"),
    ("Reference", "reference.rs"),
];

/// Files that may name an elimination and are not at its home: the table of candidates, and the words of
/// the command line.
const MAY_NAME: &[&str] = &[
    "crates/cli/src/args.rs",
    "crates/schur/src/plan/candidates.rs",
];

/// Files that still do, and how often: a debt that only shrinks.
const STILL_NAME: &[(&str, usize)] = &[
    ("benches/src/gpu/arrow.rs", 2),
    ("benches/src/runner/contender.rs", 1),
    ("crates/gate/src/ceilings/cpu.rs", 1),
    ("crates/sae/src/lm/ended.rs", 1),
];

/// Crates in which no two types have one name.
const ONE_NAME: &[&str] = &["schur"];

/// Names that two types still have, a debt that only shrinks.
const STILL_TWICE: &[&str] = &[];

/// The device's half: one family of public types for systems of every kind.
const FAMILY: &str = "crates/schur/src/device/mod.rs";

/// The most types of it.
const MOST_TYPES: usize = 8;

/// Whether this tree is the project's, not a test's, so that what a list names is to be there.
fn is_whole(tree: &Tree) -> bool {
    let root = "crates/schur/src/plan/mod.rs";
    tree.sources.iter().any(|source| source.path == root)
}

/// Applies every rule.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    folders(tree, &mut findings);
    names(tree, &mut findings);
    twice(tree, &mut findings);
    family(tree, &mut findings);
    findings
}

/// One elimination, one folder.
fn folders(tree: &Tree, findings: &mut Vec<Finding>) {
    let mut eliminations: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for Source { path, .. } in &tree.sources {
        if let Some(gone) = GONE.iter().find(|gone| path.starts_with(*gone)) {
            let message = format!("nothing stands in {gone}: an elimination has one folder");
            findings.push(Finding::new(path, 0, "folder", message));
        }
        match path
            .strip_prefix(ELIMINATIONS)
            .map(|rest| rest.split_once('/'))
        {
            Some(Some((name, file))) => {
                eliminations.entry(name).or_default().insert(file);
            }
            Some(None)
                if !BESIDE
                    .iter()
                    .any(|file| path.ends_with(&format!("/{file}"))) =>
            {
                let message = "an elimination is a folder, with both of its halves";
                findings.push(Finding::new(path, 0, "folder", message));
            }
            _ => {}
        }
    }
    for (name, files) in eliminations {
        for half in HALVES.iter().filter(|half| !files.contains(*half)) {
            let path = format!("{ELIMINATIONS}{name}/");
            let message = format!("an elimination has {half}");
            findings.push(Finding::new(&path, 0, "folder", message));
        }
    }
}

/// An elimination is named at its home, in the table of candidates and on the command line.
fn names(tree: &Tree, findings: &mut Vec<Finding>) {
    for source in &tree.sources {
        let lines: Vec<_> = strangers(source).collect();
        let path = source.path.as_str();
        if MAY_NAME.contains(&path) {
            continue;
        }
        let still = STILL_NAME.iter().find(|(still, _)| *still == path);
        let allowed = still.map_or(0, |(_, count)| *count);
        if lines.len() < allowed {
            let message = format!(
                "names an elimination {} times: STILL_NAME has {allowed}",
                lines.len()
            );
            findings.push(Finding::new(path, 0, "home", message));
        }
        for (line, kind) in lines.into_iter().skip(allowed) {
            let message = format!("EliminationKind::{kind} is named away from its home");
            findings.push(Finding::new(path, line, "home", message));
        }
    }
    for (path, _) in STILL_NAME.iter().filter(|_| is_whole(tree)) {
        if !tree.sources.iter().any(|source| source.path == *path) {
            let message = "is not there any more: take it off STILL_NAME";
            findings.push(Finding::new(path, 0, "home", message));
        }
    }
}

/// Where a file's own code names an elimination that is not at home there; tests may.
fn strangers(source: &Source) -> impl Iterator<Item = (usize, &'static str)> {
    let tests = [
        "/tests/",
        "/tests.rs",
        "/examples/",
        "crates/testkit/",
        "xtask/",
        "fuzz/",
    ];
    let path = source.path.clone();
    let exempt = tests.iter().any(|part| path.contains(part));
    let code = own_code(source).filter(|_| !exempt).unwrap_or_default();
    let lines: Vec<_> = code.lines().map(str::to_owned).enumerate().collect();
    lines.into_iter().flat_map(move |(i, line)| {
        let found = KINDS.iter().filter(|(kind, home)| {
            let at_home = path.starts_with(&format!("{ELIMINATIONS}{home}"));
            let name = format!("EliminationKind::{kind}");
            !at_home && words(&line, &name).next().is_some()
        });
        found.map(|(kind, _)| (i + 1, *kind)).collect::<Vec<_>>()
    })
}

/// A name is of one type.
fn twice(tree: &Tree, findings: &mut Vec<Finding>) {
    for name in ONE_NAME {
        let mut types: BTreeMap<&str, Vec<(&str, usize)>> = BTreeMap::new();
        let folder = format!("crates/{name}/src/");
        for source in tree.sources.iter().filter(|s| s.path.starts_with(&folder)) {
            let code = own_code(source).unwrap_or_default();
            for (i, line) in code.lines().enumerate() {
                if let Some(name) = declared(line) {
                    types.entry(name).or_default().push((&source.path, i + 1));
                }
            }
        }
        for still in STILL_TWICE.iter().filter(|_| is_whole(tree)) {
            if !types.contains_key(still) {
                let message = format!("no type is a {still} any more: take it off STILL_TWICE");
                findings.push(Finding::new(&folder, 0, "twice", message));
            }
        }
        for (name, places) in types {
            let [first, others @ ..] = &places[..] else {
                continue;
            };
            let known = STILL_TWICE.contains(&name);
            if known && others.is_empty() {
                let message = format!("{name} is one type now: take it off STILL_TWICE");
                findings.push(Finding::new(first.0, first.1, "twice", message));
            }
            for (path, line) in others.iter().skip(usize::from(known)) {
                let message = format!("{} has a type {name} too", first.0);
                findings.push(Finding::new(path, *line, "twice", message));
            }
        }
    }
}

/// The device's half has few public types.
fn family(tree: &Tree, findings: &mut Vec<Finding>) {
    for source in tree.sources.iter().filter(|s| s.path == FAMILY) {
        let types = exported(own_code(source).unwrap_or_default());
        for (name, line) in types.into_iter().skip(MOST_TYPES) {
            let message = format!(
                "{name} is one public type more than the {MOST_TYPES} of the device's half"
            );
            findings.push(Finding::new(FAMILY, line, "family", message));
        }
    }
}

/// The public types of a module, its own and those that it exports, with their lines.
fn exported(code: &str) -> Vec<(&str, usize)> {
    let mut found = Vec::new();
    let mut using = false;
    for (i, line) in code.lines().enumerate() {
        let own = line.starts_with("pub ").then(|| declared(line)).flatten();
        found.extend(own.map(|name| (name, i + 1)));
        using |= line.starts_with("pub use ");
        if using {
            // The last name of a path, or the one that it is given; a module's begins with a small letter, a
            // constant has none.
            let names = line.split([',', '{', '}', ';']).filter_map(|part| {
                let name = part.rsplit([':', ' ']).find(|word| !word.is_empty())?;
                let is_type =
                    name.starts_with(char::is_uppercase) && name.contains(char::is_lowercase);
                is_type.then_some((name, i + 1))
            });
            found.extend(names);
            using = !line.contains(';');
        }
    }
    found
}

/// The type that a line declares for a whole module.
fn declared(line: &str) -> Option<&str> {
    let rest = match line.strip_prefix("pub") {
        Some(rest) => match rest.strip_prefix('(') {
            Some(inner) => inner.split_once(')')?.1,
            None => rest,
        }
        .strip_prefix(' ')?,
        None => line,
    };
    let kinds = ["struct ", "enum ", "trait ", "type ", "union "];
    let rest = kinds.iter().find_map(|kind| rest.strip_prefix(kind))?;
    let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_'));
    Some(&rest[..end.unwrap_or(rest.len())])
}

/// The code of a Rust file before its tests.
fn own_code(source: &Source) -> Option<&str> {
    let code = source.lexed.as_ref().filter(|_| source.is("rs"))?;
    let end = code.code.find("#[cfg(test)]");
    Some(&code.code[..end.unwrap_or(code.code.len())])
}
