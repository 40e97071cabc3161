//! The state that wide vector instructions leave behind.
//!
//! The matrix kernels of faer end without VZEROUPPER. As long as the upper parts of a thread's vector
//! registers are in use, instructions of the older encoding, which is what the compiler makes of all
//! code here that is not dispatched by what the processor has, wait for each other through them: sums
//! over rows take far longer after a product of matrices than before it.

/// Releases the upper parts of this thread's vector registers; a few cycles. To be called after
/// matrices were multiplied or solved with, and where a thread of the pool, which may have done so for
/// another, begins a piece of work.
#[inline]
pub fn release_upper_parts() {
    #[cfg(target_arch = "x86_64")]
    if let Some(avx) = pulp::core_arch::x86::Avx::try_new() {
        avx._mm256_zeroupper();
    }
}
