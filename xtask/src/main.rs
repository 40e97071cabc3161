//! Builds, checks and measures Broadhead.
fn main() {}
