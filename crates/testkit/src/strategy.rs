//! Proptest strategies: specifications that shrink, from which seeded cases are made.

use crate::cases::{Case, DenseCase, OperatorCase, StructuredCase};
use crate::generate::{self, Structure};
use crate::random::Random;
use broadhead_schur::ArrowVector;
use proptest::prelude::*;

/// A dense system to be made.
#[derive(Clone, Debug)]
pub struct DenseSpec {
    /// Numbers of unknowns of the rows.
    pub dims: Vec<usize>,
    /// Width of the border.
    pub k: usize,
    /// What stands on the diagonals, as a negative power of ten.
    pub margin: u8,
    /// Where the numbers come from.
    pub seed: u64,
}

impl DenseSpec {
    /// The system.
    pub fn case(&self) -> DenseCase {
        let margin = 10_f64.powi(-i32::from(self.margin));
        generate::dense(&self.dims, self.k, margin, &mut Random::new(self.seed))
    }
}

/// Which features are on in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sparsity {
    /// All.
    Full,
    /// Each with a chance of its own.
    Random,
    /// An intercept and one pair.
    Atoms,
}

/// A structured system to be made.
#[derive(Clone, Debug)]
pub struct StructuredSpec {
    /// Numbers of unknowns of the rows.
    pub dims: Vec<usize>,
    /// $`M`$.
    pub features: usize,
    /// $`p`$.
    pub outputs: usize,
    /// Which features are on.
    pub sparsity: Sparsity,
    /// What stands on the diagonals, as a negative power of ten.
    pub margin: u8,
    /// Where the numbers come from.
    pub seed: u64,
}

impl StructuredSpec {
    /// The system.
    pub fn case(&self) -> StructuredCase {
        let of = Structure {
            dims: self.dims.clone(),
            features: self.features,
            outputs: self.outputs,
            density: if self.sparsity == Sparsity::Full {
                1.0
            } else {
                0.4
            },
            atoms: self.sparsity == Sparsity::Atoms,
            margin: 10_f64.powi(-i32::from(self.margin)),
        };
        generate::structured(&of, &mut Random::new(self.seed))
    }
}

/// Any system to be made.
#[derive(Clone, Debug)]
pub enum Spec {
    /// Dense.
    Dense(DenseSpec),
    /// Structured.
    Structured(StructuredSpec),
    /// Dense, hidden behind its products.
    Operator(DenseSpec),
}

impl Spec {
    /// The system.
    pub fn case(&self) -> Case {
        match self {
            Self::Dense(spec) => Case::Dense(spec.case()),
            Self::Structured(spec) => Case::Structured(spec.case()),
            Self::Operator(spec) => Case::Operator(OperatorCase::new(spec.case())),
        }
    }

    /// A gradient for it, from the same seed.
    pub fn gradient(&self, salt: u64) -> ArrowVector {
        let (seed, system) = (self.seed(), self.case());
        let shape = system.system().shape().clone();
        let mut random = Random::new(seed ^ (salt + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        generate::gradient(shape.row_unknowns(), shape.border(), &mut random)
    }

    fn seed(&self) -> u64 {
        match self {
            Self::Dense(spec) | Self::Operator(spec) => spec.seed,
            Self::Structured(spec) => spec.seed,
        }
    }
}

/// Ragged rows, any widths: 0, 1 and 17 among them.
pub fn dims() -> impl Strategy<Value = Vec<usize>> {
    let width = prop_oneof![
        4 => 1_usize..4,
        1 => Just(0_usize),
        1 => 4_usize..17,
        1 => Just(17_usize),
    ];
    prop_oneof![
        4 => prop::collection::vec(width, 0..8),
        1 => (0_usize..20, 0_usize..4).prop_map(|(n, d)| vec![d; n]),
    ]
}

/// Widths of a border: none, one, few, and around the blocks of the factorizations.
pub fn border() -> impl Strategy<Value = usize> {
    prop_oneof![
        1 => 0_usize..2,
        4 => 2_usize..20,
        1 => 30_usize..35,
        1 => 62_usize..67,
        1 => 126_usize..131,
    ]
}

/// Dense specifications.
pub fn dense() -> impl Strategy<Value = DenseSpec> {
    (dims(), border(), 0_u8..13, any::<u64>()).prop_map(|(dims, k, margin, seed)| DenseSpec {
        dims,
        k,
        margin,
        seed,
    })
}

/// Structured specifications, `p` below and above `M`.
pub fn structured() -> impl Strategy<Value = StructuredSpec> {
    let sizes = (
        prop_oneof![0_usize..8, Just(15_usize)],
        prop_oneof![Just(0_usize), 1_usize..4, 5_usize..14],
    );
    let sparsity = prop_oneof![
        Just(Sparsity::Full),
        Just(Sparsity::Random),
        Just(Sparsity::Atoms),
    ];
    (dims(), sizes, sparsity, 0_u8..9, any::<u64>()).prop_map(
        |(dims, (features, outputs), sparsity, margin, seed)| StructuredSpec {
            dims,
            features,
            outputs,
            sparsity,
            margin,
            seed,
        },
    )
}
