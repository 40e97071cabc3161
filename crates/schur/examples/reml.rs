//! Restricted maximum likelihood of a model with crossed random intercepts, through the public
//! interface alone: what the author of a GAM solver writes around `broadhead-schur`.
//!
//! `cargo run -p broadhead-schur --example reml [FILE.csv]`
//!
//! ```math
//! y = X b + Z_1 u + Z_2 v + e, \quad u \sim N(0, \sigma^2 \tau_1 I),\
//! v \sim N(0, \sigma^2 \tau_2 I),\ e \sim N(0, \sigma^2 I) .
//! ```
//!
//! Henderson's equations have the matrix
//!
//! ```text
//!           u (rows, d = 1)     v, b (border)
//!   H = [ n_i + 1/tau_1     |  counts, sums of x    ]
//!       [                   |  Z2'Z2 + 1/tau_2, ... ]
//! ```
//!
//! and with $`q = \min_{u,v,b} |y - X b - Z_1 u - Z_2 v|^2 + |u|^2/\tau_1 + |v|^2/\tau_2`$
//!
//! ```math
//! -2 \ell(\tau) = (N - f) \log q + \log|H| + n \log \tau_1 + m \log \tau_2 + \text{const} .
//! ```
//!
//! One frame an evaluation gives the solution, $`\log|H|`$ and, by the many right-hand sides of the
//! border's unit vectors, the traces that its gradient asks for. The zero of that gradient is found
//! by Newton's method in $`\log\tau`$; a dense computation with $`V = I + \tau_1 Z_1 Z_1' + \tau_2
//! Z_2 Z_2'`$, which shares no code with it, must find the same. Last, the derivative of the inner
//! solution by $`\log\tau_1`$, through the unridged factors of a frame that has a ridge.

use broadhead_schur::{
    ArrowShape, ArrowVector, CrossView, DenseSystem, Failure, Frame, Gradient, Ridge, RowBlocks,
    Solver, SolverOptions, StepMut, SymmetricView,
};
use faer::Mat;
use faer::prelude::*;
use ndarray::Array3;
use std::error::Error;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Subject, item, covariate, response.
type Observation = (usize, usize, f64, f64);

struct Data {
    observations: Vec<Observation>,
    subjects: usize,
    items: usize,
}

/// Fixed effects: intercept and slope.
const FIXED: usize = 2;

impl Data {
    fn read(path: &str) -> Outcome<Self> {
        let mut observations = Vec::new();
        for record in csv::Reader::from_path(path)?.deserialize() {
            observations.push(record?);
        }
        let levels = |level: &dyn Fn(&Observation) -> usize| {
            observations
                .iter()
                .map(level)
                .max()
                .map_or(0, |last| last + 1)
        };
        let (subjects, items) = (levels(&|o| o.0), levels(&|o| o.1));
        Ok(Self {
            observations,
            subjects,
            items,
        })
    }

    fn count(&self) -> f64 {
        self.observations.len() as f64
    }
}

/// Henderson's equations without the variance ratios: assembled once.
struct Equations {
    shape: ArrowShape,
    counts: Vec<f64>,
    /// `(subjects, 1, k)`, an ndarray array: it goes in without a copy.
    cross: Array3<f64>,
    /// `k x k`, a faer matrix: so does it.
    border: Mat<f64>,
    /// Minus the right-hand side.
    gradient: ArrowVector,
    response_squared: f64,
}

impl Equations {
    fn assemble(data: &Data) -> Outcome<Self> {
        let (n, m) = (data.subjects, data.items);
        let k = m + FIXED;
        let shape = ArrowShape::uniform(n, 1, k)?;
        let mut gradient = ArrowVector::zeros(&shape);
        let (mut counts, mut cross) = (vec![0.0; n], Array3::zeros((n, 1, k)));
        let (mut border, mut response_squared) = (Mat::zeros(k, k), 0.0);
        for &(subject, item, x, y) in &data.observations {
            counts[subject] += 1.0;
            gradient.row[subject] -= y;
            response_squared += y * y;
            let design = [(item, 1.0), (m, 1.0), (m + 1, x)];
            for (a, va) in design {
                cross[(subject, 0, a)] += va;
                gradient.border[a] -= va * y;
                for (b, vb) in design {
                    border[(a, b)] += va * vb;
                }
            }
        }
        Ok(Self {
            shape,
            counts,
            cross,
            border,
            gradient,
            response_squared,
        })
    }
}

/// What one evaluation gives.
struct Evaluation {
    /// $`-2 \ell`$ up to a constant.
    criterion: f64,
    /// Its gradient by $`(\log\tau_1, \log\tau_2)`$.
    gradient: [f64; 2],
    /// $`(u, v, b)`$.
    solution: ArrowVector,
}

/// The inner problem: a solver made once, refreshed at every evaluation.
struct Inner<'a> {
    data: &'a Data,
    equations: &'a Equations,
    solver: Solver,
    evaluations: u64,
}

impl<'a> Inner<'a> {
    fn new(data: &'a Data, equations: &'a Equations) -> Outcome<Self> {
        let (rows, border) = Self::operands(data, equations, [1.0, 1.0]);
        let system = Self::system(equations, &rows, &border)?;
        let solver = Solver::new(&system.into(), SolverOptions::default())?;
        Ok(Self {
            data,
            equations,
            solver,
            evaluations: 0,
        })
    }

    /// $`D`$ and $`C`$ at these ratios.
    fn operands(data: &Data, equations: &Equations, tau: [f64; 2]) -> (Vec<f64>, Mat<f64>) {
        let rows = equations
            .counts
            .iter()
            .map(|count| count + 1.0 / tau[0])
            .collect();
        let mut border = equations.border.clone();
        for item in 0..data.items {
            border[(item, item)] += 1.0 / tau[1];
        }
        (rows, border)
    }

    fn system<'s>(
        equations: &'s Equations,
        rows: &'s [f64],
        border: &'s Mat<f64>,
    ) -> Outcome<DenseSystem<'s>> {
        Ok(DenseSystem::new(
            &equations.shape,
            RowBlocks::packed(rows),
            CrossView::padded(equations.cross.view()),
            SymmetricView::new(border.as_ref()),
        )?)
    }

    /// Refreshes at `tau`, factors at `ridge` and hands the frame to `work`.
    fn with_frame<T>(
        &mut self,
        tau: [f64; 2],
        ridge: Ridge,
        work: impl FnOnce(&mut Frame<'_>) -> Result<T, Failure>,
    ) -> Outcome<T> {
        let (rows, border) = Self::operands(self.data, self.equations, tau);
        let system = Self::system(self.equations, &rows, &border)?;
        let mut base = self.solver.refresh(system)?;
        let mut frame = base.factor(ridge)?;
        Ok(work(&mut frame)?)
    }

    fn solve(&mut self, tau: [f64; 2]) -> Outcome<ArrowVector> {
        let equations = self.equations;
        self.with_frame(tau, Ridge::ZERO, |frame| solution(equations, frame))
    }

    /// $`-2\ell`$ and its gradient: one frame, one solve, and `k` more at once.
    fn evaluate(&mut self, tau: [f64; 2]) -> Outcome<Evaluation> {
        let (equations, data) = (self.equations, self.data);
        let (n, m, k) = (data.subjects, data.items, equations.shape.border());
        self.evaluations += 1;
        let (solution, log_determinant, pulled, inverse) =
            self.with_frame(tau, Ridge::ZERO, |frame| {
                let solution = solution(equations, frame)?;
                // H x_j = e_j for every unit vector of the border: the border of H^-1.
                let minus = Mat::from_fn(k, k, |a, b| if a == b { -1.0 } else { 0.0 });
                let (mut rows, mut border) = (Mat::zeros(n, k), Mat::zeros(k, k));
                frame.solve(
                    Gradient::many(Mat::zeros(n, k).as_ref(), minus.as_ref()),
                    StepMut::many(rows.as_mut(), border.as_mut()),
                )?;
                Ok((solution, frame.log_determinant(), rows, border))
            })?;
        // (H^-1)_ii = 1 / D_i - sum_j (B_i / D_i)_j x_j,i over the rows.
        let mut row_trace = 0.0;
        for i in 0..n {
            let d = equations.counts[i] + 1.0 / tau[0];
            let coupling: f64 = (0..k)
                .map(|j| equations.cross[(i, 0, j)] * pulled[(i, j)])
                .sum();
            row_trace += (1.0 - coupling) / d;
        }
        let item_trace: f64 = (0..m).map(|j| inverse[(j, j)]).sum();
        let squared = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>();
        // q = y'y - solution' rhs, and the gradient holds minus the right-hand side.
        let explained = dot(&solution.row, &equations.gradient.row)
            + dot(&solution.border, &equations.gradient.border);
        let quadratic = equations.response_squared + explained;
        let freedom = data.count() - FIXED as f64;
        let slope = |norm: f64, trace: f64, levels: usize, tau: f64| {
            levels as f64 - (freedom * norm / quadratic + trace) / tau
        };
        let gradient = [
            slope(squared(&solution.row), row_trace, n, tau[0]),
            slope(squared(&solution.border[..m]), item_trace, m, tau[1]),
        ];
        let criterion = freedom * quadratic.ln()
            + log_determinant?.value
            + n as f64 * tau[0].ln()
            + m as f64 * tau[1].ln();
        Ok(Evaluation {
            criterion,
            gradient,
            solution,
        })
    }
}

/// $`H z = `$ right-hand side.
fn solution(equations: &Equations, frame: &mut Frame<'_>) -> Result<ArrowVector, Failure> {
    let mut z = ArrowVector::zeros(&equations.shape);
    frame.solve(equations.gradient.as_gradient(), z.as_step())?;
    Ok(z)
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The same gradient from the covariance of the data, dense, of order $`N`$:
/// $`V = I + \tau_1 Z_1 Z_1' + \tau_2 Z_2 Z_2'`$, $`P = V^{-1} - V^{-1} X (X'V^{-1}X)^{-1} X'V^{-1}`$,
/// $`\partial(-2\ell)/\partial\log\tau_a = \tau_a \{\mathrm{tr}(P Z_a Z_a') - (N - f)
/// |Z_a' P y|^2 / y' P y\}`$.
fn dense_gradient(data: &Data, tau: [f64; 2]) -> Outcome<[f64; 2]> {
    let o = &data.observations;
    let n = o.len();
    let v = Mat::from_fn(n, n, |i, j| {
        let same = |a: usize, b: usize| if a == b { 1.0 } else { 0.0 };
        same(i, j) + tau[0] * same(o[i].0, o[j].0) + tau[1] * same(o[i].1, o[j].1)
    });
    let llt = v
        .llt(faer::Side::Lower)
        .map_err(|e| format!("V has no factor: {e:?}"))?;
    let x = Mat::from_fn(n, FIXED, |i, j| if j == 0 { 1.0 } else { o[i].2 });
    let (v_inverse, vx) = (llt.solve(Mat::<f64>::identity(n, n)), llt.solve(&x));
    let information = x.transpose() * &vx;
    let small = information
        .llt(faer::Side::Lower)
        .map_err(|e| format!("X'V^-1X: {e:?}"))?;
    let p = v_inverse - &vx * small.solve(vx.transpose());
    let py = &p * Mat::from_fn(n, 1, |i, _| o[i].3);
    let quadratic: f64 = (0..n).map(|i| o[i].3 * py[(i, 0)]).sum();
    let side = |level: &dyn Fn(usize) -> usize, levels: usize, tau: f64| {
        let mut trace = 0.0;
        let mut pulled = vec![0.0; levels];
        for i in 0..n {
            pulled[level(i)] += py[(i, 0)];
            trace += (0..n)
                .filter(|&j| level(j) == level(i))
                .map(|j| p[(i, j)])
                .sum::<f64>();
        }
        tau * (trace - (n - FIXED) as f64 * dot(&pulled, &pulled) / quadratic)
    };
    Ok([
        side(&|i| o[i].0, data.subjects, tau[0]),
        side(&|i| o[i].1, data.items, tau[1]),
    ])
}

/// The zero of a gradient in $`\log\tau`$, by Newton's method with a central-difference Jacobian.
fn maximise(mut gradient: impl FnMut([f64; 2]) -> Outcome<[f64; 2]>) -> Outcome<[f64; 2]> {
    const WIDTH: f64 = 1e-4;
    let mut log_tau = [0.0_f64; 2];
    let exp = |x: [f64; 2]| x.map(f64::exp);
    for _ in 0..30 {
        let g = gradient(exp(log_tau))?;
        let mut jacobian = [[0.0; 2]; 2];
        for b in 0..2 {
            let at = |sign: f64| {
                let mut moved = log_tau;
                moved[b] += sign * WIDTH;
                exp(moved)
            };
            let (up, down) = (gradient(at(1.0))?, gradient(at(-1.0))?);
            for a in 0..2 {
                jacobian[a][b] = (up[a] - down[a]) / (2.0 * WIDTH);
            }
        }
        let [[a, b], [c, d]] = jacobian;
        let determinant = a * d - b * c;
        // At most a factor e at once: far from the zero the curvature may have the wrong sign.
        let newton = [
            (d * g[0] - b * g[1]) / determinant,
            (a * g[1] - c * g[0]) / determinant,
        ];
        let step = if determinant > 0.0 && a > 0.0 {
            newton
        } else {
            g
        };
        let size = step[0].abs().max(step[1].abs());
        let shrink = if size > 1.0 { 1.0 / size } else { 1.0 };
        log_tau = [log_tau[0] - shrink * step[0], log_tau[1] - shrink * step[1]];
        if size < 1e-11 {
            return Ok(exp(log_tau));
        }
    }
    Err("Newton's method did not converge in 30 steps".into())
}

/// $`\partial z / \partial \log\tau_1 = H^{-1} (u / \tau_1)`$, for $`\partial H / \partial\log\tau_1 =
/// -I / \tau_1`$ on the rows: through the unridged factors of a frame that an inner
/// Levenberg-Marquardt loop left at a ridge.
fn implicit_derivative(inner: &mut Inner<'_>, tau: [f64; 2]) -> Outcome<ArrowVector> {
    let equations = inner.equations;
    let z = inner.solve(tau)?;
    inner.with_frame(tau, Ridge::new(0.1, 0.1), |ridged| {
        let mut bare = ridged.unridged()?;
        let mut rhs = ArrowVector::zeros(&equations.shape);
        // `solve` answers -H^-1 g.
        rhs.row
            .iter_mut()
            .zip(&z.row)
            .for_each(|(g, u)| *g = -u / tau[0]);
        let mut derivative = ArrowVector::zeros(&equations.shape);
        bare.solve(rhs.as_gradient(), derivative.as_step())?;
        Ok(derivative)
    })
}

#[expect(clippy::print_stdout, reason = "an example prints")]
fn main() -> Outcome<()> {
    let shipped = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../samples/crossed/crossed.csv"
    );
    let path = std::env::args()
        .nth(1)
        .unwrap_or_else(|| shipped.to_owned());
    let data = Data::read(&path)?;
    let equations = Equations::assemble(&data)?;
    let mut inner = Inner::new(&data, &equations)?;

    let tau = maximise(|tau| Ok(inner.evaluate(tau)?.gradient))?;
    let dense = maximise(|tau| dense_gradient(&data, tau))?;
    let at = inner.evaluate(tau)?;
    let freedom = data.count() - FIXED as f64;
    let quadratic = equations.response_squared
        + dot(&at.solution.row, &equations.gradient.row)
        + dot(&at.solution.border, &equations.gradient.border);
    let sigma = (quadratic / freedom).sqrt();

    println!(
        "{} observations, {} subjects, {} items",
        data.count(),
        data.subjects,
        data.items
    );
    println!("{} frames, one an evaluation\n", inner.evaluations);
    println!(
        "{:<28}{:>14}{:>14}{:>12}",
        "", "arrow", "dense", "difference"
    );
    let mut worst = 0.0_f64;
    for (name, a, b) in [
        ("tau_1 (subjects)", tau[0], dense[0]),
        ("tau_2 (items)", tau[1], dense[1]),
    ] {
        let difference = (a / b - 1.0).abs();
        worst = worst.max(difference);
        println!("{name:<28}{a:>14.9}{b:>14.9}{difference:>12.1e}");
    }
    println!("{:<28}{:>14.9}", "sigma", sigma);
    println!("{:<28}{:>14.9}", "sd of subjects", sigma * tau[0].sqrt());
    println!("{:<28}{:>14.9}", "sd of items", sigma * tau[1].sqrt());
    println!(
        "{:<28}{:>14.9}",
        "intercept", at.solution.border[data.items]
    );
    println!(
        "{:<28}{:>14.9}",
        "slope",
        at.solution.border[data.items + 1]
    );
    println!(
        "{:<28}{:>14.6}\n",
        "-2 log likelihood + const", at.criterion
    );

    let derivative = implicit_derivative(&mut inner, tau)?;
    let width = 1e-4_f64;
    let (up, down) = (
        inner.solve([tau[0] * width.exp(), tau[1]])?,
        inner.solve([tau[0] * (-width).exp(), tau[1]])?,
    );
    let mut error = 0.0_f64;
    let mut size = 0.0_f64;
    let parts = [
        (&derivative.row, &up.row, &down.row),
        (&derivative.border, &up.border, &down.border),
    ];
    for (derivative, up, down) in parts {
        for i in 0..derivative.len() {
            let central = (up[i] - down[i]) / (2.0 * width);
            error = error.max((derivative[i] - central).abs());
            size = size.max(central.abs());
        }
    }
    println!(
        "derivative of (u, v, b) by log tau_1, against central differences: {:.1e}",
        error / size
    );

    if worst > 1e-8 {
        return Err(format!("the estimates differ by {worst:e}, more than 1e-8").into());
    }
    if error > 1e-6 * size {
        return Err(format!(
            "the derivative is off by {:e}, more than 1e-6",
            error / size
        )
        .into());
    }
    Ok(())
}
