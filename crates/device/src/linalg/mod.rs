//! Dense linear algebra of the vendor's libraries: small safe wrappers in FP64.
//!
//! Matrices are column-major, as LAPACK's: entry (i, j) lies at `j leading + i`. A row-major matrix
//! is the transpose of a column-major one. Every call checks shapes and streams before it submits,
//! runs on the stream's own handles and counts as one submission.
//!
//! | module | calls |
//! |---|---|
//! | [`matrix`] | views with a layout |
//! | [`product`] | gemm, strided batches of it, gemv, symv, syrk |
//! | [`triangular`] | trsm, trsmBatched, trtri |
//! | [`cholesky`] | potrf, potrfBatched |
//! | [`inverse`] | the inverse of a triangular matrix |

pub(crate) mod cholesky;
pub(crate) mod inverse;
pub(crate) mod matrix;
pub(crate) mod product;
pub(crate) mod triangular;

use cudarc::cublas::sys as blas;
use cudarc::cusolver::sys as solver;

/// Which half of a square matrix is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Triangle {
    /// Row >= column.
    Lower,
    /// Row <= column.
    Upper,
}

/// On which side the triangular matrix stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// `A X = B`.
    Left,
    /// `X A = B`.
    Right,
}

impl Triangle {
    fn blas(self) -> blas::cublasFillMode_t {
        match self {
            Self::Lower => blas::cublasFillMode_t::CUBLAS_FILL_MODE_LOWER,
            Self::Upper => blas::cublasFillMode_t::CUBLAS_FILL_MODE_UPPER,
        }
    }

    fn solver(self) -> solver::cublasFillMode_t {
        match self {
            Self::Lower => solver::cublasFillMode_t::CUBLAS_FILL_MODE_LOWER,
            Self::Upper => solver::cublasFillMode_t::CUBLAS_FILL_MODE_UPPER,
        }
    }
}

impl Side {
    fn blas(self) -> blas::cublasSideMode_t {
        match self {
            Self::Left => blas::cublasSideMode_t::CUBLAS_SIDE_LEFT,
            Self::Right => blas::cublasSideMode_t::CUBLAS_SIDE_RIGHT,
        }
    }
}
