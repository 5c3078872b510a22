/*
 * What `fusedopt state` measures by: exact Adam against pencil and paper and against the oracle, errors of a known size
 * in updates, and what the gradients are said to be.
 */
#include "../reference/oracle.h"
#include "state/figures.h"
#include "state/gradients.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

#define COUNT ((size_t)4096)

/* Gradients 1 and 3: m = 0.9 * 0.1 + 0.1 * 3 = 0.39, v = 0.999 * 0.001 + 0.001 * 9 = 0.009999; corrected 0.39 / 0.19
 * and 0.009999 / 0.001999, of which the root is 2.2365106. */
Test(figures, exact_adam_by_hand)
{
    double m = 0, v = 0, update;
    const exact_adam adam = {.beta1 = 0.9, .beta2 = 0.999, .m = &m, .v = &v};
    exact_step(&adam, &(float){1}, 1);
    exact_updates(&adam, 1, 1, &update);
    cr_expect_float_eq(update, 1, 1e-12);
    exact_step(&adam, &(float){3}, 1);
    exact_updates(&adam, 2, 1, &update);
    cr_expect_float_eq(m, 0.39, 1e-12);
    cr_expect_float_eq(v, 0.009999, 1e-12);
    cr_expect_float_eq(update, 0.9177811, 1e-7);
}

Test(figures, exact_adam_is_the_oracle)
{
    static const double betas[][2] = {{0.9, 0.999}, {0, 0.9}, {0.99, 0.9999}};
    for (size_t k = 0; k < 3; k++) {
        fopt_group group;
        fopt_group_init(&group, sizeof group, FOPT_ADAM);
        group.lr = 1;
        group.beta1 = betas[k][0];
        group.beta2 = betas[k][1];
        double m = 0, v = 0, update;
        const exact_adam adam = {group.beta1, group.beta2, group.eps, &m, &v};
        oracle_element element = {0};
        splitmix random = {k + 1};
        for (int64_t t = 1; t <= 300; t++) {
            const float gradient = splitmix_symmetric(&random);
            exact_step(&adam, &gradient, 1);
            exact_updates(&adam, (size_t)t, 1, &update);
            element.param = 0;
            element = oracle_step(&group, t, element, (double)gradient).after;
            cr_assert_float_eq(update, -element.param, 1e-10, "betas %zu, step %d: %.17g for %.17g", k, (int)t, update,
                               -element.param);
        }
    }
}

/* Fills exact updates, and those that a factor and an error of either sign make of them. */
static figures plant(double factor, double error)
{
    static double exact[COUNT];
    static float moved[COUNT];
    splitmix random = {7};
    figures sums = {0};
    for (int round = 0; round < 20; round++) {
        for (size_t i = 0; i < COUNT; i++) {
            exact[i] = (double)splitmix_symmetric(&random);
            const bool up = splitmix_next(&random) >> 63;
            moved[i] = (float)-(exact[i] * (factor + (up ? error : -error)));
        }
        figures_add(&sums, moved, exact, COUNT);
    }
    return sums;
}

Test(figures, planted_errors_are_found)
{
    const figures none = plant(1, 0), longer = plant(1.05, 0), noisy = plant(1, 0.07), both = plant(0.8, 0.3);
    cr_expect_lt(figures_error(&none), 1e-7);
    cr_expect_float_eq(figures_worst(&none), 1, 1e-6);
    cr_expect_float_eq(figures_error(&longer), 0.05, 1e-6);
    cr_expect_float_eq(figures_gain(&longer), 1.05, 1e-6);
    cr_expect_float_eq(figures_worst(&longer), 1.05, 1e-6);
    cr_expect_float_eq(figures_error(&noisy), 0.07, 1e-6);
    cr_expect_float_eq(figures_gain(&noisy), 1, 1e-3);
    cr_expect_float_eq(figures_worst(&noisy), 1.07, 1e-3);
    cr_expect_float_eq(figures_error(&both), sqrt(0.2 * 0.2 + 0.3 * 0.3), 2e-3);
    cr_expect_float_eq(figures_gain(&both), 0.8, 3e-3);
    cr_expect_float_eq(figures_worst(&both), 1.1, 1e-3);
}

/* ---- gradients ----------------------------------------------------------------------------------------------- */

enum { STEPS = 1000, SPIKE = 50 };

/* What is seen of a kind's gradients, over all elements and steps. */
typedef struct seen {
    double size; /* the mean magnitude of what is not zero */
    double first_tenth, last_tenth;
    double mean;  /* of the magnitudes of elements' means, by the mean magnitude */
    double zeros; /* the part that is zero */
    double largest;
    size_t ones;
} seen;

static seen look_at(gradients_kind kind)
{
    static float out[COUNT];
    static double sums[COUNT];
    gradients_pool pool;
    gradients source;
    cr_assert(gradients_pool_new(3, &pool) && gradients_new(&pool, kind, COUNT, STEPS, SPIKE, &source));
    seen s = {0};
    size_t count = 0;
    for (size_t t = 1; t <= STEPS; t++) {
        gradients_next(&source, t, out);
        for (size_t i = 0; i < COUNT; i++) {
            const double magnitude = fabs((double)out[i]);
            s.size += magnitude;
            count += magnitude > 0;
            s.first_tenth += t <= STEPS / 10 ? magnitude : 0;
            s.last_tenth += t > STEPS * 9 / 10 ? magnitude : 0;
            s.ones += out[i] == 1;
            s.largest = fmax(s.largest, magnitude);
            sums[i] += (double)out[i];
        }
    }
    for (size_t i = 0; i < COUNT; i++) {
        s.mean += fabs(sums[i]) / s.size;
        sums[i] = 0;
    }
    s.zeros = 1 - (double)count / (double)(STEPS * COUNT);
    s.size /= (double)count;
    gradients_free(&source);
    gradients_pool_free(&pool);
    return s;
}

/* The mean of |z| is 0.798, of a lognormal exp(sigma^2 / 2). */
Test(gradients, are_what_they_are_said_to_be)
{
    const seen dense = look_at(GRADIENTS_DENSE), embed = look_at(GRADIENTS_EMBED), spike = look_at(GRADIENTS_SPIKE),
               norm = look_at(GRADIENTS_NORM), decay = look_at(GRADIENTS_DECAY), stop = look_at(GRADIENTS_STOP);
    cr_expect_float_eq(dense.size, 1e-3 * 0.8 * exp(0.125), 3e-5);
    cr_expect_float_eq(dense.mean, 0.1 / 0.8, 0.01);
    cr_expect_lt(dense.zeros, 1e-3);
    cr_expect_float_eq(embed.size, 0.8e-3, 2e-5);
    cr_expect(embed.zeros > 0.8 && embed.zeros < 0.95, "%g", embed.zeros);
    cr_expect_eq(spike.ones, COUNT / GRADIENTS_NEIGHBOURS);
    cr_expect_float_eq(spike.size, dense.size, 3e-5);
    cr_expect_float_eq(norm.size, 1e-3 * 0.8 * exp(2), 2e-3);
    cr_expect_float_eq(decay.last_tenth / decay.first_tenth, 2.5e-4, 5e-5); /* 10^-3.6, as the tenths are alike */
    cr_expect_eq(stop.ones, STEPS * COUNT / GRADIENTS_NEIGHBOURS);
    cr_expect_float_eq(stop.zeros, (double)(STEPS - GRADIENTS_FEW) / STEPS * 255 / 256, 1e-3);
    cr_expect_leq(stop.largest, 6);
}

Test(gradients, depend_on_the_seed_alone)
{
    static float first[COUNT], second[COUNT], third[COUNT];
    float *const out[] = {first, second, third};
    for (size_t k = 0; k < 3; k++) {
        gradients_pool pool;
        gradients source;
        cr_assert(gradients_pool_new(k / 2, &pool) &&
                  gradients_new(&pool, GRADIENTS_EMBED, COUNT, STEPS, SPIKE, &source));
        for (size_t t = 1; t <= 3; t++)
            gradients_next(&source, t, out[k]);
        gradients_free(&source);
        gradients_pool_free(&pool);
    }
    cr_expect_arr_eq(first, second, sizeof first);
    cr_expect_arr_neq(first, third, sizeof first);
}
