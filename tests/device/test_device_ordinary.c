/*
 * Ordinary tiles (kernels/arithmetic.h), which a warp takes a short way: to the bit as the CPU, where all numbers are
 * ordinary, and where one in a tile, or a coefficient, is just so or just not.
 */
#include "../reference/quantized.h"
#include "../reference/splitmix.h"
#include "twins.h"

#include <criterion/criterion.h>
#include <float.h>
#include <math.h>
#include <string.h>

static const struct formats {
    fopt_format params, state; /* params: gradients too */
} triples[] = {
    {FOPT_F32, FOPT_F32}, {FOPT_BF16, FOPT_F32}, {FOPT_BF16, FOPT_BF16}, {FOPT_F32, FOPT_Q8}, {FOPT_BF16, FOPT_Q8_64}};

/* Rules by number, with usual options. */
enum { RULES = 6 };
static fopt_group group_of(size_t rule, fopt_format state)
{
    fopt_group group;
    const fopt_rule rules[RULES] = {FOPT_ADAMW, FOPT_ADAM, FOPT_RMSPROP, FOPT_RMSPROP, FOPT_SGD, FOPT_SGD};
    expect_ok(fopt_group_init(&group, sizeof group, rules[rule]));
    if (rule == 1)
        group.flags |= FOPT_AMSGRAD;
    if (rule == 3 || rule == 4)
        group.momentum = 0.9;
    for (size_t kind = 0; kind < FOPT_STATE_KINDS; kind++)
        group.state_format[kind] = state;
    return group;
}

/* ---- a number in each tile ----------------------------------------------------------------------------------- */

/* Draws a number near a bound, or at an end of the range. */
static double near_a_bound(splitmix *random)
{
    const double ends[] = {0, 0x1p-149, FLT_MIN, FLT_MAX, INFINITY, NAN};
    const int bounds[] = {-100, -60, -50, 30, 40, 63, 126};
    const uint64_t bits = splitmix_next(random);
    const double sign = bits >> 63 ? -1 : 1;
    if (bits % 4 == 0)
        return sign * ends[(bits >> 8) % LENGTH(ends)];
    const double x =
        ldexp(1 + (double)(bits >> 40 & 3) / 4, bounds[(bits >> 8) % LENGTH(bounds)] + (int)(bits >> 16 & 3) - 2);
    return sign * x;
}

static bool has_sign(fopt_state_kind kind)
{
    return kind == FOPT_FIRST_MOMENT || kind == FOPT_MOMENTUM_BUFFER;
}

static void fill_moments(fopt_array moments, fopt_state_kind kind, splitmix *random)
{
    for (size_t i = 0; i < moments.count; i++)
        if (moments.absmax)
            ((unsigned char *)moments.data)[i] = (unsigned char)(splitmix_next(random) | !has_sign(kind));
        else
            set_value(moments.format, moments.data, i,
                      has_sign(kind) ? splitmix_symmetric(random)
                                     : 0x1p-24 + (double)fabsf(splitmix_symmetric(random)));
    for (size_t block = 0; moments.absmax && block < quantized_blocks(moments.format, moments.count); block++)
        moments.absmax[block] = 0x1p-3f + fabsf(splitmix_symmetric(random));
}

/* Puts such a number into a tile: among its moments, beside a gradient of 0, or its gradients or parameters. */
static void plant(twins *t, size_t tile, splitmix *random)
{
    const fopt_tensor *h = &t->host[0];
    const size_t place = tile * TILE + splitmix_next(random) % TILE;
    const fopt_state_kind kind = (fopt_state_kind)(splitmix_next(random) % 6);
    const double x = near_a_bound(random);
    const fopt_array *moments = &t->host_states[kind];
    if (!moments->data) {
        set_value(h->param_format, kind == 5 ? h->param : h->grad, place, x);
        return;
    }
    set_value(h->grad_format, h->grad, place, 0);
    if (moments->absmax) /* finite, or NaN would come of it, of some bits or others */
        moments->absmax[place / quantized_block(moments->format)] = (float)fabs(isfinite(x) ? x : 0x1p63);
    else
        set_value(moments->format, moments->data, place, has_sign(kind) ? x : fabs(x));
}

/* Compares an update of so many tiles; `changed` has coefficients that may be extraordinary. */
static void compare(size_t rule, struct formats f, const fopt_group *changed, size_t tiles, uint64_t seed)
{
    now_running("rule %zu, formats %d/%d, seed %llu", rule, f.params, f.state, (unsigned long long)seed);
    const shape one = {.param = f.params, .grad = f.params, .count = tiles * TILE};
    twins *t = twins_new(changed, 1, &one, 1, 1, seed);
    splitmix random = {seed};
    fill_random(f.params, t->host[0].param, one.count, seed, 0);
    fill_random(f.params, t->host[0].grad, one.count, seed + 1, 0);
    for (fopt_state_kind kind = 0; kind < FOPT_STATE_KINDS; kind++)
        if (t->host_states[kind].data)
            fill_moments(t->host_states[kind], kind, &random);
    for (size_t i = 3; i < one.count; i += 16)
        set_value(f.params, t->host[0].param, i, -0.0); /* shows the sign of an update of zero */
    for (size_t tile = 1; tile < tiles; tile++)
        plant(t, tile, &random);
    mirror_upload(t->params);
    mirror_upload(t->grads);
    mirror_upload(t->states);
    for (int64_t step = 1; step <= 2; step++)
        twins_update(t, 0, step);
    twins_compare(t);
    twins_free(t);
}

Test(device_ordinary, a_number_near_a_bound)
{
    need_devices(1);
    for (size_t rule = 0; rule < RULES; rule++)
        for (size_t f = 0; f < LENGTH(triples); f++) {
            const fopt_group group = group_of(rule, triples[f].state);
            compare(rule, triples[f], &group, 100, 100 * rule + f);
        }
}

Test(device_ordinary, a_coefficient_near_a_bound)
{
    need_devices(1);
    for (size_t rule = 0; rule < RULES; rule++)
        for (size_t change = 0; change < 9; change++) {
            const struct formats f = triples[change % LENGTH(triples)];
            fopt_group group = group_of(rule, f.state);
            const double eps[] = {0x1p-61, 0x1p-60, 0x1p20, 0x1p21};
            if (change < LENGTH(eps))
                group.eps = rule < 4 ? eps[change] : 0;
            else if (change < 7)
                group.lr = change == 4 ? 0 : ldexp(1, change == 5 ? -31 : -29);
            else if (change == 7)
                group.flags |= FOPT_MAXIMIZE;
            else
                group.beta2 = rule < 2 ? 1 - 0x1p-21 : group.beta2;
            compare(rule, f, &group, 12, 1000 + 10 * rule + change);
        }
}

/* ---- many tensors -------------------------------------------------------------------------------------------- */

/* Tensors of many sizes and formats, so many that a warp takes tiles of several: there are 64 on the emulator. */
Test(device_ordinary, one_tensor_after_another)
{
    need_devices(1);
    enum { TENSORS = 120 };
    fopt_group groups[LENGTH(triples)];
    shape shapes[TENSORS];
    for (size_t g = 0; g < LENGTH(groups); g++)
        groups[g] = group_of(0, triples[g].state);
    for (size_t i = 0; i < TENSORS; i++) {
        const fopt_format format = triples[i % LENGTH(triples)].params;
        const size_t tiles = i * i % 7 + i % 7, rest = i % 3 * 50;
        shapes[i] =
            (shape){.param = format, .grad = format, .count = tiles * TILE + rest, .group = i % LENGTH(triples)};
    }
    now_running("many tensors");
    twins *t = twins_new(groups, LENGTH(groups), shapes, TENSORS, 1, 1);
    for (size_t i = 0; i < TENSORS; i++) {
        fill_random(shapes[i].param, t->host[i].param, shapes[i].count, i, 0);
        fill_random(shapes[i].grad, t->host[i].grad, shapes[i].count, i + TENSORS, i % 8 == 0 ? 300 : 0);
    }
    mirror_upload(t->params);
    mirror_upload(t->grads);
    twins_create(t, 11);
    twins_step(t);
    twins_step(t);
    twins_compare(t);
    twins_free(t);
}
