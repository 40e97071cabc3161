//! SVG as text: shapes and lines of text in pixels, written one after another.
//!
//! Plain strings are enough, since a picture needs five kinds of elements. A plotting library's backend
//! had whole pixels and no outlines of text, and its output had to be corrected afterwards.

use super::Figure;
use super::palette::Rgb;
use crate::message;
use std::cell::RefCell;
use std::fmt::{self, Display, Write};

/// Text and strong lines.
pub(super) const INK: Rgb = Rgb(0x22, 0x26, 0x2b);
/// Secondary text.
pub(super) const MUTED: Rgb = Rgb(0x6b, 0x72, 0x7b);
/// Frames and axes.
pub(super) const FRAME: Rgb = Rgb(0xc3, 0xc8, 0xce);
/// Grid lines.
pub(super) const GRID: Rgb = Rgb(0xe6, 0xe9, 0xec);
/// The background.
pub(super) const PAPER: Rgb = Rgb(0xff, 0xff, 0xff);

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

/// The drawing area of one picture.
pub(super) struct Canvas {
    elements: RefCell<String>,
}

/// Whether a point can be drawn: one that overflowed has no place.
fn is_place([x, y]: [f64; 2]) -> bool {
    x.is_finite() && y.is_finite()
}

/// A length or a place in pixels, to a hundredth.
struct Px(f64);

impl Display for Px {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{:.2}", self.0);
        let text = text.trim_end_matches('0').trim_end_matches('.');
        f.write_str(if text == "-0" { "0" } else { text })
    }
}

impl Display for Rgb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(red, green, blue) = self;
        write!(f, "#{red:02x}{green:02x}{blue:02x}")
    }
}

/// The colour of a fill or a stroke, with its opacity if not full.
struct Paint(&'static str, Rgb, f64);

impl Display for Paint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(what, color, opacity) = self;
        write!(f, "{what}=\"{color}\"")?;
        match *opacity < 1.0 {
            true => write!(f, " {what}-opacity=\"{}\"", Px(*opacity)),
            false => Ok(()),
        }
    }
}

/// Text between tags.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '"' => f.write_str("&quot;"),
            '\'' => f.write_str("&apos;"),
            other => f.write_char(other),
        })
    }
}

impl Canvas {
    /// Draws a picture of `width` x `height` pixels and returns it as text.
    pub(super) fn draw(width: f64, height: f64, contents: impl FnOnce(&Self)) -> String {
        let canvas = Self {
            elements: RefCell::default(),
        };
        contents(&canvas);
        let (width, height) = (width.ceil(), height.ceil());
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\" font-family=\"Helvetica, Arial, sans-serif\" \
             stroke-linejoin=\"round\">\n<rect width=\"{width}\" height=\"{height}\" fill=\"{PAPER}\"/>\n\
             {}</svg>\n",
            canvas.elements.into_inner()
        )
    }

    /// One more element, on a line of its own.
    fn element(&self, element: fmt::Arguments<'_>) {
        let mut elements = self.elements.borrow_mut();
        elements.push_str(&element.to_string());
        elements.push('\n');
    }

    /// A straight or broken line of `width` pixels.
    pub(super) fn line(
        &self,
        points: impl IntoIterator<Item = [f64; 2]>,
        color: Rgb,
        opacity: f64,
        width: f64,
    ) {
        let points: Vec<String> = (points.into_iter())
            .filter(|point| is_place(*point))
            .map(|[x, y]| format!("{},{}", Px(x), Px(y)))
            .collect();
        self.element(format_args!(
            "<polyline points=\"{}\" fill=\"none\" {} stroke-width=\"{}\"/>",
            points.join(" "),
            Paint("stroke", color, opacity),
            Px(width)
        ));
    }

    /// A full disc.
    pub(super) fn disc(&self, center: [f64; 2], radius: f64, color: Rgb, opacity: f64) {
        self.circle(
            center,
            radius,
            format_args!("{}", Paint("fill", color, opacity)),
        );
    }

    /// The outline of a disc.
    pub(super) fn ring(&self, center: [f64; 2], radius: f64, color: Rgb, width: f64) {
        let (stroke, width) = (Paint("stroke", color, 1.0), Px(width));
        let look = format_args!("fill=\"none\" {stroke} stroke-width=\"{width}\"");
        self.circle(center, radius, look);
    }

    fn circle(&self, [x, y]: [f64; 2], radius: f64, look: fmt::Arguments<'_>) {
        if !is_place([x, y]) || !radius.is_finite() {
            return;
        }
        let (x, y, r) = (Px(x), Px(y), Px(radius));
        self.element(format_args!(
            "<circle cx=\"{x}\" cy=\"{y}\" r=\"{r}\" {look}/>"
        ));
    }

    /// A line of text. Characters that XML forbids, and direction marks, are escaped.
    pub(super) fn text(&self, point: [f64; 2], text: &str, look: &TextLook) {
        self.words(point, text, look, "");
    }

    fn words(&self, [x, y]: [f64; 2], text: &str, look: &TextLook, more: &str) {
        if !is_place([x, y]) {
            return;
        }
        let printable = message::text(text, message::MESSAGE);
        let anchor = match look.horizontal {
            Anchor::Right => " text-anchor=\"end\"",
            Anchor::Middle => " text-anchor=\"middle\"",
            _ => "",
        };
        // From the point to the baseline; capitals are about 0.72 of the size high.
        let down = match look.vertical {
            Anchor::Top => 0.76,
            Anchor::Bottom => -0.25,
            _ => 0.35,
        };
        let weight = if look.bold {
            " font-weight=\"bold\""
        } else {
            ""
        };
        self.element(format_args!(
            "<text x=\"{}\" y=\"{}\" font-size=\"{}\"{anchor}{weight} {}{more}>{}</text>",
            Px(x),
            Px(y + down * look.size),
            Px(look.size),
            Paint("fill", look.color, 1.0),
            Escaped(&printable)
        ));
    }

    /// A text around `center` with a light outline: readable over points, and hiding only those under
    /// its letters.
    pub(super) fn tag(&self, center: [f64; 2], text: &str, look: &TextLook) {
        let look = look.anchor(Anchor::Middle, Anchor::Middle);
        let rim = format!(" {} stroke-width=\"3\"", Paint("stroke", PAPER, 1.0));
        self.words(
            center,
            text,
            &TextLook {
                color: PAPER,
                ..look
            },
            &rim,
        );
        self.text(center, text, &look);
    }
}

impl Figure {
    /// A number with its thousands separated, for titles.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_stand_in_order_with_short_numbers_and_escaped_text() {
        let look = TextLook::new(10.0, INK).bold();
        let svg = Canvas::draw(99.5, 50.0, |canvas| {
            let points = [[0.0, -0.001], [f64::INFINITY, 0.0], [1.25, 1.0 / 3.0]];
            canvas.line(points, GRID, 0.5, 1.0);
            canvas.disc([1.0, 2.0], 3.0, INK, 1.0);
            canvas.ring([1.0, 2.0], 3.0, INK, 2.0);
            canvas.disc([f64::NAN, 2.0], 3.0, INK, 1.0);
            canvas.text([4.0, f64::INFINITY], "nowhere", &look);
            canvas.text([4.0, 5.0], "a < b & \u{1b}[2J \"c\"", &look);
        });
        let lines: Vec<&str> = svg.lines().collect();
        assert!(lines[0].contains("width=\"100\" height=\"50\" viewBox=\"0 0 100 50\""));
        assert_eq!(
            lines[2..],
            [
                "<polyline points=\"0,0 1.25,0.33\" fill=\"none\" stroke=\"#e6e9ec\" \
                 stroke-opacity=\"0.5\" stroke-width=\"1\"/>",
                "<circle cx=\"1\" cy=\"2\" r=\"3\" fill=\"#22262b\"/>",
                "<circle cx=\"1\" cy=\"2\" r=\"3\" fill=\"none\" stroke=\"#22262b\" stroke-width=\"2\"/>",
                "<text x=\"4\" y=\"8.5\" font-size=\"10\" font-weight=\"bold\" fill=\"#22262b\">\
                 a &lt; b &amp; \\u{1b}[2J &quot;c&quot;</text>",
                "</svg>"
            ]
        );
    }
}
