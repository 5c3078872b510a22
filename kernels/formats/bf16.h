/* FOPT_BF16: the upper half of a float. */
#ifndef FOPT_I_BF16_H
#define FOPT_I_BF16_H

#include "format.h"

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

/* Averages and sums are rounded stochastically: at beta 0.999 one step changes them by less than half a unit, so that
 * rounding to the nearest would freeze them. AMSGrad's maximum adds nothing up, and is rounded to the nearest. `random`
 * has 16 bits. */
FOPT_FN bool fopt_i_bf16_is_random(fopt_state_kind kind)
{
    return kind != FOPT_MAX_SECOND_MOMENT;
}

FOPT_FN uint32_t fopt_i_bf16_round_moment(float x, bool is_random, uint32_t random)
{
    return fopt_i_bf16_add(x, is_random ? random : fopt_i_bf16_half_unit(x));
}

FOPT_FN fopt_i_bf16 fopt_i_bf16_encode(float x)
{
    return (fopt_i_bf16)(fopt_i_bf16_round(x) >> 16);
}

FOPT_FN fopt_i_bf16 fopt_i_bf16_encode_moment(float x, fopt_state_kind kind, uint32_t random)
{
    return (fopt_i_bf16)(fopt_i_bf16_round_moment(x, fopt_i_bf16_is_random(kind), random) >> 16);
}

#endif
