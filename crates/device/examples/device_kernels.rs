//! Compiles every kernel of this crate and of its tests to machine code, without a device: see
//! `testkit::kernels`.

use broadhead_device::kernels::KernelSource;
use broadhead_testkit::kernels;
use std::process::ExitCode;

const TESTS: &[&KernelSource] = &[&kernels::text(
    "kernels.cu",
    include_str!("../tests/device/kernels.cu"),
)];

fn main() -> ExitCode {
    kernels::compile(&[broadhead_device::kernels::sources(), TESTS].concat())
}
