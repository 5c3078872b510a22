/* Launches of the kernels in faults.cu: right ones, and one for each fault that the emulator must see. */
#ifndef EMU_FAULTS_H
#define EMU_FAULTS_H

#include <cuda_runtime_api.h>

/* out[b] = the sum of the b-th 1024 floats, by 256 threads a block: float4 loads, shuffles, shared memory. */
enum sum_variant { SUM_RIGHT, SUM_DROPPED_STEP, SUM_DROPPED_BARRIER, SUM_VARIANTS };
cudaError_t launch_sums(sum_variant variant, float *out, const float *in, unsigned blocks, cudaStream_t stream);

/* x[i] *= factor for i < count, 256 threads a block. The second also does the element after the last. */
const void *scale_kernel();
cudaError_t launch_scale(float *x, float factor, size_t count, cudaStream_t stream);
cudaError_t launch_scale_too_far(float *x, float factor, size_t count, cudaStream_t stream);

/* The same four elements at a time, through plain loads and through __ldcs and __stcs; count is rounded up to 4. */
cudaError_t launch_scale_vector(float *x, float factor, size_t count, cudaStream_t stream);
cudaError_t launch_scale_hinted(float *x, float factor, size_t count, cudaStream_t stream);

/* One thread: *out = *in. */
cudaError_t launch_copy_one(float *out, const float *in, cudaStream_t stream);

/* One block of 64 threads that uses 64 floats of `out`, if any. */
enum block_kernel {
    BLOCK_REVERSE,          /* out[i] = 63 - i, through dynamic shared memory */
    BLOCK_ORDER,            /* out[i] = how many threads came before */
    BLOCK_WARP_RIGHT,       /* shuffles and votes: out[i] = 1 if all are right */
    BLOCK_TABLE,            /* out[i] = i, from constants and a structure passed by value */
    BLOCK_SYNCWARP,         /* lanes hand over through shared memory with __syncwarp(): out[i] = i ^ 1 */
    BLOCK_DIVERGENT,        /* two barriers at two places */
    BLOCK_EXITED,           /* a barrier that some threads have exited before */
    BLOCK_LANE_EXITED,      /* a mask that names a lane that has exited */
    BLOCK_LANE_ELSEWHERE,   /* a mask that names a lane that waits at the barrier */
    BLOCK_LANE_NOT_NAMED,   /* a mask without the caller */
    BLOCK_SOURCE_NOT_NAMED, /* a shuffle that reads a lane outside its mask */
    BLOCK_NO_SYNCWARP,      /* BLOCK_SYNCWARP without it */
    BLOCK_SHARED_OVERRUN,   /* the element after a static shared array */
    BLOCK_DYNAMIC_OVERRUN,  /* the element after the dynamic one */
    BLOCK_OTHERS_LOCAL,     /* a pointer to another thread's variable */
    BLOCK_WRONG_ASSUMPTION, /* __builtin_assume() of what is false */
    BLOCK_DEEP,             /* more local memory than a thread has */
    BLOCK_TRAP,
    BLOCK_KERNELS
};
cudaError_t launch_block(block_kernel kernel, float *out, cudaStream_t stream);

/* Blocks of 32 threads. In each one thread writes *out, or all add 1 to it by an atomic. */
cudaError_t launch_all_write(float *out, unsigned blocks, cudaStream_t stream);
cudaError_t launch_all_add(float *out, unsigned blocks, cudaStream_t stream);

/* A kernel of __launch_bounds__(128), with any grid, block and dynamic shared memory. */
cudaError_t launch_bounded(unsigned grid, unsigned block, size_t dynamic_bytes, cudaStream_t stream);
const void *bounded_kernel(void);

#endif
