//! Host memory behind a raw pointer: what pinned memory is to this crate.
//!
//! The few lines that read and write it stand here, apart from the calls that allocate it and move it,
//! so that they can be run without a device under tools that watch every access: `cargo xtask memory`
//! runs the tests called `host_only`, here and elsewhere in the crate.

use super::buffer::Element;
use rayon::prelude::*;
use std::ops::Range;

/// Copies `values` to where `to` points.
///
/// # Safety
/// `to` points to at least as many bytes, which nothing else touches meanwhile.
pub(crate) unsafe fn copy_in<T: Element>(values: &[T], to: *mut u8) {
    // SAFETY: as the caller promises; bytes need no alignment.
    unsafe { to.copy_from_nonoverlapping(values.as_ptr().cast(), size_of_val(values)) };
}

/// Copies from where `from` points into `values`.
///
/// # Safety
/// `from` points to at least as many bytes, all written, which nothing writes meanwhile.
pub(crate) unsafe fn copy_out<T: Element>(from: *const u8, values: &mut [T]) {
    let bytes = size_of_val(values);
    // SAFETY: as the caller promises; every byte pattern is a `T`.
    unsafe { from.copy_to_nonoverlapping(values.as_mut_ptr().cast(), bytes) };
}

/// Lets `fill` write `out`, part by part, by all threads; it is told where each part lies, the first at `first`.
pub(crate) fn write_by_all<T: Element>(
    first: usize,
    out: &mut [T],
    fill: &(impl Fn(Range<usize>, &mut [T]) + Sync),
) {
    let share = (COPIED / size_of::<T>()).max(1);
    out.par_chunks_mut(share).enumerate().for_each(|(c, out)| {
        let first = first + c * share;
        fill(first..first + out.len(), out);
    });
}

/// Copies `from` to `to`, which is as long, by all threads.
pub(crate) fn copy_by_all<T: Element>(to: &mut [T], from: &[T]) {
    write_by_all(0, to, &|part, to: &mut [T]| to.copy_from_slice(&from[part]));
}

/// Bytes that one thread copies at once: some 10 us.
const COPIED: usize = 1 << 17;

/// The `len` elements at `pointer`.
///
/// # Safety
/// `pointer` is aligned for `T` and points to at least `len` elements, all written, which nothing else
/// touches while the slice lives.
pub(crate) unsafe fn elements<'a, T: Element>(pointer: *mut u8, len: usize) -> &'a mut [T] {
    // SAFETY: as the caller promises; every byte pattern is a `T`.
    unsafe { std::slice::from_raw_parts_mut(pointer.cast(), len) }
}

#[cfg(test)]
mod host_only {
    use super::*;
    use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};

    /// Zeroed memory on a page, as the driver gives it, that ends where it ends.
    struct Pages {
        pointer: *mut u8,
        layout: Layout,
    }

    impl Pages {
        fn make(bytes: usize) -> Self {
            let layout = Layout::from_size_align(bytes.max(1), 4096).unwrap();
            // SAFETY: the size is not 0.
            let pointer = unsafe { alloc_zeroed(layout) };
            if pointer.is_null() {
                handle_alloc_error(layout);
            }
            Self { pointer, layout }
        }
    }

    impl Drop for Pages {
        fn drop(&mut self) {
            // SAFETY: of `make`, with its layout.
            unsafe { dealloc(self.pointer, self.layout) };
        }
    }

    #[test]
    fn what_is_copied_in_comes_out_to_the_last_byte() {
        let values: Vec<f64> = (0..37).map(f64::from).collect();
        let pages = Pages::make(size_of_val(&values[..]));
        let mut back = vec![f64::NAN; values.len()];
        // SAFETY: the memory is as large as the slices, and this test's.
        unsafe {
            copy_in(&values, pages.pointer);
            copy_out(pages.pointer, &mut back);
        }
        assert_eq!(back, values);
        // Nothing at all is copied as well, into memory of one byte.
        let least = Pages::make(0);
        // SAFETY: nothing is touched.
        unsafe {
            copy_in::<u64>(&[], least.pointer);
            copy_out::<u64>(least.pointer, &mut []);
        }
    }

    #[test]
    fn all_threads_copy_every_element_once() {
        for len in [0, 1, COPIED / 4, 3 * COPIED / 4 + 5] {
            let values: Vec<u32> = (0..len as u32).collect();
            let mut back = vec![u32::MAX; len];
            copy_by_all(&mut back, &values);
            assert!(back == values, "{len} elements");
        }
    }

    #[test]
    fn a_piece_in_the_middle_is_reached_without_alignment() {
        let pages = Pages::make(64);
        let values = [1_u32, 2, 3];
        let mut back = [0; 3];
        // SAFETY: 12 bytes from the 52nd on end with the memory.
        unsafe {
            let piece = pages.pointer.add(52);
            copy_in(&values, piece);
            copy_out(piece, &mut back);
            copy_in(&[9_u8], pages.pointer.add(51));
        }
        assert_eq!(back, values);
    }

    #[test]
    fn elements_are_written_in_place_and_may_be_none() {
        let pages = Pages::make(5 * size_of::<f32>());
        // SAFETY: page-aligned, zeroed, five elements long; one slice at a time.
        let sum: f32 = unsafe {
            elements::<f32>(pages.pointer, 5).fill(2.5);
            elements::<f32>(pages.pointer, 0).fill(f32::NAN);
            elements::<f32>(pages.pointer, 5).iter().sum()
        };
        assert_eq!(sum, 12.5);
    }

    /// A fault that a tool which watches must find: without it a run of such a tool shows nothing.
    #[test]
    fn planted() {
        if std::env::var_os("BROADHEAD_PLANTED").is_none() {
            return;
        }
        let pages = Pages::make(16);
        let mut back = [0_u64; 3];
        // SAFETY: there is none. One element lies behind the memory's end, on purpose.
        unsafe { copy_out(pages.pointer, &mut back) };
        assert_eq!(std::hint::black_box(back)[0], 0);
    }
}
