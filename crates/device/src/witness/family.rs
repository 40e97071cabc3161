//! Which family a vendor library's kernel is of: its names change with every release, the verbs in
//! them hardly do.

/// Verbs in the order in which they are looked for: a name may hold several, as a triangular solve
/// made of products does.
const VERBS: [&str; 17] = [
    "potrf",
    "potf2",
    "trtri",
    "trsm",
    "trsv",
    "syrk",
    "symv",
    "gemv",
    "gemm",
    "getrf",
    "laswp",
    "transpose",
    "scal",
    "dot",
    "copy",
    "memset",
    "set",
];

/// The family of a kernel by its name, mangled or not; `other` where no verb is in it.
pub fn family(name: &str) -> &'static str {
    let name = name.to_ascii_lowercase();
    VERBS
        .into_iter()
        .find(|verb| name.contains(verb))
        .unwrap_or("other")
}

#[cfg(test)]
mod tests {
    use super::family;

    #[test]
    fn the_verb_of_the_outer_call_wins() {
        assert_eq!(
            family("_ZN7cutlass7KernelI28cutlass_80_tensorop_d884gemmE"),
            "gemm"
        );
        assert_eq!(family("void trsm_left_gemm_kernel<double>(int)"), "trsm");
        assert_eq!(family("potrf_cta_lower"), "potrf");
        assert_eq!(family("something"), "other");
    }
}
