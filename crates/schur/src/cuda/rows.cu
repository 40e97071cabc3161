// Row blocks: factor, whiten.
//
//   D_i + rho I = L_i L_i'          factor_rows_W     one group of lanes a block, d_i <= W
//   Y_i = L_i^-1 B_i                whiten_W          one thread a column of one block
//
// Layouts. Row i owns the unknowns at(i) .. at(i + 1) of N and the entries block(i) .. block(i + 1)
// of the packed blocks, d_i x d_i row-major: from `offsets` and `blocks` (n + 1 numbers each) where
// d < 0, else at(i) = i d and block(i) = i d d. Of D the lower triangle is read. L: packed as D, its
// upper triangle zero. reciprocals: N, 1 / L_aa. B: N x ldb row-major, Y: N x ldy row-major, of both
// the first k columns.
//
// A lane holds some columns of its block in registers, so that loads and stores of a group run along
// the block's lines; the column that is eliminated is broadcast entry by entry. Few lanes a block
// with several columns each do fewer shuffles and reciprocals than one column a lane. Blocks
// narrower than W are completed by the identity.
//
// A record of a group of rows is 7 doubles: sum of log pivots, sum of their absolute values, the
// smallest pivot, its key, the key of the first pivot that failed, its value, the largest diagonal
// entry. A key is 64 row + pivot, or -1, as the bits of a 64-bit integer. Records are combined in a
// fixed order by the last block of threads to end, into `summary`: the bits depend on n and W alone.
// `counter` is zero before and after.
//
// Numerical note: columns stay unscaled until the end, a_rj = l_rj sqrt(p_j): a step subtracts
// a_rj (a_cj (1 / p_j)), so one reciprocal a step is all that waits, and each lane takes one root.
// Products with rounded reciprocals instead of quotients cost at most one more rounding an entry.

struct Record {
  double log, abs, least;
  long long least_key, failed_key;
  double failed, diagonal;
};

__device__ __forceinline__ Record empty() {
  Record r = {0.0, 0.0, 0.0, -1, -1, 0.0, 0.0};
  return r;
}

// Keys grow with the row and the pivot, so the choice does not depend on the order.
__device__ __forceinline__ Record combine(Record a, const Record &b) {
  a.log += b.log;
  a.abs += b.abs;
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

__device__ void combine_block(Record *all, Record mine, double *out) {
  int t = threadIdx.x;
  __syncthreads();
  all[t] = mine;
  for (int half = blockDim.x / 2; half > 0; half /= 2) {
    __syncthreads();
    if (t < half) all[t] = combine(all[t], all[t + half]);
  }
  if (t == 0) {
    Record r = all[0];
    out[0] = r.log;
    out[1] = r.abs;
    out[2] = r.least;
    out[3] = __longlong_as_double(r.least_key);
    out[4] = __longlong_as_double(r.failed_key);
    out[5] = r.failed;
    out[6] = r.diagonal;
  }
}

struct Rows {
  const long long *offsets, *blocks;
  long long n;
  int d;
  __device__ __forceinline__ int dim(long long i) const {
    return d >= 0 ? d : (int)(offsets[i + 1] - offsets[i]);
  }
  __device__ __forceinline__ long long at(long long i) const {
    return d >= 0 ? i * d : offsets[i];
  }
  __device__ __forceinline__ long long block(long long i) const {
    return d >= 0 ? i * d * d : blocks[i];
  }
};

// G lanes a block: lane c holds the columns G q + c, of each the rows from G q on.
template <int W, int G>
__device__ void factor_rows(Rows rows, const double *D, double rho, double *L, double *reciprocals,
                            double *records, unsigned *counter, double *summary, Record *all) {
  constexpr int Q = W / G;
  const int c = threadIdx.x % G;
  const long long groups = (long long)gridDim.x * blockDim.x / G;
  const long long thread = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  const long long first = thread / G, first_of_warp = thread / 32 * 32 / G;
  Record record = empty();
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
        record.abs += fabs(term);
        if (record.least_key < 0 || pivot < record.least) {
          record.least = pivot;
          record.least_key = i * 64 + at;
        }
      }
    }
    if (failed >= 0) {
      const long long key = i * 64 + failed;
      if (record.failed_key < 0 || key < record.failed_key) {
        record.failed_key = key;
        record.failed = failed_value;
      }
    }
  }
  combine_block(all, record, records + 7LL * blockIdx.x);
  // The last block to end combines all records, in their order.
  __shared__ bool last;
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) last = atomicAdd(counter, 1u) == gridDim.x - 1;
  __syncthreads();
  if (!last) return;
  __threadfence();
  record = empty();
  for (int i = threadIdx.x; i < gridDim.x; i += blockDim.x) {
    const double *r = records + 7LL * i;
    Record other = {__ldcg(r), __ldcg(r + 1), __ldcg(r + 2),
                    __double_as_longlong(__ldcg(r + 3)), __double_as_longlong(__ldcg(r + 4)),
                    __ldcg(r + 5), __ldcg(r + 6)};
    record = combine(record, other);
  }
  combine_block(all, record, summary);
  if (threadIdx.x == 0) *counter = 0;
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

#define ENTRIES(W, G, M)                                                                               \
  extern "C" __global__ void __launch_bounds__(128, M)                                                \
      factor_rows_##W(const long long *offsets, const long long *blocks, long long n, int d,       \
                      const double *D, double rho, double *L, double *reciprocals,                 \
                      double *records, unsigned *counter, double *summary) {                       \
    __shared__ Record all[128];                                                                    \
    Rows rows = {offsets, blocks, n, d};                                                           \
    factor_rows<W, G>(rows, D, rho, L, reciprocals, records, counter, summary, all);               \
  }                                                                                                \
  extern "C" __global__ void __launch_bounds__(128)                                                \
      whiten_##W(const long long *offsets, const long long *blocks, long long n, int d,            \
                 const double *L, const double *reciprocals, const double *B, long long ldb,       \
                 double *Y, long long ldy, int k) {                                                \
    Rows rows = {offsets, blocks, n, d};                                                           \
    whiten<W>(rows, L, reciprocals, B, ldb, Y, ldy, k);                                            \
  }

ENTRIES(1, 1, 8)
ENTRIES(2, 2, 8)
ENTRIES(4, 2, 8)
ENTRIES(8, 4, 6)
ENTRIES(16, 4, 2)
ENTRIES(32, 32, 2)
