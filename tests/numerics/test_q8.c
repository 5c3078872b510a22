/*
 * What fusedopt.h promises of FOPT_Q8, on every instruction set: the step from the stored moments, against the oracle;
 * how each moment is stored; what does not spoil a tile; the failure that zero second moments cause; and states of
 * bitsandbytes' layout.
 */
#include "../reference/cases.h"
#include "../reference/oracle.h"
#include "../reference/q8_maps.h"
#include "buffers.h"

#include <criterion/criterion.h>
#include <float.h>
#include <math.h>
#include <string.h>

#define COUNT (3 * TILE + 77)
#define TILES 4

/* A tensor with its moments, in f32 besides those. */
typedef struct tensor {
    float param[COUNT], grad[COUNT];
    unsigned char state[FOPT_STATE_KINDS][COUNT + 3 + TILES * 4];
} tensor;

/* Tells whether the case has moments that may be quantized; those it then keeps so. */
static bool is_quantized(size_t case_index, fopt_group *group)
{
    bool keeps = false;
    *group = case_group(case_index);
    case_set_state(group, FOPT_Q8);
    for (fopt_state_kind kind = 0; kind < FOPT_STATE_KINDS; kind++)
        keeps |= oracle_keeps(group, kind);
    return keeps && !(group->flags & FOPT_CENTERED);
}

static fopt_array moments(tensor *t, fopt_state_kind kind)
{
    return moment_array(FOPT_Q8, t->state[kind], COUNT);
}

static void update(const fopt_group *group, fopt_isa isa, tensor *t, int64_t step)
{
    const fopt_config config = {.size = sizeof config, .isa = isa, .threads = 1};
    const fopt_tensor described = {.size = sizeof described, .param = t->param, .grad = t->grad, .count = COUNT};
    update_tensor(&config, group, &described, t->state, sizeof *t->state, step);
}

/* ---- steps against the oracle -------------------------------------------------------------------------------- */

static oracle_element element_of(tensor *t, const fopt_group *group, size_t i)
{
    oracle_element e = {.param = (double)t->param[i]};
    for (fopt_state_kind kind = 0; kind < FOPT_STATE_KINDS; kind++)
        if (oracle_keeps(group, kind)) {
            const fopt_array m = moments(t, kind);
            e.state[kind] = q8_get(&m, kind, i);
        }
    return e;
}

/* Expects each tile of a moment to be scaled by the largest magnitude that the oracle says. */
static void expect_absmax(const fopt_group *group, fopt_state_kind kind, const oracle_result *want,
                          const fopt_array *got)
{
    for (size_t tile = 0; tile < TILES; tile++) {
        double most = 0, magnitude = 0;
        for (size_t i = tile * TILE; i < COUNT && i < (tile + 1) * TILE; i++) {
            most = fmax(most, fabs(want[i].after.state[kind]));
            magnitude = fmax(magnitude, want[i].magnitude.state[kind]);
        }
        const double ulps = oracle_ulps((double)got->absmax[tile], most, magnitude, (double)FLT_MAX);
        cr_assert_leq(ulps, ORACLE_STATE_ULPS, "%s %s tile=%zu: absmax is %a, want %a", what_runs(),
                      fopt_state_kind_name(group->rule, kind), tile, (double)got->absmax[tile], most);
    }
}

/* Expects each moment to be the value nearest to what the oracle says, up to the error that f32 moments may have; and
 * so the parameter, which does not see the new moments quantized. */
static void expect_step(const fopt_group *group, const oracle_result *want, tensor *got)
{
    for (size_t i = 0; i < COUNT; i++)
        cr_assert_leq(oracle_ulps((double)got->param[i], want[i].after.param, want[i].magnitude.param, (double)FLT_MAX),
                      ORACLE_PARAM_ULPS, "%s element=%zu: param is %a, want %a", what_runs(), i, (double)got->param[i],
                      want[i].after.param);
    for (fopt_state_kind kind = 0; kind < FOPT_STATE_KINDS; kind++) {
        if (!oracle_keeps(group, kind))
            continue;
        const fopt_array m = moments(got, kind);
        expect_absmax(group, kind, want, &m);
        for (size_t i = 0; i < COUNT; i++) {
            const double absmax = (double)m.absmax[i / TILE], x = want[i].after.state[kind];
            const double error = fabs(q8_get(&m, kind, i) - x);
            const double ulp = fmax(want[i].magnitude.state[kind], absmax) * (double)FLT_EPSILON;
            cr_assert_leq(error, q8_half_gap(q8_has_sign(kind), x, absmax) + 4 * ulp,
                          "%s element=%zu: %s is %a in a tile of %a, want %a", what_runs(), i,
                          fopt_state_kind_name(group->rule, kind), q8_get(&m, kind, i), absmax, x);
            cr_assert(q8_has_sign(kind) || x < (double)FLT_MIN || q8_get(&m, kind, i) > 0,
                      "%s element=%zu: %s of %a became zero", what_runs(), i, fopt_state_kind_name(group->rule, kind),
                      x);
        }
    }
}

/* Gradients of sizes from 2^-12 to 2^4, a few times larger in some tensors' tiles. */
Test(q8, steps_follow_the_oracle)
{
    static tensor t, before;
    static oracle_result want[COUNT];
    for (size_t index = 0; index < case_count(); index++)
        for (size_t i = 0; i < isa_count(); i++) {
            char name[CASE_NAME_SIZE];
            const fopt_isa isa = isa_at(i);
            fopt_group group;
            if (!is_quantized(index, &group))
                continue;
            case_name(&group, name);
            memset(&t, 0, sizeof t);
            fill_random(FOPT_F32, t.param, COUNT, index, 0);
            for (int64_t step = 1; step <= 4; step++) {
                now_running("%s %s step=%d seed=%zu", name, fopt_isa_name(isa), (int)step, index);
                fill_random(FOPT_F32, t.grad, COUNT, index * 10 + (size_t)step, 0);
                before = t;
                for (size_t k = 0; k < COUNT; k++)
                    want[k] = oracle_step(&group, step, element_of(&before, &group, k), (double)before.grad[k]);
                update(&group, isa, &t, step);
                expect_step(&group, want, &t);
            }
        }
}

/* ---- what a moment is stored as ------------------------------------------------------------------------------ */

/* At its first step the buffer of PyTorch's momentum is the gradient: every code is met, and every neighbourhood of
 * one. The first element of each tile is its absmax. */
Test(q8, the_buffer_is_the_nearest_value)
{
    static tensor t;
    fopt_group group;
    expect_ok(fopt_group_init(&group, sizeof group, FOPT_SGD));
    group.momentum = 0.9;
    group.state_format[FOPT_MOMENTUM_BUFFER] = FOPT_Q8;
    for (size_t n = 0; n < isa_count(); n++)
        for (unsigned code = 0; code < 255; code++) {
            now_running("%s code=%u", fopt_isa_name(isa_at(n)), code);
            memset(&t, 0, sizeof t);
            const double low = q8_value(true, code), high = q8_value(true, code + 1);
            for (size_t i = 0; i < COUNT; i++)
                t.grad[i] = i % TILE == 0 ? 1.0f : (float)(low + (high - low) * (double)i / COUNT);
            update(&group, isa_at(n), &t, 1);
            const fopt_array m = moments(&t, FOPT_MOMENTUM_BUFFER);
            for (size_t i = 0; i < COUNT; i++)
                cr_assert_eq(((unsigned char *)m.data)[i], q8_nearest(true, (double)t.grad[i]), "%s element=%zu",
                             what_runs(), i);
            for (size_t tile = 0; tile < TILES; tile++)
                cr_assert_eq(m.absmax[tile], 1.0f);
        }
}

/* Zeros everywhere leave a state of exact zeros, and the parameters as they were. */
Test(q8, tiles_of_zeros)
{
    static tensor t, before;
    for (size_t index = 0; index < case_count(); index++) {
        fopt_group group;
        if (!is_quantized(index, &group) || group.weight_decay > 0)
            continue;
        now_running("case %zu", index);
        memset(&t, 0, sizeof t);
        fill_random(FOPT_F32, t.param, COUNT, 1, 0);
        before = t;
        for (int64_t step = 1; step <= 3; step++)
            update(&group, FOPT_ISA_AUTO, &t, step);
        cr_expect_arr_eq(t.param, before.param, sizeof t.param, "%s", what_runs());
        for (fopt_state_kind kind = 0; kind < FOPT_STATE_KINDS; kind++) {
            const fopt_array m = moments(&t, kind);
            for (size_t i = 0; i < COUNT && oracle_keeps(&group, kind); i++)
                cr_assert_eq(q8_get(&m, kind, i), 0, "%s", what_runs());
        }
    }
}

/* ---- what does not spoil a tile ------------------------------------------------------------------------------ */

/* Elements whose gradient is not finite, and one whose momentum overflows, stay as they were: parameter and moments, as
 * near as the tile's new absmax allows. All others are as if those had a gradient of zero and the same moments. */
Test(q8, elements_that_are_not_finite_stay)
{
    static tensor t, clean;
    const float bad[] = {NAN, INFINITY, -INFINITY, NAN};
    for (size_t index = 0; index < case_count(); index++) {
        char name[CASE_NAME_SIZE];
        fopt_group group;
        if (!is_quantized(index, &group))
            continue;
        case_name(&group, name);
        memset(&t, 0, sizeof t);
        fill_random(FOPT_F32, t.param, COUNT, index, 0);
        fill_random(FOPT_F32, t.grad, COUNT, index + 1, 0);
        update(&group, FOPT_ISA_AUTO, &t, 1);
        clean = t;
        for (size_t i = 0; i < LENGTH(bad); i++)
            t.grad[i * 250 + 3] = bad[i];
        const tensor before = t;
        for (size_t n = 0; n < isa_count(); n++) {
            now_running("%s %s seed=%zu", name, fopt_isa_name(isa_at(n)), index);
            t = before;
            update(&group, isa_at(n), &t, 2);
            for (size_t i = 0; i < LENGTH(bad); i++) {
                const size_t at = i * 250 + 3;
                cr_assert_eq(t.param[at], before.param[at], "%s element=%zu: param has changed", what_runs(), at);
                for (fopt_state_kind kind = 0; kind < FOPT_STATE_KINDS; kind++) {
                    if (!oracle_keeps(&group, kind))
                        continue;
                    const fopt_array m = moments(&t, kind), old = moments((tensor *)&before, kind);
                    const double x = q8_get(&old, kind, at), absmax = (double)m.absmax[at / TILE];
                    cr_assert(isfinite(absmax), "%s: the absmax of %s is %a", what_runs(),
                              fopt_state_kind_name(group.rule, kind), absmax);
                    cr_assert_leq(fabs(q8_get(&m, kind, at) - x),
                                  q8_half_gap(q8_has_sign(kind), x, absmax) + absmax * (double)FLT_EPSILON,
                                  "%s element=%zu: %s", what_runs(), at, fopt_state_kind_name(group.rule, kind));
                }
            }
        }
        update(&group, FOPT_ISA_AUTO, &clean, 2);
        for (size_t i = 0; i < COUNT; i++)
            cr_assert(i % 250 == 3 || t.param[i] == clean.param[i], "%s element=%zu: another element's gradient shows",
                      what_runs(), i);
    }
}

/* An infinite parameter that decays into its gradient must not become the scale of 255 others. */
Test(q8, infinite_parameters_stay)
{
    static tensor t;
    for (size_t index = 0; index < case_count(); index++) {
        char name[CASE_NAME_SIZE];
        fopt_group group;
        if (!is_quantized(index, &group) || !oracle_keeps(&group, FOPT_SECOND_MOMENT))
            continue;
        case_name(&group, name);
        now_running("%s seed=%zu", name, index);
        memset(&t, 0, sizeof t);
        fill_random(FOPT_F32, t.param, COUNT, index, 0);
        fill_random(FOPT_F32, t.grad, COUNT, index + 1, 0);
        const bool decays = group.weight_decay > 0 && !(group.flags & FOPT_DECOUPLED_DECAY);
        t.param[300] = decays ? INFINITY : t.param[300];
        for (int64_t step = 1; step <= 3; step++)
            update(&group, FOPT_ISA_AUTO, &t, step);
        cr_expect_eq(isinf(t.param[300]), decays, "%s", what_runs());
        const fopt_array m = moments(&t, FOPT_SECOND_MOMENT);
        for (size_t tile = 0; tile < TILES; tile++)
            cr_expect_lt(m.absmax[tile], 1e6f, "%s: absmax of tile %zu is %a", what_runs(), tile,
                         (double)m.absmax[tile]);
    }
}

/* Steps without end whose gradients are NaN: the moments shrink until nothing is left of them, and never to a NaN. */
Test(q8, absmax_may_vanish)
{
    static tensor t;
    fopt_group group;
    expect_ok(fopt_group_init(&group, sizeof group, FOPT_ADAM));
    group.state_format[FOPT_FIRST_MOMENT] = group.state_format[FOPT_SECOND_MOMENT] = FOPT_Q8;
    memset(&t, 0, sizeof t);
    const fopt_array m = moments(&t, FOPT_FIRST_MOMENT), v = moments(&t, FOPT_SECOND_MOMENT);
    for (size_t tile = 0; tile < TILES; tile++)
        m.absmax[tile] = v.absmax[tile] = 1e-38f; /* below FLT_MIN, and its reciprocal all but infinite */
    m.absmax[1] = v.absmax[1] = 1e-44f;
    memset(m.data, 200, COUNT);
    memset(v.data, 200, COUNT);
    for (size_t i = 0; i < COUNT; i++)
        t.grad[i] = NAN;
    for (int64_t step = 1; step <= 3; step++)
        update(&group, FOPT_ISA_AUTO, &t, step);
    for (size_t i = 0; i < COUNT; i++)
        cr_assert(t.param[i] == 0 && q8_get(&m, FOPT_FIRST_MOMENT, i) == 0 &&
                  q8_get(&v, FOPT_SECOND_MOMENT, i) <= (double)FLT_MIN);
}

Test(q8, a_buffer_that_overflows_stays)
{
    static tensor t;
    fopt_group group;
    expect_ok(fopt_group_init(&group, sizeof group, FOPT_SGD));
    group.momentum = 0.9;
    group.lr = 1e-30;
    group.state_format[FOPT_MOMENTUM_BUFFER] = FOPT_Q8;
    memset(&t, 0, sizeof t);
    t.grad[5] = 3e38f;
    t.grad[6] = 1e38f;
    update(&group, FOPT_ISA_AUTO, &t, 1);
    const float param = t.param[5];
    update(&group, FOPT_ISA_AUTO, &t, 2);
    const fopt_array m = moments(&t, FOPT_MOMENTUM_BUFFER);
    cr_expect_eq(t.param[5], param);
    cr_expect(fabs(q8_get(&m, FOPT_MOMENTUM_BUFFER, 5) - 3e38) < 3e36);
    cr_expect_lt(t.param[6], -0.9e8f * 1.9f * 0.9f);
}

/* ---- the failure that users of 8-bit Adam have met ------------------------------------------------------------ */

/* A coordinate without a gradient for long, in a tile with a neighbour that dominates it, so that its second moment is
 * below what the map resolves; then small gradients. Where the second moment may be rounded to zero beside a first
 * moment that is not, the step is lr * m / eps: a million times lr. */
Test(q8, a_quiet_coordinate_beside_a_loud_one)
{
    static tensor t;
    fopt_group group;
    expect_ok(fopt_group_init(&group, sizeof group, FOPT_ADAMW));
    group.lr = 1e-3;
    group.weight_decay = 0;
    group.state_format[FOPT_FIRST_MOMENT] = group.state_format[FOPT_SECOND_MOMENT] = FOPT_Q8;
    memset(&t, 0, sizeof t);
    double largest = 0;
    bool would_be_zero = false;
    splitmix random = {4};
    for (int64_t step = 1; step <= 3000; step++) {
        const float before = t.param[7];
        t.grad[0] = splitmix_next(&random) % 2 == 0 ? 10.0f : -10.0f;
        t.grad[7] = step > 2000 ? 1e-3f : 0.0f;
        update(&group, FOPT_ISA_AUTO, &t, step);
        largest = fmax(largest, fabs((double)t.param[7] - (double)before));
        const fopt_array m = moments(&t, FOPT_FIRST_MOMENT), v = moments(&t, FOPT_SECOND_MOMENT);
        /* What the second moment is before it is stored is at most 1e-6. */
        would_be_zero |= q8_get(&m, FOPT_FIRST_MOMENT, 7) > 0 && q8_nearest(false, 1e-6 / (double)v.absmax[0]) == 0;
        cr_assert(q8_get(&m, FOPT_FIRST_MOMENT, 7) == 0 || q8_get(&v, FOPT_SECOND_MOMENT, 7) > 0);
    }
    cr_expect(would_be_zero, "the case is not the one that it should be");
    cr_expect_lt(largest, 5 * group.lr, "a step of %g", largest);
    cr_expect_lt(t.param[7], -0.01f, "the coordinate must move all the same");
}
