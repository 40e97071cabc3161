//! Device memory that knows its stream, and views of it.
//!
//! A buffer belongs to one stream. The stream allocates it, orders its uses and frees it, all in
//! stream order: dropping a buffer while a kernel still reads it is safe, for the free comes after
//! that kernel, and nobody gets the memory before the free. A graph that was captured with a buffer
//! keeps it alive. A device's context is made once a process and never again, so the stream also
//! says which generation of device memory this is: after a loss every use answers the loss.

use super::stream::{Kept, Stream};
use crate::fault::{Fault, Refusal, Result, expect_shape};
use crate::record::{Field, InRecord, Record};
use cudarc::driver::sys;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;

/// What may lie in device memory.
///
/// # Safety
/// Every byte pattern of the type's size is a value of it, and it holds no pointer to host memory.
pub unsafe trait Element: Copy + Send + Sync + 'static {}

macro_rules! elements {
    ($($t:ty),*) => {$(
        // SAFETY: a plain number.
        unsafe impl Element for $t {}
    )*};
}
elements!(f64, f32, i64, u64, i32, u32, i16, u16, i8, u8);

// SAFETY: elements one after another.
unsafe impl<T: Element, const N: usize> Element for [T; N] {}

/// Bytes of device memory, freed in the order of their stream.
pub(crate) struct Allocation {
    pub(crate) pointer: sys::CUdeviceptr,
    bytes: usize,
    pub(crate) stream: Stream,
}

impl Allocation {
    fn make(stream: &Stream, bytes: usize, what_for: &str) -> Result<Self> {
        stream.not_capturing("an allocation", "a graph replays into memory that is there")?;
        stream.enter()?;
        let mut pointer = 0;
        if bytes > 0 {
            let mut take = || {
                // SAFETY: the context is current; the result outlives the call.
                unsafe { sys::cuMemAllocAsync(&mut pointer, bytes, stream.raw()) }
            };
            let mut status = take();
            if status == sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY {
                // What other streams freed may be unused and not theirs to give yet.
                stream.context().trim()?;
                status = take();
            }
            if status == sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY {
                // The pool may hold what it took from the driver for the attempt.
                stream.context().trim()?;
                return Err(Fault::OutOfMemory {
                    asked: bytes as u64,
                    free: stream.context().memory()?.free,
                    what_for: what_for.to_owned(),
                }
                .into());
            }
            stream.check("cuMemAllocAsync", status)?;
        }
        stream.ledger().allocated(bytes as u64);
        tracing::trace!(bytes, what_for, "allocated");
        Ok(Self {
            pointer,
            bytes,
            stream: stream.clone(),
        })
    }
}

impl Drop for Allocation {
    fn drop(&mut self) {
        self.stream.ledger().released(self.bytes as u64);
        if self.bytes == 0 || self.stream.enter().is_err() {
            return;
        }
        if let Some(capture) = &mut *self.stream.capture_slot() {
            // A free now would become a node of the graph.
            capture.free_afterwards(self.pointer);
            return;
        }
        free(&self.stream, self.pointer);
    }
}

/// Frees in the order of `stream`.
pub(crate) fn free(stream: &Stream, pointer: sys::CUdeviceptr) {
    // SAFETY: the pointer came from the stream-ordered allocator and its last owner is here.
    let status = unsafe { sys::cuMemFreeAsync(pointer, stream.raw()) };
    if let Err(fault) = stream.check("cuMemFreeAsync", status) {
        tracing::warn!(%fault, "device memory was not freed");
    }
}

/// `len` elements of device memory.
pub struct DeviceBuffer<T: Element> {
    allocation: Arc<Allocation>,
    len: usize,
    kind: PhantomData<T>,
}

impl<T: Element> std::fmt::Debug for DeviceBuffer<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DeviceBuffer({} on {:?})", self.len, self.stream())
    }
}

/// Part of a buffer, to be read.
pub struct View<'a, T: Element> {
    allocation: &'a Arc<Allocation>,
    /// In bytes.
    offset: usize,
    len: usize,
    kind: PhantomData<&'a T>,
}

impl<T: Element> Clone for View<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T: Element> Copy for View<'_, T> {}

/// Part of a buffer, to be written; nobody else holds that part.
pub struct ViewMut<'a, T: Element> {
    allocation: &'a Arc<Allocation>,
    /// In bytes.
    offset: usize,
    len: usize,
    kind: PhantomData<&'a mut T>,
}

impl Stream {
    /// Memory for `len` elements, of unspecified value.
    ///
    /// # Errors
    /// [`Fault::OutOfMemory`] with bytes asked and free; another [`Fault`]; a [`Refusal`] in a
    /// capture.
    pub fn alloc<T: Element>(&self, len: usize, what_for: &str) -> Result<DeviceBuffer<T>> {
        let bytes = len.checked_mul(size_of::<T>()).ok_or(Refusal::Memory {
            needed: u64::MAX,
            free: 0,
            what_for: what_for.to_owned(),
        })?;
        Ok(DeviceBuffer {
            allocation: Arc::new(Allocation::make(self, bytes, what_for)?),
            len,
            kind: PhantomData,
        })
    }
}

impl<T: Element> DeviceBuffer<T> {
    /// Elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes.
    pub fn bytes(&self) -> u64 {
        self.allocation.bytes as u64
    }

    /// The stream that it belongs to.
    pub fn stream(&self) -> &Stream {
        &self.allocation.stream
    }

    /// All of it.
    pub fn view(&self) -> View<'_, T> {
        View {
            allocation: &self.allocation,
            offset: 0,
            len: self.len,
            kind: PhantomData,
        }
    }

    /// All of it, to be written.
    pub fn view_mut(&mut self) -> ViewMut<'_, T> {
        ViewMut {
            allocation: &self.allocation,
            offset: 0,
            len: self.len,
            kind: PhantomData,
        }
    }

    /// The elements of `range`.
    ///
    /// # Errors
    /// A [`Refusal`] where the range is not inside.
    pub fn slice(&self, range: Range<usize>) -> Result<View<'_, T>> {
        self.view().slice(range)
    }

    /// The elements of `range`, to be written.
    ///
    /// # Errors
    /// A [`Refusal`] where the range is not inside.
    pub fn slice_mut(&mut self, range: Range<usize>) -> Result<ViewMut<'_, T>> {
        self.view_mut().slice(range)
    }

    /// Gives the buffer to `stream`, whose further work begins after all present work of the old
    /// stream.
    ///
    /// # Errors
    /// A [`Refusal`] where a graph still holds the buffer or the device is another; a [`Fault`].
    pub fn move_to(self, stream: &Stream) -> Result<Self> {
        let home = self.stream().clone();
        stream.wait_for(&home)?;
        let same_device = home.context().raw() == stream.context().raw();
        expect_shape(
            same_device,
            "move_to",
            "a stream of the same device",
            "another",
        )?;
        let (len, kind) = (self.len, self.kind);
        let mut allocation = Arc::try_unwrap(self.allocation).map_err(|_| Refusal::Capturing {
            what: "move_to".to_owned(),
            why: "a graph holds the buffer".to_owned(),
        })?;
        home.ledger().released(allocation.bytes as u64);
        stream.ledger().adopted(allocation.bytes as u64);
        allocation.stream = stream.clone();
        Ok(Self {
            allocation: Arc::new(allocation),
            len,
            kind,
        })
    }
}

fn inside(range: &Range<usize>, len: usize) -> std::result::Result<(), Refusal> {
    let fits = range.start <= range.end && range.end <= len;
    let found = format!("{}..{}", range.start, range.end);
    expect_shape(fits, "slice", format!("a range in 0..{len}"), found)
}

fn address(allocation: &Allocation, offset: usize) -> sys::CUdeviceptr {
    allocation.pointer + offset as u64
}

fn expect_one(len: usize) -> std::result::Result<(), Refusal> {
    expect_shape(len == 1, "a field of a record", "one record", len)
}

impl<'a, T: Element> View<'a, T> {
    /// Elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The elements of `range`, counted from this view's start.
    ///
    /// # Errors
    /// A [`Refusal`] where the range is not inside.
    pub fn slice(self, range: Range<usize>) -> Result<View<'a, T>> {
        inside(&range, self.len)?;
        Ok(View {
            offset: self.offset + range.start * size_of::<T>(),
            len: range.end - range.start,
            ..self
        })
    }

    /// A field of the one record that this is a view of.
    ///
    /// # Errors
    /// A [`Refusal`] where it is not a view of one record.
    pub fn field<F: InRecord>(self, field: Field<T, F>) -> Result<View<'a, F>>
    where
        T: Record,
    {
        expect_one(self.len)?;
        Ok(View {
            allocation: self.allocation,
            offset: self.offset + field.offset(),
            len: 1,
            kind: PhantomData,
        })
    }

    pub(crate) fn bytes(&self) -> usize {
        self.len * size_of::<T>()
    }

    pub(crate) fn pointer(&self) -> sys::CUdeviceptr {
        address(self.allocation, self.offset)
    }

    pub(crate) fn home(&self) -> &'a Stream {
        &self.allocation.stream
    }

    pub(crate) fn kept(&self) -> Kept {
        Kept::Device(self.allocation.clone())
    }
}

impl<'a, T: Element> ViewMut<'a, T> {
    /// Elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The elements of `range`, counted from this view's start.
    ///
    /// # Errors
    /// A [`Refusal`] where the range is not inside.
    pub fn slice(self, range: Range<usize>) -> Result<ViewMut<'a, T>> {
        inside(&range, self.len)?;
        Ok(ViewMut {
            offset: self.offset + range.start * size_of::<T>(),
            len: range.end - range.start,
            ..self
        })
    }

    /// Two views, of the first `at` elements and of the rest.
    ///
    /// # Errors
    /// A [`Refusal`] where `at` is past the end.
    pub fn split_at(self, at: usize) -> Result<(ViewMut<'a, T>, ViewMut<'a, T>)> {
        inside(&(0..at), self.len)?;
        let second = ViewMut {
            allocation: self.allocation,
            offset: self.offset + at * size_of::<T>(),
            len: self.len - at,
            kind: PhantomData,
        };
        Ok((ViewMut { len: at, ..self }, second))
    }

    /// The same elements, to be read.
    pub fn as_view(&self) -> View<'_, T> {
        View {
            allocation: self.allocation,
            offset: self.offset,
            len: self.len,
            kind: PhantomData,
        }
    }

    /// The same view for a shorter time.
    pub fn reborrow(&mut self) -> ViewMut<'_, T> {
        ViewMut {
            allocation: self.allocation,
            offset: self.offset,
            len: self.len,
            kind: PhantomData,
        }
    }

    /// A field of the one record that this is a view of.
    ///
    /// # Errors
    /// A [`Refusal`] where it is not a view of one record.
    pub fn field<F: InRecord>(self, field: Field<T, F>) -> Result<ViewMut<'a, F>>
    where
        T: Record,
    {
        expect_one(self.len)?;
        Ok(ViewMut {
            allocation: self.allocation,
            offset: self.offset + field.offset(),
            len: 1,
            kind: PhantomData,
        })
    }

    pub(crate) fn bytes(&self) -> usize {
        self.len * size_of::<T>()
    }

    pub(crate) fn pointer(&self) -> sys::CUdeviceptr {
        address(self.allocation, self.offset)
    }

    pub(crate) fn home(&self) -> &'a Stream {
        &self.allocation.stream
    }

    pub(crate) fn kept(&self) -> Kept {
        Kept::Device(self.allocation.clone())
    }
}
