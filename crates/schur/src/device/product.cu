// H x over the operands, for two vectors at once: y = D x_t + B x_b, C x_b + B' x_t. The second vector
// is the sum of the first and of a point z where one is given, and is written then.
//
//   product_partials[_of_step]
//                     partial sums of B x_b and of B' x_t, B read once;
//                     partial sums of C x_b, the lower triangle of C read once
//   product_reduce[_of_step]
//                     y = D x_t + the partial sums, in their order; of a step, what a judgement of
//                     it is made of too
//
// Independent of any factor: residuals and objectives come from here. D packed, d_i x d_i row-major,
// lower triangle read; B: N x k row-major; C: column-major, leading dimension ld, order `order` a
// multiple of 16, lower triangle read, zero past k. Border vectors are zero past k, to a whole strip
// of STRIP. Rows as in rows.cu. All may start early.
//
// Partial sums, for each of the two vectors: of_rows strips x N (what each strip of columns adds to
// B x_b), of_pull chunks x ldp (what each chunk of unknowns adds to B' x_t), of_border T x ldb for T
// tiles a side (what each tile column or row adds to C x_b).

#include "early.cuh"

// Entry i of the second vector.
template <bool STEP>
__device__ __forceinline__ double second(const double *x0, const double *x1, const double *z,
                                         long long i) {
  return STEP ? z[i] + x0[i] : x1[i];
}

// The totals over a warp of 16 values a lane: lane l answers that of value l / 2. Each exchange halves
// the values that a lane still carries: 16 shuffles, not 80.
template <int W>
__device__ __forceinline__ void halve(double *v, int lane) {
  const bool upper = lane & (2 * W);
#pragma unroll
  for (int i = 0; i < W; ++i) {
    const double keep = upper ? v[i + W] : v[i], send = upper ? v[i] : v[i + W];
    v[i] = keep + __shfl_xor_sync(0xffffffffu, send, 2 * W);
  }
}

__device__ __forceinline__ double total_of_16(double *v, int lane) {
  halve<8>(v, lane);
  halve<4>(v, lane);
  halve<2>(v, lane);
  halve<1>(v, lane);
  return v[0] + __shfl_xor_sync(0xffffffffu, v[0], 1);
}

// A strip of STRIP columns and a chunk of `per_chunk` unknowns of B: eight rows a warp at a time, each
// lane four columns.
template <bool STEP>
__device__ __forceinline__ void partials_of_cross(int strip, int strips, int chunk, int chunks,
                                           const double *B, int k, long long N,
                                           const double *at0, const double *ab0,
                                           const double *at1, const double *ab1,
                                           const double *zt, const double *zb, double *of_rows,
                                           double *of_pull, long long ldp, long long per_chunk,
                                           double *shared) {
  const int t = threadIdx.x, lane = t % 32, warp = t / 32;
  const int c0 = STRIP * strip + lane;
  const long long begin = chunk * per_chunk;
  const long long end = begin + per_chunk < N ? begin + per_chunk : N;
  double x0[4], x1[4], s0[4], s1[4];
#pragma unroll
  for (int q = 0; q < 4; ++q) {
    x0[q] = ab0[c0 + 32 * q];
    x1[q] = second<STEP>(ab0, ab1, zb, c0 + 32 * q);
    s0[q] = s1[q] = 0.0;
  }
  for (long long r = begin + 8 * warp; r < end; r += PRODUCT_ROWS) {
    const int have = end - r < 8 ? (int)(end - r) : 8;
    const double *line = B + r * k + c0;
    double v[8][4], dots[16];
#pragma unroll
    for (int j = 0; j < 8; ++j)
#pragma unroll
      for (int q = 0; q < 4; ++q)
        v[j][q] = j < have && c0 + 32 * q < k ? __ldcs(line + j * (long long)k + 32 * q) : 0.0;
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      const double a = j < have ? at0[r + j] : 0.0;
      const double b = j < have ? second<STEP>(at0, at1, zt, r + j) : 0.0;
      double p = 0.0, o = 0.0;
#pragma unroll
      for (int q = 0; q < 4; ++q) {
        p += v[j][q] * x0[q];
        o += v[j][q] * x1[q];
        s0[q] += a * v[j][q];
        s1[q] += b * v[j][q];
      }
      dots[j] = p;
      dots[8 + j] = o;
    }
    const double total = total_of_16(dots, lane);
    const int which = lane / 16, j = lane / 2 % 8;
    if (lane % 2 == 0 && j < have)
      of_rows[((long long)which * strips + strip) * N + r + j] = total;
  }
#pragma unroll
  for (int q = 0; q < 4; ++q) {
    shared[warp * STRIP + lane + 32 * q] = s0[q];
    shared[8 * STRIP + warp * STRIP + lane + 32 * q] = s1[q];
  }
  __syncthreads();
  const int which = t / STRIP, c = t % STRIP;
  double s = shared[8 * STRIP * which + c];
  for (int w = 1; w < 8; ++w) s += shared[8 * STRIP * which + STRIP * w + c];
  of_pull[((long long)which * chunks + chunk) * ldp + STRIP * strip + c] = s;
}

// One tile of TILE x TILE of the lower triangle of C, by its number I (I + 1) / 2 + J.
template <bool STEP>
__device__ __forceinline__ void partials_of_border(int tile, int tiles, const double *C, long long ld,
                                            int order, const double *ab0, const double *ab1,
                                            const double *zb, double *of_border,
                                                   long long ldb, double *shared) {
  double *xi = shared, *xj = shared + 2 * TILE, *rows = shared + 4 * TILE;
  const int t = threadIdx.x, lane = t % 32, warp = t / 32;
  int I = (int)((sqrt(8.0 * tile + 1.0) - 1.0) * 0.5);
  while ((I + 1) * (I + 2) / 2 <= tile) ++I;
  while (I * (I + 1) / 2 > tile) --I;
  const int J = tile - I * (I + 1) / 2;
  const int i = TILE * I + 2 * lane;
  double2 v[8];
#pragma unroll
  for (int q = 0; q < 8; ++q) {
    const int j = TILE * J + 8 * warp + q;
    v[q].x = v[q].y = 0.0;
    if (j < order && i < order) {
      v[q] = __ldcs((const double2 *)(C + i + j * ld));
      if (i < j) v[q].x = 0.0;
      if (i + 1 < j) v[q].y = 0.0;
    }
  }
  if (t < 2 * TILE) {
    const int e = t % TILE;
    const int i0 = TILE * I + e, j0 = TILE * J + e;
    xi[t] = i0 >= order ? 0.0 : t / TILE ? second<STEP>(ab0, ab1, zb, i0) : ab0[i0];
    xj[t] = j0 >= order ? 0.0 : t / TILE ? second<STEP>(ab0, ab1, zb, j0) : ab0[j0];
  }
  __syncthreads();
  double columns[16];
#pragma unroll
  for (int which = 0; which < 2; ++which) {
    double2 row = {0.0, 0.0};
    const double x = xi[TILE * which + 2 * lane], y = xi[TILE * which + 2 * lane + 1];
#pragma unroll
    for (int q = 0; q < 8; ++q) {
      const int j = TILE * J + 8 * warp + q;
      const double w = xj[TILE * which + 8 * warp + q];
      row.x += v[q].x * w;
      row.y += v[q].y * w;
      // The diagonal counts once, with the rows.
      columns[8 * which + q] = (i == j ? 0.0 : v[q].x * x) + (i + 1 == j ? 0.0 : v[q].y * y);
    }
    rows[8 * TILE * which + TILE * warp + 2 * lane] = row.x;
    rows[8 * TILE * which + TILE * warp + 2 * lane + 1] = row.y;
  }
  const double total = total_of_16(columns, lane);
  // Before what the others of this warp have read is written.
  __syncwarp();
  if (lane % 2 == 0) {
    const int which = lane / 16, q = lane / 2 % 8;
    // Of a diagonal tile the columns' part is added below. A warp alone reads its part of xj.
    if (I != J)
      of_border[((long long)which * tiles + I) * ldb + TILE * J + 8 * warp + q] = total;
    else
      xj[TILE * which + 8 * warp + q] = total;
  }
  __syncthreads();
  if (t < 2 * TILE) {
    const int which = t / TILE, e = t % TILE;
    double s = rows[8 * TILE * which + e];
    for (int w = 1; w < 8; ++w) s += rows[8 * TILE * which + TILE * w + e];
    if (I == J) s += xj[t];
    of_border[((long long)which * tiles + J) * ldb + TILE * I + e] = s;
  }
}

// Grid strips chunks + T (T + 1) / 2 for T = ceil(order / TILE), block THREADS.
#define PARTIALS(NAME, STEP)                                                                          \
  extern "C" __global__ void __launch_bounds__(THREADS, 2)                                            \
      NAME(const double *B, int k, long long N, const double *C, long long ld, int order,             \
           const double *at0, const double *ab0, const double *at1, const double *ab1,                \
           const double *zt, const double *zb, double *of_rows, double *of_pull, double *of_border,   \
           long long ldp, long long ldb, int strips, int chunks, long long per_chunk) {               \
    wait_for_work_ahead();                                                                            \
    __shared__ double shared[16 * STRIP];                                                             \
    const int b = blockIdx.x, cross = strips * chunks;                                                \
    if (b < cross)                                                                                    \
      partials_of_cross<STEP>(b % strips, strips, b / strips, chunks, B, k, N, at0, ab0, at1, ab1, zt,\
                              zb, of_rows, of_pull, ldp, per_chunk, shared);                          \
    else                                                                                              \
      partials_of_border<STEP>(b - cross, (order + TILE - 1) / TILE, C, ld, order, ab0, ab1, zb,      \
                               of_border, ldb, shared);                                               \
  }

PARTIALS(product_partials, false)
PARTIALS(product_partials_of_step, true)

// The terms of a step, as many numbers a block as StepTerms has: the number q of block b at
// q blocks + b. Vector 0, the step, sums those before OF_TRIAL, vector 1, the trial, the others.

// What one vector adds: its squares are those of the rows or of the border.
struct Terms {
  double slope, curvature;
  SquareSums squares;
  __device__ __forceinline__ void of_step(double d, double hd, double r) {
    slope = r * d;
    curvature = d * hd;
  }
  __device__ __forceinline__ void of_trial(double t, double ht, double g) {
    curvature = t * ht;
    slope = g * t;
    const double x = ht - g, size = fabs(x);
    if (size > LARGE)
      squares.large = (x * SCALE_OF_LARGE) * (x * SCALE_OF_LARGE);
    else if (size < SMALL)
      squares.small = (x * SCALE_OF_SMALL) * (x * SCALE_OF_SMALL);
    else
      // Of a number that is not one too.
      squares.middle = x * x;
  }
};
constexpr int EACH = sizeof(Terms) / sizeof(double);

// Sums a block's terms, in an order of its own, and stores them: of a block of the border warp 0 has
// those of vector 0 and warp 1 those of vector 1; of one of the rows four warps each.
__device__ __forceinline__ void store_terms(Terms mine, bool border, double *terms,
                                            double (*shared)[EACH]) {
  const int t = threadIdx.x, lane = t % 32, warp = t / 32;
#pragma unroll
  for (int q = 0; q < EACH; ++q) {
    double x = ((const double *)&mine)[q];
    for (int half = 16; half > 0; half /= 2) x += __shfl_down_sync(0xffffffffu, x, half);
    if (lane == 0) shared[warp][q] = x;
  }
  __syncthreads();
  if (t >= TERMS) return;
  const int vector = t >= OF_TRIAL;
  const int e = t < OF_ROWS ? t % OF_TRIAL : OF_TRIAL + (t - OF_ROWS) % (OF_BORDER - OF_ROWS);
  const int each = border ? 1 : 4;
  double sum = 0.0;
  if (t < OF_ROWS || (t >= OF_BORDER) == border)
    for (int w = 0; w < each; ++w) sum += shared[vector * each + w][e];
  terms[(long long)t * gridDim.x + blockIdx.x] = sum;
}

// A product's end: the operands that both kernels of it take.
struct Ends {
  const long long *offsets, *blocks;
  long long n;
  int d;
  const double *D, *of_rows;
  int strips;
  long long N;
  const double *of_border;
  int tiles;
  const double *of_pull;
  int chunks;
  long long ldb, ldp;
  int k, order;

  // Blocks of threads for the border; those of the rows follow.
  __device__ __forceinline__ int of_b() const { return (order + 31) / 32; }

  // Entry i of C x_b + B' x_t, by thread (i % 32, vector), of the THREADS of this block.
  __device__ __forceinline__ double border(int i, double (*sums)[8][32]) const {
    const int x = threadIdx.x % 32, y = threadIdx.x / 32;
#pragma unroll
    for (int which = 0; which < 2; ++which) {
      double s = 0.0;
      if (i < k) {
#pragma unroll 4
        for (int c = y; c < tiles; c += 8) s += of_border[((long long)which * tiles + c) * ldb + i];
#pragma unroll 4
        for (int c = y; c < chunks; c += 8) s += of_pull[((long long)which * chunks + c) * ldp + i];
      }
      sums[which][y][x] = s;
    }
    __syncthreads();
    if (y >= 2 || i >= k) return 0.0;
    double s = sums[y][0][x];
    for (int q = 1; q < 8; ++q) s += sums[y][q][x];
    return s;
  }

  // Entry u of D x_t + B x_b of a vector whose entries x answers.
  template <class X>
  __device__ __forceinline__ double row(long long u, int which, X x) const {
    double s = 0.0;
    const double *part = of_rows + which * strips * N + u;
#pragma unroll 8
    for (int c = 0; c < strips; ++c) s += part[c * N];
    // The row that u belongs to: the last whose offset is at most u.
    long long i = d > 0 ? u / d : 0, first = i * d, block = i * d * d;
    int width = d;
    if (d < 0) {
      long long low = 0, high = n;
      while (high - low > 1) {
        const long long middle = (low + high) / 2;
        if (offsets[middle] <= u) low = middle;
        else high = middle;
      }
      first = offsets[low];
      block = blocks[low];
      width = (int)(offsets[low + 1] - first);
    }
    const int a = (int)(u - first);
    double own = 0.0;
    for (int b = 0; b < width; ++b) {
      const int row = a > b ? a : b, column = a > b ? b : a;
      own += D[block + row * width + column] * x(first + b);
    }
    return own + s;
  }
};

// Grid ceil(order / 32) + ceil(N / (THREADS / 2)), block THREADS.
extern "C" __global__ void __launch_bounds__(THREADS)
    product_reduce(const long long *offsets, const long long *blocks, long long n, int d,
                   const double *D, const double *of_rows, int strips, long long N,
                   const double *of_border, int tiles, const double *of_pull, int chunks,
                   long long ldb, long long ldp, int k, int order, const double *at0,
                   const double *at1, double *yt0, double *yb0, double *yt1, double *yb1) {
  wait_for_work_ahead();
  __shared__ double sums[2][8][32];
  const Ends ends = {offsets,   blocks, n,       d,      D,   of_rows, strips, N,
                     of_border, tiles,  of_pull, chunks, ldb, ldp,     k,      order};
  const int t = threadIdx.x;
  if (blockIdx.x < ends.of_b()) {
    const int vector = t / 32, i = blockIdx.x * 32 + t % 32;
    const double y = ends.border(i, sums);
    if (vector < 2 && i < order) (vector ? yb1 : yb0)[i] = y;
    return;
  }
  const int vector = t / (THREADS / 2);
  const long long u = (long long)(blockIdx.x - ends.of_b()) * (THREADS / 2) + t % (THREADS / 2);
  if (u >= N) return;
  const double *at = vector ? at1 : at0;
  (vector ? yt1 : yt0)[u] = ends.row(u, vector, [=](long long e) { return at[e]; });
}

// The same of a step d from a point z: t = z + d and H t are written, and the step's terms.
extern "C" __global__ void __launch_bounds__(THREADS)
    product_reduce_of_step(const long long *offsets, const long long *blocks, long long n, int d,
                           const double *D, const double *of_rows, int strips, long long N,
                           const double *of_border, int tiles, const double *of_pull, int chunks,
                           long long ldb, long long ldp, int k, int order, const double *at0,
                           const double *ab0, const double *zt, const double *zb, const double *rt,
                           const double *rb, const double *gt, const double *gb, double *at1,
                           double *ab1, double *yt1, double *yb1, double *terms) {
  wait_for_work_ahead();
  __shared__ double sums[2][8][32], of_warps[8][EACH];
  const Ends ends = {offsets,   blocks, n,       d,      D,   of_rows, strips, N,
                     of_border, tiles,  of_pull, chunks, ldb, ldp,     k,      order};
  const int t = threadIdx.x;
  const bool border = blockIdx.x < ends.of_b();
  Terms mine = {};
  if (border) {
    const int vector = t / 32, i = blockIdx.x * 32 + t % 32;
    const double y = ends.border(i, sums);
    if (vector < 2 && i < order) {
      const double step = ab0[i], trial = zb[i] + step;
      if (vector == 0) {
        if (i < k) mine.of_step(step, y, rb[i]);
      } else {
        yb1[i] = y;
        ab1[i] = trial;
        if (i < k) mine.of_trial(trial, y, gb[i]);
      }
    }
  } else {
    const int vector = t / (THREADS / 2);
    const long long u = (long long)(blockIdx.x - ends.of_b()) * (THREADS / 2) + t % (THREADS / 2);
    if (u < N) {
      const double y = ends.row(
          u, vector, [=](long long e) { return vector ? zt[e] + at0[e] : at0[e]; });
      const double step = at0[u], trial = zt[u] + step;
      if (vector == 0) {
        mine.of_step(step, y, rt[u]);
      } else {
        yt1[u] = y;
        at1[u] = trial;
        mine.of_trial(trial, y, gt[u]);
      }
    }
  }
  store_terms(mine, border, terms, of_warps);
}
