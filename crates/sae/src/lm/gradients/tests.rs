//! Steps by conjugate gradients are those of an elimination.

use super::*;
use crate::data::Data;
use crate::iterate::coordinates::{Coordinates, Gates};
use crate::iterate::features;
use crate::iterate::point::{Frozen, Penalty};
use crate::model::dictionary::Dictionary;
use broadhead_schur::{
    EliminationKind, Gradient, Ridge, RowBlocks, Solver, SolverOptions, StepMut,
    StructuredFeatures, StructuredSystem, SymmetricView,
};
use faer::MatRef;
use ndarray::Array2;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

struct Planted {
    layout: Layout,
    point: Point,
    psi: Vec<f64>,
    decoder_gram: Mat<f64>,
    blocks: Vec<f64>,
}

impl Planted {
    /// A point by chance: rows with two atoms on.
    fn new(words: &str, seed: u64) -> Self {
        Self::of_rows(60, words, seed)
    }

    fn of_rows(n: usize, words: &str, seed: u64) -> Self {
        let dictionary: Dictionary = words.parse().unwrap();
        let p = 7;
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut chance = move || 2.0 * rng.random::<f64>() - 1.0;
        let data = Data::normalised(Array2::from_shape_fn((n, p), |_| chance()).view()).unwrap();
        let mut gates = Gates::all_off(n, dictionary.len());
        let mut coordinates = Coordinates::origin(&dictionary, n);
        for i in 0..n {
            gates.row_mut(i)[i % dictionary.len()] = 1.0;
            gates.row_mut(i)[(i / 3 + 1) % dictionary.len()] = 1.0;
            for (a, atom) in dictionary.atoms().iter().enumerate() {
                let t = &mut coordinates.row_mut(i)[dictionary.atom_place(a)];
                t.iter_mut().for_each(|t| *t = 2.0 * chance());
                atom.project(t);
            }
        }
        let layout = Layout::new(&dictionary, &gates, p).unwrap();
        let model = Frozen {
            data: &data,
            dictionary: &dictionary,
            layout: &layout,
            penalty: Penalty {
                lambda: 0.2,
                kappa: 0.1,
            },
        };
        let (point, psi) = Point::projected(&model, coordinates).unwrap();
        let decoder_gram = features::decoder_gram(&point.decoder, layout.features(), p);
        let mut blocks = vec![0.0; layout.row_dims().block_len()];
        features::row_hessian(&dictionary, &layout, &psi, &decoder_gram, 0.0, &mut blocks);
        Self {
            layout,
            point,
            psi,
            decoder_gram,
            blocks,
        }
    }

    fn at(&self) -> Linearised<'_> {
        Linearised {
            layout: &self.layout,
            point: &self.point,
            psi: &self.psi,
            decoder_gram: &self.decoder_gram,
            blocks: &self.blocks,
        }
    }

    /// The step and its predicted reduction by an elimination, the border without ridge.
    fn direct(&self, ridge: f64, elimination: EliminationKind) -> (Vec<f64>, f64) {
        let Self { layout, point, .. } = self;
        let p = layout.outputs();
        let system = StructuredSystem::new(
            &layout.shape,
            RowBlocks::packed(&self.blocks),
            StructuredFeatures {
                offsets: &layout.offsets,
                indices: &layout.indices,
                phi: &point.phi,
                psi: &self.psi,
                psi_offsets: &layout.psi_offsets,
            },
            SymmetricView::new(point.gram.as_ref()),
            MatRef::from_row_major_slice(&point.decoder, layout.features(), p),
        );
        let system = system.unwrap().into();
        let options = SolverOptions {
            elimination: Some(elimination),
            ..SolverOptions::default()
        };
        let mut solver = Solver::new(&system, options).unwrap();
        let mut base = solver.refresh(system).unwrap();
        let gradient = Gradient::new(&point.row_gradient, &point.border_gradient);
        let mut step = vec![0.0; layout.row_dims().unknowns()];
        let mut border = vec![0.0; point.decoder.len()];
        let mut frame = base.factor(Ridge::new(ridge, 0.0)).unwrap();
        (frame.solve(gradient, StepMut::new(&mut step, &mut border))).unwrap();
        let both = StepMut::new(&mut step, &mut border);
        let predicted = base.quadratic_model(gradient, both).unwrap();
        (step, predicted.predicted_reduction())
    }
}

const WORDS: [&str; 3] = [
    "4*circle",
    "2*circle,circle/harmonics:2,torus,sphere",
    "circle,euclidean:2/monomials:2,euclidean:1,sphere",
];

#[test]
fn steps_and_predictions_are_those_of_an_elimination() {
    for words in WORDS {
        for seed in 0..4 {
            // Rows of several chunks among them.
            let rows = if seed == 3 { 1300 } else { 60 };
            let bed = Planted::of_rows(rows, words, seed);
            let mut gradients = Gradients::new(&bed.layout);
            let mean = bed.at().mean_diagonal();
            for relative in [0.1, 1e-3] {
                let ridge = relative * mean;
                let mut step = vec![0.0; bed.layout.row_dims().unknowns()];
                let gradient = &bed.point.row_gradient;
                let solved = gradients
                    .solve(&bed.at(), gradient, ridge, 1e-12, 10_000, &mut step)
                    .unwrap();
                for elimination in [EliminationKind::Core, EliminationKind::Border] {
                    let (direct, predicted) = bed.direct(ridge, elimination);
                    let off: Vec<f64> = step.iter().zip(&direct).map(|(a, b)| a - b).collect();
                    let what = format!("{words} {seed} {relative} {elimination:?}");
                    let relative = norm(&off) / norm(&direct);
                    assert!(relative < 1e-8, "{what}: {relative:e}");
                    let miss = (solved.predicted / predicted - 1.0).abs();
                    assert!(miss < 1e-8, "{what}: {miss:e}");
                }
            }
        }
    }
}

#[test]
fn the_operator_is_symmetric() {
    for words in WORDS {
        let bed = Planted::new(words, 7);
        let mut gradients = Gradients::new(&bed.layout);
        let unknowns = bed.layout.row_dims().unknowns();
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for _ in 0..5 {
            let mut vector =
                || -> Vec<f64> { (0..unknowns).map(|_| rng.random::<f64>() - 0.5).collect() };
            let (u, v) = (vector(), vector());
            let (mut hu, mut hv) = (vec![0.0; unknowns], vec![0.0; unknowns]);
            gradients.product(&bed.at(), &u, &mut hu);
            gradients.product(&bed.at(), &v, &mut hv);
            let rounding = 1e-13 * norm(&u) * norm(&hv).max(norm(&hu));
            assert!((dot(&u, &hv) - dot(&v, &hu)).abs() < rounding, "{words}");
        }
    }
}

#[test]
fn a_block_that_is_not_positive_definite_has_no_curvature() {
    let mut bed = Planted::new(WORDS[0], 3);
    let dims = bed.layout.row_dims();
    let (row, first) = (17, dims.block_offset(17));
    bed.blocks[first] = -1.0;
    let mut gradients = Gradients::new(&bed.layout);
    let mut step = vec![0.0; dims.unknowns()];
    let gradient = bed.point.row_gradient.clone();
    let solved = gradients.solve(&bed.at(), &gradient, 0.5, 1e-6, 100, &mut step);
    assert_eq!(solved, Err(NoCurvature { row: Some(row) }));
    // Blocks that are definite where the whole is not: the rows' own parts are nearly nothing.
    bed.blocks.fill(0.0);
    let solved = gradients.solve(&bed.at(), &gradient, 1e-12, 1e-6, 100, &mut step);
    assert_eq!(solved, Err(NoCurvature { row: None }));
}

#[test]
fn without_a_gradient_there_is_no_step() {
    let bed = Planted::new(WORDS[1], 3);
    let mut gradients = Gradients::new(&bed.layout);
    let unknowns = bed.layout.row_dims().unknowns();
    let mut step = vec![1.0; unknowns];
    let solved = gradients.solve(&bed.at(), &vec![0.0; unknowns], 0.1, 1e-6, 100, &mut step);
    let solved = solved.unwrap();
    assert!(step.iter().all(|&v| v == 0.0));
    assert_eq!((solved.predicted, solved.iterations), (0.0, 0));
}
