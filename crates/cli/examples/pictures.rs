//! Draws every kind of picture from made coordinates into a folder (by default `out/pictures`).
//!
//! ```text
//! cargo run -p broadhead --example pictures [DIR]
//! ```

use broadhead_cli::output::{self, RunFolder};
use broadhead_cli::plot::{AtomShape, AtomView, Figure, Groups};
use std::f64::consts::{PI, TAU};
use std::io::Write;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = PathBuf::from(std::env::args().nth(1).unwrap_or("out/pictures".into()));
    let taken = RunFolder::take(&folder, &[])?;
    let mut staging = taken.stage();
    for (name, figure) in figures() {
        let svg = figure.to_svg();
        let target = folder.join(format!("{name}.svg"));
        staging.write(&target, |sink| sink.write_all(svg.as_bytes()))?;
    }
    for path in staging.publish()? {
        output::print(&format!("{}\n", path.display()))?;
    }
    Ok(())
}

/// Evenly spread numbers in [-1, 1] without a generator: multiples of an irrational number.
fn noise(index: usize, factor: f64) -> f64 {
    2.0 * ((index as f64 + 1.0) * factor).fract() - 1.0
}

fn months(rows: usize) -> Groups {
    let names = "January February March April May June July August September October November \
                 December";
    Groups {
        names: names.split_whitespace().map(str::to_owned).collect(),
        of_row: (0..rows).map(|row| row % 12).collect(),
    }
}

fn circle(title: &str, rows: usize, groups: usize) -> AtomView {
    let angles: Vec<f64> = (0..rows)
        .map(|row| {
            let turn = (row % groups) as f64 / groups as f64;
            (TAU * turn + 0.15 * noise(row, 0.414_213)) - PI
        })
        .collect();
    let place = |angle: f64| [3.0 * angle.cos() + 0.4, 2.2 * angle.sin() - 0.3];
    AtomView {
        title: title.to_owned(),
        rows: (0..rows).collect(),
        coverage: None,
        shape: AtomShape::Circle {
            points: angles
                .iter()
                .enumerate()
                .map(|(row, &angle)| {
                    let [x, y] = place(angle);
                    [
                        x + 0.6 * noise(row, 0.732_050),
                        y + 0.6 * noise(row, 0.236_067),
                    ]
                })
                .collect(),
            cone: false,
            curve: (0..=240)
                .map(|step| place(TAU * f64::from(step) / 240.0 - PI))
                .collect(),
            angles,
        },
    }
}

fn figures() -> Vec<(&'static str, Figure)> {
    let figure = |title: &str, atoms, groups| Figure {
        title: title.to_owned(),
        note: "made coordinates".to_owned(),
        atoms,
        groups,
    };
    let rows = 360;
    let all: Vec<usize> = (0..rows).collect();
    let angle = |row: usize, factor| PI * noise(row, factor);
    let torus = AtomView {
        title: "torus".to_owned(),
        rows: all.clone(),
        coverage: None,
        shape: AtomShape::Torus {
            angles: (0..rows)
                .map(|row| [TAU * (row % 12) as f64 / 12.0 - PI + 0.1, angle(row, 0.618)])
                .collect(),
        },
    };
    let cylinder = AtomView {
        title: "cylinder".to_owned(),
        rows: all.clone(),
        coverage: None,
        shape: AtomShape::Cylinder {
            places: (0..rows)
                .map(|row| {
                    let height = 1.7 * noise(row, 0.618) + (row % 12) as f64 / 12.0;
                    [
                        TAU * (row % 12) as f64 / 12.0 - PI + 0.2 * noise(row, 0.414),
                        height,
                    ]
                })
                .collect(),
        },
    };
    let sphere = AtomView {
        title: "sphere".to_owned(),
        rows: all.clone(),
        coverage: None,
        shape: AtomShape::Sphere {
            directions: (0..rows)
                .map(|row| {
                    let (y, x) = (TAU * (row % 12) as f64 / 12.0 + 0.3).sin_cos();
                    let z = noise(row, 0.618_034);
                    let rim = (1.0 - z * z).sqrt();
                    [x * rim, y * rim, z]
                })
                .collect(),
        },
    };
    let plane = |title: &str, dimension: usize| AtomView {
        title: title.to_owned(),
        rows: all.clone(),
        coverage: None,
        shape: AtomShape::Euclidean {
            points: (0..rows)
                .map(|row| {
                    (0..dimension)
                        .map(|axis| {
                            let center = (row % 12 + axis * 5) % 12;
                            center as f64 / 4.0 + noise(row, 0.1 + 0.618_034 * (axis + 1) as f64)
                        })
                        .collect()
                })
                .collect(),
        },
    };
    let mut many: Vec<AtomView> = (0..8)
        .map(|atom| circle(&format!("atom {atom}"), 2000, 11 + atom))
        .collect();
    many[3] = circle("atom 3: one row only", 1, 1);
    many[4] = circle("atom 4: no rows", 0, 1);
    vec![
        (
            "circle",
            figure(
                "circle",
                vec![circle("circle", rows, 12)],
                Some(months(rows)),
            ),
        ),
        (
            "circle-unlabelled",
            figure("circle", vec![circle("circle", 20_000, 20_000)], None),
        ),
        (
            "torus",
            figure("torus", vec![torus.clone()], Some(months(rows))),
        ),
        ("torus-unlabelled", figure("torus", vec![torus], None)),
        (
            "cylinder",
            figure("cylinder", vec![cylinder.clone()], Some(months(rows))),
        ),
        (
            "cylinder-unlabelled",
            figure("cylinder", vec![cylinder], None),
        ),
        ("sphere", figure("sphere", vec![sphere], Some(months(rows)))),
        (
            "plane",
            figure("plane", vec![plane("plane", 3)], Some(months(rows))),
        ),
        (
            "line",
            figure("line", vec![plane("line", 1)], Some(months(rows))),
        ),
        ("many", figure("eight circles", many, None)),
    ]
}
