//! A warning of fits that have more unknowns than the rows have numbers.

use crate::message;
use broadhead_sae::{Dictionary, GatePolicy};

/// Warns if a fit has more unknowns than the rows have numbers, of which `holdout` take no part.
pub(super) fn warn(
    dictionary: &Dictionary,
    gates: &GatePolicy,
    (all, p): (usize, usize),
    holdout: f64,
) {
    let n = all - (holdout * all as f64).round() as usize;
    let mut dims: Vec<usize> = (dictionary.atoms().iter())
        .map(|atom| atom.local_dim())
        .collect();
    let in_rows: usize = match gates {
        GatePolicy::Given(array) => {
            let on = array.indexed_iter().filter(|(_, gate)| **gate != 0.0);
            let of_all: usize = on.map(|((_, a), _)| dims[a]).sum();
            // The rows that take part have their share.
            (of_all as f64 * n as f64 / all.max(1) as f64).round() as usize
        }
        GatePolicy::TopK(k) => {
            // The most that rows may choose.
            dims.sort_unstable_by(|a, b| b.cmp(a));
            n * dims.iter().take(*k).sum::<usize>()
        }
        _ => n * dims.iter().sum::<usize>(),
    };
    let (unknowns, numbers) = (dictionary.features() * p + in_rows, n * p);
    if unknowns > numbers {
        message::say(format_args!(
            "warning: {unknowns} unknowns ({} of the decoder, {in_rows} of the rows) for {numbers} \
             numbers: the fit can follow noise",
            dictionary.features() * p
        ));
    }
}
