//! The best angle of a first harmonic, in closed form.
//!
//! In an atom's own axes its Gram matrix is `diag(a0, a1)` with `a0 >= a1`. For a pull `q` the gain of the
//! place `z = (cos t, sin t)` is
//!
//! ```text
//! g(z) = q'z - (a0 z0^2 + a1 z1^2) / 2        on |z| = 1
//! ```
//!
//! This is a trust-region problem of order two on its boundary (Moré and Sorensen, *Computing a trust region
//! step*, 1983). With `d = a0 - a1` and the multiplier shifted by `a1` to `v >= 0` the maximum is at
//! `z = (q0 / (v + d), q1 / v)`, where `v` is the only root of `|z(v)| = 1` to the right of
//! `max(|q1|, |q| - d)`. Newton's method on `1 / |z| - 1` rises to it from there without overshooting.
//! Where `q1 = 0` and `|q0| < d` the root is `v = 0` and either sign of `z1` is optimal.

use pulp::{Simd, WithSimd};

/// The place of the largest gain, and that gain.
pub(crate) fn best(q: [f64; 2], axes: [f64; 2]) -> ([f64; 2], f64) {
    let d = axes[0] - axes[1];
    let z = place(q, d);
    (z, gain(q, axes, z))
}

/// `q'z - (a0 z0^2 + a1 z1^2) / 2`.
pub(crate) fn gain(q: [f64; 2], axes: [f64; 2], z: [f64; 2]) -> f64 {
    q[0] * z[0] + q[1] * z[1] - 0.5 * (axes[0] * z[0] * z[0] + axes[1] * z[1] * z[1])
}

/// The most steps of Newton's method, which converges quadratically from its third step on.
const STEPS: usize = 12;

/// A multiplier below this share of pull and axes counts as 0: its reciprocal might overflow.
const NOTHING: f64 = 1e-150;

fn place(q: [f64; 2], d: f64) -> [f64; 2] {
    let norm = (q[0] * q[0] + q[1] * q[1]).sqrt();
    let mut v = larger(q[1].abs(), norm - d);
    // NaN passes through and gives NaN.
    if v <= NOTHING * (norm + d) {
        if d == 0.0 {
            return [1.0, 0.0];
        }
        let z0 = q[0] / d;
        return [z0, (1.0 - z0 * z0).max(0.0).sqrt()];
    }
    let mut z = [0.0; 2];
    for _ in 0..STEPS {
        // One division for both.
        let both = 1.0 / ((v + d) * v);
        let by = [v * both, (v + d) * both];
        z = [q[0] * by[0], q[1] * by[1]];
        let squares = [z[0] * z[0], z[1] * z[1]];
        let square = squares[0] + squares[1];
        let miss = square.sqrt() - 1.0;
        v += square * miss / (squares[0] * by[0] + squares[1] * by[1]);
        if miss < ENOUGH {
            z = [q[0] * v, q[1] * (v + d)];
            break;
        }
    }
    let norm = (z[0] * z[0] + z[1] * z[1]).sqrt();
    [z[0] / norm, z[1] / norm]
}

/// Where `|z|` is this close to 1, the next step leaves an error of about 1e-8 in the place. The slope of
/// the gain is zero there, so the gain is exact within rounding.
const ENOUGH: f64 = 1e-4;

fn larger(a: f64, b: f64) -> f64 {
    if b > a { b } else { a }
}

/// Angles that are searched together.
pub(crate) const LANES: usize = 16;

/// Lanes of single precision.
pub(crate) type Lanes = [f32; LANES];

/// The best gains of many atoms, to about single precision: enough to choose among them.
///
/// By duality the best gain is the minimum over `v` of `(q0^2 / (v + d) + q1^2 / v + v - a1) / 2`, so the
/// error of the gain is of second order in that of `v`, and two steps of Newton's method are enough. From
/// the lower bound of `v` on, `|z|^2` lies between 1 and 2, where a cubic replaces the root. No product is
/// fused with a sum, so every register width gives the same bits.
pub(crate) struct Gains<'a> {
    /// Both parts of the pulls.
    pub(crate) pulls: [&'a [Lanes]; 2],
    /// Both axes, the longer first.
    pub(crate) axes: [&'a [Lanes]; 2],
    pub(crate) out: &'a mut [Lanes],
}

impl WithSimd for Gains<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let wide = |lanes| S::as_simd_f32s(<[Lanes]>::as_flattened(lanes)).0;
        let (pulls0, pulls1) = (wide(self.pulls[0]), wide(self.pulls[1]));
        let (axes0, axes1) = (wide(self.axes[0]), wide(self.axes[1]));
        let out = S::as_mut_simd_f32s(self.out.as_flattened_mut()).0;
        let number = |v: f32| simd.splat_f32s(v);
        let (one, half, tiny) = (number(1.0), number(0.5), number(1e-30));
        let (cubic, square_term) = (number(0.0302), number(0.116));
        let mul = |a, b| simd.mul_f32s(a, b);
        let add = |a, b| simd.add_f32s(a, b);
        let sub = |a, b| simd.sub_f32s(a, b);
        let inputs = pulls0.iter().zip(pulls1).zip(axes0.iter().zip(axes1));
        for (out, ((&p0, &p1), (&a0, &a1))) in out.iter_mut().zip(inputs) {
            let d = sub(a0, a1);
            let low = simd.max_f32s(sub(simd.abs_f32s(p0), d), simd.abs_f32s(p1));
            let mut v = add(low, tiny);
            for _ in 0..2 {
                let long = add(v, d);
                // One division for both.
                let both = simd.div_f32s(one, mul(long, v));
                let (by0, by1) = (mul(v, both), mul(long, both));
                let (x, y) = (mul(p0, by0), mul(p1, by1));
                let (x2, y2) = (mul(x, x), mul(y, y));
                let square = add(x2, y2);
                let over = sub(square, one);
                let poly = add(half, mul(over, sub(mul(cubic, over), square_term)));
                let slope = add(add(mul(x2, by0), mul(y2, by1)), tiny);
                let step = simd.div_f32s(mul(square, mul(over, poly)), slope);
                // Where the pull has no component along the short axis, `v` is 0 and the step would go below it.
                v = simd.max_f32s(add(v, step), tiny);
            }
            let long = add(v, d);
            let both = simd.div_f32s(one, mul(long, v));
            let (x, y) = (mul(p0, mul(v, both)), mul(p1, mul(long, both)));
            *out = mul(half, sub(add(add(mul(p0, x), mul(p1, y)), v), a1));
        }
    }
}

/// The gains of cones over circles: `(q0^2 / a0 + q1^2 / a1) / 2`, since every point of the plane is a place.
pub(crate) struct PlaneGains<'a> {
    /// Both parts of the pulls.
    pub(crate) pulls: [&'a [Lanes]; 2],
    /// The inverses of both axes.
    pub(crate) inverses: [&'a [Lanes]; 2],
    pub(crate) out: &'a mut [Lanes],
}

impl WithSimd for PlaneGains<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let wide = |lanes| S::as_simd_f32s(<[Lanes]>::as_flattened(lanes)).0;
        let (pulls0, pulls1) = (wide(self.pulls[0]), wide(self.pulls[1]));
        let (by0, by1) = (wide(self.inverses[0]), wide(self.inverses[1]));
        let out = S::as_mut_simd_f32s(self.out.as_flattened_mut()).0;
        let half = simd.splat_f32s(0.5);
        let mul = |a, b| simd.mul_f32s(a, b);
        let inputs = pulls0.iter().zip(pulls1).zip(by0.iter().zip(by1));
        for (out, ((&p0, &p1), (&b0, &b1))) in out.iter_mut().zip(inputs) {
            let along = mul(mul(p0, p0), b0);
            *out = mul(half, simd.add_f32s(along, mul(mul(p1, p1), b1)));
        }
    }
}

/// `left -= v line`.
pub(crate) struct Less<'a> {
    pub(crate) left: &'a mut [Lanes],
    pub(crate) line: &'a [Lanes],
    pub(crate) by: f32,
}

impl WithSimd for Less<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let line = S::as_simd_f32s(self.line.as_flattened()).0;
        let left = S::as_mut_simd_f32s(self.left.as_flattened_mut()).0;
        let by = simd.splat_f32s(self.by);
        for (left, &line) in left.iter_mut().zip(line) {
            *left = simd.sub_f32s(*left, simd.mul_f32s(by, line));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::f64::consts::TAU;

    /// The best of a grid of 512 angles.
    fn on_grid(q: [f64; 2], axes: [f64; 2]) -> f64 {
        (0..512)
            .map(|i| {
                let (sin, cos) = (TAU * f64::from(i) / 512.0).sin_cos();
                gain(q, axes, [cos, sin])
            })
            .fold(f64::NEG_INFINITY, f64::max)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// However eccentric the atom is, no angle of a grid is better, and the gain is that of a place on the
        /// circle.
        #[test]
        fn no_angle_of_a_grid_is_better(
            q in prop::array::uniform2(-3.0..3.0_f64), long in -3.0..3.0_f64, ratio in 0.0..6.0_f64,
            scale in -8.0..8.0_f64, flat in 0..4_usize,
        ) {
            let a0 = 10.0_f64.powf(long);
            let axes = [a0, a0 * 10.0_f64.powf(-ratio)].map(|a| a * 10.0_f64.powf(scale));
            // Includes pulls along an axis, and a zero pull.
            let mut q = q.map(|q| q * 10.0_f64.powf(scale));
            if flat & 1 == 1 { q[0] = 0.0; }
            if flat & 2 == 2 { q[1] = 0.0; }
            let (z, found) = best(q, axes);
            prop_assert!((z[0].hypot(z[1]) - 1.0).abs() < 1e-14);
            let size = q[0].abs() + q[1].abs() + axes[0];
            prop_assert!(found >= on_grid(q, axes) - 1e-13 * size, "{found} {}", on_grid(q, axes));
            prop_assert_eq!(found, gain(q, axes, z));
        }

        /// Single precision finds the same gains up to its rounding.
        #[test]
        fn gains_in_lanes_are_those_of_the_best_angles(
            q in prop::array::uniform2(-3.0..3.0_f64), long in -2.0..2.0_f64, ratio in 0.0..4.0_f64,
            flat in 0..4_usize,
        ) {
            let q = [if flat & 1 == 1 { 0.0 } else { q[0] }, if flat & 2 == 2 { 0.0 } else { q[1] }];
            let a0 = 10.0_f64.powf(long);
            let (q, axes) = (q.map(|q| f64::from(q as f32)), [a0, a0 * 10.0_f64.powf(-ratio)].map(|a| f64::from(a as f32)));
            let lanes = |v: f64| [v as f32; LANES];
            let mut out = [lanes(0.0)];
            crate::data::ARCH.dispatch(Gains {
                pulls: [&[lanes(q[0])], &[lanes(q[1])]],
                axes: [&[lanes(axes[0])], &[lanes(axes[1])]],
                out: &mut out,
            });
            let (_, expected) = best(q, axes);
            let size = q[0].abs() + q[1].abs() + axes[0];
            let found = f64::from(out[0][3]);
            prop_assert!((found - expected).abs() < 1e-3 * size, "{found} {expected}");
        }
    }

    #[test]
    fn without_a_pull_the_short_axis_is_best() {
        let (z, found) = best([0.0, 0.0], [2.0, 0.5]);
        assert_eq!((z, found), ([0.0, 1.0], -0.25));
        assert_eq!(best([0.0, 0.0], [1.0, 1.0]).1, -0.5);
    }

    #[test]
    fn what_is_not_a_number_gives_no_number() {
        assert!(best([f64::NAN, 1.0], [2.0, 1.0]).1.is_nan());
        assert!(best([1.0, f64::NAN], [2.0, 1.0]).1.is_nan());
    }
}
