//! Kernels: CUDA text, compiled for the exact architecture at run time and kept on disk.
//!
//! ```text
//! declarations + text = KernelSource --NVRTC--> cubin --disk cache--> Module --entry--> Kernel --arguments--> Launch
//! ```
//! A source is one `.cu` file that includes at most `early.cuh`, which is here. Its entries are launched by typed Rust functions
//! that stand beside it: they are the one place where an entry's name is a string, and the launch
//! refuses arguments whose sizes are not those that the compiled kernel takes.

mod cache;
mod check;
mod compile;
pub(crate) mod conditions;
mod declaration;
mod launch;
mod module;
pub(crate) mod pointers;

pub use cache::cache_folder;
pub(crate) use cache::write_beside;
pub use check::{Checked, compile_check};
pub use compile::compiler_version;
pub use declaration::Declaration;
pub use launch::{Geometry, Launch, Scalar};
pub use module::{Kernel, Module};

use sha2::{Digest, Sha256};

/// What a source may include, under the name `early.cuh`.
const EARLY: &str = include_str!("early.cuh");

/// A family of kernels: one `.cu` file.
#[derive(Clone, Copy, Debug)]
pub struct KernelSource {
    /// What the compiler calls the file in its messages.
    pub name: &'static str,
    /// CUDA C++ that includes nothing but `early.cuh`.
    pub text: &'static str,
    /// Records and constants of Rust's that the text uses: [`declares!`](crate::declares!).
    pub declares: &'static [Declaration],
    /// The `extern "C" __global__` functions in it.
    pub entries: &'static [&'static str],
    /// Further options of the compiler, as `--fmad=false`.
    pub options: &'static [&'static str],
}

impl KernelSource {
    /// Tells sources apart within a process, without reading them.
    pub(crate) fn identity(&self) -> [usize; 7] {
        let (text, declares, options) = (self.text, self.declares, self.options);
        [
            text.as_ptr().addr(),
            text.len(),
            declares.as_ptr().addr(),
            declares.len(),
            options.as_ptr().addr(),
            options.len(),
            self.entries.as_ptr().addr(),
        ]
    }

    /// What the compiler is given: the declarations, and after them the text, whose lines keep their
    /// numbers in messages.
    pub fn assembled(&self) -> String {
        match self.declares {
            [] => self.text.to_owned(),
            declares => format!("{}#line 1\n{}", declaration::text(declares), self.text),
        }
    }

    /// Tells sources apart: by name, assembled text, what it may include, and options.
    pub(crate) fn digest(&self) -> [u8; 32] {
        let (mut hash, text) = (Sha256::new(), self.assembled());
        for part in [&[self.name, &text, EARLY], self.options].concat() {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        }
        hash.finalize().into()
    }
}

/// The sources of this crate. A crate with kernels of its own has a list like this one;
/// [`compile_check`] takes any.
pub fn sources() -> &'static [&'static KernelSource] {
    &[
        &pointers::SOURCE,
        &conditions::SOURCE,
        &crate::linalg::inverse::SOURCE,
        &crate::measure::SOURCE,
    ]
}
