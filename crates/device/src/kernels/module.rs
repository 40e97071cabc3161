//! Compiled kernels, loaded on one device.

use super::KernelSource;
use super::cache;
use crate::fault::{Fault, Refusal, Result};
use crate::{Context, DeviceError};
use cudarc::driver::sys;
use std::ffi::CString;
use std::ptr::null_mut;
use std::sync::Arc;

/// The kernels of one source on one device. Stays loaded as long as the process lives.
pub struct Module {
    name: &'static str,
    kernels: Vec<Kernel>,
}

/// One kernel on one device.
#[derive(Clone)]
pub struct Kernel {
    pub(super) name: &'static str,
    pub(super) raw: sys::CUfunction,
    /// Bytes of each parameter, as the compiled kernel takes them.
    pub(super) parameters: Arc<[usize]>,
    pub(super) context: Context,
}

// SAFETY: a loaded function is a plain handle that the driver reads; it is never unloaded.
unsafe impl Send for Kernel {}
// SAFETY: as above.
unsafe impl Sync for Kernel {}

impl Module {
    /// Compiles (or takes from the cache) and loads. The context was entered.
    pub(crate) fn load(context: &Context, source: &KernelSource) -> Result<Self> {
        let architecture = context.info().architecture();
        let _span = tracing::debug_span!("load", source = source.name, %architecture).entered();
        let code = cache::cubin(source, &architecture)?;
        let mut raw = null_mut();
        // SAFETY: the code is whole; the driver copies it. The module is never unloaded, so its
        // functions live as long as the process.
        let status = unsafe { sys::cuModuleLoadData(&mut raw, code.as_ptr().cast()) };
        if status == sys::CUresult::CUDA_ERROR_NO_BINARY_FOR_GPU {
            return Err(Fault::UnsupportedArchitecture {
                found: architecture,
                why: format!("the driver finds no code for it in {}", source.name),
            }
            .into());
        }
        context.check("cuModuleLoadData", status)?;
        let kernels = source
            .entries
            .iter()
            .map(|name| Kernel::find(context, raw, name))
            .collect::<Result<_>>()?;
        Ok(Self {
            name: source.name,
            kernels,
        })
    }

    /// The entry `name`.
    ///
    /// # Errors
    /// A [`Refusal`] where the source lists no such entry.
    pub fn kernel(&self, name: &str) -> std::result::Result<&Kernel, DeviceError> {
        self.kernels.iter().find(|k| k.name == name).ok_or_else(|| {
            let listed: Vec<_> = self.kernels.iter().map(|k| k.name).collect();
            Refusal::Shape {
                what: format!("kernel of {}", self.name),
                expected: listed.join(" or "),
                found: name.to_owned(),
            }
            .into()
        })
    }
}

impl Kernel {
    fn find(context: &Context, module: sys::CUmodule, name: &'static str) -> Result<Self> {
        let text = CString::new(name).map_err(|_| Fault::Library {
            call: "cuModuleGetFunction".to_owned(),
            status: format!("{name:?} holds a NUL byte"),
        })?;
        let mut raw = null_mut();
        // SAFETY: the module lives; the name is terminated.
        context.check("cuModuleGetFunction", unsafe {
            sys::cuModuleGetFunction(&mut raw, module, text.as_ptr())
        })?;
        let mut parameters = Vec::new();
        loop {
            let (mut offset, mut bytes) = (0, 0);
            // SAFETY: the function lives, and both numbers outlive the call.
            let status =
                unsafe { sys::cuFuncGetParamInfo(raw, parameters.len(), &mut offset, &mut bytes) };
            if status == sys::CUresult::CUDA_ERROR_INVALID_VALUE {
                break;
            }
            context.check("cuFuncGetParamInfo", status)?;
            parameters.push(bytes);
        }
        Ok(Self {
            name,
            raw,
            parameters: parameters.into(),
            context: context.clone(),
        })
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Lets blocks of this kernel take up to `bytes` of dynamic shared memory; more than 48 KiB
    /// needs this once.
    ///
    /// # Errors
    /// A [`Fault`] where the device has less.
    pub fn allow_shared(&self, bytes: u32) -> Result<()> {
        self.context.enter()?;
        let what = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        // SAFETY: the function lives.
        self.context.check("cuFuncSetAttribute", unsafe {
            sys::cuFuncSetAttribute(self.raw, what, bytes as i32)
        })?;
        Ok(())
    }

    /// How many blocks of `threads` threads and `shared` dynamic bytes one multiprocessor holds at
    /// once: what a grid that waits for itself may use.
    ///
    /// # Errors
    /// A [`Fault`].
    pub fn blocks_per_multiprocessor(&self, threads: u32, shared: u32) -> Result<u32> {
        self.context.enter()?;
        let mut blocks = 0;
        // SAFETY: the function lives, and the number outlives the call.
        let status = unsafe {
            sys::cuOccupancyMaxActiveBlocksPerMultiprocessor(
                &mut blocks,
                self.raw,
                threads as i32,
                shared as usize,
            )
        };
        let call = "cuOccupancyMaxActiveBlocksPerMultiprocessor";
        self.context.check(call, status)?;
        Ok(blocks.unsigned_abs())
    }
}
