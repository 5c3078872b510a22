/*
 * A tile's elements from and to floats, in every format: part of walk.h. The loops are made from the list of formats,
 * and vectorised by the compiler; bf16 and q8 have faster ones of their own.
 */
#ifndef FOPT_I_CODEC_H
#define FOPT_I_CODEC_H

#include "../formats/formats.h"
#include "bf16_loops.h"
#include "q8_loops.h"

static inline void *fopt_i_at_tile(void *array, unsigned format, uint64_t tile)
{
    return (char *)array + (size_t)tile * FOPT_I_TILE * fopt_i_element_bytes(format);
}

/* ---- elements that stand for themselves ---- */

static inline void fopt_i_load_each(unsigned format, const void *tile, size_t count, float *restrict out)
{
    switch (format) {
#define FOPT_I_CASE(format, name)                                                                                      \
    case format:                                                                                                       \
        for (size_t i = 0; i < count; i++)                                                                             \
            out[i] = fopt_i_##name##_decode(((const fopt_i_##name *)tile)[i]);                                         \
        break;
        FOPT_I_ARRAY_FORMATS(FOPT_I_CASE)
#undef FOPT_I_CASE
    }
}

/* Rounds and stores parameters. */
static inline void fopt_i_store_each(unsigned format, void *tile, size_t count, const float *restrict in)
{
    switch (format) {
#define FOPT_I_CASE(format, name)                                                                                      \
    case format:                                                                                                       \
        for (size_t i = 0; i < count; i++)                                                                             \
            ((fopt_i_##name *)tile)[i] = fopt_i_##name##_encode(in[i]);                                                \
        break;
        FOPT_I_ARRAY_FORMATS(FOPT_I_CASE)
#undef FOPT_I_CASE
    }
}

static inline void fopt_i_store_each_moment(unsigned format, const fopt_i_moments *to, size_t count,
                                            const float *restrict in)
{
    switch (format) {
#define FOPT_I_CASE(format, name)                                                                                      \
    case format:                                                                                                       \
        for (uint32_t i = 0; i < count; i++)                                                                           \
            ((fopt_i_##name *)to->data)[i] =                                                                           \
                fopt_i_##name##_encode_moment(in[i], to->kind, fopt_i_random_half(to->random[i / 2], i));              \
        break;
        FOPT_I_MOMENT_FORMATS(FOPT_I_CASE)
#undef FOPT_I_CASE
    }
}

/* ---- elements that share a scale: block by block ---- */

/* Returns the largest magnitude; finite ones are ordered as their bits are. */
static inline float fopt_i_largest(const float *in, size_t count)
{
    uint32_t most = 0;
    for (size_t i = 0; i < count; i++) {
        const uint32_t magnitude = fopt_i_bits(in[i]) & 0x7fffffffu;
        most = magnitude > most ? magnitude : most;
    }
    return fopt_i_float(most);
}

/* `from` is a block's here, and `to`. */
static inline void fopt_i_load_block(unsigned format, const fopt_i_moments *from, size_t count, float *restrict out)
{
    switch (format) {
#ifdef FOPT_I_Q8_LOOPS
    case FOPT_Q8:
    case FOPT_Q8_64:
        fopt_i_q8_load_moments(from, count, out);
        return;
#endif
    }
    switch (format) {
#define FOPT_I_CASES(format, name)                                                                                     \
    case format:                                                                                                       \
    case format##_64:                                                                                                  \
        for (size_t i = 0; i < count; i++)                                                                             \
            out[i] = fopt_i_##name##_decode_scaled(&fopt_i_##name##_literals, ((const fopt_i_##name *)from->data)[i],  \
                                                   *from->absmax, from->kind);                                         \
        break;
        FOPT_I_QUANTIZED_FORMATS(FOPT_I_CASES)
#undef FOPT_I_CASES
    }
}

static inline void fopt_i_store_block(unsigned format, const fopt_i_moments *to, size_t count, const float *restrict in)
{
    const float largest = fopt_i_largest(in, count);
    switch (format) {
#ifdef FOPT_I_Q8_LOOPS
    case FOPT_Q8:
    case FOPT_Q8_64:
        fopt_i_q8_store_moments(to, largest, count, in);
        return;
#endif
    }
    switch (format) {
#define FOPT_I_CASES(format, name)                                                                                     \
    case format:                                                                                                       \
    case format##_64: {                                                                                                \
        const float scale = fopt_i_##name##_scale(largest, to->kind);                                                  \
        fopt_i_##name *const out = to->data;                                                                           \
        for (uint32_t i = 0; i < count; i++)                                                                           \
            out[i] = fopt_i_##name##_encode_scaled(&fopt_i_##name##_literals, scale, in[i], out[i], to->kind,          \
                                                   fopt_i_random_half(to->random[i / 2], i));                          \
        *to->absmax = fopt_i_##name##_absmax(largest, to->kind);                                                       \
        break;                                                                                                         \
    }
        FOPT_I_QUANTIZED_FORMATS(FOPT_I_CASES)
#undef FOPT_I_CASES
    }
}

/* Returns the block of a tile's moments that begins with an element. */
static inline fopt_i_moments fopt_i_block_at(unsigned format, const fopt_i_moments *tile, size_t element)
{
    return (fopt_i_moments){
        .data = (char *)tile->data + element * fopt_i_element_bytes(format),
        .absmax = tile->absmax + element / fopt_i_block(format),
        .kind = tile->kind,
        .random = tile->random + element / 2,
    };
}

/* ---- what the walk calls ---- */

/* Compiled once for all loops, each of which would otherwise hold a copy. */
#ifdef __GNUC__
#define FOPT_I_NOINLINE static __attribute__((noinline))
#else
#define FOPT_I_NOINLINE static
#endif

FOPT_I_NOINLINE void fopt_i_load(unsigned format, const void *tile, size_t count, float *restrict out)
{
    fopt_i_load_each(format, tile, count, out);
}

FOPT_I_NOINLINE void fopt_i_store(unsigned format, void *tile, size_t count, const float *restrict in)
{
    switch (format) {
    case FOPT_BF16:
        fopt_i_bf16_store(tile, count, in);
        break;
    default:
        fopt_i_store_each(format, tile, count, in);
    }
}

FOPT_I_NOINLINE void fopt_i_load_moments(unsigned format, const fopt_i_moments *from, size_t count, float *restrict out)
{
    const size_t block = fopt_i_block(format);
    if (block == 0)
        fopt_i_load_each(format, from->data, count, out);
    else
        for (size_t i = 0; i < count; i += block) {
            const fopt_i_moments here = fopt_i_block_at(format, from, i);
            fopt_i_load_block(format, &here, count - i < block ? count - i : block, out + i);
        }
}

FOPT_I_NOINLINE void fopt_i_store_moments(unsigned format, const fopt_i_moments *to, size_t count,
                                          const float *restrict in)
{
    const size_t block = fopt_i_block(format);
    if (format == FOPT_BF16)
        fopt_i_bf16_store_moments(to, count, in);
    else if (block == 0)
        fopt_i_store_each_moment(format, to, count, in);
    else
        for (size_t i = 0; i < count; i += block) {
            const fopt_i_moments here = fopt_i_block_at(format, to, i);
            fopt_i_store_block(format, &here, count - i < block ? count - i : block, in + i);
        }
}

#endif
