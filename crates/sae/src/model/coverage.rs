//! The share of its manifold that an atom's rows cover: whether the atom is what its topology says.
//!
//! For a circle or a line it is the part that the largest interval with few rows leaves,
//!
//! ```math
//! \text{coverage} = \tfrac{10}9 \bigl(1 - \max\{ |I| : I \text{ holds at most a tenth of the rows} \}\bigr),
//! ```
//!
//! at most 1. On a circle lengths are in turns, so this is the shortest arc with nine tenths of the rows; on a
//! line they are fractions of the distance between its 0.5 % and 99.5 % quantiles. So seven days around a circle
//! cover it, rows on a tenth of it cover a tenth, and a few rows elsewhere change nothing.
//!
//! A torus, a sphere, or a cylinder between the ends of its line, is cut into $`K`$ cells of equal area, with at
//! least eight rows to a cell and at most 256 cells. A share $`p_c`$ of the rows lies in cell $`c`$, and
//!
//! ```math
//! \text{coverage} = \frac1K \exp\Bigl(-\sum_c p_c \log p_c\Bigr) :
//! ```
//!
//! the *effective number* of cells (the exponential of Shannon's entropy; Hill, *Diversity and Evenness*,
//! Ecology 54, 1973) divided by their number. It is 1 where rows are spread evenly, minus a few hundredths for
//! chance, and small where they lie along a curve. Rows whose heights on a cylinder are normal cover 0.8.

use crate::model::dictionary::Dictionary;
use crate::model::factor::Along;
use crate::model::places::RowPlaces;

/// A circle with less coverage is an arc.
pub const ARC: f64 = 0.5;

/// Rows per cell.
const ROWS: usize = 8;

/// The fewest and the most cells per direction.
const CELLS: (usize, usize) = (2, 16);

/// The fewest rows for which a share is reported.
const FEWEST: usize = 32;

/// The share of the rows that the interval left out may hold.
const STRAYS: f64 = 0.1;

/// The share of a line's rows beyond either of its ends.
const TAIL: f64 = 0.005;

/// The coverage of every atom over the rows in which it is on. It is absent for Euclidean atoms of several
/// coordinates, which have no shape to cover, and for atoms that are on in fewer than 32 rows.
pub(crate) fn coverage(dictionary: &Dictionary, rows: &RowPlaces) -> Vec<Option<f64>> {
    let of = |a: usize| {
        let atom = dictionary.atoms()[a];
        let mut places = Vec::new();
        for on in (0..rows.rows()).filter_map(|i| rows.get(i, a)) {
            places.push(atom.topology().even_place(on.coordinates)?);
        }
        if places.len() < FEWEST {
            return None;
        }
        let directions = places.first().map_or(0, Vec::len);
        let along: Vec<Direction> = (0..directions)
            .map(|d| Direction::of(places.iter().map(|place| place[d])))
            .collect();
        match &along[..] {
            [one] => Some(one.beside_the_largest_gap()),
            [one, two] => Some(effective_share(&one.in_parts(), &two.in_parts())),
            _ => None,
        }
    };
    (0..dictionary.len()).map(of).collect()
}

/// The rows' places along one direction.
struct Direction {
    places: Vec<f64>,
    closed: bool,
}

impl Direction {
    fn of(places: impl Iterator<Item = Along> + Clone) -> Self {
        let closed = places.clone().all(|place| matches!(place, Along::Whole(_)));
        let number = |place| match place {
            Along::Whole(number) | Along::Free(number) => number,
        };
        Self {
            places: places.map(number).collect(),
            closed,
        }
    }

    /// Where a line begins and ends, given the sorted places: all but [`TAIL`] at either end lie between.
    fn ends(sorted: &[f64]) -> [f64; 2] {
        let at = |q: f64| sorted[(q * (sorted.len() - 1) as f64).round() as usize];
        [at(TAIL), at(1.0 - TAIL)]
    }

    fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.places.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }

    /// The part of the unit circle, or of a line between its ends, that the largest interval with at most
    /// [`STRAYS`] of the places leaves; 1 for places that are spread evenly.
    fn beside_the_largest_gap(&self) -> f64 {
        let (places, closed) = (self.sorted(), self.closed);
        let n = places.len();
        let strays = (STRAYS * n as f64) as usize;
        let (low, high, length) = if closed {
            (f64::NEG_INFINITY, f64::INFINITY, 1.0)
        } else {
            let [low, high] = Self::ends(&places);
            (low, high, high - low)
        };
        let after = |i: usize| match places.get(i) {
            Some(place) => *place,
            // The circle's first places again, one turn later.
            None if closed => 1.0 + places[i - n],
            None => high,
        };
        let gaps = (0..n).map(|i| after(i + strays + 1).min(high) - places[i].max(low));
        let largest = gaps.fold(0.0, f64::max);
        if length > 0.0 {
            ((1.0 - largest / length) / (1.0 - STRAYS)).clamp(0.0, 1.0)
        } else {
            0.0
        }
    }

    /// The places as fractions of the whole; for a line, of what lies between its ends.
    fn in_parts(&self) -> Vec<f64> {
        if self.closed {
            return self.places.clone();
        }
        let [low, high] = Self::ends(&self.sorted());
        let part = |place: &f64| match high > low {
            true => ((place - low) / (high - low)).clamp(0.0, 1.0),
            false => 0.0,
        };
        self.places.iter().map(part).collect()
    }
}

/// The effective number of cells of the unit square divided by their number; a place is `(one, two)`.
fn effective_share(one: &[f64], two: &[f64]) -> f64 {
    let n = one.len() as f64;
    let (least, most) = CELLS;
    let side = ((n / ROWS as f64).sqrt() as usize).clamp(least, most);
    let cell = |u: f64| ((u * side as f64) as usize).min(side - 1);
    let mut counts = vec![0_usize; side * side];
    for (one, two) in one.iter().zip(two) {
        counts[cell(*two) * side + cell(*one)] += 1;
    }
    let filled = counts.iter().filter(|count| **count > 0);
    let entropy: f64 = filled
        .map(|count| {
            let p = *count as f64 / n;
            -p * p.ln()
        })
        .sum();
    entropy.exp() / counts.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;
    use std::f64::consts::{PI, TAU};

    /// A number in `[0, 1)`, evenly spread over `i`.
    fn even(i: usize, by: f64) -> f64 {
        (i as f64 * by).fract()
    }

    fn of(word: &str, t: &Array2<f64>) -> Option<f64> {
        let gates = Array2::ones((t.nrows(), 1));
        dense(&word.parse().unwrap(), t, &gates)[0]
    }

    fn dense(dictionary: &Dictionary, t: &Array2<f64>, gates: &Array2<f64>) -> Vec<Option<f64>> {
        let places = RowPlaces::from_arrays(dictionary, t.view(), gates.view()).unwrap();
        coverage(dictionary, &places)
    }

    #[test]
    fn what_is_spread_evenly_covers_all_and_a_part_its_share() {
        for n in [100, 1000, 20_000] {
            for part in [1.0, 0.5, 0.1] {
                let circle = |i: usize| TAU * part * even(i, 0.618_034) - PI;
                let circle = Array2::from_shape_fn((n, 1), |(i, _)| circle(i));
                let found = of("circle", &circle).unwrap();
                assert!((found - part).abs() < 0.04, "circle {n} {part}: {found}");
            }
            // Three cells to a direction do not tell a quarter.
            let parts: &[f64] = if n < 1000 { &[1.0] } else { &[1.0, 0.25] };
            for &part in parts {
                let torus = Array2::from_shape_fn((n, 2), |(i, c)| match c {
                    0 => TAU * part * even(i, 0.754_877_7) - PI,
                    _ => TAU * even(i, 0.569_840_3) - PI,
                });
                let found = of("torus", &torus).unwrap();
                assert!(
                    (found - part).abs() < 0.3 * part,
                    "torus {n} {part}: {found}"
                );
                // Heights in any unit, some rows far out.
                let cylinder = Array2::from_shape_fn((n, 2), |(i, c)| match c {
                    0 => TAU * part * even(i, 0.754_877_7) - PI,
                    _ if n > 400 && i % 400 == 7 => 1e9,
                    _ => 40.0 + 3.0 * even(i, 0.569_840_3),
                });
                let found = of("cylinder", &cylinder).unwrap();
                assert!(
                    (found - part).abs() < 0.3 * part,
                    "cylinder {n} {part}: {found}"
                );
                let sphere = Array2::from_shape_fn((n, 3), |(i, c)| {
                    let z = 1.0 - 2.0 * part * even(i, 0.754_877_7);
                    let (sin, cos) = (TAU * even(i, 0.569_840_3)).sin_cos();
                    let r = (1.0 - z * z).sqrt();
                    [r * cos, r * sin, z][c]
                });
                let found = of("sphere", &sphere).unwrap();
                assert!(
                    (found - part).abs() < 0.3 * part,
                    "sphere {n} {part}: {found}"
                );
            }
        }
    }

    #[test]
    fn a_few_rows_elsewhere_change_next_to_nothing_and_gaps_of_a_line_show() {
        let arc = |i: usize| match i % 100 {
            0 => TAU * even(i, 0.37) - PI,
            _ => 0.1 * TAU * even(i, 0.618_034),
        };
        let found = of("circle", &Array2::from_shape_fn((5000, 1), |(i, _)| arc(i))).unwrap();
        assert!((found - 0.1).abs() < 0.01, "{found}");
        // Seven days, in whatever order and however tight.
        let days = |i: usize| TAU * ((i % 7) as f64 + 0.1 * even(i, 0.37)) / 7.0 - PI;
        let days = Array2::from_shape_fn((140, 1), |(i, _)| days(i));
        let found = of("circle", &days).unwrap();
        assert!(found > 0.8, "{found}");
        let line = |gap: f64| {
            Array2::from_shape_fn((2000, 1), |(i, _)| {
                let t = 2.0 * even(i, 0.618_034) - 1.0;
                // One row far out, which stretches nothing.
                if i == 7 { 1e9 } else { t + gap * t.signum() }
            })
        };
        let (whole, parted) = (of("euclidean:1", &line(0.0)), of("euclidean:1", &line(2.0)));
        assert!(whole.unwrap() > 0.97, "{whole:?}");
        assert!((parted.unwrap() - 1.0 / 3.0).abs() < 0.03, "{parted:?}");
        let curve = Array2::from_shape_fn((5000, 2), |(i, c)| match c {
            0 => TAU * even(i, 0.618_034) - PI,
            _ => 0.3,
        });
        assert!(of("torus", &curve).unwrap() < 0.07);
    }

    #[test]
    fn what_has_no_shape_or_too_few_rows_has_none() {
        assert_eq!(of("circle", &Array2::zeros((31, 1))), None);
        assert_eq!(of("circle", &Array2::zeros((32, 1))), Some(0.0));
        assert_eq!(of("euclidean:1", &Array2::zeros((400, 1))), Some(0.0));
        assert_eq!(of("torus", &Array2::zeros((32, 2))), Some(0.25));
        assert_eq!(of("cylinder", &Array2::zeros((32, 2))), Some(0.25));
        assert_eq!(of("euclidean:2", &Array2::zeros((400, 2))), None);
        assert_eq!(of("circle", &Array2::zeros((0, 1))), None);
        let dictionary = "2*circle".parse().unwrap();
        let t = Array2::from_shape_fn((400, 2), |(i, a)| TAU * even(i + a, 0.618_034) - PI);
        let mut gates = Array2::ones((400, 2));
        gates.column_mut(1).fill(0.0);
        let found = dense(&dictionary, &t, &gates);
        assert!(found[0].unwrap() > 0.9 && found[1].is_none(), "{found:?}");
    }
}
