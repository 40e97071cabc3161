//! Rows on a torus: their two angles, and the torus seen from the side.

use super::canvas::{Anchor, Canvas, FRAME, GRID, INK, MUTED, TextLook};
use super::legend::shorten;
use super::palette::{self, Rgb};
use super::panel::{Drawn, Rect, View};
use super::tags::Tags;
use std::f64::consts::{FRAC_PI_2, PI, TAU};

/// Segments of the wire frame's lines.
const STEPS: usize = 72;
/// Radius of the tube; that of the ring is 1.
const TUBE: f64 = 0.42;
/// How far the torus is tilted towards the eye, radians.
const TILT: f64 = 0.8;

/// The angles in a square from -pi to pi.
pub(super) fn draw_angles(canvas: &Canvas, rect: Rect, drawn: &Drawn<'_>, angles: &[[f64; 2]]) {
    let inner = Rect {
        left: rect.left + 30.0,
        top: rect.top,
        side: rect.side - 30.0,
    };
    let view = View::around([0.0, 0.0], PI, &inner);
    ticks(canvas, &view, 0, [-PI, PI]);
    ticks(canvas, &view, 1, [-PI, PI]);
    let caption = TextLook::new(11.0, INK).anchor(Anchor::Middle, Anchor::Top);
    let [x, y] = view.at([0.0, -PI]);
    canvas.text([x, y + 19.0], "first angle", &caption);
    let caption = TextLook::new(11.0, INK);
    canvas.text(
        [inner.left + 6.0, inner.top + 12.0],
        "second angle",
        &caption,
    );
    inner.frame(canvas);

    let radius = drawn.radius(&inner);
    for position in drawn.picks() {
        let color = color(drawn, position, angles);
        canvas.disc(view.at(angles[position]), radius, color, drawn.opacity());
    }
    let mut tags = Tags::new(canvas, TextLook::new(12.5, INK).bold(), inner.bounds());
    for (name, _, positions) in drawn.named() {
        let mean = [0, 1].map(|axis| {
            let (mut sine, mut cosine) = (0.0, 0.0);
            for &position in &positions {
                sine += angles[position][axis].sin();
                cosine += angles[position][axis].cos();
            }
            f64::atan2(sine, cosine)
        });
        let places = positions.iter().map(|&p| view.at(angles[p]));
        tags.beside(view.at(mean), places, &shorten(name));
    }
}

/// Lines at quarter turns of the angle along `axis` (0 across, 1 up), from one end of the other axis to the
/// other, with their names before the first end.
pub(super) fn ticks(canvas: &Canvas, view: &View, axis: usize, ends: [f64; 2]) {
    let look = TextLook::new(11.0, MUTED);
    for (tick, text) in ["−π", "−π/2", "0", "π/2", "π"].into_iter().enumerate() {
        let value = (tick as f64 - 2.0) * FRAC_PI_2;
        let color = if tick % 2 == 0 { FRAME } else { GRID };
        let [from, to] = ends.map(|end| {
            let point = if axis == 0 {
                [value, end]
            } else {
                [end, value]
            };
            view.at(point)
        });
        canvas.line([from, to], color, 1.0, 1.0);
        let [x, y] = from;
        if axis == 0 {
            let below = look.anchor(Anchor::Middle, Anchor::Top);
            canvas.text([x, y + 5.0], text, &below);
        } else {
            let beside = look.anchor(Anchor::Right, Anchor::Middle);
            canvas.text([x - 6.0, y], text, &beside);
        }
    }
}

/// The torus in space, with the first angle round the ring and the second round the tube; the far side
/// is fainter.
pub(super) fn draw_surface(canvas: &Canvas, rect: Rect, drawn: &Drawn<'_>, angles: &[[f64; 2]]) {
    let view = View::around([0.0, 0.0], 1.5, &rect);
    rect.frame(canvas);
    let wire = |fixed: f64, axis: usize| {
        (0..=STEPS).map(move |step| {
            let moving = TAU * step as f64 / STEPS as f64;
            let (ring, tube) = if axis == 0 {
                (fixed, moving)
            } else {
                (moving, fixed)
            };
            project([ring, tube]).0
        })
    };
    for line in 0..24 {
        let angle = TAU * f64::from(line) / 24.0;
        canvas.line(wire(angle, 0).map(|p| view.at(p)), FRAME, 0.6, 0.7);
        if line % 2 == 0 {
            canvas.line(wire(angle, 1).map(|p| view.at(p)), FRAME, 0.6, 0.7);
        }
    }
    // Far rows are drawn first, so that near ones cover them.
    let mut placed: Vec<(f64, [f64; 2], usize)> = drawn
        .picks()
        .map(|position| {
            let (point, depth) = project(angles[position]);
            (depth, point, position)
        })
        .collect();
    placed.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.2.cmp(&b.2)));
    let radius = drawn.radius(&rect);
    for (depth, point, position) in placed {
        let nearness = ((depth / (1.0 + TUBE)) + 1.0) / 2.0;
        let opacity = drawn.opacity() * (0.25 + 0.75 * nearness);
        let color = color(drawn, position, angles);
        canvas.disc(
            view.at(point),
            radius * (0.7 + 0.4 * nearness),
            color,
            opacity,
        );
    }
}

fn color(drawn: &Drawn<'_>, position: usize, angles: &[[f64; 2]]) -> Rgb {
    drawn.color(position, || palette::cyclic(angles[position][0]))
}

/// The place of a pair of angles in the picture, and its depth seen from the eye.
fn project([ring, tube]: [f64; 2]) -> ([f64; 2], f64) {
    let distance = 1.0 + TUBE * tube.cos();
    let (x, y, z) = (
        distance * ring.cos(),
        distance * ring.sin(),
        TUBE * tube.sin(),
    );
    let (sine, cosine) = TILT.sin_cos();
    ([x, y * cosine + z * sine], z * cosine - y * sine)
}
