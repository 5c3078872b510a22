/*
 * One tile by one warp: 32 lanes of eight elements. All arrays are fetched, as raw words, before any is decoded, so
 * that the memory latencies of a tile overlap. Formats are chosen by switches that are uniform, since an array has one.
 */
#ifndef FOPT_I_TILE_CUH
#define FOPT_I_TILE_CUH

#include "../formats/formats.h"
#include "../formats/q8_tables.h"
#include "../record.h"
#include "../rules/rules.h"
#include <cuda_runtime.h>

#define FOPT_I_WARP 32
#define FOPT_I_EACH (FOPT_I_TILE / FOPT_I_WARP) /* elements a lane */

/* ---- arrays: 16 bytes an access ------------------------------------------------------------------------------- */

/* A lane's elements as they are stored. A 16-bit format fills the first half. */
struct fopt_i_raw {
    uint32_t word[FOPT_I_EACH];
};

/* Where a lane's elements are: two runs of four, counted from the beginning of the tile. With f32 alone, the runs of
 * neighbouring lanes touch, so that each access of a warp covers 512 consecutive bytes; as soon as an array has 16 bits
 * an element, a lane takes eight together, which are its 16 bytes. */
struct fopt_i_place {
    uint32_t run[2];

    __device__ __forceinline__ uint32_t element(uint32_t i) const
    {
        return run[i / 4] + i % 4;
    }
};

__device__ __forceinline__ fopt_i_place fopt_i_place_of(bool all_f32, uint32_t lane)
{
    fopt_i_place place;
    place.run[0] = all_f32 ? 4 * lane : FOPT_I_EACH * lane;
    place.run[1] = all_f32 ? 4 * lane + FOPT_I_TILE / 2 : FOPT_I_EACH * lane + 4;
    return place;
}

/* The 16 bytes of a run, in an array that begins at the tile. A pointer from a table is generic to the compiler; said
 * to be global, its accesses need no look at what kind of address it is. */
__device__ __forceinline__ uint4 *fopt_i_run(void *array, size_t element_bytes, uint32_t run)
{
    __builtin_assume(__isGlobal(array));
    return (uint4 *)((char *)array + run * element_bytes);
}

__device__ __forceinline__ fopt_i_raw fopt_i_fetch(void *array, unsigned format, fopt_i_place place)
{
    fopt_i_raw raw = {{0}};
    uint4 v = *fopt_i_run(array, format == FOPT_F32 ? 4 : 2, place.run[0]);
    raw.word[0] = v.x, raw.word[1] = v.y, raw.word[2] = v.z, raw.word[3] = v.w;
    if (format == FOPT_F32) {
        v = *fopt_i_run(array, 4, place.run[1]);
        raw.word[4] = v.x, raw.word[5] = v.y, raw.word[6] = v.z, raw.word[7] = v.w;
    }
    return raw;
}

__device__ __forceinline__ void fopt_i_put(void *array, unsigned format, fopt_i_place place, fopt_i_raw raw)
{
    *fopt_i_run(array, format == FOPT_F32 ? 4 : 2, place.run[0]) =
        make_uint4(raw.word[0], raw.word[1], raw.word[2], raw.word[3]);
    if (format == FOPT_F32)
        *fopt_i_run(array, 4, place.run[1]) = make_uint4(raw.word[4], raw.word[5], raw.word[6], raw.word[7]);
}

/* ---- formats -------------------------------------------------------------------------------------------------- */

/* Element i of a lane is a word, or half of one. */
template <typename Stored> __device__ __forceinline__ Stored fopt_i_element_of(const fopt_i_raw &raw, uint32_t i)
{
    uint32_t bits = sizeof(Stored) == 4 ? raw.word[i] : raw.word[i / 2] >> 16 * (i % 2);
    Stored stored;
    memcpy(&stored, &bits, sizeof stored);
    return stored;
}

template <typename Stored>
__device__ __forceinline__ void fopt_i_set_element(fopt_i_raw &raw, uint32_t i, Stored stored)
{
    uint32_t bits = 0;
    memcpy(&bits, &stored, sizeof stored);
    if (sizeof(Stored) == 4)
        raw.word[i] = bits;
    else
        raw.word[i / 2] |= bits << 16 * (i % 2);
}

template <typename Stored, float (*decode)(Stored)>
__device__ __forceinline__ void fopt_i_decode_as(const fopt_i_raw &raw, float *x)
{
#pragma unroll
    for (uint32_t i = 0; i < FOPT_I_EACH; i++)
        x[i] = decode(fopt_i_element_of<Stored>(raw, i));
}

template <typename Stored, Stored (*encode)(float)>
__device__ __forceinline__ void fopt_i_encode_as(const float *x, fopt_i_raw &raw)
{
#pragma unroll
    for (uint32_t i = 0; i < FOPT_I_EACH; i++)
        fopt_i_set_element(raw, i, encode(x[i]));
}

template <typename Stored, Stored (*encode)(float, fopt_state_kind, uint64_t, uint32_t)>
__device__ __forceinline__ void fopt_i_encode_moment_as(const float *x, fopt_state_kind kind, uint64_t tile_key,
                                                        fopt_i_place place, fopt_i_raw &raw)
{
#pragma unroll
    for (uint32_t i = 0; i < FOPT_I_EACH; i++)
        fopt_i_set_element(raw, i, encode(x[i], kind, tile_key, place.element(i)));
}

__device__ __forceinline__ void fopt_i_decode(const fopt_i_raw &raw, unsigned format, float *x)
{
    switch (format) {
#define FOPT_I_CASE(format, name)                                                                                      \
    case format:                                                                                                       \
        fopt_i_decode_as<fopt_i_##name, fopt_i_##name##_decode>(raw, x);                                               \
        break;
        FOPT_I_ARRAY_FORMATS(FOPT_I_CASE)
#undef FOPT_I_CASE
    }
}

__device__ __forceinline__ fopt_i_raw fopt_i_encode(const float *x, unsigned format)
{
    fopt_i_raw raw = {{0}};
    switch (format) {
#define FOPT_I_CASE(format, name)                                                                                      \
    case format:                                                                                                       \
        fopt_i_encode_as<fopt_i_##name, fopt_i_##name##_encode>(x, raw);                                               \
        break;
        FOPT_I_ARRAY_FORMATS(FOPT_I_CASE)
#undef FOPT_I_CASE
    }
    return raw;
}

__device__ __forceinline__ fopt_i_raw fopt_i_encode_moment(const float *x, unsigned format, fopt_state_kind kind,
                                                           uint64_t tile_key, fopt_i_place place)
{
    fopt_i_raw raw = {{0}};
    switch (format) {
#define FOPT_I_CASE(format, name)                                                                                      \
    case format:                                                                                                       \
        fopt_i_encode_moment_as<fopt_i_##name, fopt_i_##name##_encode_moment>(x, kind, tile_key, place, raw);          \
        break;
        FOPT_I_MOMENT_FORMATS(FOPT_I_CASE)
#undef FOPT_I_CASE
    }
    return raw;
}

/* One element of an array that begins at the tile. */
__device__ __forceinline__ float fopt_i_load_one(const void *array, unsigned format, uint32_t element)
{
    __builtin_assume(__isGlobal(array));
    switch (format) {
#define FOPT_I_CASE(format, name)                                                                                      \
    case format:                                                                                                       \
        return fopt_i_##name##_decode(((const fopt_i_##name *)array)[element]);
        FOPT_I_ARRAY_FORMATS(FOPT_I_CASE)
#undef FOPT_I_CASE
    }
    return 0.0f;
}

__device__ __forceinline__ void fopt_i_store_one(void *array, unsigned format, uint32_t element, float x)
{
    __builtin_assume(__isGlobal(array));
    switch (format) {
#define FOPT_I_CASE(format, name)                                                                                      \
    case format:                                                                                                       \
        ((fopt_i_##name *)array)[element] = fopt_i_##name##_encode(x);                                                 \
        break;
        FOPT_I_ARRAY_FORMATS(FOPT_I_CASE)
#undef FOPT_I_CASE
    }
}

__device__ __forceinline__ void fopt_i_store_one_moment(void *array, unsigned format, uint32_t element, float x,
                                                        fopt_state_kind kind, uint64_t tile_key)
{
    __builtin_assume(__isGlobal(array));
    switch (format) {
#define FOPT_I_CASE(format, name)                                                                                      \
    case format:                                                                                                       \
        ((fopt_i_##name *)array)[element] = fopt_i_##name##_encode_moment(x, kind, tile_key, element);                 \
        break;
        FOPT_I_MOMENT_FORMATS(FOPT_I_CASE)
#undef FOPT_I_CASE
    }
}

/* ---- 8-bit blocks --------------------------------------------------------------------------------------------- */

/* The maps in shared memory, where looking up costs least, for all tiles that a block of threads takes. */
__device__ __forceinline__ const fopt_i_q8_maps *fopt_i_share_maps()
{
    static_assert(sizeof(fopt_i_q8_maps) % sizeof(float) == 0, "copied as floats");
    __shared__ fopt_i_q8_maps maps;
    for (uint32_t i = threadIdx.x; i < sizeof maps / sizeof(float); i += blockDim.x)
        ((float *)&maps)[i] = ((const float *)&fopt_i_q8_literals)[i];
    __syncthreads();
    return &maps;
}

__device__ __forceinline__ const fopt_i_q8_map *fopt_i_map_of(const fopt_i_q8_maps *maps, fopt_state_kind kind)
{
    return fopt_i_q8_has_sign(kind) ? &maps->with_sign : &maps->without_sign;
}

__device__ __forceinline__ fopt_i_q8 fopt_i_load_code(const void *array, uint32_t element)
{
    __builtin_assume(__isGlobal(array));
    return ((const fopt_i_q8 *)array)[element];
}

__device__ __forceinline__ void fopt_i_store_code(void *array, uint32_t element, fopt_i_q8 code)
{
    __builtin_assume(__isGlobal(array));
    ((fopt_i_q8 *)array)[element] = code;
}

/* A lane's eight codes, of elements that lie together. */
__device__ __forceinline__ fopt_i_raw fopt_i_fetch_codes(void *array, uint32_t lane)
{
    __builtin_assume(__isGlobal(array));
    const uint2 v = ((const uint2 *)array)[lane];
    fopt_i_raw raw = {{v.x, v.y}};
    return raw;
}

__device__ __forceinline__ void fopt_i_put_codes(void *array, uint32_t lane, fopt_i_raw raw)
{
    __builtin_assume(__isGlobal(array));
    ((uint2 *)array)[lane] = make_uint2(raw.word[0], raw.word[1]);
}

__device__ __forceinline__ fopt_i_q8 fopt_i_code_of(const fopt_i_raw &raw, uint32_t i)
{
    return (fopt_i_q8)(raw.word[i / 4] >> 8 * (i % 4));
}

__device__ __forceinline__ void fopt_i_decode_codes(const fopt_i_raw &raw, const fopt_i_q8_map *map, float absmax,
                                                    float *x)
{
#pragma unroll
    for (uint32_t i = 0; i < FOPT_I_EACH; i++)
        x[i] = fopt_i_q8_decode(map, fopt_i_code_of(raw, i), absmax);
}

/* The largest magnitude, in bits: those of finite magnitudes are ordered as they are. */
__device__ __forceinline__ uint32_t fopt_i_larger(uint32_t most, float x)
{
    const uint32_t magnitude = fopt_i_bits(x) & 0x7fffffffu;
    return magnitude > most ? magnitude : most;
}

__device__ __forceinline__ uint32_t fopt_i_lane_max(const float *x)
{
    uint32_t most = 0;
#pragma unroll
    for (uint32_t i = 0; i < FOPT_I_EACH; i++)
        most = fopt_i_larger(most, x[i]);
    return most;
}

__device__ __forceinline__ float fopt_i_warp_max(uint32_t most)
{
#pragma unroll
    for (uint32_t distance = FOPT_I_WARP / 2; distance > 0; distance /= 2) {
        const uint32_t other = __shfl_xor_sync(0xffffffffu, most, distance);
        most = other > most ? other : most;
    }
    return fopt_i_float(most);
}

__device__ __forceinline__ fopt_i_raw fopt_i_encode_codes(const float *x, const fopt_i_q8_map *map, bool has_sign,
                                                          float scale)
{
    fopt_i_raw raw = {{0}};
#pragma unroll
    for (uint32_t i = 0; i < FOPT_I_EACH; i++)
        raw.word[i / 4] += fopt_i_q8_encode(map, has_sign, x[i], scale) << 8 * (i % 4);
    return raw;
}

#endif
