//! Random systems: normal equations of random residuals, so positive definite by construction.

use crate::cases::{DenseCase, StructuredCase};
use crate::oracle;
use crate::random::Random;
use broadhead_schur::{ArrowVector, RowDims, StructuredShape};

/// A random gradient for `N` and `k`.
pub fn gradient(n: usize, k: usize, random: &mut Random) -> ArrowVector {
    ArrowVector {
        row: random.normals(n),
        border: random.normals(k),
    }
}

/// A dense system, positive definite: row `i` has residuals with random derivatives by its own
/// unknowns and by the border, and `margin` stands on all diagonals. The condition number is
/// about `1 / margin`, times what the shape adds.
pub fn dense(dims: &[usize], k: usize, margin: f64, random: &mut Random) -> DenseCase {
    let mut case = DenseCase::zeros(dims, k);
    let (mut u, weight) = (0, 1.0 / (1.0 + k as f64).sqrt());
    for (i, &d) in dims.iter().enumerate() {
        for _ in 0..d + 1 {
            let (own, shared) = (random.normals(d), random.normals(k));
            for a in 0..d {
                for b in 0..d {
                    *case.d_mut(i, a, b) += own[a] * own[b];
                }
                for c in 0..k {
                    case.row_cross[(u + a) * k + c] += weight * own[a] * shared[c];
                }
            }
            for a in 0..k {
                for b in 0..k {
                    case.border_hessian[a * k + b] += weight * weight * shared[a] * shared[b];
                }
            }
        }
        for a in 0..d {
            *case.d_mut(i, a, a) += margin;
        }
        u += d;
    }
    for a in 0..k {
        case.border_hessian[a * (k + 1)] += margin;
    }
    case
}

/// A dense system whose row blocks have condition number `rows` and whose eliminated border $`S`$
/// has `border`: eigenvalues from 1 down to the reciprocal, evenly in their logarithm, in random
/// directions.
///
/// $`C = S + B' D^{-1} B`$ is formed from the rounded $`D`$ and $`B`$ to twice the digits and
/// rounded once, so that the system is positive definite with that spectrum however ill
/// conditioned its rows are. FP64 can factor it while `rows * border` stays well below
/// $`1 / \epsilon`$: an error of $`\epsilon`$ in $`D`$ is one of $`\epsilon`$ times `rows` in $`S`$.
pub fn ill_conditioned(
    dims: &[usize],
    k: usize,
    rows: f64,
    border: f64,
    random: &mut Random,
) -> DenseCase {
    let mut case = DenseCase::zeros(dims, k);
    let mut u = 0;
    let spectrum_of_s = spectrum(k, border, random);
    for (i, &d) in dims.iter().enumerate() {
        let block = spectrum(d, rows, random);
        let y: Vec<f64> = random.normals(d * k);
        let l = root(&block, d);
        // B = L Y / 10: in the range of the block's root, so that B' D^-1 B is of modest size.
        for a in 0..d {
            for b in 0..d {
                *case.d_mut(i, a, b) = block[a * d + b];
                for c in 0..k {
                    case.row_cross[(u + a) * k + c] += 0.1 * l[a * d + b] * y[b * k + c];
                }
            }
        }
        u += d;
    }
    case.border_hessian = oracle::border_over(&case, &spectrum_of_s);
    case
}

/// A symmetric matrix with eigenvalues from 1 to `1 / kappa`, row-major: a diagonal one under
/// random Householder reflections.
fn spectrum(order: usize, kappa: f64, random: &mut Random) -> Vec<f64> {
    let mut a = vec![0.0; order * order];
    for j in 0..order {
        let share = if order > 1 {
            j as f64 / (order - 1) as f64
        } else {
            0.0
        };
        a[j * (order + 1)] = kappa.powf(-share);
    }
    for _ in 0..3 {
        let v = random.normals(order);
        let size: f64 = v.iter().map(|x| x * x).sum();
        if size == 0.0 {
            continue;
        }
        // (I - t v v') A (I - t v v') = A - v w' - w v', w = t A v - t^2 (v' A v) v / 2.
        let t = 2.0 / size;
        let av: Vec<f64> = (0..order)
            .map(|i| (0..order).map(|j| a[i * order + j] * v[j]).sum())
            .collect();
        let curvature: f64 = v.iter().zip(&av).map(|(x, y)| x * y).sum();
        let w: Vec<f64> = (0..order)
            .map(|i| t * av[i] - 0.5 * t * t * curvature * v[i])
            .collect();
        for i in 0..order {
            for j in 0..order {
                a[i * order + j] -= v[i] * w[j] + w[i] * v[j];
            }
        }
    }
    a
}

/// A plain Cholesky factor, row-major; zeros where it breaks down.
fn root(a: &[f64], d: usize) -> Vec<f64> {
    let mut l = vec![0.0; d * d];
    for i in 0..d {
        for j in 0..=i {
            let sum: f64 = (0..j).map(|m| l[i * d + m] * l[j * d + m]).sum();
            let rest = a[i * d + j] - sum;
            l[i * d + j] = if i == j {
                rest.max(0.0).sqrt()
            } else if l[j * d + j] > 0.0 {
                rest / l[j * d + j]
            } else {
                0.0
            };
        }
    }
    l
}

/// $`E H E`$ with powers of two up to $`2^{\pm\text{range}}`$ in $`E`$: badly scaled, the same problem.
pub fn badly_scaled(case: DenseCase, range: i32, random: &mut Random) -> DenseCase {
    let mut powers = |n: usize| -> Vec<f64> {
        (0..n)
            .map(|_| 2.0_f64.powi(random.below(2 * range as usize + 1) as i32 - range))
            .collect()
    };
    let e = ArrowVector {
        row: powers(case.shape.row_unknowns()),
        border: powers(case.shape.border()),
    };
    case.rescaled(&e)
}

/// Row `row` made nearly singular: its block loses all of itself but `share` along one direction.
pub fn with_singular_row(mut case: DenseCase, row: usize, share: f64) -> DenseCase {
    let d = case.dims()[row];
    for a in 0..d {
        for b in 0..d {
            *case.d_mut(row, a, b) = 1.0 + if a == b { share } else { 0.0 };
        }
    }
    // A cross block in the range of the ones: S stays positive definite.
    let (start, k) = (case.shape.rows().offset(row), case.shape.border());
    for a in 0..d {
        for c in 0..k {
            case.row_cross[(start + a) * k + c] = 1e-3 / (1.0 + c as f64);
        }
    }
    case
}

/// What a structured system is made of.
#[derive(Clone, Debug)]
pub struct Structure {
    /// Numbers of unknowns of the rows.
    pub dims: Vec<usize>,
    /// $`M`$.
    pub features: usize,
    /// $`p`$.
    pub outputs: usize,
    /// The share of features that are on, besides the first.
    pub density: f64,
    /// Whether features come in pairs of which each row has one on, the first feature being an
    /// intercept that does not move: the sparsity of a dictionary.
    pub atoms: bool,
    /// What stands on the diagonals of $`D`$ and $`G`$.
    pub margin: f64,
}

/// A structured system, positive definite: $`D_i = J_i J_i'`$ and $`G = \sum \phi_i \phi_i'`$ plus
/// the margin.
///
/// # Panics
/// Where the sizes overflow.
pub fn structured(of: &Structure, random: &mut Random) -> StructuredCase {
    let (m, p) = (of.features, of.outputs);
    let rows = RowDims::ragged(&of.dims).expect("small sizes");
    let mut case = StructuredCase {
        row_hessian: vec![0.0; rows.block_len()],
        shape: StructuredShape::new(rows.clone(), m, p).expect("small sizes"),
        offsets: vec![0],
        indices: vec![],
        phi: vec![],
        psi: vec![],
        psi_offsets: vec![0],
        gram: vec![0.0; m * m],
        decoder: random.normals(m * p),
    };
    for &d in &of.dims {
        let start = case.indices.len();
        let atom = random.below(m.max(3) / 2);
        for f in 0..m {
            let on = if of.atoms {
                f.div_ceil(2) == atom + 1
            } else {
                random.uniform(0.0, 1.0) < of.density
            };
            if f == 0 || on {
                case.indices.push(f);
                case.phi.push(random.normal());
            }
        }
        let on = case.indices.len() - start;
        let mut psi = random.normals(d * on);
        if of.atoms {
            psi.iter_mut().step_by(on.max(1)).for_each(|x| *x = 0.0);
        }
        case.psi.extend(psi);
        case.offsets.push(case.indices.len());
        case.psi_offsets.push(case.psi.len());
        for x in start..case.indices.len() {
            for y in start..case.indices.len() {
                case.gram[case.indices[x] * m + case.indices[y]] += case.phi[x] * case.phi[y];
            }
        }
    }
    case = case.with_margin(of.margin);
    for f in 0..m {
        case.gram[f * (m + 1)] += of.margin;
    }
    case
}
