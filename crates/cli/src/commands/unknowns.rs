//! A warning of fits that have more unknowns than the rows have numbers.

use crate::message;
use broadhead_sae::{Dictionary, GatePolicy};

/// Warns if a fit has more unknowns than the rows have numbers.
pub(super) fn warn(dictionary: &Dictionary, gates: &GatePolicy, (n, p): (usize, usize)) {
    let mut dims: Vec<usize> = (dictionary.atoms().iter())
        .map(|atom| atom.local_dim())
        .collect();
    let in_rows: usize = match gates {
        GatePolicy::Given(array) => {
            let on = array.indexed_iter().filter(|(_, gate)| **gate != 0.0);
            on.map(|((_, a), _)| dims[a]).sum()
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
