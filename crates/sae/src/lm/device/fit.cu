// A whole fit as one graph, after decision.cu and loop.cu in one source:
//
//   while (again) {
//     lm_ridge    the ridge of this trial; whether its factors are those at hand
//     if (other)  { factor at it;  lm_factored }
//     lm_ready    whether there are factors; without, the loop ends and the host looks
//     if (ready)  { solve, products, lm_settle }
//   }
//
//   lm_settle   lm_judge, and: norms at the point, whether the loop goes on; not where the prediction
//               is no finite number, so that the host looks at the step
//
// tail, seven numbers after the state: norms of the residual at the point (rows, border), 1 where a
// factorization failed, the ridges (rows, border) of the factors at hand, 1 where there are such, how
// often was factored.
// factors: the record of a factorization, 13 numbers; it failed where number 4 is the key of a row or
// number 11 a pivot's place, or where its log-determinant is not finite.

extern "C" __device__ void cudaGraphSetConditional(unsigned long long handle, unsigned value);

#define TAIL 11

extern "C" __global__ void lm_ridge(double *state, double mean_t, double mean_b, double *ridge,
                                    unsigned long long other) {
  double *tail = state + TAIL;
  ridge[0] = state[0] * mean_t;
  ridge[1] = state[0] * mean_b;
  const bool at_hand = tail[5] != 0.0 && tail[3] == ridge[0] && tail[4] == ridge[1];
  cudaGraphSetConditional(other, !at_hand);
}

extern "C" __global__ void lm_factored(const double *factors, const double *ridge, double *state) {
  double *tail = state + TAIL;
  const double log_sum = factors[0] + factors[7];
  const bool failed =
      __double_as_longlong(factors[4]) >= 0 || factors[11] != 0.0 || log_sum - log_sum != 0.0;
  tail[2] = failed;
  tail[3] = ridge[0];
  tail[4] = ridge[1];
  tail[5] = !failed;
  tail[6] += 1.0;
}

extern "C" __global__ void lm_ready(const double *state, unsigned long long ready,
                                    unsigned long long again) {
  const bool there = state[TAIL + 5] != 0.0;
  cudaGraphSetConditional(ready, there);
  if (!there) cudaGraphSetConditional(again, 0);
}

extern "C" __global__ void __launch_bounds__(256)
    lm_settle(long long N, int k, const double *terms, int parts, const double *tr,
              const double *tb, const double *htr, const double *htb, const double *gr,
              const double *gb, double *zr, double *zb, double *rr, double *rb, const double *rule,
              double *state, unsigned *counter, double *record, unsigned long long again) {
  wait_for_work_ahead();
  const Iterate iterate = {N, k, terms, parts, tr, tb, htr, htb, gr, gb, zr, zb, rr, rb};
  Judgement judgement;
  if (!iterate.judge(rule, state, counter, judgement)) return;
  write_record(judgement, state, record);
  if (judgement.decision.accepted != 0.0) {
    state[TAIL] = judgement.norms[0];
    state[TAIL + 1] = judgement.norms[1];
  }
  const bool goes_on = judgement.decision.state.status == RUNNING && finite(judgement.predicted);
  cudaGraphSetConditional(again, goes_on);
}
