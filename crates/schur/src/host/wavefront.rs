//! A wavefront: tasks in a fixed order, run by as many threads as come, each waiting for numbers of those
//! before it.
//!
//! ```text
//!   claimed in order   0   1   2   3   4 ...         a task may wait for those before it,
//!   threads            a   b   a   a   b             which are claimed, and so are running
//! ```
//!
//! One parallel region serves a whole triangular solve, where a region a step would pay for waking
//! threads at every step. It cannot deadlock in a pool that is busy or has one thread: nobody waits
//! for a task that nobody has claimed, the first unfinished task waits for none, and a thread that
//! comes late finds nothing left to claim. Which thread runs a task changes nothing that the task
//! computes.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// Looks at a task before it gives the processor away.
const SPINS: u32 = 256;

/// The tasks of one wavefront and the numbers that they hand on.
struct Wavefront {
    next: AtomicUsize,
    /// Tasks done: those below this number.
    done: AtomicUsize,
    /// Set by a task that panicked, so that those who wait for it stop.
    broken: AtomicBool,
    /// The bits of the numbers. What a task wrote is seen by who has seen it done.
    values: Vec<AtomicU64>,
}

/// What one thread knows: its own copy of the numbers of the tasks that it has waited for.
pub(crate) struct Worker<'r> {
    wavefront: &'r Wavefront,
    range_of: &'r (dyn Fn(usize) -> Range<usize> + Sync),
    known: Vec<f64>,
    seen: usize,
}

/// A task was given up because one before it panicked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Broken;

impl Worker<'_> {
    /// Waits for all tasks up to and with `task`, and returns the numbers known: at least theirs.
    pub(crate) fn after(&mut self, task: usize) -> Result<&[f64], Broken> {
        if self.seen <= task {
            let mut spins = 0;
            let mut done = self.wavefront.done.load(Ordering::Acquire);
            while done <= task {
                if self.wavefront.broken.load(Ordering::Relaxed) {
                    return Err(Broken);
                }
                if spins < SPINS {
                    spins += 1;
                    std::hint::spin_loop();
                } else {
                    std::thread::yield_now();
                }
                done = self.wavefront.done.load(Ordering::Acquire);
            }
            for q in self.seen..=task {
                let range = (self.range_of)(q);
                let values = &self.wavefront.values[range.clone()];
                for (known, value) in self.known[range].iter_mut().zip(values) {
                    *known = f64::from_bits(value.load(Ordering::Relaxed));
                }
            }
            self.seen = task + 1;
        }
        Ok(&self.known)
    }

    /// Hands on the numbers of `task`, which has waited for all before it.
    fn hand_on(&self, task: usize, values: &[f64]) {
        for (place, value) in self.wavefront.values[(self.range_of)(task)]
            .iter()
            .zip(values)
        {
            place.store(value.to_bits(), Ordering::Relaxed);
        }
        self.wavefront.done.store(task + 1, Ordering::Release);
    }
}

/// Marks a wavefront broken where its owner unwinds.
struct BreakOnPanic<'r>(&'r AtomicBool);

impl Drop for BreakOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}

/// Runs `tasks` tasks on at most `threads` threads and overwrites `x` by what they hand on: task `t`
/// fills the numbers `range_of(t)`, which arrive as they are in `x`. The ranges partition `x`.
pub(crate) fn run(
    tasks: usize,
    threads: usize,
    x: &mut [f64],
    range_of: &(dyn Fn(usize) -> Range<usize> + Sync),
    task: impl Fn(usize, &mut Worker<'_>, &mut [f64]) -> Result<(), Broken> + Sync,
) {
    let wavefront = Wavefront {
        next: AtomicUsize::new(0),
        done: AtomicUsize::new(0),
        broken: AtomicBool::new(false),
        values: x.iter().map(|_| AtomicU64::new(0)).collect(),
    };
    let given = &*x;
    let work = || {
        let _guard = BreakOnPanic(&wavefront.broken);
        let mut worker = Worker {
            wavefront: &wavefront,
            range_of,
            known: Vec::new(),
            seen: 0,
        };
        let mut own = Vec::new();
        loop {
            let t = wavefront.next.fetch_add(1, Ordering::Relaxed);
            if t >= tasks {
                return;
            }
            worker.known.resize(given.len(), 0.0);
            own.clear();
            own.extend_from_slice(&given[range_of(t)]);
            let done = task(t, &mut worker, &mut own);
            // The one before it may not be needed, but is to be done before this one is said to be.
            if done.is_err() || (t > 0 && worker.after(t - 1).is_err()) {
                return;
            }
            worker.hand_on(t, &own);
        }
    };
    together(threads.min(tasks).max(1), &work);
    for (x, value) in x.iter_mut().zip(&wavefront.values) {
        *x = f64::from_bits(value.load(Ordering::Relaxed));
    }
}

/// Offers `work` to `threads` threads of the pool; those that are busy elsewhere do not come.
fn together(threads: usize, work: &(impl Fn() + Sync)) {
    if threads <= 1 {
        work();
        return;
    }
    let half = threads / 2;
    rayon::join(|| together(threads - half, work), || together(half, work));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Task `t` adds the sum of all before it, with odd waits between.
    fn sums(tasks: usize, threads: usize) -> Vec<f64> {
        let mut x: Vec<f64> = (0..2 * tasks).map(|i| 1.0 / (1.0 + i as f64)).collect();
        run(
            tasks,
            threads,
            &mut x,
            &|t| 2 * t..2 * t + 2,
            |t, worker, own| {
                if t % 3 == 1 {
                    std::thread::yield_now();
                }
                if t > 0 {
                    let known = worker.after(t - 1)?;
                    let sum: f64 = known[..2 * t].iter().sum();
                    own.iter_mut().for_each(|x| *x += sum);
                }
                Ok(())
            },
        );
        x
    }

    #[test]
    fn any_number_of_threads_gives_the_same_bits() {
        let expected = sums(40, 1);
        assert!(expected.iter().all(|x| *x > 0.0));
        for threads in [1, 2, 3, 8] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            let pool = pool.build().unwrap();
            for offered in [1, 2, 5, 16] {
                assert_eq!(pool.install(|| sums(40, offered)), expected);
            }
        }
        assert!(sums(0, 4).is_empty());
    }

    #[test]
    fn a_pool_whose_other_threads_are_busy_is_no_deadlock() {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(2)
            .build()
            .unwrap();
        let expected = sums(40, 1);
        let stop = AtomicBool::new(false);
        let stop = &stop;
        pool.scope(|scope| {
            scope.spawn(move |_| {
                while !stop.load(Ordering::Relaxed) {
                    std::thread::yield_now();
                }
            });
            // One of the two threads turns in the loop above until this one is through.
            assert_eq!(sums(40, 2), expected);
            stop.store(true, Ordering::Relaxed);
        });
    }

    #[test]
    fn a_panic_in_a_task_reaches_the_caller() {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(2)
            .build()
            .unwrap();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            pool.install(|| {
                run(4, 2, &mut [0.0; 4], &|t| t..t + 1, |t, worker, _| {
                    assert_ne!(t, 1, "told to fail");
                    match t {
                        0 => Ok(()),
                        t => worker.after(t - 1).map(drop),
                    }
                });
            });
        }));
        assert!(outcome.is_err());
    }
}
