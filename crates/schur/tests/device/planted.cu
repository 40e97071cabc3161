// What a tool must find, and that does no harm otherwise.
//
// planted_race   out[t] = what the other warp left in shared memory, or not yet
// planted_late   the same, by another name: racecheck is told the names of what it is to see
// planted_write  one number past the end of n, inside what the allocator rounds up to
// planted_read   a number that nothing wrote, and one more than it

__device__ __forceinline__ void race(double *out, double *shared) {
  const int t = threadIdx.x;
  shared[t] = -1.0;
  __syncthreads();
  shared[t] = t;
  out[t] = shared[t ^ 32];
}

extern "C" __global__ void __launch_bounds__(64) planted_race(double *out) {
  __shared__ double shared[64];
  race(out, shared);
}

extern "C" __global__ void __launch_bounds__(64) planted_late(double *out) {
  __shared__ double shared[64];
  race(out, shared);
}

extern "C" __global__ void planted_write(double *out, int n) { out[n] = 1.0; }

extern "C" __global__ void planted_read(const double *in, double *out) {
  const double x = in[0];
  out[0] = x;
  out[1] = x + 1.0;
}
