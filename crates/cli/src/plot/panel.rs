//! What all panels use: their square, the map from data to pixels, ticks, points and names.

use super::canvas::{Anchor, Canvas, FRAME, GRID, MUTED, TextLook};
use super::palette::{self, Rgb};
use super::{AtomView, Groups};
use crate::labels::NAMED;

/// The square of a panel, in pixels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rect {
    pub(super) left: f64,
    pub(super) top: f64,
    pub(super) side: f64,
}

impl Rect {
    pub(super) fn right(&self) -> f64 {
        self.left + self.side
    }

    pub(super) fn bottom(&self) -> f64 {
        self.top + self.side
    }

    pub(super) fn center(&self) -> [f64; 2] {
        [self.left + self.side / 2.0, self.top + self.side / 2.0]
    }

    /// Left, top, right, bottom.
    pub(super) fn bounds(&self) -> [f64; 4] {
        [self.left, self.top, self.right(), self.bottom()]
    }

    pub(super) fn frame(&self, canvas: &Canvas) {
        let corners = [
            [self.left, self.top],
            [self.right(), self.top],
            [self.right(), self.bottom()],
            [self.left, self.bottom()],
            [self.left, self.top],
        ];
        canvas.line(corners, FRAME, 1.0, 1.0)
    }
}

/// The rows of a cell that are drawn, with their groups.
pub(super) struct Drawn<'a> {
    /// Indices into the atom's rows.
    picks: Vec<usize>,
    /// Rows of the atom.
    all: usize,
    rows: &'a [usize],
    groups: Option<&'a Groups>,
}

impl<'a> Drawn<'a> {
    /// At most `limit` rows, equally spaced.
    pub(super) fn of(atom: &'a AtomView, groups: Option<&'a Groups>, limit: usize) -> Self {
        let all = atom.rows.len();
        let limit = limit.max(1);
        let picks = if all <= limit {
            (0..all).collect()
        } else {
            (0..limit).map(|pick| pick * all / limit).collect()
        };
        Self {
            picks,
            all,
            rows: &atom.rows,
            groups,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.picks.len()
    }

    pub(super) fn is_sample(&self) -> bool {
        self.picks.len() < self.all
    }

    pub(super) fn picks(&self) -> impl Iterator<Item = usize> + '_ {
        self.picks.iter().copied()
    }

    /// The colour of the row at `position`, or `otherwise` if rows have no labels.
    pub(super) fn color(&self, position: usize, otherwise: impl FnOnce() -> Rgb) -> Rgb {
        match self.group_of(position) {
            Some((group, count)) => palette::group(group, count),
            None => otherwise(),
        }
    }

    /// The group of the row at `position`, and how many there are.
    pub(super) fn group_of(&self, position: usize) -> Option<(usize, usize)> {
        let groups = self.groups?;
        Some((groups.of_row[self.rows[position]], groups.names.len()))
    }

    /// The radius of a point: smaller if there are many.
    pub(super) fn radius(&self, rect: &Rect) -> f64 {
        let crowd = (self.len().max(1) as f64 / 150.0).max(1.0);
        let scale = (rect.side / 600.0).sqrt();
        (4.6 * scale / crowd.powf(0.3)).max(1.25)
    }

    /// The opacity of a point: lower if there are many.
    pub(super) fn opacity(&self) -> f64 {
        (0.85 / (self.len().max(1) as f64 / 150.0).max(1.0).powf(0.2)).max(0.4)
    }

    /// The groups of [`Drawn::members`] that are named among the points: the first few, as in the
    /// legend.
    pub(super) fn named(&self) -> Vec<(&'a str, Rgb, Vec<usize>)> {
        let mut named = self.members();
        named.truncate(NAMED);
        named
    }

    /// Each group with rows here: its name, its colour, and the positions of its rows. All rows of the
    /// atom count, drawn or not.
    pub(super) fn members(&self) -> Vec<(&'a str, Rgb, Vec<usize>)> {
        let Some(groups) = self.groups else {
            return Vec::new();
        };
        let count = groups.names.len();
        let mut members: Vec<Vec<usize>> = vec![Vec::new(); count];
        for (position, &row) in self.rows.iter().enumerate() {
            members[groups.of_row[row]].push(position);
        }
        groups
            .names
            .iter()
            .zip(members)
            .enumerate()
            .filter(|(_, (_, members))| !members.is_empty())
            .map(|(index, (name, members))| (name.as_str(), palette::group(index, count), members))
            .collect()
    }
}

/// A map from data to pixels with one scale for both directions; the second data axis runs up.
#[derive(Clone, Copy, Debug)]
pub(super) struct View {
    data_center: [f64; 2],
    pixel_center: [f64; 2],
    scale: f64,
}

impl View {
    /// Maps everything within `reach` of `center` into `rect`.
    pub(super) fn around(center: [f64; 2], reach: f64, rect: &Rect) -> Self {
        let reach = if reach.is_finite() && reach > 0.0 {
            reach
        } else {
            1.0
        };
        Self {
            data_center: center,
            pixel_center: rect.center(),
            scale: rect.side / (2.0 * reach),
        }
    }

    pub(super) fn at(&self, point: [f64; 2]) -> [f64; 2] {
        [
            self.pixel_center[0] + (point[0] - self.data_center[0]) * self.scale,
            self.pixel_center[1] - (point[1] - self.data_center[1]) * self.scale,
        ]
    }

    /// Light lines at round numbers of both axes, with their values along the left and lower
    /// edges.
    pub(super) fn grid(&self, canvas: &Canvas, rect: &Rect) {
        self.lines(canvas, rect, 0);
        self.lines(canvas, rect, 1)
    }

    /// The lines of one axis: 0 across, 1 up.
    pub(super) fn lines(&self, canvas: &Canvas, rect: &Rect, axis: usize) {
        let reach = rect.side / (2.0 * self.scale);
        let look = TextLook::new(10.0, MUTED);
        let step = round_step(2.0 * reach / 6.0);
        let middle = self.data_center[axis];
        let first = ((middle - reach) / step).ceil() as i64;
        let last = ((middle + reach) / step).floor() as i64;
        for tick in first..=last {
            let value = tick as f64 * step;
            let mut point = self.data_center;
            point[axis] = value;
            let [x, y] = self.at(point);
            let text = tick_text(value, step);
            if axis == 0 {
                canvas.line([[x, rect.top], [x, rect.bottom()]], GRID, 1.0, 1.0);
                if x > rect.left + 14.0 && x < rect.right() - 14.0 {
                    let look = look.anchor(Anchor::Middle, Anchor::Bottom);
                    canvas.text([x, rect.bottom() - 3.0], &text, &look);
                }
            } else {
                canvas.line([[rect.left, y], [rect.right(), y]], GRID, 1.0, 1.0);
                if y > rect.top + 14.0 && y < rect.bottom() - 22.0 {
                    canvas.text([rect.left + 4.0, y], &text, &look);
                }
            }
        }
    }
}

/// 1, 2 or 5 times a power of ten, at least `rough`.
fn round_step(rough: f64) -> f64 {
    let power = 10f64.powf(rough.log10().floor());
    let factor = [1.0, 2.0, 5.0]
        .into_iter()
        .find(|factor| factor * power >= rough)
        .unwrap_or(10.0);
    factor * power
}

fn tick_text(value: f64, step: f64) -> String {
    let largest = value.abs().max(step);
    if !(1e-4..1e5).contains(&largest) || step < 1e-4 {
        return format!("{value:.1e}").replace('-', "−");
    }
    let decimals = (-step.log10().floor()).max(0.0) as usize;
    let text = format!("{value:.decimals$}");
    if text.trim_start_matches(['-', '0', '.']).is_empty() {
        "0".to_owned()
    } else {
        text.replace('-', "−")
    }
}

/// Pushes places on a line apart until neighbours are `gap(one, other, middle)` apart, moving them
/// little, in a few sweeps. The result has the order of the input.
pub(super) fn spread(places: &[f64], gap: impl Fn(usize, usize, f64) -> f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..places.len()).collect();
    order.sort_by(|&a, &b| places[a].total_cmp(&places[b]));
    let mut moved = places.to_vec();
    for _ in 0..200 {
        let mut quiet = true;
        for pair in order.windows(2) {
            let (low, high) = (pair[0], pair[1]);
            let middle = (moved[low] + moved[high]) / 2.0;
            let missing = gap(low, high, middle) - (moved[high] - moved[low]);
            if missing > 1e-6 {
                moved[low] -= missing / 2.0;
                moved[high] += missing / 2.0;
                quiet = false;
            }
        }
        if quiet {
            break;
        }
    }
    moved
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_round_and_large_enough() {
        for rough in [0.003, 0.9, 1.0, 1.1, 2.5, 49.0, 51.0, 7e7] {
            let step = round_step(rough);
            assert!(step >= rough && step < 10.0 * rough, "{rough}: {step}");
        }
    }

    #[test]
    fn spread_places_keep_their_gap() {
        let moved = spread(&[0.0, 0.1, 0.1, 5.0], |_, _, _| 1.0);
        assert!(moved[1] - moved[0] > 0.99 || moved[0] - moved[1] > 0.99);
        assert_eq!(moved[3], 5.0);
        assert_eq!(spread(&[3.0, 1.0], |_, _, _| 1.0), [3.0, 1.0]);
    }

    #[test]
    fn one_length_is_the_same_both_ways() {
        let rect = Rect {
            left: 10.0,
            top: 20.0,
            side: 100.0,
        };
        let view = View::around([1.0, 2.0], 4.0, &rect);
        let (o, x, y) = (
            view.at([1.0, 2.0]),
            view.at([2.0, 2.0]),
            view.at([1.0, 3.0]),
        );
        assert_eq!(o, rect.center());
        assert_eq!(x[0] - o[0], o[1] - y[1]);
    }
}
