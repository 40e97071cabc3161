//! The core of a structured system.
//!
//! With $`\tilde\phi_i = L_G^{-1} \phi_i`$, $`X_i = L_i^{-1} \Psi_i R`$, $`F = L_G^{-T} \otimes R`$ and
//! $`Q = \sum_i (\phi_i \phi_i') \otimes (V_i' V_i)`$ the eliminated border is
//! $`S = G \otimes I_p - (I \otimes W') Q (I \otimes W)`$, and Woodbury's identity leaves
//!
//! ```math
//! Z = I - F' Q F = I - \sum_i (\tilde\phi_i \tilde\phi_i') \otimes (X_i' X_i),
//! ```
//!
//! of order $`M r`$ with $`r = \min(M, p)`$, whatever $`p`$ is: one circle is a 9 x 9 matrix.
//! Where features are sparse, $`Q`$ lives on the few pairs of features that are on together, and a
//! core over those pairs is smaller still. Both forms give the same solutions and determinants;
//! the shape decides which is used.
//!
//! ```math
//! \log|H| = 2 \sum \log \mathrm{diag} L_i + p \log|G| + \log|Z|,
//! ```
//! ```math
//! S^{-1} b:\ y = G^{-1} b,\ z = \mathrm{vec}(y W'),\ w = Q z,\ v = w + Q F Z^{-1} F' w,\
//! S^{-1} b = y + G^{-1}(\mathrm{mat}(v) W) .
//! ```

pub(crate) mod device;
pub(crate) mod host;
pub(crate) mod work;

use crate::EliminationKind;

/// The name of the core.
pub(crate) const KIND: EliminationKind = EliminationKind::Core;
