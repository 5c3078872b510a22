/*
 * The maps of FOPT_Q8 and the encoding into them, against their construction: the place of every float (or of 10^8),
 * and what becomes of it over all random bits that there are, in exact sums. The library's own functions are called
 * here, one element at a time; that its loops agree with them is for test_quantized.c and test_twin.c.
 */
#include "../../kernels/formats/q8.h"
#include "../reference/numbers.h"
#include "../reference/quantized.h"

#include <criterion/criterion.h>
#include <math.h>

#if defined(__OPTIMIZE__) && defined(NDEBUG)
#define STRIDE  23   /* 5 * 10^7 floats in each map */
#define NUMBERS 3052 /* 10^8 draws */
#else
#define STRIDE  1997 /* checked builds are slow */
#define NUMBERS 40
#endif

enum { DRAWS = 1 << 15 }; /* what random bits can add */

static const fopt_i_q8_maps *const maps = &fopt_i_q8_literals;

static const char *name_of(bool has_sign)
{
    return has_sign ? "with sign" : "without sign";
}

static fopt_state_kind kind_of(bool has_sign)
{
    return has_sign ? FOPT_FIRST_MOMENT : FOPT_SECOND_MOMENT;
}

/* The largest magnitude of a block in which the maps' values stand for themselves, but for a rounding. */
static float last_of(bool has_sign)
{
    return (float)quantized_value(FOPT_Q8, has_sign, 254);
}

static float scale_of(bool has_sign)
{
    return fopt_i_q8_scale(last_of(has_sign), kind_of(has_sign));
}

static float place_of(bool has_sign, float x)
{
    return fopt_i_q8_place(maps, has_sign, x, fopt_i_q8_argument(x, scale_of(has_sign)));
}

/* Returns the place by a search, interpolated in double. */
static double exact_place(bool has_sign, double x)
{
    unsigned low = 0;
    while (low < 253 && quantized_value(FOPT_Q8, has_sign, low + 1) <= x)
        low++;
    const double below = quantized_value(FOPT_Q8, has_sign, low), above = quantized_value(FOPT_Q8, has_sign, low + 1);
    const double place = 256 + low + (x - below) / (above - below);
    return has_sign || place >= 257 ? place : 257; /* no positive one becomes zero */
}

Test(q8_maps, values_are_those_of_the_construction)
{
    for (int has_sign = 0; has_sign <= 1; has_sign++)
        for (unsigned code = 0; code < 256; code++)
            cr_assert_eq((double)(has_sign ? maps->signed_value : maps->unsigned_value)[code],
                         quantized_value(FOPT_Q8, has_sign, code), "%s, code %u", name_of(has_sign), code);
}

/* Finds the worst place of floats up to the largest of a block, in units of the last of its 15 bits, and whether one is
 * beyond the ends. The exact place moves on with the floats, so that it need not be searched for. */
static double worst_place(bool has_sign, bool *beyond)
{
    const float last = last_of(has_sign);
    const unsigned zero = has_sign ? 127 : 0;
    double worst = 0;
    unsigned low = zero;
    for (uint32_t bits = 0; bits <= fopt_i_bits(last); bits += STRIDE) {
        const float x = fopt_i_float(bits);
        while (low < 253 && quantized_value(FOPT_Q8, has_sign, low + 1) <= (double)x)
            low++;
        const double below = quantized_value(FOPT_Q8, has_sign, low),
                     above = quantized_value(FOPT_Q8, has_sign, low + 1);
        const double exact = 256 + low + ((double)x - below) / (above - below);
        const double place = (double)place_of(has_sign, x);
        worst = fmax(worst, fabs(place - (has_sign ? exact : fmax(exact, 257))));
        *beyond |= place > 256 + 254 || place < 256 + zero + !has_sign;
        if (has_sign) {
            const double negative = (double)place_of(true, -x);
            worst = fmax(worst, fabs(negative - (2 * (256 + 127) - exact)));
            *beyond |= negative < 256;
        }
    }
    return worst * DRAWS;
}

Test(q8_maps, places)
{
    for (int has_sign = 0; has_sign <= 1; has_sign++) {
        bool beyond = false;
        const double worst = worst_place(has_sign, &beyond);
        cr_expect(worst < 4 && !beyond, "%s: wrong by %g of 2^-15%s", name_of(has_sign), worst,
                  beyond ? ", and beyond the ends" : "");
    }
}

/* The number that has been drawn: near a value, or anywhere. Above the first value of the map, below which an
 * expectation is not its own. */
static float draw(bool has_sign, splitmix *random)
{
    const unsigned zero = has_sign ? 127 : 0, code = zero + 1 + (unsigned)(splitmix_next(random) % (253 - zero));
    const double low = quantized_value(FOPT_Q8, has_sign, code), high = quantized_value(FOPT_Q8, has_sign, code + 1);
    const uint64_t kind = splitmix_next(random) % 4;
    const double part = (double)(splitmix_next(random) >> 11) * 0x1p-53;
    return (float)(low + (high - low) * (kind == 0 ? part * 1e-3 : kind == 1 ? 1 - part * 1e-3 : part));
}

/* All random bits that there are: the mean is the number itself, and the variance that of two values; a number that is
 * a ten-thousandth of the way to the next value becomes that in a ten-thousandth of all cases. */
Test(q8_maps, all_draws_of_a_second_moment)
{
    splitmix random = {11};
    for (int n = 0; n < NUMBERS; n++) {
        const float x = draw(false, &random);
        const double exact = exact_place(false, (double)x);
        const unsigned low = (unsigned)exact - 256;
        const float scale = scale_of(false);
        int above = 0;
        for (uint32_t draws = 0; draws < DRAWS; draws++) {
            const unsigned code =
                fopt_i_q8_encode_scaled(maps, scale, x, (fopt_i_q8)low, FOPT_SECOND_MOMENT, 2 * draws + (draws & 1));
            cr_assert(code - low <= 1, "%a became %u", (double)x, code);
            above += code > low;
        }
        const double a = quantized_value(FOPT_Q8, false, low), b = quantized_value(FOPT_Q8, false, low + 1);
        const double p = (double)above / DRAWS, mean = a + p * (b - a), variance = p * (1 - p) * (b - a) * (b - a);
        cr_assert(fabs(mean - (double)x) < 1e-4 * (double)x, "%a has a mean of %a", (double)x, mean);
        cr_assert(fabs(variance - (b - (double)x) * ((double)x - a)) < 2e-4 * (b - a) * (b - a),
                  "%a has a variance of %a", (double)x, variance);
        cr_assert(fabs(above - (exact - floor(exact)) * DRAWS) <= 4, "%a became the next value %d times of %d, not %g",
                  (double)x, above, DRAWS, (exact - floor(exact)) * DRAWS);
    }
}

/* A first moment becomes the nearest value, and is drawn where that has the old code; the maximum is never drawn. */
Test(q8_maps, what_is_not_always_drawn)
{
    splitmix random = {12};
    for (int n = 0; n < 20 * NUMBERS; n++) {
        const bool negative = n % 2 != 0;
        const float x = negative ? -draw(true, &random) : draw(true, &random);
        const uint32_t bits = (uint32_t)splitmix_next(&random) & 0xffffu;
        const unsigned nearest = quantized_nearest(FOPT_Q8, true, (double)x);
        const double middle = fabs(exact_place(true, (double)x) - floor(exact_place(true, (double)x)) - 0.5);
        if (middle < 1e-3)
            continue; /* near a tie either is as good */
        const fopt_i_q8 other = (fopt_i_q8)(nearest + 1 + splitmix_next(&random) % 255);
        cr_assert_eq(fopt_i_q8_encode_scaled(maps, scale_of(true), x, other, FOPT_FIRST_MOMENT, bits), nearest,
                     "%a beside the old code %u", (double)x, other);
        const unsigned drawn =
            fopt_i_q8_encode_scaled(maps, scale_of(true), x, (fopt_i_q8)nearest, FOPT_MOMENTUM_BUFFER, bits);
        const double sum = exact_place(true, (double)x) - 256 + (double)(bits >> 1) / DRAWS;
        cr_assert(drawn == (unsigned)sum || fabs(sum - round(sum)) < 1e-3, "%a became %u with %u", (double)x, drawn,
                  bits);
        const float y = draw(false, &random);
        const double fraction = exact_place(false, (double)y) - floor(exact_place(false, (double)y));
        cr_assert(fabs(fraction - 0.5) < 1e-3 ||
                      fopt_i_q8_encode_scaled(maps, scale_of(false), y, other, FOPT_MAX_SECOND_MOMENT, bits) ==
                          quantized_nearest(FOPT_Q8, false, (double)y),
                  "%a is not the nearest", (double)y);
    }
}

/* The largest of a block comes back as it was, to an ULP, on either side and with any random bits; also where the scale
 * is at the ends of what a float has. */
Test(q8_maps, the_largest_is_exact)
{
    splitmix random = {13};
    for (int n = 0; n < 500 * NUMBERS; n++) {
        const fopt_state_kind kind = (fopt_state_kind)(n % 4);
        const int exponent = (int)(splitmix_next(&random) % 180) - 56;
        const float largest =
            ldexpf(1 + (float)(splitmix_next(&random) >> 41) * 0x1p-23f, exponent > 124 ? 124 : exponent);
        const float x = moment_has_sign(kind) && n % 8 > 3 ? -largest : largest;
        const fopt_i_q8 code = fopt_i_q8_encode_scaled(maps, fopt_i_q8_scale(largest, kind), x, (fopt_i_q8)(n / 8),
                                                       kind, (uint32_t)splitmix_next(&random) & 0xffffu);
        const float back = fopt_i_q8_decode_scaled(maps, code, fopt_i_q8_absmax(largest, kind), kind);
        cr_assert(fabsf(back - x) <= 0x1p-23f * largest, "%a became %u and comes back as %a", (double)x, code,
                  (double)back);
    }
}

/* Of every mantissa, with the bits that would be the first to take it to the value below. */
Test(q8_maps, no_largest_is_rounded_down)
{
    for (uint32_t bits = fopt_i_bits(1); bits < fopt_i_bits(2); bits++) {
        const float largest = fopt_i_float(bits);
        const unsigned code = fopt_i_q8_encode_scaled(maps, fopt_i_q8_scale(largest, FOPT_SECOND_MOMENT), largest, 0,
                                                      FOPT_SECOND_MOMENT, 0);
        cr_assert_eq(code, 254, "%a became %u", (double)largest, code);
    }
}

Test(q8_maps, zeros_and_what_is_nearly_zero)
{
    for (uint32_t random = 0; random < 0x10000; random++)
        for (fopt_state_kind kind = FOPT_FIRST_MOMENT; kind <= FOPT_MOMENTUM_BUFFER; kind++) {
            const bool has_sign = moment_has_sign(kind);
            const float zeros[] = {fopt_i_q8_scale(0, kind), fopt_i_q8_scale(1, kind), fopt_i_q8_scale(1e-30f, kind)};
            for (size_t i = 0; i < LENGTH(zeros); i++) {
                const fopt_i_q8 code = fopt_i_q8_encode_scaled(maps, zeros[i], 0, has_sign ? 127 : 0, kind, random);
                cr_assert_eq(code, has_sign ? 127 : 0, "zero became %u", code);
            }
            const float tiny[] = {FLT_MIN, 1e-30f, 1e-20f, 1e-9f};
            for (size_t i = 0; i < LENGTH(tiny) && !has_sign; i++)
                for (int power = 0; power <= 126; power += 42)
                    cr_assert_gt(fopt_i_q8_encode_scaled(maps, fopt_i_q8_scale(ldexpf(1, power), kind), tiny[i], 0,
                                                         kind, random),
                                 0, "a positive moment became zero");
        }
    cr_expect_eq(fopt_i_q8_absmax(0, FOPT_FIRST_MOMENT), 0);
    cr_expect(fopt_i_q8_absmax(FLT_MIN, FOPT_SECOND_MOMENT) * maps->unsigned_value[1] >= FLT_MIN, "subnormal");
    cr_expect(isfinite(fopt_i_q8_absmax(FLT_MAX, FOPT_SECOND_MOMENT)), "infinite");
}
