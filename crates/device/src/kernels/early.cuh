// For kernels whose blocks may start before the kernel ahead on the stream has ended.
//
// `wait_for_work_ahead` returns once that kernel has ended and what it wrote can be read. It comes
// first in every thread, before memory is touched. It also lets the kernel behind start: every block
// of this one is running when that counts, so the early blocks behind take no place from it. Without
// effect where the launch allowed nothing, and before sm_90.

#pragma once

__device__ __forceinline__ void wait_for_work_ahead() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
