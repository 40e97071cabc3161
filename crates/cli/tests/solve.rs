//! `broadhead solve`: right steps, and every way in which a system's file can be wrong.

mod common;

use common::{Ran, broadhead, finish, names, run, write_npz};
use ndarray::{Array1, Array2, Array3, ShapeBuilder, s};
use ndarray_npy::NpzReader;
use std::fs::File;
use std::path::Path;

/// A made system: diagonally dominant, so positive definite.
struct System {
    row_hessian: Array3<f64>,
    row_cross: Array3<f64>,
    row_gradient: Array2<f64>,
    border_hessian: Array2<f64>,
    border_gradient: Array1<f64>,
    row_dims: Option<Vec<i64>>,
}

impl System {
    fn made(n: usize, d: usize, k: usize) -> Self {
        let wave = |x: usize| (x as f64 * 0.754_877_666).fract() - 0.5;
        let big = (n * d + k + 1) as f64;
        let mut row_hessian =
            Array3::from_shape_fn((n, d, d), |(i, a, b)| wave(31 * i + 7 * (a + b)));
        let mut border_hessian = Array2::from_shape_fn((k, k), |(a, b)| wave(13 * (a + b)));
        for mut block in row_hessian.outer_iter_mut() {
            block.diag_mut().mapv_inplace(|x| x + big);
        }
        border_hessian.diag_mut().mapv_inplace(|x| x + big);
        Self {
            row_hessian,
            row_cross: Array3::from_shape_fn((n, d, k), |(i, a, c)| wave(17 * i + 3 * a + 5 * c)),
            row_gradient: Array2::from_shape_fn((n, d), |(i, a)| 1.0 + wave(11 * i + a)),
            border_gradient: Array1::from_shape_fn(k, |c| 2.0 + wave(19 * c)),
            border_hessian,
            row_dims: None,
        }
    }

    fn write(&self, path: &Path) {
        write_npz(path, |npz| {
            npz.add_array("row_hessian", &self.row_hessian).unwrap();
            npz.add_array("row_cross", &self.row_cross).unwrap();
            npz.add_array("row_gradient", &self.row_gradient).unwrap();
            npz.add_array("border_hessian", &self.border_hessian)
                .unwrap();
            npz.add_array("border_gradient", &self.border_gradient)
                .unwrap();
            if let Some(dims) = &self.row_dims {
                npz.add_array("row_dims", &Array1::from_vec(dims.clone()))
                    .unwrap();
            }
        });
    }

    fn dim(&self, row: usize) -> usize {
        match &self.row_dims {
            Some(dims) => dims[row] as usize,
            None => self.row_gradient.ncols(),
        }
    }

    /// The largest `|H step + g| / (|H||step| + |g|)` of any component, lower triangles read.
    fn backward_error(&self, delta_t: &Array2<f64>, delta_beta: &Array1<f64>) -> f64 {
        let (n, k) = (self.row_gradient.nrows(), self.border_gradient.len());
        let mut worst = 0.0f64;
        let mut note = |residual: f64, size: f64| worst = worst.max(residual.abs() / size);
        let mut border = self.border_gradient.clone();
        let mut border_size = border.mapv(f64::abs);
        for c in 0..k {
            for e in 0..k {
                let term = self.border_hessian[(c.max(e), c.min(e))] * delta_beta[e];
                border[c] += term;
                border_size[c] += term.abs();
            }
        }
        for i in 0..n {
            for a in 0..self.dim(i) {
                let mut row = self.row_gradient[(i, a)];
                let mut size = row.abs();
                for b in 0..self.dim(i) {
                    let term = self.row_hessian[(i, a.max(b), a.min(b))] * delta_t[(i, b)];
                    row += term;
                    size += term.abs();
                }
                for c in 0..k {
                    let cross = self.row_cross[(i, a, c)];
                    row += cross * delta_beta[c];
                    size += (cross * delta_beta[c]).abs();
                    border[c] += cross * delta_t[(i, a)];
                    border_size[c] += (cross * delta_t[(i, a)]).abs();
                }
                note(row, size);
            }
        }
        for c in 0..k {
            note(border[c], border_size[c]);
        }
        worst
    }
}

fn solve(system: &System, folder: &Path, more: &[&str]) -> Ran {
    let (from, to) = (folder.join("system.npz"), folder.join("step.npz"));
    system.write(&from);
    finish(
        broadhead()
            .args(["solve", "--device", "off", "--json"])
            .args([&from, Path::new("-o"), &to])
            .args(more),
    )
}

fn step(folder: &Path) -> (Array2<f64>, Array1<f64>, Option<f64>) {
    let mut npz = NpzReader::new(File::open(folder.join("step.npz")).unwrap()).unwrap();
    let log = npz.by_name::<ndarray::OwnedRepr<f64>, ndarray::Ix0>("log_det_hessian");
    let log = log.ok().map(ndarray::Array0::into_scalar);
    (
        npz.by_name("delta_t").unwrap(),
        npz.by_name("delta_beta").unwrap(),
        log,
    )
}

/// About ten roundings for each of the terms of a component.
fn bound(system: &System) -> f64 {
    let terms = system.row_gradient.len() + system.border_gradient.len();
    10.0 * terms as f64 * f64::EPSILON
}

#[test]
fn every_elimination_solves_the_system() {
    let system = System::made(7, 3, 5);
    let mut logs = Vec::new();
    for elimination in ["auto", "rows", "border", "iterative", "reference"] {
        let folder = tempfile::tempdir().unwrap();
        let ran = solve(&system, folder.path(), &["--elimination", elimination]);
        let summary = ran.done().json();
        let (delta_t, delta_beta, log) = step(folder.path());
        let error = system.backward_error(&delta_t, &delta_beta);
        // Conjugate gradients stop at a relative residual of 1e-10.
        let bound = if elimination == "iterative" {
            1e-9
        } else {
            bound(&system)
        };
        assert!(error <= bound, "{elimination}: {error:e} > {bound:e}");
        assert_eq!(summary["execution_path"], "cpu");
        assert_eq!(summary["log_det_hessian"].as_f64(), log, "{elimination}");
        assert_eq!(log.is_none(), elimination == "iterative");
        assert_eq!(
            summary["log_det_hessian_reason"].is_null(),
            log.is_some(),
            "{summary}"
        );
        for field in [
            "seconds",
            "ledger",
            "prices",
            "min_pivot",
            "condition_estimate",
        ] {
            assert!(
                !summary[field].is_null() || elimination == "iterative",
                "{field}"
            );
        }
        if elimination != "auto" {
            assert_eq!(summary["elimination"], elimination);
        }
        logs.extend(log);
        assert_eq!(names(folder.path()), ["step.npz", "system.npz"]);
    }
    assert_eq!(logs.len(), 4);
    for log in &logs {
        assert!(
            (log - logs[0]).abs() <= bound(&system) * logs[0].abs(),
            "{logs:?}"
        );
    }
}

#[test]
fn precision_order_padding_and_upper_triangles_do_not_matter() {
    let mut system = System::made(6, 3, 4);
    // Numbers that FP32 holds.
    for array in [&mut system.row_hessian, &mut system.row_cross] {
        array.mapv_inplace(|x| f64::from(x as f32));
    }
    system.row_dims = Some(vec![3, 0, 1, 2, 3, 1]);
    let folder = tempfile::tempdir().unwrap();
    solve(&system, folder.path(), &["--elimination", "rows"]).done();
    let clean = step(folder.path());
    assert!(system.backward_error(&clean.0, &clean.1) <= bound(&system));
    assert!(
        clean.0.slice(s![1, ..]).iter().all(|&x| x == 0.0),
        "padding is 0"
    );

    for (row, dim) in [3usize, 0, 1, 2, 3, 1].into_iter().enumerate() {
        for a in 0..3 {
            for b in 0..3 {
                if a >= dim || b >= dim || a < b {
                    system.row_hessian[(row, a, b)] = f64::NAN;
                }
            }
            if a >= dim {
                system.row_gradient[(row, a)] = f64::INFINITY;
                system.row_cross.slice_mut(s![row, a, ..]).fill(f64::NAN);
            }
        }
    }
    system.border_hessian[(0, 3)] = f64::NAN;
    let path = folder.path().join("system.npz");
    write_npz(&path, |npz| {
        npz.add_array("row_hessian", &system.row_hessian.mapv(|x| x as f32))
            .unwrap();
        let mut fortran = Array3::zeros(system.row_cross.dim().f());
        fortran.assign(&system.row_cross);
        npz.add_array("row_cross", &fortran).unwrap();
        npz.add_array("row_gradient", &system.row_gradient).unwrap();
        npz.add_array("border_hessian", &system.border_hessian)
            .unwrap();
        npz.add_array("border_gradient", &system.border_gradient)
            .unwrap();
        npz.add_array("row_dims", &Array1::from_vec(vec![3u8, 0, 1, 2, 3, 1]))
            .unwrap();
    });
    let target = folder.path().join("step.npz");
    finish(
        broadhead()
            .args(["solve", "--device", "off", "--elimination", "rows"])
            .args([&path, Path::new("-o"), &target]),
    )
    .done();
    assert_eq!(step(folder.path()), clean);
}

#[test]
fn padding_may_be_wider_than_the_widest_row() {
    for (rows, dim, padded, k) in [(10, 2, 3, 4), (4, 0, 3, 2), (5, 1, 4, 0), (1, 2, 7, 3)] {
        let tight = System::made(rows, dim, k);
        let mut wide = System {
            row_hessian: Array3::from_elem((rows, padded, padded), f64::NAN),
            row_cross: Array3::from_elem((rows, padded, k), f64::INFINITY),
            row_gradient: Array2::from_elem((rows, padded), f64::NAN),
            border_hessian: tight.border_hessian.clone(),
            border_gradient: tight.border_gradient.clone(),
            row_dims: Some(vec![dim as i64; rows]),
        };
        let own = s![.., ..dim, ..dim];
        wide.row_hessian.slice_mut(own).assign(&tight.row_hessian);
        let own = s![.., ..dim, ..];
        wide.row_cross.slice_mut(own).assign(&tight.row_cross);
        let own = s![.., ..dim];
        wide.row_gradient.slice_mut(own).assign(&tight.row_gradient);
        for elimination in ["auto", "rows", "border", "iterative", "reference"] {
            let folder = tempfile::tempdir().unwrap();
            let pinned = ["--elimination", elimination];
            solve(&tight, folder.path(), &pinned).done();
            let (delta_t, delta_beta, log) = step(folder.path());
            solve(&wide, folder.path(), &pinned).done();
            let found = step(folder.path());
            assert_eq!(found.0.dim(), (rows, padded), "{elimination}");
            assert_eq!(found.0.slice(s![.., ..dim]), delta_t, "{elimination}");
            let padding = found.0.slice(s![.., dim..]);
            assert!(padding.iter().all(|&x| x == 0.0), "{elimination}");
            assert_eq!((found.1, found.2), (delta_beta, log), "{elimination}");
        }
    }
}

#[test]
fn ridges_are_added_to_their_diagonals() {
    let mut system = System::made(4, 2, 3);
    let folder = tempfile::tempdir().unwrap();
    let ridges = ["--ridge-t", "2", "--ridge-beta", "3"];
    let summary = solve(&system, folder.path(), &ridges).done().json();
    let (delta_t, delta_beta, _) = step(folder.path());
    for mut block in system.row_hessian.outer_iter_mut() {
        block.diag_mut().mapv_inplace(|x| x + 2.0);
    }
    system.border_hessian.diag_mut().mapv_inplace(|x| x + 3.0);
    assert!(system.backward_error(&delta_t, &delta_beta) <= bound(&system));
    assert_eq!(summary["ridge_t"], 2.0);
}

#[test]
fn empty_sides_are_legal() {
    for (n, d, k) in [(0, 2, 3), (3, 2, 0), (3, 0, 2), (0, 0, 0)] {
        let folder = tempfile::tempdir().unwrap();
        let system = System::made(n, d, k);
        solve(&system, folder.path(), &[]).done();
        let (delta_t, delta_beta, _) = step(folder.path());
        assert_eq!((delta_t.dim(), delta_beta.len()), ((n, d), k));
        if n * d + k > 0 {
            assert!(system.backward_error(&delta_t, &delta_beta) <= bound(&system));
        }
    }
}

#[test]
fn a_block_that_is_not_positive_definite_is_named() {
    let mut system = System::made(5, 2, 2);
    system.row_hessian[(3, 1, 1)] = -1.0;
    let folder = tempfile::tempdir().unwrap();
    solve(&system, folder.path(), &["--elimination", "rows"]).failed(
        1,
        &[
            "system.npz",
            "not positive definite",
            "row 3, pivot 1",
            "; a row ridge larger by ",
            " makes the whole factor",
        ],
    );
    assert_eq!(names(folder.path()), ["system.npz"]);
}

type Spoil = fn(&mut System);

#[test]
fn every_element_that_is_not_finite_is_named() {
    let spoils: [(Spoil, &str); 6] = [
        (
            |s| s.row_hessian[(2, 1, 0)] = f64::NAN,
            "row_hessian: element [2, 1, 0] is NaN",
        ),
        (
            |s| s.row_cross[(1, 0, 2)] = f64::INFINITY,
            "row_cross: element [1, 0, 2] is inf",
        ),
        (
            |s| s.row_gradient[(4, 1)] = f64::NEG_INFINITY,
            "row_gradient: element [4, 1] is -inf",
        ),
        (
            |s| s.border_hessian[(2, 1)] = f64::NAN,
            "border_hessian: element [2, 1] is NaN",
        ),
        (
            |s| s.border_gradient[1] = f64::NAN,
            "border_gradient: element [1] is NaN",
        ),
        (
            |s| s.row_dims = Some(vec![2, 2, 3, 2, 2]),
            "row_dims: element [2] is 3: expected a whole number from 0 to 2",
        ),
    ];
    for (spoil, message) in spoils {
        let mut system = System::made(5, 2, 3);
        spoil(&mut system);
        let folder = tempfile::tempdir().unwrap();
        solve(&system, folder.path(), &[]).failed(2, &["system.npz", message]);
        assert_eq!(names(folder.path()), ["system.npz"]);
    }
}

#[test]
fn every_shape_that_contradicts_another_is_named() {
    let spoils: [(Spoil, &[&str]); 5] = [
        (
            |s| s.row_hessian = Array3::ones((5, 2, 3)),
            &["row_hessian: shape 5 x 2 x 3: expected 5 x 2 x 2"],
        ),
        (
            |s| s.row_cross = Array3::ones((5, 2, 4)),
            &[
                "row_cross: shape 5 x 2 x 4: expected 5 x 2 x 3",
                "k = 3 of border_gradient",
            ],
        ),
        (
            |s| s.border_hessian = Array2::ones((2, 3)),
            &["border_hessian: shape 2 x 3: expected 3 x 3"],
        ),
        (
            |s| s.row_dims = Some(vec![1; 4]),
            &["row_dims: shape 4: expected 5"],
        ),
        (
            |s| s.row_dims = Some(vec![-1; 5]),
            &["row_dims: element [0] is -1"],
        ),
    ];
    for (spoil, messages) in spoils {
        let mut system = System::made(5, 2, 3);
        spoil(&mut system);
        let folder = tempfile::tempdir().unwrap();
        solve(&system, folder.path(), &[]).failed(2, messages);
    }
}

#[test]
fn missing_arrays_ranks_and_types_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("s.npz"), folder.path().join("t.npz"));
    let attempt = || {
        let paths = [from.as_path(), Path::new("-o"), to.as_path()];
        finish(broadhead().args(["solve", "--device", "off"]).args(paths))
    };
    write_npz(&from, |npz| {
        npz.add_array("row_gradient", &Array2::<f64>::ones((2, 1)))
            .unwrap();
    });
    attempt().failed(
        2,
        &[
            "holds no array \"border_gradient\"",
            "row_gradient (FP64, 2 x 1)",
        ],
    );
    write_npz(&from, |npz| {
        npz.add_array("row_gradient", &Array1::<f64>::ones(2))
            .unwrap();
    });
    attempt().failed(2, &["row_gradient: shape 2: expected 2-D (n, d)"]);
    write_npz(&from, |npz| {
        npz.add_array("row_gradient", &Array2::<i32>::ones((2, 1)))
            .unwrap();
    });
    attempt().failed(2, &["row_gradient: element type INT32 is not read"]);
    std::fs::write(&from, b"PK\x03\x04 no more").unwrap();
    attempt().failed(2, &["s.npz", "not a complete .npz archive"]);
    std::fs::remove_file(&from).unwrap();
    attempt().failed(2, &["s.npz", "No such file"]);
    assert!(!to.exists());
}

#[test]
fn only_archives_are_read_and_written() {
    run(["solve", "a.npy", "-o", "b.npz"]).failed(2, &["a.npy", "ends in .npz"]);
    run(["solve", "a.npz", "-o", "b.npy"]).failed(2, &["b.npy", "ends in .npz"]);
    run(["solve", "a.npz", "-o", "b.npz", "--ridge-t", "-1"]).failed(2, &["--ridge-t"]);
    run(["solve", "a.npz", "-o", "b.npz", "--elimination", "core"]).failed(2, &["core"]);
    run(["solve", "a.npz", "-o", "b.npz", "--device", "maybe"]).failed(2, &["maybe"]);
}

#[test]
fn an_output_that_cannot_be_written_is_a_failure_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("system.npz");
    System::made(3, 2, 2).write(&from);
    // A parent that is a file: not even the superuser writes there.
    let below_a_file = from.join("step.npz");
    let absent = folder.path().join("absent/step.npz");
    for to in [&below_a_file, &absent] {
        finish(
            broadhead()
                .args(["solve", "--device", "off"])
                .args([&from, Path::new("-o"), to]),
        )
        .failed(1, &["cannot write", "step.npz"]);
    }
    assert_eq!(names(folder.path()), ["system.npz"]);
}

/// A limit on file sizes stands for a full disk: the same calls fail, at the same place.
#[cfg(unix)]
#[test]
fn a_disk_that_fills_up_leaves_nothing_and_keeps_the_old_file() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (
        folder.path().join("system.npz"),
        folder.path().join("step.npz"),
    );
    System::made(600, 2, 2).write(&from);
    std::fs::write(&to, "old").unwrap();
    let mut limited = std::process::Command::new("sh");
    limited
        .args(["-c", "trap '' XFSZ; ulimit -f 8; exec \"$@\"", "sh"])
        .arg(env!("CARGO_BIN_EXE_broadhead"))
        .args(["solve", "--device", "off"])
        .args([&from, Path::new("-o"), &to]);
    finish(&mut limited).failed(1, &["cannot write", "step.npz", "File too large"]);
    assert_eq!(std::fs::read(&to).unwrap(), b"old");
    assert_eq!(names(folder.path()), ["step.npz", "system.npz"]);
}

#[test]
fn a_required_device_solves_there_or_the_command_exits_3() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (
        folder.path().join("system.npz"),
        folder.path().join("step.npz"),
    );
    System::made(30, 2, 12).write(&from);
    let with = |words: &[&str]| {
        finish(
            broadhead()
                .args(["solve", "--device", "required", "--json"])
                .args(words)
                .args([&from, Path::new("-o"), &to]),
        )
    };
    with(&["--elimination", "border"]).failed(3, &["--device required"]);
    assert!(!to.exists());
    if broadhead_device::probe::cuda().is_err() {
        with(&[]).failed(3, &["--device required", "is missing"]);
        return;
    }
    let summary = with(&[]).done().json();
    assert_eq!(summary["execution_path"], "gpu-resident-linearization");
    assert!(summary["componentwise_error"].as_f64().unwrap() <= 1e-13);
    assert!(
        summary["ledger"]["host_to_device"]["operand"]
            .as_u64()
            .unwrap()
            > 0
    );
    assert!(summary["ledger"]["submissions"].as_u64().unwrap() > 0);
    assert_eq!(summary["frame"]["rows"], "fused");
    assert!(summary["device"]["reason"].is_null());
    let on_device = |price: &serde_json::Value| price["keep"].is_string();
    assert!(summary["prices"].as_array().unwrap().iter().any(on_device));
}

#[test]
fn a_required_device_that_is_absent_exits_3_and_auto_says_so() {
    if broadhead_device::probe::cuda().is_ok() {
        // Here the policy is met or refused for another reason.
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (
        folder.path().join("system.npz"),
        folder.path().join("step.npz"),
    );
    System::made(3, 2, 2).write(&from);
    let with = |policy: &str| {
        finish(
            broadhead()
                .args(["solve", "--device", policy])
                .args([&from, Path::new("-o"), &to]),
        )
    };
    with("required").failed(3, &["--device required", "is missing"]);
    assert!(!to.exists());
    let auto = with("auto");
    assert!(auto.done().stderr.contains("on the CPU"), "{auto:?}");
    assert_eq!(with("off").done().stderr, "");
}
