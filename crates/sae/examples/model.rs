//! Fits a circle and a line to made rows, keeps the model in a file, and places and rebuilds rows with what
//! was read back.
#![allow(clippy::print_stdout, reason = "an example's output is for a person")]

use broadhead_sae::{EncodeOptions, FitOptions, Model, fit, go_on};
use ndarray::Array2;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let rows = Array2::from_shape_fn((400, 8), |(i, c)| {
        let (angle, line) = (i as f64 * 2.399, (i as f64 * 0.618).fract());
        (angle + c as f64).cos() + 3.0 * line * (c as f64).sin()
    });
    let path = std::env::temp_dir().join("broadhead-example.safetensors");

    let fitted = fit(
        rows.view(),
        &"circle,euclidean:1".parse()?,
        &FitOptions::default(),
        &go_on,
    )?;
    fitted.model.save(&path)?;
    let model = Model::load(&path)?;
    let found = model.encode(rows.view(), &EncodeOptions::default())?;
    let rebuilt = model.reconstruct(found.coordinates.view(), found.gates.view())?;

    let left = (&rows - &rebuilt).mapv(|r| r * r).sum() / rows.mapv(|x| x * x).sum();
    println!(
        "{} at {}: {left:.1e} of the squares is left",
        model.dictionary(),
        path.display()
    );
    std::fs::remove_file(path)?;
    Ok(())
}
