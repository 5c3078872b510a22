/*
 * Instructions of a GPU that C++ has no name for, each beside what any compiler makes of the same: the tests' emulator
 * compiles the latter. Both give the same bits.
 */
#ifndef FUSEDOPT_GPU_INTRINSICS_CUH
#define FUSEDOPT_GPU_INTRINSICS_CUH

#include "../../../kernels/formats/formats.h"
#include <cuda_runtime.h>

/* Puts a word together of bytes of b:a. A digit of the selector is a byte's number, plus 8 for eight copies of that
 * byte's highest bit. */
template <uint32_t selector> __device__ __forceinline__ uint32_t permute(uint32_t a, uint32_t b)
{
#ifdef __CUDACC__
    uint32_t d;
    asm("prmt.b32 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "n"(selector));
    return d;
#else
    const uint64_t bytes = (uint64_t)b << 32 | a;
    uint32_t d = 0;
    for (uint32_t i = 0; i < 4; i++) {
        const uint32_t digit = selector >> 4 * i & 15u;
        const uint32_t byte = (uint32_t)(bytes >> 8 * (digit & 7u)) & 0xffu;
        d |= (digit & 8u ? (byte & 0x80u ? 0xffu : 0u) : byte) << 8 * i;
    }
    return d;
#endif
}

__device__ __forceinline__ uint32_t max3(uint32_t a, uint32_t b, uint32_t c)
{
#ifdef __CUDACC__
    return __vimax3_u32(a, b, c);
#else
    return max(max(a, b), c);
#endif
}

__device__ __forceinline__ uint32_t min3(uint32_t a, uint32_t b, uint32_t c)
{
#ifdef __CUDACC__
    return __vimin3_u32(a, b, c);
#else
    return min(min(a, b), c);
#endif
}

/* Returns min(a + b, c). */
__device__ __forceinline__ uint32_t add_min(uint32_t a, uint32_t b, uint32_t c)
{
#ifdef __CUDACC__
    return __viaddmin_u32(a, b, c);
#else
    return min(a + b, c);
#endif
}

/* Returns the larger, or NaN if one of them is. */
__device__ __forceinline__ float max_or_nan(float a, float b)
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    float x;
    asm("max.NaN.f32 %0, %1, %2;" : "=f"(x) : "f"(a), "f"(b));
    return x;
#else
    return a > b || a != a ? a : b;
#endif
}

__device__ __forceinline__ int16_t half_word(uint32_t word, uint32_t i)
{
    return (int16_t)(uint16_t)(word >> 16 * i);
}

/* Returns max(a, b, c) of each half, which is a signed number. */
__device__ __forceinline__ uint32_t max3_halves(uint32_t a, uint32_t b, uint32_t c)
{
#ifdef __CUDACC__
    return __vimax3_s16x2(a, b, c);
#else
    uint32_t d = 0;
    for (uint32_t i = 0; i < 2; i++)
        d |= (uint32_t)(uint16_t)max(max(half_word(a, i), half_word(b, i)), half_word(c, i)) << 16 * i;
    return d;
#endif
}

/* Returns the largest of a warp. */
__device__ __forceinline__ uint32_t warp_max(uint32_t x)
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    return __reduce_max_sync(0xffffffffu, x);
#else
    for (uint32_t distance = 16; distance > 0; distance /= 2)
        x = max(x, __shfl_xor_sync(0xffffffffu, x, (int)distance));
    return x;
#endif
}

/* Rounds two floats to bf16. NaN is 0x7fff, where the library has 0x7fc0. */
__device__ __forceinline__ uint32_t bf16_pair(float low, float high)
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    uint32_t w;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(w) : "f"(high), "f"(low));
    return w;
#else
    const uint32_t l = low != low ? 0x7fffu : fopt_i_bf16_encode(low);
    const uint32_t h = high != high ? 0x7fffu : fopt_i_bf16_encode(high);
    return h << 16 | l;
#endif
}

/* ---- shared memory by 32-bit addresses ------------------------------------------------------------------------ */

extern __shared__ __align__(16) unsigned char dynamic_shared[];

__device__ __forceinline__ uint32_t shared_address(const void *pointer)
{
#ifdef __CUDACC__
    return (uint32_t)__cvta_generic_to_shared(pointer);
#else
    return (uint32_t)(uintptr_t)pointer;
#endif
}

/* Loads what was written before the block's last barrier, and does not change. */
template <uint32_t offset> __device__ __forceinline__ float load_shared(uint32_t address)
{
#ifdef __CUDACC__
    float x;
    asm("ld.shared.f32 %0, [%1 + %2];" : "=f"(x) : "r"(address), "n"(offset));
    return x;
#else
    return *(const float *)(dynamic_shared + (address - shared_address(dynamic_shared)) + offset);
#endif
}

#endif
