//! NVRTC: source text to machine code for one architecture. Needs no device.

use super::{EARLY, KernelSource};
use crate::fault::{Fault, Result};
use crate::probe::Part;
use cudarc::nvrtc::sys as nvrtc;
use std::ffi::{CString, c_char};
use std::ptr::null_mut;

/// Options of every source. The standard is fixed so that a newer compiler changes nothing.
const OPTIONS: &[&str] = &["--std=c++17", "--device-as-default-execution-space"];

/// The run-time compiler's version, `major.minor`.
///
/// # Errors
/// Its [`Absence`](crate::Absence).
pub fn compiler_version() -> Result<String> {
    let component = Part::Nvrtc.require()?;
    Ok(component.version.unwrap_or_default())
}

/// All options of a source for an architecture such as `sm_90`.
pub(super) fn options(source: &KernelSource, architecture: &str) -> Vec<String> {
    let mut options = vec![format!("--gpu-architecture={architecture}")];
    options.extend(OPTIONS.iter().chain(source.options).map(|&o| o.to_owned()));
    options
}

/// Machine code of `source` for `architecture`.
///
/// # Errors
/// An [`Absence`](crate::Absence) of the compiler, [`Fault::Compile`] with its log,
/// [`Fault::UnsupportedArchitecture`].
pub(super) fn compile(source: &KernelSource, architecture: &str) -> Result<Vec<u8>> {
    Part::Nvrtc.require()?;
    let _span = tracing::debug_span!("compile", source = source.name, architecture).entered();
    let program = Program::new(source)?;
    let options = options(source, architecture);
    let options = options
        .iter()
        .map(|o| c_string(o))
        .collect::<Result<Vec<_>>>()?;
    let pointers: Vec<_> = options.iter().map(|o| o.as_ptr()).collect();
    // SAFETY: the program lives, the pointers are to terminated strings that outlive the call.
    let status =
        unsafe { nvrtc::nvrtcCompileProgram(program.0, pointers.len() as i32, pointers.as_ptr()) };
    match status {
        nvrtc::nvrtcResult::NVRTC_SUCCESS => program.cubin(),
        nvrtc::nvrtcResult::NVRTC_ERROR_COMPILATION => Err(Fault::Compile {
            source_name: source.name.to_owned(),
            architecture: architecture.to_owned(),
            log: program.log()?,
        }
        .into()),
        nvrtc::nvrtcResult::NVRTC_ERROR_INVALID_OPTION
            if program.log()?.contains("gpu-architecture") =>
        {
            Err(Fault::UnsupportedArchitecture {
                found: architecture.to_owned(),
                why: program.log()?.trim().to_owned(),
            }
            .into())
        }
        status => {
            answer("nvrtcCompileProgram", status)?;
            program.cubin()
        }
    }
}

/// A program of the compiler, destroyed with this value.
struct Program(nvrtc::nvrtcProgram);

impl Program {
    fn new(source: &KernelSource) -> Result<Self> {
        let (text, name) = (c_string(&source.assembled())?, c_string(source.name)?);
        let header = c_string(EARLY)?;
        let (headers, names) = ([header.as_ptr()], [c"early.cuh".as_ptr()]);
        let mut raw = null_mut();
        // SAFETY: all strings are terminated and outlive the call; one header and its name are given.
        let status = unsafe {
            nvrtc::nvrtcCreateProgram(
                &mut raw,
                text.as_ptr(),
                name.as_ptr(),
                1,
                headers.as_ptr(),
                names.as_ptr(),
            )
        };
        answer("nvrtcCreateProgram", status)?;
        Ok(Self(raw))
    }

    fn cubin(&self) -> Result<Vec<u8>> {
        let mut len = 0;
        // SAFETY: the program lives, and the buffer is as long as the compiler asked.
        unsafe {
            answer(
                "nvrtcGetCUBINSize",
                nvrtc::nvrtcGetCUBINSize(self.0, &mut len),
            )?;
            let mut bytes = vec![0u8; len];
            let to: *mut c_char = bytes.as_mut_ptr().cast();
            answer("nvrtcGetCUBIN", nvrtc::nvrtcGetCUBIN(self.0, to))?;
            Ok(bytes)
        }
    }

    fn log(&self) -> Result<String> {
        let mut len = 0;
        // SAFETY: as in `cubin`.
        unsafe {
            answer(
                "nvrtcGetProgramLogSize",
                nvrtc::nvrtcGetProgramLogSize(self.0, &mut len),
            )?;
            let mut bytes = vec![0u8; len];
            let to: *mut c_char = bytes.as_mut_ptr().cast();
            answer("nvrtcGetProgramLog", nvrtc::nvrtcGetProgramLog(self.0, to))?;
            Ok(crate::text::until_nul(&bytes))
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // SAFETY: the program is not used again.
        unsafe { nvrtc::nvrtcDestroyProgram(&mut self.0) };
    }
}

fn answer(call: &str, status: nvrtc::nvrtcResult) -> std::result::Result<(), Fault> {
    if status == nvrtc::nvrtcResult::NVRTC_SUCCESS {
        return Ok(());
    }
    Err(Fault::Library {
        call: call.to_owned(),
        status: format!("{status:?}"),
    })
}

fn c_string(text: &str) -> Result<CString> {
    CString::new(text).map_err(|e| {
        Fault::Library {
            call: "nvrtcCreateProgram".to_owned(),
            status: format!("the text holds a NUL byte at {}", e.nul_position()),
        }
        .into()
    })
}
