//! Generators, oracles, tolerances and laws for the tests of Broadhead (not published).
//!
//! ```text
//!   random      seeded numbers                    cases       systems that own their numbers
//!   generate    random dense and structured ones  normal      bundle adjustment, mixed models
//!   double      double-double arithmetic          oracle      answers to twice the digits
//!   tolerance   the one bound, c n eps kappa      pools       the same bits in 1, 2, 5 threads
//!   strategy    proptest over specifications      laws        properties of any elimination
//! ```
//!
//! [`device`] is the harness of tests that need a device and say why they are skipped, [`beside`] keeps
//! a device busy meanwhile, [`kernels`] is the program that compiles kernels without one.
//!
//! A law is a function of a [`laws::Subject`]: an elimination as a caller would ask for it. The
//! tests of a backend instantiate every law for their own subjects, from this one source.
//!
//! # Invariants
//! - An oracle is built from a case's raw numbers; it calls nothing of what it judges.
//! - A number is compared in [`tolerance`] alone, and a failure prints where, what and the bound.

pub mod beside;
pub mod cases;
pub mod device;
pub mod double;
pub mod generate;
pub mod kernels;
pub mod laws;
pub mod normal;
pub mod oracle;
pub mod pools;
pub mod random;
pub mod strategy;
pub mod tolerance;
