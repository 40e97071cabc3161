//! Rows search other coordinates on the atoms that are on in them.
//!
//! Under a fixed decoder and fixed gates each row may find better coordinates, from its atoms' grids
//! ([`update`]) or by descent from where it is ([`refine`]). [`update`] changes a row only where its own
//! objective falls, so the whole objective falls, and falls again when the decoder is projected afterwards.

use crate::data::Data;
use crate::encode::row::{RowModel, RowPoint, for_rows};
use crate::iterate::coordinates::{Coordinates, Gates};

/// A change counts only if the row's objective falls by more than this share of `|r0|^2`: rounding alone
/// must not move a row.
const WORTH: f64 = 1e-9;

/// Newton steps of a row while its coordinates are searched; the inner loop does the rest.
const ITERATIONS: usize = 10;

/// Lets every row search other coordinates on the atoms that are on in it; returns how many rows moved.
pub(crate) fn update(
    model: &RowModel<'_>,
    data: &Data,
    coordinates: &mut Coordinates,
    gates: &Gates,
) -> usize {
    let found = for_rows(model, data, |i, row| {
        let mut now = RowPoint::new(gates.row(i).to_vec(), coordinates.row(i).to_vec());
        model.evaluate(row, &mut now);
        let best = model.encode_gated(row, gates.row(i), ITERATIONS);
        (best.energy < now.energy - WORTH * row.square).then_some(best)
    });
    let mut moved = 0;
    for (i, best) in found.into_iter().enumerate() {
        let Some(best) = best else { continue };
        moved += 1;
        coordinates.row_mut(i).copy_from_slice(&best.t);
    }
    moved
}

/// Lowers every row's objective under a fixed decoder and fixed gates: by descent to the nearest minimum
/// where at most two atoms are on, by two sweeps over the atoms where more are.
pub(crate) fn refine(
    model: &RowModel<'_>,
    data: &Data,
    coordinates: &mut Coordinates,
    gates: &Gates,
    iterations: usize,
) {
    let found = for_rows(model, data, |i, row| {
        let mut now = RowPoint::new(gates.row(i).to_vec(), coordinates.row(i).to_vec());
        if now.gates.iter().filter(|&&gate| gate != 0.0).count() > 2 {
            for _ in 0..2 {
                model.sweep(row, &mut now, iterations.div_ceil(2));
            }
        } else {
            model.refine(row, &mut now, iterations);
        }
        now.t
    });
    for (i, t) in found.into_iter().enumerate() {
        coordinates.row_mut(i).copy_from_slice(&t);
    }
}
