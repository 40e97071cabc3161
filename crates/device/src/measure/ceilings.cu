// What a device can do at most, measured by kernels that do nothing else.
//
// read_many    out[block] = sum over the grid's loads of n pairs, `rounds` times over
//              launch: any grid of THREADS threads; 16 bytes a thread and load, four loads in flight
// copy_many    to = from, n pairs, `rounds` times over; launch as read_many
// fma_chain    eight independent chains of x <- x a + b a thread; 16 rounds operations a thread
// substitute   x = L^-1 b for one lower triangle of order SUBSTITUTE_ORDER in shared memory, one
//              column a step:
//              the serial chain inside one block of as many threads, repeated `rounds` times
// hand_over    block i waits for the count i in memory, then writes i + 1; `rounds` times round:
//              the serial chain between blocks (cooperative launch, one block a multiprocessor)
// nothing      an empty kernel
//
// Layout: pairs are double2. Sums are written so that no load can be dropped, and read by nobody.

extern "C" __global__ void __launch_bounds__(THREADS)
read_many(const double2 *__restrict__ in, long long n, int rounds, double *out) {
  const long long step = (long long)gridDim.x * blockDim.x;
  const long long first = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  double s0 = 0, s1 = 0, s2 = 0, s3 = 0;
  for (int round = 0; round < rounds; ++round) {
    long long i = first;
    for (; i + 3 * step < n; i += 4 * step) {
      double2 a = __ldcg(in + i), b = __ldcg(in + i + step);
      double2 c = __ldcg(in + i + 2 * step), d = __ldcg(in + i + 3 * step);
      s0 += a.x + a.y;
      s1 += b.x + b.y;
      s2 += c.x + c.y;
      s3 += d.x + d.y;
    }
    for (; i < n; i += step) {
      double2 a = __ldcg(in + i);
      s0 += a.x + a.y;
    }
  }
  double s = (s0 + s1) + (s2 + s3);
  // True for no sum of the values read, which the compiler cannot know.
  if (s == 1.2345e300) out[blockIdx.x] = s;
}

extern "C" __global__ void __launch_bounds__(THREADS)
copy_many(const double2 *__restrict__ from, double2 *__restrict__ to, long long n, int rounds) {
  const long long step = (long long)gridDim.x * blockDim.x;
  const long long first = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  for (int round = 0; round < rounds; ++round) {
    long long i = first;
    for (; i + 3 * step < n; i += 4 * step) {
      double2 a = __ldcg(from + i), b = __ldcg(from + i + step);
      double2 c = __ldcg(from + i + 2 * step), d = __ldcg(from + i + 3 * step);
      to[i] = a;
      to[i + step] = b;
      to[i + 2 * step] = c;
      to[i + 3 * step] = d;
    }
    for (; i < n; i += step) to[i] = __ldcg(from + i);
  }
}

extern "C" __global__ void __launch_bounds__(THREADS)
fma_chain(int rounds, double a, double b, double *out) {
  double x[8];
#pragma unroll
  for (int j = 0; j < 8; ++j) x[j] = threadIdx.x + j;
  for (int i = 0; i < rounds; ++i) {
#pragma unroll
    for (int j = 0; j < 8; ++j) x[j] = fma(x[j], a, b);
  }
  double s = 0;
#pragma unroll
  for (int j = 0; j < 8; ++j) s += x[j];
  if (s == 1.2345e300) out[blockIdx.x] = s;
}

extern "C" __global__ void __launch_bounds__(SUBSTITUTE_ORDER)
substitute(int rounds, double *x) {
  __shared__ double column[SUBSTITUTE_ORDER];
  const int i = threadIdx.x;
  const double diagonal = 1.0 + 1e-3 * i, below = 1e-3 / (1 + i);
  double mine = x[i];
  for (int round = 0; round < rounds; ++round) {
    for (int k = 0; k < SUBSTITUTE_ORDER; ++k) {
      if (i == k) column[k] = mine * diagonal;
      __syncthreads();
      if (i > k) mine -= below * column[k];
    }
    mine = column[i];
    __syncthreads();
  }
  x[i] = mine;
}

extern "C" __global__ void hand_over(int rounds, unsigned *count) {
  if (threadIdx.x != 0) return;
  for (int round = 0; round < rounds; ++round) {
    const unsigned turn = (unsigned)round * gridDim.x + blockIdx.x;
    unsigned now;
    do {
      asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(now) : "l"(count) : "memory");
    } while (now != turn);
    asm volatile("st.release.gpu.global.u32 [%0], %1;" ::"l"(count), "r"(turn + 1) : "memory");
  }
}

extern "C" __global__ void nothing() {}
