/*
 * A tile's elements from and to floats, in every format, by one warp: 32 lanes of eight elements. All arrays are
 * fetched, as raw words, before any is decoded, so that the memory latencies of a tile overlap. Formats are chosen by
 * switches that are uniform, since an array has one.
 */
#ifndef FOPT_I_CODEC_CUH
#define FOPT_I_CODEC_CUH

#include "../formats/formats.h"
#include "../record.h"
#include <cuda_runtime.h>

#define FOPT_I_WARP 32
#define FOPT_I_EACH (FOPT_I_TILE / FOPT_I_WARP) /* elements a lane */

#define FOPT_I_ROW(format, name)                                                                                       \
    static_assert(sizeof(fopt_i_##name) == 1 || sizeof(fopt_i_##name) == 2 || sizeof(fopt_i_##name) == 4,              \
                  "a lane fetches 8, 16 or 32 bytes of " #name);
FOPT_I_FORMAT_LIST(FOPT_I_ROW, FOPT_I_ROW, FOPT_I_ROW)
#undef FOPT_I_ROW

/* Whether elements of a format have so many bytes. `quantized`: whether it is a quantized one. Asked of a set, of which
 * the compiler makes a comparison, or nothing: a switch would take registers. */
template <bool quantized, size_t bytes> __device__ __forceinline__ bool fopt_i_has_bytes(unsigned format)
{
#define FOPT_I_ALL(format, name)     | 1u << format
#define FOPT_I_BOTH(format, name)    | 1u << format | 1u << format##_64
#define FOPT_I_MEMBER(format, name)  | (unsigned)(sizeof(fopt_i_##name) == bytes) << format
#define FOPT_I_MEMBERS(format, name) | (sizeof(fopt_i_##name) == bytes ? 1u << format | 1u << format##_64 : 0u)
    constexpr unsigned all = quantized ? 0u FOPT_I_QUANTIZED_FORMATS(FOPT_I_BOTH) : 0u FOPT_I_ARRAY_FORMATS(FOPT_I_ALL);
    constexpr unsigned members =
        quantized ? 0u FOPT_I_QUANTIZED_FORMATS(FOPT_I_MEMBERS) : 0u FOPT_I_ARRAY_FORMATS(FOPT_I_MEMBER);
#undef FOPT_I_ALL
#undef FOPT_I_BOTH
#undef FOPT_I_MEMBER
#undef FOPT_I_MEMBERS
    return members == all || members >> format & 1u;
}

template <bool quantized> __device__ __forceinline__ void *fopt_i_at_tile(void *array, unsigned format, uint64_t tile)
{
    const unsigned bytes = fopt_i_has_bytes<quantized, 4>(format) ? 4 : fopt_i_has_bytes<quantized, 1>(format) ? 1 : 2;
    return (char *)array + tile * (FOPT_I_TILE * bytes);
}

/* ---- raw words: up to 16 bytes an access ---------------------------------------------------------------------- */

/* A lane's elements as they are stored. Narrow ones fill the first words. */
struct fopt_i_raw {
    uint32_t word[FOPT_I_EACH];
};

/* A lane's elements are two runs of four, of which the second begins so many elements after the first. With f32 alone,
 * the runs of neighbouring lanes touch, so that each access of a warp covers 512 consecutive bytes; as soon as an array
 * has narrower elements, a lane takes eight together, an octet, for which there is one random number. */
__device__ __forceinline__ uint32_t fopt_i_second_run(bool all_f32)
{
    return all_f32 ? FOPT_I_TILE / 2 : 4;
}

/* Returns where a lane's elements begin in an array that begins at a tile. */
template <bool quantized>
__device__ __forceinline__ void *fopt_i_at_lane(void *array, unsigned format, bool all_f32, uint32_t lane)
{
    const uint32_t bytes = fopt_i_has_bytes<quantized, 4>(format) ? 4 : fopt_i_has_bytes<quantized, 1>(format) ? 1 : 2;
    return (char *)array + lane * (all_f32 ? 4 : FOPT_I_EACH) * bytes;
}

/* A pointer from a table is generic to the compiler; said to be global, its accesses need no look at what kind of
 * address it is. */
template <typename Words> __device__ __forceinline__ Words *fopt_i_run(void *array, uint32_t bytes)
{
    __builtin_assume(__isGlobal(array));
    return (Words *)((char *)array + bytes);
}

template <bool quantized>
__device__ __forceinline__ fopt_i_raw fopt_i_fetch(void *array, unsigned format, uint32_t second_run)
{
    fopt_i_raw raw = {{0}};
    if (fopt_i_has_bytes<quantized, 1>(format)) {
        const uint2 v = *fopt_i_run<uint2>(array, 0);
        raw.word[0] = v.x, raw.word[1] = v.y;
        return raw;
    }
    const bool wide = fopt_i_has_bytes<quantized, 4>(format);
    uint4 v = *fopt_i_run<uint4>(array, 0);
    raw.word[0] = v.x, raw.word[1] = v.y, raw.word[2] = v.z, raw.word[3] = v.w;
    if (wide) {
        v = *fopt_i_run<uint4>(array, 4 * second_run);
        raw.word[4] = v.x, raw.word[5] = v.y, raw.word[6] = v.z, raw.word[7] = v.w;
    }
    return raw;
}

template <bool quantized>
__device__ __forceinline__ void fopt_i_put(void *array, unsigned format, uint32_t second_run, fopt_i_raw raw)
{
    if (fopt_i_has_bytes<quantized, 1>(format)) {
        *fopt_i_run<uint2>(array, 0) = make_uint2(raw.word[0], raw.word[1]);
        return;
    }
    const bool wide = fopt_i_has_bytes<quantized, 4>(format);
    *fopt_i_run<uint4>(array, 0) = make_uint4(raw.word[0], raw.word[1], raw.word[2], raw.word[3]);
    if (wide)
        *fopt_i_run<uint4>(array, 4 * second_run) = make_uint4(raw.word[4], raw.word[5], raw.word[6], raw.word[7]);
}

/* Element i of a lane: a word, or a part of one. */
template <typename Stored> __device__ __forceinline__ Stored fopt_i_element_of(const fopt_i_raw &raw, uint32_t i)
{
    const uint32_t in_word = 4 / sizeof(Stored);
    const uint32_t bits = raw.word[i / in_word] >> 8 * sizeof(Stored) * (i % in_word);
    Stored stored;
    memcpy(&stored, &bits, sizeof stored);
    return stored;
}

/* The word must have been zero. */
template <typename Stored>
__device__ __forceinline__ void fopt_i_set_element(fopt_i_raw &raw, uint32_t i, Stored stored)
{
    const uint32_t in_word = 4 / sizeof(Stored);
    uint32_t bits = 0;
    memcpy(&bits, &stored, sizeof stored);
    raw.word[i / in_word] |= bits << 8 * sizeof(Stored) * (i % in_word);
}

/* ---- elements that stand for themselves ----------------------------------------------------------------------- */

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

template <typename Stored, Stored (*encode)(float, fopt_state_kind, uint32_t)>
__device__ __forceinline__ void fopt_i_encode_moment_as(const float *x, fopt_state_kind kind, uint32_t random,
                                                        fopt_i_raw &raw)
{
#pragma unroll
    for (uint32_t i = 0; i < FOPT_I_EACH; i++)
        fopt_i_set_element(raw, i, encode(x[i], kind, fopt_i_random_of(random, i)));
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

/* `random` is the octet's, here and below. */
__device__ __forceinline__ fopt_i_raw fopt_i_encode_moment(const float *x, unsigned format, fopt_state_kind kind,
                                                           uint32_t random)
{
    fopt_i_raw raw = {{0}};
    switch (format) {
#define FOPT_I_CASE(format, name)                                                                                      \
    case format:                                                                                                       \
        fopt_i_encode_moment_as<fopt_i_##name, fopt_i_##name##_encode_moment>(x, kind, random, raw);                   \
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
                                                        fopt_state_kind kind, uint32_t random)
{
    __builtin_assume(__isGlobal(array));
    switch (format) {
#define FOPT_I_CASE(format, name)                                                                                      \
    case format:                                                                                                       \
        ((fopt_i_##name *)array)[element] = fopt_i_##name##_encode_moment(x, kind, fopt_i_random_of(random, element)); \
        break;
        FOPT_I_MOMENT_FORMATS(FOPT_I_CASE)
#undef FOPT_I_CASE
    }
}

/* ---- elements that share a scale ------------------------------------------------------------------------------- */

/* All that quantized formats look up. */
struct fopt_i_maps {
#define FOPT_I_MEMBER(format, name) fopt_i_##name##_maps name;
    FOPT_I_QUANTIZED_FORMATS(FOPT_I_MEMBER)
#undef FOPT_I_MEMBER
};

template <typename Maps> __device__ __forceinline__ void fopt_i_share(Maps &shared, const Maps &literals)
{
    static_assert(sizeof(Maps) % sizeof(float) == 0, "copied as floats");
    for (uint32_t i = threadIdx.x; i < sizeof(Maps) / sizeof(float); i += blockDim.x)
        ((float *)&shared)[i] = ((const float *)&literals)[i];
}

/* Returns the maps of the block of threads: in shared memory, where looking up costs least. */
__device__ __forceinline__ fopt_i_maps *fopt_i_shared_maps()
{
    __shared__ fopt_i_maps maps;
    return &maps;
}

/* Fills them, for all tiles that the block takes. */
__device__ __forceinline__ void fopt_i_share_maps()
{
    fopt_i_maps *const maps = fopt_i_shared_maps();
#define FOPT_I_SHARE(format, name) fopt_i_share(maps->name, fopt_i_##name##_literals);
    FOPT_I_QUANTIZED_FORMATS(FOPT_I_SHARE)
#undef FOPT_I_SHARE
    __syncthreads();
}

__device__ __forceinline__ void fopt_i_decode_scaled(const fopt_i_raw &raw, unsigned format, float absmax,
                                                     fopt_state_kind kind, float *x)
{
    switch (format) {
#define FOPT_I_CASES(format, name)                                                                                     \
    case format:                                                                                                       \
    case format##_64:                                                                                                  \
        _Pragma("unroll") for (uint32_t i = 0; i < FOPT_I_EACH; i++) x[i] = fopt_i_##name##_decode_scaled(             \
            &fopt_i_shared_maps()->name, fopt_i_element_of<fopt_i_##name>(raw, i), absmax, kind);                      \
        break;
        FOPT_I_QUANTIZED_FORMATS(FOPT_I_CASES)
#undef FOPT_I_CASES
    }
}

/* `old` is what was stored; `largest` is the block's largest magnitude. */
__device__ __forceinline__ fopt_i_raw fopt_i_encode_scaled(const float *x, const fopt_i_raw &old, unsigned format,
                                                           float largest, fopt_state_kind kind, uint32_t random)
{
    fopt_i_raw raw = {{0}};
    switch (format) {
#define FOPT_I_CASES(format, name)                                                                                     \
    case format:                                                                                                       \
    case format##_64: {                                                                                                \
        const float scale = fopt_i_##name##_scale(largest, kind);                                                      \
        _Pragma("unroll") for (uint32_t i = 0; i < FOPT_I_EACH; i++)                                                   \
            fopt_i_set_element(raw, i,                                                                                 \
                               fopt_i_##name##_encode_scaled(&fopt_i_shared_maps()->name, scale, x[i],                 \
                                                             fopt_i_element_of<fopt_i_##name>(old, i), kind,           \
                                                             fopt_i_random_of(random, i)));                            \
        break;                                                                                                         \
    }
        FOPT_I_QUANTIZED_FORMATS(FOPT_I_CASES)
#undef FOPT_I_CASES
    }
    return raw;
}

/* Returns what a block with this largest magnitude has stored as absmax. */
__device__ __forceinline__ float fopt_i_absmax_of(unsigned format, float largest, fopt_state_kind kind)
{
    switch (format) {
#define FOPT_I_CASES(format, name)                                                                                     \
    case format:                                                                                                       \
    case format##_64:                                                                                                  \
        return fopt_i_##name##_absmax(largest, kind);
        FOPT_I_QUANTIZED_FORMATS(FOPT_I_CASES)
#undef FOPT_I_CASES
    }
    return 0.0f;
}

__device__ __forceinline__ float fopt_i_load_one_scaled(const void *array, unsigned format, uint32_t element,
                                                        float absmax, fopt_state_kind kind)
{
    __builtin_assume(__isGlobal(array));
    switch (format) {
#define FOPT_I_CASES(format, name)                                                                                     \
    case format:                                                                                                       \
    case format##_64:                                                                                                  \
        return fopt_i_##name##_decode_scaled(&fopt_i_shared_maps()->name, ((const fopt_i_##name *)array)[element],     \
                                             absmax, kind);
        FOPT_I_QUANTIZED_FORMATS(FOPT_I_CASES)
#undef FOPT_I_CASES
    }
    return 0.0f;
}

__device__ __forceinline__ void fopt_i_store_one_scaled(void *array, unsigned format, uint32_t element, float x,
                                                        float largest, fopt_state_kind kind, uint32_t random)
{
    __builtin_assume(__isGlobal(array));
    switch (format) {
#define FOPT_I_CASES(format, name)                                                                                     \
    case format:                                                                                                       \
    case format##_64: {                                                                                                \
        fopt_i_##name *const stored = (fopt_i_##name *)array + element;                                                \
        *stored = fopt_i_##name##_encode_scaled(&fopt_i_shared_maps()->name, fopt_i_##name##_scale(largest, kind), x,  \
                                                *stored, kind, fopt_i_random_of(random, element));                     \
        break;                                                                                                         \
    }
        FOPT_I_QUANTIZED_FORMATS(FOPT_I_CASES)
#undef FOPT_I_CASES
    }
}

/* The least and the largest magnitude of a lane's numbers, in bits, which are ordered as those are: what is not finite
 * is larger. The least is 1 less: so zero does not count. */
struct fopt_i_range {
    uint32_t least, most;
};

/* `has_sign`: whether some may be negative. If not, one that is counts as large. */
__device__ __forceinline__ fopt_i_range fopt_i_range_of(const float *x, bool has_sign)
{
    fopt_i_range r = {UINT32_MAX, 0};
#pragma unroll
    for (uint32_t i = 0; i < FOPT_I_EACH; i++) {
        const uint32_t bits = has_sign ? fopt_i_bits(x[i]) & 0x7fffffffu : fopt_i_bits(x[i]);
        r.least = min(r.least, bits - 1);
        r.most = max(r.most, bits);
    }
    return r;
}

/* Returns the largest of what `lanes` neighbouring lanes have: of a warp or eight. */
__device__ __forceinline__ uint32_t fopt_i_max_of_lanes(uint32_t most, uint32_t lanes)
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    if (lanes == FOPT_I_WARP)
        return __reduce_max_sync(0xffffffffu, most);
#endif
    for (uint32_t distance = lanes / 2; distance > 0; distance /= 2)
        most = max(most, __shfl_xor_sync(0xffffffffu, most, (int)distance));
    return most;
}

#endif
