//! The program that compiles a crate's kernels without a device: the example `NAME_kernels` of each
//! crate that has some.
//!
//! ```text
//! schur_kernels sm_80 sm_90 sm_100
//! ```
//! Needs NVRTC alone. Exit 0: everything compiled; 1: something did not; 3: there is no NVRTC.
//! Without arguments it takes the three architectures above and only says so where there is no
//! NVRTC, as an example should.

use broadhead_device::kernels::{self, KernelSource};
use std::process::ExitCode;

const ARCHITECTURES: [&str; 3] = ["sm_80", "sm_90", "sm_100"];

/// A test's kernels: what must compile is the text; which entries it has the test knows.
pub const fn text(name: &'static str, text: &'static str) -> KernelSource {
    KernelSource {
        name,
        text,
        declares: &[],
        entries: &[],
        options: &[],
    }
}

/// Compiles `sources` for the architectures that the command line names, and says what came of it on
/// standard error.
pub fn compile(sources: &[&'static KernelSource]) -> ExitCode {
    let asked: Vec<String> = std::env::args().skip(1).collect();
    if let Err(absence) = kernels::compiler_version() {
        eprintln!("nothing is compiled: {absence}");
        return ExitCode::from(if asked.is_empty() { 0 } else { 3 });
    }
    let architectures = match asked.is_empty() {
        true => ARCHITECTURES.map(str::to_owned).to_vec(),
        false => asked,
    };
    for architecture in &architectures {
        match kernels::compile_check(sources, architecture) {
            Ok(checked) => {
                for source in checked {
                    let (name, bytes) = (source.source, source.bytes);
                    let entries = match source.entries.len() {
                        0 => "a test's kernels".to_owned(),
                        some => format!("{some} kernels"),
                    };
                    eprintln!("{architecture} {name}: {entries}, {bytes} bytes");
                }
            }
            Err(error) => {
                eprintln!("{architecture}: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}
