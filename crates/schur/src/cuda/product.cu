// H x over the operands, for two vectors at once: y = D x_t + B x_b, C x_b + B' x_t.
//
//   product_rows      y_t = D x_t + B x_b                    B once
//   product_pull      partial sums of B' x_t                 B once
//   product_border    partial sums of C x_b                  the lower triangle of C once
//   product_finish    y_b = the partial sums, in their order
//
// Independent of any factor: residuals and objectives come from here. D packed, d_i x d_i row-major,
// lower triangle read; B: N x k row-major; C: column-major, leading dimension ld, order `order` a
// multiple of 16, lower triangle read, zero past k. Border vectors are zero past k. Rows as in
// rows.cu.

// Grid ceil(n / per_block), block 256: `per_block` rows (at most 128 unknowns) a block of threads,
// two unknowns at a time.
extern "C" __global__ void __launch_bounds__(256)
    product_rows(const long long *offsets, const long long *blocks, long long n, int d,
                 const double *D, const double *B, int k, const double *at0, const double *ab0,
                 double *y0, const double *at1, const double *ab1, double *y1, int per_block) {
  __shared__ double sums[8][4];
  __shared__ double z[2][128];
  const int t = threadIdx.x;
  const long long i0 = (long long)blockIdx.x * per_block;
  const long long i1 = i0 + per_block < n ? i0 + per_block : n;
  const long long first = d >= 0 ? i0 * d : offsets[i0];
  const int count = (int)((d >= 0 ? i1 * d : offsets[i1]) - first);
  for (int r = 0; r < count; r += 2) {
    const double *line = B + (first + r) * k;
    const double *next = r + 1 < count ? line + k : line;
    double s00 = 0.0, s01 = 0.0, s10 = 0.0, s11 = 0.0;
#pragma unroll 4
    for (int c = t; c < k; c += 256) {
      const double v = line[c], w = next[c], x0 = ab0[c], x1 = ab1[c];
      s00 += v * x0;
      s01 += v * x1;
      s10 += w * x0;
      s11 += w * x1;
    }
    for (int half = 16; half > 0; half /= 2) {
      s00 += __shfl_xor_sync(0xffffffffu, s00, half);
      s01 += __shfl_xor_sync(0xffffffffu, s01, half);
      s10 += __shfl_xor_sync(0xffffffffu, s10, half);
      s11 += __shfl_xor_sync(0xffffffffu, s11, half);
    }
    __syncthreads();
    if (t % 32 == 0) {
      sums[t / 32][0] = s00;
      sums[t / 32][1] = s01;
      sums[t / 32][2] = s10;
      sums[t / 32][3] = s11;
    }
    __syncthreads();
    if (t < 4 && r + t / 2 < count) {
      double s = sums[0][t];
      for (int w = 1; w < 8; ++w) s += sums[w][t];
      z[t % 2][r + t / 2] = s;
    }
  }
  __syncthreads();
  // D x_t, one thread an unknown and vector.
  const int which = t / 128, u = t % 128;
  if (u >= count) return;
  long long i = i0;
  int before = 0, width;
  for (;; ++i) {
    width = d >= 0 ? d : (int)(offsets[i + 1] - offsets[i]);
    if (u < before + width) break;
    before += width;
  }
  const int a = u - before;
  const double *block = D + (d >= 0 ? i * d * d : blocks[i]);
  const double *x = (which ? at1 : at0) + first + before;
  double s = 0.0;
  for (int b = 0; b < width; ++b) {
    const int row = a > b ? a : b, column = a > b ? b : a;
    s += block[row * width + column] * x[b];
  }
  (which ? y1 : y0)[first + u] = s + z[which][u];
}

// Grid (strips, chunks), block (64, 4): a strip is 128 columns, a chunk `per_chunk` unknowns.
// partials: 2 x chunks x ldp.
extern "C" __global__ void __launch_bounds__(256)
    product_pull(const double *B, int k, long long N, const double *at0, const double *at1,
                 double *partials, long long ldp, long long per_chunk) {
  __shared__ double2 sums[2][4][64];
  const int x = threadIdx.x, y = threadIdx.y;
  const int c0 = blockIdx.x * 128 + x, c1 = c0 + 64;
  const long long begin = blockIdx.y * per_chunk;
  const long long end = begin + per_chunk < N ? begin + per_chunk : N;
  double2 s0 = {0.0, 0.0}, s1 = {0.0, 0.0};
#pragma unroll 4
  for (long long r = begin + y; r < end; r += 4) {
    const double v = c0 < k ? B[r * k + c0] : 0.0, w = c1 < k ? B[r * k + c1] : 0.0;
    const double a = at0[r], b = at1[r];
    s0.x += a * v;
    s0.y += a * w;
    s1.x += b * v;
    s1.y += b * w;
  }
  sums[0][y][x] = s0;
  sums[1][y][x] = s1;
  __syncthreads();
  if (y < 2) {
    double2 s = sums[y][0][x];
    for (int q = 1; q < 4; ++q) {
      s.x += sums[y][q][x].x;
      s.y += sums[y][q][x].y;
    }
    double *out = partials + ((long long)y * gridDim.y + blockIdx.y) * ldp;
    out[c0] = s.x;
    out[c1] = s.y;
  }
}

// Grid T (T + 1) / 2 for T = ceil(order / 64), block 256: one tile of 64 x 64 a block.
// partials: 2 x T x ldp; row s holds what tile column or row s adds to every entry.
extern "C" __global__ void __launch_bounds__(256)
    product_border(const double *C, long long ld, int order, const double *ab0, const double *ab1,
                   double *partials, long long ldp) {
  __shared__ double xi[2][64], xj[2][64];
  __shared__ double rows[2][8][64];
  const int t = threadIdx.x, lane = t % 32, warp = t / 32;
  const int tiles = (order + 63) / 64;
  // The tile's row I and column J from its number I (I + 1) / 2 + J.
  const int tile = blockIdx.x;
  int I = (int)((sqrt(8.0 * tile + 1.0) - 1.0) * 0.5);
  while ((I + 1) * (I + 2) / 2 <= tile) ++I;
  while (I * (I + 1) / 2 > tile) --I;
  const int J = tile - I * (I + 1) / 2;
  if (t < 128) {
    const int which = t / 64, e = t % 64;
    const double *x = which ? ab1 : ab0;
    xi[which][e] = 64 * I + e < order ? x[64 * I + e] : 0.0;
    xj[which][e] = 64 * J + e < order ? x[64 * J + e] : 0.0;
  }
  const int i = 64 * I + 2 * lane;
  double2 v[8];
#pragma unroll
  for (int q = 0; q < 8; ++q) {
    const int j = 64 * J + 8 * warp + q;
    v[q].x = v[q].y = 0.0;
    if (j < order && i < order) {
      v[q] = __ldcs((const double2 *)(C + i + j * ld));
      if (i < j) v[q].x = 0.0;
      if (i + 1 < j) v[q].y = 0.0;
    }
  }
  __syncthreads();
  double *p0 = partials, *p1 = partials + (long long)tiles * ldp;
#pragma unroll
  for (int which = 0; which < 2; ++which) {
    double2 row = {0.0, 0.0};
    double column[8];
    const double x = xi[which][2 * lane], y = xi[which][2 * lane + 1];
#pragma unroll
    for (int q = 0; q < 8; ++q) {
      const int j = 64 * J + 8 * warp + q;
      const double w = xj[which][8 * warp + q];
      row.x += v[q].x * w;
      row.y += v[q].y * w;
      // The diagonal counts once, with the rows.
      column[q] = (i == j ? 0.0 : v[q].x * x) + (i + 1 == j ? 0.0 : v[q].y * y);
    }
    rows[which][warp][2 * lane] = row.x;
    rows[which][warp][2 * lane + 1] = row.y;
#pragma unroll
    for (int q = 0; q < 8; ++q)
      for (int half = 16; half > 0; half /= 2)
        column[q] += __shfl_xor_sync(0xffffffffu, column[q], half);
    double mine = 0.0;
#pragma unroll
    for (int q = 0; q < 8; ++q)
      if (lane == q) mine = column[q];
    const int j = 64 * J + 8 * warp + lane;
    // Of a diagonal tile the columns' part is added below.
    if (I != J && lane < 8) (which ? p1 : p0)[I * ldp + j] = mine;
    if (I == J && lane < 8) xj[which][8 * warp + lane] = mine;
  }
  __syncthreads();
  if (t < 128) {
    const int which = t / 64, e = t % 64;
    double s = rows[which][0][e];
    for (int w = 1; w < 8; ++w) s += rows[which][w][e];
    if (I == J) s += xj[which][e];
    (which ? p1 : p0)[J * ldp + 64 * I + e] = s;
  }
}

// Grid ceil(order / 32), block (32, 8): y_b = sum of the border's partials and the pull's.
extern "C" __global__ void __launch_bounds__(256)
    product_finish(const double *of_border, int tiles, const double *of_pull, int chunks,
                   long long ldb, long long ldp, int k, int order, double *y0, double *y1) {
  __shared__ double sums[2][8][32];
  const int x = threadIdx.x, y = threadIdx.y, i = blockIdx.x * 32 + x;
#pragma unroll
  for (int which = 0; which < 2; ++which) {
    double s = 0.0;
    if (i < k) {
#pragma unroll 4
      for (int c = y; c < tiles; c += 8) s += of_border[((long long)which * tiles + c) * ldb + i];
#pragma unroll 4
      for (int c = y; c < chunks; c += 8) s += of_pull[((long long)which * chunks + c) * ldp + i];
    }
    sums[which][y][x] = s;
  }
  __syncthreads();
  if (y < 2 && i < order) {
    double s = sums[y][0][x];
    for (int q = 1; q < 8; ++q) s += sums[y][q][x];
    (y ? y1 : y0)[i] = i < k ? s : 0.0;
  }
}
