//! Numbers from a counter: SplitMix64 (Steele, Lea and Flood, OOPSLA 2014) of a seed, a stream and an
//! index, so that a peer in another language has the same operands bit for bit.

/// Numbers in `[-1, 1)` of stream `stream`: element `i` depends on `seed`, `stream` and `i` alone.
pub fn uniform(seed: u64, stream: u64, count: usize) -> impl Iterator<Item = f64> {
    let start = seed
        .wrapping_mul(0xD1B5_4A32_D192_ED03)
        .wrapping_add(stream.wrapping_mul(0x8CB9_2BA7_2F3D_8DD7));
    (0..count as u64).map(move |i| {
        let counter = (i + 1)
            .wrapping_mul(0x9E37_79B9_7F4A_7C15)
            .wrapping_add(start);
        // 53 bits, exact in FP64: the quotient is a multiple of 2^-52.
        (mix(counter) >> 11) as f64 * 2.0_f64.powi(-52) - 1.0
    })
}

/// The generator's finaliser.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_is_splitmix64() {
        // The first output of SplitMix64 from state 0, as published with the generator.
        assert_eq!(mix(0x9E37_79B9_7F4A_7C15), 0xE220_A839_7B1D_CDAF);
    }

    #[test]
    fn streams_differ_and_values_are_in_range() {
        let a: Vec<f64> = uniform(1, 0, 4000).collect();
        let b: Vec<f64> = uniform(1, 1, 4000).collect();
        assert!(a.iter().chain(&b).all(|v| (-1.0..1.0).contains(v)));
        assert!(a.iter().zip(&b).filter(|(a, b)| a == b).count() < 4);
        let mean = a.iter().sum::<f64>() / a.len() as f64;
        // Six standard deviations of the mean of that many uniform numbers.
        assert!(mean.abs() < 6.0 / (3.0_f64 * 4000.0).sqrt(), "{mean}");
    }
}
