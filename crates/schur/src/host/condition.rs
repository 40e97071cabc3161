//! Estimates of the condition number in the 1-norm.

use crate::host::blas1::{larger, largest};
use crate::system::ProductMut;
use crate::{Failure, Ridge, System};

/// $`\|H + \rho\|_1`$, the largest row sum of absolute values. For an operator system, whose entries
/// are not known, a lower bound from its product with the vector of ones.
pub(crate) fn one_norm(system: &System<'_>, ridge: Ridge) -> f64 {
    if let System::Structured(system) = system {
        return system.one_norm(ridge);
    }
    let (n, k) = (system.shape().row_unknowns(), system.shape().border());
    let (ones_row, ones_border) = (vec![1.0; n], vec![1.0; k]);
    let (mut row, mut border) = (vec![0.0; n], vec![0.0; k]);
    let (mut row_abs, mut border_abs) = (vec![0.0; n], vec![0.0; k]);
    let known = system.multiply(
        &ones_row,
        &ones_border,
        ridge,
        ProductMut {
            row: &mut row,
            border: &mut border,
            row_abs: &mut row_abs,
            border_abs: &mut border_abs,
        },
    );
    let parts = if known {
        [row_abs, border_abs]
    } else {
        [row, border]
    };
    largest(parts.into_iter().flatten())
}

/// An estimate (a lower bound, seldom below a third) of $`\|A^{-1}\|_1`$ for symmetric $`A`$ of order
/// `order`, where `solve` overwrites a vector by $`A^{-1}`$ times it.
///
/// Hager's method as in Higham, *FORTRAN codes for estimating the one-norm*, ACM TOMS 14 (1988),
/// Algorithm 4.1, with its final alternating vector.
pub(crate) fn inverse_norm_estimate(
    order: usize,
    mut solve: impl FnMut(&mut [f64]) -> Result<(), Failure>,
) -> Result<f64, Failure> {
    if order == 0 {
        return Ok(0.0);
    }
    let one = |x: &[f64]| x.iter().map(|v| v.abs()).sum::<f64>();
    let mut x = vec![1.0 / order as f64; order];
    solve(&mut x)?;
    let mut estimate = one(&x);
    let mut last = usize::MAX;
    let mut signs: Vec<f64> = x.iter().map(|v| 1.0_f64.copysign(*v)).collect();
    for _ in 0..4 {
        let mut z = signs.clone();
        solve(&mut z)?;
        let (at, _) = z.iter().enumerate().fold((0, -1.0), |best, (i, v)| {
            if v.abs() > best.1 { (i, v.abs()) } else { best }
        });
        if at == last {
            break;
        }
        last = at;
        x.fill(0.0);
        x[at] = 1.0;
        solve(&mut x)?;
        let next = one(&x);
        let next_signs: Vec<f64> = x.iter().map(|v| 1.0_f64.copysign(*v)).collect();
        if next <= estimate || next_signs == signs {
            estimate = larger(estimate, next);
            break;
        }
        estimate = next;
        signs = next_signs;
    }
    let slope = if order > 1 {
        1.0 / (order - 1) as f64
    } else {
        0.0
    };
    for (i, v) in x.iter_mut().enumerate() {
        let sign = if i % 2 == 0 { 1.0 } else { -1.0 };
        *v = sign * (1.0 + i as f64 * slope);
    }
    let size = one(&x);
    solve(&mut x)?;
    Ok(larger(estimate, one(&x) / size))
}
