// Rows choose circles of a first harmonic under a fixed decoder: the search of `encode/search.rs`, for a block of
// rows at a time.
//
//   round_rows    |x|^2 and x'm of every row, once
//   round_gram    K = W W', its squares of axes, W c and |c|^2
//   round_choose  by slot: a warp a row finds the circle with the largest gain beside those that are on, in
//                 single precision; then a thread a row places it, and all that are on one by one, in double
//   round_count   the same counts for codes that stay
//
// Decoders are row-major, first functions of all circles, then second functions: line a and line C + a belong to
// circle a. Every circle stands in its own axes, the longer one first.
//
// The multiplier v of the best place is the root of |z(v)| = 1: `encode/angle.rs` has the equations.

#define NONE 0xffffffffu
// Sweeps over the circles of a row, and steps of Newton's method for one place.
#define SWEEPS 3
#define STEPS 12
// Steps of Newton's method for two places together.
#define SETTLING 4
// Rows of a warp.
#define EACH (ROWS / (THREADS / 32))

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

// Line F is the intercept. shift: W c, and |c|^2 last. axes: the diagonal of K in single precision. A warp a tile of
// SIDE x SIDE, on and above the diagonal; also clears what the round counts.
extern "C" __global__ void __launch_bounds__(THREADS)
    round_gram(const double *lines, const double *intercept, int features, int p, double *gram, float *single,
               float *axes, double *shift, u32 *changed, int *info) {
  wait_for_work_ahead();
  if (blockIdx.x == 0 && blockIdx.y == 0 && threadIdx.x == 0) *changed = *info = 0;
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  const int first = SIDE * blockIdx.y, second = SIDE * (blockIdx.x * (THREADS / 32) + warp);
  if (second + SIDE <= first || second > features) return;
  const double *left[SIDE], *right[SIDE];
#pragma unroll
  for (int i = 0; i < SIDE; i++) {
    const int a = first + i < features ? first + i : features, b = second + i < features ? second + i : features;
    left[i] = a == features ? intercept : lines + (long long)a * p;
    right[i] = b == features ? intercept : lines + (long long)b * p;
  }
  double sum[SIDE][SIDE];
#pragma unroll
  for (int i = 0; i < SIDE; i++)
#pragma unroll
    for (int j = 0; j < SIDE; j++) sum[i][j] = 0.0;
#pragma unroll 2
  for (int c = lane; c < p; c += 32) {
    double v[SIDE], w[SIDE];
#pragma unroll
    for (int i = 0; i < SIDE; i++) {
      v[i] = left[i][c];
      w[i] = right[i][c];
    }
#pragma unroll
    for (int i = 0; i < SIDE; i++)
#pragma unroll
      for (int j = 0; j < SIDE; j++) sum[i][j] = fma(v[i], w[j], sum[i][j]);
  }
#pragma unroll
  for (int i = 0; i < SIDE; i++)
#pragma unroll
    for (int j = 0; j < SIDE; j++) {
      const double v = warp_sum(sum[i][j]);
      const int f = first + i, g = second + j;
      if (lane || f > g || g > features) continue;
      if (g == features) {
        shift[f] = v;
        continue;
      }
      gram[(long long)f * features + g] = gram[(long long)g * features + f] = v;
      single[(long long)f * features + g] = single[(long long)g * features + f] = (float)v;
      if (f == g) axes[f] = (float)v;
    }
}

// 1 / x and 1 / sqrt(x) to rounding, for positive numbers far from the ends of the range.
__device__ __forceinline__ double reciprocal(double x) {
  double y;
  asm("rcp.approx.ftz.f64 %0, %1;" : "=d"(y) : "d"(x));
  const double e = fma(-x, y, 1.0);
  return fma(y, fma(e, e, e), y);
}

__device__ __forceinline__ double reciprocal_root(double x) {
  double y;
  asm("rsqrt.approx.ftz.f64 %0, %1;" : "=d"(y) : "d"(x));
  const double e = fma(-x * y, y, 1.0);
  return fma(y * e, fma(0.375, e, 0.5), y);
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
    const double both = reciprocal((v + d) * v);
    const double by0 = v * both, by1 = (v + d) * both;
    z0 = q0 * by0;
    z1 = q1 * by1;
    const double x = z0 * z0, y = z1 * z1, square = x + y;
    const double miss = square * reciprocal_root(square) - 1.0;
    v += square * miss * reciprocal(x * by0 + y * by1);
    if (miss < 1e-4) {
      z0 = q0 * v;
      z1 = q1 * (v + d);
      break;
    }
  }
  const double by = reciprocal_root(z0 * z0 + z1 * z1);
  z0 *= by;
  z1 *= by;
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

  // Two circles go to the stationary point near them together, if it lies lower: steps of Newton's method on the
  // angles, with the gradient and the Hessian of `encode/search/settle.rs`.
  __device__ __noinline__ void settle(const Under &under, const double *pulls) {
    const u32 c = under.circles, a = on[0], b = on[1];
    const double q0 = pulls[a] - under.shift[a], q1 = pulls[c + a] - under.shift[c + a];
    const double q2 = pulls[b] - under.shift[b], q3 = pulls[c + b] - under.shift[c + b];
    const double a0 = under.k(a, a), a1 = under.k(c + a, c + a), b0 = under.k(b, b), b1 = under.k(c + b, c + b);
    const double k0 = under.k(a, b), k1 = under.k(a, c + b), k2 = under.k(c + a, b), k3 = under.k(c + a, c + b);
    double w = phi[0], x = phi[1], y = phi[2], z = phi[3], before = 0.0;
    bool is_lower = false;
    for (int step = 0; step <= SETTLING; step++) {
      const double u0 = a0 * w + k0 * y + k1 * z - q0, u1 = a1 * x + k2 * y + k3 * z - q1;
      const double u2 = b0 * y + k0 * w + k2 * x - q2, u3 = b1 * z + k1 * w + k3 * x - q3;
      // Twice the energy: (K phi - c)' phi - c' phi.
      const double twice = (u0 - q0) * w + (u1 - q1) * x + (u2 - q2) * y + (u3 - q3) * z;
      if (step == 0) before = twice;
      else is_lower = twice < before;
      const double g0 = w * u1 - x * u0, g1 = y * u3 - z * u2;
      const double h0 = a0 * x * x + a1 * w * w - (w * u0 + x * u1);
      const double h1 = b0 * z * z + b1 * y * y - (y * u2 + z * u3);
      const double h2 = x * (k0 * z - k1 * y) - w * (k2 * z - k3 * y), det = h0 * h1 - h2 * h2;
      if (step == SETTLING || !(h0 > 0.0 && det > 1e-12 * h0 * h1)) break;
      const double by = reciprocal(det), s = (h2 * g1 - h1 * g0) * by, t = (h2 * g0 - h0 * g1) * by;
      const double far = larger(fabs(s), fabs(t));
      // Written so that NaN is too far.
      if (!(far <= 0.3) || far < 1e-9) break;
      const double v0 = w - s * x, v1 = x + s * w, v2 = y - t * z, v3 = z + t * y;
      const double r0 = reciprocal_root(v0 * v0 + v1 * v1), r1 = reciprocal_root(v2 * v2 + v3 * v3);
      w = v0 * r0;
      x = v1 * r0;
      y = v2 * r1;
      z = v3 * r1;
    }
    if (!is_lower) return;
    phi[0] = w;
    phi[1] = x;
    phi[2] = y;
    phi[3] = z;
  }

  // All circles that are on go to their best places, one by one, until they stand still, and two of them then
  // together.
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
    if (count == 2) settle(under, pulls);
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
  __shared__ u32 on[ROWS][MOST_SLOTS], kept_on[ROWS][MOST_SLOTS];
  __shared__ double phi[ROWS][2 * MOST_SLOTS], kept_phi[ROWS][2 * MOST_SLOTS];
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
    {
      // The rows of a warp go side by side.
      float best[EACH];
      u32 which[EACH];
      double shifted[EACH];
      bool goes_on[EACH];
#pragma unroll
      for (int q = 0; q < EACH; q++) {
        best[q] = __int_as_float(0xff800000);
        which[q] = NONE;
        shifted[q] = 0.0;
        goes_on[q] = is_open[warp * EACH + q];
      }
      for (int a = lane; a < circles; a += 32) {
        const double shift0 = shift[a], shift1 = shift[circles + a];
        const float a0 = axes[a], a1 = axes[circles + a];
        const double mean0 = mean_weights[a], mean1 = mean_weights[circles + a];
#pragma unroll
        for (int q = 0; q < EACH; q++) {
          if (!goes_on[q]) continue;
          const int r = warp * EACH + q;
          const double *row = pulls + (first + r) * features;
          const double raw0 = row[a], raw1 = row[circles + a];
          if (slot == 0) shifted[q] += mean0 * raw0 + mean1 * raw1;
          float p0 = (float)(raw0 - shift0), p1 = (float)(raw1 - shift1);
          bool is_on = false;
          for (int s = 0; s < slot; s++) {
            const u32 b = on[r][s];
            is_on |= b == (u32)a;
            const float x = (float)phi[r][2 * s], y = (float)phi[r][2 * s + 1];
            const float *k0 = single + (long long)b * features, *k1 = k0 + (long long)circles * features;
            p0 -= k0[a] * x + k1[a] * y;
            p1 -= k0[circles + a] * x + k1[circles + a] * y;
          }
          const float gain = guess(p0, p1, a0, a1);
          if (!is_on && gain > best[q]) {
            best[q] = gain;
            which[q] = a;
          }
        }
      }
#pragma unroll
      for (int o = 16; o; o >>= 1)
#pragma unroll
        for (int q = 0; q < EACH; q++) {
          const float other = __shfl_xor_sync(~0u, best[q], o);
          const u32 at = __shfl_xor_sync(~0u, which[q], o);
          if (other > best[q] || (other == best[q] && at < which[q])) {
            best[q] = other;
            which[q] = at;
          }
        }
#pragma unroll
      for (int q = 0; q < EACH; q++) {
        if (slot == 0) shifted[q] = warp_sum(shifted[q]);
        if (lane == 0 && goes_on[q]) {
          pick[warp * EACH + q] = which[q];
          if (slot == 0) centre[warp * EACH + q] = shifted[q];
        }
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
    round_count(const u32 *atoms, long long n, int circles, int slots, u32 *counts, u32 *changed, int *info) {
  wait_for_work_ahead();
  if (blockIdx.x == 0 && threadIdx.x == 0) *changed = *info = 0;
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
