//! `broadhead fit` and `broadhead encode`: the week on its circle, whole outputs, and every way in
//! which inputs can be wrong.

mod common;

use common::{Ran, broadhead, finish, fit, names, ring, sample, write_npz};
use ndarray::{Array1, Array2, s};
use ndarray_npy::{NpzReader, read_npy, write_npy};
use serde_json::Value;
use std::fs::File;
use std::path::Path;

const WEEK: [&str; 7] = [
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];
const OUTPUTS: [&str; 6] = [
    "coordinates.npy",
    "coordinates.svg",
    "gates.npy",
    "model.safetensors",
    "summary.json",
    "trace.jsonl",
];

fn is_week(order: &[String]) -> bool {
    let at = |day: &str| order.iter().position(|name| name == day);
    let places: Vec<usize> = WEEK.iter().filter_map(|day| at(day)).collect();
    let step = |by: usize| (0..7).all(|d| (places[d] + by) % 7 == places[(d + 1) % 7]);
    order.len() == 7 && places.len() == 7 && (step(1) || step(6))
}

#[test]
fn the_week_is_found_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let labels = sample("weekdays_labels.txt");
    let ran = fit(
        &sample("weekdays_layer1.npy"),
        &out,
        &["--json", "--labels", labels.to_str().unwrap()],
    );
    let summary = ran.done().json();
    assert_eq!(summary["converged"], true);
    assert!(
        summary["explained_variance"].as_f64().unwrap() >= 0.40,
        "{summary}"
    );
    let labels = summary["labels"].as_object().unwrap();
    for day in WEEK {
        let length = labels[day]["resultant_length"][0].as_f64().unwrap();
        assert!(length >= 0.98, "{day}: {length}");
        assert_eq!(labels[day]["rows"], 20);
    }
    let mut order: Vec<String> = WEEK.map(str::to_owned).to_vec();
    let angle = |day: &str| labels[day]["mean_position"][0].as_f64().unwrap();
    order.sort_by(|a, b| angle(a).total_cmp(&angle(b)));
    assert!(is_week(&order), "{order:?}");
    let said: Vec<String> = serde_json::from_value(summary["label_order"].clone()).unwrap();
    assert!(is_week(&said), "{said:?}");

    assert_eq!(names(&out), OUTPUTS);
    let text = std::fs::read_to_string(out.join("summary.json")).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), summary);
    outputs_agree(&out, &summary);
}

/// The arrays, the trace, the picture and the summary tell the same story.
fn outputs_agree(out: &Path, summary: &Value) {
    let x: Array2<f32> = read_npy(sample("weekdays_layer1.npy")).unwrap();
    let x = x.mapv(f64::from);
    let coordinates: Array2<f64> = read_npy(out.join("coordinates.npy")).unwrap();
    let gates: Array2<f64> = read_npy(out.join("gates.npy")).unwrap();
    assert_eq!(coordinates.dim(), (140, 1));
    assert!(
        coordinates
            .iter()
            .all(|t| (-std::f64::consts::PI..std::f64::consts::PI).contains(t))
    );
    assert!(gates.iter().all(|&gate| gate == 1.0));

    // The decoder reconstructs the rows with the variance that the summary says.
    let bytes = std::fs::read(out.join("model.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let decoder = file.tensor("decoder").unwrap();
    assert_eq!(
        (decoder.dtype(), decoder.shape()),
        (safetensors::Dtype::F64, &[3, 384][..])
    );
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let note: Value =
        serde_json::from_str(&header.metadata().as_ref().unwrap()["dictionary"]).unwrap();
    assert_eq!(note["atoms"][0]["topology"], "circle");
    assert_eq!(note["atoms"][0]["basis"], "harmonics:1");
    let (weights, _) = decoder.data().as_chunks::<8>();
    let weights: Vec<f64> = weights.iter().map(|w| f64::from_le_bytes(*w)).collect();
    let decoder = Array2::from_shape_vec((3, 384), weights).unwrap();
    let phi = Array2::from_shape_fn((140, 3), |(i, m)| match m {
        0 => 1.0,
        1 => coordinates[(i, 0)].cos(),
        _ => coordinates[(i, 0)].sin(),
    });
    let residual = &x - &phi.dot(&decoder);
    let centred = &x - &x.mean_axis(ndarray::Axis(0)).unwrap();
    let square = |array: &Array2<f64>| array.iter().map(|v| v * v).sum::<f64>();
    let variance = 1.0 - square(&residual) / square(&centred);
    let said = summary["explained_variance"].as_f64().unwrap();
    // Sums of 140 x 384 squares.
    assert!(
        (variance - said).abs() <= 53_760.0 * f64::EPSILON,
        "{variance} {said}"
    );

    let trace = std::fs::read_to_string(out.join("trace.jsonl")).unwrap();
    let trials: Vec<Value> = trace
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .filter(|line: &Value| line["stage"] == "newton")
        .collect();
    assert_eq!(trials.len() as u64, summary["trials"].as_u64().unwrap());
    let accepted: Vec<f64> = trials
        .iter()
        .filter(|trial| trial["accepted"] == true)
        .map(|trial| trial["objective"].as_f64().unwrap())
        .collect();
    assert_eq!(
        accepted.len() as u64,
        summary["iterations"].as_u64().unwrap()
    );
    let noise = 1e-14 * square(&x);
    assert!(
        accepted.windows(2).all(|pair| pair[1] <= pair[0] + noise),
        "{accepted:?}"
    );

    let picture = std::fs::read_to_string(out.join("coordinates.svg")).unwrap();
    assert!(picture.contains(&format!("explained variance {said:.4}")));
    assert!(
        WEEK.iter().all(|day| picture.matches(day).count() >= 2),
        "name and legend"
    );
    assert!(picture.trim_end().ends_with("</svg>"));
    // The README shows this command's picture.
    let shown = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src/figures/weekdays.svg");
    let shown = std::fs::read_to_string(shown).unwrap();
    assert_eq!(shown.lines().nth(3), picture.lines().nth(3), "title");
    assert_eq!(
        shown.matches("<circle").count(),
        picture.matches("<circle").count()
    );
}

#[test]
fn the_same_seed_gives_the_same_files() {
    let folder = tempfile::tempdir().unwrap();
    let x = folder.path().join("x.npy");
    write_npy(&x, &ring(60, 9)).unwrap();
    for out in ["a", "b"] {
        fit(
            &x,
            &folder.path().join(out),
            &["--starts", "3", "--seed", "7"],
        )
        .done();
    }
    for name in OUTPUTS.iter().filter(|name| **name != "summary.json") {
        let read = |out: &str| std::fs::read(folder.path().join(out).join(name)).unwrap();
        assert!(read("a") == read("b"), "{name}");
    }
}

#[test]
fn every_topology_is_fitted_and_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let x = folder.path().join("x.npy");
    write_npy(&x, &ring(80, 6)).unwrap();
    for (topology, basis, columns, features) in [
        ("circle", "harmonics:2", 1, 1 + 4),
        ("torus", "harmonics:1", 2, 1 + 8),
        ("cylinder", "harmonics:2", 2, 1 + 9),
        ("sphere", "spherical:1", 3, 1 + 3),
        ("euclidean:2", "monomials:2", 2, 1 + 5),
    ] {
        let out = folder.path().join(topology.replace(':', "-"));
        let words = [
            "--topology",
            topology,
            "--basis",
            basis,
            "--starts",
            "2",
            "--max-iterations",
            "20",
            "--json",
        ];
        let summary = fit(&x, &out, &words).done().json();
        assert_eq!(summary["features"], features, "{topology}");
        let coordinates: Array2<f64> = read_npy(out.join("coordinates.npy")).unwrap();
        assert_eq!(coordinates.dim(), (80, columns), "{topology}");
        assert_eq!(names(&out), OUTPUTS, "{topology}");
    }
}

#[test]
fn a_fit_out_of_iterations_is_done_and_warns() {
    let folder = tempfile::tempdir().unwrap();
    let (x, out) = (folder.path().join("x.npy"), folder.path().join("out"));
    write_npy(&x, &ring(60, 9)).unwrap();
    let ran = fit(&x, &out, &["--max-iterations", "1", "--json"]);
    assert_eq!(ran.done().json()["converged"], false);
    assert!(ran.stderr.contains("not converged"), "{ran:?}");
    assert_eq!(names(&out), OUTPUTS);
}

#[test]
fn an_encoding_of_the_fitted_rows_finds_their_coordinates() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    write_npy(path("x.npy"), &ring(60, 9)).unwrap();
    fit(&path("x.npy"), &path("out"), &[]).done();
    let ran = finish(broadhead().args(["encode", "--json", "--model"]).args([
        path("out"),
        path("x.npy"),
        "-o".into(),
        path("new.npz"),
    ]));
    let summary = ran.done().json();
    assert_eq!(
        (&summary["rows"], &summary["converged"]),
        (&60.into(), &60.into())
    );
    let fitted: Array2<f64> = read_npy(path("out").join("coordinates.npy")).unwrap();
    let mut npz = NpzReader::new(File::open(path("new.npz")).unwrap()).unwrap();
    let found: Array2<f64> = npz.by_name("coordinates").unwrap();
    let error: Array1<f64> = npz.by_name("squared_error").unwrap();
    let converged: Array1<bool> = npz.by_name("converged").unwrap();
    let gates: Array2<f64> = npz.by_name("gates").unwrap();
    assert!(converged.iter().all(|done| *done) && gates.iter().all(|gate| *gate == 1.0));
    assert!(error.iter().all(|error| *error < 0.1), "{error}");
    // Both are stationary points of the same function of one angle.
    for (a, b) in fitted.iter().zip(&found) {
        assert!((a - b).sin().abs() < 1e-4 && (a - b).cos() > 0.0, "{a} {b}");
    }
}

#[test]
fn top_k_gates_leave_the_other_atoms_nan() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let mut x = ring(120, 9);
    x.slice_mut(s![60.., ..]).mapv_inplace(|v| 4.0 - v * v);
    write_npy(path("x.npy"), &x).unwrap();
    let words = ["--atoms", "3", "--gates", "top-k:1", "--starts", "2"];
    fit(&path("x.npy"), &path("out"), &words).done();
    let gates: Array2<f64> = read_npy(path("out").join("gates.npy")).unwrap();
    let coordinates: Array2<f64> = read_npy(path("out").join("coordinates.npy")).unwrap();
    for i in 0..120 {
        assert_eq!(
            gates.row(i).iter().filter(|gate| **gate != 0.0).count(),
            1,
            "{i}"
        );
        for a in 0..3 {
            assert_eq!(
                gates[(i, a)] == 0.0,
                coordinates[(i, a)].is_nan(),
                "{i} {a}"
            );
        }
    }
    let gates_file = path("out").join("gates.npy");
    let words = ["--atoms", "3", "--gates", gates_file.to_str().unwrap()];
    fit(&path("x.npy"), &path("given"), &words).done();
    let given: Array2<f64> = read_npy(path("given").join("gates.npy")).unwrap();
    assert_eq!(given, gates);
    // Such a model does not know the gates of new rows.
    let model = path("given");
    let encode = [
        "encode",
        "x.npy",
        "-o",
        "y.npz",
        "--model",
        model.to_str().unwrap(),
    ];
    finish(broadhead().args(encode).current_dir(folder.path())).failed(2, &["--gates"]);
    let words = ["--atoms", "2", "--gates", gates_file.to_str().unwrap()];
    fit(&path("x.npy"), &path("bad"), &words)
        .failed(2, &["gates.npy: shape 120 x 3: expected 120 x 2"]);
}

#[test]
fn every_wrong_input_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let out = path("out");
    let wrong = |name: &str, parts: &[&str]| {
        fit(&path(name), &out, &[]).failed(2, parts);
    };
    let mut x = ring(20, 5);
    x[(3, 4)] = f64::NAN;
    write_npy(path("nan.npy"), &x).unwrap();
    wrong(
        "nan.npy",
        &["nan.npy: element [3, 4] is NaN: expected a finite number"],
    );
    x[(3, 4)] = 1.0;
    write_npy(path("x.npy"), &x).unwrap();
    write_npy(path("int.npy"), &x.mapv(|v| v as i64)).unwrap();
    wrong(
        "int.npy",
        &["int.npy: element type INT64 is not read: expected FP64"],
    );
    write_npy(path("flat.npy"), &x.row(0)).unwrap();
    wrong("flat.npy", &["flat.npy: shape 5: expected 2-D"]);
    write_npy(path("none.npy"), &Array2::<f64>::zeros((0, 5))).unwrap();
    wrong(
        "none.npy",
        &["none.npy: shape 0 x 5: expected at least one row"],
    );
    let whole = std::fs::read(path("x.npy")).unwrap();
    std::fs::write(path("short.npy"), &whole[..whole.len() - 9]).unwrap();
    wrong(
        "short.npy",
        &["truncated", "needs 800 bytes, 791 are there"],
    );
    std::fs::write(path("long.npy"), [&whole[..], &[0; 3]].concat()).unwrap();
    wrong("long.npy", &["3 bytes follow the array"]);
    std::fs::write(path("head.npy"), &whole[..40]).unwrap();
    wrong("head.npy", &["truncated inside its header"]);
    std::fs::write(path("text.npy"), "a,b,c\n1,2,3\n").unwrap();
    wrong("text.npy", &["not an .npy array"]);
    std::fs::write(path("x.csv"), "1,2\n").unwrap();
    wrong("x.csv", &["ends in .npy, .npz or .safetensors"]);
    wrong("absent.npy", &["absent.npy", "No such file"]);
    std::fs::create_dir(path("folder.npy")).unwrap();
    wrong("folder.npy", &["folder.npy", "directory"]);
    write_npz(&path("two.npz"), |npz| {
        npz.add_array("a", &x).unwrap();
        npz.add_array("b", &x.row(0)).unwrap();
    });
    wrong(
        "two.npz",
        &["several arrays", "a (FP64, 20 x 5), b (FP64, 5)"],
    );
    wrong("two.npz:c", &["holds no array \"c\""]);
    std::fs::write(path("cut.safetensors"), [9, 0, 0, 0, 0, 0, 0, 0, b'{']).unwrap();
    wrong("cut.safetensors", &["truncated inside its header"]);
    assert!(!out.exists(), "a refused input makes no folder");
    fit(&path("two.npz:a"), &out, &["--starts", "1"]).done();
}

#[test]
fn safetensors_are_read() {
    use safetensors::tensor::{Dtype, TensorView};
    let folder = tempfile::tempdir().unwrap();
    let x = ring(30, 5);
    let bytes: Vec<u8> = x.iter().flat_map(|&v| (v as f32).to_le_bytes()).collect();
    let tensor = TensorView::new(Dtype::F32, vec![30, 5], &bytes).unwrap();
    let flat = TensorView::new(Dtype::F32, vec![150], &bytes).unwrap();
    let file = safetensors::serialize([("rows", tensor), ("flat", flat)], None).unwrap();
    let path = folder.path().join("x.safetensors");
    std::fs::write(&path, &file).unwrap();
    let named = folder.path().join("x.safetensors:rows");
    fit(&named, &folder.path().join("out"), &["--starts", "1"]).done();
    fit(&path, &folder.path().join("no"), &[]).failed(2, &["rows (FP32, 30 x 5)"]);
    std::fs::write(&path, &file[..file.len() - 1]).unwrap();
    fit(&named, &folder.path().join("no"), &[]).failed(2, &["truncated"]);
}

#[test]
fn wrong_words_and_labels_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    write_npy(path("x.npy"), &ring(4, 3)).unwrap();
    std::fs::write(path("three.txt"), "a\nb\nc\n").unwrap();
    std::fs::write(path("empty.txt"), "a\n\nc\nd\n").unwrap();
    let (three, empty) = (path("three.txt"), path("empty.txt"));
    let cases: [(&[&str], &[&str]); 10] = [
        (
            &["--topology", "disc"],
            &[
                "disc",
                "circle, torus, cylinder, sphere or euclidean:D with D from 1 to 16",
            ],
        ),
        (&["--basis", "fourier:1"], &["fourier:1"]),
        (
            &["--topology", "sphere", "--basis", "harmonics:1"],
            &["harmonics:1", "sphere"],
        ),
        // A fit's systems are structured.
        (
            &["--elimination", "rows"],
            &["'rows'", "auto, border, core, iterative, reference"],
        ),
        (&["--gates", "most"], &["expected all, top-k:N"]),
        (
            &["--gates", "top-k:2"],
            &["--gates top-k:2", "number of atoms, 1"],
        ),
        (&["--atoms", "0"], &["--atoms", "at least 1"]),
        (&["--lambda", "-1"], &["--lambda", "at least 0"]),
        (
            &["--labels", three.to_str().unwrap()],
            &["three.txt: 3 labels for the 4 rows of"],
        ),
        (
            &["--labels", empty.to_str().unwrap()],
            &["empty.txt: line 2 is empty"],
        ),
    ];
    for (words, parts) in cases {
        fit(&path("x.npy"), &path("out"), words).failed(2, parts);
    }
    assert!(!path("out").exists());
}

#[test]
fn a_model_that_does_not_fit_the_rows_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    write_npy(path("x.npy"), &ring(30, 5)).unwrap();
    write_npy(path("wide.npy"), &ring(30, 6)).unwrap();
    fit(&path("x.npy"), &path("out"), &["--starts", "1"]).done();
    let encode = |rows: &str, model: &str, out: &str| {
        let words = ["encode", rows, "--model", model, "-o", out];
        finish(broadhead().args(words).current_dir(folder.path()))
    };
    encode("wide.npy", "out", "y.npz").failed(2, &["wide.npy: shape 30 x 6: expected 30 x 5"]);
    encode("x.npy", "nowhere", "y.npz").failed(2, &["nowhere"]);
    encode("x.npy", "out", "y.npy").failed(2, &["ends in .npz"]);
    encode("x.npy", "out", "x.npy/y.npz").failed(1, &["cannot write"]);
    let bare = safetensors::tensor::TensorView::new(safetensors::Dtype::F64, vec![1], &[0; 8]);
    let file = safetensors::serialize([("decoder", bare.unwrap())], None).unwrap();
    std::fs::write(path("bare.safetensors"), file).unwrap();
    encode("x.npy", "bare.safetensors", "y.npz").failed(2, &["\"dictionary\""]);
    assert!(!path("y.npz").exists());
}

#[test]
fn a_folder_that_cannot_be_written_is_a_failure_before_the_fit() {
    let folder = tempfile::tempdir().unwrap();
    let x = folder.path().join("x.npy");
    write_npy(&x, &ring(10, 3)).unwrap();
    fit(&x, &x.join("out"), &[]).failed(1, &["cannot write", "out"]);
}

#[test]
fn a_fit_that_fails_leaves_no_folder() {
    let folder = tempfile::tempdir().unwrap();
    let x = folder.path().join("x.npy");
    // Three rows determine no decoder of four harmonics without a penalty.
    write_npy(&x, &ring(3, 5)).unwrap();
    let out = folder.path().join("new").join("out");
    let words = ["--lambda", "0", "--basis", "harmonics:4", "--starts", "1"];
    fit(&x, &out, &words).failed(1, &["lambda above 0"]);
    assert_eq!(names(folder.path()), ["x.npy"]);
}

/// A limit on file sizes stands for a full disk. The decoder passes it, after smaller files.
#[cfg(unix)]
#[test]
fn a_disk_that_fills_up_leaves_none_of_the_outputs() {
    let folder = tempfile::tempdir().unwrap();
    let (x, out) = (folder.path().join("x.npy"), folder.path().join("out"));
    write_npy(&x, &ring(10, 600)).unwrap();
    let mut limited = std::process::Command::new("sh");
    limited
        .args(["-c", "trap '' XFSZ; ulimit -f 8; exec \"$@\"", "sh"])
        .arg(env!("CARGO_BIN_EXE_broadhead"))
        .args(["fit", "--device", "off", "--starts", "1"])
        .args([&x, Path::new("-o"), &out]);
    finish(&mut limited).failed(1, &["cannot write", "model.safetensors", "File too large"]);
    assert!(!out.exists());
}

/// `broadhead fit X -o OUT --device POLICY --starts 1` and more words.
fn fit_at(policy: &str, rows: &Path, out: &Path, more: &[&str]) -> Ran {
    finish(
        broadhead()
            .args(["fit", "--starts", "1", "--json", "--device", policy])
            .args([rows, Path::new("-o"), out])
            .args(more),
    )
}

#[test]
fn a_required_device_fits_there_or_the_command_exits_3() {
    let folder = tempfile::tempdir().unwrap();
    let (x, out) = (folder.path().join("x.npy"), folder.path().join("out"));
    write_npy(&x, &ring(60, 9)).unwrap();
    if broadhead_device::probe::cuda().is_err() {
        let ran = fit_at("required", &x, &out, &[]);
        ran.failed(3, &["--device required", "driver is missing"]);
        assert!(!out.exists() && ran.stdout.is_empty());
        return;
    }
    // What is missing is named: not the device.
    let words = "--topology torus --basis harmonics:5 --elimination core";
    let wide: Vec<&str> = words.split_whitespace().collect();
    fit_at("required", &x, &out, &wide)
        .failed(3, &["--device required: no device backend", "96 features"]);
    assert!(!out.exists());
    let summary = fit_at("required", &x, &out, &[]).done().json();
    assert_eq!(summary["execution_path"], "gpu-resident-linearization");
    assert!(summary["device"]["name"].is_string() && summary["device"]["reason"].is_null());
    let solves = &summary["solves"];
    assert_eq!(solves["device_factorizations"], solves["factorizations"]);
    let sent = &summary["ledger"]["host_to_device"];
    assert!(sent["operand"].as_u64().unwrap() > 0, "{summary}");
    assert_eq!(names(&out), OUTPUTS);
}

#[test]
fn a_fit_that_may_use_a_device_and_does_not_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let (x, out) = (folder.path().join("x.npy"), folder.path().join("out"));
    write_npy(&x, &ring(60, 9)).unwrap();
    // Pinned to what no device does, so that it runs on the CPU on every machine.
    let auto = fit_at("auto", &x, &out, &["--elimination", "reference"]);
    let summary = auto.done().json();
    assert_eq!(summary["execution_path"], "cpu");
    assert_eq!(summary["device"]["policy"], "auto");
    assert!(summary["device"]["name"].is_null());
    let reason = summary["device"]["reason"].as_str().unwrap();
    assert!(!reason.is_empty());
    let said = format!("broadhead: on the CPU: {reason}\n");
    assert!(auto.stderr.contains(&said), "{auto:?}");
    assert_eq!(summary["solves"]["device_factorizations"], 0);
    assert_eq!(
        summary["ledger"]["factorizations"],
        summary["solves"]["factorizations"]
    );
    let off = fit_at("off", &x, &out, &["--elimination", "reference"]);
    assert_eq!(off.done().stderr, "");
    let reason = &off.json()["device"]["reason"];
    assert_eq!(reason, "the device policy is off");
}

#[test]
fn an_encoding_has_no_device_backend_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    write_npy(path("x.npy"), &ring(60, 9)).unwrap();
    fit(&path("x.npy"), &path("out"), &["--starts", "1"]).done();
    let encode = |policy: &str| {
        finish(
            broadhead()
                .args(["encode", "--json", "--device", policy])
                .args([path("x.npy"), "-o".into(), path("new.npz")])
                .args([Path::new("--model"), &path("out")]),
        )
    };
    // Whether there is a device makes no difference.
    encode("required").failed(3, &["--device required: no device backend for encode"]);
    assert!(!path("new.npz").exists());
    let auto = encode("auto");
    let summary = auto.done().json();
    assert_eq!(summary["execution_path"], "cpu");
    assert_eq!(summary["device"]["reason"], "no device backend for encode");
    let said = "broadhead: on the CPU: no device backend for encode\n";
    assert_eq!(auto.stderr, said);
    assert_eq!(encode("off").done().stderr, "");
}

/// A circle and a line at once, named in a list.
#[test]
fn atoms_of_several_kinds_are_named_in_a_list() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let mut rows = ring(200, 9);
    for (i, mut row) in rows.rows_mut().into_iter().enumerate() {
        let t = (i as f64 * 0.754_877_7).fract() - 0.5;
        row.iter_mut()
            .enumerate()
            .for_each(|(c, x)| *x += 4.0 * t * (c as f64).cos());
    }
    write_npy(at("x.npy"), &rows).unwrap();
    let list = ["--atoms", "circle,euclidean:1", "--json"];
    let ran = fit(&at("x.npy"), &at("out"), &list);
    let summary = ran.done().json();
    assert!(summary["explained_variance"].as_f64().unwrap() > 0.999);
    assert_eq!(summary["options"]["atoms"], 2);
    assert_eq!(summary["options"]["topology"], Value::Null);
    let atoms = summary["dictionary"]["atoms"].as_array().unwrap();
    assert_eq!(atoms[1]["basis"], "monomials:1");
    for share in summary["coverage"].as_array().unwrap() {
        assert!(share.as_f64().unwrap() > 0.8, "{summary}");
    }
    let said = fit(&at("x.npy"), &at("out"), &list[..2]);
    let said = &said.done().stdout;
    assert!(said.contains("2 atoms (circle/harmonics:1,euclidean:1/monomials:1)"));
    let mut encode = broadhead();
    encode.arg("encode").arg(at("x.npy"));
    encode
        .arg("--model")
        .arg(at("out"))
        .arg("-o")
        .arg(at("y.npz"));
    finish(&mut encode).done();
    let mut found = NpzReader::new(File::open(at("y.npz")).unwrap()).unwrap();
    let found: Array2<f64> = found.by_name("coordinates").unwrap();
    let fitted: Array2<f64> = read_npy(at("out").join("coordinates.npy")).unwrap();
    assert!((&found - &fitted).iter().all(|t| t.abs() < 1e-3));

    let refused = |more: &[&str], expected: &[&str]| {
        fit(&at("x.npy"), &at("none"), more).failed(2, expected);
        assert!(!at("none").exists());
    };
    refused(&["--atoms", "2*disc"], &["disc", "is no topology"]);
    refused(&["--atoms", "0*circle"], &["0*circle", "is no atom"]);
    refused(&["--atoms", "sphere/harmonics:1"], &["not defined"]);
    refused(&["--atoms", "9999999999*circle"], &["16384"]);
    let both = ["--atoms", "circle,sphere", "--basis", "harmonics:2"];
    refused(&both, &["--topology and --basis", "alike"]);
}

#[test]
fn a_circle_that_is_used_as_an_arc_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (x, out) = (folder.path().join("x.npy"), folder.path().join("out"));
    // A parabola: a circle fits it by an arc.
    let bent = Array2::from_shape_fn((300, 3), |(i, c)| {
        let t = (i as f64 * 0.618_033_988).fract() - 0.5;
        [t, 0.5 * t * t, 0.001 * ((i * 7) as f64).sin()][c]
    });
    write_npy(&x, &bent).unwrap();
    let ran = fit(&x, &out, &[]);
    let warned = "circles whose rows cover a short arc: 0 (";
    assert!(ran.done().stderr.contains(warned), "{}", ran.stderr);
    let picture = std::fs::read_to_string(out.join("coordinates.svg")).unwrap();
    assert!(picture.contains("covered to"), "{picture}");
    write_npy(&x, &ring(300, 5)).unwrap();
    let ran = fit(&x, &out, &[]);
    assert!(!ran.done().stderr.contains("arc"), "{}", ran.stderr);
    assert!(ran.stdout.contains("rows cover"), "{}", ran.stdout);
}

/// A model that a library made with gates of its own says so, and which option helps.
#[test]
fn a_model_whose_gates_were_given_asks_for_those_of_the_new_rows() {
    use broadhead_sae::model::file::Note;
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    write_npy(at("x.npy"), &ring(40, 5)).unwrap();
    for word in ["given", "top-k:0", "mask.npy"] {
        let note = Note {
            dictionary: "circle".parse().unwrap(),
            gates: word.to_owned(),
            kappa: 0.0,
            lambda: None,
        };
        let model = broadhead_sae::Model::new(note, Array2::ones((3, 5))).unwrap();
        model.save(&at("m.safetensors")).unwrap();
        let encode = |more: &[&str]| {
            let mut command = broadhead();
            command.arg("encode").arg(at("x.npy"));
            command.arg("--model").arg(at("m.safetensors"));
            finish(command.arg("-o").arg(at("y.npz")).args(more))
        };
        encode(&[]).failed(2, &["m.safetensors", word, "--gates"]);
        encode(&["--gates", "all"]).done();
    }
}
