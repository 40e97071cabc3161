//! Newton's method with a ridge on the coordinates of one row.

use super::{RowModel, RowPoint};
use crate::data::dot;

/// Steps of the central differences that give the Hessian: `eps^(1/3)` balances truncation against
/// rounding.
const DIFFERENCE: f64 = 6e-6;

/// An atom's part of the problem.
struct Block {
    atom: usize,
    gate: f64,
    /// Its first feature, in the pull and in the Gram matrix.
    pull: usize,
    feature: usize,
    width: usize,
    /// Its first unknown.
    unknown: usize,
    dim: usize,
}

/// The problem of one row.
pub(super) struct Newton<'m> {
    model: &'m RowModel<'m>,
    pull: &'m [f64],
    /// `|r0|^2`: the scale of the row.
    square: f64,
    blocks: Vec<Block>,
    dim: usize,
    width: usize,
}

/// Where a minimisation ended.
pub(super) struct Found {
    pub(super) energy: f64,
    pub(super) converged: bool,
}

/// Features and slopes at one point.
struct Local {
    phi: Vec<f64>,
    /// `d x width`, row-major; zero off the atoms' blocks.
    psi: Vec<f64>,
    /// `K phi - c`.
    push: Vec<f64>,
}

impl<'m> Newton<'m> {
    /// All atoms that are on in `point`; `pull` is over all features.
    pub(super) fn joint(
        model: &'m RowModel<'m>,
        pull: &'m [f64],
        square: f64,
        point: &RowPoint,
    ) -> Self {
        let mut this = Self {
            model,
            pull,
            square,
            blocks: Vec::new(),
            dim: 0,
            width: 0,
        };
        for (atom, &gate) in point.gates.iter().enumerate() {
            if gate != 0.0 {
                let first = model.dictionary.atom_features(atom).start;
                this.push(atom, gate, first);
            }
        }
        this
    }

    /// Atom `atom` alone; `left` is what it can pull, over its own features.
    pub(super) fn alone(
        model: &'m RowModel<'m>,
        left: &'m [f64],
        square: f64,
        atom: usize,
        gate: f64,
    ) -> Self {
        let mut this = Self {
            model,
            pull: left,
            square,
            blocks: Vec::new(),
            dim: 0,
            width: 0,
        };
        this.push(atom, gate, 0);
        this
    }

    fn push(&mut self, atom: usize, gate: f64, pull: usize) {
        let what = self.model.dictionary.atoms()[atom];
        let feature = self.model.dictionary.atom_features(atom).start;
        let (width, dim) = (what.width(), what.local_dim());
        self.blocks.push(Block {
            atom,
            gate,
            pull,
            feature,
            width,
            unknown: self.dim,
            dim,
        });
        self.dim += dim;
        self.width += width;
    }

    /// `e(t)`.
    pub(super) fn energy(&self, t: &[f64]) -> f64 {
        let local = self.local(t, false);
        self.energy_at(t, &local)
    }

    /// `phi' (K phi - c) / 2 - phi' c / 2 + kappa |t|^2 / 2`.
    fn energy_at(&self, t: &[f64], local: &Local) -> f64 {
        let mut at = 0;
        let mut sum = 0.0;
        for block in &self.blocks {
            for j in 0..block.width {
                sum += local.phi[at] * (local.push[at] - self.pull[block.pull + j]);
                at += 1;
            }
        }
        0.5 * sum + 0.5 * self.model.kappa * self.euclidean(t)
    }

    fn euclidean(&self, t: &[f64]) -> f64 {
        let dictionary = self.model.dictionary;
        self.blocks
            .iter()
            .filter(|block| dictionary.atoms()[block.atom].topology().is_euclidean())
            .map(|block| {
                let t = &t[dictionary.atom_columns(block.atom)];
                dot(t, t)
            })
            .sum()
    }

    fn local(&self, t: &[f64], slopes: bool) -> Local {
        let mut phi = vec![0.0; self.width];
        let mut psi = vec![0.0; if slopes { self.dim * self.width } else { 0 }];
        let mut at = 0;
        for block in &self.blocks {
            let atom = self.model.dictionary.atoms()[block.atom];
            let t = &t[self.model.dictionary.atom_columns(block.atom)];
            let values = &mut phi[at..at + block.width];
            if slopes {
                let psi = &mut psi[block.unknown * self.width + at..];
                atom.values_and_slopes(t, values, psi, self.width);
                for a in 0..block.dim {
                    psi[a * self.width..][..block.width]
                        .iter_mut()
                        .for_each(|v| *v *= block.gate);
                }
            } else {
                atom.values(t, values);
            }
            values.iter_mut().for_each(|v| *v *= block.gate);
            at += block.width;
        }
        let push = self.push_of(&phi);
        Local { phi, psi, push }
    }

    /// `K phi - c` over the features that are on.
    fn push_of(&self, phi: &[f64]) -> Vec<f64> {
        let mut push = Vec::with_capacity(self.width);
        for left in &self.blocks {
            push.extend(self.pull[left.pull..][..left.width].iter().map(|c| -c));
        }
        let mut from = 0;
        for right in &self.blocks {
            for j in 0..right.width {
                let column = self.model.gram.col_as_slice(right.feature + j);
                let mut to = 0;
                for left in &self.blocks {
                    let into = &mut push[to..to + left.width];
                    crate::data::axpy(phi[from], &column[left.feature..][..left.width], into);
                    to += left.width;
                }
                from += 1;
            }
        }
        push
    }

    /// `Psi (K phi - c) + kappa t`.
    fn gradient(&self, t: &[f64], local: &Local) -> Vec<f64> {
        let mut gradient = Vec::with_capacity(self.dim);
        for psi in local.psi.chunks_exact(self.width.max(1)) {
            gradient.push(dot(psi, &local.push));
        }
        let dictionary = self.model.dictionary;
        for block in &self.blocks {
            if dictionary.atoms()[block.atom].topology().is_euclidean() {
                let t = &t[dictionary.atom_columns(block.atom)];
                crate::data::axpy(
                    self.model.kappa,
                    t,
                    &mut gradient[block.unknown..][..block.dim],
                );
            }
        }
        gradient
    }

    fn moved(&self, t: &[f64], delta: &[f64]) -> Vec<f64> {
        let mut moved = t.to_vec();
        for block in &self.blocks {
            let topology = self.model.dictionary.atoms()[block.atom].topology();
            let t = &mut moved[self.model.dictionary.atom_columns(block.atom)];
            topology.retract(t, &delta[block.unknown..][..block.dim]);
        }
        moved
    }

    /// The Hessian by central differences of the gradient, symmetrised, row-major.
    fn hessian(&self, t: &[f64]) -> Vec<f64> {
        let d = self.dim;
        let mut hessian = vec![0.0; d * d];
        let mut delta = vec![0.0; d];
        for a in 0..d {
            let mut side = |step: f64| {
                delta[a] = step;
                let moved = self.moved(t, &delta);
                delta[a] = 0.0;
                self.gradient(&moved, &self.local(&moved, true))
            };
            let (plus, minus) = (side(DIFFERENCE), side(-DIFFERENCE));
            for b in 0..d {
                hessian[a * d + b] = (plus[b] - minus[b]) / (2.0 * DIFFERENCE);
            }
        }
        for a in 0..d {
            for b in 0..a {
                let mean = 0.5 * (hessian[a * d + b] + hessian[b * d + a]);
                hessian[a * d + b] = mean;
                hessian[b * d + a] = mean;
            }
        }
        hessian
    }

    /// `trace(Psi K Psi')`: what Gauss-Newton has on its diagonal, the scale of curvature.
    fn curvature(&self, local: &Local) -> f64 {
        let zero = vec![0.0; self.width];
        let mut sum = 0.0;
        for psi in local.psi.chunks_exact(self.width.max(1)) {
            let mut push = self.push_of(psi);
            let base = self.push_of(&zero);
            push.iter_mut().zip(&base).for_each(|(a, b)| *a -= b);
            sum += dot(psi, &push);
        }
        sum.max(0.0)
    }

    /// Descends from `t`, in place.
    pub(super) fn minimise(&self, t: &mut [f64], iterations: usize) -> Found {
        let mut local = self.local(t, true);
        let mut energy = self.energy_at(t, &local);
        if self.dim == 0 {
            return Found {
                energy,
                converged: true,
            };
        }
        let curvature = self.curvature(&local);
        // A gradient is J r: small when it is small beside |J| |r0|.
        let small = 1e-9 * (curvature * self.square).sqrt();
        let noise = 1e-15 * (self.square + energy.abs());
        let unit = (curvature / self.dim as f64).max(f64::MIN_POSITIVE);
        let mut ridge = 0.0;
        for _ in 0..iterations {
            let gradient = self.gradient(t, &local);
            if dot(&gradient, &gradient).sqrt() <= small {
                return Found {
                    energy,
                    converged: true,
                };
            }
            let hessian = self.hessian(t);
            loop {
                if let Some(step) = solve(&hessian, ridge, &gradient) {
                    let predicted = -0.5 * dot(&gradient, &step);
                    let moved = self.moved(t, &step);
                    let there = self.local(&moved, true);
                    let lower = self.energy_at(&moved, &there);
                    if lower < energy {
                        t.copy_from_slice(&moved);
                        (energy, local) = (lower, there);
                        ridge = if ridge < 1e-3 * unit {
                            0.0
                        } else {
                            ridge * 0.25
                        };
                        break;
                    }
                    if predicted <= noise {
                        return Found {
                            energy,
                            converged: ridge <= unit,
                        };
                    }
                }
                ridge = if ridge == 0.0 {
                    1e-2 * unit
                } else {
                    ridge * 4.0
                };
                if ridge > 1e12 * unit || ridge.is_nan() {
                    return Found {
                        energy,
                        converged: false,
                    };
                }
            }
        }
        let gradient = self.gradient(t, &local);
        Found {
            energy,
            converged: dot(&gradient, &gradient).sqrt() <= small,
        }
    }
}

/// `-(H + ridge)^-1 g` by Cholesky; nothing where it is not positive definite.
fn solve(hessian: &[f64], ridge: f64, gradient: &[f64]) -> Option<Vec<f64>> {
    let d = gradient.len();
    let mut l = hessian.to_vec();
    for a in 0..d {
        l[a * d + a] += ridge;
        for b in 0..=a {
            let mut sum = l[a * d + b];
            for c in 0..b {
                sum -= l[a * d + c] * l[b * d + c];
            }
            if a == b {
                if sum <= 0.0 || sum.is_nan() {
                    return None;
                }
                l[a * d + a] = sum.sqrt();
            } else {
                l[a * d + b] = sum / l[b * d + b];
            }
        }
    }
    let mut x: Vec<f64> = gradient.iter().map(|g| -g).collect();
    for a in 0..d {
        for b in 0..a {
            x[a] -= l[a * d + b] * x[b];
        }
        x[a] /= l[a * d + a];
    }
    for a in (0..d).rev() {
        for b in a + 1..d {
            x[a] -= l[b * d + a] * x[b];
        }
        x[a] /= l[a * d + a];
    }
    Some(x)
}
