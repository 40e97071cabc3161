// Inverse of a lower triangular matrix, what is not matrix products.
//
//   leaves:    W_tt = L_tt^-1 for every diagonal tile t of order `leaf` <= LARGEST_LEAF, zero above
//              its diagonal
//   clear:     V = 0 above the diagonal tiles
//   mirror:    V_ij = V_ji for i < j
//
// Column-major, leading dimension ld, order n. L: lower triangle read.

// Grid n / leaf, block LARGEST_LEAF: thread c makes column c of one tile,
//   x_i = (delta_ic - sum over c <= j < i of L_ij x_j) / L_ii.
extern "C" __global__ void __launch_bounds__(LARGEST_LEAF)
    inverse_leaves(const double *L, long long ldl, double *V, long long ldv, int leaf) {
  __shared__ double x[LARGEST_LEAF][LARGEST_LEAF];
  const int c = threadIdx.x;
  const long long at = (long long)blockIdx.x * leaf;
  const double *l = L + at + at * ldl;
  double *v = V + at + at * ldv;
  if (c >= leaf) return;
  for (int i = 0; i < leaf; ++i) {
    double s = i == c ? 1.0 : 0.0;
    if (i >= c) {
      for (int j = c; j < i; ++j) s -= l[i + j * ldl] * x[j][c];
      s /= l[i + i * ldl];
    }
    x[i][c] = s;
    v[i + c * ldv] = s;
  }
}

// Grid (ceil(n / THREADS), n), block THREADS.
extern "C" __global__ void __launch_bounds__(THREADS)
    inverse_clear(double *V, long long ldv, int leaf, int n) {
  const int i = blockIdx.x * THREADS + threadIdx.x, j = blockIdx.y;
  if (i < n && i < j / leaf * leaf) V[i + j * ldv] = 0.0;
}

// Tiles of 32 x 32; grid (ceil(n / 32), ceil(n / 32)), block (32, 8).
extern "C" __global__ void __launch_bounds__(THREADS)
    inverse_mirror(double *V, long long ldv, int n) {
  __shared__ double tile[32][33];
  const int row = blockIdx.x * 32, column = blockIdx.y * 32;
  if (row < column) return;
  const int x = threadIdx.x;
  for (int y = threadIdx.y; y < 32; y += 8) {
    const int i = row + x, j = column + y;
    tile[y][x] = i < n && j <= i ? V[i + j * ldv] : 0.0;
  }
  __syncthreads();
  for (int y = threadIdx.y; y < 32; y += 8) {
    const int i = column + x, j = row + y;
    if (j < n && i < j) V[i + j * ldv] = tile[x][y];
  }
}
