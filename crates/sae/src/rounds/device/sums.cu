// Sums over the rows of a round, sparse where gates are, in an order that depends on the choices alone:
//
//   round_offsets  for every circle, where the entries of each block of rows begin among its own
//   round_chunks   where the entries of every circle begin, and its chunks of at most `length` of them
//   round_scatter  the entries sorted by circle, by row within each
//   round_sums     partial sums of a chunk: Phi'X, Phi'Phi and Phi'1
//   round_reduce   the partial sums of each circle, added in order
//
// An entry is a row in which a circle is on, with its place there.

// Columns of a block.
#define COLUMNS (2 * SUMMING)

extern "C" __global__ void __launch_bounds__(THREADS)
    round_offsets(const u32 *counts, int blocks, u32 *base, u32 *totals) {
  wait_for_work_ahead();
  __shared__ u32 of_warp[THREADS / 32];
  const int t = threadIdx.x, lane = t & 31, warp = t >> 5;
  const u32 *own = counts + (long long)blockIdx.x * blocks;
  u32 *to = base + (long long)blockIdx.x * blocks;
  u32 running = 0;
  for (int from = 0; from < blocks; from += THREADS) {
    const u32 v = from + t < blocks ? own[from + t] : 0;
    u32 sum = v;
#pragma unroll
    for (int o = 1; o < 32; o <<= 1) {
      const u32 up = __shfl_up_sync(~0u, sum, o);
      if (lane >= o) sum += up;
    }
    if (lane == 31) of_warp[warp] = sum;
    __syncthreads();
    u32 ahead = 0, all = 0;
    for (int w = 0; w < THREADS / 32; w++) {
      ahead += w < warp ? of_warp[w] : 0;
      all += of_warp[w];
    }
    if (from + t < blocks) to[from + t] = running + ahead + sum - v;
    running += all;
    __syncthreads();
  }
  if (t == 0) totals[blockIdx.x] = running;
}

// begins, chunks: one more than there are circles.
extern "C" __global__ void __launch_bounds__(MOST_CIRCLES)
    round_chunks(const u32 *totals, int circles, u32 length, u32 *begins, u32 *chunks) {
  wait_for_work_ahead();
  __shared__ u32 of_warp[MOST_CIRCLES / 32][2];
  const int t = threadIdx.x, lane = t & 31, warp = t >> 5;
  const u32 v = t < circles ? totals[t] : 0, w = (v + length - 1) / length;
  u32 sum = v, pieces = w;
#pragma unroll
  for (int o = 1; o < 32; o <<= 1) {
    const u32 up = __shfl_up_sync(~0u, sum, o), up_pieces = __shfl_up_sync(~0u, pieces, o);
    if (lane >= o) {
      sum += up;
      pieces += up_pieces;
    }
  }
  if (lane == 31) {
    of_warp[warp][0] = sum;
    of_warp[warp][1] = pieces;
  }
  __syncthreads();
  for (int other = 0; other < warp; other++) {
    sum += of_warp[other][0];
    pieces += of_warp[other][1];
  }
  if (t < circles) {
    begins[t] = sum - v;
    chunks[t] = pieces - w;
    if (t == circles - 1) {
      begins[circles] = sum;
      chunks[circles] = pieces;
    }
  }
}

extern "C" __global__ void __launch_bounds__(THREADS)
    round_scatter(const u32 *atoms, const double *phis, long long n, int slots, const u32 *base, const u32 *begins,
                  u32 *rows, double *places) {
  wait_for_work_ahead();
  __shared__ u32 at[ROWS * MOST_SLOTS];
  const int t = threadIdx.x, many = ROWS * slots;
  const long long first = (long long)blockIdx.x * many, e = first + t;
  const u32 a = t < many && e < n * slots ? atoms[e] : NONE;
  if (t < many) at[t] = a;
  __syncthreads();
  if (a == NONE) return;
  u32 rank = 0;
  for (int before = 0; before < t; before++) rank += at[before] == a;
  const u32 to = begins[a] + base[(long long)a * gridDim.x + blockIdx.x] + rank;
  rows[to] = (u32)(e / slots);
  places[2 * (long long)to] = phis[2 * e];
  places[2 * (long long)to + 1] = phis[2 * e + 1];
}

// moments: 2 x p a chunk. grams: 2 x F + 2 a chunk, the sums of the functions last.
extern "C" __global__ void __launch_bounds__(SUMMING + 32)
    round_sums(const double *x, const u32 *atoms, const double *phis, const u32 *rows, const double *places,
               const u32 *begins, const u32 *chunks, int circles, int slots, int p, u32 length, double *moments,
               double *grams) {
  wait_for_work_ahead();
  __shared__ u32 of_row[PIECE], on[PIECE][MOST_SLOTS];
  __shared__ double own[PIECE][2], phi[PIECE][2 * MOST_SLOTS];
  extern __shared__ double sums[];
  u32 *firsts = (u32 *)(sums + 4 * circles);
  const int t = threadIdx.x, features = 2 * circles;
  for (int a = t; a <= circles; a += SUMMING + 32) firsts[a] = chunks[a];
  for (int f = t; f < 2 * features; f += SUMMING + 32) sums[f] = 0.0;
  __syncthreads();
  const u32 chunk = blockIdx.x;
  if (chunk >= firsts[circles]) return;
  // The last circle whose chunks begin at or before this one.
  int low = 0, high = circles;
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    if (firsts[middle] <= chunk) low = middle;
    else high = middle;
  }
  const u32 from = begins[low] + (chunk - firsts[low]) * length;
  const u32 end = begins[low + 1], to = from + length < end ? from + length : end;
  const int column = blockIdx.y * COLUMNS + 2 * t;
  const bool first = t < SUMMING && column < p, second = t < SUMMING && column + 1 < p;
  const bool paired = (p & 1) == 0;
  const bool grams_too = blockIdx.y == 0;
  double sum[2][2] = {{0.0, 0.0}, {0.0, 0.0}}, ones[2] = {0.0, 0.0};
  for (u32 piece = from; piece < to; piece += PIECE) {
    const int count = to - piece < PIECE ? to - piece : PIECE;
    if (t < count) {
      of_row[t] = rows[piece + t];
      own[t][0] = places[2 * (long long)(piece + t)];
      own[t][1] = places[2 * (long long)(piece + t) + 1];
    }
    if (grams_too)
      for (int u = t; u < count * slots; u += SUMMING + 32) {
        const int e = u / slots, s = u % slots;
        const long long there = (long long)rows[piece + e] * slots + s;
        on[e][s] = atoms[there];
        phi[e][2 * s] = phis[2 * there];
        phi[e][2 * s + 1] = phis[2 * there + 1];
      }
    __syncthreads();
    if (first) {
#pragma unroll 8
      for (int e = 0; e < count; e++) {
        const double *r = x + (long long)of_row[e] * p + column;
        double v, w;
        if (paired) {
          const double2 both = *(const double2 *)r;
          v = both.x;
          w = both.y;
        } else {
          v = r[0];
          w = second ? r[1] : 0.0;
        }
        sum[0][0] = fma(own[e][0], v, sum[0][0]);
        sum[0][1] = fma(own[e][0], w, sum[0][1]);
        sum[1][0] = fma(own[e][1], v, sum[1][0]);
        sum[1][1] = fma(own[e][1], w, sum[1][1]);
      }
    } else if (t >= SUMMING && grams_too) {
      const int lane = t - SUMMING;
      for (int e = 0; e < count; e++) {
        const double u = own[e][0], v = own[e][1];
        if (lane < 2 * slots && on[e][lane >> 1] != NONE) {
          const int f = on[e][lane >> 1] + (lane & 1) * circles;
          const double w = phi[e][lane];
          sums[f] = fma(u, w, sums[f]);
          sums[features + f] = fma(v, w, sums[features + f]);
        }
        ones[0] += u;
        ones[1] += v;
        __syncwarp();
      }
    }
    __syncthreads();
  }
  if (first)
    for (int m = 0; m < 2; m++) {
      double *out = moments + (2 * (long long)chunk + m) * p + column;
      out[0] = sum[m][0];
      if (second) out[1] = sum[m][1];
    }
  if (grams_too) {
    double *out = grams + (long long)chunk * (2 * features + 2);
    for (int f = t; f < 2 * features; f += SUMMING + 32) out[f] = sums[f];
    if (t == SUMMING) {
      out[2 * features] = ones[0];
      out[2 * features + 1] = ones[1];
    }
  }
}

// moment: F x p. gram: F x F. ones: F.
extern "C" __global__ void __launch_bounds__(REDUCING)
    round_reduce(const double *moments, const double *grams, const u32 *chunks, int circles, int p, double *moment,
                 double *gram, double *ones) {
  wait_for_work_ahead();
  const int a = blockIdx.x, features = 2 * circles, u = blockIdx.y * REDUCING + threadIdx.x;
  if (u >= p + features + 1) return;
  const u32 from = chunks[a], to = chunks[a + 1];
  for (int m = 0; m < 2; m++) {
    const double *part = moments + ((2 * (long long)from + m) * p + u);
    long long stride = 2 * (long long)p;
    if (u >= p) {
      const int f = u - p;
      part = grams + (long long)from * (2 * features + 2) + (f < features ? m * features + f : 2 * features + m);
      stride = 2 * features + 2;
    }
    double sum = 0.0;
#pragma unroll 8
    for (u32 chunk = from; chunk < to; chunk++, part += stride) sum += *part;
    const long long line = a + (long long)m * circles;
    if (u < p) moment[line * p + u] = sum;
    else if (u < p + features) gram[line * features + u - p] = sum;
    else ones[line] = sum;
  }
}
