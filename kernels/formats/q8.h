/*
 * FOPT_Q8: moments in 8 bits, quantized block by block. A tile has one float, the largest magnitude in it (absmax), and
 * a code for each element: the index, in a map of 256 values, of the value nearest to element / absmax. One
 * map is for moments that have a sign, one for those that have none; q8_tables.h holds them.
 *
 * Both maps are, on either side of zero, seven runs of equally spaced values, each run ten times as far out as the one
 * before and with twice as many values. So the place of a number between two values is, within a run, a linear function
 * of the number; and since a run's spacing is five times that of the run before, the function over all runs is concave:
 * the least of seven lines. That guesses the place, with no search and no table, to one of two neighbours. A table holds
 * the threshold between the two, so that rounding is exact.
 */
#ifndef FOPT_I_Q8_H
#define FOPT_I_Q8_H

#include "format.h"
#include "q8_tables.h"

typedef uint8_t fopt_i_q8;

enum { FOPT_I_Q8_ZERO = 127 }; /* the code of zero in the map with a sign; in the other it is 0 */

FOPT_FN const fopt_i_q8_map *fopt_i_q8_map_of(const fopt_i_q8_maps *maps, fopt_state_kind kind)
{
    return fopt_i_has_sign(kind) ? &maps->with_sign : &maps->without_sign;
}

FOPT_FN float fopt_i_q8_decode_scaled(const fopt_i_q8_maps *maps, fopt_i_q8 code, float absmax, fopt_state_kind kind)
{
    return fopt_i_q8_map_of(maps, kind)->value[code] * absmax;
}

/* A tile of zeros, or of what is as good as that, takes the code of zero everywhere: 1 / absmax might be infinite. */
FOPT_FN float fopt_i_q8_scale(float absmax)
{
    return absmax >= FLT_MIN ? 1.0f / absmax : 0.0f;
}

/* Evaluates line `run`, lowered by half a step, in units of 1/256: near 2^15 these are a float's last bits. Negative
 * numbers do not occur, so the bits are ordered as the floats are. */
FOPT_FN uint32_t fopt_i_q8_line(bool has_sign, int run, float y)
{
    const double tens[7] = {1e6, 1e5, 1e4, 1e3, 1e2, 1e1, 1e0};
    const double count = (double)((has_sign ? 1 : 2) << run); /* of values in this run */
    const double before = has_sign ? count : count - 1;       /* magnitudes before its first */
    return fopt_i_bits(fmaf(y, (float)(count / 0.9 * tens[run]), (float)(32768.0 + before - count / 9.0 - 0.5)));
}

/* The magnitude nearest to y, which is from 0 to 1 or above it by a rounding, or the one below. */
FOPT_FN uint32_t fopt_i_q8_guess(bool has_sign, float y)
{
    uint32_t least = fopt_i_q8_line(has_sign, 0, y);
#ifdef __CUDACC__
#pragma unroll
#endif
    for (int run = 1; run < 7; run++) {
        const uint32_t line = fopt_i_q8_line(has_sign, run, y);
        least = line < least ? line : least;
    }
    return least >> 8 & 0xffu;
}

/* The code of x, from the guess for y = |x| * scale and the map's next[guess]. */
FOPT_FN uint32_t fopt_i_q8_code(bool has_sign, uint32_t guess, float next, float x, float y)
{
    const int magnitude = (int)guess + (y >= next ? 1 : 0);
    if (has_sign) {
        const int code = x < 0.0f ? FOPT_I_Q8_ZERO - magnitude : FOPT_I_Q8_ZERO + magnitude;
        return (uint32_t)(code > 0 ? code : 0); /* there is no code for -1 */
    }
    /* A second moment of zero beside a first moment that is not would divide by eps: no positive one becomes zero. */
    return (uint32_t)(x > 0.0f && magnitude == 0 ? 1 : magnitude);
}

FOPT_FN uint32_t fopt_i_q8_encode(const fopt_i_q8_map *map, bool has_sign, float x, float scale)
{
    const float y = fabsf(x) * scale;
    const uint32_t guess = fopt_i_q8_guess(has_sign, y);
    return fopt_i_q8_code(has_sign, guess, map->next[guess], x, y);
}

FOPT_FN fopt_i_q8 fopt_i_q8_encode_scaled(const fopt_i_q8_maps *maps, float scale, float x, fopt_state_kind kind,
                                          uint64_t tile_key, uint32_t element)
{
    (void)tile_key;
    (void)element;
    return (fopt_i_q8)fopt_i_q8_encode(fopt_i_q8_map_of(maps, kind), fopt_i_has_sign(kind), x, scale);
}

#endif
