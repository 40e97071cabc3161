//! Every symbol that this crate calls, by library.
//!
//! A binding panics on a missing symbol, so each is looked for by name before anything is called.
//! A test reads this crate's sources and fails where a call is missing here.

/// The CUDA driver.
pub(crate) const DRIVER: &[&str] = &[
    "cuCtxSetCurrent",
    "cuCtxSynchronize",
    "cuDeviceGet",
    "cuDeviceGetAttribute",
    "cuDeviceGetCount",
    "cuDeviceGetDefaultMemPool",
    "cuDeviceGetName",
    "cuDeviceGetPCIBusId",
    "cuDevicePrimaryCtxRetain",
    "cuDeviceTotalMem_v2",
    "cuDriverGetVersion",
    "cuEventCreate",
    "cuEventDestroy_v2",
    "cuEventElapsedTime_v2",
    "cuEventQuery",
    "cuEventRecord",
    "cuEventSynchronize",
    "cuFuncGetParamInfo",
    "cuFuncSetAttribute",
    "cuGraphAddNode_v2",
    "cuGraphConditionalHandleCreate",
    "cuGraphCreate",
    "cuGraphDestroy",
    "cuGraphExecDestroy",
    "cuGraphExecUpdate_v2",
    "cuGraphGetNodes",
    "cuGraphInstantiateWithFlags",
    "cuGraphLaunch",
    "cuGraphUpload",
    "cuInit",
    "cuLaunchKernelEx",
    "cuMemAllocAsync",
    "cuMemAlloc_v2",
    "cuMemFreeAsync",
    "cuMemFreeHost",
    "cuMemGetInfo_v2",
    "cuMemHostAlloc",
    "cuMemPoolGetAttribute",
    "cuMemPoolSetAttribute",
    "cuMemPoolTrimTo",
    "cuMemcpyDtoDAsync_v2",
    "cuMemcpyDtoHAsync_v2",
    "cuMemcpyHtoDAsync_v2",
    "cuMemsetD8Async",
    "cuModuleGetFunction",
    "cuModuleLoadData",
    "cuOccupancyMaxActiveBlocksPerMultiprocessor",
    "cuStreamBeginCaptureToGraph",
    "cuStreamCreate",
    "cuStreamDestroy_v2",
    "cuStreamEndCapture",
    "cuStreamGetCaptureInfo_v3",
    "cuStreamSynchronize",
    "cuStreamWaitEvent",
];

/// cuBLAS.
pub(crate) const CUBLAS: &[&str] = &[
    "cublasCreate_v2",
    "cublasDgemmStridedBatched",
    "cublasDgemm_v2",
    "cublasDgemv_v2",
    "cublasDsymv_v2",
    "cublasDsyrk_v2",
    "cublasDtrsmBatched",
    "cublasDtrsm_v2",
    "cublasGetProperty",
    "cublasSetStream_v2",
    "cublasSetWorkspace_v2",
];

/// cuSOLVER, dense.
pub(crate) const CUSOLVER: &[&str] = &[
    "cusolverDnCreate",
    "cusolverDnDpotrf",
    "cusolverDnDpotrfBatched",
    "cusolverDnDpotrf_bufferSize",
    "cusolverDnSetStream",
    "cusolverDnXtrtri",
    "cusolverDnXtrtri_bufferSize",
    "cusolverGetProperty",
];

/// The run-time compiler.
pub(crate) const NVRTC: &[&str] = &[
    "nvrtcCompileProgram",
    "nvrtcCreateProgram",
    "nvrtcDestroyProgram",
    "nvrtcGetCUBIN",
    "nvrtcGetCUBINSize",
    "nvrtcGetProgramLog",
    "nvrtcGetProgramLogSize",
    "nvrtcVersion",
];

/// The management library.
pub(crate) const NVML: &[&str] = &[
    "nvmlDeviceGetClockInfo",
    "nvmlDeviceGetComputeRunningProcesses_v3",
    "nvmlDeviceGetCurrentClocksThrottleReasons",
    "nvmlDeviceGetHandleByPciBusId_v2",
    "nvmlDeviceGetMemoryInfo",
    "nvmlDeviceGetPowerUsage",
    "nvmlDeviceGetTemperature",
    "nvmlInit_v2",
    "nvmlShutdown",
    "nvmlSystemGetDriverVersion",
    "nvmlSystemGetNVMLVersion",
];

/// Collectives; found, not called yet.
pub(crate) const NCCL: &[&str] = &["ncclGetVersion"];

/// Activity records.
pub(crate) const CUPTI: &[&str] = &[
    "cuptiActivityDisable",
    "cuptiActivityEnable",
    "cuptiActivityFlushAll",
    "cuptiActivityGetNextRecord",
    "cuptiActivityGetNumDroppedRecords",
    "cuptiActivityRegisterCallbacks",
    "cuptiGetVersion",
];
