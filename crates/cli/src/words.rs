//! The words for gates and atoms on the command line. The dictionary defines those for topologies and
//! bases.

use crate::input::Source;
use broadhead_sae::model::dictionary::ParseDictionaryError;
use broadhead_sae::{Dictionary, GatePolicy};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Which atoms are on: `all`, `top-k:N`, or a file of amplitudes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GatesWord {
    /// Every atom in every row.
    All,
    /// The best few of each row.
    TopK(usize),
    /// Amplitudes from a file, of shape rows x atoms.
    File(Source),
}

/// The atoms: a number of equal ones, or a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AtomsWord {
    /// This many atoms of `--topology` and `--basis`.
    Alike(usize),
    /// `[N*]TOPOLOGY[/BASIS]`, separated by commas.
    Listed(Dictionary),
}

impl FromStr for AtomsWord {
    type Err = WordError;

    fn from_str(text: &str) -> Result<Self, WordError> {
        match text.parse() {
            Ok(0) => Err(WordError::NoAtoms),
            Ok(count) => Ok(Self::Alike(count)),
            Err(_)
                if text.starts_with(|c: char| c == '-' || c == '+' || c.is_ascii_digit())
                    && !text.contains('*') =>
            {
                Err(WordError::NoAtoms)
            }
            Err(_) => Ok(Self::Listed(text.parse()?)),
        }
    }
}

/// A word that cannot be parsed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WordError {
    /// Not a number of atoms.
    #[error("expected a whole number of at least 1, or [N*]TOPOLOGY[/BASIS],...")]
    NoAtoms,
    /// Not a list of atoms.
    #[error(transparent)]
    Atoms(#[from] ParseDictionaryError),
    /// Not a word for gates.
    #[error("expected all, top-k:N with N at least 1, or a file .npy, .npz or .safetensors")]
    Gates,
}

impl GatesWord {
    /// The policy that the word stands for. For a file it is "all on" until the amplitudes are read.
    pub fn policy(&self) -> GatePolicy {
        match self {
            Self::TopK(count) => GatePolicy::TopK(*count),
            Self::All | Self::File(_) => GatePolicy::All,
        }
    }

    /// The file of amplitudes, if the word names one.
    pub fn file(&self) -> Option<PathBuf> {
        match self {
            Self::All | Self::TopK(_) => None,
            Self::File(source) => Some(source.path.clone()),
        }
    }
}

impl FromStr for GatesWord {
    type Err = WordError;

    fn from_str(text: &str) -> Result<Self, WordError> {
        if text == "all" {
            return Ok(Self::All);
        }
        if let Some(count) = text.strip_prefix("top-k") {
            return match count.strip_prefix(':').and_then(|count| count.parse().ok()) {
                Some(count) if count > 0 => Ok(Self::TopK(count)),
                _ => Err(WordError::Gates),
            };
        }
        let Ok(source) = text.parse::<Source>();
        let extension = source.path.extension().and_then(|e| e.to_str());
        match extension {
            Some("npy" | "npz" | "safetensors") => Ok(Self::File(source)),
            _ => Err(WordError::Gates),
        }
    }
}

impl fmt::Display for GatesWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = |path: &PathBuf| path.display().to_string();
        match self {
            Self::All => f.write_str("all"),
            Self::TopK(count) => write!(f, "top-k:{count}"),
            Self::File(source) => match &source.array {
                None => f.write_str(&path(&source.path)),
                Some(array) => write!(f, "{}:{array}", path(&source.path)),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_print_as_they_are_read() {
        for word in ["all", "top-k:3", "gates.npy", "gates.npz:on"] {
            assert_eq!(word.parse::<GatesWord>().unwrap().to_string(), word);
        }
    }

    #[test]
    fn atoms_are_counted_or_listed() {
        assert_eq!("3".parse(), Ok(AtomsWord::Alike(3)));
        let listed = "2*circle,sphere".parse::<AtomsWord>().unwrap();
        assert_eq!(
            listed,
            AtomsWord::Listed("2*circle,sphere".parse().unwrap())
        );
        for word in ["0", "-1", "+", "1.5", "99999999999999999999"] {
            assert_eq!(word.parse::<AtomsWord>(), Err(WordError::NoAtoms), "{word}");
        }
        for word in ["", "2*", "2*disc", "circle/spherical:1"] {
            let error = word.parse::<AtomsWord>().unwrap_err();
            assert!(matches!(error, WordError::Atoms(_)), "{word}");
        }
    }

    #[test]
    fn other_words_are_refused() {
        for word in ["some", "top-k", "top-k:0", "top-k:-1", "gates.txt"] {
            assert_eq!(word.parse::<GatesWord>(), Err(WordError::Gates), "{word}");
        }
    }
}
