// The end of one iterate of the quadratic problem, after a solve for the step d and the products of it
// made elsewhere:
//
//   lm_judge    from the terms of H d and H t over the operands, t = z + d:
//                 predicted = -(r' d + d' H d / 2)
//                 f = |X|^2 / 2 + t' H t / 2 - g0' t,  s = the sum of its terms' absolute values
//                 norms of H t - g0 on the rows and on the border
//               then the decision of decision.cu, which this text follows in one source;
//               z = t, r = H t - g0 where the trial was accepted
//
// Vectors are two arrays, N and k numbers. terms: ten, `parts` numbers of each, as the terms of a step
// are laid out by who makes the products: r' d, d' H d, t' H t, g0' t, and of each norm the squares of
// small, middling and large entries apart. Sums are in an order that depends on `parts` alone.
//
// rule: the rule of decision.cu and, after it, |X|^2 / 2: numbers of a problem are read at every launch,
// none is an argument that a graph would keep.
//
// Every block combines the terms and decides for itself, with the same bits; the last one to end writes
// the state, once all have read it. `counter` is zero before and after. record (17): the decision,
// predicted, f, the two norms. May start early.

#include "early.cuh"

#define TERMS 10

// Of entries below 2^-511 scaled by 2^537, of those between, of those above 2^486 scaled by 2^-538
// (Blue 1978).
__device__ __forceinline__ double norm_of(const double *v) {
  if (v[2] > 0.0) {
    // Smaller ones count for nothing beside these, unless they are no numbers.
    const double middle = v[1] * 0x1p-538;
    return 0x1p538 * sqrt(v[2] + middle * 0x1p-538);
  }
  if (v[1] != 0.0) return sqrt(v[1] + v[0] * 0x1p-537 * 0x1p-537);
  return 0x1p-537 * sqrt(v[0]);
}

struct Judgement {
  Decision decision;
  double predicted, objective, norms[2];
};

// What an iterate judges, and what becomes of it. Where a trial is taken, threads share out its
// entries.
struct Iterate {
  long long N;
  int k;
  const double *terms;
  int parts;
  const double *tr, *tb, *htr, *htb, *gr, *gb;
  double *zr, *zb, *rr, *rb;

  __device__ __forceinline__ Trial trial(const double *all, double data) const {
    Trial trial;
    const double curvature = 0.5 * all[2], linear = all[3];
    trial.kind = 0.0;
    trial.bump = 0.0;
    trial.predicted = -(all[0] + 0.5 * all[1]);
    trial.objective = data + curvature - linear;
    trial.scale = data + fabs(curvature) + fabs(linear);
    for (int q = 0; q < 2; ++q) trial.norms[q] = norm_of(all + 4 + 3 * q);
    return trial;
  }

  // True in one thread of one block: that of the last block that has read the state, which may
  // write it. In thread 0 of every block `judgement` is set. All threads of a block of 256.
  __device__ __forceinline__ bool judge(const double *rule, const double *state, unsigned *counter,
                                        Judgement &judgement) const {
    __shared__ double all[TERMS];
    __shared__ struct {
      Rule rule;
      double data;
      State state;
    } given;
    __shared__ bool accepted;
    const int t = threadIdx.x, lane = t % 32, warp = t / 32;
    for (int q = warp; q < TERMS; q += 8) {
      double sum = 0.0;
      for (int b = lane; b < parts; b += 32) sum += terms[(long long)q * parts + b];
      for (int half = 16; half > 0; half /= 2) sum += __shfl_down_sync(0xffffffffu, sum, half);
      if (lane == 0) all[q] = sum;
    }
    const int rules = sizeof(Rule) / 8 + 1, states = sizeof(State) / 8;
    if (t >= 128 && t - 128 < rules) ((double *)&given)[t - 128] = rule[t - 128];
    if (t >= 192 && t - 192 < states) ((double *)&given.state)[t - 192] = state[t - 192];
    __syncthreads();
    bool last = false;
    if (t == 0) {
      const Trial tried = trial(all, given.data);
      Decision d = decide(given.rule, given.state, tried);
      if (d.accepted != 0.0) d.state = settle(given.rule, d.state, tried.norms);
      judgement = {d, tried.predicted, tried.objective, {tried.norms[0], tried.norms[1]}};
      accepted = d.accepted != 0.0;
      __threadfence();
      last = atomicAdd(counter, 1u) == gridDim.x - 1;
      if (last) *counter = 0;
    }
    __syncthreads();
    if (accepted)
      for (long long i = (long long)blockIdx.x * 256 + t; i < N + k; i += (long long)gridDim.x * 256)
        take(i);
    return last;
  }

  __device__ __forceinline__ void take(long long i) const {
    if (i < N) {
      zr[i] = tr[i];
      rr[i] = htr[i] - gr[i];
    } else {
      const long long e = i - N;
      zb[e] = tb[e];
      rb[e] = htb[e] - gb[e];
    }
  }
};

__device__ __forceinline__ void write_record(const Judgement &judgement, double *state,
                                             double *record) {
  *(State *)state = judgement.decision.state;
  *(Decision *)record = judgement.decision;
  record[13] = judgement.predicted;
  record[14] = judgement.objective;
  record[15] = judgement.norms[0];
  record[16] = judgement.norms[1];
}

// Any grid of one dimension, block 256.
extern "C" __global__ void __launch_bounds__(256)
    lm_judge(long long N, int k, const double *terms, int parts, const double *tr, const double *tb,
             const double *htr, const double *htb, const double *gr, const double *gb, double *zr,
             double *zb, double *rr, double *rb, const double *rule, double *state,
             unsigned *counter, double *record) {
  wait_for_work_ahead();
  const Iterate iterate = {N, k, terms, parts, tr, tb, htr, htb, gr, gb, zr, zb, rr, rb};
  Judgement judgement;
  if (iterate.judge(rule, state, counter, judgement)) write_record(judgement, state, record);
}
