//! `broadhead fit` and `broadhead encode` of rows on a cylinder, by the program.

mod common;

use common::{broadhead, finish, fit};
use ndarray::Array2;
use ndarray_npy::{NpzReader, read_npy, write_npy};
use std::fs::File;

#[test]
fn a_cylinder_is_fitted_encoded_and_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let even = |i: usize, by: f64| (i as f64 * by).fract() - 0.5;
    let x = Array2::from_shape_fn((120, 9), |(i, j)| {
        let direction = |m: usize| ((1 + m * 7) as f64 * (0.7 + j as f64)).sin();
        let (sin, cos) = (std::f64::consts::TAU * even(i, 0.618_034)).sin_cos();
        let height = 3.0 * even(i, 0.754_877_7);
        let ring = (1.0 + 0.3 * height) * (cos * direction(0) + sin * direction(1));
        ring + height * direction(2) + 0.05 * even(7 * i + 13 * j + i * j, 0.569_840_3)
    });
    write_npy(path("x.npy"), &x).unwrap();
    let words = ["--atoms", "cylinder", "--starts", "2", "--json"];
    let summary = fit(&path("x.npy"), &path("out"), &words).done().json();
    assert_eq!(summary["converged"], true, "{summary}");
    assert!(summary["explained_variance"].as_f64().unwrap() > 0.99);
    assert!(summary["coverage"][0].as_f64().unwrap() > 0.8, "{summary}");
    assert_eq!(summary["dictionary"]["atoms"][0]["topology"], "cylinder");
    let picture = std::fs::read_to_string(path("out").join("coordinates.svg")).unwrap();
    for text in ["cylinder, harmonics:1", "angle", "height", "π/2"] {
        assert!(picture.contains(text), "{text}");
    }
    let ran = finish(broadhead().args(["encode", "--json", "--model"]).args([
        path("out"),
        path("x.npy"),
        "-o".into(),
        path("new.npz"),
    ]));
    assert_eq!(ran.done().json()["converged"], 120);
    let fitted: Array2<f64> = read_npy(path("out").join("coordinates.npy")).unwrap();
    let mut npz = NpzReader::new(File::open(path("new.npz")).unwrap()).unwrap();
    let found: Array2<f64> = npz.by_name("coordinates").unwrap();
    for (a, b) in fitted.rows().into_iter().zip(found.rows()) {
        // kappa, which says nothing of whitened heights in a fit, draws a row's height in a little.
        assert!(
            (a[0] - b[0]).sin().abs() < 1e-2 && (a[1] - b[1]).abs() < 2e-2,
            "{a} {b}"
        );
    }
    let listed = ["--atoms", "2*cylinder/harmonics:2", "--max-iterations", "3"];
    fit(&path("x.npy"), &path("two"), &listed).done();
    let refused = ["--atoms", "cylinder/monomials:1"];
    let ran = fit(&path("x.npy"), &path("no"), &refused);
    assert!(
        ran.stderr.contains("not defined on the topology cylinder"),
        "{ran:?}"
    );
}
