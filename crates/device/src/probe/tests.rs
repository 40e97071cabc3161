//! Each way for a library to be unusable is told apart, by name.

use super::*;

/// A library of `name` looked for under the one path `file`.
fn wanted(file: &std::path::Path, symbols: &'static [&'static str]) -> Wanted {
    Wanted {
        name: "cuSOLVER",
        files: vec![file.to_string_lossy().into_owned()],
        symbols,
    }
}

/// The C library, which every Linux program can open.
const C_LIBRARY: &str = "libc.so.6";

#[test]
fn a_file_that_is_not_there_is_a_missing_library() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("libcusolver.so.12");
    match wanted(&file, &[]).open().map(|o| o.file) {
        Err(Absence::Library { library, tried }) => {
            assert_eq!(library, "cuSOLVER");
            assert_eq!(tried, [file.to_string_lossy()]);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_file_that_is_no_library_is_broken() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("libcusolver.so.12");
    std::fs::write(&file, "this is no shared library").unwrap();
    match wanted(&file, &[]).open().map(|o| o.file) {
        Err(Absence::Broken { file: found, .. }) => assert_eq!(found, file.to_string_lossy()),
        other => panic!("{other:?}"),
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_library_without_a_symbol_says_which() {
    let wanted = wanted(C_LIBRARY.as_ref(), &["malloc", "cusolverDnDpotrf"]);
    match wanted.open().map(|o| o.file) {
        Err(absence @ Absence::Symbol { .. }) => assert_eq!(
            absence.to_string(),
            "cuSOLVER lacks the symbol cusolverDnDpotrf"
        ),
        other => panic!("{other:?}"),
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_later_name_is_taken_where_an_earlier_one_is_broken() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("broken.so");
    std::fs::write(&file, "no library").unwrap();
    let mut wanted = wanted(&file, &["malloc"]);
    wanted.files.push(C_LIBRARY.to_owned());
    assert_eq!(wanted.open().map(|o| o.file).unwrap(), C_LIBRARY);
}

#[test]
fn every_library_is_listed_and_the_answer_for_device_work_agrees() {
    let report = report();
    let names: Vec<_> = report.components.iter().map(|c| c.name.as_str()).collect();
    let all = [
        "driver", "cuBLAS", "cuSOLVER", "NVRTC", "NVML", "NCCL", "CUPTI",
    ];
    assert_eq!(names, all);
    let needed = report.components[..4].iter();
    let absent = needed.filter_map(|c| match &c.state {
        State::Absent(absence) => Some(absence.clone()),
        State::Found => None,
    });
    let first = absent.chain(report.no_devices.clone()).next();
    assert_eq!(cuda().err(), first);
    let text = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
}

#[test]
fn a_report_names_every_file_that_was_tried() {
    let component = Component {
        name: "cuBLAS".to_owned(),
        file: None,
        version: None,
        state: State::Absent(Absence::Library {
            library: "cuBLAS".to_owned(),
            tried: Part::Cublas.wanted().files,
        }),
    };
    let text = component.to_string();
    assert!(text.contains("libcublas.so.13") && text.contains("libcublas.so.12"));
}

#[test]
fn versions_are_written_short() {
    assert_eq!(version::display([13, 0, 0]), "13.0");
    assert_eq!(version::display([12, 0, 9]), "12.0.9");
}

/// Every call of a binding in this crate's sources, found as text: `sys::cuInit(`.
fn called(binding: &str, stem: &str) -> Vec<String> {
    fn walk(folder: &std::path::Path, texts: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, texts);
            } else if path.extension().is_some_and(|e| e == "rs") {
                texts.push(std::fs::read_to_string(&path).unwrap());
            }
        }
    }
    let mut texts = Vec::new();
    walk(
        &std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut texts,
    );
    let lead = format!("{binding}::{stem}");
    let mut calls = Vec::new();
    for text in &texts {
        for (at, _) in text.match_indices(&lead) {
            let name = &text[at + binding.len() + 2..];
            let end = name
                .find(|c: char| !c.is_alphanumeric() && c != '_')
                .unwrap();
            let is_call = name[end..].starts_with('(');
            let is_word = !text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
            if is_call && is_word {
                calls.push(name[..end].to_owned());
            }
        }
    }
    calls
}

#[test]
fn every_call_of_a_binding_is_probed() {
    let bindings = [
        ("sys", "cu", symbols::DRIVER, 40),
        ("blas", "cublas", symbols::CUBLAS, 8),
        ("solver", "cusolver", symbols::CUSOLVER, 6),
        ("nvrtc", "nvrtc", symbols::NVRTC, 6),
        ("cupti", "cupti", symbols::CUPTI, 6),
    ];
    for (binding, stem, probed, least) in bindings {
        let calls = called(binding, stem);
        assert!(
            calls.len() >= least,
            "{binding}: only {} calls found",
            calls.len()
        );
        for call in calls {
            assert!(
                probed.contains(&call.as_str()),
                "{call} is called and not probed"
            );
        }
    }
}

/// A shared library made of C text, in a folder of its own. Where Rust links, there is a `cc`.
#[cfg(target_os = "linux")]
fn built(text: &str) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let (source, file) = (folder.path().join("fake.c"), folder.path().join("fake.so"));
    std::fs::write(&source, text).unwrap();
    let mut cc = std::process::Command::new("cc");
    let built = cc
        .args(["-shared", "-fPIC", "-o"])
        .arg(&file)
        .arg(&source)
        .status()
        .unwrap();
    assert!(built.success());
    (folder, file)
}

/// C text of a library that has every symbol; `answers` replaces some of them.
#[cfg(target_os = "linux")]
fn complete(symbols: &[&str], answers: &[(&str, &str)]) -> String {
    let body = |symbol: &&str| {
        let known = answers.iter().find(|(name, _)| name == symbol);
        known.map_or_else(
            || format!("int {symbol}(void) {{ return 999; }}"),
            |(_, text)| (*text).to_owned(),
        )
    };
    symbols.iter().map(body).collect::<Vec<_>>().join("\n")
}

#[test]
#[cfg(target_os = "linux")]
fn a_library_that_is_too_old_says_both_versions() {
    let version = "int nvrtcVersion(int *a, int *b) { *a = 11; *b = 2; return 0; }";
    let text = complete(symbols::NVRTC, &[("nvrtcVersion", version)]);
    let (_folder, file) = built(&text);
    let mut wanted = wanted(&file, symbols::NVRTC);
    wanted.name = "NVRTC";
    let opened = wanted.open().unwrap();
    let absence = Part::Nvrtc.version(&opened).unwrap_err();
    assert_eq!(
        absence.to_string(),
        "NVRTC is version 11.2, at least 12.4 is needed"
    );
}

#[test]
#[cfg(target_os = "linux")]
fn each_symbol_that_is_missing_is_named() {
    for missing in symbols::CUSOLVER {
        let others: Vec<&str> = symbols::CUSOLVER
            .iter()
            .copied()
            .filter(|s| s != missing)
            .collect();
        let (_folder, file) = built(&complete(&others, &[]));
        match wanted(&file, symbols::CUSOLVER).open().map(|o| o.file) {
            Err(Absence::Symbol { symbol, .. }) => assert_eq!(symbol, *missing),
            other => panic!("without {missing}: {other:?}"),
        }
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_driver_that_does_not_start_and_one_without_devices_are_told_apart() {
    for (status, no_device) in [(100, true), (999, false)] {
        let init = format!("int cuInit(unsigned x) {{ return {status}; }}");
        let (_folder, file) = built(&complete(symbols::DRIVER, &[("cuInit", &init)]));
        let opened = wanted(&file, symbols::DRIVER).open().unwrap();
        let absence = devices::list(&opened).unwrap_err();
        assert_eq!(absence == Absence::NoDevice, no_device, "{absence}");
        if !no_device {
            assert_eq!(
                absence.to_string(),
                "driver does not start: cuInit answered 999"
            );
        }
    }
}
