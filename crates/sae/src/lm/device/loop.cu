// One iterate of the quadratic problem, around a solve and two products made elsewhere:
//
//   lm_judge    from H delta and H t over the operands, t = z + delta:
//                 predicted = -(r' delta + delta' H delta / 2)
//                 f = |X|^2 / 2 + t' H t / 2 - g0' t,  s = the sum of its terms' absolute values
//                 norms of H t - g0 on the rows and on the border
//               then the decision of decision.cu, which this text follows in one source
//   lm_accept   z = t, r = H t - g0 where the trial was accepted
//
// Vectors are two arrays, N and k numbers. All sums are in an order that depends on N and k alone:
// `records` holds one record of 10 numbers a block; the last block to end combines them in order.
// `counter` is zero before and after. record (17): the decision, predicted, f, the two norms. Both may
// start early.

#include "early.cuh"

#define JUDGES 64

// Sums of a judgement: r'd, d'Hd, t'Ht, g't, and of each norm the squares of small, middling and large
// entries apart, scaled by powers of two, so that none overflows or underflows (Blue 1978).
#define SUMS 10

__device__ __forceinline__ void add_square(double *v, double x) {
  const double size = fabs(x);
  if (size > 0x1p486) v[2] += (x * 0x1p-538) * (x * 0x1p-538);
  else if (size < 0x1p-511) v[0] += (x * 0x1p537) * (x * 0x1p537);
  // Of a number that is not one too.
  else v[1] += x * x;
}

__device__ __forceinline__ double norm_of(const double *v) {
  if (v[2] > 0.0) {
    // Smaller ones count for nothing beside these, unless they are no numbers.
    const double middle = v[1] * 0x1p-538;
    return 0x1p538 * sqrt(v[2] + middle * 0x1p-538);
  }
  if (v[1] != 0.0) return sqrt(v[1] + v[0] * 0x1p-537 * 0x1p-537);
  return 0x1p-537 * sqrt(v[0]);
}

// Grid JUDGES, block 256.
extern "C" __global__ void __launch_bounds__(256)
    lm_judge(long long N, int k, const double *rr, const double *rb, const double *dr,
             const double *db, const double *hdr, const double *hdb, const double *tr,
             const double *tb, const double *htr, const double *htb, const double *gr,
             const double *gb, double data, const double *rule, double *state, double *records,
             unsigned *counter, double *record) {
  wait_for_work_ahead();
  __shared__ double sums[8][SUMS], all[SUMS];
  __shared__ bool last;
  const int t = threadIdx.x, lane = t % 32, warp = t / 32;
  double s[SUMS];
#pragma unroll
  for (int q = 0; q < SUMS; ++q) s[q] = 0.0;
  for (long long i = (long long)blockIdx.x * 256 + t; i < N + k; i += JUDGES * 256) {
    const bool row = i < N;
    const long long e = row ? i : i - N;
    const double d = row ? dr[e] : db[e], x = row ? tr[e] : tb[e], h = row ? htr[e] : htb[e],
                 g = row ? gr[e] : gb[e];
    s[0] += (row ? rr[e] : rb[e]) * d;
    s[1] += d * (row ? hdr[e] : hdb[e]);
    s[2] += x * h;
    s[3] += g * x;
    if (row) add_square(s + 4, h - g);
    else add_square(s + 7, h - g);
  }
#pragma unroll
  for (int q = 0; q < SUMS; ++q)
    for (int half = 16; half > 0; half /= 2) s[q] += __shfl_down_sync(0xffffffffu, s[q], half);
  if (lane == 0)
    for (int q = 0; q < SUMS; ++q) sums[warp][q] = s[q];
  __syncthreads();
  if (t < SUMS) {
    double sum = sums[0][t];
    for (int w = 1; w < 8; ++w) sum += sums[w][t];
    records[SUMS * blockIdx.x + t] = sum;
  }
  __threadfence();
  __syncthreads();
  if (t == 0) last = atomicAdd(counter, 1u) == gridDim.x - 1;
  __syncthreads();
  if (!last) return;
  __threadfence();
  for (int q = warp; q < SUMS; q += 8) {
    double sum = 0.0;
    for (int b = lane; b < JUDGES; b += 32) sum += __ldcg(records + SUMS * b + q);
    for (int half = 16; half > 0; half /= 2) sum += __shfl_down_sync(0xffffffffu, sum, half);
    if (lane == 0) all[q] = sum;
  }
  __syncthreads();
  if (t != 0) return;
  *counter = 0;
  Trial trial;
  const double curvature = 0.5 * all[2], linear = all[3];
  trial.kind = 0.0;
  trial.bump = 0.0;
  trial.predicted = -(all[0] + 0.5 * all[1]);
  trial.objective = data + curvature - linear;
  trial.scale = data + fabs(curvature) + fabs(linear);
  for (int q = 0; q < 2; ++q) trial.norms[q] = norm_of(all + 4 + 3 * q);
  State now = *(State *)state;
  Decision d = decide(*(const Rule *)rule, now, trial);
  if (d.accepted != 0.0) d.state = settle(*(const Rule *)rule, d.state, trial.norms);
  *(State *)state = d.state;
  *(Decision *)record = d;
  record[13] = trial.predicted;
  record[14] = trial.objective;
  record[15] = trial.norms[0];
  record[16] = trial.norms[1];
}

__device__ __forceinline__ void take_trial(long long N, int k, const double *record,
                                           const double *tr, const double *tb, const double *htr,
                                           const double *htb, const double *gr, const double *gb,
                                           double *zr, double *zb, double *rr, double *rb) {
  if (((const Decision *)record)->accepted == 0.0) return;
  const long long i = (long long)blockIdx.x * 256 + threadIdx.x;
  if (i < N) {
    zr[i] = tr[i];
    rr[i] = htr[i] - gr[i];
  } else if (i < N + k) {
    zb[i - N] = tb[i - N];
    rb[i - N] = htb[i - N] - gb[i - N];
  }
}

// One thread an unknown, block 256.
extern "C" __global__ void __launch_bounds__(256)
    lm_accept(long long N, int k, const double *record, const double *tr, const double *tb,
              const double *htr, const double *htb, const double *gr, const double *gb, double *zr,
              double *zb, double *rr, double *rb) {
  wait_for_work_ahead();
  take_trial(N, k, record, tr, tb, htr, htb, gr, gb, zr, zb, rr, rb);
}
