//! Circles of a first harmonic that are on in a row, brought together to a stationary point.
//!
//! With `z_a = (cos t_a, sin t_a)`, `z_a' = (-sin t_a, cos t_a)` and `u = K z - c` for a row, the gradient
//! and the Hessian with respect to the angles are
//!
//! ```text
//! g_a = z_a' . u_a        H_ab = z_a' K_ab z_b'    H_aa = z_a' K_aa z_a' - z_a . u_a
//! ```
//!
//! The alternation of [`Search::refit`] converges linearly, and more slowly the less orthogonal the atoms are.
//! From where it stops two or three steps of Newton's method, of a few multiplications each, are enough.
//! Where they are not, the code is left as it was for the general method.

use super::{RowCode, Search, SearchMemory, Seat};

/// The most circles that are settled together; rows with more go to the general method.
const MOST: usize = 8;

/// The most steps of Newton's method: two or three are enough if it converges at all.
const STEPS: usize = 6;

/// A longer step is too far for Newton's method without a ridge.
const FAR: f64 = 0.3;

/// A gradient is small below this share of `|J| |r0|`: the same as in the method for a single row.
const SMALL: f64 = 1e-9;

impl Search<'_> {
    /// Moves the circles that are on in `code` to the nearby stationary point, a minimum; returns whether it
    /// did. Otherwise, for example where other atoms are on, the code is unchanged. `square` is `|r0|^2`.
    pub(crate) fn settle(
        &self,
        pulls: &[f64],
        square: f64,
        work: &mut SearchMemory,
        code: &mut RowCode<'_>,
    ) -> bool {
        let on = code.on();
        // One linear system has the minimum itself.
        if self.cones {
            return self.solve(pulls, work, code);
        }
        let is_circle = |&a: &u32| matches!(self.seats[a as usize], Seat::Circle(_));
        if on > MOST || !code.atoms[..on].iter().all(is_circle) {
            return false;
        }
        let width = self.arrangement.width();
        let mut row = Row::new(self, pulls, &code.atoms[..on]);
        for slot in 0..on {
            row.z[slot] = [code.phi[slot * width], code.phi[slot * width + 1]];
        }
        let mut last = f64::INFINITY;
        for _ in 0..STEPS {
            let (gradient, curvature) = row.refresh();
            if gradient <= SMALL * (curvature * square).sqrt() {
                for slot in 0..on {
                    code.phi[slot * width..][..2].copy_from_slice(&row.z[slot]);
                }
                return true;
            }
            // Written so that NaN ends it.
            if !(gradient < last && row.step()) {
                return false;
            }
            last = gradient;
        }
        false
    }
}

/// The problem of one row.
struct Row {
    on: usize,
    /// `K_ab` of the atoms that are on, and their pulls.
    gram: [[[[f64; 2]; 2]; MOST]; MOST],
    pulls: [[f64; 2]; MOST],
    z: [[f64; 2]; MOST],
    gradient: [f64; MOST],
    hessian: [[f64; MOST]; MOST],
}

impl Row {
    fn new(search: &Search<'_>, pulls: &[f64], atoms: &[u32]) -> Self {
        let mut row = Self {
            on: atoms.len(),
            gram: [[[[0.0; 2]; 2]; MOST]; MOST],
            pulls: [[0.0; 2]; MOST],
            z: [[0.0; 2]; MOST],
            gradient: [0.0; MOST],
            hessian: [[0.0; MOST]; MOST],
        };
        let features = search.arrangement.features();
        for (i, &a) in atoms.iter().enumerate() {
            let own = search.arrangement.place(a as usize);
            for (m, at) in own.all().enumerate() {
                row.pulls[i][m] = pulls[at];
                let line = &search.gram[at * features..][..features];
                for (j, &b) in atoms.iter().enumerate() {
                    let other = search.arrangement.place(b as usize);
                    for (n, from) in other.all().enumerate() {
                        row.gram[i][j][m][n] = line[from];
                    }
                }
            }
        }
        row
    }

    /// Updates the gradient and the Hessian; returns the gradient's norm and the trace of `J'J`.
    fn refresh(&mut self) -> (f64, f64) {
        let (mut square, mut curvature) = (0.0, 0.0);
        for i in 0..self.on {
            let [z0, z1] = self.z[i];
            let mut push = self.pulls[i].map(|c| -c);
            for j in 0..self.on {
                let k = &self.gram[i][j];
                let [y0, y1] = self.z[j];
                push[0] += k[0][0] * y0 + k[0][1] * y1;
                push[1] += k[1][0] * y0 + k[1][1] * y1;
                let by = [k[0][1] * y0 - k[0][0] * y1, k[1][1] * y0 - k[1][0] * y1];
                self.hessian[i][j] = z0 * by[1] - z1 * by[0];
            }
            curvature += self.hessian[i][i].max(0.0);
            self.hessian[i][i] -= z0 * push[0] + z1 * push[1];
            self.gradient[i] = z0 * push[1] - z1 * push[0];
            square += self.gradient[i] * self.gradient[i];
        }
        (square.sqrt(), curvature)
    }

    /// One step of Newton's method; false where the Hessian is not positive definite or the step is too long.
    fn step(&mut self) -> bool {
        let on = self.on;
        let (l, mut x) = (&mut self.hessian, [0.0; MOST]);
        for a in 0..on {
            for b in 0..=a {
                let mut sum = l[a][b];
                for c in 0..b {
                    sum -= l[a][c] * l[b][c];
                }
                if a != b {
                    l[a][b] = sum / l[b][b];
                } else if sum > 0.0 {
                    l[a][a] = sum.sqrt();
                } else {
                    return false;
                }
            }
            let known: f64 = (0..a).map(|b| l[a][b] * x[b]).sum();
            x[a] = (-self.gradient[a] - known) / l[a][a];
        }
        for a in (0..on).rev() {
            let known: f64 = (a + 1..on).map(|b| l[b][a] * x[b]).sum();
            x[a] = (x[a] - known) / l[a][a];
        }
        // Written so that NaN counts as too long.
        if !x[..on].iter().all(|x| x.abs() <= FAR) {
            return false;
        }
        for (z, x) in self.z.iter_mut().zip(&x[..on]) {
            let (sin, cos) = x.sin_cos();
            let turned = [cos * z[0] - sin * z[1], cos * z[1] + sin * z[0]];
            let norm = (turned[0] * turned[0] + turned[1] * turned[1]).sqrt();
            *z = turned.map(|v| v / norm);
        }
        true
    }
}
