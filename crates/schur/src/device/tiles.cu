// The border by tiles: the sum that is factored, and its Cholesky factor, in one launch.
//
//   S = C + rho I - Y'Y [+ S]        S = L L'        W_j = L_jj^-1 for every diagonal tile j
//
// Left-looking by tiles of 64 x 64. A task owns what it writes, sums it in registers over all
// columns of Y and then of L before it, in their order, and stores it once:
//
//   panel(i, j)   tiles (i, j) and (i + 1, j):   X = S_ij - sum_{k<j} L_ik L_jk',   L_ij = X W_j'
//   sums(j)       tiles (j, j - 1) and (j, j), over k < j - 2 alone: what the chain begins with
//   chain         for every j:   the sums' last term, of L_j,j-2;   L_j,j-1 = X W_{j-1}',
//                 S_jj -= L_j,j-1 L_j,j-1',   L_jj and W_j
//
// The chain is serial and one block of threads does all of it: W_{j-1} and L_j,j-1 do not leave its
// shared memory before they are used, its code stays in the instruction cache, and the next
// column's sums arrive while a tile is factored. It takes the last term of the sums itself because
// L_j,j-2 is final no earlier than the chain is at column j - 1: as a part of sums(j) it would be
// waited for. Blocks draw tasks by ticket, the chain first, then columns from the left: what a task
// waits for has an earlier ticket, so somebody is at work on it. Two blocks that run at once are
// enough. `progress[i]` counts the tiles of row i that are final (with tile (i, i), W_i is there
// too); `ready[j]` says that the sums of column j are.
//
// Layouts. C, S: column-major, ld, lower triangle; where `held` != 0, S holds a term of the sum
// (-Y'Y by another way). Y: N x ld row-major, which is the transpose of column-major, zero past
// column k. W: tiles one after another, column-major, zero above the diagonal. order: a multiple of
// 64; rows and columns k .. order of C + rho I are the identity. control: ticket, ends, then
// progress and ready, one each a row of tiles; zero before and after. info: the first pivot that is
// not positive and finite, counted from 1, or 0. Above the diagonal, S holds nothing in tiles on
// the diagonal and is not written elsewhere.
//
// Every sum is in an order that depends on the shape alone. Columns of Y are taken 16 at a time,
// zeros after the last. Products use the FP64 matrix units. Warps 0 to 7 compute; of the chain's
// block, warp 8 publishes what is final and warp 9 brings what is next; of others these two end at once.
//
// Numerical note: panels are multiplied by the inverse of a diagonal tile instead of solved with
// it: the error grows with the condition of that tile of order 64, not with that of S.

constexpr int SLAB = 16;
// The distance of columns of 128 rows in shared memory, as LDB is that of columns of TILE rows: the four
// columns of a fragment lie in different banks.
constexpr int LDA = 132;
constexpr int STAGE = SLAB * (LDA + LDB), STAGES = 6, REGION = TILE * LDB;

// Barriers other than that of the whole block.
enum { OF_COMPUTE = 1, SUMS_HERE, LINE_USED, LINE_WRITTEN, TILE_WRITTEN };
__device__ __forceinline__ void meet(int barrier, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(barrier), "r"(threads) : "memory");
}
__device__ __forceinline__ void arrive(int barrier, int threads) {
  asm volatile("bar.arrive %0, %1;" ::"r"(barrier), "r"(threads) : "memory");
}
__device__ __forceinline__ void meet() { meet(OF_COMPUTE, COMPUTE); }
// Where the others meet the same barrier from another place of the code.
__device__ __forceinline__ void meet_apart(int barrier, int threads) {
  asm volatile("barrier.sync %0, %1;" ::"r"(barrier), "r"(threads) : "memory");
}

struct Border {
  const double *C;
  double rho;
  double *S;
  long long ld;
  int k, order;
  const double *Y;
  int N, held;
  double *W;
  int *progress, *ready, *info;

  // Entry (r, c) of what is given of the sum, r >= c.
  __device__ __forceinline__ double entry(int r, int c) const {
    if (r >= k) return r == c ? 1.0 : 0.0;
    double x = __ldcg(C + r + c * ld);
    if (r == c) x += rho;
    return held ? x + __ldcg(S + r + c * ld) : x;
  }
};

// 128 rows from `row` on against the 64 rows of tile j, over Y and the first `tiles` columns of
// tiles: sums are added to `sum`, the part of warp (wm, wn): 32 rows from 32 wm, 32 columns from 32
// wn.
__device__ __forceinline__ void accumulate(const Border &z, double (&sum)[2][4][4], int row, int j,
                                           int tiles, double *memory, int *shared_count) {
  const int t = threadIdx.x, lane = t % 32, warp = t / 32, wm = warp / 2, wn = warp % 2;
  const int from_y = (z.N + SLAB - 1) / SLAB, total = from_y + tiles * (TILE / SLAB);
  int begun = 0, done = 0, known = from_y;
  auto load = [&](int slab) {
    double *a = memory + slab % STAGES * STAGE, *b = a + SLAB * LDA;
    const bool y = slab < from_y;
    const double *base = y ? z.Y : z.S;
    const int k0 = (y ? slab : slab - from_y) * SLAB, end = y ? z.N : z.order;
#pragma unroll
    for (int q = 0; q < 4; ++q) {
      const int kk = t / 64 + 4 * q, r = 2 * (t % 64);
      const bool there = k0 + kk < end && row + r >= 0 && row + r < z.order;
      copy16(a + kk * LDA + r, there ? base + (k0 + kk) * z.ld + row + r : base, there);
    }
#pragma unroll
    for (int q = 0; q < 2; ++q) {
      const int kk = t / 32 + 8 * q, r = 2 * (t % 32);
      const bool there = k0 + kk < end;
      copy16(b + kk * LDB + r, there ? base + (k0 + kk) * z.ld + j * TILE + r : base, there);
    }
    copies_begun();
  };
  while (done < total) {
    if (begun == done) {
      if (begun >= known) {
        // Everything that was known to be final is used up: wait for more.
        if (t == 0) {
          const int need = (done - from_y) / (TILE / SLAB) + 1, i = row / TILE,
                    rows = z.order / TILE;
          int least;
          for (;;) {
            least = acquire(z.progress + j);
            if (row >= 0) least = min(least, acquire(z.progress + i));
            if (i + 1 < rows) least = min(least, acquire(z.progress + i + 1));
            if (least >= need) break;
            __nanosleep(20);
          }
          *shared_count = min(least, tiles);
        }
        meet();
        known = from_y + *shared_count * (TILE / SLAB);
      }
      while (begun < known && begun < total && begun < done + STAGES - 1) load(begun++);
    }
    const int ahead = begun - done;
    // All but the copies of later slabs.
    if (ahead >= 5)
      copies_ended<4>();
    else if (ahead == 4)
      copies_ended<3>();
    else if (ahead == 3)
      copies_ended<2>();
    else if (ahead == 2)
      copies_ended<1>();
    else
      copies_ended<0>();
    meet();
    if (begun < known && begun < total) load(begun++);
    const double *a = memory + done % STAGES * STAGE + (lane % 4) * LDA + 32 * wm + lane / 4;
    const double *b =
        memory + done % STAGES * STAGE + SLAB * LDA + (lane % 4) * LDB + 32 * wn + lane / 4;
#pragma unroll
    for (int k = 0; k < SLAB; k += 8) {
      double fa[2][4], fb[4][2];
#pragma unroll
      for (int m = 0; m < 2; ++m) load_a(fa[m], a + k * LDA + 16 * m, LDA);
#pragma unroll
      for (int n = 0; n < 4; ++n) {
        fb[n][0] = b[k * LDB + 8 * n];
        fb[n][1] = b[(k + 4) * LDB + 8 * n];
      }
#pragma unroll
      for (int m = 0; m < 2; ++m)
#pragma unroll
        for (int n = 0; n < 4; ++n) multiply(sum[m][n], fa[m], fb[n]);
    }
    ++done;
  }
  meet();
}

// W_j into `to`, columns LDB apart, once it is final. All threads; waits for all.
__device__ __forceinline__ void load_inverse(const Border &z, int j, double *to) {
  const int t = threadIdx.x;
  if (t == 0)
    while (acquire(z.progress + j) < j + 1) __nanosleep(20);
  meet();
  const double *w = z.W + (long long)j * TILE * TILE;
#pragma unroll
  for (int q = 0; q < 8; ++q) {
    const int c = t / 32 + 8 * q, r = 2 * (t % 32);
    copy16(to + c * LDB + r, w + c * TILE + r, true);
  }
  copies_begun();
  copies_ended<0>();
  meet();
}

__device__ void panel(const Border &z, int i, int j, double *memory, int *shared_count) {
  const int t = threadIdx.x, lane = t % 32, warp = t / 32, wm = warp / 2, wn = warp % 2;
  const int g = lane / 4, q = lane % 4;
  const int row = i * TILE;
  const bool inside = row + 32 * wm < z.order;
  double sum[2][4][4];
#pragma unroll
  for (int m = 0; m < 2; ++m)
#pragma unroll
    for (int n = 0; n < 4; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int r = row + 32 * wm + 16 * m + g + 8 * (e / 2);
        const int c = j * TILE + 32 * wn + 8 * n + 2 * q + e % 2;
        sum[m][n][e] = inside ? -z.entry(r, c) : 0.0;
      }
  accumulate(z, sum, row, j, j, memory, shared_count);
  double *x = memory, *w = memory + TILE * LDA;
#pragma unroll
  for (int m = 0; m < 2; ++m)
#pragma unroll
    for (int n = 0; n < 4; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        x[(32 * wn + 8 * n + 2 * q + e % 2) * LDA + 32 * wm + 16 * m + g + 8 * (e / 2)] =
            -sum[m][n][e];
        sum[m][n][e] = 0.0;
      }
  load_inverse(z, j, w);
  // W is lower triangular: column c of the product ends at entry c.
  for (int k = 0; k < 32 * (wn + 1); k += 8) {
    double fa[2][4], fb[4][2];
#pragma unroll
    for (int m = 0; m < 2; ++m) load_a(fa[m], x + (k + q) * LDA + 32 * wm + 16 * m + g, LDA);
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      const double *b = w + (k + q) * LDB + 32 * wn + 8 * n + g;
      fb[n][0] = b[0];
      fb[n][1] = b[4 * LDB];
    }
#pragma unroll
    for (int m = 0; m < 2; ++m)
#pragma unroll
      for (int n = 0; n < 4; ++n) multiply(sum[m][n], fa[m], fb[n]);
  }
  if (inside) {
#pragma unroll
    for (int m = 0; m < 2; ++m)
#pragma unroll
      for (int n = 0; n < 4; ++n)
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          const int r = row + 32 * wm + 16 * m + g + 8 * (e / 2);
          const int c = j * TILE + 32 * wn + 8 * n + 2 * q + e % 2;
          z.S[r + c * z.ld] = sum[m][n][e];
        }
  }
  meet();
  if (t == 0) {
    __threadfence();
    release(z.progress + i, j + 1);
    if (row + TILE < z.order) release(z.progress + i + 1, j + 1);
  }
}

// C(16 x 16, by columns ldc) = sign (C0 + A B), A 16 x DEPTH by columns, B[k, n] at b[k bk + n bn],
// by one warp. ADD: whether C0 is C, with its sign, or zero.
template <int DEPTH, bool ADD>
__device__ __forceinline__ void small_product(double *c, int ldc, const double *a, int lda,
                                              const double *b, int bk, int bn, double sign) {
  const int lane = threadIdx.x % 32, g = lane / 4, q = lane % 4;
  double sum[2][4];
#pragma unroll
  for (int n = 0; n < 2; ++n)
#pragma unroll
    for (int e = 0; e < 4; ++e)
      sum[n][e] = ADD ? sign * c[(8 * n + 2 * q + e % 2) * ldc + g + 8 * (e / 2)] : 0.0;
#pragma unroll
  for (int k = 0; k < DEPTH; k += 8) {
    double fa[4];
    load_a(fa, a + (k + q) * lda + g, lda);
#pragma unroll
    for (int n = 0; n < 2; ++n) {
      const double fb[2] = {b[(k + q) * bk + (8 * n + g) * bn],
                            b[(k + q + 4) * bk + (8 * n + g) * bn]};
      multiply(sum[n], fa, fb);
    }
  }
  // What is overwritten may be what was read.
  __syncwarp();
#pragma unroll
  for (int n = 0; n < 2; ++n)
#pragma unroll
    for (int e = 0; e < 4; ++e)
      c[(8 * n + 2 * q + e % 2) * ldc + g + 8 * (e / 2)] = sign * sum[n][e];
  __syncwarp();
}

// The factor of a 16 x 16 block and its inverse, by one warp: a is overwritten by L, w by L^-1.
// Lane c holds column c of the block, lane 16 + c column c of the identity, and all take the same
// steps. The block is symmetric, so a step's column is its row, which the lanes hold an entry each:
// they meet in `columns` (16 x 16 and 16). Answers the first pivot that failed, or -1.
__device__ __forceinline__ int factor_block(double *a, double *w, double *columns) {
  const int lane = threadIdx.x % 32, c = lane % 16;
  const bool identity = lane >= 16;
  double x[16];
#pragma unroll
  for (int r = 0; r < 16; ++r)
    x[r] = identity ? (r == c ? 1.0 : 0.0) : a[min(r, c) * LDB + max(r, c)];
  if (!identity) columns[c] = x[0];
  __syncwarp();
#pragma unroll
  for (int j = 0; j < 15; ++j) {
    double line[16];
#pragma unroll
    for (int r = j / 2 * 2; r < 16; r += 2) {
      const double2 two = *(const double2 *)(columns + 16 * j + r);
      line[r] = two.x;
      line[r + 1] = two.y;
    }
    // x[j] / p by a cubic step from an approximate reciprocal; short, because pivots wait for it
    // one after another. Away from the ends of the range it is good to the last bit or so.
    const double p = line[j];
    double r0;
    asm("rcp.approx.ftz.f64 %0, %1;" : "=d"(r0) : "d"(p));
    const double e = fma(-p, r0, 1.0), first = identity || c > j ? x[j] * r0 : 0.0;
    const double mine = fma(first, fma(e, e, e), first);
    x[j + 1] -= line[j + 1] * mine;
    if (!identity) columns[16 * (j + 1) + c] = x[j + 1];
    __syncwarp();
#pragma unroll
    for (int r = j + 2; r < 16; ++r) x[r] -= line[r] * mine;
  }
  double pivot = 1.0;
#pragma unroll
  for (int r = 0; r < 16; ++r)
    if (c == r && !identity) pivot = x[r];
  // After a pivot that failed the others mean nothing, and the first is the one that is asked for.
  const unsigned failed = __ballot_sync(0xffffffffu, !(pivot > 0.0 && pivot - pivot == 0.0));
  const double scale = rsqrt(pivot), near = pivot * scale;
  const double root = fma(fma(-near, near, pivot), 0.5 * scale, near);
  if (!identity) columns[256 + c] = scale;
  __syncwarp();
#pragma unroll
  for (int r = 0; r < 16; ++r) {
    const double of_row = columns[256 + r];
    if (r < c) continue;
    if (identity)
      w[c * LDB + r] = x[r] * of_row;
    else
      a[c * LDB + r] = r == c ? root : x[r] * scale;
  }
  __syncwarp();
  return __ffs(failed) - 1;
}

// L and W of the tile in `a`, of which the lower triangle is read; `w` is zero above its diagonal;
// `spare` holds three of 16 x 20 and 17 x 16. All that compute.
__device__ __forceinline__ void factor_tile(double *a, double *w, double *spare, int base,
                                            int *info) {
  const int warp = threadIdx.x / 32;
  auto at = [](double *m, int r, int c) { return m + 16 * c * LDB + 16 * r; };
#pragma unroll 1
  for (int b = 0; b < 4; ++b) {
    if (warp == 0) {
      const int failed = factor_block(at(a, b, b), at(w, b, b), spare + 960);
      if (failed >= 0 && threadIdx.x == 0 && __ldcg(info) == 0)
        __stcg(info, base + 16 * b + failed + 1);
    } else if (warp <= b) {
      // Of W's row of blocks: the sum over m of L_bm W_mc, while the block on the diagonal is
      // factored.
      const int c = warp - 1;
      double *z = spare + 320 * c;
      small_product<16, false>(z, 20, at(a, b, c), LDB, at(w, c, c), 1, LDB, 1.0);
      for (int m = c + 1; m < b; ++m)
        small_product<16, true>(z, 20, at(a, b, m), LDB, at(w, m, c), 1, LDB, 1.0);
    }
    meet();
    if (warp < 3 - b) {
      double *p = at(a, b + 1 + warp, b);
      small_product<16, false>(p, LDB, p, LDB, at(w, b, b), LDB, 1, 1.0);
    } else if (warp >= 4 && warp < 4 + b) {
      const int c = warp - 4;
      small_product<16, false>(at(w, b, c), LDB, at(w, b, b), LDB, spare + 320 * c, 1, 20, -1.0);
    }
    meet();
    // The block next on the diagonal first, by the warp that goes on with it.
    int job = 0;
    for (int c = b + 1; c < 4; ++c)
      for (int r = c; r < 4; ++r, ++job)
        if (job == warp)
          small_product<16, true>(at(a, r, c), LDB, at(a, r, b), LDB, at(a, c, b), LDB, 1, -1.0);
  }
}

// Tiles (j, j - 1), transposed above, and (j, j), both triangles, below, over k < j - 2.
__device__ void sums(const Border &z, int j, double *memory, int *shared_count) {
  const int t = threadIdx.x, lane = t % 32, warp = t / 32, wm = warp / 2, wn = warp % 2;
  const int g = lane / 4, q = lane % 4;
  double sum[2][4][4];
#pragma unroll
  for (int m = 0; m < 2; ++m)
#pragma unroll
    for (int n = 0; n < 4; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int r = (j - 1) * TILE + 32 * wm + 16 * m + g + 8 * (e / 2);
        const int c = j * TILE + 32 * wn + 8 * n + 2 * q + e % 2;
        sum[m][n][e] = r >= 0 ? -z.entry(max(r, c), min(r, c)) : 0.0;
      }
  accumulate(z, sum, (j - 1) * TILE, j, max(j - 2, 0), memory, shared_count);
#pragma unroll
  for (int m = 0; m < 2; ++m)
#pragma unroll
    for (int n = 0; n < 4; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int r = (j - 1) * TILE + 32 * wm + 16 * m + g + 8 * (e / 2);
        const int c = j * TILE + 32 * wn + 8 * n + 2 * q + e % 2;
        if (r >= c)
          z.S[r + c * z.ld] = -sum[m][n][e];
        else if (r >= 0 && r < j * TILE)
          z.S[c + r * z.ld] = -sum[m][n][e];
      }
  meet();
  if (t == 0) {
    __threadfence();
    release(z.ready + j, 1);
  }
}

// Where the chain keeps what it works on: the tile on the diagonal and the one before it by parity
// of the column, L_j,j-2, W.
__device__ __forceinline__ double *corner_of(double *memory, int j) {
  return memory + (j & 1) * REGION;
}
__device__ __forceinline__ double *line_of(double *memory, int j) {
  return memory + (2 + (j & 1)) * REGION;
}

__device__ __forceinline__ void bring_tile(const Border &z, int i, int j, double *to) {
  const int lane = threadIdx.x % 32;
  const double *from = z.S + i * TILE + 2 * lane + j * TILE * z.ld;
#pragma unroll 8
  for (int c = 0; c < TILE; ++c) copy16(to + c * LDB + 2 * lane, from + c * z.ld, true);
}

// Warp 9 of the chain: what every column begins with.
__device__ __forceinline__ void bring(const Border &z, double *memory) {
  const int lane = threadIdx.x % 32, tiles = z.order / TILE;
  for (int j = 0; j < tiles; ++j) {
    if (lane == 0)
      while (acquire(z.ready + j) == 0) {
      }
    __syncwarp();
    bring_tile(z, j, j, corner_of(memory, j));
    // The line and L_j-1,j-3 of column j - 1 are used up.
    if (j > 1) meet(LINE_USED, COMPUTE + 32);
    if (j > 0) bring_tile(z, j, j - 1, line_of(memory, j));
    if (j > 1) {
      if (lane == 0)
        while (acquire(z.progress + j) < j - 1) {
        }
      __syncwarp();
      bring_tile(z, j, j - 2, memory + 4 * REGION);
    }
    copies_begun();
    copies_ended<0>();
    meet_apart(SUMS_HERE, COMPUTE + 32);
  }
}

// Warp 8 of the chain: says that L_j,j-1, then that L_jj and W_j are final.
__device__ __forceinline__ void publish(const Border &z) {
  const bool speaks = threadIdx.x % 32 == 0;
  for (int j = 0; j < z.order / TILE; ++j) {
    if (j > 0) {
      meet(LINE_WRITTEN, COMPUTE + 32);
      if (speaks) {
        __threadfence();
        release(z.progress + j, j);
      }
      __syncwarp();
    }
    meet_apart(TILE_WRITTEN, COMPUTE + 32);
    if (speaks) {
      __threadfence();
      release(z.progress + j, j + 1);
    }
    __syncwarp();
  }
}

// 16 rows of c and N groups of 8 columns, less x y'. One warp.
template <int N>
__device__ __forceinline__ void subtract_rows(double *c, const double *x, const double *y) {
  const int lane = threadIdx.x % 32, g = lane / 4, q = lane % 4;
  double sum[N][4];
#pragma unroll
  for (int n = 0; n < N; ++n)
#pragma unroll
    for (int e = 0; e < 4; ++e) sum[n][e] = -c[(8 * n + 2 * q + e % 2) * LDB + g + 8 * (e / 2)];
#pragma unroll
  for (int k = 0; k < TILE; k += 8) {
    double fa[4];
    load_a(fa, x + (k + q) * LDB + g, LDB);
#pragma unroll
    for (int n = 0; n < N; ++n) {
      const double *b = y + (k + q) * LDB + 8 * n + g;
      const double fb[2] = {b[0], b[4 * LDB]};
      multiply(sum[n], fa, fb);
    }
  }
#pragma unroll
  for (int n = 0; n < N; ++n)
#pragma unroll
    for (int e = 0; e < 4; ++e) c[(8 * n + 2 * q + e % 2) * LDB + g + 8 * (e / 2)] = -sum[n][e];
}

// The lower triangle of a less x x': rows 16 .. 31, 32 .. 47 and 48 .. 63 by 32 columns, the rest
// by halves, so that no scheduler has more than six groups of columns.
__device__ __forceinline__ void subtract_syrk(double *a, const double *x) {
  const int warp = threadIdx.x / 32;
  if (warp < 4) {
    const int rows = warp < 3 ? 16 * (warp + 1) : 48, columns = warp < 3 ? 0 : 32;
    subtract_rows<4>(a + columns * LDB + rows, x + rows, x + columns);
  } else if (warp < 6) {
    const int at = 32 * (warp - 4);
    subtract_rows<2>(a + at * LDB + at, x + at, x + at);
  }
}

__device__ __forceinline__ void chain(const Border &z, double *memory) {
  const int t = threadIdx.x, lane = t % 32, warp = t / 32, tiles = z.order / TILE;
  const int g = lane / 4, q = lane % 4;
  double *second = memory + 4 * REGION, *w = memory + 5 * REGION, *spare = memory + 6 * REGION;
  if (t == 0) __stcg(z.info, 0);
  for (int e = t; e < REGION; e += COMPUTE) w[e] = 0.0;
#pragma unroll 1
  for (int j = 0; j < tiles; ++j) {
    double *a = corner_of(memory, j), *x = line_of(memory, j);
    meet_apart(SUMS_HERE, COMPUTE + 32);
    if (j > 0) {
      if (j > 1) {
        // The sums' last term.
        const int rows = 16 * (warp % 4), columns = 32 * (warp / 4);
        subtract_rows<4>(x + columns * LDB + rows, second + rows, line_of(memory, j - 1) + columns);
        subtract_syrk(a, second);
        meet();
      }
      if (j + 1 < tiles) arrive(LINE_USED, COMPUTE + 32);
      // 16 rows a warp, and four of the eight groups of 8 columns: those of which the products,
      // that end at the diagonal of W, are as long together as those of the others.
      const int rows = 16 * (warp % 4), half = warp / 4;
      const int group[4] = {half, 2 + half, 5 - half, 7 - half};
      double sum[4][4];
#pragma unroll
      for (int n = 0; n < 4; ++n)
#pragma unroll
        for (int e = 0; e < 4; ++e) sum[n][e] = 0.0;
#pragma unroll
      for (int k = 0; k < 8; ++k) {
        double fa[4];
        load_a(fa, x + (8 * k + q) * LDB + rows + g, LDB);
#pragma unroll
        for (int n = 0; n < 4; ++n) {
          if (k > group[n]) continue;
          const double *b = w + (8 * k + q) * LDB + 8 * group[n] + g;
          const double fb[2] = {b[0], b[4 * LDB]};
          multiply(sum[n], fa, fb);
        }
      }
      meet();
#pragma unroll
      for (int n = 0; n < 4; ++n)
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          const int r = rows + g + 8 * (e / 2), c = 8 * group[n] + 2 * q + e % 2;
          x[c * LDB + r] = sum[n][e];
          z.S[j * TILE + r + ((j - 1) * TILE + c) * z.ld] = sum[n][e];
        }
      meet();
      arrive(LINE_WRITTEN, COMPUTE + 32);
      subtract_syrk(a, x);
      meet();
    }
    factor_tile(a, w, spare, j * TILE, z.info);
    meet();
    double *out = z.W + (long long)j * TILE * TILE, *of_s = z.S + j * TILE * (z.ld + 1);
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const int c = t / 32 + 8 * i, r = 2 * lane;
      __stcg((double2 *)(out + c * TILE + r), *(const double2 *)(w + c * LDB + r));
      if (r + 1 >= c) __stcg((double2 *)(of_s + c * z.ld + r), *(const double2 *)(a + c * LDB + r));
    }
    meet_apart(TILE_WRITTEN, COMPUTE + 32);
  }
}

// One block of ALL_THREADS threads a multiprocessor, at least two in all; six tiles, LDB apart, and 77 x
// 16 doubles of dynamic shared memory.
extern "C" __global__ void __launch_bounds__(ALL_THREADS, 1)
    factor_tiles(const double *C, double rho, double *S, long long ld, int k, int order,
                 const double *Y, int N, int held, double *W, int *control, int *info) {
  extern __shared__ double memory[];
  __shared__ int task[2], count;
  __shared__ bool chains;
  const int tiles = order / TILE, t = threadIdx.x;
  Border z = {C, rho, S, ld, k, order, Y, N, held, W, control + 2, control + 2 + tiles, info};
  // The column of the last ticket, and its first ticket.
  int column = 0, first = 4;
  // Row and column of a panel; -1 and the column of sums; -2: the chain; -3: the end; -4: nothing.
  auto draw = [&]() {
    const int ticket = atomicAdd(control, 1);
    int row, j;
    if (ticket < 4) {
      row = ticket == 0 ? -2 : ticket <= tiles ? -1 : -4;
      j = ticket - 1;
    } else {
      while (column < tiles - 2) {
        const int of_column = 1 + (tiles - column - 1) / 2;
        if (ticket < first + of_column) break;
        first += of_column;
        ++column;
      }
      const int which = ticket - first;
      row = column + (which == 0 ? 2 : 2 * which);
      j = column;
      if (which == 1) {
        row = column + 3 < tiles ? -1 : -4;
        j = column + 3;
      }
      if (column >= tiles - 2) row = -3;
    }
    task[0] = row;
    task[1] = j;
    return row;
  };
  if (t == 0) chains = draw() == -2;
  __syncthreads();
  // The chain has the first ticket of all. Two warps are of use to it alone.
  if (chains) {
    if (t < COMPUTE)
      chain(z, memory);
    else if (t < COMPUTE + 32)
      publish(z);
    else
      bring(z, memory);
    // What warp 8 says last must be said before the last block to end takes it back.
    __syncthreads();
  }
  if (t >= COMPUTE) return;
  for (;;) {
    const int row = task[0], j = task[1];
    if (row == -3) break;
    if (row == -1)
      sums(z, j, memory, &count);
    else if (row >= 0)
      panel(z, row, j, memory, &count);
    meet();
    if (t == 0) draw();
    meet();
  }
  // The last block to end leaves the control as it was.
  __shared__ bool last;
  if (t == 0) {
    __threadfence();
    last = atomicAdd(control + 1, 1) == gridDim.x - 1;
  }
  meet();
  if (last)
    for (int i = t; i < 2 * tiles + 2; i += COMPUTE) control[i] = 0;
}
