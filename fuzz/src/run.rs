//! Runs inputs through a target and holds each to its limits.
//!
//! ```text
//! (seed, target, index) -> input -> read -> no panic | within its bytes | within its seconds
//! ```
//!
//! Bytes are those that the allocator was asked for while the input was read, given or not, freed or
//! not: no attempt goes unseen. A second thread watches the time: an input that hangs cannot end
//! itself, so it ends the program, naming the input. A stack that overflows ends the program too;
//! the last line before says from where to search.

use crate::random::Random;
use crate::target::{Outcome, Target, is_shown};
use serde::Serialize;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The panic that is under way, in words.
static PANIC: Mutex<String> = Mutex::new(String::new());

/// What to run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) target: Target,
    pub(crate) seed: u64,
    /// The first index.
    pub(crate) first: u64,
    /// At most so many inputs.
    pub(crate) inputs: u64,
    /// No longer than this.
    pub(crate) time: Option<Duration>,
    /// The longest that one input may take.
    pub(crate) hang: Duration,
}

/// What a run found: a line of the record.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Tally {
    pub(crate) target: &'static str,
    pub(crate) seed: u64,
    pub(crate) first: u64,
    pub(crate) inputs: u64,
    pub(crate) seconds: f64,
    /// Inputs that were read to their end.
    pub(crate) read: u64,
    /// Inputs that were refused, by what was said, names and numbers left out.
    pub(crate) refused: BTreeMap<String, u64>,
    /// The longest that an input took.
    pub(crate) longest_milliseconds: f64,
    /// The largest part of the bytes allowed that an input asked for.
    pub(crate) largest_share_of_bytes: f64,
    pub(crate) findings: Vec<Finding>,
}

/// An input at which a limit was passed.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Finding {
    pub(crate) index: u64,
    pub(crate) what: String,
}

/// The most findings of a run: it ends there.
const ENOUGH: usize = 10;

/// The most refusals that are told apart.
const KINDS: usize = 200;

impl Plan {
    /// The input of an index.
    pub(crate) fn input(&self, index: u64, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut random = Random::of(self.seed, self.target as u64, index);
        self.target.input(seeds, &mut random)
    }

    /// Runs the inputs. `hung` is told of an input that takes too long, from another thread.
    pub(crate) fn run(&self, seeds: &[Vec<u8>], hung: impl Fn(u64) + Send + Sync) -> Tally {
        std::panic::set_hook(Box::new(|panic| {
            let place = panic.location().map(ToString::to_string);
            let message = panic.payload_as_str().unwrap_or("no message");
            let said = format!("panic at {}: {message}", place.unwrap_or_default());
            // A lock that is poisoned holds the words of an earlier panic.
            *PANIC
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner) = said;
        }));
        let begin = Instant::now();
        // What is being read: its index, one more, and 0 at the end.
        let at = AtomicU64::new(self.first + 1);
        let tally = std::thread::scope(|scope| {
            scope.spawn(|| watch(&at, self.hang, &hung));
            let tally = self.all(seeds, &at, begin);
            at.store(0, Ordering::Release);
            tally
        });
        drop(std::panic::take_hook());
        tally
    }

    fn all(&self, seeds: &[Vec<u8>], at: &AtomicU64, begin: Instant) -> Tally {
        let mut tally = Tally {
            target: self.target.name(),
            seed: self.seed,
            first: self.first,
            inputs: 0,
            seconds: 0.0,
            read: 0,
            refused: BTreeMap::new(),
            longest_milliseconds: 0.0,
            largest_share_of_bytes: 0.0,
            findings: Vec::new(),
        };
        for index in self.first..self.first.saturating_add(self.inputs) {
            at.store(index + 1, Ordering::Release);
            self.one(index, self.input(index, seeds), &mut tally);
            tally.inputs += 1;
            let out_of_time = self.time.is_some_and(|time| begin.elapsed() >= time);
            if tally.findings.len() >= ENOUGH || out_of_time {
                break;
            }
            if tally.inputs.is_multiple_of(1 << 18) {
                eprintln!("{}: {} inputs", tally.target, tally.inputs);
            }
        }
        tally.seconds = begin.elapsed().as_secs_f64();
        tally
    }

    fn one(&self, index: u64, input: Vec<u8>, tally: &mut Tally) {
        let allowed = self.target.allowed(input.len());
        let start = Instant::now();
        let region = Region::new(&INSTRUMENTED_SYSTEM);
        let outcome = catch_unwind(AssertUnwindSafe(|| self.target.read(input)));
        let asked = region.change().bytes_allocated;
        let took = start.elapsed().as_secs_f64() * 1e3;
        tally.longest_milliseconds = tally.longest_milliseconds.max(took);
        let share = asked as f64 / allowed as f64;
        tally.largest_share_of_bytes = tally.largest_share_of_bytes.max(share);
        let mut find = |what: String| tally.findings.push(Finding { index, what });
        if asked > allowed {
            find(format!("asked for {asked} bytes, {allowed} are allowed"));
        }
        let said = match outcome {
            Ok(Outcome::Read) => {
                tally.read += 1;
                return;
            }
            Ok(Outcome::Refused(said)) => said,
            Err(_) => {
                let said = PANIC
                    .lock()
                    .unwrap_or_else(std::sync::PoisonError::into_inner);
                return find(said.clone());
            }
        };
        if catch_unwind(|| is_shown(&said)).is_err() {
            find(format!(
                "says what a terminal should not be shown: {said:?}"
            ));
        }
        let kind = kind_of(&said);
        if let Some(count) = tally.refused.get_mut(&kind) {
            *count += 1;
        } else if tally.refused.len() < KINDS {
            tally.refused.insert(kind, 1);
        } else {
            *tally.refused.entry("others".to_owned()).or_default() += 1;
        }
    }
}

/// What a refusal says, without the names and numbers that are one file's: its words up to the first
/// that holds anything but letters.
fn kind_of(said: &str) -> String {
    let behind = said.split_once(": ").map_or(said, |(_, behind)| behind);
    let plain = |word: &&str| {
        word.chars()
            .all(|c| c.is_ascii_lowercase() || c == '-' || c == '.')
    };
    let words: Vec<&str> = behind.split([' ', ':']).take_while(plain).take(8).collect();
    if words.is_empty() {
        "other words".to_owned()
    } else {
        words.join(" ")
    }
}

/// Tells `hung` of an input at which `at` has stood for longer than `most`.
fn watch(at: &AtomicU64, most: Duration, hung: &impl Fn(u64)) {
    let (mut seen, mut since) = (0, Instant::now());
    loop {
        std::thread::sleep((most / 10).min(Duration::from_millis(50)));
        let now = at.load(Ordering::Acquire);
        if now == 0 {
            return;
        }
        if now != seen {
            (seen, since) = (now, Instant::now());
        } else if since.elapsed() > most {
            hung(now - 1);
            since = Instant::now();
        }
    }
}

/// The allocator's count and the hook of panics are the program's: one test runs at a time.
#[cfg(test)]
pub(crate) fn alone() -> std::sync::MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(target: Target, inputs: u64) -> Plan {
        Plan {
            target,
            seed: 1,
            first: 0,
            inputs,
            time: None,
            hang: Duration::from_millis(100),
        }
    }

    #[test]
    fn a_panic_an_allocation_and_a_hang_are_found() {
        let _alone = alone();
        let all = plan(Target::Planted, 1);
        let seeds = &[vec![0; 8]];
        let hung = Mutex::new(Vec::new());
        // Runs the first input that fails in the way of this number.
        let run = |wanted: u8| {
            let index = (0..10_000).find(|&index| all.input(index, seeds).first() == Some(&wanted));
            let first = index.expect("one of 256 values");
            let plan = Plan {
                first,
                ..all.clone()
            };
            let tally = plan.run(seeds, |index| hung.lock().unwrap().push(index));
            (first, tally.findings)
        };
        let (index, found) = run(1);
        assert!(found.len() == 1 && found[0].index == index, "{found:?}");
        assert!(found[0].what.contains("planted"), "{found:?}");
        let (_, found) = run(2);
        assert!(
            found.len() == 1 && found[0].what.contains("bytes, "),
            "{found:?}"
        );
        hung.lock().unwrap().clear();
        let (index, found) = run(3);
        assert!(found.is_empty(), "{found:?}");
        assert!(hung.lock().unwrap().contains(&index), "{hung:?}");
        let (_, found) = run(4);
        assert!(found.is_empty(), "{found:?}");
    }

    #[test]
    fn an_input_is_made_again_by_itself() {
        let _alone = alone();
        for target in Target::ALL {
            let seeds = crate::corpus::seeds(target).unwrap();
            let plan = plan(target, 1);
            for index in 0..200 {
                assert_eq!(plan.input(index, &seeds), plan.input(index, &seeds));
            }
        }
    }

    /// A fuzzer whose inputs are all refused at the door looks at the door alone.
    #[test]
    fn a_good_part_of_the_inputs_is_read_and_refusals_are_of_many_kinds() {
        let _alone = alone();
        for target in Target::ALL {
            let seeds = crate::corpus::seeds(target).unwrap();
            let tally = plan(target, 4000).run(&seeds, |_| {});
            assert!(tally.findings.is_empty(), "{tally:?}");
            assert!(tally.read >= 100, "{tally:?}");
            assert!(tally.refused.len() >= 4, "{tally:?}");
        }
    }
}
