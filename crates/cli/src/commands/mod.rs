//! The commands, one module each.

mod clock;
mod dispatch;
mod doctor;
mod encode;
mod fit;
mod rates;
mod solve;
mod unknowns;

pub use doctor::doctor;
pub use encode::encode;
pub use fit::fit;
pub use solve::solve;
