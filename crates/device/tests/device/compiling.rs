//! Every kernel compiles to machine code for every architecture, with no device.

use crate::kernels::SOURCE;
use broadhead_device::kernels;
use broadhead_testkit::device::{Outcome, Trial, expect_eq, with_compiler};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        with_compiler("compiling::for_sm_80", || compiles("sm_80")),
        with_compiler("compiling::for_sm_90", || compiles("sm_90")),
        with_compiler("compiling::for_sm_100", || compiles("sm_100")),
        with_compiler("compiling::an_unknown_architecture_is_a_fault", unknown),
    ]
}

fn compiles(architecture: &str) -> Outcome {
    let sources = [kernels::sources(), &[&SOURCE]].concat();
    let checked = kernels::compile_check(&sources, architecture)?;
    expect_eq("sources compiled", checked.len(), sources.len())
}

fn unknown() -> Outcome {
    use broadhead_device::{DeviceError, Fault};
    match kernels::compile_check(&[&SOURCE], "sm_12345") {
        Err(DeviceError::Fault(Fault::UnsupportedArchitecture { found, .. })) => {
            expect_eq("architecture", found.as_str(), "sm_12345")
        }
        other => Err(format!("sm_12345: {other:?}").into()),
    }
}
