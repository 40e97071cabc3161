// One solve with the factors: four launches, each bound by what it reads.
//
//   pull      u = L^-1 g_t,  b = Y' u - g_b         Y once
//   trmv      y = W b                               the upper triangle of V once
//   trmv_transposed
//             db = W' y                             the lower triangle of V once
//   push      dt = -L^-T (u + Y db)                 Y once
//
// W = L_S^-1. V holds W in its lower triangle and W' in its upper one (they share the diagonal), of
// order `order` and leading dimension ld, both multiples of 16: so both products are dots along
// columns, without partial sums to combine. Rows, L and reciprocals as in rows.cu; Y: N x ldy
// row-major.
//
// Y is read twice a solve and each part of V once, and the second-level cache may hold one of them, or a
// part, from one pass and one solve to the next. So each kernel is there twice. pull_plain, push_plain:
// Y as anything else; _share: the share `keep` of Y leaves that cache last, the rest first. trmv_plain:
// V as anything else; trmv_first: V leaves the caches first; trmv_transposed alike.
//
// All sums are in an order that depends on the shape alone. `counters` are zero before and after. The
// four may start early.

#include "early.cuh"

enum Reading { PLAIN, FIRST, SHARE };

template <Reading HOW>
struct Reads {
  unsigned long long policy;

  // Which addresses make the share is the device's, and the same in every pass.
  __device__ __forceinline__ explicit Reads(float keep) {
    if (HOW == SHARE)
      asm("createpolicy.fractional.L2::evict_last.L2::evict_first.b64 %0, %1;"
          : "=l"(policy)
          : "f"(keep));
  }
  __device__ __forceinline__ double2 load(const double *p) const {
    const double2 *q = (const double2 *)p;
    if (HOW == PLAIN) return __ldg(q);
    if (HOW == FIRST) return __ldcs(q);
    double2 v;
    asm volatile("ld.global.nc.L1::no_allocate.L2::cache_hint.v2.f64 {%0, %1}, [%2], %3;"
        : "=d"(v.x), "=d"(v.y)
        : "l"(p), "l"(policy));
    return v;
  }
};

// Grid (strips, chunks), block (STRIP / 2, 4): a strip is STRIP columns, a chunk `per_chunk` rows.
// Tiles of `per_tile` rows (at most PULL_UNKNOWNS unknowns) have their u in shared memory. partials:
// chunks x ldp.
template <Reading HOW>
__device__ __forceinline__ void pull(const long long *offsets, const long long *blocks, long long n,
                                     int d, const double *L, const double *reciprocals,
                                     const double *Y, long long ldy, int k, const double *gt,
                                     const double *gb, double *u, double *partials, long long ldp,
                                     unsigned *counters, double *b, long long per_chunk,
                                     int per_tile, float keep) {
  const Reads<HOW> reads(keep);
  wait_for_work_ahead();
  __shared__ double tile[PULL_UNKNOWNS];
  __shared__ double2 sums[4][STRIP / 2];
  __shared__ bool last;
  const int x = threadIdx.x, y = threadIdx.y, t = y * (STRIP / 2) + x;
  const int column = blockIdx.x * STRIP + 2 * x;
  const bool inside = column < k;
  const long long begin = blockIdx.y * per_chunk;
  const long long end = begin + per_chunk < n ? begin + per_chunk : n;
  double2 sum = {0.0, 0.0};
  for (long long i0 = begin; i0 < end; i0 += per_tile) {
    const long long i1 = i0 + per_tile < end ? i0 + per_tile : end;
    const long long first = d >= 0 ? i0 * d : offsets[i0];
    const int count = (int)((d >= 0 ? i1 * d : offsets[i1]) - first);
    __syncthreads();
    if (t < i1 - i0) {
      const long long i = i0 + t;
      const long long at = d >= 0 ? i * d : offsets[i];
      const int width = d >= 0 ? d : (int)(offsets[i + 1] - at);
      const double *l = L + (d >= 0 ? i * d * d : blocks[i]);
      double *mine = tile + (at - first);
      for (int a = 0; a < width; ++a) {
        double z = gt[at + a];
        for (int c = 0; c < a; ++c) z -= l[a * width + c] * mine[c];
        z *= reciprocals[at + a];
        mine[a] = z;
        if (blockIdx.x == 0) u[at + a] = z;
      }
    }
    __syncthreads();
    if (inside) {
      const double *line = Y + (first + y) * ldy + column;
      int r = y;
      for (; r + 28 < count; r += 32) {
        double2 v[8];
#pragma unroll
        for (int q = 0; q < 8; ++q) v[q] = reads.load(line + (long long)(4 * q) * ldy);
#pragma unroll
        for (int q = 0; q < 8; ++q) {
          const double w = tile[r + 4 * q];
          sum.x += w * v[q].x;
          sum.y += w * v[q].y;
        }
        line += 32 * ldy;
      }
      for (; r < count; r += 4) {
        const double2 v = reads.load(line);
        const double w = tile[r];
        sum.x += w * v.x;
        sum.y += w * v.y;
        line += 4 * ldy;
      }
    }
  }
  sums[y][x] = sum;
  __syncthreads();
  if (y == 0) {
#pragma unroll
    for (int q = 1; q < 4; ++q) {
      sum.x += sums[q][x].x;
      sum.y += sums[q][x].y;
    }
    *(double2 *)(partials + blockIdx.y * ldp + column) = sum;
  }
  // The last block of a strip adds up the strip's partial sums, in the order of the chunks.
  __threadfence();
  __syncthreads();
  if (t == 0) last = atomicAdd(counters + blockIdx.x, 1u) == gridDim.y - 1;
  __syncthreads();
  if (!last) return;
  __threadfence();
  sum.x = sum.y = 0.0;
  for (int c = y; c < gridDim.y; c += 4) {
    const double2 v = __ldcg((const double2 *)(partials + c * ldp + column));
    sum.x += v.x;
    sum.y += v.y;
  }
  __syncthreads();
  sums[y][x] = sum;
  __syncthreads();
  if (y == 0) {
#pragma unroll
    for (int q = 1; q < 4; ++q) {
      sum.x += sums[q][x].x;
      sum.y += sums[q][x].y;
    }
    b[column] = column < k ? sum.x - gb[column] : 0.0;
    b[column + 1] = column + 1 < k ? sum.y - gb[column + 1] : 0.0;
  }
  if (t == 0) counters[blockIdx.x] = 0;
}

// out[j] = sum over i of V[i, j] x[i], four columns j from `quad` on, by a block of FEW_THREADS
// threads; i <= j where UP, else i >= j.
template <bool UP, Reading HOW>
__device__ void dot_quad(const double *V, long long ld, int order, int quad, const double *x,
                         double *out, const Reads<HOW> &reads, double (*sums)[4]) {
  const int t = threadIdx.x;
  const double *column = V + (long long)quad * ld;
  double sum[4] = {0.0, 0.0, 0.0, 0.0};
  // The 16 rows with the diagonal, entry by entry: the first 64 threads, one entry each.
  const int edge = quad & ~15;
  if (t < 64) {
    const int i = edge + (t & 15), c = t >> 4, j = quad + c;
    if (UP ? i <= j : i >= j) {
      const double term = column[i + c * ld] * x[i];
      // Without a run-time index into registers.
      if (c == 0) sum[0] = term;
      if (c == 1) sum[1] = term;
      if (c == 2) sum[2] = term;
      if (c == 3) sum[3] = term;
    }
  }
  const int from = UP ? 0 : edge + 16, to = UP ? edge : order;
  int i = from + 2 * t;
  for (; i + 2 * FEW_THREADS < to; i += 4 * FEW_THREADS) {
    double2 v[8];
#pragma unroll
    for (int c = 0; c < 4; ++c) {
      v[2 * c] = reads.load(column + c * ld + i);
      v[2 * c + 1] = reads.load(column + c * ld + i + 2 * FEW_THREADS);
    }
    const double2 x0 = *(const double2 *)(x + i);
    const double2 x1 = *(const double2 *)(x + i + 2 * FEW_THREADS);
#pragma unroll
    for (int c = 0; c < 4; ++c) {
      sum[c] += v[2 * c].x * x0.x;
      sum[c] += v[2 * c].y * x0.y;
      sum[c] += v[2 * c + 1].x * x1.x;
      sum[c] += v[2 * c + 1].y * x1.y;
    }
  }
  for (; i < to; i += 2 * FEW_THREADS) {
    const double2 x0 = *(const double2 *)(x + i);
#pragma unroll
    for (int c = 0; c < 4; ++c) {
      const double2 v = reads.load(column + c * ld + i);
      sum[c] += v.x * x0.x;
      sum[c] += v.y * x0.y;
    }
  }
#pragma unroll
  for (int c = 0; c < 4; ++c)
    for (int half = 16; half > 0; half /= 2)
      sum[c] += __shfl_xor_sync(0xffffffffu, sum[c], half);
  __syncthreads();
  if (t % 32 == 0)
    for (int c = 0; c < 4; ++c) sums[t / 32][c] = sum[c];
  __syncthreads();
  if (t < 4) out[quad + t] = ((sums[0][t] + sums[1][t]) + sums[2][t]) + sums[3][t];
}

// Grid order / 8, block FEW_THREADS: a block takes two groups of four columns that together are as
// long as any other two.
template <bool UP, Reading HOW>
__device__ __forceinline__ void trmv(const double *V, long long ld, int order, const double *x,
                                     double *out) {
  const Reads<HOW> reads(1.0f);
  wait_for_work_ahead();
  __shared__ double sums[4][4];
  // The longer group first.
  const int left = 4 * blockIdx.x, right = order - 4 - left;
  dot_quad<UP>(V, ld, order, UP ? right : left, x, out, reads, sums);
  dot_quad<UP>(V, ld, order, UP ? left : right, x, out, reads, sums);
}

// Grid ceil(n / per_block), block a multiple of 32 up to THREADS: `per_block` rows (at most
// PUSH_UNKNOWNS unknowns) a block, their unknowns four at a time, the columns shared out to all threads.
template <Reading HOW>
__device__ __forceinline__ void push(const long long *offsets, const long long *blocks, long long n,
                                     int d, const double *L, const double *reciprocals,
                                     const double *Y, long long ldy, int k, const double *u,
                                     const double *x, double *out, int per_block, float keep) {
  const Reads<HOW> reads(keep);
  wait_for_work_ahead();
  __shared__ double sums[THREADS / 32][4];
  __shared__ double z[PUSH_UNKNOWNS];
  const int t = threadIdx.x, warps = blockDim.x / 32;
  const long long i0 = (long long)blockIdx.x * per_block;
  const long long i1 = i0 + per_block < n ? i0 + per_block : n;
  const long long first = d >= 0 ? i0 * d : offsets[i0];
  const int count = (int)((d >= 0 ? i1 * d : offsets[i1]) - first);
  // Past k both Y and x are zero.
  const int pairs = (k + 1) / 2;
  for (int r = 0; r < count; r += 4) {
    const double *line = Y + (first + r) * ldy;
    const int have = count - r < 4 ? count - r : 4;
    double sum[4] = {0.0, 0.0, 0.0, 0.0};
    if (have == 4) {
#pragma unroll 2
      for (int c = t; c < pairs; c += blockDim.x) {
        const double2 w = *(const double2 *)(x + 2 * c);
        double2 v[4];
#pragma unroll
        for (int q = 0; q < 4; ++q) v[q] = reads.load(line + q * ldy + 2 * c);
#pragma unroll
        for (int q = 0; q < 4; ++q) {
          sum[q] += v[q].x * w.x;
          sum[q] += v[q].y * w.y;
        }
      }
    } else {
      for (int c = t; c < pairs; c += blockDim.x) {
        const double2 w = *(const double2 *)(x + 2 * c);
#pragma unroll
        for (int q = 0; q < 3; ++q)
          if (q < have) {
            const double2 v = reads.load(line + q * ldy + 2 * c);
            sum[q] += v.x * w.x;
            sum[q] += v.y * w.y;
          }
      }
    }
#pragma unroll
    for (int q = 0; q < 4; ++q)
      for (int half = 16; half > 0; half /= 2)
        sum[q] += __shfl_xor_sync(0xffffffffu, sum[q], half);
    __syncthreads();
    if (t % 32 == 0)
      for (int q = 0; q < 4; ++q) sums[t / 32][q] = sum[q];
    __syncthreads();
    if (t < have) {
      double s = sums[0][t];
      for (int w = 1; w < warps; ++w) s += sums[w][t];
      z[r + t] = u[first + r + t] + s;
    }
  }
  __syncthreads();
  if (t < i1 - i0) {
    const long long i = i0 + t;
    const long long at = d >= 0 ? i * d : offsets[i];
    const int width = d >= 0 ? d : (int)(offsets[i + 1] - at);
    const double *l = L + (d >= 0 ? i * d * d : blocks[i]);
    double *mine = z + (at - first);
    for (int a = width - 1; a >= 0; --a) {
      double s = mine[a];
      for (int c = a + 1; c < width; ++c) s -= l[c * width + a] * mine[c];
      s *= reciprocals[at + a];
      mine[a] = s;
      out[at + a] = -s;
    }
  }
}

#define WITH_Y(NAME, HOW)                                                                            \
  extern "C" __global__ void __launch_bounds__(THREADS)                                              \
      pull_##NAME(const long long *offsets, const long long *blocks, long long n, int d,             \
                  const double *L, const double *reciprocals, const double *Y, long long ldy, int k, \
                  const double *gt, const double *gb, double *u, double *partials, long long ldp,    \
                  unsigned *counters, double *b, long long per_chunk, int per_tile, float keep) {    \
    pull<HOW>(offsets, blocks, n, d, L, reciprocals, Y, ldy, k, gt, gb, u, partials, ldp, counters,  \
              b, per_chunk, per_tile, keep);                                                         \
  }                                                                                                  \
  extern "C" __global__ void __launch_bounds__(THREADS)                                              \
      push_##NAME(const long long *offsets, const long long *blocks, long long n, int d,             \
                  const double *L, const double *reciprocals, const double *Y, long long ldy, int k, \
                  const double *u, const double *x, double *out, int per_block, float keep) {        \
    push<HOW>(offsets, blocks, n, d, L, reciprocals, Y, ldy, k, u, x, out, per_block, keep);         \
  }

#define WITH_V(NAME, HOW)                                                                            \
  extern "C" __global__ void __launch_bounds__(FEW_THREADS)                                          \
      trmv_##NAME(const double *V, long long ld, int order, const double *x, double *out) {          \
    trmv<true, HOW>(V, ld, order, x, out);                                                           \
  }                                                                                                  \
  extern "C" __global__ void __launch_bounds__(FEW_THREADS)                                          \
      trmv_transposed_##NAME(const double *V, long long ld, int order, const double *x,              \
                             double *out) {                                                          \
    trmv<false, HOW>(V, ld, order, x, out);                                                          \
  }

WITH_Y(plain, PLAIN)
WITH_Y(share, SHARE)
WITH_V(plain, PLAIN)
WITH_V(first, FIRST)

// x <- L^-1 x (transposed == 0) or L^-T x of each row, for `count` columns N apart: one thread a
// row and column. Grid (ceil(n / FEW_THREADS), count), block FEW_THREADS.
extern "C" __global__ void __launch_bounds__(FEW_THREADS)
    rows_solve(const long long *offsets, const long long *blocks, long long n, int d,
               const double *L, const double *reciprocals, double *x, long long N, double scale,
               int transposed) {
  const long long i = (long long)blockIdx.x * FEW_THREADS + threadIdx.x;
  if (i >= n) return;
  const long long at = d >= 0 ? i * d : offsets[i];
  const int width = d >= 0 ? d : (int)(offsets[i + 1] - at);
  const double *l = L + (d >= 0 ? i * d * d : blocks[i]);
  double *mine = x + blockIdx.y * N + at;
  if (!transposed) {
    for (int a = 0; a < width; ++a) {
      double s = mine[a] * scale;
      for (int c = 0; c < a; ++c) s -= l[a * width + c] * mine[c];
      mine[a] = s * reciprocals[at + a];
    }
  } else {
    for (int a = width - 1; a >= 0; --a) {
      double s = mine[a] * scale;
      for (int c = a + 1; c < width; ++c) s -= l[c * width + a] * mine[c];
      mine[a] = s * reciprocals[at + a];
    }
  }
}
