/*
 * A tile's elements from and to floats, in every format: part of walk.h. The loops are made from the list of formats,
 * and vectorised by the compiler; q8 has faster ones of its own.
 */
#ifndef FOPT_I_CODEC_H
#define FOPT_I_CODEC_H

#include "../formats/formats.h"
#include "q8_loops.h"

static inline void *fopt_i_at_tile(void *array, unsigned format, uint64_t tile)
{
    return (char *)array + (size_t)tile * FOPT_I_TILE * fopt_i_element_bytes(format);
}

/* ---- elements that stand for themselves ---- */

static inline void fopt_i_load_each(unsigned format, const void *restrict tile, size_t count, float *restrict out)
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
static inline void fopt_i_store_each(unsigned format, void *restrict tile, size_t count, const float *restrict in)
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

static inline void fopt_i_store_each_moment(unsigned format, void *restrict data, fopt_state_kind kind, size_t count,
                                            const float *restrict in, const uint16_t *restrict random)
{
    switch (format) {
#define FOPT_I_CASE(format, name)                                                                                      \
    case format:                                                                                                       \
        for (size_t i = 0; i < count; i++)                                                                             \
            ((fopt_i_##name *)data)[i] = fopt_i_##name##_encode_moment(in[i], kind, random[i]);                        \
        break;
        FOPT_I_MOMENT_FORMATS(FOPT_I_CASE)
#undef FOPT_I_CASE
    }
}

/* ---- elements that share a scale: block by block ---- */

/* Returns the end of the block that begins at an element. */
static inline size_t fopt_i_block_end(unsigned format, size_t begin, size_t count)
{
    const size_t block = fopt_i_block(format);
    return count - begin < block ? count : begin + block;
}

static inline void fopt_i_load_blocks(unsigned format, const fopt_i_moments *from, size_t count, float *restrict out)
{
#ifdef FOPT_I_Q8_LOOPS
    if (format == FOPT_Q8 || format == FOPT_Q8_64) {
        fopt_i_q8_load(from, fopt_i_block(format), count, out);
        return;
    }
#endif
    const float *absmax = from->absmax;
    for (size_t i = 0; i < count; absmax++) {
        const size_t end = fopt_i_block_end(format, i, count);
        switch (format) {
#define FOPT_I_CASES(format, name)                                                                                     \
    case format:                                                                                                       \
    case format##_64:                                                                                                  \
        for (; i < end; i++)                                                                                           \
            out[i] = fopt_i_##name##_decode_scaled(&fopt_i_##name##_literals, ((const fopt_i_##name *)from->data)[i],  \
                                                   *absmax, from->kind);                                               \
        break;
            FOPT_I_QUANTIZED_FORMATS(FOPT_I_CASES)
#undef FOPT_I_CASES
        }
    }
}

static inline void fopt_i_store_blocks(unsigned format, const fopt_i_moments *to, size_t count,
                                       const float *restrict in)
{
#ifdef FOPT_I_Q8_LOOPS
    if (format == FOPT_Q8 || format == FOPT_Q8_64) {
        fopt_i_q8_store(to, fopt_i_block(format), count, in);
        return;
    }
#endif
    float *absmax = to->absmax;
    for (size_t i = 0; i < count; absmax++) {
        const size_t end = fopt_i_block_end(format, i, count);
        const float largest = fopt_i_block_largest(to, fopt_i_block(format), in + i, end - i);
        switch (format) {
#define FOPT_I_CASES(format, name)                                                                                     \
    case format:                                                                                                       \
    case format##_64: {                                                                                                \
        const float scale = fopt_i_##name##_scale(largest, to->kind);                                                  \
        fopt_i_##name *const out = to->data;                                                                           \
        for (; i < end; i++)                                                                                           \
            out[i] = fopt_i_##name##_encode_scaled(&fopt_i_##name##_literals, scale, in[i], out[i], to->kind,          \
                                                   to->random[i]);                                                     \
        *absmax = fopt_i_##name##_absmax(largest, to->kind);                                                           \
        break;                                                                                                         \
    }
            FOPT_I_QUANTIZED_FORMATS(FOPT_I_CASES)
#undef FOPT_I_CASES
        }
    }
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
    fopt_i_store_each(format, tile, count, in);
}

FOPT_I_NOINLINE void fopt_i_load_moments(unsigned format, const fopt_i_moments *from, size_t count, float *restrict out)
{
    if (fopt_i_is_quantized(format))
        fopt_i_load_blocks(format, from, count, out);
    else
        fopt_i_load_each(format, from->data, count, out);
}

FOPT_I_NOINLINE void fopt_i_store_moments(unsigned format, const fopt_i_moments *to, size_t count,
                                          const float *restrict in)
{
    if (fopt_i_is_quantized(format))
        fopt_i_store_blocks(format, to, count, in);
    else
        fopt_i_store_each_moment(format, to->data, to->kind, count, in, to->random);
}

#endif
