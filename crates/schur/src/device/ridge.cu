// A ridge that lies on the device, on the operands themselves while they are factored.
//
//   add   diagonal of D and C kept in `saved` (N + k), then D_aa += ridge.row, C_jj += ridge.border
//   back  D_aa, C_jj = saved
//
// So a factorization at ridge 0 in between has the bits of one at that ridge, and the operands
// afterwards those that they had. D and its offsets as in rows.cu; C: column-major, leading dimension
// ld. Grid ceil((n + k) / THREADS), block THREADS: one thread a row or unknown of the border.

extern "C" __global__ void __launch_bounds__(THREADS)
    ridge_add(const long long *offsets, const long long *blocks, long long n, int d, long long N,
              double *D, double *C, long long ld, int k, const RidgeRecord *ridge, double *saved) {
  const long long i = (long long)blockIdx.x * THREADS + threadIdx.x;
  if (i < n) {
    const long long at = d >= 0 ? i * d : offsets[i];
    const int width = d >= 0 ? d : (int)(offsets[i + 1] - at);
    double *block = D + (d >= 0 ? i * d * d : blocks[i]);
    for (int a = 0; a < width; ++a) {
      const double x = block[a * width + a];
      saved[at + a] = x;
      block[a * width + a] = x + ridge->row;
    }
  } else if (i < n + k) {
    const long long j = i - n;
    const double x = C[j + j * ld];
    saved[N + j] = x;
    C[j + j * ld] = x + ridge->border;
  }
}

extern "C" __global__ void __launch_bounds__(THREADS)
    ridge_back(const long long *offsets, const long long *blocks, long long n, int d, long long N,
               double *D, double *C, long long ld, int k, const double *saved) {
  const long long i = (long long)blockIdx.x * THREADS + threadIdx.x;
  if (i < n) {
    const long long at = d >= 0 ? i * d : offsets[i];
    const int width = d >= 0 ? d : (int)(offsets[i + 1] - at);
    double *block = D + (d >= 0 ? i * d * d : blocks[i]);
    for (int a = 0; a < width; ++a) block[a * width + a] = saved[at + a];
  } else if (i < n + k) {
    const long long j = i - n;
    C[j + j * ld] = saved[N + j];
  }
}
