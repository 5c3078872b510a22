/* Kernels for test_emulator.cc: real CUDA, right ones and such as plant a fault each. */
#include "faults.h"

#include <cuda_runtime.h>
#include <stdint.h>

extern __shared__ float dynamic_shared[];

static const unsigned ALL = 0xffffffffu;

static cudaLaunchConfig_t config_of(unsigned grid, unsigned block, size_t dynamic_bytes, cudaStream_t stream)
{
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3(grid);
    config.blockDim = dim3(block);
    config.dynamicSmemBytes = dynamic_bytes;
    config.stream = stream;
    return config;
}

/* ---- sums ---------------------------------------------------------------------------------------------------- */

static __device__ float sum_of_warp(float x, int first_step)
{
    for (int step = first_step; step > 0; step /= 2)
        x += __shfl_xor_sync(ALL, x, step);
    return x;
}

template <sum_variant V> static __global__ void __launch_bounds__(256) sums(float *out, const float4 *in)
{
    __shared__ float of_warps[8];
    const float4 v = in[blockIdx.x * 256 + threadIdx.x];
    const float sum = sum_of_warp(v.x + v.y + v.z + v.w, V == SUM_DROPPED_STEP ? 8 : 16);
    if (threadIdx.x % 32 == 0)
        of_warps[threadIdx.x / 32] = sum;
    if (V != SUM_DROPPED_BARRIER)
        __syncthreads();
    if (threadIdx.x < 32) {
        const float total = sum_of_warp(threadIdx.x < 8 ? of_warps[threadIdx.x] : 0.0f, 16);
        if (threadIdx.x == 0)
            out[blockIdx.x] = total;
    }
}

typedef void (*sums_kernel)(float *, const float4 *);
static const sums_kernel all_sums[SUM_VARIANTS] = {sums<SUM_RIGHT>, sums<SUM_DROPPED_STEP>, sums<SUM_DROPPED_BARRIER>};

cudaError_t launch_sums(sum_variant variant, float *out, const float *in, unsigned blocks, cudaStream_t stream)
{
    const cudaLaunchConfig_t config = config_of(blocks, 256, 0, stream);
    return cudaLaunchKernelEx(&config, all_sums[variant], out, reinterpret_cast<const float4 *>(in));
}

/* ---- element by element -------------------------------------------------------------------------------------- */

static __global__ void __launch_bounds__(256) scale(float *x, float factor, size_t count)
{
    const size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count)
        x[i] *= factor;
}

static __global__ void scale_too_far(float *x, float factor, size_t count)
{
    const size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i <= count)
        x[i] *= factor;
}

static __global__ void scale_vector(float4 *x, float factor, size_t count)
{
    const size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i * 4 >= count)
        return;
    float4 v = x[i];
    v.x *= factor;
    v.y *= factor;
    v.z *= factor;
    v.w *= factor;
    x[i] = v;
}

static __global__ void scale_hinted(float4 *x, float factor, size_t count)
{
    const size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i * 4 >= count)
        return;
    const float4 v = __ldcs(&x[i]);
    __stcs(&x[i], make_float4(v.x * factor, v.y * factor, v.z * factor, v.w * factor));
}

static __global__ void copy_one(float *out, const float *in)
{
    *out = *in;
}

static cudaLaunchConfig_t config_for(size_t count, cudaStream_t stream)
{
    return config_of((unsigned)(count / 256 + 1), 256, 0, stream);
}

const void *scale_kernel()
{
    return (const void *)scale;
}

cudaError_t launch_scale(float *x, float factor, size_t count, cudaStream_t stream)
{
    const cudaLaunchConfig_t config = config_for(count, stream);
    return cudaLaunchKernelEx(&config, scale, x, factor, count);
}

cudaError_t launch_scale_too_far(float *x, float factor, size_t count, cudaStream_t stream)
{
    const cudaLaunchConfig_t config = config_for(count, stream);
    return cudaLaunchKernelEx(&config, scale_too_far, x, factor, count);
}

cudaError_t launch_scale_vector(float *x, float factor, size_t count, cudaStream_t stream)
{
    const cudaLaunchConfig_t config = config_for(count, stream);
    return cudaLaunchKernelEx(&config, scale_vector, reinterpret_cast<float4 *>(x), factor, count);
}

cudaError_t launch_scale_hinted(float *x, float factor, size_t count, cudaStream_t stream)
{
    const cudaLaunchConfig_t config = config_for(count, stream);
    return cudaLaunchKernelEx(&config, scale_hinted, reinterpret_cast<float4 *>(x), factor, count);
}

cudaError_t launch_copy_one(float *out, const float *in, cudaStream_t stream)
{
    const cudaLaunchConfig_t config = config_of(1, 1, 0, stream);
    return cudaLaunchKernelEx(&config, copy_one, out, in);
}

/* ---- one block of two warps ---------------------------------------------------------------------------------- */

static __device__ float reverse(unsigned i)
{
    dynamic_shared[63 - i] = (float)i;
    __syncthreads();
    return dynamic_shared[i];
}

static __device__ float come_in_order(unsigned i)
{
    __shared__ int came;
    if (i == 0)
        came = 0;
    __syncthreads();
    return (float)atomicAdd(&came, 1);
}

/* Each form against what it must give, by lane number. */
static __device__ float check_warp(unsigned i)
{
    const int lane = (int)(i % 32);
    bool right = __shfl_xor_sync(ALL, lane, 16) == (lane ^ 16);
    right &= __shfl_xor_sync(ALL, 1e10 * lane, 31) == 1e10 * (lane ^ 31);
    right &= __all_sync(ALL, lane < 32) && !__all_sync(ALL, lane != 7);
    if (lane < 8)
        right &= __shfl_xor_sync(0xffu, lane, 1) == (lane ^ 1) && __all_sync(0xffu, lane < 8);
    right &= __byte_perm(0x33221100u, 0x77665544u, 0x7061u) == 0x77006611u;
    right &= __vcmpeq4(0x11223344u, 0x11003300u) == 0xff00ff00u;
    right &= __viaddmin_u16x2(0x00000005u, 0xffffffffu, 0xfffe0007u) == 0xfffe0004u; /* 0 - 1 is the largest */
    return right ? 1.0f : 0.0f;
}

struct numbers {
    int of[40];
};
static __device__ const int table[4] = {0, 1, 2, 3};

static __global__ void __launch_bounds__(64) from_table(float *out, const __grid_constant__ numbers by_value)
{
    out[threadIdx.x] = (float)(table[threadIdx.x % 4] + 4 * by_value.of[threadIdx.x / 4]);
}

static __device__ float neighbour(unsigned i, bool synchronize)
{
    __shared__ float values[64];
    values[i] = (float)i;
    if (synchronize)
        __syncwarp();
    return values[i ^ 1];
}

static __device__ float divergent(unsigned i)
{
    if (i < 32)
        __syncthreads();
    else
        __syncthreads();
    return 0;
}

static __device__ float wrong_mask(block_kernel kernel, unsigned i)
{
    const unsigned lane = i % 32;
    if (kernel == BLOCK_LANE_NOT_NAMED)
        return __shfl_xor_sync(0x0000ffffu, (float)i, 1);
    if (kernel == BLOCK_SOURCE_NOT_NAMED)
        return lane < 16 ? __shfl_xor_sync(0x0000ffffu, (float)i, 16) : 0.0f;
    if (lane == 9)
        __syncthreads();
    return __shfl_xor_sync(ALL, (float)i, 1);
}

static __device__ float overrun(block_kernel kernel, unsigned i)
{
    __shared__ float before[64];
    __shared__ float after[64];
    before[i] = after[i] = 0;
    const unsigned next = i + (kernel != BLOCK_TRAP);
    return kernel == BLOCK_DYNAMIC_OVERRUN ? dynamic_shared[next] : before[next] + after[i];
}

static __device__ float others_local(unsigned i)
{
    __shared__ float *pointer;
    float mine = (float)i;
    if (i == 5)
        pointer = &mine;
    __syncthreads();
    const float got = *pointer;
    __syncthreads();
    return got + mine;
}

static __device__ __attribute__((noinline)) float deep(unsigned i)
{
    volatile float locals[100000];
    locals[i] = 1;
    return locals[i];
}

static __device__ float assume_wrongly(unsigned i)
{
    __builtin_assume(i < 60);
    return (float)i;
}

static __global__ void __launch_bounds__(64) one_block(block_kernel kernel, float *out)
{
    const unsigned i = threadIdx.x;
    float value = 0;
    switch (kernel) {
    case BLOCK_REVERSE:
        value = reverse(i);
        break;
    case BLOCK_ORDER:
        value = come_in_order(i);
        break;
    case BLOCK_WARP_RIGHT:
        value = check_warp(i);
        break;
    case BLOCK_SYNCWARP:
    case BLOCK_NO_SYNCWARP:
        value = neighbour(i, kernel == BLOCK_SYNCWARP);
        break;
    case BLOCK_DIVERGENT:
        value = divergent(i);
        break;
    case BLOCK_EXITED:
        if (i == 40)
            return;
        __syncthreads();
        break;
    case BLOCK_LANE_EXITED:
        if (i == 9)
            return;
        value = __shfl_xor_sync(ALL, (float)i, 1);
        break;
    case BLOCK_LANE_ELSEWHERE:
    case BLOCK_LANE_NOT_NAMED:
    case BLOCK_SOURCE_NOT_NAMED:
        value = wrong_mask(kernel, i);
        break;
    case BLOCK_SHARED_OVERRUN:
    case BLOCK_DYNAMIC_OVERRUN:
        value = overrun(kernel, i);
        break;
    case BLOCK_OTHERS_LOCAL:
        value = others_local(i);
        break;
    case BLOCK_WRONG_ASSUMPTION:
        value = assume_wrongly(i);
        break;
    case BLOCK_DEEP:
        value = deep(i);
        break;
    case BLOCK_TRAP:
        __trap();
        break;
    default:
        break;
    }
    out[i] = value;
}

cudaError_t launch_block(block_kernel kernel, float *out, cudaStream_t stream)
{
    const cudaLaunchConfig_t config = config_of(1, 64, 64 * sizeof(float), stream);
    if (kernel != BLOCK_TABLE)
        return cudaLaunchKernelEx(&config, one_block, kernel, out);
    numbers by_value;
    for (int i = 0; i < 40; i++)
        by_value.of[i] = i;
    return cudaLaunchKernelEx(&config, from_table, out, by_value);
}

/* ---- between blocks ------------------------------------------------------------------------------------------ */

static __global__ void all_write(float *out)
{
    if (threadIdx.x == 0)
        *out = 1;
}

static __global__ void all_add(float *out)
{
    atomicAdd(out, 1.0f);
}

cudaError_t launch_all_write(float *out, unsigned blocks, cudaStream_t stream)
{
    const cudaLaunchConfig_t config = config_of(blocks, 32, 0, stream);
    return cudaLaunchKernelEx(&config, all_write, out);
}

cudaError_t launch_all_add(float *out, unsigned blocks, cudaStream_t stream)
{
    const cudaLaunchConfig_t config = config_of(blocks, 32, 0, stream);
    return cudaLaunchKernelEx(&config, all_add, out);
}

/* ---- configurations ------------------------------------------------------------------------------------------ */

enum { BOUNDED_WARPS = 4 };

template <int VALUE> static __global__ void __launch_bounds__(BOUNDED_WARPS * 32, 2) bounded()
{
    dynamic_shared[0] = VALUE;
}

cudaError_t launch_bounded(unsigned grid, unsigned block, size_t dynamic_bytes, cudaStream_t stream)
{
    const cudaLaunchConfig_t config = config_of(grid, block, dynamic_bytes, stream);
    return cudaLaunchKernelEx(&config, bounded<4>);
}

const void *bounded_kernel(void)
{
    return reinterpret_cast<const void *>(bounded<4>);
}
