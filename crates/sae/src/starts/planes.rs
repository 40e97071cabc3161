//! Two circles from four scores: the rotation of a four-dimensional space that makes the radii in
//! its first and in its second plane as even as possible.
//!
//! Principal components of a product of circles span both planes but mix them, because variances alone do
//! not separate them. A point of a circle has a constant radius. So with the squared radii `rho_1`, `rho_2`
//! in the planes, `sum (rho_1 - mean)^2 + (rho_2 - mean)^2` is lowered by rotating one axis of the first
//! plane against one of the second, pair by pair, until it no longer falls.

use rayon::prelude::*;

/// The most sweeps over the four pairs of axes.
const SWEEPS: usize = 20;

/// Angles tried for a pair in a first pass, over a quarter turn: another quarter only swaps the axes.
const ANGLES: usize = 24;

/// Rotates standardised `scores` in place: the best result from the three pairings of axes, each unchanged
/// and half mixed, since rotations pair by pair may stop short of the least unevenness.
pub(crate) fn separate(scores: &mut [[f64; 4]]) {
    let orders = [[0, 1, 2, 3], [0, 2, 1, 3], [0, 3, 1, 2]];
    let half = std::f64::consts::FRAC_PI_4;
    let tries: Vec<_> = orders.iter().flat_map(|&o| [(o, 0.0), (o, half)]).collect();
    let descended = tries.into_par_iter().map(|(order, mixing)| {
        let mut turned: Vec<[f64; 4]> = scores.iter().map(|z| order.map(|c| z[c])).collect();
        turn(&mut turned, 0, 2, mixing);
        turn(&mut turned, 1, 3, 0.5 * mixing);
        (descend(&mut turned), turned)
    });
    // The first where several are equal.
    let least = |a: (f64, Vec<_>), b: (f64, Vec<_>)| if b.0 < a.0 { b } else { a };
    let descended: Vec<_> = descended.collect();
    if let Some((_, turned)) = descended.into_iter().reduce(least) {
        scores.copy_from_slice(&turned);
    }
}

/// Sweeps until nothing improves; returns the unevenness reached.
fn descend(scores: &mut [[f64; 4]]) -> f64 {
    let mut now = unevenness(scores, 0, 2, 0.0);
    for _ in 0..SWEEPS {
        for (a, b) in [(0, 2), (0, 3), (1, 2), (1, 3)] {
            let angle = best_angle(scores, a, b);
            turn(scores, a, b, angle);
        }
        let before = std::mem::replace(&mut now, unevenness(scores, 0, 2, 0.0));
        if now > before * (1.0 - 1e-6) {
            break;
        }
    }
    now
}

fn turn(scores: &mut [[f64; 4]], a: usize, b: usize, angle: f64) {
    let (sin, cos) = angle.sin_cos();
    for z in scores {
        (z[a], z[b]) = (cos * z[a] + sin * z[b], cos * z[b] - sin * z[a]);
    }
}

/// The angle of least unevenness on a grid, refined on two finer grids around it. Angle 0 is always tried,
/// so unevenness never grows.
fn best_angle(scores: &[[f64; 4]], a: usize, b: usize) -> f64 {
    let mut width = std::f64::consts::FRAC_PI_2;
    let mut best = (unevenness(scores, a, b, 0.0), 0.0);
    for _ in 0..3 {
        let centre = best.1;
        for i in 1..ANGLES {
            let angle = centre + width * (i as f64 / ANGLES as f64 - 0.5);
            let value = unevenness(scores, a, b, angle);
            if value < best.0 {
                best = (value, angle);
            }
        }
        width *= 2.0 / ANGLES as f64;
    }
    best.1
}

/// The sum of the variances of both squared radii, times the number of rows, after turning axis `a`
/// of the first plane against axis `b` of the second.
fn unevenness(scores: &[[f64; 4]], a: usize, b: usize, angle: f64) -> f64 {
    let (sin, cos) = angle.sin_cos();
    let (mut sums, mut squares) = ([0.0; 2], [0.0; 2]);
    for z in scores {
        let (u, v) = (cos * z[a] + sin * z[b], cos * z[b] - sin * z[a]);
        let rho = [z[1 - a] * z[1 - a] + u * u, z[5 - b] * z[5 - b] + v * v];
        for plane in 0..2 {
            sums[plane] += rho[plane];
            squares[plane] += rho[plane] * rho[plane];
        }
    }
    let count = scores.len() as f64;
    (0..2)
        .map(|plane| squares[plane] - sums[plane] * sums[plane] / count)
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mixed_circles_are_told_apart() {
        let mut scores: Vec<[f64; 4]> = (0..400)
            .map(|i| {
                let (s, c) = (i as f64 * 0.61).sin_cos();
                let (t, d) = (i as f64 * 1.37 + 0.3).sin_cos();
                [c, s, d, t]
            })
            .collect();
        for (a, b, angle) in [(0, 2, 0.9), (1, 3, -0.5), (0, 3, 2.0), (1, 2, 0.4)] {
            turn(&mut scores, a, b, angle);
        }
        let mixed = unevenness(&scores, 0, 2, 0.0);
        separate(&mut scores);
        let apart = unevenness(&scores, 0, 2, 0.0);
        assert!(apart < 1e-3 * mixed, "{mixed} {apart}");
    }
}
