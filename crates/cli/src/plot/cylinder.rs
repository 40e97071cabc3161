//! Rows on a cylinder: its surface unrolled, the angle across and the height up.

use super::canvas::{Anchor, Canvas, INK, TextLook};
use super::circle::quantile;
use super::legend::shorten;
use super::palette;
use super::panel::{Drawn, Rect, View};
use super::tags::Tags;
use super::torus::ticks;
use std::f64::consts::PI;

/// Angles from -pi to pi, and heights about their median. Fitted heights have unit variance, so that at one
/// length for both most rows fill the square; where some are further out it shrinks until nearly all are in.
pub(super) fn draw(canvas: &Canvas, rect: Rect, drawn: &Drawn<'_>, places: &[[f64; 2]]) {
    let inner = Rect {
        left: rect.left,
        top: rect.top,
        side: rect.side - 30.0,
    };
    let middle = quantile(places.iter().map(|p| p[1]), 0.5);
    let far = |p: &[f64; 2]| (p[1] - middle).abs();
    let reach = (1.1 * quantile(places.iter().map(far), 0.998)).max(PI);
    let view = View::around([0.0, middle], reach, &inner);
    view.lines(canvas, &inner, 1);
    ticks(canvas, &view, 0, [middle - reach, middle + reach]);
    inner.frame(canvas);
    let caption = TextLook::new(11.0, INK).anchor(Anchor::Middle, Anchor::Top);
    let [x, y] = view.at([0.0, middle - reach]);
    canvas.text([x, y + 19.0], "angle", &caption);
    let caption = TextLook::new(11.0, INK).anchor(Anchor::Left, Anchor::Top);
    canvas.text([inner.left + 6.0, inner.top + 5.0], "height", &caption);

    let radius = drawn.radius(&inner);
    for position in drawn.picks().filter(|&p| far(&places[p]) <= reach) {
        let color = drawn.color(position, || palette::cyclic(places[position][0]));
        canvas.disc(view.at(places[position]), radius, color, drawn.opacity());
    }
    let mut tags = Tags::new(canvas, TextLook::new(12.5, INK).bold(), inner.bounds());
    for (name, _, positions) in drawn.named() {
        let (mut sine, mut cosine, mut height) = (0.0, 0.0, 0.0);
        for &position in &positions {
            let [angle, up] = places[position];
            sine += angle.sin();
            cosine += angle.cos();
            height += up / positions.len() as f64;
        }
        let mean = [f64::atan2(sine, cosine), height];
        let around = positions.iter().map(|&p| view.at(places[p]));
        tags.beside(view.at(mean), around, &shorten(name));
    }
}
