//! Graphs: a stretch of one stream's work, captured once and launched as one submission.
//!
//! ```text
//! capture:  a -> b -> while(condition) { c -> d } -> e
//! launch:   one submission; the device repeats the body without the host
//! ```
//! A graph keeps every buffer that its nodes touch, launches on the stream that it was captured
//! on, and adds the bytes that its copies move to the ledger at each launch. A loop's body decides
//! on the device whether it runs again: a kernel in it calls `cudaGraphSetConditional` with the
//! [`Condition`] that it was given.

use super::capture::{self, Capture, Moves};
use super::stream::{Kept, Stream};
use crate::fault::{Fault, Refusal, Result};
use crate::kernels::conditions;
use cudarc::driver::sys;
use std::ptr::null_mut;

/// A graph ready to launch.
pub struct Graph {
    raw: sys::CUgraph,
    exec: sys::CUgraphExec,
    stream: Stream,
    kept: Vec<Kept>,
    moves: Moves,
}

// SAFETY: the driver's graph is used by one thread at a time: every use takes `&mut self`, or
// reads nothing that changes.
unsafe impl Send for Graph {}

/// What decides whether a body runs; a kernel takes it as an `unsigned long long`. That of a loop is
/// 1 when the loop is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Condition(pub(crate) u64);

/// How a graph took new work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Updated {
    /// The nodes were the same and their arguments were replaced.
    InPlace,
    /// The nodes differed and the graph was made anew.
    Rebuilt,
}

impl Stream {
    /// Captures what `body` submits to this stream instead of running it.
    ///
    /// Library handles must be there already ([`Stream::prepare_handles`], or an earlier call).
    ///
    /// # Errors
    /// The body's own error; a [`Refusal`] inside another capture; a [`Fault`].
    pub fn capture(&self, body: impl FnOnce(&Stream) -> Result<()>) -> Result<Graph> {
        let _span = tracing::debug_span!("capture", stream = self.id()).entered();
        let (raw, kept, moves) = self.record(body)?;
        let exec = match instantiate(self, raw) {
            Ok(exec) => exec,
            Err(fault) => {
                destroy(self, raw);
                return Err(fault.into());
            }
        };
        Ok(Graph {
            raw,
            exec,
            stream: self.clone(),
            kept,
            moves,
        })
    }

    /// Inside a capture: repeats `body` on the device for as long as its [`Condition`] holds, at
    /// least once.
    ///
    /// # Errors
    /// The body's own error; a [`Refusal`] outside of a capture; a [`Fault`].
    pub fn while_loop(&self, body: impl FnOnce(&Stream, Condition) -> Result<()>) -> Result<()> {
        let depth = self.open_body("while_loop")?;
        let condition = self.condition(1)?;
        if depth > 1 {
            conditions::arm(self, condition)?;
        }
        let kind = sys::CUgraphConditionalNodeType::CU_GRAPH_COND_TYPE_WHILE;
        self.conditional(kind, condition, |stream| body(stream, condition))
    }

    /// Inside a capture: a condition for [`Stream::if_then`], 0 when a launch of the graph begins.
    ///
    /// # Errors
    /// A [`Refusal`] outside of a capture; a [`Fault`].
    pub fn branch(&self) -> Result<Condition> {
        self.capturing("branch")?;
        Ok(self.condition(0)?)
    }

    /// Inside a capture: runs `body` on the device where `condition` is not 0 when it is reached. A
    /// kernel before it sets the condition, each time that it is reached.
    ///
    /// # Errors
    /// As [`Stream::while_loop`].
    pub fn if_then(
        &self,
        condition: Condition,
        body: impl FnOnce(&Stream) -> Result<()>,
    ) -> Result<()> {
        self.open_body("if_then")?;
        let kind = sys::CUgraphConditionalNodeType::CU_GRAPH_COND_TYPE_IF;
        self.conditional(kind, condition, body)
    }

    fn capturing(&self, what: &str) -> std::result::Result<(), Refusal> {
        if self.is_capturing() {
            return Ok(());
        }
        Err(Refusal::Capturing {
            what: what.to_owned(),
            why: "no capture is under way".to_owned(),
        })
    }

    /// Answers how many bodies are open, this one included.
    fn open_body(&self, what: &str) -> Result<usize> {
        self.capturing(what)?;
        self.enter()?;
        Ok(self.capture_slot().as_mut().map_or(0, Capture::enter_body))
    }

    /// Ends the capture so far, adds a conditional node after it, captures `body` into the node's
    /// own graph, and goes on with the capture after the node.
    fn conditional(
        &self,
        kind: sys::CUgraphConditionalNodeType,
        condition: Condition,
        body: impl FnOnce(&Stream) -> Result<()>,
    ) -> Result<()> {
        let (graph, before) = self.captured_so_far()?;
        self.end_capture()?;
        let (node, inner) = self.add_conditional(graph, &before, kind, condition)?;
        self.begin_capture(inner, &[])?;
        body(self)?;
        self.end_capture()?;
        self.begin_capture(graph, &[node])?;
        if let Some(capture) = &mut *self.capture_slot() {
            capture.leave_body();
        }
        Ok(())
    }

    fn record(
        &self,
        body: impl FnOnce(&Stream) -> Result<()>,
    ) -> Result<(sys::CUgraph, Vec<Kept>, Moves)> {
        self.not_capturing("capture", "one is under way on this stream")?;
        self.enter()?;
        let mut graph = null_mut();
        // SAFETY: the result outlives the call.
        self.check("cuGraphCreate", unsafe {
            sys::cuGraphCreate(&mut graph, 0)
        })?;
        let open = OpenCapture {
            stream: self,
            graph,
        };
        self.begin_capture(graph, &[])?;
        *self.capture_slot() = Some(Capture::default());
        body(self)?;
        open.finish()
    }

    fn begin_capture(
        &self,
        graph: sys::CUgraph,
        after: &[sys::CUgraphNode],
    ) -> std::result::Result<(), Fault> {
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED;
        let data = std::ptr::null();
        // SAFETY: the stream and the graph live; the nodes are the graph's own. The mode is
        // relaxed because other threads go on with their streams meanwhile.
        self.check("cuStreamBeginCaptureToGraph", unsafe {
            sys::cuStreamBeginCaptureToGraph(
                self.raw(),
                graph,
                after.as_ptr(),
                data,
                after.len(),
                mode,
            )
        })
    }

    fn end_capture(&self) -> std::result::Result<(), Fault> {
        let mut graph = null_mut();
        // SAFETY: the stream lives; the graph answered is the one that the capture began with.
        self.check("cuStreamEndCapture", unsafe {
            sys::cuStreamEndCapture(self.raw(), &mut graph)
        })
    }

    /// The graph in the making, and the nodes that the next one would come after.
    fn captured_so_far(&self) -> std::result::Result<(sys::CUgraph, Vec<sys::CUgraphNode>), Fault> {
        let mut status = sys::CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_NONE;
        let (mut id, mut graph, mut nodes, mut count) = (0, null_mut(), std::ptr::null(), 0);
        // SAFETY: all results outlive the call; the list of nodes is the driver's and is copied
        // before the next call. No edge carries data here, so none is asked for.
        unsafe {
            self.check(
                "cuStreamGetCaptureInfo_v3",
                sys::cuStreamGetCaptureInfo_v3(
                    self.raw(),
                    &mut status,
                    &mut id,
                    &mut graph,
                    &mut nodes,
                    null_mut(),
                    &mut count,
                ),
            )?;
            let nodes = match count {
                0 => Vec::new(),
                _ => std::slice::from_raw_parts(nodes, count).to_vec(),
            };
            Ok((graph, nodes))
        }
    }

    /// A new condition in the graph in the making, `value` when a launch begins.
    fn condition(&self, value: u32) -> std::result::Result<Condition, Fault> {
        let (graph, _) = self.captured_so_far()?;
        let (context, assign) = (self.context().raw(), sys::CU_GRAPH_COND_ASSIGN_DEFAULT);
        let mut handle = 0;
        // SAFETY: graph and context live; the result outlives the call.
        self.check("cuGraphConditionalHandleCreate", unsafe {
            sys::cuGraphConditionalHandleCreate(&mut handle, graph, context, value, assign)
        })?;
        Ok(Condition(handle))
    }

    /// Adds a conditional node after `before`; answers the node and the graph of its body.
    fn add_conditional(
        &self,
        graph: sys::CUgraph,
        before: &[sys::CUgraphNode],
        kind: sys::CUgraphConditionalNodeType,
        condition: Condition,
    ) -> std::result::Result<(sys::CUgraphNode, sys::CUgraph), Fault> {
        let mut node = null_mut();
        // SAFETY: graph and context live; the parameters are plain numbers and pointers, for which
        // zero bytes are a value; the driver writes the body's graph, which belongs to the node.
        unsafe {
            let mut parameters: sys::CUgraphNodeParams = std::mem::zeroed();
            parameters.type_ = sys::CUgraphNodeType::CU_GRAPH_NODE_TYPE_CONDITIONAL;
            parameters.__bindgen_anon_1.conditional = sys::CUDA_CONDITIONAL_NODE_PARAMS {
                handle: condition.0,
                type_: kind,
                size: 1,
                phGraph_out: null_mut(),
                ctx: self.context().raw(),
            };
            self.check(
                "cuGraphAddNode_v2",
                sys::cuGraphAddNode_v2(
                    &mut node,
                    graph,
                    before.as_ptr(),
                    std::ptr::null(),
                    before.len(),
                    &mut parameters,
                ),
            )?;
            let inner = *parameters.__bindgen_anon_1.conditional.phGraph_out;
            Ok((node, inner))
        }
    }
}

/// Ends a capture that did not come to its end, whether by an error or a panic.
struct OpenCapture<'a> {
    stream: &'a Stream,
    graph: sys::CUgraph,
}

impl OpenCapture<'_> {
    fn finish(self) -> Result<(sys::CUgraph, Vec<Kept>, Moves)> {
        self.stream.end_capture()?;
        let (stream, graph) = (self.stream, self.graph);
        std::mem::forget(self);
        // The slot is empty before anything is freed: a free looks into it.
        let capture = stream.capture_slot().take();
        let (kept, moves) = match capture {
            Some(capture) => capture.finish(stream),
            None => Default::default(),
        };
        Ok((graph, kept, moves))
    }
}

impl Drop for OpenCapture<'_> {
    fn drop(&mut self) {
        if let Err(fault) = self.stream.end_capture() {
            tracing::debug!(%fault, "a capture was given up");
        }
        let capture = self.stream.capture_slot().take();
        if let Some(capture) = capture {
            drop(capture.finish(self.stream));
        }
        destroy(self.stream, self.graph);
    }
}

fn destroy(stream: &Stream, graph: sys::CUgraph) {
    if stream.enter().is_err() {
        return;
    }
    // SAFETY: the graph is not used again.
    let status = unsafe { sys::cuGraphDestroy(graph) };
    if let Err(fault) = stream.check("cuGraphDestroy", status) {
        tracing::warn!(%fault, "a graph was not destroyed");
    }
}

fn instantiate(
    stream: &Stream,
    graph: sys::CUgraph,
) -> std::result::Result<sys::CUgraphExec, Fault> {
    let mut exec = null_mut();
    // SAFETY: the graph lives, and the result outlives the calls.
    unsafe {
        stream.check(
            "cuGraphInstantiateWithFlags",
            sys::cuGraphInstantiateWithFlags(&mut exec, graph, 0),
        )?;
        // So that the first launch costs what the others do.
        stream.check("cuGraphUpload", sys::cuGraphUpload(exec, stream.raw()))?;
    }
    Ok(exec)
}

impl Graph {
    /// Launches the graph on its stream: one submission.
    ///
    /// # Errors
    /// A [`Fault`], or a [`Refusal`] inside a capture.
    pub fn launch(&mut self) -> Result<()> {
        self.stream.not_capturing("launch", "graphs do not nest")?;
        self.stream.enter()?;
        tracing::trace!(stream = self.stream.id(), "graph");
        // SAFETY: everything that the nodes touch is kept by this value.
        self.stream.check("cuGraphLaunch", unsafe {
            sys::cuGraphLaunch(self.exec, self.stream.raw())
        })?;
        self.stream.submitted([]);
        capture::count(self.stream.ledger(), &self.moves);
        for kept in &self.kept {
            if let Kept::Pinned(allocation) = kept {
                allocation.submitted()?;
            }
        }
        Ok(())
    }

    /// Captures `body` and replaces the graph's work by it.
    ///
    /// # Errors
    /// As [`Stream::capture`]; the graph is unchanged then.
    pub fn update(&mut self, body: impl FnOnce(&Stream) -> Result<()>) -> Result<Updated> {
        let (raw, kept, moves) = self.stream.record(body)?;
        let mut info = sys::CUgraphExecUpdateResultInfo {
            result: sys::CUgraphExecUpdateResult::CU_GRAPH_EXEC_UPDATE_SUCCESS,
            errorNode: null_mut(),
            errorFromNode: null_mut(),
        };
        // SAFETY: both graphs live; the result outlives the call.
        let status = unsafe { sys::cuGraphExecUpdate_v2(self.exec, raw, &mut info) };
        let updated = match status {
            sys::CUresult::CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE => Updated::Rebuilt,
            status => {
                self.stream.check("cuGraphExecUpdate_v2", status)?;
                Updated::InPlace
            }
        };
        if updated == Updated::Rebuilt {
            let exec = instantiate(&self.stream, raw)?;
            self.destroy_exec();
            self.exec = exec;
        }
        destroy(&self.stream, self.raw);
        (self.raw, self.kept, self.moves) = (raw, kept, moves);
        Ok(updated)
    }

    /// Nodes of the graph, those inside of loops not counted.
    ///
    /// # Errors
    /// A [`Fault`].
    pub fn nodes(&self) -> Result<usize> {
        self.stream.enter()?;
        let mut count = 0;
        // SAFETY: without a list the call answers the number alone.
        self.stream.check("cuGraphGetNodes", unsafe {
            sys::cuGraphGetNodes(self.raw, null_mut(), &mut count)
        })?;
        Ok(count)
    }

    fn destroy_exec(&self) {
        // SAFETY: the executable is not used again; one in flight is destroyed after its end.
        let status = unsafe { sys::cuGraphExecDestroy(self.exec) };
        if let Err(fault) = self.stream.check("cuGraphExecDestroy", status) {
            tracing::warn!(%fault, "a graph was not destroyed");
        }
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        if self.stream.enter().is_ok() {
            self.destroy_exec();
            destroy(&self.stream, self.raw);
        }
    }
}
