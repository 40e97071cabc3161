//! Every elimination agrees with the reference, on one dense and one structured system.
use broadhead_schur::*;

struct Lcg(u64);
impl Lcg {
    fn next(&mut self) -> f64 {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        ((self.0 >> 11) as f64) / (1u64 << 53) as f64 * 2.0 - 1.0
    }
    fn fill(&mut self, n: usize) -> Vec<f64> {
        (0..n).map(|_| self.next()).collect()
    }
}

fn run(
    system: System<'_>,
    kind: EliminationKind,
    g: &ArrowVector,
) -> (ArrowVector, SolveReport, Option<f64>, f64) {
    let options = SolverOptions {
        elimination: Some(kind),
        ..Default::default()
    };
    let mut solver = Solver::new(&system, options).unwrap();
    let mut base = solver.refresh(system).unwrap();
    let mut frame = base.factor(Ridge::new(0.1, 0.2)).unwrap();
    let mut step = ArrowVector::zeros(system.shape());
    let report = frame.solve(g.as_gradient(), step.as_step()).unwrap();
    let cond = frame.condition_estimate().unwrap();
    (
        step,
        report,
        frame.log_determinant().ok().map(|l| l.value),
        cond,
    )
}

fn compare(system: System<'_>, kinds: &[EliminationKind], seed: u64) {
    let mut rng = Lcg(seed);
    let shape = system.shape();
    let g = ArrowVector {
        row: rng.fill(shape.row_unknowns()),
        border: rng.fill(shape.border()),
    };
    let (want, report, log, cond) = run(system, EliminationKind::Reference, &g);
    assert!(
        report.error.unwrap().componentwise.unwrap() < 1e-14,
        "{report:?}"
    );
    for &kind in kinds {
        let (got, _, log_got, cond_got) = run(system, kind, &g);
        let err = want
            .row
            .iter()
            .chain(&want.border)
            .zip(got.row.iter().chain(&got.border))
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f64::max);

        assert!((cond_got / cond - 1.0).abs() < 1e-6, "{cond_got} {cond}");
        let bound = if kind == EliminationKind::Iterative {
            1e-7
        } else {
            1e-11
        };
        assert!(err < bound, "{kind} {err:e}");
        if let Some(log_got) = log_got {
            assert!((log_got - log.unwrap()).abs() < 1e-10 * log.unwrap().abs().max(1.0));
        }
    }
}

#[test]
fn dense_eliminations_agree() {
    let mut rng = Lcg(7);
    let dims = [2, 0, 3, 1, 17, 2, 2];
    let rows = RowDims::ragged(&dims).unwrap();
    let k = 150;
    let shape = ArrowShape::new(rows.clone(), k).unwrap();
    let mut d = vec![f64::NAN; rows.block_len()];
    for i in 0..dims.len() {
        let at = rows.block_offset(i);
        for a in 0..dims[i] {
            for b in 0..=a {
                d[at + a * dims[i] + b] = if a == b { 20.0 } else { rng.next() };
            }
        }
    }
    let b = rng.fill(rows.unknowns() * k);
    let mut c = vec![f64::NAN; k * k];
    for i in 0..k {
        for j in 0..=i {
            c[i * k + j] = if i == j { 40.0 } else { 0.3 * rng.next() };
        }
    }
    let system = DenseSystem::new(
        &shape,
        RowBlocks::packed(&d),
        CrossView::row_major(&b, rows.unknowns(), k).unwrap(),
        SymmetricView::row_major(&c, k).unwrap(),
    )
    .unwrap();
    use EliminationKind::*;
    compare(system.into(), &[Rows, Border, Iterative], 1);
}

#[test]
fn structured_eliminations_agree() {
    for p in [2, 16] {
        let mut rng = Lcg(9);
        let (n, m) = (30, 5);
        let dims: Vec<usize> = (0..n).map(|i| i % 3).collect();
        let rows = RowDims::ragged(&dims).unwrap();
        let shape = StructuredShape::new(rows.clone(), m, p).unwrap();
        let (mut offsets, mut psi_offsets) = (vec![0], vec![0]);
        let (mut indices, mut phi, mut psi) = (vec![], vec![], vec![]);
        for i in 0..n {
            let on: Vec<usize> = (0..m).filter(|&f| f == 0 || (f + i) % 2 == 0).collect();
            for &f in &on {
                indices.push(f);
                phi.push(rng.next());
            }
            psi.extend(rng.fill(dims[i] * on.len()));
            offsets.push(indices.len());
            psi_offsets.push(psi.len());
        }
        let w = rng.fill(m * p);
        let mut g = vec![0.0; m * m];
        for i in 0..n {
            for x in offsets[i]..offsets[i + 1] {
                for y in offsets[i]..offsets[i + 1] {
                    g[indices[x] * m + indices[y]] += phi[x] * phi[y];
                }
            }
        }
        let mut d = vec![f64::NAN; rows.block_len()];
        for i in 0..n {
            let nnz = offsets[i + 1] - offsets[i];
            let j = |a: usize, c: usize| -> f64 {
                (0..nnz)
                    .map(|x| psi[psi_offsets[i] + a * nnz + x] * w[indices[offsets[i] + x] * p + c])
                    .sum()
            };
            for a in 0..dims[i] {
                for b in 0..=a {
                    d[rows.block_offset(i) + a * dims[i] + b] =
                        (0..p).map(|c| j(a, c) * j(b, c)).sum();
                }
            }
        }
        let features = StructuredFeatures {
            offsets: &offsets,
            indices: &indices,
            phi: &phi,
            psi: &psi,
            psi_offsets: &psi_offsets,
        };
        let system = StructuredSystem::new(
            &shape,
            RowBlocks::packed(&d),
            features,
            SymmetricView::row_major(&g, m).unwrap(),
            faer::MatRef::from_row_major_slice(&w, m, p),
        )
        .unwrap();
        use EliminationKind::*;
        compare(system.into(), &[Border, Core, Iterative], 2);
    }
}

/// Eight atoms of two features and an intercept, one atom on in each row: the core over pairs.
#[test]
fn a_sparse_core_agrees() {
    for (p, seed) in [(3, 1), (40, 2)] {
        let mut rng = Lcg(seed);
        let (n, atoms) = (60, 8);
        let m = 1 + 2 * atoms;
        let rows = RowDims::uniform(n, 1).unwrap();
        let shape = StructuredShape::new(rows, m, p).unwrap();
        let (mut offsets, mut psi_offsets) = (vec![0], vec![0]);
        let (mut indices, mut phi, mut psi) = (vec![], vec![], vec![]);
        for i in 0..n {
            let (atom, t) = (i % atoms, 3.0 * rng.next());
            indices.extend([0, 1 + 2 * atom, 2 + 2 * atom]);
            phi.extend([1.0, t.cos(), t.sin()]);
            psi.extend([0.0, -t.sin(), t.cos()]);
            offsets.push(indices.len());
            psi_offsets.push(psi.len());
        }
        let w = rng.fill(m * p);
        let mut g = vec![0.0; m * m];
        let mut d = vec![0.0; n];
        for i in 0..n {
            for x in 3 * i..3 * i + 3 {
                for y in 3 * i..3 * i + 3 {
                    g[indices[x] * m + indices[y]] += phi[x] * phi[y];
                }
            }
            d[i] = (0..p)
                .map(|c| {
                    (0..3)
                        .map(|x| psi[3 * i + x] * w[indices[3 * i + x] * p + c])
                        .sum::<f64>()
                        .powi(2)
                })
                .sum();
        }
        let features = StructuredFeatures {
            offsets: &offsets,
            indices: &indices,
            phi: &phi,
            psi: &psi,
            psi_offsets: &psi_offsets,
        };
        let system = StructuredSystem::new(
            &shape,
            RowBlocks::packed(&d),
            features,
            SymmetricView::row_major(&g, m).unwrap(),
            faer::MatRef::from_row_major_slice(&w, m, p),
        )
        .unwrap();
        let SystemShape::Structured { pairs, .. } = SystemShape::of(&system.into()) else {
            panic!()
        };
        assert_eq!(pairs, 6 * atoms);
        use EliminationKind::*;
        compare(system.into(), &[Border, Core, Iterative], seed);
    }
}
