// The residual of a step over the operands, and how large it is:
//
//   q = (H + rho) x + g,   w = |H + rho| |x| + |g|       residual_rows, residual_columns,
//                                                        residual_triangle, residual_border
//   max |q|, max w, max |q| / w, |q|, |g|                gauge
//
// Independent of any factor. D packed, d_i x d_i row-major, lower triangle read; B: N x k row-major; C:
// column-major, leading dimension ld, lower triangle read. Rows as in rows.cu.
//
// All sums are in an order that depends on the shape alone.

struct Pair {
  double sum, size;
  __device__ __forceinline__ void add(double a, double b) {
    sum += a * b;
    size += fabs(a * b);
  }
};

__device__ __forceinline__ Pair over_warp(Pair p) {
  for (int half = 16; half > 0; half /= 2) {
    p.sum += __shfl_xor_sync(0xffffffffu, p.sum, half);
    p.size += __shfl_xor_sync(0xffffffffu, p.size, half);
  }
  return p;
}

// One warp an unknown. Grid ceil(N / 4), block FEW_THREADS.
extern "C" __global__ void __launch_bounds__(FEW_THREADS)
    residual_rows(const long long *offsets, const long long *blocks, long long n, int d, long long N,
                  const double *D, const double *B, int k, double rho, const double *xt,
                  const double *xb, const double *gt, double *q, double *w) {
  const long long u = (long long)blockIdx.x * 4 + threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  if (u >= N) return;
  Pair p = {0.0, 0.0};
  for (int c = lane; c < k; c += 32) p.add(B[u * k + c], xb[c]);
  // The row of the unknown: the last that begins at it or before, and is not empty.
  long long i = d > 0 ? u / d : 0;
  if (d < 0) {
    long long past = n;
    while (past - i > 1) {
      const long long middle = (i + past) / 2;
      if (offsets[middle] <= u)
        i = middle;
      else
        past = middle;
    }
  }
  const long long at = d >= 0 ? i * d : offsets[i];
  const int width = d >= 0 ? d : (int)(offsets[i + 1] - at), a = (int)(u - at);
  const double *block = D + (d >= 0 ? i * d * d : blocks[i]);
  for (int b = lane; b < width; b += 32)
    p.add(block[(a > b ? a : b) * width + (a > b ? b : a)], xt[at + b]);
  p = over_warp(p);
  if (lane == 0) {
    p.add(rho, xt[u]);
    q[u] = p.sum + gt[u];
    w[u] = p.size + fabs(gt[u]);
  }
}

// Partial sums of B' x_t. Grid (ceil(k / STRIP), chunks), block STRIP; partials: 2 x chunks x ldp.
extern "C" __global__ void __launch_bounds__(STRIP)
    residual_columns(const double *B, int k, long long N, const double *xt, double *partials,
                     long long ldp, long long per_chunk) {
  const int c = blockIdx.x * STRIP + threadIdx.x;
  const long long begin = blockIdx.y * per_chunk;
  const long long end = begin + per_chunk < N ? begin + per_chunk : N;
  Pair p = {0.0, 0.0};
  if (c < k) {
#pragma unroll 8
    for (long long u = begin; u < end; ++u) p.add(B[u * k + c], xt[u]);
  }
  partials[blockIdx.y * ldp + c] = p.sum;
  partials[(gridDim.y + blockIdx.y) * ldp + c] = p.size;
}

// Partial sums of the lower triangle of C times x_b, along its rows. Grid (ceil(k / STRIP), pieces),
// block STRIP; partials: 2 x pieces x ldp.
extern "C" __global__ void __launch_bounds__(STRIP)
    residual_triangle(const double *C, long long ld, int k, const double *xb, double *partials,
                      long long ldp, int per_piece) {
  const int r = blockIdx.x * STRIP + threadIdx.x;
  const int begin = blockIdx.y * per_piece;
  const int end = begin + per_piece < r + 1 ? begin + per_piece : r + 1;
  Pair p = {0.0, 0.0};
  if (r < k) {
#pragma unroll 8
    for (int c = begin; c < end; ++c) p.add(C[r + c * ld], xb[c]);
  }
  partials[blockIdx.y * ldp + r] = p.sum;
  partials[(gridDim.y + blockIdx.y) * ldp + r] = p.size;
}

// One warp an unknown of the border: what lies below the diagonal of its column, and the partial sums
// in their order. Grid ceil(k / 4), block FEW_THREADS.
extern "C" __global__ void __launch_bounds__(FEW_THREADS)
    residual_border(const double *C, long long ld, int k, double rho, const double *xb,
                    const double *gb, const double *of_columns, int chunks, const double *of_triangle,
                    int pieces, long long ldp, double *q, double *w) {
  const int i = blockIdx.x * 4 + threadIdx.x / 32, lane = threadIdx.x % 32;
  if (i >= k) return;
  Pair p = {0.0, 0.0};
  for (int r = i + 1 + lane; r < k; r += 32) p.add(C[r + i * ld], xb[r]);
  for (int c = lane; c < chunks; c += 32) {
    p.sum += of_columns[c * ldp + i];
    p.size += of_columns[(chunks + c) * ldp + i];
  }
  for (int c = lane; c < pieces; c += 32) {
    p.sum += of_triangle[c * ldp + i];
    p.size += of_triangle[(pieces + c) * ldp + i];
  }
  p = over_warp(p);
  if (lane == 0) {
    p.add(rho, xb[i]);
    q[i] = p.sum + gb[i];
    w[i] = p.size + fabs(gb[i]);
  }
}

// A maximum that keeps what is not a number.
__device__ __forceinline__ double larger(double a, double b) { return a > b || a != a ? a : b; }

template <class F>
__device__ double over_block(double *all, double mine, F combine) {
  const int t = threadIdx.x;
  __syncthreads();
  all[t] = mine;
  for (int half = MOST_THREADS / 2; half > 0; half /= 2) {
    __syncthreads();
    if (t < half) all[t] = combine(all[t], all[t + half]);
  }
  __syncthreads();
  return all[0];
}

// One block of MOST_THREADS threads. Of the ratios |q| / w 0 / 0 is 0; the norms are scaled so
// that no square overflows.
extern "C" __global__ void __launch_bounds__(MOST_THREADS)
    gauge(const double *qt, const double *wt, const double *gt, long long N, const double *qb,
          const double *wb, const double *gb, int k, ResidualRecord *out) {
  __shared__ double all[MOST_THREADS];
  const int t = threadIdx.x;
  double largest = 0.0, weight = 0.0, worst = 0.0, gradient = 0.0;
  for (int part = 0; part < 2; ++part) {
    const double *q = part ? qb : qt, *w = part ? wb : wt, *g = part ? gb : gt;
    const long long end = part ? k : N;
    for (long long i = t; i < end; i += MOST_THREADS) {
      const double a = fabs(q[i]), ratio = a == 0.0 ? 0.0 : a / w[i];
      largest = larger(a, largest);
      weight = larger(w[i], weight);
      worst = larger(ratio == ratio ? ratio : __longlong_as_double(0x7ff0000000000000ll), worst);
      gradient = larger(fabs(g[i]), gradient);
    }
  }
  const auto most = [](double a, double b) { return larger(a, b); };
  const auto plus = [](double a, double b) { return a + b; };
  largest = over_block(all, largest, most);
  weight = over_block(all, weight, most);
  worst = over_block(all, worst, most);
  gradient = over_block(all, gradient, most);
  double residuals = 0.0, gradients = 0.0;
  for (int part = 0; part < 2; ++part) {
    const double *q = part ? qb : qt, *g = part ? gb : gt;
    const long long end = part ? k : N;
    for (long long i = t; i < end; i += MOST_THREADS) {
      const double a = largest > 0.0 ? q[i] / largest : 0.0, b = gradient > 0.0 ? g[i] / gradient : 0.0;
      residuals += a * a;
      gradients += b * b;
    }
  }
  residuals = over_block(all, residuals, plus);
  gradients = over_block(all, gradients, plus);
  if (t == 0) {
    out->largest = largest;
    out->weight = weight;
    out->worst = worst;
    out->residual = largest * sqrt(residuals);
    out->gradient = gradient * sqrt(gradients);
  }
}

// x += y, of rows and border. Grid ceil((N + k) / THREADS), block THREADS.
extern "C" __global__ void __launch_bounds__(THREADS)
    advance(double *xt, const double *yt, long long N, double *xb, const double *yb, int k) {
  const long long i = (long long)blockIdx.x * THREADS + threadIdx.x;
  if (i < N)
    xt[i] += yt[i];
  else if (i - N < k)
    xb[i - N] += yb[i - N];
}
