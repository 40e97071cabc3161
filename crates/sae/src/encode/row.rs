//! One row under a fixed decoder: the best coordinates on the atoms that are on.
//!
//! With `r0 = x - W' e_0` (the row minus the intercept), `c = W r0` and `K = W W'` the row's objective
//! is, up to the constant `|r0|^2 / 2`,
//!
//! ```text
//! e(t) = phi(t)' K phi(t) / 2 - c' phi(t) + kappa |t_flat|^2 / 2
//! ```
//!
//! This is a problem of order `M` in which `p` no longer occurs. Each atom's manifold is scanned on a grid
//! against what the other atoms leave unexplained; then all coordinates move together by Newton's method
//! with a ridge. The Hessian comes from differences of the exact gradient, because the residual of a
//! curved atom is rarely small enough for Gauss-Newton to converge quickly. Where it is not positive
//! definite the ridge grows.
//!
//! Rows are independent, so any number may be done in parallel.

use crate::data::store::TileMemory;
use crate::data::{Data, dot, dots, larger};
use crate::iterate::features::decoder_gram;
use crate::model::dictionary::Dictionary;
use crate::model::grid::Grid;
use crate::model::rays::Rays;
use crate::model::topology::MAX_EUCLIDEAN;
use broadhead_schur::release_upper_parts;
use faer::Mat;

mod newton;

/// What all rows share: the decoder and its Gram matrix, and a grid on every atom.
pub(crate) struct RowModel<'a> {
    pub(crate) dictionary: &'a Dictionary,
    decoder: &'a [f64],
    outputs: usize,
    /// `W W'`.
    pub(crate) gram: Mat<f64>,
    pub(crate) kappa: f64,
    grids: Vec<Grid>,
    /// `phi_g' K phi_g` at every grid point of every atom.
    energies: Vec<Vec<f64>>,
    /// Of flat atoms of degree 2.
    rays: Vec<Option<Rays>>,
}

/// A row's data in reduced form.
pub(crate) struct RowData {
    /// `c = W r0`, of length `M`.
    pub(crate) pull: Vec<f64>,
    /// `|r0|^2`.
    pub(crate) square: f64,
}

/// A set of atoms with their amplitudes and coordinates: a candidate for one row.
#[derive(Clone, Debug)]
pub(crate) struct RowPoint {
    /// Amplitudes of all atoms; 0 is off.
    pub(crate) gates: Vec<f64>,
    /// Stored coordinates of all atoms.
    pub(crate) t: Vec<f64>,
    /// `e` at `t`.
    pub(crate) energy: f64,
    /// Whether the last refinement converged.
    pub(crate) converged: bool,
}

impl RowPoint {
    /// A point that has not been evaluated yet.
    pub(crate) fn new(gates: Vec<f64>, t: Vec<f64>) -> Self {
        Self {
            gates,
            t,
            energy: 0.0,
            converged: true,
        }
    }
}

impl<'a> RowModel<'a> {
    /// Prepares `decoder` (`M x p` row-major).
    pub(crate) fn new(
        dictionary: &'a Dictionary,
        decoder: &'a [f64],
        outputs: usize,
        kappa: f64,
    ) -> Self {
        let gram = decoder_gram(decoder, dictionary.features(), outputs);
        let grids: Vec<Grid> = dictionary
            .atoms()
            .iter()
            .map(|&atom| Grid::on(atom))
            .collect();
        let energies: Vec<Vec<f64>> = grids
            .iter()
            .enumerate()
            .map(|(a, grid)| {
                let first = dictionary.atom_features(a).start;
                grid.rows()
                    .map(|phi| energy_of(&gram, first, phi))
                    .collect()
            })
            .collect();
        let atoms = dictionary.atoms().iter().enumerate();
        let rays = atoms.map(|(a, &atom)| {
            // With an amplitude the energy along a ray is no quartic of one number.
            if atom.is_cone() {
                return None;
            }
            let first = dictionary.atom_features(a).start;
            Rays::on(atom, |i, j| gram[(first + i, first + j)])
        });
        Self {
            rays: rays.collect(),
            dictionary,
            decoder,
            outputs,
            gram,
            kappa,
            grids,
            energies,
        }
    }

    /// The reduced form of a row.
    pub(crate) fn reduce(&self, x: &[f64]) -> RowData {
        let p = self.outputs;
        let r0: Vec<f64> = x
            .iter()
            .zip(&self.decoder[..p])
            .map(|(x, w)| x - w)
            .collect();
        let mut pull = vec![0.0; self.dictionary.features()];
        dots(|m| &self.decoder[m * p..][..p], &r0, &mut pull);
        RowData {
            pull,
            square: dot(&r0, &r0),
        }
    }

    /// `|x - W' phi|^2` at `point`, from the residual itself.
    pub(crate) fn squared_error(&self, x: &[f64], point: &RowPoint) -> f64 {
        let p = self.outputs;
        let phi = self.features(point);
        let mut r = x.to_vec();
        for (w, &v) in self.decoder.chunks_exact(p).zip(&phi) {
            if v != 0.0 {
                crate::data::axpy(-v, w, &mut r);
            }
        }
        dot(&r, &r)
    }

    /// All features at `point`: the intercept, and zeros where an atom is off.
    fn features(&self, point: &RowPoint) -> Vec<f64> {
        let mut phi = vec![0.0; self.dictionary.features()];
        phi[0] = 1.0;
        for (a, atom) in self.dictionary.atoms().iter().enumerate() {
            let gate = point.gates[a];
            if gate != 0.0 {
                let into = &mut phi[self.dictionary.atom_features(a)];
                atom.values(&point.t[self.dictionary.atom_place(a)], into);
                into.iter_mut().for_each(|v| *v *= gate);
            }
        }
        phi
    }

    /// Atoms that are on.
    fn active(&self, point: &RowPoint) -> Vec<usize> {
        (0..self.dictionary.len())
            .filter(|&a| point.gates[a] != 0.0)
            .collect()
    }

    /// Evaluates `point` where it stands.
    pub(crate) fn evaluate(&self, data: &RowData, point: &mut RowPoint) {
        point.energy = self.newton(data, point).energy(&point.t);
    }

    /// Moves all coordinates of the atoms that are on to the nearest minimum.
    pub(crate) fn refine(&self, data: &RowData, point: &mut RowPoint, iterations: usize) {
        let found = self.newton(data, point).minimise(&mut point.t, iterations);
        point.energy = found.energy;
        point.converged = found.converged;
    }

    /// Moves the coordinates atom by atom, each against what the others leave unexplained. This is cheaper
    /// than [`RowModel::refine`] where many atoms are on, and converges more slowly.
    pub(crate) fn sweep(&self, data: &RowData, point: &mut RowPoint, iterations: usize) {
        let mut left = Vec::new();
        for a in self.active(point) {
            self.left_over(data, point, a, &mut left);
            let alone = newton::Newton::alone(self, &left, data.square, a, point.gates[a]);
            alone.minimise(&mut point.t, iterations);
        }
    }

    /// Switches atom `a` on at amplitude `gate`, at its best grid point given what the others leave
    /// unexplained, then refines it alone.
    fn place(&self, data: &RowData, point: &mut RowPoint, a: usize, gate: f64, iterations: usize) {
        point.gates[a] = 0.0;
        let mut left = Vec::new();
        self.left_over(data, point, a, &mut left);
        if self.dictionary.atoms()[a].is_cone() {
            // Amplitudes add minima to those of coordinates alone.
            self.best_place(a, &left, iterations, &mut point.t);
            point.gates[a] = gate;
            return;
        }
        let (_, at) = self.scan(a, gate, &left);
        self.place_at(&left, data.square, point, (a, gate, at), iterations);
    }

    /// The lowest energy that atom `a` adds over its grid, and the grid point where it does.
    pub(crate) fn scan(&self, a: usize, gate: f64, left: &[f64]) -> (f64, usize) {
        let grid = &self.grids[a];
        let cone = self.dictionary.atoms()[a].is_cone();
        let mut best = (f64::INFINITY, 0);
        for (g, (&quadratic, values)) in self.energies[a].iter().zip(grid.rows()).enumerate() {
            let pulled: f64 = values.iter().zip(left).map(|(v, c)| v * c).sum();
            let gate = if cone {
                amplitude(quadratic, pulled)
            } else {
                gate
            };
            let mut energy = gate * (0.5 * gate * quadratic - pulled);
            if let Some(square) = grid.square(g) {
                energy += 0.5 * self.kappa * square;
            }
            if energy < best.0 {
                best = (energy, g);
            }
        }
        best
    }

    /// The lowest energy of atom `a` at amplitude 1 on its rays or its grid, given the pull `left`.
    pub(crate) fn guess(&self, a: usize, left: &[f64]) -> f64 {
        match &self.rays[a] {
            Some(rays) => rays.least(left, self.kappa),
            None => self.scan(a, 1.0, left).0,
        }
    }

    /// The place of grid point `g` of atom `a`, with the best amplitude there for the pull `left` if that is fitted.
    fn grid_place(&self, a: usize, g: usize, left: &[f64], t: &mut [f64]) {
        let (grid, atom) = (&self.grids[a], self.dictionary.atoms()[a]);
        let (coordinate, last) = t.split_at_mut(atom.stored());
        coordinate.copy_from_slice(grid.point(g));
        for last in last {
            let pulled = dot(grid.values(g), left);
            // A place at amplitude 0 would have no angle.
            *last = larger(amplitude(self.energies[a][g], pulled), LEAST_AMPLITUDE);
        }
    }

    /// Finds the best place of atom `a` at amplitude 1, or at its best amplitude, for the pull `left` by following the lowest minima of
    /// its grid. Writes it into the coordinates `all` and returns its energy.
    pub(crate) fn best_place(
        &self,
        a: usize,
        left: &[f64],
        iterations: usize,
        all: &mut [f64],
    ) -> f64 {
        let range = self.dictionary.atom_place(a);
        // Amplitude and coordinate together lie in long valleys.
        let iterations = match self.dictionary.atoms()[a].is_cone() {
            true => VALLEY * iterations,
            false => iterations,
        };
        let mut best = (f64::INFINITY, [0.0; MAX_EUCLIDEAN + 1]);
        let square = dot(left, left).sqrt();
        let mut follow = |from: &[f64], reach: f64| {
            all[range.clone()].copy_from_slice(from);
            let alone = newton::Newton::alone(self, left, square, a, 1.0).within(reach);
            let energy = alone.minimise(all, iterations).energy;
            if energy < best.0 {
                best.0 = energy;
                best.1[..range.len()].copy_from_slice(&all[range.clone()]);
            }
        };
        if let Some(rays) = &self.rays[a] {
            for (_, t) in rays.minima(left, self.kappa, FOLLOWED) {
                let far = dot(&t, &t).sqrt();
                follow(
                    &t,
                    if far > 0.0 {
                        rays.spacing() * far
                    } else {
                        f64::INFINITY
                    },
                );
            }
        } else {
            let grid = &self.grids[a];
            let cone = self.dictionary.atoms()[a].is_cone();
            let both = self.energies[a].iter().zip(grid.rows()).enumerate();
            let energies: Vec<f64> = both
                .map(|(g, (&quadratic, values))| {
                    let flat = 0.5 * self.kappa * grid.square(g).unwrap_or(0.0);
                    let pulled = dot(values, left);
                    if cone {
                        return flat - 0.5 * pulled * amplitude(quadratic, pulled);
                    }
                    0.5 * quadratic - pulled + flat
                })
                .collect();
            let mut place = [0.0; MAX_EUCLIDEAN + 1];
            let place = &mut place[..range.len()];
            // Where a cone explains nothing its energy is level, and no way leads down.
            let lowest = grid.minima(&energies, FOLLOWED).into_iter().enumerate();
            for (_, g) in lowest.filter(|(i, g)| *i == 0 || !cone || energies[*g] < 0.0) {
                self.grid_place(a, g, left, place);
                // An amplitude may have far to go.
                let reach = if cone { f64::INFINITY } else { grid.spacing() };
                follow(place, reach);
            }
        }
        all[range.clone()].copy_from_slice(&best.1[..range.len()]);
        best.0
    }

    /// Moves atom `a` alone, at amplitude 1, from its place in `all` to the nearest minimum; returns its
    /// energy.
    pub(crate) fn polish(&self, a: usize, left: &[f64], iterations: usize, all: &mut [f64]) -> f64 {
        let alone = newton::Newton::alone(self, left, dot(left, left).sqrt(), a, 1.0);
        alone.minimise(all, iterations).energy
    }

    /// Switches an atom (`a`, its amplitude, a grid point) on and refines it alone.
    fn place_at(
        &self,
        left: &[f64],
        square: f64,
        point: &mut RowPoint,
        (a, gate, at): (usize, f64, usize),
        iterations: usize,
    ) -> f64 {
        let range = self.dictionary.atom_place(a);
        self.grid_place(a, at, left, &mut point.t[range]);
        point.gates[a] = gate;
        let alone = newton::Newton::alone(self, left, square, a, gate);
        alone.minimise(&mut point.t, iterations).energy
    }

    /// `c_a - sum over the other atoms K_ab phi_b`.
    fn left_over(&self, data: &RowData, point: &RowPoint, a: usize, left: &mut Vec<f64>) {
        let range = self.dictionary.atom_features(a);
        left.clear();
        left.extend_from_slice(&data.pull[range.clone()]);
        let mut phi = Vec::new();
        for b in self.active(point) {
            if b == a {
                continue;
            }
            let features = self.dictionary.atom_features(b);
            phi.clear();
            phi.resize(features.len(), 0.0);
            self.dictionary.atoms()[b].values(&point.t[self.dictionary.atom_place(b)], &mut phi);
            for (f, v) in features.zip(&phi) {
                let column = &self.gram.col_as_slice(f)[range.clone()];
                crate::data::axpy(-v * point.gates[b], column, left);
            }
        }
    }

    /// The best coordinates of a row whose gates are given: atoms are placed one by one in the order of what
    /// they explain, then each again against all others, then all are refined together.
    pub(crate) fn encode_gated(
        &self,
        data: &RowData,
        gates: &[f64],
        iterations: usize,
    ) -> RowPoint {
        let mut point = self.blank();
        let wanted: Vec<usize> = (0..gates.len()).filter(|&a| gates[a] != 0.0).collect();
        for sweep in 0..2 {
            for &a in &wanted {
                self.place(data, &mut point, a, gates[a], PLACING);
            }
            if wanted.len() < 2 && sweep == 0 {
                break;
            }
        }
        self.refine(data, &mut point, iterations);
        point
    }

    /// The `k` atoms that explain a row best, chosen one by one, each at amplitude 1 or a fitted one, while
    /// one lowers the objective; all are refined together after each choice. The few best atoms by their grids compete
    /// again after refinement.
    pub(crate) fn encode_greedy(&self, data: &RowData, k: usize, iterations: usize) -> RowPoint {
        let (mut point, mut left) = (self.blank(), Vec::new());
        for _ in 0..k.min(self.dictionary.len()) {
            let mut leaders: Vec<_> = (0..self.dictionary.len())
                .filter(|&a| point.gates[a] == 0.0)
                .map(|a| {
                    self.left_over(data, &point, a, &mut left);
                    let (energy, at) = self.scan(a, 1.0, &left);
                    (energy, a, at)
                })
                .collect();
            leaders.sort_by(|x, y| x.0.total_cmp(&y.0));
            let mut best: Option<(f64, RowPoint)> = None;
            for &(_, a, at) in leaders.iter().take(LEADERS) {
                let mut candidate = point.clone();
                let place = (a, 1.0, at);
                self.left_over(data, &point, a, &mut left);
                let energy = self.place_at(&left, data.square, &mut candidate, place, RANKING);
                if best.as_ref().is_none_or(|(lowest, _)| energy < *lowest) {
                    best = Some((energy, candidate));
                }
            }
            match best {
                // An atom that lowers nothing stays off, as in the search by tiles.
                Some((energy, best)) if energy < 0.0 || energy.is_nan() => point = best,
                _ => break,
            }
            self.refine(data, &mut point, iterations);
        }
        point
    }

    fn blank(&self) -> RowPoint {
        let mut t = vec![0.0; self.dictionary.placed()];
        for (a, atom) in self.dictionary.atoms().iter().enumerate() {
            atom.project(&mut t[self.dictionary.atom_place(a)]);
        }
        RowPoint::new(vec![0.0; self.dictionary.len()], t)
    }

    fn newton<'m>(&'m self, data: &'m RowData, point: &RowPoint) -> newton::Newton<'m> {
        newton::Newton::joint(self, &data.pull, data.square, point)
    }
}

/// Newton steps of a cone are this many times those of an atom with amplitude 1.
const VALLEY: usize = 4;

/// The amplitude, at least 0, that lowers `s (s quadratic / 2 - pulled)` most; 0 where the functions explain nothing.
fn amplitude(quadratic: f64, pulled: f64) -> f64 {
    if quadratic > 0.0 && pulled > 0.0 {
        pulled / quadratic
    } else {
        0.0
    }
}

/// The amplitude that a search begins from where the best is 0.
const LEAST_AMPLITUDE: f64 = 1e-3;

/// The most minima of a grid that are followed.
const FOLLOWED: usize = 8;

/// Newton steps while one atom is placed among others.
const PLACING: usize = 6;

/// Newton steps while atoms compete: enough to rank them.
const RANKING: usize = 2;

/// Atoms that compete after refinement.
const LEADERS: usize = 3;

/// `phi' K phi` over the diagonal block of `K` that begins at feature `first`.
fn energy_of(gram: &Mat<f64>, first: usize, phi: &[f64]) -> f64 {
    let mut sum = 0.0;
    for (b, &v) in phi.iter().enumerate() {
        sum += v * dot(&gram.col_as_slice(first + b)[first..][..phi.len()], phi);
    }
    sum
}

/// Runs `work` on every row in parallel; the answers in order.
pub(crate) fn for_rows<T: Send>(
    model: &RowModel<'_>,
    data: &Data,
    work: impl Fn(usize, &RowData) -> T + Sync,
) -> Vec<T> {
    rows_in_parallel(data.rows(), |tile, i| {
        work(i, &model.reduce(data.row(i, tile)))
    })
}

/// Runs `work` for `rows` rows in parallel, with memory for a tile of them; the answers in order.
pub(crate) fn rows_in_parallel<T: Send>(
    rows: usize,
    work: impl Fn(&mut TileMemory, usize) -> T + Sync,
) -> Vec<T> {
    use rayon::prelude::*;
    (0..rows)
        .into_par_iter()
        .with_min_len(8)
        .map_init(
            || {
                release_upper_parts();
                TileMemory::default()
            },
            |tile, i| work(tile, i),
        )
        .collect()
}

#[cfg(test)]
mod tests;
