/*
 * Codes by one look-up and no search. A bin is the low 12 bits of a float's upper half: its seven highest bits of
 * mantissa, and of the exponent what tells the numbers from 2^-30 to a little above 1 apart. In no bin does the code
 * change more than once, so that a word is enough for it: added to a number's bits, it leaves the code of the bin's
 * lowest numbers in the upper half, and the lower half carries into that where the code changes.
 *
 * With a sign the upper half becomes twice the magnitude, plus 1 if the lower half has carried; without one, the code.
 */
#include "bins.h"

#include "../../../kernels/formats/q8_tables.h"

static uint32_t magnitude(const fopt_i_q8_map *map, uint32_t most, float y)
{
    uint32_t k = 0;
    while (k < most && y >= map->next[k])
        k++;
    return k;
}

/* Returns what is added in the bin that begins with `first`, the bits of a float. */
static uint32_t bin(const fopt_i_q8_map *map, bool has_sign, uint32_t first)
{
    const uint32_t one = 0x3f800000u;
    if (first > one)
        return 0; /* no quotient by the largest is there */
    const uint32_t last = first == one ? first + 16 : first + 0xffffu, most = has_sign ? 128 : 255;
    uint32_t low = magnitude(map, most, fopt_i_float(first));
    const uint32_t high = magnitude(map, most, fopt_i_float(last));
    if (!has_sign && low == 0)
        low = 1; /* as fopt_i_q8_code() has it: no positive one becomes zero */
    const uint32_t carries_from = high > low ? fopt_i_bits(map->next[low]) & 0xffffu : 0x10000u;
    return (has_sign ? 2 * low : low) * 0x10000u + (0x10000u - carries_from) - first;
}

void fill_bins(uint32_t bins[2][BINS])
{
    for (uint32_t i = 0; i < BINS; i++) {
        const uint32_t first = (0x3000u | i) << 16; /* exponents from 2^-31 */
        bins[0][i] = i == 0 ? 0 : bin(&fopt_i_q8_literals.with_sign, true, first);
        bins[1][i] = i == 0 ? 0 : bin(&fopt_i_q8_literals.without_sign, false, first); /* 0: of zero itself */
    }
}
