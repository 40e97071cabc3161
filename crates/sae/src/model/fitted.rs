//! A fitted dictionary: places new rows, rebuilds rows from coordinates, and is saved to a file.

use crate::data::rows::Rows;
use crate::encode::{EncodeOptions, EncodedRows, Encoding, Explanation, encode, encode_blocks};
use crate::error::FitError;
use crate::model::dictionary::{Amplitudes, Dictionary};
use crate::model::file::{self, ModelError, Note};
use crate::model::gates::GatePolicy;
use ndarray::{Array2, ArrayView2};
use rayon::prelude::*;
use std::io::{self, Write};
use std::path::Path;

/// A dictionary with the decoder that a fit found for it.
///
/// ```
/// use broadhead_sae::{Basis, Dictionary, EncodeOptions, FitOptions, Model, Topology, fit, go_on};
/// use ndarray::Array2;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("model.safetensors");
/// let x = Array2::from_shape_fn((60, 3), |(i, j)| (i as f64 * 0.7 + j as f64).sin());
/// let dictionary = Dictionary::uniform(1, Topology::Circle, Basis::default_for(Topology::Circle))?;
/// fit(x.view(), &dictionary, &FitOptions::default(), &go_on)?.model.save(&path)?;
/// let model = Model::load(&path)?;
/// let found = model.encode(x.view(), &EncodeOptions::default())?;
/// let rebuilt = model.reconstruct(found.coordinates.view(), found.gates.view())?;
/// assert!((&rebuilt - &x).iter().all(|r| r.abs() < 1e-3));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    note: Note,
    decoder: Array2<f64>,
}

impl Model {
    /// A model from the contents of a file's entry and a decoder (`M x p`, row 0 the intercept).
    ///
    /// # Errors
    /// [`FitError::DecoderShape`], [`FitError::NotFinite`], [`FitError::Option`] where kappa or lambda is not a
    /// valid penalty.
    pub fn new(note: Note, decoder: Array2<f64>) -> Result<Self, FitError> {
        let expected = [note.dictionary.features(), decoder.ncols().max(1)];
        if [decoder.nrows(), decoder.ncols()] != expected {
            return Err(FitError::DecoderShape {
                got: [decoder.nrows(), decoder.ncols()],
                expected,
            });
        }
        FitError::expect_finite("decoder", decoder.view())?;
        if !(note.kappa.is_finite() && note.kappa >= 0.0) {
            return Err(FitError::Option {
                option: "kappa",
                value: note.kappa.to_string(),
                expected: "a finite number of at least 0",
            });
        }
        if let Some(lambda) = note.lambda
            && !(lambda.is_finite() && lambda >= 0.0)
        {
            return Err(FitError::Option {
                option: "lambda",
                value: lambda.to_string(),
                expected: "a finite number of at least 0",
            });
        }
        Ok(Self { note, decoder })
    }

    /// The atoms.
    pub fn dictionary(&self) -> &Dictionary {
        &self.note.dictionary
    }

    /// `M x p`; row 0 is the intercept.
    pub fn decoder(&self) -> ArrayView2<'_, f64> {
        self.decoder.view()
    }

    /// The penalty on coordinates on lines, in the units of the data squared.
    pub fn kappa(&self) -> f64 {
        self.note.kappa
    }

    /// The penalty on the decoder, in the units of `Phi' Phi`, if the model has it.
    pub fn lambda(&self) -> Option<f64> {
        self.note.lambda
    }

    /// Which atoms were on in the fit: `all`, `top-k:N`, or `given`.
    pub fn gates(&self) -> &str {
        &self.note.gates
    }

    /// The same decoder with other amplitudes.
    #[must_use]
    pub fn with_amplitudes(mut self, amplitudes: Amplitudes) -> Self {
        self.note.dictionary = self.note.dictionary.with_amplitudes(amplitudes);
        self
    }

    /// The same model with its gates marked as given.
    #[must_use]
    pub fn with_gates(mut self, word: String) -> Self {
        self.note.gates = word;
        self
    }

    /// Places the rows of `x` (`n x p`): finds the best coordinates under this decoder. The atoms that may be on
    /// are those of the fit unless the options say otherwise.
    ///
    /// # Errors
    /// [`FitError::Option`] where the fit's gates were given and the options have none, and for a top-k that
    /// exceeds the dictionary; [`FitError::Empty`], [`FitError::NotFinite`]; [`FitError::DecoderShape`] where the
    /// number of columns differs; [`FitError::GatesShape`].
    pub fn encode(
        &self,
        x: impl Into<Rows>,
        options: &EncodeOptions,
    ) -> Result<Encoding, FitError> {
        let policy = match &options.gates {
            Some(policy) => policy.clone(),
            None => self.policy()?,
        };
        encode(self, x.into(), &policy, options.max_iterations)
    }

    /// As [`Model::encode`], handing `sink` a block of rows after another, so that not all have to be in memory. The
    /// numbers are the same bits.
    ///
    /// # Errors
    /// As [`Model::encode`], and the errors of `sink`, which end it.
    pub fn encode_blocks<E: From<FitError>>(
        &self,
        x: impl Into<Rows>,
        options: &EncodeOptions,
        sink: impl FnMut(EncodedRows) -> Result<(), E>,
    ) -> Result<Explanation, E> {
        let policy = match &options.gates {
            Some(policy) => policy.clone(),
            None => self.policy()?,
        };
        encode_blocks(self, x.into(), &policy, options.max_iterations, sink)
    }

    /// The gate policy that the model's word stands for.
    fn policy(&self) -> Result<GatePolicy, FitError> {
        GatePolicy::of_word(&self.note.gates).ok_or_else(|| FitError::Option {
            option: "gates",
            value: format!("that of the fit, {:?}", self.note.gates),
            expected: "those of these rows",
        })
    }

    /// Rebuilds rows from coordinates (`n x columns`, as a fit or an encoding gives them) and gates (`n x atoms`):
    /// $`W' \phi_i(t_i)`$ with amplitudes, `n x p`. The coordinates of an atom that is off do not matter; a result
    /// beyond FP64 is infinite or NaN.
    ///
    /// # Errors
    /// [`FitError::CoordinatesShape`], [`FitError::GatesShape`], and [`FitError::NotFinite`] for a gate or the
    /// coordinate of an atom that is on.
    pub fn reconstruct(
        &self,
        coordinates: ArrayView2<'_, f64>,
        gates: ArrayView2<'_, f64>,
    ) -> Result<Array2<f64>, FitError> {
        let dictionary = self.dictionary();
        let n = coordinates.nrows();
        if coordinates.ncols() != dictionary.columns() {
            return Err(FitError::CoordinatesShape {
                got: [n, coordinates.ncols()],
                expected: [n, dictionary.columns()],
            });
        }
        if gates.dim() != (n, dictionary.len()) {
            return Err(FitError::GatesShape {
                got: [gates.nrows(), gates.ncols()],
                expected: [n, dictionary.len()],
            });
        }
        self.expect_finite(coordinates, gates)?;
        let p = self.decoder.ncols();
        let mut rows = vec![0.0; n * p];
        (rows.par_chunks_mut(p).enumerate()).for_each(|(i, row)| {
            row.iter_mut()
                .zip(self.decoder.row(0))
                .for_each(|(to, w)| *to = *w);
            self.add_atoms(i, coordinates, gates, row);
        });
        Ok(Array2::from_shape_fn((n, p), |(i, c)| rows[i * p + c]))
    }

    /// # Errors
    /// [`FitError::NotFinite`] for the first gate, or coordinate of an atom that is on, that is not finite.
    fn expect_finite(
        &self,
        coordinates: ArrayView2<'_, f64>,
        gates: ArrayView2<'_, f64>,
    ) -> Result<(), FitError> {
        FitError::expect_finite("gates", gates)?;
        for ((row, atom), _) in gates.indexed_iter().filter(|(_, gate)| **gate != 0.0) {
            for column in self.dictionary().atom_columns(atom) {
                let value = coordinates[(row, column)];
                if !value.is_finite() {
                    let array = "coordinates";
                    return Err(FitError::NotFinite {
                        array,
                        row,
                        column,
                        value,
                    });
                }
            }
        }
        Ok(())
    }

    /// Adds the atoms of row `i` to `sum`.
    fn add_atoms(
        &self,
        i: usize,
        coordinates: ArrayView2<'_, f64>,
        gates: ArrayView2<'_, f64>,
        sum: &mut [f64],
    ) {
        let dictionary = self.dictionary();
        let (mut t, mut phi) = (Vec::new(), Vec::new());
        for (a, atom) in dictionary.atoms().iter().enumerate() {
            let gate = gates[(i, a)];
            if gate == 0.0 {
                continue;
            }
            t.clear();
            t.extend(dictionary.atom_columns(a).map(|c| coordinates[(i, c)]));
            // The gate is the amplitude, fitted or not.
            let atom = atom.base();
            atom.project(&mut t);
            phi.clear();
            phi.resize(atom.width(), 0.0);
            atom.values(&t, &mut phi);
            for (m, value) in dictionary.atom_features(a).zip(&phi) {
                let line = self.decoder.row(m);
                sum.iter_mut()
                    .zip(line)
                    .for_each(|(sum, w)| *sum += gate * value * w);
            }
        }
    }

    /// Writes the model as a `.safetensors` file: see [`file`](crate::model::file).
    ///
    /// # Errors
    /// The error of the sink.
    pub fn write(&self, sink: &mut impl Write) -> io::Result<()> {
        file::write(&self.note, self.decoder.view(), sink)
    }

    /// Writes the model to `path` atomically: whole or not at all.
    ///
    /// # Errors
    /// [`ModelError::Io`].
    pub fn save(&self, path: &Path) -> Result<(), ModelError> {
        file::save(path, |sink| self.write(sink))
    }

    /// Reads a model that [`Model::save`] or `broadhead fit` wrote.
    ///
    /// # Errors
    /// [`ModelError`].
    pub fn load(path: &Path) -> Result<Self, ModelError> {
        file::load(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Atom, Basis, Topology};

    /// A circle and a plane over four columns.
    fn model() -> Model {
        let circle = Atom::new(Topology::Circle, Basis::Harmonics { highest: 1 }).unwrap();
        let plane = Topology::Euclidean { dimension: 2 };
        let plane = Atom::new(plane, Basis::Monomials { degree: 1 }).unwrap();
        let note = Note {
            dictionary: Dictionary::new(vec![circle, plane]).unwrap(),
            gates: "top-k:1".to_owned(),
            kappa: 1e-9,
            lambda: Some(0.5),
        };
        let decoder = Array2::from_shape_fn((5, 4), |(m, c)| ((m * 7 + c * 3) as f64).sin());
        Model::new(note, decoder).unwrap()
    }

    #[test]
    fn what_is_rebuilt_is_encoded_where_it_came_from() {
        let model = model();
        let t = [[0.4, f64::NAN, f64::NAN], [f64::NAN, 0.5, -1.0]];
        let coordinates = Array2::from_shape_fn((2, 3), |(i, c)| t[i][c]);
        let gates = Array2::from_shape_fn((2, 2), |(i, a)| f64::from(u8::from(i == a)));
        let rows = model.reconstruct(coordinates.view(), gates.view()).unwrap();
        let found = model
            .encode(rows.view(), &EncodeOptions::default())
            .unwrap();
        assert_eq!(found.gates, gates);
        for (found, t) in found.coordinates.iter().zip(&coordinates) {
            assert!(
                (found.is_nan() && t.is_nan()) || (found - t).abs() < 1e-6,
                "{found} {t}"
            );
        }
        let error = model.reconstruct(coordinates.view(), Array2::ones((2, 2)).view());
        let message = error.unwrap_err().to_string();
        assert!(message.contains("coordinates[0, 1]"), "{message}");
        let wide = Array2::zeros((2, 4));
        let error = model.reconstruct(wide.view(), gates.view()).unwrap_err();
        assert!(error.to_string().contains("[2, 3]"), "{error}");
        let error = model.reconstruct(coordinates.view(), wide.view());
        assert!(matches!(error, Err(FitError::GatesShape { .. })));
    }

    #[test]
    fn a_model_is_what_was_saved_and_gates_that_were_given_are_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let model = model().with_gates("gates.npy".to_owned());
        model.save(&path).unwrap();
        assert_eq!(Model::load(&path).unwrap(), model);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let plain = folder.path().join("plain");
            std::fs::write(&plain, "").unwrap();
            let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode();
            assert_eq!(mode(&path), mode(&plain));
        }
        let message = model
            .save(&folder.path().join("no/m.safetensors"))
            .unwrap_err();
        assert!(message.to_string().ends_with("(os error 2)"), "{message}");
        let x = Array2::zeros((1, 4));
        let error = model.encode(x.view(), &EncodeOptions::default());
        let message = error.unwrap_err().to_string();
        assert!(message.contains("gates.npy"), "{message}");
        let options = EncodeOptions {
            gates: Some(GatePolicy::All),
            ..EncodeOptions::default()
        };
        assert!(model.encode(x.view(), &options).is_ok());
        let narrow = Array2::zeros((1, 3));
        let error = model.encode(narrow.view(), &options);
        assert!(matches!(error, Err(FitError::DecoderShape { .. })));
    }

    #[test]
    fn what_is_no_model_is_refused_with_the_file_and_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.safetensors");
        let refused = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            let message = Model::load(&path).unwrap_err().to_string();
            assert!(message.contains("m.safetensors"), "{message}");
            message
        };
        assert!(refused(b"nothing of the kind").contains("safetensors"));
        let model = model();
        let mut bytes = Vec::new();
        file::write(
            &model.note,
            model.decoder.slice(ndarray::s![..4, ..]),
            &mut bytes,
        )
        .unwrap();
        let message = refused(&bytes);
        assert!(
            message.contains("[4, 4]") && message.contains("[5, 4]"),
            "{message}"
        );
        let mut decoder = model.decoder.clone();
        decoder[(3, 2)] = f64::NAN;
        bytes.clear();
        file::write(&model.note, decoder.view(), &mut bytes).unwrap();
        assert!(refused(&bytes).contains("decoder[3, 2]"));
        let missing = Model::load(&folder.path().join("absent")).unwrap_err();
        assert!(matches!(missing, ModelError::Io { .. }), "{missing}");
    }

    /// Rows made by an atom, for every topology: a fit explains them, a file keeps the model, and an encoding of
    /// the rows explains as much.
    #[test]
    fn rows_of_every_topology_are_fitted_kept_and_encoded() {
        let folder = tempfile::tempdir().unwrap();
        let spaces = [1, 2].map(|dimension| Topology::Euclidean { dimension });
        let kinds = Topology::named().chain(spaces).flat_map(|topology| {
            [Amplitudes::One, Amplitudes::Fitted].map(|amplitudes| (topology, amplitudes))
        });
        for (topology, amplitudes) in kinds {
            let atom = Atom::new(topology, Basis::default_for(topology)).unwrap();
            let direction = |f: usize, j: usize| ((1 + 7 * f) as f64 * (0.7 + j as f64)).sin();
            let even = |i: usize, by: f64| (i as f64 * by).fract() - 0.5;
            let steps = [0.618_034, 0.754_877_7, 0.569_840_3];
            let places: Vec<Vec<f64>> = (0..150)
                .map(|i| {
                    let numbers = (0..topology.stored()).map(|c| 6.2 * even(i, steps[c]));
                    topology.projected(&numbers.collect::<Vec<_>>()).unwrap()
                })
                .collect();
            let x = Array2::from_shape_fn((150, 12), |(i, j)| {
                let phi = atom.evaluate(&places[i]).unwrap();
                let amplitude = match amplitudes {
                    Amplitudes::One => 1.0,
                    Amplitudes::Fitted => 1.0 + even(i, 0.324_717_9),
                };
                let signal: f64 = (phi.iter().enumerate())
                    .map(|(f, v)| amplitude * v * direction(f, j))
                    .sum();
                signal + 0.02 * even(7 * i + 13 * j + i * j, 0.418_034)
            });
            let dictionary = Dictionary::new(vec![atom]).unwrap();
            let dictionary = dictionary.with_amplitudes(amplitudes);
            let options = crate::FitOptions {
                starts: 6,
                ..crate::FitOptions::default()
            };
            let fit = crate::fit(x.view(), &dictionary, &options, &crate::go_on).unwrap();
            let explained = fit.explained_variance;
            assert!(explained > 0.95, "{topology} {amplitudes}: {explained}");
            let path = folder.path().join("model.safetensors");
            fit.model.save(&path).unwrap();
            let model = Model::load(&path).unwrap();
            assert_eq!(model, fit.model, "{topology} {amplitudes}");
            let rebuilt = model.reconstruct(fit.coordinates().view(), fit.gates().view());
            let left: f64 = (&rebuilt.unwrap() - &x).iter().map(|r| r * r).sum();
            let all = fit.squared_error.sum();
            assert!(
                (left - all).abs() < 1e-9 * (all + 1e-3),
                "{topology} {amplitudes}: {left} {all}"
            );
            let found = model.encode(x.view(), &EncodeOptions::default()).unwrap();
            assert!(
                found.converged.iter().all(|done| *done),
                "{topology} {amplitudes}"
            );
            let (all, left) = (fit.squared_error.sum(), found.squared_error.sum());
            // kappa, which is constant in a fit, shrinks heights a little, the more so beside an amplitude; a row of a
            // torus may have two minima.
            let share = match amplitudes {
                Amplitudes::One => 1e-5,
                Amplitudes::Fitted => 2e-5,
            };
            let near = share * x.iter().map(|x| x * x).sum::<f64>();
            assert!(
                left < 1.05 * all + near,
                "{topology} {amplitudes}: {left} {all}"
            );
        }
    }
}
