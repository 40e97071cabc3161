//! What a model is made of: topologies, the bases on them, dictionaries of atoms.
//!
//! ```text
//!   topology     where an atom's coordinate lives, and how it moves
//!   basis        the functions that an atom offers of it
//!   dictionary   atoms in order, with the features and columns of each
//!   grid         points of an atom from which a row's search begins
//! ```

pub mod basis;
pub mod dictionary;
pub(crate) mod grid;
pub mod topology;
