// Border first for a structured system, after place.cu in one source:
//
//   phi~_i = L_G^-1 phi_i,  X = Psi R                                      eliminate_prepare
//   T_uv = delta_ij (D_i)_ab - (phi~_i' phi~_j) (X_u' X_v)                 eliminated_rows
//   r_i = g_i + Psi_i Z' phi_i                                             eliminated_push
//   out_i = -y_i, or -D_i^-1 (g_i + Psi_i Z' phi_i)                        eliminated_finish
//
// u = (i, a) and v = (j, b) are unknowns of the rows; `rows[u]` is the row of u. The second form of
// out_i is that of a row whose own equation D_i out_i + B_i x = -g_i does not hold to a few roundings
// of its terms: rounding in x of the size of the largest row is then not left in it.
//
// Layouts. phi, phi~: n x M row-major; Psi: N x M row-major; X: N x r row-major; L_G: M x M
// row-major, lower; R: M x r row-major; Z: M x M row-major; T: column-major, leading dimension ld, lower
// triangle; D, L: packed blocks, d_i x d_i row-major; offsets and blocks as in rows.cu. M <= 96,
// d_i <= 32. The ridge is added to T by the one who factors it.

// Grid ceil(max(n, N) / 32), block THREADS, dynamic shared memory for M (M + 32) numbers: 32 rows' phi~
// and 32 unknowns' X a block.
extern "C" __global__ void __launch_bounds__(THREADS)
    eliminate_prepare(const double *phi, const double *psi, long long n, long long N,
                      const double *LG, const double *R, int M, int r, double *whitened,
                      double *X) {
  extern __shared__ double dynamic[];
  double *L = dynamic, *x = dynamic + M * M;
  const int t = threadIdx.x, c = t % 32, y = t / 32;
  const long long first = blockIdx.x * 32LL;
  if (first < n) {
    const int count = n - first < 32 ? (int)(n - first) : 32;
    for (int e = t; e < M * M; e += THREADS) L[e] = LG[e];
    for (int e = t; e < 32 * M; e += THREADS)
      x[e % M * 32 + e / M] = e / M < count ? phi[first * M + e] : 0.0;
    __syncthreads();
    for (int j = 0; j < M; ++j) {
      const double v = x[32 * j + c] / L[j * M + j];
      __syncthreads();
      if (y == 0) x[32 * j + c] = v;
      for (int i = j + 1 + y; i < M; i += 8) x[32 * i + c] -= L[i * M + j] * v;
      __syncthreads();
    }
    for (int e = t; e < count * M; e += THREADS) whitened[first * M + e] = x[e % M * 32 + e / M];
  }
  const int unknowns = N - first < 32 ? (int)(N - first) : 32;
  for (int e = t; e < unknowns * r; e += THREADS) {
    const double *line = psi + (first + e / r) * M;
    double s = 0.0;
    for (int m = 0; m < M; ++m) s += line[m] * R[m * r + e % r];
    X[first * r + e] = s;
  }
}

// 16 columns from `first` on of TILE rows from `top` on, transposed, into `to`; `rows`: the row of
// each, or null where it is its own.
__device__ __forceinline__ void load_rows(const double *from, const int *rows, int width,
                                            int first, int top, int N, double (*to)[TILE + 1]) {
  for (int e = threadIdx.x; e < 16 * TILE; e += THREADS) {
    const int u = top + e / 16, f = first + e % 16;
    double value = 0.0;
    if (u < N && f < width) value = from[(long long)(rows ? rows[u] : u) * width + f];
    to[e % 16][e / 16] = value;
  }
}

// sum += rows times rows' over all columns: thread (x, y) has rows x + 16 p and columns y + 16 q.
__device__ __forceinline__ void multiply_rows(const double *from, const int *rows, int width,
                                               int top, int left, int N, double (*down)[TILE + 1],
                                               double (*across)[TILE + 1], double (&sum)[4][4]) {
  const int x = threadIdx.x % 16, y = threadIdx.x / 16;
  for (int first = 0; first < width; first += 16) {
    const int depth = width - first < 16 ? width - first : 16;
    __syncthreads();
    load_rows(from, rows, width, first, top, N, down);
    load_rows(from, rows, width, first, left, N, across);
    __syncthreads();
#pragma unroll 4
    for (int f = 0; f < depth; ++f) {
      double a[4], b[4];
#pragma unroll
      for (int p = 0; p < 4; ++p) a[p] = down[f][x + 16 * p];
#pragma unroll
      for (int q = 0; q < 4; ++q) b[q] = across[f][y + 16 * q];
#pragma unroll
      for (int p = 0; p < 4; ++p)
#pragma unroll
        for (int q = 0; q < 4; ++q) sum[p][q] += a[p] * b[q];
    }
  }
}

// Grid (ceil(N / TILE), ceil(N / TILE)), block THREADS: a tile of TILE x TILE on or below the diagonal.
extern "C" __global__ void __launch_bounds__(THREADS)
    eliminated_rows(const long long *offsets, const long long *blocks, long long n, int d,
                    const int *rows, const double *D, const double *phi, const double *X, int M,
                    int r, double *T, long long ld, int N) {
  __shared__ double down[16][TILE + 1], across[16][TILE + 1];
  const int top = blockIdx.x * TILE, left = blockIdx.y * TILE;
  if (top < left) return;
  Rows w = {offsets, blocks, n, d};
  double gram[4][4] = {}, outer[4][4] = {};
  multiply_rows(phi, rows, M, top, left, N, down, across, gram);
  multiply_rows(X, 0, r, top, left, N, down, across, outer);
  const int x = threadIdx.x % 16, y = threadIdx.x / 16;
#pragma unroll
  for (int q = 0; q < 4; ++q) {
    const int v = left + y + 16 * q;
#pragma unroll
    for (int p = 0; p < 4; ++p) {
      const int u = top + x + 16 * p;
      if (u < v || u >= N) continue;
      double value = -gram[p][q] * outer[p][q];
      const long long i = rows[u];
      if (i == rows[v]) {
        const long long at = w.at(i);
        value += D[w.block(i) + (u - at) * w.dim(i) + (v - at)];
      }
      T[u + v * ld] = value;
    }
  }
}

// h = Z' phi_i of 32 rows from i0 on, M numbers each, by THREADS threads.
__device__ __forceinline__ void features_of(const double *phi, const double *Z, int M,
                                            long long i0, int count, double *h) {
  for (int e = threadIdx.x; e < count * M; e += THREADS) {
    const double *line = phi + (i0 + e / M) * M;
    double q = 0.0;
    for (int m = 0; m < M; ++m) q += line[m] * Z[m * M + e % M];
    h[e] = q;
  }
  __syncthreads();
}

// Grid ceil(n / 32), block THREADS, dynamic shared memory for 32 M numbers.
extern "C" __global__ void __launch_bounds__(THREADS)
    eliminated_push(const long long *offsets, const long long *blocks, long long n, int d,
                    const double *phi, const double *psi, int M, const double *Z, const double *g,
                    double *out) {
  extern __shared__ double dynamic[];
  Rows w = {offsets, blocks, n, d};
  const long long i0 = blockIdx.x * 32LL;
  const int count = n - i0 < 32 ? (int)(n - i0) : 32;
  features_of(phi, Z, M, i0, count, dynamic);
  for (int e = threadIdx.x; e < count * 32; e += THREADS) {
    const long long i = i0 + e / 32, u = w.at(i) + e % 32;
    if (e % 32 >= w.dim(i)) continue;
    const double *line = psi + u * M, *q = dynamic + e / 32 * M;
    double sum = g[u];
    for (int m = 0; m < M; ++m) sum += line[m] * q[m];
    out[u] = sum;
  }
}

// Grid ceil(n / 32), block THREADS, dynamic shared memory for 32 (M + 32) numbers. `record`: that of the
// row blocks, which says whether every L_i is there. `holds` is the share of its terms by which an
// equation may fail.
extern "C" __global__ void __launch_bounds__(THREADS)
    eliminated_finish(const long long *offsets, const long long *blocks, long long n, int d,
                      const double *D, double rho, const double *L, const double *reciprocals,
                      const double *phi, const double *psi, int M, const double *Z,
                      const double *g, const double *y, const RowRecord *record, double holds,
                      double *out) {
  extern __shared__ double dynamic[];
  double *h = dynamic, *s = dynamic + 32 * M;
  __shared__ int again[32];
  Rows w = {offsets, blocks, n, d};
  const int t = threadIdx.x;
  const long long i0 = blockIdx.x * 32LL;
  const int count = n - i0 < 32 ? (int)(n - i0) : 32;
  features_of(phi, Z, M, i0, count, h);
  // A warp a row, a lane an unknown.
  for (int e = t; e < count * 32; e += THREADS) {
    const long long i = i0 + e / 32, at = w.at(i);
    const int a = e % 32, width = w.dim(i);
    bool fails = false;
    if (a < width) {
      const double *line = psi + (at + a) * M, *q = h + e / 32 * M;
      double rest = g[at + a];
      double size = fabs(rest);
      for (int m = 0; m < M; ++m) rest += line[m] * q[m];
      // What is left for D_i y_i, and how well that does.
      s[e] = rest;
      size += fabs(rest);
      const double *block = D + w.block(i);
      double left = rest;
      for (int c = 0; c < width; ++c) {
        const double entry = block[c <= a ? a * width + c : c * width + a] + (c == a ? rho : 0.0);
        const double term = entry * y[at + c];
        left -= term;
        size += fabs(term);
      }
      fails = !(fabs(left) <= holds * size);
      out[at + a] = -y[at + a];
    }
    const unsigned failed = __ballot_sync(0xffffffffu, fails);
    if (a == 0) again[e / 32] = failed != 0;
  }
  __syncthreads();
  if (t >= count || !again[t] || record->failed_key >= 0) return;
  const long long i = i0 + t, at = w.at(i);
  const int width = w.dim(i);
  const double *l = L + w.block(i);
  double *z = s + 32 * t;
  for (int a = 0; a < width; ++a) {
    double x = z[a];
    for (int c = 0; c < a; ++c) x -= l[a * width + c] * z[c];
    z[a] = x * reciprocals[at + a];
  }
  for (int a = width - 1; a >= 0; --a) {
    double x = z[a];
    for (int c = a + 1; c < width; ++c) x -= l[c * width + a] * z[c];
    x *= reciprocals[at + a];
    z[a] = x;
    out[at + a] = -x;
  }
}
