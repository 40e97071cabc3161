//! A circle and a line from three scores: the axis about which the radii are most even.
//!
//! Principal components of a cylinder span its axis and the plane of its circle but mix them, because variances
//! alone do not separate them. A point has a constant distance from the axis. So with a unit vector `n` and
//! `rho = |z|^2 - (n' z)^2` the axis is where `sum (rho - mean)^2` is least. It is searched on a grid of the
//! sphere, then on finer grids around the best point.

use crate::model::factor::tangent_basis;

/// Points of the first grid, a spiral over half the sphere: `n` and `-n` are one axis.
const GRID: usize = 128;

/// Finer grids around the best point, each a quarter as wide.
const FINER: usize = 8;

/// Rotates standardised `scores` in place so that the first two go around a circle and the third runs along
/// its axis.
pub(crate) fn upright(scores: &mut [[f64; 3]]) {
    let mut best = (f64::INFINITY, [0.0, 0.0, 1.0]);
    let mut offer = |axis: [f64; 3]| {
        let value = unevenness(scores, axis);
        if value < best.0 {
            best = (value, axis);
        }
        best.1
    };
    let golden = std::f64::consts::PI * (3.0 - 5.0_f64.sqrt());
    for i in 0..GRID {
        let z = 1.0 - (i as f64 + 0.5) / GRID as f64;
        let (sin, cos) = (golden * i as f64).sin_cos();
        let r = (1.0 - z * z).sqrt();
        offer([r * cos, r * sin, z]);
    }
    let mut width = 0.15;
    for _ in 0..FINER {
        let centre = offer([0.0, 0.0, 1.0]);
        let [e, f] = tangent_basis(centre);
        for (a, b) in (-2..=2).flat_map(|a| (-2..=2).map(move |b| (a, b))) {
            let (a, b) = (width * f64::from(a) / 2.0, width * f64::from(b) / 2.0);
            let moved: [f64; 3] = std::array::from_fn(|c| centre[c] + a * e[c] + b * f[c]);
            let norm = moved.iter().map(|x| x * x).sum::<f64>().sqrt();
            offer(moved.map(|x| x / norm));
        }
        width *= 0.5;
    }
    let axis = best.1;
    let [e, f] = tangent_basis(axis);
    for z in scores {
        *z = [dot(e, *z), dot(f, *z), dot(axis, *z)];
    }
}

fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

/// The variance of the squared distances from an axis, times the number of rows.
fn unevenness(scores: &[[f64; 3]], axis: [f64; 3]) -> f64 {
    let (mut sum, mut squares) = (0.0, 0.0);
    for z in scores {
        let along = dot(axis, *z);
        let rho = dot(*z, *z) - along * along;
        sum += rho;
        squares += rho * rho;
    }
    squares - sum * sum / scores.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leaning_cylinder_is_set_upright() {
        let straight: Vec<[f64; 3]> = (0..400)
            .map(|i| {
                let (sin, cos) = (i as f64 * 0.61).sin_cos();
                let height = 3.4 * ((i as f64 * 0.754_877_7).fract() - 0.5);
                [1.4 * cos, 1.4 * sin, height]
            })
            .collect();
        for axis in [[0.0, 0.0, 1.0], [0.6, 0.0, -0.8], [0.48, -0.64, 0.6]] {
            let [e, f] = tangent_basis(axis);
            let lean = |z: &[f64; 3]| -> [f64; 3] {
                std::array::from_fn(|c| z[0] * e[c] + z[1] * f[c] + z[2] * axis[c])
            };
            let mut scores: Vec<[f64; 3]> = straight.iter().map(lean).collect();
            upright(&mut scores);
            for (got, want) in scores.iter().zip(&straight) {
                assert!((got[0].hypot(got[1]) - 1.4).abs() < 0.02, "{axis:?}");
                assert!((got[2].abs() - want[2].abs()).abs() < 0.02, "{axis:?}");
            }
        }
        upright(&mut []);
    }
}
