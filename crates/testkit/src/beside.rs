//! Work on another stream, for as long as other work takes whose bits are compared.
//!
//! A neighbour is a graph that is launched again and again. Its first launch has ended before the
//! compared work is submitted, and, as the marks of both streams say, its last ends after it. Where
//! that ends too early it works longer, and at the last another that fills memory does.

use crate::device::{Depth, Failed};
use broadhead_device::{Context, Graph, Ledger, Mark, Result, Stream};
use std::time::{Duration, Instant};

/// How often a neighbour is to work longer before it is given up, and others beside the first.
const TRIES: usize = 6;
/// Launches of a neighbour for one piece of compared work, at most.
const MOST: f64 = 20_000.0;

/// A graph, and how long the device takes over it.
struct Neighbour {
    stream: Stream,
    graph: Graph,
    seconds: f64,
}

impl Neighbour {
    fn new(stream: &Stream, mut graph: Graph) -> Result<Self> {
        // The first launch brings the graph to the device.
        graph.launch()?;
        let begun = stream.mark()?;
        graph.launch()?;
        let seconds = stream.mark()?.since(&begun)?.as_secs_f64();
        Ok(Self {
            stream: stream.clone(),
            graph,
            seconds: seconds.max(1e-6),
        })
    }

    /// One that fills 32 MiB a hundred times, on a stream of its own.
    fn filling(context: &Context) -> Result<Self> {
        let stream = context.stream(&Ledger::new())?;
        let mut noise = stream.zeros::<f64>(4 << 20, "a neighbour's numbers")?;
        let graph =
            stream.capture(|stream| (0..100).try_for_each(|_| stream.zero(noise.view_mut())))?;
        Self::new(&stream, graph)
    }

    /// Works, and is submitted to work for as many seconds more; the mark of its end.
    fn begin(&mut self, seconds: f64) -> Result<Mark> {
        let launches = (seconds / self.seconds).ceil().clamp(1.0, MOST) as u32;
        let submitted = self.stream.mark()?;
        self.graph.launch()?;
        let working = self.stream.mark()?;
        (0..launches).try_for_each(|_| self.graph.launch())?;
        let last = self.stream.mark()?;
        // Waits until the first launch has ended, while the others are there to follow it.
        working.since(&submitted)?;
        Ok(last)
    }
}

/// Neighbours of compared work: one, and others on further streams where the device lets that one and
/// the compared work not run at once, as streams do that share one of its queues.
pub struct Beside {
    neighbours: Vec<Neighbour>,
}

impl Beside {
    /// A neighbour that fills memory.
    ///
    /// # Errors
    /// Any error of the device.
    pub fn filling(context: &Context) -> std::result::Result<Self, Failed> {
        let neighbours = vec![Neighbour::filling(context)?];
        Ok(Self { neighbours })
    }

    /// `graph`, which is one of `stream`.
    ///
    /// # Errors
    /// Any error of the device.
    pub fn new(stream: &Stream, graph: Graph) -> std::result::Result<Self, Failed> {
        let neighbours = vec![Neighbour::new(stream, graph)?];
        Ok(Self { neighbours })
    }

    /// What `work`, all of it on `stream`, answers while a neighbour works: from before it begins until
    /// after it has ended. `work` is done once alone before, to see how long it takes.
    ///
    /// Under a tool of compute-sanitizer, which may not let two streams work at once, the neighbour
    /// works twice, and nothing is said of when it ends.
    ///
    /// # Errors
    /// Those of `work`; any of the device; that every neighbour ended first.
    pub fn work<T>(
        &mut self,
        stream: &Stream,
        mut work: impl FnMut() -> std::result::Result<T, Failed>,
    ) -> std::result::Result<T, Failed> {
        if Depth::now() != Depth::All {
            self.neighbours[0].begin(0.0)?;
            return work();
        }
        let begun = Instant::now();
        work()?;
        stream.synchronize()?;
        let mut enough = 2.0 * begun.elapsed().as_secs_f64() + 2e-3;
        for tried in 0..TRIES {
            // Longer first, then others.
            let which = tried.saturating_sub(1);
            if which == self.neighbours.len() {
                let next = Neighbour::filling(stream.context())?;
                self.neighbours.push(next);
            }
            let last = self.neighbours[which].begin(enough)?;
            let found = work()?;
            let end = stream.mark()?;
            stream.synchronize()?;
            // No time at all where the neighbour ended first. Also waits for it.
            if last.since(&end)? > Duration::ZERO {
                return Ok(found);
            }
            enough *= 2.0;
        }
        Err(format!("every neighbour ended first, with {enough:.1e} s of work too").into())
    }
}
