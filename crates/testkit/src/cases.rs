//! Systems that own their numbers, of each kind.

use broadhead_schur::{
    ArrowShape, ArrowVector, BorderProduct, CrossProduct, CrossView, DenseSystem, OperatorSystem,
    RowBlocks, RowDims, StructuredFeatures, StructuredShape, StructuredSystem, SymmetricView,
    System,
};
use faer::MatRef;

/// A dense system: $`D_i`$ packed, $`B`$ `N x k` and $`C`$ `k x k` row-major.
#[derive(Clone, Debug)]
pub struct DenseCase {
    /// Its shape.
    pub shape: ArrowShape,
    /// $`D_i`$, block after block, row-major.
    pub row_hessian: Vec<f64>,
    /// $`B`$, row-major.
    pub row_cross: Vec<f64>,
    /// $`C`$, row-major.
    pub border_hessian: Vec<f64>,
}

impl DenseCase {
    /// All zeros.
    ///
    /// # Panics
    /// Where the shape cannot be.
    pub fn zeros(dims: &[usize], k: usize) -> Self {
        let rows = RowDims::ragged(dims).expect("small sizes");
        let shape = ArrowShape::new(rows, k).expect("small sizes");
        Self {
            row_hessian: vec![0.0; shape.rows().block_len()],
            row_cross: vec![0.0; shape.row_unknowns() * k],
            border_hessian: vec![0.0; k * k],
            shape,
        }
    }

    /// As a system.
    pub fn system(&self) -> System<'_> {
        self.dense().into()
    }

    /// As a dense system.
    ///
    /// # Panics
    /// Where its arrays were given other lengths.
    pub fn dense(&self) -> DenseSystem<'_> {
        let (n, k) = (self.shape.row_unknowns(), self.shape.border());
        DenseSystem::new(
            &self.shape,
            RowBlocks::packed(&self.row_hessian),
            CrossView::row_major(&self.row_cross, n, k).expect("N k numbers"),
            SymmetricView::row_major(&self.border_hessian, k).expect("k k numbers"),
        )
        .expect("arrays of its shape")
    }

    /// Entry `(a, b)` of $`D_i`$, `b <= a`.
    pub fn d(&self, i: usize, a: usize, b: usize) -> f64 {
        let rows = self.shape.rows();
        self.row_hessian[rows.block_offset(i) + a * rows.dim(i) + b]
    }

    /// Entry `(a, b)` of $`D_i`$, to be written.
    pub fn d_mut(&mut self, i: usize, a: usize, b: usize) -> &mut f64 {
        let rows = self.shape.rows();
        &mut self.row_hessian[rows.block_offset(i) + a * rows.dim(i) + b]
    }

    /// Row `u` of $`B`$.
    pub fn b(&self, u: usize) -> &[f64] {
        let k = self.shape.border();
        &self.row_cross[u * k..(u + 1) * k]
    }

    /// The numbers of unknowns of the rows.
    pub fn dims(&self) -> Vec<usize> {
        let rows = self.shape.rows();
        (0..rows.rows()).map(|i| rows.dim(i)).collect()
    }

    /// Every number times `scale`.
    #[must_use]
    pub fn scaled(mut self, scale: f64) -> Self {
        for array in [
            &mut self.row_hessian,
            &mut self.row_cross,
            &mut self.border_hessian,
        ] {
            array.iter_mut().for_each(|x| *x *= scale);
        }
        self
    }

    /// $`E H E`$ for the diagonal matrix of `row` and `border`.
    #[must_use]
    pub fn rescaled(mut self, e: &ArrowVector) -> Self {
        let (rows, k) = (self.shape.rows().clone(), self.shape.border());
        for i in 0..rows.rows() {
            let (start, d) = (rows.offset(i), rows.dim(i));
            for a in 0..d {
                for b in 0..d {
                    self.row_hessian[rows.block_offset(i) + a * d + b] *=
                        e.row[start + a] * e.row[start + b];
                }
            }
        }
        for (u, line) in self.row_cross.chunks_exact_mut(k.max(1)).enumerate() {
            for (x, e_b) in line.iter_mut().zip(&e.border) {
                *x *= e.row[u] * e_b;
            }
        }
        for (a, line) in self.border_hessian.chunks_exact_mut(k.max(1)).enumerate() {
            for (x, e_b) in line.iter_mut().zip(&e.border) {
                *x *= e.border[a] * e_b;
            }
        }
        self
    }

    /// The strict upper triangles filled with `value`.
    #[must_use]
    pub fn with_upper(mut self, value: f64) -> Self {
        let dims = self.dims();
        for (i, &d) in dims.iter().enumerate() {
            for a in 0..d {
                for b in a + 1..d {
                    *self.d_mut(i, a, b) = value;
                }
            }
        }
        let k = self.shape.border();
        for a in 0..k {
            self.border_hessian[a * k + a + 1..(a + 1) * k].fill(value);
        }
        self
    }

    /// The upper triangles made equal to the lower ones.
    #[must_use]
    pub fn symmetrized(mut self) -> Self {
        let dims = self.dims();
        for (i, &d) in dims.iter().enumerate() {
            for a in 0..d {
                for b in a + 1..d {
                    *self.d_mut(i, a, b) = self.d(i, b, a);
                }
            }
        }
        let k = self.shape.border();
        for a in 0..k {
            for b in a + 1..k {
                self.border_hessian[a * k + b] = self.border_hessian[b * k + a];
            }
        }
        self
    }

    /// Row `i` of the result is row `order[i]` of this.
    #[must_use]
    pub fn permuted(&self, order: &[usize]) -> Self {
        let dims = self.dims();
        let new_dims: Vec<_> = order.iter().map(|&i| dims[i]).collect();
        let (mut out, rows) = (
            Self::zeros(&new_dims, self.shape.border()),
            self.shape.rows(),
        );
        out.row_hessian.clear();
        out.row_cross.clear();
        let k = self.shape.border();
        for &i in order {
            out.row_hessian
                .extend(&self.row_hessian[rows.block_offset(i)..rows.block_offset(i + 1)]);
            out.row_cross
                .extend(&self.row_cross[rows.offset(i) * k..rows.offset(i + 1) * k]);
        }
        out.border_hessian.clone_from(&self.border_hessian);
        out
    }
}

/// A structured system: sparse features, $`G`$ and $`W`$ row-major.
#[derive(Clone, Debug)]
pub struct StructuredCase {
    /// Its shape.
    pub shape: StructuredShape,
    /// $`D_i`$, packed.
    pub row_hessian: Vec<f64>,
    /// Where each row's features begin.
    pub offsets: Vec<usize>,
    /// The features that are on.
    pub indices: Vec<usize>,
    /// $`\phi`$ at them.
    pub phi: Vec<f64>,
    /// $`\Psi`$ at them, `d_i x nnz_i` row-major.
    pub psi: Vec<f64>,
    /// Where each row's $`\Psi`$ begins.
    pub psi_offsets: Vec<usize>,
    /// $`G`$, `M x M` row-major.
    pub gram: Vec<f64>,
    /// $`W`$, `M x p` row-major.
    pub decoder: Vec<f64>,
}

impl StructuredCase {
    /// As a system.
    pub fn system(&self) -> System<'_> {
        self.structured().into()
    }

    /// The features.
    pub fn features(&self) -> StructuredFeatures<'_> {
        StructuredFeatures {
            offsets: &self.offsets,
            indices: &self.indices,
            phi: &self.phi,
            psi: &self.psi,
            psi_offsets: &self.psi_offsets,
        }
    }

    /// As a structured system.
    ///
    /// # Panics
    /// Where its arrays were given other lengths.
    pub fn structured(&self) -> StructuredSystem<'_> {
        let (m, p) = (self.shape.features(), self.shape.outputs());
        StructuredSystem::new(
            &self.shape,
            RowBlocks::packed(&self.row_hessian),
            self.features(),
            SymmetricView::row_major(&self.gram, m).expect("M M numbers"),
            MatRef::from_row_major_slice(&self.decoder, m, p),
        )
        .expect("arrays of its shape")
    }

    /// $`J_i`$, `d_i x p` row-major.
    pub fn jacobian(&self, i: usize) -> Vec<f64> {
        let (rows, p) = (self.shape.arrow().rows(), self.shape.outputs());
        let on = &self.indices[self.offsets[i]..self.offsets[i + 1]];
        let mut out = vec![0.0; rows.dim(i) * p];
        for a in 0..rows.dim(i) {
            for (j, &f) in on.iter().enumerate() {
                let psi = self.psi[self.psi_offsets[i] + a * on.len() + j];
                for c in 0..p {
                    out[a * p + c] += psi * self.decoder[f * p + c];
                }
            }
        }
        out
    }

    /// $`D_i \leftarrow J_i J_i'`$.
    pub fn fill_row_hessian(&mut self) {
        let (rows, p) = (self.shape.arrow().rows().clone(), self.shape.outputs());
        for i in 0..rows.rows() {
            let (j, d) = (self.jacobian(i), rows.dim(i));
            for a in 0..d {
                for b in 0..d {
                    self.row_hessian[rows.block_offset(i) + a * d + b] =
                        (0..p).map(|c| j[a * p + c] * j[b * p + c]).sum();
                }
            }
        }
    }

    /// $`D_i`$ that of its decoder and features, with `margin` on the diagonal.
    #[must_use]
    pub fn with_margin(mut self, margin: f64) -> Self {
        self.fill_row_hessian();
        let rows = self.shape.arrow().rows();
        for i in 0..rows.rows() {
            for a in 0..rows.dim(i) {
                self.row_hessian[rows.block_offset(i) + a * (rows.dim(i) + 1)] += margin;
            }
        }
        self
    }

    /// The same operator with $`B`$ and $`C`$ written out.
    pub fn expanded(&self) -> DenseCase {
        let (rows, p) = (self.shape.arrow().rows(), self.shape.outputs());
        let (m, k) = (self.shape.features(), self.shape.arrow().border());
        let dims: Vec<_> = (0..rows.rows()).map(|i| rows.dim(i)).collect();
        let mut out = DenseCase::zeros(&dims, k);
        out.row_hessian.clone_from(&self.row_hessian);
        for i in 0..rows.rows() {
            let jacobian = self.jacobian(i);
            for a in 0..rows.dim(i) {
                let line = (rows.offset(i) + a) * k;
                for at in self.offsets[i]..self.offsets[i + 1] {
                    for c in 0..p {
                        out.row_cross[line + self.indices[at] * p + c] =
                            self.phi[at] * jacobian[a * p + c];
                    }
                }
            }
        }
        for a in 0..m {
            for b in 0..=a {
                for c in 0..p {
                    out.border_hessian[(a * p + c) * k + b * p + c] = self.gram[a * m + b];
                }
            }
        }
        out.symmetrized_border()
    }

    /// The strict upper triangles filled with `value`.
    #[must_use]
    pub fn with_upper(mut self, value: f64) -> Self {
        let (rows, m) = (self.shape.arrow().rows().clone(), self.shape.features());
        for i in 0..rows.rows() {
            let d = rows.dim(i);
            for a in 0..d {
                for b in a + 1..d {
                    self.row_hessian[rows.block_offset(i) + a * d + b] = value;
                }
            }
        }
        for a in 0..m {
            self.gram[a * m + a + 1..(a + 1) * m].fill(value);
        }
        self
    }

    /// $`D`$ and $`G`$ times `scale^2`, $`\Psi`$ and $`\phi`$ times `scale`: $`H`$ but for $`B`$, which
    /// takes `scale^2` from its two factors, so all of $`H`$ times `scale^2`.
    #[must_use]
    pub fn scaled(mut self, scale: f64) -> Self {
        for x in self.row_hessian.iter_mut().chain(&mut self.gram) {
            *x *= scale * scale;
        }
        for x in self.phi.iter_mut().chain(&mut self.psi) {
            *x *= scale;
        }
        self
    }

    /// The same operator with every feature held in every row, those that were off as zeros.
    #[must_use]
    pub fn with_all_held(&self) -> Self {
        let (rows, m) = (self.shape.arrow().rows(), self.shape.features());
        let mut out = Self {
            offsets: (0..=rows.rows()).map(|i| i * m).collect(),
            indices: (0..rows.rows()).flat_map(|_| 0..m).collect(),
            phi: vec![0.0; rows.rows() * m],
            psi: vec![0.0; rows.unknowns() * m],
            psi_offsets: (0..=rows.rows()).map(|i| rows.offset(i) * m).collect(),
            ..self.clone()
        };
        for i in 0..rows.rows() {
            let on = &self.indices[self.offsets[i]..self.offsets[i + 1]];
            for (j, &f) in on.iter().enumerate() {
                out.phi[i * m + f] = self.phi[self.offsets[i] + j];
                for a in 0..rows.dim(i) {
                    out.psi[out.psi_offsets[i] + a * m + f] =
                        self.psi[self.psi_offsets[i] + a * on.len() + j];
                }
            }
        }
        out
    }

    /// The same system with feature `f` in units of `1 / scale[f]`: $`\phi`$ and $`\Psi`$ times `scale`, the
    /// decoder divided by it. $`D`$ is the same, the border is rescaled.
    #[must_use]
    pub fn in_units(mut self, scale: &[f64]) -> Self {
        let (rows, m) = (self.shape.arrow().rows(), self.shape.features());
        for i in 0..rows.rows() {
            let on = self.offsets[i]..self.offsets[i + 1];
            for (j, at) in on.clone().enumerate() {
                let scale = scale[self.indices[at]];
                self.phi[at] *= scale;
                for a in 0..rows.dim(i) {
                    self.psi[self.psi_offsets[i] + a * on.len() + j] *= scale;
                }
            }
        }
        for a in 0..m {
            for b in 0..m {
                self.gram[a * m + b] *= scale[a] * scale[b];
            }
        }
        let lines = self.decoder.chunks_exact_mut(self.shape.outputs().max(1));
        for (line, scale) in lines.zip(scale) {
            line.iter_mut().for_each(|w| *w /= scale);
        }
        self
    }

    /// Row `i` of the result is row `order[i]` of this.
    #[must_use]
    pub fn permuted(&self, order: &[usize]) -> Self {
        let rows = self.shape.arrow().rows();
        let dims: Vec<_> = order.iter().map(|&i| rows.dim(i)).collect();
        let mut out = self.clone();
        out.shape = StructuredShape::new(
            RowDims::ragged(&dims).expect("small sizes"),
            self.shape.features(),
            self.shape.outputs(),
        )
        .expect("small sizes");
        for array in [&mut out.row_hessian, &mut out.phi, &mut out.psi] {
            array.clear();
        }
        out.indices.clear();
        out.offsets.truncate(1);
        out.psi_offsets.truncate(1);
        for &i in order {
            let on = self.offsets[i]..self.offsets[i + 1];
            out.row_hessian
                .extend(&self.row_hessian[rows.block_offset(i)..rows.block_offset(i + 1)]);
            out.indices.extend(&self.indices[on.clone()]);
            out.phi.extend(&self.phi[on]);
            out.psi
                .extend(&self.psi[self.psi_offsets[i]..self.psi_offsets[i + 1]]);
            out.offsets.push(out.indices.len());
            out.psi_offsets.push(out.psi.len());
        }
        out
    }
}

impl DenseCase {
    fn symmetrized_border(mut self) -> Self {
        let k = self.shape.border();
        for a in 0..k {
            for b in a + 1..k {
                self.border_hessian[a * k + b] = self.border_hessian[b * k + a];
            }
        }
        self
    }
}

/// A dense case that shows its products alone.
#[derive(Clone, Debug)]
pub struct OperatorCase {
    /// The numbers behind the products.
    pub hidden: DenseCase,
    /// The diagonal of $`C`$, where it is given.
    pub diagonal: Option<Vec<f64>>,
}

impl OperatorCase {
    /// Hides `case`, whose border's upper triangle is not read; its diagonal is given.
    pub fn new(case: DenseCase) -> Self {
        let (k, hidden) = (case.shape.border(), case.symmetrized_border());
        Self {
            diagonal: Some((0..k).map(|j| hidden.border_hessian[j * (k + 1)]).collect()),
            hidden,
        }
    }

    /// As a system.
    ///
    /// # Panics
    /// Where the diagonal was given another length.
    pub fn system(&self) -> System<'_> {
        let hidden = &self.hidden;
        let blocks = RowBlocks::packed(&hidden.row_hessian);
        let diagonal = self.diagonal.as_deref();
        OperatorSystem::new(&hidden.shape, blocks, self, self, diagonal)
            .expect("arrays of its shape")
            .into()
    }
}

impl CrossProduct for OperatorCase {
    fn apply(&self, x: &[f64], y: &mut [f64]) {
        for (u, y) in y.iter_mut().enumerate() {
            *y = self.hidden.b(u).iter().zip(x).map(|(b, x)| b * x).sum();
        }
    }

    fn apply_transpose(&self, x: &[f64], y: &mut [f64]) {
        y.fill(0.0);
        for (u, x) in x.iter().enumerate() {
            for (y, b) in y.iter_mut().zip(self.hidden.b(u)) {
                *y += b * x;
            }
        }
    }
}

impl BorderProduct for OperatorCase {
    fn apply(&self, x: &[f64], y: &mut [f64]) {
        let lines = self.hidden.border_hessian.chunks_exact(x.len().max(1));
        for (y, line) in y.iter_mut().zip(lines) {
            *y = line.iter().zip(x).map(|(c, x)| c * x).sum();
        }
    }
}

/// A case of any kind.
#[derive(Clone, Debug)]
pub enum Case {
    /// Dense.
    Dense(DenseCase),
    /// Structured.
    Structured(StructuredCase),
    /// Known by its products.
    Operator(OperatorCase),
}

impl Case {
    /// As a system.
    pub fn system(&self) -> System<'_> {
        match self {
            Self::Dense(case) => case.system(),
            Self::Structured(case) => case.system(),
            Self::Operator(case) => case.system(),
        }
    }

    /// With every entry of $`H`$ written out.
    pub fn expanded(&self) -> DenseCase {
        match self {
            Self::Dense(case) => case.clone(),
            Self::Structured(case) => case.expanded(),
            Self::Operator(case) => case.hidden.clone(),
        }
    }

    /// $`H`$ times `scale^2`.
    #[must_use]
    pub fn scaled(self, scale: f64) -> Self {
        match self {
            Self::Dense(case) => Self::Dense(case.scaled(scale).scaled(scale)),
            Self::Structured(case) => Self::Structured(case.scaled(scale)),
            Self::Operator(case) => {
                Self::Operator(OperatorCase::new(case.hidden.scaled(scale).scaled(scale)))
            }
        }
    }

    /// Row `i` of the result is row `order[i]` of this.
    #[must_use]
    pub fn permuted(&self, order: &[usize]) -> Self {
        match self {
            Self::Dense(case) => Self::Dense(case.permuted(order)),
            Self::Structured(case) => Self::Structured(case.permuted(order)),
            Self::Operator(case) => Self::Operator(OperatorCase::new(case.hidden.permuted(order))),
        }
    }

    /// The strict upper triangles filled with `value` (an operator has that of $`D`$ alone).
    #[must_use]
    pub fn with_upper(self, value: f64) -> Self {
        match self {
            Self::Dense(case) => Self::Dense(case.with_upper(value)),
            Self::Structured(case) => Self::Structured(case.with_upper(value)),
            Self::Operator(case) => {
                let hidden = case.hidden.clone().with_upper(value);
                Self::Operator(OperatorCase {
                    hidden: DenseCase {
                        border_hessian: case.hidden.border_hessian,
                        ..hidden
                    },
                    ..case
                })
            }
        }
    }
}
