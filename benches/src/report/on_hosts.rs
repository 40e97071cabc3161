//! Requirements of a host against several peers, and records that are refused, on records made by hand.

use super::tests::record;
use super::*;
use crate::record::Outcome;

const SUITE: &str = "
suite = 's'
peers = ['scipy', 'scipy-inverse']
eliminations = ['rows']
phases = ['factor', 'product']
[[cells]]
name = 'one'
case = 'arrow'
shape = { rows = 3, dim = 2, border = 5 }
[[cells]]
name = 'two'
case = 'arrow'
shape = { rows = 4, dim = 2, border = 5 }
[[requirements]]
name = 'factor'
numerator = { elimination = 'rows', phase = 'factor' }
denominator = [
    { elimination = 'scipy', phase = 'factor' },
    { elimination = 'scipy-inverse', phase = 'factor' },
]
at_most = 0.9
[requirements.or]
name = 'of its arithmetic'
cells = ['two']
denominator = { elimination = 'rows', phase = 'factor', of = 'arithmetic' }
at_most = 1.25
";

/// Records of a phase: ours and those of both peers, a single sample of so many seconds each.
fn times(name: &str, rows: usize, phase: Phase, seconds: [f64; 3]) -> Vec<Record> {
    let of = |(who, seconds): (&&str, f64)| {
        let mut record = record(name, rows, who, Ok(&[seconds]));
        record.cell.phase = phase;
        if let (true, Outcome::Measured(measured)) = (who.starts_with("scipy"), &mut record.outcome)
        {
            measured.elimination = None;
            measured.execution_path = None;
        }
        record
    };
    let names = ["rows", "scipy", "scipy-inverse"];
    names.iter().zip(seconds).map(of).collect()
}

/// Seconds of a product for which the arithmetic of a factorization of `n = 4, d = 2, k = 5` takes one.
fn product_of_one_second() -> f64 {
    let own = 8.0 * 25.0 + 125.0 / 3.0;
    2.0 * 2048.0_f64.powi(3) / own
}

/// The first cell within its bound; the second with these times of a factorization.
fn with(second: [f64; 3]) -> Vec<Record> {
    let mut records = times("one", 3, Phase::Factor, [0.8, 1.0, 2.0]);
    records.extend(times("two", 4, Phase::Factor, second));
    // Ours multiplies at half the rate of the second peer: the ceiling is that peer's.
    let fastest = product_of_one_second();
    let products = [2.0 * fastest, 1.5 * fastest, fastest];
    records.extend(times("two", 4, Phase::Product, products));
    records
}

fn verdict(records: &[Record]) -> String {
    let suite: Suite = toml::from_str(SUITE).unwrap();
    let lines = judge(&suite, records);
    assert_eq!(lines.len(), 1);
    lines[0].clone()
}

#[test]
fn of_several_denominators_the_fastest_counts() {
    let met = verdict(&with([0.8, 1.0, 1.0]));
    assert!(
        met.contains(": met;") && met.contains("the largest is 0.800"),
        "{met}"
    );
    // 0.8 of one peer, and 1.6 of the other: the other is the faster; 1.6 of the arithmetic's time.
    for peers in [[1.6, 2.0, 1.0], [1.6, 1.0, 2.0]] {
        let unmet = verdict(&with(peers));
        assert!(unmet.contains(": unmet;"), "{unmet}");
    }
    // One that was not measured may have been the fastest.
    let mut records = with([0.8, 1.0, 1.0]);
    records[2].outcome = Outcome::Declined(broadhead_gate::Decline::NoSample);
    let open = verdict(&records);
    assert!(open.contains(": undetermined; one"), "{open}");
    records.remove(2);
    assert!(verdict(&records).contains(": undetermined; one"));
}

#[test]
fn an_alternative_serves_the_cells_that_it_names_and_no_other() {
    // 1.2 of the fastest peer's time, and 1.2 of the arithmetic's.
    let met = verdict(&with([1.2, 1.0, 1.0]));
    assert!(
        met.contains(": met; at most 0.900, or 1.25 (of its arithmetic)"),
        "{met}"
    );
    assert!(
        met.contains("the largest is 1.20 (of its arithmetic)"),
        "{met}"
    );
    let unmet = verdict(&with([1.3, 1.0, 1.0]));
    assert!(
        unmet.contains(": unmet;") && unmet.contains("1.30 (of its arithmetic)"),
        "{unmet}"
    );
    // The other cell has no such way out.
    let mut records = with([0.8, 1.0, 1.0]);
    records.splice(0..3, times("one", 3, Phase::Factor, [1.0, 1.0, 1.0]));
    records.extend(times("one", 3, Phase::Product, [1e12; 3]));
    let unmet = verdict(&records);
    assert!(
        unmet.contains(": unmet;") && unmet.contains("n=3"),
        "{unmet}"
    );
}

#[test]
fn the_rate_of_a_product_is_of_the_same_run_and_no_product_may_be_missing() {
    let mut records = with([1.2, 1.0, 1.0]);
    for record in &mut records[6..9] {
        record.receipt.started += 1;
    }
    let open = verdict(&records);
    assert!(
        open.contains(": undetermined; two") && open.contains("different runs"),
        "{open}"
    );
    let without = &with([1.2, 1.0, 1.0])[..6];
    assert!(
        verdict(without).contains(": undetermined; two: no ceiling"),
        "{}",
        verdict(without)
    );
    let mut records = with([1.2, 1.0, 1.0]);
    records[8].outcome = Outcome::Declined(broadhead_gate::Decline::NoSample);
    assert!(verdict(&records).contains(": undetermined; two"));
    // Where the first bound is met nobody asks for a product.
    assert!(verdict(&with([0.8, 1.0, 1.0])[..6]).contains(": met;"));
    // Faster than arithmetic allows: the ceiling is wrong.
    let wrong = verdict(&with([0.94, 1.0, 1.0]));
    assert!(wrong.contains("the ceiling is wrong"), "{wrong}");
}

#[test]
fn a_factorization_is_counted_in_operations_of_which_a_multiply_add_is_two() {
    let shape = crate::cell::Shape::Arrow {
        rows: 180,
        dim: 2,
        border: 5120,
    };
    let k = 5120.0_f64;
    let counted = shape.operations(Phase::Factor).unwrap();
    assert_eq!(counted, 360.0 * k * k + k.powi(3) / 3.0);
    assert_eq!(
        shape.operations(Phase::Product),
        Some(2.0 * 2048.0_f64.powi(3))
    );
    assert_eq!(shape.operations(Phase::Solve), None);
}

#[test]
fn records_of_a_peer_with_old_kernels_give_no_number_and_are_named_in_the_page() {
    let root = tempfile::tempdir().unwrap();
    for folder in ["benches/cells", "benches/records"] {
        std::fs::create_dir_all(root.path().join(folder)).unwrap();
    }
    std::fs::write(root.path().join("benches/cells/s.toml"), SUITE).unwrap();
    let path = root.path().join("benches/records/s.jsonl");
    let mut records = with([0.8, 1.0, 1.0]);
    record::write(&path, &records).unwrap();
    let lines = write(root.path(), false).unwrap();
    assert!(lines[0].contains(": met;"), "{lines:?}");
    let generated = root.path().join(GENERATED);
    let page = std::fs::read_to_string(generated.join("s.md")).unwrap();
    assert!(page.contains("rows / fastest peer |"), "{page}");
    // 0.8 s of ours, 1 s and 2 s of the peers'.
    let row = page.lines().find(|line| line.starts_with("| one |"));
    assert!(row.unwrap().ends_with(" 0.800 |"), "{page}");
    assert!(generated.join("s-factor.svg").is_file());
    for record in &mut records {
        record.receipt.features = ["avx2", "fma", "avx512f"].map(str::to_owned).to_vec();
        let openblas = (
            "openblas of numpy".to_owned(),
            "0.3.31 (Haswell)".to_owned(),
        );
        record.receipt.libraries.extend([openblas]);
    }
    record::write(&path, &records).unwrap();
    assert!(matches!(
        record::read(&path),
        Err(Error::Refused {
            line: 1,
            refused: Refused::Kernels { .. },
            ..
        })
    ));
    assert!(matches!(write(root.path(), true), Err(Error::Stale(_))));
    let lines = write(root.path(), false).unwrap();
    assert!(lines[0].contains(": undetermined;"), "{lines:?}");
    let page = std::fs::read_to_string(generated.join("s.md")).unwrap();
    for word in [
        "Haswell",
        "AVX-512",
        "**Undetermined**",
        "must be taken again",
    ] {
        assert!(page.contains(word), "{page}");
    }
    assert!(!page.contains("800"), "{page}");
    // Nor is a chart left of what was refused.
    assert!(!generated.join("s-factor.svg").exists());
    write(root.path(), true).unwrap();
    // A chart that no record gives is stale.
    std::fs::write(generated.join("s-factor.svg"), "<svg></svg>").unwrap();
    assert!(matches!(write(root.path(), true), Err(Error::Stale(_))));
}
