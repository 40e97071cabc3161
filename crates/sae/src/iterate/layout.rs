//! The layout of the ragged rows: which features and unknowns each row has under given gates.
//!
//! ```text
//! row i    features   0 | atom a (on) ...... | atom b (on) ...     indices[offsets[i] ..]
//!          unknowns       d_a                  d_b                 row_dims
//!          psi        d_i x nnz_i row-major, block diagonal by atom, psi_offsets[i] ..
//! ```
//!
//! The layout is fixed while the gates are; what changes with the coordinates is in
//! [`crate::iterate::features`]. Atoms are in order, so feature indices ascend.

use crate::data::chunk_bounds;
use crate::iterate::cones::Cone;
use crate::iterate::coordinates::Gates;
use crate::iterate::whitening::Flat;
use crate::model::dictionary::Dictionary;
use broadhead_schur::{RowDims, ShapeError, StructuredShape};

/// An atom that is on in a row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Active {
    /// The atom.
    pub(crate) atom: usize,
    /// Its amplitude.
    pub(crate) gate: f64,
    /// Its first feature within the row.
    pub(crate) feature: usize,
    /// Its first unknown within the row.
    pub(crate) unknown: usize,
}

/// See the [module](self).
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) shape: StructuredShape,
    pub(crate) offsets: Vec<usize>,
    pub(crate) indices: Vec<usize>,
    pub(crate) psi_offsets: Vec<usize>,
    active: Vec<Active>,
    active_offsets: Vec<usize>,
    flat: Vec<Flat>,
    cones: Vec<Cone>,
    /// Whether every row has every feature, so that `phi` is a dense `n x M` matrix.
    pub(crate) full: bool,
}

impl Layout {
    /// The layout of `gates` over `dictionary` for `outputs` columns of data.
    ///
    /// # Errors
    /// A size that overflows.
    pub(crate) fn new(
        dictionary: &Dictionary,
        gates: &Gates,
        outputs: usize,
    ) -> Result<Self, ShapeError> {
        let mut dims = Vec::with_capacity(gates.rows());
        let (mut offsets, mut psi_offsets, mut active_offsets) = (vec![0], vec![0], vec![0]);
        let (mut indices, mut active) = (Vec::new(), Vec::new());
        for i in 0..gates.rows() {
            let (start, mut unknown) = (indices.len(), 0);
            indices.push(0);
            for (a, gate) in gates.on(i) {
                active.push(Active {
                    atom: a,
                    gate,
                    feature: indices.len() - start,
                    unknown,
                });
                indices.extend(dictionary.atom_features(a));
                unknown += dictionary.atoms()[a].local_dim();
            }
            dims.push(unknown);
            psi_offsets.push(psi_offsets[i] + unknown * (indices.len() - start));
            offsets.push(indices.len());
            active_offsets.push(active.len());
        }
        let rows = RowDims::ragged(&dims)?;
        let unknown = |i: usize, a: usize| {
            let on = &active[active_offsets[i]..active_offsets[i + 1]];
            on.iter()
                .find(|on: &&Active| on.atom == a)
                .map_or(0, |on| on.unknown)
        };
        let flat = Flat::all(dictionary, gates, &rows, unknown);
        let cones = Cone::all(dictionary, gates, &rows, unknown);
        let features = dictionary.features();
        let full = indices.len() == gates.rows() * features;
        let shape = StructuredShape::new(rows, features, outputs)?;
        Ok(Self {
            shape,
            offsets,
            indices,
            psi_offsets,
            active,
            active_offsets,
            flat,
            cones,
            full,
        })
    }

    pub(crate) fn rows(&self) -> usize {
        self.offsets.len() - 1
    }

    /// `M`.
    pub(crate) fn features(&self) -> usize {
        self.shape.features()
    }

    /// `p`.
    pub(crate) fn outputs(&self) -> usize {
        self.shape.outputs()
    }

    pub(crate) fn row_dims(&self) -> &RowDims {
        self.shape.arrow().rows()
    }

    /// The atoms that are on in row `i`.
    pub(crate) fn active(&self, i: usize) -> &[Active] {
        &self.active[self.active_offsets[i]..self.active_offsets[i + 1]]
    }

    /// The lines among the atoms' factors.
    pub(crate) fn flat(&self) -> &[Flat] {
        &self.flat
    }

    /// The atoms with a fitted amplitude.
    pub(crate) fn cones(&self) -> &[Cone] {
        &self.cones
    }

    /// The features of row `i`.
    pub(crate) fn row_indices(&self, i: usize) -> &[usize] {
        &self.indices[self.offsets[i]..self.offsets[i + 1]]
    }

    /// Where the chunks of `chunk` rows begin in arrays of one number per feature of a row.
    pub(crate) fn feature_bounds(&self, chunk: usize) -> impl Iterator<Item = usize> + '_ {
        chunk_bounds(self.rows(), chunk).map(|i| self.offsets[i])
    }

    /// The same in `psi`.
    pub(crate) fn psi_bounds(&self, chunk: usize) -> impl Iterator<Item = usize> + '_ {
        chunk_bounds(self.rows(), chunk).map(|i| self.psi_offsets[i])
    }

    /// The same in the stacked row unknowns.
    pub(crate) fn unknown_bounds(&self, chunk: usize) -> impl Iterator<Item = usize> + '_ {
        chunk_bounds(self.rows(), chunk).map(|i| self.row_dims().offset(i))
    }

    /// The same in the packed row blocks.
    pub(crate) fn block_bounds(&self, chunk: usize) -> impl Iterator<Item = usize> + '_ {
        chunk_bounds(self.rows(), chunk).map(|i| self.row_dims().block_offset(i))
    }
}
