//! Records of one case together.

use crate::cell::{AUTO, AUTO_SHIPPED, Phase, Shape, ShapeFields, is_auto};
use crate::receipt::Receipt;
use crate::record::{Measured, Outcome, Record, Window};
use crate::summary::Summary;
use broadhead_gate::Decline;
use std::collections::BTreeSet;

/// The name of whichever contender is fastest.
pub(super) const BEST: &str = "best";

/// All records of one case of one shape.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) name: String,
    pub(super) shape: String,
    fields: ShapeFields,
    pub(super) sizes: Option<Shape>,
    pub(super) entries: Vec<Entry>,
}

/// One contender in one phase.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) elimination: String,
    pub(super) phase: Phase,
    /// The elimination that ran: for `auto`, the choice.
    pub(super) ran: Option<String>,
    /// Of one unit of work.
    pub(super) outcome: Result<Summary, Decline>,
    /// Of a peer that ran apart from us.
    pub(super) window: Option<Window>,
    /// The run: a device's record names it, of a host it is what began at one time at one commit.
    pub(super) run: Option<String>,
    /// What one unit of work moved, submitted and must read.
    pub(super) counts: Counts,
}

/// What one unit of work moved, submitted and must read; absent where the record does not say.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) bytes_in: Option<f64>,
    pub(super) bytes_out: Option<f64>,
    pub(super) submissions: Option<f64>,
    pub(super) floor_bytes: Option<u64>,
}

impl Counts {
    fn of(measured: &Measured) -> Self {
        let units = f64::from(measured.units);
        let of = |count: u64| Some(count as f64 / units);
        let ledger = measured.ledger.as_ref();
        Self {
            bytes_in: ledger.and_then(|l| of(l.host_to_device.total())),
            bytes_out: ledger.and_then(|l| of(l.device_to_host.total())),
            submissions: ledger.and_then(|l| of(l.submissions)),
            floor_bytes: measured.floor_bytes,
        }
    }
}

fn run(receipt: &Receipt) -> String {
    match &receipt.device {
        Some(device) => device.run.clone(),
        None => format!("{} {}", receipt.commit, receipt.started),
    }
}

/// Groups records by case, in the order of the file.
pub(super) fn group(records: &[Record]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for record in records {
        let cell = &record.cell;
        // A ceiling is no contender's work.
        if matches!(record.outcome, Outcome::Ceiling(_)) {
            continue;
        }
        let same = |g: &Group| g.name == cell.name && g.fields == cell.shape;
        let at = groups.iter().position(same).unwrap_or_else(|| {
            let shape = Shape::new(cell.case, cell.shape);
            groups.push(Group {
                name: cell.name.clone(),
                sizes: shape.as_ref().ok().copied(),
                shape: shape.map_or_else(|e| e, |shape| shape.to_string()),
                fields: cell.shape,
                entries: Vec::new(),
            });
            groups.len() - 1
        });
        let (outcome, ran, counts) = match &record.outcome {
            Outcome::Declined(reason) => (Err(reason.clone()), None, Counts::default()),
            Outcome::Ceiling(_) => continue,
            Outcome::Measured(measured) => (
                Summary::of(&measured.samples)
                    .map(|summary| summary.of_one(measured.units))
                    .ok_or(Decline::NoSample),
                measured.elimination.clone(),
                Counts::of(measured),
            ),
        };
        // A choice of a run that measured no rates was priced by those that ship.
        let by_shipped = cell.elimination == AUTO && record.receipt.rates.is_none();
        let elimination = match by_shipped {
            true => AUTO_SHIPPED.to_owned(),
            false => cell.elimination.clone(),
        };
        groups[at].entries.push(Entry {
            elimination,
            phase: cell.phase,
            ran,
            outcome,
            window: cell.window,
            run: Some(run(&record.receipt)),
            counts,
        });
    }
    groups
}

/// The phases that occur, in their order.
pub(super) fn phases(groups: &[Group]) -> Vec<Phase> {
    let all: BTreeSet<Phase> = groups
        .iter()
        .flat_map(|g| g.entries.iter().map(|e| e.phase))
        .collect();
    all.into_iter().collect()
}

/// The names of the contenders, in the order of the file.
pub(super) fn contenders(groups: &[Group]) -> Vec<String> {
    contenders_of(&groups.iter().collect::<Vec<_>>())
}

/// The names of the contenders of some groups.
pub(super) fn contenders_of(groups: &[&Group]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for entry in groups.iter().flat_map(|g| &g.entries) {
        if !names.contains(&entry.elimination) {
            names.push(entry.elimination.clone());
        }
    }
    names
}

impl Group {
    /// Whether the two are of one case of one shape.
    pub(super) fn is_case_of(&self, other: &Self) -> bool {
        self.name == other.name && self.fields == other.fields
    }

    /// What `elimination` did in `phase`: of several thread counts the fastest. `best` is the fastest
    /// elimination that was asked for by name.
    ///
    /// # Errors
    /// Why there is no measurement; [`Decline::NoSample`] where there is no record.
    pub(super) fn outcome(
        &self,
        elimination: &str,
        phase: Phase,
    ) -> Result<(Summary, &Entry), Decline> {
        let mut found: Result<(Summary, &Entry), Decline> = Err(Decline::NoSample);
        for entry in self.entries.iter().filter(|e| e.phase == phase) {
            let wanted = match elimination {
                BEST => !is_auto(&entry.elimination) && entry.ran.is_some(),
                name => entry.elimination == name,
            };
            if !wanted {
                continue;
            }
            match (&entry.outcome, &found) {
                (Ok(new), Ok((old, _))) if new.median >= old.median => {}
                (Ok(new), _) => found = Ok((*new, entry)),
                (Err(reason), Err(_)) => found = Err(reason.clone()),
                (Err(_), Ok(_)) => {}
            }
        }
        found
    }
}
