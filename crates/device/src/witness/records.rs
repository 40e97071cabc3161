//! Buffers of activity records, as the library asks for them and hands them back.
//!
//! The library calls back on threads of its own. The callbacks must not unwind: they lock a mutex
//! that no panicking code holds and allocate; nothing else in them can fail.

use super::{Activity, Copies, family};
use cudarc::cupti::sys as cupti;
use cudarc::driver::sys;
use std::alloc::{Layout, alloc, dealloc};
use std::collections::BTreeMap;
use std::ffi::CStr;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Bytes of one buffer of records: some ten thousand of them.
const BUFFER: usize = 4 << 20;

/// What has been seen since the pass began.
#[derive(Default)]
pub(super) struct Seen {
    activity: Activity,
    kernels: BTreeMap<String, u64>,
}

static SEEN: Mutex<Option<Seen>> = Mutex::new(None);

fn seen() -> MutexGuard<'static, Option<Seen>> {
    SEEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Everything so far; the next pass begins with nothing.
pub(super) fn take() -> Seen {
    seen().take().unwrap_or_default()
}

fn layout() -> Layout {
    const { assert!(BUFFER.is_multiple_of(8)) };
    // The library asks for records on a boundary of 8 bytes.
    Layout::new::<[u64; BUFFER / 8]>()
}

/// The library wants room for records.
pub(super) extern "C" fn requested(buffer: *mut *mut u8, size: *mut usize, most: *mut usize) {
    // SAFETY: the library passes three valid pointers; where memory is exhausted it gets a null
    // buffer and counts the records as dropped.
    unsafe {
        let room = alloc(layout());
        *buffer = room;
        *size = if room.is_null() { 0 } else { BUFFER };
        *most = 0;
    }
}

/// The library hands a buffer back, with `valid` bytes of records.
pub(super) extern "C" fn completed(
    context: sys::CUcontext,
    stream: u32,
    buffer: *mut u8,
    _size: usize,
    valid: usize,
) {
    if buffer.is_null() {
        return;
    }
    let mut slot = seen();
    let seen = slot.get_or_insert_default();
    let mut record = std::ptr::null_mut();
    // SAFETY: the buffer is one of `requested`'s, holds `valid` bytes of records, and is ours
    // again; each record found is read before the next is asked for.
    unsafe {
        while cupti::cuptiActivityGetNextRecord(buffer, valid, &mut record)
            == cupti::CUptiResult::CUPTI_SUCCESS
        {
            seen.count(record);
        }
        let mut dropped = 0;
        let status = cupti::cuptiActivityGetNumDroppedRecords(context.cast(), stream, &mut dropped);
        seen.activity.dropped += match status {
            cupti::CUptiResult::CUPTI_SUCCESS => dropped as u64,
            // Not knowing whether any was dropped is as bad as one dropped.
            _ => 1,
        };
        dealloc(buffer, layout());
    }
}

impl Seen {
    /// Counts one record.
    ///
    /// # Safety
    /// `record` must point to a record of the kind that it names.
    unsafe fn count(&mut self, record: *mut cupti::CUpti_Activity) {
        use cupti::CUpti_ActivityKind as K;
        // A kind that the bindings do not know must not be read as one of theirs.
        // SAFETY: every record begins with its kind, a 32-bit number.
        let kind = unsafe { record.cast::<u32>().read_unaligned() };
        const COPY: u32 = K::CUPTI_ACTIVITY_KIND_MEMCPY as u32;
        const FILL: u32 = K::CUPTI_ACTIVITY_KIND_MEMSET as u32;
        const KERNEL: u32 = K::CUPTI_ACTIVITY_KIND_KERNEL as u32;
        const CONCURRENT: u32 = K::CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL as u32;
        // SAFETY: the fields read stand at the same place in every layout of these kinds since
        // the library's version 13, which the probe asks for.
        unsafe {
            match kind {
                COPY => {
                    let record = record.cast::<cupti::CUpti_ActivityMemcpy4>();
                    self.copy(
                        (&raw const (*record).copyKind).read(),
                        (&raw const (*record).srcKind).read(),
                        (&raw const (*record).dstKind).read(),
                        (&raw const (*record).bytes).read_unaligned(),
                    );
                }
                FILL => {
                    let record = record.cast::<cupti::CUpti_ActivityMemset4>();
                    let bytes = (&raw const (*record).bytes).read_unaligned();
                    add(&mut self.activity.fills, bytes);
                }
                KERNEL | CONCURRENT => {
                    let record = record.cast::<cupti::CUpti_ActivityKernel10>();
                    let name = (&raw const (*record).name).read_unaligned();
                    let name = match name.is_null() {
                        true => String::new(),
                        false => CStr::from_ptr(name).to_string_lossy().into_owned(),
                    };
                    *self.kernels.entry(name).or_default() += 1;
                }
                _ => {}
            }
        }
    }

    fn copy(&mut self, direction: u8, from: u8, to: u8, bytes: u64) {
        use cupti::CUpti_ActivityMemcpyKind as D;
        const UP: u8 = D::CUPTI_ACTIVITY_MEMCPY_KIND_HTOD as u8;
        const DOWN: u8 = D::CUPTI_ACTIVITY_MEMCPY_KIND_DTOH as u8;
        const ACROSS: u8 = D::CUPTI_ACTIVITY_MEMCPY_KIND_DTOD as u8;
        let activity = &mut self.activity;
        let copies = match direction {
            UP => &mut activity.host_to_device,
            DOWN => &mut activity.device_to_host,
            ACROSS => &mut activity.device_to_device,
            _ => &mut activity.other_copies,
        };
        add(copies, bytes);
        let ends = format!("{} to {}", memory(from), memory(to));
        *activity.by_memory.entry(ends).or_default() += bytes;
    }

    /// Tells the kernels apart: those of `own` by name, the others by family.
    pub(super) fn into_activity(self, own: &[&str]) -> Activity {
        let mut activity = self.activity;
        for (name, count) in self.kernels {
            let (kernels, key) = match own.contains(&name.as_str()) {
                true => (&mut activity.own_kernels, name),
                false => (&mut activity.library_kernels, family(&name).to_owned()),
            };
            *kernels.entry(key).or_default() += count;
        }
        activity
    }
}

fn add(copies: &mut Copies, bytes: u64) {
    copies.count += 1;
    copies.bytes += bytes;
}

/// A kind of memory by name.
fn memory(kind: u8) -> &'static str {
    match kind {
        1 => "pageable",
        2 => "pinned",
        3 => "device",
        4 => "array",
        5 => "managed",
        6 => "device static",
        7 => "managed static",
        _ => "unknown",
    }
}

#[cfg(test)]
mod host_only {
    use super::*;
    use cupti::CUpti_ActivityKind as K;

    /// A record whose bytes lie `shift` bytes off any boundary, as in a buffer of the library.
    fn counted<R>(seen: &mut Seen, mut record: R, kind: u32, fill: impl Fn(&mut R)) {
        fill(&mut record);
        for shift in [0, 1, 4] {
            let mut bytes = vec![0_u8; shift + size_of::<R>()];
            // SAFETY: the bytes hold the record behind the shift, and are this test's; every record
            // begins with its kind.
            unsafe {
                let at = bytes.as_mut_ptr().add(shift);
                at.copy_from_nonoverlapping((&raw const record).cast(), size_of::<R>());
                at.cast::<u32>().write_unaligned(kind);
                seen.count(at.cast());
            }
        }
    }

    #[test]
    fn records_are_read_wherever_they_lie() {
        let mut seen = Seen::default();
        // SAFETY: of plain numbers and pointers, which all may be zero.
        let (copy, fill, kernel, unnamed) = unsafe {
            (
                std::mem::zeroed::<cupti::CUpti_ActivityMemcpy4>(),
                std::mem::zeroed::<cupti::CUpti_ActivityMemset4>(),
                std::mem::zeroed::<cupti::CUpti_ActivityKernel10>(),
                std::mem::zeroed::<cupti::CUpti_ActivityKernel10>(),
            )
        };
        let of = K::CUPTI_ACTIVITY_KIND_MEMCPY as u32;
        counted(&mut seen, copy, of, |record| {
            (record.copyKind, record.srcKind, record.dstKind) = (1, 2, 3);
            record.bytes = 1000;
        });
        let of = K::CUPTI_ACTIVITY_KIND_MEMSET as u32;
        counted(&mut seen, fill, of, |record| record.bytes = 7);
        let of = K::CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL as u32;
        counted(&mut seen, kernel, of, |record| {
            record.name = c"rows".as_ptr()
        });
        counted(&mut seen, unnamed, of, |_| {});
        // A kind that nobody knows is passed over.
        counted(&mut seen, [0_u64; 1], 0xffff, |_| {});
        let kernels = seen.kernels.clone();
        assert_eq!((kernels["rows"], kernels[""]), (3, 3));
        let activity = seen.into_activity(&[]);
        let copies = activity.host_to_device;
        assert_eq!((copies.count, copies.bytes), (3, 3000));
        assert_eq!((activity.fills.count, activity.fills.bytes), (3, 21));
    }

    #[test]
    fn room_for_records_is_given_and_taken_back_whole() {
        let (mut room, mut size, mut most) = (std::ptr::null_mut(), 0, 1);
        requested(&mut room, &mut size, &mut most);
        assert_eq!((size, most), (BUFFER, 0));
        assert!(room.cast::<u64>().is_aligned());
        // SAFETY: the room is as large as said, and goes back as `completed` gives it back.
        unsafe {
            room.write(1);
            room.add(size - 1).write(2);
            dealloc(room, layout());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_told_apart_by_direction_and_ends() {
        let mut seen = Seen::default();
        seen.copy(1, 2, 3, 100);
        seen.copy(1, 1, 3, 10);
        seen.copy(2, 3, 1, 7);
        seen.copy(8, 3, 3, 5);
        let activity = seen.into_activity(&[]);
        assert_eq!(
            (activity.host_to_device.count, activity.host_to_device.bytes),
            (2, 110)
        );
        assert_eq!(activity.device_to_host.bytes, 7);
        assert_eq!(activity.device_to_device.bytes, 5);
        assert_eq!(activity.by_memory["pinned to device"], 100);
    }

    #[test]
    fn own_kernels_are_counted_by_name_and_others_by_family() {
        let mut seen = Seen::default();
        seen.kernels.insert("read_once".to_owned(), 3);
        seen.kernels.insert("x_dgemm_nt".to_owned(), 2);
        seen.kernels.insert("y_dgemm_nn".to_owned(), 1);
        let activity = seen.into_activity(&["read_once"]);
        assert_eq!(activity.own_kernels["read_once"], 3);
        assert_eq!(activity.library_kernels["gemm"], 3);
    }
}
