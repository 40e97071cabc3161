//! Rounds on a device against the host's from the same states.

use super::common::made;
use broadhead_device::Context;
use broadhead_sae::{Basis, Dictionary, Topology, indefinite_round, rounds_on_both};
use broadhead_testkit::device::{Outcome, Trial, expect, expect_eq, on_device, stream};

pub(super) fn tests() -> Vec<Trial> {
    vec![
        on_device("rounds::rows_choose_as_the_host_s_do", choices),
        on_device(
            "rounds::features_that_determine_no_decoder_are_named",
            undetermined,
        ),
        on_device("rounds::they_repeat_to_the_bit", repeat),
    ]
}

fn circles(atoms: usize) -> Result<Dictionary, broadhead_sae::DictionaryError> {
    Dictionary::uniform(atoms, Topology::Circle, Basis::Harmonics { highest: 1 })
}

/// Rows, columns, circles and atoms a row: fewer rows than a block of threads has, an odd number of columns, more of
/// these than a block sums, circles for one and for several passes of a warp, every slot.
const SHAPES: [[usize; 4]; 9] = [
    [20, 3, 1, 1],
    [333, 7, 2, 2],
    [640, 24, 8, 1],
    [1000, 33, 31, 3],
    [1024, 64, 33, 2],
    [2111, 40, 64, 4],
    [1500, 700, 12, 2],
    [1500, 515, 70, 8],
    [5000, 16, 150, 2],
];

fn choices(context: &Context) -> Outcome {
    let stream = stream(context)?;
    for (seed, [n, p, atoms, slots]) in SHAPES.into_iter().enumerate() {
        let dictionary = circles(atoms)?;
        let x = made(&dictionary, n, p, Some(slots), 0.3).x;
        let found = rounds_on_both(&stream, x.view(), &dictionary, slots, seed as u64)?;
        for (round, both) in found.iter().enumerate() {
            let what = format!("{n} x {p}, {atoms} circles, {slots} on, round {round}: {both:?}");
            // Two circles that explain a row equally well to single precision.
            expect(both.differ * 50 <= n.max(50), &what)?;
            expect(both.worse < 0.05, &what)?;
            // Two circles settle together. Of more, three sweeps leave what the order in which they were chosen, by
            // guesses in single precision, makes of it.
            let enough = if slots > 2 { 1e-3 } else { 1e-6 };
            expect(both.higher < enough, &what)?;
            expect(both.objective.abs() < 1e-11, &what)?;
            expect(both.shares < 1e-9, &what)?;
            let [there, here] = both.changed;
            expect(there.abs_diff(here) <= 2 * both.differ, &what)?;
        }
        let (first, last) = (&found[0], &found[found.len() - 1]);
        expect(last.value < first.value, "the objective falls")?;
    }
    Ok(())
}

/// A system that one block of threads factors and one that the library does; the pivot is the host's.
fn undetermined(context: &Context) -> Outcome {
    let stream = stream(context)?;
    for atoms in [3, 90] {
        let dictionary = circles(atoms)?;
        let x = made(&dictionary, 600, 9, Some(2), 0.3).x;
        let found = indefinite_round(&stream, x.view(), &dictionary, 2)?;
        let [there, here] = found.map(|round| round.err().map(|error| error.to_string()));
        expect(
            here.as_ref()
                .is_some_and(|error| error.contains("determine")),
            format!("{here:?}"),
        )?;
        expect_eq(&format!("{atoms} circles"), there, here)?;
    }
    Ok(())
}

fn repeat(context: &Context) -> Outcome {
    let dictionary = circles(40)?;
    let x = made(&dictionary, 3000, 48, Some(2), 0.3).x;
    let mut before = None;
    for _ in 0..3 {
        let stream = stream(context)?;
        let found = rounds_on_both(&stream, x.view(), &dictionary, 2, 7)?;
        let values: Vec<u64> = found.iter().map(|both| both.value.to_bits()).collect();
        let first = before.get_or_insert_with(|| values.clone());
        expect(*first == values, "the same bits again")?;
    }
    Ok(())
}
