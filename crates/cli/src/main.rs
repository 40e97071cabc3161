//! The command line of Broadhead.
fn main() {}
