/* The CPU's loops for FOPT_BF16: part of codec.h. */
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

/* `random` is the pair's word. */
FOPT_FN void fopt_i_bf16_put_moments(fopt_i_bf16 *pair, float low, float high, bool is_random, uint32_t random)
{
    fopt_i_bf16_put(pair, fopt_i_bf16_round_moment(low, is_random, fopt_i_random_half(random, 0)),
                    fopt_i_bf16_round_moment(high, is_random, fopt_i_random_half(random, 1)));
}

static inline void fopt_i_bf16_store(void *tile, size_t count, const float *restrict in)
{
    fopt_i_bf16 *out = (fopt_i_bf16 *)tile;
    for (size_t i = 0; i + 1 < count; i += 2)
        fopt_i_bf16_put_params(out + i, in[i], in[i + 1]);
    if (count % 2)
        out[count - 1] = fopt_i_bf16_encode(in[count - 1]);
}

/* `is_random` is a constant wherever this is inlined. */
FOPT_FN void fopt_i_bf16_store_rounded(bool is_random, const fopt_i_moments *to, uint32_t count,
                                       const float *restrict in)
{
    fopt_i_bf16 *restrict out = to->data;
    const uint32_t *restrict random = to->random;
    for (uint32_t pair = 0; pair < count / 2; pair++) {
        const size_t i = 2 * (size_t)pair;
        fopt_i_bf16_put_moments(out + i, in[i], in[i + 1], is_random, random[pair]);
    }
    if (count % 2)
        out[count - 1] = fopt_i_bf16_encode_moment(in[count - 1], to->kind, fopt_i_random_half(random[count / 2], 0));
}

static inline void fopt_i_bf16_store_moments(const fopt_i_moments *to, size_t count, const float *restrict in)
{
    if (fopt_i_bf16_is_random(to->kind))
        fopt_i_bf16_store_rounded(true, to, (uint32_t)count, in);
    else
        fopt_i_bf16_store_rounded(false, to, (uint32_t)count, in);
}

#endif
