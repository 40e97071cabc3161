//! Receipts: how a record was made, so that another can judge or repeat it. They name no host and no
//! path.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

/// How a record was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// The source's commit, 40 hexadecimal digits.
    pub commit: String,
    /// Whether tracked files differed from that commit.
    pub dirty: bool,
    /// The command, as it was given.
    pub command: String,
    /// When the run began, in seconds since 1970 UTC.
    pub started: u64,
    /// Model of the processor.
    pub processor: String,
    /// Processors that the system shows.
    pub processors: usize,
    /// Operating system and architecture.
    pub platform: String,
    /// Build profile: anything but `release` is not worth comparing.
    pub profile: String,
    /// Instruction-set extensions beyond the baseline that the processor offers.
    pub features: Vec<String>,
    /// Libraries with their versions, ours and the peers'.
    pub libraries: BTreeMap<String, String>,
    /// The device, of a run on one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceReceipt>,
}

/// The device of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceReceipt {
    /// Its name.
    pub name: String,
    /// Compute capability.
    pub capability: (u32, u32),
    /// The driver's version.
    pub driver: String,
    /// SM clock in MHz before the first sample; absent where it cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_before: Option<u32>,
    /// SM clock in MHz after the last sample.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_after: Option<u32>,
    /// Digest of the binary, SHA-256 in hexadecimal.
    pub binary: String,
}

impl Receipt {
    /// The receipt of a run of this program, from a repository at `root`.
    pub fn of_this_run(root: &Path) -> Self {
        let git = |arguments: &[&str]| {
            let output = Command::new("git")
                .arg("-C")
                .arg(root)
                .args(arguments)
                .output();
            let output = output.ok().filter(|output| output.status.success());
            output.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned())
        };
        let started = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            commit: git(&["rev-parse", "HEAD"]).unwrap_or_else(|| "unknown".to_owned()),
            // Records and what is made of them change by running; the work does not depend on them.
            dirty: git(&[
                "status",
                "--porcelain",
                "--untracked-files=no",
                "--",
                ":!benches/records",
                ":!docs",
            ])
            .is_none_or(|changes| !changes.is_empty()),
            command: command(),
            started: started.map_or(0, |elapsed| elapsed.as_secs()),
            processor: processor(),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            platform: format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH),
            profile: if cfg!(debug_assertions) {
                "dev"
            } else {
                "release"
            }
            .to_owned(),
            features: features(),
            libraries: libraries(),
            device: None,
        }
    }

    /// Whether it says what it must.
    pub(crate) fn check(&self) -> Result<(), String> {
        let digits = self.commit.len() == 40 && self.commit.bytes().all(|b| b.is_ascii_hexdigit());
        if !digits {
            return Err(format!("the receipt's commit is {:?}", self.commit));
        }
        for (what, text) in [("command", &self.command), ("processor", &self.processor)] {
            if text.is_empty() {
                return Err(format!("the receipt has no {what}"));
            }
        }
        if self.libraries.is_empty() {
            return Err("the receipt names no library".to_owned());
        }
        Ok(())
    }
}

/// The command line with the program's bare name: no path of this machine.
fn command() -> String {
    let mut words = std::env::args();
    let program = words.next().unwrap_or_default();
    let name = Path::new(&program)
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    std::iter::once(name)
        .chain(words.filter(|word| !word.starts_with('/')))
        .collect::<Vec<_>>()
        .join(" ")
}

/// The model by the system's own words; where it only says that there is one, family and model numbers.
fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = text
            .lines()
            .find(|line| line.split(':').next().is_some_and(|key| key.trim() == name));
        line.and_then(|line| line.split_once(':'))
            .map(|(_, value)| value.trim().to_owned())
    };
    let name = field("model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    let numbers = ["cpu family", "model", "stepping"].map(|key| field(key).unwrap_or_default());
    if numbers.iter().all(String::is_empty) {
        return name;
    }
    format!(
        "{name} (family {}, model {}, stepping {})",
        numbers[0], numbers[1], numbers[2]
    )
}

#[cfg(target_arch = "x86_64")]
fn features() -> Vec<String> {
    let offered = [
        ("avx2", std::is_x86_feature_detected!("avx2")),
        ("fma", std::is_x86_feature_detected!("fma")),
        ("avx512f", std::is_x86_feature_detected!("avx512f")),
    ];
    offered
        .iter()
        .filter(|(_, there)| *there)
        .map(|(name, _)| (*name).to_owned())
        .collect()
}

#[cfg(not(target_arch = "x86_64"))]
fn features() -> Vec<String> {
    Vec::new()
}

/// Ours: the versions in the lock file that this program was built from.
fn libraries() -> BTreeMap<String, String> {
    const LOCK: &str = include_str!("../../Cargo.lock");
    let mut found = BTreeMap::from([(
        "rustc".to_owned(),
        env!("BROADHEAD_RUSTC")
            .trim_start_matches("rustc ")
            .to_owned(),
    )]);
    for package in LOCK.split("[[package]]") {
        let field = |key: &str| {
            let line = package.lines().find_map(|line| line.strip_prefix(key));
            line.map(|value| value.trim_matches([' ', '=', '"']).to_owned())
        };
        if let (Some(name), Some(version)) = (field("name"), field("version"))
            && ["faer", "rayon", "pulp", "private-gemm-x86"].contains(&name.as_str())
        {
            found.insert(name, version);
        }
    }
    found
}

#[cfg(test)]
impl Receipt {
    /// A receipt that checks.
    pub(crate) fn sample() -> Self {
        Self {
            commit: "0123456789abcdef0123456789abcdef01234567".into(),
            dirty: false,
            command: "broadhead-benches run core".into(),
            started: 1,
            processor: "a processor".into(),
            processors: 2,
            platform: "linux-x86_64".into(),
            profile: "release".into(),
            features: vec!["avx2".into()],
            libraries: BTreeMap::from([("faer".into(), "0.0.0".into())]),
            device: None,
        }
    }
}

#[cfg(test)]
impl DeviceReceipt {
    /// A device.
    pub(crate) fn sample() -> Self {
        Self {
            name: "a device".into(),
            capability: (9, 0),
            driver: "1".into(),
            clock_before: Some(1000),
            clock_after: None,
            binary: "00".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_run_has_a_receipt_that_names_what_it_stands_on() {
        let receipt = Receipt::of_this_run(Path::new(env!("CARGO_MANIFEST_DIR")));
        assert!(
            receipt.libraries.contains_key("faer"),
            "{:?}",
            receipt.libraries
        );
        assert!(receipt.libraries["rustc"].starts_with("1."));
        assert!(!receipt.processor.is_empty() && receipt.processors > 0);
        assert!(!receipt.command.contains('/'), "{}", receipt.command);
    }

    #[test]
    fn a_receipt_without_a_commit_is_refused() {
        let mut receipt = Receipt::sample();
        assert_eq!(receipt.check(), Ok(()));
        receipt.commit = "unknown".into();
        assert!(receipt.check().is_err());
    }
}
