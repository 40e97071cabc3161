//! The decoder in coordinates of the features that are on together.
//!
//! ```math
//! W_A = B_A \tilde W_A, \quad \tilde W_A \tilde W_A' = I, \quad
//! \Psi_i W = \tilde\Psi_i \tilde W, \quad \tilde\Psi_{iA} = \Psi_{iA} B_A
//! ```
//!
//! for each run $`A`$ of neighbouring features that are on in the same rows and move beside the same
//! features: those of an atom. A run is as one in what pairs of features occur, so $`\tilde\Psi`$ is where
//! $`\Psi`$ is; and where lines of the decoder are nearly dependent, $`\tilde\Psi_i`$ is of the size of
//! $`\Psi_i W`$ and not of $`\Psi_i`$.

use crate::host::blas1::{axpy, dot, norm};
use crate::host::parallel::released;
use crate::{ArrowShape, StructuredShape, StructuredSystem};
use faer::{Mat, MatMut, MatRef};
use pulp::Arch;
use std::ops::Range;

/// What of a line, relative to it, is taken for the rounding of its parts along others.
const ROUNDING: f64 = 16.0 * f64::EPSILON;

/// $`B`$ and $`\tilde W`$.
#[derive(Debug)]
pub(crate) struct LocalDecoder {
    /// Whether each feature is of the run of the one before it.
    joined: Vec<bool>,
    /// The runs of more than one feature, in order.
    runs: Vec<Range<usize>>,
    outputs: usize,
    /// $`\tilde W`$, `M x p` row-major.
    lines: Vec<f64>,
    /// $`B_A'`$ at the columns of its run, from line 0 on: as many lines as the longest run has.
    mix: Mat<f64>,
}

impl LocalDecoder {
    pub(crate) fn bytes(shape: &StructuredShape) -> u64 {
        let (m, p) = (shape.features(), shape.outputs());
        ArrowShape::array_bytes(m, p)
            .saturating_add(ArrowShape::array_bytes(m, m))
            .saturating_add(m as u64 * 25)
    }

    pub(crate) fn new(shape: &StructuredShape) -> Self {
        Self {
            joined: vec![false; shape.features()],
            runs: Vec::new(),
            outputs: shape.outputs(),
            lines: vec![0.0; shape.outputs() * shape.features()],
            mix: Mat::new(),
        }
    }

    /// Takes note of the runs: `alike` says whether the pairs of a feature and of the one before it
    /// have the same features, and both move.
    pub(crate) fn refresh(&mut self, system: &StructuredSystem<'_>, alike: impl Fn(usize) -> bool) {
        let Self {
            joined, runs, mix, ..
        } = self;
        let m = joined.len();
        for (a, joined) in joined.iter_mut().enumerate() {
            *joined = a > 0 && alike(a);
        }
        for i in 0..system.shape().rows().rows() {
            let on = system.features().row(i).indices;
            for (y, &a) in on.iter().enumerate() {
                if y == 0 || on[y - 1] + 1 != a {
                    joined[a] = false;
                }
                if a + 1 < m && on.get(y + 1) != Some(&(a + 1)) {
                    joined[a + 1] = false;
                }
            }
        }
        runs.clear();
        for a in (0..m).filter(|&a| joined[a]) {
            match runs.last_mut() {
                Some(run) if run.end == a => run.end += 1,
                _ => runs.push(a - 1..a + 1),
            }
        }
        let longest = runs.iter().map(|run| run.len()).max().unwrap_or(0);
        if mix.nrows() != longest {
            *mix = Mat::zeros(longest, m);
        }
    }

    /// $`B`$ and $`\tilde W`$ of `decoder`, by modified Gram-Schmidt on the lines of each run, each twice:
    /// they are then orthogonal to rounding (Giraud et al., 2005). A line that is no more than rounding
    /// beside those before it has none of its own: zeros.
    pub(crate) fn form(&mut self, decoder: MatRef<'_, f64>) {
        let Self {
            runs, lines, mix, ..
        } = self;
        let (arch, p) = (Arch::new(), decoder.ncols());
        MatMut::from_column_major_slice_mut(lines, p, decoder.nrows())
            .copy_from(decoder.transpose());
        released(|| {
            for run in runs.iter() {
                for a in run.clone() {
                    let (done, rest) = lines.split_at_mut(a * p);
                    let line = &mut rest[..p];
                    let size = norm(line);
                    (0..run.len()).for_each(|j| mix[(j, a)] = 0.0);
                    for b in (run.start..a).chain(run.start..a) {
                        let earlier = &done[b * p..][..p];
                        let weight = dot(arch, earlier, line);
                        axpy(arch, -weight, earlier, line);
                        mix[(b - run.start, a)] += weight;
                    }
                    let own = norm(line);
                    // Of a line whose norm overflows nothing is known: what is not finite is seen further on.
                    if own > ROUNDING * size || !size.is_finite() {
                        line.iter_mut().for_each(|x| *x /= own);
                        mix[(a - run.start, a)] = own;
                    } else {
                        line.fill(0.0);
                    }
                }
            }
        });
    }

    /// $`\tilde W`$, `M x p`.
    pub(crate) fn lines(&self) -> MatRef<'_, f64> {
        let m = self.joined.len();
        MatRef::from_column_major_slice(&self.lines, self.outputs, m).transpose()
    }

    /// A line of $`\Psi_i`$ times $`B`$, `on` the features that are on.
    pub(crate) fn mix_line(&self, on: &[usize], line: &mut [f64]) {
        let mut y = 0;
        while let Some(&first) = on.get(y) {
            // All of a run is on, at neighbouring places, or nothing is.
            let mut end = first + 1;
            while self.joined.get(end) == Some(&true) {
                end += 1;
            }
            if end > first + 1 {
                let line = &mut line[y..y + end - first];
                // Column j of B is zero above line j: places before j are read no more.
                for j in 0..line.len() {
                    let column = (first + j..end).map(|a| self.mix[(j, a)]);
                    line[j] = line[j..].iter().zip(column).map(|(x, b)| x * b).sum();
                }
            }
            y += end - first;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{RowBlocks, RowDims, StructuredFeatures, SymmetricView};

    /// Rounding of sums of a few numbers of order 1.
    const TINY: f64 = 32.0 * f64::EPSILON;

    /// Rows of one unknown with these features on, and whether each is like the one before it.
    fn runs(rows: &[&[usize]], m: usize, p: usize, alike: &[usize]) -> LocalDecoder {
        let dims = RowDims::uniform(rows.len(), 1).unwrap();
        let shape = StructuredShape::new(dims, m, p).unwrap();
        let mut offsets = vec![0];
        offsets.extend(rows.iter().scan(0, |sum, on| {
            *sum += on.len();
            Some(*sum)
        }));
        let (indices, ones) = (rows.concat(), vec![1.0; offsets[rows.len()]]);
        let (hessian, gram) = (vec![1.0; rows.len()], vec![0.0; m * m]);
        let decoder = Mat::zeros(m, p);
        let features = StructuredFeatures {
            offsets: &offsets,
            indices: &indices,
            phi: &ones,
            psi: &ones,
            psi_offsets: &offsets,
        };
        let system = StructuredSystem::new(
            &shape,
            RowBlocks::packed(&hessian),
            features,
            SymmetricView::row_major(&gram, m).unwrap(),
            decoder.as_ref(),
        );
        let mut local = LocalDecoder::new(&shape);
        local.refresh(&system.unwrap(), |a| alike.contains(&a));
        local
    }

    #[test]
    fn a_run_is_on_in_the_same_rows() {
        let atoms: [&[usize]; 3] = [&[0, 1, 2], &[0, 3, 4, 5], &[0, 1, 2, 3, 4, 5]];
        let all = [1, 2, 3, 4, 5];
        assert_eq!(runs(&atoms, 6, 9, &all).runs, [1..3, 3..6]);
        // Where the pairs differ none is one: 3 and 5 are not like those before them.
        assert_eq!(runs(&atoms, 6, 9, &[1, 2, 4]).runs, [1..3, 3..5]);
        // A row that has a part of a run on ends it, at its end and at its beginning.
        let part: [&[usize]; 3] = [&[0, 1, 2, 3, 4, 5], &[1, 2], &[4, 5]];
        assert_eq!(runs(&part, 6, 9, &all).runs, [1..3, 4..6]);
        let none: [&[usize]; 2] = [&[0, 2, 3], &[1, 3]];
        assert!(runs(&none, 4, 9, &all).runs.is_empty());
        assert!(runs(&[], 4, 9, &[]).runs.is_empty());
    }

    #[test]
    fn products_with_the_decoder_are_kept_and_lines_of_a_run_are_orthonormal() {
        let (on, m): ([&[usize]; 2], usize) = ([&[0, 1, 2, 3], &[0, 4, 5]], 6);
        // Fewer outputs than the run has features, as many, and more.
        for p in [1, 2, 3, 7] {
            let mut local = runs(&on, m, p, &[2, 3, 5]);
            assert_eq!(local.runs, [1..4, 4..6]);
            let entry = |a: usize, c: usize| ((3 * a + 7 * c + 1) as f64).sin();
            // Dependent lines, and one of zeros.
            let decoder = Mat::from_fn(m, p, |a, c| match a {
                3 => entry(1, c) - 2.0 * entry(2, c),
                5 => 0.0,
                a => entry(a, c),
            });
            local.form(decoder.as_ref());
            let lines = local.lines();
            for (row, psi) in on
                .iter()
                .zip([vec![0.0, 0.3, -2.0, 5.0], vec![0.5, 1.5, -0.25]])
            {
                let mut mixed = psi.clone();
                local.mix_line(row, &mut mixed);
                for c in 0..p {
                    let times = |x: &[f64], w: MatRef<'_, f64>| -> f64 {
                        x.iter().zip(*row).map(|(x, &a)| x * w[(a, c)]).sum()
                    };
                    let (got, want) = (times(&mixed, lines), times(&psi, decoder.as_ref()));
                    assert!((got - want).abs() < 16.0 * TINY, "p {p}: {got} for {want}");
                }
            }
            for (run, a, b) in local.runs.iter().flat_map(|run| {
                run.clone()
                    .flat_map(move |a| run.clone().map(move |b| (run, a, b)))
            }) {
                let dot: f64 = (0..p).map(|c| lines[(a, c)] * lines[(b, c)]).sum();
                // Line 5 is zero, line 3 dependent, and no more than p are independent.
                let kept = a == b && ![3, 5].contains(&a) && a - run.start < p;
                let want = if kept { 1.0 } else { 0.0 };
                assert!((dot - want).abs() < TINY, "p {p}: {a}, {b}: {dot}");
            }
        }
    }
}
