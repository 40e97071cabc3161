//! Running the built program.
// Each test file uses its own part of this module.
#![allow(dead_code, unreachable_pub)]

use ndarray::Array2;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// What one run of the program gave.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// The program, with nothing inherited that changes what it says.
pub fn broadhead() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_broadhead"));
    // Rates that were measured on this machine would choose for the tests: they have a cache of their own.
    let cache = concat!(env!("CARGO_TARGET_TMPDIR"), "/cache");
    command.env_remove("BROADHEAD_LOG").stdin(Stdio::null());
    command.env("BROADHEAD_CACHE_DIR", cache);
    command
}

/// Runs the program with `arguments` to its end.
pub fn run<S: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = S>) -> Ran {
    finish(broadhead().args(arguments))
}

/// Runs a prepared command to its end.
pub fn finish(command: &mut Command) -> Ran {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().expect("the program starts");
    Ran {
        code: status.code().expect("the program is not killed"),
        stdout: String::from_utf8(stdout).expect("UTF-8 on standard output"),
        stderr: String::from_utf8(stderr).expect("UTF-8 on standard error"),
    }
}

impl Ran {
    /// Asserts the exit code, and that every one of `parts` is in standard error.
    #[track_caller]
    pub fn failed(&self, code: i32, parts: &[&str]) -> &Self {
        assert_eq!(self.code, code, "{self:?}");
        for part in parts {
            assert!(self.stderr.contains(part), "no {part:?} in {self:?}");
        }
        assert!(!self.stderr.contains("internal fault"), "{self:?}");
        self
    }

    /// Asserts exit code 0.
    #[track_caller]
    pub fn done(&self) -> &Self {
        assert_eq!(self.code, 0, "{self:?}");
        self
    }

    /// The one JSON object on standard output.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        let value: serde_json::Value = serde_json::from_str(&self.stdout).expect("one JSON value");
        assert!(value.is_object(), "{value}");
        value
    }
}

/// The names of the files in `folder`, sorted; none where it is absent.
pub fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .into_string()
                .expect("UTF-8")
        })
        .collect();
    names.sort();
    names
}

/// A file of the project's sample.
pub fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../samples/weekdays")
        .join(name)
}

/// Writes an `.npz` through `fill`.
pub fn write_npz(path: &Path, fill: impl FnOnce(&mut ndarray_npy::NpzWriter<std::fs::File>)) {
    let mut npz = ndarray_npy::NpzWriter::new(std::fs::File::create(path).expect("a new file"));
    fill(&mut npz);
    npz.finish().expect("a whole archive");
}

/// `broadhead fit X -o OUT --device off` and more words.
pub fn fit(rows: &Path, out: &Path, more: &[&str]) -> Ran {
    finish(
        broadhead()
            .args(["fit", "--device", "off"])
            .args([rows, Path::new("-o"), out])
            .args(more),
    )
}

/// Rows around an ellipse in the plane of two directions, with a little noise.
pub fn ring(rows: usize, columns: usize) -> Array2<f64> {
    let noise = |x: usize| (x as f64 * 0.618_033_988).fract() - 0.5;
    Array2::from_shape_fn((rows, columns), |(i, c)| {
        let angle = 2.399_963 * i as f64;
        let (u, v) = (noise(7 * c + 1), noise(11 * c + 5));
        3.0 * angle.cos() * u + 2.0 * angle.sin() * v + 0.02 * noise(i * columns + c) + v
    })
}
