// Where the rows lie: row i has dim(i) unknowns from at(i) on, and its block from block(i) on. Where d
// is negative the rows are ragged: offsets and blocks hold n + 1 numbers each.

struct Rows {
  const long long *offsets, *blocks;
  long long n;
  int d;
  __device__ __forceinline__ int dim(long long i) const {
    return d >= 0 ? d : (int)(offsets[i + 1] - offsets[i]);
  }
  __device__ __forceinline__ long long at(long long i) const {
    return d >= 0 ? i * d : offsets[i];
  }
  __device__ __forceinline__ long long block(long long i) const {
    return d >= 0 ? i * d * d : blocks[i];
  }
};

