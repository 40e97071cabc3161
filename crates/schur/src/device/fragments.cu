// What products by the FP64 matrix units are made of: fragments, copies into shared memory that are
// waited for later, and words that other blocks wait for. Stands before the text that uses it.

// D += A B, A 16 x 8, B 8 x 8. Lane 4 g + t: a = A[g, t], A[g + 8, t], A[g, t + 4], A[g + 8, t +
// 4]; b = B[t, g], B[t + 4, g]; d = D[g, 2 t], D[g, 2 t + 1], D[g + 8, 2 t], D[g + 8, 2 t + 1].
__device__ __forceinline__ void multiply(double (&d)[4], const double (&a)[4],
                                         const double (&b)[2]) {
#if __CUDA_ARCH__ >= 900
  asm("mma.sync.aligned.m16n8k8.row.col.f64.f64.f64.f64 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+d"(d[0]), "+d"(d[1]), "+d"(d[2]), "+d"(d[3])
      : "d"(a[0]), "d"(a[1]), "d"(a[2]), "d"(a[3]), "d"(b[0]), "d"(b[1]));
#else
#pragma unroll
  for (int k = 0; k < 2; ++k)
#pragma unroll
    for (int h = 0; h < 2; ++h)
      asm("mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {%0,%1}, {%2}, {%3}, {%0,%1};"
          : "+d"(d[2 * h]), "+d"(d[2 * h + 1])
          : "d"(a[2 * k + h]), "d"(b[k]));
#endif
}

// A fragment of a matrix that is stored by columns: `at` is the address of entry [g, t].
__device__ __forceinline__ void load_a(double (&a)[4], const double *at, int ld) {
  a[0] = at[0];
  a[1] = at[8];
  a[2] = at[4 * ld];
  a[3] = at[4 * ld + 8];
}

__device__ __forceinline__ void copy16(double *to, const double *from, bool there) {
  const unsigned address = (unsigned)__cvta_generic_to_shared(to);
  const int bytes = there ? 16 : 0;
  // Past the first-level cache, which knows nothing of other multiprocessors' stores.
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(from), "r"(bytes)
               : "memory");
}
__device__ __forceinline__ void copies_begun() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
template <int LEFT>
__device__ __forceinline__ void copies_ended() {
  asm volatile("cp.async.wait_group %0;" ::"n"(LEFT) : "memory");
}

__device__ __forceinline__ int acquire(const int *p) {
  int x;
  asm volatile("ld.acquire.gpu.global.s32 %0, [%1];" : "=r"(x) : "l"(p) : "memory");
  return x;
}
__device__ __forceinline__ void release(int *p, int x) {
  asm volatile("st.release.gpu.global.s32 [%0], %1;" ::"l"(p), "r"(x) : "memory");
}
