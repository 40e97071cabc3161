//! A fit that has more unknowns than numbers says so.

mod common;

use common::{fit, ring};
use ndarray_npy::write_npy;

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
