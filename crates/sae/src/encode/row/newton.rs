//! Newton's method with a ridge on the coordinates of one row.
//!
//! It does not use the decision of [`crate::lm`]. There a trial costs a factorization of the whole system, so
//! each one is judged by the gain ratio, noted and counted. Here there are millions of problems of one to a
//! few unknowns with their true second derivatives, and a trial costs as much as its judgement: a step that
//! lowers the row's objective is taken, otherwise the ridge grows.

use super::{RowModel, RowPoint};
use crate::data::{axpy, dot};

/// The step of the differences that give the Hessian: `eps^(1/2)`. The Hessian's error is then about 1e-8,
/// and Newton's method converges almost as fast as with the exact one.
const DIFFERENCE: f64 = 1.5e-8;

/// The most ridges tried for one step. There are 25 from 1e-2 to 1e12 times the curvature.
const MOST_RIDGES: usize = 40;

/// Beyond a distance of this, the difference step of a coordinate on a line grows with the distance that it
/// has to go: with a gradient of 1e10 curvatures a step of 1.5e-8 changes nothing.
const FAR: f64 = 1e4;

/// The smallest share of the ridge, for a line that the decoder does not use.
const LEAST_WEIGHT: f64 = 1e-150;

/// An amplitude below this is none where a larger one does not lower the row's objective.
const NO_AMPLITUDE: f64 = 1e-6;

/// A row this many times farther out than its atoms reach takes its scale of curvature from the pull.
const OUTSIDE: f64 = 1e6;

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
    /// Whether an atom has both lines and other factors, or a fitted amplitude. The curvature of an angle then
    /// scales with the square of height or amplitude, and a single ridge would hold these back where only the angle
    /// needs it.
    uneven: bool,
    /// The longest step.
    reach: f64,
}

/// Where a minimisation ended.
pub(super) struct Descent {
    pub(super) energy: f64,
    pub(super) converged: bool,
}

/// Features and slopes at one point.
struct Local<'s> {
    phi: &'s mut [f64],
    /// `d x width`, row-major; zero off the atoms' blocks.
    psi: &'s mut [f64],
    /// `K phi - c`.
    push: &'s mut [f64],
}

/// Numbers that are kept on the stack. There are many small row problems: most need no more than this, and
/// an allocation would cost as much as a step.
const STACK: usize = 256;

/// Hands out parts of a slice, one after another.
struct Parts<'s>(&'s mut [f64]);

impl<'s> Parts<'s> {
    fn take(&mut self, count: usize) -> &'s mut [f64] {
        let (part, rest) = std::mem::take(&mut self.0).split_at_mut(count);
        self.0 = rest;
        part
    }
}

/// Calls `body` with `count` zeros.
fn with_zeros<T>(count: usize, body: impl FnOnce(Parts<'_>) -> T) -> T {
    if count <= STACK {
        body(Parts(&mut [0.0; STACK][..count]))
    } else {
        body(Parts(&mut vec![0.0; count]))
    }
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
            uneven: false,
            reach: f64::INFINITY,
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
            uneven: false,
            reach: f64::INFINITY,
        };
        this.push(atom, gate, 0);
        this
    }

    /// Limits steps to `reach`: a step from one basin into another does not descend to the minimum.
    pub(super) fn within(self, reach: f64) -> Self {
        Self { reach, ..self }
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
        let topology = what.topology();
        self.uneven |= what.is_cone() || (topology.has_flat() && topology.alone().is_none());
    }

    /// `e(t)`.
    pub(super) fn energy(&self, t: &[f64]) -> f64 {
        with_zeros(self.local_len(), |mut parts| {
            let mut local = self.local(&mut parts);
            self.refresh(t, &mut local);
            self.energy_at(t, &local)
        })
    }

    /// Numbers of a [`Local`].
    fn local_len(&self) -> usize {
        (self.dim + 2) * self.width
    }

    fn local<'s>(&self, parts: &mut Parts<'s>) -> Local<'s> {
        Local {
            phi: parts.take(self.width),
            psi: parts.take(self.dim * self.width),
            push: parts.take(self.width),
        }
    }

    /// `phi' (K phi - c) / 2 - phi' c / 2 + kappa |t|^2 / 2`.
    fn energy_at(&self, t: &[f64], local: &Local<'_>) -> f64 {
        let mut at = 0;
        let mut sum = 0.0;
        for block in &self.blocks {
            for j in 0..block.width {
                sum += local.phi[at] * (local.push[at] - self.pull[block.pull + j]);
                at += 1;
            }
        }
        0.5 * sum + 0.5 * self.model.kappa * self.flat_square(t)
    }

    /// `|t|^2` over flat coordinates.
    fn flat_square(&self, t: &[f64]) -> f64 {
        let dictionary = self.model.dictionary;
        let square = |block: &Block| {
            let t = &t[dictionary.atom_place(block.atom)];
            let flat = dictionary.atoms()[block.atom].topology().flat();
            flat.map(|part| dot(&t[part.stored.clone()], &t[part.stored]))
        };
        self.blocks.iter().flat_map(square).sum()
    }

    /// Brings `local` up to date with `t`.
    fn refresh(&self, t: &[f64], local: &mut Local<'_>) {
        let mut at = 0;
        for block in &self.blocks {
            let atom = self.model.dictionary.atoms()[block.atom];
            let t = &t[self.model.dictionary.atom_place(block.atom)];
            let values = &mut local.phi[at..at + block.width];
            let psi = &mut local.psi[block.unknown * self.width + at..];
            atom.values_and_slopes(t, values, psi, self.width);
            if block.gate != 1.0 {
                values.iter_mut().for_each(|v| *v *= block.gate);
                for a in 0..block.dim {
                    psi[a * self.width..][..block.width]
                        .iter_mut()
                        .for_each(|v| *v *= block.gate);
                }
            }
            at += block.width;
        }
        let mut at = 0;
        for block in &self.blocks {
            for c in &self.pull[block.pull..][..block.width] {
                local.push[at] = -c;
                at += 1;
            }
        }
        self.add_gram_product(local.phi, local.push);
    }

    /// `out += K v` over the features that are on.
    fn add_gram_product(&self, v: &[f64], out: &mut [f64]) {
        let mut from = 0;
        for right in &self.blocks {
            for j in 0..right.width {
                let column = self.model.gram.col_as_slice(right.feature + j);
                let mut to = 0;
                for left in &self.blocks {
                    let into = &mut out[to..to + left.width];
                    axpy(v[from], &column[left.feature..][..left.width], into);
                    to += left.width;
                }
                from += 1;
            }
        }
    }

    /// `Psi (K phi - c) + kappa t`.
    fn gradient(&self, t: &[f64], local: &Local<'_>, out: &mut [f64]) {
        for (g, psi) in out
            .iter_mut()
            .zip(local.psi.chunks_exact(self.width.max(1)))
        {
            *g = dot(psi, local.push);
        }
        let dictionary = self.model.dictionary;
        for block in &self.blocks {
            let t = &t[dictionary.atom_place(block.atom)];
            for part in dictionary.atoms()[block.atom].topology().flat() {
                let into = &mut out[block.unknown..][part.local];
                axpy(self.model.kappa, &t[part.stored], into);
            }
        }
    }

    fn moved(&self, t: &[f64], delta: &[f64], moved: &mut [f64]) {
        moved.copy_from_slice(t);
        for block in &self.blocks {
            let atom = self.model.dictionary.atoms()[block.atom];
            let t = &mut moved[self.model.dictionary.atom_place(block.atom)];
            atom.retract(t, &delta[block.unknown..][..block.dim]);
        }
    }

    /// The Hessian by differences of the gradient, symmetrised, row-major, into `work.hessian`;
    /// `unit` is the scale of curvature.
    fn hessian(&self, t: &[f64], unit: f64, work: &mut Work<'_>) {
        let d = self.dim;
        work.step.fill(0.0);
        for block in &self.blocks {
            for a in block.unknown..block.unknown + block.dim {
                let difference = self.difference(t, block, a, work.gradient[a] / unit);
                work.step[a] = difference;
                self.moved(t, work.step, work.moved);
                work.step[a] = 0.0;
                self.refresh(work.moved, &mut work.there);
                let row = &mut work.hessian[a * d..][..d];
                self.gradient(work.moved, &work.there, row);
                for (h, g) in row.iter_mut().zip(&*work.gradient) {
                    *h = (*h - g) / difference;
                }
            }
        }
        for a in 0..d {
            for b in 0..a {
                let mean = 0.5 * (work.hessian[a * d + b] + work.hessian[b * d + a]);
                work.hessian[a * d + b] = mean;
                work.hessian[b * d + a] = mean;
            }
        }
    }

    /// Whether an unknown is a coordinate on a line, or an amplitude.
    fn is_flat(&self, unknown: usize) -> bool {
        self.blocks.iter().any(|block| {
            let atom = self.model.dictionary.atoms()[block.atom];
            let mut flat = atom.topology().flat();
            let is_amplitude = |at: usize| atom.is_cone() && at + 1 == block.dim;
            let at = unknown.checked_sub(block.unknown);
            at.filter(|at| *at < block.dim)
                .is_some_and(|at| is_amplitude(at) || flat.any(|part| part.local.contains(&at)))
        })
    }

    /// Holds atoms whose best amplitude is 0 once they are close to it: their part of the gradient becomes 0. What
    /// is left of them would make the Hessian indefinite.
    fn hold(&self, t: &[f64], gradient: &mut [f64]) {
        for block in &self.blocks {
            let atom = self.model.dictionary.atoms()[block.atom];
            let own = block.unknown..block.unknown + block.dim;
            let place = &t[self.model.dictionary.atom_place(block.atom)];
            // A linear cone goes through 0 to the other side.
            let bounded = atom.is_cone() && !atom.is_linear();
            if bounded && atom.amplitude(place) < NO_AMPLITUDE && gradient[own.end - 1] > 0.0 {
                gradient[own].fill(0.0);
            }
        }
    }

    /// Takes the unknowns of [held](Newton::hold) atoms out of the Hessian.
    fn hold_hessian(&self, t: &[f64], unit: f64, work: &mut Work<'_>) {
        let d = self.dim;
        for block in &self.blocks {
            let atom = self.model.dictionary.atoms()[block.atom];
            let own = block.unknown..block.unknown + block.dim;
            let place = &t[self.model.dictionary.atom_place(block.atom)];
            let is_none = work.gradient[own.clone()].iter().all(|g| *g == 0.0);
            let bounded = atom.is_cone() && !atom.is_linear();
            if !(bounded && atom.amplitude(place) < NO_AMPLITUDE && is_none) {
                continue;
            }
            for a in own {
                work.hessian[a * d..][..d].fill(0.0);
                (0..d).for_each(|b| work.hessian[b * d + a] = 0.0);
                work.hessian[a * d + a] = unit;
            }
        }
    }

    /// The difference step of `unknown`. On a line, and for an amplitude, it is relative to the number and to the
    /// distance that it has to go, where either is long.
    fn difference(&self, t: &[f64], block: &Block, unknown: usize, way: f64) -> f64 {
        let dictionary = self.model.dictionary;
        let atom = dictionary.atoms()[block.atom];
        let at = unknown - block.unknown;
        let mut flat = atom.topology().flat();
        let stored = match flat.find(|part| part.local.contains(&at)) {
            Some(part) => part.stored,
            None if atom.is_cone() && at + 1 == block.dim => atom.stored()..atom.placed(),
            None => return DIFFERENCE,
        };
        let t = &t[dictionary.atom_place(block.atom)][stored];
        let far = t.iter().fold(way.abs(), |m, t| m.max(t.abs()));
        if far > FAR && far.is_finite() {
            DIFFERENCE * far
        } else {
            DIFFERENCE
        }
    }

    /// `trace(Psi K Psi')`: the trace of the Gauss-Newton matrix, the scale of curvature.
    fn curvature(&self, local: &Local<'_>, scratch: &mut [f64]) -> f64 {
        let mut sum = 0.0;
        for psi in local.psi.chunks_exact(self.width.max(1)) {
            scratch.fill(0.0);
            self.add_gram_product(psi, scratch);
            sum += dot(psi, scratch);
        }
        sum.max(0.0)
    }

    /// Descends from `t`, in place.
    pub(super) fn minimise(&self, t: &mut [f64], iterations: usize) -> Descent {
        let d = self.dim;
        let needed = 2 * self.local_len() + t.len() + 3 * d + 2 * d * d;
        with_zeros(needed, |mut parts| {
            let local = self.local(&mut parts);
            let work = Work {
                there: self.local(&mut parts),
                moved: parts.take(t.len()),
                step: parts.take(d),
                gradient: parts.take(d),
                weights: parts.take(d),
                hessian: parts.take(d * d),
                factor: parts.take(d * d),
            };
            self.descend(t, iterations, local, work)
        })
    }

    fn descend<'s>(
        &self,
        t: &mut [f64],
        iterations: usize,
        mut local: Local<'s>,
        mut work: Work<'s>,
    ) -> Descent {
        self.refresh(t, &mut local);
        let mut energy = self.energy_at(t, &local);
        // An energy that overflows has no descent: `t` stays and does not count as converged.
        if self.dim == 0 || !energy.is_finite() {
            return Descent {
                energy,
                converged: energy.is_finite(),
            };
        }
        let curvature = self.curvature(&local, work.there.push);
        // A gradient is J r, so it is small if it is small relative to |J| |r0|.
        let small = 1e-9 * (curvature * self.square).sqrt();
        let noise = 1e-15 * (self.square + energy.abs());
        let curved = (curvature / self.dim as f64).max(f64::MIN_POSITIVE);
        // For a row far outside, the pull on a curved atom dominates the Hessian; J'J is negligible.
        let pulled = (curvature * self.square).sqrt();
        let unit = if pulled > OUTSIDE * curved {
            pulled
        } else {
            curved
        };
        let mut ridge = 0.0;
        work.weights.fill(1.0);
        self.gradient(t, &local, work.gradient);
        self.hold(t, work.gradient);
        for _ in 0..iterations {
            if dot(work.gradient, work.gradient).sqrt() <= small {
                return Descent {
                    energy,
                    converged: true,
                };
            }
            self.hessian(t, curved, &mut work);
            self.hold_hessian(t, curved, &mut work);
            let unit = match self.uneven {
                true => work.weigh(unit, |a| self.is_flat(a)),
                false => unit,
            };
            let mut lowered = false;
            for _ in 0..MOST_RIDGES {
                if work.solve(ridge) && dot(work.step, work.step).sqrt() <= self.reach {
                    let predicted = -0.5 * dot(work.gradient, work.step);
                    self.moved(t, work.step, work.moved);
                    self.refresh(work.moved, &mut work.there);
                    let lower = self.energy_at(work.moved, &work.there);
                    if lower < energy && lower.is_finite() {
                        t.copy_from_slice(work.moved);
                        std::mem::swap(&mut local, &mut work.there);
                        energy = lower;
                        ridge = if ridge < 1e-3 * unit {
                            0.0
                        } else {
                            ridge * 0.25
                        };
                        lowered = true;
                        break;
                    }
                    if predicted <= noise {
                        return Descent {
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
                    break;
                }
            }
            if !lowered {
                return Descent {
                    energy,
                    converged: false,
                };
            }
            self.gradient(t, &local, work.gradient);
            self.hold(t, work.gradient);
        }
        let converged = dot(work.gradient, work.gradient).sqrt() <= small;
        Descent { energy, converged }
    }
}

/// Storage of one minimisation.
struct Work<'s> {
    there: Local<'s>,
    moved: &'s mut [f64],
    step: &'s mut [f64],
    gradient: &'s mut [f64],
    /// The share of the ridge that each unknown has.
    weights: &'s mut [f64],
    hessian: &'s mut [f64],
    factor: &'s mut [f64],
}

impl Work<'_> {
    /// Gives each `flat` unknown the share of the ridge that its diagonal entry has of the largest, and every
    /// other unknown all of it. Returns the largest diagonal entry, or `unit` if that is larger.
    fn weigh(&mut self, unit: f64, flat: impl Fn(usize) -> bool) -> f64 {
        let d = self.weights.len();
        let diagonal = |a: usize| self.hessian[a * d + a].abs();
        let largest = (0..d).map(diagonal).fold(unit, f64::max);
        for (a, weight) in self.weights.iter_mut().enumerate() {
            *weight = match flat(a) {
                true => (self.hessian[a * d + a].abs() / largest).max(LEAST_WEIGHT),
                false => 1.0,
            };
        }
        largest
    }

    /// `step = -(H + ridge)^-1 g` by Cholesky; false where it is not positive definite.
    fn solve(&mut self, ridge: f64) -> bool {
        let d = self.gradient.len();
        let (l, x) = (&mut *self.factor, &mut *self.step);
        l.copy_from_slice(self.hessian);
        for a in 0..d {
            l[a * d + a] += ridge * self.weights[a];
            for b in 0..=a {
                let mut sum = l[a * d + b];
                for c in 0..b {
                    sum -= l[a * d + c] * l[b * d + c];
                }
                if a == b {
                    if sum <= 0.0 || sum.is_nan() {
                        return false;
                    }
                    l[a * d + a] = sum.sqrt();
                } else {
                    l[a * d + b] = sum / l[b * d + b];
                }
            }
        }
        for a in 0..d {
            let mut sum = -self.gradient[a];
            for b in 0..a {
                sum -= l[a * d + b] * x[b];
            }
            x[a] = sum / l[a * d + a];
        }
        for a in (0..d).rev() {
            let mut sum = x[a];
            for b in a + 1..d {
                sum -= l[b * d + a] * x[b];
            }
            x[a] = sum / l[a * d + a];
        }
        true
    }
}
