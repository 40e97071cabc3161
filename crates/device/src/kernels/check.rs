//! Whether sources compile to machine code for an architecture: for CI, without a device.

use super::KernelSource;
use super::compile::compile;
use crate::fault::{Fault, Result};

/// A source that compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The source's name.
    pub source: &'static str,
    /// Its entries, all found in the machine code.
    pub entries: &'static [&'static str],
    /// Bytes of machine code.
    pub bytes: usize,
}

/// Compiles every source for `architecture`, as `sm_90`, and looks for every entry in the code.
///
/// # Errors
/// The compiler's [`Absence`](crate::Absence); [`Fault::Compile`] with its log, also where an entry
/// is missing; [`Fault::UnsupportedArchitecture`].
pub fn compile_check(
    sources: &[&'static KernelSource],
    architecture: &str,
) -> Result<Vec<Checked>> {
    sources
        .iter()
        .map(|source| check(source, architecture))
        .collect()
}

fn check(source: &'static KernelSource, architecture: &str) -> Result<Checked> {
    let code = compile(source, architecture)?;
    for entry in source.entries {
        // The code of a kernel is a section of its name.
        let section = format!(".text.{entry}\0");
        if !code.windows(section.len()).any(|w| w == section.as_bytes()) {
            return Err(Fault::Compile {
                source_name: source.name.to_owned(),
                architecture: architecture.to_owned(),
                log: format!("the machine code has no entry {entry}"),
            }
            .into());
        }
    }
    Ok(Checked {
        source: source.name,
        entries: source.entries,
        bytes: code.len(),
    })
}
