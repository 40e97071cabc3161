//! One primary context a device, made first and kept for as long as the process lives.
//!
//! A context is *alive* until a call answers one of the statuses after which the driver refuses
//! everything (an illegal address in a kernel, a failed launch, uncorrectable memory). From then on
//! it is lost: the first such answer is kept, and every later call on any handle of this context
//! returns it without reaching the driver. Nothing is freed then, for there is nothing to free.

use super::handles::HandlePool;
use super::staging::StagingPool;
use super::uploader::PiecePool;
use crate::fault::{Fault, Refusal, Result};
use crate::kernels::{KernelSource, Module};
use crate::probe::{self, DeviceInfo};
use crate::{Absence, Ledger, Stream};
use cudarc::driver::sys::{self, CUresult};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// The oldest compute capability that the kernels are written for.
const OLDEST_ARCHITECTURE: (u32, u32) = (8, 0);

/// What a single call answers.
pub(crate) type Answer = std::result::Result<(), Fault>;

/// A device in use. Clones share it.
#[derive(Clone)]
pub struct Context(Arc<Inner>);

struct Inner {
    info: DeviceInfo,
    device: sys::CUdevice,
    raw: sys::CUcontext,
    pool: sys::CUmemoryPool,
    lost: OnceLock<Fault>,
    streams: AtomicU64,
    modules: Mutex<BTreeMap<[usize; 7], Arc<Module>>>,
    handles: HandlePool,
    /// Idle ones hold the context, which lives as long as the process anyway.
    stagings: StagingPool,
    /// Likewise.
    pieces: PiecePool,
}

// SAFETY: a driver context may be used from any thread that makes it current, which every call
// here does first; the memory pool and the device are plain handles of the driver, which locks.
unsafe impl Send for Inner {}
// SAFETY: as above.
unsafe impl Sync for Inner {}

/// Device memory, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Memory {
    /// What an allocation may take: free in the driver's eyes, or held by the pool and unused.
    pub free: u64,
    /// All of it.
    pub total: u64,
    /// What the pool holds, used or not.
    pub pool_reserved: u64,
    /// What live buffers of this process use.
    pub pool_used: u64,
}

impl Context {
    /// The device `ordinal` of the driver's list. The first call makes its context.
    ///
    /// # Errors
    /// An [`Absence`] where device work cannot run or the device is not listed;
    /// [`Fault::UnsupportedArchitecture`]; [`Fault::DeviceLost`] where it was lost earlier.
    pub fn open(ordinal: usize) -> Result<Self> {
        static OPEN: Mutex<BTreeMap<usize, Context>> = Mutex::new(BTreeMap::new());
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(context) = open.get(&ordinal) {
            context.alive()?;
            return Ok(context.clone());
        }
        let context = Self::make(ordinal)?;
        open.insert(ordinal, context.clone());
        Ok(context)
    }

    fn make(ordinal: usize) -> Result<Self> {
        let devices = &probe::cuda()?.devices;
        let info = devices.get(ordinal).ok_or(Absence::Ordinal {
            asked: ordinal,
            listed: devices.len(),
        })?;
        if info.compute_capability < OLDEST_ARCHITECTURE {
            let (major, minor) = OLDEST_ARCHITECTURE;
            return Err(Fault::UnsupportedArchitecture {
                found: info.architecture(),
                why: format!("the kernels need sm_{major}{minor} or newer"),
            }
            .into());
        }
        let (mut device, mut raw, mut pool) = (0, std::ptr::null_mut(), std::ptr::null_mut());
        // SAFETY: the probe found every symbol and started the driver; all results outlive the
        // calls. The context is retained once and never released, so it outlives every handle.
        unsafe {
            check("cuDeviceGet", sys::cuDeviceGet(&mut device, ordinal as i32))?;
            check(
                "cuDevicePrimaryCtxRetain",
                sys::cuDevicePrimaryCtxRetain(&mut raw, device),
            )?;
            check("cuCtxSetCurrent", sys::cuCtxSetCurrent(raw))?;
            check(
                "cuDeviceGetDefaultMemPool",
                sys::cuDeviceGetDefaultMemPool(&mut pool, device),
            )?;
            // Memory given back by a buffer stays with the pool: taking it from the driver again
            // costs a thousand times the allocation.
            let mut threshold = u64::MAX;
            check(
                "cuMemPoolSetAttribute",
                sys::cuMemPoolSetAttribute(
                    pool,
                    sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD,
                    (&raw mut threshold).cast(),
                ),
            )?;
        }
        tracing::info!(device = %info, "opened");
        let context = Self(Arc::new(Inner {
            info: info.clone(),
            device,
            raw,
            pool,
            lost: OnceLock::new(),
            streams: AtomicU64::new(0),
            modules: Mutex::default(),
            handles: HandlePool::default(),
            stagings: StagingPool::default(),
            pieces: PiecePool::default(),
        }));
        // Ready before the first transfer; one that finds none makes its own and says why not.
        match context.stagings().take(&context) {
            Ok(staging) => context.stagings().give_back(staging),
            Err(error) => tracing::warn!(%error, "no staging was made beforehand"),
        }
        Ok(context)
    }

    /// What the device is.
    pub fn info(&self) -> &DeviceInfo {
        &self.0.info
    }

    /// A new stream whose calls count into `ledger`.
    ///
    /// # Errors
    /// A [`Fault`].
    pub fn stream(&self, ledger: &Ledger) -> Result<Stream> {
        Stream::make(self, self.0.streams.fetch_add(1, Relaxed), ledger)
    }

    /// How much device memory there is.
    ///
    /// # Errors
    /// A [`Fault`].
    pub fn memory(&self) -> std::result::Result<Memory, Fault> {
        self.enter()?;
        let (mut free, mut total) = (0usize, 0usize);
        // SAFETY: both numbers outlive the call; `enter` made the context current.
        self.check("cuMemGetInfo_v2", unsafe {
            sys::cuMemGetInfo_v2(&mut free, &mut total)
        })?;
        let attribute = |which| -> std::result::Result<u64, Fault> {
            let mut value = 0u64;
            // SAFETY: these attributes are 64-bit counts, and the number outlives the call.
            self.check("cuMemPoolGetAttribute", unsafe {
                sys::cuMemPoolGetAttribute(self.0.pool, which, (&raw mut value).cast())
            })?;
            Ok(value)
        };
        use sys::CUmemPool_attribute as A;
        let pool_reserved = attribute(A::CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT)?;
        let pool_used = attribute(A::CU_MEMPOOL_ATTR_USED_MEM_CURRENT)?;
        Ok(Memory {
            free: free as u64 + pool_reserved.saturating_sub(pool_used),
            total: total as u64,
            pool_reserved,
            pool_used,
        })
    }

    /// Declines work that needs more memory than is free, before anything is allocated.
    ///
    /// # Errors
    /// [`Refusal::Memory`] with bytes needed and free; a [`Fault`].
    pub fn expect_free(&self, needed: u64, what_for: &str) -> Result<()> {
        let free = self.memory()?.free;
        if needed <= free {
            return Ok(());
        }
        Err(Refusal::Memory {
            needed,
            free,
            what_for: what_for.to_owned(),
        }
        .into())
    }

    /// Waits for all work on the device and gives the pool's unused memory back to the driver.
    ///
    /// # Errors
    /// A [`Fault`].
    pub fn trim(&self) -> Result<()> {
        self.enter()?;
        // SAFETY: `enter` made the context current; the pool is the device's own.
        unsafe {
            self.check("cuCtxSynchronize", sys::cuCtxSynchronize())?;
            self.check("cuMemPoolTrimTo", sys::cuMemPoolTrimTo(self.0.pool, 0))?;
        }
        Ok(())
    }

    /// The compiled kernels of `source` for this device: compiled once a machine, loaded once a
    /// process.
    ///
    /// # Errors
    /// [`Fault::Compile`] with the compiler's log, or another [`Fault`].
    pub fn module(&self, source: &KernelSource) -> Result<Arc<Module>> {
        self.enter()?;
        let key = source.identity();
        let mut modules = self
            .0
            .modules
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(module) = modules.get(&key) {
            return Ok(module.clone());
        }
        let module = Arc::new(Module::load(self, source)?);
        modules.insert(key, module.clone());
        Ok(module)
    }

    /// Whether the device can still be used.
    ///
    /// # Errors
    /// [`Fault::DeviceLost`] with the first failure.
    pub fn alive(&self) -> Answer {
        match self.0.lost.get() {
            None => Ok(()),
            Some(fault) => Err(fault.clone()),
        }
    }

    /// Makes the context current on this thread, where it is alive.
    pub(crate) fn enter(&self) -> Answer {
        self.alive()?;
        // SAFETY: the context is never released.
        self.check("cuCtxSetCurrent", unsafe {
            sys::cuCtxSetCurrent(self.0.raw)
        })
    }

    /// Turns a driver's answer into a result, and notes the loss of the device.
    pub(crate) fn check(&self, call: &str, status: CUresult) -> Answer {
        if status == CUresult::CUDA_SUCCESS {
            return Ok(());
        }
        if is_loss(status) {
            let fault = self.0.lost.get_or_init(|| {
                tracing::error!(call, ?status, "device lost");
                Fault::DeviceLost {
                    ordinal: self.0.info.ordinal,
                    call: call.to_owned(),
                    status: format!("{status:?}"),
                }
            });
            return Err(fault.clone());
        }
        check(call, status)
    }

    /// Like [`Self::check`] for a library's status, given as a number and a name. A library hides
    /// the driver's answer behind its own, so the driver is asked whether the device is lost.
    pub(crate) fn check_library(&self, call: &str, status: u32, name: String) -> Answer {
        if status == 0 {
            return Ok(());
        }
        self.alive()?;
        // SAFETY: takes nothing; waits for the current context, which the caller entered.
        let driver = unsafe { sys::cuCtxSynchronize() };
        if is_loss(driver) {
            return self.check("cuCtxSynchronize", driver);
        }
        Err(Fault::Library {
            call: call.to_owned(),
            status: name,
        })
    }

    pub(crate) fn raw(&self) -> sys::CUcontext {
        self.0.raw
    }

    /// The device's place on the bus, which the management library knows it by.
    pub(crate) fn bus_id(&self) -> std::result::Result<String, Fault> {
        let mut text = [0u8; 32];
        // SAFETY: the call writes at most the length given, with its terminator.
        self.check("cuDeviceGetPCIBusId", unsafe {
            let length = text.len() as i32 - 1;
            sys::cuDeviceGetPCIBusId(text.as_mut_ptr().cast(), length, self.0.device)
        })?;
        Ok(crate::text::until_nul(&text))
    }

    pub(crate) fn handles(&self) -> &HandlePool {
        &self.0.handles
    }

    pub(crate) fn stagings(&self) -> &StagingPool {
        &self.0.stagings
    }

    pub(crate) fn pieces(&self) -> &PiecePool {
        &self.0.pieces
    }
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Context({})", self.0.info)
    }
}

/// Turns a driver's answer into a result where no context is at hand.
fn check(call: &str, status: CUresult) -> Answer {
    use CUresult as S;
    let (call, name) = (call.to_owned(), format!("{status:?}"));
    match status {
        S::CUDA_SUCCESS => Ok(()),
        S::CUDA_ERROR_UNSUPPORTED_PTX_VERSION
        | S::CUDA_ERROR_SYSTEM_DRIVER_MISMATCH
        | S::CUDA_ERROR_CALL_REQUIRES_NEWER_DRIVER => Err(Fault::TooOld {
            library: "driver".to_owned(),
            call,
            status: name,
        }),
        _ => Err(Fault::Library { call, status: name }),
    }
}

/// The statuses after which the driver answers nothing else for this process.
fn is_loss(status: CUresult) -> bool {
    use CUresult as S;
    matches!(
        status,
        S::CUDA_ERROR_DEVICE_UNAVAILABLE
            | S::CUDA_ERROR_ECC_UNCORRECTABLE
            | S::CUDA_ERROR_NVLINK_UNCORRECTABLE
            | S::CUDA_ERROR_ILLEGAL_ADDRESS
            | S::CUDA_ERROR_LAUNCH_TIMEOUT
            | S::CUDA_ERROR_CONTEXT_IS_DESTROYED
            | S::CUDA_ERROR_ASSERT
            | S::CUDA_ERROR_HARDWARE_STACK_ERROR
            | S::CUDA_ERROR_ILLEGAL_INSTRUCTION
            | S::CUDA_ERROR_MISALIGNED_ADDRESS
            | S::CUDA_ERROR_INVALID_ADDRESS_SPACE
            | S::CUDA_ERROR_INVALID_PC
            | S::CUDA_ERROR_LAUNCH_FAILED
    )
}
