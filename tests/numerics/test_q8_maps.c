/*
 * The maps of FOPT_Q8 and the encoding into them, against their construction and against a search through all values:
 * at every threshold and the floats around it, and on 10^8 others. The library's own functions are called here, one
 * element at a time; that its loops agree with them is for test_quantized.c and test_twin.c.
 */
#include "../../kernels/formats/q8.h"
#include "../reference/quantized.h"

#include <criterion/criterion.h>
#include <math.h>

static const fopt_i_q8_map *map_of(bool has_sign)
{
    return has_sign ? &fopt_i_q8_literals.with_sign : &fopt_i_q8_literals.without_sign;
}

#if defined(__OPTIMIZE__) && defined(NDEBUG)
#define STRIDE 11 /* 10^8 floats in each map */
#else
#define STRIDE 997 /* checked builds are slow */
#endif

/* Tells whether a value is nearer than the one before it, or as near and its code even. */
static bool is_nearer(bool has_sign, unsigned code, unsigned before, double x)
{
    const double better =
        fabs(x - quantized_value(FOPT_Q8, has_sign, before)) - fabs(x - quantized_value(FOPT_Q8, has_sign, code));
    return better > 0 || (better == 0 && code % 2 == 0);
}

static const char *name_of(bool has_sign)
{
    return has_sign ? "with sign" : "without sign";
}

/* Returns the code that fusedopt.h promises for x in a tile with an absmax of 1. */
static unsigned promised(bool has_sign, double x)
{
    const unsigned code = quantized_nearest(FOPT_Q8, has_sign, x);
    return !has_sign && code == 0 && x > 0 ? 1 : code;
}

static void expect_encoded(bool has_sign, float x)
{
    const unsigned got = fopt_i_q8_encode(map_of(has_sign), has_sign, x, 1.0f), want = promised(has_sign, (double)x);
    if (got != want)
        cr_assert_fail("%s: %a became code %u, nearest is %u", name_of(has_sign), (double)x, got, want);
}

Test(q8_maps, values_are_those_of_the_construction)
{
    for (int has_sign = 0; has_sign <= 1; has_sign++)
        for (unsigned code = 0; code < 256; code++)
            cr_assert_eq((double)map_of(has_sign)->value[code], quantized_value(FOPT_Q8, has_sign, code),
                         "%s, code %u: %a, not %a", name_of(has_sign), code, (double)map_of(has_sign)->value[code],
                         quantized_value(FOPT_Q8, has_sign, code));
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
            const double low = quantized_value(FOPT_Q8, has_sign, code - 1),
                         high = quantized_value(FOPT_Q8, has_sign, code);
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

/* Tries floats from 0 to a little above 1, and their negatives. The nearest value moves on with them, so that it need
 * not be searched for. Returns one that is wrong, or -1. */
static float find_wrong(bool has_sign)
{
    const uint32_t stride = STRIDE;
    const unsigned zero = has_sign ? 127 : 0;
    unsigned nearest = zero;
    for (uint32_t bits = 0; bits <= fopt_i_bits(1.001f); bits += stride) {
        const float x = fopt_i_float(bits);
        while (nearest < 255 && is_nearer(has_sign, nearest + 1, nearest, (double)x))
            nearest++;
        const unsigned want = !has_sign && bits > 0 && nearest == 0 ? 1 : nearest;
        const unsigned negative = 2 * zero > nearest ? 2 * zero - nearest : 0;
        if (fopt_i_q8_encode(map_of(has_sign), has_sign, x, 1.0f) != want ||
            (has_sign && bits > 0 && fopt_i_q8_encode(map_of(true), true, -x, 1.0f) != negative))
            return x;
    }
    return -1;
}

Test(q8_maps, floats_from_zero_to_one)
{
    for (int has_sign = 0; has_sign <= 1; has_sign++) {
        const float wrong = find_wrong(has_sign);
        cr_expect_eq(wrong, -1, "%s: %a or its negative becomes code %u", name_of(has_sign), (double)wrong,
                     fopt_i_q8_encode(map_of(has_sign), has_sign, wrong, 1.0f));
    }
}
