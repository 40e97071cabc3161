//! Seconds of what cannot be done in parallel: submissions, launches, waits, serial steps.

use super::kernel::{SUBSTITUTE_ORDER, hand_over, nothing, substitute};
use super::{Samples, Unit, timed};
use crate::{Result, Stream};
use std::time::Instant;

/// Samples of one window.
const REPEATS: usize = 54;

/// Submissions in a row: more would fill the queue and measure the device.
const BURST: usize = 200;

/// Nodes of the long graph.
const NODES: usize = 101;

/// Graphs of each length.
const GRAPHS: usize = 9;

/// Rounds of the two serial kernels.
const ROUNDS: i32 = 200;

/// Seconds of each.
pub(super) struct Latencies {
    pub(super) submission: Samples,
    pub(super) graph_launch: Samples,
    pub(super) graph_node: Samples,
    pub(super) synchronisation: Samples,
    pub(super) serial_step: Samples,
    pub(super) hand_over: Samples,
}

/// What the host takes part in is sampled between the other measurements, so that a moment in which
/// the host is slow does not make a whole window.
pub(super) fn measure(stream: &Stream) -> Result<Latencies> {
    let (mut submissions, mut waits) = (Vec::new(), Vec::new());
    let mut host = || -> Result<()> {
        submissions.extend(submission(stream)?);
        waits.extend(synchronisation(stream)?);
        Ok(())
    };
    host()?;
    let graph_launch = graph(stream, 1)?;
    host()?;
    let long = graph(stream, NODES)?;
    host()?;
    let short = super::ceiling::median(&graph_launch).unwrap_or(f64::NAN);
    let node = |launch: f64| (launch - short) / (NODES - 1) as f64;
    Ok(Latencies {
        serial_step: seconds(serial_step(stream)?),
        hand_over: seconds(handed_over(stream)?),
        graph_node: seconds(long.into_iter().map(node).collect()),
        graph_launch: seconds(graph_launch),
        submission: seconds(submissions),
        synchronisation: seconds(waits),
    })
}

fn seconds(values: Vec<f64>) -> Samples {
    Samples {
        unit: Unit::Seconds,
        values,
    }
}

/// Host seconds of each of `count` calls of `call`, waiting before and after.
fn burst(stream: &Stream, count: usize, mut call: impl FnMut() -> Result<()>) -> Result<f64> {
    stream.synchronize()?;
    let start = Instant::now();
    for _ in 0..count {
        call()?;
    }
    let each = start.elapsed().as_secs_f64() / count as f64;
    stream.synchronize()?;
    Ok(each)
}

fn submission(stream: &Stream) -> Result<Vec<f64>> {
    burst(stream, BURST, || nothing(stream))?;
    (0..REPEATS)
        .map(|_| burst(stream, BURST, || nothing(stream)))
        .collect()
}

/// Device seconds from one launch of a graph of `nodes` empty nodes in a row to the next. Graphs of
/// the same nodes differ by several percent with where the driver puts them, so each window takes
/// its samples from several.
fn graph(stream: &Stream, nodes: usize) -> Result<Vec<f64>> {
    nothing(stream)?;
    let mut samples = Vec::new();
    for _ in 0..GRAPHS {
        let mut graph = stream.capture(|stream| (0..nodes).try_for_each(|_| nothing(stream)))?;
        let launches = || (0..BURST).try_for_each(|_| graph.launch());
        samples.extend(timed(stream, REPEATS / GRAPHS, launches)?);
    }
    Ok(samples.into_iter().map(|s| s / BURST as f64).collect())
}

/// Host seconds from a submission to its end.
fn synchronisation(stream: &Stream) -> Result<Vec<f64>> {
    let round = || {
        burst(stream, BURST, || {
            nothing(stream)?;
            stream.synchronize()
        })
    };
    round()?;
    (0..REPEATS).map(|_| round()).collect()
}

fn serial_step(stream: &Stream) -> Result<Vec<f64>> {
    let mut x = stream.zeros::<f64>(SUBSTITUTE_ORDER as usize, "substitution")?;
    let all = timed(stream, REPEATS, || substitute(stream, ROUNDS, x.view_mut()))?;
    let steps = f64::from(SUBSTITUTE_ORDER) * f64::from(ROUNDS);
    Ok(all.into_iter().map(|s| s / steps).collect())
}

fn handed_over(stream: &Stream) -> Result<Vec<f64>> {
    let mut count = stream.zeros::<u32>(1, "count")?;
    let mut times = 1;
    let mut samples = Vec::new();
    // The count starts at zero each time, outside of the time taken.
    for _ in 0..=REPEATS {
        stream.zero(count.view_mut())?;
        let start = stream.mark()?;
        times = hand_over(stream, ROUNDS, count.view_mut())?;
        samples.push(stream.mark()?.since(&start)?.as_secs_f64());
    }
    Ok(samples[1..].iter().map(|s| s / times as f64).collect())
}
