// What the eliminations of a structured system share on a device, after place.cu in one source.
//
//   G + rho = L_G L_G',  R R' = W W'                        border_prepare
//   E = sum_i phi_i h_i'                                    rows_outer
//     h_i = V_i' u_i,  u_i = L_i^-1 g_i                       where K is absent
//     h_i = V_i' g_i                                          where K and L are absent
//     h_i = V_i' V_i K' phi_i                                 else
//   X = G^-1 (E W - g)  or  X + G^-1 ((E + F) W),  Z = X W'  border_outer
//   out_i = -L_i^-T (u_i + V_i Z' phi_i)                    rows_finish
//
// Layouts. phi: n x M row-major; V_i = L_i^-1 Psi_i: N x ldv row-major; W, X and a border's vector:
// M x p row-major; E, F, K, Z: M x M row-major; L_G: M x M row-major, lower; R: M x r row-major;
// rows, L and reciprocals as in rows.cu. M <= 96.
//
// All sums are in an order that depends on the shape alone: partial sums are added by the last block
// of threads to end, in the order of the blocks. `counter` is zero before and after.

__device__ __forceinline__ int lower(int i, int j) { return i * (i + 1) / 2 + j; }

// The Cholesky factor of the packed lower triangle `a` (line after line) in shared memory, by all
// threads of the block. Answers 0, or the first pivot that failed, from 1, with its value.
__device__ int factor_packed(double *a, int order, double *failed) {
  const int t = threadIdx.x, x = t % 16, y = t / 16, ys = blockDim.x / 16;
  for (int j = 0; j < order; ++j) {
    __syncthreads();
    const double p = a[lower(j, j)];
    // True of NaN too; an infinite pivot is no pivot.
    if (!(p > 0.0 && p - p == 0.0)) {
      *failed = p;
      return j + 1;
    }
    const double root = sqrt(p), reciprocal = 1.0 / root;
    __syncthreads();
    if (t == 0) a[lower(j, j)] = root;
    for (int i = j + 1 + t; i < order; i += blockDim.x) a[lower(i, j)] *= reciprocal;
    __syncthreads();
    for (int i = j + 1 + y; i < order; i += ys)
      for (int c = j + 1 + x; c <= i; c += 16) a[lower(i, c)] -= a[lower(i, j)] * a[lower(c, j)];
  }
  __syncthreads();
  return 0;
}

// The record of the factor `a`, by one warp. With `weigh` the least pivot l^2 of unknown j is times
// weigh[j / r]^2, whose place in a row is its number.
__device__ void summarise_packed(const double *a, int order, int info, double failed,
                                 double diagonal, const double *weigh, int stride, int r,
                                 PivotRecord *out) {
  const int lane = threadIdx.x;
  double log_sum = 0.0, absolute = 0.0, least = 0.0;
  int at = -1;
  for (int j = lane; info == 0 && j < order; j += 32) {
    const double l = a[lower(j, j)], term = 2.0 * log(l);
    log_sum += term;
    absolute += fabs(term);
    if (at < 0 || l * l < least) {
      least = l * l;
      at = j;
    }
  }
  for (int half = 16; half > 0; half /= 2) {
    log_sum += __shfl_down_sync(0xffffffffu, log_sum, half);
    absolute += __shfl_down_sync(0xffffffffu, absolute, half);
    const double other = __shfl_down_sync(0xffffffffu, least, half);
    const int place = __shfl_down_sync(0xffffffffu, at, half);
    if (place >= 0 && (at < 0 || other < least || (other == least && place < at))) {
      least = other;
      at = place;
    }
  }
  if (lane != 0) return;
  if (weigh && at >= 0) {
    at /= r;
    least *= weigh[at * stride] * weigh[at * stride];
  }
  out->factor.log = log_sum;
  out->factor.absolute = absolute;
  out->factor.least = least;
  out->factor.least_at = at;
  out->factor.info = info;
  out->factor.diagonal = diagonal;
  out->failed = failed;
}

__device__ void gram_factor(const double *G, double rho, int M, double *L, PivotRecord *summary,
                            double *a) {
  const int t = threadIdx.x;
  for (int e = t; e < M * M; e += blockDim.x) {
    const int i = e / M, j = e % M;
    if (j <= i) a[lower(i, j)] = G[e] + (i == j ? rho : 0.0);
  }
  double failed = 0.0;
  const int info = factor_packed(a, M, &failed);
  __syncthreads();
  for (int e = t; e < M * M; e += blockDim.x) {
    const int i = e / M, j = e % M;
    L[e] = j <= i ? a[lower(i, j)] : 0.0;
  }
  double diagonal = 0.0;
  for (int j = 0; j < M; ++j) diagonal = fmax(diagonal, fabs(G[j * M + j]));
  if (t < 32) summarise_packed(a, M, info, failed, diagonal, 0, 0, 1, summary);
}

// R by modified Gram-Schmidt on the rows of W (its triangle is as good as Householder's: Bjorck
// 1967), W itself where p <= M. `copy` is M x p.
__device__ void decoder_root(const double *W, int M, int p, double *copy, double *R,
                             double *shared) {
  const int t = threadIdx.x, lane = t % 32, warp = t / 32, warps = blockDim.x / 32;
  if (p <= M) {
    for (int e = t; e < M * p; e += blockDim.x) R[e] = W[e];
    return;
  }
  for (int e = t; e < M * p; e += blockDim.x) copy[e] = W[e];
  for (int e = t; e < M * M; e += blockDim.x) R[e] = 0.0;
  for (int s = 0; s < M; ++s) {
    __syncthreads();
    double *line = copy + s * (long long)p;
    double sum = 0.0;
    for (int c = t; c < p; c += blockDim.x) sum += line[c] * line[c];
    for (int half = 16; half > 0; half /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, half);
    if (lane == 0) shared[warp] = sum;
    __syncthreads();
    sum = 0.0;
    for (int w = 0; w < warps; ++w) sum += shared[w];
    const double root = sqrt(sum), reciprocal = root > 0.0 ? 1.0 / root : 0.0;
    if (t == 0) R[s * M + s] = root;
    for (int a = s + 1 + warp; a < M; a += warps) {
      double *other = copy + a * (long long)p;
      double dot = 0.0;
#pragma unroll 8
      for (int c = lane; c < p; c += 32) dot += line[c] * other[c];
      for (int half = 16; half > 0; half /= 2) dot += __shfl_xor_sync(0xffffffffu, dot, half);
      dot *= reciprocal;
      const double factor = dot * reciprocal;
#pragma unroll 8
      for (int c = lane; c < p; c += 32) other[c] -= factor * line[c];
      if (lane == 0) R[a * M + s] = dot;
    }
  }
}

// Grid 2, block MOST_THREADS, dynamic shared memory for M (M + 1) / 2 numbers, at least 32.
extern "C" __global__ void __launch_bounds__(MOST_THREADS)
    border_prepare(const double *G, double rho, int M, int p, const double *W, double *copy,
                   double *L, double *R, PivotRecord *summary) {
  extern __shared__ double dynamic[];
  if (blockIdx.x == 0) gram_factor(G, rho, M, L, summary, dynamic);
  else decoder_root(W, M, p, copy, R, dynamic);
}

// The partial sums of all blocks, `count` numbers each, added by the last block to end.
__device__ void add_partials(const double *partials, int count, unsigned *counter, double *out) {
  __shared__ bool last;
  const int t = threadIdx.x;
  __threadfence();
  __syncthreads();
  if (t == 0) last = atomicAdd(counter, 1u) == gridDim.x - 1;
  __syncthreads();
  if (!last) return;
  __threadfence();
  if (count < 64) {
    // A warp a sum, its lanes over the blocks.
    for (int e = t / 32; e < count; e += blockDim.x / 32) {
      double s = 0.0;
      for (int b = t % 32; b < gridDim.x; b += 32) s += __ldcg(partials + (long long)b * count + e);
      for (int half = 16; half > 0; half /= 2) s += __shfl_down_sync(0xffffffffu, s, half);
      if (t % 32 == 0) out[e] = s;
    }
  } else {
    for (int e = t; e < count; e += blockDim.x) {
      double s[4] = {0.0, 0.0, 0.0, 0.0};
#pragma unroll 2
      for (int b = 0; b < gridDim.x; b += 4)
#pragma unroll
        for (int q = 0; q < 4; ++q)
          if (b + q < gridDim.x) s[q] += __ldcg(partials + (long long)(b + q) * count + e);
      out[e] = (s[0] + s[1]) + (s[2] + s[3]);
    }
  }
  if (t == 0) *counter = 0;
}

// Grid chunks of `per_chunk` rows, a multiple of 32; block THREADS; dynamic shared memory for
// 32 (2 M + 32) numbers.
extern "C" __global__ void __launch_bounds__(THREADS)
    rows_outer(const long long *offsets, const long long *blocks, long long n, int d,
               const double *L, const double *reciprocals, const double *phi, const double *V,
               long long ldv, int M, const double *g, const double *K, double *u,
               double *partials, unsigned *counter, double *E, int per_chunk) {
  extern __shared__ double dynamic[];
  double *f = dynamic, *h = dynamic + 32 * M, *s = dynamic + 64 * M;
  Rows rows = {offsets, blocks, n, d};
  const int t = threadIdx.x;
  const long long begin = (long long)blockIdx.x * per_chunk;
  const long long end = begin + per_chunk < n ? begin + per_chunk : n;
  double *mine = partials + (long long)blockIdx.x * M * M;
  if (begin >= end)
    for (int e = t; e < M * M; e += THREADS) mine[e] = 0.0;
  for (long long i0 = begin; i0 < end; i0 += 32) {
    const int count = end - i0 < 32 ? (int)(end - i0) : 32;
    __syncthreads();
    for (int e = t; e < count * M; e += THREADS) f[e] = phi[i0 * M + e];
    __syncthreads();
    if (K) {
      for (int e = t; e < count * M; e += THREADS) {
        const double *line = f + e / M * M;
        double q = 0.0;
        for (int m = 0; m < M; ++m) q += line[m] * K[m * M + e % M];
        h[e] = q;
      }
      __syncthreads();
      for (int e = t; e < count * 32; e += THREADS) {
        const long long i = i0 + e / 32;
        const int a = e % 32;
        if (a >= rows.dim(i)) continue;
        const double *v = V + (rows.at(i) + a) * ldv, *q = h + e / 32 * M;
        double sum = 0.0;
        for (int m = 0; m < M; ++m) sum += v[m] * q[m];
        s[e] = sum;
      }
    } else if (t < count) {
      const long long i = i0 + t, at = rows.at(i);
      const int width = rows.dim(i);
      const double *l = L + rows.block(i);
      double *z = s + 32 * t;
      for (int a = 0; a < width; ++a) {
        double x = g[at + a];
        if (L) {
          for (int b = 0; b < a; ++b) x -= l[a * width + b] * z[b];
          x *= reciprocals[at + a];
          u[at + a] = x;
        }
        z[a] = x;
      }
    }
    __syncthreads();
    for (int e = t; e < count * M; e += THREADS) {
      const long long i = i0 + e / M;
      const double *v = V + rows.at(i) * ldv + e % M, *z = s + e / M * 32;
      const int width = rows.dim(i);
      double sum = 0.0;
      for (int a = 0; a < width; ++a) sum += v[a * ldv] * z[a];
      h[e] = sum;
    }
    __syncthreads();
    for (int e = t; e < M * M; e += THREADS) {
      const double *a = f + e / M, *b = h + e % M;
      double sum = i0 == begin ? 0.0 : mine[e];
      for (int r = 0; r < count; ++r) sum += a[r * M] * b[r * M];
      mine[e] = sum;
    }
  }
  add_partials(partials, M * M, counter, E);
}

// A tile of up to 32 columns of a border's vector: x <- (L L')^-1 x, 8 threads a column.
__device__ __forceinline__ void solve_tile(const double *L, int M, double *x) {
  const int c = threadIdx.x % 32, y = threadIdx.x / 32;
  for (int j = 0; j < M; ++j) {
    const double v = x[32 * j + c] / L[j * M + j];
    __syncthreads();
    if (y == 0) x[32 * j + c] = v;
    for (int i = j + 1 + y; i < M; i += 8) x[32 * i + c] -= L[i * M + j] * v;
    __syncthreads();
  }
  for (int j = M - 1; j >= 0; --j) {
    const double v = x[32 * j + c] / L[j * M + j];
    __syncthreads();
    if (y == 0) x[32 * j + c] = v;
    for (int i = y; i < j; i += 8) x[32 * i + c] -= L[j * M + i] * v;
    __syncthreads();
  }
}

// Grid up to ceil(p / 32), block THREADS, dynamic shared memory for M (M + 32) numbers. Without F:
// X = G^-1 (E W - g); with it: X = X + G^-1 ((E + F) W). Then Z = X W'.
extern "C" __global__ void __launch_bounds__(THREADS)
    border_outer(const double *LG, const double *W, int M, int p, const double *E,
                 const double *F, const double *g, double *X, double *partials,
                 unsigned *counter, double *Z) {
  extern __shared__ double dynamic[];
  double *L = dynamic, *x = dynamic + M * M;
  const int t = threadIdx.x, c = t % 32, y = t / 32;
  for (int e = t; e < M * M; e += THREADS) L[e] = LG[e];
  double *mine = partials + (long long)blockIdx.x * M * M;
  for (int first = blockIdx.x * 32; first < p; first += gridDim.x * 32) {
    const int column = first + c, count = p - first < 32 ? p - first : 32;
    __syncthreads();
    for (int m = y; m < M; m += 8) {
      double s = 0.0;
      if (column < p) {
        for (int a = 0; a < M; ++a)
          s += (F ? E[m * M + a] + F[m * M + a] : E[m * M + a]) * W[a * (long long)p + column];
        if (!F) s -= g[m * (long long)p + column];
      }
      x[32 * m + c] = s;
    }
    __syncthreads();
    solve_tile(L, M, x);
    for (int m = y; m < M; m += 8) {
      if (column >= p) continue;
      const long long at = m * (long long)p + column;
      const double s = F ? X[at] + x[32 * m + c] : x[32 * m + c];
      x[32 * m + c] = s;
      X[at] = s;
    }
    __syncthreads();
    // An entry of Z is shared out to eight lanes where there are few.
    for (int e0 = 0; e0 < M * M; e0 += 32) {
      const int e = e0 + t / 8;
      double s = 0.0;
      if (e < M * M) {
        const double *w = W + (e % M) * (long long)p + first, *line = x + 32 * (e / M);
        for (int q = t % 8; q < count; q += 8) s += line[q] * w[q];
      }
      for (int half = 4; half > 0; half /= 2) s += __shfl_down_sync(0xffffffffu, s, half, 8);
      if (t % 8 == 0 && e < M * M) mine[e] = first == blockIdx.x * 32 ? s : mine[e] + s;
    }
  }
  add_partials(partials, M * M, counter, Z);
}

// Grid ceil(n / 32), block THREADS, dynamic shared memory for 32 (M + 32) numbers.
extern "C" __global__ void __launch_bounds__(THREADS)
    rows_finish(const long long *offsets, const long long *blocks, long long n, int d,
                const double *L, const double *reciprocals, const double *phi, const double *V,
                long long ldv, int M, const double *u, const double *Z, double *out) {
  extern __shared__ double dynamic[];
  double *h = dynamic, *s = dynamic + 32 * M;
  Rows rows = {offsets, blocks, n, d};
  const int t = threadIdx.x;
  const long long i0 = (long long)blockIdx.x * 32;
  const int count = n - i0 < 32 ? (int)(n - i0) : 32;
  for (int e = t; e < count * M; e += THREADS) {
    const double *line = phi + (i0 + e / M) * M;
    double q = 0.0;
    for (int m = 0; m < M; ++m) q += line[m] * Z[m * M + e % M];
    h[e] = q;
  }
  __syncthreads();
  for (int e = t; e < count * 32; e += THREADS) {
    const long long i = i0 + e / 32, at = rows.at(i);
    const int a = e % 32;
    if (a >= rows.dim(i)) continue;
    const double *v = V + (at + a) * ldv, *q = h + e / 32 * M;
    double sum = u[at + a];
    for (int m = 0; m < M; ++m) sum += v[m] * q[m];
    s[e] = sum;
  }
  __syncthreads();
  if (t >= count) return;
  const long long i = i0 + t, at = rows.at(i);
  const int width = rows.dim(i);
  const double *l = L + rows.block(i);
  double *z = s + 32 * t;
  for (int a = width - 1; a >= 0; --a) {
    double x = z[a];
    for (int b = a + 1; b < width; ++b) x -= l[b * width + a] * z[b];
    x *= reciprocals[at + a];
    z[a] = x;
    out[at + a] = -x;
  }
}
