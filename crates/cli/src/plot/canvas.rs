//! A thin face of the drawing library: shapes and text in pixels, as floating-point numbers.
//!
//! The library rounds to whole units, so a pixel here is four of its units and the picture's
//! declared size is set back to pixels at the end.

use super::palette::Rgb;
use super::{Figure, PlotError};
use crate::message;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::fmt::Display;

/// Text and strong lines.
pub(super) const INK: Rgb = Rgb(0x22, 0x26, 0x2b);
/// Second-rank text.
pub(super) const MUTED: Rgb = Rgb(0x6b, 0x72, 0x7b);
/// Frames and axes.
pub(super) const FRAME: Rgb = Rgb(0xc3, 0xc8, 0xce);
/// Grid lines.
pub(super) const GRID: Rgb = Rgb(0xe6, 0xe9, 0xec);
/// The ground.
pub(super) const PAPER: Rgb = Rgb(0xff, 0xff, 0xff);

/// Stands for the light rim of a text, and is used for nothing else.
const RIM: Rgb = Rgb(0xfe, 0xff, 0xfd);

/// Library units a pixel.
const UNITS: f64 = 4.0;

/// Where a text stands relative to its point, in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Anchor {
    Left,
    Middle,
    Right,
    Top,
    Bottom,
}

/// How a text looks.
#[derive(Clone, Copy, Debug)]
pub(super) struct TextLook {
    size: f64,
    color: Rgb,
    bold: bool,
    horizontal: Anchor,
    vertical: Anchor,
}

impl TextLook {
    pub(super) fn new(size: f64, color: Rgb) -> Self {
        Self {
            size,
            color,
            bold: false,
            horizontal: Anchor::Left,
            vertical: Anchor::Middle,
        }
    }

    pub(super) fn bold(self) -> Self {
        Self { bold: true, ..self }
    }

    pub(super) fn anchor(self, horizontal: Anchor, vertical: Anchor) -> Self {
        Self {
            horizontal,
            vertical,
            ..self
        }
    }

    /// The height of a line.
    pub(super) fn height(&self) -> f64 {
        1.3 * self.size
    }

    /// An estimate of a text's width: no font is at hand.
    pub(super) fn width(&self, text: &str) -> f64 {
        let factor = if self.bold { 0.65 } else { 0.57 };
        text.chars().count() as f64 * self.size * factor
    }
}

/// The ground of one picture.
pub(super) struct Canvas<'a> {
    area: DrawingArea<SVGBackend<'a>, Shift>,
}

fn units(length: f64) -> i32 {
    (length * UNITS).round() as i32
}

fn at(point: [f64; 2]) -> (i32, i32) {
    (units(point[0]), units(point[1]))
}

/// A colour as the library writes it.
fn hex(Rgb(red, green, blue): Rgb) -> String {
    format!("#{red:02X}{green:02X}{blue:02X}")
}

fn failed(error: impl Display) -> PlotError {
    PlotError(error.to_string())
}

impl Canvas<'_> {
    /// Draws a picture of `width` x `height` pixels and returns it as text.
    pub(super) fn draw(
        width: f64,
        height: f64,
        contents: impl FnOnce(&Canvas<'_>) -> Result<(), PlotError>,
    ) -> Result<String, PlotError> {
        let size = (units(width) as u32, units(height) as u32);
        let mut text = String::new();
        {
            let area = SVGBackend::with_string(&mut text, size).into_drawing_area();
            area.fill(&plotters_color(PAPER, 1.0)).map_err(failed)?;
            let canvas = Canvas { area };
            contents(&canvas)?;
            canvas.area.present().map_err(failed)?;
        }
        let declared = format!("width=\"{}\" height=\"{}\"", size.0, size.1);
        let shown = format!("width=\"{}\" height=\"{}\"", width.ceil(), height.ceil());
        // The library strokes no text: what is drawn in the rim's colour is a rim.
        let rim = format!("fill=\"{}\"", hex(RIM));
        let stroke = format!(
            "fill=\"{0}\" stroke=\"{0}\" stroke-width=\"{1}\" stroke-linejoin=\"round\"",
            hex(PAPER),
            units(3.0)
        );
        Ok(text.replacen(&declared, &shown, 1).replace(&rim, &stroke))
    }

    /// A straight or broken line of `width` pixels.
    pub(super) fn line(
        &self,
        points: impl IntoIterator<Item = [f64; 2]>,
        color: Rgb,
        opacity: f64,
        width: f64,
    ) -> Result<(), PlotError> {
        let points: Vec<_> = points.into_iter().map(at).collect();
        let style = plotters_color(color, opacity).stroke_width(units(width).max(1) as u32);
        self.area
            .draw(&PathElement::new(points, style))
            .map_err(failed)
    }

    /// A full disc.
    pub(super) fn disc(
        &self,
        center: [f64; 2],
        radius: f64,
        color: Rgb,
        opacity: f64,
    ) -> Result<(), PlotError> {
        let style = plotters_color(color, opacity).filled();
        self.area
            .draw(&Circle::new(at(center), units(radius), style))
            .map_err(failed)
    }

    /// The outline of a disc.
    pub(super) fn ring(
        &self,
        center: [f64; 2],
        radius: f64,
        color: Rgb,
        width: f64,
    ) -> Result<(), PlotError> {
        let style = plotters_color(color, 1.0).stroke_width(units(width).max(1) as u32);
        self.area
            .draw(&Circle::new(at(center), units(radius), style))
            .map_err(failed)
    }

    /// A line of text. Characters that XML does not allow, or that would turn its direction, are
    /// escaped.
    pub(super) fn text(
        &self,
        point: [f64; 2],
        text: &str,
        look: &TextLook,
    ) -> Result<(), PlotError> {
        let printable = message::text(text, message::MESSAGE);
        let horizontal = match look.horizontal {
            Anchor::Right => HPos::Right,
            Anchor::Middle => HPos::Center,
            _ => HPos::Left,
        };
        let vertical = match look.vertical {
            Anchor::Top => VPos::Top,
            Anchor::Bottom => VPos::Bottom,
            _ => VPos::Center,
        };
        // The library divides by 1.24 when it writes the size.
        let font = ("Helvetica, Arial, sans-serif", look.size * UNITS * 1.24).into_font();
        let font = if look.bold {
            font.style(FontStyle::Bold)
        } else {
            font
        };
        let style = font
            .color(&plotters_color(look.color, 1.0))
            .pos(Pos::new(horizontal, vertical));
        self.area
            .draw(&Text::new(printable, at(point), style))
            .map_err(failed)
    }

    /// A text around `center` with a light rim, readable over points and hiding none but those under
    /// its letters.
    pub(super) fn tag(
        &self,
        center: [f64; 2],
        text: &str,
        look: &TextLook,
    ) -> Result<(), PlotError> {
        let look = look.anchor(Anchor::Middle, Anchor::Middle);
        self.text(center, text, &TextLook { color: RIM, ..look })?;
        self.text(center, text, &look)
    }
}

fn plotters_color(color: Rgb, opacity: f64) -> RGBAColor {
    RGBColor(color.0, color.1, color.2).mix(opacity)
}

impl Figure {
    /// A number with thousands parted, for titles.
    pub fn thousands(number: usize) -> String {
        let digits = number.to_string();
        let mut text = String::new();
        for (index, digit) in digits.chars().enumerate() {
            if index > 0 && (digits.len() - index).is_multiple_of(3) {
                text.push(',');
            }
            text.push(digit);
        }
        text
    }
}
