//! The planner: which elimination a shape should use, and what each would cost.
//!
//! The candidates stand in one table ([`candidates`]): every elimination, where it may run, and on a
//! device what its frames may keep there. Those that serve the system are priced in seconds for one
//! factorization and the solves expected of it: counts of work, which stand beside each elimination,
//! times rates ([`Ceilings`]). The cheapest that fits the memory is chosen. Prices are visible: in a
//! [`Plan`], in a `tracing` event, in every summary; a caller may pin the choice, and the place by a
//! device policy.

pub(crate) mod candidates;
mod ceilings;
mod price;

pub use ceilings::{Ceilings, HostCeilings, Rates, RatesOrigin};
pub use price::{FrameCost, Price};

use crate::device::Keep;
use crate::solver::{Solver, SolverOptions};
use crate::{EliminationKind, Error, SystemShape};
use broadhead_device::{Absence, DeviceError, DevicePolicy, ExecutionPath, Refusal};
use candidates::Candidate;
use serde::{Deserialize, Serialize};

/// What a frame is expected to do.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Workload {
    /// Solves for each factorization. Default 1.
    pub solves: u32,
    /// Whether $`\log|H|`$ is wanted, which the iterative elimination does not give. Default true;
    /// then that elimination is chosen only where no other serves or fits.
    pub log_determinant: bool,
    /// Conjugate-gradient iterations expected of one solve: a property of the numbers, which a
    /// planner does not see. Default 40.
    pub iterations: u32,
}

impl Default for Workload {
    fn default() -> Self {
        Self {
            solves: 1,
            log_determinant: true,
            iterations: 40,
        }
    }
}

/// What was chosen, and at what prices.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The elimination.
    pub chosen: EliminationKind,
    /// Where it runs.
    pub path: ExecutionPath,
    /// What its frames keep of the border's factor, on a device.
    pub keep: Option<Keep>,
    /// Why the device, which was the cheaper place, is not used: it had not the memory when it was asked,
    /// or no more when the solver was made, for others take of it too. The prices stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub declined: Option<DeviceError>,
    /// Whether the caller pinned the elimination.
    pub pinned: bool,
    /// The rates of the prices on the CPU, and where they come from.
    pub rates: Rates<HostCeilings>,
    /// Those of the prices on a device; absent where none was priced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_rates: Option<Rates<Ceilings>>,
    /// The price of every elimination that serves the system, wherever it may run; the reference is
    /// priced too, and never chosen.
    pub prices: Vec<Price>,
}

/// Prices the eliminations that serve `shape` and chooses one. Reads no number, allocates nothing; of a
/// device it asks how much memory is free.
///
/// # Errors
/// [`Error::Memory`] where none fits; [`Error::Absent`] where a device is required and what is asked
/// has no backend there, or none is given; the error of a pinned one that does not serve or fit.
pub fn plan(shape: &SystemShape, options: &SolverOptions) -> Result<Plan, Error> {
    let mut prices = priced_on_the_cpu(shape, options);
    let mut refusals = Vec::new();
    let on_device = of_the_device(shape, options, &mut refusals);
    prices.extend(&on_device);
    let chosen = match options.device_policy {
        DevicePolicy::Required => required(shape, &on_device, &refusals, options)?,
        DevicePolicy::Auto | DevicePolicy::Off => among(shape, &prices, options)?,
    };
    let declined = for_want_of_memory(&prices, &chosen, options);
    if let Some(declined) = &declined {
        tracing::info!(%declined, "the device would be cheaper");
    }
    let pinned = options.elimination.is_some();
    let device_rates = (!on_device.is_empty()).then(|| options.device_rates.clone());
    let origin = device_rates.as_ref().map(|rates| &rates.origin);
    tracing::debug!(
        chosen = %chosen.elimination,
        path = %chosen.path,
        pinned,
        rates = %options.rates.origin,
        device_rates = origin.map(tracing::field::display),
        ?prices,
        "planned"
    );
    Ok(Plan {
        chosen: chosen.elimination,
        path: chosen.path,
        keep: chosen.keep,
        declined,
        pinned,
        rates: options.rates.clone(),
        device_rates,
        prices,
    })
}

/// What is planned where the device of `lost` has `declined`: the cheapest on the CPU.
///
/// # Errors
/// [`Error::Memory`] where nothing fits there either.
pub(crate) fn plan_without(
    lost: Plan,
    declined: DeviceError,
    shape: &SystemShape,
    options: &SolverOptions,
) -> Result<Plan, Error> {
    let on_cpu: Vec<Price> = (lost.prices.iter().copied())
        .filter(|price| !price.path.is_device())
        .collect();
    let chosen = among(shape, &on_cpu, options)?;
    tracing::warn!(%declined, chosen = %chosen.elimination, "the device declined: the work runs on the CPU");
    Ok(Plan {
        chosen: chosen.elimination,
        path: chosen.path,
        keep: chosen.keep,
        declined: Some(declined),
        ..lost
    })
}

/// What the device would cost, for each thing that a frame may keep; nothing where no device is
/// given or none may be used, or where it has no backend for the shape; `refusals` gain why.
fn of_the_device(
    shape: &SystemShape,
    options: &SolverOptions,
    refusals: &mut Vec<(EliminationKind, Error)>,
) -> Vec<Price> {
    match &options.device {
        Some(place) if options.device_policy != DevicePolicy::Off => {
            priced_on_device(shape, options, place.keep, refusals)
        }
        _ => Vec::new(),
    }
}

/// What the eliminations that a device has for `shape` would cost on one of
/// [`SolverOptions::device_rates`], for each thing that a frame may keep. No device is asked.
pub fn device_prices(shape: &SystemShape, options: &SolverOptions) -> Vec<Price> {
    let keep = options.device.as_ref().and_then(|place| place.keep);
    priced_on_device(shape, options, keep, &mut Vec::new())
}

fn priced_on_device(
    shape: &SystemShape,
    options: &SolverOptions,
    keep: Option<Keep>,
    refusals: &mut Vec<(EliminationKind, Error)>,
) -> Vec<Price> {
    let rates = HostCeilings::of_a_device(&options.device_rates.ceilings);
    let mut prices = Vec::new();
    for own in Candidate::of_a_device().filter(|own| own.is_of(shape) && own.may_keep(keep)) {
        let priced = own.bytes(shape).and_then(|bytes| {
            let counts = own.work(shape, &options.workload)?;
            Ok(Price::of(own, bytes, &counts, &rates, &options.workload))
        });
        match priced {
            Ok(price) => prices.push(price),
            Err(error) => {
                tracing::debug!(%error, "the device does not serve the shape");
                refusals.push((own.elimination, error));
            }
        }
    }
    prices
}

/// What the eliminations that serve `shape` would cost on the CPU.
fn priced_on_the_cpu(shape: &SystemShape, options: &SolverOptions) -> Vec<Price> {
    let rates = &options.rates.ceilings;
    let priced = |own: &Candidate| {
        let bytes = Solver::bytes_needed(own.elimination, shape)?;
        let counts = own.work(shape, &options.workload)?;
        Ok::<_, Error>(Price::of(own, bytes, &counts, rates, &options.workload))
    };
    Candidate::of_the_cpu().flat_map(priced).collect()
}

/// The cheapest frame on the device, whether it fits or not: what does not is refused with its bytes
/// when it is made.
fn required(
    shape: &SystemShape,
    on_device: &[Price],
    refusals: &[(EliminationKind, Error)],
    options: &SolverOptions,
) -> Result<Price, Error> {
    let asked = |kind| options.elimination.is_none_or(|pinned| kind == pinned);
    let candidates = || on_device.iter().filter(|p| asked(p.elimination));
    let free = free_on(options);
    let chosen =
        cheapest(candidates(), free, options).or_else(|| candidates().min_by_key(|p| p.bytes));
    chosen.copied().ok_or_else(|| {
        let what = match (&options.device, options.elimination) {
            (None, _) => "a solver without a placement".to_owned(),
            (_, pinned) => {
                let why = refusals.iter().find(|(kind, _)| asked(*kind));
                let why = why.map_or_else(String::new, |(_, error)| format!(": {error}"));
                let kind = shape.kind();
                match pinned {
                    Some(pinned) => format!("the {pinned} elimination of this {kind} system{why}"),
                    None => format!("this {kind} system{why}"),
                }
            }
        };
        Error::Absent(Absence::NoBackend { what })
    })
}

/// The cheapest of what fits where it would run; what lacks a log-determinant that is wanted comes after
/// all that give it.
fn cheapest<'p>(
    prices: impl Iterator<Item = &'p Price>,
    free: u64,
    options: &SolverOptions,
) -> Option<&'p Price> {
    let room = |p: &Price| match p.path.is_device() {
        true => free,
        false => options.memory_limit,
    };
    let by_need = |a: &&Price, b: &&Price| {
        let first = lacks(a, options).cmp(&lacks(b, options));
        first.then(a.seconds.total_cmp(&b.seconds))
    };
    prices.filter(|p| p.bytes <= room(p)).min_by(by_need)
}

/// Whether a log-determinant is wanted that the elimination does not give.
fn lacks(price: &Price, options: &SolverOptions) -> bool {
    options.workload.log_determinant && !price.elimination.gives_log_determinant()
}

/// Bytes free on the device that is given, none where it does not answer.
fn free_on(options: &SolverOptions) -> u64 {
    let memory = options
        .device
        .as_ref()
        .map(|place| place.stream.context().memory());
    match memory {
        Some(Ok(memory)) => memory.free,
        Some(Err(fault)) => {
            tracing::warn!(error = %DeviceError::from(fault), "the device's memory is not known");
            0
        }
        None => 0,
    }
}

/// What a device says of the cheapest work that it would do at a lower price than the CPU does `chosen`,
/// and has not the memory for.
fn for_want_of_memory(
    prices: &[Price],
    chosen: &Price,
    options: &SolverOptions,
) -> Option<DeviceError> {
    if chosen.path.is_device() || !prices.iter().any(|p| p.path.is_device()) {
        return None;
    }
    let free = free_on(options);
    let kind = |p: &Price| options.elimination.is_none_or(|kind| kind == p.elimination);
    let cheaper = prices.iter().filter(|p| {
        p.path.is_device() && kind(p) && !lacks(p, options) && p.seconds < chosen.seconds
    });
    let cheapest = cheaper
        .filter(|p| p.bytes > free)
        .min_by(|a, b| a.seconds.total_cmp(&b.seconds))?;
    let refusal = Refusal::Memory {
        needed: cheapest.bytes,
        free,
        what_for: format!("the {} elimination on the device", cheapest.elimination),
    };
    Some(refusal.into())
}

/// The cheapest of what fits where it would run; of a pinned elimination alone, where one is.
fn among(shape: &SystemShape, prices: &[Price], options: &SolverOptions) -> Result<Price, Error> {
    let candidates = || {
        prices.iter().filter(|p| match options.elimination {
            Some(kind) => p.elimination == kind,
            None => !p.elimination.is_specification(),
        })
    };
    if let Some(price) = cheapest(candidates(), free_on(options), options) {
        return Ok(*price);
    }
    if let Some(kind) = options.elimination {
        // Why it does not serve, where that is what is wrong.
        Solver::bytes_needed(kind, shape)?;
    }
    let on_cpu = candidates().filter(|p| !p.path.is_device());
    Err(match on_cpu.min_by_key(|p| p.bytes) {
        Some(price) => Error::Memory {
            what: price.elimination,
            needed: price.bytes,
            limit: options.memory_limit,
        },
        None => candidates::none_serves(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ArrowShape;

    #[test]
    fn a_plan_prices_by_the_rates_that_it_is_handed_and_says_which() {
        let shape = SystemShape::Dense(ArrowShape::uniform(4000, 2, 1500).expect("a shape"));
        let mut options = SolverOptions {
            workload: Workload {
                log_determinant: false,
                iterations: 10,
                ..Workload::default()
            },
            ..SolverOptions::default()
        };
        let shipped = plan(&shape, &options).expect("a plan");
        assert_eq!(shipped.rates.origin, RatesOrigin::Shipped { reason: None });
        assert_eq!(shipped.device_rates, None);
        // Where memory is slow, what reads the least is the cheapest.
        let mut slow = HostCeilings::default();
        slow.together.bandwidth *= 0.01;
        options.rates = Rates::given(slow);
        let given = plan(&shape, &options).expect("a plan");
        assert_eq!(given.rates, options.rates);
        let pair = (shipped.chosen, given.chosen);
        assert_eq!(pair, (EliminationKind::Iterative, EliminationKind::Rows));
    }
}
