//! What the suite runs, as data: `benches/plans/holdout*.toml`.

use crate::rounds::plan::Source;
pub use broadhead_sae::Amplitudes;
use serde::Deserialize;

/// The plan of a record.
const FULL: &str = include_str!("../../plans/holdout.toml");

/// A plan that shows in seconds whether the suite works.
const QUICK: &str = include_str!("../../plans/holdout-quick.toml");

/// A plan.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Its name, which stands in every record.
    pub name: String,
    /// The rows.
    pub data: Source,
    /// The share of the rows that is held out.
    pub share: f64,
    /// Seeds, each of which holds other rows out.
    pub seeds: Vec<u64>,
    /// The limit of a fit.
    pub seconds: f64,
    /// Our dictionaries.
    pub fits: Vec<Fits>,
    /// The peer's, if it has a side.
    #[serde(default)]
    pub autoencoder: Autoencoder,
}

/// A dictionary, fitted with several numbers of active atoms.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fits {
    /// A few words for the tables.
    pub name: String,
    /// The word of `--atoms`.
    pub atoms: String,
    /// Atoms that a row chooses, at most.
    pub top: Vec<usize>,
    /// How large an atom is where it is on.
    pub amplitudes: Vec<Amplitudes>,
}

/// The TopK autoencoders.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Autoencoder {
    /// Latents.
    pub latents: Vec<usize>,
    /// Latents that a row has at most.
    pub active: Vec<usize>,
    /// Learning rates, of which the best counts.
    pub learning_rates: Vec<f64>,
    /// Rows of a step.
    pub batch: usize,
    /// What the last third of the training may gain, of explained variance.
    pub gain: f64,
    /// The longest that all of as many latents are trained.
    pub ceiling_seconds: f64,
}

/// A plan whose records stand in the repository, with the names of its files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The suite, and its files of records and of the page.
    pub suite: &'static str,
    /// The plan's name.
    pub name: &'static str,
    /// The plan's file, under the repository.
    pub plan: &'static str,
    text: &'static str,
}

impl Kept {
    /// All of them: the comparison, and the book's worked example.
    pub const ALL: [Self; 2] = [
        Self {
            suite: super::SUITE,
            name: "full",
            plan: "benches/plans/holdout.toml",
            text: FULL,
        },
        Self {
            suite: "tokens",
            name: "tokens",
            plan: "benches/plans/tokens.toml",
            text: include_str!("../../plans/tokens.toml"),
        },
    ];

    /// That of a suite.
    pub fn of(suite: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kept| kept.suite == suite)
    }

    /// The name of its file of records.
    pub fn file(&self) -> String {
        format!("{}.jsonl", self.suite)
    }

    /// The plan, as the program was built with it.
    ///
    /// # Errors
    /// It is not in order, which a test says first.
    pub fn read(&self) -> Result<Plan, BadPlan> {
        Plan::parse(self.text)
    }
}

/// What is wrong with a plan.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("the plan of held-out rows: {0}")]
pub struct BadPlan(pub String);

impl Plan {
    /// The plan of the comparison, or the quick one.
    ///
    /// # Errors
    /// It is not in order, which a test says first.
    pub fn of(quick: bool) -> Result<Self, BadPlan> {
        Self::parse(if quick { QUICK } else { FULL })
    }

    /// Reads a plan and checks that what it asks can be answered.
    ///
    /// # Errors
    /// What is wrong.
    pub fn parse(text: &str) -> Result<Self, BadPlan> {
        let plan: Self = toml::from_str(text).map_err(|e| BadPlan(e.to_string()))?;
        plan.check().map_err(BadPlan)?;
        Ok(plan)
    }

    fn check(&self) -> Result<(), String> {
        let positive = |what: &str, value: f64| match value.is_finite() && value > 0.0 {
            true => Ok(()),
            false => Err(format!("{what} of {value}")),
        };
        positive("a share", self.share)?;
        if self.share >= 1.0 {
            return Err(format!("a share of {}", self.share));
        }
        if self.seeds.is_empty() || self.fits.is_empty() {
            return Err("no seed, or no fit".to_owned());
        }
        positive("a limit", self.seconds)?;
        for fits in &self.fits {
            if fits.top.is_empty() || fits.amplitudes.is_empty() || fits.top.contains(&0) {
                return Err(format!("{}: no active atom, or no amplitude", fits.name));
            }
        }
        if self.autoencoder == Autoencoder::default() {
            return Ok(());
        }
        let Autoencoder {
            latents,
            active,
            learning_rates,
            batch,
            gain,
            ceiling_seconds,
        } = &self.autoencoder;
        let fewest = latents.iter().min().copied().unwrap_or_default();
        let wrong = |k: &usize| *k == 0 || *k > fewest;
        if let Some(k) = active.iter().find(|k| wrong(k)) {
            return Err(format!("{k} of {fewest} latents"));
        }
        if active.is_empty() || learning_rates.is_empty() || *batch == 0 {
            return Err("an autoencoder that is not trained".to_owned());
        }
        for rate in learning_rates {
            positive("a learning rate", *rate)?;
        }
        positive("a gain", *gain)?;
        positive("a ceiling", *ceiling_seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rounds::plan::Tokens;
    use broadhead_sae::Dictionary;

    #[test]
    fn both_plans_are_in_order_and_the_first_compares_equal_decoder_rows() {
        let full = Plan::of(false).unwrap();
        assert_eq!(full.name, Kept::ALL[0].name);
        assert_eq!(full.data, Source::Given(Tokens::Tokens));
        let latents = full.autoencoder.latents[0];
        for fits in &full.fits {
            let dictionary: Dictionary = fits.atoms.parse().unwrap();
            assert_eq!(dictionary.features() - 1, latents, "{}", fits.name);
        }
        let quick = Plan::of(true).unwrap();
        assert!(matches!(quick.data, Source::Made { .. }));
        for kept in Kept::ALL {
            assert_eq!(kept.read().unwrap().name, kept.name);
            assert_ne!(quick.name, kept.name);
        }
    }

    #[test]
    fn a_plan_that_cannot_be_answered_is_refused_by_what_is_wrong() {
        for (from, to, said) in [
            ("seeds = [0, 1]", "seeds = []", "no seed"),
            ("share = 0.1", "share = 1.0", "a share of 1"),
            ("share = 0.1", "share = nan", "NaN"),
            ("seconds = 0.3", "seconds = 0.0", "a limit of 0"),
            ("top = [1, 2]", "top = [0]", "4 circles"),
            ("active = [1, 2]", "active = [9]", "9 of 8"),
            ("[1e-3, 3e-3]", "[]", "not trained"),
            ("[1e-3, 3e-3]", "[-1.0]", "a learning rate of -1"),
            ("gain = 0.001", "gain = 0.0", "a gain of 0"),
            ("name = \"quick\"", "name = \"quick\"\nother = 1", "unknown"),
            ("[\"one\", \"fitted\"]", "[\"two\"]", "two"),
        ] {
            assert!(QUICK.contains(from), "{from}");
            let error = Plan::parse(&QUICK.replace(from, to)).unwrap_err();
            assert!(error.to_string().contains(said), "{to}: {error}");
        }
    }
}
