//! Licences and sources of every dependency against `deny.toml`.
//!
//! The part of cargo-deny that needs no database, without its compile time: `[licenses] allow`,
//! `[bans] deny` by name and `[sources]`. cargo-deny reads the same file where it is installed. The
//! program in `docs/tool` is not looked at: nothing that ships links it (mdBook is MPL-2.0).

use crate::shell::{self, Failure, Outcome};
use serde_json::Value;
use std::path::Path;
use xshell::cmd;

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
    let findings = findings(&metadata(root)?, &policy).map_err(|message| Failure::Format {
        path: "what cargo metadata says".into(),
        message,
    })?;
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

/// What is wrong with all packages, in order.
///
/// # Errors
/// No package is named, or one without name and version: nothing was checked then.
fn findings(metadata: &Value, policy: &Policy) -> Result<Vec<String>, String> {
    let packages = match metadata["packages"].as_array() {
        Some(packages) if !packages.is_empty() => packages,
        _ => return Err("it names no package: nothing was checked".to_owned()),
    };
    let mut findings = Vec::new();
    for package in packages {
        let (Some(name), Some(version)) = (package["name"].as_str(), package["version"].as_str())
        else {
            return Err(format!("a package without name and version: {package}"));
        };
        findings.extend(check(package, (name, version), policy));
    }
    findings.sort();
    Ok(findings)
}

fn metadata(root: &Path) -> Result<Value, Failure> {
    let (sh, cargo) = shell::at(root)?;
    let version = cmd!(sh, "rustc -vV").read()?;
    let host = version
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .ok_or_else(|| Failure::Format {
            path: "what rustc -vV says".into(),
            message: "it names no host".to_owned(),
        })?
        .to_owned();
    let format = ["--format-version", "1", "--locked"];
    let text = cmd!(sh, "{cargo} metadata {format...} --filter-platform {host}").read()?;
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
    // What is no string is an error: left out it would allow or ban nothing, in silence.
    let strings = |section: &str, key: &str, of: Option<&str>| -> Result<Vec<String>, String> {
        let text = |value: toml::Value| {
            let found = match of {
                Some(of) => value.get(of).and_then(toml::Value::as_str),
                None => value.as_str(),
            };
            let found = found.map(str::to_owned);
            found.ok_or(format!("{section}.{key} holds {value}"))
        };
        list(section, key)?.into_iter().map(text).collect()
    };
    Ok(Policy {
        licences: strings("licenses", "allow", None)?,
        banned: strings("bans", "deny", Some("crate"))?,
        registries: strings("sources", "allow-registry", None)?,
    })
}

/// What is wrong with one package of `cargo metadata`.
fn check(package: &Value, (name, version): (&str, &str), policy: &Policy) -> Vec<String> {
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
        let count = |package: Value| {
            let metadata = serde_json::json!({ "packages": [package] });
            findings(&metadata, &policy()).unwrap().len()
        };
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
    fn metadata_that_name_no_package_are_an_error_and_no_pass() {
        let nameless = serde_json::json!({ "packages": [{ "license": "MIT" }] });
        let none = [
            serde_json::json!({}),
            serde_json::json!({ "packages": [] }),
            serde_json::json!({ "packages": "all" }),
            nameless,
        ];
        for metadata in none {
            findings(&metadata, &policy()).expect_err(&metadata.to_string());
        }
    }

    #[test]
    fn a_policy_without_its_lists_is_an_error() {
        let of_numbers = "[licenses]\nallow = ['MIT', 2]\n[bans]\ndeny = []\n\
                          [sources]\nallow-registry = []\n";
        assert!(
            parse(of_numbers)
                .unwrap_err()
                .contains("licenses.allow holds 2")
        );
        assert!(parse("[licenses]\nallow = []\n").is_err());
    }
}
