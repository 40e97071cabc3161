//! `fit`: rows held out, a model to start from, several files, and rows kept sparsely.

mod common;

use common::{Ran, broadhead, finish, names};
use ndarray::{Array1, Array2, Axis, concatenate, s};
use ndarray_npy::{NpzReader, read_npy, write_npy};
use serde_json::Value;
use std::fs::File;
use std::path::Path;

/// `broadhead fit` with `words`, as JSON, in `folder`.
fn fit(folder: &Path, words: &[&str]) -> Ran {
    finish(
        broadhead()
            .current_dir(folder)
            .args(["fit", "--device", "off", "--json"])
            .args(words),
    )
}

/// Rows that take turns on three circles.
fn turns(rows: usize) -> Array2<f64> {
    let noise = |x: usize| (x as f64 * 0.618_033_988).fract() - 0.5;
    Array2::from_shape_fn((rows, 8), |(i, c)| {
        let (circle, angle) = (i % 3, 2.399_963 * i as f64);
        let (u, v) = (
            noise(31 * c + 5 * circle + 1),
            noise(47 * c + 7 * circle + 3),
        );
        3.0 * angle.cos() * u + 2.0 * angle.sin() * v + 0.02 * noise(i * 8 + c) + 0.5
    })
}

fn summary(folder: &Path) -> Value {
    let text = std::fs::read_to_string(folder.join("summary.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

const CIRCLES: [&str; 8] = [
    "--atoms", "3", "--gates", "top-k:1", "--starts", "4", "-o", "out",
];

#[test]
fn rows_held_out_are_listed_and_leave_the_decoder_alone() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let x = turns(120);
    write_npy(at("x.npy"), &x).unwrap();
    let words = [&["x.npy", "--holdout", "0.2"][..], &CIRCLES].concat();
    let said = fit(folder.path(), &words).done().json();
    assert_eq!(said["holdout"]["rows"], 24);
    assert!(said["holdout"]["explained_variance"].as_f64().unwrap() > 0.99);
    let held: Array1<i64> = read_npy(at("out/holdout.npy")).unwrap();
    assert_eq!(held.len(), 24);
    let coordinates: Array2<f64> = read_npy(at("out/coordinates.npy")).unwrap();
    assert_eq!(coordinates.dim(), (120, 3));
    let is_held = |i: &usize| held.iter().any(|&row| row == *i as i64);
    let training: Vec<usize> = (0..120).filter(|i| !is_held(i)).collect();
    write_npy(at("y.npy"), &x.select(Axis(0), &training)).unwrap();
    let mut alone = [&["y.npy"][..], &CIRCLES].concat();
    alone[8] = "alone";
    fit(folder.path(), &alone).done();
    let bytes = |name: &str| std::fs::read(at(name)).unwrap();
    assert_eq!(
        bytes("out/model.safetensors"),
        bytes("alone/model.safetensors")
    );
    assert!(summary(&at("alone")).get("holdout").is_none());
    // The same folder without rows held out has no list of them.
    fit(folder.path(), &[&["x.npy"][..], &CIRCLES].concat()).done();
    assert!(!names(&at("out")).contains(&"holdout.npy".to_owned()));
    for share in ["0.001", "0.999"] {
        let words = [&["x.npy", "--holdout", share][..], &CIRCLES].concat();
        fit(folder.path(), &words).failed(2, &["holdout", "of 120 rows", "at least one row"]);
    }
    for share in ["1", "-0.1", "nan", "x"] {
        let words = [&["x.npy", "--holdout", share][..], &CIRCLES].concat();
        fit(folder.path(), &words).failed(2, &["--holdout", "less than 1"]);
    }
}

#[test]
fn a_fit_goes_on_from_a_model_of_the_same_atoms() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    write_npy(at("x.npy"), &turns(120)).unwrap();
    let first = fit(folder.path(), &[&["x.npy"][..], &CIRCLES].concat())
        .done()
        .json();
    let on = |more: &[&str]| {
        let words = [
            "x.npy", "--gates", "top-k:1", "-o", "again", "--start", "out",
        ];
        fit(folder.path(), &[&words[..], more].concat())
    };
    let second = on(&[]).done().json();
    let number = |of: &Value, name: &str| of[name].as_f64().unwrap();
    let change = number(&second, "objective") / number(&first, "objective") - 1.0;
    assert!(change.abs() < 1e-9, "{change:e}");
    assert_eq!(second["lambda"], first["lambda"]);
    assert_eq!(second["starts"].as_array().unwrap().len(), 1);
    assert_eq!(second["start"]["kind"], "model");
    on(&[
        "--atoms",
        "3",
        "--topology",
        "circle",
        "--basis",
        "harmonics:1",
    ])
    .done();
    on(&["--atoms", "3*circle"]).done();
    for (words, what) in [
        (&["--atoms", "2"][..], "--atoms 2"),
        (&["--atoms", "2*circle,sphere"], "--atoms 2*circle"),
        (&["--topology", "torus"], "--topology torus"),
        (&["--basis", "harmonics:2"], "--basis harmonics:2"),
    ] {
        on(words).failed(2, &[what, "--start out", "do not agree"]);
    }
    on(&["--starts", "3"]).failed(2, &["--start", "--starts"]);
    let narrow = turns(50).slice(s![.., ..6]).to_owned();
    write_npy(at("narrow.npy"), &narrow).unwrap();
    let words = ["narrow.npy", "--start", "out", "-o", "no"];
    fit(folder.path(), &words).failed(2, &["narrow.npy", "6", "8", "out/model.safetensors"]);
    assert!(!at("no").exists());
    // Not over the model itself.
    let words = ["x.npy", "--start", "out", "-o", "out"];
    fit(folder.path(), &words).failed(2, &["written over"]);
    let words = ["x.npy", "--start", "nowhere", "-o", "no"];
    fit(folder.path(), &words).failed(2, &["nowhere"]);
}

#[test]
fn rows_that_chose_are_kept_sparsely_and_give_the_dense_arrays_back() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    write_npy(at("x.npy"), &turns(90)).unwrap();
    let words = [
        "x.npy",
        "--atoms",
        "2*circle,sphere",
        "--gates",
        "top-k:2",
        "--starts",
        "2",
        "-o",
        "out",
    ];
    let said = fit(folder.path(), &words).done().json();
    let outputs: Vec<&str> = said["outputs"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let written: Vec<String> = outputs
        .iter()
        .map(|path| path.replace("out/", ""))
        .collect();
    let mut sorted = written.clone();
    sorted.sort();
    assert_eq!(sorted, names(&at("out")));
    let coordinates: Array2<f64> = read_npy(at("out/coordinates.npy")).unwrap();
    let gates: Array2<f64> = read_npy(at("out/gates.npy")).unwrap();
    let mut npz = NpzReader::new(File::open(at("out/active.npz")).unwrap()).unwrap();
    let rows: Array1<i64> = npz.by_name("indptr").unwrap();
    let atoms: Array1<i32> = npz.by_name("atom").unwrap();
    let amplitudes: Array1<f64> = npz.by_name("amplitude").unwrap();
    let places: Array1<i64> = npz.by_name("coordinate_indptr").unwrap();
    let numbers: Array1<f64> = npz.by_name("coordinates").unwrap();
    assert_eq!((rows.len(), rows[90] as usize), (91, atoms.len()));
    let (mut on, mut back) = (Array2::zeros((90, 3)), Array2::from_elem((90, 5), f64::NAN));
    let first = [0, 1, 2];
    for i in 0..90 {
        for e in rows[i] as usize..rows[i + 1] as usize {
            on[(i, atoms[e] as usize)] = amplitudes[e];
            for (c, at) in (places[e] as usize..places[e + 1] as usize).enumerate() {
                back[(i, first[atoms[e] as usize] + c)] = numbers[at];
            }
        }
    }
    assert_eq!(on, gates);
    let bits = |array: &Array2<f64>| array.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&back), bits(&coordinates));
    // Where gates are not chosen there are the dense arrays alone.
    fit(folder.path(), &["x.npy", "--starts", "2", "-o", "out"]).done();
    assert!(!names(&at("out")).contains(&"active.npz".to_owned()));
}

#[test]
fn several_files_are_one_long_array() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let x = turns(120);
    let (a, b) = (x.slice(s![..50, ..]), x.slice(s![50.., ..]));
    write_npy(at("x.npy"), &x).unwrap();
    write_npy(at("a.npy"), &a).unwrap();
    common::write_npz(&at("b.npz"), |npz| {
        npz.add_array("rows", &b).unwrap();
        npz.add_array("other", &concatenate![Axis(0), a, b])
            .unwrap();
    });
    let labels: String = (0..120).map(|i| format!("turn {}\n", i % 3)).collect();
    std::fs::write(at("l.txt"), labels).unwrap();
    let files = |words: &[&str], out: &str| {
        let more = ["--starts", "3", "--labels", "l.txt", "-o", out];
        fit(folder.path(), &[words, &more].concat())
    };
    files(&["x.npy"], "whole").done();
    let parts = files(&["a.npy", "b.npz:rows"], "parts").done().json();
    assert_eq!(parts["rows"], 120);
    assert_eq!(parts["options"]["files"].as_array().unwrap().len(), 2);
    assert_eq!(parts["labels"]["turn 1"]["rows"], 40);
    for name in ["model.safetensors", "coordinates.npy"] {
        let read = |out: &str| std::fs::read(at(out).join(name)).unwrap();
        assert_eq!(read("whole"), read("parts"), "{name}");
    }
    // The order counts.
    let other = files(&["b.npz:rows", "a.npy"], "other").done().json();
    assert_eq!(other["rows"], 120);
    write_npy(at("narrow.npy"), &x.slice(s![..4, ..6])).unwrap();
    let refused = files(&["a.npy", "narrow.npy"], "no");
    refused.failed(2, &["narrow.npy", "4 x 6", "the columns of a.npy"]);
    files(&["a.npy", "missing.npy"], "no").failed(2, &["missing.npy"]);
    files(&["a.npy", "b.npz:rows"], "a.npy").failed(1, &["a.npy"]);
    assert!(!at("no").exists());
    files(&["a.npy"], "no").failed(2, &["120 labels", "50 rows"]);
}

/// `--amplitudes fitted` from the command line: the model says it, the gates hold amplitudes, an encoding finds them,
/// and a fit goes on from the model.
#[test]
fn amplitudes_are_fitted_written_encoded_and_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let mut x = turns(150);
    for (i, mut row) in x.rows_mut().into_iter().enumerate() {
        let by = 0.4 + 1.1 * (i as f64 * 0.754_877).fract();
        row.mapv_inplace(|v| 0.5 + by * (v - 0.5));
    }
    write_npy(at("x.npy"), &x).unwrap();
    let words = [&["x.npy", "--amplitudes", "fitted"][..], &CIRCLES].concat();
    let said = fit(folder.path(), &words).done().json();
    assert_eq!(said["options"]["amplitudes"], "fitted");
    let explained = said["explained_variance"].as_f64().unwrap();
    assert!(explained > 0.99, "{explained}");
    let gates: Array2<f64> = read_npy(at("out/gates.npy")).unwrap();
    let on: Vec<f64> = gates.iter().copied().filter(|gate| *gate != 0.0).collect();
    let square = on.iter().map(|gate| gate * gate).sum::<f64>() / on.len() as f64;
    assert!(
        (square - 1.0).abs() < 1e-6 && on.iter().any(|gate| *gate < 0.8),
        "{square}"
    );
    let mut active = NpzReader::new(File::open(at("out/active.npz")).unwrap()).unwrap();
    let amplitudes: Array1<f64> = active.by_name("amplitude").unwrap();
    assert_eq!(amplitudes.to_vec(), on);
    let model = std::fs::read(at("out/model.safetensors")).unwrap();
    let text = String::from_utf8_lossy(&model).replace('\\', "");
    assert!(text.contains(r#""amplitudes":"fitted""#));
    let picture = std::fs::read_to_string(at("out/coordinates.svg")).unwrap();
    assert!(picture.contains("cone over circle"));

    let encode = |words: &[&str]| {
        let mut command = broadhead();
        command
            .current_dir(folder.path())
            .args(["encode", "x.npy", "--model", "out", "--json"]);
        finish(command.args(words)).done().json()
    };
    let same = encode(&["-o", "same.npz"])["explained_variance"]
        .as_f64()
        .unwrap();
    assert!((same - explained).abs() < 1e-3, "{same} {explained}");
    let one = encode(&["-o", "one.npz", "--amplitudes", "one"]);
    let plain = one["explained_variance"].as_f64().unwrap();
    assert!(
        plain < same - 0.01 && one["amplitudes"] == "one",
        "{plain} {same}"
    );

    let more = [
        "x.npy", "--start", "out", "--gates", "top-k:1", "-o", "more",
    ];
    let said = fit(folder.path(), &more).done().json();
    assert_eq!(said["options"]["amplitudes"], "fitted");
    assert!(said["explained_variance"].as_f64().unwrap() > explained - 1e-6);
}

#[test]
fn relocation_is_a_stage_that_can_be_left_out() {
    let folder = tempfile::tempdir().unwrap();
    write_npy(folder.path().join("x.npy"), &turns(120)).unwrap();
    for (more, relocates) in [(&[][..], true), (&["--no-relocation"], false)] {
        let words = [&["x.npy"][..], &CIRCLES, more].concat();
        fit(folder.path(), &words).done();
        let said = summary(&folder.path().join("out"));
        assert_eq!(said["options"]["relocation"], relocates);
        let rounds = said["gate_rounds"].as_array().unwrap();
        let stages = |word: &str| rounds.iter().filter(|round| round["stage"] == word).count();
        assert_eq!(stages("relocation") > 0, relocates);
        assert!(stages("exploring") > 0 && stages("finishing") > 0);
    }
}

#[test]
fn parts_of_rounds_can_be_left_out_and_the_summary_says_so() {
    let folder = tempfile::tempdir().unwrap();
    write_npy(folder.path().join("x.npy"), &turns(120)).unwrap();
    let of = |more: &[&str]| {
        let words = [&["x.npy"][..], &CIRCLES, more].concat();
        fit(folder.path(), &words).done();
        summary(&folder.path().join("out"))["options"].clone()
    };
    let said = of(&[]);
    assert_eq!(
        (&said["swaps"], &said["acceptance"]),
        (&true.into(), &"finishing".into())
    );
    let said = of(&["--no-swaps", "--acceptance", "never"]);
    assert_eq!(
        (&said["swaps"], &said["acceptance"]),
        (&false.into(), &"never".into())
    );
    let failed = fit(folder.path(), &["x.npy", "--acceptance", "sometimes"]);
    failed.failed(2, &["sometimes", "finishing, always, never"]);
}
