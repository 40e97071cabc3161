//! Receipts: how a record was made, so that another can judge or repeat it. They name no host and no
//! path.

use crate::error::Error;
use crate::kernels;
use crate::record::Refused;
use broadhead_device::nvml::{ClockReasons, Reading};
use broadhead_device::probe::{self, DeviceInfo};
use broadhead_device::seal;
use broadhead_gate::processor;
use broadhead_schur::{HostCeilings, Rates};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
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
    /// The rates of this machine, measured when the run began: what the planner priced by where a cell
    /// names it `auto`. Absent where nothing was planned, or by the shipped rates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rates: Option<Rates<HostCeilings>>,
    /// The device, of a run on one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceReceipt>,
}

/// The device of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceReceipt {
    /// Name, compute capability, memory, caches, as the driver says.
    pub info: DeviceInfo,
    /// The run of the suite: records of one run were made one after another on one machine.
    pub run: String,
    /// Digest of the program, SHA-256 in hexadecimal, read when it ran.
    pub binary: String,
    /// Clocks, throttle reasons and power before the first sample; absent where the management
    /// library is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Reading>,
    /// The same after the last sample.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Reading>,
}

impl DeviceReceipt {
    /// The reasons by name for which the device ran slower than asked; absent where it did not, or
    /// does not say.
    pub fn throttled(&self) -> Option<String> {
        let readings = [&self.before, &self.after].into_iter().flatten();
        let reasons = readings
            .filter_map(|reading| reading.clock_reasons)
            .filter(|reasons| reasons.is_throttled());
        let names: BTreeSet<&str> = reasons.flat_map(ClockReasons::names).collect();
        (!names.is_empty()).then(|| names.into_iter().collect::<Vec<_>>().join(", "))
    }
}

impl Receipt {
    /// The receipt of a run of this program, from a repository or a pack at `root`.
    ///
    /// # Errors
    /// A pack whose manifest is unreadable, or names another program than this one.
    pub fn of_this_run(root: &Path) -> Result<Self, Error> {
        let source = match Manifest::read(root)? {
            Some(manifest) => {
                manifest.expect_this_program(root)?;
                manifest.source
            }
            None => Source::of_repository(root),
        };
        let started = SystemTime::now().duration_since(UNIX_EPOCH);
        Ok(Self {
            commit: source.commit,
            dirty: source.dirty,
            command: command(),
            started: started.map_or(0, |elapsed| elapsed.as_secs()),
            processor: processor::model(),
            processors: processor::count(),
            platform: processor::platform(),
            profile: if cfg!(debug_assertions) {
                "dev"
            } else {
                "release"
            }
            .to_owned(),
            features: processor::features()
                .into_iter()
                .map(str::to_owned)
                .collect(),
            libraries: libraries(),
            rates: None,
            device: None,
        })
    }

    /// Adds the versions of the device's libraries, read now.
    pub fn read_device_libraries(&mut self) {
        for component in probe::report().components {
            if let Some(version) = component.version {
                self.libraries.insert(component.name, version);
            }
        }
    }

    /// Whether `other` is of the same run of the same program.
    pub(crate) fn is_of_run(&self, other: &Self) -> bool {
        let of = |receipt: &Self| {
            let device = receipt.device.as_ref();
            device.map(|d| (d.run.clone(), d.binary.clone(), d.info.clone()))
        };
        self.commit == other.commit && of(self) == of(other)
    }

    /// Whether it says what it must.
    pub(crate) fn check(&self) -> Result<(), Refused> {
        let lacks = |what: String| Err(Refused::Receipt { what });
        if !is_digits(&self.commit, 40) {
            return lacks(format!("has the commit {:?}", self.commit));
        }
        for (what, text) in [("command", &self.command), ("processor", &self.processor)] {
            if text.is_empty() {
                return lacks(format!("has no {what}"));
            }
        }
        if self.libraries.is_empty() {
            return lacks("names no library".to_owned());
        }
        kernels::check(self)?;
        match &self.device {
            Some(device) if !is_digits(&device.binary, 64) => {
                lacks(format!("has the program's digest {:?}", device.binary))
            }
            Some(device) if device.run.is_empty() => lacks("names no run".to_owned()),
            _ => Ok(()),
        }
    }
}

fn is_digits(text: &str, len: usize) -> bool {
    text.len() == len && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// The commit that a program was built from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// 40 hexadecimal digits.
    pub commit: String,
    /// Whether tracked files differed from it.
    pub dirty: bool,
}

impl Source {
    fn of_repository(root: &Path) -> Self {
        let git = |arguments: &[&str]| {
            let output = Command::new("git")
                .arg("-C")
                .arg(root)
                .args(arguments)
                .output();
            let output = output.ok().filter(|output| output.status.success());
            output.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned())
        };
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
        }
    }
}

/// What a pack says of itself: written when its programs were built, read where they run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// What they were built from.
    pub source: Source,
    /// Digests of the programs by file name, SHA-256 in hexadecimal.
    pub programs: BTreeMap<String, String>,
}

impl Manifest {
    /// Its file in a pack.
    pub const FILE: &str = "pack.json";

    /// The manifest of the pack at `root`, where `root` is one.
    ///
    /// # Errors
    /// It is there and unreadable.
    pub fn read(root: &Path) -> Result<Option<Self>, Error> {
        let path = root.join(Self::FILE);
        if !path.is_file() {
            return Ok(None);
        }
        let text = std::fs::read_to_string(&path).map_err(Error::file(&path))?;
        let manifest = serde_json::from_str(&text).map_err(|e| Error::Format {
            path,
            message: e.to_string(),
        })?;
        Ok(Some(manifest))
    }

    /// Whether the program that runs is one of the pack's.
    fn expect_this_program(&self, root: &Path) -> Result<(), Error> {
        let own = this_program()?;
        match self.programs.values().any(|digest| *digest == own) {
            true => Ok(()),
            false => Err(Error::Format {
                path: root.join(Self::FILE),
                message: format!("it names no program of digest {own}, which is running"),
            }),
        }
    }
}

/// The digest of the program that runs.
///
/// # Errors
/// Its file cannot be read.
pub fn this_program() -> Result<String, Error> {
    let path = std::env::current_exe().map_err(Error::file("this program"))?;
    let bytes = std::fs::read(&path).map_err(Error::file(path))?;
    Ok(seal::digest(&bytes))
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
            rates: None,
            device: None,
        }
    }
}

#[cfg(test)]
impl DeviceReceipt {
    /// A device.
    pub(crate) fn sample() -> Self {
        let reading = Reading {
            driver: "1".into(),
            memory_used: None,
            memory_total: None,
            sm_clock_mhz: Some(1000),
            memory_clock_mhz: None,
            clock_reasons: Some(ClockReasons(1)),
            power_watts: None,
            temperature_celsius: None,
            processes: None,
        };
        Self {
            info: DeviceInfo {
                ordinal: 0,
                name: "a device".into(),
                compute_capability: (9, 0),
                memory_bytes: 1 << 30,
                multiprocessors: 1,
                l2_bytes: 1 << 20,
                shared_bytes_per_block: 1 << 16,
                clock_khz: 1_000_000,
            },
            run: "a run".into(),
            binary: "ab".repeat(32),
            before: Some(reading.clone()),
            after: Some(reading),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_run_has_a_receipt_that_names_what_it_stands_on() {
        let receipt = Receipt::of_this_run(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
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
