//! Rows of a Euclidean atom: the first two coordinates, or lanes where there is only one.

use super::canvas::{Anchor, Canvas, FRAME, INK, TextLook};
use super::circle::quantile;
use super::legend::shorten;
use super::palette;
use super::panel::{Drawn, Rect, View};
use super::tags::Tags;
use crate::labels::NAMED;

/// Draws a scatter of the first two coordinates, or of one coordinate in lanes.
pub(super) fn draw(canvas: &Canvas, rect: Rect, drawn: &Drawn<'_>, points: &[Vec<f64>]) {
    let axes = points.first().map_or(0, Vec::len);
    if axes >= 2 {
        draw_plane(canvas, rect, drawn, points);
    } else {
        draw_lanes(canvas, rect, drawn, points);
    }
    let across = match axes {
        0 | 1 => "the coordinate".to_owned(),
        2 => "first coordinate".to_owned(),
        more => format!("first of {more} coordinates"),
    };
    let look = TextLook::new(11.0, INK);
    let below = look.anchor(Anchor::Right, Anchor::Bottom);
    canvas.text([rect.right() - 6.0, rect.bottom() - 16.0], &across, &below);
    if axes >= 2 {
        let above = look.anchor(Anchor::Left, Anchor::Top);
        canvas.text(
            [rect.left + 6.0, rect.top + 5.0],
            "second coordinate",
            &above,
        );
    }
}

fn draw_plane(canvas: &Canvas, rect: Rect, drawn: &Drawn<'_>, points: &[Vec<f64>]) {
    let plane: Vec<[f64; 2]> = points.iter().map(|p| [p[0], p[1]]).collect();
    let center = [0, 1].map(|axis| quantile(plane.iter().map(|p| p[axis]), 0.5));
    let far = |p: &[f64; 2]| (p[0] - center[0]).abs().max((p[1] - center[1]).abs());
    let reach = 1.1 * quantile(plane.iter().map(far), 0.998);
    let view = View::around(center, reach, &rect);
    view.grid(canvas, &rect);
    rect.frame(canvas);
    let radius = drawn.radius(&rect);
    for position in drawn.picks().filter(|&p| far(&plane[p]) <= reach) {
        let point = plane[position];
        let color = drawn.color(position, || {
            palette::cyclic((point[1] - center[1]).atan2(point[0] - center[0]))
        });
        canvas.disc(view.at(point), radius, color, drawn.opacity());
    }
    let mut tags = Tags::new(canvas, TextLook::new(12.5, INK).bold(), rect.bounds());
    for (name, _, positions) in drawn.named() {
        let count = positions.len() as f64;
        let mean =
            [0, 1].map(|axis| positions.iter().map(|&p| plane[p][axis]).sum::<f64>() / count);
        let places = positions.iter().map(|&p| view.at(plane[p]));
        tags.beside(view.at(mean), places, &shorten(name));
    }
}

/// One lane for each group and a last one for all unnamed groups, or a single lane; rows are spread
/// within their lane so that they can be seen.
fn draw_lanes(canvas: &Canvas, rect: Rect, drawn: &Drawn<'_>, points: &[Vec<f64>]) {
    let values: Vec<f64> = points
        .iter()
        .map(|p| p.first().copied().unwrap_or(0.0))
        .collect();
    let center = quantile(values.iter().copied(), 0.5);
    let reach = 1.1 * quantile(values.iter().map(|v| (v - center).abs()), 0.998);
    let view = View::around([center, 0.0], reach, &rect);
    view.lines(canvas, &rect, 0);
    rect.frame(canvas);
    let members = drawn.members();
    let lanes = members.len().clamp(1, NAMED + 1);
    let height = (rect.side - 40.0) / lanes as f64;
    let middle = |lane: usize| rect.top + 10.0 + (lane as f64 + 0.5) * height;
    let mut lane_of_group = vec![0; drawn.group_of(0).map_or(1, |(_, count)| count)];
    for (index, (_, _, positions)) in members.iter().enumerate() {
        let lane = index.min(NAMED);
        if let Some((group, _)) = drawn.group_of(positions[0]) {
            lane_of_group[group] = lane;
        }
        if index > NAMED {
            continue;
        }
        let y = middle(lane) + height / 2.0;
        canvas.line([[rect.left, y], [rect.right(), y]], FRAME, 0.6, 0.8);
    }
    let radius = drawn.radius(&rect);
    let spread = (values.len().max(2) as f64).recip();
    for position in drawn.picks() {
        if (values[position] - center).abs() > reach {
            continue;
        }
        let lane = drawn
            .group_of(position)
            .map_or(0, |(g, _)| lane_of_group[g]);
        // Multiples of the golden ratio spread any number of rows evenly.
        let golden = (position as f64 * 0.618_033_988_749_895).fract() - 0.5;
        let y = middle(lane) + 0.7 * height * golden;
        let x = view.at([values[position], 0.0])[0];
        let color = drawn.color(position, || palette::sequential(position as f64 * spread));
        canvas.disc([x, y], radius, color, drawn.opacity());
    }
    let [left, top, right, bottom] = rect.bounds();
    let inside = [left, top, right - 8.0, bottom];
    let mut tags = Tags::new(canvas, TextLook::new(12.0, INK).bold(), inside);
    for (lane, (name, _, _)) in members.iter().take(NAMED).enumerate() {
        // The tag would lie beyond the right edge, so it is moved in.
        tags.put([rect.right(), middle(lane)], &shorten(name));
    }
}
