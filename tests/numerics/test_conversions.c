/*
 * The 16-bit formats through the library, against conversions by ldexp() (numbers.c): decoding as a gradient, encoding
 * as a parameter, both as a parameter that does not move.
 */
#include "../reference/cases.h"
#include "buffers.h"

#include <criterion/criterion.h>
#include <float.h>
#include <math.h>

#define PATTERNS 65536

static const fopt_format halves[] = {FOPT_BF16, FOPT_F16};

/* p -= 1 * g, with each instruction set that runs here; `check` looks at the parameters. */
typedef struct exchange {
    fopt_format param, grad;
    size_t count;
    const void *start;
    void *gradient;
} exchange;

static void run_sgd(const exchange *e, void (*check)(const exchange *e, const void *param))
{
    static _Alignas(64) uint32_t param[3 * PATTERNS];
    fopt_group group;
    expect_ok(fopt_group_init(&group, sizeof group, FOPT_SGD));
    group.lr = 1;
    for (size_t i = 0; i < isa_count(); i++) {
        const fopt_config config = {.size = sizeof config, .isa = isa_at(i)};
        now_running("sgd %s/%s %s", fopt_format_name(e->param), fopt_format_name(e->grad), fopt_isa_name(config.isa));
        const fopt_tensor tensor = {.size = sizeof tensor,
                                    .param = param,
                                    .grad = e->gradient,
                                    .count = e->count,
                                    .param_format = e->param,
                                    .grad_format = e->grad};
        memcpy(param, e->start, e->count * numbers_bytes(e->param));
        expect_ok(fopt_update(&config, &group, &tensor, NULL, 1, NULL, NULL));
        check(e, param);
    }
}

/* ---- all patterns -------------------------------------------------------------------------------------------- */

static uint16_t patterns[PATTERNS];
static float zeros[3 * PATTERNS];

static void make_patterns(void)
{
    for (size_t i = 0; i < PATTERNS; i++)
        patterns[i] = (uint16_t)i;
}

static void check_kept(const exchange *e, const void *param)
{
    for (uint32_t i = 0; i < PATTERNS; i++) {
        const uint32_t canonical = e->param == FOPT_BF16 ? 0x7fc0 : 0x7e00;
        const uint32_t want = isnan(numbers_value(e->param, i)) ? canonical : i, got = numbers_get(e->param, param, i);
        cr_assert_eq(got, want, "%s element=%u: got 0x%04x want 0x%04x", what_runs(), i, got, want);
    }
}

/* Without a gradient all numbers stay, -0 and subnormals among them, and a NaN becomes the canonical one. */
Test(conversions, parameters_stay)
{
    make_patterns();
    for (size_t i = 0; i < LENGTH(halves); i++) {
        const exchange e = {halves[i], FOPT_F32, PATTERNS, patterns, zeros};
        run_sgd(&e, check_kept);
    }
}

/* "An update below FLT_MIN counts as zero"; here lr is 1. */
static double counted(double gradient)
{
    return fabs(gradient) < (double)FLT_MIN ? 0 : gradient;
}

static void check_decoded(const exchange *e, const void *param)
{
    for (uint32_t i = 0; i < PATTERNS; i++) {
        const double got = get_value(FOPT_F32, param, i), want = 0 - counted(numbers_value(e->grad, i));
        cr_assert(got == want || (isnan(got) && isnan(want)), "%s element=%u: got %a want %a", what_runs(), i, got,
                  want);
    }
}

/* Each number, as a gradient, moves a parameter from 0 to its negative, but for subnormal ones, which count as 0. */
Test(conversions, gradients_decode)
{
    make_patterns();
    for (size_t i = 0; i < LENGTH(halves); i++) {
        const exchange e = {FOPT_F32, halves[i], PATTERNS, zeros, patterns};
        run_sgd(&e, check_decoded);
    }
}

/* ---- rounding ------------------------------------------------------------------------------------------------ */

static float negated[3 * PATTERNS]; /* what a parameter goes to from 0 is its gradient's negative */

static void check_rounded(const exchange *e, const void *param)
{
    for (size_t i = 0; i < e->count; i++) {
        const double value = 0 - counted((double)negated[i]);
        const uint32_t got = numbers_get(e->param, param, i), want = numbers_nearest(e->param, value);
        cr_assert_eq(got, want, "%s element=%zu: %a became 0x%04x, should be 0x%04x", what_runs(), i, value, got, want);
    }
}

static void round_all(fopt_format format, size_t count)
{
    const exchange e = {format, FOPT_F32, count, zeros, negated};
    run_sgd(&e, check_rounded);
}

/* Half-way between each number and the next, where the even one is nearest, and just on either side. Beyond the
 * largest number comes what would be the next if the exponents went on: from half-way there, all is infinite. */
Test(conversions, half_way_cases)
{
    for (size_t i = 0; i < LENGTH(halves); i++) {
        size_t count = 0;
        for (uint32_t bits = 0; bits < PATTERNS; bits++) {
            const double low = numbers_value(halves[i], bits);
            double high = numbers_value(halves[i], bits + 1); /* away from zero */
            if (!isfinite(low))
                continue;
            if (isinf(high))
                high = copysign(ldexp(1, halves[i] == FOPT_BF16 ? 128 : 16), low);
            const float middle = (float)(low / 2 + high / 2);
            cr_assert_eq((double)middle, low / 2 + high / 2);
            negated[count++] = -nextafterf(middle, 0);
            negated[count++] = -middle;
            negated[count++] = -nextafterf(middle, copysignf(INFINITY, middle));
        }
        cr_assert_eq(count, 6 * (size_t)(halves[i] == FOPT_BF16 ? 0x7f80 : 0x7c00)); /* both signs */
        round_all(halves[i], count);
    }
}

/* Any floats: most are far outside of half precision's range. */
Test(conversions, any_numbers)
{
    for (uint64_t seed = 1; seed <= 20; seed++)
        for (size_t i = 0; i < LENGTH(halves); i++) {
            splitmix random = {seed};
            for (size_t k = 0; k < LENGTH(negated); k++)
                numbers_set(FOPT_F32, negated, k, (uint32_t)splitmix_next(&random));
            round_all(halves[i], LENGTH(negated));
        }
}

/* ---- moments ------------------------------------------------------------------------------------------------- */

#define MOMENTUM 0.9

/* Tells whether a momentum buffer in bf16 that should hold a gradient may hold `got`: a neighbour of it, but of a
 * finite one nothing infinite, of one below 2^-78 / momentum zero, of a NaN the canonical one. How often it is which is
 * for test_stochastic.c. */
static bool may_be_stored(float gradient, uint32_t got)
{
    const uint32_t bits = numbers_nearest(FOPT_F32, (double)gradient), towards_zero = bits >> 16;
    if (isnan(gradient))
        return got == 0x7fc0u;
    if ((double)fabsf(gradient) < 0x1p-78 / MOMENTUM)
        return got == 0;
    const bool is_exact = (bits & 0xffffu) == 0 || (towards_zero & 0x7fffu) == 0x7f7fu;
    return got == towards_zero || (!is_exact && got == towards_zero + 1);
}

/* Every upper half of a float with lower halves around those where rounding changes; a tile's part at the end. */
Test(conversions, moments_round)
{
    static const uint16_t lower[] = {0, 1, 0x7fff, 0x8000, 0x8001, 0xffff};
    enum { COUNT = PATTERNS * (int)LENGTH(lower) - 1 };
    static float param[COUNT], gradient[COUNT];
    static uint16_t buffer[COUNT], halves_of_param[COUNT], halves_of_gradient[COUNT];
    for (uint32_t i = 0; i < COUNT; i++) {
        const uint32_t bits = i / (uint32_t)LENGTH(lower) << 16 | lower[i % LENGTH(lower)];
        numbers_set(FOPT_F32, gradient, i, bits);
        halves_of_gradient[i] = (uint16_t)(bits >> 16);
    }
    fopt_group group;
    expect_ok(fopt_group_init(&group, sizeof group, FOPT_SGD));
    group.momentum = MOMENTUM;
    group.state_format[FOPT_MOMENTUM_BUFFER] = FOPT_BF16;
    for (int in_bf16 = 0; in_bf16 <= 1; in_bf16++) {
        const fopt_format format = in_bf16 ? FOPT_BF16 : FOPT_F32;
        const fopt_tensor tensor = {.size = sizeof tensor,
                                    .param = in_bf16 ? (void *)halves_of_param : param,
                                    .grad = in_bf16 ? (void *)halves_of_gradient : gradient,
                                    .count = COUNT,
                                    .param_format = format,
                                    .grad_format = format};
        now_running("sgd momentum %s/%s/bf16", fopt_format_name(format), fopt_format_name(format));
        memset(buffer, 0, sizeof buffer);
        update_tensor(NULL, &group, &tensor, buffer, 0, 1); /* its one moment */
        for (size_t i = 0; i < COUNT; i++) {
            const float was = (float)get_value(format, tensor.grad, i);
            cr_assert(may_be_stored(was, buffer[i]), "%s: %a became 0x%04x", what_runs(), (double)was, buffer[i]);
        }
    }
}
