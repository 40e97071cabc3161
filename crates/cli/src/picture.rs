//! The picture of a fit: for each atom, the rows where it is on.
//!
//! The rows of a circle are drawn at their measured places: the row minus the intercept and the other
//! atoms, divided by its gate, projected on the plane that the decoder's first harmonic spans. The axes
//! of that plane are orthonormal, the first along the decoder's cosine, so the fitted curve begins at
//! angle 0 on the right. Rows of a cone are not divided by their amplitudes: they lie on the lines from its apex
//! through the curve, which is that of amplitude 1.

use crate::plot::{AtomShape, AtomView, Figure, Groups};
use broadhead_sae::model::dictionary::DictionaryError;
use broadhead_sae::model::factor::Factor;
use broadhead_sae::{Dictionary, RowPlaces, Rows, RowsError};
use ndarray::{Array1, Array2, ArrayView1, ArrayView2};
use std::f64::consts::{PI, TAU};

/// The parts of a fit that are drawn.
#[derive(Clone, Copy, Debug)]
pub struct Fitted<'a> {
    /// The rows, `n x p`.
    pub rows: &'a Rows,
    /// The atoms.
    pub dictionary: &'a Dictionary,
    /// `M x p`.
    pub decoder: ArrayView2<'a, f64>,
    /// Where the rows are.
    pub places: &'a RowPlaces,
    /// The share of its manifold that each atom covers.
    pub coverage: &'a [Option<f64>],
}

/// The most atoms in one picture.
pub const MOST_ATOMS: usize = 36;
/// The most rows in one picture: of more, equally spaced ones.
pub const MOST_ROWS: usize = 1 << 16;
/// Segments of a fitted curve.
const STEPS: usize = 240;

/// Why there is no picture. Exit code 1.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PictureError {
    /// An atom whose functions cannot be evaluated.
    #[error("the picture cannot be drawn: atom {atom}{}: {source}", match row {
        Some(row) => format!(" in row {row}"),
        None => " along its curve".to_owned(),
    })]
    Atom {
        /// The atom.
        atom: usize,
        /// The row in which it was evaluated; absent for the fitted curve.
        row: Option<usize>,
        /// Why.
        source: DictionaryError,
    },
    /// Rows that cannot be read any more.
    #[error("the picture cannot be drawn: {0}")]
    Rows(#[from] RowsError),
}

/// The picture of `fitted`.
///
/// # Errors
/// [`PictureError`] if the coordinates do not fit the dictionary.
pub fn figure(
    fitted: &Fitted<'_>,
    title: String,
    note: String,
    groups: Option<Groups>,
) -> Result<Figure, PictureError> {
    let count = fitted.dictionary.len();
    let mut shown: Vec<usize> = (0..count).collect();
    let mut note = note;
    if count > MOST_ATOMS {
        let counts = fitted.places.counts();
        shown.sort_by_key(|&atom| std::cmp::Reverse(counts[atom]));
        shown.truncate(MOST_ATOMS);
        shown.sort_unstable();
        note += &format!("; the {MOST_ATOMS} atoms that are on most");
    }
    let atoms = shown.into_iter().map(|atom| fitted.view(atom));
    Ok(Figure {
        title,
        note,
        atoms: atoms.collect::<Result<_, _>>()?,
        groups,
    })
}

impl Fitted<'_> {
    fn view(&self, index: usize) -> Result<AtomView, PictureError> {
        let atom = self.dictionary.atoms()[index];
        let [n, _] = self.rows.shape();
        let rows: Vec<usize> = (0..n)
            .step_by(n.div_ceil(MOST_ROWS).max(1))
            .filter(|&row| self.places.get(row, index).is_some())
            .collect();
        let place = |row: usize, axis: usize| {
            let on = self.places.get(row, index);
            on.map_or(f64::NAN, |on| on.coordinates[axis])
        };
        // Of a product that has no picture of its own the numbers are drawn as they are stored.
        let factors: Vec<Factor> = atom.topology().factors().map(|part| part.factor).collect();
        let shape = match factors[..] {
            [Factor::Circle] => self.circle(index, &rows)?,
            [Factor::Circle, Factor::Circle] => AtomShape::Torus {
                angles: rows.iter().map(|&r| [place(r, 0), place(r, 1)]).collect(),
            },
            [Factor::Circle, Factor::Line { dimension: 1 }] => AtomShape::Cylinder {
                places: rows.iter().map(|&r| [place(r, 0), place(r, 1)]).collect(),
            },
            [Factor::Sphere] => AtomShape::Sphere {
                directions: rows
                    .iter()
                    .map(|&r| [place(r, 0), place(r, 1), place(r, 2)])
                    .collect(),
            },
            _ => AtomShape::Euclidean {
                points: rows
                    .iter()
                    .map(|&row| (0..atom.stored()).map(|axis| place(row, axis)).collect())
                    .collect(),
            },
        };
        let over = if atom.is_cone() { "cone over " } else { "" };
        let kind = format!("{over}{}, {}", atom.topology(), atom.basis());
        let title = if self.dictionary.len() == 1 {
            kind
        } else {
            format!("{index}: {kind}")
        };
        Ok(AtomView {
            title,
            rows,
            shape,
            coverage: self.coverage.get(index).copied().flatten(),
        })
    }

    fn circle(&self, index: usize, rows: &[usize]) -> Result<AtomShape, PictureError> {
        let features = self.dictionary.atom_features(index);
        let axes = plane(
            self.decoder.row(features.start),
            self.decoder.row(features.start + 1),
        );
        // Decoder and rows are projected on the plane once.
        let decoder: Array2<f64> = self.decoder.dot(&axes);
        let atom = self.dictionary.atoms()[index];
        let (cone, atom) = (atom.is_cone(), atom.base());
        let on = |row: usize| self.places.get(row, index);
        let at = |angle: f64| {
            let values = atom
                .evaluate(&[angle])
                .map_err(|source| PictureError::Atom {
                    atom: index,
                    row: None,
                    source,
                })?;
            let sum = |axis: usize| {
                let terms = values.iter().zip(features.clone());
                terms.map(|(phi, m)| phi * decoder[(m, axis)]).sum::<f64>()
            };
            Ok::<_, PictureError>([sum(0), sum(1)])
        };
        let step = |step: usize| TAU * step as f64 / STEPS as f64 - PI;
        let curve = (0..=STEPS).map(|index| at(step(index)));
        let curve = curve.collect::<Result<_, _>>()?;
        let angles = rows
            .iter()
            .map(|&row| on(row).map_or(f64::NAN, |on| on.coordinates[0]));
        let points = rows.iter().map(|&row| {
            let gate = match cone {
                true => 1.0,
                false => on(row).map_or(0.0, |on| on.amplitude),
            };
            let others = self.others(row, index, &decoder)?;
            // The intercept is subtracted before any product, so a common offset is not drawn.
            let seen = (&self.rows.read(row, 1)?.row(0) - &self.decoder.row(0)).dot(&axes);
            Ok::<_, PictureError>([0, 1].map(|axis| (seen[axis] - others[axis]) / gate))
        });
        Ok(AtomShape::Circle {
            angles: angles.collect(),
            points: points.collect::<Result<_, _>>()?,
            curve,
            cone,
        })
    }

    /// The other atoms of a row, in the plane.
    fn others(
        &self,
        row: usize,
        index: usize,
        decoder: &Array2<f64>,
    ) -> Result<[f64; 2], PictureError> {
        let mut sum = [0.0; 2];
        for on in self.places.row(row).filter(|on| on.atom != index) {
            let (other, gate) = (on.atom, on.amplitude);
            let values = self.dictionary.atoms()[other]
                .base()
                .evaluate(on.coordinates)
                .map_err(|source| PictureError::Atom {
                    atom: other,
                    row: Some(row),
                    source,
                })?;
            for (phi, m) in values.iter().zip(self.dictionary.atom_features(other)) {
                for (axis, sum) in sum.iter_mut().enumerate() {
                    *sum += gate * phi * decoder[(m, axis)];
                }
            }
        }
        Ok(sum)
    }
}

/// An orthonormal basis, `p x 2`, of the plane of two vectors, with the first axis along the first
/// vector. An axis that the vectors do not determine is 0.
fn plane(cosine: ArrayView1<'_, f64>, sine: ArrayView1<'_, f64>) -> Array2<f64> {
    let unit = |vector: Array1<f64>, scale: f64| {
        let norm = vector.dot(&vector).sqrt();
        if norm > 1e-12 * scale {
            vector / norm
        } else {
            Array1::zeros(vector.len())
        }
    };
    let most = |vector: ArrayView1<'_, f64>| vector.fold(0.0_f64, |m, v| m.max(v.abs()));
    let largest = most(cosine).max(most(sine));
    // Squares of the unscaled vectors may overflow.
    let scaled = |vector: ArrayView1<'_, f64>| match largest > 0.0 {
        true => &vector / largest,
        false => vector.to_owned(),
    };
    let (cosine, sine) = (scaled(cosine), scaled(sine));
    let norm = |vector: &Array1<f64>| vector.dot(vector).sqrt();
    let scale = norm(&cosine).max(norm(&sine));
    let along = |first: &Array1<f64>| first * first.dot(&sine);
    let first = unit(cosine, scale);
    let second = unit(&sine - &along(&first), scale);
    let mut axes = Array2::zeros((first.len(), 2));
    axes.column_mut(0).assign(&first);
    axes.column_mut(1).assign(&second);
    axes
}

#[cfg(test)]
mod tests {
    use super::*;
    use broadhead_sae::{Basis, Topology};
    use ndarray::array;

    #[test]
    fn rows_of_a_perfect_fit_lie_on_the_curve() {
        let dictionary =
            Dictionary::uniform(2, Topology::Circle, Basis::Harmonics { highest: 1 }).unwrap();
        let decoder = array![
            [1.0, -1.0, 0.5, 0.0],
            [2.0, 0.0, 1.0, 0.0],
            [0.5, 1.5, 0.0, 0.0],
            [0.3, 0.0, 0.0, 1.0],
            [0.0, 0.4, 2.0, 0.0],
        ];
        let coordinates = array![[0.3, -2.0], [2.5, 0.7]];
        let gates = array![[1.0, 2.0], [0.5, 1.0]];
        let rows = Array2::from_shape_fn((2, 4), |(i, c)| {
            let (a, b): (f64, f64) = (coordinates[(i, 0)], coordinates[(i, 1)]);
            decoder[(0, c)]
                + gates[(i, 0)] * (a.cos() * decoder[(1, c)] + a.sin() * decoder[(2, c)])
                + gates[(i, 1)] * (b.cos() * decoder[(3, c)] + b.sin() * decoder[(4, c)])
        });
        let places = RowPlaces::from_arrays(&dictionary, coordinates.view(), gates.view()).unwrap();
        let fitted = Fitted {
            rows: &Rows::from(rows),
            dictionary: &dictionary,
            decoder: decoder.view(),
            places: &places,
            coverage: &[],
        };
        let axes = plane(decoder.row(1), decoder.row(2));
        let AtomShape::Circle { points, curve, .. } = fitted.view(0).unwrap().shape else {
            panic!("a circle");
        };
        for (row, point) in points.iter().enumerate() {
            let angle: f64 = coordinates[(row, 0)];
            let place = &decoder.row(1) * angle.cos() + &decoder.row(2) * angle.sin();
            let place = place.dot(&axes);
            for axis in 0..2 {
                assert!((point[axis] - place[axis]).abs() < 1e-12, "{row} {axis}");
            }
        }
        // Angle 0 is half way along the curve, on the first axis.
        let norm = decoder.row(1).dot(&decoder.row(1)).sqrt();
        assert!((curve[STEPS / 2][0] - norm).abs() < 1e-12);
        assert!(curve[STEPS / 2][1].abs() < 1e-12);
    }

    /// An atom and a coordinate that do not belong together are an error, not an empty curve.
    #[test]
    fn an_atom_that_cannot_be_evaluated_is_an_error_with_its_reason() {
        let source = Dictionary::uniform(1, Topology::Torus, Basis::Harmonics { highest: 1 })
            .unwrap()
            .atoms()[0]
            .evaluate(&[0.5])
            .unwrap_err();
        let of = |row| PictureError::Atom {
            atom: 3,
            row,
            source: source.clone(),
        };
        let said = of(Some(7)).to_string();
        assert!(said.contains("atom 3 in row 7"), "{said}");
        assert!(said.ends_with(&source.to_string()), "{said}");
        let dictionary =
            Dictionary::uniform(1, Topology::Torus, Basis::Harmonics { highest: 1 }).unwrap();
        let wide = dictionary.features();
        let (rows, gates) = (Array2::zeros((2, 3)), Array2::ones((2, 1)));
        let (decoder, coordinates) = (Array2::zeros((wide, 3)), Array2::zeros((2, 2)));
        let places = RowPlaces::from_arrays(&dictionary, coordinates.view(), gates.view()).unwrap();
        let fitted = Fitted {
            rows: &Rows::from(rows),
            dictionary: &dictionary,
            decoder: decoder.view(),
            places: &places,
            coverage: &[],
        };
        // A torus drawn as if it were a circle.
        let error = fitted.circle(0, &[0, 1]).unwrap_err();
        let of_curve = matches!(
            error,
            PictureError::Atom {
                atom: 0,
                row: None,
                ..
            }
        );
        assert!(of_curve, "{error}");
    }

    #[test]
    fn parallel_directions_span_a_line_and_no_nan() {
        let axes = plane(array![1.0, 2.0].view(), array![2.0, 4.0].view());
        assert_eq!(axes.column(1).to_vec(), [0.0, 0.0]);
    }
}
