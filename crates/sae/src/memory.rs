//! The memory of a fit and of an encoding, computed before either begins.
//!
//! ```text
//!   shared        rows divided by their scale, screening sample, gates and coordinates of all starts
//!   finalists x   the point where each ended
//!   at once x     the points, slabs and sums of a start that runs, and its solver twice: a
//!                 log-determinant without ridge has its own factors
//! ```
//!
//! These are upper bounds on what the code holds at its peak, not predictions: a process with that many
//! bytes free does not run out.

use crate::encode::EncodeOptions;
use crate::encode::arrangement::Arrangement;
use crate::model::dictionary::Dictionary;
use crate::model::gates::GatePolicy;
use crate::model::grid::Grid;
use crate::options::FitOptions;
use crate::rounds::round::{CHUNKS, PARTIAL};
use crate::starts::halving::{LEAST_TO_RELOCATE, TO_RELOCATE};
use crate::starts::price::finalists;
use broadhead_schur::{EliminationKind, Error, RowDims, Solver, StructuredShape, SystemShape};

/// The bytes of a fit on the CPU, in parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FitBytes {
    /// Everything but the solvers.
    pub problem: u64,
    /// The least that the solver of one start holds, with the elimination that needs least or with the
    /// one that is pinned.
    pub solver: u64,
    /// How many starts run at once.
    pub at_once: u64,
}

impl FitBytes {
    /// All of it.
    pub fn total(&self) -> u64 {
        let solvers = self.at_once.saturating_mul(self.solver);
        self.problem.saturating_add(solvers)
    }

    /// The largest [`crate::SolveOptions::memory_limit`] for each start if `allowed` bytes are available to the
    /// whole fit.
    pub fn solver_limit(&self, allowed: u64) -> u64 {
        allowed.saturating_sub(self.problem) / self.at_once.max(1)
    }
}

/// Bytes of an array of FP64 numbers.
fn numbers(extents: &[usize]) -> u64 {
    (extents.iter()).fold(8, |product, &length| product.saturating_mul(length as u64))
}

fn sum(parts: &[u64]) -> u64 {
    parts
        .iter()
        .fold(0, |sum, &part| u64::saturating_add(sum, part))
}

/// The most that a row holds.
struct Widths {
    /// Atoms that are on.
    on: usize,
    /// Features, the intercept among them.
    features: usize,
    /// Unknowns.
    unknowns: usize,
}

impl Widths {
    fn of(dictionary: &Dictionary, gates: &GatePolicy) -> Self {
        let atoms = dictionary.atoms();
        let on = match gates {
            GatePolicy::TopK(count) => (*count).min(atoms.len()),
            _ => atoms.len(),
        };
        let largest = |of: &dyn Fn(usize) -> usize| {
            let mut all: Vec<usize> = (0..atoms.len()).map(of).collect();
            all.sort_unstable_by(|a, b| b.cmp(a));
            all.into_iter().take(on).sum::<usize>()
        };
        Self {
            on,
            features: 1 + largest(&|a| atoms[a].width()),
            unknowns: largest(&|a| atoms[a].local_dim()),
        }
    }
}

/// The memory that [`crate::fit`] needs for `rows x outputs` numbers, which are not counted
/// themselves, with as many threads as the current pool has. Allocates next to nothing.
///
/// # Errors
/// A system whose size overflows, or that a pinned elimination cannot solve.
pub fn fit_bytes(
    rows: usize,
    outputs: usize,
    dictionary: &Dictionary,
    options: &FitOptions,
) -> Result<FitBytes, Error> {
    let widths = Widths::of(dictionary, &options.gates);
    let (n, p, m) = (rows, outputs, dictionary.features());
    let (columns, atoms, w) = (dictionary.placed(), dictionary.len(), widths.features);
    let carried = finalists(n, p, dictionary, options);
    let at_once = carried.min(rayon::current_num_threads()).max(1);

    let screened = if carried < options.starts {
        n.min(options.screening.rows)
    } else {
        n
    };
    // Coordinates and gates of a start, and the coordinates found for its rows.
    let place = columns.saturating_add(atoms).saturating_add(16);
    let shared = sum(&[
        numbers(&[n, p]),
        numbers(&[screened, p]),
        numbers(&[options.starts, screened, place]),
        numbers(&[carried, n, place]),
        // Principal components, and the caller's gates.
        numbers(&[n.saturating_add(p), 64]),
        numbers(&[2, n, atoms]),
    ]);
    let decoder = numbers(&[m, p]);
    let square = numbers(&[m, m]);
    let slabs = sum(&[
        numbers(&[n, w, 2]),
        numbers(&[n, widths.unknowns, w]),
        numbers(&[n, columns + widths.unknowns + 4]),
    ]);
    let twice = |bytes: u64| bytes.saturating_mul(2);
    let point = sum(&[slabs, twice(decoder), twice(square)]);
    let layout = numbers(&[n, w + 4 * widths.on + 8]);
    let running = sum(&[
        point.saturating_mul(3),
        twice(layout),
        numbers(&[n, widths.unknowns, widths.unknowns]),
        numbers(&[n, place]),
        // Sums of eight chunks, and their total.
        decoder.saturating_add(square).saturating_mul(10),
    ]);
    let rounds = match options.gates {
        GatePolicy::TopK(slots) if slots < atoms => {
            rounds_bytes([n, p, m], slots, dictionary, options)
        }
        _ => 0,
    };
    let problem = sum(&[
        shared,
        rounds,
        grid_bytes(dictionary).saturating_mul(at_once as u64 + 1),
        point.saturating_mul(carried as u64),
        running.saturating_mul(at_once as u64),
    ]);

    let shape = SystemShape::Structured {
        shape: StructuredShape::new(RowDims::uniform(n, widths.unknowns)?, m, p)?,
        density: 1.0,
        pairs: m.saturating_mul(m),
    };
    let bytes = |kind| Solver::bytes_needed(kind, &shape);
    let solver = match options.solves.elimination {
        Some(pinned) => bytes(pinned)?,
        // The reference is never chosen.
        None => EliminationKind::ALL
            .into_iter()
            .filter(|kind| *kind != EliminationKind::Reference)
            .filter_map(|kind| bytes(kind).ok())
            .min()
            .unwrap_or(0),
    };
    Ok(FitBytes {
        problem,
        solver: twice(solver),
        at_once: at_once as u64,
    })
}

/// What one set of grids of the atoms' functions holds.
fn grid_bytes(dictionary: &Dictionary) -> u64 {
    let mut sum = 0_u64;
    let (mut last, mut bytes) = (None, 0);
    for &atom in dictionary.atoms() {
        // Atoms that are alike stand beside each other as a rule.
        if last != Some(atom) {
            (last, bytes) = (Some(atom), numbers(&[Grid::numbers(atom)]));
        }
        sum = sum.saturating_add(bytes);
    }
    sum
}

/// What rounds need where rows choose their atoms: partial sums and a factor for each start that runs at once, a
/// decoder and codes for each start, rows in single precision, and samples of rows.
fn rounds_bytes(
    [n, p, m]: [usize; 3],
    slots: usize,
    dictionary: &Dictionary,
    options: &FitOptions,
) -> u64 {
    let at_once = rayon::current_num_threads().min(options.starts);
    let part = numbers(&[m, m.saturating_add(p)]);
    let partial = part
        .saturating_mul(CHUNKS as u64)
        .min(numbers(&[PARTIAL]).max(part.saturating_mul(2)));
    let arrangement = Arrangement::of(dictionary);
    let slot = arrangement.width() + arrangement.stored() + 1;
    let state = sum(&[numbers(&[m, p]), numbers(&[n, slots * slot + 1])]);
    let sample = (TO_RELOCATE.saturating_mul(m))
        .max(LEAST_TO_RELOCATE)
        .min(n);
    sum(&[
        sum(&[partial, part, part]).saturating_mul(at_once as u64),
        state.saturating_mul(3 * at_once as u64 + 1),
        numbers(&[options.starts, m, p]),
        numbers(&[n.saturating_add(3 * sample), p]),
    ])
}

/// The memory that [`crate::Model::encode`] needs for `rows x outputs` numbers, which are not counted
/// themselves.
pub fn encode_bytes(
    rows: usize,
    outputs: usize,
    dictionary: &Dictionary,
    options: &EncodeOptions,
) -> u64 {
    let (n, m) = (rows, dictionary.features());
    let place = dictionary.placed() + dictionary.len();
    let given = match options.gates {
        Some(GatePolicy::Given(_)) => 2,
        _ => 1,
    };
    sum(&[
        numbers(&[n, outputs]),
        // The place found for each row with its container, and the results.
        numbers(&[n, 3 * place + 32]),
        numbers(&[given, n, dictionary.len()]),
        numbers(&[3, m, outputs]),
        numbers(&[4, m, m]),
        grid_bytes(dictionary),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Basis, Topology};

    #[test]
    fn sizes_beyond_all_memory_are_said_and_not_wrapped() {
        let circle = Basis::Harmonics { highest: 1 };
        let dictionary = Dictionary::uniform(3, Topology::Circle, circle).unwrap();
        let bytes = numbers(&[usize::MAX, usize::MAX]);
        assert_eq!(bytes, u64::MAX);
        let options = FitOptions::default();
        let small = fit_bytes(100, 10, &dictionary, &options).unwrap();
        let large = fit_bytes(1 << 30, 1 << 20, &dictionary, &options).unwrap();
        assert!(large.total() > 8 << 50 && small.total() < 8 << 20);
        assert_eq!(small.solver_limit(0), 0);
        assert_eq!(large.solver_limit(u64::MAX) > 0, large.problem < u64::MAX);
    }
}
