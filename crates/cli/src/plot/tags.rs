//! Names and ticks among the points of a panel: inside it, beside the points that they name, and not
//! overlapping.

use super::canvas::{Canvas, TextLook};

/// The tags of one panel. A tag that would overlap an earlier one is left out; the legend still has its
/// name.
pub(super) struct Tags<'c> {
    canvas: &'c Canvas,
    look: TextLook,
    /// Left, top, right, bottom.
    bounds: [f64; 4],
    taken: Vec<[f64; 4]>,
}

/// A tag is moved to clear points up to this far above or below its place, in pixels.
const AROUND: f64 = 40.0;

/// Points count as near their mean within this share of a panel's width.
const NEAR: f64 = 0.15;

impl<'c> Tags<'c> {
    pub(super) fn new(canvas: &'c Canvas, look: TextLook, bounds: [f64; 4]) -> Self {
        Self {
            canvas,
            look,
            bounds,
            taken: Vec::new(),
        }
    }

    /// Names the points around `place`, their mean, above them or, if there is no room, below.
    /// Scattered points have no such place and are not named there.
    pub(super) fn beside(
        &mut self,
        place: [f64; 2],
        points: impl Iterator<Item = [f64; 2]>,
        text: &str,
    ) {
        let half = self.look.width(text) / 2.0 + 4.0;
        let near = NEAR * (self.bounds[2] - self.bounds[0]);
        let (mut up, mut down) = (0.0_f64, 0.0_f64);
        let (mut around, mut all) = (0_usize, 0_usize);
        for [x, y] in points {
            let (across, along) = ((x - place[0]).abs(), y - place[1]);
            all += 1;
            around += usize::from(across.hypot(along) < near);
            if across < half && along.abs() < AROUND {
                (up, down) = (up.max(-along), down.max(along));
            }
        }
        // Half of a group that lies across the edge of a periodic panel may be far away.
        if 5 * around < 2 * all {
            return;
        }
        let room = self.look.height() / 2.0 + 8.0;
        let (above, below) = (place[1] - up - room, place[1] + down + room);
        if above > self.bounds[1] + self.look.height() && self.put([place[0], above], text) {
            return;
        }
        self.put([place[0], below], text);
    }

    /// Draws a tag around `center`, moved inside the panel, unless it would overlap an earlier one.
    /// Returns whether it was drawn.
    pub(super) fn put(&mut self, center: [f64; 2], text: &str) -> bool {
        let half = [self.look.width(text) / 2.0 + 3.0, self.look.height() / 2.0];
        let inside = |axis: usize| {
            let low = self.bounds[axis] + half[axis];
            center[axis]
                .min(self.bounds[axis + 2] - half[axis])
                .max(low)
        };
        let [x, y] = [inside(0), inside(1)];
        let here = [x - half[0], y - half[1], x + half[0], y + half[1]];
        if self.taken.iter().any(|there| overlap(&here, there)) {
            return false;
        }
        self.taken.push(here);
        self.canvas.tag([x, y], text, &self.look);
        true
    }
}

/// Whether the interiors of two boxes (left, top, right, bottom) overlap.
fn overlap(a: &[f64; 4], b: &[f64; 4]) -> bool {
    (0..2).all(|axis| a[axis] < b[axis + 2] && b[axis] < a[axis + 2])
}

#[cfg(test)]
mod tests {
    use super::super::canvas::INK;
    use super::*;

    fn drawn(contents: impl FnOnce(&mut Tags<'_>)) -> String {
        Canvas::draw(200.0, 200.0, |canvas| {
            let look = TextLook::new(10.0, INK);
            contents(&mut Tags::new(canvas, look, [0.0, 0.0, 200.0, 200.0]))
        })
    }

    #[test]
    fn a_tag_on_another_is_left_out_and_one_beside_it_is_not() {
        let svg = drawn(|tags| {
            assert!(tags.put([100.0, 50.0], "first"));
            assert!(!tags.put([110.0, 55.0], "second"));
            assert!(tags.put([110.0, 80.0], "third"));
            // Outside the panel: moved in, where there is room.
            assert!(tags.put([500.0, -3.0], "fourth"));
        });
        let holds = ["first", "second", "third", "fourth"].map(|name| svg.contains(name));
        assert_eq!(holds, [true, false, true, true]);
    }

    #[test]
    fn groups_that_are_scattered_or_in_the_way_are_not_named_twice() {
        let around = |[x, y]: [f64; 2]| [[x - 3.0, y], [x + 3.0, y + 2.0], [x, y - 2.0]];
        let svg = drawn(|tags| {
            let place = [100.0, 100.0];
            tags.beside(place, around(place).into_iter(), "above");
            // The place above is taken, so below.
            tags.beside(place, around(place).into_iter(), "below");
            tags.beside(place, around(place).into_iter(), "nowhere");
            let corners = [[0.0, 0.0], [200.0, 0.0], [0.0, 200.0], [200.0, 200.0]];
            tags.beside([100.0, 40.0], corners.into_iter(), "scattered")
        });
        let holds = ["above", "below", "nowhere", "scattered"].map(|name| svg.contains(name));
        assert_eq!(holds, [true, true, false, false]);
    }
}
