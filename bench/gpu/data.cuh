/*
 * The data that the kernels of the tournament are compared on, made on the device. Numbers depend on a set, an array
 * and a place in it alone, so that every variant begins with the same.
 */
#ifndef FUSEDOPT_GPU_DATA_CUH
#define FUSEDOPT_GPU_DATA_CUH

#include "../../kernels/formats/formats.h"
#include "../../kernels/rules/rules.h"
#include <cuda_runtime.h>

enum { THREADS = 256 };

enum role { PARAM, GRAD, FIRST, SECOND };

struct data_set {
    const char *name;
    float low, high;     /* log2 of the scale of a tile's gradients, which is between them */
    float spread;        /* log2 of how far below that an element's may be */
    float param;         /* scale of parameters */
    unsigned zeros;      /* so many of 256 elements are 0, with their moments */
    unsigned zero_tiles; /* and so many of 16 tiles */
    unsigned specials;   /* so many of 4,096 elements are NaN, infinite, subnormal or the like */
    bool tensors;        /* several, with partial tiles, misaligned, without gradient; else one */
    double lr, eps, weight_decay;
};

/* The data that are compared; the first are timed, too. In "small" second moments reach down to 2^-99, and in "steep"
 * to 2^-29 of their tile's largest: parameters begin as 0 there, so that they show each bit of the update, and eps is
 * too small to hide a root. */
static const data_set data_sets[] = {
    {"ordinary", -9, -9, 0, 0.04f, 0, 0, 0, false, 1e-3, 1e-8, 1e-2},
    {"tensors", -9, -9, 0, 0.04f, 0, 0, 0, true, 1e-3, 1e-8, 1e-2},
    {"scales", -40, 15, 3, 1.0f, 0, 0, 0, false, 1e-3, 1e-8, 1e-2},
    {"small", -47, -40, 1, 0.0f, 0, 0, 0, false, 1.0, 1e-12, 0},
    {"steep", -35, -31, 8.5f, 0.0f, 0, 0, 0, false, 1.0, 1e-12, 0},
    {"zeros", -30, 5, 0, 1e-3f, 64, 2, 0, false, 1e-2, 1e-10, 1e-2},
    {"special", -20, 5, 2, 1.0f, 16, 0, 2, false, 1e-3, 1e-8, 1e-2},
};

/* ---- numbers -------------------------------------------------------------------------------------------------- */

static __device__ __forceinline__ float unit_of(uint64_t bits)
{
    return (float)(bits & 0xffffffu) * 0x1p-24f;
}

/* Returns a number around 0 with a bell's density, less than 2 in magnitude. */
static __device__ __forceinline__ float bell_of(uint64_t bits)
{
    float sum = 0.0f;
    for (int k = 0; k < 4; k++)
        sum += (float)(bits >> 16 * k & 0xffffu) * 0x1p-16f - 0.5f;
    return sum;
}

static __device__ __forceinline__ float special_of(uint64_t bits)
{
    const uint32_t words[8] = {0x7fc00000u, 0x7f800000u, 0xff800000u, 0x7f7fffffu,
                               0xff7fffffu, 0x00000001u, 0x807fffffu, 0x80000000u};
    return fopt_i_float(words[bits % 8]);
}

/* Return random bits: of a tile, of an element of all arrays, and of one array's. */
static __device__ __forceinline__ uint64_t tile_bits(uint64_t i)
{
    return fopt_i_mix(i / FOPT_I_TILE);
}

static __device__ __forceinline__ uint64_t element_bits(uint64_t i)
{
    return fopt_i_mix(i + ((uint64_t)1 << 40));
}

static __device__ __forceinline__ uint64_t own_bits(role r, uint64_t i)
{
    return fopt_i_mix(i + ((uint64_t)(r + 2) << 40));
}

static __device__ __forceinline__ bool is_dead(const data_set &set, uint64_t i)
{
    return (element_bits(i) >> 24 & 255u) < set.zeros || (tile_bits(i) >> 24 & 15u) < set.zero_tiles;
}

static __device__ __forceinline__ float tile_scale(const data_set &set, uint64_t i)
{
    return exp2f(set.low + (set.high - set.low) * unit_of(tile_bits(i)));
}

/* Returns a number of a gradient's magnitude at that place. */
static __device__ __forceinline__ float like_gradient(const data_set &set, role r, uint64_t i)
{
    const uint64_t bits = own_bits(r, i);
    if (set.spread == 0.0f)
        return tile_scale(set, i) * bell_of(bits);
    const float x = tile_scale(set, i) * exp2f(-set.spread * unit_of(element_bits(i))) * (0.5f + 0.5f * unit_of(bits));
    return bits >> 63 ? -x : x;
}

static __device__ __forceinline__ float number(const data_set &set, role r, uint64_t i)
{
    const uint64_t bits = own_bits(r, i);
    if ((bits >> 48 & 4095u) < set.specials)
        return special_of(bits >> 40);
    if (r == PARAM)
        return set.param * bell_of(bits);
    if (is_dead(set, i)) /* the least gradients make a moment -0 */
        return r == GRAD && bits >> 63 ? -0x1p-149f : 0.0f;
    const float x = like_gradient(set, r, i);
    return r == GRAD ? x : r == FIRST ? 0.25f * x : x * x;
}

/* Returns a code. With a spread every other is that of zero, so that new moments are as small as their gradient makes
 * them. */
static __device__ __forceinline__ fopt_i_q8 code(const data_set &set, role r, uint64_t i)
{
    const uint64_t bits = own_bits(r, i);
    if (is_dead(set, i) || (set.spread != 0.0f && bits >> 32 & 1u))
        return r == FIRST ? FOPT_I_Q8_ZERO : 0;
    return (fopt_i_q8)bits;
}

static __device__ __forceinline__ float absmax(const data_set &set, role r, uint64_t tile)
{
    const uint64_t i = tile * FOPT_I_TILE, bits = own_bits(r, i);
    if ((bits >> 48 & 15u) < set.specials)
        return fabsf(special_of(bits >> 40));
    if ((tile_bits(i) >> 24 & 15u) < set.zero_tiles)
        return 0.0f;
    const float scale = tile_scale(set, i);
    return r == FIRST ? scale : scale * scale;
}

/* ---- kernels -------------------------------------------------------------------------------------------------- */

static __device__ __forceinline__ uint64_t this_thread()
{
    return (uint64_t)blockIdx.x * THREADS + threadIdx.x;
}

static __device__ __forceinline__ uint64_t all_threads()
{
    return (uint64_t)gridDim.x * THREADS;
}

/* Fills elements, whose first is number `begin` of the set. */
static __global__ void __launch_bounds__(THREADS)
    fill(data_set set, role r, unsigned format, void *array, uint64_t begin, uint64_t count)
{
    for (uint64_t i = this_thread(); i < count; i += all_threads())
        if (format == FOPT_F32)
            ((float *)array)[i] = number(set, r, begin + i);
        else if (format == FOPT_BF16)
            ((fopt_i_bf16 *)array)[i] = fopt_i_bf16_encode(number(set, r, begin + i));
        else
            ((fopt_i_q8 *)array)[i] = code(set, r, begin + i);
}

static __global__ void __launch_bounds__(THREADS)
    fill_absmax(data_set set, role r, float *array, uint64_t begin_tile, uint64_t tiles)
{
    for (uint64_t i = this_thread(); i < tiles; i += all_threads())
        array[i] = absmax(set, r, begin_tile + i);
}

/* Adds up what stands for each word and its place. */
static __global__ void __launch_bounds__(THREADS) hash(const uint32_t *words, uint64_t count, unsigned long long *sum)
{
    unsigned long long own = 0;
    for (uint64_t i = this_thread(); i < count; i += all_threads())
        own += fopt_i_mix(words[i] + (i << 32));
    atomicAdd(sum, own);
}

/* Fills the caches with something else, and keeps the device busy while what is timed is enqueued. */
static __global__ void __launch_bounds__(THREADS) evict(float4 *array, uint64_t count)
{
    for (uint64_t i = this_thread(); i < count; i += all_threads()) {
        float4 x = array[i];
        x.x += 1.0f, x.y += 1.0f, x.z += 1.0f, x.w += 1.0f;
        array[i] = x;
    }
}

#endif
