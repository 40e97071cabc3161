//! What the suite runs and asks, as data: `benches/plans/rounds*.toml`.

use super::law::Shape;
use serde::{Deserialize, Serialize};

/// The plan of a record.
const FULL: &str = include_str!("../../plans/rounds.toml");

/// A plan that shows in seconds whether the suite works.
const QUICK: &str = include_str!("../../plans/rounds-quick.toml");

/// A plan.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Its name, which stands in every record.
    pub name: String,
    /// Seeds of the fits and of the peer.
    pub seeds: Vec<u64>,
    /// Seconds of the peer's rounds.
    pub peer_seconds: f64,
    /// What a process may take beyond its limit.
    pub grace_seconds: f64,
    /// Seconds of the fits whose rounds are timed.
    pub round_seconds: f64,
    /// Their seeds.
    pub round_seeds: Vec<u64>,
    /// How far a size's rounds may be from the one law, as a factor.
    pub law_within: f64,
    /// What is fitted.
    pub cases: Vec<Case>,
    /// Sizes whose rounds are held against one law.
    #[serde(default)]
    pub sizes: Vec<Size>,
    /// Fits that leave a part out.
    #[serde(default)]
    pub variants: Vec<Variant>,
    /// Rows that are fitted in memory, and with less memory than they take.
    #[serde(default)]
    pub streams: Vec<Stream>,
    /// Requirements on explained variance.
    #[serde(default)]
    pub fits: Vec<FitAsked>,
    /// Requirements on a round's time.
    #[serde(default)]
    pub rounds: Vec<RoundAsked>,
}

/// Where rows come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", untagged)]
pub enum Source {
    /// The file that the command is given.
    Given(Tokens),
    /// Noisy points on random circles.
    Made {
        /// Rows.
        rows: usize,
        /// Columns.
        columns: usize,
    },
}

/// The word for the file that the command is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tokens {
    /// Activations of a language model, a row a token.
    Tokens,
}

/// A dictionary of circles on some rows.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// A few words for the tables.
    pub name: String,
    /// Its rows.
    pub data: Source,
    /// Circles.
    pub atoms: usize,
    /// Circles that a row chooses.
    pub top: usize,
    /// Whether their amplitudes are fitted.
    #[serde(default)]
    pub fitted: bool,
    /// Limits of our fits.
    pub seconds: Vec<f64>,
    /// Explained variances that both sides are timed to.
    #[serde(default)]
    pub levels: Vec<f64>,
}

/// A size whose rounds are held against the law.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Size {
    /// Its rows.
    pub data: Source,
    /// Circles.
    pub atoms: usize,
    /// Circles that a row chooses.
    pub top: usize,
    /// The limit of the fit.
    pub seconds: f64,
}

/// A fit of a case with other options, over the seeds of rounds.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    /// The case's name.
    pub case: String,
    /// A few words for the tables.
    pub name: String,
    /// The limit.
    pub seconds: f64,
    /// Words of the command line.
    pub options: Vec<String>,
}

/// Rows that are fitted in memory and then under a limit, without a limit of time.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stream {
    /// Its rows.
    pub data: Source,
    /// Circles.
    pub atoms: usize,
    /// Circles that a row chooses.
    pub top: usize,
    /// The limit, a word of `--memory`.
    pub memory: String,
    /// The most bytes that may be resident under it.
    pub resident_at_most: f64,
    /// How much longer it may take, as a factor.
    pub within: f64,
    /// Other words of the command line, of both fits.
    #[serde(default)]
    pub options: Vec<String>,
}

impl Stream {
    /// Its sizes in words.
    pub fn words(&self) -> String {
        let (atoms, top) = (self.atoms, self.top);
        match self.data {
            Source::Made { rows, columns } => {
                format!("{rows} x {columns}, {atoms} circles, top-{top}")
            }
            Source::Given(_) => format!("tokens, {atoms} circles, top-{top}"),
        }
    }

    /// Whether its rows and circles have this shape.
    pub fn is_of(&self, shape: &Shape) -> bool {
        let rows = match self.data {
            Source::Made { rows, columns } => (rows, columns) == (shape.rows, shape.columns),
            Source::Given(_) => true,
        };
        rows && (self.atoms, self.top) == (shape.atoms, shape.top)
    }
}

/// Over which seeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Over {
    /// Each of them.
    EverySeed,
    /// Their median.
    Median,
}

/// An explained variance that a process must reach.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FitAsked {
    /// The case's name.
    pub case: String,
    /// The limit: one of the case's.
    pub seconds: f64,
    /// Over which seeds.
    pub of: Over,
    /// The explained variance.
    pub at_least: f64,
    /// Whether the fit must have converged.
    #[serde(default)]
    pub converged: bool,
}

/// A time that a round may take.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoundAsked {
    /// The case's name.
    pub case: String,
    /// The precision.
    pub pulls: Pulls,
    /// Milliseconds.
    pub at_most: f64,
    /// Milliseconds of the peer's round where the target was set.
    pub peer: f64,
}

/// A precision: of the products with the rows, or of all of the peer's work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pulls {
    /// What our fit chooses by itself.
    Auto,
    /// Single.
    Fp32,
    /// Double.
    Fp64,
}

impl Pulls {
    /// The word of our command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Fp32 => "fp32",
            Self::Fp64 => "fp64",
        }
    }

    /// NumPy's name of it; what it has no name for is double.
    pub fn dtype(self) -> &'static str {
        match self {
            Self::Fp32 => "float32",
            Self::Auto | Self::Fp64 => "float64",
        }
    }
}

/// What is wrong with a plan.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("the plan of rounds: {0}")]
pub struct BadPlan(pub String);

impl Plan {
    /// The file of the plan of a record, under the repository.
    pub const FILE: &str = "benches/plans/rounds.toml";

    /// The name of the plan whose records stand in the repository.
    pub const RECORDED: &str = "full";

    /// The plan of a record, or the quick one.
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

    /// The case of a name.
    pub fn case(&self, name: &str) -> Option<&Case> {
        self.cases.iter().find(|case| case.name == name)
    }

    fn check(&self) -> Result<(), String> {
        let positive = |what: &str, seconds: f64| match seconds.is_finite() && seconds > 0.0 {
            true => Ok(()),
            false => Err(format!("{what} of {seconds}")),
        };
        if self.seeds.is_empty() || self.round_seeds.is_empty() {
            return Err("no seed".to_owned());
        }
        positive("seconds of the peer", self.peer_seconds)?;
        positive("a grace", self.grace_seconds)?;
        positive("seconds of rounds", self.round_seconds)?;
        if self.law_within.is_nan() || self.law_within <= 1.0 {
            return Err(format!("within {} of a law", self.law_within));
        }
        for case in &self.cases {
            check_shape(case.data, case.atoms, case.top)
                .map_err(|e| format!("{}: {e}", case.name))?;
            if case.seconds.is_empty() {
                return Err(format!("{}: no limit", case.name));
            }
            for seconds in &case.seconds {
                positive("a limit", *seconds)?;
            }
        }
        for size in &self.sizes {
            check_shape(size.data, size.atoms, size.top)?;
            positive("a limit", size.seconds)?;
        }
        for variant in &self.variants {
            let case = self.case(&variant.case);
            case.ok_or_else(|| format!("no case {:?}", variant.case))?;
            positive("a limit", variant.seconds)?;
        }
        for stream in &self.streams {
            check_shape(stream.data, stream.atoms, stream.top)?;
            positive("bytes", stream.resident_at_most)?;
            positive("a factor", stream.within)?;
        }
        for asked in &self.fits {
            let case = self.case(&asked.case);
            let case = case.ok_or_else(|| format!("no case {:?}", asked.case))?;
            if !case.seconds.contains(&asked.seconds) {
                return Err(format!("{}: no limit of {} s", case.name, asked.seconds));
            }
        }
        for asked in &self.rounds {
            let case = self.case(&asked.case);
            case.ok_or_else(|| format!("no case {:?}", asked.case))?;
            positive("milliseconds", asked.at_most)?;
            positive("milliseconds of the peer", asked.peer)?;
        }
        Ok(())
    }
}

fn check_shape(data: Source, atoms: usize, top: usize) -> Result<(), String> {
    if top == 0 || top > atoms {
        return Err(format!("{top} of {atoms} circles"));
    }
    match data {
        // Every circle needs two rows to start from.
        Source::Made { rows, columns } if rows < 2 * atoms || columns < 2 => {
            Err(format!("{rows} x {columns} rows for {atoms} circles"))
        }
        Source::Made { .. } | Source::Given(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_plans_are_in_order() {
        let full = Plan::of(false).unwrap();
        assert_eq!(full.name, Plan::RECORDED);
        assert_eq!((full.cases.len(), full.sizes.len()), (5, 8));
        assert_eq!(full.seeds.len(), 5);
        assert!(
            full.cases
                .iter()
                .all(|case| case.data == Source::Given(Tokens::Tokens))
        );
        let quick = Plan::of(true).unwrap();
        assert!(
            quick
                .cases
                .iter()
                .all(|case| matches!(case.data, Source::Made { .. }))
        );
    }

    #[test]
    fn a_plan_that_cannot_be_answered_is_refused_by_what_is_wrong() {
        for (from, to, said) in [
            ("seeds = [0]\npeer", "seeds = []\npeer", "no seed"),
            ("peer_seconds = 0.2", "peer_seconds = nan", "NaN"),
            ("peer_seconds = 0.2", "peer_seconds = -1.0", "-1"),
            ("law_within = 1.3", "law_within = 0.9", "0.9"),
            (
                "name = \"quick\"",
                "name = \"quick\"\nother = 1",
                "unknown field",
            ),
            (
                "top = 2\nseconds = [0.2, 0.4]",
                "top = 5\nseconds = [0.2]",
                "5 of 4",
            ),
            ("seconds = [0.2, 0.4]", "seconds = []", "no limit"),
            ("seconds = 0.4\nof", "seconds = 0.5\nof", "0.5 s"),
            (
                "rows = 400, columns = 16 }\natoms = 4\ntop = 2\nseconds = [",
                "rows = 7, columns = 16 }\natoms = 4\ntop = 2\nseconds = [",
                "7 x 16",
            ),
            (
                "data = { rows = 300, columns = 8 }",
                "data = \"elsewhere\"",
                "data",
            ),
            ("pulls = \"fp32\"", "pulls = \"fp16\"", "fp16"),
        ] {
            assert!(QUICK.contains(from), "{from}");
            let error = Plan::parse(&QUICK.replace(from, to)).unwrap_err();
            assert!(error.to_string().contains(said), "{to}: {error}");
        }
    }
}
