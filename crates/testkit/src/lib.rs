//! Generators, oracles and tolerances for the tests of Broadhead (not published).

pub mod device;
