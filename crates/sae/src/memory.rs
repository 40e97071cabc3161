//! The memory of a fit and of an encoding, computed before either begins.
//!
//! ```text
//!   shared        rows kept normalised where they are few, a tile of them for every worker, samples, gates
//!                 and coordinates of all starts
//!   finalists x   the point where each ended
//!   at once x     the points, slabs and sums of a start that runs, and its solver twice: a
//!                 log-determinant without ridge has its own factors
//! ```
//!
//! These are upper bounds on what the code holds at its peak, not predictions: a process with that many
//! bytes free does not run out.

use crate::data::store::{is_wide, product_rows};
use crate::encode::EncodeOptions;
use crate::encode::arrangement::Arrangement;
use crate::encode::block_rows;
use crate::lm::curved::{BorderMode, MANY};
use crate::model::dictionary::Dictionary;
use crate::model::gates::GatePolicy;
use crate::model::grid::Grid;
use crate::options::FitOptions;
use crate::rounds::round::{CHUNKS, PARTIAL};
use crate::starts::halving::{LEAST_TO_RELOCATE, TO_RANK, TO_RELOCATE};
use crate::starts::price::finalists;
use broadhead_device::DevicePolicy;
use broadhead_schur::{EliminationKind, Error, RowDims, Solver, StructuredShape, SystemShape};

/// The rows of a fit or of an encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowsSize {
    /// `n`.
    pub rows: usize,
    /// `p`.
    pub outputs: usize,
    /// Whether all numbers are in memory ([`crate::Rows::is_in_memory`]); else they are read when they are needed.
    pub in_memory: bool,
    /// Bytes of the widest type among the numbers.
    pub element: usize,
}

impl RowsSize {
    /// What work over them holds besides the numbers themselves.
    fn bytes(&self, use_of: RowsUse) -> u64 {
        let (n, p) = (self.rows, self.outputs);
        let kept = match (self.in_memory && is_wide(n, p), use_of) {
            (true, RowsUse::Choosing) => wide_bytes(n, p),
            (true, _) => numbers(&[n, p]),
            // A block of them for every worker where a sum takes many at once; workers have different rows.
            (false, RowsUse::Given) => {
                let workers = rayon::current_num_threads().min(8) + 1;
                numbers(&[product_rows(n, p), p, workers]).min(numbers(&[n, p]))
            }
            (false, _) => 0,
        };
        // A tile in all types for every worker, and what is known of every row.
        let tiles = numbers(&[rayon::current_num_threads(), 128, p, 3]);
        sum(&[kept, tiles, numbers(&[n, 5])])
    }

    /// A sample of the rows, with what is known of each.
    fn sample(&self, rows: usize) -> u64 {
        let numbers_of = numbers(&[rows, self.outputs]);
        let kept = match (self.in_memory, is_wide(rows, self.outputs)) {
            (true, true) => wide_bytes(rows, self.outputs),
            (true, false) => 0,
            (false, _) if self.element <= 4 => numbers_of / 2,
            (false, _) => numbers_of,
        };
        sum(&[kept, numbers(&[rows, 5])])
    }
}

/// What rows are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RowsUse {
    /// They choose their atoms.
    Choosing,
    /// Their gates are given.
    Given,
    /// They are encoded.
    Encoding,
}

/// Rows kept normalised, in both precisions.
fn wide_bytes(rows: usize, outputs: usize) -> u64 {
    let wide = numbers(&[rows, outputs]);
    wide.saturating_add(wide / 2)
}

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
    /// Numbers of its places.
    placed: usize,
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
            placed: largest(&|a| atoms[a].placed()),
        }
    }
}

/// The memory that [`crate::fit`] needs for rows whose numbers are not counted
/// themselves, with as many threads as the current pool has. Allocates next to nothing.
///
/// # Errors
/// A system whose size overflows, or that a pinned elimination cannot solve.
pub fn fit_bytes(
    size: RowsSize,
    dictionary: &Dictionary,
    options: &FitOptions,
) -> Result<FitBytes, Error> {
    let widths = Widths::of(dictionary, &options.gates);
    let (n, p, m) = (size.rows, size.outputs, dictionary.features());
    let (columns, atoms, w) = (dictionary.placed(), dictionary.len(), widths.features);
    let carried = finalists(n, p, dictionary, options);
    let at_once = carried.min(rayon::current_num_threads()).max(1);
    if let Some(slots) = options.gates.chosen(atoms) {
        let problem = sum(&[
            size.bytes(RowsUse::Choosing),
            grid_bytes(dictionary).saturating_mul(at_once as u64 + 1),
            ChoosingNeeds::of(size, slots, &widths, dictionary).bytes(options, carried),
        ]);
        let solver = match is_by_gradients(n, options) {
            true => 0,
            false => solver_bytes([n, p, m], &widths, options)?,
        };
        return Ok(FitBytes {
            problem,
            solver,
            at_once: at_once as u64,
        });
    }

    let screened = if carried < options.starts {
        n.min(options.screening.rows)
    } else {
        n
    };
    // Coordinates and gates of a start, and the coordinates found for its rows.
    let place = columns.saturating_add(atoms).saturating_add(16);
    let shared = sum(&[
        size.bytes(RowsUse::Given),
        numbers(&[
            if carried < options.starts {
                screened
            } else {
                0
            },
            p,
        ]),
        numbers(&[options.starts, screened, place]),
        numbers(&[carried, n, place]),
        // Principal components, and the caller's gates.
        numbers(&[n.saturating_add(p), 64]),
        numbers(&[2, n, atoms]),
    ]);
    let decoder = numbers(&[m, p]);
    let square = numbers(&[m, m]);
    let slabs = sum(&[
        numbers(&[n, w]),
        numbers(&[n, columns + widths.unknowns + 4]),
    ]);
    let twice = |bytes: u64| bytes.saturating_mul(2);
    let point = sum(&[slabs, twice(decoder), twice(square)]);
    let layout = numbers(&[n, w + 4 * widths.on + 8]);
    let slopes = numbers(&[n, widths.unknowns, w]);
    let running = sum(&[
        point.saturating_mul(3),
        twice(layout.saturating_add(slopes)),
        numbers(&[n, widths.unknowns, widths.unknowns]),
        numbers(&[n, place]),
        // Sums of eight chunks, and their total.
        decoder.saturating_add(square).saturating_mul(10),
    ]);
    let problem = sum(&[
        shared,
        grid_bytes(dictionary).saturating_mul(at_once as u64 + 1),
        point.saturating_mul(carried as u64),
        running.saturating_mul(at_once as u64),
    ]);
    Ok(FitBytes {
        problem,
        solver: solver_bytes([n, p, m], &widths, options)?,
        at_once: at_once as u64,
    })
}

/// The least that the solver of one start holds, and the factors of a log-determinant.
fn solver_bytes(
    [n, p, m]: [usize; 3],
    widths: &Widths,
    options: &FitOptions,
) -> Result<u64, Error> {
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
            .filter(|kind| !kind.is_specification())
            .filter_map(|kind| bytes(kind).ok())
            .min()
            .unwrap_or(0),
    };
    Ok(solver.saturating_mul(2))
}

/// Whether steps are found by conjugate gradients in the space of features, however rows choose.
fn is_by_gradients(rows: usize, options: &FitOptions) -> bool {
    let pinned = options.solves.elimination.is_some()
        || options.solves.device_policy == DevicePolicy::Required;
    rows >= MANY && !pinned && options.border != BorderMode::Joint
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

/// What a fit holds where rows choose their atoms, in bytes a row and altogether.
///
/// ```text
/// ranking   states of all starts on a sample, and for each at once a point of Newton's method
/// penalty   a state of all rows, and a point
/// samples   three states on a sample of rows for each start at once
/// rounds    three states of all rows for each start at once
/// Newton    two points, slopes, the blocks and vectors of its steps
/// again     a point while rows choose once more; then the next layout and point alone
/// result    the point that is best, and what the caller is given
/// ```
struct ChoosingNeeds {
    size: RowsSize,
    m: usize,
    /// Codes and squared errors.
    state: usize,
    /// Coordinates and gates of all atoms.
    dense: usize,
    /// Which atoms are on.
    chosen: usize,
    /// Coordinates and gates as the caller is given them.
    places: usize,
    /// Of ragged rows.
    layout: usize,
    /// Features, gradients, and coordinates.
    point: usize,
    slopes: usize,
    /// Blocks, their factors, and vectors of unknowns.
    steps: usize,
}

impl ChoosingNeeds {
    fn of(size: RowsSize, slots: usize, widths: &Widths, dictionary: &Dictionary) -> Self {
        let arrangement = Arrangement::of(dictionary);
        let (w, u, placed) = (widths.features, widths.unknowns, widths.placed);
        Self {
            size,
            m: dictionary.features(),
            state: slots * (4 + 8 * (arrangement.width() + arrangement.stored())) + 8,
            dense: 8 * (dictionary.placed() + dictionary.len()),
            chosen: 16 + 4 * slots,
            places: 16 + 12 * slots + 8 * placed,
            layout: 8 * (w + 6) + (4 + 16) * widths.on,
            point: 8 * (w + u + 1 + placed),
            slopes: 8 * u * w,
            steps: 8 * u * (2 * u + 6),
        }
    }

    fn bytes(&self, options: &FitOptions, carried: usize) -> u64 {
        let Self { size, m, .. } = *self;
        let (n, p) = (size.rows, size.outputs);
        let rows = |n: usize, bytes: usize| (n as u64).saturating_mul(bytes as u64);
        let times = |bytes: u64, count: usize| bytes.saturating_mul(count as u64);
        let threads = rayon::current_num_threads();
        let (decoder, square) = (numbers(&[m, p]), numbers(&[m, m]));
        let state = |n| decoder.saturating_add(rows(n, self.state));
        let point = |n| {
            let own = rows(n, self.point);
            sum(&[own, times(decoder, 2), times(square, 2)])
        };
        // Partial sums, pulls and a factor; sums of a projection.
        let part = decoder.saturating_add(square);
        let most = numbers(&[PARTIAL]).max(times(part, 2));
        let bench = sum(&[
            times(part, CHUNKS).min(most),
            times(part, 2),
            numbers(&[CHUNKS, 128, m, 2]),
        ]);
        let sums = times(part, 9);

        let sample = (TO_RELOCATE.saturating_mul(m))
            .max(LEAST_TO_RELOCATE)
            .min(n);
        let ranking = (TO_RANK.saturating_mul(m))
            .max(options.screening.rows)
            .min(n);
        let first = sum(&[
            state(ranking),
            rows(
                ranking,
                self.dense + 2 * self.places + self.layout + self.slopes,
            ),
            point(ranking),
            bench,
            sums,
        ]);
        let newton = times(point(n), 2).saturating_add(rows(
            n,
            self.layout + self.slopes + self.chosen + self.steps,
        ));
        // Rows choose beside a point, or a layout is made of what they have chosen; its vectors are copied once.
        let again = sum(&[
            point(n),
            rows(n, 2 * (self.layout + self.places) + self.slopes),
            times(state(n), 2),
        ]);
        let phases = [
            sum(&[
                size.sample(ranking),
                // A block of them where components are found.
                numbers(&[product_rows(ranking, p).min(ranking), p]),
                numbers(&[ranking.saturating_add(p), 64]),
                times(state(ranking), options.starts),
                times(first, threads.min(options.starts)),
            ]),
            sum(&[
                state(n),
                rows(n, 2 * self.places + self.layout + self.slopes),
                point(n),
                bench,
                sums,
            ]),
            times(
                sum(&[times(state(sample), 3), bench]),
                threads.min(options.starts),
            ),
            times(sum(&[times(state(n), 3), bench]), threads.min(carried)),
            times(sum(&[newton.max(again), bench, sums]), threads.min(carried)),
            point(n).saturating_add(rows(n, self.chosen + self.places + 16)),
        ];
        sum(&[
            size.sample(sample),
            times(decoder, options.starts),
            phases.into_iter().max().unwrap_or(0),
            // Where other starts ended, and what the caller is given.
            times(
                point(n).saturating_add(rows(n, self.chosen)),
                carried - carried.min(threads),
            ),
        ])
    }
}

/// The memory that [`crate::Model::encode_blocks`] needs for rows whose numbers are not counted themselves. That of
/// [`crate::Model::encode`] has the arrays of its result besides.
pub fn encode_bytes(size: RowsSize, dictionary: &Dictionary, options: &EncodeOptions) -> u64 {
    let (n, outputs, m) = (size.rows, size.outputs, dictionary.features());
    let place = dictionary.placed() + dictionary.len();
    let given = match options.gates {
        Some(GatePolicy::Given(_)) => 2,
        _ => 0,
    };
    let block = block_rows(dictionary).min(n);
    sum(&[
        size.bytes(RowsUse::Encoding),
        // The place found for each row of a block with its container, and the results.
        numbers(&[block, 4 * place + 32]),
        // What is known of every row, and of its errors.
        numbers(&[n, 4]),
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
        let size = |rows, outputs| RowsSize {
            rows,
            outputs,
            in_memory: true,
            element: 8,
        };
        let small = fit_bytes(size(100, 10), &dictionary, &options).unwrap();
        let large = fit_bytes(size(1 << 30, 1 << 20), &dictionary, &options).unwrap();
        assert!(large.total() > 1 << 40 && small.total() < 8 << 20);
        assert_eq!(small.solver_limit(0), 0);
        assert_eq!(large.solver_limit(u64::MAX) > 0, large.problem < u64::MAX);
    }
}
