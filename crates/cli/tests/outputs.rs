//! What is written where: sets of files of one run, and nothing over what is read.

mod common;

use broadhead_cli::digits;
use common::{Ran, broadhead, finish, names, write_npz};
use ndarray::{Array1, Array2, Array3};
use ndarray_npy::{read_npy, write_npy};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

/// Rows on a circle and a line, with a little noise.
fn rows(count: usize, columns: usize) -> Array2<f64> {
    Array2::from_shape_fn((count, columns), |(i, c)| {
        let angle = 2.399_963 * i as f64;
        let noise = ((i * columns + c) as f64 * 0.618_034).fract() - 0.5;
        angle.cos() * (c as f64).sin() + angle.sin() * (2.0 * c as f64).cos() + 0.05 * noise
    })
}

fn fit(x: &Path, out: &Path, atoms: usize) -> Command {
    fit_from(1, x, out, atoms)
}

fn fit_from(starts: usize, x: &Path, out: &Path, atoms: usize) -> Command {
    let mut command = broadhead();
    command
        .args(["fit", "--device", "off", "--starts", &starts.to_string()])
        .args(["--max-iterations", "4", "--atoms", &atoms.to_string()])
        .args([x, Path::new("-o"), out]);
    command
}

/// The number of atoms that each file of a fit's folder tells of, but for the summary's.
fn atoms_of_each(out: &Path) -> Vec<(&'static str, usize)> {
    let columns = |name: &str| read_npy::<_, Array2<f64>>(out.join(name)).map(|a| a.ncols());
    let bytes = fs::read(out.join("model.safetensors")).unwrap();
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let note: Value =
        serde_json::from_str(&header.metadata().as_ref().unwrap()["dictionary"]).unwrap();
    vec![
        ("coordinates.npy", columns("coordinates.npy").unwrap()),
        ("gates.npy", columns("gates.npy").unwrap()),
        ("model.safetensors", note["atoms"].as_array().unwrap().len()),
    ]
}

fn is_one_set(out: &Path) {
    let text = fs::read_to_string(out.join("summary.json")).unwrap();
    let summary: Value = serde_json::from_str(&text).unwrap();
    let atoms = summary["options"]["atoms"].as_u64().unwrap() as usize;
    for (file, found) in atoms_of_each(out) {
        assert_eq!(found, atoms, "{file} beside {text}");
    }
    let trace = fs::read_to_string(out.join("trace.jsonl")).unwrap();
    let trials = summary["trials"].as_u64().unwrap() as usize;
    let newton = |line: &&str| line.contains("\"newton\"");
    assert_eq!(
        trace.lines().filter(newton).count(),
        trials,
        "{trace} beside {text}"
    );
    let picture = fs::read_to_string(out.join("coordinates.svg")).unwrap();
    let unexplained = summary["unexplained_variance"].as_f64().unwrap();
    assert!(picture.contains(&digits::explained(unexplained)), "{text}");
}

#[test]
fn two_fits_into_one_folder_at_once_leave_the_files_of_one() {
    let folder = tempfile::tempdir().unwrap();
    let (x, out) = (folder.path().join("x.npy"), folder.path().join("out"));
    write_npy(&x, &rows(60, 6)).unwrap();
    // The second names the same folder in another way.
    let alias = folder.path().join("./out/../out");
    let mut refused = 0;
    for pair in 0..40 {
        let start = |atoms: usize, out: &Path| {
            let mut command = fit(&x, out, atoms);
            (command.stdout(Stdio::null()).stderr(Stdio::piped()))
                .spawn()
                .unwrap()
        };
        let both = [start(1, &out), start(2, &alias)];
        let ended = both.map(|run| run.wait_with_output().unwrap());
        let codes = ended.each_ref().map(|run| run.status.code().unwrap());
        assert!(codes.contains(&0), "pair {pair}: {ended:?}");
        for run in ended.iter().filter(|run| !run.status.success()) {
            let said = String::from_utf8_lossy(&run.stderr);
            assert_eq!(run.status.code(), Some(1), "{said}");
            assert!(said.contains("another run is writing"), "{said}");
            assert!(said.contains("out"), "{said}");
            refused += 1;
        }
        is_one_set(&out);
        assert_eq!(names(&out).len(), 6, "{:?}", names(&out));
    }
    assert!(refused > 0, "no two runs met: nothing was shown");
}

/// Whoever reads files between two looks at one and the same summary has the files of one run.
#[test]
fn a_reader_never_sees_a_mixture_beside_a_summary() {
    let folder = tempfile::tempdir().unwrap();
    let (x, out) = (folder.path().join("x.npy"), folder.path().join("out"));
    write_npy(&x, &rows(40, 5)).unwrap();
    finish(&mut fit(&x, &out, 1)).done();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let columns = |name: &str| read_npy::<_, Array2<f64>>(out.join(name)).ok();
            let mut seen = 0;
            while !done.load(Ordering::Relaxed) {
                let Ok(before) = fs::read_to_string(out.join("summary.json")) else {
                    continue;
                };
                let found = ["coordinates.npy", "gates.npy"].map(columns);
                let after = fs::read_to_string(out.join("summary.json")).ok();
                if after.as_ref() != Some(&before) {
                    continue;
                }
                let summary: Value = serde_json::from_str(&before).unwrap();
                let atoms = summary["options"]["atoms"].as_u64().unwrap() as usize;
                for found in found {
                    assert_eq!(found.map(|a| a.ncols()), Some(atoms), "{before}");
                }
                seen += 1;
            }
            seen
        });
        for turn in 0..60 {
            finish(&mut fit(&x, &out, 1 + turn % 2)).done();
        }
        done.store(true, Ordering::Relaxed);
        assert!(reader.join().expect("one set at every look") > 0);
    });
}

#[cfg(unix)]
#[test]
fn a_killed_fit_leaves_no_lock_behind() {
    let folder = tempfile::tempdir().unwrap();
    let (x, out) = (folder.path().join("x.npy"), folder.path().join("out"));
    write_npy(&x, &rows(4000, 60)).unwrap();
    let mut long = fit_from(10, &x, &out, 8);
    let mut running = (long.stderr(Stdio::null()).stdout(Stdio::null()))
        .spawn()
        .unwrap();
    // It has the folder as soon as that is there.
    let mut other = fit(&x, &out, 1);
    for _ in 0..2000 {
        if out.exists() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    finish(&mut other).failed(1, &["another run is writing", "out"]);
    running.kill().unwrap();
    running.wait().unwrap();
    finish(&mut other).done();
    is_one_set(&out);
    assert_eq!(names(&out).len(), 6, "{:?}", names(&out));
}

/// Names of one file: by itself, through `./`, a link of either kind, and a folder's link.
#[cfg(unix)]
fn aliases(file: &Path) -> Vec<PathBuf> {
    let (folder, name) = (file.parent().unwrap(), file.file_name().unwrap());
    let name = name.to_str().unwrap();
    let [soft, hard] = ["soft", "hard"].map(|kind| folder.join(format!("{kind}-{name}")));
    std::os::unix::fs::symlink(file, &soft).unwrap();
    fs::hard_link(file, &hard).unwrap();
    let around = folder.join("around");
    if !around.exists() {
        std::os::unix::fs::symlink(folder, &around).unwrap();
    }
    vec![
        file.to_owned(),
        folder.join(".").join(name),
        soft,
        hard,
        around.join(name),
    ]
}

#[cfg(unix)]
#[test]
fn no_command_writes_over_what_it_reads() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let refused = |ran: Ran, file: &Path, bytes: &[u8]| {
        ran.failed(2, &["would be written over", "which is read"]);
        assert_eq!(fs::read(file).unwrap(), bytes, "{ran:?}");
    };

    let system = at("s.npz");
    write_npz(&system, |npz| {
        npz.add_array("row_hessian", &Array3::from_elem((2, 1, 1), 2.0))
            .unwrap();
        npz.add_array("row_cross", &Array3::from_elem((2, 1, 1), 0.1))
            .unwrap();
        npz.add_array("row_gradient", &Array2::from_elem((2, 1), 1.0))
            .unwrap();
        npz.add_array("border_hessian", &Array2::from_elem((1, 1), 2.0))
            .unwrap();
        npz.add_array("border_gradient", &Array1::from_elem(1, 1.0))
            .unwrap();
    });
    let bytes = fs::read(&system).unwrap();
    for alias in aliases(&system) {
        let words = ["solve", "--device", "off"];
        let paths = [&system, Path::new("-o"), &alias];
        let ran = finish(broadhead().args(words).args(paths));
        refused(ran, &system, &bytes);
    }

    // The outputs of a fit are read by the next: as rows, as gates, as labels.
    let x = at("x.npy");
    write_npy(&x, &rows(30, 4)).unwrap();
    let out = at("out");
    finish(&mut fit(&x, &out, 1)).done();
    let coordinates = out.join("coordinates.npy");
    let bytes = fs::read(&coordinates).unwrap();
    for alias in aliases(&coordinates) {
        refused(finish(&mut fit(&alias, &out, 1)), &coordinates, &bytes);
    }
    let (gates, trace) = (out.join("gates.npy"), out.join("trace.jsonl"));
    let bytes = fs::read(&gates).unwrap();
    let mut given = fit(&x, &out, 1);
    refused(finish(given.arg("--gates").arg(&gates)), &gates, &bytes);
    let bytes = fs::read(&trace).unwrap();
    let mut labelled = fit(&x, &out, 1);
    refused(finish(labelled.arg("--labels").arg(&trace)), &trace, &bytes);
    is_one_set(&out);

    // Rows, model and gates of an encoding, which a link may call an .npz.
    let rows = at("rows.npz");
    write_npz(&rows, |npz| {
        npz.add_array("x", &self::rows(30, 4)).unwrap();
        npz.add_array("on", &Array2::from_elem((30, 1), 1.0))
            .unwrap();
    });
    let model = out.join("model.safetensors");
    let link = at("model.npz");
    std::os::unix::fs::symlink(&model, &link).unwrap();
    let on = at("rows.npz:on");
    let from = at("rows.npz:x");
    let encode = |x: &Path, to: &Path, more: &[&Path]| {
        let words = [Path::new("encode"), x, Path::new("--model"), &out];
        let words = words.into_iter().chain([Path::new("-o"), to]);
        finish(broadhead().args(words).args(more))
    };
    let bytes = fs::read(&rows).unwrap();
    for alias in aliases(&rows) {
        refused(encode(&from, &alias, &[]), &rows, &bytes);
        let gates = [Path::new("--gates"), &on];
        refused(encode(&x, &alias, &gates), &rows, &bytes);
    }
    let bytes = fs::read(&model).unwrap();
    refused(encode(&from, &link, &[]), &model, &bytes);
    // Beside its input is no fault.
    encode(&from, &at("fine.npz"), &[]).done();
}
