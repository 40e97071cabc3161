//! The problem of one row in the space of features: which atoms are on, and where.
//!
//! Given the pull `c = W r0` of a row (`r0` is the row minus the intercept) and `K = W W'` the data are no
//! longer needed. An atom `a` beside the others that are on has a remaining pull `q_a` and a best place:
//!
//! ```text
//! q_a = c_a - sum_b K_ab phi_b        max over t of  q_a' phi_a(t) - phi_a(t)' K_aa phi_a(t) / 2
//! ```
//!
//! Atoms are chosen greedily by that gain, each at its *globally* best place: in closed form for a circle
//! of a first harmonic ([`super::angle`]) and for a linear atom (flat of degree 1, or the cone over a circle or a
//! sphere of degree 1; [`lines`] has those with one function), otherwise from a grid. After each choice all atoms
//! that are on are refitted: together by one small linear system where all are linear ([`linear`]), otherwise one by
//! one, each at its best place beside the others. Then atoms may be swapped ([`swap`]).
//!
//! Circles of a first harmonic are searched together in single precision, in their own axes: the caller
//! has diagonalised each `K_aa`, the longer axis first ([`Arrangement::turn`]). The winner is placed in
//! double precision.

use super::angle::{self, LANES};
pub(crate) use super::arrangement::Arrangement;
use super::arrangement::{FeaturePlace, is_first_harmonic};
use super::row::RowModel;
use crate::data::{ARCH, axpy, dot, larger};
use crate::iterate::features::decoder_gram;
use crate::model::dictionary::Dictionary;
use crate::model::topology::MAX_EUCLIDEAN;
use crate::starts::principal::descending;
use faer::Mat;
use lanes::InLanes;
use lines::Lines;

mod lanes;
mod linear;
mod lines;
mod settle;
mod swap;

/// Marks an empty slot: no atom has this number.
pub(crate) const NONE: u32 = u32::MAX;

/// Which atoms are on in one row, and where; the empty slots come last.
pub(crate) struct RowCode<'c> {
    pub(crate) atoms: &'c mut [u32],
    /// The functions of each, [`Arrangement::width`] a slot.
    pub(crate) phi: &'c mut [f64],
    /// The places of each, [`Arrangement::stored`] numbers a slot; not kept for circles of a first
    /// harmonic, whose functions determine them.
    pub(crate) t: &'c mut [f64],
}

impl RowCode<'_> {
    /// The atoms that are on.
    pub(crate) fn on(&self) -> usize {
        let is_on = |a: &&u32| **a != NONE;
        self.atoms.iter().take_while(is_on).count()
    }

    fn copy(&mut self, other: &RowCode<'_>) {
        self.atoms.copy_from_slice(other.atoms);
        self.phi.copy_from_slice(other.phi);
        self.t.copy_from_slice(other.t);
    }

    fn clear(&mut self) {
        self.atoms.fill(NONE);
    }
}

/// How an atom finds its best place.
enum Seat {
    /// A circle of a first harmonic or the cone over it, by its number among these circles.
    Circle(usize),
    /// Another linear atom: `(K_aa + kappa I)^-1`, the pseudo-inverse where that is singular.
    Linear(Mat<f64>),
    /// From its grid, then by Newton's method.
    Grid,
}

/// What all rows share under one decoder.
pub(crate) struct Search<'a> {
    dictionary: &'a Dictionary,
    arrangement: &'a Arrangement,
    /// `K`, row-major in the arranged order.
    gram: Vec<f64>,
    kappa: f64,
    seats: Vec<Seat>,
    /// Atoms that are neither circles of a first harmonic nor lines.
    others: Vec<usize>,
    lines: Lines,
    /// For atoms that are searched on grids.
    grids: Option<RowModel<'a>>,
    /// By circle, in double precision.
    axes: Vec<[f64; 2]>,
    /// Whether circles have fitted amplitudes.
    cones: bool,
    /// Whether atoms are swapped after all are chosen.
    swaps: bool,
    /// The axes of circles in lanes, and the rows of `K` for circles, also in lanes.
    lanes: InLanes,
}

/// Memory of one worker.
pub(crate) struct SearchMemory {
    pulls: Vec<angle::Lanes>,
    left: Vec<angle::Lanes>,
    gains: Vec<angle::Lanes>,
    q: Vec<f64>,
    /// What is left of the pulls of atoms that are not circles of a first harmonic, and the gains of lines.
    left_of_others: Vec<f64>,
    gains_of_lines: Vec<f64>,
    /// A row's code while another one is tried.
    atoms: Vec<u32>,
    phi: Vec<f64>,
    t: Vec<f64>,
    trial: Trial,
    /// The linear system of a row: see [`linear`].
    system: linear::RowSystem,
    kept: swap::Kept,
}

/// Where one atom might go.
struct Trial {
    /// Places on all atoms, for Newton's method.
    all: Vec<f64>,
    phi: Vec<f64>,
    t: [f64; MAX_EUCLIDEAN + 1],
}

impl SearchMemory {
    pub(crate) fn new(arrangement: &Arrangement, dictionary: &Dictionary, slots: usize) -> Self {
        let blocks = arrangement.circles().len().div_ceil(LANES);
        let (width, stored) = (arrangement.width(), arrangement.stored());
        Self {
            pulls: vec![[0.0; LANES]; 2 * blocks],
            left: vec![[0.0; LANES]; 2 * blocks],
            gains: vec![[0.0; LANES]; blocks],
            q: vec![0.0; width],
            left_of_others: vec![0.0; arrangement.features() - 2 * arrangement.circles().len()],
            gains_of_lines: Vec::new(),
            atoms: vec![NONE; slots],
            phi: vec![0.0; slots * width],
            t: vec![0.0; slots * stored],
            trial: Trial {
                all: vec![0.0; dictionary.placed()],
                phi: vec![0.0; width],
                t: [0.0; MAX_EUCLIDEAN + 1],
            },
            system: linear::RowSystem::default(),
            kept: swap::Kept::default(),
        }
    }
}

/// The most sweeps over the atoms of a row while rows choose.
const SWEEPS: usize = 3;

/// An atom whose functions move less than this stands still: while rows choose, and where the new code is
/// compared with the old one.
const STILL: [f64; 2] = [1e-3, 1e-7];

/// Atoms whose best grid points are followed to their minima.
const LEADERS: usize = 3;

/// Newton steps from a grid point.
const STEPS: usize = 16;

impl<'a> Search<'a> {
    /// Prepares `arranged` (`F x p`, row-major, circles in their own axes). `decoder` is the same in the
    /// dictionary's order, with an intercept that is not read.
    pub(crate) fn new(
        dictionary: &'a Dictionary,
        arrangement: &'a Arrangement,
        arranged: &[f64],
        decoder: &'a [f64],
        outputs: usize,
        kappa: f64,
    ) -> Self {
        let features = arrangement.features();
        let gram_matrix = decoder_gram(arranged, features, outputs);
        let gram: Vec<f64> = (0..features)
            .flat_map(|f| gram_matrix.col_as_slice(f).iter().copied())
            .collect();
        let atoms = dictionary.atoms();
        let mut circle = 0;
        let seats: Vec<Seat> = (0..atoms.len())
            .map(|a| {
                if is_first_harmonic(atoms[a]) {
                    circle += 1;
                    return Seat::Circle(circle - 1);
                }
                let place = arrangement.place(a);
                match (atoms[a].is_linear(), atoms[a].is_cone()) {
                    (true, false) => linear_seat(&gram, features, place, kappa),
                    (true, true) => linear_seat(&gram, features, place, 0.0),
                    _ => Seat::Grid,
                }
            })
            .collect();
        let lines = Lines::of(&seats, arrangement);
        let others = (0..atoms.len())
            .filter(|&a| !is_first_harmonic(atoms[a]) && !lines.has(a))
            .collect();
        let wants_grid = seats.iter().any(|seat| matches!(seat, Seat::Grid));
        let grids = wants_grid.then(|| RowModel::new(dictionary, decoder, outputs, kappa));
        let count = arrangement.circles().len();
        let axes: Vec<[f64; 2]> = (0..count)
            .map(|j| {
                let second = count + j;
                [gram[j * features + j], gram[second * features + second]]
            })
            .collect();
        let first = arrangement.circles().first();
        let cones = first.is_some_and(|&a| atoms[a].is_cone());
        let in_lanes: Vec<[f64; 2]> = match cones {
            true => axes.iter().map(|&axes| inverses(axes)).collect(),
            false => axes.clone(),
        };
        Self {
            lanes: InLanes::of(&gram, features, &in_lanes),
            cones,
            swaps: cones && !wants_grid,
            dictionary,
            arrangement,
            gram,
            kappa,
            seats,
            others,
            lines,
            grids,
            axes,
        }
    }

    /// The same with swaps of all atoms, also of those where they cost as much as the choice itself.
    pub(crate) fn with_swaps(self) -> Self {
        Self {
            swaps: true,
            ..self
        }
    }

    /// The same without swaps.
    pub(crate) fn without_swaps(self) -> Self {
        Self {
            swaps: false,
            ..self
        }
    }

    /// Chooses atoms anew for the row of `pulls` (arranged, minus the intercept's part) while slots are free
    /// and an atom lowers the row's energy. Returns the energy, 0 where no atom is on.
    pub(crate) fn choose(
        &self,
        pulls: &[f64],
        work: &mut SearchMemory,
        code: &mut RowCode<'_>,
    ) -> f64 {
        self.choose_to(pulls, STILL[0], work, code)
    }

    fn choose_to(
        &self,
        pulls: &[f64],
        still: f64,
        work: &mut SearchMemory,
        code: &mut RowCode<'_>,
    ) -> f64 {
        code.clear();
        self.lanes.load(pulls, &mut work.pulls);
        work.left.copy_from_slice(&work.pulls);
        for slot in 0..code.atoms.len() {
            if !self.add(pulls, work, code, slot) {
                break;
            }
            if slot > 0 {
                self.refit(pulls, work, code, still);
            }
            if slot + 1 < code.atoms.len() {
                self.lanes.leave(self, code, slot + 1, work);
            }
        }
        let energy = self.energy(pulls, code);
        match self.swaps && code.on() > 1 {
            true => self.swap(pulls, energy, still, work, code),
            false => energy,
        }
    }

    /// Keeps the row's code, refitted, unless one chosen anew is better by more than `noise`. Returns the
    /// energy, and whether other atoms are on.
    pub(crate) fn improve(
        &self,
        pulls: &[f64],
        noise: f64,
        work: &mut SearchMemory,
        code: &mut RowCode<'_>,
    ) -> (f64, bool) {
        let before = self.energy(pulls, code);
        self.refit(pulls, work, code, STILL[1]);
        let kept = self.energy(pulls, code).min(before);
        let mut buffers = (
            std::mem::take(&mut work.atoms),
            std::mem::take(&mut work.phi),
            std::mem::take(&mut work.t),
        );
        let mut anew = RowCode {
            atoms: &mut buffers.0,
            phi: &mut buffers.1,
            t: &mut buffers.2,
        };
        let energy = self.choose_to(pulls, STILL[1], work, &mut anew);
        let better = energy < kept - noise;
        let other = better && !same(code, &anew);
        if better {
            code.copy(&anew);
        }
        (work.atoms, work.phi, work.t) = buffers;
        (if better { energy } else { kept }, other)
    }

    /// Puts the atom with the largest gain into `slot`; returns whether any atom has a gain.
    fn add(
        &self,
        pulls: &[f64],
        work: &mut SearchMemory,
        code: &mut RowCode<'_>,
        slot: usize,
    ) -> bool {
        let width = self.arrangement.width();
        let stored = self.arrangement.stored();
        // An amplitude could always be fitted to the rounding that is left.
        let least = match self.cones && slot > 0 {
            true => -NOTHING * self.energy(pulls, code),
            false => 0.0,
        };
        let mut found: Option<(f64, usize)> = None;
        if let Some(circle) = self.best_circle(work, code, slot) {
            let a = self.arrangement.circles()[circle];
            self.left_over(pulls, code, slot, a, &mut work.q);
            let ([x, y], gain) = self.on_circle(circle, [work.q[0], work.q[1]]);
            if gain > least {
                found = Some((gain, a));
                code.phi[slot * width..][..2].copy_from_slice(&[x, y]);
            }
        }
        let mut leaders: [Option<(f64, usize)>; LEADERS] = [None; LEADERS];
        if !work.left_of_others.is_empty() {
            self.leave_others(pulls, code, slot, &mut work.left_of_others);
            let on = &code.atoms[..slot];
            let best = (self.lines).best(&work.left_of_others, on, &mut work.gains_of_lines);
            let first = pulls.len() - work.left_of_others.len();
            for &a in &self.others {
                if code.atoms[..slot].contains(&(a as u32)) {
                    continue;
                }
                let left = &work.left_of_others[self.arrangement.place(a).first - first..];
                insert(&mut leaders, (self.guess(a, left), a));
            }
            if let Some(best) = best {
                insert(&mut leaders, best);
            }
        }
        for (_, a) in leaders.into_iter().flatten() {
            self.left_over(pulls, code, slot, a, &mut work.q);
            let w = self.arrangement.place(a).width;
            let s = self.dictionary.atoms()[a].placed();
            let Trial { all, phi, t } = &mut work.trial;
            let gain = self.seat(a, &work.q, all, &mut phi[..w], &mut t[..s]);
            if gain > found.map_or(least, |(best, _)| best) {
                found = Some((gain, a));
                code.phi[slot * width..][..w].copy_from_slice(&phi[..w]);
                code.t[slot * stored..][..s].copy_from_slice(&t[..s]);
            }
        }
        match found {
            Some((_, a)) => {
                code.atoms[slot] = a as u32;
                true
            }
            None => false,
        }
    }

    /// The circle with the largest gain among those that are off.
    fn best_circle(
        &self,
        work: &mut SearchMemory,
        code: &RowCode<'_>,
        slots: usize,
    ) -> Option<usize> {
        let count = self.arrangement.circles().len();
        if count == 0 {
            return None;
        }
        let lanes = &self.lanes;
        let (left0, left1) = work.left.split_at(lanes.blocks);
        let (pulls, axes) = ([left0, left1], [&lanes.axes[0][..], &lanes.axes[1]]);
        match self.cones {
            true => ARCH.dispatch(angle::PlaneGains {
                pulls,
                inverses: axes,
                out: &mut work.gains,
            }),
            false => ARCH.dispatch(angle::Gains {
                pulls,
                axes,
                out: &mut work.gains,
            }),
        }
        let gains = work.gains.as_flattened_mut();
        for &a in &code.atoms[..slots] {
            if let Seat::Circle(j) = self.seats[a as usize] {
                gains[j] = f32::NEG_INFINITY;
            }
        }
        let mut best = (f32::NEG_INFINITY, None);
        for (j, &gain) in gains[..count].iter().enumerate() {
            if gain > best.0 {
                best = (gain, Some(j));
            }
        }
        best.1
    }

    /// The best place of a circle, or of the cone over it, for the pull `q`, and its gain.
    fn on_circle(&self, circle: usize, q: [f64; 2]) -> ([f64; 2], f64) {
        if !self.cones {
            return angle::best(q, self.axes[circle]);
        }
        let by = inverses(self.axes[circle]);
        let z = [q[0] * by[0], q[1] * by[1]];
        (z, 0.5 * (q[0] * z[0] + q[1] * z[1]))
    }

    /// A lower bound of the best gain of atom `a`, close enough to choose which atoms are searched.
    fn guess(&self, a: usize, q: &[f64]) -> f64 {
        let q = &q[..self.arrangement.place(a).width];
        match (&self.seats[a], &self.grids) {
            (Seat::Linear(inverse), _) => {
                let mut sum = 0.0;
                for (j, v) in q.iter().enumerate() {
                    sum += v * dot(inverse.col_as_slice(j), q);
                }
                0.5 * sum
            }
            (Seat::Grid, Some(grids)) => -grids.guess(a, q),
            _ => 0.0,
        }
    }

    /// Finds the best place of atom `a` for the pull `q`: writes its functions and stored numbers, and returns
    /// its gain.
    fn seat(&self, a: usize, q: &[f64], all: &mut [f64], phi: &mut [f64], t: &mut [f64]) -> f64 {
        let q = &q[..phi.len()];
        match (&self.seats[a], &self.grids) {
            (Seat::Circle(j), _) => {
                let (z, gain) = self.on_circle(*j, [q[0], q[1]]);
                phi.copy_from_slice(&z);
                gain
            }
            (Seat::Linear(inverse), _) => {
                for (j, v) in phi.iter_mut().enumerate() {
                    *v = dot(inverse.col_as_slice(j), q);
                }
                self.dictionary.atoms()[a].place_of(phi, t);
                0.5 * dot(q, phi)
            }
            (Seat::Grid, Some(grids)) => {
                let columns = self.dictionary.atom_place(a);
                let energy = grids.best_place(a, q, STEPS, all);
                t.copy_from_slice(&all[columns]);
                self.dictionary.atoms()[a].values(t, phi);
                -energy
            }
            (Seat::Grid, None) => f64::NAN,
        }
    }

    /// Moves atom `a` to a better place if there is one; returns how far its functions moved.
    fn seat_again(
        &self,
        a: usize,
        q: &[f64],
        trial: &mut Trial,
        phi: &mut [f64],
        t: &mut [f64],
    ) -> f64 {
        let (w, s) = (phi.len(), t.len());
        let all = &mut trial.all;
        let found = (&mut trial.phi[..w], &mut trial.t[..s]);
        let mut gain = self.seat(a, q, all, found.0, found.1);
        if let Some(grids) = self
            .grids
            .as_ref()
            .filter(|_| matches!(self.seats[a], Seat::Grid))
        {
            // The grid may miss the minimum that the atom is at.
            let columns = self.dictionary.atom_place(a);
            all[columns.clone()].copy_from_slice(t);
            let polished = -grids.polish(a, &q[..w], STEPS, all);
            // NaN is not better.
            let better = gain > polished;
            if !better {
                gain = polished;
                found.1.copy_from_slice(&all[columns]);
                self.dictionary.atoms()[a].values(found.1, found.0);
            }
        }
        let better = gain > self.gain(a, q, phi, t);
        if !better {
            return 0.0;
        }
        let ways = phi.iter().zip(&*found.0).map(|(v, new)| (v - new).abs());
        let moved = ways.fold(0.0, f64::max);
        phi.copy_from_slice(found.0);
        t.copy_from_slice(found.1);
        moved
    }

    /// `q'phi - (phi'K_aa phi + kappa |t|^2) / 2`; the kappa term is for flat atoms only.
    fn gain(&self, a: usize, q: &[f64], phi: &[f64], t: &[f64]) -> f64 {
        let features = self.arrangement.features();
        let own = self.arrangement.place(a);
        let mut twice = 0.0;
        for ((v, q), at) in phi.iter().zip(q).zip(own.all()) {
            let line = &self.gram[at * features..][..features];
            let pushed: f64 = phi
                .iter()
                .zip(own.all())
                .map(|(u, from)| u * line[from])
                .sum();
            twice += v * (2.0 * q - pushed);
        }
        for part in self.dictionary.atoms()[a].topology().flat() {
            let t = &t[part.stored];
            twice -= self.kappa * dot(t, t);
        }
        0.5 * twice
    }

    /// `q = c_a - sum of K_ab phi_b` over the first slots except that of `a` itself.
    fn left_over(&self, pulls: &[f64], code: &RowCode<'_>, slots: usize, a: usize, q: &mut [f64]) {
        let features = self.arrangement.features();
        let own = self.arrangement.place(a);
        for (q, at) in q.iter_mut().zip(own.all()) {
            *q = pulls[at];
        }
        for (slot, &b) in code.atoms[..slots].iter().enumerate() {
            if b as usize == a || b == NONE {
                continue;
            }
            let other = self.arrangement.place(b as usize);
            let phi = &code.phi[slot * self.arrangement.width()..][..other.width];
            for (q, at) in q.iter_mut().zip(own.all()) {
                let line = &self.gram[at * features..][..features];
                for (v, from) in phi.iter().zip(other.all()) {
                    *q -= line[from] * v;
                }
            }
        }
    }

    /// [`Search::left_over`] of all atoms that are not circles of a first harmonic.
    fn leave_others(&self, pulls: &[f64], code: &RowCode<'_>, slots: usize, left: &mut [f64]) {
        let features = self.arrangement.features();
        let first = features - left.len();
        left.copy_from_slice(&pulls[first..]);
        for (slot, &b) in code.atoms[..slots].iter().enumerate() {
            let other = self.arrangement.place(b as usize);
            let phi = &code.phi[slot * self.arrangement.width()..];
            for (&v, from) in phi.iter().zip(other.all()) {
                axpy(-v, &self.gram[from * features..][first..features], left);
            }
        }
    }

    /// Moves all atoms that are on to their best places, one by one, until they stand still.
    pub(crate) fn refit(
        &self,
        pulls: &[f64],
        work: &mut SearchMemory,
        code: &mut RowCode<'_>,
        still: f64,
    ) {
        let (width, stored) = (self.arrangement.width(), self.arrangement.stored());
        let on = code.on();
        if on > 1 && self.solve(pulls, work, code) {
            return;
        }
        let sweeps = if on < 2 { 1 } else { SWEEPS };
        for _ in 0..sweeps {
            let mut moved = 0.0_f64;
            for slot in 0..on {
                let a = code.atoms[slot] as usize;
                self.left_over(pulls, code, on, a, &mut work.q);
                let w = self.arrangement.place(a).width;
                let phi = &mut code.phi[slot * width..][..w];
                if let Seat::Circle(j) = self.seats[a] {
                    let (z, _) = self.on_circle(j, [work.q[0], work.q[1]]);
                    moved = moved.max((z[0] - phi[0]).abs() + (z[1] - phi[1]).abs());
                    phi.copy_from_slice(&z);
                    continue;
                }
                let s = self.dictionary.atoms()[a].placed();
                let t = &mut code.t[slot * stored..][..s];
                moved = moved.max(self.seat_again(a, &work.q, &mut work.trial, phi, t));
            }
            if moved < still {
                break;
            }
        }
    }

    /// `sum (K phi / 2 - c)' phi + kappa |t|^2 / 2`.
    pub(crate) fn energy(&self, pulls: &[f64], code: &RowCode<'_>) -> f64 {
        let features = self.arrangement.features();
        let (width, stored) = (self.arrangement.width(), self.arrangement.stored());
        let on = code.on();
        let mut sum = 0.0;
        for slot in 0..on {
            let a = code.atoms[slot] as usize;
            let own = self.arrangement.place(a);
            for (v, at) in code.phi[slot * width..].iter().zip(own.all()) {
                let line = &self.gram[at * features..][..features];
                let mut there = -2.0 * pulls[at];
                for (other, &b) in code.atoms[..on].iter().enumerate() {
                    let place = self.arrangement.place(b as usize);
                    for (u, from) in code.phi[other * width..].iter().zip(place.all()) {
                        there += line[from] * u;
                    }
                }
                sum += v * there;
            }
            let atom = self.dictionary.atoms()[a];
            for part in atom.topology().flat() {
                let t = &code.t[slot * stored..][part.stored];
                sum += self.kappa * dot(t, t);
            }
        }
        0.5 * sum
    }
}

/// Whether the same atoms are on.
fn same(a: &RowCode<'_>, b: &RowCode<'_>) -> bool {
    a.on() == b.on() && a.atoms.iter().all(|atom| b.atoms.contains(atom))
}

/// Inserts `new` into the list of the largest; of equal ones the first comes first.
fn insert(leaders: &mut [Option<(f64, usize)>], mut new: (f64, usize)) {
    for leader in leaders {
        match leader {
            Some(old) if old.0 >= new.0 => {}
            Some(old) => std::mem::swap(old, &mut new),
            None => {
                *leader = Some(new);
                return;
            }
        }
    }
}

/// The inverses of a plane's axes. A short axis counts as at least [`NARROW`] of the long one: amplitudes along it
/// would be rounding.
fn inverses(axes: [f64; 2]) -> [f64; 2] {
    let least = larger(NARROW * axes[0], DEAD);
    axes.map(|a| if a > least { 1.0 / a } else { 0.0 })
}

/// A gain below this share of what the atoms before explain is rounding.
const NOTHING: f64 = 1e-12;

/// The square of a line so short beside the rows that its inverse has no place in single precision.
const DEAD: f64 = 1e-36;

/// See [`inverses`].
const NARROW: f64 = 1e-12;

/// [`Seat::Linear`]; a direction along which the atom does not move, up to rounding, is not searched.
fn linear_seat(gram: &[f64], features: usize, place: FeaturePlace, kappa: f64) -> Seat {
    let own: Vec<usize> = place.all().collect();
    let w = place.width;
    let matrix = Mat::from_fn(w, w, |a, b| {
        gram[own[a] * features + own[b]] + if a == b { kappa } else { 0.0 }
    });
    let Ok((values, axes)) = descending(&matrix) else {
        return Seat::Linear(Mat::zeros(w, w));
    };
    let least = w as f64 * f64::EPSILON * values.first().copied().unwrap_or(0.0);
    Seat::Linear(Mat::from_fn(w, w, |a, b| {
        let along = (0..w).filter(|&c| values[c] > least);
        along.map(|c| axes[(a, c)] * axes[(b, c)] / values[c]).sum()
    }))
}

#[cfg(test)]
mod tests;
