// Row blocks: factor, whiten.
//
//   D_i + rho I = L_i L_i'          factor_rows_W     one group of lanes a block, d_i <= W
//                                   factor_packed_W   the same where every d_i is W, 16 bytes at a time
//   Y_i = L_i^-1 B_i                whiten_W          one thread a column of one block
//
// Layouts. Row i owns the unknowns at(i) .. at(i + 1) of N and the entries block(i) .. block(i + 1)
// of the packed blocks, d_i x d_i row-major: from `offsets` and `blocks` (n + 1 numbers each) where
// d < 0, else at(i) = i d and block(i) = i d d. Of D the lower triangle is read. L: packed as D, its
// upper triangle zero. reciprocals: N, 1 / L_aa. B: N x ldb row-major, Y: N x ldy row-major, of both
// the first k columns.
//
// A lane holds some columns of its block in registers, so that loads and stores of a group run along
// the block's rows; the column that is eliminated is broadcast entry by entry. Few lanes a block
// with several columns each do fewer shuffles and reciprocals than one column a lane. Blocks
// narrower than W are completed by the identity.
//
// Every block of threads has a RowRecord of its rows. A key is KEY row + pivot, or -1. Records are
// combined in a fixed order by the last block of threads to end, into `summary`: the bits depend on n
// and W alone. `counter` is zero before and after.
//
// Numerical note: columns stay unscaled until the end, a_rj = l_rj sqrt(p_j): a step subtracts
// a_rj (a_cj (1 / p_j)), so one reciprocal a step is all that waits, and each lane takes one root.
// Products with rounded reciprocals instead of quotients cost at most one more rounding an entry.

__device__ __forceinline__ RowRecord empty() {
  RowRecord r = {};
  r.least_key = r.failed_key = -1;
  return r;
}

// Keys grow with the row and the pivot, so the choice does not depend on the order.
__device__ __forceinline__ RowRecord combine(RowRecord a, const RowRecord &b) {
  a.log += b.log;
  a.absolute += b.absolute;
  if (b.least_key >= 0 && (a.least_key < 0 || b.least < a.least ||
                           (b.least == a.least && b.least_key < a.least_key))) {
    a.least = b.least;
    a.least_key = b.least_key;
  }
  if (b.failed_key >= 0 && (a.failed_key < 0 || b.failed_key < a.failed_key)) {
    a.failed = b.failed;
    a.failed_key = b.failed_key;
  }
  a.diagonal = fmax(a.diagonal, b.diagonal);
  return a;
}

__device__ void combine_block(RowRecord *all, RowRecord mine, RowRecord *out) {
  int t = threadIdx.x;
  __syncthreads();
  all[t] = mine;
  for (int half = blockDim.x / 2; half > 0; half /= 2) {
    __syncthreads();
    if (t < half) all[t] = combine(all[t], all[t + half]);
  }
  if (t == 0) *out = all[0];
}

// Every block's record to its place; the last block to end combines all records, in their order.
__device__ void finish(RowRecord record, RowRecord *records, unsigned *counter,
                       RowRecord *summary, RowRecord *all) {
  combine_block(all, record, records + blockIdx.x);
  __shared__ bool last;
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) last = atomicAdd(counter, 1u) == gridDim.x - 1;
  __syncthreads();
  if (!last) return;
  __threadfence();
  record = empty();
#pragma unroll 4
  for (int i = threadIdx.x; i < gridDim.x; i += blockDim.x) {
    const RowRecord *r = records + i;
    RowRecord other;
    other.log = __ldcg(&r->log);
    other.absolute = __ldcg(&r->absolute);
    other.least = __ldcg(&r->least);
    other.least_key = __ldcg(&r->least_key);
    other.failed_key = __ldcg(&r->failed_key);
    other.failed = __ldcg(&r->failed);
    other.diagonal = __ldcg(&r->diagonal);
    record = combine(record, other);
  }
  combine_block(all, record, summary);
  if (threadIdx.x == 0) *counter = 0;
}

// Eliminates the columns of one block that G lanes hold, lane c the columns G q + c. Answers the first
// pivot that failed, with its value, or -1.
template <int W, int G>
__device__ __forceinline__ int eliminate(double (&column)[W / G][W], double &failed_value) {
  constexpr int Q = W / G;
  const int c = threadIdx.x % G;
  int failed = -1;
#pragma unroll
  for (int j = 0; j < W; ++j) {
    const double p = __shfl_sync(0xffffffffu, column[j / G][j], j % G, G);
    // True of NaN too; an infinite pivot is no pivot.
    const bool bad = !(p > 0.0 && p - p == 0.0);
    if (bad && failed < 0) {
      failed = j;
      failed_value = p;
    }
    if (j + 1 < W) {
      const double inverse = 1.0 / p;
      double line[W];
#pragma unroll
      for (int r = j + 1; r < W; ++r)
        line[r] = __shfl_sync(0xffffffffu, column[j / G][r], j % G, G);
#pragma unroll
      for (int q = j / G; q < Q; ++q) {
        // The entry of the line at this column; columns up to j are done.
        double mine = 0.0;
#pragma unroll
        for (int e = 0; e < G; ++e)
          if (G * q + e > j && c == e) mine = line[G * q + e];
        mine *= inverse;
#pragma unroll
        for (int r = G * q; r < W; ++r)
          if (r > j) column[q][r] -= line[r] * mine;
      }
    }
  }
  return failed;
}

// G lanes a block: lane c holds the columns G q + c, of each the rows from G q on.
template <int W, int G>
__device__ void factor_rows(Rows rows, const double *D, double rho, double *L, double *reciprocals,
                            RowRecord *records, unsigned *counter, RowRecord *summary, RowRecord *all) {
  constexpr int Q = W / G;
  const int c = threadIdx.x % G;
  const long long groups = (long long)gridDim.x * blockDim.x / G;
  const long long thread = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  const long long first = thread / G, first_of_warp = thread / 32 * 32 / G;
  RowRecord record = empty();
  // All lanes of a warp go round equally often: shuffles need them all.
  for (long long start = 0; first_of_warp + start < rows.n; start += groups) {
    const long long i = first + start;
    const bool there = i < rows.n;
    const int d = there ? rows.dim(i) : 0;
    const long long block = there ? rows.block(i) : 0;
    double column[Q][W];
#pragma unroll
    for (int q = 0; q < Q; ++q)
#pragma unroll
      for (int r = G * q; r < W; ++r) {
        const int at = G * q + c;
        double x = r < d && at <= r ? D[block + (long long)r * d + at] : 0.0;
        if (r == at) {
          if (r < d) record.diagonal = fmax(record.diagonal, fabs(x));
          x = r < d ? x + rho : 1.0;
        }
        column[q][r] = x;
      }
    double failed_value = 0.0;
    const int failed = eliminate<W, G>(column, failed_value);
    if (!there) continue;
#pragma unroll
    for (int q = 0; q < Q; ++q) {
      const int at = G * q + c;
      double pivot = 1.0;
#pragma unroll
      for (int e = 0; e < G; ++e)
        if (c == e) pivot = column[q][G * q + e];
      const double root = sqrt(pivot), reciprocal = 1.0 / root;
      if (at >= d) continue;
#pragma unroll
      for (int r = 0; r < W; ++r) {
        if (r >= d) continue;
        double x = 0.0;
        if (r >= G * q) x = at < r ? column[q][r] * reciprocal : at == r ? root : 0.0;
        L[block + (long long)r * d + at] = x;
      }
      reciprocals[rows.at(i) + at] = reciprocal;
      if (failed < 0) {
        const double term = log(pivot);
        record.log += term;
        record.absolute += fabs(term);
        if (record.least_key < 0 || pivot < record.least) {
          record.least = pivot;
          record.least_key = i * KEY + at;
        }
      }
    }
    if (failed >= 0) {
      const long long key = i * KEY + failed;
      if (record.failed_key < 0 || key < record.failed_key) {
        record.failed_key = key;
        record.failed = failed_value;
      }
    }
  }
  finish(record, records, counter, summary, all);
}

// One thread a block, for rows that all have W = d unknowns (2, 4 or 8), whose blocks are contiguous:
// a warp takes 32 of them through shared memory, 16 bytes at a time, so that global accesses run along
// rows whatever the block. In `stage` blocks are W W + 2 numbers apart (an odd number of 16 bytes: a
// column of 16-byte accesses meets every bank once), reciprocals W + 2.
__device__ __forceinline__ void copy16(double *to, const double *from) {
  const unsigned address = (unsigned)__cvta_generic_to_shared(to);
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(address), "l"(from) : "memory");
}

template <int W, int THREADS>
__device__ void factor_packed(long long n, const double *D, double rho, double *L,
                              double *reciprocals, RowRecord *records, unsigned *counter,
                              RowRecord *summary, RowRecord *all, double *stage) {
  constexpr int APART = W * W + 2, PIECES = W * W / 2, LINE = W / 2;
  const int lane = threadIdx.x % 32;
  const long long warps = (long long)gridDim.x * (THREADS / 32);
  RowRecord record = empty();
  for (long long task = ((long long)blockIdx.x * THREADS + threadIdx.x) / 32; 32 * task < n;
       task += warps) {
    const long long i0 = 32 * task, i = i0 + lane;
    const int count = n - i0 < 32 ? (int)(n - i0) : 32;
    double a[W][W];
    double *mine = stage + (threadIdx.x / 32) * 32 * APART + lane * APART;
    double *warp_stage = mine - lane * APART;
    if (W > 2) {
      const double *from = D + i0 * W * W;
#pragma unroll
      for (int q = 0; q < PIECES; ++q) {
        const int piece = 32 * q + lane, b = piece / PIECES;
        if (b < count) copy16(warp_stage + b * APART + 2 * (piece % PIECES), from + 2 * piece);
      }
      asm volatile("cp.async.commit_group;" ::: "memory");
      asm volatile("cp.async.wait_group 0;" ::: "memory");
      __syncwarp();
    }
#pragma unroll
    for (int r = 0; r < W; ++r)
#pragma unroll
      for (int q = 0; 2 * q <= r; ++q) {
        double2 x = {1.0, 1.0};
        if (lane < count)
          x = W > 2 ? *(const double2 *)(mine + r * W + 2 * q)
                    : __ldg((const double2 *)(D + i * W * W + r * W + 2 * q));
        a[r][2 * q] = x.x;
        a[r][2 * q + 1] = x.y;
      }
#pragma unroll
    for (int r = 0; r < W; ++r) {
      if (lane < count) record.diagonal = fmax(record.diagonal, fabs(a[r][r]));
      a[r][r] += rho;
    }
    double inverse_roots[W], failed_value = 0.0;
    int failed = -1;
#pragma unroll
    for (int j = 0; j < W; ++j) {
      const double p = a[j][j];
      if (failed < 0 && !(p > 0.0 && p - p == 0.0)) {
        failed = j;
        failed_value = p;
      }
      const double s = rsqrt(p), inverse = s * s;
      inverse_roots[j] = s;
#pragma unroll
      for (int c = j + 1; c < W; ++c) {
        const double x = a[c][j] * inverse;
#pragma unroll
        for (int r = c; r < W; ++r) a[r][c] -= a[r][j] * x;
      }
    }
    if (lane < count) {
      if (failed < 0) {
#pragma unroll
        for (int j = 0; j < W; ++j) {
          const double pivot = a[j][j], term = log(pivot);
          record.log += term;
          record.absolute += fabs(term);
          if (record.least_key < 0 || pivot < record.least) {
            record.least = pivot;
            record.least_key = i * KEY + j;
          }
        }
      } else {
        const long long key = i * KEY + failed;
        if (record.failed_key < 0 || key < record.failed_key) {
          record.failed_key = key;
          record.failed = failed_value;
        }
      }
    }
#pragma unroll
    for (int j = 0; j < W; ++j) {
      const double p = a[j][j], s = inverse_roots[j], root = p * s;
      // One correction of Newton's: the root to its last bit.
      a[j][j] = fma(fma(-root, root, p), 0.5 * s, root);
#pragma unroll
      for (int r = j + 1; r < W; ++r) a[r][j] *= s;
    }
    if (W > 2) {
#pragma unroll
      for (int r = 0; r < W; ++r)
#pragma unroll
        for (int q = 0; q < LINE; ++q) {
          double2 x = {0.0, 0.0};
          if (2 * q <= r) x.x = a[r][2 * q];
          if (2 * q + 1 <= r) x.y = a[r][2 * q + 1];
          *(double2 *)(mine + r * W + 2 * q) = x;
        }
      __syncwarp();
      double *to = L + i0 * W * W;
#pragma unroll
      for (int q = 0; q < PIECES; ++q) {
        const int piece = 32 * q + lane, b = piece / PIECES;
        if (b < count)
          *(double2 *)(to + 2 * piece) =
              *(const double2 *)(warp_stage + b * APART + 2 * (piece % PIECES));
      }
      __syncwarp();
#pragma unroll
      for (int q = 0; q < LINE; ++q) {
        const double2 x = {inverse_roots[2 * q], inverse_roots[2 * q + 1]};
        *(double2 *)(warp_stage + lane * (W + 2) + 2 * q) = x;
      }
      __syncwarp();
#pragma unroll
      for (int q = 0; q < LINE; ++q) {
        const int piece = 32 * q + lane, b = piece / LINE;
        if (b < count)
          *(double2 *)(reciprocals + i0 * W + 2 * piece) =
              *(const double2 *)(warp_stage + b * (W + 2) + 2 * (piece % LINE));
      }
      __syncwarp();
    } else if (lane < count) {
      double2 x = {a[0][0], 0.0}, y = {a[1][0], a[1][1]};
      const double2 z = {inverse_roots[0], inverse_roots[1]};
      ((double2 *)(L + i * 4))[0] = x;
      ((double2 *)(L + i * 4))[1] = y;
      *(double2 *)(reciprocals + i * 2) = z;
    }
  }
  finish(record, records, counter, summary, all);
}

// The same for wider rows, G lanes a block as in `factor_rows`: a warp stages 32 / G blocks, W W + 4
// numbers apart, which again meets every bank once.
template <int W, int G, int THREADS>
__device__ void factor_packed_wide(long long n, const double *D, double rho, double *L,
                                   double *reciprocals, RowRecord *records, unsigned *counter,
                                   RowRecord *summary, RowRecord *all, double *stage) {
  constexpr int APART = W * W + 4, PIECES = W * W / 2, BLOCKS = 32 / G, Q = W / G;
  const int lane = threadIdx.x % 32, c = lane % G;
  const long long warps = (long long)gridDim.x * (THREADS / 32);
  double *warp_stage = stage + (threadIdx.x / 32) * BLOCKS * APART;
  double *mine = warp_stage + lane / G * APART;
  RowRecord record = empty();
  for (long long task = ((long long)blockIdx.x * THREADS + threadIdx.x) / 32; BLOCKS * task < n;
       task += warps) {
    const long long i0 = BLOCKS * task, i = i0 + lane / G;
    const int count = n - i0 < BLOCKS ? (int)(n - i0) : BLOCKS;
    const bool there = lane / G < count;
    const double *from = D + i0 * W * W;
#pragma unroll
    for (int q = 0; q < BLOCKS * PIECES / 32; ++q) {
      const int piece = 32 * q + lane, b = piece / PIECES;
      if (b < count) copy16(warp_stage + b * APART + 2 * (piece % PIECES), from + 2 * piece);
    }
    asm volatile("cp.async.commit_group;" ::: "memory");
    asm volatile("cp.async.wait_group 0;" ::: "memory");
    __syncwarp();
    double column[Q][W];
#pragma unroll
    for (int q = 0; q < Q; ++q)
#pragma unroll
      for (int r = G * q; r < W; ++r) {
        const int at = G * q + c;
        double x = there && at <= r ? mine[r * W + at] : 0.0;
        if (r == at) {
          if (there) record.diagonal = fmax(record.diagonal, fabs(x));
          x = there ? x + rho : 1.0;
        }
        column[q][r] = x;
      }
    double failed_value = 0.0;
    const int failed = eliminate<W, G>(column, failed_value);
    __syncwarp();
    double reciprocal[Q];
#pragma unroll
    for (int q = 0; q < Q; ++q) {
      const int at = G * q + c;
      double pivot = 1.0;
#pragma unroll
      for (int e = 0; e < G; ++e)
        if (c == e) pivot = column[q][G * q + e];
      const double root = sqrt(pivot);
      reciprocal[q] = 1.0 / root;
#pragma unroll
      for (int r = 0; r < W; ++r) {
        double x = 0.0;
        if (r >= G * q) x = at < r ? column[q][r] * reciprocal[q] : at == r ? root : 0.0;
        mine[r * W + at] = x;
      }
      if (there && failed < 0) {
        const double term = log(pivot);
        record.log += term;
        record.absolute += fabs(term);
        if (record.least_key < 0 || pivot < record.least) {
          record.least = pivot;
          record.least_key = i * KEY + at;
        }
      }
    }
    if (there && failed >= 0) {
      const long long key = i * KEY + failed;
      if (record.failed_key < 0 || key < record.failed_key) {
        record.failed_key = key;
        record.failed = failed_value;
      }
    }
    if (there) {
#pragma unroll
      for (int q = 0; q < Q; ++q) reciprocals[i * W + G * q + c] = reciprocal[q];
    }
    __syncwarp();
    double *to = L + i0 * W * W;
#pragma unroll 8
    for (int q = 0; q < BLOCKS * PIECES / 32; ++q) {
      const int piece = 32 * q + lane, b = piece / PIECES;
      if (b < count)
        *(double2 *)(to + 2 * piece) =
            *(const double2 *)(warp_stage + b * APART + 2 * (piece % PIECES));
    }
    __syncwarp();
  }
  finish(record, records, counter, summary, all);
}

template <int W>
__device__ void whiten(Rows rows, const double *L, const double *reciprocals, const double *B,
                       long long ldb, double *Y, long long ldy, int k) {
  const int j = blockIdx.x * blockDim.x + threadIdx.x;
  if (j >= k) return;
  const long long step = (long long)gridDim.y * blockDim.y;
  for (long long i = (long long)blockIdx.y * blockDim.y + threadIdx.y; i < rows.n; i += step) {
    const int d = rows.dim(i);
    const long long at = rows.at(i);
    const double *l = L + rows.block(i);
    double y[W];
#pragma unroll
    for (int a = 0; a < W; ++a) y[a] = a < d ? B[(at + a) * ldb + j] : 0.0;
#pragma unroll
    for (int a = 0; a < W; ++a) {
      if (a < d) {
        double x = y[a];
#pragma unroll
        for (int b = 0; b < a; ++b) x -= l[a * d + b] * y[b];
        y[a] = x * reciprocals[at + a];
        Y[(at + a) * ldy + j] = y[a];
      }
    }
  }
}

// The library's way, for wider rows and as a check: the blocks go out, ridged, transposed (a row-major
// lower triangle is a column-major upper one) and completed by the identity to order W, to be factored
// there, and come back with the record. Grid up to n, block FEW_THREADS.
extern "C" __global__ void __launch_bounds__(FEW_THREADS)
    rows_out(const long long *offsets, const long long *blocks, long long n, int d, const double *D,
             double rho, double *P, int W) {
  Rows rows = {offsets, blocks, n, d};
  for (long long i = blockIdx.x; i < n; i += gridDim.x) {
    const int width = rows.dim(i);
    const double *from = D + rows.block(i);
    double *to = P + i * W * W;
    for (int e = threadIdx.x; e < W * W; e += FEW_THREADS) {
      const int r = e % W, c = e / W;
      double x = r == c ? 1.0 : 0.0;
      if (r < width && c <= r) x = from[r * width + c] + (r == c ? rho : 0.0);
      to[e] = x;
    }
  }
}

// info: of every block the first pivot that failed, from 1, or 0. The value of a pivot that failed is
// not known here: NaN.
extern "C" __global__ void __launch_bounds__(FEW_THREADS)
    rows_back(const long long *offsets, const long long *blocks, long long n, int d, const double *D,
              const double *P, int W, const int *info, double *L, double *reciprocals,
              RowRecord *records, unsigned *counter, RowRecord *summary) {
  __shared__ RowRecord all[FEW_THREADS];
  Rows rows = {offsets, blocks, n, d};
  RowRecord record = empty();
  for (long long i = blockIdx.x; i < n; i += gridDim.x) {
    const int width = rows.dim(i), failed = info[i];
    const double *given = D + rows.block(i), *from = P + i * W * W;
    double *to = L + rows.block(i);
    for (int e = threadIdx.x; e < width * width; e += FEW_THREADS) {
      const int r = e / width, c = e % width;
      to[e] = c <= r ? from[r + c * W] : 0.0;
    }
    for (int a = threadIdx.x; a < width; a += FEW_THREADS) {
      const double root = from[a + a * W], pivot = root * root;
      reciprocals[rows.at(i) + a] = 1.0 / root;
      record.diagonal = fmax(record.diagonal, fabs(given[a * width + a]));
      if (failed != 0) continue;
      const double term = 2.0 * log(root);
      record.log += term;
      record.absolute += fabs(term);
      if (record.least_key < 0 || pivot < record.least) {
        record.least = pivot;
        record.least_key = i * KEY + a;
      }
    }
    if (threadIdx.x == 0 && failed != 0) {
      const long long key = i * KEY + failed - 1;
      if (record.failed_key < 0 || key < record.failed_key) {
        record.failed_key = key;
        record.failed = __longlong_as_double(0x7ff8000000000000ll);
      }
    }
  }
  finish(record, records, counter, summary, all);
}

// Y = B (solved by the library afterwards) where `solved` == 0, else Y = L^-1 B for rows of any width:
// one thread a column of one block, which reads back what it has written. Grid (ceil(k /
// FEW_THREADS), up to n), block FEW_THREADS.
extern "C" __global__ void __launch_bounds__(FEW_THREADS)
    whiten_wide(const long long *offsets, const long long *blocks, long long n, int d,
                const double *L, const double *reciprocals, const double *B, long long ldb,
                double *Y, long long ldy, int k, int solved) {
  Rows rows = {offsets, blocks, n, d};
  const int j = blockIdx.x * FEW_THREADS + threadIdx.x;
  if (j >= k) return;
  for (long long i = blockIdx.y; i < n; i += gridDim.y) {
    const int width = rows.dim(i);
    const long long at = rows.at(i);
    const double *l = L + rows.block(i);
    double *y = Y + at * ldy + j;
    for (int a = 0; a < width; ++a) {
      double x = B[(at + a) * ldb + j];
      if (solved) {
        for (int b = 0; b < a; ++b) x -= l[a * width + b] * y[b * ldy];
        x *= reciprocals[at + a];
      }
      y[a * ldy] = x;
    }
  }
}

#define ENTRIES(W, G, M)                                                                             \
  extern "C" __global__ void __launch_bounds__(FEW_THREADS, M)                                       \
      factor_rows_##W(const long long *offsets, const long long *blocks, long long n, int d,         \
                      const double *D, double rho, double *L, double *reciprocals,                   \
                      RowRecord *records, unsigned *counter, RowRecord *summary) {                   \
    __shared__ RowRecord all[FEW_THREADS];                                                           \
    Rows rows = {offsets, blocks, n, d};                                                             \
    factor_rows<W, G>(rows, D, rho, L, reciprocals, records, counter, summary, all);                 \
  }                                                                                                  \
  extern "C" __global__ void __launch_bounds__(FEW_THREADS)                                          \
      whiten_##W(const long long *offsets, const long long *blocks, long long n, int d,              \
                 const double *L, const double *reciprocals, const double *B, long long ldb,         \
                 double *Y, long long ldy, int k) {                                                  \
    Rows rows = {offsets, blocks, n, d};                                                             \
    whiten<W>(rows, L, reciprocals, B, ldb, Y, ldy, k);                                              \
  }

ENTRIES(1, 1, 8)
ENTRIES(2, 2, 8)
ENTRIES(4, 2, 8)
ENTRIES(8, 4, 6)
ENTRIES(16, 4, 2)
ENTRIES(32, 32, 2)

#define PACKED(W, THREADS, M)                                                                        \
  extern "C" __global__ void __launch_bounds__(THREADS, M)                                           \
      factor_packed_##W(long long n, const double *D, double rho, double *L, double *reciprocals,    \
                        RowRecord *records, unsigned *counter, RowRecord *summary) {                 \
    extern __shared__ double stage[];                                                                \
    __shared__ RowRecord all[THREADS];                                                               \
    factor_packed<W, THREADS>(n, D, rho, L, reciprocals, records, counter, summary, all, stage);     \
  }

PACKED(2, PAIR_THREADS, 4)
PACKED(4, FEW_THREADS, 6)
PACKED(8, FEW_THREADS, 3)

extern "C" __global__ void __launch_bounds__(FEW_THREADS, 3)
    factor_packed_16(long long n, const double *D, double rho, double *L, double *reciprocals,
                     RowRecord *records, unsigned *counter, RowRecord *summary) {
  extern __shared__ double stage[];
  __shared__ RowRecord all[FEW_THREADS];
  factor_packed_wide<16, 4, FEW_THREADS>(n, D, rho, L, reciprocals, records, counter, summary, all,
                                         stage);
}
