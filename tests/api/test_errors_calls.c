/*
 * What calls on an optimizer refuse. Each leaves the parameters, the gradients, the state and the step counts as they
 * were, and the step that follows all of them.
 */
#include "model.h"

#include <math.h>
#include <string.h>

#define ARGUMENT    FOPT_ERR_ARGUMENT
#define UNSUPPORTED FOPT_ERR_UNSUPPORTED

static model m;
static model_snapshot before;

static void open_model(void)
{
    model_open(&m);
    model_read(&m, &before);
}

TestSuite(errors_calls, .init = open_model);

/* Expects that a call is refused in these words, and that its name is in front of them. */
#define refused(want, words, call) expect_refused(want, words, #call, call)

static void expect_refused(fopt_status want, const char *words, const char *call, fopt_status got)
{
    static model_snapshot after;
    const size_t length = strcspn(call, "(");
    cr_expect_eq(got, want, "'%s': status %d, want %d", words, (int)got, (int)want);
    cr_expect(strncmp(fopt_last_error(), call, length) == 0 && fopt_last_error()[length] == ':', "%s: '%s'", call,
              fopt_last_error());
    cr_expect(mentions(fopt_last_error(), words), "got '%s' want '%s'", fopt_last_error(), words);
    model_read(&m, &after);
    cr_expect_eq(memcmp(&after, &before, sizeof after), 0, "'%s': the model changed", words);
}

Test(errors_calls, no_optimizer)
{
    void *grads[MODEL_TENSORS] = {NULL};
    fopt_array view = {.size = sizeof view};
    double norm;
    int64_t step;
    refused(ARGUMENT, "optimizer is NULL", fopt_step(NULL, NULL, NULL));
    refused(ARGUMENT, "optimizer is NULL", fopt_set_group(NULL, 0, &m.groups[0], NULL));
    refused(ARGUMENT, "optimizer is NULL", fopt_set_lr(NULL, 0, 0.1, NULL));
    refused(ARGUMENT, "optimizer is NULL", fopt_set_grads(NULL, grads, NULL));
    refused(ARGUMENT, "optimizer is NULL", fopt_zero_grads(NULL, NULL));
    refused(ARGUMENT, "optimizer is NULL", fopt_grad_norm(NULL, 0, 0, &norm, NULL, NULL));
    refused(ARGUMENT, "optimizer is NULL", fopt_state(NULL, 0, FOPT_FIRST_MOMENT, &view));
    refused(ARGUMENT, "optimizer is NULL", fopt_get_step(NULL, 0, &step, NULL));
    refused(ARGUMENT, "optimizer is NULL", fopt_set_step(NULL, 0, 1, NULL));
    refused(ARGUMENT, "optimizer is NULL", fopt_copy(NULL, &step, &step, 0, NULL));
    model_expect_as_fresh(&m);
}

Test(errors_calls, state)
{
    const fopt_array untouched = {.size = sizeof untouched, .count = 42};
    fopt_array view = untouched;
    refused(ARGUMENT, "tensor is 5, must be below tensor_count, which is 5",
            fopt_state(m.optimizer, 5, FOPT_FIRST_MOMENT, &view));
    refused(ARGUMENT, "tensor is 18446744073709551615, must be below tensor_count, which is 5",
            fopt_state(m.optimizer, SIZE_MAX, FOPT_FIRST_MOMENT, &view));
    refused(ARGUMENT, "kind is 8", fopt_state(m.optimizer, ADAM, (fopt_state_kind)FOPT_STATE_KINDS, &view));
    refused(ARGUMENT, "kind is -1", fopt_state(m.optimizer, ADAM, (fopt_state_kind)-1, &view));
    refused(ARGUMENT, "view is NULL", fopt_state(m.optimizer, ADAM, FOPT_FIRST_MOMENT, NULL));
    cr_expect_eq(memcmp(&view, &untouched, sizeof view), 0);
    for (int kind = FOPT_MOMENTUM_BUFFER + 1; kind < FOPT_STATE_KINDS; kind++) { /* reserved: kept by no rule */
        view = untouched;
        ASSERT_OK(fopt_state(m.optimizer, ADAM, (fopt_state_kind)kind, &view));
        cr_expect(!view.data && view.count == 0 && view.bytes == 0 && !view.absmax);
        cr_expect_null(fopt_state_kind_name(FOPT_ADAM, (fopt_state_kind)kind));
    }
    model_expect_as_fresh(&m);
}

Test(errors_calls, copy)
{
    int64_t from = 42, to = 7;
    refused(ARGUMENT, "to is NULL, but bytes is 8", fopt_copy(m.optimizer, NULL, &from, sizeof from, NULL));
    refused(ARGUMENT, "from is NULL, but bytes is 8", fopt_copy(m.optimizer, &to, NULL, sizeof to, NULL));
    cr_expect_eq(to, 7);
    ASSERT_OK(fopt_copy(m.optimizer, NULL, NULL, 0, NULL));
    ASSERT_OK(fopt_copy(m.optimizer, &to, &from, sizeof to, NULL));
    cr_expect_eq(to, 42);
    model_expect_as_fresh(&m);
}

Test(errors_calls, norms)
{
    double norm = 42, each[MODEL_TENSORS];
    fopt_array view = {.size = sizeof view};
    refused(ARGUMENT, "first_tensor is 6 and tensor_count 0, but the optimizer has 5",
            fopt_grad_norm(m.optimizer, 6, 0, &norm, each, NULL));
    refused(ARGUMENT, "first_tensor is 2 and tensor_count 4, but the optimizer has 5",
            fopt_grad_norm(m.optimizer, 2, 4, &norm, each, NULL));
    refused(ARGUMENT, "first_tensor is 5 and tensor_count 18446744073709551615",
            fopt_grad_norm(m.optimizer, 5, SIZE_MAX, &norm, each, NULL));
    refused(ARGUMENT, "norm and tensor_norms are NULL", fopt_grad_norm(m.optimizer, 0, 5, NULL, NULL, NULL));
    double *const odd = (double *)(void *)((char *)each + 4); /* NOLINT: that is what is tried */
    refused(ARGUMENT, "norm is 0x*not aligned to the 8 bytes of a double",
            fopt_grad_norm(m.optimizer, 0, 5, odd, NULL, NULL));
    refused(ARGUMENT, "tensor_norms is 0x*not aligned", fopt_grad_norm(m.optimizer, 0, 4, &norm, odd, NULL));
    refused(ARGUMENT, "norm is 0x*overlaps the param of tensor 3 'adam'",
            fopt_grad_norm(m.optimizer, 0, 5, (double *)(void *)m.memory.params[ADAM], NULL, NULL));
    refused(ARGUMENT, "tensor_norms is 0x*overlaps the param of tensor 0 'sgd'",
            fopt_grad_norm(m.optimizer, 0, 5, &norm, (double *)(void *)(m.memory.params[MOMENTUM] - 32), NULL));
    ASSERT_OK(fopt_state(m.optimizer, ADAM, FOPT_FIRST_MOMENT, &view));
    refused(ARGUMENT, "norm is 0x*lies in the state", fopt_grad_norm(m.optimizer, 0, 5, view.data, NULL, NULL));
    cr_expect_eq(norm, 42.0);
    model_expect_as_fresh(&m);
}

Test(errors_calls, step_counts)
{
    const int64_t last = (int64_t)1 << 53;
    int64_t step = 42;
    refused(ARGUMENT, "tensor is 5, must be below tensor_count, which is 5",
            fopt_get_step(m.optimizer, 5, &step, NULL));
    refused(ARGUMENT, "step is NULL", fopt_get_step(m.optimizer, ADAM, NULL, NULL));
    cr_expect_eq(step, 42);
    refused(ARGUMENT, "tensor is 5, must be below tensor_count, which is 5", fopt_set_step(m.optimizer, 5, 1, NULL));
    refused(ARGUMENT, "tensor 3 'adam'*step is -1", fopt_set_step(m.optimizer, ADAM, -1, NULL));
    refused(ARGUMENT, "tensor 3 'adam'*step is 9007199254740993", fopt_set_step(m.optimizer, ADAM, last + 1, NULL));
    refused(ARGUMENT, "tensor 3 'adam'*step is -9223372036854775808",
            fopt_set_step(m.optimizer, ADAM, INT64_MIN, NULL));
    refused(ARGUMENT, "tensor 3 'adam'*step is 9223372036854775807", fopt_set_step(m.optimizer, ADAM, INT64_MAX, NULL));
    model_expect_as_fresh(&m);
}

/* The count stops, and the steps go on. */
Test(errors_calls, the_last_step_number)
{
    const int64_t last = (int64_t)1 << 53;
    int64_t step;
    ASSERT_OK(fopt_set_step(m.optimizer, ADAM, last - 1, NULL));
    for (int i = 0; i < 2; i++) {
        ASSERT_OK(fopt_step(m.optimizer, NULL, NULL));
        ASSERT_OK(fopt_get_step(m.optimizer, ADAM, &step, NULL));
        cr_expect_eq(step, last);
    }
    fopt_destroy(m.optimizer);
}

Test(errors_calls, learning_rates)
{
    refused(ARGUMENT, "group is 5, must be below group_count, which is 5", fopt_set_lr(m.optimizer, 5, 0.1, NULL));
    refused(ARGUMENT, "group 3: lr is nan", fopt_set_lr(m.optimizer, ADAM, (double)NAN, NULL));
    refused(ARGUMENT, "group 3: lr is -0.5", fopt_set_lr(m.optimizer, ADAM, -0.5, NULL));
    refused(ARGUMENT, "group 3: lr is inf", fopt_set_lr(m.optimizer, ADAM, (double)INFINITY, NULL));
    refused(ARGUMENT, "group 3: lr is 2e+09", fopt_set_lr(m.optimizer, ADAM, 2e9, NULL));
    model_expect_as_fresh(&m);
}

/* What is wrong with a group by itself is in test_errors.c; this is what contradicts the optimizer. */
Test(errors_calls, groups)
{
    fopt_group group = m.groups[ADAM];
    refused(ARGUMENT, "group is 5, must be below group_count, which is 5",
            fopt_set_group(m.optimizer, 5, &group, NULL));
    refused(UNSUPPORTED, "group 4: rule is adam*adamw", fopt_set_group(m.optimizer, ADAMW, &group, NULL));

    group.flags = 0;
    refused(UNSUPPORTED, "group 3: *without max_exp_avg_sq*with it", fopt_set_group(m.optimizer, ADAM, &group, NULL));
    group = m.groups[ADAM];
    group.state_format[FOPT_SECOND_MOMENT] = FOPT_BF16;
    refused(UNSUPPORTED, "group 3: state_format of exp_avg_sq is bf16*f32",
            fopt_set_group(m.optimizer, ADAM, &group, NULL));

    group = m.groups[ADAMW];
    group.flags |= FOPT_AMSGRAD;
    refused(UNSUPPORTED, "group 4: *needs max_exp_avg_sq*without it", fopt_set_group(m.optimizer, ADAMW, &group, NULL));
    group = m.groups[RMSPROP];
    group.flags = 0;
    refused(UNSUPPORTED, "group 2: *without grad_avg*with it", fopt_set_group(m.optimizer, RMSPROP, &group, NULL));
    group = m.groups[RMSPROP];
    group.momentum = 0;
    refused(UNSUPPORTED, "group 2: *without momentum_buffer*with it",
            fopt_set_group(m.optimizer, RMSPROP, &group, NULL));
    group = m.groups[SGD];
    group.momentum = 0.9;
    refused(UNSUPPORTED, "group 0: *needs momentum_buffer*without it", fopt_set_group(m.optimizer, SGD, &group, NULL));
    model_expect_as_fresh(&m);
}

/* One bad gradient, the last, and none is replaced. */
Test(errors_calls, gradients)
{
    void *grads[MODEL_TENSORS] = {NULL};
    refused(ARGUMENT, "grads is NULL, but the optimizer has 5 tensors", fopt_set_grads(m.optimizer, NULL, NULL));
    grads[ADAMW] = m.memory.grads[ADAMW] + 1;
    refused(ARGUMENT, "tensor 4 'adamw': grad is 0x*aligned*2 bytes*f16", fopt_set_grads(m.optimizer, grads, NULL));
    const uintptr_t near_end = UINTPTR_MAX - 255;
    memcpy(&grads[ADAMW], &near_end, sizeof near_end);
    refused(ARGUMENT, "tensor 4 'adamw': grad is 0x*700*address space", fopt_set_grads(m.optimizer, grads, NULL));
    grads[ADAMW] = m.memory.params[ADAMW];
    refused(ARGUMENT, "tensor 4 'adamw': grad*0x*overlaps the param of tensor 4 'adamw'",
            fopt_set_grads(m.optimizer, grads, NULL));
    grads[ADAMW] = m.memory.params[ADAM] + MODEL_BYTES - sizeof(float);
    refused(ARGUMENT, "tensor 4 'adamw': grad*0x*overlaps the param of tensor 3 'adam'",
            fopt_set_grads(m.optimizer, grads, NULL));
    fopt_array moments = {.size = sizeof moments};
    ASSERT_OK(fopt_state(m.optimizer, ADAM, FOPT_SECOND_MOMENT, &moments));
    grads[ADAMW] = moments.data;
    refused(ARGUMENT, "tensor 4 'adamw': grad*0x*lies in the state of this optimizer",
            fopt_set_grads(m.optimizer, grads, NULL));
    model_expect_as_fresh(&m);
}

Test(errors_calls, devices)
{
    const fopt_device_info untouched = {.size = sizeof untouched, .threads = 42};
    const fopt_device unknown = {(fopt_device_kind)2, 0}, second = {FOPT_CPU, 1}, negative = {FOPT_CPU, -1};
    const fopt_device absent = {FOPT_CUDA, 4096};
    fopt_device_info info = untouched;
    int count = 42;
    refused(ARGUMENT, "count is NULL", fopt_device_count(FOPT_CPU, NULL));
    refused(ARGUMENT, "kind is 2", fopt_device_count((fopt_device_kind)2, &count));
    refused(ARGUMENT, "kind is -1", fopt_device_count((fopt_device_kind)-1, &count));
    cr_expect_eq(count, 42);
    refused(ARGUMENT, "info is NULL", fopt_device_query((fopt_device){FOPT_CPU, 0}, NULL));
    refused(ARGUMENT, "device.kind is 2", fopt_device_query(unknown, &info));
    refused(FOPT_ERR_DEVICE, "device.index is 1", fopt_device_query(second, &info));
    refused(FOPT_ERR_DEVICE, "device.index is -1", fopt_device_query(negative, &info));
    refused(FOPT_ERR_DEVICE, "device*CUDA", fopt_device_query(absent, &info));
    cr_expect_eq(memcmp(&info, &untouched, sizeof info), 0);
    model_expect_as_fresh(&m);
}

Test(errors_calls, group_init)
{
    const fopt_group untouched = {.size = 42};
    fopt_group group = untouched;
    refused(ARGUMENT, "group is NULL", fopt_group_init(NULL, sizeof group, FOPT_ADAM));
    refused(ARGUMENT, "rule is 99", fopt_group_init(&group, sizeof group, (fopt_rule)99));
    refused(ARGUMENT, "rule is -1", fopt_group_init(&group, sizeof group, (fopt_rule)-1));
    cr_expect_eq(memcmp(&group, &untouched, sizeof group), 0);
    model_expect_as_fresh(&m);
}
