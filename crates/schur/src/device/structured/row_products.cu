// Products with the rows of a structured system that stand between those of a library: a warp a row.
//
//   row_gram     T_i = X_i' s_i over h_i,   s_i = X_i h_i, or given
//   row_add      out_i = u_i + X_i h_i
//
// Layouts. X: N x ldx row-major, of which M are read; h and T: n x M row-major; s, u and out: N numbers.
// Rows as in rows.cu, at most 32 unknowns each. Grid ceil(n / (THREADS / 32)), block THREADS.

// x_a' h, in lane 0.
__device__ __forceinline__ double along(const double *x, const double *h, int M) {
  const int lane = threadIdx.x % 32;
  double sum = 0.0;
  for (int c = lane; c < M; c += 32) sum += x[c] * h[c];
  for (int half = 16; half > 0; half /= 2) sum += __shfl_down_sync(0xffffffffu, sum, half);
  return sum;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    row_gram(const long long *offsets, const long long *blocks, long long n, int d,
             const double *X, long long ldx, int M, const double *given, double *T) {
  __shared__ double of_warps[THREADS / 32][32];
  Rows rows = {offsets, blocks, n, d};
  const int lane = threadIdx.x % 32;
  const long long i = (long long)blockIdx.x * (THREADS / 32) + threadIdx.x / 32;
  if (i >= n) return;
  const long long at = rows.at(i);
  const int width = rows.dim(i);
  double *h = T + i * M, *s = of_warps[threadIdx.x / 32];
  const double *x = X + at * ldx;
  if (given) {
    if (lane < width) s[lane] = given[at + lane];
  } else {
    for (int a = 0; a < width; ++a) {
      const double sum = along(x + a * ldx, h, M);
      if (lane == 0) s[a] = sum;
    }
  }
  __syncwarp();
  for (int c = lane; c < M; c += 32) {
    double sum = 0.0;
    for (int a = 0; a < width; ++a) sum += x[a * ldx + c] * s[a];
    h[c] = sum;
  }
}

extern "C" __global__ void __launch_bounds__(THREADS)
    row_add(const long long *offsets, const long long *blocks, long long n, int d,
               const double *X, long long ldx, int M, const double *h, const double *u,
               double *out) {
  Rows rows = {offsets, blocks, n, d};
  const int lane = threadIdx.x % 32;
  const long long i = (long long)blockIdx.x * (THREADS / 32) + threadIdx.x / 32;
  if (i >= n) return;
  const long long at = rows.at(i);
  const int width = rows.dim(i);
  for (int a = 0; a < width; ++a) {
    const double sum = along(X + (at + a) * ldx, h + i * M, M);
    if (lane == 0) out[at + a] = u[at + a] + sum;
  }
}
