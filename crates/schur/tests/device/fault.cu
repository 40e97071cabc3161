// A kernel that fails.
//
//   write_far    writes to an address that nothing owns; one thread

extern "C" __global__ void write_far(double *x) { x[1ll << 44] = 1.0; }
