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
// A factorization failed where its record has the key of a row's pivot or the place of one of the border
// that failed, or where its log-determinant is not finite.

extern "C" __device__ void cudaGraphSetConditional(unsigned long long handle, unsigned value);

extern "C" __global__ void lm_ridge(const FitRecord *fit, double mean_t, double mean_b,
                                    RidgeRecord *ridge, unsigned long long other) {
  ridge->row = fit->state.ridge * mean_t;
  ridge->border = fit->state.ridge * mean_b;
  const RidgeRecord &of_factors = fit->progress.ridge;
  const bool at_hand = fit->progress.at_hand && of_factors.row == ridge->row &&
                       of_factors.border == ridge->border;
  cudaGraphSetConditional(other, !at_hand);
}

extern "C" __global__ void lm_factored(const DenseRecord *factors, const RidgeRecord *ridge,
                                       FitRecord *fit) {
  const double log_sum = factors->rows.log + factors->border.log;
  const bool failed =
      factors->rows.failed_key >= 0 || factors->border.info != 0 || log_sum - log_sum != 0.0;
  fit->progress.failed = failed;
  fit->progress.ridge = *ridge;
  fit->progress.at_hand = !failed;
  fit->progress.builds += 1;
}

extern "C" __global__ void lm_ready(const FitRecord *fit, unsigned long long ready,
                                    unsigned long long again) {
  const bool there = fit->progress.at_hand;
  cudaGraphSetConditional(ready, there);
  if (!there) cudaGraphSetConditional(again, 0);
}

extern "C" __global__ void __launch_bounds__(JUDGE_THREADS)
    lm_settle(long long N, int k, const double *terms, int partials, const double *tr,
              const double *tb, const double *htr, const double *htb, const double *gr,
              const double *gb, double *zr, double *zb, double *rr, double *rb,
              const ProblemRecord *problem, FitRecord *fit, unsigned *counter, IterateRecord *record,
              unsigned long long again) {
  wait_for_work_ahead();
  const Iterate iterate = {N, k, terms, partials, tr, tb, htr, htb, gr, gb, zr, zb, rr, rb};
  IterateRecord judgement;
  if (!iterate.judge(problem, &fit->state, counter, judgement)) return;
  fit->state = judgement.decision.state;
  *record = judgement;
  if (judgement.decision.accepted != 0.0) {
    fit->progress.norms[0] = judgement.norms[0];
    fit->progress.norms[1] = judgement.norms[1];
  }
  const bool goes_on = judgement.decision.state.status == RUNNING && finite(judgement.predicted);
  cudaGraphSetConditional(again, goes_on);
}
