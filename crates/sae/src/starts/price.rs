//! How many starts are worth running at each stage, by rough prices.

use crate::model::dictionary::Dictionary;
use crate::model::gates::GatePolicy;
use crate::options::FitOptions;
use crate::rounds::Choosing;

/// The number of starts that the screening budget allows to be finished.
///
/// A start is priced at 60 trials, each with passes over the data and the cheaper of two eliminations. Where
/// gates are chosen it is priced at 100 rounds and 300 factorizations of a core of order at most
/// [`MOST_FACTORED`]; the factorizations count at most a quarter of the budget.
pub(crate) fn finalists(
    rows: usize,
    outputs: usize,
    dictionary: &Dictionary,
    options: &FitOptions,
) -> usize {
    let (n, p) = (rows as f64, outputs as f64);
    let m = dictionary.features() as f64;
    let price = match options.gates {
        GatePolicy::TopK(k) if k < dictionary.len() => {
            let rows = n * (2.0 * m * p + 40.0 * k as f64 * m);
            let rounds = 100.0 * (rows + m * m * (m / 3.0 + 2.0 * p));
            // The order of the system that Newton's method factors.
            let order = (m * m).min(n * k as f64);
            let newton = 300.0 * order.min(MOST_FACTORED).powi(3);
            // The cap leaves room for a few starts: a single one may end with two circles in one atom.
            rounds + newton.min(0.25 * options.screening.budget)
        }
        _ => {
            let dims = dictionary.atoms().iter().map(|a| a.local_dim() as f64);
            let unknowns: f64 = dims.sum();
            let factor = (m * m).min(n * unknowns).powi(3);
            60.0 * (8.0 * n * m * p + factor + n * m * m * unknowns)
        }
    };
    let affordable = options.screening.budget / price;
    let least = options.screening.finalists.min(options.starts);
    (affordable as usize).clamp(least, options.starts)
}

/// Cores of a higher order are not factored.
const MOST_FACTORED: f64 = 768.0;

/// The number of starts ranked on a sample of `rows` where rows choose: all, unless they are expensive.
pub(crate) fn ranked(
    rows: usize,
    outputs: usize,
    slots: usize,
    features: usize,
    starts: usize,
) -> usize {
    let (n, p, m) = (rows as f64, outputs as f64, features as f64);
    let round = n * m * (2.0 * p + 40.0 * slots as f64) + m * m * (m / 3.0 + 4.0 * p);
    ((RANKING / (7.0 * round)) as usize).clamp(1, starts)
}

/// Floating-point operations that the first stage of ranking may cost.
const RANKING: f64 = 2e11;

/// The number of starts whose atoms are relocated on the sample: the best, or as many as are cheap.
pub(crate) fn relocated(choosing: &Choosing<'_>, starts: usize) -> usize {
    let Some(ground) = choosing.sample else {
        return 0;
    };
    let (n, p) = (ground.data.rows() as f64, ground.data.outputs() as f64);
    let m = ground.dictionary.features() as f64;
    let round = n * m * (2.0 * p + 40.0 * choosing.slots as f64);
    ((RELOCATING / (100.0 * round)) as usize).clamp(1, starts)
}

/// Floating-point operations that relocation on a sample may cost, at a hundred rounds per start.
const RELOCATING: f64 = 2.5e10;
