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
// Vectors are M x M row-major, of which M x r is used and the rest is zero. Of the state `next` (the
// record, written by descent_push) comes first, then `now` (written by descent_turn): no kernel reads
// what another block of it writes.

extern "C" __device__ void cudaGraphSetConditional(unsigned long long handle, unsigned value);

#define STATUS 0   // 0 runs, 1 arrived, 2 stands still, 3 curvature <= 0, 4 curvature not finite,
                   // 5 the right-hand side is not finite
#define DONE 1     // iterations
#define REACHED 2  // |L_G (f - Z x)| / |b|, when it was last formed
#define VALUE 3    // the curvature that ended it
#define PHASE 4    // 0 a direction's product is asked, 1 that of x
#define FIRST 5    // iterations when this descent began
#define UNIT 6
#define SIZE 7     // |b| / unit
#define KEPT 8     // directions
#define FIELDS 9

// Norms without overflow: scale^2 sum.
struct Norm {
  double scale, sum;
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
  __device__ __forceinline__ void add(const Norm &o) {
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

// The norm of all threads' parts, in every thread; `room` is one Norm a thread. The number of threads
// is a power of two.
__device__ Norm norm_of_block(Norm mine, Norm *room) {
  const int t = threadIdx.x;
  room[t] = mine;
  for (int half = blockDim.x / 2; half > 0; half /= 2) {
    __syncthreads();
    if (t < half) room[t].add(room[t + half]);
  }
  __syncthreads();
  return room[0];
}

// The sum over all threads, in every thread; `room` is one number a warp.
__device__ double sum_of_block(double s, double *room) {
  const int lane = threadIdx.x % 32;
  for (int half = 16; half > 0; half /= 2) s += __shfl_down_sync(0xffffffffu, s, half);
  __syncthreads();
  if (lane == 0) room[threadIdx.x / 32] = s;
  __syncthreads();
  // Both of a pair add the same two numbers, so all threads have the same sum.
  s = lane < blockDim.x / 32 ? room[lane] : 0.0;
  for (int half = 16; half > 0; half /= 2) s += __shfl_xor_sync(0xffffffffu, s, half);
  return s;
}

// Grid as border_outer, block 256; sizes: two numbers a block. Without W: |g|.
extern "C" __global__ void __launch_bounds__(256)
    descent_size(const double *E, const double *W, const double *g, int M, int p, double *sizes) {
  __shared__ Norm room[256];
  const int t = threadIdx.x, c = t % 32, y = t / 32;
  Norm norm = {0.0, 0.0};
  for (int column = blockIdx.x * 32 + c; column < p; column += gridDim.x * 32)
    for (int m = y; m < M; m += 8) {
      double s = 0.0;
      for (int a = 0; W && a < M; ++a) s += E[m * M + a] * W[a * (long long)p + column];
      norm.add(s - g[m * (long long)p + column]);
    }
  norm = norm_of_block(norm, room);
  if (t == 0) {
    sizes[2 * blockIdx.x] = norm.scale;
    sizes[2 * blockIdx.x + 1] = norm.sum;
  }
}

// One block of 1024. f: M x r.
extern "C" __global__ void __launch_bounds__(1024)
    descent_begin(const double *f, int M, int r, const double *sizes, int pieces, double limit,
                  double *b, double *x, double *R, double *p, double *state) {
  __shared__ Norm room[1024];
  const int t = threadIdx.x;
  Norm norm = {0.0, 0.0}, size = {0.0, 0.0};
  for (int e = t; e < M * r; e += 1024) norm.add(f[e]);
  for (int e = t; e < pieces; e += 1024) {
    const Norm piece = {sizes[2 * e], sizes[2 * e + 1]};
    size.add(piece);
  }
  norm = norm_of_block(norm, room);
  __syncthreads();
  size = norm_of_block(size, room);
  const double length = norm.value(), whole = size.value();
  const bool finite = length - length == 0.0 && whole - whole == 0.0;
  // A power of two, which rounds nothing: r' r and p' Z p stay finite and positive.
  const double unit = finite && length > 0.0 ? scalbn(1.0, ilogb(length)) : 1.0;
  for (int e = t; e < M * M; e += 1024) {
    const int m = e / M, s = e % M;
    const double v = finite && s < r ? f[m * r + s] / unit : 0.0;
    b[e] = v;
    R[e] = v;
    p[e] = limit > 0.0 ? v : 0.0;
    x[e] = 0.0;
  }
  if (t >= FIELDS) return;
  double v = 0.0;
  if (t == STATUS) v = !finite ? 5.0 : length == 0.0 ? 1.0 : 0.0;
  if (t == REACHED) v = length == 0.0 ? 0.0 : 1.0;
  if (t == PHASE) v = limit > 0.0 ? 0.0 : 1.0;
  if (t == UNIT) v = unit;
  if (t == SIZE) v = whole / unit;
  state[t] = v;
}

// One block of 1024. E = (I - Z) p; directions P and products Q, each divided by the root of its
// curvature, `most` of them.
extern "C" __global__ void __launch_bounds__(1024)
    descent_turn(const double *b, const double *E, int M, double *x, double *r, double *p, double *P,
                 double *Q, int most, double *state) {
  __shared__ double room[32];
  const int t = threadIdx.x, n = M * M;
  double *now = state + FIELDS;
  if (t < FIELDS) now[t] = state[t];
  __syncthreads();
  const int slot = (int)now[KEPT];
  const double status = now[STATUS], phase = now[PHASE], done = now[DONE];
  if (status != 0.0) return;
  if (phase == 1.0) {
    for (int e = t; e < n; e += 1024) p[e] = r[e] = b[e] - (p[e] - E[e]);
    __syncthreads();
    if (t == 0) now[KEPT] = 0.0;
    return;
  }
  double curvature = 0.0, along = 0.0;
  for (int e = t; e < n; e += 1024) {
    const double v = p[e];
    curvature += v * (v - E[e]);
    along += v * r[e];
  }
  curvature = sum_of_block(curvature, room);
  along = sum_of_block(along, room);
  const bool finite = curvature - curvature == 0.0;
  if (!finite || curvature <= 0.0) {
    if (t == 0) {
      now[STATUS] = finite ? 3.0 : 4.0;
      now[VALUE] = curvature;
    }
    return;
  }
  const double alpha = along / curvature;
  double s = 0.0;
  for (int e = t; e < n; e += 1024) {
    const double v = p[e], q = v - E[e], left = r[e] - alpha * q;
    x[e] += alpha * v;
    r[e] = left;
    s += q * left;
  }
  const double beta = sum_of_block(s, room) / curvature, root = sqrt(curvature);
  for (int e = t; e < n; e += 1024) {
    const double v = p[e];
    if (slot < most) {
      P[(long long)slot * n + e] = v / root;
      Q[(long long)slot * n + e] = (v - E[e]) / root;
    }
    p[e] = r[e] - beta * v;
  }
  if (t == 0) {
    now[KEPT] = slot < most ? slot + 1 : slot;
    now[DONE] = done + 1.0;
  }
}

// Grid M + most, block 256. norms: two numbers a line of L_G; c: a number a direction.
extern "C" __global__ void __launch_bounds__(256)
    descent_pull(const double *LG, int M, const double *r, const double *p, const double *Q,
                 const double *state, double *norms, double *c) {
  __shared__ Norm room[256];
  __shared__ double sums[8];
  const int t = threadIdx.x, n = M * M;
  const double *now = state + FIELDS;
  if (now[STATUS] != 0.0) return;
  if (blockIdx.x < M) {
    const double *line = LG + blockIdx.x * M;
    Norm norm = {0.0, 0.0};
    for (int s = t; s < M; s += 256) {
      double sum = 0.0;
      for (int j = 0; j <= blockIdx.x; ++j) sum += line[j] * r[j * M + s];
      norm.add(sum);
    }
    norm = norm_of_block(norm, room);
    if (t == 0) {
      norms[2 * blockIdx.x] = norm.scale;
      norms[2 * blockIdx.x + 1] = norm.sum;
    }
    return;
  }
  const int j = blockIdx.x - M;
  if (j >= (int)now[KEPT]) return;
  const double *q = Q + (long long)j * n;
  double sum = 0.0;
  for (int e = t; e < n; e += 256) sum += q[e] * p[e];
  sum = sum_of_block(sum, sums);
  if (t == 0) c[j] = sum;
}

// Grid ceil(M^2 / 32), block 256. `room_for` bounds the iterations of one descent, `limit` those of
// all; `target` is relative to |b|; `condition` is that of the loop in which this runs.
extern "C" __global__ void __launch_bounds__(256)
    descent_push(int M, const double *x, const double *norms, const double *c, const double *P,
                 double target, double room_for, double limit, double *p, double *state,
                 unsigned long long condition) {
  __shared__ Norm room[256];
  __shared__ double parts[8][32];
  const int t = threadIdx.x, n = M * M, lane = t % 32, y = t / 32;
  const int e = blockIdx.x * 32 + lane;
  const double *now = state + FIELDS;
  double status = now[STATUS], phase = now[PHASE], reached = now[REACHED], first = now[FIRST];
  const double done = now[DONE];
  if (status == 0.0) {
    Norm norm = {0.0, 0.0};
    for (int m = t; m < M; m += 256) {
      const Norm piece = {norms[2 * m], norms[2 * m + 1]};
      norm.add(piece);
    }
    const double relative = norm_of_block(norm, room).value() / now[SIZE];
    if (phase == 1.0) {
      const bool moves = relative <= 0.5 * reached && done < limit;
      status = relative <= target ? 1.0 : moves ? 0.0 : 2.0;
      reached = relative;
      first = done;
      phase = 0.0;
    } else if (relative > 0.5 * target && done < limit && done - first < room_for) {
      double sum = 0.0;
      if (e < n) {
        const int kept = (int)now[KEPT];
#pragma unroll 4
        for (int j = y; j < kept; j += 8) sum += c[j] * P[(long long)j * n + e];
      }
      parts[y][lane] = sum;
      __syncthreads();
      if (y == 0 && e < n) {
        for (int q = 1; q < 8; ++q) sum += parts[q][lane];
        p[e] -= sum;
      }
    } else {
      if (y == 0 && e < n) p[e] = x[e];
      phase = 1.0;
    }
  }
  if (blockIdx.x != 0 || t >= FIELDS) return;
  double v = now[t];
  if (t == STATUS) v = status;
  if (t == REACHED) v = reached;
  if (t == PHASE) v = phase;
  if (t == FIRST) v = first;
  state[t] = v;
  if (t == STATUS) cudaGraphSetConditional(condition, status == 0.0);
}

// One block of 1024. c: M x r; A: M x M, scratch.
extern "C" __global__ void __launch_bounds__(1024)
    descent_end(const double *LG, int M, int r, const double *x, const double *p, double *A,
                double *c, double *state) {
  __shared__ Norm room[1024];
  const int t = threadIdx.x;
  const double status = state[STATUS], unit = state[UNIT], curvature = state[VALUE];
  for (int e = t; e < M * r; e += 1024) c[e] = unit * x[e / r * M + e % r];
  if (status != 3.0) return;
  // The direction in the border's own unknowns, of the same length as L_G^-T p.
  for (int e = t; e < M * M; e += 1024) A[e] = p[e];
  for (int j = M - 1; j >= 0; --j) {
    __syncthreads();
    for (int s = t; s < M; s += 1024) A[j * M + s] /= LG[j * M + j];
    __syncthreads();
    for (int e = t; e < j * M; e += 1024) A[e] -= LG[j * M + e / M] * A[j * M + e % M];
  }
  __syncthreads();
  Norm norm = {0.0, 0.0};
  for (int e = t; e < M * M; e += 1024) norm.add(A[e]);
  const double length = norm_of_block(norm, room).value();
  if (t == 0) state[VALUE] = curvature / length / length;
}
