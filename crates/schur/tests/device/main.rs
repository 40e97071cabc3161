//! Every elimination on a device against the CPU and against its own promises, listed everywhere. See
//! `testkit::device`.

mod born;
mod case;
mod descent;
mod failures;
mod faults;
mod iterative;
mod large;
mod laws;
mod measured;
mod methods;
mod parity;
mod passes;
mod planted;
mod residency;
mod structured;
mod structured_measured;

use broadhead_device::{Context, Stream};
use broadhead_testkit::device::{self, Failed, Trial, expect, expect_eq, run};
use std::process::ExitCode;

type Outcome = Result<(), Failed>;

/// A test on a stream of its own.
macro_rules! on_device {
    ($name:expr, $body:expr $(,)?) => {
        broadhead_testkit::device::on_device($name, |context| $crate::with_stream(context, $body))
    };
}
pub(crate) use on_device;

fn with_stream(context: &Context, body: fn(&Stream) -> Outcome) -> Outcome {
    body(&device::stream(context)?)
}

fn main() -> ExitCode {
    if let Some(code) = faults::child() {
        return code;
    }
    let tests: [Vec<Trial>; 15] = [
        born::tests(),
        parity::tests(),
        residency::tests(),
        failures::tests(),
        faults::tests(),
        measured::tests(),
        laws::tests(),
        methods::tests(),
        structured::tests(),
        structured_measured::tests(),
        iterative::tests(),
        descent::tests(),
        passes::tests(),
        planted::tests(),
        large::tests(),
    ];
    let kernels = broadhead_schur::device::kernel_sources();
    let beneath = broadhead_device::kernels::sources();
    let kernels = [&[&planted::FIRST], kernels, beneath, &[&planted::LAST]].concat();
    run(tests.into_iter().flatten().collect(), &kernels)
}
