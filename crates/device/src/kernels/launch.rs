//! One launch: a kernel, a grid, arguments whose sizes are checked against the compiled kernel.

use super::Kernel;
use crate::fault::{Refusal, Result, expect_shape};
use crate::runtime::buffer::{Element, View, ViewMut};
use crate::runtime::graph::Condition;
use crate::runtime::stream::{Kept, Stream};
use cudarc::driver::sys;
use std::ffi::c_void;

/// The most parameters of one kernel.
const MOST: usize = 32;

/// Blocks, threads of a block, dynamic shared bytes of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Blocks by dimension.
    pub grid: [u32; 3],
    /// Threads by dimension.
    pub block: [u32; 3],
    /// Dynamic shared memory of a block, in bytes.
    pub shared: u32,
    /// Whether all blocks run at once, so that they may wait for one another.
    pub cooperative: bool,
}

impl Geometry {
    /// `blocks` blocks of `threads` threads in one dimension.
    pub fn line(blocks: u32, threads: u32) -> Self {
        Self {
            grid: [blocks, 1, 1],
            block: [threads, 1, 1],
            shared: 0,
            cooperative: false,
        }
    }

    /// Enough blocks of `threads` threads for one thread an item.
    pub fn one_thread_each(items: usize, threads: u32) -> Self {
        let blocks = items.div_ceil(threads as usize).max(1);
        Self::line(u32::try_from(blocks).unwrap_or(u32::MAX), threads)
    }

    /// The same with `bytes` of dynamic shared memory a block.
    pub fn with_shared(self, bytes: u32) -> Self {
        Self {
            shared: bytes,
            ..self
        }
    }
}

/// A number that a kernel takes by value.
pub trait Scalar: Copy {
    /// Its bytes, from the low end of the word.
    fn word(self) -> u64;
    /// How many of them there are.
    const BYTES: usize;
}

macro_rules! scalars {
    ($($t:ty => $word:expr),* $(,)?) => {$(
        impl Scalar for $t {
            const BYTES: usize = size_of::<$t>();
            fn word(self) -> u64 {
                let word: fn($t) -> u64 = $word;
                word(self)
            }
        }
    )*};
}
scalars! {
    f64 => |x| x.to_bits(),
    f32 => |x| x.to_bits().into(),
    u64 => |x| x,
    i64 => |x| x as u64,
    u32 => |x| x.into(),
    i32 => |x| u64::from(x as u32),
    Condition => |x| x.0,
}

/// A launch in the making. Arguments are given in the kernel's order.
#[must_use = "nothing runs before submit"]
pub struct Launch<'a> {
    kernel: &'a Kernel,
    stream: &'a Stream,
    geometry: Geometry,
    words: [u64; MOST],
    sizes: [usize; MOST],
    given: usize,
    kept: Vec<Kept>,
    capturing: bool,
    early: bool,
    refusal: Option<Refusal>,
}

impl Kernel {
    /// Begins a launch on `stream`.
    pub fn launch<'a>(&'a self, stream: &'a Stream, geometry: Geometry) -> Launch<'a> {
        Launch {
            kernel: self,
            stream,
            geometry,
            words: [0; MOST],
            sizes: [0; MOST],
            given: 0,
            kept: Vec::new(),
            capturing: stream.is_capturing(),
            early: false,
            refusal: None,
        }
    }
}

impl<'a> Launch<'a> {
    /// A pointer that the kernel reads.
    pub fn read<T: Element>(mut self, view: View<'a, T>) -> Self {
        self.pointer(view.home(), view.pointer(), || view.kept());
        self
    }

    /// A pointer that the kernel writes.
    pub fn write<T: Element>(mut self, view: ViewMut<'a, T>) -> Self {
        self.pointer(view.home(), view.pointer(), || view.kept());
        self
    }

    /// A number.
    pub fn scalar<S: Scalar>(mut self, value: S) -> Self {
        self.push(value.word(), S::BYTES);
        self
    }

    /// Lets blocks start before the kernel ahead on the stream has ended (a programmatic dependent
    /// launch), where the device can: from compute capability 9.0 on. Of a cooperative launch it is
    /// ignored.
    ///
    /// The kernel's source must then wait for the work ahead (`griddepcontrol.wait`) in every thread
    /// before it touches memory.
    pub fn early(mut self) -> Self {
        self.early = self.kernel.context.info().compute_capability >= (9, 0);
        self
    }

    /// Submits the launch.
    ///
    /// # Errors
    /// A [`Refusal`] where the number or the sizes of the arguments are not the kernel's or a
    /// buffer is of another stream; a [`Fault`](crate::Fault). What goes wrong inside the kernel
    /// is found by a later call.
    ///
    /// # Safety
    /// The arguments must be what the kernel's source takes, in its order, and with them the
    /// kernel must stay inside the views given. Views of one buffer that overlap must not be
    /// written. A kernel launched [`early`](Self::early) must wait as that says.
    pub unsafe fn submit(mut self) -> Result<()> {
        if let Some(refusal) = self.refusal.take() {
            return Err(refusal.into());
        }
        let sizes = &self.sizes[..self.given];
        expect_shape(
            sizes == &*self.kernel.parameters,
            self.kernel.name,
            format_args!("parameters of {:?} bytes", self.kernel.parameters),
            format_args!("arguments of {sizes:?} bytes"),
        )?;
        let same_device = self.kernel.context.raw() == self.stream.context().raw();
        expect_shape(
            same_device,
            self.kernel.name,
            "a stream of its device",
            "another",
        )?;
        self.stream.enter()?;
        tracing::trace!(
            stream = self.stream.id(),
            kernel = self.kernel.name,
            "launch"
        );
        let mut pointers = pointers(&mut self.words);
        let Geometry {
            grid: [gx, gy, gz],
            block: [bx, by, bz],
            shared,
            cooperative,
        } = self.geometry;
        let (function, stream) = (self.kernel.raw, self.stream.raw());
        let mut attribute = attribute(cooperative);
        let config = sys::CUlaunchConfig {
            gridDimX: gx,
            gridDimY: gy,
            gridDimZ: gz,
            blockDimX: bx,
            blockDimY: by,
            blockDimZ: bz,
            sharedMemBytes: shared,
            hStream: stream,
            attrs: &raw mut attribute,
            numAttrs: (cooperative || self.early).into(),
        };
        // SAFETY: function and stream live; the driver reads each argument before it returns, with
        // the sizes checked above; memory stays until the kernel has ended, by the order of frees.
        // What the kernel does with it the caller promises.
        let status = unsafe {
            sys::cuLaunchKernelEx(
                &raw const config,
                function,
                pointers.as_mut_ptr(),
                std::ptr::null_mut(),
            )
        };
        self.stream.check("cuLaunchKernelEx", status)?;
        self.stream.submitted(self.kept);
        Ok(())
    }

    fn pointer(&mut self, home: &Stream, address: u64, kept: impl FnOnce() -> Kept) {
        if let Err(refusal) = self.stream.owns(self.kernel.name, home) {
            self.refusal.get_or_insert(refusal);
        }
        if self.capturing {
            self.kept.push(kept());
        }
        self.push(address, size_of::<u64>());
    }

    fn push(&mut self, word: u64, bytes: usize) {
        if self.given == MOST {
            self.refusal.get_or_insert(Refusal::Shape {
                what: self.kernel.name.to_owned(),
                expected: format!("at most {MOST} arguments"),
                found: "more".to_owned(),
            });
            return;
        }
        self.words[self.given] = word;
        self.sizes[self.given] = bytes;
        self.given += 1;
    }
}

/// The addresses of the arguments, as the driver takes them.
fn pointers(words: &mut [u64; MOST]) -> [*mut c_void; MOST] {
    words.each_mut().map(|word| std::ptr::from_mut(word).cast())
}

/// Of a cooperative launch that it is one; of any other that it may begin early.
fn attribute(cooperative: bool) -> sys::CUlaunchAttribute {
    // SAFETY: of plain numbers, which all may be zero.
    let mut attribute: sys::CUlaunchAttribute = unsafe { std::mem::zeroed() };
    attribute.id = match cooperative {
        true => sys::CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_COOPERATIVE,
        false => sys::CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION,
    };
    match cooperative {
        true => attribute.value.cooperative = 1,
        false => attribute.value.programmaticStreamSerializationAllowed = 1,
    }
    attribute
}

#[cfg(test)]
mod host_only {
    use super::*;

    #[test]
    fn each_argument_is_read_through_its_address_with_its_size() {
        let mut words = [0; MOST];
        (words[0], words[1]) = (2.5_f64.word(), (-7_i32).word());
        words[MOST - 1] = u64::MAX;
        let pointers = pointers(&mut words);
        // SAFETY: the words live, and each holds the number that is read of it.
        unsafe {
            assert_eq!(pointers[0].cast::<f64>().read(), 2.5);
            assert_eq!(pointers[1].cast::<[u8; 4]>().read(), (-7_i32).to_ne_bytes());
            assert_eq!(pointers[MOST - 1].cast::<u64>().read(), u64::MAX);
        }
    }

    #[test]
    fn attributes_are_one_number_in_a_zeroed_union() {
        for cooperative in [true, false] {
            let attribute = attribute(cooperative);
            // SAFETY: all fields of the union that are read were zeroed or written.
            let number = unsafe {
                match cooperative {
                    true => attribute.value.cooperative,
                    false => attribute.value.programmaticStreamSerializationAllowed,
                }
            };
            assert_eq!(number, 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_negative_number_keeps_its_own_bytes_only() {
        assert_eq!((-1i32).word(), 0xffff_ffff);
        assert_eq!((-1i64).word(), u64::MAX);
        assert_eq!(1f32.word(), 0x3f80_0000);
    }

    #[test]
    fn a_grid_covers_every_item() {
        assert_eq!(Geometry::one_thread_each(0, 128).grid[0], 1);
        assert_eq!(Geometry::one_thread_each(128, 128).grid[0], 1);
        assert_eq!(Geometry::one_thread_each(129, 128).grid[0], 2);
    }
}
