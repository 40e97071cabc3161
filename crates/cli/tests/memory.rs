//! `--memory`: rows are read from their files tile by tile, with the same bits, within the bound, or refused.

mod common;

use common::{Ran, broadhead, finish, ring, write_npz};
use ndarray::Array2;
use ndarray_npy::write_npy;
use std::fs;
use std::io::Write;
use std::path::Path;

/// Runs the program with as little memory as it says it needs.
fn with_least_memory(words: &[&str]) -> Ran {
    let mut bytes = 1 << 20;
    for _ in 0..8 {
        let memory = bytes.to_string();
        let ran = finish(broadhead().args(words).args(["--memory", &memory]));
        if ran.code == 0 {
            return ran;
        }
        ran.failed(1, &["needs", "are allowed: --memory"]);
        // A little more, since a process is not of the same size every time.
        bytes += figure(&ran, " needs ") - figure(&ran, " of memory, ") + (128 << 10);
    }
    panic!("{words:?}: not done with {bytes} bytes");
}

/// The figure behind some words.
fn figure(ran: &Ran, words: &str) -> u64 {
    let behind = ran.stderr.split(words).nth(1);
    let digits = behind.and_then(|text| text.split(|c: char| !c.is_ascii_digit()).next());
    let figure = digits.and_then(|digits| digits.parse().ok());
    figure.unwrap_or_else(|| panic!("no figure behind {words:?}: {ran:?}"))
}

/// Writes numbers as BF16, their upper halves, into a `.safetensors`.
fn write_bf16(path: &Path, x: &Array2<f64>) {
    let (rows, columns) = x.dim();
    let bytes: Vec<u8> = (x.iter())
        .flat_map(|v| ((*v as f32).to_bits() >> 16).to_le_bytes()[..2].to_vec())
        .collect();
    let header = format!(
        "{{\"x\":{{\"dtype\":\"BF16\",\"shape\":[{rows},{columns}],\"data_offsets\":[0,{}]}}}}",
        bytes.len()
    );
    let mut file = fs::File::create(path).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes())
        .unwrap();
    file.write_all(header.as_bytes()).unwrap();
    file.write_all(&bytes).unwrap();
}

/// Writes single-precision numbers in Fortran order.
fn write_turned(path: &Path, x: &Array2<f32>) {
    write_npy(
        path,
        &x.t().as_standard_layout().into_owned().reversed_axes(),
    )
    .unwrap();
}

/// Rows of two circles, as many as make a difference to memory.
fn rows(n: usize) -> Array2<f64> {
    let mut x = ring(n, 40);
    for (i, mut row) in x
        .rows_mut()
        .into_iter()
        .enumerate()
        .filter(|(i, _)| i % 2 == 0)
    {
        row *= 0.5 + (i % 7) as f64 / 7.0;
    }
    x
}

#[test]
fn fits_and_encodings_of_rows_on_disk_write_the_same_bytes_as_of_rows_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let x = rows(10_000);
    let single = x.mapv(|v| v as f32);
    write_npy(at("double.npy"), &x).unwrap();
    write_npy(at("single.npy"), &single).unwrap();
    write_turned(Path::new(&at("turned.npy")), &single);
    write_npz(Path::new(&at("archive.npz")), |npz| {
        npz.add_array("other", &x.slice(ndarray::s![..3, ..]))
            .unwrap();
        npz.add_array("rows", &single).unwrap();
    });
    write_bf16(Path::new(&at("x.safetensors")), &x);
    let archive = format!("{}:rows", at("archive.npz"));
    let cases: [(&[String], &[&str]); 5] = [
        (&[at("single.npy")], &["--gates", "top-k:1"]),
        (
            &[at("double.npy")],
            &["--max-iterations", "3", "--holdout", "0.2"],
        ),
        (&[at("turned.npy")], &["--gates", "top-k:1"]),
        (
            &[archive, at("single.npy")],
            &["--gates", "top-k:1", "--holdout", "0.1"],
        ),
        (&[at("x.safetensors")], &["--max-iterations", "3"]),
    ];
    for (case, (files, more)) in cases.into_iter().enumerate() {
        let fit = |out: &str| -> Vec<String> {
            let words = [
                "fit", "--device", "off", "--atoms", "2", "--starts", "2", "-o", out,
            ];
            let words = words.iter().map(|word| (*word).to_owned());
            let more = more.iter().map(|word| (*word).to_owned());
            words.chain(files.iter().cloned()).chain(more).collect()
        };
        let (whole, tiles) = (at(&format!("whole{case}")), at(&format!("tiles{case}")));
        finish(broadhead().args(fit(&whole))).done();
        let words = fit(&tiles);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        with_least_memory(&words);
        let summary = |folder: &str| -> serde_json::Value {
            let text = fs::read(Path::new(folder).join("summary.json")).unwrap();
            serde_json::from_slice(&text).unwrap()
        };
        let (whole_summary, tiles_summary) = (summary(&whole), summary(&tiles));
        assert_eq!(whole_summary["streamed"], false, "case {case}");
        assert_eq!(tiles_summary["streamed"], true, "case {case}");
        for name in whole_summary["outputs"].as_array().unwrap() {
            let name = Path::new(name.as_str().unwrap()).file_name().unwrap();
            if name == "summary.json" {
                continue;
            }
            let of = |folder: &str| fs::read(Path::new(folder).join(name)).unwrap();
            assert!(of(&whole) == of(&tiles), "case {case}: {name:?} differs");
        }
        let encode = |out: &str| -> Vec<String> {
            let words = ["encode", &files[0], "--model", &whole, "-o", out, "--json"];
            words.iter().map(|word| (*word).to_owned()).collect()
        };
        let (of_whole, of_tiles) = (
            at(&format!("whole{case}.npz")),
            at(&format!("tiles{case}.npz")),
        );
        let ran = finish(broadhead().args(encode(&of_whole)));
        assert_eq!(ran.done().json()["streamed"], false, "case {case}");
        let words = encode(&of_tiles);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let ran = with_least_memory(&words);
        assert_eq!(ran.json()["streamed"], true, "case {case}");
        assert!(
            fs::read(of_whole).unwrap() == fs::read(of_tiles).unwrap(),
            "case {case}"
        );
    }
}

/// A file of 160 MB: the program's own size, the codes of its rows and a few tiles are all that is resident.
#[cfg(target_os = "linux")]
#[test]
fn a_file_larger_than_the_memory_given_is_fitted_and_encoded_within_it() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (x, out, encoded) = (at("x.npy"), at("out"), at("out.npz"));
    let (n, p) = (40_000, 1000);
    {
        let wave = |at: usize| (at as f32 * 0.618_034).fract() - 0.5;
        let mut file = std::io::BufWriter::new(fs::File::create(&x).unwrap());
        write_npy(&x, &Array2::<f32>::zeros((0, p))).unwrap();
        let header = fs::read(&x).unwrap();
        let text = String::from_utf8_lossy(&header[10..]).replace("(0, ", &format!("({n}, "));
        file.write_all(&header[..10]).unwrap();
        file.write_all(&text.as_bytes()[..header.len() - 11])
            .unwrap();
        file.write_all(b"\n").unwrap();
        for i in 0..n {
            let (sin, cos) = (2.4 * i as f32).sin_cos();
            for c in 0..p {
                let value = cos * wave(7 * c) + sin * wave(5 * c + 1) + 0.1 * wave(i * p + c);
                file.write_all(&value.to_le_bytes()).unwrap();
            }
        }
    }
    assert!(fs::metadata(&x).unwrap().len() > 160_000_000);
    let memory = 140 << 20;
    let bytes = memory.to_string();
    let common = ["--memory", &bytes, "--json", "--device", "off"];
    let fit = [
        "fit", &x, "-o", &out, "--atoms", "3", "--gates", "top-k:1", "--starts", "1",
    ];
    let ran = finish(
        broadhead()
            .args(fit)
            .args(["--max-seconds", "2"])
            .args(common),
    );
    let summary = ran.done().json();
    assert_eq!(summary["streamed"], true);
    let peak = summary["peak_memory"].as_u64().unwrap();
    assert!(peak <= memory, "a fit had {peak} bytes of {memory}");
    assert!(summary["explained_variance"].as_f64().unwrap() > 0.8);
    let ran = finish(
        broadhead()
            .args(["encode", &x, "--model", &out, "-o", &encoded])
            .args(common),
    );
    let summary = ran.done().json();
    assert_eq!(summary["streamed"], true);
    let peak = summary["peak_memory"].as_u64().unwrap();
    assert!(peak <= memory, "an encoding had {peak} bytes of {memory}");
    assert_eq!(summary["converged"], n);
}

#[test]
fn too_little_memory_is_refused_with_both_figures_and_odd_words_are_bad_usage() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    write_npy(at("x.npy"), &ring(50, 6)).unwrap();
    let run = |memory: &str| {
        let (x, out) = (at("x.npy"), at("out"));
        let words = ["fit", &x, "-o", &out, "--device", "off", "--memory", memory];
        finish(broadhead().args(words))
    };
    run("1M").failed(1, &["the fit of", "needs", "are allowed: --memory"]);
    for word in ["", "1.5G", "-1", "12X", "G", "99999999999999G"] {
        run(word).failed(2, &["powers of 1024"]);
    }
    run("8G").done();
}
