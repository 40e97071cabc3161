//! Every symbol that this crate calls, by library.
//!
//! A binding panics on a missing symbol, so each is looked for by name before anything is called.
//! A test reads this crate's sources and fails where a call is missing here.

/// The CUDA driver.
pub(crate) const DRIVER: &[&str] = &[
    "cuInit",
    "cuDriverGetVersion",
    "cuDeviceGetCount",
    "cuDeviceGet",
    "cuDeviceGetName",
    "cuDeviceGetAttribute",
    "cuDeviceTotalMem_v2",
];

/// cuBLAS.
pub(crate) const CUBLAS: &[&str] = &["cublasGetProperty"];

/// cuSOLVER, dense.
pub(crate) const CUSOLVER: &[&str] = &["cusolverGetProperty"];

/// The run-time compiler.
pub(crate) const NVRTC: &[&str] = &["nvrtcVersion"];

/// The management library.
pub(crate) const NVML: &[&str] = &[
    "nvmlInit_v2",
    "nvmlShutdown",
    "nvmlSystemGetNVMLVersion",
    "nvmlSystemGetDriverVersion",
];

/// Collectives; found, not called yet.
pub(crate) const NCCL: &[&str] = &["ncclGetVersion"];

/// Activity records.
pub(crate) const CUPTI: &[&str] = &["cuptiGetVersion"];
