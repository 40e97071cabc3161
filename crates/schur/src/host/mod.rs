//! What the eliminations share on the CPU: vectors and registers, tasks of the pool, Cholesky factors and triangular
//! solves, the factors of the rows and of structured systems, condition estimates, bumps of a ridge, and the work that
//! these count.

pub(crate) mod blas1;
pub(crate) mod blas_many;
pub(crate) mod bump;
pub(crate) mod cholesky;
pub(crate) mod condition;
pub(crate) mod interleaved;
pub(crate) mod parallel;
pub(crate) mod registers;
pub(crate) mod row_blocks;
pub(crate) mod small_cholesky;
pub(crate) mod structured;
pub(crate) mod trsm;
pub(crate) mod trsv;
pub(crate) mod update;
pub(crate) mod wavefront;
pub(crate) mod work;
