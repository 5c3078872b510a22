/*
 * No slow values: CPUs take ten times as long where an operation meets a subnormal number. x86 notes it in flags that
 * stay: an operand was subnormal, or a result was too small. So here no clock is needed: the flags are cleared, the
 * walk is called, and they must be clear still, with finite numbers of every size, chosen so that averages, sums and
 * decay cancel; for every rule and format, with hyperparameters of every size.
 */
#include "../../host/internal.h"
#include "../../kernels/cpu/isa.h"
#include "../reference/cases.h"
#include "../reference/oracle.h"
#include "../reference/quantized.h"
#include "buffers.h"

#include <criterion/criterion.h>
#include <float.h>
#include <math.h>
#include <string.h>
#ifdef __SSE2__
#include <xmmintrin.h>

#define COUNT (TILE + 21)
#define STEPS 12

#define SUBNORMAL 0x02u /* an operand */
#define UNDERFLOW 0x10u /* a result */

/* ---- one tensor ---------------------------------------------------------------------------------------------- */

typedef struct arrays {
    fopt_group group;
    case_formats formats;
    _Alignas(64) unsigned char param[4 * COUNT], grad[4 * COUNT], state[FOPT_STATE_KINDS][4 * COUNT];
    float absmax[FOPT_STATE_KINDS][COUNT / 64 + 1];
} arrays;

static double moment_of(const arrays *a, fopt_state_kind kind, size_t i)
{
    const fopt_format format = a->group.state_format[kind];
    if (!is_quantized(format))
        return get_value(format, a->state[kind], i);
    return quantized_value(format, moment_has_sign(kind), a->state[kind][i]) *
           (double)a->absmax[kind][i / quantized_block(format)];
}

/* Steps `count` elements from `first` on, as the CPU backend does it, and returns the flags that were raised. */
static unsigned step_flags(arrays *a, fopt_isa isa, int64_t step, size_t first, size_t count)
{
    fopt_i_group group;
    expect_ok(fopt_i_read_group(&a->group, FOPT_I_NO_INDEX, &group));
    fopt_i_record record = {.param = a->param + first * numbers_bytes(a->formats.param),
                            .grad = a->grad + first * numbers_bytes(a->formats.grad),
                            .count = count,
                            .id = 1,
                            .step = step - 1,
                            .param_format = (uint8_t)a->formats.param,
                            .grad_format = (uint8_t)a->formats.grad};
    for (unsigned kind = 0; kind < FOPT_I_STATE_KINDS; kind++) {
        record.state[kind] = a->state[kind] + first * numbers_bytes(a->group.state_format[kind]);
        record.absmax[kind] = a->absmax[kind];
    }
    const fopt_i_cpu_job job = {&record, 1, &group, 0};
    const unsigned before = _mm_getcsr();
    _mm_setcsr(0x1f80);
    fopt_i_describe_isa(isa).step(&job, 0, fopt_i_tile_count(count));
    const unsigned flags = _mm_getcsr();
    _mm_setcsr(before);
    return flags;
}

static void fail_element(const arrays *before, fopt_isa isa, int64_t step, unsigned flags)
{
    static arrays one;
    const bool alone = !is_quantized(before->formats.state); /* no block */
    for (size_t i = 0; i < COUNT && alone; i++) {
        one = *before;
        if (step_flags(&one, isa, step, i, 1) & flags)
            cr_assert_fail("%s step=%d element=%zu: a subnormal: param %a grad %a moments %a %a %a %a", what_runs(),
                           (int)step, i, get_value(one.formats.param, before->param, i),
                           get_value(one.formats.grad, before->grad, i), moment_of(before, (fopt_state_kind)0, i),
                           moment_of(before, (fopt_state_kind)1, i), moment_of(before, (fopt_state_kind)2, i),
                           moment_of(before, (fopt_state_kind)3, i));
    }
    cr_assert_fail("%s step=%d: a subnormal, but not of one element", what_runs(), (int)step);
}

/* ---- numbers of every size ----------------------------------------------------------------------------------- */

/* Draws a finite number, whose exponent is any that the format has, or one of few; or zero. */
static double draw(fopt_format format, splitmix *random)
{
    static const double edges[] = {0x1p-149, 0x1p-127, 0x1p-126, 0x1.8p-126, 0x1p-125, 0x1p-102, 0x1p-78,
                                   0x1p-63,  0x1p-61,  0x1p-40,  1,          0x1p63,   0x1p64,   0x1p127};
    const uint64_t bits = splitmix_next(random);
    const double sign = bits & 1 ? -1 : 1, fraction = 1 + (double)(bits >> 40) * 0x1p-24;
    const double x = bits >> 1 & 1   ? ldexp(fraction, (int)(bits >> 8 & 0xff) - 149)
                     : bits >> 2 & 3 ? edges[(bits >> 8) % LENGTH(edges)] * (bits >> 4 & 1 ? 1 : fraction)
                                     : 0;
    return sign * fmin(x, numbers_largest(format));
}

/* A parameter that is subnormal, or may become it by a subtraction. */
static bool is_tiny(double x)
{
    return x != 0 && fabs(x) < 0x1p-100;
}

/* A share of one of the moments such that the new one is near zero, or as near the old one as can be. */
static double draw_against(const arrays *a, size_t i, splitmix *random)
{
    const fopt_group *g = &a->group;
    const uint64_t bits = splitmix_next(random);
    const double m = moment_of(a, FOPT_FIRST_MOMENT, i);
    const double b = moment_of(a, FOPT_MOMENTUM_BUFFER, i);
    const double v = moment_of(a, FOPT_SECOND_MOMENT, i);
    const double keep = g->rule == FOPT_RMSPROP ? g->alpha : g->beta1;
    const double near[] = {-m * keep / (1 - keep),
                           m,
                           sqrt(v),
                           -b * g->momentum / (1 - g->dampening),
                           -b * g->momentum / (1 - g->momentum),
                           -b * g->momentum / g->lr,
                           b,
                           -g->weight_decay * get_value(a->formats.param, a->param, i)};
    const double x = near[bits % LENGTH(near)] * (1 + (double)(bits >> 62) * 0x1p-24);
    return isfinite(x) ? fmax(fmin(x, numbers_largest(a->formats.grad)), -numbers_largest(a->formats.grad)) : 0;
}

/* New parameters and gradients. A subnormal parameter is an operand of the last subtraction and of comparisons, which
 * are not slow. */
static void draw_inputs(arrays *a, bool tiny_params, double least_gradient, splitmix *random)
{
    for (size_t i = 0; i < COUNT; i++) {
        double p = draw(a->formats.param, random);
        while (tiny_params && fabs(p) >= 0x1p-100)
            p *= 0x1p-40;
        if (!tiny_params && is_tiny(p))
            p = 0;
        set_value(a->formats.param, a->param, i, p);
        double g = splitmix_next(random) % 3 == 0 ? draw_against(a, i, random) : draw(a->formats.grad, random);
        if (least_gradient > 0)
            g = fabs(g) < 0x1p-100 ? 0 : copysign(fmin(fmax(fabs(g), least_gradient), 0x1p63), g);
        set_value(a->formats.grad, a->grad, i, g);
    }
}

/* Hyperparameters of every size, in the first trial those of the case. None is subnormal itself: rounding it to float
 * once a step would raise the flags. */
static void draw_group(fopt_group *g, unsigned trial, splitmix *random)
{
    static const double rates[] = {1, 1e-3, 1e9, 1e-20, 1e-31, 1e-37},
                        weights[] = {0.9, 0.5, 0.999, 1e-3, 1e-12, 1e-16, 1e-18, 0.9999999999999999, 0},
                        epsilons[] = {1e-8, 1, 1e9, 1e-37};
    if (trial == 0)
        return;
    g->lr = rates[splitmix_next(random) % LENGTH(rates)];
    g->weight_decay *= rates[splitmix_next(random) % LENGTH(rates)];
    g->weight_decay = fmin(g->weight_decay, 1e9);
    double *const may_change[] = {&g->beta1, &g->beta2, &g->alpha, &g->momentum, &g->dampening};
    for (size_t i = 0; i < LENGTH(may_change); i++)
        if (*may_change[i] != 0)
            *may_change[i] = weights[splitmix_next(random) % (LENGTH(weights) - (may_change[i] == &g->momentum))];
    if (g->eps != 0)
        g->eps = epsilons[splitmix_next(random) % LENGTH(epsilons)];
}

/* ---- all cases ----------------------------------------------------------------------------------------------- */

static void run(fopt_group group, case_formats formats, fopt_isa isa, bool tiny_params, splitmix *random)
{
    static arrays a, before;
    const unsigned flags = tiny_params ? UNDERFLOW : SUBNORMAL | UNDERFLOW;
    memset(&a, 0, sizeof a);
    a.group = group;
    a.formats = formats;
    for (int64_t step = 1; step <= STEPS; step++) {
        if (step % 3 != 0)
            /* A tile is ordinary if all of its gradients are (kernels/arithmetic.h). */
            draw_inputs(&a, tiny_params, step % 3 == 2 ? ldexp(1, -40 - 5 * (int)(step / 3)) : 0, random);
        else
            memset(a.grad, 0, sizeof a.grad);
        for (size_t i = 0; i < COUNT && step % 3 == 0 && !tiny_params; i++)
            if (is_tiny(get_value(formats.param, a.param, i)))
                set_value(formats.param, a.param, i, 0);
        before = a;
        if (step_flags(&a, isa, step, 0, COUNT) & flags)
            fail_element(&before, isa, step, flags);
    }
}

Test(slow, no_factor_is_subnormal)
{
    cr_expect_eq(fopt_i_factor(1e-42), 0.0f);
    cr_expect_eq(fopt_i_eps(1e-42), FLT_MIN, "an eps that is not zero");
    cr_expect_eq(fopt_i_eps(0), 0.0f);
}

static void run_cases(bool tiny_params)
{
    const unsigned trials = 3;
    for (size_t index = 0; index < case_count(); index++)
        for (size_t f = index % 3; f < case_formats_count(); f += 3) /* each case with gradients of one format */
            for (size_t i = 0; i < isa_count(); i++)
                for (unsigned trial = 0; trial < trials; trial++) {
                    if (trial > 0 && f / 3 % 4 != (index + trial) % 4)
                        continue; /* other hyperparameters with some formats */
                    const uint64_t seed = ((index * 100 + f) * 10 + i) * 10 + trial;
                    splitmix random = {seed};
                    const case_formats formats = case_formats_at(f);
                    fopt_group group = case_group(index);
                    char name[CASE_NAME_SIZE];
                    case_name(&group, name);
                    case_set_state(&group, formats.state);
                    draw_group(&group, trial, &random);
                    now_running("%s %s/%s/%s %s seed=%llu", name, fopt_format_name(formats.param),
                                fopt_format_name(formats.grad), fopt_format_name(formats.state),
                                fopt_isa_name(isa_at(i)), (unsigned long long)seed);
                    run(group, formats, isa_at(i), tiny_params, &random);
                }
}

Test(slow, no_operation_meets_a_subnormal)
{
    run_cases(false);
}

Test(slow, no_product_of_a_tiny_parameter)
{
    run_cases(true);
}
#else
Test(slow, no_operation_meets_a_subnormal)
{
    cr_skip_test("this machine has no SSE2, whose flags tell of subnormals");
}
#endif
