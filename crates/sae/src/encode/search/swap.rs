//! Swaps: what the first choice of a row took may be better explained by others once these are on, so each atom in
//! turn is taken out, and the best for what the rest leaves is put in its place.

use super::{NONE, RowCode, Search, SearchMemory};

/// A row's code before a swap.
#[derive(Default)]
pub(super) struct Kept {
    phi: Vec<f64>,
    t: Vec<f64>,
}

impl Search<'_> {
    /// Takes each atom out in turn and puts the best for what the others leave in its place, where that lowers the
    /// energy; returns it.
    pub(super) fn swap(
        &self,
        pulls: &[f64],
        mut energy: f64,
        still: f64,
        work: &mut SearchMemory,
        code: &mut RowCode<'_>,
    ) -> f64 {
        let on = code.on();
        let (width, stored) = (self.arrangement.width(), self.arrangement.stored());
        for _ in 0..on {
            let mut kept = std::mem::take(&mut work.kept);
            kept.phi.clear();
            kept.phi.extend_from_slice(code.phi);
            kept.t.clear();
            kept.t.extend_from_slice(code.t);
            // The first atom goes to the end, where it is taken out: after `on` turns the order is as before.
            code.atoms[..on].rotate_left(1);
            code.phi[..on * width].rotate_left(width);
            code.t[..on * stored].rotate_left(stored);
            let out = code.atoms[on - 1];
            code.atoms[on - 1] = NONE;
            self.refit(pulls, work, code, still);
            self.lanes.leave(self, code, on - 1, work);
            let found = self.add(pulls, work, code, on - 1);
            let mut better = false;
            if found && code.atoms[on - 1] != out {
                self.refit(pulls, work, code, still);
                let other = self.energy(pulls, code);
                better = other < energy;
                if better {
                    energy = other;
                }
            }
            if !better {
                code.atoms[on - 1] = out;
                code.phi.copy_from_slice(&kept.phi);
                code.t.copy_from_slice(&kept.t);
                code.phi[..on * width].rotate_left(width);
                code.t[..on * stored].rotate_left(stored);
            }
            work.kept = kept;
        }
        energy
    }
}
