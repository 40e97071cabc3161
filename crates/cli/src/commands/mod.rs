//! One module a command.

mod clock;
mod dispatch;
mod doctor;
mod solve;

pub use doctor::doctor;
pub use solve::solve;
