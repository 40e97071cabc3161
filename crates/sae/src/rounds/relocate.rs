//! New places for atoms that explain little: planes of what rows would have left for a new atom.
//!
//! A row has room for one more atom where it has fewer on than it may, or where one that is on moves away; else a new
//! atom takes the place of the one that explains least of it. What is *left* of a row is its residual and what the
//! atoms that go explain; its *bar* is how much the one that would be replaced lowers the row's objective.
//!
//! Rows are drawn with probability proportional to their squared errors, so a plane is looked for where the
//! errors are. A few of them are *heads*. Around each, the rows whose rest is most nearly parallel to
//! its own span a plane by their leading directions. The plane that would explain most of all drawn rows beyond their
//! bars, weighted back to equal weight for all rows, becomes the atom's lines.

use crate::data::store::TileMemory;
use crate::data::{axpy, dot, larger};
use crate::rounds::codes::Codes;
use crate::rounds::round::{Arranged, Ground, RoundState};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

/// The most rows that are drawn.
const DRAWN: usize = 2048;

/// Heads that are tried per atom.
const HEADS: usize = 12;

/// The numbers of rows around a head, used in turn.
const AROUND: [usize; 4] = [32, 64, 128, 256];

/// Steps of the iteration for leading directions.
const STEPS: usize = 6;

/// What is left of rows that were drawn in proportion to their squared errors.
pub(crate) struct Residuals {
    p: usize,
    /// Whether amplitudes are fitted.
    cones: bool,
    rows: Vec<f64>,
    /// How much a new atom has to lower the objective of each before it lowers the whole.
    bars: Vec<f64>,
    /// `|r|` of each.
    norms: Vec<f64>,
    /// The inverse of the squared error each was drawn by.
    weights: Vec<f64>,
}

impl Residuals {
    /// Draws rows in proportion to `squares`, their squared errors; none if all are zero. The atoms `moved` go away.
    pub(crate) fn draw(
        ground: &Ground<'_>,
        RoundState {
            decoder,
            codes,
            squares,
            ..
        }: &RoundState,
        moved: &[usize],
        rng: &mut ChaCha8Rng,
    ) -> Self {
        let p = ground.data.outputs();
        let mut ends = Vec::with_capacity(squares.len());
        let mut total = 0.0;
        for &square in squares.iter() {
            total += square.max(0.0);
            ends.push(total);
        }
        let mut chosen: Vec<usize> = Vec::new();
        if total > 0.0 && total.is_finite() {
            let count = DRAWN.min(4 * squares.len());
            chosen.extend((0..count).map(|_| {
                let at = total * rng.random::<f64>();
                ends.partition_point(|&end| end <= at)
                    .min(squares.len() - 1)
            }));
        }
        let (rows, bars): (Vec<Vec<f64>>, Vec<f64>) = (chosen.par_iter())
            .map_init(TileMemory::default, |tile, &i| {
                rest(ground, decoder, codes, moved, i, tile)
            })
            .unzip();
        let norms: Vec<f64> = rows.iter().map(|r| dot(r, r).sqrt()).collect();
        let weights = chosen.iter().map(|&i| 1.0 / squares[i]).collect();
        Self {
            p,
            cones: ground.dictionary.has_cones(),
            rows: rows.concat(),
            bars,
            norms,
            weights,
        }
    }

    fn row(&self, i: usize) -> &[f64] {
        &self.rows[i * self.p..][..self.p]
    }

    /// The best of a few planes (of `width` directions), line by line; `None` where no residual is left.
    pub(crate) fn plane(&self, width: usize, rng: &mut ChaCha8Rng) -> Option<Vec<f64>> {
        let count = self.norms.len();
        if count == 0 {
            return None;
        }
        let heads: Vec<(usize, usize)> = (0..HEADS)
            .map(|h| (rng.random_range(0..count), AROUND[h % AROUND.len()]))
            .collect();
        let planes: Vec<(f64, Vec<f64>)> = heads
            .into_par_iter()
            .map(|(head, around)| {
                let lines = self.around(head, around, width);
                (self.worth(&lines, width), lines)
            })
            .collect();
        let best = planes
            .into_iter()
            .reduce(|a, b| if b.0 > a.0 { b } else { a });
        best.filter(|(worth, _)| *worth > 0.0)
            .map(|(_, lines)| lines)
    }

    /// Leading directions of the rows most nearly parallel to row `head`, each as long as the rows' root
    /// mean square along it.
    fn around(&self, head: usize, count: usize, width: usize) -> Vec<f64> {
        let p = self.p;
        let direction = self.row(head);
        let mut alike: Vec<(f64, usize)> = (0..self.norms.len())
            .map(|i| {
                let along = dot(self.row(i), direction).abs();
                (along / larger(self.norms[i], f64::MIN_POSITIVE), i)
            })
            .collect();
        let count = count.min(alike.len());
        alike.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let near = &alike[..count];
        let mut lines = vec![0.0; width * p];
        for (j, line) in lines.chunks_exact_mut(p).enumerate() {
            line.copy_from_slice(self.row(near[j * count / width].1));
        }
        orthonormalise(&mut lines, p);
        let mut next = vec![0.0; width * p];
        for step in 0..=STEPS {
            next.fill(0.0);
            for &(_, i) in near {
                let row = self.row(i);
                for (line, next) in lines.chunks_exact(p).zip(next.chunks_exact_mut(p)) {
                    axpy(dot(row, line), row, next);
                }
            }
            if step == STEPS {
                break;
            }
            std::mem::swap(&mut lines, &mut next);
            orthonormalise(&mut lines, p);
        }
        for (line, product) in lines.chunks_exact_mut(p).zip(next.chunks_exact(p)) {
            let spread = larger(dot(line, product), 0.0) / count as f64;
            line.iter_mut().for_each(|v| *v *= spread.sqrt());
        }
        lines
    }

    /// What an atom with these orthogonal lines would explain of all rows: as a sphere does, or, where amplitudes are
    /// fitted, as the whole space of its lines.
    fn worth(&self, lines: &[f64], width: usize) -> f64 {
        let p = self.p;
        let squares: Vec<f64> = lines.chunks_exact(p).map(|l| dot(l, l)).collect();
        let mut q = vec![0.0; width];
        let mut sum = 0.0;
        for (i, (weight, bar)) in self.weights.iter().zip(&self.bars).enumerate() {
            for (q, line) in q.iter_mut().zip(lines.chunks_exact(p)) {
                *q = dot(line, self.row(i));
            }
            let norm = dot(&q, &q).sqrt();
            if self.cones {
                let both = q.iter().zip(&squares).filter(|(_, square)| **square > 0.0);
                let gain = 0.5 * both.map(|(q, square)| q * q / square).sum::<f64>();
                sum += weight * larger(gain - bar, 0.0);
            } else if norm > 0.0 {
                let gain: f64 = (q.iter().zip(&squares))
                    .map(|(q, square)| {
                        let u = q / norm;
                        q * u - 0.5 * square * u * u
                    })
                    .sum();
                sum += weight * larger(gain - bar, 0.0);
            }
        }
        sum
    }
}

/// What is left of a row for a new atom, and its bar: see the [module](self).
pub(super) fn rest(
    ground: &Ground<'_>,
    decoder: &Arranged,
    codes: &Codes,
    moved: &[usize],
    i: usize,
    tile: &mut TileMemory,
) -> (Vec<f64>, f64) {
    let p = ground.data.outputs();
    let mut left: Vec<f64> = (ground.data.tile(i, 1, tile).iter())
        .zip(&decoder.intercept)
        .map(|(x, c)| x - c)
        .collect();
    let parts: Vec<(usize, Vec<f64>)> = (codes.row(i))
        .map(|(a, phi, _)| {
            let mut part = vec![0.0; p];
            for (&v, at) in phi.iter().zip(ground.arrangement.place(a).all()) {
                axpy(v, &decoder.lines[at * p..][..p], &mut part);
            }
            (a, part)
        })
        .collect();
    for (_, part) in &parts {
        axpy(-1.0, part, &mut left);
    }
    if parts.len() < codes.slots() || parts.iter().any(|(a, _)| moved.contains(a)) {
        for (_, part) in parts.iter().filter(|(a, _)| moved.contains(a)) {
            axpy(1.0, part, &mut left);
        }
        return (left, 0.0);
    }
    // Without it the row's objective is |r + w|^2 / 2 instead of |r|^2 / 2.
    let explains = |part: &[f64]| dot(part, &left) + 0.5 * dot(part, part);
    let least = (parts.iter().map(|(_, part)| (explains(part), part)))
        .min_by(|(a, _), (b, _)| a.total_cmp(b));
    let Some((bar, part)) = least else {
        return (left, 0.0);
    };
    axpy(1.0, part, &mut left);
    (left, larger(bar, 0.0))
}

/// Gram-Schmidt, twice; dependent lines become zero.
fn orthonormalise(lines: &mut [f64], p: usize) {
    for j in 0..lines.len() / p {
        let (before, rest) = lines.split_at_mut(j * p);
        let line = &mut rest[..p];
        let whole = dot(line, line).sqrt();
        for _ in 0..2 {
            for other in before.chunks_exact(p) {
                let along = dot(other, line);
                axpy(-along, other, line);
            }
        }
        let norm = dot(line, line).sqrt();
        let by = if norm > 1e-10 * whole {
            1.0 / norm
        } else {
            0.0
        };
        line.iter_mut().for_each(|v| *v *= by);
    }
}
