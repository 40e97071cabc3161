//! What records must show.

use super::Phase;
use serde::{Deserialize, Deserializer};

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
    /// What stands below the line, one or several of which the smallest counts; none where the quantity
    /// itself is bounded.
    #[serde(default, rename = "denominator", deserialize_with = "one_or_many")]
    pub denominators: Vec<Side>,
    /// The largest value: of a ratio, or in the quantity's own unit.
    pub at_most: f64,
    /// What serves as well, at some cells.
    #[serde(default)]
    pub or: Option<Alternative>,
}

/// Another bound on the same numerator: a cell that meets it meets the requirement.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alternative {
    /// In a few words.
    pub name: String,
    /// The cells by name that it serves.
    pub cells: Vec<String>,
    /// What stands below the line.
    pub denominator: Side,
    /// The largest ratio.
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
    /// The least time that its operations take at the rate of the fastest matrix product of the same
    /// cell, anyone's, in seconds.
    Arithmetic,
    /// Bytes that one unit of work moved to the device.
    BytesIn,
    /// Bytes that it moved from the device.
    BytesOut,
    /// What the host submitted for it.
    Submissions,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(Side),
    Many(Vec<Side>),
}

fn one_or_many<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Side>, D::Error> {
    OneOrMany::deserialize(from).map(|found| match found {
        OneOrMany::One(side) => vec![side],
        OneOrMany::Many(sides) => sides,
    })
}
