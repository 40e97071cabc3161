//! One cell, in a process of its own.

use super::arrow::Rows;
use super::ceilings;
use super::clock::{Clock, Outcome as Answer, Taken, device};
use super::job::Job;
use super::structured::Structured;
use super::{Sampling, job};
use crate::case::Operands;
use crate::cell::{CaseKind, Phase, Shape, Suite};
use crate::error::Error;
use crate::receipt::{DeviceReceipt, Receipt, this_program};
use crate::record::{CellId, Measured, Outcome, Parity, Record, SCHEMA};
use broadhead_device::nvml::{ClockReasons, Nvml, Reading};
use broadhead_device::{Context, ExecutionPath, Ledger, Stream};
use broadhead_gate::Decline;
use broadhead_schur::EliminationKind;
use broadhead_schur::device::{FrameSummary, Keep, Placement, Way};
use std::path::Path;
use std::time::{Duration, Instant};

/// Whose log-determinant a device's is compared with.
pub(super) const CPU: &str = "cpu";

/// Which cell of a suite.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'w> {
    /// The case, by name.
    pub case: &'w str,
    /// The contender.
    pub contender: &'w str,
    /// The run that it belongs to.
    pub run: &'w str,
    /// The CPU's log-determinant, where it is known.
    pub known: Option<f64>,
}

/// Does one cell on device 0 and hands every record to `emit` as soon as it is there.
///
/// # Errors
/// No such cell; the receipt cannot be made. What goes wrong in the work is in the records.
pub fn run_cell(
    root: &Path,
    suite: &Suite,
    wanted: Wanted<'_>,
    sampling: Sampling,
    emit: &mut dyn FnMut(&Record),
) -> Result<(), Error> {
    let named = |job: &Job<'_>| job.case.name == wanted.case && job.contender == wanted.contender;
    let job = job::all(suite).find(named).ok_or_else(|| Error::Format {
        path: root.join(&suite.suite),
        message: format!("no cell {}, {}", wanted.case, wanted.contender),
    })?;
    let receipt = Receipt::of_this_run(root)?;
    let place = match Place::open(receipt, wanted.run)? {
        Ok(place) => place,
        Err(declined) => {
            let receipt = Receipt::of_this_run(root)?;
            for phase in job.phases {
                emit(&Record {
                    schema: SCHEMA,
                    cell: job.cell(*phase, sampling.seed),
                    outcome: Outcome::Declined(declined.clone()),
                    receipt: receipt.clone(),
                });
            }
            return Ok(());
        }
    };
    match job.case.case {
        CaseKind::Ceilings => measure_ceilings(&place, &job, sampling, emit),
        _ => measure(&place, &job, wanted.known, sampling, emit),
    }
    Ok(())
}

/// Rests before each sample, tried in turn where the device was throttled without.
const RESTS: [Duration; 3] = [
    Duration::from_millis(100),
    Duration::from_millis(400),
    Duration::from_secs(1),
];

/// How long a device is waited for that was throttled by what ran before.
const PATIENCE: Duration = Duration::from_secs(3);

fn is_throttled(reading: &Reading) -> bool {
    reading
        .clock_reasons
        .is_some_and(ClockReasons::is_throttled)
}

/// The device of a cell, and what its records say of it.
pub(super) struct Place {
    pub(super) stream: Stream,
    nvml: Option<Nvml>,
    receipt: Receipt,
}

impl Place {
    /// Device 0, or why not.
    pub(super) fn open(mut receipt: Receipt, run: &str) -> Result<Result<Self, Decline>, Error> {
        let binary = this_program()?;
        let open = || -> Answer<Self> {
            let context = Context::open(0).map_err(device)?;
            let stream = context.stream(&Ledger::new()).map_err(device)?;
            let nvml = match Nvml::start(&context) {
                Ok(nvml) => Some(nvml),
                Err(error) => {
                    eprintln!("clocks are not read: {error}");
                    None
                }
            };
            receipt.read_device_libraries();
            receipt.device = Some(DeviceReceipt {
                info: context.info().clone(),
                run: run.to_owned(),
                binary,
                before: None,
                after: None,
            });
            Ok(Self {
                stream,
                nvml,
                receipt,
            })
        };
        Ok(open())
    }

    /// Clocks, power and throttle reasons now.
    pub(super) fn reading(&self) -> Answer<Option<Reading>> {
        self.nvml
            .as_ref()
            .map(Nvml::read)
            .transpose()
            .map_err(device)
    }

    /// Does `work` between two readings. Where the device was throttled at one (sums of products in
    /// FP64 draw all the power that it may), does it again with a rest before each sample, in which
    /// the clocks stay up, and then with longer ones. The last try stands, whatever it is.
    pub(super) fn unthrottled<T>(
        &self,
        mut work: impl FnMut(Duration) -> Answer<T>,
    ) -> Answer<(T, [Option<Reading>; 2])> {
        let mut rests = RESTS.into_iter();
        let mut rest = Duration::ZERO;
        loop {
            let before = self.calm()?;
            let done = work(rest)?;
            let readings = [before, self.reading()?];
            let slow = readings.iter().flatten().any(is_throttled);
            match rests.next() {
                Some(longer) if slow => rest = longer,
                _ => return Ok((done, readings)),
            }
        }
    }

    /// A reading once the work before no longer weighs on the clocks, or after some seconds.
    fn calm(&self) -> Answer<Option<Reading>> {
        let begin = Instant::now();
        loop {
            let reading = self.reading()?;
            let slow = reading.as_ref().is_some_and(is_throttled);
            if !slow || begin.elapsed() > PATIENCE {
                return Ok(reading);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The receipt of what ran between two readings.
    pub(super) fn receipt(&self, before: Option<Reading>, after: Option<Reading>) -> Receipt {
        let mut receipt = self.receipt.clone();
        if let Some(device) = &mut receipt.device {
            (device.before, device.after) = (before, after);
        }
        receipt
    }

    /// A record of what ran between two readings: declined where the device was throttled at one.
    pub(super) fn record(
        &self,
        cell: CellId,
        readings: [Option<Reading>; 2],
        outcome: Outcome,
    ) -> Record {
        let [before, after] = readings;
        let receipt = self.receipt(before, after);
        let throttled = receipt.device.as_ref().and_then(DeviceReceipt::throttled);
        let outcome = match throttled {
            Some(reason) if !matches!(outcome, Outcome::Declined(_)) => {
                Outcome::Declined(Decline::Throttled { reason })
            }
            _ => outcome,
        };
        Record {
            schema: SCHEMA,
            cell,
            outcome,
            receipt,
        }
    }
}

fn measure_ceilings(
    place: &Place,
    job: &Job<'_>,
    sampling: Sampling,
    emit: &mut dyn FnMut(&Record),
) {
    for phase in job.phases {
        let cell = job.cell(*phase, sampling.seed);
        let found = place.unthrottled(|_| ceilings::measure(&place.stream));
        match found {
            Err(declined) => emit(&place.record(cell, [None, None], Outcome::Declined(declined))),
            Ok((found, readings)) => {
                for ceiling in found {
                    let set = ceiling.working_set_bytes;
                    let mut cell = cell.clone();
                    cell.name = match set {
                        Some(bytes) => format!("{}: {}, {bytes} bytes", cell.name, ceiling.what),
                        None => format!("{}: {}", cell.name, ceiling.what),
                    };
                    emit(&place.record(cell, readings.clone(), Outcome::Ceiling(ceiling)));
                }
            }
        }
    }
}

/// What a contender's name says that its frames keep and how they are made:
/// `rows/KEEP[,rows=WAY][,border=WAY]`.
fn frame_of(contender: &str) -> Answer<(Keep, [Option<Way>; 2])> {
    let unknown = || Decline::Unsupported {
        why: format!("no frame is called {contender}"),
    };
    let mut words = contender
        .strip_prefix("rows/")
        .ok_or_else(unknown)?
        .split(',');
    let keep = words.next().and_then(named).ok_or_else(unknown)?;
    let mut ways = [None; 2];
    for word in words {
        match word.split_once('=') {
            Some(("rows", way)) => ways[0] = Some(named(way).ok_or_else(unknown)?),
            Some(("border", way)) => ways[1] = Some(named(way).ok_or_else(unknown)?),
            _ => return Err(unknown()),
        }
    }
    Ok((keep, ways))
}

/// A value by the name that it has in records.
fn named<T: serde::de::DeserializeOwned>(name: &str) -> Option<T> {
    serde_json::from_value(serde_json::Value::String(name.to_owned())).ok()
}

/// How a contender's name says that structured systems are eliminated, and what is kept: `core`,
/// `iterative` or `border/KEEP`. `None` where it says nothing of them.
fn structured_elimination(contender: &str) -> Option<(EliminationKind, Option<Keep>)> {
    let (word, keep) = match contender.split_once('/') {
        Some(("border", keep)) => ("border", Some(named(keep)?)),
        None if matches!(contender, "core" | "iterative") => (contender, None),
        _ => return None,
    };
    let kind = EliminationKind::ALL
        .into_iter()
        .find(|kind| kind.as_str() == word);
    kind.map(|kind| (kind, keep))
}

/// What a cell's process measures: one contender over one system.
pub(super) trait Bench {
    /// The check before any sample, against the CPU's log-determinant where it is known; and what a
    /// frame keeps.
    fn check(&self, known: Option<f64>) -> Answer<(Parity, Option<FrameSummary>)>;

    /// One phase, and where its work runs.
    fn phase(&self, phase: Phase, clock: &Clock<'_>) -> Answer<(Taken, ExecutionPath)>;
}

/// The contender by its name.
fn contender<'o>(
    stream: &Stream,
    operands: &'o Operands,
    name: &str,
) -> Answer<Box<dyn Bench + 'o>> {
    let place = Placement::on(stream);
    Ok(match structured_elimination(name) {
        Some((elimination, keep)) => {
            let place = Placement { keep, ..place };
            Box::new(Structured::new(place, operands, elimination)?)
        }
        None => {
            let (keep, [rows, border]) = frame_of(name)?;
            let place = Placement {
                rows,
                border,
                ..place.keeping(keep)
            };
            Box::new(Rows::new(place, operands)?)
        }
    })
}

fn measure(
    place: &Place,
    job: &Job<'_>,
    known: Option<f64>,
    sampling: Sampling,
    emit: &mut dyn FnMut(&Record),
) {
    let decline_all = |declined: &Decline, emit: &mut dyn FnMut(&Record)| {
        for phase in job.phases {
            let cell = job.cell(*phase, sampling.seed);
            let outcome = Outcome::Declined(declined.clone());
            emit(&place.record(cell, [None, None], outcome));
        }
    };
    let operands = Shape::new(job.case.case, job.case.shape)
        .and_then(|shape| Operands::new(shape, sampling.seed).map_err(|e| e.to_string()));
    let operands = operands.map_err(|error| Decline::Failed { error });
    let checked: Answer<_> = operands
        .as_ref()
        .map_err(Clone::clone)
        .and_then(|operands| {
            let bench = contender(&place.stream, operands, job.contender)?;
            let (parity, frame) = bench.check(known)?;
            Ok((bench, parity, frame))
        });
    let (bench, parity, frame) = match checked {
        Ok(checked) => checked,
        Err(declined) => return decline_all(&declined, emit),
    };
    // All timing first: the witness, once on, may leave something behind in the driver.
    let watching = Clock::watching(&place.stream, sampling);
    let mut timed = Vec::new();
    for phase in job.phases {
        let found = place
            .unthrottled(|rest| bench.phase(*phase, &Clock::timing(&place.stream, sampling, rest)));
        timed.push((*phase, found));
    }
    for (phase, found) in timed {
        let cell = job.cell(phase, sampling.seed);
        let watched = found.and_then(|((taken, path), readings)| {
            let witness = bench.phase(phase, &watching)?.0.witness;
            Ok((Taken { witness, ..taken }, path, readings))
        });
        let record = match watched {
            Ok((taken, path, readings)) => {
                let measured = measured(taken, path, job.contender, (&parity, frame));
                place.record(cell, readings, measured)
            }
            Err(declined) => place.record(cell, [None, None], Outcome::Declined(declined)),
        };
        // A record that contradicts itself is declined with the contradiction.
        let record = match record.check() {
            Ok(()) => record,
            Err(refused) => Record {
                outcome: Outcome::Declined(refused.into()),
                ..record
            },
        };
        emit(&record);
    }
}

fn measured(
    taken: Taken,
    path: ExecutionPath,
    contender: &str,
    (parity, frame): (&Parity, Option<FrameSummary>),
) -> Outcome {
    Outcome::Measured(Measured {
        samples: taken.samples,
        timer: taken.timer,
        units: taken.units,
        rest: taken.rest,
        l2: taken.l2,
        floor_bytes: taken.floor_bytes,
        frame,
        execution_path: Some(path),
        elimination: Some(contender.to_owned()),
        ledger: Some(taken.ledger),
        witness: taken.witness,
        parity: parity.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_contender_of_the_device_suites_names_a_frame() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("cells/gpu.toml");
        let suite = Suite::read(&path).unwrap();
        let of_device = |job: &Job<'_>| job.contender == "device";
        for job in job::all(&suite).filter(|job| !of_device(job)) {
            let structured = structured_elimination(job.contender).is_some();
            assert!(structured || frame_of(job.contender).is_ok(), "{job}");
        }
        for unknown in ["border", "border/nothing", "cores"] {
            assert!(structured_elimination(unknown).is_none(), "{unknown}");
        }
        let (keep, ways) = frame_of("rows/factor,rows=library,border=syrk-and-tiles").unwrap();
        assert_eq!(keep, Keep::Factor);
        assert_eq!(ways, [Some(Way::Library), Some(Way::SyrkAndTiles)]);
        for unknown in [
            "rows",
            "rows/nothing",
            "rows/factor,rows=no",
            "rows/factor,library",
        ] {
            assert!(frame_of(unknown).is_err(), "{unknown}");
        }
    }
}
