//! Rows-first solves for several right-hand sides at once: each pass over $`Y`$ or $`B`$ and $`L_S`$
//! serves all.

use crate::host::blas_many::Orientation;
use crate::host::cholesky::Cholesky;
use crate::host::interleaved::{Interleaved, VECTORS, solve_lower, solve_upper};
use crate::host::parallel::{par_each, par_map};
use crate::host::row_blocks::RowFactors;
use crate::refine::BackwardError;
use crate::system::{add_transposed, tiles};
use crate::{DenseSystem, RhsMut, Ridge};
use pulp::Arch;
use rayon::prelude::*;

/// Lines of $`Y`$ of a task.
const LINES: usize = 64;
/// The fewest lines of a partial sum of $`Y' u`$.
const PART_LINES: usize = 64;
/// The most partial sums of it.
const PARTS: usize = 8;

/// Overwrites right-hand sides by solutions; `y` is $`Y`$, `N x k` row-major.
pub(crate) fn solve_many(
    arch: Arch,
    rows: &RowFactors,
    y: &[f64],
    border: &Cholesky,
    mut rhs: RhsMut<'_>,
) {
    let k = border.order();
    in_batches(&mut rhs, |row, border_columns, m| {
        let mut u = Interleaved::new(arch, row, m);
        let mut x = Interleaved::new(arch, border_columns, m);
        let stride = x.stride();
        rows.solve_lower_many(u.numbers_mut(), stride);
        if !y.is_empty() {
            subtract_pull(arch, y, &u, &mut x, m);
        }
        solve_lower(arch, border.as_mat(), x.numbers_mut(), stride);
        solve_upper(arch, border.as_mat(), x.numbers_mut(), stride);
        if !y.is_empty() {
            let x = x.numbers();
            let tasks = u.numbers_mut().par_chunks_mut(stride * LINES);
            par_each(tasks.zip(y.par_chunks(k * LINES)), |(u, y)| {
                let lines: Vec<_> = y.chunks_exact(k).collect();
                tiles(&lines, k, |tile, lines, columns| {
                    let x = &x[columns.start * stride..columns.end * stride];
                    let u = &mut u[lines.start * stride..lines.end * stride];
                    tile.subtract(arch, Orientation::Times, x, u, stride);
                });
            });
        }
        rows.solve_upper_many(u.numbers_mut(), stride);
        u.separate(row);
        x.separate(border_columns);
    });
}

/// Overwrites right-hand sides by solutions and returns the errors of these. Both passes over the rows
/// read $`B`$, which for one vector [`super::row_products`] does: see there for when that serves.
pub(crate) fn solve_and_measure_many(
    arch: Arch,
    system: &DenseSystem<'_>,
    rows: &RowFactors,
    border: &Cholesky,
    ridge: Ridge,
    mut rhs: RhsMut<'_>,
) -> Vec<BackwardError> {
    let mut errors = Vec::with_capacity(rhs.count);
    in_batches(&mut rhs, |row, border_columns, m| {
        let mut u = Interleaved::new(arch, row, m);
        let right = Interleaved::new(arch, border_columns, m);
        let mut x = right.map(arch, |b| b);
        let stride = x.stride();
        let solve = |i: usize, u: &mut [f64]| rows.solve_block_many(i, u, stride);
        system.subtract_cross_many(arch, &u, &mut x, m, solve);
        solve_lower(arch, border.as_mat(), x.numbers_mut(), stride);
        solve_upper(arch, border.as_mat(), x.numbers_mut(), stride);
        let settle = |_, i: usize, x: &mut [f64], s: &[f64], right: &mut [f64]| {
            right.copy_from_slice(x);
            x.iter_mut().zip(s).for_each(|(x, s)| *x -= s);
            solve(i, x);
        };
        errors.extend(system.errors_many(arch, (&mut u, &x), &right, m, ridge, settle));
        u.separate(row);
        x.separate(border_columns);
    });
    errors
}

/// Hands out the right-hand sides, row parts and border parts, as many as make one pass.
fn in_batches(rhs: &mut RhsMut<'_>, mut work: impl FnMut(&mut [f64], &mut [f64], usize)) {
    let (n, k) = (rhs.row.len() / rhs.count, rhs.border.len() / rhs.count);
    for first in (0..rhs.count).step_by(VECTORS) {
        let m = VECTORS.min(rhs.count - first);
        let row = &mut rhs.row[first * n..(first + m) * n];
        work(row, &mut rhs.border[first * k..(first + m) * k], m);
    }
}

/// `x -= Y' u`, by parts of its lines, summed in order.
fn subtract_pull(arch: Arch, y: &[f64], u: &Interleaved, x: &mut Interleaved, m: usize) {
    let (stride, u) = (x.stride(), u.numbers());
    let (n, k) = (u.len() / stride, x.numbers().len() / stride);
    let lines = n.div_ceil((n / PART_LINES).clamp(1, PARTS));
    let tasks = u.par_chunks(stride * lines).zip(y.par_chunks(k * lines));
    let parts = par_map(tasks, |(u, y)| {
        let mut part = Interleaved::zeros(arch, k, m);
        let lines: Vec<_> = y.chunks_exact(k).collect();
        add_transposed(arch, &lines, u, &mut part);
        part
    });
    x.subtract_all(&parts);
}

#[cfg(test)]
mod tests {
    use crate::refine::{Residual, measure_many};
    use crate::{
        ArrowShape, CrossView, DenseSystem, EliminationKind, Gradient, Refinement, Ridge,
        RowBlocks, RowDims, Solver, SolverOptions, StepMut, SymmetricView, System,
    };
    use faer::{Mat, MatMut, MatRef};

    const RIDGE: Ridge = Ridge {
        row: 0.1,
        border: 0.2,
    };

    fn wave(i: usize) -> f64 {
        (i as f64 * 0.7 + 1.0).sin()
    }

    /// Row blocks and a border with dominant diagonals, and what couples them.
    struct Operands {
        shape: ArrowShape,
        d: Vec<f64>,
        b: Mat<f64>,
        c: Mat<f64>,
    }

    impl Operands {
        fn new(dims: &[usize], k: usize) -> Self {
            let shape = ArrowShape::new(RowDims::ragged(dims).unwrap(), k).unwrap();
            let n = shape.row_unknowns();
            let mut d = Vec::new();
            for dim in dims {
                for (a, b) in (0..*dim).flat_map(|a| (0..*dim).map(move |b| (a, b))) {
                    d.push(if a == b {
                        3.0
                    } else {
                        wave(a + b) / *dim as f64
                    });
                }
            }
            let scale = 1.0 / ((n + 1) as f64).sqrt() / ((k + 1) as f64).sqrt();
            let b = Mat::from_fn(n, k, |i, j| scale * wave(i * 13 + j * 5));
            let c = Mat::from_fn(k, k, |i, j| match i.cmp(&j) {
                // What is above the diagonal is not read.
                std::cmp::Ordering::Less => f64::NAN,
                std::cmp::Ordering::Equal => 4.0,
                std::cmp::Ordering::Greater => wave(i * 3 + j * 7) / (k + 1) as f64,
            });
            Self { shape, d, b, c }
        }

        fn system<'a>(&'a self, b: MatRef<'a, f64>, c: MatRef<'a, f64>) -> DenseSystem<'a> {
            let (d, b) = (RowBlocks::packed(&self.d), CrossView::stacked(b));
            DenseSystem::new(&self.shape, d, b, SymmetricView::new(c)).unwrap()
        }
    }

    fn solve(
        system: DenseSystem<'_>,
        g: (&[f64], &[f64]),
        count: usize,
    ) -> (Vec<f64>, Vec<f64>, Option<f64>) {
        let (n, k) = (system.shape().row_unknowns(), system.shape().border());
        let options = SolverOptions {
            elimination: Some(EliminationKind::Rows),
            refinement: Refinement::Measure,
            ..Default::default()
        };
        let mut solver = Solver::new(&System::from(system), options).unwrap();
        let mut base = solver.refresh(system).unwrap();
        let mut frame = base.factor(RIDGE).unwrap();
        let (mut row, mut border) = (vec![0.0; n * count], vec![0.0; k * count]);
        let columns = |x, len| MatRef::from_column_major_slice(x, len, count);
        let gradient = Gradient::many(columns(g.0, n), columns(g.1, k));
        let step = StepMut::many(
            MatMut::from_column_major_slice_mut(&mut row, n, count),
            MatMut::from_column_major_slice_mut(&mut border, k, count),
        );
        let report = frame.solve(gradient, step).unwrap();
        (row, border, report.error.and_then(|e| e.componentwise))
    }

    /// Shapes with edges of every tile in them.
    const SHAPES: [(&[usize], usize); 6] = [
        (&[2; 40], 0),
        (&[], 19),
        (&[3, 1, 2, 0, 5, 2, 1], 7),
        (&[2; 70], 150),
        (&[1, 4, 2, 3, 3, 9, 7, 8, 1, 1, 40, 30], 131),
        (&[3; 4], 2100),
    ];

    #[test]
    fn many_right_hand_sides_are_solved_as_one_at_a_time() {
        for (dims, k) in SHAPES {
            let operands = Operands::new(dims, k);
            let n = operands.shape.row_unknowns();
            let by_row = operands.b.transpose().to_owned();
            let system = operands.system(by_row.transpose(), operands.c.as_ref());
            for count in [2, 3, 24, 37] {
                let row: Vec<f64> = (0..n * count).map(|i| wave(i * 3)).collect();
                let border: Vec<f64> = (0..k * count).map(|i| wave(i * 5 + 2)).collect();
                let (x_row, x_border, error) = solve(system, (&row, &border), count);
                let error = error.unwrap();
                assert!(error <= 4e-15, "{dims:?} {k} {count}: {error:e}");
                // Measured on the way or by a pass of its own: rounding alone, but no more and no less of it.
                let rhs: (Vec<f64>, Vec<f64>) = (
                    row.iter().map(|g| -g).collect(),
                    border.iter().map(|g| -g).collect(),
                );
                let (b, x) = ((&rhs.0[..], &rhs.1[..]), (&x_row[..], &x_border[..]));
                let apart = measure_many(&system, RIDGE, b, x, count);
                let apart = apart.iter().filter_map(|e| e.componentwise);
                let apart = apart.fold(0.0, f64::max);
                let near = apart / 8.0..=apart * 8.0;
                assert!(
                    near.contains(&error),
                    "{dims:?} {k} {count}: {error:e} {apart:e}"
                );
                for j in [0, count - 1] {
                    let (rows, borders) = (j * n..(j + 1) * n, j * k..(j + 1) * k);
                    let g = (&row[rows.clone()], &border[borders.clone()]);
                    let (one_row, one_border, _) = solve(system, g, 1);
                    let one = one_row.iter().chain(&one_border);
                    let many = x_row[rows].iter().chain(&x_border[borders]);
                    for (one, many) in one.zip(many) {
                        assert!((one - many).abs() <= 1e-13, "{dims:?} {k} {count} {j}");
                    }
                }
            }
        }
    }

    #[test]
    fn many_errors_are_those_of_one_at_a_time_in_any_layout() {
        let ridge = RIDGE;
        for (dims, k) in SHAPES {
            let operands = Operands::new(dims, k);
            let n = operands.shape.row_unknowns();
            let (b, c) = (
                operands.b.transpose().to_owned(),
                operands.c.transpose().to_owned(),
            );
            let turned = operands.c.as_ref().reverse_rows_and_cols().to_owned();
            for system in [
                operands.system(operands.b.as_ref(), operands.c.as_ref()),
                operands.system(b.transpose(), c.transpose()),
                operands.system(b.transpose(), turned.as_ref().reverse_rows_and_cols()),
            ] {
                for count in [3, 24, 37] {
                    let numbers = |len: usize, s: usize| -> Vec<f64> {
                        (0..len * count).map(|i| wave(i * s + 1)).collect()
                    };
                    let (b, x) = (
                        (numbers(n, 3), numbers(k, 5)),
                        (numbers(n, 2), numbers(k, 7)),
                    );
                    let (b, x) = ((&b.0[..], &b.1[..]), (&x.0[..], &x.1[..]));
                    let errors = measure_many(&system, ridge, b, x, count);
                    for (j, many) in errors.into_iter().enumerate() {
                        let (rows, borders) = (j * n..(j + 1) * n, j * k..(j + 1) * k);
                        let one = Residual::new(n, k).measure(
                            &System::from(system),
                            ridge,
                            (&b.0[rows.clone()], &b.1[borders.clone()]),
                            (&x.0[rows], &x.1[borders]),
                        );
                        for (one, many) in [
                            (one.normwise, many.normwise),
                            (one.componentwise.unwrap(), many.componentwise.unwrap()),
                            (one.relative_residual, many.relative_residual),
                        ] {
                            let case = format!("{dims:?} {k} {count} {j}: {one} {many}");
                            assert!((one - many).abs() <= 1e-13 * one, "{case}");
                        }
                    }
                }
            }
        }
    }
}
