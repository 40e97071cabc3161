// The decoder of a round: W = (G - s s'/n + lambda I)^-1 (F - s m'), c = m - W's/n, with G = Phi'Phi, F = Phi'X,
// s = Phi'1 and the mean m of the rows, which is what the system with an intercept that is not penalised comes to.
//
//   round_decoder    all of it where the matrix fits into the shared memory of a block: each factors it for some
//                    columns
//   round_centre     the matrix, by columns, and the right-hand sides, where a library factors and solves
//   round_intercept  what follows then
//   round_axes       circles turned into their own axes; what each explains
//   round_end        codes follow the turns; the record of the round
//
// Features whose diagonal is 0 get 1 there: no row has them on, and their lines are 0.
//
// explained: <W, F> + n c'm by block of columns. shares: the trace of W_a W_a' G_aa. The objective is
// (|X|^2 - <W, F> - n c'm) / 2.

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

// Of the matrix; `share` is s_j / n.
__device__ __forceinline__ double centred(const double *gram, const double *ones, double share, double lambda,
                                          int features, int i, int j) {
  double v = gram[(long long)i * features + j];
  if (i == j && v + lambda == 0.0) v = 1.0;
  v -= ones[i] * share;
  return i == j ? v + lambda : v;
}

__device__ __forceinline__ void multiply_add(double c[2], double a, double b) {
  asm volatile("mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {%0, %1}, {%2}, {%3}, {%0, %1};"
               : "+d"(c[0]), "+d"(c[1])
               : "d"(a), "d"(b));
}

// L L' = A by panels, the right-hand sides as further rows of the matrix, so that these become B' L^-T; then by panels
// from the last to the first X' = B' L^-T L^-1. Tiles of the lower triangle and of the right-hand sides stay in
// registers, by column from warp to warp, until their column is the panel; in a panel each thread has a row, and
// factors the diagonal block for itself. `order` is a multiple of PANEL; `wide` columns a block stand in whole tiles.
// Shared: two panels; L, order rows of order + 1; `wide` rows of order + 1 of the right-hand sides.
extern "C" __global__ void __launch_bounds__(FACTORING)
    round_decoder(const double *gram, const double *moment, const double *ones, const double *mean, double rows,
                  double lambda, int features, int order, int wide, int p, double *solution, double *intercept,
                  double *explained, int *info) {
  wait_for_work_ahead();
  extern __shared__ double memory[];
  __shared__ double parts[FACTORING / 32], share[MOST_SHARED], by_pivot[MOST_SHARED];
  const int t = threadIdx.x, lane = t & 31, warp = t >> 5, stride = order + 1;
  const int square = order / PANEL, sides = (wide + PANEL - 1) / PANEL, blocks = square + sides;
  double *panels = memory, *factor = panels + 2 * (MOST_SHARED + WIDEST) * PANEL_STRIDE;
  double *solved = factor + order * stride;
  const int column = blockIdx.x * wide, here = p - column < wide ? p - column : wide;
  if (t < features) share[t] = ones[t] / rows;
  __syncthreads();
  const int at = lane >> 2, from = lane & 3;
  // Tile (i, j) is i << 8 | j; what is none has the panel 255.
  int tile[TILES];
  double c[TILES][2];
#pragma unroll
  for (int s = 0; s < TILES; s++) {
    int u = warp + s * (FACTORING / 32), j = 0;
    while (j < square && u >= blocks - j) {
      u -= blocks - j;
      j++;
    }
    const int i = j + u;
    tile[s] = j < square ? i << 8 | j : -1;
    c[s][0] = c[s][1] = 0.0;
    if (j == square) continue;
#pragma unroll
    for (int m = 0; m < 2; m++) {
      const int g = PANEL * j + 2 * from + m, f = PANEL * i + at;
      double v = 0.0;
      if (i < square) {
        v = f == g ? 1.0 : 0.0;
        if (f < features && g < features) v = centred(gram, ones, share[g], lambda, features, f, g);
      } else {
        const int b = f - order;
        if (b < here && g < features) v = moment[(long long)g * p + column + b] - ones[g] * mean[column + b];
      }
      c[s][m] = v;
    }
  }
  for (int k = 0; k < square; k++) {
    double *panel = panels + (k & 1) * (MOST_SHARED + WIDEST) * PANEL_STRIDE;
#pragma unroll
    for (int s = 0; s < TILES; s++)
      if (tile[s] >= 0 && (tile[s] & 255) == k) {
        double *to = panel + (PANEL * (tile[s] >> 8) + at) * PANEL_STRIDE + 2 * from;
        *(double2 *)to = make_double2(c[s][0], c[s][1]);
      }
    __syncthreads();
    const int r = PANEL * k + t;
    if (r < PANEL * blocks) {
      double d[PANEL][PANEL], y[PANEL];
#pragma unroll
      for (int i = 0; i < PANEL; i++)
#pragma unroll
        for (int j = 0; j <= i; j += 2) {
          const double2 both = *(const double2 *)(panel + (PANEL * k + i) * PANEL_STRIDE + j);
          d[i][j] = both.x;
          d[i][j + 1] = both.y;
        }
#pragma unroll
      for (int j = 0; j < PANEL; j += 2) {
        const double2 both = *(const double2 *)(panel + r * PANEL_STRIDE + j);
        y[j] = both.x;
        y[j + 1] = both.y;
      }
#pragma unroll
      for (int j = 0; j < PANEL; j++) {
        const double pivot = d[j][j];
        if (t == 0 && blockIdx.x == 0 && !(pivot > 0.0) && *info == 0) *info = PANEL * k + j + 1;
        const double by = reciprocal_root(pivot);
        if (t == 0) by_pivot[PANEL * k + j] = by;
        y[j] *= by;
#pragma unroll
        for (int i = j + 1; i < PANEL; i++) d[i][j] *= by;
#pragma unroll
        for (int i = j + 1; i < PANEL; i++) {
#pragma unroll
          for (int q = j + 1; q <= i; q++) d[i][q] -= d[i][j] * d[q][j];
          y[i] -= y[j] * d[i][j];
        }
      }
      // Other threads still read the diagonal block, and nobody its rows hereafter but from the factor; of these the
      // numbers right of the diagonal are not read either.
      double *row = r < order ? factor + r * stride : solved + (r - order) * stride;
      if (r < order + wide)
#pragma unroll
        for (int j = 0; j < PANEL; j++) row[PANEL * k + j] = y[j];
      if (r >= PANEL * (k + 1))
#pragma unroll
        for (int j = 0; j < PANEL; j += 2)
          *(double2 *)(panel + r * PANEL_STRIDE + j) = make_double2(y[j], y[j + 1]);
    }
    __syncthreads();
#pragma unroll
    for (int s = 0; s < TILES; s++)
      if (tile[s] >= 0 && (tile[s] & 255) > k) {
        const double *left = panel + (PANEL * (tile[s] >> 8) + at) * PANEL_STRIDE + from;
        const double *right = panel + (PANEL * (tile[s] & 255) + at) * PANEL_STRIDE + from;
        multiply_add(c[s], -left[0], right[0]);
        multiply_add(c[s], -left[4], right[4]);
      }
  }
  for (int k = order - PANEL; k >= 0; k -= PANEL) {
    if (t < wide) {
      double *y = solved + t * stride + k;
      double x[PANEL];
#pragma unroll
      for (int j = 0; j < PANEL; j++) x[j] = y[j];
#pragma unroll
      for (int j = PANEL - 1; j >= 0; j--) {
        x[j] *= by_pivot[k + j];
#pragma unroll
        for (int q = 0; q < j; q++) x[q] -= x[j] * factor[(k + j) * stride + k + q];
      }
#pragma unroll
      for (int j = 0; j < PANEL; j++) y[j] = x[j];
    }
    __syncthreads();
    for (int b = warp; b < wide; b += FACTORING / 32) {
      double x[PANEL];
#pragma unroll
      for (int q = 0; q < PANEL; q++) x[q] = solved[b * stride + k + q];
      for (int j = lane; j < k; j += 32) {
        double sum = solved[b * stride + j];
#pragma unroll
        for (int q = 0; q < PANEL; q++) sum = fma(-x[q], factor[(k + q) * stride + j], sum);
        solved[b * stride + j] = sum;
      }
    }
    __syncthreads();
  }
  for (int u = t; u < here * features; u += FACTORING) {
    const int f = u / here, b = u % here;
    solution[(long long)f * p + column + b] = solved[b * stride + f];
  }
  // A warp a column.
  double worth = 0.0;
  for (int b = warp; b < here; b += FACTORING / 32) {
    double along = 0.0, mine = 0.0;
    for (int f = lane; f < features; f += 32) {
      const double w = solved[b * stride + f];
      along = fma(w, ones[f], along);
      mine = fma(w, moment[(long long)f * p + column + b], mine);
    }
    along = warp_sum(along);
    mine = warp_sum(mine);
    const double m = mean[column + b], v = m - along / rows;
    if (lane == 0) intercept[column + b] = v;
    worth += mine + rows * v * m;
  }
  if (lane == 0) parts[warp] = worth;
  __syncthreads();
  if (t == 0) {
    double sum = 0.0;
    for (int w = 0; w < FACTORING / 32; w++) sum += parts[w];
    explained[blockIdx.x] = sum;
  }
}

extern "C" __global__ void __launch_bounds__(THREADS)
    round_centre(const double *gram, const double *moment, const double *ones, const double *mean, double rows,
                 double lambda, int features, int p, double *matrix, double *right) {
  wait_for_work_ahead();
  const long long u = (long long)blockIdx.x * THREADS + threadIdx.x, square = (long long)features * features;
  if (u < square) {
    const int j = (int)(u / features), i = (int)(u % features);
    matrix[u] = centred(gram, ones, ones[j] / rows, lambda, features, i, j);
  } else if (u < square + (long long)features * p) {
    const long long at = u - square;
    right[at] = moment[at] - ones[at / p] * mean[at % p];
  }
}

extern "C" __global__ void __launch_bounds__(THREADS)
    round_intercept(const double *solution, const double *moment, const double *ones, const double *mean, double rows,
                    int features, int p, double *intercept, double *explained) {
  wait_for_work_ahead();
  __shared__ double along[THREADS / ACROSS][ACROSS], worth[THREADS / ACROSS][ACROSS];
  const int x = threadIdx.x % ACROSS, y = threadIdx.x / ACROSS, c = blockIdx.x * ACROSS + x;
  double sum = 0.0, mine = 0.0;
  if (c < p)
    for (int f = y; f < features; f += THREADS / ACROSS) {
      const double w = solution[(long long)f * p + c];
      sum = fma(w, ones[f], sum);
      mine = fma(w, moment[(long long)f * p + c], mine);
    }
  along[y][x] = sum;
  worth[y][x] = mine;
  __syncthreads();
  if (y == 0) {
    sum = mine = 0.0;
    for (int part = 0; part < THREADS / ACROSS; part++) {
      sum += along[part][x];
      mine += worth[part][x];
    }
    if (c < p) {
      const double v = mean[c] - sum / rows;
      intercept[c] = v;
      mine += rows * v * mean[c];
    }
    mine = warp_sum(mine);
    if (x == 0) explained[blockIdx.x] = mine;
  }
}

// solution: F x p. lines: the same in the axes of the circles. turns: cosine and sine. weights: s / n there.
extern "C" __global__ void __launch_bounds__(AXES)
    round_axes(const double *solution, const double *gram, const double *ones, double rows, int circles, int p,
               double *lines, double *turns, double *weights, double *shares) {
  wait_for_work_ahead();
  __shared__ double memory[AXES / 32];
  const int a = blockIdx.x, features = 2 * circles;
  const long long first = (long long)a * p, second = (long long)(circles + a) * p;
  double square = 0.0, cross = 0.0, other = 0.0;
#pragma unroll 4
  for (int c = threadIdx.x; c < p; c += AXES) {
    const double v = solution[first + c], w = solution[second + c];
    square = fma(v, v, square);
    cross = fma(v, w, cross);
    other = fma(w, w, other);
  }
  square = block_sum(square, memory);
  cross = block_sum(cross, memory);
  other = block_sum(other, memory);
  double sine, cosine;
  sincos(0.5 * atan2(2.0 * cross, square - other), &sine, &cosine);
#pragma unroll 4
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
  }
}

extern "C" __global__ void __launch_bounds__(THREADS)
    round_end(const u32 *atoms, const double *turns, long long entries, double *phis, const double *explained,
              int parts, const u32 *changed, const int *info, double square, RoundRecord *record) {
  wait_for_work_ahead();
  const long long e = (long long)blockIdx.x * THREADS + threadIdx.x;
  const u32 a = e < entries ? atoms[e] : NONE;
  if (a != NONE) {
    const double cosine = turns[2 * a], sine = turns[2 * a + 1], x = phis[2 * e], y = phis[2 * e + 1];
    phis[2 * e] = cosine * x + sine * y;
    phis[2 * e + 1] = cosine * y - sine * x;
  }
  if (blockIdx.x) return;
  __shared__ double memory[THREADS / 32];
  double sum = 0.0;
  for (int part = threadIdx.x; part < parts; part += THREADS) sum += explained[part];
  sum = block_sum(sum, memory);
  if (threadIdx.x == 0) {
    record->objective = 0.5 * (square - sum);
    record->changed = *changed;
    record->pivot = *info;
  }
}
