// Addresses of a batch of equally spaced matrices, for library calls that take arrays of pointers.
//
//   out[i] = base + stride i,   0 <= i < count        (stride in doubles)
//
// Launch: one thread an address. Layout: `out` holds `count` addresses.

extern "C" __global__ void strided_pointers(double *base, long long stride, int count,
                                            double **out) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < count) out[i] = base + stride * i;
}
