/*
 * What the functions that take descriptions refuse: each bad argument alone, in a call that is valid otherwise.
 *
 * A row of the table sets one field of a valid description. To add a case, add a row. Cases that follow from a list
 * (each hyperparameter, flag, format) are in test_errors_groups.c, those of `size` in test_errors_sizes.c, and calls
 * on an optimizer in test_errors_calls.c.
 */
#include "refuse.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(errors, .init = refuse_open);

/* ---- the table ----------------------------------------------------------------------------------------------- */

typedef void *(*allocate_function)(void *context, size_t bytes, size_t alignment, fopt_stream stream);
typedef void (*release_function)(void *context, void *pointer, size_t bytes, fopt_stream stream);

static void *never_allocates(void *context, size_t bytes, size_t alignment, fopt_stream stream)
{
    (void)context, (void)bytes, (void)alignment, (void)stream;
    return NULL;
}

static void never_releases(void *context, void *pointer, size_t bytes, fopt_stream stream)
{
    (void)context, (void)pointer, (void)bytes, (void)stream;
}

typedef struct error_row {
    size_t offset, bytes; /* of the field in arguments */
    const void *value;
    unsigned calls;
    size_t index; /* of the group and tensor that the words are about, and that fopt_update() gets */
    fopt_status status;
    const char *words;
} error_row;

#define SET(type, field, ...)                                                                                          \
    offsetof(arguments, field), sizeof(type), &(const type)                                                            \
    {                                                                                                                  \
        __VA_ARGS__                                                                                                    \
    }
#define LAST_STEP ((int64_t)1 << 53)
#define NEAR_END  (UINTPTR_MAX - 255) /* an aligned address, but no array of the model fits there */

#define ARGUMENT    FOPT_ERR_ARGUMENT
#define UNSUPPORTED FOPT_ERR_UNSUPPORTED
#define DEVICE      FOPT_ERR_DEVICE

static const error_row rows[] = {
    /* The arguments themselves. */
    {SET(void *, groups_at, NULL), LISTS, 0, ARGUMENT, "groups is NULL*group_count is 5"},
    {SET(void *, tensors_at, NULL), LISTS, 0, ARGUMENT, "tensors is NULL*tensor_count is 5"},
    {SET(void *, out_at, NULL), CREATE, 0, ARGUMENT, "out is NULL"},
    {SET(void *, sizes_at, NULL), QUERY, 0, ARGUMENT, "sizes is NULL"},
    {SET(size_t, group_count, SIZE_MAX), LISTS, 0, ARGUMENT, "group_count is 18446744073709551615"},
    {SET(size_t, group_count, 4), LISTS, 4, ARGUMENT, "tensor#: group is 4*group_count is 4"},
    {SET(size_t, group_count, 0), LISTS, 0, ARGUMENT, "tensor#: group is 0*group_count is 0"},
    {SET(size_t, tensor_count, SIZE_MAX), LISTS, 0, ARGUMENT, "tensor_count is 18446744073709551615"},
    {SET(size_t, tensor_count, (size_t)INT32_MAX + 1), LISTS, 0, ARGUMENT, "tensor_count is 2147483648"},
    {SET(void *, group_at, NULL), UPDATE | SET_GROUP, 1, ARGUMENT, "group# is NULL"},
    {SET(void *, tensor_at, NULL), UPDATE, 0, ARGUMENT, "tensor is NULL"},
    {SET(void *, states_at, NULL), UPDATE, ADAM, ARGUMENT, "tensor#*states*NULL*exp_avg"},
    {SET(int64_t, step, 0), UPDATE, ADAM, ARGUMENT, "tensor#*step is 0"},
    {SET(int64_t, step, -1), UPDATE, ADAM, ARGUMENT, "tensor#*step is -1"},
    {SET(int64_t, step, LAST_STEP + 1), UPDATE, ADAM, ARGUMENT, "tensor#*step is 9007199254740993"},
    {SET(int64_t, step, INT64_MIN), UPDATE, ADAM, ARGUMENT, "tensor#*step is -9223372036854775808"},
    {SET(int64_t, step, INT64_MAX), UPDATE, ADAM, ARGUMENT, "tensor#*step is 9223372036854775807"},

    /* The configuration. */
    {SET(int, config.device.kind, 2), DESCRIBED, 0, ARGUMENT, "device.kind is 2"},
    {SET(int, config.device.kind, -1), DESCRIBED, 0, ARGUMENT, "device.kind is -1"},
    {SET(fopt_device, config.device, FOPT_CUDA, 4096), WITH_MEMORY, 0, DEVICE, "device*CUDA"},
    {SET(int, config.device.index, 1), DESCRIBED, 0, DEVICE, "device.index is 1"},
    {SET(int, config.device.index, -1), DESCRIBED, 0, DEVICE, "device.index is -1"},
    {SET(int, config.isa, 5), DESCRIBED, 0, ARGUMENT, "config.isa is 5"},
    {SET(int, config.isa, -1), DESCRIBED, 0, ARGUMENT, "config.isa is -1"},
    {SET(int, config.threads, -1), DESCRIBED, 0, ARGUMENT, "config.threads is -1"},
    {SET(int, config.threads, INT_MIN), DESCRIBED, 0, ARGUMENT, "config.threads is -2147483648"},
    {SET(allocate_function, config.host_allocator.allocate, never_allocates), LISTS, 0, ARGUMENT,
     "config.host_allocator*only*allocate"},
    {SET(release_function, config.host_allocator.release, never_releases), LISTS, 0, ARGUMENT,
     "config.host_allocator*only*release"},
    {SET(allocate_function, config.device_allocator.allocate, never_allocates), LISTS, 0, ARGUMENT,
     "config.device_allocator*only*allocate"},
    {SET(release_function, config.device_allocator.release, never_releases), LISTS, 0, ARGUMENT,
     "config.device_allocator*only*release"},

    /* Groups. */
    {SET(size_t, groups[1].size, sizeof(fopt_group) + 8), LISTS, 1, ARGUMENT, "groups[1].size is*groups[0].size is"},
    {SET(int, groups[ADAM].rule, 99), WITH_GROUP, ADAM, ARGUMENT, "group#: rule is 99"},
    {SET(int, groups[ADAM].rule, -1), WITH_GROUP, ADAM, ARGUMENT, "group#: rule is -1"},
    {SET(unsigned, groups[SGD].flags, FOPT_NESTEROV), WITH_GROUP, SGD, UNSUPPORTED,
     "group#*FOPT_NESTEROV*momentum above 0*0x4"},
    {SET(unsigned, groups[SGD].flags, FOPT_EMA_MOMENTUM), WITH_GROUP, SGD, UNSUPPORTED,
     "group#*FOPT_EMA_MOMENTUM*momentum above 0*0x8"},
    {SET(unsigned, groups[SGD].flags, FOPT_CLASSIC_MOMENTUM), WITH_GROUP, SGD, UNSUPPORTED,
     "group#*FOPT_CLASSIC_MOMENTUM*momentum above 0*0x10"},
    {SET(unsigned, groups[MOMENTUM].flags, FOPT_NESTEROV | FOPT_EMA_MOMENTUM), WITH_GROUP, MOMENTUM, UNSUPPORTED,
     "group#*FOPT_NESTEROV*FOPT_EMA_MOMENTUM*exclude*0xc"},
    {SET(unsigned, groups[MOMENTUM].flags, FOPT_NESTEROV | FOPT_CLASSIC_MOMENTUM), WITH_GROUP, MOMENTUM, UNSUPPORTED,
     "group#*FOPT_NESTEROV*FOPT_CLASSIC_MOMENTUM*exclude*0x14"},
    {SET(unsigned, groups[MOMENTUM].flags, FOPT_EMA_MOMENTUM | FOPT_CLASSIC_MOMENTUM), WITH_GROUP, MOMENTUM,
     UNSUPPORTED, "group#*FOPT_EMA_MOMENTUM*FOPT_CLASSIC_MOMENTUM*exclude*0x18"},
    {SET(double, groups[SGD].dampening, 0.5), WITH_GROUP, SGD, UNSUPPORTED, "group#*dampening*momentum above 0*0.5"},
    {SET(unsigned, groups[ADAMW].flags, 0), WITH_GROUP, ADAMW, UNSUPPORTED,
     "group#*adamw needs FOPT_DECOUPLED_DECAY*0x0"},

    /* Tensors. */
    {SET(size_t, tensors[1].size, sizeof(fopt_tensor) + 8), LISTS, 1, ARGUMENT,
     "tensors[1].size is*tensors[0].size is"},
    {SET(void *, tensors[ADAM].param, NULL), WITH_MEMORY, ADAM, ARGUMENT, "tensor#: param is NULL*count is 700"},
    {SET(void *, tensors[ADAM].param, refuse_model.memory.params[ADAM] + 2), WITH_MEMORY, ADAM, ARGUMENT,
     "tensor#: param is 0x*aligned*4 bytes*f32"},
    {SET(void *, tensors[ADAMW].param, refuse_model.memory.params[ADAMW] + 1), WITH_MEMORY, ADAMW, ARGUMENT,
     "tensor#: param is 0x*aligned*2 bytes*bf16"},
    {SET(uintptr_t, tensors[ADAM].param, NEAR_END), WITH_MEMORY, ADAM, ARGUMENT,
     "tensor#: param is 0x*700*address space"},
    {SET(void *, tensors[ADAM].grad, NULL), UPDATE, ADAM, ARGUMENT, "tensor#: grad is NULL, but count is 700"},
    {SET(void *, tensors[ADAM].grad, refuse_model.memory.grads[ADAM] + 2), WITH_MEMORY, ADAM, ARGUMENT,
     "tensor#: grad is 0x*aligned*4 bytes*f32"},
    {SET(void *, tensors[ADAMW].grad, refuse_model.memory.grads[ADAMW] + 1), WITH_MEMORY, ADAMW, ARGUMENT,
     "tensor#: grad is 0x*aligned*2 bytes*f16"},
    {SET(uintptr_t, tensors[ADAM].grad, NEAR_END), WITH_MEMORY, ADAM, ARGUMENT,
     "tensor#: grad is 0x*700*address space"},
    {SET(size_t, tensors[ADAM].count, SIZE_MAX), DESCRIBED, ADAM, ARGUMENT, "tensor#: count is 18446744073709551615"},
    {SET(size_t, tensors[ADAM].count, PTRDIFF_MAX / 2), DESCRIBED, ADAM, ARGUMENT, "tensor#: count is 46116860184273"},
    {SET(int, tensors[ADAM].param_format, 99), DESCRIBED, ADAM, ARGUMENT, "tensor#: param_format is 99"},
    {SET(int, tensors[ADAM].param_format, FOPT_Q8), DESCRIBED, ADAM, UNSUPPORTED,
     "tensor#: param_format is q8*only moments"},
    {SET(int, tensors[ADAM].grad_format, FOPT_Q8), DESCRIBED, ADAM, UNSUPPORTED,
     "tensor#: grad_format is q8*only moments"},
    {SET(int, tensors[ADAM].param_format, -1), DESCRIBED, ADAM, ARGUMENT, "tensor#: param_format is -1"},
    {SET(int, tensors[ADAM].grad_format, 99), DESCRIBED, ADAM, ARGUMENT, "tensor#: grad_format is 99"},
    {SET(int, tensors[ADAM].grad_format, -1), DESCRIBED, ADAM, ARGUMENT, "tensor#: grad_format is -1"},
    {SET(size_t, tensors[ADAM].group, 5), LISTS, ADAM, ARGUMENT, "tensor#: group is 5*group_count is 5"},
    {SET(size_t, tensors[ADAM].group, SIZE_MAX), LISTS, ADAM, ARGUMENT, "tensor#: group is 18446744073709551615"},
    {SET(size_t, tensors[ADAM].first_element, 1), DESCRIBED, ADAM, ARGUMENT, "tensor#: first_element is 1,*256"},
    {SET(size_t, tensors[ADAM].first_element, 257), DESCRIBED, ADAM, ARGUMENT, "tensor#: first_element is 257,*256"},
    {SET(size_t, tensors[ADAM].first_element, SIZE_MAX - 255), DESCRIBED, ADAM, ARGUMENT,
     "tensor#: first_element is 18446744073709551360*700"},
    {SET(size_t, tensors[ADAM].full_count, 1), DESCRIBED, ADAM, ARGUMENT, "tensor#: full_count is 1,*count 700"},
    {SET(size_t, tensors[ADAM].full_count, 701), DESCRIBED, ADAM, ARGUMENT, "tensor#: count is 700*not the last*256"},
    {SET(size_t, tensors[ADAM].first_element, 256), DESCRIBED, ADAM, ARGUMENT, "tensor#: global_id is 0*shard"},

    /* The states of fopt_update(). */
    {SET(void *, states[1].data, NULL), UPDATE, ADAM, ARGUMENT, "tensor#*states[1]*NULL*exp_avg_sq"},
    {SET(void *, states[1].data, refuse_model.memory.moments[1] + 2), UPDATE, ADAM, ARGUMENT,
     "tensor#*states[1]*0x*aligned*4 bytes*f32"},
    {SET(uintptr_t, states[1].data, NEAR_END), UPDATE, ADAM, ARGUMENT, "tensor#*states[1]*0x*700*address space"},
    {SET(size_t, states[1].count, 699), UPDATE, ADAM, ARGUMENT, "tensor#*states[1]*count*699*700"},
    {SET(int, states[1].format, FOPT_BF16), UPDATE, ADAM, ARGUMENT, "tensor#*states[1]*format*1*f32"},
    {SET(int, states[1].format, FOPT_Q8), UPDATE, ADAM, ARGUMENT, "tensor#*states[1]*format*3*f32"},
    {SET(void *, states[1].absmax, refuse_model.memory.moments[3]), UPDATE, ADAM, ARGUMENT,
     "tensor#*states[1]*absmax is 0x*f32 of exp_avg_sq has none"},
    {SET(void *, states[3].data, refuse_model.memory.moments[3]), UPDATE, ADAM, ARGUMENT, "tensor#*states[3]*0x*adam"},
    {SET(void *, states[7].data, refuse_model.memory.moments[3]), UPDATE, ADAM, ARGUMENT,
     "states[7]: data is 0x*no such fopt_state_kind"},
    {SET(size_t, states[2].size, sizeof(fopt_array) + 8), UPDATE, ADAM, ARGUMENT,
     "states[2].size is*states[0].size is"},
};

Test(errors, table)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const error_row *row = &rows[i];
        arguments a;
        fill_arguments(&a, row->index);
        memcpy((char *)&a + row->offset, row->value, row->bytes);
        expect_refused(row->calls, &a, row->index, row->status, row->words);
    }
    refuse_close();
}

/* The rows spoil calls that are valid. */
Test(errors, unspoiled_arguments_are_accepted)
{
    for (size_t index = 0; index < MODEL_TENSORS; index++) {
        arguments a;
        fill_arguments(&a, index);
        expect_accepted(LISTS | SET_GROUP, &a, index, model_names[index]);
        /* An update writes, but the model must stay as it is. */
        static float scratch[1 + FOPT_STATE_KINDS][MODEL_ELEMENTS];
        a.tensors[index].param = scratch[0];
        for (size_t kind = 0; kind < FOPT_STATE_KINDS; kind++)
            if (a.states[kind].data)
                a.states[kind].data = scratch[1 + kind];
        expect_accepted(UPDATE, &a, index, model_names[index]);
        a.tensors[index].group = SIZE_MAX;
        expect_accepted(UPDATE, &a, index, "tensor->group, which fopt_update() ignores");
    }
    refuse_close();
}

/* Too much for any memory together, though each is not. */
Test(errors, sum_of_counts)
{
    arguments a;
    fill_arguments(&a, ADAM);
    for (size_t i = 0; i < MODEL_TENSORS; i++) {
        a.tensors[i].count = PTRDIFF_MAX / 64;
        a.tensors[i].group = ADAM;
    }
    expect_refused(LISTS, &a, RMSPROP, FOPT_ERR_ARGUMENT, "tensor#: with it the tensors are larger than any memory");
    refuse_close();
}

/* More elements than any address has, with no state to count. */
Test(errors, sum_of_counts_without_state)
{
    enum { COUNT = 80 };
    static fopt_tensor tensors[COUNT];
    fopt_group group;
    fopt_sizes sizes = {.size = sizeof sizes};
    ASSERT_OK(fopt_group_init(&group, sizeof group, FOPT_SGD));
    for (size_t i = 0; i < COUNT; i++)
        tensors[i] = (fopt_tensor){.size = sizeof *tensors, .count = PTRDIFF_MAX / 64};
    cr_expect_eq(fopt_query_sizes(NULL, &group, 1, tensors, COUNT, &sizes), FOPT_ERR_ARGUMENT);
    cr_expect(mentions(fopt_last_error(), "tensor *: with it the tensors are larger than any memory"), "%s",
              fopt_last_error());
    expect_accepted(
        QUERY,
        &(arguments){
            .group_count = 1, .tensor_count = 60, .groups_at = &group, .tensors_at = tensors, .sizes_at = &sizes},
        0, "as many as there may be");
}

/* ---- overlaps ------------------------------------------------------------------------------------------------ */

static void expect_overlap(const arguments *a, const char *words)
{
    expect_refused(CREATE, a, 0, FOPT_ERR_ARGUMENT, words);
    expect_accepted(QUERY, a, 0, "an overlap, which fopt_query_sizes() does not look for");
}

/* Bytes can be known before there is any memory. */
Test(errors, sizes_need_no_memory)
{
    arguments a;
    fill_arguments(&a, ADAM);
    a.tensors[ADAM].param = NULL;
    a.tensors[MOMENTUM].param = refuse_model.memory.params[MOMENTUM] + 1;
    a.tensors[SGD].grad = refuse_model.memory.grads[SGD] + 1;
    expect_accepted(QUERY, &a, ADAM, "pointers that are not valid");
    refuse_close();
}

Test(errors, overlaps_of_tensors)
{
    unsigned char(*const params)[MODEL_BYTES] = refuse_model.memory.params;
    unsigned char(*const moments)[MODEL_BYTES] = refuse_model.memory.moments;
    const size_t last = MODEL_BYTES - sizeof(float);
    const struct {
        size_t tensor;
        void *param, *grad; /* NULL: as it is */
        const char *words;
    } overlaps[] = {
        {MOMENTUM, params[SGD] + last, NULL, "tensor 1 'momentum': param*0x*overlaps the param of tensor 0 'sgd'"},
        {SGD, params[MOMENTUM] + last, NULL, "tensor 0 'sgd': param*0x*overlaps the param of tensor 1 'momentum'"},
        {MOMENTUM, params[SGD], NULL, "tensor*: param*0x*overlaps the param of tensor"},
        {MOMENTUM, NULL, params[MOMENTUM], "tensor 1 'momentum': grad*0x*overlaps the param of tensor 1 'momentum'"},
        {MOMENTUM, NULL, params[MOMENTUM] + 4,
         "tensor 1 'momentum': grad*0x*overlaps the param of tensor 1 'momentum'"},
        {SGD, NULL, params[MOMENTUM] + last, "tensor 0 'sgd': grad*0x*overlaps the param of tensor 1 'momentum'"},
        {SGD, moments[1], moments[0] + last, "tensor 0 'sgd': grad*0x*overlaps the param of tensor 0 'sgd'"},
        {ADAM, NULL, params[SGD], "tensor 3 'adam': grad*0x*overlaps the param of tensor 0 'sgd'"},
    };
    for (size_t i = 0; i < sizeof overlaps / sizeof *overlaps; i++) {
        arguments a;
        fill_arguments(&a, 0);
        fopt_tensor *tensor = &a.tensors[overlaps[i].tensor];
        if (overlaps[i].param)
            tensor->param = overlaps[i].param;
        if (overlaps[i].grad)
            tensor->grad = overlaps[i].grad;
        expect_overlap(&a, overlaps[i].words);
    }
    refuse_close();
}

/* Neighbours that touch do not overlap, gradients may be shared, and an empty tensor lies nowhere. */
Test(errors, near_overlaps_are_accepted)
{
    arguments a;
    fill_arguments(&a, 0);
    a.tensors[MOMENTUM].param = (char *)a.tensors[SGD].param + MODEL_BYTES;
    a.tensors[MOMENTUM].grad = a.tensors[SGD].grad;
    a.tensors[ADAM].param = a.tensors[SGD].param;
    a.tensors[ADAM].grad = a.tensors[SGD].param;
    a.tensors[ADAM].count = 0;
    expect_accepted(CREATE, &a, 0, "no overlap");
    refuse_close();
}

Test(errors, overlaps_in_update)
{
    arguments a;
    fill_arguments(&a, ADAM);
    void **arrays[] = {&a.tensors[ADAM].param, &a.tensors[ADAM].grad, &a.states[0].data, &a.states[1].data,
                       &a.states[2].data};
    static const char *const names[] = {"param", "grad", "states[0]", "states[1]", "states[2]"};
    const size_t count = sizeof arrays / sizeof *arrays;
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < count; j++) {
            char words[64];
            if (i == j)
                continue;
            void *const old = *arrays[j];
            *arrays[j] = (char *)*arrays[i] + MODEL_BYTES - sizeof(float);
            snprintf(words, sizeof words, "tensor#*%s*0x*overlaps*%s", names[i], names[j]);
            expect_refused(UPDATE, &a, ADAM, FOPT_ERR_ARGUMENT, words);
            *arrays[j] = *arrays[i];
            expect_refused(UPDATE, &a, ADAM, FOPT_ERR_ARGUMENT, "tensor#*overlaps");
            *arrays[j] = old;
        }
    refuse_close();
}

/* ---- identities ---------------------------------------------------------------------------------------------- */

/* Elements with the same identity would be rounded by the same random bits. */
Test(errors, elements_that_are_there_twice)
{
    arguments a;
    const struct {
        size_t tensor, first_element;
        uint64_t id;
        const char *words; /* NULL: accepted */
    } shards[] = {
        {SGD, 0, 4, "tensor 3 'adam': global_id is 4, with elements that tensor 0 'sgd' has"}, /* 3's by default */
        {SGD, 512, 4, "tensor 0 'sgd': global_id is 4, with elements that tensor 3 'adam' has"},
        {SGD, 768, 4, NULL},
        {SGD, 0, 6, NULL},
    };
    for (size_t i = 0; i < sizeof shards / sizeof *shards; i++) {
        fill_arguments(&a, ADAM);
        a.tensors[shards[i].tensor].global_id = shards[i].id;
        a.tensors[shards[i].tensor].first_element = shards[i].first_element;
        if (shards[i].words)
            expect_refused(CREATE, &a, ADAM, FOPT_ERR_ARGUMENT, shards[i].words);
        else
            expect_accepted(LISTS, &a, ADAM, "shards that are apart");
        a.tensors[shards[i].tensor].count = 0; /* has no element */
        expect_accepted(LISTS, &a, ADAM, "an empty shard");
    }
    refuse_close();
}

/* ---- the environment ----------------------------------------------------------------------------------------- */

Test(errors, instruction_sets)
{
    fopt_device_info info = {.size = sizeof info};
    arguments a;
    fill_arguments(&a, ADAM);
    ASSERT_OK(fopt_device_query(a.config.device, &info));
    for (int isa = FOPT_ISA_BASELINE; isa <= FOPT_ISA_AVX512_VBMI; isa++)
        if (!(info.isas & 1u << isa)) {
            a.config.isa = (fopt_isa)isa;
            expect_refused(DESCRIBED, &a, ADAM, FOPT_ERR_DEVICE, fopt_isa_name((fopt_isa)isa));
        }

    refuse_close();
}

/* Another thread may change the environment at any time: no call reads it. test_program.sh sets it beforehand. */
Test(errors, the_environment_is_not_read)
{
    const fopt_device_info fresh = {.size = sizeof fresh};
    fopt_device_info before = fresh, after = fresh;
    arguments a;
    fill_arguments(&a, ADAM);
    a.config.isa = FOPT_ISA_AUTO;
    ASSERT_OK(fopt_device_query(a.config.device, &before));
    setenv("FUSEDOPT_ISA", "sse9", true);
    expect_accepted(LISTS, &a, ADAM, "a change of the environment");
    ASSERT_OK(fopt_device_query(a.config.device, &after));
    cr_expect_eq(memcmp(&before, &after, sizeof before), 0);
    unsetenv("FUSEDOPT_ISA");
    refuse_close();
}
