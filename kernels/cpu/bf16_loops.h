/* Pairs of neighbours in FOPT_BF16: part of walk.h. */
#ifndef FOPT_I_BF16_LOOPS_H
#define FOPT_I_BF16_LOOPS_H

#include "../formats/bf16.h"
#include "moments.h"

/* Decodes two neighbours at a time, from a word: half the shuffling that single elements take, and as many as a random
 * word is for. The array may begin anywhere. */
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

/* Stores moments that are known to be finite, so that rounding is an addition. `random` is the pair's word. */
FOPT_FN void fopt_i_bf16_put_moments(fopt_i_bf16 *pair, float low, float high, fopt_state_kind kind, uint32_t random)
{
    const bool is_random = fopt_i_bf16_is_random(kind);
    const uint32_t low_addend = is_random ? fopt_i_random_half(random, 0) : fopt_i_bf16_half_unit(low);
    const uint32_t high_addend = is_random ? fopt_i_random_half(random, 1) : fopt_i_bf16_half_unit(high);
    fopt_i_bf16_put(pair, fopt_i_bits(low) + low_addend, fopt_i_bits(high) + high_addend);
}

#endif
