//! `broadhead doctor`: what is here and what is missing, by name and version.

use crate::args::{DoctorArgs, OutputArgs};
use crate::error::{CliError, brief};
use crate::message;
use crate::output;
use broadhead_device::{Absence, Context, probe};
use broadhead_gate::ceilings::Store;
use broadhead_gate::processor;
use broadhead_schur::{Ceilings, HostCeilings, Rates};
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};
use std::fmt::Write;
use std::path::PathBuf;

/// What `doctor` found.
#[derive(Clone, Debug, Serialize)]
struct Findings {
    version: &'static str,
    cpu: Cpu,
    device: probe::Report,
    /// Whether device work can run at all, and if not, what is absent.
    #[serde(serialize_with = "possible")]
    device_work: Result<(), Absence>,
    rates: KeptRates,
}

/// The rates that plans use on this machine.
#[derive(Clone, Debug, Serialize)]
struct KeptRates {
    /// Where they are kept; absent if no variable names a folder.
    folder: Option<PathBuf>,
    host: Rates<HostCeilings>,
    /// Those of the first device; absent if device work cannot run.
    device: Option<Rates<Ceilings>>,
}

/// The processor, as this program sees it.
#[derive(Clone, Debug, Serialize)]
struct Cpu {
    architecture: &'static str,
    system: &'static str,
    model: String,
    threads_available: usize,
    threads_used: usize,
    vector_extensions: Vec<&'static str>,
    memory_bytes: Option<u64>,
}

fn possible<S: Serializer>(work: &Result<(), Absence>, to: S) -> Result<S::Ok, S::Error> {
    let mut object = to.serialize_struct("DeviceWork", 2)?;
    object.serialize_field("possible", &work.is_ok())?;
    object.serialize_field("reason", &work.as_ref().err())?;
    object.end()
}

/// Prints what is here and what is missing. With `--measure` it first measures the rates of what is
/// here.
///
/// # Errors
/// The answer cannot be printed; with `--measure`, rates cannot be measured or kept. Something missing
/// is an answer and no error.
pub fn doctor(arguments: DoctorArgs, options: OutputArgs) -> Result<(), CliError> {
    let store = Store::of_environment();
    if arguments.measure {
        measure(&store)?;
    }
    let findings = Findings {
        version: env!("CARGO_PKG_VERSION"),
        cpu: Cpu::seen(),
        device: probe::report(),
        device_work: probe::cuda().map(|_| ()),
        rates: KeptRates::of(&store),
    };
    let text = if options.json {
        message::json(&findings)?
    } else {
        findings.for_people()
    };
    Ok(output::print(&text)?)
}

/// Measures the processor, and the first device where device work can run.
fn measure(store: &Store) -> Result<(), CliError> {
    store.measure_host()?;
    // If device work cannot run, the findings say why.
    if probe::cuda().is_ok() {
        let context = Context::open(0).map_err(CliError::OpenDevice)?;
        store.measure_device(&context)?;
    }
    Ok(())
}

impl KeptRates {
    fn of(store: &Store) -> Self {
        let report = probe::report();
        let device = report.devices.first().filter(|_| probe::cuda().is_ok());
        Self {
            folder: store.folder().path().map(Into::into),
            host: store.host(),
            device: device.map(|device| store.device(device)),
        }
    }
}

impl Findings {
    fn for_people(&self) -> String {
        let cpu = &self.cpu;
        let mut text = format!("broadhead {}\n", self.version);
        let mut line = |name: &str, value: String| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{name:<9} {value}");
        };
        line(
            "processor",
            format!("{} ({} {})", cpu.model, cpu.architecture, cpu.system),
        );
        line(
            "threads",
            format!("{} used of {}", cpu.threads_used, cpu.threads_available),
        );
        let vectors = match cpu.vector_extensions.as_slice() {
            [] => "none known".to_owned(),
            extensions => extensions.join(", "),
        };
        line("vectors", vectors);
        let memory = match cpu.memory_bytes {
            Some(bytes) => format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30)),
            None => "unknown".to_owned(),
        };
        line("memory", memory);
        for component in &self.device.components {
            let found = match &component.state {
                probe::State::Found => {
                    let part = |part: &Option<String>, unknown: &str| {
                        part.as_deref().unwrap_or(unknown).to_owned()
                    };
                    format!(
                        "{} from {}",
                        part(&component.version, "unknown version"),
                        part(&component.file, "an unknown file")
                    )
                }
                probe::State::Absent(absence) => brief(absence),
            };
            line(&component.name, found);
        }
        for device in &self.device.devices {
            line("device", device.to_string());
        }
        if let Some(absence) = &self.device.no_devices {
            line("device", format!("none: {}", brief(absence)));
        }
        let work = match &self.device_work {
            Ok(()) => "can run on a device".to_owned(),
            Err(absence) => format!("cannot run on a device: {}", brief(absence)),
        };
        line("work", work);
        line(
            "rates",
            format!("of the processor: {}", self.rates.host.origin),
        );
        if let Some(device) = &self.rates.device {
            line("rates", format!("of the device: {}", device.origin));
        }
        if let Some(folder) = &self.rates.folder {
            line("kept in", folder.display().to_string());
        }
        text
    }
}

impl Cpu {
    fn seen() -> Self {
        Self {
            architecture: std::env::consts::ARCH,
            system: std::env::consts::OS,
            model: processor::model(),
            threads_available: processor::count(),
            threads_used: rayon::current_num_threads(),
            vector_extensions: vector_extensions(),
            memory_bytes: proc_field("/proc/meminfo", "MemTotal")
                .and_then(|text| kilobytes(&text))
                .map(|count| count * 1024),
        }
    }
}

fn kilobytes(text: &str) -> Option<u64> {
    let count = text.strip_suffix("kB")?.trim();
    count.parse().ok()
}

/// The value of the first `field: value` line of a file that the kernel writes; `None` on other
/// systems.
fn proc_field(path: &str, field: &str) -> Option<String> {
    let Ok(text) = std::fs::read_to_string(path) else {
        return None;
    };
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == field).then(|| value.trim().to_owned())
    })
}

#[cfg(target_arch = "x86_64")]
fn vector_extensions() -> Vec<&'static str> {
    let all = [
        ("SSE4.2", std::arch::is_x86_feature_detected!("sse4.2")),
        ("AVX", std::arch::is_x86_feature_detected!("avx")),
        ("AVX2", std::arch::is_x86_feature_detected!("avx2")),
        ("FMA", std::arch::is_x86_feature_detected!("fma")),
        ("AVX-512F", std::arch::is_x86_feature_detected!("avx512f")),
    ];
    all.into_iter()
        .filter(|&(_, there)| there)
        .map(|(name, _)| name)
        .collect()
}

#[cfg(target_arch = "aarch64")]
fn vector_extensions() -> Vec<&'static str> {
    let all = [
        ("NEON", std::arch::is_aarch64_feature_detected!("neon")),
        ("SVE", std::arch::is_aarch64_feature_detected!("sve")),
    ];
    all.into_iter()
        .filter(|&(_, there)| there)
        .map(|(name, _)| name)
        .collect()
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn vector_extensions() -> Vec<&'static str> {
    Vec::new()
}
