//! One module a command.

mod doctor;

pub use doctor::doctor;
