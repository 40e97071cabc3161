//! The processor's vector registers: what they hold, how many there are, and the state that wide
//! instructions leave behind.
//!
//! The matrix kernels of faer end without VZEROUPPER. As long as the upper parts of a thread's vector
//! registers are in use, instructions of the older encoding, which is what the compiler makes of all
//! code here that is not dispatched by what the processor has, wait for each other through them: sums
//! over rows take far longer after a product of matrices than before it.

use pulp::{Arch, Simd, WithSimd};

/// So many registers hold the sums of eight lines, or of four with their factors; others have 16.
pub(crate) const MANY: usize = 32;

/// Numbers of a register, and registers.
struct RegisterSizes;

impl WithSimd for RegisterSizes {
    type Output = (usize, usize);

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> (usize, usize) {
        (S::F64_LANES, S::REGISTER_COUNT)
    }
}

/// Numbers of a register: interleaved vectors are padded to a multiple.
pub(crate) fn lanes(arch: Arch) -> usize {
    arch.dispatch(RegisterSizes).0
}

/// Whether there are [`MANY`] registers.
pub(crate) fn are_many(arch: Arch) -> bool {
    arch.dispatch(RegisterSizes).1 >= MANY
}

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
