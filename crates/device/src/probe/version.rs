//! What each library answers for its version, and the oldest that serves.

use super::library::Opened;
use crate::Absence;
use std::ffi::{c_char, c_int};

/// A version as major, minor, patch; ordered.
pub(crate) type Version = [u32; 3];

/// The oldest versions that serve. The bindings call a driver's symbols by the names that 12.8
/// introduced; the record layouts that the witness reads are those of CUPTI 13.
pub(crate) mod oldest {
    use super::Version;
    pub(crate) const DRIVER: Version = [12, 8, 0];
    pub(crate) const CUBLAS: Version = [12, 0, 0];
    pub(crate) const CUSOLVER: Version = [11, 4, 0];
    pub(crate) const NVRTC: Version = [12, 4, 0];
    pub(crate) const CUPTI: Version = [13, 0, 0];
    pub(crate) const NCCL: Version = [2, 18, 0];
}

/// Writes a version without trailing zero parts beyond the minor.
pub(crate) fn display(version: Version) -> String {
    match version {
        [major, minor, 0] => format!("{major}.{minor}"),
        [major, minor, patch] => format!("{major}.{minor}.{patch}"),
    }
}

fn answered(library: &Opened, call: &str, status: c_int) -> Result<(), Absence> {
    if status == 0 {
        return Ok(());
    }
    Err(Absence::Start {
        library: library.name.to_owned(),
        call: call.to_owned(),
        status: status.into(),
    })
}

type OneNumber = unsafe extern "C" fn(*mut c_int) -> c_int;

fn one_number(library: &Opened, call: &str) -> Result<u32, Absence> {
    let mut number: c_int = 0;
    // SAFETY: every symbol named below has the C type `int f(int *)`, and `number` outlives the
    // call.
    let status = unsafe { library.symbol::<OneNumber>(call)?(&mut number) };
    answered(library, call, status)?;
    Ok(number.unsigned_abs())
}

/// `1000 major + 10 minor`.
pub(crate) fn driver(library: &Opened) -> Result<Version, Absence> {
    let n = one_number(library, "cuDriverGetVersion")?;
    Ok([n / 1000, n % 1000 / 10, n % 10])
}

/// `10000 major + 100 minor + patch` since 2.9.
pub(crate) fn nccl(library: &Opened) -> Result<Version, Absence> {
    let n = one_number(library, "ncclGetVersion")?;
    Ok([n / 10_000, n % 10_000 / 100, n % 100])
}

/// `10000 major + 100 minor + patch` since CUPTI follows the toolkit's numbers; a plain counter of
/// revisions below 100 before that.
pub(crate) fn cupti(library: &Opened) -> Result<Version, Absence> {
    let n = one_number(library, "cuptiGetVersion")?;
    Ok([n / 10_000, n % 10_000 / 100, n % 100])
}

/// Major and minor.
pub(crate) fn nvrtc(library: &Opened) -> Result<Version, Absence> {
    type TwoNumbers = unsafe extern "C" fn(*mut c_int, *mut c_int) -> c_int;
    let (mut major, mut minor) = (0, 0);
    // SAFETY: `nvrtcVersion` is `int f(int *, int *)`, and both numbers outlive the call.
    let status = unsafe { library.symbol::<TwoNumbers>("nvrtcVersion")?(&mut major, &mut minor) };
    answered(library, "nvrtcVersion", status)?;
    Ok([major.unsigned_abs(), minor.unsigned_abs(), 0])
}

/// Asks `call` for the properties 0 (major), 1 (minor) and 2 (patch).
pub(crate) fn property(library: &Opened, call: &str) -> Result<Version, Absence> {
    type Property = unsafe extern "C" fn(c_int, *mut c_int) -> c_int;
    let mut version = [0; 3];
    // SAFETY: `cublasGetProperty` and `cusolverGetProperty` are `int f(int, int *)`.
    let call_it = unsafe { library.symbol::<Property>(call) }?;
    for (which, part) in (0..).zip(&mut version) {
        let mut number = 0;
        // SAFETY: the number outlives the call.
        answered(library, call, unsafe { call_it(which, &mut number) })?;
        *part = number.unsigned_abs();
    }
    Ok(version)
}

/// The management library's own version, as it writes it (`13.580.159.04`).
pub(crate) fn nvml(library: &Opened) -> Result<String, Absence> {
    type Plain = unsafe extern "C" fn() -> c_int;
    type Text = unsafe extern "C" fn(*mut c_char, u32) -> c_int;
    let mut text = [0u8; 96];
    // SAFETY: `nvmlInit_v2` takes nothing; the version call writes at most the length given, with
    // its terminator; each `nvmlInit_v2` is paired with one `nvmlShutdown`.
    let status = unsafe {
        answered(
            library,
            "nvmlInit_v2",
            library.symbol::<Plain>("nvmlInit_v2")?(),
        )?;
        let status = library.symbol::<Text>("nvmlSystemGetNVMLVersion")?(
            text.as_mut_ptr().cast(),
            text.len() as u32 - 1,
        );
        library.symbol::<Plain>("nvmlShutdown")?();
        status
    };
    answered(library, "nvmlSystemGetNVMLVersion", status)?;
    Ok(crate::text::until_nul(&text))
}
