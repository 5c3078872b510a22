/*
 * What can be proved without a GPU of the roots and quotients of kernels/roots.h: from seeds that are rounded right,
 * all are what the CPU's own instructions give. Scaling by powers of two (of four, for roots) changes no rounding in
 * the ranges that roots.h states, so that one binade, or two, stand for all; the ends of the ranges are tried, too.
 */
#include "../reference/splitmix.h"
#include "kernels/roots.h"

#include <criterion/criterion.h>

static float root_of(float x)
{
    return fopt_i_corrected_root(x, (float)(1.0 / sqrt((double)x + (double)FLT_MIN)));
}

static float reciprocal_of(float b)
{
    return fopt_i_corrected_reciprocal(b, (float)(1.0 / (double)b));
}

static float quotient_of(float a, float b)
{
    return fopt_i_corrected_quotient(a, b, reciprocal_of(b));
}

Test(roots, every_root)
{
    size_t wrong = 0;
    for (uint32_t bits = fopt_i_bits(1.0f); bits < fopt_i_bits(4.0f); bits++)
        wrong += root_of(fopt_i_float(bits)) != sqrtf(fopt_i_float(bits));
    cr_expect_eq(wrong, 0);
    for (uint32_t bits = fopt_i_bits(0x1p-101f); bits < fopt_i_bits(0x1p-99f); bits++)
        wrong += root_of(fopt_i_float(bits)) != sqrtf(fopt_i_float(bits));
    cr_expect_eq(wrong, 0, "near the end of the range");
    cr_expect_eq(fopt_i_bits(root_of(0.0f)), 0);
    cr_expect_eq(root_of(0x1.fffffep125f), sqrtf(0x1.fffffep125f));
}

Test(roots, every_reciprocal)
{
    size_t wrong = 0;
    for (uint32_t bits = fopt_i_bits(1.0f); bits < fopt_i_bits(2.0f); bits++)
        wrong += reciprocal_of(fopt_i_float(bits)) != 1.0f / fopt_i_float(bits);
    cr_expect_eq(wrong, 0);
    const float ends[] = {0x1p-126f, 0x1.fffffep-126f, 0x1.fffffep125f, 0x1p126f};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        cr_expect_eq(reciprocal_of(ends[i]), 1.0f / ends[i], "of %a", (double)ends[i]);
}

/* Counts the wrong ones among the quotients by b that lie next to a midpoint between floats: as near as the error
 * before the last rounding could be. With significands A and B of 24 bits, A 2^s is within 16 of an odd multiple of B;
 * the distance J is odd, since A 2^s is even. For each J, A is J times the inverse of 2^s modulo B, or, where B is 2^t
 * times an odd number, of 2^(s-t) modulo that. */
static size_t wrong_by(uint32_t significand, size_t *tried)
{
    const int twos = __builtin_ctz(significand), most = 15 >> twos;
    const uint32_t odd = significand >> twos;
    const float b = fopt_i_float(fopt_i_bits(1.0f) | (significand & 0x7fffffu));
    size_t wrong = 0;
    for (int s = 24; s <= 25; s++) { /* A at least B, or less */
        uint64_t inverse = 1 % odd;
        for (int i = 0; i < s - twos; i++)
            inverse = (inverse % 2 == 0 ? inverse : inverse + odd) / 2;
        for (int j = -most; j <= most; j++) {
            if (j % 2 == 0)
                continue;
            const uint64_t residue = (uint64_t)(j + 16 * (int64_t)odd) % odd * inverse % odd;
            const uint64_t first = residue + ((1u << 23) + odd - 1 - residue) / odd * odd;
            for (uint64_t a = first; a < 1u << 24; a += odd) {
                if ((s == 24) != (a >= significand))
                    continue;
                const float x = fopt_i_float(fopt_i_bits(1.0f) | ((uint32_t)a & 0x7fffffu));
                wrong += quotient_of(x, b) != x / b;
                ++*tried;
            }
        }
    }
    return wrong;
}

Test(roots, every_quotient_that_could_be_wrong)
{
    size_t wrong = 0, tried = 0;
    for (uint32_t significand = 1u << 23; significand < 1u << 24; significand++)
        if (__builtin_ctz(significand) <= 3) /* else no such distance but 0 is a multiple of 2^t */
            wrong += wrong_by(significand, &tried);
    cr_expect_eq(wrong, 0, "%zu of %zu", wrong, tried);
    cr_expect_gt(tried, 40000000);
}

/* That a seed 1 ULP off spoils a result shows that the above can fail. */
Test(roots, seeds_count)
{
    const float a = 0x1.aaaaa6p0f, b = 0x1.fffffap0f, seed = (float)(1.0 / (double)b);
    const float next = fopt_i_float(fopt_i_bits(seed) + 1);
    cr_expect_eq(quotient_of(a, b), a / b);
    cr_expect_neq(fopt_i_corrected_quotient(a, b, fopt_i_corrected_reciprocal(b, next)), a / b);
}

Test(roots, random_quotients_in_the_range)
{
    splitmix random = {4};
    for (int i = 0; i < 10000000; i++) {
        const uint64_t bits = splitmix_next(&random);
        const float a = fopt_i_float((uint32_t)(127 - 102 + bits % 165) << 23 | (uint32_t)(bits >> 9 & 0x7fffffu));
        const float b =
            fopt_i_float((uint32_t)(127 - 60 + (bits >> 56) % 186) << 23 | (uint32_t)(bits >> 32 & 0x7fffffu));
        if (fabsf(a / b) >= FLT_MIN && quotient_of(a, b) != a / b)
            cr_assert_fail("seed 4, number %d: %a / %a", i, (double)a, (double)b);
    }
}
