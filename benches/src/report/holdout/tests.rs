//! The page of rows held out on records made by hand.

use super::*;
use crate::holdout::plan::Amplitudes;
use crate::holdout::record::tests::{autoencoder, fit};
use crate::store;

const PLAN: &str = "
name = 'full'
data = 'tokens'
share = 0.1
seeds = [0, 1, 2]
seconds = 1.0
[[fits]]
name = 'circles'
atoms = '4*circle'
top = [1, 2]
amplitudes = ['one', 'fitted']
[autoencoder]
latents = [8]
active = [1, 2]
learning_rates = [1e-3, 2e-3]
batch = 64
gain = 0.001
ceiling_seconds = 60.0
";

/// Both halves, complete: circles of amplitude 1 explain 0.30 and 0.41 by the median seed, fitted 0.33 and 0.45, the
/// autoencoder 0.2 and 0.36.
fn halves() -> (Vec<Record>, Vec<Record>) {
    let (mut ours, mut peers) = (Vec::new(), Vec::new());
    for seed in 0..3_u64 {
        let better = 0.01 * seed as f64;
        for (top, one, fitted, linear) in [(1, 0.29, 0.32, 0.19), (2, 0.40, 0.44, 0.35)] {
            ours.push(fit(seed, top, Amplitudes::One, one + better));
            ours.push(fit(seed, top, Amplitudes::Fitted, fitted + better));
            peers.push(autoencoder(seed, top, linear + better));
        }
    }
    (ours, peers)
}

/// A repository with these records; its page.
fn page(ours: &[Record], peers: &[Record]) -> String {
    let root = tempfile::tempdir().unwrap();
    let records = root.path().join(RECORDS);
    let of_device = records.join("a-device");
    std::fs::create_dir_all(root.path().join("benches/plans")).unwrap();
    std::fs::create_dir_all(&records).unwrap();
    std::fs::write(root.path().join(Kept::ALL[0].plan), PLAN).unwrap();
    if !ours.is_empty() {
        record::write(&records.join(Kept::ALL[0].file()), ours).unwrap();
    }
    if !peers.is_empty() {
        std::fs::create_dir_all(&of_device).unwrap();
        record::write(&of_device.join(PEER_FILE), peers).unwrap();
    }
    let shelves = store::shelves(&records).unwrap();
    write(root.path(), &shelves, false).unwrap();
    let path = root.path().join(GENERATED).join("holdout.md");
    write(root.path(), &shelves, true).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{text}edited")).unwrap();
    assert!(matches!(
        write(root.path(), &shelves, true),
        Err(Error::Stale(_))
    ));
    text
}

/// The rows of the page's tables that begin with this.
fn rows<'p>(page: &'p str, begin: &str) -> Vec<&'p str> {
    let begin = format!("| {begin}");
    page.lines()
        .filter(|line| line.starts_with(&begin))
        .collect()
}

#[test]
fn both_halves_stand_in_one_table_by_numbers_that_are_on() {
    let (ours, peers) = halves();
    let page = page(&ours, &peers);
    assert!(
        !page.contains("not measured") && !page.contains("Not measured"),
        "{page}"
    );
    assert!(page.contains("*8 decoder rows*: explained variance of the 10 % of the rows"));
    let begins = ["circles", "TopK"];
    let all: Vec<&str> = (page.lines())
        .filter(|line| begins.iter().any(|b| line.starts_with(&format!("| {b}"))))
        .collect();
    let wanted = [
        // 0.9 numbers, then 1, 1.8, 2 and 4; of as many the best first.
        "| TopK autoencoder, 8 latents, top-1, codes of its encoder | 0.90 | 0.90 | 0.2000 (0.1900, 0.2100) | 0.2100",
        "| circles, top-1 | 1 | 1 | 0.3000 (0.2900, 0.3100) | 0.3100",
        "| TopK autoencoder, 8 latents, top-1, codes refitted | 1 | 1 | 0.2200 (0.2100, 0.2300) |",
        "| TopK autoencoder, 8 latents, top-2, codes of its encoder | 1.80 | 1.80 | 0.3600",
        "| circles, top-2 | 2 | 2 | 0.4100",
        "| TopK autoencoder, 8 latents, top-2, codes refitted | 2 | 2 | 0.3800",
        "| circles, fitted amplitudes, top-1 | 1 | 2 | 0.3300",
        "| circles, fitted amplitudes, top-2 | 2 | 4 | 0.4500",
    ];
    assert_eq!(all.len(), wanted.len(), "{page}");
    for (line, wanted) in all.iter().zip(wanted) {
        assert!(line.starts_with(wanted), "{line}\n{wanted}");
    }
    assert_eq!(
        rows(&page, "8, top-2"),
        ["| 8, top-2 | 0.002, 0.002, 0.002 | 1000, 1000, 1000 | 0.00050 | 0 of 3 | 1, 1, 1 |"]
    );
    assert!(
        page.contains("torch 2") && page.contains("on an a device"),
        "{page}"
    );
}

#[test]
fn what_was_declined_is_listed_with_its_reason_and_is_in_no_table() {
    let (mut ours, mut peers) = halves();
    ours[1].outcome = Outcome::Declined(Decline::Failed {
        error: "error: no option --amplitudes".into(),
    });
    peers.remove(0);
    let page = page(&ours, &peers);
    assert!(
        rows(&page, "circles, fitted amplitudes, top-1").is_empty(),
        "{page}"
    );
    assert!(
        page.contains(
            "- circles, fitted amplitudes, top-1, seed 0: failed: error: no option --amplitudes."
        ),
        "{page}"
    );
    assert!(rows(&page, "TopK autoencoder, 8 latents, top-1").is_empty());
    assert!(page.contains("- TopK autoencoder, 8 latents, top-1, seed 0: no sample was taken."));
    assert_eq!(rows(&page, "circles, fitted amplitudes, top-2").len(), 1);
}

#[test]
fn a_half_that_is_not_there_is_said_and_the_other_stands() {
    let (ours, peers) = halves();
    let without = page(&[], &peers);
    assert!(
        without.contains("*Our fits are not measured yet"),
        "{without}"
    );
    assert_eq!(rows(&without, "TopK").len(), 4);
    let without = page(&ours, &[]);
    assert!(
        without.contains("*The autoencoders are not measured yet"),
        "{without}"
    );
    assert_eq!(rows(&without, "circles").len(), 4);
    assert!(!without.contains("How the autoencoders"));
}

#[test]
fn halves_that_held_out_other_rows_are_not_compared() {
    let (ours, mut peers) = halves();
    for record in &mut peers {
        record.run.held_out = "cd".repeat(32);
    }
    let other = page(&ours, &peers);
    assert!(other.contains("nothing is compared"), "{other}");
    assert!(rows(&other, "circles").is_empty() && rows(&other, "TopK").is_empty());
}

#[test]
fn several_machines_and_devices_are_told_apart_by_name() {
    let (mut ours, peers) = halves();
    let mut elsewhere = ours.clone();
    for record in &mut elsewhere {
        record.receipt.processor = "another".into();
    }
    ours.extend(elsewhere);
    let page = page(&ours, &peers);
    assert_eq!(
        rows(&page, "circles, top-1 (another, 2 processors)").len(),
        1
    );
    assert_eq!(
        rows(&page, "circles, top-1 (a processor, 2 processors)").len(),
        1
    );
}
