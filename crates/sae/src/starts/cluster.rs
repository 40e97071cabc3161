//! k-means over leading scores: a seeded first guess of which atom is on in which row.
//!
//! Centres are drawn as in k-means++ (Arthur and Vassilvitskii 2007), then moved a few times. A
//! rough guess is enough: gates are updated by reconstruction afterwards.

use crate::starts::principal::Principal;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

/// Rounds in which the centres move.
const ROUNDS: usize = 8;

/// The cluster of every row, `0..k`; clusters may be empty where rows coincide.
pub(crate) fn clusters(principal: &Principal, k: usize, rng: &mut ChaCha8Rng) -> Vec<usize> {
    let (n, q) = (principal.rows(), principal.len());
    if q == 0 || k < 2 {
        return vec![0; n];
    }
    let mut centres = plus_plus(principal, k, rng);
    let mut labels = assign(principal, &centres);
    for _ in 0..ROUNDS {
        let mut sums = vec![vec![0.0; q]; centres.len()];
        let mut counts = vec![0_usize; centres.len()];
        for (i, &label) in labels.iter().enumerate() {
            crate::data::axpy(1.0, principal.row(i), &mut sums[label]);
            counts[label] += 1;
        }
        for ((centre, sum), &count) in centres.iter_mut().zip(sums).zip(&counts) {
            if count > 0 {
                *centre = sum.into_iter().map(|s| s / count as f64).collect();
            }
        }
        labels = assign(principal, &centres);
    }
    labels
}

fn plus_plus(principal: &Principal, k: usize, rng: &mut ChaCha8Rng) -> Vec<Vec<f64>> {
    let n = principal.rows();
    let mut centres = vec![principal.row(rng.random_range(0..n)).to_vec()];
    let mut nearest: Vec<f64> = vec![f64::INFINITY; n];
    while centres.len() < k {
        let last = &centres[centres.len() - 1];
        nearest
            .par_iter_mut()
            .enumerate()
            .for_each(|(i, d)| *d = d.min(square_distance(principal.row(i), last)));
        let total: f64 = nearest.iter().sum();
        let mut left = rng.random::<f64>() * total;
        let chosen = nearest
            .iter()
            .position(|d| {
                left -= d;
                left < 0.0
            })
            .unwrap_or_else(|| rng.random_range(0..n));
        centres.push(principal.row(chosen).to_vec());
    }
    centres
}

fn assign(principal: &Principal, centres: &[Vec<f64>]) -> Vec<usize> {
    (0..principal.rows())
        .into_par_iter()
        .with_min_len(64)
        .map(|i| {
            let mut best = (f64::INFINITY, 0);
            for (c, centre) in centres.iter().enumerate() {
                let distance = square_distance(principal.row(i), centre);
                if distance < best.0 {
                    best = (distance, c);
                }
            }
            best.1
        })
        .collect()
}

fn square_distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}
