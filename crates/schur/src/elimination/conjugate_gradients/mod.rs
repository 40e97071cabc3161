//! Conjugate gradients on the eliminated border, never formed.
//!
//! ```math
//! S x = C x - B' D^{-1} B x, \qquad
//! X \mapsto G X - \mathrm{mat}(Q\,\mathrm{vec}(X W'))\, W \ \text{(structured)} .
//! ```
//!
//! Each direction is kept conjugate to the earlier ones, as many as a fixed number of bytes holds,
//! so that an ill-conditioned border ends in as many iterations as it has unknowns. The method
//! ends at the residual that the rounding of a product with $`S`$ leaves; from there
//! [`crate::Frame::solve`] corrects by the residual of the whole system.
//!
//! Preconditioned by $`G^{-1} \otimes I_p`$ (structured), by Cholesky factors of diagonal blocks of
//! $`S`$ (dense), or by the border's diagonal where it is known (operators). The method is that of
//! Hestenes and Stiefel (1952). A curvature $`p' S p \le 0`$ proves that $`S`$ is not positive
//! definite. There is no log-determinant: absent, not NaN.

pub(crate) mod device;
pub(crate) mod host;
pub(crate) mod work;

use crate::EliminationKind;

/// The name of conjugate gradients.
pub(crate) const KIND: EliminationKind = EliminationKind::Iterative;
