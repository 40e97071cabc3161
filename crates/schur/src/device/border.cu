// The border: the sum that is factored, its factor's summary.
//
//   C from its packed triangle          border_unpack
//   S = C + rho I                       border_sum            (Y'Y is subtracted by SYRK afterwards)
//   A + rho I in the place of A         border_ridge
//   log|S|, smallest pivot              summarise_border
//   s_jj - |L^-1 s_j|^2                 border_line, border_pivot: the value of a pivot that failed
//
// Matrices are column-major with leading dimension ld, lower triangle read and written. `order`
// counts the padded order, `k` the border's: rows and columns k .. order are the identity.

// The lower triangle of C from the packed one: columns from the diagonal down where
// by_column != 0, else rows up to the diagonal. Tiles of 32 x 32; grid (ceil(k / 32), ceil(k / 32)),
// block (32, 8).
extern "C" __global__ void __launch_bounds__(THREADS)
    border_unpack(const double *packed, int by_column, double *C, long long ld, int k) {
  __shared__ double tile[32][33];
  const int row = blockIdx.x * 32, column = blockIdx.y * 32;
  if (row < column) return;
  const int x = threadIdx.x;
  if (by_column) {
    for (int y = threadIdx.y; y < 32; y += 8) {
      const long long i = row + x, j = column + y;
      if (i < k && j <= i) C[i + j * ld] = packed[j * k - j * (j - 1) / 2 + i - j];
    }
    return;
  }
  for (int y = threadIdx.y; y < 32; y += 8) {
    const long long i = row + y, j = column + x;
    tile[y][x] = i < k && j <= i ? packed[i * (i + 1) / 2 + j] : 0.0;
  }
  __syncthreads();
  for (int y = threadIdx.y; y < 32; y += 8) {
    const long long i = row + x, j = column + y;
    if (i < k && j <= i) C[i + j * ld] = tile[x][y];
  }
}

// S = C + rho I on the lower triangle, the identity past k. Grid (ceil(order / THREADS), order), block
// THREADS.
extern "C" __global__ void __launch_bounds__(THREADS)
    border_sum(const double *C, double rho, double *S, long long ld, int k, int order) {
  const int i = blockIdx.x * THREADS + threadIdx.x, j = blockIdx.y;
  if (blockIdx.x * THREADS + THREADS - 1 < j || i < j || i >= order) return;
  double s;
  if (i < k) {
    s = C[i + (long long)j * ld];
    if (i == j) s += rho;
  } else {
    s = i == j ? 1.0 : 0.0;
  }
  S[i + (long long)j * ld] = s;
}

// A_jj += rho for j < k. Grid ceil(k / THREADS), block THREADS.
extern "C" __global__ void __launch_bounds__(THREADS)
    border_ridge(double *A, double rho, long long ld, int k) {
  const int j = blockIdx.x * THREADS + threadIdx.x;
  if (j < k) A[j + j * ld] += rho;
}

// What a thread has seen of the pivots, a FactorRecord without info.
struct Seen {
  double log, absolute, least, diagonal;
  int least_at;
};

__device__ __forceinline__ Seen merge(Seen a, const Seen &b) {
  a.log += b.log;
  a.absolute += b.absolute;
  if (b.least_at >= 0 && (a.least_at < 0 || b.least < a.least ||
                          (b.least == a.least && b.least_at < a.least_at))) {
    a.least = b.least;
    a.least_at = b.least_at;
  }
  a.diagonal = fmax(a.diagonal, b.diagonal);
  return a;
}

// One block of MOST_THREADS threads. The diagonal of the record is that of C.
extern "C" __global__ void __launch_bounds__(MOST_THREADS)
    summarise_border(const double *L, const double *C, long long ld, int k, const int *info,
                     FactorRecord *out) {
  __shared__ Seen all[MOST_THREADS];
  Seen mine = {0.0, 0.0, 0.0, 0.0, -1};
  for (int j = threadIdx.x; j < k; j += MOST_THREADS) {
    const double l = L[j + j * ld], term = 2.0 * log(l);
    Seen other = {term, fabs(term), l * l, fabs(C[j + j * ld]), j};
    mine = merge(mine, other);
  }
  all[threadIdx.x] = mine;
  for (int half = MOST_THREADS / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) all[threadIdx.x] = merge(all[threadIdx.x], all[threadIdx.x + half]);
  }
  if (threadIdx.x == 0) {
    out->log = all[0].log;
    out->absolute = all[0].absolute;
    out->least = all[0].least;
    out->least_at = all[0].least_at;
    out->info = *info;
    out->diagonal = all[0].diagonal;
  }
}

// line[c] = S[j, c] for c <= j: the line of S at a pivot.
extern "C" __global__ void __launch_bounds__(THREADS)
    border_line(const double *S, long long ld, int j, double *line) {
  const int c = blockIdx.x * THREADS + threadIdx.x;
  if (c <= j) line[c] = S[j + c * ld];
}

// *out = line[j] - sum of line[c]^2 over c < j, in one block of THREADS threads.
extern "C" __global__ void __launch_bounds__(THREADS)
    border_pivot(const double *line, int j, double *out) {
  __shared__ double sums[THREADS];
  double sum = 0.0;
  for (int c = threadIdx.x; c < j; c += THREADS) sum += line[c] * line[c];
  sums[threadIdx.x] = sum;
  for (int half = THREADS / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
  }
  if (threadIdx.x == 0) *out = line[j] - sums[0];
}
