//! The device at work: context, streams, memory, transfers, events, graphs.
//!
//! | module | noun |
//! |---|---|
//! | [`context`] | one device in use, alive or lost |
//! | [`stream`] | work in order, counted into one ledger |
//! | [`buffer`] | device memory of one stream |
//! | [`pinned`] | host memory that copies reach without waiting |
//! | [`staging`] | a stream's own pinned bytes, for small transfers |
//! | [`uploader`] | pinned pieces, one filled or read while others travel |
//! | [`host`] | host memory behind a raw pointer, read and written |
//! | [`transfer`] | the calls that move bytes |
//! | [`event`] | marks in a stream's order, phases |
//! | [`handles`] | cuBLAS and cuSOLVER handles, one pair a stream |
//! | [`capture`], [`graph`] | work recorded once, launched as one submission |

pub(crate) mod buffer;
pub(crate) mod capture;
pub(crate) mod context;
pub(crate) mod event;
pub(crate) mod graph;
pub(crate) mod handles;
pub(crate) mod host;
pub(crate) mod pinned;
pub(crate) mod staging;
pub(crate) mod stream;
pub(crate) mod transfer;
pub(crate) mod uploader;
