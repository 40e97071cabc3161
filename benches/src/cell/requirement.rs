//! What records must show.

use super::Phase;
use serde::Deserialize;

/// A bound on a quantity, or on the ratio of two, at every cell named.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Requirement {
    /// In words.
    pub name: String,
    /// The cells by name that it asks it of; all of the suite where none is named.
    #[serde(default)]
    pub cells: Vec<String>,
    /// The quantity, or what stands above the line.
    pub numerator: Side,
    /// What stands below the line; absent where the quantity itself is bounded.
    #[serde(default)]
    pub denominator: Option<Side>,
    /// The largest value: of a ratio, or in the quantity's own unit.
    pub at_most: f64,
}

/// One quantity of one cell.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Side {
    /// A contender, a peer (its fastest setting), or `best`, the fastest forced contender of ours.
    pub elimination: String,
    /// The phase.
    pub phase: Phase,
    /// What of it.
    #[serde(default)]
    pub of: Quantity,
}

/// What of a measurement is bounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Quantity {
    /// The median time of one unit of work, in seconds.
    #[default]
    Seconds,
    /// The least time that the bytes it must read take at the bandwidth measured in the same run,
    /// in seconds.
    Floor,
    /// Bytes that one unit of work moved to the device.
    BytesIn,
    /// Bytes that it moved from the device.
    BytesOut,
    /// What the host submitted for it.
    Submissions,
}
