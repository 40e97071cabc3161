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
// Vectors are two arrays, N and k numbers. terms: the StepTerms of `partials` blocks of threads, of each
// term the partial sums of all blocks one after another. Sums are in an order that depends on `partials`
// alone.
//
// problem: numbers of a problem are read at every launch, none is an argument that a graph would keep.
//
// Every block combines the terms and decides for itself, with the same bits; the last one to end writes
// the state, once all have read it. `counter` is zero before and after. May start early.

#include "early.cuh"

// What takes the scales of small and large entries back: powers of two, so that nothing is rounded.
constexpr double UNSCALE_SMALL = 1.0 / SCALE_OF_SMALL, UNSCALE_LARGE = 1.0 / SCALE_OF_LARGE;

__device__ __forceinline__ double norm_of(const SquareSums &v) {
  if (v.large > 0.0) {
    // Smaller ones count for nothing beside these, unless they are no numbers.
    const double middle = v.middle * SCALE_OF_LARGE;
    return UNSCALE_LARGE * sqrt(v.large + middle * SCALE_OF_LARGE);
  }
  if (v.middle != 0.0) return sqrt(v.middle + v.small * UNSCALE_SMALL * UNSCALE_SMALL);
  return UNSCALE_SMALL * sqrt(v.small);
}

// The number `t` of a record that some threads copy, where it has one.
template <class R>
__device__ __forceinline__ void copy_by_threads(R *to, const R *from, int t) {
  if (t >= 0 && t < (int)(sizeof(R) / sizeof(double)))
    ((double *)to)[t] = ((const double *)from)[t];
}

// What an iterate judges, and what becomes of it. Where a trial is taken, threads share out its
// entries.
struct Iterate {
  long long N;
  int k;
  const double *terms;
  int partials;
  const double *tr, *tb, *htr, *htb, *gr, *gb;
  double *zr, *zb, *rr, *rb;

  __device__ __forceinline__ TrialRecord trial(const StepTerms &all, double data) const {
    TrialRecord trial;
    const double curvature = 0.5 * all.trial_curvature, linear = all.trial_slope;
    trial.kind = STEP;
    trial.bump = 0.0;
    trial.predicted = -(all.slope + 0.5 * all.curvature);
    trial.objective = data + curvature - linear;
    trial.scale = data + fabs(curvature) + fabs(linear);
    trial.norms[0] = norm_of(all.row_squares);
    trial.norms[1] = norm_of(all.border_squares);
    return trial;
  }

  // True in one thread of one block: that of the last block that has read the state, which may
  // write it. In thread 0 of every block `judgement` is set. All threads of a block.
  __device__ __forceinline__ bool judge(const ProblemRecord *problem, const StateRecord *state,
                                        unsigned *counter, IterateRecord &judgement) const {
    __shared__ StepTerms all;
    __shared__ struct {
      ProblemRecord problem;
      StateRecord state;
    } given;
    __shared__ bool accepted;
    const int t = threadIdx.x, lane = t % 32, warp = t / 32;
    for (int q = warp; q < TERMS; q += JUDGE_THREADS / 32) {
      double sum = 0.0;
      for (int b = lane; b < partials; b += 32) sum += terms[(long long)q * partials + b];
      for (int half = 16; half > 0; half /= 2) sum += __shfl_down_sync(0xffffffffu, sum, half);
      if (lane == 0) ((double *)&all)[q] = sum;
    }
    // Whole records, a number a thread.
    copy_by_threads(&given.problem, problem, t - JUDGE_THREADS / 2);
    copy_by_threads(&given.state, state, t - JUDGE_THREADS / 4 * 3);
    __syncthreads();
    bool last = false;
    if (t == 0) {
      const RuleRecord &rule = given.problem.rule;
      const TrialRecord tried = trial(all, given.problem.data);
      DecisionRecord d = decide(rule, given.state, tried);
      if (d.accepted != 0.0) d.state = settle(rule, d.state, tried.norms);
      judgement = {d, tried.predicted, tried.objective, {tried.norms[0], tried.norms[1]}};
      accepted = d.accepted != 0.0;
      __threadfence();
      last = atomicAdd(counter, 1u) == gridDim.x - 1;
      if (last) *counter = 0;
    }
    __syncthreads();
    if (accepted)
      for (long long i = (long long)blockIdx.x * JUDGE_THREADS + t; i < N + k;
           i += (long long)gridDim.x * JUDGE_THREADS)
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

// Any grid of one dimension.
extern "C" __global__ void __launch_bounds__(JUDGE_THREADS)
    lm_judge(long long N, int k, const double *terms, int partials, const double *tr,
             const double *tb, const double *htr, const double *htb, const double *gr,
             const double *gb, double *zr, double *zb, double *rr, double *rb,
             const ProblemRecord *problem, FitRecord *fit, unsigned *counter, IterateRecord *record) {
  wait_for_work_ahead();
  const Iterate iterate = {N, k, terms, partials, tr, tb, htr, htb, gr, gb, zr, zb, rr, rb};
  IterateRecord judgement;
  if (!iterate.judge(problem, &fit->state, counter, judgement)) return;
  fit->state = judgement.decision.state;
  *record = judgement;
}
