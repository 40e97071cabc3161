//! Fits on made data: what was put in comes out.

mod common;

use broadhead_sae::*;
use common::{accepted, few, made, one, quiet};
use ndarray::Array2;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use std::f64::consts::PI;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The mean resultant length of `sign * found - true`: 1 where they agree up to a turn or a mirror.
fn agreement(found: &Array2<f64>, truth: &Array2<f64>, column: usize, rows: &[usize]) -> f64 {
    let resultant = |sign: f64| {
        let (mut c, mut s) = (0.0, 0.0);
        for &i in rows {
            let d = sign * found[(i, column)] - truth[(i, column)];
            c += d.cos();
            s += d.sin();
        }
        (c * c + s * s).sqrt() / rows.len() as f64
    };
    resultant(1.0).max(resultant(-1.0))
}

/// Every accepted objective is below the one before it, up to the noise that a decision allows.
fn decreasing(objectives: &[f64]) -> bool {
    objectives.windows(2).all(|w| w[1] < w[0] * (1.0 + 1e-14))
}

#[test]
fn a_circle_is_recovered_up_to_a_turn_and_a_mirror() {
    let dictionary = one(Topology::Circle);
    let made = made(&dictionary, 200, 12, None, 0.05);
    let fit = quiet(&made.x, &dictionary, &few(4)).unwrap();
    assert!(fit.converged);
    assert!(fit.explained_variance > 0.99, "{}", fit.explained_variance);
    // An ellipse may be travelled at an uneven pace: the angles agree up to its eccentricity.
    let rows: Vec<usize> = (0..200).collect();
    let agreed = agreement(&fit.coordinates(), &made.coordinates, 0, &rows);
    assert!(agreed > 0.999, "{agreed}");
}

/// The share of the variance of `of` that a linear map of `by` and a constant explains.
fn explained(of: &[f64], by: &[Vec<f64>]) -> f64 {
    let (n, k) = (of.len(), by.len() + 1);
    let design = |i: usize, j: usize| if j == 0 { 1.0 } else { by[j - 1][i] };
    let dot = |a: &dyn Fn(usize) -> f64, b: &dyn Fn(usize) -> f64| -> f64 {
        (0..n).map(|i| a(i) * b(i)).sum()
    };
    let gram = faer::Mat::from_fn(k, k, |a, b| dot(&|i| design(i, a), &|i| design(i, b)));
    let pull = faer::Mat::from_fn(k, 1, |a, _| dot(&|i| design(i, a), &|i| of[i]));
    let weights = faer::linalg::solvers::Solve::solve(&gram.partial_piv_lu(), &pull);
    let mean = of.iter().sum::<f64>() / n as f64;
    let left = |i: usize| {
        let fitted: f64 = (0..k).map(|a| design(i, a) * weights[(a, 0)]).sum();
        (of[i] - fitted).powi(2)
    };
    let spread: f64 = of.iter().map(|t| (t - mean).powi(2)).sum();
    1.0 - (0..n).map(left).sum::<f64>() / spread
}

/// Rows on a cylinder, straight or one whose circle grows with the height, with noise.
fn cylinder(opening: f64, noise: f64) -> (Array2<f64>, Vec<f64>, Array2<f64>) {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let angles = Array2::from_shape_fn((300, 1), |_| rng.random_range(-PI..PI));
    let heights: Vec<f64> = (0..300).map(|_| rng.random_range(-1.7..1.7)).collect();
    let direction = |m: usize, j: usize| ((1 + m * 7) as f64 * (0.7 + j as f64)).sin();
    let x = Array2::from_shape_fn((300, 10), |(i, j)| {
        let (sin, cos) = angles[(i, 0)].sin_cos();
        let ring = cos * direction(0, j) + sin * direction(1, j);
        let own: f64 = StandardNormal.sample(&mut rng);
        (1.0 + opening * heights[i]) * ring + heights[i] * direction(2, j) + noise * own
    });
    (x, heights, angles)
}

/// Angles come back up to a turn and a mirror. So do heights up to scale and sign where the circle changes
/// with them; on a straight cylinder the decoder also undoes a skew, `t + a cos + b sin`.
#[test]
fn a_noisy_cylinder_is_recovered() {
    let all: Vec<usize> = (0..300).collect();
    for (opening, noise) in [(0.0, 0.02), (0.0, 0.05), (0.3, 0.02), (0.3, 0.05)] {
        let (x, heights, angles) = cylinder(opening, noise);
        let fit = quiet(&x, &one(Topology::Cylinder), &few(4)).unwrap();
        let what = format!("opening {opening}, noise {noise}");
        assert!(fit.converged, "{what}");
        let share = fit.explained_variance;
        assert!(share > 1.0 - 2.0 * noise * noise, "{what}: {share}");
        let agreed = agreement(&fit.coordinates(), &angles, 0, &all);
        assert!(agreed > 0.98, "{what}: {agreed}");
        let found = fit.coordinates().column(1).to_vec();
        let waves = [f64::cos, f64::sin].map(|wave| angles.iter().map(|t| wave(*t)).collect());
        let by: Vec<Vec<f64>> = match opening > 0.0 {
            true => vec![found],
            false => [vec![found], waves.to_vec()].concat(),
        };
        let agreed = explained(&heights, &by);
        assert!(agreed > 0.85, "{what}: {agreed}");
        // Encoded anew, rows stay where they are.
        let encoded = (fit.model)
            .encode(x.view(), &EncodeOptions::default())
            .unwrap();
        assert!(encoded.converged.iter().all(|done| *done), "{what}");
        let gone = encoded.squared_error.sum() / fit.squared_error.iter().sum::<f64>();
        // In a fit kappa says nothing of whitened heights; here it draws them in a little.
        assert!((gone - 1.0).abs() < 1e-2, "{what}: {gone}");
    }
}

/// Top-k gates tell cylinders apart, and heights keep a unit variance where an atom is on.
#[test]
fn cylinders_that_take_turns_are_told_apart() {
    let dictionary: Dictionary = "2*cylinder".parse().unwrap();
    let made = made(&dictionary, 240, 24, Some(1), 0.02);
    let options = FitOptions {
        gates: GatePolicy::TopK(1),
        ..few(4)
    };
    let fit = quiet(&made.x, &dictionary, &options).unwrap();
    assert!(fit.explained_variance > 0.95, "{}", fit.explained_variance);
    assert!(decreasing(&accepted(&fit)));
    for a in 0..2 {
        let on = (0..240).filter(|&i| fit.gates()[(i, a)] != 0.0);
        let heights: Vec<f64> = on.map(|i| fit.coordinates()[(i, 2 * a + 1)]).collect();
        let mean = heights.iter().sum::<f64>() / heights.len() as f64;
        let square = heights.iter().map(|t| (t - mean).powi(2)).sum::<f64>();
        assert!((square / heights.len() as f64 - 1.0).abs() < 1e-9);
    }
}

/// Convergence is asked of the first start, quality of the best of a few: a torus and second
/// degrees have local minima.
#[test]
fn every_topology_and_basis_is_fitted_and_explains_its_rows() {
    let cases = [
        (Topology::Circle, Basis::Harmonics { highest: 2 }, 0.98),
        (Topology::Torus, Basis::Harmonics { highest: 1 }, 0.9),
        (Topology::Cylinder, Basis::Harmonics { highest: 1 }, 0.98),
        (Topology::Cylinder, Basis::Harmonics { highest: 2 }, 0.95),
        (Topology::Sphere, Basis::Spherical { degree: 1 }, 0.98),
        (Topology::Sphere, Basis::Spherical { degree: 2 }, 0.9),
        (
            Topology::Euclidean { dimension: 1 },
            Basis::Monomials { degree: 2 },
            0.98,
        ),
        (
            Topology::Euclidean { dimension: 3 },
            Basis::Monomials { degree: 1 },
            0.98,
        ),
    ];
    for (topology, basis, least) in cases {
        let dictionary = Dictionary::uniform(1, topology, basis).unwrap();
        let made = made(&dictionary, 120, 12, None, 0.05);
        let mut options = few(4);
        // Every start in full: the best of them is asked for, not the ranking.
        options.screening.budget = f64::INFINITY;
        let fit = quiet(&made.x, &dictionary, &options).unwrap();
        let explained = fit.explained_variance;
        assert!(explained > least, "{topology} {basis}: {explained}");
        let objectives = accepted(&fit);
        assert!(decreasing(&objectives), "{topology} {basis}");
        if topology.has_flat() {
            assert!(fit.model.kappa() > 0.0);
            for part in topology.flat() {
                let all = fit.coordinates();
                let flat = all.slice(ndarray::s![.., part.stored]);
                assert_whitened(&flat.to_owned());
            }
        }
    }
}

/// No mean, unit variance, no correlation.
fn assert_whitened(coordinates: &Array2<f64>) {
    let n = coordinates.nrows() as f64;
    for a in 0..coordinates.ncols() {
        let mean = coordinates.column(a).sum() / n;
        assert!(mean.abs() < 1e-12, "column {a}: mean {mean}");
        for b in 0..=a {
            let product = coordinates.column(a).dot(&coordinates.column(b)) / n;
            let unit = if a == b { 1.0 } else { 0.0 };
            assert!(
                (product - unit).abs() < 1e-12,
                "columns {a}, {b}: {product}"
            );
        }
    }
}

/// First-degree atoms span a plane: the best there is that of the leading principal components, and
/// every linear map of the coordinates gives the same plane. A fit goes to it without crawling along
/// those maps.
#[test]
fn first_degree_fits_find_the_principal_plane_in_few_iterations() {
    for dimension in [1, 2, 3, 5] {
        let topology = Topology::Euclidean { dimension };
        let dictionary = Dictionary::uniform(1, topology, Basis::Monomials { degree: 1 }).unwrap();
        let made = made(&dictionary, 150, 12, None, 0.3);
        let mut options = few(6);
        options.screening.budget = f64::INFINITY;
        let fit = quiet(&made.x, &dictionary, &options).unwrap();
        assert_whitened(&fit.coordinates());
        for start in &fit.starts {
            assert!(
                start.converged && start.iterations <= 30,
                "{dimension}: {start:?}"
            );
        }
        // What the plane of the coordinates leaves of the centred rows is orthogonal to them, and a
        // row's own residual to the decoder: together, a stationary plane of the covariance.
        let best = leading_share(&made.x, dimension);
        assert!(
            (fit.explained_variance - best).abs() < 1e-6,
            "{dimension}: {best}"
        );
    }
}

/// The share of the variance that the leading `count` principal components explain.
fn leading_share(x: &Array2<f64>, count: usize) -> f64 {
    let mean = x.mean_axis(ndarray::Axis(0)).unwrap();
    let centred = x - &mean;
    let covariance = centred.t().dot(&centred);
    let p = covariance.nrows();
    let matrix = faer::Mat::from_fn(p, p, |a, b| covariance[(a, b)]);
    let mut values = matrix.self_adjoint_eigenvalues(faer::Side::Lower).unwrap();
    values.sort_by(|a, b| b.total_cmp(a));
    values[..count].iter().sum::<f64>() / values.iter().sum::<f64>()
}

#[test]
fn top_1_gates_find_which_atom_made_which_row() {
    let circle = Atom::new(Topology::Circle, Basis::Harmonics { highest: 1 }).unwrap();
    let dictionary = Dictionary::new(vec![circle; 3]).unwrap();
    let made = made(&dictionary, 300, 24, Some(1), 0.02);
    let options = FitOptions {
        gates: GatePolicy::TopK(1),
        ..few(6)
    };
    let fit = quiet(&made.x, &dictionary, &options).unwrap();
    assert!(fit.converged && fit.gates_stand_still);
    assert!(fit.explained_variance > 0.99, "{}", fit.explained_variance);
    // Atoms come in any order: each made atom's rows share one fitted atom.
    let on = |gates: &Array2<f64>, i: usize| (0..3).find(|&a| gates[(i, a)] != 0.0).unwrap();
    for a in 0..3 {
        let rows: Vec<usize> = (0..300).filter(|&i| on(&made.gates, i) == a).collect();
        let first = on(&fit.gates(), rows[0]);
        let same = rows
            .iter()
            .filter(|&&i| on(&fit.gates(), i) == first)
            .count();
        assert!(
            same as f64 > 0.97 * rows.len() as f64,
            "{same} of {}",
            rows.len()
        );
    }
    for i in 0..300 {
        for a in 0..3 {
            assert_eq!(
                fit.coordinates()[(i, a)].is_nan(),
                fit.gates()[(i, a)] == 0.0
            );
        }
    }
    let objectives = accepted(&fit);
    assert!(decreasing(&objectives));
    let trials: Vec<u64> = fit.trace.iter().map(|entry| entry.trial).collect();
    assert_eq!(trials, (1..=fit.trials).collect::<Vec<_>>());
}

/// The limits are those of a fit, however many inner fits its gates take.
#[test]
fn a_fit_that_chooses_gates_stays_within_its_iterations_and_trials() {
    let circle = Atom::new(Topology::Circle, Basis::Harmonics { highest: 1 }).unwrap();
    let dictionary = Dictionary::new(vec![circle; 3]).unwrap();
    let made = made(&dictionary, 120, 24, Some(1), 0.5);
    for limit in [0, 1, 3, 6, 17] {
        let mut options = FitOptions {
            gates: GatePolicy::TopK(1),
            ..few(2)
        };
        options.rule = options.rule.with_max_iterations(limit);
        let fit = quiet(&made.x, &dictionary, &options).unwrap();
        assert!(fit.iterations <= limit, "{} of {limit}", fit.iterations);
        assert!(fit.trials <= 10 * limit, "{} for {limit}", fit.trials);
        assert!(fit.converged || fit.iterations == limit || fit.trials == 10 * limit);
        options.rule.max_trials = limit;
        let fit = quiet(&made.x, &dictionary, &options).unwrap();
        assert!(fit.trials <= limit, "{} of {limit}", fit.trials);
    }
}

#[test]
fn two_atoms_of_three_are_chosen_in_every_row() {
    let circle = Atom::new(Topology::Circle, Basis::Harmonics { highest: 1 }).unwrap();
    let dictionary = Dictionary::new(vec![circle; 3]).unwrap();
    let made = made(&dictionary, 240, 24, Some(2), 0.02);
    let options = FitOptions {
        gates: GatePolicy::TopK(2),
        ..few(8)
    };
    let fit = quiet(&made.x, &dictionary, &options).unwrap();
    for i in 0..240 {
        assert_eq!(fit.gates().row(i).sum(), 2.0);
    }
    assert!(fit.explained_variance > 0.9, "{}", fit.explained_variance);
    let objectives = accepted(&fit);
    assert!(decreasing(&objectives));
}

#[test]
fn given_gates_are_kept_amplitudes_and_rows_without_any_included() {
    let dictionary =
        Dictionary::uniform(2, Topology::Circle, Basis::Harmonics { highest: 1 }).unwrap();
    let made = made(&dictionary, 90, 12, None, 0.05);
    let gates = Array2::from_shape_fn((90, 2), |(i, a)| match (i % 3, a) {
        (0, _) => 0.0,
        (1, 0) => 1.5,
        _ => 1.0,
    });
    let mut options = FitOptions {
        gates: GatePolicy::Given(gates.clone()),
        ..few(2)
    };
    // These gates are not those that made the rows: the residual is large, Gauss-Newton slow.
    options.rule = options.rule.with_max_iterations(1000);
    let fit = quiet(&made.x, &dictionary, &options).unwrap();
    assert_eq!(fit.gates(), gates);
    assert!(fit.coordinates()[(0, 0)].is_nan() && fit.coordinates()[(1, 0)].is_finite());
    assert!(fit.converged);
}

#[test]
fn the_projected_and_the_joint_loop_reach_the_same_optimum() {
    for topology in [
        Topology::Circle,
        Topology::Cylinder,
        Topology::Euclidean { dimension: 1 },
    ] {
        let dictionary = one(topology);
        let made = made(&dictionary, 120, 10, None, 0.3);
        let run = |border| quiet(&made.x, &dictionary, &FitOptions { border, ..few(1) }).unwrap();
        let (projected, joint) = (run(BorderMode::Projected), run(BorderMode::Joint));
        assert!(projected.converged && joint.converged, "{topology}");
        // Both stop where a step lowers the objective by less than 1e-11 of it; what is left is
        // that over one less the rate of convergence.
        let difference = (projected.objective - joint.objective).abs();
        assert!(
            difference < 1e-8 * projected.objective,
            "{topology}: {difference}"
        );
    }
}

#[test]
fn eliminations_reach_the_same_optimum() {
    use broadhead_schur::EliminationKind;
    let dictionary = one(Topology::Circle);
    let made = made(&dictionary, 60, 7, None, 0.2);
    let objectives: Vec<f64> = [
        EliminationKind::Core,
        EliminationKind::Border,
        EliminationKind::Iterative,
        EliminationKind::Reference,
    ]
    .into_iter()
    .map(|kind| {
        let mut options = few(1);
        options.solves.elimination = Some(kind);
        let fit = quiet(&made.x, &dictionary, &options).unwrap();
        assert_eq!(fit.elimination, kind);
        assert_eq!(
            fit.log_det_hessian.is_err(),
            kind == EliminationKind::Iterative
        );
        assert!(fit.converged, "{kind}");
        fit.objective
    })
    .collect();
    for other in &objectives[1..] {
        assert!((other - objectives[0]).abs() < 1e-8 * objectives[0]);
    }
}

#[test]
fn the_lowest_start_wins_and_every_start_is_reported() {
    let dictionary = one(Topology::Circle);
    let made = made(&dictionary, 80, 10, None, 0.5);
    let fit = quiet(&made.x, &dictionary, &few(6)).unwrap();
    assert_eq!(fit.starts.len(), 6);
    let best = fit.starts[fit.start].objective.unwrap();
    assert_eq!(best, fit.objective);
    for report in &fit.starts {
        assert_eq!(report.stage, StartStage::Finished);
        // Rounding chooses no start.
        assert!(report.objective.unwrap() >= best * (1.0 - 1e-11));
    }
    let mut options = few(6);
    options.screening = Screening {
        budget: 0.0,
        rows: 40,
        ..Screening::default()
    };
    let screened = quiet(&made.x, &dictionary, &options).unwrap();
    let finished = screened
        .starts
        .iter()
        .filter(|report| report.stage == StartStage::Finished)
        .count();
    assert_eq!(finished, 1);
    assert!(screened.starts.iter().filter(|r| r.rows == 40).count() == 5);
    assert!(screened.objective < 1.01 * fit.objective);
}

#[test]
fn encoding_the_fitted_rows_gives_their_coordinates_back() {
    let dictionary = one(Topology::Circle);
    let made = made(&dictionary, 100, 12, None, 0.1);
    let fit = quiet(&made.x, &dictionary, &few(2)).unwrap();
    let options = EncodeOptions::default();
    let encoded = fit.model.encode(made.x.view(), &options).unwrap();
    let rebuilt = (fit.model)
        .reconstruct(encoded.coordinates.view(), encoded.gates.view())
        .unwrap();
    for (i, square) in encoded.squared_error.iter().enumerate() {
        let left = &made.x.row(i) - &rebuilt.row(i);
        assert!((left.dot(&left) - square).abs() <= 1e-12 * made.x.row(i).dot(&made.x.row(i)));
    }
    assert!(encoded.converged.iter().all(|&converged| converged));
    for i in 0..100 {
        assert!(encoded.squared_error[i] <= fit.squared_error[i] * (1.0 + 1e-9));
        let turn = (encoded.coordinates[(i, 0)] - fit.coordinates()[(i, 0)])
            .sin()
            .abs();
        assert!(turn < 1e-3, "row {i}: {turn}");
    }
    let total: f64 = fit.squared_error.iter().sum();
    let gone: f64 = encoded.squared_error.iter().sum();
    assert!((total - gone).abs() < 1e-6 * total);
}

#[test]
fn a_watch_stops_a_fit_whatever_it_is_at() {
    let dictionary = one(Topology::Circle);
    let made = made(&dictionary, 200, 12, None, 0.5);
    let screened = FitOptions {
        screening: Screening {
            budget: 0.0,
            ..Screening::default()
        },
        ..few(6)
    };
    for (options, at) in [(few(3), "trial"), (screened, "screened")] {
        let told = AtomicUsize::new(0);
        let watch = |progress: &Progress| {
            let named = match progress {
                Progress::Trial { .. } => "trial",
                Progress::Screened { .. } => "screened",
                _ => "finished",
            };
            told.fetch_add(1, Ordering::Relaxed);
            match named == at {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        };
        // On one thread nothing else is under way: nobody is told after the break.
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(1)
            .build()
            .unwrap();
        let run = || fit(made.x.view(), &dictionary, &options, &watch).unwrap_err();
        let error = pool.install(run);
        assert!(matches!(error, FitError::Cancelled), "{at}: {error}");
        assert_eq!(told.load(Ordering::Relaxed), 1, "{at}");
        let error = fit(made.x.view(), &dictionary, &options, &watch).unwrap_err();
        assert!(matches!(error, FitError::Cancelled), "{at}: {error}");
        assert!(fit(made.x.view(), &dictionary, &options, &go_on).is_ok());
    }
}
