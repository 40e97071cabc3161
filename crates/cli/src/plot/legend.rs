//! The list of groups at the right of a picture.

use super::canvas::{Canvas, INK, MUTED, TextLook};
use super::{Groups, palette};
use crate::message;

const LINE: f64 = 19.0;
const MOST: usize = 28;
const LONGEST: usize = 26;

/// The lines of a legend.
pub(super) struct Legend {
    entries: Vec<(String, palette::Rgb)>,
    left_out: usize,
}

impl Legend {
    pub(super) fn of(groups: Option<&Groups>) -> Self {
        let names = groups.map_or(&[][..], |groups| &groups.names);
        let entries = names
            .iter()
            .take(MOST)
            .enumerate()
            .map(|(index, name)| (shorten(name), palette::group(index, names.len())))
            .collect();
        Self {
            entries,
            left_out: names.len().saturating_sub(MOST),
        }
    }

    fn look() -> TextLook {
        TextLook::new(12.5, INK)
    }

    pub(super) fn width(&self) -> f64 {
        let widest = self
            .entries
            .iter()
            .map(|(name, _)| Self::look().width(name))
            .fold(0.0, f64::max);
        if self.entries.is_empty() {
            0.0
        } else {
            widest + 44.0
        }
    }

    pub(super) fn height(&self) -> f64 {
        (self.entries.len() + usize::from(self.left_out > 0) + 1) as f64 * LINE
    }

    pub(super) fn draw(&self, canvas: &Canvas, left: f64, top: f64) {
        let mut y = top + LINE;
        for (name, color) in &self.entries {
            canvas.disc([left, y], 5.5, *color, 1.0);
            canvas.text([left + 13.0, y], name, &Self::look());
            y += LINE;
        }
        if self.left_out > 0 {
            let more = format!("and {} more", self.left_out);
            canvas.text([left + 13.0, y], &more, &TextLook::new(11.0, MUTED));
        }
    }
}

/// At most [`LONGEST`] characters of a name.
pub(super) fn shorten(name: &str) -> String {
    message::text(name, LONGEST)
}
