//! Transfers and fills: the only calls that move bytes between host and device.
//!
//! Each counts its bytes, by direction and class, where it submits them. Up to [`staging::HALF`] bytes go
//! through the stream's staging; more of them, part by part, through [pieces](super::uploader) that are
//! borrowed from the context: the host's numbers are copied once, and of an upload the last 12 MiB are not waited for.

use super::buffer::{DeviceBuffer, Element, View, ViewMut};
use super::host;
use super::pinned::PinnedBuffer;
use super::staging::{self, Staging};
use super::stream::Stream;
use crate::fault::{Result, expect_shape};
use crate::ledger::{ByteClass, Direction};
use crate::record::Record;
use cudarc::driver::sys;
use std::ops::Range;

const HOST_SLICE: &str = "a graph would read host memory at every launch; use pinned memory";

impl Stream {
    /// A new buffer with the elements of `values`.
    ///
    /// # Errors
    /// As [`Stream::alloc`] and [`Stream::upload_into`].
    pub fn upload<T: Element>(
        &self,
        values: &[T],
        class: ByteClass,
        what_for: &str,
    ) -> Result<DeviceBuffer<T>> {
        let mut buffer = self.alloc(values.len(), what_for)?;
        self.upload_into(values, buffer.view_mut(), class)?;
        Ok(buffer)
    }

    /// Copies `values` to the device. They may change as soon as this returns.
    ///
    /// # Errors
    /// A [`Refusal`](crate::Refusal) where lengths differ, the buffer is another stream's or a
    /// capture is under way; a [`Fault`](crate::Fault).
    pub fn upload_into<T: Element>(
        &self,
        values: &[T],
        to: ViewMut<'_, T>,
        class: ByteClass,
    ) -> Result<()> {
        self.not_capturing("upload", HOST_SLICE)?;
        self.owns("upload", to.home())?;
        expect_shape(values.len() == to.len(), "upload", to.len(), values.len())?;
        self.upload_with(to, class, |part, out| out.copy_from_slice(&values[part]))
    }

    /// Copies to the device what `fill` writes: it is given parts of `to`, each once, with memory for its
    /// elements, which holds numbers of others; of more than 1 MiB by several threads at once. It must not use
    /// this stream, nor, up to 1 MiB, wait for anyone who does.
    ///
    /// # Errors
    /// As [`Stream::upload_into`].
    pub fn upload_with<T: Element>(
        &self,
        to: ViewMut<'_, T>,
        class: ByteClass,
        fill: impl Fn(Range<usize>, &mut [T]) + Sync,
    ) -> Result<()> {
        self.not_capturing("upload", HOST_SLICE)?;
        self.owns("upload", to.home())?;
        match to.bytes() {
            0 => Ok(()),
            bytes if bytes <= staging::HALF => {
                let all = 0..to.len();
                self.upload_staged(to, class, |out| fill(all, out))
            }
            _ => self.upload_long(to, class, &fill),
        }
    }

    /// [`Stream::upload_with`] of at most what staging holds.
    pub(crate) fn upload_staged<T: Element, R>(
        &self,
        to: ViewMut<'_, T>,
        class: ByteClass,
        fill: impl FnOnce(&mut [T]) -> R,
    ) -> Result<R> {
        let bytes = to.bytes();
        if bytes == 0 {
            return Ok(fill(&mut []));
        }
        self.enter()?;
        let mut staging = self.staging();
        let piece = self.staging_of(&mut staging)?.piece(self, bytes)?;
        // SAFETY: the piece is aligned, holds `bytes` bytes that no copy in flight touches, and is nobody
        // else's while the staging is locked, which is until the copy has been submitted.
        let answer = fill(unsafe { host::elements(piece, to.len()) });
        // SAFETY: both ends hold `bytes` bytes, which the staging keeps until the copy has ended.
        self.check("cuMemcpyHtoDAsync_v2", unsafe {
            sys::cuMemcpyHtoDAsync_v2(to.pointer(), piece.cast(), bytes, self.raw())
        })?;
        self.moved(Direction::HostToDevice, class, bytes as u64);
        self.submitted([]);
        Ok(answer)
    }

    /// Copies from the device, and waits for it.
    ///
    /// # Errors
    /// As [`Stream::upload_into`].
    pub fn download_into<T: Element>(
        &self,
        from: View<'_, T>,
        values: &mut [T],
        class: ByteClass,
    ) -> Result<()> {
        self.not_capturing("download", HOST_SLICE)?;
        self.owns("download", from.home())?;
        let found = values.len();
        expect_shape(found == from.len(), "download", from.len(), found)?;
        // Threads that wait for others take up other work, which must not get between a staging's lock and its end.
        let copy: fn(&mut [T], &[T]) = match from.bytes() <= staging::HALF {
            true => <[T]>::copy_from_slice,
            false => host::copy_by_all,
        };
        self.download_with(from, class, |part, numbers| {
            copy(&mut values[part], numbers);
        })
    }

    /// The one record of a view, copied from the device; waits for it.
    ///
    /// # Errors
    /// As [`Stream::upload_into`]; a [`Refusal`](crate::Refusal) where the view is not of one record.
    pub fn download_record<R: Record>(&self, from: View<'_, R>, class: ByteClass) -> Result<R> {
        let mut record = [<R as Record>::ZERO];
        self.download_into(from, &mut record, class)?;
        Ok(record[0])
    }

    /// Copies from the device, and waits for it: `take` is given parts of `from`, one after another. It must
    /// not use this stream, nor, where all of `from` is at most 1 MiB, wait for anyone who does.
    ///
    /// # Errors
    /// As [`Stream::upload_into`].
    pub fn download_with<T: Element>(
        &self,
        from: View<'_, T>,
        class: ByteClass,
        mut take: impl FnMut(Range<usize>, &[T]),
    ) -> Result<()> {
        self.download_each([from], class, |_, part, numbers| take(part, numbers))
    }

    /// [`Stream::download_with`] of several views, with one wait where together they are at most 1 MiB; `take`
    /// is told which of them a part is of.
    ///
    /// # Errors
    /// As [`Stream::upload_into`].
    pub fn download_each<T: Element, const COUNT: usize>(
        &self,
        from: [View<'_, T>; COUNT],
        class: ByteClass,
        mut take: impl FnMut(usize, Range<usize>, &[T]),
    ) -> Result<()> {
        self.not_capturing("download", HOST_SLICE)?;
        for view in &from {
            self.owns("download", view.home())?;
        }
        // Pieces of a staging one after another, each on its boundary.
        let mut staged = 0;
        let places = from.map(|view| {
            let place = staged;
            staged += view.bytes().next_multiple_of(staging::ALIGNMENT);
            place
        });
        if staged == 0 {
            return Ok(());
        }
        self.enter()?;
        if staged > staging::HALF {
            for (which, view) in from.into_iter().enumerate() {
                self.download_long(view, class, |part, numbers| take(which, part, numbers))?;
            }
            return Ok(());
        }
        let mut staging = self.staging();
        let piece = self.staging_of(&mut staging)?.piece(self, staged)?;
        let there = from.iter().zip(places).enumerate();
        let there = there.filter(|(_, (view, _))| !view.is_empty());
        for (_, (view, place)) in there.clone() {
            let bytes = view.bytes();
            // SAFETY: the piece holds all of them, one after another; the staging is locked until the copies
            // have ended.
            self.check("cuMemcpyDtoHAsync_v2", unsafe {
                let to = piece.add(place);
                sys::cuMemcpyDtoHAsync_v2(to.cast(), view.pointer(), bytes, self.raw())
            })?;
            self.moved(Direction::DeviceToHost, class, bytes as u64);
            self.submitted([]);
        }
        // SAFETY: the stream lives.
        self.check("cuStreamSynchronize", unsafe {
            sys::cuStreamSynchronize(self.raw())
        })?;
        self.ledger().synchronised();
        for (which, (view, place)) in there {
            // SAFETY: so many elements were written there, and nothing else touches them.
            let numbers = unsafe { host::elements(piece.add(place), view.len()) };
            take(which, 0..view.len(), numbers);
        }
        Ok(())
    }

    /// The elements of a buffer, after waiting for them.
    ///
    /// # Errors
    /// As [`Stream::download_into`].
    pub fn download<T: Element + Default>(
        &self,
        from: View<'_, T>,
        class: ByteClass,
    ) -> Result<Vec<T>> {
        let mut values = vec![T::default(); from.len()];
        self.download_into(from, &mut values, class)?;
        Ok(values)
    }

    /// Copies pinned memory to the device, without waiting. May be captured: each launch of the
    /// graph copies what the memory holds then.
    ///
    /// # Errors
    /// A [`Refusal`](crate::Refusal) where lengths or streams differ; a [`Fault`](crate::Fault).
    pub fn upload_pinned<T: Element>(
        &self,
        from: &PinnedBuffer<T>,
        to: ViewMut<'_, T>,
        class: ByteClass,
    ) -> Result<()> {
        self.owns("upload_pinned", to.home())?;
        self.owns("upload_pinned", from.stream())?;
        expect_shape(
            from.len() == to.len(),
            "upload_pinned",
            to.len(),
            from.len(),
        )?;
        let bytes = to.bytes();
        if bytes == 0 {
            return Ok(());
        }
        self.host_copy_allowed("upload_pinned")?;
        self.enter()?;
        // SAFETY: both ends hold `bytes` bytes and live until the copy has ended: the device side
        // by the order of frees, the host side because dropping it waits.
        self.check("cuMemcpyHtoDAsync_v2", unsafe {
            sys::cuMemcpyHtoDAsync_v2(to.pointer(), from.pointer().cast(), bytes, self.raw())
        })?;
        self.moved(Direction::HostToDevice, class, bytes as u64);
        self.submitted([from.kept(), to.kept()]);
        from.submitted()
    }

    /// Copies from the device to pinned memory, without waiting: reading the memory waits. May be
    /// captured.
    ///
    /// # Errors
    /// As [`Stream::upload_pinned`].
    pub fn download_pinned<T: Element>(
        &self,
        from: View<'_, T>,
        to: &mut PinnedBuffer<T>,
        class: ByteClass,
    ) -> Result<()> {
        self.owns("download_pinned", from.home())?;
        self.owns("download_pinned", to.stream())?;
        expect_shape(
            from.len() == to.len(),
            "download_pinned",
            from.len(),
            to.len(),
        )?;
        let bytes = from.bytes();
        if bytes == 0 {
            return Ok(());
        }
        self.host_copy_allowed("download_pinned")?;
        self.enter()?;
        // SAFETY: as in `upload_pinned`.
        self.check("cuMemcpyDtoHAsync_v2", unsafe {
            sys::cuMemcpyDtoHAsync_v2(to.pointer().cast(), from.pointer(), bytes, self.raw())
        })?;
        self.moved(Direction::DeviceToHost, class, bytes as u64);
        self.submitted([from.kept(), to.kept()]);
        to.submitted()
    }

    /// Copies on the device.
    ///
    /// # Errors
    /// A [`Refusal`](crate::Refusal) where lengths or streams differ; a [`Fault`](crate::Fault).
    pub fn copy<T: Element>(&self, from: View<'_, T>, to: ViewMut<'_, T>) -> Result<()> {
        self.owns("copy", from.home())?;
        self.owns("copy", to.home())?;
        expect_shape(from.len() == to.len(), "copy", to.len(), from.len())?;
        if from.is_empty() {
            return Ok(());
        }
        self.enter()?;
        // SAFETY: both views are of this stream, of one length, and cannot overlap: one of them is
        // exclusive.
        self.check("cuMemcpyDtoDAsync_v2", unsafe {
            sys::cuMemcpyDtoDAsync_v2(to.pointer(), from.pointer(), from.bytes(), self.raw())
        })?;
        self.submitted([from.kept(), to.kept()]);
        Ok(())
    }

    /// Sets every byte to zero.
    ///
    /// # Errors
    /// A [`Refusal`](crate::Refusal) of another stream's buffer; a [`Fault`](crate::Fault).
    pub fn zero<T: Element>(&self, what: ViewMut<'_, T>) -> Result<()> {
        self.owns("zero", what.home())?;
        if what.is_empty() {
            return Ok(());
        }
        self.enter()?;
        // SAFETY: the view holds that many bytes.
        self.check("cuMemsetD8Async", unsafe {
            sys::cuMemsetD8Async(what.pointer(), 0, what.bytes(), self.raw())
        })?;
        self.submitted([what.kept()]);
        Ok(())
    }

    /// A new buffer of zero bytes.
    ///
    /// # Errors
    /// As [`Stream::alloc`].
    pub fn zeros<T: Element>(&self, len: usize, what_for: &str) -> Result<DeviceBuffer<T>> {
        let mut buffer = self.alloc(len, what_for)?;
        self.zero(buffer.view_mut())?;
        Ok(buffer)
    }

    fn staging_of<'a>(&self, slot: &'a mut Option<Staging>) -> Result<&'a mut Staging> {
        match slot {
            Some(staging) => Ok(staging),
            None => Ok(slot.insert(self.context().stagings().take(self.context())?)),
        }
    }
}
