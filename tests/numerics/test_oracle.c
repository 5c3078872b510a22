/*
 * Every rule with every combination of its flags, one step at a time from the library's own stored numbers, against
 * the oracle.
 *
 * To add a rule: give it an entry in the oracle, one in `flags_of`, and, if it has a hyperparameter of its own, a line
 * in draw_group().
 *
 * Errors are counted in single-precision ULPs of the largest intermediate magnitude (see oracle.h). What a 16-bit
 * format rounds away comes on top: half a ULP of that format, a whole one where the rounding is stochastic. The worst
 * of 300 million elements were 3.13 ULPs for parameters and 2.73 for moments; a relative error of 1e-6 put into an
 * update or a second moment is found.
 */
#include "../reference/oracle.h"
#include "../reference/splitmix.h"
#include "fusedopt.h"

#include <criterion/criterion.h>
#include <criterion/logging.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define PARAM_ULPS 4.0
#define STATE_ULPS 3.0

#define COUNT 600 /* two tiles and a part of a third */
#define SEEDS 40  /* for each combination of flags */

/* ---- numbers ------------------------------------------------------------------------------------------------- */

/* Elements in one of the formats. */
typedef struct stored_array {
    fopt_format format;
    union {
        float f32[COUNT];
        uint16_t bits16[COUNT];
    } data;
} stored_array;

/* The 16-bit formats: explicit bits of the significand, and the exponent of the least normal number. */
static const struct {
    int significand, least;
} shapes[] = {[FOPT_BF16] = {7, -126}, [FOPT_F16] = {10, -14}};

/* The distance between a format's numbers around x; 0 for single precision. */
static double spacing(fopt_format format, double x)
{
    if (format == FOPT_F32 || !isfinite(x))
        return 0;
    int exponent = x == 0 ? shapes[format].least : ilogb(x);
    return ldexp(1, (exponent < shapes[format].least ? shapes[format].least : exponent) - shapes[format].significand);
}

static double load(const stored_array *array, size_t i)
{
    if (array->format == FOPT_F32)
        return (double)array->data.f32[i];
    int shift = shapes[array->format].significand, bits = array->data.bits16[i] & 0x7fff;
    int exponent = bits >> shift;
    double magnitude;
    if (exponent == 0x7fff >> shift)
        magnitude = bits == exponent << shift ? INFINITY : NAN;
    else if (exponent == 0)
        magnitude = ldexp(bits, shapes[array->format].least - shift);
    else
        magnitude = ldexp(bits - ((exponent - 1) << shift), exponent - 1 + shapes[array->format].least - shift);
    return array->data.bits16[i] & 0x8000 ? -magnitude : magnitude;
}

/* Rounds to nearest for single precision, and toward zero, never to infinity, for the 16-bit formats. */
static void store(stored_array *array, size_t i, double x)
{
    if (array->format == FOPT_F32) {
        array->data.f32[i] = (float)x;
        return;
    }
    int shift = shapes[array->format].significand, infinity = 0x7fff >> shift << shift;
    double step = spacing(array->format, x);
    int exponent = ilogb(step) + shift - shapes[array->format].least; /* one less than a normal number's field */
    double bits = ldexp(exponent, shift) + floor(fabs(x) / step);
    array->data.bits16[i] = (uint16_t)((bits < infinity ? (int)bits : infinity - 1) | (signbit(x) ? 0x8000 : 0));
}

static double draw_uniform(splitmix *random, double low, double high)
{
    return low + (high - low) * (double)(splitmix_next(random) >> 11) * 0x1p-53;
}

/* A number of either sign whose decimal exponent is uniform. */
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

/* Hyperparameters for the rule, flags and formats that are already set. */
static void draw_group(fopt_group *group, int64_t *step, bool momentum, splitmix *random)
{
    bool adam = group->rule == FOPT_ADAM || group->rule == FOPT_ADAMW;
    group->size = sizeof *group;
    *step = (int64_t)DRAW_FROM(random, 1, 2, 3, 10, 1000, 1e6, 0x1p53);
    group->lr = DRAW_FROM(random, 1e-5, 1e-3, 0.1, 1, draw_uniform(random, 0, 2));
    group->weight_decay = DRAW_FROM(random, 0, 0, 1e-4, 0.1, 10);
    if (adam) {
        group->beta1 = DRAW_FROM(random, 0, 0.5, 0.9, 0.9999, draw_uniform(random, 0, 1));
        group->beta2 = DRAW_FROM(random, 0, 0.5, 0.999, 0.9999, draw_uniform(random, 0, 1));
    }
    if (group->rule == FOPT_RMSPROP)
        group->alpha = DRAW_FROM(random, 0, 0.5, 0.99, 0.9999, draw_uniform(random, 0, 1));
    if (adam || group->rule == FOPT_RMSPROP)
        group->eps = DRAW_FROM(random, 1e-15, 1e-8, 1e-8, 1e-3, 1);
    if (momentum)
        group->momentum = DRAW_FROM(random, 1e-3, 0.5, 0.9, 0.9999, draw_uniform(random, 0.1, 1));
    if (momentum && group->rule == FOPT_SGD &&
        !(group->flags & (FOPT_NESTEROV | FOPT_EMA_MOMENTUM | FOPT_CLASSIC_MOMENTUM)))
        group->dampening = DRAW_FROM(random, 0, 0, 0.1, 1);
}

/* Moments are zero before the first step, and never smaller than the least normal number. */
static void store_moment(oracle_trial *trial, fopt_state_kind kind, size_t i, double x)
{
    store(&trial->state[kind], i, trial->step == 1 || fabs(x) < (double)FLT_MIN ? 0 : x);
}

/* Gradients over a wide range; moments sometimes as gradients of that size would leave them, sometimes not. */
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

/* Gradients and parameters at and beyond the edges. The huge ones are small enough that sums stay finite, so that only
 * squares overflow. */
static void draw_special(oracle_trial *trial, splitmix *random)
{
    draw_elements(trial, random);
    for (size_t i = 0; i < COUNT; i++) {
        double g =
            DRAW_FROM(random, 0, -0.0, 1e-45, -1e-39, 1e-19, -1, 1e19, -1e20, 1e30, -1e37, INFINITY, -INFINITY, NAN);
        trial->grad.data.f32[i] = (float)g;
        trial->param.data.f32[i] = (float)DRAW_FROM(random, 0, -0.0, 1e-45, -1e-39, 1, -1e30);
    }
}

static void update(oracle_trial *trial)
{
    fopt_tensor tensor = {.size = sizeof tensor,
                          .param = &trial->param.data,
                          .grad = &trial->grad.data,
                          .count = COUNT,
                          .param_format = trial->param.format,
                          .grad_format = trial->grad.format};
    fopt_array states[FOPT_STATE_KINDS];
    for (int kind = 0; kind < FOPT_STATE_KINDS; kind++) {
        stored_array *state = &trial->state[kind];
        states[kind] = (fopt_array){.size = sizeof(fopt_array)};
        if (oracle_keeps(&trial->group, (fopt_state_kind)kind))
            states[kind] = (fopt_array){.size = sizeof(fopt_array),
                                        .data = &state->data,
                                        .count = COUNT,
                                        .bytes = (size_t)COUNT * (state->format == FOPT_F32 ? 4 : 2),
                                        .format = state->format};
    }
    fopt_status status = fopt_update(NULL, &trial->group, &tensor, states, trial->step, NULL, NULL);
    cr_assert_eq(status, FOPT_OK, "%s: %s", fopt_status_string(status), fopt_last_error());
}

/* ---- the comparison ------------------------------------------------------------------------------------------ */

/* The error that the array's format does not explain, in ULPs of single precision. Infinity and NaN count as one: an
 * infinite gradient leaves either, depending on how an average is written. */
static double unexplained_ulps(const stored_array *after, size_t i, bool stochastic, double want, double magnitude)
{
    double got = load(after, i), rounding = spacing(after->format, want) * (stochastic ? 1 : 0.5);
    if (!isfinite(want))
        return isfinite(got) ? INFINITY : 0;
    if (fabs(got - want) <= rounding)
        return 0;
    return oracle_ulps(got, want + copysign(rounding, got - want), magnitude,
                       after->format == FOPT_F16 ? 65504 : (double)FLT_MAX);
}

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

    double ulps = unexplained_ulps(&after->param, i, false, want.after.param, want.magnitude.param);
    worst->param = fmax(worst->param, ulps);
    if (ulps > PARAM_ULPS)
        fail_trial(before, "param", &after->param, i, want.after.param, ulps);

    for (fopt_state_kind kind = 0; kind < FOPT_STATE_KINDS; kind++) {
        if (!oracle_keeps(&before->group, kind))
            continue;
        ulps = unexplained_ulps(&after->state[kind], i, kind == FOPT_SECOND_MOMENT, want.after.state[kind],
                                want.magnitude.state[kind]);
        if (fpclassify((float)load(&after->state[kind], i)) == FP_SUBNORMAL)
            ulps = INFINITY;
        worst->state = fmax(worst->state, ulps);
        if (ulps > STATE_ULPS)
            fail_trial(before, fopt_state_kind_name(before->group.rule, kind), &after->state[kind], i,
                       want.after.state[kind], ulps);
    }
}

/* The group has the rule, the flags, and the formats of its states; the seed decides all else. */
static void run_trial(const fopt_group *group, bool momentum, fopt_format param, fopt_format grad, uint64_t seed,
                      draw_function *draw_arrays, worst_ulps *worst)
{
    static oracle_trial before, after;
    before = (oracle_trial){.group = *group, .seed = seed, .param.format = param, .grad.format = grad};
    for (int kind = 0; kind < FOPT_STATE_KINDS; kind++)
        before.state[kind].format = group->state_format[kind];
    splitmix random = {seed};
    draw_group(&before.group, &before.step, momentum, &random);
    draw_arrays(&before, &random);
    after = before;
    update(&after);
    for (size_t i = 0; i < COUNT; i++)
        compare_element(&before, &after, i, worst);
}

/* ---- all combinations ---------------------------------------------------------------------------------------- */

#define SPELLINGS (FOPT_NESTEROV | FOPT_EMA_MOMENTUM | FOPT_CLASSIC_MOMENTUM)

static const unsigned flags_of[] = {
    [FOPT_SGD] = FOPT_MAXIMIZE | FOPT_DECOUPLED_DECAY | SPELLINGS,
    [FOPT_RMSPROP] = FOPT_MAXIMIZE | FOPT_DECOUPLED_DECAY | FOPT_CENTERED | FOPT_EPS_INSIDE_SQRT,
    [FOPT_ADAM] = FOPT_MAXIMIZE | FOPT_DECOUPLED_DECAY | FOPT_AMSGRAD | FOPT_NO_BIAS_CORRECTION,
    [FOPT_ADAMW] = FOPT_MAXIMIZE | FOPT_DECOUPLED_DECAY | FOPT_AMSGRAD | FOPT_NO_BIAS_CORRECTION,
};

static bool is_combination(fopt_rule rule, unsigned flags, bool momentum)
{
    unsigned spelling = flags & SPELLINGS;
    bool one_at_most = (spelling & (spelling - 1)) == 0;
    bool has_momentum = rule == FOPT_SGD || rule == FOPT_RMSPROP;
    bool decoupled = rule != FOPT_ADAMW || (flags & FOPT_DECOUPLED_DECAY);
    return decoupled && !(flags & ~flags_of[rule]) && one_at_most && (momentum || !spelling) &&
           (has_momentum || !momentum);
}

static void run_combinations(fopt_rule rule, fopt_format param, fopt_format grad, fopt_format state,
                             draw_function *draw_arrays, uint64_t seeds)
{
    worst_ulps worst = {0};
    uint64_t seed = 0;
    for (unsigned flags = 0; flags < 2 * FOPT_NO_BIAS_CORRECTION; flags++)
        for (int momentum = 0; momentum <= 1; momentum++) {
            if (!is_combination(rule, flags, momentum))
                continue;
            fopt_group group = {.rule = rule, .flags = flags};
            for (int kind = 0; kind < FOPT_STATE_KINDS; kind++)
                group.state_format[kind] = state;
            for (uint64_t trials = 0; trials < seeds; trials++)
                run_trial(&group, momentum, param, grad, ++seed, draw_arrays, &worst);
        }
    cr_log_info("%s param %s grad %s state %s: worst param %.3g ulp, state %.3g ulp", fopt_rule_name(rule),
                fopt_format_name(param), fopt_format_name(grad), fopt_format_name(state), worst.param, worst.state);
}

Test(oracle, sgd)
{
    run_combinations(FOPT_SGD, FOPT_F32, FOPT_F32, FOPT_F32, draw_elements, SEEDS);
}

Test(oracle, rmsprop)
{
    run_combinations(FOPT_RMSPROP, FOPT_F32, FOPT_F32, FOPT_F32, draw_elements, SEEDS);
}

Test(oracle, adam)
{
    run_combinations(FOPT_ADAM, FOPT_F32, FOPT_F32, FOPT_F32, draw_elements, SEEDS);
}

Test(oracle, adamw)
{
    run_combinations(FOPT_ADAMW, FOPT_F32, FOPT_F32, FOPT_F32, draw_elements, SEEDS);
}

Test(oracle, special_values)
{
    for (fopt_rule rule = FOPT_SGD; rule <= FOPT_ADAMW; rule++)
        run_combinations(rule, FOPT_F32, FOPT_F32, FOPT_F32, draw_special, 10);
}

Test(oracle, formats)
{
    for (fopt_rule rule = FOPT_SGD; rule <= FOPT_ADAMW; rule++)
        for (fopt_format param = FOPT_F32; param <= FOPT_F16; param++)
            for (fopt_format grad = FOPT_F32; grad <= FOPT_F16; grad++)
                for (fopt_format state = FOPT_F32; state <= FOPT_BF16; state++)
                    run_combinations(rule, param, grad, state, draw_elements, 3);
}
