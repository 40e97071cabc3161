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
use std::sync::Arc;

/// An atom that is on in a row.
#[derive(Clone, Copy, Debug, PartialEq)]
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

/// A row that an atom is on in, and the atom's first unknown in the stacked vector.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowOn {
    pub(crate) row: usize,
    pub(crate) unknown: usize,
}

/// See the [module](self).
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) shape: StructuredShape,
    pub(crate) offsets: Vec<usize>,
    pub(crate) indices: Vec<usize>,
    pub(crate) psi_offsets: Vec<usize>,
    /// The atoms that are on, row by row.
    on: Vec<u32>,
    on_offsets: Vec<usize>,
    /// Their amplitudes; none where all are 1.
    gates: Vec<f64>,
    /// Features and unknowns of every atom.
    extents: Vec<[usize; 2]>,
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
        let atoms = dictionary.atoms();
        let extents: Vec<_> = (atoms.iter())
            .map(|atom| [atom.width(), atom.local_dim()])
            .collect();
        // Counted first: rows are many, and a vector that grows is as large again.
        let n = gates.rows();
        let (mut count, mut entries, mut even) = (0, n, true);
        let mut own = vec![0; atoms.len()];
        let mut at_one = own.clone();
        for (a, gate) in (0..n).flat_map(|i| gates.on(i)) {
            count += 1;
            entries += extents[a][0];
            own[a] += 1;
            at_one[a] += usize::from(gate == 1.0);
            even &= gate == 1.0;
        }
        let mut rows_of: Vec<Vec<RowOn>> = (atoms.iter().zip(&own))
            .map(|(atom, &own)| match atom.has_scale() {
                true => Vec::with_capacity(own),
                false => Vec::new(),
            })
            .collect();
        let mut indices = Vec::with_capacity(entries);
        let mut on = Vec::with_capacity(count);
        let mut amplitudes = Vec::with_capacity(if even { 0 } else { count });
        let mut dims = Vec::with_capacity(n);
        let [mut offsets, mut psi_offsets, mut on_offsets] = std::array::from_fn(|_| {
            let mut bounds = Vec::with_capacity(n + 1);
            bounds.push(0);
            bounds
        });
        let mut before = 0;
        for i in 0..n {
            let (start, mut unknown) = (indices.len(), 0);
            indices.push(0);
            for (a, gate) in gates.on(i) {
                on.push(a as u32);
                if !even {
                    amplitudes.push(gate);
                }
                indices.extend(dictionary.atom_features(a));
                if atoms[a].has_scale() {
                    rows_of[a].push(RowOn {
                        row: i,
                        unknown: before + unknown,
                    });
                }
                unknown += extents[a][1];
            }
            before += unknown;
            dims.push(unknown);
            psi_offsets.push(psi_offsets[i] + unknown * (indices.len() - start));
            offsets.push(indices.len());
            on_offsets.push(on.len());
        }
        let rows = RowDims::ragged(&dims)?;
        drop(dims);
        let rows_of: Vec<Arc<[RowOn]>> = rows_of.into_iter().map(Arc::from).collect();
        let flat = Flat::all(dictionary, &rows_of, |a| at_one[a] == n);
        let cones = Cone::all(dictionary, &rows_of);
        let features = dictionary.features();
        let full = indices.len() == gates.rows() * features;
        let shape = StructuredShape::new(rows, features, outputs)?;
        Ok(Self {
            shape,
            offsets,
            indices,
            psi_offsets,
            on,
            on_offsets,
            gates: amplitudes,
            extents,
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
    pub(crate) fn active(&self, i: usize) -> impl Iterator<Item = Active> + Clone + '_ {
        let entries = self.on_offsets[i]..self.on_offsets[i + 1];
        // The intercept is before all atoms.
        let (mut feature, mut unknown) = (1, 0);
        entries.map(move |entry| {
            let atom = self.on[entry] as usize;
            let on = Active {
                atom,
                gate: self.gates.get(entry).copied().unwrap_or(1.0),
                feature,
                unknown,
            };
            let [width, dim] = self.extents[atom];
            (feature, unknown) = (feature + width, unknown + dim);
            on
        })
    }

    /// The lines among the atoms' factors.
    pub(crate) fn flat(&self) -> &[Flat] {
        &self.flat
    }

    /// The atoms with a fitted amplitude.
    pub(crate) fn cones(&self) -> &[Cone] {
        &self.cones
    }

    /// Room for `psi`. Its entries off the blocks of atoms stay zero.
    pub(crate) fn slopes(&self) -> Vec<f64> {
        vec![0.0; self.psi_offsets[self.rows()]]
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
