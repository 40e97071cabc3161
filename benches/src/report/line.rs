//! One record on one line, for a person.

use crate::cell::Place;
use crate::record::{Outcome, Record, Window};
use crate::summary::Summary;

/// One record for a person.
pub fn line(record: &Record) -> String {
    let cell = &record.cell;
    let window = match cell.window {
        None => "",
        Some(Window::Before) => " before",
        Some(Window::After) => " after",
    };
    let head = format!(
        "{:34} {:20} {:3} {:18}",
        cell.name,
        format!("{}{window}", cell.elimination),
        cell.threads,
        cell.phase.as_str()
    );
    match &record.outcome {
        Outcome::Declined(reason) => format!("{head} declined: {reason}"),
        Outcome::Ceiling(found) => match found.ceiling.value() {
            Some(value) => format!("{head} {value:.4e}"),
            None => format!("{head} refused: its windows differ"),
        },
        Outcome::Measured(measured) => {
            let ran = measured.elimination.clone().unwrap_or_default();
            let Some(s) = Summary::of(&measured.samples) else {
                return format!("{head} no samples");
            };
            let (scale, unit) = match cell.place {
                Place::Host => (1e3, "ms"),
                Place::Device => (1e6, "us"),
            };
            let median = scale * s.median / f64::from(measured.units);
            let spread = 100.0 * s.spread;
            format!(
                "{head} {median:10.3} {unit} +- {spread:4.1} % of {:2}  {ran}",
                s.count
            )
        }
    }
}
