//! Linear atoms with a single function: which of many has the largest gain.
//!
//! Their functions stand side by side, so that one pass over the pulls that are left gives all gains,
//! `q^2 / (K_aa + kappa) / 2`.

use super::{NONE, Seat};
use crate::encode::arrangement::Arrangement;

/// See the [module](self). Both lists are over the functions of all atoms that are not circles of a first harmonic.
pub(super) struct Lines {
    /// `1 / (K_aa + kappa)`; 0 for a function of another atom.
    inverses: Vec<f64>,
    /// Whose function it is; [`NONE`] where that is no line.
    atoms: Vec<u32>,
    /// By atom, where its function stands.
    at: Vec<Option<usize>>,
}

impl Lines {
    pub(super) fn of(seats: &[Seat], arrangement: &Arrangement) -> Self {
        let first = 2 * arrangement.circles().len();
        let count = arrangement.features() - first;
        let mut lines = Self {
            inverses: vec![0.0; count],
            atoms: vec![NONE; count],
            at: vec![None; seats.len()],
        };
        for (a, seat) in seats.iter().enumerate() {
            let place = arrangement.place(a);
            if let Seat::Linear(inverse) = seat
                && place.width == 1
            {
                let at = place.first - first;
                lines.inverses[at] = inverse[(0, 0)];
                lines.atoms[at] = a as u32;
                lines.at[a] = Some(at);
            }
        }
        lines
    }

    pub(super) fn has(&self, a: usize) -> bool {
        self.at[a].is_some()
    }

    /// The line with the largest gain among those that are off, for what is `left` of the pulls, and that gain.
    pub(super) fn best(
        &self,
        left: &[f64],
        on: &[u32],
        gains: &mut Vec<f64>,
    ) -> Option<(f64, usize)> {
        gains.clear();
        let both = left.iter().zip(&self.inverses);
        gains.extend(both.map(|(q, inverse)| q * q * inverse));
        for &a in on {
            if let Some(at) = self.at[a as usize] {
                gains[at] = f64::NEG_INFINITY;
            }
        }
        let mut best = (0.0, None);
        for (at, &gain) in gains.iter().enumerate() {
            if gain > best.0 {
                best = (gain, Some(at));
            }
        }
        best.1.map(|at| (0.5 * best.0, self.atoms[at] as usize))
    }
}
