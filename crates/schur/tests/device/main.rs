//! Rows first on a device against the CPU and against its own promises. Listed everywhere: without
//! a device a test shows as ignored with the reason in its name, and `BROADHEAD_REQUIRE_DEVICE=1`
//! makes it fail.

mod case;
mod failures;
mod parity;
mod residency;

use broadhead_device::{Absence, Context, Ledger, Stream, probe};
use libtest_mimic::{Arguments, Failed, Trial};
use std::process::ExitCode;

type Outcome = Result<(), Failed>;

fn on_device(name: &str, body: fn(&Stream) -> Outcome) -> Trial {
    let required = std::env::var_os("BROADHEAD_REQUIRE_DEVICE").is_some_and(|v| v == "1");
    match probe::cuda() {
        Ok(_) => Trial::test(name, move || {
            body(&Context::open(0)?.stream(&Ledger::new())?)
        }),
        Err(absence) if required => Trial::test(name, move || {
            Err(format!("a device is required: {absence}").into())
        }),
        Err(absence) => {
            let name = format!("{name} (skipped: {})", short(&absence));
            Trial::test(name, || Ok(())).with_ignored_flag(true)
        }
    }
}

fn short(absence: &Absence) -> String {
    let text = absence.to_string();
    text.split(" (tried").next().unwrap_or(&text).to_owned()
}

fn expect(holds: bool, what: impl std::fmt::Display) -> Outcome {
    match holds {
        true => Ok(()),
        false => Err(what.to_string().into()),
    }
}

fn expect_eq<T: PartialEq + std::fmt::Debug>(what: &str, found: T, wanted: T) -> Outcome {
    expect(
        found == wanted,
        format!("{what}: found {found:?}, wanted {wanted:?}"),
    )
}

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let tests = [parity::tests(), residency::tests(), failures::tests()];
    let tests = tests.into_iter().flatten().collect();
    libtest_mimic::run(&arguments, tests).exit_code()
}
