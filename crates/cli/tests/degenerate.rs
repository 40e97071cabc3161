//! `broadhead fit` and `broadhead encode` of degenerate rows: common offsets, rows that do not vary, one
//! row that is most of the squares, numbers at the ends of their range.

mod common;

use common::{broadhead, finish, fit, ring};
use ndarray::{Array1, Array2};
use ndarray_npy::{NpzReader, read_npy, write_npy};
use serde_json::Value;
use std::fs::File;

#[test]
fn a_common_offset_gives_the_fit_of_the_centred_rows() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: String| folder.path().join(name);
    // On a grid of 1/64: the largest offset takes no digit.
    let x = ring(60, 4).mapv(|v| (64.0 * v).round() / 64.0);
    let run = |offset: f64| {
        let moved = Array2::from_shape_fn(x.dim(), |(i, c)| x[(i, c)] + offset * (c as f64 - 0.5));
        let rows = path(format!("{offset}.npy"));
        write_npy(&rows, &moved).unwrap();
        let out = path(format!("out{offset}"));
        let summary = fit(&rows, &out, &["--json", "--starts", "4"]).done().json();
        let coordinates: Array2<f64> = read_npy(out.join("coordinates.npy")).unwrap();
        let picture = std::fs::read_to_string(out.join("coordinates.svg")).unwrap();
        (summary, coordinates, picture)
    };
    let (base, at, picture) = run(0.0);
    for offset in [1.0, 1e4, 1e8, 1.7e9, 1e12] {
        let (summary, coordinates, drawn) = run(offset);
        for name in ["trials", "iterations", "status"] {
            assert_eq!(summary[name], base[name], "{offset:e} {name}");
        }
        for name in ["explained_variance", "unexplained_variance", "objective"] {
            let ratio = summary[name].as_f64().unwrap() / base[name].as_f64().unwrap();
            assert!((ratio - 1.0).abs() < 1e-9, "{offset:e} {name}: {ratio}");
        }
        for (a, b) in coordinates.iter().zip(&at) {
            assert!((a - b).sin().abs() < 1e-7, "{offset:e}: {a} {b}");
        }
        // Points are where they were, to the digits that are drawn.
        let points = |text: &str| text.matches("<circle").count();
        assert_eq!(points(&drawn), points(&picture), "{offset:e}");
    }
}

#[test]
fn rows_that_do_not_vary_are_bad_input_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let refused = |name: &str, x: &Array2<f64>, topology: &str, words: &str| {
        write_npy(path(name), x).unwrap();
        let ran = fit(&path(name), &path("out"), &["--topology", topology]);
        let said = format!("{name}: the rows do not vary");
        ran.failed(2, &[&said, words]);
        assert!(ran.stdout.is_empty() && !path("out").exists());
    };
    for topology in ["circle", "euclidean:1"] {
        let equal = Array2::from_shape_fn((50, 4), |(_, c)| 0.1 * c as f64 + 0.3);
        refused("equal.npy", &equal, topology, "which is rounding");
        refused("one.npy", &ring(1, 4), topology, "one row only");
        refused(
            "zero.npy",
            &Array2::zeros((9, 4)),
            topology,
            "all 9 are zero",
        );
        let far = ring(50, 4).mapv(|v| 1.7e9 + 1e-7 * v);
        refused("far.npy", &far, topology, "which is rounding");
    }
}

#[test]
fn a_row_that_holds_most_of_the_squares_is_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let mut x = ring(60, 9);
    write_npy(path("even.npy"), &x).unwrap();
    x.row_mut(0).mapv_inplace(|v| 1000.0 * v);
    write_npy(path("one.npy"), &x).unwrap();
    let even = fit(&path("even.npy"), &path("even"), &["--starts", "2"]);
    assert!(!even.done().stderr.contains("holds"), "{even:?}");
    let ran = fit(&path("one.npy"), &path("out"), &["--starts", "2"]);
    ran.done();
    assert!(ran.stderr.contains("warning: row 0 holds 0.9"), "{ran:?}");
    let text = std::fs::read_to_string(path("out").join("summary.json")).unwrap();
    let summary: Value = serde_json::from_str(&text).unwrap();
    let number = |value: &Value| value.as_f64().unwrap();
    assert_eq!(summary["largest_row"]["index"], 0);
    let share = number(&summary["largest_row"]["share"]);
    assert!(share > 0.9 && share < 1.0, "{share}");
    assert!(summary["largest_column"]["index"].as_u64().unwrap() < 9);
    let left = number(&summary["unexplained_variance"]);
    assert!(left > 0.0 && left < 1e-3, "{left}");
    assert_eq!(number(&summary["explained_variance"]), 1.0 - left);
    let median = number(&summary["median_row_explained_variance"]);
    assert!(median < 1.0 - left, "{median}");
    // What is below 1 is printed so.
    let line = |name: &str| {
        let line = ran
            .stdout
            .lines()
            .find(|line| line.trim_start().starts_with(name));
        line.unwrap()
            .trim_start()
            .strip_prefix(name)
            .unwrap()
            .trim()
            .to_owned()
    };
    let printed = line("explained variance");
    assert!(
        printed.starts_with("0.999") && printed.len() > 6,
        "{printed}"
    );
    assert!(
        line("largest row").starts_with("0, with 0.9"),
        "{}",
        ran.stdout
    );
    assert!(
        line("of the median row").parse::<f64>().is_ok(),
        "{}",
        ran.stdout
    );
    // Encoded, the rows say the same.
    let words = [
        "encode", "one.npy", "--json", "--device", "off", "-o", "y.npz", "--model", "out",
    ];
    let ran = finish(broadhead().args(words).current_dir(folder.path()));
    let summary = ran.done().json();
    assert_eq!(summary["largest_row"]["index"], 0);
    assert!(ran.stderr.contains("warning: row 0 holds 0.9"), "{ran:?}");
    assert!(number(&summary["unexplained_variance"]) > 0.0);
}

#[test]
fn an_encoding_without_spread_has_no_explained_variance_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let x = ring(60, 9);
    write_npy(path("x.npy"), &x).unwrap();
    fit(&path("x.npy"), &path("out"), &["--starts", "1"]).done();
    let mean = x.mean_axis(ndarray::Axis(0)).unwrap();
    let encode = |x: &Array2<f64>, more: &[&str]| {
        write_npy(path("y.npy"), x).unwrap();
        let words = [
            "encode", "y.npy", "--device", "off", "-o", "y.npz", "--model", "out",
        ];
        finish(
            broadhead()
                .args(words)
                .args(more)
                .current_dir(folder.path()),
        )
    };
    let copies = Array2::from_shape_fn((9, 9), |(_, c)| mean[c]);
    let summary = encode(&copies, &["--json"]).done().json();
    assert!(summary["explained_variance"].is_null(), "{summary}");
    assert!(summary["largest_row"].is_null() && summary["unexplained_variance"].is_null());
    let reason = summary["explained_variance_reason"].as_str().unwrap();
    assert!(reason.starts_with("the rows do not vary"), "{reason}");
    assert!(summary["squared_error"].is_number());
    let said = encode(&copies, &[]);
    assert!(
        said.done().stdout.contains("absent: the rows do not vary"),
        "{said:?}"
    );
    let summary = encode(&x, &["--json"]).done().json();
    assert!(summary["explained_variance_reason"].is_null(), "{summary}");
}

#[test]
fn rows_and_models_of_any_size_are_encoded_in_finite_time_and_without_nan() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let x = ring(60, 9);
    write_npy(path("x.npy"), &x).unwrap();
    for a in [1e200, 1e-200] {
        write_npy(path("scaled.npy"), &x.mapv(|v| v * a)).unwrap();
        // A fit in these units draws and writes everything.
        let summary = fit(
            &path("scaled.npy"),
            &path("scaled"),
            &["--starts", "1", "--json"],
        );
        assert_eq!(summary.done().json()["converged"], true, "{a:e}");
        fit(&path("x.npy"), &path("out"), &["--starts", "1"]).done();
        for (model, rows) in [
            ("out", "scaled.npy"),
            ("scaled", "x.npy"),
            ("scaled", "scaled.npy"),
        ] {
            let words = [
                "encode", rows, "--device", "off", "-o", "y.npz", "--model", model,
            ];
            finish(
                broadhead()
                    .args(words)
                    .arg("--json")
                    .current_dir(folder.path()),
            )
            .done();
            let mut npz = NpzReader::new(File::open(path("y.npz")).unwrap()).unwrap();
            let coordinates: Array2<f64> = npz.by_name("coordinates").unwrap();
            let error: Array1<f64> = npz.by_name("squared_error").unwrap();
            assert!(
                coordinates.iter().all(|t| t.is_finite()),
                "{model} {rows} {a:e}"
            );
            assert!(error.iter().all(|e| !e.is_nan()), "{model} {rows} {a:e}");
        }
    }
}
