//! What readers take, and how they name what they do not.

mod common;

use common::{Ran, broadhead, finish, write_npz};
use ndarray::{Array1, Array2, Array3};
use ndarray_npy::{WritableElement, read_npy, write_npy};
use std::path::{Path, PathBuf};

fn ring(rows: usize) -> Array2<f64> {
    Array2::from_shape_fn((rows, 3), |(i, c)| {
        (2.4 * i as f64 + 1.6 * c as f64).cos() + 0.01 * (i * c) as f64
    })
}

fn fit(folder: &Path, words: &[&str]) -> Ran {
    finish(
        broadhead()
            .args(["fit", "--device", "off", "--starts", "1", "-o", "out"])
            .args(words)
            .current_dir(folder),
    )
}

/// A file that NumPy wrote: a seed of the fuzzer.
fn seed(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/corpus")
        .join(name)
}

/// A `.npy` of these bytes.
fn npy(path: &Path, descr: &str, shape: &str, data: &[u8]) {
    let text = format!("{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n");
    let mut bytes = b"\x93NUMPY\x01\0".to_vec();
    bytes.extend((text.len() as u16).to_le_bytes());
    bytes.extend(text.as_bytes());
    bytes.extend(data);
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_byte_order_mark_and_a_blank_last_line_make_no_label() {
    let folder = tempfile::tempdir().unwrap();
    write_npy(folder.path().join("x.npy"), &ring(12)).unwrap();
    let week = ["mon", "tue", "wed"].repeat(4);
    for (name, text) in [
        ("mark", format!("\u{feff}{}\n", week.join("\n"))),
        ("blank", format!("{}\n\n", week.join("\n"))),
        ("windows", format!("\u{feff}{}\r\n\r\n", week.join("\r\n"))),
    ] {
        std::fs::write(folder.path().join("l.txt"), text).unwrap();
        let ran = fit(folder.path(), &["x.npy", "--labels", "l.txt", "--json"]);
        let labels = ran.done().json()["labels"].as_object().unwrap().clone();
        let names: Vec<&str> = labels.keys().map(String::as_str).collect();
        assert_eq!(names, ["mon", "tue", "wed"], "{name}");
    }
    let utf16: Vec<u8> = week
        .join("\n")
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    std::fs::write(
        folder.path().join("l.txt"),
        [&[0xff, 0xfe], &utf16[..]].concat(),
    )
    .unwrap();
    let words = ["x.npy", "--labels", "l.txt"];
    fit(folder.path(), &words).failed(2, &["l.txt: is UTF-16: expected UTF-8"]);
    std::fs::write(folder.path().join("l.txt"), &utf16).unwrap();
    fit(folder.path(), &words).failed(2, &["l.txt: looks like UTF-16"]);
    std::fs::write(folder.path().join("l.txt"), b"a\nm\xe4rz\n").unwrap();
    fit(folder.path(), &words).failed(2, &["l.txt: line 2 holds the byte 0xe4"]);
    std::fs::write(
        folder.path().join("l.txt"),
        week.join("\n").replacen("tue", "", 1),
    )
    .unwrap();
    fit(folder.path(), &words).failed(2, &["l.txt: line 2 is empty"]);
}

#[test]
fn a_file_of_metadata_alone_holds_no_array() {
    let folder = tempfile::tempdir().unwrap();
    for name in [
        "npz/empty.npz",
        "npz/no-array.npz",
        "safetensors/metadata.safetensors",
    ] {
        let file = seed(name);
        let ran = fit(folder.path(), &[file.to_str().unwrap()]);
        ran.failed(2, &["holds no array\n"]);
        assert!(!ran.stderr.contains("several"), "{ran:?}");
    }
}

#[test]
fn a_model_that_is_not_there_is_named_with_what_is_expected() {
    let folder = tempfile::tempdir().unwrap();
    write_npy(folder.path().join("x.npy"), &ring(4)).unwrap();
    std::fs::create_dir(folder.path().join("empty")).unwrap();
    let encode = |model: &str| {
        let words = [
            "encode", "x.npy", "--device", "off", "-o", "y.npz", "--model", model,
        ];
        finish(broadhead().args(words).current_dir(folder.path()))
    };
    let expected = "expected the folder that `broadhead fit` wrote";
    encode("absent").failed(2, &["absent: there is no such folder", expected]);
    encode("empty").failed(2, &["empty: holds no model.safetensors", expected]);
    encode("m.safetensors").failed(2, &["m.safetensors: there is no such file", expected]);
    encode("x.npy").failed(
        2,
        &["x.npy: is neither a folder nor a .safetensors", expected],
    );
}

#[test]
fn a_parent_folder_that_is_missing_is_named() {
    let folder = tempfile::tempdir().unwrap();
    write_npy(folder.path().join("x.npy"), &ring(12)).unwrap();
    fit(folder.path(), &["x.npy"]).done();
    let words = [
        "encode",
        "x.npy",
        "--device",
        "off",
        "--model",
        "out",
        "-o",
        "a/b/y.npz",
    ];
    let ran = finish(broadhead().args(words).current_dir(folder.path()));
    ran.failed(1, &["cannot write a/b/y.npz: there is no folder a\n"]);
}

#[test]
fn types_that_are_not_read_are_named_for_what_they_are() {
    let folder = tempfile::tempdir().unwrap();
    for (name, part) in [
        (
            "npy/long-double.npy",
            "<f16 (long double, wider than FP64) is not read",
        ),
        (
            "npy/objects.npy",
            "|O (Python objects in a pickle, which is never opened)",
        ),
        ("npy/structured.npy", "structured, [('a', '<f4', (2,))"),
        ("npy/complex.npy", "<c16 (complex numbers)"),
        (
            "npz/bzip2.npz",
            "npz:rows: is compressed by bzip2, which is not read: write it by numpy.savez",
        ),
        ("npz/lzma.npz", "npz:rows: is compressed by LZMA"),
    ] {
        let file = seed(name);
        fit(folder.path(), &[file.to_str().unwrap()]).failed(2, &[part]);
    }
}

#[test]
fn bf16_of_numpy_is_read_as_bf16_and_said() {
    let folder = tempfile::tempdir().unwrap();
    let x = ring(30).mapv(|v| half::bf16::from_f64(v).to_f64());
    write_npy(folder.path().join("f.npy"), &x).unwrap();
    let bytes: Vec<u8> = x
        .iter()
        .flat_map(|&v| half::bf16::from_f64(v).to_le_bytes())
        .collect();
    npy(&folder.path().join("b.npy"), "'<V2'", "(30, 3)", &bytes);
    let coordinates = |file: &str| {
        let ran = fit(folder.path(), &[file]);
        let read: Array2<f64> = read_npy(folder.path().join("out/coordinates.npy")).unwrap();
        (ran.done().stderr.clone(), read)
    };
    let (said, of_bf16) = coordinates("b.npy");
    assert!(
        said.contains("note: b.npy: elements of two raw bytes (V2) are read as BF16"),
        "{said}"
    );
    let (said, of_fp64) = coordinates("f.npy");
    assert_eq!((said, of_bf16), (String::new(), of_fp64));
    // The file that ml_dtypes and NumPy wrote.
    let file = seed("npy/bf16.npy");
    fit(folder.path(), &[file.to_str().unwrap()]).done();
}

#[test]
fn masks_of_truth_values_and_whole_numbers_are_gates() {
    let folder = tempfile::tempdir().unwrap();
    write_npy(folder.path().join("x.npy"), &ring(40)).unwrap();
    let mask = Array2::from_shape_fn((40, 2), |(i, a)| i % 2 == a || i % 5 == 0);
    let words = [
        "x.npy",
        "--atoms",
        "2",
        "--max-iterations",
        "3",
        "--gates",
        "g.npy",
    ];
    let gates = || {
        fit(folder.path(), &words).done();
        let gates: Array2<f64> = read_npy(folder.path().join("out/gates.npy")).unwrap();
        gates
    };
    fn with<T: WritableElement>(folder: &Path, mask: &Array2<bool>, of: impl Fn(u8) -> T) {
        let mask = mask.mapv(|on| of(on.into()));
        write_npy(folder.join("g.npy"), &mask).unwrap();
    }
    let path = folder.path();
    with(path, &mask, f64::from);
    let expected = gates();
    with(path, &mask, |on| on == 1);
    assert_eq!(gates(), expected);
    with(path, &mask, |on| on as i8);
    assert_eq!(gates(), expected);
    with(path, &mask, i64::from);
    assert_eq!(gates(), expected);
    with(path, &mask, u64::from);
    assert_eq!(gates(), expected);
    with(path, &mask, |on| if on == 1 { -3i32 } else { 0 });
    fit(path, &words).failed(
        2,
        &["g.npy: element [0, 0] is -3: expected a whole number from 0"],
    );
    with(path, &mask, |on| if on == 1 { u64::MAX } else { 0 });
    fit(path, &words).failed(2, &["g.npy: element [0, 0] is 1844674407370955"]);
    npy(&path.join("g.npy"), "'|b1'", "(40, 2)", &[7; 80]);
    fit(path, &words).failed(2, &["g.npy: element [0, 0] is 7: expected a truth value"]);
}

#[test]
fn row_dims_of_any_type_are_taken_and_those_out_of_range_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("s.npz");
    fn write<T: WritableElement>(path: &Path, dims: [T; 3]) {
        write_npz(path, |npz| {
            let identity = |(_, a, b): (usize, usize, usize)| if a == b { 4.0 } else { 0.5 };
            npz.add_array("row_hessian", &Array3::from_shape_fn((3, 2, 2), identity))
                .unwrap();
            npz.add_array("row_cross", &Array3::from_elem((3, 2, 1), 0.25))
                .unwrap();
            npz.add_array("row_gradient", &Array2::<f64>::ones((3, 2)))
                .unwrap();
            npz.add_array("border_hessian", &Array2::from_elem((1, 1), 9.0))
                .unwrap();
            npz.add_array("border_gradient", &Array1::<f64>::ones(1))
                .unwrap();
            npz.add_array("row_dims", &Array1::from_vec(dims.into()))
                .unwrap();
        });
    }
    let solve = || {
        let to = folder.path().join("t.npz");
        let words = ["solve", "--device", "off", "--json"];
        finish(broadhead().args(words).args([&from, Path::new("-o"), &to]))
    };
    let unknowns = || solve().done().json()["row_unknowns"].clone();
    write(&from, [true, false, true]);
    assert_eq!(unknowns(), 2);
    write(&from, [2u8, 1, 0]);
    assert_eq!(unknowns(), 3);
    write(&from, [2i64, 1, 0]);
    assert_eq!(unknowns(), 3);
    write(&from, [2u64, 1, 0]);
    assert_eq!(unknowns(), 3);
    write(&from, [2.0f32, 1.0, 0.0]);
    assert_eq!(unknowns(), 3);
    let whole = "expected a whole number from 0 to 2";
    write(&from, [2i32, -1, 0]);
    solve().failed(2, &["row_dims: element [1] is -1", whole]);
    write(&from, [2.0, 1.0, 0.5]);
    solve().failed(2, &["row_dims: element [2] is 0.5", whole]);
    write(&from, [u64::MAX, 1, 0]);
    solve().failed(2, &["row_dims: element [0] is 18446744073709552000", whole]);
}

/// Brackets in brackets took a general reader of Python text exponential time.
#[test]
fn a_nested_header_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let descr = format!("{}{}", "[".repeat(4000), "]".repeat(4000));
    npy(&folder.path().join("deep.npy"), &descr, "(1,)", &[]);
    fit(folder.path(), &["deep.npy"]).failed(2, &["deep.npy: element type structured, [[["]);
}

/// A member of some bytes that claims to hold gigabytes, and a file of nothing but ends.
#[test]
fn an_archive_that_claims_more_than_it_holds_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut bytes = std::fs::read(seed("npz/zeros.npz")).unwrap();
    let entry = bytes.windows(4).position(|w| w == b"PK\x01\x02").unwrap();
    bytes[entry + 24..entry + 28].copy_from_slice(&(1u32 << 31).to_le_bytes());
    std::fs::write(folder.path().join("bomb.npz"), &bytes).unwrap();
    fit(folder.path(), &["bomb.npz"]).failed(
        2,
        &[
            "bomb.npz:rows: not a complete .npz archive",
            "claims 2147483648 bytes",
        ],
    );
    let mut end = b"PK\x05\x06\0\0\0\0\xff\xff\xff\xff".to_vec();
    end.extend([0; 10]);
    std::fs::write(folder.path().join("ends.npz"), end.repeat(1 << 17)).unwrap();
    fit(folder.path(), &["ends.npz"]).failed(2, &["ends.npz: not a complete .npz archive"]);
}

#[test]
fn an_objective_beyond_fp64_is_null_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    write_npy(folder.path().join("x.npy"), &ring(20).mapv(|v| 1e200 * v)).unwrap();
    let summary = fit(folder.path(), &["x.npy", "--json"]).done().json();
    assert!(summary["objective"].is_null(), "{summary}");
    let reason = summary["objective_reason"].as_str().unwrap();
    assert!(reason.contains("beyond FP64"), "{reason}");
    write_npy(folder.path().join("x.npy"), &ring(20)).unwrap();
    let summary = fit(folder.path(), &["x.npy", "--json"]).done().json();
    assert!(summary["objective"].is_number() && summary["objective_reason"].is_null());
}
