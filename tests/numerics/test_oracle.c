/*
 * Every rule with every combination of its flags, one step at a time from the library's own stored numbers, against
 * the oracle. The rules and their flags are those of reference/cases.c.
 *
 * The worst of 77 million elements in single precision were 3.15 ULPs (see oracle.h) for parameters and 2.59 for
 * moments; a relative error of 1e-6 put into an update or a second moment is found.
 */
#include "../reference/cases.h"
#include "../reference/oracle.h"
#include "buffers.h"

#include <criterion/criterion.h>
#include <criterion/logging.h>
#include <criterion/parameterized.h>
#include <float.h>
#include <math.h>

#define COUNT 600 /* two tiles and a part of a third */
#define SEEDS 20  /* for each case */

/* ---- numbers ------------------------------------------------------------------------------------------------- */

/* Elements in one of the formats. */
typedef struct stored_array {
    fopt_format format;
    _Alignas(64) unsigned char data[4 * COUNT];
} stored_array;

static double load(const stored_array *array, size_t i)
{
    return get_value(array->format, array->data, i);
}

/* Stores an element; what is too large for the format becomes its largest number. */
static void store(stored_array *array, size_t i, double x)
{
    const double largest = numbers_largest(array->format);
    set_value(array->format, array->data, i, fmax(fmin(x, largest), -largest));
}

static double draw_uniform(splitmix *random, double low, double high)
{
    return low + (high - low) * (double)(splitmix_next(random) >> 11) * 0x1p-53;
}

/* Draws a number of either sign whose decimal exponent is uniform. */
static double draw_wide(splitmix *random, double low_exponent, double high_exponent)
{
    double magnitude = pow(10, draw_uniform(random, low_exponent, high_exponent));
    return splitmix_next(random) & 1 ? -magnitude : magnitude;
}

#define DRAW_FROM(random, ...)                                                                                         \
    (((const double[]){__VA_ARGS__})[splitmix_next(random) % (sizeof((const double[]){__VA_ARGS__}) / sizeof(double))])

/* ---- one trial ----------------------------------------------------------------------------------------------- */

typedef struct oracle_trial {
    fopt_group group;
    int64_t step;
    uint64_t seed;
    stored_array param, grad, state[FOPT_STATE_KINDS];
} oracle_trial;

/* Fills the arrays. */
typedef void draw_function(oracle_trial *trial, splitmix *random);

/* Draws other hyperparameters for a case: those that it has. */
static void draw_group(fopt_group *group, int64_t *step, splitmix *random)
{
    *step = (int64_t)DRAW_FROM(random, 1, 2, 3, 10, 1000, 1e6, 0x1p53);
    group->lr = DRAW_FROM(random, 1e-5, 1e-3, 0.1, 1, draw_uniform(random, 0, 2));
    if (group->weight_decay != 0)
        group->weight_decay = DRAW_FROM(random, 1e-4, 0.1, 10);
    if (group->beta1 != 0)
        group->beta1 = DRAW_FROM(random, 0, 0.5, 0.9, 0.9999, draw_uniform(random, 0, 1));
    if (group->beta2 != 0)
        group->beta2 = DRAW_FROM(random, 0, 0.5, 0.999, 0.9999, draw_uniform(random, 0, 1));
    if (group->alpha != 0)
        group->alpha = DRAW_FROM(random, 0, 0.5, 0.99, 0.9999, draw_uniform(random, 0, 1));
    if (group->eps != 0)
        group->eps = DRAW_FROM(random, 1e-15, 1e-8, 1e-8, 1e-3, 1);
    if (group->momentum != 0)
        group->momentum = DRAW_FROM(random, 1e-3, 0.5, 0.9, 0.9999, draw_uniform(random, 0.1, 1));
    if (group->dampening != 0)
        group->dampening = DRAW_FROM(random, 0.1, 1);
}

/* Stores a moment: zero before the first step, and never smaller than the least normal number. */
static void store_moment(oracle_trial *trial, fopt_state_kind kind, size_t i, double x)
{
    store(&trial->state[kind], i, trial->step == 1 || fabs(x) < (double)FLT_MIN ? 0 : x);
}

/* Draws gradients over a wide range; moments sometimes as gradients of that size would leave them, sometimes not. */
static void draw_elements(oracle_trial *trial, splitmix *random)
{
    bool buffer_of_ratios = trial->group.rule == FOPT_RMSPROP; /* about 1, whatever the gradients */
    bool wide = splitmix_next(random) % 4 == 0;
    for (size_t i = 0; i < COUNT; i++) {
        double g = splitmix_next(random) % 16 == 0 ? 0 : wide ? draw_wide(random, -18, 18) : draw_wide(random, -7, 4);
        double size = splitmix_next(random) % 4 == 0 ? draw_wide(random, -7, 4) : g; /* of the gradients before */
        double second = size * size * pow(10, draw_uniform(random, -2, 1));
        double first = sqrt(second) * draw_uniform(random, -1.05, 1.05); /* beyond 1, the variance is negative */
        double most = second * pow(10, draw_uniform(random, -1, 1));
        double buffer = (buffer_of_ratios ? 1 : size) * draw_uniform(random, -10, 10);
        double p = splitmix_next(random) % 8 == 0   ? 0
                   : splitmix_next(random) % 4 == 0 ? g * trial->group.lr
                                                    : draw_wide(random, -6, 3);
        store(&trial->param, i, p);
        store(&trial->grad, i, g);
        store_moment(trial, FOPT_FIRST_MOMENT, i, first);
        store_moment(trial, FOPT_SECOND_MOMENT, i, second);
        store_moment(trial, FOPT_MAX_SECOND_MOMENT, i, most);
        store_moment(trial, FOPT_MOMENTUM_BUFFER, i, buffer);
    }
}

/* Draws numbers that count as zero, or hardly do not: those of draw_elements(), but for a power of ten. */
static void draw_tiny(oracle_trial *trial, splitmix *random)
{
    draw_elements(trial, random);
    for (size_t i = 0; i < COUNT; i++) {
        const double by = pow(10, draw_uniform(random, -40, 0));
        store(&trial->param, i, load(&trial->param, i) * (splitmix_next(random) & 1 ? by : by * by));
        store(&trial->grad, i, load(&trial->grad, i) * by);
        store_moment(trial, FOPT_FIRST_MOMENT, i, load(&trial->state[FOPT_FIRST_MOMENT], i) * by);
        store_moment(trial, FOPT_SECOND_MOMENT, i, load(&trial->state[FOPT_SECOND_MOMENT], i) * by * by);
        store_moment(trial, FOPT_MAX_SECOND_MOMENT, i, load(&trial->state[FOPT_MAX_SECOND_MOMENT], i) * by * by);
        store_moment(trial, FOPT_MOMENTUM_BUFFER, i, load(&trial->state[FOPT_MOMENTUM_BUFFER], i) * by);
    }
}

/* Draws gradients and parameters at and beyond the edges. The huge ones are small enough that sums stay finite, so that
 * only squares overflow. */
static void draw_special(oracle_trial *trial, splitmix *random)
{
    draw_elements(trial, random);
    for (size_t i = 0; i < COUNT; i++) {
        double g =
            DRAW_FROM(random, 0, -0.0, 1e-45, -1e-39, 1e-19, -1, 1e19, -1e20, 1e30, -1e37, INFINITY, -INFINITY, NAN);
        set_value(FOPT_F32, trial->grad.data, i, g);
        set_value(FOPT_F32, trial->param.data, i, DRAW_FROM(random, 0, -0.0, 1e-45, -1e-39, 1, -1e30));
    }
}

static void update(oracle_trial *trial)
{
    const fopt_tensor tensor = {.size = sizeof tensor,
                                .param = trial->param.data,
                                .grad = trial->grad.data,
                                .count = COUNT,
                                .param_format = trial->param.format,
                                .grad_format = trial->grad.format};
    update_tensor(NULL, &trial->group, &tensor, trial->state[0].data, sizeof *trial->state, trial->step);
}

/* ---- the comparison ------------------------------------------------------------------------------------------ */

static void fail_trial(const oracle_trial *before, const char *what, const stored_array *after, size_t i, double want,
                       double ulps)
{
    char name[ORACLE_NAME_SIZE];
    oracle_name(&before->group, name);
    cr_assert_fail("%s %s/%s seed=%llu element=%zu step=%lld: %s in %s: got %a want %a (%.3g ulp)", name,
                   fopt_format_name(before->param.format), fopt_format_name(before->grad.format),
                   (unsigned long long)before->seed, i, (long long)before->step, what, fopt_format_name(after->format),
                   load(after, i), want, ulps);
}

typedef struct worst_ulps {
    double param, state;
} worst_ulps;

static void compare_element(const oracle_trial *before, const oracle_trial *after, size_t i, worst_ulps *worst)
{
    oracle_element element = {.param = load(&before->param, i)};
    for (int kind = 0; kind < FOPT_STATE_KINDS; kind++)
        element.state[kind] = load(&before->state[kind], i);
    oracle_result want = oracle_step(&before->group, before->step, element, load(&before->grad, i));

    double ulps =
        oracle_error(after->param.format, false, load(&after->param, i), want.after.param, want.magnitude.param);
    worst->param = fmax(worst->param, ulps);
    if (ulps > ORACLE_PARAM_ULPS)
        fail_trial(before, "param", &after->param, i, want.after.param, ulps);

    for (fopt_state_kind kind = 0; kind < FOPT_STATE_KINDS; kind++) {
        if (!oracle_keeps(&before->group, kind))
            continue;
        const double got = load(&after->state[kind], i);
        ulps = oracle_error(after->state[kind].format, kind != FOPT_MAX_SECOND_MOMENT, got, want.after.state[kind],
                            want.magnitude.state[kind]);
        if (fpclassify((float)got) == FP_SUBNORMAL)
            ulps = INFINITY;
        worst->state = fmax(worst->state, ulps);
        if (ulps > ORACLE_STATE_ULPS)
            fail_trial(before, fopt_state_kind_name(before->group.rule, kind), &after->state[kind], i,
                       want.after.state[kind], ulps);
    }
}

static void run_trial(const fopt_group *group, fopt_format param, fopt_format grad, uint64_t seed,
                      draw_function *draw_arrays, worst_ulps *worst)
{
    static oracle_trial before, after;
    before = (oracle_trial){.group = *group, .seed = seed, .param.format = param, .grad.format = grad};
    for (int kind = 0; kind < FOPT_STATE_KINDS; kind++)
        before.state[kind].format = group->state_format[kind];
    splitmix random = {seed};
    draw_group(&before.group, &before.step, &random);
    draw_arrays(&before, &random);
    after = before;
    update(&after);
    for (size_t i = 0; i < COUNT; i++)
        compare_element(&before, &after, i, worst);
}

/* ---- all cases ----------------------------------------------------------------------------------------------- */

static void run_cases(fopt_rule rule, case_formats formats, draw_function *draw_arrays, uint64_t seeds)
{
    worst_ulps worst = {0};
    uint64_t seed = 0;
    for (size_t index = 0; index < case_count(); index++) {
        fopt_group group = case_group(index);
        case_set_state(&group, formats.state);
        for (uint64_t trials = 0; trials < seeds && group.rule == rule; trials++)
            run_trial(&group, formats.param, formats.grad, ++seed, draw_arrays, &worst);
    }
    cr_log_info("%s param %s grad %s state %s: worst param %.3g ulp, state %.3g ulp", fopt_rule_name(rule),
                fopt_format_name(formats.param), fopt_format_name(formats.grad), fopt_format_name(formats.state),
                worst.param, worst.state);
}

ParameterizedTestParameters(oracle, every_rule)
{
    static fopt_rule rules[32];
    size_t count = 0;
    for (; fopt_rule_name((fopt_rule)count); count++)
        rules[count] = (fopt_rule)count;
    return cr_make_param_array(fopt_rule, rules, count, NULL);
}

ParameterizedTest(const fopt_rule *rule, oracle, every_rule)
{
    run_cases(*rule, case_formats_at(0), draw_elements, SEEDS);
}

Test(oracle, special_values)
{
    for (fopt_rule rule = 0; fopt_rule_name(rule); rule++)
        run_cases(rule, case_formats_at(0), draw_special, 5);
}

Test(oracle, tiny_values)
{
    for (fopt_rule rule = 0; fopt_rule_name(rule); rule++)
        run_cases(rule, case_formats_at(0), draw_tiny, 10);
}

Test(oracle, formats)
{
    for (fopt_rule rule = 0; fopt_rule_name(rule); rule++)
        for (size_t f = 0; f < case_plain_formats_count(); f++)
            run_cases(rule, case_formats_at(f), draw_elements, 2);
}
