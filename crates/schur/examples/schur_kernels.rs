//! Compiles every kernel of this crate and of its tests to machine code, without a device: see
//! `testkit::kernels`.

use broadhead_device::kernels::KernelSource;
use broadhead_testkit::kernels;
use std::process::ExitCode;

const TESTS: &[&KernelSource] = &[
    &kernels::text("planted.cu", include_str!("../tests/device/planted.cu")),
    &kernels::text("fault.cu", include_str!("../tests/device/fault.cu")),
];

fn main() -> ExitCode {
    kernels::compile(&[broadhead_schur::device::kernel_sources(), TESTS].concat())
}
