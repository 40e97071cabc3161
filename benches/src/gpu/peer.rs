//! The peer's column: the same operands, phases and clock, before and after our cells.

use super::Sampling;
use super::cell::Place;
use super::job;
use crate::cell::{Case, Shape, Suite};
use crate::check;
use crate::error::Error;
use crate::peer::{Peer, PeerError};
use crate::receipt::Receipt;
use crate::record::{Measured, Outcome, Parity, Record, Timer, Window};
use broadhead_gate::Decline;
use std::path::Path;
use std::time::Duration;

/// Times the suite's peer on device 0, and hands every record to `emit`.
///
/// # Errors
/// The receipt cannot be made. What goes wrong in the peer is in the records, or said and no record
/// where it does not start.
pub fn run_window(
    root: &Path,
    suite: &Suite,
    (window, run): (Window, &str),
    (python, filter): (&Path, &str),
    sampling: Sampling,
    emit: &mut dyn FnMut(&Record),
) -> Result<(), Error> {
    let Some(name) = suite.peers.first() else {
        return Ok(());
    };
    let folder = match root.join("benches/peers") {
        folder if folder.is_dir() => folder,
        _ => root.join("peers"),
    };
    let mut peer = match Peer::start(name, &folder, python) {
        Ok(peer) => peer,
        Err(error) => {
            eprintln!("{error}");
            return Ok(());
        }
    };
    let mut receipt = Receipt::of_this_run(root)?;
    peer.sign(&mut receipt)?;
    let place = match Place::open(receipt, run)? {
        Ok(place) => place,
        Err(declined) => {
            eprintln!("{name}: {declined}");
            return Ok(());
        }
    };
    for case in &suite.cells {
        let wanted = job::all(suite)
            .any(|job| job.case.name == case.name && job.to_string().contains(filter));
        if !wanted || case.peer_phases.is_empty() {
            continue;
        }
        let prepared = prepare(&mut peer, case, sampling.seed);
        for phase in &case.peer_phases {
            let mut cell = match job::all(suite).find(|job| job.case.name == case.name) {
                Some(job) => job.cell(*phase, sampling.seed),
                None => continue,
            };
            cell.elimination = name.clone();
            cell.window = Some(window);
            let found = prepared.clone().and_then(|parity| {
                let timed = place.unthrottled(|rest| {
                    let (seconds, most) = (sampling.seconds, sampling.max_samples);
                    let samples = peer.samples(*phase, seconds, most, rest).map_err(failed)?;
                    Ok((samples, rest))
                })?;
                Ok((parity, timed))
            });
            emit(&match found {
                Ok((parity, ((samples, rest), readings))) => {
                    place.record(cell, readings, measured(samples, rest, parity))
                }
                Err(declined) => place.record(cell, [None, None], Outcome::Declined(declined)),
            });
        }
        if let Err(error) = peer.release() {
            eprintln!("{error}");
        }
    }
    Ok(())
}

fn prepare(peer: &mut Peer, case: &Case, seed: u64) -> Result<Parity, Decline> {
    let shape = Shape::new(case.case, case.shape).map_err(|error| Decline::Failed { error })?;
    let prepared = peer.prepare(shape, seed).map_err(failed)?;
    let error = prepared.componentwise_error;
    let mut parity = check::parity(error, check::DIRECT_BOUND, None, None)?;
    parity.log_determinant = Some(prepared.log_determinant);
    Ok(parity)
}

fn measured(samples: Vec<f64>, rest: Duration, parity: Parity) -> Outcome {
    Outcome::Measured(Measured {
        samples,
        timer: Timer::DeviceEvents,
        units: 1,
        rest: rest.as_secs_f64(),
        l2: None,
        floor_bytes: None,
        frame: None,
        execution_path: None,
        elimination: None,
        ledger: None,
        witness: None,
        parity,
    })
}

fn failed(error: PeerError) -> Decline {
    Decline::Failed {
        error: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_peer_phase_of_the_device_suites_is_one_that_we_time_too() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("cells");
        let suite = Suite::read(&folder.join("gpu.toml")).unwrap();
        for case in &suite.cells {
            for phase in &case.peer_phases {
                assert!(suite.phases(case).contains(phase), "{}: {phase}", case.name);
            }
        }
    }
}
