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
// `records` holds one record of 8 numbers a block; the last block to end combines them in order.
// `counter` is zero before and after. record (17): the decision, predicted, f, the two norms.

#define JUDGES 64

// The square root of a sum of squares as scale and sum: no overflow, no underflow.
struct Norm {
  double scale, sum;
};

__device__ __forceinline__ Norm add(Norm a, double scale, double sum) {
  if (scale == 0.0) return a;
  if (scale > a.scale) {
    const double q = a.scale / scale;
    a.sum = sum + a.sum * q * q;
    a.scale = scale;
  } else {
    const double q = scale / a.scale;
    a.sum += sum * q * q;
  }
  // A number that is not one must not vanish.
  if (!(scale <= 1.7976931348623157e308)) a.scale = scale;
  return a;
}

// Grid JUDGES, block 256.
extern "C" __global__ void __launch_bounds__(256)
    lm_judge(long long N, int k, const double *rr, const double *rb, const double *dr,
             const double *db, const double *hdr, const double *hdb, const double *tr,
             const double *tb, const double *htr, const double *htb, const double *gr,
             const double *gb, double data, const double *rule, double *state, double *records,
             unsigned *counter, double *record) {
  __shared__ double sums[4][256];
  __shared__ Norm norms[2][256];
  __shared__ bool last;
  const int t = threadIdx.x;
  double s[4] = {0.0, 0.0, 0.0, 0.0};
  Norm n[2] = {{0.0, 0.0}, {0.0, 0.0}};
  for (long long i = (long long)blockIdx.x * 256 + t; i < N + k; i += JUDGES * 256) {
    const bool row = i < N;
    const long long e = row ? i : i - N;
    const double d = row ? dr[e] : db[e], x = row ? tr[e] : tb[e], h = row ? htr[e] : htb[e],
                 g = row ? gr[e] : gb[e];
    s[0] += (row ? rr[e] : rb[e]) * d;
    s[1] += d * (row ? hdr[e] : hdb[e]);
    s[2] += x * h;
    s[3] += g * x;
    const double size = fabs(h - g);
    if (row) n[0] = add(n[0], size, 1.0);
    else n[1] = add(n[1], size, 1.0);
  }
  for (int round = 0; round < 2; ++round) {
    __syncthreads();
    for (int q = 0; q < 4; ++q) sums[q][t] = s[q];
    norms[0][t] = n[0];
    norms[1][t] = n[1];
    for (int half = 128; half > 0; half /= 2) {
      __syncthreads();
      if (t < half) {
        for (int q = 0; q < 4; ++q) sums[q][t] += sums[q][t + half];
        for (int q = 0; q < 2; ++q)
          norms[q][t] = add(norms[q][t], norms[q][t + half].scale, norms[q][t + half].sum);
      }
    }
    __syncthreads();
    if (round == 1) break;
    if (t == 0) {
      double *mine = records + 8 * blockIdx.x;
      for (int q = 0; q < 4; ++q) mine[q] = sums[q][0];
      for (int q = 0; q < 2; ++q) {
        mine[4 + 2 * q] = norms[q][0].scale;
        mine[5 + 2 * q] = norms[q][0].sum;
      }
      __threadfence();
      last = atomicAdd(counter, 1u) == gridDim.x - 1;
    }
    __syncthreads();
    if (!last) return;
    __threadfence();
    const bool there = t < gridDim.x;
    const double *r = records + 8 * t;
    for (int q = 0; q < 4; ++q) s[q] = there ? __ldcg(r + q) : 0.0;
    for (int q = 0; q < 2; ++q) {
      n[q].scale = there ? __ldcg(r + 4 + 2 * q) : 0.0;
      n[q].sum = there ? __ldcg(r + 5 + 2 * q) : 0.0;
    }
  }
  if (t != 0) return;
  *counter = 0;
  Trial trial;
  const double curvature = 0.5 * sums[2][0], linear = sums[3][0];
  trial.kind = 0.0;
  trial.bump = 0.0;
  trial.predicted = -(sums[0][0] + 0.5 * sums[1][0]);
  trial.objective = data + curvature - linear;
  trial.scale = data + fabs(curvature) + fabs(linear);
  for (int q = 0; q < 2; ++q) trial.norms[q] = norms[q][0].scale * sqrt(norms[q][0].sum);
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
  take_trial(N, k, record, tr, tb, htr, htb, gr, gb, zr, zb, rr, rb);
}
