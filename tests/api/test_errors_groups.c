/* What is refused in a group: each hyperparameter, flag and format that its rule does not have, or out of range. */
#include "refuse.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

TestSuite(errors_groups, .init = refuse_open);

#define BIT(group) (1u << (group))

static const struct {
    const char *name;
    size_t offset;
    unsigned used; /* by which groups of the model */
    double limit;
    bool open; /* the limit itself is refused */
} hyperparameters[] = {
    {"lr", offsetof(fopt_group, lr), ~0u, 1e9, false},
    {"beta1", offsetof(fopt_group, beta1), BIT(ADAM) | BIT(ADAMW), 1, true},
    {"beta2", offsetof(fopt_group, beta2), BIT(ADAM) | BIT(ADAMW), 1, true},
    {"eps", offsetof(fopt_group, eps), BIT(RMSPROP) | BIT(ADAM) | BIT(ADAMW), 1e9, false},
    {"weight_decay", offsetof(fopt_group, weight_decay), ~0u, 1e9, false},
    {"momentum", offsetof(fopt_group, momentum), BIT(SGD) | BIT(MOMENTUM) | BIT(RMSPROP), 1, true},
    {"dampening", offsetof(fopt_group, dampening), BIT(SGD) | BIT(MOMENTUM), 1, false},
    {"alpha", offsetof(fopt_group, alpha), BIT(RMSPROP), 1, true},
};
#define HYPERPARAMETERS (sizeof hyperparameters / sizeof *hyperparameters)

static void refuse_hyperparameter(size_t h, size_t group, double value, const char *text)
{
    arguments a;
    char words[128];
    fill_arguments(&a, group);
    memcpy((char *)&a.groups[group] + hyperparameters[h].offset, &value, sizeof value);
    snprintf(words, sizeof words, "group#: %s is %s", hyperparameters[h].name, text);
    expect_refused(WITH_GROUP, &a, group, FOPT_ERR_ARGUMENT, words);
}

Test(errors_groups, hyperparameters_out_of_range)
{
    for (size_t h = 0; h < HYPERPARAMETERS; h++)
        for (size_t group = 0; group < MODEL_TENSORS; group++) {
            const double limit = hyperparameters[h].limit;
            if (!(hyperparameters[h].used & BIT(group)))
                continue;
            refuse_hyperparameter(h, group, (double)NAN, "nan");
            refuse_hyperparameter(h, group, -(double)INFINITY, "-inf");
            refuse_hyperparameter(h, group, (double)INFINITY, "inf");
            refuse_hyperparameter(h, group, -0.5, "-0.5");
            refuse_hyperparameter(h, group, nextafter(0, -1), "-");
            refuse_hyperparameter(h, group, 4e9, "4e+09");
            refuse_hyperparameter(h, group, nextafter(limit, 2 * limit), "");
            if (hyperparameters[h].open)
                refuse_hyperparameter(h, group, limit, "1, must be in [0, 1)");
        }
    refuse_close();
}

Test(errors_groups, limits_of_hyperparameters_are_accepted)
{
    for (size_t h = 0; h < HYPERPARAMETERS; h++) {
        const double limit = hyperparameters[h].limit;
        const double accepted[] = {0, nextafter(0, 1), hyperparameters[h].open ? nextafter(limit, 0) : limit};
        for (size_t i = 0; i < (size_t)3 * MODEL_TENSORS; i++) {
            const size_t group = i / 3;
            const bool dampens_nothing = group == SGD && strcmp(hyperparameters[h].name, "dampening") == 0;
            arguments a;
            fill_arguments(&a, group);
            if (!(hyperparameters[h].used & BIT(group)) || dampens_nothing)
                continue;
            memcpy((char *)&a.groups[group] + hyperparameters[h].offset, &accepted[i % 3], sizeof accepted[0]);
            expect_accepted(LISTS, &a, group, hyperparameters[h].name);
        }
    }
    refuse_close();
}

Test(errors_groups, unused_hyperparameters)
{
    for (size_t h = 0; h < HYPERPARAMETERS; h++)
        for (size_t group = 0; group < MODEL_TENSORS; group++)
            if (!(hyperparameters[h].used & BIT(group))) {
                refuse_hyperparameter(h, group, 0.5, "0.5*must be 0");
                refuse_hyperparameter(h, group, -1, "-1");
                refuse_hyperparameter(h, group, (double)NAN, "nan");
            }
    refuse_close();
}

Test(errors_groups, flags_of_another_rule)
{
    static const struct {
        const char *name;
        unsigned flag, accepted; /* by which groups of the model */
    } flags[] = {
        {"FOPT_NESTEROV", FOPT_NESTEROV, BIT(SGD) | BIT(MOMENTUM)},
        {"FOPT_EMA_MOMENTUM", FOPT_EMA_MOMENTUM, BIT(SGD) | BIT(MOMENTUM)},
        {"FOPT_CLASSIC_MOMENTUM", FOPT_CLASSIC_MOMENTUM, BIT(SGD) | BIT(MOMENTUM)},
        {"FOPT_CENTERED", FOPT_CENTERED, BIT(RMSPROP)},
        {"FOPT_EPS_INSIDE_SQRT", FOPT_EPS_INSIDE_SQRT, BIT(RMSPROP)},
        {"FOPT_AMSGRAD", FOPT_AMSGRAD, BIT(ADAM) | BIT(ADAMW)},
        {"FOPT_NO_BIAS_CORRECTION", FOPT_NO_BIAS_CORRECTION, BIT(ADAM) | BIT(ADAMW)},
        {"0x200", 1u << 9, 0},
        {"0x80000000", 1u << 31, 0},
    };
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        for (size_t group = 0; group < MODEL_TENSORS; group++) {
            arguments a;
            char words[128];
            fill_arguments(&a, group);
            if (flags[i].accepted & BIT(group))
                continue;
            a.groups[group].flags |= flags[i].flag;
            snprintf(words, sizeof words, "group#: flags*%s", flags[i].name);
            expect_refused(WITH_GROUP, &a, group, FOPT_ERR_ARGUMENT, words);
        }
    refuse_close();
}

Test(errors_groups, state_formats)
{
    for (size_t group = 0; group < MODEL_TENSORS; group++)
        for (size_t kind = 0; kind < FOPT_STATE_KINDS; kind++) {
            const char *name = fopt_state_kind_name(refuse_model.groups[group].rule, (fopt_state_kind)kind);
            arguments a;
            char words[128];
            fill_arguments(&a, group);
            a.groups[group].state_format[kind] = (fopt_format)99;
            if (!a.states[kind].data) {
                expect_accepted(LISTS, &a, group, "the format of an unused kind");
                continue;
            }
            snprintf(words, sizeof words, "group#: state_format of %s is 99", name);
            expect_refused(WITH_GROUP, &a, group, FOPT_ERR_ARGUMENT, words);
            a.groups[group].state_format[kind] = FOPT_F16;
            snprintf(words, sizeof words, "group#: state_format of %s is f16", name);
            expect_refused(WITH_GROUP, &a, group, FOPT_ERR_UNSUPPORTED, words);
        }
    refuse_close();
}

/* Quantized moments: where there are any in a centered RMSprop, and, for fopt_update(), what is said of absmax. */
Test(errors_groups, quantized_moments)
{
    static float absmax[8];
    arguments a;
    for (size_t kind = 0; kind < FOPT_STATE_KINDS; kind++) {
        fill_arguments(&a, RMSPROP);
        if (!a.states[kind].data)
            continue;
        a.groups[RMSPROP].state_format[kind] = FOPT_Q8;
        cr_assert(a.groups[RMSPROP].flags & FOPT_CENTERED);
        expect_refused(WITH_GROUP, &a, RMSPROP, FOPT_ERR_UNSUPPORTED,
                       "group#: state_format of *is q8, in which rmsprop with flags 0x20 keeps no moment");
    }
    fill_arguments(&a, ADAM);
    a.groups[ADAM].state_format[FOPT_SECOND_MOMENT] = a.states[FOPT_SECOND_MOMENT].format = FOPT_Q8;
    expect_refused(UPDATE, &a, ADAM, FOPT_ERR_ARGUMENT, "tensor#*states[1]: absmax is NULL, but exp_avg_sq is q8");
    a.states[FOPT_SECOND_MOMENT].absmax = (float *)(void *)((char *)absmax + 2);
    expect_refused(UPDATE, &a, ADAM, FOPT_ERR_ARGUMENT, "tensor#*states[1]: absmax is 0x*aligned*4 bytes");
    /* 700 elements have three tiles; the last absmax would be the first byte of the codes. */
    a.states[FOPT_SECOND_MOMENT].absmax = (float *)a.states[FOPT_SECOND_MOMENT].data - 2;
    expect_refused(UPDATE, &a, ADAM, FOPT_ERR_ARGUMENT, "tensor#*overlaps states[1].absmax*");
    a.states[FOPT_SECOND_MOMENT].absmax = absmax;
    refuse_close();
    cr_expect_eq(fopt_update(a.config_at, a.group_at, a.tensor_at, a.states_at, 1, NULL, NULL), FOPT_OK, "%s",
                 fopt_last_error());
}

/* The style in which every other struct is filled, and a NaN at the first gradient of zero. */
Test(errors_groups, fopt_group_init_forgotten)
{
    static float param[1], gradient[1];
    const fopt_tensor tensor = {.size = sizeof tensor, .param = param, .grad = gradient, .count = 1};
    const fopt_rule rules[] = {FOPT_RMSPROP, FOPT_ADAM, FOPT_ADAMW};
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        fopt_group group = {.size = sizeof group, .rule = rules[i], .lr = 0.1};
        if (rules[i] == FOPT_ADAMW)
            group.flags = FOPT_DECOUPLED_DECAY;
        fopt_optimizer *optimizer;
        cr_expect_eq(fopt_create(NULL, &group, 1, &tensor, 1, &optimizer), FOPT_ERR_UNSUPPORTED);
        cr_expect(mentions(fopt_last_error(), "group 0: *eps*0: fopt_group_init() sets them"), "%s", fopt_last_error());
    }
}
