/* FOPT_BF16: the upper half of a float. */
#ifndef FOPT_I_BF16_H
#define FOPT_I_BF16_H

#include "format.h"

typedef uint16_t fopt_i_bf16;

FOPT_FN float fopt_i_bf16_decode(fopt_i_bf16 stored)
{
    return fopt_i_float((uint32_t)stored << 16);
}

/* Adds before the lower half is cut off: half a unit less the tie to even for the nearest, anything below a unit for
 * stochastic rounding. A carry out of the mantissa is the next exponent, as it should be. */
FOPT_FN uint32_t fopt_i_bf16_cut(uint32_t bits, uint32_t addend)
{
    uint32_t cut = (bits + addend) >> 16;
    return (bits & 0x7fffffffu) > 0x7f800000u ? 0x7fc0u : cut;
}

FOPT_FN uint32_t fopt_i_bf16_nearest(uint32_t bits)
{
    return 0x7fffu + ((bits >> 16) & 1u);
}

FOPT_FN fopt_i_bf16 fopt_i_bf16_encode(float x)
{
    uint32_t bits = fopt_i_bits(x);
    return (fopt_i_bf16)fopt_i_bf16_cut(bits, fopt_i_bf16_nearest(bits));
}

/* Finite moments stay finite: those that would round to infinity take the largest finite value. */
FOPT_FN fopt_i_bf16 fopt_i_bf16_encode_finite(uint32_t bits, uint32_t addend)
{
    uint32_t cut = fopt_i_bf16_cut(bits, addend);
    bool overflows = (cut & 0x7fffu) == 0x7f80u && (bits & 0x7fffffffu) != 0x7f800000u;
    return (fopt_i_bf16)(overflows ? cut - 1 : cut);
}

/* Averages of squares are rounded stochastically: at beta 0.999 one step changes them by less than half a unit, so that
 * rounding to the nearest would freeze them. AMSGrad's maximum adds nothing up, and is rounded to the nearest like a
 * first moment. */
FOPT_FN fopt_i_bf16 fopt_i_bf16_encode_moment(float x, fopt_state_kind kind, uint64_t tile_key, uint32_t element)
{
    uint32_t bits = fopt_i_bits(x);
    if (kind == FOPT_SECOND_MOMENT)
        return fopt_i_bf16_encode_finite(bits, fopt_i_random(tile_key, element) >> 16);
    return fopt_i_bf16_encode_finite(bits, fopt_i_bf16_nearest(bits));
}

static inline void fopt_i_bf16_load(const void *tile, size_t count, float *FOPT_I_RESTRICT out)
{
    const fopt_i_bf16 *in = (const fopt_i_bf16 *)tile;
    for (size_t i = 0; i < count; i++)
        out[i] = fopt_i_bf16_decode(in[i]);
}

static inline void fopt_i_bf16_store(void *tile, size_t count, const float *FOPT_I_RESTRICT in)
{
    fopt_i_bf16 *out = (fopt_i_bf16 *)tile;
    for (size_t i = 0; i < count; i++)
        out[i] = fopt_i_bf16_encode(in[i]);
}

static inline void fopt_i_bf16_load_moments(const fopt_i_moments *from, size_t count, float *FOPT_I_RESTRICT out)
{
    fopt_i_bf16_load(from->data, count, out);
}

static inline void fopt_i_bf16_store_moments(const fopt_i_moments *to, size_t count, const float *FOPT_I_RESTRICT in)
{
    fopt_i_bf16 *out = (fopt_i_bf16 *)to->data;
    const uint64_t tile_key = to->tile_key;
    if (to->kind == FOPT_SECOND_MOMENT) /* apart, or the loops would not vectorise */
        for (size_t i = 0; i < count; i++)
            out[i] = fopt_i_bf16_encode_moment(in[i], FOPT_SECOND_MOMENT, tile_key, (uint32_t)i);
    else
        for (size_t i = 0; i < count; i++)
            out[i] = fopt_i_bf16_encode_moment(in[i], FOPT_FIRST_MOMENT, tile_key, (uint32_t)i);
}

static const fopt_i_format_loops fopt_i_bf16_loops = {fopt_i_bf16_load, fopt_i_bf16_store, fopt_i_bf16_load_moments,
                                                      fopt_i_bf16_store_moments};

#endif
