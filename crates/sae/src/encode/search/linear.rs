//! Rows whose atoms are all linear: one small system for all of them.
//!
//! With `c` and `K` over the functions of the atoms that are on the best functions are `(K + kappa I_flat)^-1 c`.
//! Greedy choices are then those of orthogonal matching pursuit by groups (Eldar, Kuppinger and Bolcskei,
//! *Block-sparse signals*, 2010).

use super::{NARROW, RowCode, Search, SearchMemory, Seat};
use crate::data::larger;

/// A pivot below this share of its diagonal entry is rounding: two atoms say the same.
const DEPENDENT: f64 = 1e-9;

/// Memory of the system.
#[derive(Default)]
pub(crate) struct RowSystem {
    matrix: Vec<f64>,
    right: Vec<f64>,
    /// The places of the functions.
    at: Vec<usize>,
}

impl Search<'_> {
    /// Whether atom `a` is linear.
    fn is_linear(&self, a: usize) -> bool {
        match self.seats[a] {
            Seat::Circle(_) => self.cones,
            Seat::Linear(_) => true,
            Seat::Grid => false,
        }
    }

    /// Moves all atoms that are on to their best places together; false, and nothing changed, where they are not
    /// all linear or depend on each other.
    pub(crate) fn solve(
        &self,
        pulls: &[f64],
        work: &mut SearchMemory,
        code: &mut RowCode<'_>,
    ) -> bool {
        let on = code.on();
        if !code.atoms[..on].iter().all(|&a| self.is_linear(a as usize)) {
            return false;
        }
        let (features, width) = (self.arrangement.features(), self.arrangement.width());
        let RowSystem {
            matrix, right, at, ..
        } = &mut work.system;
        at.clear();
        for &a in &code.atoms[..on] {
            at.extend(self.arrangement.place(a as usize).all());
        }
        let d = at.len();
        right.clear();
        right.extend(at.iter().map(|&f| pulls[f]));
        matrix.clear();
        for &f in &*at {
            let line = &self.gram[f * features..][..features];
            matrix.extend(at.iter().map(|&g| line[g]));
        }
        let mut first = 0;
        for &a in &code.atoms[..on] {
            let (atom, w) = (
                self.dictionary.atoms()[a as usize],
                self.arrangement.place(a as usize).width,
            );
            if atom.topology().has_flat() {
                (first..first + w).for_each(|j| matrix[j * d + j] += self.kappa);
            }
            // A short axis says nothing: what would stand along it is rounding.
            let longest = (first..first + w).fold(0.0, |m, j| larger(m, matrix[j * d + j]));
            for j in first..first + w {
                let is_short = matrix[j * d + j] <= NARROW * longest;
                if atom.is_cone() && is_short {
                    matrix[j * d..][..d].fill(0.0);
                    (0..d).for_each(|i| matrix[i * d + j] = 0.0);
                    (matrix[j * d + j], right[j]) = (1.0, 0.0);
                }
            }
            first += w;
        }
        if !cholesky_solve(matrix, right) {
            return false;
        }
        let stored = self.arrangement.stored();
        let mut first = 0;
        for (slot, &a) in code.atoms[..on].iter().enumerate() {
            let (atom, a) = (self.dictionary.atoms()[a as usize], a as usize);
            let w = self.arrangement.place(a).width;
            let phi = &right[first..first + w];
            code.phi[slot * width..][..w].copy_from_slice(phi);
            if !matches!(self.seats[a], Seat::Circle(_)) {
                atom.place_of(phi, &mut code.t[slot * stored..][..atom.placed()]);
            }
            first += w;
        }
        true
    }
}

/// Solves `A x = b` in place for a positive definite `A`, row-major; false where a pivot is rounding.
fn cholesky_solve(a: &mut [f64], b: &mut [f64]) -> bool {
    let d = b.len();
    for j in 0..d {
        let diagonal = a[j * d + j];
        for k in 0..j {
            let l = a[j * d + k];
            a[j * d + j] -= l * l;
        }
        // Written so that NaN is no pivot.
        let is_pivot = a[j * d + j] > DEPENDENT * diagonal;
        if !is_pivot {
            return false;
        }
        let pivot = a[j * d + j].sqrt();
        a[j * d + j] = pivot;
        for i in j + 1..d {
            let mut sum = a[i * d + j];
            for k in 0..j {
                sum -= a[i * d + k] * a[j * d + k];
            }
            a[i * d + j] = sum / pivot;
        }
        let known: f64 = (0..j).map(|k| a[j * d + k] * b[k]).sum();
        b[j] = (b[j] - known) / pivot;
    }
    for j in (0..d).rev() {
        let known: f64 = (j + 1..d).map(|i| a[i * d + j] * b[i]).sum();
        b[j] = (b[j] - known) / a[j * d + j];
    }
    true
}
