// The core of a structured system, after shared.cu in one source:
//
//   Z = I - sum_i (phi~_i phi~_i') (x) (X_i' X_i),   phi~_i = L_G^-1 phi_i,   X_i = V_i R,
//   Z = L_Z L_Z',   U = mat(F Z^-1 F' vec E),   F = L_G^-T (x) R
//
// Entry (m, s) of the core is its unknown m r + s; its order is M r. The products of pairs of phi~_i
// and of the entries of X_i' X_i are summed as a matrix of pairs by pairs; pair (a, b), b <= a, is
// number a (a + 1) / 2 + b.
//
//   small cores (M <= FEATURES, d <= WIDTH):
//             core_products, core_finish, core_apply                             three launches
//   others:   core_pairs and a library's product, core_fill, its Cholesky, core_summary;
//             core_pull, two triangular solves, core_push

// Of a small core: pairs of features, its order, and entries of the matrix of pairs that a thread sums.
constexpr int PAIRS = FEATURES * (FEATURES + 1) / 2, ORDER = FEATURES * FEATURES;
constexpr int ENTRIES = (PAIRS * PAIRS + THREADS - 1) / THREADS;

__device__ __forceinline__ int pair(int a, int b) { return a > b ? lower(a, b) : lower(b, a); }

// Grid chunks of `per_chunk` rows, a multiple of 32; block THREADS. partials: one sum a pair of pairs.
extern "C" __global__ void __launch_bounds__(THREADS)
    core_products(const long long *offsets, const long long *blocks, long long n, int d,
                  const double *phi, const double *V, long long ldv, const double *LG,
                  const double *R, int M, int r, double *partials, int per_chunk) {
  __shared__ double f[32][FEATURES], x[32][WIDTH][FEATURES], P[32][PAIRS], K[32][PAIRS];
  __shared__ double root[FEATURES * FEATURES], gram[FEATURES * FEATURES];
  Rows rows = {offsets, blocks, n, d};
  const int t = threadIdx.x, of_m = M * (M + 1) / 2, of_r = r * (r + 1) / 2, count = of_m * of_r;
  const long long begin = (long long)blockIdx.x * per_chunk;
  const long long end = begin + per_chunk < n ? begin + per_chunk : n;
  if (t < M * r) root[t] = R[t];
  if (t < M * M) gram[t] = LG[t];
  double sums[ENTRIES];
#pragma unroll
  for (int q = 0; q < ENTRIES; ++q) sums[q] = 0.0;
  for (long long i0 = begin; i0 < end; i0 += 32) {
    const int here = end - i0 < 32 ? (int)(end - i0) : 32;
    __syncthreads();
    // The first warp whitens the features, the others multiply V by the root.
    if (t < here) {
      const double *line = phi + (i0 + t) * M;
      for (int m = 0; m < M; ++m) {
        double s = line[m];
        for (int b = 0; b < m; ++b) s -= gram[m * M + b] * f[t][b];
        f[t][m] = s / gram[m * M + m];
      }
    }
    for (int e = t - 32; e >= 0 && e < here * WIDTH * r; e += THREADS - 32) {
      const int a = e / r % WIDTH, s = e % r;
      const long long i = i0 + e / (WIDTH * r);
      double sum = 0.0;
      if (a < rows.dim(i)) {
        const double *v = V + (rows.at(i) + a) * ldv;
        for (int m = 0; m < M; ++m) sum += v[m] * root[m * r + s];
      }
      x[e / (WIDTH * r)][a][s] = sum;
    }
    __syncthreads();
    for (int e = t; e < here * M * M; e += THREADS) {
      const int i = e / (M * M), a = e / M % M, b = e % M;
      if (b <= a) P[i][lower(a, b)] = f[i][a] * f[i][b];
    }
    for (int e = t; e < here * r * r; e += THREADS) {
      const int i = e / (r * r), a = e / r % r, b = e % r;
      if (b > a) continue;
      double sum = 0.0;
#pragma unroll
      for (int q = 0; q < WIDTH; ++q) sum += x[i][q][a] * x[i][q][b];
      K[i][lower(a, b)] = sum;
    }
    __syncthreads();
#pragma unroll
    for (int q = 0; q < ENTRIES; ++q) {
      const int e = t + THREADS * q;
      if (e >= count) continue;
      const int a = e / of_r, b = e % of_r;
      double s = sums[q];
      for (int i = 0; i < here; ++i) s += P[i][a] * K[i][b];
      sums[q] = s;
    }
  }
#pragma unroll
  for (int q = 0; q < ENTRIES; ++q)
    if (t + THREADS * q < count) partials[(long long)blockIdx.x * count + t + THREADS * q] = sums[q];
}

// One block of MOST_THREADS: Z from the partial sums of `chunks` blocks, and its factor,
// packed row by row.
extern "C" __global__ void __launch_bounds__(MOST_THREADS)
    core_finish(const double *partials, int chunks, int M, int r, const double *LG, double *LZ,
                PivotRecord *summary) {
  __shared__ double products[PAIRS * PAIRS], a[ORDER * (ORDER + 1) / 2];
  const int t = threadIdx.x, of_r = r * (r + 1) / 2, count = M * (M + 1) / 2 * of_r, order = M * r;
  if (count < 64) {
    for (int e = t / 32; e < count; e += 32) {
      double s = 0.0;
      for (int b = t % 32; b < chunks; b += 32) s += partials[(long long)b * count + e];
      for (int half = 16; half > 0; half /= 2) s += __shfl_down_sync(0xffffffffu, s, half);
      if (t % 32 == 0) products[e] = s;
    }
  } else {
    for (int e = t; e < count; e += MOST_THREADS) {
      double s[4] = {0.0, 0.0, 0.0, 0.0};
#pragma unroll 2
      for (int b = 0; b < chunks; b += 4)
#pragma unroll
        for (int q = 0; q < 4; ++q)
          if (b + q < chunks) s[q] += partials[(long long)(b + q) * count + e];
      products[e] = (s[0] + s[1]) + (s[2] + s[3]);
    }
  }
  __syncthreads();
  for (int e = t; e < order * order; e += MOST_THREADS) {
    const int i = e / order, j = e % order;
    if (j <= i)
      a[lower(i, j)] =
          (i == j ? 1.0 : 0.0) - products[pair(i / r, j / r) * of_r + pair(i % r, j % r)];
  }
  double failed = 0.0;
  const int info = factor_packed(a, order, &failed);
  __syncthreads();
  for (int e = t; e < lower(order, 0); e += MOST_THREADS) LZ[e] = a[e];
  if (t < 32) summarise_packed(a, order, info, failed, 0.0, LG, M + 1, r, summary);
}

// c = F' vec E, by all threads of the block; A is M x r in shared memory.
__device__ void core_pull_into(const double *E, const double *LG, const double *R, int M, int r,
                               double *A) {
  const int t = threadIdx.x;
  for (int e = t; e < M * r; e += blockDim.x) {
    double s = 0.0;
    for (int a = 0; a < M; ++a) s += E[e / r * M + a] * R[a * r + e % r];
    A[e] = s;
  }
  for (int j = 0; j < M; ++j) {
    __syncthreads();
    if (t < r) A[j * r + t] /= LG[j * M + j];
    __syncthreads();
    for (int e = t; e < (M - j - 1) * r; e += blockDim.x) {
      const int i = j + 1 + e / r;
      A[i * r + e % r] -= LG[i * M + j] * A[j * r + e % r];
    }
  }
  __syncthreads();
}

// U = mat(F c).
__device__ void core_push_from(double *A, const double *LG, const double *R, int M, int r,
                               double *U) {
  const int t = threadIdx.x;
  for (int j = M - 1; j >= 0; --j) {
    __syncthreads();
    if (t < r) A[j * r + t] /= LG[j * M + j];
    __syncthreads();
    for (int e = t; e < j * r; e += blockDim.x)
      A[e] -= LG[j * M + e / r] * A[j * r + e % r];
  }
  __syncthreads();
  for (int e = t; e < M * M; e += blockDim.x) {
    double s = 0.0;
    for (int q = 0; q < r; ++q) s += A[e / M * r + q] * R[e % M * r + q];
    U[e] = s;
  }
}

// One block of FEW_THREADS threads.
extern "C" __global__ void __launch_bounds__(FEW_THREADS)
    core_apply(const double *E, const double *LG, const double *R, const double *LZ, int M, int r,
               double *U) {
  __shared__ double A[ORDER], a[ORDER * (ORDER + 1) / 2], gram[ORDER], root[ORDER];
  const int t = threadIdx.x, order = M * r;
  for (int e = t; e < lower(order, 0); e += FEW_THREADS) a[e] = LZ[e];
  if (t < M * M) gram[t] = LG[t];
  if (t < M * r) root[t] = R[t];
  __syncthreads();
  core_pull_into(E, gram, root, M, r, A);
  if (t < 32) {
    for (int j = 0; j < order; ++j) {
      const double v = A[j] / a[lower(j, j)];
      __syncwarp();
      if (t == 0) A[j] = v;
      for (int i = j + 1 + t; i < order; i += 32) A[i] -= a[lower(i, j)] * v;
      __syncwarp();
    }
    for (int j = order - 1; j >= 0; --j) {
      const double v = A[j] / a[lower(j, j)];
      __syncwarp();
      if (t == 0) A[j] = v;
      for (int i = t; i < j; i += 32) A[i] -= a[lower(j, i)] * v;
      __syncwarp();
    }
  }
  __syncthreads();
  core_push_from(A, gram, root, M, r, U);
}

// Pairs of whitened features and of the entries of X'X, for rows `first` on: grid `count`, block
// (32, 8). phi: n x M row-major, X: N x r row-major; P and K: one line a row.
extern "C" __global__ void __launch_bounds__(THREADS)
    core_pairs(const long long *offsets, const long long *blocks, long long n, int d,
               const double *phi, const double *X, int M, int r, long long first, double *P,
               double *K) {
  Rows rows = {offsets, blocks, n, d};
  const long long i = first + blockIdx.x;
  const double *f = phi + i * M, *x = X + rows.at(i) * r;
  const int width = rows.dim(i);
  double *p = P + (long long)blockIdx.x * (M * (M + 1) / 2);
  double *k = K + (long long)blockIdx.x * (r * (r + 1) / 2);
  for (int a = threadIdx.y; a < M; a += 8)
    for (int b = threadIdx.x; b <= a; b += 32) p[lower(a, b)] = f[a] * f[b];
  for (int a = threadIdx.y; a < r; a += 8)
    for (int b = threadIdx.x; b <= a; b += 32) {
      double s = 0.0;
      for (int q = 0; q < width; ++q) s += x[q * r + a] * x[q * r + b];
      k[lower(a, b)] = s;
    }
}

// Z, lower triangle, column-major, from the products (pairs of features down). Grid
// (ceil(order / 256), order), block THREADS.
extern "C" __global__ void __launch_bounds__(THREADS)
    core_fill(const double *products, int M, int r, double *Z, long long ldz) {
  const int i = blockIdx.x * THREADS + threadIdx.x, j = blockIdx.y;
  if (i < j || i >= M * r) return;
  const long long at = pair(i / r, j / r) + (long long)pair(i % r, j % r) * (M * (M + 1) / 2);
  Z[i + j * ldz] = (i == j ? 1.0 : 0.0) - products[at];
}

// One block of THREADS: as summarise_packed, of a factor that a library made. The value of a pivot that
// failed is not known.
extern "C" __global__ void __launch_bounds__(THREADS)
    core_summary(const double *LZ, long long ldz, int M, int r, const int *info, const double *LG,
                 PivotRecord *summary) {
  __shared__ double logs[THREADS], sizes[256], least[256];
  __shared__ int place[THREADS];
  const int t = threadIdx.x, order = M * r;
  double log_sum = 0.0, absolute = 0.0, value = 0.0;
  int at = -1;
  for (int j = t; *info == 0 && j < order; j += THREADS) {
    const double l = LZ[j + j * ldz], term = 2.0 * log(l);
    log_sum += term;
    absolute += fabs(term);
    if (at < 0 || l * l < value) {
      value = l * l;
      at = j;
    }
  }
  logs[t] = log_sum;
  sizes[t] = absolute;
  least[t] = value;
  place[t] = at;
  for (int half = THREADS / 2; half > 0; half /= 2) {
    __syncthreads();
    if (t >= half) continue;
    logs[t] += logs[t + half];
    sizes[t] += sizes[t + half];
    const int o = place[t + half];
    const double v = least[t + half];
    if (o >= 0 && (place[t] < 0 || v < least[t] || (v == least[t] && o < place[t]))) {
      least[t] = v;
      place[t] = o;
    }
  }
  if (t != 0) return;
  const int feature = place[0] < 0 ? -1 : place[0] / r;
  const double l = feature < 0 ? 0.0 : LG[feature * M + feature];
  summary->factor.log = logs[0];
  summary->factor.absolute = sizes[0];
  summary->factor.least = least[0] * l * l;
  summary->factor.least_at = feature;
  summary->factor.info = *info;
  summary->factor.diagonal = 0.0;
  summary->failed = 0.0;
}

// One block of THREADS, dynamic shared memory for M r numbers.
extern "C" __global__ void __launch_bounds__(THREADS)
    core_pull(const double *E, const double *LG, const double *R, int M, int r, double *c) {
  extern __shared__ double dynamic[];
  core_pull_into(E, LG, R, M, r, dynamic);
  for (int e = threadIdx.x; e < M * r; e += THREADS) c[e] = dynamic[e];
}

extern "C" __global__ void __launch_bounds__(THREADS)
    core_push(const double *c, const double *LG, const double *R, int M, int r, double *U) {
  extern __shared__ double dynamic[];
  for (int e = threadIdx.x; e < M * r; e += THREADS) dynamic[e] = c[e];
  core_push_from(dynamic, LG, R, M, r, U);
}
