//! Benchmarks as data: cells, the runner, records, the report.
//!
//! ```text
//! cells/*.toml --- a suite: cases, shapes, eliminations, phases, what the records must show
//!      | runner    checks a result before it times it; peers take turns with it
//! records/**.jsonl one line a cell: every sample or the reason there is none, and the receipt;
//!                  a device's in the folder of that device
//!      | report    medians, spreads, verdicts
//! docs/src/generated/*.md, *.svg
//! ```
//!
//! # Invariants
//! - A sample is taken only after the same work on the same operands passed its [`check`].
//! - A [`record::Outcome`] is measured, with every sample, or declined, with its reason.
//! - A record carries its [`receipt::Receipt`]; the report refuses one without.
//! - What is compared on the host ran in alternation, sample by sample, in one process on one
//!   machine; on a device the peer ran before and after us, in one run ([`gpu`]).
//! - A line of records is sealed, and one that contradicts itself is refused by name.

pub mod case;
pub mod cell;
pub mod check;
pub mod error;
pub mod evidence;
pub mod gpu;
pub mod holdout;
pub mod kernels;
pub mod machine;
pub mod noise;
pub mod peer;
pub mod receipt;
pub mod record;
pub mod report;
pub mod rounds;
pub mod runner;
pub mod store;
pub mod summary;
