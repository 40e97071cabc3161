//! What a model is made of: topologies, the bases on them, dictionaries of atoms.
//!
//! ```text
//!   factor       line, circle, sphere: all that topologies are made of
//!   topology     where an atom's coordinate lives: a product of factors
//!   basis        the functions of the coordinate
//!   dictionary   atoms in order, with the features and columns of each
//!   grid         points of an atom from which a row's search begins
//!   coverage     the share of its manifold that an atom's rows cover
//!   gates        which atoms may be on
//!   places       where rows are on the atoms that are on in them
//!   fitted       a dictionary with a decoder: encode, reconstruct, save, load
//!   file         the model's file
//! ```

pub mod basis;
pub mod coverage;
pub mod dictionary;
pub mod factor;
pub mod file;
pub(crate) mod fitted;
pub(crate) mod gates;
pub(crate) mod grid;
pub mod places;
pub(crate) mod rays;
pub mod topology;
