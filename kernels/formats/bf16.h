/* FOPT_BF16: the upper half of a float. */
#ifndef FOPT_I_BF16_H
#define FOPT_I_BF16_H

#include "format.h"

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "fusedopt takes two bf16 elements as one word, whose lower half is the first: little-endian machines only"
#endif

typedef uint16_t fopt_i_bf16;

FOPT_FN float fopt_i_bf16_decode(fopt_i_bf16 stored)
{
    return fopt_i_float((uint32_t)stored << 16);
}

/* Rounding adds to a float's bits, and the lower half is cut off: half a unit less the tie to even for the nearest,
 * anything below a unit for stochastic rounding. A carry out of the mantissa is the next exponent, as it should be. */
FOPT_FN uint32_t fopt_i_bf16_half_unit(float x)
{
    return 0x7fffu + (fopt_i_bits(x) >> 16 & 1u);
}

/* Returns the rounded float; its upper half is what is stored. */
FOPT_FN uint32_t fopt_i_bf16_round(float x)
{
    return x != x ? 0x7fc00000u : fopt_i_bits(x) + fopt_i_bf16_half_unit(x);
}

/* Finite moments stay finite: from the largest value on, nothing is added. */
FOPT_FN uint32_t fopt_i_bf16_add(float x, uint32_t addend)
{
    uint32_t sum = fopt_i_bits(x) + (addend & fopt_i_mask(fabsf(x) < 0x1.fep127f));
    return x != x ? 0x7fc00000u : sum;
}

/* Averages of squares are rounded stochastically: at beta 0.999 one step changes them by less than half a unit, so that
 * rounding to the nearest would freeze them. AMSGrad's maximum adds nothing up, and is rounded to the nearest like a
 * first moment. `random` has 16 bits. */
FOPT_FN uint32_t fopt_i_bf16_round_moment(float x, fopt_state_kind kind, uint32_t random)
{
    return fopt_i_bf16_add(x, kind == FOPT_SECOND_MOMENT ? random : fopt_i_bf16_half_unit(x));
}

FOPT_FN fopt_i_bf16 fopt_i_bf16_encode(float x)
{
    return (fopt_i_bf16)(fopt_i_bf16_round(x) >> 16);
}

FOPT_FN fopt_i_bf16 fopt_i_bf16_encode_moment(float x, fopt_state_kind kind, uint64_t tile_key, uint32_t element)
{
    const uint32_t random = fopt_i_random_half(fopt_i_random(tile_key, element / 2), element);
    return (fopt_i_bf16)(fopt_i_bf16_round_moment(x, kind, random) >> 16);
}

/* ---- the CPU's loops ----------------------------------------------------------------------------------------- */

/* Two neighbours at a time, in a word: half the shuffling that single elements take, and just what a random word is
 * for. The array may begin anywhere. */
FOPT_FN void fopt_i_bf16_get(const fopt_i_bf16 *pair, float *low, float *high)
{
    uint32_t word;
    memcpy(&word, pair, sizeof word);
    *low = fopt_i_bf16_decode((fopt_i_bf16)word);
    *high = fopt_i_bf16_decode((fopt_i_bf16)(word >> 16));
}

/* Stores the upper halves of two rounded floats as one word. */
FOPT_FN void fopt_i_bf16_put(fopt_i_bf16 *pair, uint32_t low, uint32_t high)
{
    const uint32_t word = low >> 16 | (high & 0xffff0000u);
    memcpy(pair, &word, sizeof word);
}

FOPT_FN void fopt_i_bf16_put_params(fopt_i_bf16 *pair, float low, float high)
{
    fopt_i_bf16_put(pair, fopt_i_bf16_round(low), fopt_i_bf16_round(high));
}

FOPT_FN void fopt_i_bf16_put_moments(fopt_i_bf16 *pair, float low, float high, fopt_state_kind kind, uint64_t tile_key,
                                     uint32_t index)
{
    const uint32_t random = fopt_i_random(tile_key, index);
    fopt_i_bf16_put(pair, fopt_i_bf16_round_moment(low, kind, fopt_i_random_half(random, 0)),
                    fopt_i_bf16_round_moment(high, kind, fopt_i_random_half(random, 1)));
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
    for (size_t i = 0; i + 1 < count; i += 2)
        fopt_i_bf16_put_params(out + i, in[i], in[i + 1]);
    if (count % 2)
        out[count - 1] = fopt_i_bf16_encode(in[count - 1]);
}

static inline void fopt_i_bf16_load_moments(const fopt_i_moments *from, size_t count, float *FOPT_I_RESTRICT out)
{
    fopt_i_bf16_load(from->data, count, out);
}

/* `kind` is a constant wherever this is inlined. */
FOPT_FN void fopt_i_bf16_store_kind(fopt_state_kind kind, uint64_t tile_key, fopt_i_bf16 *FOPT_I_RESTRICT out,
                                    uint32_t count, const float *FOPT_I_RESTRICT in)
{
    for (uint32_t pair = 0; pair < count / 2; pair++) {
        const size_t i = 2 * (size_t)pair;
        fopt_i_bf16_put_moments(out + i, in[i], in[i + 1], kind, tile_key, pair);
    }
    if (count % 2)
        out[count - 1] = fopt_i_bf16_encode_moment(in[count - 1], kind, tile_key, count - 1);
}

static inline void fopt_i_bf16_store_moments(const fopt_i_moments *to, size_t count, const float *FOPT_I_RESTRICT in)
{
    if (to->kind == FOPT_SECOND_MOMENT)
        fopt_i_bf16_store_kind(FOPT_SECOND_MOMENT, to->tile_key, (fopt_i_bf16 *)to->data, (uint32_t)count, in);
    else
        fopt_i_bf16_store_kind(FOPT_FIRST_MOMENT, to->tile_key, (fopt_i_bf16 *)to->data, (uint32_t)count, in);
}

static const fopt_i_format_loops fopt_i_bf16_loops = {fopt_i_bf16_load, fopt_i_bf16_store, fopt_i_bf16_load_moments,
                                                      fopt_i_bf16_store_moments};

#endif
