//! The management library: memory, clocks, throttle reasons, power, beside a measurement.
//!
//! A reading never changes a setting. What a device does not support is absent in it. The list of
//! processes may be empty even while this process works (in a container or a virtual machine), so
//! nothing here depends on it.

use crate::probe::{Opened, Part};
use crate::{Absence, Context, DeviceError, Fault, Result};
use serde::{Deserialize, Serialize};
use std::ffi::{CString, c_char, c_int, c_void};

/// What the management library answers for one device at one instant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// The driver's version, as `580.159.04`.
    pub driver: String,
    /// Bytes of device memory in use, by any process; absent where not supported.
    pub memory_used: Option<u64>,
    /// Bytes of device memory; absent where not supported.
    pub memory_total: Option<u64>,
    /// Multiprocessor clock in MHz; absent where not supported.
    pub sm_clock_mhz: Option<u32>,
    /// Memory clock in MHz; absent where not supported.
    pub memory_clock_mhz: Option<u32>,
    /// Why the clocks are what they are; absent where not supported.
    pub clock_reasons: Option<ClockReasons>,
    /// Power drawn in watts; absent where not supported.
    pub power_watts: Option<f64>,
    /// Temperature in degrees Celsius; absent where not supported.
    pub temperature_celsius: Option<u32>,
    /// How many compute processes are listed, possibly none; absent where not supported.
    pub processes: Option<u32>,
}

/// A set of reasons for the present clocks, as the library's bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockReasons(pub u64);

/// The reasons by bit: name, and whether the device runs slower than asked because of it.
const REASONS: [(u64, &str, bool); 9] = [
    (0x001, "idle", false),
    (0x002, "application clocks", false),
    (0x004, "power cap", true),
    (0x008, "hardware slowdown", true),
    (0x010, "sync boost", false),
    (0x020, "thermal limit (software)", true),
    (0x040, "thermal limit (hardware)", true),
    (0x080, "power brake", true),
    (0x100, "display clocks", false),
];

impl ClockReasons {
    /// The reasons by name.
    pub fn names(self) -> Vec<&'static str> {
        let set = REASONS.iter().filter(|(bit, ..)| self.0 & bit != 0);
        set.map(|&(_, name, _)| name).collect()
    }

    /// Whether the device runs slower than it was asked to: no number taken then counts.
    pub fn is_throttled(self) -> bool {
        REASONS
            .iter()
            .any(|&(bit, _, slow)| slow && self.0 & bit != 0)
    }
}

type Device = *mut c_void;

/// The management library, started; stopped with this value.
pub struct Nvml {
    library: &'static Opened,
    device: Device,
}

// SAFETY: the library may be called from any thread; the device is its own handle.
unsafe impl Send for Nvml {}

/// The library's statuses that mean "not on this device".
const NOT_SUPPORTED: c_int = 3;
const NO_PERMISSION: c_int = 4;
/// The library's status for "the list is longer than the room for it".
const INSUFFICIENT_SIZE: c_int = 7;

impl Nvml {
    /// Starts the library for the device of `context`.
    ///
    /// # Errors
    /// An [`Absence`] of the library, a [`Fault`] where it does not know the device.
    pub fn start(context: &Context) -> Result<Self> {
        Part::Nvml.require()?;
        let library = Part::Nvml.open()?;
        let bus_id = CString::new(context.bus_id()?).map_err(|e| Fault::Library {
            call: "cuDeviceGetPCIBusId".to_owned(),
            status: e.to_string(),
        })?;
        let mut nvml = Self {
            library,
            device: std::ptr::null_mut(),
        };
        // SAFETY: the C types of both symbols as the library's header declares them.
        unsafe {
            type Init = unsafe extern "C" fn() -> c_int;
            type ByBus = unsafe extern "C" fn(*const c_char, *mut Device) -> c_int;
            let init: Init = library.symbol("nvmlInit_v2")?;
            // Before this succeeds nothing must be stopped.
            let status = init();
            if status != 0 {
                std::mem::forget(nvml);
                return Err(Absence::Start {
                    library: "NVML".to_owned(),
                    call: "nvmlInit_v2".to_owned(),
                    status: status.into(),
                }
                .into());
            }
            let by_bus: ByBus = library.symbol("nvmlDeviceGetHandleByPciBusId_v2")?;
            let status = by_bus(bus_id.as_ptr(), &mut nvml.device);
            answer("nvmlDeviceGetHandleByPciBusId_v2", status)?;
        }
        Ok(nvml)
    }

    /// Reads everything once. Takes about a millisecond.
    ///
    /// # Errors
    /// A [`Fault`] of any status but "not supported".
    pub fn read(&self) -> Result<Reading> {
        let memory = self.memory()?;
        Ok(Reading {
            driver: self.driver_version()?,
            memory_used: memory.map(|m| m.used),
            memory_total: memory.map(|m| m.total),
            sm_clock_mhz: self.clock(SM_CLOCK)?,
            memory_clock_mhz: self.clock(MEMORY_CLOCK)?,
            clock_reasons: self
                .number::<u64>("nvmlDeviceGetCurrentClocksThrottleReasons")?
                .map(ClockReasons),
            power_watts: self
                .number::<u32>("nvmlDeviceGetPowerUsage")?
                .map(|milliwatts| f64::from(milliwatts) * 1e-3),
            temperature_celsius: self.temperature()?,
            processes: self.processes()?,
        })
    }

    fn driver_version(&self) -> Result<String> {
        type Text = unsafe extern "C" fn(*mut c_char, u32) -> c_int;
        let mut text = [0u8; 96];
        // SAFETY: the call writes at most the length given, with its terminator.
        let status = unsafe {
            let call: Text = self.library.symbol("nvmlSystemGetDriverVersion")?;
            call(text.as_mut_ptr().cast(), text.len() as u32 - 1)
        };
        answer("nvmlSystemGetDriverVersion", status)?;
        Ok(crate::text::until_nul(&text))
    }

    fn memory(&self) -> Result<Option<MemoryInfo>> {
        type Call = unsafe extern "C" fn(Device, *mut MemoryInfo) -> c_int;
        let name = "nvmlDeviceGetMemoryInfo";
        let mut info = MemoryInfo::default();
        // SAFETY: the struct is the header's, and outlives the call.
        let status = unsafe { self.library.symbol::<Call>(name)?(self.device, &mut info) };
        supported(name, status, info)
    }

    fn clock(&self, which: c_int) -> Result<Option<u32>> {
        self.of_kind("nvmlDeviceGetClockInfo", which)
    }

    fn temperature(&self) -> Result<Option<u32>> {
        self.of_kind("nvmlDeviceGetTemperature", 0)
    }

    fn of_kind(&self, name: &str, kind: c_int) -> Result<Option<u32>> {
        type Call = unsafe extern "C" fn(Device, c_int, *mut u32) -> c_int;
        let mut value = 0;
        // SAFETY: both symbols called this way have that C type; the number outlives the call.
        let status = unsafe { self.library.symbol::<Call>(name)?(self.device, kind, &mut value) };
        supported(name, status, value)
    }

    fn number<T: Copy + Default>(&self, name: &str) -> Result<Option<T>> {
        type Call<T> = unsafe extern "C" fn(Device, *mut T) -> c_int;
        let mut value = T::default();
        // SAFETY: the two symbols called this way write one number of the size given at the call.
        let status = unsafe { self.library.symbol::<Call<T>>(name)?(self.device, &mut value) };
        supported(name, status, value)
    }

    /// Without room for a list the library answers how long it is.
    fn processes(&self) -> Result<Option<u32>> {
        type Call = unsafe extern "C" fn(Device, *mut u32, *mut c_void) -> c_int;
        let name = "nvmlDeviceGetComputeRunningProcesses_v3";
        let mut count = 0;
        // SAFETY: with a count of 0 nothing is written to the list.
        let status = unsafe {
            let list = std::ptr::null_mut();
            self.library.symbol::<Call>(name)?(self.device, &mut count, list)
        };
        match status {
            INSUFFICIENT_SIZE => Ok(Some(count)),
            status => supported(name, status, count),
        }
    }
}

impl Drop for Nvml {
    fn drop(&mut self) {
        type Plain = unsafe extern "C" fn() -> c_int;
        // SAFETY: pairs with the `nvmlInit_v2` of `start`.
        if let Ok(shutdown) = unsafe { self.library.symbol::<Plain>("nvmlShutdown") } {
            // SAFETY: takes nothing.
            unsafe { shutdown() };
        }
    }
}

const SM_CLOCK: c_int = 1;
const MEMORY_CLOCK: c_int = 2;

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct MemoryInfo {
    total: u64,
    free: u64,
    used: u64,
}

fn answer(call: &str, status: c_int) -> std::result::Result<(), DeviceError> {
    if status == 0 {
        return Ok(());
    }
    Err(Fault::Library {
        call: call.to_owned(),
        status: format!("NVML status {status}"),
    }
    .into())
}

fn supported<T>(call: &str, status: c_int, value: T) -> Result<Option<T>> {
    match status {
        NOT_SUPPORTED | NO_PERMISSION => Ok(None),
        status => answer(call, status).map(|()| Some(value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_is_a_reason_and_no_throttle() {
        assert_eq!(ClockReasons(1).names(), ["idle"]);
        assert!(!ClockReasons(1).is_throttled() && !ClockReasons(0).is_throttled());
    }

    #[test]
    fn a_power_cap_and_each_thermal_limit_throttle() {
        for bit in [0x04, 0x08, 0x20, 0x40, 0x80] {
            assert!(ClockReasons(bit | 1).is_throttled(), "{bit:#x}");
        }
        assert_eq!(ClockReasons(0x24).names().len(), 2);
    }
}
