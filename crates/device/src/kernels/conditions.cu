// Conditions of loops inside graphs.
//
// arm   the loop whose condition this is runs its body at least once more. A condition is 1 when a
//       launch of its graph begins and 0 after its loop has ended, so a loop that is reached again,
//       inside of another, is armed first.
//
// Launch: one thread.

extern "C" __device__ void cudaGraphSetConditional(unsigned long long handle, unsigned value);

extern "C" __global__ void arm(unsigned long long condition) {
  cudaGraphSetConditional(condition, 1);
}
