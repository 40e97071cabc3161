//! The harness of device tests: what needs a device is listed on every machine, as ignored and with
//! the reason in its name where there is none.

use broadhead_testkit::device::{Outcome, anywhere, expect_eq, on_device, run, stream};
use std::process::ExitCode;

fn a_sum_is_the_same_everywhere() -> Outcome {
    expect_eq("the sum of 1 to 4", (1..=4).sum::<u32>(), 10)
}

fn zeros(context: &broadhead_device::Context) -> Outcome {
    let stream = stream(context)?;
    let zeros = stream.zeros::<f64>(3, "zeros")?;
    let found = stream.download(zeros.view(), broadhead_device::ByteClass::Other)?;
    expect_eq("zeros", found, vec![0.0; 3])
}

fn main() -> ExitCode {
    let tests = vec![
        anywhere("a_sum_is_the_same_everywhere", a_sum_is_the_same_everywhere),
        on_device("zeros_are_zero", zeros),
    ];
    run(tests, &[])
}
