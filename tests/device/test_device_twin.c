/*
 * The device equals the CPU to the bit: every case with every triple of formats, by fopt_step() and by fopt_update(),
 * over several steps with changing learning rates, adversarial data, and gradients that come and go.
 *
 * Not crossed with everything: each triple of formats has tensors of whole and partial tiles, aligned and not, in each
 * case, half of them by each route; the orders in which the emulator runs threads and streams take turns over the
 * cases.
 */
#include "../reference/cases.h"
#include "twins.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <fenv.h>
#include <stdio.h>
#include <string.h>

#define STEPS 4

Test(device_twin, which_device)
{
    need_devices(1);
    fopt_device_info info = {.size = sizeof info};
    struct cudaDeviceProp properties;
    expect_ok(fopt_device_query((fopt_device){FOPT_CUDA, 0}, &info));
    CUDA_OK(cudaGetDeviceProperties(&properties, 0));
    printf("# the device: %s, compute capability %d.%d\n", info.name, info.compute_major, info.compute_minor);
    cr_expect_str_eq(info.name, properties.name);
    cr_expect_eq(info.compute_major, properties.major);
    cr_expect_eq(info.compute_minor, properties.minor);
    cr_expect_eq(info.multiprocessors, properties.multiProcessorCount);
    cr_expect_eq(info.memory_bytes, properties.totalGlobalMem);
#ifdef EMULATED
    cr_expect_not_null(strstr(info.name, "emulated"));
#else
    cr_expect_null(strstr(info.name, "emulated"));
#endif
}

/* ---- every case ---------------------------------------------------------------------------------------------- */

static double lr_of(size_t step)
{
    const double lrs[] = {0.1, 0.03, 0.2, 0.001};
    return lrs[step % LENGTH(lrs)];
}

/* One with a partial tile, one of whole tiles, and two in which only the parameter or only the gradient is misaligned
 * to 16 bytes. */
static const struct {
    size_t count, param_shift, grad_shift;
} layouts[] = {{3 * TILE + 57, 0, 0}, {2 * TILE, 0, 0}, {2 * TILE + 3, 1, 0}, {TILE + 40, 0, 3}};

/* Room for formats of moments, with a group each, and for the tensors of all triples. */
#define STATES  ((size_t)8)
#define TENSORS (9 * STATES * LENGTH(layouts))

/* Makes tensors of all triples, in every second layout: the first of them alternates from one triple to the next, and
 * is the other one for another `half`. */
static size_t shape_all_formats(shape shapes[TENSORS], size_t half)
{
    size_t count = 0;
    cr_assert_leq(case_formats_count() * LENGTH(layouts), TENSORS);
    for (size_t f = 0; f < case_formats_count(); f++)
        for (size_t i = (f + half) % 2; i < LENGTH(layouts); i += 2) {
            const case_formats formats = case_formats_at(f);
            shapes[count++] = (shape){.param = formats.param,
                                      .grad = formats.grad,
                                      .count = layouts[i].count,
                                      .group = f * case_states_count() / case_formats_count(),
                                      .param_shift = layouts[i].param_shift,
                                      .grad_shift = layouts[i].grad_shift,
                                      .state_shift = i == 1 && f % 4 == 1};
        }
    return count;
}

/* Returns how many: one for each format of moments. */
static size_t fill_groups(fopt_group groups[STATES], size_t index, const char *route)
{
    char name[CASE_NAME_SIZE];
    cr_assert_leq(case_states_count(), STATES);
    for (size_t g = 0; g < case_states_count(); g++) {
        groups[g] = case_group(index);
        case_set_state(&groups[g], case_state_at(g));
    }
    case_name(&groups[0], name);
    now_running("%s %s %s", name, route, choose_mode(index));
    return case_states_count();
}

static void compare_optimizers(size_t index)
{
    fopt_group groups[STATES];
    shape shapes[TENSORS];
    const size_t group_count = fill_groups(groups, index, "step"), count = shape_all_formats(shapes, index);
    twins *t = twins_new(groups, group_count, shapes, count, STEPS, index + 1);
    twins_create(t, 5);
    for (size_t step = 0; step < STEPS; step++) {
        if (step > 0)
            twins_set_grads(t, step, step % 2 != 0 ? 3 : 0);
        for (size_t g = 0; g < group_count; g++)
            twins_set_lr(t, g, lr_of(step + g));
        twins_step(t);
    }
    twins_compare(t);
    twins_free(t);
}

static void compare_updates(size_t index)
{
    fopt_group groups[STATES];
    shape shapes[TENSORS];
    const size_t group_count = fill_groups(groups, index, "update"), count = shape_all_formats(shapes, index + 1);
    twins *t = twins_new(groups, group_count, shapes, count, STEPS, index + 1001);
    for (size_t step = 0; step < STEPS; step++) {
        for (size_t g = 0; g < group_count; g++)
            groups[g].lr = lr_of(step);
        twins_update(t, step, (int64_t)step + 1);
    }
    twins_compare(t);
    twins_free(t);
}

static void free_indices(struct criterion_test_params *parameters)
{
    cr_free(parameters->params);
}

ParameterizedTestParameters(device_twin, every_case)
{
    size_t *indices = cr_malloc(case_count() * sizeof *indices);
    for (size_t i = 0; i < case_count(); i++)
        indices[i] = i;
    return cr_make_param_array(size_t, indices, case_count(), free_indices);
}

ParameterizedTest(const size_t *index, device_twin, every_case)
{
    need_devices(1);
    compare_optimizers(*index);
    compare_updates(*index);
}

/* ---- all of them in one optimizer ---------------------------------------------------------------------------- */

/* Changes weights: averages have another form for a beta up to one half (kernels/arithmetic.h). */
static void change_weights(fopt_group *group, double low, double high)
{
    double *const weights[] = {&group->beta1, &group->beta2, &group->alpha, &group->momentum};
    for (size_t i = 0; i < LENGTH(weights); i++)
        if (*weights[i] != 0)
            *weights[i] = i % 2 == 0 ? low : high;
}

/* Makes every case in a group of its own, each moment in a format of its own, and a tensor in each but every ninth: of
 * any size from none at all to a few tiles, in any formats. */
static twins *new_mixture(fopt_group *groups, uint64_t seed)
{
    shape shapes[200];
    size_t count = 0;
    cr_assert_leq(case_count(), LENGTH(shapes));
    for (size_t i = 0; i < case_count(); i++) {
        groups[i] = case_group(i);
        for (size_t kind = 0; kind < FOPT_STATE_KINDS; kind++)
            groups[i].state_format[kind] =
                case_state_at(((i >> kind) + kind) %
                              (groups[i].flags & FOPT_CENTERED ? case_plain_states_count() : case_states_count()));
        const case_formats formats = case_formats_at(i * 7 % case_formats_count());
        if (i % 9 != 4)
            shapes[count++] = (shape){.param = formats.param,
                                      .grad = formats.grad,
                                      .count = i % 11 == 0 ? 0 : i * 97 % (3 * TILE + 1),
                                      .group = i,
                                      .param_shift = i % 3 == 0,
                                      .grad_shift = i % 5 == 0,
                                      .global_id = ((uint64_t)i << 40) + 1};
    }
    return twins_new(groups, case_count(), shapes, count, STEPS, seed);
}

Test(device_twin, all_cases_in_one_optimizer)
{
    need_devices(1);
    static fopt_group groups[200];
    for (size_t mode = 0; mode < mode_count(); mode++) {
        now_running("all cases %s", choose_mode(mode));
        twins *t = new_mixture(groups, mode);
        twins_create(t, 4);
        for (size_t step = 0; step < STEPS; step++) {
            twins_step(t);
            twins_set_grads(t, (step + 1) % STEPS, 3);
        }
        twins_compare(t);
        twins_free(t);
    }
}

/* Moments in memory of the callers', which the optimizers leave behind. */
Test(device_twin, moments_of_the_callers)
{
    need_devices(1);
    static fopt_group groups[200];
    for (size_t mode = 0; mode < mode_count(); mode++) {
        now_running("moments of the callers' %s", choose_mode(mode));
        twins *t = new_mixture(groups, mode);
        for (size_t i = 0; i < t->tensor_count; i++) {
            t->host[i].states = &t->host_states[i * FOPT_STATE_KINDS];
            t->device[i].states = &t->device_states[i * FOPT_STATE_KINDS];
        }
        twins_create(t, 4);
        for (size_t step = 0; step < STEPS; step++) {
            twins_step(t);
            twins_set_grads(t, (step + 1) % STEPS, 3);
        }
        fopt_destroy(t->cpu);
        fopt_destroy(t->cuda);
        t->cpu = t->cuda = NULL;
        twins_compare(t);
        twins_free(t);
    }
}

/* Every hyperparameter and flag that may change does, between steps of number a thousand, a billion, and the last, at
 * which a count stops. */
Test(device_twin, changed_groups_and_step_counts)
{
    need_devices(1);
    static fopt_group groups[200];
    const int64_t steps[] = {1000, 1000000000, (int64_t)1 << 53};
    now_running("changed groups %s", choose_mode(1));
    twins *t = new_mixture(groups, 77);
    twins_create(t, 0);
    twins_step(t);
    for (size_t s = 0; s < LENGTH(steps); s++) {
        for (size_t i = 0; i < t->tensor_count; i++)
            twins_set_step(t, i, steps[s] - (int64_t)i % 2);
        for (size_t i = 0; i < t->group_count; i++) {
            fopt_group changed = groups[i];
            change_weights(&changed, s % 2 == 0 ? 0.3 : 0.95, s % 2 == 0 ? 0.5 : 0.9999);
            changed.lr = lr_of(s + i);
            changed.weight_decay = i % 2 == 0 ? 0.01 : 0;
            changed.flags ^= FOPT_MAXIMIZE;
            twins_set_group(t, i, &changed);
            memset(&changed, 0xa5, sizeof changed); /* the values at the call count */
        }
        twins_step(t);
        twins_compare(t);
    }
    twins_free(t);
}

/* What the host computes for the device depends on the caller's rounding no more than the device does. */
Test(device_twin, the_callers_rounding)
{
    need_devices(1);
    static fopt_group groups[200];
    now_running("rounding upward");
    twins *t = new_mixture(groups, 78);
    fesetround(FE_UPWARD);
    twins_update(t, 0, 1);
    twins_create(t, 0);
    twins_set_lr(t, 0, 0.3);
    twins_step(t);
    const int rounding = fegetround();
    fesetround(FE_TONEAREST);
    cr_expect_eq(rounding, FE_UPWARD);
    twins_compare(t);
    twins_free(t);
}

/* A seed and an identity of 64 bits reach the random bits whole: to the CPU's equal, and different from others'. */
Test(device_twin, seeds_and_identities)
{
    need_devices(1);
    const uint64_t values[] = {1, 1 + ((uint64_t)1 << 32), 1 + ((uint64_t)1 << 63)};
    fopt_group group;
    expect_ok(fopt_group_init(&group, sizeof group, FOPT_ADAM));
    group.state_format[FOPT_SECOND_MOMENT] = FOPT_BF16;
    shape shapes[LENGTH(values)];
    for (size_t i = 0; i < LENGTH(values); i++)
        shapes[i] = (shape){.count = 2 * TILE + 9, .global_id = values[i]};
    for (size_t i = 0; i < LENGTH(values); i++) {
        now_running("seed=%llu", (unsigned long long)values[i]);
        twins *t = twins_new(&group, 1, shapes, LENGTH(shapes), 1, i);
        const fopt_config cpu = {.size = sizeof cpu, .seed = values[i]};
        fopt_config cuda = cuda_config();
        cuda.seed = values[i];
        expect_ok(fopt_create(&cpu, &group, 1, t->host, LENGTH(shapes), &t->cpu));
        expect_ok(fopt_create(&cuda, &group, 1, t->device, LENGTH(shapes), &t->cuda));
        twins_step(t);
        twins_compare(t);
        twins_free(t);
    }
}
