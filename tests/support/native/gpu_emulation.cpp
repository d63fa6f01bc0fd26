// SPDX-License-Identifier: Apache-2.0
// The GPU's kernel on the CPU: the same source, one thread after the other, local memory full of garbage at the start.
struct Coordinates { unsigned x, y, z; };
static thread_local Coordinates threadIdx, blockIdx, blockDim, gridDim;
#define __global__
#define __constant__ static
#define __grid_constant__
#define __launch_bounds__(threads)
#define IKOL_SCALAR
#define IKOL_DEVICE 1

#include IKOL_KERNEL_SOURCE

// Leaves NaN where the next call will have its local variables.
static __attribute__((noinline)) void spoil_stack() {
    volatile unsigned char rubbish[1 << 18];
    for (unsigned i = 0; i < sizeof(rubbish); i++) rubbish[i] = 0xff;
}

extern "C" __attribute__((visibility("default"))) void emulate(
    unsigned blocks, unsigned block, const IKOL_CALL* call, int32_t* any_invalid) {
    gridDim.x = blocks;
    blockDim.x = block;
    for (blockIdx.x = 0; blockIdx.x < blocks; blockIdx.x++)
        for (threadIdx.x = 0; threadIdx.x < block; threadIdx.x++) {
            spoil_stack();
            IKOL_KERNEL(*call, any_invalid);
        }
}
