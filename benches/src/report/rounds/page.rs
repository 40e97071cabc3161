//! The page in Markdown.

use super::judge::Judged;
use super::{OnMachine, median};
use crate::record::Refused;
use crate::report::table::push_receipt;
use crate::report::verdict::short;
use crate::rounds::Part;
use crate::rounds::curve::{Curve, median_time};
use crate::rounds::law::RefitLaw;
use crate::rounds::plan::{Case, Pulls, Variant};
use crate::rounds::record::{Fitted, What};
use broadhead_gate::Decline;
use std::fmt::Write;

const HEAD: &str = "<!-- Made by `cargo xtask report` from benches/records. -->\n\n";

/// The page where no record is, or where they are refused.
pub(super) fn without_records(refused: Option<&Refused>, judged: &[Judged]) -> String {
    let mut page = HEAD.to_owned();
    let _ = match refused {
        None => writeln!(page, "*Not measured yet: there is no record.*\n"),
        Some(refused) => writeln!(
            page,
            "*The records are refused and must be taken again: {refused}.*\n"
        ),
    };
    push_judged(&mut page, judged);
    page
}

/// The page of each machine's records.
pub(super) fn markdown(machines: &[(&OnMachine<'_>, Vec<Judged>)]) -> String {
    let mut page = HEAD.to_owned();
    for (at, (on, judged)) in machines.iter().enumerate() {
        if machines.len() > 1 {
            let between = if at > 0 { "\n" } else { "" };
            let _ = writeln!(page, "{between}**{}**\n", on.machine);
        }
        on.push_fits(&mut page);
        on.push_rounds(&mut page);
        on.push_levels(&mut page);
        on.push_variants(&mut page);
        on.push_sizes(&mut page);
        on.push_streams(&mut page);
        push_judged(&mut page, judged);
        if let Some(record) = on.records.first() {
            push_receipt(&mut page, &record.receipt);
        }
    }
    page
}

fn push_judged(page: &mut String, judged: &[Judged]) {
    for judged in judged {
        let word = judged.verdict.word();
        let _ = writeln!(page, "- **{word}**: {}: {}.", judged.name, judged.detail);
    }
}

/// A cell of a table: what was found, or a word for why nothing was.
fn cell(found: Result<String, Decline>) -> String {
    match found {
        Ok(text) => text,
        Err(Decline::NoSample) => "no record".to_owned(),
        Err(_) => "declined".to_owned(),
    }
}

impl OnMachine<'_> {
    fn push_fits(&self, page: &mut String) {
        let ran = self
            .records
            .iter()
            .find_map(|record| match record.run.what {
                What::Peer { seconds, .. } => Some(format!(" (NumPy ran for {seconds} s)")),
                _ => None,
            });
        let _ = writeln!(
            page,
            "*Explained variance* of the final model of a process with a limit, and what NumPy had reached by \
             then{}; medians over seeds, smallest and largest in brackets\n\n\
             | case | limit, s | ours | process, s | converged | NumPy FP32 | NumPy FP64 |\n\
             |---|--:|--:|--:|--:|--:|--:|",
            ran.unwrap_or_default()
        );
        for case in &self.plan.cases {
            for &seconds in &case.seconds {
                let fits = self.fits(&case.name, seconds);
                let of =
                    |say: &dyn Fn(&[&Fitted]) -> String| cell(fits.clone().map(|fits| say(&fits)));
                let explained = of(&|fits| {
                    let values: Vec<f64> = fits.iter().map(|fit| fit.explained_variance).collect();
                    spread(&values)
                });
                let wall = of(&|fits| {
                    let walls: Vec<f64> = fits.iter().map(|fit| fit.wall).collect();
                    median(&walls).map_or_else(String::new, short)
                });
                let converged = of(&|fits| {
                    let converged = fits.iter().filter(|fit| fit.converged == Some(true));
                    format!("{} of {}", converged.count(), fits.len())
                });
                let peer = |pulls| {
                    let runs = self.peers(&case.name, pulls);
                    cell(runs.map(|runs| {
                        let at = runs.iter().map(|run| run.curve.at(seconds));
                        let at: Option<Vec<f64>> = at.collect();
                        at.map_or_else(|| "no round yet".to_owned(), |at| spread(&at))
                    }))
                };
                let (single, double) = (peer(Pulls::Fp32), peer(Pulls::Fp64));
                let name = &case.name;
                let _ = writeln!(
                    page,
                    "| {name} | {seconds} | {explained} | {wall} | {converged} | {single} | {double} |"
                );
            }
        }
        page.push('\n');
    }

    fn push_rounds(&self, page: &mut String) {
        page.push_str(
            "*A round*, median in milliseconds\n\n\
             | case | ours FP32 | NumPy FP32 | ours / NumPy | ours FP64 | NumPy FP64 | ours / NumPy |\n\
             |---|--:|--:|--:|--:|--:|--:|\n",
        );
        for case in &self.plan.cases {
            let mut row = format!("| {} |", case.name);
            for pulls in [Pulls::Fp32, Pulls::Fp64] {
                let ours = self.round(&case.name, pulls);
                let peer = self.peer_round(&case.name, pulls);
                let ratio = ours.clone().and_then(|ours| Ok(ours / peer.clone()?));
                let ms = |seconds: Result<f64, Decline>| cell(seconds.map(|s| short(1e3 * s)));
                let _ = write!(
                    row,
                    " {} | {} | {} |",
                    ms(ours),
                    ms(peer),
                    cell(ratio.map(short))
                );
            }
            let _ = writeln!(page, "{row}");
        }
        page.push('\n');
    }

    /// The time to equal explained variance.
    fn push_levels(&self, page: &mut String) {
        page.push_str(
            "*Seconds to equal explained variance*, medians over seeds. Ours are from the start of the process, \
             after a round; in brackets those of the first whole process that ended there. NumPy's are from its \
             first round\n\n\
             | case | explained variance | ours | NumPy FP32 | NumPy FP64 | ours / NumPy FP32 |\n\
             |---|---|--:|--:|--:|--:|\n",
        );
        for case in &self.plan.cases {
            for level in Level::of(case) {
                let row = self.level(case, level);
                let row = row.unwrap_or_else(|reason| format!("{} | | | |", cell(Err(reason))));
                let _ = writeln!(page, "| {} | {} | {row}", case.name, level.words(case));
            }
        }
        page.push('\n');
    }

    fn level(&self, case: &Case, level: Level) -> Result<String, Decline> {
        let curves = self.curves(case)?;
        let levels: Vec<f64> = match level {
            Level::Given(value) => vec![value; curves.len()],
            Level::Peer => {
                let runs = self.peers(&case.name, Pulls::Fp32)?;
                runs.iter().map(|run| run.explained_variance).collect()
            }
            Level::First => {
                let first = case.seconds.first().ok_or(Decline::NoSample)?;
                let fits = self.fits(&case.name, *first)?;
                fits.iter().map(|fit| fit.explained_variance).collect()
            }
        };
        let times = |curves: &mut dyn Iterator<Item = &Curve>| -> Vec<Option<f64>> {
            let pairs = curves.zip(&levels);
            pairs.map(|(curve, level)| curve.reaches(*level)).collect()
        };
        let ours = times(&mut curves.iter());
        let mut wholes = vec![None; levels.len()];
        for &seconds in &case.seconds {
            for ((whole, level), fit) in wholes
                .iter_mut()
                .zip(&levels)
                .zip(self.fits(&case.name, seconds)?)
            {
                if fit.explained_variance >= *level {
                    *whole = Some(whole.map_or(fit.wall, |known: f64| known.min(fit.wall)));
                }
            }
        }
        let peer = |pulls| {
            let runs = self.peers(&case.name, pulls);
            runs.map(|runs| times(&mut runs.iter().map(|run| &run.curve)))
        };
        let (single, double) = (peer(Pulls::Fp32), peer(Pulls::Fp64));
        let ratio = match (median_time(&ours), single.as_ref().map(|t| median_time(t))) {
            (Some(ours), Ok(Some(peer))) => short(ours / peer),
            _ => String::new(),
        };
        Ok(format!(
            "{} ({}) | {} | {} | {ratio} |",
            reached(&ours),
            reached(&wholes),
            cell(single.map(|times| reached(&times))),
            cell(double.map(|times| reached(&times))),
        ))
    }

    /// What parts of a fit bring.
    fn push_variants(&self, page: &mut String) {
        if self.plan.variants.is_empty() {
            return;
        }
        page.push_str(
            "*What each part brings*: explained variance of fits that leave it out; medians over seeds, smallest and \
             largest in brackets\n\n| case | limit, s | fit | explained variance | process, s |\n|---|--:|---|--:|--:|\n",
        );
        for variant in &self.plan.variants {
            let found = self.variant(variant).map(|fits| {
                let of = |say: fn(&Fitted) -> f64| -> Vec<f64> {
                    fits.iter().map(|fit| say(fit)).collect()
                };
                let wall = median(&of(|fit| fit.wall)).map_or_else(String::new, short);
                format!("{} | {wall}", spread(&of(|fit| fit.explained_variance)))
            });
            let Variant {
                case,
                name,
                seconds,
                ..
            } = variant;
            let found = found.unwrap_or_else(|reason| format!("{} |", cell(Err(reason))));
            let _ = writeln!(page, "| {case} | {seconds} | {name} | {found} |");
        }
        page.push('\n');
    }

    /// Rows in memory and with less.
    fn push_streams(&self, page: &mut String) {
        if self.plan.streams.is_empty() {
            return;
        }
        page.push_str(
            "*Less memory than rows*: seconds of the process and the most MiB that it had resident, in memory and with \
             a limit\n\n| rows | limit | in memory | with the limit | files |\n|---|--:|--:|--:|---|\n",
        );
        for stream in &self.plan.streams {
            let found = self.stream(stream).map(|(whole, tiled)| {
                let said = |fit: &Fitted| {
                    let resident = fit.resident.map(|bytes| bytes as f64 / f64::from(1 << 20));
                    let resident = resident
                        .map_or_else(|| "unknown".to_owned(), |mib| format!("{mib:.0} MiB"));
                    format!("{:.1} s, {resident}", fit.wall)
                };
                let Ok(tiled) = tiled else {
                    return format!("{} | refused | ", said(whole));
                };
                let same = match whole.outputs.is_some() && whole.outputs == tiled.outputs {
                    true => "the same to the byte",
                    false => "different",
                };
                format!("{} | {} | {same}", said(whole), said(tiled))
            });
            let _ = writeln!(
                page,
                "| {} | {} | {} |",
                stream.words(),
                stream.memory,
                found.unwrap_or_else(|reason| format!("{} | | ", cell(Err(reason))))
            );
        }
        page.push('\n');
        let mut own = self.records.iter();
        if let Some(record) = own.find(|record| record.run.what.part() == Part::Streams) {
            push_receipt(page, &record.receipt);
            page.push('\n');
        }
    }

    fn push_sizes(&self, page: &mut String) {
        page.push_str(
            "*A round by size*, median in milliseconds, beside the one law \
             $`a\\,n M p + b\\,n\\,\\text{atoms}\\,k + c\\,M^2 (M/3 + 2p)`$\n\n",
        );
        let fit = match self.fitted_law() {
            Ok(fit) => fit,
            Err(reason) => {
                let _ = writeln!(page, "*No law: {reason}.*\n");
                return;
            }
        };
        let rounds: Vec<_> = (fit.sizes.iter())
            .map(|size| (size.shape, size.measured))
            .collect();
        let refits = RefitLaw::fit(&rounds);
        page.push_str(
            "| rows | measured | law | measured / law | with refits | measured / that |\n\
             |---|--:|--:|--:|--:|--:|\n",
        );
        for size in &fit.sizes {
            let ms = |seconds: f64| short(1e3 * seconds);
            let with_refits = match &refits {
                Ok(refits) => {
                    let seconds = refits.seconds(&size.shape);
                    format!("{} | {}", ms(seconds), short(size.measured / seconds))
                }
                Err(reason) => format!("{reason} | "),
            };
            let _ = writeln!(
                page,
                "| {} | {} | {} | {} | {with_refits} |",
                size.shape,
                ms(size.measured),
                ms(size.fitted),
                short(size.ratio)
            );
        }
        let law = fit.law;
        let _ = writeln!(
            page,
            "\nIn picoseconds, $`a`$ is {}, $`b`$ {} and $`c`$ {}.\n",
            short(1e12 * law.a),
            short(1e12 * law.b),
            short(1e12 * law.c)
        );
        let Ok(RefitLaw { law, d }) = refits else {
            return;
        };
        let _ = writeln!(
            page,
            "With refits there is a fourth term, $`d\\,n k^2`$: after every choice a row refits all atoms that it has, \
             each beside the others. Then $`a`$ is {}, $`b`$ {}, $`c`$ {} and $`d`$ {}.\n",
            short(1e12 * law.a),
            short(1e12 * law.b),
            short(1e12 * law.c),
            short(1e12 * d)
        );
    }
}

/// An explained variance that both sides are timed to.
#[derive(Clone, Copy, Debug)]
enum Level {
    /// One for all seeds.
    Given(f64),
    /// The best of the peer's seed, in single precision.
    Peer,
    /// What our seed has at its first limit.
    First,
}

impl Level {
    fn of(case: &Case) -> Vec<Self> {
        let given = case.levels.iter().map(|level| Self::Given(*level));
        given.chain([Self::Peer, Self::First]).collect()
    }

    fn words(self, case: &Case) -> String {
        match self {
            Self::Given(level) => level.to_string(),
            Self::Peer => "the best of NumPy FP32".to_owned(),
            Self::First => {
                let first = case.seconds.first().copied().unwrap_or_default();
                format!("ours at {first} s")
            }
        }
    }
}

/// The median of times, or how many of them there are.
fn reached(times: &[Option<f64>]) -> String {
    let there = times.iter().flatten().count();
    match median_time(times) {
        Some(seconds) if there == times.len() => format!("{seconds:.2}"),
        Some(seconds) => format!("{seconds:.2}, {there} of {}", times.len()),
        None if there == 0 => "never".to_owned(),
        None => format!("{there} of {}", times.len()),
    }
}

/// The median, with the smallest and the largest where there are several.
pub(in crate::report) fn spread(values: &[f64]) -> String {
    let smallest = values.iter().copied().fold(f64::INFINITY, f64::min);
    let largest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    match median(values) {
        Some(median) if values.len() > 1 => format!("{median:.4} ({smallest:.4}, {largest:.4})"),
        Some(median) => format!("{median:.4}"),
        None => String::new(),
    }
}
