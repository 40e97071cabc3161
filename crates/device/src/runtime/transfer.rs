//! Transfers and fills: the only calls that move bytes between host and device.
//!
//! Each counts its bytes, by direction and class, where it submits them. Host slices up to
//! [`staging::HALF`] bytes go through the stream's staging and the call returns at once; longer
//! ones are read in place, and the call waits until they were.

use super::buffer::{DeviceBuffer, Element, View, ViewMut};
use super::host;
use super::pinned::PinnedBuffer;
use super::staging::{self, Staging};
use super::stream::Stream;
use crate::fault::{Result, expect_shape};
use crate::ledger::{ByteClass, Direction};
use cudarc::driver::sys;

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
        let bytes = to.bytes();
        if bytes == 0 {
            return Ok(());
        }
        self.enter()?;
        if bytes <= staging::HALF {
            let mut staging = self.staging();
            let piece = self.staging_of(&mut staging)?.piece(self, bytes)?;
            // SAFETY: the piece holds `bytes` bytes that no copy in flight touches; the copy is
            // submitted before the staging's lock is let go.
            unsafe {
                host::copy_in(values, piece);
                self.check(
                    "cuMemcpyHtoDAsync_v2",
                    sys::cuMemcpyHtoDAsync_v2(to.pointer(), piece.cast(), bytes, self.raw()),
                )?;
            }
        } else {
            let from = values.as_ptr().cast();
            // SAFETY: both ends hold `bytes` bytes, and the call waits until the slice was read.
            unsafe {
                self.check(
                    "cuMemcpyHtoDAsync_v2",
                    sys::cuMemcpyHtoDAsync_v2(to.pointer(), from, bytes, self.raw()),
                )?;
                self.check("cuStreamSynchronize", sys::cuStreamSynchronize(self.raw()))?;
            }
            self.ledger().synchronised();
        }
        self.moved(Direction::HostToDevice, class, bytes as u64);
        self.submitted([]);
        Ok(())
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
        let bytes = from.bytes();
        if bytes == 0 {
            return Ok(());
        }
        self.enter()?;
        let mut staging = self.staging();
        let staged = bytes <= staging::HALF;
        let to: *mut u8 = match staged {
            true => self.staging_of(&mut staging)?.piece(self, bytes)?,
            false => values.as_mut_ptr().cast(),
        };
        // SAFETY: both ends hold `bytes` bytes; the slice is borrowed, and the staging locked,
        // until the copy has ended.
        unsafe {
            self.check(
                "cuMemcpyDtoHAsync_v2",
                sys::cuMemcpyDtoHAsync_v2(to.cast(), from.pointer(), bytes, self.raw()),
            )?;
            self.check("cuStreamSynchronize", sys::cuStreamSynchronize(self.raw()))?;
            if staged {
                host::copy_out(to, values);
            }
        }
        self.moved(Direction::DeviceToHost, class, bytes as u64);
        self.submitted([]);
        self.ledger().synchronised();
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
