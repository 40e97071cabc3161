// The residual of a structured system's step over the operands, and the sizes of its terms, after
// place.cu in one source:
//
//   Z = X W',           |Z| = |X| |W|'                         residual_kernel, residual_sum
//   q_i = (D_i + rho) x_i + Psi_i Z' phi_i + g_i               residual_rows
//     w_i = |D_i + rho| |x_i| + |Psi_i| |Z|' |phi_i| + |g_i|
//   E = sum_i phi_i (Psi_i' x_i)',  |E| of absolute values     residual_outer, residual_sum
//   Q = E W + (G + rho) X + g,  and of absolute values         residual_border
//
// The sizes are those of the factors as they are stored, as on the CPU. Independent of any factor.
//
// Layouts. D: packed blocks, d_i x d_i row-major, lower triangle read; phi: n x M, Psi: N x M, G: M x M,
// W, X and a border's vectors: M x p, all row-major; Z and E: M x M row-major, each followed by its
// sizes. Partial sums: a chunk's M x M and its sizes, one chunk after another. Rows as place.cu has
// them, at most 32 unknowns each.
//
// Sums over rows and over columns are partial sums of chunks, added in the order of the chunks: an
// order that depends on the shape alone.

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

// A tile of TILE x TILE sums: thread (x, y) of SIDE x SIDE has lines y + SIDE p and columns x + SIDE q. A
// slab is what TILE terms of the sums are made of.
constexpr int SIDE = TILE / 2;
static_assert(SIDE * SIDE == THREADS, "a thread has four sums of a tile");

struct Slab {
  double left[TILE][TILE + 1], right[TILE][TILE + 1], size[TILE][TILE + 1];
};

struct Tile {
  Pair of[2][2];
  // Adds the first `depth` terms of a slab.
  __device__ __forceinline__ void add(const Slab &slab, int depth) {
    const int x = threadIdx.x % SIDE, y = threadIdx.x / SIDE;
    for (int k = 0; k < depth; ++k)
#pragma unroll
      for (int p = 0; p < 2; ++p)
#pragma unroll
        for (int q = 0; q < 2; ++q) {
          const double a = slab.left[k][y + SIDE * p];
          of[p][q].sum += a * slab.right[k][x + SIDE * q];
          of[p][q].size += fabs(a) * slab.size[k][x + SIDE * q];
        }
  }
  // The tile with its first line `top` and first column `left`, of an M x M matrix and its sizes.
  __device__ __forceinline__ void store(double *to, int M, int top, int left) const {
    const int x = threadIdx.x % SIDE, y = threadIdx.x / SIDE;
#pragma unroll
    for (int p = 0; p < 2; ++p)
#pragma unroll
      for (int q = 0; q < 2; ++q) {
        const int m = top + y + SIDE * p, f = left + x + SIDE * q;
        if (m >= M || f >= M) continue;
        to[m * M + f] = of[p][q].sum;
        to[M * M + m * M + f] = of[p][q].size;
      }
  }
};

// Partial sums of Z over the columns of a chunk. Grid (ceil(M / TILE), ceil(M / TILE), chunks), block
// THREADS.
extern "C" __global__ void __launch_bounds__(THREADS)
    residual_kernel(const double *X, const double *W, int M, int p, double *partials,
                    long long per_chunk) {
  __shared__ Slab slab;
  const int t = threadIdx.x, top = blockIdx.y * TILE, left = blockIdx.x * TILE;
  const long long begin = blockIdx.z * per_chunk;
  const long long end = begin + per_chunk < p ? begin + per_chunk : p;
  Tile tile = {};
  for (long long first = begin; first < end; first += TILE) {
    const int depth = end - first < TILE ? (int)(end - first) : TILE;
    __syncthreads();
    for (int e = t; e < TILE * TILE; e += THREADS) {
      const int c = e % TILE, m = top + e / TILE, f = left + e / TILE;
      const double x = c < depth && m < M ? X[m * (long long)p + first + c] : 0.0;
      const double w = c < depth && f < M ? W[f * (long long)p + first + c] : 0.0;
      slab.left[c][e / TILE] = x;
      slab.right[c][e / TILE] = w;
      slab.size[c][e / TILE] = fabs(w);
    }
    __syncthreads();
    tile.add(slab, depth);
  }
  tile.store(partials + 2LL * M * M * blockIdx.z, M, top, left);
}

// Partial sums of E over the rows of a chunk. Grid as above.
extern "C" __global__ void __launch_bounds__(THREADS)
    residual_outer(const long long *offsets, const long long *blocks, long long n, int d,
                   const double *phi, const double *Psi, int M, const double *xt,
                   double *partials, long long per_chunk) {
  __shared__ Slab slab;
  Rows rows = {offsets, blocks, n, d};
  const int t = threadIdx.x, top = blockIdx.y * TILE, left = blockIdx.x * TILE;
  const long long begin = blockIdx.z * per_chunk;
  const long long end = begin + per_chunk < n ? begin + per_chunk : n;
  Tile tile = {};
  for (long long first = begin; first < end; first += TILE) {
    const int depth = end - first < TILE ? (int)(end - first) : TILE;
    __syncthreads();
    for (int e = t; e < TILE * TILE; e += THREADS) {
      const int r = e / TILE, m = top + e % TILE, f = left + e % TILE;
      const long long i = first + r;
      slab.left[r][e % TILE] = r < depth && m < M ? phi[i * M + m] : 0.0;
      Pair pull = {0.0, 0.0};
      if (r < depth && f < M) {
        const long long at = rows.at(i);
        const int width = rows.dim(i);
        for (int a = 0; a < width; ++a) pull.add(Psi[(at + a) * M + f], xt[at + a]);
      }
      slab.right[r][e % TILE] = pull.sum;
      slab.size[r][e % TILE] = pull.size;
    }
    __syncthreads();
    tile.add(slab, depth);
  }
  tile.store(partials + 2LL * M * M * blockIdx.z, M, top, left);
}

// `count` sums over the chunks, a warp each. Grid ceil(count / (THREADS / 32)), block THREADS.
extern "C" __global__ void __launch_bounds__(THREADS)
    residual_sum(const double *partials, int count, int chunks, double *out) {
  const int e = blockIdx.x * (THREADS / 32) + threadIdx.x / 32, lane = threadIdx.x % 32;
  if (e >= count) return;
  double s = 0.0;
  for (int b = lane; b < chunks; b += 32) s += partials[(long long)b * count + e];
  for (int half = 16; half > 0; half /= 2) s += __shfl_down_sync(0xffffffffu, s, half);
  if (lane == 0) out[e] = s;
}

// ROWS rows a block. Grid ceil(n / ROWS), block THREADS, dynamic shared memory for 3 ROWS M numbers: phi_i,
// Z' phi_i and its sizes.
extern "C" __global__ void __launch_bounds__(THREADS)
    residual_rows(const long long *offsets, const long long *blocks, long long n, int d,
                  const double *D, const double *phi, const double *Psi, int M, const double *Z,
                  double rho, const double *xt, const double *gt, double *q, double *w) {
  extern __shared__ double dynamic[];
  double *features = dynamic, *push = dynamic + ROWS * M, *size = dynamic + 2 * ROWS * M;
  Rows rows = {offsets, blocks, n, d};
  constexpr int warps = THREADS / 32;
  static_assert(ROWS == 2 * warps, "two rows a warp");
  const int t = threadIdx.x, lane = t % 32, warp = t / 32;
  const long long i0 = (long long)blockIdx.x * ROWS;
  const int count = n - i0 < ROWS ? (int)(n - i0) : ROWS;
  for (int e = t; e < ROWS * M; e += THREADS) features[e] = e < count * M ? phi[i0 * M + e] : 0.0;
  __syncthreads();
  for (int f = lane; f < M; f += 32) {
    // Two rows a warp, for which Z is read once.
    Pair sums[2] = {};
    for (int m = 0; m < M; ++m) {
      const double z = Z[m * M + f], of_z = Z[M * M + m * M + f];
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const double v = features[(warp + warps * r) * M + m];
        sums[r].sum += v * z;
        sums[r].size += fabs(v) * of_z;
      }
    }
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      push[(warp + warps * r) * M + f] = sums[r].sum;
      size[(warp + warps * r) * M + f] = sums[r].size;
    }
  }
  __syncthreads();
  // A warp a row, its lanes along the features and along the block's line.
  for (int r = warp; r < count; r += warps) {
    const long long at = rows.at(i0 + r);
    const int width = rows.dim(i0 + r);
    const double *block = D + rows.block(i0 + r);
    for (int a = 0; a < width; ++a) {
      const double *psi = Psi + (at + a) * M;
      Pair p = {0.0, 0.0};
      for (int f = lane; f < M; f += 32) {
        p.sum += psi[f] * push[r * M + f];
        p.size += fabs(psi[f]) * size[r * M + f];
      }
      for (int b = lane; b < width; b += 32) {
        const double entry = block[(a > b ? a : b) * width + (a > b ? b : a)];
        p.add(a == b ? entry + rho : entry, xt[at + b]);
      }
      p = over_warp(p);
      if (lane == 0) {
        q[at + a] = p.sum + gt[at + a];
        w[at + a] = p.size + fabs(gt[at + a]);
      }
    }
  }
}

// TILE columns and TILE features a block, four features a thread. Grid (ceil(p / TILE), ceil(M / TILE)),
// block THREADS.
extern "C" __global__ void __launch_bounds__(THREADS)
    residual_border(const double *G, double rho, const double *W, int M, int p, const double *E,
                    const double *X, const double *gb, double *q, double *w) {
  constexpr int apart = THREADS / TILE;
  static_assert(TILE == 4 * apart, "four features a thread");
  const int c = blockIdx.x * TILE + threadIdx.x % TILE;
  const int top = blockIdx.y * TILE + threadIdx.x / TILE;
  if (c >= p) return;
  Pair sums[4] = {};
  for (int f = 0; f < M; ++f) {
    const double v = W[f * (long long)p + c], x = X[f * (long long)p + c];
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      const int m = top + apart * r;
      if (m >= M) continue;
      sums[r].sum += E[m * M + f] * v;
      sums[r].size += E[M * M + m * M + f] * fabs(v);
      sums[r].add(G[m * M + f], x);
    }
  }
#pragma unroll
  for (int r = 0; r < 4; ++r) {
    const int m = top + apart * r;
    if (m >= M) continue;
    const long long at = m * (long long)p + c;
    sums[r].add(rho, X[at]);
    q[at] = sums[r].sum + gb[at];
    w[at] = sums[r].size + fabs(gb[at]);
  }
}
