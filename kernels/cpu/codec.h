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
            ((fopt_i_##name *)to->data)[i] = fopt_i_##name##_encode_moment(in[i], to->kind, to->tile_key, i);          \
        break;
        FOPT_I_MOMENT_FORMATS(FOPT_I_CASE)
#undef FOPT_I_CASE
    }
}

/* ---- elements that share a scale ---- */

/* Returns the largest magnitude; finite ones are ordered as their bits are. */
static inline float fopt_i_absmax(const float *in, size_t count)
{
    uint32_t most = 0;
    for (size_t i = 0; i < count; i++) {
        const uint32_t magnitude = fopt_i_bits(in[i]) & 0x7fffffffu;
        most = magnitude > most ? magnitude : most;
    }
    return fopt_i_float(most);
}

static inline void fopt_i_load_each_quantized(unsigned format, const fopt_i_moments *from, size_t count,
                                              float *restrict out)
{
    switch (format) {
#define FOPT_I_CASE(format, name)                                                                                      \
    case format:                                                                                                       \
        for (size_t i = 0; i < count; i++)                                                                             \
            out[i] = fopt_i_##name##_decode_scaled(&fopt_i_##name##_literals, ((const fopt_i_##name *)from->data)[i],  \
                                                   *from->absmax, from->kind);                                         \
        break;
        FOPT_I_QUANTIZED_FORMATS(FOPT_I_CASE)
#undef FOPT_I_CASE
    }
}

static inline void fopt_i_store_each_quantized(unsigned format, const fopt_i_moments *to, size_t count,
                                               const float *restrict in)
{
    switch (format) {
#define FOPT_I_CASE(format, name)                                                                                      \
    case format: {                                                                                                     \
        const float scale = fopt_i_##name##_scale(*to->absmax);                                                        \
        for (uint32_t i = 0; i < count; i++)                                                                           \
            ((fopt_i_##name *)to->data)[i] =                                                                           \
                fopt_i_##name##_encode_scaled(&fopt_i_##name##_literals, scale, in[i], to->kind, to->tile_key, i);     \
        break;                                                                                                         \
    }
        FOPT_I_QUANTIZED_FORMATS(FOPT_I_CASE)
#undef FOPT_I_CASE
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
    switch (format) {
    case FOPT_Q8:
        fopt_i_q8_load_moments(from, count, out);
        break;
    default:
        if (fopt_i_is_quantized(format))
            fopt_i_load_each_quantized(format, from, count, out);
        else
            fopt_i_load_each(format, from->data, count, out);
    }
}

FOPT_I_NOINLINE void fopt_i_store_moments(unsigned format, const fopt_i_moments *to, size_t count,
                                          const float *restrict in)
{
    if (fopt_i_is_quantized(format))
        *to->absmax = fopt_i_absmax(in, count);
    switch (format) {
    case FOPT_BF16:
        fopt_i_bf16_store_moments(to, count, in);
        break;
    case FOPT_Q8:
        fopt_i_q8_store_moments(to, count, in);
        break;
    default:
        if (fopt_i_is_quantized(format))
            fopt_i_store_each_quantized(format, to, count, in);
        else
            fopt_i_store_each_moment(format, to, count, in);
    }
}

#endif
