// Rows choose circles of a first harmonic under a fixed decoder: the search of `encode/search.rs`, for a block of
// rows at a time.
//
//   round_rows    |x|^2 and x'm of every row, once
//   round_gram    K = W W', its squares of axes, W c and |c|^2
//   round_choose  by slot: a warp a row finds the circle with the largest gain beside those that are on, in
//                 single precision; then a thread a row places it, and all that are on one by one, in double
//   round_turn_codes  codes follow circles that were turned into their own axes
//
// Decoders are row-major, first functions of all circles, then second functions: line a and line C + a belong to
// circle a. Every circle stands in its own axes, the longer one first.
//
// The multiplier v of the best place is the root of |z(v)| = 1: `encode/angle.rs` has the equations.

#define NONE 0xffffffffu
// Rows that a block of threads chooses for together.
#define ROWS 32
#define THREADS 256
// The most circles that are on in a row.
#define SLOTS 8
// Sweeps over the circles of a row, and steps of Newton's method for one place.
#define SWEEPS 3
#define STEPS 12

typedef unsigned int u32;

__device__ __forceinline__ double warp_sum(double v) {
#pragma unroll
  for (int o = 16; o; o >>= 1) v += __shfl_xor_sync(~0u, v, o);
  return v;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    round_rows(const double *x, const double *mean, long long n, int p, double *squares, double *along_mean) {
  wait_for_work_ahead();
  const long long row = (long long)blockIdx.x * (THREADS / 32) + (threadIdx.x >> 5);
  if (row >= n) return;
  const double *r = x + row * p;
  double square = 0.0, along = 0.0;
  for (int c = threadIdx.x & 31; c < p; c += 32) {
    const double v = r[c];
    square = fma(v, v, square);
    along = fma(v, mean[c], along);
  }
  square = warp_sum(square);
  along = warp_sum(along);
  if ((threadIdx.x & 31) == 0) {
    squares[row] = square;
    along_mean[row] = along;
  }
}

#define TILE 16
#define DEEP 32

// Line F is the intercept. shift: W c, and |c|^2 last. axes: the diagonal of K in single precision.
extern "C" __global__ void __launch_bounds__(TILE * TILE)
    round_gram(const double *lines, const double *intercept, int features, int p, double *gram, float *single,
               float *axes, double *shift) {
  wait_for_work_ahead();
  __shared__ double left[TILE][DEEP + 1], right[TILE][DEEP + 1];
  const int tx = threadIdx.x % TILE, ty = threadIdx.x / TILE;
  const int first = blockIdx.y * TILE, second = blockIdx.x * TILE;
  double sum = 0.0;
  for (int from = 0; from < p; from += DEEP) {
    for (int u = threadIdx.x; u < TILE * DEEP; u += TILE * TILE) {
      const int r = u / DEEP, c = u % DEEP, at = from + c;
      const int i = first + r, j = second + r;
      double v = 0.0, w = 0.0;
      if (at < p) {
        if (i < features) v = lines[(long long)i * p + at];
        if (i == features) v = intercept[at];
        if (j < features) w = lines[(long long)j * p + at];
        if (j == features) w = intercept[at];
      }
      left[r][c] = v;
      right[r][c] = w;
    }
    __syncthreads();
#pragma unroll
    for (int c = 0; c < DEEP; c++) sum = fma(left[ty][c], right[tx][c], sum);
    __syncthreads();
  }
  const int i = first + ty, j = second + tx;
  if (i < features && j < features) {
    gram[(long long)i * features + j] = sum;
    single[(long long)i * features + j] = (float)sum;
    if (i == j) axes[i] = (float)sum;
  } else if (j == features && i <= features) {
    shift[i] = sum;
  }
}

__device__ __forceinline__ double larger(double a, double b) { return b > a ? b : a; }

__device__ __forceinline__ double gain_at(double q0, double q1, double a0, double a1, double z0, double z1) {
  return q0 * z0 + q1 * z1 - 0.5 * (a0 * z0 * z0 + a1 * z1 * z1);
}

// The best place for the pull q, in double precision; d is the difference of the axes.
__device__ __forceinline__ void best_place(double q0, double q1, double d, double &z0, double &z1) {
  const double length = sqrt(q0 * q0 + q1 * q1);
  double v = larger(fabs(q1), length - d);
  if (v <= 1e-150 * (length + d)) {
    if (d == 0.0) {
      z0 = 1.0;
      z1 = 0.0;
      return;
    }
    z0 = q0 / d;
    z1 = sqrt(larger(1.0 - z0 * z0, 0.0));
    return;
  }
  z0 = z1 = 0.0;
  for (int step = 0; step < STEPS; step++) {
    const double both = 1.0 / ((v + d) * v);
    const double by0 = v * both, by1 = (v + d) * both;
    z0 = q0 * by0;
    z1 = q1 * by1;
    const double x = z0 * z0, y = z1 * z1, square = x + y;
    const double miss = sqrt(square) - 1.0;
    v += square * miss / (x * by0 + y * by1);
    if (miss < 1e-4) {
      z0 = q0 * v;
      z1 = q1 * (v + d);
      break;
    }
  }
  const double norm = sqrt(z0 * z0 + z1 * z1);
  z0 /= norm;
  z1 /= norm;
}

// The largest gain in single precision: close enough to choose by. Two steps of Newton's method on the dual, whose
// error is of second order in v; from the lower bound of v on a cubic replaces the root.
__device__ __forceinline__ float guess(float p0, float p1, float a0, float a1) {
  const float tiny = 1e-30f, d = a0 - a1;
  float v = fmaxf(fabsf(p0) - d, fabsf(p1)) + tiny;
#pragma unroll
  for (int step = 0; step < 2; step++) {
    const float along = v + d, both = __fdividef(1.0f, along * v);
    const float by0 = v * both, by1 = along * both, x = p0 * by0, y = p1 * by1;
    const float x2 = x * x, y2 = y * y, square = x2 + y2, over = square - 1.0f;
    const float poly = 0.5f + over * (0.0302f * over - 0.116f);
    const float slope = x2 * by0 + y2 * by1 + tiny;
    v = fmaxf(v + __fdividef(square * over * poly, slope), tiny);
  }
  const float along = v + d, both = __fdividef(1.0f, along * v);
  const float x = p0 * (v * both), y = p1 * (along * both);
  return 0.5f * (p0 * x + p1 * y + v - a1);
}

// What all rows share.
struct Under {
  const double *gram, *shift;
  int circles, slots;

  __device__ __forceinline__ double k(u32 f, u32 g) const { return gram[(long long)f * 2 * circles + g]; }
};

// Circles of one row, and their places.
struct Code {
  u32 *on;
  double *phi;

  __device__ __forceinline__ int used(int slots) const {
    int s = 0;
    while (s < slots && on[s] != NONE) s++;
    return s;
  }

  __device__ __forceinline__ bool has(u32 a, int slots) const {
    for (int s = 0; s < slots; s++)
      if (on[s] == a) return true;
    return false;
  }

  // The pull on circle a beside the others of the first `slots`.
  __device__ __forceinline__ void left_over(const Under &under, const double *pulls, int slots, u32 a, double &q0,
                                            double &q1) const {
    const u32 c = under.circles;
    q0 = pulls[a] - under.shift[a];
    q1 = pulls[c + a] - under.shift[c + a];
    for (int s = 0; s < slots; s++) {
      const u32 b = on[s];
      if (b == a || b == NONE) continue;
      const double x = phi[2 * s], y = phi[2 * s + 1];
      q0 -= under.k(a, b) * x + under.k(a, c + b) * y;
      q1 -= under.k(c + a, b) * x + under.k(c + a, c + b) * y;
    }
  }

  // All circles that are on go to their best places, one by one, until they stand still.
  __device__ __noinline__ void refit(const Under &under, const double *pulls, int count, double still) {
    const u32 c = under.circles;
    const int sweeps = count < 2 ? 1 : SWEEPS;
    for (int sweep = 0; sweep < sweeps; sweep++) {
      double moved = 0.0;
      for (int s = 0; s < count; s++) {
        const u32 a = on[s];
        double q0, q1, z0, z1;
        left_over(under, pulls, count, a, q0, q1);
        best_place(q0, q1, under.k(a, a) - under.k(c + a, c + a), z0, z1);
        moved = larger(moved, fabs(z0 - phi[2 * s]) + fabs(z1 - phi[2 * s + 1]));
        phi[2 * s] = z0;
        phi[2 * s + 1] = z1;
      }
      if (moved < still) break;
    }
  }

  // sum (K phi / 2 - c)' phi
  __device__ __noinline__ double energy(const Under &under, const double *pulls, int count) const {
    const u32 c = under.circles;
    double sum = 0.0;
    for (int s = 0; s < count; s++)
      for (int m = 0; m < 2; m++) {
        const u32 f = on[s] + m * c;
        double there = -2.0 * (pulls[f] - under.shift[f]);
        for (int other = 0; other < count; other++)
          for (int o = 0; o < 2; o++) there += under.k(f, on[other] + o * c) * phi[2 * other + o];
        sum += phi[2 * s + m] * there;
      }
    return 0.5 * sum;
  }
};

// along: x'c of every row, null where c = m - W'w with the mean m of the rows; then x'm - w'(W x) is the same.
// better: whether rows keep what they have unless a new choice is better by more than `noise` of |x - c|^2.
// counts: how often each circle is on in the rows of each block, by circle. changed (1): rows that switched.
extern "C" __global__ void __launch_bounds__(THREADS)
    round_choose(const double *pulls, const double *gram, const float *single, const float *axes,
                 const double *shift, const double *row_squares, const double *along_mean, const double *along,
                 int has_along, const double *mean_weights, long long n, int circles, int slots, int better,
                 double noise, u32 *atoms, double *phis, double *squares, u32 *counts, u32 *changed) {
  wait_for_work_ahead();
  __shared__ u32 on[ROWS][SLOTS], kept_on[ROWS][SLOTS];
  __shared__ double phi[ROWS][2 * SLOTS], kept_phi[ROWS][2 * SLOTS];
  __shared__ u32 pick[ROWS], is_open[ROWS];
  __shared__ double centre[ROWS];
  extern __shared__ u32 seen[];
  const int features = 2 * circles, t = threadIdx.x, lane = t & 31, warp = t >> 5;
  const long long first = (long long)blockIdx.x * ROWS;
  const Under under = {gram, shift, circles, slots};
  const double still = better ? 1e-7 : 1e-3;
  for (int a = t; a < circles; a += THREADS) seen[a] = 0;
  for (int u = t; u < ROWS * slots; u += THREADS) {
    const int r = u / slots, s = u % slots;
    on[r][s] = NONE;
    u32 a = NONE;
    double x = 0.0, y = 0.0;
    if (first + r < n) {
      const long long from = (first + r) * slots + s;
      a = atoms[from];
      x = phis[2 * from];
      y = phis[2 * from + 1];
    }
    kept_on[r][s] = a;
    kept_phi[r][2 * s] = x;
    kept_phi[r][2 * s + 1] = y;
    phi[r][2 * s] = phi[r][2 * s + 1] = 0.0;
  }
  if (t < ROWS) is_open[t] = first + t < n;
  __syncthreads();
  const bool is_row = t < ROWS && first + t < n;
  const double *own = pulls + (first + t) * features;
  double kept = 0.0;
  if (is_row && better) {
    Code old = {kept_on[t], kept_phi[t]};
    const int count = old.used(slots);
    const double before = old.energy(under, own, count);
    old.refit(under, own, count, still);
    kept = fmin(old.energy(under, own, count), before);
  }
  for (int slot = 0; slot < slots; slot++) {
    for (int r = warp; r < ROWS; r += THREADS / 32) {
      if (!is_open[r]) continue;
      const double *row = pulls + (first + r) * features;
      float best = __int_as_float(0xff800000);
      u32 which = NONE;
      double shifted = 0.0;
      for (int a = lane; a < circles; a += 32) {
        const double raw0 = row[a], raw1 = row[circles + a];
        if (slot == 0 && !has_along)
          shifted += mean_weights[a] * raw0 + mean_weights[circles + a] * raw1;
        float p0 = (float)(raw0 - shift[a]), p1 = (float)(raw1 - shift[circles + a]);
        bool is_on = false;
        for (int s = 0; s < slot; s++) {
          const u32 b = on[r][s];
          is_on |= b == (u32)a;
          const float x = (float)phi[r][2 * s], y = (float)phi[r][2 * s + 1];
          const float *k0 = single + (long long)b * features, *k1 = k0 + (long long)circles * features;
          p0 -= k0[a] * x + k1[a] * y;
          p1 -= k0[circles + a] * x + k1[circles + a] * y;
        }
        const float gain = guess(p0, p1, axes[a], axes[circles + a]);
        if (!is_on && gain > best) {
          best = gain;
          which = a;
        }
      }
#pragma unroll
      for (int o = 16; o; o >>= 1) {
        const float other = __shfl_xor_sync(~0u, best, o);
        const u32 at = __shfl_xor_sync(~0u, which, o);
        if (other > best || (other == best && at < which)) {
          best = other;
          which = at;
        }
      }
      if (slot == 0 && !has_along) shifted = warp_sum(shifted);
      if (lane == 0) {
        pick[r] = which;
        if (slot == 0) centre[r] = shifted;
      }
    }
    __syncthreads();
    if (is_row && is_open[t]) {
      Code code = {on[t], phi[t]};
      const u32 a = pick[t];
      bool found = false;
      if (a != NONE) {
        double q0, q1, z0, z1;
        code.left_over(under, own, slot, a, q0, q1);
        const double a0 = under.k(a, a), a1 = under.k(circles + a, circles + a);
        best_place(q0, q1, a0 - a1, z0, z1);
        if (gain_at(q0, q1, a0, a1, z0, z1) > 0.0) {
          found = true;
          code.on[slot] = a;
          code.phi[2 * slot] = z0;
          code.phi[2 * slot + 1] = z1;
          if (slot > 0) code.refit(under, own, slot + 1, still);
        }
      }
      is_open[t] = found;
    }
    __syncthreads();
  }
  if (is_row) {
    const long long row = first + t;
    Code code = {on[t], phi[t]}, old = {kept_on[t], kept_phi[t]};
    const int count = code.used(slots);
    double energy = code.energy(under, own, count);
    const double xc = has_along ? along[row] : along_mean[row] - centre[t];
    const double square = row_squares[row] - 2.0 * xc + shift[features];
    bool same = true;
    for (int s = 0; s < slots; s++) {
      same &= code.on[s] == NONE || old.has(code.on[s], slots);
      same &= old.on[s] == NONE || code.has(old.on[s], slots);
    }
    bool is_new = true;
    if (better) {
      is_new = energy < kept - noise * square;
      if (!is_new) energy = kept;
    }
    if (is_new && !same) atomicAdd(changed, 1u);
    squares[row] = larger(square + 2.0 * energy, 0.0);
    for (int s = 0; s < slots; s++) {
      const long long to = row * slots + s;
      const u32 a = is_new ? code.on[s] : old.on[s];
      atoms[to] = a;
      phis[2 * to] = is_new ? code.phi[2 * s] : old.phi[2 * s];
      phis[2 * to + 1] = is_new ? code.phi[2 * s + 1] : old.phi[2 * s + 1];
      if (a != NONE) atomicAdd(&seen[a], 1u);
    }
  }
  __syncthreads();
  for (int a = t; a < circles; a += THREADS) counts[(long long)a * gridDim.x + blockIdx.x] = seen[a];
}

// How often each circle is on in the rows of each block, of codes that stay.
extern "C" __global__ void __launch_bounds__(THREADS)
    round_count(const u32 *atoms, long long n, int circles, int slots, u32 *counts) {
  wait_for_work_ahead();
  extern __shared__ u32 seen[];
  for (int a = threadIdx.x; a < circles; a += THREADS) seen[a] = 0;
  __syncthreads();
  const long long first = (long long)blockIdx.x * ROWS * slots;
  const long long left = n * slots - first;
  const int count = left < ROWS * slots ? (int)left : ROWS * slots;
  for (int u = threadIdx.x; u < count; u += THREADS) {
    const u32 a = atoms[first + u];
    if (a != NONE) atomicAdd(&seen[a], 1u);
  }
  __syncthreads();
  for (int a = threadIdx.x; a < circles; a += THREADS)
    counts[(long long)a * gridDim.x + blockIdx.x] = seen[a];
}

extern "C" __global__ void __launch_bounds__(THREADS)
    round_turn_codes(const u32 *atoms, const double *turns, long long entries, double *phis) {
  wait_for_work_ahead();
  const long long e = (long long)blockIdx.x * THREADS + threadIdx.x;
  if (e >= entries) return;
  const u32 a = atoms[e];
  if (a == NONE) return;
  const double cosine = turns[2 * a], sine = turns[2 * a + 1], x = phis[2 * e], y = phis[2 * e + 1];
  phis[2 * e] = cosine * x + sine * y;
  phis[2 * e + 1] = cosine * y - sine * x;
}
