//! Inverse of a lower triangular matrix by doubling: all of it matrix products but the tiles.
//!
//! ```text
//!   [ L11      ]^-1   [ W11                ]
//!   [ L21  L22 ]    = [ -W22 L21 W11   W22 ]
//! ```
//! The diagonal tiles are inverted at once by one kernel; then pairs of neighbours are joined, all
//! pairs of one size in one batch of products, until one is left. The products skip the halves of
//! `W11` and `W22` that are zero where they are large enough to matter. The library's own
//! inverse (`trtri`) takes several times as long at orders of a few thousand.

use super::matrix::{MatrixMut, touched};
use crate::declares;
use crate::fault::{Result, expect_shape};
use crate::kernels::{Geometry, KernelSource};
use crate::runtime::handles::blas_answer;
use crate::runtime::stream::Stream;
use cudarc::cublas::sys as blas;

pub(crate) const SOURCE: KernelSource = KernelSource {
    name: "inverse.cu",
    text: include_str!("inverse.cu"),
    declares: declares![int LARGEST_LEAF, int THREADS],
    entries: &["inverse_leaves", "inverse_clear", "inverse_mirror"],
    options: &[],
};

/// The largest tile that the kernel inverts.
pub const LARGEST_LEAF: usize = 64;
/// Threads of a block of the other kernels.
const THREADS: u32 = 256;
/// Products of blocks at least this large skip the zero quarter.
const SPLIT: usize = 256;

/// One product of a batch: `C = alpha A B`, addresses of the first, distances of the next.
struct Product {
    shape: (usize, usize, usize),
    alpha: f64,
    a: (u64, usize, usize),
    b: (u64, usize, usize),
    c: (u64, usize, usize),
    count: usize,
}

impl Stream {
    /// The lower triangle of `v` becomes `L^-1`, its upper triangle the transpose of that (they
    /// share the diagonal). Of `l` the lower triangle is read; its strict upper triangle is
    /// scratch. The order is `leaf` times a power of two, `leaf` at most [`LARGEST_LEAF`].
    ///
    /// # Errors
    /// A [`Refusal`](crate::Refusal) where shapes or streams differ; a [`Fault`](crate::Fault).
    pub fn triangular_inverse(
        &self,
        l: &mut MatrixMut<'_>,
        v: &mut MatrixMut<'_>,
        leaf: usize,
    ) -> Result<()> {
        let what = "triangular_inverse";
        let n = l.layout.rows as usize;
        let order = l.layout.rows;
        expect_shape(l.layout.is_square(order), what, "a square L", l.layout)?;
        let expected = format_args!("V of {order} x {order}").to_string();
        expect_shape(v.layout.is_square(order), what, expected, v.layout)?;
        let doubles = (1..=LARGEST_LEAF).contains(&leaf)
            && n.is_multiple_of(leaf)
            && (n / leaf).is_power_of_two();
        let expected = format_args!("an order of {leaf} times a power of two").to_string();
        expect_shape(doubles, what, expected, n)?;
        touched(self, what, [l.operand(), v.operand()])?;
        self.inverse_tiles(l, v, leaf)?;
        let mut size = leaf;
        while size < n {
            self.join(l, v, size)?;
            size *= 2;
        }
        let module = self.context().module(&SOURCE)?;
        let tiles = n.div_ceil(32) as u32;
        let geometry = Geometry {
            grid: [tiles, tiles, 1],
            block: [32, 8, 1],
            ..Geometry::line(1, 1)
        };
        let ldv = i64::from(v.layout.leading);
        let launch = module.kernel("inverse_mirror")?.launch(self, geometry);
        let launch = launch.write(v.view.reborrow()).scalar(ldv).scalar(order);
        // SAFETY: the arguments are those of the source, which stays inside n columns of `ldv`.
        unsafe { launch.submit() }
    }

    fn inverse_tiles(
        &self,
        l: &mut MatrixMut<'_>,
        v: &mut MatrixMut<'_>,
        leaf: usize,
    ) -> Result<()> {
        let module = self.context().module(&SOURCE)?;
        let n = l.layout.rows as u32;
        let (ldl, ldv) = (i64::from(l.layout.leading), i64::from(v.layout.leading));
        let clear = Geometry {
            grid: [n.div_ceil(THREADS), n, 1],
            ..Geometry::line(1, THREADS)
        };
        let launch = module.kernel("inverse_clear")?.launch(self, clear);
        let launch = launch.write(v.view.reborrow()).scalar(ldv);
        // SAFETY: the arguments are those of the source, which stays inside n columns of `ldv`.
        unsafe { launch.scalar(leaf as i32).scalar(n as i32).submit()? };
        let geometry = Geometry::line(n / leaf as u32, LARGEST_LEAF as u32);
        let launch = module.kernel("inverse_leaves")?.launch(self, geometry);
        let launch = launch.read(l.view.as_view()).scalar(ldl);
        let launch = launch.write(v.view.reborrow()).scalar(ldv);
        // SAFETY: as above; a tile has at most as many columns as the block threads.
        unsafe { launch.scalar(leaf as i32).submit() }
    }

    /// Joins all pairs of neighbouring inverted blocks of order `s`.
    fn join(&self, l: &mut MatrixMut<'_>, v: &mut MatrixMut<'_>, s: usize) -> Result<()> {
        let (n, ldl, ldv) = (
            l.layout.rows as usize,
            l.layout.leading as usize,
            v.layout.leading as usize,
        );
        let count = n / (2 * s);
        let of_l = |i: usize, j: usize| {
            let at = l.view.pointer() + 8 * (i + j * ldl) as u64;
            (at, ldl, 2 * s * (ldl + 1))
        };
        let of_v = |i: usize, j: usize| {
            let at = v.view.pointer() + 8 * (i + j * ldv) as u64;
            (at, ldv, 2 * s * (ldv + 1))
        };
        let product = |shape, alpha, a, b, c| {
            self.batch_product(&Product {
                shape,
                alpha,
                a,
                b,
                c,
                count,
            })
        };
        // T = L21 W11, in L12's place; W21 = -W22 T.
        if s < SPLIT || !s.is_multiple_of(2) {
            product((s, s, s), 1.0, of_l(s, 0), of_v(0, 0), of_l(0, s))?;
            return product((s, s, s), -1.0, of_v(s, s), of_l(0, s), of_v(s, 0));
        }
        let h = s / 2;
        product((s, h, s), 1.0, of_l(s, 0), of_v(0, 0), of_l(0, s))?;
        product((s, h, h), 1.0, of_l(s, h), of_v(h, h), of_l(0, s + h))?;
        product((h, s, h), -1.0, of_v(s, s), of_l(0, s), of_v(s, 0))?;
        product((h, s, s), -1.0, of_v(s + h, s), of_l(0, s), of_v(s + h, 0))
    }

    fn batch_product(&self, product: &Product) -> Result<()> {
        let &Product {
            shape: (m, n, k),
            alpha,
            a,
            b,
            c,
            count,
        } = product;
        let beta = 0.0;
        let plain = blas::cublasOperation_t::CUBLAS_OP_N;
        self.with_handles(|handles| {
            // SAFETY: every block lies inside the matrices that the caller checked; what is
            // written (above the diagonal of L, or a block of V whose inverse is not made yet) is
            // not read by the same product; alpha and beta are read before the call returns.
            let status = unsafe {
                blas::cublasDgemmStridedBatched(
                    handles.blas,
                    plain,
                    plain,
                    m as i32,
                    n as i32,
                    k as i32,
                    &alpha,
                    a.0 as *const f64,
                    a.1 as i32,
                    a.2 as i64,
                    b.0 as *const f64,
                    b.1 as i32,
                    b.2 as i64,
                    &beta,
                    c.0 as *mut f64,
                    c.1 as i32,
                    c.2 as i64,
                    count as i32,
                )
            };
            blas_answer(self.context(), "cublasDgemmStridedBatched", status)
        })?;
        self.submitted([]);
        Ok(())
    }
}
