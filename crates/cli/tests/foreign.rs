//! What files and people wrote comes to the terminal escaped and cut short, whatever holds it.

mod common;

use common::{Ran, broadhead, finish, write_npz};
use ndarray::Array2;
use ndarray_npy::write_npy;
use safetensors::tensor::{Dtype, TensorView};
use std::collections::HashMap;
use std::path::Path;

/// Clears a screen, sets a colour by a C1 introducer, rings, turns the direction of text, and forges
/// a line.
const HOSTILE: &str = "x\u{1b}[2J\u{9b}31m\u{7}\u{202e}\nbroadhead: all is well";

fn ring(rows: usize) -> Array2<f64> {
    Array2::from_shape_fn((rows, 3), |(i, c)| {
        (2.4 * i as f64 + 1.6 * c as f64).cos() + 0.01 * (i * c) as f64
    })
}

/// Whether a terminal would show the text as it is.
fn is_plain(text: &str) -> bool {
    let turns = |c: char| matches!(c, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}');
    text.chars()
        .all(|c| c == '\n' || !(c.is_control() || turns(c)))
}

/// Asserts that a refusal is one short line that shows `parts` and nothing raw.
#[track_caller]
fn refused(ran: &Ran, parts: &[&str]) {
    ran.failed(2, parts);
    assert!(is_plain(&ran.stderr), "{ran:?}");
    assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
    assert!(ran.stderr.len() < 2000, "{} bytes", ran.stderr.len());
}

fn fit(folder: &Path, words: &[&str]) -> Ran {
    finish(
        broadhead()
            .args(["fit", "--device", "off", "--starts", "1"])
            .args(words)
            .args(if words.contains(&"-o") {
                &[][..]
            } else {
                &["-o", "out"]
            })
            .current_dir(folder),
    )
}

#[test]
fn names_of_arrays_are_escaped() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    write_npz(&path("a.npz"), |npz| {
        npz.add_array(HOSTILE, &ring(4)).unwrap();
        npz.add_array("b", &ring(4)).unwrap();
    });
    let shown = "x\\u{1b}[2J\\u{9b}31m\\u{7}\\u{202e}\\nbroadhead: all is well";
    let ran = fit(folder.path(), &["a.npz"]);
    refused(&ran, &["several arrays", &format!("{shown} (FP64, 4 x 3)")]);
    refused(
        &fit(folder.path(), &["a.npz:\u{1b}c"]),
        &["holds no array \"\\u{1b}c\""],
    );

    let bytes = [0; 12];
    let tensor = TensorView::new(Dtype::F32, vec![3], &bytes).unwrap();
    let names = [HOSTILE, "b"].map(|name| (name, tensor.clone()));
    let file = safetensors::serialize(names, None).unwrap();
    std::fs::write(path("a.safetensors"), file).unwrap();
    refused(&fit(folder.path(), &["a.safetensors"]), &[shown]);
    let named = format!("a.safetensors:{HOSTILE}");
    refused(&fit(folder.path(), &[&named]), &[shown, "expected 2-D"]);
}

#[test]
fn a_header_of_4_mb_is_not_printed_whole() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, version: u8, dictionary: &str| {
        let mut bytes = vec![0x93, b'N', b'U', b'M', b'P', b'Y', version, 0];
        let length = (dictionary.len() as u32).to_le_bytes();
        bytes.extend(if version == 1 {
            &length[..2]
        } else {
            &length[..]
        });
        bytes.extend(dictionary.as_bytes());
        std::fs::write(folder.path().join(name), bytes).unwrap();
    };
    let of =
        |descr: &str| format!("{{'descr': {descr}, 'fortran_order': False, 'shape': (2, 2)}}\n");
    write(
        "long.npy",
        2,
        &of(&format!("'{}'", "\u{7}".repeat(4 << 20))),
    );
    refused(
        &fit(folder.path(), &["long.npy"]),
        &["its header would have", "at most 65536"],
    );
    write("descr.npy", 1, &of("'<\u{1b}[31mf8'"));
    refused(
        &fit(folder.path(), &["descr.npy"]),
        &["element type <\\u{1b}[31mf8 is not read"],
    );
    write("key.npy", 1, "{'\u{1b}[2J': 1}");
    refused(
        &fit(folder.path(), &["key.npy"]),
        &["unknown key \\u{1b}[2J"],
    );
    write(
        "wide.npy",
        1,
        &of(&format!("[('a', '{}')]", "\u{1b}".repeat(60_000))),
    );
    refused(
        &fit(folder.path(), &["wide.npy"]),
        &["element type structured, [('a', '\\u{1b}"],
    );
}

#[test]
fn metadata_and_dictionaries_are_escaped() {
    let folder = tempfile::tempdir().unwrap();
    write_npy(folder.path().join("x.npy"), &ring(4)).unwrap();
    let encode = |note: String| {
        let bytes = [0; 8];
        let tensor = TensorView::new(Dtype::F64, vec![1, 1], &bytes).unwrap();
        let note = HashMap::from([("dictionary".to_owned(), note)]);
        let file = safetensors::serialize([("decoder", tensor)], Some(note)).unwrap();
        std::fs::write(folder.path().join("m.safetensors"), file).unwrap();
        let words = ["encode", "x.npy", "--device", "off", "-o", "y.npz"];
        let model = ["--model", "m.safetensors"];
        finish(
            broadhead()
                .args(words)
                .args(model)
                .current_dir(folder.path()),
        )
    };
    let hostile = serde_json::to_string(HOSTILE).unwrap();
    let atom = format!("{{\"atoms\":[{{\"topology\":{hostile},\"basis\":\"harmonics:1\"}}]}}");
    refused(&encode(atom), &["is not understood", "\\u{1b}[2J"]);
    let long = serde_json::to_string(&"\u{1b}".repeat(1 << 20)).unwrap();
    let atom = format!("{{\"atoms\":[{{\"topology\":{long},\"basis\":\"harmonics:1\"}}]}}");
    refused(&encode(atom), &["is not understood"]);
    // A header that is no JSON is quoted by the library that reads it.
    let header = format!("{{\"a\":{{\"dtype\":{hostile}}}}}");
    let file = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat();
    std::fs::write(folder.path().join("h.safetensors"), file).unwrap();
    refused(
        &fit(folder.path(), &["h.safetensors"]),
        &["its header is not understood"],
    );
}

#[test]
fn words_and_paths_of_the_command_line_are_escaped() {
    let folder = tempfile::tempdir().unwrap();
    let name = "x\u{1b}[2J\u{9b}31m\u{202e}.npy";
    refused(
        &fit(folder.path(), &[name]),
        &["x\\u{1b}[2J\\u{9b}31m\\u{202e}.npy: No such file"],
    );
    write_npy(folder.path().join("x.npy"), &ring(12)).unwrap();
    let labels = format!("{HOSTILE}.txt");
    refused(
        &fit(folder.path(), &["x.npy", "--labels", &labels]),
        &["\\u{1b}[2J", "No such file"],
    );
    let gates = fit(folder.path(), &["x.npy", "--gates", "\u{1b}]0;owned\u{7}"]);
    assert!(gates.code == 2 && is_plain(&gates.stderr), "{gates:?}");
    let unknown = fit(folder.path(), &["--\u{1b}[2J"]);
    assert!(
        unknown.code == 2 && is_plain(&unknown.stderr),
        "{unknown:?}"
    );

    let out = "out\u{1b}[31m";
    let ran = fit(folder.path(), &["x.npy", "-o", out]);
    assert!(is_plain(&ran.done().stdout), "{ran:?}");
    assert!(ran.stdout.contains("out\\u{1b}[31m"), "{ran:?}");
    assert!(folder.path().join(out).join("summary.json").exists());
}

#[test]
fn labels_are_escaped_in_summary_json_and_picture() {
    let folder = tempfile::tempdir().unwrap();
    write_npy(folder.path().join("x.npy"), &ring(12)).unwrap();
    let hostile = "b\u{1b}[2J\u{9b}31m\u{202e}<tag>";
    let long = "l".repeat(1 << 16);
    let lines = ["plain", hostile, &long].repeat(4).join("\n");
    std::fs::write(folder.path().join("l.txt"), lines).unwrap();
    let ran = fit(folder.path(), &["x.npy", "--labels", "l.txt"]);
    assert!(is_plain(&ran.done().stdout), "{ran:?}");
    assert!(
        ran.stdout.contains("b\\u{1b}[2J\\u{9b}31m\\u{202e}<tag>"),
        "{ran:?}"
    );
    assert!(ran.stdout.len() < 4000, "{} bytes", ran.stdout.len());
    let ran = fit(folder.path(), &["x.npy", "--labels", "l.txt", "--json"]);
    let summary = ran.done().json();
    assert!(is_plain(&ran.stdout));
    // What is read from it is the label as it was.
    let labels = summary["labels"].as_object().unwrap();
    assert!(labels.contains_key(hostile) && labels.contains_key(&long));
    let written = std::fs::read_to_string(folder.path().join("out/summary.json")).unwrap();
    assert!(is_plain(&written));
    let picture = std::fs::read_to_string(folder.path().join("out/coordinates.svg")).unwrap();
    assert!(is_plain(&picture) && picture.contains("b\\u{1b}[2J\\u{9b}"));
    assert!(!picture.contains("<tag>"));
}

#[test]
fn a_thousand_labels_are_not_a_thousand_lines_and_tags() {
    let folder = tempfile::tempdir().unwrap();
    write_npy(folder.path().join("x.npy"), &ring(1000)).unwrap();
    let names: Vec<String> = (0..1000).map(|row| format!("id-{row:04}")).collect();
    std::fs::write(folder.path().join("ids.txt"), names.join("\n")).unwrap();
    for topology in [
        "circle",
        "torus",
        "cylinder",
        "sphere",
        "euclidean:1",
        "euclidean:2",
    ] {
        let words = ["--topology", topology, "--max-iterations", "2"];
        let words = [&["x.npy", "--labels", "ids.txt"], &words[..]].concat();
        let ran = fit(folder.path(), &words);
        let lines = ran.done().stdout.lines().count();
        assert!(lines <= 58, "{topology}: {lines} lines");
        assert!(
            ran.stdout
                .contains("and 960 more labels, all of them in summary.json"),
            "{ran:?}"
        );
        assert!(
            ran.stderr.contains("1000 different labels for 1000 rows"),
            "{ran:?}"
        );
        assert!(ran.stdout.lines().all(|line| line.len() < 500), "{ran:?}");
        let picture = std::fs::read_to_string(folder.path().join("out/coordinates.svg")).unwrap();
        let named = names
            .iter()
            .filter(|name| picture.contains(name.as_str()))
            .count();
        assert!(named <= 40, "{topology}: {named} names");
        let summary = std::fs::read(folder.path().join("out/summary.json")).unwrap();
        let summary: serde_json::Value = serde_json::from_slice(&summary).unwrap();
        assert_eq!(summary["labels"].as_object().unwrap().len(), 1000);
    }
}
