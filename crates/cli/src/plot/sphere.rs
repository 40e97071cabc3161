//! Rows on a sphere, one hemisphere in each panel, in Lambert's azimuthal equal-area projection: `(x,
//! y) / sqrt(1 + |z|)`, whose rim has radius 1.
//!
//! The southern panel is mirrored, as seen from outside, so that both rims meet at the same point.

use super::canvas::{Anchor, Canvas, FRAME, GRID, INK, MUTED, TextLook};
use super::legend::shorten;
use super::palette;
use super::panel::{Drawn, Rect, View};
use super::tags::Tags;
use std::f64::consts::{PI, TAU};

/// Which hemisphere a panel shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// The third coordinate is at least 0.
    North,
    /// The third coordinate is below 0.
    South,
}

impl Side {
    fn shows(self, direction: [f64; 3]) -> bool {
        (direction[2] >= 0.0) == (self == Self::North)
    }

    fn project(self, [x, y, z]: [f64; 3]) -> [f64; 2] {
        let scale = 1.0 / (1.0 + z.abs()).sqrt();
        let mirror = if self == Self::North { 1.0 } else { -1.0 };
        [mirror * x * scale, y * scale]
    }
}

/// Draws one hemisphere with a grid of 30 degrees.
pub(super) fn draw(
    canvas: &Canvas,
    rect: Rect,
    drawn: &Drawn<'_>,
    directions: &[[f64; 3]],
    side: Side,
) {
    let view = View::around([0.0, 0.0], 1.08, &rect);
    let pixels = |length: f64| view.at([length, 0.0])[0] - view.at([0.0, 0.0])[0];
    for meridian in 0..12 {
        let (y, x) = (TAU * f64::from(meridian) / 12.0).sin_cos();
        canvas.line([view.at([0.0, 0.0]), view.at([x, y])], GRID, 1.0, 1.0);
    }
    for parallel in [30.0f64, 60.0] {
        let height = parallel.to_radians().sin();
        let radius = (1.0 - height).sqrt();
        canvas.ring(view.at([0.0, 0.0]), pixels(radius), GRID, 1.0);
    }
    canvas.ring(view.at([0.0, 0.0]), pixels(1.0), FRAME, 1.3);
    let caption = match side {
        Side::North => "third coordinate ≥ 0",
        Side::South => "third coordinate < 0, seen from outside",
    };
    let look = TextLook::new(11.0, MUTED).anchor(Anchor::Middle, Anchor::Bottom);
    canvas.text([rect.center()[0], rect.bottom() - 1.0], caption, &look);

    let radius = drawn.radius(&rect);
    for position in drawn.picks().filter(|&p| side.shows(directions[p])) {
        let direction = directions[position];
        let place = view.at(side.project(direction));
        let color = drawn.color(position, || {
            // Hue shows longitude; all hues meet at the pole, as the meridians do.
            palette::cyclic(direction[1].atan2(direction[0]) + PI)
        });
        canvas.disc(place, radius, color, drawn.opacity());
    }
    let mut tags = Tags::new(canvas, TextLook::new(12.5, INK).bold(), rect.bounds());
    for (name, _, positions) in drawn.named() {
        let mut mean = [0.0; 3];
        for &position in &positions {
            for (sum, value) in mean.iter_mut().zip(directions[position]) {
                *sum += value;
            }
        }
        let length = mean.iter().map(|v| v * v).sum::<f64>().sqrt();
        if length > 0.0 {
            let mean = mean.map(|value| value / length);
            if side.shows(mean) {
                let place = view.at(side.project(mean));
                let here = positions.iter().map(|&p| directions[p]);
                let places = here
                    .filter(|&direction| side.shows(direction))
                    .map(|direction| view.at(side.project(direction)));
                tags.beside(place, places, &shorten(name));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rim_has_radius_one_and_the_pole_is_in_the_middle() {
        for side in [Side::North, Side::South] {
            let [x, y] = side.project([0.6, 0.8, 0.0]);
            assert!((x.hypot(y) - 1.0).abs() < 1e-15);
        }
        assert_eq!(Side::North.project([0.0, 0.0, 1.0]), [0.0, 0.0]);
    }

    #[test]
    fn equal_bands_take_equal_areas() {
        // The cap between heights h and 1 has the share 1 - h of a hemisphere, and its image has that
        // share of the disc.
        for height in [0.1, 0.5, 0.9f64] {
            let rim = (1.0 - height * height).sqrt();
            let [x, y] = Side::North.project([rim, 0.0, height]);
            assert!((x * x + y * y - (1.0 - height)).abs() < 1e-14);
        }
    }
}
