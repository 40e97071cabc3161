// What a tool must find, and that does no harm otherwise.
//
// planted_race   out[t] = what the other warp left in shared memory, or not yet
// planted_write  one number past the end of n, inside what the allocator rounds up to
// planted_read   numbers that nothing wrote

extern "C" __global__ void __launch_bounds__(64) planted_race(double *out) {
  __shared__ double room[64];
  const int t = threadIdx.x;
  room[t] = -1.0;
  __syncthreads();
  room[t] = t;
  out[t] = room[t ^ 32];
}

extern "C" __global__ void planted_write(double *out, int n) { out[n] = 1.0; }

extern "C" __global__ void planted_read(const double *in, double *out) { out[0] = in[0] + 1.0; }
