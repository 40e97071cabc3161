//! A fit that has more unknowns than numbers says so.

mod common;

use common::{Ran, broadhead, finish};
use ndarray::Array2;
use ndarray_npy::write_npy;
use std::path::Path;

/// `broadhead fit X -o OUT --device off` and more words.
fn fit(rows: &Path, out: &Path, more: &[&str]) -> Ran {
    finish(
        broadhead()
            .args(["fit", "--device", "off"])
            .args([rows, Path::new("-o"), out])
            .args(more),
    )
}

/// Rows around an ellipse in the plane of two directions, with a little noise.
fn ring(rows: usize, columns: usize) -> Array2<f64> {
    let noise = |x: usize| (x as f64 * 0.618_033_988).fract() - 0.5;
    Array2::from_shape_fn((rows, columns), |(i, c)| {
        let angle = 2.399_963 * i as f64;
        let (u, v) = (noise(7 * c + 1), noise(11 * c + 5));
        3.0 * angle.cos() * u + 2.0 * angle.sin() * v + 0.02 * noise(i * columns + c) + v
    })
}

#[test]
fn more_unknowns_than_numbers_are_named_with_both_counts() {
    let folder = tempfile::tempdir().unwrap();
    let (rows, out) = (folder.path().join("x.npy"), folder.path().join("out"));
    write_npy(&rows, &ring(140, 64)).unwrap();
    let few = ["--starts", "1", "--max-iterations", "2"];
    let ran = fit(
        &rows,
        &out,
        &[&["--atoms", "60", "--gates", "all"], &few[..]].concat(),
    );
    // 121 x 64 of the decoder, 140 x 60 angles; 140 x 64 numbers.
    let line = "warning: 16144 unknowns (7744 of the decoder, 8400 of the rows) for 8960 numbers";
    ran.done();
    assert_eq!(ran.stderr.matches(line).count(), 1, "{}", ran.stderr);
    let top = ["--atoms", "60", "--gates", "top-k:2"];
    let ran = fit(&rows, &out, &[&top, &few[..]].concat());
    ran.done();
    assert!(!ran.stderr.contains("unknowns ("), "{}", ran.stderr);
}
