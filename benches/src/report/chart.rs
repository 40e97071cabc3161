//! Charts: one row a case, one mark a contender, time on a logarithmic axis.

use super::group::{self, Group};
use crate::cell::{Phase, is_auto};
use crate::error::Error;
use plotters::coord::Shift;
use plotters::prelude::*;

/// Distinct without colour sight alone (Okabe and Ito), in the order of the contenders.
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
];

/// Pixels: a row, the margins, the width.
const ROW: u32 = 26;
const TOP: u32 = 44;
const BOTTOM: u32 = 48;
const WIDTH: u32 = 860;
const LABELS: u32 = 290;

/// The chart of one phase.
///
/// # Errors
/// [`Error::Chart`].
pub(super) fn svg(groups: &[Group], phase: Phase) -> Result<String, Error> {
    let groups: Vec<&Group> = groups
        .iter()
        .filter(|g| g.entries.iter().any(|e| e.phase == phase))
        .collect();
    let names = group::contenders_of(&groups);
    let times: Vec<f64> = groups
        .iter()
        .flat_map(|g| {
            names.iter().filter_map(|name| {
                g.outcome(name, phase)
                    .map_or(None, |(s, _)| Some(1e3 * s.median))
            })
        })
        .collect();
    let low = times.iter().copied().fold(f64::INFINITY, f64::min);
    let high = times.iter().copied().fold(0.0, f64::max);
    let range = if low <= high {
        (low / 1.5, high * 1.5)
    } else {
        (0.1, 1.0)
    };
    let height = TOP + BOTTOM + ROW * groups.len() as u32;
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, (WIDTH, height)).into_drawing_area();
        draw(&area, &groups, &names, phase, range).map_err(|e| Error::Chart(e.to_string()))?;
        area.present().map_err(|e| Error::Chart(e.to_string()))?;
    }
    Ok(text)
}

type Drawn<'d> = Result<(), DrawingAreaErrorKind<<SVGBackend<'d> as DrawingBackend>::ErrorType>>;

fn draw<'d>(
    area: &DrawingArea<SVGBackend<'d>, Shift>,
    groups: &[&Group],
    names: &[String],
    phase: Phase,
    (low, high): (f64, f64),
) -> Drawn<'d> {
    area.fill(&WHITE)?;
    let (left, right) = (LABELS as i32, WIDTH as i32 - 24);
    let (top, bottom) = (TOP as i32, (TOP + ROW * groups.len() as u32) as i32);
    let x = |ms: f64| {
        left + ((ms / low).ln() / (high / low).ln() * f64::from(right - left)).round() as i32
    };
    let label = ("sans-serif", 12).into_font().color(&RGBColor(60, 60, 60));
    let grid = RGBColor(225, 225, 225);
    let mut decade = 10.0_f64.powf(low.log10().ceil());
    while decade <= high {
        let at = x(decade);
        area.draw(&PathElement::new(vec![(at, top), (at, bottom)], grid))?;
        area.draw(&Text::new(
            format!("{decade} ms"),
            (at - 14, bottom + 8),
            label.clone(),
        ))?;
        decade *= 10.0;
    }
    for (row, group) in groups.iter().enumerate() {
        let y = top + (row as u32 * ROW + ROW / 2) as i32;
        area.draw(&PathElement::new(vec![(left, y), (right, y)], grid))?;
        let words: String = group.name.chars().take(46).collect();
        area.draw(&Text::new(words, (10, y - 7), label.clone()))?;
        for (index, name) in names.iter().enumerate() {
            if let Ok((summary, _)) = group.outcome(name, phase) {
                let colour = COLOURS[index % COLOURS.len()];
                let centre = (x(1e3 * summary.median), y);
                // The planner's choice is a ring around the mark of what it chose.
                if is_auto(name) {
                    area.draw(&Circle::new(centre, 8, colour.stroke_width(2)))?;
                } else {
                    area.draw(&Circle::new(centre, 5, colour.filled()))?;
                }
            }
        }
    }
    let mut at = 10;
    area.draw(&Text::new(format!("{phase}:"), (at, 14), label.clone()))?;
    at += 14 + 7 * phase.as_str().len() as i32;
    for (index, name) in names.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        area.draw(&Circle::new((at, 20), 5, colour.filled()))?;
        area.draw(&Text::new(name.clone(), (at + 10, 14), label.clone()))?;
        at += 30 + 8 * name.len() as i32;
    }
    Ok(())
}
