// Kernels of the tests.
//
// count_down   one thread: rounds += 1, left -= 1; the loop goes on while left > 0
// is_odd       one thread: the branch is taken if *x is odd
// fill_late    x[i] = value, i < n, after `cycles` clock cycles
// add_one      x[i] += 1, i < n
// write_far    writes to an address that nothing owns

extern "C" __device__ void cudaGraphSetConditional(unsigned long long handle, unsigned value);

extern "C" __global__ void count_down(int *left, int *rounds, unsigned long long condition) {
  *rounds += 1;
  *left -= 1;
  cudaGraphSetConditional(condition, *left > 0);
}

extern "C" __global__ void is_odd(const int *x, unsigned long long condition) {
  cudaGraphSetConditional(condition, *x & 1);
}

extern "C" __global__ void fill_late(double *x, long long n, double value, long long cycles) {
  long long start = clock64();
  while (clock64() - start < cycles) {
  }
  for (long long i = threadIdx.x; i < n; i += blockDim.x) x[i] = value;
}

extern "C" __global__ void add_one(double *x, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) x[i] += 1.0;
}

extern "C" __global__ void write_far(double *x) { x[1ll << 44] = 1.0; }
