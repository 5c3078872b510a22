/*
 * Sums of squares that depend on the numbers alone, whatever the device, the grid, the threads and the shards; and
 * norms.
 *
 * A tile's squares are added as floats in one order: neighbours, then neighbours of these sums, eight times. So that
 * none is too large or too small, the tile is first multiplied by the power of two that brings its largest magnitude to
 * [2, 4); what is then below 2^-60 counts as zero. Nine roundings make the sum right to 2^-20.
 *
 * Tiles are added as integers, in any order. The sum of a tile is 24 bits at a place of a wide number, whose words of
 * 64 bits are for 32 bits each: 2^32 tiles are added before one could overflow. Words behind it count the tiles in
 * which something is infinite, or NaN.
 */
#ifndef FOPT_I_NORM_H
#define FOPT_I_NORM_H

#include "arithmetic.h"

enum {
    FOPT_I_SUM_DIGITS = 18,                  /* of 32 bits; the first stands for 2^-288 */
    FOPT_I_SUM_INFINITE = FOPT_I_SUM_DIGITS, /* word that counts the tiles with an infinity */
    FOPT_I_SUM_NAN,                          /* the next, which counts those with a NaN */
    FOPT_I_SUM_WORDS
};

typedef struct fopt_i_sum {
    uint64_t word[FOPT_I_SUM_WORDS];
} fopt_i_sum;

/* How a tile's elements are scaled, by the bits of its largest magnitude, which is finite. */
typedef struct fopt_i_tile_scale {
    float least; /* magnitude that counts */
    float factor;
} fopt_i_tile_scale;

FOPT_FN fopt_i_tile_scale fopt_i_tile_scale_of(uint32_t largest)
{
    const uint32_t found = largest >> 23, exponent = found > 1 ? found : 1;
    fopt_i_tile_scale s;
    s.factor = fopt_i_float((255 - exponent) << 23);
    s.least = fopt_i_float((exponent > 62 ? exponent - 61 : 1) << 23);
    return s;
}

FOPT_FN float fopt_i_scaled_square(fopt_i_tile_scale s, float x)
{
    const float scaled = fopt_i_flush(x, s.least) * s.factor;
    return scaled * scaled;
}

/* What a tile adds to a sum: `low` to one word, `high` to the next. */
typedef struct fopt_i_sum_part {
    uint32_t word;
    uint32_t low, high;
} fopt_i_sum_part;

/* Returns what a tile adds, from the bits of its largest magnitude and the sum of its scaled squares, which is not
 * looked at if not all are finite. The sum's last bit stands for 2^(e - 150) by its exponent e. Squares were scaled by
 * 2^(256 - 2 E), E being the exponent of the largest magnitude. */
FOPT_FN fopt_i_sum_part fopt_i_sum_part_of(uint32_t largest, float squares)
{
    fopt_i_sum_part part = {0, 0, 0};
    if (largest >= 0x7f800000u) {
        part.word = FOPT_I_SUM_INFINITE;
        part.low = largest == 0x7f800000u;
        part.high = largest > 0x7f800000u;
    } else if (squares > 0.0f) {
        const uint32_t bits = fopt_i_bits(squares);
        const uint32_t place = (bits >> 23) + 2 * (largest >> 23) - 150 - 256 + 288;
        const uint64_t wide = (uint64_t)((bits & 0x7fffffu) | 0x800000u) << place % 32;
        part.word = place / 32;
        part.low = (uint32_t)wide;
        part.high = (uint32_t)(wide >> 32);
    }
    return part;
}

/* Returns the square root of a sum: NaN or infinity if there was one. The sum is rounded once, the root once more. */
FOPT_FN double fopt_i_norm_of(const fopt_i_sum *sum)
{
    uint64_t carry = 0;
    uint32_t digit = 0, before = 0, below = 0; /* this one, the one before, those below */
    uint32_t first = 0, second = 0, third = 0; /* the upper digits */
    int top = -1;
    for (int i = 0; i < FOPT_I_SUM_DIGITS + 2; i++) {
        const uint64_t word = i < FOPT_I_SUM_DIGITS ? sum->word[i] : 0;
        const uint64_t digits = (word & 0xffffffffu) + (carry & 0xffffffffu);
        const uint32_t two_before = before;
        before = digit;
        digit = (uint32_t)digits;
        if (digit != 0) {
            top = i;
            first = digit;
            second = before;
            third = two_before | (below != 0); /* far below half a unit: it is enough to know whether there is any */
        }
        below |= two_before;
        carry = (word >> 32) + (carry >> 32) + (digits >> 32);
    }
    if (sum->word[FOPT_I_SUM_NAN] != 0)
        return NAN;
    if (sum->word[FOPT_I_SUM_INFINITE] != 0)
        return INFINITY;
    if (top < 0)
        return 0.0;
    uint64_t upper = (uint64_t)first << 32 | second;
    int exponent = 32 * (top - 1) - 288;
    for (; upper >> 63 == 0; exponent--) {
        upper = upper << 1 | third >> 31;
        third <<= 1;
    }
    const uint64_t bits = (uint64_t)(1023 + exponent) << 52;
    double power;
    memcpy(&power, &bits, sizeof power);
    return sqrt((double)(upper | (third != 0)) * power);
}

#endif
