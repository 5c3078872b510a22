/*
 * What every quantized moment owes, whatever its format and whichever the rule: the step from the stored moments is the
 * oracle's; each moment is stored as one of the two values around it; zeros stay zeros, and a positive second moment
 * positive; no magnitude comes back larger than the tile's absmax; what is not finite keeps its element, and does not
 * spoil its tile. And the failure that zero second moments cause.
 */
#include "../reference/cases.h"
#include "../reference/oracle.h"
#include "../reference/quantized.h"
#include "buffers.h"

#include <criterion/criterion.h>
#include <float.h>
#include <math.h>
#include <string.h>

#define COUNT  (3 * TILE + 77)
#define BLOCKS (COUNT / 64 + 1) /* at most */

/* A tensor with its moments, in f32 besides those. */
typedef struct tensor {
    float param[COUNT], grad[COUNT];
    unsigned char state[FOPT_STATE_KINDS][COUNT + 3 + BLOCKS * 4];
} tensor;

/* A case with all its moments in a quantized format. The first is {0}. */
typedef struct subject {
    size_t next;
    uint64_t seed;
    fopt_format format;
    fopt_group group;
    char name[CASE_NAME_SIZE];
} subject;

/* Goes on to the next that keeps moments which may be quantized. Returns whether there is one. */
static bool next_subject(subject *s)
{
    const size_t formats = case_states_count() - case_plain_states_count();
    while (s->next < formats * case_count()) {
        s->seed = s->next % case_count();
        s->format = case_state_at(case_plain_states_count() + s->next / case_count());
        s->group = case_group(s->next++ % case_count());
        case_set_state(&s->group, s->format);
        case_name(&s->group, s->name);
        for (fopt_state_kind kind = 0; kind < FOPT_STATE_KINDS; kind++)
            if (oracle_keeps(&s->group, kind) && s->group.state_format[kind] == s->format)
                return true;
    }
    return false;
}

static void runs(const subject *s, fopt_isa isa)
{
    now_running("%s %s %s seed=%llu", s->name, fopt_format_name(s->format), fopt_isa_name(isa),
                (unsigned long long)s->seed);
}

static fopt_array moments(const subject *s, tensor *t, fopt_state_kind kind)
{
    return moment_array(s->format, t->state[kind], COUNT);
}

/* A new tensor: random parameters, and gradients too. */
static void draw(const subject *s, tensor *t)
{
    memset(t, 0, sizeof *t);
    fill_random(FOPT_F32, t->param, COUNT, s->seed, 0);
    fill_random(FOPT_F32, t->grad, COUNT, s->seed + 1, 0);
}

static void update(const subject *s, fopt_isa isa, tensor *t, int64_t step)
{
    const fopt_config config = {.size = sizeof config, .isa = isa, .threads = 1};
    const fopt_tensor described = {.size = sizeof described, .param = t->param, .grad = t->grad, .count = COUNT};
    update_tensor(&config, &s->group, &described, t->state, sizeof *t->state, step);
}

/* ---- steps against the oracle -------------------------------------------------------------------------------- */

static oracle_element element_of(const subject *s, tensor *t, size_t i)
{
    oracle_element e = {.param = (double)t->param[i]};
    for (fopt_state_kind kind = 0; kind < FOPT_STATE_KINDS; kind++)
        if (oracle_keeps(&s->group, kind)) {
            const fopt_array m = moments(s, t, kind);
            e.state[kind] = quantized_get(&m, kind, i);
        }
    return e;
}

/* Each block's absmax must be that of its largest magnitude. */
static void expect_absmax(const subject *s, fopt_state_kind kind, const oracle_result *want, const fopt_array *got)
{
    const size_t size = quantized_block(s->format);
    for (size_t block = 0; block < quantized_blocks(s->format, COUNT); block++) {
        double most = 0, magnitude = 0;
        for (size_t i = block * size; i < COUNT && i < (block + 1) * size; i++) {
            most = fmax(most, fabs(want[i].after.state[kind]));
            magnitude = fmax(magnitude, want[i].magnitude.state[kind]);
        }
        const double absmax = quantized_absmax(s->format, moment_has_sign(kind), most);
        const double ulps = oracle_ulps((double)got->absmax[block], absmax, magnitude, (double)FLT_MAX);
        cr_assert_leq(ulps, ORACLE_STATE_ULPS, "%s %s block=%zu: absmax is %a, want %a", what_runs(),
                      fopt_state_kind_name(s->group.rule, kind), block, (double)got->absmax[block], absmax);
    }
}

/* The moment is a value around what the oracle says, up to the error that f32 moments may have; and so is the
 * parameter, which does not see the new moments quantized. */
static void expect_step(const subject *s, const oracle_result *want, tensor *got)
{
    for (size_t i = 0; i < COUNT; i++)
        cr_assert_leq(oracle_ulps((double)got->param[i], want[i].after.param, want[i].magnitude.param, (double)FLT_MAX),
                      ORACLE_PARAM_ULPS, "%s element=%zu: param is %a, want %a", what_runs(), i, (double)got->param[i],
                      want[i].after.param);
    for (fopt_state_kind kind = 0; kind < FOPT_STATE_KINDS; kind++) {
        const char *name = fopt_state_kind_name(s->group.rule, kind);
        if (!oracle_keeps(&s->group, kind))
            continue;
        const fopt_array m = moments(s, got, kind);
        expect_absmax(s, kind, want, &m);
        for (size_t i = 0; i < COUNT; i++) {
            const double absmax = (double)m.absmax[i / quantized_block(s->format)], x = want[i].after.state[kind];
            const double value = quantized_get(&m, kind, i), error = fabs(value - x);
            const double ulp = fmax(want[i].magnitude.state[kind], absmax) * (double)FLT_EPSILON;
            cr_assert_leq(error, quantized_distance(s->format, kind, x, absmax) + 4 * ulp,
                          "%s element=%zu: %s is %a in a block of %a, want %a", what_runs(), i, name, value, absmax, x);
            cr_assert(moment_has_sign(kind) || x < (double)FLT_MIN || value > 0, "%s element=%zu: %s of %a became zero",
                      what_runs(), i, name, x);
        }
    }
}

/* Gradients of sizes from 2^-12 to 2^4, a few times larger in some tensors' tiles. */
Test(quantized, steps_follow_the_oracle)
{
    static tensor t, before;
    static oracle_result want[COUNT];
    for (subject s = {0}; next_subject(&s);)
        for (size_t n = 0; n < isa_count(); n++) {
            runs(&s, isa_at(n));
            draw(&s, &t);
            for (int64_t step = 1; step <= 4; step++) {
                fill_random(FOPT_F32, t.grad, COUNT, s.seed * 10 + (size_t)step, 0);
                before = t;
                for (size_t k = 0; k < COUNT; k++)
                    want[k] = oracle_step(&s.group, step, element_of(&s, &before, k), (double)before.grad[k]);
                update(&s, isa_at(n), &t, step);
                expect_step(&s, want, &t);
            }
        }
}

/* ---- what a moment is stored as ------------------------------------------------------------------------------ */

/* SGD with momentum, whose buffer is the gradient at its first step. */
static subject momentum(fopt_format format)
{
    subject s = {.format = format};
    expect_ok(fopt_group_init(&s.group, sizeof s.group, FOPT_SGD));
    s.group.momentum = 0.9;
    case_set_state(&s.group, format);
    return s;
}

/* A buffer that is told to stay what it is, of which the nearest code is the old one, so that random bits decide: the
 * mean of eight hundred stays the number, within five standard deviations. The first element of each block is its
 * largest. */
Test(quantized, buffers_stay_in_the_mean)
{
    static tensor t;
    for (size_t f = case_plain_states_count(); f < case_states_count(); f++) {
        subject s = momentum(case_state_at(f));
        s.group.momentum = 0.5;
        for (unsigned number = 0; number < 60; number++) {
            const float y = (float)pow(10, -(double)number / 10) * (number % 2 ? 1.0f : -1.0f);
            double sum = 0, squares = 0;
            now_running("%s %g", fopt_format_name(s.format), (double)y);
            memset(&t, 0, sizeof t);
            for (int64_t step = 1; step <= 200; step++) {
                for (size_t i = 0; i < COUNT; i++)
                    t.grad[i] = (i % 64 == 0 ? 1.0f : y) * (step == 1 ? 1.0f : 0.5f);
                update(&s, FOPT_ISA_AUTO, &t, step);
            }
            const fopt_array m = moments(&s, &t, FOPT_MOMENTUM_BUFFER);
            size_t count = 0;
            for (size_t i = 0; i < COUNT; i++)
                if (i % 64 != 0) {
                    const double error = quantized_get(&m, FOPT_MOMENTUM_BUFFER, i) - (double)y;
                    sum += error, squares += error * error, count++;
                }
            const double deviation = sqrt(squares);
            const double blur = 1e-5 * fabs((double)y) * (double)count;
            cr_assert_leq(fabs(sum), 5 * deviation + blur, "%s: wrong by %g in the mean, %g squared", what_runs(),
                          sum / (double)count, deviation / sqrt((double)count));
        }
    }
}

/* Zeros everywhere leave a state of exact zeros, and the parameters as they were. */
Test(quantized, tiles_of_zeros)
{
    static tensor t, before;
    for (subject s = {0}; next_subject(&s);) {
        if (s.group.weight_decay > 0)
            continue;
        runs(&s, FOPT_ISA_AUTO);
        draw(&s, &t);
        memset(t.grad, 0, sizeof t.grad);
        before = t;
        for (int64_t step = 1; step <= 3; step++)
            update(&s, FOPT_ISA_AUTO, &t, step);
        cr_expect_arr_eq(t.param, before.param, sizeof t.param, "%s", what_runs());
        for (fopt_state_kind kind = 0; kind < FOPT_STATE_KINDS; kind++) {
            const fopt_array m = moments(&s, &t, kind);
            for (size_t i = 0; i < COUNT && oracle_keeps(&s.group, kind); i++)
                cr_assert_eq(quantized_get(&m, kind, i), 0, "%s", what_runs());
        }
    }
}

/* Squares of tiny gradients beside that of a huge one, 10^54 times as large, stay positive: the step would divide by
 * eps. Zeros there stay zeros. */
Test(quantized, what_is_beside_a_huge_moment)
{
    static tensor t;
    for (subject s = {0}; next_subject(&s);)
        for (size_t n = 0; n < isa_count(); n++) {
            runs(&s, isa_at(n));
            draw(&s, &t);
            memset(t.param, 0, sizeof t.param); /* which might decay into the gradient */
            for (size_t i = 0; i < COUNT; i++)
                t.grad[i] = i % TILE == 0 ? 1e15f : i % 3 == 0 ? 0.0f : i % 2 == 0 ? 1e-12f : -1e-15f;
            update(&s, isa_at(n), &t, 1);
            for (fopt_state_kind kind = 0; kind < FOPT_STATE_KINDS; kind++) {
                const fopt_array m = moments(&s, &t, kind);
                for (size_t i = 0; i < COUNT && oracle_keeps(&s.group, kind); i++) {
                    const double got = quantized_get(&m, kind, i);
                    const bool good = t.grad[i] == 0 ? got == 0 : moment_has_sign(kind) || got > 0;
                    cr_assert(good, "%s element=%zu: %s is %a, after a gradient of %a", what_runs(), i,
                              fopt_state_kind_name(s.group.rule, kind), got, (double)t.grad[i]);
                }
            }
        }
}

/* Where all gradients are NaN, all moments stay, so that the new absmax is the largest that came back. */
Test(quantized, no_magnitude_comes_back_larger_than_absmax)
{
    static tensor t, before;
    for (subject s = {0}; next_subject(&s);)
        for (size_t n = 0; n < isa_count(); n++) {
            runs(&s, isa_at(n));
            draw(&s, &t);
            update(&s, isa_at(n), &t, 1);
            before = t;
            for (size_t i = 0; i < COUNT; i++)
                t.grad[i] = NAN;
            update(&s, isa_at(n), &t, 2);
            for (fopt_state_kind kind = 0; kind < FOPT_STATE_KINDS; kind++) {
                if (!oracle_keeps(&s.group, kind))
                    continue;
                const fopt_array m = moments(&s, &t, kind), old = moments(&s, &before, kind);
                const size_t size = quantized_block(s.format);
                for (size_t block = 0; block < quantized_blocks(s.format, COUNT); block++) {
                    double most = 0;
                    for (size_t i = block * size; i < COUNT && i < (block + 1) * size; i++)
                        most = fmax(most, fabs(quantized_get(&old, kind, i)));
                    const double got = (double)m.absmax[block], was = (double)old.absmax[block];
                    const double want = quantized_absmax(s.format, moment_has_sign(kind), most);
                    cr_assert(most <= was && fabs(got - want) <= 2 * want * (double)FLT_EPSILON,
                              "%s block=%zu: the largest %s comes back as %a of %a, and then has an absmax of %a",
                              what_runs(), block, fopt_state_kind_name(s.group.rule, kind), most, was, got);
                }
            }
        }
}

/* A gradient that stays the same, of either sign, beside zeros: the buffer ends where it would exactly, to a
 * thousandth. */
static void stay_the_same(fopt_format format, double mu, float gradient)
{
    static tensor t;
    subject s = momentum(format);
    s.group.momentum = mu;
    s.group.lr = 1;
    memset(&t, 0, sizeof t);
    t.grad[5] = gradient;
    double sum = 0;
    const int64_t steps = 4000;
    for (int64_t step = 1; step <= 2 * steps; step++) {
        t.param[5] = 0;
        update(&s, FOPT_ISA_AUTO, &t, step);
        sum += step > steps ? -(double)t.param[5] / (double)gradient : 0;
    }
    const double share = sum / (double)steps * (1 - mu);
    cr_expect(fabs(share - 1) < 1e-3, "%s momentum %g gradient %g: steps of %g of the exact one",
              fopt_format_name(format), mu, (double)gradient, share);
}

Test(quantized, a_steady_gradient_of_either_sign)
{
    for (size_t i = case_plain_states_count(); i < case_states_count(); i++)
        for (int sign = -1; sign <= 1; sign += 2) {
            stay_the_same(case_state_at(i), 0.9, (float)sign);
            stay_the_same(case_state_at(i), 0.99, (float)sign);
        }
}

/* One gradient, and then none, beside a neighbour whose go on: Adam's exact way is 6.0 * lr. What stayed a first moment
 * for ever would move its parameter for ever. */
static void decay_beside_another(fopt_format format)
{
    const fopt_config config = {.size = sizeof config, .threads = 1};
    fopt_group group;
    expect_ok(fopt_group_init(&group, sizeof group, FOPT_ADAM));
    case_set_state(&group, format);
    group.lr = 1;
    float param[2] = {0}, grad[2] = {1, 0.1f}, before = 0;
    double way = 0;
    unsigned char state[FOPT_STATE_KINDS][16] = {{0}};
    const fopt_tensor described = {.size = sizeof described, .param = param, .grad = grad, .count = 2};
    for (int64_t step = 1; step <= 20000; step++) {
        update_tensor(&config, &group, &described, state, sizeof *state, step);
        way += fabs((double)param[1] - (double)before);
        before = param[1] = 0; /* a parameter that has gone far would round its steps */
        grad[1] = 0;
    }
    cr_expect(way > 2 && way < 12, "%s: a way of %g * lr", fopt_format_name(format), way);
}

Test(quantized, what_should_decay_does)
{
    for (size_t i = case_plain_states_count(); i < case_states_count(); i++)
        decay_beside_another(case_state_at(i));
}

/* ---- what does not spoil a tile ------------------------------------------------------------------------------ */

/* Whether an element's moment is what it was, as near as the tile's new absmax allows. */
static void expect_kept(const subject *s, tensor *before, tensor *after, size_t i, fopt_state_kind kind)
{
    const char *name = fopt_state_kind_name(s->group.rule, kind);
    const fopt_array m = moments(s, after, kind), old = moments(s, before, kind);
    const double x = quantized_get(&old, kind, i), absmax = (double)m.absmax[i / quantized_block(s->format)];
    cr_assert(isfinite(absmax), "%s: the absmax of %s is %a", what_runs(), name, absmax);
    cr_assert_leq(fabs(quantized_get(&m, kind, i) - x),
                  quantized_distance(s->format, kind, x, absmax) + absmax * (double)FLT_EPSILON, "%s element=%zu: %s",
                  what_runs(), i, name);
}

/* Elements whose gradient is not finite stay as they were: parameter and moments. All others are as if those had
 * another gradient. */
Test(quantized, elements_that_are_not_finite_stay)
{
    static tensor t, clean, before;
    const float bad[] = {NAN, INFINITY, -INFINITY, NAN};
    for (subject s = {0}; next_subject(&s);) {
        draw(&s, &t);
        update(&s, FOPT_ISA_AUTO, &t, 1);
        clean = t;
        for (size_t i = 0; i < LENGTH(bad); i++)
            t.grad[i * 250 + 3] = bad[i];
        before = t;
        for (size_t n = 0; n < isa_count(); n++) {
            runs(&s, isa_at(n));
            t = before;
            update(&s, isa_at(n), &t, 2);
            for (size_t i = 3; i < LENGTH(bad) * 250; i += 250) {
                cr_assert_eq(t.param[i], before.param[i], "%s element=%zu: param has changed", what_runs(), i);
                for (fopt_state_kind kind = 0; kind < FOPT_STATE_KINDS; kind++)
                    if (oracle_keeps(&s.group, kind))
                        expect_kept(&s, &before, &t, i, kind);
            }
        }
        update(&s, FOPT_ISA_AUTO, &clean, 2);
        for (size_t i = 0; i < COUNT; i++)
            cr_assert(i % 250 == 3 || t.param[i] == clean.param[i], "%s element=%zu: another element's gradient shows",
                      what_runs(), i);
    }
}

/* An infinite parameter that decays into its gradient must not become the scale of 255 others. */
Test(quantized, infinite_parameters_stay)
{
    static tensor t;
    for (subject s = {0}; next_subject(&s);) {
        if (!oracle_keeps(&s.group, FOPT_SECOND_MOMENT))
            continue;
        runs(&s, FOPT_ISA_AUTO);
        draw(&s, &t);
        const bool decays = s.group.weight_decay > 0 && !(s.group.flags & FOPT_DECOUPLED_DECAY);
        t.param[300] = decays ? INFINITY : t.param[300];
        for (int64_t step = 1; step <= 3; step++)
            update(&s, FOPT_ISA_AUTO, &t, step);
        cr_expect_eq(isinf(t.param[300]), decays, "%s", what_runs());
        const fopt_array m = moments(&s, &t, FOPT_SECOND_MOMENT);
        for (size_t block = 0; block < quantized_blocks(s.format, COUNT); block++)
            cr_expect_lt(m.absmax[block], 1e6f, "%s: absmax of block %zu is %a", what_runs(), block,
                         (double)m.absmax[block]);
    }
}

/* Adam with both moments in a format. */
static subject adam(fopt_format format, fopt_rule rule)
{
    subject s = {.format = format};
    expect_ok(fopt_group_init(&s.group, sizeof s.group, rule));
    case_set_state(&s.group, format);
    return s;
}

/* Steps without end whose gradients are NaN: the moments shrink until nothing is left of them, and never to a NaN. */
static void let_absmax_vanish(fopt_format format)
{
    static tensor t;
    const subject s = adam(format, FOPT_ADAM);
    memset(&t, 0, sizeof t);
    const fopt_array m = moments(&s, &t, FOPT_FIRST_MOMENT), v = moments(&s, &t, FOPT_SECOND_MOMENT);
    for (size_t block = 0; block < quantized_blocks(format, COUNT); block++)
        m.absmax[block] = v.absmax[block] = 1e-38f; /* below FLT_MIN, and its reciprocal all but infinite */
    m.absmax[1] = v.absmax[1] = 1e-44f;
    memset(m.data, (int)quantized_nearest(format, true, 0.3), COUNT);
    memset(v.data, (int)quantized_nearest(format, false, 0.3), COUNT);
    for (size_t i = 0; i < COUNT; i++)
        t.grad[i] = NAN;
    for (int64_t step = 1; step <= 3; step++)
        update(&s, FOPT_ISA_AUTO, &t, step);
    for (size_t i = 0; i < COUNT; i++)
        cr_assert(t.param[i] == 0 && quantized_get(&m, FOPT_FIRST_MOMENT, i) == 0 &&
                      quantized_get(&v, FOPT_SECOND_MOMENT, i) < 1e-37,
                  "%s", fopt_format_name(format));
}

Test(quantized, absmax_may_vanish)
{
    for (size_t i = case_plain_states_count(); i < case_states_count(); i++)
        let_absmax_vanish(case_state_at(i));
}

static void let_a_buffer_overflow(fopt_format format)
{
    static tensor t;
    subject s = momentum(format);
    s.group.lr = 1e-30;
    memset(&t, 0, sizeof t);
    t.grad[5] = 8e37f; /* a second one is too much */
    t.grad[6] = 2e37f;
    update(&s, FOPT_ISA_AUTO, &t, 1);
    const float param = t.param[5];
    update(&s, FOPT_ISA_AUTO, &t, 2);
    const fopt_array m = moments(&s, &t, FOPT_MOMENTUM_BUFFER);
    cr_expect_eq(t.param[5], param, "%s", fopt_format_name(format));
    cr_expect(fabs(quantized_get(&m, FOPT_MOMENTUM_BUFFER, 5) - 8e37) < 8e35, "%s", fopt_format_name(format));
    cr_expect_lt(t.param[6], -0.9f * 2e7f * 1.9f * 0.9f, "%s", fopt_format_name(format));
}

Test(quantized, a_buffer_that_overflows_stays)
{
    for (size_t i = case_plain_states_count(); i < case_states_count(); i++)
        let_a_buffer_overflow(case_state_at(i));
}

/* ---- the failure that users of 8-bit Adam have met ------------------------------------------------------------ */

/* A coordinate without a gradient for long, in a tile with a neighbour that dominates it, so that its second moment is
 * below what the format resolves; then small gradients. Where the second moment may be rounded to zero beside a first
 * moment that is not, the step is lr * m / eps: a million times lr. */
static void be_quiet_beside_a_loud_one(fopt_format format)
{
    static tensor t;
    subject s = adam(format, FOPT_ADAMW);
    s.group.lr = 1e-3;
    s.group.weight_decay = 0;
    memset(&t, 0, sizeof t);
    double largest = 0;
    bool would_be_zero = false;
    splitmix random = {4};
    for (int64_t step = 1; step <= 3000; step++) {
        const float before = t.param[7];
        t.grad[0] = splitmix_next(&random) % 2 == 0 ? 10.0f : -10.0f;
        t.grad[7] = step > 2000 ? 1e-3f : 0.0f;
        update(&s, FOPT_ISA_AUTO, &t, step);
        largest = fmax(largest, fabs((double)t.param[7] - (double)before));
        const fopt_array m = moments(&s, &t, FOPT_FIRST_MOMENT), v = moments(&s, &t, FOPT_SECOND_MOMENT);
        const double first = quantized_get(&m, FOPT_FIRST_MOMENT, 7);
        /* The second moment is at most 1e-6 before it is stored: the least value but zero is more than twice that. */
        would_be_zero |= first > 0 && quantized_distance(format, false, 1e-6, (double)v.absmax[0]) > 1e-6;
        cr_assert(first == 0 || quantized_get(&v, FOPT_SECOND_MOMENT, 7) > 0, "%s", fopt_format_name(format));
    }
    cr_expect(would_be_zero, "%s: the case is not the one that it should be", fopt_format_name(format));
    cr_expect_lt(largest, 5 * s.group.lr, "%s: a step of %g", fopt_format_name(format), largest);
    cr_expect_lt(t.param[7], -0.01f, "%s: the coordinate must move all the same", fopt_format_name(format));
}

Test(quantized, a_quiet_coordinate_beside_a_loud_one)
{
    for (size_t i = case_plain_states_count(); i < case_states_count(); i++)
        be_quiet_beside_a_loud_one(case_state_at(i));
}
