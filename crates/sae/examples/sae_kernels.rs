//! Compiles every kernel of this crate to machine code, without a device: see `testkit::kernels`.

use std::process::ExitCode;

fn main() -> ExitCode {
    broadhead_testkit::kernels::compile(broadhead_sae::lm::device::kernel_sources())
}
