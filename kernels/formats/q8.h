/*
 * FOPT_Q8: moments in 8 bits, quantized block by block. A block has one float, its scale (absmax), and a code for each
 * element: an index in a map of 256 values, each of which stands for itself times the scale. One map is for moments
 * that have a sign, one for those that have none; q8_tables.h holds them.
 *
 * Scale. The largest magnitude of a block becomes the last value below 1, so that either sign has it: there is no code
 * for -1.
 *
 * Place. The magnitudes of a map are seven runs of equally spaced values, each ten times as far out as the one before
 * and with twice as many values. Where a number lies among them, counted in values, is a function of straight pieces,
 * which is concave, and so the least of 14 lines. Bins by the number's exponent and first mantissa bits hold the two of
 * them that can be the least there.
 *
 * Code. A place is a number of 8.15 bits, and rounding it adds to its fraction: a half for the nearest value, or random
 * bits, by which the expected value is the number itself.
 *  - A second moment takes random bits: at beta 0.999 a step changes it by less than half the distance of two values,
 *    so that the nearest one would stay what it was for ever. A positive one is never zero, where the step would be
 *    divided by eps.
 *  - AMSGrad's maximum, which adds nothing up, becomes the nearest value.
 *  - A first moment or momentum buffer becomes the nearest value, which is the more exact; but where that has the old
 *    code, random bits decide, since what should decay would otherwise move its parameter for ever.
 */
#ifndef FOPT_I_Q8_H
#define FOPT_I_Q8_H

#include "format.h"
#include "q8_tables.h"

typedef uint8_t fopt_i_q8;

enum { FOPT_I_Q8_ZERO = 127 }; /* the code of zero in the map with a sign; in the other it is 0 */

FOPT_FN float fopt_i_q8_decode_scaled(const fopt_i_q8_maps *maps, fopt_i_q8 code, float absmax, fopt_state_kind kind)
{
    return (fopt_i_has_sign(kind) ? maps->signed_value : maps->unsigned_value)[code] * absmax;
}

/* Returns what a block is scaled by: where its largest magnitude is too small, as if that was larger, so that no value
 * times the scale is less than a moment that counts (arithmetic.h). */
FOPT_FN float fopt_i_q8_floored(float largest, fopt_state_kind kind)
{
    const float least = fopt_i_has_sign(kind) ? 0x1p-57f : 0x1p-103f;
    return largest > least ? largest : least;
}

FOPT_FN float fopt_i_q8_absmax(float largest, fopt_state_kind kind)
{
    const float floored = fopt_i_q8_floored(largest, kind);
    const float absmax = floored * (fopt_i_has_sign(kind) ? FOPT_I_Q8_SIGNED_INVERSE : FOPT_I_Q8_UNSIGNED_INVERSE);
    return largest > 0.0f ? absmax < FLT_MAX ? absmax : FLT_MAX : 0.0f;
}

FOPT_FN float fopt_i_q8_scale(float largest, fopt_state_kind kind)
{
    const float floored = fopt_i_q8_floored(largest, kind);
    return fopt_i_reciprocal(floored) * (fopt_i_has_sign(kind) ? FOPT_I_Q8_SIGNED_LARGEST : FOPT_I_Q8_UNSIGNED_LARGEST);
}

/* Returns where x is looked up. Fused, a product that is too small for a float is no slow subnormal. */
FOPT_FN float fopt_i_q8_argument(float x, float scale)
{
    return fmaf(fabsf(x), scale, FOPT_I_Q8_SHIFT);
}

FOPT_FN float fopt_i_q8_lower_line(const fopt_i_q8_bin *bins, uint32_t mantissa_bits, float y)
{
    const fopt_i_q8_bin bin = bins[fopt_i_bits(y) >> (23 - mantissa_bits) & ((32u << mantissa_bits) - 1)];
    const float a = fmaf(y, bin.slope, bin.offset), b = fmaf(y, bin.other_slope, bin.other_offset);
    return a < b ? a : b;
}

/* Returns 256 and the place among all values of the map. Of floats from there to 512, the last 15 bits are a
 * fraction. */
FOPT_FN float fopt_i_q8_place(const fopt_i_q8_maps *maps, bool has_sign, float x, float y)
{
    if (has_sign)
        return 256.0f + FOPT_I_Q8_ZERO +
               copysignf(fopt_i_q8_lower_line(maps->signed_bins, FOPT_I_Q8_SIGNED_BITS, y), x);
    return fopt_i_q8_lower_line(maps->unsigned_bins, FOPT_I_Q8_UNSIGNED_BITS, y);
}

/* `addend` is below 2^15. */
FOPT_FN uint32_t fopt_i_q8_code(float place, uint32_t addend)
{
    return (fopt_i_bits(place) + addend) >> 15 & 0xffu;
}

FOPT_FN fopt_i_q8 fopt_i_q8_encode_scaled(const fopt_i_q8_maps *maps, float scale, float x, fopt_i_q8 old,
                                          fopt_state_kind kind, uint32_t random)
{
    const float place = fopt_i_q8_place(maps, fopt_i_has_sign(kind), x, fopt_i_q8_argument(x, scale));
    const uint32_t nearest = fopt_i_q8_code(place, 1u << 14), drawn = fopt_i_q8_code(place, random >> 1);
    if (fopt_i_has_sign(kind))
        return (fopt_i_q8)(nearest == old ? drawn : nearest);
    return (fopt_i_q8)(!(x > 0.0f) ? 0 : kind == FOPT_SECOND_MOMENT ? drawn : nearest);
}

#endif
