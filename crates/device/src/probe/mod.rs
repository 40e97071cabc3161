//! What is here and what is missing, by name and version, before anything is called.
//!
//! The bindings panic on a missing library or symbol. So every library is opened here first, under
//! the names that the bindings try and in their order, and every symbol that this crate calls is
//! looked for. [`cuda`] answers whether device work can run at all; [`report`] lists everything.
//!
//! | library | needed for |
//! |---|---|
//! | driver, cuBLAS, cuSOLVER, NVRTC | device work: all four or none |
//! | NVML | clocks and throttle reasons beside a measurement |
//! | CUPTI | the witness |
//! | NCCL | nothing yet |

mod devices;
mod library;
mod symbols;
mod version;

pub use devices::DeviceInfo;

use crate::Absence;
pub(crate) use library::Opened;
use library::Wanted;
use serde::{Deserialize, Serialize};
use std::sync::OnceLock;
use version::{Version, oldest};

/// One library: what was found, or why it cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Component {
    /// The library's common name: driver, cuBLAS, cuSOLVER, NVRTC, NVML, NCCL, CUPTI.
    pub name: String,
    /// The file name that the loader took.
    pub file: Option<String>,
    /// The version that the library answered.
    pub version: Option<String>,
    /// Whether it can be used.
    pub state: State,
}

/// Whether a library can be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Open, new enough, with every symbol.
    Found,
    /// Not usable, and why.
    Absent(Absence),
}

/// Every library, and every device of the driver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The libraries, in the order of the module's table.
    pub components: Vec<Component>,
    /// The devices; empty where [`Self::no_devices`] says why.
    pub devices: Vec<DeviceInfo>,
    /// Why no device is listed.
    pub no_devices: Option<Absence>,
}

/// What device work stands on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cuda {
    /// driver, cuBLAS, cuSOLVER and NVRTC, all found.
    pub components: Vec<Component>,
    /// At least one device.
    pub devices: Vec<DeviceInfo>,
}

/// The libraries that this crate knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Driver,
    Cublas,
    Cusolver,
    Nvrtc,
    Nvml,
    Nccl,
    Cupti,
}

impl Part {
    const ALL: [Self; 7] = [
        Self::Driver,
        Self::Cublas,
        Self::Cusolver,
        Self::Nvrtc,
        Self::Nvml,
        Self::Nccl,
        Self::Cupti,
    ];
    const NEEDED: [Self; 4] = [Self::Driver, Self::Cublas, Self::Cusolver, Self::Nvrtc];

    fn wanted(self) -> Wanted {
        match self {
            Self::Driver => Wanted::by_stem("driver", &["cuda", "nvcuda"], &[], symbols::DRIVER),
            Self::Cublas => Wanted::by_stem("cuBLAS", &["cublas"], &[], symbols::CUBLAS),
            Self::Cusolver => Wanted::by_stem("cuSOLVER", &["cusolver"], &[], symbols::CUSOLVER),
            Self::Nvrtc => Wanted::by_stem("NVRTC", &["nvrtc"], &[], symbols::NVRTC),
            Self::Nvml => Wanted {
                name: "NVML",
                files: ["libnvidia-ml.so.1", "libnvidia-ml.so", "nvml.dll"]
                    .map(str::to_owned)
                    .into(),
                symbols: symbols::NVML,
            },
            Self::Nccl => Wanted::by_stem("NCCL", &["nccl"], &["libnccl.so.2"], symbols::NCCL),
            Self::Cupti => Wanted::by_stem("CUPTI", &["cupti"], &[], symbols::CUPTI),
        }
    }

    /// The library, opened once a process; an absence is looked for again each time.
    pub(crate) fn open(self) -> Result<&'static Opened, Absence> {
        static OPEN: [OnceLock<Opened>; 7] = [const { OnceLock::new() }; 7];
        let slot = &OPEN[self as usize];
        if let Some(opened) = slot.get() {
            return Ok(opened);
        }
        let opened = self.wanted().open()?;
        Ok(slot.get_or_init(|| opened))
    }

    fn version(self, opened: &Opened) -> Result<String, Absence> {
        let at_least = |found: Version, needed: Version| {
            if found >= needed {
                return Ok(version::display(found));
            }
            Err(Absence::Version {
                library: opened.name.to_owned(),
                found: version::display(found),
                needed: version::display(needed),
            })
        };
        match self {
            Self::Driver => at_least(version::driver(opened)?, oldest::DRIVER),
            Self::Cublas => at_least(
                version::property(opened, "cublasGetProperty")?,
                oldest::CUBLAS,
            ),
            Self::Cusolver => at_least(
                version::property(opened, "cusolverGetProperty")?,
                oldest::CUSOLVER,
            ),
            Self::Nvrtc => at_least(version::nvrtc(opened)?, oldest::NVRTC),
            Self::Nvml => version::nvml(opened),
            Self::Nccl => at_least(version::nccl(opened)?, oldest::NCCL),
            Self::Cupti => at_least(version::cupti(opened)?, oldest::CUPTI),
        }
    }

    /// Opens the library and asks its version.
    fn component(self) -> Component {
        let name = self.wanted().name.to_owned();
        let opened = match self.open() {
            Ok(opened) => opened,
            Err(absence) => {
                return Component {
                    name,
                    file: None,
                    version: None,
                    state: State::Absent(absence),
                };
            }
        };
        let (version, state) = match self.version(opened) {
            Ok(version) => (Some(version), State::Found),
            Err(Absence::Version {
                library,
                found,
                needed,
            }) => (
                Some(found.clone()),
                State::Absent(Absence::Version {
                    library,
                    found,
                    needed,
                }),
            ),
            Err(absence) => (None, State::Absent(absence)),
        };
        Component {
            name,
            file: Some(opened.file.clone()),
            version,
            state,
        }
    }

    /// The library where it can be used.
    ///
    /// # Errors
    /// The absence.
    pub(crate) fn require(self) -> Result<Component, Absence> {
        let component = self.component();
        match component.state {
            State::Found => Ok(component),
            State::Absent(absence) => Err(absence),
        }
    }
}

/// Whether device work can run here: all four libraries, and a device.
///
/// The answer is made once a process where it is yes.
///
/// # Errors
/// The first absence, by name.
pub fn cuda() -> Result<&'static Cuda, Absence> {
    static CUDA: OnceLock<Cuda> = OnceLock::new();
    if let Some(cuda) = CUDA.get() {
        return Ok(cuda);
    }
    let _span = tracing::debug_span!("probe").entered();
    let components = Part::NEEDED
        .into_iter()
        .map(Part::require)
        .collect::<Result<_, _>>()?;
    let devices = devices::list(Part::Driver.open()?)?;
    Ok(CUDA.get_or_init(|| Cuda {
        components,
        devices,
    }))
}

/// Everything that was found and everything that was not.
pub fn report() -> Report {
    let listed = Part::Driver
        .require()
        .and_then(|_| devices::list(Part::Driver.open()?));
    let (devices, no_devices) = match listed {
        Ok(devices) => (devices, None),
        Err(absence) => (Vec::new(), Some(absence)),
    };
    Report {
        components: Part::ALL.into_iter().map(Part::component).collect(),
        devices,
        no_devices,
    }
}

impl std::fmt::Display for Component {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.state, &self.version, &self.file) {
            (State::Found, Some(version), Some(file)) => {
                write!(f, "{:<9} {version} from {file}", self.name)
            }
            (State::Found, _, _) => write!(f, "{:<9} found", self.name),
            (State::Absent(absence), _, _) => write!(f, "{:<9} absent: {absence}", self.name),
        }
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for component in &self.components {
            writeln!(f, "{component}")?;
        }
        for device in &self.devices {
            writeln!(f, "device    {device}")?;
        }
        match &self.no_devices {
            Some(absence) => writeln!(f, "device    none: {absence}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
