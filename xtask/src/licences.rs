//! Licences and sources of every dependency against `deny.toml`.
//!
//! The part of cargo-deny that needs no database, without its compile time: `[licenses] allow`,
//! `[bans] deny` by name and `[sources]`. cargo-deny reads the same file where it is installed. The
//! program in `docs/tool` is not looked at: nothing that ships links it (mdBook is MPL-2.0).

use crate::shell::{self, Failure, Outcome};
use serde_json::Value;
use std::path::Path;

/// What `deny.toml` says.
#[derive(Debug, Default)]
struct Policy {
    licences: Vec<String>,
    banned: Vec<String>,
    registries: Vec<String>,
}

/// Checks the packages of the lock file that this host's target needs.
///
/// # Errors
/// A package with no licence that is allowed, a banned one, or one from elsewhere.
pub(crate) fn run(root: &Path) -> Result<Outcome, Failure> {
    let path = root.join("deny.toml");
    let text = std::fs::read_to_string(&path).map_err(Failure::file(&path))?;
    let policy = parse(&text).map_err(|message| Failure::Format { path, message })?;
    let metadata = metadata(root)?;
    let packages = metadata["packages"].as_array().cloned().unwrap_or_default();
    let mut findings: Vec<String> = packages.iter().flat_map(|p| check(p, &policy)).collect();
    findings.sort();
    for finding in &findings {
        eprintln!("{finding}");
    }
    match findings.len() {
        0 => Ok(Outcome::Passed),
        count => Err(Failure::Findings {
            count,
            what: "dependencies that deny.toml does not allow",
        }),
    }
}

fn metadata(root: &Path) -> Result<Value, Failure> {
    let version = shell::output(std::process::Command::new("rustc").arg("-vV"))?;
    let host = version
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .unwrap_or_default()
        .to_owned();
    let text = shell::output(
        shell::cargo(root)
            .args(["metadata", "--format-version", "1", "--locked"])
            .args(["--filter-platform", &host]),
    )?;
    serde_json::from_str(&text).map_err(|e| Failure::Format {
        path: root.join("Cargo.toml"),
        message: e.to_string(),
    })
}

fn parse(text: &str) -> Result<Policy, String> {
    let table: toml::Table = text.parse().map_err(|e: toml::de::Error| e.to_string())?;
    let list = |section: &str, key: &str| -> Result<Vec<toml::Value>, String> {
        let value = table
            .get(section)
            .and_then(|section| section.get(key)?.as_array());
        value.cloned().ok_or(format!("no list {section}.{key}"))
    };
    let strings = |values: Vec<toml::Value>, key: Option<&str>| -> Vec<String> {
        let text = |value: &toml::Value| match key {
            Some(key) => value.get(key)?.as_str().map(str::to_owned),
            None => value.as_str().map(str::to_owned),
        };
        values.iter().filter_map(text).collect()
    };
    Ok(Policy {
        licences: strings(list("licenses", "allow")?, None),
        banned: strings(list("bans", "deny")?, Some("crate")),
        registries: strings(list("sources", "allow-registry")?, None),
    })
}

/// What is wrong with one package of `cargo metadata`.
fn check(package: &Value, policy: &Policy) -> Vec<String> {
    let name = package["name"].as_str().unwrap_or_default();
    let version = package["version"].as_str().unwrap_or_default();
    let mut findings = Vec::new();
    match package["license"].as_str() {
        None => findings.push(format!("{name} {version}: no licence expression")),
        Some(expression) if !allowed(expression, &policy.licences) => {
            findings.push(format!("{name} {version}: licence {expression}"));
        }
        Some(_) => {}
    }
    if policy.banned.iter().any(|banned| banned == name) {
        findings.push(format!("{name} {version}: banned"));
    }
    if let Some(source) = package["source"].as_str() {
        let registry = source.strip_prefix("registry+").unwrap_or(source);
        if !policy.registries.iter().any(|allowed| allowed == registry) {
            findings.push(format!("{name} {version}: comes from {source}"));
        }
    }
    findings
}

/// Whether an SPDX expression can be met with the allowed licences. `/` is the old way to write OR.
fn allowed(expression: &str, licences: &[String]) -> bool {
    let spaced = expression
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    let met = any_of(&words, &mut at, licences);
    met && at == words.len()
}

/// `all_of (OR all_of)*`
fn any_of(words: &[&str], at: &mut usize, licences: &[String]) -> bool {
    let mut met = all_of(words, at, licences);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        met |= all_of(words, at, licences);
    }
    met
}

/// `one (AND one)*`
fn all_of(words: &[&str], at: &mut usize, licences: &[String]) -> bool {
    let mut met = one(words, at, licences);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        met &= one(words, at, licences);
    }
    met
}

/// `( any_of )`, or a name, or a name WITH an exception.
fn one(words: &[&str], at: &mut usize, licences: &[String]) -> bool {
    let Some(&word) = words.get(*at) else {
        return false;
    };
    *at += 1;
    if word == "(" {
        let met = any_of(words, at, licences);
        let closed = words.get(*at) == Some(&")");
        *at += usize::from(closed);
        return met && closed;
    }
    let mut name = word.to_owned();
    if let (Some(&"WITH"), Some(exception)) = (words.get(*at), words.get(*at + 1)) {
        name = format!("{word} WITH {exception}");
        *at += 2;
    }
    licences.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Policy {
        parse(
            "[licenses]\nallow = ['MIT', 'Apache-2.0', 'Apache-2.0 WITH LLVM-exception', 'Zlib']\n\
             [bans]\ndeny = [{ crate = 'left-pad' }]\n\
             [sources]\nallow-registry = ['https://registry.example']\n",
        )
        .unwrap()
    }

    #[test]
    fn expressions_are_met_by_one_alternative_and_by_every_conjunct() {
        let licences = policy().licences;
        for expression in [
            "MIT",
            "MIT/Apache-2.0",
            "GPL-3.0 OR MIT",
            "(MIT OR GPL-3.0) AND Zlib",
            "Apache-2.0 WITH LLVM-exception",
            "GPL-3.0 AND MIT OR Zlib",
        ] {
            assert!(allowed(expression, &licences), "{expression}");
        }
        for expression in [
            "",
            "GPL-3.0",
            "MIT AND GPL-3.0",
            "(MIT OR Zlib) AND AGPL-3.0",
            "MIT WITH LLVM-exception",
            "(MIT",
            "MIT MIT",
        ] {
            assert!(!allowed(expression, &licences), "{expression}");
        }
    }

    #[test]
    fn a_package_is_refused_by_licence_name_and_source() {
        let package = |name: &str, licence: Value, source: &str| serde_json::json!({"name": name, "version": "1.0.0", "license": licence, "source": source});
        let good = "registry+https://registry.example";
        let count = |package: Value| check(&package, &policy()).len();
        assert_eq!(count(package("a", "MIT".into(), good)), 0);
        assert_eq!(count(package("a", Value::Null, good)), 1);
        assert_eq!(count(package("a", "AGPL-3.0".into(), good)), 1);
        assert_eq!(count(package("left-pad", "MIT".into(), good)), 1);
        assert_eq!(
            count(package("a", "MIT".into(), "git+https://elsewhere")),
            1
        );
    }

    #[test]
    fn a_policy_without_its_lists_is_an_error() {
        assert!(parse("[licenses]\nallow = []\n").is_err());
    }
}
