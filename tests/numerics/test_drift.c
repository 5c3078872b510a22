/*
 * What many steps add up to. A million steps in single precision against the oracle iterated in double; bias correction
 * for weights close to 1 and late steps; and a decay that is far below the last place of what it decays.
 */
#include "../reference/oracle.h"
#include "buffers.h"

#include <criterion/criterion.h>
#include <criterion/logging.h>
#include <criterion/parameterized.h>
#include <math.h>
#include <string.h>

#define MOST 256

static const fopt_config one_thread = {.size = sizeof(fopt_config), .threads = 1};

/* A tensor in single precision. */
typedef struct arrays {
    fopt_group group;
    size_t count;
    _Alignas(64) float param[MOST], grad[MOST], state[FOPT_STATE_KINDS][MOST];
} arrays;

static void update(arrays *a, int64_t step)
{
    const fopt_tensor tensor = {.size = sizeof tensor, .param = a->param, .grad = a->grad, .count = a->count};
    update_tensor(&one_thread, &a->group, &tensor, a->state, sizeof *a->state, step);
}

/* Draws a number, uniform in [low, high). */
static float draw_between(splitmix *random, double low, double high)
{
    return (float)(low + (high - low) * (double)(splitmix_next(random) >> 11) * 0x1p-53);
}

/* ---- a million steps ----------------------------------------------------------------------------------------- */

#define STEPS    1000000
#define ELEMENTS 16 /* a full vector of the widest instruction set, */
#define STREAMS  4  /* with every gradient four times: the oracle takes its time */
#define SWING    1000

/* In ULPs of single precision, over all elements and the second half of the steps. */
typedef struct drift_bound {
    double mean, root_mean_square;
} drift_bound;

/*
 * A moment that forgets with 1 - w carries about 1 / w past roundings with it. As long as they are independent, which
 * random gradients see to, that is 0.29 / sqrt(2 w) ULP of noise: 0.65 at 0.9, 2, 6.5 and 20 at 0.9999, about a mean of
 * zero. The textbook's a * beta + x * (1 - beta), whose weights in float do not add up to 1, has a mean of up to
 * thousands of ULP instead.
 *
 * A momentum itself, where nothing corrects it, is rounded to float: 0.9 is 2.4e-8 too small then, and the sum 2 ULP.
 * A parameter takes 0.29 ULP in each step, 290 in a million, as long as steps are many ULP and go back and forth.
 */
static const struct drift_row {
    const char *name;
    fopt_group group;
    drift_bound param, state[FOPT_STATE_KINDS];
} rows[] = {
    {"ema 0.9", {.flags = FOPT_EMA_MOMENTUM, .momentum = 0.9}, {0, 0}, {[FOPT_MOMENTUM_BUFFER] = {0.2, 1}}},
    {"ema 0.99", {.flags = FOPT_EMA_MOMENTUM, .momentum = 0.99}, {0, 0}, {[FOPT_MOMENTUM_BUFFER] = {0.5, 3}}},
    {"ema 0.999", {.flags = FOPT_EMA_MOMENTUM, .momentum = 0.999}, {0, 0}, {[FOPT_MOMENTUM_BUFFER] = {2, 9}}},
    {"ema 0.9999", {.flags = FOPT_EMA_MOMENTUM, .momentum = 0.9999}, {0, 0}, {[FOPT_MOMENTUM_BUFFER] = {6, 28}}},
    {"momentum", {.lr = 1e-5, .momentum = 0.9}, {300, 500}, {[FOPT_MOMENTUM_BUFFER] = {4, 4}}},
    {"rmsprop",
     {.rule = FOPT_RMSPROP, .lr = 1e-5, .alpha = 0.99, .eps = 1e-8},
     {300, 500},
     {[FOPT_SECOND_MOMENT] = {0.5, 3}}},
    {"adam",
     {.rule = FOPT_ADAM, .lr = 1e-5, .beta1 = 0.9, .beta2 = 0.9999, .eps = 1e-8},
     {300, 500},
     {[FOPT_FIRST_MOMENT] = {0.2, 1}, [FOPT_SECOND_MOMENT] = {6, 28}}},
};

typedef struct drift {
    double sum, squares, largest; /* the largest number so far, in whose ULPs errors are counted */
    size_t count;
} drift;

static void add_error(drift *d, double got, double want)
{
    d->largest = fmax(d->largest, fabs(want));
    const double error = (got - want) / ldexp(1, ilogb(d->largest) - 23);
    d->sum += error;
    d->squares += error * error;
    d->count++;
}

static void check_drift(const char *row, const char *what, drift d, drift_bound bound)
{
    const double mean = d.sum / (double)d.count, root = sqrt(d.squares / (double)d.count);
    cr_log_info("%s: %s is off by %.3g on average, %.3g in the root of the mean square, in ulp", row, what, mean, root);
    cr_expect(fabs(mean) <= bound.mean && root <= bound.root_mean_square,
              "%s: %s is off by %.3g on average, %.3g in the root of the mean square, in ulp: should be %.3g and %.3g",
              row, what, mean, root, bound.mean, bound.root_mean_square);
}

ParameterizedTestParameters(drift, a_million_steps)
{
    static size_t indices[sizeof rows / sizeof *rows];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        indices[i] = i;
    return cr_make_param_array(size_t, indices, sizeof rows / sizeof *rows, NULL);
}

ParameterizedTest(const size_t *index, drift, a_million_steps)
{
    const struct drift_row *row = &rows[*index];
    static arrays a;
    oracle_element want[STREAMS];
    drift param = {0}, state[FOPT_STATE_KINDS] = {{0}};
    splitmix random = {1};
    a.group = row->group;
    a.group.size = sizeof a.group;
    a.count = ELEMENTS;
    now_running("%s", row->name);
    for (size_t i = 0; i < ELEMENTS; i++)
        a.param[i] = 1.5f;
    for (size_t i = 0; i < STREAMS; i++)
        want[i] = (oracle_element){.param = 1.5};
    for (int64_t step = 1; step <= STEPS; step++) {
        const bool back = row->group.lr > 0 && step / SWING % 2 != 0;
        for (size_t i = 0; i < STREAMS; i++)
            a.grad[i] = back ? draw_between(&random, -1, -0.5) : draw_between(&random, 0.5, 1);
        for (size_t i = STREAMS; i < ELEMENTS; i++)
            a.grad[i] = a.grad[i - STREAMS];
        update(&a, step);
        for (size_t i = 0; i < STREAMS; i++) {
            want[i] = oracle_step(&a.group, step, want[i], (double)a.grad[i]).after;
            if (step <= STEPS / 2)
                continue;
            add_error(&param, (double)a.param[i], want[i].param);
            for (fopt_state_kind kind = 0; kind < FOPT_STATE_KINDS; kind++)
                if (oracle_keeps(&a.group, kind))
                    add_error(&state[kind], (double)a.state[kind][i], want[i].state[kind]);
        }
    }
    expect_same("param", FOPT_F32, a.param + STREAMS, a.param, ELEMENTS - STREAMS);
    check_drift(row->name, "param", param, row->param);
    for (fopt_state_kind kind = 0; kind < FOPT_STATE_KINDS; kind++)
        if (oracle_keeps(&a.group, kind))
            check_drift(row->name, fopt_state_kind_name(a.group.rule, kind), state[kind], row->state[kind]);
}

/* ---- bias correction ----------------------------------------------------------------------------------------- */

/* Returns 1 - beta^t without cancellation: 1 - beta is exact for beta in [1/2, 1]. */
static double correction(double beta, int64_t step)
{
    return -expm1((double)step * log1p(-(1 - beta)));
}

/* Returns the step with moments that are 1 and stay 1, lr 1 and eps 0: sqrt(1 - beta2^t) / (1 - beta1^t). A beta of 0
 * makes its correction 1. */
static double corrected_step(double beta1, double beta2, int64_t step)
{
    const fopt_group group = {.size = sizeof group, .rule = FOPT_ADAM, .lr = 1, .beta1 = beta1, .beta2 = beta2};
    float param = 0, grad = 1;
    const fopt_tensor tensor = {.size = sizeof tensor, .param = &param, .grad = &grad, .count = 1};
    fopt_optimizer *optimizer;
    now_running("adam beta1=%.17g beta2=%.17g step=%lld", beta1, beta2, (long long)step);
    expect_ok(fopt_create(&one_thread, &group, 1, &tensor, 1, &optimizer));
    for (fopt_state_kind kind = FOPT_FIRST_MOMENT; kind <= FOPT_SECOND_MOMENT; kind++) {
        fopt_array view = {.size = sizeof view};
        expect_ok(fopt_state(optimizer, 0, kind, &view));
        *(float *)view.data = 1;
    }
    expect_ok(fopt_set_step(optimizer, 0, step - 1, NULL));
    expect_ok(fopt_step(optimizer, NULL, NULL));
    int64_t after;
    expect_ok(fopt_get_step(optimizer, 0, &after, NULL));
    cr_expect_eq(after, step);
    fopt_destroy(optimizer);
    return 0 - (double)param;
}

static void expect_near(double got, double want)
{
    const double error = fabs(got - want) / want * 0x1p23;
    cr_expect(error <= 2, "%s: got %a want %a, off by %.3g ulp", what_runs(), got, want, error);
}

Test(drift, bias_correction)
{
    static const double betas[] = {0.5, 0.9, 0.999, 0.9999, 1 - 1e-6, 1 - 1e-9};
    for (size_t i = 0; i < sizeof betas / sizeof *betas; i++)
        for (int64_t power = 1; power <= (int64_t)1 << 40; power *= 2)
            for (int64_t step = power; step <= power + 1; step++) {
                expect_near(corrected_step(betas[i], 0, step), 1 / correction(betas[i], step));
                expect_near(corrected_step(0, betas[i], step), sqrt(correction(betas[i], step)));
            }
}

/* ---- tiny decay ---------------------------------------------------------------------------------------------- */

/* lr * weight_decay is 1e-8, and 1 - 1e-8 is 1 in float. Joined with an update of some ULP, the decay comes through:
 * not in each step, but on average. After 100,000 steps a tenth of a percent is gone; the roundings, 0.29 ULP a step,
 * have left 92 ULP on an element, and 6 on the mean of all. */
Test(drift, tiny_decoupled_decay)
{
    enum { DECAY_STEPS = 100000 };
    static arrays a;
    static oracle_element want[MOST];
    splitmix random = {1};
    a.group = (fopt_group){.size = sizeof a.group, .flags = FOPT_DECOUPLED_DECAY, .lr = 1e-6, .weight_decay = 0.01};
    a.count = MOST;
    now_running("sgd decoupled, lr 1e-6, weight_decay 0.01");
    for (size_t i = 0; i < MOST; i++) {
        a.param[i] = draw_between(&random, 1.2, 1.9);
        want[i] = (oracle_element){.param = (double)a.param[i]};
    }
    for (int64_t step = 1; step <= DECAY_STEPS; step++) {
        for (size_t i = 0; i < MOST; i++)
            a.grad[i] = draw_between(&random, -1, 1) + draw_between(&random, -1, 1); /* smooth: no bias by rounding */
        const arrays before = a;
        update(&a, step);
        for (size_t i = 0; i < MOST; i++) {
            const double g = (double)a.grad[i];
            want[i] = oracle_step(&a.group, step, want[i], g).after;
            if (step > 1000)
                continue;
            const oracle_element one = {.param = (double)before.param[i]};
            const double ulps = ((double)a.param[i] - oracle_step(&a.group, step, one, g).after.param) * 0x1p23;
            cr_assert(fabs(ulps) <= 0.5001, "%s step=%d element=%zu is off by %.3g ulp", what_runs(), (int)step, i,
                      ulps);
        }
    }
    double mean = 0;
    for (size_t i = 0; i < MOST; i++)
        mean += ((double)a.param[i] - want[i].param) * 0x1p23 / MOST;
    cr_log_info("tiny decay: off by %.3g ulp on average", mean);
    cr_expect(fabs(mean) <= 30, "%s: off by %.3g ulp on average", what_runs(), mean);
}
