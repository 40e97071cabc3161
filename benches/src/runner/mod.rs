//! The runner: checks, then samples in alternation.
//!
//! A *contender* is one way to do a cell's work: an elimination, or a peer with one, half of all or
//! all threads. All contenders of a case are alive at once, each with its own operands in place; a sample goes round
//! them in turn, so that what disturbs the machine disturbs all alike. A contender that is far slower
//! than its share of time allows takes fewer samples, and at least one.

mod contender;
mod product;

pub use contender::{Answer, Contender};

use crate::case::Operands;
use crate::cell::{Case, Phase, Place, Shape, Suite};
use crate::check::{self, Logarithm};
use crate::error::Error;
use crate::peer::{Peer, PeerError, Prepared};
use crate::receipt::Receipt;
use crate::record::{CellId, Measured, Outcome, Parity, Record, SCHEMA, Timer};
use broadhead_gate::Decline;
use broadhead_schur::{HostCeilings, Rates, Workload};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Threads of our own work.
    pub threads: usize,
    /// Seconds of samples of one contender in one phase, about.
    pub seconds: f64,
    /// The most samples.
    pub max_samples: usize,
    /// Bytes that a solver may hold.
    pub memory_limit: u64,
    /// Seed of the operands.
    pub seed: u64,
    /// What the planner prices by where a contender is `auto`.
    pub rates: Rates<HostCeilings>,
}

/// The largest order at which the dense reference gives the log-determinant to compare with.
const REFERENCE_ORDER: usize = 1600;

/// Pause before each sample, for threads of the contender before it to fall asleep: those of OpenBLAS
/// spin for 2^26 cycles after a call.
const PAUSE: Duration = Duration::from_millis(60);

/// Seconds below which work is repeated until [`WARM`] has passed since the pause, and timed the next
/// time. Threads that slept through the pause are often woken on one processor, and stay there for some
/// ten milliseconds before the system shares them out: of work that is repeated, by any contender, that
/// is no part.
const BRIEF: f64 = 1.0;

/// For how long brief work is repeated before it is timed, at least once.
const WARM: Duration = Duration::from_millis(120);

/// One contender of a case, with what its check came to.
struct Entry<'c> {
    /// `auto`, an elimination, or a peer.
    name: String,
    threads: usize,
    contender: Option<Contender<'c>>,
    check: Result<Parity, Decline>,
}

/// Runs every case of `suite` whose name contains `filter`.
///
/// # Errors
/// Threads cannot be made. What goes wrong in a cell is in its record.
pub fn run(
    suite: &Suite,
    options: &Options,
    filter: &str,
    peers: &mut [Peer],
    receipt: &Receipt,
) -> Result<Vec<Record>, Error> {
    let mut records = Vec::new();
    for case in suite.cells.iter().filter(|case| case.name.contains(filter)) {
        let outcomes = run_case(suite, case, options, peers)?;
        for ((name, threads, phase), outcome) in outcomes {
            let cell = CellId {
                suite: suite.suite.clone(),
                place: Place::Host,
                name: case.name.clone(),
                case: case.case,
                shape: case.shape,
                seed: options.seed,
                log_determinant: case.log_determinant,
                elimination: name,
                phase,
                threads,
                window: None,
            };
            let receipt = receipt.clone();
            records.push(Record {
                schema: SCHEMA,
                cell,
                outcome,
                receipt,
            });
        }
    }
    Ok(records)
}

type Outcomes = Vec<((String, usize, Phase), Outcome)>;

fn run_case(
    suite: &Suite,
    case: &Case,
    options: &Options,
    peers: &mut [Peer],
) -> Result<Outcomes, Error> {
    let phases = suite.phases(case);
    let all_declined = |declined: &Decline| {
        let cells = suite.contenders(case).iter().flat_map(|name| {
            phases
                .iter()
                .map(|phase| (name.clone(), options.threads, *phase))
        });
        cells
            .map(|cell| (cell, Outcome::Declined(declined.clone())))
            .collect()
    };
    let operands = Shape::new(case.case, case.shape).and_then(|shape| {
        Ok((
            shape,
            Operands::new(shape, options.seed).map_err(|e| e.to_string())?,
        ))
    });
    let (shape, operands) = match operands {
        Ok((shape, operands)) => (shape, Arc::new(operands)),
        Err(error) => return Ok(all_declined(&Decline::Failed { error })),
    };
    eprintln!("{}: {shape}", case.name);
    let prepare = |peer: &mut Peer| {
        let prepared = peer.prepare(shape, options.seed);
        (peer.name().to_owned(), prepared)
    };
    let prepared: Vec<_> = peers.iter_mut().map(prepare).collect();
    let mut entries = Vec::new();
    std::thread::scope(|scope| {
        let said = |(name, prepared): &(String, Result<Prepared, PeerError>)| match prepared {
            Ok(prepared) => Some((name.clone(), prepared.log_determinant)),
            Err(_) => None,
        };
        let mut known: Option<(String, f64)> = prepared.iter().find_map(said);
        let (n, k) = operands.sizes();
        if n + k <= REFERENCE_ORDER
            && let Ok(reference) =
                Contender::start(scope, "reference", &operands, options, Workload::default())
            && let Some(logarithm) = reference.1.logarithm
        {
            known = Some(("reference".to_owned(), logarithm.value));
        }
        for name in suite.contenders(case) {
            let started = Contender::start(scope, name, &operands, options, case.workload());
            let entry = match started {
                Ok((contender, ready)) => {
                    let bound = if ready.elimination == "iterative" {
                        check::ITERATIVE_BOUND
                    } else {
                        check::DIRECT_BOUND
                    };
                    let own = ready.logarithm;
                    let check = check::parity(ready.componentwise_error, bound, own, known.clone());
                    if let (Ok(_), Some(own), None) = (&check, own, &known) {
                        known = Some((name.clone(), own.value));
                    }
                    (Some(contender), check)
                }
                Err(declined) => (None, Err(declined)),
            };
            entries.push(Entry {
                name: name.clone(),
                threads: options.threads,
                contender: entry.0,
                check: entry.1,
            });
        }
        let mut peer_entries = Vec::new();
        for (name, prepared) in &prepared {
            let check = match prepared {
                Ok(prepared) => {
                    let own = Logarithm {
                        value: prepared.log_determinant,
                        absolute: 0.0,
                    };
                    check::parity(
                        prepared.componentwise_error,
                        check::DIRECT_BOUND,
                        Some(own),
                        None,
                    )
                }
                Err(error) => Err(Decline::Failed {
                    error: error.to_string(),
                }),
            };
            let mut counts = vec![1, options.threads.div_ceil(2), options.threads];
            counts.dedup();
            peer_entries.extend(counts.into_iter().map(|threads| Entry {
                name: name.clone(),
                threads,
                contender: None,
                check: check.clone(),
            }));
        }
        let mut outcomes = Vec::new();
        for &phase in phases {
            outcomes.extend(run_phase(phase, &entries, &peer_entries, peers, options));
        }
        entries.clear();
        for peer in peers {
            if let Err(error) = peer.release() {
                eprintln!("{error}");
            }
        }
        Ok(outcomes)
    })
}

/// Samples of one contender in one phase.
struct Taken {
    samples: Vec<f64>,
    quota: usize,
    /// Whether a sample is short enough to be taken warm.
    brief: bool,
    answer: Option<Answer>,
    failed: Option<Decline>,
}

fn run_phase(
    phase: Phase,
    entries: &[Entry<'_>],
    peer_entries: &[Entry<'_>],
    peers: &mut [Peer],
    options: &Options,
) -> Outcomes {
    let own_count = entries.len();
    let mut taken: Vec<Taken> = (0..own_count + peer_entries.len())
        .map(|_| Taken {
            samples: Vec::new(),
            quota: 1,
            brief: false,
            answer: None,
            failed: None,
        })
        .collect();
    let mut sample = |index: usize, taken: &mut Taken, warm: bool| {
        let entry = entries
            .get(index)
            .unwrap_or_else(|| &peer_entries[index - own_count]);
        if entry.check.is_err() || taken.failed.is_some() {
            return;
        }
        std::thread::sleep(PAUSE);
        let mut peer = peers.iter_mut().find(|peer| peer.name() == entry.name);
        let mut once = || match (&entry.contender, peer.as_deref_mut()) {
            (Some(contender), _) => contender.sample(phase).map(|answer| {
                let seconds = answer.seconds;
                taken.answer = Some(answer);
                seconds
            }),
            (None, Some(peer)) => {
                let failed = |e: PeerError| Decline::Failed {
                    error: e.to_string(),
                };
                peer.sample(phase, entry.threads).map_err(failed)
            }
            (None, None) => Err(Decline::Failed {
                error: format!("no peer {} runs", entry.name),
            }),
        };
        let mut warmed = || -> Result<f64, Decline> {
            let mut warm_up = taken.brief.then(Instant::now);
            while let Some(begin) = warm_up {
                once()?;
                warm_up = Some(begin).filter(|begin| begin.elapsed() < WARM);
            }
            once()
        };
        let seconds = warmed();
        match seconds {
            Ok(seconds) if warm => {
                taken.brief = seconds < BRIEF;
                let fitting = (options.seconds / seconds.max(1e-9)) as usize;
                taken.quota = fitting.clamp(1, options.max_samples);
                // A first run warms caches; where it took its whole share it is the sample.
                if taken.quota == 1 {
                    taken.samples.push(seconds);
                }
            }
            Ok(seconds) => taken.samples.push(seconds),
            Err(declined) => taken.failed = Some(declined),
        }
    };
    for (index, taken) in taken.iter_mut().enumerate() {
        sample(index, taken, true);
    }
    for round in 0..options.max_samples {
        for (index, taken) in taken.iter_mut().enumerate() {
            if round < taken.quota && taken.samples.len() < taken.quota {
                sample(index, taken, false);
            }
        }
    }
    let all = entries.iter().chain(peer_entries);
    all.zip(taken)
        .map(|(entry, taken)| {
            (
                (entry.name.clone(), entry.threads, phase),
                outcome(entry, taken),
            )
        })
        .collect()
}

fn outcome(entry: &Entry<'_>, taken: Taken) -> Outcome {
    let parity = match (&entry.check, taken.failed) {
        (Err(declined), _) => return Outcome::Declined(declined.clone()),
        (Ok(_), Some(declined)) => return Outcome::Declined(declined),
        (Ok(parity), None) => parity.clone(),
    };
    let answer = taken.answer;
    Outcome::Measured(Measured {
        samples: taken.samples,
        timer: Timer::HostWallClock,
        units: 1,
        rest: 0.0,
        l2: None,
        floor_bytes: None,
        frame: None,
        execution_path: answer.as_ref().map(|a| a.execution_path),
        elimination: answer.as_ref().map(|a| a.elimination.clone()),
        ledger: answer.as_ref().map(|a| a.ledger),
        witness: None,
        parity,
    })
}

#[cfg(test)]
mod tests;
