// The decoder of a round: W = (G - s s'/n + lambda I)^-1 (F - s m'), c = m - W's/n, with G = Phi'Phi, F = Phi'X,
// s = Phi'1 and the mean m of the rows, which is what the system with an intercept that is not penalised comes to.
//
//   round_centre  the matrix, by columns, and the right-hand sides
//   round_axes    circles turned into their own axes; what each explains
//   round_end     the intercept, and the record of the round
//
// record: the objective (|X|^2 - <W, F> - n c'm) / 2, the rows that switched, the first pivot that is not positive
// (from 1; 0 where there is none), then the trace of W_a W_a' G_aa of every circle.

#define AXES 128

__device__ __forceinline__ double block_sum(double v, double *memory) {
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = blockDim.x >> 5;
  v = warp_sum(v);
  __syncthreads();
  if (lane == 0) memory[warp] = v;
  __syncthreads();
  double sum = 0.0;
  for (int w = 0; w < warps; w++) sum += memory[w];
  return sum;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    round_centre(const double *gram, const double *moment, const double *ones, const double *mean, double rows,
                 double lambda, int features, int p, double *matrix, double *right) {
  wait_for_work_ahead();
  const long long u = (long long)blockIdx.x * THREADS + threadIdx.x, square = (long long)features * features;
  if (u < square) {
    const int j = (int)(u / features), i = (int)(u % features);
    double v = gram[(long long)i * features + j];
    if (i == j && v + lambda == 0.0) v = 1.0;
    v -= ones[i] * (ones[j] / rows);
    matrix[u] = i == j ? v + lambda : v;
  } else if (u < square + (long long)features * p) {
    const long long at = u - square;
    right[at] = moment[at] - ones[at / p] * mean[at % p];
  }
}

// solution: F x p. lines: the same in the axes of the circles. turns: cosine and sine. weights: s / n there.
extern "C" __global__ void __launch_bounds__(AXES)
    round_axes(const double *solution, const double *moment, const double *gram, const double *ones, double rows,
               int circles, int p, double *lines, double *turns, double *weights, double *shares,
               double *explained) {
  wait_for_work_ahead();
  __shared__ double memory[AXES / 32];
  const int a = blockIdx.x, features = 2 * circles;
  const long long first = (long long)a * p, second = (long long)(circles + a) * p;
  double square = 0.0, cross = 0.0, other = 0.0, along = 0.0;
  for (int c = threadIdx.x; c < p; c += AXES) {
    const double v = solution[first + c], w = solution[second + c];
    square = fma(v, v, square);
    cross = fma(v, w, cross);
    other = fma(w, w, other);
    along += v * moment[first + c] + w * moment[second + c];
  }
  square = block_sum(square, memory);
  cross = block_sum(cross, memory);
  other = block_sum(other, memory);
  along = block_sum(along, memory);
  double sine, cosine;
  sincos(0.5 * atan2(2.0 * cross, square - other), &sine, &cosine);
  for (int c = threadIdx.x; c < p; c += AXES) {
    const double v = solution[first + c], w = solution[second + c];
    lines[first + c] = cosine * v + sine * w;
    lines[second + c] = cosine * w - sine * v;
  }
  if (threadIdx.x == 0) {
    turns[2 * a] = cosine;
    turns[2 * a + 1] = sine;
    const double u = ones[a] / rows, v = ones[circles + a] / rows;
    weights[a] = cosine * u + sine * v;
    weights[circles + a] = cosine * v - sine * u;
    const double *g = gram + (long long)a * features, *h = gram + (long long)(circles + a) * features;
    shares[a] = g[a] * square + (g[circles + a] + h[a]) * cross + h[circles + a] * other;
    explained[a] = along;
  }
}

extern "C" __global__ void __launch_bounds__(1024)
    round_end(const double *lines, const double *weights, const double *mean, const double *explained,
              const u32 *changed, const int *info, double rows, double square, int circles, int p,
              double *intercept, double *record) {
  wait_for_work_ahead();
  __shared__ double memory[32];
  const int features = 2 * circles;
  double sum = 0.0;
  for (int c = threadIdx.x; c < p; c += 1024) {
    double v = mean[c];
#pragma unroll 8
    for (int f = 0; f < features; f++) v = fma(-weights[f], lines[(long long)f * p + c], v);
    intercept[c] = v;
    sum += rows * v * mean[c];
  }
  for (int a = threadIdx.x; a < circles; a += 1024) sum += explained[a];
  sum = block_sum(sum, memory);
  if (threadIdx.x == 0) {
    record[0] = 0.5 * (square - sum);
    record[1] = (double)*changed;
    record[2] = (double)*info;
  }
}
