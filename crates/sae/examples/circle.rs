//! Fits one circle atom to made rows around an ellipse in 32 dimensions, encodes new rows, and says
//! how far their angles are from those that made them.
#![allow(clippy::print_stdout, reason = "an example's output is for a person")]

use broadhead_sae::{Basis, Dictionary, EncodeOptions, FitOptions, Topology, fit, go_on};
use ndarray::Array2;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (n, p) = (300, 32);
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let axes = Array2::from_shape_fn((3, p), |_| rng.random::<f64>() * 2.0 - 1.0);
    let angles: Vec<f64> = (0..2 * n).map(|i| i as f64 * 2.399).collect();
    let rows = Array2::from_shape_fn((2 * n, p), |(i, j)| {
        let (sin, cos) = angles[i].sin_cos();
        let noise = rng.random::<f64>() * 0.2 - 0.1;
        axes[(0, j)] + cos * axes[(1, j)] + sin * axes[(2, j)] + noise
    });
    let (seen, new) = rows.view().split_at(ndarray::Axis(0), n);

    let dictionary = Dictionary::uniform(1, Topology::Circle, Basis::Harmonics { highest: 1 })?;
    let fit = fit(seen, &dictionary, &FitOptions::default(), &go_on)?;
    println!(
        "explained variance {:.4} after {} iterations by {} elimination, converged: {}",
        fit.explained_variance, fit.iterations, fit.elimination, fit.converged
    );

    let encoded = fit.model.encode(new, &EncodeOptions::default())?;
    let resultant = |sign: f64| {
        let (mut c, mut s) = (0.0, 0.0);
        for i in 0..n {
            let difference = sign * encoded.coordinates[(i, 0)] - angles[n + i];
            c += difference.cos();
            s += difference.sin();
        }
        f64::hypot(c, s) / n as f64
    };
    let agreement = resultant(1.0).max(resultant(-1.0));
    println!("angles of {n} new rows, up to a turn and a mirror: resultant length {agreement:.4}");
    Ok(())
}
