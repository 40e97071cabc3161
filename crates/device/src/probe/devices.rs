//! The devices that the driver lists, asked without making a context.

use super::library::Opened;
use crate::Absence;
use serde::{Deserialize, Serialize};
use std::ffi::{c_char, c_int};

/// One device, as the driver describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceInfo {
    /// Its number in the driver's list.
    pub ordinal: usize,
    /// Its model name.
    pub name: String,
    /// Compute capability, major and minor.
    pub compute_capability: (u32, u32),
    /// Multiprocessors.
    pub multiprocessors: u32,
    /// Bytes of device memory.
    pub memory_bytes: u64,
    /// Bytes of the second-level cache.
    pub l2_bytes: u64,
    /// The most bytes of shared memory that one block may opt in to.
    pub shared_bytes_per_block: u64,
    /// The highest multiprocessor clock, in kHz.
    pub clock_khz: u64,
}

impl DeviceInfo {
    /// The architecture that kernels are compiled for, as `sm_90`.
    pub fn architecture(&self) -> String {
        let (major, minor) = self.compute_capability;
        format!("sm_{major}{minor}")
    }
}

impl std::fmt::Display for DeviceInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}: {} ({}, {} multiprocessors, {:.1} GiB, L2 {} MiB)",
            self.ordinal,
            self.name,
            self.architecture(),
            self.multiprocessors,
            self.memory_bytes as f64 / (1u64 << 30) as f64,
            self.l2_bytes >> 20,
        )
    }
}

/// Starts the driver and lists its devices.
///
/// # Errors
/// [`Absence::NoDevice`] where it lists none, [`Absence::Start`] where it does not start.
pub(crate) fn list(driver: &Opened) -> Result<Vec<DeviceInfo>, Absence> {
    let calls = Calls::of(driver)?;
    calls.init()?;
    let count = calls.count()?;
    if count == 0 {
        return Err(Absence::NoDevice);
    }
    (0..count).map(|ordinal| calls.describe(ordinal)).collect()
}

/// `CUDA_ERROR_NO_DEVICE`.
const NO_DEVICE: c_int = 100;

struct Calls {
    init: unsafe extern "C" fn(u32) -> c_int,
    count: unsafe extern "C" fn(*mut c_int) -> c_int,
    get: unsafe extern "C" fn(*mut c_int, c_int) -> c_int,
    name: unsafe extern "C" fn(*mut c_char, c_int, c_int) -> c_int,
    attribute: unsafe extern "C" fn(*mut c_int, c_int, c_int) -> c_int,
    memory: unsafe extern "C" fn(*mut usize, c_int) -> c_int,
}

fn answered(call: &str, status: c_int) -> Result<(), Absence> {
    match status {
        0 => Ok(()),
        NO_DEVICE => Err(Absence::NoDevice),
        _ => Err(Absence::Start {
            library: "driver".to_owned(),
            call: call.to_owned(),
            status: status.into(),
        }),
    }
}

impl Calls {
    fn of(driver: &Opened) -> Result<Self, Absence> {
        // SAFETY: the C types of the six symbols, as the driver's header declares them; the driver
        // is never closed.
        unsafe {
            Ok(Self {
                init: driver.symbol("cuInit")?,
                count: driver.symbol("cuDeviceGetCount")?,
                get: driver.symbol("cuDeviceGet")?,
                name: driver.symbol("cuDeviceGetName")?,
                attribute: driver.symbol("cuDeviceGetAttribute")?,
                memory: driver.symbol("cuDeviceTotalMem_v2")?,
            })
        }
    }

    fn init(&self) -> Result<(), Absence> {
        // SAFETY: takes a number, and may be called more than once.
        answered("cuInit", unsafe { (self.init)(0) })
    }

    fn count(&self) -> Result<usize, Absence> {
        let mut count = 0;
        // SAFETY: the number outlives the call.
        answered("cuDeviceGetCount", unsafe { (self.count)(&mut count) })?;
        Ok(count.unsigned_abs() as usize)
    }

    fn describe(&self, ordinal: usize) -> Result<DeviceInfo, Absence> {
        let (mut device, mut memory, mut name) = (0, 0usize, [0u8; 256]);
        // SAFETY: all three outlive the calls; the name is written within the length given.
        unsafe {
            answered("cuDeviceGet", (self.get)(&mut device, ordinal as c_int))?;
            let length = name.len() as c_int - 1;
            answered(
                "cuDeviceGetName",
                (self.name)(name.as_mut_ptr().cast(), length, device),
            )?;
            answered("cuDeviceTotalMem_v2", (self.memory)(&mut memory, device))?;
        }
        let attribute = |which| -> Result<u64, Absence> {
            let mut value = 0;
            // SAFETY: the number outlives the call.
            let status = unsafe { (self.attribute)(&mut value, which, device) };
            answered("cuDeviceGetAttribute", status)?;
            Ok(value.unsigned_abs().into())
        };
        use cudarc::driver::sys::CUdevice_attribute_enum as A;
        Ok(DeviceInfo {
            ordinal,
            name: crate::text::until_nul(&name),
            compute_capability: (
                attribute(A::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR as c_int)? as u32,
                attribute(A::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR as c_int)? as u32,
            ),
            multiprocessors: attribute(A::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT as c_int)?
                as u32,
            memory_bytes: memory as u64,
            l2_bytes: attribute(A::CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE as c_int)?,
            shared_bytes_per_block: attribute(
                A::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN as c_int,
            )?,
            clock_khz: attribute(A::CU_DEVICE_ATTRIBUTE_CLOCK_RATE as c_int)?,
        })
    }
}
