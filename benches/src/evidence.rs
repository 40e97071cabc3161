//! Evidence of the device tests: lines that a test program wrote on a machine with a device.
//!
//! ```text
//! {"receipt":{commit, dirty, profile, program_sha256, device, libraries},
//!  "record":"tests", "what":{...}, "seal":"..."}
//! ```
//! The test programs write them (`broadhead_testkit::device::record`), this reads them: sealed, each
//! with a receipt that names the commit, the program and the device. What a line says is the test's
//! own; two kinds are read further, `tests` (how many passed) and `sanitizer` (what a tool found).

use crate::error::Error;
use crate::record::Refused;
use broadhead_device::probe::DeviceInfo;
use broadhead_device::seal;
use serde::Deserialize;
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::Path;

/// The files of a pack that hold evidence instead of records of cells.
pub const FILES: [&str; 2] = ["device-tests.jsonl", "sanitizer.jsonl"];

/// One line.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// Its kind.
    pub record: String,
    /// How it was made.
    pub receipt: TestReceipt,
    /// What was found.
    pub what: Value,
}

/// How a line of evidence was made.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestReceipt {
    /// The source's commit, 40 hexadecimal digits.
    pub commit: String,
    /// Whether tracked files differed from that commit.
    pub dirty: bool,
    /// Build profile.
    pub profile: String,
    /// Digest of the test program, SHA-256 in hexadecimal.
    pub program_sha256: String,
    /// The device.
    pub device: Option<DeviceInfo>,
    /// Libraries with their versions.
    pub libraries: Vec<String>,
}

/// Reads lines of evidence.
///
/// # Errors
/// The file cannot be read, or a line is refused.
pub fn read(path: &Path) -> Result<Vec<(Evidence, String)>, Error> {
    let file = std::fs::File::open(path).map_err(Error::file(path))?;
    let mut found = Vec::new();
    for (number, line) in BufReader::new(file).lines().enumerate() {
        let line = line.map_err(Error::file(path))?;
        let evidence = parse(&line).map_err(|refused| Error::Refused {
            path: path.to_path_buf(),
            line: number + 1,
            refused,
        })?;
        found.push((evidence, line));
    }
    Ok(found)
}

/// One line as evidence.
///
/// # Errors
/// Why it is none.
pub fn parse(line: &str) -> Result<Evidence, Refused> {
    let text = seal::open(line).map_err(|_| Refused::Seal)?;
    let format = |e: serde_json::Error| Refused::Format {
        message: e.to_string(),
    };
    let value: Value = serde_json::from_str(&text).map_err(format)?;
    if value.get("receipt").is_none_or(Value::is_null) {
        return Err(Refused::NoReceipt);
    }
    let evidence: Evidence = serde_json::from_value(value).map_err(format)?;
    let receipt = &evidence.receipt;
    let hexadecimal =
        |text: &str, len| text.len() == len && text.bytes().all(|b| b.is_ascii_hexdigit());
    let lacks = |what: String| Err(Refused::Receipt { what });
    if !hexadecimal(&receipt.commit, 40) {
        return lacks(format!("has the commit {:?}", receipt.commit));
    }
    if !hexadecimal(&receipt.program_sha256, 64) {
        return lacks(format!("has the digest {:?}", receipt.program_sha256));
    }
    if receipt.device.is_none() {
        return Err(Refused::NoDevice);
    }
    Ok(evidence)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn line(change: impl FnOnce(&mut Value)) -> String {
        let device = DeviceInfo {
            ordinal: 0,
            name: "a device".into(),
            compute_capability: (9, 0),
            multiprocessors: 1,
            memory_bytes: 1,
            l2_bytes: 1,
            shared_bytes_per_block: 1,
            clock_khz: 1,
        };
        let mut value = json!({
            "record": "tests",
            "receipt": {
                "commit": "ab".repeat(20), "dirty": false, "profile": "dev",
                "program_sha256": "cd".repeat(32), "device": device, "libraries": ["driver 1.0"],
            },
            "what": { "passed": 3, "failed": 0 },
        });
        change(&mut value);
        seal::seal(&value.to_string())
    }

    #[test]
    fn evidence_is_read_and_every_lie_is_refused_by_name() {
        let good = line(|_| ());
        assert_eq!(parse(&good).unwrap().what["passed"], 3);
        let edited = good.replace("\"failed\":0", "\"failed\":1");
        assert_eq!(parse(&edited).unwrap_err(), Refused::Seal);
        let without = line(|v| drop(v.as_object_mut().unwrap().remove("receipt")));
        assert_eq!(parse(&without).unwrap_err(), Refused::NoReceipt);
        let nowhere = line(|v| v["receipt"]["device"] = Value::Null);
        assert_eq!(parse(&nowhere).unwrap_err(), Refused::NoDevice);
        let unknown = line(|v| v["receipt"]["commit"] = "not given".into());
        assert!(matches!(parse(&unknown), Err(Refused::Receipt { .. })));
        let program = line(|v| v["receipt"]["program_sha256"] = "00".into());
        assert!(matches!(parse(&program), Err(Refused::Receipt { .. })));
    }
}
