//! Limits of memory and of threads: kept, or refused with both figures before anything is allocated.

mod common;

use common::{Ran, broadhead, finish, names, write_npz};
use ndarray::{Array1, Array2, Array3};
use ndarray_npy::write_npy;
use std::path::Path;

/// Rows on a circle, with a little noise.
fn rows(count: usize, columns: usize) -> Array2<f64> {
    let wave: Vec<[f64; 2]> = (0..columns)
        .map(|c| [(c as f64).sin(), (2.0 * c as f64).cos()])
        .collect();
    Array2::from_shape_fn((count, columns), |(i, c)| {
        let (sin, cos) = (2.399_963 * i as f64).sin_cos();
        let noise = ((i * columns + c) as f64 * 0.618_034).fract() - 0.5;
        cos * wave[c][0] + sin * wave[c][1] + 0.05 * noise
    })
}

/// The program under a limit of its address space, in MB.
#[cfg(target_os = "linux")]
fn limited(kind: &str, megabytes: usize, words: &[&str]) -> Ran {
    let mut command = std::process::Command::new("sh");
    let limit = format!("ulimit -{kind} {}; exec \"$@\"", megabytes * 1000);
    command
        .args(["-c", &limit, "sh", env!("CARGO_BIN_EXE_broadhead")])
        .args(words);
    finish(&mut command)
}

/// The bytes that a command lacked, where it was refused with what it needs and what it may have; asserts
/// that it was that or done.
fn lacked(ran: &Ran, what: &str) -> Option<u64> {
    if ran.code == 0 {
        return None;
    }
    ran.failed(1, &["needs", "bytes", "are allowed"]);
    let needed = figure(ran, " needs ", what);
    let allowed = figure(ran, " of memory, ", what);
    assert!(needed > allowed, "{what}: {ran:?}");
    Some(needed - allowed)
}

/// The figure behind some words.
fn figure(ran: &Ran, words: &str, what: &str) -> u64 {
    let behind = ran.stderr.split(words).nth(1);
    let digits = behind.and_then(|text| text.split(|c: char| !c.is_ascii_digit()).next());
    let figure = digits.and_then(|digits| digits.parse().ok());
    figure.unwrap_or_else(|| panic!("{what}: no figure behind {words:?}: {ran:?}"))
}

/// Runs a command under every limit, then under one raised by what was lacking until it is done: what it
/// says it needs serves. Returns whether each of the limits served.
#[cfg(target_os = "linux")]
fn under_limits(words: &[&str], limits: &[usize]) -> Vec<bool> {
    let run = |megabytes: usize| {
        let ran = limited("v", megabytes, words);
        lacked(&ran, &format!("{} in {megabytes} MB", words[0]))
    };
    let lacked: Vec<_> = limits.iter().map(|&megabytes| run(megabytes)).collect();
    let (mut megabytes, mut lack) = (limits[limits.len() - 1], lacked[limits.len() - 1]);
    let mut raised = 0;
    while let Some(bytes) = lack {
        assert!(
            raised < 8,
            "{words:?}: {bytes} bytes lack in {megabytes} MB"
        );
        megabytes += usize::try_from(bytes.div_ceil(1_000_000)).unwrap() + 1;
        lack = run(megabytes);
        raised += 1;
    }
    lacked.iter().map(Option::is_none).collect()
}

#[cfg(target_os = "linux")]
#[test]
fn a_fit_and_an_encoding_under_any_limit_of_memory_are_done_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let x = path("x.npy");
    // 102 MB.
    write_npy(&x, &rows(12_750, 1000)).unwrap();
    let (out, encoded) = (path("out"), path("encoded.npz"));
    let fit = [
        "fit",
        "--device",
        "off",
        "--starts",
        "2",
        "--max-iterations",
        "2",
        &x,
        "-o",
        &out,
    ];
    finish(broadhead().args(fit)).done();
    let encode = ["encode", &x, "--model", &out, "-o", &encoded];
    for words in [&fit[..], &encode[..]] {
        let served = under_limits(words, &[100, 150, 200, 260, 320, 400, 520, 700, 1500]);
        // Too little is refused.
        assert!(!served[1], "{served:?}");
        // A limit of data is another limit.
        for megabytes in [120, 300] {
            let ran = limited("d", megabytes, words);
            lacked(&ran, &format!("{} with {megabytes} MB of data", words[0]));
        }
    }
    assert_eq!(names(folder.path()), ["encoded.npz", "out", "x.npy"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_solution_under_any_limit_of_memory_is_done_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (n, d, k) = (3000, 2, 700);
    let wave = |x: usize| (x as f64 * 0.754_877_666).fract() - 0.5;
    let big = (n * d + k) as f64;
    let system = path("system.npz");
    write_npz(Path::new(&system), |npz| {
        let diagonal = |a: usize, b: usize| if a == b { big } else { 0.0 };
        let blocks = Array3::from_shape_fn((n, d, d), |(_, a, b)| diagonal(a, b));
        npz.add_array("row_hessian", &blocks).unwrap();
        let cross = Array3::from_shape_fn((n, d, k), |(i, a, c)| wave(17 * i + 3 * a + 5 * c));
        npz.add_array("row_cross", &cross).unwrap();
        npz.add_array("row_gradient", &Array2::from_elem((n, d), 1.0))
            .unwrap();
        let border = Array2::from_shape_fn((k, k), |(a, b)| diagonal(a, b));
        npz.add_array("border_hessian", &border).unwrap();
        npz.add_array("border_gradient", &Array1::from_elem(k, 1.0))
            .unwrap();
    });
    let step = path("step.npz");
    for elimination in ["auto", "rows", "border", "iterative"] {
        let words = ["solve", "--device", "off", "--elimination", elimination];
        let words = [&words[..], &[&system, "-o", &step]].concat();
        let served = under_limits(&words, &[60, 80, 110, 150, 200, 300, 500, 1600]);
        assert!(!served[1], "{elimination}: {served:?}");
    }
    assert_eq!(names(folder.path()), ["step.npz", "system.npz"]);
}

#[cfg(target_os = "linux")]
#[test]
fn sizes_in_words_are_refused_before_they_are_allocated() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (x, out) = (path("x.npy"), path("out"));
    write_npy(&x, &rows(40, 5)).unwrap();
    let huge: [&[&str]; 4] = [
        &["--atoms", "100000000000"],
        &["--atoms", "2000000"],
        &["--basis", "harmonics:100000000"],
        &["--topology", "euclidean:1000000"],
    ];
    for words in huge {
        let base = ["fit", "--device", "off", &x, "-o", &out];
        let ran = finish(broadhead().args(base).args(words));
        assert!(ran.code == 1 || ran.code == 2, "{words:?}: {ran:?}");
        if ran.code == 1 {
            ran.failed(1, &["needs", "bytes", "are allowed"]);
        }
        assert!(!Path::new(&out).exists());
    }
}

#[test]
fn any_number_of_threads_in_the_environment_serves_and_is_bounded() {
    let processors = std::thread::available_parallelism().unwrap().get() as u64;
    let used = |value: &str| {
        let ran = finish(
            broadhead()
                .args(["doctor", "--json"])
                .env("RAYON_NUM_THREADS", value),
        );
        let said = ran.done().stderr.contains("RAYON_NUM_THREADS");
        let threads = ran.json()["cpu"]["threads_used"].as_u64().unwrap();
        (threads, said)
    };
    assert_eq!(used("1"), (1, false));
    assert_eq!(used("3"), (3, false));
    for value in ["100000", "18446744073709551615", "99999999999999999999999"] {
        assert_eq!(used(value), (4 * processors, true), "{value}");
    }
    for value in ["0", "", "-1", "many", "2.5"] {
        assert_eq!(used(value), (processors, true), "{value:?}");
    }
}

/// Where threads cannot be had, as under a limit of processes or of addresses, fewer do.
#[cfg(target_os = "linux")]
#[test]
fn a_limit_that_allows_no_thread_is_told_and_no_panic() {
    for megabytes in [20, 24, 30, 40, 60] {
        let mut command = std::process::Command::new("sh");
        let limit = format!("ulimit -v {}; exec \"$@\"", megabytes * 1000);
        command.args(["-c", &limit, "sh", env!("CARGO_BIN_EXE_broadhead")]);
        let output = command.arg("doctor").env("RAYON_NUM_THREADS", "8").output();
        let output = output.unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        // 127: the system's loader had not the room for the program itself.
        let code = output.status.code();
        assert!(
            matches!(code, Some(0 | 1 | 127)),
            "{megabytes} MB: {output:?}"
        );
        assert!(!said.contains("internal fault"), "{megabytes} MB: {said}");
    }
}
