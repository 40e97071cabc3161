//! The page in Markdown.

use super::{Halves, Model, peer_cells, suffix, trained};
use crate::holdout::plan::Plan;
use crate::holdout::record::{Explained, What};
use crate::receipt::Receipt;
use crate::report::rounds::spread;
use crate::report::table::push_receipt;
use std::fmt::Write;

const HEAD: &str = "<!-- Made by `cargo xtask report` from benches/records. -->\n\n";

/// The page of both halves.
pub(super) fn markdown(plan: &Plan, halves: &Halves) -> String {
    let mut page = HEAD.to_owned();
    for refused in &halves.refused {
        let _ = writeln!(
            page,
            "*Records are refused and must be taken again: {refused}.*\n"
        );
    }
    let has_peer = peer_cells(plan).next().is_some();
    for (half, name, wanted) in [
        (&halves.ours, "Our fits", true),
        (&halves.peers, "The autoencoders", has_peer),
    ] {
        if half.is_empty() && wanted {
            let _ = writeln!(page, "*{name} are not measured yet: there is no record.*\n");
        }
    }
    if !halves.are_comparable() {
        page.push_str("*Records of one seed held out different rows: nothing is compared.*\n");
        return page;
    }
    let (models, missing) = halves.models(plan);
    push_models(&mut page, plan, &models);
    push_training(&mut page, plan, halves);
    if !missing.is_empty() {
        let _ = writeln!(page, "Not measured:\n");
        for reason in missing {
            let _ = writeln!(page, "- {reason}.");
        }
    }
    for (_, records) in &halves.ours {
        if let Some(record) = records.first() {
            push_receipt(&mut page, &record.receipt);
        }
    }
    for (_, records) in &halves.peers {
        if let Some(record) = records.first() {
            push_device_receipt(&mut page, &record.receipt);
        }
    }
    page
}

/// One table for each number of decoder rows.
fn push_models(page: &mut String, plan: &Plan, models: &[Model]) {
    let mut rows: Vec<usize> = models.iter().map(|model| model.decoder_rows).collect();
    rows.dedup();
    for decoder_rows in rows {
        let _ = writeln!(
            page,
            "*{decoder_rows} decoder rows*: explained variance of the {} % of the rows that a seed holds out, and of \
             the others; {}\n\n\
             | model | atoms on | numbers on | held out | training |\n\
             |---|--:|--:|--:|--:|",
            (1e4 * plan.share).round() / 1e2,
            match plan.seeds.len() {
                1 => "one seed".to_owned(),
                seeds => format!("medians over {seeds} seeds, smallest and largest in brackets"),
            },
        );
        for model in models.iter().filter(|m| m.decoder_rows == decoder_rows) {
            let explained = |of: fn(&Explained) -> f64| spread(&model.values(of));
            let _ = writeln!(
                page,
                "| {} | {} | {} | {} | {} |",
                model.words,
                count(model.median(|e| e.active_atoms), model.top),
                count(model.median(|e| e.active_numbers), 2 * model.top),
                explained(|e| e.held_out),
                explained(|e| e.training),
            );
        }
        page.push('\n');
    }
}

/// A mean of counts: whole where it is so to two digits.
fn count(mean: f64, most: usize) -> String {
    let whole = mean.round();
    match (mean - whole).abs() < 0.005 && whole <= most as f64 {
        true => format!("{whole}"),
        false => format!("{mean:.2}"),
    }
}

/// How the autoencoders were trained.
fn push_training(page: &mut String, plan: &Plan, halves: &Halves) {
    let mut lines = String::new();
    for (device, records) in &halves.peers {
        let of = suffix(device, halves.peers.len());
        for (latents, active) in peer_cells(plan) {
            let Ok(trained) = trained(plan, records, &What::Autoencoder { latents, active }) else {
                continue;
            };
            let each = |say: &dyn Fn(usize) -> String| {
                let said: Vec<String> = (0..trained.len()).map(say).collect();
                said.join(", ")
            };
            let gains = trained.iter().map(|t| t.last_third_gain);
            let reached = trained.iter().filter(|t| t.ceiling_reached).count();
            let _ = writeln!(
                lines,
                "| {latents}, top-{active}{of} | {} | {} | {:.5} | {reached} of {} | {} |",
                each(&|i| trained[i].learning_rate.to_string()),
                each(&|i| trained[i].steps.to_string()),
                gains.fold(f64::NEG_INFINITY, f64::max),
                trained.len(),
                each(&|i| trained[i].unused.to_string()),
            );
        }
    }
    if lines.is_empty() {
        return;
    }
    let asked = &plan.autoencoder;
    let rates: Vec<String> = asked.learning_rates.iter().map(f64::to_string).collect();
    let _ = writeln!(
        page,
        "*How the autoencoders were trained*, a number each seed. Learning rates were {}; the last third of the \
         training was to gain less than {}, with a ceiling of {} s for all of as many latents\n\n\
         | latents | best learning rate | steps | most gained by a last third | ended at the ceiling | latents that no \
         training row has on |\n\
         |---|---|---|--:|--:|---|\n{lines}",
        rates.join(", "),
        asked.gain,
        asked.ceiling_seconds,
    );
}

/// As a host's, with the device, its clocks and the program.
fn push_device_receipt(page: &mut String, receipt: &Receipt) {
    push_receipt(page, receipt);
    let Some(device) = &receipt.device else {
        return;
    };
    let clocks = [&device.before, &device.after].into_iter().flatten();
    let clocks: Vec<String> = clocks
        .filter_map(|reading| Some(format!("{} MHz", reading.sm_clock_mhz?)))
        .collect();
    let clocks = match clocks.is_empty() {
        true => "clocks not read".to_owned(),
        false => format!("clocks before and after {}", clocks.join(", ")),
    };
    let _ = writeln!(
        page,
        "\n<small>Run {} on an {}, {clocks}; program {}.</small>",
        device.run,
        device.info.name,
        &device.binary[..12.min(device.binary.len())],
    );
}
