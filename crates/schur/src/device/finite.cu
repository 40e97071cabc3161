// Whether numbers that lie here are finite: of every array the place of the first that is not.
//
//   finite_all      of n numbers
//   finite_below    of the lower triangle of a column-major matrix of order k, leading dimension ld
//   finite_blocks   of the lower triangles of the rows' blocks, as place.cu has them
//   clear_past      zeros past row and column k of a matrix of ld x ld numbers
//
// `found` is one record an array, zero before: its complement becomes the largest of ~place over the
// places of such numbers, so that it stays zero where there is none, and else tells the first place. A
// grid of any length, block THREADS.

__device__ __forceinline__ bool is_finite(double x) { return x - x == 0.0; }

__device__ __forceinline__ void tell(NotFinite *found, long long place) {
  atomicMax(&found->complement, ~(unsigned long long)place);
}

__device__ __forceinline__ long long thread() {
  return (long long)blockIdx.x * THREADS + threadIdx.x;
}

__device__ __forceinline__ long long threads() { return (long long)gridDim.x * THREADS; }

extern "C" __global__ void __launch_bounds__(THREADS)
    finite_all(const double *x, long long n, NotFinite *found) {
  for (long long i = thread(); i < n; i += threads())
    if (!is_finite(x[i])) {
      tell(found, i);
      return;
    }
}

extern "C" __global__ void __launch_bounds__(THREADS)
    finite_below(const double *C, long long ld, int k, NotFinite *found) {
  // Columns one after another, so that a thread's places ascend.
  const long long all = (long long)k * k;
  for (long long e = thread(); e < all; e += threads()) {
    const long long i = e % k, j = e / k;
    if (i >= j && !is_finite(C[i + j * ld])) {
      tell(found, i + j * ld);
      return;
    }
  }
}

extern "C" __global__ void __launch_bounds__(THREADS) clear_past(double *C, long long ld, int k) {
  for (long long e = thread(); e < ld * ld; e += threads())
    if (e % ld >= k || e / ld >= k) C[e] = 0.0;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    finite_blocks(const long long *offsets, const long long *blocks, long long n, int d,
                  const double *D, NotFinite *found) {
  const Rows rows = {offsets, blocks, n, d};
  for (long long i = thread(); i < n; i += threads()) {
    const int width = rows.dim(i);
    const long long block = rows.block(i);
    for (int a = 0; a < width; ++a)
      for (int b = 0; b <= a; ++b)
        if (!is_finite(D[block + a * width + b])) {
          tell(found, block + a * width + b);
          return;
        }
  }
}
