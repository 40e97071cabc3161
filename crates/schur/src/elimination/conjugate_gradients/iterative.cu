// Conjugate gradients on the core of a structured system:
//
//   Z c = f,   Z = I - sum_i (phi~_i phi~_i') (x) (X_i' X_i),   phi~_i = L_G^-1 phi_i,  X_i = V_i R
//
//   descent_size    |E W - g|, the size of the right-hand side of the eliminated border, in pieces
//   descent_begin   r = p = f / unit, x = 0
//     rows_outer, or a pass of products by a library:   E = (I - Z) p
//     descent_turn    a step along p, and the next direction;  or the true residual of x
//     descent_pull    |L_G r| in pieces;  c_j = q_j' p for the directions that are kept
//     descent_push    decides: p -= sum_j c_j p_j;  or p = x, whose residual is asked next;  or ends
//   descent_end     c = unit x;  the curvature that was not positive, in the border's own measure
//
// Vectors are M x M row-major, of which M x r is used and the rest is zero. Of the state descent_push
// writes `next` and descent_turn `now`: no kernel reads what another block of it writes.

extern "C" __device__ void cudaGraphSetConditional(unsigned long long handle, unsigned value);

// Norms without overflow: scale^2 sum.
struct Norm : NormRecord {
  __device__ __forceinline__ void add(double x) {
    const double a = fabs(x);
    if (a > scale) {
      const double q = scale / a;
      sum = 1.0 + sum * (q * q);
      scale = a;
    } else if (a > 0.0) {
      const double q = a / scale;
      sum += q * q;
    } else if (!(a == 0.0)) {
      sum += a;  // NaN
    }
  }
  __device__ __forceinline__ void add(const NormRecord &o) {
    if (o.scale > scale) {
      const double q = scale / o.scale;
      sum = o.sum + sum * (q * q);
      scale = o.scale;
    } else if (o.scale > 0.0) {
      const double q = o.scale / scale;
      sum += o.sum * (q * q);
    } else {
      sum += o.sum;  // NaN or nothing
    }
  }
  __device__ __forceinline__ double value() const {
    // Where the largest is not finite, neither is the norm.
    return sum == 0.0 ? 0.0 : scale * sqrt(sum);
  }
};

// The norm of what all threads have, in every thread; `partials` is one Norm a thread. The number of
// threads is a power of two.
__device__ Norm norm_of_block(Norm mine, Norm *partials) {
  const int t = threadIdx.x;
  partials[t] = mine;
  for (int half = blockDim.x / 2; half > 0; half /= 2) {
    __syncthreads();
    if (t < half) partials[t].add(partials[t + half]);
  }
  __syncthreads();
  return partials[0];
}

// The sum over all threads, in every thread; `partials` is one number a warp.
__device__ double sum_of_block(double s, double *partials) {
  const int lane = threadIdx.x % 32;
  for (int half = 16; half > 0; half /= 2) s += __shfl_down_sync(0xffffffffu, s, half);
  __syncthreads();
  if (lane == 0) partials[threadIdx.x / 32] = s;
  __syncthreads();
  // Both of a pair add the same two numbers, so all threads have the same sum.
  s = lane < blockDim.x / 32 ? partials[lane] : 0.0;
  for (int half = 16; half > 0; half /= 2) s += __shfl_xor_sync(0xffffffffu, s, half);
  return s;
}

// Grid as border_outer, block THREADS; sizes: a norm a block. Without W: |g|.
extern "C" __global__ void __launch_bounds__(THREADS)
    descent_size(const double *E, const double *W, const double *g, int M, int p, NormRecord *sizes) {
  __shared__ Norm partials[THREADS];
  const int t = threadIdx.x, c = t % 32, y = t / 32;
  Norm norm = {0.0, 0.0};
  for (int column = blockIdx.x * 32 + c; column < p; column += gridDim.x * 32)
    for (int m = y; m < M; m += 8) {
      double s = 0.0;
      for (int a = 0; W && a < M; ++a) s += E[m * M + a] * W[a * (long long)p + column];
      norm.add(s - g[m * (long long)p + column]);
    }
  norm = norm_of_block(norm, partials);
  if (t == 0) sizes[blockIdx.x] = norm;
}

// One block of MOST_THREADS. f: M x r.
extern "C" __global__ void __launch_bounds__(MOST_THREADS)
    descent_begin(const double *f, int M, int r, const NormRecord *sizes, int pieces, double limit,
                  double *b, double *x, double *R, double *p, GradientsState *state) {
  __shared__ Norm partials[MOST_THREADS];
  const int t = threadIdx.x;
  Norm norm = {0.0, 0.0}, size = {0.0, 0.0};
  for (int e = t; e < M * r; e += MOST_THREADS) norm.add(f[e]);
  for (int e = t; e < pieces; e += MOST_THREADS) size.add(sizes[e]);
  norm = norm_of_block(norm, partials);
  __syncthreads();
  size = norm_of_block(size, partials);
  const double length = norm.value(), whole = size.value();
  const bool finite = length - length == 0.0 && whole - whole == 0.0;
  // A power of two, which rounds nothing: r' r and p' Z p stay finite and positive.
  const double unit = finite && length > 0.0 ? scalbn(1.0, ilogb(length)) : 1.0;
  for (int e = t; e < M * M; e += MOST_THREADS) {
    const int m = e / M, s = e % M;
    const double v = finite && s < r ? f[m * r + s] / unit : 0.0;
    b[e] = v;
    R[e] = v;
    p[e] = limit > 0.0 ? v : 0.0;
    x[e] = 0.0;
  }
  if (t != 0) return;
  GradientsRecord next = {};
  next.status = !finite ? RIGHT_HAND_SIDE_OVERFLOW : length == 0.0 ? ARRIVED : RUNS;
  next.reached = length == 0.0 ? 0.0 : 1.0;
  next.phase = limit > 0.0 ? OF_DIRECTION : OF_SOLUTION;
  next.unit = unit;
  next.size = whole / unit;
  state->next = next;
}

// One block of MOST_THREADS. E = (I - Z) p; directions P and products Q, each divided by the root of its
// curvature, `most` of them.
extern "C" __global__ void __launch_bounds__(MOST_THREADS)
    descent_turn(const double *b, const double *E, int M, double *x, double *r, double *p, double *P,
                 double *Q, int most, GradientsState *state) {
  __shared__ double partials[32];
  const int t = threadIdx.x, n = M * M;
  GradientsRecord *now = &state->now;
  if (t == 0) *now = state->next;
  __syncthreads();
  const int slot = (int)now->kept;
  const long long status = now->status, phase = now->phase;
  const double done = now->done;
  if (status != RUNS) return;
  if (phase == OF_SOLUTION) {
    for (int e = t; e < n; e += MOST_THREADS) p[e] = r[e] = b[e] - (p[e] - E[e]);
    __syncthreads();
    if (t == 0) now->kept = 0;
    return;
  }
  double curvature = 0.0, along = 0.0;
  for (int e = t; e < n; e += MOST_THREADS) {
    const double v = p[e];
    curvature += v * (v - E[e]);
    along += v * r[e];
  }
  curvature = sum_of_block(curvature, partials);
  along = sum_of_block(along, partials);
  const bool finite = curvature - curvature == 0.0;
  if (!finite || curvature <= 0.0) {
    if (t == 0) {
      now->status = finite ? NOT_POSITIVE : CURVATURE_OVERFLOW;
      now->curvature = curvature;
    }
    return;
  }
  const double alpha = along / curvature;
  double s = 0.0;
  for (int e = t; e < n; e += MOST_THREADS) {
    const double v = p[e], q = v - E[e], left = r[e] - alpha * q;
    x[e] += alpha * v;
    r[e] = left;
    s += q * left;
  }
  const double beta = sum_of_block(s, partials) / curvature, root = sqrt(curvature);
  for (int e = t; e < n; e += MOST_THREADS) {
    const double v = p[e];
    if (slot < most) {
      P[(long long)slot * n + e] = v / root;
      Q[(long long)slot * n + e] = (v - E[e]) / root;
    }
    p[e] = r[e] - beta * v;
  }
  if (t == 0) {
    now->kept = slot < most ? slot + 1 : slot;
    now->done = done + 1.0;
  }
}

// Grid M + most, block THREADS. norms: one a row of L_G; c: a number a direction.
extern "C" __global__ void __launch_bounds__(THREADS)
    descent_pull(const double *LG, int M, const double *r, const double *p, const double *Q,
                 const GradientsState *state, NormRecord *norms, double *c) {
  __shared__ Norm partials[THREADS];
  __shared__ double sums[8];
  const int t = threadIdx.x, n = M * M;
  const GradientsRecord *now = &state->now;
  if (now->status != RUNS) return;
  if (blockIdx.x < M) {
    const double *line = LG + blockIdx.x * M;
    Norm norm = {0.0, 0.0};
    for (int s = t; s < M; s += THREADS) {
      double sum = 0.0;
      for (int j = 0; j <= blockIdx.x; ++j) sum += line[j] * r[j * M + s];
      norm.add(sum);
    }
    norm = norm_of_block(norm, partials);
    if (t == 0) norms[blockIdx.x] = norm;
    return;
  }
  const int j = blockIdx.x - M;
  if (j >= (int)now->kept) return;
  const double *q = Q + (long long)j * n;
  double sum = 0.0;
  for (int e = t; e < n; e += THREADS) sum += q[e] * p[e];
  sum = sum_of_block(sum, sums);
  if (t == 0) c[j] = sum;
}

// Grid ceil(M^2 / 32), block THREADS. `per_descent` bounds the iterations of one descent, `limit`
// those of all; `target` is relative to |b|; `condition` is that of the loop in which this runs.
extern "C" __global__ void __launch_bounds__(THREADS)
    descent_push(int M, const double *x, const NormRecord *norms, const double *c, const double *P,
                 double target, double per_descent, double limit, double *p, GradientsState *state,
                 unsigned long long condition) {
  __shared__ Norm partials[THREADS];
  __shared__ double sums[8][32];
  const int t = threadIdx.x, n = M * M, lane = t % 32, y = t / 32;
  const int e = blockIdx.x * 32 + lane;
  const GradientsRecord *now = &state->now;
  long long status = now->status, phase = now->phase;
  double reached = now->reached, first = now->first;
  const double done = now->done;
  if (status == RUNS) {
    Norm norm = {0.0, 0.0};
    for (int m = t; m < M; m += THREADS) norm.add(norms[m]);
    const double relative = norm_of_block(norm, partials).value() / now->size;
    if (phase == OF_SOLUTION) {
      const bool moves = relative <= 0.5 * reached && done < limit;
      status = relative <= target ? ARRIVED : moves ? RUNS : STALLED;
      reached = relative;
      first = done;
      phase = OF_DIRECTION;
    } else if (relative > 0.5 * target && done < limit && done - first < per_descent) {
      double sum = 0.0;
      if (e < n) {
        const int kept = (int)now->kept;
#pragma unroll 4
        for (int j = y; j < kept; j += 8) sum += c[j] * P[(long long)j * n + e];
      }
      sums[y][lane] = sum;
      __syncthreads();
      if (y == 0 && e < n) {
        for (int q = 1; q < 8; ++q) sum += sums[q][lane];
        p[e] -= sum;
      }
    } else {
      if (y == 0 && e < n) p[e] = x[e];
      phase = OF_SOLUTION;
    }
  }
  if (blockIdx.x != 0 || t != 0) return;
  GradientsRecord next = *now;
  next.status = status;
  next.reached = reached;
  next.phase = phase;
  next.first = first;
  state->next = next;
  cudaGraphSetConditional(condition, status == RUNS);
}

// One block of MOST_THREADS. c: M x r; A: M x M, scratch.
extern "C" __global__ void __launch_bounds__(MOST_THREADS)
    descent_end(const double *LG, int M, int r, const double *x, const double *p, double *A,
                double *c, GradientsState *state) {
  __shared__ Norm partials[MOST_THREADS];
  const int t = threadIdx.x;
  GradientsRecord *record = &state->next;
  const long long status = record->status;
  const double unit = record->unit, curvature = record->curvature;
  for (int e = t; e < M * r; e += MOST_THREADS) c[e] = unit * x[e / r * M + e % r];
  if (status != NOT_POSITIVE) return;
  // The direction in the border's own unknowns, of the same length as L_G^-T p.
  for (int e = t; e < M * M; e += MOST_THREADS) A[e] = p[e];
  for (int j = M - 1; j >= 0; --j) {
    __syncthreads();
    for (int s = t; s < M; s += MOST_THREADS) A[j * M + s] /= LG[j * M + j];
    __syncthreads();
    for (int e = t; e < j * M; e += MOST_THREADS) A[e] -= LG[j * M + e / M] * A[j * M + e % M];
  }
  __syncthreads();
  Norm norm = {0.0, 0.0};
  for (int e = t; e < M * M; e += MOST_THREADS) norm.add(A[e]);
  const double length = norm_of_block(norm, partials).value();
  if (t == 0) record->curvature = curvature / length / length;
}
