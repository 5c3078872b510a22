/*
 * The maps of FOPT_Q8 and the encoding into them, against their construction and against a search through all values:
 * at every threshold and the floats around it, and on random numbers. The library's own functions are called here, one
 * element at a time; that its loops agree with them is for test_q8.c and test_twin.c.
 */
#include "../kernels/formats/q8_tables.h"
#include "buffers.h"
#include "q8.h"

#include <criterion/criterion.h>
#include <math.h>

static const fopt_i_q8_map *map_of(bool has_sign)
{
    return has_sign ? &fopt_i_q8_literals.with_sign : &fopt_i_q8_literals.without_sign;
}

static const char *name_of(bool has_sign)
{
    return has_sign ? "with sign" : "without sign";
}

/* The code that fusedopt.h promises for x in a tile with an absmax of 1. */
static unsigned promised(bool has_sign, double x)
{
    const unsigned code = q8_nearest(has_sign, x);
    return !has_sign && code == 0 && x > 0 ? 1 : code;
}

static bool is_encoded(bool has_sign, float x)
{
    return fopt_i_q8_encode(map_of(has_sign), has_sign, x, 1.0f) == promised(has_sign, (double)x);
}

static void expect_encoded(bool has_sign, float x)
{
    if (!is_encoded(has_sign, x))
        cr_assert_fail("%s: %a became code %u, nearest is %u", name_of(has_sign), (double)x,
                       fopt_i_q8_encode(map_of(has_sign), has_sign, x, 1.0f), promised(has_sign, (double)x));
}

Test(q8_maps, values_are_those_of_the_construction)
{
    for (int has_sign = 0; has_sign <= 1; has_sign++)
        for (unsigned code = 0; code < 256; code++)
            cr_assert_eq((double)map_of(has_sign)->value[code], q8_value(has_sign, code), "%s, code %u: %a, not %a",
                         name_of(has_sign), code, (double)map_of(has_sign)->value[code], q8_value(has_sign, code));
}

Test(q8_maps, every_value_becomes_its_code)
{
    for (int has_sign = 0; has_sign <= 1; has_sign++)
        for (unsigned code = 0; code < 256; code++)
            cr_assert_eq(fopt_i_q8_encode(map_of(has_sign), has_sign, map_of(has_sign)->value[code], 1.0f), code);
}

/* Where the nearest value changes, and on either side of it; likewise at the values, and at the ends of the runs. */
Test(q8_maps, around_every_threshold)
{
    for (int has_sign = 0; has_sign <= 1; has_sign++)
        for (unsigned code = 1; code < 256; code++) {
            const double low = q8_value(has_sign, code - 1), high = q8_value(has_sign, code);
            const float centres[] = {(float)((low + high) / 2), (float)low, (float)high};
            for (size_t c = 0; c < sizeof centres / sizeof *centres; c++) {
                float x = centres[c];
                for (int i = 0; i < 2; i++)
                    x = nextafterf(x, -INFINITY);
                for (int i = 0; i < 5; i++, x = nextafterf(x, INFINITY))
                    if (x >= (has_sign ? -1.0f : 0.0f) && x <= 1.0f)
                        expect_encoded(has_sign, x);
            }
        }
    for (float x = 1e-8f; x < 1.1f; x *= 10)
        for (int i = -50; i <= 50; i++)
            expect_encoded(false, fminf(x * (1 + (float)i * 1e-7f), 1.0f));
}

/* y may exceed 1 by a rounding, where the scale is rounded up. */
Test(q8_maps, a_little_more_than_one)
{
    const float above = nextafterf(nextafterf(1.0f, 2.0f), 2.0f);
    cr_expect_eq(fopt_i_q8_encode(map_of(true), true, above, 1.0f), 255);
    cr_expect_eq(fopt_i_q8_encode(map_of(true), true, -above, 1.0f), 0);
    cr_expect_eq(fopt_i_q8_encode(map_of(false), false, above, 1.0f), 255);
}

Test(q8_maps, zeros_and_what_is_nearly_zero)
{
    cr_expect_eq(fopt_i_q8_encode(map_of(true), true, 0.0f, 0.0f), 127);
    cr_expect_eq(fopt_i_q8_encode(map_of(true), true, -0.0f, 1.0f), 127);
    cr_expect_eq(fopt_i_q8_encode(map_of(false), false, 0.0f, 0.0f), 0);
    cr_expect_eq(fopt_i_q8_encode(map_of(true), true, FLT_MIN, 1.0f), 127);
    cr_expect_eq(fopt_i_q8_encode(map_of(false), false, FLT_MIN, 1.0f), 1, "a positive second moment became zero");
    cr_expect_eq(fopt_i_q8_encode(map_of(false), false, FLT_MIN, 1 / FLT_MAX), 1, "x times the scale underflows");
    cr_expect_eq(fopt_i_q8_scale(0.0f), 0.0f);
}

/* Numbers of all magnitudes from 2^-40 to 1, and ordinary ones. Returns one that is not encoded as promised, or 0. */
static float find_wrong(uint64_t seed, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const uint64_t random = draw(&seed);
        const float linear = (float)(random & 0xffffff) * 0x1p-24f;
        const float wide = ldexpf(1.0f + (float)(random >> 32 & 0x7fffff) * 0x1p-23f, -1 - (int)(random >> 58) % 40);
        const float sign = random >> 57 & 1 ? -1.0f : 1.0f;
        if (!is_encoded(false, linear) || !is_encoded(true, sign * linear))
            return sign * linear;
        if (!is_encoded(false, wide) || !is_encoded(true, sign * wide))
            return sign * wide;
    }
    return 0;
}

Test(q8_maps, random_numbers)
{
    enum { PARTS = 100 };
#if defined(__OPTIMIZE__) && defined(NDEBUG)
    const size_t count = 1000000 / 4; /* 10^8 in all */
#else
    const size_t count = 1000;
#endif
    float wrong[PARTS];
    (void)q8_value(false, 0); /* prepares the maps, before there are threads */
    (void)q8_value(true, 0);
#ifdef _OPENMP
#pragma omp parallel for
#endif
    for (int part = 0; part < PARTS; part++)
        wrong[part] = find_wrong((uint64_t)part, count);
    for (int part = 0; part < PARTS; part++)
        if (wrong[part] != 0) {
            cr_log_error("part %d", part);
            expect_encoded(true, wrong[part]);
            expect_encoded(false, fabsf(wrong[part]));
        }
}
