//! What really moved: bytes by direction and class, submissions, synchronisations, allocations,
//! factorizations.
//!
//! A ledger belongs to a piece of work: every stream is made with one, and each call counts itself
//! in its stream's ledger, whatever thread makes it. Counts only grow; a difference of two
//! snapshots is the account of what happened between them.

use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Which way bytes crossed the bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// From host memory to device memory.
    HostToDevice,
    /// From device memory to host memory.
    DeviceToHost,
}

/// What the bytes of a transfer are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ByteClass {
    /// Blocks of the operator.
    Operand,
    /// Gradients and steps.
    Gradient,
    /// Small fixed records of a loop.
    Record,
    /// Anything else.
    Other,
}

/// Bytes moved in one direction, by class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Bytes of operands.
    pub operand: u64,
    /// Bytes of gradients and steps.
    pub gradient: u64,
    /// Bytes of records.
    pub record: u64,
    /// Other bytes.
    pub other: u64,
}

impl Traffic {
    /// All bytes of this direction.
    pub fn total(&self) -> u64 {
        self.operand + self.gradient + self.record + self.other
    }

    /// Adds `bytes` to `class`.
    pub fn add(&mut self, class: ByteClass, bytes: u64) {
        *match class {
            ByteClass::Operand => &mut self.operand,
            ByteClass::Gradient => &mut self.gradient,
            ByteClass::Record => &mut self.record,
            ByteClass::Other => &mut self.other,
        } += bytes;
    }

    /// Bytes by class, with their class.
    pub fn by_class(&self) -> [(ByteClass, u64); 4] {
        [
            (ByteClass::Operand, self.operand),
            (ByteClass::Gradient, self.gradient),
            (ByteClass::Record, self.record),
            (ByteClass::Other, self.other),
        ]
    }

    fn since(&self, earlier: &Self) -> Self {
        Self {
            operand: self.operand - earlier.operand,
            gradient: self.gradient - earlier.gradient,
            record: self.record - earlier.record,
            other: self.other - earlier.other,
        }
    }
}

/// The counts of one piece of work. All zero on the CPU but for the factorizations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerSnapshot {
    /// Bytes from host to device.
    pub host_to_device: Traffic,
    /// Bytes from device to host.
    pub device_to_host: Traffic,
    /// Copies, fills, kernel launches, library calls and graph launches that the host submitted.
    pub submissions: u64,
    /// Times that the host waited for the device.
    pub synchronisations: u64,
    /// Device allocations.
    pub allocations: u64,
    /// Operators factored, on any path.
    pub factorizations: u64,
    /// The most device bytes held at once.
    pub peak_bytes: u64,
}

impl LedgerSnapshot {
    /// What was counted after `earlier`, a snapshot of the same ledger. The peak stays that of the
    /// whole ledger: the most since an instant cannot be told from two snapshots.
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            host_to_device: self.host_to_device.since(&earlier.host_to_device),
            device_to_host: self.device_to_host.since(&earlier.device_to_host),
            submissions: self.submissions - earlier.submissions,
            synchronisations: self.synchronisations - earlier.synchronisations,
            allocations: self.allocations - earlier.allocations,
            factorizations: self.factorizations - earlier.factorizations,
            peak_bytes: self.peak_bytes,
        }
    }
}

/// The running account of one piece of work. Clones count into the same account.
#[derive(Clone, Debug, Default)]
pub struct Ledger(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    host_to_device: [AtomicU64; 4],
    device_to_host: [AtomicU64; 4],
    submissions: AtomicU64,
    synchronisations: AtomicU64,
    allocations: AtomicU64,
    factorizations: AtomicU64,
    held_bytes: AtomicU64,
    peak_bytes: AtomicU64,
}

impl Ledger {
    /// An account with nothing in it.
    pub fn new() -> Self {
        Self::default()
    }

    /// The counts so far. Exact where no other thread is counting.
    pub fn snapshot(&self) -> LedgerSnapshot {
        let counts = &*self.0;
        LedgerSnapshot {
            host_to_device: traffic(&counts.host_to_device),
            device_to_host: traffic(&counts.device_to_host),
            submissions: counts.submissions.load(Relaxed),
            synchronisations: counts.synchronisations.load(Relaxed),
            allocations: counts.allocations.load(Relaxed),
            factorizations: counts.factorizations.load(Relaxed),
            peak_bytes: counts.peak_bytes.load(Relaxed),
        }
    }

    /// Device bytes held now.
    pub fn held_bytes(&self) -> u64 {
        self.0.held_bytes.load(Relaxed)
    }

    /// Counts operators factored. The one count that a caller makes: what is an operator is not
    /// known here.
    pub fn factored(&self, operators: u64) {
        self.0.factorizations.fetch_add(operators, Relaxed);
    }

    pub(crate) fn moved(&self, direction: Direction, class: ByteClass, bytes: u64) {
        let by_class = match direction {
            Direction::HostToDevice => &self.0.host_to_device,
            Direction::DeviceToHost => &self.0.device_to_host,
        };
        by_class[class as usize].fetch_add(bytes, Relaxed);
    }

    pub(crate) fn submitted(&self) {
        self.0.submissions.fetch_add(1, Relaxed);
    }

    pub(crate) fn synchronised(&self) {
        self.0.synchronisations.fetch_add(1, Relaxed);
    }

    pub(crate) fn allocated(&self, bytes: u64) {
        self.0.allocations.fetch_add(1, Relaxed);
        self.adopted(bytes);
    }

    /// Holds bytes that another account allocated.
    pub(crate) fn adopted(&self, bytes: u64) {
        let held = self.0.held_bytes.fetch_add(bytes, Relaxed) + bytes;
        self.0.peak_bytes.fetch_max(held, Relaxed);
    }

    pub(crate) fn released(&self, bytes: u64) {
        self.0.held_bytes.fetch_sub(bytes, Relaxed);
    }
}

fn traffic(by_class: &[AtomicU64; 4]) -> Traffic {
    let [operand, gradient, record, other] = by_class.each_ref().map(|count| count.load(Relaxed));
    Traffic {
        operand,
        gradient,
        record,
        other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_class_and_direction_is_counted_apart() {
        let ledger = Ledger::new();
        ledger.moved(Direction::HostToDevice, ByteClass::Operand, 1);
        ledger.moved(Direction::HostToDevice, ByteClass::Other, 2);
        ledger.moved(Direction::DeviceToHost, ByteClass::Gradient, 4);
        ledger.moved(Direction::DeviceToHost, ByteClass::Record, 8);
        let snapshot = ledger.snapshot();
        let (up, down) = (snapshot.host_to_device, snapshot.device_to_host);
        assert_eq!((up.operand, up.other, up.total()), (1, 2, 3));
        assert_eq!((down.gradient, down.record, down.total()), (4, 8, 12));
    }

    #[test]
    fn the_peak_is_the_most_held_at_once() {
        let ledger = Ledger::new();
        ledger.allocated(100);
        ledger.allocated(50);
        ledger.released(100);
        ledger.allocated(60);
        let snapshot = ledger.snapshot();
        assert_eq!((snapshot.allocations, snapshot.peak_bytes), (3, 150));
        assert_eq!(ledger.held_bytes(), 110);
    }

    #[test]
    fn threads_count_into_one_account() {
        let ledger = Ledger::new();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let ledger = ledger.clone();
                scope.spawn(move || (0..1000).for_each(|_| ledger.submitted()));
            }
        });
        assert_eq!(ledger.snapshot().submissions, 4000);
    }

    #[test]
    fn a_difference_is_what_happened_between() {
        let ledger = Ledger::new();
        ledger.moved(Direction::HostToDevice, ByteClass::Record, 3);
        let before = ledger.snapshot();
        ledger.moved(Direction::HostToDevice, ByteClass::Record, 5);
        ledger.factored(2);
        let between = ledger.snapshot().since(&before);
        assert_eq!(between.host_to_device.record, 5);
        assert_eq!(between.factorizations, 2);
    }
}
