//! Normal equations as they are met: bundle adjustment and mixed models.

use crate::cases::DenseCase;
use crate::random::Random;

/// Unknowns of a camera: rotation, translation, focal length, two distortions.
const CAMERA: usize = 9;

/// Bundle adjustment: `points` rows of 3 unknowns seen by `cameras` cameras of 9, each point by 2
/// to 6 of them, with derivatives whose scales differ by kind as they do in practice. The seven
/// gauge freedoms are held by `damping` times each diagonal entry, as a trust region does.
pub fn bundle_adjustment(points: usize, cameras: usize, damping: f64, seed: u64) -> DenseCase {
    let mut random = Random::new(seed);
    let k = CAMERA * cameras;
    let mut case = DenseCase::zeros(&vec![3; points], k);
    // Rotation, translation, focal length and distortions, in pixels by their units.
    const SCALES: [f64; CAMERA] = [8e2, 8e2, 8e2, 3e2, 3e2, 1e2, 5e-1, 2e1, 4e0];
    for point in 0..points {
        let depth = random.uniform(2.0, 40.0);
        let seen = (2 + random.below(5)).min(cameras);
        let first = random.below(cameras);
        for view in 0..seen {
            let start = CAMERA * ((first + view) % cameras);
            for _ in 0..2 {
                let own: Vec<f64> = (0..3).map(|_| 5e2 / depth * random.normal()).collect();
                let camera: Vec<f64> = (SCALES.iter()).map(|s| s * random.normal()).collect();
                for a in 0..3 {
                    for b in 0..3 {
                        *case.d_mut(point, a, b) += own[a] * own[b];
                    }
                    for c in 0..CAMERA {
                        case.row_cross[(3 * point + a) * k + start + c] += own[a] * camera[c];
                    }
                }
                for a in 0..CAMERA {
                    for b in 0..CAMERA {
                        case.border_hessian[(start + a) * k + start + b] += camera[a] * camera[b];
                    }
                }
            }
        }
    }
    damp(case, damping)
}

/// A linear mixed model: `groups` rows with `d` random effects (intercept, slope, curvature) and
/// `k` fixed effects, most of them rare levels of a factor, some covariates in raw units. The
/// random effects have a prior precision; `damping` holds levels that are never seen.
pub fn mixed_model(groups: usize, d: usize, k: usize, damping: f64, seed: u64) -> DenseCase {
    let mut random = Random::new(seed);
    let mut case = DenseCase::zeros(&vec![d; groups], k);
    // Raw units: an intercept, a year, an income, a rate.
    let covariates: [(f64, f64); 4] = [(1.0, 0.0), (2000.0, 12.0), (4e4, 2e4), (0.03, 0.01)];
    let shared = covariates.len().min(k);
    for group in 0..groups {
        for _ in 0..4 + random.below(8) {
            let time = random.uniform(-1.0, 1.0);
            let own: Vec<f64> = (0..d).map(|a| time.powi(a as i32)).collect();
            let mut fixed: Vec<(usize, f64)> = (0..shared)
                .map(|c| (c, covariates[c].0 + covariates[c].1 * random.normal()))
                .collect();
            if k > shared {
                // Levels are rare at the end of the factor: a squared uniform number.
                let share = random.uniform(0.0, 1.0).powi(2);
                let level = shared + ((k - shared) as f64 * share) as usize;
                fixed.push((level.min(k - 1), 1.0));
            }
            for a in 0..d {
                for b in 0..d {
                    *case.d_mut(group, a, b) += own[a] * own[b];
                }
                for &(c, x) in &fixed {
                    case.row_cross[(group * d + a) * k + c] += own[a] * x;
                }
            }
            for &(a, x) in &fixed {
                for &(b, y) in &fixed {
                    case.border_hessian[a * k + b] += x * y;
                }
            }
        }
        for a in 0..d {
            *case.d_mut(group, a, a) += 0.5;
        }
    }
    damp(case, damping)
}

/// Every diagonal entry times `1 + damping`, and `damping` itself where it is nothing.
fn damp(mut case: DenseCase, damping: f64) -> DenseCase {
    for (i, d) in case.dims().into_iter().enumerate() {
        for a in 0..d {
            let entry = case.d_mut(i, a, a);
            *entry += damping * if *entry > 0.0 { *entry } else { 1.0 };
        }
    }
    let k = case.shape.border();
    for j in 0..k {
        let entry = &mut case.border_hessian[j * (k + 1)];
        *entry += damping * if *entry > 0.0 { *entry } else { 1.0 };
    }
    case
}
