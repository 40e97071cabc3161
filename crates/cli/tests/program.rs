//! What holds for every command: words, exit codes, streams.

mod common;

use common::{broadhead, finish, run};
use std::fs::File;

#[test]
fn no_command_and_unknown_words_are_bad_usage() {
    run::<&str>([]).failed(2, &["Usage: broadhead"]);
    run(["dance"]).failed(2, &["dance"]);
    run(["doctor", "--loud"]).failed(2, &["--loud"]);
}

#[test]
fn help_names_every_exit_code() {
    let help = run(["--help"]);
    let help = &help.done().stdout;
    for part in ["0 done", "1 failed", "2 bad usage", "3 undetermined"] {
        assert!(help.contains(part), "no {part:?} in {help}");
    }
}

#[test]
fn doctor_names_every_library() {
    let ran = run(["doctor"]);
    let text = &ran.done().stdout;
    for name in [
        "driver", "cuBLAS", "cuSOLVER", "NVRTC", "NVML", "NCCL", "CUPTI", "threads",
    ] {
        assert!(text.contains(name), "no {name:?} in {text}");
    }
    let object = run(["doctor", "--json"]).done().json();
    let components = object["device"]["components"].as_array().unwrap();
    assert_eq!(components.len(), 7, "{object}");
    let possible = object["device_work"]["possible"].as_bool().unwrap();
    assert_eq!(
        object["device_work"]["reason"].is_null(),
        possible,
        "{object}"
    );
}

#[test]
fn a_log_filter_that_is_not_understood_is_a_warning() {
    let ran = finish(broadhead().arg("doctor").env("BROADHEAD_LOG", "a=b=c"));
    assert!(ran.done().stderr.contains("BROADHEAD_LOG"), "{ran:?}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_standard_output_is_a_failure_and_a_closed_one_is_not() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    finish(broadhead().args(["doctor", "--json"]).stdout(full))
        .failed(1, &["standard output", "No space left"]);

    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    finish(broadhead().args(["doctor", "--json"]).stdout(writer)).done();
}
