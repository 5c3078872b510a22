/*
 * The example of the textbooks, small enough for pencil and paper: minimize L(w) = w^2, whose gradient is 2 w, from
 * w = 4 with a learning rate of 0.1. The first gradient is 8, and plain descent goes 4, 3.2, 2.56.
 */
#include "../reference/oracle.h"
#include "buffers.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <math.h>
#include <string.h>

#define STEPS_MAX 2

typedef struct textbook_example {
    fopt_group group;    /* all that differs from lr 0.1 and zeros */
    double w[STEPS_MAX]; /* after each step; 0 where the first says enough */
} textbook_example;

#define MOMENTUM .momentum = 0.9
#define RMSPROP  .rule = FOPT_RMSPROP, .alpha = 0.9
#define ADAM     .rule = FOPT_ADAM, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8

static const textbook_example examples[] = {
    /* u = 0.1 * 8; then 0.1 * 6.4 */
    {{.rule = FOPT_SGD}, {3.2, 2.56}},
    {{.flags = FOPT_MAXIMIZE}, {4.8, 5.76}},
    /* g = 8 + 0.5 * 4 = 10; then 6 + 0.5 * 3 = 7.5 */
    {{.weight_decay = 0.5}, {3, 2.25}},

    /* b = 8; then 0.9 * 8 + 6.4 = 13.6. The classic b is the same times 0.1, as long as lr stays. */
    {{MOMENTUM}, {3.2, 1.84}},
    {{MOMENTUM, .flags = FOPT_CLASSIC_MOMENTUM}, {3.2, 1.84}},
    /* b = 0.1 * 8 = 0.8; then 0.9 * 0.8 + 0.1 * 7.84 = 1.504 */
    {{MOMENTUM, .flags = FOPT_EMA_MOMENTUM}, {3.92, 3.7696}},
    /* u = 0.1 * (8 + 0.9 * 8); then g = 4.96, b = 7.2 + 4.96 = 12.16, u = 0.1 * (4.96 + 0.9 * 12.16) */
    {{MOMENTUM, .flags = FOPT_NESTEROV}, {2.48, 0.8896}},
    /* b = 8, not dampened; then 7.2 + 0.5 * 6.4 = 10.4 */
    {{MOMENTUM, .dampening = 0.5}, {3.2, 2.16}},
    /* u = 0.8 + 0.1 * 0.5 * 4; then b = 7.2 + 6 = 13.2, u = 1.32 + 0.1 * 0.5 * 3 */
    {{MOMENTUM, .weight_decay = 0.5, .flags = FOPT_DECOUPLED_DECAY}, {3, 1.53}},

    /* s = 0.1 * 64 = 6.4, u = 0.8 / sqrt(6.4); then g = 7.367544, s = 5.76 + 5.428070 */
    {{RMSPROP}, {3.6837722, 3.4635074}},
    /* b = 8 / sqrt(6.4) = 3.162278; then 0.9 * 3.162278 + 7.367544 / sqrt(11.188070) = 5.048698 */
    {{RMSPROP, MOMENTUM}, {3.6837722, 3.1789024}},
    /* a = 0.1 * 8 = 0.8, s' = 6.4 - 0.64 = 2.4^2 */
    {{RMSPROP, .flags = FOPT_CENTERED}, {4 - 0.8 / 2.4}},
    /* d = 8 / sqrt(6.4 + 9.6) = 2; but 8 / (sqrt(6.4) + 9.6) without the flag */
    {{RMSPROP, .eps = 9.6, .flags = FOPT_EPS_INSIDE_SQRT}, {3.8}},
    {{RMSPROP, .eps = 9.6}, {3.9340471}},

    /* Corrected, m = 8 and v = 64: the first step is lr. */
    {{ADAM}, {3.9}},
    {{ADAM, .flags = FOPT_AMSGRAD}, {3.9}},
    /* m = 0.5 * 8 = 4, v = 0.01 * 64 = 0.8^2, u = 0.1 * 4 / 0.8 */
    {{.rule = FOPT_ADAM, .beta1 = 0.5, .beta2 = 0.99, .flags = FOPT_NO_BIAS_CORRECTION}, {3.5}},
    /* m = g, v = g^2: always lr. With AMSGrad x stays 64, u = 0.1 * 7.8 / 8. */
    {{.rule = FOPT_ADAM, .eps = 1e-12}, {3.9, 3.8}},
    {{.rule = FOPT_ADAM, .eps = 1e-12, .flags = FOPT_AMSGRAD}, {3.9, 3.8025}},
    /* u = 0.1 + 0.1 * 0.5 * 4; but coupled decay vanishes in g / |g| */
    {{.rule = FOPT_ADAMW,
      .flags = FOPT_DECOUPLED_DECAY,
      .beta1 = 0.9,
      .beta2 = 0.999,
      .eps = 1e-8,
      .weight_decay = 0.5},
     {3.7}},
    {{ADAM, .weight_decay = 0.5}, {3.9}},
};

static fopt_group group_of(const textbook_example *example)
{
    fopt_group group = example->group;
    group.size = sizeof group;
    group.lr = 0.1;
    return group;
}

static void expect_near(const textbook_example *example, int step, double w)
{
    char name[ORACLE_NAME_SIZE];
    oracle_name(&example->group, name);
    double want = example->w[step - 1];
    cr_expect(want == 0 || fabs(w - want) < 5e-7 * want, "%s, line %td of the table, step=%d: got %.9g want %.9g", name,
              example - examples, step, w, want);
}

static fopt_tensor describe(float *w, float *gradient)
{
    return (fopt_tensor){.size = sizeof(fopt_tensor), .name = "w", .param = w, .grad = gradient, .count = 1};
}

Test(textbook, oracle)
{
    for (const textbook_example *example = examples; example < examples + LENGTH(examples); example++) {
        fopt_group group = group_of(example);
        oracle_element element = {.param = 4};
        for (int step = 1; step <= STEPS_MAX; step++) {
            element = oracle_step(&group, step, element, 2 * element.param).after;
            expect_near(example, step, element.param);
        }
    }
}

Test(textbook, fopt_step)
{
    for (const textbook_example *example = examples; example < examples + LENGTH(examples); example++) {
        fopt_group group = group_of(example);
        float w = 4, gradient;
        fopt_tensor tensor = describe(&w, &gradient);
        fopt_optimizer *optimizer = NULL;
        expect_ok(fopt_create(NULL, &group, 1, &tensor, 1, &optimizer));
        for (int step = 1; step <= STEPS_MAX; step++) {
            gradient = 2 * w;
            expect_ok(fopt_step(optimizer, NULL, NULL));
            expect_near(example, step, (double)w);
        }
        fopt_destroy(optimizer);
    }
}

Test(textbook, fopt_update)
{
    for (const textbook_example *example = examples; example < examples + LENGTH(examples); example++) {
        fopt_group group = group_of(example);
        float w = 4, gradient, moments[FOPT_STATE_KINDS] = {0};
        fopt_tensor tensor = describe(&w, &gradient);
        for (int step = 1; step <= STEPS_MAX; step++) {
            gradient = 2 * w;
            update_tensor(NULL, &group, &tensor, moments, sizeof *moments, step);
            expect_near(example, step, (double)w);
        }
    }
}
