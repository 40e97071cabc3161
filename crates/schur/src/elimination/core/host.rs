//! The core of a structured system on the CPU.

mod full;
mod local_decoder;
mod pair_basis;
pub(crate) mod pairs;

use crate::elimination::{
    Elimination, EliminationKind, Factored, Pivot, SolveStats, structured_only,
};
use crate::host::blas1::largest;
use crate::host::bump::{LEAST_BUMP, least_bump};
use crate::host::cholesky::{Cholesky, FailedPivot};
use crate::host::row_blocks::RowFactors;
use crate::host::structured::{
    DecoderRoot, add_outer_times_decoder, decoder_rank, factor_gram, subtract_push,
    whiten_features, whitened_bytes,
};
use crate::{
    Error, Failure, LogDeterminant, NotPositiveDefinite, PivotSite, RhsMut, Ridge, StructuredShape,
    StructuredSystem, System, SystemShape,
};
use full::{CoreOperands, FullCore};
use pairs::PairCore;

/// The core elimination.
#[derive(Debug)]
pub struct Core {
    shape: StructuredShape,
    rows: RowFactors,
    /// $`V_i`$, in the layout of $`\Psi_i`$; over pairs, $`\tilde V_i`$.
    features: Vec<f64>,
    gram: Cholesky,
    form: Form,
}

/// The two forms of $`Z`$.
#[derive(Debug)]
enum Form {
    /// With $`R`$.
    Full(Box<FullCore>, Box<DecoderRoot>),
    Pairs(Box<PairCore>),
}

impl Form {
    fn core(&self) -> &Cholesky {
        match self {
            Self::Full(full, _) => full.core(),
            Self::Pairs(pairs) => pairs.core(),
        }
    }

    fn feature_of(&self, index: usize) -> usize {
        match self {
            Self::Full(full, _) => full.feature_of(index),
            Self::Pairs(pairs) => pairs.feature_of(index),
        }
    }
}

/// The order of the core, and whether it is that over pairs of features.
pub(crate) fn core_order(shape: &StructuredShape, pairs: usize) -> (usize, bool) {
    let full = shape.features().saturating_mul(decoder_rank(shape));
    // Forming Q over pairs costs more an entry than the product of tall matrices.
    if pairs < full / 2 {
        (pairs, true)
    } else {
        (full, false)
    }
}

impl Core {
    const KIND: EliminationKind = super::KIND;

    /// Bytes that it holds once it has factored; the part of $`V`$ follows from the mean share of
    /// features that are on.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a dense system, [`Error::ClosureOperand`] for an operator.
    pub fn bytes_needed(shape: &SystemShape) -> Result<u64, Error> {
        let (shape, density, pairs) = shape.structured_with_pairs(Self::KIND)?;
        let form = if core_order(shape, pairs).1 {
            PairCore::bytes(shape, pairs)
        } else {
            FullCore::bytes(shape).saturating_add(DecoderRoot::bytes(shape))
        };
        Ok(Self::common_bytes(shape)
            .saturating_add(form)
            .saturating_add(whitened_bytes(shape, density)))
    }

    /// Bytes of what both forms need, but for $`V`$.
    fn common_bytes(shape: &StructuredShape) -> u64 {
        RowFactors::bytes(shape.arrow().rows()).saturating_add(Cholesky::bytes(shape.features()))
    }

    /// Storage for systems of this shape.
    ///
    /// # Errors
    /// [`Error::Memory`] beyond `limit` bytes; otherwise as [`Core::bytes_needed`].
    pub fn new(shape: &SystemShape, limit: u64) -> Result<Self, Error> {
        let needed = Self::bytes_needed(shape)?;
        if needed > limit {
            return Err(Error::Memory {
                what: Self::KIND,
                needed,
                limit,
            });
        }
        let (shape, _, pairs) = shape.structured_with_pairs(Self::KIND)?;
        let form = if core_order(shape, pairs).1 {
            Form::Pairs(Box::new(PairCore::new(shape)))
        } else {
            let root = DecoderRoot::new(shape);
            Form::Full(Box::new(FullCore::new(shape)), Box::new(root))
        };
        Ok(Self {
            shape: shape.clone(),
            rows: RowFactors::new(shape.arrow().rows()),
            features: Vec::new(),
            gram: Cholesky::new(shape.features()),
            form,
        })
    }

    /// What of the core follows from the rows' factors.
    fn whiten(&mut self, system: &StructuredSystem<'_>) {
        match &mut self.form {
            Form::Full(_, root) => {
                whiten_features(system, &self.rows, &mut self.features);
                root.form(system.decoder());
            }
            Form::Pairs(pairs) => {
                pairs.whiten(system, &self.rows, &mut self.features);
                pairs.form_root(system, &self.features);
            }
        }
    }

    /// Factors $`G + \rho_\beta`$ and $`Z`$; a failed pivot says which.
    fn factor_core(
        &mut self,
        system: &StructuredSystem<'_>,
        rho: f64,
    ) -> Result<(), (CoreFactor, FailedPivot)> {
        factor_gram(system, rho, &mut self.gram).map_err(|failed| (CoreFactor::Gram, failed))?;
        let Self {
            features,
            gram,
            form,
            ..
        } = self;
        match form {
            Form::Full(full, root) => {
                let root = root.as_mat();
                let parts = CoreOperands {
                    gram,
                    root,
                    features,
                };
                full.factor(system, parts)
            }
            Form::Pairs(pairs) => pairs.factor(gram),
        }
        .map_err(|failed| (CoreFactor::Core, failed))
    }

    fn failure(
        &mut self,
        system: &StructuredSystem<'_>,
        rho: f64,
        part: CoreFactor,
        failed: FailedPivot,
    ) -> Failure {
        if !failed.value.is_finite() {
            return Error::Overflow { what: "a pivot" }.into();
        }
        let gram = system.gram().matrix();
        let scale = largest((0..gram.nrows()).map(|m| gram[(m, m)]));
        let feature = match part {
            CoreFactor::Gram => failed.index,
            CoreFactor::Core => self.form.feature_of(failed.index),
        };
        // G is inverted before the core is formed, and must leave it its digits.
        let floor = match part {
            CoreFactor::Gram => LEAST_BUMP * scale,
            CoreFactor::Core => 0.0,
        };
        let bump = least_bump(scale, floor, |bump| {
            self.factor_core(system, rho + bump).is_ok()
        });
        // The core's pivots stand for directions of the border, not for its unknowns: the first
        // unknown of their feature is named.
        let site = PivotSite::Border {
            pivot: feature * self.shape.outputs(),
        };
        NotPositiveDefinite {
            site,
            value: failed.value,
            bump,
            whole: None,
        }
        .into()
    }

    /// $`b \leftarrow S^{-1} b`$.
    fn solve_border(&self, system: &StructuredSystem<'_>, b: &mut [f64]) {
        if b.is_empty() {
            return;
        }
        match &self.form {
            Form::Full(full, root) => {
                let parts = CoreOperands {
                    gram: &self.gram,
                    root: root.as_mat(),
                    features: &self.features,
                };
                full.solve_border(system, parts, b);
            }
            Form::Pairs(pairs) => pairs.solve_border(&self.gram, b),
        }
    }
}

/// Which factor of the core failed.
#[derive(Clone, Copy, Debug)]
enum CoreFactor {
    Gram,
    Core,
}

impl Elimination for Core {
    fn kind(&self) -> EliminationKind {
        Self::KIND
    }

    fn bytes(&self) -> u64 {
        let form = match &self.form {
            Form::Full(..) => FullCore::bytes(&self.shape) + DecoderRoot::bytes(&self.shape),
            Form::Pairs(pairs) => pairs.held_bytes(&self.shape),
        };
        Self::common_bytes(&self.shape) + form + 8 * self.features.len() as u64
    }

    fn refresh(&mut self, system: &System<'_>) -> Result<(), Error> {
        let system = structured_only(Self::KIND, system)?;
        if let Form::Pairs(pairs) = &mut self.form {
            pairs.refresh(&system);
        }
        Ok(())
    }

    fn factor(&mut self, system: &System<'_>, ridge: Ridge) -> Result<Factored, Failure> {
        let system = structured_only(Self::KIND, system)?;
        let (row_log, row_pivot) = self.rows.factor(system.row_hessian(), ridge.row)?;
        self.whiten(&system);
        if let Err((part, failed)) = self.factor_core(&system, ridge.border) {
            return Err(self.failure(&system, ridge.border, part, failed));
        }
        let (p, core) = (self.shape.outputs(), self.form.core());
        let mut log_determinant = row_log;
        let mut border_log = LogDeterminant::default();
        self.gram
            .diagonal()
            .for_each(|l| border_log.add_cholesky(l, p as f64));
        core.diagonal()
            .for_each(|l| border_log.add_cholesky(l, 1.0));
        log_determinant = log_determinant + border_log;
        let gram_pivot = self.gram.min_pivot().map(|(feature, value)| Pivot {
            site: PivotSite::Border { pivot: feature * p },
            value,
        });
        // Relative to the pivot of G that it corrects: a dimensionless one in (0, 1].
        let core_pivot = core.min_pivot().map(|(index, value)| {
            let feature = self.form.feature_of(index);
            let l = self.gram.as_mat()[(feature, feature)];
            Pivot {
                site: PivotSite::Border { pivot: feature * p },
                value: value * l * l,
            }
        });
        Ok(Factored {
            log_determinant: Ok(log_determinant),
            row_pivot,
            border_pivot: Pivot::least(gram_pivot, core_pivot),
        })
    }

    fn factors(&mut self, system: &System<'_>, ridge: Ridge) -> Result<bool, Error> {
        let system = structured_only(Self::KIND, system)?;
        if !self.rows.try_factor(system.row_hessian(), ridge.row) {
            return Ok(false);
        }
        self.whiten(&system);
        Ok(self.factor_core(&system, ridge.border).is_ok())
    }

    fn solve(&mut self, system: &System<'_>, mut rhs: RhsMut<'_>) -> Result<SolveStats, Failure> {
        let system = structured_only(Self::KIND, system)?;
        rhs.check(system.shape())?;
        for j in 0..rhs.count {
            let RhsMut { row, border, .. } = rhs.column(j);
            let mut t = row.to_vec();
            self.rows.solve_lower(&mut t);
            self.rows.solve_upper(&mut t);
            let outer = system.feature_outer(&t);
            add_outer_times_decoder(outer.as_ref(), system.decoder(), -1.0, border);
            self.solve_border(&system, border);
            subtract_push(&system, border, row);
            self.rows.solve_lower(row);
            self.rows.solve_upper(row);
        }
        Ok(SolveStats::default())
    }
}
