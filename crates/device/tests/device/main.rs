//! Tests of the device runtime on a device, listed everywhere. See `harness`.
// The typed launches of the tests' own kernels, each with its reason.
#![allow(unsafe_code)]

mod ceilings;
mod compiling;
mod evidence;
mod faults;
mod graphs;
mod harness;
mod kernels;
mod library;
mod lifetime;
mod oracle;
mod transfers;

use libtest_mimic::Arguments;
use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(code) = faults::child() {
        return code;
    }
    let tests = [
        transfers::tests(),
        library::tests(),
        graphs::tests(),
        faults::tests(),
        evidence::tests(),
        lifetime::tests(),
        compiling::tests(),
        ceilings::tests(),
    ];
    let tests = tests.into_iter().flatten().collect();
    let mut arguments = Arguments::from_args();
    // One at a time: a witness counts all that the process does, and memory is measured.
    arguments.test_threads = Some(1);
    libtest_mimic::run(&arguments, tests).exit_code()
}
