//! Laws of the search.

use super::*;
use crate::data::axpy;
use crate::model::basis::Basis;
use crate::model::dictionary::{Amplitudes, Atom};
use crate::model::factor::spiral;
use crate::model::topology::Topology;
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use std::f64::consts::TAU;

fn atom(topology: Topology, basis: Basis) -> Atom {
    Atom::new(topology, basis).unwrap()
}

/// Every topology with every basis that is looked at here.
fn kinds() -> Vec<Atom> {
    let mut all = Vec::new();
    for highest in 1..=3 {
        all.push(atom(Topology::Circle, Basis::Harmonics { highest }));
    }
    for degree in 1..=2 {
        all.push(atom(
            Topology::Cylinder,
            Basis::Harmonics { highest: degree },
        ));
        all.push(atom(Topology::Torus, Basis::Harmonics { highest: degree }));
        all.push(atom(Topology::Sphere, Basis::Spherical { degree }));
        for dimension in 1..=3 {
            let flat = Topology::Euclidean { dimension };
            all.push(atom(flat, Basis::Monomials { degree }));
        }
    }
    all
}

fn normal(rng: &mut ChaCha8Rng) -> f64 {
    StandardNormal.sample(rng)
}

/// A dictionary with a decoder, and what a search needs.
struct Bed {
    dictionary: Dictionary,
    arrangement: Arrangement,
    lines: Vec<f64>,
    decoder: Vec<f64>,
    p: usize,
    kappa: f64,
}

impl Bed {
    /// A decoder whose atoms have axes that differ by up to `ratio`, along random directions of functions.
    fn new(dictionary: Dictionary, p: usize, ratio: f64, kappa: f64, rng: &mut ChaCha8Rng) -> Self {
        let arrangement = Arrangement::of(&dictionary);
        let mut decoder = vec![0.0; dictionary.features() * p];
        for a in 0..dictionary.len() {
            let range = dictionary.atom_features(a);
            let w = range.len();
            let outer: Vec<f64> = (0..w * w)
                .map(|_| normal(rng) / (w as f64).sqrt())
                .collect();
            for axis in 0..w {
                let length = ratio.powf(-(axis as f64) / (w - 1).max(1) as f64);
                let line: Vec<f64> = (0..p).map(|_| length * normal(rng)).collect();
                for f in 0..w {
                    let to = &mut decoder[(range.start + f) * p..][..p];
                    axpy(outer[f * w + axis], &line, to);
                }
            }
        }
        let mut lines = arrangement.gather(&decoder, p);
        arrangement.turn(&mut lines, p);
        let decoder = arrangement.scatter(&lines, &vec![0.0; p]);
        Self {
            dictionary,
            arrangement,
            lines,
            decoder,
            p,
            kappa,
        }
    }

    fn search(&self) -> Search<'_> {
        Search::new(
            &self.dictionary,
            &self.arrangement,
            &self.lines,
            &self.decoder,
            self.p,
            self.kappa,
        )
    }

    /// A row of all atoms at random places, plus noise.
    fn row(&self, noise: f64, rng: &mut ChaCha8Rng) -> Vec<f64> {
        let mut x: Vec<f64> = (0..self.p).map(|_| noise * normal(rng)).collect();
        for (a, atom) in self.dictionary.atoms().iter().enumerate() {
            let size = rng.random_range(0.0..2.0);
            let mut t: Vec<f64> = (0..atom.placed())
                .map(|_| size * 3.0 * normal(rng))
                .collect();
            atom.project(&mut t);
            let mut phi = vec![0.0; atom.width()];
            atom.values(&t, &mut phi);
            for (f, v) in self.dictionary.atom_features(a).zip(phi) {
                axpy(size * v, &self.decoder[f * self.p..][..self.p], &mut x);
            }
        }
        x
    }

    fn pulls(&self, x: &[f64]) -> Vec<f64> {
        let lines = self.lines.chunks_exact(self.p);
        lines.map(|line| dot(line, x)).collect()
    }

    /// `(|x - W'phi|^2 - |x|^2 + kappa |t|^2) / 2` from the residual itself.
    fn energy(&self, x: &[f64], code: &RowCode<'_>) -> f64 {
        let (width, stored) = (self.arrangement.width(), self.arrangement.stored());
        let (mut r, mut spread) = (x.to_vec(), 0.0);
        for slot in 0..code.on() {
            let a = code.atoms[slot] as usize;
            let phi = &code.phi[slot * width..];
            for (v, at) in phi.iter().zip(self.arrangement.place(a).all()) {
                axpy(-v, &self.lines[at * self.p..][..self.p], &mut r);
            }
            let atom = self.dictionary.atoms()[a];
            for part in atom.topology().flat() {
                let t = &code.t[slot * stored..][part.stored];
                spread += dot(t, t);
            }
        }
        0.5 * (dot(&r, &r) - dot(x, x) + self.kappa * spread)
    }

    /// A bound on the terms of that energy, `(|x| + sum of |phi_f| |w_f|)^2`, which may cancel each other.
    fn terms(&self, x: &[f64], code: &RowCode<'_>) -> f64 {
        let mut sum = dot(x, x).sqrt();
        for slot in 0..code.on() {
            let phi = &code.phi[slot * self.arrangement.width()..];
            let place = self.arrangement.place(code.atoms[slot] as usize);
            for (v, at) in phi.iter().zip(place.all()) {
                let line = &self.lines[at * self.p..][..self.p];
                sum += v.abs() * dot(line, line).sqrt();
            }
        }
        sum * sum
    }
}

/// Memory of one row's code.
struct Memory(Vec<u32>, Vec<f64>, Vec<f64>);

impl Memory {
    fn new(arrangement: &Arrangement, slots: usize) -> Self {
        Self(
            vec![NONE; slots],
            vec![0.0; slots * arrangement.width()],
            vec![0.0; slots * arrangement.stored()],
        )
    }

    fn code(&mut self) -> RowCode<'_> {
        RowCode {
            atoms: &mut self.0,
            phi: &mut self.1,
            t: &mut self.2,
        }
    }
}

fn by_chance(topology: Topology, rng: &mut ChaCha8Rng) -> Vec<f64> {
    let mut t = vec![0.0; topology.stored()];
    for part in topology.factors() {
        part.factor.scatter(&mut t[part.stored], rng);
    }
    topology.project(&mut t);
    t
}

/// About 512 places of an atom with a random shift; within `reach` on a flat atom.
fn places(atom: Atom, reach: f64, rng: &mut ChaCha8Rng) -> Vec<Vec<f64>> {
    let lattice = |side: usize, d: usize, at: &dyn Fn(f64) -> f64| -> Vec<Vec<f64>> {
        let entry = |flat: usize, c: usize| (flat / side.pow(c as u32)) % side;
        let point = |flat: usize| (0..d).map(|c| at(entry(flat, c) as f64)).collect();
        (0..side.pow(d as u32)).map(point).collect()
    };
    let by = rng.random::<f64>();
    match atom.topology() {
        Topology::Circle => lattice(512, 1, &|i| TAU * (i + by) / 512.0),
        Topology::Torus => lattice(23, 2, &|i| TAU * (i + by) / 23.0),
        // Angles and heights.
        Topology::Cylinder => lattice(23, 2, &|i| (i + by) / 23.0)
            .into_iter()
            .map(|t| vec![TAU * t[0], reach * (2.0 * t[1] - 1.0)])
            .collect(),
        Topology::Sphere => spiral(512).chunks_exact(3).map(<[f64]>::to_vec).collect(),
        Topology::Euclidean { dimension } => {
            let side = [512, 23, 8][dimension - 1];
            lattice(side, dimension, &|i| {
                reach * (2.0 * (i + by) / side as f64 - 1.0)
            })
        }
        #[allow(unreachable_patterns, reason = "topologies that are added have these")]
        other => (0..512).map(|_| by_chance(other, rng)).collect(),
    }
}

/// How far the place found for one row falls short of the best of a grid, relative to the size of its terms. At a
/// place of the grid a fitted amplitude is the best there.
fn shortfall(kind: Atom, amplitudes: Amplitudes, seed: u64, ratio: f64) -> f64 {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let dictionary = Dictionary::new(vec![kind]).unwrap();
    let dictionary = dictionary.with_amplitudes(amplitudes);
    let cone = dictionary.atoms()[0].is_cone();
    let kappa = [0.0, 1e-3, 0.3][rng.random_range(0..3)];
    let p = kind.width() + 2;
    let bed = Bed::new(dictionary, p, ratio, kappa, &mut rng);
    let noise = [0.0, 0.1, 1.0, 10.0][rng.random_range(0..4)];
    let x = bed.row(noise, &mut rng);
    let (pulls, search) = (bed.pulls(&x), bed.search());
    let mut work = SearchMemory::new(&bed.arrangement, &bed.dictionary, 1);
    let mut memory = Memory::new(&bed.arrangement, 1);
    let mut code = memory.code();
    let found = -search.choose(&pulls, &mut work, &mut code);
    let far = code.t.iter().fold(1.0_f64, |m, t| m.max(t.abs()));
    let reach = [3.0, 10.0, 1.5 * far][rng.random_range(0..3)];
    let features = bed.arrangement.features();
    let mut best = f64::NEG_INFINITY;
    let mut phi = vec![0.0; kind.width()];
    for t in places(kind, reach, &mut rng) {
        kind.values(&t, &mut phi);
        let (mut pulled, mut pushed) = (0.0, 0.0);
        // One atom alone: the arranged order is that of its functions.
        for (f, v) in phi.iter().enumerate() {
            pulled += v * pulls[f];
            pushed += v * dot(&search.gram[f * features..][..features], &phi);
        }
        let best_there = if pulled > 0.0 { pulled / pushed } else { 0.0 };
        let amplitude = if cone { best_there } else { 1.0 };
        let mut gain = amplitude * (pulled - 0.5 * amplitude * pushed);
        for part in kind.topology().flat() {
            let t = &t[part.stored];
            gain -= 0.5 * kappa * dot(t, t);
        }
        best = best.max(gain);
    }
    // A plane that is nearly a line is one.
    let is_narrow = |axes: &[f64; 2]| cone && axes[1] < NARROW * axes[0];
    if search.axes.iter().any(is_narrow) {
        return 0.0;
    }
    (best - found) / dot(&x, &x)
}

/// However eccentric the atom is, a place of a grid of 512 is almost never better than the one found. It never
/// is on circles, on lines and where the problem is convex. Elsewhere the search follows the minima of a grid,
/// and may miss the best in at most one case in a hundred (measured: 0 to 2 in a thousand).
#[test]
fn the_best_place_is_global() {
    for (kind, amplitudes) in kinds()
        .into_iter()
        .flat_map(|kind| [Amplitudes::One, Amplitudes::Fitted].map(|amplitudes| (kind, amplitudes)))
    {
        let short = |seed: &u64| {
            let ratio = [1.0, 10.0, 1e3][(seed % 3) as usize];
            shortfall(kind, amplitudes, *seed, ratio) > 1e-11
        };
        let missed: Vec<u64> = (0..300).filter(short).collect();
        let exact = match kind.topology() {
            Topology::Circle | Topology::Euclidean { dimension: 1 } => true,
            _ => kind.basis() == (Basis::Monomials { degree: 1 }),
        };
        let allowed = if exact { 0 } else { 3 };
        assert!(
            missed.len() <= allowed,
            "{kind:?}, {amplitudes}: {missed:?}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn energies_are_those_of_residuals_and_never_rise(
        seed in any::<u64>(), ratio in 0.0..2.0_f64, kappa in 0.0..0.5_f64, cones in any::<bool>(),
        linear in any::<bool>(),
    ) {
        energies_hold(seed, (ratio, kappa), cones, linear)?;
    }
}

/// A row of cones, one of them over a sphere whose shortest axis is 0.0005 of the longest: functions of
/// 4,000 cancel, and the energy has four digits less than `|x|^2`.
#[test]
fn energies_of_functions_that_cancel() {
    let case = (1.449_670_576_366_264_3, 0.0);
    energies_hold(16_522_528_340_324_132_550, case, true, false).unwrap();
}

/// The share of the largest term of an energy that its rounding stays below.
const ROUNDING: f64 = 1e-13;

/// A row's energy is that of its residual. Refitting, and comparing with a code chosen anew, never raise it.
fn energies_hold(
    seed: u64,
    (ratio, kappa): (f64, f64),
    cones: bool,
    linear: bool,
) -> Result<(), TestCaseError> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut atoms = kinds();
    atoms.extend([atoms[0]; 3]);
    let mut dictionary = Dictionary::new(atoms.clone()).unwrap();
    if cones {
        // With linear atoms alone rows go by one small system.
        atoms.retain(|atom| !linear || atom.basis().width(atom.topology()) <= 3);
        dictionary = Dictionary::new(atoms)
            .unwrap()
            .with_amplitudes(Amplitudes::Fitted);
    }
    let bed = Bed::new(dictionary, 20, 10.0_f64.powf(ratio), kappa, &mut rng);
    let search = bed.search();
    let x = bed.row(0.5, &mut rng);
    let pulls = bed.pulls(&x);
    let slots = 3;
    let mut work = SearchMemory::new(&bed.arrangement, &bed.dictionary, slots);
    let mut memory = Memory::new(&bed.arrangement, slots);
    let mut code = memory.code();
    // Random atoms and places.
    let first: u32 = rng.random_range(0..10);
    for slot in 0..slots {
        let a = (first as usize + 4 * slot) % bed.dictionary.len();
        code.atoms[slot] = a as u32;
        let atom = bed.dictionary.atoms()[a];
        let mut t: Vec<f64> = (0..atom.placed()).map(|_| normal(&mut rng)).collect();
        atom.project(&mut t);
        atom.values(
            &t,
            &mut code.phi[slot * bed.arrangement.width()..][..atom.width()],
        );
        if !bed.arrangement.is_circle(a) {
            code.t[slot * bed.arrangement.stored()..][..t.len()].copy_from_slice(&t);
        }
    }
    // The terms of the energies so far are of this size, and so is their rounding.
    let mut size = 0.0_f64;
    let mut check = |energy: f64, code: &RowCode<'_>| {
        let direct = bed.energy(&x, code);
        size = size.max(bed.terms(&x, code));
        let rounding = ROUNDING * size;
        let right = (energy - direct).abs() < rounding;
        (right, format!("{energy} {direct}"), rounding)
    };
    let mut energy = search.energy(&pulls, &code);
    let (right, what, _) = check(energy, &code);
    prop_assert!(right, "{what}");
    for _ in 0..3 {
        search.refit(&pulls, &mut work, &mut code, STILL[1]);
        let after = search.energy(&pulls, &code);
        let (right, what, rounding) = check(after, &code);
        prop_assert!(right, "{what}");
        prop_assert!(after <= energy + rounding, "{after} after {energy}");
        energy = after;
    }
    let (after, _) = search.improve(&pulls, 0.0, &mut work, &mut code);
    let (right, what, rounding) = check(after, &code);
    prop_assert!(right, "{what}");
    prop_assert!(after <= energy + rounding, "{after} after {energy}");
    let chosen = search.choose(&pulls, &mut work, &mut code);
    let (right, what, _) = check(chosen, &code);
    prop_assert!(right, "{what}");
    let swapped = bed
        .search()
        .with_swaps()
        .choose(&pulls, &mut work, &mut code);
    let (right, what, rounding) = check(swapped, &code);
    prop_assert!(right, "{what}");
    prop_assert!(swapped <= chosen + rounding, "{swapped} after {chosen}");
    Ok(())
}

/// Rows made of two atoms whose decoders are correlated: some are not explained by the first choice, and swaps
/// explain part of these better.
#[test]
fn swaps_find_atoms_that_a_first_choice_hides() {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let space = Topology::Euclidean { dimension: 1 };
    let line = atom(space, Basis::Monomials { degree: 1 });
    for kind in [kinds()[0], line] {
        let dictionary = Dictionary::new(vec![kind; 12]).unwrap();
        let bed = Bed::new(dictionary, 6, 1.0, 0.0, &mut rng);
        let (greedy, swapping) = (bed.search(), bed.search().with_swaps());
        let mut work = SearchMemory::new(&bed.arrangement, &bed.dictionary, 2);
        let mut memory = Memory::new(&bed.arrangement, 2);
        let (mut missed, mut better, mut left) = (0, 0, [0.0; 2]);
        for _ in 0..400 {
            let mut x = vec![0.0; bed.p];
            let first = rng.random_range(0..12);
            for a in [first, (first + rng.random_range(1..12)) % 12] {
                let mut t: Vec<f64> = vec![2.0 * normal(&mut rng)];
                kind.project(&mut t);
                let mut phi = vec![0.0; kind.width()];
                kind.values(&t, &mut phi);
                for (f, v) in bed.dictionary.atom_features(a).zip(phi) {
                    axpy(v, &bed.decoder[f * bed.p..][..bed.p], &mut x);
                }
            }
            let (pulls, square) = (bed.pulls(&x), dot(&x, &x));
            let mut code = memory.code();
            let [before, after] = [&greedy, &swapping]
                .map(|search| 1.0 + 2.0 * search.choose(&pulls, &mut work, &mut code) / square);
            if before > 1e-3 {
                missed += 1;
                better += usize::from(after < 0.99 * before);
                left[0] += before;
                left[1] += after;
            }
        }
        // What they leave falls by a quarter at least.
        let less = left[1] < 0.75 * left[0];
        assert!(
            missed > 50 && better > 0 && less,
            "{better} of {missed}: {left:?}"
        );
    }
}

/// The line with the largest gain is chosen, among other atoms or not.
#[test]
fn the_best_line_is_that_with_the_largest_gain() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let space = |dimension| {
        atom(
            Topology::Euclidean { dimension },
            Basis::Monomials { degree: 1 },
        )
    };
    let mixed = vec![
        kinds()[0],
        space(1),
        space(2),
        space(1),
        kinds()[0],
        space(1),
    ];
    for atoms in [vec![space(1); 9], mixed] {
        let lines: Vec<bool> = atoms.iter().map(|atom| atom.width() == 1).collect();
        let bed = Bed::new(Dictionary::new(atoms).unwrap(), 20, 1.0, 0.2, &mut rng);
        let search = bed.search();
        let features = bed.arrangement.features();
        let first = 2 * bed.arrangement.circles().len();
        let mut gains = Vec::new();
        for _ in 0..50 {
            let pulls: Vec<f64> = (0..features).map(|_| normal(&mut rng)).collect();
            let on = [rng.random_range(0..bed.dictionary.len()) as u32];
            let (gain, found) = (search.lines)
                .best(&pulls[first..], &on, &mut gains)
                .unwrap();
            let gain_of = |a: usize| {
                let at = bed.arrangement.place(a).first;
                0.5 * pulls[at] * pulls[at] / (search.gram[at * features + at] + bed.kappa)
            };
            let others = (0..lines.len()).filter(|&a| lines[a] && a != on[0] as usize);
            let best = others.max_by(|&a, &b| gain_of(a).total_cmp(&gain_of(b)));
            assert_eq!(Some(found), best);
            assert!((gain - gain_of(found)).abs() < 1e-14 * gain);
        }
    }
}
