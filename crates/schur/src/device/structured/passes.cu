// Passes over the rows of a structured system of which a library forms the products: a warp a row.
//
//   pass_rows    T_i = X_i' s_i over h_i,   s_i = X_i h_i, or given
//   pass_along   out_i = u_i + X_i h_i
//
// Layouts. X: N x ldx row-major, of which M are read; h and T: n x M row-major; s, u and out: N numbers.
// Rows as in rows.cu, at most 32 unknowns each. Grid ceil(n / 8), block 256.

// x_a' h, in lane 0.
__device__ __forceinline__ double along(const double *x, const double *h, int M) {
  const int lane = threadIdx.x % 32;
  double sum = 0.0;
  for (int c = lane; c < M; c += 32) sum += x[c] * h[c];
  for (int half = 16; half > 0; half /= 2) sum += __shfl_down_sync(0xffffffffu, sum, half);
  return sum;
}

extern "C" __global__ void __launch_bounds__(256)
    pass_rows(const long long *offsets, const long long *blocks, long long n, int d,
              const double *X, long long ldx, int M, const double *given, double *T) {
  __shared__ double room[8][32];
  Rows rows = {offsets, blocks, n, d};
  const int lane = threadIdx.x % 32;
  const long long i = (long long)blockIdx.x * 8 + threadIdx.x / 32;
  if (i >= n) return;
  const long long at = rows.at(i);
  const int width = rows.dim(i);
  double *h = T + i * M, *s = room[threadIdx.x / 32];
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

extern "C" __global__ void __launch_bounds__(256)
    pass_along(const long long *offsets, const long long *blocks, long long n, int d,
               const double *X, long long ldx, int M, const double *h, const double *u,
               double *out) {
  Rows rows = {offsets, blocks, n, d};
  const int lane = threadIdx.x % 32;
  const long long i = (long long)blockIdx.x * 8 + threadIdx.x / 32;
  if (i >= n) return;
  const long long at = rows.at(i);
  const int width = rows.dim(i);
  for (int a = 0; a < width; ++a) {
    const double sum = along(X + (at + a) * ldx, h + i * M, M);
    if (lane == 0) out[at + a] = u[at + a] + sum;
  }
}
