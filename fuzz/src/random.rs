//! The random numbers of one input: a stream for every seed, target and index, so that any input can
//! be made again by itself.

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The numbers of one input.
pub(crate) struct Random(ChaCha8Rng);

/// Numbers at which readers turn: ends of types, signs, sizes of headers.
const TURNS: &[u64] = &[
    0,
    1,
    2,
    3,
    7,
    8,
    64,
    127,
    128,
    255,
    256,
    0x7fff,
    0x8000,
    0xffff,
    0x1_0000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x1_0000_0000,
    1 << 53,
    u64::MAX / 8,
    u64::MAX / 8 + 1,
    i64::MAX as u64,
    1 << 63,
    u64::MAX - 7,
    u64::MAX,
];

impl Random {
    pub(crate) fn of(seed: u64, target: u64, index: u64) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..16].copy_from_slice(&target.to_le_bytes());
        key[16..24].copy_from_slice(&index.to_le_bytes());
        Self(ChaCha8Rng::from_seed(key))
    }

    /// A number below `end`; 0 where `end` is 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        if end == 0 {
            0
        } else {
            self.0.random_range(0..end)
        }
    }

    /// Whether one of `odds` cases came up.
    pub(crate) fn one_in(&mut self, odds: usize) -> bool {
        self.below(odds) == 0
    }

    pub(crate) fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.0.next_u32() as u8
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.0.fill_bytes(&mut bytes);
        bytes
    }

    /// A number near a turn, near `size`, or any.
    pub(crate) fn turn(&mut self, size: usize) -> u64 {
        let near = self.below(3) as u64;
        match self.below(8) {
            0 => self.0.next_u64() >> self.below(64),
            1 | 2 => (size as u64).wrapping_add(near).wrapping_sub(1),
            _ => self.pick(TURNS).wrapping_add(near).wrapping_sub(1),
        }
    }
}
