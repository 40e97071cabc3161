//! Rows around their fitted closed curve.

use super::canvas::{Anchor, Canvas, INK, MUTED, TextLook};
use super::legend::shorten;
use super::palette;
use super::panel::{Drawn, Rect, View, spread};
use super::tags::Tags;
use std::f64::consts::{PI, TAU};

/// The names' distance from the centre, as a multiple of the rows' reach.
const NAMES: f64 = 1.12;

/// Lines of a cone that are drawn.
const LINES: usize = 12;

/// Draws the rows, the curve with marks at its quarter turns, the lines of a cone, and each group's name in the
/// direction of its mean.
pub(super) fn draw(
    canvas: &Canvas,
    rect: Rect,
    drawn: &Drawn<'_>,
    angles: &[f64],
    points: &[[f64; 2]],
    (curve, cone): (&[[f64; 2]], bool),
) {
    let members = drawn.named();
    let center = mean(curve);
    let crowd = quantile(points.iter().map(|&p| distance(p, center)), 0.998);
    let curve_reach = curve
        .iter()
        .map(|&p| distance(p, center))
        .fold(0.0, f64::max);
    let data_reach = crowd.max(curve_reach);
    // Names stand outside the rows, so the widest one needs room.
    let look = TextLook::new(if rect.side > 400.0 { 15.0 } else { 11.0 }, INK).bold();
    let widest = members
        .iter()
        .map(|(name, _, _)| look.width(&shorten(name)) + 8.0)
        .fold(0.0, f64::max);
    let radius = (rect.side / 2.0 - widest).max(0.3 * rect.side) / NAMES;
    let reach = if members.is_empty() {
        data_reach * 1.12
    } else {
        data_reach * rect.side / (2.0 * radius)
    };
    let view = View::around(center, reach, &rect);
    view.grid(canvas, &rect);
    rect.frame(canvas);

    let names = mean_directions(&members, points, center);
    // Two names are apart as soon as they are apart in one direction.
    let width = |member: usize| look.width(&shorten(members[member].0)) + 6.0;
    let spread_names = spread(&names, |one, other, middle| {
        let (sine, cosine) = middle.sin_cos();
        let beside = (width(one) + width(other)) / 2.0 / sine.abs().max(1e-3);
        let above = look.height() / cosine.abs().max(1e-3);
        beside.min(above) / (radius * NAMES)
    });
    // A line from the centre through the rows, bent if the name had to move.
    for (member, (_, color, _)) in members.iter().enumerate() {
        let through = polar(center, names[member], data_reach);
        let end = polar(center, spread_names[member], data_reach * (NAMES - 0.04));
        let line = [center, through, end].map(|point| view.at(point));
        canvas.line(line, *color, 0.35, 1.0);
    }
    if cone {
        let between = curve.len().saturating_sub(1) / LINES;
        for &point in curve.iter().step_by(between.max(1)).take(LINES) {
            let length = distance(point, [0.0; 2]);
            if length > 0.0 {
                let end = point.map(|v| v * data_reach / length);
                canvas.line([view.at([0.0; 2]), view.at(end)], MUTED, 0.5, 0.8);
            }
        }
    }
    canvas.line(curve.iter().map(|&point| view.at(point)), INK, 0.75, 1.8);
    // Drawn before the rows, which the marks must not hide.
    quarter_turns(canvas, &view, &rect, center, curve, curve_reach);
    let dot = drawn.radius(&rect);
    for position in drawn.picks() {
        if distance(points[position], center) > reach {
            continue;
        }
        let color = drawn.color(position, || palette::cyclic(angles[position]));
        let place = view.at(points[position]);
        canvas.disc(place, dot, color, drawn.opacity());
    }

    for ((name, _, _), &direction) in members.iter().zip(&spread_names) {
        let place = view.at(polar(center, direction, data_reach * NAMES));
        let horizontal = match direction.cos() {
            c if c > 0.25 => Anchor::Left,
            c if c < -0.25 => Anchor::Right,
            _ => Anchor::Middle,
        };
        canvas.text(
            place,
            &shorten(name),
            &look.anchor(horizontal, Anchor::Middle),
        );
    }
}

/// A dot and the angle at every quarter turn of the curve, on its inner side.
fn quarter_turns(
    canvas: &Canvas,
    view: &View,
    rect: &Rect,
    center: [f64; 2],
    curve: &[[f64; 2]],
    curve_reach: f64,
) {
    let mut tags = Tags::new(canvas, TextLook::new(11.0, MUTED), rect.bounds());
    // The curve runs from -pi to pi, both ends included.
    let steps = curve.len().saturating_sub(1);
    for (quarter, text) in ["±π", "−π/2", "0", "π/2"].into_iter().enumerate() {
        let Some(&point) = curve.get(quarter * steps / 4) else {
            return;
        };
        canvas.disc(view.at(point), 3.2, INK, 1.0);
        let length = distance(point, center);
        if length < 0.2 * curve_reach {
            continue;
        }
        let factor = 1.0 - 0.2 * curve_reach / length;
        let inner = [
            center[0] + (point[0] - center[0]) * factor,
            center[1] + (point[1] - center[1]) * factor,
        ];
        tags.put(view.at(inner), text);
    }
}

fn mean_directions(
    members: &[(&str, palette::Rgb, Vec<usize>)],
    points: &[[f64; 2]],
    center: [f64; 2],
) -> Vec<f64> {
    members
        .iter()
        .map(|(_, _, positions)| {
            let (mut x, mut y) = (0.0, 0.0);
            for &position in positions {
                let length = distance(points[position], center).max(f64::MIN_POSITIVE);
                x += (points[position][0] - center[0]) / length;
                y += (points[position][1] - center[1]) / length;
            }
            let angle = y.atan2(x);
            if angle >= PI { angle - TAU } else { angle }
        })
        .collect()
}

fn mean(points: &[[f64; 2]]) -> [f64; 2] {
    // The last point of a closed curve repeats the first.
    let distinct = points.len().saturating_sub(1).max(1);
    let mut sum = [0.0; 2];
    for point in points.iter().take(distinct) {
        sum[0] += point[0];
        sum[1] += point[1];
    }
    sum.map(|coordinate| coordinate / distinct as f64)
}

fn polar(center: [f64; 2], direction: f64, radius: f64) -> [f64; 2] {
    [
        center[0] + radius * direction.cos(),
        center[1] + radius * direction.sin(),
    ]
}

fn distance(a: [f64; 2], b: [f64; 2]) -> f64 {
    (a[0] - b[0]).hypot(a[1] - b[1])
}

/// The value that `fraction` of `values` do not exceed; 0 where there are none.
pub(super) fn quantile(values: impl Iterator<Item = f64>, fraction: f64) -> f64 {
    let mut values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
    if values.is_empty() {
        return 0.0;
    }
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * fraction).round() as usize]
}
