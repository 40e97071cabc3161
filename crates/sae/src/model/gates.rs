//! Which atoms may be on in a row, as requested from a fit or an encoding. The amplitudes themselves are
//! [`Gates`](crate::Gates).

use ndarray::Array2;

/// Which atoms are on.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum GatePolicy {
    /// Every atom in every row.
    #[default]
    All,
    /// The given number of atoms in every row, at amplitude 1, chosen greedily by reconstruction.
    TopK(usize),
    /// Given amplitudes, `n x atoms`; 0 is off.
    Given(Array2<f64>),
}

impl GatePolicy {
    /// The word for it in a model: `all`, `top-k:N`, or `given`.
    pub fn word(&self) -> String {
        match self {
            Self::All => "all".to_owned(),
            Self::TopK(count) => format!("top-k:{count}"),
            Self::Given(_) => "given".to_owned(),
        }
    }

    /// How many of `atoms` a row may choose, where it chooses.
    pub(crate) fn chosen(&self, atoms: usize) -> Option<usize> {
        match self {
            Self::TopK(k) if *k < atoms => Some(*k),
            _ => None,
        }
    }

    /// The policy that such a word stands for; `None` for given gates.
    pub fn of_word(word: &str) -> Option<Self> {
        match word.strip_prefix("top-k:").map(str::parse) {
            Some(Ok(count)) if count > 0 => Some(Self::TopK(count)),
            None if word == "all" => Some(Self::All),
            _ => None,
        }
    }
}
