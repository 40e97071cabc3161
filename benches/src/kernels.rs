//! Kernels: which of its own a peer's BLAS chose, against what its processor has.
//!
//! OpenBLAS holds kernels for many processors and chooses when it starts, unless its environment
//! chooses for it (`OPENBLAS_CORETYPE`). A receipt has both: the processor's extensions, and the choice
//! as the library itself says it (`openblas of numpy`: `0.3.31 (Haswell)`).
//!
//! ```text
//! the processor has      kernels that are not older than that
//! AVX-512                SkylakeX, Cooperlake, SapphireRapids     also of AMD's Zen 4 and 5
//! AVX2 and FMA           Haswell, Zen, Excavator, and those above
//! AVX                    Sandybridge, Bulldozer, Piledriver, Steamroller, and those above
//! ```
//! Among the three with AVX-512 the kernels of FP64 are the same, so none is older than another. BLIS
//! is judged likewise. A library that names no kernels (MKL, OpenMP's) is not: MKL chooses by itself,
//! and a peer starts without the variables that say otherwise ([`crate::peer`]). Nor are processors
//! of other makes than x86-64.

use crate::receipt::Receipt;
use crate::record::Refused;

/// The widest vectors of a processor, or of kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Vectors {
    /// 16 bytes.
    Sse,
    /// 32 bytes.
    Avx,
    /// 32 bytes, with fused multiply-adds.
    Avx2,
    /// 64 bytes.
    Avx512,
}

impl std::fmt::Display for Vectors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Sse => "SSE",
            Self::Avx => "AVX",
            Self::Avx2 => "AVX2",
            Self::Avx512 => "AVX-512",
        })
    }
}

/// The names of kernels by what they need, as OpenBLAS and BLIS say them, in small letters.
const NAMES: [(Vectors, &[&str]); 4] = [
    (
        Vectors::Avx512,
        &[
            "skylakex",
            "cooperlake",
            "sapphirerapids",
            "skx",
            "zen4",
            "zen5",
        ],
    ),
    (
        Vectors::Avx2,
        &["haswell", "zen", "excavator", "zen2", "zen3"],
    ),
    (
        Vectors::Avx,
        &["sandybridge", "bulldozer", "piledriver", "steamroller"],
    ),
    (
        Vectors::Sse,
        &[
            "katmai",
            "coppermine",
            "northwood",
            "prescott",
            "banias",
            "atom",
            "core2",
            "penryn",
            "dunnington",
            "nehalem",
            "athlon",
            "opteron",
            "opteron_sse3",
            "barcelona",
            "nano",
            "bobcat",
            "generic",
        ],
    ),
];

/// Libraries that say which kernels they chose.
const LIBRARIES: [&str; 2] = ["openblas of ", "blis of "];

/// What kernels of this name need; absent where the name is not known.
pub fn of_kernels(name: &str) -> Option<Vectors> {
    let name = name.to_ascii_lowercase();
    let mut all = NAMES.iter();
    let found = all.find(|(_, names)| names.contains(&name.as_str()));
    found.map(|(vectors, _)| *vectors)
}

/// What a processor with these extensions has.
pub fn of_processor(features: &[String]) -> Vectors {
    let has = |name: &str| features.iter().any(|feature| feature == name);
    match (has("avx512f"), has("avx2") && has("fma"), has("avx")) {
        (true, ..) => Vectors::Avx512,
        (false, true, _) => Vectors::Avx2,
        (false, false, true) => Vectors::Avx,
        (false, false, false) => Vectors::Sse,
    }
}

/// Whether every library of a receipt ran kernels that are not older than its processor.
///
/// # Errors
/// [`Refused::Kernels`] with the library, its kernels and the processor's extension, or
/// [`Refused::UnknownKernels`].
pub fn check(receipt: &Receipt) -> Result<(), Refused> {
    if !receipt.platform.ends_with("x86_64") {
        return Ok(());
    }
    let processor = of_processor(&receipt.features);
    let telling = |name: &str| LIBRARIES.iter().any(|library| name.starts_with(library));
    for (library, version) in receipt.libraries.iter().filter(|(name, _)| telling(name)) {
        let inside = version.rsplit_once('(').map_or("", |(_, inside)| inside);
        let kernels = inside.trim_end_matches(')').to_owned();
        let library = library.clone();
        match of_kernels(&kernels) {
            None => return Err(Refused::UnknownKernels { library, kernels }),
            Some(needed) if needed < processor => {
                return Err(Refused::Kernels {
                    library,
                    kernels,
                    needed,
                    processor,
                });
            }
            Some(_) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(features: &[&str], kernels: &str) -> Result<(), Refused> {
        let mut receipt = Receipt::sample();
        receipt.features = features.iter().map(|f| (*f).to_owned()).collect();
        let version = format!("0.3.31.188.0 ({kernels})");
        receipt
            .libraries
            .insert("openblas of numpy".into(), version);
        receipt.check()
    }

    #[test]
    fn a_peer_whose_kernels_are_older_than_its_processor_is_refused_by_both_names() {
        let wide: &[&str] = &["avx2", "fma", "avx512f"];
        for kernels in ["Haswell", "Zen", "Sandybridge", "Nehalem", "Prescott"] {
            let refused = with(wide, kernels).unwrap_err();
            assert!(matches!(refused, Refused::Kernels { .. }), "{refused}");
            let text = refused.to_string();
            assert!(text.contains(kernels) && text.contains("AVX-512"), "{text}");
            assert!(text.contains("openblas of numpy"), "{text}");
        }
        for kernels in ["SkylakeX", "Cooperlake", "SapphireRapids", "SAPPHIRERAPIDS"] {
            assert_eq!(with(wide, kernels), Ok(()), "{kernels}");
        }
        let narrow: &[&str] = &["avx", "avx2", "fma"];
        for kernels in ["Haswell", "Zen", "SkylakeX"] {
            assert_eq!(with(narrow, kernels), Ok(()), "{kernels}");
        }
        for kernels in [
            "Sandybridge",
            "SandyBridge",
            "Nehalem",
            "Prescott",
            "Bulldozer",
        ] {
            let refused = with(narrow, kernels);
            assert!(matches!(refused, Err(Refused::Kernels { .. })), "{kernels}");
        }
        let old: &[&str] = &["avx"];
        assert_eq!(with(old, "Sandybridge"), Ok(()));
        assert!(with(old, "Nehalem").is_err());
        assert_eq!(with(&[], "Nehalem"), Ok(()));
    }

    #[test]
    fn kernels_without_a_name_are_refused_where_the_library_should_name_them() {
        for kernels in ["unknown", "", "Tomorrow"] {
            let refused = with(&["avx2", "fma"], kernels);
            assert!(
                matches!(refused, Err(Refused::UnknownKernels { .. })),
                "{kernels}"
            );
        }
        // A library that never names kernels, and another make of processor, have no rule.
        let mut receipt = Receipt::sample();
        let mkl = ("mkl of numpy".to_owned(), "2025.0 (unknown)".to_owned());
        receipt.libraries.extend([mkl]);
        assert_eq!(receipt.check(), Ok(()));
        let arm = (
            "openblas of numpy".to_owned(),
            "0.3.31 (neoversen1)".to_owned(),
        );
        receipt.libraries.extend([arm]);
        assert!(receipt.check().is_err());
        receipt.platform = "linux-aarch64".into();
        assert_eq!(receipt.check(), Ok(()));
    }
}
