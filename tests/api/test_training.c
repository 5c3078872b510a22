/* Calls between steps, and what the next step makes of them. */
#include "model.h"

#include <string.h>

static model m, other;
static model_snapshot got, want;

/* Opens two models alike: one to try a call on, one to show what it should come to. */
static void open_two(void)
{
    model_open(&m);
    model_open(&other);
}

static void close_two(void)
{
    fopt_destroy(m.optimizer);
    fopt_destroy(other.optimizer);
}

TestSuite(training, .init = open_two, .fini = close_two);

static void expect_equal(const char *what)
{
    model_read(&m, &got);
    model_read(&other, &want);
    cr_expect_eq(memcmp(&got, &want, sizeof got), 0, "%s", what);
}

static void step(model *stepping, int count)
{
    for (int i = 0; i < count; i++)
        ASSERT_OK(fopt_step(stepping->optimizer, NULL, NULL));
}

/* Brings one tensor of `other` to a second step by fopt_update(), in place of fopt_step(). */
static void update_other(size_t tensor, const fopt_group *group, int64_t number)
{
    fopt_array states[FOPT_STATE_KINDS];
    fopt_tensor described = other.tensors[tensor];
    described.global_id = tensor + 1; /* what fopt_create() gave it */
    for (size_t kind = 0; kind < FOPT_STATE_KINDS; kind++) {
        states[kind] = (fopt_array){.size = sizeof *states};
        ASSERT_OK(fopt_state(other.optimizer, tensor, (fopt_state_kind)kind, &states[kind]));
    }
    ASSERT_OK(fopt_update(&other.config, group, &described, states, number, NULL, NULL));
    ASSERT_OK(fopt_set_step(other.optimizer, tensor, number, NULL));
}

static void update_others(int64_t number)
{
    for (size_t i = 0; i < MODEL_TENSORS; i++)
        update_other(i, &other.groups[i], number);
}

/* ---- gradients ----------------------------------------------------------------------------------------------- */

Test(training, a_tensor_without_a_gradient_is_skipped)
{
    void *grads[MODEL_TENSORS];
    for (size_t i = 0; i < MODEL_TENSORS; i++)
        grads[i] = i == ADAM ? NULL : m.tensors[i].grad;
    ASSERT_OK(fopt_set_grads(m.optimizer, grads, NULL));
    step(&m, 2);
    for (int64_t number = 2; number <= 3; number++)
        for (size_t i = 0; i < MODEL_TENSORS; i++)
            if (i != ADAM)
                update_other(i, &other.groups[i], number);
    expect_equal("a tensor was skipped");

    grads[ADAM] = m.tensors[ADAM].grad;
    ASSERT_OK(fopt_set_grads(m.optimizer, grads, NULL));
    step(&m, 1);
    for (size_t i = 0; i < MODEL_TENSORS; i++)
        update_other(i, &other.groups[i], i == ADAM ? 2 : 4);
    expect_equal("it came back");
}

Test(training, created_without_a_gradient)
{
    fopt_destroy(m.optimizer);
    model_describe(&m);
    void *grads[MODEL_TENSORS];
    for (size_t i = 0; i < MODEL_TENSORS; i++) {
        grads[i] = m.tensors[i].grad;
        m.tensors[i].grad = NULL;
    }
    model_create(&m);
    step(&m, 3);
    ASSERT_OK(fopt_set_grads(m.optimizer, grads, NULL));
    step(&m, 1);
    expect_equal("the three steps without gradients did not happen");
}

Test(training, gradients_are_read_where_they_were_set)
{
    static model_memory moved;
    void *grads[MODEL_TENSORS];
    memcpy(&moved, &m.memory, sizeof moved);
    memset(m.memory.grads, 0xff, sizeof m.memory.grads);
    for (size_t i = 0; i < MODEL_TENSORS; i++)
        grads[i] = moved.grads[i];
    ASSERT_OK(fopt_set_grads(m.optimizer, grads, NULL));
    step(&m, 1);
    memcpy(m.memory.grads, other.memory.grads, sizeof m.memory.grads);
    step(&other, 1);
    expect_equal("other gradients");
    cr_expect_eq(memcmp(moved.grads, other.memory.grads, sizeof moved.grads), 0, "a step wrote a gradient");
}

/* Zeroes gradients in each format, from an odd place, and nothing around it or of a tensor that is skipped. */
Test(training, zero_grads)
{
    void *grads[MODEL_TENSORS];
    const size_t margin = 4 * sizeof(float);
    fopt_destroy(m.optimizer);
    for (size_t i = 0; i < MODEL_TENSORS; i++) {
        m.tensors[i].count = 600 + i;
        grads[i] = i == MOMENTUM ? NULL : m.memory.grads[i] + margin;
        m.tensors[i].grad = grads[i];
    }
    model_create(&m);
    memset(m.memory.grads, 0xa5, sizeof m.memory.grads);
    memcpy(&want.memory, &m.memory, sizeof m.memory);
    for (size_t i = 0; i < MODEL_TENSORS; i++)
        if (grads[i])
            memset(want.memory.grads[i] + margin, 0,
                   m.tensors[i].count * (m.tensors[i].grad_format == FOPT_F32 ? 4 : 2));
    ASSERT_OK(fopt_zero_grads(m.optimizer, NULL));
    cr_expect_eq(memcmp(&m.memory, &want.memory, sizeof m.memory), 0);
}

/* ---- hyperparameters ----------------------------------------------------------------------------------------- */

Test(training, set_lr)
{
    for (size_t i = 0; i < MODEL_TENSORS; i++)
        ASSERT_OK(fopt_set_lr(m.optimizer, i, 0.25 / (double)(i + 1), NULL));
    expect_equal("nothing happens before the next step");
    step(&m, 1);
    for (size_t i = 0; i < MODEL_TENSORS; i++)
        other.groups[i].lr = 0.25 / (double)(i + 1);
    update_others(2);
    expect_equal("the next step has the new learning rates");
}

Test(training, set_group)
{
    for (size_t i = 0; i < MODEL_TENSORS; i++) {
        fopt_group *group = &other.groups[i];
        group->lr = 0.125;
        group->weight_decay = 0.5;
        group->flags |= FOPT_MAXIMIZE | FOPT_DECOUPLED_DECAY;
    }
    other.groups[MOMENTUM].momentum = 0.5;
    other.groups[MOMENTUM].flags |= FOPT_NESTEROV;
    other.groups[RMSPROP].alpha = 0.75;
    other.groups[RMSPROP].flags |= FOPT_EPS_INSIDE_SQRT;
    other.groups[ADAM].beta1 = 0.5;
    other.groups[ADAM].eps = 0.25;
    other.groups[ADAMW].flags |= FOPT_NO_BIAS_CORRECTION;
    for (size_t i = 0; i < MODEL_TENSORS; i++)
        ASSERT_OK(fopt_set_group(m.optimizer, i, &other.groups[i], NULL));
    expect_equal("nothing happens before the next step");
    step(&m, 1);
    update_others(2);
    expect_equal("the next step has the new groups");
}

/* An optimizer of several groups is as good as one for each. */
Test(training, groups_do_not_mix)
{
    static fopt_optimizer *single[MODEL_TENSORS];
    fopt_destroy(other.optimizer);
    model_describe(&other);
    for (size_t i = 0; i < MODEL_TENSORS; i++) {
        fopt_tensor tensor = other.tensors[i];
        tensor.group = 0;
        tensor.global_id = i + 1; /* what the index gives it among the others */
        ASSERT_OK(fopt_create(&other.config, &other.groups[i], 1, &tensor, 1, &single[i]));
    }
    step(&m, 2);
    for (size_t i = 0; i < MODEL_TENSORS; i++) {
        for (int number = 1; number <= 3; number++)
            ASSERT_OK(fopt_step(single[i], NULL, NULL));
        for (int kind = 0; kind < FOPT_STATE_KINDS; kind++) {
            fopt_array in_one = {.size = sizeof in_one}, alone = in_one;
            ASSERT_OK(fopt_state(m.optimizer, i, (fopt_state_kind)kind, &in_one));
            ASSERT_OK(fopt_state(single[i], 0, (fopt_state_kind)kind, &alone));
            cr_assert_eq(in_one.bytes, alone.bytes);
            if (in_one.data)
                cr_expect_eq(memcmp(in_one.data, alone.data, alone.bytes), 0, "%s, kind %d", model_names[i], kind);
        }
        fopt_destroy(single[i]);
    }
    cr_expect_eq(memcmp(&m.memory, &other.memory, sizeof m.memory), 0);
    model_create(&other);
}

/* ---- steps and state ----------------------------------------------------------------------------------------- */

Test(training, step_counts)
{
    const int64_t last = (int64_t)1 << 53;
    const int64_t counts[] = {0, 1, 1000000, last - 1, last};
    int64_t number;
    ASSERT_OK(fopt_get_step(m.optimizer, ADAM, &number, NULL));
    cr_expect_eq(number, 1);
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        ASSERT_OK(fopt_set_step(m.optimizer, ADAM, counts[i], NULL));
        ASSERT_OK(fopt_get_step(m.optimizer, ADAM, &number, NULL));
        cr_expect_eq(number, counts[i]);
        ASSERT_OK(fopt_get_step(m.optimizer, ADAMW, &number, NULL));
        cr_expect_eq(number, 1, "the count of another tensor");
    }
}

/* The count is what bias corrections and random bits are computed from. */
Test(training, set_step)
{
    for (size_t i = 0; i < MODEL_TENSORS; i++)
        ASSERT_OK(fopt_set_step(m.optimizer, i, 41, NULL));
    step(&m, 1);
    update_others(42);
    expect_equal("step 42");
}

/* A new optimizer that is given the state and the counts of an old one goes on where that one was. */
Test(training, resume)
{
    step(&m, 2);
    step(&other, 2);
    fopt_optimizer *resumed;
    ASSERT_OK(fopt_create(&m.config, m.groups, MODEL_TENSORS, m.tensors, MODEL_TENSORS, &resumed));
    for (size_t i = 0; i < MODEL_TENSORS; i++) {
        int64_t number;
        ASSERT_OK(fopt_get_step(m.optimizer, i, &number, NULL));
        ASSERT_OK(fopt_set_step(resumed, i, number, NULL));
        for (int kind = 0; kind < FOPT_STATE_KINDS; kind++) {
            fopt_array from = {.size = sizeof from}, to = from;
            ASSERT_OK(fopt_state(m.optimizer, i, (fopt_state_kind)kind, &from));
            ASSERT_OK(fopt_state(resumed, i, (fopt_state_kind)kind, &to));
            if (from.data)
                memcpy(to.data, from.data, from.bytes);
        }
    }
    fopt_destroy(m.optimizer);
    m.optimizer = resumed;
    step(&m, 3);
    step(&other, 3);
    expect_equal("resumed");
}
