//! Circles of a first harmonic in lanes of single precision: which of many has the largest gain.

use super::{RowCode, Search, SearchMemory};
use crate::data::ARCH;
use crate::encode::angle::{self, LANES};

/// What all rows share, in lanes.
pub(super) struct InLanes {
    /// The axes of circles, or the inverses of those of cones.
    pub(super) axes: [Vec<angle::Lanes>; 2],
    /// For line `l` of `2 count`: its entries of `K` with the first functions, then with the second.
    gram: Vec<angle::Lanes>,
    pub(super) blocks: usize,
}

impl InLanes {
    pub(super) fn of(gram: &[f64], features: usize, axes: &[[f64; 2]]) -> Self {
        let count = axes.len();
        let blocks = count.div_ceil(LANES);
        // The unused entries of the last lanes have no pull, and axes that give no gain.
        let in_lanes = |number: &dyn Fn(usize) -> f64, rest: f32| -> Vec<angle::Lanes> {
            let mut lanes = vec![[rest; LANES]; blocks];
            for (j, to) in lanes.as_flattened_mut()[..count].iter_mut().enumerate() {
                *to = number(j) as f32;
            }
            lanes
        };
        let axes = [
            in_lanes(&|j| axes[j][0], 1.0),
            in_lanes(&|j| axes[j][1], 1.0),
        ];
        let lines = (0..2 * count).flat_map(|l| {
            let line = &gram[l * features..];
            let mut both = in_lanes(&|j| line[j], 0.0);
            both.extend(in_lanes(&|j| line[count + j], 0.0));
            both
        });
        Self {
            axes,
            gram: lines.collect(),
            blocks,
        }
    }

    /// Pulls in lanes.
    pub(super) fn load(&self, pulls: &[f64], into: &mut [angle::Lanes]) {
        if self.blocks == 0 {
            return;
        }
        let count = self.gram.len() / (4 * self.blocks);
        let (firsts, seconds) = into.split_at_mut(self.blocks);
        for (to, &from) in firsts.as_flattened_mut().iter_mut().zip(&pulls[..count]) {
            *to = from as f32;
        }
        let seconds = seconds.as_flattened_mut().iter_mut();
        for (to, &from) in seconds.zip(&pulls[count..2 * count]) {
            *to = from as f32;
        }
    }

    /// The pulls that the atoms in the first slots leave, in lanes.
    pub(super) fn leave(
        &self,
        search: &Search<'_>,
        code: &RowCode<'_>,
        slots: usize,
        work: &mut SearchMemory,
    ) {
        if self.blocks == 0 {
            return;
        }
        let width = search.arrangement.width();
        work.left.copy_from_slice(&work.pulls);
        for (slot, &a) in code.atoms[..slots].iter().enumerate() {
            let place = search.arrangement.place(a as usize);
            for (&v, at) in code.phi[slot * width..].iter().zip(place.all()) {
                if at < self.gram.len() / (2 * self.blocks) {
                    let line = &self.gram[2 * self.blocks * at..][..2 * self.blocks];
                    ARCH.dispatch(angle::Less {
                        left: &mut work.left,
                        line,
                        by: v as f32,
                    });
                } else {
                    // A function of another atom: its row of `K` is kept in double precision only.
                    search.leave_other(at, v, &mut work.left);
                }
            }
        }
    }
}

impl Search<'_> {
    fn leave_other(&self, at: usize, v: f64, left: &mut [angle::Lanes]) {
        let count = self.arrangement.circles().len();
        let line = &self.gram[at * self.arrangement.features()..];
        let (firsts, seconds) = left.split_at_mut(self.lanes.blocks);
        for (half, from) in [(firsts, 0), (seconds, count)] {
            let half = half.as_flattened_mut()[..count].iter_mut();
            for (to, k) in half.zip(&line[from..]) {
                *to -= (v * k) as f32;
            }
        }
    }
}
