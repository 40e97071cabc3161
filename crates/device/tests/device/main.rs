//! Tests of the device runtime on a device, listed everywhere. See `testkit::device`.
// The typed launches of the tests' own kernels, each with its reason.
#![allow(unsafe_code)]

mod ceilings;
mod compiling;
mod evidence;
mod faults;
mod graphs;
mod kernels;
mod library;
mod lifetime;
mod oracle;
mod transfers;

use broadhead_testkit::device::run;
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
    let kernels = [&[&kernels::SOURCE], broadhead_device::kernels::sources()].concat();
    run(tests, &kernels)
}
